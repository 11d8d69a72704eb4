//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"
	cbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf/pcapfilter"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/render"
	"github.com/l2ping/l2ping/l2"
)

// captureFlags are the flags of `l2ping capture`.
type captureFlags struct {
	source sourceFlags

	read, write                            string
	count, snapLen, size, files            uint64
	every                                  duration
	direction                              capture.Direction
	still, print, link, hex, verbose, json bool
	nothing                                bool // of flags that say what is so anyway
}

func newCapture(e *env) *cobra.Command {
	f := &captureFlags{}
	cmd := &cobra.Command{
		Use:   "capture [flags] [FILTER...]",
		Short: "Capture frames: a line each, or into a pcapng file",
		Long: `Capture what an interface takes and sends: a line a frame in tcpdump's words, or a
pcapng file. FILTER is in tcpdump's language; its words are joined. A line has the
time in nanoseconds, the way (In, Out; B: to everybody, M: to a group, P: to another
host), and what the frame is. Addresses and ports are numbers: no names are looked up.
Frames to other hosts are captured too, as by tcpdump, unless -p is given. SIGINT,
SIGTERM and SIGHUP end the capture, SIGUSR1 tells how many frames there are.
The capture goes on when the interface comes up again after it went down.
With -r frames come from a pcap or pcapng file, which needs no capability.
Exit status: 0, or 2 where something is wrong; what was captured until then is written.`,
		Example: `  sudo l2ping capture -i eth0
  sudo l2ping capture -i eth0 -c 10 -e 'arp or icmp'
  sudo l2ping capture -i eth0 -w eth0.pcapng 'tcp[tcpflags] & tcp-syn != 0'
  sudo l2ping capture -i eth0 -G 1h -w 'eth0-%F-%H.pcapng'
  l2ping capture -r eth0.pcapng host 192.0.2.1 and not port 22`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.capture(cmd, f, strings.Join(args, " "))
		},
	}
	f.add(cmd)
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		var unknown interface{ GetSpecifiedName() string }
		if errors.As(err, &unknown) && unknown.GetSpecifiedName() == "X" {
			return fmt.Errorf("%w (-x prints the bytes as hex and as text)", err)
		}
		return usageError(cmd, err)
	})
	return cmd
}

func (f *captureFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP(&f.source.name, "interface", "i", "", "`interface` to capture on")
	f.source.addNetns(cmd)
	fl.VarP((*fileFlag)(&f.read), "read", "r", "read frames from this pcap or pcapng `file` instead; - is standard input")
	fl.VarP((*fileFlag)(&f.write), "write", "w", "write frames to this pcapng `file`, and print none; - is standard output")
	fl.BoolVar(&f.print, "print", false, "print them with -w too")
	fl.VarP(&number{value: &f.count, min: 1, max: math.MaxInt64}, "count", "c", "end after so many `frames`")
	fl.VarP(&number{value: &f.snapLen, max: capture.MaxSnapLen}, "snaplen", "s", fmt.Sprintf("keep so many `bytes` of each frame at most (%d, also for 0)", capture.MaxSnapLen))
	fl.VarP(&choice[capture.Direction]{value: &f.direction, parse: parseDirection, words: "in, out and inout"}, "direction", "Q", "only frames of this `direction`: in, out or inout (inout)")
	fl.BoolVarP(&f.still, "no-promiscuous-mode", "p", false, "capture no frames to other hosts")
	fl.BoolVarP(&f.link, "link", "e", false, "print MACs, EtherTypes and whole lengths")
	fl.BoolVarP(&f.hex, "hex", "x", false, "print the bytes of each frame too, as hex and as text")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "print the layers of each frame too, field by field")
	fl.BoolVar(&f.json, "json", false, "print one JSON object a line")
	fl.VarP(&number{value: &f.size, min: 1, max: 1e6}, "file-size", "C", "begin another file before one has more than so many `millions` of bytes: FILE, FILE1, FILE2 ...")
	fl.VarP(&f.every, "file-time", "G", "begin another file after that `time`; FILE has it in its name, as strftime(3): %F-%T")
	fl.VarP(&number{value: &f.files, min: 1, max: 1e6}, "file-count", "W", "with -C, write over the first file after so many `files`: FILE0, FILE1 ...; with -G, end then")
	for _, flag := range []struct{ name, short, usage string }{
		{"numeric", "n", "no names are looked up anyway"},
		{"absolute", "S", "TCP's sequence numbers are its own anyway"},
		{"line-buffered", "l", "lines are printed within 20 ms anyway"},
		{"packet-buffered", "U", "frames are written within 0.2 s anyway"},
		{"immediate-mode", "", "frames wait no longer than that anyway"},
	} {
		fl.BoolVarP(&f.nothing, flag.name, flag.short, false, "does nothing: "+flag.usage)
	}
	fl.BoolP("help", "h", false, "print this")
}

