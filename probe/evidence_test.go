//go:build linux

package probe

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// Each probe's frame is told once, ahead of what it ends in, with the stamps that
// came, and each answer's with the answer.
func TestEvidence(t *testing.T) {
	const ms = time.Millisecond
	inWorld(t, settings{count: 8, interval: 10 * ms, timeout: 50 * ms, evidence: true, hardware: true}, func(t *testing.T, w *world) {
		came := map[string]bool{}
		arrive := func(after time.Duration, b []byte) {
			came[string(b)] = true
			w.arrive(after, b)
		}
		w.far = func(n uint64, request []byte) {
			reply := replyTo(request)
			switch n {
			case 2: // lost
			case 3:
				arrive(ms, replyTo(request).bytes())
				reply.padding = 1 // else the two are the same
			case 4:
				reply = errorFor(request, 5, 0) // a redirect: the reply follows
				arrive(ms, replyTo(request).bytes())
			case 5: // late
				arrive(60*ms, replyTo(request).bytes())
				return
			case 6:
				reply.badICMP = true
			case 7: // a forged one comes too
				reply.body[0] ^= 1
				w.arrive(ms, reply.bytes())
				reply.body[0] ^= 1
			case 8: // out at the end
				return
			}
			if n != 2 {
				arrive(ms, reply.bytes())
			}
		}
		w.hardware = func(n uint64) time.Duration { return toNIC }
		w.driver = func(n uint64) time.Duration {
			if n == 7 {
				return none
			}
			return toDriver
		}
		w.forging = true
		w.at(110*ms, func() { w.engine.stop(); w.in.wake() })
		w.run()

		var got []string
		for i := range w.log {
			ev := &w.log[i]
			v := ev.Evidence
			if ev.Kind == Lost {
				if v != nil {
					t.Errorf("a loss has frames: %v", v)
				}
				continue
			}
			if v == nil || len(v.Frames) != 1 {
				t.Fatalf("%s has not one frame: %v", describe(ev), v)
			}
			f := v.Frames[0]
			if ev.Kind != Departed {
				if !came[string(f.Data)] || f.PacketType != capture.PacketHost || v.Sched != 0 || v.Driver != 0 ||
					f.Arrival != ev.Time.UnixNano() && ev.Kind == Replied || f.Length != len(f.Data) {
					t.Errorf("%s has the frame %+v", describe(ev), f)
				}
				delete(came, string(f.Data))
				got = append(got, describe(ev))
				continue
			}
			got = append(got, fmt.Sprintf("%d left", ev.Seq))
			left := w.left[ev.Seq-1]
			at := w.base.Add(left.at).UnixNano()
			want := capture.Frame{
				Data: f.Data, Length: len(left.frame), Arrival: at + int64(toDriver), Hardware: nic(left.at + toNIC), PacketType: capture.PacketOutgoing,
			}
			sched, driver := at+int64(toSched), at+int64(toDriver)
			if ev.Seq == 7 {
				want.Arrival, driver = sched, 0
			}
			if !bytes.Equal(f.Data, left.frame) || !sameFrame(f, want) || v.Sched != sched || v.Driver != driver || ev.Time.UnixNano() != f.Arrival {
				t.Errorf("probe %d has left at %v, sched %d, driver %d, as %+v, want %d, %d, %+v", ev.Seq, ev.Time, v.Sched, v.Driver, f, sched, driver, want)
			}
		}
		if len(came) > 0 {
			t.Errorf("the frames of %d answers were not told", len(came))
		}
		want := []string{
			"1 left", "1 replied", "3 left", "3 replied", "3 duplicate", "4 error 5/0 notice", "4 left", "4 replied", "6 corrupted",
			"2 left", "7 left", "7 replied", "5 left", "6 left", "5 late", "8 left",
		}
		slices.Sort(want)
		sorted := slices.Sorted(slices.Values(got))
		if !slices.Equal(sorted, want) {
			t.Errorf("told were %q, want %q", sorted, want)
		}
		for n := 1; n <= 8; n++ {
			left := slices.Index(got, fmt.Sprintf("%d left", n))
			for _, state := range []string{"replied", "late", "duplicate"} {
				if i := slices.Index(got, fmt.Sprintf("%d %s", n, state)); i >= 0 && i < left {
					t.Errorf("%s is told ahead of the departure", got[i])
				}
			}
		}
	})
}

