//go:build linux

package probe

import (
	"net/netip"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2/frame"
)

// Who answers for the source: the kernel, unless it does not have the address or
// knows nothing of the VLAN. A tag with id 0 is of none, and two answers would be
// one too many.
func TestAnswersForSource(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	labtest.StartPeer(t, pair.Far, "eth0", "")
	priority := frame.VLAN{Type: frame.EtherTypeVLAN, TCI: 5 << 13}
	tag := frame.VLAN{Type: frame.EtherTypeVLAN, TCI: 5<<13 | 100}
	foreign := netip.MustParseAddr("198.51.100.77")
	for _, tt := range []struct {
		name   string
		source netip.Addr
		vlans  []frame.VLAN
		want   int
	}{
		{"untagged", netip.Addr{}, nil, 0},
		{"a priority", netip.Addr{}, []frame.VLAN{priority}, 0},
		{"a VLAN", netip.Addr{}, []frame.VLAN{tag}, 1},
		{"a VLAN behind a priority", netip.Addr{}, []frame.VLAN{priority, tag}, 1},
		{"another's address", foreign, nil, 1},
		{"another's address, a priority", foreign, []frame.VLAN{priority}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := pinger(t, pair.Near, Config{Interface: "eth0", Targets: Hosts(pair.FarIP), Source: tt.source, VLANs: tt.vlans})
			if len(p.responders) != tt.want {
				t.Errorf("answers for %d addresses, want %d", len(p.responders), tt.want)
			}
		})
	}
}

// The kernel answers for its own address to who asks with a priority, and Linux's
// stack replies to probes that bear one.
func TestPriorityTag(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	p := pinger(t, pair.Near, Config{
		Interface: "eth0", Targets: Hosts(pair.FarIP), Count: 3,
		VLANs: []frame.VLAN{{Type: frame.EtherTypeVLAN, TCI: 5 << 13}},
	})
	if replies, _, s := replied(t, events(t, p)); len(replies) != 3 || s.Received != 3 || s.Rejected != 0 {
		t.Errorf("%d replies, %+v", len(replies), s)
	}
}
