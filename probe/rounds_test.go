//go:build linux

package probe

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
)

// TestShortInterval runs at 10 us over many rounds of sequence numbers, which
// takes 0.65 s for each.
func TestShortInterval(t *testing.T) {
	const count, interval = 2<<16 + 5000, 10 * time.Microsecond
	inWorld(t, settings{count: count, interval: interval, timeout: 5 * time.Millisecond}, func(t *testing.T, w *world) {
		random := rand.New(rand.NewPCG(9, 10))
		w.oversleep = func() time.Duration { return time.Duration(random.Int64N(int64(300 * time.Microsecond))) }
		lost := uint64(0)
		w.far = func(n uint64, request []byte) {
			if n%1000 == 0 {
				lost++
				return
			}
			w.arrive(time.Duration(n%500)*time.Microsecond, replyTo(request).bytes())
		}
		w.sched = func(uint64) time.Duration { return none } // a timer less
		w.run()
		s := w.snapshot()
		if s.Sent != count || s.Received != count-lost || s.Lost != lost || s.Rejected != 0 || s.Skipped != 0 ||
			s.Stamps[l2.StampDriver] != count-lost || s.StampsLost != 0 || s.TimerError.Count != count {
			t.Errorf("sent %d, received %d, lost %d, rejected %d, skipped %d, stamps %v, timer error of %d",
				s.Sent, s.Received, s.Lost, s.Rejected, s.Skipped, s.Stamps, s.TimerError.Count)
		}
		for i, p := range w.left {
			late := p.at - time.Duration(i)*interval
			request := parse(p.frame)
			if p.n != uint64(i)+1 || request.seq() != uint16(p.n) || late < 0 || late > 300*time.Microsecond {
				t.Fatalf("place %d has probe %d with sequence number %d, %v late", i, p.n, request.seq(), late)
			}
		}
		for _, ev := range w.log {
			if want := time.Duration(ev.Seq%500) * time.Microsecond; ev.Kind == Replied && (ev.Reply.RTT != want || ev.Reply.Mismatch != nil) {
				t.Fatalf("%s after %v, want %v", describe(&ev), ev.Reply.RTT, want)
			}
		}
	})
}

// TestRounds answers each probe of many rounds of sequence numbers at 10 us and
// the default timeout, together with one from a round before, by the table that
// such a run has.
func TestRounds(t *testing.T) {
	const count = 4<<16 + 1000
	w := newStill(t, settings{count: count, interval: 10 * time.Microsecond})
	var before [1 << 16][]byte // the replies of the round before, by sequence number
	rejected := uint64(0)
	for n := uint64(1); n <= count; n++ {
		w.frames = w.frames[:0]
		w.step()
		if w.stats.Sent != n {
			t.Fatalf("%d probes were sent at %d us, want %d", w.stats.Sent, w.at.mono/1000, n)
		}
		w.pass(5 * time.Microsecond)
		p := replyTo(w.frames[0])
		stale, reply := before[p.seq()], p.bytes()
		before[p.seq()] = reply
		if stale != nil {
			w.incoming = append(w.incoming, capture.Frame{Data: stale, Length: len(stale), Arrival: w.at.wall})
			rejected++
		}
		w.incoming = append(w.incoming, capture.Frame{Data: reply, Length: len(reply), Arrival: w.at.wall})
		w.stampsIn = []l2.Stamp{{ID: uint32(n), Point: l2.StampDriver, Time: w.at.wall - 1000}}
		w.step()
		log, _ := w.events.read(nil)
		if len(log) != 1 || log[0].Kind != Replied || log[0].Seq != n || log[0].Reply.State != StateReplied ||
			log[0].Reply.RTT != time.Microsecond || log[0].Reply.Mismatch != nil {
			t.Fatalf("of probe %d %d events: %+v", n, len(log), log)
		}
		w.pass(5 * time.Microsecond)
	}
	s := w.snapshot()
	if s.Received != count || s.Rejected != rejected || rejected != count-1<<16 || s.MaxOutstanding != 1 {
		t.Errorf("received %d, rejected %d of %d, up to %d out", s.Received, s.Rejected, rejected, s.MaxOutstanding)
	}
}

