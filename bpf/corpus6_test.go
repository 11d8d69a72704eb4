package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/l2/frame"
)

// A ping6 is an ICMPv6 echo reply, field by field.
type ping6 struct {
	eth      layers.Ethernet
	ip       layers.IPv6
	fragment *layers.IPv6Fragment
	icmp     layers.ICMPv6
	id, seq  uint16
	payload  []byte
	pad      bool // to Ethernet's minimum
}

func newPing6(mod ...func(*ping6)) []byte {
	p := ping6{
		eth: layers.Ethernet{SrcMAC: peerMAC.HardwareAddr(), DstMAC: localMAC.HardwareAddr(), EthernetType: layers.EthernetTypeIPv6},
		ip: layers.IPv6{
			Version: 6, TrafficClass: 0xb8, FlowLabel: 0x54321, HopLimit: 57, NextHeader: layers.IPProtocolICMPv6,
			SrcIP: peerIP6.AsSlice(), DstIP: localIP6.AsSlice(),
		},
		icmp:    layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(icmp6EchoReply, 0)},
		id:      echoID,
		seq:     3,
		payload: append(bytes.Clone(cookie[:]), "the rest of what was sent"...),
	}
	for _, f := range mod {
		f(&p)
	}
	if err := p.icmp.SetNetworkLayerForChecksum(&p.ip); err != nil {
		panic(err)
	}
	rest := binary.BigEndian.AppendUint16(nil, p.id)
	rest = append(binary.BigEndian.AppendUint16(rest, p.seq), p.payload...)
	list := []gopacket.SerializableLayer{&p.eth, &p.ip}
	if p.fragment != nil {
		list = append(list, p.fragment)
	}
	b := serialize(append(list, &p.icmp, gopacket.Payload(rest))...)
	if end := etherLen + ipv6Len + int(p.ip.Length); !p.pad && end < len(b) {
		b = b[:end]
	}
	return b
}

// newQuote6 makes the datagram that an ICMPv6 error quotes: our echo request.
func newQuote6(mod ...func(*ping6)) []byte {
	all := append([]func(*ping6){func(p *ping6) {
		p.ip.SrcIP, p.ip.DstIP = localIP6.AsSlice(), peerIP6.AsSlice()
		p.ip.HopLimit = 1
		p.icmp.TypeCode = layers.CreateICMPv6TypeCode(icmp6EchoRequest, 0)
	}}, mod...)
	return newPing6(all...)[etherLen:]
}

// newError6 makes an ICMPv6 error that quotes a datagram, or what is left of it.
func newError6(icmpType uint8, quote []byte, mod ...func(*ping6)) []byte {
	all := append([]func(*ping6){func(p *ping6) {
		p.ip.SrcIP = routerIP6.AsSlice()
		p.icmp = layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(icmpType, 0)}
		p.id, p.seq, p.payload = 0, 0, quote
	}}, mod...)
	return newPing6(all...)
}

func icmpType6(t, code uint8) func(*ping6) {
	return func(p *ping6) { p.icmp.TypeCode = layers.CreateICMPv6TypeCode(t, code) }
}

func dstMAC6(m frame.MAC) func(*ping6) {
	return func(p *ping6) { p.eth.DstMAC = net.HardwareAddr(m[:]) }
}

func src6(a netip.Addr) func(*ping6) { return func(p *ping6) { p.ip.SrcIP = a.AsSlice() } }
func dst6(a netip.Addr) func(*ping6) { return func(p *ping6) { p.ip.DstIP = a.AsSlice() } }

// fragment6 puts a fragment header before the message; offset is in units of
// eight bytes.
func fragment6(offset uint16, more bool) func(*ping6) {
	return func(p *ping6) {
		p.ip.NextHeader = layers.IPProtocolIPv6Fragment
		p.fragment = &layers.IPv6Fragment{
			NextHeader: layers.IPProtocolICMPv6, FragmentOffset: offset, MoreFragments: more, Identification: 0xfeed0001,
		}
	}
}

