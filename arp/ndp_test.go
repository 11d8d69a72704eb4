//go:build linux

package arp

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// newBench6 is newBench with IPv6 at the near end, and the path to the far one's
// global address.
func newBench6(t *testing.T, script string) *bench {
	t.Helper()
	b := newBench(t, script)
	labtest.RequireKind(t, b.pair.EnableIPv6())
	b.path = pathOf(t, b.pair.Near, b.pair.FarIP6, b.pair.NearIP6)
	return b
}

func (b *bench) set6(state lab.NeighborState) {
	b.Helper()
	must(b, b.pair.Near.SetNeighbor("eth0", b.pair.FarIP6, b.pair.FarMAC, state))
}

func (b *bench) table() *Table {
	b.Helper()
	return openTable(b.T, b.pair.Near, b.path.Interface, TableConfig{})
}

func TestSolicit(t *testing.T) {
	b := newBench6(t, "")
	h := add(t, b.table(), b.path)
	n, err := h.Resolve(b.ctx)
	if err != nil || n.MAC != frame.MAC(b.pair.FarMAC) || n.How != HowNDP || n.Addr != b.pair.FarIP6 || n.Took <= 0 {
		t.Errorf("%+v, %v", n, err)
	}
	all := b.peer.Requests()
	if len(all) != 1 {
		t.Fatalf("%d requests", len(all))
	}
	r := all[0]
	if r.Kind != lab.KindNDP || r.Fault != "" || r.TTL != 255 || len(r.VLANs) != 0 ||
		!bytes.Equal(r.SrcMAC, b.pair.NearMAC) || !bytes.Equal(r.SenderMAC, b.pair.NearMAC) ||
		!bytes.Equal(r.DstMAC, []byte{0x33, 0x33, 0xff, 0, 0, 2}) || r.Group != netip.MustParseAddr("ff02::1:ff00:2") ||
		r.SrcIP != b.pair.NearIP6 || r.DstIP != b.pair.FarIP6 {
		t.Errorf("%+v", r)
	}
}

// A Linux host answers, by whatever address it is asked, and its own table takes
// what we send.
func TestSolicitLinux(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, nil)
	labtest.RequireKind(t, pair.EnableIPv6())
	zoned := func(a netip.Addr) netip.Addr { return a.WithZone("eth0") }
	for _, tt := range []struct {
		name        string
		dst, source netip.Addr
		next        netip.Addr
		asks        netip.Addr // from that address
	}{
		{"global", pair.FarIP6, pair.NearIP6, pair.FarIP6, pair.NearIP6},
		{"link-local", pair.FarLL, pair.NearLL, pair.FarLL, pair.NearLL},
		{"link-local with a zone", zoned(pair.FarLL), zoned(pair.NearLL), zoned(pair.FarLL), pair.NearLL},
		{"link-local from a global address", pair.FarLL, pair.NearIP6, pair.FarLL, pair.NearIP6},
		{"IPv4 by an IPv6 next hop", netip.MustParseAddr("203.0.113.1"), pair.NearIP, pair.FarLL, pair.NearLL},
		{"an address that nobody has", pair.FarIP6, netip.MustParseAddr("2001:db8:1::77"), pair.FarIP6, netip.MustParseAddr("2001:db8:1::77")},
		{"no address at all", pair.FarIP6, netip.IPv6Unspecified(), pair.FarIP6, netip.Addr{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, a := range []netip.Addr{pair.NearIP6, pair.NearLL} {
				_ = pair.Far.DelNeighbor("eth0", a)
			}
			path := pathOf(t, pair.Near, tt.dst, tt.source)
			path.NextHop = tt.next
			table := openTable(t, pair.Near, path.Interface, TableConfig{})
			n, err := add(t, table, path).Resolve(timeout(t))
			if err != nil || n.MAC != frame.MAC(pair.FarMAC) || n.How != HowNDP || n.Addr != tt.next {
				t.Errorf("%+v, %v", n, err)
			}
			if !tt.asks.IsValid() {
				return
			}
			if mac, state, err := pair.Far.Neighbor("eth0", tt.asks); err != nil || !bytes.Equal(mac, pair.NearMAC) {
				t.Errorf("the far end has %v, %v, %v of %v", mac, State(state), err, tt.asks)
			}
		})
	}
}

