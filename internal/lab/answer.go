package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

var (
	serialize = gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}

	broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodes  = netip.MustParseAddr("ff02::1")
)

// layersOf serializes layers, outermost first.
func layersOf(list ...gopacket.SerializableLayer) ([]byte, error) {
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, serialize, list...); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// icmpv6 serializes an ICMPv6 message: type, code, and what follows the checksum.
func icmpv6(code layers.ICMPv6TypeCode, src, dst netip.Addr, list ...gopacket.SerializableLayer) ([]byte, error) {
	icmp := &layers.ICMPv6{TypeCode: code}
	if err := icmp.SetNetworkLayerForChecksum(&layers.IPv6{SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}); err != nil {
		return nil, err
	}
	return layersOf(append([]gopacket.SerializableLayer{icmp}, list...)...)
}

// ethernet wraps a packet in an Ethernet header, with tags. The last short bytes
// of the packet are missing from it.
func ethernet(src, dst net.HardwareAddr, tags []tag, typ layers.EthernetType, packet []byte, short int) ([]byte, error) {
	list := []gopacket.SerializableLayer{}
	// Each header names the type of what follows it: built from the inside.
	for i := len(tags) - 1; i >= 0; i-- {
		q := &layers.Dot1Q{VLANIdentifier: tags[i].vid, Priority: tags[i].pcp, Type: typ}
		list = append([]gopacket.SerializableLayer{q}, list...)
		typ = tags[i].tpid
	}
	list = append([]gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: typ}}, list...)
	frame, err := layersOf(append(list, gopacket.Payload(packet))...)
	if err != nil || short == 0 {
		return frame, err
	}
	// gopacket has padded the frame, but the padding is not the packet.
	header := 14 + 4*len(tags)
	return frame[:max(header, header+len(packet)-short)], nil
}

// arpReply is an ARP reply: ip is at mac.
func arpReply(mac, dstMAC net.HardwareAddr, ip, dst netip.Addr, operation uint16) ([]byte, error) {
	return layersOf(&layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4,
		HwAddressSize: 6, ProtAddressSize: 4, Operation: operation,
		SourceHwAddress: mac, SourceProtAddress: ip.AsSlice(),
		DstHwAddress: dstMAC, DstProtAddress: dst.AsSlice(),
	})
}

// Flags of a neighbor advertisement (RFC 4861, 4.4).
const (
	naRouter    = 0x80
	naSolicited = 0x40
	naOverride  = 0x20
)

// advertisement is a neighbor advertisement: ip is at mac, unless that is nil.
func advertisement(mac net.HardwareAddr, ip, dst netip.Addr, flags, hopLimit uint8) ([]byte, error) {
	na := &layers.ICMPv6NeighborAdvertisement{Flags: flags, TargetAddress: ip.AsSlice()}
	if mac != nil {
		na.Options = layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: mac}}
	}
	code := layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)
	message, err := icmpv6(code, ip, dst, na)
	if err != nil {
		return nil, err
	}
	return layersOf(&layers.IPv6{
		Version: 6, HopLimit: hopLimit, NextHeader: layers.IPProtocolICMPv6, SrcIP: ip.AsSlice(), DstIP: dst.AsSlice(),
	}, gopacket.Payload(message))
}

// neighborAnswer is the frame by which mac answers an ARP request or a
// solicitation.
func (r *Request) neighborAnswer(n *neighborScript, mac net.HardwareAddr) ([]byte, error) {
	tags := r.tags
	if n.untagged {
		tags = nil
	}
	if n.vlans != nil {
		tags = n.vlans
	}
	if r.Kind == KindARP {
		body, err := arpReply(mac, r.SenderMAC, r.DstIP, r.SrcIP, layers.ARPReply)
		if err != nil {
			return nil, err
		}
		return ethernet(mac, r.SrcMAC, tags, layers.EthernetTypeARP, body, 0)
	}
	var (
		flags    = uint8(naSolicited | naOverride)
		hopLimit = uint8(255)
		option   = mac
		dst      = r.SrcIP
		dstMAC   = r.SrcMAC
	)
	if n.unsolicited {
		flags &^= naSolicited
	}
	if n.noOverride {
		flags &^= naOverride
	}
	if n.router {
		flags |= naRouter
	}
	if n.hopLimit != nil {
		hopLimit = *n.hopLimit
	}
	if n.noMAC {
		option = nil
	}
	if r.SrcIP.IsUnspecified() { // RFC 4861, 7.2.4
		flags &^= naSolicited
		dst, dstMAC = allNodes, groupMAC(allNodes)
	}
	packet, err := advertisement(option, r.DstIP, dst, flags, hopLimit)
	if err != nil {
		return nil, err
	}
	return ethernet(mac, dstMAC, tags, layers.EthernetTypeIPv6, packet, 0)
}

