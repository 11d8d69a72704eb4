//go:build linux

package probe

import (
	"slices"
	"testing"
	"time"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
)

// userRTT is what a program without stamps would say of a reply that took a
// time on the wire.
func userRTT(wire time.Duration) time.Duration { return toDriver + wire + toUser }

// TestStamps gives the engine more or fewer stamps of one reply, which takes
// 3 ms on the wire.
func TestStamps(t *testing.T) {
	const ms = time.Millisecond
	const wire = 3 * ms
	const read = toDriver + wire + toUser // when the reply is read
	type result struct {
		rtt    time.Duration
		source l2.StampPoint
		budget Budget
		told   time.Duration // when the event is
	}
	whole := Budget{Send: toSched, Queue: toDriver - toSched, Wire: wire, Receive: toUser, NIC: Unknown}
	for _, tt := range []struct {
		name          string
		departure     l2.StampPoint
		sched, driver time.Duration // after how long they can be read
		noArrival     bool
		want          result
	}{
		{"all", l2.StampDriver, toSched, toDriver, false, result{wire, l2.StampDriver, whole, read}},
		{"driver after the reply", l2.StampDriver, toSched, 8 * ms, false, result{wire, l2.StampDriver, whole, 8 * ms}},
		{"both after the reply", l2.StampDriver, 6 * ms, 7 * ms, false, result{wire, l2.StampDriver, whole, 7 * ms}},
		{"both after the reply, in the other order", l2.StampDriver, 7 * ms, 6 * ms, false,
			result{wire, l2.StampDriver, Budget{Unknown, Unknown, wire, toUser, Unknown}, 6 * ms}},
		{"no sched", l2.StampDriver, none, toDriver, false,
			result{wire, l2.StampDriver, Budget{Unknown, Unknown, wire, toUser, Unknown}, read}},
		{"no driver", l2.StampDriver, toSched, none, false,
			result{wire + toDriver - toSched, l2.StampSched, Budget{toSched, Unknown, Unknown, toUser, Unknown}, read + stampPatience}},
		{"driver too late", l2.StampDriver, toSched, 20 * ms, false,
			result{wire + toDriver - toSched, l2.StampSched, Budget{toSched, Unknown, Unknown, toUser, Unknown}, read + stampPatience}},
		// The program's departure and the kernel's arrival: named by the weaker.
		{"no departure", l2.StampDriver, none, none, false,
			result{toDriver + wire, l2.StampUser, Budget{Unknown, Unknown, Unknown, toUser, Unknown}, read + stampPatience}},
		{"no arrival", l2.StampDriver, toSched, 8 * ms, true,
			result{userRTT(wire) - toSched, l2.StampUser, Budget{toSched, Unknown, Unknown, Unknown, Unknown}, read}},
		{"no stamp at all", l2.StampDriver, none, none, true,
			result{userRTT(wire), l2.StampUser, Budget{Unknown, Unknown, Unknown, Unknown, Unknown}, read}},
		{"sched is the best", l2.StampSched, 8 * ms, none, false,
			result{wire + toDriver - toSched, l2.StampSched, Budget{toSched, Unknown, Unknown, toUser, Unknown}, 8 * ms}},
		{"sched is the best and does not come", l2.StampSched, none, none, false,
			result{toDriver + wire, l2.StampUser, Budget{Unknown, Unknown, Unknown, toUser, Unknown}, read + stampPatience}},
		{"user", l2.StampUser, toSched, toDriver, false,
			result{userRTT(wire), l2.StampUser, Budget{Unknown, Unknown, Unknown, Unknown, Unknown}, read}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, settings{count: 1, departure: tt.departure}, func(t *testing.T, w *world) {
				w.sched = func(uint64) time.Duration { return tt.sched }
				w.driver = func(uint64) time.Duration { return tt.driver }
				w.far = func(_ uint64, request []byte) {
					w.arrive(wire, replyTo(request).bytes(), func(f *capture.Frame) {
						if tt.noArrival {
							f.Arrival = 0
						}
					})
				}
				w.expect("1 replied")
				r := w.log[0].Reply
				if got := (result{r.RTT, r.RTTSource, r.Budget, w.logAt[0]}); got != tt.want {
					t.Errorf("got  %+v\nwant %+v", got, tt.want)
				}
				var stamps [l2.StampHardware + 1]uint64
				stamps[tt.want.source] = 1
				if s := w.snapshot(); s.Stamps != stamps {
					t.Errorf("counted as %v, want %v", s.Stamps, stamps)
				}
				arrival := w.base.Add(toDriver + wire)
				if tt.noArrival {
					arrival = arrival.Add(toUser) // the next best
				}
				if !w.log[0].Time.Equal(arrival) {
					t.Errorf("the event is of %v, want %v", w.log[0].Time, arrival)
				}
				if tt.departure == l2.StampUser && w.reads > 0 {
					t.Error("stamps that nobody asked for were read")
				}
			})
		})
	}
}

