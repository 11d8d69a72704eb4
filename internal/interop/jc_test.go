//go:build interop && linux

package interop

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// parsed is what jc makes of ping's text. What it cannot read as a number is
// null. It has its weak sides, which it has with ping's text as well:
//
//   - with "from ADDRESS IFACE" in the header, as ping -I has it, data_bytes is
//     null;
//   - anything but duplicates between received and the loss ("+1 errors",
//     "+1 corrupted") moves the fields that it counts off by words, so the loss
//     is then the number of those; what it reads of duplicates and time is as
//     wrong;
//   - lines about ICMP errors, and replies that were truncated, are no
//     responses, or unparsable ones;
//   - "pipe 2" alone on the last line, which both print when several probes were
//     out and all failed, makes it fail altogether: parse leaves it out, for where
//     a machine is busy any two probes may be out.
type parsed struct {
	DestinationIP string   `json:"destination_ip"`
	Destination   string   `json:"destination"`
	Pattern       *string  `json:"pattern"`
	Sent          *int     `json:"packets_transmitted"`
	Received      *int     `json:"packets_received"`
	Loss          *float64 `json:"packet_loss_percent"`
	Duplicates    *int     `json:"duplicates"`
	Time          *float64 `json:"time_ms"`
	Min           *float64 `json:"round_trip_ms_min"`
	Avg           *float64 `json:"round_trip_ms_avg"`
	Max           *float64 `json:"round_trip_ms_max"`
	Stddev        *float64 `json:"round_trip_ms_stddev"`
	Responses     []struct {
		Type      string   `json:"type"`
		Timestamp *float64 `json:"timestamp"`
		Bytes     *int     `json:"bytes"`
		From      string   `json:"response_ip"`
		Seq       *int     `json:"icmp_seq"`
		TTL       *int     `json:"ttl"`
		Time      *float64 `json:"time_ms"`
		Duplicate bool     `json:"duplicate"`
	} `json:"responses"`
}

var pipeAlone = regexp.MustCompile(`(?m)^pipe \d+$`)

// parse has jc read a text.
func parse(t *testing.T, text string) (parsed, error) {
	t.Helper()
	o := run(t, nil, pipeAlone.ReplaceAllString(text, ""), program(t, "jc"), "--ping")
	var p parsed
	if o.exit != 0 {
		return p, fmt.Errorf("jc: %v", o)
	}
	return p, json.Unmarshal([]byte(o.stdout), &p)
}

// counts are the numbers of a run that do not depend on when it was.
type counts struct {
	sent, received, lost, late, duplicates, errors, corrupted int
	exit                                                      int
}

// scripted runs l2ping with a scenario's flags and peer, in a lab of its own.
func scripted(t *testing.T, s lab.Scenario, more ...string) outcome {
	t.Helper()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true, IPv6: s.IPv6()})
	peer, err := lab.StartPeer(pair.Far, "eth0", s.Peer)
	must(t, err)
	defer func() { must(t, peer.Close()) }()
	hosts := s.Hosts
	if hosts == nil {
		hosts = []string{pair.FarIP.String()}
	}
	return l2ping(t, pair.Near, slices.Concat([]string{"-i", "eth0"}, more, s.Args, hosts)...)
}

// fromJSON reads the counts in l2ping's JSON.
func fromJSON(o outcome) (counts, error) {
	lines := strings.Split(strings.TrimSuffix(o.stdout, "\n"), "\n")
	var summary struct {
		Event                                               string
		Sent, Received, Late, Duplicates, Errors, Corrupted int
		LateErrors                                          int `json:"late_errors"`
	}
	// The summary comes last.
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &summary); err != nil || summary.Event != "summary" {
		return counts{}, fmt.Errorf("no summary, %v: %v", err, o)
	}
	// In text as in ping, received counts late replies too.
	received := summary.Received + summary.Late
	return counts{
		sent: summary.Sent, received: received, lost: summary.Sent - received, late: summary.Late,
		duplicates: summary.Duplicates, errors: summary.Errors + summary.LateErrors, corrupted: summary.Corrupted,
		exit: o.exit,
	}, nil
}

var (
	summaryLine = regexp.MustCompile(`(?m)^(\d+) packets transmitted, (\d+) received(.*), ([\d.e+]+)% packet loss, time (\d+)ms$`)
	rttLine     = regexp.MustCompile(`(?m)^rtt min/avg/max/mdev = ([\d.]+)/([\d.]+)/([\d.]+)/([\d.]+) ms`)
	replyLine   = regexp.MustCompile(`(?m)^(?:\[([\d.]+)\] )?(\d+) bytes from ([\d.a-f:]+(?:%\w+)?): icmp_seq=(\d+) ttl=(\d+) time=([\d.]+) ms(.*)$`)
	silentLine  = regexp.MustCompile(`(?m)no answer yet for icmp_seq=(\d+)$`)
	extra       = regexp.MustCompile(`, \+(\d+) (\w+)`)
)

// fromText reads the counts in l2ping's own text.
func fromText(o outcome) (counts, error) {
	c := counts{exit: o.exit}
	m := summaryLine.FindStringSubmatch(o.stdout)
	if m == nil {
		return c, fmt.Errorf("no summary in %q", o.stdout)
	}
	c.sent, c.received = atoi(m[1]), atoi(m[2])
	c.lost = c.sent - c.received
	for _, e := range extra.FindAllStringSubmatch(m[3], -1) {
		p, ok := map[string]*int{
			"duplicates": &c.duplicates, "late": &c.late, "errors": &c.errors, "corrupted": &c.corrupted,
		}[e[2]]
		if !ok {
			return c, fmt.Errorf("%q counts %s", m[0], e[2])
		}
		*p = atoi(e[1])
	}
	return c, nil
}

