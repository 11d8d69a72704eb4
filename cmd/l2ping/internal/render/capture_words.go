//go:build linux

package render

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"unicode/utf8"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/capture/pcapng"
)

// words puts a frame into tcpdump's words, as `tcpdump -n -S` prints it, on one
// line. What the layers are is gopacket's finding.
//
// A wire is how many bytes of the frame there were from some layer on, captured or
// not. Lengths that a header tells are believed up to that.
type words struct {
	b []byte
	// link says that MACs and EtherTypes are told; typed that an EtherType was,
	// and the name of the protocol need not be.
	link, typed bool
	// below is the Ethernet header that tags follow, and wire its frame's length; nil
	// once something else did.
	below *layers.Ethernet
	wire  int
}

// oldQinQ is what provider bridges called their tags before IEEE 802.1ad did. Filters
// take it for a tag (pcap-filter(7), vlan), and so do we.
const oldQinQ layers.EthernetType = 0x9100

// gopacket takes it for an unknown type, and its table is there to be added to.
func init() {
	layers.EthernetTypeMetadata[oldQinQ] = layers.EthernetTypeMetadata[layers.EthernetTypeQinQ]
}

// decode finds the layers of a frame. gopacket keeps what a decoder panics of to
// itself, and makes it a failure.
func decode(data []byte, link pcapng.LinkType) []gopacket.Layer {
	var first gopacket.Decoder
	switch link {
	case pcapng.LinkEthernet:
		first = layers.LayerTypeEthernet
	case linkSLL, linkSLL2, linkNull, linkLoop:
		first = layers.LinkType(link)
	default:
		if !IsRawLink(link) {
			return nil
		}
		first = layers.LinkTypeRaw
	}
	return gopacket.NewPacket(data, first, gopacket.DecodeOptions{NoCopy: true}).Layers()
}

// Link types that files have, and interfaces have not.
const (
	linkNull pcapng.LinkType = 0
	linkLoop pcapng.LinkType = 108
	linkSLL  pcapng.LinkType = 113
	linkIPv4 pcapng.LinkType = 228
	linkIPv6 pcapng.LinkType = 229
	linkSLL2 pcapng.LinkType = 276
)

// IsRawLink tells whether frames of a link type begin with their IP header.
func IsRawLink(t pcapng.LinkType) bool {
	switch t {
	case pcapng.LinkRaw, linkIPv4, linkIPv6, 12, 14: // the last two are BSD's
		return true
	}
	return false
}

// linkNames are tcpdump's names of link types.
var linkNames = map[pcapng.LinkType]string{
	linkNull: "NULL (BSD loopback)", pcapng.LinkEthernet: "EN10MB (Ethernet)", pcapng.LinkRaw: "RAW (Raw IP)",
	linkLoop: "LOOP (OpenBSD loopback)", linkSLL: "LINUX_SLL (Linux cooked v1)", linkIPv4: "IPV4 (Raw IPv4)",
	linkIPv6: "IPV6 (Raw IPv6)", linkSLL2: "LINUX_SLL2 (Linux cooked v2)",
}

// LinkName is tcpdump's name of a link type, such as "EN10MB (Ethernet)".
func LinkName(t pcapng.LinkType) string {
	if name := linkNames[t]; name != "" {
		return name
	}
	return strconv.Itoa(int(t))
}

// undecoded tells whether the first of some layers could not be decoded. What failed
// at its first byte may have left a layer of zeros behind.
func undecoded(ls []gopacket.Layer) bool {
	if len(ls) == 0 {
		return true
	}
	if _, ok := ls[0].(gopacket.ErrorLayer); ok {
		return true
	}
	if len(ls) > 1 && len(ls[0].LayerContents()) == 0 {
		_, ok := ls[1].(gopacket.ErrorLayer)
		return ok
	}
	return false
}

func (w *words) add(s string) { w.b = append(w.b, s...) }

func (w *words) addf(format string, args ...any) { w.b = fmt.Appendf(w.b, format, args...) }

func (w *words) number(n uint64) { w.b = strconv.AppendUint(w.b, n, 10) }

func (w *words) length(n int) {
	w.add(", length ")
	w.b = strconv.AppendInt(w.b, int64(max(n, 0)), 10)
}

