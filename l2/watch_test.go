//go:build linux

package l2

import (
	"encoding/binary"
	"errors"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

func watch(t *testing.T, n *lab.Namespace, ifc *Interface) *Watch {
	t.Helper()
	var w *Watch
	inside(t, n, func() {
		var err error
		w, err = ifc.Watch()
		must(t, err)
	})
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *Watch) becomes(t *testing.T, want error) {
	t.Helper()
	name := "up"
	if want != nil {
		name = want.Error()
	}
	until(t, name, func() bool {
		err := w.Err()
		return want == nil && err == nil || want != nil && errors.Is(err, want)
	})
}

func TestWatch(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	w := watch(t, pair.Near, lookUp(t, pair.Near, "eth0"))
	if err := w.Err(); err != nil {
		t.Errorf("at first: %v", err)
	}
	must(t, pair.Near.SetDown("eth0"))
	w.becomes(t, ErrDown)
	if got, want := w.Err().Error(), "eth0: interface is down"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	must(t, pair.Near.SetUp("eth0"))
	w.becomes(t, nil)
	must(t, pair.Far.SetDown("eth0"))
	w.becomes(t, ErrNoCarrier)
	if got, want := w.Err().Error(), "eth0: no carrier"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	must(t, pair.Far.SetUp("eth0"))
	w.becomes(t, nil)
	must(t, pair.Near.DeleteLink("eth0"))
	until(t, "gone", func() bool { err := w.Err(); return err != nil && err.Error() == "eth0 is gone: interface is down" })
	if err := w.Err(); !errors.Is(err, ErrDown) {
		t.Errorf("gone: %v", err)
	}
}

// A Watch begins with what is, and not with the next change.
func TestWatchBegins(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	ifc := lookUp(t, pair.Near, "eth0")
	must(t, pair.Near.SetDown("eth0"))
	if err := watch(t, pair.Near, ifc).Err(); !errors.Is(err, ErrDown) {
		t.Errorf("down: %v", err)
	}
	must(t, pair.Near.SetUp("eth0"))
	must(t, pair.Near.WaitUp("eth0"))
	if err := watch(t, pair.Near, ifc).Err(); err != nil {
		t.Errorf("up: %v", err)
	}
	must(t, pair.Near.DeleteLink("eth0"))
	if err := watch(t, pair.Near, ifc).Err(); !errors.Is(err, ErrDown) || err.Error() != "eth0 is gone: interface is down" {
		t.Errorf("gone: %v", err)
	}
}

// What happens to another interface is not seen at any time.
func TestWatchOthers(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	must(t, pair.Near.AddVeth("eth1", "eth2"))
	w := watch(t, pair.Near, lookUp(t, pair.Near, "eth0"))
	other := watch(t, pair.Near, lookUp(t, pair.Near, "eth1"))
	before := w.state.Load()
	for range 5 {
		must(t, pair.Near.SetUp("eth1"))
		other.becomes(t, ErrNoCarrier)
		must(t, pair.Near.SetDown("eth1"))
		other.becomes(t, ErrDown)
		if err := w.Err(); err != nil {
			t.Errorf("eth0: %v", err)
		}
	}
	must(t, pair.Near.DeleteLink("eth1"))
	until(t, "eth1 is gone", func() bool { return other.Err().Error() == "eth1 is gone: interface is down" })
	if w.state.Load() != before {
		t.Errorf("a change of eth1 was taken for one of eth0: %v", w.Err())
	}
}

// linkMessage is what rtnetlink(7) sends of a link: struct ifinfomsg.
func linkMessage(typ uint16, family uint8, index int32, flags uint32) syscall.NetlinkMessage {
	b := []byte{family, 0, 0, 0}
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	b = binary.NativeEndian.AppendUint32(b, flags)
	b = binary.NativeEndian.AppendUint32(b, 0)
	return syscall.NetlinkMessage{
		Header: syscall.NlMsghdr{Len: uint32(unix.SizeofNlMsghdr + len(b)), Type: typ}, Data: b,
	}
}

func TestWatchMessages(t *testing.T) {
	ifc := &Interface{Index: 7, Name: "eth0"}
	const up = unix.IFF_UP | unix.IFF_RUNNING
	short := linkMessage(unix.RTM_DELLINK, 0, 7, 0)
	short.Data = short.Data[:unix.SizeofIfInfomsg-1]
	for _, tt := range []struct {
		name string
		m    syscall.NetlinkMessage
		seen bool
		want error
	}{
		{"up", linkMessage(unix.RTM_NEWLINK, 0, 7, up), true, nil},
		{"no carrier", linkMessage(unix.RTM_NEWLINK, 0, 7, unix.IFF_UP), true, ErrNoCarrier},
		{"down", linkMessage(unix.RTM_NEWLINK, 0, 7, 0), true, ErrDown},
		{"deleted", linkMessage(unix.RTM_DELLINK, 0, 7, up), true, ErrDown},
		{"another is down", linkMessage(unix.RTM_NEWLINK, 0, 8, 0), false, nil},
		{"another is deleted", linkMessage(unix.RTM_DELLINK, 0, 8, 0), false, nil},
		{"it leaves a bridge", linkMessage(unix.RTM_DELLINK, unix.AF_BRIDGE, 7, up), false, nil},
		{"its bridge port changes", linkMessage(unix.RTM_NEWLINK, unix.AF_BRIDGE, 7, 0), false, nil},
		{"a message of another kind", linkMessage(unix.RTM_NEWADDR, 0, 7, 0), false, nil},
		{"cut", short, false, nil},
		{"empty", syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.RTM_DELLINK}}, false, nil},
	} {
		var w Watch
		w.take(ifc, tt.m)
		if seen := w.state.Load() != nil; seen != tt.seen {
			t.Errorf("%s: taken: %v, want %v", tt.name, seen, tt.seen)
		}
		if err := w.Err(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}
