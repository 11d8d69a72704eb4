package lab_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// icmp6 is an ICMPv6 message with that body behind its checksum.
func icmp6(srcMAC, dstMAC net.HardwareAddr, src, dst netip.Addr, typ, code uint8, body []byte) []gopacket.SerializableLayer {
	ip := &layers.IPv6{
		Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: src.AsSlice(), DstIP: dst.AsSlice(),
	}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, code)}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		panic(err)
	}
	return []gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: srcMAC, DstMAC: dstMAC, EthernetType: layers.EthernetTypeIPv6}, ip, icmp, gopacket.Payload(body),
	}
}

// echo6 is an ICMPv6 echo request.
func echo6(srcMAC, dstMAC net.HardwareAddr, src, dst netip.Addr, seq uint16) []gopacket.SerializableLayer {
	list := icmp6(srcMAC, dstMAC, src, dst, 128, 0, append([]byte{echoID >> 8, echoID & 0xff, byte(seq >> 8), byte(seq)}, payload...))
	ip := list[1].(*layers.IPv6)
	ip.HopLimit, ip.TrafficClass, ip.FlowLabel = 61, echoTOS, 0xbeef
	return list
}

// type6 is the type of an ICMPv6 message, or 0.
func (h heard) type6() uint8 {
	if icmp, ok := h.packet.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok {
		return icmp.TypeCode.Type()
	}
	return 0
}

// TestIPv6Noise has what IPv6 makes the kernel say without being asked: nothing
// but listener reports.
func TestIPv6Noise(t *testing.T) {
	p := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	s := newStation(t, p.Far, "eth0")
	labtest.RequireKind(t, p.EnableIPv6())
	must(t, p.Near.AddAddr("eth0", netip.MustParsePrefix("2001:db8:1::9/64")))
	// To an address with a permanent neighbor, the last frame.
	must(t, p.Near.SetNeighbor("eth0", p.FarIP6, p.FarMAC, lab.Permanent))
	send := func() {
		err := p.Near.Do(func() error {
			c, err := net.Dial("udp", net.JoinHostPort(p.FarIP6.String(), "9"))
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("x"))
			return err
		})
		must(t, err)
	}
	send()
	reports := 0
	for {
		got := s.next()
		if got.packet.Layer(layers.LayerTypeUDP) != nil {
			break
		}
		if got.type6() != layers.ICMPv6TypeMLDv2MulticastListenerReportMessageV2 {
			t.Errorf("the kernel sent %v", got.packet)
		}
		reports++
	}
	t.Logf("%d listener reports", reports)
}

func TestPairIPv6(t *testing.T) {
	p := labtest.NewPair(t, &lab.PairConfig{IPv6: true})
	for _, addrs := range [][2]netip.Addr{{p.NearIP6, p.FarIP6}, {p.NearLL, p.FarLL}} {
		if got := delivers(t, p.Near, "eth0", p.Far, "eth0", addrs[1]); got != addrs[0] {
			t.Errorf("from %v, want %v", got, addrs[0])
		}
	}
	if mac, state, err := p.Near.Neighbor("eth0", p.FarIP6); err != nil || mac.String() != p.FarMAC.String() || state == 0 {
		t.Errorf("neighbor %v state %#x, %v", mac, state, err)
	}
	s := newStation(t, p.Near, "eth0")
	s.send(echo6(p.NearMAC, p.FarMAC, p.NearIP6, p.FarIP6, 1)...)
	for {
		got := s.next()
		if got.type6() == layers.ICMPv6TypeEchoReply {
			break
		}
	}
}

func TestPairIsIPv4(t *testing.T) {
	p := labtest.NewPair(t, nil)
	err := p.Near.Do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		addrs, err := ifi.Addrs()
		if len(addrs) != 1 {
			t.Errorf("addresses %v", addrs)
		}
		return err
	})
	must(t, err)
}

