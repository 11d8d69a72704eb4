//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/cmd/l2ping/internal/render"
	"github.com/l2ping/l2ping/l2"
)

// fall takes an error of the ring. An interface that went down may come up again, and
// the ring hears then: that is told, and is no error. One that is gone does not.
func (l *liveCapture) fall(err error) error {
	switch {
	case errors.Is(err, unix.ENODEV):
		return l.gone()
	case !errors.Is(err, unix.ENETDOWN):
		return err
	case l.down != nil:
		return nil // it was up for less than a turn
	}
	if failed := l.f.source.inNetns(func() (err error) {
		l.down, err = l.ifc.Watch()
		return err
	}); failed != nil {
		return fmt.Errorf("capture on %s: the interface went down: %w", l.ifc.Name, failed)
	}
	if l.down.Index() != l.ifc.Index {
		return l.gone()
	}
	return l.tellState(false)
}

// rise tells when the interface that went down is up again. Another of its name is
// another: of that one the ring hears nothing, and says so.
func (l *liveCapture) rise() error {
	if l.down == nil || errors.Is(l.down.Err(), l2.ErrDown) || l.down.Index() != l.ifc.Index || l.down.Remade() > 0 {
		return nil
	}
	l.unwatch()
	return l.tellState(true)
}

func (l *liveCapture) gone() error {
	return fmt.Errorf("capture on %s: the interface is gone", l.ifc.Name)
}

// unwatch no longer follows the interface.
func (l *liveCapture) unwatch() {
	if l.down != nil {
		_ = l.down.Close()
		l.down = nil
	}
}

func (l *liveCapture) tellState(up bool) error {
	if l.json != nil {
		return firstError(outputError(l.json.Change(&render.CaptureChange{
			Time: time.Now(), Interface: l.ifc.Name, Up: up,
		})), outputError(l.out.Flush()))
	}
	if up {
		fmt.Fprintf(l.e.stderr, "l2ping: %s is up again\n", l.ifc.Name)
	} else {
		fmt.Fprintf(l.e.stderr, "l2ping: %s went down: the capture goes on when it is up again\n", l.ifc.Name)
	}
	return nil
}

// endOnChange has a change of the interface that is down end a turn, until the
// function is called that it returns, which ends the turn itself.
func (l *liveCapture) endOnChange(turn context.Context, cancel context.CancelFunc) (end func()) {
	if l.down == nil {
		return cancel
	}
	changes := l.down.Changes()
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-changes:
			cancel()
		case <-turn.Done():
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}
