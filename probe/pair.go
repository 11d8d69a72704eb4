//go:build linux

package probe

import (
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// pair finds the probe that a frame answers. The filter in the kernel has
// passed it; user space has the last word.
func (e *engine) pair(f *capture.Frame, got instant) {
	if !e.pairs(f, got) {
		e.stats.Rejected++
	}
}

func (e *engine) pairs(f *capture.Frame, got instant) bool {
	meta := bpf.Meta{VLANPresent: f.VLAN.Present, VLANTCI: f.VLAN.TCI}
	if !e.target.match.Accepts(f.Data, meta) {
		return false
	}
	var (
		eth  frame.Ethernet
		ip   frame.IPv4
		icmp frame.ICMP
	)
	if eth.Decode(f.Data) != nil || ip.Decode(eth.Payload) != nil || icmp.Decode(ip.Payload) != nil {
		return false
	}
	if !ip.ChecksumOK {
		return false // no host would take it
	}
	if icmp.Type == frame.ICMPEchoReply {
		return e.pairReply(f, got, &eth, &ip, &icmp)
	}
	return icmp.ChecksumOK && e.pairError(got, &ip, &icmp)
}

// pairReply takes an echo reply.
func (e *engine) pairReply(f *capture.Frame, got instant, eth *frame.Ethernet, ip *frame.IPv4, icmp *frame.ICMP) bool {
	n := latest(e.stats.Sent, uint64(icmp.Seq), 16)
	p := e.table.get(n)
	if p == nil {
		return false
	}
	offset, sent := e.target.template.Diff(icmp.Body, n)
	if icmp.ChecksumOK && offset >= frame.CookieLen && e.target.template.Older(icmp.Body, n) {
		return false // it answers a probe of an earlier round of sequence numbers
	}
	a := arrival{
		n:        n,
		stamp:    f.Arrival,
		hardware: f.Hardware,
		sent:     p.sent,
		got:      got,
		until:    got.mono + int64(stampPatience),
		reply: Reply{
			From:      ip.Src,
			FromMAC:   eth.Src,
			TTL:       ip.TTL,
			TOS:       ip.TOS,
			Bytes:     frame.ICMPHeaderLen + len(icmp.Body),
			Corrupted: !icmp.ChecksumOK,
			Truncated: len(icmp.Body) < e.target.dataLen,
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
	if e.impatient >= patienceTries {
		a.until = got.mono
	}
	if a.reply.Corrupted {
		e.stats.Corrupted++
	} else {
		a.reply.State = e.classify(p, &a)
	}
	e.held = append(e.held, a)
	return true
}

// classify says what a reply is to its probe, and counts it.
func (e *engine) classify(p *entry, a *arrival) State {
	s := &e.stats
	e.acknowledge(p, a.got)
	switch p.fate {
	case fateReplied, fateLate:
		s.Duplicates++
		return StateDuplicate
	case fatePending:
		if e.elapsed(p, a) >= e.timeout {
			e.lose(p, a.got)
		}
	}
	if p.fate != fatePending {
		p.fate = fateLate
		s.Late++
		return StateLate
	}
	p.fate = fateReplied
	s.Received++
	e.losses = 0
	if p.n < e.highest {
		s.Reordered++
		return StateReordered
	}
	e.highest = p.n
	return StateReplied
}

// acknowledge counts how many probes were out when an answer came, as ping does:
// a duplicate and an error are answers too.
func (e *engine) acknowledge(p *entry, got instant) {
	e.acked = max(e.acked, p.n)
	e.schedule.answered(got.mono)
	e.stats.MaxOutstanding = max(e.stats.MaxOutstanding, e.stats.Sent-p.n+1)
}

// elapsed is how long a reply took to this host, however long it then lay
// unread.
func (e *engine) elapsed(p *entry, a *arrival) int64 {
	if a.stamp != 0 && e.points.departure != l2.StampUser && !stepped(p.sent, a.got) {
		return a.stamp - p.sent.wall
	}
	return a.got.mono - p.sent.mono
}

// pairError takes an ICMP error. It counts only if it quotes what was sent: the
// filter has seen to the addresses, the id and the type; the sequence number has
// to be one that is out, and the checksum, which covers the cookie, that
// probe's.
func (e *engine) pairError(got instant, ip *frame.IPv4, icmp *frame.ICMP) bool {
	var quotedIP frame.IPv4
	var quoted frame.ICMP
	if quotedIP.DecodeQuoted(icmp.Body) != nil || quoted.Decode(quotedIP.Payload) != nil {
		return false
	}
	p := e.table.get(latest(e.stats.Sent, uint64(quoted.Seq), 16))
	if p == nil || quoted.Checksum != p.checksum {
		return false
	}
	f := Failure{From: ip.Src, Type: icmp.Type, Code: icmp.Code}
	switch {
	case icmp.Type == frame.ICMPDestinationUnreachable && icmp.Code == frame.ICMPFragmentationNeeded:
		f.MTU = icmp.MTU()
	case icmp.Type == frame.ICMPRedirect:
		f.Gateway, f.Notice = icmp.Gateway(), true
	case icmp.Type == frame.ICMPParameterProblem:
		f.Pointer = icmp.Pointer()
	}
	switch {
	case f.Notice:
	case p.fate == fatePending:
		p.fate = fateFailed
	case p.fate == fateLost:
		p.fate, f.Late = fateFailed, true
	default:
		return false
	}
	if !f.Notice {
		e.acknowledge(p, got)
	}
	// Replies that came before it are told before it.
	e.readStamps()
	e.settle(got)
	if !f.Notice {
		e.departed(p, got)
	}
	e.fail(p, got, f)
	return true
}
