package frame

import (
	"encoding/binary"
	"fmt"
	"net/netip"
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
	return a.MarshalBehind(Header{Dst: dst, Src: a.SenderMAC})
}

// MarshalBehind returns the whole frame that carries a behind h, which need not
// name the sender's MAC as its own source. It fails if an address is not IPv4, or
// as Header.Marshal does, and without a link: ARP is of Ethernet.
func (a *ARP) MarshalBehind(h Header) ([]byte, error) {
	if !a.SenderIP.Is4() || !a.TargetIP.Is4() {
		return nil, fmt.Errorf("ARP from %v for %v: not IPv4", a.SenderIP, a.TargetIP)
	}
	if h.NoLink {
		return nil, fmt.Errorf("ARP from %v for %v: the link has no Ethernet header", a.SenderIP, a.TargetIP)
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
	return h.Marshal(EtherTypeARP, b)
}
