//go:build linux

package capture

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/internal/sock"
	"github.com/l2ping/l2ping/internal/timestamping"
	"github.com/l2ping/l2ping/l2"
)

// Config configures Open.
type Config struct {
	// Filter decides what is delivered. Required. It stays the caller's, and
	// must not be closed before the socket.
	Filter *bpf.Filter
	// Hardware asks for the NIC's stamps too. It changes nothing on the NIC:
	// l2.StampAbility.HardwareNow says whether that stamps.
	Hardware bool
	// BufferBytes bounds the frames that wait in the kernel to be read
	// (SO_RCVBUF). 0 is 1 MiB; the kernel caps it at net.core.rmem_max.
	BufferBytes int
}

// A Frame is a received frame.
type Frame struct {
	// Data starts at the Ethernet header. It is valid until the next Receive.
	Data []byte
	// Length is how long the frame was; more than len(Data) if it was cut.
	Length int
	// Arrival is when the driver handed the frame to the kernel, in
	// nanoseconds since the Unix epoch (CLOCK_REALTIME); 0 if the kernel did
	// not stamp it.
	Arrival int64
	// Hardware is when the NIC had the frame, in nanoseconds by its own clock;
	// 0 if it did not stamp it, or was not asked (Config). It may be subtracted
	// from another stamp of the same NIC (l2.StampHardware) and from nothing
	// else.
	Hardware int64
	// VLAN is the tag that the kernel took off the frame.
	VLAN VLAN
}

// VLAN is an 802.1Q tag.
type VLAN struct {
	Present bool
	// TCI has the priority, the drop eligibility and the VLAN id (IEEE
	// 802.1Q, section 9.6).
	TCI uint16
}

// batchLen is how many frames one system call reads at most.
const batchLen = 16

// A Socket receives frames. It is not safe for concurrent use.
type Socket struct {
	conn  *sock.Conn
	batch *sock.Batch
	drops uint64
}

// Open opens a packet socket on the interface and puts the filter in place. It
// needs CAP_NET_RAW, and fails with EPERM without.
func Open(ifc *l2.Interface, cfg Config) (*Socket, error) {
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
	s := &Socket{
		conn: conn,
		// No frame is longer than the MTU and its headers; ICMP is not
		// merged on reception.
		batch: sock.NewBatch(batchLen, ifc.MTU+64, timestamping.ControlLen),
	}
	if err := s.setUp(cfg); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("set up packet socket on %s: %w", ifc.Name, err)
	}
	return s, nil
}

func (s *Socket) setUp(cfg Config) error {
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
	return cfg.Filter.Attach(s.conn)
}

// WarmUp returns when the kernel stamps arriving frames, which it begins a few
// milliseconds after Open at the latest, as a rule at once: else the first frames
// have no stamp. It is false if the kernel does not stamp at all. The calling
// thread's network namespace must be the interface's.
func (s *Socket) WarmUp() bool { return timestamping.WarmUp() }

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
		Length:   length,
		Arrival:  a.Software,
		Hardware: a.Hardware,
		VLAN:     VLAN{Present: a.VLAN, TCI: a.TCI},
	}
}

// MinFrames is the room in frames that Receive needs.
const MinFrames = batchLen

// Drops returns how many matching frames the kernel has dropped because the
// socket's buffer was full, since Open.
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
