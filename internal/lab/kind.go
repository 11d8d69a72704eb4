package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// KindError says that this kernel cannot make a kind of link, or lacks
// something else that can be left out of a kernel. It is errors.ErrUnsupported.
type KindError struct {
	// Kind is what was asked for: bond, bridge, dummy, ifb, ipv6, ipvlan,
	// macvlan, netem, ppp, tbf, team, tun, vlan, vrf, vxlan, wireguard or a
	// TunnelKind.
	Kind string

	// Module is the kernel's name for what it lacks: 8021q for vlan.
	Module string

	Err error // what the kernel said
}

func (e *KindError) Error() string {
	return fmt.Sprintf("this kernel lacks %s: %v", e.Module, e.Err)
}

func (e *KindError) Unwrap() error { return e.Err }

// Is makes e errors.ErrUnsupported, whatever the kernel said.
func (e *KindError) Is(target error) bool { return target == errors.ErrUnsupported }

// modules are the kernel's names for kinds, where they differ.
var modules = map[string]string{
	"bond": "bonding", "gre": "ip_gre", "gretap": "ip_gre", "ip6gre": "ip6_gre", "ip6tnl": "ip6_tunnel", "netem": "sch_netem",
	"ppp": "pppoe", "tbf": "sch_tbf", "vlan": "8021q",
}

// carrierless are the library's names of kinds whose driver knows no carrier;
// "device" is lo, and "tuntap" tun.
var carrierless = []string{
	"device", "dummy", "gre", "gretap", "ifb", "ip6gre", "ip6tnl", "ipip", "ipvlan", "ppp", "sit", "tuntap", "vrf", "vxlan", "wireguard",
}

// lacks is a KindError if err is one of those by which the kernel says that it
// lacks a kind, and err otherwise.
func lacks(kind string, err error, saying ...error) error {
	for _, said := range saying {
		if errors.Is(err, said) {
			module := kind
			if m, ok := modules[kind]; ok {
				module = m
			}
			return &KindError{Kind: kind, Module: module, Err: err}
		}
	}
	return err
}

// addLink makes a link in n, down and quiet.
func (n *Namespace) addLink(kind string, link netlink.Link) error {
	name := link.Attrs().Name
	h, err := n.netlink()
	if err == nil {
		// "Unknown device type" (rtnl_newlink) once no module has it.
		err = lacks(kind, h.LinkAdd(link), unix.EOPNOTSUPP)
	}
	if err != nil {
		return fmt.Errorf("make %s %s: %w", kind, name, err)
	}
	if err := n.quiet(name, false); err != nil {
		return errors.Join(err, n.DeleteLink(name))
	}
	return nil
}

// addAbove makes a link that stands on another; build gets that one's index.
func (n *Namespace) addAbove(kind, ifname, parent string, build func(netlink.LinkAttrs) netlink.Link) error {
	index, err := n.Index(parent)
	if err != nil {
		return fmt.Errorf("make %s %s: %w", kind, ifname, err)
	}
	attrs := named(ifname)
	attrs.ParentIndex = index
	return n.addLink(kind, build(attrs))
}

// generic sends one request of generic netlink, and waits for its answer.
func (n *Namespace) generic(family string, command, version uint8, attrs ...*nl.RtAttr) error {
	// Requests without a handle open sockets of their own, which has to happen
	// inside n.
	return n.Do(func() error {
		f, err := netlink.GenlFamilyGet(family)
		if err != nil {
			return fmt.Errorf("find its netlink family: %w", err)
		}
		req := nl.NewNetlinkRequest(int(f.ID), unix.NLM_F_ACK)
		req.AddData(&nl.Genlmsg{Command: command, Version: version})
		for _, attr := range attrs {
			req.AddData(attr)
		}
		_, err = req.Execute(unix.NETLINK_GENERIC, 0)
		return err
	})
}

func named(ifname string) netlink.LinkAttrs {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = ifname
	return attrs
}

