package bpf

import (
	"encoding/binary"
	"net/netip"
)

// The packet types of linux/if_packet.h that may be replies.
const (
	packetHost      = 0
	packetBroadcast = 1
	packetMulticast = 2
	packetOtherHost = 3 // if it is to the address MAC
)

const (
	etherLen      = 14
	ipv4Len       = 20 // without options
	ipv6Len       = 40 // without extension headers
	fragmentLen   = 8  // the fragment header of IPv6
	icmpLen       = 8
	arpLen        = 28 // for IPv4 on Ethernet
	neighborLen   = 24 // a neighbor solicitation or advertisement, without options
	etherTypeIPv4 = 0x0800
	etherTypeARP  = 0x0806
	etherTypeIPv6 = 0x86dd

	// IEEE 802.1Q. A tag is the EtherType and a word that has the VLAN id in its
	// lower bits; 4095 is reserved.
	etherTypeVLAN = 0x8100
	etherTypeQinQ = 0x88a8
	tagLen        = 4
	vlanID        = 0x0fff
	maxVLAN       = 4094

	// maxTagsLeft is how many tags the frame itself may have.
	maxTagsLeft = 2

	// The word of an IPv4 header that has flags and fragment offset (RFC 791).
	ipMoreFragments  = 0x2000
	ipFragmentOffset = 0x1fff

	// The same of IPv6's fragment header (RFC 8200, section 4.5).
	ipv6MoreFragments  = 0x0001
	ipv6FragmentOffset = 0xfff8

	protocolICMP     = 1
	protocolFragment = 44
	protocolICMPv6   = 58

	// RFC 792.
	icmpEchoReply        = 0
	icmpUnreachable      = 3
	icmpRedirect         = 5
	icmpEchoRequest      = 8
	icmpTimeExceeded     = 11
	icmpParameterProblem = 12

	// RFC 4443 and RFC 4861.
	icmp6Unreachable      = 1
	icmp6PacketTooBig     = 2
	icmp6TimeExceeded     = 3
	icmp6ParameterProblem = 4
	icmp6EchoRequest      = 128
	icmp6EchoReply        = 129
	icmp6Solicitation     = 135
	icmp6Advertisement    = 136

	// What neighbor discovery's messages are sent with, so that a router would
	// have given itself away (RFC 4861, section 7.1).
	neighborHopLimit = 255

	// The fixed part of an ARP packet for IPv4 on Ethernet, as two words
	// (RFC 826): hardware type 1, protocol type IPv4; lengths 6 and 4, and the
	// operation.
	arpEtherIPv4 = 0x0001_0800
	arpRequestOp = 0x0604_0001
	arpReplyOp   = 0x0604_0002
)

// allNodes is ff02::1 (RFC 4291, section 2.7.1).
var allNodes = [16]byte{0: 0xff, 1: 0x02, 15: 0x01}

// Accepts tells whether a frame is a reply that m describes. The frame begins
// with its Ethernet header, or with the IP header if m has NoLink. Accepts never
// reads past the frame, and does not allocate.
func (m Match) Accepts(frame []byte, meta Meta) bool {
	return m.judge(frame, meta) == ours
}

// Claims tells whether a frame claims to be a reply of ours and is not. It is
// what Filter.Rejected counts in the kernel.
//
// Such a frame passes every test of an EchoReply, for an echo reply or for an
// ICMP error, its identifier too, and fails one or more of these four: it bears
// the VLAN tags that are asked for and no others, its code (for an ICMP error:
// the quoted request's) is 0, it comes from Peer (the quoted request went to
// Peer), and its payload begins with the cookie. Later fragments, which have no
// identifier, claim nothing. A frame claims to be of another Kind if it is but
// for its VLAN tags.
func (m Match) Claims(frame []byte, meta Meta) bool {
	return m.judge(frame, meta) == claimed
}

// A verdict on a frame, the same as in match.bpf.c.
type verdict uint8

const (
	other   verdict = iota // not for us
	claimed                // ours by identifier, but not by VLAN, code, peer or cookie
	ours
)

func (m *Match) judge(b []byte, meta Meta) verdict {
	if m.validate() != nil {
		return other
	}
	switch meta.PacketType {
	case packetHost, packetBroadcast, packetMulticast:
	case packetOtherHost:
		if m.MAC.IsZero() || len(b) < etherLen || [6]byte(b) != m.MAC {
			return other
		}
	default:
		return other
	}

	var tags tagKey
	if meta.VLANPresent {
		tags.add(meta.VLANTCI)
	}
	var etherType uint16
	packet := b
	if m.NoLink {
		etherType = versionType(b)
	} else {
		var ok bool
		if etherType, packet, ok = untag(b, &tags); !ok {
			return other
		}
	}

	foreign := uint64(tags) != m.tags()
	v := m.judgePacket(etherType, b, packet, foreign)
	if v == ours && foreign {
		return claimed
	}
	return v
}

