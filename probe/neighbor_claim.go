//go:build linux

package probe

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/l2ping/l2ping/l2/frame"
)

// A Claim is how another host has said that an address is its own, or is about to
// be.
type Claim uint8

// The claims.
const (
	ClaimNone         Claim = iota // nobody listens for any: see NeighborDetect
	ClaimReply                     // an ARP reply or a neighbor advertisement, to whomever
	ClaimRequest                   // an ARP request for another address, from this one
	ClaimAnnouncement              // an ARP announcement (RFC 5227, section 3)
	ClaimProbe                     // an address probe: the host is about to take it (RFC 5227, section 2.1.1; RFC 4862, section 5.4.3)
)

// String returns the claim's name in JSON.
func (c Claim) String() string {
	switch c {
	case ClaimReply:
		return "reply"
	case ClaimRequest:
		return "request"
	case ClaimAnnouncement:
		return "announcement"
	case ClaimProbe:
		return "probe"
	}
	return ""
}

// detects tells whether claims are what is listened for.
func (e *engine) detects() bool { return e.neighbor.Mode == NeighborDetect }

// claimByARP takes what an ARP packet says, and returns of which address.
func (a *NeighborAnswer) claimByARP(m *frame.ARP) (of netip.Addr) {
	a.Claim, a.Request = ClaimReply, m.Operation == frame.ARPRequest
	a.For, a.ForMAC = m.TargetIP, new(m.TargetMAC)
	switch {
	case a.Request && m.SenderIP.IsUnspecified():
		a.Claim = ClaimProbe
		return m.TargetIP
	case m.SenderIP == m.TargetIP:
		a.Claim = ClaimAnnouncement
	case a.Request:
		a.Claim = ClaimRequest
	}
	return m.SenderIP
}

// claimByNDP takes what an advertisement says, or an address probe, and returns
// from which address.
func (a *NeighborAnswer) claimByNDP(m *frame.NDP) (from netip.Addr) {
	if m.Type == frame.ICMPv6NeighborAdvertisement {
		a.Claim = ClaimReply
		return m.Target
	}
	a.Claim, a.Request, a.Advertisement, a.For = ClaimProbe, true, false, m.Target
	return m.Src
}

// isTo leaves out whom the message is for if that is who asked.
func (a *NeighborAnswer) isTo(address netip.Addr, mac frame.MAC) {
	if a.For == address {
		a.For = netip.Addr{}
	}
	if a.ForMAC != nil && *a.ForMAC == mac {
		a.ForMAC = nil
	}
}

// groups are the multicast MACs that claims are sent to. The host is not in the
// solicited-node group of an address that it does not have, and without IPv6 in
// none at all.
func (c *Config) groups() []frame.MAC {
	if c.Neighbor == nil || c.Neighbor.Mode != NeighborDetect {
		return nil
	}
	var list []frame.MAC
	for _, t := range c.Targets {
		if t.Addr.Is6() {
			list = append(list, groupMAC(t.Addr))
		}
	}
	if list == nil {
		return nil
	}
	list = append(list, frame.MulticastMAC(netip.IPv6LinkLocalAllNodes()))
	slices.SortFunc(list, func(a, b frame.MAC) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(list)
}
