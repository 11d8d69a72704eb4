//go:build linux

package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// silentTo has those tries of those requests go unanswered.
func (l *lane) silentTo(silent func(seq uint16, try int) bool) {
	l.far = func(seq uint16, try int, request []byte) {
		if !silent(seq, try) {
			// One after another.
			l.arrive(ms+time.Duration(seq)*20*time.Microsecond, replyTo(request).bytes())
		}
	}
}

func nobody(uint16, int) bool { return true }

func TestExchange(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cfg   ExchangeConfig
		seqs  []uint16
		setUp func(l *lane)
		want  []string
		stats ExchangeStatistics
	}{
		{
			name: "answered", seqs: []uint16{1, 2, 3},
			want:  []string{"1 answered at 1ms", "2 answered at 1ms", "3 answered at 1ms"},
			stats: ExchangeStatistics{Sent: 3, Answered: 3},
		},
		{name: "none"},
		{
			name: "one silent", cfg: ExchangeConfig{Timeout: 500 * ms}, seqs: []uint16{1, 2, 3},
			setUp: func(l *lane) { l.silentTo(func(seq uint16, _ int) bool { return seq == 2 }) },
			want:  []string{"1 answered at 1ms", "3 answered at 1ms", "2 unanswered at 500ms"},
			stats: ExchangeStatistics{Sent: 3, Answered: 2, Unanswered: 1},
		},
		{
			name: "default timeout", seqs: []uint16{1},
			setUp: func(l *lane) { l.silentTo(nobody) },
			want:  []string{"1 unanswered at 2s"},
			stats: ExchangeStatistics{Sent: 1, Unanswered: 1},
		},
		{
			name: "paced", cfg: ExchangeConfig{Interval: 10 * ms}, seqs: []uint16{1, 2, 3},
			want:  []string{"1 answered at 1ms", "2 answered at 11ms", "3 answered at 21ms"},
			stats: ExchangeStatistics{Sent: 3, Answered: 3},
		},
		{
			name: "window", cfg: ExchangeConfig{Window: 2, Timeout: 100 * ms}, seqs: []uint16{1, 2, 3, 4},
			setUp: func(l *lane) { l.silentTo(func(seq uint16, _ int) bool { return seq < 3 }) },
			want:  []string{"1 unanswered at 100ms", "2 unanswered at 100ms", "3 answered at 101ms", "4 answered at 101ms"},
			stats: ExchangeStatistics{Sent: 4, Answered: 2, Unanswered: 2},
		},
		{
			name: "retry", cfg: ExchangeConfig{Retry: 2, Timeout: 100 * ms}, seqs: []uint16{1, 2, 3},
			setUp: func(l *lane) {
				l.silentTo(func(seq uint16, try int) bool { return seq == 2 && try == 1 || seq == 3 })
			},
			want:  []string{"1 answered at 1ms", "2 answered after 2 at 101ms", "3 unanswered after 3 at 300ms"},
			stats: ExchangeStatistics{Sent: 6, Answered: 2, Unanswered: 1},
		},
		{
			name: "retry until quiet", cfg: ExchangeConfig{Retry: -2, Timeout: 100 * ms}, seqs: []uint16{1, 2, 3},
			setUp: func(l *lane) {
				l.silentTo(func(seq uint16, try int) bool { return seq == 2 && try < 3 || seq == 3 })
			},
			// Round 2 is quiet, 3 brings an answer, 4 and 5 are quiet.
			want:  []string{"1 answered at 1ms", "2 answered after 3 at 201ms", "3 unanswered after 5 at 500ms"},
			stats: ExchangeStatistics{Sent: 9, Answered: 2, Unanswered: 1, Rounds: 4},
		},
		{
			name: "answer to the try before", cfg: ExchangeConfig{Retry: 1, Timeout: 100 * ms}, seqs: []uint16{1},
			setUp: func(l *lane) {
				l.far = func(_ uint16, try int, request []byte) {
					if try == 1 {
						l.arrive(100*ms-ms/100, replyTo(request).bytes(), func(f *capture.Frame) { f.Arrival -= int64(ms) })
					}
				}
			},
			want:  []string{"1 answered at 100ms"},
			stats: ExchangeStatistics{Sent: 2, Answered: 1},
		},
		{
			name: "duplicate", seqs: []uint16{1, 2}, cfg: ExchangeConfig{Timeout: 50 * ms},
			setUp: func(l *lane) {
				l.far = func(seq uint16, _ int, request []byte) {
					if seq == 1 {
						l.arrive(ms, replyTo(request).bytes())
						l.arrive(2*ms, replyTo(request).bytes())
					}
				}
			},
			want:  []string{"1 answered at 1ms", "2 unanswered at 50ms"},
			stats: ExchangeStatistics{Sent: 2, Answered: 1, Unanswered: 1, Unpaired: 1},
		},
		{
			name: "multi", seqs: []uint16{1, 2}, cfg: ExchangeConfig{Multi: true, Timeout: 50 * ms},
			setUp: func(l *lane) {
				l.far = func(seq uint16, _ int, request []byte) {
					if seq == 1 {
						for i := range 3 {
							l.arrive(time.Duration(i+1)*10*ms, replyTo(request).bytes())
						}
						l.arrive(50*ms, replyTo(request).bytes()) // too late
					}
				}
			},
			want:  []string{"1 answered at 10ms", "1 answered again at 20ms", "1 answered again at 30ms", "2 unanswered at 50ms"},
			stats: ExchangeStatistics{Sent: 2, Answered: 1, Unanswered: 1},
		},
		{
			name: "the same twice", seqs: []uint16{1, 1}, cfg: ExchangeConfig{Timeout: 50 * ms},
			setUp: func(l *lane) { l.silentTo(func(_ uint16, try int) bool { return try > 1 }) },
			want:  []string{"1 answered at 1ms", "2 unanswered at 50ms"},
			stats: ExchangeStatistics{Sent: 2, Answered: 1, Unanswered: 1},
		},
		{
			name: "error that quotes", seqs: []uint16{1, 2}, cfg: ExchangeConfig{Timeout: 50 * ms},
			setUp: func(l *lane) {
				l.far = func(seq uint16, _ int, request []byte) {
					if seq == 2 {
						l.arrive(ms, errorFor(request, 11, 0).bytes())
					}
				}
			},
			want:  []string{"2 answered at 1ms", "1 unanswered at 50ms"},
			stats: ExchangeStatistics{Sent: 2, Answered: 1, Unanswered: 1},
		},
		{
			name: "full queue", seqs: []uint16{1, 2, 3},
			setUp: func(l *lane) {
				l.sendError = func(seq uint16, try int) error {
					if seq == 2 && try <= 3 {
						return unix.ENOBUFS
					}
					return nil
				}
			},
			want:  []string{"1 answered at 1ms", "2 answered at 1ms", "3 answered at 1ms"},
			stats: ExchangeStatistics{Sent: 3, Answered: 3, SendRetries: 3},
		},
		{
			name: "queue that stays full", seqs: []uint16{1}, cfg: ExchangeConfig{Timeout: ms},
			setUp: func(l *lane) { l.sendError = func(uint16, int) error { return unix.ENOBUFS } },
			want:  []string{"1 failed after 0 at 1ms"},
			stats: ExchangeStatistics{Unanswered: 1, SendRetries: 10},
		},
		{
			name: "too long", seqs: []uint16{1, 2, 3},
			setUp: func(l *lane) {
				l.sendError = func(seq uint16, _ int) error {
					if seq == 2 {
						return unix.EMSGSIZE
					}
					return nil
				}
			},
			want:  []string{"2 failed after 0 at 0s", "1 answered at 1ms", "3 answered at 1ms"},
			stats: ExchangeStatistics{Sent: 3 - 1, Answered: 2, Unanswered: 1},
		},
		{
			name: "slow reader", cfg: ExchangeConfig{Window: 1}, seqs: []uint16{1, 2, 3, 4, 5, 6},
			setUp: func(l *lane) { l.slow = time.Second },
			want: []string{"1 answered at 1ms", "2 answered at 1.001s", "3 answered at 2.001s", "4 answered at 3.001s",
				"5 answered at 4.001s", "6 answered at 5.001s"},
			stats: ExchangeStatistics{Sent: 6, Answered: 6},
		},
		{
			name: "slow reader of many", cfg: ExchangeConfig{Window: 1, Multi: true, Timeout: 100 * ms}, seqs: []uint16{1},
			setUp: func(l *lane) {
				l.slow = time.Second
				l.far = func(_ uint16, _ int, request []byte) {
					for i := range 6 {
						l.arrive(time.Duration(i+1)*10*ms, replyTo(request).bytes())
					}
				}
			},
			want:  []string{"1 answered at 10ms", "1 answered again at 1.01s", "1 answered again at 2.01s"},
			stats: ExchangeStatistics{Sent: 1, Answered: 1, AnswersDropped: 3},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLane(t, tt.cfg, func(t *testing.T, l *lane) {
				if tt.setUp != nil {
					tt.setUp(l)
				}
				if err := l.run(t.Context(), Frames(echoes(tt.seqs...)...)); err != nil {
					t.Error(err)
				}
				l.want(tt.want...)
				if s := l.statistics(); s != tt.stats {
					t.Errorf("statistics %+v, want %+v", s, tt.stats)
				}
				for _, n := range l.known {
					if n != 0 {
						t.Errorf("keys are still expected: %v", l.known)
						break
					}
				}
			})
		})
	}
}

