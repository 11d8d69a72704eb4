//go:build linux

package arp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// Addresses on the link that no host has.
var (
	foreign4 = netip.MustParseAddr("198.51.100.77")
	foreign6 = netip.MustParseAddr("2001:db8:1::77")
)

func openResponder(t testing.TB, n *lab.Namespace, ifc *l2.Interface, cfg ResponderConfig) *Responder {
	t.Helper()
	return labtest.OpenIn(t, n, func() (*Responder, error) { return OpenResponder(ifc, cfg) })
}

// knows waits until a host's own table has an address with a MAC confirmed.
func knows(t testing.TB, n *lab.Namespace, addr netip.Addr, mac net.HardwareAddr) {
	t.Helper()
	ctx := timeout(t)
	for {
		got, state, err := n.Neighbor("eth0", addr)
		must(t, err)
		if state == lab.Reachable && bytes.Equal(got, mac) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%v is at %v, %v, want %v", addr, got, State(state), mac)
		}
		runtime.Gosched()
	}
}

// A Linux host asks for an address that nobody has, and takes our word for it.
func TestResponderLinux(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	labtest.RequireKind(t, pair.EnableIPv6())
	ifc := pathTo(t, pair).Interface
	for _, addr := range []netip.Addr{foreign4, foreign6} {
		t.Run(addr.String(), func(t *testing.T) {
			r := openResponder(t, pair.Near, ifc, ResponderConfig{Source: addr})
			must(t, pair.Far.Do(func() error { return knock(addr, "eth0") }))
			knows(t, pair.Far, addr, pair.NearMAC)
			must(t, r.Close()) // and it has counted
			if n := r.Answered(); n != 1 {
				t.Errorf("answered %d", n)
			}
		})
	}
}

// A driver that filters groups, as a macvlan does, is told which are wanted: the
// interface itself has no IPv6.
func TestGroupsJoined(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	labtest.RequireKind(t, pair.EnableIPv6())
	labtest.RequireKind(t, pair.Near.AddMacvlan("mv0", "eth0", lab.MacvlanBridge))
	must(t, pair.Near.SetMAC("mv0", otherMAC.HardwareAddr()))
	must(t, pair.Near.SetUp("mv0"))
	must(t, pair.Near.WaitUp("mv0"))
	path := pathOf(t, pair.Near, pair.FarIP6, netip.IPv6Unspecified())
	must(t, pair.Near.Do(func() (err error) {
		path.Interface, err = l2.InterfaceByName("mv0")
		return err
	}))
	path.Owner = path.Interface

	openResponder(t, pair.Near, path.Interface, ResponderConfig{Source: foreign6})
	must(t, pair.Far.Do(func() error { return knock(foreign6, "eth0") }))
	knows(t, pair.Far, foreign6, otherMAC.HardwareAddr())

	// Who asks from no address is answered by way of the group of all.
	table := openTable(t, pair.Near, path.Interface, TableConfig{})
	if n, err := add(t, table, path).Resolve(timeout(t)); err != nil || n.MAC != frame.MAC(pair.FarMAC) || n.How != HowNDP {
		t.Errorf("%+v, %v", n, err)
	}
}

// Who looks whether the address is taken hears that it is (RFC 4862, section
// 5.4.4).
func TestResponderDuplicate(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	labtest.RequireKind(t, pair.EnableIPv6())
	for name, value := range map[string]string{"accept_dad": "1", "dad_transmits": "1"} {
		must(t, pair.Far.Sysctl("net/ipv6/conf/eth0/"+name, value))
	}
	r := openResponder(t, pair.Near, pathTo(t, pair).Interface, ResponderConfig{Source: foreign6})
	h := pair.Far.Handle()
	link, err := h.LinkByName("eth0")
	must(t, err)
	must(t, h.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: foreign6.AsSlice(), Mask: net.CIDRMask(64, 128)}}))
	for ctx := timeout(t); ; runtime.Gosched() {
		all, err := h.AddrList(link, netlink.FAMILY_V6)
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			continue // it has just changed
		}
		must(t, err)
		flags := 0
		for _, a := range all {
			if a.IP.Equal(foreign6.AsSlice()) {
				flags = a.Flags
			}
		}
		if flags&unix.IFA_F_DADFAILED != 0 {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("the address has flags %#x, answered %d", flags, r.Answered())
		}
	}
	must(t, r.Close())
	if r.Answered() == 0 {
		t.Error("nothing answered")
	}
}

