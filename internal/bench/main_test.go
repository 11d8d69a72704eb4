//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/l2ping/l2ping/internal/lab/labtest"
)

func TestMain(m *testing.M) { labtest.MainNetns(m) }

func TestFlags(t *testing.T) {
	for _, args := range []string{
		"-count 0", "-count 65001", "-count -1", "-interval 1us", "-interval 0", "-interval 2m", "-runs 0", "-runs 101",
		"-once -1", "-once 1001", "-many -1", "-many 1001", "-exchange -1", "-exchange 65001",
		"-capture -1", "-capture 20000001", "-targets=", "-targets 1", "-targets 10,", "-targets 100001", "-tools nosuch", "-tools ping,ping", "-tools=", "-conditions idle,", "more", "-nosuch",
	} {
		var stderr strings.Builder
		if _, err := parseFlags(strings.Fields(args), &stderr); err == nil || stderr.Len() == 0 {
			t.Errorf("%s is taken, or refused without a word: %v", args, err)
		}
	}
	o, err := parseFlags([]string{"-tools", "ping", "-conditions", "busy,idle"}, io.Discard)
	if err != nil || names(o.tools) != "ping" || names(o.conditions) != "busy,idle" || o.runs != 3 || o.once != 10 || o.many != 6 ||
		o.echoes != 4096 || o.frames != 2_000_000 ||
		!slices.Equal(o.targets, []int{1000, 10_000}) {
		t.Errorf("flags are %+v, %v", o, err)
	}
	o, err = parseFlags(nil, io.Discard)
	if err != nil || names(o.tools) != "l2ping,ping,fping,hping3,nping,arping,l2ping-arping,scapy,pro-bing" ||
		names(o.conditions) != "idle,busy,delayed,unresolved,fast,cold,arp" {
		t.Errorf("flags are %+v, %v", o, err)
	}
	o, err = parseFlags([]string{"-conditions", "", "-targets", "30,2,30"}, io.Discard)
	if err != nil || o.conditions != nil || !slices.Equal(o.targets, []int{2, 30}) {
		t.Errorf("flags are %+v, %v", o, err)
	}
}

