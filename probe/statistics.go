//go:build linux

package probe

import (
	"math"
	"net/netip"
	"time"

	"github.com/l2ping/l2ping/l2"
)

// Statistics are a run's counts and times. Each probe is in exactly one of
// Received, Lost, Errors and Pending.
type Statistics struct {
	Address netip.Addr
	// Sent counts probes, those that could not leave included.
	Sent uint64
	// Received counts probes that were answered in time.
	Received uint64
	// Lost counts probes whose timeout passed, Late those of them, or of the
	// failed ones, that were answered afterwards.
	Lost, Late uint64
	// Errors counts probes that ended in an error, LateErrors errors for
	// probes that were lost before.
	Errors, LateErrors uint64
	// Pending counts probes that are still out.
	Pending uint64
	// Duplicates, Reordered and Corrupted count replies.
	Duplicates, Reordered, Corrupted uint64
	// Rejected counts frames that claimed to be replies and were not: wrong
	// cookie, wrong peer, wrong VLAN, an error that quotes what was not sent.
	// The classic filter cannot count those that it stops; RejectedInKernel
	// says whether the filter could.
	Rejected         uint64
	RejectedInKernel bool
	// Duration is from the first probe to the last.
	Duration time.Duration
	// RTT is over the replies in time and the late ones.
	RTT RTT
	// Stamps counts replies by the source of their RTT.
	Stamps [l2.StampHardware + 1]uint64
	// MaxOutstanding is the most probes that were out when an answer came:
	// ping's "pipe".
	MaxOutstanding uint64
	// Skipped counts places in the schedule that were left out because the
	// process had been stopped.
	Skipped uint64
	// KernelDrops counts matching frames that the receive socket had no room
	// for, EventsDropped events that their reader was too slow for. Neither
	// kind of event is missing from the other counts.
	KernelDrops, EventsDropped uint64
}

// LossRatio is (lost + errors) / (sent - pending), from 0 to 1; 0 with nothing
// sent.
func (s *Statistics) LossRatio() float64 {
	if s.Sent == s.Pending {
		return 0
	}
	return float64(s.Lost+s.Errors) / float64(s.Sent-s.Pending)
}

// RTT is a distribution of round-trip times in fixed memory.
type RTT struct {
	Count    uint64
	Min, Max time.Duration
	// Smoothed is the moving average with a weight of 1/8 that ping calls
	// ewma.
	Smoothed time.Duration

	// Mean and squared deviations from it, by Welford's recurrence, which
	// loses nothing to cancellation however long the run.
	mean, m2 float64
	smoothed float64
}

// Mean is the arithmetic mean.
func (r *RTT) Mean() time.Duration { return time.Duration(math.Round(r.mean)) }

// Stddev is the standard deviation of the population, ping's mdev.
func (r *RTT) Stddev() time.Duration {
	if r.Count == 0 {
		return 0
	}
	return time.Duration(math.Round(math.Sqrt(r.m2 / float64(r.Count))))
}

func (r *RTT) add(d time.Duration) {
	r.Count++
	x := float64(d)
	delta := x - r.mean
	r.mean += delta / float64(r.Count)
	r.m2 += delta * (x - r.mean)
	if r.Count == 1 {
		r.Min, r.Max, r.smoothed = d, d, x
	} else {
		r.Min, r.Max = min(r.Min, d), max(r.Max, d)
		r.smoothed += (x - r.smoothed) / 8
	}
	r.Smoothed = time.Duration(math.Round(r.smoothed))
}
