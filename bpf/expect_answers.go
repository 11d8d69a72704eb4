package bpf

import "encoding/binary"

// The control bits of TCP (RFC 9293, section 3.1).
const (
	tcpFIN = 1 << iota
	tcpSYN
	tcpRST
	_
	tcpACK
)

// ackTolerance is by how much the numbers of a TCP segment that answers no SYN
// may be off. A keep-alive is: it has the number before the next.
const ackTolerance = 2

// Answers tells whether a frame answers a request, or is an ICMP error about it.
// The answer is whole, as an AF_PACKET socket received it; the request is as it
// was sent. With noLink both begin with the IP header. It allocates nothing.
//
// The two bear the same VLAN ids, and MAC addresses do not count. What answers
// what is this, much as answers() of scapy has it:
//
//   - An ARP request for an IPv4 address (RFC 826) is answered by a reply that
//     tells of it, to whomever.
//   - An IP datagram that is not of the protocols below is answered by one of the
//     same protocol that goes the other way. That the addresses are exchanged is
//     asked of all that follows too. Whoever asks a group, or sends in a frame to a
//     group, is answered by anybody; whoever asks a group may be answered to the
//     group, and from the unspecified address, to any. IPv4 may have any options,
//     IPv6 one extension header, of options or of a fragment. Of fragments only
//     the first answers.
//   - ICMP's echo, timestamp, information and address mask requests, and ICMPv6's
//     echo request, are answered by the replies of the same identifier and
//     sequence number, ICMPv6's echo with the same data besides.
//   - A neighbor solicitation (RFC 4861) is answered by an advertisement of its
//     target to its source, or to all nodes if that is unspecified. A router
//     solicitation is answered by a router advertisement, also to all nodes. Both
//     have hop limit 255 and code 0.
//   - A TCP segment without RST is answered by one between the same ports. A SYN
//     is answered by SYN and ACK, by RST and ACK, or by ACK, whose acknowledgment
//     number covers the SYN and no more than was sent; or by RST alone. Another
//     segment is answered by one whose sequence number is the acknowledgment
//     number of the first, and which has ACK, with a number that covers from none
//     to all of what was sent, or RST alone: give or take 2, for keep-alives. SYN
//     answers only SYN.
//   - A UDP datagram is answered by one between the same ports. If it is a query
//     of DNS, by its port (53 or 5353), it is answered by a response with the same
//     identifier.
//   - Any IP datagram is answered by an ICMP error to its source that quotes it:
//     the addresses and the protocol, and of ICMP type, code, identifier and
//     sequence number, of TCP the ports and the sequence number, of UDP the ports.
//     Those of IPv4 are destination unreachable, source quench, redirect, time
//     exceeded and parameter problem; those of IPv6 are destination unreachable,
//     packet too big, time exceeded and parameter problem.
//
// Checksums are for the caller to check.
func Answers(answer []byte, meta Meta, request []byte, noLink bool) bool {
	var answerKeys [MaxAnswerKeys]Key
	var requestKeys [MaxRequestKeys]Key
	mine := AppendRequestKeys(requestKeys[:0], request, noLink)
	for _, k := range AppendAnswerKeys(answerKeys[:0], answer, meta, noLink) {
		for _, r := range mine {
			if k == r && confirms(k, answer, request, noLink) {
				return true
			}
		}
	}
	return false
}

// confirms tells whether what shares a Key is a pair.
func confirms(k Key, answer, request []byte, noLink bool) bool {
	if k.kind != keyIPv4 && k.kind != keyIPv6 {
		return true
	}
	a, r, ok := datagrams(answer, request, noLink)
	if !ok {
		return false
	}
	if k.local == [16]byte{} && !r.mayReach(&a) {
		return false
	}
	switch {
	case a.protocol == protocolTCP:
		return tcpAnswers(a.payload, r.payload)
	case a.protocol == protocolUDP && k.c != [4]byte{}:
		return isResponse(a.payload) && !isResponse(r.payload)
	case a.v6 && a.protocol == protocolICMPv6 && k.icmpType == icmp6EchoReply:
		return sameData(&a, &r)
	default:
		return true
	}
}

