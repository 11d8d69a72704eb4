package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/l2/frame"
)

// insertTag puts an 802.1Q tag into a frame, before those that it has.
func insertTag(b []byte, tci uint16) []byte { return insert(b, etherTypeVLAN, tci) }

// insertService puts an 802.1ad tag into a frame.
func insertService(b []byte, tci uint16) []byte { return insert(b, etherTypeQinQ, tci) }

func insert(b []byte, typ, tci uint16) []byte {
	tagged := bytes.Clone(b[:12])
	tagged = binary.BigEndian.AppendUint16(tagged, typ)
	tagged = binary.BigEndian.AppendUint16(tagged, tci)
	return append(tagged, b[12:]...)
}

// tagSamples are frames with VLAN tags. The kernel takes the outer one out.
func tagSamples() []sample {
	const (
		priority = 7 << 13
		drop     = 1 << 12
	)
	var list []sample
	for _, base := range []struct {
		name  string
		bytes []byte
		want  wants
		later bool
	}{
		{"reply", newPing(), all4(ours), false},
		{"reply of another peer", newPing(func(p *ping) { p.ip.SrcIP = otherIP.AsSlice() }), all4(claimed).but(ours, anyPeer...), false},
		{"reply of another id", newPing(func(p *ping) { p.icmp.Id++ }), nil, false},
		{"broadcast reply", newPing(dstMAC(frame.Broadcast)), all4(ours), false},
		{"reply to another station", newPing(dstMAC(otherMAC)), by(ours, mMAC), false},
		{"error", newError(icmpUnreachable, newQuote()), all4(ours), false},
		{"first fragment", newPing(func(p *ping) { p.ip.Flags = layers.IPv4MoreFragments }), all4(ours).only(fragments...), false},
		{"later fragment", newPing(func(p *ping) { p.ip.FragOffset = 185 }), all4(ours).only(fragments...), true},
		{"IPv6 reply", newPing6(), all6(ours), false},
		{"IPv6 error", newError6(icmp6PacketTooBig, newQuote6()), all6(ours), false},
		{"IPv6 later fragment", newPing6(fragment6(181, true)), all6(ours).only(fragments...), true},
		{"ARP reply", newARP(), arpReplies(), false},
		{"ARP reply to a probe", newARP(func(_ *layers.Ethernet, a *layers.ARP) { a.DstProtAddress = make([]byte, 4) }), by(ours, mARPAny, mARPProbe, mNeighborBoth).with(arpClaims()), false},
		{"ARP request", newARP(arpOperation(layers.ARPRequest)), arpRequests(), false},
		{"ARP probe", newARPProbe(), arpClaims(), false},
		{"advertisement", newAdvertisement(), advertised(), false},
		{"advertisement to all nodes", nodesAdvertisement(), advertised().with(by(ours, mNeighborProbe6)), false},
		{"solicitation", newSolicitation(), by(ours, mRequest6, mRequestMAC6), false},
		{"address probe", newProbe6(), claims6(), false},
	} {
		b := base.bytes
		for _, s := range []sample{
			{name: "VLAN 5", vlan: true, tci: 5, bytes: b, ids: []uint16{5}},
			{name: "VLAN 5 and priority", vlan: true, tci: priority | drop | 5, bytes: b, ids: []uint16{5}},
			{name: "VLAN 7", vlan: true, tci: 7, bytes: b, ids: []uint16{7}},
			{name: "VLAN 4094", vlan: true, tci: 4094, bytes: b, ids: []uint16{4094}},
			{name: "VLAN 0x105", vlan: true, tci: 0x105, bytes: b, ids: []uint16{0x105}},
			{name: "VLAN 0", vlan: true, bytes: b},
			{name: "priority tag", vlan: true, tci: priority | drop, bytes: b},
			{name: "two priority tags", vlan: true, tci: priority, bytes: insertTag(b, priority)},
			{name: "three priority tags", vlan: true, tci: priority, bytes: insertTag(insertService(b, priority), drop)},
			{name: "VLAN 5.7", vlan: true, tci: 5, bytes: insertTag(b, 7), ids: []uint16{5, 7}},
			{name: "VLAN 5.7 and priorities", vlan: true, tci: priority | 5, bytes: insertService(b, drop|7), ids: []uint16{5, 7}},
			{name: "VLAN 7.5", vlan: true, tci: 7, bytes: insertTag(b, 5), ids: []uint16{7, 5}},
			{name: "VLAN 5.5", vlan: true, tci: 5, bytes: insertTag(b, 5), ids: []uint16{5, 5}},
			{name: "VLAN 5.9", vlan: true, tci: 5, bytes: insertTag(b, 9), ids: []uint16{5, 9}},
			{name: "VLAN 5 above a priority tag", vlan: true, tci: 5, bytes: insertTag(b, priority), ids: []uint16{5}},
			{name: "VLAN 5 below a priority tag", vlan: true, tci: priority, bytes: insertTag(b, 5), ids: []uint16{5}},
			{name: "VLAN 5.0.7", vlan: true, tci: 5, bytes: insertService(insertTag(b, 7), priority), ids: []uint16{5, 7}},
			{name: "VLAN 0.5.7", vlan: true, bytes: insertService(insertTag(b, 7), 5), ids: []uint16{5, 7}},
			{name: "VLAN 5.7.0", vlan: true, tci: 5, bytes: insertService(insertTag(b, 0), 7), ids: []uint16{5, 7}},
			{name: "VLAN 5.7.9", vlan: true, tci: 5, bytes: insertTag(insertTag(b, 9), 7), ids: []uint16{5, 7, 9}},
			// The first is gone from a word of 32 bits.
			{name: "VLAN 256.5.7", vlan: true, tci: 256, bytes: insertTag(insertTag(b, 7), 5), ids: []uint16{256, 5, 7}},
			{name: "tags in the frame alone", bytes: insertService(insertTag(b, 7), 5), ids: []uint16{5, 7}},
			{name: "tag in the frame alone", bytes: insertTag(b, 5), ids: []uint16{5}},
		} {
			s.name = fmt.Sprintf("%s, %s", base.name, s.name)
			s.want, s.later = base.want, base.later
			list = append(list, s)
		}
		for _, s := range []sample{
			{name: "VLAN 0.0.0.0", vlan: true, bytes: insertTag(insertTag(insertTag(b, 0), 0), 0)},
			{name: "VLAN 5.7.0.0", vlan: true, tci: 5, bytes: insertTag(insertTag(insertTag(b, 0), 0), 7)},
			{name: "the tag of a provider bridge before the standard", vlan: true, bytes: insert(b, 0x9100, 0)},
			{name: "cut in a tag", vlan: true, tci: 5, bytes: insertTag(b, 7)[:etherLen+3]},
			{name: "cut in a second tag", vlan: true, bytes: insertTag(insertTag(b, 7), 5)[:etherLen+tagLen+2]},
			{name: "cut behind a tag", vlan: true, bytes: insertTag(b, 0)[:etherLen+tagLen]},
		} {
			s.name = fmt.Sprintf("%s, %s", base.name, s.name)
			list = append(list, s)
		}
	}
	return list
}

