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

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/probe"
)

// TextOptions say what the text shows.
type TextOptions struct {
	Target func(netip.Addr) string // how a host was typed
	// Several is how many hosts there are. Of more than one, what is quiet has
	// a line for each, as fping's, and no header.
	Several     int
	Numeric     bool // never look a name up
	Quiet       bool // the header and the summary alone
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
	id       uint16
	hosts    map[netip.Addr]*host // by the targets' addresses
	names    map[netip.Addr]string
	dots     int  // on the screen
	told     bool // what all hosts have in common
	width    int  // of the longest name so far
}

// A host is what has to be known of a target.
type host struct {
	source   netip.Addr
	link     string // the interface: the zone of what is link-local
	numeric  bool   // it was typed as an address
	answered uint64 // the last probe that was
}

// host is that of an event.
func (t *Text) hostOf(e *probe.Event) *host {
	h := t.hosts[e.Address]
	if h == nil {
		h = &host{}
		t.hosts[e.Address] = h
	}
	return h
}

// NewText returns a Text that prints to out, and errors of this host to err.
func NewText(out, err io.Writer, opts TextOptions) *Text {
	return &Text{out: out, err: err, opts: opts, names: make(map[netip.Addr]string), hosts: make(map[netip.Addr]*host)}
}

// Event prints one event. The error is the writer's.
func (t *Text) Event(e *probe.Event) error {
	t.buf = t.buf[:0]
	switch e.Kind {
	case probe.Start:
		t.id = e.Start.ID
		h := t.hostOf(e)
		h.source, h.link = e.Start.Decision.Path.Source, e.Start.Decision.Path.Interface.Name
		h.numeric = t.opts.Numeric || t.opts.Target(e.Address) == e.Address.String()
		if e.Start.Decision.Path.Broadcast {
			if _, err := io.WriteString(t.err, "WARNING: pinging broadcast address\n"); err != nil {
				return err
			}
		}
		t.width = max(t.width, len(t.opts.Target(e.Address)))
		if t.opts.Several < 2 || !t.opts.Quiet {
			t.header(e)
		}
	case probe.Sent:
		if t.opts.Outstanding && !t.opts.Quiet && e.Seq > 1 && t.hostOf(e).answered != e.Seq-1 {
			t.stamp(e.Time)
			t.printf("no answer yet for icmp_seq=%d%s\n", uint16(e.Seq-1), t.of(" from ", e))
		}
		if t.opts.Flood && !t.opts.Quiet && (t.opts.Columns == 0 || t.dots < t.opts.Columns) {
			t.dots++
			t.print(".")
		}
	case probe.Replied:
		if e.Reply.State == probe.StateReplied || e.Reply.State == probe.StateLate {
			h := t.hostOf(e)
			h.answered = max(h.answered, e.Seq)
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
		t.summary(e)
	case probe.Changed:
		if t.opts.Quiet {
			return nil
		}
		t.printf("l2ping: %s\n", change(e))
		return t.flush(t.err)
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
	there := d.Path.Source.IsValid() // is there a path at all?
	if t.opts.Verbose && there {
		t.printf("%s\n", Via(&d))
		t.printf("source %s", d.Path.Source)
		if d.Path.Route.IsValid() || d.Path.Broadcast {
			t.printf(", route %s", route(d.Path.Route, d.Path.Table))
		}
		t.printf(", mtu %d", d.Path.MTU)
		if d.Neighbor.How != arp.HowNone {
			t.printf(", next hop resolved in %s ms", ms(d.Neighbor.Took))
		}
		t.printf("\n")
		t.ours(s)
	}
	if t.opts.Verbose && !t.told {
		t.printf("filter %s, stamps %s\n", filter(s), stamps(s))
		if s.CookieBytes < 8 {
			t.printf("cookie of %d bytes: the data hold no more, and forged replies are easier\n", s.CookieBytes)
		}
	}
	if len(t.opts.Pattern) > 0 && !t.opts.Quiet && !t.told {
		t.printf("PATTERN: 0x%x\n", t.opts.Pattern)
	}
	t.told = true
	t.printf("PING %s", t.opts.Target(e.Address))
	switch {
	case e.Address.Is4():
		t.printf(" (%s) ", e.Address)
	case t.hostOf(e).numeric: // without a space, by which parsers know a name
		t.printf("(%s) ", e.Address)
	default:
		t.print("(")
		t.host(e, e.Address)
		t.print(") ")
	}
	if there {
		t.printf("from %s %s: ", zoned(d.Path.Source, d.Path.Interface.Name), d.Path.Interface.Name)
	}
	if e.Address.Is6() {
		t.printf("%d data bytes\n", s.DataLen)
		return
	}
	t.printf("%d(%d) bytes of data.\n", s.DataLen, s.DataLen+28)
}

// ours says in a line what is not the interface's own of the frames that are
// sent, and what comes of it.
func (t *Text) ours(s *probe.Started) {
	var facts []string
	p := s.Decision.Path
	if len(s.VLANs) > 0 {
		tags := make([]string, len(s.VLANs))
		for i, tag := range s.VLANs {
			tags[i] = tag.String()
		}
		facts = append(facts, "vlan "+strings.Join(tags, ","))
	}
	if !s.SourceMAC.IsZero() && s.SourceMAC != p.Owner.MAC {
		facts = append(facts, "frames from "+s.SourceMAC.String()+heard(s))
	}
	if s.Mark != 0 {
		facts = append(facts, marked(s))
	}
	if p.Owner.Index != p.Interface.Index {
		facts = append(facts, fmt.Sprintf("%s is a part of %s, whose address and MAC these are", p.Interface.Name, p.Owner.Name))
	}
	if p.Asked != nil {
		facts = append(facts, fmt.Sprintf("%s is the member of %s that its route names", p.Interface.Name, p.Asked.Name))
	}
	if p.NeedsNeighbor() {
		switch {
		case p.ForeignSource:
			facts = append(facts, fmt.Sprintf("%s is not this host's own: l2ping answers for it", p.Source))
		case inVLAN(s.VLANs):
			facts = append(facts, fmt.Sprintf("l2ping answers for %s there", p.Source))
		}
	}
	if facts != nil {
		t.printf("%s\n", strings.Join(facts, "; "))
	}
}

// heard says how what is sent to another MAC than the interface's comes in.
func heard(s *probe.Started) string {
	switch name := s.Decision.Path.Interface.Name; s.Joined {
	case capture.JoinedUnicast:
		return fmt.Sprintf(", which %s listens for too", name)
	case capture.JoinedPromiscuous:
		return fmt.Sprintf(", for which %s listens to everything (promiscuous)", name)
	}
	return ""
}

// marked tells of the mark, and who goes by it.
func marked(s *probe.Started) string {
	if s.MarkRefused != nil {
		return fmt.Sprintf("mark %#x for routing alone, not on the frames (%s)", s.Mark, markReason(s))
	}
	return fmt.Sprintf("mark %#x", s.Mark)
}

// markReason says why frames do not bear the mark.
func markReason(s *probe.Started) string {
	if errors.Is(s.MarkRefused, unix.EPERM) {
		return "before Linux 5.17 needs CAP_NET_ADMIN"
	}
	return s.MarkRefused.Error()
}

// of says which of several hosts something is about.
func (t *Text) of(before string, e *probe.Event) string {
	if t.opts.Several < 2 {
		return ""
	}
	return before + e.Address.String()
}

// change says what has changed of a target's way, and since when.
func change(e *probe.Event) string {
	c := e.Change
	switch {
	case c.Kind == probe.ChangedNeighbor:
		return fmt.Sprintf("%s has moved from %s to %s (%s)", c.Neighbor.Addr, c.OldMAC, c.Neighbor.MAC, c.Neighbor.How)
	case c.New == nil:
		return fmt.Sprintf("%s: the path is gone: %v", e.Address, c.Err)
	case c.Old == nil:
		return fmt.Sprintf("%s: there is a path again, %s", e.Address, pathOf(c.New))
	}
	was, is := pathOf(c.Old), pathOf(c.New)
	if was == is {
		was, is = linkOf(c.Old), linkOf(c.New)
	}
	if was == is {
		return fmt.Sprintf("%s: %s was made anew", e.Address, c.New.Interface.Name)
	}
	return fmt.Sprintf("%s: the path has changed: %s, was %s", e.Address, is, was)
}

// linkOf says of what a path's frames are.
func linkOf(p *l2.Path) string {
	text := "frames from " + p.Owner.MAC.String() + " by " + p.Interface.Name
	if p.Owner.Index != p.Interface.Index {
		text += ", a part of " + p.Owner.Name
	}
	return text
}

func pathOf(p *l2.Path) string {
	via := "on the link"
	if !p.OnLink {
		via = "via " + p.NextHop.String()
	}
	return fmt.Sprintf("%s from %s, mtu %d", via, p.Source, p.MTU)
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
func (t *Text) host(e *probe.Event, a netip.Addr) {
	h := t.hostOf(e)
	a = zoned(a, h.link)
	if h.numeric {
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
	t.host(e, r.From)
	t.print(": icmp_seq=")
	t.int(int(uint16(e.Seq)))
	if t.opts.Verbose {
		t.print(" ident=")
		t.int(int(t.id))
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
	if r.OtherMember {
		t.print(" (by another member)")
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
		t.host(e, t.hostOf(e).source)
		t.printf(" icmp_seq=%d %s", seq, message(e))
		if t.opts.Verbose {
			t.printf(" (%v)", f.Local)
		}
	case f.Local != nil:
		t.printf("l2ping: icmp_seq=%d%s: %s\n", seq, t.of(" to ", e), message(e))
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
		t.host(e, f.From)
		t.printf("%s icmp_seq=%d %s", colon, seq, message(e))
	}
	t.printf("%s\n", t.of(" for ", e))
	return t.flush(t.out)
}

func (t *Text) summary(e *probe.Event) {
	s := e.Statistics
	name := fmt.Sprintf("%d hosts (%d answered)", s.Targets, s.Answered)
	if e.Address.IsValid() {
		name = t.opts.Target(e.Address)
		if t.opts.Several > 1 && t.opts.Quiet {
			t.brief(name, s)
			return
		}
	}
	t.printf("\n--- %s ping statistics ---\n", name)
	received := s.Received + s.Late
	t.printf("%d packets transmitted, %d received", s.Sent, received)
	for _, extra := range []struct {
		count uint64
		name  string
	}{
		{s.Duplicates, "duplicates"},
		{s.MoreReplies, "from others"},
		{s.Corrupted, "corrupted"},
		{s.Errors + s.LateErrors, "errors"},
		{s.Late, "late"},
		{s.OtherMember, "by another member"},
	} {
		if extra.count > 0 {
			t.printf(", +%d %s", extra.count, extra.name)
		}
	}
	if s.Sent > 0 {
		t.printf(", %s%% packet loss, time %dms", loss(s), s.Duration.Round(time.Millisecond).Milliseconds())
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

// loss is in percent, as ping prints it: replies that came late are no loss.
func loss(s *probe.Statistics) string {
	return fmt.Sprintf("%.6g", float32(float64(s.Sent-s.Received-s.Late)*100/float64(s.Sent)))
}

// brief is the summary of one of several hosts, in a line as fping prints it
// with -q.
func (t *Text) brief(name string, s *probe.Statistics) {
	received := s.Received + s.Late
	percent := uint64(0)
	if s.Sent > 0 {
		percent = (s.Sent - received) * 100 / s.Sent
	}
	t.printf("%-*s : xmt/rcv/%%loss = %d/%d/%d%%", t.width, name, s.Sent, received, percent)
	if r := &s.RTT; r.Count > 0 {
		t.printf(", min/avg/max = %s/%s/%s", ms(r.Min), ms(r.Mean()), ms(r.Max))
	}
	t.print("\n")
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
