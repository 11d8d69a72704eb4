package craft

import (
	"encoding/binary"
	"net/netip"
)

// dhcpMagic is what BOOTP's options start with where they are DHCP's (RFC 2131,
// section 3).
var dhcpMagic = []byte{99, 130, 83, 99}

var dhcpLayers = []*layer{
	{
		name: "BOOTP",
		fields: []field{
			num("op", 8, 1).named(map[string]uint64{"BOOTREQUEST": 1, "BOOTREPLY": 2}), num("htype", 8, 1), num("hlen", 8, 6),
			num("hops", 8, 0), num("xid", 32, 0), num("secs", 16, 0),
			flags("flags", 16, 0, "?", "?", "?", "?", "?", "?", "?", "?", "?", "?", "?", "?", "?", "?", "?", "B"),
			ip4("ciaddr"), ip4("yiaddr"), ip4("siaddr"), ip4("giaddr"),
			fixed("chaddr", 16), fixed("sname", 64), fixed("file", 128), data("options"),
		},
		// From the server, as scapy has it.
		over: map[string]overload{"UDP": {"sport": {num: 67}, "dport": {num: 68}}},
	},
	{
		name:   "DHCP",
		fields: []field{{name: "options", kind: kindDHCPOptions}},
		over:   map[string]overload{"BOOTP": {"options": {data: dhcpMagic}}},
	},
}

const dhcpOptionsExample = `[("message-type","discover"),"end"]`

// A dhcpOption is one that has a name.
type dhcpOption struct {
	code byte
	kind dhcpKind
}

type dhcpKind uint8

const (
	dhcpText    dhcpKind = iota // as it is sent
	dhcpAddress                 // IPv4
	dhcpByte
	dhcpShort
	dhcpLong
	dhcpMessage // its type
)

var dhcpMessages = map[string]uint64{
	"discover": 1, "offer": 2, "request": 3, "decline": 4, "ack": 5, "nak": 6, "release": 7, "inform": 8, "force_renew": 9,
	"lease_query": 10, "lease_unassigned": 11, "lease_unknown": 12, "lease_active": 13,
}

// dhcpOptions are those of RFC 2132 and later ones, by scapy's names. Others go by
// their number.
var dhcpOptions = map[string]dhcpOption{
	"subnet_mask": {1, dhcpAddress}, "time_zone": {2, dhcpLong}, "router": {3, dhcpAddress}, "time_server": {4, dhcpAddress},
	"name_server": {6, dhcpAddress}, "log_server": {7, dhcpAddress}, "hostname": {12, dhcpText}, "domain": {15, dhcpText},
	"ip-forwarding": {19, dhcpByte}, "default_ttl": {23, dhcpByte}, "interface-mtu": {26, dhcpShort},
	"broadcast_address": {28, dhcpAddress}, "router-discovery": {31, dhcpByte}, "static-routes": {33, dhcpAddress},
	"NIS_domain": {40, dhcpText}, "NIS_server": {41, dhcpAddress}, "NTP_server": {42, dhcpAddress}, "vendor_specific": {43, dhcpText},
	"NetBIOS_server": {44, dhcpAddress}, "NetBIOS_node_type": {46, dhcpByte}, "requested_addr": {50, dhcpAddress},
	"lease_time": {51, dhcpLong}, "dhcp-option-overload": {52, dhcpByte}, "message-type": {53, dhcpMessage},
	"server_id": {54, dhcpAddress}, "param_req_list": {55, dhcpByte}, "error_message": {56, dhcpText},
	"max_dhcp_size": {57, dhcpShort}, "renewal_time": {58, dhcpLong}, "rebinding_time": {59, dhcpLong},
	"vendor_class_id": {60, dhcpText}, "client_id": {61, dhcpText}, "tftp_server_name": {66, dhcpText},
	"boot-file-name": {67, dhcpText}, "user_class": {77, dhcpText}, "client_FQDN": {81, dhcpText},
	"relay_agent_information": {82, dhcpText}, "pxe_client_architecture": {93, dhcpText},
	"pxe_client_network_interface": {94, dhcpText}, "pxe_client_machine_identifier": {97, dhcpText},
	"auto-config": {116, dhcpByte}, "subnet-selection": {118, dhcpAddress}, "vendor_class": {124, dhcpText},
	"tftp_server_address": {150, dhcpAddress}, "v4-captive-portal": {160, dhcpText},
}

