package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Kind is what kind of request a Request is.
type Kind string

// The kinds of requests that a peer sees.
const (
	KindARP  Kind = "arp"
	KindEcho Kind = "echo"
)

// Request is a request to one of the peer's addresses, as gopacket decoded it.
// Fields that the kind has no use for are zero.
type Request struct {
	Kind Kind
	Time time.Time // when the peer read it, not when it arrived

	// N counts the requests of this kind from 1, in order of arrival. It is
	// 0 for a request that a host would not answer: it is malformed, or it
	// was sent to another's MAC.
	N int

	// Fault says what gopacket found wrong with the frame; "" is nothing.
	Fault string

	SrcMAC, DstMAC net.HardwareAddr // of the Ethernet header
	VLANs          []uint16         // VLAN ids, outermost first

	// SrcIP and DstIP are those of the IP header; of ARP, the sender's and
	// the target's. ARP has the sender's and the target's MAC, too.
	SrcIP, DstIP         netip.Addr
	SenderMAC, TargetMAC net.HardwareAddr

	TTL, TOS uint8
	IPID     uint16
	DF       bool
	ID, Seq  uint16 // of the ICMP header
	Checksum uint16
	Payload  []byte // of the ICMP message

	Frame []byte // from the Ethernet header on, without an outer tag (the kernel takes that off)

	tags   []tag
	packet []byte // the IP packet
	ihl    int    // length of its header
}

// decode makes a Request of a frame; outer is the tag that the kernel took
// off. It is nil if the frame is no request, or not for one of addrs.
func decode(frame []byte, outer *tag, addrs []netip.Addr) *Request {
	// Without options gopacket copies the frame, so a Request may keep it.
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{})
	eth, ok := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if !ok {
		return nil
	}
	r := &Request{
		Time: time.Now(), SrcMAC: eth.SrcMAC, DstMAC: eth.DstMAC,
		Frame: p.Data(), Fault: faults(p),
	}
	if outer != nil {
		r.tags = append(r.tags, *outer)
	}
	tpid := eth.EthernetType
	for _, layer := range p.Layers() {
		if q, ok := layer.(*layers.Dot1Q); ok {
			r.tags = append(r.tags, tag{tpid: tpid, vid: q.VLANIdentifier, pcp: q.Priority})
			tpid = q.Type
		}
	}
	for _, t := range r.tags {
		r.VLANs = append(r.VLANs, t.vid)
	}
	if !r.decodeARP(p) && !r.decodeEcho(p) {
		return nil
	}
	for _, a := range addrs {
		if a == r.DstIP {
			return r
		}
	}
	return nil
}

func (r *Request) decodeARP(p gopacket.Packet) bool {
	arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP)
	if !ok || arp.Operation != layers.ARPRequest || arp.Protocol != layers.EthernetTypeIPv4 {
		return false
	}
	r.Kind = KindARP
	r.SenderMAC, r.TargetMAC = arp.SourceHwAddress, arp.DstHwAddress
	r.SrcIP, _ = netip.AddrFromSlice(arp.SourceProtAddress)
	r.DstIP, _ = netip.AddrFromSlice(arp.DstProtAddress)
	return true
}

func (r *Request) decodeEcho(p gopacket.Packet) bool {
	ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if !ok {
		return false
	}
	icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	if !ok || icmp.TypeCode.Type() != layers.ICMPv4TypeEchoRequest {
		return false
	}
	r.Kind = KindEcho
	r.SrcIP, _ = netip.AddrFromSlice(ip.SrcIP.To4())
	r.DstIP, _ = netip.AddrFromSlice(ip.DstIP.To4())
	r.TTL, r.TOS, r.IPID = ip.TTL, ip.TOS, ip.Id
	r.DF = ip.Flags&layers.IPv4DontFragment != 0
	r.ID, r.Seq, r.Checksum = icmp.Id, icmp.Seq, icmp.Checksum
	r.Payload = icmp.Payload
	r.ihl = len(ip.Contents)
	r.packet = append(append([]byte(nil), ip.Contents...), ip.Payload...)
	return true
}

