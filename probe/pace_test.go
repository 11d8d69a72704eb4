//go:build linux

package probe

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// times are when the frames left.
func (w *world) times() []time.Duration {
	list := []time.Duration{}
	for _, p := range w.left {
		list = append(list, p.at)
	}
	return list
}

// leftAt compares when the frames left.
func (w *world) leftAt(want ...time.Duration) {
	w.t.Helper()
	if got := w.times(); !slices.Equal(got, want) {
		w.t.Errorf("probes left at %v\nwant %v", got, want)
	}
}

func TestPreload(t *testing.T) {
	const interval = 10 * time.Millisecond
	for _, tt := range []struct {
		count   uint64
		preload int
		late    bool // the process runs late
	}{
		{10, 1, false},
		{10, 4, false},
		{3, 10, false},
		{10, 10, false},
		{500, 100, false}, // more than one burst
		{500, 100, true},
		{500, 1, true},
	} {
		t.Run(fmt.Sprintf("%d of %d, late %v", tt.preload, tt.count, tt.late), func(t *testing.T) {
			inWorld(t, settings{count: tt.count, interval: interval, preload: tt.preload}, func(t *testing.T, w *world) {
				time.Sleep(7 * time.Millisecond)
				start := w.clock()
				random := rand.New(rand.NewPCG(5, 6))
				if tt.late {
					w.oversleep = func() time.Duration { return time.Duration(random.Int64N(catchUp)) }
				}
				w.run()
				if len(w.left) != int(tt.count) {
					t.Fatalf("%d probes left, want %d", len(w.left), tt.count)
				}
				worst := time.Duration(0)
				for i, p := range w.left {
					late := p.at - start - time.Duration(max(i+1-tt.preload, 0))*interval
					if late < 0 || late > 0 && !tt.late || i < tt.preload && late != 0 || late > time.Duration(catchUp) {
						t.Fatalf("probe %d left %v after its time", p.n, late)
					}
					worst = max(worst, late)
				}
				if tt.late && worst < time.Duration(catchUp)/2 {
					t.Errorf("the latest probe was %v late: nothing was tested", worst)
				}
				want := min(uint64(tt.preload), tt.count)
				if s := w.snapshot(); s.Received != tt.count || s.Skipped != 0 || s.MaxOutstanding < want || s.MaxOutstanding > want && !tt.late {
					t.Errorf("received %d, skipped %d, %d were out at once", s.Received, s.Skipped, s.MaxOutstanding)
				}
			})
		})
	}
}

