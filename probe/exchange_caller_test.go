//go:build linux

package probe

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// A doing does something besides when it is asked about an answer.
type doing struct {
	numbered
	what func()
}

func (d doing) AnswerKey(e *frame.Ethernet) (uint64, bool) {
	d.what()
	return d.numbered.AnswerKey(e)
}

// ruleLane is a lane with a Rule that does something.
func ruleLane(t *testing.T, what func(l *lane)) *lane {
	var l *lane
	l = newLane(t, ExchangeConfig{Rules: []Rule{doing{numbered{0x88b5}, func() { what(l) }}}})
	l.far = func(_ uint16, _ int, request []byte) {
		request[14] = '!'
		l.arrive(ms, request)
	}
	return l
}

// A Rule may look at the statistics.
func TestExchangeRuleLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looked := ExchangeStatistics{}
		l := ruleLane(t, func(l *lane) { looked = l.statistics() })
		if err := l.run(t.Context(), Frames(ownFrame('?', 1), ownFrame('?', 2))); err != nil {
			t.Error(err)
		}
		if want := (ExchangeStatistics{Sent: 2, Answered: 1}); looked != want {
			t.Errorf("the second time it sees %+v, want %+v", looked, want)
		}
	})
}

// What a caller gives us may end the goroutine that calls it, as a test's Fatal does:
// that is an error, and no end of the requests.
func TestExchangeGoexit(t *testing.T) {
	t.Run("rule", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := ruleLane(t, func(*lane) { runtime.Goexit() })
			err := runExchange(t.Context(), l.exchange, l.in.wake, func(<-chan struct{}) {}, func() {}, Frames(ownFrame('?', 1)),
				func(_ *Exchanged, err error) bool {
					if !errors.Is(err, errExited) {
						t.Error(err)
					}
					return false
				}, true)
			if !errors.Is(err, errLeft) {
				t.Error(err)
			}
		})
	})
	t.Run("requests", func(t *testing.T) {
		inLane(t, ExchangeConfig{}, func(t *testing.T, l *lane) {
			if err := l.run(t.Context(), func(yield func([]byte, error) bool) {
				yield(echoes(1)[0], nil)
				runtime.Goexit()
			}); !errors.Is(err, errExited) {
				t.Error(err)
			}
			l.want("1 answered at 1ms")
		})
	})
}

// An error is told although the requests wait, for whoever hears of it may be the one
// that they wait for.
func TestExchangeErrorWhileRequestsWait(t *testing.T) {
	inLane(t, ExchangeConfig{}, func(t *testing.T, l *lane) {
		end := make(chan struct{})
		l.failing = func() { close(end) }
		time.AfterFunc(25*ms, func() {
			l.guard.Lock()
			l.linkErr = l2.ErrDown
			l.guard.Unlock()
			l.in.wake()
		})
		if err := l.run(t.Context(), func(yield func([]byte, error) bool) {
			if yield(echoes(1)[0], nil) {
				<-end
			}
		}); !errors.Is(err, l2.ErrDown) {
			t.Error(err)
		}
		if l.clock() != 25*ms {
			t.Errorf("it took %v", l.clock())
		}
	})
}

// Frames that are refused do not use up what the stamps of others are known by.
func TestExchangeManyRefused(t *testing.T) {
	inLane(t, ExchangeConfig{Window: 64}, func(t *testing.T, l *lane) {
		l.sendError = func(seq uint16, _ int) error {
			if seq%2 == 0 {
				return unix.EMSGSIZE
			}
			return nil
		}
		if err := l.run(t.Context(), Frames(echoes(upTo(400)...)...)); err != nil {
			t.Error(err)
		}
		answered := 0
		for _, e := range l.all {
			if !e.Answered {
				continue
			}
			if answered++; e.RTTSource != l2.StampDriver {
				t.Fatalf("request %d: an RTT by %v", e.Request.Seq, e.RTTSource)
			}
		}
		if answered != 200 {
			t.Errorf("%d answered", answered)
		}
	})
}

