//go:build linux

package probe

import (
	"sync"
	"time"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
)

// An inbox is what an engine in a synctest bubble can read: the frames and the
// departure stamps that have come. Timers fill it, the engine's goroutine empties
// it.
type inbox struct {
	guard   sync.Mutex
	frames  []capture.Frame
	stamps  []l2.Stamp
	arrived chan struct{}
}

func newInbox() *inbox { return &inbox{arrived: make(chan struct{}, 1)} }

func (in *inbox) putFrame(f capture.Frame) {
	in.guard.Lock()
	defer in.guard.Unlock()
	in.frames = append(in.frames, f)
}

func (in *inbox) putStamp(s l2.Stamp) {
	in.guard.Lock()
	defer in.guard.Unlock()
	in.stamps = append(in.stamps, s)
}

// wake ends the engine's wait, or the next one.
func (in *inbox) wake() {
	select {
	case in.arrived <- struct{}{}:
	default:
	}
}

// unread is how many frames and stamps nobody has read.
func (in *inbox) unread() (frames, stamps int) {
	in.guard.Lock()
	defer in.guard.Unlock()
	return len(in.frames), len(in.stamps)
}

func (in *inbox) Receive(frames []capture.Frame) (int, error) {
	in.guard.Lock()
	defer in.guard.Unlock()
	n := copy(frames, in.frames)
	in.frames = in.frames[n:]
	return n, nil
}

func (in *inbox) ReadStamps(stamps []l2.Stamp) (int, bool, error) {
	in.guard.Lock()
	defer in.guard.Unlock()
	n := copy(stamps, in.stamps)
	in.stamps = in.stamps[n:]
	return n, n == len(stamps), nil
}

// loop takes turns until the last, each until something arrives or its time is
// over, and does something after each.
func (in *inbox) loop(turn func() (time.Duration, bool, bool), after func()) error {
	for {
		wait, _, done := turn()
		after()
		if done {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-in.arrived:
		case <-timer.C:
		}
		timer.Stop()
	}
}