func (w *words) mac(m net.HardwareAddr) {
	const digits = "0123456789abcdef"
	for i, c := range m {
		if i > 0 {
			w.b = append(w.b, ':')
		}
		w.b = append(w.b, digits[c>>4], digits[c&15])
	}
}

func (w *words) ip(ip []byte) {
	if a, ok := netip.AddrFromSlice(ip); ok {
		w.b = a.AppendTo(w.b)
	}
}

// text adds what comes out of a frame, which may be any bytes: none of them breaks
// a line, or does something to a terminal.
func (w *words) text(s []byte) {
	for len(s) > 0 {
		r, n := utf8.DecodeRune(s)
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			r = '?'
		}
		w.b = utf8.AppendRune(w.b, r)
		s = s[n:]
	}
}

// frame words a whole frame.
func (w *words) frame(ls []gopacket.Layer, wire int) {
	if undecoded(ls) {
		w.add("[|link]")
		w.length(wire)
		return
	}
	switch l := ls[0].(type) {
	case *layers.Ethernet:
		w.ethernet(l, ls, wire)
	case *layers.LinuxSLL:
		w.network(ls[1:], wire-16, l.EthernetType)
	case *layers.LinuxSLL2:
		w.network(ls[1:], wire-20, l.ProtocolType)
	case *layers.Loopback:
		w.network(ls[1:], wire-4, 0)
	default:
		w.network(ls, wire, 0)
	}
}

// macs tells who a frame is from and to.
func (w *words) macs(l *layers.Ethernet) {
	w.mac(l.SrcMAC)
	w.add(" > ")
	w.mac(l.DstMAC)
}

// unknown words a frame of which nothing but its header tells anything. As tcpdump's,
// the length is the whole frame's.
func (w *words) unknown(l *layers.Ethernet, t layers.EthernetType, wire int) {
	w.macs(l)
	w.add(", ethertype ")
	w.etherType(t)
	w.length(wire)
}

func (w *words) ethernet(l *layers.Ethernet, ls []gopacket.Layer, wire int) {
	if w.link {
		w.macs(l)
		if l.EthernetType == layers.EthernetTypeLLC {
			w.add(", 802.3")
		} else {
			w.add(", ethertype ")
			w.etherType(l.EthernetType)
		}
		w.length(wire)
		w.add(": ")
		w.typed = l.EthernetType != layers.EthernetTypeLLC
	}
	body := wire - len(l.Contents)
	if l.EthernetType == layers.EthernetTypeLLC {
		body = min(body, int(l.Length))
	}
	if !known(l.EthernetType) && undecoded(ls[1:]) {
		if !w.link {
			w.unknown(l, l.EthernetType, wire)
		} else {
			w.addf("%d bytes", max(body, 0))
		}
		return
	}
	w.below, w.wire = l, wire
	w.network(ls[1:], body, l.EthernetType)
}

// etherTypes are tcpdump's names.
var etherTypes = map[layers.EthernetType]string{
	layers.EthernetTypeIPv4: "IPv4", layers.EthernetTypeARP: "ARP", layers.EthernetTypeIPv6: "IPv6",
	layers.EthernetTypeDot1Q: "802.1Q", layers.EthernetTypeQinQ: "802.1Q-QinQ", oldQinQ: "802.1Q-9100", 0x8035: "Reverse ARP",
	layers.EthernetTypeLinkLayerDiscovery: "LLDP", layers.EthernetTypeEAPOL: "EAPOL",
	layers.EthernetTypePPPoEDiscovery: "PPPoE D", layers.EthernetTypePPPoESession: "PPPoE S",
	layers.EthernetTypeMPLSUnicast: "MPLS unicast", layers.EthernetTypeMPLSMulticast: "MPLS multicast",
	layers.EthernetTypeTransparentEthernetBridging: "TEB", 0x88e5: "MACsec",
	layers.EthernetTypeEthernetCTP: "Loopback", 0x8809: "Slow Protocols", 0x88f7: "PTP",
}