// fragmentSamples are the fragments of IPv4.
func fragmentSamples() []sample {
	first := func(p *ping) { p.ip.Flags = layers.IPv4MoreFragments }
	at := func(offset uint16) func(*ping) { return func(p *ping) { p.ip.FragOffset = offset } }
	other4 := func(p *ping) { p.ip.SrcIP = otherIP.AsSlice() }
	parts := all4(ours).only(fragments...)
	short := newPing(at(185), recordRoute)
	binary.BigEndian.PutUint16(short[etherLen+2:], 59)
	return []sample{
		{name: "first fragment", bytes: newPing(first), want: parts},
		{name: "first fragment with options", bytes: newPing(first, recordRoute), want: parts},
		{name: "first fragment of another peer", bytes: newPing(first, other4), want: all4(claimed).only(fragments...).but(ours, fragAny...)},
		{name: "first fragment with code 1", bytes: newPing(first, icmpType(0, 1)), want: all4(claimed).only(fragments...)},
		{name: "first fragment without cookie", bytes: newPing(first, func(p *ping) { p.payload = nil }), want: all4(claimed).only(fragments...)},
		{name: "first fragment with another id", bytes: newPing(first, func(p *ping) { p.icmp.Id++ })},
		{name: "first fragment of a request", bytes: newPing(first, icmpType(8, 0))},
		{name: "last fragment", bytes: newPing(at(1)), want: parts, later: true},
		{name: "fragment in the middle", bytes: newPing(first, at(185)), want: parts, later: true},
		{name: "fragment far out", bytes: newPing(at(0x1fff)), want: parts, later: true},
		{name: "last fragment with options", bytes: newPing(at(185), recordRoute), want: parts, later: true},
		{name: "last fragment shorter than its header", bytes: short},
		{name: "last fragment longer than the frame", bytes: newPing(at(185), func(p *ping) { p.payload = nil })[:etherLen+ipv4Len]},
		{name: "last fragment of another peer", bytes: newPing(at(185), other4), want: parts.only(fragAny...), later: true},
		{name: "last fragment to another host", bytes: newPing(at(185), func(p *ping) { p.ip.DstIP = otherIP.AsSlice() }), want: by(ours, mBothFragments), later: true},
		{name: "last fragment to another station", bytes: newPing(at(185), dstMAC(otherMAC))},
		{name: "last fragment of UDP", bytes: newPing(at(185), func(p *ping) { p.ip.Protocol = layers.IPProtocolUDP })},
		{name: "last fragment that looks like an error", bytes: newError(icmpTimeExceeded, newQuote(), at(185), func(p *ping) { p.ip.SrcIP = peerIP.AsSlice() }), want: parts, later: true},
	}
}

