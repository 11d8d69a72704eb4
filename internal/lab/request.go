package lab

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
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
	KindNDP  Kind = "ndp" // a neighbor solicitation
	KindEcho Kind = "echo"
)

// Request is a request to one of the peer's addresses, as gopacket decoded it.
// Fields that the kind has no use for are zero.
type Request struct {
	Kind Kind
	Time time.Time // when the peer read it, not when it arrived

	// N counts the requests of this kind from 1, in order of arrival. It is
	// 0 for a request that a host would not answer: it is malformed, or it
	// was sent to another's MAC, or it is of another VLAN.
	N int

	// Fault says what gopacket found wrong with the frame; "" is nothing.
	Fault string

	SrcMAC, DstMAC net.HardwareAddr // of the Ethernet header
	VLANs          []uint16         // VLAN ids, outermost first

	// SrcIP and DstIP are those of the IP header; of ARP, the sender's and
	// the target's, with their MACs. Of a solicitation DstIP is the target,
	// SenderMAC that of the source link-layer option, nil without one, and
	// Group the IP header's destination.
	SrcIP, DstIP         netip.Addr
	SenderMAC, TargetMAC net.HardwareAddr
	Group                netip.Addr

	TTL, TOS  uint8 // of IPv6, hop limit and traffic class
	FlowLabel uint32
	IPID      uint16
	DF        bool
	ID, Seq   uint16 // of the ICMP header
	Checksum  uint16
	Payload   []byte // of the ICMP message

	// Fragments is in how many frames it came, the last of which is Frame.
	Fragments int

	Frame []byte // from the Ethernet header on (of a tun, the IP header), without an outer tag (the kernel takes that off)

	noLink  bool
	tags    []tag
	packet  []byte // the IP packet, or its first fragment
	ihl     int    // length of what stands ahead of the ICMP message there
	largest int    // bytes of the largest IP packet
}

// v6 says whether a request came over IPv6.
func (r *Request) v6() bool { return r.SrcIP.Is6() }

// toGroup says whether a request is for many: a multicast address, or a
// broadcast address as the lab's prefixes have it.
func (r *Request) toGroup() bool {
	if r.Kind != KindEcho {
		return false
	}
	return r.DstIP.IsMulticast() || r.DstIP.Is4() && r.DstIP.As4()[3] == 255
}

// decoder makes Requests of frames.
type decoder struct {
	noLink bool // frames begin with the IP header
	defragmenter
}

// decode makes a Request of a frame; outer is the tag that the kernel took
// off. It is nil if the frame is no request, or a fragment that does not
// complete one.
func (d *decoder) decode(frame []byte, outer *tag) *Request {
	first := gopacket.LayerType(layers.LayerTypeEthernet)
	if d.noLink {
		first = ipLayer(frame)
	}
	// Without options gopacket copies the frame, so a Request may keep it.
	p := gopacket.NewPacket(frame, first, gopacket.DecodeOptions{})
	r := &Request{Time: time.Now(), Frame: p.Data(), Fault: faults(p), Fragments: 1, noLink: d.noLink}
	if !d.noLink && !r.decodeLink(p, outer) {
		return nil
	}
	if r.decodeARP(p) {
		return r
	}
	ip := p.NetworkLayer()
	if ip == nil {
		return nil
	}
	r.packet = slices.Concat(ip.LayerContents(), ip.LayerPayload())
	r.ihl = len(ip.LayerContents())
	r.largest = len(r.packet)
	whole, ok := d.join(p, r)
	if !ok || !r.decodeIP(whole) || !r.decodeEcho(whole) && !r.decodeNDP(whole) {
		return nil
	}
	return r
}

// ipLayer is the layer that a packet without a link layer begins with.
func ipLayer(packet []byte) gopacket.LayerType {
	if len(packet) > 0 && packet[0]>>4 == 6 {
		return layers.LayerTypeIPv6
	}
	return layers.LayerTypeIPv4
}

func (r *Request) decodeLink(p gopacket.Packet, outer *tag) bool {
	eth, ok := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if !ok {
		return false
	}
	r.SrcMAC, r.DstMAC = eth.SrcMAC, eth.DstMAC
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
	return true
}

