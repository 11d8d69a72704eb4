//go:build interop && linux

// Package interop tests l2ping against programs that nobody here wrote:
// iputils ping and arping, ndisc6, tcpdump, tshark, scapy, jc, HdrHistogram's log
// processor, and Linux's own network stack. All of it runs in private namespaces;
// no frame leaves them.
//
// The tests need Debian's packages iputils-ping, iputils-arping, ndisc6, tcpdump,
// tshark, jc, python3-scapy, default-jre-headless and libhdrhistogram-java, and
// fail without them.
package interop

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// commandVar is the path of the l2ping to test. If it is empty, one is built
// from this module.
const commandVar = "L2PING_INTEROP_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(commandVar) != "" {
		// The tests wait for peers far more than for a CPU.
		if err := flag.Set("test.parallel", "6"); err != nil {
			panic(err)
		}
		labtest.MainNetns(m)
	}
	code, err := withCommand()
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		code = 1
	}
	os.Exit(code)
}

// withCommand builds l2ping into a directory that lasts as long as this test
// binary, run once more with the path of it, on one CPU: a veth hands a frame to the
// queue of the CPU that sends it (netif_rx), so that of a busy machine's frames one
// overtakes another whose sender was moved between the two, and lines that have to be
// the same come in another order.
func withCommand() (int, error) {
	dir, err := os.MkdirTemp("", "l2ping-interop-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "l2ping")
	build := exec.Command("go", "build", "-trimpath", "-o", path, "github.com/l2ping/l2ping/cmd/l2ping")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build l2ping: %w\n%s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	tests := exec.Command(self, os.Args[1:]...)
	tests.Env = append(os.Environ(), commandVar+"="+path)
	tests.Stdin, tests.Stdout, tests.Stderr = os.Stdin, os.Stdout, os.Stderr
	// What a thread starts runs where the thread does (sched_setaffinity(2)).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := onOneCPU(); err != nil {
		return 0, err
	}
	err = tests.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// onOneCPU binds the calling thread to the last CPU of those that it may run on.
func onOneCPU() error {
	var may, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return fmt.Errorf("bind to one CPU: %w", err)
	}
	for cpu := range len(may) * int(unsafe.Sizeof(may[0])) * 8 {
		if may.IsSet(cpu) {
			one.Zero()
			one.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("bind to one CPU: %w", err)
	}
	return nil
}

// packages are Debian's, by the program that each is needed for.
var packages = map[string]string{
	"ping":    "iputils-ping",
	"arping":  "iputils-arping",
	"ndisc6":  "ndisc6",
	"tcpdump": "tcpdump",
	"tshark":  "tshark",
	"jc":      "jc",
	"java":    "default-jre-headless",

	debianPython: "python3-scapy",
}

// program is the path of a foreign program. That it is missing is a failure:
// without its peers this package tests nothing.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v (apt-get install %s)", err, packages[name])
	}
	return path
}

// outcome is what a program has left.
type outcome struct {
	command        string
	stdout, stderr string
	exit           int
}

func (o outcome) String() string {
	return fmt.Sprintf("%s\nexit %d\n--- standard output:\n%s--- standard error:\n%s", o.command, o.exit, o.stdout, o.stderr)
}

// runLimit bounds every run of a program here, on however slow a machine.
const runLimit = 2 * time.Minute

// run runs a program in n to its end; n may be nil for programs that have
// nothing to do with a network.
func run(t testing.TB, n *lab.Namespace, stdin, path string, args ...string) outcome {
	t.Helper()
	o, err := tryRun(t.Context(), n, stdin, path, args...)
	if err != nil {
		t.Fatalf("%v: %v", err, o)
	}
	return o
}

func tryRun(ctx context.Context, n *lab.Namespace, stdin, path string, args ...string) (outcome, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, runLimit, errors.New("it did not end"))
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = 30 * time.Second // whoever inherited the pipes: also a child of another test, before its exec
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	var err error
	if n == nil {
		err = cmd.Run()
	} else {
		err = n.Run(cmd)
	}
	o := outcome{
		command: filepath.Base(path) + " " + strings.Join(args, " "),
		stdout:  stdout.String(), stderr: stderr.String(), exit: -1,
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		err = nil
	}
	if cmd.ProcessState != nil {
		o.exit = cmd.ProcessState.ExitCode()
	}
	return o, errors.Join(err, context.Cause(ctx))
}

// l2ping runs the command under test in n.
func l2ping(t testing.TB, n *lab.Namespace, args ...string) outcome {
	t.Helper()
	return run(t, n, "", os.Getenv(commandVar), args...)
}

// besides runs l2ping in ours and another program in theirs, at the same time.
func besides(t testing.TB, ours *lab.Namespace, oursArgs []string, theirs *lab.Namespace, path string, theirsArgs []string) (got, want outcome) {
	t.Helper()
	var (
		wg  sync.WaitGroup
		err error
	)
	wg.Go(func() { want, err = tryRun(t.Context(), theirs, "", path, theirsArgs...) })
	got = l2ping(t, ours, oursArgs...)
	wg.Wait()
	if err != nil {
		t.Fatalf("%v: %v", err, want)
	}
	return got, want
}

// news is what a kernel tells of changes in a namespace (rtnetlink(7)).
type news struct{ fd int }

// subscribe listens to a group of changes, from now on.
func subscribe(t *testing.T, n *lab.Namespace, group uint32) news {
	t.Helper()
	fd := -1
	must(t, n.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: group})
	}))
	t.Cleanup(func() { unix.Close(fd) })
	return news{fd}
}

// until waits until f is true, of what changes with what is heard. The test fails if
// that does not come.
func (n news) until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(runLimit); !f(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", runLimit, what)
		}
		labtest.Poll(t, n.fd, time.Until(deadline))
		// Lost ones are news too (ENOBUFS).
		if _, err := unix.Read(n.fd, make([]byte, 1<<16)); err != nil && err != unix.ENOBUFS && err != unix.EINTR {
			t.Fatalf("read rtnetlink: %v", err)
		}
	}
}

// must fails the test if something that the test itself needs did not work.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
