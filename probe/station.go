//go:build linux

package probe

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
)

const (
	// unreadStamps is after how many frames the error queue is read though
	// nobody asks, so that it does not fill with the stamps of those that nobody
	// answers.
	unreadStamps = 64
	// never is a time that does not come.
	never = int64(MaxDuration) * 2
)

// A station is what every run has, be it a ping or an exchange: the frames that
// left with the stamps that come for them, the answers that wait for these, and
// an interface whose queue may be full. A is an answer, S who sends.
type station[A any, P landed[A], S sender] struct {
	outbox[S]
	backlog
	held      []A
	impatient int    // answers in a row whose stamp did not come in time
	unread    uint64 // frames since the error queue was read

	frames []capture.Frame
	stamps []l2.Stamp
}

// landed is a pointer to an answer.
type landed[A any] interface {
	*A
	landed() *landing
}

// newStation makes room for the stamps of so many frames that are out.
func newStation[A any, P landed[A], S sender](outstanding int64) station[A, P, S] {
	return station[A, P, S]{
		outbox: newOutbox[S](outstanding),
		held:   make([]A, 0, 256),
		frames: make([]capture.Frame, capture.MinFrames),
		stamps: make([]l2.Stamp, l2.MinStamps),
	}
}

// send sends a frame, whose stamps are those of its sender's request n; of none
// if that is 0.
func (s *station[A, P, S]) send(w wire, frame []byte, of S, n uint64) error {
	s.unread++
	return w.Send(frame, s.outbox.add(of, n))
}

// readStamps reads the departure stamps that have come.
func (s *station[A, P, S]) readStamps(w wire, has points) {
	if has.departure == l2.StampUser {
		return
	}
	s.unread = 0
	for {
		n, more, err := w.ReadStamps(s.stamps)
		for i := range s.stamps[:n] {
			stamp := &s.stamps[i]
			d := s.outbox.departure(stamp.ID)
			if d == nil {
				continue
			}
			d.take(stamp)
			if stamp.Point == l2.StampHardware {
				s.impatient = 0 // they come, if after the reply
			}
		}
		if !more || err != nil {
			return
		}
	}
}

// wantsStamps tells whether the error queue is to be read.
func (s *station[A, P, S]) wantsStamps() bool { return len(s.held) > 0 || s.unread >= unreadStamps }

// patience is until when an answer is held for its request's stamps.
func (s *station[A, P, S]) patience(got instant) int64 {
	if s.impatient >= patienceTries {
		return got.mono
	}
	return got.mono + int64(stampPatience)
}

// A settler knows the requests that answers are for.
type settler[P any] interface {
	// departureOf is the departure that an answer is measured from, nil if it is
	// forgotten, and whether the request left at all.
	departureOf(answer P) (d *departure, left bool)
	// settled takes an answer that has waited long enough.
	settled(answer P, now instant)
}

// settle hands on the answers that have their stamps, or have waited long enough,
// in the order in which they came.
func (s *station[A, P, S]) settle(now instant, has points, by settler[P]) {
	i := 0
	for ; i < len(s.held); i++ {
		p := P(&s.held[i])
		a := p.landed()
		d, left := by.departureOf(p)
		if has.lacksStamp(d, left, a) {
			if now.mono < a.until {
				break
			}
			s.impatient++
		} else {
			s.impatient = 0
		}
		by.settled(p, now)
	}
	s.held = append(s.held[:0], s.held[i:]...)
}

// heldUntil is when the answer that has waited longest has done so.
func (s *station[A, P, S]) heldUntil() int64 {
	if len(s.held) == 0 {
		return never
	}
	return P(&s.held[0]).landed().until
}

// A backlog is an interface's queue that was full.
type backlog struct {
	retryAt  int64 // not before this time, 0 if it was not
	retrying int64 // since when
}

// full tells whether a frame that could not leave is to be tried again, after a
// time to back off: its interface's queue was full (ENOBUFS, packet(7); EAGAIN with
// as much in flight as SO_SNDBUF allows), as ping does. A queue that stays full for
// a whole timeout has come to a stop.
func (b *backlog) full(err error, now, timeout, backOff int64) bool {
	if !isFull(err) {
		return false
	}
	if b.retrying == 0 {
		b.retrying = now
	} else if now-b.retrying >= timeout {
		return false
	}
	b.retryAt = now + backOff
	return true
}

// isFull tells whether an error of sending says that there is no room.
func isFull(err error) bool {
	return errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOMEM)
}

// cleared says that it has room again.
func (b *backlog) cleared() { b.retryAt, b.retrying = 0, 0 }

// goneError is an error of sending that is the interface's, which is down or away, as
// l2.Watch will tell too, and nil for any other.
func goneError(err error) error {
	for _, errno := range []error{unix.ENETDOWN, unix.ENXIO, unix.ENODEV} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: %w", l2.ErrDown, err)
		}
	}
	return nil
}
