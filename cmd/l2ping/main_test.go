//go:build linux

package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// roleVar makes this test binary the command itself, or something that a test
// needs in a process of its own.
const roleVar = "L2PING_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVar); role {
	case "":
		// The tests wait for peers far more than for a CPU.
		if err := flag.Set("test.parallel", "6"); err != nil {
			exitWith(err)
		}
		labtest.MainNetns(m)
	case "command":
		main()
	case "names":
		exitWith(withNames())
	case "nohup":
		exitWith(withoutHangup())
	case "userns":
		exitWith(inUserNamespace())
	default:
		exitWith(fmt.Errorf("no role %q", role))
	}
}

func exitWith(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(125)
	}
	os.Exit(0)
}

// withoutHangup becomes the command with SIGHUP ignored, as nohup(1) has it.
func withoutHangup() error {
	signal.Ignore(unix.SIGHUP)
	if err := os.Setenv(roleVar, "command"); err != nil {
		return err
	}
	return fmt.Errorf("exec: %w", unix.Exec("/proc/self/exe", os.Args, os.Environ()))
}

// namesVar is a directory with the hosts file of a process in role "names".
const namesVar = "L2PING_TEST_NAMES"

// withNames becomes the command in a mount namespace where the names of hosts
// are those of one file, and no server is ever asked. The caller has made the
// mount namespace.
func withNames() error {
	runtime.LockOSThread()
	dir := os.Getenv(namesVar)
	for _, name := range []string{"hosts", "nsswitch.conf", "resolv.conf"} {
		from, to := filepath.Join(dir, name), filepath.Join("/etc", name)
		if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", from, to, err)
		}
	}
	if err := os.Setenv(roleVar, "command"); err != nil {
		return err
	}
	return fmt.Errorf("exec: %w", unix.Exec("/proc/self/exe", os.Args, os.Environ()))
}

// command is l2ping, not yet started: this test binary in the command's role.
func command(args ...string) *exec.Cmd {
	return &exec.Cmd{
		Path: "/proc/self/exe",
		Args: append([]string{"l2ping"}, args...),
		// With the race detector a process sleeps for a second as it ends.
		Env: append(os.Environ(), roleVar+"=command", "GORACE=atexit_sleep_ms=0"),
	}
}

// addNames gives a command a hosts file.
func addNames(cmd *exec.Cmd, dir, hosts string) error {
	for name, text := range map[string]string{
		"hosts":         hosts,
		"nsswitch.conf": "hosts: files\n",
		"resolv.conf":   "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	cmd.Env = append(cmd.Env, roleVar+"=names", namesVar+"="+dir)
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Unshareflags |= syscall.CLONE_NEWNS
	return nil
}

// hangLimit ends a command that should have ended by itself long ago.
const hangLimit = time.Minute

// A process is a running command.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr *output
	limit          *time.Timer
	ended          func() error
}

// start starts a command in a namespace.
func start(ns *lab.Namespace, cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, stdout: newOutput(), stderr: newOutput()}
	if cmd.Stdout == nil {
		cmd.Stdout = p.stdout
	}
	cmd.Stderr = p.stderr
	if err := ns.Start(cmd); err != nil {
		return nil, err
	}
	p.limit = time.AfterFunc(hangLimit, func() { _ = cmd.Process.Kill() })
	p.ended = sync.OnceValue(cmd.Wait)
	// Whoever waits for output learns that none follows.
	go func() {
		_ = p.ended()
		p.stdout.end()
		p.stderr.end()
	}()
	return p, nil
}

// A signalError is an end by a signal, among others by the one that ends what
// hangs.
type signalError struct {
	signal syscall.Signal
	stderr string
}

func (e *signalError) Error() string {
	return fmt.Sprintf("l2ping ended by %v; standard error: %s", e.signal, e.stderr)
}

// wait returns the exit status, or a signalError.
func (p *process) wait() (int, error) {
	err := p.ended()
	p.stdout.wait()
	p.stderr.wait()
	p.limit.Stop()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 0, &signalError{status.Signal(), p.stderr.String()}
	}
	return p.cmd.ProcessState.ExitCode(), nil
}

func (p *process) signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// output is what a command writes, to be read while it does.
type output struct {
	mu    sync.Mutex
	more  sync.Cond
	text  bytes.Buffer
	read  int // so far by line and match
	ended bool
}

func newOutput() *output {
	o := &output{}
	o.more.L = &o.mu
	return o
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.more.Broadcast()
	return o.text.Write(b)
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.more.Broadcast()
}

// wait waits for the end.
func (o *output) wait() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.ended {
		o.more.Wait()
	}
}

// String is all of it so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// line waits for the next line; ok is false at the end.
func (o *output) line() (line string, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		rest := o.text.String()[o.read:]
		if before, _, found := strings.Cut(rest, "\n"); found {
			o.read += len(before) + 1
			return before, true
		}
		if o.ended {
			return rest, false
		}
		o.more.Wait()
	}
}

// match waits for a line that matches.
func (o *output) match(re *regexp.Regexp) error {
	for {
		line, ok := o.line()
		if !ok {
			return fmt.Errorf("no line matches %q in:\n%s", re, o)
		}
		if re.MatchString(line) {
			return nil
		}
	}
}
