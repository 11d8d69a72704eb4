//go:build linux

package render

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// Kernel states of a neighbor (linux/neighbour.h).
const (
	reachable arp.State = 0x02
	gone      arp.State = 0x20
)

func TestVia(t *testing.T) {
	plain := func(*l2.Path) {}
	for _, tt := range []struct {
		change func(*l2.Path)
		n      arp.Neighbor
		want   string
	}{
		{plain, neighbor(), "via 192.0.2.1 02:00:5e:00:53:01 (arp; not in the neighbor table)"},
		{
			plain, arp.Neighbor{Addr: far, MAC: farMAC, How: arp.HowARP, State: gone},
			"via 192.0.2.1 02:00:5e:00:53:01 (arp; the neighbor table says failed)",
		},
		{
			plain, arp.Neighbor{Addr: far, MAC: farMAC, How: arp.HowTable, State: reachable},
			"via 192.0.2.1 02:00:5e:00:53:01 (neighbor table, reachable)",
		},
		{
			plain, arp.Neighbor{Addr: six, MAC: farMAC, How: arp.HowNDP},
			"via 2001:db8::1 02:00:5e:00:53:01 (ndp; not in the neighbor table)",
		},
		{
			plain, arp.Neighbor{Addr: far, MAC: farMAC, How: arp.HowOverride},
			"via 192.0.2.1 02:00:5e:00:53:01 (as asked)",
		},
		{plain, arp.Neighbor{Addr: far}, "via 192.0.2.1 (no ARP reply)"},
		{plain, arp.Neighbor{Addr: six}, "via 2001:db8::1 (no neighbor advertisement)"},
		{
			func(p *l2.Path) { p.Broadcast = true },
			arp.Neighbor{Addr: far, MAC: frame.Broadcast}, "to ff:ff:ff:ff:ff:ff (broadcast)",
		},
		{
			func(p *l2.Path) { p.Multicast = true },
			arp.Neighbor{Addr: far, MAC: frame.MAC{1, 0, 0x5e, 0, 0, 1}}, "to 01:00:5e:00:00:01 (multicast)",
		},
		{
			func(p *l2.Path) { p.Multicast = true },
			arp.Neighbor{Addr: far, MAC: farMAC, How: arp.HowOverride}, "via 192.0.2.1 02:00:5e:00:53:01 (as asked)",
		},
		{
			func(p *l2.Path) { p.Interface.Name, p.Interface.Loopback = "lo", true },
			arp.Neighbor{Addr: far, Unneeded: true}, "to lo (loopback)",
		},
		{
			func(p *l2.Path) { p.Interface.Name, p.Interface.NoLink, p.Interface.NoARP = "tun0", true, true },
			arp.Neighbor{Addr: far, Unneeded: true}, "to tun0 (no link layer: frames start at the IP header)",
		},
		{
			func(p *l2.Path) { p.Interface.NoARP = true },
			arp.Neighbor{Addr: far, MAC: nearMAC}, "to 02:00:5e:00:53:07 (the interface has no ARP)",
		},
	} {
		p := path()
		tt.change(p)
		if got := Via(&arp.Decision{Path: p, Neighbor: tt.n}); got != tt.want {
			t.Errorf("%s\nwant %s", got, tt.want)
		}
	}
}