// versionType returns the EtherType that a packet would have on Ethernet.
func versionType(b []byte) uint16 {
	switch {
	case len(b) == 0:
		return 0
	case b[0]>>4 == 4:
		return etherTypeIPv4
	case b[0]>>4 == 6:
		return etherTypeIPv6
	default:
		return 0
	}
}

// untag returns what follows a frame's Ethernet header and the tags left in it,
// which it adds to tags. ok is false if the frame ends before that.
func untag(b []byte, tags *tagKey) (etherType uint16, packet []byte, ok bool) {
	if len(b) < etherLen {
		return 0, nil, false
	}
	etherType, b = binary.BigEndian.Uint16(b[etherLen-2:]), b[etherLen:]
	for range maxTagsLeft {
		if etherType != etherTypeVLAN && etherType != etherTypeQinQ {
			break
		}
		if len(b) < tagLen {
			return 0, nil, false
		}
		tags.add(binary.BigEndian.Uint16(b))
		etherType, b = binary.BigEndian.Uint16(b[2:]), b[tagLen:]
	}
	return etherType, b, true
}

// judgePacket judges what a frame carries, and takes its tags for the right
// ones; foreign says that they are not.
func (m *Match) judgePacket(etherType uint16, frame, packet []byte, foreign bool) verdict {
	v4, v6 := m.families()
	switch {
	case etherType == etherTypeIPv4 && v4 && m.Kind == EchoReply:
		return m.judgeIPv4(packet, foreign)
	case etherType == etherTypeIPv6 && v6 && m.Kind == EchoReply:
		return m.judgeIPv6(packet, foreign)
	case etherType == etherTypeIPv6 && v6:
		return m.judgeNeighbor(packet, [6]byte(frame), [6]byte(frame[6:]))
	case etherType == etherTypeARP && v4 && m.Kind != EchoReply:
		return m.judgeARP(packet)
	default:
		return other
	}
}

func (m *Match) judgeARP(b []byte) verdict {
	if len(b) < arpLen || binary.BigEndian.Uint32(b[0:]) != arpEtherIPv4 {
		return other
	}
	op := binary.BigEndian.Uint32(b[4:])
	senderMAC, sender, targetMAC, target := [6]byte(b[8:]), b[14:18], [6]byte(b[18:]), b[24:]
	var accepted bool
	switch m.Kind {
	case NeighborRequest:
		accepted = op == arpRequestOp && is4(m.Local, target)
	case NeighborClaim:
		probe := op == arpRequestOp && [4]byte(sender) == [4]byte{} && is4(m.Peer, target)
		accepted = senderMAC != m.MAC && (probe || (op == arpRequestOp || op == arpReplyOp) && is4(m.Peer, sender))
	default:
		accepted = op == arpReplyOp && is4(m.Peer, sender) && targetMAC == m.MAC && is4(m.Local, target)
	}
	if !accepted {
		return other
	}
	return ours
}

