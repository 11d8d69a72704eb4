package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/l2/frame"
)

// The world of the corpus: documentation addresses (RFC 5737, RFC 7042).
var (
	localMAC  = frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0x01}
	peerMAC   = frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0x02}
	otherMAC  = frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0x03}
	markerMAC = frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0xff} // of no corpus frame
	groupMAC  = frame.MAC{0x01, 0x00, 0x5e, 0x00, 0x00, 0x01}

	localIP  = netip.MustParseAddr("192.0.2.1")
	peerIP   = netip.MustParseAddr("198.51.100.7")
	otherIP  = netip.MustParseAddr("203.0.113.9")
	routerIP = netip.MustParseAddr("192.0.2.254")

	// Addresses that are an ICMP header where an IPv4 header of 16 bytes ends:
	// time exceeded, and an echo request, both with code 0.
	exceededIP = netip.AddrFrom4([4]byte{icmpTimeExceeded, 0, 0, 1})
	requestIP  = netip.AddrFrom4([4]byte{icmpEchoRequest, 0, 0, 1})

	cookie = [8]byte{0xc0, 0x0c, 0x1e, 0x99, 0x00, 0xff, 0x42, 0x07}
)

const echoID = 0xbe0f // differs when its bytes are swapped

// The PACKET_ values that no reply has.
const (
	packetOtherHost = 3
	packetOutgoing  = 4
)

// matches are what the whole corpus is judged by. The first is the one that
// most of the frames are made for. The seeds of FuzzMatch count on the order.
var matches = []struct {
	name string
	m    Match
}{
	{"echo", Match{Kind: EchoReply, Local: localIP, Peer: peerIP, ID: echoID, Cookie: cookie, CookieLen: 8}},
	{"echo of any peer", Match{Kind: EchoReply, Local: localIP, ID: echoID, Cookie: cookie, CookieLen: 8}},
	{"echo, 7 bytes of cookie", Match{Kind: EchoReply, Local: localIP, Peer: peerIP, ID: echoID, Cookie: cookie, CookieLen: 7}},
	{"echo, 1 byte of cookie", Match{Kind: EchoReply, Local: localIP, Peer: peerIP, ID: echoID, Cookie: cookie, CookieLen: 1}},
	{"echo, no cookie", Match{Kind: EchoReply, Local: localIP, Peer: peerIP, ID: echoID, Cookie: cookie}},
	{"echo, all zero", Match{Kind: EchoReply, Local: localIP, CookieLen: 8}},
	{"ARP", Match{Kind: ARPReply, Local: localIP, Peer: peerIP, MAC: localMAC}},
	{"ARP probe", Match{Kind: ARPReply, Local: netip.IPv4Unspecified(), Peer: peerIP, MAC: localMAC}},
	{"echo between ICMP headers", Match{Kind: EchoReply, Local: exceededIP, Peer: requestIP, ID: echoID}},
}

// A sample is a frame of the corpus, as a packet socket gets it.
type sample struct {
	name  string
	bytes []byte
	vlan  bool // the kernel took a tag out of it
	tci   uint16

	// want holds what the frame was made to show, by an index of matches. Of
	// the mutated frames nobody says so but the reference.
	want map[int]verdict
}

func (s sample) meta() Meta {
	return Meta{PacketType: packetTypeOf(s.bytes), VLANPresent: s.vlan, VLANTCI: s.tci}
}

// packetTypeOf is what eth_type_trans (net/ethernet/eth.c) makes of a frame's
// destination on an interface with the address localMAC.
func packetTypeOf(b []byte) uint8 {
	var dst frame.MAC
	copy(dst[:], b)
	switch {
	case dst == frame.Broadcast:
		return packetBroadcast
	case dst.IsGroup():
		return packetMulticast
	case dst == localMAC:
		return packetHost
	default:
		return packetOtherHost
	}
}

// A ping is an echo reply, field by field. Its zero values are filled in by
// newPing.
type ping struct {
	eth     layers.Ethernet
	ip      layers.IPv4
	icmp    layers.ICMPv4
	payload []byte
	pad     bool // to Ethernet's minimum
}

