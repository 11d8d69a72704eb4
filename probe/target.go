//go:build linux

package probe

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// A hop knows the MAC that a target's frames go to: an arp.Hop.
type hop interface {
	Snapshot() (arp.Neighbor, arp.Status)
	Doubt()
}

// A request is what is sent to a target, made for one probe by Patch: a
// frame.EchoTemplate. Fragments has the frames that it takes, valid until the next
// Patch.
type request interface {
	Patch(n uint64) []byte
	Fragments() [][]byte
	SetDstMAC(frame.MAC)
}

// A course is the way that a target's probes go. It changes when routing does.
type course struct {
	path    *l2.Path
	request request
	// echo is the request, if it is an echo.
	echo *frame.EchoTemplate
	hop  hop
	// seeker is the hop, if the target is asked for and not pinged.
	seeker *seeker
	// source is the address that replies come to.
	source netip.Addr
	// noMAC says that the frames bear no address of the next hop's.
	noMAC bool
	// err is why nothing can leave; noNeighbor what to say without a MAC.
	err, noNeighbor error
	sendError       func(error) error
	// change tells of the course, if it is not the first.
	change *Change
}

// A target is a host that is probed: what it is sent, what is out, and what has
// come of it. The engine's goroutine owns it, but for next.
type target struct {
	*course
	next    atomic.Pointer[course] // takes the place of course at the next probe
	address netip.Addr
	group   bool    // broadcast or multicast: anybody answers
	members members // who has, of a group
	dataLen int
	// started is to be told once the next hop is known, or known not to be.
	started *Started

	stats    Statistics
	table    table
	schedule schedule

	at      int64 // when there is something to do next
	place   int   // in the queue, -1 outside
	begun   bool  // the search for the next hop, if there was one, is over
	holding int   // replies that wait for stamps

	first   int64       // when the first probe was sent
	oldest  uint64      // no probe before this one is pending
	highest uint64      // the highest probe that was answered in time
	acked   uint64      // the highest probe that an answer of any kind came for
	losses  int         // in a row
	claims  []claim     // of those who have answered for it
	kept    []*Evidence // by place in the table, what waits for its stamps; nil without a recorder
	mac     frame.MAC
}

// prepare makes a target ready.
func (t *target) prepare(timeout int64, least int64) {
	t.table = newTable(t.schedule.outstanding(timeout), least)
	t.oldest = 1
	t.place = -1
	t.stats.Address = t.address
	if t.group {
		t.members = make(members)
	}
}

// holder is the probe that is out and has the place of probe n in the table, nil
// if there is none.
func (t *target) holder(n uint64) *entry {
	if p := t.table.slot(n); p.n != 0 && p.fate == fatePending {
		return p
	}
	return nil
}

// pending is the oldest probe that is out, nil if there is none.
func (t *target) pending() *entry {
	for ; t.oldest <= t.stats.Sent; t.oldest++ {
		if p := t.table.get(t.oldest); p != nil && p.fate == fatePending {
			return p
		}
	}
	return nil
}

// due is when the next probe is to leave.
func (t *target) due() int64 {
	return t.schedule.due(t.stats.Sent-t.acked, t.stats.RTT.Smoothed)
}

// counts is the statistics as they are.
func (t *target) counts() Statistics {
	s := t.stats
	s.Pending = s.Sent - s.Received - s.Lost - s.Errors
	return s
}

// hasAnswered tells whether the target has given any answer.
func (t *target) hasAnswered() bool { return t.stats.Received+t.stats.Late > 0 }

// event makes an event of the target.
func (t *target) event(kind Kind, at int64) Event {
	return Event{Kind: kind, Time: time.Unix(0, at), Address: t.address}
}
