package frame_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/l2/frame"
)

var (
	linkLocal = netip.MustParseAddr("fe80::5eff:fe00:5302")
	allNodes  = netip.MustParseAddr("ff02::1")
)

// messages are neighbor messages of every kind.
func messages() []frame.NDP {
	return []frame.NDP{
		{Type: frame.ICMPv6NeighborSolicitation, Src: src6, Dst: frame.SolicitedNode(dst6), Target: dst6, MAC: srcMAC},
		{Type: frame.ICMPv6NeighborSolicitation, Src: linkLocal, Dst: dst6, Target: dst6, MAC: srcMAC},
		{Type: frame.ICMPv6NeighborSolicitation, Src: src6, Dst: dst6, Target: dst6},
		{Type: frame.ICMPv6NeighborSolicitation, Src: netip.IPv6Unspecified(), Dst: frame.SolicitedNode(dst6), Target: dst6},
		{Type: frame.ICMPv6NeighborAdvertisement, Src: dst6, Dst: src6, Target: dst6, Solicited: true, Override: true, MAC: dstMAC},
		{Type: frame.ICMPv6NeighborAdvertisement, Src: linkLocal, Dst: src6, Target: dst6, Router: true, Solicited: true, MAC: dstMAC},
		{Type: frame.ICMPv6NeighborAdvertisement, Src: dst6, Dst: src6, Target: dst6, Solicited: true},
		{Type: frame.ICMPv6NeighborAdvertisement, Src: dst6, Dst: allNodes, Target: dst6, Override: true, MAC: dstMAC},
	}
}

func marshalNDP(t testing.TB, d frame.NDP, h frame.Header) []byte {
	t.Helper()
	b, err := d.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func packetNDP(t testing.TB, d frame.NDP) []byte {
	return marshalNDP(t, d, frame.Header{NoLink: true})
}

// gopacketNDP makes the packet of a message.
func gopacketNDP(t testing.TB, d frame.NDP, options ...layers.ICMPv6Option) []byte {
	t.Helper()
	ip := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolICMPv6, HopLimit: 255, SrcIP: d.Src.AsSlice(), DstIP: d.Dst.AsSlice()}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(uint8(d.Type), 0)}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	if d.Type == frame.ICMPv6NeighborSolicitation {
		return serialize(t, ip, icmp, &layers.ICMPv6NeighborSolicitation{TargetAddress: d.Target.AsSlice(), Options: options})
	}
	var flags uint8
	if d.Router {
		flags |= 0x80
	}
	if d.Solicited {
		flags |= 0x40
	}
	if d.Override {
		flags |= 0x20
	}
	return serialize(t, ip, icmp, &layers.ICMPv6NeighborAdvertisement{Flags: flags, TargetAddress: d.Target.AsSlice(), Options: options})
}

// macOption is the link-layer address option that a message bears.
func macOption(d frame.NDP) layers.ICMPv6Option {
	typ := layers.ICMPv6OptTargetAddress
	if d.Type == frame.ICMPv6NeighborSolicitation {
		typ = layers.ICMPv6OptSourceAddress
	}
	return layers.ICMPv6Option{Type: typ, Data: d.MAC[:]}
}

func TestNDP(t *testing.T) {
	for _, d := range messages() {
		var options []layers.ICMPv6Option
		if !d.MAC.IsZero() {
			options = append(options, macOption(d))
		}
		want := gopacketNDP(t, d, options...)
		got := packetNDP(t, d)
		if !bytes.Equal(got, want) {
			t.Errorf("%+v:\n% x, gopacket\n% x", d, got, want)
		}
		back := frame.NDP{Router: true, Solicited: true, Override: true, MAC: frame.Broadcast} // left over
		if err := back.Decode(got); err != nil || back != d {
			t.Errorf("%v, %+v, want %+v", err, back, d)
		}
		if err := back.Decode(append(bytes.Clone(got), make([]byte, 20)...)); err != nil || back != d {
			t.Errorf("padded: %v, %+v, want %+v", err, back, d)
		}

		// Options of other types, ahead of it and behind, change nothing.
		nonce := layers.ICMPv6Option{Type: 14, Data: []byte("nonce1")}
		long := layers.ICMPv6Option{Type: 200, Data: make([]byte, 22)}
		all := append(append([]layers.ICMPv6Option{nonce, long}, options...), nonce)
		if err := back.Decode(gopacketNDP(t, d, all...)); err != nil || back != d {
			t.Errorf("with other options: %v, %+v, want %+v", err, back, d)
		}

		for n := range got {
			if err := back.Decode(got[:n]); !errors.Is(err, frame.ErrTruncated) {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
	}
}

// In Ethernet, with and without tags.
func TestNDPFrame(t *testing.T) {
	group := frame.SolicitedNode(dst6)
	d := frame.NDP{Type: frame.ICMPv6NeighborSolicitation, Src: src6, Dst: group, Target: dst6, MAC: srcMAC}
	for _, vlans := range tagSets {
		b := marshalNDP(t, d, frame.Header{Dst: frame.MulticastMAC(group), Src: srcMAC, VLANs: vlans})
		if want := tagged(t, layers.EthernetTypeIPv6, packetNDP(t, d), vlans...); !bytes.Equal(b[6:], want[6:]) ||
			!bytes.Equal(b[:6], []byte{0x33, 0x33, 0xff, 0, 0, 1}) {
			t.Errorf("%v:\n% x, want\n% x", vlans, b, want)
		}
		p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.DecodeOptions{})
		if e := p.ErrorLayer(); e != nil || p.Metadata().Truncated {
			t.Fatalf("gopacket: %v, truncated: %v", e, p.Metadata().Truncated)
		}
		verify(t, p)
		if s, ok := p.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation); !ok || !s.TargetAddress.Equal(dst6.AsSlice()) {
			t.Errorf("gopacket: %+v", s)
		}
	}
	d.Type, d.Dst, d.MAC = frame.ICMPv6NeighborAdvertisement, allNodes, frame.MAC{}
	if b := marshalNDP(t, d, frame.Header{}); len(b) != 14+40+24 {
		t.Errorf("a frame of %d bytes", len(b))
	}
	if b, err := d.Marshal(frame.Header{VLANs: []frame.VLAN{tag(4095)}}); err == nil || b != nil {
		t.Errorf("in VLAN 4095: % x, %v", b, err)
	}
}

