//go:build linux

package arp

import (
	"context"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/l2/frame"
)

// A Hop is one next hop of a Table, for one source address. It is safe for
// concurrent use, and lives as long as its Table.
type Hop struct {
	table *Table
	other *Hop // of the same next hop, for another source

	addr   netip.Addr // with its zone
	source netip.Addr // whom to ask as; unspecified where there is none
	given  given      // a final one never changes, nor does its hop

	machine machine
	due     moment
	place   int32 // in the schedule
	index   int32 // of the interface in whose kernel table it stands; 0 is none
	how     How
	state   State

	changed chan struct{} // closed on a change, if somebody waits for one
}

// Snapshot says without blocking what is known, and that somebody needs it: a
// next hop is asked for only from its first Snapshot or Resolve on, a MAC grown
// old is confirmed, and a next hop that failed is asked again. It does not
// allocate.
func (h *Hop) Snapshot() (Neighbor, Status) {
	if h.given.final {
		return h.neighbor(), Resolved
	}
	t := h.table
	t.mu.Lock()
	defer t.mu.Unlock()
	h.demand()
	return h.neighbor(), h.machine.status
}

// Doubt says that probes to the MAC were lost: it is asked for by broadcast, or
// by a solicitation to its group. It does not block.
func (h *Hop) Doubt() {
	if h.given.final {
		return
	}
	t := h.table
	t.mu.Lock()
	defer t.mu.Unlock()
	before := h.machine.asking
	h.machine.doubt()
	h.wakeIfAsking(before)
}

// Resolve waits until the MAC is known or three requests have gone unanswered,
// or ctx is done; the Neighbor is not Known in the latter cases. Of a next hop
// that has failed before it returns that at once. Errors are ctx's and ErrClosed.
func (h *Hop) Resolve(ctx context.Context) (Neighbor, error) {
	if h.given.final {
		return h.neighbor(), nil
	}
	t := h.table
	for first := true; ; first = false {
		t.mu.Lock()
		n, status, closed := h.neighbor(), h.machine.status, t.closed
		if status == Pending && !closed {
			if first {
				h.demand()
			}
			if h.changed == nil {
				h.changed = make(chan struct{})
			}
		}
		changed := h.changed
		t.mu.Unlock()
		switch {
		case status != Pending:
			return n, nil
		case closed:
			return n, ErrClosed
		}
		select {
		case <-changed:
		case <-t.done:
		case <-ctx.Done():
			return n, context.Cause(ctx)
		}
	}
}

// demand has the machine ask if it is time. The table's mu is held.
func (h *Hop) demand() {
	before := h.machine.asking
	h.machine.demand(h.table.now())
	h.wakeIfAsking(before)
}

// wakeIfAsking has the loop see to a machine that has begun to ask. The table's
// mu is held.
func (h *Hop) wakeIfAsking(before asking) {
	t := h.table
	if h.machine.asking == before || t.closed {
		return
	}
	// Due at once, as far as the loop is concerned: it asks the machine.
	t.schedule.set(h, 1)
	t.wake()
}

// neighbor is what is known now. The table's mu is held, unless given.final.
func (h *Hop) neighbor() Neighbor {
	if h.given.final {
		return Neighbor{Addr: h.addr, MAC: h.given.mac, Unneeded: h.given.unneeded, How: h.how}
	}
	m := &h.machine
	n := Neighbor{Addr: h.addr, How: h.how, State: h.state, Took: m.took, Moves: m.moves, Was: m.was}
	if m.status == Resolved {
		n.MAC = m.mac
	} else {
		n.How = HowNone
	}
	return n
}

// answered takes what came for the hop. The table's mu is held.
func (h *Hop) answered(a answer, now moment) {
	before := h.machine.status
	if h.source.IsUnspecified() && h.machine.asking != askNothing {
		// What was asked from no address is answered to all, unsolicited by
		// its flag (RFC 4861, section 7.2.4).
		a.solicited = true
	}
	if h.machine.answer(a, now) {
		h.how = HowARP
		if h.addr.Is6() {
			h.how = HowNDP
		}
		h.tell(before)
	}
	h.table.reschedule(h)
}

// learned takes what the kernel's table has now. The table's mu is held.
func (h *Hop) learned(e entry, now moment) {
	before := h.machine.status
	h.state = e.state
	how := HowTable
	if !h.given.mac.IsZero() && !e.usable() {
		// The link has no neighbors but those that were made by hand.
		e, how = entry{mac: h.given.mac, state: unix.NUD_NOARP}, HowNone
	}
	if h.machine.learn(e, now) {
		h.how = how
		h.tell(before)
	}
	h.table.reschedule(h)
}

// moveTo is for an interface made anew, which had another MAC. The kernel has
// forgotten its neighbors. The table's mu is held.
func (h *Hop) moveTo(was, is frame.MAC) {
	if h.given.mac == was {
		h.given.mac = is // it is the neighbors', too
	}
	h.index = 0
	h.learned(entry{}, h.table.now())
	h.machine.suspect = h.machine.asking == askNothing && !h.machine.fixed
}

// tell wakes all that wait for a change: the table's owner, and those that wait
// for the hop's status to become another than it was. The table's mu is held.
func (h *Hop) tell(before Status) {
	t := h.table
	select {
	case t.changes <- struct{}{}:
	default: // told already, and not yet taken
	}
	if h.changed != nil && h.machine.status != before {
		close(h.changed)
		h.changed = nil
	}
}