// answerer is who answers an echo request.
type answerer struct {
	ip   netip.Addr
	mac  net.HardwareAddr
	mtu  int
	ipID uint16 // of the first packet
}

// answer builds the frames that the action makes of an echo request. Each of
// the packets, of which there are the returned number, has an id of its own.
func (r *Request) answer(a *action, who answerer) (frames [][]byte, packets int, err error) {
	add := func(src netip.Addr, tos uint8, icmp []byte) error {
		list, err := r.wrap(a, who, src, tos, who.ipID+uint16(packets), icmp)
		packets++
		frames = append(frames, list...)
		return err
	}
	for _, e := range a.errors {
		from := e.from
		if !from.IsValid() {
			from = who.ip
		}
		if from.Is4() == r.v6() {
			return nil, 0, fmt.Errorf("an error from %v for a request from %v", from, r.SrcIP)
		}
		icmp, err := r.errorMessage(e, from)
		if err != nil {
			return nil, 0, err
		}
		// Linux sends its errors with precedence 6 (RFC 1812, 4.3.2.5).
		tos := uint8(0xc0)
		if r.v6() {
			tos = 0
		}
		if err := add(from, tos, icmp); err != nil {
			return nil, 0, err
		}
	}
	if len(a.errors) > 0 && !a.reply {
		return frames, packets, nil
	}
	source := who.ip
	if a.source.IsValid() {
		source = a.source
	}
	if source.Is4() == r.v6() {
		return nil, 0, fmt.Errorf("a reply from %v for a request from %v", source, r.SrcIP)
	}
	icmp, err := r.replyMessage(a, source)
	if err == nil {
		err = add(source, r.TOS, icmp)
	}
	if err != nil {
		return nil, 0, err
	}
	return frames, packets, nil
}

// replyMessage is the ICMP message of an echo reply from src.
func (r *Request) replyMessage(a *action, src netip.Addr) ([]byte, error) {
	payload := append([]byte(nil), r.Payload...)
	if a.truncate != nil {
		payload = payload[:min(*a.truncate, len(payload))]
	}
	id := r.ID
	if a.wrongID {
		id = ^id
	}
	if a.wrongCookie {
		invert(payload[:min(8, len(payload))])
	}
	var message []byte
	var err error
	if r.v6() {
		message, err = icmpv6(layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoReply, 0), src, r.SrcIP,
			&layers.ICMPv6Echo{Identifier: id, SeqNumber: r.Seq}, gopacket.Payload(payload))
	} else {
		icmp := &layers.ICMPv4{
			TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoReply, 0), Id: id, Seq: r.Seq,
		}
		message, err = layersOf(icmp, gopacket.Payload(payload))
	}
	if err != nil || a.corrupt == nil {
		return message, err
	}
	if *a.corrupt >= len(message) {
		return nil, fmt.Errorf("corrupt %d: the ICMP message of seq %d has %d bytes", *a.corrupt, r.Seq, len(message))
	}
	invert(message[*a.corrupt : *a.corrupt+1])
	if a.corruptFixed {
		message[2], message[3] = 0, 0
		sum := gopacket.ComputeChecksum(message, r.pseudoSum(src, len(message)))
		binary.BigEndian.PutUint16(message[2:], gopacket.FoldChecksum(sum))
	}
	return message, nil
}

// pseudoSum is the unfolded sum of the header that ICMPv6's checksum covers
// besides the message (RFC 8200, 8.1); ICMP's covers none.
func (r *Request) pseudoSum(src netip.Addr, length int) uint32 {
	if !r.v6() {
		return 0
	}
	header := append(src.AsSlice(), r.SrcIP.AsSlice()...)
	header = binary.BigEndian.AppendUint32(header, uint32(length))
	header = append(header, 0, 0, 0, byte(layers.IPProtocolICMPv6))
	return gopacket.ComputeChecksum(header, 0)
}

// errorMessage is an ICMP error from src that quotes r: its IP header as it
// came, and the beginning of its payload.
func (r *Request) errorMessage(e icmpError, src netip.Addr) ([]byte, error) {
	code, quoted := e.v4, e.quote
	if quoted < 0 {
		quoted = 8 // RFC 792
	}
	if r.v6() {
		code = e.v6
		if e.quote < 0 {
			quoted = 1280 - 40 - 8 - r.ihl // RFC 4443, 2.4 (c)
		}
	}
	if code == nil {
		return nil, fmt.Errorf("the request from %v has no such ICMP error", r.SrcIP)
	}
	quote := append([]byte(nil), r.packet[:min(len(r.packet), r.ihl+min(quoted, len(r.packet)))]...)
	switch icmp := quote[r.ihl:]; e.forged {
	case "id":
		invert(icmp[4:6])
	case "seq":
		invert(icmp[6:8])
	case "checksum":
		invert(icmp[2:4])
	}
	word := e.word(r.v6())
	if r.v6() {
		return icmpv6(layers.ICMPv6TypeCode(*code), src, r.SrcIP,
			gopacket.Payload(binary.BigEndian.AppendUint32(nil, word)), gopacket.Payload(quote))
	}
	return layersOf(&layers.ICMPv4{TypeCode: *code, Id: uint16(word >> 16), Seq: uint16(word)}, gopacket.Payload(quote))
}

