//go:build linux

package capture

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"os"
	"time"

	cbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/internal/sock"
	"github.com/l2ping/l2ping/internal/sock/classic"
	"github.com/l2ping/l2ping/internal/timestamping"
	"github.com/l2ping/l2ping/l2"
)

// MaxSnapLen is how many bytes of a frame are kept where nothing else is asked
// for: as many as tcpdump keeps.
const MaxSnapLen = 262144

// Defaults of Config.
const (
	defaultBufferBytes  = 32 << 20
	defaultBlockBytes   = 512 << 10
	defaultBlockTimeout = 64 * time.Millisecond
)

// Config configures Open. Its zero value, and nil, takes every frame that
// the interface takes or sends, as tcpdump -p does.
type Config struct {
	// Filter or Instructions decide what is captured; at most one of them is
	// given. A Filter stays the caller's, and is for what comes in: it does not
	// go with DirectionOut.
	Filter *bpf.Filter
	// Instructions is a program of classic BPF, as pcapfilter.Compile makes it of
	// a filter in tcpdump's language; it has to be compiled with Live, for the
	// kernel takes a VLAN tag off before it runs. What it returns is how many
	// bytes of a frame are captured; 0 is none.
	Instructions []cbpf.RawInstruction

	// Direction leaves out frames of the other direction. The loopback
	// interface has each frame in both: there DirectionBoth is DirectionIn.
	Direction Direction
	// SnapLen is how many bytes of each frame are kept at most. 0 is
	// MaxSnapLen.
	SnapLen int
	// Promiscuous hears frames to other hosts too, while the Ring is open.
	Promiscuous bool
	// Hardware takes the NIC's stamps. The ring has room for one stamp: a frame
	// that the NIC has stamped has Frame.Hardware and no Frame.Arrival. It
	// changes nothing on the NIC: l2.StampAbility.HardwareNow says whether that
	// stamps.
	Hardware bool

	// BufferBytes bounds the frames that wait in the kernel to be read. That
	// memory is taken when the Ring is opened, or half of it or less where the
	// kernel has not that much. 0 is 32 MiB, which is a fifth of a second of
	// the shortest frames at a million a second.
	BufferBytes int
	// BlockBytes is the size of the blocks that the buffer consists of, which
	// also bounds a frame. It is rounded up to a power of two pages. 0 is 512
	// KiB. The reader wakes once a block: in small ones that costs more than
	// the frames.
	BlockBytes int
	// BlockTimeout is how long a frame waits at most for others that are read
	// with it. It is rounded up to milliseconds. A block is handed over when it is
	// full, or when its time is up, however little is in it: with a short time
	// few frames fill the whole buffer if the reader stalls. 0 is 64 ms, with
	// which that takes 4 seconds. For somebody who watches, take a few.
	BlockTimeout time.Duration
}

// RingStatistics counts frames in the sense of tcpdump's last lines.
type RingStatistics struct {
	Captured uint64 // yielded by Frames
	Received uint64 // passed the filter: yielded, waiting, or dropped
	Dropped  uint64 // passed the filter, and found no room
	Freezes  uint64 // how often the ring was full
}

// A Ring receives frames through memory that it shares with the kernel (packet(7),
// TPACKET_V3), for captures: it is fast, for no system call and no copy is made for
// a frame, and it is late, for frames are handed over by the block
// (Config.BlockTimeout). A Socket has each at once.
//
// It is not safe for concurrent use.
type Ring struct {
	conn    *sock.Conn
	name    string
	snapLen int

	memory   []byte
	blockLen int
	fallback error
	message  *message // in place of memory

	// The block that is read: its place in memory, and if it is ours how many
	// frames are left in it and where the next is.
	at   int
	left uint32
	next int

	wake    waker
	stats   RingStatistics
	fault   error // of the socket, told when all is read
	down    bool  // was told, and no frame has come since
	stopped bool
}

// Open opens a packet socket on the interface, with a ring. cfg may be nil. No
// frame that the filter does not let through is ever seen. It fails with EPERM
// without CAP_NET_RAW, and with ENETDOWN if the interface is down; there has to be one.
// The calling thread's network namespace must be the interface's; afterwards any thread
// will do.
//
// Where the kernel refuses to make a ring, frames are read one by one instead:
// Fallback tells why.
func Open(ifc *l2.Interface, cfg *Config) (*Ring, error) {
	return openRing(ifc, cfg, (*Ring).share)
}

