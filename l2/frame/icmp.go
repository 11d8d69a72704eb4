package frame

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
)

// An ICMPType is the type of an ICMP message. IPv4 and IPv6 number theirs each
// in their own way: 3 is "destination unreachable" in the one and "time exceeded"
// in the other.
type ICMPType uint8

// The types of ICMP for IPv4 that a ping sends or hears (RFC 792).
const (
	ICMPEchoReply              ICMPType = 0
	ICMPDestinationUnreachable ICMPType = 3
	ICMPRedirect               ICMPType = 5
	ICMPEcho                   ICMPType = 8
	ICMPTimeExceeded           ICMPType = 11
	ICMPParameterProblem       ICMPType = 12
)

// The types of ICMPv6 that a ping sends or hears (RFC 4443; RFC 4861, section 4).
const (
	ICMPv6DestinationUnreachable ICMPType = 1
	ICMPv6PacketTooBig           ICMPType = 2
	ICMPv6TimeExceeded           ICMPType = 3
	ICMPv6ParameterProblem       ICMPType = 4
	ICMPv6EchoRequest            ICMPType = 128
	ICMPv6EchoReply              ICMPType = 129
	ICMPv6NeighborSolicitation   ICMPType = 135
	ICMPv6NeighborAdvertisement  ICMPType = 136
	ICMPv6Redirect               ICMPType = 137
)

// ICMPFragmentationNeeded is the code of a destination unreachable message
// that states the next hop's MTU (RFC 1191, section 4).
const ICMPFragmentationNeeded = 4

// ICMPHeaderLen is the length of the header that all ICMP messages share, in
// bytes.
const ICMPHeaderLen = 8

// ICMP is a decoded ICMP message (RFC 792; RFC 4443).
type ICMP struct {
	// V6 says that it is ICMP for IPv6, whose types are others.
	V6       bool
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

// Decode reads a message of ICMP for IPv4. It fails with ErrTruncated.
func (m *ICMP) Decode(b []byte) error {
	if err := m.decode(b); err != nil {
		return err
	}
	m.V6 = false
	m.ChecksumOK = Checksum(b) == 0
	return nil
}

// Decode6 reads a message of ICMPv6 that came in a packet from src to dst: its
// checksum covers them. It fails with ErrTruncated.
func (m *ICMP) Decode6(b []byte, src, dst netip.Addr) error {
	if err := m.decode(b); err != nil {
		return err
	}
	m.V6 = true
	m.ChecksumOK = checksum6(b, src, dst) == 0
	return nil
}

func (m *ICMP) decode(b []byte) error {
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
	return nil
}

// MTU returns the next hop's MTU in bytes that a "fragmentation needed" states
// (RFC 1191, section 4), 0 from routers older than that RFC, or the one of a
// "packet too big" (RFC 4443, section 3.2). It is at most 2^31-1.
func (m *ICMP) MTU() int {
	if m.V6 {
		return int(min(m.word(), math.MaxInt32))
	}
	return int(binary.BigEndian.Uint16(m.rest[2:]))
}

// Gateway returns the better next hop that a redirect names: for IPv6 its
// target address (RFC 4861, section 4.5), or none if the message is cut.
func (m *ICMP) Gateway() netip.Addr {
	switch {
	case !m.V6:
		return netip.AddrFrom4(m.rest)
	case len(m.Body) >= 16:
		return netip.AddrFrom16([16]byte(m.Body[:16]))
	}
	return netip.Addr{}
}

// Pointer returns the byte of the quoted packet that a parameter problem
// complains of.
func (m *ICMP) Pointer() uint32 {
	if m.V6 {
		return m.word()
	}
	return uint32(m.rest[0])
}

func (m *ICMP) word() uint32 { return binary.BigEndian.Uint32(m.rest[:]) }

// Name returns the type's name in the RFC's words, or its number, as a type of
// ICMPv6 or of ICMP for IPv4.
func (t ICMPType) Name(v6 bool) string {
	if !v6 {
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
	switch t {
	case ICMPv6DestinationUnreachable:
		return "destination unreachable"
	case ICMPv6PacketTooBig:
		return "packet too big"
	case ICMPv6TimeExceeded:
		return "time exceeded"
	case ICMPv6ParameterProblem:
		return "parameter problem"
	case ICMPv6EchoRequest:
		return "echo request"
	case ICMPv6EchoReply:
		return "echo reply"
	case ICMPv6NeighborSolicitation:
		return "neighbor solicitation"
	case ICMPv6NeighborAdvertisement:
		return "neighbor advertisement"
	case ICMPv6Redirect:
		return "redirect"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// String names t as a type of ICMP for IPv4, and from 128 on, where IPv4 has
// none of these, of ICMPv6. Its errors bear numbers that mean something else in
// IPv4: Name tells them apart.
func (t ICMPType) String() string { return t.Name(t >= ICMPv6EchoRequest) }
