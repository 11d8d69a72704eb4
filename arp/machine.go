//go:build linux

package arp

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/l2/frame"
)

const (
	// askInterval is the least time between two requests for one address
	// (RFC 1122, section 2.3.2.1; RFC 4861, section 10, RETRANS_TIMER).
	askInterval = time.Second
	// askTries is how many requests go unanswered before the next hop counts
	// as failed, as in the kernel (arp(7), ucast_solicit and mcast_solicit).
	askTries = 3
	// freshFor is how long a MAC is believed before it is confirmed, about the
	// kernel's base_reachable_time (arp(7)).
	freshFor = 30 * time.Second
	// lockedFor is how long a MAC that was just confirmed stands against
	// another that nobody asked for, as in the kernel (arp(7), locktime): where
	// two hosts answer for one address the first one has it.
	lockedFor = time.Second
)

// A Status says how far resolution has come.
type Status uint8

// The states of resolution.
const (
	Pending  Status = iota // nobody has asked yet, or asked and no answer yet
	Resolved               // it is known where frames go
	Failed                 // three requests went unanswered; asked again on demand
)

// A moment is a time in nanoseconds since its table's epoch, which lies in the
// past: 0 is none.
type moment int64

const never moment = 0

func (m moment) add(d time.Duration) moment { return m + moment(d) }

// since is how long before m another moment was, which is not never.
func (m moment) since(before moment) time.Duration { return time.Duration(m - before) }

// asking says what the machine is after.
type asking uint8

const (
	askNothing   asking = iota
	askUnicast          // confirm the MAC that we have
	askBroadcast        // find one
)

// An answer is what a reply or an advertisement says of a next hop.
type answer struct {
	mac frame.MAC // zero in an advertisement that names none
	// solicited and override are an advertisement's flags (RFC 4861, section
	// 4.4); an ARP reply is both.
	solicited, override bool
}

// An entry is what the kernel's neighbor table has of a next hop; without one
// it is zero.
type entry struct {
	mac   frame.MAC
	state State
}

// usable tells whether there is a MAC that the kernel itself would send to. A
// NOARP entry of Ethernet has a MAC; an entry without one is no use.
func (e entry) usable() bool { return e.state.usable() && !e.mac.IsZero() }

// machine decides when to ask, and whom to believe. The zero machine knows
// nothing, and asks nothing before somebody needs the MAC. It has no socket and
// no clock: every method takes the present time.
type machine struct {
	asked     moment // the last request
	started   moment // the first request of this resolution
	confirmed moment // when mac was last known to be right
	took      time.Duration

	mac   frame.MAC // the last one that was known, also when it has failed
	was   frame.MAC // the one before
	table frame.MAC // what the kernel's table had last
	moves uint32

	status  Status
	asking  asking
	tries   uint8
	fixed   bool // by an entry that was set by hand: never asked, never doubted
	suspect bool // the next demand asks everybody
}

// demand is told before each probe: somebody needs the MAC.
func (m *machine) demand(now moment) {
	if m.fixed || m.asking != askNothing {
		return
	}
	switch {
	case m.status != Resolved || m.suspect:
		m.begin(askBroadcast)
	case m.confirmed == never || now.since(m.confirmed) >= freshFor:
		m.begin(askUnicast)
	}
}

// doubt is told when probes are lost: the MAC may have moved.
func (m *machine) doubt() {
	if !m.fixed && m.asking != askBroadcast {
		m.begin(askBroadcast)
	}
}

func (m *machine) begin(a asking) {
	m.asking, m.tries, m.started, m.suspect = a, 0, never, false
}

// next returns where to send a request now, if anywhere, and when to come back;
// never means not before something happens. To frame.Broadcast stands for
// everybody, however many that are.
func (m *machine) next(now moment) (dst frame.MAC, send bool, again moment) {
	if m.asking == askNothing {
		return frame.MAC{}, false, never
	}
	if m.asked != never && now.since(m.asked) < askInterval {
		return frame.MAC{}, false, m.asked.add(askInterval)
	}
	if m.tries == askTries {
		m.giveUp(now)
		return frame.MAC{}, false, never
	}
	if m.tries == 0 {
		m.started = now
	}
	m.tries++
	m.asked = now
	dst = frame.Broadcast
	if m.asking == askUnicast {
		dst = m.mac
	}
	return dst, true, now.add(askInterval)
}

