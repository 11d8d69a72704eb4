//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/internal/lab"
)

const (
	// repeats is how often a void run is tried again.
	repeats = 2
	// captureGrace is how long a capture may take to begin, and to have
	// written the last frame.
	captureGrace = 5 * time.Second
	// toolGrace is how much longer than its probes a tool may take.
	toolGrace = 30 * time.Second
)

// condition is what else goes on while a tool measures. A further one is a
// further entry of allConditions.
type condition struct {
	name string
	what string
	busy bool // a loop on every CPU
}

// Name is the condition's name on the command line and in the table.
func (c condition) Name() string { return c.name }

var allConditions = []condition{
	{name: "idle", what: "nothing else runs"},
	{name: "busy", what: "a loop keeps every CPU busy", busy: true},
}

// errVoid is a run that proves nothing: not all frames were captured.
var errVoid = errors.New("void run")

// bench is the whole measurement.
type bench struct {
	*options
	dir      string
	programs map[string]string
	progress io.Writer
}

// result is one run of one tool.
type result struct {
	tool       tool
	run        int
	void       int // runs that were void before this one
	deviations []deviation
	sources    map[string]int // probes by the tool's own stamps
	cpu        time.Duration  // user and system
	memory     int64          // peak resident set in bytes
	wall       time.Duration
	busy       float64 // share of all CPUs' time that was used, by anybody
}

// measure runs all tools under a condition, interleaved: the first run of each,
// then the second, so that what changes on the machine meets all of them.
func (b *bench) measure(ctx context.Context, c condition) ([]result, error) {
	pair, err := lab.NewPair(nil)
	if err != nil {
		return nil, err
	}
	defer pair.Close()
	// Resolution is not what is measured here, and no ARP request shall
	// disturb it: both ends know each other for good.
	err = errors.Join(
		pair.Near.SetNeighbor("eth0", pair.FarIP, pair.FarMAC, lab.Permanent),
		pair.Far.SetNeighbor("eth0", pair.NearIP, pair.NearMAC, lab.Permanent),
	)
	if err != nil {
		return nil, err
	}
	var all []result
	for run := 1; run <= b.runs; run++ {
		for _, t := range b.tools {
			fmt.Fprintf(b.progress, "%s: %s, run %d of %d\n", c.name, t.name, run, b.runs)
			r, err := b.repeat(ctx, c, pair, t, run)
			if err != nil {
				return nil, fmt.Errorf("%s, run %d: %w", t.name, run, err)
			}
			all = append(all, r)
		}
	}
	return all, nil
}

// repeat runs a tool once, and again if the run was void.
func (b *bench) repeat(ctx context.Context, c condition, pair *lab.Pair, t tool, run int) (result, error) {
	for void := 0; ; void++ {
		r, err := b.once(ctx, c, pair, t, fmt.Sprintf("%s-%s-%d-%d", c.name, t.name, run, void))
		r.tool, r.run, r.void = t, run, void
		if err == nil || !errors.Is(err, errVoid) || void == repeats {
			return r, err
		}
		fmt.Fprintf(b.progress, "  %v; again\n", err)
	}
}

// once runs a tool between two captures.
func (b *bench) once(ctx context.Context, c condition, pair *lab.Pair, t tool, name string) (result, error) {
	limit := time.Duration(b.count)*b.interval*2 + toolGrace
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	far, err := b.capture(pair.Far, filepath.Join(b.dir, name+"-requests.pcap"), layers.ICMPv4TypeEchoRequest)
	if err != nil {
		return result{}, err
	}
	defer far.stop()
	near, err := b.capture(pair.Near, filepath.Join(b.dir, name+"-replies.pcap"), layers.ICMPv4TypeEchoReply)
	if err != nil {
		return result{}, err
	}
	defer near.stop()

	if c.busy {
		defer spin(limit)()
	}
	r, output, err := b.runTool(ctx, pair.Near, t, job{
		ifname: "eth0", target: pair.FarIP, count: b.count, interval: b.interval,
	})
	if err != nil {
		return r, err
	}
	if b.keep != "" {
		if err := os.WriteFile(filepath.Join(b.dir, name+".txt"), output, 0o644); err != nil {
			return r, err
		}
	}
	samples, err := t.parse(output)
	if err != nil {
		return r, fmt.Errorf("read the output: %w", err)
	}
	requests, err := far.end(b.count)
	if err != nil {
		return r, fmt.Errorf("requests at the peer: %w", err)
	}
	replies, err := near.end(b.count)
	if err != nil {
		return r, fmt.Errorf("replies: %w", err)
	}
	if len(samples) == 0 {
		return r, fmt.Errorf("%s reported no round-trip time:\n%s", t.name, output)
	}
	r.sources = map[string]int{}
	for _, s := range samples {
		if s.source != "" {
			r.sources[s.source]++
		}
	}
	r.deviations, err = compare(samples, requests, replies)
	return r, err
}

