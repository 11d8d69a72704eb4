//go:build linux

package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/sock"
	"github.com/l2ping/l2ping/internal/sock/classic"
	"github.com/l2ping/l2ping/l2"
)

// sockets are the way out and the way in of a run by one interface, with what
// waits for either and what watches the interface: a wire.
type sockets struct {
	watch   *l2.Watch
	in      *capture.Socket
	out     *l2.Link
	loop    *sock.Loop
	restore func() error // the NIC's setting; nil if it was not changed

	spin    bool
	watched bool // the error queue ends a wait
}

// A socketWire is the wire that sockets are: its methods are not those of what has
// them embedded.
type socketWire sockets

func (s *sockets) wire() *socketWire { return (*socketWire)(s) }

// Send, SendBatch, ReadStamps and Receive are those of the sockets.
func (s *socketWire) Send(b []byte, id uint32) error { return s.out.Send(b, id) }

func (s *socketWire) SendBatch(frames [][]byte, firstID uint32) (int, error) {
	return s.out.SendBatch(frames, firstID)
}

// Mute spares the wake-ups of frames that come while others are sent.
func (s *socketWire) Mute() { s.loop.Mute() }

func (s *socketWire) ReadStamps(stamps []l2.Stamp) (int, bool, error) {
	return s.out.ReadStamps(stamps)
}

func (s *socketWire) Receive(frames []capture.Frame) (int, error) { return s.in.Receive(frames) }

// Run is that of a wire.
func (s *socketWire) Run(turn func() (wait time.Duration, stamps, done bool)) error {
	if s.spin {
		// A thread of its own keeps its caches.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for {
			if _, _, done := turn(); done {
				return nil
			}
		}
	}
	var failed error
	err := s.loop.Run(func() (time.Duration, bool) {
		wait, stamps, done := turn()
		if stamps != s.watched {
			failed = s.loop.WatchErrors(s.out.FD(), stamps)
			s.watched = stamps
		}
		return wait, done || failed != nil
	})
	return errors.Join(err, failed)
}

// points says which stamps are to be had, and why none better if the choice was
// left open. Arrivals are stamped by the kernel itself, whatever the driver.
func (s *sockets) points(ifc *l2.Interface, want Timestamps, setHardware bool) (best points, why error, err error) {
	if setHardware {
		if s.restore, err = ifc.SetHardwareStamps(); err != nil {
			return points{}, nil, err
		}
	}
	if want == TimestampsUser {
		return points{departure: l2.StampUser}, nil, nil
	}
	ability, err := ifc.Stamps()
	best.departure = ability.Departure
	switch want {
	case TimestampsSched:
		best.departure = l2.StampSched
	case TimestampsDriver:
		if ability.Departure != l2.StampDriver {
			if err == nil {
				err = errNoDepartures
			}
			return points{}, nil, noStamps{fmt.Errorf("no driver stamps on %s: %w", ifc.Name, err)}
		}
	default:
		if why = ability.HardwareNow(); err != nil {
			why = err
		}
		best.hardware = why == nil
		if why != nil && want == TimestampsHardware {
			return points{}, nil, noStamps{why}
		}
		if best.departure != l2.StampDriver {
			why = errNoDepartures
		}
	}
	return best, why, nil
}

// openIn opens the way in, and has it stamp if it is to be warm, while its filter is
// made: that takes the kernel some milliseconds, most of them for the verifier. It is
// made by the calling thread, with whose capabilities that is.
func (s *sockets) openIn(ifc *l2.Interface, cfg capture.SocketConfig, warm bool, filter func() (capture.Filter, error)) error {
	cfg.Filter = classic.Filter(bpf.DropAll())
	in, err := capture.OpenSocket(ifc, cfg)
	if err == nil {
		s.in = in
		if warm {
			// So that what is sent first is as true as what is sent last.
			wait := in.StartWarmUp()
			defer wait()
		}
	}
	made, failed := filter()
	switch {
	case failed != nil:
		return failed
	case err != nil:
		return err
	}
	return in.SetFilter(made)
}

// openOut opens the way out with those stamps, and otherwise as cfg says. why is not
// nil where the kernel gives none by the NIC after all: then has says so.
func (s *sockets) openOut(ifc *l2.Interface, has *points, want Timestamps, cfg l2.LinkConfig) (why error, err error) {
	cfg.NoStamps, cfg.Hardware = has.departure == l2.StampUser, has.hardware
	cfg.NoSched = cfg.NoSched && has.departure == l2.StampDriver
	if s.out, err = l2.OpenLink(ifc, &cfg); err != nil {
		return nil, err
	}
	if !has.hardware || s.out.Hardware() {
		return nil, nil
	}
	has.hardware = false
	why = errors.New("this kernel gives no stamps of driver and NIC together")
	if want == TimestampsHardware {
		return nil, noStamps{fmt.Errorf("no hardware stamps on %s: %w", ifc.Name, why)}
	}
	return why, nil
}

// open is what is open of the sockets.
func (s *sockets) open() []io.Closer {
	var list []io.Closer
	if s.in != nil {
		list = append(list, s.in)
	}
	if s.out != nil {
		list = append(list, s.out)
	}
	if s.watch != nil {
		list = append(list, s.watch)
	}
	if s.loop != nil {
		list = append(list, s.loop)
	}
	return list
}

// close closes them, and others with them, and puts the NIC's setting back.
func (s *sockets) close(others ...io.Closer) error {
	err := sock.CloseAll(append(s.open(), others...)...)
	if s.restore != nil {
		err = errors.Join(err, s.restore())
	}
	return err
}

// errExited says that what a caller gave us ended the goroutine that called it, as
// testing.T.FailNow does.
var errExited = errors.New("the goroutine was ended (runtime.Goexit)")

// launch has run run until it is done, ctx is, or finish is called, which waits for
// it. end makes run return, and may be called at any time until then; beside runs
// as long as run does, until its channel is closed.
func launch(ctx context.Context, run func() error, end func(), beside func(<-chan struct{}), last func()) (finish func() error) {
	ended := make(chan struct{})
	release := context.AfterFunc(ctx, func() {
		end()
		close(ended)
	})
	done := make(chan struct{})
	var besides sync.WaitGroup
	besides.Go(func() { beside(done) })
	result := make(chan error, 1)
	go func() {
		err := errExited
		defer func() {
			if p := recover(); p != nil {
				panic(p) // before anybody is told of an end
			}
			close(done)
			besides.Wait()
			last()
			result <- err
		}()
		err = run()
	}()
	return sync.OnceValue(func() error {
		end()
		err := <-result
		if !release() {
			<-ended // it is about to use what end does
		}
		return err
	})
}
