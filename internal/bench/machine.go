//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// machine is what the numbers were taken on.
type machine struct {
	Kernel string `json:"kernel"`
	Arch   string `json:"arch"`
	CPU    string `json:"cpu,omitempty"` // model
	CPUs   int    `json:"cpus"`
}

func thisMachine() machine {
	m := machine{CPUs: runtime.NumCPU()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel, m.Arch = unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:])
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = parseCPUModel(text)
	}
	return m
}

// parseCPUModel reads the first CPU's "model name" of /proc/cpuinfo, which not
// every architecture has.
func parseCPUModel(cpuinfo []byte) string {
	for line := range bytes.Lines(cpuinfo) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if ok && string(bytes.TrimSpace(name)) == "model name" {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}

// watch follows the peak resident set of a process and the number of sockets that
// it has open; the function that it returns ends that and tells them. The rusage
// of a child would not do: it has the peak of the parent in it, which the child
// shared until execve (exec_mmap, setmax_mm_hiwater_rss).
func watch(pid int, every time.Duration) (end func() (memory int64, sockets int)) {
	var (
		memory  int64
		sockets int
		wg      sync.WaitGroup
		done    = make(chan struct{})
	)
	wg.Go(func() {
		// Seldom, for every look costs the tool some interrupts.
		next := time.NewTimer(100 * time.Millisecond)
		defer next.Stop()
		for {
			select {
			case <-next.C:
				memory, sockets = max(memory, highWater(pid)), max(sockets, openSockets(pid))
				next.Reset(every)
			case <-done:
				return
			}
		}
	})
	return func() (int64, int) {
		close(done)
		wg.Wait()
		return memory, sockets
	}
}

// openSockets is how many sockets a process has, 0 if nobody knows.
func openSockets(pid int) int {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	open, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	n := 0
	for _, fd := range open {
		if what, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && strings.HasPrefix(what, "socket:") {
			n++
		}
	}
	return n
}

// highWater is a process's VmHWM in bytes, 0 if it has none (any more).
func highWater(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err == nil {
				return kb << 10
			}
		}
	}
	return 0
}

// cpuTime is the time of all CPUs, in ticks since boot.
type cpuTime struct{ busy, idle uint64 }

// readCPUTime reads the first line of /proc/stat: user, nice, system, idle,
// iowait, irq, softirq, steal (proc_stat(5)).
func readCPUTime() cpuTime {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return cpuTime{}
	}
	return parseCPUTime(string(text))
}

func parseCPUTime(text string) cpuTime {
	var t cpuTime
	line, _, _ := strings.Cut(text, "\n")
	for i, field := range strings.Fields(line) {
		n, err := strconv.ParseUint(field, 10, 64)
		switch {
		case err != nil || i > 8: // the name; guests' time is in user's already
		case i == 4 || i == 5:
			t.idle += n
		default:
			t.busy += n
		}
	}
	return t
}

// busySince is the share of the time that was used, 0 if nobody knows.
func (t cpuTime) busySince(before cpuTime) float64 {
	busy, all := t.busy-before.busy, t.busy+t.idle-before.busy-before.idle
	if all == 0 {
		return 0
	}
	return float64(busy) / float64(all)
}

// spin keeps every CPU busy until the function that it returns is called, or
// the limit has passed.
func spin(limit time.Duration) (end func()) {
	var (
		wg       sync.WaitGroup
		done     = make(chan struct{})
		deadline = time.Now().Add(limit)
		cpus     = runtime.NumCPU()
		// The loops shall compete with the tool for the CPUs, not with
		// the rest of this program for the runtime's permission to run.
		before = runtime.GOMAXPROCS(2*cpus + 2)
	)
	for range cpus {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for time.Now().Before(deadline) {
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	return func() {
		close(done)
		wg.Wait()
		runtime.GOMAXPROCS(before)
	}
}