// extended puts an extension header of eight bytes before an IPv6 datagram's
// payload.
func extended(b []byte, header uint8) []byte {
	const at = etherLen + ipv6Len
	e := append(bytes.Clone(b[:at]), b[etherLen+6], 0, 1, 4, 0, 0, 0, 0) // PadN
	if header == protocolFragment {
		clear(e[at+1:]) // of no fragment
	}
	e = append(e, b[at:]...)
	e[etherLen+6] = header
	binary.BigEndian.PutUint16(e[etherLen+4:], uint16(len(e)-at))
	return e
}

// samples6 are the echo replies of IPv6.
func samples6() []sample {
	peerOnly := all6(claimed).but(ours, anyPeer...)
	first, later := fragment6(0, true), fragment6(181, false)
	spoil := func(b []byte, at int, v byte) []byte { b[at] = v; return b }
	const next = etherLen + 6
	return []sample{
		{name: "IPv6 reply", bytes: newPing6(), want: all6(ours)},
		{name: "IPv6 reply to a group address", bytes: newPing6(dstMAC6(nodesMAC)), want: all6(ours)},
		{name: "IPv6 reply to another station", bytes: newPing6(dstMAC6(otherMAC)), want: by(ours, mMAC6)},
		{name: "IPv6 reply, padded", bytes: append(newPing6(), make([]byte, 9)...), want: all6(ours)},
		{name: "IPv6 reply of cookie alone", bytes: newPing6(func(p *ping6) { p.payload = cookie[:] }), want: all6(ours)},
		{
			name:  "IPv6 reply with half a cookie",
			bytes: newPing6(func(p *ping6) { p.payload = cookie[:4] }), want: all6(claimed).but(ours, mCookie6),
		},
		{
			name:  "IPv6 reply with half the cookie in the padding",
			bytes: append(newPing6(func(p *ping6) { p.payload = cookie[:4] }), cookie[4:]...), want: all6(claimed).but(ours, mCookie6),
		},
		{name: "IPv6 reply without payload", bytes: newPing6(func(p *ping6) { p.payload = nil }), want: all6(claimed)},
		{name: "IPv6 reply with another run's cookie", bytes: newPing6(func(p *ping6) { p.payload = bytes.Repeat([]byte{0x55}, 56) }), want: all6(claimed)},
		{name: "IPv6 reply of another peer", bytes: newPing6(src6(otherIP6)), want: peerOnly},
		{name: "IPv6 reply to another host", bytes: newPing6(dst6(otherIP6)), want: all6(ours).only(anyLocal...)},
		{name: "IPv6 reply with code 1", bytes: newPing6(icmpType6(icmp6EchoReply, 1)), want: all6(claimed)},
		{name: "IPv6 reply with another id", bytes: newPing6(func(p *ping6) { p.id++ })},
		{name: "IPv6 request instead of reply", bytes: newPing6(icmpType6(icmp6EchoRequest, 0))},
		{name: "IPv6 with IPv4's echo reply", bytes: newPing6(icmpType6(icmpEchoReply, 0))},
		{name: "IPv6 reply with ICMP's number", bytes: spoil(newPing6(), next, protocolICMP)},
		{name: "IPv6 reply by EtherType IPv4", bytes: newPing6(func(p *ping6) { p.eth.EthernetType = layers.EthernetTypeIPv4 })},
		{name: "IPv6 reply of version 4", bytes: spoil(newPing6(), etherLen, 0x4b)},
		{name: "IPv6 reply of length 0", bytes: spoil(newPing6(), etherLen+5, 0)},
		{name: "IPv6 reply longer than the frame", bytes: spoil(newPing6(), etherLen+4, 1)},

		{name: "IPv6 reply, no fragment", bytes: newPing6(fragment6(0, false)), want: all6(ours)},
		{
			name: "IPv6 reply, no fragment, reserved bits", want: all6(ours),
			bytes: newPing6(fragment6(0, false), func(p *ping6) { p.fragment.Reserved1, p.fragment.Reserved2 = 0xff, 3 }),
		},
		{
			name:  "IPv6 reply, no fragment, of UDP",
			bytes: newPing6(fragment6(0, false), func(p *ping6) { p.fragment.NextHeader = layers.IPProtocolUDP }),
		},
		{name: "IPv6 reply, no fragment, of another peer", bytes: newPing6(fragment6(0, false), src6(otherIP6)), want: peerOnly},
		{name: "IPv6 reply behind options", bytes: extended(newPing6(), 0)},
		{name: "IPv6 reply behind destination options", bytes: extended(newPing6(), 60)},
		{name: "IPv6 reply behind two fragment headers", bytes: extended(newPing6(fragment6(0, false)), protocolFragment)},
		{
			name:  "IPv6 fragment header in the padding",
			bytes: append(spoil(spoil(newPing6()[:etherLen+ipv6Len], next, protocolFragment), etherLen+5, 0), newPing6(fragment6(7, false))[etherLen+ipv6Len:]...),
		},

		{name: "IPv6 first fragment", bytes: newPing6(first), want: all6(ours).only(fragments...)},
		{name: "IPv6 first fragment of another peer", bytes: newPing6(first, src6(otherIP6)), want: all6(claimed).only(fragments...).but(ours, fragAny...)},
		{name: "IPv6 first fragment without cookie", bytes: newPing6(first, func(p *ping6) { p.payload = nil }), want: all6(claimed).only(fragments...)},
		{name: "IPv6 first fragment with another id", bytes: newPing6(first, func(p *ping6) { p.id++ })},
		{name: "IPv6 first fragment of a request", bytes: newPing6(first, icmpType6(icmp6EchoRequest, 0))},
		{name: "IPv6 first fragment of UDP", bytes: newPing6(first, func(p *ping6) { p.fragment.NextHeader = layers.IPProtocolUDP })},
		{name: "IPv6 last fragment", bytes: newPing6(later), want: all6(ours).only(fragments...), later: true},
		{name: "IPv6 fragment in the middle", bytes: newPing6(fragment6(181, true)), want: all6(ours).only(fragments...), later: true},
		{name: "IPv6 fragment far out", bytes: newPing6(fragment6(0x1fff, false)), want: all6(ours).only(fragments...), later: true},
		{name: "IPv6 fragment with offset 1", bytes: newPing6(fragment6(1, false)), want: all6(ours).only(fragments...), later: true},
		{name: "IPv6 last fragment of another peer", bytes: newPing6(later, src6(otherIP6)), want: all6(ours).only(fragAny...), later: true},
		{name: "IPv6 last fragment to another host", bytes: newPing6(later, dst6(otherIP6)), want: by(ours, mBothFragments), later: true},
		{name: "IPv6 last fragment of UDP", bytes: newPing6(later, func(p *ping6) { p.fragment.NextHeader = layers.IPProtocolUDP })},
		{
			name: "IPv6 last fragment of nothing", want: all6(ours).only(fragments...), later: true,
			bytes: spoil(newPing6(later), etherLen+5, fragmentLen),
		},
		{name: "IPv6 last fragment, header cut by the length", bytes: spoil(newPing6(later), etherLen+5, fragmentLen-1)},
	}
}

