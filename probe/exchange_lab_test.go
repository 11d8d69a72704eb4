//go:build linux

package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// echoTo is an echo request, as a frame from one end of a pair to the other.
func echoTo(t testing.TB, pair *lab.Pair, dst netip.Addr, seq uint64, change ...func(*frame.Echo)) []byte {
	t.Helper()
	e := &frame.Echo{
		SrcMAC: frame.MAC(pair.NearMAC), Src: pair.NearIP, Dst: dst, ID: 4711, TTL: DefaultTTL, Cookie: cookie, DataLen: 56,
	}
	if dst.Is6() {
		e.Src = pair.NearIP6
	}
	for _, c := range change {
		c(e)
	}
	template, err := e.Template()
	if err != nil {
		t.Fatal(err)
	}
	template.SetDstMAC(frame.MAC(pair.FarMAC))
	return bytes.Clone(template.Patch(seq))
}

// arpFor is an ARP request from the near end.
func arpFor(t testing.TB, pair *lab.Pair, target netip.Addr, vlans ...frame.VLAN) []byte {
	t.Helper()
	a := frame.ARP{Operation: frame.ARPRequest, SenderMAC: frame.MAC(pair.NearMAC), SenderIP: pair.NearIP, TargetIP: target}
	b, err := a.MarshalBehind(frame.Header{Src: frame.MAC(pair.NearMAC), Dst: frame.Broadcast, VLANs: vlans})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ipv4 puts an IPv4 header and an Ethernet header before a payload.
func ipv4(pair *lab.Pair, src, dst netip.Addr, protocol frame.Protocol, payload []byte) []byte {
	b := slices.Concat(pair.FarMAC, pair.NearMAC, []byte{0x08, 0x00})
	b = append(b, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(20+len(payload)))
	b = append(b, 0, 7, 0, 0, 64, byte(protocol), 0, 0)
	b = append(b, src.AsSlice()...)
	b = append(b, dst.AsSlice()...)
	binary.BigEndian.PutUint16(b[24:], frame.Checksum(b[14:34]))
	return append(b, payload...)
}

// withPseudo is the checksum of a TCP segment or a UDP datagram.
func withPseudo(src, dst netip.Addr, protocol frame.Protocol, b []byte) uint16 {
	pseudo := slices.Concat(src.AsSlice(), dst.AsSlice(), []byte{0, byte(protocol)})
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(b)))
	return frame.Checksum(append(pseudo, b...))
}

// synTo is a SYN.
func synTo(pair *lab.Pair, src, dst netip.Addr, from, to uint16, seq uint32) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = binary.BigEndian.AppendUint32(b, seq)
	b = append(b, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0)
	binary.BigEndian.PutUint16(b[16:], withPseudo(src, dst, 6, b))
	return ipv4(pair, src, dst, 6, b)
}

// udpTo is a UDP datagram.
func udpTo(pair *lab.Pair, src, dst netip.Addr, from, to uint16, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	b = append(b, 0, 0)
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[6:], withPseudo(src, dst, 17, b))
	return ipv4(pair, src, dst, 17, b)
}

// exchangeIn is Exchange in a namespace. A request is never unanswered because the
// machine is slow.
func exchangeIn(t testing.TB, ns *lab.Namespace, frames [][]byte, cfg ExchangeConfig) (answered []Exchanged, unanswered []Request, err error) {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = patience
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err = ns.Do(func() error {
		var err error
		answered, unanswered, err = Exchange(ctx, "eth0", frames, &cfg)
		return err
	})
	if ctx.Err() != nil {
		t.Fatal("the exchange did not end")
	}
	return answered, unanswered, err
}

// exchanger opens one in a namespace.
func exchanger(t testing.TB, ns *lab.Namespace, cfg ExchangeConfig) *Exchanger {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = patience
	}
	return labtest.OpenIn(t, ns, func() (*Exchanger, error) { return NewExchanger("eth0", &cfg) })
}

