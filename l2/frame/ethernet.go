package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// An EtherType says what an Ethernet frame carries (IEEE 802 numbers).
type EtherType uint16

// The EtherTypes that this package knows.
const (
	EtherTypeIPv4 EtherType = 0x0800
	EtherTypeARP  EtherType = 0x0806
	EtherTypeIPv6 EtherType = 0x86dd
	// EtherTypeVLAN starts a customer's tag (IEEE 802.1Q), EtherTypeQinQ a
	// provider's (IEEE 802.1ad).
	EtherTypeVLAN EtherType = 0x8100
	EtherTypeQinQ EtherType = 0x88a8
)

// EthernetHeaderLen is the length of an untagged Ethernet header in bytes.
const EthernetHeaderLen = 14

// Errors of the decoders. They are constant values, so that a flood of bad
// frames costs no allocation.
var (
	// ErrTruncated says that the bytes end before the header does.
	ErrTruncated = errors.New("truncated")
	// ErrMalformed says that a field contradicts the protocol.
	ErrMalformed = errors.New("malformed")
)

// Ethernet is a decoded Ethernet II header (IEEE 802.3, clause 3) with its VLAN
// tags (IEEE 802.1Q, clause 9).
type Ethernet struct {
	Dst, Src MAC
	// Type is the one behind the tags. It is a tag's own type where there are
	// more than MaxVLANs of them.
	Type EtherType
	// Tags is the number of tags, and VLANs has them, outer first; the rest of
	// it is zero.
	Tags  int
	VLANs [MaxVLANs]VLAN
	// Payload is what follows the header, padding included: only the
	// carried protocol knows its own length.
	Payload []byte
}

// Decode reads the header and up to MaxVLANs tags. Linux takes the outer VLAN
// tag off before a packet socket sees the frame (packet(7), PACKET_AUXDATA):
// such a tag is not among those found here. It fails with ErrTruncated.
func (e *Ethernet) Decode(b []byte) error {
	if len(b) < EthernetHeaderLen {
		return ErrTruncated
	}
	e.Dst = MAC(b[0:6])
	e.Src = MAC(b[6:12])
	e.Type = EtherType(binary.BigEndian.Uint16(b[12:]))
	e.Tags = 0
	e.VLANs = [MaxVLANs]VLAN{}
	b = b[EthernetHeaderLen:]
	for e.Type.isTag() && e.Tags < MaxVLANs {
		if len(b) < vlanLen {
			return ErrTruncated
		}
		e.VLANs[e.Tags] = VLAN{Type: e.Type, TCI: binary.BigEndian.Uint16(b)}
		e.Tags++
		e.Type = EtherType(binary.BigEndian.Uint16(b[2:]))
		b = b[vlanLen:]
	}
	e.Payload = b
	return nil
}

// isTag tells whether t starts a VLAN tag: the two types that Linux takes for
// one (eth_type_vlan in include/linux/if_vlan.h).
func (t EtherType) isTag() bool { return t == EtherTypeVLAN || t == EtherTypeQinQ }

// String returns the protocol's name, or the number in hexadecimal.
func (t EtherType) String() string {
	switch t {
	case EtherTypeIPv4:
		return "IPv4"
	case EtherTypeARP:
		return "ARP"
	case EtherTypeIPv6:
		return "IPv6"
	case EtherTypeVLAN:
		return "802.1Q"
	case EtherTypeQinQ:
		return "802.1ad"
	}
	return fmt.Sprintf("0x%04x", uint16(t))
}
