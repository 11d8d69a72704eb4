//go:build linux

package probe

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/l2"
)

// full has the interface's queue refuse what is sent in a span of the world's
// time.
func (w *world) full(from, to time.Duration, errno unix.Errno) {
	w.sendError = func(uint64) error {
		if now := w.clock(); now >= from && now < to {
			return errno
		}
		return nil
	}
}

// TestQueueFull: what the queue has no room for is sent again, and the schedule
// made up for.
func TestQueueFull(t *testing.T) {
	const us, ms = time.Microsecond, time.Millisecond
	for _, tt := range []struct {
		interval, from, to time.Duration
		backOff            time.Duration
		preload            int
	}{
		{interval: time.Second, from: 1500 * ms, to: 2035 * ms, backOff: 10 * ms},
		{interval: time.Second, from: 0, to: 1, backOff: 10 * ms},
		{interval: 100 * ms, from: 150 * ms, to: 240 * ms, backOff: 10 * ms},
		{interval: 6 * ms, from: 60 * ms, to: 100 * ms, backOff: 3 * ms},
		{interval: ms, from: 10 * ms, to: 40 * ms, backOff: 500 * us},
		{interval: ms, from: 10*ms - 1, to: 10*ms + 1, backOff: 500 * us},
		{interval: 100 * us, from: 10 * ms, to: 20 * ms, backOff: 100 * us},
		{interval: 10 * us, from: 10 * ms, to: 19 * ms, backOff: 100 * us},
		{interval: 100 * ms, from: 0, to: 35 * ms, backOff: 10 * ms, preload: 50},
	} {
		for _, errno := range []unix.Errno{unix.ENOBUFS, unix.EAGAIN, unix.ENOMEM} {
			t.Run(fmt.Sprintf("%v from %v to %v, %v", tt.interval, tt.from, tt.to, errno), func(t *testing.T) {
				const count = 1200
				inWorld(t, settings{count: count, interval: tt.interval, sent: true, timeout: 1000 * tt.interval, preload: tt.preload}, func(t *testing.T, w *world) {
					time.Sleep(7 * ms)
					start := w.clock()
					w.full(start+tt.from, start+tt.to, errno)
					w.run()
					s := w.snapshot()
					if s.Sent != count || s.Received != count || s.Errors != 0 || s.Lost != 0 || s.Skipped != 0 || len(w.left) != count {
						t.Errorf("sent %d, received %d, errors %d, lost %d, skipped %d", s.Sent, s.Received, s.Errors, s.Lost, s.Skipped)
					}
					// The probe that is refused first is tried again until the
					// queue has room; those behind it wait for it.
					preload := max(tt.preload, 1)
					place := func(i int) time.Duration { return time.Duration(max(i+1-preload, 0)) * tt.interval }
					var refused time.Duration
					for i := range count {
						if at := place(i); at >= tt.from && at < tt.to {
							refused = at
							break
						}
					}
					tries := (tt.to-refused-1)/tt.backOff + 1
					room := refused + tries*tt.backOff
					if s.SendRetries != uint64(tries) {
						t.Errorf("%d retries, want %d", s.SendRetries, tries)
					}
					for i, p := range w.left {
						want := place(i)
						if want >= refused && want < room {
							want = room
						}
						if p.n != uint64(i)+1 || p.at-start != want {
							t.Fatalf("probe %d left at %v, want %v", p.n, p.at-start, want)
						}
					}
					checkOwnStamps(t, w)
					if want := room - refused + toDriver; s.TimerError.Max != want || s.TimerError.Count != count {
						t.Errorf("timer error of %d up to %v, want %v", s.TimerError.Count, s.TimerError.Max, want)
					}
				})
			})
		}
	}
}

