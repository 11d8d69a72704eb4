//go:build linux

package l2

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Routing asks the kernel of one network namespace about its interfaces and
// routes, by one netlink socket (rtnetlink(7)). It needs no capability, and is
// safe for concurrent use by any thread.
type Routing struct {
	mu sync.Mutex
	h  *netlink.Handle // nil once closed
}

// OpenRouting opens a Routing in the network namespace of the calling thread.
// Close must be called.
func OpenRouting() (*Routing, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return &Routing{h: h}, nil
}

// Close closes the socket. All that is asked afterwards fails with os.ErrClosed.
func (r *Routing) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.h != nil {
		r.h.Close()
		r.h = nil
	}
	return nil
}

// once puts one question, in the namespace of the calling thread.
func once[T any](f func(*Routing) (T, error)) (T, error) {
	r, err := OpenRouting()
	if err != nil {
		var none T
		return none, err
	}
	defer r.Close()
	return f(r)
}

// with calls f with the handle. A handle that is closed would not fail but ask
// the namespace of the thread that it is used on.
func with[T any](r *Routing, f func(*netlink.Handle) (T, error)) (T, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.h == nil {
		var none T
		return none, fmt.Errorf("ask the kernel's routing: %w", os.ErrClosed)
	}
	return f(r.h)
}

// Interface looks an interface up by its name. It fails with *NoInterfaceError
// where there is none.
func (r *Routing) Interface(name string) (*Interface, error) {
	return with(r, func(h *netlink.Handle) (*Interface, error) { return interfaceByName(h, name) })
}

// InterfaceByIndex looks an interface up by its index.
func (r *Routing) InterfaceByIndex(index int) (*Interface, error) {
	return with(r, func(h *netlink.Handle) (*Interface, error) { return interfaceByIndex(h, index) })
}

// InterfaceByAddress is the function of that name.
func (r *Routing) InterfaceByAddress(addr netip.Addr) (*Interface, error) {
	return with(r, func(h *netlink.Handle) (*Interface, error) { return interfaceByAddress(h, addr) })
}

func interfaceByName(h *netlink.Handle, name string) (*Interface, error) {
	link, err := h.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) || errors.Is(err, unix.ERANGE) || errors.Is(err, unix.EINVAL) {
		links, _ := listLinks(h)
		names := make([]string, 0, len(links))
		for _, l := range links {
			names = append(names, l.Attrs().Name)
		}
		near := nearest(name, names, 3)
		return nil, &NoInterfaceError{Name: name, Nearest: near, Others: len(names) - len(near)}
	}
	if err != nil {
		return nil, fmt.Errorf("look up interface %s: %w", name, err)
	}
	return newInterface(h, link)
}

func interfaceByIndex(h *netlink.Handle, index int) (*Interface, error) {
	link, err := h.LinkByIndex(index)
	if err != nil {
		return nil, fmt.Errorf("look up interface %d: %w", index, err)
	}
	return newInterface(h, link)
}

// Siblings returns the other members of a VRF that the interface is a member of;
// none if it is in no VRF.
func (r *Routing) Siblings(i *Interface) ([]*Interface, error) {
	if i.Master == nil || i.Master.Kind != "vrf" {
		return nil, nil
	}
	return with(r, func(h *netlink.Handle) ([]*Interface, error) {
		links, err := listLinks(h)
		if err != nil {
			return nil, fmt.Errorf("list interfaces: %w", err)
		}
		var siblings []*Interface
		for _, link := range links {
			if a := link.Attrs(); a.MasterIndex != i.Master.Index || a.Index == i.Index {
				continue
			}
			sibling, err := newInterface(h, link)
			if err != nil {
				return nil, err
			}
			siblings = append(siblings, sibling)
		}
		return siblings, nil
	})
}

func interfaceByAddress(h *netlink.Handle, addr netip.Addr) (*Interface, error) {
	links, err := listLinks(h)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var found []*Interface
	var names []string
	for _, link := range links {
		ifc, err := newInterface(h, link)
		if err != nil {
			return nil, err
		}
		// The addresses of a bridge are also those of its ports; meant is the
		// bridge.
		if ifc.Owner() == ifc && ifc.has(addr.WithZone("")) && (addr.Zone() == "" || ifc.named(addr.Zone())) {
			found, names = append(found, ifc), append(names, ifc.Name)
		}
	}
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("no interface has the address %s", addr)
	case len(found) > 1 && addr.IsLinkLocalUnicast():
		return nil, fmt.Errorf("several interfaces have the address %s: %w (%s)", addr, ErrNoZone, strings.Join(names, ", "))
	}
	return found[0], nil
}

