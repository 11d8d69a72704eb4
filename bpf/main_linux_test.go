package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/internal/sock/classic"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(childVar); name != "" {
		if err := child(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	labtest.MainNetns(m)
}

// A socket is one of the kernel's, with deadlines: it is a syscall.Conn and
// nothing more, as Filter.Attach wants it.
type socket struct {
	file *os.File
	raw  syscall.RawConn
}

func (s *socket) SyscallConn() (syscall.RawConn, error) { return s.file.SyscallConn() }

func newSocket(t testing.TB, fd int) *socket {
	t.Helper()
	s := &socket{file: os.NewFile(uintptr(fd), "socket")}
	t.Cleanup(func() { s.file.Close() })
	var err error
	if s.raw, err = s.file.SyscallConn(); err != nil {
		t.Fatal(err)
	}
	return s
}

// packetSocket opens a packet socket on eth0 of ns that gets nothing until it
// has a filter.
func packetSocket(t testing.TB, ns *lab.Namespace, protocol uint16) *socket {
	t.Helper()
	index, err := ns.Index("eth0")
	if err != nil {
		t.Fatal(err)
	}
	var s *socket
	if err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
		s = newSocket(t, fd)
		if err := classic.Attach(fd, DropAll()); err != nil {
			return fmt.Errorf("drop all: %w", err)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
			return fmt.Errorf("PACKET_AUXDATA: %w", err)
		}
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(protocol), Ifindex: index}); err != nil {
			return fmt.Errorf("bind: %w", err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// datagramPair makes two sockets of AF_UNIX, which need no privileges. What is
// sent on one passes the filter of the other before the send returns.
func datagramPair(t testing.TB) (in, out *socket) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	return newSocket(t, fds[0]), newSocket(t, fds[1])
}

func (s *socket) send(t testing.TB, b []byte) {
	t.Helper()
	var sendErr error
	if err := s.raw.Write(func(fd uintptr) bool {
		_, sendErr = unix.SendmsgN(int(fd), b, nil, nil, 0)
		return sendErr != unix.EAGAIN
	}); err != nil {
		t.Fatal(err)
	}
	if sendErr != nil {
		t.Fatalf("sending %d bytes: %v", len(b), sendErr)
	}
}

// patience bounds the wait for a frame that has to come.
const patience = 10 * time.Second

// recv returns the next frame and what the kernel says of it.
func (s *socket) recv(t testing.TB) ([]byte, Meta) {
	t.Helper()
	if err := s.file.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var (
		b    []byte
		meta Meta
	)
	if err := s.raw.Read(func(fd uintptr) bool {
		var ok bool
		b, meta, ok = recvNow(t, int(fd))
		return ok
	}); err != nil {
		t.Fatalf("a frame that must come does not: %v", err)
	}
	return b, meta
}

// recvNow returns what has come; ok is false if nothing has.
func recvNow(t testing.TB, fd int) (b []byte, meta Meta, ok bool) {
	t.Helper()
	buf, oob := make([]byte, 2048), make([]byte, 128)
	n, oobn, _, from, err := unix.Recvmsg(fd, buf, oob, unix.MSG_DONTWAIT)
	if errors.Is(err, unix.EAGAIN) {
		return nil, Meta{}, false
	}
	if err != nil {
		t.Fatal(err)
	}
	if ll, ok := from.(*unix.SockaddrLinklayer); ok {
		meta.PacketType = ll.Pkttype
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range msgs {
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA {
			continue
		}
		// struct tpacket_auxdata: tp_status, then at 16 tp_vlan_tci.
		if binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID != 0 {
			meta.VLANPresent = true
			meta.VLANTCI = binary.NativeEndian.Uint16(m.Data[16:])
		}
	}
	return buf[:n], meta, true
}

// detach takes a socket's filter away.
func detach(t testing.TB, s *socket) {
	t.Helper()
	if err := s.raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
			t.Fatal(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

func newFilter(t testing.TB, m Match, mode Mode) *Filter {
	t.Helper()
	f, err := NewFilter(m, mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func attach(t testing.TB, f *Filter, s *socket) {
	t.Helper()
	if err := f.Attach(s); err != nil {
		t.Fatal(err)
	}
}

// rejected returns the count of an eBPF filter, and 0 for a classic one.
func rejected(t testing.TB, f *Filter) uint64 {
	t.Helper()
	n, ok := f.Rejected()
	if ok != (f.Mode() == EBPF) {
		t.Fatalf("Rejected: %v in mode %v", ok, f.Mode())
	}
	return n
}

// eachMode runs a test for both modes; that of eBPF needs root.
func eachMode(t *testing.T, f func(t *testing.T, mode Mode)) {
	for _, mode := range []Mode{Classic, EBPF} {
		t.Run(mode.String(), func(t *testing.T) {
			if mode == EBPF {
				labtest.RequireRoot(t)
			}
			f(t, mode)
		})
	}
}
