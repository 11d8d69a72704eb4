//go:build linux

package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// DefaultNeighborTimeout is the Timeout of probes that ask for neighbors: as long
// as arping(8) listens after its last one.
const DefaultNeighborTimeout = time.Second

// ErrNoNeighbors says that nobody can be asked for on an interface: it has no link
// layer, or no ARP.
var ErrNoNeighbors = errors.New("has no neighbors to ask")

// A Neighbor has the probes ask who has the targets, in place of pinging them:
// ARP requests for IPv4 (RFC 826), neighbor solicitations for IPv6 (RFC 4861). The
// targets are taken to be on the link, whatever routing says, if the Config names
// the interface.
//
// Neither protocol numbers its requests. An answer is that of the probe that was
// sent last when it arrived, and an answer more of the same MAC to the same probe
// is a duplicate: perhaps another program's on this host. Another MAC's is a reply
// of its own, and a conflict.
//
// Count limits the probes also together with Deadline: as in arping(8) the run ends
// when so many were sent and none is waited for any longer, or when so many answers
// came. A target is listened to for the whole Timeout after its last probe, whether
// or not that was answered, for a second host may be slower.
type Neighbor struct {
	Mode NeighborMode
	// Broadcast asks everybody each time. Else the host that has answered is
	// asked alone, until it does not answer twice.
	Broadcast bool
	// First is done with a target when it has answered.
	First bool
}

// A NeighborMode is what a Neighbor is after.
type NeighborMode uint8

// The modes.
const (
	// NeighborAsk asks for the target's MAC.
	NeighborAsk NeighborMode = iota
	// NeighborDetect asks whether anybody has the address, from no address: an
	// ARP probe (RFC 5227, section 2.1.1), or the solicitation of duplicate
	// address detection (RFC 4862, section 5.4). No MAC is learnt from it. An
	// answer is whatever another MAC says of the address from the first probe
	// on, to whomever; see Claim.
	NeighborDetect
	// NeighborAnnounce tells everybody that the target's address is here, by an
	// ARP request for it from itself (RFC 5227, section 3) or an unsolicited
	// advertisement (RFC 4861, section 7.2.6). With a Source, in IPv4, it is
	// that address that is told of, in a request for the target. No answer is
	// listened for. The address has to be one of this host.
	NeighborAnnounce
	// NeighborAnnounceReply is the same by an ARP reply. In IPv6 there is no
	// other way than that of NeighborAnnounce.
	NeighborAnnounceReply
)

// silent tells whether nobody is expected to answer.
func (m NeighborMode) silent() bool { return m == NeighborAnnounce || m == NeighborAnnounceReply }

// String returns the mode's name in JSON.
func (m NeighborMode) String() string {
	switch m {
	case NeighborAsk:
		return "ask"
	case NeighborDetect:
		return "detect"
	case NeighborAnnounce:
		return "announce"
	case NeighborAnnounceReply:
		return "announce-reply"
	}
	return ""
}

// maxClaims is how many MACs of one address are told apart.
const maxClaims = 8

// A claim is a MAC that has answered for a target, and to which probe last.
type claim struct {
	mac frame.MAC
	n   uint64
}

// A NeighborAnswer is what a host says that is asked who has an address, or says of it
// unasked.
type NeighborAnswer struct {
	// Broadcast says that it said so to everybody.
	Broadcast bool
	// Advertisement says that the flags mean something: it was IPv6. Override
	// wants known MACs to be given up for it (RFC 4861, section 4.4).
	Advertisement               bool
	Router, Solicited, Override bool
	// AlsoFor is another target that the same MAC has answered for: one host
	// with both addresses, or a proxy.
	AlsoFor netip.Addr
	// Claim is, with NeighborDetect, how it was said. What was not said to us is
	// no answer to a probe: its RTT is the time since the last one left.
	Claim Claim
	// Request says that it was said in a request: an ARP request, or a
	// solicitation.
	Request bool
	// For is, with NeighborDetect, whom an ARP packet or a solicitation names as
	// its target, if that is not the address asked from, and ForMAC the target's
	// MAC in an ARP packet, nil if that is ours.
	For    netip.Addr
	ForMAC *frame.MAC

	first bool // of this MAC to this probe
}

