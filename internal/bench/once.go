//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// onceSection is how long a run of one probe takes, the whole process from its
// start to its end.
type onceSection struct {
	Tools   []onceReport `json:"tools"`
	LeftOut []leftOut    `json:"left_out,omitempty"`
}

// onceReport is one tool's.
type onceReport struct {
	Tool    string    `json:"tool"`
	Known   wallTimes `json:"neighbor_known"`
	Unknown wallTimes `json:"neighbor_unknown"`
}

// wallTimes are the runs in their order, and their median.
type wallTimes struct {
	Median time.Duration   `json:"median_ns"`
	Runs   []time.Duration `json:"runs_ns"`
}

func (w *wallTimes) add(d time.Duration) {
	w.Runs = append(w.Runs, d)
	w.Median = quantile(w.Runs, 0.5)
}

// measureOnce runs each tool for one probe at its usual interval, interleaved,
// as often as -once says: first with the neighbors known, then with none.
// Nothing is captured meanwhile.
func (b *bench) measureOnce(ctx context.Context) (*onceSection, error) {
	s := &onceSection{}
	for _, t := range b.tools {
		s.Tools = append(s.Tools, onceReport{Tool: t.name})
	}
	failed := make([]bool, len(b.tools))
	for _, unresolved := range []bool{false, true} {
		fmt.Fprintf(b.progress, "one probe: %d runs of each, neighbors unknown: %v\n", b.once, unresolved)
		err := b.onceEach(ctx, condition{unresolved: unresolved}, func(i int, wall time.Duration, err error) error {
			switch {
			case failed[i]:
			case err == nil && unresolved:
				s.Tools[i].Unknown.add(wall)
			case err == nil:
				s.Tools[i].Known.add(wall)
			case b.tools[i].isOurs() || ctx.Err() != nil:
				return fmt.Errorf("%s: %w", s.Tools[i].Tool, err)
			default:
				failed[i] = true
				s.LeftOut = append(s.LeftOut, leftOut{s.Tools[i].Tool, firstLine(err)})
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("one probe: %w", err)
		}
	}
	return s, nil
}

// onceEach calls f with what each run took, or why it failed, by tool.
func (b *bench) onceEach(ctx context.Context, c condition, f func(i int, wall time.Duration, err error) error) (err error) {
	p, err := c.set()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	j := job{ifname: "eth0", target: p.FarIP, count: 1, interval: time.Second}
	for range b.once {
		for i, t := range b.tools {
			wall, err := b.onceTool(ctx, p, t, j)
			if err := f(i, wall, err); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) onceTool(ctx context.Context, p *place, t tool, j job) (time.Duration, error) {
	if err := p.ready(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, toolGrace)
	defer cancel()
	r, output, err := b.runTool(ctx, p.Near, t, j)
	if err != nil {
		return 0, err
	}
	samples, err := t.parse(output)
	if err == nil && len(samples) != 1 {
		err = fmt.Errorf("%d round-trip times reported of one probe", len(samples))
	}
	return r.wall, err
}
