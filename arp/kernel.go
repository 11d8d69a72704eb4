//go:build linux

package arp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/l2/frame"
)

// A kernelTable reads the kernel's neighbor table (rtnetlink(7)) in the network
// namespace of the thread that opened it, from whatever thread. The messages are
// written and read by hand: there are two of them, ten thousand next hops are
// looked up one by one, and none of it may depend on the namespace of the thread
// that happens to run.
type kernelTable struct {
	mu       sync.Mutex // guards what follows
	requests int
	sequence uint32
	buf      []byte

	changes int // the subscription's descriptor, -1 if there is none
}

const (
	nlAlign     = 4
	nlHeaderLen = unix.SizeofNlMsghdr
	ndHeaderLen = unix.SizeofNdMsg
	rtHeaderLen = unix.SizeofRtAttr

	// A message of one entry takes some 150 bytes. The kernel cuts what it
	// gives a subscriber into messages of at most this (NLMSG_GOODSIZE is less).
	kernelBuffer = 8 << 10
	// changesBuffer is the room for changes that wait to be read. The kernel
	// caps it at net.core.rmem_max, and says ENOBUFS when it was too little.
	changesBuffer = 1 << 20
)

// openKernelTable opens the table for requests, and to follow its changes if
// subscribe is set. It needs no capability.
func openKernelTable(subscribe bool) (*kernelTable, error) {
	k := &kernelTable{changes: -1, buf: make([]byte, kernelBuffer)}
	var err error
	if k.requests, err = openNetlink(0); err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	// The kernel has answered when sendto returns; this is in case it has not.
	err = unix.SetsockoptTimeval(k.requests, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	if err == nil && subscribe {
		k.changes, err = openNetlink(unix.RTMGRP_NEIGH)
	}
	if err == nil && subscribe {
		err = unix.SetsockoptInt(k.changes, unix.SOL_SOCKET, unix.SO_RCVBUF, changesBuffer)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open netlink: %w", err), k.Close())
	}
	return k, nil
}

// openNetlink opens a socket that is in the given multicast groups.
func openNetlink(groups uint32) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return -1, errors.Join(os.NewSyscallError("bind", err), unix.Close(fd))
	}
	return fd, nil
}

// lookup gets one entry without dumping the table (Linux 5.0,
// net/core/neighbour.c, neigh_get). It returns the zero entry where there is
// none. addr has no zone.
func (k *kernelTable) lookup(index int, addr netip.Addr) (entry, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sequence++
	request := appendLookup(k.buf[:0], k.sequence, index, addr)
	if err := unix.Sendto(k.requests, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return entry{}, err
	}
	for {
		n, from, err := unix.Recvfrom(k.requests, k.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return entry{}, err
		}
		if !fromKernel(from) {
			continue
		}
		for m, rest := nextMessage(k.buf[:n]); m.data != nil; m, rest = nextMessage(rest) {
			if m.sequence != k.sequence {
				continue // the answer to a request that was given up
			}
			switch m.kind {
			case unix.RTM_NEWNEIGH:
				_, _, e, _ := parseNeighbor(m.data)
				return e, nil
			case unix.NLMSG_ERROR:
				err := parseError(m.data)
				// A kernel without IPv6 has no entry either.
				if err == nil || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT) {
					return entry{}, nil
				}
				return entry{}, err
			}
		}
	}
}

// next reads changes that have come, without waiting, and calls f for each entry
// that has changed. more is true if there may be others. lost says that the
// kernel had more changes than the socket held: any entry may have changed.
func (k *kernelTable) next(buf []byte, f func(index int, addr netip.Addr)) (more, lost bool) {
	n, from, err := unix.Recvfrom(k.changes, buf, unix.MSG_DONTWAIT)
	switch {
	case errors.Is(err, unix.EINTR):
		return true, false
	case errors.Is(err, unix.ENOBUFS):
		return true, true
	case err != nil:
		return false, false
	case !fromKernel(from):
		return true, false
	}
	for m, rest := nextMessage(buf[:n]); m.data != nil; m, rest = nextMessage(rest) {
		if m.kind != unix.RTM_NEWNEIGH && m.kind != unix.RTM_DELNEIGH {
			continue
		}
		if index, addr, _, ok := parseNeighbor(m.data); ok {
			f(index, addr)
		}
	}
	return true, false
}

