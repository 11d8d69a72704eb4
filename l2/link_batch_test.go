//go:build linux

package l2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2/frame"
)

// batchOf is n frames of several lengths, each of which tells its place.
func batchOf(pair *lab.Pair, n int) (frames [][]byte) {
	for i := range n {
		b := frameOf(pair, 60+i%50)
		binary.BigEndian.PutUint32(b[etherLen:], uint32(i))
		frames = append(frames, b)
	}
	return frames
}

// sendBatch sends frames of which so many can be.
func (s *sender) sendBatch(frames [][]byte, first uint32, sent int, want error) {
	s.t.Helper()
	from := time.Now().UnixNano()
	n, err := s.l.SendBatch(frames, first)
	if n != sent || err != want { // bare
		s.t.Fatalf("sending %d frames: %d, %v, want %d, %v", len(frames), n, err, sent, want)
	}
	for i := range n {
		s.windows[first+uint32(i)] = window{from, time.Now().UnixNano()}
	}
}

// idsFrom are n ids from one on.
func idsFrom(first uint32, n int) (ids []uint32) {
	for i := range n {
		ids = append(ids, first+uint32(i))
	}
	return ids
}

// Frames arrive whole and in order, and each has its stamps.
func TestLinkSendBatch(t *testing.T) {
	eachLink(t, func(t *testing.T, pair *lab.Pair, l *Link) {
		far := newStation(t, pair.Far, "eth0")
		s := newSender(t, pair, l)
		for _, tt := range []struct {
			n     int
			first uint32
		}{{0, 5}, {1, 1000}, {2, 0}, {outBatchLen, 100}, {outBatchLen + 1, 1<<32 - 7}, {2*outBatchLen + 3, 500}} {
			frames := batchOf(pair, tt.n)
			s.sendBatch(frames, tt.first, tt.n, nil)
			for i, want := range batchOf(pair, tt.n) {
				if got := far.receive(); !bytes.Equal(got, want) {
					t.Fatalf("frame %d\nsent     % x\nreceived % x", i, want, got)
				}
				if !bytes.Equal(frames[i], want) {
					t.Fatalf("the caller's frame %d has changed", i)
				}
			}
			s.check(idsFrom(tt.first, tt.n)...)
			// A single frame between batches has its own.
			s.send(77)
			far.receive()
			s.check(77)
		}
	})
}

// An error in the middle ends the batch: the frames before it are sent, with their
// stamps, and those behind it are not.
func TestLinkSendBatchErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		length int
		want   error
	}{
		{"far too long", 3000, unix.EMSGSIZE},
		{"too long by one", 1515, unix.EMSGSIZE},
		{"too long by a tag", 1518, unix.EMSGSIZE},
		{"too short", 5, unix.EINVAL},
		{"empty", 0, unix.EINVAL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachLink(t, func(t *testing.T, pair *lab.Pair, l *Link) {
				far := newStation(t, pair.Far, "eth0")
				s := newSender(t, pair, l)
				const n = outBatchLen + 10
				first := uint32(0)
				for _, at := range []int{0, 1, outBatchLen - 1, outBatchLen, n - 1} {
					frames := batchOf(pair, n)
					frames[at] = frameOf(pair, tt.length)
					s.sendBatch(frames, first, at, tt.want)
					rest := at + 1
					s.sendBatch(frames[rest:], first+uint32(rest), n-rest, nil)
					var ids []uint32
					if !l.CountsIDs() || tt.length == 0 {
						// The error was no reason to give up those before it.
						ids = idsFrom(first, at)
					}
					s.check(append(ids, idsFrom(first+uint32(rest), n-rest)...)...)
					l.drain(t)
					for i, want := range frames {
						if i == at {
							continue
						}
						if got := far.receive(); !bytes.Equal(got, want) {
							t.Fatalf("error at %d, frame %d\nsent     % x\nreceived % x", at, i, want, got)
						}
					}
					first += n
				}
			})
		})
	}
}

