package bpf

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/l2ping/l2ping/l2/frame"
)

// A Kind says which sort of frame a Match describes.
type Kind uint8

const (
	// EchoReply is an ICMP echo reply (RFC 792, RFC 4443), or an ICMP error that
	// quotes our echo request.
	EchoReply Kind = iota + 1

	// ARPReply is an ARP reply for IPv4 on Ethernet (RFC 826).
	ARPReply

	// NeighborReply says who has an address: an ARP reply, or a neighbor
	// advertisement (RFC 4861).
	NeighborReply

	// NeighborRequest asks who has an address: an ARP request, or a neighbor
	// solicitation.
	NeighborRequest

	// NeighborClaim says, asked or not, that another host has an address or is
	// about to take it: an address conflict (RFC 5227, section 2.1.1; RFC 4862,
	// section 5.4).
	NeighborClaim
)

var kindNames = [...]string{
	EchoReply:       "echo reply",
	ARPReply:        "ARP reply",
	NeighborReply:   "neighbor reply",
	NeighborRequest: "neighbor request",
	NeighborClaim:   "neighbor claim",
}

func (k Kind) known() bool { return k >= EchoReply && int(k) < len(kindNames) }

// String returns a name such as "echo reply" or "neighbor request".
func (k Kind) String() string {
	if k.known() {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// MaxVLANs is how many VLAN tags a Match can ask for.
const MaxVLANs = 2

// A Match says what a reply looks like. It compiles to Go (Accepts, Claims), to
// classic BPF (Classic) and to eBPF (NewFilter), and the three accept the same
// frames.
//
// All kinds ask that the interface took the frame for this host or for a group
// (PACKET_HOST, PACKET_BROADCAST or PACKET_MULTICAST) or that its destination is
// MAC, that it bears the VLAN tags VLANs and no others, and that the EtherType
// behind them is exactly IPv4's, IPv6's or ARP's. Of a tag the VLAN id alone
// counts, and one with the id 0, which is a priority tag, counts as none (IEEE
// 802.1Q, clause 9.6). The outer tag is the one that the kernel took out of the
// frame; up to two that are left in it are understood (0x8100 or 0x88a8).
//
// An EchoReply is one of two things, in a whole IPv4 or IPv6 datagram to Local
// that is not longer than the frame. IPv4 may have any options; of the extension
// headers of IPv6 there may be one, a fragment header of what is no fragment
// (RFC 6946):
//
//   - an ICMP echo reply with code 0, the identifier ID, a payload that begins
//     with Cookie, and Peer as its source;
//   - an ICMP error (IPv4: destination unreachable, redirect, time exceeded or
//     parameter problem; IPv6: destination unreachable, packet too big, time
//     exceeded or parameter problem; any code, any source) that quotes an echo
//     request with code 0 and the identifier ID, sent by Local to Peer. The
//     quoted datagram may be the first of several fragments. RFC 792 has eight
//     bytes of its payload quoted, so the cookie is not asked for.
//
// With Fragments it is also a part of an echo reply: a first fragment that is
// one as far as it goes, or any later fragment of ICMP from Peer to Local.
//
// An ARPReply is an ARP reply sent by Peer to Local and to the address MAC.
//
// A NeighborReply is an ARPReply, or a neighbor advertisement with hop limit 255
// and code 0 that is at least 24 bytes long and whose target is Peer: one to
// Local in a frame to MAC, or one to all nodes (ff02::1), which need not be
// solicited and answers address probes.
//
// A NeighborRequest is an ARP request whose target is Local, or a neighbor
// solicitation with hop limit 255 and code 0 that is at least 24 bytes long and
// whose target is Local.
//
// A NeighborClaim is one of these, of another host than MAC:
//
//   - an ARP request or reply whose sender protocol address is Peer, or an
//     address probe for it, which is a request from 0.0.0.0 whose target is Peer;
//     the sender hardware address is not MAC;
//   - a neighbor advertisement, to whomever, or the solicitation of an address
//     probe, which is from ::, with hop limit 255 and code 0, that is at least 24
//     bytes long and whose target is Peer; the frame is not from MAC.
//
// Checksums, sequence numbers, neighbor discovery's options and flags, and the
// sender's MAC are for the caller to check.
type Match struct {
	// Kind is required. The fields below that name another kind are ignored.
	Kind Kind

	// Local is our own address: where a reply is sent to, the quoted source of
	// an ICMP error, the target protocol address of an ARP reply, or who is
	// asked for by a NeighborRequest, which alone needs it. The zero Addr stands
	// for any address. Not for NeighborClaim.
	//
	// For an ARPReply or a NeighborReply it may be unspecified (0.0.0.0 or ::),
	// which is what an address probe asks from (RFC 5227, section 2.1.1;
	// RFC 4862, section 5.4.2).
	Local netip.Addr

	// Peer is who is asked: the source of an echo reply, the sender protocol
	// address of an ARP reply, the target of an advertisement, or the address that
	// a NeighborClaim is about. The zero Addr stands for anybody, as is needed when there are several targets or the
	// target is a group, whose members answer by their own addresses. Not for
	// NeighborRequest.
	//
	// Local and Peer are of one family, and so is what the Match accepts; if
	// neither is given that is both. ARPReply knows IPv4 alone. Zones are not
	// looked at.
	Peer netip.Addr

	// ID is the ICMP identifier, in host order. EchoReply only.
	ID uint16

	// Cookie has the bytes that the echoed payload begins with; the first
	// CookieLen of them count. EchoReply only.
	Cookie [8]byte

	// CookieLen is in bytes, from 0 (any payload will do) to 8.
	CookieLen int

	// Fragments lets parts of echo replies pass, for the caller to put together
	// (RFC 791, RFC 8200 section 4.5). ICMP errors have to be whole even so.
	// EchoReply only.
	Fragments bool

	// MAC is our own hardware address, and not a group's: the target of an ARP
	// reply, the destination of an advertisement, or who sends what is no
	// NeighborClaim. ARPReply, NeighborReply and NeighborClaim need it.
	//
	// Frames to it are taken even if the interface took them for another
	// station's (PACKET_OTHERHOST), as on the port of a bridge, or in promiscuous
	// mode with a source MAC that is not the interface's.
	MAC frame.MAC

	// VLANs has the ids of the tags that a reply bears, outer first; the first
	// VLANCount of them count. An id is from 0 to 4094, of which 0 asks for
	// nothing.
	VLANs [MaxVLANs]uint16

	// VLANCount is from 0 (untagged) to MaxVLANs.
	VLANCount int

	// NoLink tells that the interface has no link layer: frames begin with the
	// IP header, whose version says the family. EchoReply only; there is no MAC
	// and there are no tags then.
	NoLink bool
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

	// VLANTCI is the tag itself (tp_vlan_tci): priority, drop eligibility and,
	// in its lower 12 bits, the VLAN id. Of no meaning unless VLANPresent.
	VLANTCI uint16
}

// Validate tells what is wrong with the Match. A Match that is not valid
// accepts nothing, and neither Classic nor NewFilter compile it.
func (m Match) Validate() error {
	if err := m.validate(); err != nil {
		if m.Kind.known() {
			return fmt.Errorf("match for %s: %w", m.Kind, err)
		}
		return fmt.Errorf("match: %w", err)
	}
	return nil
}

func (m *Match) validate() error {
	if !m.Kind.known() {
		return fmt.Errorf("unknown kind %d", uint8(m.Kind))
	}
	if err := m.validateLocal(); err != nil {
		return err
	}
	if err := m.validatePeer(); err != nil {
		return err
	}
	if m.Kind == EchoReply && (m.CookieLen < 0 || m.CookieLen > len(m.Cookie)) {
		return fmt.Errorf("cookie of %d bytes: not within 0 to %d", m.CookieLen, len(m.Cookie))
	}
	return m.validateLink()
}

func (m *Match) validateLocal() error {
	switch {
	case m.Kind == NeighborClaim:
		return nil
	case !m.Local.IsValid():
		if m.Kind == NeighborRequest {
			return errors.New("no local address")
		}
		return nil
	case m.Local.Is4In6():
		return fmt.Errorf("local address %s: IPv4 in the form of IPv6", m.Local)
	case m.Kind == ARPReply && !m.Local.Is4():
		return fmt.Errorf("local address %s: not IPv4", m.Local)
	case isGroup(m.Local), m.Local.IsUnspecified() && (m.Kind == EchoReply || m.Kind == NeighborRequest):
		return fmt.Errorf("local address %s: not a host's", m.Local)
	}
	return nil
}

func (m *Match) validatePeer() error {
	switch {
	case m.Kind == NeighborRequest || !m.Peer.IsValid():
		return nil
	case m.Peer.Is4In6():
		return fmt.Errorf("peer %s: IPv4 in the form of IPv6", m.Peer)
	case m.Kind == ARPReply && !m.Peer.Is4():
		return fmt.Errorf("peer %s: not IPv4", m.Peer)
	case isGroup(m.Peer):
		return fmt.Errorf("peer %s: a group is answered by its members; leave the peer out", m.Peer)
	case m.Peer.IsUnspecified():
		return fmt.Errorf("peer %s: not a host's address", m.Peer)
	case m.Kind != NeighborClaim && m.Local.IsValid() && m.Local.Is4() != m.Peer.Is4():
		return fmt.Errorf("peer %s: not of the family of the local address %s", m.Peer, m.Local)
	}
	return nil
}

func (m *Match) validateLink() error {
	switch {
	case m.VLANCount < 0 || m.VLANCount > MaxVLANs:
		return fmt.Errorf("%d VLAN tags: not within 0 to %d", m.VLANCount, MaxVLANs)
	case m.MAC.IsGroup():
		return fmt.Errorf("MAC address %s: not a host's", m.MAC)
	case m.needsMAC() && m.MAC.IsZero():
		return errors.New("no MAC address")
	}
	for _, id := range m.VLANs[:m.VLANCount] {
		if id > maxVLAN {
			return fmt.Errorf("VLAN id %d: not within 0 to %d", id, maxVLAN)
		}
	}
	if !m.NoLink {
		return nil
	}
	switch {
	case m.Kind != EchoReply:
		return errors.New("there are none without a link layer")
	case !m.MAC.IsZero():
		return fmt.Errorf("MAC address %s: there are none without a link layer", m.MAC)
	case m.VLANCount > 0:
		return errors.New("VLAN tags: there are none without a link layer")
	}
	return nil
}

func (m *Match) needsMAC() bool {
	return m.Kind == ARPReply || m.Kind == NeighborReply || m.Kind == NeighborClaim
}

// isGroup tells whether no host can send from the address a because it stands
// for many. The broadcast address of a subnet cannot be told.
func isGroup(a netip.Addr) bool {
	return a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// families tells which versions of IP the Match accepts.
func (m *Match) families() (v4, v6 bool) {
	local, peer := m.Local, m.Peer
	switch m.Kind {
	case NeighborRequest:
		peer = netip.Addr{}
	case NeighborClaim:
		local = netip.Addr{}
	}
	v4 = !local.Is6() && !peer.Is6()
	v6 = m.Kind != ARPReply && !local.Is4() && !peer.Is4()
	return v4, v6
}

// tags returns the VLAN ids that the Match asks for in one number, outer first,
// 12 bits each. A frame's tags are written the same way; an id of 0 leaves no
// trace in either.
func (m *Match) tags() uint64 {
	var t tagKey
	for _, id := range m.VLANs[:m.VLANCount] {
		t.add(id)
	}
	return uint64(t)
}

type tagKey uint64

func (t *tagKey) add(tci uint16) {
	if id := tci & vlanID; id != 0 {
		*t = *t<<12 | tagKey(id)
	}
}
