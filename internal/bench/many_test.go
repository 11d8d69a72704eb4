//go:build linux

package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func mannerByName(t *testing.T, name string) manner {
	t.Helper()
	i := slices.IndexFunc(allManners, func(m manner) bool { return m.name == name })
	if i < 0 {
		t.Fatalf("no manner is named %s", name)
	}
	return allManners[i]
}

// TestTallyRecorded reads what each printed of two probes to each of three targets,
// of which one has not answered.
func TestTallyRecorded(t *testing.T) {
	for _, tt := range []struct {
		manner, file string
		late         *lateness
	}{
		{"l2ping", "many-l2ping.txt", nil},
		{"l2ping --json", "many-l2ping.json", &lateness{101_887, 123_211}},
		{"fping", "many-fping.txt", nil},
		{"fping -i 0", "many-fping.txt", nil},
	} {
		output, err := os.ReadFile(filepath.Join("testdata", tt.file))
		if err != nil {
			t.Fatal(err)
		}
		stdout, stderr := output, []byte(nil)
		if strings.HasPrefix(tt.manner, "fping") {
			stdout, stderr = nil, output
		}
		got, err := mannerByName(t, tt.manner).read(stdout, stderr)
		if err != nil || got.sent != 6 || got.received != 4 || got.answered != 2 {
			t.Errorf("%s: %+v, %v", tt.manner, got, err)
		}
		if (got.late == nil) != (tt.late == nil) || got.late != nil && *got.late != *tt.late {
			t.Errorf("%s: late by %+v, want %+v", tt.manner, got.late, tt.late)
		}
	}
}

// TestTallyRefuses holds that what cannot be read is an error, and no number.
func TestTallyRefuses(t *testing.T) {
	for _, tt := range []struct{ manner, output, want string }{
		{"l2ping", "", "no summary"},
		{"l2ping", "--- 198.18.0.1 ping statistics ---\n2 packets transmitted, 2 received, 0% packet loss\n", "no summary"},
		{"l2ping", "--- 9 hosts (99999999999999999999 answered) ping statistics ---\n2 packets transmitted, 2 received,\n", "out of range"},
		{"l2ping --json", "", "unexpected end"},
		{"l2ping --json", `{"event":"reply"}`, "no summary"},
		{"l2ping --json", `{"event":"summary","address":"198.18.0.1","sent":1,"timer_error_ns":{"p50":1,"p99":2}}`, "no summary"},
		{"l2ping --json", `{"event":"summary","sent":1}`, "no summary"},
		{"fping", "198.18.0.1 : 0.04 -\nICMP Host Unreachable from 198.51.100.2 for ICMP Echo sent to 198.18.0.2\n", "no target that I know"},
		{"fping", "198.18.0.1 :\n", "no target that I know"},
	} {
		if got, err := mannerByName(t, tt.manner).read([]byte(tt.output), []byte(tt.output)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %q is read as %+v, %v", tt.manner, tt.output, got, err)
		}
	}
}

