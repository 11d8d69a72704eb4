package frame

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/ethernet"
)

// minPayload is what Ethernet pads a payload to, in bytes: with the header it
// makes the 60 of the shortest frame (IEEE 802.3, 4A.4.2, less the checksum).
const minPayload = 46

// A Header is what stands ahead of a packet in a frame: an Ethernet header with
// its VLAN tags, or nothing.
type Header struct {
	// NoLink says that the link has no header: a frame is the packet alone.
	NoLink bool
	// Dst and Src mean nothing with NoLink.
	Dst, Src MAC
	// VLANs are the tags, outer first, MaxVLANs at most.
	VLANs []VLAN
}

// Len returns the header's length in bytes.
func (h Header) Len() int {
	if h.NoLink {
		return 0
	}
	return EthernetHeaderLen + vlanLen*len(h.VLANs)
}

// Marshal returns the frame that carries payload. Ethernet's 46 bytes of payload
// are held behind tags too, by zeros: a bridge that takes the tags off then has
// a frame of 60 bytes left, and need not pad it. Without a link nothing is
// padded. It fails if there are too many tags, or one that no frame may bear.
func (h Header) Marshal(typ EtherType, payload []byte) ([]byte, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	if h.NoLink {
		return append([]byte(nil), payload...), nil
	}
	f := ethernet.Frame{
		Destination: h.Dst.HardwareAddr(),
		Source:      h.Src.HardwareAddr(),
		EtherType:   ethernet.EtherType(typ),
		Payload:     payload,
	}
	// That package knows one tag of 802.1Q, and 802.1ad ahead of it. As part
	// of the payload, each ahead of the type that it hides, tags of all kinds
	// go one way.
	if n := len(h.VLANs); n > 0 {
		b := make([]byte, 0, vlanLen*n+max(len(payload), minPayload))
		for i, v := range h.VLANs {
			next := typ
			if i+1 < n {
				next = h.VLANs[i+1].Type
			}
			b = binary.BigEndian.AppendUint16(b, v.TCI)
			b = binary.BigEndian.AppendUint16(b, uint16(next))
		}
		b = append(b, payload...)
		f.EtherType = ethernet.EtherType(h.VLANs[0].Type)
		f.Payload = b[:max(len(b), vlanLen*n+minPayload)]
	}
	b, err := f.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("marshal Ethernet frame: %w", err)
	}
	return b, nil
}

func (h Header) check() error {
	if h.NoLink && len(h.VLANs) > 0 {
		return errors.New("VLAN tags on a link without Ethernet header")
	}
	if len(h.VLANs) > MaxVLANs {
		return fmt.Errorf("%d VLAN tags: at most %d", len(h.VLANs), MaxVLANs)
	}
	for _, v := range h.VLANs {
		switch {
		case !v.Type.isTag():
			return fmt.Errorf("VLAN tag of type 0x%04x: neither 802.1Q nor 802.1ad", uint16(v.Type))
		case v.ID() == vlanReserved:
			return fmt.Errorf("VLAN id %d: reserved", v.ID())
		}
	}
	return nil
}
