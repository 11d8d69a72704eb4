//go:build linux

package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/internal/sock/classic"
	"github.com/l2ping/l2ping/internal/timestamping"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// patience bounds the wait for what has to come.
const patience = time.Minute

const echoID = 0xbe0f

var cookie = [8]byte{0xc0, 0x0c, 0x1e, 0x99, 0x00, 0xff, 0x42, 0x07}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reply is an echo reply from the far end to the near one, made by gopacket;
// its data begin with the cookie.
func reply(t testing.TB, pair *lab.Pair, seq uint16, dataLen int) []byte {
	t.Helper()
	return icmp(t, pair, layers.ICMPv4TypeEchoReply, echoID, seq, append(bytes.Clone(cookie[:]), make([]byte, dataLen-len(cookie))...))
}

func icmp(t testing.TB, pair *lab.Pair, typ uint8, id, seq uint16, data []byte) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: pair.FarMAC, DstMAC: pair.NearMAC, EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: pair.FarIP.AsSlice(), DstIP: pair.NearIP.AsSlice()},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, 0), Id: id, Seq: seq},
		gopacket.Payload(data)))
	return bytes.Clone(buf.Bytes())
}

// seqOf is the sequence number of what reply made; no other frame has it.
func seqOf(b []byte) uint16 {
	if len(b) < 14+20+8 {
		return 0xffff
	}
	return binary.BigEndian.Uint16(b[14+20+6:])
}

// tagged puts an 802.1Q tag into a frame.
func tagged(b []byte, tci uint16) []byte {
	t := binary.BigEndian.AppendUint16(append([]byte{}, b[:12]...), 0x8100)
	return append(binary.BigEndian.AppendUint16(t, tci), b[12:]...)
}

// strangers are frames that no filter for our replies lets through.
func strangers(t testing.TB, pair *lab.Pair) [][]byte {
	good := reply(t, pair, 999, 56)
	elsewhere := bytes.Clone(good)
	elsewhere[5] ^= 0x10 // another host's MAC
	arp := append(bytes.Clone(good[:12]), 0x08, 0x06)
	return [][]byte{
		icmp(t, pair, layers.ICMPv4TypeEchoReply, echoID+1, 999, cookie[:]),
		icmp(t, pair, layers.ICMPv4TypeEchoReply, echoID, 999, []byte("another cookie")),
		icmp(t, pair, layers.ICMPv4TypeEchoReply, echoID, 999, nil),
		icmp(t, pair, layers.ICMPv4TypeTimestampReply, echoID, 999, cookie[:]),
		tagged(good, 5),
		elsewhere,
		good[:30],
		append(arp, make([]byte, 46)...),
		append(append(bytes.Clone(good[:12]), 0x88, 0xb5), good[14:]...),
	}
}

func newFilter(t testing.TB, pair *lab.Pair, mode bpf.Mode) *bpf.Filter {
	t.Helper()
	f, err := bpf.NewFilter(bpf.Match{
		Kind: bpf.EchoReply, Local: pair.NearIP, Peer: pair.FarIP, ID: echoID, Cookie: cookie, CookieLen: len(cookie),
	}, mode)
	must(t, err)
	t.Cleanup(func() { must(t, f.Close()) })
	return f
}

// A listener is a Socket at the near end and a wait for it.
type listener struct {
	*Socket
	t      testing.TB
	frames []Frame
}

func open(t testing.TB, pair *lab.Pair, mode bpf.Mode, change func(*l2.Interface, *SocketConfig)) *listener {
	t.Helper()
	cfg := SocketConfig{Filter: newFilter(t, pair, mode)}
	l := &listener{t: t, frames: make([]Frame, MinFrames)}
	must(t, pair.Near.Do(func() error {
		ifc, err := l2.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		if change != nil {
			change(ifc, &cfg)
		}
		l.Socket, err = OpenSocket(ifc, cfg)
		return err
	}))
	t.Cleanup(func() { must(t, l.Socket.Close()) })
	return l
}

// until receives frames until one has that sequence number, and returns those
// before it, and it.
func (l *listener) until(seq uint16) (before []Frame, last Frame) {
	l.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		n, err := l.Receive(l.frames)
		must(l.t, err)
		for i, f := range l.frames[:n] {
			f.Data = bytes.Clone(f.Data)
			if seqOf(f.Data) == seq {
				if i != n-1 {
					l.t.Fatalf("%d frames come after the last that was sent", n-1-i)
				}
				return before, f
			}
			before = append(before, f)
		}
		if n > 0 {
			continue
		}
		left := time.Until(deadline)
		if left <= 0 {
			l.t.Fatalf("number %d does not come; %d others did", seq, len(before))
		}
		labtest.Poll(l.t, l.FD(), left)
	}
}