func TestManyArguments(t *testing.T) {
	c := crowd{
		ifname: "eth0", file: "hosts", first: netip.MustParseAddr("198.18.0.1"),
		targets: 10_000, count: 5, interval: time.Second,
	}
	for name, want := range map[string]string{
		"l2ping":        "-i eth0 -n -q -c 5 -d 1s --targets hosts",
		"l2ping --json": "-i eth0 -n --json -c 5 -d 1s --targets hosts",
		"fping":         "-I eth0 -q -C 5 -p 1000 -i 0.1 -t 2000 -f hosts",
		"fping -i 0":    "-I eth0 -q -C 5 -p 1000 -i 0 -t 2000 -f hosts",
	} {
		if got := strings.Join(mannerByName(t, name).args(c), " "); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestWriteTargets(t *testing.T) {
	b := &bench{dir: t.TempDir()}
	path, err := b.writeTargets(crowd{first: netip.MustParseAddr("198.18.0.254"), targets: 3})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "198.18.0.254\n198.18.0.255\n198.18.1.0\n" {
		t.Errorf("%q, %v", text, err)
	}
	last := manyBlock.Addr()
	for range maxMany {
		last = last.Next()
	}
	if !manyBlock.Contains(last) {
		t.Errorf("the last of %d targets is %v, outside of %v", maxMany, last, manyBlock)
	}
}

func TestParseEchoRequests(t *testing.T) {
	const snmp = "Ip: Forwarding InReceives\nIp: 2 99\n" +
		"Icmp: InMsgs InErrors InEchos InEchoReps\nIcmp: 7 0 5 2\nIcmpMsg: InType8\nIcmpMsg: 4\n"
	if n, err := parseEchoRequests(snmp); n != 5 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for _, text := range []string{"", "Icmp: InMsgs InEchos\n", "Icmp: InMsgs\nIcmp: 7\n", "Icmp: InMsgs InEchos\nIcmp: 7\n", "Icmp: InEchos\nIcmp: x\n"} {
		if n, err := parseEchoRequests(text); err == nil {
			t.Errorf("%q has %d", text, n)
		}
	}
}

// manyResult is a run in which all is answered.
func manyResult(tool string, targets, run int, cpu time.Duration, memory int64) manyRun {
	n := 10 * targets
	return manyRun{
		Tool: tool, Targets: targets, Run: run, Sent: n, Arrived: n, Received: n, Answered: targets, Wall: 10 * time.Second,
		manyNumbers: manyNumbers{Interval: time.Second, CPUPerProbe: cpu, PeakMemory: memory, Sockets: 4},
	}
}

func TestManySection(t *testing.T) {
	const us = time.Microsecond
	c := crowd{count: 10, interval: time.Second}
	slow := manyResult("fping", 1000, 1, 20*us, 3_000_000)
	slow.Interval = 2 * time.Second
	told := manyResult(oursTold, 1000, 1, 90*us, 20_000_000)
	told.Late = &lateness{30 * us, 70 * us}
	s := newManySection(c, []manyRun{
		manyResult(ours, 1000, 1, 60*us, 20_000_000), told, slow,
		manyResult(ours, 1000, 2, 80*us, 22_000_000), manyResult(ours, 1000, 3, 40*us, 21_000_000),
		manyResult(ours, 10_000, 1, 80*us, 111_000_000), manyResult("fping", 10_000, 1, 40*us, 12_000_000),
	}, []leftOut{{"fping -i 0", "exit status 4"}})
	if len(s.Manners) != 5 || len(s.Runs) != 7 {
		t.Fatalf("%d manners of %d runs", len(s.Manners), len(s.Runs))
	}
	l := s.manner(ours, 1000)
	if l.Runs != 3 || l.Sent != 30_000 || l.CPUPerProbe != 60*us || l.PeakMemory != 21_000_000 || l.Answered != 1000 || l.Late != nil || l.CPURatio != 1 {
		t.Errorf("l2ping is %+v", l)
	}
	if f := s.manner("fping", 1000); f.CPURatio != 3 || f.MemoryRatio != 7 {
		t.Errorf("fping is %+v", f)
	}
	if want := []growth{{ours, 10_000}, {"fping", 1000}}; !slices.Equal(s.Growth, want) {
		t.Errorf("memory grows by %v, want %v", s.Growth, want)
	}
	var reached []bool
	for _, v := range s.Verdicts {
		reached = append(reached, *v.Reached)
	}
	if !slices.Equal(reached, []bool{true, true, true, false}) {
		t.Errorf("the verdicts are %+v", s.Verdicts)
	}

	var b strings.Builder
	if err := s.print(&b, false); err != nil {
		t.Fatal(err)
	}
	r := report{Many: s}
	if err := r.printSummary(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"many: 10 probes to each of many targets by one next hop, 1s apart; core is the share of one",
		"                 targets  every ms   CPU  core  memory  sockets  late p50   p99  probes",
		"  l2ping            1000    1000.0  60.0    6%    20.0        4         -     -   30000",
		"  l2ping --json     1000    1000.0  90.0    9%    19.1        4      30.0  70.0   10000",
		"  fping asks each of 1000 targets every 2000.0 ms",
		"  with 10000 targets l2ping takes 2.00 times the CPU a probe of fping, and 9.2 times the memory",
		"  bytes that a further target takes: l2ping 10000, fping 1000",
		"  left out: fping -i 0: exit status 4",
		"  reached      1000 of 1000 targets and 30000 of 30000 probes answered",
		"  NOT reached  CPU per probe 80.0 us with 10000 targets, 80% of a core: at most 75.0, 75%",
		"3 of 4 targets reached",
		"  NOT reached  many: CPU per probe 80.0 us with 10000 targets, 80% of a core: at most 75.0, 75%",
	} {
		if !strings.Contains(b.String(), line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	if strings.Contains(b.String(), "wall") {
		t.Error("single runs are printed unasked")
	}
	if t.Failed() {
		t.Logf("printed:\n%s", &b)
	}
	b.Reset()
	if err := s.print(&b, true); err != nil || !strings.Contains(b.String(), "wall s") {
		t.Errorf("%v, no single runs in\n%s", err, &b)
	}
}

// TestManyLost holds that a lost probe, one that did not arrive and a target that
// keeps silent are each told.
func TestManyLost(t *testing.T) {
	for name, spoil := range map[string]func(*manyRun){
		"lost":        func(r *manyRun) { r.Received-- },
		"not arrived": func(r *manyRun) { r.Arrived-- },
		"not sent":    func(r *manyRun) { r.Sent-- },
		"silent":      func(r *manyRun) { r.Answered-- },
	} {
		first, second := manyResult(ours, 10, 1, 1, 1), manyResult(ours, 10, 2, 1, 1)
		spoil(&first)
		s := newManySection(crowd{count: 10, interval: time.Millisecond}, []manyRun{first, second}, nil)
		if len(s.Verdicts) != 1 || *s.Verdicts[0].Reached {
			t.Errorf("%s: the verdicts are %+v", name, s.Verdicts)
		}
	}
}
