//go:build linux

package arp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// openTable opens a table on an interface in a namespace.
func openTable(t testing.TB, n *lab.Namespace, ifc *l2.Interface, cfg TableConfig) *Table {
	t.Helper()
	return labtest.OpenIn(t, n, func() (*Table, error) { return OpenTable(ifc, cfg) })
}

func add(t testing.TB, table *Table, path *l2.Path) *Hop {
	t.Helper()
	h, err := table.Add(path)
	must(t, err)
	return h
}

// pathOf is a path by eth0 to an address on the link.
func pathOf(t testing.TB, n *lab.Namespace, dst, source netip.Addr) *l2.Path {
	t.Helper()
	path := &l2.Path{Destination: dst, Source: source, NextHop: dst, OnLink: true, MTU: 1500}
	must(t, n.Do(func() (err error) {
		path.Interface, err = l2.InterfaceByName("eth0")
		return err
	}))
	path.Owner = path.Interface.Owner()
	return path
}

func timeout(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// await waits, by the table's own word, for a hop to fulfil a condition. It
// looks at the hop without demanding anything.
func await(t testing.TB, h *Hop, what string, condition func(Neighbor, Status) bool) Neighbor {
	t.Helper()
	ctx := timeout(t)
	for {
		n, status := peek(h)
		if condition(n, status) {
			return n
		}
		select {
		case <-h.table.Changes():
		case <-ctx.Done():
			t.Fatalf("%s: not after %v, but %+v, status %d", what, patience, n, status)
		}
	}
}

// peek is a snapshot that nobody needs.
func peek(h *Hop) (Neighbor, Status) {
	h.table.mu.Lock()
	defer h.table.mu.Unlock()
	return h.neighbor(), h.machine.status
}

// A next hop is asked for when somebody needs it, and not before.
func TestTableAsksOnDemand(t *testing.T) {
	b := newBench(t, "address 198.51.100.2, 198.51.100.3")
	table := openTable(t, b.pair.Near, b.path.Interface, TableConfig{})
	first := add(t, table, b.path)
	second := add(t, table, pathOf(t, b.pair.Near, netip.MustParseAddr("198.51.100.3"), b.pair.NearIP))
	if n, err := second.Resolve(b.ctx); err != nil || n.MAC != frame.MAC(b.pair.FarMAC) || n.How != HowARP {
		t.Errorf("%+v, %v", n, err)
	}
	for _, r := range b.peer.Requests() {
		if r.DstIP != netip.MustParseAddr("198.51.100.3") {
			t.Errorf("%+v is asked for, and nobody needs it", r.DstIP)
		}
	}
	if n, status := first.Snapshot(); status != Pending || n.Known() {
		t.Errorf("%+v, %d", n, status)
	}
	await(t, first, "resolved", func(n Neighbor, status Status) bool { return status == Resolved && n.Known() })
}

// Paths with the same next hop and source share a hop.
func TestTableShares(t *testing.T) {
	b := newBench(t, "")
	table := openTable(t, b.pair.Near, b.path.Interface, TableConfig{})
	gateway := func(dst, source string) *l2.Path {
		p := *b.path
		p.Destination, p.Source, p.OnLink = netip.MustParseAddr(dst), netip.MustParseAddr(source), false
		return &p
	}
	a := add(t, table, gateway("203.0.113.1", "198.51.100.1"))
	if other := add(t, table, gateway("203.0.113.2", "198.51.100.1")); other != a {
		t.Error("two hops for one next hop")
	}
	foreign := add(t, table, gateway("203.0.113.2", "198.51.100.77"))
	if foreign == a {
		t.Error("one hop for two sources")
	}
	for _, h := range []*Hop{foreign, a} {
		if n, err := h.Resolve(b.ctx); err != nil || n.MAC != frame.MAC(b.pair.FarMAC) {
			t.Errorf("%+v, %v", n, err)
		}
	}
	var senders []netip.Addr
	for _, r := range b.peer.Requests() {
		senders = append(senders, r.SrcIP)
	}
	if want := []netip.Addr{netip.MustParseAddr("198.51.100.77"), b.pair.NearIP}; !slices.Equal(senders, want) {
		t.Errorf("asked by %v, want %v", senders, want)
	}
	other := *b.path.Interface
	other.Index, other.Name = 4711, "eth1"
	path := *b.path
	path.Interface = &other
	if h, err := table.Add(&path); h != nil || err == nil || err.Error() != "neighbors of eth0: the path to 198.51.100.2 leaves by eth1" {
		t.Errorf("%v, %v", h, err)
	}
	path.Interface, path.NextHop = b.path.Interface, netip.Addr{}
	if h, err := table.Add(&path); h != nil || err == nil {
		t.Errorf("%v, %v", h, err)
	}
	must(t, table.Close())
	if h, err := table.Add(b.path); h != nil || !errors.Is(err, ErrClosed) {
		t.Errorf("%v, %v", h, err)
	}
}

// What the kernel learns the hop follows at once, whether or not anybody asks:
// here by the administrator's hand.
func TestTableFollows(t *testing.T) {
	b := newBench(t, "arp: silent")
	b.set(lab.Reachable)
	table := openTable(t, b.pair.Near, b.path.Interface, TableConfig{})
	h := add(t, table, b.path)
	far := frame.MAC(b.pair.FarMAC)
	set := func(mac frame.MAC, state lab.NeighborState) {
		t.Helper()
		must(t, b.pair.Near.SetNeighbor("eth0", b.pair.FarIP, mac.HardwareAddr(), state))
	}
	at := func(mac frame.MAC, moves uint32, was frame.MAC) {
		t.Helper()
		n := await(t, h, mac.String(), func(n Neighbor, status Status) bool { return status == Resolved && n.MAC == mac })
		if n.How != HowTable || n.Moves != moves || n.Was != was {
			t.Errorf("%+v, want %d moves, from %v", n, moves, was)
		}
	}
	at(far, 0, frame.MAC{})
	set(otherMAC, lab.Stale)
	at(otherMAC, 1, far)
	set(far, lab.Permanent)
	at(far, 2, otherMAC)
	h.Doubt()
	set(otherMAC, lab.Permanent)
	at(otherMAC, 3, far)
	b.nothingAsked()

	// Taken away, it is asked for by broadcast when somebody needs it.
	must(t, b.pair.Near.DelNeighbor("eth0", b.pair.FarIP))
	b.untilHop(h, "unknown to the kernel", func(n Neighbor, _ Status) bool { return n.State == 0 && n.MAC == otherMAC })
	b.waitARP(1)
	all := b.peer.Requests()
	if last := all[len(all)-1]; last.Kind != lab.KindARP || !isBroadcast(last) {
		t.Errorf("%+v", last)
	}
}

// untilHop waits for a snapshot to fulfil a condition. Each of them is a demand.
func (b *bench) untilHop(h *Hop, what string, condition func(Neighbor, Status) bool) {
	b.Helper()
	for !condition(h.Snapshot()) {
		if b.ctx.Err() != nil {
			n, status := h.Snapshot()
			b.Fatalf("%s: not after %v, but %+v, status %d", what, patience, n, status)
		}
		runtime.Gosched()
	}
}

// The kernel learns from a request of the other side, as from a gateway that has
// taken over (RFC 826).
func TestTableFollowsRequest(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	path := pathTo(t, pair)
	must(t, pair.Near.SetNeighbor("eth0", pair.FarIP, pair.FarMAC, lab.Stale))
	table := openTable(t, pair.Near, path.Interface, TableConfig{})
	h := add(t, table, path)
	must(t, pair.Far.SetMAC("eth0", otherMAC.HardwareAddr()))
	must(t, pair.Far.Do(func() error { return knock(pair.NearIP, "eth0") }))
	n := await(t, h, "moved", func(n Neighbor, _ Status) bool { return n.MAC == otherMAC })
	if n.How != HowTable || n.Was != frame.MAC(pair.FarMAC) || n.Moves != 1 {
		t.Errorf("%+v", n)
	}
}

// knock has the kernel look for the MAC of an address: by a datagram to it.
func knock(addr netip.Addr, ifname string) error {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr.WithZone(zoneFor(addr, ifname)), 9)))
	if err != nil {
		return err
	}
	_, err = c.Write([]byte("knock"))
	return errors.Join(err, c.Close())
}