// modes calls f for each filter that there may be.
func modes(t *testing.T, f func(t *testing.T, mode bpf.Mode)) {
	for _, mode := range []bpf.Mode{bpf.Classic, bpf.EBPF} {
		t.Run(mode.String(), func(t *testing.T) {
			if mode == bpf.EBPF {
				labtest.RequireRoot(t)
			}
			f(t, mode)
		})
	}
}

// Each of Linux's own answers finds its request.
func TestExchangeLinux(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{IPv6: true})
	modes(t, func(t *testing.T, mode bpf.Mode) {
		ns6, err := (&frame.NDP{
			Type: frame.ICMPv6NeighborSolicitation, Src: pair.NearIP6, Dst: frame.SolicitedNode(pair.FarIP6),
			Target: pair.FarIP6, MAC: frame.MAC(pair.NearMAC),
		}).Marshal(frame.Header{Src: frame.MAC(pair.NearMAC), Dst: frame.MulticastMAC(frame.SolicitedNode(pair.FarIP6))})
		if err != nil {
			t.Fatal(err)
		}
		timestamp := []byte{13, 0, 0, 0, 0x12, 0x67, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}
		binary.BigEndian.PutUint16(timestamp[2:], frame.Checksum(timestamp))
		frames := [][]byte{
			echoTo(t, pair, pair.FarIP, 1),
			echoTo(t, pair, pair.FarIP, 2),
			echoTo(t, pair, pair.FarIP6, 3),
			arpFor(t, pair, pair.FarIP),
			ns6,
			ipv4(pair, pair.NearIP, pair.FarIP, frame.ProtocolICMP, timestamp),
			synTo(pair, pair.NearIP, pair.FarIP, 40000, 9, 1000),            // RST
			udpTo(pair, pair.NearIP, pair.FarIP, 40001, 9, []byte("hello")), // port unreachable
			ipv4(pair, pair.NearIP, pair.FarIP, 253, []byte("whatever")),    // protocol unreachable
		}
		before := time.Now()
		answered, unanswered, err := exchangeIn(t, pair.Near, frames, ExchangeConfig{Filter: mode, Timestamps: TimestampsDriver})
		if err != nil || len(answered) != len(frames) || len(unanswered) != 0 {
			t.Fatalf("%d answered, unanswered %+v, %v", len(answered), unanswered, err)
		}
		for _, e := range answered {
			n := e.Request.Seq - 1
			meta := bpf.Meta{}
			if !bytes.Equal(e.Request.Frame, frames[n]) || !bpf.Answers(e.Reply.Data, meta, frames[n], false) || !e.Answered || e.More || e.Request.Err != nil {
				t.Errorf("exchanged %+v", e)
			}
			if e.Request.Tries != 1 || e.Request.Sent.Before(before) || e.Request.Driver == 0 || e.Reply.Arrival == 0 ||
				e.RTTSource != l2.StampDriver || e.RTT != time.Duration(e.Reply.Arrival-e.Request.Driver) || e.RTT != e.Budget.Wire || e.RTT <= 0 {
				t.Errorf("request %d: stamps %d and %d, times %+v", n+1, e.Request.Driver, e.Reply.Arrival, e.Times)
			}
			frames[n] = nil
		}
	})
}