// faults is what is wrong with a frame in gopacket's opinion.
func faults(p gopacket.Packet) string {
	var all []string
	if e := p.ErrorLayer(); e != nil {
		all = append(all, e.Error().Error())
	}
	if p.Metadata().Truncated {
		all = append(all, "truncated")
	}
	err, mismatches := p.VerifyChecksums()
	if err != nil {
		all = append(all, err.Error())
	}
	for _, m := range mismatches {
		all = append(all, fmt.Sprintf("%v checksum is %#04x, should be %#04x", m.Layer.LayerType(), m.Actual, m.Correct))
	}
	return strings.Join(all, "; ")
}

var serialize = gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}

// layersOf serializes layers, outermost first.
func layersOf(list ...gopacket.SerializableLayer) ([]byte, error) {
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, serialize, list...); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// arpReply is the answer to an ARP request: target is at mac.
func (r *Request) arpReply(mac net.HardwareAddr) ([]byte, error) {
	arp := &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4,
		HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPReply,
		SourceHwAddress: mac, SourceProtAddress: r.DstIP.AsSlice(),
		DstHwAddress: r.SenderMAC, DstProtAddress: r.SrcIP.AsSlice(),
	}
	body, err := layersOf(arp)
	if err != nil {
		return nil, err
	}
	return r.frame(mac, r.tags, layers.EthernetTypeARP, body, 0)
}

// frame wraps a packet in the Ethernet header of an answer. The last short
// bytes of the packet are missing from it.
func (r *Request) frame(src net.HardwareAddr, tags []tag, typ layers.EthernetType, packet []byte, short int) ([]byte, error) {
	list := []gopacket.SerializableLayer{}
	// Each header names the type of what follows it: built from the inside.
	for i := len(tags) - 1; i >= 0; i-- {
		q := &layers.Dot1Q{VLANIdentifier: tags[i].vid, Priority: tags[i].pcp, Type: typ}
		list = append([]gopacket.SerializableLayer{q}, list...)
		typ = tags[i].tpid
	}
	list = append([]gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: src, DstMAC: r.SrcMAC, EthernetType: typ}}, list...)
	frame, err := layersOf(append(list, gopacket.Payload(packet))...)
	if err != nil || short == 0 {
		return frame, err
	}
	// gopacket has padded the frame, but the padding is not the packet.
	header := 14 + 4*len(tags)
	return frame[:max(header, header+len(packet)-short)], nil
}

// answer builds the frames that the action makes of an echo request, for a
// peer with that MAC. ipID is the id of the first packet.
func (r *Request) answer(a *action, mac net.HardwareAddr, ipID uint16) ([][]byte, error) {
	var frames [][]byte
	add := func(ip *layers.IPv4, icmp []byte) error {
		ip.Id = ipID
		ipID++
		list, err := r.wrap(a, mac, ip, icmp)
		frames = append(frames, list...)
		return err
	}
	for _, e := range a.errors {
		icmp, err := r.errorMessage(e)
		if err != nil {
			return nil, err
		}
		from := e.from
		if !from.IsValid() {
			from = r.DstIP
		}
		// Linux sends its errors with precedence 6 (RFC 1812, 4.3.2.5).
		if err := add(&layers.IPv4{TOS: 0xc0, SrcIP: from.AsSlice()}, icmp); err != nil {
			return nil, err
		}
	}
	if len(a.errors) > 0 && !a.reply {
		return frames, nil
	}
	icmp, err := r.replyMessage(a)
	if err != nil {
		return nil, err
	}
	source := r.DstIP
	if a.source.IsValid() {
		source = a.source
	}
	if err := add(&layers.IPv4{TOS: r.TOS, SrcIP: source.AsSlice()}, icmp); err != nil {
		return nil, err
	}
	return frames, nil
}

