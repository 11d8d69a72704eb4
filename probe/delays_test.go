//go:build linux

package probe

import (
	"slices"
	"testing"
	"time"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// A peer that answers after the delays of a script: they come out in the
// distribution. That nothing is measured shorter than it took is held to the
// script, that nothing is longer to the times of the single replies.
func TestDelaysInDistribution(t *testing.T) {
	const ms = time.Millisecond
	delays := func(seq uint64) time.Duration {
		switch {
		case seq <= 120:
			return 1 * ms
		case seq <= 180:
			return 4 * ms
		case seq <= 198:
			return 12 * ms
		}
		return 40 * ms
	}
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	labtest.StartPeer(t, pair.Far, "eth0",
		"seq 1..120: delay 1ms\nseq 121..180: delay 4ms\nseq 181..198: delay 12ms\nseq 199..200: delay 40ms")
	all := events(t, pinger(t, pair.Near, Config{Targets: Hosts(pair.FarIP), Count: 200, Interval: 2 * ms}))
	replies, _, s := replied(t, all)
	if len(replies) != 200 || s.Received != 200 {
		t.Fatalf("%d replies, %d received", len(replies), s.Received)
	}
	var rtts, wires []time.Duration
	for _, ev := range replies {
		r := &ev.Reply
		if r.RTT < delays(ev.Seq) {
			t.Errorf("reply %d after %v, the peer took %v", ev.Seq, r.RTT, delays(ev.Seq))
		}
		rtts = append(rtts, r.RTT)
		if r.Budget.Wire != Unknown {
			wires = append(wires, r.Budget.Wire)
		}
	}
	slices.Sort(rtts)
	slices.Sort(wires)
	for _, tt := range []struct {
		q    float64
		rank int
		take time.Duration // at least
	}{
		{0.5, 100, 1 * ms}, {0.6, 120, 1 * ms}, {0.61, 122, 4 * ms}, {0.9, 180, 4 * ms},
		{0.91, 182, 12 * ms}, {0.99, 198, 12 * ms}, {0.999, 200, 40 * ms}, {1, 200, 40 * ms},
	} {
		got, want := s.RTT.Quantile(tt.q), rtts[tt.rank-1]
		if got < tt.take || got < want || got > want+want/1000+1 {
			t.Errorf("quantile %v is %v: the reply of that rank took %v, the peer %v", tt.q, got, want, tt.take)
		}
	}
	if got := s.Budget.Wire; int(got.Count) != len(wires) || got.Min != wires[0] || got.Max != wires[len(wires)-1] {
		t.Errorf("%d parts of wire from %v to %v, the replies have %d from %v to %v",
			got.Count, got.Min, got.Max, len(wires), wires[0], wires[len(wires)-1])
	}
}
