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
	// Address is the target's; the zero Addr stands for all targets together.
	Address netip.Addr
	// Targets and Answered are how many there are, and how many of them have
	// answered a probe. They are told of all targets together.
	Targets, Answered int
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
	// MoreReplies counts, of a broadcast or multicast target, the replies of
	// other hosts to probes that were answered already; of a target that is
	// asked for, those of other MACs.
	MoreReplies uint64
	// Broadcasts counts, of targets that are asked for, the requests that went
	// to everybody, and BroadcastReplies the answers that did, RequestReplies
	// those that were requests themselves (NeighborAnswer.Request); those in Duplicates
	// left out.
	Broadcasts, BroadcastReplies, RequestReplies uint64
	// Conflicts counts hosts beyond the first that have answered for an address.
	Conflicts uint64
	// Rejected counts frames that claimed to be replies and were not: wrong
	// cookie, wrong peer, wrong VLAN, an error that quotes what was not sent.
	// The classic filter cannot count those that it stops; RejectedInKernel
	// says whether the filter could.
	Rejected         uint64
	RejectedInKernel bool
	// OtherMember counts replies that came in by another member of the
	// interface's bridge, bond or VRF.
	OtherMember uint64
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
	// EvidenceDropped counts events that had no room for their frames; those of
	// EventsDropped are not among them.
	EvidenceDropped uint64

	coarse bool
}

// BudgetStatistics are the parts of a Budget, each over the probes of which it
// was measured.
type BudgetStatistics struct {
	Send, Queue, Wire, Receive, NIC Distribution
}

// brief says that of the times only the RTTs are kept, and those coarsely: the
// host's own share is the same whoever is probed, and total has it.
func (s *Statistics) brief() { s.coarse = true }

// addTimerError adds how late a probe left.
func (s *Statistics) addTimerError(late time.Duration) {
	if !s.coarse {
		s.TimerError.Add(late)
	}
}

// addReply adds the times of a reply, if it is one that its probe is judged by.
func (s *Statistics) addReply(r *Reply) {
	switch r.State {
	case StateReplied, StateReordered, StateLate:
	default:
		return
	}
	s.RTT.add(r.RTT, s.coarse)
	s.Stamps[r.RTTSource]++
	if r.ClockStepped {
		s.ClockSteps++
	}
	if s.coarse {
		return
	}
	b := &s.Budget
	b.Send.addPart(r.Budget.Send)
	b.Queue.addPart(r.Budget.Queue)
	b.Wire.addPart(r.Budget.Wire)
	b.Receive.addPart(r.Budget.Receive)
	b.NIC.addPart(r.Budget.NIC)
}

// count adds the counts of another target. Times are not added, but for the
// duration, which is the longest.
func (s *Statistics) count(o *Statistics) {
	for _, c := range [...]struct{ sum, more *uint64 }{
		{&s.Sent, &o.Sent}, {&s.Received, &o.Received}, {&s.Lost, &o.Lost}, {&s.Late, &o.Late},
		{&s.Errors, &o.Errors}, {&s.LateErrors, &o.LateErrors}, {&s.Pending, &o.Pending},
		{&s.Duplicates, &o.Duplicates}, {&s.Reordered, &o.Reordered}, {&s.Corrupted, &o.Corrupted},
		{&s.MoreReplies, &o.MoreReplies}, {&s.Broadcasts, &o.Broadcasts},
		{&s.BroadcastReplies, &o.BroadcastReplies}, {&s.RequestReplies, &o.RequestReplies}, {&s.Conflicts, &o.Conflicts}, {&s.OtherMember, &o.OtherMember}, {&s.StampsLost, &o.StampsLost},
		{&s.Skipped, &o.Skipped}, {&s.SendRetries, &o.SendRetries},
	} {
		*c.sum += *c.more
	}
	s.Duration = max(s.Duration, o.Duration)
	s.MaxOutstanding = max(s.MaxOutstanding, o.MaxOutstanding)
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
