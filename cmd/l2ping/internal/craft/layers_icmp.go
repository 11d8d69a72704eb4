package craft

import "slices"

var icmpTypes = map[string]uint64{
	"echo-reply": 0, "dest-unreach": 3, "source-quench": 4, "redirect": 5, "echo-request": 8, "router-advertisement": 9,
	"router-solicitation": 10, "time-exceeded": 11, "parameter-problem": 12, "timestamp-request": 13, "timestamp-reply": 14,
	"information-request": 15, "information-response": 16, "address-mask-request": 17, "address-mask-reply": 18,
	"traceroute": 30, "domain-name-request": 37, "domain-name-reply": 38, "photuris": 40,
}

// icmpCodes are names of codes, whatever type they belong to.
var icmpCodes = map[string]uint64{
	"network-unreachable": 0, "host-unreachable": 1, "protocol-unreachable": 2, "port-unreachable": 3,
	"fragmentation-needed": 4, "source-route-failed": 5, "network-unknown": 6, "host-unknown": 7, "network-prohibited": 9,
	"host-prohibited": 10, "TOS-network-unreachable": 11, "TOS-host-unreachable": 12, "communication-prohibited": 13,
	"host-precedence-violation": 14, "precedence-cutoff": 15, "network-redirect": 0, "host-redirect": 1,
	"TOS-network-redirect": 2, "TOS-host-redirect": 3, "ttl-zero-during-transit": 0, "ttl-zero-during-reassembly": 1,
	"ip-header-bad": 0, "required-option-missing": 1,
}

// ofType tells whether an ICMP message is of one of the types.
func ofType(types ...uint64) func(*header) bool {
	return func(h *header) bool { return slices.Contains(types, h.num("type")) }
}

var (
	icmpEcho  = ofType(0, 8, 13, 14, 15, 16, 17, 18, 37, 38)
	icmpTimes = ofType(13, 14)
	icmpSplit = ofType(11, 12)
)

// Which fields an ICMP message has depends on its type (RFC 792); a field that it
// has not is not sent.
var icmpLayers = []*layer{
	{
		name: "ICMP",
		fields: []field{
			num("type", 8, 8).named(icmpTypes), num("code", 8, 0).named(icmpCodes), num("chksum", 16, 0),
			num("id", 16, 0).only(icmpEcho), num("seq", 16, 0).only(icmpEcho),
			num("ts_ori", 32, 0).only(icmpTimes), num("ts_rx", 32, 0).only(icmpTimes), num("ts_tx", 32, 0).only(icmpTimes),
			ip4("gw").only(ofType(5)),
			num("ptr", 8, 0).only(ofType(12)),
			num("reserved", 8, 0).only(ofType(3, 11)),
			num("length", 8, 0).only(ofType(3, 11, 12)),
			ip4("addr_mask").only(ofType(17, 18)),
			num("nexthopmtu", 16, 0).only(ofType(3)),
			num("unused", 32, 0).only(func(h *header) bool {
				return !slices.Contains([]uint64{0, 3, 5, 8, 13, 14, 15, 16, 17, 18}, h.num("type"))
			}),
		},
		over: over4(1),
		// Times are milliseconds since midnight UT.
		fill: func(h *header) error {
			now := h.run.began.UnixMilli() % (24 * 60 * 60 * 1000)
			for _, name := range []string{"ts_ori", "ts_rx", "ts_tx"} {
				h.put(name, uint64(now))
			}
			return nil
		},
		finish: func(h *header, head, payload []byte) ([]byte, error) {
			if icmpSplit(h) {
				// Here the field is of two bytes: its upper half stays behind.
				if h.num("unused") > 0xffff {
					return nil, h.wrong("unused is %d: of type %d it has to be from 0 to 65535", h.num("unused"), h.num("type"))
				}
				head = append(head[:len(head)-4], head[len(head)-2:]...)
			}
			b := append(head, payload...)
			if !h.has("chksum") {
				putChecksum(b, 2)
			}
			return b, nil
		},
	},
	{
		name: "IGMP",
		fields: []field{
			num("type", 8, 0x11).named(map[string]uint64{
				"Group Membership Query": 0x11, "Version 1 - Membership Report": 0x12, "Version 2 - Membership Report": 0x16,
				"Leave Group": 0x17,
			}),
			num("mrcode", 8, 20), num("chksum", 16, 0), ip4("gaddr"),
		},
		over: map[string]overload{"IP": {"proto": {num: 2}, "ttl": {num: 1}, "frag": {num: 0}}},
		finish: func(h *header, head, payload []byte) ([]byte, error) {
			b := append(head, payload...)
			if !h.has("chksum") {
				putChecksum(b, 2)
			}
			return b, nil
		},
	},
}

