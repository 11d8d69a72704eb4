package bpf

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// reference is the second opinion on what a frame is: it dissects with gopacket
// and is written from the doc comments of Match and of Claims alone.
func reference(m Match, b []byte, meta Meta) verdict {
	if meta.PacketType > packetMulticast {
		return other
	}
	var eth layers.Ethernet
	if eth.DecodeFromBytes(b, gopacket.NilDecodeFeedback) != nil {
		return other
	}
	switch {
	case m.Kind == ARPReply && eth.EthernetType == layers.EthernetTypeARP && !meta.VLANPresent:
		if referenceARP(m, b[etherLen:]) {
			return ours
		}
	case m.Kind == EchoReply && eth.EthernetType == layers.EthernetTypeIPv4:
		claim, reasons := referenceIPv4(m, b[etherLen:])
		switch {
		case !claim:
		case reasons || meta.VLANPresent:
			return claimed
		default:
			return ours
		}
	}
	return other
}

func referenceARP(m Match, b []byte) bool {
	var arp layers.ARP
	if arp.DecodeFromBytes(b, gopacket.NilDecodeFeedback) != nil {
		return false
	}
	return arp.AddrType == layers.LinkTypeEthernet && arp.Protocol == layers.EthernetTypeIPv4 &&
		arp.HwAddressSize == 6 && arp.ProtAddressSize == 4 && arp.Operation == layers.ARPReply &&
		isAddr(arp.SourceProtAddress, m.Peer) && isAddr(arp.DstProtAddress, m.Local) &&
		bytes.Equal(arp.DstHwAddress, m.MAC[:])
}

// referenceIPv4 tells whether a datagram claims to be a reply, and whether there
// are reasons not to believe it.
func referenceIPv4(m Match, b []byte) (claim, reasons bool) {
	ip, ok := dissectIPv4(b, false)
	if !ok || ip.Flags&layers.IPv4MoreFragments != 0 || ip.FragOffset != 0 ||
		ip.Protocol != layers.IPProtocolICMPv4 || !isAddr(ip.DstIP, m.Local) {
		return false, false
	}
	var icmp layers.ICMPv4
	if icmp.DecodeFromBytes(ip.Payload, gopacket.NilDecodeFeedback) != nil {
		return false, false
	}

	switch icmp.TypeCode.Type() {
	case layers.ICMPv4TypeEchoReply:
		claim = icmp.Id == m.ID
		reasons = icmp.TypeCode.Code() != 0 || !isPeer(m, ip.SrcIP) ||
			!bytes.HasPrefix(icmp.Payload, m.Cookie[:m.CookieLen])
		return claim, reasons
	case layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4TypeRedirect,
		layers.ICMPv4TypeTimeExceeded, layers.ICMPv4TypeParameterProblem:
	default:
		return false, false
	}

	quote, ok := dissectIPv4(icmp.Payload, true)
	if !ok || quote.FragOffset != 0 || quote.Protocol != layers.IPProtocolICMPv4 || !isAddr(quote.SrcIP, m.Local) {
		return false, false
	}
	var request layers.ICMPv4
	if request.DecodeFromBytes(quote.Payload, gopacket.NilDecodeFeedback) != nil {
		return false, false
	}
	claim = request.TypeCode.Type() == layers.ICMPv4TypeEchoRequest && request.Id == m.ID
	reasons = request.TypeCode.Code() != 0 || !isPeer(m, quote.DstIP)
	return claim, reasons
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
	return ok && a == want
}

func isPeer(m Match, b []byte) bool { return m.Peer == netip.Addr{} || isAddr(b, m.Peer) }
