//go:build linux

package l2

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/l2/frame"
)

// Reasons why an interface cannot carry a probe. They are wrapped with the
// interface's name.
var (
	ErrDown        = errors.New("interface is down")
	ErrNoCarrier   = errors.New("no carrier")
	ErrNotEthernet = errors.New("neither Ethernet nor bare IP")
	ErrNoAddress   = errors.New("no address")
)

// An Interface is a network interface as it was when it was looked up.
type Interface struct {
	Index int
	Name  string
	// MAC is zero where there is no link layer.
	MAC frame.MAC
	// MTU is the most bytes that a frame carries behind its Ethernet header.
	MTU int
	// LinkType is the kernel's name of the link layer: "ether", "loopback",
	// "none" and so on, as `ip link` prints it behind "link/".
	LinkType string
	// Kind is the driver's kind: "veth", "bridge", "vlan"; "device" for
	// hardware.
	Kind string
	// Up is the administrative state, Running says that there is a carrier
	// (netdevice(7), IFF_UP and IFF_RUNNING).
	Up, Running bool

	// NoLink is an interface without a link layer, as tun, WireGuard and ppp
	// are: a frame is an IP packet, and starts with its header.
	NoLink bool
	// Loopback, NoARP and PointToPoint are flags (netdevice(7)). On an
	// interface with NoARP no neighbor is ever asked for.
	Loopback, NoARP, PointToPoint bool

	// Master is the interface that this one is a part of, as it was then: a
	// bridge, a bond, a team or a VRF by its Kind; nil if there is none.
	Master *Interface

	// Addresses are those of both families that packets may come from, with
	// their prefixes: those of the Owner. Left out are the IPv6 ones that the
	// kernel does not use either, for they are tentative or taken (RFC 4862,
	// section 5.4).
	Addresses []netip.Prefix
}

// A NoInterfaceError says that no interface has a name.
type NoInterfaceError struct {
	Name string
	// Nearest are the names of interfaces that exist, the most alike first.
	Nearest []string
	// Others is how many there are besides.
	Others int
}

// There returns what interfaces there are, in words: "eth0, eth1, lo and 2 others".
func (e *NoInterfaceError) There() string {
	list := strings.Join(e.Nearest, ", ")
	switch e.Others {
	case 0:
		return list
	case 1:
		return list + " and 1 other"
	}
	return fmt.Sprintf("%s and %d others", list, e.Others)
}

func (e *NoInterfaceError) Error() string {
	if len(e.Nearest) == 0 {
		return fmt.Sprintf("no interface %q", e.Name)
	}
	return fmt.Sprintf("no interface %q (there is %s)", e.Name, e.There())
}

// InterfaceByName looks an interface up. It fails with *NoInterfaceError
// where there is none of that name.
func InterfaceByName(name string) (*Interface, error) {
	return once(func(r *Routing) (*Interface, error) { return r.Interface(name) })
}

// InterfaceByAddress looks up the interface that bears an address. It fails
// where none does, and where an IPv6 link-local address without a zone is on
// several.
func InterfaceByAddress(addr netip.Addr) (*Interface, error) {
	return once(func(r *Routing) (*Interface, error) { return r.InterfaceByAddress(addr) })
}

// Owner returns the interface whose addresses, routes and neighbors apply: the
// bridge, bond or team that i is a part of, else i itself. A VRF's member keeps
// its own.
func (i *Interface) Owner() *Interface {
	for i.Master != nil && takesFrames(i.Master.Kind) {
		i = i.Master
	}
	return i
}

// takesFrames tells whether a master of that kind takes the frames that its
// parts receive before the IP layer sees them (their rx_handler).
func takesFrames(kind string) bool { return kind == "bridge" || kind == "bond" || kind == "team" }

// vrf returns the VRF device that the interface is or belongs to, or nil.
func (i *Interface) vrf() *Interface {
	o := i.Owner()
	switch {
	case o.Kind == "vrf":
		return o
	case o.Master != nil && o.Master.Kind == "vrf":
		return o.Master
	}
	return nil
}

// named tells whether a zone (RFC 4007, section 11) is the interface or its
// Owner: by name, or by index.
func (i *Interface) named(zone string) bool {
	for _, n := range []*Interface{i, i.Owner()} {
		if zone == n.Name || zone == strconv.Itoa(n.Index) {
			return true
		}
	}
	return false
}

// has tells whether the address is among the interface's.
func (i *Interface) has(a netip.Addr) bool {
	return slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool { return p.Addr() == a })
}

// MaxPacket returns how many bytes of IP a frame may carry behind those VLAN
// tags. Linux lets a frame with an outer tag of 802.1Q be longer by that tag,
// and by no other (net/packet/af_packet.c, packet_extra_vlan_len_allowed).
func (i *Interface) MaxPacket(tags ...frame.VLAN) int {
	n := len(tags)
	if n > 0 && tags[0].Type == frame.EtherTypeVLAN && i.LinkType == "ether" {
		n--
	}
	return i.MTU - 4*n
}

// maxMasters bounds the chain of masters: the kernel nests devices no deeper
// (include/linux/netdevice.h, MAX_NEST_DEV).
const maxMasters = 8