// sum brings the checksum of a changed packet up to date, so that a test is of the
// change alone.
func sum(b []byte) []byte {
	b = bytes.Clone(b)
	binary.BigEndian.PutUint16(b[42:], 0)
	src, dst := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	n := 40 + int(binary.BigEndian.Uint16(b[4:]))
	binary.BigEndian.PutUint16(b[42:], naive6(b[40:n], src, dst))
	return b
}

// The checks of RFC 4861, sections 7.1.1 and 7.1.2, and what Linux checks.
func TestNDPRules(t *testing.T) {
	all := messages()
	solicitation, advertisement, probe := all[0], all[4], all[3]
	ns, na, dad := packetNDP(t, solicitation), packetNDP(t, advertisement), packetNDP(t, probe)
	atomic := append(bytes.Clone(na[:40]), 58, 0, 0, 0, 0, 0, 0, 1)
	atomic = append(atomic, na[40:]...)
	atomic[5], atomic[6] = atomic[5]+8, 44
	for name, b := range map[string][]byte{
		"hop limit 254":                             change(ns, 7, 254),
		"hop limit 0":                               change(na, 7, 0),
		"wrong checksum":                            change(ns, 43, ns[43]^1),
		"another message":                           sum(change(ns, 40, 128)),
		"router advertisement":                      sum(change(na, 40, 134)),
		"redirect":                                  sum(change(na, 40, 137)),
		"code 1":                                    sum(change(ns, 41, 1)),
		"code 255":                                  sum(change(na, 41, 255)),
		"another protocol":                          change(ns, 6, 17),
		"in a fragment header (RFC 6980)":           atomic,
		"message of 23 bytes":                       sum(change(ns, 4, 0, 23)),
		"message of 0 bytes":                        change(ns, 4, 0, 0),
		"target is a group":                         sum(change(ns, 48, 0xff)),
		"target of an advertisement is a group":     sum(change(na, 48, 0xff)),
		"source is a group":                         sum(change(ns, 8, 0xff)),
		"option of length 0":                        sum(change(ns, 65, 0)),
		"option longer than the message":            sum(change(ns, 65, 2)),
		"option of length 255":                      sum(change(ns, 65, 255)),
		"option of length 33, which is 1 modulo 32": sum(append(change(change(ns, 65, 33), 4, 1, 32), make([]byte, 256)...)),
		"a byte behind the options":                 sum(append(change(ns, 5, 33), 0)),
		"address of two units":                      gopacketNDP(t, advertisement, layers.ICMPv6Option{Type: layers.ICMPv6OptTargetAddress, Data: make([]byte, 14)}),
		"DAD to a host":                             sum(change(dad, 24, dst6.AsSlice()...)),
		"DAD to another group":                      sum(change(dad, 24, allNodes.AsSlice()...)),
		"DAD with a link-layer address":             gopacketNDP(t, probe, layers.ICMPv6Option{Type: layers.ICMPv6OptSourceAddress, Data: make([]byte, 6)}),
		"solicited, and to a group":                 sum(change(na, 24, allNodes.AsSlice()...)),
		"IPv4":                                      replyPacket(t),
		"version 0":                                 change(ns, 0, 0),
	} {
		var d frame.NDP
		if err := d.Decode(b); !errors.Is(err, frame.ErrMalformed) {
			t.Errorf("%s: %v, %+v", name, err, d)
		}
	}

	for name, b := range map[string][]byte{
		"any bits that are reserved":           sum(change(ns, 44, 0xff, 0xff, 0xff, 0xff)),
		"a traffic class and a flow label":     change(ns, 0, 0x6f, 0xff, 0xff, 0xff),
		"another option first of length 255":   sum(append(append(change(ns[:64], 4, 2048>>8, 24), append([]byte{9, 255}, make([]byte, 255*8-2)...)...), ns[64:]...)),
		"another address behind the first":     sum(append(change(ns, 5, 40), 1, 1, 0, 0, 0, 0, 0, 0)),
		"a target's address in a solicitation": sum(append(append(change(ns[:64], 5, 40), 2, 1, 0, 0, 0, 0, 0, 0), ns[64:]...)),
	} {
		var d frame.NDP
		if strings.Contains(name, "length 255") {
			binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
			b = sum(b)
		}
		if err := d.Decode(b); err != nil || d != solicitation {
			t.Errorf("%s: %v, %+v, want %+v", name, err, d, solicitation)
		}
	}
}