// dhcpMarks are the options that have no length.
var dhcpMarks = map[string]byte{"pad": 0, "end": 255}

// dhcpOptions reads options as scapy lists them: tuples of a name or number and
// values, the names of marks, and bytes as they are.
func (p *parser) dhcpOptions(items []literal) (value, error) {
	v := value{data: []byte{}}
	for _, item := range items {
		switch {
		case item.kind == literalBytes:
			v.data = append(v.data, item.data...)
			continue
		case item.kind == literalText:
			mark, ok := dhcpMarks[string(item.data)]
			if !ok {
				return value{}, p.wrong(item.at, "DHCP.options: %s stands alone, which only %s do: others are as in %s", item.shown(), `"end" and "pad"`, dhcpOptionsExample)
			}
			v.data = append(v.data, mark)
			continue
		case item.kind != literalTuple || len(item.items) < 2:
			return value{}, p.wrong(item.at, "DHCP.options: an option is a name and a value, as in %s", dhcpOptionsExample)
		}
		o, err := p.dhcpOptionNamed(item.items[0])
		if err != nil {
			return value{}, err
		}
		var b []byte
		for _, lit := range item.items[1:] {
			if b, err = p.dhcpOptionValue(b, o, lit); err != nil {
				return value{}, err
			}
		}
		if len(b) > 255 {
			return value{}, p.wrong(item.at, "DHCP.options: %d bytes in one option, and there is room for 255", len(b))
		}
		v.data = append(v.data, o.code, byte(len(b)))
		v.data = append(v.data, b...)
	}
	return v, nil
}

func (p *parser) dhcpOptionNamed(lit literal) (dhcpOption, error) {
	if lit.kind == literalNumber {
		if lit.minus || lit.num > 255 {
			return dhcpOption{}, p.wrong(lit.at, "DHCP.options: the number of an option is from 0 to 255")
		}
		return dhcpOption{code: byte(lit.num)}, nil
	}
	o, ok := dhcpOptions[string(lit.data)]
	if !ok || !lit.isData() {
		return dhcpOption{}, p.wrong(lit.at, "DHCP.options: no option %s (%s)", lit.shown(), choices("there are, beside numbers", string(lit.data), sorted(dhcpOptions)))
	}
	return o, nil
}

// dhcpOptionValue appends what one value of an option is; a list is all of its
// values.
func (p *parser) dhcpOptionValue(b []byte, o dhcpOption, lit literal) ([]byte, error) {
	if lit.kind == literalList {
		for _, item := range lit.items {
			if item.kind == literalList {
				return nil, p.wrong(item.at, "DHCP.options: a list in a list")
			}
			var err error
			if b, err = p.dhcpOptionValue(b, o, item); err != nil {
				return nil, err
			}
		}
		return b, nil
	}
	switch o.kind {
	case dhcpText:
		if !lit.isData() {
			return nil, p.wrong(lit.at, "DHCP.options: %s where a string or bytes should be", lit.kind)
		}
		return append(b, lit.data...), nil
	case dhcpAddress:
		a, err := netip.ParseAddr(string(lit.data))
		if err != nil || !lit.isData() || !a.Is4() {
			return nil, p.wrong(lit.at, "DHCP.options: %s is not an address such as \"198.51.100.2\"", lit.shown())
		}
		return append(b, a.AsSlice()...), nil
	}
	n := lit.num
	if o.kind == dhcpMessage && lit.isData() {
		var ok bool
		if n, ok = dhcpMessages[string(lit.data)]; !ok {
			return nil, p.wrong(lit.at, "DHCP.options: no message %s (%s)", lit.shown(), choices("there are", string(lit.data), sorted(dhcpMessages)))
		}
	} else if lit.kind != literalNumber {
		return nil, p.wrong(lit.at, "DHCP.options: %s where a number should be", lit.kind)
	}
	wide := map[dhcpKind]int{dhcpShort: 2, dhcpLong: 4}[o.kind]
	wide = max(wide, 1)
	if most := uint64(1)<<(8*wide) - 1; lit.minus || n > most {
		return nil, p.wrong(lit.at, "DHCP.options: here is a number from 0 to %d", most)
	}
	return append(b, binary.BigEndian.AppendUint32(nil, uint32(n))[4-wide:]...), nil
}
