package bpf

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	cbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/internal/sock/classic"
	"github.com/l2ping/l2ping/l2/frame"
)

// On an AF_UNIX socket the kernel runs the filter over the bytes alone, for
// which no privileges are needed: the packet type is PACKET_HOST, and there is
// no VLAN.
func TestKernelDatagram(t *testing.T) {
	list := corpus(t)
	eachMode(t, func(t *testing.T, mode Mode) {
		for i, mm := range matches {
			in, out := datagramPair(t)
			f := newFilter(t, mm.m, mode)
			attach(t, f, in)
			for _, s := range list {
				if !s.judgedBy(i) {
					continue
				}
				before := rejected(t, f)
				out.send(t, s.bytes)
				var got bool
				if err := in.raw.Control(func(fd uintptr) {
					var b []byte
					b, _, got = recvNow(t, int(fd))
					if got && !bytes.Equal(b, s.bytes) {
						t.Errorf("%s, %s: %d bytes of %d arrive", mm.name, s.name, len(b), len(s.bytes))
					}
				}); err != nil {
					t.Fatal(err)
				}
				if want := mm.m.Accepts(s.bytes, Meta{}); got != want {
					t.Errorf("%s, %s: accepted: %v, want %v", mm.name, s.name, got, want)
				}
				checkCount(t, f, before, mm.m.Claims(s.bytes, Meta{}), mm.name+", "+s.name)
			}
		}
	})
}

// checkCount checks that the count of an eBPF filter went up by one if, and only
// if, a frame claimed to be a reply.
func checkCount(t *testing.T, f *Filter, before uint64, claims bool, name string) {
	t.Helper()
	if f.Mode() != EBPF {
		return
	}
	want := before
	if claims {
		want++
	}
	if after := rejected(t, f); after != want {
		t.Errorf("%s: %d rejected after %d, want %d", name, after, before, want)
	}
}

// BPF_PROG_TEST_RUN takes the packet type from the frame that it is handed, on
// the loopback interface, and gives a socket filter what follows its Ethernet
// header (bpf_prog_test_run_skb in net/bpf/test_run.c).
func TestKernelTestRun(t *testing.T) {
	labtest.RequireRoot(t)
	outer := map[uint8]frame.MAC{
		packetHost:      {}, // the loopback interface's own address
		packetBroadcast: frame.Broadcast,
		packetMulticast: groupMAC,
		packetOtherHost: otherMAC,
	}
	list, runs := corpus(t), 0
	for i, mm := range matches {
		f := newFilter(t, mm.m, EBPF)
		for _, s := range list {
			if !s.judgedBy(i) {
				continue
			}
			if len(s.bytes) == 0 {
				continue // EINVAL: the kernel has no skb without data
			}
			meta := Meta{PacketType: s.meta().PacketType}
			dst := outer[meta.PacketType]
			data := append(dst[:], make([]byte, 6)...)
			// An EtherType for experiments: of IPv4 the kernel wants a whole header.
			data = append(append(data, 0x88, 0xb5), s.bytes...)

			before := rejected(t, f)
			n, _, err := f.objects.L2pingMatch.Test(data)
			if err != nil {
				t.Fatalf("%s, %s: %v", mm.name, s.name, err)
			}
			runs++
			var want uint32
			if mm.m.Accepts(s.bytes, meta) {
				want = 0xffffffff
			}
			if n != want {
				t.Errorf("%s, %s: the program returns %#x, want %#x", mm.name, s.name, n, want)
			}
			checkCount(t, f, before, mm.m.Claims(s.bytes, meta), mm.name+", "+s.name)
		}
	}
	t.Logf("%d frames, %d runs", len(list), runs)
	if least := len(madeSamples()) * len(matches); runs < least {
		t.Errorf("%d runs, want at least %d", runs, least)
	}
}

// A live is a wire whose near end has a socket for each Match of Ethernet, and a
// witness, which sees all frames that arrive there.
type live struct {
	far     *socket
	witness *socket
	filters [len(matches)]*Filter // nil of a Match without link layer
	sockets [len(matches)]*socket
	ends    uint32
}

func newLive(t *testing.T, pair *lab.Pair, mode Mode) *live {
	t.Helper()
	// A host with an address would ask for the MACs of some senders.
	if err := pair.Near.DelAddr("eth0", netip.PrefixFrom(pair.NearIP, 24)); err != nil {
		t.Fatal(err)
	}
	l := &live{
		far:     packetSocket(t, pair.Far, 0),
		witness: packetSocket(t, pair.Near, unix.ETH_P_ALL),
	}
	if !bytes.Equal(pair.NearMAC, localMAC[:]) {
		t.Fatalf("the lab's near end has the address %s, the corpus wants %s", pair.NearMAC, localMAC)
	}
	detach(t, l.witness)
	for i, mm := range matches {
		if mm.m.NoLink {
			continue
		}
		l.filters[i] = newFilter(t, mm.m, mode)
		l.sockets[i] = packetSocket(t, pair.Near, unix.ETH_P_ALL)
		attach(t, l.filters[i], l.sockets[i])
	}
	return l
}

