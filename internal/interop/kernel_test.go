//go:build interop && linux

package interop

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// TestKernelAnswers has Linux's own stack for a peer, on the link and behind a
// router: it answers every probe, so it has nothing against our frames.
func TestKernelAnswers(t *testing.T) {
	pair, routed := labtest.NewPair(t, nil), labtest.NewRouted(t)
	for _, tt := range []struct {
		name   string
		near   *lab.Namespace
		target netip.Addr
	}{
		{"on the link", pair.Near, pair.FarIP},
		{"the router", routed.Near, routed.RouterIP},
		{"the router's far side", routed.Near, routed.RouterFarIP},
		{"behind the router", routed.Near, routed.HostIP},
	} {
		for _, args := range []string{
			"-c 100 -d 2ms", "-c 3 -d 10ms -s 0", "-c 3 -d 10ms -s 1472", "-c 3 -d 10ms -M dont -Q 255",
			"-c 3 -d 10ms --filter classic", "-c 3 -d 10ms --timestamps user",
		} {
			t.Run(strings.ReplaceAll(tt.name+" "+args, " ", "_"), func(t *testing.T) {
				o := l2ping(t, tt.near, append(strings.Fields(args), "-i", "eth0", "-W", patience, "-q", tt.target.String())...)
				if o.exit != 0 || !strings.Contains(o.stdout, " received, 0% packet loss") {
					t.Error(o)
				}
			})
		}
	}
}

// TestKernelNeighborsAreLeftAlone holds that we do not meddle with the kernel's
// neighbor table: no entry comes to be by our frames, none is changed but in
// one way. The answer to an ARP request of ours is heard by the kernel too, and
// brings an entry that was in doubt up to date, as anybody's would (arp_process).
func TestKernelNeighborsAreLeftAlone(t *testing.T) {
	for _, tt := range []struct {
		name          string
		before, after lab.NeighborState
	}{
		{"none", 0, 0},
		{"permanent", lab.Permanent, lab.Permanent},
		{"reachable", lab.Reachable, lab.Reachable},
		{"stale", lab.Stale, lab.Reachable},
		{"failed", lab.Failed, lab.Reachable},
	} {
		for _, routed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,routed=%t", tt.name, routed), func(t *testing.T) {
				t.Parallel()
				pair := labtest.NewPair(t, nil)
				near, hop, mac, target := pair.Near, pair.FarIP, pair.FarMAC, pair.FarIP
				if routed {
					r := labtest.NewRouted(t)
					near, hop, mac, target = r.Near, r.RouterIP, r.RouterMAC, r.HostIP
				}
				switch tt.before {
				case 0:
					mac = nil
				case lab.Failed:
					must(t, near.SetNeighbor("eth0", hop, nil, tt.before))
				default:
					must(t, near.SetNeighbor("eth0", hop, mac, tt.before))
				}
				if o := l2ping(t, near, "-i", "eth0", "-c", "20", "-d", "20ms", "-W", patience, "-q", target.String()); o.exit != 0 {
					t.Error(o)
				}
				got, state, err := near.Neighbor("eth0", hop)
				if err != nil || state != tt.after || !bytes.Equal(got, mac) {
					t.Errorf("the entry is %v in state %#x, want %v in %#x, %v", got, int(state), mac, int(tt.after), err)
				}
				if !routed {
					return
				}
				if got, state, err = near.Neighbor("eth0", target); err != nil || state != 0 {
					t.Errorf("the target has an entry now: %v in state %#x, %v", got, int(state), err)
				}
			})
		}
	}
}
