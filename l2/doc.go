// Package l2 is the way out of a host: an interface, the path that the
// kernel's routing takes over it, and a link that sends whole frames on it and
// tells when they left.
//
// A Routing asks the kernel for interfaces and paths by rtnetlink(7), and a Watch
// tells when the answers may have changed. Neither needs a capability, nor does
// what an Interface tells of its stamps and its coalescing. A Link needs
// CAP_NET_RAW, SetHardwareStamps CAP_NET_ADMIN, and InNamespace CAP_SYS_ADMIN.
//
// All of them belong to the network namespace of the thread that opened them, and
// may be used from any thread afterwards. InNamespace opens them in another one.
//
// Interfaces are those with Ethernet's link layer, the loopback interface among
// them, and those without one (Interface.NoLink), whose frames start at the IP
// header.
package l2
