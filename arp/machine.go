//go:build linux

package arp

import (
	"time"

	"github.com/l2ping/l2ping/l2/frame"
)

const (
	// askInterval is the least time between two requests for one address
	// (RFC 1122, section 2.3.2.1).
	askInterval = time.Second
	// askTries is how many requests go unanswered before the next hop counts
	// as failed, as in the kernel (arp(7), ucast_solicit and mcast_solicit).
	askTries = 3
	// freshFor is how long a MAC is believed before it is confirmed, about the
	// kernel's base_reachable_time (arp(7)).
	freshFor = 30 * time.Second
)

// A Status says how far resolution has come.
type Status uint8

// The states of resolution.
const (
	Pending  Status = iota // asked, no answer yet
	Resolved               // a MAC is known
	Failed                 // three requests went unanswered; asked again on demand
)

// asking says what the machine is after.
type asking uint8

const (
	askNothing   asking = iota
	askUnicast          // confirm the MAC that we have
	askBroadcast        // find one
)

// machine decides when to ask. It knows no socket and no clock: every method
// takes the present time.
type machine struct {
	status Status
	mac    frame.MAC
	fixed  bool // never asked, never doubted
	asking asking

	tries     int
	asked     time.Time // the last request
	started   time.Time // the first request of this resolution
	confirmed time.Time // when mac was last known to be right
	took      time.Duration
}

// newMachine starts from what the kernel's table says.
func newMachine(n Neighbor, now time.Time) machine {
	m := machine{mac: n.MAC, confirmed: now}
	switch {
	case !n.Known():
		m.asking = askBroadcast
	case n.How == HowNone, n.State.fixed():
		m.status, m.fixed = Resolved, true
	default:
		m.status = Resolved
		if n.State.String() != "reachable" {
			m.asking = askUnicast
		}
	}
	return m
}

// demand is told before each probe: somebody needs the MAC.
func (m *machine) demand(now time.Time) {
	if m.fixed || m.asking != askNothing {
		return
	}
	switch {
	case m.status != Resolved:
		m.begin(askBroadcast)
	case now.Sub(m.confirmed) >= freshFor:
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
	m.asking, m.tries, m.started = a, 0, time.Time{}
}

// next returns where to send a request now, if anywhere, and when to come back;
// the zero time means not before something happens.
func (m *machine) next(now time.Time) (dst frame.MAC, send bool, again time.Time) {
	if m.asking == askNothing {
		return frame.MAC{}, false, time.Time{}
	}
	if !m.asked.IsZero() && now.Sub(m.asked) < askInterval {
		return frame.MAC{}, false, m.asked.Add(askInterval)
	}
	if m.tries == askTries {
		m.giveUp(now)
		return frame.MAC{}, false, time.Time{}
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
	return dst, true, now.Add(askInterval)
}

func (m *machine) giveUp(now time.Time) {
	if m.asking == askBroadcast {
		m.status = Failed
	} else {
		// Probes may well come back though nobody answers ARP; if they do
		// not, doubt asks by broadcast.
		m.confirmed = now
	}
	m.asking = askNothing
}

// answer takes a reply. It reports whether the MAC is new.
func (m *machine) answer(mac frame.MAC, now time.Time) bool {
	changed := m.status != Resolved || m.mac != mac
	if m.asking == askBroadcast && !m.started.IsZero() {
		m.took = now.Sub(m.started)
	}
	m.status, m.mac, m.confirmed, m.asking = Resolved, mac, now, askNothing
	return changed
}
