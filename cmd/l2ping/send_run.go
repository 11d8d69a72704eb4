//go:build linux

package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/cmd/l2ping/internal/craft"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/render"
	"github.com/l2ping/l2ping/l2"
)

const (
	// sendBatch is how many frames one system call sends.
	sendBatch = 64
	// fullFor is how long an interface's queue may be full without a frame that
	// leaves, fullPause the time between two tries.
	fullFor   = 2 * time.Second
	fullPause = 50 * time.Microsecond
)

// A plainSending sends, and waits for nothing.
type plainSending struct {
	*sending
	out   *l2.Link
	batch [][]byte
	at    []place // of the batch's frames
	id    uint32
	first time.Time // when the first frame was due
	// dropped is whether an interrupt has left frames in the batch.
	dropped bool
	stopped error // the first, of what was sent while something was waited for
}

// plain sends all frames.
func (s *sending) plain() (err error) {
	p := &plainSending{sending: s, batch: make([][]byte, 0, sendBatch), at: make([]place, 0, sendBatch)}
	err = s.source.inNetns(func() (err error) {
		if s.watch, err = s.ifc.Watch(); err != nil {
			return err
		}
		p.out, err = l2.OpenLink(s.ifc, &l2.LinkConfig{NoStamps: true, Bypass: s.noQdisc, Mark: uint32(s.mark)})
		return err
	})
	if err != nil {
		return err
	}
	defer func() { err = firstError(err, p.out.Close()) }()
	s.tellRefused(p.out.MarkRefused())
	s.idle = func() { p.stopped = firstError(p.stopped, p.send()) }
	if s.live {
		defer s.quitWhenGone()()
	}
	s.begin()
	end := s.tellStatus(func() render.SendEnd {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.counts
	})
	if err = p.run(); err == nil {
		err = p.send()
	} else if left := p.send(); left != nil {
		err = left // what is ahead of a bad frame leaves before that is told
	}
	if err == nil && s.live {
		err = s.carries() // that may be the end of it
	}
	end()
	if errors.Is(err, s.ctx.Err()) {
		err = nil
	}
	if p.leftOut() {
		s.e.exit = exitNoReply
	}
	return s.finish(err)
}

// leftOut tells whether frames were to be sent that were not. What an interrupt has cut
// off is, but of rounds without end.
func (p *plainSending) leftOut() bool {
	switch {
	case p.counts.NotSent > 0:
		return true
	case p.rounds == 0:
		return p.counts.Sent == 0
	}
	return p.dropped || !p.complete
}

// tellRefused tells why frames bear no mark, if they were to.
func (s *sending) tellRefused(why error) {
	if why != nil {
		fmt.Fprintf(s.e.stderr, "l2ping: frames bear no mark: %s\n", s.e.explain(why))
	}
}

func (p *plainSending) run() error {
	number := uint64(0)
	for f, err := range p.frames() {
		number++
		if p.stopped != nil {
			return p.stopped
		}
		if isPassedOver(err) {
			p.notSent(number, err)
			if err := p.failed(); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := p.take(&f); err != nil {
			return err
		}
		if p.ctx.Err() != nil {
			p.batch, p.at = p.batch[:0], p.at[:0]
			return nil
		}
	}
	return p.stopped
}

// take sends a frame when it is due, with others if it may.
func (p *plainSending) take(f *craft.Frame) error {
	p.settle()
	if p.first.IsZero() {
		p.first = time.Now()
	}
	if p.pace.interval > 0 || p.pace.replay {
		now := time.Now()
		if due := p.pace.due(now, f.Time); due.After(now) {
			if err := p.send(); err != nil {
				return err
			}
			if err := p.pause(due); err != nil {
				return err
			}
			if p.ctx.Err() != nil {
				return nil
			}
		}
	}
	p.at = append(p.at, p.sending.at)
	if p.batch = append(p.batch, f.Bytes); len(p.batch) < sendBatch {
		return nil
	}
	return p.send()
}

// send sends the batch.
func (p *plainSending) send() error {
	batch, at := p.batch, p.at
	defer func() { p.batch, p.at = p.batch[:0], p.at[:0] }()
	var full time.Time
	for len(batch) > 0 {
		// A frame that no carrier takes away is lost without an error.
		if err := firstError(p.carries(), p.failed()); err != nil {
			return err
		}
		n, err := p.out.SendBatch(batch, p.id)
		p.id += uint32(n)
		p.count(n, 0)
		if p.file != nil {
			now := time.Now().UnixNano()
			for i, b := range batch[:n] {
				if err := p.keepSent(b, now, p.counts.Sent-uint64(n-i-1)); err != nil {
					return err
				}
			}
		}
		batch, at = batch[n:], at[n:]
		switch {
		case err == nil:
			continue
		case !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EAGAIN):
			return p.why(at[0], batch[0], err)
		case n > 0 || full.IsZero():
			full = time.Now()
		case time.Since(full) > fullFor:
			return fmt.Errorf("send on %s: its queue has been full for %v", p.ifc.Name, fullFor)
		}
		p.count(0, 1)
		if p.ctx.Err() != nil {
			p.dropped = true
			return nil
		}
		waitUntil(p.ctx, time.Now().Add(fullPause), nil)
	}
	return nil
}

