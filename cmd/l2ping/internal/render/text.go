//go:build linux

package render

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/probe"
)

// TextOptions say what the text shows.
type TextOptions struct {
	Target      string // as typed
	Numeric     bool   // never look a name up
	Quiet       bool   // the header and the summary alone
	Verbose     bool
	PrintTime   bool   // the wall clock ahead of each line
	Outstanding bool   // tell of each probe without an answer when the next one leaves
	Pattern     []byte // of the data; shown ahead of the header
}

// Text renders events as iputils ping prints them.
type Text struct {
	out, err io.Writer
	opts     TextOptions
	buf      bytes.Buffer
	started  *probe.Started
	names    map[netip.Addr]string
	answered uint64 // the last probe that was
}

// NewText returns a Text that prints to out, and errors of this host to err.
func NewText(out, err io.Writer, opts TextOptions) *Text {
	return &Text{out: out, err: err, opts: opts, names: make(map[netip.Addr]string)}
}

// Event prints one event. The error is the writer's.
func (t *Text) Event(e *probe.Event) error {
	t.buf.Reset()
	switch e.Kind {
	case probe.Start:
		t.started = e.Start
		if e.Start.Decision.Path.Broadcast {
			if _, err := io.WriteString(t.err, "WARNING: pinging broadcast address\n"); err != nil {
				return err
			}
		}
		t.header(e)
	case probe.Sent:
		if t.opts.Outstanding && !t.opts.Quiet && e.Seq > 1 && t.answered != e.Seq-1 {
			t.stamp(e.Time)
			t.printf("no answer yet for icmp_seq=%d\n", uint16(e.Seq-1))
		}
	case probe.Replied:
		if e.Reply.State == probe.StateReplied || e.Reply.State == probe.StateLate {
			t.answered = max(t.answered, e.Seq)
		}
		if !t.opts.Quiet {
			t.reply(e)
		}
	case probe.Failed:
		if !t.opts.Quiet {
			return t.failure(e)
		}
	case probe.Summary:
		t.summary(e.Statistics)
	}
	return t.flush(t.out)
}

func (t *Text) flush(w io.Writer) error {
	_, err := w.Write(t.buf.Bytes())
	return err
}

func (t *Text) printf(format string, args ...any) { fmt.Fprintf(&t.buf, format, args...) }

// stamp puts the wall clock ahead of a line, if asked to.
func (t *Text) stamp(at time.Time) {
	if t.opts.PrintTime {
		t.printf("[%d.%06d] ", at.Unix(), at.Nanosecond()/1000)
	}
}

func (t *Text) header(e *probe.Event) {
	s := e.Start
	d := s.Decision
	if t.opts.Verbose {
		t.printf("%s\n", Via(d.Neighbor))
		t.printf("source %s, route %s, mtu %d", d.Path.Source, route(d.Path.Route, d.Path.Table), d.Path.MTU)
		if d.Neighbor.How != arp.HowNone {
			t.printf(", next hop resolved in %s ms", ms(d.Neighbor.Took))
		}
		t.printf("\n")
		t.printf("filter %s, stamps %s\n", filter(s), stamps(s))
		if s.CookieBytes < 8 {
			t.printf("cookie of %d bytes: the data hold no more, and forged replies are easier\n", s.CookieBytes)
		}
	}
	if len(t.opts.Pattern) > 0 && !t.opts.Quiet {
		t.printf("PATTERN: 0x%x\n", t.opts.Pattern)
	}
	t.printf("PING %s (%s) from %s %s: %d(%d) bytes of data.\n",
		t.opts.Target, e.Address, d.Path.Source, d.Path.Interface.Name, s.DataLen, s.DataLen+28)
}

// filter names the filter, and why it is not the other one.
func filter(s *probe.Started) string {
	if s.Filter == bpf.EBPF {
		return "ebpf"
	}
	if s.FilterFallback != nil {
		return fmt.Sprintf("classic (%v)", s.FilterFallback)
	}
	return "classic"
}

// stamps names the pair of stamps, and where it is not the usual one why.
func stamps(s *probe.Started) string {
	name := s.Timestamps.String()
	if s.Timestamps == l2.StampSched {
		name += " (the driver stamps no departures)"
	}
	if s.CountedIDs {
		name += ", matched by count (this kernel has no SCM_TS_OPT_ID)"
	}
	return name
}