// icmp6 is an ICMPv6 message (RFC 4443, section 2.1): with a type, a code, a
// checksum, and fields of its own. What it makes of IPv6 besides the next header
// is in over.
func icmp6(name string, kind uint64, over overload, more ...field) *layer {
	o := over6(58)
	for field, v := range over {
		o["IPv6"][field] = v
	}
	return &layer{
		name:   name,
		fields: append([]field{num("type", 8, kind), num("code", 8, 0), num("cksum", 16, 0)}, more...),
		over:   o,
		finish: func(h *header, head, payload []byte) ([]byte, error) {
			b := append(head, payload...)
			h.checksum("cksum", 58, b, 2)
			return b, nil
		},
	}
}

// toGroup is what a message that has to reach a group makes of IPv6.
func toGroup(group byte, hops uint64) overload {
	dst := make([]byte, 16)
	dst[0], dst[1], dst[15] = 0xff, 2, group
	return overload{"dst": {data: dst}, "hlim": {num: hops}}
}

// with gives a field another default.
func with(l *layer, name string, initial uint64) *layer {
	for i := range l.fields {
		if l.fields[i].name == name {
			l.fields[i].initial.num = initial
		}
	}
	return l
}

// renamed gives a field another name.
func renamed(l *layer, from, to string) *layer {
	for i := range l.fields {
		if l.fields[i].name == from {
			l.fields[i].name = to
		}
	}
	return l
}

func mld(name string, kind uint64, over overload) *layer {
	return icmp6(name, kind, over, num("mrd", 16, 0), num("reserved", 16, 0), ip6("mladdr"))
}

// counting has a layer say how many elements one of its fields has.
func counting(l *layer, count, of string) *layer {
	l.fill = func(h *header) error {
		n := len(h.at(of).list) + len(h.at(of).chains)
		if n > 0xffff {
			return h.wrong("%d of them in %s are too many", n, of)
		}
		h.put(count, uint64(n))
		return nil
	}
	return l
}

// mldRecords are those of a report (RFC 3810, section 5.2).
var mldRecords = []*layer{
	{
		name: "ICMPv6MLDMultAddrRec", in: mldRecord,
		fields: []field{
			num("rtype", 8, 4), num("auxdata_len", 8, 0), num("sources_number", 16, 0), ip6("dst"),
			{name: "sources", kind: kindIP6List}, data("auxdata"),
		},
		fill: func(h *header) error {
			n := len(h.at("auxdata").data)
			if n > 0xff && !h.has("auxdata_len") {
				return h.wrong("%d bytes are more than auxdata_len can say, 255", n)
			}
			h.put("auxdata_len", uint64(n))
			h.put("sources_number", uint64(len(h.at("sources").list)))
			return nil
		},
	},
}