// All of many are found, though nobody waits for one before the next leaves.
func TestExchangeMany(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	modes(t, func(t *testing.T, mode bpf.Mode) {
		peer := manyHosts(t, pair)
		frames := manyEchoes(t, pair, peer, 1024)
		frames = append(frames, arpFor(t, pair, netip.MustParseAddr("198.51.100.77")))
		x := exchanger(t, pair.Near, ExchangeConfig{Filter: mode, Window: 128, Timeout: patience})
		answered := 0
		seen := make([]bool, len(frames))
		for e, err := range x.Run(t.Context(), Frames(frames...)) {
			if err != nil {
				t.Fatal(err)
			}
			if seen[e.Request.Seq-1] || !bytes.Equal(e.Request.Frame, frames[e.Request.Seq-1]) || !bpf.Answers(e.Reply.Data, bpf.Meta{}, e.Request.Frame, false) {
				t.Fatalf("exchanged %+v", e)
			}
			seen[e.Request.Seq-1] = true
			if answered++; answered == 1024 {
				break // nobody answers the last
			}
		}
		if s := x.Statistics(); s.Answered != 1024 || s.Unanswered > 1 || s.AnswersDropped+s.KernelDrops != 0 {
			t.Errorf("statistics %+v", s)
		}
	})
}

// manyHosts has the far end be all of 198.18.0.0/15.
func manyHosts(t testing.TB, pair *lab.Pair) netip.Prefix {
	t.Helper()
	prefix := netip.MustParsePrefix("198.18.0.1/15")
	if err := errors.Join(pair.Far.SetUp("lo"), pair.Far.AddAddr("lo", prefix)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pair.Far.DelAddr("lo", prefix); err != nil {
			t.Error(err)
		}
	})
	return prefix
}

// manyEchoes asks each of so many hosts once.
func manyEchoes(t testing.TB, pair *lab.Pair, prefix netip.Prefix, n int) [][]byte {
	t.Helper()
	frames := make([][]byte, n)
	dst := prefix.Addr()
	for i := range frames {
		frames[i] = echoTo(t, pair, dst, uint64(i)+1)
		dst = dst.Next()
	}
	return frames
}

// A SYN from an address that the host does not have is answered, and its kernel,
// which has nothing to do with it, breaks nothing off.
func TestExchangeAnswerFor(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	listen(t, pair.Far, "198.51.100.2:80")
	foreign := netip.MustParseAddr("198.51.100.99")
	var frames [][]byte
	for port := range uint16(5) {
		frames = append(frames, synTo(pair, foreign, pair.FarIP, 50000, 78+port, 7))
	}
	answered, unanswered, err := exchangeIn(t, pair.Near, frames, ExchangeConfig{
		AnswerFor: []arp.ResponderConfig{{Source: foreign}},
	})
	if err != nil || len(answered) != 5 || len(unanswered) != 0 {
		t.Fatalf("%d answered, %d not, %v", len(answered), len(unanswered), err)
	}
	for _, e := range answered {
		flags, want := e.Reply.Data[47], byte(0x14) // RST, ACK
		if e.Request.Seq == 3 {
			want = 0x12 // SYN, ACK
		}
		if flags != want {
			t.Errorf("port %d answers with the bits %#x, want %#x", 77+e.Request.Seq, flags, want)
		}
	}
}

// listen has a namespace's kernel accept connections, until the test ends.
func listen(t testing.TB, ns *lab.Namespace, address string) {
	t.Helper()
	labtest.OpenIn(t, ns, func() (net.Listener, error) { return net.Listen("tcp4", address) })
}

// A protocol of one's own, tagged and not, with both sides of it.
func TestAnswer(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	modes(t, func(t *testing.T, mode bpf.Mode) {
		asked := 0
		end := answering(t, pair.Far, &AnswerConfig{EtherTypes: []frame.EtherType{0x88b5}, Filter: mode}, func(reply []byte, f capture.Frame) []byte {
			asked++
			var eth frame.Ethernet
			if eth.Decode(f.Data) != nil || len(eth.Payload) < 3 || eth.Payload[0] != '?' {
				return nil
			}
			reply = append(reply, eth.Src[:]...)
			reply = append(reply, pair.FarMAC...)
			if f.VLAN.Present {
				reply = binary.BigEndian.AppendUint16(reply, uint16(f.VLAN.Type))
				reply = binary.BigEndian.AppendUint16(reply, f.VLAN.TCI)
			}
			reply = append(reply, 0x88, 0xb5, '!')
			return append(reply, eth.Payload[1:3]...)
		})
		var frames [][]byte
		for n := range uint16(50) {
			var tags []frame.VLAN
			if n%2 == 1 {
				tags = append(tags, frame.VLAN{Type: frame.EtherTypeVLAN, TCI: 5})
			}
			frames = append(frames, ownFrame('?', n/2, tags...))
		}
		answered, unanswered, err := exchangeIn(t, pair.Near, frames, ExchangeConfig{
			Rules: []Rule{numbered{0x88b5}}, Filter: mode, MAC: nearMAC, Promiscuous: true,
		})
		end()
		if err != nil || len(answered) != 50 || len(unanswered) != 0 || asked != 50 {
			t.Fatalf("%d answered, %d not, %v; %d were asked", len(answered), len(unanswered), err, asked)
		}
		for _, e := range answered {
			if n := e.Request.Seq - 1; e.Reply.VLAN.Present != (n%2 == 1) || e.Reply.Data[16] != byte(n/2) {
				t.Errorf("request %d is answered by %+v", n+1, e.Reply)
			}
		}
	})
}

// answering has a namespace answer until end is called, which waits for it.
func answering(t *testing.T, ns *lab.Namespace, cfg *AnswerConfig, answer func([]byte, capture.Frame) []byte) (end func()) {
	t.Helper()
	a := labtest.OpenIn(t, ns, func() (*Answerer, error) { return NewAnswerer("eth0", cfg) })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, answer) }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return end
}

// An answer may be any memory: what is not appended is not kept.
func TestAnswerNotAppended(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	var canned []byte // for number 1; its room is what others would be appended to
	end := answering(t, pair.Far, &AnswerConfig{EtherTypes: []frame.EtherType{0x88b5}}, func(reply []byte, f capture.Frame) []byte {
		copy(f.Data, f.Data[6:12])
		copy(f.Data[6:12], pair.FarMAC)
		f.Data[14] = '!'
		switch f.Data[16] {
		case 1:
			if canned == nil {
				canned = append(make([]byte, 0, 2000), f.Data...)
			}
			return canned
		case 2:
			return f.Data
		}
		return append(reply, f.Data...)
	})
	for _, n := range []uint16{1, 21, 1, 2, 22, 2, 21, 1} {
		answered, _, err := exchangeIn(t, pair.Near, [][]byte{ownFrame('?', n)}, ExchangeConfig{Rules: []Rule{numbered{0x88b5}}, MAC: nearMAC})
		if err != nil || len(answered) != 1 {
			t.Errorf("%d: answered %+v, %v", n, answered, err)
		}
	}
	end()
}

func TestAnswerErrors(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	nothing := func([]byte, capture.Frame) []byte { return nil }
	in := func(iface string, cfg *AnswerConfig) error {
		return pair.Far.Do(func() error { return Answer(t.Context(), iface, cfg, nothing) })
	}
	cfg := &AnswerConfig{EtherTypes: []frame.EtherType{0x88b5}}
	ret := []cbpf.RawInstruction{{Op: 6}}
	for _, tt := range []struct {
		cfg  *AnswerConfig
		want string
	}{
		{nil, "answer on eth0: neither EtherTypes nor a Match nor Instructions say"},
		{&AnswerConfig{MAC: nearMAC}, "neither EtherTypes"},
		{&AnswerConfig{EtherTypes: []frame.EtherType{0x88b5}, Instructions: ret}, "only one of them"},
		{&AnswerConfig{Match: new(bpf.Filter), Instructions: ret}, "only one of them"},
		{&AnswerConfig{Match: new(bpf.Filter), Filter: bpf.Classic}, "classic filter: it is for EtherTypes"},
		{&AnswerConfig{Instructions: ret, Filter: bpf.EBPF}, "ebpf filter: it is for EtherTypes"},
		{&AnswerConfig{Instructions: []cbpf.RawInstruction{{Op: 0xff}}}, "attaching classic BPF: invalid argument"},
	} {
		if err := in("eth0", tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.cfg, err, tt.want)
		}
	}
	if err := in("eth7", cfg); !errors.As(err, new(*l2.NoInterfaceError)) {
		t.Errorf("no interface: %v", err)
	}
	if err := in("eth0", &AnswerConfig{EtherTypes: []frame.EtherType{5}}); err == nil {
		t.Error("a length is an EtherType")
	}
	a := labtest.OpenIn(t, pair.Far, func() (*Answerer, error) { return NewAnswerer("eth0", cfg) })
	if err := pair.Far.SetDown("eth0"); err != nil {
		t.Error(err)
	}
	if err := a.Run(t.Context(), nothing); !errors.Is(err, l2.ErrDown) {
		t.Errorf("interface that goes down: %v", err)
	}
	if err := a.Run(t.Context(), nothing); !errors.Is(err, errAnswered) {
		t.Errorf("a second time: %v", err)
	}
	if err := in("eth0", cfg); !errors.Is(err, l2.ErrDown) {
		t.Errorf("interface that is down: %v", err)
	}
}

// The tags of the requests are those of the answers.
func TestExchangeVLAN(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	labtest.StartPeer(t, pair.Far, "eth0", "")
	tags := []frame.VLAN{{Type: frame.EtherTypeVLAN, TCI: 5}}
	modes(t, func(t *testing.T, mode bpf.Mode) {
		frames := [][]byte{
			arpFor(t, pair, pair.FarIP, tags...),
			echoTo(t, pair, pair.FarIP, 1, func(e *frame.Echo) { e.VLANs = tags }),
			echoTo(t, pair, pair.FarIP, 1),
		}
		answered, unanswered, err := exchangeIn(t, pair.Near, frames, ExchangeConfig{Filter: mode})
		if err != nil || len(answered) != len(frames) || len(unanswered) != 0 {
			t.Fatalf("%d answered, %d not, %v", len(answered), len(unanswered), err)
		}
		for _, e := range answered {
			if tagged := e.Request.Seq < 3; e.Reply.VLAN.Present != tagged || tagged && e.Reply.VLAN.TCI != 5 {
				t.Errorf("request %d is answered in %+v", e.Request.Seq, e.Reply.VLAN)
			}
		}
	})
}

// An interface that goes away ends the exchange, with what there was.
func TestExchangeInterfaceVanishes(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	x := exchanger(t, pair.Near, ExchangeConfig{Interval: ms, Retry: -1})
	n := 0
	var last error
	for e, err := range x.Run(t.Context(), func(yield func([]byte, error) bool) {
		for n := uint64(1); yield(echoTo(t, pair, pair.FarIP, n), nil); n++ {
		}
	}) {
		if last = err; err != nil {
			break
		}
		if e.Answered {
			n++
		}
		if n == 5 && e.Answered {
			if err := pair.Near.DeleteLink("eth0"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n < 5 || last == nil || !strings.HasPrefix(last.Error(), "exchange on eth0: ") || strings.Contains(last.Error(), "\n") {
		t.Errorf("%d answers, then %v", n, last)
	}
	for _, err := range x.Run(t.Context(), Frames()) {
		if !errors.Is(err, errRan) {
			t.Errorf("run once more: %v", err)
		}
	}
}

// The filter without eBPF, and the errors of those who may not.
func TestExchangeErrors(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	if err := pair.Near.AddVeth("eth1", "eth2"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		iface string
		cfg   *ExchangeConfig
		want  string
	}{
		{"eth7", nil, `no interface "eth7"`},
		{"eth0", &ExchangeConfig{Window: -1}, "window of -1 requests"},
		{"eth0", &ExchangeConfig{Timestamps: TimestampsHardware}, "no hardware stamps on eth0"},
		{"eth1", nil, "interface is down"},
		{"eth0", &ExchangeConfig{AnswerFor: []arp.ResponderConfig{{}}}, "neither IPv4 nor IPv6"},
		{"eth0", &ExchangeConfig{Instructions: []cbpf.RawInstruction{{Op: 0}}}, "filter of answers: classic BPF: instruction 0, the last: it does not return"},
	} {
		err := pair.Near.Do(func() error {
			_, _, err := Exchange(t.Context(), tt.iface, nil, tt.cfg)
			return err
		})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("on %s with %+v: %v, want %q", tt.iface, tt.cfg, err, tt.want)
		}
	}
	x := exchanger(t, pair.Near, ExchangeConfig{Filter: bpf.Classic})
	if mode, why := x.Filter(); mode != bpf.Classic || why != nil {
		t.Errorf("filter %v, because of %v", mode, why)
	}
	if best, why := x.Timestamps(); best != l2.StampDriver || why == nil {
		t.Errorf("stamps %v, %v", best, why)
	}
}

// Frames to others are answers too for who is promiscuous.
func TestExchangePromiscuous(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	labtest.StartPeer(t, pair.Far, "eth0", "")
	mac := frame.MAC{2, 0, 0x5e, 0, 0x53, 0x55}
	a := frame.ARP{Operation: frame.ARPRequest, SenderMAC: mac, SenderIP: pair.NearIP, TargetIP: pair.FarIP}
	b, err := a.MarshalBehind(frame.Header{Src: mac, Dst: frame.Broadcast})
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]ExchangeConfig{"MAC": {MAC: mac}, "promiscuous": {Promiscuous: true}} {
		answered, _, err := exchangeIn(t, pair.Near, [][]byte{b}, cfg)
		if err != nil || len(answered) != 1 {
			t.Errorf("%s: %d answered, %v", name, len(answered), err)
		}
	}
	// The peer answers in order.
	x := exchanger(t, pair.Near, ExchangeConfig{Interval: 10 * ms})
	for e, err := range x.Run(t.Context(), Frames(b, echoTo(t, pair, pair.FarIP, 1))) {
		if err != nil || e.Request.Seq == 1 {
			t.Errorf("what is for another host is an answer: %+v, %v", e, err)
		}
		break
	}
}

// Bare IP has no link layer.
func TestExchangeNoLink(t *testing.T) {
	ns := labtest.NewNamespace(t)
	tun := labtest.AddTun(t, ns, "tun0")
	if err := errors.Join(ns.AddAddr("tun0", netip.MustParsePrefix("198.51.100.1/24")), ns.SetUp("tun0")); err != nil {
		t.Fatal(err)
	}
	labtest.StartTunPeer(t, tun, "")
	var frames [][]byte
	for n := range uint64(3) {
		e := &frame.Echo{NoLink: true, Src: netip.MustParseAddr("198.51.100.1"), Dst: netip.MustParseAddr("198.51.100.2"), ID: 7, TTL: 64, DataLen: 56}
		template, err := e.Template()
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, bytes.Clone(template.Patch(n+1)))
	}
	err := ns.Do(func() error {
		answered, unanswered, err := Exchange(t.Context(), "tun0", frames, &ExchangeConfig{Timeout: patience})
		if len(answered) != 3 || len(unanswered) != 0 {
			t.Errorf("%d answered, %d not", len(answered), len(unanswered))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestExchangeInUserNamespace runs these tests again as an ordinary user could.
func TestExchangeInUserNamespace(t *testing.T) {
	if os.Getenv(inUserns) != "" {
		t.Skip("this is the run in a user namespace already")
	}
	labtest.RequireNetns(t)
	cmd := again(t, "^Test(Exchange|Answer)", inUserns+"=1", "L2PING_TEST_REQUIRE=netns")
	lab.EnterUserNamespace(cmd)
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
		t.Skipf("the system forbids user namespaces: %v (sysctl user.max_user_namespaces)", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestExchangeLinux/classic") {
		t.Errorf("%v: %s", err, out)
	}
}