// fileFlag is a flag's value: the name of a file, which is never empty. Without this a
// script whose variable is not set would have its frames printed, and none written.
type fileFlag string

func (n *fileFlag) String() string { return string(*n) }

func (*fileFlag) Type() string { return "file" }

func (n *fileFlag) Set(s string) error {
	if s == "" {
		return errors.New("no name of a file")
	}
	*n = fileFlag(s)
	return nil
}

// parseDirection reads tcpdump's -Q.
func parseDirection(s string) (capture.Direction, error) {
	switch s {
	case "in":
		return capture.DirectionIn, nil
	case "out":
		return capture.DirectionOut, nil
	case "inout":
		return capture.DirectionBoth, nil
	}
	return 0, errors.New("unknown word")
}

// A capturing is a capture at work: what becomes of frames, wherever they come from.
type capturing struct {
	e *env
	f *captureFlags

	out   *bufio.Writer
	text  *render.Capture // or
	json  *render.CaptureJSON
	files *captureFiles // nil without -w

	begun    time.Time
	captured uint64
}

// errEnoughFrames says that there are as many as were asked for.
var errEnoughFrames = errors.New("there are enough frames")

// capture is the work of the subcommand.
func (e *env) capture(cmd *cobra.Command, f *captureFlags, expr string) error {
	if err := f.check(); err != nil {
		return usageError(cmd, err)
	}
	if f.snapLen == 0 {
		f.snapLen = capture.MaxSnapLen
	}
	c := &capturing{e: e, f: f, begun: time.Now()}
	c.out = bufio.NewWriterSize(linesBehind{c}, 1<<16)
	if f.write != "" {
		c.files = &captureFiles{
			name: f.write, size: f.size * 1e6, every: time.Duration(f.every), most: f.files,
			header: pcapng.Config{Application: "l2ping " + buildVersion(), OS: "Linux"},
			open:   func(name string) (frameFile, error) { return createFile(cmd.Context(), name) },
		}
		if f.write == "-" {
			if isTerminal(e.stdout) {
				return errors.New("-w -: standard output is a terminal")
			}
			c.files.open = func(string) (frameFile, error) { return standardOutput{e.stdout}, nil }
		} else {
			outliveReaders()
		}
		if err := c.files.check(c.begun); err != nil {
			return err
		}
	}
	switch {
	case f.json:
		c.json = render.NewCaptureJSON(c.out, f.hex)
	case f.write == "" || f.print:
		c.text = render.NewCapture(c.out, render.CaptureOptions{Link: f.link, Hex: f.hex, Verbose: f.verbose})
	}
	if f.read != "" {
		return c.fromFile(cmd.Context(), expr)
	}
	return c.live(cmd.Context(), expr)
}

