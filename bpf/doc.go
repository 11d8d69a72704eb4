// Package bpf picks replies out of the frames of an interface, in the kernel.
//
// A Match says what a reply looks like: an echo reply or an ICMP error of IPv4 or
// IPv6, or who has an address by ARP or neighbor discovery; behind VLAN tags, or
// without a link layer. It has three compilations, which agree frame by frame:
// Match.Accepts in Go, Match.Classic as a classic BPF program, and, through
// NewFilter, an eBPF program. A Filter is one of the latter two, ready to be
// attached to a packet socket: frames that do not match never reach user space.
//
// An Expected is a filter for many requests at once. AppendRequestKeys tells under
// which Keys their answers are to be found, AppendAnswerKeys under which a frame
// is to be looked up, and Answers whether the two are a pair. Its eBPF program has
// the Keys in a table that user space writes without system calls; its classic twin
// lets more pass, which is for Answers to tell.
//
// # Kernel and capabilities
//
// The eBPF program needs Linux 5.5 and CAP_BPF (CAP_SYS_ADMIN before Linux 5.8),
// the classic one Linux 3.8 and no capability. A Filter in mode Auto takes eBPF
// where it may, else the classic twin; Filter.Mode says which is live, and
// Filter.Fallback why. What the eBPF program does beyond its twin is to count the
// frames that claim to be replies and are not (Match.Claims, Filter.Rejected).
// The socket itself needs CAP_NET_RAW, but that is the caller's: this package
// opens none. Before Linux 5.11 a loaded program also counts against
// RLIMIT_MEMLOCK, with a few pages, and so does the table of an Expected
// (ExpectConfig.MaxKeys).
//
// Match and its methods work on any system, and so do Keys and Answers; the rest
// does on Linux only.
//
// # Lifetime
//
// A Filter or Expected in mode EBPF holds the descriptors of its program, and of
// what belongs to it, until Close; an Expected also holds memory. A socket holds
// its filter by itself: it goes on filtering after Close, until the socket is
// closed or gets another filter.
//
// To receive not one frame that does not match, open the socket with DropAll as
// its filter, bind it, set its options, then Filter.Attach.
package bpf

// Generating needs clang 14 and the headers of Linux 6.1 and of libbpf 1.1, as
// Debian 12 has them (clang-14, llvm-14, libbpf-dev); the objects hold the types
// that these headers define. The headers of <asm/types.h> lie in a directory
// named for this machine, not for the target.
//
// With -mcpu=v2 all registers are of 64 bits, and the stack slots that they are
// saved in are only ever written whole. Without CAP_PERFMON, Debian's Linux 6.1
// among others refuses to have a part of such a slot written to, even by a
// register of 32 bits that was saved there before (check_stack_write_fixed_off in
// kernel/bpf/verifier.c: "attempt to corrupt spilled pointer on stack").
//
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel,bpfeb -tags linux match match.bpf.c -- -O2 -g -mcpu=v2 -Wall -Wextra -Werror -idirafter/usr/include/x86_64-linux-gnu -idirafter/usr/include/aarch64-linux-gnu
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel,bpfeb -tags linux expect expect.bpf.c -- -O2 -g -mcpu=v2 -Wall -Wextra -Werror -idirafter/usr/include/x86_64-linux-gnu -idirafter/usr/include/aarch64-linux-gnu
