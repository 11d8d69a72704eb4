//go:build linux

package main

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/l2ping/l2ping/internal/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }

func TestQuantile(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 100 - i
	}
	for _, tt := range []struct {
		values []int
		q      float64
		want   int
	}{
		{nil, 0.5, 0},
		{[]int{7}, 0, 7},
		{[]int{7}, 1, 7},
		{[]int{3, 1, 2}, 0.5, 2},
		{[]int{4, 3, 2, 1}, 0.5, 2}, // one of the values, not between two
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 0.991, 100},
		{hundred, 1, 100},
		{hundred, 0, 1},
	} {
		before := slices.Clone(tt.values)
		if got := quantile(tt.values, tt.q); got != tt.want {
			t.Errorf("quantile(%v, %v) = %d, want %d", tt.values, tt.q, got, tt.want)
		}
		if !slices.Equal(before, tt.values) {
			t.Errorf("quantile has sorted its argument")
		}
	}
}

func TestCompare(t *testing.T) {
	requests, replies := arrivals{1: 1_000, 2: 2_000}, arrivals{1: 31_000, 2: 42_000}
	got, err := compare([]sample{
		{seq: 2, rtt: 39 * time.Microsecond},
		{seq: 1, rtt: 31_500, arrival: 31_200},
	}, requests, replies)
	want := []deviation{
		{seq: 2, truth: 40_000, error: -1_000},
		// The reply came in at 31.0, said to be 31.2; it left at -0.3.
		{seq: 1, truth: 30_000, error: 1_500, parts: true, arrival: 200, departure: 1_300},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("compare = %+v, %v, want %+v", got, err, want)
	}
	for _, samples := range [][]sample{{{seq: 3}}, {{seq: 1}, {seq: 1}}} {
		if _, err := compare(samples, requests, replies); err == nil {
			t.Errorf("compare takes %+v", samples)
		}
	}
	if _, err := compare([]sample{{seq: 1}}, requests, arrivals{}); err == nil {
		t.Error("compare takes a probe without a captured reply")
	}
}

