//go:build linux

package l2

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
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
	ErrNotEthernet = errors.New("not an Ethernet interface")
	ErrNoAddress   = errors.New("no IPv4 address")
)

// An Interface is a network interface as it was when it was looked up.
type Interface struct {
	Index int
	Name  string
	MAC   frame.MAC
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
	// Addresses are the IPv4 addresses with their prefixes.
	Addresses []netip.Prefix
}

// A NoInterfaceError says that no interface has a name.
type NoInterfaceError struct {
	Name string
	// Nearest are the names of interfaces that exist, the most alike first.
	Nearest []string
}

func (e *NoInterfaceError) Error() string {
	if len(e.Nearest) == 0 {
		return fmt.Sprintf("no interface %q", e.Name)
	}
	return fmt.Sprintf("no interface %q (there is %s)", e.Name, strings.Join(e.Nearest, ", "))
}

// InterfaceByName looks an interface up. It fails with *NoInterfaceError
// where there is none of that name.
func InterfaceByName(name string) (*Interface, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) || errors.Is(err, unix.ERANGE) || errors.Is(err, unix.EINVAL) {
		links, _ := listLinks(h)
		names := make([]string, 0, len(links))
		for _, l := range links {
			names = append(names, l.Attrs().Name)
		}
		return nil, &NoInterfaceError{Name: name, Nearest: nearest(name, names, 3)}
	}
	if err != nil {
		return nil, fmt.Errorf("look up interface %s: %w", name, err)
	}
	return newInterface(h, link)
}

// InterfaceByAddress looks up the interface that bears an address. It fails
// where none does.
func InterfaceByAddress(addr netip.Addr) (*Interface, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	links, err := listLinks(h)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, link := range links {
		ifc, err := newInterface(h, link)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(ifc.Addresses, func(p netip.Prefix) bool { return p.Addr() == addr }) {
			return ifc, nil
		}
	}
	return nil, fmt.Errorf("no interface has the address %s", addr)
}

func interfaceByIndex(h *netlink.Handle, index int) (*Interface, error) {
	link, err := h.LinkByIndex(index)
	if err != nil {
		return nil, fmt.Errorf("look up interface %d: %w", index, err)
	}
	return newInterface(h, link)
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

func newInterface(h *netlink.Handle, link netlink.Link) (*Interface, error) {
	a := link.Attrs()
	ifc := &Interface{
		Index:    a.Index,
		Name:     a.Name,
		MTU:      a.MTU,
		LinkType: a.EncapType,
		Kind:     link.Type(),
		Up:       a.RawFlags&unix.IFF_UP != 0,
		Running:  a.RawFlags&unix.IFF_RUNNING != 0,
	}
	if len(a.HardwareAddr) == len(ifc.MAC) {
		ifc.MAC = frame.MAC(a.HardwareAddr)
	}
	addrs, err := retryDump(func() ([]netlink.Addr, error) { return h.AddrList(link, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", a.Name, err)
	}
	for _, addr := range addrs {
		ip, ok := netip.AddrFromSlice(addr.IP.To4())
		if !ok {
			continue
		}
		bits, _ := addr.Mask.Size()
		ifc.Addresses = append(ifc.Addresses, netip.PrefixFrom(ip, bits))
	}
	return ifc, nil
}

// Usable says why a probe over IPv4 on Ethernet cannot leave by the interface:
// ErrNotEthernet, ErrDown, ErrNoCarrier or ErrNoAddress, wrapped with its name
// and what would help; nil if it can.
func (i *Interface) Usable() error {
	switch {
	case i.LinkType != "ether":
		return fmt.Errorf("%s has link type %s: %w (only Ethernet is supported so far)", i.Name, i.LinkType, ErrNotEthernet)
	case !i.Up:
		return fmt.Errorf("%s: %w (ip link set %s up)", i.Name, ErrDown, i.Name)
	case !i.Running:
		return fmt.Errorf("%s: %w (is the cable in, and the other end up?)", i.Name, ErrNoCarrier)
	case len(i.Addresses) == 0:
		return fmt.Errorf("%s: %w on it (ip addr add ADDR/LEN dev %s)", i.Name, ErrNoAddress, i.Name)
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
