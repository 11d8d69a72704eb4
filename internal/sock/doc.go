// Package sock holds packet sockets by their descriptors, and waits for them.
//
// A socket that mdlayher/packet has opened and bound is in the Go runtime's poller,
// which wakes for each frame on each socket by itself. Here it is taken over by its
// descriptor, put into one epoll instance with all else that a goroutine waits for
// (Loop), and read in batches (Batch).
package sock
