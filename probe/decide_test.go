//go:build linux

package probe

import (
	"context"
	"net/netip"
	"reflect"
	"testing"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2/frame"
)

// decideIn is Decide in a namespace.
func decideIn(t *testing.T, ns *lab.Namespace, cfg Config) (d *arp.Decision, err error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err = ns.Do(func() error {
		d, err = Decide(ctx, cfg)
		return err
	})
	return d, err
}

// What is decided is what a Pinger starts with.
func TestDecide(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	other := frame.MAC{2, 0, 0x5e, 0, 0x53, 0x99}
	for _, tt := range []struct {
		name string
		cfg  Config
		how  arp.How
	}{
		{"asked", Config{Interface: "eth0"}, arp.HowARP},
		{"any interface", Config{}, arp.HowARP},
		{"forced", Config{Interface: "eth0", Gateway: pair.FarIP, Mark: 5}, arp.HowARP},
		{"told", Config{Interface: "eth0", DstMAC: frame.MAC(pair.FarMAC)}, arp.HowOverride},
		// Last, for the far end goes by that MAC from then on.
		{"another MAC", Config{Interface: "eth0", SrcMAC: other}, arp.HowARP},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.Targets = Hosts(pair.FarIP)
			d, err := decideIn(t, pair.Near, tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			if d.Neighbor.How != tt.how || !d.Neighbor.Known() {
				t.Errorf("the next hop is %+v, want it by %s", d.Neighbor, tt.how)
			}
			tt.cfg.Count = 1
			_, start, _ := replied(t, events(t, pinger(t, pair.Near, tt.cfg)))
			if !reflect.DeepEqual(d.Path, start.Decision.Path) || d.Neighbor.MAC != start.Decision.Neighbor.MAC {
				t.Errorf("decided: %+v, %+v\nstarted: %+v, %+v", d.Path, d.Neighbor, start.Decision.Path, start.Decision.Neighbor)
			}
		})
	}
}

// What New refuses Decide refuses as well.
func TestDecideRefuses(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	for _, tt := range []struct {
		name string
		cfg  Config
	}{
		{"no target", Config{}},
		{"nobody", Config{Targets: Hosts(netip.IPv4Unspecified())}},
		{"no interface", Config{Targets: Hosts(pair.FarIP), Interface: "eth7"}},
		{"no route", Config{Targets: Hosts(netip.MustParseAddr("203.0.113.9")), Interface: "eth0"}},
		{"two families", Config{Targets: Hosts(pair.FarIP), Interface: "eth0", Source: netip.IPv6Loopback()}},
		{"a group as a source", Config{Targets: Hosts(pair.FarIP), Interface: "eth0", Source: netip.MustParseAddr("224.0.0.1")}},
		{"the target as the source", Config{Targets: Hosts(pair.FarIP), Interface: "eth0", Source: pair.FarIP}},
		{"the source as the gateway", Config{
			Targets: Hosts(pair.FarIP), Interface: "eth0",
			Source: netip.MustParseAddr("198.51.100.7"), Gateway: netip.MustParseAddr("198.51.100.7"),
		}},
		{"broadcast", Config{Targets: Hosts(netip.MustParseAddr("198.51.100.255")), Interface: "eth0"}},
		{"tags on lo", Config{Targets: Hosts(netip.MustParseAddr("127.0.0.1")), Interface: "lo", VLANs: make([]frame.VLAN, 1)}},
		{"a gateway on lo", Config{Targets: Hosts(netip.MustParseAddr("127.0.0.1")), Interface: "lo", Gateway: pair.FarIP}},
		{"too long", Config{Targets: Hosts(pair.FarIP), Interface: "eth0", DataLen: new(2000), PMTU: PMTUDo}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := newIn(pair.Near, tt.cfg)
			if err == nil {
				t.Fatal("New refuses nothing", p.Close())
			}
			if d, got := decideIn(t, pair.Near, tt.cfg); d != nil || got == nil || got.Error() != err.Error() {
				t.Errorf("%+v, %v, want %v", d, got, err)
			}
		})
	}
	for want, cfg := range map[string]Config{
		"2 targets: a decision is of one":                                    {Targets: Hosts(pair.FarIP, pair.NearIP)},
		"neighbors are asked for where they are: there is nothing to decide": {Targets: Hosts(pair.FarIP), Neighbor: &Neighbor{}},
	} {
		if d, err := decideIn(t, pair.Near, cfg); d != nil || err == nil || err.Error() != want {
			t.Errorf("%+v, %v, want %s", d, err, want)
		}
	}
}
