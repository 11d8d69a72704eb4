package craft

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

var captured = time.Date(2026, 5, 6, 7, 8, 9, 123456789, time.UTC)

// written are the frames that the files of the tests have.
func written() (list []Frame) {
	for i, n := range []int{60, 14, 1514, 1} {
		f := Frame{Bytes: bytes.Repeat([]byte{byte(i + 1)}, n), LinkType: layers.LinkTypeEthernet, Time: captured.Add(time.Duration(i) * time.Second), Length: n}
		if i == 2 {
			f.Length = 9000 // the capture has cut it
		}
		list = append(list, f)
	}
	return list
}

func info(f Frame) gopacket.CaptureInfo {
	return gopacket.CaptureInfo{Timestamp: f.Time, CaptureLength: len(f.Bytes), Length: f.Length}
}

// pcap makes a pcap file, and tells at which offsets a frame ends.
func pcap(t testing.TB, link layers.LinkType, frames ...Frame) (file []byte, ends []int) {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriterNanos(&b)
	if err := w.WriteFileHeader(65535, link); err != nil {
		t.Fatal(err)
	}
	ends = append(ends, b.Len())
	for _, f := range frames {
		if err := w.WritePacket(info(f), f.Bytes); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, b.Len())
	}
	return b.Bytes(), ends
}

// pcapng makes a pcapng file with an interface for each link type, and the frames
// on them in turns.
func pcapng(t testing.TB, links []layers.LinkType, frames ...Frame) (file []byte, ends []int) {
	t.Helper()
	var b bytes.Buffer
	describe := func(link layers.LinkType) pcapgo.NgInterface {
		return pcapgo.NgInterface{Name: "eth0", LinkType: link, TimestampResolution: 9}
	}
	w, err := pcapgo.NewNgWriterInterface(&b, describe(links[0]), pcapgo.DefaultNgWriterOptions)
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links[1:] {
		if _, err := w.AddInterface(describe(link)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range len(frames) + 1 {
		if i > 0 {
			f := frames[i-1]
			ci := info(f)
			ci.InterfaceIndex = (i - 1) % len(links)
			if err := w.WritePacket(ci, f.Bytes); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, b.Len())
	}
	return b.Bytes(), ends
}

func zipped(t testing.TB, file []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(file); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// readAll reads until the first error, behind which nothing may follow.
func readAll(t testing.TB, r io.Reader) (list []Frame, err error) {
	t.Helper()
	for f, e := range ReadFile(r) {
		if err != nil {
			t.Fatal("a frame after the error")
		}
		if err = e; err == nil {
			list = append(list, f)
		}
	}
	return list, err
}

func same(a, b []Frame) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i].Bytes, b[i].Bytes) || a[i].LinkType != b[i].LinkType || !a[i].Time.Equal(b[i].Time) || a[i].Length != b[i].Length {
			return false
		}
	}
	return true
}

func TestReadFile(t *testing.T) {
	frames := written()
	one, _ := pcap(t, layers.LinkTypeEthernet, frames...)
	ng, _ := pcapng(t, []layers.LinkType{layers.LinkTypeEthernet}, frames...)
	for name, file := range map[string][]byte{
		"pcap": one, "pcapng": ng, "pcap, compressed": zipped(t, one), "pcapng, compressed": zipped(t, ng),
	} {
		if got, err := readAll(t, bytes.NewReader(file)); err != nil || !same(got, frames) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		for range ReadFile(iotest.OneByteReader(bytes.NewReader(file))) {
			break // whoever has enough may go
		}
	}
	empty, _ := pcap(t, layers.LinkTypeEthernet)
	if got, err := readAll(t, bytes.NewReader(empty)); len(got) != 0 || err != nil {
		t.Errorf("a file without frames: %v, %v", got, err)
	}
}

// TestReadFileLinks holds that each frame says what it starts with.
func TestReadFileLinks(t *testing.T) {
	frames := written()
	mixed, _ := pcapng(t, []layers.LinkType{layers.LinkTypeEthernet, layers.LinkTypeIPv6, layers.LinkTypeLinuxSLL2, layers.LinkTypeRaw}, frames...)
	got, err := readAll(t, bytes.NewReader(mixed))
	if err != nil {
		t.Fatal(err)
	}
	want := []layers.LinkType{layers.LinkTypeEthernet, layers.LinkTypeRaw, layers.LinkTypeLinuxSLL2, layers.LinkTypeRaw}
	for i := range got {
		if got[i].LinkType != want[i] {
			t.Errorf("frame %d starts with %v, want %v", i, got[i].LinkType, want[i])
		}
	}
	for _, link := range []layers.LinkType{12, 14, layers.LinkTypeRaw, layers.LinkTypeIPv4} {
		file, _ := pcap(t, link, frames[0])
		if got, err := readAll(t, bytes.NewReader(file)); err != nil || got[0].LinkType != layers.LinkTypeRaw {
			t.Errorf("link type %d: %v, %v", link, got, err)
		}
	}
}

