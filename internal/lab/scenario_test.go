package lab_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*")
	if err != nil {
		t.Fatal(err)
	}
	all := labtest.Scenarios(t)
	if len(all) != len(files) || len(all) < 20 {
		t.Errorf("%d scenarios of %d files", len(all), len(files))
	}
	titles := map[string]string{}
	for _, s := range all {
		if s.Story == "" || len(s.Hosts) == 0 || len(s.Args) == 0 {
			t.Errorf("%s: story %q, hosts %v, args %v", s.Name, s.Story, s.Hosts, s.Args)
		}
		if other, ok := titles[s.Title]; ok {
			t.Errorf("%s has the title of %s", s.Name, other)
		}
		titles[s.Title] = s.Name
		if err := s.Check(nil, 0); err == nil {
			t.Errorf("%s expects nothing", s.Name)
		}
	}
}

const caseText = `# A case with everything in it
The story has two lines. The word
running begins no directive, and neither does a peer: lose.

run   -c 3 -d 10ms

# a comment
host  198.51.100.2
peer  arp: silent 1
peer  seq 2: duplicate
expect
  reply seq=1 state=replied vlan=- from=* rtt_ns=10..20 ttl=64
  # another
  unordered
    reply seq=2 state=duplicate
    error seq=2 message="Destination Host Unreachable" mtu=1400
  reply seq=3 corrupted=true budget.wire_ns=5..
  summary sent=3 loss_ratio=..0.5
  exit 0
`

// caseEvents are what caseText expects.
const caseEvents = `
{"event":"start","time":"2026-01-02T03:04:05.000000006Z","version":1}
{"event":"reply","time":"2026-01-02T03:04:05.000000006Z","seq":1,"state":"replied","from":"198.51.100.2","rtt_ns":20,"ttl":64}
{"event":"reply","time":"2026-01-02T03:04:05.000000006Z","seq":2,"state":"duplicate"}
{"event":"error","time":"2026-01-02T03:04:05.000000006Z","seq":2,"message":"Destination Host Unreachable","mtu":1400}
{"event":"reply","time":"2026-01-02T03:04:05.000000006Z","seq":3,"corrupted":true,"budget":{"wire_ns":5}}
{"event":"summary","time":"2026-01-02T03:04:05.000000006Z","sent":3,"loss_ratio":0.25}
`

func parseCase(t *testing.T) lab.Scenario {
	t.Helper()
	s, err := lab.ParseScenario("case", caseText)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func events(t *testing.T, text string) (list []map[string]any) {
	t.Helper()
	for line := range strings.Lines(strings.TrimSpace(text)) {
		var event map[string]any
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatal(err)
		}
		list = append(list, event)
	}
	return list
}

func TestParseScenario(t *testing.T) {
	s := parseCase(t)
	if s.Name != "case" || s.Title != "A case with everything in it" || !strings.HasPrefix(s.Story, "The story") ||
		!strings.HasSuffix(s.Story, "lose.") || !slices.Equal(s.Args, []string{"-c", "3", "-d", "10ms"}) ||
		!slices.Equal(s.Hosts, []string{"198.51.100.2"}) {
		t.Errorf("parsed %+v", s)
	}
}

