package bpf

import "encoding/binary"

const (
	protocolHopByHop    = 0
	protocolTCP         = 6
	protocolUDP         = 17
	protocolRouting     = 43
	protocolDestination = 60

	tcpLen = 20 // without options
	udpLen = 8
	dnsLen = 12 // the header (RFC 1035, section 4.1.1)

	// What an error quotes at least of what it is about, behind the IP header
	// (RFC 792).
	quotedLen = 8

	portDNS  = 53
	portMDNS = 5353

	// RFC 792 and RFC 950. A reply's type is one more than its request's, but for
	// echo.
	icmpSourceQuench       = 4
	icmpTimestampRequest   = 13
	icmpTimestampReply     = 14
	icmpInformationRequest = 15
	icmpInformationReply   = 16
	icmpMaskRequest        = 17
	icmpMaskReply          = 18

	// RFC 4861.
	icmp6RouterSolicitation  = 133
	icmp6RouterAdvertisement = 134
	routerAdvertisementLen   = 16 // without options
)

// An extent says how far a datagram's own length is to be believed.
type extent uint8

const (
	whole  extent = iota // it is in the frame as a whole, or it is none
	sent                 // it may have been made wrong: it ends with the frame at the latest
	quoted               // an error quotes the beginning: it ends with the frame
)

// A datagram is one of IP, as far as pairing looks at it: the whole of it, or
// its first fragment.
type datagram struct {
	v6       bool
	protocol uint8
	hopLimit uint8
	extended bool // it has an extension header
	partial  bool // a first fragment
	id       uint16
	src, dst [16]byte // IPv4 as IPv6 maps it
	payload  []byte
}

// readDatagram reads the IPv4 or IPv6 datagram that b begins with. ok is false
// for later fragments, and for IPv6 with other extension headers than one of the
// options or of a fragment.
func readDatagram(v6 bool, b []byte, ext extent) (d datagram, ok bool) {
	if v6 {
		return readIPv6(b, ext)
	}
	return readIPv4(b, ext)
}

func readIPv4(b []byte, ext extent) (d datagram, ok bool) {
	ihl := ipv4HeaderLen(b)
	if ihl == 0 {
		return d, false
	}
	total, ok := ext.end(len(b), int(binary.BigEndian.Uint16(b[2:])), ihl)
	if !ok {
		return d, false
	}
	fragment := binary.BigEndian.Uint16(b[6:])
	if fragment&ipFragmentOffset != 0 {
		return d, false
	}
	return datagram{
		protocol: b[9],
		hopLimit: b[8],
		partial:  fragment&ipMoreFragments != 0,
		id:       binary.BigEndian.Uint16(b[4:]),
		src:      mapped([4]byte(b[12:])),
		dst:      mapped([4]byte(b[16:])),
		payload:  b[ihl:total],
	}, true
}

func readIPv6(b []byte, ext extent) (d datagram, ok bool) {
	if len(b) < ipv6Len || b[0]>>4 != 6 {
		return d, false
	}
	total, ok := ext.end(len(b), ipv6Len+int(binary.BigEndian.Uint16(b[4:])), ipv6Len)
	if !ok {
		return d, false
	}
	d = datagram{
		v6:       true,
		protocol: b[6],
		hopLimit: b[7],
		src:      [16]byte(b[8:]),
		dst:      [16]byte(b[24:]),
	}
	at := ipv6Len
	switch d.protocol {
	case protocolRouting:
		return d, false
	case protocolHopByHop, protocolDestination, protocolFragment:
		if total < ipv6Len+8 {
			return d, false
		}
		header := b[ipv6Len:total]
		at += 8
		if d.protocol == protocolFragment {
			fragment := binary.BigEndian.Uint16(header[2:])
			if fragment&ipv6FragmentOffset != 0 {
				return d, false
			}
			d.partial = fragment&ipv6MoreFragments != 0
		} else {
			at += int(header[1]) * 8
		}
		d.extended, d.protocol = true, header[0]
		switch d.protocol {
		case protocolHopByHop, protocolDestination, protocolFragment, protocolRouting:
			return d, false
		}
	}
	if at > total {
		return d, false
	}
	d.payload = b[at:total]
	return d, true
}

