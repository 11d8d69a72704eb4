//go:build linux

package render

import (
	"encoding/json"
	"io"
	"net/netip"
	"strconv"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// jsonVersion is the version of the names below. It changes when a name or a
// meaning does, not when one is added.
const jsonVersion = 1

// JSON renders events as one object a line. Names are stable. Times end in _ns and
// are integers in nanoseconds; what has no value is absent.
//
// The objects are put together by hand: a run of 100,000 probes a second would
// spend a fifth of a CPU on encoding/json.
type JSON struct {
	out    io.Writer
	target func(netip.Addr) string
	line   line
}

// NewJSON returns a JSON that prints to out; target says how a host was typed.
func NewJSON(out io.Writer, target func(netip.Addr) string) *JSON {
	return &JSON{out: out, target: target}
}

// Event prints one event. The error is the writer's.
func (j *JSON) Event(e *probe.Event) error {
	l := &j.line
	*l = (*l)[:0]
	l.open()
	switch e.Kind {
	case probe.Start:
		l.head("start", e)
		j.start(e)
	case probe.Sent:
		l.head("sent", e)
	case probe.Replied:
		l.head("reply", e)
		l.reply(e)
	case probe.Failed:
		l.head("error", e)
		l.failure(e)
	case probe.Lost:
		l.head("lost", e)
	case probe.Summary:
		l.head("summary", e)
		if !e.Address.IsValid() {
			l.int("targets", e.Statistics.Targets)
			l.int("answered", e.Statistics.Answered)
		}
		l.summary(e.Statistics)
	case probe.Changed:
		l.head("change", e)
		l.change(e.Change)
	case probe.Conflicted:
		l.head("conflict", e)
		l.name("macs")
		*l = append(*l, '[')
		for i, m := range e.Conflict.MACs {
			if i > 0 {
				*l = append(*l, ',')
			}
			*l = append(*l, '"')
			*l = append(*l, m.String()...)
			*l = append(*l, '"')
		}
		*l = append(*l, ']')
	}
	l.close()
	*l = append(*l, '\n')
	_, err := j.out.Write(*l)
	return err
}

// head is what all events begin with.
func (l *line) head(event string, e *probe.Event) {
	l.word("event", event)
	l.name("time")
	*l = append(*l, '"')
	*l = e.Time.UTC().AppendFormat(*l, "2006-01-02T15:04:05.000000000Z07:00")
	*l = append(*l, '"')
	if e.Kind == probe.Start {
		l.int("version", jsonVersion)
	}
	if e.Address.IsValid() { // none is of all
		l.address("address", e.Address)
	}
	if e.Seq != 0 {
		l.uint("seq", e.Seq)
	}
}

func (j *JSON) start(e *probe.Event) {
	l, s := &j.line, e.Start
	p, n := s.Decision.Path, s.Decision.Neighbor
	l.link(p)
	l.text("target", j.target(e.Address))
	if p.Source.IsValid() {
		l.address("source", p.Source)
	}
	l.sender(s)
	if n.Addr.IsValid() { // there is a path
		l.nextHop(&n)
	}
	l.int("mtu", p.MTU)
	if s.Neighbor != nil {
		l.word("asks", s.Neighbor.Mode.String())
	} else {
		l.uint("id", uint64(s.ID))
		l.int("size", s.DataLen)
	}
	l.means(s)
	if s.Neighbor == nil {
		l.int("cookie_bytes", s.CookieBytes)
	}
}

// link is what frames leave by.
func (l *line) link(p *l2.Path) {
	l.text("interface", p.Interface.Name)
	if p.Owner.Index != p.Interface.Index {
		l.text("owner", p.Owner.Name)
	}
}

// sender is whose frames they are, and what they bear.
func (l *line) sender(s *probe.Started) {
	if !s.SourceMAC.IsZero() {
		l.mac("source_mac", s.SourceMAC)
	}
	if s.Joined != capture.JoinedNone {
		l.word("source_mac_heard", s.Joined.String())
	}
	if s.Mark != 0 {
		l.uint("mark", uint64(s.Mark))
		if s.MarkRefused != nil {
			l.text("mark_reason", markReason(s))
		}
	}
	l.vlans(s.VLANs)
}

// means are the filter and the stamps.
func (l *line) means(s *probe.Started) {
	l.word("filter", s.Filter.String())
	if s.Filter == bpf.Classic && s.FilterFallback != nil {
		l.text("filter_reason", s.FilterFallback.Error())
	}
	l.word("timestamps", s.Timestamps.String())
	if why := timestampsReason(s); why != "" {
		l.text("timestamps_reason", why)
	}
}

func (l *line) nextHop(n *arp.Neighbor) {
	l.name("next_hop")
	l.open()
	l.address("address", n.Addr)
	if !n.MAC.IsZero() {
		l.mac("mac", n.MAC)
	}
	if state := n.State.String(); state != "" {
		l.text("state", state)
	}
	l.text("how", n.How.String())
	if n.How != arp.HowNone {
		l.ns("resolve_ns", n.Took)
	}
	l.close()
}

// zoned puts a zone on an address that means nothing without one.
func zoned(a netip.Addr, zone string) netip.Addr {
	if a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "" {
		return a.WithZone(zone)
	}
	return a
}

func (l *line) reply(e *probe.Event) {
	r := &e.Reply
	if state := r.State.String(); state != "" {
		l.word("state", state)
	}
	l.address("from", zoned(r.From, e.Address.Zone()))
	if !r.FromMAC.IsZero() {
		l.mac("from_mac", r.FromMAC)
	}
	if r.Answer == nil {
		l.uint("ttl", uint64(r.TTL))
		l.uint("tos", uint64(r.TOS))
	} else {
		l.answer(r.Answer, e.Address.Zone())
	}
	l.vlans(r.VLANs.All())
	if r.Answer == nil {
		l.int("bytes", r.Bytes)
	}
	l.ns("rtt_ns", r.RTT)
	l.word("rtt_source", r.RTTSource.String())
	l.budget(&r.Budget)
	if r.ClockStepped {
		l.yes("clock_stepped")
	}
	if r.OtherMember {
		l.yes("other_member")
	}
	if r.Corrupted {
		l.yes("corrupted")
	}
	if r.Truncated {
		l.yes("truncated")
	}
	if r.Mismatch != nil {
		l.int("wrong_byte", r.Mismatch.Offset)
	}
}

// vlans has the ids and the priorities of tags, outer first.
func (l *line) vlans(tags []frame.VLAN) {
	names := [...]struct{ id, priority string }{{"vlan", "vlan_priority"}, {"inner_vlan", "inner_vlan_priority"}}
	for i, tag := range tags[:min(len(tags), len(names))] {
		if id := tag.ID(); id != 0 { // that of no VLAN
			l.uint(names[i].id, uint64(id))
		}
		if p := tag.Priority(); p != 0 {
			l.uint(names[i].priority, uint64(p))
		}
	}
}

// answer is what a neighbor says.
func (l *line) answer(a *probe.NeighborAnswer, zone string) {
	if a.Claim != probe.ClaimNone {
		l.word("claim", a.Claim.String())
	}
	if a.For.IsValid() {
		l.address("for", zoned(a.For, zone))
	}
	for _, flag := range [...]struct {
		name string
		set  bool
	}{
		{"broadcast", a.Broadcast}, {"router", a.Router}, {"solicited", a.Solicited}, {"override", a.Override},
	} {
		if flag.set {
			l.yes(flag.name)
		}
	}
	if a.AlsoFor.IsValid() {
		l.address("also_for", a.AlsoFor)
	}
}

func (l *line) change(c *probe.Change) {
	switch {
	case c.Kind == probe.ChangedNeighbor:
		l.word("what", "neighbor")
		l.address("next_hop", c.Neighbor.Addr)
		l.mac("mac", c.Neighbor.MAC)
		l.mac("old_mac", c.OldMAC)
	case c.New == nil:
		l.word("what", "path")
		l.text("reason", c.Err.Error())
	default:
		l.word("what", "path")
		l.address("source", c.New.Source)
		l.address("next_hop", c.New.NextHop)
		l.int("mtu", c.New.MTU)
	}
}

func (l *line) budget(b *probe.Budget) {
	if *b == (probe.Budget{Send: probe.Unknown, Queue: probe.Unknown, Wire: probe.Unknown, Receive: probe.Unknown, NIC: probe.Unknown}) {
		return
	}
	part := func(name string, d time.Duration) {
		if d != probe.Unknown {
			l.ns(name, d)
		}
	}
	l.name("budget")
	l.open()
	part("send_ns", b.Send)
	part("queue_ns", b.Queue)
	part("wire_ns", b.Wire)
	part("receive_ns", b.Receive)
	part("nic_ns", b.NIC)
	l.close()
}

func (l *line) failure(e *probe.Event) {
	f := &e.Failure
	if f.Local == nil {
		l.address("from", zoned(f.From, e.Address.Zone()))
		l.uint("icmp_type", uint64(f.Type))
		l.uint("icmp_code", uint64(f.Code))
	}
	l.text("message", message(e))
	if f.Local != nil {
		l.text("reason", f.Local.Error())
	}
	if f.MTU != 0 {
		l.int("mtu", f.MTU)
	}
	if f.Late {
		l.yes("late")
	}
}

func (l *line) summary(s *probe.Statistics) {
	l.uint("sent", s.Sent)
	l.uint("received", s.Received)
	l.uint("lost", s.Lost)
	l.uint("late", s.Late)
	l.uint("duplicates", s.Duplicates)
	if s.MoreReplies > 0 {
		l.uint("more_replies", s.MoreReplies)
	}
	if s.OtherMember > 0 {
		l.uint("other_member", s.OtherMember)
	}
	if s.Conflicts > 0 {
		l.uint("conflicts", s.Conflicts)
	}
	if s.Broadcasts > 0 {
		l.uint("broadcasts", s.Broadcasts)
	}
	if s.BroadcastReplies > 0 {
		l.uint("broadcast_replies", s.BroadcastReplies)
	}
	if s.RequestReplies > 0 {
		l.uint("request_replies", s.RequestReplies)
	}
	l.uint("reordered", s.Reordered)
	l.uint("errors", s.Errors)
	l.uint("late_errors", s.LateErrors)
	l.uint("corrupted", s.Corrupted)
	if s.RejectedInKernel || s.Rejected > 0 {
		l.uint("rejected", s.Rejected)
	}
	if s.Sent > s.Pending {
		l.value("loss_ratio", s.LossRatio())
	}
	l.ns("duration_ns", s.Duration)
	if r := &s.RTT; r.Count > 0 {
		l.name("rtt_ns")
		l.open()
		l.ns("min", r.Min)
		l.ns("mean", r.Mean())
		l.ns("max", r.Max)
		l.ns("stddev", r.Stddev())
		for _, q := range []struct {
			name string
			q    float64
		}{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"p9999", 0.9999}} {
			l.ns(q.name, r.Quantile(q.q))
		}
		l.close()
	}
	if s.RTT.Count > 1 { // one varies from nothing
		l.ns("jitter_ns", s.RTT.Jitter)
		l.ns("pdv_ns", s.RTT.PDV(0.999))
	}
	l.medians(&s.Budget)
	l.name("stamps")
	l.open()
	for _, p := range stampPoints {
		l.uint(p.String(), s.Stamps[p])
	}
	l.close()
	l.uint("stamps_lost", s.StampsLost)
	l.uint("clock_steps", s.ClockSteps)
	if t := &s.TimerError; t.Count > 0 {
		l.name("timer_error_ns")
		l.open()
		l.ns("p50", t.Quantile(0.5))
		l.ns("p99", t.Quantile(0.99))
		l.close()
	}
	l.uint("skipped", s.Skipped)
	l.uint("send_retries", s.SendRetries)
	l.uint("kernel_drops", s.KernelDrops)
	l.uint("events_dropped", s.EventsDropped)
}