func TestNDPMarshalErrors(t *testing.T) {
	all := messages()
	for _, tt := range []struct {
		want   string
		of     frame.NDP
		change func(*frame.NDP)
	}{
		{"not IPv6", all[0], func(d *frame.NDP) { d.Src = src }},
		{"not IPv6", all[0], func(d *frame.NDP) { d.Dst = dst }},
		{"not IPv6", all[0], func(d *frame.NDP) { d.Target = netip.Addr{} }},
		{"not IPv6", all[0], func(d *frame.NDP) { d.Target = netip.MustParseAddr("::ffff:198.51.100.1") }},
		{"neither solicitation nor advertisement", all[0], func(d *frame.NDP) { d.Type = frame.ICMPv6Redirect }},
		{"neither solicitation nor advertisement", all[0], func(d *frame.NDP) { d.Type = 0 }},
		{"the source is a multicast group", all[0], func(d *frame.NDP) { d.Src = allNodes }},
		{"the target is a multicast group", all[4], func(d *frame.NDP) { d.Target = allNodes }},
		{"solicited, and to a multicast group", all[4], func(d *frame.NDP) { d.Dst = allNodes }},
		{"without a source, and not to a solicited-node group", all[3], func(d *frame.NDP) { d.Dst = dst6 }},
		{"without a source, but with its link-layer address", all[3], func(d *frame.NDP) { d.MAC = srcMAC }},
	} {
		d := tt.of
		tt.change(&d)
		b, err := d.Marshal(frame.Header{})
		if err == nil || !strings.HasSuffix(err.Error(), ": "+tt.want) || b != nil {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
	// Zones are the host's own affair.
	d := all[3]
	d.Dst = d.Dst.WithZone("eth0")
	if b, err := d.Marshal(frame.Header{NoLink: true}); err != nil || !bytes.Equal(b, packetNDP(t, all[3])) {
		t.Errorf("with a zone: %v, % x", err, b)
	}
}

func FuzzNDPDecode(f *testing.F) {
	for _, d := range messages() {
		f.Add(packetNDP(f, d), false)
		f.Add(gopacketNDP(f, d, layers.ICMPv6Option{Type: 14, Data: []byte("nonce1")}, macOption(d)), true)
	}
	f.Add(replyPacket6(f), true)
	f.Fuzz(func(t *testing.T, b []byte, fix bool) {
		if fix && len(b) >= 44 && len(b) >= 40+int(binary.BigEndian.Uint16(b[4:])) && binary.BigEndian.Uint16(b[4:]) >= 4 {
			b = sum(b) // or no change would get past the checksum
		}
		var d frame.NDP
		if err := d.Decode(b); err != nil {
			if !errors.Is(err, frame.ErrTruncated) && !errors.Is(err, frame.ErrMalformed) {
				t.Errorf("error %v", err)
			}
			return
		}
		length := int(binary.BigEndian.Uint16(b[4:]))
		if b[7] != 255 || b[6] != 58 || b[41] != 0 || length < 24 || naive6(b[40:40+length], d.Src, d.Dst) != 0 || d.Target.IsMulticast() {
			t.Fatalf("% x is taken: %+v", b, d)
		}
		p := gopacket.NewPacket(b[:40+length], layers.LayerTypeIPv6, gopacket.DecodeOptions{})
		if d.Type == frame.ICMPv6NeighborSolicitation {
			l, ok := p.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation)
			if !ok || !l.TargetAddress.Equal(d.Target.AsSlice()) {
				t.Errorf("gopacket: %v\nhere %+v", p, d)
			}
		} else {
			l, ok := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
			if !ok || l.Router() != d.Router || l.Solicited() != d.Solicited || l.Override() != d.Override || !l.TargetAddress.Equal(d.Target.AsSlice()) {
				t.Errorf("gopacket: %v\nhere %+v", p, d)
			}
		}
		// What was taken is what Marshal makes, less the other options; a
		// mapped address it refuses to send.
		if d.Src.Is4In6() || d.Dst.Is4In6() || d.Target.Is4In6() {
			return
		}
		var back frame.NDP
		if err := back.Decode(packetNDP(t, d)); err != nil || back != d {
			t.Errorf("%+v becomes %+v, %v", d, back, err)
		}
	})
}
