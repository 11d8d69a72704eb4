package frame

import (
	"encoding/binary"
	"net/netip"
)

// Checksum returns the Internet checksum of b (RFC 1071): the complement of
// the one's complement sum of its 16-bit words, an odd last byte being padded
// with a zero. Over data that contains its own correct checksum it is 0.
func Checksum(b []byte) uint16 { return ^sum16(b) }

// sum16 is the one's complement sum of the 16-bit words of b.
func sum16(b []byte) uint16 {
	// Eight bytes at a time: the sum is the same whatever the word size, as
	// long as carries come back in at the bottom (RFC 1071, section 2 (B)).
	var sum, carry uint64
	for len(b) >= 8 {
		v := binary.BigEndian.Uint64(b)
		sum += v
		if sum < v {
			carry++
		}
		b = b[8:]
	}
	total := sum>>48 + sum>>32&0xffff + sum>>16&0xffff + sum&0xffff + carry
	for len(b) >= 2 {
		total += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		total += uint64(b[0]) << 8
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}

// checksum6 returns the checksum of an ICMPv6 message: it covers a pseudo-header
// of the addresses, the message's length and the protocol too (RFC 4443, section
// 2.3; RFC 8200, section 8.1).
func checksum6(message []byte, src, dst netip.Addr) uint16 {
	from, to := src.As16(), dst.As16()
	total := uint32(sum16(from[:])) + uint32(sum16(to[:])) + uint32(sum16(message)) +
		uint32(len(message))>>16 + uint32(len(message))&0xffff + uint32(ProtocolICMPv6)
	total = total>>16 + total&0xffff
	total = total>>16 + total&0xffff
	return ^uint16(total)
}

// updateChecksum returns the checksum after one 16-bit word under it has
// changed from old to new (RFC 1624, equation 3).
func updateChecksum(sum, old, new uint16) uint16 {
	s := uint32(^sum) + uint32(^old) + uint32(new)
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return ^uint16(s)
}

// patch16 writes v at the start of word and brings the checksum at the start of
// sum up to date.
func patch16(word, sum []byte, v uint16) {
	old := binary.BigEndian.Uint16(word)
	if old == v {
		return
	}
	binary.BigEndian.PutUint16(word, v)
	binary.BigEndian.PutUint16(sum, updateChecksum(binary.BigEndian.Uint16(sum), old, v))
}
