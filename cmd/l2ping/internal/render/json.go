//go:build linux

package render

import (
	"encoding/json"
	"io"
	"net/netip"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/probe"
)

// jsonVersion is the version of the names below. It changes when a name or a
// meaning does, not when one is added.
const jsonVersion = 1

// The objects of the stream. Names are stable. Times end in _ns and are integers
// in nanoseconds; what has no value is absent.
type (
	jsonHead struct {
		Event   string     `json:"event"`
		Time    string     `json:"time"`
		Version int        `json:"version,omitempty"`
		Address netip.Addr `json:"address"`
		Seq     uint64     `json:"seq,omitempty"`
	}

	jsonStart struct {
		jsonHead
		Interface    string      `json:"interface"`
		Target       string      `json:"target"`
		Source       netip.Addr  `json:"source"`
		SourceMAC    string      `json:"source_mac"`
		NextHop      jsonNextHop `json:"next_hop"`
		MTU          int         `json:"mtu"`
		ID           uint16      `json:"id"`
		Size         int         `json:"size"`
		Filter       string      `json:"filter"`
		FilterReason string      `json:"filter_reason,omitempty"`
		Timestamps   string      `json:"timestamps"`
		CookieBytes  int         `json:"cookie_bytes"`
	}

	jsonNextHop struct {
		Address   netip.Addr `json:"address"`
		MAC       string     `json:"mac,omitempty"`
		State     string     `json:"state,omitempty"`
		How       string     `json:"how"`
		ResolveNS *int64     `json:"resolve_ns,omitempty"`
	}

	jsonReply struct {
		jsonHead
		State     string      `json:"state,omitempty"`
		From      netip.Addr  `json:"from"`
		FromMAC   string      `json:"from_mac"`
		TTL       uint8       `json:"ttl"`
		TOS       uint8       `json:"tos"`
		Bytes     int         `json:"bytes"`
		RTTNS     int64       `json:"rtt_ns"`
		RTTSource string      `json:"rtt_source"`
		Budget    *jsonBudget `json:"budget,omitempty"`
		Corrupted bool        `json:"corrupted,omitempty"`
		Truncated bool        `json:"truncated,omitempty"`
		WrongByte *int        `json:"wrong_byte,omitempty"`
	}

	jsonBudget struct {
		SendNS    *int64 `json:"send_ns,omitempty"`
		QueueNS   *int64 `json:"queue_ns,omitempty"`
		WireNS    *int64 `json:"wire_ns,omitempty"`
		ReceiveNS *int64 `json:"receive_ns,omitempty"`
	}

	jsonError struct {
		jsonHead
		From     *netip.Addr `json:"from,omitempty"`
		ICMPType *uint8      `json:"icmp_type,omitempty"`
		ICMPCode *uint8      `json:"icmp_code,omitempty"`
		Message  string      `json:"message"`
		Reason   string      `json:"reason,omitempty"`
		MTU      int         `json:"mtu,omitempty"`
		Late     bool        `json:"late,omitempty"`
	}

	jsonSummary struct {
		jsonHead
		Sent          uint64            `json:"sent"`
		Received      uint64            `json:"received"`
		Lost          uint64            `json:"lost"`
		Late          uint64            `json:"late"`
		Duplicates    uint64            `json:"duplicates"`
		Reordered     uint64            `json:"reordered"`
		Errors        uint64            `json:"errors"`
		LateErrors    uint64            `json:"late_errors"`
		Corrupted     uint64            `json:"corrupted"`
		Rejected      *uint64           `json:"rejected,omitempty"`
		LossRatio     *float64          `json:"loss_ratio,omitempty"`
		DurationNS    int64             `json:"duration_ns"`
		RTTNS         *jsonRTT          `json:"rtt_ns,omitempty"`
		Stamps        map[string]uint64 `json:"stamps"`
		Skipped       uint64            `json:"skipped"`
		KernelDrops   uint64            `json:"kernel_drops"`
		EventsDropped uint64            `json:"events_dropped"`
	}

	jsonRTT struct {
		Min    int64 `json:"min"`
		Mean   int64 `json:"mean"`
		Max    int64 `json:"max"`
		Stddev int64 `json:"stddev"`
	}
)

// JSON renders events as one object a line.
type JSON struct {
	enc    *json.Encoder
	target string
}

// NewJSON returns a JSON that prints to out; target is the host as typed.
func NewJSON(out io.Writer, target string) *JSON {
	return &JSON{enc: json.NewEncoder(out), target: target}
}

var jsonEvents = map[probe.Kind]string{
	probe.Start:   "start",
	probe.Sent:    "sent",
	probe.Replied: "reply",
	probe.Failed:  "error",
	probe.Lost:    "lost",
	probe.Summary: "summary",
}

