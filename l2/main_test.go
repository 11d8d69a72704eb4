//go:build linux

package l2

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

func TestMain(m *testing.M) { labtest.MainNetns(m) }

// patience bounds the wait for what has to come, on however slow a machine.
const patience = time.Minute

func addr(s string) netip.Addr       { return netip.MustParseAddr(s) }
func prefixOf(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// must is for what merely prepares a test.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// inside runs f in a namespace.
func inside(t testing.TB, ns *lab.Namespace, f func()) {
	t.Helper()
	must(t, ns.Do(func() error { f(); return nil }))
}

func lookUp(t testing.TB, ns *lab.Namespace, name string) *Interface {
	t.Helper()
	var ifc *Interface
	inside(t, ns, func() {
		var err error
		ifc, err = InterfaceByName(name)
		must(t, err)
	})
	return ifc
}

// until waits for a condition, which has to come true.
func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v", what, patience)
		}
	}
}

// A station is a raw packet socket that hears everything on an interface.
type station struct {
	t  testing.TB
	fd int
}

func newStation(t testing.TB, ns *lab.Namespace, ifname string) *station {
	t.Helper()
	index, err := ns.Index(ifname)
	must(t, err)
	s := &station{t: t}
	inside(t, ns, func() {
		s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		t.Cleanup(func() { unix.Close(s.fd) })
		must(t, unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
		timeout := unix.NsecToTimeval(patience.Nanoseconds())
		must(t, unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout))
		all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}) // in network order
		must(t, unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}))
	})
	return s
}

func (s *station) receive() []byte {
	s.t.Helper()
	for {
		b := make([]byte, 1<<16)
		n, err := unix.Read(s.fd, b)
		switch err {
		case unix.EINTR:
		case unix.ENETDOWN: // the far end, told once
		case nil:
			return b[:n]
		default:
			s.t.Fatalf("a frame that must come does not: %v", err)
		}
	}
}

func (s *station) send(b []byte) {
	s.t.Helper()
	if _, err := unix.Write(s.fd, b); err != nil {
		s.t.Fatal(err)
	}
}