func newPing(mod ...func(*ping)) []byte {
	p := ping{
		eth: layers.Ethernet{SrcMAC: peerMAC.HardwareAddr(), DstMAC: localMAC.HardwareAddr(), EthernetType: layers.EthernetTypeIPv4},
		ip: layers.IPv4{
			Version: 4, IHL: 5, TTL: 57, Id: 0x1234, Protocol: layers.IPProtocolICMPv4,
			SrcIP: peerIP.AsSlice(), DstIP: localIP.AsSlice(),
		},
		icmp:    layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoReply, 0), Id: echoID, Seq: 3},
		payload: append(bytes.Clone(cookie[:]), "the rest of what was sent"...),
	}
	for _, f := range mod {
		f(&p)
	}
	return p.marshal()
}

func (p *ping) marshal() []byte {
	b := serialize(&p.eth, &p.ip, &p.icmp, gopacket.Payload(p.payload))
	if end := etherLen + int(p.ip.Length); !p.pad && end < len(b) {
		b = b[:end] // gopacket pads to 60
	}
	return b
}

func serialize(l ...gopacket.SerializableLayer) []byte {
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, l...); err != nil {
		panic(fmt.Sprintf("gopacket cannot make a frame of the corpus: %v", err))
	}
	return bytes.Clone(buf.Bytes())
}

// newQuote makes the datagram that an ICMP error quotes: our echo request.
func newQuote(mod ...func(*ping)) []byte {
	all := append([]func(*ping){func(p *ping) {
		p.ip.SrcIP, p.ip.DstIP = localIP.AsSlice(), peerIP.AsSlice()
		p.ip.TTL = 1
		p.icmp.TypeCode = layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0)
	}}, mod...)
	return newPing(all...)[etherLen:]
}

// newError makes an ICMP error that quotes a datagram, or what is left of it.
func newError(icmpType uint8, quote []byte, mod ...func(*ping)) []byte {
	all := append([]func(*ping){func(p *ping) {
		p.ip.SrcIP = routerIP.AsSlice()
		p.icmp = layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(icmpType, 0)}
		p.payload = quote
	}}, mod...)
	return newPing(all...)
}

func newARP(mod ...func(*layers.Ethernet, *layers.ARP)) []byte {
	eth := layers.Ethernet{SrcMAC: peerMAC.HardwareAddr(), DstMAC: localMAC.HardwareAddr(), EthernetType: layers.EthernetTypeARP}
	arp := layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4,
		HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPReply,
		SourceHwAddress: peerMAC[:], SourceProtAddress: peerIP.AsSlice(),
		DstHwAddress: localMAC[:], DstProtAddress: localIP.AsSlice(),
	}
	for _, f := range mod {
		f(&eth, &arp)
	}
	return serialize(&eth, &arp)[:etherLen+arpLen]
}

// The options that a record-route ping comes back with, and a lone no-op.
func recordRoute(p *ping) {
	p.ip.Options = []layers.IPv4Option{{OptionType: 7, OptionLength: 39, OptionData: make([]byte, 37)}}
}

func noOp(p *ping) { p.ip.Options = []layers.IPv4Option{{OptionType: 1}} }

func icmpType(t, code uint8) func(*ping) {
	return func(p *ping) { p.icmp.TypeCode = layers.CreateICMPv4TypeCode(t, code) }
}

func dstMAC(m frame.MAC) func(*ping) {
	return func(p *ping) { p.eth.DstMAC = net.HardwareAddr(m[:]) }
}

func zeroPing(p *ping) { p.icmp.Id, p.payload = 0, make([]byte, 16) }

// Indexes of matches.
const (
	mEcho = iota
	mAny
	mCookie7
	mCookie1
	mNoCookie
	mZero
	mARP
	mARPProbe
	mShort
)

// The groups of frames that all matches of our identifier judge alike.
func all(v verdict) map[int]verdict {
	return map[int]verdict{mEcho: v, mAny: v, mCookie7: v, mCookie1: v, mNoCookie: v, mZero: other, mShort: other, mARP: other, mARPProbe: other}
}