// The times are those of a ping.
func TestExchangeTimes(t *testing.T) {
	inLane(t, ExchangeConfig{}, func(t *testing.T, l *lane) {
		l.driver = func(seq uint16) time.Duration {
			switch seq {
			case 1:
				return 3 * ms // after the answer
			case 2:
				return none
			}
			return toDriver
		}
		if err := l.run(t.Context(), Frames(echoes(1, 2, 3)...)); err != nil {
			t.Fatal(err)
		}
		// An answer waits for its stamp, and those behind it for their turn.
		l.want("1 answered at 3ms", "2 answered at 11ms", "3 answered at 11ms")
		for i, want := range []l2.StampPoint{l2.StampDriver, l2.StampSched, l2.StampDriver} {
			e := &l.all[i]
			rtt := ms + time.Duration(i+1)*20*time.Microsecond
			if want == l2.StampSched {
				rtt += toDriver - toSched
			}
			if e.RTTSource != want || e.RTT != rtt || e.Budget.Receive != toUser || e.Budget.Send != toSched {
				t.Errorf("request %d: %+v, want %v by %v", i+1, e.Times, rtt, want)
			}
			if e.Request.Sent.UnixNano() != l.base.UnixNano() || e.Request.Sched != l.base.UnixNano()+int64(toSched) || e.Reply.Arrival == 0 {
				t.Errorf("request %d: %+v", i+1, e.Request)
			}
		}
	})
}

