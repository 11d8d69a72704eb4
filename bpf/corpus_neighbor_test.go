package bpf

import (
	"bytes"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/l2/frame"
)

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

func arpOperation(op uint16) func(*layers.Ethernet, *layers.ARP) {
	return func(_ *layers.Ethernet, a *layers.ARP) { a.Operation = op }
}

// newARPProbe makes another host's question whether it may take the peer's
// address.
func newARPProbe(mod ...func(*layers.Ethernet, *layers.ARP)) []byte {
	return newARP(append([]func(*layers.Ethernet, *layers.ARP){func(e *layers.Ethernet, a *layers.ARP) {
		e.SrcMAC, e.DstMAC = otherMAC.HardwareAddr(), frame.Broadcast.HardwareAddr()
		a.Operation, a.SourceHwAddress, a.DstHwAddress = layers.ARPRequest, otherMAC[:], make([]byte, 6)
		a.SourceProtAddress, a.DstProtAddress = make([]byte, 4), peerIP.AsSlice()
	}}, mod...)...)
}

// arpClaims are the verdicts on what the peer says in ARP, whatever it is.
func arpClaims() wants { return by(ours, mClaim4, mClaimBoth, mClaimVLAN) }

// arpReplies are the verdicts on an ARP reply.
func arpReplies() wants {
	return by(ours, mARP, mARPAny, mARPVLAN, mNeighbor4, mNeighborBoth).with(arpClaims())
}

// arpRequests are those on a request for us.
func arpRequests() wants { return by(ours, mRequest4).with(arpClaims()) }

