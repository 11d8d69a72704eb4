//go:build linux

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// oneRun is a run of probes 30 us long, with these errors.
func oneRun(t *testing.T, tool string, number int, cpu time.Duration, errors ...time.Duration) result {
	r := result{tool: byName(t, tool), run: number, cpu: cpu, sent: len(errors), interval: 10 * time.Millisecond}
	for i, e := range errors {
		r.deviations = append(r.deviations, deviation{seq: uint16(i), first: i == 0, truth: 30_000, error: e})
	}
	return r
}

var tenMS = job{count: 3, interval: 10 * time.Millisecond}

// TestSection holds that each number is the median of the runs.
func TestSection(t *testing.T) {
	const cpu = time.Millisecond
	s := newSection(condition{name: "idle"}, tenMS, []result{
		oneRun(t, "l2ping", 1, 3*cpu, -2_000, 1_000, 1_500), oneRun(t, "ping", 1, cpu, 40_000),
		oneRun(t, "l2ping", 2, 9*cpu, 9_000), oneRun(t, "ping", 2, cpu, 15_000),
		oneRun(t, "l2ping", 3, 2*cpu, -1_000), oneRun(t, "ping", 3, cpu, 30_000),
	}, nil)
	first := s.Runs[0]
	if first.Bias != 1_000 || first.Error != (distribution{1_500, 2_000, 2_000}) || first.CPUPerProbe != cpu ||
		first.First == nil || *first.First != -2_000 || first.Sent != 3 || first.Reported != 3 || first.Truth != 30_000 {
		t.Errorf("the first run is %+v", first)
	}
	if len(s.Runs) != 6 || len(s.Tools) != 2 {
		t.Fatalf("%d runs of %d tools", len(s.Runs), len(s.Tools))
	}
	l := s.Tools[0]
	if l.Tool != "l2ping" || l.Runs != 3 || l.Sent != 5 || l.Reported != 5 || l.Truth != 30_000 || l.Bias != 1_000 ||
		l.Error != (distribution{1_500, 2_000, 2_000}) || *l.First != -1_000 || l.CPUPerProbe != 2*cpu || l.Ratio != 1 {
		t.Errorf("l2ping is %+v", l)
	}
	if p := s.Tools[1]; p.Tool != "ping" || p.Error.P99 != 30_000 || p.Ratio != 15 {
		t.Errorf("ping is %+v", p)
	}
}

// TestSectionLost holds that a lost first probe is no first error, and that the
// CPU is divided among what was sent.
func TestSectionLost(t *testing.T) {
	r := oneRun(t, "l2ping", 1, 3*time.Millisecond, 7_000, 1_000, 2_000)
	r.deviations = r.deviations[1:]
	s := newSection(condition{}, tenMS, []result{r}, nil)
	l := s.Tools[0]
	if l.First != nil || l.Sent != 3 || l.Reported != 2 || l.CPUPerProbe != time.Millisecond {
		t.Errorf("l2ping is %+v", l)
	}
}

