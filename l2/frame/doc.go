// Package frame holds the codecs: Ethernet with VLAN tags, ARP, IPv4 and IPv6,
// ICMP, ICMPv6 and neighbor discovery, from bytes and to bytes.
//
// It opens no socket and builds on any operating system. Decoders fill a
// struct that the caller uses again, keep slices of the caller's buffer, and
// neither allocate nor panic, whatever the bytes: every frame that arrives is
// hostile until parsed. Encoders write whole frames, ready for an AF_PACKET
// socket of type SOCK_RAW; on a link without a header such a frame starts at
// the IP header. What is larger than the MTU leaves in fragments (EchoTemplate)
// and comes back from them within fixed memory (Reassembler).
package frame