// host is how an address is printed: with its name, unless it was the address
// that was typed.
func (t *Text) host(a netip.Addr) string {
	if t.opts.Numeric || t.opts.Target == t.started.Decision.Path.Destination.String() {
		return a.String()
	}
	if s, ok := t.names[a]; ok {
		return s
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	s := a.String()
	if names, err := net.DefaultResolver.LookupAddr(ctx, s); err == nil && len(names) > 0 {
		s = fmt.Sprintf("%s (%s)", strings.TrimSuffix(names[0], "."), a)
	}
	t.names[a] = s
	return s
}

func (t *Text) reply(e *probe.Event) {
	r := &e.Reply
	t.stamp(e.Time)
	t.printf("%d bytes from %s: icmp_seq=%d", r.Bytes, t.host(r.From), uint16(e.Seq))
	if t.opts.Verbose {
		t.printf(" ident=%d", t.started.ID)
	}
	t.printf(" ttl=%d", r.TTL)
	if r.Truncated {
		t.printf(" (truncated)\n")
		return
	}
	t.printf(" time=%s ms", roundTrip(r.RTT))
	if r.State == probe.StateDuplicate {
		t.printf(" (DUP!)")
	}
	if r.Corrupted {
		t.printf(" (BAD CHECKSUM!)")
	}
	t.mismatch(r.Mismatch)
	t.printf("\n")
}

// mismatch shows where the data differ, and all of them.
func (t *Text) mismatch(m *probe.Mismatch) {
	if m == nil {
		return
	}
	t.printf("\nwrong data byte #%d should be 0x%x but was 0x%x", m.Offset, m.Sent, m.Got)
	for i, b := range m.Data {
		if i%32 == 0 {
			t.printf("\n#%d\t", i)
		}
		t.printf("%x ", b)
	}
}

// roundTrip is a time as ping prints it, in milliseconds: the longer, the
// fewer digits (iputils ping_common.c, gather_statistics).
func roundTrip(d time.Duration) string {
	us := d.Round(time.Microsecond).Microseconds()
	switch {
	case us >= 100_000-50:
		return fmt.Sprintf("%d", (us+500)/1000)
	case us >= 10_000-5:
		return fmt.Sprintf("%d.%01d", (us+50)/1000, (us+50)%1000/100)
	case us >= 1000:
		return fmt.Sprintf("%d.%02d", (us+5)/1000, (us+5)%1000/10)
	}
	return fmt.Sprintf("%d.%03d", us/1000, us%1000)
}

// failure prints an error: what the network says among the replies, what kept
// a probe on this host on standard error.
func (t *Text) failure(e *probe.Event) error {
	f := &e.Failure
	seq := uint16(e.Seq)
	switch {
	case errors.Is(f.Local, probe.ErrNoNeighbor):
		t.stamp(e.Time)
		t.printf("From %s icmp_seq=%d %s", t.host(t.started.Decision.Path.Source), seq, message(f))
		if t.opts.Verbose {
			t.printf(" (%v)", f.Local)
		}
		t.printf("\n")
	case f.Local != nil:
		t.printf("l2ping: icmp_seq=%d: %s\n", seq, message(f))
		return t.flush(t.err)
	default:
		t.stamp(e.Time)
		// ping tells of a redirect by another path than of the rest, with a
		// colon.
		colon := ""
		if f.Notice {
			colon = ":"
		}
		t.printf("From %s%s icmp_seq=%d %s\n", t.host(f.From), colon, seq, message(f))
	}
	return t.flush(t.out)
}

func (t *Text) summary(s *probe.Statistics) {
	t.printf("\n--- %s ping statistics ---\n", t.opts.Target)
	received := s.Received + s.Late
	t.printf("%d packets transmitted, %d received", s.Sent, received)
	for _, extra := range []struct {
		count uint64
		name  string
	}{
		{s.Duplicates, "duplicates"},
		{s.Corrupted, "corrupted"},
		{s.Errors + s.LateErrors, "errors"},
		{s.Late, "late"},
	} {
		if extra.count > 0 {
			t.printf(", +%d %s", extra.count, extra.name)
		}
	}
	if s.Sent > 0 {
		loss := float32(float64(s.Sent-received) * 100 / float64(s.Sent))
		t.printf(", %.6g%% packet loss, time %dms", loss, s.Duration.Round(time.Millisecond).Milliseconds())
	}
	t.printf("\n")
	comma := ""
	if r := &s.RTT; r.Count > 0 {
		t.printf("rtt min/avg/max/mdev = %s/%s/%s/%s ms", ms(r.Min), ms(r.Mean()), ms(r.Max), ms(r.Stddev()))
		comma = ", "
	}
	if s.MaxOutstanding > 1 {
		t.printf("%spipe %d", comma, s.MaxOutstanding)
	}
	t.printf("\n")
}

// Status is the line that ping prints on SIGQUIT.
func Status(s *probe.Statistics) string {
	received := s.Received + s.Late
	var loss uint64
	if s.Sent > 0 {
		loss = (s.Sent - received) * 100 / s.Sent
	}
	line := fmt.Sprintf("\r%d/%d packets, %d%% loss", received, s.Sent, loss)
	if r := &s.RTT; r.Count > 0 {
		line += fmt.Sprintf(", min/avg/ewma/max = %s/%s/%s/%s ms", ms(r.Min), ms(r.Mean()), ms(r.Smoothed), ms(r.Max))
	}
	return line + "\n"
}
