package frame

import (
	"encoding/binary"
	"net/netip"
)

// A Protocol is an IP protocol number (IANA, Assigned Internet Protocol Numbers).
type Protocol uint8

// ProtocolICMP is ICMP for IPv4 (RFC 792).
const ProtocolICMP Protocol = 1

// IPv4HeaderLen is the length of an IPv4 header without options in bytes.
const IPv4HeaderLen = 20

// Bits of the flags and fragment offset field (RFC 791, section 3.1).
const (
	ipv4DontFragment  = 0x4000
	ipv4MoreFragments = 0x2000
	ipv4OffsetMask    = 0x1fff
)

// IPv4 is a decoded IPv4 header (RFC 791, section 3.1).
type IPv4 struct {
	Src, Dst netip.Addr
	Protocol Protocol
	TTL      uint8
	TOS      uint8
	ID       uint16
	// DontFragment and MoreFragments are the flags, Offset is the fragment
	// offset in bytes.
	DontFragment  bool
	MoreFragments bool
	Offset        int
	// HeaderLen and TotalLen are in bytes, as the header states them.
	HeaderLen, TotalLen int
	// ChecksumOK tells whether the header's checksum holds.
	ChecksumOK bool
	// Payload ends where the total length says, not where the bytes do:
	// Ethernet pads short frames.
	Payload []byte
}

// Decode reads an IPv4 packet. It fails with ErrTruncated where the bytes end
// before the header or the stated length, and with ErrMalformed where the
// version or a length is impossible. A wrong checksum is no error: see
// ChecksumOK.
func (h *IPv4) Decode(b []byte) error {
	if err := h.decodeHeader(b); err != nil {
		return err
	}
	if len(b) < h.TotalLen {
		return ErrTruncated
	}
	h.Payload = b[h.HeaderLen:h.TotalLen]
	return nil
}

// DecodeQuoted reads an IPv4 packet as an ICMP error quotes it: its total
// length is the sender's, and the quote may end at any byte past the header
// (RFC 792; RFC 1812, section 4.3.2.3).
func (h *IPv4) DecodeQuoted(b []byte) error {
	if err := h.decodeHeader(b); err != nil {
		return err
	}
	h.Payload = b[h.HeaderLen:min(h.TotalLen, len(b))]
	return nil
}

func (h *IPv4) decodeHeader(b []byte) error {
	if len(b) < IPv4HeaderLen {
		return ErrTruncated
	}
	h.HeaderLen = int(b[0]&0x0f) * 4
	h.TotalLen = int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>4 != 4 || h.HeaderLen < IPv4HeaderLen || h.TotalLen < h.HeaderLen {
		return ErrMalformed
	}
	if len(b) < h.HeaderLen {
		return ErrTruncated
	}
	fragment := binary.BigEndian.Uint16(b[6:])
	h.TOS = b[1]
	h.ID = binary.BigEndian.Uint16(b[4:])
	h.DontFragment = fragment&ipv4DontFragment != 0
	h.MoreFragments = fragment&ipv4MoreFragments != 0
	h.Offset = int(fragment&ipv4OffsetMask) * 8
	h.TTL = b[8]
	h.Protocol = Protocol(b[9])
	h.Src = netip.AddrFrom4([4]byte(b[12:16]))
	h.Dst = netip.AddrFrom4([4]byte(b[16:20]))
	h.ChecksumOK = Checksum(b[:h.HeaderLen]) == 0
	return nil
}
