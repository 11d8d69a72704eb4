package labtest

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
)

// NewNamespace makes a namespace that is closed when the test ends. It skips
// the test where RequireNetns does.
func NewNamespace(t testing.TB) *lab.Namespace {
	t.Helper()
	RequireNetns(t)
	n, err := lab.NewNamespace()
	return closing(t, n, err)
}

// NewPair makes a pair that is closed when the test ends; cfg may be nil. It
// skips the test where RequireNetns does.
func NewPair(t testing.TB, cfg *lab.PairConfig) *lab.Pair {
	t.Helper()
	RequireNetns(t)
	p, err := lab.NewPair(cfg)
	return closing(t, p, err)
}

// NewRouted makes a routed topology that is closed when the test ends. It
// skips the test where RequireNetns does.
func NewRouted(t testing.TB) *lab.Routed {
	t.Helper()
	RequireNetns(t)
	r, err := lab.NewRouted()
	return closing(t, r, err)
}

func closing[T interface{ Close() error }](t testing.TB, c T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// StartPeer starts a scripted peer that is closed when the test ends, and
// fails the test if it had a fault. The script is one for lab.ParseScript; ""
// answers everything at 198.51.100.2.
func StartPeer(t testing.TB, n *lab.Namespace, ifname, script string) *lab.Peer {
	t.Helper()
	parsed, err := lab.ParseScript(script)
	if err != nil {
		t.Fatal(err)
	}
	p, err := lab.StartPeer(n, ifname, parsed)
	return closing(t, p, err)
}

// Scenarios are the lab's scenario files.
func Scenarios(t testing.TB) []lab.Scenario {
	t.Helper()
	all, err := lab.Scenarios()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// AddTun makes a tun interface, down, whose Tun is closed when the test ends. It
// skips the test where RequireKind does, and where this user may not open
// /dev/net/tun; with L2PING_TEST_REQUIRE=root the latter fails instead.
func AddTun(t testing.TB, n *lab.Namespace, ifname string) *lab.Tun {
	t.Helper()
	tun, err := n.AddTun(ifname)
	if errors.Is(err, os.ErrPermission) {
		unmet(t, fmt.Sprintf("%v (run the tests as root, or chmod 666 /dev/net/tun)", err), "root")
	}
	RequireKind(t, err)
	t.Cleanup(func() {
		if err := tun.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return tun
}

// StartTunPeer starts a scripted peer at the other end of a tun, that is closed
// when the test ends, and fails the test if it had a fault. The script is one
// for lab.ParseScript.
func StartTunPeer(t testing.TB, tun *lab.Tun, script string) *lab.Peer {
	t.Helper()
	parsed, err := lab.ParseScript(script)
	if err != nil {
		t.Fatal(err)
	}
	p, err := lab.StartTunPeer(tun, parsed)
	return closing(t, p, err)
}

// OpenIn has open open something in n, and closes that when the test ends. All
// else is done from the calling thread, which may be in another namespace.
func OpenIn[T interface{ Close() error }](t testing.TB, n *lab.Namespace, open func() (T, error)) T {
	t.Helper()
	var c T
	err := n.Do(func() (err error) {
		c, err = open()
		return err
	})
	return closing(t, c, err)
}