// What no frame of a batch can do is an error of the first.
func TestLinkSendBatchRefused(t *testing.T) {
	eachLink(t, func(t *testing.T, pair *lab.Pair, l *Link) {
		s := newSender(t, pair, l)
		frames := batchOf(pair, 3)
		must(t, pair.Near.SetDown("eth0"))
		s.sendBatch(frames, 1, 0, unix.ENETDOWN)
		must(t, pair.SetUp())
		s.sendBatch(frames, 10, 3, nil)
		s.check(10, 11, 12)
		dropAll(t, pair.Near)
		s.sendBatch(frames, 20, 0, unix.ENOBUFS)
		must(t, delQdisc(pair.Near))
		l.drain(t)
		s.sendBatch(frames, 30, 3, nil)
		s.check(30, 31, 32)
		must(t, pair.Near.DeleteLink("eth0"))
		s.sendBatch(frames, 1, 0, unix.ENXIO)
		must(t, l.Close())
		s.sendBatch(frames, 1, 0, unix.EBADF)
	})
}

// A queue that gets full lets the first frames of a batch through.
func TestLinkSendBatchQueueFull(t *testing.T) {
	for name, full := range map[string]struct {
		limit, buffer int // bytes in the queue, SO_SNDBUF
		want          error
	}{
		"qdisc": {6000, 1 << 20, unix.ENOBUFS},
		// Each frame counts there until it has left.
		"buffer": {1 << 20, 1, unix.EAGAIN},
	} {
		t.Run(name, func(t *testing.T) {
			eachLink(t, func(t *testing.T, pair *lab.Pair, l *Link) {
				must(t, pair.Near.SetRate("eth0", 1000, uint32(full.limit)))
				must(t, unix.SetsockoptInt(l.FD(), unix.SOL_SOCKET, unix.SO_SNDBUF, full.buffer))
				s := newSender(t, pair, l)
				frames := make([][]byte, 1000)
				for i := range frames {
					frames[i] = frameOf(pair, 1514)
				}
				sent, err := l.SendBatch(frames, 1000)
				if err != full.want || sent < 1 || sent == len(frames) {
					t.Fatalf("%d, %v, want some of %d and %v", sent, err, len(frames), full.want)
				}
				// Those that were sent have entered the queue; so has at most the one
				// that was dropped there.
				entered := map[uint32]bool{}
				stamps := make([]Stamp, MinStamps)
				for more := true; more; {
					var n int
					n, more, err = l.ReadStamps(stamps)
					must(t, err)
					for _, st := range stamps[:n] {
						if st.Point == StampSched {
							entered[st.ID-1000] = true
						}
					}
				}
				for i := range sent {
					if !entered[uint32(i)] {
						t.Errorf("of %d frames, %d has no stamp", sent, i)
					}
				}
				if delete(entered, uint32(sent)); len(entered) > sent {
					t.Errorf("%d frames were sent, stamps are of %v", sent, entered)
				}
				must(t, delQdisc(pair.Near))
				l.drain(t)
				s.sendBatch(batchOf(pair, 3), 1, 3, nil)
				s.check(1, 2, 3)
			})
		})
	}
}

func TestLinkSendBatchNoStamps(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	l := openLink(t, pair.Near, &LinkConfig{NoStamps: true})
	far := newStation(t, pair.Far, "eth0")
	s := newSender(t, pair, l)
	s.sendBatch(batchOf(pair, 100), 1, 100, nil)
	for _, want := range batchOf(pair, 100) {
		if got := far.receive(); !bytes.Equal(got, want) {
			t.Fatalf("sent     % x\nreceived % x", want, got)
		}
	}
	if _, _, err := unix.Recvfrom(l.FD(), nil, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("error queue: %v", err)
	}
}