// One that is stale is confirmed by a solicitation to it alone.
func TestSolicitStale(t *testing.T) {
	b := newBench6(t, "")
	b.set6(lab.Stale)
	h := add(t, b.table(), b.path)
	if n, status := h.Snapshot(); status != Resolved || n.How != HowTable || n.State.String() != "stale" {
		t.Errorf("%+v, %d", n, status)
	}
	must(t, b.peer.WaitNDP(b.ctx, 1))
	if r := b.peer.Requests()[0]; !bytes.Equal(r.DstMAC, b.pair.FarMAC) || r.Group != b.pair.FarIP6 || r.Fault != "" {
		t.Errorf("%+v", r)
	}
	for !h.confirmed() {
		must(t, b.ctx.Err())
		runtime.Gosched()
	}
	if n, _ := peek(h); n.How != HowTable || n.Moves != 0 {
		t.Errorf("%+v", n)
	}
}

// confirmed tells whether nothing is asked any more.
func (h *Hop) confirmed() bool {
	h.table.mu.Lock()
	defer h.table.mu.Unlock()
	return h.machine.asking == askNothing && h.machine.confirmed != never
}

// What an advertisement says, and what it leaves out (RFC 4861, section 7.2.5).
func TestAdvertised(t *testing.T) {
	const other = "02:00:5e:00:53:66"
	for _, tt := range []struct {
		name, script string
		know         bool // the far MAC, stale
		doubt        bool
		want         frame.MAC
		asked        int // at least
	}{
		{"of a router", "ndp: router", false, false, frame.MAC{2, 0, 0x5e, 0, 0x53, 2}, 1},
		{"without override, none known", "ndp: no-override, from " + other, false, false, otherMAC, 1},
		{"without override, another known", "ndp: no-override, from " + other, true, false, frame.MAC{2, 0, 0x5e, 0, 0x53, 2}, 3},
		{"without override, in doubt", "ndp: no-override, from " + other, true, true, otherMAC, 1},
		{"with override, another known", "ndp: from " + other, true, false, otherMAC, 1},
		{"not solicited, none known", "ndp: unsolicited", false, false, frame.MAC{2, 0, 0x5e, 0, 0x53, 2}, 2},
		{"no MAC, to everybody's question", "ndp: no-mac", false, false, frame.MAC{}, 3},
		{"no MAC, to a question by name", "ndp: no-mac", true, false, frame.MAC{2, 0, 0x5e, 0, 0x53, 2}, 1},
		{"by a router's hand", "ndp: hop-limit 254", false, false, frame.MAC{}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench6(t, tt.script)
			if tt.know {
				b.set6(lab.Stale)
			}
			h := add(t, b.table(), b.path)
			if tt.doubt {
				h.Doubt()
			}
			n, status := h.Snapshot()
			for ; n.MAC != tt.want || status == Pending || b.asked() < tt.asked; n, status = h.Snapshot() {
				if b.ctx.Err() != nil {
					t.Fatalf("%+v, %d, %d requests", n, status, b.asked())
				}
				runtime.Gosched()
			}
			if want := !tt.want.IsZero(); n.Known() != want {
				t.Errorf("%+v", n)
			}
		})
	}
}

func (b *bench) asked() int { return len(b.peer.Requests()) }

// What the next hop tells all, it need not be asked.
func TestAnnounced(t *testing.T) {
	b := newBench6(t, "")
	h := add(t, b.table(), b.path)
	if _, err := h.Resolve(b.ctx); err != nil {
		t.Fatal(err)
	}
	for n := (Neighbor{}); n.MAC != otherMAC; n, _ = peek(h) {
		must(t, b.ctx.Err())
		// The first second after an answer belongs to who gave it.
		must(t, b.peer.Announce(b.pair.FarIP6, otherMAC.HardwareAddr()))
	}
	if n, _ := peek(h); n.How != HowNDP || n.Moves != 1 || n.Was != frame.MAC(b.pair.FarMAC) || n.Took != 0 {
		t.Errorf("%+v", n)
	}
}