// pinned runs f in ns on a thread that stays on one CPU. Frames that are sent
// from there arrive in their order: the veth driver puts them in that CPU's
// backlog (veth_forward_skb, netif_rx), and the next is not looked at before
// the one before has been handed to all sockets.
func pinned(t *testing.T, ns *lab.Namespace, f func()) {
	t.Helper()
	if err := ns.Do(func() error {
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
	}); err != nil {
		t.Fatal(err)
	}
}

// wire is the frame as it was before the kernel took its tag out.
func (s sample) wire() []byte {
	if s.vlan {
		return insertTag(s.bytes, s.tci)
	}
	return s.bytes
}

// sendable tells whether the frame can come over Ethernet as it is.
func (s sample) sendable() bool {
	if s.raw || len(s.bytes) < etherLen {
		return false // EINVAL: no Ethernet frame (dev_validate_header)
	}
	// The kernel takes out the tag that comes first, if there is a whole one
	// (skb_vlan_untag), else it drops the frame.
	switch b := s.wire(); binary.BigEndian.Uint16(b[12:]) {
	case etherTypeVLAN, etherTypeQinQ:
		return s.vlan && len(b) >= etherLen+tagLen+2
	default:
		return true
	}
}

// end makes a frame that no Match accepts or finds to be false, and that is the
// only one of its kind.
func (l *live) end() []byte {
	b := append(frame.Broadcast[:], markerMAC[:]...)
	b = append(b, 0x88, 0xb5) // an EtherType for experiments
	l.ends++
	return binary.BigEndian.AppendUint32(b, l.ends)
}

// check has send send a frame, and an end after it. When the end has come the
// frame is in the sockets' queues, or it never will be. It checks what the
// witness saw of the frame and who accepted and counted it, and returns who did
// accept it.
func (l *live) check(t *testing.T, s sample, send func(), end []byte) (accepted [len(matches)]bool) {
	t.Helper()
	var before [len(matches)]uint64
	for i, f := range l.filters {
		if f != nil {
			before[i] = rejected(t, f)
		}
	}
	send()

	b, meta := l.witness.recv(t)
	if !bytes.Equal(b, s.bytes) {
		t.Fatalf("%s: the witness sees\n% x, want\n% x", s.name, b, s.bytes)
	}
	if meta != s.meta() {
		t.Fatalf("%s: the kernel says %+v of it, want %+v", s.name, meta, s.meta())
	}
	if b, _ := l.witness.recv(t); !bytes.Equal(b, end) {
		t.Fatalf("the witness sees\n% x, want the end\n% x", b, end)
	}
	for i, mm := range matches {
		if l.sockets[i] == nil {
			continue
		}
		accepted[i] = l.sockets[i].took(t, s.bytes)
		if want := mm.m.Accepts(s.bytes, meta); accepted[i] != want {
			t.Errorf("%s, %s: accepted: %v, want %v", mm.name, s.name, accepted[i], want)
		}
		checkCount(t, l.filters[i], before[i], mm.m.Claims(s.bytes, meta), mm.name+", "+s.name)
	}
	return accepted
}

// took tells whether a frame, and nothing else, has come.
func (s *socket) took(t *testing.T, want []byte) (ok bool) {
	t.Helper()
	if err := s.raw.Control(func(fd uintptr) {
		for {
			b, _, more := recvNow(t, int(fd))
			if !more {
				return
			}
			if ok || !bytes.Equal(b, want) {
				t.Fatalf("accepted what nobody sent:\n% x", b)
			}
			ok = true
		}
	}); err != nil {
		t.Fatal(err)
	}
	return ok
}

// wired sends a frame down the wire.
func (l *live) wired(t *testing.T, s sample) (accepted [len(matches)]bool) {
	t.Helper()
	end := l.end()
	return l.check(t, s, func() { l.far.send(t, s.wire()); l.far.send(t, end) }, end)
}

func TestKernelLive(t *testing.T) {
	list := corpus(t)
	eachMode(t, func(t *testing.T, mode Mode) {
		pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
		l := newLive(t, pair, mode)
		sent := 0
		var count [len(matches)]int
		pinned(t, pair.Near, func() {
			for _, s := range list {
				if !s.sendable() {
					continue
				}
				for i, ok := range l.wired(t, s) {
					if ok {
						count[i]++
					}
				}
				sent++
			}
		})
		t.Logf("%d of %d frames sent", sent, len(list))
		if least := len(list) / 2; sent < least {
			t.Errorf("%d frames sent, want at least %d", sent, least)
		}
		for i, n := range count {
			if l.filters[i] != nil && n == 0 {
				t.Errorf("%s accepted nothing", matches[i].name)
			}
		}
	})
}

