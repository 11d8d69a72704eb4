//go:build linux

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// Probes bear the mark of --mark where the filters of this host see it, whatever
// routing makes of it, those of an arping too; the requests for their next hops do not, as the kernel's do
// not.
func TestMark(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, args string
		layer      gopacket.LayerType
	}{
		{"ping", "-i eth0 -c 1 --mark 0xf0000005 198.51.100.2", layers.LayerTypeICMPv4},
		{"ping in IPv6", "-i eth0 -c 1 --mark 0xf0000005 2001:db8:1::2", layers.LayerTypeICMPv6Echo},
		{"arping", "arping -i eth0 -c 1 --mark 0xf0000005 198.51.100.2", layers.LayerTypeARP},
		{"arping in IPv6", "arping -i eth0 -c 1 --mark 0xf0000005 2001:db8:1::2", layers.LayerTypeICMPv6NeighborSolicitation},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pair := labtest.NewPair(t, &lab.PairConfig{IPv6: true})
			next := labtest.HearMark(t, pair.Near, "eth0", 0xf0000005)
			stdout, stderr, exit := runIn(t, pair.Near, command(strings.Fields(tt.args)...))
			if exit != exitOK || stderr != "" {
				t.Fatalf("exit status %d\nstdout: %sstderr: %s", exit, stdout, stderr)
			}
			p := gopacket.NewPacket(next(time.Minute), layers.LayerTypeEthernet, gopacket.Default)
			if p.Layer(tt.layer) == nil {
				t.Errorf("the first frame with the mark is\n%s", p)
			}
		})
	}
}

// A mark that the kernel does not let us set on frames is for routing alone, and
// that is said: with CAP_NET_RAW alone it lets us from Linux 5.17 on.
func TestMarkCapability(t *testing.T) {
	t.Parallel()
	labtest.RequireRoot(t)
	pair := labtest.NewPair(t, nil)
	next := labtest.HearMark(t, pair.Near, "eth0", 5)
	stdout, stderr, exit := runIn(t, pair.Near, asUser(command("-i", "eth0", "--json", "-c", "1", "--mark", "5", "198.51.100.2"), cap.NET_RAW))
	events, err := decodeEvents(stdout)
	if err != nil || exit != exitOK || stderr != "" {
		t.Fatalf("exit status %d, %v\nstdout: %sstderr: %s", exit, err, stdout, stderr)
	}
	if events[0]["mark_reason"] == nil {
		next(time.Minute)
	}
}
