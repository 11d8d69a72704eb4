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
	for _, tt := range []struct {
		n    arp.Neighbor
		want string
	}{
		{neighbor(), "via 192.0.2.1 02:00:5e:00:53:01 (arp; not in the neighbor table)"},
		{
			arp.Neighbor{Addr: far, MAC: farMAC, How: arp.HowARP, State: gone},
			"via 192.0.2.1 02:00:5e:00:53:01 (arp; the neighbor table says failed)",
		},
		{
			arp.Neighbor{Addr: far, MAC: farMAC, How: arp.HowTable, State: reachable},
			"via 192.0.2.1 02:00:5e:00:53:01 (neighbor table, reachable)",
		},
		{arp.Neighbor{Addr: far}, "via 192.0.2.1 (no ARP reply)"},
		{arp.Neighbor{Addr: far, MAC: frame.Broadcast}, "to ff:ff:ff:ff:ff:ff (broadcast)"},
	} {
		if got := Via(tt.n); got != tt.want {
			t.Errorf("%s\nwant %s", got, tt.want)
		}
	}
}

func TestRoute(t *testing.T) {
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
mtu        1400               the route's, or learnt from the path
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