// errorSamples6 are the ICMPv6 errors of the corpus.
func errorSamples6() []sample {
	peerOnly := all6(claimed).but(ours, anyPeer...)
	short := newQuote6()[:ipv6Len+icmpLen]
	fragment := newQuote6(fragment6(0, true))
	quoted := func(mod ...func(*ping6)) []byte { return newError6(icmp6TimeExceeded, newQuote6(mod...)) }

	list := []sample{
		{name: "IPv6 error with a whole quote", bytes: newError6(icmp6Unreachable, newQuote6()), want: all6(ours)},
		{name: "IPv6 error with a long quote and padding", bytes: append(newError6(icmp6Unreachable, newQuote6()), make([]byte, 9)...), want: all6(ours)},
		{name: "IPv6 error with a quote one byte short", bytes: newError6(icmp6TimeExceeded, short[:len(short)-1])},
		{name: "IPv6 error with the quote's end in the padding", bytes: append(newError6(icmp6TimeExceeded, short[:ipv6Len]), short[ipv6Len:]...)},
		{name: "IPv6 error with the whole quote in the padding", bytes: append(newError6(icmp6TimeExceeded, nil), short...)},
		{name: "IPv6 error without quote", bytes: newError6(icmp6TimeExceeded, nil)},
		{name: "IPv6 error from the peer", bytes: newError6(icmp6Unreachable, short, src6(peerIP6)), want: all6(ours)},
		{name: "IPv6 error to another host", bytes: newError6(icmp6Unreachable, short, dst6(otherIP6)), want: all6(ours).only(anyLocal...)},
		{name: "IPv6 error to another station", bytes: newError6(icmp6Unreachable, short, dstMAC6(otherMAC)), want: by(ours, mMAC6)},
		{name: "IPv6 packet too big", bytes: newError6(icmp6PacketTooBig, short, func(p *ping6) { p.seq = 1280 }), want: all6(ours)},
		{name: "IPv6 error with another code", bytes: newError6(icmp6Unreachable, short, icmpType6(icmp6Unreachable, 255)), want: all6(ours)},
		{name: "IPv6 error, no fragment", bytes: newError6(icmp6Unreachable, short, fragment6(0, false)), want: all6(ours)},
		{name: "IPv6 fragmented error", bytes: newError6(icmp6Unreachable, short, fragment6(0, true))},
		{name: "IPv6 quote of another target", bytes: quoted(dst6(otherIP6)), want: peerOnly},
		{name: "IPv6 quote of another source", bytes: quoted(src6(otherIP6)), want: all6(ours).only(anyLocal...)},
		{name: "IPv6 quote of another id", bytes: quoted(func(p *ping6) { p.id-- })},
		{name: "IPv6 quote with a code", bytes: quoted(icmpType6(icmp6EchoRequest, 1)), want: all6(claimed)},
		{name: "IPv6 quote of a reply", bytes: quoted(icmpType6(icmp6EchoReply, 0))},
		{name: "IPv6 quote of another cookie", bytes: quoted(func(p *ping6) { p.payload = make([]byte, 56) }), want: all6(ours)},
		{name: "IPv6 quote of version 4", bytes: newError6(icmp6TimeExceeded, append([]byte{0x45}, newQuote6()[1:]...))},
		{name: "IPv6 quote of IPv4", bytes: newError6(icmp6TimeExceeded, newQuote())},
		{name: "IPv4 quote of IPv6", bytes: newError(icmpTimeExceeded, newQuote6())},
		{name: "IPv6 quote of a first fragment", bytes: newError6(icmp6PacketTooBig, fragment), want: all6(ours)},
		{name: "IPv6 quote of a first fragment, short", bytes: newError6(icmp6PacketTooBig, fragment[:ipv6Len+fragmentLen+icmpLen]), want: all6(ours)},
		{name: "IPv6 quote of a first fragment, one byte short", bytes: newError6(icmp6PacketTooBig, fragment[:ipv6Len+fragmentLen+icmpLen-1])},
		{name: "IPv6 quote of a first fragment of another target", bytes: quoted(fragment6(0, true), dst6(otherIP6)), want: peerOnly},
		{name: "IPv6 quote of no fragment", bytes: quoted(fragment6(0, false)), want: all6(ours)},
		{name: "IPv6 quote of a later fragment", bytes: quoted(fragment6(181, false))},
		{name: "IPv6 quote of a fragment of UDP", bytes: quoted(fragment6(0, true), func(p *ping6) { p.fragment.NextHeader = layers.IPProtocolUDP })},
		{
			name: "IPv6 redirect",
			bytes: newError6(137, append(append(append(peerIP6.AsSlice(), peerIP6.AsSlice()...), 4, 12, 0, 0, 0, 0, 0, 0), newQuote6()...),
				func(p *ping6) { p.ip.HopLimit = neighborHopLimit }),
		},
	}
	for t := range 256 {
		var want wants
		switch t {
		case icmp6Unreachable, icmp6PacketTooBig, icmp6TimeExceeded, icmp6ParameterProblem:
			want = all6(ours)
		case icmp6EchoReply:
			continue // an echo reply, whose payload is a quote
		}
		list = append(list, sample{name: fmt.Sprintf("quote in ICMPv6 type %d", t), bytes: newError6(uint8(t), short), want: want})
	}
	return list
}
