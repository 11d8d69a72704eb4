package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// The lab's addresses: 198.51.100.0/24 and 203.0.113.0/24 are for
// documentation (RFC 5737), and so are the hardware addresses from
// 00:00:5e:00:53:00 on (RFC 7042, 2.1.2), here with the local bit set.
var (
	nearPrefix   = netip.MustParsePrefix("198.51.100.1/24")
	farPrefix    = netip.MustParsePrefix("198.51.100.2/24")
	routerPrefix = netip.MustParsePrefix("198.51.100.254/24")
	beyondPrefix = netip.MustParsePrefix("203.0.113.254/24")
	hostPrefix   = netip.MustParsePrefix("203.0.113.1/24")

	anywhere  = netip.MustParsePrefix("0.0.0.0/0")
	anywhere6 = netip.MustParsePrefix("::/0")
)

// The lab's IPv6 addresses, of which 2001:db8::/32 is for documentation (RFC
// 3849): the first is global, the second link-local.
var (
	near6   = sixes("2001:db8:1::1/64", "fe80::1/64")
	far6    = sixes("2001:db8:1::2/64", "fe80::2/64")
	router6 = sixes("2001:db8:1::fe/64", "fe80::fe/64")
	beyond6 = sixes("2001:db8:2::fe/64", "fe80::fe/64")
	host6   = sixes("2001:db8:2::1/64", "fe80::1/64")
)

func sixes(global, link string) [2]netip.Prefix {
	return [2]netip.Prefix{netip.MustParsePrefix(global), netip.MustParsePrefix(link)}
}

func labMAC(last byte) net.HardwareAddr {
	return net.HardwareAddr{0x02, 0x00, 0x5e, 0x00, 0x53, last}
}

// PairConfig says what a Pair is like. The zero value, or nil, is a pair
// whose far end is a Linux host like the near one.
type PairConfig struct {
	// Silent leaves the far end without an address and with ARP off, so
	// that its kernel sends nothing at all: all that comes from there, a
	// scripted peer sent.
	Silent bool

	// MTU of both ends, 1500 if 0.
	MTU int

	// Down leaves both ends down. They have their addresses.
	Down bool

	// IPv6 has EnableIPv6 called before the ends come up.
	IPv6 bool
}

// Pair is two namespaces and one wire, eth0 to eth0.
type Pair struct {
	Near, Far       *Namespace
	NearMAC, FarMAC net.HardwareAddr

	// NearIP and FarIP are the two addresses, in one /24. Of a silent pair,
	// FarIP is nobody's: it is the address that a Script has by default.
	NearIP, FarIP netip.Addr

	// NearIP6 and FarIP6 are in one /64; NearLL and FarLL are link-local,
	// without a zone. They are in use once EnableIPv6 was called, and of a
	// silent pair those of the far end are nobody's.
	NearIP6, FarIP6, NearLL, FarLL netip.Addr

	near, far end
	silent    bool
}

// NewPair makes a pair of namespaces: eth0 with 198.51.100.1/24 and
// 02:00:5e:00:53:01 at the near end, eth0 with 198.51.100.2/24 and
// 02:00:5e:00:53:02 at the far one. Both can send when it returns. Close must
// be called.
func NewPair(cfg *PairConfig) (*Pair, error) {
	if cfg == nil {
		cfg = &PairConfig{}
	}
	p := &Pair{
		NearMAC: labMAC(0x01), FarMAC: labMAC(0x02),
		NearIP: nearPrefix.Addr(), FarIP: farPrefix.Addr(),
		NearIP6: near6[0].Addr(), NearLL: near6[1].Addr(),
		FarIP6: far6[0].Addr(), FarLL: far6[1].Addr(),
		silent: cfg.Silent,
	}
	if err := p.build(cfg); err != nil {
		p.Close()
		return nil, fmt.Errorf("make pair: %w", err)
	}
	return p, nil
}

func (p *Pair) build(cfg *PairConfig) error {
	if err := namespaces(&p.Near, &p.Far); err != nil {
		return err
	}
	p.near = end{ns: p.Near, ifname: "eth0", mac: p.NearMAC, addr: nearPrefix}
	p.far = end{ns: p.Far, ifname: "eth0", mac: p.FarMAC, addr: farPrefix}
	if cfg.Silent {
		p.far.addr = netip.Prefix{}
	}
	if err := wire(p.near, p.far, cfg.MTU); err != nil {
		return err
	}
	if err := errors.Join(p.near.configure(false), p.far.configure(false)); err != nil {
		return err
	}
	if cfg.Silent {
		if err := p.Far.onLink("eth0", "set ARP off on", (*netlink.Handle).LinkSetARPOff); err != nil {
			return err
		}
	}
	if cfg.IPv6 {
		if err := p.EnableIPv6(); err != nil {
			return err
		}
	}
	if cfg.Down {
		return nil
	}
	return p.SetUp()
}

// EnableIPv6 gives both ends IPv6 and their addresses, 2001:db8:1::1/64 and
// fe80::1 at the near end, 2001:db8:1::2/64 and fe80::2 at the far one; of a
// silent pair the near end alone. From then on the wire is not silent without
// traffic: see Namespace.EnableIPv6.
func (p *Pair) EnableIPv6() error {
	if p.silent {
		return addAll(p.near, near6)
	}
	return errors.Join(addAll(p.near, near6), addAll(p.far, far6))
}

func addAll(e end, addrs [2]netip.Prefix) error {
	return errors.Join(e.ns.AddAddr(e.ifname, addrs[0]), e.ns.AddAddr(e.ifname, addrs[1]), e.ns.unlimitICMPv6())
}

