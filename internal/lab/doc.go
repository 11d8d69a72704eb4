// Package lab is a private network to measure in: namespaces, virtual
// Ethernet between them, and a scripted peer.
//
// Nothing of it touches the host's own network. A [Namespace] is new and
// unnamed; it is held by a descriptor alone, so the kernel removes it, and
// every interface in it, when the descriptor is closed or the process ends,
// even by SIGKILL. Interfaces are created inside such namespaces and never
// anywhere else. Two topologies are ready made: a [Pair] (two ends of one
// wire) and [Routed] (a router between them). They speak IPv4, and IPv6 too
// where it is asked for, because with it the kernel is not silent
// ([Namespace.EnableIPv6]). All is made through netlink; no external program is
// needed.
//
// Whatever else a frame may have to pass is a method of Namespace: bridges,
// bonds, teams, VLAN devices, macvlan, ipvlan, VRF, vxlan, WireGuard, ppp, tunnels
// of IP and GRE, tun, ifb and dummy;
// routes of every kind, policy rules, neighbors; delay and loss. What a kernel
// lacks of that is found out by asking it, and told by a [KindError].
//
// Two kinds of peer answer there: Linux's own stack in the other namespace,
// and the scripted [Peer], which delays, loses, doubles, corrupts, fragments and
// forges as a [Script] says, for one address or for a whole network. The peer speaks through gopacket and not through this
// project's codecs, so that tests have a second opinion. A [Scenario] is such
// a script together with what the command must make of it, in a text file that
// reads like a bug report; docs are at [ParseScenario].
//
// Making a namespace needs CAP_SYS_ADMIN and working in it CAP_NET_ADMIN and
// CAP_NET_RAW, all of which any user has in a user namespace of its own where
// the system allows those; [EnterUserNamespace] starts a program in one.
// Linux 4.20 or later (PACKET_IGNORE_OUTGOING, for the peer).
//
// What needs package testing is in the package labtest below.
package lab
