package frame

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// An ICMPType is the type of an ICMP message for IPv4 (RFC 792).
type ICMPType uint8

// The types that a ping sends or hears.
const (
	ICMPEchoReply              ICMPType = 0
	ICMPDestinationUnreachable ICMPType = 3
	ICMPRedirect               ICMPType = 5
	ICMPEcho                   ICMPType = 8
	ICMPTimeExceeded           ICMPType = 11
	ICMPParameterProblem       ICMPType = 12
)

// ICMPFragmentationNeeded is the code of a destination unreachable message
// that states the next hop's MTU (RFC 1191, section 4).
const ICMPFragmentationNeeded = 4

// ICMPHeaderLen is the length of the header that all ICMP messages share, in
// bytes.
const ICMPHeaderLen = 8

// ICMP is a decoded ICMP message (RFC 792).
type ICMP struct {
	Type     ICMPType
	Code     uint8
	Checksum uint16
	// ChecksumOK tells whether the checksum over the whole message holds. It
	// means nothing for a quoted message, which may be cut.
	ChecksumOK bool
	// ID and Seq are those of an echo or echo reply.
	ID, Seq uint16
	// Body is what follows the eight bytes of the header: an echo's data, or
	// the packet that an error quotes.
	Body []byte

	rest [4]byte
}

// Decode reads an ICMP message. It fails with ErrTruncated.
func (m *ICMP) Decode(b []byte) error {
	if len(b) < ICMPHeaderLen {
		return ErrTruncated
	}
	m.Type = ICMPType(b[0])
	m.Code = b[1]
	m.Checksum = binary.BigEndian.Uint16(b[2:])
	m.rest = [4]byte(b[4:8])
	m.ID = binary.BigEndian.Uint16(b[4:])
	m.Seq = binary.BigEndian.Uint16(b[6:])
	m.Body = b[ICMPHeaderLen:]
	m.ChecksumOK = Checksum(b) == 0
	return nil
}

// MTU returns the next hop's MTU in bytes that a "fragmentation needed" states
// (RFC 1191, section 4), 0 from routers older than that RFC.
func (m *ICMP) MTU() int { return int(binary.BigEndian.Uint16(m.rest[2:])) }

// Gateway returns the better next hop that a redirect names.
func (m *ICMP) Gateway() netip.Addr { return netip.AddrFrom4(m.rest) }

// Pointer returns the byte of the quoted packet that a parameter problem
// complains of.
func (m *ICMP) Pointer() uint8 { return m.rest[0] }

// String returns the type's name in RFC 792's words, or its number.
func (t ICMPType) String() string {
	switch t {
	case ICMPEchoReply:
		return "echo reply"
	case ICMPDestinationUnreachable:
		return "destination unreachable"
	case ICMPRedirect:
		return "redirect"
	case ICMPEcho:
		return "echo"
	case ICMPTimeExceeded:
		return "time exceeded"
	case ICMPParameterProblem:
		return "parameter problem"
	}
	return fmt.Sprintf("type %d", uint8(t))
}
