package bpf

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	cbpf "golang.org/x/net/bpf"

	"github.com/l2ping/l2ping/l2/frame"
)

// A classicVM runs the classic program of a Match in the virtual machine of
// x/net/bpf, which knows no Linux extension but the length: it is given the
// constants that the kernel would have loaded.
type classicVM struct {
	m   Match
	vms map[Meta]*cbpf.VM
}

func newClassicVM(m Match) *classicVM { return &classicVM{m, make(map[Meta]*cbpf.VM)} }

func (c *classicVM) run(tb testing.TB, b []byte, meta Meta) bool {
	tb.Helper()
	if c.vms[meta] == nil {
		c.vms[meta] = c.compile(tb, meta)
	}
	n, err := c.vms[meta].Run(b)
	if err != nil {
		tb.Fatalf("VM: %v", err)
	}
	if n != 0 && n != keepAll {
		tb.Fatalf("VM keeps %d bytes", n)
	}
	return n != 0
}

func (c *classicVM) compile(tb testing.TB, meta Meta) *cbpf.VM {
	tb.Helper()
	insns, err := c.m.Classic()
	if err != nil {
		tb.Fatal(err)
	}
	for i, in := range insns {
		ext, ok := in.(cbpf.LoadExtension)
		if !ok {
			continue
		}
		load := cbpf.LoadConstant{Dst: cbpf.RegA}
		switch ext.Num {
		case cbpf.ExtType:
			load.Val = uint32(meta.PacketType)
		case cbpf.ExtVLANTagPresent:
			if meta.VLANPresent {
				load.Val = 1
			}
		case cbpf.ExtVLANTag:
			load.Val = uint32(meta.VLANTCI)
		case cbpf.ExtLen:
			continue
		default:
			tb.Fatalf("classic program loads extension %d", ext.Num)
		}
		insns[i] = load
	}
	vm, err := cbpf.NewVM(insns)
	if err != nil {
		tb.Fatal(err)
	}
	return vm
}

// check compares what the compilations that need no kernel say with want.
func check(t *testing.T, vm *classicVM, b []byte, meta Meta, want verdict) {
	t.Helper()
	m, bad := vm.m, false
	if got := m.Accepts(b, meta); got != (want == ours) {
		t.Errorf("Accepts: %v, want %v", got, !got)
		bad = true
	}
	if got := m.Claims(b, meta); got != (want == claimed) {
		t.Errorf("Claims: %v, want %v", got, !got)
		bad = true
	}
	if got := vm.run(t, b, meta); got != (want == ours) {
		t.Errorf("classic program in the VM: %v, want %v", got, !got)
		bad = true
	}
	if bad {
		t.Logf("%+v\n% x", meta, b)
	}
}

func TestMade(t *testing.T) {
	var vms [len(matches)]*classicVM
	for i, mm := range matches {
		vms[i] = newClassicVM(mm.m)
	}
	names := make(map[string]bool)
	for _, s := range madeSamples() {
		if names[s.name] {
			t.Errorf("two frames %q", s.name)
		}
		names[s.name] = true
		t.Run(s.name, func(t *testing.T) {
			for i, mm := range matches {
				want := s.wanted(i)
				check(t, vms[i], s.bytes, s.meta(), want)
				if got := reference(mm.m, s.bytes, s.meta()); got != want {
					t.Errorf("reference: %d, want %d", got, want)
				}
				if t.Failed() {
					t.Fatalf("by the match %q", mm.name)
				}
			}
		})
	}
}

// Each Match has frames that it accepts, and all but those without conditions
// have some that it finds to be false.
func TestMadeIsEnough(t *testing.T) {
	for i, mm := range matches {
		var count [ours + 1]int
		for _, s := range madeSamples() {
			count[s.wanted(i)]++
		}
		if count[ours] == 0 || count[claimed] == 0 && i != mShort {
			t.Errorf("%s: %d times ours, %d times claimed", mm.name, count[ours], count[claimed])
		}
	}
}

func TestCorpus(t *testing.T) {
	list := corpus(t)
	var count [ours + 1]int
	for i, mm := range matches {
		t.Run(mm.name, func(t *testing.T) {
			vm := newClassicVM(mm.m)
			for _, s := range list {
				if !s.judgedBy(i) {
					continue
				}
				want := reference(mm.m, s.bytes, s.meta())
				count[want]++
				check(t, vm, s.bytes, s.meta(), want)
				if t.Failed() {
					t.Fatal(s.name)
				}
			}
		})
	}
	t.Logf("%d frames: %d times ours, %d times claimed, %d times neither", len(list), count[ours], count[claimed], count[other])
	for v, n := range count {
		if n < 50 {
			t.Errorf("only %d judgments of the corpus are %d", n, v)
		}
	}
}

