package frame

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

const (
	// CookieLen is the length of a run's cookie in bytes. It stands at the
	// start of an echo's data.
	CookieLen = 8
	// numberEnd is where the probe's number ends: it follows the cookie, so
	// that a probe is told from the one 65536 earlier that had its sequence
	// number.
	numberEnd = CookieLen + 8

	// MaxEchoData is the most data that an echo can carry in bytes: the
	// 65535 of an IPv4 packet less its header and ICMP's. IPv6 has room for
	// 20 more; the limit is one for both.
	MaxEchoData = maxIP - IPv4HeaderLen - ICMPHeaderLen
)

// Echo describes the probes of a run: ICMP echo requests (RFC 792 in IPv4,
// RFC 4443 in IPv6) in Ethernet or on a link without a header, alike but for
// their number.
type Echo struct {
	// NoLink, DstMAC, SrcMAC and VLANs are those of a Header.
	NoLink         bool
	SrcMAC, DstMAC MAC
	VLANs          []VLAN
	// Src and Dst are both IPv4 or both IPv6; a zone is not looked at.
	Src, Dst netip.Addr
	// ID is the ICMP identifier.
	ID uint16
	// TTL is the time to live in hops (IPv6: hop limit), TOS the former type
	// of service byte (IPv6: traffic class): DSCP and ECN (RFC 2474, RFC 3168).
	TTL, TOS uint8
	// DontFragment is IPv4's flag. With it a probe larger than MTU is refused,
	// in IPv6 too, where only the sender fragments.
	DontFragment bool
	// MTU is the most bytes of IP that a frame may hold: larger probes are
	// fragmented. 0 is without a limit.
	MTU int
	// Cookie marks the run's probes. Data shorter than the cookie bears only
	// its first bytes.
	Cookie [CookieLen]byte
	// DataLen is the number of data bytes, 0 to MaxEchoData.
	DataLen int
	// Pattern fills the data, again and again. Left out, each byte is its
	// offset, as in ping.
	Pattern []byte
}

// An EchoTemplate is one marshalled probe in which Patch changes just what
// differs from probe to probe. It is not safe for concurrent use.
type EchoTemplate struct {
	// frame has the one frame of the probe, or its first fragment: a slice
	// of one, so that Fragments has something to return.
	frame   [1][]byte
	parts   *parts // nil if the probe is not fragmented
	dataLen int32
	// ip and icmp are where the header and the message start in each frame.
	ip, icmp uint8
	v6, link bool
}

// parts is what a fragmented template has beyond the first frame.
type parts struct {
	frames [][]byte
	room   int // bytes of the message in each frame but the last; a multiple of 8
	// id is the identification of probe number 0. It comes from the cookie:
	// were it the number alone, two runs that ping one host at once would mix
	// their fragments, and anybody could guess it (RFC 7739).
	id uint32
}

// Template marshals e as probe number 0. It fails if the addresses are not of one
// family, or the data do not fit, or as Header.Marshal does.
func (e *Echo) Template() (*EchoTemplate, error) {
	headerLen, err := e.check()
	if err != nil {
		return nil, err
	}
	header := Header{NoLink: e.NoLink, Dst: e.DstMAC, Src: e.SrcMAC, VLANs: e.VLANs}
	message := e.message()
	t := &EchoTemplate{
		dataLen: int32(e.DataLen),
		ip:      uint8(header.Len()),
		icmp:    uint8(header.Len() + headerLen),
		v6:      e.Src.Is6(),
		link:    !e.NoLink,
	}
	typ := EtherTypeIPv4
	if t.v6 {
		typ = EtherTypeIPv6
	}
	if !e.exceeds(headerLen + len(message)) {
		t.frame[0], err = header.Marshal(typ, append(e.header(len(message)), message...))
		if err != nil {
			return nil, err
		}
		return t, nil
	}

	if t.v6 {
		headerLen += IPv6FragmentLen
		t.icmp += IPv6FragmentLen
	}
	t.parts = &parts{
		room: (e.MTU - headerLen) &^ 7,
		id:   binary.BigEndian.Uint32(e.Cookie[:4]) ^ binary.BigEndian.Uint32(e.Cookie[4:]),
	}
	if err := t.marshalParts(e, header, typ, message); err != nil {
		return nil, err
	}
	t.frame[0] = t.parts.frames[0]
	return t, nil
}

