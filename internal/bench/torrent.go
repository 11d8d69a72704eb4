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

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/l2"
)

const (
	// maxFrames keeps a file within some gigabytes.
	maxFrames = 20_000_000
	// torrentFrame is the length of a frame, the least that Ethernet has without
	// its checksum.
	torrentFrame = 60
	// torrentBatch is how many frames are sent with one call.
	torrentBatch = 1024
	// torrentType is an EtherType for local experiments (IEEE 802, section 9.2.4),
	// for which the far end's kernel has no use.
	torrentType = 0x88b5
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

// measureTorrent has each recorder capture as many frames, interleaved.
func (b *bench) measureTorrent(ctx context.Context) (_ *torrentSection, err error) {
	// A silent far end answers nothing.
	p, err := lab.NewPair(&lab.PairConfig{Silent: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	var runs []torrentRun
	var out []leftOut
	failed := map[string]bool{}
	for run := 1; run <= b.runs; run++ {
		for _, c := range allRecorders {
			if failed[c.name] || c.program(b).path == "" {
				continue
			}
			fmt.Fprintf(b.progress, "capture: %s, run %d of %d\n", c.name, run, b.runs)
			r, err := b.attemptTorrent(ctx, p, c)
			r.Run = run
			switch {
			case err == nil:
				runs = append(runs, r)
			case c.name == ours || ctx.Err() != nil:
				return nil, fmt.Errorf("capture: %s, run %d: %w", c.name, run, err)
			default:
				fmt.Fprintf(b.progress, "  left out: %v\n", err)
				failed[c.name] = true
				out = append(out, leftOut{c.name, fmt.Sprintf("run %d: %s", run, firstLine(err))})
			}
		}
	}
	return newTorrentSection(b.frames, runs, out), nil
}

// attemptTorrent has a recorder capture at the far end what the near end sends.
func (b *bench) attemptTorrent(ctx context.Context, p *lab.Pair, c recorder) (torrentRun, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*toolGrace+time.Duration(b.frames)*10*time.Microsecond)
	defer cancel()
	r := torrentRun{Tool: c.name}
	path := filepath.Join(b.dir, "torrent")
	defer os.Remove(path)
	before, err := arrivals(p.Far)
	if err != nil {
		return r, err
	}
	rec, err := startRecorder(ctx, p.Far, c.program(b), c.args(path))
	if err != nil {
		return r, err
	}
	defer rec.stop()
	busy := readCPUTime()
	if r.Sending, err = sendTorrent(ctx, p, b.frames); err != nil {
		return r, err
	}
	r.Busy = readCPUTime().busySince(busy)
	if err := settled(ctx, path); err != nil {
		return r, err
	}
	if err := rec.stop(); err != nil {
		return r, fmt.Errorf("%w: %s", err, bytes.TrimSpace(rec.stderr.Bytes()))
	}
	after, err := arrivals(p.Far)
	if err != nil {
		return r, err
	}
	r.Arrived = after - before
	if r.counted, err = parseCounted(rec.stderr.Bytes()); err != nil {
		return r, err
	}
	s := rec.cmd.ProcessState
	if r.Captured > 0 {
		r.CPUPerFrame = float64(s.UserTime()+s.SystemTime()) / float64(r.Captured)
	}
	return r, nil
}

// arrivals is how many frames the far end's driver has taken.
func arrivals(n *lab.Namespace) (int, error) {
	index, err := n.Index("eth0")
	if err != nil {
		return 0, err
	}
	link, err := n.Handle().LinkByIndex(index)
	if err != nil {
		return 0, err
	}
	return int(link.Attrs().Statistics.RxPackets), nil
}

// sendTorrent sends frames from the near end, past the qdisc, and tells how long
// that took.
func sendTorrent(ctx context.Context, p *lab.Pair, count int) (took time.Duration, err error) {
	one := make([]byte, torrentFrame)
	copy(one, p.FarMAC)
	copy(one[6:], p.NearMAC)
	one[12], one[13] = torrentType>>8, torrentType&0xff
	batch := make([][]byte, torrentBatch)
	for i := range batch {
		batch[i] = one
	}
	err = p.Near.Do(func() (err error) {
		ifc, err := l2.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		l, err := l2.OpenLink(ifc, &l2.LinkConfig{NoStamps: true, Bypass: true})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.Close()) }()
		begun := time.Now()
		for left := count; left > 0; {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			n, err := l.SendBatch(batch[:min(left, len(batch))], 0)
			if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EAGAIN) {
				return fmt.Errorf("send: %w", err)
			}
			left -= n
		}
		took = time.Since(begun)
		return nil
	})
	return took, err
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
