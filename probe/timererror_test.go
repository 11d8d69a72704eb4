//go:build linux

package probe

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/l2ping/l2ping/l2"
)

// TestTimerError is how late frames left, by the best that is known of each.
func TestTimerError(t *testing.T) {
	const ms = time.Millisecond
	const interval = 20 * ms
	stamps := func(sched, driver time.Duration) func(w *world) {
		return func(w *world) {
			w.sched = func(uint64) time.Duration { return sched }
			w.driver = func(uint64) time.Duration { return driver }
		}
	}
	answers := func(f func(w *world, n uint64, request []byte)) func(w *world) {
		return func(w *world) { w.far = func(n uint64, request []byte) { f(w, n, request) } }
	}
	for _, tt := range []struct {
		name      string
		departure l2.StampPoint
		script    func(w *world)
		beside    time.Duration // from the program's time to the one that counts
		lost      uint64        // stamps
	}{
		{name: "replied", departure: l2.StampDriver, beside: toDriver},
		{name: "replied, by sched", departure: l2.StampSched, beside: toSched},
		{name: "replied, by user", departure: l2.StampUser},
		{name: "without the driver's stamp", departure: l2.StampDriver, script: stamps(toSched, none), beside: toSched, lost: 100},
		{name: "without any stamp", departure: l2.StampDriver, script: stamps(none, none), lost: 100},
		{name: "without a stamp, by sched", departure: l2.StampSched, script: stamps(none, none), lost: 100},
		{name: "driver stamps alone", departure: l2.StampDriver, script: stamps(none, toDriver), beside: toDriver},
		{name: "stamps after the reply", departure: l2.StampDriver, script: stamps(3*ms, 4*ms), beside: toDriver},
		{name: "lost", departure: l2.StampDriver, script: func(w *world) { w.answer() }, beside: toDriver},
		{name: "lost, by user", departure: l2.StampUser, script: func(w *world) { w.answer() }},
		{name: "lost, by sched", departure: l2.StampSched, script: func(w *world) { w.answer() }, beside: toSched},
		{name: "lost, no stamps", departure: l2.StampDriver, script: func(w *world) { w.answer(); stamps(none, none)(w) }, lost: 100},
		{name: "an ICMP error", departure: l2.StampDriver, beside: toDriver,
			script: answers(func(w *world, n uint64, request []byte) { w.arrive(ms, errorFor(request, 3, 1).bytes()) })},
		{name: "an ICMP error, by user", departure: l2.StampUser,
			script: answers(func(w *world, n uint64, request []byte) { w.arrive(ms, errorFor(request, 3, 1).bytes()) })},
		{name: "a redirect, a corrupted reply, a reply and two more", departure: l2.StampDriver, beside: toDriver,
			script: answers(func(w *world, n uint64, request []byte) {
				bad := replyTo(request)
				bad.badICMP = true
				w.arrive(ms, errorFor(request, 5, 1).bytes())
				w.arrive(2*ms, bad.bytes())
				w.arrive(3*ms, replyTo(request).bytes())
				w.arrive(4*ms, replyTo(request).bytes())
				w.arrive(5*ms, replyTo(request).bytes())
			})},
		{name: "an error, then a reply", departure: l2.StampDriver, beside: toDriver,
			script: answers(func(w *world, n uint64, request []byte) {
				w.arrive(ms, errorFor(request, 3, 1).bytes())
				w.arrive(2*ms, replyTo(request).bytes())
			})},
		{name: "late", departure: l2.StampDriver, beside: toDriver,
			script: answers(func(w *world, n uint64, request []byte) { w.arrive(250*ms, replyTo(request).bytes()) })},
		{name: "late by its stamp, though it is read with the probe still out", departure: l2.StampDriver, beside: toDriver,
			script: answers(func(w *world, n uint64, request []byte) { w.arrive(200*ms, replyTo(request).bytes()) })},
		{name: "a late error", departure: l2.StampDriver, beside: toDriver,
			script: answers(func(w *world, n uint64, request []byte) { w.arrive(250*ms, errorFor(request, 3, 1).bytes()) })},
		{name: "arrivals without stamps", departure: l2.StampDriver, beside: toDriver,
			script: answers(func(w *world, n uint64, request []byte) { w.arrive(ms, replyTo(request).bytes(), unstamped) })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, settings{count: 100, interval: interval, timeout: 200 * ms, departure: tt.departure}, func(t *testing.T, w *world) {
				time.Sleep(33 * ms)
				start := w.clock()
				if tt.script != nil {
					tt.script(w)
				}
				random := rand.New(rand.NewPCG(12, 13))
				w.oversleep = func() time.Duration { return time.Duration(random.Int64N(int64(50 * time.Microsecond))) }
				w.forging = true // an answer after the last is none
				w.run()
				var want Distribution
				for i, p := range w.left {
					want.Add(p.at - start - time.Duration(i)*interval + tt.beside)
				}
				s := w.snapshot()
				got := s.TimerError
				if got.Count != 100 || got.Min != want.Min || got.Max != want.Max || got.Mean() != want.Mean() || got.Quantile(0.5) != want.Quantile(0.5) {
					t.Errorf("timer error of %d probes from %v to %v, mean %v; want from %v to %v, mean %v",
						got.Count, got.Min, got.Max, got.Mean(), want.Min, want.Max, want.Mean())
				}
				if s.StampsLost != tt.lost {
					t.Errorf("%d stamps lost, want %d", s.StampsLost, tt.lost)
				}
				if want.Max-want.Min < 40*time.Microsecond {
					t.Errorf("all left alike, from %v to %v: nothing was tested", want.Min, want.Max)
				}
			})
		})
	}
	t.Run("what could not leave has none", func(t *testing.T) {
		inWorld(t, settings{count: 10}, func(t *testing.T, w *world) {
			w.sendError = func(n uint64) error {
				if n%2 == 0 {
					return errStill
				}
				return nil
			}
			w.run()
			if s := w.snapshot(); s.Errors != 5 || s.TimerError.Count != 5 || s.StampsLost != 0 {
				t.Errorf("%d errors, timer error of %d, %d stamps lost", s.Errors, s.TimerError.Count, s.StampsLost)
			}
		})
	})
	t.Run("a step of the clock is not in it", func(t *testing.T) {
		inWorld(t, settings{count: 10, timeout: 500 * ms}, func(t *testing.T, w *world) {
			w.answer(20*ms, 20*ms, 20*ms, none, 20*ms, none, 20*ms, 20*ms, 20*ms, 20*ms)
			for n := range 10 {
				w.at(time.Duration(n)*time.Second+10*ms, func() { w.skew.Add(int64(time.Hour)) })
			}
			w.run()
			if s := w.snapshot(); s.ClockSteps != 8 || s.TimerError.Count != 10 || s.TimerError.Max != 0 {
				t.Errorf("%d steps, timer error of %d up to %v", s.ClockSteps, s.TimerError.Count, s.TimerError.Max)
			}
		})
	})
	t.Run("at the pace of replies", func(t *testing.T) {
		inWorld(t, settings{count: 50, flood: true}, func(t *testing.T, w *world) {
			w.far = func(n uint64, request []byte) {
				if n%5 != 0 {
					w.arrive(ms, replyTo(request).bytes())
				}
			}
			w.run()
			if s := w.snapshot().TimerError; s.Count != 50 || s.Min != toDriver || s.Max != toDriver {
				t.Errorf("timer error of %d from %v to %v", s.Count, s.Min, s.Max)
			}
		})
	})
}
