//go:build linux

package probe

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// A batch is what a reader is told at once.
type batch struct {
	at   time.Duration
	told []string
}

// told runs the world with a reader that reads as soon as it is woken, and then
// not for a while.
func (w *world) told(pause time.Duration) []batch {
	w.deafReader = true
	var all []batch
	var wg sync.WaitGroup
	wg.Go(func() {
		for buf, ok := w.events.read(nil); ok; buf, ok = w.events.read(buf[:0]) {
			b := batch{at: w.clock()}
			for i := range buf {
				b.told = append(b.told, describe(&buf[i]))
			}
			all = append(all, b)
			time.Sleep(pause)
		}
	})
	synctest.Wait() // it reads nothing before it is woken
	w.run()
	w.events.close()
	wg.Wait()
	return all
}

// TestTell: what happens after a quiet time is told at once, what happens often
// together when the engine is awake anyway, and at the end all of it.
func TestTell(t *testing.T) {
	const ms = time.Millisecond
	const rtt = toDriver + ms + toUser
	for _, tt := range []struct {
		name   string
		s      settings
		script func(w *world)
		want   []batch
	}{
		{
			name: "a second apart", s: settings{count: 3},
			want: []batch{
				{rtt, []string{"1 replied"}},
				{time.Second + rtt, []string{"2 replied"}},
				{2*time.Second + rtt, []string{"3 replied"}},
			},
		}, {
			name: "50 ms apart", s: settings{count: 3, interval: tellEvery},
			want: []batch{
				{rtt, []string{"1 replied"}},
				{50*ms + rtt, []string{"2 replied"}},
				{100*ms + rtt, []string{"3 replied"}},
			},
		}, {
			name: "20 ms apart", s: settings{count: 7, interval: 20 * ms},
			want: []batch{
				{rtt, []string{"1 replied"}},
				{60 * ms, []string{"2 replied", "3 replied"}},
				{120 * ms, []string{"4 replied", "5 replied", "6 replied"}},
				{120*ms + rtt, []string{"7 replied"}}, // the end
			},
		}, {
			name: "while the next probe is near", s: settings{count: 2, interval: 90 * ms},
			script: func(w *world) {
				w.far = func(_ uint64, request []byte) {
					w.arrive(ms, replyTo(request).bytes())
					w.arrive(42*ms, replyTo(request).bytes())
				}
				w.forging = true // the last one answers nobody
			},
			want: []batch{
				{rtt, []string{"1 replied"}},
				{90 * ms, []string{"1 duplicate"}},
				{90*ms + rtt, []string{"2 replied"}},
			},
		}, {
			name: "while the next probe is far", s: settings{count: 3, interval: 99 * ms},
			script: func(w *world) {
				w.far = func(n uint64, request []byte) {
					for _, after := range []time.Duration{ms, 41 * ms, 60 * ms}[:4-n] {
						w.arrive(after, replyTo(request).bytes())
					}
				}
				w.forging = true // the last one answers nobody
			},
			want: []batch{
				{rtt, []string{"1 replied"}},
				{50*ms + rtt, []string{"1 duplicate"}},
				{100*ms + rtt, []string{"1 duplicate", "2 replied"}},
				{150*ms + rtt, []string{"2 duplicate"}},
				{198*ms + rtt, []string{"3 replied"}},
			},
		}, {
			name: "with what leaves", s: settings{count: 2, sent: true},
			want: []batch{
				{0, []string{"1 sent"}},
				{50 * ms, []string{"1 replied"}},
				{time.Second, []string{"2 sent"}},
				{time.Second + rtt, []string{"2 replied"}},
			},
		}, {
			name: "the reply tells no less than the loss", s: settings{count: 4, timeout: 500 * ms, interval: 490 * ms},
			script: func(w *world) { w.answer(ms, none, ms, none) },
			want: []batch{
				{rtt, []string{"1 replied"}},
				{980*ms + rtt, []string{"3 replied"}},
				{980*ms + rtt + 50*ms, []string{"2 lost"}},
				{1970 * ms, []string{"4 lost"}},
			},
		}, {
			name: "errors", s: settings{count: 3, interval: 30 * ms},
			script: func(w *world) { w.sendError = func(uint64) error { return errStill } },
			want: []batch{
				{0, []string{"1 local error"}},
				{60 * ms, []string{"2 local error", "3 local error"}},
			},
		}, {
			name: "a stop", s: settings{interval: 20 * ms},
			script: func(w *world) { w.at(45*ms, func() { w.stop(); w.in.wake() }) },
			want: []batch{
				{rtt, []string{"1 replied"}},
				{45 * ms, []string{"2 replied", "3 replied"}},
			},
		}, {
			name: "the deadline", s: settings{interval: 20 * ms, deadline: 65 * ms},
			want: []batch{
				{rtt, []string{"1 replied"}},
				{60 * ms, []string{"2 replied", "3 replied"}},
				{65 * ms, []string{"4 replied"}},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, tt.s, func(t *testing.T, w *world) {
				if tt.script != nil {
					tt.script(w)
				}
				same := func(a, b batch) bool { return a.at == b.at && slices.Equal(a.told, b.told) }
				if got := w.told(0); !slices.EqualFunc(got, tt.want, same) {
					t.Errorf("told %v\nwant %v", got, tt.want)
				}
			})
		})
	}
}