func openRing(ifc *l2.Interface, cfg *Config, share func(*Ring, Config) error) (*Ring, error) {
	if ifc == nil {
		return nil, fmt.Errorf("open ring: %w", errNoInterface)
	}
	if cfg == nil {
		cfg = &Config{}
	}
	c := *cfg
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("open ring on %s: %w", ifc.Name, err)
	}
	// As in OpenSocket: with a filter that drops all there is nothing to drain.
	conn, err := sock.Listen(&net.Interface{Index: ifc.Index, Name: ifc.Name}, unix.ETH_P_ALL, bpf.DropAll())
	if err != nil {
		return nil, err
	}
	r := &Ring{conn: conn, name: ifc.Name, snapLen: c.SnapLen}
	if err := r.setUp(ifc, c, share); err != nil {
		return nil, fmt.Errorf("set up ring on %s: %w", ifc.Name, errors.Join(err, r.Close()))
	}
	return r, nil
}

// complete fills in the defaults.
func (c *Config) complete() error {
	if c.Filter != nil && len(c.Instructions) > 0 {
		return errors.New("both a filter and instructions")
	}
	if c.Filter != nil && c.Direction == DirectionOut {
		return errors.New("a filter for what comes in, of what goes out")
	}
	page := os.Getpagesize()
	for _, n := range []struct {
		name     string
		value    *int
		standard int
		most     int
	}{
		{"snap length", &c.SnapLen, MaxSnapLen, MaxSnapLen},
		{"block size", &c.BlockBytes, defaultBlockBytes, 1 << 28},
		{"buffer size", &c.BufferBytes, defaultBufferBytes, 1 << 30},
	} {
		if *n.value < 0 || *n.value > n.most {
			return fmt.Errorf("%s %d: not within 0 (for the default) to %d", n.name, *n.value, n.most)
		}
		if *n.value == 0 {
			*n.value = n.standard
		}
	}
	size := page
	for size < c.BlockBytes {
		size *= 2
	}
	c.BlockBytes = size
	if c.BlockTimeout < 0 || c.BlockTimeout > time.Minute {
		return fmt.Errorf("block timeout %v: not within 0 (for the default) to %v", c.BlockTimeout, time.Minute)
	}
	if c.BlockTimeout == 0 {
		c.BlockTimeout = defaultBlockTimeout
	}
	return nil
}

func (r *Ring) setUp(ifc *l2.Interface, c Config, share func(*Ring, Config) error) error {
	if err := r.wake.open(r.conn.FD(), r.closed); err != nil {
		return err
	}
	if err := share(r, c); err != nil {
		r.fallback = err
		if err := r.receiveByMessage(ifc, c); err != nil {
			return err
		}
	}
	fd := r.conn.FD()
	if c.Direction == DirectionIn || ifc.Loopback && c.Direction == DirectionBoth {
		if err := setOption(fd, "PACKET_IGNORE_OUTGOING", unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return err
		}
	}
	// The ring stamps what nobody has stamped, when it gets there. This has
	// the kernel stamp before (net_enable_timestamp).
	flags := timestamping.Receive
	if c.Hardware {
		flags = timestamping.HardwareReceive
		if err := setOption(fd, "PACKET_TIMESTAMP", unix.SOL_PACKET, unix.PACKET_TIMESTAMP, unix.SOF_TIMESTAMPING_RAW_HARDWARE); err != nil {
			return err
		}
	}
	if err := timestamping.Enable(fd, flags); err != nil {
		return err
	}
	if c.Promiscuous {
		member := unix.PacketMreq{Ifindex: int32(ifc.Index), Type: unix.PACKET_MR_PROMISC}
		if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &member); err != nil {
			return fmt.Errorf("hear frames to other hosts: %w", os.NewSyscallError("setsockopt", err))
		}
	}
	// The socket has known since it was bound.
	if err := socketError(fd); err != nil {
		return err
	}
	if c.Filter != nil {
		return c.Filter.Attach(r.conn)
	}
	return classic.Attach(fd, program(c.Instructions, c.SnapLen, c.Direction == DirectionOut))
}