func zoneFor(addr netip.Addr, ifname string) string {
	if addr.IsLinkLocalUnicast() && addr.Is6() {
		return ifname
	}
	return ""
}

// More changes than the subscription holds: what is lost is looked up again.
func TestTableLostChanges(t *testing.T) {
	b := newBench(t, "arp: silent")
	b.set(lab.Permanent)
	table := openTable(t, b.pair.Near, b.path.Interface, TableConfig{})
	h := add(t, table, b.path)
	size, err := unix.GetsockoptInt(table.kernel.changes, unix.SOL_SOCKET, unix.SO_RCVBUF)
	must(t, err)
	table.reading.Lock()
	for i := range size / 256 { // a message takes more
		mac := frame.MAC{2, 0, 0x5e, 0, 0x53, byte(i)}
		must(t, b.pair.Near.SetNeighbor("eth0", netip.MustParseAddr("198.51.100.3"), mac.HardwareAddr(), lab.Permanent))
	}
	must(t, b.pair.Near.SetNeighbor("eth0", b.pair.FarIP, otherMAC.HardwareAddr(), lab.Permanent))
	table.reading.Unlock()
	await(t, h, "moved", func(n Neighbor, _ Status) bool { return n.MAC == otherMAC })
}

// Nobody is asked for where frames go on links without neighbors.
func TestTableNoNeighbors(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	own := frame.MAC(pair.NearMAC)
	base := pathTo(t, pair)
	change := func(f func(p *l2.Path, i *l2.Interface)) *l2.Path {
		p, i := *base, *base.Interface
		p.Interface = &i
		f(&p, &i)
		return &p
	}
	group4, group6 := netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("ff02::fb")
	for _, tt := range []struct {
		name string
		path *l2.Path
		want Neighbor
	}{
		{"broadcast", change(func(p *l2.Path, _ *l2.Interface) { p.Broadcast = true }), Neighbor{MAC: frame.Broadcast}},
		{"IPv4 multicast", change(func(p *l2.Path, _ *l2.Interface) { p.Multicast, p.Destination, p.NextHop = true, group4, group4 }),
			Neighbor{Addr: group4, MAC: frame.MAC{1, 0, 0x5e, 0, 0, 0xfb}}},
		{"IPv6 multicast", change(func(p *l2.Path, _ *l2.Interface) { p.Multicast, p.Destination, p.NextHop = true, group6, group6 }),
			Neighbor{Addr: group6, MAC: frame.MAC{0x33, 0x33, 0, 0, 0, 0xfb}}},
		{"no link layer", change(func(_ *l2.Path, i *l2.Interface) { i.NoLink, i.NoARP = true, true }), Neighbor{Unneeded: true}},
		{"loopback", change(func(_ *l2.Path, i *l2.Interface) { i.Loopback = true }), Neighbor{Unneeded: true}},
		{"NOARP", change(func(_ *l2.Path, i *l2.Interface) { i.NoARP = true }), Neighbor{MAC: own}},
		{"point to point", change(func(_ *l2.Path, i *l2.Interface) { i.PointToPoint = true }), Neighbor{MAC: frame.Broadcast}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !tt.want.Addr.IsValid() {
				tt.want.Addr = pair.FarIP
			}
			table := openTable(t, pair.Near, tt.path.Interface, TableConfig{})
			h := add(t, table, tt.path)
			check := func(n Neighbor, status Status) {
				t.Helper()
				n.Took = 0
				if n != tt.want || status != Resolved || !n.Known() {
					t.Errorf("%+v, %d, want %+v", n, status, tt.want)
				}
			}
			h.Doubt()
			check(h.Snapshot())
			n, err := h.Resolve(t.Context())
			must(t, err)
			check(n, Resolved)
			must(t, pair.Near.Do(func() error {
				n, err := Lookup(tt.path)
				check(n, Resolved)
				return err
			}))
		})
	}
}

