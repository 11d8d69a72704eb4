package lab_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// through gives two interfaces addresses of networks of their own, and delivers
// between them.
func through(t *testing.T, p *lab.Pair, ifname string, four, six bool) {
	t.Helper()
	var pairs [][2]netip.Addr
	if four {
		pairs = append(pairs, [2]netip.Addr{inner(1), inner(2)})
	}
	if six {
		pairs = append(pairs, [2]netip.Addr{netip.MustParseAddr("2001:db8:5::1"), netip.MustParseAddr("2001:db8:5::2")})
	}
	for i, n := range []*lab.Namespace{p.Near, p.Far} {
		for _, addrs := range pairs {
			bits := 24
			if addrs[i].Is6() {
				bits = 64
			}
			must(t, n.AddAddr(ifname, netip.PrefixFrom(addrs[i], bits)))
		}
		up(t, n, ifname)
	}
	for _, addrs := range pairs {
		if got := delivers(t, p.Near, ifname, p.Far, ifname, addrs[1]); got != addrs[0] {
			t.Errorf("%v heard from %v, want %v", addrs[1], got, addrs[0])
		}
		if got := delivers(t, p.Far, ifname, p.Near, ifname, addrs[0]); got != addrs[1] {
			t.Errorf("%v heard from %v, want %v", addrs[0], got, addrs[1])
		}
	}
}

func TestTunnel(t *testing.T) {
	for _, tt := range []struct {
		kind      lab.TunnelKind
		over6     bool
		four, six bool
		link      string // the library's word for the link layer
		mtu       int
	}{
		{lab.TunnelIPIP, false, true, false, "ipip", 1480},
		{lab.TunnelSIT, false, false, true, "sit", 1480},
		{lab.TunnelIP6, true, true, true, "tunnel6", 1452},
		{lab.TunnelGRE, false, true, true, "gre", 1476},
		{lab.TunnelIP6GRE, true, true, true, "unknown823", 1448},
		{lab.TunnelGRETap, false, true, true, "ether", 1462},
	} {
		t.Run(string(tt.kind), func(t *testing.T) {
			p := labtest.NewPair(t, &lab.PairConfig{IPv6: tt.over6})
			near, far := p.NearIP, p.FarIP
			if tt.over6 {
				near, far = v6(1), v6(2)
			}
			labtest.RequireKind(t, p.Near.AddTunnel("tnl1", tt.kind, near, far))
			labtest.RequireKind(t, p.Far.AddTunnel("tnl1", tt.kind, far, near))
			through(t, p, "tnl1", tt.four, tt.six)
			link, err := p.Near.Handle().LinkByName("tnl1")
			if err != nil || link.Type() != string(tt.kind) || link.Attrs().EncapType != tt.link || link.Attrs().MTU != tt.mtu {
				t.Errorf("%+v, %v; want link type %s, MTU %d", link, err, tt.link, tt.mtu)
			}
		})
	}
	n := labtest.NewNamespace(t)
	if err := n.AddTunnel("tnl1", "metro", v4(1), v4(2)); err == nil || !strings.Contains(err.Error(), "metro") {
		t.Errorf("unknown kind: %v", err)
	}
}

func TestPPP(t *testing.T) {
	p := labtest.NewPair(t, nil)
	labtest.AddPPP(t, p.Near, "dsl0", lab.PPPoE{Parent: "eth0", Remote: p.FarMAC, Session: 0x123})
	labtest.AddPPP(t, p.Far, "dsl0", lab.PPPoE{Parent: "eth0", Remote: p.NearMAC, Session: 0x123})
	through(t, p, "dsl0", true, true)
	link, err := p.Near.Handle().LinkByName("dsl0")
	if err != nil || link.Type() != "ppp" || link.Attrs().EncapType != "ppp" || link.Attrs().MTU != 1492 {
		t.Errorf("%+v, %v", link, err)
	}
	// A second one beside it, that is closed.
	other, err := p.Near.AddPPP("dsl1", lab.PPPoE{Parent: "eth0", Remote: p.FarMAC, Session: 0x124})
	must(t, err)
	if _, err := p.Near.Index("dsl1"); err != nil {
		t.Error(err)
	}
	must(t, other.Close())
	if _, err := p.Near.Index("dsl1"); err == nil {
		t.Error("the interface outlived its PPP")
	}
	if got := delivers(t, p.Near, "dsl0", p.Far, "dsl0", inner(2)); got != inner(1) {
		t.Errorf("heard from %v, want %v", got, inner(1))
	}
	if _, err := p.Near.AddPPP("dsl2", lab.PPPoE{Parent: "nosuch", Remote: p.FarMAC, Session: 1}); err == nil || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("without a parent: %v", err)
	}
}

// TestTeam has a second wire and a bridge at its far end, as a switch has it.
func TestTeam(t *testing.T) {
	p := bare(t)
	must(t, p.Near.AddVeth("eth1", "wire1"), p.Near.Move("wire1", p.Far))
	labtest.RequireKind(t, p.Far.AddBridge("br0", "eth0", "wire1"))
	up(t, p.Far, "br0")
	must(t, p.Far.SetUp("wire1"))
	labtest.RequireKind(t, p.Near.AddTeam("team0", "eth0", "eth1"))
	addressed(t, p.Near, "team0", 1)
	addressed(t, p.Far, "br0", 2)
	must(t, p.Near.SetActive("team0", "eth0"))
	up(t, p.Near, "team0", "eth0", "eth1")
	for _, port := range []string{"eth1", "eth0"} {
		must(t, p.Near.SetActive("team0", port))
		both(t, p.Near, "team0", p.Far, "br0")
	}
	for _, port := range []string{"eth0", "eth1"} {
		if a, b := lookup(t, p.Near, port).HardwareAddr, lookup(t, p.Near, "team0").HardwareAddr; a.String() != b.String() {
			t.Errorf("port %s has MAC %v, the team %v", port, a, b)
		}
	}
}