// runTool runs a tool in n to its end.
func (b *bench) runTool(ctx context.Context, n *lab.Namespace, t tool, j job) (result, []byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, b.programs[t.name], t.args(j)...)
	cmd.WaitDelay = time.Second
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	before, began := readCPUTime(), time.Now()
	if err := n.Start(cmd); err != nil {
		return result{}, nil, err
	}
	peak := watchMemory(cmd.Process.Pid)
	err := cmd.Wait()
	r := result{wall: time.Since(began), memory: peak(), busy: readCPUTime().busySince(before)}
	if err != nil {
		return r, nil, fmt.Errorf("%w\n%s%s", errors.Join(err, context.Cause(ctx)), &stdout, &stderr)
	}
	r.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return r, stdout.Bytes(), nil
}

// watchMemory follows the peak resident set of a process; the function that it
// returns ends that and tells it. The rusage of a child would not do: it has
// the peak of the parent in it, which the child shared until execve
// (exec_mmap, setmax_mm_hiwater_rss).
func watchMemory(pid int) (end func() int64) {
	var (
		peak int64
		wg   sync.WaitGroup
		done = make(chan struct{})
	)
	wg.Go(func() {
		// Seldom, for every look costs the tool some interrupts.
		next := time.NewTimer(100 * time.Millisecond)
		defer next.Stop()
		for {
			select {
			case <-next.C:
				peak = max(peak, highWater(pid))
				next.Reset(time.Second)
			case <-done:
				return
			}
		}
	})
	return func() int64 {
		close(done)
		wg.Wait()
		return peak
	}
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

// capturing is a tcpdump of arriving frames.
type capturing struct {
	cmd    *exec.Cmd
	path   string
	typ    uint8
	stderr bytes.Buffer
	wg     sync.WaitGroup
	once   sync.Once
	err    error
}

// capture starts a capture on eth0 of n and returns when it is at work.
func (b *bench) capture(n *lab.Namespace, path string, typ uint8) (*capturing, error) {
	c := &capturing{path: path, typ: typ}
	c.cmd = exec.Command(b.programs["tcpdump"],
		"-i", "eth0", "-Q", "in", "-j", "host", "--time-stamp-precision=nano", "--immediate-mode", "-U",
		"-n", "-p", "-Z", "root", "-B", "16384", "-w", path,
		fmt.Sprintf("icmp[icmptype] == %d", typ))
	out, err := c.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := n.Start(c.cmd); err != nil {
		return nil, fmt.Errorf("tcpdump: %w", err)
	}
	listening := make(chan bool, 1)
	c.wg.Go(func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			fmt.Fprintln(&c.stderr, lines.Text())
			if strings.Contains(lines.Text(), "listening on") {
				listening <- true
			}
		}
		close(listening)
	})
	select {
	case ok := <-listening:
		if ok {
			return c, nil
		}
	case <-time.After(captureGrace):
	}
	c.stop()
	return nil, fmt.Errorf("tcpdump does not listen: %s", &c.stderr)
}

// end waits until that many frames are captured, or for some time, ends the
// capture and returns what it has. Fewer frames are errVoid.
func (c *capturing) end(count int) (arrivals, error) {
	deadline := time.Now().Add(captureGrace)
	for {
		got, err := c.read()
		if err != nil {
			return nil, err
		}
		late := time.Now().After(deadline)
		if len(got) < count && !late {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		if err := c.stop(); err != nil {
			return nil, fmt.Errorf("tcpdump: %w: %s", err, &c.stderr)
		}
		if len(got) < count {
			return nil, fmt.Errorf("%w: %d of %d frames captured", errVoid, len(got), count)
		}
		// Once more: what came after the last expected frame is a fault.
		if got, err = c.read(); err == nil && len(got) > count {
			err = fmt.Errorf("%d frames captured, but only %d sent", len(got), count)
		}
		return got, err
	}
}

func (c *capturing) read() (arrivals, error) {
	f, err := os.Open(c.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readArrivals(f, c.typ)
}

// stop ends the capture if it still runs.
func (c *capturing) stop() error {
	c.once.Do(func() {
		c.err = c.cmd.Process.Signal(syscall.SIGINT)
		c.wg.Wait() // all of standard error is read before Wait (StderrPipe)
		c.err = errors.Join(c.err, c.cmd.Wait())
	})
	return c.err
}