// Without ARP the kernel takes the interface's own MAC for everybody's, unless
// told otherwise.
func TestTableNoARP(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	must(t, pair.Near.SetARP("eth0", false))
	path := pathTo(t, pair)
	if !path.Interface.NoARP {
		t.Fatalf("%+v", path.Interface)
	}
	must(t, pair.Near.Do(func() error { return knock(pair.FarIP, "eth0") }))
	if mac, state, err := pair.Near.Neighbor("eth0", pair.FarIP); err != nil || !bytes.Equal(mac, pair.NearMAC) || state != lab.NoARP {
		t.Errorf("the kernel has %v, %v, %v", mac, state, err)
	}
	table := openTable(t, pair.Near, path.Interface, TableConfig{})
	if table.socks != nil {
		t.Error("sockets are open")
	}
	h := add(t, table, path)
	own := frame.MAC(pair.NearMAC)
	if n, status := h.Snapshot(); n.MAC != own || status != Resolved {
		t.Errorf("%+v, %d", n, status)
	}
	must(t, pair.Near.SetNeighbor("eth0", pair.FarIP, otherMAC.HardwareAddr(), lab.Permanent))
	n := await(t, h, "set by hand", func(n Neighbor, _ Status) bool { return n.MAC == otherMAC })
	if n.How != HowTable {
		t.Errorf("%+v", n)
	}
	must(t, pair.Near.DelNeighbor("eth0", pair.FarIP))
	n = await(t, h, "taken away", func(n Neighbor, _ Status) bool { return n.MAC == own })
	if n.How != HowNone {
		t.Errorf("%+v", n)
	}
}

