package capture

import "github.com/l2ping/l2ping/l2/frame"

// A Frame is a received frame.
type Frame struct {
	// Data starts at the Ethernet header, or with l2.Interface.NoLink at that
	// of IP. It is valid until the next Receive, or the next turn of Frames,
	// whoever has the Frame; all else in it stays.
	Data []byte
	// Length is how long the frame was; more than len(Data) if it was cut.
	Length int
	// Arrival is when the driver handed the frame to the kernel, in
	// nanoseconds since the Unix epoch (CLOCK_REALTIME); 0 if the kernel did
	// not stamp it, which in a Ring is then when it got there. Of a frame that
	// the host sends it is when the kernel showed it to the captures, on its
	// way to the driver.
	Arrival int64
	// Hardware is when the NIC had the frame, in nanoseconds by its own clock;
	// 0 if it did not stamp it, or was not asked (SocketConfig). It may be subtracted
	// from another stamp of the same NIC (l2.StampHardware) and from nothing
	// else.
	Hardware int64
	// VLAN is the tag that the kernel took off the frame: the outer one. Others
	// are still in Data.
	VLAN VLAN
	// PacketType is whom the frame was for. Socket.Receive does not ask: its
	// frames have PacketUnknown.
	PacketType PacketType
}

// VLAN is a VLAN tag.
type VLAN struct {
	Present bool
	// Type is the tag's protocol identifier: 802.1Q, or 802.1ad.
	Type frame.EtherType
	// TCI has the priority, the drop eligibility and the VLAN id (IEEE
	// 802.1Q, section 9.6).
	TCI uint16
}

// A PacketType says whom a frame was for, as the interface took it (packet(7),
// sll_pkttype).
type PacketType uint8

// Packet types.
const (
	PacketUnknown   PacketType = iota
	PacketHost                 // for this host
	PacketBroadcast            // for all on the link
	PacketMulticast            // for a group
	PacketOtherHost            // for another host, and heard in promiscuous mode
	PacketOutgoing             // sent by this host
)

var packetTypes = [...]string{
	PacketUnknown:   "unknown",
	PacketHost:      "host",
	PacketBroadcast: "broadcast",
	PacketMulticast: "multicast",
	PacketOtherHost: "other host",
	PacketOutgoing:  "outgoing",
}

// String returns a name such as "broadcast" or "other host".
func (t PacketType) String() string {
	if int(t) < len(packetTypes) {
		return packetTypes[t]
	}
	return packetTypes[PacketUnknown]
}

// packetType is what the kernel's number means (include/uapi/linux/if_packet.h,
// PACKET_HOST and so on). Those above PACKET_OUTGOING never reach a socket.
func packetType(kernel uint8) PacketType {
	if t := PacketType(kernel) + 1; kernel < uint8(PacketOutgoing) {
		return t
	}
	return PacketUnknown
}

// Direction tells which way the frame went; DirectionBoth where that is not
// known.
func (t PacketType) Direction() Direction {
	switch t {
	case PacketHost, PacketBroadcast, PacketMulticast, PacketOtherHost:
		return DirectionIn
	case PacketOutgoing:
		return DirectionOut
	}
	return DirectionBoth
}

// A Direction is the way of frames through the interface.
type Direction uint8

// Directions.
const (
	DirectionBoth Direction = iota
	DirectionIn             // arrives at the interface
	DirectionOut            // leaves by it
)

// String returns "both", "in" or "out".
func (d Direction) String() string {
	switch d {
	case DirectionIn:
		return "in"
	case DirectionOut:
		return "out"
	}
	return "both"
}