// Requests that are refused leave room for others, and where there are none that is the
// end.
func TestExchangeAllRefused(t *testing.T) {
	for _, window := range []int{1, 2, 3, 100} {
		for _, interval := range []time.Duration{0, ms} {
			inLane(t, ExchangeConfig{Window: window, Interval: interval, Retry: 1}, func(t *testing.T, l *lane) {
				l.sendError = func(seq uint16, _ int) error {
					if seq <= 6 {
						return unix.EMSGSIZE
					}
					return nil
				}
				if err := l.run(t.Context(), Frames(echoes(1, 2, 3, 4, 5, 6, 7)...)); err != nil {
					t.Error(err)
				}
				if s := l.statistics(); s.Answered != 1 || s.Unanswered != 6 || l.clock() > 50*ms {
					t.Errorf("window %d: %+v after %v", window, s, l.clock())
				}
			})
		}
	}
	// Nor is there anything to wait for without one that leaves.
	pair := labtest.NewPair(t, nil)
	for _, frames := range [][][]byte{
		{{}}, {make([]byte, 3)}, {make([]byte, 13), make([]byte, 3)}, {append(ownFrame('?', 1), make([]byte, 1600)...)}, nil,
	} {
		for _, retry := range []int{0, 2, -1} {
			answered, unanswered, err := exchangeIn(t, pair.Near, frames, ExchangeConfig{Retry: retry})
			if err != nil || len(answered) != 0 || len(unanswered) != len(frames) {
				t.Errorf("%d frames: %+v, %+v, %v", len(frames), answered, unanswered, err)
			}
			for _, r := range unanswered {
				if r.Err == nil || r.Tries != 0 {
					t.Errorf("%+v", r)
				}
			}
		}
	}
}

// Close ends what runs, whoever calls it, and that closes it.
func TestCloseWhileRunning(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	var requests iter.Seq2[[]byte, error] = func(yield func([]byte, error) bool) {
		for n := uint64(1); yield(echoTo(t, pair, pair.FarIP, n), nil); n++ {
		}
	}
	beside := func(c interface{ Close() error }) {
		ended := make(chan error)
		go func() { ended <- c.Close() }()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	inside := func(c interface{ Close() error }) {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, end := range []func(c interface{ Close() error }){inside, beside} {
		x := exchanger(t, pair.Near, ExchangeConfig{Interval: ms})
		n := 0
		for e, err := range x.Run(t.Context(), requests) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n >= 3 && e.Answered {
				end(x) // again and again
			}
		}
		if n < 3 {
			t.Errorf("%d exchanged", n)
		}
		for _, err := range x.Run(t.Context(), requests) {
			if !errors.Is(err, errRan) {
				t.Errorf("run again: %v", err)
			}
		}

		p := labtest.OpenIn(t, pair.Near, func() (*Pinger, error) {
			return New(Config{Interface: "eth0", Targets: []Target{{Addr: pair.FarIP}}, Interval: ms})
		})
		kinds := map[Kind]int{}
		for e, err := range p.Run(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if kinds[e.Kind]++; e.Kind == Replied && kinds[Replied] >= 3 {
				end(p)
			}
		}
		if kinds[Replied] < 3 || kinds[Summary] != 1 {
			t.Errorf("pinger: %v", kinds)
		}

		a := labtest.OpenIn(t, pair.Far, func() (*Answerer, error) {
			return NewAnswerer("eth0", &AnswerConfig{EtherTypes: []frame.EtherType{0x88b5}})
		})
		ended := make(chan error)
		go func() {
			ended <- a.Run(context.Background(), func(reply []byte, f capture.Frame) []byte {
				end(a)
				return append(append(append(reply, f.Data[6:12]...), pair.FarMAC...), 0x88, 0xb5, '!', 0, 1)
			})
		}()
		rules := ExchangeConfig{Rules: []Rule{numbered{0x88b5}}, MAC: nearMAC}
		if answered, _, err := exchangeIn(t, pair.Near, [][]byte{ownFrame('?', 1)}, rules); err != nil || len(answered) != 1 {
			t.Errorf("answered %+v, %v", answered, err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
