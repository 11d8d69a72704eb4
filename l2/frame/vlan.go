package frame

import "strconv"

const (
	// MaxVLANs is how many VLAN tags a frame can bear here: a provider's and
	// a customer's (Q-in-Q).
	MaxVLANs = 2

	// vlanLen is the length of a tag in bytes.
	vlanLen = 4

	// vlanReserved is the id that no frame may bear (IEEE 802.1Q, table 9-2).
	vlanReserved = 0xfff
)

// A VLAN is a VLAN tag (IEEE 802.1Q, clause 9).
type VLAN struct {
	// Type is the tag's protocol identifier: EtherTypeVLAN or EtherTypeQinQ.
	Type EtherType
	// TCI is the tag control information: 3 bits of priority, the drop
	// eligible bit, 12 bits of id.
	TCI uint16
}

// ID returns the VLAN's id, 0 to 4095. With 0 the tag states a priority alone,
// and the frame is of no VLAN.
func (v VLAN) ID() uint16 { return v.TCI & 0x0fff }

// Priority returns the priority code point, 0 to 7.
func (v VLAN) Priority() uint8 { return uint8(v.TCI >> 13) }

// DropEligible tells whether the frame may go first in a congestion.
func (v VLAN) DropEligible() bool { return v.TCI&0x1000 != 0 }

// String returns the id, and the priority behind a dot if there is one: "100",
// "100.3".
func (v VLAN) String() string {
	s := strconv.Itoa(int(v.ID()))
	if p := v.Priority(); p != 0 {
		s += "." + strconv.Itoa(int(p))
	}
	return s
}