// fields are the valid Matches among all that some values of each field make.
func fields() []Match {
	var list []Match
	add := func(m Match) {
		m.ID, m.Cookie = echoID, cookie
		for flags := range 8 {
			m.Fragments, m.NoLink, m.CookieLen = flags&1 != 0, flags&2 != 0, 0
			if flags&4 != 0 {
				m.CookieLen = 7
			}
			if m.Validate() == nil {
				list = append(list, m)
			}
		}
	}
	for kind := EchoReply; kind <= NeighborClaim; kind++ {
		for _, local := range []netip.Addr{{}, localIP, localIP6, netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
			for _, peer := range []netip.Addr{{}, peerIP, peerIP6} {
				for _, mac := range []frame.MAC{{}, localMAC, otherMAC} {
					add(Match{Kind: kind, Local: local, Peer: peer, MAC: mac})
					add(Match{Kind: kind, Local: local, Peer: peer, MAC: mac, VLANs: [2]uint16{5}, VLANCount: 1})
					add(Match{Kind: kind, Local: local, Peer: peer, MAC: mac, VLANs: [2]uint16{5, 7}, VLANCount: 2})
					add(Match{Kind: kind, Local: local, Peer: peer, MAC: mac, VLANs: [2]uint16{0, 7}, VLANCount: 2})
				}
			}
		}
	}
	return list
}

// fieldSamples are the frames for those: one of each sort.
func fieldSamples() []sample {
	var list []sample
	for i, s := range madeSamples() {
		if i%7 == 0 || s.want != nil && len(s.ids) == 0 && !strings.HasPrefix(s.name, "quote in") {
			list = append(list, s)
		}
	}
	return list
}

// TestFields has each combination of fields judge one frame of each sort.
func TestFields(t *testing.T) {
	list, frames := fields(), fieldSamples()
	var count [ours + 1]int
	for _, m := range list {
		vm := newClassicVM(m)
		for _, s := range frames {
			want := reference(m, s.bytes, s.meta())
			count[want]++
			check(t, vm, s.bytes, s.meta(), want)
			if t.Failed() {
				t.Fatalf("%s by %+v", s.name, m)
			}
		}
	}
	t.Logf("%d matches, %d frames: %d times ours, %d times claimed, %d times neither", len(list), len(frames), count[ours], count[claimed], count[other])
	if len(list) < 500 || count[ours] < 1000 || count[claimed] < 1000 {
		t.Error("too few to tell")
	}
}

// Whatever the frame, its bytes do not help it past what the kernel says of it.
func TestMeta(t *testing.T) {
	for _, mm := range matches {
		m := mm.m
		s := acceptable(m)
		outer := uint16(0)
		if list := ids(m); len(list) > 0 {
			outer = list[0]
		}
		vm := newClassicVM(m)
		for _, pkttype := range []uint8{0, 1, 2, 3, 4, 5, 6, 7, 8, 128, 255} {
			for _, meta := range []Meta{
				{}, {VLANTCI: 5}, // a tag that is not there
				{VLANPresent: true}, {VLANPresent: true, VLANTCI: 0xf000},
				{VLANPresent: true, VLANTCI: 1}, {VLANPresent: true, VLANTCI: 5}, {VLANPresent: true, VLANTCI: 7},
				{VLANPresent: true, VLANTCI: 0xf005}, {VLANPresent: true, VLANTCI: 0x0fff},
			} {
				meta.PacketType = pkttype
				id := uint16(0)
				if meta.VLANPresent {
					id = meta.VLANTCI & 0xfff
				}
				want := other
				toMAC := !m.MAC.IsZero() && bytes.HasPrefix(s.bytes, m.MAC[:])
				if pkttype <= packetMulticast || pkttype == packetOtherHost && toMAC {
					want = ours
					if id != outer {
						want = claimed
					}
				}
				check(t, vm, s.bytes, meta, want)
				if t.Failed() {
					t.Fatal(mm.name)
				}
			}
		}
	}
}

