//go:build linux

package probe

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// keptEvents are the events of a whole run, with frames of their own.
func keptEvents(t testing.TB, p *Pinger) []Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var all []Event
	for ev, err := range p.Run(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Evidence != nil {
			own := &Evidence{Sched: ev.Evidence.Sched, Driver: ev.Evidence.Driver}
			for i := range ev.Evidence.Frames {
				own.add(&ev.Evidence.Frames[i])
			}
			ev.Evidence = own
		}
		all = append(all, ev)
	}
	if ctx.Err() != nil {
		t.Fatal("the run did not end")
	}
	return all
}

// wired is what two looks at one frame have in common: all but the times.
func wired(f *capture.Frame) string {
	return fmt.Sprintf("%v %d bytes, tag %v: %x", f.PacketType, f.Length, f.VLAN, f.Data)
}

// isAbout tells whether a frame is one of a protocol, which a tag or two may be in
// front of.
func isAbout(b []byte, want frame.EtherType) bool {
	for at := 12; len(b) >= at+2; at += 4 {
		switch is := frame.EtherType(binary.BigEndian.Uint16(b[at:])); is {
		case frame.EtherTypeVLAN:
		default:
			return is == want
		}
	}
	return false
}

// TestEvidenceIsWhatACaptureSees holds the frames that events carry against those
// that a capture on the same interface has.
func TestEvidenceIsWhatACaptureSees(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	six := labtest.NewPair(t, &lab.PairConfig{IPv6: true})
	routed := labtest.NewRouted(t)
	tagged := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	labtest.StartPeer(t, tagged.Far, "eth0", "vlan 7.1 8.2\nseq 2: duplicate 1")
	for _, tt := range []struct {
		name     string
		ns       *lab.Namespace
		cfg      Config
		protocol frame.EtherType
		probes   int
		answers  int
		parts    int // frames of each
	}{
		{"echo", pair.Near, Config{Targets: Hosts(pair.FarIP), Count: 5}, frame.EtherTypeIPv4, 5, 5, 1},
		{"by the program's own times", pair.Near, Config{Targets: Hosts(pair.FarIP), Count: 2, Timestamps: TimestampsUser}, frame.EtherTypeIPv4, 2, 2, 1},
		{"in fragments", pair.Near, Config{Targets: Hosts(pair.FarIP), Count: 3, DataLen: new(3000)}, frame.EtherTypeIPv4, 3, 3, 3},
		{"IPv6 in fragments", six.Near, Config{Targets: Hosts(six.FarIP6), Count: 3, DataLen: new(3000)}, frame.EtherTypeIPv6, 3, 3, 3},
		{"tags and a duplicate", tagged.Near, Config{
			Targets: Hosts(tagged.FarIP), Count: 3, Interface: "eth0",
			VLANs: []frame.VLAN{{Type: frame.EtherTypeVLAN, TCI: 1<<13 | 7}, {Type: frame.EtherTypeVLAN, TCI: 2<<13 | 8}},
		}, frame.EtherTypeIPv4, 3, 4, 1},
		{"ICMP errors", routed.Near, Config{Targets: Hosts(routed.HostIP), TTL: 1, Count: 2}, frame.EtherTypeIPv4, 2, 2, 1},
		{"ARP", pair.Near, Config{Targets: Hosts(pair.FarIP), Interface: "eth0", Neighbor: &Neighbor{}, Count: 3, Timeout: time.Second}, frame.EtherTypeARP, 3, 3, 1},
		{"announcements", pair.Near, Config{
			Targets: Hosts(pair.NearIP), Interface: "eth0", Neighbor: &Neighbor{Mode: NeighborAnnounce}, Count: 3,
		}, frame.EtherTypeARP, 3, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ring := labtest.OpenIn(t, tt.ns, func() (*capture.Ring, error) {
				ifc, err := l2.InterfaceByName("eth0")
				if err != nil {
					return nil, err
				}
				return capture.Open(ifc, nil)
			})
			tt.cfg.Evidence = true
			all := keptEvents(t, pinger(t, tt.ns, tt.cfg))
			if err := ring.Stop(); err != nil {
				t.Fatal(err)
			}
			seen := map[string][]int64{} // and when
			wanted := 0
			for f, err := range ring.Frames(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if !isAbout(f.Data, tt.protocol) || tt.protocol == frame.EtherTypeIPv6 && isNeighborDiscovery(f.Data) {
					continue // of the resolution
				}
				wanted++
				seen[wired(&f)] = append(seen[wired(&f)], f.Arrival)
			}
			var out, in, frames int
			for _, ev := range all {
				v := ev.Evidence
				if v == nil {
					continue
				}
				if frames += len(v.Frames); len(v.Frames) != tt.parts {
					t.Errorf("%d frames of event %d of probe %d, want %d", len(v.Frames), ev.Kind, ev.Seq, tt.parts)
				}
				if ev.Kind == Departed {
					out++
				} else {
					in++
				}
				first, last := v.Frames[0], v.Frames[len(v.Frames)-1]
				if ev.Kind == Departed {
					last = first
				}
				stamped := tt.cfg.Timestamps != TimestampsUser
				if ev.Kind == Departed && (stamped != (v.Sched != 0) || stamped && (first.Arrival != v.Driver || v.Sched > v.Driver)) ||
					ev.Kind != Departed && (v.Sched != 0 || v.Driver != 0) || ev.Kind != Failed && ev.Time.UnixNano() != last.Arrival {
					t.Errorf("event %d of probe %d at %d, stamps %d, %d, frame at %d", ev.Kind, ev.Seq, ev.Time.UnixNano(), v.Sched, v.Driver, first.Arrival)
				}
				stampless := -1
				if !stamped {
					stampless = 0 // nobody has waited until the kernel stamps
				}
				for i := range v.Frames {
					f := &v.Frames[i]
					times := seen[wired(f)]
					at := 0
					if f.PacketType != capture.PacketOutgoing {
						at = max(slices.Index(times, f.Arrival), stampless) // all sockets share that stamp
					}
					if at < 0 || len(times) == 0 {
						t.Errorf("the capture has not seen %s", wired(f))
						continue
					}
					seen[wired(f)] = slices.Delete(times, at, at+1)
				}
			}
			if out != tt.probes || in != tt.answers {
				t.Errorf("the frames of %d probes and %d answers, want %d and %d", out, in, tt.probes, tt.answers)
			}
			if frames != wanted {
				t.Errorf("%d frames in events, the capture has %d", frames, wanted)
			}
		})
	}
}

