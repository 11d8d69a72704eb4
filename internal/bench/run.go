//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/l2ping/l2ping/internal/lab"
)

const (
	// repeats is how often a void run is tried again.
	repeats = 2
	// toolGrace is how much longer than its probes a tool may take.
	toolGrace = 30 * time.Second
)

// errVoid is a run that proves nothing: not all frames were captured.
var errVoid = errors.New("void run")

// bench is the whole measurement.
type bench struct {
	*options
	dir      string
	tools    []tool // those that are there
	programs map[string]program
	tcpdump  program
	progress io.Writer
}

// newBench finds what is needed. The peers that are not there are left out.
func newBench(ctx context.Context, o *options, dir string, progress io.Writer) (*bench, []leftOut, error) {
	b := &bench{options: o, dir: dir, progress: progress}
	var err error
	if b.tcpdump, err = findTcpdump(ctx, o, dir); err != nil {
		return nil, nil, fmt.Errorf("tcpdump: %w", err)
	}
	var missing []leftOut
	b.tools, b.programs, missing, err = findTools(ctx, o, dir)
	if err != nil {
		return nil, nil, err
	}
	for _, l := range missing {
		fmt.Fprintf(progress, "left out: %v\n", l)
	}
	return b, missing, nil
}

// newReport is the report ahead of what is measured.
func (b *bench) newReport(missing []leftOut) *report {
	r := &report{Time: time.Now(), Machine: thisMachine(), LeftOut: missing}
	for _, t := range b.tools {
		r.Tools = append(r.Tools, toolVersion{Tool: t.name, Version: b.programs[t.name].version, Note: t.note})
	}
	r.Tools = append(r.Tools, toolVersion{Tool: "tcpdump", Version: b.tcpdump.version, Note: "takes the truth"})
	return r
}

// job is what the tools are asked under a condition; the target is not known yet.
func (b *bench) job(c condition) job {
	return job{
		ifname: "eth0",
		count:  cmp.Or(b.count, c.count), interval: cmp.Or(b.interval, c.interval),
	}
}

// result is one run of one tool.
type result struct {
	tool       tool
	run        int
	void       int // runs that were void before this one
	sent       int // requests that were captured
	interval   time.Duration
	deviations []deviation
	sources    map[string]int // probes by the tool's own stamps
	cpu        time.Duration  // user and system
	memory     int64          // peak resident set in bytes, 0 if the run was too short to tell
	sockets    int            // the most that were open at once, 0 likewise
	wall       time.Duration
	busy       float64 // share of all CPUs' time that was used, by anybody
}

// leftOut is a tool that is not measured, and why.
type leftOut struct {
	Tool string `json:"tool"`
	Why  string `json:"why"`
}

func (l leftOut) String() string { return l.Tool + ": " + l.Why }

// measure runs all tools under a condition, interleaved: the first run of each,
// then the second, so that what changes on the machine meets all of them. A
// peer that cannot do the job, or fails at it, is left out; l2ping must not.
func (b *bench) measure(ctx context.Context, c condition) (all []result, out []leftOut, err error) {
	p, err := c.set()
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	j := b.job(c)
	j.target = p.FarIP
	failed := map[string]bool{}
	for run := 1; run <= b.runs; run++ {
		for _, t := range b.tools {
			if failed[t.name] || t.arp != c.arp {
				continue
			}
			if t.refuse != nil && t.refuse(j) != "" {
				failed[t.name] = true
				out = append(out, leftOut{t.name, t.refuse(j)})
				continue
			}
			fmt.Fprintf(b.progress, "%s: %s, run %d of %d\n", c.name, t.name, run, b.runs)
			r, err := b.repeat(ctx, c, p, t, j, run)
			switch {
			case err == nil:
				all = append(all, r)
			case t.isOurs() || ctx.Err() != nil:
				return nil, nil, fmt.Errorf("%s, run %d: %w", t.name, run, err)
			default:
				fmt.Fprintf(b.progress, "  left out: %v\n", err)
				failed[t.name] = true
				out = append(out, leftOut{t.name, fmt.Sprintf("run %d: %s", run, firstLine(err))})
			}
		}
	}
	return all, out, nil
}

