//go:build linux

package sock

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A Poller waits for sockets, for a deadline, and for Wake. One goroutine,
// locked to its thread, waits; any may call Wake.
type Poller struct {
	fds    []unix.PollFd // the first is the event descriptor
	event  int
	awoken atomic.Bool
}

// NewPoller opens a Poller over the given descriptors, which stay the
// caller's.
func NewPoller(fds ...int) (*Poller, error) {
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open event descriptor: %w", os.NewSyscallError("eventfd", err))
	}
	p := &Poller{event: event, fds: make([]unix.PollFd, 1, len(fds)+2)} // room for Wait's errfd
	p.fds[0] = unix.PollFd{Fd: int32(event), Events: unix.POLLIN}
	for _, fd := range fds {
		p.fds = append(p.fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	return p, nil
}

// Wait returns when a descriptor is readable or in error, when Wake was
// called, when d has passed, or when a signal interrupted it; d below zero
// means no limit. With errfd not below zero that descriptor's error queue ends
// the wait too: poll(2) cannot be told to leave POLLERR out, so it is listened
// to only then.
func (p *Poller) Wait(d time.Duration, errfd int) error {
	fds := p.fds
	if errfd >= 0 {
		fds = append(fds, unix.PollFd{Fd: int32(errfd)})
	}
	var timeout *unix.Timespec
	if d >= 0 {
		ts := unix.NsecToTimespec(int64(d))
		timeout = &ts
	}
	n, err := unix.Ppoll(fds, timeout, nil)
	if err == unix.EINTR {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wait: %w", os.NewSyscallError("ppoll", err))
	}
	if n > 0 && fds[0].Revents != 0 {
		// In this order: a Wake in between finds awoken set and does not
		// write, and the caller looks at what it announces after this return.
		var b [8]byte
		_, _ = unix.Read(p.event, b[:])
		p.awoken.Store(false)
	}
	return nil
}

// Wake ends the present Wait, or the next one.
func (p *Poller) Wake() {
	if p.awoken.Swap(true) {
		return // the event descriptor is still set
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(p.event, one[:])
}

// Close closes the event descriptor. No Wake may follow.
func (p *Poller) Close() error {
	return os.NewSyscallError("close", unix.Close(p.event))
}