// medians are those of a budget's parts, if any was measured.
func (l *line) medians(b *probe.BudgetStatistics) {
	some := false
	for _, part := range []struct {
		name string
		d    *probe.Distribution
	}{{"send", &b.Send}, {"queue", &b.Queue}, {"wire", &b.Wire}, {"receive", &b.Receive}, {"nic", &b.NIC}} {
		if part.d.Count == 0 {
			continue
		}
		if !some {
			l.name("budget_ns")
			l.open()
			some = true
		}
		l.ns(part.name, part.d.Quantile(0.5))
	}
	if some {
		l.close()
	}
}

// stampPoints are the sources of an RTT, the best first.
var stampPoints = [...]l2.StampPoint{l2.StampHardware, l2.StampDriver, l2.StampSched, l2.StampUser}

// A line is JSON that is being put together.
type line []byte

func (l *line) open()  { *l = append(*l, '{') }
func (l *line) close() { *l = append(*l, '}') }

// name begins a member.
func (l *line) name(name string) {
	if (*l)[len(*l)-1] != '{' {
		*l = append(*l, ',')
	}
	*l = append(*l, '"')
	*l = append(*l, name...)
	*l = append(*l, `":`...)
}

// word is for strings that are ours, and need no escapes.
func (l *line) word(name, s string) {
	l.name(name)
	*l = append(*l, '"')
	*l = append(*l, s...)
	*l = append(*l, '"')
}