func newInterface(h *netlink.Handle, link netlink.Link) (*Interface, error) {
	return describe(h, link, maxMasters)
}

func describe(h *netlink.Handle, link netlink.Link, depth int) (*Interface, error) {
	a := link.Attrs()
	ifc := &Interface{
		Index:        a.Index,
		Name:         a.Name,
		MTU:          a.MTU,
		LinkType:     linkType(a.EncapType),
		Kind:         link.Type(),
		Up:           a.RawFlags&unix.IFF_UP != 0,
		Running:      a.RawFlags&unix.IFF_RUNNING != 0,
		Loopback:     a.RawFlags&unix.IFF_LOOPBACK != 0,
		NoARP:        a.RawFlags&unix.IFF_NOARP != 0,
		PointToPoint: a.RawFlags&unix.IFF_POINTOPOINT != 0,
	}
	ifc.NoLink = ifc.bare()
	if len(a.HardwareAddr) == len(ifc.MAC) {
		ifc.MAC = frame.MAC(a.HardwareAddr)
	}
	if a.MasterIndex != 0 && depth > 0 {
		master, err := h.LinkByIndex(a.MasterIndex)
		switch {
		case errors.As(err, &netlink.LinkNotFoundError{}): // it has just gone
		case err != nil:
			return nil, fmt.Errorf("look up the master of %s: %w", a.Name, err)
		default:
			if ifc.Master, err = describe(h, master, depth-1); err != nil {
				return nil, err
			}
		}
	}
	if o := ifc.Owner(); o != ifc {
		ifc.Addresses = slices.Clone(o.Addresses)
		return ifc, nil
	}
	var err error
	ifc.Addresses, err = listAddresses(h, link)
	return ifc, err
}

func listAddresses(h *netlink.Handle, link netlink.Link) ([]netip.Prefix, error) {
	addrs, err := retryDump(func() ([]netlink.Addr, error) { return h.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", link.Attrs().Name, err)
	}
	var list []netip.Prefix
	for _, addr := range addrs {
		tentative := addr.Flags&unix.IFA_F_TENTATIVE != 0 && addr.Flags&unix.IFA_F_OPTIMISTIC == 0
		ip, ok := netip.AddrFromSlice(addr.IP)
		if !ok || tentative || addr.Flags&unix.IFA_F_DADFAILED != 0 {
			continue
		}
		bits, _ := addr.Mask.Size()
		list = append(list, netip.PrefixFrom(ip.Unmap(), bits))
	}
	return list, nil
}

// linkType gives types that the library knows by number alone the names of
// `ip link` (include/uapi/linux/if_arp.h).
func linkType(name string) string {
	switch name {
	case "unknown" + strconv.Itoa(unix.ARPHRD_RAWIP):
		return "rawip"
	case "unknown" + strconv.Itoa(unix.ARPHRD_IP6GRE):
		return "gre6"
	}
	return name
}

// bare tells whether frames of the interface start at the IP header: a packet
// socket sees none where the driver has no functions for one (include/linux/
// netdevice.h, dev_has_header).
func (i *Interface) bare() bool {
	switch i.LinkType {
	case "none", "ppp", "ipip", "tunnel6", "sit", "rawip":
		return true
	case "gre", "gre6":
		// Without a fixed far end the outer headers are the link layer
		// (net/ipv4/ip_gre.c, ipgre_header_ops).
		return i.PointToPoint
	}
	return false
}

// listLinks lists all interfaces; a dump that a change interrupted is asked
// for again.
func listLinks(h *netlink.Handle) ([]netlink.Link, error) {
	return retryDump(h.LinkList)
}

// retryDump repeats a netlink dump that another process's change interrupted:
// the kernel says so (NLM_F_DUMP_INTR) and what came is incomplete.
func retryDump[T any](dump func() ([]T, error)) ([]T, error) {
	for try := 0; ; try++ {
		all, err := dump()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == 10 {
			return all, err
		}
	}
}

// Usable says why a probe cannot leave by the interface: ErrNotEthernet, ErrDown
// or ErrNoCarrier, wrapped with its name and what would help; nil if it can.
// Whether it has an address, the path tells.
func (i *Interface) Usable() error {
	switch {
	case i.LinkType == "gre" || i.LinkType == "gre6":
		if !i.NoLink {
			return fmt.Errorf("%s is a GRE tunnel without a fixed far end: %w (its frames bear the outer headers)", i.Name, ErrNotEthernet)
		}
	case i.LinkType != "ether" && !i.Loopback && !i.NoLink:
		return fmt.Errorf("%s has link type %s: %w", i.Name, i.LinkType, ErrNotEthernet)
	}
	switch {
	case !i.Up:
		return fmt.Errorf("%s: %w (ip link set %s up)", i.Name, ErrDown, i.Name)
	case !i.Running:
		return fmt.Errorf("%s: %w (is the cable in, and the other end up?)", i.Name, ErrNoCarrier)
	}
	return nil
}

// nearest returns the n names most like name, by edit distance, then in their
// own order.
func nearest(name string, names []string, n int) []string {
	names = slices.Clone(names)
	slices.SortStableFunc(names, func(a, b string) int { return distance(name, a) - distance(name, b) })
	return names[:min(n, len(names))]
}

// distance is the Levenshtein distance of two short strings.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