var icmp6Layers = []*layer{
	counting(icmp6("ICMPv6MLQuery2", 130, toGroup(1, 1), num("mrd", 16, 10000), num("reserved", 16, 0), ip6("mladdr"),
		num("Resv", 4, 0), num("S", 1, 0), num("QRV", 3, 0), num("QQIC", 8, 0), num("sources_number", 16, 0),
		field{name: "sources", kind: kindIP6List}), "sources_number", "sources"),
	counting(renamed(icmp6("ICMPv6MLReport2", 143, toGroup(0x16, 1), num("reserved", 16, 0), num("records_number", 16, 0),
		layersOf("records", mldRecord)), "code", "res"), "records_number", "records"),
	icmp6("ICMPv6Unknown", 1, nil, data("msgbody")),
	icmp6("ICMPv6DestUnreach", 1, nil, num("length", 8, 0), num("unused", 24, 0)),
	icmp6("ICMPv6PacketTooBig", 2, nil, num("mtu", 32, 1280)),
	icmp6("ICMPv6TimeExceeded", 3, nil, num("length", 8, 0), num("unused", 24, 0)),
	icmp6("ICMPv6ParamProblem", 4, nil, num("ptr", 32, 6)),
	icmp6("ICMPv6EchoRequest", 128, nil, num("id", 16, 0), num("seq", 16, 0), data("data")),
	icmp6("ICMPv6EchoReply", 129, nil, num("id", 16, 0), num("seq", 16, 0), data("data")),
	with(mld("ICMPv6MLQuery", 130, toGroup(1, 1)), "mrd", 10000),
	mld("ICMPv6MLReport", 131, overload{"hlim": {num: 1}}),
	mld("ICMPv6MLDone", 132, toGroup(2, 1)),
	icmp6("ICMPv6ND_RS", 133, toGroup(2, 255), num("res", 32, 0)),
	icmp6("ICMPv6ND_RA", 134, toGroup(1, 255),
		num("chlim", 8, 0), num("M", 1, 0), num("O", 1, 0), num("H", 1, 0), num("prf", 2, 1), num("P", 1, 0), num("res", 2, 0),
		num("routerlifetime", 16, 1800), num("reachabletime", 32, 0), num("retranstimer", 32, 0)),
	icmp6("ICMPv6ND_NS", 135, toGroup(1, 255), num("res", 32, 0), ip6("tgt")),
	icmp6("ICMPv6ND_NA", 136, toGroup(1, 255),
		num("R", 1, 1), num("S", 1, 0), num("O", 1, 1), num("res", 29, 0), ip6("tgt")),
	icmp6("ICMPv6ND_Redirect", 137, toGroup(1, 255), num("res", 32, 0), ip6("tgt"), ip6("dst")),
}

// ndpLayers are the options of neighbor discovery (RFC 4861, section 4.6), which
// follow its messages. Their length counts eight bytes.
var ndpLayers = []*layer{
	{name: "ICMPv6NDOptSrcLLAddr", fields: []field{num("type", 8, 1), num("len", 8, 1), mac("lladdr")}},
	{name: "ICMPv6NDOptDstLLAddr", fields: []field{num("type", 8, 2), num("len", 8, 1), mac("lladdr")}},
	{name: "ICMPv6NDOptPrefixInfo", fields: []field{
		num("type", 8, 3), num("len", 8, 4), num("prefixlen", 8, 64), num("L", 1, 1), num("A", 1, 1), num("R", 1, 0),
		num("res1", 5, 0), num("validlifetime", 32, 0xffffffff), num("preferredlifetime", 32, 0xffffffff), num("res2", 32, 0),
		ip6("prefix"),
	}},
	{name: "ICMPv6NDOptMTU", fields: []field{num("type", 8, 5), num("len", 8, 1), num("res", 16, 0), num("mtu", 32, 1280)}},
	{
		name: "ICMPv6NDOptRDNSS",
		fields: []field{
			num("type", 8, 25), num("len", 8, 0), num("res", 16, 0), num("lifetime", 32, 0xffffffff),
			{name: "dns", kind: kindIP6List},
		},
		fill: func(h *header) error {
			n := len(h.at("dns").list)
			if n > 127 {
				return h.wrong("%d addresses, and there is room for 127", n)
			}
			h.put("len", uint64(2*n+1))
			return nil
		},
	},
	{
		name:   "ICMPv6NDOptUnknown",
		fields: []field{num("type", 8, 0), num("len", 8, 0), data("data")},
		fill: func(h *header) error {
			n := len(h.at("data").data) + 2
			if n > 0xff && !h.has("len") {
				return h.wrong("%d bytes are more than len can say, 255", n)
			}
			h.put("len", uint64(n))
			return nil
		},
	},
}
