package lab

import (
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NeighborState is a state of the kernel's neighbor entry (NUD_*).
type NeighborState int

// The states of a neighbor entry, from linux/neighbour.h.
const (
	Incomplete NeighborState = unix.NUD_INCOMPLETE
	Reachable  NeighborState = unix.NUD_REACHABLE
	Stale      NeighborState = unix.NUD_STALE
	Delay      NeighborState = unix.NUD_DELAY
	Probe      NeighborState = unix.NUD_PROBE
	Failed     NeighborState = unix.NUD_FAILED
	NoARP      NeighborState = unix.NUD_NOARP
	Permanent  NeighborState = unix.NUD_PERMANENT
)

// SetNeighbor adds or replaces the neighbor entry of ip. mac is nil for the
// states that have none.
func (n *Namespace) SetNeighbor(ifname string, ip netip.Addr, mac net.HardwareAddr, state NeighborState) error {
	return n.onLink(ifname, "set neighbor "+ip.String()+" on", func(h *netlink.Handle, l netlink.Link) error {
		return h.NeighSet(&netlink.Neigh{
			LinkIndex: l.Attrs().Index, IP: ip.AsSlice(), HardwareAddr: mac, State: int(state),
		})
	})
}

// DelNeighbor removes the neighbor entry of ip.
func (n *Namespace) DelNeighbor(ifname string, ip netip.Addr) error {
	return n.onLink(ifname, "delete neighbor "+ip.String()+" on", func(h *netlink.Handle, l netlink.Link) error {
		return h.NeighDel(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: ip.AsSlice()})
	})
}

// Neighbor is the kernel's entry of ip: its hardware address, if it has one,
// and its state; state 0 if there is no entry.
func (n *Namespace) Neighbor(ifname string, ip netip.Addr) (net.HardwareAddr, NeighborState, error) {
	var found netlink.Neigh
	err := n.onLink(ifname, "list neighbors on", func(h *netlink.Handle, l netlink.Link) error {
		for {
			list, err := h.NeighList(l.Attrs().Index, unix.AF_UNSPEC)
			if errors.Is(err, netlink.ErrDumpInterrupted) {
				continue // the table changed meanwhile: ask again
			}
			for _, entry := range list {
				if got, ok := netip.AddrFromSlice(entry.IP); ok && got.Unmap() == ip {
					found = entry
				}
			}
			return err
		}
	})
	return found.HardwareAddr, NeighborState(found.State), err
}

// SetForward tells a vxlan interface at which end a MAC is, or with the MAC
// 00:00:00:00:00:00 one more end that gets broadcasts and what has no entry
// (vxlan_fdb_append).
func (n *Namespace) SetForward(ifname string, mac net.HardwareAddr, end netip.Addr) error {
	return n.onLink(ifname, "set forwarding of "+mac.String()+" on", func(h *netlink.Handle, l netlink.Link) error {
		entry := &netlink.Neigh{
			LinkIndex: l.Attrs().Index, Family: unix.AF_BRIDGE, Flags: unix.NTF_SELF,
			State: unix.NUD_PERMANENT, IP: end.AsSlice(), HardwareAddr: mac,
		}
		return h.NeighAppend(entry)
	})
}
