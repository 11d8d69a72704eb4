//go:build linux && !kernels

package kernels_test

import (
	"testing"
	"time"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/probe"
)

// netemSlack is what is taken off a delay: netem counts in ticks of 64 ns, and
// by another clock than that of stamps.
const netemSlack = 10 * time.Microsecond

// ping runs a Pinger in a namespace and returns the run's replies and statistics.
func ping(t *testing.T, p *lab.Pair, cfg probe.Config) ([]probe.Reply, *probe.Statistics) {
	t.Helper()
	cfg.Targets, cfg.Interface = probe.Hosts(p.FarIP), "eth0"
	var pinger *probe.Pinger
	if err := p.Near.Do(func() (err error) {
		pinger, err = probe.New(cfg)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var (
		replies    []probe.Reply
		statistics *probe.Statistics
	)
	for event, err := range pinger.Run(t.Context()) {
		switch {
		case err != nil:
			t.Fatal(err)
		case event.Kind == probe.Replied:
			replies = append(replies, event.Reply)
		case event.Kind == probe.Summary:
			statistics = event.Statistics
		}
	}
	if statistics == nil || statistics.Sent != cfg.Count {
		t.Fatalf("the run's end has %+v, want %d probes sent", statistics, cfg.Count)
	}
	return replies, statistics
}

// netem has one end of a new pair do something to what it sends.
func netem(t *testing.T, far bool, cfg lab.Netem) *lab.Pair {
	t.Helper()
	p := labtest.NewPair(t, nil)
	end := p.Near
	if far {
		end = p.Far
	}
	// Who asks for a MAC may be as unlucky as who probes.
	for _, err := range []error{
		p.Near.SetNeighbor("eth0", p.FarIP, p.FarMAC, lab.Permanent),
		p.Far.SetNeighbor("eth0", p.NearIP, p.NearMAC, lab.Permanent),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	labtest.RequireKind(t, end.SetNetem("eth0", cfg))
	return p
}

// TestNetemDelay holds that what replies wait for at the far end is in the RTT,
// and what probes wait for in our own queueing discipline is in the queue's part
// of the budget. That the machine is slow can only add to either.
func TestNetemDelay(t *testing.T) {
	const delay, count = 5 * time.Millisecond, 50
	for _, far := range []bool{true, false} {
		name := map[bool]string{true: "replies", false: "probes"}[far]
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits, most of the time
			p := netem(t, far, lab.Netem{Delay: delay})
			replies, s := ping(t, p, probe.Config{Count: count, Interval: 10 * time.Millisecond, Timeout: 5 * time.Second})
			if len(replies) != count || s.Lost != 0 {
				t.Errorf("%d replies, %d lost, want %d and none", len(replies), s.Lost, count)
			}
			for i, r := range replies {
				took := r.RTT
				if !far {
					took = r.Budget.Queue
				}
				if took < delay-netemSlack {
					t.Errorf("reply %d: %v, want %v at least: %+v", i, took, delay, r)
				}
			}
		})
	}
}

// TestNetemLoss holds that as much is lost as netem was told to lose. Of 500
// probes that are each lost with a probability of 0.2, fewer than 50 or more
// than 158 are lost once in 10^9 runs.
func TestNetemLoss(t *testing.T) {
	const count = 500
	for _, far := range []bool{true, false} {
		name := map[bool]string{true: "replies", false: "probes"}[far]
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits, most of the time
			p := netem(t, far, lab.Netem{Loss: 20})
			replies, s := ping(t, p, probe.Config{Count: count, Interval: 2 * time.Millisecond, Timeout: 3 * time.Second})
			if lost := s.Lost - s.Late; lost < 50 || lost > 158 {
				t.Errorf("%d of %d lost, want about 100: %+v", lost, count, s)
			}
			if n := uint64(len(replies)); n != s.Received+s.Late || s.Duplicates != 0 {
				t.Errorf("%d replies, want each of %d received and %d late once", n, s.Received, s.Late)
			}
		})
	}
}

// TestNetemReorder has a quarter of 200 replies pass the others, which wait for a
// second; probes leave at once. Replies that were passed are reordered: all but
// those behind the last that did not wait, which are more than 72 once in 10^9
// runs (0.75^72), as it is that fewer than 110 or more than 184 wait.
func TestNetemReorder(t *testing.T) {
	const count = 200
	p := netem(t, true, lab.Netem{Delay: time.Second, Reorder: 25})
	replies, s := ping(t, p, probe.Config{Count: count, Preload: count, Timeout: 10 * time.Second})
	if len(replies) != count || s.Lost != 0 || s.Duplicates != 0 {
		t.Errorf("%d replies, want each of %d once: %+v", len(replies), count, s)
	}
	if s.Reordered < 110-72 || s.Reordered > 184 {
		t.Errorf("%d replies of %d are reordered, want about 150: %+v", s.Reordered, count, s)
	}
}