func TestExchangeEnds(t *testing.T) {
	t.Run("context", func(t *testing.T) {
		inLane(t, ExchangeConfig{Retry: -1}, func(t *testing.T, l *lane) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*ms)
			defer cancel()
			l.silentTo(func(seq uint16, _ int) bool { return seq == 2 })
			if err := l.run(ctx, Frames(echoes(1, 2)...)); err != nil {
				t.Error(err)
			}
			l.want("1 answered at 1ms", "2 unanswered at 30ms")
		})
	})
	t.Run("context that is done", func(t *testing.T) {
		inLane(t, ExchangeConfig{}, func(t *testing.T, l *lane) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := l.run(ctx, Frames(echoes(1, 2)...)); err != nil || len(l.left) > 0 {
				t.Errorf("%v, %d frames left", err, len(l.left))
			}
		})
	})
	t.Run("left", func(t *testing.T) {
		inLane(t, ExchangeConfig{Interval: 10 * ms}, func(t *testing.T, l *lane) {
			l.quits = func(e *Exchanged) bool { return e.Request.Seq == 3 }
			if err := l.run(t.Context(), Frames(echoes(1, 2, 3, 4, 5)...)); !errors.Is(err, errLeft) {
				t.Error(err)
			}
			if len(l.left) != 3 {
				t.Errorf("%d frames left", len(l.left))
			}
		})
	})
	t.Run("link", func(t *testing.T) {
		inLane(t, ExchangeConfig{Interval: 10 * ms}, func(t *testing.T, l *lane) {
			time.AfterFunc(25*ms, func() {
				l.guard.Lock()
				l.linkErr = l2.ErrDown
				l.guard.Unlock()
				l.in.wake()
			})
			l.silentTo(func(seq uint16, _ int) bool { return seq == 2 })
			if err := l.run(t.Context(), Frames(echoes(1, 2, 3, 4, 5)...)); !errors.Is(err, l2.ErrDown) || !strings.Contains(err.Error(), "exchange on eth0: ") {
				t.Error(err)
			}
			l.want("1 answered at 1ms", "3 answered at 21ms", "2 unanswered at 25ms")
		})
	})
	t.Run("no such interface any more", func(t *testing.T) {
		inLane(t, ExchangeConfig{}, func(t *testing.T, l *lane) {
			l.sendError = func(seq uint16, _ int) error {
				if seq == 2 {
					return unix.ENXIO
				}
				return nil
			}
			if err := l.run(t.Context(), Frames(echoes(1, 2, 3)...)); !errors.Is(err, unix.ENXIO) || !errors.Is(err, l2.ErrDown) {
				t.Error(err)
			}
			l.want("1 unanswered at 0s", "2 unanswered after 0 at 0s", "3 unanswered after 0 at 0s")
		})
	})
	t.Run("filter", func(t *testing.T) {
		inLane(t, ExchangeConfig{}, func(t *testing.T, l *lane) {
			l.expectErr = unix.ENOSPC
			if err := l.run(t.Context(), Frames(echoes(1, 2)...)); !errors.Is(err, unix.ENOSPC) || len(l.left) > 0 {
				t.Errorf("%v, %d frames left", err, len(l.left))
			}
		})
	})
}