func arpSamples() []sample {
	type (
		eth = layers.Ethernet
		arp = layers.ARP
	)
	anybody := arpReplies().only(mARPAny, mNeighborBoth)
	anyClaim := arpClaims().only(mClaimBoth)
	request := func(mod ...func(*eth, *arp)) []byte {
		return newARP(append([]func(*eth, *arp){func(e *eth, a *arp) {
			e.DstMAC = frame.Broadcast.HardwareAddr()
			a.Operation, a.DstHwAddress = layers.ARPRequest, make([]byte, 6)
		}}, mod...)...)
	}
	ownMAC := func(e *eth, a *arp) { e.SrcMAC, a.SourceHwAddress = localMAC.HardwareAddr(), localMAC[:] }
	return []sample{
		{name: "ARP reply", bytes: newARP(), want: arpReplies()},
		{name: "ARP reply, padded", bytes: append(newARP(), make([]byte, 18)...), want: arpReplies()},
		{name: "ARP reply by broadcast", bytes: newARP(func(e *eth, _ *arp) { e.DstMAC = frame.Broadcast.HardwareAddr() }), want: arpReplies()},
		{name: "ARP reply to another station", bytes: newARP(func(e *eth, _ *arp) { e.DstMAC = otherMAC.HardwareAddr() })},
		{name: "ARP reply of another", bytes: newARP(func(_ *eth, a *arp) { a.SourceProtAddress = otherIP.AsSlice() }), want: anybody.with(anyClaim)},
		{name: "ARP reply for another", bytes: newARP(func(_ *eth, a *arp) { a.DstProtAddress = otherIP.AsSlice() }), want: anybody.with(arpClaims())},
		{name: "ARP reply to another MAC", bytes: newARP(func(_ *eth, a *arp) { a.DstHwAddress = otherMAC[:] }), want: arpClaims()},
		{name: "ARP reply from another MAC", bytes: newARP(func(_ *eth, a *arp) { a.SourceHwAddress = otherMAC[:] }), want: arpReplies()},
		{name: "ARP reply from our own MAC", bytes: newARP(ownMAC), want: by(ours, mARP, mARPAny, mARPVLAN, mNeighbor4, mNeighborBoth)},
		{name: "ARP reply in a frame from our own MAC", bytes: newARP(func(e *eth, _ *arp) { e.SrcMAC = localMAC.HardwareAddr() }), want: arpReplies()},
		{name: "ARP reply to 0.0.0.0", bytes: newARP(func(_ *eth, a *arp) { a.DstProtAddress = make([]byte, 4) }), want: anybody.with(by(ours, mARPProbe)).with(arpClaims())},
		{name: "ARP reply of 0.0.0.0 to the peer", bytes: newARP(func(_ *eth, a *arp) {
			a.SourceProtAddress, a.DstProtAddress = make([]byte, 4), peerIP.AsSlice()
		}), want: anybody.with(anyClaim)},
		{name: "ARP reply of another operation", bytes: newARP(arpOperation(3))},
		{name: "ARP reply of operation 0", bytes: newARP(arpOperation(0))},
		{name: "ARP reply of operation 0x101", bytes: newARP(arpOperation(0x101))},
		{name: "ARP announcement by a reply", bytes: newARP(func(_ *eth, a *arp) { a.DstProtAddress = a.SourceProtAddress }), want: anybody.with(arpClaims())},
		{name: "IEEE 802 ARP", bytes: newARP(func(_ *eth, a *arp) { a.AddrType = 6 })},
		{name: "ARP with EtherType RARP", bytes: newARP(func(e *eth, _ *arp) { e.EthernetType = 0x8035 })},
		{name: "ARP with EtherType IPv6", bytes: newARP(func(e *eth, _ *arp) { e.EthernetType = layers.EthernetTypeIPv6 })},
		{name: "ARP reply, one byte short", bytes: newARP()[:etherLen+arpLen-1]},

		{name: "ARP request", bytes: request(), want: arpRequests()},
		{name: "ARP request by unicast", bytes: newARP(arpOperation(layers.ARPRequest)), want: arpRequests()},
		{name: "ARP request to another station", bytes: request(func(e *eth, _ *arp) { e.DstMAC = otherMAC.HardwareAddr() })},
		{name: "ARP request for another", bytes: request(func(_ *eth, a *arp) { a.DstProtAddress = otherIP.AsSlice() }), want: arpClaims()},
		{name: "ARP request of another", bytes: request(func(_ *eth, a *arp) { a.SourceProtAddress = otherIP.AsSlice() }), want: by(ours, mRequest4).with(anyClaim)},
		{name: "ARP request for the peer", bytes: request(func(_ *eth, a *arp) {
			a.SourceProtAddress, a.DstProtAddress = otherIP.AsSlice(), peerIP.AsSlice()
		}), want: anyClaim},
		{name: "ARP request from our own MAC", bytes: request(ownMAC), want: by(ours, mRequest4)},
		{name: "ARP announcement", bytes: request(func(_ *eth, a *arp) { a.DstProtAddress = a.SourceProtAddress }), want: arpClaims()},
		{name: "ARP announcement from our own MAC", bytes: request(ownMAC, func(_ *eth, a *arp) { a.DstProtAddress = a.SourceProtAddress })},
		{name: "ARP request, one byte short", bytes: request()[:etherLen+arpLen-1]},
		{name: "ARP probe", bytes: request(func(_ *eth, a *arp) { a.SourceProtAddress = make([]byte, 4) }), want: by(ours, mRequest4).with(anyClaim)},
		{name: "ARP probe for the peer", bytes: newARPProbe(), want: arpClaims()},
		{name: "ARP probe for the peer from our own MAC", bytes: newARPProbe(ownMAC)},
		{name: "ARP probe for the peer in a frame from our own MAC", bytes: newARPProbe(func(e *eth, _ *arp) { e.SrcMAC = localMAC.HardwareAddr() }), want: arpClaims()},
		{name: "ARP probe from 0.0.0.1", bytes: newARPProbe(func(_ *eth, a *arp) { a.SourceProtAddress = []byte{0, 0, 0, 1} }), want: anyClaim},
		{name: "ARP probe for the peer, one byte short", bytes: newARPProbe()[:etherLen+arpLen-1]},
	}
}

// A message is one of neighbor discovery, field by field.
type message struct {
	eth  layers.Ethernet
	ip   layers.IPv6
	icmp layers.ICMPv6
	body struct {
		flags   uint8
		target  []byte
		options []byte
	}
}

func newMessage(mod ...func(*message)) []byte {
	m := message{
		eth: layers.Ethernet{SrcMAC: peerMAC.HardwareAddr(), DstMAC: localMAC.HardwareAddr(), EthernetType: layers.EthernetTypeIPv6},
		ip: layers.IPv6{
			Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6,
			SrcIP: peerIP6.AsSlice(), DstIP: localIP6.AsSlice(),
		},
	}
	for _, f := range mod {
		f(&m)
	}
	if err := m.icmp.SetNetworkLayerForChecksum(&m.ip); err != nil {
		panic(err)
	}
	body := append([]byte{m.body.flags, 0, 0, 0}, m.body.target...)
	b := serialize(&m.eth, &m.ip, &m.icmp, gopacket.Payload(append(body, m.body.options...)))
	return b[:min(len(b), etherLen+ipv6Len+int(m.ip.Length))]
}

