//go:build interop && linux

package interop

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	l2capture "github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// arpRequest is a frame that tshark has nothing to say against, padded as Ethernet
// wants it, with a last byte of its own.
func arpRequest(last byte) []byte {
	b := []byte{
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0x5e, 0, 0x53, 2, 0x08, 0x06,
		0, 1, 8, 0, 6, 4, 0, 1, 0x02, 0, 0x5e, 0, 0x53, 2, 198, 51, 100, 2, 0, 0, 0, 0, 0, 0, 198, 51, 100, last,
	}
	return append(b, make([]byte, 60-len(b))...)
}

// fileTime is when the first frame of a file was captured. A later one is so much
// later that float64 holds its microseconds.
const (
	fileTime = 1_700_000_000_015_625_000
	fileStep = 15_625_000
)

// writePcapng writes a file with all that there is to write. comment makes one of a
// text; nil is none.
func writePcapng(t *testing.T, comment func(text string) string) (path string, frames []l2capture.Frame) {
	t.Helper()
	if comment == nil {
		comment = func(string) string { return "" }
	}
	path = filepath.Join(t.TempDir(), "all.pcapng")
	file, err := os.Create(path)
	must(t, err)
	w, err := pcapng.NewWriter(file, &pcapng.Config{Application: "l2ping", OS: "Linux", Hardware: "a machine", Comment: comment("of the file")}, pcapng.Interface{
		Name: "eth0", Description: "the wire", Filter: "arp", OS: "Linux", Comment: comment("of the interface"),
		MAC: frame.MAC{0x02, 0, 0x5e, 0, 0x53, 1}, Speed: 10_000_000_000, SnapLen: 262144, LinkType: pcapng.LinkEthernet,
	})
	must(t, err)
	for i, o := range []struct {
		frame   l2capture.Frame
		options pcapng.Options
	}{
		{l2capture.Frame{PacketType: l2capture.PacketHost}, pcapng.Options{Comment: comment("größer")}},
		{l2capture.Frame{PacketType: l2capture.PacketBroadcast}, pcapng.Options{PacketID: 1<<40 + 7}},
		{l2capture.Frame{PacketType: l2capture.PacketMulticast}, pcapng.Options{Dropped: 9}},
		{l2capture.Frame{PacketType: l2capture.PacketOtherHost, Length: 1514}, pcapng.Options{Comment: comment("all"), PacketID: 2, Dropped: 3}},
		{l2capture.Frame{PacketType: l2capture.PacketOutgoing, VLAN: l2capture.VLAN{Present: true, Type: frame.EtherTypeQinQ, TCI: 0x6005}}, pcapng.Options{}},
		{l2capture.Frame{}, pcapng.Options{}},
	} {
		f := o.frame
		f.Data, f.Arrival = arpRequest(byte(i+1)), fileTime+int64(i)*fileStep+int64(i)
		must(t, w.Write(&f, &o.options))
		f.Data = tagged(&f)
		f.Length, f.VLAN = max(f.Length, len(f.Data)), l2capture.VLAN{}
		frames = append(frames, f)
	}
	must(t, w.WriteStatistics(0, pcapng.Statistics{Start: fileTime, End: fileTime + 9, Received: 15, Dropped: 9, Captured: 6}))
	must(t, w.Flush())
	must(t, file.Close())
	return path, frames
}

// asItIs is a comment as it is, and ended one that ends its line.
func asItIs(text string) string { return text }
func ended(text string) string  { return text + "\n" }

// tshark reads every option that we write, and finds nothing wrong.
func TestTsharkReadsPcapng(t *testing.T) {
	t.Parallel()
	tshark := program(t, "tshark")
	path, _ := writePcapng(t, asItIs)
	names := []string{
		"frame.time_epoch", "frame.len", "frame.cap_len", "frame.interface_name", "frame.interface_description",
		"frame.packet_flags_direction", "frame.packet_flags_reception_type", "frame.comment", "frame.packet_id",
		"frame.drop_count", "ieee8021ad.id", "arp.dst.proto_ipv4", "_ws.malformed", "_ws.expert.message",
	}
	args := []string{"-n", "-r", path, "-T", "fields", "-E", "separator=|"}
	for _, name := range names {
		args = append(args, "-e", name)
	}
	o := run(t, nil, "", tshark, args...)
	want := `
1700000000.015625000|60|60|eth0|the wire|0x00000001|1|größer||||198.51.100.1||größer
1700000000.031250001|60|60|eth0|the wire|0x00000001|3||1099511627783|||198.51.100.2||
1700000000.046875002|60|60|eth0|the wire|0x00000001|2|||9||198.51.100.3||
1700000000.062500003|1514|60|eth0|the wire|0x00000001|4|all|2|3||198.51.100.4||all
1700000000.078125004|64|64|eth0|the wire|0x00000002|0||||5|198.51.100.5||
1700000000.093750005|60|60|eth0|the wire|||||||198.51.100.6||
`[1:] // a comment is expert information too
	if o.exit != 0 || !onlyRoot(o.stderr) || o.stdout != want {
		t.Errorf("%v\nwant\n%s", o, want)
	}
}

