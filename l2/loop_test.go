//go:build linux

package l2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2/frame"
)

// echoPacket is an echo request with that sequence number, made by gopacket.
func echoPacket(t testing.TB, src, dst netip.Addr, seq uint16, dataLen int) []byte {
	t.Helper()
	data := gopacket.Payload(make([]byte, dataLen))
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if dst.Is4() {
		must(t, gopacket.SerializeLayers(buf, opts,
			&layers.IPv4{Version: 4, Id: 0x4242, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()},
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 0xbe0f, Seq: seq}, data))
		return bytes.Clone(buf.Bytes())
	}
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)}
	must(t, icmp.SetNetworkLayerForChecksum(ip))
	must(t, gopacket.SerializeLayers(buf, opts, ip, icmp, &layers.ICMPv6Echo{Identifier: 0xbe0f, SeqNumber: seq}, data))
	return bytes.Clone(buf.Bytes())
}

// framed puts an Ethernet header ahead of a packet, and tags.
func framed(packet []byte, dst, src []byte, tags ...frame.VLAN) []byte {
	b := append(bytes.Clone(dst), src...)
	for _, tag := range tags {
		b = binary.BigEndian.AppendUint16(b, uint16(tag.Type))
		b = binary.BigEndian.AppendUint16(b, tag.TCI)
	}
	typ := uint16(unix.ETH_P_IP)
	if packet[0]>>4 == 6 {
		typ = unix.ETH_P_IPV6
	}
	return append(binary.BigEndian.AppendUint16(b, typ), packet...)
}

// answer waits for the echo reply with that sequence number.
func (s *station) answer(seq uint16) gopacket.Packet {
	s.t.Helper()
	for {
		p := gopacket.NewPacket(s.receive(), layers.LayerTypeEthernet, gopacket.Default)
		if icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok && icmp.TypeCode.Type() == layers.ICMPv4TypeEchoReply && icmp.Seq == seq {
			return p
		}
		if icmp, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok && icmp.TypeCode.Type() == layers.ICMPv6TypeEchoReply {
			if echo, ok := p.Layer(layers.LayerTypeICMPv6Echo).(*layers.ICMPv6Echo); ok && echo.SeqNumber == seq {
				return p
			}
		}
	}
}

// departures reads stamps until those ids have both of theirs, in order and
// within the time from from.
func departures(t testing.TB, l *Link, from int64, ids ...uint32) {
	t.Helper()
	got := map[uint32]map[StampPoint]int64{}
	stamps := make([]Stamp, MinStamps)
	for deadline := time.Now().Add(patience); ; {
		n, _, err := l.ReadStamps(stamps)
		must(t, err)
		for _, s := range stamps[:n] {
			if got[s.ID] == nil {
				got[s.ID] = map[StampPoint]int64{}
			}
			if _, twice := got[s.ID][s.Point]; twice || !slices.Contains(ids, s.ID) {
				t.Fatalf("a stamp that nobody asked for: %+v, after %v", s, got)
			}
			got[s.ID][s.Point] = s.Time
		}
		have := 0
		for _, points := range got {
			have += len(points)
		}
		if have == 2*len(ids) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("of ids %v only %v", ids, got)
		}
	}
	for id, points := range got {
		if points[StampSched] < from || points[StampDriver] < points[StampSched] || points[StampDriver] > time.Now().UnixNano() {
			t.Errorf("id %d: %v, sent from %d", id, points, from)
		}
	}
}