// The caller's word holds, and nobody is asked.
func TestTableOverride(t *testing.T) {
	b := newBench(t, "")
	b.set(lab.Reachable)
	table := openTable(t, b.pair.Near, b.path.Interface, TableConfig{NextHopMAC: otherMAC})
	if table.socks != nil || table.kernel != nil || table.loop != nil {
		t.Error("something is open")
	}
	h := add(t, table, b.path)
	h.Doubt()
	want := Neighbor{Addr: b.pair.FarIP, MAC: otherMAC, How: HowOverride}
	if n, status := h.Snapshot(); n != want || status != Resolved {
		t.Errorf("%+v, %d", n, status)
	}
	must(t, table.Rebind(b.path.Interface))
	b.nothingAsked()
}

// On a bridge's port the bridge's table is the one that counts, and its MAC.
func TestTableBridgePort(t *testing.T) {
	b := newBench(t, "address 198.51.100.2, 198.51.100.3")
	near, bridge := b.pair.Near, frame.MAC{2, 0, 0x5e, 0, 0x53, 0xb0}
	must(t, near.DelAddr("eth0", netip.PrefixFrom(b.pair.NearIP, 24)))
	labtest.RequireKind(t, near.AddBridge("br0", "eth0"))
	must(t, near.SetMAC("br0", bridge.HardwareAddr()))
	must(t, near.SetUp("br0"))
	must(t, near.WaitUp("br0"))
	must(t, near.AddAddr("br0", netip.PrefixFrom(b.pair.NearIP, 24)))
	must(t, near.SetNeighbor("br0", b.pair.FarIP, otherMAC.HardwareAddr(), lab.Reachable))

	path := pathOf(t, near, b.pair.FarIP, b.pair.NearIP)
	if path.Owner.Name != "br0" {
		t.Fatalf("%+v", path.Owner)
	}
	table := openTable(t, near, path.Interface, TableConfig{})
	h := add(t, table, path)
	if n, status := h.Snapshot(); n.MAC != otherMAC || n.How != HowTable || status != Resolved {
		t.Errorf("%+v, %d", n, status)
	}
	must(t, near.SetNeighbor("br0", b.pair.FarIP, b.pair.FarMAC, lab.Permanent))
	await(t, h, "moved", func(n Neighbor, _ Status) bool { return n.MAC == frame.MAC(b.pair.FarMAC) })

	asked := add(t, table, pathOf(t, near, netip.MustParseAddr("198.51.100.3"), b.pair.NearIP))
	if n, err := asked.Resolve(b.ctx); err != nil || n.MAC != frame.MAC(b.pair.FarMAC) || n.How != HowARP {
		t.Errorf("%+v, %v", n, err)
	}
	for _, r := range b.peer.Requests() {
		if r.Kind == lab.KindARP && !(bytes.Equal(r.SenderMAC, bridge[:]) && bytes.Equal(r.SrcMAC, bridge[:])) {
			t.Errorf("asked by %v, %v", r.SrcMAC, r.SenderMAC)
		}
	}
}

