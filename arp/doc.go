// Package arp finds out who has the next hop: which MAC the frames to it bear.
//
// The kernel's neighbor table is asked first (rtnetlink(7), RTM_GETNEIGH), which
// needs no capability; what it does not know is asked on the link by a request
// of our own (RFC 826), which needs CAP_NET_RAW. The kernel's table is read and
// never written.
package arp
