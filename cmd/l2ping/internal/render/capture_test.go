//go:build linux

package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/l2/frame"
)

var updateCapture = flag.Bool("update-capture", false, "write what is printed of the corpus")

// corpus is a frame of each kind; internal/interop has tcpdump print it.
const corpus = "../../testdata/capture/words.pcap"

func corpusFrames(t testing.TB) (all []pcapng.Frame) {
	t.Helper()
	file, err := os.Open(corpus)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := pcapng.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	for f, err := range r.Frames() {
		if err != nil {
			t.Fatal(err)
		}
		f.Data = bytes.Clone(f.Data)
		all = append(all, f)
	}
	return all
}

func TestCaptureLines(t *testing.T) {
	for name, opts := range map[string]CaptureOptions{
		"words": {}, "link": {Link: true}, "verbose": {Verbose: true, Hex: true},
	} {
		t.Run(name, func(t *testing.T) {
			opts.Location = time.UTC
			var out bytes.Buffer
			c := NewCapture(&out, opts)
			for _, f := range corpusFrames(t) {
				if opts.Verbose && f.Arrival > 1_700_000_012e9 {
					break // that is for a few
				}
				if err := c.Frame(&f); err != nil {
					t.Fatal(err)
				}
			}
			golden(t, "../../testdata/capture/"+name+".txt", out.String())
		})
	}
}