// How long a frame may be depends on its tags, in a batch too.
func TestLinkSendBatchTagged(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	l := openLink(t, pair.Near, nil)
	far := newStation(t, pair.Far, "eth0")
	tag := frame.VLAN{Type: frame.EtherTypeVLAN, TCI: 100}
	tagged := func(dataLen int) []byte {
		return framed(echoPacket(t, pair.NearIP, pair.FarIP, 1, dataLen), pair.FarMAC, pair.NearMAC, tag)
	}
	frames := [][]byte{tagged(10), frameOf(pair, 1514), tagged(1500 - 28), tagged(1501 - 28), frameOf(pair, 60)}
	if n, err := l.SendBatch(frames, 1); n != 3 || err != unix.EMSGSIZE {
		t.Errorf("%d, %v, want 3 and EMSGSIZE", n, err)
	}
	for i, f := range frames[:3] {
		// The kernel takes the outer tag off.
		if got := far.receive(); !bytes.HasSuffix(got, f[18:]) {
			t.Errorf("frame %d: %d bytes come", i, len(got))
		}
	}
}

// On lo IPv4 and all else go by two sockets, and still in order.
func TestLinkSendBatchLoopback(t *testing.T) {
	for _, countIDs := range []bool{false, true} {
		t.Run(fmt.Sprintf("counted=%v", countIDs), func(t *testing.T) {
			n, _ := sixes(t)
			must(t, n.EnableIPv6("lo"))
			l, ear := openLinkOn(t, n, "lo", &LinkConfig{countIDs: countIDs}), newStation(t, n, "lo")
			zero := make([]byte, 6)
			var frames, packets [][]byte
			for i, dst := range []string{"127.0.0.1", "127.9.9.9", "::1", "2001:db8:1::1", "198.51.100.1", "", "127.0.0.1", "::1"} {
				packet := append([]byte("none of IP"), make([]byte, 36)...)
				f := append(append(append([]byte{}, zero...), zero...), experimental>>8, experimental&0xff)
				f = append(f, packet...)
				if dst != "" {
					packet = echoPacket(t, addr(dst), addr(dst), uint16(i), 8)
					packet[len(packet)-9]++ // no reply comes to a wrong checksum
					// Padding is no part of an IPv4 packet.
					f = framed(packet, zero, zero)
					if addr(dst).Is4() {
						f = append(f, make([]byte, 17)...)
					}
				}
				frames, packets = append(frames, f), append(packets, packet)
			}
			from := time.Now().UnixNano()
			for round := range uint32(3) {
				if sent, err := l.SendBatch(frames, 100*round); sent != len(frames) || err != nil {
					t.Fatalf("%d, %v, want %d", sent, err, len(frames))
				}
				for i, want := range packets {
					if got := ear.receive(); !bytes.Equal(got[etherLen:], want) {
						t.Errorf("frame %d\nsent     % x\nreceived % x", i, want, got[etherLen:])
					}
				}
				departures(t, l, from, idsFrom(100*round, len(frames))...)
			}
			must(t, n.SetDown("lo"))
			for i := range frames {
				if sent, err := l.SendBatch(frames[i:], 1); sent != 0 || err != unix.ENETDOWN {
					t.Errorf("down: %d, %v, want ENETDOWN, bare", sent, err)
				}
			}
			must(t, n.SetUp("lo"))
			frames[2] = frames[2][:10]
			if sent, err := l.SendBatch(frames, 1000); sent != 2 || err != unix.EINVAL {
				t.Errorf("a piece of a frame: %d, %v, want 2 and EINVAL", sent, err)
			}
		})
	}
}

