//go:build linux

package render

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
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
	Budget      bool   // the parts of each probe's time on its line
	// Flood prints a dot for each probe and takes it back at its reply,
	// instead of lines; it needs Sent events. Columns is the width of the
	// screen, beyond which there are no more dots; 0 is none.
	Flood   bool
	Columns int
	// Adaptive says that the interval was the network's own, as Flood does:
	// the summary then tells it.
	Adaptive bool
}

// Text renders events as iputils ping prints them.
type Text struct {
	out, err io.Writer
	opts     TextOptions
	buf      []byte
	started  *probe.Started
	numeric  bool
	names    map[netip.Addr]string
	answered uint64 // the last probe that was
	dots     int    // on the screen
}

// NewText returns a Text that prints to out, and errors of this host to err.
func NewText(out, err io.Writer, opts TextOptions) *Text {
	return &Text{out: out, err: err, opts: opts, names: make(map[netip.Addr]string)}
}

// Event prints one event. The error is the writer's.
func (t *Text) Event(e *probe.Event) error {
	t.buf = t.buf[:0]
	switch e.Kind {
	case probe.Start:
		t.started = e.Start
		t.numeric = t.opts.Numeric || t.opts.Target == e.Start.Decision.Path.Destination.String()
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
		if t.opts.Flood && !t.opts.Quiet && (t.opts.Columns == 0 || t.dots < t.opts.Columns) {
			t.dots++
			t.print(".")
		}
	case probe.Replied:
		if e.Reply.State == probe.StateReplied || e.Reply.State == probe.StateLate {
			t.answered = max(t.answered, e.Seq)
		}
		switch {
		case t.opts.Quiet:
		case t.opts.Flood && e.Reply.Corrupted:
			t.take("C")
		case t.opts.Flood:
			t.take(" \b")
		default:
			t.reply(e)
		}
	case probe.Failed:
		switch {
		case t.opts.Quiet, t.opts.Flood && e.Failure.Notice:
		case t.opts.Flood:
			t.take("E")
		default:
			return t.failure(e)
		}
	case probe.Summary:
		t.summary(e.Statistics)
	}
	return t.flush(t.out)
}

func (t *Text) flush(w io.Writer) error {
	if len(t.buf) == 0 {
		return nil
	}
	_, err := w.Write(t.buf)
	return err
}

func (t *Text) print(s string) { t.buf = append(t.buf, s...) }

func (t *Text) printf(format string, args ...any) { t.buf = fmt.Appendf(t.buf, format, args...) }

func (t *Text) int(n int) { t.buf = strconv.AppendInt(t.buf, int64(n), 10) }

// take prints over a dot of the flood. More may be taken than stand there, as
// ping does: duplicates have none of their own.
func (t *Text) take(s string) {
	t.dots = max(t.dots-1, 0)
	t.print("\b")
	t.print(s)
}

// stamp puts the wall clock ahead of a line, if asked to.
func (t *Text) stamp(at time.Time) {
	if t.opts.PrintTime {
		t.print("[")
		t.buf = appendFixed(t.buf, at.Unix(), int64(at.Nanosecond()/1000), 6)
		t.print("] ")
	}
}

