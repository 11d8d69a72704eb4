// Package frame holds the codecs: Ethernet, ARP, IPv4 and ICMP, from bytes and
// to bytes.
//
// It opens no socket and builds on any operating system. Decoders fill a
// struct that the caller uses again, keep slices of the caller's buffer, and
// neither allocate nor panic, whatever the bytes: every frame that arrives is
// hostile until parsed. Encoders write whole frames, ready for an AF_PACKET
// socket of type SOCK_RAW.
package frame