// A table and a responder in one VLAN understand each other, those in two do not.
func TestResponderVLAN(t *testing.T) {
	t.Parallel()
	tag := func(tci uint16) frame.VLAN { return frame.VLAN{Type: frame.EtherTypeVLAN, TCI: tci} }
	provider := frame.VLAN{Type: frame.EtherTypeQinQ, TCI: 200}
	var checks []func()
	for _, addr := range []netip.Addr{foreign4, foreign6} {
		for _, tt := range []struct {
			ask, answer []frame.VLAN
			ok          bool
		}{
			{[]frame.VLAN{tag(100)}, []frame.VLAN{tag(100)}, true},
			{[]frame.VLAN{tag(3<<13 | 100)}, []frame.VLAN{tag(100)}, true},
			{[]frame.VLAN{provider, tag(100)}, []frame.VLAN{tag(200), tag(100)}, true},
			{[]frame.VLAN{tag(5 << 13)}, nil, true},
			{nil, []frame.VLAN{tag(0)}, true},
			{[]frame.VLAN{tag(100)}, []frame.VLAN{tag(101)}, false},
			{[]frame.VLAN{tag(100)}, nil, false},
			{nil, []frame.VLAN{tag(100)}, false},
			{[]frame.VLAN{tag(100)}, []frame.VLAN{tag(100), tag(100)}, false},
		} {
			pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
			source := pair.NearIP
			if addr.Is6() {
				source = pair.NearIP6
			}
			near, far := pathOf(t, pair.Near, addr, source), pathOf(t, pair.Far, addr, source)
			r := openResponder(t, pair.Far, far.Interface, ResponderConfig{Source: addr, VLANs: tt.answer})
			h := add(t, openTable(t, pair.Near, near.Interface, TableConfig{VLANs: tt.ask}), near)
			h.Snapshot() // all of them fail at the same time
			checks = append(checks, func() {
				n, err := h.Resolve(timeout(t))
				must(t, r.Close()) // and it has counted
				want := map[bool]uint64{true: 1}[tt.ok]
				if err != nil || n.Known() != tt.ok || tt.ok && n.MAC != frame.MAC(pair.FarMAC) || r.Answered() != want {
					t.Errorf("%v, %v asks %v: %+v, %v, answered %d", addr, tt.ask, tt.answer, n, err, r.Answered())
				}
			})
		}
	}
	for _, check := range checks {
		check()
	}
}

// In another's name: its MAC is heard and answers.
func TestResponderForeignMAC(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	r := openResponder(t, pair.Near, pathTo(t, pair).Interface, ResponderConfig{Source: foreign4, MAC: otherMAC})
	must(t, pair.Far.Do(func() error { return knock(foreign4, "eth0") }))
	knows(t, pair.Far, foreign4, otherMAC.HardwareAddr())
	must(t, r.Close())
	if n := r.Answered(); n != 1 {
		t.Errorf("answered %d", n)
	}
}