// Requests may come one by one, and end in an error.
func TestExchangeIterator(t *testing.T) {
	errSpilt := errors.New("spilt")
	inLane(t, ExchangeConfig{}, func(t *testing.T, l *lane) {
		err := l.run(t.Context(), func(yield func([]byte, error) bool) {
			buf := make([]byte, 0, 256)
			for n := range uint16(3) {
				time.Sleep(100 * ms)
				buf = append(buf[:0], echoes(n)[0]...)
				if !yield(buf, nil) {
					t.Error("the iterator is to go on")
				}
			}
			yield(nil, errSpilt)
		})
		if !errors.Is(err, errSpilt) {
			t.Error(err)
		}
		l.want("1 answered at 101ms", "2 answered at 201ms", "3 answered at 301ms")
	})
	inLane(t, ExchangeConfig{Window: 64}, func(t *testing.T, l *lane) {
		n := 0
		l.quits = func(e *Exchanged) bool { return e.Request.Seq == 1000 }
		err := l.run(t.Context(), func(yield func([]byte, error) bool) {
			for one := echoes(7)[0]; yield(one, nil); n++ {
			}
		})
		if !errors.Is(err, errLeft) || n < 1000 || n > 1000+3*64+2*intakeLen {
			t.Errorf("%v after %d requests", err, n)
		}
	})
}

// appended is something that appends itself.
type appended struct {
	b   []byte
	err error
}

func (a appended) AppendBinary(b []byte) ([]byte, error) { return append(b, a.b...), a.err }

