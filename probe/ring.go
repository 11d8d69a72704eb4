//go:build linux

package probe

import "sync"

// A bounded ring carries what happens from a run to the caller. It never makes the
// run wait: with no room left things are dropped and counted, but for those that
// have a place reserved.
type bounded[T any] struct {
	mu      sync.Mutex
	events  []T
	least   int // free places that are reserved
	head, n int
	dropped uint64
	closed  bool
	ready   chan struct{} // capacity 1: set when there is something to read
}

// ring carries the events of a ping. The starts of its targets are never dropped.
type ring struct{ bounded[Event] }

// newRing makes room for so many events, and beyond that for the starts of so
// many targets.
func newRing(size, targets int) *ring {
	return &ring{bounded[Event]{events: make([]Event, size+targets), least: targets, ready: make(chan struct{}, 1)}}
}

// push adds an event. It is false if it was dropped.
func (r *ring) push(e *Event) bool { return r.put(e, e.Kind == Start) }

// put adds something, in a reserved place or not. It is false if it was dropped.
func (r *bounded[T]) put(e *T, reserved bool) bool {
	r.mu.Lock()
	if reserved {
		r.least--
	}
	room := r.n < len(r.events)-r.least
	if room {
		r.events[(r.head+r.n)%len(r.events)] = *e
		r.n++
	} else {
		r.dropped++
	}
	r.mu.Unlock()
	return room
}

// reserve keeps a place, if there is one.
func (r *bounded[T]) reserve() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n >= len(r.events)-r.least {
		return false
	}
	r.least++
	return true
}

// release gives a reserved place up.
func (r *bounded[T]) release() {
	r.mu.Lock()
	r.least--
	r.mu.Unlock()
}

// unread tells whether the reader has yet to read.
func (r *bounded[T]) unread() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n > 0
}

// flush wakes the reader, once a batch.
func (r *bounded[T]) flush() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// close tells the reader that nothing follows.
func (r *bounded[T]) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.flush()
}

// read waits for things and appends them all to buf; false says that the ring
// is closed and empty.
func (r *bounded[T]) read(buf []T) ([]T, bool) {
	for {
		r.mu.Lock()
		for ; r.n > 0; r.n-- {
			buf = append(buf, r.events[r.head])
			r.events[r.head] = *new(T)
			r.head = (r.head + 1) % len(r.events)
		}
		r.head = 0 // the same places, which are in the caches
		closed := r.closed
		r.mu.Unlock()
		if len(buf) > 0 || closed {
			return buf, len(buf) > 0
		}
		<-r.ready
	}
}

// drops returns how many things had no room.
func (r *bounded[T]) drops() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dropped
}