// newAdvertisement makes the answer to a solicitation of ours.
func newAdvertisement(mod ...func(*message)) []byte {
	return newMessage(append([]func(*message){func(m *message) {
		m.icmp.TypeCode = layers.CreateICMPv6TypeCode(icmp6Advertisement, 0)
		m.body.flags = 0x60 // solicited, override
		m.body.target = peerIP6.AsSlice()
		m.body.options = append([]byte{2, 1}, peerMAC[:]...)
	}}, mod...)...)
}

// newSolicitation makes one that asks for us.
func newSolicitation(mod ...func(*message)) []byte {
	return newMessage(append([]func(*message){func(m *message) {
		m.eth.DstMAC = []byte{0x33, 0x33, 0xff, 0x00, 0x00, 0xa1}
		m.ip.DstIP = []byte{0: 0xff, 1: 0x02, 11: 0x01, 12: 0xff, 15: 0xa1}
		m.icmp.TypeCode = layers.CreateICMPv6TypeCode(icmp6Solicitation, 0)
		m.body.target = localIP6.AsSlice()
		m.body.options = append([]byte{1, 1}, peerMAC[:]...)
	}}, mod...)...)
}

// newProbe6 makes another host's question whether it may take the peer's address.
func newProbe6(mod ...func(*message)) []byte {
	return newSolicitation(append([]func(*message){func(m *message) {
		m.eth.SrcMAC = otherMAC.HardwareAddr()
		m.eth.DstMAC = []byte{0x33, 0x33, 0xff, 0x00, 0x00, 0xb7}
		m.ip.SrcIP = make([]byte, 16)
		m.ip.DstIP = []byte{0: 0xff, 1: 0x02, 11: 0x01, 12: 0xff, 15: 0xb7}
		m.body.target, m.body.options = peerIP6.AsSlice(), nil
	}}, mod...)...)
}

// claims6 are the verdicts on an advertisement of the peer, whoever it is for.
func claims6() wants { return by(ours, mClaim6, mClaimBoth, mClaimVLAN6) }

// advertised are the verdicts on a solicited advertisement.
func advertised() wants {
	return by(ours, mNeighbor6, mNeighborBoth, mNeighborVLAN6).with(claims6())
}

