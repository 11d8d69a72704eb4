//go:build linux

package sock

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"

	cbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

func listen(t testing.TB, ns *lab.Namespace, protocol int, filter []cbpf.RawInstruction) *Conn {
	t.Helper()
	var c *Conn
	if err := ns.Do(func() error {
		ifc, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		c, err = Listen(ifc, protocol, filter)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestConn(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	const protocol = 0x88b5 // for experiments (IEEE 802, local)
	in := listen(t, pair.Far, protocol, nil)
	out := listen(t, pair.Near, 0, nil)

	for _, c := range []*Conn{in, out} {
		if flags, err := unix.FcntlInt(uintptr(c.FD()), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor flags %#x, %v, want FD_CLOEXEC", flags, err)
		}
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var got uintptr
		if err := raw.Control(func(fd uintptr) { got = fd }); err != nil || int(got) != c.FD() {
			t.Errorf("Control: descriptor %d, %v, want %d", got, err, c.FD())
		}
		never := func(uintptr) bool { t.Error("called"); return true }
		if err := raw.Read(never); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("Read: %v", err)
		}
		if err := raw.Write(never); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("Write: %v", err)
		}
	}

	frame := append(append(append([]byte{}, pair.FarMAC...), pair.NearMAC...), 0x88, 0xb5, 'h', 'i')
	if _, err := unix.Write(out.FD(), frame); err != nil {
		t.Fatal(err)
	}
	labtest.Poll(t, in.FD(), patience)
	b := NewBatch(2, 100, 64)
	if n, err := b.Recv(in.FD(), unix.MSG_TRUNC); err != nil || n != 1 {
		t.Fatalf("%d frames, %v, want 1", n, err)
	}
	if data, _, _, _ := b.Message(0); string(data) != string(frame) {
		t.Errorf("% x, want % x", data, frame)
	}

	raw, err := in.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := in.Close(); err != nil {
			t.Errorf("Close %d: %v", i+1, err)
		}
	}
	if err := raw.Control(func(uintptr) { t.Error("called") }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Control after Close: %v", err)
	}
}

// An interface that goes down is told to a socket with a protocol, once.
func TestConnDown(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	in := listen(t, pair.Near, unix.ETH_P_ALL, nil)
	out := listen(t, pair.Near, 0, nil)
	if err := pair.Near.SetDown("eth0"); err != nil {
		t.Fatal(err)
	}
	b := NewBatch(1, 100, 64)
	if n, err := b.Recv(in.FD(), 0); n != 0 || err != unix.ENETDOWN {
		t.Errorf("%d, %v, want ENETDOWN", n, err)
	}
	if n, err := b.Recv(in.FD(), 0); n != 0 || err != nil {
		t.Errorf("the second time: %d, %v", n, err)
	}
	if n, err := b.Recv(out.FD(), 0); n != 0 || err != nil {
		t.Errorf("a socket of no protocol: %d, %v", n, err)
	}
}

func TestListenErrors(t *testing.T) {
	ns := labtest.NewNamespace(t)
	if err := ns.Do(func() error {
		c, err := Listen(&net.Interface{Index: 4711, Name: "gone0"}, 0, nil)
		if c != nil || !errors.Is(err, unix.ENODEV) || err.Error() != "open packet socket on gone0: no such device" {
			t.Errorf("%v, %v", c, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

type closer struct {
	err    error
	wait   chan struct{} // nil, or closed by the next one's Close
	finish chan struct{}
}

func (c closer) Close() error {
	if c.wait != nil {
		<-c.wait
	}
	if c.finish != nil {
		close(c.finish)
	}
	return c.err
}

func TestCloseAll(t *testing.T) {
	one, two := errors.New("one"), errors.New("two")
	err := CloseAll(closer{err: one}, closer{}, nil, closer{err: two})
	if !errors.Is(err, one) || !errors.Is(err, two) {
		t.Errorf("%v, want both errors", err)
	}
	for _, none := range [][]io.Closer{nil, {nil}, {closer{}, closer{}}} {
		if err := CloseAll(none...); err != nil {
			t.Error(err)
		}
	}
	// All at once: the first waits for the second.
	second := make(chan struct{})
	if err := CloseAll(closer{wait: second}, closer{finish: second}); err != nil {
		t.Error(err)
	}
}

// A raw socket sends packets as they are by its interface, and hears nothing.
func TestListenRaw(t *testing.T) {
	ns := labtest.NewNamespace(t)
	var c *Conn
	if err := ns.Do(func() (err error) {
		if gone, err := ListenRaw(&net.Interface{Name: "gone0"}); gone != nil || !errors.Is(err, unix.ENODEV) || err.Error() != "open raw socket on gone0: no such device" {
			t.Errorf("%v, %v", gone, err)
		}
		c, err = ListenRaw(&net.Interface{Index: 1, Name: "lo"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if flags, err := unix.FcntlInt(uintptr(c.FD()), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %#x, %v, want FD_CLOEXEC", flags, err)
	}
	if name, err := unix.GetsockoptString(c.FD(), unix.SOL_SOCKET, unix.SO_BINDTODEVICE); err != nil || name != "lo" {
		t.Errorf("bound to %q, %v", name, err)
	}
	// To 127.0.0.1, of a protocol that nobody knows (RFC 3692: 253).
	packet := []byte{0x45, 0, 0, 24, 0x42, 0x42, 0, 0, 64, 253, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1, 'p', 'i', 'n', 'g'}
	if err := unix.Sendto(c.FD(), packet, 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if n, _, err := unix.Recvfrom(c.FD(), make([]byte, 100), unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("it hears %d bytes, %v", n, err)
	}
}

// An open socket hears another interface once it is bound to that one.
func TestConnRebind(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	if err := errors.Join(pair.Far.AddVeth("eth1", "peer1"), pair.Far.SetUp("eth1"), pair.Far.SetUp("peer1"), pair.Far.WaitUp("eth1")); err != nil {
		t.Fatal(err)
	}
	const protocol = 0x88b5
	in := listen(t, pair.Far, protocol, nil)
	index, err := pair.Far.Index("eth1")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := in.Rebind(&net.Interface{Index: index, Name: "eth1"}, protocol); err != nil {
			t.Fatal(err)
		}
	}
	got, err := unix.Getsockname(in.FD())
	if at, ok := got.(*unix.SockaddrLinklayer); err != nil || !ok || at.Ifindex != index || at.Protocol != 0xb588 && at.Protocol != protocol {
		t.Errorf("bound to %+v, %v", got, err)
	}
	if err := in.Rebind(&net.Interface{Index: 4711, Name: "gone0"}, protocol); !errors.Is(err, unix.ENODEV) || err.Error() != "bind packet socket to gone0: no such device" {
		t.Error(err)
	}
}