// A Conflict is an address for which several hosts have answered.
type Conflict struct {
	// MACs are those that have, the latest last; no more than 8 are told apart.
	MACs []frame.MAC
}

// A seeker is the hop of a target that is asked for: first everybody is asked,
// then who has answered.
type seeker struct {
	path  *l2.Path
	group frame.MAC // everybody
	mac   frame.MAC
	only  bool // everybody, each time
}

func (s *seeker) Snapshot() (arp.Neighbor, arp.Status) {
	return arp.Neighbor{Addr: s.path.NextHop, MAC: s.mac}, arp.Resolved
}

func (s *seeker) Doubt() {
	if !s.only {
		s.mac = s.group
	}
}

// found takes the MAC of an answer.
func (s *seeker) found(mac frame.MAC) {
	if !s.only {
		s.mac = mac
	}
}

// A question is the request of a target that is asked for. Its frame to everybody
// may be another than that to one host.
type question struct {
	toAll, toOne []byte
	frames       [1][]byte
}

func (q *question) Patch(uint64) []byte { return q.frames[0] }
func (q *question) Fragments() [][]byte { return q.frames[:] }

func (q *question) SetDstMAC(mac frame.MAC) {
	q.frames[0] = q.toOne
	if mac.IsGroup() {
		q.frames[0] = q.toAll
	}
	copy(q.frames[0], mac[:])
}

// question makes what asks for a path's destination.
func (c *Config) question(path *l2.Path) (*question, error) {
	header := frame.Header{Src: c.srcMAC(path), Dst: groupMAC(path.NextHop), VLANs: c.VLANs}
	q := &question{}
	var err error
	if path.NextHop.Is4() {
		q.toAll, err = c.arpQuestion(path, header)
		q.toOne = q.toAll
	} else {
		if q.toAll, err = c.solicitation(path, header, frame.SolicitedNode(path.NextHop)); err == nil {
			q.toOne, err = c.solicitation(path, header, path.NextHop.WithZone(""))
		}
	}
	q.frames[0] = q.toAll
	return q, err
}

func (c *Config) arpQuestion(path *l2.Path, header frame.Header) ([]byte, error) {
	a := frame.ARP{
		Operation: frame.ARPRequest,
		SenderMAC: header.Src,
		SenderIP:  path.Source,
		TargetIP:  path.NextHop,
	}
	if c.Neighbor.Mode == NeighborAnnounceReply {
		a.Operation, a.TargetMAC = frame.ARPReply, header.Src
	}
	return a.MarshalBehind(header)
}

func (c *Config) solicitation(path *l2.Path, header frame.Header, dst netip.Addr) ([]byte, error) {
	n := frame.NDP{
		Type:   frame.ICMPv6NeighborSolicitation,
		Src:    path.Source.WithZone(""),
		Dst:    dst,
		Target: path.NextHop.WithZone(""),
		MAC:    header.Src,
	}
	switch {
	case c.Neighbor.Mode == NeighborDetect:
		n.Src, n.Dst, n.MAC = netip.IPv6Unspecified(), frame.SolicitedNode(n.Target), frame.MAC{}
	case c.Neighbor.Mode.silent():
		n.Type, n.Src, n.Dst, n.Override = frame.ICMPv6NeighborAdvertisement, n.Target, netip.IPv6LinkLocalAllNodes(), true
		header.Dst = frame.MulticastMAC(n.Dst)
	}
	return n.Marshal(header)
}

// groupMAC is that of everybody who may have an address.
func groupMAC(address netip.Addr) frame.MAC {
	if address.Is4() {
		return frame.Broadcast
	}
	return frame.MulticastMAC(frame.SolicitedNode(address))
}