// Event prints one event. The error is the writer's.
func (j *JSON) Event(e *probe.Event) error {
	head := jsonHead{
		Event:   jsonEvents[e.Kind],
		Time:    e.Time.UTC().Format("2006-01-02T15:04:05.000000000Z07:00"),
		Address: e.Address,
		Seq:     e.Seq,
	}
	switch e.Kind {
	case probe.Start:
		head.Version = jsonVersion
		return j.enc.Encode(j.start(head, e.Start))
	case probe.Replied:
		return j.enc.Encode(reply(head, &e.Reply))
	case probe.Failed:
		return j.enc.Encode(failure(head, &e.Failure))
	case probe.Summary:
		return j.enc.Encode(summary(head, e.Statistics))
	}
	return j.enc.Encode(head)
}

func (j *JSON) start(head jsonHead, s *probe.Started) jsonStart {
	p, n := s.Decision.Path, s.Decision.Neighbor
	o := jsonStart{
		jsonHead:    head,
		Interface:   p.Interface.Name,
		Target:      j.target,
		Source:      p.Source,
		SourceMAC:   p.Interface.MAC.String(),
		MTU:         p.MTU,
		ID:          s.ID,
		Size:        s.DataLen,
		Filter:      s.Filter.String(),
		Timestamps:  s.Timestamps.String(),
		CookieBytes: s.CookieBytes,
		NextHop:     jsonNextHop{Address: n.Addr, How: n.How.String(), State: n.State.String()},
	}
	if s.Filter == bpf.Classic && s.FilterFallback != nil {
		o.FilterReason = s.FilterFallback.Error()
	}
	if n.Known() {
		o.NextHop.MAC = n.MAC.String()
	}
	if n.How != arp.HowNone {
		o.NextHop.ResolveNS = new(n.Took.Nanoseconds())
	}
	return o
}

func reply(head jsonHead, r *probe.Reply) jsonReply {
	o := jsonReply{
		jsonHead:  head,
		State:     r.State.String(),
		From:      r.From,
		FromMAC:   r.FromMAC.String(),
		TTL:       r.TTL,
		TOS:       r.TOS,
		Bytes:     r.Bytes,
		RTTNS:     r.RTT.Nanoseconds(),
		RTTSource: r.RTTSource.String(),
		Corrupted: r.Corrupted,
		Truncated: r.Truncated,
	}
	if r.Mismatch != nil {
		o.WrongByte = &r.Mismatch.Offset
	}
	part := func(d time.Duration) *int64 {
		if d == probe.Unknown {
			return nil
		}
		return new(d.Nanoseconds())
	}
	b := jsonBudget{part(r.Budget.Send), part(r.Budget.Queue), part(r.Budget.Wire), part(r.Budget.Receive)}
	if b != (jsonBudget{}) {
		o.Budget = &b
	}
	return o
}

func failure(head jsonHead, f *probe.Failure) jsonError {
	o := jsonError{jsonHead: head, Message: message(f), MTU: f.MTU, Late: f.Late}
	if f.Local != nil {
		o.Reason = f.Local.Error()
		return o
	}
	o.From = &f.From
	o.ICMPType, o.ICMPCode = new(uint8(f.Type)), &f.Code
	return o
}

func summary(head jsonHead, s *probe.Statistics) jsonSummary {
	o := jsonSummary{
		jsonHead:      head,
		Sent:          s.Sent,
		Received:      s.Received,
		Lost:          s.Lost,
		Late:          s.Late,
		Duplicates:    s.Duplicates,
		Reordered:     s.Reordered,
		Errors:        s.Errors,
		LateErrors:    s.LateErrors,
		Corrupted:     s.Corrupted,
		DurationNS:    s.Duration.Nanoseconds(),
		Stamps:        make(map[string]uint64),
		Skipped:       s.Skipped,
		KernelDrops:   s.KernelDrops,
		EventsDropped: s.EventsDropped,
	}
	if s.RejectedInKernel || s.Rejected > 0 {
		o.Rejected = &s.Rejected
	}
	if s.Sent > s.Pending {
		o.LossRatio = new(s.LossRatio())
	}
	if r := &s.RTT; r.Count > 0 {
		o.RTTNS = &jsonRTT{r.Min.Nanoseconds(), r.Mean().Nanoseconds(), r.Max.Nanoseconds(), r.Stddev().Nanoseconds()}
	}
	for _, p := range []l2.StampPoint{l2.StampDriver, l2.StampSched, l2.StampUser} {
		o.Stamps[p.String()] = s.Stamps[p]
	}
	return o
}