func TestCaptureJSON(t *testing.T) {
	var out bytes.Buffer
	j := NewCaptureJSON(&out, false)
	for i, f := range corpusFrames(t) {
		if err := j.Frame(&f, uint64(i+1), ""); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(out.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
	golden(t, "../../testdata/capture/json.txt", out.String())
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *updateCapture {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(ours), len(theirs)) {
		var a, b string
		if i < len(ours) {
			a = ours[i]
		}
		if i < len(theirs) {
			b = theirs[i]
		}
		if a != b {
			t.Errorf("line %d is\n%s\nwant\n%s", i+1, a, b)
		}
	}
}

// echo is a request, 46 bytes long.
var echo = []byte{
	0x02, 0, 0x5e, 0, 0x53, 2, 0x02, 0, 0x5e, 0, 0x53, 1, 0x08, 0,
	0x45, 0, 0, 32, 0, 0, 0, 0, 64, 1, 0, 0, 198, 51, 100, 1, 198, 51, 100, 2,
	8, 0, 0, 0, 0, 7, 0, 1, 'd', 'a', 't', 'a',
}

// What a capture tells of a frame beside itself.
func TestCaptureFacts(t *testing.T) {
	const what = "IP 198.51.100.1 > 198.51.100.2: ICMP echo request, id 7, seq 1, length 12"
	const stamp = 1_700_000_000_000_000_001
	for _, tt := range []struct {
		f    pcapng.Frame
		link bool
		want string
	}{
		{f: pcapng.Frame{Frame: capture.Frame{Arrival: stamp, PacketType: capture.PacketHost}}, want: "22:13:20.000000001 In  " + what},
		{f: pcapng.Frame{Frame: capture.Frame{Hardware: stamp, PacketType: capture.PacketOutgoing}}, want: "22:13:20.000000001 Out " + what},
		{f: pcapng.Frame{Frame: capture.Frame{PacketType: capture.PacketBroadcast}}, want: "--:--:--.--------- B   " + what},
		{f: pcapng.Frame{Frame: capture.Frame{PacketType: capture.PacketMulticast}}, want: "--:--:--.--------- M   " + what},
		{f: pcapng.Frame{Frame: capture.Frame{PacketType: capture.PacketOtherHost}}, want: "--:--:--.--------- P   " + what},
		{f: pcapng.Frame{Direction: capture.DirectionIn}, want: "--:--:--.--------- In  " + what},
		{f: pcapng.Frame{Direction: capture.DirectionOut}, want: "--:--:--.--------- Out " + what},
		{f: pcapng.Frame{}, want: "--:--:--.--------- ?   " + what},
		{f: pcapng.Frame{Comments: []string{"rtt=0.025 ms", "two\nlines"}}, want: "--:--:--.--------- ?   " + what + "  # rtt=0.025 ms  # two?lines"},
		// A tag that the kernel has taken off is part of the frame.
		{f: pcapng.Frame{Frame: capture.Frame{VLAN: capture.VLAN{Present: true, Type: frame.EtherTypeVLAN, TCI: 0x6064}}},
			want: "--:--:--.--------- ?   vlan 100, p 3, " + what},
		{f: pcapng.Frame{Frame: capture.Frame{VLAN: capture.VLAN{Present: true, Type: frame.EtherTypeQinQ, TCI: 0x1064}}}, link: true,
			want: "--:--:--.--------- ?   02:00:5e:00:53:01 > 02:00:5e:00:53:02, ethertype 802.1Q-QinQ (0x88a8), length 50: " +
				"vlan 100, p 0, DEI, ethertype IPv4 (0x0800), " + what[3:]},
	} {
		var out bytes.Buffer
		tt.f.Data, tt.f.Length, tt.f.LinkType = echo, len(echo), pcapng.LinkEthernet
		if err := NewCapture(&out, CaptureOptions{Link: tt.link, Location: time.UTC}).Frame(&tt.f); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != tt.want+"\n" {
			t.Errorf("%swant\n%s", got, tt.want)
		}
	}
}

// Frames of other links, and such as are cut.
func TestCaptureLinks(t *testing.T) {
	packet := echo[14:]
	sll := append([]byte{0, 0, 0, 1, 0, 6, 0x02, 0, 0x5e, 0, 0x53, 1, 0, 0, 0x08, 0}, packet...)
	for _, tt := range []struct {
		link   pcapng.LinkType
		data   []byte
		length int
		want   string
	}{
		{pcapng.LinkRaw, packet, 0, "IP 198.51.100.1 > 198.51.100.2: ICMP echo request, id 7, seq 1, length 12"},
		{linkIPv4, packet, 0, "IP 198.51.100.1 > 198.51.100.2: ICMP echo request, id 7, seq 1, length 12"},
		{linkSLL, sll, 0, "IP 198.51.100.1 > 198.51.100.2: ICMP echo request, id 7, seq 1, length 12"},
		{147, packet, 0, "link-type 147, length 32"},
		{pcapng.LinkEthernet, nil, 0, "[|link], length 0"},
		{pcapng.LinkEthernet, echo[:13], 0, "[|link], length 13"},
		{pcapng.LinkEthernet, echo[:14], 0, "IP [|ip], length 0"},
		{pcapng.LinkEthernet, echo[:20], 46, "IP [|ip], length 32"},
		{pcapng.LinkEthernet, echo[:34], 46, "IP 198.51.100.1 > 198.51.100.2: [|icmp], length 12"},
		{pcapng.LinkEthernet, echo[:44], 46, "IP 198.51.100.1 > 198.51.100.2: ICMP echo request, id 7, seq 1, length 12"},
		{pcapng.LinkEthernet, echo[:44], 44, "IP truncated-ip - 2 bytes missing! 198.51.100.1 > 198.51.100.2: ICMP echo request, id 7, seq 1, length 12"},
		{pcapng.LinkEthernet, append(bytes.Clone(echo), make([]byte, 14)...), 0, "IP 198.51.100.1 > 198.51.100.2: ICMP echo request, id 7, seq 1, length 12"},
		{pcapng.LinkRaw, []byte{0x15}, 0, "[|link], length 1"},
	} {
		var out bytes.Buffer
		f := pcapng.Frame{Frame: capture.Frame{Data: tt.data, Length: max(tt.length, len(tt.data))}, LinkType: tt.link}
		if err := NewCapture(&out, CaptureOptions{}).Frame(&f); err != nil {
			t.Fatal(err)
		}
		if got, want := out.String(), "--:--:--.--------- ?   "+tt.want+"\n"; got != want {
			t.Errorf("%d, % x:\n%swant\n%s", tt.link, tt.data, got, want)
		}
	}
}

// Of an unknown EtherType the whole frame's length is told, as by tcpdump, tagged or
// not; and with the MACs, for nothing else tells who it is from.
func TestCaptureUnknown(t *testing.T) {
	const macs, unknown = "02:00:5e:00:53:01 > 02:00:5e:00:53:02, ", "ethertype Unknown (0x88b5), "
	gre := []byte{0x45, 0, 0, 70, 0, 0, 0, 0, 64, 47, 0, 0, 198, 51, 100, 1, 198, 51, 100, 2, 0, 0, 0x88, 0xb5}
	for _, tt := range []struct {
		behind     []byte // of the MACs
		tci        uint16 // of a tag that the kernel took off
		want, link string
	}{
		{[]byte{0x88, 0xb5}, 0, macs + unknown + "length 60", macs + unknown + "length 60: 46 bytes"},
		{
			[]byte{0x81, 0, 0, 100, 0x88, 0xb5}, 0, "vlan 100, " + macs + unknown + "length 64",
			macs + "ethertype 802.1Q (0x8100), length 64: vlan 100, p 0, ethertype Unknown (0x88b5), 46 bytes",
		},
		{
			[]byte{0x88, 0xb5}, 0x6064, "vlan 100, p 3, " + macs + unknown + "length 64",
			macs + "ethertype 802.1Q (0x8100), length 64: vlan 100, p 3, ethertype Unknown (0x88b5), 46 bytes",
		},
		{
			[]byte{0x88, 0xa8, 0, 100, 0x81, 0, 0, 7, 0x88, 0xb5}, 0, "vlan 100, vlan 7, " + macs + unknown + "length 68",
			macs + "ethertype 802.1Q-QinQ (0x88a8), length 68: vlan 100, p 0, ethertype 802.1Q (0x8100), vlan 7, p 0, ethertype Unknown (0x88b5), 46 bytes",
		},
		// Within a tunnel it is no frame.
		{append([]byte{0x08, 0x00}, gre...), 0, "IP 198.51.100.1 > 198.51.100.2: GREv0, length 50: ethertype Unknown (0x88b5), length 46", ""},
	} {
		data := append(bytes.Clone(echo[:12]), tt.behind...)
		data = append(data, bytes.Repeat([]byte{'x'}, 46)...)
		f := pcapng.Frame{Frame: capture.Frame{Data: data, Length: len(data)}, LinkType: pcapng.LinkEthernet}
		if tt.tci != 0 {
			f.VLAN = capture.VLAN{Present: true, Type: frame.EtherTypeVLAN, TCI: tt.tci}
		}
		for _, link := range []bool{false, true} {
			want := tt.want
			if link {
				want = tt.link
			}
			var out bytes.Buffer
			if err := NewCapture(&out, CaptureOptions{Link: link}).Frame(&f); err != nil {
				t.Fatal(err)
			}
			if got, want := out.String(), "--:--:--.--------- ?   "+want+"\n"; (tt.link != "" || !link) && got != want {
				t.Errorf("\n%swant\n%s", got, want)
			}
		}
	}
}

func TestCaptureWriteError(t *testing.T) {
	f := corpusFrames(t)[0]
	for _, err := range []error{
		NewCapture(failing{}, CaptureOptions{}).Frame(&f),
		NewCaptureJSON(failing{}, false).Frame(&f, 1, "eth0"),
		NewCaptureJSON(failing{}, false).Start(&CaptureStart{}),
		NewCaptureJSON(failing{}, false).Change(&CaptureChange{}),
		NewCaptureJSON(failing{}, false).End(&CaptureEnd{}),
	} {
		if !errors.Is(err, errFull) {
			t.Error(err)
		}
	}
}

// Whatever a frame holds, it is one line, of text, and one JSON object.
func FuzzCapture(f *testing.F) {
	for i, frame := range corpusFrames(f) {
		f.Add(frame.Data, len(frame.Data), uint16(frame.LinkType), uint16(0))
		f.Add(frame.Data[:len(frame.Data)-i%20], len(frame.Data), uint16(frame.LinkType), uint16(i))
		f.Add(frame.Data[14:], len(frame.Data)-14, uint16(pcapng.LinkRaw), uint16(0))
		f.Add(frame.Data, len(frame.Data)+i, uint16(linkSLL), uint16(0))
		f.Add(frame.Data, len(frame.Data)+i, uint16(linkSLL2), uint16(0))
		f.Add(frame.Data, len(frame.Data)+i, uint16(linkNull), uint16(0))
	}
	var out bytes.Buffer
	lines := NewCapture(&out, CaptureOptions{Location: time.UTC})
	link := NewCapture(&out, CaptureOptions{Location: time.UTC, Link: true})
	whole := NewCapture(&out, CaptureOptions{Location: time.UTC, Verbose: true, Hex: true})
	objects := NewCaptureJSON(&out, true)
	f.Fuzz(func(t *testing.T, data []byte, length int, linkType, tci uint16) {
		frame := pcapng.Frame{
			Frame:    capture.Frame{Data: data, Length: min(max(length, len(data)), 1<<20), Arrival: 1},
			LinkType: pcapng.LinkType(linkType), Comments: []string{string(data[:min(len(data), 8)])},
		}
		if tci != 0 {
			frame.VLAN = capture.VLAN{Present: true, Type: 0x8100, TCI: tci}
		}
		text := func(c *Capture) string {
			out.Reset()
			if err := c.Frame(&frame); err != nil {
				t.Fatal(err)
			}
			return out.String()
		}
		for _, c := range []*Capture{lines, link} {
			got := text(c)
			if strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "\n") || len(got) > 1<<14 {
				t.Fatalf("not one line: %q", got)
			}
			if !printable(got[:len(got)-1]) {
				t.Fatalf("not for a terminal: %q", got)
			}
		}
		for i, line := range strings.Split(strings.TrimSuffix(text(whole), "\n"), "\n") {
			if i > 0 && !strings.HasPrefix(line, "\t") || !printable(strings.TrimPrefix(line, "\t")) {
				t.Fatalf("line %d: %q", i+1, line)
			}
		}
		out.Reset()
		if err := objects.Frame(&frame, 1, "eth0"); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); !json.Valid(out.Bytes()) || strings.Count(got, "\n") != 1 {
			t.Fatalf("no JSON on a line: %s", got)
		}
	})
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

func BenchmarkCapture(b *testing.B) {
	f := pcapng.Frame{Frame: capture.Frame{Data: echo, Length: len(echo), Arrival: 1}, LinkType: pcapng.LinkEthernet}
	b.Run("text", func(b *testing.B) {
		c := NewCapture(discard{}, CaptureOptions{Location: time.UTC})
		b.ReportAllocs()
		for b.Loop() {
			_ = c.Frame(&f)
		}
	})
	b.Run("json", func(b *testing.B) {
		c := NewCaptureJSON(discard{}, false)
		b.ReportAllocs()
		for b.Loop() {
			_ = c.Frame(&f, 1, "eth0")
		}
	})
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// A filter may be any text, and is not escaped for the sake of HTML.
func TestCaptureJSONStart(t *testing.T) {
	var out bytes.Buffer
	filter := "len > 5 \"\\\n\x00\x1f\u2028ü\xff"
	if err := NewCaptureJSON(&out, false).Start(&CaptureStart{File: "f", Filter: filter}); err != nil {
		t.Fatal(err)
	}
	var e struct{ Filter string }
	if err := json.Unmarshal(out.Bytes(), &e); err != nil || e.Filter != strings.ToValidUTF8(filter, "\ufffd") {
		t.Errorf("%v: %q of %s", err, e.Filter, &out)
	}
	if !strings.Contains(out.String(), `"filter":"len > 5 \"\\\u000a`) {
		t.Errorf("%s", &out)
	}
}
