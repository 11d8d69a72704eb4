//go:build linux

package l2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/sock"
	"github.com/l2ping/l2ping/internal/timestamping"
)

// An outlet is a socket that a Link sends by, with the stamps of what it sent.
type outlet struct {
	conn  *sock.Conn
	batch *sock.Batch    // nil without stamps
	out   *sock.OutBatch // nil before the first batch

	msg     unix.Msghdr
	iov     unix.Iovec
	control []byte
	// packet and ip are addresses to send to, of which one is used at most.
	packet *unix.RawSockaddrLinklayer
	ip     *unix.RawSockaddrInet4
	pin    runtime.Pinner

	stamping int // flags of SO_TIMESTAMPING

	// Without SCM_TS_OPT_ID the kernel counts the frames itself, and counted
	// tells which id the frame of a count had.
	counts  bool
	count   uint32
	counted []countedID
	// unsure is the count below which a hardware stamp may be of a frame
	// from before the count started anew.
	unsure uint32
}

type countedID struct {
	count, id uint32
	sent      int64 // the time before the frame was sent; 0 is no frame
}

func newOutlet(conn *sock.Conn) *outlet {
	o := &outlet{conn: conn, control: make([]byte, unix.CmsgSpace(4))}
	// The headers of sendmsg point at each other for the life of the outlet.
	o.pin.Pin(&o.control[0])
	o.msg.Iov = &o.iov
	o.msg.SetIovlen(1)
	return o
}

// address has each frame bear its protocol, and so the interface too (packet(7),
// struct sockaddr_ll).
func (o *outlet) address(index int) {
	if o.packet == nil {
		o.packet = &unix.RawSockaddrLinklayer{Family: unix.AF_PACKET}
		o.pin.Pin(o.packet)
		o.msg.Name = (*byte)(unsafe.Pointer(o.packet))
		o.msg.Namelen = unix.SizeofSockaddrLinklayer
	}
	o.packet.Ifindex = int32(index)
}

// protocol sets that of the next frame.
func (o *outlet) protocol(p uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&o.packet.Protocol))[:], p)
}

// destine has each packet bear its destination (raw(7)).
func (o *outlet) destine() {
	o.ip = &unix.RawSockaddrInet4{Family: unix.AF_INET}
	o.pin.Pin(o.ip)
	o.msg.Name = (*byte)(unsafe.Pointer(o.ip))
	o.msg.Namelen = unix.SizeofSockaddrInet4
}

// to sets that of the next packet.
func (o *outlet) to(dst []byte) { copy(o.ip.Addr[:], dst) }

// stamp asks for stamps, by those flags, and makes ready to read them.
func (o *outlet) stamp(flags, queueBytes int, counts bool) error {
	fd := o.conn.FD()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, queueBytes); err != nil {
		return fmt.Errorf("set SO_RCVBUF: %w", os.NewSyscallError("setsockopt", err))
	}
	if err := timestamping.Enable(fd, flags); err != nil {
		return err
	}
	o.stamping = flags
	o.batch = sock.NewBatch(MinStamps, 0, timestamping.ControlLen)
	o.counts = counts
	if counts {
		o.counted = make([]countedID, 1<<16)
		return nil
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&o.control[0]))
	h.Level = unix.SOL_SOCKET
	h.Type = unix.SCM_TS_OPT_ID
	h.SetLen(unix.CmsgLen(4))
	o.msg.Control = &o.control[0]
	o.msg.SetControllen(len(o.control))
	return nil
}

// askForStamps asks for the NIC's stamps where those are wanted and the kernel
// knows how, else for those in software alone.
func (o *outlet) askForStamps(cfg *LinkConfig, enable func(fd, flags int) error) error {
	not := 0
	if cfg.NoSched {
		not = unix.SOF_TIMESTAMPING_TX_SCHED
	}
	if cfg.Hardware {
		o.stamping = timestamping.HardwareTransmit &^ not
		if err := enable(o.conn.FD(), o.stamping); !errors.Is(err, unix.EINVAL) {
			return err
		}
	}
	o.stamping = timestamping.Transmit &^ not
	return enable(o.conn.FD(), o.stamping)
}