// SetUp sets both ends up and returns when both can send: for a pair that was
// made down, or set down since.
func (p *Pair) SetUp() error { return bringUp(p.near, p.far) }

// Close lets go of both namespaces. It may be called more than once.
func (p *Pair) Close() error { return closeAll(p.Near, p.Far) }

// Routed is three namespaces, a router between two hosts:
//
//	near eth0 198.51.100.1 --- 198.51.100.254 eth0 router eth1 203.0.113.254 --- 203.0.113.1 eth0 host
//
// All three are Linux's own stack; the hosts' default routes lead by the
// router. The kernel's rate limits for ICMP are off in each where it lets us.
type Routed struct {
	Near, Router, Host *Namespace

	NearIP, RouterIP, RouterFarIP, HostIP     netip.Addr
	NearMAC, RouterMAC, RouterFarMAC, HostMAC net.HardwareAddr

	// In use once EnableIPv6 was called. RouterLL is the router's link-local
	// address on both links; the hosts have fe80::1 on theirs.
	NearIP6, RouterIP6, RouterFarIP6, HostIP6, RouterLL netip.Addr
}

// NewRouted makes the routed topology. All ends can send when it returns; the
// neighbor tables are empty. Close must be called.
func NewRouted() (*Routed, error) {
	r := &Routed{
		NearIP: nearPrefix.Addr(), RouterIP: routerPrefix.Addr(),
		RouterFarIP: beyondPrefix.Addr(), HostIP: hostPrefix.Addr(),
		NearMAC: labMAC(0x01), RouterMAC: labMAC(0xfe), RouterFarMAC: labMAC(0xfd), HostMAC: labMAC(0x10),
		NearIP6: near6[0].Addr(), RouterIP6: router6[0].Addr(), RouterFarIP6: beyond6[0].Addr(),
		HostIP6: host6[0].Addr(), RouterLL: router6[1].Addr(),
	}
	if err := r.build(); err != nil {
		r.Close()
		return nil, fmt.Errorf("make routed topology: %w", err)
	}
	return r, nil
}

func (r *Routed) build() error {
	if err := namespaces(&r.Near, &r.Router, &r.Host); err != nil {
		return err
	}
	var (
		near   = end{ns: r.Near, ifname: "eth0", mac: r.NearMAC, addr: nearPrefix}
		router = end{ns: r.Router, ifname: "eth0", mac: r.RouterMAC, addr: routerPrefix}
		beyond = end{ns: r.Router, ifname: "eth1", mac: r.RouterFarMAC, addr: beyondPrefix}
		host   = end{ns: r.Host, ifname: "eth0", mac: r.HostMAC, addr: hostPrefix}
	)
	if err := errors.Join(wire(near, router, 0), wire(beyond, host, 0)); err != nil {
		return err
	}
	if err := errors.Join(
		near.configure(false), router.configure(true), beyond.configure(true), host.configure(false),
	); err != nil {
		return err
	}
	if err := errors.Join(bringUp(near, router), bringUp(beyond, host)); err != nil {
		return err
	}
	return errors.Join(
		r.Near.AddRoute(anywhere, r.RouterIP, "eth0"),
		r.Host.AddRoute(anywhere, r.RouterFarIP, "eth0"),
	)
}

// EnableIPv6 gives all ends IPv6:
//
//	near 2001:db8:1::1 --- 2001:db8:1::fe router 2001:db8:2::fe --- 2001:db8:2::1 host
//
// with link-local addresses, and default routes by the router. See
// Namespace.EnableIPv6 for what the wires carry from then on.
func (r *Routed) EnableIPv6() error {
	if err := errors.Join(
		addAll(end{ns: r.Near, ifname: "eth0"}, near6),
		addAll(end{ns: r.Router, ifname: "eth0"}, router6),
		addAll(end{ns: r.Router, ifname: "eth1"}, beyond6),
		addAll(end{ns: r.Host, ifname: "eth0"}, host6),
	); err != nil {
		return err
	}
	return errors.Join(
		r.Router.ForwardIPv6(),
		r.Near.AddRoute(anywhere6, r.RouterIP6, "eth0"),
		r.Host.AddRoute(anywhere6, r.RouterFarIP6, "eth0"),
	)
}

// Close lets go of all three namespaces. It may be called more than once.
func (r *Routed) Close() error { return closeAll(r.Near, r.Router, r.Host) }

// namespaces makes one namespace for each variable. On an error those that
// were made are left for the caller to close.
func namespaces(vars ...**Namespace) error {
	for _, v := range vars {
		n, err := NewNamespace()
		if err != nil {
			return err
		}
		*v = n
		if err := n.unlimitICMP(); err != nil {
			return err
		}
	}
	return nil
}

// unlimitICMP lifts the limits that the kernel sets on its own ICMP messages
// (icmp(7)): a test that provokes ten errors wants ten. An empty mask takes
// every type out of both the limit per peer and the limit per host.
func (n *Namespace) unlimitICMP() error {
	return errors.Join(
		n.tune("net.ipv4.icmp_ratemask", "0"),
		n.tune("net.ipv4.icmp_ratelimit", "0"),
	)
}

// unlimitICMPv6 is unlimitICMP for ICMPv6. The mask has ranges instead of bits.
func (n *Namespace) unlimitICMPv6() error {
	return errors.Join(
		n.tune("net.ipv6.icmp.ratemask", "\n"),
		n.tune("net.ipv6.icmp.ratelimit", "0"),
	)
}

func closeAll(list ...*Namespace) error {
	var errs []error
	for _, n := range list {
		if n != nil {
			errs = append(errs, n.Close())
		}
	}
	return errors.Join(errs...)
}
