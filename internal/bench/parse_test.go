//go:build linux

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// recorded has what each tool printed in a run of a few probes, and what is in
// that.
var recorded = []struct {
	tool, file string
	want       []sample
}{
	{"l2ping", "l2ping.json", []sample{
		{seq: 1, rtt: 32_109, arrival: 1_795_380_445_652_084_198, source: "driver"},
		{seq: 2, rtt: 33_040, arrival: 1_795_380_445_662_177_949, source: "driver"},
		{seq: 3, rtt: 31_868, arrival: 1_795_380_445_672_143_272, source: "driver"},
		{seq: 4, rtt: 32_319, arrival: 1_795_380_445_682_151_540, source: "driver"},
		{seq: 5, rtt: 32_268, arrival: 1_795_380_445_692_130_984, source: "driver"},
	}},
	{"ping", "ping.txt", []sample{
		{seq: 1, rtt: 60_000}, {seq: 2, rtt: 52_000}, {seq: 3, rtt: 58_000}, {seq: 4, rtt: 57_000}, {seq: 5, rtt: 54_000},
	}},
	{"fping", "fping.txt", []sample{
		{seq: 0, rtt: 50_000}, {seq: 1, rtt: 60_000}, {seq: 2, rtt: 59_000}, {seq: 3, rtt: 61_000}, {seq: 4, rtt: 64_000},
	}},
	{"nping", "nping.txt", []sample{
		{seq: 1, order: 1, rtt: 200_000}, {seq: 2, order: 2, rtt: 100_000}, {seq: 4, order: 3},
		{seq: 5, order: 4, rtt: 100_000}, {seq: 5, order: 5, rtt: 100_000},
	}},
	{"arping", "arping.txt", []sample{
		{seq: 1, order: 1, rtt: 540_000}, {seq: 2, order: 2, rtt: 555_000}, {seq: 3, order: 3, rtt: 554_000},
	}},
	{"l2ping-arping", "l2ping-arping.json", []sample{
		{seq: 1, rtt: 11_607, arrival: 1_795_438_518_136_357_629, source: "driver"},
		{seq: 2, rtt: 21_242, arrival: 1_795_438_519_136_456_910, source: "driver"},
		{seq: 3, rtt: 17_987, arrival: 1_795_438_520_136_589_691, source: "driver"},
	}},
	{"scapy", "scapy.txt", []sample{
		{seq: 1, rtt: 66_519}, {seq: 2, rtt: 64_850}, {seq: 3, rtt: 57_220}, {seq: 4, rtt: 63_419}, {seq: 5, rtt: 52_691},
	}},
	{"pro-bing", "pro-bing.txt", []sample{
		{seq: 0, rtt: 228_338}, {seq: 1, rtt: 159_614}, {seq: 2, rtt: 168_499}, {seq: 3, rtt: 210_992}, {seq: 4, rtt: 373_636},
	}},
}

// byName is a tool of the table.
func byName(t *testing.T, name string) tool {
	t.Helper()
	i := slices.IndexFunc(allTools, func(t tool) bool { return t.name == name })
	if i < 0 {
		t.Fatalf("no tool is named %s", name)
	}
	return allTools[i]
}