// Behind tags of our own the kernel's table says nothing, and requests and
// replies bear the tags.
func TestTableVLAN(t *testing.T) {
	for _, vlans := range [][]frame.VLAN{
		{{Type: frame.EtherTypeVLAN, TCI: 100}},
		{{Type: frame.EtherTypeVLAN, TCI: 3<<13 | 100}},
		{{Type: frame.EtherTypeQinQ, TCI: 200}, {Type: frame.EtherTypeVLAN, TCI: 100}},
	} {
		t.Run(fmt.Sprint(vlans), func(t *testing.T) {
			b := newBench(t, "")
			must(t, b.pair.Near.SetNeighbor("eth0", b.pair.FarIP, otherMAC.HardwareAddr(), lab.Permanent))
			table := openTable(t, b.pair.Near, b.path.Interface, TableConfig{VLANs: vlans})
			if n, err := add(t, table, b.path).Resolve(b.ctx); err != nil || n.MAC != frame.MAC(b.pair.FarMAC) || n.How != HowARP || n.State != 0 {
				t.Errorf("%+v, %v", n, err)
			}
			all := b.peer.Requests()
			if len(all) != 1 || !slices.Equal(all[0].VLANs, idsOf(vlans)) || all[0].Fault != "" {
				t.Errorf("%+v", all)
			}
		})
	}
}

// Replies without the tags, or with others, are none. A tag with id 0 is none.
func TestReplyTags(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	plain := arpReply(t, pair, func(*layers.Ethernet, *layers.ARP) {})
	for _, tt := range []struct {
		want   []uint16
		outer  int // that the kernel took off; -1: none
		inside []byte
		ok     bool
	}{
		{nil, -1, nil, true},
		{nil, 0, nil, true},
		{nil, 0, []byte{0}, true},
		{nil, -1, []byte{0}, true},
		{nil, 5, nil, false},
		{nil, -1, []byte{5}, false},
		{nil, 0, []byte{5}, false},
		{[]uint16{5}, 5, nil, true},
		{[]uint16{5}, 5 | 3<<13, nil, true},
		{[]uint16{5}, -1, []byte{5}, true},
		{[]uint16{5}, -1, nil, false},
		{[]uint16{5}, 6, nil, false},
		{[]uint16{5}, 5, []byte{6}, false},
		{[]uint16{5}, 0, []byte{5}, true},
		{[]uint16{5, 6}, 5, []byte{6}, true},
		{[]uint16{5, 6}, -1, []byte{5, 6}, true},
		{[]uint16{5, 6}, 6, []byte{5}, false},
		{[]uint16{5, 6}, 5, nil, false},
		{[]uint16{5, 6}, 5, []byte{6, 7}, false},
		{[]uint16{5, 6}, 5, []byte{6, 7, 8}, false},
	} {
		b := bytes.Clone(plain[:12])
		for _, id := range tt.inside {
			b = append(b, 0x81, 0, 0, id)
		}
		f := capture.Frame{Data: append(b, plain[12:]...)}
		if tt.outer >= 0 {
			f.VLAN = capture.VLAN{Present: true, TCI: uint16(tt.outer)}
		}
		if _, ok := readReply(f, frame.MAC(pair.NearMAC), tt.want); ok != tt.ok {
			t.Errorf("%v of a frame with %d and %v: %v", tt.want, tt.outer, tt.inside, ok)
		}
	}
}

