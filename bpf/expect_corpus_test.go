package bpf

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/l2ping/l2ping/l2/frame"
)

// A named is a frame of the corpus of pairs.
type named struct {
	name  string
	bytes []byte
}

// The builders are written by the RFCs, byte by byte. Checksums are zero: nobody
// here looks at them.

func be16(list ...uint16) (b []byte) {
	for _, v := range list {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return b
}

func be32(list ...uint32) (b []byte) {
	for _, v := range list {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func onEthernet(dst, src frame.MAC, etherType uint16, packet []byte) []byte {
	return slices.Concat(dst[:], src[:], be16(etherType), packet)
}

// ipPacket is an IPv4 or IPv6 datagram, by its addresses.
func ipPacket(src, dst netip.Addr, protocol uint8, payload []byte) []byte {
	if src.Is4() {
		return ip4Options(src, dst, protocol, nil, payload)
	}
	return slices.Concat(be32(0x6000_0000), be16(uint16(len(payload))), []byte{protocol, 255}, src.AsSlice(), dst.AsSlice(), payload)
}

func ip4Options(src, dst netip.Addr, protocol uint8, options, payload []byte) []byte {
	n := ipv4Len + len(options)
	return slices.Concat([]byte{0x40 | byte(n/4), 0}, be16(uint16(n+len(payload)), 0x1234, 0), []byte{64, protocol, 0, 0},
		src.AsSlice(), dst.AsSlice(), options, payload)
}

// fromUs is a datagram in a frame to the peer, and toUs one in a frame from it.
func fromUs(src, dst netip.Addr, protocol uint8, payload []byte) []byte {
	return onEthernet(peerMAC, localMAC, typeOf(src), ipPacket(src, dst, protocol, payload))
}

func toUs(src, dst netip.Addr, protocol uint8, payload []byte) []byte {
	return onEthernet(localMAC, peerMAC, typeOf(src), ipPacket(src, dst, protocol, payload))
}

func typeOf(a netip.Addr) uint16 {
	if a.Is4() {
		return etherTypeIPv4
	}
	return etherTypeIPv6
}

func echo(icmpType, code uint8, id, seq uint16, data string) []byte {
	return slices.Concat([]byte{icmpType, code}, be16(0, id, seq), []byte(data))
}

func tcpSegment(sport, dport uint16, seq, ack uint32, flags uint8, data string) []byte {
	return slices.Concat(be16(sport, dport), be32(seq, ack), []byte{5 << 4, flags}, be16(8192, 0, 0), []byte(data))
}

func udpDatagram(sport, dport uint16, data []byte) []byte {
	return slices.Concat(be16(sport, dport, uint16(udpLen+len(data)), 0), data)
}

// dnsMessage asks for or answers about the root.
func dnsMessage(id uint16, response bool) []byte {
	flags := uint16(0x0100)
	if response {
		flags = 0x8180
	}
	return slices.Concat(be16(id, flags, 1, 0, 0, 0), []byte{0}, be16(1, 1))
}

func neighborMessage(icmpType uint8, target netip.Addr) []byte {
	return slices.Concat([]byte{icmpType, 0, 0, 0}, be32(0), target.AsSlice())
}

func routerMessage(icmpType uint8) []byte {
	b := slices.Concat([]byte{icmpType, 0, 0, 0}, be32(0))
	if icmpType == icmp6RouterAdvertisement {
		b = append(b, make([]byte, 8)...)
	}
	return b
}

func arpPacket(op uint16, senderMAC frame.MAC, sender netip.Addr, targetMAC frame.MAC, target netip.Addr) []byte {
	return slices.Concat(be32(arpEtherIPv4), be16(0x0604, op), senderMAC[:], sender.AsSlice(), targetMAC[:], target.AsSlice())
}

// about is an ICMP error from a router about a frame that we sent, of which it
// quotes n bytes.
func about(request []byte, icmpType uint8, n int) []byte {
	packet := request[etherLen:]
	packet = packet[:min(n, len(packet))]
	message := slices.Concat([]byte{icmpType, 0, 0, 0}, be32(0), packet)
	if packet[0]>>4 == 4 {
		return toUs(routerIP, netip.AddrFrom4([4]byte(packet[12:])), protocolICMP, message)
	}
	return toUs(routerIP6, netip.AddrFrom16([16]byte(packet[8:])), protocolICMPv6, message)
}

// changed is a frame with another byte at a place.
func changed(b []byte, at int, to byte) []byte {
	b = slices.Clone(b)
	b[at] = to
	return b
}

// behind puts an extension header of eight bytes into an IPv6 frame.
func behind(b []byte, header uint8, rest ...byte) []byte {
	const at = etherLen + ipv6Len
	ext := append([]byte{b[etherLen+6]}, rest...)
	b = slices.Concat(b[:at], ext, make([]byte, 8-len(ext)), b[at:])
	b[etherLen+6] = header
	binary.BigEndian.PutUint16(b[etherLen+4:], uint16(len(b)-at))
	return b
}

// withOptions puts no-ops into the header of an IPv4 frame.
func withOptions(b []byte) []byte {
	b = slices.Concat(b[:etherLen+ipv4Len], []byte{1, 1, 1, 0}, b[etherLen+ipv4Len:])
	b[etherLen]++
	binary.BigEndian.PutUint16(b[etherLen+2:], uint16(len(b)-etherLen))
	return b
}

const (
	quote4Len = ipv4Len + quotedLen
	quote6Len = ipv6Len + quotedLen
	ttlAt     = etherLen + 8
	hopsAt    = etherLen + 7
)

var (
	noAddr     = netip.IPv4Unspecified()
	noAddr6    = netip.IPv6Unspecified()
	allHosts   = netip.MustParseAddr("224.0.0.1")
	allRouters = netip.IPv6LinkLocalAllRouters()
	mdnsGroup  = netip.MustParseAddr("224.0.0.251")
	broadcast  = netip.MustParseAddr("255.255.255.255")
	subnetAll  = netip.MustParseAddr("198.51.100.255")
	solicited  = netip.MustParseAddr("ff02::1:ff00:b7") // peerIP6's
)

// pairRequests are the requests of the corpus. Their answers are pairAnswers.
func pairRequests() []named {
	syn := tcpSegment(40000, 80, 1000, 0, tcpSYN, "")
	query := udpDatagram(40000, portDNS, dnsMessage(7, false))
	list := []named{
		{"who-has", onEthernet(frame.Broadcast, localMAC, etherTypeARP, arpPacket(1, localMAC, localIP, frame.MAC{}, peerIP))},
		{"address probe", onEthernet(frame.Broadcast, localMAC, etherTypeARP, arpPacket(1, localMAC, noAddr, frame.MAC{}, peerIP))},
		{"ARP reply", onEthernet(frame.Broadcast, localMAC, etherTypeARP, arpPacket(2, localMAC, localIP, peerMAC, peerIP))},

		{"echo", fromUs(localIP, peerIP, protocolICMP, echo(icmpEchoRequest, 0, 7, 1, "data"))},
		{"echo, 2nd", fromUs(localIP, peerIP, protocolICMP, echo(icmpEchoRequest, 0, 7, 2, "data"))},
		{"timestamp", fromUs(localIP, peerIP, protocolICMP, echo(icmpTimestampRequest, 0, 7, 1, "twelve bytes"))},
		{"information", fromUs(localIP, peerIP, protocolICMP, echo(icmpInformationRequest, 0, 7, 1, ""))},
		{"address mask", fromUs(localIP, peerIP, protocolICMP, echo(icmpMaskRequest, 0, 7, 1, "mask"))},
		{"echo reply, unasked", fromUs(localIP, peerIP, protocolICMP, echo(icmpEchoReply, 0, 7, 1, "data"))},
		{"echo to another", fromUs(localIP, otherIP, protocolICMP, echo(icmpEchoRequest, 0, 7, 1, "data"))},
		{"echo to a group", onEthernet(groupMAC, localMAC, etherTypeIPv4, ipPacket(localIP, allHosts, protocolICMP, echo(icmpEchoRequest, 0, 7, 1, "data")))},
		{"echo to a subnet", onEthernet(frame.Broadcast, localMAC, etherTypeIPv4, ipPacket(localIP, subnetAll, protocolICMP, echo(icmpEchoRequest, 0, 7, 1, "data")))},

		{"SYN", fromUs(localIP, peerIP, protocolTCP, syn)},
		{"SYN, other sequence", fromUs(localIP, peerIP, protocolTCP, tcpSegment(40000, 80, 5000, 0, tcpSYN, ""))},
		{"SYN, wrap", fromUs(localIP, peerIP, protocolTCP, tcpSegment(40000, 81, 0xffff_ffff, 0, tcpSYN, ""))},
		{"SYN with data", fromUs(localIP, peerIP, protocolTCP, tcpSegment(40000, 80, 1000, 0, tcpSYN, "data"))},
		{"ACK with data", fromUs(localIP, peerIP, protocolTCP, tcpSegment(40000, 80, 1001, 501, tcpACK, "data"))},
		{"FIN", fromUs(localIP, peerIP, protocolTCP, tcpSegment(40000, 80, 1001, 501, tcpACK|tcpFIN, ""))},
		{"keep-alive", fromUs(localIP, peerIP, protocolTCP, tcpSegment(40000, 80, 1000, 501, tcpACK, ""))},
		{"SYN-ACK", fromUs(localIP, peerIP, protocolTCP, tcpSegment(40000, 80, 1000, 501, tcpSYN|tcpACK, ""))},
		{"RST", fromUs(localIP, peerIP, protocolTCP, tcpSegment(40000, 80, 1001, 501, tcpRST, ""))},

		{"UDP", fromUs(localIP, peerIP, protocolUDP, udpDatagram(40000, 7, []byte("data")))},
		{"UDP to another port", fromUs(localIP, peerIP, protocolUDP, udpDatagram(40000, 9, []byte("data")))},
		{"DNS", fromUs(localIP, peerIP, protocolUDP, query)},
		{"DNS, 2nd", fromUs(localIP, peerIP, protocolUDP, udpDatagram(40000, portDNS, dnsMessage(8, false)))},
		{"DNS response", fromUs(localIP, peerIP, protocolUDP, udpDatagram(40000, portDNS, dnsMessage(7, true)))},
		{"mDNS", onEthernet(groupMAC, localMAC, etherTypeIPv4, ipPacket(localIP, mdnsGroup, protocolUDP, udpDatagram(portMDNS, portMDNS, dnsMessage(0, false))))},
		{"DHCP", onEthernet(frame.Broadcast, localMAC, etherTypeIPv4, ipPacket(noAddr, broadcast, protocolUDP, udpDatagram(68, 67, make([]byte, 240))))},
		{"other protocol", fromUs(localIP, peerIP, 253, []byte("data"))},
		{"another protocol", fromUs(localIP, peerIP, 254, []byte("data"))},

		{"IPv6 echo", fromUs(localIP6, peerIP6, protocolICMPv6, echo(icmp6EchoRequest, 0, 7, 1, "data"))},
		{"IPv6 echo, 2nd", fromUs(localIP6, peerIP6, protocolICMPv6, echo(icmp6EchoRequest, 0, 7, 2, "data"))},
		{"IPv6 echo to all nodes", onEthernet(nodesMAC, localMAC, etherTypeIPv6, ipPacket(localIP6, allNodes6, protocolICMPv6, echo(icmp6EchoRequest, 0, 7, 1, "data")))},
		{"solicitation", onEthernet(nodesMAC, localMAC, etherTypeIPv6, ipPacket(localIP6, solicited, protocolICMPv6, neighborMessage(icmp6Solicitation, peerIP6)))},
		{"solicitation to one", fromUs(localIP6, peerIP6, protocolICMPv6, neighborMessage(icmp6Solicitation, peerIP6))},
		{"IPv6 address probe", onEthernet(nodesMAC, localMAC, etherTypeIPv6, ipPacket(noAddr6, solicited, protocolICMPv6, neighborMessage(icmp6Solicitation, peerIP6)))},
		{"router solicitation", onEthernet(nodesMAC, localMAC, etherTypeIPv6, ipPacket(localIP6, allRouters, protocolICMPv6, routerMessage(icmp6RouterSolicitation)))},
		{"IPv6 SYN", fromUs(localIP6, peerIP6, protocolTCP, syn)},
		{"IPv6 UDP", fromUs(localIP6, peerIP6, protocolUDP, udpDatagram(40000, 7, []byte("data")))},
		{"IPv6 DNS", fromUs(localIP6, peerIP6, protocolUDP, query)},
		{"IPv6 other protocol", fromUs(localIP6, peerIP6, 253, []byte("data"))},

		{"own protocol", onEthernet(peerMAC, localMAC, 0x88b5, []byte("data"))},
	}
	find := func(name string) []byte { return frameOf(list, name) }
	return append(list,
		named{"echo with options", withOptions(find("echo"))},
		named{"echo in VLAN 5", insertTag(find("echo"), 5)},
		named{"echo in VLAN 5.7", insertTag(insertTag(find("echo"), 7), 5)},
		named{"who-has in VLAN 5", insertTag(find("who-has"), 5)},
		named{"IPv6 echo with a fragment header", behind(find("IPv6 echo"), protocolFragment)},
		named{"IPv6 echo with hop options", behind(find("IPv6 echo"), protocolHopByHop, 0, 1, 4)},
		named{"IPv6 echo with destination options", behind(find("IPv6 echo"), protocolDestination, 0, 1, 4)},
		named{"later fragment", changed(find("echo"), etherLen+7, 185)},
		named{"first fragment", changed(find("echo"), etherLen+6, 0x20)},
	)
}

// pairAnswers are what comes back, and what only looks like it.
func pairAnswers() []named {
	requests := pairRequests()
	of := func(name string) []byte { return frameOf(requests, name) }
	list := []named{
		{"is-at", onEthernet(localMAC, peerMAC, etherTypeARP, arpPacket(2, peerMAC, peerIP, localMAC, localIP))},
		{"is-at, to a probe", onEthernet(localMAC, peerMAC, etherTypeARP, arpPacket(2, peerMAC, peerIP, localMAC, noAddr))},
		{"is-at of another", onEthernet(localMAC, otherMAC, etherTypeARP, arpPacket(2, otherMAC, otherIP, localMAC, localIP))},
		{"announcement", onEthernet(frame.Broadcast, peerMAC, etherTypeARP, arpPacket(1, peerMAC, peerIP, frame.MAC{}, peerIP))},
		{"cut is-at", onEthernet(localMAC, peerMAC, etherTypeARP, arpPacket(2, peerMAC, peerIP, localMAC, localIP))[:etherLen+arpLen-1]},

		{"echo reply", toUs(peerIP, localIP, protocolICMP, echo(icmpEchoReply, 0, 7, 1, "data"))},
		{"echo reply, 2nd", toUs(peerIP, localIP, protocolICMP, echo(icmpEchoReply, 0, 7, 2, "data"))},
		{"echo reply with another id", toUs(peerIP, localIP, protocolICMP, echo(icmpEchoReply, 0, 8, 1, "data"))},
		{"echo reply with other data", toUs(peerIP, localIP, protocolICMP, echo(icmpEchoReply, 0, 7, 1, "atad"))},
		{"echo reply of another", toUs(otherIP, localIP, protocolICMP, echo(icmpEchoReply, 0, 7, 1, "data"))},
		{"echo reply to another", toUs(peerIP, otherIP, protocolICMP, echo(icmpEchoReply, 0, 7, 1, "data"))},
		{"echo reply to the group", onEthernet(groupMAC, peerMAC, etherTypeIPv4, ipPacket(peerIP, allHosts, protocolICMP, echo(icmpEchoReply, 0, 7, 1, "data")))},
		{"timestamp reply", toUs(peerIP, localIP, protocolICMP, echo(icmpTimestampReply, 0, 7, 1, "twelve bytes"))},
		{"information reply", toUs(peerIP, localIP, protocolICMP, echo(icmpInformationReply, 0, 7, 1, ""))},
		{"address mask reply", toUs(peerIP, localIP, protocolICMP, echo(icmpMaskReply, 0, 7, 1, "mask"))},
		{"their echo", toUs(peerIP, localIP, protocolICMP, echo(icmpEchoRequest, 0, 7, 1, "data"))},

		{"SYN-ACK", toUs(peerIP, localIP, protocolTCP, tcpSegment(80, 40000, 500, 1001, tcpSYN|tcpACK, ""))},
		{"SYN-ACK of data", toUs(peerIP, localIP, protocolTCP, tcpSegment(80, 40000, 500, 1005, tcpSYN|tcpACK, ""))},
		{"SYN-ACK of nothing", toUs(peerIP, localIP, protocolTCP, tcpSegment(80, 40000, 500, 1000, tcpSYN|tcpACK, ""))},
		{"SYN-ACK of too much", toUs(peerIP, localIP, protocolTCP, tcpSegment(80, 40000, 500, 1008, tcpSYN|tcpACK, ""))},
		{"SYN-ACK, wrap", toUs(peerIP, localIP, protocolTCP, tcpSegment(81, 40000, 500, 0, tcpSYN|tcpACK, ""))},
		{"SYN-ACK from another port", toUs(peerIP, localIP, protocolTCP, tcpSegment(81, 40000, 500, 1001, tcpSYN|tcpACK, ""))},
		{"RST-ACK", toUs(peerIP, localIP, protocolTCP, tcpSegment(80, 40000, 0, 1001, tcpRST|tcpACK, ""))},
		{"RST-ACK, other number", toUs(peerIP, localIP, protocolTCP, tcpSegment(80, 40000, 0, 7777, tcpRST|tcpACK, ""))},
		{"RST", toUs(peerIP, localIP, protocolTCP, tcpSegment(80, 40000, 501, 0, tcpRST, ""))},
		{"RST, other number", toUs(peerIP, localIP, protocolTCP, tcpSegment(80, 40000, 7777, 0, tcpRST, ""))},
		{"their SYN", toUs(peerIP, localIP, protocolTCP, tcpSegment(80, 40000, 500, 0, tcpSYN, ""))},
		{"ACK of data", toUs(peerIP, localIP, protocolTCP, tcpSegment(80, 40000, 501, 1005, tcpACK, ""))},
		{"ACK of FIN", toUs(peerIP, localIP, protocolTCP, tcpSegment(80, 40000, 501, 1002, tcpACK, ""))},
		{"ACK of nothing", toUs(peerIP, localIP, protocolTCP, tcpSegment(80, 40000, 501, 1001, tcpACK, ""))},
		{"ACK of another window", toUs(peerIP, localIP, protocolTCP, tcpSegment(80, 40000, 501, 9000, tcpACK, ""))},
		{"ACK, other sequence", toUs(peerIP, localIP, protocolTCP, tcpSegment(80, 40000, 9000, 1005, tcpACK, ""))},
		{"no flags", toUs(peerIP, localIP, protocolTCP, tcpSegment(80, 40000, 501, 1001, 0, ""))},
		{"cut TCP", toUs(peerIP, localIP, protocolTCP, tcpSegment(80, 40000, 500, 1001, tcpSYN|tcpACK, "")[:19])},

		{"UDP", toUs(peerIP, localIP, protocolUDP, udpDatagram(7, 40000, []byte("other data")))},
		{"UDP from another port", toUs(peerIP, localIP, protocolUDP, udpDatagram(8, 40000, []byte("data")))},
		{"UDP to another port", toUs(peerIP, localIP, protocolUDP, udpDatagram(7, 40001, []byte("data")))},
		{"UDP of another", toUs(otherIP, localIP, protocolUDP, udpDatagram(7, 40000, []byte("data")))},
		{"DNS", toUs(peerIP, localIP, protocolUDP, udpDatagram(portDNS, 40000, dnsMessage(7, true)))},
		{"DNS, 2nd", toUs(peerIP, localIP, protocolUDP, udpDatagram(portDNS, 40000, dnsMessage(8, true)))},
		{"DNS query", toUs(peerIP, localIP, protocolUDP, udpDatagram(portDNS, 40000, dnsMessage(7, false)))},
		{"mDNS to the group", onEthernet(groupMAC, peerMAC, etherTypeIPv4, ipPacket(peerIP, mdnsGroup, protocolUDP, udpDatagram(portMDNS, portMDNS, dnsMessage(0, true))))},
		{"mDNS to us", toUs(peerIP, localIP, protocolUDP, udpDatagram(portMDNS, portMDNS, dnsMessage(0, true)))},
		{"DHCP to all", onEthernet(frame.Broadcast, peerMAC, etherTypeIPv4, ipPacket(peerIP, broadcast, protocolUDP, udpDatagram(67, 68, make([]byte, 240))))},
		{"DHCP to the offer", toUs(peerIP, localIP, protocolUDP, udpDatagram(67, 68, make([]byte, 240)))},
		{"other protocol", toUs(peerIP, localIP, 253, []byte("more data"))},

		{"IPv6 echo reply", toUs(peerIP6, localIP6, protocolICMPv6, echo(icmp6EchoReply, 0, 7, 1, "data"))},
		{"IPv6 echo reply with other data", toUs(peerIP6, localIP6, protocolICMPv6, echo(icmp6EchoReply, 0, 7, 1, "atad"))},
		{"IPv6 echo reply with less data", toUs(peerIP6, localIP6, protocolICMPv6, echo(icmp6EchoReply, 0, 7, 1, "dat"))},
		{"IPv6 echo reply of another", toUs(otherIP6, localIP6, protocolICMPv6, echo(icmp6EchoReply, 0, 7, 1, "data"))},
		{"advertisement", toUs(peerIP6, localIP6, protocolICMPv6, neighborMessage(icmp6Advertisement, peerIP6))},
		{"advertisement of another", toUs(otherIP6, localIP6, protocolICMPv6, neighborMessage(icmp6Advertisement, otherIP6))},
		{"advertisement to all nodes", onEthernet(nodesMAC, peerMAC, etherTypeIPv6, ipPacket(peerIP6, allNodes6, protocolICMPv6, neighborMessage(icmp6Advertisement, peerIP6)))},
		{"router advertisement", onEthernet(nodesMAC, peerMAC, etherTypeIPv6, ipPacket(routerIP6, allNodes6, protocolICMPv6, routerMessage(icmp6RouterAdvertisement)))},
		{"router advertisement to us", toUs(routerIP6, localIP6, protocolICMPv6, routerMessage(icmp6RouterAdvertisement))},
		{"IPv6 SYN-ACK", toUs(peerIP6, localIP6, protocolTCP, tcpSegment(80, 40000, 500, 1001, tcpSYN|tcpACK, ""))},
		{"IPv6 UDP", toUs(peerIP6, localIP6, protocolUDP, udpDatagram(7, 40000, []byte("other data")))},
		{"IPv6 DNS", toUs(peerIP6, localIP6, protocolUDP, udpDatagram(portDNS, 40000, dnsMessage(7, true)))},
		{"IPv6 other protocol", toUs(peerIP6, localIP6, 253, []byte("more data"))},

		{"unreachable echo", about(of("echo"), icmpUnreachable, quote4Len)},
		{"source quench of echo", about(of("echo"), icmpSourceQuench, quote4Len)},
		{"redirect of echo", about(of("echo"), icmpRedirect, 99)},
		{"expired echo with options", about(of("echo with options"), icmpTimeExceeded, quote4Len+4)},
		{"bad parameter of echo", about(of("echo"), icmpParameterProblem, quote4Len)},
		{"error of an unknown type", about(of("echo"), 6, quote4Len)},
		{"expired echo to another", about(of("echo to another"), icmpTimeExceeded, quote4Len)},
		{"expired echo to a subnet", about(of("echo to a subnet"), icmpTimeExceeded, quote4Len)},
		{"expired echo, cut", about(of("echo"), icmpTimeExceeded, quote4Len-1)},
		{"expired SYN", about(of("SYN"), icmpTimeExceeded, quote4Len)},
		{"expired SYN, other sequence", about(of("SYN, other sequence"), icmpTimeExceeded, quote4Len)},
		{"expired SYN, whole", about(of("SYN"), icmpTimeExceeded, 99)},
		{"unreachable UDP", about(of("UDP"), icmpUnreachable, quote4Len)},
		{"unreachable UDP port", about(of("UDP to another port"), icmpUnreachable, 99)},
		{"unreachable DNS", about(of("DNS"), icmpUnreachable, 99)},
		{"unknown protocol", about(of("other protocol"), icmpUnreachable, ipv4Len)},
		{"expired later fragment", about(of("later fragment"), icmpTimeExceeded, 99)},
		{"error for another", changed(about(of("echo"), icmpTimeExceeded, quote4Len), etherLen+19, 99)},

		{"unreachable IPv6 echo", about(of("IPv6 echo"), icmp6Unreachable, 99)},
		{"too big IPv6 echo", about(of("IPv6 echo"), icmp6PacketTooBig, quote6Len)},
		{"expired IPv6 echo, 2nd", about(of("IPv6 echo, 2nd"), icmp6TimeExceeded, 99)},
		{"expired IPv6 echo with hop options", about(of("IPv6 echo with hop options"), icmp6TimeExceeded, 99)},
		{"expired IPv6 fragment", about(of("IPv6 echo with a fragment header"), icmp6TimeExceeded, 99)},
		{"bad parameter of IPv6 SYN", about(of("IPv6 SYN"), icmp6ParameterProblem, 99)},
		{"unreachable IPv6 UDP", about(of("IPv6 UDP"), icmp6Unreachable, 99)},
		{"unknown IPv6 protocol", about(of("IPv6 other protocol"), icmp6ParameterProblem, 99)},

		{"own protocol", onEthernet(localMAC, peerMAC, 0x88b5, []byte("data"))},
	}
	find := func(name string) []byte { return frameOf(list, name) }
	return append(list,
		named{"echo reply with options", withOptions(find("echo reply"))},
		named{"echo reply, padded", append(slices.Clone(find("echo reply")), make([]byte, 14)...)},
		named{"echo reply, cut", find("echo reply")[:etherLen+ipv4Len+icmpLen]},
		named{"echo reply, first fragment", changed(find("echo reply"), etherLen+6, 0x20)},
		named{"echo reply, later fragment", changed(find("echo reply"), etherLen+7, 185)},
		named{"echo reply with a code", changed(find("echo reply"), etherLen+ipv4Len+1, 1)},
		named{"echo reply in VLAN 5", insertTag(find("echo reply"), 5)},
		named{"echo reply in VLAN 6", insertTag(find("echo reply"), 6)},
		named{"echo reply in VLAN 5.7", insertTag(insertTag(find("echo reply"), 7), 5)},
		named{"is-at in VLAN 5", insertTag(find("is-at"), 5)},
		named{"expired echo in VLAN 5", insertTag(about(of("echo"), icmpTimeExceeded, quote4Len), 5)},
		named{"IPv6 echo reply with a fragment header", behind(find("IPv6 echo reply"), protocolFragment)},
		named{"IPv6 echo reply, later fragment", behind(find("IPv6 echo reply"), protocolFragment, 0, 1)},
		named{"IPv6 echo reply with hop options", behind(find("IPv6 echo reply"), protocolHopByHop, 0, 1, 4)},
		named{"IPv6 echo reply behind two headers", behind(behind(find("IPv6 echo reply"), protocolFragment), protocolDestination, 0, 1, 4)},
		named{"advertisement with hop limit 254", changed(find("advertisement"), hopsAt, 254)},
		named{"advertisement with a code", changed(find("advertisement"), etherLen+ipv6Len+1, 1)},
		named{"advertisement behind hop options", behind(find("advertisement"), protocolHopByHop, 0, 1, 4)},
		named{"router advertisement with hop limit 64", changed(find("router advertisement"), hopsAt, 64)},
		named{"quoted id changed", changed(find("unreachable echo"), etherLen+ipv4Len+icmpLen+5, 0x99)},
	)
}

// frameOf returns a frame of a list by its name.
func frameOf(list []named, name string) []byte {
	for _, n := range list {
		if n.name == name {
			return n.bytes
		}
	}
	panic("no frame " + name)
}
