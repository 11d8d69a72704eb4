//go:build linux

package render

import (
	"net/netip"
	"testing"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

func TestMain(m *testing.M) { labtest.Main(m) }

var (
	near     = netip.MustParseAddr("192.0.2.7")
	far      = netip.MustParseAddr("192.0.2.1")
	gateway  = netip.MustParseAddr("192.0.2.254")
	six      = netip.MustParseAddr("2001:db8::1")
	gateway6 = netip.MustParseAddr("2001:db8::fe")

	allHosts = netip.MustParseAddr("224.0.0.1")

	nearMAC = frame.MAC{0x02, 0, 0x5e, 0, 0x53, 0x07}
	farMAC  = frame.MAC{0x02, 0, 0x5e, 0, 0x53, 0x01}

	at = time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.FixedZone("", 3600))
)

// typed has every target typed so.
func typed(name string) func(netip.Addr) string {
	return func(netip.Addr) string { return name }
}

// path is an on-link path from near to far.
func path() *l2.Path {
	ifc := &l2.Interface{Index: 2, Name: "eth0", MAC: nearMAC, MTU: 1500, LinkType: "ether", Kind: "veth"}
	return &l2.Path{
		Interface:   ifc,
		Owner:       ifc,
		Destination: far,
		Source:      near,
		NextHop:     far,
		OnLink:      true,
		Route:       netip.MustParsePrefix("192.0.2.0/24"),
		Table:       254,
		MTU:         1500,
	}
}

// neighbor is far, known by ARP.
func neighbor() arp.Neighbor {
	return arp.Neighbor{Addr: far, MAC: farMAC, How: arp.HowARP, Took: 412 * time.Microsecond}
}

func started() *probe.Event {
	return &probe.Event{
		Kind: probe.Start, Time: at, Address: far,
		Start: &probe.Started{
			Decision:    arp.Decision{Path: path(), Neighbor: neighbor()},
			SourceMAC:   nearMAC,
			ID:          4660,
			DataLen:     56,
			CookieBytes: 8,
			Filter:      bpf.EBPF,
			Timestamps:  l2.StampDriver,
		},
	}
}

func replied(seq uint64, change ...func(*probe.Reply)) *probe.Event {
	e := &probe.Event{Kind: probe.Replied, Time: at, Address: far, Seq: seq, Reply: probe.Reply{
		State: probe.StateReplied, From: far, FromMAC: farMAC, TTL: 64, Bytes: 64,
		RTT: 11 * time.Microsecond, RTTSource: l2.StampDriver,
		Budget: probe.Budget{
			Send: 6100 * time.Nanosecond, Queue: 2 * time.Microsecond,
			Wire: 11 * time.Microsecond, Receive: 9260 * time.Nanosecond, NIC: probe.Unknown,
		},
	}}
	for _, f := range change {
		f(&e.Reply)
	}
	return e
}

func failed(seq uint64, f probe.Failure) *probe.Event {
	return &probe.Event{Kind: probe.Failed, Time: at, Address: far, Seq: seq, Failure: f}
}

// unknown is a budget of which nothing was measured.
var unknown = probe.Budget{
	Send: probe.Unknown, Queue: probe.Unknown, Wire: probe.Unknown, Receive: probe.Unknown, NIC: probe.Unknown,
}

// rtts are statistics of RTTs.
func rtts(all ...time.Duration) (r probe.RTT) {
	for _, d := range all {
		r.Add(d)
	}
	return r
}

// times is a distribution.
func times(all ...time.Duration) (d probe.Distribution) {
	for _, v := range all {
		d.Add(v)
	}
	return d
}

func ended(s probe.Statistics) *probe.Event {
	s.Address = far
	return &probe.Event{Kind: probe.Summary, Time: at, Address: far, Statistics: &s}
}
