package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Route is a route of either family, which is that of Dst.
type Route struct {
	Dst       netip.Prefix
	Via       netip.Addr // the next hop; zero: Dst is on the link
	Interface string

	// Hops, instead of Via and Interface, are of a multipath route. For IPv6
	// the kernel keeps them as so many routes (ip6_route_multipath_add).
	Hops []Hop

	Source netip.Addr // preferred for what the host itself sends; zero: the kernel chooses
	Table  int        // main (254) if 0
	Metric int        // the kernel's default if 0: 0 for IPv4, 1024 for IPv6
	MTU    int        // of the route, no larger than the interface's; 0: none of its own
	OnLink bool       // Via need not be in a subnet of the interface

	// Type is unix.RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT or RTN_LOCAL;
	// unicast if 0. A type that refuses needs neither Via nor Interface.
	Type int
}

// Hop is one of a multipath route's next hops.
type Hop struct {
	Via       netip.Addr // may be IPv6 for IPv4 routes too
	Interface string
	Weight    int // 1 if 0, at most 256
}

// AddRoute adds a route to dst by an interface; via is the next hop, or the
// zero Addr if dst is on the link; an IPv6 next hop for an IPv4 route is allowed
// (RFC 8950). A next hop outside every subnet of the interface is allowed: the
// route is then marked onlink.
func (n *Namespace) AddRoute(dst netip.Prefix, via netip.Addr, ifname string) error {
	r := Route{Dst: dst, Via: via, Interface: ifname}
	err := n.Install(r)
	// In no subnet (fib_check_nh, ip6_route_check_nh).
	if via.IsValid() && (errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH)) {
		r.OnLink = true
		err = n.Install(r)
	}
	return err
}

// Install adds a route. It does not replace one to the same destination with
// the same metric in the same table: EEXIST, but for IPv6, where the two become
// one multipath route if both have a next hop (fib6_add_rt2node: NLM_F_APPEND is
// not even asked for).
func (n *Namespace) Install(r Route) error {
	return n.route("add", r, (*netlink.Handle).RouteAdd)
}

// Uninstall removes a route that Install made.
func (n *Namespace) Uninstall(r Route) error {
	return n.route("delete", r, (*netlink.Handle).RouteDel)
}

func (n *Namespace) route(verb string, r Route, f func(*netlink.Handle, *netlink.Route) error) error {
	h, err := n.netlink()
	if err == nil {
		var route *netlink.Route
		if route, err = n.encode(r); err == nil {
			err = f(h, route)
		}
	}
	if err != nil {
		by := ""
		if r.Interface != "" {
			by = " by " + r.Interface
		}
		return fmt.Errorf("%s route to %s%s: %w", verb, r.Dst, by, err)
	}
	return nil
}

// encode makes netlink's route of r.
func (n *Namespace) encode(r Route) (*netlink.Route, error) {
	route := &netlink.Route{
		Dst: ipNet(r.Dst.Masked()), Table: r.Table, Priority: r.Metric, MTU: r.MTU, Type: r.Type,
	}
	if r.Source.IsValid() {
		route.Src = r.Source.AsSlice()
	}
	if r.OnLink {
		route.SetFlag(netlink.FLAG_ONLINK)
	}
	for _, hop := range r.Hops {
		index, err := n.Index(hop.Interface)
		if err != nil {
			return nil, err
		}
		next := &netlink.NexthopInfo{LinkIndex: index, Hops: max(hop.Weight, 1) - 1}
		if r.OnLink {
			next.Flags = int(netlink.FLAG_ONLINK)
		}
		if hop.Via.Is4() != r.Dst.Addr().Is4() && hop.Via.IsValid() {
			next.Via = via(hop.Via)
		} else if hop.Via.IsValid() {
			next.Gw = hop.Via.AsSlice()
		}
		route.MultiPath = append(route.MultiPath, next)
	}
	if len(r.Hops) > 0 {
		return route, nil
	}
	if r.Interface != "" {
		index, err := n.Index(r.Interface)
		if err != nil {
			return nil, err
		}
		route.LinkIndex = index
	}
	switch {
	case !r.Via.IsValid():
		if r.Interface != "" && r.Dst.Addr().Is4() {
			route.Scope = netlink.SCOPE_LINK
		}
		if r.Type == unix.RTN_LOCAL {
			route.Scope = netlink.SCOPE_HOST
		}
	case r.Via.Is4() != r.Dst.Addr().Is4():
		route.Via = via(r.Via)
	default:
		route.Gw = r.Via.AsSlice()
	}
	return route, nil
}

// via is a next hop of another family than the route's (RTA_VIA).
func via(a netip.Addr) *netlink.Via {
	family := unix.AF_INET6
	if a.Is4() {
		family = unix.AF_INET
	}
	return &netlink.Via{AddrFamily: family, Addr: a.AsSlice()}
}

// AddRefusal adds a route of a type that refuses: unix.RTN_BLACKHOLE,
// unix.RTN_UNREACHABLE or unix.RTN_PROHIBIT, for either family. A router drops
// what it would forward to dst, for the latter two with an ICMP error.
func (n *Namespace) AddRefusal(dst netip.Prefix, kind int) error {
	return n.Install(Route{Dst: dst, Type: kind})
}

// DelRoute removes the first route to exactly dst, of whatever type, in the
// main table.
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

// Rule is a policy rule: what it matches is looked up in Table. The family is
// that of From or To, or IPv6 says it.
type Rule struct {
	From, To netip.Prefix // zero: any
	Mark     uint32       // 0: any
	Input    string       // an interface by which it came; "": any
	Output   string       // an interface that a socket is bound to; "": any
	IPv6     bool

	Table    int
	Priority int // below 32766 it comes before the main table; 0: before all rules but that of the local table

	// Type is unix.FR_ACT_BLACKHOLE, FR_ACT_UNREACHABLE or FR_ACT_PROHIBIT
	// instead of a Table; 0: look up.
	Type uint8
}

// AddRule adds a policy rule. The kernel needs IP_MULTIPLE_TABLES.
func (n *Namespace) AddRule(r Rule) error {
	return n.rule("add", r, (*netlink.Handle).RuleAdd)
}

// DelRule removes the first rule that matches all that r says.
func (n *Namespace) DelRule(r Rule) error {
	return n.rule("delete", r, (*netlink.Handle).RuleDel)
}

func (n *Namespace) rule(verb string, r Rule, f func(*netlink.Handle, *netlink.Rule) error) error {
	rule := netlink.NewRule()
	rule.Family = unix.AF_INET
	if r.IPv6 || r.From.Addr().Is6() || r.To.Addr().Is6() {
		rule.Family = unix.AF_INET6
	}
	rule.Table, rule.Mark, rule.IifName, rule.OifName, rule.Type = r.Table, r.Mark, r.Input, r.Output, r.Type
	if r.Priority > 0 {
		rule.Priority = r.Priority
	}
	if r.From.IsValid() {
		rule.Src = ipNet(r.From.Masked())
	}
	if r.To.IsValid() {
		rule.Dst = ipNet(r.To.Masked())
	}
	h, err := n.netlink()
	if err == nil {
		err = f(h, rule)
	}
	if err != nil {
		return fmt.Errorf("%s rule for table %d: %w", verb, r.Table, err)
	}
	return nil
}
