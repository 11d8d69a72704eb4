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
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// What the accuracy of l2ping has to reach, in the median of the runs.
const (
	wantP99   = 5 * time.Microsecond // of |error|, at most
	wantTimes = 8                    // ping's p99 is at least so many times that
)

// options are the flags.
type options struct {
	l2ping     string // path; built if ""
	count      int
	interval   time.Duration
	runs       int
	conditions []condition
	tools      []tool
	json       string
	keep       string // directory for captures and outputs; "" is a temporary one
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
	fs.IntVar(&o.count, "count", 1000, "probes a run")
	fs.DurationVar(&o.interval, "interval", 10*time.Millisecond, "time between probes")
	fs.IntVar(&o.runs, "runs", 3, "runs of each tool, interleaved")
	fs.StringVar(&o.json, "json", "", "write the results to this `file`, too")
	fs.StringVar(&o.keep, "keep", "", "keep captures and outputs in this `directory`")
	conditionNames := fs.String("conditions", names(allConditions), "under which conditions, a `list`")
	toolNames := fs.String("tools", names(allTools), "which tools, a `list`")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	err := func() (err error) {
		if fs.NArg() > 0 {
			return fmt.Errorf("unexpected argument %q", fs.Arg(0))
		}
		if o.count < 1 || o.count > maxCount {
			return fmt.Errorf("-count %d: not from 1 to %d", o.count, maxCount)
		}
		if o.interval < time.Millisecond || o.interval > time.Minute {
			return fmt.Errorf("-interval %v: not from 1ms to 1m", o.interval)
		}
		if o.runs < 1 || o.runs > 100 {
			return fmt.Errorf("-runs %d: not from 1 to 100", o.runs)
		}
		if o.conditions, err = choose("condition", allConditions, *conditionNames); err != nil {
			return err
		}
		o.tools, err = choose("tool", allTools, *toolNames)
		return err
	}()
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
	}
	return o, err
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
	programs, err := findPrograms(ctx, o, dir)
	if err != nil {
		return err
	}
	b := &bench{options: o, dir: dir, programs: programs, progress: stderr}
	report := newReport(o)
	for _, c := range o.conditions {
		results, err := b.measure(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		section := newSection(c, results)
		report.Conditions = append(report.Conditions, section)
		if err := section.print(stdout); err != nil {
			return err
		}
	}
	if o.json != "" {
		return report.write(o.json)
	}
	return nil
}