// What is answered, and what with, in gopacket's opinion.
func TestResponderReply(t *testing.T) {
	mine, asker := someMAC, otherMAC
	r4 := &Responder{addr: foreign4, mac: mine}
	r6 := &Responder{addr: foreign6, mac: mine}
	peer6 := netip.MustParseAddr("2001:db8:1::2")
	group := frame.SolicitedNode(foreign6)
	arp := func(change func(*frame.ARP)) []byte {
		a := frame.ARP{Operation: frame.ARPRequest, SenderMAC: asker, SenderIP: netip.MustParseAddr("198.51.100.2"), TargetIP: foreign4}
		change(&a)
		b, err := a.MarshalBehind(frame.Header{Dst: frame.Broadcast, Src: asker})
		must(t, err)
		return b
	}
	ndp := func(change func(*frame.NDP)) []byte {
		n := frame.NDP{Type: frame.ICMPv6NeighborSolicitation, Src: peer6, Dst: group, Target: foreign6, MAC: asker}
		change(&n)
		b, err := n.Marshal(frame.Header{Dst: frame.MulticastMAC(group), Src: asker})
		must(t, err)
		return b
	}
	for _, tt := range []struct {
		name string
		r    *Responder
		ask  []byte
		want string // "" is nothing
	}{
		{"ARP", r4, arp(func(*frame.ARP) {}), "to 02:00:5e:00:53:66: 198.51.100.77 is at 02:00:5e:00:53:02, tell 198.51.100.2 02:00:5e:00:53:66"},
		{"ARP probe", r4, arp(func(a *frame.ARP) { a.SenderIP = netip.IPv4Unspecified() }),
			"to 02:00:5e:00:53:66: 198.51.100.77 is at 02:00:5e:00:53:02, tell 0.0.0.0 02:00:5e:00:53:66"},
		{"ARP reply", r4, arp(func(a *frame.ARP) { a.Operation = frame.ARPReply }), ""},
		{"ARP announcement", r4, arp(func(a *frame.ARP) { a.SenderIP = foreign4 }), ""},
		{"ARP for another", r4, arp(func(a *frame.ARP) { a.TargetIP = netip.MustParseAddr("198.51.100.78") }), ""},
		{"ARP from a group", r4, arp(func(a *frame.ARP) { a.SenderMAC = frame.Broadcast }), ""},
		{"ARP from nobody", r4, arp(func(a *frame.ARP) { a.SenderMAC = frame.MAC{} }), ""},
		{"ARP of IPv6's", r6, arp(func(*frame.ARP) {}), ""},
		{"NDP", r6, ndp(func(*frame.NDP) {}), "to 02:00:5e:00:53:66, 2001:db8:1::2: 2001:db8:1::77 is at 02:00:5e:00:53:02, flags 0x60"},
		{"NDP by name", r6, ndp(func(n *frame.NDP) { n.Dst, n.MAC = foreign6, frame.MAC{} }),
			"to 02:00:5e:00:53:66, 2001:db8:1::2: 2001:db8:1::77 is at 02:00:5e:00:53:02, flags 0x60"},
		{"NDP for duplicates", r6, ndp(func(n *frame.NDP) { n.Src, n.MAC = netip.IPv6Unspecified(), frame.MAC{} }),
			"to 33:33:00:00:00:01, ff02::1: 2001:db8:1::77 is at 02:00:5e:00:53:02, flags 0x20"},
		{"NDP for another of the group", r6, ndp(func(n *frame.NDP) { n.Target = netip.MustParseAddr("2001:db8:2::77") }), ""},
		{"NDP from the address", r6, ndp(func(n *frame.NDP) { n.Src = foreign6 }), ""},
		{"NDP with a group's MAC", r6, ndp(func(n *frame.NDP) { n.MAC = frame.Broadcast }), ""},
		{"an advertisement", r6, ndp(func(n *frame.NDP) { n.Type = frame.ICMPv6NeighborAdvertisement }), ""},
		{"NDP of IPv4's", r4, ndp(func(*frame.NDP) {}), ""},
		{"nothing", r4, nil, ""},
	} {
		b, ok := tt.r.reply(capture.Frame{Data: tt.ask})
		if got := describe(t, b); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %s, %v, want %s", tt.name, got, ok, tt.want)
		}
	}
}

// describe is what gopacket makes of an answer.
func describe(t *testing.T, b []byte) string {
	t.Helper()
	if len(b) == 0 {
		return ""
	}
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.DecodeOptions{})
	if e := p.ErrorLayer(); e != nil {
		t.Error(e.Error())
	}
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if !bytes.Equal(eth.SrcMAC, someMAC[:]) {
		t.Errorf("from %v", eth.SrcMAC)
	}
	if a, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
		return fmt.Sprintf("to %v: %v is at %v, tell %v %v", eth.DstMAC, net.IP(a.SourceProtAddress), net.HardwareAddr(a.SourceHwAddress),
			net.IP(a.DstProtAddress), net.HardwareAddr(a.DstHwAddress))
	}
	ip := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	na := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	if ip.HopLimit != 255 || !ip.SrcIP.Equal(na.TargetAddress) || len(na.Options) != 1 || na.Options[0].Type != layers.ICMPv6OptTargetAddress {
		t.Errorf("%+v, %+v", ip, na)
		return ""
	}
	return fmt.Sprintf("to %v, %v: %v is at %v, flags %#x", eth.DstMAC, ip.DstIP, na.TargetAddress, net.HardwareAddr(na.Options[0].Data), na.Flags)
}

