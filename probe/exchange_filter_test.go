//go:build linux

package probe

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	cbpf "golang.org/x/net/bpf"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/bpf/pcapfilter"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/internal/sock/classic"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// compiled is a filter in tcpdump's language, for a socket.
func compiled(t testing.TB, expr string) []cbpf.RawInstruction {
	t.Helper()
	program, err := pcapfilter.Compile(expr, &pcapfilter.Config{Live: true})
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// Answers that the caller's own filter refuses are none, in either filter's mode.
func TestExchangeInstructions(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	labtest.StartPeer(t, pair.Far, "eth0", "")
	modes(t, func(t *testing.T, mode bpf.Mode) {
		for _, tt := range []struct {
			expr string
			want []bool // whether each request is answered
		}{
			{"", []bool{true, true, true}},
			{"arp", []bool{true, false, true}},
			{"not vlan", []bool{true, true, false}},
			{"vlan 5 and arp", []bool{false, false, true}},
			{"vlan 6", []bool{false, false, false}},
			{"icmp and inbound and less 98", []bool{false, true, false}},
			{"icmp and greater 99", []bool{false, false, false}},
			{"ether dst 02:00:5e:00:53:01", []bool{true, true, true}},
		} {
			frames := [][]byte{
				arpFor(t, pair, pair.FarIP), echoTo(t, pair, pair.FarIP, 1),
				arpFor(t, pair, pair.FarIP, frame.VLAN{Type: frame.EtherTypeVLAN, TCI: 5}),
				arpFor(t, pair, pair.FarIP, frame.VLAN{Type: frame.EtherTypeVLAN, TCI: 7}),
			}
			// The peer answers in order: when the last is answered, all are that will be.
			program := compiled(t, tt.expr)
			last := classic.Filter{
				{Op: 0x20, K: 0xfffff000 + 44}, // VLAN tag
				{Op: 0x15, Jf: 1, K: 7}, {Op: 6, K: 1}, {Op: 0},
			}
			x := exchanger(t, pair.Near, ExchangeConfig{Filter: mode, Instructions: append(last, program...)})
			got := make([]bool, len(frames))
			for e, err := range x.Run(t.Context(), Frames(frames...)) {
				if err != nil {
					t.Fatal(err)
				}
				if e.Answered {
					got[e.Request.Seq-1] = true
				}
				if e.Request.Seq == 4 {
					break
				}
			}
			if s := x.Statistics(); s.Unpaired != 0 {
				t.Errorf("%q: what it refuses counts: %+v", tt.expr, s)
			}
			for i, want := range append(tt.want, true) {
				if got[i] != want {
					t.Errorf("%q: request %d is answered: %v, want %v", tt.expr, i+1, got[i], want)
				}
			}
		}
	})
}

// The packet type is that which the kernel gives a frame.
func TestExchangeInstructionsSeeTypes(t *testing.T) {
	ifc := &l2.Interface{Index: 7, MAC: nearMAC}
	for _, tt := range []struct {
		to   frame.MAC
		ifc  *l2.Interface
		want uint8
	}{
		{nearMAC, ifc, 0},
		{frame.Broadcast, ifc, 1},
		{frame.MAC{0x33, 0x33}, ifc, 2},
		{farMAC, ifc, 3},
		{farMAC, &l2.Interface{NoLink: true}, 0},
	} {
		if got := takenFor(tt.to[:], tt.ifc); got != tt.want {
			t.Errorf("a frame to %s: %d, want %d", tt.to, got, tt.want)
		}
	}
	if got := takenFor([]byte{1}, ifc); got != 0 {
		t.Errorf("less than a frame: %d", got)
	}
}

// A pairing allocates nothing with a program either, be the frame refused or not.
func TestExchangeInstructionsDoNotAllocate(t *testing.T) {
	l := newLane(t, ExchangeConfig{})
	var err error
	if l.program, err = classic.NewMachine(compiled(t, "icmp and not vlan")); err != nil {
		t.Fatal(err)
	}
	l.ifc = &l2.Interface{Index: 7, MAC: nearMAC}
	b := replyTo(echoes(1)[0]).bytes()
	frames := []capture.Frame{{Data: b, Length: len(b)}, {Data: b, Length: len(b), VLAN: capture.VLAN{Present: true, TCI: 5}}}
	if n := testing.AllocsPerRun(1000, func() {
		if !l.passes(&frames[0]) || l.passes(&frames[1]) {
			t.Fatal("what passes is not what is asked for")
		}
	}); n != 0 {
		t.Errorf("a frame allocates %v times", n)
	}
}

func TestExchangeMark(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	next := labtest.HearMark(t, pair.Near, "eth0", 0xf0000005)
	x := exchanger(t, pair.Near, ExchangeConfig{Mark: 0xf0000005})
	refused := x.MarkRefused()
	request := echoTo(t, pair, pair.FarIP, 1)
	for e, err := range x.Run(t.Context(), Frames(request)) {
		if err != nil || !e.Answered {
			t.Errorf("exchanged %+v, %v", e, err)
		}
	}
	if refused != nil {
		t.Skipf("the mark is refused: %v (before Linux 5.17 it needs CAP_NET_ADMIN)", refused)
	}
	if got := next(patience); !bytes.Equal(got, request) {
		t.Errorf("%x bears the mark, want %x", got, request)
	}
}

// secondWire joins two namespaces by one more wire.
func secondWire(t *testing.T, pair *lab.Pair, ifname string) {
	t.Helper()
	for _, f := range []func() error{
		func() error { return pair.Near.AddVeth(ifname, "wire-end") },
		func() error { return pair.Near.Move("wire-end", pair.Far) },
		func() error { return pair.Far.Rename("wire-end", ifname) },
		func() error { return errors.Join(pair.Near.SetUp(ifname), pair.Far.SetUp(ifname)) },
		func() error { return pair.Near.WaitUp(ifname) },
	} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
}

// An answer by another port of the bridge is heard on the bridge, and said; one by the
// interface itself is heard there too, and is one answer.
func TestExchangeOtherMember(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	secondWire(t, pair, "eth1")
	labtest.RequireKind(t, pair.Near.AddBridge("br0", "eth0", "eth1"))
	bridge := frame.MAC{2, 0, 0x5e, 0, 0x53, 0xbb}
	if err := errors.Join(pair.Near.SetMAC("br0", bridge.HardwareAddr()), pair.Near.SetUp("br0")); err != nil {
		t.Fatal(err)
	}
	// The far end sends what is for one address by the one wire, for another by the
	// other.
	other := netip.MustParseAddr("198.51.100.99")
	routes := map[netip.Addr]string{pair.NearIP: "eth0", other: "eth1"}
	for addr, ifname := range routes {
		if err := pair.Far.AddRoute(netip.PrefixFrom(addr, 32), netip.Addr{}, ifname); err != nil {
			t.Fatal(err)
		}
	}
	for _, mac := range []frame.MAC{bridge, frame.MAC(pair.NearMAC)} {
		for addr, ifname := range routes {
			if err := pair.Far.SetNeighbor(ifname, addr, mac.HardwareAddr(), lab.Permanent); err != nil {
				t.Fatal(err)
			}
		}
		modes(t, func(t *testing.T, mode bpf.Mode) {
			frames := [][]byte{
				echoTo(t, pair, pair.FarIP, 1, func(e *frame.Echo) { e.SrcMAC = mac }),
				echoTo(t, pair, pair.FarIP, 2, func(e *frame.Echo) { e.SrcMAC, e.Src = mac, other }),
				echoTo(t, pair, pair.FarIP, 3, func(e *frame.Echo) { e.SrcMAC = mac }),
			}
			for _, program := range [][]cbpf.RawInstruction{nil, compiled(t, "icmp")} {
				cfg := ExchangeConfig{Filter: mode, Multi: true, Instructions: program}
				if mac == bridge {
					cfg.MAC = mac
				}
				got := map[uint64]int{}
				x := exchanger(t, pair.Near, cfg)
				for e, err := range x.Run(t.Context(), Frames(frames...)) {
					if err != nil || !e.Answered || e.OtherMember != (e.Request.Seq == 2) || e.RTT <= 0 || e.RTTSource != l2.StampDriver {
						t.Fatalf("from %s: exchanged %+v, %v", mac, e, err)
					}
					// With the third answer the bridge has the first.
					if got[e.Request.Seq]++; got[2] > 0 && got[3] > 0 {
						break
					}
				}
				if got[1] != 1 {
					t.Errorf("from %s: %d answers to the first request", mac, got[1])
				}
			}
		})
	}
}

// So it is with members of a VRF.
func TestExchangeVRF(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	secondWire(t, pair, "eth1")
	labtest.RequireKind(t, pair.Near.AddVRF("vrf0", 10, "eth0", "eth1"))
	other := netip.MustParseAddr("198.51.100.99")
	mac, err := pair.Near.MAC("eth1")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(pair.Far.AddRoute(netip.PrefixFrom(other, 32), netip.Addr{}, "eth1"), pair.Far.SetNeighbor("eth1", other, mac, lab.Permanent)); err != nil {
		t.Fatal(err)
	}
	answered, unanswered, err := exchangeIn(t, pair.Near, [][]byte{echoTo(t, pair, pair.FarIP, 2, func(e *frame.Echo) { e.Src = other })}, ExchangeConfig{})
	if err != nil || len(answered) != 1 || len(unanswered) != 0 || !answered[0].OtherMember {
		t.Fatalf("answered %+v, unanswered %+v, %v", answered, unanswered, err)
	}
}

// The stamps of more frames than are remembered.
func TestHeard(t *testing.T) {
	h := new(heard)
	for i := range int64(3 * heardLen / 2) {
		h.note(i + 1)
		if i%3 != 0 && !h.has(i+1) || h.has(i+2) {
			t.Fatalf("of %d", i+1)
		}
	}
	if h.has(heardLen/2) || !h.has(heardLen/2+1) || !h.has(3*heardLen/2) || !h.has(heardLen+1) {
		t.Error("it remembers others than the last")
	}
}

// What is answered can be said by a Match and by a program.
func TestAnswerFilters(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	foreign := netip.MustParseAddr("198.51.100.77")
	mac := frame.MAC{2, 0, 0x5e, 0, 0x53, 0x77}
	// The requests are from 198.51.100.11 on, the last from 198.51.100.55.
	const first, last = 11, 55
	from := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, n}) }
	request := func(n byte, dst frame.MAC, target netip.Addr, vlans ...frame.VLAN) []byte {
		a := frame.ARP{Operation: frame.ARPRequest, SenderMAC: frame.MAC(pair.NearMAC), SenderIP: from(n), TargetIP: target}
		b, err := a.MarshalBehind(frame.Header{Src: frame.MAC(pair.NearMAC), Dst: dst, VLANs: vlans})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	frames := [][]byte{
		request(first, frame.Broadcast, foreign),
		request(first+1, frame.MAC(pair.FarMAC), foreign),
		request(first+2, mac, foreign),
		request(first+3, frame.Broadcast, foreign, frame.VLAN{Type: frame.EtherTypeVLAN, TCI: 5}),
		request(first+4, frame.Broadcast, pair.FarIP),
		request(last, frame.Broadcast, foreign),
	}
	match := func(mode bpf.Mode) func(t *testing.T) AnswerConfig {
		return func(t *testing.T) AnswerConfig {
			if mode == bpf.EBPF {
				labtest.RequireRoot(t)
			}
			f, err := bpf.NewFilter(bpf.Match{Kind: bpf.NeighborRequest, Local: foreign}, mode)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			return AnswerConfig{Match: f}
		}
	}
	program := func(expr string, change ...func(*AnswerConfig)) func(t *testing.T) AnswerConfig {
		return func(t *testing.T) AnswerConfig {
			cfg := AnswerConfig{Instructions: compiled(t, expr)}
			for _, c := range change {
				c(&cfg)
			}
			return cfg
		}
	}
	for _, tt := range []struct {
		name string
		cfg  func(t *testing.T) AnswerConfig
		want []bool
	}{
		{"match by classic", match(bpf.Classic), []bool{true, true, false, false, false}},
		{"match by eBPF", match(bpf.EBPF), []bool{true, true, false, false, false}},
		{"all", program(""), []bool{true, true, false, true, true}},
		{"an address", program("arp src host 198.51.100.55 or (arp dst host 198.51.100.77 and not vlan)"), []bool{true, true, false, false, false}},
		{"VLAN", program("arp src host 198.51.100.55 or (vlan 5 and arp)"), []bool{false, false, false, true, false}},
		{"MAC", program("arp and not vlan", func(c *AnswerConfig) { c.MAC = mac }), []bool{true, true, true, false, true}},
		{"promiscuous", program("arp or vlan", func(c *AnswerConfig) { c.Promiscuous, c.Filter = true, bpf.Classic }), []bool{true, true, true, true, true}},
		{"nobody else", program("arp src host 198.51.100.55"), []bool{false, false, false, false, false}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := tt.cfg(t)
			var got [last + 1]bool // by whom
			end := answering(t, pair.Far, &cfg, func(reply []byte, f capture.Frame) []byte {
				var eth frame.Ethernet
				var a frame.ARP
				if eth.Decode(f.Data) != nil || a.Decode(eth.Payload) != nil || f.Length != len(f.Data) {
					return nil
				}
				by := a.SenderIP.As4()[3]
				got[min(by, last)] = true
				if by != last {
					return nil
				}
				is := frame.ARP{Operation: frame.ARPReply, SenderMAC: mac, SenderIP: a.TargetIP, TargetMAC: a.SenderMAC, TargetIP: a.SenderIP}
				b, err := is.Marshal(a.SenderMAC)
				if err != nil {
					return nil
				}
				return append(reply, b...)
			})
			x := exchanger(t, pair.Near, ExchangeConfig{})
			for e, err := range x.Run(t.Context(), Frames(frames...)) {
				if err != nil || !e.Answered {
					t.Errorf("exchanged %+v, %v", e, err)
				}
				break // all others were handed over before
			}
			end()
			for i, want := range tt.want {
				if got[first+i] != want {
					t.Errorf("request %d is handed over: %v, want %v", i+1, got[first+i], want)
				}
			}
		})
	}
}

// A program says how much of a frame is handed over.
func TestAnswerCut(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	program, err := pcapfilter.Compile("ether proto 0x88b5", &pcapfilter.Config{Live: true, SnapLen: 17})
	if err != nil {
		t.Fatal(err)
	}
	request := append(ownFrame('?', 5), make([]byte, 80)...)
	end := answering(t, pair.Far, &AnswerConfig{Instructions: program, Promiscuous: true}, func(reply []byte, f capture.Frame) []byte {
		if len(f.Data) != 17 {
			t.Errorf("%d bytes are handed over, want 17", len(f.Data))
		}
		return append(append(reply, f.Data[6:12]...), bytes.Replace(f.Data[6:], []byte{'?'}, []byte{'!'}, 1)...)
	})
	answered, _, err := exchangeIn(t, pair.Near, [][]byte{request}, ExchangeConfig{Rules: []Rule{numbered{0x88b5}}, MAC: nearMAC})
	if err != nil || len(answered) != 1 {
		t.Errorf("answered %+v, %v", answered, err)
	}
	end()
}
