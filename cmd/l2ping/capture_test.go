//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/render"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

func TestStrftime(t *testing.T) {
	at := time.Date(2026, 3, 7, 15, 4, 5, 999, time.FixedZone("CET", 3600))
	for _, tt := range []struct{ name, want string }{
		{"plain.pcapng", "plain.pcapng"},
		{"%F-%T", "2026-03-07-15:04:05"},
		{"%Y%m%d_%H%M%S", "20260307_150405"},
		{"%y %b %B %h %a %A %e %j %I%p %R %D", "26 Mar March Mar Sat Saturday  7 066 03PM 15:04 03/07/26"},
		{"%Z%z %s 100%%", "CET+0100 1772892245 100%"},
	} {
		if got, err := strftime(tt.name, at); got != tt.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
	for _, name := range []string{"%", "a%", "%Q", "%%%", "%ü"} {
		if got, err := strftime(name, at); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestNumbered(t *testing.T) {
	for _, tt := range []struct {
		n, of uint64
		want  string
	}{
		{0, 0, "f"}, {1, 0, "f1"}, {10, 0, "f10"}, {0, 1, "f"}, {0, 2, "f0"}, {9, 10, "f9"}, {9, 11, "f09"}, {0, 1000, "f000"}, {999, 1000, "f999"},
	} {
		if got := numbered("f", tt.n, digitsOf(tt.of)); got != tt.want {
			t.Errorf("%d of %d: %s, want %s", tt.n, tt.of, got, tt.want)
		}
	}
}

// A disk is files in memory, with room for so many bytes.
type disk struct {
	files map[string]*memoryFile
	order []string
	room  int
}

func newDisk(room int) *disk { return &disk{files: make(map[string]*memoryFile), room: room} }

func (d *disk) open(name string) (frameFile, error) {
	d.files[name] = &memoryFile{disk: d, name: name}
	d.order = append(d.order, name)
	return d.files[name], nil
}

type memoryFile struct {
	bytes.Buffer
	disk   *disk
	name   string
	closed bool
}

func (f *memoryFile) Write(b []byte) (int, error) {
	fits := b[:min(len(b), f.disk.room)]
	f.disk.room -= len(fits)
	n, _ := f.Buffer.Write(fits)
	if n < len(b) {
		return n, &fs.PathError{Op: "write", Path: f.name, Err: unix.ENOSPC}
	}
	return n, nil
}

func (f *memoryFile) Truncate(size int64) error {
	f.Buffer.Truncate(int(size))
	return nil
}

func (f *memoryFile) Name() string { return f.name }

func (f *memoryFile) Close() error {
	f.closed = true
	return nil
}

// frames are those of a file, which has to be whole.
func (f *memoryFile) frames(t *testing.T) (list []pcapng.Frame) {
	t.Helper()
	r, err := pcapng.NewReader(bytes.NewReader(f.Bytes()))
	if err != nil {
		t.Fatalf("%s: %v", f.name, err)
	}
	for frame, err := range r.Frames() {
		if err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		frame.Data = bytes.Clone(frame.Data)
		list = append(list, frame)
	}
	if !f.closed {
		t.Errorf("%s is not closed", f.name)
	}
	return list
}

// origin is when the tests' captures begin, in the host's time zone.
var origin = time.Date(2026, 1, 2, 3, 4, 0, 0, time.Local)

func testFiles(d *disk, c captureFiles) *captureFiles {
	c.open, c.first = d.open, pcapng.Interface{Name: "eth0", LinkType: pcapng.LinkEthernet}
	return &c
}

// numberedFrame is a frame that holds a number.
func numberedFrame(n, length int, at time.Time) *pcapng.Frame {
	data := bytes.Repeat([]byte{0x55}, length)
	copy(data, fmt.Sprintf("%06d", n))
	return &pcapng.Frame{
		Frame:    capture.Frame{Data: data, Length: length, Arrival: at.UnixNano(), PacketType: capture.PacketHost},
		LinkType: pcapng.LinkEthernet,
	}
}

// Files are as long as was asked for at most, hold everything, and each is whole.
func TestCaptureFilesBySize(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, lengths := range []func() int{
		func() int { return 60 }, func() int { return 1514 }, func() int { return 14 + random.IntN(9000) },
	} {
		const size, frames = 100_000, 2000
		d := newDisk(1 << 30)
		c := testFiles(d, captureFiles{name: "f", size: size, counts: func() capture.RingStatistics { return capture.RingStatistics{} }})
		if err := c.begin(origin); err != nil {
			t.Fatal(err)
		}
		for n := range frames {
			if err := c.write(numberedFrame(n, lengths(), origin), &c.first, &pcapng.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.finish(); err != nil {
			t.Fatal(err)
		}
		next := 0
		for i, name := range d.order {
			if want := numbered("f", uint64(i), 0); name != want {
				t.Errorf("file %d is %s, want %s", i, name, want)
			}
			if n := d.files[name].Len(); n > size || n < size-12_000 && i < len(d.order)-1 {
				t.Errorf("%s has %d bytes", name, n)
			}
			for _, f := range d.files[name].frames(t) {
				if got := string(f.Data[:6]); got != fmt.Sprintf("%06d", next) {
					t.Fatalf("%s: frame %s, want %d", name, got, next)
				}
				next++
			}
		}
		if next != frames || int(c.files) != len(d.order) {
			t.Errorf("%d frames in %d files, want %d", next, c.files, frames)
		}
	}
	// A frame that fits into no file has one of its own; a ring is written over.
	d := newDisk(1 << 30)
	c := testFiles(d, captureFiles{name: "f", size: 1000, most: 3})
	if err := c.begin(origin); err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		if err := c.write(numberedFrame(n, 2000, origin), &c.first, &pcapng.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.finish(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"f0", "f1", "f2", "f0", "f1"}; !slices.Equal(d.order, want) {
		t.Errorf("%q, want %q", d.order, want)
	}
	for name, want := range map[string]string{"f0": "000003", "f1": "000004", "f2": "000002"} {
		if list := d.files[name].frames(t); len(list) != 1 || string(list[0].Data[:6]) != want {
			t.Errorf("%s: %d frames", name, len(list))
		}
	}
}

// Each time has its file, with or without frames; what comes late is not lost.
func TestCaptureFilesByTime(t *testing.T) {
	d := newDisk(1 << 30)
	c := testFiles(d, captureFiles{name: "f-%T", every: 10 * time.Second, most: 5})
	if err := errors.Join(c.check(origin), c.begin(origin)); err != nil {
		t.Fatal(err)
	}
	step := func(n int, seconds time.Duration) error {
		return c.write(numberedFrame(n, 60, origin.Add(seconds*time.Second)), &c.first, &pcapng.Options{})
	}
	for n, seconds := range []time.Duration{0, 9, 10, 19} {
		if err := step(n, seconds); err != nil {
			t.Fatal(err)
		}
	}
	for _, seconds := range []time.Duration{19, 20, 29, 31} { // nothing came
		if err := c.tick(origin.Add(seconds * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	for n, seconds := range []time.Duration{28, 39, 75} { // the clock was set
		if err := step(4+n, seconds); err != nil {
			t.Fatal(err)
		}
	}
	if err := step(9, 80); !errors.Is(err, errEnoughFiles) {
		t.Error(err)
	}
	if err := c.finish(); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"f-03:04:00": 2, "f-03:04:10": 2, "f-03:04:20": 0, "f-03:04:30": 2, "f-03:05:10": 1}
	if len(d.files) != len(want) {
		t.Errorf("%q", d.order)
	}
	for name, frames := range want {
		if f := d.files[name]; f == nil || len(f.frames(t)) != frames {
			t.Errorf("%s: not %d frames in %q", name, frames, d.order)
		}
	}
}

// With both there are numbers within each time.
func TestCaptureFilesBySizeAndTime(t *testing.T) {
	d := newDisk(1 << 30)
	c := testFiles(d, captureFiles{name: "f-%S", every: 10 * time.Second, size: 1000})
	if err := errors.Join(c.check(origin), c.begin(origin)); err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		if err := c.write(numberedFrame(n, 600, origin.Add(time.Duration(n/3)*10*time.Second)), &c.first, &pcapng.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.finish(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"f-00", "f-001", "f-002", "f-10"}; !slices.Equal(d.order, want) {
		t.Errorf("%q, want %q", d.order, want)
	}
}

// A disk that is full leaves files that are whole, whatever it has room for.
func TestCaptureDiskFull(t *testing.T) {
	const frames = 20
	write := func(room int) (d *disk, written uint64, err error) {
		d = newDisk(room)
		c := testFiles(d, captureFiles{name: "f", counts: func() capture.RingStatistics { return capture.RingStatistics{} }})
		err = c.begin(origin)
		taken := uint64(0)
		for n := 0; n < frames && err == nil; n++ {
			if err = c.write(numberedFrame(n, 60+n, origin), &c.first, &pcapng.Options{}); err == nil {
				if taken++; n%4 == 3 {
					err = c.flush()
				}
			}
		}
		if finished := c.finish(); err == nil {
			err = finished
		}
		return d, taken - c.lost, err
	}
	whole, _, err := write(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	head, last := 0, 0
	for room := range whole.files["f"].Len() {
		d, written, err := write(room)
		if !errors.Is(err, unix.ENOSPC) || err.Error() != "write f: no space left on device" {
			t.Fatalf("%d bytes: %v", room, err)
		}
		f := d.files["f"]
		if f.Len() == 0 || head == 0 && f.Len() < 80 {
			continue // not even its header
		}
		if head == 0 {
			head = f.Len()
		}
		list := f.frames(t)
		if written != uint64(len(list)) {
			t.Fatalf("%d bytes: %d frames, said to be %d", room, len(list), written)
		}
		if len(list) < last || len(list) > frames {
			t.Fatalf("%d bytes: %d frames, and with less room %d", room, len(list), last)
		}
		if last = len(list); f.Len() > room {
			t.Fatalf("%d bytes: %d", room, f.Len())
		}
	}
	if last != frames {
		t.Errorf("%d frames at last", last)
	}
}

// How many of the frames that are counted are in the files is told.
func TestCaptureDiskFullCounts(t *testing.T) {
	d := newDisk(6000)
	var stdout bytes.Buffer
	c := &capturing{
		e: &env{stderr: io.Discard}, f: &captureFlags{}, out: bufio.NewWriter(&stdout), begun: origin,
		files: testFiles(d, captureFiles{name: "f"}),
	}
	c.json = render.NewCaptureJSON(c.out, false)
	err := c.files.begin(origin)
	facts := c.files.first
	for n := 0; n < 110 && err == nil; n++ {
		err = c.frame(numberedFrame(n, 60, origin), &facts, &pcapng.Options{})
	}
	if err != nil {
		t.Fatal(err) // they wait in memory
	}
	err = c.finish(c.flush(), &render.CaptureEnd{})
	written := len(d.files["f"].frames(t))
	want := fmt.Sprintf("write f: no space left on device (%d of the 110 packets captured are written)", written)
	if written == 0 || written == 110 || !errors.Is(err, unix.ENOSPC) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if want := fmt.Sprintf(`"captured":110,"files":1,"written":%d,`, written); !strings.Contains(stdout.String(), want) {
		t.Errorf("%s in\n%s", want, &stdout)
	}
}

func TestWholeLength(t *testing.T) {
	b := func(length byte, n int) []byte {
		return append([]byte{6, 0, 0, 0, length, 0, 0, 0}, make([]byte, n-8)...)
	}
	other := append([]byte{5, 0, 0, 0, 12, 0, 0, 0}, make([]byte, 4)...)
	for _, tt := range []struct {
		b      []byte
		want   int
		frames uint64
	}{
		{nil, 0, 0}, {make([]byte, 7), 0, 0}, {make([]byte, 12), 0, 0}, {b(12, 12), 12, 1}, {b(12, 11), 0, 0}, {b(0, 32), 0, 0},
		{b(8, 32), 0, 0}, {b(255, 32), 0, 0}, {append(b(12, 12), b(16, 16)...), 28, 2}, {append(b(12, 12), b(16, 15)...), 12, 1},
		{append(b(12, 12), 1, 2, 3), 12, 1}, {append(other, b(12, 12)...), 24, 1}, {append(b(12, 12), other...), 24, 1},
	} {
		if got, frames := wholeLength(tt.b); got != tt.want || frames != tt.frames {
			t.Errorf("% x: %d with %d frames, want %d with %d", tt.b, got, frames, tt.want, tt.frames)
		}
	}
}

// Which files there can be.
func TestCaptureFilesCheck(t *testing.T) {
	for _, tt := range []struct {
		c    captureFiles
		want string
	}{
		{captureFiles{name: "f"}, ""},
		{captureFiles{name: "f-%Q"}, ""}, // no time is asked for
		{captureFiles{name: "f", size: 1e6, most: 3}, ""},
		{captureFiles{name: "f", every: time.Second, most: 1}, ""},
		{captureFiles{name: "f-%s", every: time.Second}, ""},
		{captureFiles{name: "f-%T", every: time.Second, size: 1e6}, ""},
		{captureFiles{name: "-", size: 1e6}, "-w -: standard output is one file"},
		{captureFiles{name: "f", most: 2}, "-W: there is one file"},
		{captureFiles{name: "f-%T", every: time.Second, size: 1e6, most: 2}, "-W: with -C it is"},
		{captureFiles{name: "f", every: time.Second}, "-w f: with -G 1s the next file would be written over this one"},
		{captureFiles{name: "f-%H", every: time.Second}, "-w f-%H: with -G 1s the next file"},
		{captureFiles{name: "f-%Q", every: time.Second}, "-w f-%Q: unknown %Q"},
	} {
		err := tt.c.check(origin)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("%+v: %v, want %q", tt.c, err, tt.want)
		}
	}
}

// clockTime is the time of a line, which is that of the host's zone.
var clockTime = regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.`)

// capturing runs `l2ping capture` in this process.
func runCapture(t *testing.T, stdin string, args ...string) (stdout, stderr string, exit int) {
	t.Helper()
	e, out, errs := newTestEnv()
	e.stdin = strings.NewReader(stdin)
	exit = run(e, append([]string{"capture"}, args...))
	return clockTime.ReplaceAllString(out.String(), "TIME."), errs.String(), exit
}

const wordsFile = "testdata/capture/words.pcap"

func TestCaptureRead(t *testing.T) {
	const reading = "reading from file " + wordsFile + ", link-type EN10MB (Ethernet), snapshot length 262144\n"
	for _, tt := range []struct{ args, want string }{
		{"-c 1", "TIME.000000001 ?   ARP, Request who-has 198.51.100.2 tell 198.51.100.1, length 28\n"},
		{"-n -nn -S -nS -l -U -lU --immediate-mode --packet-buffered --line-buffered -c 1", "TIME.000000001 ?   ARP, Request who-has 198.51.100.2 tell 198.51.100.1, length 28\n"},
		{"arp and ether src 02:00:5e:00:53:02", "TIME.000000002 ?   ARP, Reply 198.51.100.2 is-at 02:00:5e:00:53:02, length 46\n"},
		{"-e vlan 1", "TIME.000000133 ?   02:00:5e:00:53:01 > 02:00:5e:00:53:02, ethertype 802.1Q-9100 (0x9100), length 46: vlan 1, p 0, " +
			"ethertype ARP (0x0806), Request who-has 198.51.100.2 tell 198.51.100.1, length 28\n"},
		{"-e vlan 200 and vlan 7", "TIME.000000117 ?   02:00:5e:00:53:01 > 02:00:5e:00:53:02, ethertype 802.1Q-QinQ (0x88a8), length 50: vlan 200, p 0, " +
			"ethertype 802.1Q (0x8100), vlan 7, p 0, ethertype IPv4 (0x0800), 198.51.100.1 > 198.51.100.2: ICMP echo request, id 7, seq 1, length 8\n"},
		{"tcp[tcpflags] & tcp-rst != 0", "TIME.000000046 ?   IP 198.51.100.1.40000 > 198.51.100.2.12345: Flags [R], seq 1001, win 8192, length 0\n"},
		{"ether proto 0x88b5 -x", "TIME.000000118 ?   02:00:5e:00:53:01 > 02:00:5e:00:53:02, ethertype Unknown (0x88b5), length 27\n" +
			"\t0000  02 00 5e 00 53 02 02 00  5e 00 53 01 88 b5 61 6e  |..^.S...^.S...an|\n" +
			"\t0010  20 65 78 70 65 72 69 6d  65 6e 74                 | experiment|\n"},
		{"ether proto 0x88b5 -x -s 16", "TIME.000000118 ?   02:00:5e:00:53:01 > 02:00:5e:00:53:02, ethertype Unknown (0x88b5), length 27\n" +
			"\t0000  02 00 5e 00 53 02 02 00  5e 00 53 01 88 b5 61 6e  |..^.S...^.S...an|\n"},
		{"-v ether proto 0x88b5", "TIME.000000118 ?   02:00:5e:00:53:01 > 02:00:5e:00:53:02, ethertype Unknown (0x88b5), length 27\n" +
			"\tEthernet, 14 bytes\n\t  SrcMAC        02:00:5e:00:53:01\n\t  DstMAC        02:00:5e:00:53:02\n"},
		// What was cut is as long as it was.
		{"len > 1500", "TIME.000000129 ?   IP 198.51.100.1.40000 > 198.51.100.2.9999: UDP, length 2000, first fragment, id 1\n"},
		{"greater 1294 and less 1400", "TIME.000000131 ?   IP6 2001:db8::1.40000 > 2001:db8::2.9999: UDP, length 2000, first fragment, id 77\n"},
		{"port 9", ""},
	} {
		stdout, stderr, exit := runCapture(t, "", append([]string{"-r", wordsFile}, strings.Fields(tt.args)...)...)
		if tt.args == "-v ether proto 0x88b5" && strings.HasPrefix(stdout, tt.want) {
			stdout = tt.want
		}
		if stdout != tt.want || stderr != reading || exit != exitOK {
			t.Errorf("%s: exit status %d\n%s%swant\n%s", tt.args, exit, stdout, stderr, tt.want)
		}
	}
	// What is known of a file without a whole frame is told.
	file, err := os.ReadFile(wordsFile)
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr, exit := runCapture(t, string(file[:50]), "-r", "-")
	if want := strings.ReplaceAll(reading, wordsFile, "standard input") +
		"l2ping: standard input is cut off ahead of its first frame's end\n"; exit != exitError || stdout != "" || stderr != want {
		t.Errorf("exit status %d\n%s%s", exit, stdout, stderr)
	}
	// By standard input too.
	stdout, stderr, exit = runCapture(t, string(file), "-r", "-", "icmp", "and", "icmp[0]", "=", "0")
	if exit != exitOK || stdout != "TIME.000000009 ?   IP 198.51.100.2 > 198.51.100.1: ICMP echo reply, id 7, seq 1, length 64\n" ||
		stderr != "reading from file standard input, link-type EN10MB (Ethernet), snapshot length 262144\n" {
		t.Errorf("exit status %d\n%s%s", exit, stdout, stderr)
	}
}

// What is read is written as it was, to as many files as are asked for.
func TestCaptureReadAndWrite(t *testing.T) {
	dir := t.TempDir()
	read := func(path string) (list []pcapng.Frame) {
		t.Helper()
		file, err := os.Open(path)
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
			list = append(list, f)
		}
		return list
	}
	equal := func(a, b []pcapng.Frame) bool {
		return slices.EqualFunc(a, b, func(a, b pcapng.Frame) bool {
			return bytes.Equal(a.Data, b.Data) && a.Length == b.Length && a.Arrival == b.Arrival && a.LinkType == b.LinkType &&
				a.PacketType == b.PacketType && a.PacketID == b.PacketID && a.Dropped == b.Dropped && slices.Equal(a.Comments, b.Comments)
		})
	}
	out := filepath.Join(dir, "all.pcapng")
	stdout, stderr, exit := runCapture(t, "", "-r", wordsFile, "-w", out)
	want := read(wordsFile)
	if got := read(out); exit != exitOK || stdout != "" || !equal(got, want) {
		t.Errorf("exit status %d: %s%s%d frames, want %d", exit, stdout, stderr, len(got), len(want))
	}
	// And printed if so asked.
	if stdout, _, _ := runCapture(t, "", "-r", wordsFile, "-w", out, "--print", "-c", "3"); strings.Count(stdout, "\n") != 3 || !equal(read(out), want[:3]) {
		t.Errorf("%s", stdout)
	}
	// To standard output.
	e, piped, _ := newTestEnv()
	if exit := run(e, []string{"capture", "-r", wordsFile, "-w", "-"}); exit != exitOK {
		t.Errorf("exit status %d", exit)
	}
	if err := os.WriteFile(out, piped.Bytes(), 0o600); err != nil || !equal(read(out), want) {
		t.Error(err)
	}
	// A file for each 50 seconds of what was read; the frames are a second apart.
	runCapture(t, "", "-r", wordsFile, "-w", filepath.Join(dir, "by-%s.pcapng"), "-G", "50")
	var parts []pcapng.Frame
	for i, n := range []int{50, 50, len(want) - 100} {
		part := read(filepath.Join(dir, fmt.Sprintf("by-%d.pcapng", 1_700_000_000+50*i)))
		if len(part) != n {
			t.Errorf("part %d has %d frames, want %d", i, len(part), n)
		}
		parts = append(parts, part...)
	}
	if !equal(parts, want) {
		t.Errorf("%d frames, want %d", len(parts), len(want))
	}
	// The first of them alone.
	if stdout, stderr, exit := runCapture(t, "", "-r", wordsFile, "-w", filepath.Join(dir, "first"), "-G", "50", "-W", "1", "--print"); exit != exitOK ||
		!equal(read(filepath.Join(dir, "first")), want[:50]) || strings.Count(stdout, "\n") != 50 {
		t.Errorf("exit status %d\n%s%s", exit, stdout, stderr)
	}
	// Interfaces, comments, directions, ids and losses stay.
	several := filepath.Join(dir, "several.pcapng")
	file, err := os.Create(several)
	if err != nil {
		t.Fatal(err)
	}
	w, err := pcapng.NewWriter(file, nil, pcapng.Interface{Name: "eth0", LinkType: pcapng.LinkEthernet})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddInterface(pcapng.Interface{Name: "tun0", LinkType: pcapng.LinkRaw}); err != nil {
		t.Fatal(err)
	}
	for i, f := range []*pcapng.Frame{
		numberedFrame(0, 60, origin),
		{Frame: capture.Frame{Data: want[7].Data[14:], Length: len(want[7].Data) - 14, Arrival: 1, PacketType: capture.PacketOutgoing}},
		numberedFrame(2, 60, origin),
	} {
		err := w.Write(&f.Frame, &pcapng.Options{Interface: i % 2, Comment: strings.Repeat("c", i), PacketID: uint64(i), Dropped: uint64(i)})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Flush(), file.Close()); err != nil {
		t.Fatal(err)
	}
	if _, stderr, exit := runCapture(t, "", "-r", several, "-w", out); exit != exitOK || !equal(read(out), read(several)) {
		t.Errorf("exit status %d: %s", exit, stderr)
	}
	stdout, _, _ = runCapture(t, "", "-r", several, "icmp")
	if want := "IP 198.51.100.1 > 198.51.100.2: ICMP echo request, id 7, seq 1, length 64  # c\n"; !strings.HasSuffix(stdout, " Out "+want) || strings.Count(stdout, "\n") != 1 {
		t.Errorf("%s", stdout)
	}
	stdout, _, _ = runCapture(t, "", "-r", several, "-Q", "in", "--json")
	events, err := decodeCapture(stdout)
	if err != nil || len(events) != 4 || events[1]["interface"] != "eth0" || events[2]["direction"] != "in" {
		t.Errorf("%v in\n%s", err, stdout)
	}
}

// What is wrong is told on one line, and what was read by then is there.
func TestCaptureReadErrors(t *testing.T) {
	dir := t.TempDir()
	file, err := os.ReadFile(wordsFile)
	if err != nil {
		t.Fatal(err)
	}
	put := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cooked := slices.Clone(file)
	cooked[20] = 113
	at := 24
	for range 2 {
		at += 16 + int(binary.LittleEndian.Uint32(file[at+8:]))
	}
	damaged := append(slices.Clone(file[:at+8]), bytes.Repeat([]byte{0xee, 0x93, 4, 0}, 10)...)
	cut, head, text, other := put("cut", file[:200]), put("head", file[:20]), put("text", []byte("no capture\n")), put("sll", cooked)
	empty, long := put("empty", nil), put("long", damaged)
	out := filepath.Join(dir, "out")
	for _, tt := range []struct {
		args  string
		lines int
		want  string
	}{
		{"-r " + cut, 2, cut + " is cut off after 2 frames"},
		{"-r " + cut + " -c 1", 1, ""},
		{"-r " + head, 0, head + " is cut off ahead of its first frame's end"},
		{"-r " + text, 0, text + ": neither pcap nor pcapng"},
		{"-r " + empty, 0, empty + ": neither pcap nor pcapng (an empty file)"},
		{"-r " + long, 2, long + ", after frame 2: damaged: a frame would have 300014 bytes"},
		{"-r " + dir, 0, dir + ": is a directory"},
		{"-r " + filepath.Join(dir, "none"), 0, "open " + filepath.Join(dir, "none") + ": no such file or directory"},
		{"-r " + cut + " -w " + cut, 0, "-r " + cut + " and -w " + cut + " are one file"},
		{"-r " + cut + " -w " + out, 0, cut + " is cut off after 2 frames"},
		{"-r " + cut + " -w " + filepath.Join(dir, "no", "file"), 0, "open " + filepath.Join(dir, "no", "file") + ": no such file or directory"},
		{"-r " + cut + " -w /dev/full", 0, "write /dev/full: no space left on device"},
		{"-r " + cut + " -Q in", 0, "-Q in: " + cut + " does not tell which way frame 1 went"},
		{"-r " + other + " icmp", 0, `filter "icmp": frames of link-type LINUX_SLL (Linux cooked v1) cannot be filtered (those of EN10MB and RAW can)`},
	} {
		stdout, stderr, exit := runCapture(t, "", strings.Fields(tt.args)...)
		stderr = stderr[strings.LastIndex(strings.TrimSuffix(stderr, "\n"), "\n")+1:]
		ok := exit == exitError && stderr == "l2ping: "+tt.want+"\n"
		if tt.want == "" {
			ok = exit == exitOK
		}
		if !ok || strings.Count(stdout, "\n") != tt.lines {
			t.Errorf("%s: exit status %d\n%s%swant %s", tt.args, exit, stdout, stderr, tt.want)
		}
	}
	if stdout, stderr, exit := runCapture(t, "", "-r", out); exit != exitOK || strings.Count(stdout, "\n") != 2 {
		t.Errorf("what was read of a cut file: exit status %d\n%s%s", exit, stdout, stderr)
	}
}

// Wrong uses, in words.
func TestCaptureUsage(t *testing.T) {
	ns := labtest.NewNamespace(t)
	const more = " (l2ping capture --help tells more)"
	for _, tt := range []struct{ args, want string }{
		{"-i eth0 -r f", "-i eth0 and -r f: frames come from an interface or from a file" + more},
		{"-r f -p", "-p: of a file nothing is heard" + more},
		{"-r f --netns n", "--netns: a file is in none" + more},
		{"-i eth0 -C 1", "-C, -G and -W: no file is written (-w names it)" + more},
		{"-i eth0 -G 1", "-C, -G and -W: no file is written (-w names it)" + more},
		{"-i eth0 -W 1", "-C, -G and -W: no file is written (-w names it)" + more},
		{"-i eth0 --print", "--print: frames are printed anyway" + more},
		{"-i eth0 -w - --json", "-w -: standard output has the frames, and no room for lines" + more},
		{"-i eth0 -w - --print", "-w -: standard output has the frames, and no room for lines" + more},
		{"-i eth0 --json -e", "--json has all that -e and -v show" + more},
		{"-i eth0 -w f -W 2", "-W: there is one file (-C or -G make several)"},
		{"-i eth0 -w - -C 2", "-w -: standard output is one file (-C and -G make several)"},
		{"-i eth0 --write= -c 1", `invalid argument "" for "-w, --write" flag: no name of a file` + more},
		{"--read=", `invalid argument "" for "-r, --read" flag: no name of a file` + more},
		{"-i eth0 -c 0", `invalid argument "0" for "-c, --count" flag: not a number from 1 to 9223372036854775807` + more},
		{"-i eth0 -s 262145", `invalid argument "262145" for "-s, --snaplen" flag: not a number from 0 to 262144` + more},
		{"-i eth0 -Q up", `invalid argument "up" for "-Q, --direction" flag: not one of in, out and inout` + more},
		{"-i nosuch0", `no interface "nosuch0" (there is `},
		{"", "no interface given: -i names it (there is "},
		{"-i lo tcp port 80 host 198.51.100.1", "filter \"tcp port 80 host 198.51.100.1\": at 13, \"host\": \"and\" or \"or\" is missing\n" +
			"tcp port 80 host 198.51.100.1\n            ^^^^"},
		{"-i lo -X", "unknown shorthand flag: 'X' in -X (-x prints the bytes as hex and as text)"},
		{"-i lo -nnXX", "unknown shorthand flag: 'X' in -XX (-x prints the bytes as hex and as text)"},
		{"-i lo tcp prot 80", "filter \"tcp prot 80\": at 5, \"prot\": unknown word (did you mean \"port\"?)\ntcp prot 80\n    ^^^^"},
		{"-r " + wordsFile + " tcp and udp", "filter \"tcp and udp\": at 1, \"tcp and udp\": no frame can pass it\ntcp and udp\n^^^^^^^^^^^"},
		{"-r " + wordsFile + " inbound", ""},
	} {
		var stdout, stderr string
		var exit int
		if err := ns.Do(func() error {
			stdout, stderr, exit = runCapture(t, "", strings.Fields(tt.args)...)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if exit != exitError || stdout != "" || !strings.HasPrefix(stderr, "l2ping: "+tt.want) ||
			!strings.HasSuffix(tt.want, "is ") && tt.want != "" && stderr != "l2ping: "+tt.want+"\n" {
			t.Errorf("%s: exit status %d\n%s%swant %s", tt.args, exit, stdout, stderr, tt.want)
		}
	}
}

func TestInterruption(t *testing.T) {
	var i interruption
	if i.take() {
		t.Error("nobody has asked")
	}
	i.ask()
	ended := 0
	i.arm(func() { ended++ })
	if ended != 1 || !i.take() || i.take() {
		t.Errorf("ended %d times", ended)
	}
	i.arm(func() { ended++ })
	i.ask()
	i.ask()
	if ended != 3 || !i.take() {
		t.Errorf("ended %d times", ended)
	}
}