func TestParseScenarioErrors(t *testing.T) {
	const head = "# Title\nrun -c 1\n"
	for _, tt := range []struct{ text, want string }{
		{"", "line 1: want \"# TITLE\""},
		{"#\nrun\n", "line 1: want \"# TITLE\""},
		{"Title\n", "line 1: want \"# TITLE\""},
		{"# Title\nstory\n", "no run line"},
		{head, "no exit status"},
		{head + "expect\n  reply\n", "no exit status"},
		{head + "run -c 2\n", "line 3: a second run"},
		{head + "\npear seq 1: lose\n", `line 4: unknown key "pear"`},
		{head + "peer seq 1: explode\n", "line 3: peer: explode: unknown action"},
		{head + "  peer seq 1: lose\n", "line 3: unexpected indentation"},
		{head + "host\n", "line 3: host: none given"},
		{head + "expect nothing\n", `line 3: expect: unexpected "nothing"`},
		{head + "expect\nreply\n", "line 4: \"reply\": expected events are indented"},
		{head + "expect\n  answer\n", `line 4: unknown event "answer"`},
		{head + "expect\n  reply stat=replied\n", `line 4: reply: unknown field "stat"`},
		{head + "expect\n  reply seq\n", "want FIELD=VALUE"},
		{head + "expect\n  reply seq = 1\n", "want FIELD=VALUE"},
		{head + "expect\n  reply seq=\n", "reply: field seq: no value"},
		{head + "expect\n  reply seq=1 seq=1\n", "reply: field seq twice"},
		{head + "expect\n  error message=\"x\n", "a quote is missing"},
		{head + "expect\n  error message=\"x\"y\n", "follows the quote"},
		{head + "expect\n  exit x\n", `exit: "x" is not an exit status`},
		{head + "expect\n  exit 256\n", "is not an exit status"},
		{head + "expect\n  exit 0\n  reply\n", "line 5: \"reply\": nothing follows exit"},
		{head + "expect\n  unordered\n    exit 0\n", `unknown event "exit"`},
		{head + "expect\n  unordered\n    unordered\n", `unknown event "unordered"`},
	} {
		_, err := lab.ParseScenario("x", tt.text)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "scenario x: ") {
			t.Errorf("%q: error %v, want %q", tt.text, err, tt.want)
		}
	}
}

func TestCheck(t *testing.T) {
	s := parseCase(t)
	good := func() []map[string]any { return events(t, caseEvents) }
	if err := s.Check(good(), 0); err != nil {
		t.Errorf("the expected events: %v", err)
	}
	swapped := good()
	swapped[2], swapped[3] = swapped[3], swapped[2]
	if err := s.Check(swapped, 0); err != nil {
		t.Errorf("unordered events, the other way round: %v", err)
	}
	for _, tt := range []struct {
		name   string
		change func([]map[string]any) []map[string]any
		exit   int
		want   []string
	}{
		{
			"value", func(e []map[string]any) []map[string]any { e[1]["state"] = "late"; return e }, 0,
			[]string{"state is late, want replied", "  > reply seq=1 state=replied vlan=-", "  > reply seq=1 state=late from="},
		},
		{
			"present", func(e []map[string]any) []map[string]any { e[1]["vlan"] = 7.0; return e }, 0,
			[]string{"vlan is 7, want none"},
		},
		{
			"absent", func(e []map[string]any) []map[string]any { delete(e[1], "from"); return e }, 0,
			[]string{"from is absent"},
		},
		{
			"no value", func(e []map[string]any) []map[string]any { delete(e[1], "ttl"); return e }, 0,
			[]string{"ttl is absent, want 64"},
		},
		{
			"range", func(e []map[string]any) []map[string]any { e[1]["rtt_ns"] = 21.0; return e }, 0,
			[]string{"rtt_ns is 21, want 10..20"},
		},
		{
			"range below", func(e []map[string]any) []map[string]any { e[1]["rtt_ns"] = 9.0; return e }, 0,
			[]string{"rtt_ns is 9, want 10..20"},
		},
		{
			"range of a string", func(e []map[string]any) []map[string]any { e[1]["rtt_ns"] = "15"; return e }, 0,
			[]string{"rtt_ns is 15, want 10..20"},
		},
		{
			"bool", func(e []map[string]any) []map[string]any { e[4]["corrupted"] = false; return e }, 0,
			[]string{"corrupted is false, want true"},
		},
		{
			"inner field", func(e []map[string]any) []map[string]any { e[4]["budget"] = 1.0; return e }, 0,
			[]string{"budget.wire_ns is absent"},
		},
		{
			"inner value", func(e []map[string]any) []map[string]any {
				e[4]["budget"] = map[string]any{"wire_ns": 4.0}
				return e
			}, 0,
			[]string{"budget.wire_ns is 4, want 5.."},
		},
		{
			"order", func(e []map[string]any) []map[string]any { e[3], e[4] = e[4], e[3]; return e }, 0,
			[]string{"none of the next 2 events is this one", `  > error seq=2 message="Destination Host Unreachable" mtu=1400   (unordered)`},
		},
		{
			"surplus", func(e []map[string]any) []map[string]any {
				return append(e, map[string]any{"event": "lost", "seq": 3.0})
			}, 0,
			[]string{"nobody expected this event", "  > lost seq=3"},
		},
		{
			"missing", func(e []map[string]any) []map[string]any { return e[:5] }, 0,
			[]string{"the event is missing", "  > summary sent=3", "  > exit 0"},
		},
		{
			"missing in a block", func(e []map[string]any) []map[string]any { return e[:3] }, 0,
			[]string{"none of the next 2 events is this one"},
		},
		{
			"other event", func(e []map[string]any) []map[string]any { e[4]["event"] = "lost"; return e }, 0,
			[]string{"the event is lost, want reply"},
		},
		{
			"none", func([]map[string]any) []map[string]any { return nil }, 0,
			[]string{"the event is missing"},
		},
		{
			"exit", func(e []map[string]any) []map[string]any { return e }, 1,
			[]string{"the exit status is 1, want 0", "  > exit 0", "  > exit 1"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := s.Check(tt.change(good()), tt.exit)
			if err == nil {
				t.Fatal("no difference found")
			}
			for _, want := range append(tt.want, "scenario case (A case with everything in it): ", "  expected:\n", "  came:\n") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nwant in it: %s", err, want)
				}
			}
		})
	}
}

