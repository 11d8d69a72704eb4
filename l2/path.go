//go:build linux

package l2

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Path is what the kernel's routing says for a destination when it may leave
// by one interface only.
type Path struct {
	// Interface is what frames leave by.
	Interface *Interface
	// Owner is whose addresses, routes and neighbors apply: Interface itself, or
	// the bridge, bond or team that it is a part of. Frames bear its MAC.
	Owner *Interface
	// Asked is the VRF device that the path was asked for, where the route has
	// named Interface, a member of it; else nil.
	Asked *Interface

	// Destination and the other addresses have no zone.
	Destination netip.Addr
	// Source is the address that the kernel sends from, or the one asked for.
	// ForeignSource says that it is not an address of this host, which so does
	// not answer for it.
	Source        netip.Addr
	ForeignSource bool
	// NextHop is whose MAC the frame goes to: a gateway or, where OnLink is
	// true, the destination itself. For IPv4 it may be an IPv6 address (RFC
	// 8950).
	NextHop netip.Addr
	OnLink  bool
	// Forced says that the next hop is the gateway asked for, whatever the
	// routing says.
	Forced bool
	// Assumed says that no route leads to the destination, which is taken to
	// be on the link because the interface has no address: with one come routes.
	Assumed bool
	// Broadcast and Multicast say that the destination is a broadcast address
	// of the interface, or a group.
	Broadcast, Multicast bool

	// Route is the prefix of the route that matched, Table the number of its
	// table, and RouteType its type. All are zero where no route was looked
	// for: 255.255.255.255 and IPv4 groups are on every link, and a Forced or
	// Assumed next hop has none.
	Route     netip.Prefix
	Table     int
	RouteType RouteType
	// Multipath says that the route has several next hops, of which the kernel
	// has picked one of this interface.
	Multipath bool
	// Mark is the mark that was asked for.
	Mark uint32

	// MTU is the most bytes of an IP packet: the interface's MTU, or less
	// where the route says so or the kernel has learnt it. RouteMTU is what the
	// route says, and LearntMTU what routers on the way have told (RFC 1191,
	// RFC 8201); 0 is nothing.
	MTU, RouteMTU, LearntMTU int
}

// NeedsNeighbor tells whether a frame needs the MAC of NextHop: not where there
// is no link layer, or no neighbors, or the destination itself says the MAC.
func (p *Path) NeedsNeighbor() bool {
	i := p.Interface
	return !p.Broadcast && !p.Multicast && !i.NoLink && !i.Loopback && !p.Owner.NoARP
}

// Errors of a Path. The kernel's errno stays reachable by errors.Is.
var (
	ErrLocal = errors.New("is an address of this host itself")
	// ErrForeignSource is of lo, where nobody else can be spoken for.
	ErrForeignSource = errors.New("is not an address of this host")
	// ErrNoZone says that a link-local address does not say of which link.
	ErrNoZone = errors.New("a link-local address needs its interface")
	// ErrGateway says why a gateway cannot be forced.
	ErrGateway = errors.New("cannot be the gateway")
)

// A NoRouteError says that the kernel has no unicast route by an interface.
type NoRouteError struct {
	Destination netip.Addr
	Interface   string // empty: no constraint was given
	// Elsewhere is the interface by which the kernel does route the
	// destination, empty if by none.
	Elsewhere string
	// Type is that of a route that refuses the destination: RouteBlackhole,
	// RouteUnreachable or RouteProhibit; 0 if there is none.
	Type RouteType
	Err  error // the kernel's errno
}

func (e *NoRouteError) Error() string {
	text := fmt.Sprintf("no route to %s", e.Destination)
	if e.Interface != "" {
		text += " by " + e.Interface
	}
	switch {
	case e.Type == RouteBlackhole:
		return text + " (its route is a blackhole)"
	case e.Type != 0:
		return fmt.Sprintf("%s (its route says %s)", text, e.Type)
	case e.Interface == "" || e.Elsewhere == e.Interface:
		return text
	case e.Elsewhere == "":
		return text + " (nor by any other interface)"
	}
	return fmt.Sprintf("%s (the kernel routes it by %s)", text, e.Elsewhere)
}

func (e *NoRouteError) Unwrap() error { return e.Err }

