//go:build linux

package probe

import "sync"

// ring carries events from the engine to the caller. It never makes the engine
// wait: with no room left events are dropped and counted.
type ring struct {
	mu      sync.Mutex
	events  []Event
	least   int // free places that are kept for what is never dropped
	head, n int
	dropped uint64
	closed  bool
	ready   chan struct{} // capacity 1: set when there is something to read
}

// newRing makes room for so many events, and beyond that for the starts of so
// many targets.
func newRing(size, targets int) *ring {
	return &ring{events: make([]Event, size+targets), least: targets, ready: make(chan struct{}, 1)}
}

// push adds an event.
func (r *ring) push(e *Event) {
	r.mu.Lock()
	if e.Kind == Start {
		r.least--
	}
	if r.n >= len(r.events)-r.least {
		r.dropped++
	} else {
		r.events[(r.head+r.n)%len(r.events)] = *e
		r.n++
	}
	r.mu.Unlock()
}

// unread tells whether the reader has yet to read.
func (r *ring) unread() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n > 0
}

// flush wakes the reader, once a batch.
func (r *ring) flush() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// close tells the reader that nothing follows.
func (r *ring) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.flush()
}

// read waits for events and appends them all to buf; false says that the ring
// is closed and empty.
func (r *ring) read(buf []Event) ([]Event, bool) {
	for {
		r.mu.Lock()
		for ; r.n > 0; r.n-- {
			buf = append(buf, r.events[r.head])
			r.events[r.head] = Event{}
			r.head = (r.head + 1) % len(r.events)
		}
		closed := r.closed
		r.mu.Unlock()
		if len(buf) > 0 || closed {
			return buf, len(buf) > 0
		}
		<-r.ready
	}
}

// drops returns how many events had no room.
func (r *ring) drops() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dropped
}