// AddBridge makes a bridge, down, with those ports. Without STP, which is off,
// a port forwards as soon as it has a carrier (br_make_forwarding). Multicast
// snooping is off: the bridge asks nobody what they listen to. Until its MAC is
// set, a bridge has the least of its ports'. The kernel's bridge has to be there.
func (n *Namespace) AddBridge(ifname string, ports ...string) error {
	snooping := false
	if err := n.addLink("bridge", &netlink.Bridge{LinkAttrs: named(ifname), MulticastSnooping: &snooping}); err != nil {
		return err
	}
	return n.setMasterOf(ifname, ports)
}

// AddBond makes an active-backup bond, down, with those members, which it sets
// down first, for the kernel takes no others (bond_enslave), and up again. All
// bear the MAC of the first. It looks at their carriers every 10 ms. The kernel
// needs bonding.
func (n *Namespace) AddBond(ifname string, members ...string) error {
	bond := netlink.NewLinkBond(named(ifname))
	bond.Mode, bond.Miimon = netlink.BOND_MODE_ACTIVE_BACKUP, 10
	// A fail-over is told to the neighbors by gratuitous frames: not here.
	bond.NumPeerNotif = 0
	if err := n.addLink("bond", bond); err != nil {
		return err
	}
	for _, member := range members {
		if err := n.SetDown(member); err != nil {
			return err
		}
	}
	return n.setMasterOf(ifname, members)
}

// SetActive makes a member the active one of an active-backup bond or team.
func (n *Namespace) SetActive(master, member string) error {
	return n.onLink(master, "set active member of", func(h *netlink.Handle, l netlink.Link) error {
		index, err := n.Index(member)
		if err != nil {
			return err
		}
		if l.Type() == "team" {
			return n.setTeam(master, "activeport", teamU32, binary.NativeEndian.AppendUint32(nil, uint32(index)))
		}
		// Only what is set is changed (bond_changelink).
		change := netlink.NewLinkBond(named(master))
		change.ActiveSlave = index
		return h.LinkModify(change)
	})
}

// AddVRF makes a VRF device, up, whose members' routes are in that table. The
// kernel needs vrf, and adds the rule that looks there (l3mdev) with the first
// one. Routes to the members' subnets move by themselves (SetMaster).
func (n *Namespace) AddVRF(ifname string, table uint32, members ...string) error {
	if err := n.addLink("vrf", &netlink.Vrf{LinkAttrs: named(ifname), Table: table}); err != nil {
		return err
	}
	// A VRF that is down has no routes (vrf_rtable, fib_rules).
	if err := n.SetUp(ifname); err != nil {
		return err
	}
	return n.setMasterOf(ifname, members)
}

func (n *Namespace) setMasterOf(master string, members []string) error {
	for _, member := range members {
		if err := n.SetMaster(member, master); err != nil {
			return err
		}
	}
	return nil
}

// SetMaster puts an interface under a bridge, a bond, a team or a VRF, which has
// to be in the same namespace. A bond and a team take only interfaces that are
// down, and set them up. A VRF's new member loses its IPv6 addresses, but not those of IPv4
// (cycle_netdev).
func (n *Namespace) SetMaster(ifname, master string) error {
	return n.onLink(ifname, "set master "+master+" of", func(h *netlink.Handle, l netlink.Link) error {
		m, err := n.link(master)
		if err != nil {
			return err
		}
		return h.LinkSetMaster(l, m)
	})
}

// ClearMaster takes an interface from its bridge, bond, team or VRF. A bond and a
// team leave their former members down (bond_release, team_port_del).
func (n *Namespace) ClearMaster(ifname string) error {
	return n.onLink(ifname, "clear master of", (*netlink.Handle).LinkSetNoMaster)
}

// MacvlanMode is what a macvlan lets through (linux/if_link.h).
type MacvlanMode string

