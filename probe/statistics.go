//go:build linux

package probe

import (
	"net/netip"
	"time"

	"github.com/l2ping/l2ping/l2"
)

// Statistics are a run's counts and times, in fixed memory. Each probe is in
// exactly one of Received, Lost, Errors and Pending.
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
	// Budget has the parts of their probes' times, where they were measured.
	Budget BudgetStatistics
	// Stamps counts replies by the source of their RTT.
	Stamps [l2.StampHardware + 1]uint64
	// StampsLost counts probes whose departure stamps did not come.
	StampsLost uint64
	// ClockSteps counts probes during which CLOCK_REALTIME was set. Their RTT
	// is by the monotonic clock, at l2.StampUser.
	ClockSteps uint64
	// TimerError is how late probes left after they were due.
	TimerError Distribution
	// MaxOutstanding is the most probes that were out when an answer came:
	// ping's "pipe".
	MaxOutstanding uint64
	// Skipped counts places in the schedule that were left out because the
	// process, or the interface's queue, had stood still.
	Skipped uint64
	// SendRetries counts frames that had to be sent again because the
	// interface's queue was full (ENOBUFS).
	SendRetries uint64
	// KernelDrops counts matching frames that the receive socket had no room
	// for, EventsDropped events that their reader was too slow for. Neither
	// kind of event is missing from the other counts.
	KernelDrops, EventsDropped uint64
}

// BudgetStatistics are the parts of a Budget, each over the probes of which it
// was measured.
type BudgetStatistics struct {
	Send, Queue, Wire, Receive, NIC Distribution
}

// addReply adds the times of a reply, if it is one that its probe is judged by.
func (s *Statistics) addReply(r *Reply) {
	switch r.State {
	case StateReplied, StateReordered, StateLate:
	default:
		return
	}
	s.RTT.Add(r.RTT)
	s.Stamps[r.RTTSource]++
	if r.ClockStepped {
		s.ClockSteps++
	}
	b := &s.Budget
	b.Send.addPart(r.Budget.Send)
	b.Queue.addPart(r.Budget.Queue)
	b.Wire.addPart(r.Budget.Wire)
	b.Receive.addPart(r.Budget.Receive)
	b.NIC.addPart(r.Budget.NIC)
}

func (d *Distribution) addPart(part time.Duration) {
	if part != Unknown {
		d.Add(part)
	}
}

// clone returns a copy that shares nothing.
func (s *Statistics) clone() Statistics {
	c := *s
	for _, d := range c.distributions() {
		*d = d.clone()
	}
	return c
}

func (s *Statistics) distributions() [7]*Distribution {
	b := &s.Budget
	return [...]*Distribution{&s.RTT.Distribution, &b.Send, &b.Queue, &b.Wire, &b.Receive, &b.NIC, &s.TimerError}
}

// LossRatio is (lost + errors) / (sent - pending), from 0 to 1; 0 with nothing
// sent.
func (s *Statistics) LossRatio() float64 {
	if s.Sent == s.Pending {
		return 0
	}
	return float64(s.Lost+s.Errors) / float64(s.Sent-s.Pending)
}