// A talker sends whole frames at the far end, all from one CPU: veth puts them
// in that CPU's backlog, so that they arrive in their order.
type talker struct {
	t  testing.TB
	fd int
}

func talk(t testing.TB, n *lab.Namespace) *talker {
	t.Helper()
	index, err := n.Index("eth0")
	must(t, err)
	s := &talker{t: t}
	must(t, n.Do(func() error {
		s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return unix.Bind(s.fd, &unix.SockaddrLinklayer{Ifindex: index})
	}))
	t.Cleanup(func() { must(t, unix.Close(s.fd)) })
	return s
}

// pinned runs f on a thread that stays on one CPU.
func pinned(t testing.TB, n *lab.Namespace, f func()) {
	t.Helper()
	must(t, n.Do(func() error {
		var cpus, one unix.CPUSet
		if err := unix.SchedGetaffinity(0, &cpus); err != nil {
			return err
		}
		for i := range 64 * len(cpus) {
			if cpus.IsSet(i) {
				one.Set(i)
				break
			}
		}
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			return err
		}
		f()
		return nil
	}))
}

func (s *talker) send(b []byte) {
	s.t.Helper()
	if err := unix.Send(s.fd, b, 0); err != nil {
		s.t.Fatalf("sending %d bytes: %v", len(b), err)
	}
}

// eachMode runs a test with both compilations of the filter; eBPF needs root.
func eachMode(t *testing.T, f func(t *testing.T, mode bpf.Mode)) {
	for _, mode := range []bpf.Mode{bpf.Classic, bpf.EBPF} {
		t.Run(mode.String(), func(t *testing.T) {
			if mode == bpf.EBPF {
				labtest.RequireRoot(t)
			}
			f(t, mode)
		})
	}
}

func silentPair(t testing.TB) *lab.Pair {
	return labtest.NewPair(t, &lab.PairConfig{Silent: true})
}

func TestReceive(t *testing.T) {
	eachMode(t, func(t *testing.T, mode bpf.Mode) {
		pair := silentPair(t)
		l, far := open(t, pair, mode, nil), talk(t, pair.Far)
		if n, err := l.Receive(l.frames); n != 0 || err != nil {
			t.Errorf("before anything was sent: %d, %v", n, err)
		}
		pinned(t, pair.Far, func() {
			// The first stamps on a host may be missing until its kernel has
			// switched them on (net_enable_timestamp): not waited for here, but
			// these frames are not looked at.
			for range 3 {
				far.send(reply(t, pair, 1, 56))
			}
			far.send(reply(t, pair, 2, 56))
			l.until(2)
			until(t, "stamps", func() bool {
				far.send(reply(t, pair, 3, 56))
				_, f := l.until(3)
				return f.Arrival != 0
			})
			for seq := uint16(10); seq < 60; seq++ {
				for _, b := range strangers(t, pair) {
					far.send(b)
				}
				sent := reply(t, pair, seq, 8+int(seq))
				from := time.Now().UnixNano()
				far.send(sent)
				before, got := l.until(seq)
				if len(before) != 0 {
					t.Fatalf("%d frames that do not match, the first\n% x", len(before), before[0].Data)
				}
				if !bytes.Equal(got.Data, sent) || got.Length != len(sent) {
					t.Errorf("length %d\n% x, want %d\n% x", got.Length, got.Data, len(sent), sent)
				}
				if to := time.Now().UnixNano(); got.Arrival < from || got.Arrival > to {
					t.Errorf("arrived at %d, sent from %d to %d", got.Arrival, from, to)
				}
				if got.VLAN != (VLAN{}) {
					t.Errorf("a tag: %+v", got.VLAN)
				}
			}
		})
	})
}

// Both kinds of stamp of one frame come in one message; what there is not is 0.
func TestFrameStamps(t *testing.T) {
	for _, tt := range []struct{ arrival, hardware int64 }{{0, 0}, {5, 0}, {0, 7}, {1_700_000_000_000_000_005, 7_000_000_009}} {
		control := make([]byte, unix.CmsgSpace(48))
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		h.Level, h.Type = unix.SOL_SOCKET, unix.SO_TIMESTAMPING
		h.SetLen(unix.CmsgLen(48))
		for i, ns := range []int64{tt.arrival, 0, tt.hardware} {
			at := control[unix.CmsgLen(16*i):]
			binary.NativeEndian.PutUint64(at, uint64(ns/1e9))
			binary.NativeEndian.PutUint64(at[8:], uint64(ns%1e9))
		}
		data := []byte{1, 2, 3}
		if f := newFrame(data, 60, control); f.Arrival != tt.arrival || f.Hardware != tt.hardware || f.Length != 60 || !bytes.Equal(f.Data, data) {
			t.Errorf("%+v: %+v", tt, f)
		}
	}
}