// The modes: macvlans of one parent cannot reach each other (private), only by
// way of a switch that sends frames back where they came from (vepa), or
// directly (bridge); or there is one alone, with the parent's MAC (passthru).
const (
	MacvlanPrivate  MacvlanMode = "private"
	MacvlanVEPA     MacvlanMode = "vepa"
	MacvlanBridge   MacvlanMode = "bridge"
	MacvlanPassthru MacvlanMode = "passthru"
)

var macvlanModes = map[MacvlanMode]netlink.MacvlanMode{
	MacvlanPrivate: netlink.MACVLAN_MODE_PRIVATE, MacvlanVEPA: netlink.MACVLAN_MODE_VEPA,
	MacvlanBridge: netlink.MACVLAN_MODE_BRIDGE, MacvlanPassthru: netlink.MACVLAN_MODE_PASSTHRU,
}

// AddMacvlan makes a macvlan, down, on a parent of the same namespace, with a
// MAC of its own (random; SetMAC changes it) but for MacvlanPassthru. It cannot
// be reached from the parent itself. A bridge port is no parent, nor is one
// whose MacvlanPassthru exists (EBUSY, EINVAL). The kernel needs macvlan.
func (n *Namespace) AddMacvlan(ifname, parent string, mode MacvlanMode) error {
	m, ok := macvlanModes[mode]
	if !ok {
		return fmt.Errorf("make macvlan %s: unknown mode %q", ifname, mode)
	}
	return n.addAbove("macvlan", ifname, parent, func(attrs netlink.LinkAttrs) netlink.Link {
		return &netlink.Macvlan{LinkAttrs: attrs, Mode: m}
	})
}

// IPVLANMode is the layer at which an ipvlan tells its frames from the
// parent's (linux/if_link.h).
type IPVLANMode string

// The modes: neighbors are resolved (l2) or not, which makes it NOARP (l3);
// l3s is l3 whose packets pass the parent's netfilter hooks.
const (
	IPVLANL2  IPVLANMode = "l2"
	IPVLANL3  IPVLANMode = "l3"
	IPVLANL3S IPVLANMode = "l3s"
)

var ipvlanModes = map[IPVLANMode]netlink.IPVlanMode{
	IPVLANL2: netlink.IPVLAN_MODE_L2, IPVLANL3: netlink.IPVLAN_MODE_L3, IPVLANL3S: netlink.IPVLAN_MODE_L3S,
}

// AddIPVLAN makes an ipvlan, down, on a parent of the same namespace, whose MAC
// it has. All ipvlans of one parent have one mode. The kernel needs ipvlan, and
// for l3s also netfilter and CONFIG_NET_L3_MASTER_DEV (ipvlan_register_nf_hook).
func (n *Namespace) AddIPVLAN(ifname, parent string, mode IPVLANMode) error {
	m, ok := ipvlanModes[mode]
	if !ok {
		return fmt.Errorf("make ipvlan %s: unknown mode %q", ifname, mode)
	}
	return n.addAbove("ipvlan", ifname, parent, func(attrs netlink.LinkAttrs) netlink.Link {
		return &netlink.IPVlan{LinkAttrs: attrs, Mode: m}
	})
}

// AddVLAN makes a VLAN device, down, on a parent of the same namespace, whose
// MAC it has: what it sends leaves the parent with a tag of that id and of tpid,
// which is unix.ETH_P_8021Q or unix.ETH_P_8021AD, and it gets what arrives
// there with the same. It has a carrier while the parent is up. On a VLAN device
// it makes frames with two tags. The kernel needs 8021q.
func (n *Namespace) AddVLAN(ifname, parent string, id uint16, tpid uint16) error {
	return n.addAbove("vlan", ifname, parent, func(attrs netlink.LinkAttrs) netlink.Link {
		return &netlink.Vlan{LinkAttrs: attrs, VlanId: int(id), VlanProtocol: netlink.VlanProtocol(tpid)}
	})
}

