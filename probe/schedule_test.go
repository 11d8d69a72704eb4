//go:build linux

package probe

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestScheduleWithoutDrift has the process run late all the time, and never
// lets that move the schedule.
func TestScheduleWithoutDrift(t *testing.T) {
	const count = 10_000
	const interval = 10 * time.Millisecond
	inWorld(t, settings{count: count, interval: interval}, func(t *testing.T, w *world) {
		time.Sleep(123 * time.Millisecond) // what came before the run is none of its time
		start := w.clock()
		random := rand.New(rand.NewPCG(1, 2))
		w.oversleep = func() time.Duration {
			if random.IntN(50) == 0 {
				return time.Duration(random.Int64N(catchUp + 1))
			}
			return time.Duration(random.Int64N(int64(3 * time.Millisecond)))
		}
		w.run()
		if len(w.left) != count {
			t.Fatalf("%d probes left, want %d", len(w.left), count)
		}
		var worst time.Duration
		for i, p := range w.left {
			late := p.at - (start + time.Duration(i)*interval)
			if p.n != uint64(i)+1 || late < 0 || late > time.Duration(catchUp) {
				t.Fatalf("place %d has probe %d, %v after its time", i, p.n, late)
			}
			worst = max(worst, late)
		}
		if worst < 50*time.Millisecond {
			t.Errorf("the latest probe was %v late: nothing was tested", worst)
		}
		if s := w.snapshot(); s.Skipped != 0 || s.Received != count {
			t.Errorf("skipped %d, received %d", s.Skipped, s.Received)
		}
		if want := int64(start + count*interval); w.schedule.next != want {
			t.Errorf("the next place is at %d, want %d", w.schedule.next, want)
		}
	})
}

func TestSkipped(t *testing.T) {
	for _, tt := range []struct {
		name             string
		interval, behind time.Duration
		skipped          uint64
		at               time.Duration // the place that the probe after the stop has
	}{
		{"just not", 10 * time.Millisecond, time.Duration(catchUp), 0, 10 * time.Millisecond},
		{"just", 10 * time.Millisecond, time.Duration(catchUp) + 1, 10, 110 * time.Millisecond},
		{"between places", 10 * time.Millisecond, 257 * time.Millisecond, 25, 260 * time.Millisecond},
		{"on a place", 10 * time.Millisecond, 250 * time.Millisecond, 25, 260 * time.Millisecond},
		{"a day", 10 * time.Millisecond, 24 * time.Hour, 8_640_000, 24*time.Hour + 10*time.Millisecond},
		{"less than a long interval", time.Second, 900 * time.Millisecond, 0, time.Second},
		{"just a long interval", time.Second, time.Second, 0, time.Second},
		{"more than a long interval", time.Second, 2500 * time.Millisecond, 2, 3 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, settings{count: 40, interval: tt.interval, timeout: 10 * time.Minute}, func(t *testing.T, w *world) {
				w.far = func(n uint64, request []byte) { // not before the stop is over
					if n == 40 {
						for _, p := range w.left {
							w.arrive(time.Second, replyTo(p.frame).bytes())
						}
					}
				}
				waits := 0
				w.oversleep = func() time.Duration {
					if waits++; waits == 1 {
						return tt.behind
					}
					return 0
				}
				w.run()
				s := w.snapshot()
				if s.Skipped != tt.skipped || s.Sent != 40 {
					t.Errorf("skipped %d and sent %d, want %d and 40", s.Skipped, s.Sent, tt.skipped)
				}
				// Every later probe is at its place, or leaves at once where
				// that has passed.
				for i, p := range w.left[1:] {
					place := tt.at + time.Duration(i)*tt.interval
					if want := max(place, tt.interval+tt.behind); p.at != want {
						t.Fatalf("probe %d left at %v, want %v", p.n, p.at, want)
					}
				}
			})
		})
	}
}

