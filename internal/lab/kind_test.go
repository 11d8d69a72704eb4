package lab_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"golang.org/x/sys/unix"
)

// bound is a Control function that binds a socket to an interface.
func bound(ifname string) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var errno error
		err := c.Control(func(fd uintptr) { errno = unix.BindToDevice(int(fd), ifname) })
		return errors.Join(err, errno)
	}
}

// delivers proves that a datagram gets from one interface to another, to the
// address dst there, by the kernels' own stacks. It returns the sender's address,
// without a zone.
func delivers(t *testing.T, from *lab.Namespace, by string, to *lab.Namespace, at string, dst netip.Addr) netip.Addr {
	t.Helper()
	var listener net.PacketConn
	err := to.Do(func() (err error) {
		lc := net.ListenConfig{Control: bound(at)}
		listener, err = lc.ListenPacket(t.Context(), "udp", netip.AddrPortFrom(zoned(t, to, at, dst), 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := listener.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	err = from.Do(func() error {
		d := net.Dialer{Control: bound(by)}
		c, err := d.DialContext(t.Context(), "udp", netip.AddrPortFrom(zoned(t, from, by, dst), port).String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("hello"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	n, addr, err := listener.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "hello" {
		t.Fatalf("from %s to %v on %s: %q, %v", by, dst, at, buf[:n], err)
	}
	return addr.(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone("")
}

// zoned gives a link-local address a zone, by number: package net remembers for
// a while which index a name had, in whatever namespace.
func zoned(t *testing.T, n *lab.Namespace, ifname string, a netip.Addr) netip.Addr {
	t.Helper()
	if !a.IsLinkLocalUnicast() || a.Is4() {
		return a
	}
	index, err := n.Index(ifname)
	if err != nil {
		t.Fatal(err)
	}
	return a.WithZone(strconv.Itoa(index))
}

// up sets interfaces up and waits for them.
func up(t *testing.T, n *lab.Namespace, ifnames ...string) {
	t.Helper()
	for _, ifname := range ifnames {
		if err := errors.Join(n.SetUp(ifname), n.WaitUp(ifname)); err != nil {
			t.Fatal(err)
		}
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// bare is a pair whose ends have no address.
func bare(t *testing.T) *lab.Pair {
	t.Helper()
	p := labtest.NewPair(t, nil)
	must(t,
		p.Near.DelAddr("eth0", netip.MustParsePrefix("198.51.100.1/24")),
		p.Far.DelAddr("eth0", netip.MustParsePrefix("198.51.100.2/24")))
	return p
}

// addressed gives an interface the address of that last byte, of both families.
func addressed(t *testing.T, n *lab.Namespace, ifname string, last byte) {
	t.Helper()
	must(t,
		n.AddAddr(ifname, netip.PrefixFrom(v4(last), 24)),
		n.AddAddr(ifname, netip.PrefixFrom(v6(last), 64)),
		n.AddAddr(ifname, netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfe, 0x80, 15: last}), 64)))
}

func v4(last byte) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, last}) }
func v6(last byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 5: 1, 15: last})
}

// both delivers from .1 to .2 and back, over both families.
func both(t *testing.T, near *lab.Namespace, by string, far *lab.Namespace, at string) {
	t.Helper()
	for _, addr := range []func(byte) netip.Addr{v4, v6} {
		if got := delivers(t, near, by, far, at, addr(2)); got != addr(1) {
			t.Errorf("%v heard from %v, want %v", addr(2), got, addr(1))
		}
		if got := delivers(t, far, at, near, by, addr(1)); got != addr(2) {
			t.Errorf("%v heard from %v, want %v", addr(1), got, addr(2))
		}
	}
}

func TestBridge(t *testing.T) {
	p := bare(t)
	labtest.RequireKind(t, p.Far.AddBridge("br0", "eth0"))
	addressed(t, p.Near, "eth0", 1)
	addressed(t, p.Far, "br0", 2)
	up(t, p.Far, "br0")
	both(t, p.Near, "eth0", p.Far, "br0")
	must(t, p.Far.ClearMaster("eth0"))
	link, err := p.Far.Handle().LinkByName("eth0")
	if err != nil || link.Attrs().MasterIndex != 0 {
		t.Errorf("a master is left: %+v, %v", link, err)
	}
	must(t, p.Far.SetMaster("eth0", "br0"))
	both(t, p.Near, "eth0", p.Far, "br0")
}

func TestMacvlan(t *testing.T) {
	for _, mode := range []lab.MacvlanMode{lab.MacvlanBridge, lab.MacvlanPrivate, lab.MacvlanVEPA, lab.MacvlanPassthru} {
		t.Run(string(mode), func(t *testing.T) {
			p := bare(t)
			labtest.RequireKind(t, p.Near.AddMacvlan("mv0", "eth0", mode))
			addressed(t, p.Near, "mv0", 1)
			addressed(t, p.Far, "eth0", 2)
			up(t, p.Near, "mv0")
			both(t, p.Near, "mv0", p.Far, "eth0")
			mac, _, err := p.Far.Neighbor("eth0", v4(1))
			if err != nil {
				t.Fatal(err)
			}
			if same := mac.String() == p.NearMAC.String(); same != (mode == lab.MacvlanPassthru) {
				t.Errorf("the macvlan has MAC %v, the parent %v", mac, p.NearMAC)
			}
		})
	}
	n := labtest.NewNamespace(t)
	if err := n.AddMacvlan("mv0", "lo", "sideways"); err == nil || !strings.Contains(err.Error(), "sideways") {
		t.Errorf("unknown mode: %v", err)
	}
}

// TestMove has two macvlans of one parent, each in a namespace of its own.
func TestMove(t *testing.T) {
	p := bare(t)
	one, two := labtest.NewNamespace(t), labtest.NewNamespace(t)
	for i, n := range []*lab.Namespace{one, two} {
		labtest.RequireKind(t, p.Near.AddMacvlan("mv0", "eth0", lab.MacvlanBridge))
		must(t, p.Near.Move("mv0", n), n.Rename("mv0", "eth7"))
		addressed(t, n, "eth7", byte(i+1))
		up(t, n, "eth7")
	}
	both(t, one, "eth7", two, "eth7")
}

func TestVXLAN(t *testing.T) {
	remote := lab.VXLAN{ID: 7}
	for _, tt := range []struct {
		name      string
		near, far lab.VXLAN
		forward   bool
	}{
		{"remote", lab.VXLAN{ID: 7, Local: inner(1), Remote: inner(2)}, lab.VXLAN{ID: 7, Local: inner(2), Remote: inner(1)}, false},
		{"forwarding table", remote, remote, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := bare(t)
			ends := []struct {
				n   *lab.Namespace
				cfg lab.VXLAN
			}{{p.Near, tt.near}, {p.Far, tt.far}}
			for i, end := range ends {
				must(t, end.n.AddAddr("eth0", netip.PrefixFrom(inner(byte(i+1)), 24)))
				end.cfg.Parent = "eth0"
				labtest.RequireKind(t, end.n.AddVXLAN("vx0", end.cfg))
				addressed(t, end.n, "vx0", byte(i+1))
				if tt.forward {
					must(t, end.n.SetForward("vx0", make(net.HardwareAddr, 6), inner(byte(2-i))))
				}
			}
			up(t, p.Near, "vx0")
			up(t, p.Far, "vx0")
			both(t, p.Near, "vx0", p.Far, "vx0")
			if mtu := lookup(t, p.Near, "vx0").MTU; mtu != 1450 {
				t.Errorf("MTU %d, want 1450", mtu)
			}
		})
	}
}

func inner(last byte) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, last}) }