func TestRoute(t *testing.T) {
	tags := []frame.VLAN{{Type: frame.EtherTypeQinQ, TCI: 3<<13 | 200}, {Type: frame.EtherTypeVLAN, TCI: 100}}
	for _, tt := range []struct {
		name   string
		change func(*l2.Path, *arp.Neighbor)
		target string
		asked  Asked
		want   string
	}{
		{"on-link", func(*l2.Path, *arp.Neighbor) {}, "192.0.2.1", Asked{Interface: true}, `
target     192.0.2.1
interface  eth0               as asked; veth, mac 02:00:5e:00:53:07, mtu 1500
source     192.0.2.7          the kernel's choice for this route
next hop   192.0.2.1          the target itself: 192.0.2.0/24 is on-link
mac        02:00:5e:00:53:01  the neighbor table has no entry; answered ARP in 0.412 ms
`},
		{"gateway", func(p *l2.Path, n *arp.Neighbor) {
			p.OnLink, p.NextHop, p.Route = false, gateway, netip.MustParsePrefix("0.0.0.0/0")
			p.Table, p.MTU = 100, 1400
			n.Addr, n.How, n.State = gateway, arp.HowTable, reachable
		}, "far.example", Asked{}, `
target     192.0.2.1          far.example
interface  eth0               the kernel routes the target by it; veth, mac 02:00:5e:00:53:07, mtu 1500
source     192.0.2.7          the kernel's choice for this route
next hop   192.0.2.254        the gateway of the default route (table 100)
mac        02:00:5e:00:53:01  in the kernel's neighbor table, reachable
mtu        1400               the route's
`},
		{"a smaller MTU was learnt", func(p *l2.Path, _ *arp.Neighbor) {
			p.MTU, p.LearntMTU = 1300, 1300
		}, "192.0.2.1", Asked{Interface: true}, `
target     192.0.2.1
interface  eth0               as asked; veth, mac 02:00:5e:00:53:07, mtu 1500
source     192.0.2.7          the kernel's choice for this route
next hop   192.0.2.1          the target itself: 192.0.2.0/24 is on-link
mac        02:00:5e:00:53:01  the neighbor table has no entry; answered ARP in 0.412 ms
mtu        1300               learnt from a router on the way
`},
		{"IPv6", func(p *l2.Path, n *arp.Neighbor) {
			p.Destination, p.NextHop, p.Source = six, six, netip.MustParseAddr("2001:db8::7")
			p.Route = netip.MustParsePrefix("2001:db8::/64")
			n.Addr, n.How, n.State = six, arp.HowNDP, gone
		}, "six.example", Asked{Interface: true}, `
target     2001:db8::1        six.example
interface  eth0               as asked; veth, mac 02:00:5e:00:53:07, mtu 1500
source     2001:db8::7        the kernel's choice for this route
next hop   2001:db8::1        the target itself: 2001:db8::/64 is on-link
mac        02:00:5e:00:53:01  the neighbor table says failed; answered a neighbor solicitation in 0.412 ms
`},
		{"IPv4 by an IPv6 next hop", func(p *l2.Path, n *arp.Neighbor) {
			p.NextHop, p.OnLink, p.Multipath = six, false, true
			n.Addr, n.How, n.State = six, arp.HowTable, reachable
		}, "192.0.2.1", Asked{Interface: true}, `
target     192.0.2.1
interface  eth0               as asked; veth, mac 02:00:5e:00:53:07, mtu 1500
source     192.0.2.7          the kernel's choice for this route
next hop   2001:db8::1        one of the gateways of 192.0.2.0/24, by the kernel's pick on this interface
mac        02:00:5e:00:53:01  in the kernel's neighbor table, reachable
`},
		{"as asked", func(p *l2.Path, n *arp.Neighbor) {
			p.NextHop, p.OnLink, p.Forced, p.ForeignSource = gateway, false, true, true
			n.How = arp.HowOverride
		}, "192.0.2.1", Asked{Source: true}, `
target     192.0.2.1
interface  eth0               the kernel routes the target by it; veth, mac 02:00:5e:00:53:07, mtu 1500
source     192.0.2.7          as asked; not this host's own: l2ping answers for it
next hop   192.0.2.254        as asked, whatever routing says
mac        02:00:5e:00:53:01  as asked
`},
		{"the target is the gateway", func(p *l2.Path, _ *arp.Neighbor) {
			p.Forced = true
		}, "192.0.2.1", Asked{Source: true}, `
target     192.0.2.1
interface  eth0               it has the source address; veth, mac 02:00:5e:00:53:07, mtu 1500
source     192.0.2.7          as asked
next hop   192.0.2.1          the target itself, as asked
mac        02:00:5e:00:53:01  the neighbor table has no entry; answered ARP in 0.412 ms
`},
		{"no address", func(p *l2.Path, _ *arp.Neighbor) {
			p.Assumed, p.Route = true, netip.Prefix{}
		}, "192.0.2.1", Asked{Interface: true, Source: true}, `
target     192.0.2.1
interface  eth0               as asked; veth, mac 02:00:5e:00:53:07, mtu 1500
source     192.0.2.7          as asked
next hop   192.0.2.1          the target itself: eth0 has no address, and so no route
mac        02:00:5e:00:53:01  the neighbor table has no entry; answered ARP in 0.412 ms
`},
		{"part of a bridge", func(p *l2.Path, _ *arp.Neighbor) {
			p.Owner = &l2.Interface{Index: 3, Name: "br0", MAC: farMAC, MTU: 1500, LinkType: "ether", Kind: "bridge"}
		}, "192.0.2.1", Asked{Interface: true}, `
target     192.0.2.1
interface  eth0               as asked; veth, mac 02:00:5e:00:53:07, mtu 1500
owner      br0                eth0 is a part of this bridge: its addresses, routes and neighbors apply, mac 02:00:5e:00:53:01
source     192.0.2.7          the kernel's choice for this route
next hop   192.0.2.1          the target itself: 192.0.2.0/24 is on-link
mac        02:00:5e:00:53:01  the neighbor table has no entry; answered ARP in 0.412 ms
`},
		{"VRF", func(p *l2.Path, _ *arp.Neighbor) {
			p.Asked, p.Table = &l2.Interface{Index: 3, Name: "vrf0", Kind: "vrf"}, 10
		}, "192.0.2.1", Asked{Interface: true}, `
target     192.0.2.1
interface  eth0               the route of VRF vrf0 names this member; veth, mac 02:00:5e:00:53:07, mtu 1500
source     192.0.2.7          the kernel's choice for this route
next hop   192.0.2.1          the target itself: 192.0.2.0/24 (table 10) is on-link
mac        02:00:5e:00:53:01  the neighbor table has no entry; answered ARP in 0.412 ms
`},
		{"multicast", func(p *l2.Path, n *arp.Neighbor) {
			p.Destination, p.NextHop = allHosts, allHosts
			p.Multicast, p.Route, p.Table = true, netip.Prefix{}, 0
			*n = arp.Neighbor{Addr: allHosts, MAC: frame.MAC{1, 0, 0x5e, 0, 0, 1}}
		}, "224.0.0.1", Asked{Interface: true}, `
target     224.0.0.1
interface  eth0               as asked; veth, mac 02:00:5e:00:53:07, mtu 1500
source     192.0.2.7          the kernel's choice for this route
next hop   the group          224.0.0.1 is a multicast address
mac        01:00:5e:00:00:01  multicast
`},
		{"no link layer", func(p *l2.Path, n *arp.Neighbor) {
			i := p.Interface
			i.Name, i.Kind, i.LinkType, i.NoLink, i.NoARP, i.MAC = "tun0", "tun", "none", true, true, frame.MAC{}
			*n = arp.Neighbor{Addr: far, Unneeded: true}
		}, "192.0.2.1", Asked{Interface: true}, `
target     192.0.2.1
interface  tun0               as asked; tun, no link layer, mtu 1500
source     192.0.2.7          the kernel's choice for this route
next hop   192.0.2.1          the target itself: 192.0.2.0/24 is on-link
mac        none               no link layer: frames start at the IP header
`},
		{"loopback", func(p *l2.Path, n *arp.Neighbor) {
			i := p.Interface
			i.Name, i.Kind, i.LinkType, i.Loopback, i.MAC, i.MTU = "lo", "device", "loopback", true, frame.MAC{}, 65536
			p.Table, p.MTU = 255, 65536
			*n = arp.Neighbor{Addr: far, Unneeded: true}
		}, "192.0.2.1", Asked{Interface: true}, `
target     192.0.2.1
interface  lo                 as asked; device, mac 00:00:00:00:00:00, mtu 65536
source     192.0.2.7          the kernel's choice for this route
next hop   192.0.2.1          the target itself, an address of this host
mac        none               loopback
`},
		{"a VLAN by tags of our own", func(_ *l2.Path, n *arp.Neighbor) {
			n.State = gone // of another network
		}, "192.0.2.1", Asked{Interface: true, VLANs: tags}, `
target     192.0.2.1
interface  eth0               as asked; veth, mac 02:00:5e:00:53:07, mtu 1500
vlan       200.3,100          tags of our own, as asked
source     192.0.2.7          the kernel's choice for this route; l2ping answers for it there
next hop   192.0.2.1          the target itself: 192.0.2.0/24 is on-link
mac        02:00:5e:00:53:01  the neighbor table knows nothing of that VLAN; answered ARP in 0.412 ms
mtu        1492               what the tags leave of it
`},
		{"a VLAN and a source that is not the host's", func(p *l2.Path, n *arp.Neighbor) {
			p.ForeignSource = true
			*n = arp.Neighbor{Addr: far}
		}, "192.0.2.1", Asked{Interface: true, Source: true, VLANs: tags[1:]}, `
target     192.0.2.1
interface  eth0               as asked; veth, mac 02:00:5e:00:53:07, mtu 1500
vlan       100                tags of our own, as asked
source     192.0.2.7          as asked; not this host's own: l2ping answers for it
next hop   192.0.2.1          the target itself: 192.0.2.0/24 is on-link
mac        unknown            the neighbor table knows nothing of that VLAN; no ARP reply
`},
		{"a priority alone, which is no VLAN", func(p *l2.Path, n *arp.Neighbor) {
			p.MTU, p.RouteMTU = 1400, 1400
			n.How, n.State = arp.HowTable, reachable
		}, "192.0.2.1", Asked{Interface: true, VLANs: []frame.VLAN{{Type: frame.EtherTypeVLAN, TCI: 5 << 13}}}, `
target     192.0.2.1
interface  eth0               as asked; veth, mac 02:00:5e:00:53:07, mtu 1500
vlan       0.5                tags of our own, as asked
source     192.0.2.7          the kernel's choice for this route
next hop   192.0.2.1          the target itself: 192.0.2.0/24 is on-link
mac        02:00:5e:00:53:01  in the kernel's neighbor table, reachable
mtu        1400               the route's
`},
		{"a MAC to send from", func(*l2.Path, *arp.Neighbor) {}, "192.0.2.1", Asked{Interface: true, SourceMAC: farMAC}, `
target     192.0.2.1
interface  eth0               as asked; veth, mac 02:00:5e:00:53:07, mtu 1500
source mac 02:00:5e:00:53:01  as asked
source     192.0.2.7          the kernel's choice for this route
next hop   192.0.2.1          the target itself: 192.0.2.0/24 is on-link
mac        02:00:5e:00:53:01  the neighbor table has no entry; answered ARP in 0.412 ms
`},
		{"the target's zone", func(p *l2.Path, n *arp.Neighbor) {
			p.Destination, p.NextHop, p.Source = six, six, netip.MustParseAddr("2001:db8::7")
			p.Route = netip.MustParsePrefix("2001:db8::/64")
			n.Addr, n.How = six, arp.HowNDP
		}, "six.example", Asked{Zone: true, Source: true}, `
target     2001:db8::1        six.example
interface  eth0               the target's zone; veth, mac 02:00:5e:00:53:07, mtu 1500
source     2001:db8::7        as asked
next hop   2001:db8::1        the target itself: 2001:db8::/64 is on-link
mac        02:00:5e:00:53:01  the neighbor table has no entry; answered a neighbor solicitation in 0.412 ms
`},
		{"nobody there", func(_ *l2.Path, n *arp.Neighbor) {
			*n = arp.Neighbor{Addr: far, State: gone, Took: time.Microsecond}
		}, "192.0.2.1", Asked{Interface: true}, `
target     192.0.2.1
interface  eth0               as asked; veth, mac 02:00:5e:00:53:07, mtu 1500
source     192.0.2.7          the kernel's choice for this route
next hop   192.0.2.1          the target itself: 192.0.2.0/24 is on-link
mac        unknown            the neighbor table says failed; no ARP reply
`},
		{"broadcast", func(p *l2.Path, n *arp.Neighbor) {
			p.Broadcast, p.Route, p.Table = true, netip.Prefix{}, 0
			*n = arp.Neighbor{Addr: far, MAC: frame.Broadcast}
		}, "192.0.2.1", Asked{Interface: true}, `
target     192.0.2.1
interface  eth0               as asked; veth, mac 02:00:5e:00:53:07, mtu 1500
source     192.0.2.7          the kernel's choice for this route
next hop   everybody          a broadcast address of eth0
mac        ff:ff:ff:ff:ff:ff  broadcast
`},
	} {
		d := &arp.Decision{Path: path(), Neighbor: neighbor()}
		tt.change(d.Path, &d.Neighbor)
		got := Route(d, tt.target, tt.asked)
		if got != strings.TrimPrefix(tt.want, "\n") {
			t.Errorf("%s: is\n%swant%s", tt.name, got, tt.want)
		}
		for line := range strings.Lines(got) {
			if strings.HasSuffix(line, " \n") {
				t.Errorf("%s: blanks at the end of %q", tt.name, line)
			}
		}
	}
}

func TestRouteName(t *testing.T) {
	for _, tt := range []struct {
		prefix string
		table  int
		want   string
	}{
		{"192.0.2.0/24", 254, "192.0.2.0/24"},
		{"192.0.2.255/32", 255, "192.0.2.255/32 (table local)"},
		{"0.0.0.0/0", 254, "the default route"},
		{"0.0.0.0/0", 253, "the default route (table default)"},
		{"198.51.100.0/24", 7, "198.51.100.0/24 (table 7)"},
	} {
		if got := route(netip.MustParsePrefix(tt.prefix), tt.table); got != tt.want {
			t.Errorf("%s in %d: %s, want %s", tt.prefix, tt.table, got, tt.want)
		}
	}
}
