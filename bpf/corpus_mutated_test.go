package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/layers"
)

// A base is a good frame that is spoilt in every way there is.
type base struct {
	name  string
	bytes []byte
	link  int   // where the packet begins
	quote int   // where the quoted header begins, 0 if there is none
	bits  int   // that many bytes are flipped bit by bit
	by    []int // the matches that judge what becomes of it
	all   bool  // every first byte and every protocol is tried, not just a few
	vlan  bool
	tci   uint16
}

func bases() []base {
	var (
		short     = newQuote()[:ipv4Len+icmpLen]
		short6    = newQuote6()[:ipv6Len+icmpLen]
		fragment6 = fragment6(0, true)
		quoted6   = newQuote6(fragment6)[:ipv6Len+fragmentLen+icmpLen]
		echo4     = []int{mEcho, mAny, mCookie7, mCookie1, mNoCookie, mZero, mARP, mARPProbe, mShort, mFragments, mBothFragments}
		echo6     = []int{mEcho6, mAny6, mCookie6, mFragments6, mAnyLocal6, mBothFragments, mNeighborBoth}
		raw       = []int{mRaw4, mRaw6, mRawBoth}
		qinq      = []int{mEcho, mVLAN, mQinQ, mPriority, mQinQ6, mBoth, mNeighborVLAN6, mClaimVLAN6}
		arp       = []int{mARP, mARPAny, mNeighborBoth, mRequest4, mClaim4, mClaimBoth}
		neighbor  = []int{mNeighbor6, mNeighborBoth, mNeighborProbe6, mRequest6, mRequestMAC6, mClaim6, mClaimBoth, mBoth}
		all       = nodesAdvertisement()
	)
	const ip = etherLen
	list := []base{
		{name: "reply", bytes: newPing(), link: ip, bits: ip + ipv4Len + icmpLen + len(cookie), by: echo4, all: true},
		{name: "reply with a no-op", bytes: newPing(noOp), link: ip, bits: ip + ipv4Len + 4 + icmpLen + len(cookie), by: echo4},
		{
			name: "error", bytes: newError(icmpTimeExceeded, short),
			link: ip, quote: ip + ipv4Len + icmpLen, bits: ip + 2*(ipv4Len+icmpLen), by: echo4, all: true,
		},
		{
			name: "error with no-ops", bytes: newError(icmpUnreachable, newQuote(noOp)[:ipv4Len+4+icmpLen], noOp),
			link: ip, quote: ip + ipv4Len + 4 + icmpLen, bits: ip + 2*(ipv4Len+4+icmpLen), by: echo4,
		},
		{name: "first fragment", bytes: newPing(func(p *ping) { p.ip.Flags = layers.IPv4MoreFragments }), link: ip, bits: ip + ipv4Len + icmpLen, by: echo4},
		{name: "later fragment", bytes: newPing(func(p *ping) { p.ip.FragOffset = 185 }), link: ip, bits: ip + ipv4Len + icmpLen, by: echo4},

		{name: "IPv6 reply", bytes: newPing6(), link: ip, bits: ip + ipv6Len + icmpLen + len(cookie), by: echo6, all: true},
		{name: "IPv6 first fragment", bytes: newPing6(fragment6), link: ip, bits: ip + ipv6Len + fragmentLen + icmpLen + len(cookie), by: echo6},
		{
			name: "IPv6 error", bytes: newError6(icmp6PacketTooBig, short6),
			link: ip, quote: ip + ipv6Len + icmpLen, bits: ip + 2*(ipv6Len+icmpLen), by: echo6, all: true,
		},
		{
			name: "IPv6 error quoting a fragment", bytes: newError6(icmp6PacketTooBig, quoted6),
			link: ip, quote: ip + ipv6Len + icmpLen, bits: ip + 2*(ipv6Len+icmpLen) + fragmentLen, by: echo6,
		},

		{name: "ARP reply", bytes: newARP(), bits: ip + arpLen, by: arp},
		{name: "ARP request", bytes: newARP(arpOperation(layers.ARPRequest)), bits: ip + arpLen, by: arp},
		{name: "ARP probe", bytes: newARPProbe(), bits: ip + arpLen, by: arp},
		{name: "advertisement", bytes: newAdvertisement(), link: ip, bits: ip + ipv6Len + neighborLen, by: neighbor},
		{name: "advertisement to all nodes", bytes: all, link: ip, bits: ip + ipv6Len + neighborLen, by: neighbor},
		{name: "solicitation", bytes: newSolicitation(), link: ip, bits: ip + ipv6Len + neighborLen, by: neighbor},
		{name: "address probe", bytes: newProbe6(), link: ip, bits: ip + ipv6Len + neighborLen, by: neighbor},
	}
	for _, v := range []struct {
		name  string
		bytes []byte
	}{{"reply", newPing()}, {"IPv6 reply", newPing6()}, {"advertisement", newAdvertisement()}} {
		b := insertTag(v.bytes, 7)
		list = append(list, base{
			name: v.name + " in VLAN 5.7", bytes: b, bits: ip + tagLen + ipv4Len, by: qinq, vlan: true, tci: 5,
		})
	}
	for _, b := range slices.Clone(list[:10]) {
		b.name, b.all = "raw "+b.name, false
		b.bytes, b.link, b.bits, b.by = b.bytes[ip:], 0, b.bits-ip, raw
		b.quote = max(0, b.quote-ip)
		list = append(list, b)
	}
	return list
}