// tshark takes the file itself apart: block by block, and each of their options.
func TestTsharkReadsBlocks(t *testing.T) {
	t.Parallel()
	path, _ := writePcapng(t, asItIs)
	o := run(t, nil, "", program(t, "tshark"), "-r", path, "-X", "read_format:MIME Files Format", "-V")
	var got []string
	for line := range strings.Lines(o.stdout) {
		line = strings.TrimSpace(line)
		switch name, value, _ := strings.Cut(line, ": "); name {
		case "Block", "Option", "Flags", "MAC Address", "Section Length", "Snap Length", "Filter type", "Filter string", "[Timestamp",
			"Number of Accepted by Filter Packets", "Number of Dropped Packets by OS", "Number of Delivered to the User Packets":
			got = append(got, strings.TrimSuffix(name+": "+value, ": "))
		default:
			if strings.Contains(line, "Malformed") || strings.Contains(line, "Expert") {
				t.Error(line)
			}
		}
	}
	want := strings.Split(strings.TrimSpace(`
Block: Section Header Block 1
Section Length: -1
Option: Hardware Description = a machine
Option: OS Description = Linux
Option: User Application = l2ping
Option: Comment = of the file
Option: End of Options
Block: Interface Description Block 0
Snap Length: 262144
Option: Interface Name = eth0
Option: Interface Description = the wire
Option: MAC Address = 02:00:5e:00:53:01
MAC Address: 02:00:5e:00:53:01 (02:00:5e:00:53:01)
Option: Speed = 10000000000
Option: Timestamp Resolution = 10^-9 (nanoseconds)
Option: Filter = arp
Filter type: libpcap string (0)
Filter string: arp
Option: OS = Linux
Option: Comment = of the interface
Option: End of Options
Block: Enhanced Packet Block 1
[Timestamp: Nov 14, 2023 22:13:20.015625000 UTC]
Option: Comment = größer
Option: Flags
Flags: 0x0005, Reception Type: Unicast, Direction: Inbound
Option: End of Options
Block: Enhanced Packet Block 2
[Timestamp: Nov 14, 2023 22:13:20.031250001 UTC]
Option: Flags
Flags: 0x000d, Reception Type: Broadcast, Direction: Inbound
Option: Packet ID = 0x0000010000000007
Option: End of Options
Block: Enhanced Packet Block 3
[Timestamp: Nov 14, 2023 22:13:20.046875002 UTC]
Option: Flags
Flags: 0x0009, Reception Type: Multicast, Direction: Inbound
Option: Drop Count = 9
Option: End of Options
Block: Enhanced Packet Block 4
[Timestamp: Nov 14, 2023 22:13:20.062500003 UTC]
Option: Comment = all
Option: Flags
Flags: 0x0011, Reception Type: Promiscuous, Direction: Inbound
Option: Drop Count = 3
Option: Packet ID = 0x0000000000000002
Option: End of Options
Block: Enhanced Packet Block 5
[Timestamp: Nov 14, 2023 22:13:20.078125004 UTC]
Option: Flags
Flags: 0x0002, Reception Type: Not Specified, Direction: Outbound
Option: End of Options
Block: Enhanced Packet Block 6
[Timestamp: Nov 14, 2023 22:13:20.093750005 UTC]
Block: Interface Statistics Block
[Timestamp: Nov 14, 2023 22:13:20.015625009 UTC]
Option: Start Time
Option: End Time
Option: Number of Accepted Packets = 15
Number of Accepted by Filter Packets: 15
Option: Number of Packets Dropped by OS = 9
Number of Dropped Packets by OS: 9
Option: Number of Packets Delivered to the User = 6
Number of Delivered to the User Packets: 6
Option: End of Options
`), "\n")
	if o.exit != 0 || !onlyRoot(o.stderr) || !slices.Equal(got, want) {
		t.Errorf("%s\n%s\nwant\n%s", o.stderr, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// readByScapy prints of the frames of files their times in nanoseconds, lengths on
// the wire, bytes, and comments in hexadecimal, without the end of their line.
const readByScapy = `
import logging, sys
logging.getLogger("scapy").setLevel(logging.CRITICAL) # of this machine's interfaces
from scapy.all import rdpcap
logging.getLogger("scapy").setLevel(logging.WARNING)
for path in sys.argv[1:]:
    for p in rdpcap(path):
        print(int(p.time * 1000000000), p.wirelen, p.original.hex(), (p.comment or b"").rstrip(b"\n").hex())
`

// scapy reads of our files the frames, their times to the nanosecond, and comments.
// It has no word for the rest.
func TestScapyReadsPcapng(t *testing.T) {
	t.Parallel()
	python := program(t, debianPython)
	lines := func(frames []l2capture.Frame, comments ...string) string {
		var b strings.Builder
		comments = append(comments, make([]string, len(frames))...)
		for i, f := range frames {
			fmt.Fprintf(&b, "%d %d %x %x\n", f.Arrival, f.Length, f.Data, comments[i])
		}
		return b.String()
	}
	plain, frames := writePcapng(t, nil)
	lined, _ := writePcapng(t, ended)
	want := lines(frames) + lines(frames, "größer", "", "", "all")
	if o := run(t, nil, "", python, "-c", readByScapy, plain, lined); o.exit != 0 || o.stderr != "" || o.stdout != want {
		t.Errorf("%v\nwant\n%s", o, want)
	}

	// Before its 2.6 scapy takes no comment but one that ends its line, and warns of
	// others. Nothing asks for that: it was a bug (secdev/scapy #4021).
	commented, _ := writePcapng(t, asItIs)
	o := run(t, nil, "", python, "-c", readByScapy, commented)
	want = lines(frames, "größer", "", "", "all")
	if strings.Contains(o.stderr, "invalid comment option") {
		want = lines(frames)
		o.stderr = invalidComment.ReplaceAllString(o.stderr, "")
	}
	if o.exit != 0 || o.stderr != "" || o.stdout != want {
		t.Errorf("%v\nwant\n%s", o, want)
	}
}

var invalidComment = regexp.MustCompile(`(?m)^(more )?WARNING: (more )?PcapNg: invalid comment option\n`)

// writtenByScapy writes frames, of which each line has the time in nanoseconds and
// the bytes, to files in a directory.
const writtenByScapy = `
import logging, sys
logging.getLogger("scapy").setLevel(logging.CRITICAL)
from scapy.all import Ether, EDecimal, PcapNgWriter, wrpcap, wrpcapng
logging.getLogger("scapy").setLevel(logging.WARNING)
frames = []
for line in sys.stdin:
    time, data = line.split()
    p = Ether(bytes.fromhex(data))
    p.time = EDecimal(time) / 1000000000
    frames.append(p)
for order in "<>":
    for nano in (False, True):
        for gz in (False, True):
            name = "%s/%s-%s%s.pcap" % (sys.argv[1], {"<": "little", ">": "big"}[order], {False: "micro", True: "nano"}[nano], {False: "", True: "-gz"}[gz])
            wrpcap(name, frames, endianness=order, nano=nano, gz=gz)
frames[1].comment = b"of scapy"
wrpcapng(sys.argv[1] + "/little-micro.pcapng", frames)
with PcapNgWriter(sys.argv[1] + "/big-micro.pcapng") as w:
    w.endian, w.endian_magic = ">", b"\x1a\x2b\x3c\x4d"
    w.write(frames)
`

// What scapy and tcpdump have written, we read: of microseconds and nanoseconds,
// and of both byte orders, of which tcpdump writes its own machine's alone.
func TestReadScapyAndTcpdump(t *testing.T) {
	t.Parallel()
	tcpdump := program(t, "tcpdump")
	path, frames := writePcapng(t, asItIs)
	dir := t.TempDir()
	var list strings.Builder
	for _, f := range frames {
		fmt.Fprintf(&list, "%d %x\n", f.Arrival, f.Data)
	}
	if o := run(t, nil, list.String(), program(t, debianPython), "-c", writtenByScapy, dir); o.exit != 0 || o.stderr != "" {
		t.Fatal(o)
	}
	for _, precision := range []string{"micro", "nano"} {
		if o := run(t, nil, "", tcpdump, "-r", path, "--time-stamp-precision="+precision, "-w", filepath.Join(dir, "tcpdump-"+precision+".pcap")); o.exit != 0 {
			t.Error(o)
		}
	}
	magics := map[string]string{
		"little-micro.pcap": "d4c3b2a1", "big-micro.pcap": "a1b2c3d4", "little-nano.pcap": "4d3cb2a1", "big-nano.pcap": "a1b23c4d",
		"little-micro-gz.pcap": "1f8b08", "big-micro-gz.pcap": "1f8b08", "little-nano-gz.pcap": "1f8b08", "big-nano-gz.pcap": "1f8b08",
		"little-micro.pcapng": "0a0d0d0a1c0000004d3c2b1a", "big-micro.pcapng": "0a0d0d0a0000001c1a2b3c4d",
		"tcpdump-micro.pcap": "", "tcpdump-nano.pcap": "",
	}
	for name, magic := range magics {
		b, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		if !strings.HasPrefix(fmt.Sprintf("%x", b), magic) {
			t.Errorf("%s begins with % x, want %s", name, b[:12], magic)
		}
		r, err := pcapng.NewReader(bytes.NewReader(b))
		must(t, err)
		i := 0
		for f, err := range r.Frames() {
			must(t, err)
			if i == len(frames) {
				t.Fatalf("%s: more than %d frames", name, i)
			}
			want := frames[i].Arrival
			if strings.Contains(name, "micro") {
				want -= want % 1000
			}
			length := len(frames[i].Data) // scapy takes what is there for all
			if strings.HasPrefix(name, "tcpdump") {
				length = frames[i].Length
			}
			comment := ""
			if strings.HasSuffix(name, "ng") && i == 1 {
				comment = "of scapy\n" // which it ends
			}
			if f.Arrival != want || f.Length != length || !bytes.Equal(f.Data, frames[i].Data) || f.LinkType != pcapng.LinkEthernet || strings.Join(f.Comments, "|") != comment {
				t.Errorf("%s: frame %d is %+v,\nwant %+v at %d, %d bytes, %q", name, i, f, frames[i], want, length, comment)
			}
			i++
		}
		if i != len(frames) {
			t.Errorf("%s: %d frames, want %d", name, i, len(frames))
		}
	}
}

// tcpdump and a Ring beside it capture the same frames, tags and all, in one order:
// what is read back of tcpdump's file is what is read back of ours; and tcpdump
// prints of ours what it prints of its own.
func TestRingBesideTcpdump(t *testing.T) {
	tcpdump := program(t, "tcpdump")
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	dir := t.TempDir()
	theirs, ours := filepath.Join(dir, "tcpdump.pcap"), filepath.Join(dir, "ring.pcapng")

	file, err := os.Create(ours)
	must(t, err)
	defer file.Close()
	var (
		ring   *l2capture.Ring
		writer *pcapng.Writer
		fd     int
	)
	must(t, pair.Near.Do(func() error {
		ifc, err := l2.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		if ring, err = l2capture.Open(ifc, nil); err != nil {
			return err
		}
		writer, err = pcapng.NewWriter(file, nil, pcapng.InterfaceOf(ifc))
		return err
	}))
	defer ring.Close()
	capture := startCapture(t, pair.Near, tcpdump, theirs)

	must(t, pair.Far.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		index, err := pair.Far.Index("eth0")
		if err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index})
	}))
	defer unix.Close(fd)
	var sent [][]byte
	for i := range 60 {
		b := arpRequest(byte(100 + i))
		for range i % 3 { // tags
			b = slices.Insert(b, 12, 0x81, 0, 0x60, byte(i))
		}
		sent = append(sent, b)
		must(t, unix.Send(fd, b, 0))
		// The next may take another CPU's backlog, and overtake.
		for f, err := range ring.Frames(t.Context()) {
			must(t, err)
			must(t, writer.Write(&f, nil))
			break
		}
	}
	capture.wait(t, pair.FarMAC, len(sent), 0)
	capture.end(t)
	must(t, writer.Flush())

	read := func(path string) (all [][]byte) {
		file, err := os.Open(path)
		must(t, err)
		defer file.Close()
		r, err := pcapng.NewReader(file)
		must(t, err)
		for f, err := range r.Frames() {
			must(t, err)
			if f.Length != len(f.Data) || f.LinkType != pcapng.LinkEthernet || f.Arrival == 0 {
				t.Errorf("%s: %+v", path, f)
			}
			all = append(all, bytes.Clone(f.Data))
		}
		return all
	}
	for _, path := range []string{theirs, ours} {
		if got := read(path); !slices.EqualFunc(got, sent, bytes.Equal) {
			t.Errorf("%s: %d frames\n% x\nwant %d\n% x", path, len(got), got, len(sent), sent)
		}
	}
	prints := func(path string) string {
		o := run(t, nil, "", tcpdump, "-n", "-t", "-e", "-r", path)
		if o.exit != 0 || strings.Count(o.stdout, "\n") != len(sent) {
			t.Errorf("%v", o)
		}
		return o.stdout
	}
	if a, b := prints(theirs), prints(ours); a != b {
		t.Errorf("of its own:\n%s\nof ours:\n%s", a, b)
	}
}

// onlyRoot tells whether tshark said nothing but that it should not be root's.
func onlyRoot(stderr string) bool {
	said := strings.TrimSpace(stderr)
	return said == "" || !strings.Contains(said, "\n") && strings.Contains(said, "Running as user")
}