// The host answers itself over lo, for both families and by all its addresses,
// and what is sent is stamped.
func TestLinkLoopback(t *testing.T) {
	for _, countIDs := range []bool{false, true} {
		t.Run(fmt.Sprintf("counted=%v", countIDs), func(t *testing.T) {
			n, r := sixes(t)
			must(t, n.EnableIPv6("lo"))
			lo, err := r.Interface("lo")
			must(t, err)
			l, ear := openLinkOn(t, n, "lo", &LinkConfig{countIDs: countIDs}), newStation(t, n, "lo")
			var ids []uint32
			from := time.Now().UnixNano()
			for i, dst := range []string{"127.0.0.1", "198.51.100.1", "192.0.2.1", "127.9.9.9", "::1", "2001:db8:1::1", "2001:db8:2::1"} {
				path, err := r.Path(lo, Query{Destination: addr(dst)})
				must(t, err)
				packet := echoPacket(t, path.Source, path.Destination, uint16(i), 56)
				b := framed(packet, make([]byte, 6), make([]byte, 6))
				before := bytes.Clone(b)
				must(t, l.Send(b, uint32(1000-i)))
				ids = append(ids, uint32(1000-i))
				if !bytes.Equal(b, before) {
					t.Error("the caller's frame has changed")
				}
				p := ear.answer(uint16(i))
				if src := p.NetworkLayer().NetworkFlow().Src().String(); src != dst {
					t.Errorf("%s answers for %s", src, dst)
				}
			}
			departures(t, l, from, ids...)
			// Padding is no part of a packet.
			b := append(framed(echoPacket(t, addr("127.0.0.1"), addr("127.0.0.1"), 77, 1), make([]byte, 6), make([]byte, 6)), make([]byte, 17)...)
			must(t, l.Send(b, 1))
			if p := ear.answer(77); len(p.Data()) != 14+20+8+1 {
				t.Errorf("%d bytes come back", len(p.Data()))
			}
		})
	}
}

// Nothing that is sent on lo leaves by another interface, whoever it is for.
func TestLinkLoopbackStays(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	must(t, pair.Near.SetNeighbor("eth0", pair.FarIP, pair.FarMAC, lab.Permanent))
	must(t, pair.Near.AddRoute(anywhere, pair.FarIP, "eth0"))
	far, l := newStation(t, pair.Far, "eth0"), openLinkOn(t, pair.Near, "lo", nil)
	ear := newStation(t, pair.Near, "lo")
	for _, dst := range []netip.Addr{pair.FarIP, remote} {
		b := framed(echoPacket(t, pair.NearIP, dst, 1, 56), make([]byte, 6), make([]byte, 6))
		must(t, l.Send(b, 1))
		if got := ear.receive(); !bytes.Equal(got[14:], b[14:]) {
			t.Errorf("on lo comes\n% x, want\n% x", got, b)
		}
	}
	// What eth0 sends comes first, so nothing of lo's did.
	wire := openLinkOn(t, pair.Near, "eth0", nil)
	last := frameOf(pair, 60)
	must(t, wire.Send(last, 1))
	if got := far.receive(); !bytes.Equal(got, last) {
		t.Errorf("what lo was to send left by eth0:\n% x", got)
	}
}

func TestLinkLoopbackErrors(t *testing.T) {
	for _, countIDs := range []bool{false, true} {
		n := labtest.NewNamespace(t)
		l, ear := openLinkOn(t, n, "lo", &LinkConfig{countIDs: countIDs}), newStation(t, n, "lo")
		b := framed(echoPacket(t, addr("127.0.0.1"), addr("127.0.0.1"), 1, 56), make([]byte, 6), make([]byte, 6))
		from := time.Now().UnixNano()
		for round := range uint32(3) {
			must(t, n.SetDown("lo"))
			if err := l.Send(b, 1); err != unix.ENETDOWN {
				t.Errorf("down: %v, want ENETDOWN, bare", err)
			}
			must(t, n.SetUp("lo"))
			tooLong := framed(echoPacket(t, addr("127.0.0.1"), addr("127.0.0.1"), 1, 65000), make([]byte, 6), make([]byte, 6))
			must(t, n.SetMTU("lo", 1500))
			if err := l.Send(tooLong, 1); err != unix.EMSGSIZE {
				t.Errorf("too long: %v, want EMSGSIZE, bare", err)
			}
			must(t, n.SetMTU("lo", 65536))
			if err := l.Send(b[:10], 1); err == nil {
				t.Error("a piece of a frame is sent")
			}
			must(t, l.Send(b, 100+round))
			ear.answer(1)
			departures(t, l, from, 100+round)
		}
		if err := l.Rebind(lookUp(t, n, "lo")); err != nil {
			t.Errorf("bound anew: %v", err)
		}
		must(t, l.Send(b, 200))
		departures(t, l, from, 200)
	}
}

func TestLinkLoopbackAllocates(t *testing.T) {
	n := labtest.NewNamespace(t)
	l := openLinkOn(t, n, "lo", nil)
	checkAllocates(t, l, framed(echoPacket(t, addr("127.0.0.1"), addr("127.0.0.1"), 1, 56), make([]byte, 6), make([]byte, 6)))
}

