//go:build linux

package sock

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// An OutBatch is a set of headers for sendmmsg(2). Nothing is allocated after
// NewOutBatch.
type OutBatch struct {
	hdrs    []mmsghdr
	iovs    []unix.Iovec
	names   []byte
	control []byte
	nameLen int
	ctrlLen int
	used    int // messages that were added
}

// NewOutBatch makes room for n messages, of which sendmmsg takes up to 1024 at
// once. Each has an address of nameLen bytes, 0 for none, and control messages
// of its own, which start as a copy of control; nil is none.
func NewOutBatch(n, nameLen int, control []byte) *OutBatch {
	b := &OutBatch{
		hdrs:    make([]mmsghdr, n),
		iovs:    make([]unix.Iovec, n),
		names:   make([]byte, n*nameLen),
		control: make([]byte, 0, n*len(control)),
		nameLen: nameLen,
		ctrlLen: len(control),
	}
	for i := range b.hdrs {
		h := &b.hdrs[i].hdr
		h.Iov = &b.iovs[i]
		h.SetIovlen(1)
		if nameLen > 0 {
			h.Name = &b.names[i*nameLen]
			h.Namelen = uint32(nameLen)
		}
		if len(control) > 0 {
			b.control = append(b.control, control...)
			h.Control = &b.control[i*len(control)]
			h.SetControllen(len(control))
		}
	}
	return b
}

// Full tells whether there is no room for another message.
func (b *OutBatch) Full() bool { return b.used == len(b.hdrs) }

// Add puts a message behind those that are there, and returns its control
// messages to be filled in. The data stay the caller's and must not change
// before Send; the address is copied.
func (b *OutBatch) Add(data, name []byte) (control []byte) {
	i := b.used
	b.used++
	b.iovs[i].Base = unsafe.SliceData(data)
	b.iovs[i].SetLen(len(data))
	if b.nameLen > 0 {
		copy(b.names[i*b.nameLen:][:b.nameLen], name)
	}
	return b.control[i*b.ctrlLen:][:b.ctrlLen]
}

// Send sends the messages in their order, without blocking, and returns how many.
// If those are not all, the error is that of the first that was not, a bare
// errno. The batch is empty then.
//
// The kernel tells no error beside a number (net/socket.c, __sys_sendmmsg), so a
// message at which it stopped is tried once more, alone or ahead of the others.
func (b *OutBatch) Send(fd int) (sent int, err error) {
	for sent < b.used {
		// Not raw, for a whole batch may take long: the runtime must be able to
		// stop the world meanwhile.
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.hdrs[sent])),
			uintptr(b.used-sent), unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			err = errno
			break
		}
		sent += int(n)
	}
	for i := range b.used {
		b.iovs[i].Base = nil // the caller's
	}
	b.used = 0
	return sent, err
}