func TestResponderRefuses(t *testing.T) {
	ifc := &l2.Interface{Name: "eth0", Index: 1, MAC: someMAC}
	tun, lo := *ifc, *ifc
	tun.NoLink, lo.Loopback = true, true
	for _, tt := range []struct {
		ifc  *l2.Interface
		addr string
		mac  frame.MAC
		want string
	}{
		{ifc, "", frame.MAC{}, "answer for invalid IP on eth0: neither IPv4 nor IPv6"},
		{ifc, "::ffff:198.51.100.1", frame.MAC{}, "answer for ::ffff:198.51.100.1 on eth0: neither IPv4 nor IPv6"},
		{ifc, "0.0.0.0", frame.MAC{}, "answer for 0.0.0.0 on eth0: not a host's address"},
		{ifc, "255.255.255.255", frame.MAC{}, "answer for 255.255.255.255 on eth0: not a host's address"},
		{ifc, "ff02::1", frame.MAC{}, "answer for ff02::1 on eth0: not a host's address"},
		{ifc, "198.51.100.77", frame.Broadcast, "answer for 198.51.100.77 on eth0: source MAC ff:ff:ff:ff:ff:ff: a group's"},
		{&tun, "198.51.100.77", frame.MAC{}, "answer for 198.51.100.77 on eth0: nobody asks there"},
		{&lo, "198.51.100.77", frame.MAC{}, "answer for 198.51.100.77 on eth0: nobody asks there"},
	} {
		cfg := ResponderConfig{MAC: tt.mac}
		if tt.addr != "" {
			cfg.Source = netip.MustParseAddr(tt.addr)
		}
		if r, err := OpenResponder(tt.ifc, cfg); r != nil || err == nil || err.Error() != tt.want {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
}

// remake deletes the wire of a pair and makes it anew: near's MAC is another one.
func remake(t *testing.T, pair *lab.Pair, near net.HardwareAddr) *l2.Interface {
	t.Helper()
	must(t, pair.Near.DeleteLink("eth0"))
	must(t, pair.Near.AddVeth("eth0", "eth1"))
	must(t, pair.Near.Move("eth1", pair.Far))
	must(t, pair.Far.Rename("eth1", "eth0"))
	must(t, pair.Near.SetMAC("eth0", near))
	must(t, pair.Far.SetMAC("eth0", pair.FarMAC))
	must(t, pair.Near.AddAddr("eth0", netip.PrefixFrom(pair.NearIP, 24)))
	must(t, pair.Far.AddAddr("eth0", netip.PrefixFrom(pair.FarIP, 24)))
	must(t, pair.SetUp())
	return pathTo(t, pair).Interface
}

// An interface that is deleted and made anew: all goes on.
func TestRebind(t *testing.T) {
	for _, mac := range []frame.MAC{{}, {2, 0, 0x5e, 0, 0x53, 0x44}} {
		t.Run(mac.String(), func(t *testing.T) {
			pair := labtest.NewPair(t, nil)
			path := pathTo(t, pair)
			must(t, pair.Near.SetNeighbor("eth0", pair.FarIP, otherMAC.HardwareAddr(), lab.Permanent))
			table := openTable(t, pair.Near, path.Interface, TableConfig{MAC: mac})
			r := openResponder(t, pair.Near, path.Interface, ResponderConfig{Source: foreign4, MAC: mac})
			h := add(t, table, path)
			if n, status := h.Snapshot(); n.MAC != otherMAC || status != Resolved {
				t.Errorf("%+v, %d", n, status)
			}

			changed := frame.MAC{2, 0, 0x5e, 0, 0x53, 0x11}
			ifc := remake(t, pair, changed.HardwareAddr())
			must(t, table.Rebind(ifc))
			must(t, r.Rebind(ifc))
			if mac.IsZero() {
				mac = changed
			}
			path = pathTo(t, pair)
			if again := add(t, table, path); again != h {
				t.Error("another hop")
			}
			h.Snapshot() // is a demand
			n := await(t, h, "resolved", func(n Neighbor, _ Status) bool { return n.MAC == frame.MAC(pair.FarMAC) })
			if n.How != HowARP || n.Was != otherMAC {
				t.Errorf("%+v", n)
			}
			if got, _, err := pair.Far.Neighbor("eth0", pair.NearIP); err != nil || !bytes.Equal(got, mac[:]) {
				t.Errorf("the far end has %v, %v, want %v", got, err, mac)
			}
			// The kernel's table of the new interface is followed.
			must(t, pair.Near.SetNeighbor("eth0", pair.FarIP, someMAC[:], lab.Permanent))
			must(t, pair.Near.SetNeighbor("eth0", pair.FarIP, otherMAC[:], lab.Permanent))
			await(t, h, "moved", func(n Neighbor, _ Status) bool { return n.MAC == otherMAC })

			must(t, pair.Far.Do(func() error { return knock(foreign4, "eth0") }))
			knows(t, pair.Far, foreign4, mac.HardwareAddr())

			tun := *ifc
			tun.NoLink = true
			for _, err := range []error{table.Rebind(&tun), r.Rebind(&tun)} {
				if !errors.Is(err, l2.ErrOtherLinkLayer) {
					t.Error(err)
				}
			}
			gone := *ifc
			gone.Index = 4711
			for _, err := range []error{table.Rebind(&gone), r.Rebind(&gone)} {
				if !errors.Is(err, unix.ENODEV) {
					t.Error(err)
				}
			}
			must(t, errors.Join(table.Close(), r.Close(), r.Close()))
			for _, err := range []error{table.Rebind(ifc), r.Rebind(ifc)} {
				if !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
			}
		})
	}
}