// replyMessage is the ICMP message of an echo reply.
func (r *Request) replyMessage(a *action) ([]byte, error) {
	icmp := &layers.ICMPv4{
		TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoReply, 0), Id: r.ID, Seq: r.Seq,
	}
	payload := append([]byte(nil), r.Payload...)
	if a.truncate != nil {
		payload = payload[:min(*a.truncate, len(payload))]
	}
	if a.wrongID {
		icmp.Id = ^icmp.Id
	}
	if a.wrongCookie {
		invert(payload[:min(8, len(payload))])
	}
	message, err := layersOf(icmp, gopacket.Payload(payload))
	if err != nil || a.corrupt == nil {
		return message, err
	}
	if *a.corrupt >= len(message) {
		return nil, fmt.Errorf("corrupt %d: the ICMP message of seq %d has %d bytes", *a.corrupt, r.Seq, len(message))
	}
	invert(message[*a.corrupt : *a.corrupt+1])
	if a.corruptFixed {
		message[2], message[3] = 0, 0
		sum := gopacket.FoldChecksum(gopacket.ComputeChecksum(message, 0))
		binary.BigEndian.PutUint16(message[2:], sum)
	}
	return message, nil
}

// errorMessage is an ICMP error that quotes r: its IP header as it came, and
// the beginning of its payload.
func (r *Request) errorMessage(e icmpError) ([]byte, error) {
	quote := append([]byte(nil), r.packet[:min(len(r.packet), r.ihl+min(e.quote, len(r.packet)))]...)
	switch icmp := quote[r.ihl:]; e.forged {
	case "id":
		invert(icmp[4:6])
	case "seq":
		invert(icmp[6:8])
	case "checksum":
		invert(icmp[2:4])
	}
	return layersOf(&layers.ICMPv4{
		TypeCode: e.code,
		Id:       binary.BigEndian.Uint16(e.rest[:2]), Seq: binary.BigEndian.Uint16(e.rest[2:]),
	}, gopacket.Payload(quote))
}

// wrap makes the frame, or the frames, of an ICMP message to the requester.
// Of ip, the source, the TOS and the id are set already.
func (r *Request) wrap(a *action, mac net.HardwareAddr, ip *layers.IPv4, icmp []byte) ([][]byte, error) {
	ip.Version, ip.TTL, ip.Protocol, ip.DstIP = 4, 64, layers.IPProtocolICMPv4, r.SrcIP.AsSlice()
	if a.ttl != nil {
		ip.TTL = *a.ttl
	}
	if a.tos != nil {
		ip.TOS = *a.tos
	}
	if a.ipOptions {
		ip.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
	}
	tags := r.tags
	if a.untagged {
		tags = nil
	}
	if a.vlan != nil {
		tags = []tag{*a.vlan}
	}
	if a.sourceMAC != nil {
		mac = a.sourceMAC
	}
	parts := [][]byte{icmp}
	if a.fragment > 0 && a.fragment < len(icmp) {
		parts = [][]byte{icmp[:a.fragment], icmp[a.fragment:]}
	}
	var frames [][]byte
	offset := 0
	for i, part := range parts {
		ip.FragOffset = uint16(offset / 8)
		ip.Flags = 0
		if i < len(parts)-1 {
			ip.Flags = layers.IPv4MoreFragments
		}
		offset += len(part)
		packet, err := layersOf(ip, gopacket.Payload(part))
		if err != nil {
			return nil, err
		}
		if a.badIPChecksum {
			invert(packet[10:11])
		}
		for i := range a.pad {
			packet = append(packet, byte(0xa5+i))
		}
		frame, err := r.frame(mac, tags, layers.EthernetTypeIPv4, packet, a.short)
		if err != nil {
			return nil, err
		}
		frames = append(frames, frame)
	}
	return frames, nil
}

// invert flips all bits, which changes any Internet checksum over them.
func invert(b []byte) {
	for i := range b {
		b[i] = ^b[i]
	}
}