// checkOwnStamps wants each probe sent once, and answered after a millisecond.
func checkOwnStamps(t *testing.T, w *world) {
	t.Helper()
	whole := Budget{Send: toSched, Queue: toDriver - toSched, Wire: time.Millisecond, Receive: toUser, NIC: Unknown}
	sent := uint64(0)
	for _, ev := range w.log {
		switch ev.Kind {
		case Sent:
			if sent++; ev.Seq != sent {
				t.Fatalf("probe %d is told as sent, want %d", ev.Seq, sent)
			}
			if want := w.base.Add(w.left[sent-1].at); !ev.Time.Equal(want) {
				t.Fatalf("probe %d left at %v, is told as sent at %v", ev.Seq, want, ev.Time)
			}
		case Replied:
			if r := ev.Reply; r.RTT != time.Millisecond || r.RTTSource != l2.StampDriver || r.Budget != whole {
				t.Fatalf("%s after %v by %v, budget %+v: stamps of another probe", describe(&ev), r.RTT, r.RTTSource, r.Budget)
			}
		}
	}
}

// TestQueueFullPace is the same where replies set the pace.
func TestQueueFullPace(t *testing.T) {
	const ms = time.Millisecond
	for _, s := range []settings{{flood: true}, {adaptive: true, interval: 50 * ms}, {flood: true, preload: 3}} {
		t.Run(fmt.Sprintf("flood %v, preload %d", s.flood, s.preload), func(t *testing.T) {
			s.count, s.sent = 100, true
			inWorld(t, s, func(t *testing.T, w *world) {
				time.Sleep(7 * ms)
				w.full(20*ms, 45*ms, unix.ENOBUFS)
				w.run()
				got := w.snapshot()
				if got.Received != 100 || got.Errors != 0 || got.SendRetries != 3 {
					t.Errorf("received %d, errors %d, %d retries", got.Received, got.Errors, got.SendRetries)
				}
				for i, p := range w.left {
					if p.n != uint64(i)+1 || p.at >= 20*ms && p.at < 45*ms {
						t.Errorf("probe %d left at %v", p.n, p.at)
					}
				}
				checkOwnStamps(t, w)
			})
		})
	}
}

