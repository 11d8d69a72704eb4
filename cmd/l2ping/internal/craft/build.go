package craft

import (
	"encoding/binary"

	"github.com/l2ping/l2ping/l2/frame"
)

// build makes the bytes of a header and all that it carries. They hold until it is
// built again.
func build(first *header) ([]byte, error) {
	b, err := first.bytes()
	if err != nil {
		return nil, err
	}
	return append(b, first.padding()...), nil
}

// bytes makes the header and its payload. Padding is no part of it: no length and
// no checksum counts it.
func (h *header) bytes() (b []byte, err error) {
	var payload []byte
	if h.payload != nil {
		if payload, err = h.payload.bytes(); err != nil {
			return nil, err
		}
	}
	if h.is("Padding") {
		return payload, nil
	}
	if h.fill != nil {
		if err := h.fill(h); err != nil {
			return nil, err
		}
	}
	head, err := h.written()
	if err != nil {
		return nil, err
	}
	if h.finish != nil && h.raw == nil {
		if h.buf, err = h.finish(h, head, payload); err != nil {
			return nil, err
		}
		return h.buf, nil
	}
	h.buf = append(head, payload...)
	return h.buf, nil
}

// padding is what stands behind all else.
func (h *header) padding() (b []byte) {
	for ; h != nil; h = h.payload {
		if h.is("Padding") {
			b = append(b, h.at("load").data...)
		}
	}
	return b
}

// written is the header alone.
func (h *header) written() ([]byte, error) {
	if h.raw != nil {
		return append(h.buf[:0], h.raw...), nil
	}
	w := writer{b: h.buf[:0]}
	for i := range h.fields {
		f, v := &h.fields[i], &h.vals[i]
		if f.when != nil && !f.when(h) {
			continue
		}
		switch f.kind {
		case kindNumber, kindFlags:
			w.bits(v.num, f.width)
		case kindIP4List, kindIP6List:
			for _, a := range v.list {
				w.b = append(w.b, a...)
			}
		case kindLayers:
			b, err := h.inner(v)
			if err != nil {
				return nil, err
			}
			w.b = append(w.b, b...)
		case kindTCPOptions:
			w.b = padTo(append(w.b, v.data...), 4)
		case kindRecordData:
			b, err := h.recordData()
			if err != nil {
				return nil, err
			}
			w.b = append(w.b, b...)
		default:
			w.b = append(w.b, v.data...)
		}
	}
	return w.b, nil
}

// inner makes the layers that stand in a field.
func (h *header) inner(v *value) ([]byte, error) {
	if v.data != nil {
		return v.data, nil
	}
	if h.is("IPv6ExtHdrHopByHop", "IPv6ExtHdrDestOpt") && h.num("autopad") != 0 {
		return h.alignedOptions(v)
	}
	var all []byte
	for _, chain := range v.chains {
		b, err := build(h.run.headers(chain))
		if err != nil {
			return nil, err
		}
		all = append(all, b...)
	}
	return all, nil
}

// A writer writes numbers of any width, the first bit highest.
type writer struct {
	b    []byte
	part byte
	have int // bits in part
}

func (w *writer) bits(v uint64, width int) {
	if w.have == 0 && width == 8 {
		w.b = append(w.b, byte(v))
		return
	}
	if w.have == 0 && width == 16 {
		w.b = append(w.b, byte(v>>8), byte(v))
		return
	}
	for width > 0 {
		n := min(8-w.have, width)
		width -= n
		w.part |= byte(v>>width) & (1<<n - 1) << (8 - w.have - n)
		if w.have += n; w.have == 8 {
			w.b = append(w.b, w.part)
			w.part, w.have = 0, 0
		}
	}
}

// padTo adds zeros up to a multiple of n.
func padTo(b []byte, n int) []byte {
	for len(b)%n != 0 {
		b = append(b, 0)
	}
	return b
}

// length writes the length n into b, two bytes at offset, unless the field was
// given.
func (h *header) length(name string, b []byte, offset, n int) error {
	if h.has(name) {
		return nil
	}
	if n > 0xffff {
		return h.wrong("%d bytes are more than %s can say, 65535", n, name)
	}
	binary.BigEndian.PutUint16(b[offset:], uint16(n))
	return nil
}

// extensions are the headers between IPv6 and what it carries.
var extensions = []string{"IPv6ExtHdrHopByHop", "IPv6ExtHdrDestOpt", "IPv6ExtHdrRouting", "IPv6ExtHdrFragment"}

// pseudo is the header ahead of the segment for its checksum, of the protocol and
// as long as a segment of n bytes; nil where there is no IP below.
func (h *header) pseudo(protocol byte, n int) []byte {
	if h.below != nil && h.below.is("IP") && protocol != 58 {
		return h.below.pseudo4(protocol, n)
	}
	if protocol == 58 {
		// scapy looks for IPv6 through whatever is between.
		for b := h.below; b != nil; b = b.below {
			if b.is("IPv6") {
				return h.pseudo6(b, protocol, n)
			}
		}
		return nil
	}
	if ip := h.ip6(); ip != nil {
		return h.pseudo6(ip, protocol, n)
	}
	return nil
}

// pseudo4 is that of an IPv4 header (RFC 9293, section 3.1): where that has its
// length given, the segment's is what it says.
func (h *header) pseudo4(protocol byte, n int) []byte {
	b := append(h.run.pseudo[:0], h.at("src").data...)
	b = append(b, h.finalDestination()...)
	if h.has("len") {
		words := 5 + (h.optionsLen()+3)/4
		if h.has("ihl") {
			words = int(h.num("ihl"))
		}
		n = max(int(h.num("len"))-4*words, 0)
	}
	return append(b, 0, protocol, byte(n>>8), byte(n))
}

// pseudo6 is that of an IPv6 header (RFC 8200, section 8.1): the destination is
// the last one of a routing header.
func (h *header) pseudo6(ip *header, protocol byte, n int) []byte {
	b := append(h.run.pseudo[:0], ip.at("src").data...)
	dst := ip.at("dst").data
	for r := h.below; r != ip; r = r.below {
		if r.is("IPv6ExtHdrRouting") && (!r.has("segleft") || r.num("segleft") != 0) {
			if list := r.at("addresses").list; len(list) > 0 {
				dst = list[len(list)-1]
				break
			}
		}
	}
	b = append(b, dst...)
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	return append(b, 0, 0, 0, protocol)
}

// checksum writes the checksum of a segment into it, two bytes at offset, unless
// it was given. Without IP below, it stays 0.
func (h *header) checksum(name string, protocol byte, b []byte, offset int) {
	if h.has(name) {
		return
	}
	pseudo := h.pseudo(protocol, len(b))
	if pseudo == nil {
		return
	}
	h.run.pseudo = append(pseudo, b...)
	sum := frame.Checksum(h.run.pseudo)
	if sum == 0 && protocol == 17 {
		sum = 0xffff // 0 means none (RFC 768)
	}
	binary.BigEndian.PutUint16(b[offset:], sum)
}

// putChecksum writes the Internet checksum of b into it, at offset, where there
// are two zeros.
func putChecksum(b []byte, offset int) {
	binary.BigEndian.PutUint16(b[offset:], frame.Checksum(b))
}
