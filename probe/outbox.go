//go:build linux

package probe

// An outbox remembers which probe a frame was that left under a stamp id. Its
// size is fixed: a stamp that comes after so many later frames is nobody's.
type outbox struct {
	frames []outgoing // a power of two
	last   uint32     // the id given last
}

// outgoing is a frame. Of a probe in fragments it is the first one: the others
// have no probe.
type outgoing struct {
	id     uint32
	target *target
	n      uint64
}

func newOutbox(outstanding int64) outbox {
	size := int64(64)
	for size < 2*outstanding && size < maxOutstanding {
		size *= 2
	}
	return outbox{frames: make([]outgoing, size)}
}

// add gives the next frame its id.
func (o *outbox) add(t *target, n uint64) uint32 {
	o.last++
	o.frames[o.last&uint32(len(o.frames)-1)] = outgoing{o.last, t, n}
	return o.last
}

// forget forgets the frames after an id: their probe did not leave, or not as a
// whole. The ids are not given again, for the kernel may have stamped them.
func (o *outbox) forget(last uint32) {
	for id := o.last; id != last; id-- {
		o.frames[id&uint32(len(o.frames)-1)] = outgoing{}
	}
}

// find returns whose frame bore an id, nil if that is not remembered.
func (o *outbox) find(id uint32) (*target, uint64) {
	f := &o.frames[id&uint32(len(o.frames)-1)]
	if f.id != id || f.n == 0 {
		return nil, 0
	}
	return f.target, f.n
}
