package frame

import "net/netip"

// SolicitedNode returns the multicast group that the owner of an IPv6 address
// listens to for solicitations: ff02::1:ff00:0 with the address's last 24 bits
// (RFC 4291, section 2.7.1). It is none for any other address.
func SolicitedNode(a netip.Addr) netip.Addr {
	if !isIPv6(a) {
		return netip.Addr{}
	}
	b := a.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 11: 0x01, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

// MulticastMAC returns the Ethernet address of an IP multicast group: the last
// 23 bits of an IPv4 group (RFC 1112, section 6.4) or the last 32 of an IPv6 one
// (RFC 2464, section 7). It is the zero MAC for an address that is no group.
func MulticastMAC(a netip.Addr) MAC {
	if !a.IsMulticast() || a.Is4In6() {
		return MAC{}
	}
	if a.Is4() {
		b := a.As4()
		return MAC{0x01, 0x00, 0x5e, b[1] & 0x7f, b[2], b[3]}
	}
	b := a.As16()
	return MAC{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// isIPv6 tells whether a can stand in an IPv6 header: an address that is mapped
// from IPv4 stands for one that belongs in the other.
func isIPv6(a netip.Addr) bool { return a.Is6() && !a.Is4In6() }
