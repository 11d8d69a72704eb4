package craft

import (
	"net/netip"

	"github.com/l2ping/l2ping/l2/frame"
)

// minFrame is how long an Ethernet frame is at least, without its checksum.
const minFrame = 60

// A tlv is a part of an LLDP frame (IEEE 802.1AB, clause 8). _length, where it is
// left out, counts what follows it.
func tlv(name string, kind uint64, fields ...field) *layer {
	return &layer{
		name: name, like: []string{"LLDPDU"},
		fields: append([]field{num("_type", 7, kind), num("_length", 9, 0)}, fields...),
		over:   typed(0x88cc),
		finish: finishTLV,
	}
}

func finishTLV(h *header, head, payload []byte) ([]byte, error) {
	if !h.has("_length") {
		n := len(head) - 2
		if n > 0x1ff {
			return nil, h.wrong("%d bytes are more than _length can say, 511", n)
		}
		head[0] |= byte(n >> 8)
		head[1] = byte(n)
	}
	b := append(head, payload...)
	// scapy fills short frames up.
	below, ahead := h.below, frame.EthernetHeaderLen
	for below != nil && below.is("Dot1Q") {
		below, ahead = below.below, ahead+4
	}
	if below != nil && below.is("Ether") {
		for len(b)+ahead < minFrame {
			b = append(b, 0)
		}
	}
	return b, nil
}

// identity are the fields of who sends: what id is depends on the subtype.
func identity(network uint64) []field {
	return []field{
		num("subtype", 8, 0),
		num("family", 8, 0).named(map[string]uint64{"IPv4": 1, "IPv6": 2}).only(func(h *header) bool { return h.num("subtype") == network }),
		{name: "id", kind: kindBytes},
	}
}

// fillIdentity makes an id of the text that it was given as.
func fillIdentity(mac, network uint64) func(*header) error {
	return func(h *header) error {
		id := h.at("id")
		text := string(id.data)
		switch family := h.num("family"); {
		case !h.has("id"):
		case h.num("subtype") == mac && len(id.data) != len(frame.MAC{}):
			m, err := frame.ParseMAC(text)
			if err != nil {
				return h.wrong("id: %.40q is not a MAC address, as its subtype says", text)
			}
			id.data = m[:]
		case h.num("subtype") == network && (family == 1 || family == 2):
			a, err := netip.ParseAddr(text)
			if err != nil || a.Is4() != (family == 1) || a.Zone() != "" {
				return h.wrong("id: %.40q is not an address, as its subtype and family say", text)
			}
			id.data = a.AsSlice()
		}
		return nil
	}
}

func identityTLV(name string, kind, mac, network uint64) *layer {
	l := tlv(name, kind, identity(network)...)
	l.fill = fillIdentity(mac, network)
	return l
}

// capabilities are flags of one bit, the highest first.
func capabilities() (list []field) {
	for _, which := range []string{"available", "enabled"} {
		for _, name := range []string{
			"reserved_5", "reserved_4", "reserved_3", "reserved_2", "reserved_1", "two_port_mac_relay", "s_vlan_component",
			"c_vlan_component", "station_only", "docsis_cable_device", "telephone", "router", "wlan_access_point", "mac_bridge",
			"repeater", "other",
		} {
			list = append(list, num(name+"_"+which, 1, 0))
		}
	}
	return list
}

var lldpLayers = []*layer{
	identityTLV("LLDPDUChassisID", 1, 4, 5),
	identityTLV("LLDPDUPortID", 2, 3, 4),
	tlv("LLDPDUTimeToLive", 3, num("ttl", 16, 20)),
	tlv("LLDPDUPortDescription", 4, data("description")),
	tlv("LLDPDUSystemName", 5, data("system_name")),
	tlv("LLDPDUSystemDescription", 6, data("description")),
	tlv("LLDPDUSystemCapabilities", 7, capabilities()...),
	lldpAddress(),
	tlv("LLDPDUGenericOrganisationSpecific", 127, num("org_code", 24, 0), num("subtype", 8, 0), data("data")),
	tlv("LLDPDUEndOfLLDPDU", 0),
}

func lldpAddress() *layer {
	l := tlv("LLDPDUManagementAddress", 8,
		num("_management_address_string_length", 8, 0),
		num("management_address_subtype", 8, 0).named(map[string]uint64{"IPv4": 1, "IPv6": 2, "802": 6}), data("management_address"),
		num("interface_numbering_subtype", 8, 1).named(map[string]uint64{"unknown": 1, "ifIndex": 2, "system port number": 3}),
		num("interface_number", 32, 0), num("_oid_string_length", 8, 0), data("object_id"))
	l.fill = func(h *header) error {
		address, oid := len(h.at("management_address").data)+1, len(h.at("object_id").data)
		if address > 0xff || oid > 0xff {
			return h.wrong("%d bytes are more than its length can say, 255", max(address, oid))
		}
		h.put("_management_address_string_length", uint64(address))
		h.put("_oid_string_length", uint64(oid))
		return nil
	}
	return l
}