func (k *kernelTable) Close() error {
	var errs []error
	for _, fd := range []*int{&k.requests, &k.changes} {
		if *fd >= 0 {
			errs = append(errs, os.NewSyscallError("close", unix.Close(*fd)))
			*fd = -1
		}
	}
	return errors.Join(errs...)
}

// fromKernel tells whether a message came from the kernel, and not from a process
// that may send to any socket (netlink(7)).
func fromKernel(from unix.Sockaddr) bool {
	a, ok := from.(*unix.SockaddrNetlink)
	return ok && a.Pid == 0
}

// appendLookup appends a request for one entry: a netlink header, a struct
// ndmsg, and the address.
func appendLookup(b []byte, sequence uint32, index int, addr netip.Addr) []byte {
	family := uint8(unix.AF_INET)
	if addr.Is6() {
		family = unix.AF_INET6
	}
	alen := addr.BitLen() / 8
	e := binary.NativeEndian
	b = e.AppendUint32(b, uint32(nlHeaderLen+ndHeaderLen+rtHeaderLen+alen))
	b = e.AppendUint16(b, unix.RTM_GETNEIGH)
	b = e.AppendUint16(b, unix.NLM_F_REQUEST)
	b = e.AppendUint32(b, sequence)
	b = e.AppendUint32(b, 0)       // from: the kernel fills it in
	b = append(b, family, 0, 0, 0) // and padding
	b = e.AppendUint32(b, uint32(index))
	b = append(b, 0, 0, 0, 0) // state, flags, type: neigh_get wants none
	b = e.AppendUint16(b, uint16(rtHeaderLen+alen))
	b = e.AppendUint16(b, unix.NDA_DST)
	if addr.Is6() {
		a := addr.As16()
		return append(b, a[:]...)
	}
	a := addr.As4()
	return append(b, a[:]...)
}

// A message is one netlink message (netlink(7)); without data it is none.
type message struct {
	kind     uint16
	sequence uint32
	data     []byte
}

// nextMessage takes the first message off b. What is malformed ends b.
func nextMessage(b []byte) (m message, rest []byte) {
	if len(b) < nlHeaderLen {
		return message{}, nil
	}
	length := binary.NativeEndian.Uint32(b)
	if length < nlHeaderLen || uint64(length) > uint64(len(b)) {
		return message{}, nil
	}
	m.kind = binary.NativeEndian.Uint16(b[4:])
	m.sequence = binary.NativeEndian.Uint32(b[8:])
	m.data = b[nlHeaderLen:length:length]
	return m, b[min(len(b), aligned(int(length))):]
}

func aligned(n int) int { return (n + nlAlign - 1) &^ (nlAlign - 1) }

// parseError reads the errno of an NLMSG_ERROR; nil is an acknowledgment.
func parseError(b []byte) error {
	if len(b) < 4 {
		return unix.EBADMSG
	}
	errno := -int32(binary.NativeEndian.Uint32(b))
	if errno == 0 {
		return nil
	}
	return unix.Errno(errno)
}

// parseNeighbor reads a struct ndmsg and its attributes. ok is false for what is
// no entry of IPv4 or IPv6, as those of bridges (AF_BRIDGE) are not.
func parseNeighbor(b []byte) (index int, addr netip.Addr, e entry, ok bool) {
	if len(b) < ndHeaderLen {
		return 0, netip.Addr{}, entry{}, false
	}
	family := b[0]
	index = int(int32(binary.NativeEndian.Uint32(b[4:])))
	e.state = State(binary.NativeEndian.Uint16(b[8:]))
	for b = b[ndHeaderLen:]; len(b) >= rtHeaderLen; {
		length := int(binary.NativeEndian.Uint16(b))
		if length < rtHeaderLen || length > len(b) {
			break
		}
		value := b[rtHeaderLen:length]
		switch kind := binary.NativeEndian.Uint16(b[2:]); {
		case kind == unix.NDA_DST && family == unix.AF_INET && len(value) == 4,
			kind == unix.NDA_DST && family == unix.AF_INET6 && len(value) == 16:
			addr, ok = netip.AddrFromSlice(value)
		case kind == unix.NDA_LLADDR && len(value) == len(e.mac):
			e.mac = frame.MAC(value)
		}
		b = b[min(len(b), aligned(length)):]
	}
	if !ok {
		return 0, netip.Addr{}, entry{}, false
	}
	return index, addr, e, true
}