func TestSolicitVLAN(t *testing.T) {
	for _, vlans := range [][]frame.VLAN{
		{{Type: frame.EtherTypeVLAN, TCI: 100}},
		{{Type: frame.EtherTypeQinQ, TCI: 200}, {Type: frame.EtherTypeVLAN, TCI: 5<<13 | 100}},
	} {
		t.Run(fmt.Sprint(vlans), func(t *testing.T) {
			b := newBench6(t, "")
			table := openTable(t, b.pair.Near, b.path.Interface, TableConfig{VLANs: vlans})
			if n, err := add(t, table, b.path).Resolve(b.ctx); err != nil || n.MAC != frame.MAC(b.pair.FarMAC) || n.How != HowNDP {
				t.Errorf("%+v, %v", n, err)
			}
			if all := b.peer.Requests(); len(all) != 1 || !slices.Equal(all[0].VLANs, idsOf(vlans)) || all[0].Fault != "" {
				t.Errorf("%+v", all)
			}
		})
	}
}

// Answers out of another VLAN are none.
func TestOtherVLAN(t *testing.T) {
	t.Parallel()
	var checks []func()
	for _, family := range []string{"arp", "ndp"} {
		for _, how := range []string{"untagged", "vlan 101", "vlan 100 7"} {
			pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
			peer := labtest.StartPeer(t, pair.Far, "eth0", family+": "+how)
			path := pathTo(t, pair)
			if family == "ndp" {
				path = pathOf(t, pair.Near, pair.FarIP6, pair.NearIP6)
			}
			vlans := []frame.VLAN{{Type: frame.EtherTypeVLAN, TCI: 100}}
			h := add(t, openTable(t, pair.Near, path.Interface, TableConfig{VLANs: vlans}), path)
			h.Snapshot() // all of them fail at the same time
			checks = append(checks, func() {
				n, err := h.Resolve(timeout(t))
				if all := peer.Requests(); err != nil || n.Known() || len(all) != 3 {
					t.Errorf("%s %s: %+v, %v, %d requests", family, how, n, err, len(all))
				}
			})
		}
	}
	for _, check := range checks {
		check()
	}
}

// The kernel's table of IPv6 is followed too.
func TestSolicitFollows(t *testing.T) {
	b := newBench6(t, "ndp: silent")
	b.set6(lab.Permanent)
	h := add(t, b.table(), b.path)
	must(t, b.pair.Near.SetNeighbor("eth0", b.pair.FarIP6, otherMAC.HardwareAddr(), lab.Permanent))
	n := await(t, h, "moved", func(n Neighbor, _ Status) bool { return n.MAC == otherMAC })
	if n.How != HowTable || n.State.String() != "permanent" || n.Was != frame.MAC(b.pair.FarMAC) {
		t.Errorf("%+v", n)
	}
}

// Which address asks, where the path's source is of the other family.
func TestAskFrom(t *testing.T) {
	addrs := func(list ...string) (all []netip.Prefix) {
		for _, a := range list {
			all = append(all, netip.MustParsePrefix(a))
		}
		return all
	}
	for _, tt := range []struct {
		next, source string
		have         []netip.Prefix
		want         string
	}{
		{"198.51.100.2", "198.51.100.1", nil, "198.51.100.1"},
		{"198.51.100.2", "", addrs("198.51.100.1/24"), "0.0.0.0"},
		{"fe80::2", "fe80::1", nil, "fe80::1"},
		{"fe80::2", "198.51.100.1", addrs("198.51.100.1/24", "2001:db8::1/64", "fe80::1/64"), "fe80::1"},
		{"2001:db8::2", "198.51.100.1", addrs("198.51.100.1/24", "2001:db8::1/64", "2001:db8::7/64"), "2001:db8::1"},
		{"2001:db8::2", "198.51.100.1", addrs("198.51.100.1/24"), "::"},
		{"2001:db8::2", "", nil, "::"},
	} {
		ifc := &l2.Interface{Addresses: tt.have}
		path := &l2.Path{Interface: ifc, Owner: ifc, NextHop: netip.MustParseAddr(tt.next)}
		if tt.source != "" {
			path.Source = netip.MustParseAddr(tt.source)
		}
		if got := askFrom(path); got != netip.MustParseAddr(tt.want) {
			t.Errorf("%s is asked from %v, want %s", tt.next, got, tt.want)
		}
	}
}
