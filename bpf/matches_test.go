package bpf

import (
	"net/netip"
	"slices"

	"github.com/l2ping/l2ping/l2/frame"
)

// The world of the corpus: documentation addresses (RFC 5737, RFC 3849,
// RFC 7042).
var (
	localMAC  = frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0x01}
	peerMAC   = frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0x02}
	otherMAC  = frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0x03}
	markerMAC = frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0xff} // of no corpus frame
	groupMAC  = frame.MAC{0x01, 0x00, 0x5e, 0x00, 0x00, 0x01}
	nodesMAC  = frame.MAC{0x33, 0x33, 0x00, 0x00, 0x00, 0x01} // of all nodes

	localIP  = netip.MustParseAddr("192.0.2.1")
	peerIP   = netip.MustParseAddr("198.51.100.7")
	otherIP  = netip.MustParseAddr("203.0.113.9")
	routerIP = netip.MustParseAddr("192.0.2.254")

	localIP6  = netip.MustParseAddr("2001:db8:1::a1")
	peerIP6   = netip.MustParseAddr("2001:db8:2::b7")
	otherIP6  = netip.MustParseAddr("2001:db8:3::c9")
	routerIP6 = netip.MustParseAddr("2001:db8:1::fe")
	allNodes6 = netip.IPv6LinkLocalAllNodes()

	// Addresses that are an ICMP header where an IPv4 header of 16 bytes ends:
	// time exceeded, and an echo request, both with code 0.
	exceededIP = netip.AddrFrom4([4]byte{icmpTimeExceeded, 0, 0, 1})
	requestIP  = netip.AddrFrom4([4]byte{icmpEchoRequest, 0, 0, 1})

	cookie = [8]byte{0xc0, 0x0c, 0x1e, 0x99, 0x00, 0xff, 0x42, 0x07}
)

const echoID = 0xbe0f // differs when its bytes are swapped

// packetOutgoing is the PACKET_ value of what the host itself sends.
const packetOutgoing = 4

// Indexes of matches.
const (
	mEcho = iota
	mAny
	mCookie7
	mCookie1
	mNoCookie
	mZero
	mARP
	mARPProbe
	mShort

	mFragments
	mAnyFragments
	mAnyLocal
	mMAC
	mVLAN
	mQinQ
	mPriority

	mEcho6
	mAny6
	mCookie6
	mFragments6
	mAnyLocal6
	mMAC6
	mQinQ6
	mZone6

	mBoth
	mBothFragments
	mRaw4
	mRaw6
	mRawBoth

	mARPAny
	mARPVLAN
	mNeighbor4
	mNeighbor6
	mNeighborBoth
	mNeighborProbe6
	mNeighborVLAN6
	mRequest4
	mRequest6
	mRequestMAC6

	mClaim4
	mClaim6
	mClaimBoth
	mClaimVLAN
	mClaimVLAN6
)