// shorts are the names of what is cut.
var shorts = map[layers.EthernetType]string{
	layers.EthernetTypeIPv4: "IP [|ip]", layers.EthernetTypeIPv6: "IP6 [|ip6]", layers.EthernetTypeARP: "[|arp]",
	layers.EthernetTypeDot1Q: "[|vlan]", layers.EthernetTypeQinQ: "[|vlan]", oldQinQ: "[|vlan]", layers.EthernetTypeLLC: "[|llc]",
	layers.EthernetTypeLinkLayerDiscovery: "[|lldp]", layers.EthernetTypeEAPOL: "[|eapol]",
	layers.EthernetTypePPPoEDiscovery: "[|pppoe]", layers.EthernetTypePPPoESession: "[|pppoe]",
	layers.EthernetTypeMPLSUnicast: "[|mpls]", layers.EthernetTypeMPLSMulticast: "[|mpls]",
}

func known(t layers.EthernetType) bool { return shorts[t] != "" }

func (w *words) etherType(t layers.EthernetType) {
	name := etherTypes[t]
	if name == "" {
		name = "Unknown"
	}
	w.addf("%s (0x%04x)", name, uint16(t))
}

// protocol tells a protocol's name, unless the EtherType said it.
func (w *words) protocol(name string) {
	if !w.typed {
		w.add(name)
	}
	w.typed = false
}

// network words what is behind a link header or within a tunnel.
func (w *words) network(ls []gopacket.Layer, wire int, t layers.EthernetType) {
	wire = max(wire, 0)
	if undecoded(ls) {
		switch {
		case known(t):
			w.add(shorts[t])
		case t == 0:
			w.add("[|link]")
		default:
			w.add("ethertype ")
			w.etherType(t)
		}
		w.length(wire)
		return
	}
	if _, tagged := ls[0].(*layers.Dot1Q); !tagged {
		w.below = nil
	}
	switch l := ls[0].(type) {
	case *layers.Ethernet: // within a tunnel
		w.typed = false
		w.ethernet(l, ls, wire)
	case *layers.Dot1Q:
		w.vlan(l, ls[1:], wire-len(l.Contents))
	case *layers.ARP:
		w.arp(l, wire)
	case *layers.IPv4:
		w.ipv4(l, ls[1:], wire)
	case *layers.IPv6:
		w.ipv6(l, ls[1:], wire)
	case *layers.LLC:
		w.llc(l, ls[1:], wire)
	case *layers.PPPoE:
		w.pppoe(l, ls[1:], wire-len(l.Contents))
	case *layers.PPP:
		w.network(ls[1:], wire-len(l.Contents), 0)
	case *layers.MPLS:
		w.mpls(ls, wire)
	case *layers.LinkLayerDiscovery:
		w.add("LLDP")
		w.length(wire)
		for _, v := range l.Values {
			if v.Type == layers.LLDPTLVSysName {
				w.add(": ")
				w.text(v.Value)
			}
		}
	case *layers.EAPOL:
		w.addf("EAPOL %s (%d) v%d, len %d", eapolTypes[l.Type], uint8(l.Type), l.Version, l.Length)
	case *layers.EthernetCTP:
		w.addf("Loopback, skipCount %d", l.SkipCount)
		w.length(wire)
	case *gopacket.Payload, *gopacket.Fragment:
		w.add("data")
		w.length(wire)
	default:
		w.add(l.LayerType().String())
		w.length(wire)
	}
}

var eapolTypes = map[layers.EAPOLType]string{
	layers.EAPOLTypeEAP: "EAP packet", layers.EAPOLTypeStart: "start", layers.EAPOLTypeLogOff: "logoff",
	layers.EAPOLTypeKey: "key", layers.EAPOLTypeASFAlert: "encap ASF alert",
}

func (w *words) vlan(l *layers.Dot1Q, ls []gopacket.Layer, wire int) {
	w.addf("vlan %d", l.VLANIdentifier)
	if w.link || l.Priority > 0 {
		w.addf(", p %d", l.Priority)
	}
	if l.DropEligible {
		w.add(", DEI")
	}
	w.typed = false
	untold := !known(l.Type) && undecoded(ls)
	switch {
	case untold && !w.link && l.Type >= 0x600 && w.below != nil:
		w.add(", ")
		w.unknown(w.below, l.Type, w.wire)
		return
	case l.Type < 0x600: // a length
		w.add(", 802.3: ")
	case w.link:
		w.add(", ethertype ")
		w.etherType(l.Type)
		w.add(", ")
		w.typed = true
	default:
		w.add(", ")
	}
	if w.link && untold {
		w.addf("%d bytes", max(wire, 0))
		return
	}
	w.network(ls, wire, l.Type)
}