func nodesAdvertisement() []byte {
	return newAdvertisement(func(m *message) {
		m.eth.DstMAC, m.ip.DstIP = nodesMAC.HardwareAddr(), allNodes6.AsSlice()
		m.body.flags = 0x20
	})
}

func (b base) raw() bool { return slices.Contains(b.by, mRawBoth) }

// ip tells whether the base has its IP header where link says, and which.
func (b base) ip() (version byte, ok bool) {
	if b.link == 0 && !b.raw() {
		return 0, false
	}
	return b.bytes[b.link] >> 4, true
}

// values returns the values to try for a byte: a few, or all there are.
func (b base) values(few ...byte) []byte {
	if !b.all {
		return few
	}
	var list []byte
	for v := range 256 {
		list = append(list, byte(v))
	}
	return list
}

// mutatedSamples spoils good frames: each bit of what the filters look at, each
// length of the frame and of the datagram in it, each version and length of a
// header, and each protocol.
func mutatedSamples() []sample {
	var list []sample
	for _, base := range bases() {
		add := func(b []byte, format string, args ...any) {
			list = append(list, sample{
				name: base.name + ", " + fmt.Sprintf(format, args...), bytes: b,
				raw: base.raw(), vlan: base.vlan, tci: base.tci, by: base.by,
			})
		}
		for i := range base.bits {
			for bit := range 8 {
				b := bytes.Clone(base.bytes)
				b[i] ^= 1 << bit
				add(b, "byte %d bit %d flipped", i, bit)
			}
		}
		for n := range base.bytes {
			add(bytes.Clone(base.bytes[:n]), "cut to %d", n)
		}
		version, ok := base.ip()
		if !ok {
			continue
		}

		// Where the length and the protocol are, and what the protocols are of
		// the first and the quoted header, if there are two.
		length, protocol := 2, 9
		if version == 6 {
			length, protocol = 4, 6
		}
		padded := append(bytes.Clone(base.bytes), make([]byte, 24)...)
		for n := range len(padded) - base.link {
			b := bytes.Clone(padded)
			binary.BigEndian.PutUint16(b[base.link+length:], uint16(n))
			add(b, "length %d", n)
		}
		headers := []int{base.link}
		if base.quote > 0 {
			headers = append(headers, base.quote)
		}
		for _, at := range headers {
			for _, v := range base.values(0x00, 0x05, 0x40, 0x44, 0x45, 0x46, 0x4f, 0x55, 0x60, 0x65, 0x6f, 0xf5) {
				b := bytes.Clone(padded)
				b[at] = v
				add(b, "first byte at %d is %#02x", at, v)
			}
			for _, v := range base.values(0, protocolICMP, 17, protocolFragment, protocolICMPv6, 59, 60, 255) {
				b := bytes.Clone(base.bytes)
				b[at+protocol] = v
				add(b, "protocol at %d is %d", at, v)
			}
		}
		for _, v := range []uint16{0, 7, 8, 19, 20, 28, 0x7fff, 0xffff} {
			if base.quote == 0 {
				break
			}
			b := bytes.Clone(base.bytes)
			binary.BigEndian.PutUint16(b[base.quote+length:], v)
			add(b, "quoted length %d", v)
		}
	}
	return list
}

// corpus returns all frames, each but once. With -short it is those that were
// made and every eighth that was mutated.
func corpus(tb testing.TB) []sample {
	tb.Helper()
	type key struct {
		bytes string
		raw   bool
		vlan  bool
		tci   uint16
	}
	seen := make(map[key]bool)
	list := madeSamples()
	least := len(list) + 10_000
	mutated := mutatedSamples()
	if testing.Short() {
		least = len(list) + 1000
		for i := range len(mutated) / 8 {
			mutated[i] = mutated[8*i+i%8]
		}
		mutated = mutated[:len(mutated)/8]
	}
	for _, s := range mutated {
		k := key{string(s.bytes), s.raw, s.vlan, s.tci}
		if seen[k] {
			continue
		}
		seen[k] = true
		list = append(list, s)
	}
	if len(list) < least {
		tb.Fatalf("corpus of %d frames, want at least %d", len(list), least)
	}
	return list
}

// acceptable makes a frame that a Match accepts.
func acceptable(m Match) sample {
	var b []byte
	v4, _ := m.families()
	switch {
	case m.Kind == EchoReply && m.ID == 0:
		b = newPing(zeroPing)
	case m.Kind == EchoReply && v4:
		b = newPing(func(p *ping) {
			if m.Peer.IsValid() {
				p.ip.SrcIP = m.Peer.AsSlice()
			}
			if m.Local.IsValid() {
				p.ip.DstIP = m.Local.AsSlice()
			}
		})
	case m.Kind == EchoReply:
		b = newPing6()
	case m.Kind == NeighborRequest && v4:
		b = newARP(arpOperation(layers.ARPRequest))
	case m.Kind == NeighborRequest:
		b = newSolicitation()
	case v4:
		b = newARP(func(_ *layers.Ethernet, a *layers.ARP) {
			if m.Local.Is4() {
				a.DstProtAddress = m.Local.AsSlice()
			}
		})
	default:
		b = nodesAdvertisement()
	}
	s := sample{bytes: b}
	if m.NoLink {
		s.bytes, s.raw = b[etherLen:], true
	}
	switch tags := ids(m); len(tags) {
	case 2:
		s.bytes = insertTag(b, tags[1])
		fallthrough
	case 1:
		s.vlan, s.tci = true, tags[0]
	}
	return s
}