func TestAppend(t *testing.T) {
	errMade := errors.New("cannot be made")
	var got []string
	for b, err := range Append(slices.Values([]appended{{b: []byte("one")}, {b: []byte("three")}, {err: errMade}, {b: []byte("four")}})) {
		got = append(got, fmt.Sprint(string(b), err))
		if err != nil && !errors.Is(err, errMade) {
			t.Error(err)
		}
	}
	if want := []string{"one<nil>", "three<nil>", "make frame: cannot be made"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A numbered protocol has a kind and a number: answers have those of their request.
type numbered struct{ etherType frame.EtherType }

func (n numbered) EtherType() frame.EtherType { return n.etherType }

func (numbered) RequestKey(e *frame.Ethernet) (uint64, bool) {
	if len(e.Payload) < 3 || e.Payload[0] != '?' {
		return 0, false
	}
	return uint64(binary.BigEndian.Uint16(e.Payload[1:])), true
}

func (numbered) AnswerKey(e *frame.Ethernet) (uint64, bool) {
	if len(e.Payload) < 3 || e.Payload[0] != '!' {
		return 0, false
	}
	return uint64(binary.BigEndian.Uint16(e.Payload[1:])), true
}

// Answers does not know the number 99.
func (numbered) Answers(answer, request *frame.Ethernet) bool { return answer.Payload[2] != 99 }

func ownFrame(kind byte, n uint16, vlans ...frame.VLAN) []byte {
	b, err := frame.Header{Src: nearMAC, Dst: farMAC, VLANs: vlans}.Marshal(0x88b5, []byte{kind, byte(n >> 8), byte(n)})
	if err != nil {
		panic(err)
	}
	return b
}

func TestExchangeRules(t *testing.T) {
	cfg := ExchangeConfig{Rules: []Rule{numbered{0x88b6}, numbered{0x88b5}}, Timeout: 50 * ms}
	inLane(t, cfg, func(t *testing.T, l *lane) {
		tag := frame.VLAN{Type: frame.EtherTypeVLAN, TCI: 5}
		requests := [][]byte{ownFrame('?', 1), ownFrame('?', 2), ownFrame('?', 1, tag), ownFrame('?', 99), ownFrame('#', 4), echoes(1)[0], nil}
		l.far = func(seq uint16, _ int, request []byte) {
			switch {
			case seq == 1:
				l.arrive(ms, replyTo(request).bytes())
			case bytes.Equal(request, requests[0]):
				l.arrive(2*ms, ownFrame('!', 99))
				l.arrive(3*ms, ownFrame('!', 3))
				l.arrive(4*ms, ownFrame('!', 1), func(f *capture.Frame) { f.VLAN = capture.VLAN{Present: true, Type: tag.Type, TCI: 0x8005} })
				l.arrive(5*ms, ownFrame('!', 2), func(f *capture.Frame) { f.VLAN = capture.VLAN{Present: true, Type: tag.Type, TCI: 6} })
				l.arrive(6*ms, ownFrame('!', 2), func(f *capture.Frame) { f.VLAN = capture.VLAN{Present: true, Type: tag.Type} })
				l.arrive(7*ms, ownFrame('!', 1))
			}
		}
		l.sendError = func(uint16, int) error { return nil }
		if err := l.run(t.Context(), Frames(requests...)); err != nil {
			t.Fatal(err)
		}
		l.want("6 answered at 1ms", "3 answered at 4ms", "2 answered at 6ms", "1 answered at 7ms",
			"4 unanswered at 50ms", "5 unanswered at 50ms", "7 unanswered at 50ms")
		if s := l.statistics(); s.Unpaired != 3 {
			t.Errorf("%d frames are nobody's, want 3", s.Unpaired)
		}
	})
}

// Of requests with one key, as a traceroute's, an error is about that which it
// quotes; what does not tell is of the oldest.
func TestExchangeQuotes(t *testing.T) {
	inLane(t, ExchangeConfig{Timeout: 50 * ms}, func(t *testing.T, l *lane) {
		requests := echoes(1, 1, 1)
		for i, b := range requests {
			binary.BigEndian.PutUint16(b[18:], uint16(100+i)) // the IP identification
			clear(b[24:26])
			binary.BigEndian.PutUint16(b[24:], frame.Checksum(b[14:34]))
		}
		l.far = func(_ uint16, try int, _ []byte) {
			if try == 3 {
				l.arrive(ms, errorFor(requests[2], 11, 0).bytes())
				l.arrive(2*ms, errorFor(requests[1], 11, 0).bytes())
				l.arrive(3*ms, replyTo(requests[2]).bytes())
			}
		}
		if err := l.run(t.Context(), Frames(requests...)); err != nil {
			t.Fatal(err)
		}
		l.want("3 answered at 1ms", "2 answered at 2ms", "1 answered at 3ms")
	})
}

func TestExchangeConfigErrors(t *testing.T) {
	for want, cfg := range map[string]ExchangeConfig{
		"timeout -1s":           {Timeout: -time.Second},
		"interval 1ns":          {Interval: 1},
		"window of 32769":       {Window: MaxWindow + 1},
		"a group sends nothing": {MAC: frame.Broadcast},
		"9 rules":               {Rules: make([]Rule, 9)},
		"one of them can be":    {SetHardware: true, Timestamps: TimestampsUser},
		"not within 0x0600":     {Rules: []Rule{numbered{5}}},
	} {
		err := cfg.setDefaults()
		if err == nil {
			err = cfg.expect(&l2.Interface{}).Validate()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
}

// In a flood of frames the exchange still sends, and can be stopped.
func TestExchangeFlood(t *testing.T) {
	l := newLane(t, ExchangeConfig{})
	f := &flooded{lane: l}
	l.exchange.filter, l.exchange.wire = quiet{}, f
	l.intake.put(echoes(1)[0])
	if wait, done := l.step(); wait != 0 || done || f.sent != 1 {
		t.Errorf("after a step wait %v, done %v, %d frames sent", wait, done, f.sent)
	}
	l.stop()
	if _, done := l.step(); !done {
		t.Error("it goes on after the stop")
	}
	if s := l.statistics(); s.Unpaired == 0 || s.Unanswered != 1 {
		t.Errorf("statistics %+v", s)
	}
}

// flooded always has frames.
type flooded struct {
	*lane
	sent int
}

func (*flooded) Mute() {}

func (f *flooded) SendBatch(frames [][]byte, _ uint32) (int, error) {
	f.sent += len(frames)
	return len(frames), nil
}

func (f *flooded) Receive(frames []capture.Frame) (int, error) {
	for i := range frames {
		frames[i] = capture.Frame{Data: make([]byte, 60)}
	}
	return len(frames), nil
}

// A buffer is used again, and a pairing allocates nothing.
func TestExchangeDoesNotAllocate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLane(t, ExchangeConfig{Window: 16})
		l.exchange.filter, l.exchange.wire = quiet{}, still2{l}
		requests := echoes(1, 2, 3, 4, 5, 6, 7, 8)
		replies := make([]capture.Frame, len(requests))
		for i, b := range requests {
			replies[i] = capture.Frame{Data: replyTo(b).bytes(), Arrival: l.wall() + int64(ms)}
		}
		var events []Exchanged
		round := func() {
			for _, b := range requests {
				l.intake.put(b)
			}
			l.step()
			l.in.frames = append(l.in.frames[:0:cap(l.in.frames)], replies...)
			for i := range requests {
				l.in.stamps = append(l.in.stamps, l2.Stamp{ID: l.outbox.last - uint32(i), Point: l2.StampDriver, Time: l.wall()})
			}
			l.step()
			events, _ = l.events.read(events[:0])
			if len(events) != len(requests) {
				t.Fatalf("%d events", len(events))
			}
			for i := range events {
				l.buffers.put(events[i].Request.Frame)
				l.buffers.put(events[i].Reply.Data)
			}
		}
		l.in.frames, l.in.stamps = make([]capture.Frame, 0, 1<<15), make([]l2.Stamp, 0, 1<<15)
		for range 100 {
			round()
		}
		if n := testing.AllocsPerRun(500, round); n != 0 {
			t.Errorf("a round allocates %v times", n)
		}
		checkExchange(t, l.exchange)
	})
}

// quiet expects nothing, still2 sends nothing.
type quiet struct{}

func (quiet) Expect([]bpf.Key) error { return nil }
func (quiet) Forget([]bpf.Key) error { return nil }

type still2 struct{ *lane }

func (still2) Mute() {}

func (still2) SendBatch(frames [][]byte, _ uint32) (int, error) { return len(frames), nil }

func FuzzExchange(f *testing.F) {
	for _, b := range echoes(1, 2) {
		f.Add(replyTo(b).bytes(), uint32(0))
		f.Add(errorFor(b, 3, 1).bytes(), uint32(0))
	}
	f.Add(ownFrame('!', 1), uint32(1<<16|5))
	f.Fuzz(func(t *testing.T, b []byte, tag uint32) {
		l := newLane(t, ExchangeConfig{Rules: []Rule{numbered{0x88b5}}, Multi: tag&(1<<17) != 0})
		l.exchange.filter, l.exchange.wire = quiet{}, still2{l}
		requests := append(echoes(1, 1, 2), ownFrame('?', 1), ownFrame('?', 1, frame.VLAN{Type: frame.EtherTypeVLAN, TCI: 5}), b)
		for _, r := range requests {
			l.intake.put(r)
		}
		l.step()
		for range 3 {
			l.in.frames = append(l.in.frames, capture.Frame{Data: b, VLAN: capture.VLAN{Present: tag&(1<<16) != 0, TCI: uint16(tag)}})
		}
		l.step()
		checkExchange(t, l.exchange)
		l.stop()
		l.step()
		checkExchange(t, l.exchange)
		events, _ := l.events.read(nil)
		told := map[uint64]bool{}
		for i := range events {
			told[events[i].Request.Seq] = true
		}
		if len(told) != len(requests) {
			t.Errorf("%d of %d requests are told of", len(told), len(requests))
		}
	})
}
