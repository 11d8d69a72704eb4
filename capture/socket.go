//go:build linux

package capture

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/internal/sock"
	"github.com/l2ping/l2ping/internal/timestamping"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// A Filter decides in the kernel which frames a socket is given: a bpf.Filter, or a
// bpf.Expected.
type Filter interface {
	// Attach puts it in the place of the socket's filter, at once.
	Attach(syscall.Conn) error
}

// SocketConfig configures OpenSocket.
type SocketConfig struct {
	// Filter decides what is delivered. Required. It stays the caller's, and
	// must not be closed before the socket.
	Filter Filter
	// Hardware asks for the NIC's stamps too. It changes nothing on the NIC:
	// l2.StampAbility.HardwareNow says whether that stamps.
	Hardware bool
	// BufferBytes bounds the frames that wait in the kernel to be read
	// (SO_RCVBUF). 0 is 1 MiB; the kernel caps it at net.core.rmem_max.
	BufferBytes int
	// FrameBytes is how much of a frame there is room for, at least: what is longer
	// is cut. 0 is as much as the interface's MTU and headers, which is all that
	// ICMP needs. Segments of TCP may come longer, for they are merged on arrival
	// or were never split (ethtool(8), gro, lro, tso): MaxMerged is enough.
	FrameBytes int
	// MAC is an address to hear besides the interface's own, for as long as
	// the socket is open: that of frames which are sent in another's name. The
	// zero MAC is none. See Socket.Joined.
	MAC frame.MAC
	// Groups are multicast addresses to hear for as long as the socket is open,
	// whether or not the host is in those groups (PACKET_MR_MULTICAST). Of more
	// than MaxGroups, all that there are are heard (PACKET_MR_ALLMULTI).
	Groups []frame.MAC
	// Promiscuous has the interface hear all frames, whomever they are to, for as
	// long as the socket is open (PACKET_MR_PROMISC).
	Promiscuous bool
}

// MaxMerged is how long a frame may be that was merged, in bytes.
const MaxMerged = 1<<16 + 64

// MaxGroups is how many multicast addresses a socket hears by name.
const MaxGroups = 64

// Joined says how a socket hears a MAC that is not the interface's own.
type Joined uint8

// The ways. Each ends with the socket.
const (
	JoinedNone        Joined = iota // there is none to hear
	JoinedUnicast                   // the NIC lets frames to the MAC through (PACKET_MR_UNICAST)
	JoinedPromiscuous               // the NIC lets all frames through (PACKET_MR_PROMISC)
)

// String returns the way's name.
func (j Joined) String() string {
	switch j {
	case JoinedUnicast:
		return "unicast"
	case JoinedPromiscuous:
		return "promiscuous"
	}
	return "none"
}

// batchLen is how many frames one system call reads at most.
const batchLen = 16

// A Socket receives frames. It is not safe for concurrent use.
type Socket struct {
	conn   *sock.Conn
	batch  *sock.Batch
	room   int // for the data of one frame
	least  int // of it, as the SocketConfig wants
	drops  uint64
	mac    frame.MAC
	joined Joined
	groups []frame.MAC
	all    bool // hear everything
	// members are what is joined.
	members []unix.PacketMreq
}

// Reasons why there is nothing to open a socket on, or to filter by.
var (
	errNoInterface = errors.New("no interface")
	errNoFilter    = errors.New("no filter")
)

// OpenSocket opens a packet socket on the interface and puts the filter in place. It
// needs CAP_NET_RAW, and fails with EPERM without. There have to be an interface and a
// filter.
func OpenSocket(ifc *l2.Interface, cfg SocketConfig) (*Socket, error) {
	switch {
	case ifc == nil:
		return nil, fmt.Errorf("open packet socket: %w", errNoInterface)
	case cfg.Filter == nil:
		return nil, fmt.Errorf("open packet socket on %s: %w", ifc.Name, errNoFilter)
	}
	// Bound with a filter that drops all, the queue is empty when the real
	// one replaces it: nothing that does not match is ever seen, and there
	// is nothing to drain.
	//
	// All protocols are heard, and the filter picks: taps for one protocol
	// come after the kernel has taken VLAN tags off, and after a bridge or a
	// bond has taken the frame (net/core/dev.c, __netif_receive_skb_core).
	conn, err := sock.Listen(&net.Interface{Index: ifc.Index, Name: ifc.Name}, unix.ETH_P_ALL, bpf.DropAll())
	if err != nil {
		return nil, err
	}
	s := &Socket{conn: conn, least: cfg.FrameBytes, mac: cfg.MAC, groups: cfg.Groups, all: cfg.Promiscuous}
	s.makeRoom(ifc)
	if err := s.setUp(ifc, cfg); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("set up packet socket on %s: %w", ifc.Name, err)
	}
	return s, nil
}