// TestTellOften: however much happens, the reader is woken 20 times a second, and
// each time of all there is.
func TestTellOften(t *testing.T) {
	const count, interval = 20_000, 50 * time.Microsecond
	inWorld(t, settings{count: count, interval: interval, timeout: 10 * time.Millisecond}, func(t *testing.T, w *world) {
		all := w.told(0)
		total := 0
		for i, b := range all {
			total += len(b.told)
			if i > 0 && i < len(all)-1 && b.at-all[i-1].at != tellEvery {
				t.Fatalf("told at %v, and before at %v", b.at, all[i-1].at)
			}
		}
		if total != count || len(all) != int(count*interval/tellEvery)+1 {
			t.Errorf("%d events were told in %d turns", total, len(all))
		}
		if s := w.snapshot(); s.Received != count || s.EventsDropped != 0 {
			t.Errorf("received %d, dropped %d", s.Received, s.EventsDropped)
		}
	})
}

// TestTellSlowReader: a reader that is slower than the probes gets what there is
// room for, in order and whole, and what it does not get is counted.
func TestTellSlowReader(t *testing.T) {
	const count, room = 2000, 64
	inWorld(t, settings{count: count, interval: time.Millisecond, ring: room}, func(t *testing.T, w *world) {
		all := w.told(300 * time.Millisecond)
		var told []string
		for i, b := range all {
			told = append(told, b.told...)
			if full := len(b.told) == room; i > 0 && i < len(all)-1 && !full {
				t.Errorf("told %d at %v, want %d", len(b.told), b.at, room)
			}
		}
		s := w.snapshot()
		if s.Received != count || s.EventsDropped == 0 || uint64(len(told))+s.EventsDropped != count {
			t.Errorf("received %d, told %d, dropped %d", s.Received, len(told), s.EventsDropped)
		}
		next := uint64(1)
		for _, text := range told {
			n := uint64(0)
			if _, err := fmt.Sscanf(text, "%d replied", &n); err != nil || n < next {
				t.Fatalf("told %q, after %d", text, next-1)
			}
			next = n + 1
		}
		for i, p := range w.left {
			if want := time.Duration(i) * time.Millisecond; p.at != want {
				t.Fatalf("probe %d left at %v, want %v", p.n, p.at, want)
			}
		}
	})
}

// TestRunMore: an event says whether another one is there already.
func TestRunMore(t *testing.T) {
	const count = 200
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	peer := labtest.StartPeer(t, pair.Far, "eth0", "")
	p := pinger(t, pair.Near, Config{Targets: Hosts(pair.FarIP), Interval: time.Millisecond, Count: count, Sent: true})
	var all []Event
	stalled := 0 // at which event
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for ev, err := range p.Run(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ev)
		if ev.Kind == Sent && stalled == 0 {
			// All that follows but the last is there when the peer has the last.
			stalled = len(all) - 1
			if err := peer.Wait(ctx, count); err != nil {
				t.Fatal(err)
			}
		}
	}
	replies, _, s := replied(t, all)
	if len(replies) != count || s.Sent != count || s.EventsDropped != 0 {
		t.Fatalf("%d replies, %s", len(replies), brief(s))
	}
	last := len(all) - 1
	if all[last-1].More || all[last].More {
		t.Errorf("more is said to follow the last probe %v, the summary %v", all[last-1].More, all[last].More)
	}
	// The batch that the reader stalled in ends; the one behind it has the rest.
	i := stalled
	for all[i].More {
		i++
	}
	for i++; i < len(all); i++ {
		if ev := all[i]; ev.Kind == Sent && ev.Seq < count-1 && !ev.More {
			t.Errorf("nothing is said to follow event %d, %s", i, describe(&ev))
		}
	}
}