func TestVLAN(t *testing.T) {
	p := bare(t)
	for i, n := range []*lab.Namespace{p.Near, p.Far} {
		labtest.RequireKind(t, n.AddVLAN("eth0.200", "eth0", 200, unix.ETH_P_8021AD))
		labtest.RequireKind(t, n.AddVLAN("eth0.200.100", "eth0.200", 100, unix.ETH_P_8021Q))
		up(t, n, "eth0.200", "eth0.200.100")
		addressed(t, n, "eth0.200.100", byte(i+1))
	}
	both(t, p.Near, "eth0.200.100", p.Far, "eth0.200.100")
	if mac := lookup(t, p.Near, "eth0.200.100").HardwareAddr; mac.String() != p.NearMAC.String() {
		t.Errorf("MAC %v, the parent's is %v", mac, p.NearMAC)
	}
}

// TestBond has a second wire and a bridge at its far end, as a switch has it.
func TestBond(t *testing.T) {
	p := bare(t)
	must(t, p.Near.AddVeth("eth1", "wire1"), p.Near.Move("wire1", p.Far))
	labtest.RequireKind(t, p.Far.AddBridge("br0", "eth0", "wire1"))
	up(t, p.Far, "br0")
	must(t, p.Far.SetUp("wire1"))
	labtest.RequireKind(t, p.Near.AddBond("bond0", "eth0", "eth1"))
	addressed(t, p.Near, "bond0", 1)
	addressed(t, p.Far, "br0", 2)
	up(t, p.Near, "bond0", "eth0", "eth1")
	for _, member := range []string{"eth1", "eth0"} {
		must(t, p.Near.SetActive("bond0", member))
		both(t, p.Near, "bond0", p.Far, "br0")
	}
	if a, b := lookup(t, p.Near, "eth1").HardwareAddr, p.NearMAC; a.String() != b.String() {
		t.Errorf("the second member has MAC %v, the first %v", a, b)
	}
	must(t, p.Near.ClearMaster("eth1"))
	if flags := lookup(t, p.Near, "eth1").Flags; flags&net.FlagUp != 0 {
		t.Error("the former member is up")
	}
}

