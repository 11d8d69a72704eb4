//go:build linux

package probe

import (
	"time"

	"github.com/l2ping/l2ping/l2"
)

const (
	// stampPatience is how long a reply is held for a departure stamp that
	// has not come; patience ends when patienceTries in a row did not.
	stampPatience = 10 * time.Millisecond
	patienceTries = 8
)

// points are the stamps that are to be had.
type points struct {
	// departure is the best of the software's, StampUser if there is none.
	// An arrival is stamped at StampDriver, except with StampUser.
	departure l2.StampPoint
	// hardware says that the NIC stamps both ways.
	hardware bool
}

// best is the pair of stamps to be had, named by its weaker end.
func (p points) best() l2.StampPoint {
	if p.hardware {
		return l2.StampHardware
	}
	return p.departure
}

// A departure is when a request left.
type departure struct {
	sent instant
	// Stamps, 0 while there is none: by CLOCK_REALTIME, and by the NIC's clock.
	sched, driver, hardware int64
}

// take takes a stamp.
func (d *departure) take(s *l2.Stamp) {
	switch s.Point {
	case l2.StampSched:
		d.sched = s.Time
	case l2.StampDriver:
		d.driver = s.Time
	case l2.StampHardware:
		d.hardware = s.Time
	}
}

// softwareStamp is the stamp at a point, 0 if there is none.
func (d *departure) softwareStamp(point l2.StampPoint) int64 {
	switch point {
	case l2.StampDriver:
		return d.driver
	case l2.StampSched:
		return d.sched
	}
	return 0
}

// A landing is when an answer came.
type landing struct {
	stamp    int64   // by CLOCK_REALTIME, 0 if there is none
	hardware int64   // by the NIC's clock, 0 if there is none
	sent     instant // of its request
	got      instant
	until    int64 // it waits for its request's stamps
}

func (l *landing) landed() *landing { return l }

// at is the wall-clock time of the arrival.
func (l *landing) at() int64 {
	if l.stamp != 0 {
		return l.stamp
	}
	return l.got.wall
}

// An arrival is a reply that waits for its probe's departure stamps.
type arrival struct {
	landing
	target *target
	n      uint64
	reply  Reply
	frames *Evidence
}

// elapsed is how long an answer took to this host, however long it then lay unread.
// It is below 0 for one that was there before.
func (p points) elapsed(sent instant, stamp int64, got instant) int64 {
	if stamp != 0 && p.departure != l2.StampUser && !stepped(sent, got) {
		return stamp - sent.wall
	}
	return got.mono - sent.mono
}

// lacksStamp tells whether an answer's request, if it is remembered, has yet to get
// the departure stamp that the RTT is best taken from.
func (p points) lacksStamp(d *departure, left bool, a *landing) bool {
	switch {
	case d == nil:
		return false
	case p.hardware && a.hardware != 0:
		return d.hardware == 0
	case a.stamp == 0:
		return false
	}
	return p.departure != l2.StampUser && left && d.softwareStamp(p.departure) == 0
}

// Times are what the stamps of a request and of its answer tell.
type Times struct {
	// RTT is the time between two stamps of one clock, RTTSource the weaker
	// of the two points.
	RTT       time.Duration
	RTTSource l2.StampPoint
	Budget    Budget
	// ClockStepped says that CLOCK_REALTIME, by which the kernel stamps, was
	// set while the request was out: its RTT is by CLOCK_MONOTONIC instead, at
	// l2.StampUser.
	ClockStepped bool
}

