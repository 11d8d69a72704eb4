//go:build linux

package l2

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// netnsOf is the inode of the network namespace of a thread of this process.
func netnsOf(t testing.TB, task string) uint64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat("/proc/"+task+"/ns/net", &st))
	return st.Ino
}

func inode(t testing.TB, n *lab.Namespace) uint64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Fstat(n.FD(), &st))
	return st.Ino
}

// tasksIn counts this process's threads in a namespace.
func tasksIn(t testing.TB, ns uint64) int {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	must(t, err)
	count := 0
	for _, task := range tasks {
		var st unix.Stat_t
		if unix.Stat(task, &st) == nil && st.Ino == ns {
			count++
		}
	}
	return count
}

// named has a directory of this test's be where ip-netns(8) keeps its names.
func named(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	old := namedNamespaces
	namedNamespaces = []string{filepath.Join(dir, "nothing"), dir}
	t.Cleanup(func() { namedNamespaces = old })
	return dir
}

func TestInNamespace(t *testing.T) {
	n := labtest.NewNamespace(t)
	must(t, n.AddVeth("blue0", "blue1"))
	dir := named(t)
	must(t, os.Symlink(n.Path(), filepath.Join(dir, "blue")))
	must(t, os.Symlink(n.Path(), filepath.Join(dir, "4711"))) // a name goes before a process
	child := exec.Command("/proc/self/exe", "-test.run=^TestInNamespaceChild$")
	child.Env = append(os.Environ(), childVar+"=wait")
	stdin, err := child.StdinPipe()
	must(t, err)
	must(t, n.Start(child))
	defer func() {
		must(t, stdin.Close())
		must(t, child.Wait())
	}()

	home := netnsOf(t, "thread-self")
	for _, name := range []string{"blue", "4711", n.Path(), fmt.Sprint(child.Process.Pid)} {
		var ifc *Interface
		var r *Routing
		var w *Watch
		must(t, InNamespace(name, func() (err error) {
			if got := netnsOf(t, "thread-self"); got != inode(t, n) {
				t.Errorf("%s: in the namespace %d, want %d", name, got, inode(t, n))
			}
			if ifc, err = InterfaceByName("blue0"); err != nil {
				return err
			}
			if w, err = ifc.Watch(); err != nil {
				return err
			}
			r, err = OpenRouting()
			return err
		}))
		// What was opened there stays there.
		if got, err := r.Interface("blue1"); err != nil || got.Kind != "veth" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		before := w.Generation()
		must(t, n.SetUp("blue0"))
		until(t, "the watch there sees it", func() bool { return w.Generation() > before })
		must(t, n.SetDown("blue0"))
		must(t, w.Close())
		must(t, r.Close())
	}
	if got := netnsOf(t, "thread-self"); got != home {
		t.Errorf("this thread is in the namespace %d, was in %d", got, home)
	}
}

const childVar = "L2PING_L2_TEST_CHILD"

// TestInNamespaceChild is a process that waits, in the namespace that it was
// started in.
func TestInNamespaceChild(t *testing.T) {
	if os.Getenv(childVar) == "wait" {
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
}

// From many threads at once, the main one and locked ones among them: none is
// left behind, and each is where it was.
func TestInNamespaceThreads(t *testing.T) {
	a, b := labtest.NewNamespace(t), labtest.NewNamespace(t)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if i%2 == 0 {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
			}
			n := []*lab.Namespace{a, b}[i/2%2]
			for range 20 {
				before := netnsOf(t, "thread-self")
				if err := InNamespace(n.Path(), func() error {
					if got := netnsOf(t, "thread-self"); got != inode(t, n) {
						t.Errorf("in %d, want %d", got, inode(t, n))
					}
					runtime.Gosched()
					return nil
				}); err != nil {
					t.Error(err)
				}
				if i%2 == 0 && netnsOf(t, "thread-self") != before {
					t.Error("the caller's thread has moved")
				}
			}
		})
	}
	wg.Wait()
	for _, n := range []*lab.Namespace{a, b} {
		until(t, "no thread is left", func() bool { return tasksIn(t, inode(t, n)) == 0 })
	}
}