// datagrams returns what an answer and a request carry.
func datagrams(answer, request []byte, noLink bool) (a, r datagram, ok bool) {
	var tags tagKey
	etherType, packet, ok := untagIP(answer, noLink, &tags)
	if !ok {
		return a, r, false
	}
	if a, ok = readDatagram(etherType == etherTypeIPv6, packet, whole); !ok {
		return a, r, false
	}
	if etherType, packet, ok = untagIP(request, noLink, &tags); !ok {
		return a, r, false
	}
	r, ok = readDatagram(etherType == etherTypeIPv6, packet, sent)
	return a, r, ok
}

// mayReach tells whether a request to a group may be answered by a datagram that
// is not to its source.
func (r *datagram) mayReach(a *datagram) bool {
	switch {
	case r.unspecified(), a.dst == r.dst:
		return true
	default:
		return r.v6 && r.protocol == protocolICMPv6 && r.payload[0] == icmp6RouterSolicitation && a.dst == allNodes
	}
}

// tcpAnswers tells whether the numbers of a segment are those of an answer to
// another; the ports are. Both are not shorter than the header.
func tcpAnswers(a, r []byte) bool {
	flags, asked := a[13], r[13]
	off := binary.BigEndian.Uint32(a[8:]) - binary.BigEndian.Uint32(r[4:]) // acknowledged
	sent := segmentLen(r)
	if asked&(tcpSYN|tcpACK) == tcpSYN {
		if flags&tcpACK != 0 {
			return off >= 1 && off <= sent
		}
		return flags&(tcpRST|tcpSYN) == tcpRST
	}

	if flags&tcpSYN != 0 && (flags&tcpACK == 0 || asked&tcpSYN == 0) {
		return false
	}
	next := binary.BigEndian.Uint32(a[4:]) - binary.BigEndian.Uint32(r[8:])
	if next+ackTolerance > 2*ackTolerance {
		return false
	}
	if flags&tcpACK == 0 {
		return flags&tcpRST != 0
	}
	return off+ackTolerance <= sent+2*ackTolerance
}

// segmentLen returns what a segment takes of the sequence numbers (RFC 9293,
// section 3.3.1).
func segmentLen(b []byte) uint32 {
	n := uint32(0)
	if header := int(b[12]>>4) * 4; header >= tcpLen && header <= len(b) {
		n = uint32(len(b) - header)
	}
	if b[13]&tcpSYN != 0 {
		n++
	}
	if b[13]&tcpFIN != 0 {
		n++
	}
	return n
}

// isResponse reads the bit QR of a DNS message in the UDP datagram b.
func isResponse(b []byte) bool { return b[udpLen+2]&0x80 != 0 }

// sameData compares what two ICMPv6 echo messages carry, as far as both are
// there.
func sameData(a, r *datagram) bool {
	x, y := a.payload[icmpLen:], r.payload[icmpLen:]
	if a.partial || r.partial {
		n := min(len(x), len(y))
		x, y = x[:n], y[:n]
	}
	return string(x) == string(y)
}

// Quotes tells whether a frame is an ICMP error that quotes a request itself, and
// not one that is like it: beside what Answers asks for, the quote has the
// request's IPv4 identification and the eight bytes behind the IP header. Among
// several requests that an error may be about, as those of a traceroute, it tells
// which it is. What stands between the two may have changed them, so that it does
// not follow from Answers. It allocates nothing.
func Quotes(answer []byte, meta Meta, request []byte, noLink bool) bool {
	if !Answers(answer, meta, request, noLink) {
		return false
	}
	a, r, ok := datagrams(answer, request, noLink)
	if !ok || !a.isICMP() || len(a.payload) < icmpLen || !isError(a.v6, a.payload[0]) {
		return false
	}
	q, ok := readDatagram(a.v6, a.payload[icmpLen:], quoted)
	if !ok || q.id != r.id {
		return false
	}
	n := min(quotedLen, len(q.payload), len(r.payload))
	return string(q.payload[:n]) == string(r.payload[:n])
}