func TestCheckStart(t *testing.T) {
	s, err := lab.ParseScenario("x", "# T\nrun\nexpect\n  start next_hop.mac=02:00:5e:00:53:02 cookie_bytes=8 version=*\n  exit 0\n")
	if err != nil {
		t.Fatal(err)
	}
	good := events(t, `{"event":"start","version":1,"cookie_bytes":8,"next_hop":{"mac":"02:00:5e:00:53:02"}}`)
	if err := s.Check(good, 0); err != nil {
		t.Error(err)
	}
	if err := s.Check(append(good, good...), 0); err == nil {
		t.Error("a second start event is no surplus")
	}
}

// TestCheckUnordered has an assignment that the greedy way misses.
func TestCheckUnordered(t *testing.T) {
	s, err := lab.ParseScenario("x", "# T\nrun\nexpect\n  unordered\n    reply\n    reply seq=1\n    lost\n  reply seq=9\n  exit 0\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(events(t, `{"event":"reply","seq":1}
{"event":"lost","seq":3}
{"event":"reply","seq":2}
{"event":"reply","seq":9}`), 0); err != nil {
		t.Error(err)
	}
}

func TestCheckUseNumber(t *testing.T) {
	s, err := lab.ParseScenario("x", "# T\nrun\nexpect\n  reply rtt_ns=10..20 ttl=64\n  exit 0\n")
	if err != nil {
		t.Fatal(err)
	}
	event := map[string]any{"event": "reply", "rtt_ns": json.Number("12"), "ttl": json.Number("64")}
	if err := s.Check([]map[string]any{event}, 0); err != nil {
		t.Error(err)
	}
}

func TestScenarioIPv6(t *testing.T) {
	for host, want := range map[string]bool{"198.51.100.2": false, "2001:db8:1::2": true, "fe80::2%eth0": true, "localhost": false} {
		if got := (lab.Scenario{Hosts: []string{"198.51.100.2", host}}).IPv6(); got != want {
			t.Errorf("%s: %t", host, got)
		}
	}
}