func except(v verdict, e map[int]verdict) map[int]verdict {
	w := all(v)
	for i, x := range e {
		w[i] = x
	}
	return w
}

// madeSamples is the part of the corpus that says what it expects.
func madeSamples() []sample {
	peerOnly := except(claimed, map[int]verdict{mAny: ours})
	list := []sample{
		{name: "reply", bytes: newPing(), want: all(ours)},
		{name: "reply to broadcast address", bytes: newPing(dstMAC(frame.Broadcast)), want: all(ours)},
		{name: "reply to group address", bytes: newPing(dstMAC(groupMAC)), want: all(ours)},
		{name: "reply to another station", bytes: newPing(dstMAC(otherMAC)), want: all(other)},
		{name: "reply padded to 60", bytes: newPing(func(p *ping) { p.pad = true; p.payload = cookie[:] }), want: all(ours)},
		{name: "reply with options", bytes: newPing(recordRoute), want: all(ours)},
		{name: "reply with one no-op", bytes: newPing(noOp), want: all(ours)},
		{name: "reply of cookie alone", bytes: newPing(func(p *ping) { p.payload = cookie[:] }), want: all(ours)},
		{
			name: "reply with half a cookie", bytes: newPing(func(p *ping) { p.payload = cookie[:4] }),
			want: except(claimed, map[int]verdict{mCookie1: ours, mNoCookie: ours}),
		},
		{
			// The cookie is there, but behind the datagram's end.
			name: "reply with the cookie in the padding",
			bytes: append(newPing(func(p *ping) { p.payload = nil }),
				append(cookie[:], make([]byte, 16)...)...),
			want: except(claimed, map[int]verdict{mNoCookie: ours}),
		},
		{
			name: "reply with half the cookie in the padding",
			bytes: append(newPing(func(p *ping) { p.payload = cookie[:4] }),
				append(cookie[4:], make([]byte, 16)...)...),
			want: except(claimed, map[int]verdict{mCookie1: ours, mNoCookie: ours}),
		},
		{
			name: "reply without payload", bytes: newPing(func(p *ping) { p.payload = nil }),
			want: except(claimed, map[int]verdict{mNoCookie: ours}),
		},
		{
			name: "reply with another run's cookie", bytes: newPing(func(p *ping) { p.payload = bytes.Repeat([]byte{0x55}, 56) }),
			want: except(claimed, map[int]verdict{mNoCookie: ours}),
		},
		{
			name: "reply with the last byte of the cookie wrong", bytes: newPing(func(p *ping) { p.payload[7]++ }),
			want: except(ours, map[int]verdict{mEcho: claimed, mAny: claimed}),
		},
		{name: "reply of another peer", bytes: newPing(func(p *ping) { p.ip.SrcIP = otherIP.AsSlice() }), want: peerOnly},
		{name: "reply with code 1", bytes: newPing(icmpType(0, 1)), want: all(claimed)},
		{name: "reply with another id", bytes: newPing(func(p *ping) { p.icmp.Id++ }), want: all(other)},
		{name: "reply with the id's bytes swapped", bytes: newPing(func(p *ping) { p.icmp.Id = 0x0fbe }), want: all(other)},
		{name: "reply to another host", bytes: newPing(func(p *ping) { p.ip.DstIP = otherIP.AsSlice() }), want: all(other)},
		{name: "request instead of reply", bytes: newPing(icmpType(8, 0)), want: all(other)},
		{name: "timestamp reply", bytes: newPing(icmpType(14, 0)), want: all(other)},
		{name: "reply of zeros", bytes: newPing(zeroPing), want: map[int]verdict{mEcho: other, mZero: ours}},
		{name: "reply of zeros, short", bytes: newPing(zeroPing, func(p *ping) { p.payload = p.payload[:7] }), want: map[int]verdict{mEcho: other, mZero: claimed}},

		{name: "reply with a VLAN tag", bytes: newPing(), vlan: true, tci: 5, want: all(claimed)},
		{name: "reply with VLAN 0", bytes: newPing(), vlan: true, tci: 0, want: all(claimed)},
		{name: "reply with a priority tag", bytes: newPing(), vlan: true, tci: 7 << 13, want: all(claimed)},
		{name: "broadcast reply with a VLAN tag", bytes: newPing(dstMAC(frame.Broadcast)), vlan: true, tci: 4094, want: all(claimed)},
		{name: "reply to another station with a VLAN tag", bytes: newPing(dstMAC(otherMAC)), vlan: true, tci: 5, want: all(other)},
		{name: "reply of another id with a VLAN tag", bytes: newPing(func(p *ping) { p.icmp.Id++ }), vlan: true, tci: 5, want: all(other)},
		{name: "reply below two VLAN tags", bytes: insertTag(newPing(), 7), vlan: true, tci: 5, want: all(other)},

		{name: "first fragment", bytes: newPing(func(p *ping) { p.ip.Flags = layers.IPv4MoreFragments }), want: all(other)},
		{name: "last fragment", bytes: newPing(func(p *ping) { p.ip.FragOffset = 1 }), want: all(other)},
		{name: "fragment far out", bytes: newPing(func(p *ping) { p.ip.FragOffset = 0x1fff }), want: all(other)},
		{name: "don't fragment", bytes: newPing(func(p *ping) { p.ip.Flags = layers.IPv4DontFragment }), want: all(ours)},
		{name: "evil bit", bytes: newPing(func(p *ping) { p.ip.Flags = layers.IPv4EvilBit }), want: all(ours)},
		{name: "UDP", bytes: newPing(func(p *ping) { p.ip.Protocol = layers.IPProtocolUDP }), want: all(other)},
		{name: "ICMPv6 number", bytes: newPing(func(p *ping) { p.ip.Protocol = layers.IPProtocolICMPv6 }), want: all(other)},
		{name: "ToS and TTL", bytes: newPing(func(p *ping) { p.ip.TOS, p.ip.TTL = 0xb8, 0 }), want: all(ours)},
		{name: "EtherType IPv6", bytes: newPing(func(p *ping) { p.eth.EthernetType = layers.EthernetTypeIPv6 }), want: all(other)},
		{name: "EtherType ARP on IPv4", bytes: newPing(func(p *ping) { p.eth.EthernetType = layers.EthernetTypeARP }), want: all(other)},

		{name: "ARP reply", bytes: newARP(), want: map[int]verdict{mEcho: other, mARP: ours, mARPProbe: other}},
		{name: "ARP reply, padded", bytes: append(newARP(), make([]byte, 18)...), want: map[int]verdict{mARP: ours}},
		{name: "ARP reply by broadcast", bytes: newARP(func(e *layers.Ethernet, _ *layers.ARP) { e.DstMAC = frame.Broadcast.HardwareAddr() }), want: map[int]verdict{mARP: ours}},
		{name: "ARP reply to another station", bytes: newARP(func(e *layers.Ethernet, _ *layers.ARP) { e.DstMAC = otherMAC.HardwareAddr() }), want: map[int]verdict{mARP: other}},
		{name: "ARP reply with a VLAN tag", bytes: newARP(), vlan: true, tci: 5, want: map[int]verdict{mARP: other}},
		{name: "ARP reply with VLAN 0", bytes: newARP(), vlan: true, want: map[int]verdict{mARP: other}},
		{name: "ARP request", bytes: newARP(func(_ *layers.Ethernet, a *layers.ARP) { a.Operation = layers.ARPRequest }), want: map[int]verdict{mARP: other}},
		{name: "ARP reply of another", bytes: newARP(func(_ *layers.Ethernet, a *layers.ARP) { a.SourceProtAddress = otherIP.AsSlice() }), want: map[int]verdict{mARP: other}},
		{name: "ARP reply for another", bytes: newARP(func(_ *layers.Ethernet, a *layers.ARP) { a.DstProtAddress = otherIP.AsSlice() }), want: map[int]verdict{mARP: other}},
		{name: "ARP reply to another MAC", bytes: newARP(func(_ *layers.Ethernet, a *layers.ARP) { a.DstHwAddress = otherMAC[:] }), want: map[int]verdict{mARP: other}},
		{name: "ARP reply from another MAC", bytes: newARP(func(_ *layers.Ethernet, a *layers.ARP) { a.SourceHwAddress = otherMAC[:] }), want: map[int]verdict{mARP: ours}},
		{name: "ARP reply to 0.0.0.0", bytes: newARP(func(_ *layers.Ethernet, a *layers.ARP) { a.DstProtAddress = make([]byte, 4) }), want: map[int]verdict{mARP: other, mARPProbe: ours}},
		{name: "ARP announcement", bytes: newARP(func(_ *layers.Ethernet, a *layers.ARP) { a.DstProtAddress = a.SourceProtAddress }), want: map[int]verdict{mARP: other}},
		{name: "IEEE 802 ARP", bytes: newARP(func(_ *layers.Ethernet, a *layers.ARP) { a.AddrType = 6 }), want: map[int]verdict{mARP: other}},
		{name: "ARP with EtherType RARP", bytes: newARP(func(e *layers.Ethernet, _ *layers.ARP) { e.EthernetType = 0x8035 }), want: map[int]verdict{mARP: other}},
	}
	return append(list, errorSamples()...)
}