// marshalParts makes the frames, one behind the other in one buffer.
func (t *EchoTemplate) marshalParts(e *Echo, header Header, typ EtherType, message []byte) error {
	p := t.parts
	count := (len(message) + p.room - 1) / p.room
	p.frames = make([][]byte, 0, count)
	var buf []byte
	for offset := 0; offset < len(message); offset += p.room {
		part := message[offset:min(offset+p.room, len(message))]
		more := offset+len(part) < len(message)
		b, err := header.Marshal(typ, append(e.fragmentHeader(len(part), offset, more, p.id), part...))
		if err != nil {
			return err
		}
		if buf == nil {
			buf = make([]byte, 0, count*len(b)) // none is longer than the first
		}
		start := len(buf)
		buf = append(buf, b...)
		p.frames = append(p.frames, buf[start:len(buf):len(buf)])
	}
	return nil
}

// exceeds tells whether a packet is larger than the MTU.
func (e *Echo) exceeds(n int) bool { return e.MTU != 0 && n > e.MTU }

// check returns the length of the IP header without a fragment header.
func (e *Echo) check() (headerLen int, err error) {
	least := IPv4HeaderLen + 8 // the smallest MTU that a fragment fits in
	switch {
	case e.Src.Is4() && e.Dst.Is4():
		headerLen = IPv4HeaderLen
	case isIPv6(e.Src) && isIPv6(e.Dst):
		headerLen = IPv6HeaderLen
		least = IPv6HeaderLen + IPv6FragmentLen + 8
	default:
		return 0, fmt.Errorf("echo from %v to %v: neither both IPv4 nor both IPv6", e.Src, e.Dst)
	}
	total := headerLen + ICMPHeaderLen + e.DataLen
	switch {
	case e.DataLen < 0 || e.DataLen > MaxEchoData:
		return 0, fmt.Errorf("echo of %d data bytes: 0 to %d fit in a packet", e.DataLen, MaxEchoData)
	case !e.exceeds(total):
	case e.DontFragment:
		return 0, fmt.Errorf("echo of %d data bytes: a packet of %d bytes, not to be fragmented, does not fit in an MTU of %d", e.DataLen, total, e.MTU)
	case e.MTU < least:
		return 0, fmt.Errorf("echo of %d data bytes: no fragment fits in an MTU of %d", e.DataLen, e.MTU)
	}
	return headerLen, nil
}

// message makes the ICMP message.
func (e *Echo) message() []byte {
	b := make([]byte, ICMPHeaderLen+e.DataLen)
	binary.BigEndian.PutUint16(b[4:], e.ID)
	data := b[ICMPHeaderLen:]
	for i := range data {
		if len(e.Pattern) > 0 {
			data[i] = e.Pattern[i%len(e.Pattern)]
		} else {
			data[i] = byte(i)
		}
	}
	copy(data, e.Cookie[:])
	if len(data) >= numberEnd {
		clear(data[CookieLen:numberEnd])
	}
	if e.Src.Is6() {
		b[0] = byte(ICMPv6EchoRequest)
		binary.BigEndian.PutUint16(b[2:], checksum6(b, e.Src, e.Dst))
	} else {
		b[0] = byte(ICMPEcho)
		binary.BigEndian.PutUint16(b[2:], Checksum(b))
	}
	return b
}

// header makes the IP header of a whole packet with so many bytes of payload, and
// room for them.
func (e *Echo) header(payload int) []byte {
	if e.Src.Is6() {
		b := make([]byte, 0, IPv6HeaderLen+payload)
		return appendIPv6(b, e.Src, e.Dst, ProtocolICMPv6, e.TTL, e.TOS, payload)
	}
	var flags uint16
	if e.DontFragment {
		flags = ipv4DontFragment
	}
	return e.header4(payload, 0, flags)
}

// fragmentHeader makes that of a fragment (RFC 791, section 3.2; RFC 8200,
// section 4.5). offset is in bytes, and in IPv4 the low 16 bits of id count.
func (e *Echo) fragmentHeader(payload, offset int, more bool, id uint32) []byte {
	if e.Src.Is6() {
		b := make([]byte, 0, IPv6HeaderLen+IPv6FragmentLen+payload)
		b = appendIPv6(b, e.Src, e.Dst, protocolFragment, e.TTL, e.TOS, IPv6FragmentLen+payload)
		b = append(b, byte(ProtocolICMPv6), 0)
		field := uint16(offset)
		if more {
			field |= ipv6MoreFragments
		}
		b = binary.BigEndian.AppendUint16(b, field)
		return binary.BigEndian.AppendUint32(b, id)
	}
	field := uint16(offset / 8)
	if more {
		field |= ipv4MoreFragments
	}
	return e.header4(payload, uint16(id), field)
}

