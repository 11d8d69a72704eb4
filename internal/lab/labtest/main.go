package labtest

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// leakGrace is how long what was closed may take to be gone, on however slow a
// machine: a goroutine that was told to end is seen until it was scheduled.
var leakGrace = 30 * time.Second

// Main is the TestMain of a package that needs no namespaces: it runs the tests
// behind a Guard and exits, with status 1 if they passed but left a goroutine or a
// file descriptor behind. Fuzzing is not checked, for its engine leaves some.
func Main(m *testing.M) {
	Guard()
	os.Exit(run(m.Run, os.Stderr))
}

// MainNetns is the TestMain of a package whose tests use the lab. It is Main,
// but where this process may not make network namespaces, as that of an
// ordinary user, it runs the tests in a child process in a user namespace of
// its own, where it may. If the system forbids that too, the tests run here,
// and those that need the lab skip.
func MainNetns(m *testing.M) {
	Guard()
	if os.Getenv(inUserns) == "" && netnsError() != nil {
		if code, err := runInUserns(); err == nil {
			exitAs(code)
		}
	}
	Main(m)
}

// Child is for the TestMain of a package whose tests start their own binary anew,
// for something in a process of its own: where the environment variable is set, it
// calls child with its value and exits, with status 1 and a line on standard error
// if that fails.
func Child(variable string, child func(name string) error) {
	name := os.Getenv(variable)
	if name == "" {
		return
	}
	if err := child(name); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run runs the tests and works out the exit status.
func run(tests func() int, stderr io.Writer) int {
	before, err := takeSnapshot()
	if err != nil {
		fmt.Fprintln(stderr, "labtest:", err)
		return 1
	}
	code := tests()
	if code != 0 || fuzzing() {
		return code // what a failed test left is no news
	}
	left, err := leaks(before, leakGrace)
	if err != nil {
		fmt.Fprintln(stderr, "labtest:", err)
		return 1
	}
	if len(left) > 0 {
		fmt.Fprintf(stderr, "labtest: the tests passed but left behind:\n\n%s\n", strings.Join(left, "\n\n"))
		return 1
	}
	return code
}

func fuzzing() bool {
	for _, name := range []string{"test.fuzz", "test.fuzzworker"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != f.DefValue {
			return true
		}
	}
	return false
}

// snapshot is what is open and what runs at one moment.
type snapshot struct {
	fds        map[string]string // number: what it is
	goroutines map[string]string // "goroutine 7": its stack
}

func takeSnapshot() (snapshot, error) {
	fds, err := openFDs()
	return snapshot{fds: fds, goroutines: goroutines()}, err
}

// leaks waits until nothing is there that was not before, and returns what
// remains at the end of that time.
func leaks(before snapshot, grace time.Duration) ([]string, error) {
	deadline := time.Now().Add(grace)
	for {
		now, err := takeSnapshot()
		if err != nil {
			return nil, err
		}
		left := now.since(before)
		if len(left) == 0 || time.Now().After(deadline) {
			return left, nil
		}
		// A descriptor that nobody closed is closed by its finalizer, which
		// must not hide that: no garbage collection is forced here.
		time.Sleep(5 * time.Millisecond)
	}
}

func (s snapshot) since(before snapshot) []string {
	var left []string
	for fd, what := range s.fds {
		if before.fds[fd] != what && !ofRuntime(what) {
			left = append(left, fmt.Sprintf("descriptor %s: %s", fd, what))
		}
	}
	for id, stack := range s.goroutines {
		if _, ok := before.goroutines[id]; !ok && !ofTheirs(stack) {
			left = append(left, stack)
		}
	}
	slices.Sort(left)
	return left
}

// ofRuntime says whether a descriptor is the Go runtime's: its poller opens
// an epoll instance and an eventfd with the first pollable file.
func ofRuntime(what string) bool {
	return what == "anon_inode:[eventpoll]" || what == "anon_inode:[eventfd]"
}

// ofTheirs says whether a goroutine is the Go runtime's or that of package
// signal, which never ends once signal.Notify was called.
func ofTheirs(stack string) bool {
	for _, f := range []string{"os/signal.signal_recv(", "os/signal.loop(", "runtime.ensureSigM"} {
		if strings.Contains(stack, f) {
			return true
		}
	}
	return false
}

func openFDs() (map[string]string, error) {
	const dir = "/proc/self/fd"
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("list open descriptors: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list open descriptors: %w", err)
	}
	fds := map[string]string{}
	for _, name := range names {
		if name == fmt.Sprint(d.Fd()) {
			continue
		}
		what, err := os.Readlink(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // closed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("list open descriptors: %w", err)
		}
		fds[name] = what
	}
	return fds, nil
}

// goroutines has the stacks of all goroutines but the calling one.
func goroutines() map[string]string {
	buf := make([]byte, 64<<10)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	all := map[string]string{}
	stacks := strings.Split(strings.TrimSpace(string(buf)), "\n\n")
	for _, stack := range stacks[1:] { // the first is the caller's
		id, _, _ := strings.Cut(stack, " [")
		all[id] = stack
	}
	return all
}