// Without a link layer a frame is a packet; it comes out whole, and is stamped.
func TestLinkTun(t *testing.T) {
	for _, countIDs := range []bool{false, true} {
		n := labtest.NewNamespace(t)
		tun := labtest.AddTun(t, n, "tun0")
		must(t, n.SetUp("tun0"))
		l := openLinkOn(t, n, "tun0", &LinkConfig{countIDs: countIDs})
		must(t, tun.SetReadDeadline(time.Now().Add(patience)))
		from := time.Now().UnixNano()
		b := make([]byte, 2000)
		for i, packet := range [][]byte{
			echoPacket(t, addr("198.18.5.1"), addr("198.18.5.2"), 1, 56),
			echoPacket(t, addr("2001:db8:5::1"), addr("2001:db8:5::2"), 2, 56),
			echoPacket(t, addr("198.18.5.1"), addr("198.18.5.2"), 3, 0),
			echoPacket(t, addr("198.18.5.1"), addr("198.18.5.2"), 4, 1472),
		} {
			must(t, l.Send(packet, uint32(50+i)))
			got, err := tun.Read(b)
			if err != nil || !bytes.Equal(b[:got], packet) {
				t.Errorf("sent     % x\nreceived % x, %v", packet, b[:got], err)
			}
		}
		for what, packet := range map[string][]byte{"empty": nil, "ARP": {0, 1, 8, 0, 6, 4}, "version 7": {0x75, 0, 0, 20}} {
			if err := l.Send(packet, 1); err != unix.EINVAL {
				t.Errorf("%s: %v, want EINVAL, bare", what, err)
			}
		}
		if err := l.Send(echoPacket(t, addr("198.18.5.1"), addr("198.18.5.2"), 5, 1473), 1); err != unix.EMSGSIZE {
			t.Errorf("too long: %v, want EMSGSIZE, bare", err)
		}
		l.drain(t)
		must(t, l.Send(echoPacket(t, addr("198.18.5.1"), addr("198.18.5.2"), 6, 56), 60))
		// tun stamps departures when the packet is queued for the program
		// (tun_net_xmit).
		departures(t, l, from, 60)
	}
}

// The protocol of a packet is told even where the kernel would guess it.
func TestLinkTunProtocol(t *testing.T) {
	n := labtest.NewNamespace(t)
	labtest.AddTun(t, n, "tun0")
	must(t, n.SetUp("tun0"))
	l := openLinkOn(t, n, "tun0", nil)
	index, err := n.Index("tun0")
	must(t, err)
	var fd int
	inside(t, n, func() {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})
		must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}))
	})
	defer unix.Close(fd)
	for _, tt := range []struct {
		dst      string
		src      string
		protocol []byte
	}{{"198.18.5.2", "198.18.5.1", []byte{0x08, 0x00}}, {"2001:db8:5::2", "2001:db8:5::1", []byte{0x86, 0xdd}}} {
		must(t, l.Send(echoPacket(t, addr(tt.src), addr(tt.dst), 1, 56), 1))
		_, from, err := unix.Recvfrom(fd, make([]byte, 2000), 0)
		must(t, err)
		if got := from.(*unix.SockaddrLinklayer).Protocol; got != binary.NativeEndian.Uint16(tt.protocol) {
			t.Errorf("%s: protocol %#04x", tt.dst, got)
		}
	}
}