// atoi is for what a pattern has matched as digits.
func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// TestJCReadsEveryScenario holds that jc reads our text in whatever happens, that
// it reads the numbers that stand there, and that those are the numbers that our
// JSON has when the same happens again.
func TestJCReadsEveryScenario(t *testing.T) {
	for _, s := range labtest.Scenarios(t) {
		if len(s.Hosts) > 1 {
			continue // ping has one, and so has jc
		}
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			inJSON, err := fromJSON(scripted(t, s, "--json"))
			must(t, err)
			for _, more := range []string{"", "-n", "-q", "-D", "-O", "-D -O", "-p ff", "--budget", "--budget -D -O", "-v"} {
				// One flag a scenario would do for jc; the plain text and the
				// busiest are tried in each.
				if more != "" && more != "-D -O" && s.Name != "plain" && s.Name != "lost" && s.Name != "duplicate" {
					continue
				}
				o := scripted(t, s, strings.Fields(more)...)
				inText, err := fromText(o)
				must(t, err)
				if inText != inJSON {
					t.Errorf("%q: the text has %+v, the JSON of the same scenario %+v\n%v", more, inText, inJSON, o)
				}
				p, err := parse(t, o.stdout)
				if err != nil {
					t.Errorf("%q: %v\n%v", more, err, o)
					continue
				}
				p.check(t, o.stdout, s.Hosts[0], more == "-v")
			}
		})
	}
}

// check compares what jc has read with what stands there.
func (p *parsed) check(t *testing.T, text, host string, verbose bool) {
	t.Helper()
	same := func(what string, got *float64, want string) {
		t.Helper()
		w, err := strconv.ParseFloat(want, 64)
		if err != nil || got == nil || math.Abs(*got-w) > 1e-9 {
			t.Errorf("jc reads %s as %s, printed is %s:\n%s", what, show(got), want, text)
		}
	}
	count := func(what string, got *int, want string) {
		t.Helper()
		if got == nil {
			same(what, nil, want)
			return
		}
		same(what, new(float64(*got)), want)
	}
	m := summaryLine.FindStringSubmatch(text)
	count("sent", p.Sent, m[1])
	count("received", p.Received, m[2])
	extras := extra.FindAllStringSubmatch(m[3], -1)
	switch {
	case len(extras) == 0:
		same("loss", p.Loss, m[4])
		same("time", p.Time, m[5])
		count("duplicates", p.Duplicates, "0")
	case len(extras) == 1 && extras[0][2] == "duplicates":
		same("loss", p.Loss, m[4])
		same("time", p.Time, m[5])
		count("duplicates", p.Duplicates, extras[0][1])
	}
	if rtt := rttLine.FindStringSubmatch(text); rtt != nil {
		same("the least RTT", p.Min, rtt[1])
		same("the mean RTT", p.Avg, rtt[2])
		same("the greatest RTT", p.Max, rtt[3])
		same("the RTT's deviation", p.Stddev, rtt[4])
	} else if p.Min != nil {
		t.Errorf("jc reads an RTT of %v, printed is none:\n%s", *p.Min, text)
	}
	if p.DestinationIP != host || p.Destination != host {
		t.Errorf("jc reads the destination as %s and %s:\n%s", p.DestinationIP, p.Destination, text)
	}
	if strings.Contains(text, "PATTERN: 0xff\n") != (p.Pattern != nil && *p.Pattern == "0xff") {
		t.Errorf("jc misses the pattern:\n%s", text)
	}
	if verbose {
		return // ident=N, as ping -v has it, moves jc's fields off
	}
	replies, silences := replyLine.FindAllStringSubmatch(text, -1), silentLine.FindAllStringSubmatch(text, -1)
	for _, r := range p.Responses {
		switch {
		case r.Type == "timeout" && len(silences) > 0:
			count("a missing answer", r.Seq, silences[0][1])
			silences = silences[1:]
		case r.Type == "reply" && len(replies) > 0:
			w := replies[0]
			replies = replies[1:]
			if w[1] != "" {
				same("a time stamp", r.Timestamp, w[1])
			}
			count("bytes", r.Bytes, w[2])
			if r.From != w[3] {
				t.Errorf("jc reads %s as the replying host, printed is %s", r.From, w[3])
			}
			count("a sequence number", r.Seq, w[4])
			count("a TTL", r.TTL, w[5])
			same("a time", r.Time, w[6])
			if r.Duplicate != strings.Contains(w[7], "(DUP!)") {
				t.Errorf("jc takes %q for a duplicate: %t", w[0], r.Duplicate)
			}
		case r.Type == "unparsable_line" && strings.Contains(text, "(truncated)"):
		default:
			t.Errorf("jc has %+v, which is not printed:\n%s", r, text)
		}
	}
	if len(replies) > 0 || len(silences) > 0 {
		t.Errorf("jc misses the replies %q and the silences %q in\n%s", replies, silences, text)
	}
}

func show(f *float64) string {
	if f == nil {
		return "nothing"
	}
	return strconv.FormatFloat(*f, 'g', -1, 64)
}
