//go:build linux

// Package timestamping reads the control messages that SO_TIMESTAMPING and
// PACKET_AUXDATA put beside a frame (socket(7), packet(7), the kernel's
// Documentation/networking/timestamping.rst).
//
// The parsers take bytes as they come from recvmsg, skip what they do not
// know, and neither allocate nor panic.
package timestamping

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ControlLen is enough room in bytes for the control messages of one frame:
// SCM_TIMESTAMPING, PACKET_AUXDATA and an extended error.
const ControlLen = 256

// Flags for SO_TIMESTAMPING.
const (
	// Receive asks for the arrival stamp in software.
	Receive = unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE
	// Transmit asks for two stamps a frame, at the qdisc and at the driver,
	// on the error queue, by id and without the frame itself.
	Transmit = unix.SOF_TIMESTAMPING_TX_SCHED | unix.SOF_TIMESTAMPING_TX_SOFTWARE |
		unix.SOF_TIMESTAMPING_SOFTWARE | unix.SOF_TIMESTAMPING_OPT_ID | unix.SOF_TIMESTAMPING_OPT_TSONLY

	// HardwareReceive asks for the NIC's arrival stamp too. Both come in one
	// message.
	HardwareReceive = Receive | unix.SOF_TIMESTAMPING_RX_HARDWARE | unix.SOF_TIMESTAMPING_RAW_HARDWARE
	// HardwareTransmit asks for the NIC's departure stamp too, in a message
	// of its own. Without OPT_TX_SWHW (Linux 4.13) a driver that is about to
	// stamp by its NIC gives none in software (net/core/skbuff.c, __skb_tstamp_tx).
	HardwareTransmit = Transmit | unix.SOF_TIMESTAMPING_TX_HARDWARE | unix.SOF_TIMESTAMPING_RAW_HARDWARE |
		unix.SOF_TIMESTAMPING_OPT_TX_SWHW
)

// Enable sets SO_TIMESTAMPING on a socket. It needs no capability, and asks
// neither the driver nor the NIC: what they cannot stamp does not come. It
// fails with EINVAL, and changes nothing, where the kernel does not know a flag.
// Setting Transmit or HardwareTransmit on a socket that had 0 starts its ids at
// 0 again (net/core/sock.c, sock_set_timestamping).
func Enable(fd, flags int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, flags); err != nil {
		return fmt.Errorf("set SO_TIMESTAMPING: %w", os.NewSyscallError("setsockopt", err))
	}
	return nil
}

// An Arrival is what the kernel tells of one received frame.
type Arrival struct {
	// Software and Hardware are stamps in nanoseconds: since the Unix epoch
	// by CLOCK_REALTIME, and by the NIC's own clock. 0 is none.
	Software, Hardware int64
	// Length is how long the frame was before a filter cut it, which MSG_TRUNC
	// does not tell (packet(7), PACKET_AUXDATA, tp_len); 0 if that is not there.
	Length int
	// VLAN tells whether the kernel took a tag off the frame; VID 0 is a
	// priority tag. TCI and TPID are its fields.
	VLAN      bool
	TCI, TPID uint16
}

// ParseArrival reads the control messages of a received frame.
func ParseArrival(control []byte, a *Arrival) {
	*a = Arrival{}
	// ParseOneSocketControlMessage reads a whole header, whatever is there.
	for len(control) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return
		}
		control = rest
		switch {
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_TIMESTAMPING:
			a.Software, a.Hardware = parseStamps(data)
		case h.Level == unix.SOL_PACKET && h.Type == unix.PACKET_AUXDATA:
			parseAuxdata(data, a)
		}
	}
}

// A Point is where the kernel took a departure stamp: ee_info of the extended
// error (include/uapi/linux/errqueue.h, SCM_TSTAMP_*).
type Point uint32

// Points of departure.
const (
	Driver Point = 0 // SCM_TSTAMP_SND: at the driver, or by the NIC
	Sched  Point = 1 // SCM_TSTAMP_SCHED: before the qdisc
)

// A Departure is one departure stamp from a socket's error queue.
type Departure struct {
	// ID counts the socket's frames, or is what the frame was sent with.
	ID    uint32
	Point Point
	// Software and Hardware are stamps in nanoseconds, as in Arrival.
	Software, Hardware int64
}

// ParseDeparture reads the control messages of one message from the error
// queue. It reports false where they hold no departure stamp.
func ParseDeparture(control []byte, d *Departure) bool {
	*d = Departure{}
	var stamped, identified bool
	for len(control) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return false
		}
		control = rest
		switch {
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_TIMESTAMPING:
			d.Software, d.Hardware = parseStamps(data)
			stamped = d.Software != 0 || d.Hardware != 0
		case h.Level == unix.SOL_PACKET && h.Type == unix.PACKET_TX_TIMESTAMP,
			h.Level == unix.SOL_IP && h.Type == unix.IP_RECVERR: // of a raw socket (ip(7))
			identified = parseExtendedError(data, d)
		}
	}
	return stamped && identified
}

// parseStamps reads struct scm_timestamping: three times, of which the second
// is always zero. A program with 32-bit longs gets the short form; any other
// length is a message that was cut for want of room (MSG_CTRUNC).
func parseStamps(b []byte) (software, hardware int64) {
	const long, short = 3 * 16, 3 * 8
	switch {
	case len(b) >= long:
		at := func(i int) int64 {
			return int64(binary.NativeEndian.Uint64(b[i:]))*1e9 + int64(binary.NativeEndian.Uint64(b[i+8:]))
		}
		return at(0), at(32)
	case len(b) == short:
		at := func(i int) int64 {
			return int64(int32(binary.NativeEndian.Uint32(b[i:])))*1e9 + int64(int32(binary.NativeEndian.Uint32(b[i+4:])))
		}
		return at(0), at(16)
	}
	return 0, 0
}

// parseAuxdata reads struct tpacket_auxdata (packet(7), PACKET_AUXDATA).
func parseAuxdata(b []byte, a *Arrival) {
	if len(b) < int(unsafe.Sizeof(unix.TpacketAuxdata{})) {
		return
	}
	status := binary.NativeEndian.Uint32(b)
	a.Length = int(binary.NativeEndian.Uint32(b[4:]))
	if status&unix.TP_STATUS_VLAN_VALID == 0 {
		return
	}
	a.VLAN = true
	a.TCI = binary.NativeEndian.Uint16(b[16:])
	a.TPID = 0x8100
	if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		a.TPID = binary.NativeEndian.Uint16(b[18:])
	}
}

// parseExtendedError reads struct sock_extended_err (recv(2), MSG_ERRQUEUE).
func parseExtendedError(b []byte, d *Departure) bool {
	const originTimestamping = 4 // SO_EE_ORIGIN_TIMESTAMPING
	if len(b) < int(unsafe.Sizeof(unix.SockExtendedErr{})) ||
		binary.NativeEndian.Uint32(b) != uint32(unix.ENOMSG) || b[4] != originTimestamping {
		return false
	}
	d.Point = Point(binary.NativeEndian.Uint32(b[8:]))
	d.ID = binary.NativeEndian.Uint32(b[12:])
	return true
}
