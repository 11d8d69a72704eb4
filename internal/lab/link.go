package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// upTimeout bounds the wait for a link's carrier. The kernel takes
// microseconds; a slow, emulated machine takes less than this.
const upTimeout = 10 * time.Second

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
// that are dropped without a word. Kinds whose driver knows no carrier (all but
// bridge, bond, macvlan, team, veth and vlan) can transmit as soon as they are up.
func (n *Namespace) WaitUp(ifname string) error {
	err := n.await(unix.RTNLGRP_LINK, nil, func([]syscall.NetlinkMessage) (bool, error) {
		link, err := n.link(ifname)
		if err != nil {
			return false, err
		}
		return link.Attrs().OperState == netlink.OperUp || upAtOnce(link), nil
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w", ifname, err)
	}
	return nil
}

// await waits until done says so. It is asked after start, which may be nil, and
// after each change that the kernel tells to a netlink group, with what it told.
func (n *Namespace) await(group uint, start func() error, done func([]syscall.NetlinkMessage) (bool, error)) error {
	return n.Do(func() error {
		// Subscribed before the state is read, so no change is missed.
		events, err := nl.Subscribe(unix.NETLINK_ROUTE, group)
		if err != nil {
			return fmt.Errorf("subscribe to changes: %w", err)
		}
		defer events.Close()
		if start != nil {
			if err := start(); err != nil {
				return err
			}
		}
		var told []syscall.NetlinkMessage
		deadline := time.Now().Add(upTimeout)
		for {
			if ok, err := done(told); ok || err != nil {
				return err
			}
			left := time.Until(deadline)
			if left <= 0 {
				return fmt.Errorf("not within %v: %w", upTimeout, unix.ETIMEDOUT)
			}
			timeout := unix.NsecToTimeval(left.Nanoseconds())
			if err := events.SetReceiveTimeout(&timeout); err != nil {
				return err
			}
			told, _, err = events.Receive()
			if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENOBUFS) {
				return err
			}
		}
	})
}

// upAtOnce says whether a link is up whose operational state stays unknown, as
// no driver ever reports one (operstates.rst).
func upAtOnce(link netlink.Link) bool {
	attrs := link.Attrs()
	return attrs.OperState == netlink.OperUnknown && attrs.Flags&net.FlagUp != 0 &&
		slices.Contains(carrierless, link.Type())
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

// AddAddr gives an interface an address. IPv6 ones have EnableIPv6 called first,
// and are of use when it returns: no duplicate address detection is run for them.
func (n *Namespace) AddAddr(ifname string, addr netip.Prefix) error {
	if addr.Addr().Is6() {
		return n.addAddr6(ifname, addr)
	}
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
	return n.onLink(ifname, "set address generation of", genMode)
}

// end is one end of a wire.
type end struct {
	ns     *Namespace
	ifname string
	mac    net.HardwareAddr
	addr   netip.Prefix // invalid: none
}

// wireIndex is the index of the second end of a wire between two namespaces.
const wireIndex = 100

// wire joins two namespaces by a veth pair, both ends down. The pair is
// created in b's namespace with its peer in a's: it never exists elsewhere.
func wire(a, b end, mtu int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = b.ifname
	attrs.HardwareAddr = b.mac
	attrs.MTU = mtu
	veth := netlink.NewVeth(attrs)
	veth.PeerName = a.ifname
	veth.PeerHardwareAddr = a.mac
	if b.ns != a.ns {
		veth.PeerNamespace = netlink.NsFd(a.ns.FD())
		// Before Linux 6.8 the kernel may take a second to notice a carrier,
		// but not that of an interface whose index differs from its peer's
		// (linkwatch_urgent_event); by itself it gives both the same.
		veth.Index = wireIndex
	}
	veth.PeerMTU = uint32(mtu)
	h, err := b.ns.netlink()
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