// matches are what the corpus is judged by. The seeds of FuzzMatch count on the
// order.
var matches = [...]struct {
	name string
	m    Match
}{
	mEcho:     {"echo", echo4(nil)},
	mAny:      {"echo of any peer", echo4(func(m *Match) { m.Peer = netip.Addr{} })},
	mCookie7:  {"echo, 7 bytes of cookie", echo4(func(m *Match) { m.CookieLen = 7 })},
	mCookie1:  {"echo, 1 byte of cookie", echo4(func(m *Match) { m.CookieLen = 1 })},
	mNoCookie: {"echo, no cookie", echo4(func(m *Match) { m.CookieLen = 0 })},
	mZero:     {"echo, all zero", Match{Kind: EchoReply, Local: localIP, CookieLen: 8}},
	mARP:      {"ARP", Match{Kind: ARPReply, Local: localIP, Peer: peerIP, MAC: localMAC}},
	mARPProbe: {"ARP probe", Match{Kind: ARPReply, Local: netip.IPv4Unspecified(), Peer: peerIP, MAC: localMAC}},
	mShort:    {"echo between ICMP headers", Match{Kind: EchoReply, Local: exceededIP, Peer: requestIP, ID: echoID}},

	mFragments:    {"echo, fragments", echo4(func(m *Match) { m.Fragments = true })},
	mAnyFragments: {"echo of any peer, fragments", echo4(func(m *Match) { m.Fragments, m.Peer = true, netip.Addr{} })},
	mAnyLocal:     {"echo to any address", echo4(func(m *Match) { m.Local = netip.Addr{} })},
	mMAC:          {"echo to another station", echo4(func(m *Match) { m.MAC = otherMAC })},
	mVLAN:         {"echo in VLAN 5", echo4(func(m *Match) { m.VLANs, m.VLANCount = [2]uint16{5, 9}, 1 })},
	mQinQ:         {"echo in VLAN 5.7", echo4(func(m *Match) { m.VLANs, m.VLANCount, m.Fragments = [2]uint16{5, 7}, 2, true })},
	mPriority:     {"echo in VLAN 0.7", echo4(func(m *Match) { m.VLANs, m.VLANCount = [2]uint16{0, 7}, 2 })},

	mEcho6:      {"echo, IPv6", echo6(nil)},
	mAny6:       {"echo of any peer, IPv6", echo6(func(m *Match) { m.Peer = netip.Addr{} })},
	mCookie6:    {"echo, 3 bytes of cookie, IPv6", echo6(func(m *Match) { m.CookieLen = 3 })},
	mFragments6: {"echo, fragments, IPv6", echo6(func(m *Match) { m.Fragments = true })},
	mAnyLocal6:  {"echo to any address, IPv6", echo6(func(m *Match) { m.Local = netip.Addr{} })},
	mMAC6:       {"echo to another station, IPv6", echo6(func(m *Match) { m.MAC = otherMAC })},
	mQinQ6:      {"echo in VLAN 5.7, IPv6", echo6(func(m *Match) { m.VLANs, m.VLANCount, m.Fragments = [2]uint16{5, 7}, 2, true })},
	mZone6: {"echo with zones", echo6(func(m *Match) {
		m.Local, m.Peer = m.Local.WithZone("eth0"), m.Peer.WithZone("eth0")
	})},

	mBoth:          {"echo, both families", Match{Kind: EchoReply, ID: echoID, Cookie: cookie, CookieLen: 8}},
	mBothFragments: {"echo, both families, fragments", Match{Kind: EchoReply, ID: echoID, Cookie: cookie, CookieLen: 8, Fragments: true}},
	mRaw4:          {"echo without link layer", echo4(func(m *Match) { m.NoLink = true })},
	mRaw6:          {"echo without link layer, IPv6", echo6(func(m *Match) { m.NoLink = true })},
	mRawBoth: {
		"echo without link layer, both families, fragments",
		Match{Kind: EchoReply, ID: echoID, Cookie: cookie, CookieLen: 8, Fragments: true, NoLink: true},
	},

	mARPAny:         {"ARP, anybody", Match{Kind: ARPReply, MAC: localMAC}},
	mARPVLAN:        {"ARP in VLAN 5", Match{Kind: ARPReply, Local: localIP, Peer: peerIP, MAC: localMAC, VLANs: [2]uint16{5}, VLANCount: 1}},
	mNeighbor4:      {"neighbor", Match{Kind: NeighborReply, Local: localIP, Peer: peerIP, MAC: localMAC}},
	mNeighbor6:      {"neighbor, IPv6", Match{Kind: NeighborReply, Local: localIP6, Peer: peerIP6, MAC: localMAC}},
	mNeighborBoth:   {"neighbor, both families", Match{Kind: NeighborReply, MAC: localMAC}},
	mNeighborProbe6: {"address probe, IPv6", Match{Kind: NeighborReply, Local: netip.IPv6Unspecified(), Peer: peerIP6, MAC: localMAC}},
	mNeighborVLAN6:  {"neighbor in VLAN 5, IPv6", Match{Kind: NeighborReply, Local: localIP6, Peer: peerIP6, MAC: localMAC, VLANs: [2]uint16{5}, VLANCount: 1}},
	mRequest4:       {"request", Match{Kind: NeighborRequest, Local: localIP, Peer: otherIP6}},
	mRequest6:       {"request, IPv6", Match{Kind: NeighborRequest, Local: localIP6}},
	mRequestMAC6:    {"request to another station, IPv6", Match{Kind: NeighborRequest, Local: localIP6, MAC: otherMAC}},

	mClaim4:     {"claim", Match{Kind: NeighborClaim, Local: otherIP6, Peer: peerIP, MAC: localMAC}},
	mClaim6:     {"claim, IPv6", Match{Kind: NeighborClaim, Peer: peerIP6, MAC: localMAC}},
	mClaimBoth:  {"claim, both families", Match{Kind: NeighborClaim, MAC: localMAC}},
	mClaimVLAN:  {"claim in VLAN 5", Match{Kind: NeighborClaim, Peer: peerIP, MAC: localMAC, VLANs: [2]uint16{5}, VLANCount: 1}},
	mClaimVLAN6: {"claim in VLAN 5, IPv6", Match{Kind: NeighborClaim, Peer: peerIP6, MAC: localMAC, VLANs: [2]uint16{5}, VLANCount: 1}},
}