// check says which flags do not go together.
func (f *captureFlags) check() error {
	switch {
	case f.read != "" && f.source.name != "":
		return fmt.Errorf("-i %s and -r %s: frames come from an interface or from a file", f.source.name, f.read)
	case f.read != "" && f.still:
		return errors.New("-p: of a file nothing is heard")
	case f.read != "" && f.source.netns != "":
		return errors.New("--netns: a file is in none")
	case f.write == "" && (f.size > 0 || f.every > 0 || f.files > 0):
		return errors.New("-C, -G and -W: no file is written (-w names it)")
	case f.write == "" && f.print:
		return errors.New("--print: frames are printed anyway")
	case f.write == "-" && (f.print || f.json):
		return errors.New("-w -: standard output has the frames, and no room for lines")
	case f.json && (f.link || f.verbose):
		return errors.New("--json has all that -e and -v show")
	}
	return nil
}

// standardOutput is it as a file.
type standardOutput struct{ io.Writer }

func (standardOutput) Name() string         { return "standard output" }
func (standardOutput) Close() error         { return nil }
func (standardOutput) Truncate(int64) error { return unix.EINVAL }

// compile compiles a FILTER; without one there is no program. What is wrong with it is
// told with its place marked.
func (e *env) compile(expr string, cfg pcapfilter.Config) ([]cbpf.RawInstruction, error) {
	if strings.TrimSpace(expr) == "" {
		return nil, nil
	}
	program, err := pcapfilter.Compile(expr, &cfg)
	if wrong := (*pcapfilter.Error)(nil); errors.As(err, &wrong) {
		fmt.Fprintf(e.stderr, "l2ping: %s\n%s\n", e.explain(err), wrong.Marked())
		return nil, errSaid
	}
	return program, err
}

// frame does with a frame what is to be done. ifc must not change while it is the
// same pointer.
func (c *capturing) frame(f *pcapng.Frame, ifc *pcapng.Interface, o *pcapng.Options) error {
	if c.files != nil {
		if err := c.files.write(f, ifc, o); err != nil {
			return err
		}
	}
	c.captured++
	var err error
	switch {
	case c.text != nil:
		err = c.text.Frame(f)
	case c.json != nil:
		err = c.json.Frame(f, c.captured, ifc.Name)
	}
	if err != nil {
		return outputError(err)
	}
	if c.f.count > 0 && c.captured >= c.f.count {
		return errEnoughFrames
	}
	return nil
}

// flush writes out what waits.
func (c *capturing) flush() error {
	if err := c.flushFiles(); err != nil {
		return err
	}
	return outputError(c.out.Flush())
}

// flushFiles writes out what waits to be in a file.
func (c *capturing) flushFiles() error {
	if c.files == nil || c.files.w == nil {
		return nil
	}
	return c.files.flush()
}

// linesBehind is standard output, which is behind the files: however long it stands
// still, the frames of its lines, and those before them, are written.
type linesBehind struct{ *capturing }

func (w linesBehind) Write(b []byte) (int, error) {
	_ = w.flushFiles() // what is wrong with a file its next use tells
	return w.e.stdout.Write(b)
}

// finish ends the files and the output. An error that there was already is more than
// one of these.
func (c *capturing) finish(before error, end *render.CaptureEnd) error {
	if errors.Is(before, errEnoughFrames) || errors.Is(before, errEnoughFiles) {
		before = nil
	}
	errs := []error{before}
	if c.files != nil {
		errs = append(errs, c.files.finish())
		end.Files, end.Written = int(c.files.files), c.captured-c.files.lost
	}
	if c.json != nil {
		end.Time = time.Now()
		end.Captured, end.Duration = c.captured, end.Time.Sub(c.begun)
		errs = append(errs, outputError(c.json.End(end)))
	}
	errs = append(errs, outputError(c.out.Flush()))
	err := firstError(errs...)
	if err != nil && c.files != nil && c.files.lost > 0 {
		err = fmt.Errorf("%w (%d of the %s captured are written)", err, end.Written, packets(c.captured))
	}
	return err
}

// packets is so many of them, in words.
func packets(n uint64) string {
	if n == 1 {
		return "1 packet"
	}
	return fmt.Sprintf("%d packets", n)
}

