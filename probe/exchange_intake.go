//go:build linux

package probe

import (
	"encoding"
	"fmt"
	"iter"
	"sync"
)

// Frames are requests that are there already. Their bytes are not changed.
func Frames(frames ...[]byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, f := range frames {
			if !yield(f, nil) {
				return
			}
		}
	}
}

// Append makes frames of what appends itself to a buffer, one after another in the
// same buffer. An error of AppendBinary ends the frames.
func Append[T encoding.BinaryAppender](seq iter.Seq[T]) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var buf []byte
		for v := range seq {
			var err error
			if buf, err = v.AppendBinary(buf[:0]); err != nil {
				yield(nil, fmt.Errorf("make frame: %w", err))
				return
			}
			if !yield(buf, nil) {
				return
			}
		}
	}
}

// Of buffers: how long one is as a rule, and how many are allocated at once.
const (
	bufferLen = 128
	slabLen   = 32
)

// buffers are those of frames, to be used again.
type buffers struct {
	mu   sync.Mutex
	free [][]byte
	slab []byte // those that have not been used yet
}

// copy returns a copy of b in a buffer.
func (p *buffers) copy(b []byte) []byte {
	return append(p.get(len(b)), b...)
}

func (p *buffers) get(room int) (buf []byte) { // never nil, which is no frame
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		buf, p.free = p.free[n-1], p.free[:n-1]
		return buf[:0]
	}
	if room > bufferLen {
		return make([]byte, 0, room)
	}
	if len(p.slab) == 0 {
		p.slab = make([]byte, slabLen*bufferLen)
	}
	buf, p.slab = p.slab[:0:bufferLen], p.slab[bufferLen:]
	return buf
}

// put gives a buffer back, or nil.
func (p *buffers) put(b []byte) {
	if cap(b) == 0 {
		return
	}
	p.mu.Lock()
	p.free = append(p.free, b)
	p.mu.Unlock()
}

// intakeLen is how many requests are read ahead of their sending.
const intakeLen = 256

// An intake has the requests that wait to be sent: the caller's iterator runs in a
// goroutine of its own, for it may wait for something.
type intake struct {
	buffers *buffers
	wake    func() // the exchange

	mu      sync.Mutex
	room    sync.Cond
	queue   [][]byte
	head    int
	hungry  bool // the exchange wants more
	over    bool // there are no more
	stopped bool // no more are wanted
	err     error
}

func newIntake(b *buffers, wake func()) *intake {
	in := &intake{buffers: b, wake: wake, queue: make([][]byte, 0, intakeLen)}
	in.room.L = &in.mu
	return in
}

// read reads all requests.
func (in *intake) read(requests iter.Seq2[[]byte, error]) {
	defer in.end() // also when the iterator panics
	in.fail(fmt.Errorf("requests: %w", errExited))
	for b, err := range requests {
		if err != nil {
			in.fail(err)
			return
		}
		if !in.put(b) {
			break
		}
	}
	in.fail(nil)
}

// fail says why there are no more.
func (in *intake) fail(err error) {
	in.mu.Lock()
	in.err = err
	in.mu.Unlock()
}

func (in *intake) put(b []byte) bool {
	b = in.buffers.copy(b)
	in.mu.Lock()
	for len(in.queue)-in.head >= intakeLen && !in.stopped {
		in.room.Wait()
	}
	if in.stopped {
		in.mu.Unlock()
		return false
	}
	if in.head > 0 && len(in.queue) == cap(in.queue) {
		n := copy(in.queue, in.queue[in.head:])
		clear(in.queue[n:])
		in.queue, in.head = in.queue[:n], 0
	}
	in.queue = append(in.queue, b)
	hungry := in.hungry
	in.hungry = false
	in.mu.Unlock()
	if hungry {
		in.wake()
	}
	return true
}

func (in *intake) end() {
	in.mu.Lock()
	in.over = true
	in.mu.Unlock()
	in.wake()
}

// take returns the next request. Without one, over tells whether none will come;
// else the exchange is woken when one has.
func (in *intake) take() (b []byte, over bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.head == len(in.queue) {
		in.queue, in.head = in.queue[:0], 0
		in.hungry = true
		return nil, in.over
	}
	b = in.queue[in.head]
	in.queue[in.head] = nil
	in.head++
	if len(in.queue)-in.head == intakeLen/2 {
		in.room.Signal()
	}
	return b, false
}

// stop has the iterator end, as soon as it yields.
func (in *intake) stop() {
	in.mu.Lock()
	in.stopped = true
	in.mu.Unlock()
	in.room.Broadcast()
}

// failure is the iterator's.
func (in *intake) failure() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.err
}
