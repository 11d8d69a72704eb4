//go:build linux

package l2

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/sock"
	"github.com/l2ping/l2ping/internal/timestamping"
)

// A StampPoint is where on its way a frame was stamped. Greater points are
// nearer to the wire.
type StampPoint uint8

// The points, from the program to the wire. The zero value is "not stamped".
const (
	StampNone     StampPoint = iota
	StampUser                // in user space, beside the system call
	StampSched               // by the kernel, before the qdisc (SOF_TIMESTAMPING_TX_SCHED)
	StampDriver              // by the kernel, at the driver (SOF_TIMESTAMPING_*_SOFTWARE)
	StampHardware            // by the NIC (SOF_TIMESTAMPING_*_HARDWARE)
)

// String returns the point's name in text and JSON.
func (p StampPoint) String() string {
	switch p {
	case StampUser:
		return "user"
	case StampSched:
		return "sched"
	case StampDriver:
		return "driver"
	case StampHardware:
		return "hardware"
	}
	return "none"
}

// A Stamp is the departure stamp of one frame.
type Stamp struct {
	// ID is the id that Send was given.
	ID    uint32
	Point StampPoint
	// Time is in nanoseconds: since the Unix epoch (CLOCK_REALTIME), but at
	// StampHardware by the NIC's own clock, whose epoch nobody knows (often
	// that of TAI). A hardware stamp may be subtracted from another of the same
	// NIC and from nothing else.
	Time int64
}

// LinkConfig configures OpenLink. The zero value is a link with departure
// stamps.
type LinkConfig struct {
	// NoStamps leaves departure stamps off.
	NoStamps bool
	// Hardware asks for the NIC's stamps too. It changes nothing on the NIC:
	// StampAbility.HardwareNow says whether that stamps.
	Hardware bool
	// QueueBytes bounds the error queue that holds stamps until they are
	// read (SO_RCVBUF of the socket; one stamp takes about 1 kB there). 0 is
	// 1 MiB, and half as much again for a third stamp with Hardware; the kernel
	// caps it at net.core.rmem_max.
	QueueBytes int

	// countIDs leaves SCM_TS_OPT_ID alone even where the kernel has it.
	countIDs bool
}

// A Link sends whole frames on one interface and receives nothing but their
// departure stamps. It is not safe for concurrent use.
type Link struct {
	conn  *sock.Conn
	batch *sock.Batch

	msg     unix.Msghdr
	iov     unix.Iovec
	control []byte
	pin     runtime.Pinner

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

// Capabilities lists what OpenLink needs, in the notation of capabilities(7),
// and with it all that opens packet sockets: capture.Open and arp.Open. They
// have to be effective in the user namespace that the network namespace belongs
// to.
var Capabilities = []string{"CAP_NET_RAW"}

// OpenLink opens a packet socket that is bound to the interface and to no
// protocol. It needs CAP_NET_RAW, and fails with EPERM without.
func OpenLink(ifc *Interface, cfg *LinkConfig) (*Link, error) {
	if cfg == nil {
		cfg = &LinkConfig{}
	}
	conn, err := sock.Listen(&net.Interface{Index: ifc.Index, Name: ifc.Name}, 0, nil)
	if err != nil {
		return nil, err
	}
	l := &Link{conn: conn, control: make([]byte, unix.CmsgSpace(4))}
	if err := l.setUp(ifc, cfg); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Link) setUp(ifc *Interface, cfg *LinkConfig) error {
	// The headers of sendmsg point at each other for the life of the link.
	l.pin.Pin(&l.control[0])
	l.msg.Iov = &l.iov
	l.msg.SetIovlen(1)
	if cfg.NoStamps {
		return nil
	}
	size := cfg.QueueBytes
	if size == 0 {
		size = 1 << 20
		if cfg.Hardware {
			size += size / 2
		}
	}
	fd := l.conn.FD()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size); err != nil {
		return fmt.Errorf("set SO_RCVBUF on %s: %w", ifc.Name, err)
	}
	if err := l.askForStamps(cfg.Hardware, timestamping.Enable); err != nil {
		return fmt.Errorf("stamps on %s: %w", ifc.Name, err)
	}
	l.batch = sock.NewBatch(MinStamps, 0, timestamping.ControlLen)

	l.counts = cfg.countIDs || !l.takesIDs(ifc)
	if l.counts {
		l.counted = make([]countedID, 1<<16)
		return nil
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&l.control[0]))
	h.Level = unix.SOL_SOCKET
	h.Type = unix.SCM_TS_OPT_ID
	h.SetLen(unix.CmsgLen(4))
	l.msg.Control = &l.control[0]
	l.msg.SetControllen(len(l.control))
	return nil
}

// askForStamps asks for the NIC's stamps where those are wanted and the kernel
// knows how, else for those in software alone.
func (l *Link) askForStamps(hardware bool, enable func(fd, flags int) error) error {
	if hardware {
		l.stamping = timestamping.HardwareTransmit
		if err := enable(l.conn.FD(), l.stamping); !errors.Is(err, unix.EINVAL) {
			return err
		}
	}
	l.stamping = timestamping.Transmit
	return enable(l.conn.FD(), l.stamping)
}