// neighborMatch is what answers look like.
func (c *Config) neighborMatch(paths []*l2.Path) bpf.Match {
	m := bpf.Match{Kind: bpf.NeighborReply, VLANCount: len(c.VLANs)}
	if c.Neighbor.Mode == NeighborDetect {
		m.Kind = bpf.NeighborClaim
	}
	for i, tag := range c.VLANs {
		m.VLANs[i] = tag.ID()
	}
	for _, path := range paths {
		if path == nil {
			continue
		}
		m.MAC = c.srcMAC(path)
		if len(paths) == 1 {
			m.Peer = path.NextHop.WithZone("")
		}
	}
	return m
}

// neighborPath is the path to a target that is taken to be on the link.
func (p *Pinger) neighborPath(address netip.Addr) (*l2.Path, error) {
	if address.IsMulticast() || address == limitedBroadcast {
		return nil, errNobody(address)
	}
	if p.ifc != nil {
		if err := usableForNeighbor(p.ifc); err != nil {
			return nil, err
		}
	}
	if p.cfg.Neighbor.Mode != NeighborAsk {
		return p.unroutedPath(address)
	}
	q := l2.Query{Destination: address, Source: p.cfg.Source, Mark: p.cfg.Mark}
	if p.ifc != nil {
		q.Gateway = address // on the link, whatever routing says
	}
	path, err := p.routing.Path(p.ifc, q)
	if errors.Is(err, l2.ErrLocal) {
		// Is somebody else there too?
		return p.unroutedPath(address)
	}
	if err != nil {
		return nil, err
	}
	if group(path) {
		return nil, errNobody(address)
	}
	if p.ifc == nil && !path.OnLink {
		return nil, fmt.Errorf("%s is not on the link: the kernel routes it by %s, %s (-i asks on that interface all the same)",
			address, path.NextHop, path.Interface.Name)
	}
	return path, usableForNeighbor(path.Interface)
}

func errNobody(address netip.Addr) error {
	return fmt.Errorf("%s is many hosts: nobody answers for it", address)
}

// unroutedPath is the path to a target of which nothing is asked of routing: the
// address is this host's own, or it is to be seen whether it may be.
func (p *Pinger) unroutedPath(address netip.Addr) (*l2.Path, error) {
	if p.ifc == nil {
		var err error
		if p.ifc, err = p.interfaceOf(address); err != nil {
			return nil, err
		}
	}
	path := &l2.Path{
		Interface: p.ifc, Owner: p.ifc.Owner(), Destination: address.WithZone(""), NextHop: address.WithZone(""),
		Source: p.cfg.Source, OnLink: true, MTU: p.ifc.MTU,
	}
	mode := p.cfg.Neighbor.Mode
	switch {
	case path.Source.IsValid() && address.Is6() && mode != NeighborAsk:
		return nil, fmt.Errorf("source %s: IPv6 has no use for one here (RFC 4862, section 5.4; RFC 4861, section 7.2.6)", path.Source)
	case path.Source.IsValid():
	case mode == NeighborDetect && address.Is4():
		path.Source = netip.IPv4Unspecified()
	case mode == NeighborDetect:
		path.Source = netip.IPv6Unspecified()
	default:
		path.Source = path.Destination
	}
	if mode.silent() && !p.has(path.Source) {
		return nil, fmt.Errorf("%s %w, which would not answer for it", path.Source, l2.ErrForeignSource)
	}
	return path, usableForNeighbor(path.Interface)
}

// has tells whether an address is one of this host.
func (p *Pinger) has(address netip.Addr) bool {
	if slices.ContainsFunc(p.ifc.Addresses, func(prefix netip.Prefix) bool { return prefix.Addr() == address }) {
		return true // a link-local one may be on several
	}
	_, err := p.routing.InterfaceByAddress(address)
	return err == nil
}

