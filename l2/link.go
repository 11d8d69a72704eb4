//go:build linux

package l2

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

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
	// NoSched leaves the stamps at StampSched off, where those at StampDriver are
	// enough: of each frame there is one message less to write and to read.
	NoSched bool
	// QueueBytes bounds the error queue that holds stamps until they are
	// read (SO_RCVBUF of the socket; one stamp takes about 1 kB there). 0 is
	// 1 MiB, and half as much again for a third stamp with Hardware; the kernel
	// caps it at net.core.rmem_max.
	QueueBytes int
	// Mark is the mark that frames bear while they are on this host, for the
	// filters of tc(8) and nft(8) (socket(7), SO_MARK); 0 is none. It needs
	// CAP_NET_ADMIN, or since Linux 5.17 CAP_NET_RAW, which OpenLink needs
	// anyhow. Where it is refused frames bear none: see Link.MarkRefused.
	Mark uint32

	// Bypass hands frames to the driver without the interface's qdisc and all that
	// is beside it: tc's and nft's egress filters do not see them, nor do
	// taps, such as tcpdump's, and they have no stamp at StampSched (packet(7),
	// PACKET_QDISC_BYPASS). A driver whose queue is full refuses a frame with
	// ENOBUFS, and so does an interface without carrier. An interface below, as
	// that of a VLAN or a bond, has its own qdisc still, and IPv4 on lo passes
	// that of lo. OpenLink fails with ENOPROTOOPT where the kernel does not know
	// how (before Linux 3.14).
	Bypass bool

	// setMark is what sets it; nil is setsockopt(2).
	setMark func(fd int, mark uint32) error
	// setBypass is what has the qdisc bypassed; nil is setsockopt(2).
	setBypass func(fd int) error
	// countIDs leaves SCM_TS_OPT_ID alone even where the kernel has it.
	countIDs bool
}

// A Link sends whole frames on one interface and receives nothing but their
// departure stamps. It is not safe for concurrent use, but that one goroutine may
// send while another reads stamps, if CountsIDs is false.
type Link struct {
	out *outlet
	// ip4 is what IPv4 goes by on lo.
	ip4 *outlet

	index  int
	noLink bool
	stamps int // flags of SO_TIMESTAMPING, 0: none

	markRefused error
}

// Capabilities lists what OpenLink needs, in the notation of capabilities(7),
// and with it all that opens packet sockets: capture.OpenSocket and arp.Open. They
// have to be effective in the user namespace that the network namespace belongs
// to.
var Capabilities = []string{"CAP_NET_RAW"}

// OpenLink opens a packet socket that is bound to the interface and to no
// protocol. It needs CAP_NET_RAW, and fails with EPERM without.
//
// On lo IPv4 goes by a raw socket instead: a packet that comes from nowhere with
// an address of the host itself is a martian to the kernel, which drops it
// (net/ipv4/route.c, ip_route_input_slow).
func OpenLink(ifc *Interface, cfg *LinkConfig) (*Link, error) {
	if cfg == nil {
		cfg = &LinkConfig{}
	}
	l := &Link{index: ifc.Index, noLink: ifc.NoLink}
	if err := l.open(ifc, cfg); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Link) open(ifc *Interface, cfg *LinkConfig) error {
	at := &net.Interface{Index: ifc.Index, Name: ifc.Name}
	conn, err := sock.Listen(at, 0, nil)
	if err != nil {
		return err
	}
	l.out = newOutlet(conn)
	if l.noLink {
		l.out.address(ifc.Index)
	}
	if ifc.Loopback {
		if conn, err = sock.ListenRaw(at); err != nil {
			return err
		}
		l.ip4 = newOutlet(conn)
		l.ip4.destine()
	}
	if cfg.Mark != 0 {
		if err := l.mark(cfg); err != nil {
			return fmt.Errorf("mark %#x on %s: %w", cfg.Mark, ifc.Name, err)
		}
	}
	if cfg.Bypass {
		if err := l.bypass(cfg); err != nil {
			return fmt.Errorf("bypass qdisc of %s: %w", ifc.Name, err)
		}
	}
	if cfg.NoStamps {
		return nil
	}
	if err := l.out.askForStamps(cfg, timestamping.Enable); err != nil {
		return fmt.Errorf("stamps on %s: %w", ifc.Name, err)
	}
	l.stamps = l.out.stamping
	counts := cfg.countIDs || !l.out.takesIDs(ifc.MTU)
	for _, o := range []*outlet{l.out, l.ip4} {
		if o == nil {
			continue
		}
		if err := o.stamp(l.stamps, cfg.queueBytes(), counts); err != nil {
			return fmt.Errorf("stamps on %s: %w", ifc.Name, err)
		}
	}
	return nil
}

// mark has the kernel mark what is sent, if it lets us.
func (l *Link) mark(cfg *LinkConfig) error {
	set := cfg.setMark
	if set == nil {
		set = func(fd int, mark uint32) error {
			return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)))
		}
	}
	for _, o := range []*outlet{l.out, l.ip4} {
		if o == nil {
			continue
		}
		switch err := set(o.conn.FD(), cfg.Mark); {
		case errors.Is(err, unix.EPERM):
			l.markRefused = err
		case err != nil:
			return err
		}
	}
	return nil
}

// bypass has the packet socket go past the qdisc; the raw one of lo cannot.
func (l *Link) bypass(cfg *LinkConfig) error {
	set := cfg.setBypass
	if set == nil {
		set = func(fd int) error {
			return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1))
		}
	}
	return set(l.out.conn.FD())
}

