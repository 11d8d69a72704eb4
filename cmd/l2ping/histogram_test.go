//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/probe"
)

// intervals are the lines of a log below its head: start and length of each.
func intervals(t *testing.T, path string) (all []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, lines, ok := strings.Cut(string(b), "\"Interval_Compressed_Histogram\"\n")
	if !ok || lines != "" && !strings.HasSuffix(lines, "\n") {
		t.Fatalf("%s is no log of whole lines: %s", path, b)
	}
	for line := range strings.Lines(lines) {
		fields := strings.Split(line, ",")
		all = append(all, fields[0]+" "+fields[1])
	}
	return all
}

func sameLines(got, want []string) bool { return strings.Join(got, "\n") == strings.Join(want, "\n") }

// A run of 25 s has two whole intervals, and at its end the rest.
func TestHistogramIntervals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	synctest.Test(t, func(t *testing.T) {
		h, err := createHistogram(path)
		if err != nil {
			t.Fatal(err)
		}
		var s probe.Statistics
		end := h.follow(func() probe.Statistics {
			s.RTT.Add(time.Millisecond)
			return s
		})
		want := []string{"0.000000 10.000000", "10.000000 10.000000", "20.000000 5.000000"}
		for i, wait := range []time.Duration{9 * time.Second, 2 * time.Second, 14 * time.Second} {
			time.Sleep(wait)
			synctest.Wait()
			if got := intervals(t, path); !sameLines(got, want[:i]) {
				t.Errorf("step %d: %q", i, got)
			}
		}
		if err := errors.Join(end(), end(), h.close()); err != nil {
			t.Fatal(err)
		}
		if got := intervals(t, path); !sameLines(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// No flag, no file.
func TestNoHistogram(t *testing.T) {
	var h *histogramFile
	end := h.follow(func() probe.Statistics {
		t.Error("somebody looks")
		return probe.Statistics{}
	})
	if err := errors.Join(end(), h.close()); err != nil {
		t.Error(err)
	}
}

// The disk is full before the run ends: that is told, and the file keeps the
// lines that are whole.
func TestHistogramFillsDisk(t *testing.T) {
	labtest.RequireRoot(t)
	dir := t.TempDir()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread has mounts of its own, and dies with the goroutine.
		runtime.LockOSThread()
		if err := errors.Join(
			unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS),
			unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4096"),
		); err != nil {
			t.Errorf("mount: %v", err)
			return
		}
		path := filepath.Join(dir, "log")
		h, err := createHistogram(path)
		if err != nil {
			t.Error(err)
			return
		}
		var s probe.Statistics
		end := h.follow(func() probe.Statistics { return s })
		// One line finds room but for its last bytes.
		room := 4096 - int(h.size) - 20
		if _, err := h.Write([]byte("#" + strings.Repeat(".", room-2) + "\n")); err != nil {
			t.Error(err)
		}
		before, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		err = errors.Join(end(), h.close())
		if !errors.Is(err, unix.ENOSPC) || err.Error() != "write histogram "+path+": no space left on device" {
			t.Errorf("%v", err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
			t.Errorf("%v, the file is now %q", err, after)
		}
	}()
	<-done
}

// With a file that cannot be written nothing is sent, and with one that fails
// later the run is whole, and its end is an error all the same.
func TestHistogramFails(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	peer := labtest.StartPeer(t, pair.Far, "eth0", "")
	dir := t.TempDir()
	do := func(e *env, args ...string) (exit int) {
		t.Helper()
		if err := pair.Near.Do(func() error {
			exit = run(e, append([]string{"-i", "eth0"}, args...))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return exit
	}
	for path, want := range map[string]string{
		dir:                       "create histogram " + dir + ": is a directory",
		dir + "/none/log":         "create histogram " + dir + "/none/log: no such file or directory",
		"":                        "create histogram : no such file or directory",
		"/dev/full":               "write histogram /dev/full: no space left on device",
		"/proc/sys/kernel/nosuch": "create histogram /proc/sys/kernel/nosuch: no such file or directory",
	} {
		e, stdout, stderr := newTestEnv()
		exit := do(e, "-c", "1", "--histogram", path, pair.FarIP.String())
		if exit != exitError || stderr.String() != "l2ping: "+want+"\n" || stdout.Len() > 0 {
			t.Errorf("%s: exit status %d: %s%s, want %s", path, exit, stdout, stderr, want)
		}
	}
	if n := peer.Requests(); len(n) != 0 {
		t.Errorf("%d frames were sent: %v", len(n), n)
	}

	// A pipe that nobody reads any more fails at the end.
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	e, stdout, stderr := newTestEnv()
	ctx, interrupt := context.WithCancel(t.Context())
	e.interrupted = ctx
	read := make(chan error, 1)
	go func() {
		defer interrupt()
		r, err := os.OpenFile(pipe, os.O_RDONLY, 0)
		if err == nil {
			_, err = r.Read(make([]byte, 4096))
			err = errors.Join(err, r.Close())
		}
		read <- err
	}()
	exit := do(e, "-d", "10ms", "--histogram", pipe, pair.FarIP.String())
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	if want := "l2ping: write histogram " + pipe + ": broken pipe\n"; exit != exitError || stderr.String() != want {
		t.Errorf("exit status %d: %s, want %s", exit, stderr, want)
	}
	if !strings.Contains(stdout.String(), " ping statistics ---\n") {
		t.Errorf("no summary in %s", stdout)
	}
}