// makeRoom makes room for frames of the interface.
func (s *Socket) makeRoom(ifc *l2.Interface) {
	if room := max(ifc.MTU+64, s.least); room > s.room {
		s.room = room
		s.batch = sock.NewBatch(batchLen, room, timestamping.ControlLen)
	}
}

func (s *Socket) setUp(ifc *l2.Interface, cfg SocketConfig) error {
	size := cfg.BufferBytes
	if size == 0 {
		size = 1 << 20
	}
	fd := s.conn.FD()
	for _, o := range []struct {
		name               string
		level, opt, number int
	}{
		{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, size},
		{"PACKET_AUXDATA", unix.SOL_PACKET, unix.PACKET_AUXDATA, 1},
		// Else our own probes come back (Linux 4.20).
		{"PACKET_IGNORE_OUTGOING", unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.opt, o.number); err != nil {
			return fmt.Errorf("set %s: %w", o.name, os.NewSyscallError("setsockopt", err))
		}
	}
	flags := timestamping.Receive
	if cfg.Hardware {
		flags = timestamping.HardwareReceive
	}
	if err := timestamping.Enable(fd, flags); err != nil {
		return err
	}
	if err := s.join(ifc); err != nil {
		return err
	}
	return cfg.Filter.Attach(s.conn)
}

// join has the interface hear everything, if that is asked for; else the socket's
// MAC, by name, or if the driver has no room for it, by hearing everything; and its
// groups.
func (s *Socket) join(ifc *l2.Interface) error {
	s.leave()
	if ifc.NoLink {
		return nil
	}
	if s.all {
		if err := s.add(ifc, unix.PACKET_MR_PROMISC, frame.MAC{}); err != nil {
			return fmt.Errorf("hear all frames: %w", err)
		}
		if !s.mac.IsZero() && s.mac != ifc.MAC {
			s.joined = JoinedPromiscuous
		}
	} else if !s.mac.IsZero() && s.mac != ifc.MAC {
		s.joined = JoinedUnicast
		err := s.add(ifc, unix.PACKET_MR_UNICAST, s.mac)
		if err != nil {
			s.joined = JoinedPromiscuous
			err = s.add(ifc, unix.PACKET_MR_PROMISC, frame.MAC{})
		}
		if err != nil {
			s.joined = JoinedNone
			return fmt.Errorf("hear %s: %w", s.mac, err)
		}
	}
	if len(s.groups) > MaxGroups {
		if err := s.add(ifc, unix.PACKET_MR_ALLMULTI, frame.MAC{}); err != nil {
			return fmt.Errorf("hear all groups: %w", err)
		}
		return nil
	}
	for _, group := range s.groups {
		if err := s.add(ifc, unix.PACKET_MR_MULTICAST, group); err != nil {
			return fmt.Errorf("hear the group %s: %w", group, err)
		}
	}
	return nil
}

