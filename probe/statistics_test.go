//go:build linux

package probe

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestRTT(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for name, next := range map[string]func(i int) time.Duration{
		"one value":            func(int) time.Duration { return 10 * time.Microsecond },
		"zero":                 func(int) time.Duration { return 0 },
		"a LAN":                func(int) time.Duration { return time.Duration(10_000 + random.IntN(1000)) },
		"rising":               func(i int) time.Duration { return time.Duration(i) * time.Millisecond },
		"with rare long ones":  func(i int) time.Duration { return time.Duration(50_000 + i/999*int(time.Second)) },
		"an hour and a little": func(int) time.Duration { return time.Hour + time.Duration(random.IntN(1000)) }, // squares cancel
	} {
		t.Run(name, func(t *testing.T) {
			var r RTT
			var all []time.Duration
			checkRTT(t, &r, all)
			for i := range 5000 {
				d := next(i)
				r.Add(d)
				all = append(all, d)
				if i < 5 || i == 4999 {
					checkRTT(t, &r, all)
				}
			}
		})
	}
}

func TestLossRatio(t *testing.T) {
	for _, tt := range []struct {
		s    Statistics
		want float64
	}{
		{Statistics{}, 0},
		{Statistics{Sent: 3, Pending: 3}, 0},
		{Statistics{Sent: 3, Received: 3}, 0},
		{Statistics{Sent: 4, Received: 2, Lost: 1, Errors: 1}, 0.5},
		{Statistics{Sent: 4, Received: 1, Lost: 1, Pending: 2}, 0.5},
		{Statistics{Sent: 2, Lost: 2, Late: 2}, 1},
		{Statistics{Sent: 2, Errors: 2}, 1},
	} {
		if got := tt.s.LossRatio(); got != tt.want {
			t.Errorf("%s: loss ratio %v, want %v", brief(&tt.s), got, tt.want)
		}
	}
}

// TestRandomWorld lets everything happen to some thousand probes. Every step
// is checked, as in all worlds.
func TestRandomWorld(t *testing.T) {
	for seed := range uint64(10) {
		inWorld(t, settings{count: 2000, interval: 3 * time.Millisecond, timeout: 40 * time.Millisecond, sent: seed%2 == 0}, func(t *testing.T, w *world) {
			random := rand.New(rand.NewPCG(seed, 0))
			w.forging = true
			delay := func() time.Duration { return time.Duration(random.ExpFloat64() * float64(15*time.Millisecond)) }
			w.far = func(_ uint64, request []byte) {
				for range 1 + random.IntN(2) {
					switch p := replyTo(request); random.IntN(10) {
					case 0:
					case 1:
						w.arrive(delay(), errorFor(request, 3, 1).bytes())
					case 2:
						w.arrive(delay(), errorFor(request, 5, 0).bytes())
					case 3:
						p.badICMP = true
						w.arrive(delay(), p.bytes())
					case 4:
						p.body[3]++
						w.arrive(delay(), p.bytes())
					case 5:
						w.arrive(delay(), p.bytes(), unstamped)
					default:
						w.arrive(delay(), p.bytes())
					}
				}
			}
			w.sendError = func(uint64) error {
				if random.IntN(20) == 0 {
					return errStill
				}
				return nil
			}
			w.driver = func(uint64) time.Duration {
				return []time.Duration{toDriver, toDriver, 4 * time.Millisecond, none}[random.IntN(4)]
			}
			w.oversleep = func() time.Duration {
				if random.IntN(300) == 0 {
					w.skew.Add(int64(time.Second))
					return time.Duration(random.Int64N(int64(300 * time.Millisecond)))
				}
				return time.Duration(random.Int64N(int64(time.Millisecond)))
			}
			w.run()
			s := w.snapshot()
			for name, n := range map[string]uint64{
				"received": s.Received, "lost": s.Lost, "late": s.Late, "errors": s.Errors, "late errors": s.LateErrors,
				"duplicates": s.Duplicates, "reordered": s.Reordered, "corrupted": s.Corrupted, "rejected": s.Rejected, "skipped": s.Skipped,
			} {
				if n == 0 {
					t.Errorf("seed %d: no %s in all this", seed, name)
				}
			}
			if s.Pending != 0 || s.Sent != 2000 {
				t.Errorf("seed %d: %d pending of %d", seed, s.Pending, s.Sent)
			}
		})
	}
}
