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

// An arrival is a reply that waits for its probe's departure stamps.
type arrival struct {
	target   *target
	n        uint64
	reply    Reply
	stamp    int64 // by CLOCK_REALTIME, 0 if there is none
	hardware int64 // by the NIC's clock, 0 if there is none
	sent     instant
	got      instant
	until    int64
}

// readStamps reads the departure stamps that have come.
func (e *engine) readStamps() {
	if e.points.departure == l2.StampUser {
		return
	}
	e.unread = 0
	for {
		n, more, _ := e.wire.ReadStamps(e.stamps)
		for _, s := range e.stamps[:n] {
			t, n := e.outbox.find(s.ID)
			if t == nil {
				continue
			}
			p := t.table.get(n)
			if p == nil {
				continue
			}
			switch s.Point {
			case l2.StampSched:
				p.sched = s.Time
			case l2.StampDriver:
				p.driver = s.Time
			case l2.StampHardware:
				p.hardware = s.Time
				e.impatient = 0 // they come, if after the reply
			}
		}
		if !more {
			return
		}
	}
}

// settle yields the replies that have their stamps, or have waited long enough,
// in the order in which they came.
func (e *engine) settle(now instant) {
	i := 0
	for ; i < len(e.held); i++ {
		a := &e.held[i]
		p := a.target.table.get(a.n)
		if e.lacksStamp(p, a) {
			if now.mono < a.until {
				break
			}
			e.impatient++
		} else {
			e.impatient = 0
		}
		e.replied(p, a)
		a.target.holding--
		e.update(a.target, now)
	}
	e.held = append(e.held[:0], e.held[i:]...)
}

// lacksStamp tells whether a reply's probe has yet to get the departure stamp
// that the RTT is best taken from.
func (e *engine) lacksStamp(p *entry, a *arrival) bool {
	switch {
	case p == nil:
		return false
	case e.points.hardware && a.hardware != 0:
		return p.hardware == 0
	case a.stamp == 0:
		return false
	}
	return e.points.departure != l2.StampUser && p.left && p.softwareStamp(e.points.departure) == 0
}

// softwareStamp is a probe's departure stamp at a point, 0 if it has none.
func (p *entry) softwareStamp(point l2.StampPoint) int64 {
	switch point {
	case l2.StampDriver:
		return p.driver
	case l2.StampSched:
		return p.sched
	}
	return 0
}

// replied works out a reply's times and yields it.
func (e *engine) replied(p *entry, a *arrival) {
	r := &a.reply
	if p == nil {
		p = &entry{} // forgotten meanwhile
	} else if !r.Corrupted {
		e.departed(a.target, p, a.got)
	}
	e.times(p, a)
	a.target.stats.addReply(r)
	if e.total != nil {
		e.total.addReply(r)
	}
	at := a.got.wall
	if a.stamp != 0 {
		at = a.stamp
	}
	event := a.target.event(Replied, at)
	event.Seq, event.Reply = a.n, *r
	e.events.push(&event)
}

// times takes the RTT from the best pair of stamps by one clock, and the parts
// of the budget that have both their ends.
func (e *engine) times(p *entry, a *arrival) {
	r := &a.reply
	r.RTT, r.RTTSource = time.Duration(a.got.mono-a.sent.mono), l2.StampUser
	r.Budget = Budget{Unknown, Unknown, Unknown, Unknown, Unknown}
	if e.points.departure == l2.StampUser {
		return
	}
	hardware := Unknown
	if e.points.hardware && p.hardware != 0 && a.hardware >= p.hardware {
		hardware = time.Duration(a.hardware - p.hardware)
	}
	// A step of CLOCK_REALTIME between the stamps would be in their
	// difference. The NIC's clock is another one.
	if stepped(a.sent, a.got) {
		if hardware != Unknown {
			r.RTT, r.RTTSource, r.Budget.Wire = hardware, l2.StampHardware, hardware
		} else {
			r.ClockStepped = true
		}
		return
	}
	e.software(p, a)
	if hardware == Unknown {
		return
	}
	if r.Budget.Wire != Unknown {
		r.Budget.NIC = max(r.Budget.Wire-hardware, 0)
	}
	r.RTT, r.RTTSource, r.Budget.Wire = hardware, l2.StampHardware, hardware
}

// software takes what the stamps by CLOCK_REALTIME tell. A pair is named by its
// weaker end, and a stamp of the kernel's at one end is better than none.
func (e *engine) software(p *entry, a *arrival) {
	r, b := &a.reply, &a.reply.Budget
	to, end := a.got.wall, l2.StampUser
	if a.stamp != 0 {
		to, end = a.stamp, l2.StampDriver
		b.Receive = max(time.Duration(a.got.wall-a.stamp), 0)
	}
	from, start := a.sent.wall, l2.StampUser
	switch {
	case e.points.departure == l2.StampDriver && p.driver != 0 && p.driver <= to:
		from, start = p.driver, l2.StampDriver
	case p.sched != 0 && p.sched <= to:
		from, start = p.sched, l2.StampSched
	}
	if from <= to {
		r.RTT, r.RTTSource = time.Duration(to-from), min(start, end)
	}
	if p.sched != 0 {
		b.Send = max(time.Duration(p.sched-a.sent.wall), 0)
		if p.driver != 0 {
			b.Queue = max(time.Duration(p.driver-p.sched), 0)
		}
	}
	if p.driver != 0 && a.stamp >= p.driver {
		b.Wire = time.Duration(a.stamp - p.driver)
	}
}

// departed counts how late a probe has left after it was due, and whether its
// best stamp came, once all that is known.
func (e *engine) departed(t *target, p *entry, now instant) {
	if !p.left || p.judged {
		return
	}
	p.judged = true
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
