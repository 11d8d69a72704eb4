package bpf

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// reference is the second opinion on what a frame is: it dissects with gopacket
// and is written from the doc comments of Match and of Claims alone.
func reference(m Match, b []byte, meta Meta) verdict {
	var (
		tags      []uint16
		dst, src  []byte
		etherType layers.EthernetType
		payload   = b
	)
	if meta.VLANPresent {
		tags = append(tags, meta.VLANTCI&0xfff)
	}
	if m.NoLink {
		switch {
		case len(b) > 0 && b[0]&0xf0 == 0x40:
			etherType = layers.EthernetTypeIPv4
		case len(b) > 0 && b[0]&0xf0 == 0x60:
			etherType = layers.EthernetTypeIPv6
		}
	} else {
		var eth layers.Ethernet
		if eth.DecodeFromBytes(b, gopacket.NilDecodeFeedback) != nil {
			return other
		}
		dst, src, etherType, payload = eth.DstMAC, eth.SrcMAC, eth.EthernetType, b[etherLen:]
		for n := 0; n < 2 && (etherType == layers.EthernetTypeDot1Q || etherType == layers.EthernetTypeQinQ); n++ {
			var tag layers.Dot1Q
			if tag.DecodeFromBytes(payload, gopacket.NilDecodeFeedback) != nil {
				return other
			}
			tags, etherType, payload = append(tags, tag.VLANIdentifier), tag.Type, payload[4:]
		}
	}

	switch meta.PacketType {
	case packetHost, packetBroadcast, packetMulticast:
	case packetOtherHost:
		if m.NoLink || m.MAC.IsZero() || !bytes.Equal(dst, m.MAC[:]) {
			return other
		}
	default:
		return other
	}

	isTag := func(id uint16) bool { return id != 0 }
	foreign := !slices.Equal(filter(tags, isTag), filter(m.VLANs[:m.VLANCount], isTag))

	r := referencePacket(m, etherType, payload, dst, src)
	switch {
	case r.later && foreign, !r.claim:
		return other
	case r.reasons || foreign:
		return claimed
	default:
		return ours
	}
}

func filter(list []uint16, keep func(uint16) bool) []uint16 {
	return slices.DeleteFunc(slices.Clone(list), func(id uint16) bool { return !keep(id) })
}

// A finding is whether a packet claims to be what a Match describes, whether
// there are reasons not to believe it, and whether it is a later fragment.
type finding struct{ claim, reasons, later bool }

func referencePacket(m Match, etherType layers.EthernetType, b, dst, src []byte) finding {
	family := m.Local
	if m.Kind == NeighborClaim || !family.IsValid() && m.Kind != NeighborRequest {
		family = m.Peer
	}
	only4, only6 := family.Is4() || m.Kind == ARPReply, family.Is6()
	switch {
	case m.Kind == EchoReply && etherType == layers.EthernetTypeIPv4 && !only6:
		return referenceIPv4(m, b)
	case m.Kind == EchoReply && etherType == layers.EthernetTypeIPv6 && !only4:
		return referenceIPv6(m, b)
	case m.Kind != EchoReply && etherType == layers.EthernetTypeARP && !only6:
		return finding{claim: referenceARP(m, b)}
	case m.Kind != EchoReply && etherType == layers.EthernetTypeIPv6 && !only4:
		return finding{claim: referenceNeighbor(m, b, dst, src)}
	default:
		return finding{}
	}
}

func referenceARP(m Match, b []byte) bool {
	var arp layers.ARP
	if arp.DecodeFromBytes(b, gopacket.NilDecodeFeedback) != nil ||
		arp.AddrType != layers.LinkTypeEthernet || arp.Protocol != layers.EthernetTypeIPv4 ||
		arp.HwAddressSize != 6 || arp.ProtAddressSize != 4 {
		return false
	}
	switch m.Kind {
	case NeighborRequest:
		return arp.Operation == layers.ARPRequest && isLocal(m, arp.DstProtAddress)
	case NeighborClaim:
		about := arp.SourceProtAddress
		switch {
		case bytes.Equal(arp.SourceHwAddress, m.MAC[:]):
			return false
		case arp.Operation == layers.ARPRequest && isAddr(about, netip.IPv4Unspecified()):
			about = arp.DstProtAddress
		case arp.Operation != layers.ARPRequest && arp.Operation != layers.ARPReply:
			return false
		}
		return isPeer(m, about)
	}
	return arp.Operation == layers.ARPReply && isPeer(m, arp.SourceProtAddress) &&
		isLocal(m, arp.DstProtAddress) && bytes.Equal(arp.DstHwAddress, m.MAC[:])
}