// errorSamples are the ICMP errors of the corpus.
func errorSamples() []sample {
	peerOnly := except(claimed, map[int]verdict{mAny: ours})
	short := newQuote()[:ipv4Len+icmpLen] // all that RFC 792 asks for
	quoted := func(mod ...func(*ping)) []byte { return newError(icmpTimeExceeded, newQuote(mod...)) }

	list := []sample{
		{name: "error with a whole quote", bytes: newError(icmpUnreachable, newQuote()), want: all(ours)},
		{name: "error with a long quote and padding", bytes: append(newError(icmpUnreachable, newQuote()), make([]byte, 9)...), want: all(ours)},
		{name: "error with options", bytes: newError(icmpUnreachable, short, recordRoute), want: all(ours)},
		{name: "error quoting options", bytes: newError(icmpUnreachable, newQuote(recordRoute)[:60+icmpLen]), want: all(ours)},
		{name: "error with options quoting options", bytes: newError(icmpTimeExceeded, newQuote(recordRoute)[:60+icmpLen], recordRoute), want: all(ours)},
		{name: "error quoting options, one byte short", bytes: newError(icmpTimeExceeded, newQuote(recordRoute)[:60+icmpLen-1]), want: all(other)},
		{name: "error with a quote one byte short", bytes: newError(icmpTimeExceeded, short[:len(short)-1]), want: all(other)},
		{name: "error with the quote's end in the padding", bytes: append(newError(icmpTimeExceeded, short[:ipv4Len]), short[ipv4Len:]...), want: all(other)},
		{name: "error with the whole quote in the padding", bytes: append(newError(icmpTimeExceeded, nil), short...), want: all(other)},
		{name: "error without quote", bytes: newError(icmpTimeExceeded, nil), want: all(other)},
		{name: "error from the peer", bytes: newError(icmpUnreachable, short, func(p *ping) { p.ip.SrcIP = peerIP.AsSlice() }), want: all(ours)},
		{name: "error from ourselves", bytes: newError(icmpUnreachable, short, func(p *ping) { p.ip.SrcIP = localIP.AsSlice() }), want: all(ours)},
		{name: "error to another host", bytes: newError(icmpUnreachable, short, func(p *ping) { p.ip.DstIP = otherIP.AsSlice() }), want: all(other)},
		{name: "error to another station", bytes: newError(icmpUnreachable, short, dstMAC(otherMAC)), want: all(other)},
		{name: "error with a VLAN tag", bytes: newError(icmpUnreachable, short), vlan: true, tci: 5, want: all(claimed)},
		{name: "error of another peer with a VLAN tag", bytes: quoted(func(p *ping) { p.ip.DstIP = otherIP.AsSlice() }), vlan: true, tci: 5, want: all(claimed)},
		{name: "fragmented error", bytes: newError(icmpUnreachable, short, func(p *ping) { p.ip.Flags = layers.IPv4MoreFragments }), want: all(other)},
		{name: "fragmentation needed", bytes: newError(icmpUnreachable, short, icmpType(3, 4), func(p *ping) { p.icmp.Seq = 1400 }), want: all(ours)},
		{name: "error with another code", bytes: newError(icmpUnreachable, short, icmpType(3, 255)), want: all(ours)},
		{name: "quote of another target", bytes: quoted(func(p *ping) { p.ip.DstIP = otherIP.AsSlice() }), want: peerOnly},
		{name: "quote of another source", bytes: quoted(func(p *ping) { p.ip.SrcIP = otherIP.AsSlice() }), want: all(other)},
		{name: "quote of another id", bytes: quoted(func(p *ping) { p.icmp.Id-- }), want: all(other)},
		{name: "quote with a code", bytes: quoted(icmpType(8, 1)), want: all(claimed)},
		{name: "quote of a reply", bytes: quoted(icmpType(0, 0)), want: all(other)},
		{name: "quote of UDP", bytes: quoted(func(p *ping) { p.ip.Protocol = layers.IPProtocolUDP }), want: all(other)},
		{name: "quote of a first fragment", bytes: quoted(func(p *ping) { p.ip.Flags = layers.IPv4MoreFragments }), want: all(ours)},
		{name: "quote of a later fragment", bytes: quoted(func(p *ping) { p.ip.FragOffset = 185 }), want: all(other)},
		{name: "quote with another cookie", bytes: quoted(func(p *ping) { p.payload = make([]byte, 56) }), want: all(ours)},
	}
	list = append(list, shortHeaders()...)
	for t := range 256 {
		want := all(other)
		switch t {
		case icmpUnreachable, icmpRedirect, icmpTimeExceeded, icmpParameterProblem:
			want = all(ours)
		case icmpEchoReply:
			continue // an echo reply, whose payload is a quote
		}
		list = append(list, sample{name: fmt.Sprintf("quote in ICMP type %d", t), bytes: newError(uint8(t), short), want: want})
	}
	return list
}