// unsent takes back the request that next has just called for: a queue was full
// and it did not leave. It is due again after a pause. What came in between
// stays.
func (m *machine) unsent(now moment, pause time.Duration) {
	if m.asking == askNothing || m.tries == 0 {
		return
	}
	m.tries--
	m.asked = now.add(pause - askInterval)
}

func (m *machine) giveUp(now moment) {
	if m.asking == askBroadcast {
		m.status = Failed
	} else {
		// Probes may well come back though nobody answers ARP; if they do
		// not, doubt asks by broadcast.
		m.confirmed = now
	}
	m.asking = askNothing
}

// answer takes a reply, by the rules of RFC 4861, section 7.2.5: a next hop
// that everybody is asked for is INCOMPLETE there, one that is confirmed is in
// PROBE. It reports whether the status or the MAC is new.
func (m *machine) answer(a answer, now moment) bool {
	known := m.status == Resolved
	incomplete := !known || m.asking == askBroadcast
	switch {
	case m.fixed:
		return false
	case a.mac.IsZero():
		// Whom we ask by name need not name the MAC that we have.
		if known && a.solicited {
			m.confirm(now)
		}
		return false
	case !incomplete && a.mac != m.mac && !a.override:
		// Kept, and believed no more.
		if m.asking == askNothing {
			m.confirmed = never
		}
		return false
	case !incomplete && a.mac != m.mac && m.asking == askNothing &&
		m.confirmed != never && now.since(m.confirmed) < lockedFor:
		return false
	case !incomplete && a.mac == m.mac && !a.solicited:
		return false
	}
	var took time.Duration
	if m.asking == askBroadcast && m.started != never {
		took = now.since(m.started)
	}
	changed := m.take(a.mac)
	if changed {
		m.took = took
	}
	m.confirmed = never
	if a.solicited {
		m.confirmed = now
	}
	m.asking, m.suspect = askNothing, false
	return changed
}

// confirm says that the MAC that is known is right.
func (m *machine) confirm(now moment) {
	m.confirmed, m.asking, m.suspect = now, askNothing, false
}

// take makes a MAC the one that is known. It reports whether that is news.
func (m *machine) take(mac frame.MAC) bool {
	changed := m.status != Resolved || m.mac != mac
	if !m.mac.IsZero() && m.mac != mac {
		m.was = m.mac
		m.moves++
	}
	m.status, m.mac = Resolved, mac
	return changed
}

// learn takes what the kernel's neighbor table has now. The kernel hears what
// we do not, such as gratuitous ARP (RFC 5227, section 3), so a MAC that is new
// in its table, or that it has just confirmed, is believed at once; one that it
// merely still has is not, against what was asked since. It reports whether the
// status or the MAC is new.
func (m *machine) learn(e entry, now moment) (changed bool) {
	before, wasFixed := m.table, m.fixed
	m.fixed, m.table = false, frame.MAC{}
	if !e.usable() {
		// Set by hand and taken away, or the kernel asked and nobody answered.
		if wasFixed || e.state&unix.NUD_FAILED != 0 && m.status == Resolved && m.mac == before {
			m.suspect = m.asking == askNothing
		}
		return false
	}
	m.table = e.mac
	reachable := e.state&unix.NUD_REACHABLE != 0
	switch {
	case e.state.fixed():
		m.fixed = true
	case m.status == Resolved && m.mac == e.mac:
		if reachable && m.asking != askBroadcast {
			m.confirm(now)
		}
		return false
	case e.mac == before && !reachable:
		return false
	}
	changed = m.take(e.mac)
	if changed {
		m.took = 0
	}
	m.confirmed = never
	if reachable {
		m.confirmed = now
	}
	m.asking, m.suspect = askNothing, false
	return changed
}