func referenceNeighbor(m Match, b, dst, src []byte) bool {
	ip, payload, ok := dissectIPv6(b, false)
	if !ok || ip.NextHeader != layers.IPProtocolICMPv6 || ip.HopLimit != 255 {
		return false
	}
	var icmp layers.ICMPv6
	if icmp.DecodeFromBytes(payload, gopacket.NilDecodeFeedback) != nil || icmp.TypeCode.Code() != 0 || len(payload) < 24 {
		return false
	}
	target := payload[8:24]
	switch m.Kind {
	case NeighborRequest:
		return icmp.TypeCode.Type() == layers.ICMPv6TypeNeighborSolicitation && isLocal(m, target)
	case NeighborClaim:
		switch icmp.TypeCode.Type() {
		case layers.ICMPv6TypeNeighborSolicitation:
			if !ip.SrcIP.Equal(make([]byte, 16)) {
				return false
			}
		case layers.ICMPv6TypeNeighborAdvertisement:
		default:
			return false
		}
		return isPeer(m, target) && !bytes.Equal(src, m.MAC[:])
	}
	if icmp.TypeCode.Type() != layers.ICMPv6TypeNeighborAdvertisement || !isPeer(m, target) {
		return false
	}
	return isAddr(ip.DstIP, netip.IPv6LinkLocalAllNodes()) || bytes.Equal(dst, m.MAC[:]) && isLocal(m, ip.DstIP)
}

func referenceIPv4(m Match, b []byte) finding {
	ip, ok := dissectIPv4(b, false)
	if !ok || ip.Protocol != layers.IPProtocolICMPv4 || !isLocal(m, ip.DstIP) {
		return finding{}
	}
	peer, more := isPeer(m, ip.SrcIP), ip.Flags&layers.IPv4MoreFragments != 0
	if ip.FragOffset != 0 {
		return finding{claim: m.Fragments && peer, later: true}
	}
	var icmp layers.ICMPv4
	if icmp.DecodeFromBytes(ip.Payload, gopacket.NilDecodeFeedback) != nil {
		return finding{}
	}
	switch icmp.TypeCode.Type() {
	case layers.ICMPv4TypeEchoReply:
		return referenceReply(m, icmp.TypeCode.Code(), ip.Payload, peer, more)
	case layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4TypeRedirect,
		layers.ICMPv4TypeTimeExceeded, layers.ICMPv4TypeParameterProblem:
	default:
		return finding{}
	}

	quote, ok := dissectIPv4(icmp.Payload, true)
	if !ok || more || quote.FragOffset != 0 || quote.Protocol != layers.IPProtocolICMPv4 || !isLocal(m, quote.SrcIP) {
		return finding{}
	}
	var request layers.ICMPv4
	if request.DecodeFromBytes(quote.Payload, gopacket.NilDecodeFeedback) != nil {
		return finding{}
	}
	return finding{
		claim:   request.TypeCode.Type() == layers.ICMPv4TypeEchoRequest && request.Id == m.ID,
		reasons: request.TypeCode.Code() != 0 || !isPeer(m, quote.DstIP),
	}
}