// TestUnansweredRounds sends at 10 us for some rounds of sequence numbers and is
// never answered: as many as there are numbers are out at once, and each is lost
// when its timeout passes, neither before nor forgotten.
func TestUnansweredRounds(t *testing.T) {
	const interval = 10 * time.Microsecond
	const count = 3 << 16
	w := newStill(t, settings{count: count, interval: interval, ring: 1 << 12})
	w.forget = true
	start := w.at.mono
	lost := uint64(0)
	for w.stats.Sent < count || w.stats.Lost < count {
		w.step()
		due := uint64(max(w.at.mono-start-w.timeout, -int64(interval))/int64(interval) + 1)
		if w.stats.Lost != min(due, count) {
			t.Fatalf("after %v %d of %d probes are lost, want %d", time.Duration(w.at.mono-start), w.stats.Lost, w.stats.Sent, due)
		}
		for log := w.read(); len(log) > 0; log = log[1:] {
			if lost++; log[0].Kind != Lost || log[0].Seq != lost {
				t.Fatalf("%s, want %d lost", describe(&log[0]), lost)
			}
		}
		w.pass(interval)
	}
	if s := w.snapshot(); s.Sent != count || s.Lost != count || s.Skipped != 0 || s.EventsDropped != 0 || lost != count {
		t.Errorf("sent %d, lost %d and %d told, skipped %d", s.Sent, s.Lost, lost, s.Skipped)
	}
}

// TestLostInTime: with as many probes out as there may be, and more due, each is
// lost when its timeout has passed and not for want of numbers.
func TestLostInTime(t *testing.T) {
	const us, ms = time.Microsecond, time.Millisecond
	longest := settings{interval: ms, timeout: 65535 * ms}
	for _, tt := range []struct {
		name       string
		s          settings
		step, stop time.Duration // the process does not run for a while once, in the midst
		preload    int
		skips      bool
	}{
		{name: "default timeout at 10us", s: settings{interval: 10 * us}, step: 10 * us},
		{name: "default timeout at 10us, after a stop", s: settings{interval: 10 * us}, step: 10 * us, stop: 10 * ms},
		{name: "longest timeout, after a stop", s: longest, step: ms, stop: 100 * ms},
		{name: "longest timeout and preload", s: longest, step: ms, preload: MaxPreload, skips: true},
		{name: "flood, most preload", s: settings{flood: true}, step: 10 * ms, preload: MaxPreload},
		{name: "adaptive, most preload", s: settings{adaptive: true, interval: ms}, step: ms, preload: MaxPreload},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const count = 3 << 15
			s := tt.s
			s.count, s.sent, s.ring, s.preload = count, true, 1<<18, tt.preload
			w := newStill(t, s)
			w.forget = true
			sent := make([]int64, count+1)
			var lost, most uint64
			for turn := 0; lost < count && turn < 2*count; turn++ {
				w.turn()
				most = max(most, w.current().Pending)
				for _, ev := range w.read() {
					at := ev.Time.UnixNano()
					switch ev.Kind {
					case Sent:
						sent[ev.Seq] = at
					case Lost:
						lost++
						if after := at - sent[ev.Seq]; ev.Seq != lost || after < w.timeout || after > w.timeout+int64(tt.step+tt.stop) {
							t.Fatalf("%s after %v, of %v", describe(&ev), time.Duration(after), time.Duration(w.timeout))
						}
					}
				}
				w.pass(tt.step)
				if turn == count/4 {
					w.pass(tt.stop)
				}
			}
			if got := w.snapshot(); lost != count || got.Lost != count || got.EventsDropped != 0 || got.Skipped > 0 && !tt.skips || most < maxOutstanding-1 {
				t.Errorf("lost %d and %d told, of %d; skipped %d, up to %d out", got.Lost, lost, got.Sent, got.Skipped, most)
			}
		})
	}
}

// TestFloodPastLoss: a lost probe does not stop a flood when its sequence number
// comes round before its timeout.
func TestFloodPastLoss(t *testing.T) {
	inWorld(t, settings{flood: true, count: 3 << 16, ring: 1 << 18}, func(t *testing.T, w *world) {
		w.far = func(n uint64, request []byte) {
			if n != 5 {
				w.arrive(time.Microsecond, replyTo(request).bytes())
			}
		}
		w.run()
		s := w.snapshot()
		if s.Sent != 3<<16 || s.Lost != 1 || s.Received != 3<<16-1 {
			t.Errorf("%s", brief(&s))
		}
		// It stood still once, for want of the one reply, and that for 10 ms.
		var longest time.Duration
		for i := range w.left[1:] {
			longest = max(longest, w.left[i+1].at-w.left[i].at)
		}
		if longest != time.Duration(floodPatience) {
			t.Errorf("the longest pause is %v", longest)
		}
	})
}
