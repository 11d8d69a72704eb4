package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// upTimeout bounds the wait for a link's carrier. The kernel takes
// microseconds; a slow, emulated machine takes less than this.
const upTimeout = 10 * time.Second

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

// devconf indices, from linux/ip.h (IPV4_DEVCONF_*).
const (
	devconfForwarding = 1
	devconfRPFilter   = 8
	devconfARPNotify  = 22
)

func (n *Namespace) link(ifname string) (netlink.Link, error) {
	h, err := n.netlink()
	if err != nil {
		return nil, err
	}
	link, err := h.LinkByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", ifname, err)
	}
	return link, nil
}

// onLink calls f with the link of that name; what says what for, in an error.
func (n *Namespace) onLink(ifname, what string, f func(*netlink.Handle, netlink.Link) error) error {
	h, err := n.netlink()
	if err == nil {
		var link netlink.Link
		if link, err = n.link(ifname); err == nil {
			err = f(h, link)
		}
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, ifname, err)
	}
	return nil
}

// SetUp sets an interface up. It does not wait for the carrier: see WaitUp.
func (n *Namespace) SetUp(ifname string) error {
	return n.onLink(ifname, "set up", (*netlink.Handle).LinkSetUp)
}

// SetDown sets an interface down. The other end of a veth pair loses its
// carrier by it, and the routes by the interface are gone.
func (n *Namespace) SetDown(ifname string) error {
	return n.onLink(ifname, "set down", (*netlink.Handle).LinkSetDown)
}

// WaitUp waits until an interface is up, has a carrier, and can transmit. When
// the other end of a veth pair comes up, the kernel gives this end its
// transmit queue in the background (linkwatch_do_dev); frames sent before
// that are dropped without a word.
func (n *Namespace) WaitUp(ifname string) error {
	err := n.Do(func() error {
		// Subscribed before the state is read, so no change is missed.
		events, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
		if err != nil {
			return fmt.Errorf("subscribe to link changes: %w", err)
		}
		defer events.Close()
		deadline := time.Now().Add(upTimeout)
		for {
			link, err := n.link(ifname)
			if err != nil {
				return err
			}
			if link.Attrs().OperState == netlink.OperUp {
				return nil
			}
			left := time.Until(deadline)
			if left <= 0 {
				return fmt.Errorf("still %v after %v: %w", link.Attrs().OperState, upTimeout, unix.ETIMEDOUT)
			}
			timeout := unix.NsecToTimeval(left.Nanoseconds())
			if err := events.SetReceiveTimeout(&timeout); err != nil {
				return err
			}
			if _, _, err := events.Receive(); err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENOBUFS) {
				return err
			}
		}
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w", ifname, err)
	}
	return nil
}

// SetMAC changes an interface's hardware address.
func (n *Namespace) SetMAC(ifname string, mac net.HardwareAddr) error {
	return n.onLink(ifname, "set hardware address of", func(h *netlink.Handle, l netlink.Link) error {
		return h.LinkSetHardwareAddr(l, mac)
	})
}

// SetMTU changes an interface's MTU.
func (n *Namespace) SetMTU(ifname string, mtu int) error {
	return n.onLink(ifname, "set MTU of", func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetMTU(l, mtu) })
}

// DeleteLink removes an interface, and the other end of a veth pair with it.
func (n *Namespace) DeleteLink(ifname string) error {
	return n.onLink(ifname, "delete", (*netlink.Handle).LinkDel)
}

// AddVeth makes a veth pair with both ends in n, down, without an address, and
// with random MACs: a second interface, or one that has no carrier for as
// long as its peer is down.
func (n *Namespace) AddVeth(ifname, peer string) error {
	return wire(end{ns: n, ifname: ifname}, end{ns: n, ifname: peer}, 0)
}

// AddAddr gives an interface an address.
func (n *Namespace) AddAddr(ifname string, addr netip.Prefix) error {
	return n.onLink(ifname, "add address "+addr.String()+" to", func(h *netlink.Handle, l netlink.Link) error {
		return h.AddrAdd(l, &netlink.Addr{IPNet: ipNet(addr)})
	})
}