// TestReplyPace is when probes leave where replies set the pace.
func TestReplyPace(t *testing.T) {
	const us, ms = time.Microsecond, time.Millisecond
	const rtt = toDriver + ms + toUser // until a reply is read
	flood := settings{count: 6, flood: true}
	with := func(s settings, change func(*settings)) settings {
		change(&s)
		return s
	}
	adaptive := settings{count: 6, adaptive: true, interval: 300 * ms}
	// oneByOne answers each probe a microsecond later than the one before.
	oneByOne := func(w *world) {
		w.far = func(n uint64, request []byte) { w.arrive(ms+time.Duration(n)*us, replyTo(request).bytes()) }
	}
	// after has each probe leave so long after the one before.
	after := func(gaps ...time.Duration) []time.Duration {
		list := []time.Duration{0}
		for _, gap := range gaps {
			list = append(list, list[len(list)-1]+gap)
		}
		return list
	}
	for _, tt := range []struct {
		name        string
		s           settings
		script      func(w *world)
		want        []time.Duration
		outstanding uint64
	}{
		{
			name: "flood, answered", s: flood,
			want: after(rtt, rtt, rtt, rtt, rtt), outstanding: 1,
		}, {
			name: "flood, answered after long", s: flood, // not before 10 ms, and then for those in between
			script: func(w *world) { w.answer(25*ms, 25*ms, 25*ms, 25*ms, 25*ms, 25*ms) },
			want:   []time.Duration{0, 10 * ms, 20 * ms, 30 * ms, 40 * ms, 50 * ms},
			// 3 are out when the first answer comes: it is no answer to the last.
			outstanding: 3,
		}, {
			name: "flood, replies wait for their stamps", s: flood, // and no probe for them
			script: func(w *world) { w.driver = func(uint64) time.Duration { return 5 * ms } },
			want:   after(rtt, rtt, rtt, rtt, rtt), outstanding: 1,
		}, {
			name: "flood, nobody answers", s: flood,
			script: func(w *world) { w.answer() },
			want:   []time.Duration{0, 10 * ms, 20 * ms, 30 * ms, 40 * ms, 50 * ms},
		}, {
			name: "flood, the third is lost", s: flood,
			script: func(w *world) { w.answer(ms, ms, none, ms, ms, ms) },
			want:   after(rtt, rtt, 10*ms, rtt, rtt), outstanding: 1,
		}, {
			name: "flood, the third is late", s: flood, // it opens nothing: later ones were answered
			script: func(w *world) { w.answer(ms, ms, 15*ms, ms, 20*ms, ms) },
			want:   after(rtt, rtt, 10*ms, rtt, 10*ms), outstanding: 3,
		}, {
			name: "flood, an error is an answer", s: flood,
			script: func(w *world) {
				w.far = func(_ uint64, request []byte) { w.arrive(ms, errorFor(request, 3, 1).bytes()) }
			},
			want: after(rtt, rtt, rtt, rtt, rtt), outstanding: 1,
		}, {
			name: "flood, a redirect is none", s: flood,
			script: func(w *world) {
				w.far = func(_ uint64, request []byte) { w.arrive(ms, errorFor(request, 5, 1).bytes()) }
			},
			want: []time.Duration{0, 10 * ms, 20 * ms, 30 * ms, 40 * ms, 50 * ms},
		}, {
			name: "flood, a corrupted reply is none", s: flood,
			script: func(w *world) {
				w.far = func(n uint64, request []byte) {
					p := replyTo(request)
					p.badICMP = n == 2
					w.arrive(ms, p.bytes())
				}
			},
			want: after(rtt, 10*ms, rtt, rtt, rtt), outstanding: 1,
		}, {
			name: "flood, duplicates make no more of it", s: flood,
			script: func(w *world) {
				w.far = func(_ uint64, request []byte) {
					for i := range 3 {
						w.arrive(ms+time.Duration(i)*100*time.Microsecond, replyTo(request).bytes())
					}
				}
			},
			want: after(rtt, rtt, rtt, rtt, rtt), outstanding: 2,
		}, {
			name: "flood, preload", s: with(flood, func(s *settings) { s.count, s.preload = 12, 4 }),
			script: oneByOne,
			want: []time.Duration{0, 0, 0, 0, rtt + us, rtt + 2*us, rtt + 3*us, rtt + 4*us,
				2*rtt + 6*us, 2*rtt + 8*us, 2*rtt + 10*us, 2*rtt + 12*us}, outstanding: 4,
		}, {
			name: "flood, preload, one reply after the other", s: with(flood, func(s *settings) { s.count, s.preload = 8, 3 }),
			script: func(w *world) { w.answer(ms, 2*ms, 3*ms, 3*ms, 3*ms, 3*ms, 3*ms, 3*ms) },
			want:   []time.Duration{0, 0, 0, rtt, rtt + ms, rtt + 2*ms, 2*rtt + 2*ms, 2*rtt + 3*ms}, outstanding: 3,
		}, {
			name: "flood, preload, the last of them is answered first", s: with(flood, func(s *settings) { s.count, s.preload = 6, 3 }),
			script: func(w *world) { w.answer(8*ms, 8*ms, ms, ms, ms, ms) },
			want:   []time.Duration{0, 0, 0, rtt, rtt, rtt}, outstanding: 6,
		}, {
			// An answer to an earlier probe takes nothing back.
			name: "flood, preload, two read at once, the later one first", s: with(flood, func(s *settings) { s.count, s.preload = 4, 2 }),
			script: func(w *world) {
				w.oversleep = func() time.Duration { return us }
				w.answer(ms+1, ms, ms, ms)
			},
			want: []time.Duration{0, 0, rtt + us, rtt + us}, outstanding: 2,
		}, {
			name: "flood, preload, nobody answers", s: with(flood, func(s *settings) { s.preload = 3 }),
			script: func(w *world) { w.answer() },
			want:   []time.Duration{0, 0, 0, 10 * ms, 20 * ms, 30 * ms},
		}, {
			name: "flood, more preload than count", s: with(flood, func(s *settings) { s.preload = 40 }),
			want: []time.Duration{0, 0, 0, 0, 0, 0}, outstanding: 6,
		}, {
			name: "flood, a stop of the process is not made up for", s: flood,
			script: func(w *world) {
				waits := 0
				w.oversleep = func() time.Duration {
					if waits++; waits == 2 {
						return 5 * time.Second
					}
					return 0
				}
				w.answer(ms, none, ms, ms, ms, ms)
			},
			want: after(rtt, 5*time.Second+10*ms, rtt, rtt, rtt), outstanding: 1,
		}, {
			name: "adaptive, answered", s: adaptive,
			want: after(rtt, rtt, rtt, rtt, rtt), outstanding: 1,
		}, {
			name: "adaptive, nobody answers", s: adaptive,
			script: func(w *world) { w.answer() },
			want:   after(300*ms, 300*ms, 300*ms, 300*ms, 300*ms),
		}, {
			name: "adaptive, nobody answers, at a short interval", s: with(adaptive, func(s *settings) { s.interval = ms }),
			script: func(w *world) { w.answer() },
			want:   after(ms, ms, ms, ms, ms),
		}, {
			name: "adaptive, the first answer comes late", s: adaptive,
			script: func(w *world) { w.answer(none, none, ms, none, ms, ms) },
			want:   after(300*ms, 300*ms, rtt, 10*ms, rtt), outstanding: 1,
		}, {
			// The smoothed RTT is 40 ms, and over before that reply is read.
			name: "adaptive, lost ones after long RTTs", s: adaptive,
			script: func(w *world) { w.answer(40*ms, 40*ms, none, none, 40*ms) },
			want:   after(rtt+39*ms, 40*ms, 40*ms, 40*ms, 40*ms), outstanding: 2,
		}, {
			name: "adaptive, the smoothed RTT is what is waited for", s: adaptive, // 80*7/8 + 16/8
			script: func(w *world) { w.answer(80*ms, 16*ms, none, ms, ms, ms) },
			want:   after(rtt+79*ms, rtt+15*ms, 72*ms, rtt, rtt), outstanding: 1,
		}, {
			name: "adaptive, lost ones after short RTTs", s: adaptive,
			script: func(w *world) { w.answer(ms, ms, none, none, ms, ms) },
			want:   after(rtt, rtt, 10*ms, 10*ms, rtt), outstanding: 1,
		}, {
			name: "adaptive, preload", s: with(adaptive, func(s *settings) { s.preload = 3 }),
			script: oneByOne,
			want:   []time.Duration{0, 0, 0, rtt + us, rtt + 2*us, rtt + 3*us}, outstanding: 3,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, tt.s, func(t *testing.T, w *world) {
				if tt.script != nil {
					tt.script(w)
				}
				w.run()
				w.leftAt(tt.want...)
				if s := w.snapshot(); s.Skipped != 0 || s.MaxOutstanding != tt.outstanding {
					t.Errorf("skipped %d, %d were out at once, want %d", s.Skipped, s.MaxOutstanding, tt.outstanding)
				}
			})
		})
	}
}

