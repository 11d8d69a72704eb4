//go:build linux

package arp

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// How says where a MAC comes from.
type How uint8

const (
	// HowNone: no MAC is known, or none is needed, as for a broadcast.
	HowNone How = iota
	// HowTable: the kernel's neighbor table.
	HowTable
	// HowARP: an ARP request of our own.
	HowARP
)

// String returns the name in text and JSON.
func (h How) String() string {
	switch h {
	case HowTable:
		return "neighbor table"
	case HowARP:
		return "arp"
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
	// MAC is where frames to Addr go; zero while unknown.
	MAC frame.MAC
	How How
	// State is that of the kernel's entry, whether or not it was usable.
	State State
	// Took is how long it took to find out, from the first question to the
	// answer. It is never part of an RTT.
	Took time.Duration
}

// Known tells whether there is a MAC to send to.
func (n Neighbor) Known() bool { return !n.MAC.IsZero() }

// A Decision is everything that has to be decided before a frame can be built,
// with the reasons: what `l2ping route` prints is what probes are made of.
type Decision struct {
	Path     *l2.Path
	Neighbor Neighbor
}

// Lookup asks the kernel for the path's next hop. The Neighbor is not Known
// where the kernel has no usable entry. A broadcast needs no entry. The
// calling thread's network namespace must be the interface's.
func Lookup(path *l2.Path) (Neighbor, error) {
	n := Neighbor{Addr: path.NextHop}
	if path.Broadcast {
		n.MAC = frame.Broadcast
		return n, nil
	}
	start := time.Now()
	entry, err := kernelEntry(path)
	n.Took = time.Since(start)
	if errors.Is(err, unix.ENOENT) {
		return n, nil
	}
	if err != nil {
		return n, fmt.Errorf("look up %s in the neighbor table of %s: %w", path.NextHop, path.Interface.Name, err)
	}
	n.State = State(entry.State)
	if !n.State.usable() {
		return n, nil
	}
	// A NOARP entry of Ethernet has a MAC; an entry without one is no use.
	if mac, err := frame.MACFrom(entry.HardwareAddr); err == nil && !mac.IsZero() {
		n.MAC, n.How = mac, HowTable
	}
	return n, nil
}

// kernelEntry gets one entry without dumping the table (Linux 5.0,
// net/core/neighbour.c, neigh_get).
func kernelEntry(path *l2.Path) (*netlink.Neigh, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, 0)
	req.AddData(&netlink.Ndmsg{Family: unix.AF_INET, Index: uint32(path.Interface.Index)})
	req.AddData(nl.NewRtAttr(unix.NDA_DST, path.NextHop.AsSlice()))
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	if err != nil {
		return nil, err
	}
	if len(msgs) == 0 {
		return nil, unix.ENOENT
	}
	return netlink.NeighDeserialize(msgs[0])
}
