//go:build interop && linux

package interop

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// linkFields are what tshark is asked to read of frames of all kinds.
var linkFields = []string{
	"frame.protocols", "eth.dst", "vlan.id", "vlan.priority", "ieee8021ad.id", "ipv6.hlim", "ipv6.tclass", "icmpv6.type", "icmpv6.checksum.status",
	"icmpv6.nd.ns.target_address", "icmpv6.opt.linkaddr", "ip.checksum.status", "icmp.checksum.status",
	"_ws.malformed", "_ws.expert.severity", "_ws.expert.message",
}

// TestFramesAsTsharkReadsThem has frames of every kind read by a stranger, who
// puts the fragments together too: none of them brings a complaint.
func TestFramesAsTsharkReadsThem(t *testing.T) {
	for _, tt := range []struct {
		name, args string
		peer       string // of a silent pair; "": a Linux host
		sent       int    // frames of ours
		want       []dissected
	}{
		{
			name: "IPv6 and neighbor discovery", args: "-c 2 2001:db8:1::2", sent: 3,
			want: []dissected{
				{
					"icmpv6.type": "135", "eth.dst": "33:33:ff:00:00:02", "ipv6.hlim": "255",
					"icmpv6.nd.ns.target_address": "2001:db8:1::2", "icmpv6.opt.linkaddr": "02:00:5e:00:53:01",
				},
				{"icmpv6.type": "128", "ipv6.hlim": "64"}, {"icmpv6.type": "128"},
			},
		},
		{name: "traffic class and hop limit", args: "-c 1 -Q 184 -t 9 2001:db8:1::2", sent: 2, want: []dissected{{}, {"ipv6.hlim": "9", "ipv6.tclass": "0xb8"}}},
		{name: "link-local", args: "-c 1 fe80::2%eth0", sent: 2, want: []dissected{{"icmpv6.nd.ns.target_address": "fe80::2"}, {"icmpv6.type": "128"}}},
		{name: "fragments", args: "-c 1 -s 4000 198.51.100.2", sent: 3},
		{name: "fragments of IPv6", args: "-c 1 -s 4000 2001:db8:1::2", sent: 4},
		{name: "all-nodes", args: "-c 1 ff02::1", sent: 1, want: []dissected{{"eth.dst": "33:33:00:00:00:01"}}},
		{
			name: "a tag", args: "-c 1 --vlan 100.5 198.51.100.2", peer: "vlan 100", sent: 2,
			want: []dissected{{"vlan.id": "100", "vlan.priority": "5"}, {"vlan.id": "100", "vlan.priority": "5"}},
		},
		{
			name: "two tags", args: "-c 1 --vlan 200.3,100 198.51.100.2", peer: "vlan 200 100", sent: 2,
			want: []dissected{{"ieee8021ad.id": "200", "vlan.id": "100"}, {"ieee8021ad.id": "200", "vlan.id": "100"}},
		},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			pair := labtest.NewPair(t, &lab.PairConfig{Silent: tt.peer != "", IPv6: true})
			if tt.peer != "" {
				labtest.StartPeer(t, pair.Far, "eth0", tt.peer)
			}
			// That it is asked back is Linux's own.
			must(t, pair.Far.SetNeighbor("eth0", pair.NearIP, pair.NearMAC, lab.Permanent))
			must(t, pair.Near.SetNeighbor("eth0", pair.FarIP, pair.FarMAC, lab.Permanent))
			if tt.peer == "" {
				must(t, pair.Far.SetNeighbor("eth0", pair.NearIP6, pair.NearMAC, lab.Permanent))
				must(t, pair.Far.SetNeighbor("eth0", pair.NearLL, pair.NearMAC, lab.Permanent))
			}
			path := filepath.Join(t.TempDir(), "far.pcap")
			capture := startCapture(t, pair.Far, program(t, "tcpdump"), path)
			o := l2ping(t, pair.Near, append([]string{"-i", "eth0", "-d", "10ms", "-W", patience, "-q"}, strings.Fields(tt.args)...)...)
			if o.exit != 0 {
				t.Error(o)
			}
			capture.wait(t, pair.NearMAC, tt.sent, 1)
			capture.end(t)
			all := dissect(t, path, "!(icmpv6.type == 143) && eth.src == "+pair.NearMAC.String(), linkFields)
			for _, d := range all {
				d.clean(t)
				if s, ok := d["icmpv6.checksum.status"]; ok && s != "1" {
					t.Errorf("the checksum is not right: %v", d)
				}
			}
			if len(all) != tt.sent {
				t.Errorf("%d frames, want %d: %v", len(all), tt.sent, all)
			}
			for i, want := range tt.want {
				if i < len(all) {
					all[i].has(t, want)
				}
			}
		})
	}
}
