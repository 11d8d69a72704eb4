//go:build linux

package render

import (
	"encoding/binary"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// A quote is the packet that an ICMP error is about.
type quote struct {
	src, dst []byte
	protocol layers.IPProtocol
	port     uint16 // that it went to, if there is one
	ported   bool
}

// quoted reads as much of a quoted IPv4 packet as there is; ok is false if that is
// not even its addresses.
func quoted(b []byte) (q quote, ok bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return q, false
	}
	q = quote{src: b[12:16], dst: b[16:20], protocol: layers.IPProtocol(b[9])}
	q.destinationPort(b[min(int(b[0]&15)*4, len(b)):])
	return q, true
}

// quoted6 is quoted for IPv6.
func quoted6(b []byte) (q quote, ok bool) {
	if len(b) < 40 || b[0]>>4 != 6 {
		return q, false
	}
	q = quote{src: b[8:24], dst: b[24:40], protocol: layers.IPProtocol(b[6])}
	q.destinationPort(b[40:])
	return q, true
}

func (q *quote) destinationPort(transport []byte) {
	if len(transport) < 4 {
		return
	}
	switch q.protocol {
	case layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolSCTP:
		q.port, q.ported = binary.BigEndian.Uint16(transport[2:]), true
	}
}

// unreachableWords are around the address of what an ICMP message says is not to be
// reached, by its code; those of codes 2, 3 and 4 have more.
var unreachableWords = map[uint8][2]string{
	0: {"net ", " unreachable"}, 1: {"host ", " unreachable"}, 2: {"", " protocol %d unreachable"}, 3: {"", " %s port %d unreachable"},
	4: {"", " unreachable - need to frag"}, 5: {"", " unreachable - source route failed"},
	6: {"net ", " unreachable - unknown"}, 7: {"host ", " unreachable - unknown"},
	8: {"", " unreachable - source host isolated"},
	9: {"net ", " unreachable - admin prohibited"}, 10: {"host ", " unreachable - admin prohibited"},
	11: {"net ", " unreachable - tos prohibited"}, 12: {"host ", " unreachable - tos prohibited"},
	13: {"host ", " unreachable - admin prohibited filter"}, 14: {"host ", " unreachable - host precedence violation"},
	15: {"host ", " unreachable - precedence cutoff"},
}

func (w *words) icmp(l *layers.ICMPv4, length int) {
	w.add("ICMP ")
	kind, code := l.TypeCode.Type(), l.TypeCode.Code()
	switch kind {
	case layers.ICMPv4TypeEchoRequest, layers.ICMPv4TypeEchoReply:
		w.add("echo ")
		if kind == layers.ICMPv4TypeEchoRequest {
			w.add("request")
		} else {
			w.add("reply")
		}
		w.add(", id ")
		w.number(uint64(l.Id))
		w.add(", seq ")
		w.number(uint64(l.Seq))
	case layers.ICMPv4TypeDestinationUnreachable:
		w.unreachable(l, code)
	case layers.ICMPv4TypeRedirect:
		w.redirect(l, code)
	case layers.ICMPv4TypeTimeExceeded:
		switch code {
		case 0:
			w.add("time exceeded in-transit")
		case 1:
			w.add("ip reassembly time exceeded")
		default:
			w.addf("time exceeded-#%d", code)
		}
	case layers.ICMPv4TypeParameterProblem:
		w.add("parameter problem")
		if code != 0 {
			w.addf(" - code %d", code)
		} else {
			w.addf(" - octet %d", l.Id>>8)
		}
	case layers.ICMPv4TypeSourceQuench:
		w.add("source quench")
	case layers.ICMPv4TypeRouterSolicitation:
		w.add("router solicitation")
	case layers.ICMPv4TypeRouterAdvertisement:
		w.add("router advertisement")
	case layers.ICMPv4TypeTimestampRequest:
		w.addf("time stamp query id %d seq %d", l.Id, l.Seq)
	case layers.ICMPv4TypeTimestampReply:
		w.addf("time stamp reply id %d seq %d", l.Id, l.Seq)
	case layers.ICMPv4TypeInfoRequest:
		w.add("information request")
	case layers.ICMPv4TypeInfoReply:
		w.add("information reply")
	case layers.ICMPv4TypeAddressMaskRequest:
		w.add("address mask request")
	case layers.ICMPv4TypeAddressMaskReply:
		w.add("address mask")
		if len(l.Payload) >= 4 {
			w.addf(" is 0x%08x", binary.BigEndian.Uint32(l.Payload))
		}
	default:
		w.addf("type-#%d", kind)
	}
	w.length(length)
}

func (w *words) unreachable(l *layers.ICMPv4, code uint8) {
	around, ok := unreachableWords[code]
	q, whole := quoted(l.Payload)
	switch {
	case !ok:
		w.addf("unreachable-#%d", code)
		return
	case !whole:
		w.addf("unreachable, code %d [|icmp]", code)
		return
	}
	w.add(around[0])
	w.ip(q.dst)
	switch {
	case code == 2:
		w.addf(around[1], uint8(q.protocol))
	case code == 3 && q.ported:
		w.addf(around[1], strings.ToLower(protocolName(q.protocol)), q.port)
	case code == 3:
		w.addf(" protocol %d port unreachable", uint8(q.protocol))
	default:
		w.add(around[1])
		if code == 4 && l.Seq != 0 {
			w.addf(" (mtu %d)", l.Seq)
		}
	}
}