// acceptable makes a frame that a Match accepts.
func acceptable(m Match) []byte {
	switch {
	case m.Kind == ARPReply:
		return newARP(func(_ *layers.Ethernet, a *layers.ARP) { a.DstProtAddress = m.Local.AsSlice() })
	case m.ID == 0:
		return newPing(zeroPing)
	case m.Peer.IsValid():
		return newPing(func(p *ping) { p.ip.SrcIP, p.ip.DstIP = m.Peer.AsSlice(), m.Local.AsSlice() })
	default:
		return newPing()
	}
}

// shortHeaders are ICMP errors with an IPv4 header of less than 20 bytes, which
// there is not. They are well made otherwise, if its addresses are taken for the
// ICMP header that would follow.
func shortHeaders() []sample {
	toUs := func(p *ping) { p.ip.DstIP = exceededIP.AsSlice() }
	quote := newQuote(func(p *ping) {
		p.ip.SrcIP, p.ip.DstIP = exceededIP.AsSlice(), requestIP.AsSlice()
		p.payload = nil
	})
	whole := newError(icmpTimeExceeded, quote, toUs)

	// The destination becomes the first half of the ICMP header.
	outer := append(bytes.Clone(whole[:etherLen+ipv4Len]), whole[etherLen+ipv4Len+4:]...)
	outer[etherLen] = 0x44
	binary.BigEndian.PutUint16(outer[etherLen+2:], uint16(len(outer)-etherLen))

	at := etherLen + ipv4Len + icmpLen + ipv4Len // the quoted request
	inner := append(bytes.Clone(whole[:at]), whole[at+4:]...)
	inner[at-ipv4Len] = 0x44
	binary.BigEndian.PutUint16(inner[etherLen+2:], uint16(len(inner)-etherLen))

	return []sample{
		{name: "error to an address that is an ICMP header", bytes: whole, want: map[int]verdict{mShort: ours, mEcho: other}},
		{name: "error with a header of 16 bytes", bytes: outer, want: map[int]verdict{mShort: other}},
		{name: "error quoting a header of 16 bytes", bytes: inner, want: map[int]verdict{mShort: other}},
	}
}