// appendFixed prints a number with so many digits behind the point.
func appendFixed(b []byte, whole, rest int64, digits int) []byte {
	b = append(strconv.AppendInt(b, whole, 10), '.')
	for at := len(b); digits > 0; digits-- {
		b = slices.Insert(b, at, '0'+byte(rest%10))
		rest /= 10
	}
	return b
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

// stamps names the pair of stamps, and why there is none better.
func stamps(s *probe.Started) string {
	name := s.Timestamps.String()
	var why []string
	if lack := timestampsReason(s); lack != "" {
		why = append(why, lack)
	}
	if s.CountedIDs {
		why = append(why, "matched by count: this kernel has no SCM_TS_OPT_ID")
	}
	if why != nil {
		name += " (" + strings.Join(why, "; ") + ")"
	}
	return name
}

// timestampsReason says why the stamps are not the NIC's, where that was left
// open.
func timestampsReason(s *probe.Started) string {
	if lack := (*l2.NoHardwareError)(nil); errors.As(s.TimestampsWhy, &lack) {
		return lack.Reason()
	}
	if s.TimestampsWhy != nil {
		return s.TimestampsWhy.Error()
	}
	return ""
}

// host prints an address: with its name, unless it was the address that was
// typed.
func (t *Text) host(a netip.Addr) {
	if t.numeric {
		t.buf = a.AppendTo(t.buf)
		return
	}
	s, ok := t.names[a]
	if !ok {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		s = a.String()
		if names, err := net.DefaultResolver.LookupAddr(ctx, s); err == nil && len(names) > 0 {
			s = fmt.Sprintf("%s (%s)", strings.TrimSuffix(names[0], "."), a)
		}
		t.names[a] = s
	}
	t.print(s)
}

// reply prints a reply's line. Thousands may come a second: it does without fmt.
func (t *Text) reply(e *probe.Event) {
	r := &e.Reply
	t.stamp(e.Time)
	t.int(r.Bytes)
	t.print(" bytes from ")
	t.host(r.From)
	t.print(": icmp_seq=")
	t.int(int(uint16(e.Seq)))
	if t.opts.Verbose {
		t.print(" ident=")
		t.int(int(t.started.ID))
	}
	t.print(" ttl=")
	t.int(int(r.TTL))
	if r.Truncated {
		t.print(" (truncated)\n")
		return
	}
	t.print(" time=")
	t.buf = appendRoundTrip(t.buf, r.RTT)
	t.print(" ms")
	if r.ClockStepped {
		t.print(" (clock step)")
	}
	if t.opts.Budget {
		t.budget(&r.Budget)
	}
	if r.State == probe.StateDuplicate {
		t.print(" (DUP!)")
	}
	if r.Corrupted {
		t.print(" (BAD CHECKSUM!)")
	}
	t.mismatch(r.Mismatch)
	t.print("\n")
}

// budget prints those parts of a probe's time that were measured.
func (t *Text) budget(b *probe.Budget) {
	before := " ("
	for _, part := range [...]struct {
		name string
		d    time.Duration
	}{{"send ", b.Send}, {"queue ", b.Queue}, {"nic ", b.NIC}, {"wire ", b.Wire}, {"receive ", b.Receive}} {
		if part.d == probe.Unknown {
			continue
		}
		t.print(before)
		t.print(part.name)
		t.buf = strconv.AppendFloat(t.buf, float64(part.d)/1e3, 'f', 1, 64)
		before = " "
	}
	if before == " " {
		t.print(" us)")
	}
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

// appendRoundTrip prints a time as ping does, in milliseconds: the longer, the
// fewer digits (iputils ping_common.c, gather_statistics).
func appendRoundTrip(b []byte, d time.Duration) []byte {
	us := d.Round(time.Microsecond).Microseconds()
	switch {
	case us >= 100_000-50:
		return strconv.AppendInt(b, (us+500)/1000, 10)
	case us >= 10_000-5:
		return appendFixed(b, (us+50)/1000, (us+50)%1000/100, 1)
	case us >= 1000:
		return appendFixed(b, (us+5)/1000, (us+5)%1000/10, 2)
	}
	return appendFixed(b, us/1000, us%1000, 3)
}

// failure prints an error: what the network says among the replies, what kept
// a probe on this host on standard error.
func (t *Text) failure(e *probe.Event) error {
	f := &e.Failure
	seq := uint16(e.Seq)
	switch {
	case errors.Is(f.Local, probe.ErrNoNeighbor):
		t.stamp(e.Time)
		t.print("From ")
		t.host(t.started.Decision.Path.Source)
		t.printf(" icmp_seq=%d %s", seq, message(f))
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
		t.print("From ")
		t.host(f.From)
		t.printf("%s icmp_seq=%d %s\n", colon, seq, message(f))
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
	var line []string
	r := &s.RTT
	if r.Count > 0 {
		line = append(line, fmt.Sprintf("rtt min/avg/max/mdev = %s/%s/%s/%s ms", ms(r.Min), ms(r.Mean()), ms(r.Max), ms(r.Stddev())))
	}
	if s.MaxOutstanding > 1 {
		line = append(line, fmt.Sprintf("pipe %d", s.MaxOutstanding))
	}
	if r.Count > 0 && s.Sent > 1 && (t.opts.Flood || t.opts.Adaptive) {
		line = append(line, fmt.Sprintf("ipg/ewma %s/%s ms", ms(s.Duration/time.Duration(s.Sent-1)), ms(r.Smoothed)))
	}
	// What ping does not have comes last.
	if host := hostTimes(&s.Budget); host != "" {
		line = append(line, host)
	}
	if sources := stampSources(s); sources != "" {
		line = append(line, sources)
	}
	t.printf("%s\n", strings.Join(line, ", "))
}

// hostTimes has the medians of what the probes took on this host, of the parts
// that were measured.
func hostTimes(b *probe.BudgetStatistics) string {
	var names, times []string
	for _, part := range []struct {
		name string
		d    *probe.Distribution
	}{{"send", &b.Send}, {"queue", &b.Queue}, {"nic", &b.NIC}, {"receive", &b.Receive}} {
		if part.d.Count > 0 {
			names = append(names, part.name)
			times = append(times, ms(part.d.Quantile(0.5)))
		}
	}
	if names == nil {
		return ""
	}
	return fmt.Sprintf("host %s %s ms", strings.Join(names, "/"), strings.Join(times, "/"))
}

// stampSources names the stamps that the RTTs are from, with their numbers where
// it is not the same for all.
func stampSources(s *probe.Statistics) string {
	var names, counts []string
	for _, p := range stampPoints {
		if n := s.Stamps[p]; n > 0 {
			names = append(names, p.String())
			counts = append(counts, fmt.Sprintf("%s %d", p, n))
		}
	}
	switch len(names) {
	case 0:
		return ""
	case 1:
		return names[0] + " stamps"
	}
	return "stamps " + strings.Join(counts, " ")
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
