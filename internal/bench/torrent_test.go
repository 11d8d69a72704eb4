//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
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

func torrentOf(tool string, filed int, cpu float64) torrentRun {
	return torrentRun{Tool: tool, Run: 1, torrentNumbers: torrentNumbers{
		Arrived: 1000, Filed: filed, counted: counted{filed, 1000, 1000 - filed}, Sending: time.Millisecond, CPUPerFrame: cpu,
		Idle: 7 * time.Millisecond,
	}}
}

func torrentSectionOf(rate int, runs []torrentRun) *torrentSection {
	s := &torrentSection{Frames: 1000, torrentPace: newTorrentPace(rate, runs)}
	s.judge()
	return s
}

func TestTorrentSection(t *testing.T) {
	s := torrentSectionOf(torrentRate, []torrentRun{
		torrentOf(ours, 1000, 120), torrentOf("tcpdump", 990, 100), torrentOf("tcpdump -B", 1000, 160),
		torrentOf(ours, 1000, 90), torrentOf(ours, 1000, 80),
	})
	s.LeftOut = []leftOut{{"tcpdump", "run 2: exit status 1"}}
	s.Fastest = new(newTorrentPace(0, []torrentRun{torrentOf(ours, 900, 70)}))
	l, d := s.recorder(ours), s.recorder("tcpdump")
	if l.Runs != 3 || l.Arrived != 3000 || l.Filed != 3000 || l.CPUPerFrame != 90 || l.CPURatio != 1 || l.Idle != 7*time.Millisecond {
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
		"1000000 a second",
		"  l2ping            3000     0        0   1000000   90       7.0      1.00",
		"as fast as they go",
		"  l2ping            1000   100      100   1000000   70       7.0      1.00",
		"  left out: tcpdump: run 2: exit status 1",
		"  reached      1000000 a second, 0 of 3000 frames lost: none, where tcpdump has lost none; tcpdump -B has lost 0",
		"  reached      1000000 a second, CPU a frame 90 ns: at most the 100 of tcpdump, it is 0.90 times",
		"2 of 2 targets reached",
	} {
		if !strings.Contains(b.String(), "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, &b)
		}
	}
	if strings.Contains(b.String(), "machine") || strings.Contains(b.String(), "qdisc") {
		t.Errorf("single runs are printed unasked, or a sender:\n%s", &b)
	}
	b.Reset()
	s.Sent, s.Fastest = "no live frames", nil
	if err := s.print(&b, true); err != nil || !strings.Contains(b.String(), "machine") ||
		!strings.Contains(b.String(), "sent past the qdisc") || !strings.Contains(b.String(), "\n  no live frames\n") {
		t.Errorf("%v, no single runs or no reason in\n%s", err, &b)
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
		v := torrentSectionOf(0, tt.runs).Verdicts
		if len(v) != 2 || !same(v[0].Reached, tt.drops) || !same(v[1].Reached, tt.cpu) {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if s := torrentSectionOf(0, []torrentRun{torrentOf("tcpdump", 1000, 90)}); s.Verdicts != nil {
		t.Errorf("without l2ping: %+v", s.Verdicts)
	}
}

func same(a, b *bool) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

// torrentFile is a file of frames with such numbers.
func torrentFile(t *testing.T, change func([]byte) []byte, numbers ...uint64) *bytes.Buffer {
	t.Helper()
	var file bytes.Buffer
	w, err := pcapng.NewWriter(&file, nil, pcapng.Interface{LinkType: pcapng.LinkEthernet})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range numbers {
		f := make([]byte, torrentFrame)
		binary.BigEndian.PutUint16(f[12:], torrentType)
		lab.SetTorrentNumber(f, n)
		if change != nil {
			f = change(f)
		}
		if err := w.Write(&capture.Frame{Data: f, Length: len(f), Arrival: 1}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return &file
}

// TestCheckTorrent holds what a file may lack, and what must not be in it.
func TestCheckTorrent(t *testing.T) {
	for _, tt := range []struct {
		numbers []uint64
		ordered bool
		filed   int
		wrong   string
	}{
		{[]uint64{10, 11, 12, 13, 14}, true, 5, ""},
		{[]uint64{11, 14}, true, 2, ""},
		{nil, true, 0, ""},
		{[]uint64{12, 11}, false, 2, ""},
		{[]uint64{12, 11}, true, 1, "frame 11 behind frame 12"},
		{[]uint64{10, 11, 11}, true, 2, "frame 11 twice"},
		{[]uint64{10, 11, 10}, false, 2, "frame 10 twice"},
		{[]uint64{9}, false, 0, "frame 9, but there were those from 10 to 14"},
		{[]uint64{10, 15}, false, 1, "frame 15, but there were those from 10 to 14"},
	} {
		filed, err := checkTorrent(torrentFile(t, nil, tt.numbers...), 10, 5, tt.ordered)
		if filed != tt.filed || (err == nil) != (tt.wrong == "") || err != nil && err.Error() != tt.wrong {
			t.Errorf("%v: %d, %v, want %d, %s", tt.numbers, filed, err, tt.filed, tt.wrong)
		}
	}
	for name, change := range map[string]func([]byte) []byte{
		"shorter":      func(f []byte) []byte { return f[:torrentFrame-1] },
		"without one":  func(f []byte) []byte { return f[:20] },
		"another type": func(f []byte) []byte { f[13]++; return f },
	} {
		if _, err := checkTorrent(torrentFile(t, change, 10), 10, 5, true); err == nil || !strings.HasPrefix(err.Error(), "a frame that was not sent: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	whole := torrentFile(t, nil, 10, 11).Bytes()
	if filed, err := checkTorrent(bytes.NewReader(whole[:len(whole)-1]), 10, 5, true); filed != 1 || err == nil {
		t.Errorf("a file that is cut: %d, %v", filed, err)
	}
}

// TestSources has some frames arrive by each way, and counts them.
func TestSources(t *testing.T) {
	p := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	made, err := newPoured(p)
	switch {
	case withoutTorrent(err):
		t.Logf("frames are sent alone: %v", err)
	case err != nil:
		t.Fatal(err)
	}
	for _, src := range []source{&sent{pair: p}, made} {
		if src == nil {
			continue
		}
		for range 2 {
			first, arrived, took, err := src.pour(t.Context(), 2*torrentBatch+1, 0)
			if err != nil || arrived != 2*torrentBatch+1 || took <= 0 {
				t.Errorf("%T: %d frames from %d on in %v, %v", src, arrived, first, took, err)
			}
		}
		if err := src.close(); err != nil {
			t.Error(err)
		}
	}
}
