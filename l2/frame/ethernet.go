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

// Ethernet is a decoded Ethernet II header (IEEE 802.3, clause 3).
type Ethernet struct {
	Dst, Src MAC
	Type     EtherType
	// Payload is what follows the header, padding included: only the
	// carried protocol knows its own length.
	Payload []byte
}

// Decode reads the header of an untagged frame. Linux takes the outer VLAN tag
// off before a packet socket sees the frame (packet(7), PACKET_AUXDATA).
// It fails with ErrTruncated.
func (e *Ethernet) Decode(b []byte) error {
	if len(b) < EthernetHeaderLen {
		return ErrTruncated
	}
	e.Dst = MAC(b[0:6])
	e.Src = MAC(b[6:12])
	e.Type = EtherType(binary.BigEndian.Uint16(b[12:]))
	e.Payload = b[EthernetHeaderLen:]
	return nil
}

// String returns the protocol's name, or the number in hexadecimal.
func (t EtherType) String() string {
	switch t {
	case EtherTypeIPv4:
		return "IPv4"
	case EtherTypeARP:
		return "ARP"
	}
	return fmt.Sprintf("0x%04x", uint16(t))
}