// TestStampsKeepOrder: a reply that waits for its stamp holds those behind it.
func TestStampsKeepOrder(t *testing.T) {
	const ms = time.Millisecond
	inWorld(t, settings{count: 4, interval: ms}, func(t *testing.T, w *world) {
		w.driver = func(n uint64) time.Duration {
			if n == 1 {
				return 7 * ms
			}
			return toDriver
		}
		w.expect("1 replied", "2 replied", "3 replied", "4 replied")
		want := []time.Duration{7 * ms, 7 * ms, 7 * ms, 7 * ms}
		if !slices.Equal(w.logAt, want) {
			t.Errorf("told at %v, want %v", w.logAt, want)
		}
		if s := w.snapshot(); s.Stamps[l2.StampDriver] != 4 || s.RTT.Max != ms {
			t.Errorf("stamps %v, longest RTT %v", s.Stamps, s.RTT.Max)
		}
	})
}

// TestPatience ends after so many stamps in a row that did not come, and is
// back with the first that does.
func TestPatience(t *testing.T) {
	const wire = time.Millisecond
	const interval = 100 * time.Millisecond
	comes := func(n uint64) bool { return n == 4 || n == 15 || n == 16 } // 4: patience starts anew
	inWorld(t, settings{count: 26, interval: interval}, func(t *testing.T, w *world) {
		w.driver = func(n uint64) time.Duration {
			if comes(n) {
				return toDriver
			}
			return none
		}
		w.run()
		missing := 0
		var waited []bool
		for i, ev := range w.log {
			n := uint64(i) + 1
			wait := w.logAt[i] - time.Duration(i)*interval - userRTT(wire)
			var want time.Duration
			switch {
			case comes(n):
				missing = 0
			case missing < patienceTries:
				missing++
				want = stampPatience
			}
			if wait != want {
				t.Errorf("the reply to probe %d waited %v, want %v", n, wait, want)
			}
			source := l2.StampSched
			if comes(n) {
				source = l2.StampDriver
			}
			if ev.Seq != n || ev.Reply.RTTSource != source {
				t.Errorf("%s by %v, want probe %d by %v", describe(&ev), ev.Reply.RTTSource, n, source)
			}
			waited = append(waited, wait > 0)
		}
		// The case must have both in it.
		if !waited[11] || waited[12] || waited[13] || !waited[16] || !waited[23] || waited[24] {
			t.Errorf("waited: %v", waited)
		}
		if s := w.snapshot(); s.Stamps[l2.StampSched] != 23 || s.Stamps[l2.StampDriver] != 3 || s.Received != 26 {
			t.Errorf("stamps %v", s.Stamps)
		}
	})
}

// TestClockStep sets CLOCK_REALTIME while a probe is out.
func TestClockStep(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name  string
		by    time.Duration
		steps bool
	}{
		{"an hour on", time.Hour, true},
		{"an hour back", -time.Hour, true},
		{"a little on", 100 * time.Microsecond, true},
		{"a little back", -100 * time.Microsecond, true},
		{"a microsecond on", time.Microsecond, true},
		{"a microsecond back", -time.Microsecond, true},
		{"not at all", 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, settings{count: 3}, func(t *testing.T, w *world) {
				w.at(1010*ms, func() { w.skew.Store(int64(tt.by)) })
				w.answer(20*ms, 20*ms, 20*ms)
				w.expect("1 replied", "2 replied", "3 replied")
				for i, ev := range w.log {
					r := ev.Reply
					switch {
					case i == 1 && tt.steps:
						if r.RTT != userRTT(20*ms) || r.RTTSource != l2.StampUser || r.Budget != (Budget{Unknown, Unknown, Unknown, Unknown, Unknown}) || !r.ClockStepped {
							t.Errorf("RTT %v by %v, budget %v, stepped %v", r.RTT, r.RTTSource, r.Budget, r.ClockStepped)
						}
					case i == 1:
						if r.RTT != 20*ms || r.RTTSource != l2.StampDriver || r.ClockStepped {
							t.Errorf("RTT %v by %v", r.RTT, r.RTTSource)
						}
					default:
						if r.RTT != 20*ms || r.RTTSource != l2.StampDriver {
							t.Errorf("reply %d: RTT %v by %v: the step was before or after it", ev.Seq, r.RTT, r.RTTSource)
						}
					}
				}
			})
		})
	}
	t.Run("late all the same", func(t *testing.T) {
		inWorld(t, settings{count: 2, timeout: 500 * ms}, func(t *testing.T, w *world) {
			w.at(100*ms, func() { w.skew.Store(-int64(time.Hour)) })
			w.answer(600*ms, ms)
			w.expect("1 lost", "1 late", "2 replied")
			if r := w.log[1].Reply; r.RTT != userRTT(600*ms) {
				t.Errorf("RTT %v", r.RTT)
			}
		})
	})
}