// TestJob holds that a condition has its own count and interval, and that the
// flags go before them.
func TestJob(t *testing.T) {
	for _, tt := range []struct {
		condition, args string
		count           int
		interval        time.Duration
	}{
		{"idle", "", 1000, 10 * time.Millisecond},
		{"busy", "", 1000, 10 * time.Millisecond},
		{"delayed", "", 1000, 10 * time.Millisecond},
		{"unresolved", "", 1000, 10 * time.Millisecond},
		{"fast", "", 10_000, time.Millisecond},
		{"cold", "", 10, time.Second},
		{"arp", "", 10, time.Second},
		{"cold", "-count 50", 50, time.Second},
		{"fast", "-interval 5ms", 10_000, 5 * time.Millisecond},
	} {
		o, err := parseFlags(append([]string{"-conditions", tt.condition}, strings.Fields(tt.args)...), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{options: o}
		if j := b.job(o.conditions[0]); j.count != tt.count || j.interval != tt.interval {
			t.Errorf("%s %s: %d probes, %v apart", tt.condition, tt.args, j.count, j.interval)
		}
	}
}

// requireProgram skips the test without a program, which is in a package of
// Debian's. Where L2PING_TEST_REQUIRE is root, as in the gate, that is a failure.
func requireProgram(t *testing.T, name, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	text := fmt.Sprintf("needs %s (apt-get install %s)", name, pkg)
	if os.Getenv("L2PING_TEST_REQUIRE") == "root" {
		t.Fatal(text + "; L2PING_TEST_REQUIRE=root forbids to skip")
	}
	t.Skip(text)
}

// measured runs the benchmark and returns the report that it has written.
func measured(t *testing.T, args ...string) *report {
	t.Helper()
	labtest.RequireRoot(t)
	requireProgram(t, "tcpdump", "tcpdump")
	t.Setenv("GOPROXY", "off") // pro-bing takes part only if its module is here already
	path := filepath.Join(t.TempDir(), "report.json")
	o, err := parseFlags(append([]string{"-runs", "1", "-exchange", "0", "-capture", "0", "-v", "-json", path}, args...), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if err := run(t.Context(), o, &stdout, &stderr); err != nil {
		t.Fatalf("%v\n%s%s", err, &stdout, &stderr)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s%s", &stdout, &stderr)
		}
	})
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := &report{}
	if err := json.Unmarshal(text, r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRun runs all tools that are here, for a few probes.
func TestRun(t *testing.T) {
	keep := filepath.Join(t.TempDir(), "keep")
	r := measured(t, "-conditions", "delayed,unresolved", "-count", "3", "-interval", "2ms", "-once", "1", "-many", "0", "-keep", keep)
	if len(r.Tools)+len(r.LeftOut) != len(allTools)+1 || r.Tools[len(r.Tools)-1].Tool != "tcpdump" {
		t.Errorf("tools are %+v, left out %v", r.Tools, r.LeftOut)
	}
	for _, tool := range r.Tools {
		if tool.Version == "" {
			t.Errorf("%s has no version", tool.Tool)
		}
	}
	if len(r.Conditions) != 2 || r.Once == nil || r.Many != nil || r.Echoes != nil || r.Torrent != nil {
		t.Fatalf("%d conditions, one probe: %v, many: %v", len(r.Conditions), r.Once, r.Many)
	}
	for _, s := range r.Conditions {
		for _, tool := range r.Tools[:len(r.Tools)-1] {
			i := slices.IndexFunc(s.Runs, func(r runReport) bool { return r.Tool == tool.Tool })
			if byName(t, tool.Tool).arp {
				if i >= 0 {
					t.Errorf("%s: %s is measured among those that send echo requests", s.Name, tool.Tool)
				}
				continue
			}
			if i < 0 {
				t.Errorf("%s: %s is not measured: %v", s.Name, tool.Tool, s.LeftOut)
				continue
			}
			run := s.Runs[i]
			if run.Sent != 3 || run.Reported == 0 || run.Wall == 0 || run.Truth <= 0 {
				t.Errorf("%s: %s: %+v", s.Name, tool.Tool, run)
			}
			if s.Name == "delayed" && run.Truth < 200*time.Microsecond {
				t.Errorf("%s: %s is answered after %v", s.Name, tool.Tool, run.Truth)
			}
		}
		// Of these the verdict stands whatever else is installed.
		if l := s.tool(ours); l == nil || l.Reported != 3 || l.First == nil || len(s.Verdicts) < 2 || s.Verdicts[0].Reached == nil {
			t.Errorf("%s: l2ping: %+v, %+v", s.Name, l, s.Verdicts)
		}
	}
	for _, tool := range r.Once.Tools {
		if len(tool.Known.Runs) != 1 || len(tool.Unknown.Runs) != 1 || tool.Known.Median == 0 || tool.Unknown.Median == 0 {
			t.Errorf("one probe: %+v, left out %v", tool, r.Once.LeftOut)
		}
	}
	if kept, err := filepath.Glob(filepath.Join(keep, "*-l2ping-*")); err != nil || len(kept) < 6 {
		t.Errorf("kept are %v, %v", kept, err)
	}
}

// TestRunARP runs the two that send ARP requests, for two of them: iputils' arping
// knows whole seconds alone.
func TestRunARP(t *testing.T) {
	requireProgram(t, "arping", "iputils-arping")
	r := measured(t, "-conditions", "idle,arp", "-tools", "arping,l2ping-arping", "-count", "2", "-interval", "1s", "-once", "0", "-many", "0")
	if len(r.Conditions) != 1 || len(r.Conditions[0].Runs) != 2 {
		t.Fatalf("%+v, left out %v", r.Conditions, r.LeftOut)
	}
	s := r.Conditions[0]
	for _, run := range s.Runs {
		if run.Sent != 2 || run.Reported != 2 || run.Truth <= 0 || run.Interval == 0 {
			t.Errorf("%+v", run)
		}
	}
	if l := s.tool(oursARP); l == nil || l.First == nil || len(s.Verdicts) != 2 || s.Verdicts[1].Peer != "arping" {
		t.Errorf("l2ping: %+v, %+v", l, s.Verdicts)
	}
	r = measured(t, "-conditions", "arp", "-tools", "arping,l2ping-arping", "-count", "2", "-interval", "2ms", "-once", "0", "-many", "0")
	if s := r.Conditions[0]; len(s.Runs) != 1 || !slices.Contains(s.LeftOut, leftOut{"arping", "it knows whole seconds only between requests"}) {
		t.Errorf("every 2 ms: %+v, left out %v", s.Runs, s.LeftOut)
	}
}

// TestRunMany runs l2ping and fping with some targets.
func TestRunMany(t *testing.T) {
	requireProgram(t, "fping", "fping")
	r := measured(t, "-conditions=", "-tools", "l2ping,fping", "-interval", "100ms", "-once", "0", "-many", "3", "-targets", "10,200")
	if r.Many == nil || len(r.Conditions) != 0 || r.Once != nil {
		t.Fatalf("the report is %+v", r)
	}
	s := r.Many
	if len(s.Runs) != 2*len(allManners) || len(s.Manners) != len(s.Runs) || s.LeftOut != nil {
		t.Fatalf("%d runs of %d manners, left out %v", len(s.Runs), len(s.Manners), s.LeftOut)
	}
	for _, m := range s.Manners {
		if want := 3 * m.Targets; m.Sent != want || m.Arrived != want || m.Received == 0 || m.Answered == 0 {
			t.Errorf("%+v", m)
		}
		if (m.Late != nil) != (m.Tool == oursTold) || m.Interval == 0 {
			t.Errorf("%+v", m)
		}
	}
	if len(s.Verdicts) != 2 || s.Verdicts[0].Target != "all_answered" || s.Verdicts[0].Reached == nil {
		t.Errorf("the verdicts are %+v", s.Verdicts)
	}
}

// TestRunExchange asks some hosts by l2ping, and by scapy where that is.
func TestRunExchange(t *testing.T) {
	r := measured(t, "-conditions=", "-tools", "l2ping,scapy", "-once", "0", "-many", "0", "-exchange", "40")
	if r.Echoes == nil || r.Many != nil || r.Torrent != nil {
		t.Fatalf("the report is %+v", r)
	}
	s := r.Echoes
	want := len(allAskers)
	if !slices.ContainsFunc(r.Tools, func(v toolVersion) bool { return v.Tool == "scapy" }) {
		want = 1
	}
	if len(s.Runs) != want || len(s.Askers) != want || s.LeftOut != nil {
		t.Fatalf("%d runs of %d askers, want %d, left out %v", len(s.Runs), len(s.Askers), want, s.LeftOut)
	}
	for _, a := range s.Askers {
		if a.Arrived != 40 || a.Answered == 0 || a.Last <= 0 || a.Whole <= 0 {
			t.Errorf("%+v", a)
		}
	}
	if l := s.asker(ours); l == nil || l.Answered != 40 || len(s.Verdicts) != 4 || !*s.Verdicts[0].Reached {
		t.Errorf("l2ping: %+v, %+v", l, s.Verdicts)
	}
}

// TestRunCapture captures some frames with each recorder, and all of them.
func TestRunCapture(t *testing.T) {
	r := measured(t, "-conditions=", "-tools", "l2ping", "-once", "0", "-many", "0", "-capture", "3000")
	if r.Torrent == nil || r.Echoes != nil {
		t.Fatalf("the report is %+v", r)
	}
	s := r.Torrent
	if len(s.Runs) != len(allRecorders) || len(s.Recorders) != len(allRecorders) || s.LeftOut != nil {
		t.Fatalf("%d runs of %d recorders, left out %v", len(s.Runs), len(s.Recorders), s.LeftOut)
	}
	for _, c := range s.Recorders {
		if c.Arrived != 3000 || c.Captured+c.Dropped != 3000 || c.CPUPerFrame <= 0 || c.Sending <= 0 {
			t.Errorf("%+v", c)
		}
	}
	if len(s.Verdicts) != 2 || s.Verdicts[1].Reached == nil {
		t.Errorf("the verdicts are %+v", s.Verdicts)
	}
}