func echo4(mod func(*Match)) Match {
	m := Match{Kind: EchoReply, Local: localIP, Peer: peerIP, ID: echoID, Cookie: cookie, CookieLen: 8}
	if mod != nil {
		mod(&m)
	}
	return m
}

func echo6(mod func(*Match)) Match {
	return echo4(func(m *Match) {
		m.Local, m.Peer = localIP6, peerIP6
		if mod != nil {
			mod(m)
		}
	})
}

// The matches that judge most frames alike.
var (
	echoes4 = []int{
		mEcho, mAny, mCookie7, mCookie1, mNoCookie, mFragments, mAnyFragments, mAnyLocal, mMAC,
		mVLAN, mQinQ, mPriority, mBoth, mBothFragments,
	}
	echoes6 = []int{
		mEcho6, mAny6, mCookie6, mFragments6, mAnyLocal6, mMAC6, mQinQ6, mZone6, mBoth, mBothFragments,
	}
	anyPeer   = []int{mAny, mAnyFragments, mAny6, mBoth, mBothFragments}
	anyLocal  = []int{mAnyLocal, mAnyLocal6, mBoth, mBothFragments}
	fragments = []int{mFragments, mAnyFragments, mQinQ, mFragments6, mQinQ6, mBothFragments}
	fragAny   = []int{mAnyFragments, mBothFragments} // fragments of any peer
)

// wants holds verdicts by an index of matches. What is not in it is other.
type wants map[int]verdict

func by(v verdict, list ...int) wants {
	w := make(wants)
	for _, i := range list {
		w[i] = v
	}
	return w
}

// but returns w with the verdict v of those in the list that w knows.
func (w wants) but(v verdict, list ...int) wants {
	changed := make(wants)
	for i, old := range w {
		changed[i] = old
		if slices.Contains(list, i) {
			changed[i] = v
		}
	}
	return changed
}

// only returns what w has of those in the list.
func (w wants) only(list ...int) wants {
	part := make(wants)
	for i, v := range w {
		if slices.Contains(list, i) {
			part[i] = v
		}
	}
	return part
}

// with returns w with the verdicts of x besides.
func (w wants) with(x wants) wants {
	sum := make(wants)
	for _, part := range []wants{w, x} {
		for i, v := range part {
			sum[i] = v
		}
	}
	return sum
}

func all4(v verdict) wants { return by(v, echoes4...) }
func all6(v verdict) wants { return by(v, echoes6...) }
