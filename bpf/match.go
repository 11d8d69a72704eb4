package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/l2ping/l2ping/l2/frame"
)

// A Kind says which sort of reply a Match describes.
type Kind uint8

const (
	// EchoReply is an ICMP echo reply (RFC 792), or an ICMP error that quotes
	// our echo request.
	EchoReply Kind = iota + 1

	// ARPReply is an ARP reply for IPv4 on Ethernet (RFC 826).
	ARPReply
)

// String returns "echo reply" or "ARP reply".
func (k Kind) String() string {
	switch k {
	case EchoReply:
		return "echo reply"
	case ARPReply:
		return "ARP reply"
	default:
		return fmt.Sprintf("Kind(%d)", uint8(k))
	}
}

// A Match says what a reply looks like. It compiles to Go (Accepts, Claims), to
// classic BPF (Classic) and to eBPF (NewFilter), and the three accept the same
// frames.
//
// All kinds ask that the interface took the frame for this host or for a group
// (PACKET_HOST, PACKET_BROADCAST or PACKET_MULTICAST), that the kernel found no
// VLAN tag on it, and that its EtherType is exactly IPv4's or ARP's.
//
// An EchoReply is one of two things, in a whole IPv4 datagram (any options, no
// fragment, not longer than the frame) whose destination is Local:
//
//   - an ICMP echo reply with code 0, the identifier ID, a payload that begins
//     with Cookie, and Peer as its source;
//   - an ICMP error (destination unreachable, redirect, time exceeded or
//     parameter problem; any code, any source) that quotes an echo request with
//     code 0 and the identifier ID, sent by Local to Peer. The quoted datagram
//     may be the first of several fragments. RFC 792 has eight bytes of it
//     quoted, so the cookie is not asked for.
//
// An ARPReply is an ARP reply sent by Peer to Local and to the address MAC.
//
// Checksums, sequence numbers and the sender's MAC are for the caller to check.
type Match struct {
	// Kind is required. The fields below that name another kind are ignored.
	Kind Kind

	// Local is our own address: where a reply is sent to, the quoted source of
	// an ICMP error, the target protocol address of an ARP reply. Required,
	// and IPv4. For an ARPReply it may be 0.0.0.0, which is what an address
	// probe (RFC 5227, section 2.1.1) asks from.
	Local netip.Addr

	// Peer is who is asked, IPv4. For an EchoReply the zero Addr stands for
	// anybody, as is needed when there are several targets or the target is a
	// group, whose members answer by their own addresses. An ARPReply needs it.
	Peer netip.Addr

	// ID is the ICMP identifier, in host order. EchoReply only.
	ID uint16

	// Cookie has the bytes that the echoed payload begins with; the first
	// CookieLen of them count. EchoReply only.
	Cookie [8]byte

	// CookieLen is in bytes, from 0 (any payload will do) to 8.
	CookieLen int

	// MAC is our own hardware address, the target of an ARP reply. Required,
	// and not a group's. ARPReply only.
	MAC frame.MAC
}

// Meta is what the kernel keeps beside the bytes of a frame that an AF_PACKET
// socket receives: see packet(7), sockaddr_ll and PACKET_AUXDATA.
type Meta struct {
	// PacketType is one of PACKET_HOST, PACKET_BROADCAST and so on
	// (sll_pkttype).
	PacketType uint8

	// VLANPresent tells that the frame had a tag, which the kernel has taken
	// out of it (TP_STATUS_VLAN_VALID in tp_status). A priority tag, with VLAN
	// id 0, is one.
	VLANPresent bool

	// VLANTCI is the tag itself (tp_vlan_tci); no Match looks at it.
	VLANTCI uint16
}

// The packet types of linux/if_packet.h that may be replies.
const (
	packetHost      = 0
	packetBroadcast = 1
	packetMulticast = 2
)