func (w *words) arp(l *layers.ARP, wire int) {
	w.protocol("ARP, ")
	if len(l.SourceHwAddress) != 6 || len(l.SourceProtAddress) != 4 {
		w.addf("Unknown Hardware (%d) or Protocol (0x%04x)", uint16(l.AddrType), uint16(l.Protocol))
		w.length(wire)
		return
	}
	switch l.Operation {
	case layers.ARPRequest:
		w.add("Request who-has ")
		w.ip(l.DstProtAddress)
		if !zero(l.DstHwAddress) {
			w.add(" (")
			w.mac(l.DstHwAddress)
			w.add(")")
		}
		w.add(" tell ")
		w.ip(l.SourceProtAddress)
	case layers.ARPReply:
		w.add("Reply ")
		w.ip(l.SourceProtAddress)
		w.add(" is-at ")
		w.mac(l.SourceHwAddress)
	case 3:
		w.add("Reverse Request who-is ")
		w.mac(l.DstHwAddress)
		w.add(" tell ")
		w.mac(l.SourceHwAddress)
	case 4:
		w.add("Reverse Reply ")
		w.mac(l.DstHwAddress)
		w.add(" at ")
		w.ip(l.DstProtAddress)
	default:
		w.addf("Unknown (%d)", l.Operation)
	}
	w.length(wire)
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func (w *words) llc(l *layers.LLC, ls []gopacket.Layer, wire int) {
	header := len(l.Contents)
	if !undecoded(ls) {
		switch next := ls[0].(type) {
		case *layers.STP:
			w.stp(next, wire-header)
			return
		case *layers.SNAP:
			w.network(ls[1:], wire-header-len(next.Contents), next.Type)
			return
		}
	}
	w.addf("LLC, dsap 0x%02x, ssap 0x%02x, ctrl 0x%02x", l.DSAP, l.SSAP, l.Control)
	w.length(wire)
}

func (w *words) stp(l *layers.STP, wire int) {
	w.add("STP ")
	switch l.Version {
	case 0:
		w.add("802.1d")
	case 2:
		w.add("802.1w, Rapid STP")
	case 3:
		w.add("802.1s, Rapid STP, CIST")
	default:
		w.addf("version %d", l.Version)
	}
	if l.Type == 0x80 {
		w.add(", Topology Change")
		w.length(wire)
		return
	}
	w.add(", Config, Flags [")
	switch {
	case l.TC && l.TCA:
		w.add("Topology change, Topology change ACK")
	case l.TC:
		w.add("Topology change")
	case l.TCA:
		w.add("Topology change ACK")
	default:
		w.add("none")
	}
	w.addf("], bridge-id %04x.", l.BridgeID.Priority|l.BridgeID.SysID)
	w.mac(l.BridgeID.HwAddr)
	w.addf(".%04x", l.PortID)
	w.length(wire)
}

func (w *words) pppoe(l *layers.PPPoE, ls []gopacket.Layer, wire int) {
	w.add("PPPoE ")
	name := map[layers.PPPoECode]string{
		layers.PPPoECodePADI: "PADI", layers.PPPoECodePADO: "PADO", layers.PPPoECodePADR: "PADR",
		layers.PPPoECodePADS: "PADS", layers.PPPoECodePADT: "PADT",
	}[l.Code]
	if name != "" {
		w.add(name)
		w.add(" ")
	}
	if l.SessionId != 0 {
		w.addf("[ses 0x%x] ", l.SessionId)
	}
	w.typed = false
	if name != "" || undecoded(ls) {
		w.addf("length %d", max(wire, 0))
		return
	}
	w.network(ls, min(wire, int(l.Length)), 0)
}

func (w *words) mpls(ls []gopacket.Layer, wire int) {
	w.add("MPLS ")
	for len(ls) > 0 {
		l, ok := ls[0].(*layers.MPLS)
		if !ok {
			break
		}
		w.addf("(label %d, tc %d, ", l.Label, l.TrafficClass)
		if l.StackBottom {
			w.add("[S], ")
		}
		w.addf("ttl %d) ", l.TTL)
		wire -= len(l.Contents)
		ls = ls[1:]
	}
	w.typed = false
	if undecoded(ls) {
		w.addf("length %d", max(wire, 0))
		return
	}
	w.network(ls, wire, 0)
}
