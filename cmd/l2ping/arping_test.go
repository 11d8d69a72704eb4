//go:build linux

package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// TestArpingStatus has the exit statuses of arping(8), for one host and several.
func TestArpingStatus(t *testing.T) {
	a, b := netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.3")
	answers := func(of netip.Addr, sent, received uint64) probe.Statistics {
		return probe.Statistics{Address: of, Sent: sent, Received: received, Lost: sent - received}
	}
	failed := func(of netip.Addr) probe.Statistics { return probe.Statistics{Address: of, Sent: 2, Errors: 2} }
	deadline := func(count uint64) probe.Config { return probe.Config{Count: count, Deadline: time.Second} }
	for _, tt := range []struct {
		name string
		mode probe.NeighborMode
		cfg  probe.Config
		of   []probe.Statistics
		want int
	}{
		{name: "an answer", of: []probe.Statistics{answers(a, 3, 1)}, want: exitOK},
		{name: "none", of: []probe.Statistics{answers(a, 3, 0)}, want: exitNoReply},
		{name: "nothing left", of: []probe.Statistics{failed(a)}, want: exitNoReply},
		{name: "a count alone", cfg: probe.Config{Count: 3}, of: []probe.Statistics{answers(a, 3, 1)}, want: exitOK},
		{name: "a deadline alone", cfg: deadline(0), of: []probe.Statistics{answers(a, 3, 1)}, want: exitOK},
		{name: "both", cfg: deadline(3), of: []probe.Statistics{answers(a, 3, 3)}, want: exitOK},
		{name: "too few", cfg: deadline(3), of: []probe.Statistics{answers(a, 3, 2)}, want: exitNoReply},
		{
			name: "two hosts are enough answers", cfg: deadline(2),
			of: []probe.Statistics{{Address: a, Sent: 1, Received: 1, MoreReplies: 1}}, want: exitOK,
		},
		{
			name: "too few, but the first is what counts", cfg: probe.Config{Count: 3, Deadline: 1, Neighbor: &probe.Neighbor{First: true}},
			of: []probe.Statistics{answers(a, 1, 1)}, want: exitOK,
		},
		{name: "several", of: []probe.Statistics{answers(a, 1, 1), answers(b, 1, 1)}, want: exitOK},
		{name: "one of several", of: []probe.Statistics{answers(a, 1, 1), answers(b, 1, 0)}, want: exitNoReply},
		{name: "enough of several", cfg: probe.Config{Enough: 1}, of: []probe.Statistics{answers(a, 1, 1), answers(b, 1, 0)}, want: exitOK},
		{name: "free", mode: probe.NeighborDetect, of: []probe.Statistics{answers(a, 2, 0)}, want: exitOK},
		{name: "taken", mode: probe.NeighborDetect, of: []probe.Statistics{answers(a, 2, 1)}, want: exitNoReply},
		{name: "one is taken", mode: probe.NeighborDetect, of: []probe.Statistics{answers(a, 1, 0), answers(b, 1, 1)}, want: exitNoReply},
		{name: "who knows", mode: probe.NeighborDetect, of: []probe.Statistics{failed(a)}, want: exitError},
		{name: "announced", mode: probe.NeighborAnnounce, of: []probe.Statistics{{Address: a, Sent: 1, Pending: 1}}, want: exitOK},
		{name: "announced by a reply", mode: probe.NeighborAnnounceReply, of: []probe.Statistics{{Address: a, Sent: 1, Pending: 1}}, want: exitOK},
		{name: "not announced", mode: probe.NeighborAnnounce, of: []probe.Statistics{failed(a)}, want: exitError},
	} {
		cfg := tt.cfg
		for _, s := range tt.of {
			cfg.Targets = append(cfg.Targets, probe.Target{Addr: s.Address})
		}
		if cfg.Neighbor == nil {
			cfg.Neighbor = &probe.Neighbor{Mode: tt.mode}
		}
		v := &arpingVerdict{renderer: deaf{}, cfg: &cfg}
		for _, s := range append(tt.of, probe.Statistics{Sent: 9, Received: 9}) { // the last is over all
			must(t, v.Event(&probe.Event{Kind: probe.Summary, Address: s.Address, Statistics: &s}))
		}
		if got := v.status(); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// What the neighbor table knows is added to the answers of a host that is alone,
// and nothing else is.
func TestArpingAlsoFor(t *testing.T) {
	one, other := netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.254")
	six := netip.MustParseAddr("2001:db8:1::2")
	mac, stranger := frame.MAC{2, 0, 0, 0, 0, 2}, frame.MAC{2, 0, 0, 0, 0, 3}
	known := func(*l2.Interface) ([]arp.Neighbor, error) {
		return []arp.Neighbor{{Addr: six, MAC: mac}, {Addr: one, MAC: mac}, {Addr: other, MAC: mac}}, nil
	}
	for _, tt := range []struct {
		target netip.Addr
		more   []netip.Addr
		mode   probe.NeighborMode
		mac    frame.MAC
		want   netip.Addr
	}{
		{target: one, mac: mac, want: other},
		{target: one, mac: stranger},
		{target: six, mac: mac},
		{target: one, mac: mac, mode: probe.NeighborDetect},
		{target: one, mac: mac, more: []netip.Addr{six}},
	} {
		cfg := probe.Config{Targets: probe.Hosts(append(tt.more, tt.target)...), Neighbor: &probe.Neighbor{Mode: tt.mode}}
		v := &arpingVerdict{renderer: deaf{}, cfg: &cfg, known: known}
		must(t, v.Event(&probe.Event{
			Kind: probe.Start, Address: tt.target,
			Start: &probe.Started{Decision: arp.Decision{Path: &l2.Path{}}},
		}))
		e := &probe.Event{Kind: probe.Replied, Address: tt.target, Reply: probe.Reply{FromMAC: tt.mac, Answer: &probe.NeighborAnswer{}}}
		must(t, v.Event(e))
		if got := e.Reply.Answer.AlsoFor; got != tt.want {
			t.Errorf("%v: also for %v, want %v", tt, got, tt.want)
		}
	}
}

// However many are asked, no more than arpingRate requests leave a second.
func TestArpingPace(t *testing.T) {
	f := &arpingFlags{}
	for hosts, want := range map[int]time.Duration{1: time.Second, 254: time.Second, 1000: time.Second, 4094: 4094 * time.Millisecond, maxTargets: maxTargets * time.Millisecond} {
		if got := f.pace(hosts); got != want {
			t.Errorf("%d hosts: %v, want %v", hosts, got, want)
		}
	}
	f.interval = duration(10 * time.Millisecond)
	if got := f.pace(4094); got != 10*time.Millisecond {
		t.Errorf("as asked: %v", got)
	}
}

// What is asked of a MAC: what the table has, then the interface's networks, in
// bounds and without one's own addresses.
func TestSearchTargets(t *testing.T) {
	mac := frame.MAC{0x02, 0, 0x5e, 0, 0x53, 0x02}
	prefixes := func(list ...string) (all []netip.Prefix) {
		for _, s := range list {
			all = append(all, netip.MustParsePrefix(s))
		}
		return all
	}
	for _, tt := range []struct {
		addresses   []netip.Prefix
		n           int
		first, last string
		cut         string
	}{
		{addresses: prefixes("198.51.100.1/24"), n: 253, first: "198.51.100.2", last: "198.51.100.254"},
		{addresses: prefixes("198.51.100.1/30"), n: 1, first: "198.51.100.2", last: "198.51.100.2"},
		{addresses: prefixes("198.51.100.1/31"), n: 1, first: "198.51.100.0", last: "198.51.100.0"},
		{addresses: prefixes("198.51.100.1/32")},
		{addresses: prefixes("198.51.100.1/25", "198.51.100.200/24"), n: 252, first: "198.51.100.2", last: "198.51.100.254"},
		{addresses: prefixes("198.18.0.1/20"), n: 4093, first: "198.18.0.2", last: "198.18.15.254"},
		{
			addresses: prefixes("198.18.77.1/15"), n: 4093, first: "198.18.64.1", last: "198.18.79.254",
			cut: "198.18.0.0/15 is large: of it 198.18.64.0/20 is looked through",
		},
		{
			addresses: prefixes("198.18.1.1/20", "198.18.17.1/20", "198.18.33.1/20", "198.18.49.1/20", "198.18.65.1/20"),
			n:         searchMost, first: "198.18.0.1", last: "198.18.64.12",
		},
		{addresses: prefixes("fe80::1/64", "2001:db8:1::1/64", "2001:db8:2::1/128"), n: 2, first: "fe80::5eff:fe00:5302", last: "2001:db8:1:0:0:5eff:fe00:5302"},
		{addresses: prefixes("fe80::5eff:fe00:5302/64")},
	} {
		s := &search{mac: mac, ifc: &l2.Interface{Addresses: tt.addresses}, listed: make(map[netip.Addr]bool)}
		cut := ""
		for _, p := range tt.addresses {
			if partly := s.addNetwork(p); partly != "" {
				cut = partly
			}
		}
		if len(s.targets) != tt.n || cut != tt.cut {
			t.Errorf("%v: %d targets, want %d; cut %q, want %q", tt.addresses, len(s.targets), tt.n, cut, tt.cut)
			continue
		}
		if tt.n > 0 && (s.targets[0].Addr != netip.MustParseAddr(tt.first) || s.targets[tt.n-1].Addr != netip.MustParseAddr(tt.last)) {
			t.Errorf("%v: from %v to %v, want from %s to %s", tt.addresses, s.targets[0].Addr, s.targets[tt.n-1].Addr, tt.first, tt.last)
		}
	}
}

// TestArpingCapabilities proves that CAP_NET_RAW is all that an ordinary user
// needs, and that without it nothing works.
func TestArpingCapabilities(t *testing.T) {
	t.Parallel()
	labtest.RequireRoot(t)
	pair := labtest.NewPair(t, nil)
	for _, args := range []string{
		"-i eth0 -c 1 198.51.100.2", "-i eth0 -D -c 1 198.51.100.9", "-i eth0 -U -c 1 198.51.100.1",
		"-i eth0 -c 1 --src-mac 02:00:5e:00:53:44 198.51.100.2", "-i eth0 02:00:5e:00:53:02",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"arping"}, strings.Fields(args)...)
			stdout, stderr, exit := runIn(t, pair.Near, asUser(command(args...), cap.NET_RAW))
			if exit != exitOK || stderr != "" {
				t.Errorf("with CAP_NET_RAW: exit status %d\nstdout: %sstderr: %s", exit, stdout, stderr)
			}
			stdout, stderr, exit = runIn(t, pair.Near, asUser(command(args...), allBut(t, cap.NET_RAW)...))
			if !strings.HasSuffix(stderr, permissionLine(executable())) || exit != exitError || strings.Contains(stdout, "Sent") {
				t.Errorf("without: exit status %d\nstdout: %sstderr: %s", exit, stdout, stderr)
			}
		})
	}
}