// However f ends, the caller learns it, and the thread does not stay.
func TestInNamespaceEnds(t *testing.T) {
	n := labtest.NewNamespace(t)
	mine := errors.New("mine")
	if err := InNamespace(n.Path(), func() error { return mine }); err != mine {
		t.Errorf("%v, want the function's own error", err)
	}
	func() {
		defer func() {
			err, ok := recover().(error)
			if !ok || !errors.Is(err, mine) || !strings.Contains(err.Error(), "TestInNamespaceEnds") {
				t.Errorf("a panic becomes %v", err)
			}
		}()
		_ = InNamespace(n.Path(), func() error { panic(mine) })
		t.Error("a panic is none of the caller's")
	}()
	done := make(chan bool)
	go func() {
		returned := false
		defer func() { done <- returned }()
		_ = InNamespace(n.Path(), func() error { runtime.Goexit(); return nil })
		returned = true
	}()
	if <-done {
		t.Error("Goexit does not end the caller")
	}
	// A thread that cannot come back ends.
	must(t, InNamespace(n.Path(), func() error {
		home := "/proc/thread-self/fd"
		fds, err := os.ReadDir(home)
		if err != nil {
			return err
		}
		for _, fd := range fds {
			var st unix.Stat_t
			var number int
			if _, err := fmt.Sscan(fd.Name(), &number); err == nil && unix.Fstat(number, &st) == nil && st.Ino == netnsOf(t, "self") {
				// The way back, if it is that and not somebody else's.
				if link, _ := os.Readlink(filepath.Join(home, fd.Name())); strings.HasPrefix(link, "net:") {
					return unix.Dup3(0, number, unix.O_CLOEXEC)
				}
			}
		}
		return errors.New("the way back is not found")
	}))
	until(t, "no thread is left", func() bool { return tasksIn(t, inode(t, n)) == 0 })
}

func TestInNamespaceErrors(t *testing.T) {
	labtest.RequireNetns(t)
	dir := named(t)
	must(t, os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600)) // as ip-netns(8) leaves it where the mount is gone
	for _, tt := range []struct {
		name string
		is   error
		text string
	}{
		{"green", os.ErrNotExist, `network namespace "green": file does not exist (ip netns lists those with names; PID and PATH are understood too)`},
		{"", nil, `network namespace "": no name (NAME of ip netns, PID, or PATH)`},
		{"..", nil, `network namespace "..": no name (NAME of ip netns, PID, or PATH)`},
		{"2147483647", os.ErrNotExist, "enter network namespace 2147483647: open /proc/2147483647/ns/net: no such file or directory (there is no process of that id, nor a namespace of that name: ip netns)"},
		{"/nowhere/net", os.ErrNotExist, "enter network namespace /nowhere/net: open /nowhere/net: no such file or directory"},
		{"empty", unix.EINVAL, "enter network namespace empty: open " + dir + "/empty: invalid argument (not that of a network namespace)"},
		{"/proc/self/ns/uts", unix.EINVAL, "enter network namespace /proc/self/ns/uts: open /proc/self/ns/uts: invalid argument (not that of a network namespace)"},
	} {
		err := InNamespace(tt.name, func() error { t.Error("called"); return nil })
		if err == nil || tt.is != nil && !errors.Is(err, tt.is) || err.Error() != tt.text {
			t.Errorf("%q: %v\nwant %s", tt.name, err, tt.text)
		}
	}
}

// TestNamespaceCapabilities proves NamespaceCapabilities: with them alone it
// works, with all others it is EPERM.
func TestNamespaceCapabilities(t *testing.T) {
	if which := os.Getenv(capabilityVar); which != "" {
		dropTo(t, NamespaceCapabilities, which == "listed")
		err := InNamespace("/proc/self/fd/3", func() error { return nil })
		if which == "listed" && err != nil {
			t.Error(err)
		}
		if which != "listed" && (!errors.Is(err, unix.EPERM) || !strings.HasSuffix(err.Error(), "operation not permitted (needs CAP_SYS_ADMIN: run as root)")) {
			t.Errorf("%v, want EPERM", err)
		}
		return
	}
	n := labtest.NewNamespace(t)
	ns, err := os.Open(n.Path())
	must(t, err)
	defer ns.Close()
	for _, which := range []string{"listed", "all others"} {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestNamespaceCapabilities$")
		cmd.Env = append(os.Environ(), capabilityVar+"="+which)
		cmd.ExtraFiles = []*os.File{ns}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", which, err, out)
		}
	}
}

// dropTo gives all capabilities away but those listed, or those not listed.
func dropTo(t *testing.T, list []string, keep bool) {
	t.Helper()
	drop := labtest.DropCapabilities
	if keep {
		drop = labtest.KeepCapabilities
	}
	must(t, drop(list...))
}
