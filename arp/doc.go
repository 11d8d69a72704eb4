// Package arp finds out who has the next hop: which MAC the frames to it bear,
// by ARP for IPv4 and by neighbor discovery for IPv6.
//
// The kernel's neighbor table is asked first (rtnetlink(7), RTM_GETNEIGH, Linux
// 5.0), which needs no capability, and followed from then on; what it does not
// know is asked on the link by a request of our own (RFC 826, RFC 4861), which
// needs CAP_NET_RAW. The kernel's table is read and never written, but the
// kernel hears the answers as well, and updates the entries that it has.
//
// A Table has any number of next hops, on one interface. It belongs to the network
// namespace of the thread that opened it, and may be used from any thread until
// it is closed. A Responder is the other side: it answers for an address that the
// host does not have.
package arp
