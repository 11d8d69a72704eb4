//go:build interop && linux

package interop

import (
	"bytes"
	"os"
	"path/filepath"
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

// tshark reads every option that we write, and finds nothing wrong.
func TestTsharkReadsPcapng(t *testing.T) {
	tshark := program(t, "tshark")
	path := filepath.Join(t.TempDir(), "all.pcapng")
	file, err := os.Create(path)
	must(t, err)
	w, err := pcapng.NewWriter(file, &pcapng.Config{Application: "l2ping", OS: "Linux", Hardware: "a machine", Comment: "of the file"}, pcapng.Interface{
		Name: "eth0", Description: "the wire", Filter: "arp", OS: "Linux", Comment: "of the interface",
		MAC: frame.MAC{0x02, 0, 0x5e, 0, 0x53, 1}, Speed: 10_000_000_000, SnapLen: 262144, LinkType: pcapng.LinkEthernet,
	})
	must(t, err)
	const at = 1_700_000_000_000_000_001
	for i, o := range []struct {
		frame   l2capture.Frame
		options pcapng.Options
	}{
		{l2capture.Frame{PacketType: l2capture.PacketHost}, pcapng.Options{Comment: "größer"}},
		{l2capture.Frame{PacketType: l2capture.PacketBroadcast}, pcapng.Options{PacketID: 1<<40 + 7}},
		{l2capture.Frame{PacketType: l2capture.PacketMulticast}, pcapng.Options{Dropped: 9}},
		{l2capture.Frame{PacketType: l2capture.PacketOtherHost, Length: 1514}, pcapng.Options{Comment: "all", PacketID: 2, Dropped: 3}},
		{l2capture.Frame{PacketType: l2capture.PacketOutgoing, VLAN: l2capture.VLAN{Present: true, Type: frame.EtherTypeQinQ, TCI: 0x6005}}, pcapng.Options{}},
		{l2capture.Frame{}, pcapng.Options{}},
	} {
		f := o.frame
		f.Data, f.Arrival = arpRequest(byte(i+1)), at+int64(i)
		must(t, w.Write(&f, &o.options))
	}
	must(t, w.WriteStatistics(0, pcapng.Statistics{Start: at, End: at + 9, Received: 15, Dropped: 9, Captured: 6}))
	must(t, w.Flush())
	must(t, file.Close())

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
1700000000.000000001|60|60|eth0|the wire|0x00000001|1|größer||||198.51.100.1||größer
1700000000.000000002|60|60|eth0|the wire|0x00000001|3||1099511627783|||198.51.100.2||
1700000000.000000003|60|60|eth0|the wire|0x00000001|2|||9||198.51.100.3||
1700000000.000000004|1514|60|eth0|the wire|0x00000001|4|all|2|3||198.51.100.4||all
1700000000.000000005|64|64|eth0|the wire|0x00000002|0||||5|198.51.100.5||
1700000000.000000006|60|60|eth0|the wire|||||||198.51.100.6||
`[1:] // a comment is expert information too
	if o.exit != 0 || !onlyRoot(o.stderr) || o.stdout != want {
		t.Errorf("%v\nwant\n%s", o, want)
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