func setOption(fd int, name string, level, option, value int) error {
	if err := unix.SetsockoptInt(fd, level, option, value); err != nil {
		return fmt.Errorf("set %s: %w", name, os.NewSyscallError("setsockopt", err))
	}
	return nil
}

// socketError takes the error that waits on a socket, such as ENETDOWN.
func socketError(fd int) error {
	number, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return fmt.Errorf("read SO_ERROR: %w", os.NewSyscallError("getsockopt", err))
	}
	if number != 0 {
		return unix.Errno(number)
	}
	return nil
}

// share makes the ring and maps it. An error leaves the socket without one.
func (r *Ring) share(c Config) error {
	fd := r.conn.FD()
	if err := setOption(fd, "PACKET_VERSION", unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return err
	}
	var (
		err    error
		blocks = max((c.BufferBytes+c.BlockBytes-1)/c.BlockBytes, leastBlocks)
	)
	for ; blocks >= leastBlocks; blocks /= 2 {
		err = unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
			Block_size: uint32(c.BlockBytes),
			Block_nr:   uint32(blocks),
			// Frames have the size that they need: here this counts for
			// nothing, but has to be in order.
			Frame_size:     uint32(c.BlockBytes),
			Frame_nr:       uint32(blocks),
			Retire_blk_tov: uint32((c.BlockTimeout + time.Millisecond - 1) / time.Millisecond),
		})
		if err != unix.ENOMEM {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("set PACKET_RX_RING: %w", os.NewSyscallError("setsockopt", err))
	}
	r.memory, err = unix.Mmap(fd, 0, blocks*c.BlockBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		// An empty request takes it away again.
		_ = unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{})
		return fmt.Errorf("map ring: %w", os.NewSyscallError("mmap", err))
	}
	r.blockLen = c.BlockBytes
	return nil
}

// leastBlocks is with how many blocks a ring is worth it: one is filled, one is
// read.
const leastBlocks = 2

// BufferBytes tells how much memory the ring got; 0 if there is none (Fallback).
func (r *Ring) BufferBytes() int { return len(r.memory) }

// Fallback tells why frames are read one by one, and is nil if they are not. Its
// text is made to stand behind "no ring: ".
func (r *Ring) Fallback() error { return r.fallback }

// Frames yields what is captured, waiting for it, until ctx is done, which is no
// error, or the loop is left; what was captured by then is still there for the next
// Frames. It ends at once when ctx ends. It does not allocate for a frame.
//
// Each turn has a Frame of its own, which may be kept and passed on, by its address
// too. Its Data is memory that is used again: valid until the next turn, and not after
// Close. Who keeps a frame for longer clones that.
//
// It ends with an error when the interface went down (ENETDOWN) or away (ENETDOWN
// or ENODEV), after everything that was captured until then. Another Frames
// captures what comes when the interface is up again, and fails with ENODEV where
// there is none any more, or after a fifth of a second from when it goes away.
// After Stop it ends, without an error, when all is read.
func (r *Ring) Frames(ctx context.Context) iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		if r.conn == nil {
			yield(Frame{}, r.wrap(os.ErrClosed))
			return
		}
		if err := r.wake.on(ctx); err != nil {
			yield(Frame{}, r.wrap(err))
			return
		}
		defer r.wake.off()
		var f Frame
		for !r.wake.called.Load() {
			ok, err := r.read(&f)
			if !ok && err == nil {
				if ok, err = r.wait(); ok {
					continue
				}
			}
			if err != nil {
				yield(Frame{}, r.wrap(err))
				return
			}
			if !ok {
				return
			}
			if len(f.Data) > r.snapLen {
				f.Data = f.Data[:r.snapLen]
			}
			r.stats.Captured++
			r.down = false
			more := yield(f, nil)
			if r.conn == nil {
				return // closed in the loop
			}
			if r.left == 0 {
				r.release()
			}
			if !more {
				return
			}
		}
	}
}

func (r *Ring) wrap(err error) error { return fmt.Errorf("capture on %s: %w", r.name, err) }

