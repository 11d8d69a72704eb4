package lab

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TunnelKind is a kind of tunnel that bears its packets in others of IP.
type TunnelKind string

// The kinds: IPv4 in IPv4 (RFC 2003), IPv6 in IPv4 (RFC 4213), both in IPv6 (RFC
// 2473), both in GRE (RFC 2784) over IPv4 or IPv6, and Ethernet in GRE over IPv4.
const (
	TunnelIPIP   TunnelKind = "ipip"
	TunnelSIT    TunnelKind = "sit"
	TunnelIP6    TunnelKind = "ip6tnl"
	TunnelGRE    TunnelKind = "gre"
	TunnelIP6GRE TunnelKind = "ip6gre"
	TunnelGRETap TunnelKind = "gretap"
)

// encapLimit is how many tunnels more a packet may enter inside (RFC 2473,
// section 4.1.1), as ip(8) has it.
const encapLimit = 4

// tunnels make links between two addresses. Of IPv4 the outer packets are not
// fragmented, as ip(8) has it.
var tunnels = map[TunnelKind]func(a netlink.LinkAttrs, local, remote []byte) netlink.Link{
	TunnelIPIP: func(a netlink.LinkAttrs, local, remote []byte) netlink.Link {
		return &netlink.Iptun{LinkAttrs: a, Local: local, Remote: remote, PMtuDisc: 1}
	},
	TunnelSIT: func(a netlink.LinkAttrs, local, remote []byte) netlink.Link {
		return &netlink.Sittun{LinkAttrs: a, Local: local, Remote: remote, PMtuDisc: 1, Proto: unix.IPPROTO_IPV6}
	},
	TunnelIP6: func(a netlink.LinkAttrs, local, remote []byte) netlink.Link {
		return &netlink.Ip6tnl{LinkAttrs: a, Local: local, Remote: remote, EncapLimit: encapLimit}
	},
	TunnelGRE:    gre,
	TunnelIP6GRE: gre, // by its addresses
	TunnelGRETap: func(a netlink.LinkAttrs, local, remote []byte) netlink.Link {
		return &netlink.Gretap{LinkAttrs: a, Local: local, Remote: remote, PMtuDisc: 1}
	},
}

func gre(a netlink.LinkAttrs, local, remote []byte) netlink.Link {
	return &netlink.Gretun{LinkAttrs: a, Local: local, Remote: remote, PMtuDisc: 1}
}

// AddTunnel makes a tunnel, down, from an address of n to another host's. But for
// TunnelGRETap it has no link layer: it is point to point and without ARP. Of
// GRE there may be no remote, by the zero Addr: the outer headers are its link
// layer then. Its MTU is what is left of that by which the kernel routes to the
// remote, when the tunnel is made. The kernel needs ipip, sit, ip6_tunnel, ip_gre
// or ip6_gre.
func (n *Namespace) AddTunnel(ifname string, kind TunnelKind, local, remote netip.Addr) error {
	build, ok := tunnels[kind]
	if !ok {
		return fmt.Errorf("make tunnel %s: unknown kind %q", ifname, kind)
	}
	return n.addLink(string(kind), build(named(ifname), local.AsSlice(), remote.AsSlice()))
}
