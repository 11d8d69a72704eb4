//go:build linux

package probe

import (
	"net/netip"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2/frame"
)

// pair finds the probe that a frame answers. The filter in the kernel has
// passed it; user space has the last word.
func (e *engine) pair(f *capture.Frame, got instant) {
	if !e.pairs(f, got) {
		e.rejected++
	}
	e.recorder.paired()
}

func (e *engine) pairs(f *capture.Frame, got instant) bool {
	meta := bpf.Meta{VLANPresent: f.VLAN.Present, VLANTCI: f.VLAN.TCI}
	if !e.match.Accepts(f.Data, meta) {
		return false
	}
	if e.match.Kind != bpf.EchoReply {
		return e.pairNeighbor(f, got)
	}
	var (
		eth  frame.Ethernet
		ip   frame.IP
		icmp frame.ICMP
	)
	packet := f.Data
	if !e.match.NoLink {
		if eth.Decode(f.Data) != nil {
			return false
		}
		packet = eth.Payload
	}
	if ip.Decode(packet) != nil || !ip.ChecksumOK {
		return false // no host would take it
	}
	if e.fragments != nil && (ip.MoreFragments || ip.Offset > 0) {
		whole, done := e.fragments.Add(&ip, got.mono)
		e.recorder.came(&ip, f, got, whole)
		if !done {
			return true
		}
		ip.Payload = whole
	}
	if decodeICMP(&icmp, &ip) != nil {
		return false
	}
	if isEchoReply(&icmp) {
		t := e.from(ip.Src)
		return t != nil && t.source == ip.Dst && e.pairReply(t, f, got, &eth, &ip, &icmp)
	}
	return icmp.ChecksumOK && e.pairError(f, got, &ip, &icmp)
}

// decodeICMP reads the ICMP message of either version that a packet carries.
func decodeICMP(m *frame.ICMP, ip *frame.IP) error {
	if ip.Version == 6 {
		return m.Decode6(ip.Payload, ip.Src, ip.Dst)
	}
	return m.Decode(ip.Payload)
}

func isEchoReply(m *frame.ICMP) bool {
	if m.V6 {
		return m.Type == frame.ICMPv6EchoReply
	}
	return m.Type == frame.ICMPEchoReply
}

// tellsMTU tells whether a message says which MTU a probe is too long for
// (RFC 1191, section 4; RFC 4443, section 3.2).
func tellsMTU(m *frame.ICMP) bool {
	if m.V6 {
		return m.Type == frame.ICMPv6PacketTooBig
	}
	return m.Type == frame.ICMPDestinationUnreachable && m.Code == frame.ICMPFragmentationNeeded
}

// from is the target that a reply from an address is of, nil if there is none.
func (e *engine) from(address netip.Addr) *target {
	if e.byAddress != nil {
		return e.byAddress[address]
	}
	t := e.targets[0]
	if !t.group && t.address.WithZone("") != address {
		return nil
	}
	return t
}

// pairReply takes an echo reply.
func (e *engine) pairReply(t *target, f *capture.Frame, got instant, eth *frame.Ethernet, ip *frame.IP, icmp *frame.ICMP) bool {
	if t.echo == nil {
		return false
	}
	n := latest(t.stats.Sent, uint64(icmp.Seq), 16)
	p := t.table.get(n)
	if p == nil {
		return false
	}
	offset, sent := t.echo.Diff(icmp.Body, n)
	if icmp.ChecksumOK && offset >= frame.CookieLen && t.echo.Older(icmp.Body, n) {
		return false // it answers a probe of an earlier round of sequence numbers
	}
	a := arrival{
		landing: landing{stamp: f.Arrival, hardware: f.Hardware, sent: p.sent, got: got},
		target:  t,
		n:       n,
		reply: Reply{
			From:      ip.Src,
			FromMAC:   eth.Src,
			TTL:       ip.TTL,
			TOS:       ip.TOS,
			VLANs:     vlans(f, eth),
			Bytes:     frame.ICMPHeaderLen + len(icmp.Body),
			Corrupted: !icmp.ChecksumOK,
			Truncated: len(icmp.Body) < t.dataLen,
		},
	}
	if offset >= 0 {
		a.reply.Mismatch = &Mismatch{
			Offset: offset,
			Sent:   sent,
			Got:    icmp.Body[offset],
			Data:   append([]byte(nil), icmp.Body...),
		}
	}
	e.hold(&a, p, f)
	return true
}