// rawSamples are frames of an interface without a link layer.
func rawSamples() []sample {
	strip := func(b []byte) []byte { return b[etherLen:] }
	v4, v6 := by(ours, mRaw4, mRawBoth), by(ours, mRaw6, mRawBoth)
	later := func(p *ping) { p.ip.FragOffset = 185 }
	list := []sample{
		{name: "raw reply", bytes: strip(newPing()), want: v4},
		{name: "raw reply with options", bytes: strip(newPing(recordRoute)), want: v4},
		{name: "raw reply of another peer", bytes: strip(newPing(func(p *ping) { p.ip.SrcIP = otherIP.AsSlice() })), want: by(ours, mRawBoth).with(by(claimed, mRaw4))},
		{name: "raw reply of another id", bytes: strip(newPing(func(p *ping) { p.icmp.Id++ }))},
		{name: "raw reply with another cookie", bytes: strip(newPing(func(p *ping) { p.payload[0]++ })), want: by(claimed, mRaw4, mRawBoth)},
		{name: "raw reply of one byte too few", bytes: strip(newPing())[:60]},
		{name: "raw error", bytes: strip(newError(icmpTimeExceeded, newQuote())), want: v4},
		{name: "raw first fragment", bytes: strip(newPing(func(p *ping) { p.ip.Flags = layers.IPv4MoreFragments })), want: by(ours, mRawBoth)},
		{name: "raw later fragment", bytes: strip(newPing(later)), want: by(ours, mRawBoth), later: true},
		{name: "raw IPv6 reply", bytes: strip(newPing6()), want: v6},
		{name: "raw IPv6 reply, no fragment", bytes: strip(newPing6(fragment6(0, false))), want: v6},
		{name: "raw IPv6 reply of another peer", bytes: strip(newPing6(src6(otherIP6))), want: by(ours, mRawBoth).with(by(claimed, mRaw6))},
		{name: "raw IPv6 error", bytes: strip(newError6(icmp6PacketTooBig, newQuote6())), want: v6},
		{name: "raw IPv6 error quoting a fragment", bytes: strip(newError6(icmp6PacketTooBig, newQuote6(fragment6(0, true)))), want: v6},
		{name: "raw IPv6 later fragment", bytes: strip(newPing6(fragment6(181, true))), want: by(ours, mRawBoth), later: true},
		{name: "raw reply of version 5", bytes: append([]byte{0x55}, strip(newPing())[1:]...)},
		{name: "raw reply of version 0", bytes: append([]byte{0x05}, strip(newPing())[1:]...)},
		{name: "raw advertisement", bytes: strip(newAdvertisement())},
		{name: "raw header alone", bytes: strip(newPing())[:ipv4Len]},
		{name: "raw byte", bytes: []byte{0x60}},
		{name: "raw nothing", bytes: []byte{}},

		// No such interface has VLANs, but if it had they would not be ours.
		{name: "raw reply in VLAN 5", bytes: strip(newPing()), vlan: true, tci: 5, want: v4, ids: []uint16{5}},
		{name: "raw reply with a priority tag", bytes: strip(newPing()), vlan: true, tci: 7 << 13, want: v4},
	}
	for i := range list {
		list[i].raw = true
	}
	return list
}