// interfaceOf is the interface to look for an address on, or to announce it on,
// where none was named: the one that has it, or that the kernel routes it by.
func (p *Pinger) interfaceOf(address netip.Addr) (*l2.Interface, error) {
	if ifc, err := p.routing.InterfaceByAddress(address); err == nil {
		return ifc, nil
	}
	path, err := p.routing.Path(nil, l2.Query{Destination: address, Mark: p.cfg.Mark})
	if err != nil {
		return nil, err
	}
	return path.Interface, nil
}

// usableForNeighbor says why nobody can be asked on an interface.
func usableForNeighbor(ifc *l2.Interface) error {
	if !ifc.Up {
		return ifc.Usable()
	}
	if ifc.NoLink || ifc.Loopback || ifc.NoARP {
		return fmt.Errorf("%s %w (link type %s)", ifc.Name, ErrNoNeighbors, ifc.LinkType)
	}
	return ifc.Usable()
}

// neighborCourse makes what asks for a path's destination.
func (p *Pinger) neighborCourse(path *l2.Path) (*course, error) {
	q, err := p.cfg.question(path)
	if err != nil {
		return nil, err
	}
	h := &seeker{path: path, group: groupMAC(path.NextHop), only: p.cfg.Neighbor.Broadcast}
	if p.cfg.Neighbor.Mode.silent() && path.NextHop.Is6() {
		h.group = frame.MulticastMAC(netip.IPv6LinkLocalAllNodes())
	}
	h.only = h.only || p.cfg.Neighbor.Mode != NeighborAsk
	h.mac = h.group
	if !p.cfg.DstMAC.IsZero() {
		h.mac, h.group, h.only = p.cfg.DstMAC, p.cfg.DstMAC, true
	}
	return &course{
		path:      path,
		request:   q,
		hop:       h,
		seeker:    h,
		source:    path.Source.WithZone(""),
		sendError: func(err error) error { return fmt.Errorf("send on %s: %w", path.Interface.Name, err) },
	}, nil
}

// pairNeighbor finds the probe that an answer is for.
func (e *engine) pairNeighbor(f *capture.Frame, got instant) bool {
	if e.neighbor.Mode.silent() {
		return true // it was not asked for
	}
	var eth frame.Ethernet
	if eth.Decode(f.Data) != nil {
		return false
	}
	a := arrival{landing: landing{stamp: f.Arrival, hardware: f.Hardware, got: got}}
	answer := &NeighborAnswer{Broadcast: eth.Dst.IsGroup()}
	a.reply.Answer, a.reply.VLANs = answer, vlans(f, &eth)
	// Of which address something is said, and to whom.
	var of, to netip.Addr
	switch eth.Type {
	case frame.EtherTypeARP:
		var m frame.ARP
		if m.Decode(eth.Payload) != nil {
			return false
		}
		a.reply.From, a.reply.FromMAC, of, to = m.SenderIP, m.SenderMAC, m.SenderIP, m.TargetIP
		if e.detects() {
			of = answer.claimByARP(&m)
		}
	case frame.EtherTypeIPv6:
		var m frame.NDP
		if m.Decode(eth.Payload) != nil {
			return false
		}
		a.reply.From, a.reply.FromMAC, of, to = m.Target, m.MAC, m.Target, m.Dst
		if m.MAC.IsZero() {
			a.reply.FromMAC = eth.Src // one asked alone may leave it out (RFC 4861, section 4.4)
		}
		answer.Advertisement, answer.Router, answer.Solicited, answer.Override = true, m.Router, m.Solicited, m.Override
		if e.detects() {
			a.reply.From = answer.claimByNDP(&m)
		}
	default:
		return false
	}
	if a.reply.FromMAC.IsZero() || a.reply.FromMAC.IsGroup() {
		return false
	}
	t := e.from(of)
	switch {
	case e.detects():
		if a.reply.FromMAC == e.match.MAC || t == nil || t.stats.Sent == 0 {
			return true // nobody is in the way of a target
		}
		answer.isTo(t.source, e.match.MAC)
	case t == nil || to != t.source && !to.IsMulticast():
		return false
	}
	if t.seeker == nil {
		return false
	}
	p := t.asked(f.Arrival)
	if p == nil {
		return false
	}
	a.target, a.n, a.sent = t, p.n, p.sent
	t.seeker.found(a.reply.FromMAC)
	answer.first = e.claim(t, a.reply.FromMAC, p.n)
	if answer.Claim != ClaimProbe { // who only wants the address has none
		answer.AlsoFor = e.alsoFor(t, a.reply.FromMAC)
	}
	if answer.first && answer.Broadcast {
		t.stats.BroadcastReplies++
	}
	if answer.first && answer.Request {
		t.stats.RequestReplies++
	}
	e.hold(&a, p, f)
	return true
}