// end returns where a datagram ends that says it has the length total, of which
// n bytes are there and least are headers.
func (e extent) end(n, total, least int) (end int, ok bool) {
	switch {
	case e == whole:
		return total, total >= least && total <= n
	case e == sent && total >= least && total <= n:
		return total, true
	default:
		return n, n >= least
	}
}

// mapped returns an IPv4 address as IPv6 writes it (RFC 4291, section 2.5.5.2),
// so that 0.0.0.0 is not all zeros.
func mapped(a [4]byte) (b [16]byte) {
	b[10], b[11] = 0xff, 0xff
	copy(b[12:], a[:])
	return b
}

func (d *datagram) unspecified() bool {
	return d.src == [16]byte{} || !d.v6 && d.src == mapped([4]byte{})
}

// toGroup tells whether the datagram is to a group, or to IPv4's broadcast
// address. That of a subnet cannot be told.
func (d *datagram) toGroup() bool {
	if d.v6 {
		return d.dst[0] == 0xff
	}
	return d.dst[12]>>4 == 0xe || [4]byte(d.dst[12:]) == [4]byte{255, 255, 255, 255}
}

// untagIP returns what follows the link layer, as untag does, or the whole frame
// if there is none.
func untagIP(b []byte, noLink bool, tags *tagKey) (etherType uint16, packet []byte, ok bool) {
	if noLink {
		etherType = versionType(b)
		return etherType, b, etherType != 0
	}
	return untag(b, tags)
}

// AppendRequestKeys appends the Keys under which the answers to a frame are to
// be found, and the errors that quote it: MaxRequestKeys of them at the most,
// and none if no built-in rule knows the frame. The frame is as it is to be
// sent, with its VLAN tags, or begins with the IP header if noLink. Its lengths
// need not be right. AppendRequestKeys allocates only to grow keys.
func AppendRequestKeys(keys []Key, frame []byte, noLink bool) []Key {
	var tags tagKey
	etherType, packet, ok := untagIP(frame, noLink, &tags)
	if !ok {
		return keys
	}
	k := Key{tags: tags.bytes()}
	switch etherType {
	case etherTypeARP:
		if target, ok := arpTarget(packet); ok {
			k.kind, k.peer = keyARP, target
			keys = append(keys, k)
		}
		return keys
	case etherTypeIPv4, etherTypeIPv6:
		d, ok := readDatagram(etherType == etherTypeIPv6, packet, sent)
		if !ok {
			return keys
		}
		if quote, ok := d.quoteKey(k); ok {
			keys = append(keys, quote)
		}
		return d.appendRequestKeys(keys, k, !noLink && frame[0]&1 != 0)
	default:
		return keys
	}
}

// AppendAnswerKeys appends the Keys that a frame may answer, MaxAnswerKeys of
// them at the most, and none if no built-in rule knows it. The more specific
// come first. The frame is whole, as an AF_PACKET socket receives it, and of meta
// the VLAN tag counts. AppendAnswerKeys allocates only to grow keys.
func AppendAnswerKeys(keys []Key, frame []byte, meta Meta, noLink bool) []Key {
	var tags tagKey
	if meta.VLANPresent {
		tags.add(meta.VLANTCI)
	}
	etherType, packet, ok := untagIP(frame, noLink, &tags)
	if !ok || tags>>24 != 0 { // a third tag, which no request has
		return keys
	}
	k := Key{tags: tags.bytes()}
	switch etherType {
	case etherTypeARP:
		if sender, ok := arpSender(packet); ok {
			k.kind, k.peer = keyARP, sender
			keys = append(keys, k)
		}
		return keys
	case etherTypeIPv4, etherTypeIPv6:
		d, ok := readDatagram(etherType == etherTypeIPv6, packet, whole)
		if !ok {
			return keys
		}
		return d.appendAnswerKeys(keys, k)
	default:
		return keys
	}
}

// bytes returns up to two ids, as a Key and vlan_tags in match.bpf.c have them.
func (t tagKey) bytes() (b [4]byte) {
	binary.BigEndian.PutUint32(b[:], uint32(t))
	return b
}

// arpTarget returns whom an ARP request asks for.
func arpTarget(b []byte) (addr [16]byte, ok bool) {
	if !isARP(b, arpRequestOp) {
		return addr, false
	}
	return mapped([4]byte(b[24:])), true
}

