package frame

import "net/netip"

// IPv4 is a decoded IPv4 header (RFC 791, section 3.1). IP is the same for
// both versions.
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
	var ip IP
	if err := ip.decodeHeader4(b); err != nil {
		return err
	}
	*h = IPv4{
		Src:           ip.Src,
		Dst:           ip.Dst,
		Protocol:      ip.Protocol,
		TTL:           ip.TTL,
		TOS:           ip.TOS,
		ID:            uint16(ip.ID),
		DontFragment:  ip.DontFragment,
		MoreFragments: ip.MoreFragments,
		Offset:        ip.Offset,
		HeaderLen:     ip.HeaderLen,
		TotalLen:      ip.TotalLen,
		ChecksumOK:    ip.ChecksumOK,
	}
	return nil
}