// TestQueueStaysFull: a queue that takes nothing for a whole timeout ends the
// probe in an error, once.
func TestQueueStaysFull(t *testing.T) {
	const ms = time.Millisecond
	for _, errno := range []unix.Errno{unix.ENOBUFS, unix.EAGAIN, unix.ENOMEM} {
		t.Run(errno.Error(), func(t *testing.T) {
			inWorld(t, settings{count: 6, interval: 100 * ms, timeout: 500 * ms, sent: true}, func(t *testing.T, w *world) {
				w.full(50*ms, 650*ms, errno)
				w.run()
				// From 100 to 600 ms the second one is tried; the third takes
				// what is left.
				want := []string{"1 sent", "1 replied", "2 sent", "2 local error",
					"3 sent", "3 replied", "4 sent", "4 replied", "5 sent", "5 replied", "6 sent", "6 replied"}
				if got := w.described(); !slices.Equal(got, want) {
					t.Errorf("got  %q\nwant %q", got, want)
				}
				w.leftAt(0, 650*ms, 700*ms, 800*ms, 900*ms)
				failed := w.log[3]
				if at := w.base.Add(600 * ms); !errors.Is(failed.Failure.Local, errno) || !failed.Time.Equal(at) ||
					failed.Failure.Local.Error() != "send on eth0: "+errno.Error() {
					t.Errorf("error is %v at %v, want it at %v", failed.Failure.Local, failed.Time, at)
				}
				if s := w.snapshot(); s.Sent != 6 || s.Errors != 1 || s.Received != 5 || s.SendRetries != 50+5 || s.Skipped != 4 || s.TimerError.Count != 5 {
					t.Errorf("sent %d, errors %d, received %d, %d retries, skipped %d, timer error of %d",
						s.Sent, s.Errors, s.Received, s.SendRetries, s.Skipped, s.TimerError.Count)
				}
			})
		})
	}
	t.Run("for good", func(t *testing.T) {
		inWorld(t, settings{count: 5, interval: 100 * ms, timeout: 500 * ms}, func(t *testing.T, w *world) {
			time.Sleep(ms)
			w.full(0, time.Hour, unix.ENOBUFS)
			w.expect("1 local error", "2 local error", "3 local error", "4 local error", "5 local error")
			if s := w.snapshot(); s.Errors != 5 || s.SendRetries != 5*50 || w.clock() != 5*500*ms+ms {
				t.Errorf("%d errors, %d retries, until %v", s.Errors, s.SendRetries, w.clock())
			}
		})
	})
	t.Run("twice for less than a timeout", func(t *testing.T) {
		inWorld(t, settings{count: 3, interval: 400 * ms, timeout: 500 * ms}, func(t *testing.T, w *world) {
			time.Sleep(ms)
			from := w.clock()
			w.sendError = func(n uint64) error {
				if now := w.clock(); n == 1 && now-from < 400*ms || n == 2 && now-from < 850*ms {
					return unix.ENOBUFS
				}
				return nil
			}
			w.expect("1 replied", "2 replied", "3 replied")
		})
	})
	t.Run("and then another error", func(t *testing.T) {
		inWorld(t, settings{count: 3, interval: 400 * ms, timeout: 500 * ms}, func(t *testing.T, w *world) {
			time.Sleep(ms)
			from := w.clock()
			w.sendError = func(n uint64) error {
				switch now := w.clock() - from; {
				case now < 300*ms, now >= 400*ms && now < 850*ms:
					return unix.ENOBUFS
				case now < 400*ms:
					return unix.ENETDOWN
				}
				return nil
			}
			w.expect("1 local error", "2 replied", "3 replied")
			if err := w.log[0].Failure.Local; !errors.Is(err, unix.ENETDOWN) || !w.log[0].Time.Equal(w.base.Add(301*ms)) {
				t.Errorf("error is %v at %v", err, w.log[0].Time)
			}
		})
	})
	t.Run("while the link goes down", func(t *testing.T) {
		inWorld(t, settings{count: 2, interval: 400 * ms, timeout: 500 * ms}, func(t *testing.T, w *world) {
			time.Sleep(ms)
			w.full(0, 300*ms, unix.ENOBUFS)
			w.oversleep = func() time.Duration {
				w.linkErr = nil
				if now := w.clock(); now > 100*ms && now < 200*ms {
					w.linkErr = fmt.Errorf("eth0: %w", l2.ErrDown)
				}
				return 0
			}
			w.expect("1 local error", "2 replied")
			if err := w.log[0].Failure.Local; !errors.Is(err, l2.ErrDown) {
				t.Errorf("error is %v", err)
			}
		})
	})
}

// TestNotRetried: an error that says more than that the queue is full is one at
// once.
func TestNotRetried(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EMSGSIZE, unix.ENETDOWN, unix.ENXIO, unix.EPERM, unix.EINVAL, unix.EIO} {
		inWorld(t, settings{count: 3}, func(t *testing.T, w *world) {
			tries := 0
			w.sendError = func(n uint64) error {
				if n != 2 {
					return nil
				}
				tries++
				return errno
			}
			w.expect("1 replied", "2 local error", "3 replied")
			if s := w.snapshot(); s.SendRetries != 0 || tries != 1 || !errors.Is(w.log[1].Failure.Local, errno) || !w.log[1].Time.Equal(w.base.Add(time.Second)) {
				t.Errorf("%v: %d retries, %v", errno, s.SendRetries, w.log[1])
			}
		})
	}
}