func TestVRF(t *testing.T) {
	p := bare(t)
	const table = 77
	labtest.RequireKind(t, p.Near.AddVRF("vrf0", table, "eth0"))
	addressed(t, p.Near, "eth0", 1)
	addressed(t, p.Far, "eth0", 2)
	up(t, p.Near, "eth0")
	both(t, p.Near, "eth0", p.Far, "eth0")
	both(t, p.Near, "vrf0", p.Far, "eth0")
	err := p.Near.Do(func() error {
		c, err := net.Dial("udp", "198.51.100.2:9")
		if err == nil {
			c.Close()
		}
		return err
	})
	if !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("outside the VRF: %v, want no route", err)
	}
}

func TestIPVLAN(t *testing.T) {
	for _, mode := range []lab.IPVLANMode{lab.IPVLANL2, lab.IPVLANL3, lab.IPVLANL3S} {
		t.Run(string(mode), func(t *testing.T) {
			p := bare(t)
			inside := labtest.NewNamespace(t)
			labtest.RequireKind(t, p.Near.AddIPVLAN("ipvl0", "eth0", mode))
			must(t, p.Near.Move("ipvl0", inside))
			addressed(t, inside, "ipvl0", 1)
			addressed(t, p.Far, "eth0", 2)
			up(t, inside, "ipvl0")
			if mode != lab.IPVLANL2 {
				// The parent routes and resolves, and nobody answers for the inner one.
				addressed(t, p.Near, "eth0", 3)
				for _, ip := range []netip.Addr{v4(1), v6(1)} {
					must(t, p.Far.SetNeighbor("eth0", ip, p.NearMAC, lab.Permanent))
				}
			}
			both(t, inside, "ipvl0", p.Far, "eth0")
		})
	}
	n := labtest.NewNamespace(t)
	if err := n.AddIPVLAN("ipvl0", "lo", "l4"); err == nil || !strings.Contains(err.Error(), "l4") {
		t.Errorf("unknown mode: %v", err)
	}
}

// TestSwallowing has the two kinds that send nothing anywhere.
func TestSwallowing(t *testing.T) {
	for kind, add := range map[string]func(*lab.Namespace, string) error{
		"ifb": (*lab.Namespace).AddIFB, "dummy": (*lab.Namespace).AddDummy,
	} {
		t.Run(kind, func(t *testing.T) {
			n := labtest.NewNamespace(t)
			labtest.RequireKind(t, add(n, "sink0"))
			must(t, n.AddAddr("sink0", netip.PrefixFrom(v4(1), 24)))
			up(t, n, "sink0")
			got := lookup(t, n, "sink0")
			link, err := n.Handle().LinkByName("sink0")
			if err != nil || len(got.HardwareAddr) != 6 || link.Type() != kind {
				t.Errorf("%+v, %v", link, err)
			}
			if noARP := link.Attrs().RawFlags&unix.IFF_NOARP != 0; !noARP {
				t.Errorf("flags %#x", link.Attrs().RawFlags)
			}
		})
	}
}

func TestWireGuard(t *testing.T) {
	p := labtest.NewPair(t, nil)
	nearKey, nearPublic, err := lab.NewWireGuardKey()
	must(t, err)
	farKey, farPublic, err := lab.NewWireGuardKey()
	must(t, err)
	const port = 51820
	allowed := func(last byte) []netip.Prefix {
		return []netip.Prefix{netip.PrefixFrom(inner(last), 32), netip.MustParsePrefix("2001:db8:5::/64")}
	}
	labtest.RequireKind(t, p.Near.AddWireGuard("wg0", lab.WireGuard{
		Private: nearKey, Port: port, Peer: farPublic, Endpoint: netip.AddrPortFrom(p.FarIP, port), Allowed: allowed(2),
	}))
	labtest.RequireKind(t, p.Far.AddWireGuard("wg0", lab.WireGuard{
		Private: farKey, Port: port, Peer: nearPublic, Allowed: allowed(1),
	}))
	must(t,
		p.Near.AddAddr("wg0", netip.PrefixFrom(inner(1), 24)), p.Far.AddAddr("wg0", netip.PrefixFrom(inner(2), 24)),
		p.Near.AddAddr("wg0", netip.MustParsePrefix("2001:db8:5::1/64")), p.Far.AddAddr("wg0", netip.MustParsePrefix("2001:db8:5::2/64")))
	up(t, p.Near, "wg0")
	up(t, p.Far, "wg0")
	delivers(t, p.Near, "wg0", p.Far, "wg0", inner(2))
	delivers(t, p.Far, "wg0", p.Near, "wg0", inner(1))
	delivers(t, p.Near, "wg0", p.Far, "wg0", netip.MustParseAddr("2001:db8:5::2"))
	if link, err := p.Near.Handle().LinkByName("wg0"); err != nil || link.Attrs().EncapType != "none" || link.Attrs().MTU != 1420 {
		t.Errorf("%+v, %v", link, err)
	}
}