// DelAddr takes an address from an interface.
func (n *Namespace) DelAddr(ifname string, addr netip.Prefix) error {
	return n.onLink(ifname, "delete address "+addr.String()+" of", func(h *netlink.Handle, l netlink.Link) error {
		return h.AddrDel(l, &netlink.Addr{IPNet: ipNet(addr)})
	})
}

// ipNet keeps the host part, as an address with its prefix length needs.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// AddRoute adds a route to dst by an interface; via is the next hop, or the
// zero Addr if dst is on the link. A next hop outside every subnet of the
// interface is allowed: the route is then marked onlink.
func (n *Namespace) AddRoute(dst netip.Prefix, via netip.Addr, ifname string) error {
	return n.onLink(ifname, "add route to "+dst.String()+" by", func(h *netlink.Handle, l netlink.Link) error {
		route := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(dst.Masked())}
		if !via.IsValid() {
			route.Scope = netlink.SCOPE_LINK
			return h.RouteAdd(route)
		}
		route.Gw = via.AsSlice()
		err := h.RouteAdd(route)
		if errors.Is(err, unix.ENETUNREACH) { // the next hop is in no subnet (fib_check_nh)
			route.SetFlag(netlink.FLAG_ONLINK)
			err = h.RouteAdd(route)
		}
		return err
	})
}

// AddRefusal adds a route of a type that refuses: unix.RTN_BLACKHOLE,
// unix.RTN_UNREACHABLE or unix.RTN_PROHIBIT. A router drops what it would
// forward to dst, for the latter two with an ICMP error.
func (n *Namespace) AddRefusal(dst netip.Prefix, kind int) error {
	h, err := n.netlink()
	if err == nil {
		err = h.RouteAdd(&netlink.Route{Dst: ipNet(dst.Masked()), Type: kind})
	}
	if err != nil {
		return fmt.Errorf("add refusing route to %s: %w", dst, err)
	}
	return nil
}

// DelRoute removes the first route to exactly dst, of whatever type.
func (n *Namespace) DelRoute(dst netip.Prefix) error {
	h, err := n.netlink()
	if err == nil {
		err = h.RouteDel(&netlink.Route{Dst: ipNet(dst.Masked()), Scope: netlink.SCOPE_NOWHERE})
	}
	if err != nil {
		return fmt.Errorf("delete route to %s: %w", dst, err)
	}
	return nil
}

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

// Index is an interface's index.
func (n *Namespace) Index(ifname string) (int, error) {
	link, err := n.link(ifname)
	if err != nil {
		return 0, err
	}
	return link.Attrs().Index, nil
}

// MAC is an interface's hardware address.
func (n *Namespace) MAC(ifname string) (net.HardwareAddr, error) {
	link, err := n.link(ifname)
	if err != nil {
		return nil, err
	}
	return link.Attrs().HardwareAddr, nil
}

// devconf sets an interface's IPv4 settings (IPV4_DEVCONF_*) by netlink
// (inet_set_link_af), which unlike /proc/sys is writable in containers too.
func (n *Namespace) devconf(ifname string, settings map[uint16]uint32) error {
	return n.onLink(ifname, "set IPv4 settings of", func(_ *netlink.Handle, l netlink.Link) error {
		req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
		msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
		msg.Index = int32(l.Attrs().Index)
		req.AddData(msg)
		spec := nl.NewRtAttr(unix.IFLA_AF_SPEC|unix.NLA_F_NESTED, nil)
		inet := spec.AddRtAttr(unix.AF_INET|unix.NLA_F_NESTED, nil)
		conf := inet.AddRtAttr(unix.IFLA_INET_CONF|unix.NLA_F_NESTED, nil)
		for setting, value := range settings {
			conf.AddRtAttr(int(setting), binary.NativeEndian.AppendUint32(nil, value))
		}
		req.AddData(spec)
		// The request has no handle: it opens a socket of its own, which has
		// to happen inside n.
		return n.Do(func() error {
			_, err := req.Execute(unix.NETLINK_ROUTE, 0)
			return err
		})
	})
}

