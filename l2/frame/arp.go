package frame

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/ethernet"
)

// An ARPOperation is the opcode of an ARP packet (RFC 826).
type ARPOperation uint16

// The operations of RFC 826.
const (
	ARPRequest ARPOperation = 1
	ARPReply   ARPOperation = 2
)

// arpLen is the length of an ARP packet for IPv4 over Ethernet in bytes.
const arpLen = 28

// ARP is an ARP packet for IPv4 over Ethernet (RFC 826).
type ARP struct {
	Operation ARPOperation
	SenderMAC MAC
	SenderIP  netip.Addr
	TargetMAC MAC
	TargetIP  netip.Addr
}

// Decode reads an ARP packet; b starts behind the Ethernet header, and padding
// may follow. It fails with ErrTruncated, and with ErrMalformed for any other
// hardware or protocol than Ethernet and IPv4.
func (a *ARP) Decode(b []byte) error {
	if len(b) < arpLen {
		return ErrTruncated
	}
	// Hardware type 1 (Ethernet), protocol type IPv4, address lengths 6 and 4.
	if binary.BigEndian.Uint64(b)>>16 != 0x0001_0800_06_04 {
		return ErrMalformed
	}
	a.Operation = ARPOperation(binary.BigEndian.Uint16(b[6:]))
	a.SenderMAC = MAC(b[8:14])
	a.SenderIP = netip.AddrFrom4([4]byte(b[14:18]))
	a.TargetMAC = MAC(b[18:24])
	a.TargetIP = netip.AddrFrom4([4]byte(b[24:28]))
	return nil
}

// Marshal returns the whole Ethernet frame that carries a to dst, padded to
// the 60 bytes that Ethernet asks for. It fails if an address is not IPv4.
func (a *ARP) Marshal(dst MAC) ([]byte, error) {
	if !a.SenderIP.Is4() || !a.TargetIP.Is4() {
		return nil, fmt.Errorf("ARP from %v for %v: not IPv4", a.SenderIP, a.TargetIP)
	}
	b := make([]byte, 0, arpLen)
	b = binary.BigEndian.AppendUint16(b, 1)
	b = binary.BigEndian.AppendUint16(b, uint16(EtherTypeIPv4))
	b = append(b, 6, 4)
	b = binary.BigEndian.AppendUint16(b, uint16(a.Operation))
	b = append(b, a.SenderMAC[:]...)
	b = append(b, a.SenderIP.AsSlice()...)
	b = append(b, a.TargetMAC[:]...)
	b = append(b, a.TargetIP.AsSlice()...)
	return marshalEthernet(dst, a.SenderMAC, EtherTypeARP, b)
}

// marshalEthernet puts an Ethernet header ahead of payload and pads the frame
// to Ethernet's minimum.
func marshalEthernet(dst, src MAC, typ EtherType, payload []byte) ([]byte, error) {
	f := ethernet.Frame{
		Destination: dst.HardwareAddr(),
		Source:      src.HardwareAddr(),
		EtherType:   ethernet.EtherType(typ),
		Payload:     payload,
	}
	b, err := f.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("marshal Ethernet frame: %w", err)
	}
	return b, nil
}