// The kernel stops stamping when the last socket that wants stamps is closed, and
// begins again with a delay: as a rule none of that is seen after WarmUp. Only where
// the kernel was kept from stopping until then, as on a busy host, may it do so
// after WarmUp.
func TestWarmUp(t *testing.T) {
	pair := silentPair(t)
	far, filter := talk(t, pair.Far), newFilter(t, pair, bpf.Classic)
	frames := make([]Frame, MinFrames)
	const rounds = 100
	unstamped := 0
	for range rounds {
		var s *Socket
		must(t, pair.Near.Do(func() error {
			ifc, err := l2.InterfaceByName("eth0")
			if err != nil {
				return err
			}
			if s, err = OpenSocket(ifc, SocketConfig{Filter: filter}); err != nil {
				return err
			}
			s.WarmUp() // false is seen below
			return nil
		}))
		far.send(reply(t, pair, 1, 56))
		labtest.Poll(t, s.FD(), patience)
		if n, err := s.Receive(frames); n != 1 || err != nil {
			t.Errorf("%d frames, %v", n, err)
		}
		if frames[0].Arrival == 0 {
			unstamped++
		}
		must(t, s.Close())
	}
	if unstamped > rounds/4 {
		t.Errorf("%d of %d frames without a stamp", unstamped, rounds)
	}
}

// Asked for the NIC's stamps too, a socket on a veth gets those of the kernel as
// ever, and no others.
func TestReceiveHardware(t *testing.T) {
	pair := silentPair(t)
	for _, hardware := range []bool{false, true} {
		l := open(t, pair, bpf.Classic, func(_ *l2.Interface, cfg *SocketConfig) { cfg.Hardware = hardware })
		want := timestamping.Receive
		if hardware {
			want = timestamping.HardwareReceive
		}
		if got, err := unix.GetsockoptInt(l.FD(), unix.SOL_SOCKET, unix.SO_TIMESTAMPING); err != nil || got != want {
			t.Errorf("hardware %v: SO_TIMESTAMPING is %#x, %v, want %#x", hardware, got, err, want)
		}
		far := talk(t, pair.Far)
		pinned(t, pair.Far, func() {
			until(t, "stamps", func() bool {
				from := time.Now().UnixNano()
				far.send(reply(t, pair, 1, 56))
				_, f := l.until(1)
				if to := time.Now().UnixNano(); f.Hardware != 0 || f.Arrival != 0 && (f.Arrival < from || f.Arrival > to) {
					t.Fatalf("arrived at %d, by the NIC at %d, sent from %d to %d", f.Arrival, f.Hardware, from, to)
				}
				return f.Arrival != 0 // the first stamps on a host may be missing
			})
		})
	}
}

// until waits for a condition that has to come true.
func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v", what, patience)
		}
	}
}

// A tag that the kernel took off is told: of a socket whose filter lets all
// through, for no Match does.
func TestReceiveVLAN(t *testing.T) {
	pair := silentPair(t)
	l, far := open(t, pair, bpf.Classic, nil), talk(t, pair.Far)
	must(t, unix.SetsockoptInt(l.FD(), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0))
	pinned(t, pair.Far, func() {
		for i, tt := range []struct {
			tci  uint16
			want VLAN
		}{
			{5, VLAN{Present: true, Type: frame.EtherTypeVLAN, TCI: 5}},
			{3<<13 | 1<<12 | 4094, VLAN{Present: true, Type: frame.EtherTypeVLAN, TCI: 3<<13 | 1<<12 | 4094}},
			{5 << 13, VLAN{Present: true, Type: frame.EtherTypeVLAN, TCI: 5 << 13}},
			{0, VLAN{Present: true, Type: frame.EtherTypeVLAN}},
		} {
			sent := reply(t, pair, uint16(i), 56)
			far.send(tagged(sent, tt.tci))
			_, got := l.until(uint16(i))
			if got.VLAN != tt.want || !bytes.Equal(got.Data, sent) {
				t.Errorf("tag %#04x: %+v, % x", tt.tci, got.VLAN, got.Data)
			}
		}
		far.send(reply(t, pair, 9, 56))
		if _, got := l.until(9); got.VLAN != (VLAN{}) {
			t.Errorf("no tag: %+v", got.VLAN)
		}
	})
}

