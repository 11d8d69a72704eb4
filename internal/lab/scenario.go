package lab

import (
	"embed"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

//go:embed testdata/scenarios/*.txt
var scenarioFiles embed.FS

// Scenario is one mishap on the wire and what the command has to make of it.
type Scenario struct {
	Name  string // the file's, without .txt
	Title string
	Story string

	// Args are the flags for "l2ping -i eth0 --json ARGS... HOSTS...".
	Args  []string
	Hosts []string

	// Peer is for the far end of a silent Pair.
	Peer Script

	expect []expectation
	exit   int
}

// IPv6 says whether one of the hosts is an IPv6 address, so that the Pair has to
// have IPv6 too.
func (s Scenario) IPv6() bool {
	return slices.ContainsFunc(s.Hosts, func(host string) bool {
		a, err := netip.ParseAddr(host)
		return err == nil && a.Is6()
	})
}

// Scenarios are the lab's own scenario files, by name.
func Scenarios() ([]Scenario, error) {
	const dir = "testdata/scenarios"
	entries, err := fs.ReadDir(scenarioFiles, dir)
	if err != nil {
		return nil, fmt.Errorf("list scenarios: %w", err)
	}
	var all []Scenario
	for _, entry := range entries {
		text, err := fs.ReadFile(scenarioFiles, path.Join(dir, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("read scenario: %w", err)
		}
		s, err := ParseScenario(strings.TrimSuffix(entry.Name(), ".txt"), string(text))
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// ParseScenario reads a scenario file:
//
//	# What goes wrong, in a line
//	The story in free words, over as many lines as it takes, up to the first
//	line that begins with the word run.
//
//	run   -c 3 -d 10ms
//	host  198.51.100.2
//	peer  seq 2: duplicate
//	expect
//	  reply seq=1 state=replied
//	  unordered
//	    reply seq=2 state=replied
//	    reply seq=2 state=duplicate
//	  reply seq=3
//	  summary sent=3 duplicates=1
//	  exit 0
//
// run holds the flags, separated by spaces; there is no quoting. host is
// what to ping, by default the IPv4 address that the peer has by default; for
// an IPv6 one the near end has IPv6 too. Each peer line is a line of the script, for which see [ParseScript]; none is a peer
// that answers everything. Lines that begin with # are comments.
//
// expect comes last. Each line is an event of the command's JSON and any of its
// fields, in the order in which they come; where the order of some does not
// matter they stand below "unordered", farther in. Every event has to be
// expected, but start events may be left out altogether. "exit" ends the
// list with the exit status. A field is
//
//	field=VALUE     a string, a number, true or false; "VALUE" if it has spaces
//	field=1..5      a number in this range; 1.. and ..5 are open
//	field=*         there, whatever it is
//	field=-         absent
//
// and a field of a field is outer.inner. Whatever the format does not know,
// an event or a field too, is an error that names the line.
func ParseScenario(name, text string) (Scenario, error) {
	p := scenarioParser{s: Scenario{Name: name, exit: -1}}
	for i, line := range strings.Split(text, "\n") {
		if err := p.line(strings.TrimRight(line, " \t\r")); err != nil {
			return Scenario{}, fmt.Errorf("scenario %s: line %d: %w", name, i+1, err)
		}
	}
	if err := p.finish(); err != nil {
		return Scenario{}, fmt.Errorf("scenario %s: %w", name, err)
	}
	return p.s, nil
}

// scenarioParser is what is known after some lines of a scenario.
type scenarioParser struct {
	s         Scenario
	story     []string
	ran       bool // the run line has come
	expecting bool // the expect line has come
	group     int  // number of the current unordered block, 0 outside
	groups    int
	groupIn   int // how far in the word unordered stood
}

func (p *scenarioParser) line(line string) error {
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	rest = strings.TrimSpace(rest)
	switch {
	case p.s.Title == "":
		if word != "#" || rest == "" {
			return fmt.Errorf("want \"# TITLE\"")
		}
		p.s.Title = rest
		return nil
	case !p.ran && !strings.HasPrefix(line, "run ") && line != "run":
		p.story = append(p.story, line)
		return nil
	case word == "" || strings.HasPrefix(word, "#"):
		return nil
	case p.expecting:
		return p.expectLine(line, word, rest)
	case strings.HasPrefix(line, " "), strings.HasPrefix(line, "\t"):
		return fmt.Errorf("unexpected indentation")
	default:
		return p.directive(word, rest)
	}
}

func (p *scenarioParser) directive(word, rest string) error {
	switch word {
	case "run":
		if p.ran {
			return fmt.Errorf("a second run")
		}
		p.ran = true
		p.s.Args = strings.Fields(rest)
	case "host":
		hosts := strings.Fields(rest)
		if len(hosts) == 0 {
			return fmt.Errorf("host: none given")
		}
		p.s.Hosts = append(p.s.Hosts, hosts...)
	case "peer":
		if err := p.s.Peer.parseLine(rest); err != nil {
			return fmt.Errorf("peer: %w", err)
		}
	case "expect":
		if rest != "" {
			return fmt.Errorf("expect: unexpected %q", rest)
		}
		p.expecting = true
	default:
		return fmt.Errorf("unknown key %q: want run, host, peer or expect", word)
	}
	return nil
}

func (p *scenarioParser) expectLine(line, word, rest string) error {
	in := len(line) - len(strings.TrimLeft(line, " "))
	if in == 0 {
		return fmt.Errorf("%q: expected events are indented by spaces", word)
	}
	if p.s.exit >= 0 {
		return fmt.Errorf("%q: nothing follows exit", word)
	}
	if p.group > 0 && in <= p.groupIn {
		p.group = 0
	}
	switch {
	case word == "unordered" && p.group == 0 && rest == "":
		p.groups++
		p.group, p.groupIn = p.groups, in
		return nil
	case word == "exit" && p.group == 0:
		code, err := strconv.ParseUint(rest, 10, 8)
		if err != nil {
			return fmt.Errorf("exit: %q is not an exit status", rest)
		}
		p.s.exit = int(code)
		return nil
	}
	e, err := parseExpectation(word, rest)
	if err != nil {
		return err
	}
	e.group = p.group
	p.s.expect = append(p.s.expect, e)
	return nil
}

func (p *scenarioParser) finish() error {
	switch {
	case !p.ran:
		return fmt.Errorf("no run line")
	case p.s.exit < 0:
		return fmt.Errorf("no exit status expected")
	}
	p.s.Story = strings.TrimSpace(strings.Join(p.story, "\n"))
	if len(p.s.Hosts) == 0 {
		p.s.Hosts = []string{scriptAddr.String()}
	}
	return nil
}

// expectation is one expected event.
type expectation struct {
	event  string
	fields []field
	group  int    // number of its unordered block, 0 if in order
	text   string // as in the file
}

// field is what one field of an event has to be.
type field struct {
	name string
	is   valueKind
	text string // of a literal
	// The ends of a range, of which one may be missing.
	least, most *float64
}

type valueKind int

const (
	isLiteral valueKind = iota
	isString            // quoted: never a number
	isPresent
	isAbsent
	isInRange
)

// eventFields are the events of the command's JSON, and the fields of each
// besides event and time. A field of a field is outer.inner.
var eventFields = map[string][]string{
	"start": {
		"version", "interface", "target", "address", "source", "source_mac", "next_hop",
		"next_hop.address", "next_hop.mac", "next_hop.state", "next_hop.how", "next_hop.resolve_ns",
		"mtu", "id", "size", "filter", "filter_reason", "timestamps", "timestamps_reason", "cookie_bytes",
		"owner", "vlan", "vlan_priority", "inner_vlan", "inner_vlan_priority",
	},
	"sent": {"version", "address", "seq"},
	"reply": {
		"version", "address", "seq", "state", "from", "from_mac", "ttl", "tos", "vlan", "bytes",
		"rtt_ns", "rtt_source", "budget", "budget.send_ns", "budget.queue_ns", "budget.wire_ns",
		"budget.receive_ns", "budget.nic_ns", "corrupted", "truncated", "wrong_byte",
		"clock_stepped", "vlan_priority", "inner_vlan", "inner_vlan_priority", "other_member",
	},
	"error": {"version", "address", "seq", "from", "icmp_type", "icmp_code", "message", "reason", "mtu", "late"},
	"lost":  {"version", "address", "seq"},
	"summary": {
		"version", "address", "sent", "received", "lost", "late", "duplicates", "reordered", "errors",
		"corrupted", "rejected", "loss_ratio", "duration_ns", "rtt_ns", "rtt_ns.min", "rtt_ns.mean",
		"rtt_ns.max", "rtt_ns.stddev", "rtt_ns.p50", "rtt_ns.p90", "rtt_ns.p99", "rtt_ns.p999",
		"rtt_ns.p9999", "jitter_ns", "pdv_ns", "budget_ns", "budget_ns.send", "budget_ns.queue",
		"budget_ns.wire", "budget_ns.receive", "budget_ns.nic", "stamps", "stamps.hardware",
		"stamps.driver", "stamps.sched", "stamps.user", "timer_error_ns", "timer_error_ns.p50", "timer_error_ns.p99",
		"kernel_drops", "events_dropped", "late_errors", "skipped", "send_retries", "stamps_lost", "clock_steps",
		"targets", "answered", "more_replies", "other_member", "conflicts",
	},
	"change": {"version", "address", "what", "next_hop", "mac", "old_mac", "source", "mtu", "reason"},
}

func parseExpectation(event, rest string) (expectation, error) {
	known, ok := eventFields[event]
	if !ok {
		return expectation{}, fmt.Errorf("unknown event %q", event)
	}
	e := expectation{event: event, text: strings.TrimSpace(event + " " + rest)}
	for rest != "" {
		name, after, ok := strings.Cut(rest, "=")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return expectation{}, fmt.Errorf("%s: %q: want FIELD=VALUE", event, rest)
		}
		if !slices.Contains(known, name) {
			return expectation{}, fmt.Errorf("%s: unknown field %q", event, name)
		}
		if slices.ContainsFunc(e.fields, func(f field) bool { return f.name == name }) {
			return expectation{}, fmt.Errorf("%s: field %s twice", event, name)
		}
		f := field{name: name}
		if strings.HasPrefix(after, `"`) {
			quoted, err := strconv.QuotedPrefix(after)
			if err != nil {
				return expectation{}, fmt.Errorf("%s: field %s: a quote is missing", event, name)
			}
			f.is = isString
			f.text, _ = strconv.Unquote(quoted) // QuotedPrefix has checked it
			after = after[len(quoted):]
			if after != "" && after[0] != ' ' {
				return expectation{}, fmt.Errorf("%s: field %s: %q follows the quote", event, name, after)
			}
		} else {
			value := after
			if i := strings.IndexAny(after, " \t"); i >= 0 {
				value = after[:i]
			}
			after = after[len(value):]
			if value == "" {
				return expectation{}, fmt.Errorf("%s: field %s: no value", event, name)
			}
			f.parseValue(value)
		}
		e.fields = append(e.fields, f)
		rest = strings.TrimSpace(after)
	}
	return e, nil
}

func (f *field) parseValue(value string) {
	f.text = value
	switch value {
	case "*":
		f.is = isPresent
		return
	case "-":
		f.is = isAbsent
		return
	}
	low, high, ok := strings.Cut(value, "..")
	if !ok || low == "" && high == "" {
		return
	}
	least, lowOK := bound(low)
	most, highOK := bound(high)
	if lowOK && highOK {
		f.is, f.least, f.most = isInRange, least, most
	}
}

// bound reads an end of a range, which may be missing.
func bound(s string) (*float64, bool) {
	if s == "" {
		return nil, true
	}
	v, err := strconv.ParseFloat(s, 64)
	return &v, err == nil
}
