//go:build linux

package render

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// ArpingOptions say what the text of an arping shows.
type ArpingOptions struct {
	Several int  // how many hosts there are
	Quiet   bool // alarms alone
	Verbose bool
}

// Arping renders events as iputils arping prints them. What arping lacks stands
// behind a reply's time, on lines ahead of the header, or behind the summary.
type Arping struct {
	out, err io.Writer
	opts     ArpingOptions
	buf      []byte
	begun    bool
	known    map[answerer]bool
	has      map[frame.MAC]int // how many addresses
	order    []frame.MAC       // as they came to be known
}

// oneOrProxy is what a MAC is that answers for several addresses (RFC 1027; RFC
// 4861, section 7.2.8).
const oneOrProxy = "one host, or proxy ARP"

// An answerer is a MAC that answers for an address.
type answerer struct {
	mac  frame.MAC
	addr netip.Addr
}

// A flusher holds back what was written to it.
type flusher interface{ Flush() error }

// NewArping returns an Arping that prints to out, and alarms and errors of this
// host to err, after what out may hold back.
func NewArping(out, err io.Writer, opts ArpingOptions) *Arping {
	return &Arping{
		out: out, err: err, opts: opts,
		known: make(map[answerer]bool), has: make(map[frame.MAC]int),
	}
}

// Event prints one event. The error is the writer's.
func (a *Arping) Event(e *probe.Event) error {
	a.buf = a.buf[:0]
	if e.Kind == probe.Conflicted {
		return a.alarm("l2ping: %s\n", conflict(e))
	}
	if a.opts.Quiet {
		return nil
	}
	switch e.Kind {
	case probe.Start:
		a.start(e)
	case probe.Replied:
		a.reply(e)
	case probe.Lost:
		if a.opts.Verbose {
			a.printf("No answer to request %d", e.Seq)
			if a.opts.Several > 1 {
				a.printf(" from %s", e.Address)
			}
			a.printf("\n")
		}
	case probe.Failed:
		of := ""
		if a.opts.Several > 1 {
			of = e.Address.String() + ": "
		}
		return a.alarm("l2ping: %srequest %d: %s\n", of, e.Seq, e.Failure.Local)
	case probe.Changed:
		return a.alarm("l2ping: %s\n", change(e))
	case probe.Summary:
		a.summary(e)
	}
	if len(a.buf) == 0 {
		return nil
	}
	_, err := a.out.Write(a.buf)
	return err
}

func (a *Arping) printf(format string, args ...any) { a.buf = fmt.Appendf(a.buf, format, args...) }

