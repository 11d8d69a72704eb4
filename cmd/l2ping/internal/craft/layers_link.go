package craft

// etherTypes are scapy's names of EtherTypes, and the common ones.
var etherTypes = map[string]uint64{
	"IPv4": 0x0800, "ARP": 0x0806, "IPv6": 0x86dd, "802_AD": 0x88a8, "802_1AE": 0x88e5, "LLDP": 0x88cc, "PTP": 0x88f7,
	"MPLS": 0x8847,
}

// typed is an overload of the EtherType, by the names that layers have for it.
func typed(n uint64) map[string]overload {
	return map[string]overload{"Ether": number("type", n), "SNAP": number("code", n), "GRE": number("proto", n)}
}

// also adds overloads.
func also(m map[string]overload, more map[string]overload) map[string]overload {
	for name, o := range more {
		m[name] = o
	}
	return m
}

// vlanTag are the fields of a tag (IEEE 802.1Q, clause 9.6).
func vlanTag() []field {
	return []field{
		num("prio", 3, 0), num("id", 1, 0), num("vlan", 12, 1), num("type", 16, 0).named(etherTypes),
	}
}

// seconds is a time that is sent in 1/256 of a second.
func seconds(name string, initial uint64) field {
	f := num(name, 16, initial*256)
	f.unit = 256
	return f
}

var linkLayers = []*layer{
	{
		name:   "Ether",
		fields: []field{mac("dst"), mac("src"), num("type", 16, 0x9000).named(etherTypes)},
		over: map[string]overload{
			"Ether": number("type", 1), "SNAP": number("code", 1), "GRE": number("proto", 0x6558),
			"VXLAN": {"flags": {num: 12}, "NextProtocol": {num: 3}},
		},
	},
	{
		name:   "Dot3",
		fields: []field{mac("dst"), mac("src"), num("len", 16, 0)},
		finish: func(h *header, head, payload []byte) ([]byte, error) {
			padding := 0
			if h.payload != nil {
				padding = len(h.payload.padding())
			}
			err := h.length("len", head, 12, len(payload)+padding)
			return append(head, payload...), err
		},
	},
	{
		name:   "Dot1Q",
		fields: vlanTag(),
		like:   []string{"Ether"},
		over:   also(typed(0x8100), map[string]overload{"Dot1AD": number("type", 0x8100)}),
	},
	{
		name:   "Dot1AD",
		fields: vlanTag(),
		like:   []string{"Dot1Q", "Ether"},
		over: map[string]overload{
			"Ether": number("type", 0x88a8), "Dot1Q": number("type", 0x88a8), "Dot1AD": number("type", 0x88a8),
		},
	},
	{
		name:   "LLC",
		fields: []field{num("dsap", 8, 0), num("ssap", 8, 0), num("ctrl", 8, 0)},
		over:   map[string]overload{"Ether": number("type", 0x8870), "GRE": number("proto", 122)},
	},
	{
		name:   "SNAP",
		fields: []field{num("OUI", 24, 0), num("code", 16, 0).named(etherTypes)},
		over: map[string]overload{
			"LLC": {"dsap": {num: 170}, "ssap": {num: 170}, "ctrl": {num: 3}},
		},
	},
	{
		name: "STP",
		// The times are in 1/256 of a second (IEEE 802.1D, clause 9.2.8).
		fields: []field{
			num("proto", 16, 0), num("version", 8, 0), num("bpdutype", 8, 0), num("bpduflags", 8, 0), num("rootid", 16, 0),
			mac("rootmac"), num("pathcost", 32, 0), num("bridgeid", 16, 0), mac("bridgemac"), num("portid", 16, 0),
			seconds("age", 1), seconds("maxage", 20), seconds("hellotime", 2), seconds("fwddelay", 15),
		},
		over: map[string]overload{
			"LLC": {"dsap": {num: 66}, "ssap": {num: 66}, "ctrl": {num: 3}}, "SNAP": number("code", 267),
		},
	},
	{
		name:   "MPLS",
		fields: []field{num("label", 20, 3), num("cos", 3, 0), num("s", 1, 1), num("ttl", 8, 0)},
		over: also(typed(0x8847), map[string]overload{
			"IP": number("proto", 137), "IPv6": number("nh", 137), "UDP": number("dport", 6635), "MPLS": number("s", 0),
		}),
	},
	{
		name: "ARP",
		fields: []field{
			num("hwtype", 16, 1), num("ptype", 16, 0x0800).named(etherTypes), num("hwlen", 8, 6), num("plen", 8, 4),
			num("op", 16, 1).named(map[string]uint64{
				"who-has": 1, "is-at": 2, "RARP-req": 3, "RARP-rep": 4, "Dyn-RARP-req": 5, "Dyn-RAR-rep": 6,
				"Dyn-RARP-err": 7, "InARP-req": 8, "InARP-rep": 9,
			}),
			mac("hwsrc"), ip4("psrc"), mac("hwdst"), ip4("pdst"),
		},
		over: typed(0x0806),
	},
	{
		name: "GRE",
		fields: []field{
			num("chksum_present", 1, 0), num("routing_present", 1, 0), num("key_present", 1, 0), num("seqnum_present", 1, 0),
			num("strict_route_source", 1, 0), num("recursion_control", 3, 0), num("flags", 5, 0), num("version", 3, 0),
			num("proto", 16, 0).named(etherTypes),
			num("chksum", 16, 0).only(greChecksum), num("offset", 16, 0).only(greChecksum),
			num("key", 32, 0).only(func(h *header) bool { return h.num("key_present") == 1 }),
			num("sequence_number", 32, 0).only(func(h *header) bool { return h.num("seqnum_present") == 1 }),
		},
		over: map[string]overload{"IP": number("proto", 47), "IPv6": number("nh", 47)},
		finish: func(h *header, head, payload []byte) ([]byte, error) {
			b := append(head, payload...)
			if h.num("chksum_present") == 1 && !h.has("chksum") {
				putChecksum(b, 4)
			}
			return b, nil
		},
	},
	{
		name: "VXLAN",
		fields: []field{
			flags("flags", 8, 8, "OAM", "R", "NextProtocol", "Instance", "V1", "V2", "R", "G"),
			num("reserved0", 16, 0).only(vxlanNext),
			num("NextProtocol", 8, 0).named(map[string]uint64{
				"NotDefined": 0, "IPv4": 1, "IPv6": 2, "Ethernet": 3, "NSH": 4,
			}).only(vxlanNext),
			num("reserved1", 24, 0).only(func(h *header) bool { return !vxlanGroup(h) && !vxlanNext(h) }),
			num("gpflags", 8, 0).only(vxlanGroup), num("gpid", 16, 0).only(vxlanGroup),
			num("vni", 24, 0), num("reserved2", 8, 0),
		},
		over: map[string]overload{"UDP": {"sport": {num: 4789}, "dport": {num: 4789}}},
	},
}

func greChecksum(h *header) bool {
	return h.num("chksum_present") == 1 || h.num("routing_present") == 1
}

func vxlanNext(h *header) bool { return h.num("flags")&4 != 0 }

func vxlanGroup(h *header) bool { return h.num("flags")&0x80 != 0 }

// dataLayers are bytes, and bytes that no length and no checksum counts.
var dataLayers = []*layer{
	{name: "Raw", fields: []field{data("load")}, positional: "load"},
	{name: "Padding", fields: []field{data("load")}, positional: "load"},
}
