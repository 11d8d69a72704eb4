//go:build linux

package l2

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2/frame"
)

func TestInterfaceByName(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{MTU: 1400})
	must(t, pair.Near.AddAddr("eth0", prefixOf("192.0.2.1/32")))
	index, err := pair.Near.Index("eth0")
	must(t, err)
	ifc := lookUp(t, pair.Near, "eth0")
	if ifc.Index != index || ifc.Name != "eth0" || ifc.MAC != frame.MAC(pair.NearMAC) || ifc.MTU != 1400 ||
		ifc.LinkType != "ether" || ifc.Kind != "veth" || !ifc.Up || !ifc.Running ||
		!slices.Equal(ifc.Addresses, []netip.Prefix{prefixOf("198.51.100.1/24"), prefixOf("192.0.2.1/32")}) {
		t.Errorf("%+v", ifc)
	}
	if err := ifc.Usable(); err != nil {
		t.Error(err)
	}
	lo := lookUp(t, pair.Near, "lo")
	if lo.Name != "lo" || lo.LinkType != "loopback" || !lo.MAC.IsZero() || !lo.Up || !lo.Running ||
		!lo.Loopback || lo.NoLink || lo.Usable() != nil {
		t.Errorf("%+v", lo)
	}
}

func TestInterfaceByNameMissing(t *testing.T) {
	ns := labtest.NewNamespace(t)
	must(t, ns.AddVeth("eth0", "wlan0"))
	for _, tt := range []struct{ name, nearest, text string }{
		{"eth1", "eth0", `no interface "eth1" (there is eth0, `},
		{"eht0", "eth0", `no interface "eht0" (there is eth0, `},
		{"wan0", "wlan0", `no interface "wan0" (there is wlan0, `},
		{"l0", "lo", `no interface "l0" (there is lo, `},
		{"a name that is too long for any", "", `no interface "a name that is too long for any" (there is `},
		{"", "lo", `no interface "" (there is lo, `},
	} {
		inside(t, ns, func() {
			ifc, err := InterfaceByName(tt.name)
			missing := (*NoInterfaceError)(nil)
			if !errors.As(err, &missing) {
				t.Errorf("%q: %+v, %v", tt.name, ifc, err)
				return
			}
			if missing.Name != tt.name || len(missing.Nearest) == 0 || len(missing.Nearest) > 3 || tt.nearest != "" && missing.Nearest[0] != tt.nearest {
				t.Errorf("%q: %+v", tt.name, missing)
			}
			if got := err.Error(); len(got) < len(tt.text) || got[:len(tt.text)] != tt.text {
				t.Errorf("%q, want %q...", got, tt.text)
			}
		})
	}
	for want, e := range map[string]NoInterfaceError{
		`no interface "x"`:                                 {Name: "x"},
		`no interface "x" (there is lo)`:                   {Name: "x", Nearest: []string{"lo"}},
		`no interface "x" (there is a, b, c and 1 other)`:  {Name: "x", Nearest: []string{"a", "b", "c"}, Others: 1},
		`no interface "x" (there is a, b, c and 2 others)`: {Name: "x", Nearest: []string{"a", "b", "c"}, Others: 2},
	} {
		if got := e.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	inside(t, ns, func() {
		must(t, ns.AddVeth("eth5", "eth6"))
		_, err := InterfaceByName("eth9")
		if missing := (*NoInterfaceError)(nil); !errors.As(err, &missing) || missing.Others != 2 {
			t.Errorf("of five: %+v, %v", missing, err)
		}
	})
}

func TestNearest(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"eth0", "eth0", 0}, {"eth0", "eth1", 1}, {"eth0", "eth", 1},
		{"eth0", "teth0", 1}, {"kitten", "sitting", 3}, {"eth0", "wlan1", 5},
	} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q, %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := distance(tt.b, tt.a); got != tt.want {
			t.Errorf("%q, %q: %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
	names := []string{"lo", "eth1", "eth0", "docker0"}
	if got := nearest("eth2", names, 3); !slices.Equal(got, []string{"eth1", "eth0", "lo"}) {
		t.Errorf("%v: not by distance, then in their own order", got)
	}
	if !slices.Equal(names, []string{"lo", "eth1", "eth0", "docker0"}) {
		t.Errorf("the caller's names are now %v", names)
	}
	if got := nearest("x", nil, 3); len(got) != 0 {
		t.Errorf("%v out of nothing", got)
	}
}

func TestInterfaceByAddress(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	must(t, pair.Near.AddVeth("eth1", "eth2"))
	must(t, pair.Near.AddAddr("eth1", prefixOf("192.0.2.1/24")))
	must(t, pair.Near.AddAddr("eth1", prefixOf("192.0.2.2/24")))
	inside(t, pair.Near, func() {
		for address, want := range map[string]string{"198.51.100.1": "eth0", "192.0.2.1": "eth1", "192.0.2.2": "eth1", "127.0.0.1": "lo"} {
			if ifc, err := InterfaceByAddress(addr(address)); err != nil || ifc.Name != want {
				t.Errorf("%s: %+v, %v, want %s", address, ifc, err, want)
			}
		}
		for _, address := range []string{"198.51.100.2", "fe80::1%eth1", "192.0.2.0", "0.0.0.0"} {
			ifc, err := InterfaceByAddress(addr(address))
			if err == nil || err.Error() != "no interface has the address "+address {
				t.Errorf("%s: %+v, %v", address, ifc, err)
			}
		}
	})
}

func TestUsable(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*testing.T, *lab.Pair) (ifname string)
		want   error
		text   string
	}{
		{"down", func(t *testing.T, p *lab.Pair) string { must(t, p.Near.SetDown("eth0")); return "eth0" },
			ErrDown, "eth0: interface is down (ip link set eth0 up)"},
		{"no carrier", func(t *testing.T, p *lab.Pair) string { must(t, p.Far.SetDown("eth0")); return "eth0" },
			ErrNoCarrier, "eth0: no carrier (is the cable in, and the other end up?)"},
		{"never had a carrier", func(t *testing.T, p *lab.Pair) string {
			must(t, p.Near.AddVeth("eth1", "eth2"))
			must(t, p.Near.SetUp("eth1"))
			return "eth1"
		}, ErrNoCarrier, "eth1: no carrier (is the cable in, and the other end up?)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pair := labtest.NewPair(t, nil)
			ifname := tt.change(t, pair)
			// A veth end learns of its carrier before the other end's change returns,
			// but IFF_RUNNING follows the operational state (linkwatch, in the
			// background).
			var ifc *Interface
			until(t, "usable", func() bool {
				ifc = lookUp(t, pair.Near, ifname)
				return ifc.Usable() != nil
			})
			if err := ifc.Usable(); !errors.Is(err, tt.want) || err.Error() != tt.text {
				t.Errorf("%v, want %q", err, tt.text)
			}
			inside(t, pair.Near, func() {
				if path, err := FindPath(ifc, addr("198.51.100.2"), netip.Addr{}); path != nil || !errors.Is(err, tt.want) {
					t.Errorf("a path by it: %+v, %v", path, err)
				}
			})
		})
	}
}
