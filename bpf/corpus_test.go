package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/l2/frame"
)

// A sample is a frame of the corpus, as a packet socket gets it.
type sample struct {
	name  string
	bytes []byte
	raw   bool // the interface has no link layer
	vlan  bool // the kernel took a tag out of it
	tci   uint16

	// want is what the frame was made to show. Of the mutated frames nobody says
	// so but the reference: by has the matches that judge those.
	want wants
	by   []int

	// ids are the VLAN ids that the frame bears. To a match that does not ask for
	// just them it claims to be ours where want has that it is, unless it is a
	// later fragment.
	ids   []uint16
	later bool
}

func (s sample) meta() Meta {
	meta := Meta{PacketType: packetHost, VLANPresent: s.vlan, VLANTCI: s.tci}
	if !s.raw {
		meta.PacketType = packetTypeOf(s.bytes)
	}
	return meta
}

// judgedBy tells whether a match has a say on the frame.
func (s sample) judgedBy(i int) bool { return s.by == nil || slices.Contains(s.by, i) }

// wanted is what a match is to say of a frame that was made.
func (s sample) wanted(i int) verdict {
	v := s.want[i]
	switch foreign := !slices.Equal(s.ids, ids(matches[i].m)); {
	case v == ours && foreign && s.later:
		return other
	case v == ours && foreign:
		return claimed
	default:
		return v
	}
}

