package bpf

import (
	"net/netip"
	"strings"
	"testing"

	cbpf "golang.org/x/net/bpf"

	"github.com/l2ping/l2ping/l2/frame"
)

// runVM runs the classic program of a Match in the virtual machine of x/net/bpf,
// which knows no Linux extension but the length: it is given the constants that
// the kernel would have loaded.
func runVM(tb testing.TB, m Match, b []byte, meta Meta) bool {
	tb.Helper()
	insns, err := m.Classic()
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
	n, err := vm.Run(b)
	if err != nil {
		tb.Fatalf("VM: %v", err)
	}
	if n != 0 && n != keepAll {
		tb.Fatalf("VM keeps %d bytes", n)
	}
	return n != 0
}

// check compares what the compilations that need no kernel say with want.
func check(t *testing.T, m Match, b []byte, meta Meta, want verdict) {
	t.Helper()
	if got := m.Accepts(b, meta); got != (want == ours) {
		t.Errorf("Accepts: %v, want %v", got, !got)
	}
	if got := m.Claims(b, meta); got != (want == claimed) {
		t.Errorf("Claims: %v, want %v", got, !got)
	}
	if got := runVM(t, m, b, meta); got != (want == ours) {
		t.Errorf("classic program in the VM: %v, want %v", got, !got)
	}
	if t.Failed() {
		t.Logf("%+v\n% x", meta, b)
	}
}

func TestMade(t *testing.T) {
	for _, s := range madeSamples() {
		t.Run(s.name, func(t *testing.T) {
			for i, want := range s.want {
				m := matches[i].m
				check(t, m, s.bytes, s.meta(), want)
				if got := reference(m, s.bytes, s.meta()); got != want {
					t.Errorf("reference: %d, want %d", got, want)
				}
				if t.Failed() {
					t.Fatalf("by the match %q", matches[i].name)
				}
			}
		})
	}
}

func TestCorpus(t *testing.T) {
	list := corpus(t)
	var count [ours + 1]int
	for _, mm := range matches {
		t.Run(mm.name, func(t *testing.T) {
			for _, s := range list {
				want := reference(mm.m, s.bytes, s.meta())
				count[want]++
				check(t, mm.m, s.bytes, s.meta(), want)
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

// Whatever the frame, its bytes do not help it past what the kernel says of it.
func TestMeta(t *testing.T) {
	for _, mm := range matches {
		b := acceptable(mm.m)
		for pkttype := range 256 {
			for _, vlan := range []bool{false, true} {
				want := other
				if pkttype <= packetMulticast {
					switch {
					case !vlan:
						want = ours
					case mm.m.Kind == EchoReply:
						want = claimed
					}
				}
				check(t, mm.m, b, Meta{PacketType: uint8(pkttype), VLANPresent: vlan, VLANTCI: 1}, want)
				if t.Failed() {
					t.Fatalf("%s, packet type %d, VLAN %v", mm.name, pkttype, vlan)
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

	echo, arp := matches[mEcho].m, matches[mARP].m
	for _, tt := range []struct {
		base Match
		mod  func(*Match)
		want string
	}{
		{Match{}, func(*Match) {}, "match: unknown kind 0"},
		{echo, func(m *Match) { m.Kind = 3 }, "match: unknown kind 3"},
		{echo, func(m *Match) { m.Local = netip.Addr{} }, "match for echo reply: no local address"},
		{echo, func(m *Match) { m.Local = netip.MustParseAddr("2001:db8::1") }, "local address 2001:db8::1: not IPv4"},
		{echo, func(m *Match) { m.Local = netip.MustParseAddr("::ffff:192.0.2.1") }, "not IPv4"},
		{echo, func(m *Match) { m.Local = netip.IPv4Unspecified() }, "local address 0.0.0.0: not a host's"},
		{arp, func(m *Match) { m.Local = netip.MustParseAddr("224.0.0.1") }, "match for ARP reply: local address 224.0.0.1: not a host's"},
		{echo, func(m *Match) { m.Peer = netip.MustParseAddr("2001:db8::2") }, "peer 2001:db8::2: not IPv4"},
		{echo, func(m *Match) { m.Peer = netip.IPv4Unspecified() }, "peer 0.0.0.0: not a host's address"},
		{echo, func(m *Match) { m.Peer = netip.MustParseAddr("255.255.255.255") }, "answered by its members"},
		{echo, func(m *Match) { m.Peer = netip.MustParseAddr("239.1.2.3") }, "answered by its members"},
		{echo, func(m *Match) { m.CookieLen = 9 }, "cookie of 9 bytes: not within 0 to 8"},
		{echo, func(m *Match) { m.CookieLen = -1 }, "cookie of -1 bytes"},
		{arp, func(m *Match) { m.Peer = netip.Addr{} }, "match for ARP reply: no peer"},
		{arp, func(m *Match) { m.MAC = frame.MAC{} }, "no MAC address"},
		{arp, func(m *Match) { m.MAC = frame.Broadcast }, "MAC address ff:ff:ff:ff:ff:ff: not a host's"},
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

	// What another kind needs does no harm.
	arp.CookieLen = -1
	if err := arp.Validate(); err != nil {
		t.Error(err)
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
		Mode(3): "Mode(3)", EchoReply: "echo reply", ARPReply: "ARP reply", Kind(0): "Kind(0)",
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
				mm.m.Accepts(s.bytes, Meta{})
				mm.m.Claims(s.bytes, Meta{})
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// The seeds are in testdata/fuzz/FuzzMatch.
func FuzzMatch(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte, pkttype uint8, vlan bool, match uint8) {
		m := matches[int(match)%len(matches)].m
		meta := Meta{PacketType: pkttype, VLANPresent: vlan}
		check(t, m, b, meta, reference(m, b, meta))
	})
}

func BenchmarkAccepts(b *testing.B) {
	for _, bb := range []struct {
		name  string
		m     Match
		frame []byte
	}{
		{"reply", matches[mEcho].m, newPing()},
		{"error", matches[mEcho].m, newError(icmpTimeExceeded, newQuote())},
		{"not IPv4", matches[mEcho].m, newARP()},
		{"ARP", matches[mARP].m, newARP()},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bb.m.Accepts(bb.frame, Meta{})
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
