package bpf

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2/frame"
)

// On an AF_UNIX socket the kernel runs the filter over the bytes alone, for
// which no privileges are needed: the packet type is PACKET_HOST, and there is
// no VLAN.
func TestKernelDatagram(t *testing.T) {
	list := corpus(t)
	eachMode(t, func(t *testing.T, mode Mode) {
		for _, mm := range matches {
			in, out := datagramPair(t)
			f := newFilter(t, mm.m, mode)
			attach(t, f, in)
			for _, s := range list {
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
	for _, mm := range matches {
		f := newFilter(t, mm.m, EBPF)
		for _, s := range list {
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
	if least := (len(list) - 1) * len(matches); runs < least {
		t.Errorf("%d runs, want at least %d", runs, least)
	}
}

// A live is a wire whose near end has a socket for each Match, and a witness,
// which sees all frames that arrive there.
type live struct {
	far     *socket
	witness *socket
	filters []*Filter
	sockets []*socket
	markers uint32
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
	if err := l.witness.raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
			t.Fatal(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	for _, mm := range matches {
		f := newFilter(t, mm.m, mode)
		s := packetSocket(t, pair.Near, unix.ETH_P_ALL)
		attach(t, f, s)
		l.filters, l.sockets = append(l.filters, f), append(l.sockets, s)
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

// marker makes a frame that a Match accepts and that is in no corpus: its
// sender tells it from other frames, and a number behind its end from other
// markers.
func (l *live) marker(m Match) []byte {
	b := acceptable(m)
	copy(b[6:], markerMAC[:])
	l.markers++
	return binary.BigEndian.AppendUint32(b, l.markers)
}

func isMarker(b []byte) bool {
	return len(b) >= etherLen && bytes.Equal(b[6:12], markerMAC[:])
}

// judge sends a frame down the wire, and a marker for each Match after it. It
// returns what the witness saw of the frame, and which Matches accepted it: the
// frame lies before the marker in their sockets' queues, or it never will.
func (l *live) judge(t *testing.T, wire, want []byte) (meta Meta, accepted []bool) {
	t.Helper()
	l.far.send(t, wire)
	markers := make([][]byte, len(matches))
	for i, mm := range matches {
		markers[i] = l.marker(mm.m)
		l.far.send(t, markers[i])
	}

	b, meta := l.witness.recv(t)
	if !bytes.Equal(b, want) {
		t.Fatalf("the witness sees\n% x, want\n% x", b, want)
	}
	for i := range markers {
		if b, _ := l.witness.recv(t); !bytes.Equal(b, markers[i]) {
			t.Fatalf("the witness sees\n% x, want the marker\n% x", b, markers[i])
		}
	}

	accepted = make([]bool, len(matches))
	for i, s := range l.sockets {
		for {
			b, _ := s.recv(t)
			if bytes.Equal(b, markers[i]) {
				break
			}
			switch {
			case bytes.Equal(b, want) && !accepted[i]:
				accepted[i] = true
			case !isMarker(b):
				t.Fatalf("%s accepts what nobody sent:\n% x", matches[i].name, b)
			}
		}
	}
	return meta, accepted
}

func TestKernelLive(t *testing.T) {
	list := corpus(t)
	eachMode(t, func(t *testing.T, mode Mode) {
		pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
		l := newLive(t, pair, mode)
		sent := 0
		pinned(t, pair.Near, func() {
			for _, s := range list {
				if len(s.bytes) < etherLen {
					continue // EINVAL: no Ethernet frame (dev_validate_header)
				}
				before := make([]uint64, len(matches))
				for i, f := range l.filters {
					before[i] = rejected(t, f)
				}
				wire := s.bytes
				if s.vlan {
					wire = insertTag(wire, s.tci)
				}
				meta, accepted := l.judge(t, wire, s.bytes)
				sent++
				if meta != s.meta() {
					t.Fatalf("%s: the kernel says %+v of it, want %+v", s.name, meta, s.meta())
				}
				for i, mm := range matches {
					if want := mm.m.Accepts(s.bytes, meta); accepted[i] != want {
						t.Errorf("%s, %s: accepted: %v, want %v", mm.name, s.name, accepted[i], want)
					}
					checkCount(t, l.filters[i], before[i], mm.m.Claims(s.bytes, meta), mm.name+", "+s.name)
				}
			}
		})
		t.Logf("%d of %d frames sent", sent, len(list))
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
			_, accepted := l.judge(t, reply, reply)
			for i := range matches {
				if want := matches[i].m.Accepts(reply, Meta{}); accepted[i] != want {
					t.Errorf("%s: incoming twin accepted: %v, want %v", matches[i].name, accepted[i], want)
				}
			}
			if n := rejected(t, l.filters[mEcho]); n != 0 {
				t.Errorf("%d rejected", n)
			}
		})
	})
}

// To a socket of ETH_P_IP the kernel hands a frame after its VLAN handling: this
// is why Attach asks for ETH_P_ALL.
func TestKernelNarrowProtocol(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	far := packetSocket(t, pair.Far, 0)
	narrow := packetSocket(t, pair.Near, unix.ETH_P_IP)
	attach(t, newFilter(t, matches[mEcho].m, Classic), narrow)
	wide := packetSocket(t, pair.Near, unix.ETH_P_ALL)
	attach(t, newFilter(t, matches[mEcho].m, Classic), wide)

	reply, plain := newPing(), newPing(func(p *ping) { p.icmp.Seq++ })
	pinned(t, pair.Near, func() {
		far.send(t, insertTag(reply, 5))
		far.send(t, insertTag(reply, 0))
		far.send(t, plain)
		if b, meta := narrow.recv(t); !bytes.Equal(b, reply) || meta.VLANPresent {
			t.Errorf("ETH_P_IP: %+v\n% x\nwant the frame with the priority tag, its tag gone", meta, b)
		}
		for _, s := range []*socket{narrow, wide} {
			if b, _ := s.recv(t); !bytes.Equal(b, plain) {
				t.Errorf("% x\nwant the frame without a tag", b)
			}
		}
	})
}
