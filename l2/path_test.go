//go:build linux

package l2

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

var (
	anywhere = prefixOf("0.0.0.0/0")
	gateway  = addr("198.51.100.254")
	remote   = addr("203.0.113.9")
)

// twoInterfaces is a pair whose near end has a second interface, eth1 with
// 192.0.2.1/24.
func twoInterfaces(t *testing.T) *lab.Namespace {
	t.Helper()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	n := pair.Near
	must(t, n.AddVeth("eth1", "peer1"))
	must(t, n.AddAddr("eth1", prefixOf("192.0.2.1/24")))
	must(t, n.SetUp("eth1"))
	must(t, n.SetUp("peer1"))
	must(t, n.WaitUp("eth1"))
	return n
}

func addRoute(t *testing.T, n *lab.Namespace, r netlink.Route, ifname string) {
	t.Helper()
	index, err := n.Index(ifname)
	must(t, err)
	r.LinkIndex = index
	must(t, n.Handle().RouteAdd(&r))
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func TestFindPath(t *testing.T) {
	onLink := func(dst string) Path {
		return Path{Destination: addr(dst), Source: addr("198.51.100.1"), NextHop: addr(dst), OnLink: true, Route: prefixOf("198.51.100.0/24"), Table: unix.RT_TABLE_MAIN, RouteType: RouteUnicast, MTU: 1500}
	}
	via := func(hop netip.Addr, route string) Path {
		return Path{Destination: remote, Source: addr("198.51.100.1"), NextHop: hop, Route: prefixOf(route), Table: unix.RT_TABLE_MAIN, RouteType: RouteUnicast, MTU: 1500}
	}
	for _, tt := range []struct {
		name   string
		setUp  func(*testing.T, *lab.Namespace)
		ifname string // "": the kernel chooses
		dst    netip.Addr
		source netip.Addr
		want   Path
		by     string
	}{
		{name: "on-link", ifname: "eth0", dst: addr("198.51.100.2"), want: onLink("198.51.100.2")},
		{name: "on-link, the kernel chooses", dst: addr("198.51.100.2"), want: onLink("198.51.100.2")},
		{name: "on-link of the other, the kernel chooses", dst: addr("192.0.2.9"), by: "eth1", want: Path{
			Destination: addr("192.0.2.9"), Source: addr("192.0.2.1"), NextHop: addr("192.0.2.9"), OnLink: true,
			Route: prefixOf("192.0.2.0/24"), Table: unix.RT_TABLE_MAIN, RouteType: RouteUnicast, MTU: 1500}},
		{name: "default route", ifname: "eth0", dst: remote, want: via(gateway, "0.0.0.0/0"),
			setUp: func(t *testing.T, n *lab.Namespace) { must(t, n.AddRoute(anywhere, gateway, "eth0")) }},
		{name: "default route, the kernel chooses", dst: remote, want: via(gateway, "0.0.0.0/0"),
			setUp: func(t *testing.T, n *lab.Namespace) { must(t, n.AddRoute(anywhere, gateway, "eth0")) }},
		{name: "network route", ifname: "eth0", dst: remote, want: via(addr("198.51.100.7"), "203.0.113.0/24"),
			setUp: func(t *testing.T, n *lab.Namespace) {
				must(t, n.AddRoute(anywhere, gateway, "eth0"))
				must(t, n.AddRoute(prefixOf("203.0.113.0/24"), addr("198.51.100.7"), "eth0"))
			}},
		{name: "host route", ifname: "eth0", dst: remote, want: via(addr("198.51.100.7"), "203.0.113.9/32"),
			setUp: func(t *testing.T, n *lab.Namespace) {
				must(t, n.AddRoute(anywhere, gateway, "eth0"))
				must(t, n.AddRoute(prefixOf("203.0.113.9/32"), addr("198.51.100.7"), "eth0"))
			}},
		{name: "host route on the link", ifname: "eth0", dst: remote, want: func() Path {
			p := via(remote, "203.0.113.9/32")
			p.OnLink = true
			return p
		}(), setUp: func(t *testing.T, n *lab.Namespace) {
			must(t, n.AddRoute(prefixOf("203.0.113.9/32"), netip.Addr{}, "eth0"))
		}},
		{name: "gateway outside the subnet", ifname: "eth0", dst: remote, want: via(addr("10.9.9.9"), "0.0.0.0/0"),
			setUp: func(t *testing.T, n *lab.Namespace) { must(t, n.AddRoute(anywhere, addr("10.9.9.9"), "eth0")) }},
		{name: "address without a subnet", ifname: "eth0", dst: remote, want: via(addr("10.9.9.9"), "0.0.0.0/0"),
			setUp: func(t *testing.T, n *lab.Namespace) {
				must(t, n.DelAddr("eth0", prefixOf("198.51.100.1/24")))
				must(t, n.AddAddr("eth0", prefixOf("198.51.100.1/32")))
				must(t, n.AddRoute(anywhere, addr("10.9.9.9"), "eth0"))
			}},
		{name: "the worse of two default routes", ifname: "eth1", dst: remote, want: Path{
			Destination: remote, Source: addr("192.0.2.1"), NextHop: addr("192.0.2.254"), Route: anywhere, Table: unix.RT_TABLE_MAIN, RouteType: RouteUnicast, MTU: 1500},
			setUp: func(t *testing.T, n *lab.Namespace) {
				must(t, n.AddRoute(anywhere, gateway, "eth0"))
				addRoute(t, n, netlink.Route{Dst: ipNet(anywhere), Gw: net.IP{192, 0, 2, 254}, Priority: 100}, "eth1")
			}},
		{name: "route with an MTU", ifname: "eth0", dst: remote, want: func() Path {
			p := via(gateway, "0.0.0.0/0")
			p.MTU, p.RouteMTU = 1280, 1280
			return p
		}(), setUp: func(t *testing.T, n *lab.Namespace) {
			addRoute(t, n, netlink.Route{Dst: ipNet(anywhere), Gw: gateway.AsSlice(), MTU: 1280}, "eth0")
		}},
		{name: "route with an MTU over the interface's", ifname: "eth0", dst: remote, want: func() Path {
			p := via(gateway, "0.0.0.0/0")
			p.RouteMTU = 9000
			return p
		}(),
			setUp: func(t *testing.T, n *lab.Namespace) {
				addRoute(t, n, netlink.Route{Dst: ipNet(anywhere), Gw: gateway.AsSlice(), MTU: 9000}, "eth0")
			}},
		{name: "route with a source", ifname: "eth0", dst: remote, want: func() Path {
			p := via(gateway, "0.0.0.0/0")
			p.Source = addr("198.51.100.5")
			return p
		}(), setUp: func(t *testing.T, n *lab.Namespace) {
			must(t, n.AddAddr("eth0", prefixOf("198.51.100.5/24")))
			addRoute(t, n, netlink.Route{Dst: ipNet(anywhere), Gw: gateway.AsSlice(), Src: net.IP{198, 51, 100, 5}}, "eth0")
		}},
		{name: "source given", ifname: "eth0", dst: addr("198.51.100.2"), source: addr("198.51.100.5"), want: func() Path {
			p := onLink("198.51.100.2")
			p.Source = addr("198.51.100.5")
			return p
		}(), setUp: func(t *testing.T, n *lab.Namespace) { must(t, n.AddAddr("eth0", prefixOf("198.51.100.5/24"))) }},
		{name: "the other interface's address as source", ifname: "eth0", dst: addr("198.51.100.2"), source: addr("192.0.2.1"), want: func() Path {
			p := onLink("198.51.100.2")
			p.Source = addr("192.0.2.1")
			return p
		}()},
		{name: "a table of its own", ifname: "eth0", dst: remote, want: func() Path {
			p := via(gateway, "203.0.113.0/24")
			p.Table = 100
			return p
		}(), setUp: func(t *testing.T, n *lab.Namespace) {
			addRoute(t, n, netlink.Route{Dst: ipNet(prefixOf("203.0.113.0/24")), Gw: gateway.AsSlice(), Table: 100}, "eth0")
			rule := netlink.NewRule()
			rule.Family, rule.Table, rule.Priority = netlink.FAMILY_V4, 100, 1000
			must(t, n.Handle().RuleAdd(rule))
		}},
		{name: "source of nobody", ifname: "eth0", dst: addr("198.51.100.2"), source: addr("198.51.100.77"), want: func() Path {
			p := onLink("198.51.100.2")
			p.Source, p.ForeignSource = addr("198.51.100.77"), true
			return p
		}()},
		{name: "source of nobody, the kernel chooses", dst: addr("198.51.100.2"), source: addr("198.51.100.77"), want: func() Path {
			p := onLink("198.51.100.2")
			p.Source, p.ForeignSource = addr("198.51.100.77"), true
			return p
		}()},
		{name: "group", ifname: "eth0", dst: addr("239.1.2.3"), want: Path{
			Destination: addr("239.1.2.3"), Source: addr("198.51.100.1"), NextHop: addr("239.1.2.3"), OnLink: true, Multicast: true, MTU: 1500}},
		{name: "group, whatever the routes are", ifname: "eth1", dst: addr("224.0.0.1"), want: Path{
			Destination: addr("224.0.0.1"), Source: addr("192.0.2.1"), NextHop: addr("224.0.0.1"), OnLink: true, Multicast: true, MTU: 1500},
			setUp: func(t *testing.T, n *lab.Namespace) { must(t, n.AddRoute(anywhere, gateway, "eth0")) }},
		{name: "broadcast of the subnet", ifname: "eth0", dst: addr("198.51.100.255"), want: Path{
			Destination: addr("198.51.100.255"), Source: addr("198.51.100.1"), NextHop: addr("198.51.100.255"), OnLink: true, Broadcast: true,
			Route: prefixOf("198.51.100.255/32"), Table: unix.RT_TABLE_LOCAL, RouteType: RouteBroadcast, MTU: 1500}},
		{name: "limited broadcast", ifname: "eth0", dst: addr("255.255.255.255"), want: Path{
			Destination: addr("255.255.255.255"), Source: addr("198.51.100.1"), NextHop: addr("255.255.255.255"), OnLink: true, Broadcast: true, MTU: 1500}},
		{name: "limited broadcast by the other", ifname: "eth1", dst: addr("255.255.255.255"), want: Path{
			Destination: addr("255.255.255.255"), Source: addr("192.0.2.1"), NextHop: addr("255.255.255.255"), OnLink: true, Broadcast: true, MTU: 1500}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withTwoInterfaces(t, tt.setUp, tt.ifname, func(ifc *Interface) {
				by := cmp.Or(tt.ifname, tt.by, "eth0")
				path, err := FindPath(ifc, tt.dst, tt.source)
				if err != nil {
					t.Fatal(err)
				}
				if path.Interface == nil || path.Interface.Name != by || ifc != nil && path.Interface != ifc {
					t.Errorf("by %+v, want %s", path.Interface, by)
				}
				got := *path
				if got.Owner != got.Interface {
					t.Errorf("owned by %+v", got.Owner)
				}
				got.Interface, got.Owner = nil, nil
				if tt.want.Table == unix.RT_TABLE_LOCAL && got.Table == unix.RT_TABLE_MAIN {
					got.Table = unix.RT_TABLE_LOCAL // the two are one until a rule parts them (fib_unmerge)
				}
				if got != tt.want {
					t.Errorf("got  %+v,\nwant %+v", got, tt.want)
				}
			})
		})
	}
}

