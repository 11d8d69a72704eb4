//go:build interop && linux

package interop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// TestSameExitStatusAsPing is about what goes wrong before the first probe; the
// exit status of whole runs is compared by TestSameLinesAsPing.
func TestSameExitStatusAsPing(t *testing.T) {
	ping := program(t, "ping")
	pair := labtest.NewPair(t, nil)
	must(t, pair.Near.AddVeth("veth0", "veth1"))
	for _, tt := range []struct {
		name         string
		ours, theirs string
		exit         int
	}{
		{"fine", "-i eth0 -c 1 198.51.100.2", "-I eth0 -c 1 198.51.100.2", 0},
		{"unknown host", "-i eth0 host.invalid", "-I eth0 host.invalid", 2},
		{"unknown interface", "-i nosuch0 198.51.100.2", "-I nosuch0 198.51.100.2", 2},
		{"no route", "192.0.2.1", "192.0.2.1", 2},
		{"an address that is not ours", "-I 192.0.2.9 198.51.100.2", "-I 192.0.2.9 198.51.100.2", 2},
		{"broadcast without leave", "-i eth0 -c 1 198.51.100.255", "-I eth0 -c 1 198.51.100.255", 2},
		{"unknown flag", "--nonsense 198.51.100.2", "--nonsense 198.51.100.2", 2},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "-"), func(t *testing.T) {
			got := l2ping(t, pair.Near, strings.Fields(tt.ours)...)
			want := run(t, pair.Near, "", ping, strings.Fields(tt.theirs)...)
			if got.exit != want.exit || got.exit != tt.exit {
				t.Errorf("l2ping %s:\n%v\nping %s:\n%v\nwant exit %d of both", tt.ours, got, tt.theirs, want, tt.exit)
			}
			if tt.exit == 2 && (got.stdout != "" || strings.Count(got.stderr, "\n") != 1) {
				t.Errorf("want one line on standard error: %v", got)
			}
		})
	}
}

// TestSameAnswerToSignalsAsPing asks both for their status and ends them.
func TestSameAnswerToSignalsAsPing(t *testing.T) {
	ping := program(t, "ping")
	for _, tt := range []struct {
		name   string
		script string
		sees   string // what both print before they are asked
		exit   int
	}{
		{"answered", "seq 2: lose", "icmp_seq=1 ", 0},
		{"unanswered", "all: lose", "", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// Two probes leave at once, and no third.
			got := signalled(t, tt.script, tt.sees, os.Getenv(commandVar), "-i", "eth0", "-l", "2", "-d", "60", "198.51.100.2")
			want := signalled(t, tt.script, tt.sees, ping, "-I", "eth0", "-l", "2", "-i", "60", "198.51.100.2")
			if plain(got.stdout, false) != plain(want.stdout, false) || status(got.stderr) != status(want.stderr) {
				t.Errorf("l2ping:\n%v\nping:\n%v", got, want)
			}
			if got.exit != want.exit || got.exit != tt.exit {
				t.Errorf("l2ping exits with %d, ping with %d, want %d of both", got.exit, want.exit, tt.exit)
			}
		})
	}
}

var statusTimes = regexp.MustCompile(`= \d+\.\d{3}/\d+\.\d{3}/\d+\.\d{3}/\d+\.\d{3} ms`)

func status(line string) string { return statusTimes.ReplaceAllString(line, "= T/T/T/T ms") }

// signalled runs a program until two probes have arrived and it has printed a line
// that has sees in it, unless that is ""; asks it for its status by SIGQUIT, and
// ends it by SIGINT when that is printed.
func signalled(t *testing.T, script, sees, path string, args ...string) outcome {
	t.Helper()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	peer := labtest.StartPeer(t, pair.Far, "eth0", script)
	ctx, cancel := context.WithTimeout(t.Context(), runLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	stderr, err := cmd.StderrPipe()
	must(t, err)
	must(t, pair.Near.Start(cmd))
	o := outcome{command: path}
	err = func() error {
		// A program that is stuck is killed when ctx ends: no read waits longer.
		if err := peer.Wait(ctx, 2); err != nil {
			return err
		}
		out, errOut := bufio.NewReader(stdout), bufio.NewReader(stderr)
		for sees != "" && !strings.Contains(o.stdout, sees) {
			line, err := out.ReadString('\n')
			o.stdout += line
			if err != nil {
				return err
			}
		}
		if err := asleep(ctx, cmd.Process.Pid); err != nil {
			return err
		}
		if err := cmd.Process.Signal(syscall.SIGQUIT); err != nil {
			return err
		}
		if o.stderr, err = errOut.ReadString('\n'); err != nil {
			return err
		}
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			return err
		}
		rest, err := io.ReadAll(out)
		o.stdout += string(rest)
		return err
	}()
	if err != nil {
		cancel()
	}
	_ = cmd.Wait() // the status is looked at instead
	o.exit = cmd.ProcessState.ExitCode()
	if err != nil {
		t.Fatalf("%v: %v", err, o)
	}
	return o
}

// asleep waits until a process waits for something. ping notes a signal and looks
// at the note between two waits: one that comes just before a wait is not seen
// until its end.
func asleep(ctx context.Context, pid int) error {
	for {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return err
		}
		// PID (NAME) STATE (proc_pid_stat(5)).
		if _, state, ok := strings.Cut(string(b), ") "); ok && strings.HasPrefix(state, "S") {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		runtime.Gosched()
	}
}