// repeat runs a tool once, and again if the run was void.
func (b *bench) repeat(ctx context.Context, c condition, p *place, t tool, j job, run int) (result, error) {
	for void := 0; ; void++ {
		r, err := b.attempt(ctx, c, p, t, j, fmt.Sprintf("%s-%s-%d-%d", c.name, t.name, run, void))
		r.tool, r.run, r.void = t, run, void
		if err == nil || !errors.Is(err, errVoid) || void == repeats {
			return r, err
		}
		fmt.Fprintf(b.progress, "  %v; again\n", err)
	}
}

// attempt runs a tool between two captures.
func (b *bench) attempt(ctx context.Context, c condition, p *place, t tool, j job, name string) (result, error) {
	limit := time.Duration(j.count)*j.interval*2 + toolGrace
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := p.ready(); err != nil {
		return result{}, err
	}
	request, reply := t.messages()
	far, err := b.capture(p.Far, filepath.Join(b.dir, name+"-requests.pcap"), request)
	if err != nil {
		return result{}, err
	}
	defer far.stop()
	near, err := b.capture(p.Near, filepath.Join(b.dir, name+"-replies.pcap"), reply)
	if err != nil {
		return result{}, err
	}
	defer near.stop()

	if c.busy {
		defer spin(limit)()
	}
	r, output, err := b.runTool(ctx, p.Near, t, j)
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
	requests, err := far.end(j.count)
	if err != nil {
		return r, fmt.Errorf("requests at the peer: %w", err)
	}
	replies, err := near.end(j.count)
	if err != nil {
		return r, fmt.Errorf("replies: %w", err)
	}
	if len(samples) == 0 {
		return r, fmt.Errorf("no round-trip time reported:\n%s", output)
	}
	r.sources = map[string]int{}
	for _, s := range samples {
		if s.source != "" {
			r.sources[s.source]++
		}
	}
	r.sent = len(requests)
	r.interval = medianInterval(requests)
	r.deviations, err = compare(samples, requests, replies)
	return r, err
}

// medianInterval is the median time between frames, 0 of less than two.
func medianInterval(frames []arrival) time.Duration {
	var gaps []time.Duration
	for i := 1; i < len(frames); i++ {
		gaps = append(gaps, time.Duration(frames[i].at-frames[i-1].at))
	}
	return quantile(gaps, 0.5)
}

// runTool runs a tool in n to its end.
func (b *bench) runTool(ctx context.Context, n *lab.Namespace, t tool, j job) (result, []byte, error) {
	r, stdout, stderr, err := b.execute(ctx, n, b.programs[t.name], t.args(j), time.Second)
	if err != nil {
		return r, nil, fmt.Errorf("%w\n%s%s", err, stdout, stderr)
	}
	return r, stdout, nil
}

// execute runs a program in n to its end, and looks at its memory so often.
func (b *bench) execute(ctx context.Context, n *lab.Namespace, p program, args []string, every time.Duration) (
	r result, out, errout []byte, err error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, p.path, append(p.args[:len(p.args):len(p.args)], args...)...)
	cmd.WaitDelay = time.Second
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	before, began := readCPUTime(), time.Now()
	if err := n.Start(cmd); err != nil {
		return result{}, nil, nil, err
	}
	end := watch(cmd.Process.Pid, every)
	err = cmd.Wait()
	r = result{wall: time.Since(began), busy: readCPUTime().busySince(before)}
	r.memory, r.sockets = end()
	if err != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	if s := cmd.ProcessState; s != nil {
		r.cpu = s.UserTime() + s.SystemTime()
	}
	return r, stdout.Bytes(), stderr.Bytes(), err
}
