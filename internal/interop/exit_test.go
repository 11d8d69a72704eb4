//go:build interop && linux

package interop

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

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
		exit   int
	}{
		{"answered", "seq 2..: lose", 0},
		{"unanswered", "all: lose", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// The signals have to be there before a third probe leaves.
			got := signalled(t, tt.script, os.Getenv(commandVar), "-i", "eth0", "-d", "5", "198.51.100.2")
			want := signalled(t, tt.script, ping, "-I", "eth0", "-i", "5", "198.51.100.2")
			if plain(got.stdout) != plain(want.stdout) || status(got.stderr) != status(want.stderr) {
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

// signalled runs a program until its second probe has arrived, asks it for its
// status by SIGQUIT, and ends it by SIGINT when that is printed.
func signalled(t *testing.T, script, path string, args ...string) outcome {
	t.Helper()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	peer := labtest.StartPeer(t, pair.Far, "eth0", script)
	ctx, cancel := context.WithTimeout(t.Context(), runLimit)
	defer cancel()
	var (
		stdout strings.Builder
		wg     sync.WaitGroup
		line   string
		lineOK error
	)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = time.Second
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	must(t, err)
	must(t, pair.Near.Start(cmd))
	wg.Go(func() { line, lineOK = bufio.NewReader(stderr).ReadString('\n') })
	arrived := peer.Wait(ctx, 2)
	if arrived == nil {
		arrived = cmd.Process.Signal(syscall.SIGQUIT)
	}
	if arrived != nil {
		cancel()
	}
	wg.Wait()
	must(t, cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait() // the status is looked at instead
	if arrived != nil || lineOK != nil {
		t.Fatalf("%s: %v, %v: %q", path, arrived, lineOK, line)
	}
	return outcome{stdout: stdout.String(), stderr: line, exit: cmd.ProcessState.ExitCode()}
}