func (w *words) redirect(l *layers.ICMPv4, code uint8) {
	to := "host"
	if code == 0 || code == 2 {
		to = "net"
	}
	w.add("redirect")
	if code >= 2 {
		w.add("-tos")
	}
	if q, ok := quoted(l.Payload); ok && code <= 3 {
		w.add(" ")
		w.ip(q.dst)
		w.addf(" to %s ", to)
		w.ip(l.Contents[4:8])
	} else {
		w.addf("-#%d", code)
	}
}

// icmp6Names are tcpdump's.
var icmp6Names = map[uint8]string{
	1: "destination unreachable", 2: "packet too big", 3: "time exceeded", 4: "parameter problem",
	128: "echo request", 129: "echo reply", 130: "multicast listener query", 131: "multicast listener report",
	132: "multicast listener done", 133: "router solicitation", 134: "router advertisement", 135: "neighbor solicitation",
	136: "neighbor advertisement", 137: "redirect", 138: "router renumbering", 143: "multicast listener report v2",
	139: "who-are-you request", 140: "node information reply",
}

func (w *words) icmp6(l *layers.ICMPv6, ls []gopacket.Layer, length int) {
	kind, code := l.TypeCode.Type(), l.TypeCode.Code()
	w.add("ICMP6, ")
	if name := icmp6Names[kind]; name != "" {
		w.add(name)
	} else {
		w.addf("unknown icmp6 type (%d)", kind)
	}
	switch {
	case kind <= 4:
		w.icmp6Error(kind, code, l.Payload)
	case undecoded(ls):
		if icmp6Names[kind] != "" {
			w.add(" [|icmp6]")
		}
	default:
		w.icmp6Body(ls[0])
	}
	w.length(length)
}

func (w *words) icmp6Body(l gopacket.Layer) {
	switch m := l.(type) {
	case *layers.ICMPv6Echo:
		w.add(", id ")
		w.number(uint64(m.Identifier))
		w.add(", seq ")
		w.number(uint64(m.SeqNumber))
	case *layers.ICMPv6NeighborSolicitation:
		w.add(", who has ")
		w.ip(m.TargetAddress)
	case *layers.ICMPv6NeighborAdvertisement:
		w.add(", tgt is ")
		w.ip(m.TargetAddress)
	case *layers.ICMPv6Redirect:
		w.add(", ")
		w.ip(m.DestinationAddress)
		w.add(" to ")
		w.ip(m.TargetAddress)
	case *layers.MLDv1MulticastListenerQueryMessage:
		w.listener(&m.MLDv1Message)
	case *layers.MLDv1MulticastListenerReportMessage:
		w.listener(&m.MLDv1Message)
	case *layers.MLDv1MulticastListenerDoneMessage:
		w.listener(&m.MLDv1Message)
	case *layers.MLDv2MulticastListenerQueryMessage:
		w.add(" v2")
		if !zero(m.MulticastAddress) {
			w.add(" ")
			w.ip(m.MulticastAddress)
		}
	case *layers.MLDv2MulticastListenerReportMessage:
		w.addf(", %d group record(s)", m.NumberOfMulticastAddressRecords)
	}
}

func (w *words) listener(m *layers.MLDv1Message) {
	w.addf(" max resp delay: %d addr: ", m.MaximumResponseDelay.Milliseconds())
	w.ip(m.MulticastAddress)
}

// icmp6Error words what an error tells (RFC 4443, section 3): behind four bytes the
// packet that it is about.
func (w *words) icmp6Error(kind, code uint8, body []byte) {
	if len(body) < 4 {
		w.add(" [|icmp6]")
		return
	}
	value := binary.BigEndian.Uint32(body)
	q, whole := quoted6(body[4:])
	switch kind {
	case 1:
		names := [...]string{
			"unreachable route", "unreachable prohibited", "beyond scope", "unreachable address", "unreachable port",
			"source address failed policy", "reject route to destination",
		}
		if int(code) < len(names) {
			w.add(", " + names[code])
		} else {
			w.addf(", unknown unreach code (%d)", code)
		}
		switch {
		case !whole:
			w.add(" [|icmp6]")
			return
		case code == 4:
			w.add(", ")
			w.ip(q.dst)
			if q.ported {
				w.addf(" %s port %d", strings.ToLower(protocolName(q.protocol)), q.port)
			} else {
				w.addf(" protocol %d", uint8(q.protocol))
			}
			return
		}
		w.add(" ")
		w.ip(q.dst)
		if code == 2 {
			w.add(", source address ")
			w.ip(q.src)
		}
	case 2:
		w.addf(", mtu %d", value)
	case 3:
		if code == 1 {
			w.add(" (reassembly)")
			return
		}
		w.add(" in-transit")
		if whole {
			w.add(" for ")
			w.ip(q.dst)
		}
	case 4:
		names := [...]string{"erroneous", "next header", "option"}
		if int(code) < len(names) {
			w.addf(", %s - octet %d", names[code], value)
		} else {
			w.addf(", code-#%d", code)
		}
	}
}

func (w *words) igmp(kind layers.IGMPType, version uint8, group []byte, records int) {
	w.add("igmp ")
	switch kind {
	case layers.IGMPMembershipQuery:
		w.addf("query v%d", version)
		if !zero(group) {
			w.add(" [gaddr ")
			w.ip(group)
			w.add("]")
		}
	case layers.IGMPMembershipReportV1:
		w.add("v1 report ")
		w.ip(group)
	case layers.IGMPMembershipReportV2:
		w.add("v2 report ")
		w.ip(group)
	case layers.IGMPMembershipReportV3:
		w.addf("v3 report, %d group record(s)", records)
	case layers.IGMPLeaveGroup:
		w.add("leave ")
		w.ip(group)
	default:
		w.addf("type-#%d", uint8(kind))
	}
}