func TestRoutedIPv6(t *testing.T) {
	r := labtest.NewRouted(t)
	err := r.EnableIPv6()
	if errors.Is(err, unix.EROFS) {
		t.Skipf("%v (mount /proc/sys writable)", err)
	}
	labtest.RequireKind(t, err)
	if got := delivers(t, r.Near, "eth0", r.Host, "eth0", r.HostIP6); got != r.NearIP6 {
		t.Errorf("from %v, want %v", got, r.NearIP6)
	}
	// The router's errors are not limited.
	s := newStation(t, r.Near, "eth0")
	must(t, r.Router.SetNeighbor("eth0", r.NearIP6, r.NearMAC, lab.Permanent))
	for seq := range uint16(30) {
		request := echo6(r.NearMAC, r.RouterMAC, r.NearIP6, r.HostIP6, seq)
		request[1].(*layers.IPv6).HopLimit = 1
		s.send(request...)
		for {
			if got := s.next(); got.type6() == layers.ICMPv6TypeTimeExceeded {
				break
			}
		}
	}
	refused := netip.MustParsePrefix("2001:db8:2::77/128")
	must(t, r.Router.AddRefusal(refused, unix.RTN_PROHIBIT))
	s.send(echo6(r.NearMAC, r.RouterMAC, r.NearIP6, refused.Addr(), 40)...)
	for {
		got := s.next()
		if icmp, ok := got.packet.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok && icmp.TypeCode.Type() == 1 {
			if icmp.TypeCode.Code() != layers.ICMPv6CodeAdminProhibited {
				t.Errorf("got %v", icmp.TypeCode)
			}
			break
		}
	}
}

// TestLoopback6 has ::1 on lo, and an address that is no interface's.
func TestLoopback6(t *testing.T) {
	n := labtest.NewNamespace(t)
	labtest.RequireKind(t, n.EnableIPv6("lo"))
	delivers(t, n, "lo", n, "lo", netip.IPv6Loopback())
	if err := n.EnableIPv6("eth7"); err == nil || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("on no interface: %v", err)
	}
}

func TestNeighbors6(t *testing.T) {
	p := labtest.NewPair(t, &lab.PairConfig{Silent: true, IPv6: true})
	ip := netip.MustParseAddr("2001:db8:1::7")
	for _, state := range []lab.NeighborState{lab.Permanent, lab.Reachable, lab.Stale} {
		must(t, p.Near.SetNeighbor("eth0", ip, p.FarMAC, state))
		if mac, got, err := p.Near.Neighbor("eth0", ip); err != nil || got != state || mac.String() != p.FarMAC.String() {
			t.Errorf("neighbor %v state %#x, %v; want %v %#x", mac, got, err, p.FarMAC, state)
		}
	}
	must(t, p.Near.DelNeighbor("eth0", ip))
	if _, got, err := p.Near.Neighbor("eth0", ip); err != nil || got != 0 {
		t.Errorf("deleted neighbor: state %#x, %v", got, err)
	}
}

// chosen is what the kernel routes a datagram by: the interface and the next hop.
func chosen(t *testing.T, n *lab.Namespace, dst string, mark uint32) (ifname, via string) {
	t.Helper()
	routes, err := n.Handle().RouteGetWithOptions(net.ParseIP(dst), &netlink.RouteGetOptions{Mark: mark})
	if err != nil {
		return err.Error(), ""
	}
	r := routes[0]
	link, err := n.Handle().LinkByIndex(r.LinkIndex)
	must(t, err)
	switch {
	case r.Via != nil:
		via = r.Via.(*netlink.Via).Addr.String()
	case r.Gw != nil:
		via = r.Gw.String()
	}
	return link.Attrs().Name, via
}