const (
	etherLen     = 14
	ipv4Len      = 20 // without options
	icmpLen      = 8
	arpLen       = 28 // for IPv4 on Ethernet
	etherTypeIP  = 0x0800
	etherTypeARP = 0x0806

	// The word of an IPv4 header that has flags and fragment offset (RFC 791).
	ipMoreFragments  = 0x2000
	ipFragmentOffset = 0x1fff

	protocolICMP = 1

	// RFC 792.
	icmpEchoReply        = 0
	icmpUnreachable      = 3
	icmpRedirect         = 5
	icmpEchoRequest      = 8
	icmpTimeExceeded     = 11
	icmpParameterProblem = 12

	// The fixed part of an ARP reply for IPv4 on Ethernet, as two words
	// (RFC 826): hardware type 1, protocol type IPv4; lengths 6 and 4,
	// operation 2.
	arpEtherIPv4 = 0x0001_0800
	arpReplyOp   = 0x0604_0002
)

// Validate tells what is wrong with the Match. A Match that is not valid
// accepts nothing, and neither Classic nor NewFilter compile it.
func (m Match) Validate() error {
	if err := m.validate(); err != nil {
		if m.Kind == EchoReply || m.Kind == ARPReply {
			return fmt.Errorf("match for %s: %w", m.Kind, err)
		}
		return fmt.Errorf("match: %w", err)
	}
	return nil
}

func (m Match) validate() error {
	if m.Kind != EchoReply && m.Kind != ARPReply {
		return fmt.Errorf("unknown kind %d", uint8(m.Kind))
	}

	switch {
	case !m.Local.IsValid():
		return errors.New("no local address")
	case !m.Local.Is4():
		return fmt.Errorf("local address %s: not IPv4", m.Local)
	case isGroup(m.Local), m.Local.IsUnspecified() && m.Kind == EchoReply:
		return fmt.Errorf("local address %s: not a host's", m.Local)
	case m.Peer.IsValid() && !m.Peer.Is4():
		return fmt.Errorf("peer %s: not IPv4", m.Peer)
	case m.Peer.IsValid() && isGroup(m.Peer):
		return fmt.Errorf("peer %s: a group is answered by its members; leave the peer out", m.Peer)
	case m.Peer.IsValid() && m.Peer.IsUnspecified():
		return fmt.Errorf("peer %s: not a host's address", m.Peer)
	}

	switch {
	case m.Kind == EchoReply && (m.CookieLen < 0 || m.CookieLen > len(m.Cookie)):
		return fmt.Errorf("cookie of %d bytes: not within 0 to %d", m.CookieLen, len(m.Cookie))
	case m.Kind == ARPReply && !m.Peer.IsValid():
		return errors.New("no peer")
	case m.Kind == ARPReply && m.MAC.IsZero():
		return errors.New("no MAC address")
	case m.Kind == ARPReply && m.MAC.IsGroup():
		return fmt.Errorf("MAC address %s: not a host's", m.MAC)
	}
	return nil
}

