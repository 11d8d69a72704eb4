// Package capture is the way in: a socket on one interface that delivers only
// the frames that its filter lets through, each with the kernel's arrival stamp
// and VLAN tag.
//
// There are two. A Socket is for who waits for an answer: it has each frame at
// once. A Ring is for captures: it has many, in memory shared with the kernel,
// and yields them as an iterator. Package pcapng writes them to files.
//
// Opening one needs CAP_NET_RAW; an eBPF filter needs CAP_BPF besides. From the
// first moment no frame that does not match reaches user space: the socket
// drops everything until its filter stands.
//
// An arrival stamp is the kernel's one stamp on the frame, shared by all
// sockets on the host (net/core/dev.c, net_timestamp_check). A NIC that stamps
// puts its own beside it, by its own clock.
package capture
