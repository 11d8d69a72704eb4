//go:build linux

package arp

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// How says where a MAC comes from.
type How uint8

const (
	// HowNone: no MAC is known, or nobody had to be asked for it: the
	// destination is a broadcast or a multicast address, or the link has no
	// neighbors (Neighbor.Unneeded, or a MAC that the kernel takes for all).
	HowNone How = iota
	// HowTable: the kernel's neighbor table.
	HowTable
	// HowARP: an ARP request of our own.
	HowARP
	// HowNDP: a neighbor solicitation of our own, or an advertisement that
	// the next hop sent to all.
	HowNDP
	// HowOverride: the caller's word (TableConfig.NextHopMAC).
	HowOverride
)

// String returns the name in text and JSON.
func (h How) String() string {
	switch h {
	case HowTable:
		return "neighbor table"
	case HowARP:
		return "arp"
	case HowNDP:
		return "ndp"
	case HowOverride:
		return "override"
	}
	return "none"
}

// A State is the kernel's neighbor state (rtnetlink(7), NUD_*); 0 where the
// kernel has none.
type State uint16

// String returns the state in lower case, as `ip neigh` knows it: "reachable",
// "stale" and so on; "" for 0.
func (s State) String() string {
	for _, n := range []struct {
		state State
		name  string
	}{
		{unix.NUD_PERMANENT, "permanent"},
		{unix.NUD_NOARP, "noarp"},
		{unix.NUD_REACHABLE, "reachable"},
		{unix.NUD_PROBE, "probe"},
		{unix.NUD_STALE, "stale"},
		{unix.NUD_DELAY, "delay"},
		{unix.NUD_INCOMPLETE, "incomplete"},
		{unix.NUD_FAILED, "failed"},
	} {
		if s&n.state != 0 {
			return n.name
		}
	}
	return ""
}

// usable tells whether the kernel itself would send to an entry in this state.
func (s State) usable() bool {
	return s&(unix.NUD_PERMANENT|unix.NUD_NOARP|unix.NUD_REACHABLE|
		unix.NUD_PROBE|unix.NUD_STALE|unix.NUD_DELAY) != 0
}

// fixed tells whether the entry was set by hand, so that nobody may doubt it.
func (s State) fixed() bool { return s&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0 }

// A Neighbor is a next hop with its MAC.
type Neighbor struct {
	Addr netip.Addr
	// MAC is where frames to Addr go; zero while unknown, and where Unneeded.
	MAC frame.MAC
	// Unneeded says that frames go to no MAC: the link has no link layer
	// (l2.Interface.NoLink), or it is the loopback.
	Unneeded bool
	How      How
	// State is that of the kernel's entry, whether or not it was usable.
	State State
	// Took is how long it took to find out, from the first question to the
	// answer. It is never part of an RTT. It is 0 for a MAC that came unasked.
	Took time.Duration
	// Moves counts how often the MAC has become another since the next hop
	// was first asked for, and Was is the one before the last of these: where
	// Moves has grown, Addr has moved from Was to MAC, which How tells of.
	Moves uint32
	Was   frame.MAC
}

// Known tells whether frames can be sent.
func (n Neighbor) Known() bool { return n.Unneeded || !n.MAC.IsZero() }

// A Decision is everything that has to be decided before a frame can be built,
// with the reasons: what `l2ping route` prints is what probes are made of.
type Decision struct {
	Path     *l2.Path
	Neighbor Neighbor
}

// Lookup asks the kernel for the path's next hop; it needs no capability. The
// Neighbor is not Known where the kernel has no usable entry. A destination or
// a link without neighbors needs no entry. The calling thread's network
// namespace must be the interface's.
func Lookup(path *l2.Path) (Neighbor, error) {
	n := Neighbor{Addr: path.NextHop}
	given, ok := unasked(path)
	if ok && given.final {
		n.MAC, n.Unneeded = given.mac, given.unneeded
		return n, nil
	}
	start := time.Now()
	k, err := openKernelTable(false)
	if err != nil {
		return n, lookupError(path, err)
	}
	e, err := k.lookup(owner(path).Index, path.NextHop.WithZone(""))
	_ = k.Close() // it was read from alone
	n.Took = time.Since(start)
	if err != nil {
		return n, lookupError(path, err)
	}
	n.State = e.state
	switch {
	case e.usable():
		n.MAC, n.How = e.mac, HowTable
	case ok:
		n.MAC = given.mac
	}
	return n, nil
}

func lookupError(path *l2.Path, err error) error {
	return fmt.Errorf("look up %s in the neighbor table of %s: %w", path.NextHop, owner(path).Name, err)
}

// given is where frames go that nobody has to be asked for.
type given struct {
	mac      frame.MAC
	unneeded bool
	final    bool // the kernel's table has no say in it
}

// unasked says where frames of a path go if nobody has to be asked for it, whoever
// sends them.
func unasked(path *l2.Path) (given, bool) {
	ifc := path.Interface
	switch {
	case ifc.NoLink, ifc.Loopback:
		return given{unneeded: true, final: true}, true
	case path.Broadcast:
		return given{mac: frame.Broadcast, final: true}, true
	case path.Multicast:
		return given{mac: frame.MulticastMAC(path.Destination), final: true}, true
	// What the kernel takes where it does not ask, but for an entry that was
	// made by hand (net/ipv4/arp.c, arp_constructor; net/ipv6/ndisc.c,
	// ndisc_constructor).
	case owner(path).NoARP:
		return given{mac: owner(path).MAC}, true
	case owner(path).PointToPoint:
		return given{mac: frame.Broadcast}, true
	}
	return given{}, false
}

// owner is whose addresses, routes and neighbors apply to the path, which was
// perhaps made by hand.
func owner(path *l2.Path) *l2.Interface {
	if path.Owner != nil {
		return path.Owner
	}
	return path.Interface.Owner()
}