// asked is the probe that was sent last when an answer arrived, which several may
// have been since. It is that sent last of all where the clock does not say.
func (t *target) asked(arrival int64) *entry {
	last := t.table.get(t.stats.Sent)
	for p := last; p != nil; p = t.table.get(p.n - 1) {
		if arrival == 0 || p.sent.wall <= arrival {
			return p
		}
	}
	return last
}

// hasAsked notes that a target was asked for.
func (e *engine) hasAsked(t *target, p *entry) {
	if t.seeker.mac.IsGroup() {
		t.stats.Broadcasts++
	}
	if e.neighbor.Mode.silent() {
		p.fate = fateSilent
	}
}

// isAsked tells whether nothing is to be done any more for a target that is asked
// for.
func (e *engine) isAsked(t *target, now instant) bool {
	s := &t.stats
	switch {
	case e.hasHeardEnough(t):
		return true
	case t.holding > 0, e.count == 0, s.Sent < e.count, t.oldest <= s.Sent:
		return false
	}
	return now.mono >= e.listensUntil(t)
}

// hasHeardEnough tells whether as many answers have come as are wanted.
func (e *engine) hasHeardEnough(t *target) bool {
	s := &t.stats
	switch {
	case t.holding > 0:
		return false
	case e.neighbor.First && t.hasAnswered():
		return true
	}
	return e.count != 0 && e.deadline != 0 && s.Received+s.Late+s.MoreReplies >= e.count
}

// listensUntil is until when a target is listened to after its last probe.
func (e *engine) listensUntil(t *target) int64 {
	if e.neighbor.Mode.silent() {
		return 0
	}
	return t.first + int64(t.stats.Duration) + e.timeout
}

// claim notes that a MAC has answered for a target, tells of a conflict, and tells
// whether it is the MAC's first answer to probe n. That of a MAC beyond those that
// are told apart is not.
func (e *engine) claim(t *target, mac frame.MAC, n uint64) (first bool) {
	for i := range t.claims {
		if c := &t.claims[i]; c.mac == mac {
			first, c.n = c.n != n, n
			return first
		}
	}
	if len(t.claims) == maxClaims {
		return false
	}
	t.claims = append(t.claims, claim{mac, n})
	if len(t.claims) > 1 {
		t.stats.Conflicts++
		conflict := &Conflict{}
		for _, c := range t.claims {
			conflict.MACs = append(conflict.MACs, c.mac)
		}
		event := t.event(Conflicted, e.now().wall)
		event.Conflict = conflict
		e.events.push(&event)
	}
	return true
}

// alsoFor notes that a MAC has answered for a target, and returns another that it
// has answered for.
func (e *engine) alsoFor(t *target, mac frame.MAC) netip.Addr {
	if e.claimed == nil {
		e.claimed = make(map[frame.MAC]netip.Addr)
	}
	first, known := e.claimed[mac]
	if !known {
		e.claimed[mac] = t.address
		return netip.Addr{}
	}
	if first == t.address {
		return netip.Addr{}
	}
	return first
}
