//go:build linux

package capture

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/timestamping"
	"github.com/l2ping/l2ping/l2"
)

// A message is the room for one frame that is read by recvmsg(2). Unlike those of
// a Socket it comes with its address, which has the packet type.
type message struct {
	header  unix.Msghdr
	vector  unix.Iovec
	address unix.RawSockaddrLinklayer
	control [timestamping.ControlLen]byte
	data    []byte
}

// receiveByMessage sets the socket up for what to do without a ring.
func (r *Ring) receiveByMessage(ifc *l2.Interface, c Config) error {
	fd := r.conn.FD()
	// Past net.core.rmem_max with CAP_NET_ADMIN alone.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, c.BufferBytes); err != nil {
		if err := setOption(fd, "SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, c.BufferBytes); err != nil {
			return err
		}
	}
	if err := setOption(fd, "PACKET_AUXDATA", unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		return err
	}
	m := &message{data: make([]byte, c.SnapLen)}
	m.vector.Base = &m.data[0]
	m.vector.SetLen(len(m.data))
	m.header = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&m.address)), Iov: &m.vector, Control: &m.control[0]}
	m.header.SetIovlen(1)
	r.message = m
	return nil
}

// read reads a frame, if one has come.
func (m *message) read(fd int, f *Frame) (ok bool, err error) {
	m.header.Namelen = unix.SizeofSockaddrLinklayer
	m.header.SetControllen(len(m.control))
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.header)), unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		switch errno {
		case 0:
			control := m.control[:min(int(m.header.Controllen), len(m.control))]
			*f = newFrame(m.data[:min(int(n), len(m.data))], int(n), control)
			f.PacketType = packetType(m.address.Pkttype)
			return true, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return false, nil
		default:
			return false, errno
		}
	}
}
