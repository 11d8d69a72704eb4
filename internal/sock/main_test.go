//go:build linux

package sock

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab/labtest"
)

func TestMain(m *testing.M) { labtest.MainNetns(m) }

// patience bounds the wait for what has to come.
const patience = time.Minute

// datagramPair makes two sockets that need no privileges. What is sent on one
// has arrived at the other when the send returns.
func datagramPair(t testing.TB) (in, out int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(fds[0])
		unix.Close(fds[1])
	})
	return fds[0], fds[1]
}

func send(t testing.TB, fd int, b []byte) {
	t.Helper()
	if err := unix.Sendmsg(fd, b, nil, nil, 0); err != nil {
		t.Fatal(err)
	}
}
