//go:build linux

package probe

import (
	"fmt"
	"sync"
)

const (
	// muteLen is from how many frames on they leave without a wake-up for each
	// answer that comes meanwhile.
	muteLen = 4
	// sidelineLen is how many frames are worth a hand-over to another thread.
	sidelineLen = 32
)

// A sideline sends a batch by another thread, while answers are taken and the next
// batch is made ready: of what many requests take, sending is the greater part, for
// the system call hands the frames to the driver and often does the receiver's work
// besides.
type sideline struct {
	min    int // frames that it takes, 0: none
	jobs   chan job
	done   chan outcome
	batch  []int32 // that it sends; none if it is idle
	frames [][]byte
	first  uint32
}

type job struct {
	frames [][]byte
	first  uint32
}

type outcome struct {
	sent int
	err  error
}

// start has it work, until stop is called.
func (s *sideline) start(w batchWire) (stop func()) {
	if s.min == 0 {
		return func() {}
	}
	s.jobs, s.done = make(chan job, 1), make(chan outcome, 1)
	var working sync.WaitGroup
	working.Go(func() {
		for j := range s.jobs {
			sent, err := w.SendBatch(j.frames, j.first)
			s.done <- outcome{sent, err}
		}
	})
	return func() {
		close(s.jobs)
		working.Wait()
	}
}

// takes tells whether it sends a batch of so many.
func (s *sideline) takes(n int) bool { return s.min > 0 && n >= s.min }

// busy tells whether it has a batch that has not landed.
func (s *sideline) busy() bool { return len(s.batch) > 0 }

// launch has the batch sent beside, when the one before it has landed.
func (x *exchange) launch(at int64) int64 {
	if !x.land() {
		x.hold(x.batch)
		return x.retryAt
	}
	x.wire.Mute()
	s := &x.side
	s.first = x.depart(x.batch)
	s.batch, x.batch = x.batch, s.batch
	s.frames, x.batchFrames = x.batchFrames, s.frames
	s.jobs <- job{s.frames, s.first}
	return at
}

// land waits until what is sent beside has left. It is false if some of that had to
// be held, and so has to be what follows it.
func (x *exchange) land() (ok bool) {
	batch, frames, ok := x.landed()
	return ok && x.sendBatch(batch, frames)
}

// landed waits for it, and returns what of it is to be sent now.
func (x *exchange) landed() (batch []int32, frames [][]byte, ok bool) {
	s := &x.side
	if !s.busy() {
		return nil, nil, true
	}
	o := <-s.done
	batch = s.batch
	s.batch = s.batch[:0]
	return x.departed(batch, s.frames, s.first, o.sent, o.err)
}

// next is the next request to send, none32 if there is none now.
func (x *exchange) next() int32 {
	if i := x.lists[listedAgain].head; i != none32 {
		x.unlist(i)
		return i
	}
	if x.over && len(x.resend) == 0 || x.inUse() == x.window || !x.reserve() {
		return none32
	}
	p := parked{}
	if len(x.resend) > 0 {
		p = x.resend[0]
		x.resend = x.resend[1:]
	} else if p.frame, x.over = x.intake.take(); p.frame == nil {
		x.events.release()
		return none32
	} else {
		x.seq++
		p.seq = x.seq
	}
	var i int32
	if n := len(x.free); n > 0 {
		i = x.free[n-1]
		x.free = x.free[:n-1]
	} else {
		i = int32(len(x.flights))
		x.flights = append(x.flights, flight{})
	}
	f := &x.flights[i]
	*f = flight{frame: p.frame, seq: p.seq, tries: p.tries, last: p.last, gen: f.gen}
	x.expect(i)
	return i
}

