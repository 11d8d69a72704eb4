package frame

import (
	"errors"
	"fmt"
	"net"
)

// A MAC is a 48-bit IEEE 802 address. Unlike net.HardwareAddr it is
// comparable, fixed in size and free to copy.
type MAC [6]byte

// Broadcast is the address that every station on a segment takes as its own.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ErrNotEUI48 says that a hardware address is not six bytes long, as those of
// InfiniBand, FireWire or a link without a link layer are not.
var ErrNotEUI48 = errors.New("not a 48-bit MAC address")

// MACFrom converts a hardware address of the net package. It fails with
// ErrNotEUI48 unless the address has exactly six bytes.
func MACFrom(hw net.HardwareAddr) (MAC, error) {
	var m MAC
	if len(hw) != len(m) {
		return MAC{}, fmt.Errorf("hardware address %q: %w", hw.String(), ErrNotEUI48)
	}
	copy(m[:], hw)
	return m, nil
}

// ParseMAC reads a 48-bit address in any notation that net.ParseMAC knows.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil {
		return MAC{}, err
	}
	return MACFrom(hw)
}

// HardwareAddr returns a copy for APIs of the net package.
func (m MAC) HardwareAddr() net.HardwareAddr {
	return append(net.HardwareAddr(nil), m[:]...)
}

// IsZero tells whether m is the zero MAC, which stands for "none".
func (m MAC) IsZero() bool { return m == MAC{} }

// IsGroup tells whether m addresses a group: broadcast or multicast
// (IEEE 802, the I/G bit).
func (m MAC) IsGroup() bool { return m[0]&1 != 0 }

// String returns the form 02:00:5e:00:53:01.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }
