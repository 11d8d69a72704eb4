package craft

import (
	"bytes"
	"fmt"
	"net/netip"
)

var dnsTypes = map[string]uint64{
	"ANY": 0, "A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "HINFO": 13, "MX": 15, "TXT": 16, "AAAA": 28, "LOC": 29,
	"SRV": 33, "NAPTR": 35, "CERT": 37, "DNAME": 39, "OPT": 41, "DS": 43, "SSHFP": 44, "RRSIG": 46, "NSEC": 47, "DNSKEY": 48,
	"NSEC3": 50, "TLSA": 52, "SVCB": 64, "HTTPS": 65, "SPF": 99, "URI": 256, "CAA": 257,
}

var dnsQuestionTypes = func() map[string]uint64 {
	m := map[string]uint64{"IXFR": 251, "AXFR": 252, "MAILB": 253, "MAILA": 254, "ALL": 255}
	for name, n := range dnsTypes {
		m[name] = n
	}
	return m
}()

var dnsClasses = map[string]uint64{"IN": 1, "CS": 2, "CH": 3, "HS": 4, "ANY": 255}

var dnsLayers = []*layer{
	{
		name: "DNS",
		fields: []field{
			num("length", 16, 0).only(overTCP), num("id", 16, 0), num("qr", 1, 0),
			num("opcode", 4, 0).named(map[string]uint64{"QUERY": 0, "IQUERY": 1, "STATUS": 2}),
			num("aa", 1, 0), num("tc", 1, 0), num("rd", 1, 1), num("ra", 1, 0), num("z", 1, 0), num("ad", 1, 0), num("cd", 1, 0),
			num("rcode", 4, 0).named(map[string]uint64{
				"ok": 0, "format-error": 1, "server-failure": 2, "name-error": 3, "not-implemented": 4, "refused": 5,
			}),
			num("qdcount", 16, 0), num("ancount", 16, 0), num("nscount", 16, 0), num("arcount", 16, 0),
			layersOf("qd", dnsQuestion).by(value{data: theQuestion}), layersOf("an", dnsRecord), layersOf("ns", dnsRecord), layersOf("ar", dnsRecord),
		},
		// scapy's ports for it are the defaults of UDP; over TCP it sets the source.
		over: map[string]overload{"UDP": number("sport", 53), "TCP": number("sport", 53)},
		fill: fillDNS,
		finish: func(h *header, head, payload []byte) ([]byte, error) {
			if overTCP(h) {
				if err := h.length("length", head, 0, len(head)-2); err != nil {
					return nil, err
				}
			}
			return append(head, payload...), nil
		},
	},
	{
		name: "DNSQR", in: dnsQuestion,
		fields: []field{
			dnsField("qname", "www.example.com"), num("qtype", 16, 1).named(dnsQuestionTypes), num("qclass", 16, 1).named(dnsClasses),
		},
	},
	record("DNSRR", 1, field{name: "rdata", kind: kindRecordData}),
	record("DNSRRMX", 6, num("preference", 16, 0), dnsField("exchange", "")),
	record("DNSRRSOA", 6, dnsField("mname", ""), dnsField("rname", ""), num("serial", 32, 0), num("refresh", 32, 0),
		num("retry", 32, 0), num("expire", 32, 0), num("minimum", 32, 0)),
	record("DNSRRSRV", 33, num("priority", 16, 0), num("weight", 16, 0), num("port", 16, 0), dnsField("target", "")),
	{
		name: "DNSRROPT", in: dnsRecord,
		fields: []field{
			dnsField("rrname", ""), num("type", 16, 41).named(dnsTypes), num("rclass", 16, 4096), num("extrcode", 8, 0),
			num("version", 8, 0), num("z", 16, 0x8000).named(map[string]uint64{"D0": 0x8000}), num("rdlen", 16, 0), data("rdata"),
		},
		finish: finishRecord,
	},
}

func overTCP(h *header) bool { return h.below != nil && h.below.is("TCP") }

func dnsField(name, initial string) field {
	b, err := dnsName([]byte(initial))
	if err != nil {
		panic(err)
	}
	return field{name: name, kind: kindName, initial: value{data: b}}
}

// record is a resource record (RFC 1035, section 3.2.1).
func record(name string, kind uint64, more ...field) *layer {
	return &layer{
		name: name, in: dnsRecord,
		fields: append([]field{
			dnsField("rrname", ""), num("type", 16, kind).named(dnsTypes), num("rclass", 16, 1).named(dnsClasses), num("ttl", 32, 0),
			num("rdlen", 16, 0),
		}, more...),
		finish: finishRecord,
	}
}

// finishRecord writes how long the data of a record is: all that follows the
// name, the type, the class, the time to live and the length.
func finishRecord(h *header, head, payload []byte) ([]byte, error) {
	ahead := len(h.at("rrname").data) + 10
	err := h.length("rdlen", head, ahead-2, len(head)-ahead)
	return append(head, payload...), err
}

// theQuestion is what a message asks that was not told what.
var theQuestion = func() []byte {
	b, err := dnsName([]byte("www.example.com"))
	if err != nil {
		panic(err)
	}
	return append(b, 0, 1, 0, 1)
}()

func fillDNS(h *header) error {
	for _, section := range []string{"qd", "an", "ns", "ar"} {
		n := 0
		for _, chain := range h.at(section).chains {
			for _, record := range chain {
				if record.layer.in != "" {
					n++
				}
			}
		}
		if n > 0xffff {
			return h.wrong("%d records in %s are too many", n, section)
		}
		if h.at(section).data != nil {
			n = 1
		}
		h.put(section+"count", uint64(n))
	}
	return nil
}

// recordData is what a record holds, by its type: text that its field was given
// as an address, a name, strings or plain bytes.
func (h *header) recordData() ([]byte, error) {
	v := h.at("rdata")
	kind := h.num("type")
	switch kind {
	case 1, 28:
		if len(v.list) == 0 {
			return make([]byte, map[uint64]int{1: 4, 28: 16}[kind]), nil
		}
		a, err := netip.ParseAddr(string(v.list[0]))
		if err != nil || a.Is4() != (kind == 1) || a.Zone() != "" {
			return nil, h.wrong("rdata: %.40q is not an address of its type", v.list[0])
		}
		return a.AsSlice(), nil
	case 2, 3, 4, 5, 12:
		if len(v.list) == 0 {
			return []byte{0}, nil
		}
		b, err := dnsName(v.list[0])
		if err != nil {
			return nil, h.wrong("rdata: %v", err)
		}
		return b, nil
	case 16:
		var b []byte
		for _, text := range v.list {
			for len(text) > 0 {
				n := min(len(text), 255)
				b = append(append(b, byte(n)), text[:n]...)
				text = text[n:]
			}
		}
		return b, nil
	}
	return bytes.Join(v.list, nil), nil
}

// dnsName encodes a domain name (RFC 1035, section 3.1). What is encoded already,
// ends with a zero or a pointer and has no dot, stays as it is.
func dnsName(text []byte) ([]byte, error) {
	if len(text) == 0 || string(text) == "." {
		return []byte{0}, nil
	}
	last := len(text) - 1
	if bytes.IndexByte(text, '.') < 0 && (text[last] == 0 || last >= 1 && text[last-1]&0xc0 == 0xc0) {
		return text, nil
	}
	var b []byte
	for label := range bytes.SplitSeq(bytes.TrimSuffix(text, []byte(".")), []byte(".")) {
		if len(label) > 63 {
			return nil, fmt.Errorf("a label of %d bytes, %.40q, is longer than 63", len(label), label)
		}
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0), nil
}