func neighborSamples() []sample {
	var (
		toAll = func(m *message) {
			m.eth.DstMAC, m.ip.DstIP = nodesMAC.HardwareAddr(), allNodes6.AsSlice()
			m.body.flags = 0x20
		}
		toOther   = func(m *message) { m.eth.DstMAC = otherMAC.HardwareAddr() }
		target    = func(m *message) { m.body.target = otherIP6.AsSlice() }
		noOption  = func(m *message) { m.body.options = nil }
		hops      = func(m *message) { m.ip.HopLimit = 254 }
		code      = func(m *message) { m.icmp.TypeCode |= 1 }
		dst       = func(m *message) { m.ip.DstIP = otherIP6.AsSlice() }
		broadcast = func(m *message) { m.eth.DstMAC = frame.Broadcast.HardwareAddr() }
		ownMAC    = func(m *message) { m.eth.SrcMAC = localMAC.HardwareAddr() }
	)
	anyClaim := claims6().only(mClaimBoth)
	all := advertised().with(by(ours, mNeighborProbe6))
	requests := by(ours, mRequest6, mRequestMAC6)
	// cut shortens the payload by its length alone: the bytes are padding then.
	cut := func(b []byte) []byte {
		b = bytes.Clone(b)
		b[etherLen+5] = neighborLen - 1
		return b
	}
	fragmented := func(b []byte) []byte { return extended(b, protocolFragment) }

	return []sample{
		{name: "advertisement", bytes: newAdvertisement(), want: advertised()},
		{name: "advertisement, padded", bytes: append(newAdvertisement(), make([]byte, 7)...), want: advertised()},
		{name: "advertisement without option", bytes: newAdvertisement(noOption), want: advertised()},
		{name: "advertisement of a router", bytes: newAdvertisement(func(m *message) { m.body.flags |= 0x80 }), want: advertised()},
		{name: "advertisement from another address", bytes: newAdvertisement(func(m *message) { m.ip.SrcIP = otherIP6.AsSlice() }), want: advertised()},
		{name: "advertisement of another", bytes: newAdvertisement(target), want: by(ours, mNeighborBoth).with(anyClaim)},
		{name: "advertisement to another host", bytes: newAdvertisement(dst), want: by(ours, mNeighborBoth).with(claims6())},
		{name: "advertisement to another station", bytes: newAdvertisement(toOther)},
		{name: "advertisement to us by broadcast", bytes: newAdvertisement(broadcast), want: claims6()},
		{name: "advertisement that was routed", bytes: newAdvertisement(hops)},
		{name: "advertisement with code 1", bytes: newAdvertisement(code)},
		{name: "advertisement, short", bytes: cut(newAdvertisement())},
		{name: "advertisement longer than the frame", bytes: newAdvertisement()[:etherLen+ipv6Len+neighborLen]},
		{name: "advertisement, cut", bytes: newAdvertisement(noOption)[:etherLen+ipv6Len+neighborLen-1]},
		{name: "advertisement with a fragment header", bytes: fragmented(newAdvertisement())},
		{name: "advertisement with options of the hop", bytes: extended(newAdvertisement(), 0)},
		{name: "advertisement by EtherType ARP", bytes: newAdvertisement(func(m *message) { m.eth.EthernetType = layers.EthernetTypeARP })},
		{name: "advertisement of version 4", bytes: newAdvertisement(func(m *message) { m.ip.Version = 4 })},
		{name: "advertisement to all nodes", bytes: newAdvertisement(toAll), want: all},
		{name: "advertisement to all nodes by unicast", bytes: newAdvertisement(toAll, func(m *message) { m.eth.DstMAC = localMAC.HardwareAddr() }), want: all},
		{name: "advertisement to all nodes at another station", bytes: newAdvertisement(toAll, toOther)},
		{name: "advertisement to all nodes of another", bytes: newAdvertisement(toAll, target), want: by(ours, mNeighborBoth).with(anyClaim)},
		{name: "advertisement to all nodes that was routed", bytes: newAdvertisement(toAll, hops)},
		{name: "advertisement to all routers", bytes: newAdvertisement(toAll, func(m *message) { m.ip.DstIP[15] = 2 }), want: claims6()},
		{name: "advertisement from our own MAC", bytes: newAdvertisement(ownMAC), want: by(ours, mNeighbor6, mNeighborBoth, mNeighborVLAN6)},
		{name: "advertisement of our own MAC by another", bytes: newAdvertisement(func(m *message) { copy(m.body.options[2:], localMAC[:]) }), want: advertised()},
		{name: "router advertisement", bytes: newAdvertisement(func(m *message) { m.icmp.TypeCode = layers.CreateICMPv6TypeCode(134, 0) })},

		{name: "solicitation", bytes: newSolicitation(), want: requests},
		{name: "solicitation by unicast", bytes: newSolicitation(func(m *message) {
			m.eth.DstMAC, m.ip.DstIP = localMAC.HardwareAddr(), localIP6.AsSlice()
		}), want: requests},
		{name: "solicitation by unicast to another station", bytes: newSolicitation(toOther), want: by(ours, mRequestMAC6)},
		{name: "solicitation of an address probe", bytes: newSolicitation(noOption, func(m *message) { m.ip.SrcIP = make([]byte, 16) }), want: requests.with(anyClaim)},
		{name: "solicitation for another", bytes: newSolicitation(target)},
		{name: "solicitation that was routed", bytes: newSolicitation(hops)},
		{name: "solicitation with code 1", bytes: newSolicitation(code)},
		{name: "solicitation, short", bytes: cut(newSolicitation())},
		{name: "solicitation with a fragment header", bytes: fragmented(newSolicitation())},
		{name: "solicitation for the peer", bytes: newSolicitation(func(m *message) { m.body.target = peerIP6.AsSlice() })},
		{name: "address probe", bytes: newProbe6(), want: claims6()},
		{name: "address probe, padded", bytes: append(newProbe6(), make([]byte, 9)...), want: claims6()},
		{name: "address probe with a nonce", bytes: newProbe6(func(m *message) { m.body.options = []byte{14, 1, 1, 2, 3, 4, 5, 6} }), want: claims6()},
		{name: "address probe for another", bytes: newProbe6(target), want: anyClaim},
		{name: "address probe from our own MAC", bytes: newProbe6(ownMAC)},
		{name: "address probe to another station", bytes: newProbe6(toOther)},
		{name: "address probe from ::1", bytes: newProbe6(func(m *message) { m.ip.SrcIP[15] = 1 })},
		{name: "address probe from 8000::", bytes: newProbe6(func(m *message) { m.ip.SrcIP[0] = 0x80 })},
		{name: "address probe that was routed", bytes: newProbe6(hops)},
		{name: "address probe with code 1", bytes: newProbe6(code)},
		{name: "address probe, short", bytes: cut(newProbe6())},
		{name: "address probe, cut", bytes: newProbe6()[:etherLen+ipv6Len+neighborLen-1]},
		{name: "address probe with a fragment header", bytes: fragmented(newProbe6())},
	}
}
