//go:build linux

package probe

// An outbox remembers which request a frame was that left under a stamp id. Its
// size is fixed: a stamp that comes after so many later frames is nobody's.
type outbox[S sender] struct {
	frames []outgoing[S] // a power of two
	last   uint32        // the id given last
}

// outgoing is a frame. Of a probe in fragments it is the first one: the others
// have no probe.
type outgoing[S sender] struct {
	id uint32
	of S
	n  uint64
}

// A sender numbers its requests, and remembers some of them.
type sender interface {
	// departure is that of request n, nil if it is forgotten.
	departure(n uint64) *departure
}

func newOutbox[S sender](outstanding int64) outbox[S] {
	size := int64(64)
	for size < 2*outstanding && size < maxOutstanding {
		size *= 2
	}
	return outbox[S]{frames: make([]outgoing[S], size)}
}

// add gives the next frame its id.
func (o *outbox[S]) add(of S, n uint64) uint32 {
	o.last++
	o.frames[o.last&uint32(len(o.frames)-1)] = outgoing[S]{o.last, of, n}
	return o.last
}

// forget forgets the frames after an id: their request did not leave, or not as a
// whole. The ids are not given again, for the kernel may have stamped them.
func (o *outbox[S]) forget(last uint32) {
	for id := o.last; id != last; id-- {
		o.frames[id&uint32(len(o.frames)-1)] = outgoing[S]{}
	}
}

// refused forgets the frame with an id, which the kernel did not take, and those after
// it, which it was not offered. The ids of these are given again; it may have stamped the
// first.
func (o *outbox[S]) refused(id uint32) {
	o.forget(id - 1)
	o.last = id
}

// departure returns that of the request whose frame bore an id, nil if it is not
// remembered.
func (o *outbox[S]) departure(id uint32) *departure {
	f := &o.frames[id&uint32(len(o.frames)-1)]
	if f.id != id || f.n == 0 {
		return nil
	}
	return f.of.departure(f.n)
}
