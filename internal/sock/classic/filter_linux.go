package classic

import (
	"fmt"
	"syscall"
	"unsafe"

	cbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A Filter is a program for sockets.
type Filter []cbpf.RawInstruction

// Attach has the kernel filter with the program what a socket receives, in place of
// the filter that it has. What the program returns is how many bytes of a frame are
// kept. Errors are those of c, and the errno of setsockopt(2): EINVAL is a program
// that the kernel refuses.
func (f Filter) Attach(c syscall.Conn) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("attaching classic BPF: %w", err)
	}
	var failed error
	if err := rc.Control(func(fd uintptr) { failed = Attach(int(fd), f) }); err != nil {
		return fmt.Errorf("attaching classic BPF: %w", err)
	}
	return failed
}

// Attach is Filter.Attach for a descriptor.
func Attach(fd int, f Filter) error {
	if len(f) == 0 || len(f) > maxInstructions {
		return fmt.Errorf("attaching classic BPF: %d instructions: not from 1 to %d", len(f), maxInstructions)
	}
	program := make([]unix.SockFilter, len(f))
	for i, in := range f {
		program[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{
		Len:    uint16(len(program)),
		Filter: unsafe.SliceData(program),
	}); err != nil {
		return fmt.Errorf("attaching classic BPF: %w", err)
	}
	return nil
}

// To is a program that hands another those frames alone that a host takes: none to
// other hosts (PACKET_OTHERHOST), but those to the address mac if it is not zero.
func To(mac [6]byte, program []cbpf.RawInstruction) Filter {
	const (
		load    = classLD | modeABS
		equal   = classJMP | jumpEqual
		ethDest = 0 // its offset
	)
	reject := cbpf.RawInstruction{Op: classRET}
	f := Filter{
		{Op: load | sizeW, K: adPacketType},
		{Op: equal, Jf: 1, K: unix.PACKET_OTHERHOST},
		reject,
	}
	if mac != [6]byte{} {
		high := uint32(mac[0])<<24 | uint32(mac[1])<<16 | uint32(mac[2])<<8 | uint32(mac[3])
		f = Filter{
			{Op: load | sizeW, K: adPacketType},
			{Op: equal, Jf: 5, K: unix.PACKET_OTHERHOST},
			{Op: load | sizeW, K: ethDest},
			{Op: equal, Jf: 2, K: high},
			{Op: load | sizeH, K: ethDest + 4},
			{Op: equal, Jt: 1, K: uint32(mac[4])<<8 | uint32(mac[5])},
			reject,
		}
	}
	// A is 0 again, as a program finds it.
	f = append(f, cbpf.RawInstruction{Op: classLD | modeIMM})
	return append(f, program...)
}
