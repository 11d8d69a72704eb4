//go:build linux

package main

import (
	"bytes"
	"encoding/json"
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
		"-once -1", "-once 1001", "-tools nosuch", "-tools ping,ping", "-tools=", "-conditions idle,", "more", "-nosuch",
	} {
		var stderr strings.Builder
		if _, err := parseFlags(strings.Fields(args), &stderr); err == nil || stderr.Len() == 0 {
			t.Errorf("%s is taken, or refused without a word: %v", args, err)
		}
	}
	o, err := parseFlags([]string{"-tools", "ping", "-conditions", "busy,idle"}, io.Discard)
	if err != nil || names(o.tools) != "ping" || names(o.conditions) != "busy,idle" || o.runs != 3 || o.once != 10 {
		t.Errorf("flags are %+v, %v", o, err)
	}
	o, err = parseFlags(nil, io.Discard)
	if err != nil || names(o.tools) != "l2ping,ping,fping,hping3,nping,arping,scapy,pro-bing" ||
		names(o.conditions) != "idle,busy,delayed,unresolved,fast,cold" {
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

// TestRun runs all tools that are here, for a few probes.
func TestRun(t *testing.T) {
	labtest.RequireRoot(t)
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip("needs tcpdump (apt-get install tcpdump)")
	}
	t.Setenv("GOPROXY", "off") // pro-bing takes part only if its module is here already
	dir := t.TempDir()
	path := filepath.Join(dir, "report.json")
	o, err := parseFlags([]string{
		"-conditions", "delayed,unresolved", "-count", "3", "-interval", "2ms", "-runs", "1", "-once", "1", "-v",
		"-json", path, "-keep", filepath.Join(dir, "keep"),
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if err := run(t.Context(), o, &stdout, &stderr); err != nil {
		t.Fatalf("%v\n%s%s", err, &stdout, &stderr)
	}
	defer func() {
		if t.Failed() {
			t.Logf("%s%s", &stdout, &stderr)
		}
	}()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Tools)+len(r.LeftOut) != len(allTools)+1 || r.Tools[len(r.Tools)-1].Tool != "tcpdump" {
		t.Errorf("tools are %+v, left out %v", r.Tools, r.LeftOut)
	}
	for _, tool := range r.Tools {
		if tool.Version == "" {
			t.Errorf("%s has no version", tool.Tool)
		}
	}
	if len(r.Conditions) != 2 || r.Once == nil {
		t.Fatalf("%d conditions, one probe: %v", len(r.Conditions), r.Once)
	}
	for _, s := range r.Conditions {
		for _, tool := range r.Tools[:len(r.Tools)-1] {
			i := slices.IndexFunc(s.Runs, func(r runReport) bool { return r.Tool == tool.Tool })
			switch {
			case tool.Tool == "arping":
				if i >= 0 || !slices.Contains(s.LeftOut, leftOut{"arping", "it knows whole seconds only between requests"}) {
					t.Errorf("%s: arping is not left out: %v", s.Name, s.LeftOut)
				}
				continue
			case i < 0:
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
	if kept, err := filepath.Glob(filepath.Join(dir, "keep", "*-l2ping-*")); err != nil || len(kept) < 6 {
		t.Errorf("kept are %v, %v", kept, err)
	}
}