// withTwoInterfaces runs f in twoInterfaces that setUp, which may be nil, has
// changed, with the interface of that name, or nil for "".
func withTwoInterfaces(t *testing.T, setUp func(*testing.T, *lab.Namespace), ifname string, f func(ifc *Interface)) {
	t.Helper()
	n := twoInterfaces(t)
	if setUp != nil {
		setUp(t, n)
	}
	inside(t, n, func() {
		var ifc *Interface
		if ifname != "" {
			var err error
			ifc, err = InterfaceByName(ifname)
			must(t, err)
		}
		f(ifc)
	})
}

func TestFindPathErrors(t *testing.T) {
	byDefault := func(t *testing.T, n *lab.Namespace) { must(t, n.AddRoute(anywhere, gateway, "eth0")) }
	refusing := func(kind int) func(*testing.T, *lab.Namespace) {
		return func(t *testing.T, n *lab.Namespace) {
			byDefault(t, n)
			must(t, n.AddRefusal(prefixOf("203.0.113.0/24"), kind))
		}
	}
	// For one interface the kernel gives one errno to whatever has no route
	// (inet_rtm_getroute, RTM_F_FIB_MATCH).
	for _, tt := range []struct {
		name    string
		setUp   func(*testing.T, *lab.Namespace)
		ifname  string
		dst     netip.Addr
		source  netip.Addr
		is      error  // errors.Is
		no      string // NoRouteError.Elsewhere, or "-": another error
		text    string
		refusal RouteType
	}{
		{name: "no route at all", ifname: "eth0", dst: remote, is: unix.EHOSTUNREACH,
			text: "no route to 203.0.113.9 by eth0 (nor by any other interface)"},
		{name: "no route at all, the kernel chooses", dst: remote, is: unix.ENETUNREACH, text: "no route to 203.0.113.9"},
		{name: "by another interface", setUp: byDefault, ifname: "eth1", dst: remote, is: unix.EHOSTUNREACH, no: "eth0",
			text: "no route to 203.0.113.9 by eth1 (the kernel routes it by eth0)"},
		{name: "another interface's subnet", ifname: "eth1", dst: addr("198.51.100.2"), is: unix.EHOSTUNREACH, no: "eth0",
			text: "no route to 198.51.100.2 by eth1 (the kernel routes it by eth0)"},
		{name: "another interface's broadcast", ifname: "eth1", dst: addr("198.51.100.255"), is: unix.EHOSTUNREACH, no: "eth0",
			text: "no route to 198.51.100.255 by eth1 (the kernel routes it by eth0)"},
		{name: "blackhole", setUp: refusing(unix.RTN_BLACKHOLE), ifname: "eth0", dst: remote, is: unix.EHOSTUNREACH, refusal: RouteBlackhole,
			text: "no route to 203.0.113.9 by eth0 (its route is a blackhole)"},
		{name: "blackhole, the kernel chooses", setUp: refusing(unix.RTN_BLACKHOLE), dst: remote, is: unix.EINVAL, refusal: RouteBlackhole,
			text: "no route to 203.0.113.9 (its route is a blackhole)"},
		{name: "unreachable", setUp: refusing(unix.RTN_UNREACHABLE), ifname: "eth0", dst: remote, is: unix.EHOSTUNREACH, refusal: RouteUnreachable,
			text: "no route to 203.0.113.9 by eth0 (its route says unreachable)"},
		{name: "prohibit", setUp: refusing(unix.RTN_PROHIBIT), ifname: "eth0", dst: remote, is: unix.EHOSTUNREACH, refusal: RouteProhibit,
			text: "no route to 203.0.113.9 by eth0 (its route says prohibit)"},
		{name: "throw", setUp: refusing(unix.RTN_THROW), ifname: "eth0", dst: remote, is: unix.EHOSTUNREACH,
			text: "no route to 203.0.113.9 by eth0 (nor by any other interface)"},
		{name: "own address", ifname: "eth0", dst: addr("198.51.100.1"), is: ErrLocal, no: "-",
			text: "198.51.100.1 is an address of this host itself (only lo leads there)"},
		{name: "own address, the kernel chooses", dst: addr("198.51.100.1"), is: ErrLocal, no: "-"},
		{name: "the other interface's own address", ifname: "eth1", dst: addr("198.51.100.1"), is: ErrLocal, no: "-"},
		{name: "the other interface's own address, beside a default route", setUp: byDefault, ifname: "eth0", dst: addr("192.0.2.1"), is: ErrLocal, no: "-"},
		{name: "loopback", setUp: byDefault, ifname: "eth0", dst: addr("127.0.0.1"), is: ErrLocal, no: "-"},
		{name: "IPv6, of which there is none", ifname: "eth0", dst: addr("2001:db8::1"), is: ErrNoAddress, no: "-",
			text: "eth0: no address of IPv6 to send from (ip addr add ADDR/LEN dev eth0, or name a source)"},
		{name: "no destination", ifname: "eth0", no: "-", text: "no destination"},
		{name: "unspecified", ifname: "eth0", dst: addr("0.0.0.0"), no: "-", text: "0.0.0.0 is no destination"},
		{name: "source of another family", ifname: "eth0", dst: addr("198.51.100.2"), source: addr("2001:db8::1"), no: "-",
			text: "source 2001:db8::1: of another family than 198.51.100.2"},
		{name: "group as source", ifname: "eth0", dst: addr("198.51.100.2"), source: addr("224.0.0.1"), no: "-", text: "source 224.0.0.1: nobody's address"},
		{name: "only route goes down with its interface", setUp: func(t *testing.T, n *lab.Namespace) {
			must(t, n.AddRoute(anywhere, gateway, "eth0"))
			must(t, n.SetDown("eth0"))
		}, ifname: "eth1", dst: remote, is: unix.EHOSTUNREACH, text: "no route to 203.0.113.9 by eth1 (nor by any other interface)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withTwoInterfaces(t, tt.setUp, tt.ifname, func(ifc *Interface) {
				path, err := FindPath(ifc, tt.dst, tt.source)
				if path != nil || err == nil {
					t.Fatalf("a path: %+v, %v", path, err)
				}
				if tt.is != nil && !errors.Is(err, tt.is) {
					t.Errorf("%v: %v, not %v", err, errors.Unwrap(err), tt.is)
				}
				if tt.text != "" && err.Error() != tt.text {
					t.Errorf("%q, want %q", err, tt.text)
				}
				none := (*NoRouteError)(nil)
				switch is := errors.As(err, &none); {
				case is != (tt.no != "-"):
					t.Errorf("%v: a NoRouteError: %v", err, is)
				case is && (none.Destination != tt.dst || none.Interface != tt.ifname || none.Elsewhere != tt.no || none.Type != tt.refusal):
					t.Errorf("%+v", none)
				}
			})
		})
	}
}