// MarkRefused says why frames do not bear the mark that they were to: EPERM. It is
// nil if they do, or none was asked for.
func (l *Link) MarkRefused() error { return l.markRefused }

func (c *LinkConfig) queueBytes() int {
	size := c.QueueBytes
	if size == 0 {
		size = 1 << 20
		if c.Hardware {
			size += size / 2
		}
	}
	return size
}

// ErrOtherLinkLayer says that an interface that was made anew has another link
// layer than the one before: nothing that was made for that will do.
var ErrOtherLinkLayer = errors.New("another link layer than before")

// Rebind binds the link to an interface that was made anew. Stamps go on, with
// their ids: those of frames that the old one had in its queue never come. It
// needs no capability, and fails with ErrOtherLinkLayer, or ENODEV where the
// interface has gone again. The calling thread's network namespace does not
// matter: ifc is one of the link's own.
func (l *Link) Rebind(ifc *Interface) error {
	if ifc.NoLink != l.noLink || ifc.Loopback != (l.ip4 != nil) {
		return fmt.Errorf("bind to %s: %w", ifc.Name, ErrOtherLinkLayer)
	}
	if err := l.out.conn.Rebind(&net.Interface{Index: ifc.Index, Name: ifc.Name}, 0); err != nil {
		return err
	}
	l.index = ifc.Index
	if l.noLink {
		l.out.address(ifc.Index)
	}
	return nil
}

// FD returns the link's descriptor, whose error queue poll(2) reports as
// POLLERR. It stays the link's. On lo it tells nothing of IPv4, whose stamps are
// there when Send returns.
func (l *Link) FD() int { return l.out.conn.FD() }

// CountsIDs tells whether stamps are matched to frames by counting, as before
// Linux 6.13, and not by an id that each frame bears (SCM_TS_OPT_ID).
func (l *Link) CountsIDs() bool { return l.out.counts }

// Hardware tells whether the link asks for the NIC's stamps: it was told to,
// and the kernel knows SOF_TIMESTAMPING_OPT_TX_SWHW (Linux 4.13).
func (l *Link) Hardware() bool { return l.stamps&unix.SOF_TIMESTAMPING_TX_HARDWARE != 0 }

// Send hands one frame to the interface's qdisc and returns without waiting
// for the wire. Its stamps will bear id. It does not allocate.
//
// A frame is what Interface.NoLink says: it starts with its Ethernet header,
// also on lo, or with that of IP. It may be as long as the header with its tags
// and Interface.MaxPacket: the MTU and 14 bytes, and 4 more only if the outer tag
// is one of 802.1Q.
//
// Errors are bare errnos: ENETDOWN for an interface that is down, ENXIO for one
// that is gone, EMSGSIZE for a frame that is too long, EINVAL for one that is no
// frame, ENOBUFS and EAGAIN for a queue that is full.
func (l *Link) Send(frame []byte, id uint32) error {
	o, packet, err := l.aim(frame)
	if err != nil {
		return err
	}
	if err := o.send(packet, id); err != nil {
		return l.tell(o, err)
	}
	return nil
}

// aim returns what a frame leaves by, made ready for it, and what of the frame.
func (l *Link) aim(frame []byte) (*outlet, []byte, error) {
	if len(frame) == 0 {
		return nil, nil, unix.EINVAL
	}
	switch {
	case l.noLink:
		// The kernel would have to guess the protocol, which older ones do not
		// (net/packet/af_packet.c, packet_parse_headers).
		switch frame[0] >> 4 {
		case 4:
			l.out.protocol(unix.ETH_P_IP)
		case 6:
			l.out.protocol(unix.ETH_P_IPV6)
		default:
			return nil, nil, unix.EINVAL
		}
	case l.ip4 != nil && isIPv4(frame):
		packet := frame[etherLen:]
		// The kernel takes all that it is given for the packet: not the padding.
		if n := int(packet[2])<<8 | int(packet[3]); n >= ipv4Len && n < len(packet) {
			packet = packet[:n]
		}
		l.ip4.to(packet[16:20])
		return l.ip4, packet, nil
	}
	return l.out, frame, nil
}

// tell returns an error of an outlet as Send tells it.
func (l *Link) tell(o *outlet, err error) error {
	// A raw socket finds no route by an interface that is down.
	if o == l.ip4 && err == unix.ENETUNREACH {
		return unix.ENETDOWN
	}
	return err
}

const (
	etherLen = 14
	ipv4Len  = 20
)

// isIPv4 tells whether an Ethernet frame carries IPv4, and enough of it.
func isIPv4(frame []byte) bool {
	return len(frame) >= etherLen+ipv4Len && frame[12] == 0x08 && frame[13] == 0x00 && frame[etherLen]>>4 == 4
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
	if l.stamps == 0 {
		return 0, false, nil
	}
	_ = stamps[MinStamps-1]
	if l.ip4 != nil {
		if n, got, err := l.ip4.readStamps(stamps); got > 0 || err != nil {
			return n, true, err // the other socket may have some too
		}
	}
	n, got, err := l.out.readStamps(stamps)
	return n, got == l.out.batch.Len(), err
}

// MinStamps is the room in stamps that ReadStamps needs.
const MinStamps = 32

// Close closes the sockets.
func (l *Link) Close() error {
	var closers []io.Closer
	for _, o := range []*outlet{l.out, l.ip4} {
		if o != nil {
			closers = append(closers, o)
		}
	}
	return sock.CloseAll(closers...)
}