// quiet keeps an interface, still down, from sending frames of its own: no
// IPv6 address that would need duplicate address detection, no gratuitous
// ARP. What new namespaces inherit from the host otherwise (forwarding,
// reverse path filter) is set to known values.
func (n *Namespace) quiet(ifname string, forward bool) error {
	settings := map[uint16]uint32{devconfForwarding: 0, devconfRPFilter: 0, devconfARPNotify: 0}
	if forward {
		settings[devconfForwarding] = 1
	}
	if err := n.devconf(ifname, settings); err != nil {
		return err
	}
	return n.onLink(ifname, "set address generation of", func(h *netlink.Handle, l netlink.Link) error {
		err := h.LinkSetIP6AddrGenMode(l, nl.IN6_ADDR_GEN_MODE_NONE)
		if errors.Is(err, unix.EAFNOSUPPORT) {
			return nil // a kernel without IPv6
		}
		return err
	})
}

// end is one end of a wire.
type end struct {
	ns     *Namespace
	ifname string
	mac    net.HardwareAddr
	addr   netip.Prefix // invalid: none
}

// wire joins two namespaces by a veth pair, both ends down. The pair is
// created in a's namespace with its peer in b's: it never exists elsewhere.
func wire(a, b end, mtu int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = a.ifname
	attrs.HardwareAddr = a.mac
	attrs.MTU = mtu
	veth := netlink.NewVeth(attrs)
	veth.PeerName = b.ifname
	veth.PeerHardwareAddr = b.mac
	if b.ns != a.ns {
		veth.PeerNamespace = netlink.NsFd(b.ns.FD())
	}
	veth.PeerMTU = uint32(mtu)
	h, err := a.ns.netlink()
	if err == nil {
		err = h.LinkAdd(veth)
	}
	if err != nil {
		return fmt.Errorf("make veth pair %s, %s: %w", a.ifname, b.ifname, err)
	}
	return nil
}

// configure makes an end quiet and gives it its address.
func (e end) configure(forward bool) error {
	if err := e.ns.quiet(e.ifname, forward); err != nil {
		return err
	}
	if !e.addr.IsValid() {
		return nil
	}
	return e.ns.AddAddr(e.ifname, e.addr)
}

// bringUp sets both ends up and waits until both can send.
func bringUp(a, b end) error {
	return errors.Join(
		a.ns.SetUp(a.ifname), b.ns.SetUp(b.ifname),
		a.ns.WaitUp(a.ifname), b.ns.WaitUp(b.ifname),
	)
}

// SetRate has an interface let go of so many bytes a second, after a first burst
// of 2000 (tc-tbf(8)). Up to limit bytes wait for that, at least 1; a frame that
// finds no room is refused with ENOBUFS (packet_snd, net_xmit_errno), so a limit
// below a frame's length refuses all. Another call changes it. It needs the
// kernel's sch_tbf, and fails with ENOENT without.
func (n *Namespace) SetRate(ifname string, rate uint64, limit uint32) error {
	const burst = 2000
	return n.onLink(ifname, "set rate of", func(h *netlink.Handle, l netlink.Link) error {
		return h.QdiscReplace(&netlink.Tbf{
			QdiscAttrs: netlink.QdiscAttrs{
				LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT,
			},
			Rate: rate, Limit: max(limit, 1), Buffer: netlink.Xmittime(rate, burst),
		})
	})
}

// DelRate undoes SetRate. What waits is dropped.
func (n *Namespace) DelRate(ifname string) error {
	return n.onLink(ifname, "delete rate of", func(h *netlink.Handle, l netlink.Link) error {
		return h.QdiscDel(&netlink.GenericQdisc{
			QdiscAttrs: netlink.QdiscAttrs{
				LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT,
			},
			QdiscType: "tbf",
		})
	})
}