// TestCatchingUpLosesNothing sends as many probes at once as the engine may
// ever catch up with: all of them are remembered until they are answered.
func TestCatchingUpLosesNothing(t *testing.T) {
	inWorld(t, settings{count: 500, interval: time.Millisecond, timeout: 10 * time.Millisecond}, func(t *testing.T, w *world) {
		w.far = func(_ uint64, request []byte) { w.arrive(8*time.Millisecond, replyTo(request).bytes()) }
		waits := 0
		w.oversleep = func() time.Duration {
			if waits++; waits == 200 {
				return time.Duration(catchUp) - time.Millisecond
			}
			return 0
		}
		w.run()
		if s := w.snapshot(); s.Received != 500 || s.Skipped != 0 {
			t.Errorf("received %d, lost %d, skipped %d; want 500, 0 and 0", s.Received, s.Lost, s.Skipped)
		}
	})
}

// answer answers each probe after its delay, and not at all where that is none
// or there is no more.
func (w *world) answer(delays ...time.Duration) {
	w.far = func(n uint64, request []byte) {
		if n <= uint64(len(delays)) && delays[n-1] != none {
			w.arrive(delays[n-1], replyTo(request).bytes())
		}
	}
}

// expect runs the world and compares its events.
func (w *world) expect(want ...string) {
	w.t.Helper()
	w.run()
	if got := w.described(); !slices.Equal(got, want) {
		w.t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestEndOfRun(t *testing.T) {
	const ms = time.Millisecond
	const way = toDriver + toUser // of a reply, beside the wire
	for _, tt := range []struct {
		name   string
		s      settings
		script func(w *world)
		want   []string
		ends   time.Duration
	}{
		{
			name: "count", s: settings{count: 3},
			want: []string{"1 replied", "2 replied", "3 replied"},
			ends: 2001*ms + way,
		}, {
			name: "count, the last is lost", s: settings{count: 3},
			script: func(w *world) { w.answer(ms, ms) },
			want:   []string{"1 replied", "2 replied", "3 lost"},
			ends:   4000 * ms,
		}, {
			name: "count, nobody waits for what is late", s: settings{count: 2},
			script: func(w *world) { w.answer(3100*ms, 100*ms) },
			want:   []string{"2 replied", "1 lost"},
			ends:   2000 * ms,
		}, {
			name: "count, none can leave", s: settings{count: 3},
			script: func(w *world) { w.linkErr = errStill },
			want:   []string{"1 local error", "2 local error", "3 local error"},
			ends:   2000 * ms,
		}, {
			name: "deadline", s: settings{deadline: 2500 * ms, timeout: 10 * time.Second},
			script: func(w *world) { w.answer(ms) },
			want:   []string{"1 replied"},
			ends:   2500 * ms,
		}, {
			name: "deadline before the first probe", s: settings{deadline: ms},
			script: func(w *world) { time.Sleep(5 * ms) },
			want:   []string{},
			ends:   5 * ms,
		}, {
			name: "deadline before the first probe, which fails", s: settings{deadline: ms},
			script: func(w *world) { w.linkErr = errStill; time.Sleep(5 * ms) },
			want:   []string{"1 local error"},
			ends:   5 * ms,
		}, {
			name: "deadline with an error for a probe", s: settings{deadline: time.Minute},
			script: func(w *world) {
				w.far = func(n uint64, request []byte) {
					b := replyTo(request).bytes()
					if n == 3 {
						b = errorFor(request, 3, 1).bytes()
					}
					w.arrive(ms, b)
				}
			},
			want: []string{"1 replied", "2 replied", "3 error 3/1"},
			ends: 2001*ms + way,
		}, {
			name: "deadline with an error for a lost probe", s: settings{deadline: time.Minute, timeout: 100 * ms},
			script: func(w *world) {
				w.far = func(_ uint64, request []byte) { w.arrive(200*ms, errorFor(request, 3, 1).bytes()) }
			},
			want: []string{"1 lost", "1 error 3/1 late"},
			ends: 200*ms + way,
		}, {
			name: "deadline with a redirect, which is no error", s: settings{deadline: 1500 * ms},
			script: func(w *world) {
				w.far = func(_ uint64, request []byte) {
					w.arrive(ms, errorFor(request, 5, 1).bytes())
					w.arrive(2*ms, replyTo(request).bytes())
				}
			},
			want: []string{"1 error 5/1 notice", "1 replied", "2 error 5/1 notice", "2 replied"},
			ends: 1500 * ms,
		}, {
			// ping's -c and -w together: so many answers, not so many probes.
			name: "count and deadline", s: settings{count: 2, deadline: time.Minute, timeout: 500 * ms},
			script: func(w *world) { w.answer(none, none, ms, none, ms) },
			want:   []string{"1 lost", "2 lost", "3 replied", "4 lost", "5 replied"},
			ends:   4001*ms + way,
		}, {
			name: "count and deadline, a late answer is one", s: settings{count: 2, deadline: time.Minute, timeout: 500 * ms},
			script: func(w *world) { w.answer(600*ms, ms) },
			want:   []string{"1 lost", "1 late", "2 replied"},
			ends:   1001*ms + way,
		}, {
			name: "count and deadline, a duplicate is none", s: settings{count: 2, deadline: 1500 * ms},
			script: func(w *world) {
				w.far = func(n uint64, request []byte) {
					for i := range 3 {
						if n == 1 {
							w.arrive(ms*time.Duration(1+i), replyTo(request).bytes())
						}
					}
				}
			},
			want: []string{"1 replied", "1 duplicate", "1 duplicate"},
			ends: 1500 * ms,
		}, {
			name: "stop", s: settings{timeout: time.Minute},
			script: func(w *world) {
				w.answer(ms, none, ms)
				w.at(2500*ms, func() { w.stop(); w.in.wake() })
			},
			want: []string{"1 replied", "3 replied"},
			ends: 2500 * ms,
		}, {
			// The replies have counted as received: they are told, stamped
			// or not.
			name: "stop while replies wait for their stamps", s: settings{},
			script: func(w *world) {
				w.driver = func(uint64) time.Duration { return 8 * ms }
				w.at(5*ms, func() { w.stop(); w.in.wake() })
			},
			want: []string{"1 replied"},
			ends: 5 * ms,
		}, {
			name: "deadline while replies wait for their stamps", s: settings{deadline: 1005 * ms},
			script: func(w *world) { w.driver = func(uint64) time.Duration { return none } },
			want:   []string{"1 replied", "2 replied"},
			ends:   1005 * ms,
		}, {
			name: "count while replies wait for their stamps", s: settings{count: 2},
			script: func(w *world) { w.driver = func(uint64) time.Duration { return 8 * ms } },
			want:   []string{"1 replied", "2 replied"},
			ends:   1008 * ms,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, tt.s, func(t *testing.T, w *world) {
				if tt.script != nil {
					tt.script(w)
				}
				w.expect(tt.want...)
				if w.clock() != tt.ends {
					t.Errorf("ended at %v, want %v", w.clock(), tt.ends)
				}
				if s := w.snapshot(); s.Sent == 0 {
					t.Error("not even one probe was tried")
				}
			})
		})
	}
}

func TestSentEvents(t *testing.T) {
	inWorld(t, settings{count: 2, sent: true}, func(t *testing.T, w *world) {
		w.sendError = func(n uint64) error {
			if n == 2 {
				return errStill
			}
			return nil
		}
		time.Sleep(123 * time.Millisecond) // no part of the run's duration
		w.expect("1 sent", "1 replied", "2 sent", "2 local error")
		for _, ev := range w.log {
			if ev.Address != farIP {
				t.Errorf("%s is of %v", describe(&ev), ev.Address)
			}
		}
		if d := w.snapshot().Duration; d != time.Second {
			t.Errorf("the run took %v from the first probe to the last", d)
		}
	})
}