// isGroup tells whether no host can send from the IPv4 address a because it
// stands for many. The broadcast address of a subnet cannot be told.
func isGroup(a netip.Addr) bool {
	return a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// Accepts tells whether a frame, from its Ethernet header on, is a reply that m
// describes. It never reads past the frame, and does not allocate.
func (m Match) Accepts(frame []byte, meta Meta) bool {
	return m.judge(frame, meta) == ours
}

// Claims tells whether a frame claims to be a reply of ours and is not. It is
// what Filter.Rejected counts in the kernel.
//
// Such a frame passes every test of an EchoReply, for an echo reply or for an
// ICMP error, its identifier too, and fails one or more of these four: it bears
// no VLAN tag, its code (for an ICMP error: the quoted request's) is 0, it
// comes from Peer (the quoted request went to Peer), and its payload begins
// with the cookie. No frame claims to be an ARPReply.
func (m Match) Claims(frame []byte, meta Meta) bool {
	return m.judge(frame, meta) == claimed
}

// A verdict on a frame, the same as in match.bpf.c.
type verdict uint8

const (
	other   verdict = iota // not for us
	claimed                // ours by identifier, but not by VLAN, code, peer or cookie
	ours
)

func (m *Match) judge(b []byte, meta Meta) verdict {
	if m.validate() != nil {
		return other
	}
	switch meta.PacketType {
	case packetHost, packetBroadcast, packetMulticast:
	default:
		return other
	}
	if len(b) < etherLen {
		return other
	}

	switch etherType := binary.BigEndian.Uint16(b[12:]); {
	case m.Kind == EchoReply && etherType == etherTypeIP:
		v := m.judgeIPv4(b[etherLen:])
		if v == ours && meta.VLANPresent {
			return claimed
		}
		return v
	case m.Kind == ARPReply && etherType == etherTypeARP && !meta.VLANPresent:
		return m.judgeARP(b[etherLen:])
	default:
		return other
	}
}

func (m *Match) judgeARP(b []byte) verdict {
	if len(b) < arpLen ||
		binary.BigEndian.Uint32(b[0:]) != arpEtherIPv4 ||
		binary.BigEndian.Uint32(b[4:]) != arpReplyOp ||
		[4]byte(b[14:]) != m.Peer.As4() ||
		[6]byte(b[18:]) != m.MAC ||
		[4]byte(b[24:]) != m.Local.As4() {
		return other
	}
	return ours
}

// judgeIPv4 trusts the datagram's own length: the frame may have Ethernet's
// padding in it.
func (m *Match) judgeIPv4(b []byte) verdict {
	ihl := ipv4HeaderLen(b)
	if ihl == 0 {
		return other
	}
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total < ihl || total > len(b) {
		return other
	}
	if binary.BigEndian.Uint16(b[6:])&(ipMoreFragments|ipFragmentOffset) != 0 ||
		b[9] != protocolICMP || [4]byte(b[16:]) != m.Local.As4() {
		return other
	}
	return m.judgeICMP(b[ihl:total], [4]byte(b[12:]))
}

func (m *Match) judgeICMP(b []byte, from [4]byte) verdict {
	if len(b) < icmpLen {
		return other
	}
	code, id, payload := b[1], binary.BigEndian.Uint16(b[4:]), b[icmpLen:]
	switch b[0] {
	case icmpEchoReply:
		if id != m.ID {
			return other
		}
		if code != 0 || !m.isPeer(from) || !m.hasCookie(payload) {
			return claimed
		}
		return ours
	case icmpUnreachable, icmpRedirect, icmpTimeExceeded, icmpParameterProblem:
		return m.judgeQuote(payload)
	default:
		return other
	}
}

// judgeQuote judges the request that an ICMP error quotes. The quoted length is
// not looked at: more often than not it is more than what is quoted.
func (m *Match) judgeQuote(b []byte) verdict {
	ihl := ipv4HeaderLen(b)
	if ihl == 0 || len(b) < ihl+icmpLen {
		return other
	}
	if binary.BigEndian.Uint16(b[6:])&ipFragmentOffset != 0 ||
		b[9] != protocolICMP || [4]byte(b[12:]) != m.Local.As4() {
		return other
	}
	icmp := b[ihl:]
	if icmp[0] != icmpEchoRequest || binary.BigEndian.Uint16(icmp[4:]) != m.ID {
		return other
	}
	if icmp[1] != 0 || !m.isPeer([4]byte(b[16:])) {
		return claimed
	}
	return ours
}

// ipv4HeaderLen returns the length in bytes of the IPv4 header that b begins
// with, or 0 if it begins with none. The header may be longer than b.
func ipv4HeaderLen(b []byte) int {
	if len(b) < ipv4Len || b[0]>>4 != 4 || b[0]&0xf < 5 {
		return 0
	}
	return int(b[0]&0xf) * 4
}

func (m *Match) isPeer(a [4]byte) bool {
	return !m.Peer.IsValid() || a == m.Peer.As4()
}

func (m *Match) hasCookie(payload []byte) bool {
	return len(payload) >= m.CookieLen &&
		string(payload[:m.CookieLen]) == string(m.Cookie[:m.CookieLen])
}
