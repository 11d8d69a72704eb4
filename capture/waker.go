//go:build linux

package capture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A waker waits for a socket, and for the end of a context.
//
// It waits in the runtime's poller. A goroutine that blocks in ppoll(2) wakes the
// runtime's monitor whenever it comes back, which then looks around every 20 us for
// a while: at 300 blocks a second that was a third of what a capture cost. An epoll
// instance of its own between the two spares the poller the events of a socket that
// can be written to.
type waker struct {
	socket int
	file   *os.File // an epoll instance
	conn   syscall.RawConn

	called atomic.Bool
	end    func() // of on
	ready  func(uintptr) bool
	failed bool
	err    error
}

// open has the waker wait until there is something on a socket: until ours is true,
// which may be known without asking the kernel, or the kernel says so.
func (w *waker) open(socket int, ours func() bool) error {
	w.socket = socket
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open epoll instance: %w", os.NewSyscallError("epoll_create1", err))
	}
	// Only what does not block is polled by the runtime.
	if err := unix.SetNonblock(epoll, true); err != nil {
		return errors.Join(os.NewSyscallError("fcntl", err), unix.Close(epoll))
	}
	w.file = os.NewFile(uintptr(epoll), "epoll")
	if w.conn, err = w.file.SyscallConn(); err != nil {
		return fmt.Errorf("open epoll instance: %w", err)
	}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, socket, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(socket)}); err != nil {
		return fmt.Errorf("watch descriptor: %w", os.NewSyscallError("epoll_ctl", err))
	}
	w.ready = func(uintptr) bool {
		if w.failed = false; ours() {
			return true
		}
		var revents int16
		revents, w.err = w.poll()
		w.failed = revents&^unix.POLLIN != 0
		return revents != 0 || w.err != nil
	}
	return nil
}

// poll asks what there is on the socket, without waiting.
func (w *waker) poll() (int16, error) {
	fds := [1]unix.PollFd{{Fd: int32(w.socket), Events: unix.POLLIN}}
	var now unix.Timespec
	for {
		_, err := unix.Ppoll(fds[:], &now, nil)
		switch {
		case err == nil:
			return fds[0].Revents, nil
		case err != unix.EINTR:
			return 0, fmt.Errorf("wait for frames: %w", os.NewSyscallError("ppoll", err))
		}
	}
}

// on has the end of ctx call the waker until off: it sets called, and ends wait.
func (w *waker) on(ctx context.Context) error {
	w.called.Store(ctx.Err() != nil)
	if err := w.file.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		w.called.Store(true)
		_ = w.file.SetReadDeadline(time.Unix(1, 0)) // past
	})
	w.end = func() {
		if !stop() {
			<-done
		}
	}
	return nil
}

// off ends on. Nothing is left running.
func (w *waker) off() {
	if w.end != nil {
		w.end()
		w.end = nil
	}
}

// wait waits until the socket has something, or the waker is called; failed says
// that the socket has an error. It does not allocate.
func (w *waker) wait() (failed bool, err error) {
	err = w.conn.Read(w.ready)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false, nil
	}
	if err == nil {
		err = w.err
	}
	return w.failed, err
}

// waitFor is wait that ends after a time, as if something had come.
func (w *waker) waitFor(d time.Duration) (failed bool, err error) {
	if err := w.file.SetReadDeadline(time.Now().Add(d)); err != nil {
		return false, err
	}
	if w.called.Load() { // whose time in the past may just have been taken away
		return false, nil
	}
	if failed, err = w.wait(); err != nil {
		return failed, err
	}
	return failed, w.file.SetReadDeadline(time.Time{})
}

func (w *waker) close() error {
	w.off()
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}
