//go:build linux

package arp

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// listed is what List says of an interface, sorted.
func listed(t testing.TB, n *lab.Namespace, ifname string) []string {
	t.Helper()
	var all []string
	must(t, n.Do(func() error {
		ifc, err := l2.InterfaceByName(ifname)
		if err != nil {
			return err
		}
		list, err := List(ifc)
		for _, n := range list {
			if n.How != HowTable {
				t.Errorf("%+v is said to be known from elsewhere", n)
			}
			all = append(all, fmt.Sprintf("%s %s %s", n.Addr, n.MAC, n.State))
		}
		return err
	}))
	slices.Sort(all)
	return all
}

// More entries than one message holds, of two interfaces and both families.
func TestList(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true, IPv6: true})
	near := pair.Near
	must(t, near.AddVeth("veth0", "veth1"))
	var want []string
	for i := range 300 {
		addr := netip.AddrFrom4([4]byte{198, 51, 100, byte(3 + i%200)})
		mac := frame.MAC{0x02, 0, 0x5e, 0, 0x53, byte(i)}
		if i >= 200 {
			addr = netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%x", i))
		}
		must(t, near.SetNeighbor("eth0", addr, mac.HardwareAddr(), lab.Permanent))
		want = append(want, fmt.Sprintf("%s %s permanent", addr, mac))
	}
	other := netip.MustParseAddr("203.0.113.9")
	must(t, near.SetNeighbor("veth0", other, pair.FarMAC, lab.Stale))
	// Entries without a host's MAC are left out.
	must(t, near.SetNeighbor("eth0", pair.FarIP, nil, lab.Failed))
	must(t, near.SetNeighbor("eth0", netip.MustParseAddr("ff02::fb"), net.HardwareAddr{0x33, 0x33, 0, 0, 0, 0xfb}, lab.NoARP))
	slices.Sort(want)
	if got := listed(t, near, "eth0"); !slices.Equal(got, want) {
		t.Errorf("eth0: %d entries %q, want %d: %q", len(got), got, len(want), want)
	}
	if got := listed(t, near, "veth0"); !slices.Equal(got, []string{"203.0.113.9 02:00:5e:00:53:02 stale"}) {
		t.Errorf("veth0: %q", got)
	}
	if got := listed(t, pair.Far, "eth0"); got != nil {
		t.Errorf("another namespace: %q", got)
	}
}

// Of a bridge's port it is the bridge's.
func TestListOfOwner(t *testing.T) {
	n := labtest.NewNamespace(t)
	must(t, n.AddVeth("veth0", "veth1"))
	labtest.RequireKind(t, n.AddBridge("br0", "veth0"))
	must(t, n.SetUp("br0"))
	must(t, n.SetNeighbor("br0", netip.MustParseAddr("198.51.100.2"), net.HardwareAddr{0x02, 0, 0x5e, 0, 0x53, 2}, lab.Permanent))
	if got := listed(t, n, "veth0"); !slices.Equal(got, []string{"198.51.100.2 02:00:5e:00:53:02 permanent"}) {
		t.Errorf("%q", got)
	}
}