func (e *Echo) header4(payload int, id, fragment uint16) []byte {
	total := IPv4HeaderLen + payload
	b := make([]byte, IPv4HeaderLen, total)
	b[0] = 4<<4 | IPv4HeaderLen/4
	b[1] = e.TOS
	binary.BigEndian.PutUint16(b[2:], uint16(total))
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], fragment)
	b[8] = e.TTL
	b[9] = byte(ProtocolICMP)
	copy(b[12:16], e.Src.AsSlice())
	copy(b[16:20], e.Dst.AsSlice())
	binary.BigEndian.PutUint16(b[10:], Checksum(b))
	return b
}

// Patch makes the template probe number n and returns its frame, or the first
// of its Fragments, valid until the next call. The ICMP sequence number is the
// low 16 bits of n; the data bear all 64 where there is room. The IPv4
// identification is the low 16 bits too; that of fragments starts elsewhere and
// counts with n. Checksums are brought up to date by RFC 1624. It does not
// allocate.
func (t *EchoTemplate) Patch(n uint64) []byte {
	head := t.span(0)
	sum := head[2:4]
	patch16(head[6:], sum, uint16(n))
	if t.HasNumber() {
		number := t.span(ICMPHeaderLen + CookieLen)
		patch16(number, sum, uint16(n>>48))
		patch16(number[2:], sum, uint16(n>>32))
		patch16(number[4:], sum, uint16(n>>16))
		patch16(number[6:], sum, uint16(n))
	}
	switch {
	case t.parts != nil:
		t.identify(t.parts.id + uint32(n))
	case !t.v6:
		ip := t.frame[0][t.ip:]
		patch16(ip[4:], ip[10:], uint16(n))
	}
	return t.frame[0]
}

// identify sets the identification of all fragments.
func (t *EchoTemplate) identify(id uint32) {
	for _, b := range t.parts.frames {
		ip := b[t.ip:]
		if t.v6 {
			binary.BigEndian.PutUint32(ip[IPv6HeaderLen+4:], id)
		} else {
			patch16(ip[4:], ip[10:], uint16(id))
		}
	}
}

// Fragments returns the frames of the probe that Patch made last, first fragment
// first, or its one frame, each of MTU bytes of IP at most. They are valid until
// the next Patch. It does not allocate.
func (t *EchoTemplate) Fragments() [][]byte {
	if t.parts != nil {
		return t.parts.frames
	}
	return t.frame[:]
}

// span returns the bytes of the ICMP message from an offset on, to the end of the
// frame that they are in, padding left out. A block of 8 bytes is never divided.
func (t *EchoTemplate) span(offset int) []byte {
	b, n := t.frame[0], ICMPHeaderLen+int(t.dataLen)-offset
	if p := t.parts; p != nil {
		b = p.frames[offset/p.room]
		offset %= p.room
		n = min(n, p.room-offset)
	}
	return b[int(t.icmp)+offset:][:n]
}

// Checksum returns the ICMP checksum of the probe that Patch made last. An
// ICMP error quotes it.
func (t *EchoTemplate) Checksum() uint16 {
	return binary.BigEndian.Uint16(t.span(0)[2:])
}

// SetDstMAC changes where the frames go. On a link without a header they bear no
// address, and it does nothing.
func (t *EchoTemplate) SetDstMAC(m MAC) {
	if !t.link {
		return
	}
	for _, b := range t.Fragments() {
		copy(b[0:6], m[:])
	}
}

// HasNumber tells whether the data are long enough to bear the probe's number.
func (t *EchoTemplate) HasNumber() bool { return t.dataLen >= numberEnd }

// Diff compares the data of a reply with those of probe number n and returns
// the offset of the first byte that differs, with the byte that was sent, or
// -1. Data that came back shorter are compared as far as they go.
func (t *EchoTemplate) Diff(data []byte, n uint64) (offset int, sent byte) {
	data = data[:min(len(data), int(t.dataLen))]
	for offset < len(data) {
		want := t.span(ICMPHeaderLen + offset)
		var number [8]byte
		switch {
		case !t.HasNumber() || offset >= numberEnd:
		case offset < CookieLen:
			want = want[:CookieLen-offset]
		default:
			binary.BigEndian.PutUint64(number[:], n)
			want = number[offset-CookieLen:]
		}
		got := data[offset:]
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				return offset + i, want[i]
			}
		}
		offset += len(want)
	}
	return -1, 0
}

// Older tells whether the data of a reply bear the number of an earlier probe
// that had the same sequence number as probe n.
func (t *EchoTemplate) Older(data []byte, n uint64) bool {
	if !t.HasNumber() || len(data) < numberEnd {
		return false
	}
	number := binary.BigEndian.Uint64(data[CookieLen:])
	return number < n && uint16(number) == uint16(n)
}
