//go:build linux

package labtest

import (
	"errors"
	"testing"
	"time"

	cbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
)

// HearMark hears the frames on an interface of n that bear a mark (socket(7),
// SO_MARK), those that leave by it too: a mark does not leave the host, but a tap
// sees it. next waits for one, and fails the test if that takes longer than limit.
// It needs CAP_NET_RAW.
func HearMark(t testing.TB, n *lab.Namespace, ifname string, mark uint32) (next func(limit time.Duration) []byte) {
	t.Helper()
	filter, err := cbpf.Assemble([]cbpf.Instruction{
		cbpf.LoadExtension{Num: cbpf.ExtMark},
		cbpf.JumpIf{Cond: cbpf.JumpNotEqual, Val: mark, SkipTrue: 1},
		cbpf.RetConstant{Val: 1 << 16},
		cbpf.RetConstant{},
	})
	if err != nil {
		t.Fatal(err)
	}
	hears := lab.SocketOption{Level: unix.SOL_PACKET, Name: unix.PACKET_IGNORE_OUTGOING, Value: 0}
	f, err := n.OpenPacket(ifname, hears)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	conn, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1<<16)
	var set error
	if err := conn.Control(func(fd uintptr) {
		program := make([]unix.SockFilter, len(filter))
		for i, in := range filter {
			program[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
		}
		set = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
		for err := error(nil); err == nil; { // what came before the filter
			_, err = unix.Read(int(fd), b)
		}
	}); err != nil || set != nil {
		t.Fatal(errors.Join(err, set))
	}
	return func(limit time.Duration) []byte {
		t.Helper()
		if err := f.SetReadDeadline(time.Now().Add(limit)); err != nil {
			t.Fatal(err)
		}
		read, err := f.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return b[:read]
	}
}
