//go:build linux

package l2

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

const mark = 0xf0000005 // more than an int32

// Frames bear the mark where the host's filters see it, and without one none do.
func TestLinkMark(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	next := labtest.HearMark(t, pair.Near, "eth0", mark)
	plain, marked := openLink(t, pair.Near, nil), openLink(t, pair.Near, &LinkConfig{Mark: mark})
	must(t, marked.MarkRefused())
	must(t, plain.Send(frameOf(pair, 60), 1))
	must(t, marked.Send(frameOf(pair, 61), 1))
	if got := next(patience); !bytes.Equal(got, frameOf(pair, 61)) {
		t.Errorf("% x bears the mark", got)
	}
	must(t, marked.Rebind(lookUp(t, pair.Near, "eth0")))
	must(t, marked.Send(frameOf(pair, 62), 2))
	if got := next(patience); !bytes.Equal(got, frameOf(pair, 62)) {
		t.Errorf("% x bears the mark", got)
	}
}

// On lo IPv4 goes by another socket than IPv6.
func TestLinkMarkLoopback(t *testing.T) {
	n, _ := sixes(t)
	must(t, n.EnableIPv6("lo"))
	next := labtest.HearMark(t, n, "lo", mark)
	marked := openLinkOn(t, n, "lo", &LinkConfig{Mark: mark})
	must(t, marked.MarkRefused())
	for seq, a := range []string{"127.0.0.1", "::1"} {
		packet := echoPacket(t, addr(a), addr(a), uint16(seq), 56)
		must(t, marked.Send(framed(packet, make([]byte, 6), make([]byte, 6)), 1))
		for !bytes.HasSuffix(next(patience), packet) {
		}
	}
}

// Who may not mark may send: a refusal is told, and ends nothing. Any other error
// does.
func TestLinkMarkRefused(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	ifc := lookUp(t, pair.Near, "eth0")
	answer := func(err error) *LinkConfig {
		return &LinkConfig{Mark: mark, setMark: func(_ int, m uint32) error {
			if m != mark {
				t.Errorf("mark %#x is set, want %#x", m, uint32(mark))
			}
			return os.NewSyscallError("setsockopt", err)
		}}
	}
	far := newStation(t, pair.Far, "eth0")
	l := openLink(t, pair.Near, answer(unix.EPERM))
	if err := l.MarkRefused(); !errors.Is(err, unix.EPERM) {
		t.Errorf("%v, want %v", err, unix.EPERM)
	}
	must(t, l.Send(frameOf(pair, 60), 1))
	if got := far.receive(); !bytes.Equal(got, frameOf(pair, 60)) {
		t.Errorf("received % x", got)
	}
	inside(t, pair.Near, func() {
		const want = "mark 0xf0000005 on eth0: setsockopt: invalid argument"
		if l, err := OpenLink(ifc, answer(unix.EINVAL)); l != nil || !errors.Is(err, unix.EINVAL) || err.Error() != want {
			t.Errorf("%v, %v, want %s", l, err, want)
		}
	})
}