func TestTableRefuses(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	ifc := pathTo(t, pair).Interface
	tun := *ifc
	tun.NoLink = true
	tag := frame.VLAN{Type: frame.EtherTypeVLAN, TCI: 5}
	for _, tt := range []struct {
		ifc  *l2.Interface
		cfg  TableConfig
		want string
	}{
		{&tun, TableConfig{VLANs: []frame.VLAN{tag}}, "neighbors of eth0: VLAN tags: the link has no Ethernet header"},
		{&tun, TableConfig{NextHopMAC: otherMAC}, "neighbors of eth0: next hops' MAC 02:00:5e:00:53:66: the link has no Ethernet header"},
		{ifc, TableConfig{VLANs: []frame.VLAN{tag, tag, tag}}, "neighbors of eth0: 3 VLAN tags: at most 2"},
		{ifc, TableConfig{MAC: frame.Broadcast}, "neighbors of eth0: source MAC ff:ff:ff:ff:ff:ff: a group's"},
	} {
		if table, err := OpenTable(tt.ifc, tt.cfg); table != nil || err == nil || err.Error() != tt.want {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
}

// A host without an address asks as one that looks whether an address is taken.
func TestTableNoSource(t *testing.T) {
	b := newBench(t, "")
	path := *b.path
	path.Source = netip.Addr{}
	table := openTable(t, b.pair.Near, path.Interface, TableConfig{})
	if n, err := add(t, table, &path).Resolve(b.ctx); err != nil || n.MAC != frame.MAC(b.pair.FarMAC) {
		t.Errorf("%+v, %v", n, err)
	}
	if all := b.peer.Requests(); len(all) != 1 || all[0].SrcIP != netip.IPv4Unspecified() {
		t.Errorf("%+v", all)
	}
}

// Somebody else's MAC asks and is answered.
func TestTableForeignMAC(t *testing.T) {
	b := newBench(t, "")
	table := openTable(t, b.pair.Near, b.path.Interface, TableConfig{MAC: otherMAC})
	if n, err := add(t, table, b.path).Resolve(b.ctx); err != nil || n.MAC != frame.MAC(b.pair.FarMAC) {
		t.Errorf("%+v, %v", n, err)
	}
	if all := b.peer.Requests(); len(all) != 1 || !bytes.Equal(all[0].SrcMAC, otherMAC[:]) || !bytes.Equal(all[0].SenderMAC, otherMAC[:]) {
		t.Errorf("%+v", all)
	}
}

// A full queue puts requests off and loses none.
func TestTablePutOff(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true, Down: true})
	table := openTable(t, pair.Near, pathTo(t, pair).Interface, TableConfig{})
	must(t, table.Close()) // by hand from here on
	now := table.now()
	var batch []request
	for i := range 3 {
		h := &Hop{table: table, place: notScheduled}
		h.machine.demand(now)
		dst, send, again := h.machine.next(now)
		if !send {
			t.Fatal("asks nothing")
		}
		table.schedule.set(h, again)
		if i == 1 {
			h.machine.answer(answer{someMAC, true, true}, now) // meanwhile
			table.reschedule(h)
		}
		batch = append(batch, request{h, dst})
	}
	table.putOff(batch, now)
	for i, r := range batch {
		dst, send, _ := r.hop.machine.next(now.add(queuePause))
		if want := i != 1; send != want || send && dst != frame.Broadcast || (r.hop.due == now.add(queuePause)) != want {
			t.Errorf("%d: asks %v, due %d", i, send, r.hop.due)
		}
	}
	if table.resumes != now.add(queuePause) {
		t.Errorf("resumes %d", table.resumes)
	}
}

