//go:build linux

package render

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// ipv4 words an IPv4 packet.
func (w *words) ipv4(l *layers.IPv4, ls []gopacket.Layer, wire int) {
	w.protocol("IP ")
	header := int(l.IHL) * 4
	total := int(l.Length)
	if len(l.Contents) >= 4 && l.Contents[2] == 0 && l.Contents[3] == 0 {
		total = wire // it was too long for the field, and is cut later on (TSO)
	}
	if total > wire {
		w.addf("truncated-ip - %d bytes missing! ", total-wire)
	}
	p := packet{src: l.SrcIP, dst: l.DstIP, protocol: l.Protocol, length: total - header, layers: ls}
	if l.Flags&layers.IPv4MoreFragments != 0 || l.FragOffset != 0 {
		p.fragment = &fragment{id: uint32(l.Id), offset: int(l.FragOffset) * 8, more: l.Flags&layers.IPv4MoreFragments != 0}
		p.layers = p.first(l.Payload)
	}
	w.packet(&p)
}

// ipv6 words an IPv6 packet.
func (w *words) ipv6(l *layers.IPv6, ls []gopacket.Layer, wire int) {
	w.protocol("IP6 ")
	p := packet{src: l.SrcIP, dst: l.DstIP, protocol: l.NextHeader, length: int(l.Length), layers: ls, six: true}
	if l.Length == 0 {
		p.length = wire - 40 // a jumbogram (RFC 2675)
	} else if p.length > wire-40 {
		w.addf("truncated-ip6 - %d bytes missing! ", p.length-(wire-40))
	}
	var extensions []byte
	for len(p.layers) > 0 && p.fragment == nil && !undecoded(p.layers) {
		header := len(p.layers[0].LayerContents())
		switch h := p.layers[0].(type) {
		case *layers.IPv6HopByHop:
			extensions = append(extensions, "HBH "...)
			p.protocol = h.NextHeader
		case *layers.IPv6Destination:
			extensions = append(extensions, "DSTOPT "...)
			p.protocol = h.NextHeader
		case *layers.IPv6Routing:
			extensions = append(extensions, "srcrt "...)
			p.protocol = h.NextHeader
		case *layers.IPv6Fragment:
			p.protocol = h.NextHeader
			p.fragment = &fragment{id: h.Identification, offset: int(h.FragmentOffset) * 8, more: h.MoreFragments}
			p.length -= header
			p.layers = p.first(h.Payload)
			continue
		default:
			header = -1
		}
		if header < 0 {
			break
		}
		p.length -= header
		p.layers = p.layers[1:]
	}
	p.extensions = extensions
	w.packet(&p)
}

// A packet is what both versions of IP carry.
type packet struct {
	src, dst   []byte
	protocol   layers.IPProtocol
	extensions []byte // their names
	length     int    // of what is carried
	layers     []gopacket.Layer
	fragment   *fragment
	six        bool
}

type fragment struct {
	id     uint32
	offset int
	more   bool
}

// first are the layers of a first fragment, which gopacket leaves alone.
func (p *packet) first(payload []byte) []gopacket.Layer {
	if p.fragment.offset != 0 || len(payload) == 0 {
		return nil
	}
	return gopacket.NewPacket(payload, p.protocol, gopacket.DecodeOptions{NoCopy: true}).Layers()
}

func (w *words) address(ip []byte, port uint16, withPort bool) {
	w.ip(ip)
	if withPort {
		w.b = append(w.b, '.')
		w.number(uint64(port))
	}
}

func (w *words) packet(p *packet) {
	var src, dst uint16
	var ports bool
	if !undecoded(p.layers) {
		switch l := p.layers[0].(type) {
		case *layers.TCP:
			src, dst, ports = uint16(l.SrcPort), uint16(l.DstPort), true
		case *layers.UDP:
			src, dst, ports = uint16(l.SrcPort), uint16(l.DstPort), true
		case *layers.SCTP:
			src, dst, ports = uint16(l.SrcPort), uint16(l.DstPort), true
		}
	}
	w.address(p.src, src, ports)
	w.add(" > ")
	w.address(p.dst, dst, ports)
	w.add(": ")
	w.b = append(w.b, p.extensions...)
	if f := p.fragment; f != nil && f.offset != 0 {
		w.addf("%s fragment, id %d, offset %d", protocolName(p.protocol), f.id, f.offset)
		if f.more {
			w.add(", more")
		}
		w.length(p.length)
		return
	}
	w.transport(p)
	if p.fragment != nil && p.fragment.more {
		w.addf(", first fragment, id %d", p.fragment.id)
	}
}

