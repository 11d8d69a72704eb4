//go:build linux

package arp

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

func lookup(t testing.TB, pair *lab.Pair, path *l2.Path) Neighbor {
	t.Helper()
	var n Neighbor
	must(t, pair.Near.Do(func() (err error) {
		n, err = Lookup(path)
		return err
	}))
	return n
}

func TestLookup(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	path := pathTo(t, pair)
	far := frame.MAC(pair.FarMAC)
	if n := lookup(t, pair, path); n.Known() || n.State != 0 || n.How != HowNone || n.Addr != pair.FarIP || n.Took <= 0 {
		t.Errorf("no entry: %+v", n)
	}
	for _, tt := range []struct {
		state lab.NeighborState
		mac   net.HardwareAddr
		name  string
		known bool
	}{
		{lab.Permanent, pair.FarMAC, "permanent", true},
		{lab.Reachable, pair.FarMAC, "reachable", true},
		{lab.Stale, pair.FarMAC, "stale", true},
		{lab.Delay, pair.FarMAC, "delay", true},
		{lab.Probe, pair.FarMAC, "probe", true},
		{lab.NoARP, pair.FarMAC, "noarp", true},
		{lab.NoARP, make(net.HardwareAddr, 6), "noarp", false},
		{lab.Failed, nil, "failed", false},
		{lab.Incomplete, nil, "incomplete", false},
	} {
		// Anew each time: an entry in a state that the kernel does not leave by
		// itself need not take every other.
		_ = pair.Near.DelNeighbor("eth0", pair.FarIP)
		must(t, pair.Near.SetNeighbor("eth0", pair.FarIP, tt.mac, tt.state))
		n := lookup(t, pair, path)
		if tt.state == lab.Delay && n.State == State(lab.Probe) {
			n.State = State(lab.Delay) // it lasts for a tick (neigh_timer_handler)
		}
		if n.Addr != pair.FarIP || n.State != State(tt.state) || n.State.String() != tt.name || n.Known() != tt.known {
			t.Errorf("%s: %+v (%s)", tt.name, n, n.State)
		}
		if tt.known && (n.MAC != far || n.How != HowTable) || !tt.known && (!n.MAC.IsZero() || n.How != HowNone) {
			t.Errorf("%s: %+v", tt.name, n)
		}
	}
}

func TestLookup6(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	path := pathOf(t, pair.Near, pair.FarIP6, pair.NearIP6)
	if n := lookup(t, pair, path); n.Known() || n.State != 0 || n.Addr != pair.FarIP6 {
		t.Errorf("no IPv6, no entry: %+v", n)
	}
	labtest.RequireKind(t, pair.EnableIPv6())
	for _, addr := range []netip.Addr{pair.FarIP6, pair.FarLL, pair.FarLL.WithZone("eth0")} {
		must(t, pair.Near.SetNeighbor("eth0", addr.WithZone(""), pair.FarMAC, lab.Reachable))
		path.NextHop = addr
		if n := lookup(t, pair, path); n.MAC != frame.MAC(pair.FarMAC) || n.How != HowTable || n.State.String() != "reachable" || n.Addr != addr {
			t.Errorf("%+v", n)
		}
	}
}

// The entry is that of the path's interface.
func TestLookupOtherInterface(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	must(t, pair.Near.AddVeth("eth1", "peer1"))
	must(t, pair.Near.SetUp("eth1"))
	must(t, pair.Near.SetNeighbor("eth1", pair.FarIP, pair.FarMAC, lab.Permanent))
	if n := lookup(t, pair, pathTo(t, pair)); n.Known() || n.State != 0 {
		t.Errorf("eth1's entry is taken for eth0's: %+v", n)
	}
}

func TestLookupBroadcast(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	path := pathTo(t, pair)
	path.Broadcast = true
	if n := lookup(t, pair, path); !n.Known() || n.MAC != frame.Broadcast || n.How != HowNone || n.State != 0 {
		t.Errorf("%+v", n)
	}
}

// The kernel answers for an interface that is gone as for a neighbor it does not
// have, or with an error; not with a MAC.
func TestLookupGone(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	path := pathTo(t, pair)
	must(t, pair.Near.DeleteLink("eth0"))
	must(t, pair.Near.Do(func() error {
		if n, err := Lookup(path); n.Known() || err == nil {
			t.Errorf("%+v, %v", n, err)
		} else if want := "look up 198.51.100.2 in the neighbor table of eth0: no such device"; err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
		return nil
	}))
}

func TestNames(t *testing.T) {
	for h, want := range map[How]string{HowNone: "none", HowTable: "neighbor table", HowARP: "arp", HowNDP: "ndp", HowOverride: "override", 77: "none"} {
		if got := h.String(); got != want {
			t.Errorf("%d: %q, want %q", h, got, want)
		}
	}
	if got := State(0).String(); got != "" {
		t.Errorf("state 0 is %q", got)
	}
	for _, s := range []State{unix.NUD_FAILED, unix.NUD_INCOMPLETE, 0} {
		if s.usable() {
			t.Errorf("%s is usable", s)
		}
	}
}
