//go:build linux

package sock

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2), which x/sys/unix lacks. The
// compiler pads it as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// A Batch is a set of buffers for recvmmsg(2). Nothing is allocated after
// NewBatch.
type Batch struct {
	hdrs    []mmsghdr
	iovs    []unix.Iovec
	data    []byte
	control []byte
	dataLen int
	ctrlLen int
	used    int // headers that the kernel has written to
}

// NewBatch makes room for n messages with dataLen bytes of data and ctrlLen
// bytes of control messages each.
func NewBatch(n, dataLen, ctrlLen int) *Batch {
	b := &Batch{
		hdrs:    make([]mmsghdr, n),
		iovs:    make([]unix.Iovec, n),
		data:    make([]byte, n*dataLen),
		control: make([]byte, n*ctrlLen),
		dataLen: dataLen,
		ctrlLen: ctrlLen,
	}
	for i := range b.hdrs {
		if dataLen > 0 {
			b.iovs[i].Base = &b.data[i*dataLen]
			b.iovs[i].SetLen(dataLen)
			b.hdrs[i].hdr.Iov = &b.iovs[i]
			b.hdrs[i].hdr.SetIovlen(1)
		}
		b.hdrs[i].hdr.Control = &b.control[i*ctrlLen]
		b.hdrs[i].hdr.SetControllen(ctrlLen)
	}
	return b
}

// Recv receives up to a batch of messages without blocking and returns how
// many there were. With nothing to receive that is 0 and no error. Other errors
// are bare errnos; with flags of 0 a pending socket error, like ENETDOWN, is
// returned once and cleared.
func (b *Batch) Recv(fd, flags int) (int, error) {
	// Only those: at a probe now and then each cache line counts.
	for i := range b.used {
		b.hdrs[i].hdr.SetControllen(b.ctrlLen)
	}
	b.used = 0
	for {
		// Raw, for it does not block: the runtime need not make ready to give
		// the processor away.
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.hdrs[0])),
			uintptr(len(b.hdrs)), uintptr(flags|unix.MSG_DONTWAIT), 0, 0)
		switch errno {
		case 0:
			b.used = int(n)
			return int(n), nil
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return 0, nil
		default:
			return 0, errno
		}
	}
}

// Len returns how many messages fit.
func (b *Batch) Len() int { return len(b.hdrs) }

// Message returns what the last Recv left in slot i: the data as far as there
// was room, their full length where MSG_TRUNC was among the flags of Recv, the
// control messages, and whether any of those were cut. The slices are valid
// until the next Recv.
func (b *Batch) Message(i int) (data []byte, length int, control []byte, cut bool) {
	h := &b.hdrs[i]
	length = int(h.len)
	data = b.data[i*b.dataLen:][:min(length, b.dataLen)]
	control = b.control[i*b.ctrlLen:][:min(int(h.hdr.Controllen), b.ctrlLen)]
	return data, length, control, h.hdr.Flags&unix.MSG_CTRUNC != 0
}
