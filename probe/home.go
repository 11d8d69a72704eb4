//go:build linux

package probe

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/l2"
)

// A home is the network namespace that a run was made in. Its goroutines may be on
// threads in another, in which what they open would be on another interface that
// has the same index.
type home struct{ file *os.File }

// openHome opens the calling thread's.
func openHome() (home, error) {
	file, err := os.Open(threadNamespace)
	if err != nil {
		return home{}, fmt.Errorf("hold the network namespace: %w", err)
	}
	return home{file}, nil
}

const threadNamespace = "/proc/thread-self/ns/net"

// do does something on a thread that is there. In another namespace than the calling
// thread's that needs what l2.InNamespace does.
func (h home) do(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := h.isHere()
	switch {
	case err != nil:
		return fmt.Errorf("find the network namespace: %w", err)
	case here:
		return f()
	}
	return l2.InNamespace(fmt.Sprintf("/proc/self/fd/%d", h.file.Fd()), f)
}

// isHere tells whether the calling thread is in it.
func (h home) isHere() (bool, error) {
	var its, mine unix.Stat_t
	if err := errors.Join(unix.Fstat(int(h.file.Fd()), &its), unix.Stat(threadNamespace, &mine)); err != nil {
		return false, err
	}
	return its.Dev == mine.Dev && its.Ino == mine.Ino, nil
}