func referenceIPv6(m Match, b []byte) finding {
	ip, payload, ok := dissectIPv6(b, false)
	if !ok || !isLocal(m, ip.DstIP) {
		return finding{}
	}
	message, fragment, ok := dissectFragment(ip, payload)
	if !ok {
		return finding{}
	}
	peer := isPeer(m, ip.SrcIP)
	if fragment.FragmentOffset != 0 {
		return finding{claim: m.Fragments && peer, later: true}
	}
	var icmp layers.ICMPv6
	if icmp.DecodeFromBytes(message, gopacket.NilDecodeFeedback) != nil || len(message) < 8 {
		return finding{}
	}
	switch icmp.TypeCode.Type() {
	case layers.ICMPv6TypeEchoReply:
		return referenceReply(m, icmp.TypeCode.Code(), message, peer, fragment.MoreFragments)
	case layers.ICMPv6TypeDestinationUnreachable, layers.ICMPv6TypePacketTooBig,
		layers.ICMPv6TypeTimeExceeded, layers.ICMPv6TypeParameterProblem:
	default:
		return finding{}
	}

	quote, payload, ok := dissectIPv6(message[8:], true)
	if !ok || fragment.MoreFragments || !isLocal(m, quote.SrcIP) {
		return finding{}
	}
	request, fragment, ok := dissectFragment(quote, payload)
	if !ok || fragment.FragmentOffset != 0 || len(request) < 8 {
		return finding{}
	}
	var header layers.ICMPv6
	if header.DecodeFromBytes(request, gopacket.NilDecodeFeedback) != nil {
		return finding{}
	}
	return finding{
		claim:   header.TypeCode.Type() == layers.ICMPv6TypeEchoRequest && binary.BigEndian.Uint16(request[4:]) == m.ID,
		reasons: header.TypeCode.Code() != 0 || !isPeer(m, quote.DstIP),
	}
}

// referenceReply judges an echo reply of either family, whose identifier and
// payload lie alike.
func referenceReply(m Match, code uint8, message []byte, peer, more bool) finding {
	return finding{
		claim:   binary.BigEndian.Uint16(message[4:]) == m.ID && (m.Fragments || !more),
		reasons: code != 0 || !peer || !bytes.HasPrefix(message[8:], m.Cookie[:m.CookieLen]),
	}
}

// dissectIPv4 has gopacket read a header. The contents of options are not ours
// to judge, nor is the length of a quoted datagram: gopacket, which does judge
// them, gets to see good ones.
func dissectIPv4(b []byte, quoted bool) (layers.IPv4, bool) {
	var ip layers.IPv4
	if len(b) < ipv4Len {
		return ip, false
	}
	b = bytes.Clone(b)
	for i := ipv4Len; i < int(b[0]&0xf)*4 && i < len(b); i++ {
		b[i] = 0 // end of options
	}
	if quoted {
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	}
	if binary.BigEndian.Uint16(b[2:]) == 0 {
		return ip, false // for gopacket: length unknown, segmentation offload
	}
	var cut truncated
	if ip.DecodeFromBytes(b, &cut) != nil || bool(cut) || ip.Version != 4 {
		return ip, false
	}
	return ip, true
}

// truncated takes gopacket's word that a packet says it is longer than it is.
type truncated bool

func (t *truncated) SetTruncated() { *t = true }

func isAddr(b []byte, want netip.Addr) bool {
	a, ok := netip.AddrFromSlice(b)
	return ok && a == want.WithZone("")
}

func isLocal(m Match, b []byte) bool { return m.Local == netip.Addr{} || isAddr(b, m.Local) }
func isPeer(m Match, b []byte) bool  { return m.Peer == netip.Addr{} || isAddr(b, m.Peer) }

// dissectIPv6 has gopacket read the fixed header. The options of the hop, which
// gopacket would read too, are another protocol to us; so is a length of 0, which
// says that the length is in them.
func dissectIPv6(b []byte, quoted bool) (layers.IPv6, []byte, bool) {
	var ip layers.IPv6
	if len(b) < ipv6Len || b[6] == 0 {
		return ip, nil, false
	}
	b = bytes.Clone(b)
	if quoted {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-ipv6Len))
	}
	var cut truncated
	if ip.DecodeFromBytes(b, &cut) != nil || bool(cut) || ip.Version != 6 {
		return ip, nil, false
	}
	return ip, ip.Payload, true
}

// dissectFragment returns the ICMPv6 message of an IPv6 datagram and the
// fragment header before it, if there is one.
func dissectFragment(ip layers.IPv6, payload []byte) (message []byte, fragment layers.IPv6Fragment, ok bool) {
	switch ip.NextHeader {
	case layers.IPProtocolICMPv6:
		return payload, fragment, true
	case layers.IPProtocolIPv6Fragment:
		err := fragment.DecodeFromBytes(payload, gopacket.NilDecodeFeedback)
		return fragment.Payload, fragment, err == nil && fragment.NextHeader == layers.IPProtocolICMPv6
	default:
		return nil, fragment, false
	}
}