// read reads the next frame, if one is there. It has to be released.
func (r *Ring) read(f *Frame) (ok bool, err error) {
	if r.memory == nil {
		// An error is told before what was there earlier, and once.
		if ok, err = r.message.read(r.conn.FD(), f); err != nil {
			r.fault = err
			ok, err = r.message.read(r.conn.FD(), f)
		}
		return ok, err
	}
	b := r.current()
	if r.left == 0 {
		if !b.ours() {
			return false, nil
		}
		if r.left = b.count(); r.left == 0 {
			r.release()
			return false, nil
		}
		r.next = b.first()
	}
	if r.next, err = b.frameAt(r.next, f); err != nil {
		r.left = 0
		r.release()
		return false, err
	}
	r.left--
	return true, nil
}

func (r *Ring) current() block { return r.memory[r.at:][:r.blockLen:r.blockLen] }

// release gives the block back, whose last frame was read, and goes on to the next.
func (r *Ring) release() {
	if r.memory == nil {
		return
	}
	r.current().giveBack()
	if r.at += r.blockLen; r.at == len(r.memory) {
		r.at = 0
	}
}

// closed tells whether the kernel has closed the next block.
func (r *Ring) closed() bool { return r.memory != nil && r.current().ours() }

// pending tells whether there are frames in the next block, which may be the one
// that the kernel fills: its time will be up.
func (r *Ring) pending() bool {
	return r.memory != nil && r.current().count() > 0
}

// downLook is how often a reader looks whether an interface that is down is still
// there: of its end nobody wakes it then.
const downLook = 200 * time.Millisecond

// wait waits until there may be something to read. It is false if there never
// will be, or ctx is done.
func (r *Ring) wait() (bool, error) {
	if !r.pending() {
		if err := r.fault; err != nil {
			r.fault, r.down = nil, true
			return false, err
		}
		if r.stopped {
			return false, nil
		}
		if r.down && r.gone() {
			return false, unix.ENODEV
		}
	}
	var (
		failed bool
		err    error
	)
	if r.down {
		failed, err = r.wake.waitFor(downLook)
	} else {
		failed, err = r.wake.wait()
	}
	if failed && err == nil {
		if err := socketError(r.conn.FD()); err != nil {
			r.fault = err
		}
	}
	return err == nil, err
}

// gone tells whether the interface that the socket was bound to was removed
// (net/packet/af_packet.c, packet_notifier).
func (r *Ring) gone() bool {
	address, err := unix.Getsockname(r.conn.FD())
	if err != nil {
		return false
	}
	link, ok := address.(*unix.SockaddrLinklayer)
	return ok && link.Ifindex == -1
}

// Stop has no more frames captured. Frames yields what was captured before,
// for which it may wait BlockTimeout, and ends.
func (r *Ring) Stop() error {
	if r.conn == nil {
		return r.wrap(os.ErrClosed)
	}
	if err := classic.Attach(r.conn.FD(), bpf.DropAll()); err != nil {
		return r.wrap(err)
	}
	r.stopped = true
	return nil
}

// Statistics counts since Open.
func (r *Ring) Statistics() (RingStatistics, error) {
	if r.conn == nil {
		return r.stats, nil // as they were before Close
	}
	// PACKET_STATISTICS starts at zero again after each look.
	st, err := unix.GetsockoptTpacketStatsV3(r.conn.FD(), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return r.stats, r.wrap(fmt.Errorf("read PACKET_STATISTICS: %w", os.NewSyscallError("getsockopt", err)))
	}
	r.stats.Received += uint64(st.Packets)
	r.stats.Dropped += uint64(st.Drops)
	r.stats.Freezes += uint64(st.Freeze_q_cnt)
	return r.stats, nil
}

// Close closes the ring, not its filter. Frames that are still used must not be
// read any more: their memory is gone.
func (r *Ring) Close() error {
	if r.conn == nil {
		return nil
	}
	_, err := r.Statistics()
	if r.memory != nil {
		err = errors.Join(err, os.NewSyscallError("munmap", unix.Munmap(r.memory)))
	}
	err = errors.Join(err, r.wake.close(), r.conn.Close())
	r.conn = nil
	return err
}