// alarm prints to standard error.
func (a *Arping) alarm(format string, args ...any) error {
	if f, ok := a.out.(flusher); ok {
		if err := f.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(a.err, format, args...)
	return err
}

// conflict names the hosts that say that they have an address.
func conflict(e *probe.Event) string {
	var macs []string
	for _, m := range e.Conflict.MACs {
		macs = append(macs, m.String())
	}
	return fmt.Sprintf("address conflict: %s is at %s", e.Address, strings.Join(macs, " and at "))
}

// start prints the header, of several hosts at the first.
func (a *Arping) start(e *probe.Event) {
	if a.begun {
		return
	}
	a.begun = true
	s := e.Start
	p := s.Decision.Path
	if a.opts.Verbose {
		to := s.Decision.Neighbor.MAC
		a.printf("from %s%s to %s (%s)", s.SourceMAC, heard(s), to, everybody(to))
		for i, tag := range s.VLANs {
			separator := ", vlan "
			if i > 0 {
				separator = ","
			}
			a.printf("%s%s", separator, tag)
		}
		if s.Mark != 0 {
			a.printf(", %s", marked(s))
		}
		if p.Owner.Index != p.Interface.Index {
			a.printf(", as a part of %s", p.Owner.Name)
		}
		a.printf("\nfilter %s, stamps %s\n", filter(s), stamps(s))
	}
	whom := e.Address.WithZone("").String()
	if a.opts.Several > 1 {
		whom = fmt.Sprintf("%d hosts", a.opts.Several)
	}
	a.printf("ARPING %s from %s %s\n", whom, p.Source, p.Interface.Name)
}

// everybody says who hears frames to a MAC that it is asked at.
func everybody(mac frame.MAC) string {
	switch {
	case mac == frame.Broadcast:
		return "everybody"
	case mac == frame.MulticastMAC(netip.IPv6LinkLocalAllNodes()):
		return "all nodes"
	case mac.IsGroup():
		return "the solicited-node group"
	}
	return "as asked"
}

// learn notes that a MAC has an address, and tells whether that is news.
func (a *Arping) learn(by answerer) bool {
	if a.known[by] {
		return false
	}
	a.known[by] = true
	if a.has[by.mac]++; a.has[by.mac] == 1 {
		a.order = append(a.order, by.mac)
	}
	return true
}

func (a *Arping) reply(e *probe.Event) {
	r := &e.Reply
	duplicate := r.State == probe.StateDuplicate
	if duplicate && !a.opts.Verbose {
		return // perhaps to another's request: it does not count
	}
	how, what := "Unicast", "reply"
	if r.Answer.Broadcast {
		how = "Broadcast"
	}
	if r.Answer.Request {
		what = "request"
	}
	a.printf("%s %s from %s [%s] %s %sms", how, what, r.From, upper(r.FromMAC), whom(r.Answer), ms(r.RTT))
	if r.Answer.Claim == probe.ClaimProbe {
		a.printf(" (address probe)")
	}
	if duplicate {
		a.printf(" (duplicate)")
	}
	if r.ClockStepped {
		a.printf(" (clock step)")
	}
	if flags := flags(r.Answer); flags != "" {
		a.printf(" (%s)", flags)
	}
	if r.Answer.Claim == probe.ClaimProbe {
		a.printf("\n")
		return // it has the address no more than we
	}
	news := a.learn(answerer{r.FromMAC, e.Address})
	switch also := r.Answer.AlsoFor; {
	case !news || !also.IsValid():
	case a.opts.Several > 1: // the summary tells what that means
		a.printf(" (also %s)", also)
	default:
		a.printf(" (also %s: %s)", also, oneOrProxy)
	}
	a.printf("\n")
}

// whom is for whom an answer is, if not for who asked, as arping tells it.
func whom(a *probe.NeighborAnswer) string {
	switch {
	case a.For.IsValid() && a.ForMAC != nil:
		return fmt.Sprintf("for %s [%s]", a.For, upper(*a.ForMAC))
	case a.For.IsValid():
		return fmt.Sprintf("for %s ", a.For)
	case a.ForMAC != nil:
		return fmt.Sprintf("for [%s]", upper(*a.ForMAC))
	}
	return ""
}

// upper is a MAC as arping prints it.
func upper(mac frame.MAC) string { return strings.ToUpper(mac.String()) }

// flags are those of an advertisement.
func flags(a *probe.NeighborAnswer) string {
	var names []string
	for _, flag := range [...]struct {
		set  bool
		name string
	}{{a.Router, "router"}, {a.Solicited, "solicited"}, {a.Override, "override"}} {
		if flag.set {
			names = append(names, flag.name)
		}
	}
	return strings.Join(names, " ")
}

func (a *Arping) summary(e *probe.Event) {
	s := e.Statistics
	if e.Address.IsValid() && a.opts.Several > 1 {
		if a.opts.Verbose && s.Received+s.Late == 0 && s.Sent > s.Pending {
			a.printf("No answer from %s\n", e.Address)
		}
		return
	}
	a.printf("Sent %d probes (%d broadcast(s))\n", s.Sent-s.Errors, s.Broadcasts)
	a.printf("Received %d response(s)", s.Received+s.Late+s.MoreReplies)
	var which []string
	if s.RequestReplies > 0 {
		which = append(which, fmt.Sprintf("%d request(s)", s.RequestReplies))
	}
	if s.BroadcastReplies > 0 {
		which = append(which, fmt.Sprintf("%d broadcast(s)", s.BroadcastReplies))
	}
	if which != nil {
		a.printf(" (%s)", strings.Join(which, ", "))
	}
	a.printf("\n")
	if a.opts.Several <= 1 {
		return
	}
	a.printf("%d hosts, %d answered\n", s.Targets, s.Answered)
	for _, mac := range a.order {
		if n := a.has[mac]; n > 1 {
			a.printf("[%s] has %d of them: %s\n", upper(mac), n, oneOrProxy)
		}
	}
}

// A Search is what is told of the search for a MAC's addresses.
type Search struct {
	out  io.Writer
	json bool
	line line
	mac  frame.MAC
}

// NewSearch returns a Search for a MAC that prints to out, one JSON object a line
// if so asked.
func NewSearch(out io.Writer, mac frame.MAC, json bool) *Search {
	return &Search{out: out, mac: mac, json: json}
}

// Start tells from where a MAC is asked, as the first run has it; where there is
// none it has no stamps. The error is the writer's, as of all methods.
func (s *Search) Start(at time.Time, from *probe.Started) error {
	path := from.Decision.Path
	if !s.json {
		return s.text("ARPING %s from %s %s\n", s.mac, from.SourceMAC, path.Interface.Name)
	}
	s.head("start", at)
	s.line.int("version", jsonVersion)
	s.line.mac("mac", s.mac)
	s.line.link(path)
	s.line.sender(from)
	if from.Timestamps != l2.StampNone {
		s.line.means(from)
	}
	return s.end()
}

// A Found is an address that a MAC has.
type Found struct {
	Addr netip.Addr
	// From is who answers, if that is not who was asked.
	From frame.MAC
	// How is "arp", "ndp" or "echo"; of what did not answer "neighbor table", and
	// State is the entry's.
	How, State string
	RTT        time.Duration
	RTTSource  string
	Router     bool
}

// Found tells of an address.
func (s *Search) Found(at time.Time, f *Found) error {
	if s.json {
		s.head("found", at)
		l := &s.line
		l.mac("mac", s.mac)
		l.address("address", f.Addr)
		l.text("how", f.How)
		if f.State != "" {
			l.text("state", f.State)
		}
		if !f.From.IsZero() {
			l.mac("from_mac", f.From)
		}
		if f.RTTSource != "" {
			l.ns("rtt_ns", f.RTT)
			l.text("rtt_source", f.RTTSource)
		}
		if f.Router {
			l.yes("router")
		}
		return s.end()
	}
	line := fmt.Sprintf("%s  %s", f.Addr, f.How)
	if f.State != "" {
		line += fmt.Sprintf(", %s; no answer", f.State)
	}
	if f.RTTSource != "" {
		line += fmt.Sprintf(" %sms", ms(f.RTT))
	}
	if !f.From.IsZero() {
		line += fmt.Sprintf(" (as %s)", f.From)
	}
	if f.Router {
		line += " (router)"
	}
	return s.text("%s\n", line)
}

// End tells how many requests left and what was found; all says that each
// address of several that was asked for was.
func (s *Search) End(at time.Time, sent uint64, found int, took time.Duration, all bool) error {
	if s.json {
		s.head("summary", at)
		s.line.mac("mac", s.mac)
		s.line.uint("sent", sent)
		s.line.int("found", found)
		s.line.ns("duration_ns", took)
		return s.end()
	}
	plural := "es"
	if found == 1 {
		plural = ""
	}
	if err := s.text("Sent %d probes (0 broadcast(s))\nFound %d address%s\n", sent, found, plural); err != nil || !all {
		return err
	}
	return s.text("It has every address that it was asked for: %s\n", oneOrProxy)
}

func (s *Search) text(format string, args ...any) error {
	_, err := fmt.Fprintf(s.out, format, args...)
	return err
}

func (s *Search) head(event string, at time.Time) {
	s.line = s.line[:0]
	s.line.open()
	s.line.head(event, &probe.Event{Time: at})
}

func (s *Search) end() error {
	s.line.close()
	s.line = append(s.line, '\n')
	_, err := s.out.Write(s.line)
	return err
}