// How long a frame may be depends on its tags.
func TestLinkSendTagged(t *testing.T) {
	const q, ad = frame.EtherTypeVLAN, frame.EtherTypeQinQ
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	l := openLink(t, pair.Near, nil)
	ifc := lookUp(t, pair.Near, "eth0")
	far := newStation(t, pair.Far, "eth0")
	for _, tt := range []struct {
		tags []frame.VLAN
		want int // MaxPacket
	}{
		{nil, 1500},
		{[]frame.VLAN{{Type: q, TCI: 100}}, 1500},
		{[]frame.VLAN{{Type: ad, TCI: 100}}, 1496},
		{[]frame.VLAN{{Type: q, TCI: 200}, {Type: q, TCI: 100}}, 1496},
		{[]frame.VLAN{{Type: ad, TCI: 200}, {Type: q, TCI: 100}}, 1492},
	} {
		if got := ifc.MaxPacket(tt.tags...); got != tt.want {
			t.Errorf("%v: %d bytes, want %d", tt.tags, got, tt.want)
		}
		for _, more := range []int{0, 1} {
			packet := echoPacket(t, pair.NearIP, pair.FarIP, 1, tt.want-28+more)
			err := l.Send(framed(packet, pair.FarMAC, pair.NearMAC, tt.tags...), 1)
			if more == 1 {
				if err != unix.EMSGSIZE {
					t.Errorf("%v, %d bytes: %v, want EMSGSIZE", tt.tags, len(packet), err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%v, %d bytes: %v", tt.tags, len(packet), err)
				continue
			}
			// The kernel takes the outer tag off.
			if got := far.receive(); !bytes.HasSuffix(got, packet) {
				t.Errorf("%v: %d bytes come, without the packet", tt.tags, len(got))
			}
		}
	}
	if got := (&Interface{MTU: 65536, LinkType: "loopback"}).MaxPacket(frame.VLAN{Type: q}); got != 65532 {
		t.Errorf("on lo: %d", got)
	}
}

// Made anew, the interface is sent on by the open socket, and the ids go on.
func TestLinkRebind(t *testing.T) {
	for _, countIDs := range []bool{false, true} {
		pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
		n := pair.Near
		l := openLink(t, n, &LinkConfig{countIDs: countIDs})
		from := time.Now().UnixNano()
		must(t, l.Send(frameOf(pair, 60), 1))
		departures(t, l, from, 1)
		for round := range uint32(3) {
			must(t, n.DeleteLink("eth0"))
			if err := l.Send(frameOf(pair, 60), 99); err != unix.ENXIO {
				t.Errorf("gone: %v, want ENXIO, bare", err)
			}
			must(t, n.AddVeth("eth0", "peer0"))
			must(t, n.SetUp("eth0"))
			must(t, n.SetUp("peer0"))
			must(t, n.WaitUp("eth0"))
			if err := l.Send(frameOf(pair, 60), 99); err != unix.ENXIO {
				t.Errorf("made anew, but not bound: %v, want ENXIO", err)
			}
			ifc := lookUp(t, n, "eth0")
			// From a thread of another namespace, as any.
			must(t, l.Rebind(ifc))
			peer := newStation(t, n, "peer0")
			b := frameOf(pair, 60)
			must(t, l.Send(b, 10+round))
			if got := peer.receive(); !bytes.Equal(got, b) {
				t.Errorf("% x", got)
			}
			departures(t, l, from, 10+round)
			if n, _, err := unix.Recvfrom(l.FD(), make([]byte, 100), unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENETDOWN) {
				t.Errorf("bound anew, it hears: %d bytes, %v", n, err)
			}
		}
		gone := lookUp(t, n, "eth0")
		must(t, n.DeleteLink("eth0"))
		if err := l.Rebind(gone); !errors.Is(err, unix.ENODEV) || err.Error() != "bind packet socket to eth0: no such device" {
			t.Errorf("bound to what is gone: %v", err)
		}
		if err := l.Rebind(lookUp(t, n, "lo")); !errors.Is(err, ErrOtherLinkLayer) {
			t.Errorf("bound to lo: %v", err)
		}
	}
}

func TestLinkRebindTun(t *testing.T) {
	n := labtest.NewNamespace(t)
	tun := labtest.AddTun(t, n, "tun0")
	must(t, n.SetUp("tun0"))
	l := openLinkOn(t, n, "tun0", nil)
	packet := echoPacket(t, addr("198.18.5.1"), addr("198.18.5.2"), 1, 56)
	for round := range uint32(2) {
		must(t, l.Send(packet, round))
		must(t, tun.SetReadDeadline(time.Now().Add(patience)))
		b := make([]byte, 2000)
		if got, err := tun.Read(b); err != nil || !bytes.Equal(b[:got], packet) {
			t.Errorf("% x, %v", b[:got], err)
		}
		must(t, tun.Close())
		if err := l.Send(packet, 99); err != unix.ENXIO {
			t.Errorf("gone: %v, want ENXIO, bare", err)
		}
		tun = labtest.AddTun(t, n, "tun0")
		must(t, n.SetUp("tun0"))
		must(t, l.Rebind(lookUp(t, n, "tun0")))
	}
}