// protocolNames are those that tcpdump prints, as far as they have one.
var protocolNames = map[layers.IPProtocol]string{
	layers.IPProtocolICMPv4: "ICMP", layers.IPProtocolICMPv6: "ICMP6", layers.IPProtocolTCP: "TCP", layers.IPProtocolUDP: "UDP",
	layers.IPProtocolSCTP: "SCTP", layers.IPProtocolIGMP: "igmp", layers.IPProtocolGRE: "GRE", layers.IPProtocolESP: "ESP",
	layers.IPProtocolAH: "AH", layers.IPProtocolOSPF: "OSPF", layers.IPProtocolVRRP: "VRRP", 103: "PIM",
}

func protocolName(p layers.IPProtocol) string {
	if name := protocolNames[p]; name != "" {
		return name
	}
	return "ip-proto-" + strconv.Itoa(int(p))
}

func (w *words) transport(p *packet) {
	if p.protocol == layers.IPProtocolNoNextHeader && p.six {
		w.add("no next header")
		w.length(p.length)
		return
	}
	if undecoded(p.layers) {
		name := protocolNames[p.protocol]
		if name == "" || name == "PIM" {
			w.add(protocolName(p.protocol))
		} else {
			w.add("[|" + strings.ToLower(name) + "]")
		}
		w.length(p.length)
		return
	}
	rest := p.layers[1:]
	switch l := p.layers[0].(type) {
	case *layers.TCP:
		w.tcp(l, p.length)
	case *layers.UDP:
		w.udp(l, rest, p.length)
	case *layers.ICMPv4:
		w.icmp(l, p.length)
	case *layers.ICMPv6:
		w.icmp6(l, rest, p.length)
	case *layers.SCTP:
		w.sctp(l, rest, p.length)
	case *layers.IGMP:
		w.igmp(l.Type, l.Version, l.GroupAddress, int(l.NumberOfGroupRecords))
	case *layers.IGMPv1or2:
		w.igmp(l.Type, l.Version, l.GroupAddress, 0)
	case *layers.GRE:
		w.gre(l, rest, p.length)
	case *layers.IPv4, *layers.IPv6, *layers.Ethernet, *layers.MPLS:
		w.network(p.layers, p.length, 0)
	case *layers.IPSecESP:
		w.addf("ESP(spi=0x%08x,seq=0x%x)", l.SPI, l.Seq)
		w.length(p.length)
	case *layers.IPSecAH:
		w.addf("AH(spi=0x%08x,seq=0x%x): ", l.SPI, l.Seq)
		inner := *p
		inner.protocol, inner.layers = l.NextHeader, rest
		inner.length -= len(l.LayerContents())
		w.transport(&inner)
	case *layers.OSPFv2:
		w.ospf(l.Version, l.Type, p.length)
	case *layers.OSPFv3:
		w.ospf(l.Version, l.Type, p.length)
	case *layers.VRRPv2:
		w.addf("VRRPv%d, Advertisement, vrid %d, prio %d, authtype ", l.Version, l.VirtualRtrID, l.Priority)
		switch l.AuthType {
		case layers.VRRPv2AuthNoAuth:
			w.add("none")
		case layers.VRRPv2AuthReserved1:
			w.add("simple")
		case layers.VRRPv2AuthReserved2:
			w.add("ah")
		default:
			w.number(uint64(l.AuthType))
		}
		w.addf(", intvl %ds", l.AdverInt)
		w.length(p.length)
	case *layers.EtherIP:
		w.network(rest, p.length-len(l.Contents), 0)
	case *gopacket.Payload, *gopacket.Fragment:
		w.add(protocolName(p.protocol))
		w.length(p.length)
	default:
		w.add(l.LayerType().String())
		w.length(p.length)
	}
}