// TestFloodRate floods for a second of which the middle third goes unanswered.
func TestFloodRate(t *testing.T) {
	const ms = time.Millisecond
	inWorld(t, settings{flood: true, deadline: 900 * ms}, func(t *testing.T, w *world) {
		answers := w.far
		w.far = func(n uint64, request []byte) {
			if now := w.clock(); now < 300*ms || now >= 600*ms {
				answers(n, request)
			}
		}
		w.run()
		var thirds [3]int
		for _, p := range w.left {
			thirds[min(p.at/(300*ms), 2)]++
		}
		answered := int(300*ms/(toDriver+ms+toUser)) + 1
		if thirds != [3]int{answered, 30, answered} {
			t.Errorf("%v probes left in thirds, want %d, 30 and as many", thirds, answered)
		}
	})
}

// TestSlowReplies has replies come slowly, and none of it may be seen in when the
// other probes leave, nor be missing from the RTTs: else they would tell of
// quiet times alone (coordinated omission).
func TestSlowReplies(t *testing.T) {
	const ms = time.Millisecond
	const count = 1000
	onTime := func(t *testing.T, w *world) {
		t.Helper()
		if len(w.left) != count {
			t.Fatalf("%d probes left, want %d", len(w.left), count)
		}
		for i, p := range w.left {
			if want := time.Duration(i) * ms; p.at != want {
				t.Fatalf("probe %d left at %v, want %v", p.n, p.at, want)
			}
		}
		if s := w.snapshot(); s.Received != count || s.Skipped != 0 || s.TimerError.Max != toDriver || s.TimerError.Count != count {
			t.Errorf("received %d, skipped %d, timer error of %d up to %v", s.Received, s.Skipped, s.TimerError.Count, s.TimerError.Max)
		}
	}
	// near is true but for the width of a histogram's bucket, which is on the
	// long side.
	near := func(got, want time.Duration) bool { return got >= want && got <= want+want/1000 }
	s := settings{count: count, interval: ms}
	t.Run("one", func(t *testing.T) {
		inWorld(t, s, func(t *testing.T, w *world) {
			w.far = func(n uint64, request []byte) {
				after := ms
				if n == 300 {
					after = 500 * ms
				}
				w.arrive(after, replyTo(request).bytes())
			}
			w.run()
			onTime(t, w)
			r := w.snapshot().RTT
			if r.Max != 500*ms || !near(r.Quantile(0.5), ms) || !near(r.Quantile(0.999), ms) || r.Quantile(0.9995) != 500*ms || r.Mean() != ms+499*time.Microsecond {
				t.Errorf("median %v, 99.9 %% %v, 99.95 %% %v, longest %v, mean %v", r.Quantile(0.5), r.Quantile(0.999), r.Quantile(0.9995), r.Max, r.Mean())
			}
		})
	})
	t.Run("all of half a second", func(t *testing.T) {
		inWorld(t, s, func(t *testing.T, w *world) {
			// Who answers stands still from 200 to 700 ms.
			w.far = func(n uint64, request []byte) {
				after := ms
				if now := w.clock(); now >= 200*ms && now < 700*ms {
					after += 700*ms - now
				}
				w.arrive(after, replyTo(request).bytes())
			}
			w.run()
			onTime(t, w)
			r := w.snapshot().RTT
			for q, want := range map[float64]time.Duration{0: ms, 0.5: ms, 0.6: 101 * ms, 0.75: 251 * ms, 0.9: 401 * ms, 0.99: 491 * ms, 1: 501 * ms} {
				if got := r.Quantile(q); !near(got, want) {
					t.Errorf("quantile %v is %v, want %v", q, got, want)
				}
			}
		})
	})
	t.Run("each by another time", func(t *testing.T) {
		inWorld(t, s, func(t *testing.T, w *world) {
			random := rand.New(rand.NewPCG(7, 8))
			var all []time.Duration
			w.far = func(n uint64, request []byte) {
				after := time.Duration(random.ExpFloat64() * float64(50*ms))
				all = append(all, after)
				w.arrive(after, replyTo(request).bytes())
			}
			w.run()
			onTime(t, w)
			slices.Sort(all)
			r := w.snapshot().RTT
			for _, q := range []float64{0.001, 0.1, 0.5, 0.9, 0.99, 0.999} {
				if got, want := r.Quantile(q), all[int(q*count+0.5)-1]; !near(got, want) {
					t.Errorf("quantile %v is %v, want %v", q, got, want)
				}
			}
		})
	})
}