// Of what arrives while a socket is opened nothing is seen but what matches.
func TestOpenInFlood(t *testing.T) {
	eachMode(t, func(t *testing.T, mode bpf.Mode) {
		pair := silentPair(t)
		far := talk(t, pair.Far)
		others := strangers(t, pair)
		var (
			wg   sync.WaitGroup
			done = make(chan struct{})
			sent = make(chan struct{})
		)
		defer wg.Wait()
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
					for _, b := range others {
						if err := unix.Send(far.fd, b, 0); err != nil {
							t.Error(err)
							<-done
							return
						}
					}
				}
				if n == 10 {
					close(sent)
				}
			}
		})
		defer close(done)
		<-sent
		for i := range uint16(20) {
			l := open(t, pair, mode, nil)
			far.send(reply(t, pair, i, 56))
			if before, _ := l.until(i); len(before) != 0 {
				t.Fatalf("%d frames that do not match, the first\n% x", len(before), before[0].Data)
			}
		}
	})
}

// What the host itself sends is not heard, though it matches; nor does it come as
// far as the filter, which would drop it.
func TestReceiveOwn(t *testing.T) {
	for _, filtered := range []bool{true, false} {
		pair := silentPair(t)
		l, near, far := open(t, pair, bpf.Classic, nil), talk(t, pair.Near), talk(t, pair.Far)
		if !filtered {
			must(t, unix.SetsockoptInt(l.FD(), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0))
		}
		pinned(t, pair.Far, func() {
			for seq := range uint16(10) {
				near.send(reply(t, pair, seq, 56))
			}
			far.send(reply(t, pair, 100, 56))
			if before, _ := l.until(100); len(before) != 0 {
				t.Errorf("filtered: %v: %d frames of our own, the first % x", filtered, len(before), before[0].Data)
			}
		})
	}
}

func TestReceiveMany(t *testing.T) {
	pair := silentPair(t)
	l, far := open(t, pair, bpf.Classic, nil), talk(t, pair.Far)
	const many = 3*batchLen + 5
	pinned(t, pair.Far, func() {
		for seq := range uint16(many) {
			far.send(reply(t, pair, seq, 56))
		}
		far.send(reply(t, pair, many, 56))
	})
	before, _ := l.until(many)
	for i, f := range before {
		if got := seqOf(f.Data); int(got) != i {
			t.Fatalf("frame %d is number %d", i, got)
		}
	}
	if len(before) != many {
		t.Errorf("%d frames, want %d", len(before), many)
	}
	if n, err := l.Drops(); n != 0 || err != nil {
		t.Errorf("%d dropped, %v", n, err)
	}
}

// A buffer that is full drops what comes, and counts it.
func TestDrops(t *testing.T) {
	pair := silentPair(t)
	l := open(t, pair, bpf.Classic, func(_ *l2.Interface, cfg *SocketConfig) { cfg.BufferBytes = 1 })
	far := talk(t, pair.Far)
	var total, got uint64
	for round := range uint16(3) {
		pinned(t, pair.Far, func() {
			for _, b := range strangers(t, pair) {
				far.send(b) // these are not counted
			}
			for range 100 {
				far.send(reply(t, pair, round, 1000))
				total++
			}
		})
		// All have arrived when all are received or dropped.
		until(t, fmt.Sprintf("%d frames", total), func() bool {
			n, err := l.Receive(l.frames)
			must(t, err)
			got += uint64(n)
			drops, err := l.Drops()
			must(t, err)
			if got+drops > total {
				t.Fatalf("%d received, %d dropped, but only %d sent", got, drops, total)
			}
			return got+drops == total
		})
		drops, err := l.Drops()
		if again, _ := l.Drops(); err != nil || drops == 0 || got == 0 || again != drops {
			t.Errorf("%d received, %d dropped, %d when asked again, %v", got, drops, again, err)
		}
	}
}

// A frame longer than the room for it is cut, and says so.
func TestReceiveCut(t *testing.T) {
	pair := silentPair(t)
	l := open(t, pair, bpf.Classic, func(ifc *l2.Interface, _ *SocketConfig) { ifc.MTU = 100 })
	far := talk(t, pair.Far)
	for i, dataLen := range []int{100, 164 - 42, 164 - 42 + 1, 1472} {
		sent := reply(t, pair, uint16(i), dataLen)
		far.send(sent)
		_, got := l.until(uint16(i))
		if got.Length != len(sent) || !bytes.Equal(got.Data, sent[:min(len(sent), 164)]) {
			t.Errorf("%d bytes: length %d, % x", len(sent), got.Length, got.Data)
		}
	}
}

