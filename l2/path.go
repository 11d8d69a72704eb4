//go:build linux

package l2

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Path is what the kernel's routing says for a destination when it may leave
// by one interface only.
type Path struct {
	Interface   *Interface
	Destination netip.Addr
	// Source is the address that the kernel sends from, or the one asked for.
	Source netip.Addr
	// NextHop is whose MAC the frame goes to: a gateway or, where OnLink is
	// true, the destination itself.
	NextHop netip.Addr
	OnLink  bool
	// Broadcast says that the destination is a broadcast address of the
	// interface.
	Broadcast bool
	// Route is the prefix of the route that matched and Table the number of
	// its table; both are zero for the limited broadcast 255.255.255.255,
	// which no route holds.
	Route netip.Prefix
	Table int
	// MTU is the most bytes of an IP packet: the interface's MTU, or less
	// where the route says so or the kernel has learnt it.
	MTU int
}

// Errors of FindPath. The kernel's errno stays reachable by errors.Is.
var (
	ErrLocal     = errors.New("is an address of this host itself")
	ErrMulticast = errors.New("is a multicast address")
)

// A NoRouteError says that the kernel has no unicast route by an interface.
type NoRouteError struct {
	Destination netip.Addr
	Interface   string // empty: no constraint was given
	// Elsewhere is the interface by which the kernel does route the
	// destination, empty if by none.
	Elsewhere string
	Err       error // the kernel's errno
}

func (e *NoRouteError) Error() string {
	switch {
	case e.Interface == "":
		return fmt.Sprintf("no route to %s", e.Destination)
	case e.Elsewhere == "":
		return fmt.Sprintf("no route to %s by %s (nor by any other interface)", e.Destination, e.Interface)
	case e.Elsewhere == e.Interface:
		return fmt.Sprintf("no route to %s by %s", e.Destination, e.Interface)
	}
	return fmt.Sprintf("no route to %s by %s (the kernel routes it by %s)", e.Destination, e.Interface, e.Elsewhere)
}

func (e *NoRouteError) Unwrap() error { return e.Err }

// FindPath asks the kernel (rtnetlink(7), RTM_GETROUTE) how a packet to dst
// would leave by ifc; a nil ifc means the interface that the kernel would
// choose. A valid source restricts the answer to routes for that source
// address. It fails with *NoRouteError, ErrLocal, ErrMulticast, or with what
// Interface.Usable says.
func FindPath(ifc *Interface, dst, source netip.Addr) (*Path, error) {
	if !dst.Is4() {
		return nil, fmt.Errorf("%s: only IPv4 is supported so far", dst)
	}
	if dst.IsMulticast() {
		return nil, fmt.Errorf("%s %w (not supported so far)", dst, ErrMulticast)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	k := routing{h: h, dst: dst, source: source}
	if ifc == nil {
		if ifc, err = k.chooseInterface(); err != nil {
			return nil, err
		}
	}
	if err := ifc.Usable(); err != nil {
		return nil, err
	}
	return k.path(ifc)
}

// routing asks the kernel about one destination.
type routing struct {
	h           *netlink.Handle
	dst, source netip.Addr
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// ask puts one question: by the interface of index oif (0: any), and whether
// it is for the route as it stands in the table (RTM_F_FIB_MATCH) or for what a
// packet would get.
func (k *routing) ask(oif int, fibMatch bool) (*netlink.Route, error) {
	opts := &netlink.RouteGetOptions{OifIndex: oif, FIBMatch: fibMatch}
	if k.source.IsValid() {
		opts.SrcAddr = net.IP(k.source.AsSlice())
	}
	routes, err := k.h.RouteGetWithOptions(net.IP(k.dst.AsSlice()), opts)
	if err != nil {
		return nil, err
	}
	if len(routes) == 0 {
		return nil, unix.ENETUNREACH
	}
	return &routes[0], nil
}

// chooseInterface finds the interface that the kernel would take.
func (k *routing) chooseInterface() (*Interface, error) {
	r, err := k.ask(0, false)
	if err != nil {
		return nil, &NoRouteError{Destination: k.dst, Err: err}
	}
	if r.Type == unix.RTN_LOCAL {
		return nil, k.localError()
	}
	return interfaceByIndex(k.h, r.LinkIndex)
}

func (k *routing) localError() error {
	return fmt.Errorf("%s %w (pinging it over lo is not supported so far)", k.dst, ErrLocal)
}

func (k *routing) path(ifc *Interface) (*Path, error) {
	p := &Path{Interface: ifc, Destination: k.dst, MTU: ifc.MTU}

	// An address of another interface, or of lo: asked for ifc alone, the
	// kernel knows of no local route and may give the default one.
	if r, err := k.ask(0, false); err == nil && r.Type == unix.RTN_LOCAL {
		return nil, k.localError()
	}

	// For IPv4 with an output interface the plain question is always
	// answered: where no route exists, and even where a blackhole does, the
	// kernel takes the destination to be on-link (net/ipv4/route.c,
	// ip_route_output_key_hash_rcu). So first: does a route exist at all? The
	// limited broadcast stands in no table and is on every link.
	if k.dst != limitedBroadcast {
		match, err := k.ask(ifc.Index, true)
		if err != nil {
			return nil, k.noRoute(ifc, err)
		}
		switch match.Type {
		case unix.RTN_UNICAST, unix.RTN_BROADCAST:
		case unix.RTN_LOCAL:
			return nil, k.localError()
		default:
			return nil, k.noRoute(ifc, unix.EHOSTUNREACH)
		}
		p.Table = match.Table
		p.Route = prefix(match.Dst)
	}

	r, err := k.ask(ifc.Index, false)
	if err != nil {
		return nil, k.noRoute(ifc, err)
	}
	if r.Type == unix.RTN_LOCAL {
		return nil, k.localError()
	}
	if r.LinkIndex != ifc.Index {
		return nil, k.noRoute(ifc, unix.EHOSTUNREACH)
	}
	if r.Via != nil {
		return nil, fmt.Errorf("%s has an IPv6 next hop (%s): not supported so far", k.dst, r.Via)
	}
	p.Broadcast = r.Type == unix.RTN_BROADCAST
	p.NextHop, p.OnLink = k.dst, true
	if gw, ok := netip.AddrFromSlice(r.Gw.To4()); ok {
		p.NextHop, p.OnLink = gw, false
	}
	p.Source = k.source
	if !p.Source.IsValid() {
		src, ok := netip.AddrFromSlice(r.Src.To4())
		if !ok {
			return nil, fmt.Errorf("%s: %w", ifc.Name, ErrNoAddress)
		}
		p.Source = src
	}
	if r.MTU > 0 {
		p.MTU = min(p.MTU, r.MTU)
	}
	return p, nil
}

// noRoute shapes the error, with where the kernel would send the packet.
func (k *routing) noRoute(ifc *Interface, err error) error {
	e := &NoRouteError{Destination: k.dst, Interface: ifc.Name, Err: err}
	if r, err := k.ask(0, false); err == nil {
		if other, err := interfaceByIndex(k.h, r.LinkIndex); err == nil {
			e.Elsewhere = other.Name
		}
	}
	return e
}

// prefix converts a route's destination; nil is the default route.
func prefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	addr, _ := netip.AddrFromSlice(n.IP.To4())
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr, bits)
}