// TestNetem has what is certain: a delay is a lower bound, and all or nothing
// is no matter of chance.
func TestNetem(t *testing.T) {
	const delay = 30 * time.Millisecond
	p := labtest.NewPair(t, nil)
	must(t, p.Far.SetNeighbor("eth0", p.NearIP, p.NearMAC, lab.Permanent))
	s := newStation(t, p.Near, "eth0")
	exchange := func(seq uint16) time.Duration {
		start := time.Now()
		s.send(echo(p.NearMAC, p.FarMAC, p.NearIP, p.FarIP, seq)...)
		for {
			if got := s.next(); got.isReply(seq) {
				return got.at.Sub(start)
			}
		}
	}
	labtest.RequireKind(t, p.Near.SetNetem("eth0", lab.Netem{Delay: delay}))
	if took := exchange(1); took < delay {
		t.Errorf("%v, want %v at least", took, delay)
	}
	must(t, p.Near.SetNetem("eth0", lab.Netem{Duplicate: 100}))
	exchange(2)
	if got := s.next(); !got.isReply(2) {
		t.Errorf("got %v, want the reply to the duplicate", got.packet)
	}
	must(t, p.Near.SetNetem("eth0", lab.Netem{Loss: 100}))
	s.send(echo(p.NearMAC, p.FarMAC, p.NearIP, p.FarIP, 3)...)
	must(t, p.Near.DelNetem("eth0"))
	exchange(4)
}

func TestKindError(t *testing.T) {
	cause := unix.EOPNOTSUPP
	err := error(&lab.KindError{Kind: "vlan", Module: "8021q", Err: unix.ENOENT})
	if !errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, unix.ENOENT) || errors.Is(err, cause) {
		t.Errorf("%v is not what it should be", err)
	}
	if want := "this kernel lacks 8021q: no such file or directory"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

func TestTun(t *testing.T) {
	n := labtest.NewNamespace(t)
	tun := labtest.AddTun(t, n, "tun0")
	must(t, n.AddAddr("tun0", netip.PrefixFrom(v4(1), 24)))
	up(t, n, "tun0")
	var c net.Conn
	err := n.Do(func() (err error) {
		var d net.Dialer
		c, err = d.DialContext(t.Context(), "udp", "198.51.100.2:9")
		return err
	})
	must(t, err)
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	must(t, tun.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 2048)
	size, err := tun.Read(buf)
	if err != nil || size != 20+8+5 || buf[0] != 0x45 || string(buf[28:size]) != "hello" {
		t.Fatalf("read %x, %v", buf[:size], err)
	}
	// Sent back with the two ends changed, it arrives at the socket.
	packet := slices.Clone(buf[:size])
	copy(packet[12:], buf[16:20])
	copy(packet[16:], buf[12:16])
	copy(packet[20:], buf[22:24])
	copy(packet[22:], buf[20:22])
	if _, err := tun.Write(packet); err != nil {
		t.Fatal(err)
	}
	must(t, c.SetReadDeadline(time.Now().Add(patience)))
	if size, err := c.Read(buf); err != nil || string(buf[:size]) != "hello" {
		t.Errorf("the socket read %q, %v", buf[:size], err)
	}
	if err := tun.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Index("tun0"); err == nil {
		t.Error("the interface outlived its Tun")
	}
	if _, err := tun.Read(buf); err == nil {
		t.Error("a closed tun can be read")
	}
}

func TestSetARP(t *testing.T) {
	p := labtest.NewPair(t, nil)
	must(t, p.Near.SetARP("eth0", false), p.Near.SetARP("eth0", true))
	if got := delivers(t, p.Near, "eth0", p.Far, "eth0", p.FarIP); got != p.NearIP {
		t.Errorf("from %v", got)
	}
}

// TestProxyARP has the router answer for a host behind it.
func TestProxyARP(t *testing.T) {
	r := labtest.NewRouted(t)
	must(t, r.Router.SetProxyARP("eth0"), r.Near.DelRoute(netip.MustParsePrefix("0.0.0.0/0")),
		r.Near.AddRoute(netip.MustParsePrefix("203.0.113.0/24"), netip.Addr{}, "eth0"))
	delivers(t, r.Near, "eth0", r.Host, "eth0", r.HostIP)
	if mac, _, err := r.Near.Neighbor("eth0", r.HostIP); err != nil || mac.String() != r.RouterMAC.String() {
		t.Errorf("near has the host at %v, %v; want the router's %v", mac, err, r.RouterMAC)
	}
}
