//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// Exit statuses, as ping's.
const (
	exitOK      = 0 // a reply came
	exitNoReply = 1
	exitError   = 2
)

// env is all that the command has of the world.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	executable     string // its own path, for hints
	// interrupted is done at SIGINT, SIGTERM or SIGHUP, status gets SIGQUIT.
	interrupted context.Context
	status      <-chan os.Signal
	release     func()

	exit    int  // set by subcommands that end without an error
	gateway bool // set by those that have --gateway, for hints
	// commandsLike are the commands with a name like that; for hints.
	commandsLike func(name string) []string
}

// grace is for how long after the first signal that asks for the end no other kills.
// One request may be several signals: timeout(1) signals its child and then its own
// process group, systemd may send SIGHUP behind SIGTERM (systemd.kill(5), SendSIGHUP=).
const grace = time.Second

func newEnv() *env {
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // it is by nohup(1)
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	// The first signal asks for the summary; one after the grace ends a command that
	// cannot print it, because nobody reads what it prints.
	context.AfterFunc(ctx, func() { time.AfterFunc(grace, stop) })
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, syscall.SIGQUIT)
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return &env{
		stdin: &input{file: os.Stdin, interrupted: ctx}, stdout: os.Stdout, stderr: os.Stderr,
		executable:  self,
		interrupted: ctx,
		status:      quit,
		// All is said: a signal that comes while the process exits does not change how.
		release: func() { signal.Ignore(append(ends, syscall.SIGQUIT)...) },
	}
}

// A readable is a file that is read.
type readable interface {
	io.ReadCloser
	Stat() (fs.FileInfo, error)
}

// openInput opens a file to be read. Neither that nor a read waits for somebody who
// writes to it once ctx is done; the file ends then.
func openInput(ctx context.Context, name string) (readable, error) {
	flag := os.O_RDONLY
	// A FIFO is open at once then, and not when the first writer comes (fifo(7)). That
	// of a regular file would fail where it has a lease (fcntl(2), F_SETLEASE).
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		flag |= unix.O_NONBLOCK
	}
	file, err := os.OpenFile(name, flag, 0)
	if err != nil {
		return nil, err
	}
	if isRegular(file) {
		return file, nil
	}
	return &input{file: file, interrupted: ctx}, nil
}

// An input is a file that ends where it is empty once ctx interrupted is done: else a
// read of a pipe that nobody writes to, or of a terminal, would not end. It is polled
// ahead of each read: to read(2) a FIFO is at its end until the first writer has come,
// to poll(2) it is not.
type input struct {
	file        *os.File
	interrupted context.Context
	wake        *os.File // an eventfd that can be read once it is
	release     func() bool
	idle        func() // called ahead of a wait; may be nil
}

// until is the same file, which ends also when ctx does.
func (in *input) until(ctx context.Context) *input { return &input{file: in.file, interrupted: ctx} }

// Read implements io.Reader.
func (in *input) Read(b []byte) (int, error) {
	ok, err := in.wait()
	if err != nil {
		return 0, fmt.Errorf("wait for %s: %w", in.file.Name(), err)
	}
	if !ok {
		return 0, io.EOF
	}
	return in.file.Read(b)
}

// Stat is the file's.
func (in *input) Stat() (fs.FileInfo, error) { return in.file.Stat() }

// Close closes the file. It must not be called while it is read.
func (in *input) Close() error {
	err := in.file.Close()
	if in.wake != nil {
		in.release()
		err = errors.Join(err, in.wake.Close())
	}
	return err
}

// wait waits until a read does not block, and is false if none will be.
func (in *input) wait() (ok bool, err error) {
	if in.wake == nil {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			return false, os.NewSyscallError("eventfd", err)
		}
		in.wake = os.NewFile(uintptr(fd), "eventfd")
		in.release = context.AfterFunc(in.interrupted, func() {
			_, _ = in.wake.Write([]byte{1, 1, 1, 1, 1, 1, 1, 1}) // any number but 0
		})
	}
	conn, err := in.file.SyscallConn()
	if err != nil {
		return false, err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		fds := []unix.PollFd{
			{Fd: int32(fd), Events: unix.POLLIN},
			{Fd: int32(in.wake.Fd()), Events: unix.POLLIN},
		}
		wait := -1
		if in.idle != nil {
			wait = 0 // a look
		}
		for {
			var n int
			if n, failed = unix.Poll(fds, wait); n == 0 && failed == nil {
				in.idle()
				wait = -1
			} else if failed != unix.EINTR {
				break
			}
		}
		failed = os.NewSyscallError("poll", failed)
		ok = fds[0].Revents != 0
	})
	return ok, errors.Join(err, failed)
}

// run is the whole command: it returns the exit status.
func run(e *env, args []string) int {
	defer e.release()
	root := newRoot(e)
	root.SetArgs(args)
	root.SetIn(e.stdin)
	help := &helpOutput{w: e.stdout}
	root.SetOut(help)
	root.SetErr(e.stderr)
	err := root.ExecuteContext(e.interrupted)
	if err == nil {
		err = outputError(help.err)
	}
	if err != nil {
		if !errors.Is(err, errSaid) {
			fmt.Fprintf(e.stderr, "l2ping: %s\n", e.explain(err))
		}
		return exitError
	}
	return e.exit
}

// helpOutput keeps the error of what cobra prints: help, about whose end it says
// something of its own.
type helpOutput struct {
	w   io.Writer
	err error
}

func (h *helpOutput) Write(b []byte) (int, error) {
	if _, err := h.w.Write(b); err != nil && h.err == nil {
		h.err = err
	}
	return len(b), nil
}

// outputError says that standard output did not take what was printed.
func outputError(err error) error {
	if err == nil {
		return nil
	}
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err // it is nobody's file
	}
	return fmt.Errorf("write the output: %w", err)
}

// errSaid is an error that was told already.
var errSaid = errors.New("said")

// explain puts an error on one line and adds what would help, in one pair of
// parentheses with what the error says itself in some.
func (e *env) explain(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	hint := e.hint(err)
	if hint == "" {
		return text
	}
	return withHint(text, hint)
}

// withHint adds what would help to what is wrong.
func withHint(text, hint string) string {
	if open, ok := strings.CutSuffix(text, ")"); ok && strings.Contains(open, " (") {
		return open + "; " + hint + ")"
	}
	return text + " (" + hint + ")"
}

// usageError is a wrong use of flags or arguments.
func usageError(cmd *cobra.Command, err error) error {
	return fmt.Errorf("%w (%s --help tells more)", err, cmd.CommandPath())
}