// VXLAN says what a vxlan interface is like.
type VXLAN struct {
	ID            uint32     // the network identifier, 24 bits
	Local, Remote netip.Addr // the ends; without Remote, only SetForward leads anywhere
	Port          uint16     // of UDP, at both ends; 4789 if 0
	Parent        string     // sends by this interface; "" leaves it to routing
}

// AddVXLAN makes a vxlan interface, down. Its MTU is 50 bytes below the
// parent's (70 over IPv6), or 1500 if there is none. It learns which MAC is at
// which end. The kernel needs vxlan.
func (n *Namespace) AddVXLAN(ifname string, cfg VXLAN) error {
	link := &netlink.Vxlan{LinkAttrs: named(ifname), VxlanId: int(cfg.ID), Port: int(cfg.Port), Learning: true}
	if cfg.Port == 0 {
		link.Port = 4789 // RFC 7348; the kernel's own default is older than it
	}
	if cfg.Local.IsValid() {
		link.SrcAddr = cfg.Local.AsSlice()
	}
	if cfg.Remote.IsValid() {
		link.Group = cfg.Remote.AsSlice()
	}
	if cfg.Parent != "" {
		index, err := n.Index(cfg.Parent)
		if err != nil {
			return fmt.Errorf("make vxlan %s: %w", ifname, err)
		}
		link.VtepDevIndex = index
	}
	return n.addLink("vxlan", link)
}

// AddIFB makes an ifb, down: an Ethernet interface that swallows what is sent
// on it, unless a filter has redirected it there. The kernel needs ifb.
func (n *Namespace) AddIFB(ifname string) error {
	return n.addLink("ifb", &netlink.Ifb{LinkAttrs: named(ifname)})
}

// AddDummy makes a dummy, down: an Ethernet interface without ARP that swallows
// what is sent on it. The kernel needs dummy.
func (n *Namespace) AddDummy(ifname string) error {
	return n.addLink("dummy", &netlink.Dummy{LinkAttrs: named(ifname)})
}

// Rename gives an interface another name. Before Linux 6.2 it has to be down
// (dev_change_name).
func (n *Namespace) Rename(ifname, to string) error {
	return n.onLink(ifname, "rename to "+to, func(h *netlink.Handle, l netlink.Link) error {
		return h.LinkSetName(l, to)
	})
}

// Move gives an interface to another namespace, where it is down and quiet and
// has no address. A bridge, a bond, a team, a VRF and loopback stay
// (netns_immutable).
func (n *Namespace) Move(ifname string, to *Namespace) error {
	err := n.onLink(ifname, "move", func(h *netlink.Handle, l netlink.Link) error {
		if _, err := to.netlink(); err != nil {
			return err
		}
		return h.LinkSetNsFd(l, to.FD())
	})
	if err != nil {
		return err
	}
	return to.quiet(ifname, false)
}

// SetARP switches an interface's neighbor resolution on or off (IFF_NOARP).
// Off, all its neighbors have its own MAC, in the kernel's opinion
// (arp_constructor).
func (n *Namespace) SetARP(ifname string, on bool) error {
	set := (*netlink.Handle).LinkSetARPOff
	if on {
		set = (*netlink.Handle).LinkSetARPOn
	}
	return n.onLink(ifname, "set ARP of", set)
}

// proxyARP is IPV4_DEVCONF_PROXY_ARP of linux/ip.h.
const proxyARP = 3

// SetProxyARP has an interface answer ARP requests for whatever n routes by
// another one. For that n has to forward by this one, which it does from then on.
func (n *Namespace) SetProxyARP(ifname string) error {
	return n.devconf(ifname, map[uint16]uint32{proxyARP: 1, devconfForwarding: 1})
}

// genMode switches the kernel's own IPv6 addresses off.
func genMode(h *netlink.Handle, l netlink.Link) error {
	err := h.LinkSetIP6AddrGenMode(l, nl.IN6_ADDR_GEN_MODE_NONE)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return nil // a kernel without IPv6
	}
	return err
}
