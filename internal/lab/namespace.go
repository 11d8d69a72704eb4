package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Namespace is an unnamed network namespace. A descriptor alone holds it, so
// the kernel removes it when that is closed or the process ends in any way,
// unless a process or a socket is still in it. It is safe for concurrent use.
type Namespace struct {
	file *os.File // of nsfs, /proc/thread-self/ns/net as it was

	// handle is nil once n is closed. A closed netlink.Handle would not fail
	// but work in the namespace of whoever calls it, which is the host's.
	handle atomic.Pointer[netlink.Handle]
}

// NewNamespace makes a network namespace in which nothing but the loopback
// interface exists and is up. The calling thread's own namespace stays as it
// is. Close must be called.
func NewNamespace() (*Namespace, error) {
	var n *Namespace
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		file, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return fmt.Errorf("hold network namespace: %w", err)
		}
		// The handle's socket belongs to the namespace that this thread is
		// in now, whoever uses it later.
		handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			file.Close()
			return fmt.Errorf("open netlink socket: %w", err)
		}
		n = &Namespace{file: file}
		n.handle.Store(handle)
		return nil
	})
	if err != nil {
		return nil, err
	}
	// Duplicate address detection, router solicitation and multicast
	// listener reports would be frames that nobody here sent. Where /proc/sys
	// is read-only the address generation mode of each link still stops most.
	for _, name := range []string{"net.ipv6.conf.all.disable_ipv6", "net.ipv6.conf.default.disable_ipv6"} {
		if err := n.tune(name, "1"); err != nil {
			n.Close()
			return nil, err
		}
	}
	if err := n.SetUp("lo"); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// Do runs f on an operating system thread that is inside n, and waits for it.
// The thread serves nothing else and ends with f. What f opens (sockets,
// handles, processes) stays in n; goroutines that f starts are not in n.
//
// A panic in f becomes a panic of the caller, with f's stack in its text. If f
// ends by runtime.Goexit, as t.FailNow and t.Skip do, so does the caller.
//
// A process started in f with a parent death signal would get it as soon as f
// returns, for that signal is tied to the thread (prctl(2)).
func (n *Namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := n.enter(); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// enter moves the calling thread into n.
func (n *Namespace) enter() error {
	if n.handle.Load() == nil {
		return os.ErrClosed
	}
	conn, err := n.file.SyscallConn()
	if err != nil {
		return err
	}
	// Control holds the descriptor open: its number cannot be another
	// file's by the time of the call.
	var errno error
	if err := conn.Control(func(fd uintptr) { errno = unix.Setns(int(fd), unix.CLONE_NEWNET) }); err != nil {
		return err
	}
	return errno
}

// Start starts cmd inside n: a child inherits the namespace of the thread that
// starts it. The caller waits for it with cmd.Wait.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	return n.Do(cmd.Start)
}

// Run starts cmd inside n and waits for it, as cmd.Run does.
func (n *Namespace) Run(cmd *exec.Cmd) error {
	if err := n.Start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// FD is the descriptor that holds n. It is n's own: it must not be closed.
func (n *Namespace) FD() int { return int(n.file.Fd()) }

// Path is a path by which other processes of the same user can open n, for as
// long as this process lives and n is not closed.
func (n *Namespace) Path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.FD())
}

// Handle is a netlink handle in n, for what the methods of Namespace do not
// offer. It is closed with n and must not be used after that: Handle panics
// once n is closed.
func (n *Namespace) Handle() *netlink.Handle {
	h, err := n.netlink()
	if err != nil {
		panic(err)
	}
	return h
}

func (n *Namespace) netlink() (*netlink.Handle, error) {
	if h := n.handle.Load(); h != nil {
		return h, nil
	}
	return nil, fmt.Errorf("network namespace: %w", os.ErrClosed)
}

// Close lets go of n. The kernel removes it in the background, as soon as no
// process and no socket is in it. Closing again does nothing.
func (n *Namespace) Close() error {
	h := n.handle.Swap(nil)
	if h == nil {
		return nil
	}
	h.Close()
	if err := n.file.Close(); err != nil {
		return fmt.Errorf("close network namespace: %w", err)
	}
	return nil
}

// Sysctl writes a setting of n, named as sysctl(8) does: net.ipv4.ip_forward,
// or net/ipv4/conf/eth0.7/forwarding where a name has a dot in it. Only names
// below net belong to a network namespace; others are refused.
func (n *Namespace) Sysctl(name, value string) error {
	path, err := sysctlPath(name)
	if err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	// The kernel resolves /proc/sys/net by the namespace of the thread that
	// looks (net_ctl_header_lookup), so the file is both opened and written in n.
	err = n.Do(func() error { return os.WriteFile(path, []byte(value), 0) })
	if err != nil {
		return fmt.Errorf("set %s to %s: %w", name, value, err)
	}
	return nil
}

// sysctlPath is the file of a setting.
func sysctlPath(name string) (string, error) {
	if !strings.Contains(name, "/") {
		name = strings.ReplaceAll(name, ".", "/")
	}
	if !strings.HasPrefix(name, "net/") || strings.Contains(name, "../") {
		return "", errors.New("not a setting of a network namespace")
	}
	return filepath.Join("/proc/sys", name), nil
}

// tune is Sysctl for a setting that merely makes the lab quieter or quicker:
// that the kernel lacks it, or that it may not be written here, is no error.
func (n *Namespace) tune(name, value string) error {
	err := n.Sysctl(name, value)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) {
		return nil
	}
	return err
}

// EnterUserNamespace makes cmd, not yet started, run in a user namespace of
// its own, where it is root and may make network namespaces, and in a network
// namespace of its own. An ordinary user may do this unless the system forbids
// it: then cmd.Start returns an error, or (AppArmor on Ubuntu 24.04) it
// starts but NewNamespace in it does.
func EnterUserNamespace(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	attr := cmd.SysProcAttr
	attr.Cloneflags |= syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	attr.GidMappingsEnableSetgroups = false // an unprivileged map requires this (user_namespaces(7))
}

// threadPanic carries a panic from a thread of onThread to its caller.
type threadPanic struct {
	value any
	stack []byte
}

func (p threadPanic) Error() string {
	return fmt.Sprintf("%v\n\non the namespace's thread:\n%s", p.value, p.stack)
}

func (p threadPanic) Unwrap() error {
	err, _ := p.value.(error)
	return err
}

// onThread runs f on a thread that ends with it: the goroutine stays locked
// to the thread until it exits, on which the runtime ends the thread instead
// of using it again (runtime.LockOSThread). So f may leave it in any namespace.
//
// The main thread cannot end, and /proc/self is its view of the world, so f
// never runs on that one.
func onThread(f func() error) error {
	var (
		c    = call{f: f}
		done = make(chan struct{})
	)
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			c.run()
			return
		}
		// While this goroutine occupies the main thread, another cannot.
		defer runtime.UnlockOSThread()
		other := make(chan struct{})
		go func() {
			defer close(other)
			runtime.LockOSThread()
			c.run()
		}()
		<-other
	}()
	<-done
	switch {
	case c.panicked != nil:
		panic(*c.panicked)
	case !c.returned:
		runtime.Goexit()
	}
	return c.err
}

// call is one call of f and the way in which it ended: by a return, by a
// panic, or, if neither, by runtime.Goexit.
type call struct {
	f        func() error
	err      error
	returned bool
	panicked *threadPanic
}

func (c *call) run() {
	defer func() {
		if v := recover(); v != nil {
			c.panicked = &threadPanic{value: v, stack: debug.Stack()}
		}
	}()
	c.err = c.f()
	c.returned = true
}
