//go:build linux

package sock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/mdlayher/packet"
	cbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A Conn is a socket by its descriptor alone. One goroutine owns it: the
// descriptor must not be used once Close was called.
type Conn struct {
	fd int
}

// Listen opens a packet socket of whole frames on an interface, bound to a
// protocol (0: none) behind a filter, and takes it over. It needs CAP_NET_RAW.
func Listen(ifc *net.Interface, protocol int, filter []cbpf.RawInstruction) (*Conn, error) {
	pc, err := packet.Listen(ifc, packet.Raw, protocol, &packet.Config{Filter: filter})
	if err != nil {
		// The errno alone: which call failed says nothing to a reader.
		var errno unix.Errno
		if errors.As(err, &errno) {
			err = errno
		}
		return nil, fmt.Errorf("open packet socket on %s: %w", ifc.Name, err)
	}
	return take(pc)
}

// ListenRaw opens a socket that sends IPv4 packets, headers and all, by one
// interface, and hears nothing (raw(7), IPPROTO_RAW). It needs CAP_NET_RAW.
func ListenRaw(ifc *net.Interface) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err == nil {
		if err = unix.BindToDevice(fd, ifc.Name); err == nil {
			return &Conn{fd: fd}, nil
		}
		_ = unix.Close(fd)
	}
	return nil, fmt.Errorf("open raw socket on %s: %w", ifc.Name, err)
}

// Rebind binds a packet socket to a protocol on another interface, or on one
// that was made anew. Its options and its filter stay. It needs no capability.
func (c *Conn) Rebind(ifc *net.Interface, protocol uint16) error {
	// In network order.
	p := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
	if err := unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: p, Ifindex: ifc.Index}); err != nil {
		return fmt.Errorf("bind packet socket to %s: %w", ifc.Name, err)
	}
	return nil
}

// take moves a socket out of the runtime's poller: its descriptor is
// duplicated (fcntl(2), F_DUPFD_CLOEXEC) and c is closed, which does not close
// the socket. On error c is closed all the same.
func take(c *packet.Conn) (*Conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	fd := -1
	var dupErr error
	err = raw.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err = errors.Join(err, os.NewSyscallError("fcntl", dupErr), c.Close()); err != nil {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return nil, fmt.Errorf("take over socket: %w", err)
	}
	return &Conn{fd: fd}, nil
}

// FD returns the descriptor. It stays c's.
func (c *Conn) FD() int { return c.fd }

// Close closes the socket. The kernel may let a packet socket's close wait for
// an RCU grace period, about 20 ms (net/packet/af_packet.c, packet_release).
func (c *Conn) Close() error {
	if c.fd < 0 {
		return nil
	}
	err := unix.Close(c.fd)
	c.fd = -1
	return os.NewSyscallError("close", err)
}

// SyscallConn makes c a syscall.Conn for setting options. Its Read and Write
// are not supported: the owner waits by Loop.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return rawConn{c}, nil }

type rawConn struct{ c *Conn }

func (r rawConn) Control(f func(fd uintptr)) error {
	if r.c.fd < 0 {
		return os.ErrClosed
	}
	f(uintptr(r.c.fd))
	return nil
}

func (rawConn) Read(func(uintptr) bool) error  { return errors.ErrUnsupported }
func (rawConn) Write(func(uintptr) bool) error { return errors.ErrUnsupported }

// CloseAll closes several sockets at once, so that their grace periods pass
// together. It leaves out what is nil; a nil pointer in an io.Closer is not.
func CloseAll(closers ...io.Closer) error {
	errs := make(chan error)
	n := 0
	for _, c := range closers {
		if c != nil {
			n++
			go func() { errs <- c.Close() }()
		}
	}
	var all error
	for range n {
		all = errors.Join(all, <-errs)
	}
	return all
}