// judgeNeighbor judges a message of neighbor discovery, in a frame from src to
// dst. RFC 6980 has those that bear a fragment header ignored.
func (m *Match) judgeNeighbor(b []byte, dst, src [6]byte) verdict {
	if len(b) < ipv6Len+neighborLen || b[0]>>4 != 6 || b[6] != protocolICMPv6 || b[7] != neighborHopLimit {
		return other
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length < neighborLen || ipv6Len+length > len(b) {
		return other
	}
	icmpType, code, target := b[ipv6Len], b[ipv6Len+1], b[ipv6Len+8:]
	if code != 0 {
		return other
	}
	var accepted bool
	switch m.Kind {
	case NeighborRequest:
		accepted = icmpType == icmp6Solicitation && is6(m.Local, target)
	case NeighborClaim:
		probe := icmpType == icmp6Solicitation && [16]byte(b[8:]) == [16]byte{}
		accepted = src != m.MAC && (probe || icmpType == icmp6Advertisement) && is6(m.Peer, target)
	default:
		toUs := [16]byte(b[24:]) == allNodes || dst == m.MAC && is6(m.Local, b[24:])
		accepted = icmpType == icmp6Advertisement && is6(m.Peer, target) && toUs
	}
	if !accepted {
		return other
	}
	return ours
}

// judgeIPv4 trusts the datagram's own length: the frame may have Ethernet's
// padding in it.
func (m *Match) judgeIPv4(b []byte, foreign bool) verdict {
	ihl := ipv4HeaderLen(b)
	if ihl == 0 {
		return other
	}
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total < ihl || total > len(b) || b[9] != protocolICMP || !is4(m.Local, b[16:]) {
		return other
	}
	fragment := binary.BigEndian.Uint16(b[6:])
	peer := is4(m.Peer, b[12:])
	if fragment&ipFragmentOffset != 0 {
		return m.judgeLater(peer, foreign)
	}

	icmp := b[ihl:total]
	if len(icmp) < icmpLen {
		return other
	}
	partial := fragment&ipMoreFragments != 0
	switch icmp[0] {
	case icmpEchoReply:
		return m.judgeReply(icmp, peer, partial)
	case icmpUnreachable, icmpRedirect, icmpTimeExceeded, icmpParameterProblem:
		if partial {
			return other
		}
		return m.judgeQuote4(icmp[icmpLen:])
	default:
		return other
	}
}

func (m *Match) judgeIPv6(b []byte, foreign bool) verdict {
	if len(b) < ipv6Len || b[0]>>4 != 6 || !is6(m.Local, b[24:]) {
		return other
	}
	total := ipv6Len + int(binary.BigEndian.Uint16(b[4:]))
	if total > len(b) {
		return other
	}
	at, fragment, ok := ipv6Headers(b[:total])
	if !ok {
		return other
	}
	peer := is6(m.Peer, b[8:])
	if fragment&ipv6FragmentOffset != 0 {
		return m.judgeLater(peer, foreign)
	}

	icmp := b[at:total]
	if len(icmp) < icmpLen {
		return other
	}
	partial := fragment&ipv6MoreFragments != 0
	switch icmp[0] {
	case icmp6EchoReply:
		return m.judgeReply(icmp, peer, partial)
	case icmp6Unreachable, icmp6PacketTooBig, icmp6TimeExceeded, icmp6ParameterProblem:
		if partial {
			return other
		}
		return m.judgeQuote6(icmp[icmpLen:])
	default:
		return other
	}
}

// judgeLater judges a fragment that has no ICMP header in it, and so nothing to
// tell it by but its addresses.
func (m *Match) judgeLater(peer, foreign bool) verdict {
	if !m.Fragments || !peer || foreign {
		return other
	}
	return ours
}

// judgeReply judges an echo reply, or the first part of one.
func (m *Match) judgeReply(icmp []byte, peer, partial bool) verdict {
	if binary.BigEndian.Uint16(icmp[4:]) != m.ID || partial && !m.Fragments {
		return other
	}
	if icmp[1] != 0 || !peer || !m.hasCookie(icmp[icmpLen:]) {
		return claimed
	}
	return ours
}

// judgeQuote4 judges the request that an ICMP error quotes. The quoted length is
// not looked at: more often than not it is more than what is quoted.
func (m *Match) judgeQuote4(b []byte) verdict {
	ihl := ipv4HeaderLen(b)
	if ihl == 0 || len(b) < ihl+icmpLen {
		return other
	}
	if binary.BigEndian.Uint16(b[6:])&ipFragmentOffset != 0 || b[9] != protocolICMP || !is4(m.Local, b[12:]) {
		return other
	}
	return m.judgeRequest(b[ihl:], icmpEchoRequest, is4(m.Peer, b[16:]))
}

func (m *Match) judgeQuote6(b []byte) verdict {
	if len(b) < ipv6Len || b[0]>>4 != 6 || !is6(m.Local, b[8:]) {
		return other
	}
	at, fragment, ok := ipv6Headers(b)
	if !ok || fragment&ipv6FragmentOffset != 0 || len(b) < at+icmpLen {
		return other
	}
	return m.judgeRequest(b[at:], icmp6EchoRequest, is6(m.Peer, b[24:]))
}

func (m *Match) judgeRequest(icmp []byte, icmpType uint8, peer bool) verdict {
	if icmp[0] != icmpType || binary.BigEndian.Uint16(icmp[4:]) != m.ID {
		return other
	}
	if icmp[1] != 0 || !peer {
		return claimed
	}
	return ours
}

// ipv4HeaderLen returns the length in bytes of the IPv4 header that b begins
// with, or 0 if it begins with none. The header may be longer than b.
func ipv4HeaderLen(b []byte) int {
	if len(b) < ipv4Len || b[0]>>4 != 4 || b[0]&0xf < 5 {
		return 0
	}
	return int(b[0]&0xf) * 4
}

// ipv6Headers returns where the ICMPv6 message begins in an IPv6 datagram, of
// which b has the fixed header at least, and the word of the fragment header
// that has offset and flag, 0 without one. ok is false if the datagram is of
// another protocol or has other extension headers.
func ipv6Headers(b []byte) (at int, fragment uint16, ok bool) {
	switch b[6] {
	case protocolICMPv6:
		return ipv6Len, 0, true
	case protocolFragment:
		if len(b) < ipv6Len+fragmentLen || b[ipv6Len] != protocolICMPv6 {
			return 0, 0, false
		}
		return ipv6Len + fragmentLen, binary.BigEndian.Uint16(b[ipv6Len+2:]), true
	default:
		return 0, 0, false
	}
}

// is4 tells whether the four bytes that b begins with are the address want, or
// want is left out.
func is4(want netip.Addr, b []byte) bool {
	return !want.IsValid() || want.As4() == [4]byte(b)
}

// is6 is is4 for IPv6.
func is6(want netip.Addr, b []byte) bool {
	return !want.IsValid() || want.As16() == [16]byte(b)
}

func (m *Match) hasCookie(payload []byte) bool {
	return len(payload) >= m.CookieLen &&
		string(payload[:m.CookieLen]) == string(m.Cookie[:m.CookieLen])
}
