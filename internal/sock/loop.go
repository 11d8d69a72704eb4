//go:build linux

package sock

import (
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Loop calls a function whenever it may have something to do: a descriptor
// is readable, a time has come, or somebody called Wake.
//
// It waits in the runtime's own poller, by one epoll instance that holds the
// descriptors and a timerfd. A goroutine that blocks in ppoll(2) instead keeps
// the runtime's monitor awake, which takes the processor away and gives it
// back: at 100 waits a second that cost more than the work. And the timers of
// the runtime have the grain of a millisecond, a timerfd that of the clock.
type Loop struct {
	file  *os.File // the epoll instance
	conn  syscall.RawConn
	epoll int
	timer int
	began time.Time
	armed int64 // when the timer goes off, in nanoseconds since began
	spec  unix.ItimerSpec
	fds   []int
	deaf  bool // to what comes on fds
}

// NewLoop opens a Loop over the given descriptors, which stay the caller's.
func NewLoop(fds ...int) (*Loop, error) {
	l := &Loop{timer: -1, began: time.Now(), fds: fds}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("open epoll instance: %w", os.NewSyscallError("epoll_create1", err))
	}
	// Only what does not block is polled by the runtime.
	if err := unix.SetNonblock(l.epoll, true); err != nil {
		return nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(l.epoll))
	}
	l.file = os.NewFile(uintptr(l.epoll), "epoll")
	if err := l.setUp(fds); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Loop) setUp(fds []int) error {
	var err error
	if l.conn, err = l.file.SyscallConn(); err != nil {
		return fmt.Errorf("open epoll instance: %w", err)
	}
	if l.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return fmt.Errorf("open timer: %w", os.NewSyscallError("timerfd_create", err))
	}
	for _, fd := range append([]int{l.timer}, fds...) {
		if err := l.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN); err != nil {
			return err
		}
	}
	return nil
}

func (l *Loop) control(op, fd int, events uint32) error {
	event := unix.EpollEvent{Events: events, Fd: int32(fd)}
	if err := unix.EpollCtl(l.epoll, op, fd, &event); err != nil {
		return fmt.Errorf("watch descriptor: %w", os.NewSyscallError("epoll_ctl", err))
	}
	return nil
}

// WatchErrors has an error on a descriptor, such as a message on its error
// queue, call the function too, or no more. epoll cannot be told to leave errors
// out, so a descriptor is in it only while they are wanted.
func (l *Loop) WatchErrors(fd int, on bool) error {
	if on {
		return l.control(unix.EPOLL_CTL_ADD, fd, 0)
	}
	return l.control(unix.EPOLL_CTL_DEL, fd, 0)
}

// Mute has what comes on the descriptors of NewLoop wake nobody until the step that
// calls it has returned; the step is called once more then. Each frame else wakes a
// thread of the runtime's, which finds the step busy: a fifth of the time of sending
// many frames whose answers come at once.
func (l *Loop) Mute() {
	if !l.deaf {
		l.deaf = true
		_ = l.listen(0) // at worst they wake
	}
}

// listen has events on the descriptors count. Of those that are there already it
// says nothing if it has said so before (fs/eventpoll.c, ep_modify).
func (l *Loop) listen(events uint32) error {
	for _, fd := range l.fds {
		if err := l.control(unix.EPOLL_CTL_MOD, fd, events); err != nil {
			return err
		}
	}
	return nil
}

// Run calls step until it says that it is done. Step returns for how long there
// is nothing to do; it is called again after that time or earlier. What it
// leaves unread on a descriptor does not bring it back: it has to read until
// there is nothing more.
func (l *Loop) Run(step func() (wait time.Duration, done bool)) error {
	var failed error
	for {
		err := l.conn.Read(func(uintptr) bool {
			wait, done := step()
			for l.deaf && !done {
				l.deaf = false
				if failed = l.listen(unix.EPOLLIN); failed != nil {
					return true
				}
				wait, done = step() // for what came meanwhile
			}
			if !done {
				l.arm(wait)
			}
			return done
		})
		if failed != nil {
			return failed
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		// A Wake. One that comes after this line ends the next wait; what one
		// before it announces, the next step sees.
		if err := l.file.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
	}
}

// arm sets the timer, unless it goes off early enough by itself: most waits are
// for one and the same time. It is a raw system call: the runtime need not know
// of what does not block.
func (l *Loop) arm(d time.Duration) {
	d = max(d, 1) // 0 is never (timerfd_settime(2))
	now := int64(time.Since(l.began))
	at := now + int64(d)
	if at < now {
		at = math.MaxInt64
	}
	if l.armed > now && l.armed <= at {
		return
	}
	l.armed = at
	l.spec.Value = unix.NsecToTimespec(int64(d))
	_, _, _ = unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, uintptr(l.timer), 0, uintptr(unsafe.Pointer(&l.spec)), 0, 0, 0)
}

// Wake has step called soon, now or when Run starts. It may be called at any
// time, from any goroutine.
func (l *Loop) Wake() {
	_ = l.file.SetReadDeadline(time.Unix(1, 0)) // past
}

// Close closes what NewLoop has opened. Run must have returned.
func (l *Loop) Close() error {
	err := l.file.Close()
	if l.timer >= 0 {
		err = errors.Join(err, os.NewSyscallError("close", unix.Close(l.timer)))
		l.timer = -1
	}
	return err
}
