//go:build linux

package main

import (
	"strings"
	"testing"
	"time"
)

func TestParseCounted(t *testing.T) {
	for text, want := range map[string]counted{
		"tcpdump: listening on eth0, link-type EN10MB (Ethernet), snapshot length 262144 bytes\n" +
			"1999990 packets captured\n2000000 packets received by filter\n10 packets dropped by kernel\n": {1_999_990, 2_000_000, 10},
		"listening on eth0\n1 packet captured\n1 packet received by filter\n0 packets dropped by kernel\n": {1, 1, 0},
		"3 packets captured\n3 packets received by filter\n0 packets dropped by kernel\n2 packets dropped by interface\n": {
			3, 3, 0,
		},
	} {
		if got, err := parseCounted([]byte(text)); err != nil || got != want {
			t.Errorf("%q is read as %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "1 packet captured\n", "1 packet captured\n0 packets dropped by kernel\n1 packet received by filter\n",
		"99999999999999999999 packets captured\n1 packet received by filter\n0 packets dropped by kernel\n",
	} {
		if got, err := parseCounted([]byte(text)); err == nil {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}

func torrentOf(tool string, captured int, cpu float64) torrentRun {
	return torrentRun{Tool: tool, Run: 1, torrentNumbers: torrentNumbers{
		Arrived: 1000, counted: counted{captured, 1000, 1000 - captured}, Sending: time.Millisecond, CPUPerFrame: cpu,
	}}
}

func TestTorrentSection(t *testing.T) {
	s := newTorrentSection(1000, []torrentRun{
		torrentOf(ours, 1000, 120), torrentOf("tcpdump", 990, 100), torrentOf("tcpdump -B", 1000, 160),
		torrentOf(ours, 1000, 90), torrentOf(ours, 1000, 80),
	}, []leftOut{{"tcpdump", "run 2: exit status 1"}})
	l, d := s.recorder(ours), s.recorder("tcpdump")
	if l.Runs != 3 || l.Arrived != 3000 || l.Captured != 3000 || l.CPUPerFrame != 90 || l.CPURatio != 1 {
		t.Errorf("l2ping is %+v", l)
	}
	if d.lost() != 10 || d.Dropped != 10 || d.CPURatio != 0.9 {
		t.Errorf("tcpdump is %+v", d)
	}
	var b strings.Builder
	if err := s.print(&b, false); err != nil {
		t.Fatal(err)
	}
	if err := (&report{Torrent: s}).printSummary(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"  left out: tcpdump: run 2: exit status 1",
		"  reached      0 of 3000 frames lost: none, where tcpdump has lost none; tcpdump -B has lost 0",
		"  reached      CPU a frame 90 ns: at most the 100 of tcpdump, it is 0.90 times",
		"2 of 2 targets reached",
	} {
		if !strings.Contains(b.String(), line+"\n") {
			t.Errorf("no line %q in\n%s", line, &b)
		}
	}
	if strings.Contains(b.String(), "machine") {
		t.Error("single runs are printed unasked")
	}
	b.Reset()
	if err := s.print(&b, true); err != nil || !strings.Contains(b.String(), "machine") {
		t.Errorf("%v, no single runs in\n%s", err, &b)
	}
}

// TestTorrentVerdicts holds what is judged of lost frames, and of CPU.
func TestTorrentVerdicts(t *testing.T) {
	yes, no := new(true), new(false)
	for name, tt := range map[string]struct {
		runs       []torrentRun
		drops, cpu *bool
	}{
		"l2ping alone loses":  {[]torrentRun{torrentOf(ours, 999, 90), torrentOf("tcpdump", 1000, 80)}, no, no},
		"both lose":           {[]torrentRun{torrentOf(ours, 999, 90), torrentOf("tcpdump", 998, 90)}, nil, yes},
		"tcpdump alone loses": {[]torrentRun{torrentOf(ours, 1000, 90), torrentOf("tcpdump", 998, 91)}, yes, yes},
		"no peer":             {[]torrentRun{torrentOf(ours, 1000, 90)}, yes, nil},
		"nothing captured":    {[]torrentRun{torrentOf(ours, 0, 0), torrentOf("tcpdump", 1000, 90)}, no, no},
	} {
		v := newTorrentSection(1000, tt.runs, nil).Verdicts
		if len(v) != 2 || !same(v[0].Reached, tt.drops) || !same(v[1].Reached, tt.cpu) {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if s := newTorrentSection(1000, []torrentRun{torrentOf("tcpdump", 1000, 90)}, nil); s.Verdicts != nil {
		t.Errorf("without l2ping: %+v", s.Verdicts)
	}
}

func same(a, b *bool) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }
