//go:build linux

// Bench measures how true the round-trip times are that l2ping and its peers
// report. It makes a private pair of namespaces, runs each tool in turn over
// the same wire, and compares what the tool says with nanosecond captures of
// the frames that arrive at both ends. No frame leaves the two namespaces.
//
// The truth about a probe is the time from its request's arrival at the peer to
// its reply's arrival here. That lacks the request's way from the driver to the
// peer, which on a veth pair is under a microsecond; a capture of departures
// would be no truth, for its tap delays the frame between its stamp and the
// driver's.
//
// It measures, too, what one probe takes as a whole process, what thousands of
// targets cost in CPU and memory, how quickly thousands of hosts are asked at once,
// and what a capture of frames that come as fast as the wire has them costs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	l2ping     string        // path; built if ""
	count      int           // 0: the condition's own
	interval   time.Duration // 0: the condition's own
	runs       int
	once       int   // runs of one probe; 0: none
	many       int   // probes to each of many targets; 0: none
	targets    []int // how many, ascending
	echoes     int   // requests exchanged at once; 0: none
	frames     int   // frames to capture; 0: none
	conditions []condition
	tools      []tool
	json       string
	keep       string // directory for captures and outputs; "" is a temporary one
	verbose    bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parseFlags(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2)
	}
	if err := run(ctx, o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func parseFlags(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.l2ping, "l2ping", "", "measure the l2ping at this `path` (one built from this module)")
	fs.IntVar(&o.count, "count", 0, "probes a run (the condition's own number)")
	fs.DurationVar(&o.interval, "interval", 0, "time between probes (the condition's own)")
	fs.IntVar(&o.runs, "runs", 3, "runs of each tool, interleaved")
	fs.IntVar(&o.once, "once", 10, "runs of one probe of each tool, for the time that it takes; 0: none")
	fs.IntVar(&o.many, "many", mostMany, "probes to each of many targets; 0: none")
	fs.IntVar(&o.echoes, "exchange", 4096, "echo requests exchanged at once, each with another host; 0: none")
	fs.IntVar(&o.frames, "capture", 2_000_000, "frames that are captured into a file; 0: none")
	fs.StringVar(&o.json, "json", "", "write the results to this `file`, too")
	fs.BoolVar(&o.verbose, "v", false, "print the single runs, too")
	fs.StringVar(&o.keep, "keep", "", "keep captures and outputs in this `directory`")
	conditionNames := fs.String("conditions", names(allConditions), "under which conditions, a `list`; empty: none")
	sizes := fs.String("targets", "1000,10000", "how many targets are many, a `list`")
	toolNames := fs.String("tools", names(allTools), "which tools, a `list`")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	err := func() (err error) {
		if fs.NArg() > 0 {
			return fmt.Errorf("unexpected argument %q", fs.Arg(0))
		}
		given := map[string]bool{}
		fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
		if given["count"] && (o.count < 1 || o.count > maxCount) {
			return fmt.Errorf("-count %d: not from 1 to %d", o.count, maxCount)
		}
		if given["interval"] && (o.interval < time.Millisecond || o.interval > time.Minute) {
			return fmt.Errorf("-interval %v: not from 1ms to 1m", o.interval)
		}
		if o.runs < 1 || o.runs > 100 {
			return fmt.Errorf("-runs %d: not from 1 to 100", o.runs)
		}
		if o.once < 0 || o.once > 1000 {
			return fmt.Errorf("-once %d: not from 0 to 1000", o.once)
		}
		if o.many < 0 || o.many > 1000 {
			return fmt.Errorf("-many %d: not from 0 to 1000", o.many)
		}
		if o.echoes < 0 || o.echoes > maxCount {
			return fmt.Errorf("-exchange %d: not from 0 to %d", o.echoes, maxCount)
		}
		if o.frames < 0 || o.frames > maxFrames {
			return fmt.Errorf("-capture %d: not from 0 to %d", o.frames, maxFrames)
		}
		if o.targets, err = parseSizes(*sizes); err != nil {
			return err
		}
		if *conditionNames != "" {
			if o.conditions, err = choose("condition", allConditions, *conditionNames); err != nil {
				return err
			}
		}
		o.tools, err = choose("tool", allTools, *toolNames)
		return err
	}()
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
	}
	return o, err
}

// parseSizes reads how many targets are many.
func parseSizes(list string) ([]int, error) {
	var sizes []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 2 || n > maxMany {
			return nil, fmt.Errorf("-targets %q: not a number from 2 to %d", text, maxMany)
		}
		sizes = append(sizes, n)
	}
	slices.Sort(sizes)
	return slices.Compact(sizes), nil
}

// named is what a list on the command line chooses from.
type named interface{ Name() string }

func names[T named](all []T) string {
	var list []string
	for _, x := range all {
		list = append(list, x.Name())
	}
	return strings.Join(list, ",")
}

func choose[T named](what string, all []T, list string) ([]T, error) {
	var chosen []T
next:
	for name := range strings.SplitSeq(list, ",") {
		for _, x := range all {
			if x.Name() == name {
				if slices.ContainsFunc(chosen, func(c T) bool { return c.Name() == name }) {
					return nil, fmt.Errorf("%s %q twice", what, name)
				}
				chosen = append(chosen, x)
				continue next
			}
		}
		return nil, fmt.Errorf("unknown %s %q: want some of %s", what, name, names(all))
	}
	return chosen, nil
}

// run measures everything and prints it. An error says that it could not.
func run(ctx context.Context, o *options, stdout, stderr io.Writer) error {
	dir := o.keep
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "l2ping-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, missing, err := newBench(ctx, o, dir, stderr)
	if err != nil {
		return err
	}
	r := b.newReport(missing)
	if err := r.printHead(stdout); err != nil {
		return err
	}
	for _, c := range o.conditions {
		if !slices.ContainsFunc(b.tools, func(t tool) bool { return t.arp == c.arp }) {
			fmt.Fprintf(stderr, "%s: no tool for it\n", c.name)
			continue
		}
		results, out, err := b.measure(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		s := newSection(c, b.job(c), results, out)
		r.Conditions = append(r.Conditions, s)
		if err := s.print(stdout, o.verbose); err != nil {
			return err
		}
	}
	if o.once > 0 {
		if r.Once, err = b.measureOnce(ctx); err != nil {
			return err
		}
		if err := r.Once.print(stdout); err != nil {
			return err
		}
	}
	if o.many > 0 {
		if r.Many, err = b.measureMany(ctx); err != nil {
			return err
		}
		if err := r.Many.print(stdout, o.verbose); err != nil {
			return err
		}
	}
	if o.echoes > 0 {
		if r.Echoes, err = b.measureEchoes(ctx); err != nil {
			return err
		}
		if err := r.Echoes.print(stdout, o.verbose); err != nil {
			return err
		}
	}
	if o.frames > 0 {
		if r.Torrent, err = b.measureTorrent(ctx); err != nil {
			return err
		}
		if err := r.Torrent.print(stdout, o.verbose); err != nil {
			return err
		}
	}
	if err := r.printSummary(stdout); err != nil {
		return err
	}
	if o.json != "" {
		return r.write(o.json)
	}
	return nil
}
