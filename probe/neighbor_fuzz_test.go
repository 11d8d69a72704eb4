//go:build linux

package probe

import (
	"net/netip"
	"testing"
	"time"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2/frame"
)

// FuzzPairNeighbor brings hostile frames to an engine that has asked: no more is
// counted than came, and nothing is learnt of addresses that were not asked for.
func FuzzPairNeighbor(f *testing.F) {
	a := frame.ARP{Operation: frame.ARPReply, SenderMAC: farMAC, SenderIP: farIP, TargetMAC: nearMAC, TargetIP: nearIP}
	b, err := a.Marshal(nearMAC)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	for _, dst := range []netip.Addr{near6, netip.IPv6LinkLocalAllNodes()} {
		n := frame.NDP{Type: frame.ICMPv6NeighborAdvertisement, Src: far6, Dst: dst, Target: far6, MAC: otherMAC, Router: true}
		header := frame.Header{Src: otherMAC, Dst: nearMAC}
		if dst.IsMulticast() {
			header.Dst = frame.MulticastMAC(dst)
		}
		if b, err = n.Marshal(header); err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, m := range []saying{
		sayARP(func(*frame.ARP) {}),
		sayARP(func(a *frame.ARP) { a.SenderIP, a.TargetIP = netip.IPv4Unspecified(), farIP }),
		sayNDP(func(*frame.NDP, *frame.Header) {}),
	} {
		if b, err = m.marshal(); err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzStreet(t, data, NeighborAsk)
		fuzzStreet(t, data, NeighborDetect)
	})
}

// fuzzStreet has a frame come twice to who asks for two addresses.
func fuzzStreet(t *testing.T, data []byte, mode NeighborMode) {
	s := newStreet(t, asking(&Neighbor{Mode: mode}, 0, farIP, far6))
	for _, tgt := range s.targets {
		tgt.at = 1
		tgt.schedule.start(1)
		s.engine.queue.push(tgt)
	}
	s.step()
	for range 2 {
		s.queue = append(s.queue, capture.Frame{Data: data, Length: len(data), Arrival: time.Now().UnixNano()})
	}
	s.step()
	got := s.snapshot()
	counted := got.Received + got.Duplicates + got.Rejected
	if mode == NeighborDetect && counted == 0 {
		counted = 2 // it is of no target's address
	}
	if got.Sent != 2 || counted != 2 || got.Received > 1 || got.MoreReplies > 0 || got.Conflicts > 0 {
		t.Errorf("mode %v: %s", mode, brief(&got))
	}
	s.read()
}