// times takes the RTT from the best pair of stamps by one clock, and the parts
// of the budget that have both their ends.
func (p points) times(t *Times, d *departure, a *landing) {
	t.RTT, t.RTTSource = time.Duration(a.got.mono-a.sent.mono), l2.StampUser
	t.Budget = Budget{Unknown, Unknown, Unknown, Unknown, Unknown}
	if p.departure == l2.StampUser {
		return
	}
	hardware := Unknown
	if p.hardware && d.hardware != 0 && a.hardware >= d.hardware {
		hardware = time.Duration(a.hardware - d.hardware)
	}
	// A step of CLOCK_REALTIME between the stamps would be in their
	// difference. The NIC's clock is another one.
	if stepped(a.sent, a.got) {
		if hardware != Unknown {
			t.RTT, t.RTTSource, t.Budget.Wire = hardware, l2.StampHardware, hardware
		} else {
			t.ClockStepped = true
		}
		return
	}
	t.software(p.departure, d, a)
	if hardware == Unknown {
		return
	}
	if t.Budget.Wire != Unknown {
		t.Budget.NIC = max(t.Budget.Wire-hardware, 0)
	}
	t.RTT, t.RTTSource, t.Budget.Wire = hardware, l2.StampHardware, hardware
}

// software takes what the stamps by CLOCK_REALTIME tell. A pair is named by its
// weaker end, and a stamp of the kernel's at one end is better than none.
func (t *Times) software(best l2.StampPoint, d *departure, a *landing) {
	b := &t.Budget
	to, end := a.got.wall, l2.StampUser
	if a.stamp != 0 {
		to, end = a.stamp, l2.StampDriver
		b.Receive = max(time.Duration(a.got.wall-a.stamp), 0)
	}
	from, start := a.sent.wall, l2.StampUser
	switch {
	case best == l2.StampDriver && d.driver != 0 && d.driver <= to:
		from, start = d.driver, l2.StampDriver
	case d.sched != 0 && d.sched <= to:
		from, start = d.sched, l2.StampSched
	}
	if from <= to {
		t.RTT, t.RTTSource = time.Duration(to-from), min(start, end)
	}
	if d.sched != 0 {
		b.Send = max(time.Duration(d.sched-a.sent.wall), 0)
		if d.driver != 0 {
			b.Queue = max(time.Duration(d.driver-d.sched), 0)
		}
	}
	if d.driver != 0 && a.stamp >= d.driver {
		b.Wire = time.Duration(a.stamp - d.driver)
	}
}

// departure is that of probe n.
func (t *target) departure(n uint64) *departure {
	if p := t.table.get(n); p != nil {
		return &p.departure
	}
	return nil
}

// departureOf is that of the probe which a reply answers.
func (e *engine) departureOf(a *arrival) (d *departure, left bool) {
	if p := a.target.table.get(a.n); p != nil {
		return &p.departure, p.left
	}
	return nil, false
}

// settled yields a reply.
func (e *engine) settled(a *arrival, now instant) {
	e.replied(a.target.table.get(a.n), a)
	a.target.holding--
	e.update(a.target, now)
}

// replied works out a reply's times and yields it.
func (e *engine) replied(p *entry, a *arrival) {
	r := &a.reply
	if p == nil {
		p = &entry{} // forgotten meanwhile
	} else if !r.Corrupted {
		e.departed(a.target, p, a.got)
	}
	var t Times
	e.points.times(&t, &p.departure, &a.landing)
	r.RTT, r.RTTSource, r.Budget, r.ClockStepped = t.RTT, t.RTTSource, t.Budget, t.ClockStepped
	a.target.stats.addReply(r)
	if e.total != nil {
		e.total.addReply(r)
	}
	event := a.target.event(Replied, a.at())
	event.Seq, event.Reply = a.n, *r
	e.push(&event, a.frames)
}

// departed counts how late a probe has left after it was due, and whether its
// best stamp came, once all that is known.
func (e *engine) departed(t *target, p *entry, now instant) {
	if !p.left || p.judged {
		return
	}
	p.judged = true
	e.tellDeparture(t, p)
	late := p.sent.mono - p.due
	if e.points.departure != l2.StampUser {
		stamp := p.softwareStamp(e.points.departure)
		if stamp == 0 || e.points.hardware && p.hardware == 0 {
			t.stats.StampsLost++
		}
		if stamp == 0 {
			stamp = p.sched
		}
		if stamp != 0 && !stepped(p.sent, now) {
			late += stamp - p.sent.wall
		}
	}
	t.stats.addTimerError(time.Duration(max(late, 0)))
	if e.total != nil {
		e.total.addTimerError(time.Duration(max(late, 0)))
	}
}
