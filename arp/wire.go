//go:build linux

package arp

import (
	"net/netip"
	"slices"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// allNodes is the group of all hosts on a link (RFC 4291, section 2.7.1).
var allNodes = netip.MustParseAddr("ff02::1")

// marshal builds the frame of a request: an ARP request (RFC 826), or a neighbor
// solicitation (RFC 4861, section 7.2.2).
func (t *Table) marshal(r request) ([]byte, error) {
	h := r.hop
	addr := h.addr.WithZone("")
	everybody := r.dst == frame.Broadcast
	header := frame.Header{Dst: r.dst, Src: t.mac, VLANs: t.vlans}
	if addr.Is4() {
		ask := frame.ARP{Operation: frame.ARPRequest, SenderMAC: t.mac, SenderIP: h.source, TargetIP: addr}
		return ask.MarshalBehind(header)
	}
	ask := frame.NDP{Type: frame.ICMPv6NeighborSolicitation, Src: h.source, Dst: addr, Target: addr, MAC: t.mac}
	if h.source.IsUnspecified() {
		// Without an address it is a probe as for duplicates, which goes to the
		// group alone and names no MAC (RFC 4861, section 4.3).
		ask.Dst, ask.MAC = frame.SolicitedNode(addr), frame.MAC{}
	}
	if everybody {
		ask.Dst = frame.SolicitedNode(addr)
		header.Dst = frame.MulticastMAC(ask.Dst)
	}
	return ask.Marshal(header)
}

// A reply is what answers a request, or tells all of a change.
type reply struct {
	from   netip.Addr // whose MAC it tells
	to     netip.Addr // who has asked; allNodes is everybody
	answer answer
}

// readReply reads a reply to a host out of a frame; user space has the last word
// on what the filter let through. It does not allocate.
func readReply(f capture.Frame, mac frame.MAC, vlans []uint16) (reply, bool) {
	var e frame.Ethernet
	if e.Decode(f.Data) != nil || !bearsTags(f, &e, vlans) {
		return reply{}, false
	}
	switch e.Type {
	case frame.EtherTypeARP:
		var a frame.ARP
		if a.Decode(e.Payload) != nil || a.Operation != frame.ARPReply || a.TargetMAC != mac || !isHost(a.SenderMAC) {
			return reply{}, false
		}
		return reply{a.SenderIP, a.TargetIP, answer{mac: a.SenderMAC, solicited: true, override: true}}, true
	case frame.EtherTypeIPv6:
		var n frame.NDP
		if n.Decode(e.Payload) != nil || n.Type != frame.ICMPv6NeighborAdvertisement || n.MAC.IsGroup() ||
			e.Dst != mac && !e.Dst.IsGroup() {
			return reply{}, false
		}
		return reply{n.Target, n.Dst, answer{mac: n.MAC, solicited: n.Solicited, override: n.Override}}, true
	}
	return reply{}, false
}

// isHost tells whether a MAC may be a host's.
func isHost(mac frame.MAC) bool { return !mac.IsZero() && !mac.IsGroup() }

// bearsTags tells whether a frame is of the VLANs, the outer one first. The
// kernel has taken the outer tag off it. A tag with id 0 states a priority
// alone, and its frame is of no VLAN (IEEE 802.1Q, section 9.6).
func bearsTags(f capture.Frame, e *frame.Ethernet, vlans []uint16) bool {
	var ids [1 + frame.MaxVLANs]uint16
	n := 0
	if id := (frame.VLAN{TCI: f.VLAN.TCI}).ID(); f.VLAN.Present && id != 0 {
		ids[n] = id
		n++
	}
	for _, v := range e.VLANs[:e.Tags] {
		if id := v.ID(); id != 0 {
			ids[n] = id
			n++
		}
	}
	return slices.Equal(ids[:n], vlans)
}

// askFrom is the address that the path's next hop is asked from, of the next
// hop's own family; the unspecified address if there is none.
func askFrom(path *l2.Path) netip.Addr {
	if path.NextHop.Is4() {
		if path.Source.Is4() {
			return path.Source
		}
		return netip.IPv4Unspecified()
	}
	if path.Source.Is6() {
		return path.Source.WithZone("")
	}
	// IPv4 by an IPv6 next hop. As the kernel does it: by an address of the
	// same scope, link-local before others (net/ipv6/ndisc.c, ndisc_solicit).
	best := netip.IPv6Unspecified()
	for _, p := range owner(path).Addresses {
		a := p.Addr().WithZone("")
		switch {
		case !a.Is6():
		case a.IsLinkLocalUnicast():
			return a
		case best.IsUnspecified():
			best = a
		}
	}
	return best
}