// insertTag puts an 802.1Q tag into a frame.
func insertTag(b []byte, tci uint16) []byte {
	tagged := bytes.Clone(b[:12])
	tagged = binary.BigEndian.AppendUint16(tagged, 0x8100)
	tagged = binary.BigEndian.AppendUint16(tagged, tci)
	return append(tagged, b[12:]...)
}

// mutatedSamples spoils some good frames in every way there is: each bit of what
// the filters look at, each length of the frame and of the datagram in it, and
// each length of a header.
func mutatedSamples() []sample {
	short := newQuote()[:ipv4Len+icmpLen]
	bases := []struct {
		name  string
		bytes []byte
		quote int // offset of the quoted header, 0 if there is none
		bits  int // that many bytes are flipped bit by bit
	}{
		{"reply", newPing(), 0, etherLen + ipv4Len + icmpLen + len(cookie)},
		{"reply with a no-op", newPing(noOp), 0, etherLen + ipv4Len + 4 + icmpLen + len(cookie)},
		{"error", newError(icmpTimeExceeded, short), etherLen + ipv4Len + icmpLen, etherLen + 2*(ipv4Len+icmpLen)},
		{
			"error with no-ops", newError(icmpUnreachable, newQuote(noOp)[:ipv4Len+4+icmpLen], noOp),
			etherLen + ipv4Len + 4 + icmpLen, etherLen + 2*(ipv4Len+4+icmpLen),
		},
		{"ARP reply", newARP(), 0, etherLen + arpLen},
	}

	var list []sample
	add := func(b []byte, format string, args ...any) {
		list = append(list, sample{name: fmt.Sprintf(format, args...), bytes: b})
	}
	for _, base := range bases {
		for i := range base.bits {
			for bit := range 8 {
				b := bytes.Clone(base.bytes)
				b[i] ^= 1 << bit
				add(b, "%s, byte %d bit %d flipped", base.name, i, bit)
			}
		}
		for n := range base.bytes {
			add(bytes.Clone(base.bytes[:n]), "%s, cut to %d", base.name, n)
		}
		if base.name == "ARP reply" {
			continue
		}

		padded := append(bytes.Clone(base.bytes), make([]byte, 24)...)
		for n := range len(padded) {
			b := bytes.Clone(padded)
			binary.BigEndian.PutUint16(b[etherLen+2:], uint16(n))
			add(b, "%s, datagram of %d", base.name, n)
		}
		for _, off := range []int{etherLen, base.quote} {
			for v := range 256 {
				if off == 0 {
					break
				}
				b := bytes.Clone(padded)
				b[off] = byte(v)
				add(b, "%s, version and IHL at %d are %#02x", base.name, off, v)
			}
		}
		for _, v := range []uint16{0, 19, 20, 28, 0x7fff, 0xffff} {
			if base.quote == 0 {
				break
			}
			b := bytes.Clone(base.bytes)
			binary.BigEndian.PutUint16(b[base.quote+2:], v)
			add(b, "%s, quoted length %d", base.name, v)
		}
		for n := range 256 {
			b := bytes.Clone(base.bytes)
			b[etherLen+9] = byte(n)
			add(b, "%s, protocol %d", base.name, n)
		}
	}
	return list
}

// corpus returns all frames, each but once.
func corpus(tb testing.TB) []sample {
	tb.Helper()
	type key struct {
		bytes string
		vlan  bool
		tci   uint16
	}
	seen := make(map[key]bool)
	var list []sample
	for _, s := range append(madeSamples(), mutatedSamples()...) {
		k := key{string(s.bytes), s.vlan, s.tci}
		if seen[k] && s.want == nil {
			continue
		}
		seen[k] = true
		list = append(list, s)
	}
	const least = 200
	if len(list) < least {
		tb.Fatalf("corpus of %d frames, want at least %d", len(list), least)
	}
	return list
}