func sameFrame(a, b capture.Frame) bool {
	return bytes.Equal(a.Data, b.Data) && a.Length == b.Length && a.Arrival == b.Arrival && a.Hardware == b.Hardware &&
		a.VLAN == b.VLAN && a.PacketType == b.PacketType
}

// inParts is a request of three frames.
type inParts struct{ request }

func (r inParts) Fragments() [][]byte {
	b := r.request.Fragments()[0]
	return [][]byte{b, b[:40], b[:30]}
}

// What has left of a probe that could not leave as a whole has left all the same.
func TestEvidenceOfAPart(t *testing.T) {
	refused := errors.New("refused")
	for _, tt := range []struct {
		name string
		err  error
		at   int // the frame that cannot leave, from 1
		want []string
	}{
		{"none", refused, 1, []string{"local error"}},
		{"the second", refused, 2, []string{"1", "local error"}},
		{"the third", refused, 3, []string{"2", "local error"}},
		{"no room for the first", unix.ENOBUFS, 1, []string{"3"}},
		{"no room for the third", unix.ENOBUFS, 3, []string{"2", "3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, settings{count: 1, timeout: time.Second, evidence: true}, func(t *testing.T, w *world) {
				w.request = inParts{w.request}
				w.far = func(uint64, []byte) {}
				calls := 0
				w.sendError = func(uint64) error {
					if calls++; calls == tt.at {
						return tt.err
					}
					return nil
				}
				w.run()
				var got []string
				for _, ev := range w.log {
					switch ev.Kind {
					case Failed:
						got = append(got, "local error")
					case Departed:
						got = append(got, fmt.Sprint(len(ev.Evidence.Frames)))
						for i, f := range ev.Evidence.Frames {
							if want := []int{98, 40, 30}[i]; f.Length != want || len(f.Data) != want || f.Arrival == 0 {
								t.Errorf("frame %d is %+v", i, f)
							}
						}
					}
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("told were %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// A reader that stalls has bounded memory: what has no room comes without its frames,
// and is counted.
func TestEvidenceIsBounded(t *testing.T) {
	inWorld(t, settings{count: 1000, interval: time.Millisecond, timeout: 10 * time.Millisecond, evidence: true}, func(t *testing.T, w *world) {
		w.deafReader = true
		w.recorder.limit = 40_000
		w.run()
		s := w.snapshot()
		log, _ := w.events.read(nil)
		with, replies, size := 0, 0, 0
		for _, ev := range log {
			if ev.Kind == Replied {
				replies++
			}
			if v := ev.Evidence; v != nil {
				with++
				size += cap(v.buf)
				w.recorder.release(v)
			}
		}
		if replies != 1000 || s.EventsDropped != 0 || with < 50 || with > 150 || size > 40_000 || s.EvidenceDropped != uint64(2000-with) {
			t.Errorf("%d replies told, %d events with %d bytes of frames, %d without; %s", replies, with, size, s.EvidenceDropped, brief(&s))
		}
		if v := w.recorder.take(); v == nil {
			t.Error("there is no room behind it")
		}
	})
	// Events that the ring has no room for give their frames back.
	inWorld(t, settings{count: 1000, interval: time.Millisecond, timeout: 10 * time.Millisecond, evidence: true, ring: 16}, func(t *testing.T, w *world) {
		w.deafReader = true
		w.run()
		s := w.snapshot()
		if s.EventsDropped != 2000-16 || s.EvidenceDropped != 0 || w.recorder.size > 20*(evidenceOverhead+frameOverhead+128) {
			t.Errorf("%d bytes taken, %s", w.recorder.size, brief(&s))
		}
	})
}

// A cycle with frames, whose reader gives them back.
func (c *cycle) release() {
	for i := range c.events {
		c.recorder.release(c.events[i].Evidence)
	}
}

func TestEvidenceDoesNotAllocate(t *testing.T) {
	c := newCycleOf(t, settings{interval: 10 * time.Millisecond, sent: true, evidence: true})
	c.read()
	c.release()
	replied := func() {
		c.send()
		c.answer()
		c.read()
		if len(c.events) != 3 || c.events[0].Kind != Sent || c.events[1].Kind != Departed || c.events[2].Kind != Replied ||
			c.events[1].Evidence == nil || c.events[2].Evidence == nil {
			t.Fatalf("events %+v", c.events)
		}
		c.release()
	}
	replied()
	before := c.recorder.size
	if n := testing.AllocsPerRun(1000, replied); n != 0 {
		t.Errorf("steps that send a probe and settle its reply, with their frames, allocate %v times", n)
	}
	if c.recorder.size != before {
		t.Errorf("the frames take %d bytes, took %d", c.recorder.size, before)
	}
	c.check(t)
}

// A recorder takes the fragments of answers as the Reassembler does.
func TestRecorderFragments(t *testing.T) {
	address := netip.MustParseAddr("198.51.100.2")
	ifc := &l2.Interface{MAC: nearMAC}
	part := func(id uint32, from, n int) (*frame.IP, *capture.Frame) {
		b := append(nearMAC[:], bytes.Repeat([]byte{byte(id)}, n)...)
		return &frame.IP{Src: address, Dst: nearIP, ID: id, Offset: from, Payload: make([]byte, n)}, &capture.Frame{Data: b, Length: len(b), Arrival: int64(from)}
	}
	r := newRecorder(1 << 20)
	come := func(id uint32, from, n int, now time.Duration, whole int) *Evidence {
		ip, f := part(id, from, n)
		var payload []byte
		if whole > 0 {
			payload = make([]byte, whole)
		}
		r.came(ip, f, instant{mono: int64(now)}, payload)
		if whole == 0 {
			r.paired()
			return nil
		}
		return r.answer(f, instant{}, ifc)
	}
	count := func(v *Evidence) int {
		if v == nil {
			return 0
		}
		defer r.paired()
		defer r.release(v)
		return len(v.Frames)
	}
	// Two at once, each with its own.
	come(1, 0, 8, 0, 0)
	come(2, 0, 8, 0, 0)
	come(1, 8, 8, 0, 0)
	if n := count(come(1, 16, 8, 0, 24)); n != 3 {
		t.Errorf("%d frames of the first, want 3", n)
	}
	if n := count(come(2, 8, 8, 0, 16)); n != 2 {
		t.Errorf("%d frames of the second, want 2", n)
	}
	// Those of an earlier one of the same number are forgotten in time.
	come(3, 0, 8, 0, 0)
	come(3, 0, 8, fragmentsAge+1, 0)
	if n := count(come(3, 8, 8, fragmentsAge+2, 16)); n != 2 {
		t.Errorf("%d frames of the later one, want 2", n)
	}
	// One whose place another took has none, rather than some.
	now := 2 * fragmentsAge
	come(4, 0, 8, now, 0)
	for i := range uint32(fragmentedAnswers) {
		come(100+i, 0, 8, now+1, 0)
	}
	before := r.drops()
	if v := come(4, 8, 8, now+2, 16); v != nil || r.drops() != before+1 {
		t.Errorf("a part of the frames is told: %v", v)
	}
	r.paired()
	// Those that answer nothing give their room back.
	for i := range uint32(1000) {
		come(1000+i, 0, 8, now+2*fragmentsAge, 0)
		ip, f := part(1000+i, 8, 8)
		r.came(ip, f, instant{mono: int64(now + 2*fragmentsAge)}, make([]byte, 16))
		r.paired()
	}
	if r.size > 40*1024 {
		t.Errorf("%d bytes are taken", r.size)
	}
	// And what comes whole behind them is itself.
	_, f := part(9, 0, 8)
	if n := count(r.answer(f, instant{}, ifc)); n != 1 {
		t.Errorf("%d frames of one that is whole", n)
	}
}

func TestForWhom(t *testing.T) {
	bridge := &l2.Interface{MAC: routerMAC, Kind: "bridge"}
	ifc := &l2.Interface{MAC: nearMAC, Master: bridge}
	for to, want := range map[frame.MAC]capture.PacketType{
		nearMAC: capture.PacketHost, routerMAC: capture.PacketHost, farMAC: capture.PacketOtherHost,
		frame.Broadcast: capture.PacketBroadcast, {0x33, 0x33, 0, 0, 0, 1}: capture.PacketMulticast,
	} {
		if got := forWhom(append(to[:], 0, 0), ifc); got != want {
			t.Errorf("to %v is for %v, want %v", to, got, want)
		}
	}
	if got := forWhom([]byte{0x45}, &l2.Interface{NoLink: true}); got != capture.PacketHost {
		t.Errorf("without a link layer it is for %v", got)
	}
}