// On a tun interface frames begin with the IP header, for the Matches without
// link layer.
func TestKernelTun(t *testing.T) {
	list := corpus(t)
	eachMode(t, func(t *testing.T, mode Mode) {
		ns := labtest.NewNamespace(t)
		tun := labtest.AddTun(t, ns, "eth0")
		if err := ns.SetUp("eth0"); err != nil {
			t.Fatal(err)
		}
		if err := ns.WaitUp("eth0"); err != nil {
			t.Fatal(err)
		}
		l := &live{witness: packetSocket(t, ns, unix.ETH_P_ALL)}
		detach(t, l.witness)
		for i, mm := range matches {
			if mm.m.NoLink {
				l.filters[i] = newFilter(t, mm.m, mode)
				l.sockets[i] = packetSocket(t, ns, unix.ETH_P_ALL)
				attach(t, l.filters[i], l.sockets[i])
			}
		}
		send := func(b []byte) {
			if _, err := tun.Write(b); err != nil {
				t.Fatalf("% x: %v", b, err)
			}
		}
		sent := 0
		pinned(t, ns, func() {
			for _, s := range list {
				version := byte(0) // EINVAL: neither 4 nor 6 (tun_get_user)
				if len(s.bytes) > 0 {
					version = s.bytes[0] >> 4
				}
				if !s.raw || s.vlan || version != 4 && version != 6 {
					continue
				}
				sent++
				l.ends++
				end := binary.BigEndian.AppendUint32([]byte{0x40}, l.ends)
				l.check(t, s, func() { send(s.bytes); send(end) }, end)
			}
		})
		if least := 200; sent < least {
			t.Errorf("%d frames sent, want at least %d", sent, least)
		}
	})
}

// What the host itself sends passes a packet socket too, as PACKET_OUTGOING.
func TestKernelOutgoing(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
		l := newLive(t, pair, mode)
		near := packetSocket(t, pair.Near, 0)
		reply := newPing()
		pinned(t, pair.Near, func() {
			near.send(t, reply)
			b, meta := l.witness.recv(t)
			if !bytes.Equal(b, reply) || meta.PacketType != packetOutgoing {
				t.Fatalf("the witness sees %+v\n% x", meta, b)
			}
			for i, f := range l.filters {
				if f != nil && rejected(t, f) != 0 {
					t.Errorf("%s rejected it", matches[i].name)
				}
			}
			// Its incoming twin comes but once.
			l.wired(t, sample{name: "incoming twin", bytes: reply})
		})
	})
}

// To a socket of ETH_P_IP the kernel hands a frame after its VLAN handling: this
// is why Attach asks for ETH_P_ALL.
func TestKernelNarrowProtocol(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	far := packetSocket(t, pair.Far, 0)
	open := func(protocol uint16, match int) *socket {
		s := packetSocket(t, pair.Near, protocol)
		attach(t, newFilter(t, matches[match].m, Classic), s)
		return s
	}
	narrow, wide := open(unix.ETH_P_IP, mEcho), open(unix.ETH_P_ALL, mEcho)
	narrow5, wide5 := open(unix.ETH_P_IP, mVLAN), open(unix.ETH_P_ALL, mVLAN)

	reply, plain := newPing(), newPing(func(p *ping) { p.icmp.Seq++ })
	pinned(t, pair.Near, func() {
		far.send(t, insertTag(reply, 5))
		far.send(t, insertTag(reply, 0))
		far.send(t, plain)
		for _, want := range []struct {
			name  string
			s     *socket
			bytes []byte
			meta  Meta
		}{
			{"VLAN 5", wide5, reply, Meta{VLANPresent: true, VLANTCI: 5}},
			{"priority tag", wide, reply, Meta{VLANPresent: true}},
			{"priority tag, to ETH_P_IP", narrow, reply, Meta{}},
			{"no tag", wide, plain, Meta{}},
			{"no tag, to ETH_P_IP", narrow, plain, Meta{}},
		} {
			if b, meta := want.s.recv(t); !bytes.Equal(b, want.bytes) || meta != want.meta {
				t.Errorf("%s: %+v\n% x\nwant %+v\n% x", want.name, meta, b, want.meta, want.bytes)
			}
		}
		if err := narrow5.raw.Control(func(fd uintptr) {
			if b, meta, ok := recvNow(t, int(fd)); ok {
				t.Errorf("VLAN 5, to ETH_P_IP: %+v\n% x", meta, b)
			}
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// The kernel takes the jumps of a program that is too long for short ones.
func TestKernelFarJumps(t *testing.T) {
	const n = 600
	raw, err := cbpf.Assemble(numbers(n))
	if err != nil {
		t.Fatal(err)
	}
	in, out := datagramPair(t)
	if err := in.raw.Control(func(fd uintptr) {
		if err := classic.Attach(int(fd), raw); err != nil {
			t.Fatal(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	for i := range n + 2 {
		if got := passes(t, in, out, []byte{0, 0, byte(i >> 8), byte(i)}); got != (i >= n) {
			t.Errorf("%d passes: %v", i, got)
		}
	}
}