// TestCatchUpBound stops the process for just as long as every probe is made up
// for, and for longer.
func TestCatchUpBound(t *testing.T) {
	const us, ms = time.Microsecond, time.Millisecond
	for _, tt := range []struct{ interval, bound time.Duration }{
		{10 * us, 10 * ms},
		{50 * us, 50 * ms},
		{99 * us, 99 * ms},
		{100 * us, 100 * ms},
		{101 * us, 100 * ms},
		{ms, 100 * ms},
		{99 * ms, 100 * ms},
		{100 * ms, 100 * ms},
		{101 * ms, 101 * ms},
		{10 * time.Second, 10 * time.Second},
	} {
		for _, by := range []time.Duration{0, 1, tt.interval, 3*tt.interval + 1, time.Hour} {
			t.Run(fmt.Sprintf("%v, %v too long", tt.interval, by), func(t *testing.T) {
				timeout := 10 * tt.interval
				inWorld(t, settings{count: 1500, interval: tt.interval, timeout: timeout}, func(t *testing.T, w *world) {
					w.far = func(uint64, []byte) {}
					waits := 0
					stopped := time.Duration(0)
					w.oversleep = func() time.Duration {
						if waits++; waits == 20 {
							stopped = w.clock()
							return tt.bound + by
						}
						return 0
					}
					w.run()
					behind := tt.bound + by
					skipped, at := time.Duration(0), stopped
					if by > 0 {
						skipped = behind / tt.interval
						at += skipped * tt.interval
					}
					s := w.snapshot()
					if s.Skipped != uint64(skipped) || s.Sent != 1500 || s.Lost != 1500 {
						t.Errorf("skipped %d, sent %d, lost %d, want %d, 1500 and 1500", s.Skipped, s.Sent, s.Lost, skipped)
					}
					resumed := slices.IndexFunc(w.left, func(p departed) bool { return p.at >= stopped })
					burst := 0
					for i, p := range w.left[resumed:] {
						place := at + time.Duration(i)*tt.interval
						if want := max(place, stopped+behind); p.at != want {
							t.Fatalf("probe %d left at %v, want %v", p.n, p.at, want)
						}
						if place <= stopped+behind {
							burst++
						}
					}
					if by == 0 && burst != int(behind/tt.interval)+1 || by > 0 && burst != 1 || burst > catchUpProbes+1 {
						t.Errorf("%d probes left at once", burst)
					}
				})
			})
		}
	}
}