// arpSender returns whom an ARP reply tells of. Whom it tells it to does not
// matter, so that also a reply to all will do.
func arpSender(b []byte) (addr [16]byte, ok bool) {
	if !isARP(b, arpReplyOp) {
		return addr, false
	}
	return mapped([4]byte(b[14:])), true
}

func isARP(b []byte, op uint32) bool {
	return len(b) >= arpLen && binary.BigEndian.Uint32(b) == arpEtherIPv4 && binary.BigEndian.Uint32(b[4:]) == op
}

// quoteKey returns the Key of an error that quotes the datagram. Eight bytes of
// what it carries are enough for it.
func (d *datagram) quoteKey(k Key) (Key, bool) {
	k.kind = keyQuote4
	if d.v6 {
		k.kind = keyQuote6
	}
	k.protocol, k.local, k.peer = d.protocol, d.src, d.dst
	b := d.payload
	switch {
	case d.isICMP():
		if len(b) < quotedLen {
			return k, false
		}
		k.icmpType, k.icmpCode = b[0], b[1]
		k.a, k.b = [2]byte(b[4:]), [2]byte(b[6:])
	case d.protocol == protocolTCP:
		if len(b) < quotedLen {
			return k, false
		}
		k.a, k.b, k.c = [2]byte(b), [2]byte(b[2:]), [4]byte(b[4:])
	case d.protocol == protocolUDP:
		if len(b) < quotedLen {
			return k, false
		}
		k.a, k.b = [2]byte(b), [2]byte(b[2:])
	}
	return k, true
}

// isICMP tells whether the datagram carries the ICMP of its family.
func (d *datagram) isICMP() bool {
	if d.v6 {
		return d.protocol == protocolICMPv6
	}
	return d.protocol == protocolICMP
}

// pairKey returns k as it is for datagrams between local and peer.
func (d *datagram) pairKey(k Key, local, peer [16]byte) Key {
	k.kind = keyIPv4
	if d.v6 {
		k.kind = keyIPv6
	}
	k.protocol, k.local, k.peer = d.protocol, local, peer
	return k
}

// appendRequestKeys appends the Keys of the answers to a datagram. Who broadcast
// it does not know who answers.
func (d *datagram) appendRequestKeys(keys []Key, k Key, broadcast bool) []Key {
	k = d.pairKey(k, d.src, d.dst)
	b := d.payload
	switch {
	case d.isICMP():
		if len(b) < icmpLen {
			return keys
		}
		if d.v6 && b[0] == icmp6Solicitation {
			return d.appendSolicitationKey(keys, k)
		}
		reply, ok := replyType(d.v6, b[0])
		if !ok {
			return keys
		}
		k.icmpType = reply
		if isReply(d.v6, reply) {
			k.a, k.b = [2]byte(b[4:]), [2]byte(b[6:])
		}
	case d.protocol == protocolTCP:
		if len(b) < tcpLen || b[13]&tcpRST != 0 {
			return keys
		}
		k.a, k.b = [2]byte(b), [2]byte(b[2:])
	case d.protocol == protocolUDP:
		if len(b) < udpLen {
			return keys
		}
		k.a, k.b = [2]byte(b), [2]byte(b[2:])
		k.c = dnsKey(k.b, b)
	}

	group := d.toGroup()
	if !group && !broadcast {
		return append(keys, k)
	}
	k.peer = [16]byte{}
	if !group || !d.unspecified() {
		keys = append(keys, k)
	}
	if group {
		// An answer may go to the group as well, and who has no address yet is
		// answered by another.
		k.local = [16]byte{}
		keys = append(keys, k)
	}
	return keys
}

// appendSolicitationKey appends the Key of the advertisement that answers a
// neighbor solicitation. An address probe is answered to all nodes (RFC 4861,
// section 7.2.4), and nothing else is.
func (d *datagram) appendSolicitationKey(keys []Key, k Key) []Key {
	b := d.payload
	if len(b) < neighborLen {
		return keys
	}
	k.kind, k.protocol, k.local, k.peer = keyNeighbor, 0, d.src, [16]byte(b[8:])
	return append(keys, k)
}

