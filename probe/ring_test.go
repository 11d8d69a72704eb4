//go:build linux

package probe

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestRing(t *testing.T) {
	r := newRing(4, 0)
	push := func(from, to uint64) {
		for n := from; n <= to; n++ {
			r.push(&Event{Seq: n})
		}
	}
	read := func(want ...uint64) {
		t.Helper()
		events, ok := r.read(nil)
		if ok != (len(want) > 0) || len(events) != len(want) {
			t.Fatalf("read %d events, %v, want %d", len(events), ok, len(want))
		}
		for i, ev := range events {
			if ev.Seq != want[i] {
				t.Errorf("event %d has number %d, want %d", i, ev.Seq, want[i])
			}
		}
	}
	push(1, 3)
	read(1, 2, 3)
	push(4, 7) // round the end
	read(4, 5, 6, 7)
	push(8, 14)
	if r.drops() != 3 {
		t.Errorf("%d dropped, want 3", r.drops())
	}
	read(8, 9, 10, 11) // the oldest stay
	push(15, 16)
	read(15, 16)
	push(17, 17)
	r.close()
	r.close()
	read(17) // what was pushed before the close
	read()
	read()
	if r.drops() != 3 {
		t.Errorf("%d dropped, want 3", r.drops())
	}
	for i := range r.events {
		if r.events[i] != (Event{}) {
			t.Errorf("place %d still holds %+v", i, r.events[i])
		}
	}
}

func TestRingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRing(4, 0)
		var got []Event
		var ok, done bool
		go func() { got, ok = r.read(nil); done = true }()
		synctest.Wait()
		r.push(&Event{Seq: 1})
		r.push(&Event{Seq: 2})
		synctest.Wait()
		if done {
			t.Error("read returned before the batch was whole")
		}
		r.flush()
		synctest.Wait()
		if !done || !ok || len(got) != 2 {
			t.Errorf("after the batch: %v, %d events", done, len(got))
		}
		done = false
		go func() { got, ok = r.read(nil); done = true }()
		synctest.Wait()
		r.flush() // of nothing
		synctest.Wait()
		if done {
			t.Error("read returned with nothing")
		}
		r.close()
		synctest.Wait()
		if !done || ok {
			t.Errorf("after the close: %v, %v", done, ok)
		}
	})
}

// TestRingConcurrently is for the race detector.
func TestRingConcurrently(t *testing.T) {
	r := newRing(16, 0)
	const events = 20_000
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := uint64(1); n <= events; n++ {
			r.push(&Event{Seq: n})
			if n%8 == 0 {
				r.flush()
			}
		}
		r.close()
	})
	var last, read uint64
	for buf, ok := r.read(nil); ok; buf, ok = r.read(buf[:0]) {
		for _, ev := range buf {
			if ev.Seq <= last {
				t.Fatalf("event %d after %d", ev.Seq, last)
			}
			last = ev.Seq
			read++
		}
		_ = r.drops()
	}
	wg.Wait()
	if read+r.drops() != events {
		t.Errorf("%d read and %d dropped of %d", read, r.drops(), events)
	}
}

// TestStalledReader: nobody reads, and the engine does not notice.
func TestStalledReader(t *testing.T) {
	inWorld(t, settings{count: 1000, interval: time.Millisecond, timeout: 10 * time.Millisecond, sent: true, ring: 16}, func(t *testing.T, w *world) {
		w.deafReader = true
		w.far = func(n uint64, request []byte) {
			if n%10 != 0 {
				w.arrive(2*time.Millisecond, replyTo(request).bytes())
			}
		}
		var wg sync.WaitGroup
		over := make(chan struct{})
		wg.Go(func() { // somebody looks on
			for {
				select {
				case <-over:
					return
				case <-time.After(700 * time.Microsecond):
					s := w.snapshot()
					if s.Sent != s.Received+s.Lost+s.Errors+s.Pending {
						t.Errorf("%s", brief(&s))
					}
				}
			}
		})
		w.run()
		close(over)
		wg.Wait()
		for i, p := range w.left {
			if want := time.Duration(i) * time.Millisecond; p.at != want {
				t.Fatalf("probe %d left at %v, want %v", p.n, p.at, want)
			}
		}
		s := w.snapshot()
		if s.Received != 900 || s.Lost != 100 || s.RTT.Count != 900 || s.EventsDropped != 2000-16 {
			t.Errorf("received %d, lost %d, RTTs %d, dropped %d", s.Received, s.Lost, s.RTT.Count, s.EventsDropped)
		}
	})
}

// TestSlowReader reads, but too slowly: what it gets is in order, and what it
// does not is counted.
func TestSlowReader(t *testing.T) {
	inWorld(t, settings{count: 1000, interval: time.Millisecond, ring: 16}, func(t *testing.T, w *world) {
		w.deafReader = true
		var got []Event
		var wg sync.WaitGroup
		wg.Go(func() {
			for buf, ok := w.events.read(nil); ok; buf, ok = w.events.read(buf[:0]) {
				got = append(got, buf...)
				time.Sleep(50 * time.Millisecond)
			}
		})
		w.run()
		w.events.close()
		wg.Wait()
		s := w.snapshot()
		if s.Received != 1000 || s.EventsDropped == 0 || uint64(len(got))+s.EventsDropped != 1000 {
			t.Errorf("received %d, read %d, dropped %d", s.Received, len(got), s.EventsDropped)
		}
		for i := range got[1:] {
			if got[i].Seq >= got[i+1].Seq {
				t.Fatalf("event of probe %d before that of %d", got[i].Seq, got[i+1].Seq)
			}
		}
	})
}