func (w *words) tcp(l *layers.TCP, length int) {
	length -= len(l.Contents)
	w.add("Flags [")
	none := len(w.b)
	for _, f := range [...]struct {
		set  bool
		name byte
	}{
		{l.FIN, 'F'}, {l.SYN, 'S'}, {l.RST, 'R'}, {l.PSH, 'P'}, {l.ACK, '.'}, {l.URG, 'U'}, {l.ECE, 'E'}, {l.CWR, 'W'}, {l.NS, 'e'},
	} {
		if f.set {
			w.b = append(w.b, f.name)
		}
	}
	if len(w.b) == none {
		w.add("none")
	}
	w.add("]")
	if length > 0 || l.SYN || l.FIN || l.RST {
		w.add(", seq ")
		w.number(uint64(l.Seq))
		if length > 0 {
			w.b = append(w.b, ':')
			w.number(uint64(l.Seq + uint32(length)))
		}
	}
	if l.ACK {
		w.add(", ack ")
		w.number(uint64(l.Ack))
	}
	w.add(", win ")
	w.number(uint64(l.Window))
	if l.URG {
		w.add(", urg ")
		w.number(uint64(l.Urgent))
	}
	if len(l.Options) > 0 {
		w.add(", options [")
		for i := range l.Options {
			if i > 0 {
				w.b = append(w.b, ',')
			}
			w.tcpOption(&l.Options[i])
		}
		w.add("]")
	}
	w.length(length)
}

func (w *words) tcpOption(o *layers.TCPOption) {
	d := o.OptionData
	switch {
	case o.OptionType == layers.TCPOptionKindEndList:
		w.add("eol")
	case o.OptionType == layers.TCPOptionKindNop:
		w.add("nop")
	case o.OptionType == layers.TCPOptionKindMSS && len(d) == 2:
		w.addf("mss %d", binary.BigEndian.Uint16(d))
	case o.OptionType == layers.TCPOptionKindWindowScale && len(d) == 1:
		w.addf("wscale %d", d[0])
	case o.OptionType == layers.TCPOptionKindSACKPermitted:
		w.add("sackOK")
	case o.OptionType == layers.TCPOptionKindSACK && len(d)%8 == 0:
		w.addf("sack %d ", len(d)/8)
		for ; len(d) > 0; d = d[8:] {
			w.addf("{%d:%d}", binary.BigEndian.Uint32(d), binary.BigEndian.Uint32(d[4:]))
		}
	case o.OptionType == layers.TCPOptionKindTimestamps && len(d) == 8:
		w.addf("TS val %d ecr %d", binary.BigEndian.Uint32(d), binary.BigEndian.Uint32(d[4:]))
	case o.OptionType == 19:
		w.add("md5")
	case o.OptionType == 28 && len(d) == 2:
		w.addf("uto 0x%x", binary.BigEndian.Uint16(d))
	case o.OptionType == 30:
		w.add("mptcp")
	case o.OptionType == 34 && len(d) == 0:
		w.add("tfo cookiereq")
	case o.OptionType == 34:
		w.addf("tfo cookie %x", d)
	default:
		w.addf("unknown-%d", uint8(o.OptionType))
		if len(d) > 0 {
			w.addf(" 0x%x", d)
		}
	}
}

func (w *words) gre(l *layers.GRE, ls []gopacket.Layer, length int) {
	w.addf("GREv%d", l.Version)
	if l.KeyPresent {
		w.addf(", key=0x%x", l.Key)
	}
	if l.SeqPresent {
		w.addf(", seq %d", l.Seq)
	}
	w.length(length)
	w.add(": ")
	w.network(ls, length-len(l.Contents), l.Protocol)
}

var ospfTypes = [...]string{1: "Hello", 2: "Database Description", 3: "LS-Request", 4: "LS-Update", 5: "LS-Ack"}

func (w *words) ospf(version uint8, kind layers.OSPFType, length int) {
	name := "unknown"
	if int(kind) < len(ospfTypes) && kind > 0 {
		name = ospfTypes[kind]
	}
	w.addf("OSPFv%d, %s", version, name)
	w.length(length)
}

func (w *words) sctp(l *layers.SCTP, ls []gopacket.Layer, length int) {
	w.add("sctp")
	for i, chunk := range ls {
		if undecoded(ls[i:]) {
			break
		}
		name := chunk.LayerType().String()
		if _, ok := chunk.(*gopacket.Payload); ok {
			continue // of a chunk with data
		}
		w.add(" [")
		w.add(chunkName(name))
		w.add("]")
	}
	w.length(length)
}

// chunkName is the name of an SCTP chunk: gopacket's SCTPCookieEcho is COOKIE ECHO.
func chunkName(layer string) string {
	name := strings.TrimPrefix(layer, "SCTP")
	var b []byte
	for i := range len(name) {
		c := name[i]
		if i > 0 && c >= 'A' && c <= 'Z' && name[i-1] >= 'a' {
			b = append(b, ' ')
		}
		b = append(b, c)
	}
	return strings.ToUpper(string(b))
}