// TestImpossibleStamps: a departure after the arrival is no departure.
func TestImpossibleStamps(t *testing.T) {
	w := newStill(t, settings{})
	w.step()
	sent := w.at.wall
	w.pass(time.Millisecond)
	w.stampsIn = []l2.Stamp{
		{ID: 1, Point: l2.StampSched, Time: sent + 100},
		{ID: 1, Point: l2.StampDriver, Time: w.at.wall + 1},
		{ID: 2, Point: l2.StampDriver, Time: sent}, // of no probe
		{ID: 0, Point: l2.StampDriver, Time: sent},
		{ID: 1<<32 - 1, Point: l2.StampDriver, Time: sent},
		{ID: 1, Point: l2.StampNone, Time: sent},
		{ID: 1, Point: l2.StampHardware, Time: sent},
	}
	w.incoming = []capture.Frame{{Data: replyTo(w.frames[0]).bytes(), Arrival: w.at.wall}}
	w.step()
	log, _ := w.events.read(nil)
	r := log[0].Reply
	if r.RTTSource != l2.StampSched || r.RTT != time.Millisecond-100 {
		t.Errorf("RTT %v by %v", r.RTT, r.RTTSource)
	}
	for _, part := range []time.Duration{r.Budget.Send, r.Budget.Queue, r.Budget.Receive} {
		if part < 0 {
			t.Errorf("budget %+v has a part below zero", r.Budget)
		}
	}
}

// TestStampsOfLostProbes: nobody waits for them, and they do not fill the
// error queue.
func TestStampsOfLostProbes(t *testing.T) {
	inWorld(t, settings{count: 1000, interval: time.Millisecond, timeout: 10 * time.Millisecond}, func(t *testing.T, w *world) {
		w.answer()
		most := 0
		w.oversleep = func() time.Duration {
			_, stamps := w.in.unread()
			most = max(most, stamps)
			return 0
		}
		w.run()
		// Ten are out at once, and one look at the queue is for all of them.
		if most > 2*(unreadStamps+1) || most < 2*9 {
			t.Errorf("up to %d stamps were left unread", most)
		}
		if w.reads > 1000/10+1 {
			t.Errorf("the error queue was read %d times", w.reads)
		}
		if s := w.snapshot(); s.TimerError.Count != 1000 || s.TimerError.Min != toDriver || s.TimerError.Max != toDriver || s.StampsLost != 0 {
			t.Errorf("timer error of %d probes from %v to %v, %d stamps lost",
				s.TimerError.Count, s.TimerError.Min, s.TimerError.Max, s.StampsLost)
		}
	})
}

// TestManyAtOnce has more frames and more stamps come at once than one read
// takes, and has them read after the timeout, though they came before.
func TestManyAtOnce(t *testing.T) {
	const count = 200
	inWorld(t, settings{count: count, interval: time.Millisecond}, func(t *testing.T, w *world) {
		w.far = func(n uint64, request []byte) {
			if n != count {
				return
			}
			for i, p := range w.left {
				w.arrive(time.Duration(i), replyTo(p.frame).bytes())
			}
		}
		w.oversleep = func() time.Duration {
			if len(w.left) == count {
				return 3 * time.Second
			}
			return 0
		}
		w.run()
		s := w.snapshot()
		if s.Received != count || s.Reordered != 0 || s.Stamps[l2.StampDriver] != count {
			t.Errorf("received %d, reordered %d, stamps %v", s.Received, s.Reordered, s.Stamps)
		}
	})
}
