//go:build linux

package l2

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// NamespaceCapabilities lists what InNamespace needs, in the notation of
// capabilities(7): in the user namespace that the network namespace belongs to,
// and in the caller's own (setns(2)).
var NamespaceCapabilities = []string{"CAP_SYS_ADMIN"}

// namedNamespaces is where ip-netns(8) keeps namespaces by name.
var namedNamespaces = []string{"/run/netns", "/var/run/netns"}

// InNamespace runs f on a thread in another network namespace, and waits for it.
// What f opens there (sockets, a Routing, a Watch) stays there and may be used
// on any thread afterwards; goroutines that f starts are not there.
//
// A name with a slash is the path of a namespace; else it is a name of
// ip-netns(8), or, if there is none such, the id of a process in it. It may be
// called on any thread, whose own namespace stays as it is. No thread is left in
// the other namespace: one that cannot come back ends.
//
// A panic in f becomes one of the caller, with f's stack in its text, and if f
// ends by runtime.Goexit so does the caller. Errors of f are returned as they
// are.
func InNamespace(name string, f func() error) error {
	path, err := namespacePath(name)
	if err != nil {
		return err
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return namespaceError(name, path, err)
	}
	defer unix.Close(fd)

	c := visit{f: f}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.run(fd)
	}()
	<-done
	switch {
	case c.enterErr != nil:
		return namespaceError(name, path, c.enterErr)
	case c.panicked != nil:
		panic(c.panicked)
	case !c.returned:
		runtime.Goexit()
	}
	return c.err
}

// namespacePath finds what a name means.
func namespacePath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	if name == "" || name == "." || name == ".." {
		return "", fmt.Errorf("network namespace %q: no name (NAME of ip netns, PID, or PATH)", name)
	}
	for _, dir := range namedNamespaces {
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); err == nil {
			return path, nil
		}
	}
	pid, err := strconv.ParseUint(name, 10, 31)
	if err != nil {
		return "", fmt.Errorf("network namespace %q: %w (ip netns lists those with names; PID and PATH are understood too)", name, os.ErrNotExist)
	}
	return fmt.Sprintf("/proc/%d/ns/net", pid), nil
}

// namespaceError says what failed, and what would help.
func namespaceError(name, path string, err error) error {
	help := ""
	switch {
	case errors.Is(err, unix.EPERM):
		help = " (needs CAP_SYS_ADMIN: run as root)"
	case errors.Is(err, unix.EACCES):
		help = " (that of another user's process: run as root)"
	case errors.Is(err, unix.ENOENT) && strings.HasPrefix(path, "/proc/") && !strings.Contains(name, "/"):
		help = " (there is no process of that id, nor a namespace of that name: ip netns)"
	case errors.Is(err, unix.EINVAL):
		help = " (not that of a network namespace)"
	}
	return fmt.Errorf("enter network namespace %s: %w%s", name, &os.PathError{Op: "open", Path: path, Err: err}, help)
}

// visitPanic carries a panic from the thread of a visit to the caller.
type visitPanic struct {
	value any
	stack []byte
}

func (p *visitPanic) Error() string {
	return fmt.Sprintf("%v\n\non the namespace's thread:\n%s", p.value, p.stack)
}

func (p *visitPanic) Unwrap() error {
	err, _ := p.value.(error)
	return err
}

// A visit is one call of f in another namespace, and how it ended.
type visit struct {
	f        func() error
	enterErr error
	err      error
	returned bool
	panicked *visitPanic
}

// run calls f. The goroutine stays locked to its thread unless that has come
// back, so that the runtime ends the thread with it (runtime.LockOSThread).
func (v *visit) run(fd int) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The main thread cannot end. While this goroutine occupies it,
		// another cannot.
		defer runtime.UnlockOSThread()
		done := make(chan struct{})
		go func() {
			defer close(done)
			v.run(fd)
		}()
		<-done
		return
	}
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		v.enterErr = err
		return
	}
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		_ = unix.Close(home)
		runtime.UnlockOSThread()
		v.enterErr = err
		return
	}
	defer func() {
		if x := recover(); x != nil {
			v.panicked = &visitPanic{value: x, stack: debug.Stack()}
		}
		err := unix.Setns(home, unix.CLONE_NEWNET)
		_ = unix.Close(home)
		if err == nil {
			runtime.UnlockOSThread()
		}
	}()
	v.err = v.f()
	v.returned = true
}