func TestInstall(t *testing.T) {
	p := labtest.NewPair(t, &lab.PairConfig{Silent: true, IPv6: true})
	prefix := netip.MustParsePrefix
	must(t,
		p.Near.AddRoute(prefix("203.0.113.0/28"), p.FarIP6, "eth0"),
		p.Near.AddRoute(prefix("203.0.113.16/28"), netip.MustParseAddr("fe80::99"), "eth0"),
		p.Near.AddRoute(prefix("2001:db8:7::/64"), p.FarLL, "eth0"),
		p.Near.AddRoute(prefix("2001:db8:8::/64"), netip.MustParseAddr("2001:db8:99::1"), "eth0"), // onlink
		p.Near.AddRoute(prefix("2001:db8:9::/64"), netip.Addr{}, "eth0"),
		p.Near.AddRefusal(prefix("2001:db8:a::/64"), unix.RTN_BLACKHOLE),
		p.Near.AddRefusal(prefix("2001:db8:b::/64"), unix.RTN_UNREACHABLE),
		p.Near.AddRefusal(prefix("2001:db8:c::/64"), unix.RTN_PROHIBIT),
		p.Near.Install(lab.Route{Dst: prefix("203.0.113.32/28"), Via: p.FarIP, Interface: "eth0", Table: 300, MTU: 1400}),
		p.Near.Install(lab.Route{Dst: prefix("2001:db8:d::/64"), Via: p.FarIP6, Interface: "eth0", Table: 300}),
		p.Near.AddRule(lab.Rule{Mark: 5, Table: 300, Priority: 100}),
		p.Near.AddRule(lab.Rule{Mark: 5, Table: 300, Priority: 100, IPv6: true}),
	)
	for _, tt := range []struct {
		dst         string
		mark        uint32
		ifname, via string
	}{
		{"203.0.113.1", 0, "eth0", "2001:db8:1::2"},
		{"203.0.113.17", 0, "eth0", "fe80::99"},
		{"2001:db8:7::1", 0, "eth0", "fe80::2"},
		{"2001:db8:8::1", 0, "eth0", "2001:db8:99::1"},
		{"2001:db8:9::1", 0, "eth0", ""},
		{"2001:db8:a::1", 0, "invalid argument", ""},
		{"2001:db8:b::1", 0, "no route to host", ""},
		{"2001:db8:c::1", 0, "permission denied", ""},
		{"203.0.113.33", 0, "network is unreachable", ""},
		{"203.0.113.33", 5, "eth0", "198.51.100.2"},
		{"2001:db8:d::1", 0, "network is unreachable", ""},
		{"2001:db8:d::1", 5, "eth0", "2001:db8:1::2"},
	} {
		if ifname, via := chosen(t, p.Near, tt.dst, tt.mark); ifname != tt.ifname || via != tt.via {
			t.Errorf("%s mark %d: by %s via %s, want %s via %s", tt.dst, tt.mark, ifname, via, tt.ifname, tt.via)
		}
	}
	must(t,
		p.Near.DelRule(lab.Rule{Mark: 5, Table: 300, Priority: 100}),
		p.Near.Uninstall(lab.Route{Dst: prefix("2001:db8:a::/64"), Type: unix.RTN_BLACKHOLE}),
		p.Near.DelRoute(prefix("2001:db8:7::/64")))
	for _, dst := range []string{"2001:db8:a::1", "2001:db8:7::1", "203.0.113.33"} {
		if got, _ := chosen(t, p.Near, dst, 5); got != "network is unreachable" {
			t.Errorf("%s: %s, want no route", dst, got)
		}
	}
	from := lab.Rule{From: prefix("198.51.100.1/32"), Priority: 50, Type: unix.FR_ACT_PROHIBIT}
	must(t, p.Near.AddRule(from), p.Near.DelRule(from))
	if err := p.Near.DelRule(from); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a rule that is gone: %v", err)
	}
}

func TestMultipath(t *testing.T) {
	p := labtest.NewPair(t, &lab.PairConfig{Silent: true, IPv6: true})
	must(t, p.Near.AddVeth("eth1", "eth2"), p.Near.SetUp("eth1"), p.Near.SetUp("eth2"), p.Near.WaitUp("eth1"),
		p.Near.AddAddr("eth1", netip.MustParsePrefix("203.0.113.1/28")),
		p.Near.AddAddr("eth1", netip.MustParsePrefix("2001:db8:2::1/64")))
	for _, r := range []lab.Route{
		{Dst: netip.MustParsePrefix("198.18.0.0/15"), Hops: []lab.Hop{
			{Via: p.FarIP, Interface: "eth0"}, {Via: netip.MustParseAddr("2001:db8:2::2"), Interface: "eth1", Weight: 3},
		}},
		{Dst: netip.MustParsePrefix("2001:db8:f::/64"), Hops: []lab.Hop{
			{Via: p.FarIP6, Interface: "eth0"}, {Via: netip.MustParseAddr("2001:db8:2::2"), Interface: "eth1", Weight: 3},
		}},
	} {
		must(t, p.Near.Install(r))
		var seen []string
		base := r.Dst.Addr().Next()
		for range 200 { // the kernel hashes the destination
			ifname, via := chosen(t, p.Near, base.String(), 0)
			if want := map[string]string{"eth0": r.Hops[0].Via.String(), "eth1": r.Hops[1].Via.String()}[ifname]; via != want {
				t.Fatalf("%v by %s via %s, want %s", base, ifname, via, want)
			}
			if !slices.Contains(seen, ifname) {
				seen = append(seen, ifname)
			}
			base = base.Next()
		}
		if len(seen) != 2 {
			t.Errorf("%v: only %v", r.Dst, seen)
		}
	}
}

func TestRouteErrors(t *testing.T) {
	n := labtest.NewNamespace(t)
	dst := netip.MustParsePrefix("203.0.113.0/24")
	for _, r := range []lab.Route{
		{Dst: dst, Interface: "eth7"}, {Dst: dst, Hops: []lab.Hop{{Interface: "eth7"}}}, {Dst: dst, Via: netip.MustParseAddr("198.51.100.2")},
	} {
		if err := n.Install(r); err == nil {
			t.Errorf("%+v was installed", r)
		}
	}
}