// echo is a frame with an ICMP echo message.
func echo(t *testing.T, typ uint8, id, seq uint16) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{
			SrcMAC: net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 1}, DstMAC: net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 2},
			EthernetType: layers.EthernetTypeIPv4,
		},
		&layers.IPv4{
			Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4,
			SrcIP: net.IPv4(198, 51, 100, 1), DstIP: net.IPv4(198, 51, 100, 2),
		},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, 0), Id: id, Seq: seq},
	)
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// pcap is a nanosecond capture, one frame each 100 ns from second 1 on.
func pcap(t *testing.T, frames ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriterNanos(&b)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for i, f := range frames {
		info := gopacket.CaptureInfo{Timestamp: time.Unix(1, int64(100*i)), CaptureLength: len(f), Length: len(f)}
		if err := w.WritePacket(info, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestReadArrivals(t *testing.T) {
	const request, reply = layers.ICMPv4TypeEchoRequest, layers.ICMPv4TypeEchoReply
	whole := pcap(t, echo(t, request, 9, 1), echo(t, request, 9, 2))
	for name, tt := range map[string]struct {
		file []byte
		want arrivals // nil: an error
	}{
		"whole":          {whole, arrivals{1: 1e9, 2: 1e9 + 100}},
		"still written":  {whole[:len(whole)-1], arrivals{1: 1e9}},
		"empty":          {pcap(t), arrivals{}},
		"no file header": {whole[:10], nil},
		"another type":   {pcap(t, echo(t, reply, 9, 1)), nil},
		"twice":          {pcap(t, echo(t, request, 9, 1), echo(t, request, 9, 1)), nil},
		"two ids":        {pcap(t, echo(t, request, 9, 1), echo(t, request, 8, 2)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readArrivals(bytes.NewReader(tt.file), request)
			if (err == nil) != (tt.want != nil) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			for seq, at := range tt.want {
				if got[seq] != at {
					t.Errorf("icmp_seq=%d arrived at %d, want %d", seq, got[seq], at)
				}
			}
			if len(got) != len(tt.want) {
				t.Errorf("%d frames, want %d", len(got), len(tt.want))
			}
		})
	}
}

func TestParsePing(t *testing.T) {
	got, err := parsePing([]byte(`PING 198.51.100.2 (198.51.100.2) from 198.51.100.1 eth0: 56(84) bytes of data.
64 bytes from 198.51.100.2: icmp_seq=1 ttl=64 time=0.045 ms
64 bytes from 198.51.100.2: icmp_seq=1 ttl=64 time=0.046 ms (DUP!)
From 198.51.100.254 icmp_seq=2 Destination Host Unreachable
64 bytes from 198.51.100.2: icmp_seq=1000 ttl=64 time=12.5 ms

--- 198.51.100.2 ping statistics ---
1000 packets transmitted, 2 received, 0% packet loss, time 10ms
rtt min/avg/max/mdev = 0.045/0.045/0.045/0.000 ms
`))
	want := []sample{{seq: 1, rtt: 45_000}, {seq: 1000, rtt: 12_500_000}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := parsePing([]byte("64 bytes from 198.51.100.2: icmp_seq=x ttl=64 time=1 ms\n")); err == nil {
		t.Error("no error for a sequence number that is none")
	}
}

func TestParseL2ping(t *testing.T) {
	got, err := parseL2ping([]byte(`{"event":"start","time":"2026-01-02T03:04:05Z","version":1}
{"event":"reply","time":"1970-01-01T00:00:01.000000123Z","seq":1,"state":"replied","rtt_ns":11000,"rtt_source":"driver"}
{"event":"reply","time":"1970-01-01T00:00:01.000000200Z","seq":1,"state":"duplicate","rtt_ns":12000,"rtt_source":"driver"}
{"event":"lost","time":"2026-01-02T03:04:05Z","seq":2}
{"event":"summary","time":"2026-01-02T03:04:05Z","rtt_ns":{"min":1}}
`))
	want := []sample{{seq: 1, rtt: 11_000, arrival: 1_000_000_123, source: "driver"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := parseL2ping([]byte("64 bytes\n")); err == nil {
		t.Error("no error for text")
	}
}

// TestSection holds that the verdict is on the median of the runs.
func TestSection(t *testing.T) {
	run := func(tool int, number int, errors ...time.Duration) result {
		r := result{tool: allTools[tool], run: number, cpu: time.Millisecond}
		for i, e := range errors {
			r.deviations = append(r.deviations, deviation{seq: uint16(i), truth: 30_000, error: e})
		}
		return r
	}
	s := newSection(allConditions[0], []result{
		run(0, 1, -2_000, 1_000, 1_500), run(1, 1, 40_000),
		run(0, 2, 9_000), run(1, 2, 15_000),
		run(0, 3, -1_000), run(1, 3, 30_000),
	})
	first := s.Runs[0]
	if first.Bias != 1_000 || first.Error != (distribution{1_500, 2_000, 2_000}) || first.CPUPerProbe != time.Millisecond/3 {
		t.Errorf("the first run is %+v", first)
	}
	want := []toolReport{{"l2ping", 2_000, 1}, {"ping", 30_000, 15}}
	if !slices.Equal(s.Tools, want) {
		t.Errorf("the tools are %+v, want %+v", s.Tools, want)
	}
	var b strings.Builder
	if err := s.print(&b); err != nil || strings.Count(b.String(), ": reached)") != 2 || strings.Contains(b.String(), "NOT") {
		t.Errorf("%v:\n%s", err, &b)
	}
}

func TestFlags(t *testing.T) {
	for _, args := range []string{
		"-count 0", "-count 65001", "-interval 1us", "-runs 0", "-tools nosuch", "-conditions idle,", "more",
	} {
		if _, err := parseFlags(strings.Fields(args), io.Discard); err == nil {
			t.Errorf("%s is taken", args)
		}
	}
	o, err := parseFlags([]string{"-tools", "ping", "-conditions", "busy,idle"}, io.Discard)
	if err != nil || names(o.tools) != "ping" || names(o.conditions) != "busy,idle" || o.count != 1000 || o.runs != 3 {
		t.Errorf("flags are %+v, %v", o, err)
	}
}

func TestCPUTime(t *testing.T) {
	before := parseCPUTime("cpu  100 10 50 1000 20 1 2 3 7 8\ncpu0 1 1 1 1\n")
	if want := (cpuTime{busy: 166, idle: 1020}); before != want {
		t.Errorf("read %+v, want %+v", before, want)
	}
	if got := (cpuTime{busy: 191, idle: 1095}).busySince(before); got != 0.25 {
		t.Errorf("busy %v of the time, want 0.25", got)
	}
	if got := before.busySince(before); got != 0 {
		t.Errorf("busy %v of no time", got)
	}
}