// Ten thousand next hops: one pair of sockets, each asked once, and answered by
// a Linux host that has them all.
func TestTableTenThousand(t *testing.T) {
	const count = 10000
	pair := labtest.NewPair(t, nil)
	must(t, pair.Far.Install(lab.Route{Dst: netip.MustParsePrefix("198.18.0.0/15"), Interface: "lo", Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL}))
	base := pathTo(t, pair)
	table := openTable(t, pair.Near, base.Interface, TableConfig{})
	hops := make([]*Hop, count)
	addr := netip.MustParseAddr("198.18.0.1")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	for i := range hops {
		path := *base
		path.Destination, path.NextHop = addr, addr
		hops[i] = add(t, table, &path)
		addr = addr.Next()
	}
	added := time.Since(start)
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / count
	t.Logf("%d bytes a hop, %v to add one", each, added/count)
	if each > 512 {
		t.Errorf("%d bytes a hop", each)
	}
	if h := table.schedule.first(); h != nil {
		t.Errorf("%v is due, and nobody needs it", h.addr)
	}
	start = time.Now()
	for _, h := range hops {
		h.Snapshot()
	}
	t.Logf("%v for a snapshot that asks", time.Since(start)/count)
	ctx := timeout(t)
	for _, h := range hops {
		n, err := h.Resolve(ctx)
		if err != nil || n.MAC != frame.MAC(pair.FarMAC) {
			t.Fatalf("%+v, %v", n, err)
		}
	}
	t.Logf("%v for all to be answered", time.Since(start))
	start = time.Now()
	for _, h := range hops {
		h.Snapshot()
	}
	t.Logf("%v for a snapshot", time.Since(start)/count)
	if len(table.schedule) != 0 {
		t.Errorf("%d are still due", len(table.schedule))
	}
}

func TestSnapshotAllocates(t *testing.T) {
	b := newBenchAlone(t, "")
	b.set(lab.Permanent)
	table := openTable(t, b.pair.Near, b.path.Interface, TableConfig{})
	h := add(t, table, b.path)
	if n := testing.AllocsPerRun(1000, func() { h.Snapshot() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The heap gives hops in the order in which they are due, whatever was done to it.
func TestSchedule(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var s schedule
	hops := make([]Hop, 200)
	for i := range hops {
		hops[i].place = notScheduled
	}
	due := map[*Hop]moment{}
	for range 20000 {
		h := &hops[random.IntN(len(hops))]
		at := moment(random.IntN(100))
		s.set(h, at)
		due[h] = at
		if at == never {
			delete(due, h)
		}
		if len(s) != len(due) {
			t.Fatalf("%d scheduled, want %d", len(s), len(due))
		}
		first := s.first()
		if (first == nil) != (len(due) == 0) {
			t.Fatalf("first %v of %d", first, len(due))
		}
		for h, at := range due {
			if h.due != at || s[h.place] != h || first.due > at {
				t.Fatalf("hop due %d at place %d, want %d; the first is due %d", h.due, h.place, at, first.due)
			}
		}
	}
}

func BenchmarkSnapshot(b *testing.B) {
	pair := labtest.NewPair(b, &lab.PairConfig{Silent: true})
	path := pathTo(b, pair)
	must(b, pair.Near.SetNeighbor("eth0", pair.FarIP, pair.FarMAC, lab.Reachable))
	h := add(b, openTable(b, pair.Near, path.Interface, TableConfig{}), path)
	b.ReportAllocs()
	for b.Loop() {
		h.Snapshot()
	}
}
