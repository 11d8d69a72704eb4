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
	// 65535 of an IPv4 packet less its header and ICMP's.
	MaxEchoData = 65535 - IPv4HeaderLen - ICMPHeaderLen
)

// Echo describes the probes of a run: ICMP echo requests (RFC 792) in
// IPv4 in Ethernet, alike but for their number.
type Echo struct {
	SrcMAC, DstMAC MAC
	Src, Dst       netip.Addr
	// ID is the ICMP identifier.
	ID uint16
	// TTL is the time to live in hops, TOS the former type of service byte:
	// DSCP and ECN (RFC 2474, RFC 3168).
	TTL, TOS     uint8
	DontFragment bool
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
	buf      []byte
	ip, icmp int // where the headers start
	dataLen  int
}

// Template marshals e as probe number 0. It fails if an address is not IPv4 or
// the data does not fit.
func (e *Echo) Template() (*EchoTemplate, error) {
	if !e.Src.Is4() || !e.Dst.Is4() {
		return nil, fmt.Errorf("echo from %v to %v: not IPv4", e.Src, e.Dst)
	}
	if e.DataLen < 0 || e.DataLen > MaxEchoData {
		return nil, fmt.Errorf("echo of %d data bytes: 0 to %d fit in an IPv4 packet", e.DataLen, MaxEchoData)
	}
	total := IPv4HeaderLen + ICMPHeaderLen + e.DataLen
	b := make([]byte, total)
	b[0] = 4<<4 | IPv4HeaderLen/4
	b[1] = e.TOS
	binary.BigEndian.PutUint16(b[2:], uint16(total))
	if e.DontFragment {
		binary.BigEndian.PutUint16(b[6:], ipv4DontFragment)
	}
	b[8] = e.TTL
	b[9] = byte(ProtocolICMP)
	copy(b[12:16], e.Src.AsSlice())
	copy(b[16:20], e.Dst.AsSlice())
	binary.BigEndian.PutUint16(b[10:], Checksum(b[:IPv4HeaderLen]))

	icmp := b[IPv4HeaderLen:]
	icmp[0] = byte(ICMPEcho)
	binary.BigEndian.PutUint16(icmp[4:], e.ID)
	data := icmp[ICMPHeaderLen:]
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
	binary.BigEndian.PutUint16(icmp[2:], Checksum(icmp))

	buf, err := marshalEthernet(e.DstMAC, e.SrcMAC, EtherTypeIPv4, b)
	if err != nil {
		return nil, err
	}
	return &EchoTemplate{
		buf:     buf,
		ip:      EthernetHeaderLen,
		icmp:    EthernetHeaderLen + IPv4HeaderLen,
		dataLen: e.DataLen,
	}, nil
}

// Patch makes the template probe number n and returns its frame, which is
// valid until the next call. The ICMP sequence number and the IP identification
// are the low 16 bits of n; the data bear all 64 where there is room. Checksums
// are brought up to date by RFC 1624. It does not allocate.
func (t *EchoTemplate) Patch(n uint64) []byte {
	b := t.buf
	patch16(b, t.ip+4, t.ip+10, uint16(n))
	patch16(b, t.icmp+6, t.icmp+2, uint16(n))
	if t.dataLen >= numberEnd {
		at := t.icmp + ICMPHeaderLen + CookieLen
		patch16(b, at, t.icmp+2, uint16(n>>48))
		patch16(b, at+2, t.icmp+2, uint16(n>>32))
		patch16(b, at+4, t.icmp+2, uint16(n>>16))
		patch16(b, at+6, t.icmp+2, uint16(n))
	}
	return b
}

// Checksum returns the ICMP checksum of the probe that Patch made last. An
// ICMP error quotes it.
func (t *EchoTemplate) Checksum() uint16 {
	return binary.BigEndian.Uint16(t.buf[t.icmp+2:])
}

// SetDstMAC changes where the frames go.
func (t *EchoTemplate) SetDstMAC(m MAC) { copy(t.buf[0:6], m[:]) }

// HasNumber tells whether the data are long enough to bear the probe's number.
func (t *EchoTemplate) HasNumber() bool { return t.dataLen >= numberEnd }

// Diff compares the data of a reply with those of probe number n and returns
// the offset of the first byte that differs, with the byte that was sent, or
// -1. Data that came back shorter are compared as far as they go.
func (t *EchoTemplate) Diff(data []byte, n uint64) (offset int, sent byte) {
	want := t.buf[t.icmp+ICMPHeaderLen:][:t.dataLen]
	for i := range min(len(data), len(want)) {
		w := want[i]
		if t.HasNumber() && i >= CookieLen && i < numberEnd {
			w = byte(n >> (8 * (numberEnd - 1 - i)))
		}
		if data[i] != w {
			return i, w
		}
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
