// Package pcapfilter compiles filters in tcpdump's language, as pcap-filter(7)
// has it, to programs of classic BPF.
//
// The programs give each frame the verdict that libpcap's would: see there what
// the words mean. That goes for what is odd, too. And and or bind alike, from the
// left. All behind a vlan keyword, whatever joins it, is of the packet behind the
// tag. The ports of IPv4 are those of first fragments, the protocol of IPv6 is
// that of the first header, or of the one behind a fragment header. A frame that
// ends before what the filter reads is rejected, even by not; so is one for which
// it divides by zero. The operators % and ^ take all that stands on their right,
// and of the operands of an operator only the left has its protocol checked
// (1 + tcp[13] = 3 reads any packet).
//
// # What is supported
//
//   - host, net, port and portrange, with src, dst, src or dst, src and dst, and
//     ip, ip6, arp, rarp, tcp, udp or sctp before them; addresses as numbers alone
//   - ether host, ether src, ether dst; broadcast and multicast, with ether, ip or
//     (multicast) ip6
//   - proto, ip proto, ip6 proto and ether proto, by number or \name; the words ip,
//     ip6, arp, rarp, tcp, udp, sctp, icmp, icmp6, igmp, igrp, pim, vrrp, carp, ah,
//     esp, stp, ipx, netbeui, iso, aarp, atalk, decnet, lat, sca, moprc and mopdl
//   - vlan, with an id or without, again and again; of a live capture the kernel is
//     asked for the outer tag (Config.Live)
//   - less, greater and len; arithmetic, accessors such as tcp[13] and ip[2:2], and
//     the names of ICMP's types and TCP's flags
//   - inbound, outbound and ifindex, of a live capture
//   - and, or, not, parentheses; qualifiers that are left out (port 80 or 443)
//
// Ports may have names: those that the host knows (/etc/services), or a few well
// known ones where it has no list. Host names are refused, for a filter should
// not wait for a server. So are, with an error that says so, protochain, gateway,
// llc, mpls, PPPoE, Geneve, VXLAN, and what only other links than Ethernet have.
//
// # Errors
//
// What is wrong with an expression is an [Error] that knows the place. An
// expression that no frame can pass, such as tcp and udp, is wrong as well.
//
// # Programs
//
// The kernel takes every program: reads of memory follow writes, nothing is
// divided by a constant zero, and there are at most 4096 instructions. A test
// whose answer an earlier one has given is left out, tests of one field stand
// together, and what a register holds is not loaded again. The kernel also agrees
// with other machines where classic BPF has traps: offsets beyond the frame do not
// turn round, and shifts by 32 bits or more leave nothing.
//
// The package opens no socket and works on any system.
package pcapfilter
