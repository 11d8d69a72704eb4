package craft

// protocols are names of IP protocols, as /etc/protocols and scapy have them.
var protocols = map[string]uint64{
	"ip": 0, "icmp": 1, "igmp": 2, "ipencap": 4, "tcp": 6, "udp": 17, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51,
	"ipv6_icmp": 58, "ospf": 89, "pim": 103, "vrrp": 112, "sctp": 132, "udplite": 136,
}

var nextHeaders = map[string]uint64{
	"Hop-by-Hop Option Header": 0, "IP": 4, "TCP": 6, "UDP": 17, "IPv6": 41, "Routing Header": 43, "Fragment Header": 44,
	"GRE": 47, "ESP Header": 50, "AH Header": 51, "ICMPv6": 58, "No Next Header": 59, "Destination Option Header": 60,
	"VRRP": 112, "SCTP": 132, "Mobility Header": 135,
}

// over4 and over6 are the overloads of a protocol over IPv4, IPv6 or both.
func over4(protocol uint64) map[string]overload {
	return map[string]overload{"IP": number("proto", protocol)}
}

func over6(protocol uint64) map[string]overload {
	return map[string]overload{"IPv6": number("nh", protocol)}
}

func overBoth(protocol uint64) map[string]overload { return also(over4(protocol), over6(protocol)) }

var ipLayers = []*layer{
	{
		name: "IP",
		fields: []field{
			num("version", 4, 4), num("ihl", 4, 0), num("tos", 8, 0), num("len", 16, 0), num("id", 16, 1),
			flags("flags", 3, 0, "MF", "DF", "evil"), num("frag", 13, 0), num("ttl", 8, 64),
			num("proto", 8, 0).named(protocols), num("chksum", 16, 0), ip4("src"), ip4("dst"),
			layersOf("options", ipOption),
		},
		over: also(typed(0x0800), map[string]overload{
			"IP": number("proto", 4), "IPv6": number("nh", 4), "MPLS": number("label", 0), "VXLAN": {"flags": {num: 12}, "NextProtocol": {num: 1}},
		}),
		finish: finishIP,
	},
}

func finishIP(h *header, head, payload []byte) ([]byte, error) {
	head = padTo(head, 4)
	if !h.has("ihl") {
		if len(head) > 60 {
			return nil, h.wrong("%d bytes of options, and there is room for 40 (a given ihl lets them pass)", len(head)-20)
		}
		head[0] |= byte(len(head) / 4)
	}
	if err := h.length("len", head, 2, len(head)+len(payload)); err != nil {
		return nil, err
	}
	if !h.has("chksum") {
		putChecksum(head, 10)
	}
	return append(head, payload...), nil
}

// optionsLen is how long the options of an IP header are, without what pads them.
func (h *header) optionsLen() int {
	b, err := h.inner(h.at("options"))
	if err != nil {
		return 0 // the header itself says so when it is written
	}
	return len(b)
}

// finalDestination is where a packet ends up: the last router of the one source
// route among its options, else its destination.
func (h *header) finalDestination() []byte {
	var routes [][]byte
	found := 0
	for _, chain := range h.at("options").chains {
		for _, n := range chain {
			if n.layer.is("IPOption_LSRR", "IPOption_SSRR") {
				found++
				routes = h.run.now[n.index][n.layer.index["routers"]].list
			}
		}
	}
	if found == 1 && len(routes) > 0 {
		return routes[len(routes)-1]
	}
	return h.at("dst").data
}

// option are the fields that each IP option starts with (RFC 791, section 3.1).
func option(copied, class, number uint64, more ...field) []field {
	return append([]field{num("copy_flag", 1, copied), num("optclass", 2, class), num("option", 5, number)}, more...)
}

// lengthAt1 writes the length of an option into its second byte.
func lengthAt1(h *header, head, payload []byte) ([]byte, error) {
	if !h.has("length") {
		if len(head) > 0xff {
			return nil, h.wrong("%d bytes are more than length can say, 255", len(head))
		}
		head[1] = byte(len(head))
	}
	return append(head, payload...), nil
}

func routers(name string, copied, number uint64) *layer {
	return &layer{
		name: name, in: ipOption,
		fields: option(copied, 0, number, num("length", 8, 0), num("pointer", 8, 4), field{name: "routers", kind: kindIP4List}),
		finish: lengthAt1,
	}
}

func mtuOption(name string, number uint64) *layer {
	return &layer{
		name: name, in: ipOption,
		fields: option(0, 0, number, num("length", 8, 4), num("mtu", 16, 0)),
	}
}

var ipOptions = []*layer{
	{
		name: "IPOption", in: ipOption, positional: "whole",
		fields: option(0, 0, 0, num("length", 8, 0), data("value")),
		finish: lengthAt1,
	},
	{name: "IPOption_EOL", in: ipOption, fields: option(0, 0, 0)},
	{name: "IPOption_NOP", in: ipOption, fields: option(0, 0, 1)},
	routers("IPOption_RR", 0, 7),
	routers("IPOption_LSRR", 1, 3),
	routers("IPOption_SSRR", 1, 9),
	{name: "IPOption_Stream_Id", in: ipOption, fields: option(1, 0, 8, num("length", 8, 4), num("security", 16, 0))},
	mtuOption("IPOption_MTU_Probe", 11),
	mtuOption("IPOption_MTU_Reply", 12),
	{
		name: "IPOption_Traceroute", in: ipOption,
		fields: option(0, 0, 18, num("length", 8, 12), num("id", 16, 0), num("outbound_hops", 16, 0),
			num("return_hops", 16, 0), ip4("originator_ip")),
	},
	{
		name: "IPOption_Timestamp", in: ipOption,
		fields: option(0, 2, 4, num("length", 8, 0), num("pointer", 8, 9), num("oflw", 4, 0),
			num("flg", 4, 1).named(map[string]uint64{"timestamp_only": 0, "timestamp_and_ip_addr": 1, "prespecified_ip_addr": 3}),
			ip4("internet_address").only(func(h *header) bool { return h.num("flg") != 0 }), num("timestamp", 32, 0)),
		finish: lengthAt1,
	},
	{name: "IPOption_Router_Alert", in: ipOption, fields: option(1, 0, 20, num("length", 8, 4), num("alert", 16, 0))},
}

