//go:build linux

package sock

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// receiveAll reads the datagrams that are there.
func receiveAll(t *testing.T, fd int) (got []string) {
	t.Helper()
	b := NewBatch(16, 64, 64)
	for {
		n, err := b.Recv(fd, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return got
		}
		for i := range n {
			data, _, _, _ := b.Message(i)
			got = append(got, string(data))
		}
	}
}

func TestOutBatch(t *testing.T) {
	in, out := datagramPair(t)
	b := NewOutBatch(3, 0, nil)
	if n, err := b.Send(out); n != 0 || err != nil {
		t.Errorf("of nothing: %d, %v", n, err)
	}
	for _, want := range [][]string{{"a", "", "more"}, {"alone"}, {"two", "of them"}} {
		for _, s := range want {
			if b.Full() {
				t.Fatal("full too early")
			}
			if control := b.Add([]byte(s), nil); len(control) != 0 {
				t.Errorf("%d bytes of control messages", len(control))
			}
		}
		if full := len(want) == 3; b.Full() != full {
			t.Errorf("with %d of 3: full is %v", len(want), !full)
		}
		if n, err := b.Send(out); n != len(want) || err != nil {
			t.Errorf("%d, %v, want %d", n, err, len(want))
		}
		if got := receiveAll(t, in); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q comes, want %q", got, want)
		}
		if b.Full() {
			t.Error("full after Send")
		}
	}
}

// Each message has its control messages, and those of one are not another's.
func TestOutBatchControl(t *testing.T) {
	in, out := datagramPair(t)
	if err := unix.SetsockoptInt(in, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		t.Fatal(err)
	}
	// Anyone may send what is true of himself (unix(7), SCM_CREDENTIALS).
	own := unix.UnixCredentials(&unix.Ucred{Pid: int32(os.Getpid()), Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())})
	b := NewOutBatch(3, 0, own)
	own[0]++ // a copy was taken
	wrong := b.Add([]byte("one"), nil)
	b.Add([]byte("two"), nil)
	if len(wrong) != len(own) {
		t.Fatalf("%d bytes of control messages, want %d", len(wrong), len(own))
	}
	pid := wrong[unix.CmsgLen(0):][:4]
	right := binary.NativeEndian.Uint32(pid)
	if n, err := b.Send(out); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if got := receiveAll(t, in); fmt.Sprint(got) != "[one two]" {
		t.Errorf("%q", got)
	}
	// What was filled in stays, for each place.
	b.Add([]byte("three"), nil)
	h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(b.Add([]byte("four"), nil))))
	h.Type = 0x7fff // nothing that a unix socket knows
	b.Add([]byte("five"), nil)
	if n, err := b.Send(out); n != 1 || err != unix.EINVAL {
		t.Errorf("%d, %v, want 1 and EINVAL, bare", n, err)
	}
	if got := receiveAll(t, in); fmt.Sprint(got) != "[three]" {
		t.Errorf("%q", got)
	}
	if got := binary.NativeEndian.Uint32(pid); got != right {
		t.Errorf("process id %d became %d", right, got)
	}
}

// udp opens a UDP socket on lo, and returns its address as sendmsg takes it.
func udp(t *testing.T, ns *lab.Namespace) (fd int, name []byte) {
	t.Helper()
	if err := ns.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	host := [4]byte{127, 0, 0, 1}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: host}); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	name = binary.NativeEndian.AppendUint16(nil, unix.AF_INET)
	name = binary.BigEndian.AppendUint16(name, uint16(bound.(*unix.SockaddrInet4).Port))
	return fd, append(append(name, host[:]...), make([]byte, 8)...)
}

// Each message goes to its address, and one that fails once is sent after all: an
// error in the middle is not told, and the next try tells whether it stays.
func TestOutBatchTriesAgain(t *testing.T) {
	ns := labtest.NewNamespace(t)
	if err := ns.SetUp("lo"); err != nil {
		t.Fatal(err)
	}
	out, nowhere := udp(t, ns)
	in1, first := udp(t, ns)
	in2, second := udp(t, ns)
	binary.BigEndian.PutUint16(nowhere[2:], 9) // discard; nobody listens
	// What comes back from there is an error of the next message, once (ip(7)).
	if err := unix.SetsockoptInt(out, unix.SOL_IP, unix.IP_RECVERR, 1); err != nil {
		t.Fatal(err)
	}
	b := NewOutBatch(8, len(first), nil)
	for range 3 {
		b.Add([]byte("to nobody"), nowhere)
		b.Add([]byte("a"), first)
		b.Add([]byte("b"), second)
		b.Add([]byte("c"), first)
		if n, err := b.Send(out); n != 4 || err != nil {
			t.Errorf("%d, %v, want 4", n, err)
		}
		if got := receiveAll(t, in1); fmt.Sprint(got) != "[a c]" {
			t.Errorf("the first hears %q", got)
		}
		if got := receiveAll(t, in2); fmt.Sprint(got) != "[b]" {
			t.Errorf("the second hears %q", got)
		}
	}
}

// What stays is told of the message that it is about, and nothing behind it is
// sent.
func TestOutBatchErrors(t *testing.T) {
	in, out := datagramPair(t)
	b := NewOutBatch(4, 0, nil)
	for _, s := range []string{"a", "b", string(make([]byte, 1<<20)), "d"} {
		b.Add([]byte(s), nil)
	}
	if n, err := b.Send(out); n != 2 || err != unix.EMSGSIZE {
		t.Errorf("%d, %v, want 2 and EMSGSIZE, bare", n, err)
	}
	if got := receiveAll(t, in); fmt.Sprint(got) != "[a b]" {
		t.Errorf("%q comes", got)
	}
	// It does not block: the queue of a datagram socket has an end
	// (net.unix.max_dgram_qlen).
	sent := 0
	for range 10000 {
		b.Add([]byte("x"), nil)
		b.Add([]byte("y"), nil)
		n, err := b.Send(out)
		if sent += n; err == unix.EAGAIN {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := receiveAll(t, in); sent == 20000 || len(got) != sent {
		t.Errorf("%d were sent, %d came", sent, len(got))
	}
	b.Add([]byte("x"), nil)
	if n, err := b.Send(-1); n != 0 || err != unix.EBADF {
		t.Errorf("%d, %v, want EBADF, bare", n, err)
	}
}

func TestOutBatchAllocates(t *testing.T) {
	in, out := datagramPair(t)
	b, read := NewOutBatch(8, 0, nil), NewBatch(8, 64, 64)
	msg := []byte("message")
	if allocs := testing.AllocsPerRun(1000, func() {
		for !b.Full() {
			b.Add(msg, nil)
		}
		if n, err := b.Send(out); n != 8 || err != nil {
			panic(fmt.Sprint(n, err))
		}
		if n, err := read.Recv(in, 0); n != 8 || err != nil {
			panic(fmt.Sprint(n, err))
		}
	}); allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}