func TestVerdicts(t *testing.T) {
	const us = time.Microsecond
	idle := condition{interval: 10 * time.Millisecond, cpu: &cpuTarget{"ping", 1.5}}
	fast := condition{interval: 10 * time.Millisecond, cpu: &cpuTarget{"fping", 1}}
	unresolved := condition{interval: 10 * time.Millisecond, unresolved: true}
	tool := func(name string, p99, first, cpu time.Duration) toolReport {
		return toolReport{Tool: name, numbers: numbers{Error: distribution{P99: p99}, First: &first, CPUPerProbe: cpu}}
	}
	yes, no := new(true), new(false)
	for _, tt := range []struct {
		name string
		c    condition
		s    section
		want []verdict // without their texts
		text string    // of the last
	}{
		{"no l2ping", idle, section{Tools: []toolReport{tool("ping", 40*us, 0, 0)}}, nil, ""},
		{
			"all just reached", idle, section{Tools: []toolReport{
				tool("l2ping", 5*us, 0, 150*us), tool("ping", 90*us, 0, 100*us), tool("fping", 40*us, 0, 10*us),
			}}, []verdict{
				{Target: "p99", Got: 5 * us, Limit: 5 * us, Reached: yes},
				{Target: "p99_of_best_peer", Got: 5 * us, Limit: 5 * us, Peer: "fping", PeerValue: 40 * us, Reached: yes},
				{Target: "cpu_per_probe", Got: 150 * us, Limit: 150 * us, Peer: "ping", PeerValue: 100 * us, Reached: yes},
			}, "CPU per probe 150.0 us: at most 1.5 times ping's 100.0",
		},
		{
			"all just missed", fast, section{Tools: []toolReport{
				tool("l2ping", 5*us+1, 0, 10*us+1), tool("ping", 90*us, 0, 100*us), tool("fping", 40*us, 0, 10*us),
			}}, []verdict{
				{Target: "p99", Got: 5*us + 1, Limit: 5 * us, Reached: no},
				{Target: "p99_of_best_peer", Got: 5*us + 1, Limit: 5 * us, Peer: "fping", PeerValue: 40 * us, Reached: no},
				{Target: "cpu_per_probe", Got: 10*us + 1, Limit: 10 * us, Peer: "fping", PeerValue: 10 * us, Reached: no},
			}, "CPU per probe 10.0 us: at most fping's 10.0",
		},
		{
			"no peer", fast, section{Tools: []toolReport{tool("l2ping", us, 0, 10*us)}}, []verdict{
				{Target: "p99", Got: us, Limit: 5 * us, Reached: yes},
				{Target: "p99_of_best_peer", Got: us},
				{Target: "cpu_per_probe", Got: 10 * us, Peer: "fping"},
			}, "CPU per probe at most fping's: fping is not measured",
		},
		{
			"too low is as wrong", unresolved, section{Tools: []toolReport{tool("l2ping", us, -6*us, 0), tool("ping", 80*us, 5000*us, 0)}}, []verdict{
				{Target: "p99", Got: us, Limit: 5 * us, Reached: yes},
				{Target: "p99_of_best_peer", Got: us, Limit: 10 * us, Peer: "ping", PeerValue: 80 * us, Reached: yes},
				{Target: "first_error", Got: 6 * us, Limit: 5 * us, Reached: no},
			}, "first probe's |error| 6.00 us: at most 5.00, for resolution is not in it",
		},
		{
			"ARP", condition{arp: true}, section{Tools: []toolReport{tool("arping", 500*us, 0, 0), tool("l2ping-arping", 2*us, 0, 0)}}, []verdict{
				{Target: "p99", Got: 2 * us, Limit: 5 * us, Reached: yes},
				{Target: "p99_of_best_peer", Got: 2 * us, Limit: 500 * us / 8, Peer: "arping", PeerValue: 500 * us, Reached: yes},
			}, "|error| p99 2.00 us: at most 1/8 of the best peer's, arping's 500.0 (it is 250.0 times l2ping's)",
		},
		{
			"first probe never reported", unresolved, section{Tools: []toolReport{{Tool: "l2ping"}}}, []verdict{
				{Target: "p99", Limit: 5 * us, Reached: yes},
				{Target: "p99_of_best_peer"},
				{Target: "first_error", Reached: no},
			}, "first probe's |error|: no run has reported its first probe",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.s.Interval = tt.c.interval
			got := judge(tt.c, &tt.s)
			if len(got) > 0 && got[len(got)-1].Text != tt.text {
				t.Errorf("the last says %q, want %q", got[len(got)-1].Text, tt.text)
			}
			if !slices.EqualFunc(got, tt.want, func(g, w verdict) bool {
				same := (g.Reached == nil) == (w.Reached == nil) && (g.Reached == nil || *g.Reached == *w.Reached)
				g.Reached, w.Reached, g.Text = nil, nil, ""
				return same && g == w
			}) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
	t.Run("at another rate the CPU is not judged", func(t *testing.T) {
		s := section{Interval: time.Millisecond, Tools: []toolReport{tool("l2ping", us, 0, us), tool("ping", us, 0, us)}}
		for _, v := range judge(idle, &s) {
			if v.Target == "cpu_per_probe" {
				t.Errorf("got %+v", v)
			}
		}
	})
}

func TestPrint(t *testing.T) {
	r := report{
		Time:    time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Machine: machine{Kernel: "6.18.5", Arch: "x86_64", CPU: "Some CPU", CPUs: 2},
		Tools:   []toolVersion{{Tool: "l2ping", Version: "v1"}, {Tool: "hping3", Version: "3", Note: "coarse"}},
		LeftOut: []leftOut{{"nping", "not installed (apt-get install nmap)"}},
	}
	c := condition{name: "idle", what: "nothing else runs", cpu: &cpuTarget{"fping", 1}, interval: tenMS.interval}
	missed := oneRun(t, "l2ping", 1, time.Millisecond, 6_000, -100)
	for i := range missed.deviations {
		missed.deviations[i].parts = true
		missed.deviations[i].departure = missed.deviations[i].error
	}
	slow := oneRun(t, "hping3", 1, time.Millisecond, 900_000, 1_200_000, 1_300_000)
	slow.deviations, slow.interval, slow.memory = slow.deviations[:2], 16*time.Millisecond, 3<<19
	missed.sources = map[string]int{"driver": 1, "user": 1}
	s := newSection(c, tenMS, []result{missed, slow}, []leftOut{{"arping", "whole seconds"}})
	r.Conditions = []section{s}
	once := onceSection{
		Tools:   []onceReport{{Tool: "l2ping"}, {Tool: "fping"}},
		LeftOut: []leftOut{{"fping", "exit status 4"}},
	}
	for _, d := range []time.Duration{30, 10, 20} {
		once.Tools[0].Known.add(d * time.Millisecond)
		once.Tools[0].Unknown.add(2 * d * time.Millisecond)
	}
	var b strings.Builder
	for _, err := range []error{r.printHead(&b), s.print(&b, false), once.print(&b), r.printSummary(&b)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	text := b.String()
	for _, line := range []string{
		"  machine   Linux 6.18.5 x86_64, 2 CPUs, Some CPU",
		"            hping3         3: coarse",
		"  left out  nping          not installed (apt-get install nmap)",
		"idle: nothing else runs; 3 probes a run, 10ms apart",
		"  l2ping             30.0   -0.10         0.10  6.00  6.00        +6.00  500.0       -       2",
		"  hping3             30.0  +900.0        900.0  1200  1200       +900.0  333.3     1.5  2 of 3",
		"  of 3 probes the p99 is the largest",
		"  l2ping run 1: of that error, at departure p99 6.00 max 6.00, at arrival p99 0.00 max 0.00",
		"  hping3 sends every 16.0 ms",
		"  left out: arping: whole seconds",
		"  NOT reached  |error| p99 6.00 us: at most 5.00",
		"  reached      |error| p99 6.00 us: at most 1/8 of the best peer's, hping3's 1200 (it is 200.0 times l2ping's)",
		"  not judged   CPU per probe at most fping's: fping is not measured",
		"one probe: the whole process, from its start to its end, in ms; median of 3 runs",
		"  l2ping                   20.0              40.0",
		"  left out: fping: exit status 4",
		"1 of 2 targets reached",
		"  NOT reached  idle: |error| p99 6.00 us: at most 5.00",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	if strings.Contains(text, "stamps") {
		t.Error("single runs are printed unasked")
	}
	b.Reset()
	if err := s.print(&b, true); err != nil || !strings.Contains(b.String(), "driver:1 user:1") {
		t.Errorf("%v, no single runs in\n%s", err, &b)
	}
	if t.Failed() {
		t.Logf("printed:\n%s", text)
	}
}

func TestWriteJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	want := report{Machine: machine{CPUs: 2}, Conditions: []section{
		newSection(condition{name: "idle"}, tenMS, []result{oneRun(t, "l2ping", 1, 1, 5)}, nil),
	}}
	if err := want.write(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Conditions []struct {
			Runs []struct {
				Tool  string
				Error struct{ P99 int } `json:"error_ns"`
				First *int              `json:"first_error_ns"`
			}
			Verdicts []struct {
				Target  string
				Reached *bool
			}
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	c := got.Conditions[0]
	if r := c.Runs[0]; r.Tool != "l2ping" || r.Error.P99 != 5 || r.First == nil || *r.First != 5 {
		t.Errorf("the run is %+v", r)
	}
	if v := c.Verdicts; len(v) != 2 || v[0].Reached == nil || !*v[0].Reached || v[1].Reached != nil {
		t.Errorf("the verdicts are %+v", v)
	}
	if err := want.write(t.TempDir()); err == nil {
		t.Error("a directory is written to")
	}
}