// TestScheduleProperties has a schedule run by a process that is late at random.
func TestScheduleProperties(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 11))
		cfg := Config{
			Targets:  Hosts(farIP),
			Interval: MinInterval + time.Duration(random.ExpFloat64()*float64(10*time.Millisecond)),
			Preload:  1 + random.IntN(20)*random.IntN(2),
		}
		if err := cfg.setDefaults(); err != nil {
			t.Fatal(err)
		}
		s := newSchedule(&cfg)
		start := random.Int64N(1e15)
		s.start(start)
		now := start
		bound := max(min(int64(100*time.Millisecond), 1000*s.interval), s.interval)
		if s.late() != bound {
			t.Fatalf("interval %v: up to %v late, want %v", cfg.Interval, s.late(), bound)
		}
		var places, skipped uint64 // that were used, and that were not
		for n := uint64(1); n <= 2000; n++ {
			place := start + int64(places)*s.interval
			due := s.due(random.Uint64N(n), time.Duration(random.Int64N(1e9))) // neither matters
			if due != place {
				t.Fatalf("seed %d: probe %d is due at %d, want %d", seed, n, due, place)
			}
			if s.skip(due-1) != 0 || s.skip(due+bound) != 0 || s.due(0, 0) != due {
				t.Fatalf("seed %d: places are skipped without need", seed)
			}
			now = max(now, due)
			switch random.IntN(20) {
			case 0:
				now += random.Int64N(3 * bound)
			case 1, 2, 3, 4:
				now += random.Int64N(s.interval)
			}
			want := uint64(0)
			if now-place > bound {
				want = uint64((now - place) / s.interval)
			}
			got := s.skip(now)
			if got != want {
				t.Fatalf("seed %d: %d places skipped %v after the time of probe %d, want %d", seed, got, time.Duration(now-place), n, want)
			}
			skipped += got
			places += got
			if due := s.due(0, 0); due > now || due != start+int64(places)*s.interval || now-due > bound || got > 0 && now-due >= s.interval {
				t.Fatalf("seed %d: after skipping %d, probe %d is due %v before now", seed, got, n, time.Duration(now-due))
			}
			s.sent(n, now)
			s.answered(now + random.Int64N(1e9)) // no matter
			if n >= uint64(cfg.Preload) {
				places++
			}
		}
		if used := (s.next - start) / s.interval; used != int64(2000-cfg.Preload+1)+int64(skipped) {
			t.Errorf("seed %d: %d places for 2000 probes, of which %d at once, and %d skipped", seed, used, cfg.Preload, skipped)
		}
	}
}

