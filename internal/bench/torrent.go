//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/l2ping/l2ping/internal/lab"
)

const (
	// maxFrames keeps a file within some gigabytes.
	maxFrames = 20_000_000
	// torrentRate is how many frames are to arrive in a second.
	torrentRate = 1_000_000
	// quietTime is how long a file does not grow when all is written: longer than
	// the second after which the kernel hands tcpdump a block that is not full.
	quietTime = 1500 * time.Millisecond
)

// A recorder is a way to capture into a file. A further one is a further entry of
// allRecorders.
type recorder struct {
	name, note string
	program    func(*bench) program
	args       func(path string) []string
}

// oursRing is the size of l2ping's ring, in tcpdump's KiB.
const oursRing = 32 << 10

// allRecorders are the ways, l2ping's first.
var allRecorders = []recorder{
	{
		name: ours, program: func(b *bench) program { return b.programs[ours] },
		args: func(path string) []string { return []string{"capture", "-i", "eth0", "-w", path} },
	},
	{
		name: "tcpdump", program: func(b *bench) program { return b.tcpdump },
		args: func(path string) []string { return []string{"-i", "eth0", "-n", "-Z", "root", "-w", path} },
	},
	{
		name: "tcpdump -B", note: "has a ring as large as l2ping's, 32 MiB",
		program: func(b *bench) program { return b.tcpdump },
		args: func(path string) []string {
			return []string{"-i", "eth0", "-n", "-Z", "root", "-B", strconv.Itoa(oursRing), "-w", path}
		},
	},
}

// counted is what a recorder says at its end.
type counted struct {
	Captured int `json:"captured"`
	Received int `json:"received"`
	Dropped  int `json:"dropped"`
}

var countedLines = regexp.MustCompile(
	`(?m)^(\d+) packets? captured\n(\d+) packets? received by filter\n(\d+) packets? dropped by kernel$`)

// parseCounted reads the counts, which l2ping has in tcpdump's words.
func parseCounted(stderr []byte) (counted, error) {
	m := countedLines.FindSubmatch(stderr)
	if m == nil {
		return counted{}, fmt.Errorf("no counts in %q", stderr)
	}
	var c counted
	for i, n := range []*int{&c.Captured, &c.Received, &c.Dropped} {
		var err error
		if *n, err = strconv.Atoi(string(m[i+1])); err != nil {
			return counted{}, err
		}
	}
	return c, nil
}