// isNeighborDiscovery tells whether an IPv6 frame without tags is of the resolution,
// or of multicast listeners.
func isNeighborDiscovery(b []byte) bool {
	const nextHeader = 14 + 6
	if b[nextHeader] == 0 { // hop by hop
		return true
	}
	return b[nextHeader] == 58 && b[14+40] >= 130 && b[14+40] != 143+1 && b[14+40] > 129
}

// Without Config.Evidence there is none.
func TestPingWithoutEvidence(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	p := pinger(t, pair.Near, Config{Targets: Hosts(pair.FarIP), Count: 2})
	for _, ev := range events(t, p) {
		if ev.Kind == Departed || ev.Evidence != nil {
			t.Errorf("event is %+v", ev)
		}
	}
	for _, target := range p.engine.targets {
		if target.kept != nil {
			t.Errorf("room for %d frames", len(target.kept))
		}
	}
}

// The memory of an event's frames is used again behind it.
func TestEvidenceIsUsedAgain(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	p := pinger(t, pair.Near, Config{Targets: Hosts(pair.FarIP), Count: 200, Flood: true, Evidence: true})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n := 0
	for ev, err := range p.Run(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Evidence != nil {
			n++
		}
	}
	if n != 400 {
		t.Errorf("%d events with frames, want 400", n)
	}
	r := p.engine.recorder
	total := 0
	for _, v := range r.free {
		total += v.size
	}
	if total != r.size || r.drops() != 0 {
		t.Errorf("%d bytes are free of %d, %d dropped", total, r.size, r.drops())
	}
}

// Several targets' frames do not mix.
func TestEvidenceOfSeveral(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	labtest.StartPeer(t, pair.Far, "eth0", "address 198.51.100.128/25")
	var targets []netip.Addr
	for i := byte(130); i < 200; i++ {
		targets = append(targets, netip.AddrFrom4([4]byte{198, 51, 100, i}))
	}
	all := keptEvents(t, pinger(t, pair.Near, Config{
		Targets: Hosts(targets...), Count: 5, Interval: 100 * time.Millisecond, Evidence: true,
	}))
	count := map[netip.Addr][2]int{}
	for _, ev := range all {
		if ev.Evidence == nil {
			continue
		}
		c := count[ev.Address]
		p := parse(ev.Evidence.Frames[0].Data)
		if ev.Kind == Departed {
			c[0]++
			p.src, p.dst = p.dst, p.src
		} else {
			c[1]++
		}
		count[ev.Address] = c
		if p.src != ev.Address || p.seq() != uint16(ev.Seq) {
			t.Errorf("event %d of %v, probe %d, has a frame of %v, %d", ev.Kind, ev.Address, ev.Seq, p.src, p.seq())
		}
	}
	for _, address := range targets {
		if count[address] != [2]int{5, 5} {
			t.Errorf("%v: %v frames of probes and replies, want 5 and 5", address, count[address])
		}
	}
}