// Without a link layer each packet tells its protocol.
func TestLinkSendBatchTun(t *testing.T) {
	for _, countIDs := range []bool{false, true} {
		n := labtest.NewNamespace(t)
		tun := labtest.AddTun(t, n, "tun0")
		must(t, n.SetUp("tun0"))
		l := openLinkOn(t, n, "tun0", &LinkConfig{countIDs: countIDs})
		must(t, tun.SetReadDeadline(time.Now().Add(patience)))
		var packets [][]byte
		for i := range uint16(6) {
			packets = append(packets,
				echoPacket(t, addr("198.18.5.1"), addr("198.18.5.2"), i, 56),
				echoPacket(t, addr("2001:db8:5::1"), addr("2001:db8:5::2"), i, 56))
		}
		b := make([]byte, 2000)
		receive := func(packets [][]byte) {
			t.Helper()
			for _, want := range packets {
				if got, err := tun.Read(b); err != nil || !bytes.Equal(b[:got], want) {
					t.Errorf("sent     % x\nreceived % x, %v", want, b[:got], err)
				}
			}
		}
		from := time.Now().UnixNano()
		if sent, err := l.SendBatch(packets, 10); sent != len(packets) || err != nil {
			t.Errorf("%d, %v", sent, err)
		}
		receive(packets)
		departures(t, l, from, idsFrom(10, len(packets))...)
		packets[5] = []byte{0x75, 0, 0, 20}
		if sent, err := l.SendBatch(packets, 30); sent != 5 || err != unix.EINVAL {
			t.Errorf("version 7: %d, %v, want 5 and EINVAL, bare", sent, err)
		}
		receive(packets[:5])
		departures(t, l, from, idsFrom(30, 5)...)
		// Made anew, it is sent to as before.
		must(t, tun.Close())
		tun = labtest.AddTun(t, n, "tun0")
		must(t, n.SetUp("tun0"))
		must(t, tun.SetReadDeadline(time.Now().Add(patience)))
		if sent, err := l.SendBatch(packets[:5], 40); sent != 0 || err != unix.ENXIO {
			t.Errorf("not bound: %d, %v, want ENXIO, bare", sent, err)
		}
		must(t, l.Rebind(lookUp(t, n, "tun0")))
		if sent, err := l.SendBatch(packets[:5], 50); sent != 5 || err != nil {
			t.Errorf("bound anew: %d, %v", sent, err)
		}
		receive(packets[:5])
		departures(t, l, from, idsFrom(50, 5)...)
	}
}

// Past the qdisc a frame is seen by no tap and dropped by no queue, and has one
// stamp.
func TestLinkBypass(t *testing.T) {
	for _, countIDs := range []bool{false, true} {
		t.Run(fmt.Sprintf("counted=%v", countIDs), func(t *testing.T) {
			pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
			cfg := LinkConfig{Mark: mark, countIDs: countIDs}
			by := openLink(t, pair.Near, &LinkConfig{Mark: mark, countIDs: countIDs, Bypass: true})
			plain := openLink(t, pair.Near, &cfg)
			far := newStation(t, pair.Far, "eth0")
			tap := labtest.HearMark(t, pair.Near, "eth0", mark)
			frames := batchOf(pair, 5)
			from := time.Now().UnixNano()
			if n, err := by.SendBatch(frames, 10); n != 5 || err != nil {
				t.Fatal(n, err)
			}
			must(t, by.Send(frameOf(pair, 99), 15))
			must(t, plain.Send(frameOf(pair, 98), 1))
			if got := tap(patience); !bytes.Equal(got, frameOf(pair, 98)) {
				t.Errorf("a tap sees % x", got)
			}
			stamps := make([]Stamp, MinStamps)
			n, _, err := by.ReadStamps(stamps)
			if err != nil || n != 6 {
				t.Fatalf("%v, %v, want one stamp a frame", stamps[:n], err)
			}
			for i, st := range stamps[:n] {
				if st.ID != uint32(10+i) || st.Point != StampDriver || st.Time < from || st.Time > time.Now().UnixNano() {
					t.Errorf("stamp %d: %+v", i, st)
				}
			}
			for _, want := range append(frames, frameOf(pair, 99), frameOf(pair, 98)) {
				if got := far.receive(); !bytes.Equal(got, want) {
					t.Errorf("received % x, want % x", got, want)
				}
			}

			dropAll(t, pair.Near)
			if err := plain.Send(frames[0], 2); err != unix.ENOBUFS {
				t.Errorf("by a qdisc that drops all: %v", err)
			}
			if n, err := by.SendBatch(frames, 20); n != 5 || err != nil {
				t.Errorf("past it: %d, %v", n, err)
			}
			for _, want := range frames {
				if got := far.receive(); !bytes.Equal(got, want) {
					t.Errorf("received % x, want % x", got, want)
				}
			}
			must(t, delQdisc(pair.Near))

			// Without carrier there is no driver to take it.
			must(t, pair.Far.SetDown("eth0"))
			if err := by.Send(frames[0], 30); err != unix.ENOBUFS {
				t.Errorf("without carrier: %v, want ENOBUFS, bare", err)
			}
			must(t, pair.SetUp())
			by.drain(t)
			must(t, by.Send(frames[0], 40))
			if n, _, err := by.ReadStamps(stamps); n != 1 || err != nil || stamps[0].ID != 40 {
				t.Errorf("%v, %v", stamps[:n], err)
			}
		})
	}
}