// ids returns the VLAN ids that a match asks for.
func ids(m Match) []uint16 {
	return slices.DeleteFunc(slices.Clone(m.VLANs[:m.VLANCount]), func(id uint16) bool { return id == 0 })
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

// madeSamples is the part of the corpus that says what it expects.
func madeSamples() []sample {
	peerOnly := all4(claimed).but(ours, anyPeer...)
	list := []sample{
		{name: "reply", bytes: newPing(), want: all4(ours)},
		{name: "reply to broadcast address", bytes: newPing(dstMAC(frame.Broadcast)), want: all4(ours)},
		{name: "reply to group address", bytes: newPing(dstMAC(groupMAC)), want: all4(ours)},
		{name: "reply to another station", bytes: newPing(dstMAC(otherMAC)), want: by(ours, mMAC)},
		{name: "reply padded to 60", bytes: newPing(func(p *ping) { p.pad = true; p.payload = cookie[:] }), want: all4(ours)},
		{name: "reply with options", bytes: newPing(recordRoute), want: all4(ours)},
		{name: "reply with one no-op", bytes: newPing(noOp), want: all4(ours)},
		{name: "reply of cookie alone", bytes: newPing(func(p *ping) { p.payload = cookie[:] }), want: all4(ours)},
		{
			name: "reply with half a cookie", bytes: newPing(func(p *ping) { p.payload = cookie[:4] }),
			want: all4(claimed).but(ours, mCookie1, mNoCookie),
		},
		{
			// The cookie is there, but behind the datagram's end.
			name: "reply with the cookie in the padding",
			bytes: append(newPing(func(p *ping) { p.payload = nil }),
				append(cookie[:], make([]byte, 16)...)...),
			want: all4(claimed).but(ours, mNoCookie),
		},
		{
			name: "reply with half the cookie in the padding",
			bytes: append(newPing(func(p *ping) { p.payload = cookie[:4] }),
				append(cookie[4:], make([]byte, 16)...)...),
			want: all4(claimed).but(ours, mCookie1, mNoCookie),
		},
		{
			name: "reply without payload", bytes: newPing(func(p *ping) { p.payload = nil }),
			want: all4(claimed).but(ours, mNoCookie),
		},
		{
			name: "reply with another run's cookie", bytes: newPing(func(p *ping) { p.payload = bytes.Repeat([]byte{0x55}, 56) }),
			want: all4(claimed).but(ours, mNoCookie),
		},
		{
			name: "reply with the last byte of the cookie wrong", bytes: newPing(func(p *ping) { p.payload[7]++ }),
			want: all4(claimed).but(ours, mCookie7, mCookie1, mNoCookie),
		},
		{name: "reply of another peer", bytes: newPing(func(p *ping) { p.ip.SrcIP = otherIP.AsSlice() }), want: peerOnly},
		{name: "reply with code 1", bytes: newPing(icmpType(0, 1)), want: all4(claimed)},
		{name: "reply with another id", bytes: newPing(func(p *ping) { p.icmp.Id++ })},
		{name: "reply with the id's bytes swapped", bytes: newPing(func(p *ping) { p.icmp.Id = 0x0fbe })},
		{name: "reply to another host", bytes: newPing(func(p *ping) { p.ip.DstIP = otherIP.AsSlice() }), want: all4(ours).only(anyLocal...)},
		{name: "request instead of reply", bytes: newPing(icmpType(8, 0))},
		{name: "timestamp reply", bytes: newPing(icmpType(14, 0))},
		{name: "reply of zeros", bytes: newPing(zeroPing), want: by(ours, mZero)},
		{name: "reply of zeros, short", bytes: newPing(zeroPing, func(p *ping) { p.payload = p.payload[:7] }), want: by(claimed, mZero)},

		{name: "don't fragment", bytes: newPing(func(p *ping) { p.ip.Flags = layers.IPv4DontFragment }), want: all4(ours)},
		{name: "evil bit", bytes: newPing(func(p *ping) { p.ip.Flags = layers.IPv4EvilBit }), want: all4(ours)},
		{name: "UDP", bytes: newPing(func(p *ping) { p.ip.Protocol = layers.IPProtocolUDP })},
		{name: "ICMPv6 number", bytes: newPing(func(p *ping) { p.ip.Protocol = layers.IPProtocolICMPv6 })},
		{name: "ToS and TTL", bytes: newPing(func(p *ping) { p.ip.TOS, p.ip.TTL = 0xb8, 0 }), want: all4(ours)},
		{name: "EtherType IPv6", bytes: newPing(func(p *ping) { p.eth.EthernetType = layers.EthernetTypeIPv6 })},
		{name: "EtherType ARP on IPv4", bytes: newPing(func(p *ping) { p.eth.EthernetType = layers.EthernetTypeARP })},
	}
	for _, more := range [][]sample{
		errorSamples(), fragmentSamples(), samples6(), errorSamples6(), tagSamples(), rawSamples(), arpSamples(), neighborSamples(),
	} {
		list = append(list, more...)
	}
	return list
}

// errorSamples are the ICMP errors of the corpus.
func errorSamples() []sample {
	peerOnly := all4(claimed).but(ours, anyPeer...)
	short := newQuote()[:ipv4Len+icmpLen] // all that RFC 792 asks for
	quoted := func(mod ...func(*ping)) []byte { return newError(icmpTimeExceeded, newQuote(mod...)) }

	list := []sample{
		{name: "error with a whole quote", bytes: newError(icmpUnreachable, newQuote()), want: all4(ours)},
		{name: "error with a long quote and padding", bytes: append(newError(icmpUnreachable, newQuote()), make([]byte, 9)...), want: all4(ours)},
		{name: "error with options", bytes: newError(icmpUnreachable, short, recordRoute), want: all4(ours)},
		{name: "error quoting options", bytes: newError(icmpUnreachable, newQuote(recordRoute)[:60+icmpLen]), want: all4(ours)},
		{name: "error with options quoting options", bytes: newError(icmpTimeExceeded, newQuote(recordRoute)[:60+icmpLen], recordRoute), want: all4(ours)},
		{name: "error quoting options, one byte short", bytes: newError(icmpTimeExceeded, newQuote(recordRoute)[:60+icmpLen-1])},
		{name: "error with a quote one byte short", bytes: newError(icmpTimeExceeded, short[:len(short)-1])},
		{name: "error with the quote's end in the padding", bytes: append(newError(icmpTimeExceeded, short[:ipv4Len]), short[ipv4Len:]...)},
		{name: "error with the whole quote in the padding", bytes: append(newError(icmpTimeExceeded, nil), short...)},
		{name: "error without quote", bytes: newError(icmpTimeExceeded, nil)},
		{name: "error from the peer", bytes: newError(icmpUnreachable, short, func(p *ping) { p.ip.SrcIP = peerIP.AsSlice() }), want: all4(ours)},
		{name: "error from ourselves", bytes: newError(icmpUnreachable, short, func(p *ping) { p.ip.SrcIP = localIP.AsSlice() }), want: all4(ours)},
		{name: "error to another host", bytes: newError(icmpUnreachable, short, func(p *ping) { p.ip.DstIP = otherIP.AsSlice() }), want: all4(ours).only(anyLocal...)},
		{name: "error to another station", bytes: newError(icmpUnreachable, short, dstMAC(otherMAC)), want: by(ours, mMAC)},
		{name: "fragmented error", bytes: newError(icmpUnreachable, short, func(p *ping) { p.ip.Flags = layers.IPv4MoreFragments })},
		{name: "fragmentation needed", bytes: newError(icmpUnreachable, short, icmpType(3, 4), func(p *ping) { p.icmp.Seq = 1400 }), want: all4(ours)},
		{name: "error with another code", bytes: newError(icmpUnreachable, short, icmpType(3, 255)), want: all4(ours)},
		{name: "quote of another target", bytes: quoted(func(p *ping) { p.ip.DstIP = otherIP.AsSlice() }), want: peerOnly},
		{name: "quote of another source", bytes: quoted(func(p *ping) { p.ip.SrcIP = otherIP.AsSlice() }), want: all4(ours).only(anyLocal...)},
		{name: "quote of another id", bytes: quoted(func(p *ping) { p.icmp.Id-- })},
		{name: "quote with a code", bytes: quoted(icmpType(8, 1)), want: all4(claimed)},
		{name: "quote of a reply", bytes: quoted(icmpType(0, 0))},
		{name: "quote of UDP", bytes: quoted(func(p *ping) { p.ip.Protocol = layers.IPProtocolUDP })},
		{name: "quote of a first fragment", bytes: quoted(func(p *ping) { p.ip.Flags = layers.IPv4MoreFragments }), want: all4(ours)},
		{name: "quote of a later fragment", bytes: quoted(func(p *ping) { p.ip.FragOffset = 185 })},
		{name: "quote with another cookie", bytes: quoted(func(p *ping) { p.payload = make([]byte, 56) }), want: all4(ours)},
	}
	list = append(list, shortHeaders()...)
	for t := range 256 {
		var want wants
		switch t {
		case icmpUnreachable, icmpRedirect, icmpTimeExceeded, icmpParameterProblem:
			want = all4(ours)
		case icmpEchoReply:
			continue // an echo reply, whose payload is a quote
		}
		list = append(list, sample{name: fmt.Sprintf("quote in ICMP type %d", t), bytes: newError(uint8(t), short), want: want})
	}
	return list
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
		{name: "error to an address that is an ICMP header", bytes: whole, want: by(ours, mShort, mBoth, mBothFragments).with(by(claimed, mAnyLocal))},
		{name: "error with a header of 16 bytes", bytes: outer},
		{name: "error quoting a header of 16 bytes", bytes: inner},
	}
}