// firstError is the first error of some.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// How long frames wait in this process to be printed, or written, with others.
const (
	printDelay = 10 * time.Millisecond
	writeDelay = 100 * time.Millisecond
)

// A liveCapture is a capture on an interface.
type liveCapture struct {
	*capturing
	ring  *capture.Ring
	ifc   *l2.Interface
	facts pcapng.Interface
	asked interruption
	down  *l2.Watch // follows the interface while it is down
	// waits is whether there is something to flush, delay how long it may wait.
	waits bool
	delay time.Duration
}

// live captures on an interface until somebody ends it.
func (c *capturing) live(ctx context.Context, expr string) error {
	l := &liveCapture{capturing: c, delay: writeDelay}
	if c.files == nil || c.f.print || c.json != nil {
		l.delay = printDelay
	}
	if err := c.f.source.inNetns(func() error { return l.open(expr) }); err != nil {
		return err
	}
	err := l.run(ctx)
	counted := l.counted() // as long as the ring is open
	if closed := l.ring.Close(); err == nil {
		err = closed
	}
	if c.json == nil {
		tellCounted(c.e.stderr, c.captured, counted)
	}
	return err
}

// open opens everything, what is written last. It has to be called in the network
// namespace of the interface.
func (l *liveCapture) open(expr string) (err error) {
	f := l.f
	if l.ifc, err = l2.InterfaceByName(f.source.name); err != nil {
		if missing := (*l2.NoInterfaceError)(nil); f.source.name == "" && errors.As(err, &missing) {
			return fmt.Errorf("no interface given: -i names it (there is %s), or -r a file", missing.There())
		}
		return err
	}
	if err := l.ifc.Usable(); err != nil && !errors.Is(err, l2.ErrNoCarrier) {
		return err
	}
	program, err := l.e.compile(expr, pcapfilter.Config{
		NoLink: l.ifc.NoLink, Live: true, SnapLen: uint32(f.snapLen), Network: networkOf(l.ifc),
	})
	if err != nil {
		return err
	}
	if l.files != nil {
		if err := l.files.openPipe(time.Now()); err != nil {
			return err
		}
	}
	cfg := capture.Config{
		Instructions: program, Direction: f.direction, SnapLen: int(f.snapLen), Promiscuous: !f.still,
	}
	if l.delay == printDelay || f.write == "-" {
		// Somebody watches.
		cfg.BlockTimeout, cfg.BlockBytes = printDelay, 256<<10
	}
	if l.ring, err = capture.Open(l.ifc, &cfg); err != nil {
		return err
	}
	l.facts = pcapng.InterfaceOf(l.ifc)
	l.facts.SnapLen, l.facts.Filter = int(f.snapLen), expr
	if err := l.begin(expr); err != nil {
		return errors.Join(err, l.ring.Close())
	}
	return nil
}

// begin opens the first file, and tells that frames are captured.
func (l *liveCapture) begin(expr string) error {
	if l.files != nil {
		l.files.first, l.files.counts = l.facts, l.counted
		if err := l.files.begin(time.Now()); err != nil {
			return err
		}
	}
	if l.json != nil {
		return firstError(outputError(l.json.Start(&render.CaptureStart{
			Time: l.begun, Interface: l.ifc.Name, LinkType: l.facts.LinkType, SnapLen: l.facts.SnapLen,
			Filter: expr, Direction: l.f.direction, Promiscuous: !l.f.still, Fallback: l.ring.Fallback(),
		})), outputError(l.out.Flush()))
	}
	if err := l.ring.Fallback(); err != nil {
		fmt.Fprintf(l.e.stderr, "l2ping: no ring: %s\n", l.e.explain(err))
	}
	unit := "bytes"
	if l.facts.SnapLen == 1 {
		unit = "byte"
	}
	fmt.Fprintf(l.e.stderr, "listening on %s, link-type %s, snapshot length %d %s\n",
		l.ifc.Name, render.LinkName(l.facts.LinkType), l.facts.SnapLen, unit)
	return nil
}