// measureTorrent has each recorder capture as many frames, interleaved: at the rate
// that is wanted, and as fast as they go.
func (b *bench) measureTorrent(ctx context.Context) (_ *torrentSection, err error) {
	// A silent far end answers nothing.
	p, err := lab.NewPair(&lab.PairConfig{Silent: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	s := &torrentSection{Frames: b.frames}
	rates := []int{torrentRate, 0}
	src, err := newPoured(p)
	switch {
	case withoutTorrent(err):
		s.Sent = firstLine(err)
		// What a sender has is less than the rate.
		src, rates = &sent{pair: p}, []int{0}
	case err != nil:
		return nil, err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	runs := make(map[int][]torrentRun)
	failed := map[string]bool{}
	for run := 1; run <= b.runs; run++ {
		for _, rate := range rates {
			for _, c := range allRecorders {
				if failed[c.name] || c.program(b).path == "" {
					continue
				}
				fmt.Fprintf(b.progress, "capture, %s: %s, run %d of %d\n", paceName(rate), c.name, run, b.runs)
				r, err := b.attemptTorrent(ctx, p.Far, c, src, rate)
				r.Run = run
				switch {
				case err == nil:
					runs[rate] = append(runs[rate], r)
				case c.name == ours || ctx.Err() != nil:
					return nil, fmt.Errorf("capture: %s, run %d: %w", c.name, run, err)
				default:
					fmt.Fprintf(b.progress, "  left out: %v\n", err)
					failed[c.name] = true
					s.LeftOut = append(s.LeftOut, leftOut{c.name, fmt.Sprintf("run %d: %s", run, firstLine(err))})
				}
			}
		}
	}
	s.torrentPace = newTorrentPace(rates[0], runs[rates[0]])
	if len(rates) > 1 {
		s.Fastest = new(newTorrentPace(rates[1], runs[rates[1]]))
	}
	s.judge()
	return s, nil
}

// attemptTorrent has a recorder capture what arrives at the far end, and before that
// nothing.
func (b *bench) attemptTorrent(ctx context.Context, far *lab.Namespace, c recorder, src source, rate int) (torrentRun, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*toolGrace+time.Duration(b.frames)*10*time.Microsecond)
	defer cancel()
	r := torrentRun{Tool: c.name}
	path := filepath.Join(b.dir, "torrent")
	defer os.Remove(path)
	rec, err := startRecorder(ctx, far, c.program(b), c.args(path))
	if err == nil {
		err = rec.stop()
	}
	if err != nil {
		return r, err
	}
	r.Idle = rec.cpu()

	if err := warm(path, b.frames); err != nil {
		return r, err
	}
	if rec, err = startRecorder(ctx, far, c.program(b), c.args(path)); err != nil {
		return r, err
	}
	defer rec.stop()
	busy := readCPUTime()
	var first uint64
	if first, r.Arrived, r.Sending, err = src.pour(ctx, b.frames, rate); err != nil {
		return r, err
	}
	r.Busy = readCPUTime().busySince(busy)
	if err := settled(ctx, path); err != nil {
		return r, err
	}
	if err := rec.stop(); err != nil {
		return r, fmt.Errorf("%w: %s", err, bytes.TrimSpace(rec.stderr.Bytes()))
	}
	if r.counted, err = parseCounted(rec.stderr.Bytes()); err != nil {
		return r, err
	}
	// What counts is what is there.
	file, err := os.Open(path)
	if err != nil {
		return r, err
	}
	defer file.Close()
	if r.Filed, err = checkTorrent(file, first, r.Arrived, src.ordered()); err != nil {
		return r, fmt.Errorf("what it has written: %w", err)
	}
	if r.Filed > 0 {
		r.CPUPerFrame = float64(rec.cpu()) / float64(r.Filed)
	}
	return r, nil
}

// warm has memory at hand for the pages of a file of so many frames. A virtual machine
// may give what is free back to its host within seconds (CONFIG_PAGE_REPORTING), and
// whoever uses it first pays for having it again: up to three times of what is measured
// here.
func warm(path string, frames int) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	const room = torrentFrame + 64 // of a frame, and more
	piece := make([]byte, 1<<20)
	for left := frames * room; left > 0 && err == nil; left -= len(piece) {
		_, err = file.Write(piece)
	}
	return errors.Join(err, file.Close(), os.Remove(path))
}

// cpu is what the recorder took, user and system, once it is stopped.
func (r *recording) cpu() time.Duration {
	return r.cmd.ProcessState.UserTime() + r.cmd.ProcessState.SystemTime()
}

// settled waits until a file grows no more.
func settled(ctx context.Context, path string) error {
	look := time.NewTicker(quietTime / 10)
	defer look.Stop()
	var size int64 = -1
	var since time.Time
	for {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.Size() != size {
			size, since = info.Size(), time.Now()
		}
		if time.Since(since) >= quietTime {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("%s still grows: %w", filepath.Base(path), context.Cause(ctx))
		}
	}
}

// recording is a recorder at work.
type recording struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	wg     sync.WaitGroup
	once   sync.Once
	err    error
}

// startRecorder starts a recorder in n and returns when it listens.
func startRecorder(ctx context.Context, n *lab.Namespace, p program, args []string) (*recording, error) {
	rec := &recording{cmd: exec.CommandContext(ctx, p.path, args...)}
	rec.cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := rec.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := n.Start(rec.cmd); err != nil {
		return nil, err
	}
	listening := make(chan struct{})
	ended := make(chan struct{})
	rec.wg.Go(func() {
		defer close(ended)
		tell := sync.OnceFunc(func() { close(listening) })
		for lines := bufio.NewScanner(out); lines.Scan(); {
			fmt.Fprintln(&rec.stderr, lines.Text())
			if strings.Contains(lines.Text(), "listening on") {
				tell()
			}
		}
	})
	select {
	case <-listening:
		return rec, nil
	case <-ended:
	case <-time.After(captureGrace):
	}
	err = rec.stop()
	return nil, fmt.Errorf("it does not listen: %w: %s", err, bytes.TrimSpace(rec.stderr.Bytes()))
}

// stop ends the recorder if it still runs.
func (r *recording) stop() error {
	r.once.Do(func() {
		r.err = r.cmd.Process.Signal(syscall.SIGINT)
		r.wg.Wait() // all of standard error is read before Wait (StderrPipe)
		r.err = errors.Join(r.err, r.cmd.Wait())
	})
	return r.err
}