// send sends what is due, and returns when there is something to send next.
func (x *exchange) send(now instant) (at int64) {
	x.batch, x.batchFrames = x.batch[:0], x.batchFrames[:0]
	if now.mono < x.retryAt {
		return x.retryAt
	}
	paced, used := x.schedule.interval > 0, 0
	if paced {
		x.schedule.skip(now.mono)
	}
	at = 0
	for len(x.batch) < batchLen {
		if paced && now.mono < x.schedule.next {
			at = x.schedule.next
			break
		}
		i := x.next()
		if i == none32 {
			at, used = never, x.inUse()
			x.schedule.next = max(x.schedule.next, now.mono)
			break
		}
		if paced {
			x.schedule.sent(1, now.mono)
		}
		x.batch = append(x.batch, i)
		x.batchFrames = append(x.batchFrames, x.flights[i].frame)
	}
	if len(x.batch) == 0 {
		return at
	}
	if len(x.expected) > 0 {
		// Known before the first leaves.
		err := x.filter.Expect(x.expected)
		if x.expected = x.expected[:0]; err != nil {
			x.fail(err)
			x.hold(x.batch)
			return 0
		}
	}
	if x.side.takes(len(x.batch)) {
		return x.launch(at)
	}
	if !x.land() {
		x.hold(x.batch)
	} else {
		x.sendBatch(x.batch, x.batchFrames)
	}
	if x.lists[listedAgain].head != none32 {
		at = 0
		if paced {
			at = x.schedule.next
		}
	}
	if at == never && x.inUse() < used {
		at = 0 // those that were refused have left room
	}
	return max(at, x.retryAt)
}

// hold puts requests back that did not leave.
func (x *exchange) hold(batch []int32) {
	for _, i := range batch {
		x.put(i, listedAgain)
	}
}

// sendBatch sends a batch. It is false if some of it had to be held.
func (x *exchange) sendBatch(batch []int32, frames [][]byte) (ok bool) {
	if len(batch) >= muteLen {
		x.wire.Mute()
	}
	for ok = true; len(batch) > 0; {
		first := x.depart(batch)
		n, err := x.wire.SendBatch(frames, first)
		batch, frames, ok = x.departed(batch, frames, first, n, err)
	}
	return ok
}

// depart has the requests of a batch be waited for, which are about to leave, with
// stamp ids from the first on.
func (x *exchange) depart(batch []int32) (first uint32) {
	first = x.outbox.last + 1
	sent := x.now()
	for _, i := range batch {
		f := &x.flights[i]
		f.gen++
		f.tries++
		f.before, f.last = f.last, departure{sent: sent}
		f.leaving = true
		x.outbox.add(x, x.number(i))
		x.put(i, listedOut)
	}
	return first
}

// departed takes what became of them: n have left. It returns those that are to be
// sent now, after an error that was of one among them alone. Any other has it hold
// them, and is not ok.
func (x *exchange) departed(batch []int32, frames [][]byte, first uint32, n int, err error) (_ []int32, _ [][]byte, ok bool) {
	x.unread += uint64(n)
	x.counts.sent.Add(uint64(n))
	for _, i := range batch {
		f := &x.flights[i]
		if f.leaving = false; f.ended && f.holding == 0 {
			x.empty(i)
		}
	}
	if err == nil {
		x.cleared()
		return nil, nil, true
	}
	x.outbox.refused(first + uint32(n))
	refused := batch[n]
	left := 0
	for k, i := range batch[n:] {
		f := &x.flights[i]
		if f.frame == nil {
			continue // answered unasked, and told of
		}
		f.tries--
		f.last = f.before
		if f.answers > 0 {
			x.end(i) // by what it did not ask
			continue
		}
		x.unlist(i)
		batch[left], frames[left] = i, frames[n+k]
		left++
	}
	batch, frames = batch[:left], frames[:left]
	if !x.refused(err) {
		x.hold(batch)
		return nil, nil, false
	}
	if left > 0 && batch[0] == refused {
		x.finish(refused, fmt.Errorf("send on %s: %w", x.name, err))
		batch, frames = batch[1:], frames[1:]
	}
	return batch, frames, true
}

// refused takes the error of a request, and tells whether it is that request's own.
func (x *exchange) refused(err error) bool {
	gone := goneError(err)
	switch {
	case x.full(err, x.now().mono, x.timeout, x.schedule.backOff()):
		x.counts.sendRetries.Add(1)
		return false
	case x.link.Err() != nil:
		x.fail(x.link.Err())
		return false
	case gone != nil:
		x.fail(gone)
		return false
	}
	if !isFull(err) { // else the next one need not wait for as long again
		x.cleared()
	}
	return true
}
