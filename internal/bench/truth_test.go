//go:build linux

package main

import (
	"bytes"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

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
	requests := []arrival{{seq: 1, at: 1_000}, {seq: 2, at: 2_000}, {seq: 3, at: 3_000}}
	replies := []arrival{{seq: 1, at: 31_000}, {seq: 2, at: 42_000}, {seq: 3, at: 42_001}}
	got, err := compare([]sample{
		{seq: 2, rtt: 39 * time.Microsecond},
		{seq: 1, rtt: 31_500, arrival: 31_200},
	}, requests, replies)
	want := []deviation{
		{seq: 2, truth: 40_000, error: -1_000},
		// The reply came in at 31.0, said to be 31.2; it left at -0.3.
		{seq: 1, first: true, truth: 30_000, error: 1_500, parts: true, arrival: 200, departure: 1_300},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("compare = %+v, %v, want %+v", got, err, want)
	}
}

// TestCompareByOrder holds that sequence numbers that come twice are told apart
// by their place in the run.
func TestCompareByOrder(t *testing.T) {
	requests := []arrival{{seq: 1, at: 0}, {seq: 3, at: 1_000}, {seq: 3, at: 2_000}}
	replies := []arrival{{seq: 1, at: 10_000}, {seq: 3, at: 21_000}, {seq: 3, at: 32_000}}
	got, err := compare([]sample{{seq: 3, order: 3, rtt: 31_000}, {seq: 3, order: 2, rtt: 19_000}}, requests, replies)
	want := []deviation{{seq: 3, truth: 30_000, error: 1_000}, {seq: 3, truth: 20_000, error: -1_000}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("compare = %+v, %v, want %+v", got, err, want)
	}
}

func TestCompareRefuses(t *testing.T) {
	once := []arrival{{seq: 1, at: 1}, {seq: 2, at: 2}}
	twice := []arrival{{seq: 1, at: 1}, {seq: 1, at: 2}}
	for _, tt := range []struct {
		name              string
		samples           []sample
		requests, replies []arrival
		want              string
	}{
		{"nothing captured", nil, nil, nil, "no request was captured"},
		{"no such request", []sample{{seq: 3}}, once, once, "request of icmp_seq=3: not captured"},
		{"no such reply", []sample{{seq: 2}}, once, once[:1], "reply to icmp_seq=2: not captured"},
		{"reported twice", []sample{{seq: 1}, {seq: 1}}, once, once, "icmp_seq=1 was reported twice"},
		{"request twice", []sample{{seq: 1}}, twice, once, "request of icmp_seq=1: captured twice"},
		{"reply twice", []sample{{seq: 1}}, once, twice, "reply to icmp_seq=1: captured twice"},
		{"no such place", []sample{{seq: 2, order: 3}}, once, once, "request of probe 3, icmp_seq=2: only 2 frames"},
		{"another at that place", []sample{{seq: 1, order: 2}}, once, once, "captured icmp_seq=2 at that place"},
		{"a clock that steps", []sample{{seq: 1}}, []arrival{{seq: 1, at: 5}, {seq: 2, at: 3}}, once, "went back by 2ns"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := compare(tt.samples, tt.requests, tt.replies)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one of %q", err, tt.want)
			}
		})
	}
}

var (
	nearMAC, farMAC = net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 1}, net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 2}
	nearIP, farIP   = net.IPv4(198, 51, 100, 1).To4(), net.IPv4(198, 51, 100, 2).To4()
)

// serialize is a frame from the near end to the far one.
func serialize(t testing.TB, typ layers.EthernetType, rest ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	all := append([]gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: nearMAC, DstMAC: farMAC, EthernetType: typ}}, rest...)
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// echo is a frame with an ICMP echo message.
func echo(t testing.TB, typ uint8, id, seq uint16, payload ...byte) []byte {
	t.Helper()
	return serialize(t, layers.EthernetTypeIPv4,
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: nearIP, DstIP: farIP},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, 0), Id: id, Seq: seq},
		gopacket.Payload(payload),
	)
}

// arp is a frame with an ARP message.
func arp(t testing.TB, operation uint16) []byte {
	t.Helper()
	return serialize(t, layers.EthernetTypeARP, &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4,
		HwAddressSize: 6, ProtAddressSize: 4, Operation: operation,
		SourceHwAddress: nearMAC, SourceProtAddress: nearIP,
		DstHwAddress: make([]byte, 6), DstProtAddress: farIP,
	})
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
	arps := pcap(t, arp(t, layers.ARPRequest), arp(t, layers.ARPRequest), arp(t, layers.ARPRequest))
	for name, tt := range map[string]struct {
		file []byte
		what message
		want []arrival
		fail string
	}{
		"whole":          {whole, echoRequest, []arrival{{1, 1e9}, {2, 1e9 + 100}}, ""},
		"still written":  {whole[:len(whole)-1], echoRequest, []arrival{{1, 1e9}}, ""},
		"empty":          {pcap(t), echoRequest, nil, ""},
		"no file header": {whole[:10], echoRequest, nil, "read capture: "},
		"replies":        {pcap(t, echo(t, reply, 0, 7)), echoReply, []arrival{{7, 1e9}}, ""},
		"another type":   {pcap(t, echo(t, reply, 9, 1)), echoRequest, nil, "no echo request"},
		"twice":          {pcap(t, echo(t, request, 9, 1), echo(t, request, 9, 1)), echoRequest, []arrival{{1, 1e9}, {1, 1e9 + 100}}, ""},
		"two ids":        {pcap(t, echo(t, request, 9, 1), echo(t, request, 8, 2)), echoRequest, nil, "two ids, 9 and 8"},
		"ARP":            {arps, arpRequest, []arrival{{1, 1e9}, {2, 1e9 + 100}, {3, 1e9 + 200}}, ""},
		"another ARP":    {pcap(t, arp(t, layers.ARPReply)), arpRequest, nil, "no ARP request"},
		"ARP reply":      {pcap(t, arp(t, layers.ARPReply)), arpReply, []arrival{{1, 1e9}}, ""},
		"echo for ARP":   {whole, arpReply, nil, "no ARP reply"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readArrivals(bytes.NewReader(tt.file), tt.what)
			if tt.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fail) {
					t.Errorf("error %v, want one of %q", err, tt.fail)
				}
			} else if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("read %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestMedianInterval(t *testing.T) {
	for _, tt := range []struct {
		at   []int64
		want time.Duration
	}{
		{nil, 0}, {[]int64{7}, 0}, {[]int64{7, 17}, 10}, {[]int64{0, 1, 4, 6}, 2},
	} {
		var frames []arrival
		for _, at := range tt.at {
			frames = append(frames, arrival{at: at})
		}
		if got := medianInterval(frames); got != tt.want {
			t.Errorf("frames at %v: %v, want %v", tt.at, got, tt.want)
		}
	}
}