// networkOf is the interface's IPv4 network, if it has one.
func networkOf(ifc *l2.Interface) netip.Prefix {
	for _, a := range ifc.Addresses {
		if a.Addr().Is4() {
			return a
		}
	}
	return netip.Prefix{}
}

// counted is what the kernel has counted.
func (l *liveCapture) counted() capture.RingStatistics {
	s, _ := l.ring.Statistics() // as they were the last time, if it fails
	return s
}

// tellCounted tells it in tcpdump's words.
func tellCounted(w io.Writer, captured uint64, s capture.RingStatistics) {
	fmt.Fprintf(w, "%s captured\n%s received by filter\n%s dropped by kernel\n",
		packets(captured), packets(s.Received), packets(s.Dropped))
}

// run captures until ctx ends, there is enough, or something fails, and ends what it
// writes.
func (l *liveCapture) run(ctx context.Context) error {
	defer l.e.interrupt(&l.asked)()
	defer l.unwatch()
	err := l.collect(ctx)
	if err == nil {
		if err = l.ring.Stop(); err == nil {
			err = l.collect(context.Background())
		}
	}
	end := &render.CaptureEnd{Counted: true}
	if l.json != nil {
		s := l.counted()
		end.Received, end.Dropped = s.Received, s.Dropped
	}
	return l.finish(err, end)
}

// collect takes frames until ctx ends, or there will be no more. It does so in turns:
// one waits for a frame however long that takes, the next gathers others for a while,
// and then all are written out.
func (l *liveCapture) collect(ctx context.Context) error {
	var (
		f pcapng.Frame
		o pcapng.Options
	)
	f.LinkType = l.facts.LinkType
	for {
		if err := l.rise(); err != nil {
			return err
		}
		turn, cancel := l.turn(ctx)
		l.asked.arm(cancel)
		changed := l.endOnChange(turn, cancel)
		left, fell := false, false
		for captured, err := range l.ring.Frames(turn) {
			if err != nil {
				fell = true
				err = l.fall(err)
			} else {
				f.Frame = captured
				err = l.frame(&f, &l.facts, &o)
			}
			if err != nil {
				changed()
				return err
			}
			if left = !l.waits && !fell; left {
				break
			}
		}
		over := turn.Err() == nil && !left && !fell
		changed()
		if l.waits {
			if err := l.flush(); err != nil {
				return err
			}
		}
		l.waits = left
		if l.asked.take() {
			tellCounted(l.e.stderr, l.captured, l.counted())
		}
		if l.files != nil {
			if err := l.files.tick(time.Now().Add(-tickDelay)); err != nil {
				return err
			}
		}
		if over || ctx.Err() != nil {
			return nil
		}
	}
}

// tickDelay is how long a file waits for frames of its time, which come by the block.
const tickDelay = 2 * writeDelay

// turn is a part of ctx: until what waits has to be flushed, and a file to end.
func (l *liveCapture) turn(ctx context.Context) (context.Context, context.CancelFunc) {
	var ends time.Time
	if l.waits {
		ends = time.Now().Add(l.delay)
	}
	if l.files != nil && !l.files.ends.IsZero() {
		if due := l.files.ends.Add(tickDelay); ends.IsZero() || due.Before(ends) {
			ends = due
		}
	}
	if ends.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, ends)
}

// interrupt has SIGUSR1 and SIGQUIT ask until the function that it returns is called.
func (e *env) interrupt(i *interruption) (end func()) {
	usr1 := make(chan os.Signal, 1)
	signal.Notify(usr1, unix.SIGUSR1)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-usr1:
			case <-e.status:
			case <-done:
				return
			}
			i.ask()
		}
	}()
	return func() {
		signal.Stop(usr1)
		close(done)
		<-ended
	}
}
