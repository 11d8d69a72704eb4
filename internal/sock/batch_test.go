//go:build linux

package sock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBatch(t *testing.T) {
	in, out := datagramPair(t)
	sent := []string{"short", "", "exactly8", "more than eight", "after"}
	for _, s := range sent {
		send(t, out, []byte(s))
	}
	b := NewBatch(3, 8, 64)
	if b.Len() != 3 {
		t.Errorf("Len: %d, want 3", b.Len())
	}
	for _, want := range []int{3, 2, 0, 0} {
		n, err := b.Recv(in, unix.MSG_TRUNC)
		if err != nil || n != want {
			t.Fatalf("%d messages, %v, want %d", n, err, want)
		}
		for i := range n {
			data, length, control, cut := b.Message(i)
			if string(data) != sent[0][:min(8, len(sent[0]))] || length != len(sent[0]) || len(control) != 0 || cut {
				t.Errorf("%q: %q, length %d, control % x, cut %v", sent[0], data, length, control, cut)
			}
			sent = sent[1:]
		}
	}
	// Without MSG_TRUNC the length is what there was room for.
	send(t, out, []byte("more than eight"))
	if n, err := b.Recv(in, 0); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	if data, length, _, _ := b.Message(0); string(data) != "more tha" || length != 8 {
		t.Errorf("%q, length %d", data, length)
	}
}

// A batch for stamps has no room for data.
func TestBatchNoData(t *testing.T) {
	in, out := datagramPair(t)
	send(t, out, []byte("nobody reads this"))
	send(t, out, nil)
	b := NewBatch(4, 0, 64)
	if n, err := b.Recv(in, unix.MSG_TRUNC); err != nil || n != 2 {
		t.Fatal(n, err)
	}
	for i, want := range []int{17, 0} {
		if data, length, _, _ := b.Message(i); len(data) != 0 || length != want {
			t.Errorf("message %d: %q, length %d, want %d", i, data, length, want)
		}
	}
}

func TestBatchControl(t *testing.T) {
	in, out := datagramPair(t)
	// SCM_CREDENTIALS: three numbers (unix(7)).
	if err := unix.SetsockoptInt(in, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		t.Fatal(err)
	}
	full := unix.CmsgLen(12)
	for _, tt := range []struct {
		room, want int
		cut        bool
	}{
		{64, unix.CmsgSpace(12), false},
		{full, full, false},
		{full - 1, full - 1, true},
		{unix.SizeofCmsghdr - 1, 0, true},
	} {
		send(t, out, []byte("a"))
		send(t, out, []byte("b"))
		b := NewBatch(2, 8, tt.room)
		if n, err := b.Recv(in, 0); err != nil || n != 2 {
			t.Fatal(n, err)
		}
		for i := range 2 {
			_, _, control, cut := b.Message(i)
			if len(control) != tt.want || cut != tt.cut {
				t.Errorf("room for %d: %d bytes, cut %v, want %d, %v", tt.room, len(control), cut, tt.want, tt.cut)
			}
			if !tt.cut && binary.NativeEndian.Uint32(control[unix.CmsgLen(0):]) != uint32(unix.Getpid()) {
				t.Errorf("not our process id: % x", control)
			}
		}
		// The kernel has written the lengths: they are set anew for the next one.
		send(t, out, []byte("c"))
		if n, err := b.Recv(in, 0); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		if _, _, control, cut := b.Message(0); len(control) != tt.want || cut != tt.cut {
			t.Errorf("room for %d, again: %d bytes, cut %v", tt.room, len(control), cut)
		}
	}
}

func TestBatchErrors(t *testing.T) {
	b := NewBatch(1, 8, 64)
	if n, err := b.Recv(-1, 0); n != 0 || err != unix.EBADF {
		t.Errorf("%d, %v, want EBADF, bare", n, err)
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	if n, err := b.Recv(ends[0], 0); n != 0 || err != unix.ENOTSOCK {
		t.Errorf("%d, %v, want ENOTSOCK, bare", n, err)
	}
}

// A socket's pending error is told once.
func TestBatchPendingError(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	// What a socket has not read when it is closed resets its peer (unix_release_sock).
	send(t, fds[0], []byte("unread"))
	if err := unix.Close(fds[1]); err != nil {
		t.Fatal(err)
	}
	b := NewBatch(4, 8, 64)
	if n, err := b.Recv(fds[0], 0); n != 0 || !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("%d, %v, want ECONNRESET", n, err)
	}
	if n, err := b.Recv(fds[0], 0); errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the second time: %d, %v", n, err)
	}
}

func TestBatchAllocates(t *testing.T) {
	in, out := datagramPair(t)
	if err := unix.SetsockoptInt(in, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		t.Fatal(err)
	}
	b := NewBatch(8, 64, 64)
	msg := []byte(strings.Repeat("x", 64))
	if allocs := testing.AllocsPerRun(1000, func() {
		_, _ = unix.Write(out, msg)
		_, _ = unix.Write(out, msg)
		n, _ := b.Recv(in, unix.MSG_TRUNC)
		for i := range n {
			if data, _, _, _ := b.Message(i); !bytes.Equal(data, msg) {
				panic("wrong data")
			}
		}
		_, _ = b.Recv(in, 0) // nothing there
	}); allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}
