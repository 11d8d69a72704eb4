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

	"github.com/spf13/cobra"
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
	// interrupted is done at SIGINT or SIGTERM, status gets SIGQUIT.
	interrupted context.Context
	status      <-chan os.Signal
	release     func()

	exit    int  // set by subcommands that end without an error
	gateway bool // set by those that have --gateway, for hints
}

func newEnv() *env {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for the summary; a second one ends a command that
	// cannot print it, because nobody reads what it prints.
	context.AfterFunc(ctx, stop)
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, syscall.SIGQUIT)
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return &env{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		executable:  self,
		interrupted: ctx,
		status:      quit,
		release:     func() { stop(); signal.Stop(quit) },
	}
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
	if open, ok := strings.CutSuffix(text, ")"); ok && strings.Contains(open, " (") {
		return open + "; " + hint + ")"
	}
	return text + " (" + hint + ")"
}

// usageError is a wrong use of flags or arguments.
func usageError(cmd *cobra.Command, err error) error {
	return fmt.Errorf("%w (%s --help tells more)", err, cmd.CommandPath())
}