// wrap makes the frame, or the frames, of an ICMP message from src to the
// requester.
func (r *Request) wrap(a *action, who answerer, src netip.Addr, tos uint8, id uint16, icmp []byte) ([][]byte, error) {
	tags := r.tags
	if a.untagged {
		tags = nil
	}
	if a.vlans != nil {
		tags = a.vlans
	}
	mac := who.mac
	if a.sourceMAC != nil {
		mac = a.sourceMAC
	}
	typ, build, header := layers.EthernetTypeIPv4, r.packet4, 20
	if r.v6() {
		typ, build, header = layers.EthernetTypeIPv6, r.packet6, 40
		if a.badIPChecksum {
			return nil, fmt.Errorf("bad-ip-checksum: the request from %v is IPv6, which has none", r.SrcIP)
		}
	}
	if a.ipOptions {
		header += 8
	}
	if r.v6() && header+len(icmp) > who.mtu {
		header += 8 // of the fragments
	}
	pieces, err := a.fragment.pieces(icmp, who.mtu-header)
	if err != nil {
		return nil, err
	}
	whole := a.fragment.missing == 0 && len(pieces) == 1
	var frames [][]byte
	for _, part := range pieces {
		packet, err := build(a, src, tos, id, part, whole)
		if err != nil {
			return nil, err
		}
		for i := range a.pad {
			packet = append(packet, byte(0xa5+i))
		}
		if r.noLink {
			frames = append(frames, packet[:max(0, len(packet)-a.short)])
			continue
		}
		frame, err := ethernet(mac, r.SrcMAC, tags, typ, packet, a.short)
		if err != nil {
			return nil, err
		}
		frames = append(frames, frame)
	}
	return frames, nil
}

func (r *Request) packet4(a *action, src netip.Addr, tos uint8, id uint16, part piece, _ bool) ([]byte, error) {
	ip := &layers.IPv4{
		Version: 4, TTL: 64, TOS: tos, Id: id, Protocol: layers.IPProtocolICMPv4,
		SrcIP: src.AsSlice(), DstIP: r.SrcIP.AsSlice(), FragOffset: uint16(part.offset / 8),
	}
	if a.ttl != nil {
		ip.TTL = *a.ttl
	}
	if a.tos != nil {
		ip.TOS = *a.tos
	}
	if a.ipOptions {
		ip.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
	}
	if part.more {
		ip.Flags = layers.IPv4MoreFragments
	}
	packet, err := layersOf(ip, gopacket.Payload(part.data))
	if err == nil && a.badIPChecksum {
		invert(packet[10:11])
	}
	return packet, err
}

func (r *Request) packet6(a *action, src netip.Addr, tos uint8, id uint16, part piece, whole bool) ([]byte, error) {
	ip := &layers.IPv6{
		Version: 6, HopLimit: 64, TrafficClass: tos, FlowLabel: r.FlowLabel, NextHeader: layers.IPProtocolICMPv6,
		SrcIP: src.AsSlice(), DstIP: r.SrcIP.AsSlice(),
	}
	if a.ttl != nil {
		ip.HopLimit = *a.ttl
	}
	if a.tos != nil {
		ip.TrafficClass = *a.tos
	}
	var list []gopacket.SerializableLayer
	if !whole {
		list = append(list, &layers.IPv6Fragment{
			NextHeader: ip.NextHeader, FragmentOffset: uint16(part.offset / 8), MoreFragments: part.more, Identification: uint32(id),
		})
		ip.NextHeader = layers.IPProtocolIPv6Fragment
	}
	if a.ipOptions {
		// Router alert (RFC 2711) and two bytes of padding.
		options := []byte{byte(ip.NextHeader), 0, 5, 2, 0, 0, 1, 0}
		list = append([]gopacket.SerializableLayer{gopacket.Payload(options)}, list...)
		ip.NextHeader = layers.IPProtocolIPv6HopByHop
	}
	list = append(append([]gopacket.SerializableLayer{ip}, list...), gopacket.Payload(part.data))
	return layersOf(list...)
}

// invert flips all bits, which changes any Internet checksum over them.
func invert(b []byte) {
	for i := range b {
		b[i] = ^b[i]
	}
}