// takesIDs probes for SCM_TS_OPT_ID (Linux 6.13) without sending anything:
// packet_snd reads the control messages before it looks at the length, so a
// frame that is too long is refused with EMSGSIZE where the kernel knows the
// control message, and with EINVAL where it does not.
func (l *Link) takesIDs(ifc *Interface) bool {
	control := make([]byte, unix.CmsgSpace(4))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	h.Level = unix.SOL_SOCKET
	h.Type = unix.SCM_TS_OPT_ID
	h.SetLen(unix.CmsgLen(4))
	tooLong := make([]byte, ifc.MTU+256)
	_, err := unix.SendmsgN(l.conn.FD(), tooLong, control, nil, unix.MSG_DONTWAIT)
	return errors.Is(err, unix.EMSGSIZE)
}

// FD returns the link's descriptor, whose error queue poll(2) reports as
// POLLERR. It stays the link's.
func (l *Link) FD() int { return l.conn.FD() }

// CountsIDs tells whether stamps are matched to frames by counting, as before
// Linux 6.13, and not by an id that each frame bears (SCM_TS_OPT_ID).
func (l *Link) CountsIDs() bool { return l.counts }

// Hardware tells whether the link asks for the NIC's stamps: it was told to,
// and the kernel knows SOF_TIMESTAMPING_OPT_TX_SWHW (Linux 4.13).
func (l *Link) Hardware() bool { return l.stamping == timestamping.HardwareTransmit }

// Send hands one frame to the interface's qdisc and returns without waiting
// for the wire. Its stamps will bear id. Errors are bare errnos: ENETDOWN for
// an interface that is down, ENXIO for one that is gone, EMSGSIZE for a frame
// over the MTU, ENOBUFS and EAGAIN for a queue that is full. It does not
// allocate.
func (l *Link) Send(frame []byte, id uint32) error {
	if len(frame) == 0 {
		return unix.EINVAL
	}
	l.iov.Base = &frame[0]
	l.iov.SetLen(len(frame))
	if l.msg.Control != nil {
		*(*uint32)(unsafe.Pointer(&l.control[unix.CmsgLen(0)])) = id
	}
	var sent int64
	if l.counts {
		sent = time.Now().UnixNano()
	}
	var errno unix.Errno
	for {
		// Raw, for it does not block: the runtime need not make ready to give
		// the processor away.
		_, _, errno = unix.RawSyscall(unix.SYS_SENDMSG, uintptr(l.conn.FD()),
			uintptr(unsafe.Pointer(&l.msg)), unix.MSG_DONTWAIT)
		if errno != unix.EINTR {
			break
		}
	}
	runtime.KeepAlive(frame)
	l.iov.Base = nil
	if l.counts {
		l.countID(errno, id, sent)
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// countID follows the kernel's count. Where in packet_snd (net/packet/af_packet.c)
// an error arises decides whether the frame was counted.
func (l *Link) countID(errno unix.Errno, id uint32, sent int64) {
	switch errno {
	case 0, unix.ENOBUFS: // counted; ENOBUFS comes from the qdisc
		l.counted[l.count%uint32(len(l.counted))] = countedID{l.count, id, sent}
		if l.count++; l.count == 0 {
			l.unsure = 0 // all counts have been given since
		}
	case unix.ENETDOWN, unix.ENXIO, unix.EAGAIN: // checked before the count
	default:
		// Not known: start both counts anew, or every later stamp would
		// silently belong to the wrong frame. EMSGSIZE is among these: a frame
		// that is too long by no more than a VLAN tag is refused after the count.
		_ = timestamping.Enable(l.conn.FD(), 0)
		_ = timestamping.Enable(l.conn.FD(), l.stamping)
		clear(l.counted)
		l.unsure = max(l.unsure, l.count)
		l.count = 0
	}
}

// ReadStamps reads departure stamps that have come, without waiting, and
// returns how many. It needs room for MinStamps, and tells by more whether there
// may be others. A frame has up to two stamps, at StampSched and StampDriver, in
// any order; some drivers give none, and an interface above another gives one at
// StampSched for each. With LinkConfig.Hardware it has up to three, of which that
// at StampHardware comes after the frame has left, and after the stamps of frames
// behind it: many NICs stamp one frame at a time and leave out those that follow
// closely. It does not allocate.
func (l *Link) ReadStamps(stamps []Stamp) (n int, more bool, err error) {
	if l.batch == nil {
		return 0, false, nil
	}
	_ = stamps[MinStamps-1]
	got, err := l.batch.Recv(l.conn.FD(), unix.MSG_ERRQUEUE)
	if err != nil {
		return 0, false, err
	}
	for i := range got {
		_, _, control, _ := l.batch.Message(i)
		if s, ok := l.stamp(control); ok {
			stamps[n] = s
			n++
		}
	}
	return n, got == l.batch.Len(), nil
}

// MinStamps is the room in stamps that ReadStamps needs.
const MinStamps = 32

func (l *Link) stamp(control []byte) (Stamp, bool) {
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
	if l.counts {
		c := l.counted[d.ID%uint32(len(l.counted))]
		if c.sent == 0 || c.count != d.ID || l.outdated(&s, c.sent) {
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
func (l *Link) outdated(s *Stamp, sent int64) bool {
	if s.Point == StampHardware {
		return s.ID < l.unsure
	}
	return s.Time < sent
}

// Close closes the socket.
func (l *Link) Close() error {
	l.pin.Unpin()
	return l.conn.Close()
}
