package craft

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/l2ping/l2ping/l2/frame"
)

// An Env is what an expression leaves to the kernel. Only what it leaves out is
// asked for, and for a run of frames with the same destination only once. An
// error ends the frame that it was asked for, and reaches the caller as it is.
type Env interface {
	// Link tells what frames leave by.
	Link() Link
	// Source returns the address to send from to a destination, of the same
	// family.
	Source(dst netip.Addr) (netip.Addr, error)
	// Asking returns the IPv4 address to ask for the MAC of dst from. What asks
	// everybody needs no route to dst, and dst may be the address itself: so it
	// is found out who else has it.
	Asking(dst netip.Addr) (netip.Addr, error)
	// NextHop returns the MAC of who takes packets to a destination. It is not
	// asked about groups and 255.255.255.255, which say their own.
	NextHop(dst netip.Addr) (frame.MAC, error)
}

// A Link is what frames leave by.
type Link struct {
	MAC frame.MAC
	// NoLink says that there is no link layer: frames start with IP.
	NoLink bool
	MTU    int // in bytes, without the link's own header
}

// Check tells whether the kernel would take b as a frame on the link
// (packet_snd in net/packet/af_packet.c): it has a whole header, and what
// follows is not longer than the MTU, for which the first 802.1Q tag does not
// count.
func (l Link) Check(b []byte) error {
	if l.NoLink {
		switch {
		case len(b) == 0:
			return errors.New("an empty frame")
		case b[0]>>4 != 4 && b[0]>>4 != 6:
			return errors.New("it starts with neither IPv4 nor IPv6, and the interface has no link layer for anything else")
		case len(b) > l.MTU:
			return fmt.Errorf("a packet of %d bytes is longer than the MTU, %d", len(b), l.MTU)
		}
		return nil
	}
	if len(b) < frame.EthernetHeaderLen {
		return fmt.Errorf("a frame of %s is shorter than an Ethernet header, %d", counted(len(b), "byte"), frame.EthernetHeaderLen)
	}
	room, tag := frame.EthernetHeaderLen+l.MTU, ""
	if b[12] == 0x81 && b[13] == 0 {
		room, tag = room+4, " and a tag"
	}
	if len(b) > room {
		return fmt.Errorf("a frame of %d bytes is longer than the MTU, %d, with the header%s: %d", len(b), l.MTU, tag, room)
	}
	return nil
}