// TestReadFileCut cuts files at every byte: what is whole comes, then one error,
// but none where the file ends with a frame.
func TestReadFileCut(t *testing.T) {
	frames := written()
	frames[2].Bytes = frames[2].Bytes[:100]
	for _, kind := range []string{"pcap", "pcapng"} {
		file, ends := pcap(t, layers.LinkTypeEthernet, frames...)
		if kind == "pcapng" {
			file, ends = pcapng(t, []layers.LinkType{layers.LinkTypeEthernet}, frames...)
		}
		if ends[len(ends)-1] != len(file) {
			t.Fatal("the last frame does not end the file")
		}
		for cut := range len(file) {
			whole, atEnd := -1, false
			for i, end := range ends {
				if end <= cut {
					whole, atEnd = i, end == cut
				}
			}
			got, err := readAll(t, bytes.NewReader(file[:cut]))
			if !same(got, frames[:max(whole, 0)]) {
				t.Fatalf("%s of %d bytes: %d frames, want %d", kind, cut, len(got), max(whole, 0))
			}
			// pcapng has blocks ahead of its first frame, at the end of which it may
			// end too.
			if kind == "pcapng" && whole <= 0 && err == nil {
				continue
			}
			switch {
			case cut == 0:
				if err == nil || !strings.Contains(err.Error(), "an empty file") {
					t.Errorf("%s: %v", kind, err)
				}
			case atEnd && err != nil, !atEnd && !errors.Is(err, ErrTruncated) && cut >= 4:
				t.Errorf("%s of %d bytes: %v", kind, cut, err)
			case whole >= 0 && err != nil && !strings.HasPrefix(err.Error(), "after "+counted(whole, "frame")+": "):
				t.Errorf("%s of %d bytes: %v", kind, cut, err)
			}
		}
	}
}

// TestReadFilePackedCut cuts packed files at every byte: whatever comes is whole, and
// then it is told that there was more.
func TestReadFilePackedCut(t *testing.T) {
	frames := written()
	one, _ := pcap(t, layers.LinkTypeEthernet, frames...)
	ng, _ := pcapng(t, []layers.LinkType{layers.LinkTypeEthernet}, frames...)
	for kind, file := range map[string][]byte{"pcap": zipped(t, one), "pcapng": zipped(t, ng)} {
		for cut := 4; cut < len(file); cut++ {
			got, err := readAll(t, bytes.NewReader(file[:cut]))
			if !errors.Is(err, ErrTruncated) || !same(got, frames[:len(got)]) {
				t.Errorf("%s of %d bytes of %d: %d frames, %v", kind, cut, len(file), len(got), err)
			}
		}
	}
}

func TestReadFileErrors(t *testing.T) {
	file, ends := pcap(t, layers.LinkTypeEthernet, written()...)
	damaged := bytes.Clone(file)
	binary.LittleEndian.PutUint32(damaged[ends[1]+8:], 1<<31) // how long the frame is
	packed := zipped(t, file)
	broken := errors.New("the disk is on fire")
	for _, tt := range []struct {
		name   string
		r      io.Reader
		frames int
		is     error
		want   string
	}{
		{"text", strings.NewReader("GET / HTTP/1.1, and so on, and so forth"), 0, nil, "neither pcap nor pcapng: "},
		{"a few bytes", strings.NewReader("abc"), 0, ErrTruncated, "not even its header is whole"},
		{"a damaged length", bytes.NewReader(damaged), 1, nil, "after 1 frame: "},
		{"compressed, cut", bytes.NewReader(packed[:len(packed)-1]), 4, ErrTruncated, "after 4 frames: "},
		{"compressed again and again", bytes.NewReader(zipped(t, zipped(t, packed))), 0, nil, "neither pcap nor pcapng: "},
		{"a reader that fails", io.MultiReader(bytes.NewReader(file[:ends[2]]), iotest.ErrReader(broken)), 2, broken, "after 2 frames: "},
		{"a reader that fails at once", iotest.ErrReader(broken), 0, broken, ""},
	} {
		got, err := readAll(t, tt.r)
		if len(got) != tt.frames || tt.is != nil && !errors.Is(err, tt.is) || (err == nil) != (tt.want == "" && tt.is == nil) ||
			err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: %d frames, %v", tt.name, len(got), err)
		}
	}
}