// A Query is what a Path is asked for.
type Query struct {
	// Destination is required. A link-local one may have a zone.
	Destination netip.Addr
	// Source is the address to send from; the zero Addr leaves it to the
	// kernel. It need not be this host's own, and the unspecified address is
	// that of a host without one (RFC 5227).
	Source netip.Addr
	// Gateway is the next hop to take whatever the routing says; the zero Addr
	// leaves it to the routing. An IPv6 gateway may be that of an IPv4
	// destination.
	Gateway netip.Addr
	// Mark is the routing mark (ip-rule(8), fwmark); 0 is none.
	Mark uint32
}

// FindPath is Routing.Path in the network namespace of the calling thread, for
// a destination and, if that is valid, a source.
func FindPath(ifc *Interface, dst, source netip.Addr) (*Path, error) {
	return once(func(r *Routing) (*Path, error) { return r.Path(ifc, Query{Destination: dst, Source: source}) })
}

// Path asks the kernel (rtnetlink(7), RTM_GETROUTE) how a packet would leave by
// ifc; a nil ifc means the interface that the kernel would choose. It believes
// the answer, which is the one for a socket bound to the interface
// (SO_BINDTODEVICE): for IPv6 that passes over a blackhole to a wider route.
//
// On the part of a bridge, a bond or a team the master's routes count, on a
// member of a VRF those of the VRF. For a VRF device, its route names the
// member. On lo there is a path to the host's own addresses and no others, and
// to those there is none by any other interface.
//
// It fails with *NoRouteError, ErrLocal, ErrForeignSource, ErrNoZone, ErrGateway,
// ErrNoAddress where there is nothing to send from, or with what
// Interface.Usable says.
func (r *Routing) Path(ifc *Interface, q Query) (*Path, error) {
	return with(r, func(h *netlink.Handle) (*Path, error) {
		f := &finder{question: question{h: h, mark: q.Mark}, q: q}
		return f.find(ifc)
	})
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// A finder finds one path.
type finder struct {
	question
	q      Query
	zone   string // that of one of the addresses
	source netip.Addr
	vrf    int // the index to ask by if any interface will do
	path   *Path
}

func (f *finder) find(ifc *Interface) (*Path, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	if ifc == nil {
		var err error
		if ifc, err = f.chooseInterface(); err != nil {
			return nil, err
		}
	} else if f.zone != "" && !ifc.named(f.zone) {
		return nil, fmt.Errorf("zone %s of %s is another link than %s", f.zone, f.q.Destination, ifc.Name)
	}
	if err := ifc.Usable(); err != nil {
		return nil, err
	}
	owner := ifc.Owner()
	if !owner.Up {
		return nil, fmt.Errorf("%s, the %s of %s: %w (ip link set %s up)", owner.Name, owner.Kind, ifc.Name, ErrDown, owner.Name)
	}
	if vrf := ifc.vrf(); vrf != nil {
		f.vrf = vrf.Index
	}
	f.path = &Path{
		Interface: ifc, Owner: owner, Mark: f.q.Mark,
		Destination: f.q.Destination, Multicast: f.q.Destination.IsMulticast(),
	}
	if err := f.judgeSource(); err != nil {
		return nil, err
	}
	var err error
	switch {
	case ifc.Loopback:
		err = f.loop()
	case f.local(f.q.Destination, f.vrf, owner.Index):
		err = fmt.Errorf("%s %w (only lo leads there)", f.q.Destination, ErrLocal)
	case f.q.Gateway.IsValid():
		err = f.force()
	default:
		err = f.route()
	}
	if err != nil {
		return nil, err
	}
	f.limit()
	return f.path, nil
}

// check looks at the addresses alone, and takes their zones off.
func (f *finder) check() error {
	q := &f.q
	for _, a := range []*netip.Addr{&q.Destination, &q.Source, &q.Gateway} {
		*a = a.Unmap()
		if z := a.Zone(); z != "" {
			if f.zone != "" && f.zone != z {
				return fmt.Errorf("zone %s of %s is another link than %s", z, a.WithZone(""), f.zone)
			}
			f.zone, *a = z, a.WithZone("")
		}
	}
	dst := q.Destination
	switch {
	case !dst.IsValid():
		return errors.New("no destination")
	case dst.IsUnspecified():
		return fmt.Errorf("%s is no destination", dst)
	case q.Source.IsValid() && q.Source.Is4() != dst.Is4():
		return fmt.Errorf("source %s: of another family than %s", q.Source, dst)
	case q.Source.IsMulticast() || q.Source == limitedBroadcast:
		return fmt.Errorf("source %s: nobody's address", q.Source)
	}
	gw := q.Gateway
	switch {
	case !gw.IsValid():
		return nil
	case gw.Is4() && dst.Is6():
		return fmt.Errorf("%s %w of the IPv6 destination %s", gw, ErrGateway, dst)
	case gw.IsMulticast() || gw.IsUnspecified() || gw.IsLoopback() || gw == limitedBroadcast:
		return fmt.Errorf("%s %w: it is no host's address", gw, ErrGateway)
	case dst.IsMulticast() || dst == limitedBroadcast:
		return fmt.Errorf("%s %w of %s, which is on every link", gw, ErrGateway, dst)
	}
	return nil
}

// linkBound tells whether an address means nothing without its link.
func linkBound(a netip.Addr) bool {
	return a.Is6() && (a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast() || a.IsInterfaceLocalMulticast())
}

// chooseInterface finds the interface that the kernel would take.
func (f *finder) chooseInterface() (*Interface, error) {
	if f.zone != "" {
		return f.interfaceOfZone()
	}
	to := f.q.Destination
	if f.q.Gateway.IsValid() {
		to = f.q.Gateway
	}
	for _, a := range []netip.Addr{f.q.Destination, f.q.Gateway, f.q.Source} {
		if linkBound(a) {
			return nil, fmt.Errorf("%s: %w", a, ErrNoZone)
		}
	}
	source := f.q.Source
	if source.IsValid() && (source.Is4() != to.Is4() || source.IsUnspecified() || !f.local(source, 0, 0)) {
		source = netip.Addr{}
	}
	r, err := f.about(to, source, 0, false)
	if err != nil {
		return nil, &NoRouteError{Destination: to, Type: refusal(err), Err: err}
	}
	if isLocal(r) {
		return nil, fmt.Errorf("%s %w (only lo leads there)", to, ErrLocal)
	}
	return interfaceByIndex(f.h, r.LinkIndex)
}

func (f *finder) interfaceOfZone() (*Interface, error) {
	ifc, err := interfaceByName(f.h, f.zone)
	if missing := (*NoInterfaceError)(nil); errors.As(err, &missing) {
		if index, atoiErr := strconv.Atoi(f.zone); atoiErr == nil {
			if ifc, err := interfaceByIndex(f.h, index); err == nil {
				return ifc, nil
			}
		}
	}
	return ifc, err
}

// judgeSource finds out whether the source is the host's own, and by which
// source routes are asked for: the kernel refuses one that is not its own.
func (f *finder) judgeSource() error {
	p, source := f.path, f.q.Source
	p.Source = source
	if !source.IsValid() || source.IsUnspecified() {
		return nil
	}
	if f.local(source, f.vrf, p.Owner.Index) {
		f.source = source
		return nil
	}
	if p.Interface.Loopback {
		return fmt.Errorf("source %s %w", source, ErrForeignSource)
	}
	p.ForeignSource = true
	return nil
}

// loop is for lo: whatever is local is reached there, and nothing else is.
func (f *finder) loop() error {
	p, dst := f.path, f.q.Destination
	if f.q.Gateway.IsValid() {
		return fmt.Errorf("%s %w on %s", f.q.Gateway, ErrGateway, p.Interface.Name)
	}
	r, err := f.about(dst, f.source, 0, false)
	if err != nil || !isLocal(r) {
		e := &NoRouteError{Destination: dst, Interface: p.Interface.Name, Err: err}
		if err == nil {
			e.Elsewhere, e.Err = f.nameOf(r.LinkIndex), unix.ENETUNREACH
		}
		return e
	}
	if match, err := f.about(dst, f.source, 0, true); err == nil {
		f.matched(match)
	}
	p.NextHop, p.OnLink = dst, true
	if p.Source.IsValid() {
		return nil
	}
	var ok bool
	if p.Source, ok = netip.AddrFromSlice(r.Src); !ok {
		p.Source = dst
	}
	p.Source = p.Source.Unmap()
	return nil
}

// matched takes what the table says of a route.
func (f *finder) matched(match *netlink.Route) {
	p := f.path
	p.Table, p.RouteType = match.Table, RouteType(match.Type)
	p.Route = prefixOfRoute(match.Dst, f.q.Destination)
	p.Multipath = len(match.MultiPath) > 1
	p.RouteMTU = match.MTU
}

// route is for whatever the routing decides.
func (f *finder) route() error {
	p, dst := f.path, f.q.Destination
	by := p.Owner.Index

	// For IPv4 with an output interface the plain question is always
	// answered: where no route exists, and even where a blackhole does, the
	// kernel takes the destination to be on-link (net/ipv4/route.c,
	// ip_route_output_key_hash_rcu). So first: does a route exist at all? The
	// limited broadcast and IPv4's groups stand in no table and are on every
	// link.
	inTable := dst != limitedBroadcast && !(dst.Is4() && p.Multicast)
	if inTable {
		match, err := f.bySource(dst, by, true)
		if err == nil && isLocal(match) {
			return fmt.Errorf("%s %w (only lo leads there)", dst, ErrLocal)
		}
		if err == nil && !leads(match) {
			err = unix.EHOSTUNREACH
		}
		if err != nil {
			return f.withoutRoute(err)
		}
		f.matched(match)
	}
	r, err := f.bySource(dst, by, false)
	if err != nil {
		return f.noRoute(err)
	}
	if isLocal(r) {
		return fmt.Errorf("%s %w (only lo leads there)", dst, ErrLocal)
	}
	if r.LinkIndex != by {
		if err := f.member(r.LinkIndex); err != nil {
			return err
		}
	}
	p.Broadcast = r.Type == unix.RTN_BROADCAST
	p.NextHop, p.OnLink = dst, true
	if gw := hop(r); gw.IsValid() && gw != dst {
		p.NextHop, p.OnLink = gw, false
	}
	f.learn(r)
	return f.takeSource(chosen(r))
}

// leads tells whether a route leads anywhere.
func leads(r *netlink.Route) bool {
	return r.Type == unix.RTN_UNICAST || r.Type == unix.RTN_BROADCAST || r.Type == unix.RTN_MULTICAST
}

// bySource asks with the source, for a route may depend on it. For IPv6 the
// kernel then does not insist on the interface (net/ipv6/route.c,
// ip6_route_output_flags), so if the answer is another one it is asked without.
func (f *finder) bySource(dst netip.Addr, by int, fibMatch bool) (*netlink.Route, error) {
	r, err := f.about(dst, f.source, by, fibMatch)
	if dst.Is4() || !f.source.IsValid() || err == nil && (by == f.vrf || leadsBy(r, by)) {
		return r, err
	}
	return f.about(dst, netip.Addr{}, by, fibMatch)
}

// leadsBy tells whether a route has a next hop on an interface.
func leadsBy(r *netlink.Route, index int) bool {
	for _, n := range r.MultiPath {
		if n.LinkIndex == index {
			return true
		}
	}
	return r.LinkIndex == index
}

// learn takes the MTU that packets would get now, of which the table may know
// nothing.
func (f *finder) learn(r *netlink.Route) {
	if p := f.path; r.MTU > 0 && (p.RouteMTU == 0 || r.MTU < p.RouteMTU) {
		p.LearntMTU = r.MTU
	}
}

func (f *finder) limit() {
	p := f.path
	p.MTU = p.Interface.MTU
	for _, mtu := range []int{p.Owner.MTU, p.RouteMTU, p.LearntMTU} {
		if mtu > 0 {
			p.MTU = min(p.MTU, mtu)
		}
	}
}

// member makes the interface that a VRF's route names the path's.
func (f *finder) member(index int) error {
	p := f.path
	if p.Owner.Kind != "vrf" {
		return f.noRoute(unix.EHOSTUNREACH)
	}
	ifc, err := interfaceByIndex(f.h, index)
	if err != nil {
		return err
	}
	if vrf := ifc.vrf(); vrf == nil || vrf.Index != p.Owner.Index {
		return f.noRoute(unix.EHOSTUNREACH)
	}
	if err := ifc.Usable(); err != nil {
		return err
	}
	p.Asked, p.Interface, p.Owner = p.Interface, ifc, ifc.Owner()
	return nil
}

// takeSource settles the source, given the kernel's choice.
func (f *finder) takeSource(choice netip.Addr) error {
	p := f.path
	if p.Source.IsValid() {
		return nil
	}
	// Without an address on the interface the kernel may take one of another
	// link, which means nothing here.
	if !choice.IsValid() || linkBound(choice) && !p.Owner.has(choice) {
		return f.noAddress()
	}
	p.Source = choice
	return nil
}

func (f *finder) noAddress() error {
	family := "IPv4"
	if f.q.Destination.Is6() {
		family = "IPv6"
	}
	name := f.path.Owner.Name
	return fmt.Errorf("%s: %w of %s to send from (ip addr add ADDR/LEN dev %s, or name a source)", name, ErrNoAddress, family, name)
}

// withoutRoute is for a destination to which no route leads: where there is no
// address to make one, and the caller has a source, it is on the link.
func (f *finder) withoutRoute(err error) error {
	p, dst := f.path, f.q.Destination
	if p.Owner.Kind == "vrf" {
		return f.noRoute(err) // addresses are its members'
	}
	for _, a := range p.Owner.Addresses {
		if a.Addr().Is4() == dst.Is4() && (linkBound(dst) || !linkBound(a.Addr())) {
			return f.noRoute(err)
		}
	}
	refused := f.noRoute(err)
	if e := (*NoRouteError)(nil); errors.As(refused, &e) && e.Type != 0 {
		return refused
	}
	if !p.Source.IsValid() {
		if e := (*NoRouteError)(nil); errors.As(refused, &e) && e.Elsewhere != "" {
			return refused
		}
		return f.noAddress()
	}
	p.NextHop, p.OnLink, p.Assumed = dst, true, true
	return nil
}

// force is for a gateway that the caller insists on.
func (f *finder) force() error {
	p, gw := f.path, f.q.Gateway
	if p.Interface.NoLink {
		return fmt.Errorf("%s %w on %s, which has no link layer to tell it by", gw, ErrGateway, p.Interface.Name)
	}
	if f.local(gw, f.vrf, p.Owner.Index) {
		return fmt.Errorf("%s %w: it is an address of this host itself", gw, ErrGateway)
	}
	p.NextHop, p.OnLink, p.Forced = gw, gw == f.q.Destination, true
	to, err := f.about(gw, netip.Addr{}, p.Owner.Index, false)
	if p.Owner.Kind == "vrf" {
		if err != nil {
			return f.noRoute(err)
		}
		if err := f.member(to.LinkIndex); err != nil {
			return err
		}
	}
	way, wayErr := f.about(f.q.Destination, netip.Addr{}, p.Owner.Index, false)
	if wayErr == nil && hop(way) == gw {
		f.learn(way)
	}
	// The kernel's choice for the gateway. But routers forward nothing from a
	// link-local address (RFC 4291, section 2.5.6), and nothing of IPv4 comes
	// from one of IPv6.
	if gw.Is4() != f.q.Destination.Is4() || linkBound(gw) && !linkBound(f.q.Destination) {
		to, err = way, wayErr
		if err != nil {
			return f.takeSource(f.firstAddress())
		}
	}
	if err != nil {
		return f.takeSource(netip.Addr{})
	}
	return f.takeSource(chosen(to))
}

// firstAddress is the interface's first address that may speak to the
// destination.
func (f *finder) firstAddress() netip.Addr {
	for _, a := range f.path.Owner.Addresses {
		if a.Addr().Is4() == f.q.Destination.Is4() && !linkBound(a.Addr()) {
			return a.Addr()
		}
	}
	return netip.Addr{}
}

// noRoute shapes the error, with where the kernel would send the packet, or the
// route by which it refuses to.
func (f *finder) noRoute(err error) error {
	e := &NoRouteError{Destination: f.q.Destination, Interface: f.path.Interface.Name, Err: err}
	r, anyErr := f.about(f.q.Destination, f.source, f.vrf, false)
	if anyErr != nil {
		e.Type = refusal(anyErr)
		return e
	}
	e.Elsewhere = f.nameOf(r.LinkIndex)
	return e
}

func (f *finder) nameOf(index int) string {
	link, err := f.h.LinkByIndex(index)
	if err != nil {
		return ""
	}
	return link.Attrs().Name
}
