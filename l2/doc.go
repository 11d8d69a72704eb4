// Package l2 is the way out of a host: an interface, the path that the
// kernel's routing takes over it, and a link that sends whole frames on it and
// tells when they left.
//
// Interface and Path are asked of the kernel by rtnetlink, which needs no
// capability, nor does an Interface's StampAbility or Coalescing. A Link needs
// CAP_NET_RAW, and SetHardwareStamps CAP_NET_ADMIN. All of them belong to the
// network namespace of the thread that opened them; a caller that works in
// another namespace locks its goroutine to a thread there
// (runtime.LockOSThread, setns(2)) while it opens, and may use them from any
// thread afterwards.
package l2
