package craft

import (
	"encoding/binary"
	"hash/crc32"
)

var transportLayers = []*layer{
	{
		name:   "UDP",
		fields: []field{port("sport", "udp", 53), port("dport", "udp", 53), num("len", 16, 0), num("chksum", 16, 0)},
		over:   overBoth(17),
		finish: func(h *header, head, payload []byte) ([]byte, error) {
			b := append(head, payload...)
			if err := h.length("len", b, 4, len(b)); err != nil {
				return nil, err
			}
			h.checksum("chksum", 17, b, 6)
			return b, nil
		},
	},
	{
		name: "TCP",
		fields: []field{
			port("sport", "tcp", 20), port("dport", "tcp", 80), num("seq", 32, 0), num("ack", 32, 0), num("dataofs", 4, 0),
			num("reserved", 3, 0), flags("flags", 9, 2, "F", "S", "R", "P", "A", "U", "E", "C", "N"), num("window", 16, 8192),
			num("chksum", 16, 0), num("urgptr", 16, 0), {name: "options", kind: kindTCPOptions},
		},
		over: overBoth(6),
		finish: func(h *header, head, payload []byte) ([]byte, error) {
			if !h.has("dataofs") {
				if len(head) > 60 {
					return nil, h.wrong("%d bytes of options, and there is room for 40 (a given dataofs lets them pass)", len(head)-20)
				}
				head[12] |= byte(len(head) / 4 << 4)
			}
			b := append(head, payload...)
			h.checksum("chksum", 6, b, 16)
			return b, nil
		},
	},
	{
		name:   "SCTP",
		fields: []field{port("sport", "sctp", 0), port("dport", "sctp", 0), num("tag", 32, 0), num("chksum", 32, 0)},
		over:   overBoth(132),
		finish: func(h *header, head, payload []byte) ([]byte, error) {
			b := append(head, payload...)
			if !h.has("chksum") {
				// CRC32c goes out with its lowest byte first (RFC 9260, appendix A).
				binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, castagnoli))
			}
			return b, nil
		},
	},
	{
		name: "SCTPChunkData",
		fields: []field{
			num("type", 8, 0), num("reserved", 4, 0), num("delay_sack", 1, 0), num("unordered", 1, 0), num("beginning", 1, 0),
			num("ending", 1, 0), num("len", 16, 0), num("tsn", 32, 0), num("stream_id", 16, 0), num("stream_seq", 16, 0),
			num("proto_id", 32, 0), data("data"),
		},
		finish: func(h *header, head, payload []byte) ([]byte, error) {
			if err := h.length("len", head, 2, len(head)); err != nil {
				return nil, err
			}
			return append(padTo(head, 4), payload...), nil
		},
	},
	sctpInit("SCTPChunkInit", 1),
	sctpInit("SCTPChunkInitAck", 2),
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sctpInit(name string, kind uint64) *layer {
	return &layer{
		name: name,
		fields: []field{
			num("type", 8, kind), num("flags", 8, 0), num("len", 16, 20), num("init_tag", 32, 0), num("a_rwnd", 32, 0),
			num("n_out_streams", 16, 0), num("n_in_streams", 16, 0), num("init_tsn", 32, 0),
		},
	}
}

const tcpOptionsExample = `[("MSS",1460),("NOP",None)]`

// A tcpOption is one that has a name: the widths of its numbers in bytes, or
// list where there may be any of four. One with neither takes bytes.
type tcpOption struct {
	kind  byte
	wide  []int
	list  bool
	bytes int // exactly so many
}

var tcpOptions = map[string]tcpOption{
	"EOL": {kind: 0}, "NOP": {kind: 1}, "MSS": {kind: 2, wide: []int{2}}, "WScale": {kind: 3, wide: []int{1}},
	"SAckOK": {kind: 4}, "SAck": {kind: 5, list: true}, "Timestamp": {kind: 8, wide: []int{4, 4}},
	"AltChkSum": {kind: 14, wide: []int{1, 2}}, "AltChkSumOpt": {kind: 15}, "MD5": {kind: 19, bytes: 16},
	"UTO": {kind: 28, wide: []int{2}}, "AO": {kind: 29}, "TFO": {kind: 34, wide: []int{4, 4}},
}

// tcpOptions reads options as scapy lists them: pairs of a name or number, and
// what it holds.
func (p *parser) tcpOptions(items []literal) (value, error) {
	v := value{data: []byte{}}
	for _, item := range items {
		if item.kind != literalTuple || len(item.items) != 2 {
			return value{}, p.wrong(item.at, "TCP.options: an option is a pair, as in %s", tcpOptionsExample)
		}
		o, err := p.tcpOptionNamed(item.items[0])
		if err != nil {
			return value{}, err
		}
		if o.kind <= 1 {
			v.data = append(v.data, o.kind)
			continue
		}
		b, err := p.tcpOptionValue(o, item.items[1])
		if err != nil {
			return value{}, err
		}
		if len(b) > 253 {
			return value{}, p.wrong(item.at, "TCP.options: %d bytes in one option, and there is room for 253", len(b))
		}
		v.data = append(v.data, o.kind, byte(2+len(b)))
		v.data = append(v.data, b...)
	}
	return v, nil
}

func (p *parser) tcpOptionNamed(lit literal) (tcpOption, error) {
	if lit.kind == literalNumber {
		if lit.minus || lit.num > 255 {
			return tcpOption{}, p.wrong(lit.at, "TCP.options: the number of an option is from 0 to 255")
		}
		return tcpOption{kind: byte(lit.num)}, nil
	}
	o, ok := tcpOptions[string(lit.data)]
	if !ok || !lit.isData() {
		return tcpOption{}, p.wrong(lit.at, "TCP.options: no option %s (%s)", lit.shown(), choices("there are", string(lit.data), sorted(tcpOptions)))
	}
	return o, nil
}

func (p *parser) tcpOptionValue(o tcpOption, lit literal) ([]byte, error) {
	switch {
	case lit.isData():
		if o.bytes != 0 {
			b := make([]byte, o.bytes)
			if copy(b, lit.data); len(lit.data) > o.bytes {
				return nil, p.wrong(lit.at, "TCP.options: %d bytes, and there is room for %d", len(lit.data), o.bytes)
			}
			return b, nil
		}
		return lit.data, nil
	case lit.kind == literalNone && o.wide == nil && o.bytes == 0:
		return nil, nil
	}
	numbers := []literal{lit}
	if lit.kind == literalTuple || lit.kind == literalList {
		numbers = lit.items
	}
	wide := o.wide
	if o.list {
		for range numbers {
			wide = append(wide, 4)
		}
	}
	if wide == nil {
		return nil, p.wrong(lit.at, "TCP.options: this option takes bytes, not %s", lit.kind)
	}
	if len(numbers) != len(wide) {
		return nil, p.wrong(lit.at, "TCP.options: this option takes %d numbers, not %d", len(wide), len(numbers))
	}
	var b []byte
	for i, n := range numbers {
		most := uint64(1)<<(8*wide[i]) - 1
		if n.kind != literalNumber || n.minus || n.num > most {
			return nil, p.wrong(n.at, "TCP.options: here is a number from 0 to %d", most)
		}
		b = append(b, binary.BigEndian.AppendUint32(nil, uint32(n.num))[4-wide[i]:]...)
	}
	return b, nil
}