// TestEndWhileQueueFull: neither a stop nor the deadline waits for the queue.
func TestEndWhileQueueFull(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name  string
		s     settings
		from  time.Duration // when the queue gets full
		stop  time.Duration // 0: never
		want  []string
		sent  uint64
		ends  time.Duration
		tries uint64
	}{
		{"stop", settings{}, 500 * ms, 1005 * ms, []string{"1 replied"}, 1, 1005 * ms, 1},
		{"stop before anything has left", settings{}, 0, 25 * ms, []string{}, 0, 25 * ms, 3},
		{"deadline", settings{deadline: 1095 * ms}, 500 * ms, 0, []string{"1 replied"}, 1, 1095 * ms, 10},
		{"deadline before anything has left", settings{deadline: 15 * ms}, 0, 0, []string{}, 0, 15 * ms, 2},
		{"deadline with a count", settings{deadline: 1500 * ms, count: 2}, 500 * ms, 0, []string{"1 replied"}, 1, 1500 * ms, 50},
		{"deadline with a count, before anything has left", settings{deadline: 500 * ms, count: 2}, 0, 0, []string{}, 0, 500 * ms, 50},
		{"deadline with a probe out", settings{deadline: 1500 * ms, interval: 700 * ms, timeout: 5 * time.Second, count: 2}, 500 * ms, 0, []string{}, 1, 1500 * ms, 80},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, tt.s, func(t *testing.T, w *world) {
				const began = 3 * ms
				time.Sleep(began)
				w.deadline += int64(began) * min(w.deadline, 1) // as Run does
				w.full(began+tt.from, time.Hour, unix.ENOBUFS)
				if tt.stop != 0 {
					w.at(began+tt.stop, func() { w.stop(); w.in.wake() })
				}
				if len(tt.want) == 0 {
					w.answer()
				}
				w.expect(tt.want...)
				s := w.snapshot()
				if got := w.clock() - began; got != tt.ends || s.Sent != tt.sent || s.Errors != 0 || s.SendRetries != tt.tries {
					t.Errorf("ended after %v with %d sent, %d errors and %d retries, want %v, %d, 0 and %d",
						got, s.Sent, s.Errors, s.SendRetries, tt.ends, tt.sent, tt.tries)
				}
			})
		})
	}
}

// TestRandomQueue has a queue that is full now and then, in a world where
// replies come late or not at all and the process is slow.
func TestRandomQueue(t *testing.T) {
	for seed := range uint64(20) {
		s := settings{count: 1500, interval: 2 * time.Millisecond, timeout: 60 * time.Millisecond}
		switch seed % 4 {
		case 1:
			s.flood, s.preload = true, int(seed)
		case 2:
			s.adaptive = true
		case 3:
			s.preload = 30
		}
		inWorld(t, s, func(t *testing.T, w *world) {
			random := rand.New(rand.NewPCG(seed, 14))
			time.Sleep(time.Millisecond)
			var until time.Duration
			refused := uint64(0)
			w.sendError = func(uint64) error {
				if random.IntN(30) == 0 {
					until = w.clock() + time.Duration(random.ExpFloat64()*float64(15*time.Millisecond))
				}
				if w.clock() < until {
					refused++
					return []error{unix.ENOBUFS, unix.EAGAIN, unix.ENOMEM}[random.IntN(3)]
				}
				return nil
			}
			w.far = func(_ uint64, request []byte) {
				if random.IntN(5) > 0 {
					w.arrive(time.Duration(random.ExpFloat64()*float64(20*time.Millisecond)), replyTo(request).bytes())
				}
			}
			w.oversleep = func() time.Duration { return time.Duration(random.Int64N(int64(time.Millisecond))) }
			w.forging = true
			w.run()
			got := w.snapshot()
			if got.Sent != 1500 || got.Pending != 0 || got.Received == 0 || got.Lost == 0 || got.SendRetries == 0 {
				t.Errorf("seed %d: %s", seed, brief(&got))
			}
			if got.SendRetries+got.Errors != refused || uint64(len(w.left)) != got.Sent-got.Errors || got.TimerError.Count != uint64(len(w.left)) {
				t.Errorf("seed %d: %d retries and %d errors of %d refusals, %d left, timer error of %d",
					seed, got.SendRetries, got.Errors, refused, len(w.left), got.TimerError.Count)
			}
			for i, p := range w.left[1:] {
				if p.n <= w.left[i].n {
					t.Fatalf("seed %d: probe %d after %d", seed, p.n, w.left[i].n)
				}
			}
		})
	}
}