// text is for all other strings.
func (l *line) text(name, s string) { l.value(name, s) }

// value is for a string or a finite number, which are always valid.
func (l *line) value(name string, v any) {
	l.name(name)
	b, _ := json.Marshal(v)
	*l = append(*l, b...)
}

func (l *line) int(name string, n int) {
	l.name(name)
	*l = strconv.AppendInt(*l, int64(n), 10)
}

func (l *line) uint(name string, n uint64) {
	l.name(name)
	*l = strconv.AppendUint(*l, n, 10)
}

func (l *line) ns(name string, d time.Duration) {
	l.name(name)
	*l = strconv.AppendInt(*l, d.Nanoseconds(), 10)
}

func (l *line) yes(name string) {
	l.name(name)
	*l = append(*l, "true"...)
}

func (l *line) address(name string, a netip.Addr) {
	if a.Zone() != "" { // which may be any text
		l.text(name, a.String())
		return
	}
	l.name(name)
	*l = append(*l, '"')
	if a.IsValid() {
		*l = a.AppendTo(*l)
	}
	*l = append(*l, '"')
}

func (l *line) mac(name string, m frame.MAC) {
	const hex = "0123456789abcdef"
	l.name(name)
	for i, b := range m {
		separator := byte(':')
		if i == 0 {
			separator = '"'
		}
		*l = append(*l, separator, hex[b>>4], hex[b&15])
	}
	*l = append(*l, '"')
}