// TestReplySchedule is when a probe is due where replies set the pace, which its
// timer error counts from.
func TestReplySchedule(t *testing.T) {
	const ms = int64(time.Millisecond)
	for _, tt := range []struct {
		name         string
		flood        bool
		preload      uint64
		last, opened int64
		out          uint64
		rtt          time.Duration
		want         int64
	}{
		{"answered", true, 1, 5 * ms, 7 * ms, 0, time.Millisecond, 7 * ms},
		{"answered by one before", true, 1, 7 * ms, 5 * ms, 0, time.Millisecond, 7 * ms},
		{"out", true, 1, 5 * ms, 7 * ms, 1, time.Minute, 15 * ms},
		{"out, no RTT yet", true, 1, 5 * ms, 0, 1, 0, 15 * ms},
		{"more may be out, answered", true, 3, 5 * ms, 7 * ms, 2, time.Millisecond, 7 * ms},
		{"more may be out, just sent", true, 3, 7 * ms, 5 * ms, 2, time.Millisecond, 7 * ms},
		{"as many out as may be", true, 3, 7 * ms, 9 * ms, 3, time.Millisecond, 17 * ms},
		{"more out than may be", true, 3, 7 * ms, 9 * ms, 100, time.Millisecond, 17 * ms},
		{"adaptive, answered", false, 1, 5 * ms, 7 * ms, 0, time.Millisecond, 7 * ms},
		{"adaptive, out, no RTT yet", false, 1, 5 * ms, 7 * ms, 1, 0, 305 * ms},
		{"adaptive, out, a short RTT", false, 1, 5 * ms, 7 * ms, 1, 1, 15 * ms},
		{"adaptive, out, 10 ms", false, 1, 5 * ms, 7 * ms, 1, 10 * time.Millisecond, 15 * ms},
		{"adaptive, out, a long RTT", false, 1, 5 * ms, 7 * ms, 1, 10*time.Millisecond + 1, 15*ms + 1},
		{"adaptive, more may be out, no RTT yet", false, 3, 5 * ms, 7 * ms, 2, 0, 7 * ms},
	} {
		s := schedule{interval: 300 * ms, flood: tt.flood, adaptive: !tt.flood, preload: tt.preload}
		s.start(0)
		s.answered(tt.opened)
		s.sent(1, tt.last)
		if got := s.due(tt.out, tt.rtt); got != tt.want {
			t.Errorf("%s: due at %v, want %v", tt.name, time.Duration(got), time.Duration(tt.want))
		}
		if n := s.skip(int64(MaxDuration)); n != 0 || s.outstanding(1) != maxOutstanding {
			t.Errorf("%s: %d places skipped", tt.name, n)
		}
	}
}