func TestValidate(t *testing.T) {
	for _, mm := range matches {
		if err := mm.m.Validate(); err != nil {
			t.Errorf("%s: %v", mm.name, err)
		}
	}

	echo, arp, request := matches[mEcho].m, matches[mARP].m, matches[mRequest4].m
	neighbor, raw, claim := matches[mNeighbor6].m, matches[mRaw4].m, matches[mClaim6].m
	addr := netip.MustParseAddr
	for _, tt := range []struct {
		base Match
		mod  func(*Match)
		want string
	}{
		{Match{}, func(*Match) {}, "match: unknown kind 0"},
		{echo, func(m *Match) { m.Kind = 6 }, "match: unknown kind 6"},
		{echo, func(m *Match) { m.Local = addr("::ffff:192.0.2.1") }, "match for echo reply: local address ::ffff:192.0.2.1: IPv4 in the form of IPv6"},
		{echo, func(m *Match) { m.Local = netip.IPv4Unspecified() }, "local address 0.0.0.0: not a host's"},
		{echo, func(m *Match) { m.Local = netip.IPv6Unspecified() }, "local address ::: not a host's"},
		{echo, func(m *Match) { m.Local = addr("255.255.255.255") }, "local address 255.255.255.255: not a host's"},
		{echo, func(m *Match) { m.Local = addr("ff02::1") }, "local address ff02::1: not a host's"},
		{arp, func(m *Match) { m.Local = localIP6 }, "match for ARP reply: local address 2001:db8:1::a1: not IPv4"},
		{arp, func(m *Match) { m.Local = addr("224.0.0.1") }, "local address 224.0.0.1: not a host's"},
		{request, func(m *Match) { m.Local = netip.Addr{} }, "match for neighbor request: no local address"},
		{request, func(m *Match) { m.Local = netip.IPv4Unspecified() }, "local address 0.0.0.0: not a host's"},
		{echo, func(m *Match) { m.Peer = addr("::ffff:192.0.2.1") }, "peer ::ffff:192.0.2.1: IPv4 in the form of IPv6"},
		{echo, func(m *Match) { m.Peer = peerIP6 }, "peer 2001:db8:2::b7: not of the family of the local address 192.0.2.1"},
		{neighbor, func(m *Match) { m.Peer = peerIP }, "peer 198.51.100.7: not of the family of the local address 2001:db8:1::a1"},
		{echo, func(m *Match) { m.Peer = netip.IPv4Unspecified() }, "peer 0.0.0.0: not a host's address"},
		{neighbor, func(m *Match) { m.Peer = netip.IPv6Unspecified() }, "match for neighbor reply: peer ::: not a host's address"},
		{echo, func(m *Match) { m.Peer = addr("255.255.255.255") }, "answered by its members"},
		{echo, func(m *Match) { m.Peer = addr("239.1.2.3") }, "answered by its members"},
		{echo, func(m *Match) { m.Peer = addr("ff02::1%eth0") }, "answered by its members"},
		{arp, func(m *Match) { m.Peer = peerIP6 }, "peer 2001:db8:2::b7: not IPv4"},
		{echo, func(m *Match) { m.CookieLen = 9 }, "cookie of 9 bytes: not within 0 to 8"},
		{echo, func(m *Match) { m.CookieLen = -1 }, "cookie of -1 bytes"},
		{arp, func(m *Match) { m.MAC = frame.MAC{} }, "no MAC address"},
		{neighbor, func(m *Match) { m.MAC = frame.MAC{} }, "no MAC address"},
		{claim, func(m *Match) { m.MAC = frame.MAC{} }, "match for neighbor claim: no MAC address"},
		{claim, func(m *Match) { m.Peer = netip.IPv6Unspecified() }, "match for neighbor claim: peer ::: not a host's address"},
		{claim, func(m *Match) { m.NoLink = true }, "match for neighbor claim: there are none without a link layer"},
		{arp, func(m *Match) { m.MAC = frame.Broadcast }, "MAC address ff:ff:ff:ff:ff:ff: not a host's"},
		{echo, func(m *Match) { m.MAC = groupMAC }, "MAC address 01:00:5e:00:00:01: not a host's"},
		{echo, func(m *Match) { m.VLANCount = 3 }, "3 VLAN tags: not within 0 to 2"},
		{echo, func(m *Match) { m.VLANCount = -1 }, "-1 VLAN tags"},
		{echo, func(m *Match) { m.VLANs, m.VLANCount = [2]uint16{1, 4095}, 2 }, "VLAN id 4095: not within 0 to 4094"},
		{raw, func(m *Match) { m.MAC = localMAC }, "MAC address 02:00:5e:00:53:01: there are none without a link layer"},
		{raw, func(m *Match) { m.VLANCount = 1 }, "VLAN tags: there are none without a link layer"},
		{arp, func(m *Match) { m.NoLink = true }, "match for ARP reply: there are none without a link layer"},
		{request, func(m *Match) { m.NoLink = true }, "match for neighbor request: there are none without a link layer"},
	} {
		m := tt.base
		tt.mod(&m)
		err := m.Validate()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: error %v, want %q", m, err, tt.want)
		}
		if _, cerr := m.Classic(); cerr == nil || err == nil || cerr.Error() != err.Error() {
			t.Errorf("Classic: %v, want %v", cerr, err)
		}
		for _, s := range madeSamples()[:1] {
			if m.Accepts(s.bytes, s.meta()) || m.Claims(s.bytes, s.meta()) {
				t.Errorf("%+v is not valid and accepts a frame", m)
			}
		}
	}

	// What another kind needs does no harm, nor do ids that do not count.
	arp.CookieLen, arp.Fragments = -1, true
	request.Peer = netip.MustParseAddr("::ffff:192.0.2.1")
	echo.VLANs, echo.VLANCount = [2]uint16{4094, 4095}, 1
	claim.Local = netip.MustParseAddr("::ffff:192.0.2.1")
	for _, m := range []Match{arp, request, echo, claim} {
		if err := m.Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestDropAll(t *testing.T) {
	insns, ok := cbpf.Disassemble(DropAll())
	if !ok {
		t.Fatalf("cannot disassemble %v", DropAll())
	}
	vm, err := cbpf.NewVM(insns)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range madeSamples() {
		if n, err := vm.Run(s.bytes); n != 0 || err != nil {
			t.Errorf("%s: %d bytes, %v", s.name, n, err)
		}
	}
}

func TestStrings(t *testing.T) {
	for _, mode := range []Mode{Auto, EBPF, Classic} {
		got, err := ParseMode(mode.String())
		if err != nil || got != mode {
			t.Errorf("ParseMode(%q) = %v, %v", mode, got, err)
		}
		if _, ok := Capabilities[mode]; !ok {
			t.Errorf("no capabilities listed for %v", mode)
		}
	}
	for _, s := range []string{"", "EBPF", "Mode(3)"} {
		if m, err := ParseMode(s); err == nil {
			t.Errorf("ParseMode(%q) = %v", s, m)
		}
	}
	for v, want := range map[interface{ String() string }]string{
		Mode(3): "Mode(3)", EchoReply: "echo reply", ARPReply: "ARP reply",
		NeighborReply: "neighbor reply", NeighborRequest: "neighbor request", NeighborClaim: "neighbor claim", Kind(0): "Kind(0)", Kind(6): "Kind(6)",
	} {
		if v.String() != want {
			t.Errorf("%q, want %q", v, want)
		}
	}
}

func TestAllocs(t *testing.T) {
	list := madeSamples()
	n := testing.AllocsPerRun(10, func() {
		for _, mm := range matches {
			for _, s := range list {
				mm.m.Accepts(s.bytes, s.meta())
				mm.m.Claims(s.bytes, s.meta())
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// The seeds are in testdata/fuzz/FuzzMatch.
func FuzzMatch(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte, pkttype uint8, vlan bool, tci uint16, match uint8) {
		m := matches[int(match)%len(matches)].m
		meta := Meta{PacketType: pkttype, VLANPresent: vlan, VLANTCI: tci}
		check(t, newClassicVM(m), b, meta, reference(m, b, meta))
	})
}

func BenchmarkAccepts(b *testing.B) {
	tagged := insertTag(newPing(), 7)
	for _, bb := range []struct {
		name  string
		m     Match
		frame []byte
		meta  Meta
	}{
		{"reply", matches[mEcho].m, newPing(), Meta{}},
		{"error", matches[mEcho].m, newError(icmpTimeExceeded, newQuote()), Meta{}},
		{"not IPv4", matches[mEcho].m, newARP(), Meta{}},
		{"ARP", matches[mARP].m, newARP(), Meta{}},
		{"IPv6 reply", matches[mEcho6].m, newPing6(), Meta{}},
		{"IPv6 error", matches[mEcho6].m, newError6(icmp6TimeExceeded, newQuote6()), Meta{}},
		{"VLAN 5.7", matches[mQinQ].m, tagged, Meta{VLANPresent: true, VLANTCI: 5}},
		{"no link layer", matches[mRaw4].m, newPing()[etherLen:], Meta{}},
		{"advertisement", matches[mNeighbor6].m, newAdvertisement(), Meta{}},
		{"claim", matches[mClaim4].m, newARP(), Meta{}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bb.m.Accepts(bb.frame, bb.meta)
			}
		})
	}
}

func BenchmarkClassic(b *testing.B) {
	m := matches[mEcho].m
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Classic(); err != nil {
			b.Fatal(err)
		}
	}
}