// On lo that is for what is no IPv4.
func TestLinkBypassLoopback(t *testing.T) {
	n, _ := sixes(t)
	must(t, n.EnableIPv6("lo"))
	l, ear := openLinkOn(t, n, "lo", &LinkConfig{Bypass: true}), newStation(t, n, "lo")
	var frames [][]byte
	for i, a := range []string{"127.0.0.1", "::1"} {
		frames = append(frames, framed(echoPacket(t, addr(a), addr(a), uint16(i), 56), make([]byte, 6), make([]byte, 6)))
	}
	if n, err := l.SendBatch(frames, 1); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	ear.answer(0)
	ear.answer(1)
	got := map[Stamp]bool{}
	stamps := make([]Stamp, MinStamps)
	for range 2 {
		n, _, err := l.ReadStamps(stamps)
		must(t, err)
		for _, s := range stamps[:n] {
			got[Stamp{ID: s.ID, Point: s.Point}] = true
		}
	}
	want := map[Stamp]bool{{ID: 1, Point: StampSched}: true, {ID: 1, Point: StampDriver}: true, {ID: 2, Point: StampDriver}: true}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("stamps %v, want %v", got, want)
	}
}

// A kernel that does not know how is told of.
func TestLinkBypassRefused(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	ifc := lookUp(t, pair.Near, "eth0")
	refuses := func(int) error { return os.NewSyscallError("setsockopt", unix.ENOPROTOOPT) }
	inside(t, pair.Near, func() {
		const want = "bypass qdisc of eth0: setsockopt: protocol not available"
		l, err := OpenLink(ifc, &LinkConfig{Bypass: true, setBypass: refuses})
		if l != nil || !errors.Is(err, unix.ENOPROTOOPT) || err.Error() != want {
			t.Errorf("%v, %v, want %s", l, err, want)
		}
	})
}

func TestLinkSendBatchAllocates(t *testing.T) {
	check := func(t *testing.T, l *Link, frames [][]byte) {
		t.Helper()
		stamps := make([]Stamp, MinStamps)
		var id uint32
		if allocs := testing.AllocsPerRun(200, func() {
			if n, err := l.SendBatch(frames, id); n != len(frames) || err != nil {
				panic(fmt.Sprint(n, err))
			}
			id += uint32(len(frames))
			for more := true; more; {
				var err error
				if _, more, err = l.ReadStamps(stamps); err != nil {
					panic(err)
				}
			}
			if n, err := l.SendBatch([][]byte{nil}, id); n != 0 || err != unix.EINVAL {
				panic(fmt.Sprint(n, err))
			}
		}); allocs != 0 {
			t.Errorf("%v allocations a batch, want 0", allocs)
		}
	}
	eachLink(t, func(t *testing.T, pair *lab.Pair, l *Link) { check(t, l, batchOf(pair, outBatchLen+5)) })
	t.Run("lo", func(t *testing.T) {
		n := labtest.NewNamespace(t)
		var frames [][]byte
		for i := range 10 {
			f := framed(echoPacket(t, addr("127.0.0.1"), addr("127.0.0.1"), uint16(i), 56), make([]byte, 6), make([]byte, 6))
			frames = append(frames, f, append(bytes.Clone(f[:12]), f[2:]...))
		}
		check(t, openLinkOn(t, n, "lo", nil), frames)
	})
}