func (r *Request) decodeARP(p gopacket.Packet) bool {
	arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP)
	if !ok || arp.Operation != layers.ARPRequest || arp.Protocol != layers.EthernetTypeIPv4 || arp.ProtAddressSize != 4 {
		return false
	}
	if arp.AddrType != layers.LinkTypeEthernet || arp.HwAddressSize != 6 {
		r.fault("its hardware addresses are not Ethernet's")
	}
	r.Kind = KindARP
	r.SenderMAC, r.TargetMAC = arp.SourceHwAddress, arp.DstHwAddress
	r.SrcIP, _ = netip.AddrFromSlice(arp.SourceProtAddress)
	r.DstIP, _ = netip.AddrFromSlice(arp.DstProtAddress)
	return true
}

func (r *Request) decodeIP(p gopacket.Packet) bool {
	switch ip := p.NetworkLayer().(type) {
	case *layers.IPv4:
		r.SrcIP, _ = netip.AddrFromSlice(ip.SrcIP.To4())
		r.DstIP, _ = netip.AddrFromSlice(ip.DstIP.To4())
		r.TTL, r.TOS, r.IPID = ip.TTL, ip.TOS, ip.Id
		r.DF = ip.Flags&layers.IPv4DontFragment != 0
	case *layers.IPv6:
		r.SrcIP, _ = netip.AddrFromSlice(ip.SrcIP)
		r.DstIP, _ = netip.AddrFromSlice(ip.DstIP)
		r.TTL, r.TOS, r.FlowLabel = ip.HopLimit, ip.TrafficClass, ip.FlowLabel
	default:
		return false
	}
	return true
}

func (r *Request) decodeEcho(p gopacket.Packet) bool {
	if icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok && !r.v6() {
		if icmp.TypeCode.Type() != layers.ICMPv4TypeEchoRequest {
			return false
		}
		r.ID, r.Seq, r.Checksum, r.Payload = icmp.Id, icmp.Seq, icmp.Checksum, icmp.Payload
	} else if icmp, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok && r.v6() {
		echo, ok := p.Layer(layers.LayerTypeICMPv6Echo).(*layers.ICMPv6Echo)
		if !ok || icmp.TypeCode.Type() != layers.ICMPv6TypeEchoRequest {
			return false
		}
		r.ID, r.Seq, r.Checksum, r.Payload = echo.Identifier, echo.SeqNumber, icmp.Checksum, echo.Payload
	} else {
		return false
	}
	r.Kind = KindEcho
	return true
}

// decodeNDP takes what RFC 4861, 7.1.1 has a host check and gopacket does not
// for a fault.
func (r *Request) decodeNDP(p gopacket.Packet) bool {
	solicitation, ok := p.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation)
	if !ok || r.noLink {
		return false
	}
	r.Kind = KindNDP
	r.Group = r.DstIP
	r.DstIP, _ = netip.AddrFromSlice(solicitation.TargetAddress)
	for _, option := range solicitation.Options {
		if option.Type == layers.ICMPv6OptSourceAddress && len(option.Data) == 6 {
			r.SenderMAC = option.Data
		}
	}
	icmp := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	for _, check := range []struct {
		wrong bool
		fault string
	}{
		{r.TTL != 255, fmt.Sprintf("hop limit is %d, should be 255", r.TTL)},
		{icmp.TypeCode.Code() != 0, "code is not 0"},
		{r.SrcIP.IsUnspecified() && r.SenderMAC != nil, "a solicitation from :: has a link-layer option"},
		{r.SrcIP.IsUnspecified() && !r.Group.IsMulticast(), "a solicitation from :: is not to a group"},
		{!r.SrcIP.IsUnspecified() && r.Group.IsMulticast() && r.SenderMAC == nil, "a solicitation to a group has no link-layer option"},
		{r.Group.IsMulticast() && r.Group != solicitedNode(r.DstIP), "the group is not the target's"},
		{r.Group.IsMulticast() && !bytes.Equal(r.DstMAC, groupMAC(r.Group)), "the MAC is not the group's"},
	} {
		if check.wrong {
			r.fault(check.fault)
		}
	}
	return true
}

func (r *Request) fault(text string) {
	if r.Fault != "" {
		text = r.Fault + "; " + text
	}
	r.Fault = text
}

// solicitedNode is the group that hosts with an address listen to (RFC 4291, 2.7.1).
func solicitedNode(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0xff, 0x02, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

// groupMAC is the MAC of an IPv6 multicast address (RFC 2464, 7).
func groupMAC(a netip.Addr) net.HardwareAddr {
	b := a.As16()
	return net.HardwareAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}
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
	if icmp, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok { // whose checksum covers the addresses
		if err := icmp.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
			all = append(all, err.Error())
		}
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