func TestParseRecorded(t *testing.T) {
	for _, tt := range recorded {
		t.Run(tt.tool, func(t *testing.T) {
			output, err := os.ReadFile(filepath.Join("testdata", tt.file))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := byName(t, tt.tool).parse(output); err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

// TestParseRecordedHping3 is apart, for the sequence numbers on the wire depend
// on the machine's order of bytes.
func TestParseRecordedHping3(t *testing.T) {
	output, err := os.ReadFile("testdata/hping3.txt")
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseHping3(output)
	var rtts []time.Duration
	seqs := map[uint16]bool{}
	for _, s := range got {
		rtts = append(rtts, s.rtt)
		seqs[s.seq] = true
	}
	want := []time.Duration{300_000, 200_000, 1_000_000, 800_000, 700_000}
	if err != nil || !slices.Equal(rtts, want) || len(seqs) != 5 || !seqs[0] || seqs[1] == seqs[256] {
		t.Errorf("got %+v, %v, want times %v and either byte counted", got, err, want)
	}
}

// TestEveryToolIsRecorded holds that no parser goes without its recording.
func TestEveryToolIsRecorded(t *testing.T) {
	files, err := filepath.Glob("testdata/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range allTools {
		if !slices.ContainsFunc(files, func(f string) bool {
			base := filepath.Base(f)
			return strings.TrimSuffix(base, filepath.Ext(base)) == tool.name
		}) {
			t.Errorf("testdata has nothing of %s", tool.name)
		}
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, tool, output string
		want               []sample
		fail               string
	}{
		{name: "duplicates and errors are no samples", tool: "ping", output: `64 bytes from 198.51.100.2: icmp_seq=1 ttl=64 time=0.045 ms
64 bytes from 198.51.100.2: icmp_seq=1 ttl=64 time=0.046 ms (DUP!)
From 198.51.100.254 icmp_seq=2 Destination Host Unreachable
64 bytes from 198.51.100.2: icmp_seq=1000 ttl=64 time=12.5 ms
1000 packets transmitted, 2 received, 0% packet loss, time 10ms
`, want: []sample{{seq: 1, rtt: 45_000}, {seq: 1000, rtt: 12_500_000}}},
		{name: "no sequence number", tool: "ping", output: "64 bytes from 198.51.100.2: icmp_seq=x ttl=64 time=1 ms\n", fail: "no reply that I know"},
		{name: "beyond 16 bits", tool: "ping", output: "64 bytes from 198.51.100.2: icmp_seq=65536 ttl=64 time=1 ms\n", fail: "out of range"},
		{name: "no number", tool: "ping", output: "64 bytes from 198.51.100.2: icmp_seq=1 ttl=64 time=1.1.1 ms\n", fail: "invalid syntax"},
		{name: "another unit", tool: "ping", output: "64 bytes from 198.51.100.2: icmp_seq=1 ttl=64 time=12.3 us\n", fail: "no reply that I know"},

		{name: "states", tool: "l2ping", output: `{"event":"start","time":"2026-01-02T03:04:05Z","version":1}
{"event":"reply","time":"1970-01-01T00:00:01.000000123Z","seq":1,"state":"replied","rtt_ns":11000,"rtt_source":"driver"}
{"event":"reply","time":"1970-01-01T00:00:01.000000200Z","seq":1,"state":"duplicate","rtt_ns":12000,"rtt_source":"driver"}
{"event":"reply","time":"1970-01-01T00:00:01.000000300Z","seq":3,"state":"late","rtt_ns":13000,"rtt_source":"driver"}
{"event":"reply","time":"1970-01-01T00:00:01.000000400Z","seq":4,"state":"reordered","rtt_ns":14000,"rtt_source":"user"}
{"event":"lost","time":"2026-01-02T03:04:05Z","seq":2}
{"event":"summary","time":"2026-01-02T03:04:05Z","rtt_ns":{"min":1}}
`, want: []sample{
			{seq: 1, rtt: 11_000, arrival: 1_000_000_123, source: "driver"},
			{seq: 4, rtt: 14_000, arrival: 1_000_000_400, source: "user"},
		}},
		{name: "text", tool: "l2ping", output: "64 bytes\n", fail: "invalid character"},
		{name: "a reply without its time", tool: "l2ping", output: `{"event":"reply","seq":1,"state":"replied"}`, fail: "invalid syntax"},

		{name: "lost", tool: "fping", output: "198.51.100.2 : [0], timed out (NaN avg, 100% loss)\n" +
			"198.51.100.2 : [1], 64 bytes, 1.23 ms (1.23 avg, 50% loss)\n", want: []sample{{seq: 1, rtt: 1_230_000}}},
		{name: "no place in the list", tool: "fping", output: "198.51.100.2 : 64 bytes, 1.23 ms (1.23 avg, 50% loss)\n", fail: "no reply that I know"},

		{name: "a sequence number that comes again", tool: "nping", output: `SENT (1.0000s) ICMP [a > b Echo request (type=8/code=0) id=1 seq=2] IP []
SENT (2.0000s) ICMP [a > b Echo request (type=8/code=0) id=1 seq=2] IP []
RCVD (2.0001s) ICMP [b > a Echo reply (type=0/code=0) id=1 seq=2] IP []
SENT (3.0000s) ICMP [a > b Echo request (type=8/code=0) id=1 seq=3] IP []
RCVD (3.5000s) ICMP [b > a Echo reply (type=0/code=0) id=1 seq=2] IP []
`, want: []sample{{seq: 2, order: 1, rtt: 1_000_100_000}, {seq: 2, order: 2, rtt: 1_500_000_000}}},
		{name: "a reply to nothing", tool: "nping", output: "RCVD (3.5s) ICMP [b > a Echo reply (type=0/code=0) id=1 seq=2] IP []\n", fail: "a reply to nothing"},
		{name: "something else", tool: "nping", output: "RCVD (3.5s) ICMP [b > a Destination host unreachable (type=3/code=1) ] IP []\n", fail: "neither request nor reply"},

		{name: "a reply too few", tool: "arping", output: "Unicast reply from 198.51.100.2 [02:00:5E:00:53:02]  0.540ms\n" +
			"Sent 2 probes (1 broadcast(s))\nReceived 1 response(s)\n", fail: "1 replies to 2 requests"},
		{name: "no end", tool: "arping", output: "Unicast reply from 198.51.100.2 [02:00:5E:00:53:02]  0.540ms\n", fail: "how many requests"},
		{name: "no time", tool: "arping", output: "Unicast reply from 198.51.100.2 [02:00:5E:00:53:02] UNSOLICITED?\n", fail: "no reply that I know"},

		{name: "before it was sent", tool: "scapy", output: "icmp_seq=1 time=-0.000001000\n", want: []sample{{seq: 1, rtt: -1_000}}},
		{name: "a time of this world", tool: "scapy", output: "icmp_seq=1 time=99999999999999999999\n", fail: "is no time"},
		{name: "no time", tool: "pro-bing", output: "icmp_seq=1 rtt_ns=x\n", fail: "no reply that I know"},
	} {
		t.Run(tt.tool+": "+tt.name, func(t *testing.T) {
			got, err := byName(t, tt.tool).parse([]byte(tt.output))
			if tt.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fail) {
					t.Errorf("error %v, want one of %q", err, tt.fail)
				}
			} else if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

// FuzzParse holds that no output makes a parser panic.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, output []byte) {
		for _, tool := range allTools {
			if samples, err := tool.parse(output); err != nil && samples != nil {
				t.Errorf("%s: samples and an error: %v", tool.name, err)
			}
		}
	})
}
