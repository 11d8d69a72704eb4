//go:build linux

package main

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/l2/frame"
)

func TestParseExchanged(t *testing.T) {
	got, err := parseExchanged([]byte(`{"answered": 158, "whole_ns": 2472200000, "last_ns": 38300000}` + "\n"))
	if want := (exchanged{1, 158, 2_472_200_000, 38_300_000}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := parseExchanged([]byte(`{"answered": 0, "whole_ns": 1, "last_ns": 0}`)); err != nil || got.Answered != 0 {
		t.Errorf("of none: %+v, %v", got, err)
	}
	for _, text := range []string{
		"", "Traceback", `{"answered": 1, "whole_ns": 0, "last_ns": 1}`, `{"answered": 1, "whole_ns": 9, "last_ns": 0}`,
		`{"answered": 0, "whole_ns": 9, "last_ns": 1}`, `{"answered": -1, "whole_ns": 9, "last_ns": 1}`,
	} {
		if got, err := parseExchanged([]byte(text)); err == nil {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}

// TestVolleyFrames holds that each host is asked once, by a request of its own.
func TestVolleyFrames(t *testing.T) {
	p := &place{Pair: &lab.Pair{
		NearMAC: net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 1}, FarMAC: net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 2},
		NearIP: netip.MustParseAddr("198.51.100.1"),
	}}
	frames, err := volley{first: netip.MustParseAddr("198.18.0.255"), count: 2}.frames(p)
	if err != nil || len(frames) != 2 {
		t.Fatalf("%d frames, %v", len(frames), err)
	}
	for i, dst := range []string{"198.18.0.255", "198.18.1.0"} {
		var e frame.Ethernet
		var ip frame.IP
		if err := e.Decode(frames[i]); err != nil {
			t.Fatal(err)
		}
		if err := ip.Decode(e.Payload); err != nil {
			t.Fatal(err)
		}
		if ip.Dst.String() != dst || e.Dst.String() != "02:00:5e:00:53:02" {
			t.Errorf("frame %d is to %v at %v, want %s", i, ip.Dst, e.Dst, dst)
		}
	}
}

func TestEchoSection(t *testing.T) {
	volleyOf := func(tool string, run, answered int, whole, last time.Duration) echoRun {
		return echoRun{Tool: tool, Run: run, Arrived: 1000, exchanged: exchanged{1, answered, whole, last}}
	}
	const ms = time.Millisecond
	s := newEchoSection(1000, []echoRun{
		volleyOf(ours, 1, 1000, 10*ms, 5*ms), volleyOf("scapy", 1, 100, 1000*ms, 10*ms), volleyOf("scapy threaded", 1, 1000, 2000*ms, 500*ms),
		volleyOf(ours, 2, 1000, 30*ms, 20*ms), volleyOf(ours, 3, 1000, 20*ms, 10*ms),
	}, []leftOut{{"scapy filtered", "run 1: exit status 1"}})
	l, plain := s.asker(ours), s.asker("scapy")
	if l.Runs != 3 || l.Answered != 1000 || l.Whole != 20*ms || l.Rates != (rates{50_000, 50_000, 100_000}) || l.Ratios != (rates{1, 1, 1}) {
		t.Errorf("l2ping is %+v", l)
	}
	if plain.Rates != (rates{1000, 100, 10_000}) || plain.Ratios != (rates{50, 500, 10}) {
		t.Errorf("scapy is %+v", plain)
	}
	// Who lost most is no measure of how quickly all are found.
	if v := s.Verdicts; len(v) != 4 || !*v[0].Reached || !*v[1].Reached || v[1].Peer != "scapy threaded" ||
		!*v[2].Reached || v[2].Peer != "scapy" || !*v[3].Reached || v[3].Peer != "scapy threaded" {
		t.Errorf("the verdicts are %+v", v)
	}
	var b strings.Builder
	if err := s.print(&b, false); err != nil {
		t.Fatal(err)
	}
	if err := (&report{Echoes: s}).printSummary(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"  left out: scapy filtered: run 1: exit status 1",
		"  reached      1000 of 1000 requests answered in every run",
		"  reached      50000 answered requests a second of the whole call: at least 50 times the 500 of scapy threaded, it is 100.0 times",
		"  reached      50000 requests a second of the whole call: at least 50 times the 1000 of scapy, it is 50.0 times",
		"  reached      100000 answers a second until the last: at least 50 times the 2000 of scapy threaded, it is 50.0 times",
		"4 of 4 targets reached",
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

// TestEchoVerdicts holds that a missing answer and a slow run are told, and that
// without a peer nothing is judged.
func TestEchoVerdicts(t *testing.T) {
	const ms = time.Millisecond
	peer := echoRun{Tool: "scapy threaded", exchanged: exchanged{1, 10, 100 * ms, 100 * ms}}
	s := newEchoSection(10, []echoRun{{Tool: ours, exchanged: exchanged{1, 9, 3 * ms, 3 * ms}}, peer}, nil)
	for _, v := range s.Verdicts {
		if v.Reached == nil || *v.Reached {
			t.Errorf("%+v", v)
		}
	}
	s = newEchoSection(10, []echoRun{{Tool: ours, exchanged: exchanged{1, 10, ms, ms}}}, nil)
	if v := s.Verdicts; len(v) != 4 || v[1].Reached != nil || v[2].Reached != nil || v[3].Reached != nil {
		t.Errorf("without a peer: %+v", v)
	}
	if s := newEchoSection(10, []echoRun{peer}, nil); s.Verdicts != nil {
		t.Errorf("without l2ping: %+v", s.Verdicts)
	}
}

// TestOfCalls holds that of several calls the worst and the middle count.
func TestOfCalls(t *testing.T) {
	const ms = time.Millisecond
	calls := []exchanged{{1, 10, 3 * ms, 2 * ms}, {1, 9, 50 * ms, 40 * ms}, {1, 10, 4 * ms, 1 * ms}}
	if got, want := ofCalls(calls), (exchanged{3, 9, 4 * ms, 2 * ms}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
