package frame

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

const (
	// ndpHopLimit is what no router passes on: a message that bears it comes
	// from this link (RFC 4861, section 7.1).
	ndpHopLimit = 255
	// ndpLen is the length of a neighbor message before its options, in bytes.
	ndpLen = 24
	// ndpOptionLen is the length of a link-layer address option for Ethernet.
	ndpOptionLen = 8
)

// The options that this package knows (RFC 4861, section 4.6.1).
const (
	ndpSourceMAC = 1
	ndpTargetMAC = 2
)

// The flags of an advertisement (RFC 4861, section 4.4).
const (
	ndpRouter    = 0x80
	ndpSolicited = 0x40
	ndpOverride  = 0x20
)

// NDP is a neighbor solicitation or advertisement in its IPv6 packet (RFC 4861,
// sections 4.3 and 4.4).
type NDP struct {
	// Type is ICMPv6NeighborSolicitation or ICMPv6NeighborAdvertisement.
	Type     ICMPType
	Src, Dst netip.Addr
	// Target is the address that is asked for, or that the advertisement is
	// about.
	Target netip.Addr
	// Router, Solicited and Override are the flags of an advertisement.
	Router, Solicited, Override bool
	// MAC is that of the link-layer address option: the sender's of a
	// solicitation, the target's of an advertisement. Zero without the option.
	MAC MAC
}

// Decode reads a neighbor message from a packet that starts at its IPv6 header;
// padding may follow. It holds the message to RFC 4861, sections 7.1.1 and 7.1.2:
// hop limit, checksum, code, lengths, addresses. It fails with ErrTruncated, and
// with ErrMalformed for what breaks a rule or is something else. A message in
// fragments is none (RFC 6980, section 5), nor is one from a multicast address
// (RFC 4291, section 2.7). After an error the fields mean nothing.
func (d *NDP) Decode(packet []byte) error {
	var ip IP
	if err := ip.Decode(packet); err != nil {
		return err
	}
	b := ip.Payload
	if ip.Version != 6 || ip.HeaderLen != IPv6HeaderLen || ip.Protocol != ProtocolICMPv6 ||
		ip.TTL != ndpHopLimit || len(b) < ndpLen || b[1] != 0 || checksum6(b, ip.Src, ip.Dst) != 0 {
		return ErrMalformed
	}
	*d = NDP{
		Type:   ICMPType(b[0]),
		Src:    ip.Src,
		Dst:    ip.Dst,
		Target: netip.AddrFrom16([16]byte(b[8:24])),
	}
	if d.Type == ICMPv6NeighborAdvertisement {
		d.Router = b[4]&ndpRouter != 0
		d.Solicited = b[4]&ndpSolicited != 0
		d.Override = b[4]&ndpOverride != 0
	}
	found, err := d.decodeOptions(b[ndpLen:])
	if err != nil {
		return err
	}
	if d.fault(found) != "" {
		return ErrMalformed
	}
	return nil
}

// decodeOptions looks for the link-layer address, and takes the first as Linux
// does (ndisc_parse_options). Options of other types are passed over.
func (d *NDP) decodeOptions(b []byte) (found bool, err error) {
	want := d.option()
	for len(b) > 0 {
		if len(b) < 2 || b[1] == 0 || len(b) < int(b[1])*8 {
			return false, ErrMalformed
		}
		if b[0] == want && !found {
			if b[1] != ndpOptionLen/8 {
				return false, ErrMalformed // not Ethernet's
			}
			found = true
			d.MAC = MAC(b[2:8])
		}
		b = b[int(b[1])*8:]
	}
	return found, nil
}

// option is the type of the link-layer address option that d may bear.
func (d *NDP) option() byte {
	if d.Type == ICMPv6NeighborSolicitation {
		return ndpSourceMAC
	}
	return ndpTargetMAC
}

// fault says which rule for the fields d breaks, or "". option says that it bears
// the link-layer address option.
func (d *NDP) fault(option bool) string {
	switch {
	case d.Type != ICMPv6NeighborSolicitation && d.Type != ICMPv6NeighborAdvertisement:
		return "neither solicitation nor advertisement"
	case d.Src.IsMulticast():
		return "the source is a multicast group"
	case d.Target.IsMulticast():
		return "the target is a multicast group"
	case d.Type == ICMPv6NeighborAdvertisement:
		if d.Solicited && d.Dst.IsMulticast() {
			return "solicited, and to a multicast group"
		}
	case d.Src.IsUnspecified() && !isSolicitedNode(d.Dst):
		return "without a source, and not to a solicited-node group"
	case d.Src.IsUnspecified() && option:
		return "without a source, but with its link-layer address"
	}
	return ""
}

func isSolicitedNode(a netip.Addr) bool { return a.WithZone("") == SolicitedNode(a) }

// Marshal returns the whole frame that carries d behind h. It bears the link-layer
// address option unless MAC is zero. It fails if an address is not IPv6 or Decode
// would refuse the message, or as Header.Marshal does.
func (d *NDP) Marshal(h Header) ([]byte, error) {
	if !isIPv6(d.Src) || !isIPv6(d.Dst) || !isIPv6(d.Target) {
		return nil, fmt.Errorf("neighbor message from %v to %v for %v: not IPv6", d.Src, d.Dst, d.Target)
	}
	if fault := d.fault(!d.MAC.IsZero()); fault != "" {
		return nil, fmt.Errorf("neighbor message from %v to %v for %v: %s", d.Src, d.Dst, d.Target, fault)
	}
	message := make([]byte, 0, ndpLen+ndpOptionLen)
	message = append(message, byte(d.Type), 0, 0, 0, d.flags(), 0, 0, 0)
	message = appendAddr(message, d.Target)
	if !d.MAC.IsZero() {
		message = append(message, d.option(), ndpOptionLen/8)
		message = append(message, d.MAC[:]...)
	}
	binary.BigEndian.PutUint16(message[2:], checksum6(message, d.Src, d.Dst))
	packet := appendIPv6(make([]byte, 0, IPv6HeaderLen+len(message)), d.Src, d.Dst, ProtocolICMPv6, ndpHopLimit, 0, len(message))
	return h.Marshal(EtherTypeIPv6, append(packet, message...))
}

func (d *NDP) flags() byte {
	var flags byte
	if d.Type != ICMPv6NeighborAdvertisement {
		return flags
	}
	if d.Router {
		flags |= ndpRouter
	}
	if d.Solicited {
		flags |= ndpSolicited
	}
	if d.Override {
		flags |= ndpOverride
	}
	return flags
}

// appendIPv6 appends a fixed IPv6 header with flow label 0 (RFC 8200, section 3).
// payload is in bytes.
func appendIPv6(b []byte, src, dst netip.Addr, next Protocol, hopLimit, class uint8, payload int) []byte {
	b = binary.BigEndian.AppendUint32(b, 6<<28|uint32(class)<<20)
	b = binary.BigEndian.AppendUint16(b, uint16(payload))
	b = append(b, byte(next), hopLimit)
	b = appendAddr(b, src)
	return appendAddr(b, dst)
}

// appendAddr appends the 16 bytes of an IPv6 address. A zone is the host's own
// affair and never on the wire.
func appendAddr(b []byte, a netip.Addr) []byte {
	a16 := a.As16()
	return append(b, a16[:]...)
}
