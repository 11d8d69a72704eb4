//go:build linux

package probe

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Whatever is refused, lost, late, doubled or slow, and whenever the caller has enough:
// an exchange ends, and each request is told of once. A bubble in which all wait for
// ever fails (testing/synctest).
func TestExchangeAnyCourse(t *testing.T) {
	seeds := uint64(150)
	if testing.Short() {
		seeds = 20
	}
	for seed := range seeds {
		exchangeCourse(t, seed)
		if t.Failed() {
			t.Fatalf("course %d", seed)
		}
	}
}

func exchangeCourse(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	pick := func(list ...int) int { return list[r.IntN(len(list))] }
	cfg := ExchangeConfig{
		Timeout:  time.Duration(1+r.IntN(50)) * ms,
		Interval: time.Duration(pick(0, 0, 10, 300, 2000)) * time.Microsecond,
		Window:   pick(1, 2, 3, 31, 32, 33, 128, 200, 1000),
		Retry:    pick(0, 0, 1, 3, -1, -2),
		Multi:    r.IntN(3) == 0,
	}
	count := uint16(pick(0, 1, 2, 3, 33, 128, 129, 400))
	refuse, full, lose, late, double := r.IntN(3)*r.IntN(60), r.IntN(3)*r.IntN(40), r.IntN(3)*r.IntN(60), r.IntN(2)*r.IntN(50), r.IntN(2)*r.IntN(50)
	if r.IntN(8) == 0 {
		refuse = 100
	}
	slowReader, slowSender, pauses := r.IntN(5) == 0, r.IntN(4) == 0, r.IntN(4) == 0
	cancelAt := time.Duration(-1)
	if r.IntN(5) == 0 {
		cancelAt = time.Duration(r.IntN(80)) * ms
	}
	choice := r.Uint64()
	// chance is the same for a request and its try, whoever asks and when.
	chance := func(what uint64, seq uint16, try int) int {
		return rand.New(rand.NewPCG(choice^what, uint64(seq)<<32|uint64(try))).IntN(100)
	}
	inLane(t, cfg, func(t *testing.T, l *lane) {
		l.sendError = func(seq uint16, try int) error {
			switch {
			case chance(1, seq, 0) < refuse:
				return unix.EMSGSIZE
			case chance(2, seq, try) < full:
				return unix.ENOBUFS
			}
			return nil
		}
		l.far = func(seq uint16, try int, request []byte) {
			if chance(3, seq, try) < lose {
				return
			}
			after := ms
			if chance(4, seq, try) < late {
				after = cfg.Timeout + time.Duration(chance(5, seq, try)-50)*time.Microsecond
			}
			reply := replyTo(request).bytes()
			l.arrive(after, reply)
			if chance(6, seq, try) < double {
				l.arrive(after+ms, reply)
			}
		}
		if slowReader {
			l.slow = 3 * ms
		}
		if slowSender {
			l.sending = ms
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if cancelAt >= 0 {
			time.AfterFunc(cancelAt, cancel)
		}
		given := 0
		err := l.run(ctx, func(yield func([]byte, error) bool) {
			for i, b := range echoes(upTo(count)...) {
				if pauses && i%7 == 3 {
					time.Sleep(2 * ms)
				}
				if !yield(b, nil) {
					return
				}
				given++
			}
		})
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		told := map[uint64]int{}
		for _, e := range l.all {
			if !e.More {
				told[e.Request.Seq]++
			}
		}
		for seq, n := range told {
			if n != 1 {
				t.Errorf("request %d is told of %d times", seq, n)
			}
		}
		if cancelAt < 0 && (len(told) != int(count) || given != int(count)) {
			t.Errorf("%d of %d requests are told of, %d were read", len(told), count, given)
		}
	})
}