// A MAC that has whatever it is asked for is perhaps a proxy's.
func TestArpingMACWithAll(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, nil)
	must(t, pair.Far.AddAddr("eth0", netip.MustParsePrefix("203.0.113.2/30")))
	must(t, pair.Near.AddAddr("eth0", netip.MustParsePrefix("203.0.113.1/30")))
	must(t, pair.Near.DelAddr("eth0", netip.MustParsePrefix("198.51.100.1/24")))
	stdout, stderr, exit := runIn(t, pair.Near, command("arping", "-i", "eth0", "02:00:5e:00:53:02"))
	if !strings.Contains(stdout, "\n203.0.113.2  arp ") || strings.Contains(stdout, "proxy") || exit != exitOK || stderr != "" {
		t.Errorf("one address: exit status %d\n%s%s", exit, stdout, stderr)
	}
	must(t, pair.Near.AddAddr("eth0", netip.MustParsePrefix("203.0.113.9/30")))
	must(t, pair.Far.AddAddr("eth0", netip.MustParsePrefix("203.0.113.10/30")))
	stdout, stderr, exit = runIn(t, pair.Near, command("arping", "-i", "eth0", "02:00:5e:00:53:02"))
	if !strings.HasSuffix(stdout, "Sent 2 probes (0 broadcast(s))\nFound 2 addresses\nIt has every address that it was asked for: one host, or proxy ARP\n") ||
		exit != exitOK || stderr != "" {
		t.Errorf("all addresses: exit status %d\n%s%s", exit, stdout, stderr)
	}
}

// Another program that asks the same host does not make an answer of ours.
func TestTwoArpings(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, nil)
	var runs []*process
	for range 3 {
		p, err := start(pair.Near, command("arping", "-i", "eth0", "-c", "3", "-d", "50ms", "198.51.100.2"))
		must(t, err)
		runs = append(runs, p)
	}
	for _, p := range runs {
		exit, err := p.wait()
		must(t, err)
		if !strings.Contains(p.stdout.String(), "\nReceived 3 response(s)\n") || exit != exitOK {
			t.Errorf("exit status %d\n%s%s", exit, p.stdout, p.stderr)
		}
	}
}
