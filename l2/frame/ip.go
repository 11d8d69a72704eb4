package frame

import (
	"encoding/binary"
	"net/netip"
)

// A Protocol is an IP protocol number (IANA, Assigned Internet Protocol Numbers).
type Protocol uint8

// The protocols that this package knows.
const (
	// ProtocolICMP is ICMP for IPv4 (RFC 792).
	ProtocolICMP Protocol = 1
	// ProtocolICMPv6 is ICMP for IPv6 (RFC 4443).
	ProtocolICMPv6 Protocol = 58

	// protocolFragment is the fragment header of IPv6 (RFC 8200, section 4.5).
	protocolFragment Protocol = 44
)

const (
	// IPv4HeaderLen is the length of an IPv4 header without options in bytes.
	IPv4HeaderLen = 20
	// IPv6HeaderLen is the length of the fixed IPv6 header in bytes.
	IPv6HeaderLen = 40
	// IPv6FragmentLen is the length of IPv6's fragment header in bytes.
	IPv6FragmentLen = 8

	// maxIP is the most bytes that an IPv4 packet can have, and the payload
	// of an IPv6 packet.
	maxIP = 65535
)

// Bits of the flags and fragment offset field (RFC 791, section 3.1).
const (
	ipv4DontFragment  = 0x4000
	ipv4MoreFragments = 0x2000
	ipv4OffsetMask    = 0x1fff
)

// ipv6MoreFragments is the M flag of the fragment header; the offset, in units
// of 8 bytes, is in the upper 13 bits beside it (RFC 8200, section 4.5).
const ipv6MoreFragments = 0x0001

// IP is a decoded IP header of either version (RFC 791, section 3.1; RFC 8200,
// sections 3 and 4.5).
type IP struct {
	// Version is 4 or 6.
	Version  uint8
	Src, Dst netip.Addr
	// Protocol is what the payload is. Of IPv6's extension headers only a
	// fragment header that follows the fixed one is understood; any other
	// stays in the payload, and Protocol is its number.
	Protocol Protocol
	// TTL is IPv4's time to live or IPv6's hop limit; TOS is the former type
	// of service byte or the traffic class.
	TTL, TOS uint8
	// FlowLabel is IPv6's, 20 bits.
	FlowLabel uint32
	// ID is what the fragments of a packet share: 16 bits in IPv4, 32 in an
	// IPv6 fragment header, 0 where there is none.
	ID uint32
	// DontFragment is a flag of IPv4; routers never fragment IPv6.
	DontFragment bool
	// MoreFragments is the flag, Offset is the fragment offset in bytes. A
	// packet with neither is no fragment, though it may have a fragment header.
	MoreFragments bool
	Offset        int
	// HeaderLen is in bytes, with IPv4's options or IPv6's fragment header.
	// TotalLen is that of the whole packet, as the header states it.
	HeaderLen, TotalLen int
	// ChecksumOK tells whether the header's checksum holds; IPv6 has none, and
	// it is true.
	ChecksumOK bool
	// Payload ends where the total length says, not where the bytes do:
	// Ethernet pads short frames.
	Payload []byte
}

// Decode reads an IP packet of the version that it states. It fails with
// ErrTruncated where the bytes end before the header or the stated length, and
// with ErrMalformed where the version or a length is impossible. A wrong
// checksum is no error: see ChecksumOK. After an error the fields mean nothing.
func (h *IP) Decode(b []byte) error {
	if err := h.decodeHeader(b); err != nil {
		return err
	}
	if len(b) < h.TotalLen {
		return ErrTruncated
	}
	h.Payload = b[h.HeaderLen:h.TotalLen]
	return nil
}

// DecodeQuoted reads an IP packet as an ICMP error quotes it: its total length
// is the sender's, and the quote may end at any byte past the header (RFC 792;
// RFC 1812, section 4.3.2.3; RFC 4443, section 2.4 (c)).
func (h *IP) DecodeQuoted(b []byte) error {
	if err := h.decodeHeader(b); err != nil {
		return err
	}
	h.Payload = b[h.HeaderLen:min(h.TotalLen, len(b))]
	return nil
}

func (h *IP) decodeHeader(b []byte) error {
	if len(b) == 0 {
		return ErrTruncated
	}
	switch b[0] >> 4 {
	case 4:
		return h.decodeHeader4(b)
	case 6:
		return h.decodeHeader6(b)
	}
	return ErrMalformed
}

func (h *IP) decodeHeader4(b []byte) error {
	if len(b) < IPv4HeaderLen {
		return ErrTruncated
	}
	headerLen := int(b[0]&0x0f) * 4
	totalLen := int(binary.BigEndian.Uint16(b[2:]))
	if headerLen < IPv4HeaderLen || totalLen < headerLen {
		return ErrMalformed
	}
	if len(b) < headerLen {
		return ErrTruncated
	}
	fragment := binary.BigEndian.Uint16(b[6:])
	h.Version = 4
	h.Src = netip.AddrFrom4([4]byte(b[12:16]))
	h.Dst = netip.AddrFrom4([4]byte(b[16:20]))
	h.Protocol = Protocol(b[9])
	h.TTL = b[8]
	h.TOS = b[1]
	h.FlowLabel = 0
	h.ID = uint32(binary.BigEndian.Uint16(b[4:]))
	h.DontFragment = fragment&ipv4DontFragment != 0
	h.MoreFragments = fragment&ipv4MoreFragments != 0
	h.Offset = int(fragment&ipv4OffsetMask) * 8
	h.HeaderLen = headerLen
	h.TotalLen = totalLen
	h.ChecksumOK = Checksum(b[:headerLen]) == 0
	return nil
}

func (h *IP) decodeHeader6(b []byte) error {
	if len(b) < IPv6HeaderLen {
		return ErrTruncated
	}
	first := binary.BigEndian.Uint32(b)
	h.Version = 6
	h.Src = netip.AddrFrom16([16]byte(b[8:24]))
	h.Dst = netip.AddrFrom16([16]byte(b[24:40]))
	h.Protocol = Protocol(b[6])
	h.TTL = b[7]
	h.TOS = uint8(first >> 20)
	h.FlowLabel = first & 0xfffff
	h.ID = 0
	h.DontFragment = false
	h.MoreFragments = false
	h.Offset = 0
	h.HeaderLen = IPv6HeaderLen
	h.TotalLen = IPv6HeaderLen + int(binary.BigEndian.Uint16(b[4:]))
	h.ChecksumOK = true
	if h.Protocol != protocolFragment {
		return nil
	}
	h.HeaderLen += IPv6FragmentLen
	if h.TotalLen < h.HeaderLen {
		return ErrMalformed
	}
	if len(b) < h.HeaderLen {
		return ErrTruncated
	}
	b = b[IPv6HeaderLen:]
	fragment := binary.BigEndian.Uint16(b[2:])
	h.Protocol = Protocol(b[0])
	h.Offset = int(fragment &^ 7)
	h.MoreFragments = fragment&ipv6MoreFragments != 0
	h.ID = binary.BigEndian.Uint32(b[4:])
	return nil
}

// isFragment tells whether the packet is a part of one.
func (h *IP) isFragment() bool { return h.MoreFragments || h.Offset != 0 }
