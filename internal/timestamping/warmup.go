//go:build linux

package timestamping

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Of a warm-up: how long it is tried, how long between two tries, how many in a row
// have to be stamped, and how long to wait where it cannot be tried. Here the
// kernel took up to 3 ms.
const (
	warmUpLimit = 100 * time.Millisecond
	warmUpPause = 200 * time.Microsecond
	warmUpTries = 2
	warmUpBlind = 10 * time.Millisecond
)

// StartWarmUp waits until the kernel stamps what arrives. It does so only while a
// socket on the host wants that, and begins with a delay: the switch is thrown by
// a work queue (net/core/dev.c, net_enable_timestamp). A datagram that this
// process sends to itself over the loopback interface of the calling thread's
// network namespace tells; where there is no such interface, or it is down, the
// time that it may take is waited for. wait is false if the kernel still does not
// stamp.
//
// Of a switch that is just being thrown the other way, because the last socket was
// closed a moment ago, nobody can know: netstamp_clear has decided, and acts when
// it is given a CPU. That as good as no frame meets that, two tries see to.
//
// It goes on while something else is done: wait returns when it has ended. That has
// to be called, and may be from any goroutine.
func StartWarmUp() (wait func() bool) {
	done := make(chan bool, 1)
	fd, err := openSelf()
	go func() {
		if err == nil {
			var warm bool
			warm, err = hearsStamps(fd)
			if _ = unix.Close(fd); err == nil {
				done <- warm
				return
			}
		}
		time.Sleep(warmUpBlind)
		done <- true
	}()
	return func() bool { return <-done }
}

// openSelf opens a socket that is connected to itself, and so hears nobody else.
func openSelf() (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open socket: %w", os.NewSyscallError("socket", err))
	}
	if err := connectToSelf(fd); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func connectToSelf(fd int) error {
	if err := Enable(fd, Receive); err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	self, err := unix.Getsockname(fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	return os.NewSyscallError("connect", unix.Connect(fd, self))
}

// hearsStamps tells whether what such a socket sends to itself comes to be stamped.
func hearsStamps(fd int) (bool, error) {
	stamped := 0
	for limit := time.Now().Add(warmUpLimit); ; time.Sleep(warmUpPause) {
		if _, err := unix.Write(fd, []byte{0}); err != nil {
			return false, os.NewSyscallError("write", err)
		}
		var control [ControlLen]byte
		_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 1), control[:], 0)
		if err != nil && err != unix.EAGAIN {
			return false, os.NewSyscallError("recvmsg", err)
		}
		var a Arrival
		if ParseArrival(control[:n], &a); a.Software == 0 {
			stamped = 0
		} else if stamped++; stamped == warmUpTries {
			return true, nil
		}
		if time.Now().After(limit) {
			return false, nil
		}
	}
}
