//go:build linux

package probe

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
)

// besideLane runs f with a lane whose batches are sent beside, each in 5 ms.
func besideLane(t *testing.T, cfg ExchangeConfig, f func(t *testing.T, l *lane)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLane(t, cfg)
		l.side.min, l.sending = 1, 5*ms
		f(t, l)
	})
}

// Answers are taken while the batch that they are for is still being sent, and the
// frames of that stay as they are until it has left.
func TestExchangeBeside(t *testing.T) {
	for _, window := range []int{1, 3, 64} {
		besideLane(t, ExchangeConfig{Window: window, Timeout: time.Second}, func(t *testing.T, l *lane) {
			var seqs []uint16
			for i := range uint16(200) {
				seqs = append(seqs, i+1)
			}
			if err := l.run(t.Context(), Frames(echoes(seqs...)...)); err != nil {
				t.Error(err)
			}
			for i, e := range l.all {
				want := ms + time.Duration(i+1)*20*time.Microsecond
				if !e.Answered || e.Request.Seq != uint64(i)+1 || e.Request.Tries != 1 || e.RTT != want {
					t.Fatalf("window %d: request %d after %v, %d tries, answered %v, want request %d after %v",
						window, e.Request.Seq, e.RTT, e.Request.Tries, e.Answered, i+1, want)
				}
			}
			if s := l.statistics(); len(l.all) != 200 || s.Sent != 200 || s.Answered != 200 {
				t.Errorf("window %d: %d told, %+v", window, len(l.all), s)
			}
		})
	}
}

// A queue that is full in the middle of a batch changes no order, and nothing is
// lost or sent twice.
func TestExchangeBesideFull(t *testing.T) {
	for _, err := range []error{unix.ENOBUFS, unix.EMSGSIZE} {
		besideLane(t, ExchangeConfig{Timeout: time.Second}, func(t *testing.T, l *lane) {
			l.sendError = func(seq uint16, try int) error {
				if seq%50 == 7 && try == 1 {
					return err
				}
				return nil
			}
			var seqs []uint16
			for i := range uint16(200) {
				seqs = append(seqs, i+1)
			}
			if err := l.run(t.Context(), Frames(echoes(seqs...)...)); err != nil {
				t.Error(err)
			}
			failed := 0
			for _, e := range l.all {
				if e.Request.Err != nil {
					failed++
				}
			}
			for i, d := range l.left[1:] {
				if d.n <= l.left[i].n {
					t.Errorf("%v: request %d leaves after %d", err, d.n, l.left[i].n)
				}
			}
			want := [2]int{200, 0}
			if err == unix.EMSGSIZE {
				want = [2]int{196, 4}
			}
			if got := [2]int{len(l.left), failed}; got != want || len(l.all) != 200 {
				t.Errorf("%v: %d told, sent and failed are %v, want %v", err, len(l.all), got, want)
			}
		})
	}
}

// What is answered before it leaves, as by a forged frame, and then cannot leave is
// told of once.
func TestExchangeBesideUnasked(t *testing.T) {
	for _, multi := range []bool{false, true} {
		for _, err := range []error{unix.ENOBUFS, unix.EMSGSIZE} {
			besideLane(t, ExchangeConfig{Multi: multi, Timeout: 100 * ms}, func(t *testing.T, l *lane) {
				requests := echoes(1, 2, 3)
				l.sendError = func(seq uint16, try int) error {
					if seq != 2 || try > 1 {
						return nil
					}
					return err
				}
				l.exchange.filter = &forged{lane: l, frames: slices.Clone(requests[1:])}
				told := map[uint64]int{}
				if err := l.run(t.Context(), Frames(requests...)); err != nil {
					t.Error(err)
				}
				for _, e := range l.all {
					if !e.More {
						told[e.Request.Seq]++
					}
					if !e.Answered {
						t.Errorf("%v, multi %v: %+v", err, multi, e)
					}
				}
				if got := fmt.Sprint(told); got != "map[1:1 2:1 3:1]" {
					t.Errorf("%v, multi %v: told %v", err, multi, got)
				}
				for _, d := range l.left {
					if d.n == 2 {
						t.Errorf("%v, multi %v: 2 has left", err, multi)
					}
				}
			})
		}
	}
}

// A forged answer is there when its request is about to leave, whichever others are
// with it.
type forged struct {
	*lane
	frames [][]byte
}

func (f *forged) Expect(keys []bpf.Key) error {
	f.frames = slices.DeleteFunc(f.frames, func(b []byte) bool {
		if !slices.Contains(keys, bpf.AppendRequestKeys(nil, b, false)[0]) {
			return false
		}
		f.in.putFrame(capture.Frame{Data: replyTo(b).bytes(), Arrival: f.wall()})
		return true
	})
	// Twice, for a request may leave when its answer is known and forgotten.
	return errors.Join(f.lane.Expect(keys), f.lane.Expect(keys))
}

// A timeout does not end a request that is being sent, and a stop waits for it.
func TestExchangeBesideTimeout(t *testing.T) {
	besideLane(t, ExchangeConfig{Timeout: ms}, func(t *testing.T, l *lane) {
		l.silentTo(func(uint16, int) bool { return true })
		if err := l.run(t.Context(), Frames(echoes(1)...)); err != nil {
			t.Error(err)
		}
		l.want("1 unanswered at 5ms")
	})
	besideLane(t, ExchangeConfig{Timeout: time.Second}, func(t *testing.T, l *lane) {
		l.silentTo(func(uint16, int) bool { return true })
		time.AfterFunc(ms, func() {
			l.stop()
			l.in.wake()
		})
		if err := l.run(t.Context(), Frames(echoes(1)...)); err != nil {
			t.Error(err)
		}
		l.want("1 unanswered at 5ms")
		if s := l.statistics(); s.Sent != 1 {
			t.Errorf("%+v", s)
		}
	})
}