// appendAnswerKeys appends the Keys that a datagram may answer.
func (d *datagram) appendAnswerKeys(keys []Key, k Key) []Key {
	k = d.pairKey(k, d.dst, d.src)
	b := d.payload
	switch {
	case d.isICMP():
		if len(b) < icmpLen {
			return keys
		}
		switch {
		case isError(d.v6, b[0]):
			return d.appendErrorKey(keys, k)
		case d.v6 && b[0] == icmp6Advertisement:
			return d.appendAdvertisementKey(keys, k)
		case d.v6 && b[0] == icmp6RouterAdvertisement:
			if !d.isNeighborDiscovery(routerAdvertisementLen) {
				return keys
			}
		case isReply(d.v6, b[0]):
			k.a, k.b = [2]byte(b[4:]), [2]byte(b[6:])
		default:
			return keys
		}
		k.icmpType = b[0]
	case d.protocol == protocolTCP:
		if len(b) < tcpLen {
			return keys
		}
		k.a, k.b = [2]byte(b[2:]), [2]byte(b)
	case d.protocol == protocolUDP:
		if len(b) < udpLen {
			return keys
		}
		k.a, k.b = [2]byte(b[2:]), [2]byte(b)
		k.c = dnsKey(k.b, b)
	}

	keys = append(keys, k)
	k.peer = [16]byte{}
	keys = append(keys, k)
	k.local = [16]byte{}
	return append(keys, k)
}

// appendErrorKey appends the Key of what an ICMP error quotes, if it was sent by
// whom the error is for.
func (d *datagram) appendErrorKey(keys []Key, k Key) []Key {
	q, ok := readDatagram(d.v6, d.payload[icmpLen:], quoted)
	if !ok || q.src != d.dst {
		return keys
	}
	quote, ok := q.quoteKey(Key{tags: k.tags})
	if !ok {
		return keys
	}
	return append(keys, quote)
}

// appendAdvertisementKey appends the Key of a neighbor advertisement. To all
// nodes it answers an address probe, which is from the unspecified address.
func (d *datagram) appendAdvertisementKey(keys []Key, k Key) []Key {
	if !d.isNeighborDiscovery(neighborLen) {
		return keys
	}
	k.kind, k.protocol, k.peer = keyNeighbor, 0, [16]byte(d.payload[8:])
	if k.local == allNodes {
		k.local = [16]byte{}
	}
	return append(keys, k)
}

// isNeighborDiscovery tells whether a message of ICMPv6 is one that a host may
// believe (RFC 4861, section 7.1; RFC 6980).
func (d *datagram) isNeighborDiscovery(least int) bool {
	return !d.extended && d.hopLimit == neighborHopLimit && len(d.payload) >= least && d.payload[1] == 0
}

// replyType returns the type of ICMP that answers another.
func replyType(v6 bool, request uint8) (reply uint8, ok bool) {
	if v6 {
		switch request {
		case icmp6EchoRequest, icmp6RouterSolicitation:
			return request + 1, true
		}
		return 0, false
	}
	switch request {
	case icmpEchoRequest:
		return icmpEchoReply, true
	case icmpTimestampRequest, icmpInformationRequest, icmpMaskRequest:
		return request + 1, true
	}
	return 0, false
}

// isReply tells whether a type of ICMP answers by identifier and sequence number.
func isReply(v6 bool, icmpType uint8) bool {
	if v6 {
		return icmpType == icmp6EchoReply
	}
	switch icmpType {
	case icmpEchoReply, icmpTimestampReply, icmpInformationReply, icmpMaskReply:
		return true
	}
	return false
}

// isError tells whether a type of ICMP quotes what it is about. RFC 6633 has the
// source quench ignored, but it was sent.
func isError(v6 bool, icmpType uint8) bool {
	if v6 {
		return icmpType >= icmp6Unreachable && icmpType <= icmp6ParameterProblem
	}
	switch icmpType {
	case icmpUnreachable, icmpSourceQuench, icmpRedirect, icmpTimeExceeded, icmpParameterProblem:
		return true
	}
	return false
}

// dnsKey returns what a Key has of the UDP datagram b, whose port on the side of
// the server is peer: the identifier if it is DNS, else zeros.
func dnsKey(peer [2]byte, b []byte) (c [4]byte) {
	if !isDNS(peer, b) {
		return c
	}
	return [4]byte{0, 1, b[udpLen], b[udpLen+1]}
}

func isDNS(peer [2]byte, b []byte) bool {
	port := binary.BigEndian.Uint16(peer[:])
	return (port == portDNS || port == portMDNS) && len(b) >= udpLen+dnsLen
}