func TestNoRouteErrorText(t *testing.T) {
	for _, tt := range []struct {
		ifname, elsewhere string
		refusal           RouteType
		want              string
	}{
		{"", "", 0, "no route to 203.0.113.9"},
		{"eth1", "", 0, "no route to 203.0.113.9 by eth1 (nor by any other interface)"},
		{"eth1", "eth1", 0, "no route to 203.0.113.9 by eth1"},
		{"eth1", "", RouteBlackhole, "no route to 203.0.113.9 by eth1 (its route is a blackhole)"},
		{"", "", RouteProhibit, "no route to 203.0.113.9 (its route says prohibit)"},
		{"eth1", "eth0", 0, "no route to 203.0.113.9 by eth1 (the kernel routes it by eth0)"},
	} {
		err := &NoRouteError{Destination: remote, Interface: tt.ifname, Elsewhere: tt.elsewhere, Type: tt.refusal, Err: unix.ENETUNREACH}
		if err.Error() != tt.want || !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("%q, want %q", err, tt.want)
		}
	}
}

// What the routed topology has, as the command meets it first.
func TestFindPathRouted(t *testing.T) {
	r := labtest.NewRouted(t)
	inside(t, r.Near, func() {
		path, err := FindPath(nil, r.HostIP, netip.Addr{})
		must(t, err)
		if path.Interface.Name != "eth0" || path.NextHop != r.RouterIP || path.OnLink || path.Source != r.NearIP || path.MTU != 1500 {
			t.Errorf("%+v", path)
		}
	})
}
