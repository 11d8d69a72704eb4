//go:build linux

package arp

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2/frame"
)

// messages are frames that a table or a responder may get.
func messages(t testing.TB) map[string][]byte {
	all := map[string][]byte{}
	put := func(name string, b []byte, err error) {
		must(t, err)
		all[name] = b
	}
	near, far := netip.MustParseAddr("2001:db8:1::1"), netip.MustParseAddr("2001:db8:1::2")
	header := frame.Header{Dst: someMAC, Src: otherMAC}
	tagged := header
	tagged.VLANs = []frame.VLAN{{Type: frame.EtherTypeVLAN, TCI: 5}}
	a := frame.ARP{
		Operation: frame.ARPReply, SenderMAC: otherMAC, SenderIP: netip.MustParseAddr("198.51.100.2"),
		TargetMAC: someMAC, TargetIP: netip.MustParseAddr("198.51.100.1"),
	}
	b, err := a.MarshalBehind(header)
	put("ARP reply", b, err)
	b, err = a.MarshalBehind(tagged)
	put("ARP reply, tagged", b, err)
	a.Operation, a.TargetIP = frame.ARPRequest, foreign4
	b, err = a.MarshalBehind(header)
	put("ARP request", b, err)
	n := frame.NDP{
		Type: frame.ICMPv6NeighborAdvertisement, Src: far, Dst: near, Target: far,
		Solicited: true, Override: true, MAC: otherMAC,
	}
	b, err = n.Marshal(header)
	put("advertisement", b, err)
	n.Dst, n.Solicited = allNodes, false
	header.Dst = frame.MulticastMAC(allNodes)
	b, err = n.Marshal(header)
	put("advertisement to all", b, err)
	n.Type, n.Target, n.Dst = frame.ICMPv6NeighborSolicitation, foreign6, frame.SolicitedNode(foreign6)
	b, err = n.Marshal(header)
	put("solicitation", b, err)
	return all
}

func TestReadReply(t *testing.T) {
	far4, near4 := netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.1")
	far6, near6 := netip.MustParseAddr("2001:db8:1::2"), netip.MustParseAddr("2001:db8:1::1")
	all := messages(t)
	for name, want := range map[string]reply{
		"ARP reply":            {far4, near4, answer{otherMAC, true, true}},
		"ARP request":          {},
		"advertisement":        {far6, near6, answer{otherMAC, true, true}},
		"advertisement to all": {far6, allNodes, answer{otherMAC, false, true}},
		"solicitation":         {},
	} {
		if r, ok := readReply(capture.Frame{Data: all[name]}, someMAC, nil); r != want || ok != want.from.IsValid() {
			t.Errorf("%s: %+v, %v, want %+v", name, r, ok, want)
		}
	}
	if _, ok := readReply(capture.Frame{Data: all["advertisement"]}, otherMAC, nil); ok {
		t.Error("an advertisement to another host's MAC is taken")
	}
	f := capture.Frame{Data: all["advertisement"]}
	if n := testing.AllocsPerRun(100, func() { readReply(f, someMAC, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever comes in: what is taken for a reply has a MAC that frames can go to,
// or none, and what is answered is a message of its own kind.
func FuzzFrames(f *testing.F) {
	for _, b := range messages(f) {
		f.Add(b, uint16(0), false, uint8(0))
		f.Add(b, uint16(5), true, uint8(1))
	}
	f.Fuzz(func(t *testing.T, data []byte, tci uint16, tagged bool, count uint8) {
		in := capture.Frame{Data: data, Length: len(data)}
		if tagged {
			in.VLAN = capture.VLAN{Present: true, TCI: tci, Type: frame.EtherTypeVLAN}
		}
		ids := []uint16{5, 6}[:count%3]
		if r, ok := readReply(in, someMAC, ids); ok {
			if !r.from.IsValid() || r.from.Is4() != r.to.Is4() || r.answer.mac.IsGroup() || r.from.Is4() && r.answer.mac.IsZero() {
				t.Errorf("%+v", r)
			}
		}
		for _, addr := range []netip.Addr{foreign4, foreign6} {
			r := &Responder{addr: addr, mac: someMAC, ids: ids}
			b, ok := r.reply(in)
			if !ok {
				continue
			}
			var e frame.Ethernet
			must(t, e.Decode(b))
			if e.Src != someMAC || e.Dst.IsZero() || e.Tags != len(ids) {
				t.Errorf("%+v", e)
			}
			var a frame.ARP
			var n frame.NDP
			switch {
			case addr.Is4():
				must(t, a.Decode(e.Payload))
				if a.SenderIP != addr || a.Operation != frame.ARPReply {
					t.Errorf("%+v", a)
				}
			default:
				must(t, n.Decode(e.Payload))
				if n.Target != addr || n.Src != addr || n.Type != frame.ICMPv6NeighborAdvertisement {
					t.Errorf("%+v", n)
				}
			}
		}
	})
}

// Whatever the kernel's messages look like, none is read beyond its end.
func FuzzKernelMessages(f *testing.F) {
	f.Add(appendLookup(nil, 1, 2, foreign4))
	f.Add(append(appendLookup(nil, 1, 2, foreign6), appendLookup(nil, 2, 3, foreign4)...))
	f.Add([]byte{36, 0, 0, 0, unix.NLMSG_ERROR, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		for m, rest := nextMessage(b); m.data != nil; m, rest = nextMessage(rest) {
			if n++; n > len(b)/nlHeaderLen {
				t.Fatalf("%d messages in %d bytes", n, len(b))
			}
			if _, addr, e, ok := parseNeighbor(m.data); ok != addr.IsValid() || !ok && e != (entry{}) {
				t.Errorf("%v, %+v, %v", addr, e, ok)
			}
			if err := parseError(m.data); err == nil && len(m.data) < 4 {
				t.Error("an errno out of nothing")
			}
		}
	})
}

// A request to the kernel reads as one of its own messages does.
func TestAppendLookup(t *testing.T) {
	for _, addr := range []netip.Addr{foreign4, foreign6} {
		b := appendLookup(nil, 7, 9, addr)
		m, rest := nextMessage(b)
		index, got, e, ok := parseNeighbor(m.data)
		if len(rest) != 0 || m.kind != unix.RTM_GETNEIGH || m.sequence != 7 || index != 9 || got != addr || e != (entry{}) || !ok {
			t.Errorf("%+v, %d, %v, %+v, %v", m, index, got, e, ok)
		}
	}
}