var ip6Layers = []*layer{
	{
		name: "IPv6",
		fields: []field{
			num("version", 4, 6), num("tc", 8, 0), num("fl", 20, 0), num("plen", 16, 0), num("nh", 8, 59).named(nextHeaders),
			num("hlim", 8, 64), ip6("src"), ip6("dst"),
		},
		over: also(typed(0x86dd), map[string]overload{
			"IP": number("proto", 41), "IPv6": number("nh", 41), "MPLS": number("label", 2), "VXLAN": {"flags": {num: 12}, "NextProtocol": {num: 2}},
		}),
		finish: func(h *header, head, payload []byte) ([]byte, error) {
			err := h.length("plen", head, 4, len(payload))
			return append(head, payload...), err
		},
	},
	optionsHeader("IPv6ExtHdrHopByHop", 0),
	optionsHeader("IPv6ExtHdrDestOpt", 60),
	{
		name: "IPv6ExtHdrRouting",
		fields: []field{
			num("nh", 8, 59).named(nextHeaders), num("len", 8, 0), num("type", 8, 0), num("segleft", 8, 0), num("reserved", 32, 0),
			{name: "addresses", kind: kindIP6List},
		},
		like: []string{"IPv6"},
		over: over6(43),
		fill: func(h *header) error {
			n := len(h.at("addresses").list)
			if n > 127 {
				return h.wrong("%d addresses, and there is room for 127", n)
			}
			h.put("len", uint64(2*n))
			h.put("segleft", uint64(n))
			return nil
		},
	},
	{
		name: "IPv6ExtHdrFragment",
		fields: []field{
			num("nh", 8, 59).named(nextHeaders), num("res1", 8, 0), num("offset", 13, 0), num("res2", 2, 0), num("m", 1, 0),
			num("id", 32, 0),
		},
		like: []string{"IPv6"},
		over: over6(44),
	},
}

// optionsHeader is a header of options (RFC 8200, sections 4.3 and 4.6).
func optionsHeader(name string, protocol uint64) *layer {
	return &layer{
		name: name,
		fields: []field{
			num("nh", 8, 59).named(nextHeaders), num("len", 8, 0),
			// Not sent: whether the options are aligned and padded.
			num("autopad", 8, 1).only(func(*header) bool { return false }),
			layersOf("options", hopOption),
		},
		like: []string{"IPv6"},
		over: over6(protocol),
		finish: func(h *header, head, payload []byte) ([]byte, error) {
			if !h.has("len") {
				words := (len(head)+7)/8 - 1
				if words > 0xff {
					return nil, h.wrong("%d bytes of options are too many", len(head)-2)
				}
				head[1] = byte(words)
			}
			return append(head, payload...), nil
		},
	}
}

// optionPad fills n bytes between IPv6 options.
func optionPad(b []byte, n int) []byte {
	switch n {
	case 0:
		return b
	case 1:
		return append(b, 0)
	}
	b = append(b, 1, byte(n-2))
	return append(b, make([]byte, n-2)...)
}

// alignments are those of options: at a multiple of the first, plus the second.
var alignments = map[string][2]int{"RouterAlert": {2, 0}, "Jumbo": {4, 2}, "HAO": {8, 6}}

// alignedOptions makes IPv6 options, with what has to be between and behind them
// (RFC 8200, section 4.2).
func (h *header) alignedOptions(v *value) ([]byte, error) {
	const ahead = 2 // the next header and the length
	var all []byte
	for _, chain := range v.chains {
		if a, ok := alignments[chain[0].layer.name]; ok {
			at := len(all) + ahead
			all = optionPad(all, ((a[1]-at)%a[0]+a[0])%a[0])
		}
		b, err := build(h.run.headers(chain))
		if err != nil {
			return nil, err
		}
		all = append(all, b...)
	}
	return optionPad(all, (8-(len(all)+ahead)%8)%8), nil
}

func optionFields(kind uint64) []field {
	return []field{num("otype", 8, kind), num("optlen", 8, 0), data("optdata")}
}

// optionLength writes the length of an IPv6 option's data.
func optionLength(h *header, head, payload []byte) ([]byte, error) {
	if n := len(head) - 2; !h.has("optlen") {
		if n > 0xff {
			return nil, h.wrong("%d bytes are more than optlen can say, 255", n)
		}
		head[1] = byte(n)
	}
	return append(head, payload...), nil
}

var hopOptions = []*layer{
	{name: "Pad1", in: hopOption, fields: []field{num("otype", 8, 0)}},
	{name: "PadN", in: hopOption, fields: optionFields(1), finish: optionLength},
	{name: "RouterAlert", in: hopOption, fields: []field{num("otype", 8, 5), num("optlen", 8, 2), num("value", 16, 0)}},
	{name: "Jumbo", in: hopOption, fields: []field{num("otype", 8, 0xc2), num("optlen", 8, 4), num("jumboplen", 32, 0)}},
	{name: "HAO", in: hopOption, fields: []field{num("otype", 8, 0xc9), num("optlen", 8, 16), ip6("hoa")}},
	{name: "HBHOptUnknown", in: hopOption, fields: optionFields(1), finish: optionLength},
}
