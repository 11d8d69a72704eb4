//go:build linux

package labtest

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Poll waits until a descriptor is readable, or in error, and fails the test if
// that takes longer than limit. It does not allocate.
func Poll(t testing.TB, fd int, limit time.Duration) {
	t.Helper()
	deadline := time.Now().Add(limit)
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds[:], int(time.Until(deadline).Milliseconds())+1)
		switch {
		case n > 0:
			return
		case err != nil && err != unix.EINTR:
			t.Fatalf("poll: %v", err)
		case time.Now().After(deadline):
			t.Fatalf("nothing to read within %v", limit)
		}
	}
}