// takesIDs probes a packet socket for SCM_TS_OPT_ID (Linux 6.13) without sending
// anything: packet_snd reads the control messages before it looks at the length,
// so a frame that is too long is refused with EMSGSIZE where the kernel knows the
// control message, and with EINVAL where it does not. Raw sockets came to know
// it with the same kernel.
func (o *outlet) takesIDs(mtu int) bool {
	control := make([]byte, unix.CmsgSpace(4))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	h.Level = unix.SOL_SOCKET
	h.Type = unix.SCM_TS_OPT_ID
	h.SetLen(unix.CmsgLen(4))
	tooLong := make([]byte, mtu+256)
	_, err := unix.SendmsgN(o.conn.FD(), tooLong, control, nil, unix.MSG_DONTWAIT)
	return errors.Is(err, unix.EMSGSIZE)
}

// send sends one frame. It neither blocks nor allocates.
func (o *outlet) send(frame []byte, id uint32) error {
	o.iov.Base = &frame[0]
	o.iov.SetLen(len(frame))
	if o.msg.Control != nil {
		*(*uint32)(unsafe.Pointer(&o.control[unix.CmsgLen(0)])) = id
	}
	var sent int64
	if o.counts {
		sent = time.Now().UnixNano()
	}
	var errno unix.Errno
	for {
		// Raw, for it does not block: the runtime need not make ready to give
		// the processor away.
		_, _, errno = unix.RawSyscall(unix.SYS_SENDMSG, uintptr(o.conn.FD()),
			uintptr(unsafe.Pointer(&o.msg)), unix.MSG_DONTWAIT)
		if errno != unix.EINTR {
			break
		}
	}
	runtime.KeepAlive(frame)
	o.iov.Base = nil
	if o.counts {
		o.countID(errno, id, sent)
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// countID follows the kernel's count. Where in packet_snd (net/packet/af_packet.c)
// or raw_send_hdrinc (net/ipv4/raw.c) an error arises decides whether the frame
// was counted.
func (o *outlet) countID(errno unix.Errno, id uint32, sent int64) {
	switch errno {
	case 0, unix.ENOBUFS: // counted; ENOBUFS comes from the qdisc
		o.counted[o.count%uint32(len(o.counted))] = countedID{o.count, id, sent}
		if o.count++; o.count == 0 {
			o.unsure = 0 // all counts have been given since
		}
	case unix.ENETDOWN, unix.ENXIO, unix.EAGAIN: // checked before the count
	default:
		// Not known: start both counts anew, or every later stamp would
		// silently belong to the wrong frame. EMSGSIZE is among these: a frame
		// that is too long by no more than a VLAN tag is refused after the count.
		_ = timestamping.Enable(o.conn.FD(), 0)
		_ = timestamping.Enable(o.conn.FD(), o.stamping)
		clear(o.counted)
		o.unsure = max(o.unsure, o.count)
		o.count = 0
	}
}

// readStamps reads stamps, and returns how many there are, of how many messages.
func (o *outlet) readStamps(stamps []Stamp) (n, got int, err error) {
	got, err = o.batch.Recv(o.conn.FD(), unix.MSG_ERRQUEUE)
	if err != nil {
		return 0, 0, err
	}
	for i := range got {
		_, _, control, _ := o.batch.Message(i)
		if s, ok := o.read(control); ok {
			stamps[n] = s
			n++
		}
	}
	return n, got, nil
}

func (o *outlet) read(control []byte) (Stamp, bool) {
	var d timestamping.Departure
	if !timestamping.ParseDeparture(control, &d) {
		return Stamp{}, false
	}
	s := Stamp{ID: d.ID, Time: d.Software}
	switch {
	case d.Point == timestamping.Sched && d.Software != 0:
		s.Point = StampSched
	case d.Point == timestamping.Driver && d.Software != 0:
		s.Point = StampDriver
	case d.Point == timestamping.Driver:
		s.Point, s.Time = StampHardware, d.Hardware
	default:
		return Stamp{}, false
	}
	if o.counts {
		c := o.counted[d.ID%uint32(len(o.counted))]
		if c.sent == 0 || c.count != d.ID || o.outdated(&s, c.sent) {
			return Stamp{}, false
		}
		s.ID = c.id
	}
	return s, true
}

// outdated tells whether a stamp may be of a former count, whose stamps the
// queue and the NIC may still hold after a new start. By the kernel's clock
// those are older than the frame that has the count now; the NIC's clock tells
// nothing, and only counts that there were not before are sure.
func (o *outlet) outdated(s *Stamp, sent int64) bool {
	if s.Point == StampHardware {
		return s.ID < o.unsure
	}
	return s.Time < sent
}

// Close closes the socket.
func (o *outlet) Close() error {
	o.pin.Unpin()
	return o.conn.Close()
}
