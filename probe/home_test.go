//go:build linux

package probe

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2/frame"
)

// Who answers for another source while the run goes on does so in the namespace that
// the Pinger was made in, though the goroutine that opens it is not there.
func TestRunAnswersAtHome(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	labtest.StartPeer(t, pair.Far, "eth0", "vlan 7")
	p := pinger(t, pair.Near, Config{
		Interface: "eth0", Targets: Hosts(pair.FarIP), VLANs: []frame.VLAN{{Type: frame.EtherTypeVLAN, TCI: 7}},
		Interval: 20 * time.Millisecond,
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	source := netip.MustParseAddr("198.51.100.9")
	moved, replies := false, 0
	for ev, err := range p.Run(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		switch ev.Kind {
		case Replied:
			if replies++; replies == 1 {
				// Its route is the better one.
				if err := pair.Near.AddAddr("eth0", netip.PrefixFrom(source, 25)); err != nil {
					t.Fatal(err)
				}
			}
			if moved {
				cancel()
			}
		case Changed:
			if c := ev.Change; c.New != nil && c.New.Source == source {
				moved = true
			}
		case Failed:
			// Until the next hop has answered there is no reply from it.
			if moved && !errors.Is(ev.Failure.Local, ErrNoNeighbor) {
				t.Fatalf("nobody answers for the new source: %v", ev.Failure.Local)
			}
		}
	}
	if !moved || p.responders[source] == nil {
		t.Errorf("probes come from another source: %v; answers for %d", moved, len(p.responders))
	}
}