// count counts frames that left, and how often the queue was full.
func (p *plainSending) count(sent int, full uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counts.Full += full; sent > 0 {
		p.counts.Sent += uint64(sent)
		p.counts.Span = time.Since(p.first)
	}
}

// why is the reason for a frame that did not leave.
func (s *sending) why(at place, b []byte, err error) error {
	for _, errno := range []error{unix.ENETDOWN, unix.ENXIO, unix.ENODEV} {
		if errors.Is(err, errno) {
			return s.lost(err)
		}
	}
	return s.ofFrame(at, s.inWords(b, fmt.Errorf("send on %s: %w", s.ifc.Name, err)))
}

// inWords is the kernel's error of a frame. Where that is longer than the MTU, which was
// another when the frame was checked, it says so as that check does.
func (s *sending) inWords(b []byte, err error) error {
	if !errors.Is(err, unix.EMSGSIZE) {
		return err
	}
	if s.lately == (craft.Link{}) || s.lately.Check(b) == nil {
		now, lookup := s.way.routing.Interface(s.ifc.Name)
		if lookup != nil {
			return err
		}
		s.lately = s.link
		s.lately.MTU = now.MTU
	}
	if long := s.lately.Check(b); long != nil {
		return long
	}
	return err
}

// carries says why nothing leaves by the interface any more, if that is so, as the
// kernel has told it.
func (s *sending) carries() error {
	if s.watch == nil {
		return nil
	}
	if s.watch.Remade() > 0 {
		return s.lost(unix.ENODEV)
	}
	if err := s.watch.Err(); err != nil {
		return s.lost(err)
	}
	return nil
}

// quitWhenGone ends the wait for frames when nothing leaves by the interface any more,
// until the function that it returns is called.
func (s *sending) quitWhenGone() (end func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-s.watch.Changes():
				if s.watch.Remade() > 0 || s.watch.Err() != nil {
					s.quit()
					return
				}
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

// pause waits until a time has come, or the interrupt. Its error is that of carries.
func (s *sending) pause(due time.Time) error {
	var changes <-chan struct{}
	if s.watch != nil {
		changes = s.watch.Changes()
	}
	for {
		if err := s.carries(); err != nil {
			return err
		}
		if !waitUntil(s.ctx, due, changes) {
			return nil
		}
	}
}

// lost is the reason why nothing leaves by the interface any more.
func (s *sending) lost(err error) error {
	now, lookup := s.way.routing.Interface(s.ifc.Name)
	missing := (*l2.NoInterfaceError)(nil)
	what := "went down"
	switch {
	case errors.As(lookup, &missing), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV), lookup == nil && now.Index != s.ifc.Index:
		what = "is gone"
	case errors.Is(err, l2.ErrNoCarrier):
		what = "has no carrier"
	}
	return fmt.Errorf("send on %s: the interface %s", s.ifc.Name, what)
}

// usable says why nothing leaves by the interface any more, if that is so.
func (s *sending) usable() error {
	now, err := s.way.routing.Interface(s.ifc.Name)
	if missing := (*l2.NoInterfaceError)(nil); errors.As(err, &missing) {
		return s.lost(err)
	}
	if err != nil {
		return nil // what was found out before stands
	}
	if err := now.Usable(); err != nil || now.Index != s.ifc.Index {
		return s.lost(err)
	}
	return nil
}