// add adds a membership, with the address mac unless that is zero.
func (s *Socket) add(ifc *l2.Interface, how uint16, mac frame.MAC) error {
	m := unix.PacketMreq{Ifindex: int32(ifc.Index), Type: how}
	if !mac.IsZero() {
		m.Alen = uint16(copy(m.Address[:], mac[:]))
	}
	if err := unix.SetsockoptPacketMreq(s.conn.FD(), unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	s.members = append(s.members, m)
	return nil
}

// leave undoes join, on an interface that may be gone, and the memberships with
// it.
func (s *Socket) leave() {
	for i := range s.members {
		_ = unix.SetsockoptPacketMreq(s.conn.FD(), unix.SOL_PACKET, unix.PACKET_DROP_MEMBERSHIP, &s.members[i])
	}
	s.members, s.joined = s.members[:0], JoinedNone
}

// Joined tells how the socket hears SocketConfig.MAC: JoinedNone where there is none,
// or it is the interface's own.
func (s *Socket) Joined() Joined { return s.joined }

// Rebind binds the socket to an interface that was made anew, or grows its
// buffers to an MTU that has grown. Its filter, stamps and drop count stay, and
// SocketConfig.MAC and SocketConfig.Groups are heard there. It needs no capability. Frames that
// were received before are no longer valid.
func (s *Socket) Rebind(ifc *l2.Interface) error {
	if err := s.conn.Rebind(&net.Interface{Index: ifc.Index, Name: ifc.Name}, unix.ETH_P_ALL); err != nil {
		return err
	}
	s.makeRoom(ifc)
	if err := s.join(ifc); err != nil {
		return fmt.Errorf("bind packet socket to %s: %w", ifc.Name, err)
	}
	return nil
}

// SetFilter puts another filter in the place of the socket's, at once: between
// the two nothing passes that neither lets through. Frames that wait to be read
// have passed the old one, which may be closed.
func (s *Socket) SetFilter(f Filter) error {
	if err := f.Attach(s.conn); err != nil {
		return fmt.Errorf("set filter of packet socket: %w", err)
	}
	return nil
}

// WarmUp returns when the kernel stamps arriving frames, which it begins a few
// milliseconds after OpenSocket at the latest, as a rule at once: else the first frames
// have no stamp. It is false if the kernel does not stamp at all. The calling
// thread's network namespace must be the interface's.
func (s *Socket) WarmUp() bool { return s.StartWarmUp()() }

// StartWarmUp is the beginning of WarmUp, which returns at once; wait, which may be
// called from any goroutine and has to be, is its end.
func (s *Socket) StartWarmUp() (wait func() bool) { return timestamping.StartWarmUp() }

// FD returns the socket's descriptor, for poll(2). It stays the socket's.
func (s *Socket) FD() int { return s.conn.FD() }

// Receive reads the frames that have come, without waiting, and returns how
// many; 0 if none has. It needs room for MinFrames, and with that many there may
// be more. It does not allocate. An interface that went
// down is told once, by ENETDOWN; the socket hears again when it comes back.
func (s *Socket) Receive(frames []Frame) (int, error) {
	_ = frames[MinFrames-1]
	n, err := s.batch.Recv(s.conn.FD(), unix.MSG_TRUNC)
	if err != nil {
		return 0, err
	}
	for i := range n {
		data, length, control, _ := s.batch.Message(i)
		frames[i] = newFrame(data, length, control)
	}
	return n, nil
}

// newFrame is a frame with what its control messages tell.
func newFrame(data []byte, length int, control []byte) Frame {
	var a timestamping.Arrival
	timestamping.ParseArrival(control, &a)
	return Frame{
		Data:     data,
		Length:   max(length, a.Length),
		Arrival:  a.Software,
		Hardware: a.Hardware,
		VLAN:     VLAN{Present: a.VLAN, Type: frame.EtherType(a.TPID), TCI: a.TCI},
	}
}

// MinFrames is the room in frames that Receive needs.
const MinFrames = batchLen

// Drops returns how many matching frames the kernel has dropped because the
// socket's buffer was full, since OpenSocket.
func (s *Socket) Drops() (uint64, error) {
	// PACKET_STATISTICS starts at zero again after each look.
	st, err := unix.GetsockoptTpacketStats(s.conn.FD(), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return s.drops, fmt.Errorf("read PACKET_STATISTICS: %w", os.NewSyscallError("getsockopt", err))
	}
	s.drops += uint64(st.Drops)
	return s.drops, nil
}

// Close closes the socket, not its filter.
func (s *Socket) Close() error { return s.conn.Close() }