// So does one that the filter cuts.
func TestReceiveCutByFilter(t *testing.T) {
	const kept = 60
	pair := silentPair(t)
	l := open(t, pair, bpf.Classic, func(_ *l2.Interface, cfg *SocketConfig) {
		cfg.Filter = classic.Filter{{Op: opReturn, K: kept}}
	})
	far := talk(t, pair.Far)
	for i, dataLen := range []int{kept - 42, kept - 42 + 1, 500} {
		sent := reply(t, pair, uint16(i), dataLen)
		far.send(sent)
		_, got := l.until(uint16(i))
		if got.Length != len(sent) || !bytes.Equal(got.Data, sent[:kept]) {
			t.Errorf("%d bytes: length %d, % x", len(sent), got.Length, got.Data)
		}
	}
}

func TestReceiveDown(t *testing.T) {
	pair := silentPair(t)
	l, far := open(t, pair, bpf.Classic, nil), talk(t, pair.Far)
	far.send(reply(t, pair, 1, 56))
	l.until(1)
	for round := range uint16(3) {
		must(t, pair.Near.SetDown("eth0"))
		if n, err := l.Receive(l.frames); n != 0 || !errors.Is(err, unix.ENETDOWN) {
			t.Errorf("down: %d, %v, want ENETDOWN", n, err)
		}
		if n, err := l.Receive(l.frames); n != 0 || err != nil {
			t.Errorf("the second time: %d, %v", n, err)
		}
		must(t, pair.SetUp())
		far.send(reply(t, pair, 10+round, 56))
		if before, _ := l.until(10 + round); len(before) != 0 {
			t.Errorf("%d frames besides", len(before))
		}
	}
	// Nothing comes from an interface that is gone, but no error for ever either.
	must(t, pair.Near.DeleteLink("eth0"))
	if n, err := l.Receive(l.frames); n != 0 || !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("gone: %d, %v, want ENETDOWN", n, err)
	}
	if n, err := l.Receive(l.frames); n != 0 || err != nil {
		t.Errorf("gone, the second time: %d, %v", n, err)
	}
}

func TestReceiveAllocates(t *testing.T) {
	eachMode(t, func(t *testing.T, mode bpf.Mode) {
		pair := silentPair(t)
		l, far := open(t, pair, mode, nil), talk(t, pair.Far)
		b := reply(t, pair, 1, 56)
		far.send(b)
		l.until(1)
		received := 0
		if allocs := testing.AllocsPerRun(500, func() {
			far.send(b)
			for n := 0; n == 0; {
				labtest.Poll(t, l.FD(), patience)
				var err error
				if n, err = l.Receive(l.frames); err != nil {
					panic(err)
				}
				received += n
			}
		}); allocs != 0 {
			t.Errorf("%v allocations a frame, want 0", allocs)
		}
		if received != 501 { // AllocsPerRun runs it once more, first
			t.Errorf("%d frames, want 501", received)
		}
	})
}

func TestOpenErrors(t *testing.T) {
	pair := silentPair(t)
	f := newFilter(t, pair, bpf.Classic)
	must(t, pair.Near.Do(func() error {
		s, err := OpenSocket(&l2.Interface{Index: 4711, Name: "gone0"}, SocketConfig{Filter: f})
		if s != nil || !errors.Is(err, unix.ENODEV) || err.Error() != "open packet socket on gone0: no such device" {
			t.Errorf("%v, %v", s, err)
		}
		return nil
	}))
	closed, err := bpf.NewFilter(bpf.Match{Kind: bpf.EchoReply, Local: netip.MustParseAddr("198.51.100.1")}, bpf.Classic)
	must(t, err)
	must(t, closed.Close())
	must(t, pair.Near.Do(func() error {
		ifc, err := l2.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		if s, err := OpenSocket(ifc, SocketConfig{Filter: closed}); s != nil || err == nil {
			t.Errorf("with a closed filter: %v, %v", s, err)
		}
		return nil
	}))
}

func TestClose(t *testing.T) {
	pair := silentPair(t)
	l := open(t, pair, bpf.Classic, nil)
	for i := range 2 {
		if err := l.Close(); err != nil {
			t.Errorf("Close %d: %v", i+1, err)
		}
	}
	if n, err := l.Receive(l.frames); n != 0 || !errors.Is(err, unix.EBADF) {
		t.Errorf("Receive after Close: %d, %v", n, err)
	}
}
