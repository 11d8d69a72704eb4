//go:build linux

package l2

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

var (
	anywhere6 = prefixOf("::/0")
	gateway6  = addr("2001:db8:1::fe")
	remote6   = addr("2001:db8:9::9")
)

func openRouting(t testing.TB, ns *lab.Namespace) *Routing {
	t.Helper()
	return labtest.OpenIn(t, ns, OpenRouting)
}

// sixes is twoInterfaces with 2001:db8:1::1 and fe80::1 on eth0, 2001:db8:2::1
// and fe80::2 on eth1.
func sixes(t *testing.T) (*lab.Namespace, *Routing) {
	t.Helper()
	n := twoInterfaces(t)
	for _, a := range []struct{ ifname, addr string }{
		{"eth0", "2001:db8:1::1/64"}, {"eth0", "fe80::1/64"}, {"eth1", "2001:db8:2::1/64"}, {"eth1", "fe80::2/64"},
	} {
		must(t, n.AddAddr(a.ifname, prefixOf(a.addr)))
	}
	return n, openRouting(t, n)
}

// brief is a path in words that tests compare.
func brief(p *Path) string {
	words := []string{fmt.Sprintf("%s from %s via %s by %s", p.Destination, p.Source, p.NextHop, p.Interface.Name)}
	for _, w := range []struct {
		is   bool
		word string
	}{
		{p.Owner != p.Interface, "of " + p.Owner.Name}, {p.Asked != nil, "asked"}, {p.OnLink, "onlink"}, {p.Forced, "forced"}, {p.Assumed, "assumed"},
		{p.Broadcast, "broadcast"}, {p.Multicast, "group"}, {p.ForeignSource, "foreign"}, {p.Multipath, "multipath"},
		{p.Route.IsValid(), p.RouteType.String() + " " + p.Route.String()},
		{p.Table != 0 && p.Table != unix.RT_TABLE_MAIN && p.Table != unix.RT_TABLE_LOCAL, fmt.Sprintf("table %d", p.Table)},
		{p.Mark != 0, fmt.Sprintf("mark %d", p.Mark)},
		{p.MTU != 1500, fmt.Sprintf("mtu %d", p.MTU)}, {p.RouteMTU != 0, fmt.Sprintf("route %d", p.RouteMTU)}, {p.LearntMTU != 0, fmt.Sprintf("learnt %d", p.LearntMTU)},
		{!p.NeedsNeighbor(), "needs no neighbor"},
	} {
		if w.is {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ", ")
}

// TestRoutingPath asks for paths in one world: IPv6 beside IPv4, routes of all
// sorts.
func TestRoutingPath(t *testing.T) {
	n, r := sixes(t)
	for _, route := range []lab.Route{
		{Dst: anywhere, Via: gateway, Interface: "eth0"},
		{Dst: anywhere6, Via: gateway6, Interface: "eth0"},
		{Dst: prefixOf("2001:db8:55::/48"), Via: addr("fe80::99"), Interface: "eth1", MTU: 1300},
		{Dst: prefixOf("2001:db8:56::7/128"), Interface: "eth1"},
		// IPv4 by an IPv6 next hop (RFC 8950).
		{Dst: prefixOf("203.0.113.128/25"), Via: addr("fe80::fe"), Interface: "eth0"},
		{Dst: prefixOf("198.18.0.0/24"), Hops: []lab.Hop{
			{Via: addr("198.51.100.7"), Interface: "eth0"}, {Via: addr("192.0.2.7"), Interface: "eth1"}, {Via: addr("fe80::8"), Interface: "eth1"},
		}},
		{Dst: prefixOf("2001:db8:57::/48"), Hops: []lab.Hop{
			{Via: addr("2001:db8:1::7"), Interface: "eth0"}, {Via: addr("fe80::7"), Interface: "eth1"},
		}},
		// For marks.
		{Dst: anywhere, Via: addr("192.0.2.254"), Interface: "eth1", Table: 100},
		{Dst: anywhere6, Via: addr("2001:db8:2::fe"), Interface: "eth1", Table: 100},
		{Dst: prefixOf("2001:db8:66::/48"), Type: unix.RTN_BLACKHOLE},
		// A host whose addresses are on lo.
		{Dst: prefixOf("203.0.113.64/26"), Via: addr("198.51.100.8"), Interface: "eth0", Source: addr("192.0.2.1")},
	} {
		must(t, n.Install(route))
	}
	must(t, n.AddRule(lab.Rule{Mark: 7, Table: 100, Priority: 1000}))
	must(t, n.AddRule(lab.Rule{Mark: 7, Table: 100, Priority: 1000, IPv6: true}))

	for _, tt := range []struct {
		name   string
		ifname string // "": the kernel chooses
		q      Query
		want   string // brief, or the error
		is     error
	}{
		{"IPv6 on the link", "eth0", Query{Destination: addr("2001:db8:1::2")},
			"2001:db8:1::2 from 2001:db8:1::1 via 2001:db8:1::2 by eth0, onlink, unicast 2001:db8:1::/64", nil},
		{"IPv6, the kernel chooses", "", Query{Destination: addr("2001:db8:2::2")},
			"2001:db8:2::2 from 2001:db8:2::1 via 2001:db8:2::2 by eth1, onlink, unicast 2001:db8:2::/64", nil},
		{"IPv6, default route", "eth0", Query{Destination: remote6},
			"2001:db8:9::9 from 2001:db8:1::1 via 2001:db8:1::fe by eth0, unicast ::/0", nil},
		{"IPv6, default route, the kernel chooses", "", Query{Destination: remote6},
			"2001:db8:9::9 from 2001:db8:1::1 via 2001:db8:1::fe by eth0, unicast ::/0", nil},
		{"IPv6, by another", "eth1", Query{Destination: remote6},
			"no route to 2001:db8:9::9 by eth1 (the kernel routes it by eth0)", unix.ENETUNREACH},
		{"link-local gateway, route with an MTU", "eth1", Query{Destination: addr("2001:db8:55::5")},
			"2001:db8:55::5 from 2001:db8:2::1 via fe80::99 by eth1, unicast 2001:db8:55::/48, mtu 1300, route 1300", nil},
		{"IPv6 host route", "eth1", Query{Destination: addr("2001:db8:56::7")},
			"2001:db8:56::7 from 2001:db8:2::1 via 2001:db8:56::7 by eth1, onlink, unicast 2001:db8:56::7/128", nil},

		{"link-local", "eth0", Query{Destination: addr("fe80::9")},
			"fe80::9 from fe80::1 via fe80::9 by eth0, onlink, unicast fe80::/64", nil},
		{"link-local with a zone", "", Query{Destination: addr("fe80::9%eth1")},
			"fe80::9 from fe80::2 via fe80::9 by eth1, onlink, unicast fe80::/64", nil},
		{"link-local with zone and interface", "eth1", Query{Destination: addr("fe80::9%eth1")},
			"fe80::9 from fe80::2 via fe80::9 by eth1, onlink, unicast fe80::/64", nil},
		{"link-local, of another zone", "eth0", Query{Destination: addr("fe80::9%eth1")}, "zone eth1 of fe80::9 is another link than eth0", nil},
		{"two zones", "eth0", Query{Destination: addr("fe80::9%eth0"), Gateway: addr("fe80::8%eth1")}, "zone eth1 of fe80::8 is another link than eth0", nil},
		{"a zone that there is not", "", Query{Destination: addr("fe80::9%eth7")}, `no interface "eth7" (there is `, nil},
		{"link-local of nowhere", "", Query{Destination: addr("fe80::9")}, "fe80::9: a link-local address needs its interface", ErrNoZone},
		{"link-local group of nowhere", "", Query{Destination: addr("ff02::1")}, "ff02::1: a link-local address needs its interface", ErrNoZone},
		{"link-local gateway of nowhere", "", Query{Destination: remote6, Gateway: addr("fe80::fe")}, "fe80::fe: a link-local address needs its interface", ErrNoZone},
		{"own link-local", "eth0", Query{Destination: addr("fe80::1")}, "fe80::1 is an address of this host itself", ErrLocal},
		{"the other's own link-local, here another's", "eth0", Query{Destination: addr("fe80::2")},
			"fe80::2 from fe80::1 via fe80::2 by eth0, onlink, unicast fe80::/64", nil},
		{"own IPv6", "eth0", Query{Destination: addr("2001:db8:1::1")}, "2001:db8:1::1 is an address of this host itself", ErrLocal},
		{"the other's own IPv6", "eth0", Query{Destination: addr("2001:db8:2::1")}, "2001:db8:2::1 is an address of this host itself", ErrLocal},
		{"own IPv6, the kernel chooses", "", Query{Destination: addr("2001:db8:1::1")}, "2001:db8:1::1 is an address of this host itself", ErrLocal},

		{"IPv6 group", "eth0", Query{Destination: addr("ff02::1")},
			"ff02::1 from fe80::1 via ff02::1 by eth0, onlink, group, multicast ff00::/8, needs no neighbor", nil},
		{"IPv6 group with a zone", "", Query{Destination: addr("ff02::1%eth1")},
			"ff02::1 from fe80::2 via ff02::1 by eth1, onlink, group, multicast ff00::/8, needs no neighbor", nil},
		{"IPv6 group of a wider scope", "eth1", Query{Destination: addr("ff0e::1")},
			"ff0e::1 from 2001:db8:2::1 via ff0e::1 by eth1, onlink, group, multicast ff00::/8, needs no neighbor", nil},
		{"IPv4 broadcast", "eth0", Query{Destination: addr("198.51.100.255")},
			"198.51.100.255 from 198.51.100.1 via 198.51.100.255 by eth0, onlink, broadcast, broadcast 198.51.100.255/32, needs no neighbor", nil},

		{"IPv4 by an IPv6 next hop", "eth0", Query{Destination: addr("203.0.113.200")},
			"203.0.113.200 from 198.51.100.1 via fe80::fe by eth0, unicast 203.0.113.128/25", nil},
		{"multipath", "eth0", Query{Destination: addr("198.18.0.1")},
			"198.18.0.1 from 198.51.100.1 via 198.51.100.7 by eth0, multipath, unicast 198.18.0.0/24", nil},
		{"multipath by the other", "eth1", Query{Destination: addr("198.18.0.1")},
			"198.18.0.1 from 192.0.2.1 via 192.0.2.7 by eth1, multipath, unicast 198.18.0.0/24", nil},
		{"IPv6 multipath", "eth0", Query{Destination: addr("2001:db8:57::1")},
			"2001:db8:57::1 from 2001:db8:1::1 via 2001:db8:1::7 by eth0, multipath, unicast 2001:db8:57::/48", nil},
		{"IPv6 multipath by the other", "eth1", Query{Destination: addr("2001:db8:57::1")},
			"2001:db8:57::1 from 2001:db8:2::1 via fe80::7 by eth1, multipath, unicast 2001:db8:57::/48", nil},

		{"marked", "eth1", Query{Destination: remote, Mark: 7},
			"203.0.113.9 from 192.0.2.1 via 192.0.2.254 by eth1, unicast 0.0.0.0/0, table 100, mark 7", nil},
		{"marked, the kernel chooses", "", Query{Destination: remote, Mark: 7},
			"203.0.113.9 from 192.0.2.1 via 192.0.2.254 by eth1, unicast 0.0.0.0/0, table 100, mark 7", nil},
		{"IPv6, marked", "", Query{Destination: remote6, Mark: 7},
			"2001:db8:9::9 from 2001:db8:2::1 via 2001:db8:2::fe by eth1, unicast ::/0, table 100, mark 7", nil},
		{"marked, by another", "eth1", Query{Destination: remote, Mark: 8},
			"no route to 203.0.113.9 by eth1 (the kernel routes it by eth0)", unix.EHOSTUNREACH},

		{"IPv6 blackhole, the kernel chooses", "", Query{Destination: addr("2001:db8:66::6")},
			"no route to 2001:db8:66::6 (its route is a blackhole)", unix.EINVAL},
		{"IPv6 blackhole", "eth1", Query{Destination: addr("2001:db8:66::6")},
			"no route to 2001:db8:66::6 by eth1 (its route is a blackhole)", unix.ENETUNREACH},
		// A socket that is bound to an interface gets the wider route.
		{"IPv6 blackhole, and a wider route", "eth0", Query{Destination: addr("2001:db8:66::6")},
			"2001:db8:66::6 from 2001:db8:1::1 via 2001:db8:1::fe by eth0, unicast ::/0", nil},

		{"own source", "eth0", Query{Destination: remote6, Source: addr("2001:db8:1::1")},
			"2001:db8:9::9 from 2001:db8:1::1 via 2001:db8:1::fe by eth0, unicast ::/0", nil},
		{"own source of the other", "eth0", Query{Destination: remote6, Source: addr("2001:db8:2::1")},
			"2001:db8:9::9 from 2001:db8:2::1 via 2001:db8:1::fe by eth0, unicast ::/0", nil},
		// With a source the kernel does not insist on the interface.
		{"own source, and no route", "eth1", Query{Destination: remote6, Source: addr("2001:db8:2::1")},
			"no route to 2001:db8:9::9 by eth1 (the kernel routes it by eth0)", unix.ENETUNREACH},
		{"IPv6 source of nobody", "eth0", Query{Destination: addr("2001:db8:1::2"), Source: addr("2001:db8:1::77")},
			"2001:db8:1::2 from 2001:db8:1::77 via 2001:db8:1::2 by eth0, onlink, foreign, unicast 2001:db8:1::/64", nil},
		{"link-local source of another interface", "eth0", Query{Destination: addr("fe80::9"), Source: addr("fe80::2")},
			"fe80::9 from fe80::2 via fe80::9 by eth0, onlink, foreign, unicast fe80::/64", nil},
		{"link-local source with a zone", "", Query{Destination: addr("fe80::9"), Source: addr("fe80::2%eth1")},
			"fe80::9 from fe80::2 via fe80::9 by eth1, onlink, unicast fe80::/64", nil},
		{"a route's own source", "eth0", Query{Destination: addr("203.0.113.65")},
			"203.0.113.65 from 192.0.2.1 via 198.51.100.8 by eth0, unicast 203.0.113.64/26", nil},
		{"mapped addresses", "eth0", Query{Destination: addr("::ffff:198.51.100.2"), Source: addr("::ffff:198.51.100.1")},
			"198.51.100.2 from 198.51.100.1 via 198.51.100.2 by eth0, onlink, unicast 198.51.100.0/24", nil},

		{"gateway", "eth1", Query{Destination: remote, Gateway: addr("192.0.2.9")},
			"203.0.113.9 from 192.0.2.1 via 192.0.2.9 by eth1, forced", nil},
		{"gateway, the kernel chooses the interface by it", "", Query{Destination: remote, Gateway: addr("192.0.2.9")},
			"203.0.113.9 from 192.0.2.1 via 192.0.2.9 by eth1, forced", nil},
		{"gateway of another subnet", "eth1", Query{Destination: remote, Gateway: addr("10.0.0.1")},
			"203.0.113.9 from 192.0.2.1 via 10.0.0.1 by eth1, forced", nil},
		{"gateway for what is on the link", "eth0", Query{Destination: addr("198.51.100.2"), Gateway: gateway},
			"198.51.100.2 from 198.51.100.1 via 198.51.100.254 by eth0, forced", nil},
		{"the destination as gateway", "eth1", Query{Destination: remote, Gateway: remote},
			"203.0.113.9 from 192.0.2.1 via 203.0.113.9 by eth1, onlink, forced", nil},
		{"gateway and source", "eth1", Query{Destination: remote, Gateway: addr("192.0.2.9"), Source: addr("198.51.100.1")},
			"203.0.113.9 from 198.51.100.1 via 192.0.2.9 by eth1, forced", nil},
		{"gateway against a blackhole", "eth1", Query{Destination: addr("2001:db8:66::6"), Gateway: addr("2001:db8:2::9")},
			"2001:db8:66::6 from 2001:db8:2::1 via 2001:db8:2::9 by eth1, forced", nil},
		{"IPv6 gateway, link-local, where there is a route", "eth0", Query{Destination: remote6, Gateway: addr("fe80::fe")},
			"2001:db8:9::9 from 2001:db8:1::1 via fe80::fe by eth0, forced", nil},
		{"IPv6 gateway, link-local, where there is none", "eth1", Query{Destination: remote6, Gateway: addr("fe80::fe")},
			"2001:db8:9::9 from 2001:db8:2::1 via fe80::fe by eth1, forced", nil},
		{"IPv6 gateway with a zone", "", Query{Destination: remote6, Gateway: addr("fe80::fe%eth1")},
			"2001:db8:9::9 from 2001:db8:2::1 via fe80::fe by eth1, forced", nil},
		{"IPv6 gateway of IPv4", "eth1", Query{Destination: remote, Gateway: addr("fe80::fe")},
			"203.0.113.9 from 192.0.2.1 via fe80::fe by eth1, forced", nil},
		{"IPv4 gateway of IPv6", "eth0", Query{Destination: remote6, Gateway: gateway}, "198.51.100.254 cannot be the gateway of the IPv6 destination 2001:db8:9::9", ErrGateway},
		{"group as gateway", "eth0", Query{Destination: remote, Gateway: addr("224.0.0.1")}, "224.0.0.1 cannot be the gateway: it is no host's address", ErrGateway},
		{"gateway of a group", "eth0", Query{Destination: addr("224.0.0.1"), Gateway: gateway}, "198.51.100.254 cannot be the gateway of 224.0.0.1, which is on every link", ErrGateway},
		{"oneself as gateway", "eth0", Query{Destination: remote, Gateway: addr("192.0.2.1")}, "192.0.2.1 cannot be the gateway: it is an address of this host itself", ErrGateway},
		{"gateway to oneself", "eth0", Query{Destination: addr("192.0.2.1"), Gateway: gateway}, "192.0.2.1 is an address of this host itself", ErrLocal},

		{"loopback", "lo", Query{Destination: addr("127.0.0.1")},
			"127.0.0.1 from 127.0.0.1 via 127.0.0.1 by lo, onlink, local 127.0.0.1/32, mtu 65536, needs no neighbor", nil},
		{"loopback, another", "lo", Query{Destination: addr("127.1.2.3"), Source: addr("127.0.0.5")},
			"127.1.2.3 from 127.0.0.5 via 127.1.2.3 by lo, onlink, local 127.0.0.0/8, mtu 65536, needs no neighbor", nil},
		{"own address by lo", "lo", Query{Destination: addr("198.51.100.1")},
			"198.51.100.1 from 198.51.100.1 via 198.51.100.1 by lo, onlink, local 198.51.100.1/32, mtu 65536, needs no neighbor", nil},
		{"own IPv6 address by lo", "lo", Query{Destination: addr("2001:db8:1::1")},
			"2001:db8:1::1 from 2001:db8:1::1 via 2001:db8:1::1 by lo, onlink, local 2001:db8:1::1/128, mtu 65536, needs no neighbor", nil},
		{"IPv6 loopback, where it is off", "lo", Query{Destination: addr("::1")}, "no route to ::1 by lo", nil},
		{"another host by lo", "lo", Query{Destination: addr("198.51.100.2")},
			"no route to 198.51.100.2 by lo (the kernel routes it by eth0)", unix.ENETUNREACH},
		{"source of nobody by lo", "lo", Query{Destination: addr("127.0.0.1"), Source: addr("198.51.100.77")},
			"source 198.51.100.77 is not an address of this host", ErrForeignSource},
		{"gateway by lo", "lo", Query{Destination: addr("127.0.0.1"), Gateway: gateway}, "198.51.100.254 cannot be the gateway on lo", ErrGateway},
		{"own address, the kernel chooses", "", Query{Destination: addr("127.0.0.1")}, "127.0.0.1 is an address of this host itself (only lo leads there)", ErrLocal},
	} {
		var ifc *Interface
		if tt.ifname != "" {
			var err error
			ifc, err = r.Interface(tt.ifname)
			must(t, err)
		}
		path, err := r.Path(ifc, tt.q)
		if err != nil {
			if path != nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("%s: %v\nwant %s", tt.name, err, tt.want)
			}
			continue
		}
		if got := brief(path); got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// An interface without an address: the routes of those with one do not exist.
func TestRoutingPathNoAddress(t *testing.T) {
	n := twoInterfaces(t)
	must(t, n.DelAddr("eth1", prefixOf("192.0.2.1/24")))
	r := openRouting(t, n)
	eth1, err := r.Interface("eth1")
	must(t, err)
	if len(eth1.Addresses) != 0 {
		t.Fatalf("eth1 has %v", eth1.Addresses)
	}
	ask := func(q Query) string {
		t.Helper()
		path, err := r.Path(eth1, q)
		if err != nil {
			return err.Error()
		}
		return brief(path)
	}
	dst := addr("192.0.2.2")
	for _, tt := range []struct {
		q    Query
		want string
	}{
		{Query{Destination: dst}, "eth1: no address of IPv4 to send from (ip addr add ADDR/LEN dev eth1, or name a source)"},
		{Query{Destination: addr("255.255.255.255")}, "255.255.255.255 from 198.51.100.1 via 255.255.255.255 by eth1, onlink, broadcast, needs no neighbor"},
		{Query{Destination: addr("198.51.100.2")}, "no route to 198.51.100.2 by eth1 (the kernel routes it by eth0)"},
		{Query{Destination: dst, Source: addr("192.0.2.77")}, "192.0.2.2 from 192.0.2.77 via 192.0.2.2 by eth1, onlink, assumed, foreign"},
		{Query{Destination: dst, Source: addr("0.0.0.0")}, "192.0.2.2 from 0.0.0.0 via 192.0.2.2 by eth1, onlink, assumed"},
		{Query{Destination: dst, Source: addr("198.51.100.1")}, "192.0.2.2 from 198.51.100.1 via 192.0.2.2 by eth1, onlink, assumed"},
		// As the kernel would have it: from another interface's address.
		{Query{Destination: dst, Gateway: addr("192.0.2.254")}, "192.0.2.2 from 198.51.100.1 via 192.0.2.254 by eth1, forced"},
		{Query{Destination: dst, Gateway: addr("192.0.2.254"), Source: addr("192.0.2.77")}, "192.0.2.2 from 192.0.2.77 via 192.0.2.254 by eth1, forced, foreign"},
	} {
		if got := ask(tt.q); got != tt.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", tt.q, got, tt.want)
		}
	}
	if _, err := r.Path(eth1, Query{Destination: dst}); !errors.Is(err, ErrNoAddress) {
		t.Errorf("%v, want ErrNoAddress", err)
	}

	// What an interface without an address routes leaves with another's.
	must(t, n.Install(lab.Route{Dst: prefixOf("192.0.2.0/24"), Interface: "eth1"}))
	if got, want := ask(Query{Destination: dst}), "192.0.2.2 from 198.51.100.1 via 192.0.2.2 by eth1, onlink, unicast 192.0.2.0/24"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	must(t, n.DelAddr("eth0", prefixOf("198.51.100.1/24")))
	for _, q := range []Query{{Destination: dst}, {Destination: dst, Gateway: addr("192.0.2.254")}, {Destination: addr("255.255.255.255")}} {
		if _, err := r.Path(eth1, q); !errors.Is(err, ErrNoAddress) {
			t.Errorf("%+v: %v, want ErrNoAddress", q, err)
		}
	}
	if got, want := ask(Query{Destination: addr("255.255.255.255"), Source: addr("0.0.0.0")}),
		"255.255.255.255 from 0.0.0.0 via 255.255.255.255 by eth1, onlink, broadcast, needs no neighbor"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// A refusal is one, address or not.
	must(t, n.AddRefusal(prefixOf("203.0.113.0/24"), unix.RTN_PROHIBIT))
	if got, want := ask(Query{Destination: remote, Source: addr("192.0.2.77")}), "no route to 203.0.113.9 by eth1 (its route says prohibit)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// IPv6 takes the address of lo where there is none: that is no source.
func TestRoutingPathNoAddress6(t *testing.T) {
	n, r := sixes(t)
	must(t, n.EnableIPv6("lo"))
	for _, name := range []string{"eth0", "eth1"} {
		ifc, err := r.Interface(name)
		must(t, err)
		for _, a := range ifc.Addresses {
			if a.Addr().Is6() {
				must(t, n.DelAddr(name, a))
			}
		}
	}
	must(t, n.Install(lab.Route{Dst: prefixOf("2001:db8:77::/48"), Interface: "eth1"}))
	eth1, err := r.Interface("eth1")
	must(t, err)
	for _, q := range []Query{{Destination: addr("2001:db8:77::7")}, {Destination: remote6}, {Destination: remote6, Gateway: addr("fe80::fe")}} {
		if path, err := r.Path(eth1, q); !errors.Is(err, ErrNoAddress) {
			t.Errorf("%+v: %+v, %v", q, path, err)
		}
	}
	path, err := r.Path(eth1, Query{Destination: remote6, Source: addr("2001:db8:2::77")})
	must(t, err)
	if got, want := brief(path), "2001:db8:9::9 from 2001:db8:2::77 via 2001:db8:9::9 by eth1, onlink, assumed, foreign"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	lo, err := r.Interface("lo")
	must(t, err)
	path, err = r.Path(lo, Query{Destination: addr("::1")})
	must(t, err)
	if got, want := brief(path), "::1 from ::1 via ::1 by lo, onlink, local ::1/128, mtu 65536, needs no neighbor"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Rules by source address count for one's own.
func TestRoutingPathSourceRule(t *testing.T) {
	n, r := sixes(t)
	must(t, n.AddAddr("eth0", prefixOf("198.51.100.5/24")))
	must(t, n.AddAddr("eth0", prefixOf("2001:db8:1::5/64")))
	must(t, n.Install(lab.Route{Dst: anywhere, Via: gateway, Interface: "eth0"}))
	must(t, n.Install(lab.Route{Dst: anywhere6, Via: gateway6, Interface: "eth0"}))
	must(t, n.Install(lab.Route{Dst: anywhere, Via: addr("198.51.100.55"), Interface: "eth0", Table: 55}))
	must(t, n.Install(lab.Route{Dst: anywhere6, Via: addr("2001:db8:1::55"), Interface: "eth0", Table: 55}))
	must(t, n.AddRule(lab.Rule{From: prefixOf("198.51.100.5/32"), Table: 55, Priority: 1000}))
	must(t, n.AddRule(lab.Rule{From: prefixOf("2001:db8:1::5/128"), Table: 55, Priority: 1000}))
	eth0, err := r.Interface("eth0")
	must(t, err)
	for _, tt := range []struct {
		dst, source netip.Addr
		want        string
	}{
		{remote, addr("198.51.100.5"), "203.0.113.9 from 198.51.100.5 via 198.51.100.55 by eth0, unicast 0.0.0.0/0, table 55"},
		{remote, addr("198.51.100.1"), "203.0.113.9 from 198.51.100.1 via 198.51.100.254 by eth0, unicast 0.0.0.0/0"},
		{remote6, addr("2001:db8:1::5"), "2001:db8:9::9 from 2001:db8:1::5 via 2001:db8:1::55 by eth0, unicast ::/0, table 55"},
		{remote6, addr("2001:db8:1::1"), "2001:db8:9::9 from 2001:db8:1::1 via 2001:db8:1::fe by eth0, unicast ::/0"},
	} {
		for _, ifc := range []*Interface{eth0, nil} {
			path, err := r.Path(ifc, Query{Destination: tt.dst, Source: tt.source})
			must(t, err)
			if got := brief(path); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		}
	}
}

// What routers have told of the way's MTU is no part of the table.
func TestRoutingPathLearntMTU(t *testing.T) {
	routed := labtest.NewRouted(t)
	must(t, routed.EnableIPv6())
	must(t, routed.Router.SetMTU("eth1", 1400))
	r := openRouting(t, routed.Near)
	eth0, err := r.Interface("eth0")
	must(t, err)
	for _, dst := range []netip.Addr{routed.HostIP, routed.HostIP6} {
		path, err := r.Path(eth0, Query{Destination: dst})
		must(t, err)
		if path.MTU != 1500 || path.LearntMTU != 0 {
			t.Errorf("%s, at first: %s", dst, brief(path))
		}
		inside(t, routed.Near, func() { sendLong(t, dst) })
		until(t, "the MTU of "+dst.String()+" is learnt", func() bool {
			path, err = r.Path(eth0, Query{Destination: dst})
			must(t, err)
			return path.LearntMTU != 0
		})
		if path.MTU != 1400 || path.LearntMTU != 1400 || path.RouteMTU != 0 {
			t.Errorf("%s: %s", dst, brief(path))
		}
	}
}

// sendLong sends a datagram of 1500 bytes that must not be fragmented.
func sendLong(t *testing.T, dst netip.Addr) {
	t.Helper()
	family, level, opt, value, header := unix.AF_INET, unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO, 28
	var to unix.Sockaddr = &unix.SockaddrInet4{Port: 9, Addr: [4]byte(dst.AsSlice())}
	if dst.Is6() {
		family, level, opt, value, header = unix.AF_INET6, unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO, 48
		to = &unix.SockaddrInet6{Port: 9, Addr: dst.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.SetsockoptInt(fd, level, opt, value))
	must(t, unix.Sendto(fd, make([]byte, 1500-header), 0, to))
}

// A bridge's port has the bridge's addresses, routes and neighbors.
func TestRoutingPathBridge(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	n := pair.Near
	must(t, n.DelAddr("eth0", prefixOf("198.51.100.1/24")))
	labtest.RequireKind(t, n.AddBridge("br0", "eth0"))
	must(t, n.SetMTU("br0", 1400))
	must(t, n.SetUp("br0"))
	must(t, n.AddAddr("br0", prefixOf("198.51.100.1/24")))
	must(t, n.AddAddr("br0", prefixOf("fe80::1/64")))
	must(t, n.WaitUp("br0"))
	must(t, n.Install(lab.Route{Dst: anywhere, Via: gateway, Interface: "br0"}))
	r := openRouting(t, n)
	eth0, err := r.Interface("eth0")
	must(t, err)
	br0, err := r.Interface("br0")
	must(t, err)
	if o := eth0.Owner(); eth0.Master == nil || eth0.Master != o || o.Name != "br0" || o.Kind != "bridge" ||
		o.MAC != br0.MAC || br0.Owner() != br0 || br0.Master != nil {
		t.Errorf("%+v, of %+v", eth0, eth0.Master)
	}
	if !slices.Equal(eth0.Addresses, br0.Addresses) || len(br0.Addresses) != 2 {
		t.Errorf("the port has %v, the bridge %v", eth0.Addresses, br0.Addresses)
	}
	for _, tt := range []struct {
		ifc  *Interface
		q    Query
		want string
	}{
		{eth0, Query{Destination: addr("198.51.100.2")}, "198.51.100.2 from 198.51.100.1 via 198.51.100.2 by eth0, of br0, onlink, unicast 198.51.100.0/24, mtu 1400"},
		{eth0, Query{Destination: remote}, "203.0.113.9 from 198.51.100.1 via 198.51.100.254 by eth0, of br0, unicast 0.0.0.0/0, mtu 1400"},
		{eth0, Query{Destination: addr("fe80::2%br0")}, "fe80::2 from fe80::1 via fe80::2 by eth0, of br0, onlink, unicast fe80::/64, mtu 1400"},
		{eth0, Query{Destination: remote, Gateway: addr("198.51.100.7")}, "203.0.113.9 from 198.51.100.1 via 198.51.100.7 by eth0, of br0, forced, mtu 1400"},
		{br0, Query{Destination: remote}, "203.0.113.9 from 198.51.100.1 via 198.51.100.254 by br0, unicast 0.0.0.0/0, mtu 1400"},
		{nil, Query{Destination: remote}, "203.0.113.9 from 198.51.100.1 via 198.51.100.254 by br0, unicast 0.0.0.0/0, mtu 1400"},
	} {
		path, err := r.Path(tt.ifc, tt.q)
		must(t, err)
		if got := brief(path); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	// The address is the bridge's, and not found twice.
	if ifc, err := r.InterfaceByAddress(addr("198.51.100.1")); err != nil || ifc.Name != "br0" {
		t.Errorf("%+v, %v", ifc, err)
	}
	must(t, n.SetDown("br0"))
	eth0, err = r.Interface("eth0")
	must(t, err)
	if _, err := r.Path(eth0, Query{Destination: remote}); !errors.Is(err, ErrDown) || err.Error() != "br0, the bridge of eth0: interface is down (ip link set br0 up)" {
		t.Error(err)
	}
}

// A bond's member has the bond's, by whichever name it is called.
func TestRoutingPathBond(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	n := pair.Near
	must(t, n.DelAddr("eth0", prefixOf("198.51.100.1/24")))
	labtest.RequireKind(t, n.AddBond("bond0", "eth0"))
	must(t, n.AddAddr("bond0", prefixOf("198.51.100.1/24")))
	must(t, n.SetUp("bond0"))
	must(t, n.WaitUp("bond0"))
	must(t, n.WaitUp("eth0"))
	r := openRouting(t, n)
	eth0, err := r.Interface("eth0")
	must(t, err)
	path, err := r.Path(eth0, Query{Destination: addr("198.51.100.2")})
	must(t, err)
	if got, want := brief(path), "198.51.100.2 from 198.51.100.1 via 198.51.100.2 by eth0, of bond0, onlink, unicast 198.51.100.0/24"; got != want || eth0.Master.Kind != "bond" {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A VRF's member keeps its addresses, and has the routes of the VRF; asked by the
// VRF, a route names the member.
func TestRoutingPathVRF(t *testing.T) {
	n := twoInterfaces(t)
	labtest.RequireKind(t, n.AddVRF("red", 100, "eth1"))
	must(t, n.AddAddr("eth1", prefixOf("2001:db8:2::1/64")))
	must(t, n.WaitUp("eth1"))
	must(t, n.Install(lab.Route{Dst: anywhere, Via: gateway, Interface: "eth0"}))
	must(t, n.Install(lab.Route{Dst: prefixOf("203.0.113.0/24"), Via: addr("192.0.2.254"), Interface: "eth1", Table: 100}))
	must(t, n.Install(lab.Route{Dst: anywhere6, Via: addr("2001:db8:2::fe"), Interface: "eth1", Table: 100}))
	r := openRouting(t, n)
	eth1, err := r.Interface("eth1")
	must(t, err)
	red, err := r.Interface("red")
	must(t, err)
	eth0, err := r.Interface("eth0")
	must(t, err)
	if eth1.Owner() != eth1 || eth1.Master == nil || eth1.Master.Kind != "vrf" || !eth1.has(addr("192.0.2.1")) {
		t.Errorf("%+v", eth1)
	}
	for _, tt := range []struct {
		ifc  *Interface
		q    Query
		want string
	}{
		{eth1, Query{Destination: remote}, "203.0.113.9 from 192.0.2.1 via 192.0.2.254 by eth1, unicast 203.0.113.0/24, table 100"},
		{red, Query{Destination: remote}, "203.0.113.9 from 192.0.2.1 via 192.0.2.254 by eth1, asked, unicast 203.0.113.0/24, table 100"},
		{red, Query{Destination: remote, Source: addr("192.0.2.1")}, "203.0.113.9 from 192.0.2.1 via 192.0.2.254 by eth1, asked, unicast 203.0.113.0/24, table 100"},
		{eth1, Query{Destination: remote6}, "2001:db8:9::9 from 2001:db8:2::1 via 2001:db8:2::fe by eth1, unicast ::/0, table 100"},
		{red, Query{Destination: remote6}, "2001:db8:9::9 from 2001:db8:2::1 via 2001:db8:2::fe by eth1, asked, unicast ::/0, table 100"},
		{red, Query{Destination: remote6, Source: addr("2001:db8:2::1")}, "2001:db8:9::9 from 2001:db8:2::1 via 2001:db8:2::fe by eth1, asked, unicast ::/0, table 100"},
		{red, Query{Destination: remote, Gateway: addr("192.0.2.7")}, "203.0.113.9 from 192.0.2.1 via 192.0.2.7 by eth1, asked, forced"},
		{eth0, Query{Destination: remote}, "203.0.113.9 from 198.51.100.1 via 198.51.100.254 by eth0, unicast 0.0.0.0/0"},
	} {
		path, err := r.Path(tt.ifc, tt.q)
		if err != nil {
			t.Errorf("%+v by %s: %v", tt.q, tt.ifc.Name, err)
			continue
		}
		if got := brief(path); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	for _, ifc := range []*Interface{eth1, red} {
		if _, err := r.Path(ifc, Query{Destination: addr("192.0.2.1")}); !errors.Is(err, ErrLocal) {
			t.Errorf("own address by %s: %v", ifc.Name, err)
		}
		if path, err := r.Path(ifc, Query{Destination: addr("198.18.0.1")}); err == nil {
			t.Errorf("what the VRF does not route, by %s: %s", ifc.Name, brief(path))
		}
	}
}

// Without neighbors and without a link layer.
func TestRoutingPathNeighbors(t *testing.T) {
	n := twoInterfaces(t)
	must(t, n.SetARP("eth1", false))
	labtest.AddTun(t, n, "tun0")
	must(t, n.SetUp("tun0"))
	must(t, n.AddAddr("tun0", prefixOf("198.18.5.1/24")))
	must(t, n.AddAddr("tun0", prefixOf("2001:db8:5::1/64")))
	r := openRouting(t, n)
	for _, tt := range []struct {
		ifname string
		dst    string
		want   string
	}{
		{"eth0", "198.51.100.2", "198.51.100.2 from 198.51.100.1 via 198.51.100.2 by eth0, onlink, unicast 198.51.100.0/24"},
		{"eth1", "192.0.2.2", "192.0.2.2 from 192.0.2.1 via 192.0.2.2 by eth1, onlink, unicast 192.0.2.0/24, needs no neighbor"},
		{"tun0", "198.18.5.2", "198.18.5.2 from 198.18.5.1 via 198.18.5.2 by tun0, onlink, unicast 198.18.5.0/24, needs no neighbor"},
		{"tun0", "2001:db8:5::2", "2001:db8:5::2 from 2001:db8:5::1 via 2001:db8:5::2 by tun0, onlink, unicast 2001:db8:5::/64, needs no neighbor"},
	} {
		ifc, err := r.Interface(tt.ifname)
		must(t, err)
		path, err := r.Path(ifc, Query{Destination: addr(tt.dst)})
		must(t, err)
		if got := brief(path); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	tun0, err := r.Interface("tun0")
	must(t, err)
	if !tun0.NoLink || !tun0.NoARP || !tun0.PointToPoint || tun0.Loopback || tun0.LinkType != "none" || !tun0.MAC.IsZero() || tun0.Usable() != nil {
		t.Errorf("%+v", tun0)
	}
	if _, err := r.Path(tun0, Query{Destination: remote, Gateway: addr("198.18.5.2")}); !errors.Is(err, ErrGateway) {
		t.Errorf("a gateway on tun0: %v", err)
	}
}

func TestInterfaceLinkTypes(t *testing.T) {
	for _, tt := range []struct {
		encap    string
		p2p      bool
		bare, ok bool
	}{
		{"ether", false, false, true}, {"none", true, true, true}, {"ppp", true, true, true}, {"ipip", true, true, true},
		{"tunnel6", true, true, true}, {"sit", false, true, true}, {"unknown519", false, true, true},
		{"gre", true, true, true}, {"gre", false, false, false}, {"unknown823", true, true, true}, {"unknown823", false, false, false},
		{"infiniband", false, false, false}, {"can", false, false, false}, {"ieee802.11/radiotap", false, false, false},
	} {
		i := &Interface{Name: "x0", Up: true, Running: true, PointToPoint: tt.p2p, LinkType: linkType(tt.encap)}
		i.NoLink = i.bare()
		err := i.Usable()
		if i.NoLink != tt.bare || (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrNotEthernet) {
			t.Errorf("%+v: %v, %v", tt, i.NoLink, err)
		}
	}
	for err, want := range map[error]string{
		(&Interface{Name: "ib0", LinkType: "infiniband"}).Usable(): "ib0 has link type infiniband: neither Ethernet nor bare IP",
		(&Interface{Name: "gre1", LinkType: "gre"}).Usable():       "gre1 is a GRE tunnel without a fixed far end: neither Ethernet nor bare IP (its frames bear the outer headers)",
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}

// An address that duplicate address detection looks at, or has found taken, is
// no source; and of several the link-local ones are told by their zone.
func TestInterfaceAddresses6(t *testing.T) {
	n, r := sixes(t)
	must(t, n.AddAddr("eth1", prefixOf("fe80::1/64")))
	eth0, err := r.Interface("eth0")
	must(t, err)
	want := []string{"198.51.100.1/24", "2001:db8:1::1/64", "fe80::1/64"}
	var got []string
	for _, p := range eth0.Addresses {
		got = append(got, p.String())
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for a, want := range map[string]string{"2001:db8:2::1": "eth1", "fe80::1%eth1": "eth1", "fe80::1%eth0": "eth0", "fe80::2": "eth1"} {
		if ifc, err := r.InterfaceByAddress(addr(a)); err != nil || ifc.Name != want {
			t.Errorf("%s: %+v, %v, want %s", a, ifc, err, want)
		}
	}
	if _, err := r.InterfaceByAddress(addr("fe80::1")); !errors.Is(err, ErrNoZone) ||
		err.Error() != "several interfaces have the address fe80::1: a link-local address needs its interface (eth0, eth1)" {
		t.Error(err)
	}
	// With nobody to answer, detection never ends before its time.
	must(t, n.Sysctl("net.ipv6.conf.eth1.accept_dad", "1"))
	must(t, n.Sysctl("net.ipv6.conf.eth1.dad_transmits", "1000"))
	index, err := n.Index("eth1")
	must(t, err)
	must(t, n.Handle().AddrAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index}}, &netlink.Addr{IPNet: ipNet(prefixOf("2001:db8:2::99/64"))}))
	eth1, err := r.Interface("eth1")
	must(t, err)
	if eth1.has(addr("2001:db8:2::99")) || !eth1.has(addr("2001:db8:2::1")) {
		t.Errorf("with a tentative one: %v", eth1.Addresses)
	}
}

// A Routing answers for its namespace on any thread, and not once it is closed.
func TestRoutingThreads(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	near, far := openRouting(t, pair.Near), openRouting(t, pair.Far)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r, own, other := near, pair.NearIP, pair.FarIP
			if i%2 == 1 {
				r, own, other = far, pair.FarIP, pair.NearIP
			}
			for range 20 {
				path, err := r.Path(nil, Query{Destination: other})
				if err != nil || path.Source != own {
					t.Errorf("%+v, %v", path, err)
				}
				if ifc, err := r.InterfaceByAddress(own); err != nil || ifc.Name != "eth0" {
					t.Errorf("%+v, %v", ifc, err)
				}
			}
		})
	}
	wg.Wait()
	must(t, near.Close())
	for name, err := range map[string]error{
		"Path":               second(near.Path(nil, Query{Destination: pair.FarIP})),
		"Interface":          second(near.Interface("eth0")),
		"InterfaceByIndex":   second(near.InterfaceByIndex(1)),
		"InterfaceByAddress": second(near.InterfaceByAddress(pair.NearIP)),
	} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s, closed: %v", name, err)
		}
	}
	if ifc, err := far.InterfaceByIndex(4711); ifc != nil || err == nil {
		t.Errorf("%+v, %v", ifc, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestRouteTypeNames(t *testing.T) {
	for typ, want := range map[RouteType]string{
		0: "", RouteUnicast: "unicast", RouteLocal: "local", RouteBroadcast: "broadcast", RouteAnycast: "anycast", RouteMulticast: "multicast",
		RouteBlackhole: "blackhole", RouteUnreachable: "unreachable", RouteProhibit: "prohibit", RouteThrow: "throw", 77: "77",
	} {
		if got := typ.String(); got != want {
			t.Errorf("%d is %q, want %q", uint8(typ), got, want)
		}
	}
}