// vlans are the tags of a frame: the outer one, which the kernel has taken off,
// and those behind it.
func vlans(f *capture.Frame, eth *frame.Ethernet) VLANs {
	var v VLANs
	if f.VLAN.Present {
		v.add(frame.VLAN{Type: f.VLAN.Type, TCI: f.VLAN.TCI})
	}
	for _, tag := range eth.VLANs[:eth.Tags] {
		v.add(tag)
	}
	return v
}

// hold keeps a reply until its probe's stamps are there.
func (e *engine) hold(a *arrival, p *entry, f *capture.Frame) {
	a.until = e.patience(a.got)
	t := a.target
	a.frames = e.recorder.answer(f, a.got, t.path.Interface)
	if a.reply.Corrupted {
		t.stats.Corrupted++
	} else {
		a.reply.State = e.classify(t, p, a)
	}
	t.holding++
	e.held = append(e.held, *a)
	e.update(t, a.got)
}

// classify says what a reply is to its probe, and counts it. Of a group each
// member's first reply answers the probe, as does each MAC's that has an address:
// those after another's are replies of their own.
func (e *engine) classify(t *target, p *entry, a *arrival) State {
	s := &t.stats
	e.acknowledge(t, p, a.got)
	first := t.members != nil && t.members.add(a.reply.From, p.n) || a.reply.Answer != nil && a.reply.Answer.first
	switch p.fate {
	case fateReplied, fateLate:
		if first {
			s.MoreReplies++
			return StateReplied
		}
		s.Duplicates++
		return StateDuplicate
	case fatePending:
		if e.points.elapsed(p.sent, a.stamp, a.got) >= e.timeout {
			e.lose(t, p, a.got)
		}
	}
	if !t.hasAnswered() {
		e.answered++
	}
	if p.fate != fatePending {
		p.fate = fateLate
		s.Late++
		return StateLate
	}
	p.fate = fateReplied
	s.Received++
	t.losses = 0
	if p.n < t.highest {
		s.Reordered++
		return StateReordered
	}
	t.highest = p.n
	return StateReplied
}

// acknowledge counts how many probes were out when an answer came, as ping does:
// a duplicate and an error are answers too.
func (e *engine) acknowledge(t *target, p *entry, got instant) {
	t.acked = max(t.acked, p.n)
	t.schedule.answered(got.mono)
	t.stats.MaxOutstanding = max(t.stats.MaxOutstanding, t.stats.Sent-p.n+1)
}

// pairError takes an ICMP error. It counts only if it quotes what was sent: the
// filter has seen to the id and the type; the quoted destination has to be a
// target's, the sequence number one that is out, and the checksum, which covers
// the cookie, that probe's.
func (e *engine) pairError(f *capture.Frame, got instant, ip *frame.IP, icmp *frame.ICMP) bool {
	var quotedIP frame.IP
	var quoted frame.ICMP
	if quotedIP.DecodeQuoted(icmp.Body) != nil || decodeICMP(&quoted, &quotedIP) != nil {
		return false
	}
	t := e.from(quotedIP.Dst)
	if t == nil || t.echo == nil || t.source != ip.Dst || t.source != quotedIP.Src {
		return false
	}
	p := t.table.get(latest(t.stats.Sent, uint64(quoted.Seq), 16))
	if p == nil || quoted.Checksum != p.checksum {
		return false
	}
	failure := Failure{From: ip.Src, Type: icmp.Type, Code: icmp.Code}
	switch {
	case tellsMTU(icmp):
		failure.MTU = icmp.MTU()
	case icmp.V6 && icmp.Type == frame.ICMPv6ParameterProblem, !icmp.V6 && icmp.Type == frame.ICMPParameterProblem:
		failure.Pointer = icmp.Pointer()
	case !icmp.V6 && icmp.Type == frame.ICMPRedirect:
		failure.Gateway, failure.Notice = icmp.Gateway(), true
	}
	switch {
	case failure.Notice:
	case p.fate == fatePending:
		p.fate = fateFailed
	case p.fate == fateLost:
		p.fate, failure.Late = fateFailed, true
	default:
		return false
	}
	if !failure.Notice {
		e.acknowledge(t, p, got)
	}
	// Replies that came before it are told before it.
	e.readStamps(e.wire, e.points)
	e.settle(got, e.points, e)
	if !failure.Notice {
		e.departed(t, p, got)
	}
	e.fail(t, p, got, failure, e.recorder.answer(f, got, t.path.Interface))
	if failure.MTU != 0 && e.narrow != nil {
		if c := e.narrow(t, failure.MTU); c != nil {
			t.next.Store(c)
		}
	}
	e.update(t, got)
	return true
}