// A RouteType says what a route does with packets (rtnetlink(7), RTN_*). Zero
// is none.
type RouteType uint8

// The types that matter here.
const (
	RouteUnicast     RouteType = unix.RTN_UNICAST
	RouteLocal       RouteType = unix.RTN_LOCAL
	RouteBroadcast   RouteType = unix.RTN_BROADCAST
	RouteAnycast     RouteType = unix.RTN_ANYCAST
	RouteMulticast   RouteType = unix.RTN_MULTICAST
	RouteBlackhole   RouteType = unix.RTN_BLACKHOLE
	RouteUnreachable RouteType = unix.RTN_UNREACHABLE
	RouteProhibit    RouteType = unix.RTN_PROHIBIT
	RouteThrow       RouteType = unix.RTN_THROW
)

var routeTypes = [...]string{
	unix.RTN_UNICAST: "unicast", unix.RTN_LOCAL: "local", unix.RTN_BROADCAST: "broadcast",
	unix.RTN_ANYCAST: "anycast", unix.RTN_MULTICAST: "multicast", unix.RTN_BLACKHOLE: "blackhole",
	unix.RTN_UNREACHABLE: "unreachable", unix.RTN_PROHIBIT: "prohibit", unix.RTN_THROW: "throw",
}

// String returns the type's name as `ip route` has it; "" for none.
func (t RouteType) String() string {
	if int(t) < len(routeTypes) {
		return routeTypes[t]
	}
	return fmt.Sprintf("%d", uint8(t))
}

// refusal is the type of route that an errno of RTM_GETROUTE stands for, or 0
// (net/ipv4/fib_semantics.c, fib_props; net/ipv6/route.c, fib6_prop). A throw is
// as if there were none.
func refusal(err error) RouteType {
	switch {
	case errors.Is(err, unix.EINVAL):
		return RouteBlackhole
	case errors.Is(err, unix.EHOSTUNREACH):
		return RouteUnreachable
	case errors.Is(err, unix.EACCES):
		return RouteProhibit
	}
	return 0
}

// A question is what the kernel is asked about one destination.
type question struct {
	h    *netlink.Handle
	mark uint32
}

// about puts it: for a destination and, if that is valid, a source, by the
// interface of index oif (0: any), and whether for the route as it stands in the
// table (RTM_F_FIB_MATCH) or for what a packet would get.
func (q *question) about(dst, source netip.Addr, oif int, fibMatch bool) (*netlink.Route, error) {
	opts := &netlink.RouteGetOptions{OifIndex: oif, FIBMatch: fibMatch, Mark: q.mark}
	if source.IsValid() {
		opts.SrcAddr = net.IP(source.AsSlice())
	}
	routes, err := q.h.RouteGetWithOptions(net.IP(dst.AsSlice()), opts)
	if err != nil {
		return nil, err
	}
	if len(routes) == 0 {
		return nil, unix.ENETUNREACH
	}
	return &routes[0], nil
}

// local tells whether an address is one of this host, as the VRF of index vrf
// has it (0: none) or, link-local, as the interface of index oif.
func (q *question) local(a netip.Addr, vrf, oif int) bool {
	if a.IsLinkLocalUnicast() && a.Is6() {
		vrf = oif
	}
	r, err := q.about(a, netip.Addr{}, vrf, false)
	return err == nil && isLocal(r)
}

// isLocal tells whether a route leads to this host itself. An anycast route is
// that of a router's subnet address (RFC 4291, section 2.6.1), which is its own.
func isLocal(r *netlink.Route) bool {
	return r.Type == unix.RTN_LOCAL || r.Type == unix.RTN_ANYCAST
}

// hop is a route's next hop; invalid where the destination is on the link.
func hop(r *netlink.Route) netip.Addr {
	if a, ok := netip.AddrFromSlice(r.Gw); ok {
		return a.Unmap()
	}
	// An IPv6 next hop for IPv4 (RFC 8950; RTA_VIA).
	if via, ok := r.Via.(*netlink.Via); ok && via != nil {
		if a, ok := netip.AddrFromSlice(via.Addr); ok {
			return a
		}
	}
	return netip.Addr{}
}

// chosen is the source address that the kernel has chosen, invalid if none will
// do: without an address on the interface it takes that of lo for IPv6.
func chosen(r *netlink.Route) netip.Addr {
	a, ok := netip.AddrFromSlice(r.Src)
	if !ok || a.Unmap().IsLoopback() || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a.Unmap()
}

// prefixOfRoute converts a route's destination; nil is the default route.
func prefixOfRoute(n *net.IPNet, dst netip.Addr) netip.Prefix {
	if n == nil {
		if dst.Is4() {
			return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	addr, _ := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits)
}
