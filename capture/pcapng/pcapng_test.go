package pcapng

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2/frame"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var (
	testConfig    = Config{Application: "l2ping test", OS: "Linux 6.18", Hardware: "a machine", Comment: "of the file"}
	testInterface = Interface{
		Name: "eth0", Description: "the wire", Filter: "icmp or arp", OS: "Linux", Comment: "of the interface",
		SnapLen: 262144, LinkType: LinkEthernet,
	}
)

const testTime = 1_700_000_000_123_456_789

// data is an Ethernet frame without meaning.
func data(n int) []byte {
	b := []byte{0x02, 0, 0x5e, 0, 0x53, 1, 0x02, 0, 0x5e, 0, 0x53, 2, 0x88, 0xb5}
	for i := len(b); i < n; i++ {
		b = append(b, byte(i))
	}
	return b[:n]
}

// everything is frames and options that use all there is.
func everything() (frames []capture.Frame, all []Options) {
	add := func(f capture.Frame, o Options) {
		f.Length = max(f.Length, len(f.Data))
		frames, all = append(frames, f), append(all, o)
	}
	for i, t := range []capture.PacketType{
		capture.PacketUnknown, capture.PacketHost, capture.PacketBroadcast, capture.PacketMulticast, capture.PacketOtherHost, capture.PacketOutgoing,
	} {
		add(capture.Frame{Data: data(60 + i), Arrival: testTime + int64(i), PacketType: t}, Options{})
	}
	add(capture.Frame{Data: data(60), Length: 1500, Arrival: testTime}, Options{Comment: "one"})
	add(capture.Frame{Data: data(14), Arrival: testTime, PacketType: capture.PacketHost}, Options{Comment: "größer", PacketID: 1})
	add(capture.Frame{Data: data(13), Arrival: testTime}, Options{PacketID: 1 << 63})
	add(capture.Frame{Data: data(1), Arrival: 1}, Options{Dropped: 7})
	add(capture.Frame{Data: []byte{}, Arrival: testTime}, Options{Comment: strings.Repeat("x", 65535), PacketID: 2, Dropped: 3, Interface: 1})
	add(capture.Frame{Data: data(200_000), Arrival: testTime, PacketType: capture.PacketOutgoing}, Options{Comment: "long"})
	return frames, all
}

func write(t testing.TB, frames []capture.Frame, all []Options) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, &testConfig, testInterface)
	must(t, err)
	id, err := w.AddInterface(Interface{Name: "tun0", LinkType: LinkRaw})
	if must(t, err); id != 1 {
		t.Fatalf("interface %d", id)
	}
	for i := range frames {
		must(t, w.Write(&frames[i], &all[i]))
	}
	must(t, w.WriteStatistics(0, Statistics{Start: testTime, End: testTime + 1e9, Received: 10, Dropped: 3, Captured: 7}))
	must(t, w.Flush())
	return out.Bytes()
}

// readAll reads frames, with data of their own, and what they end with.
func readAll(r *Reader) (all []Frame, err error) {
	for f, err := range r.Frames() {
		if err != nil {
			return all, err
		}
		f.Data = bytes.Clone(f.Data)
		all = append(all, f)
	}
	return all, nil
}

func TestRoundTrip(t *testing.T) {
	frames, options := everything()
	r, err := NewReader(bytes.NewReader(write(t, frames, options)))
	must(t, err)
	if got := r.Header(); got != testConfig {
		t.Errorf("%+v", got)
	}
	got, err := readAll(r)
	must(t, err)
	if len(got) != len(frames) {
		t.Fatalf("%d frames, want %d", len(got), len(frames))
	}
	for i, f := range got {
		o := options[i]
		want := Frame{
			Frame: frames[i], Interface: o.Interface, LinkType: []LinkType{LinkEthernet, LinkRaw}[o.Interface],
			Direction: frames[i].PacketType.Direction(), PacketID: o.PacketID, Dropped: o.Dropped,
		}
		if o.Comment != "" {
			want.Comments = []string{o.Comment}
		}
		want.Data, f.Data = append([]byte{}, want.Data...), append([]byte{}, f.Data...)
		if !reflect.DeepEqual(f, want) {
			t.Errorf("frame %d: %+v\nwant %+v", i, f, want)
		}
	}
	if got, want := r.Interfaces(), []Interface{testInterface, {Name: "tun0", LinkType: LinkRaw}}; !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	// At the end, Frames has nothing more.
	if more, err := readAll(r); len(more) != 0 || err != nil {
		t.Errorf("%d frames more, %v", len(more), err)
	}
}

// A tag is put back behind the MACs, where there are any; what is cut stays within
// the snap length.
func TestWriteTags(t *testing.T) {
	whole := data(60)
	tagged := slices.Concat(whole[:12], []byte{0x88, 0xa8, 0x60, 0x64}, whole[12:])
	tag := capture.VLAN{Present: true, Type: frame.EtherTypeQinQ, TCI: 0x6064}
	for _, tt := range []struct {
		name    string
		frame   capture.Frame
		snapLen int
		link    LinkType
		want    []byte
		length  int
	}{
		{"none", capture.Frame{Data: whole}, 0, LinkEthernet, whole, 60},
		{"whole", capture.Frame{Data: whole, VLAN: tag}, 0, LinkEthernet, tagged, 64},
		{"cut", capture.Frame{Data: whole[:30], Length: 60, VLAN: tag}, 0, LinkEthernet, tagged[:34], 64},
		{"cut to the snap length", capture.Frame{Data: whole, VLAN: tag}, 60, LinkEthernet, tagged[:60], 64},
		{"cut in the tag", capture.Frame{Data: whole, VLAN: tag}, 13, LinkEthernet, tagged[:13], 64},
		{"cut in the MACs", capture.Frame{Data: whole, VLAN: tag}, 5, LinkEthernet, tagged[:5], 64},
		{"no MACs", capture.Frame{Data: whole[:11], Length: 60, VLAN: tag}, 0, LinkEthernet, whole[:11], 60},
		{"MACs alone", capture.Frame{Data: whole[:12], Length: 60, VLAN: tag}, 0, LinkEthernet, tagged[:16], 64},
		{"no link layer", capture.Frame{Data: whole, VLAN: tag}, 0, LinkRaw, whole, 60},
	} {
		var out bytes.Buffer
		w, err := NewWriter(&out, nil, Interface{LinkType: tt.link, SnapLen: tt.snapLen})
		must(t, err)
		must(t, w.Write(&tt.frame, nil))
		must(t, w.Flush())
		r, err := NewReader(&out)
		must(t, err)
		got, err := readAll(r)
		if err != nil || len(got) != 1 || !bytes.Equal(got[0].Data, tt.want) || got[0].Length != tt.length {
			t.Errorf("%s: %v\n%+v, want %d bytes\n% x", tt.name, err, got, tt.length, tt.want)
		}
	}
}

// The NIC's stamp is taken where there is no other.
func TestWriteStamps(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, nil, testInterface)
	must(t, err)
	must(t, w.Write(&capture.Frame{Data: data(60), Hardware: 42}, nil))
	must(t, w.Write(&capture.Frame{Data: data(60), Hardware: 42, Arrival: testTime}, nil))
	must(t, w.Flush())
	r, err := NewReader(&out)
	must(t, err)
	if got, err := readAll(r); err != nil || len(got) != 2 || got[0].Arrival != 42 || got[1].Arrival != testTime {
		t.Errorf("%+v, %v", got, err)
	}
}

// blocks takes a file apart, and checks that each block is framed as it should be.
func blocks(t testing.TB, file []byte) map[uint32][][]byte {
	t.Helper()
	all := map[uint32][][]byte{}
	for len(file) > 0 {
		n := binary.LittleEndian.Uint32(file[4:])
		if n%4 != 0 || int(n) > len(file) || binary.LittleEndian.Uint32(file[n-4:]) != n {
			t.Fatalf("a block of %d bytes, % x", n, file[:12])
		}
		code := binary.LittleEndian.Uint32(file)
		all[code] = append(all[code], file[8:n-4])
		file = file[n:]
	}
	return all
}

// optionsOf reads a block's options.
func optionsOf(t testing.TB, b []byte) map[uint16]string {
	t.Helper()
	all := map[uint16]string{}
	for {
		code, n := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		if code == 0 {
			if len(b) != 4 || n != 0 {
				t.Fatalf("behind the options: % x", b)
			}
			return all
		}
		all[code] = string(b[4:][:n])
		b = b[4+(n+3)&^3:]
	}
}

// What pcapgo does not read is where the format has it.
func TestWriteFacts(t *testing.T) {
	var out bytes.Buffer
	ifc := testInterface
	ifc.MAC, ifc.Speed = frame.MAC{0x02, 0, 0x5e, 0, 0x53, 1}, 10_000_000_000
	w, err := NewWriter(&out, nil, ifc)
	must(t, err)
	must(t, w.WriteStatistics(0, Statistics{Start: 1<<32 + 2, End: 3<<32 + 4, Received: 10, Dropped: 3, Captured: 7}))
	from := time.Now().UnixNano()
	must(t, w.WriteStatistics(0, Statistics{}))
	must(t, w.Flush())
	all := blocks(t, out.Bytes())
	number := func(n ...uint32) string {
		var b []byte
		for _, n := range n {
			b = binary.LittleEndian.AppendUint32(b, n)
		}
		return string(b)
	}
	got := optionsOf(t, all[blockInterface][0][8:])
	for code, want := range map[uint16]string{
		1: "of the interface", 2: "eth0", 3: "the wire", 6: "\x02\x00\x5e\x00\x53\x01", 8: number(1410065408, 2), 9: "\x09", 11: "\x00icmp or arp", 12: "Linux",
	} {
		if got[code] != want {
			t.Errorf("option %d is %q, want %q", code, got[code], want)
		}
		delete(got, code)
	}
	if len(got) != 0 {
		t.Errorf("options besides: %v", got)
	}
	st := all[blockStatistics]
	if string(st[0][:12]) != number(0, 3, 4) {
		t.Errorf("% x", st[0][:12])
	}
	if got, want := fmt.Sprint(optionsOf(t, st[0][12:])), fmt.Sprint(map[uint16]string{
		2: number(1, 2), 3: number(3, 4), 6: number(10, 0), 7: number(3, 0), 8: number(7, 0),
	}); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	at := int64(binary.LittleEndian.Uint32(st[1][4:]))<<32 | int64(binary.LittleEndian.Uint32(st[1][8:]))
	if at < from || at > time.Now().UnixNano() || len(optionsOf(t, st[1][12:])) != 3 {
		t.Errorf("at %d: % x", at, st[1])
	}
}

// Nothing that is not known is written.
func TestWriteNothing(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, nil, Interface{LinkType: LinkEthernet})
	must(t, err)
	must(t, w.Write(&capture.Frame{Data: data(60)}, nil))
	must(t, w.Flush())
	all := blocks(t, out.Bytes())
	if got := optionsOf(t, all[blockInterface][0][8:]); len(got) != 1 || len(all[blockSection][0]) != 16 || len(all[blockPacket][0]) != 20+60 {
		t.Errorf("%d, %d, %v", len(all[blockSection][0]), len(all[blockPacket][0]), got)
	}
}

type failing struct {
	room int
	err  error
}

func (f *failing) Write(b []byte) (int, error) {
	n := min(len(b), f.room)
	f.room -= n
	if n < len(b) {
		return n, f.err
	}
	return n, nil
}

func TestWriteErrors(t *testing.T) {
	full := errors.New("disk full")
	for _, out := range []*failing{{0, full}, {1 << 20, full}, {1 << 20, nil}} {
		want := out.err
		if want == nil {
			want = io.ErrShortWrite
		}
		w, err := NewWriter(out, nil, testInterface)
		must(t, err)
		f := capture.Frame{Data: data(1500)}
		for range 3000 {
			if err = w.Write(&f, nil); err != nil {
				break
			}
		}
		if !errors.Is(err, want) || !strings.HasPrefix(err.Error(), "write pcapng: ") {
			t.Errorf("Write: %v", err)
		}
		if again := w.Write(&f, nil); again != err {
			t.Errorf("Write again: %v", again)
		}
		if again := w.Flush(); again != err {
			t.Errorf("Flush: %v", again)
		}
	}
	w, err := NewWriter(io.Discard, nil, testInterface)
	must(t, err)
	long := strings.Repeat("x", 65536)
	_, unlinked := w.AddInterface(Interface{Name: "lo0"})
	_, negative := w.AddInterface(Interface{Name: "eth1", LinkType: LinkEthernet, SnapLen: -1})
	_, named := w.AddInterface(Interface{Name: "eth2", Comment: long, LinkType: LinkEthernet})
	_, header := NewWriter(io.Discard, &Config{Comment: long}, testInterface)
	_, first := NewWriter(io.Discard, nil, Interface{Name: "eth3"})
	for want, err := range map[string]error{
		"write frame: interface 1: there are 1":                              w.Write(&capture.Frame{}, &Options{Interface: 1}),
		"write frame: interface -1: there are 1":                             w.Write(&capture.Frame{}, &Options{Interface: -1}),
		"write frame: a comment of 65536 bytes: not within 0 to 65535":       w.Write(&capture.Frame{}, &Options{Comment: long}),
		"write statistics: interface 1: there are 1":                         w.WriteStatistics(1, Statistics{}),
		"write interface lo0: no link type":                                  unlinked,
		"write interface eth3: no link type":                                 first,
		"write interface eth1: snap length -1: not within 0 to 2147483647":   negative,
		"write interface eth2: a text of 65536 bytes: not within 0 to 65535": named,
		"write pcapng header: a text of 65536 bytes: not within 0 to 65535":  header,
	} {
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestWriteAllocates(t *testing.T) {
	w, err := NewWriter(io.Discard, nil, testInterface)
	must(t, err)
	f := capture.Frame{Data: data(1000), PacketType: capture.PacketHost, VLAN: capture.VLAN{Present: true, Type: frame.EtherTypeVLAN, TCI: 5}}
	o := Options{Comment: "a comment", PacketID: 1, Dropped: 1}
	if n := testing.AllocsPerRun(1000, func() {
		if err := errors.Join(w.Write(&f, nil), w.Write(&f, &o)); err != nil {
			panic(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a frame, want 0", n)
	}
}

// A file that is cut off anywhere yields what is whole, then says so.
func TestReadCut(t *testing.T) {
	frames, options := everything()
	frames, options = frames[:10], options[:10]
	ng := write(t, frames, options)
	ends := map[int]bool{} // of blocks
	for at := 0; at < len(ng); {
		at += int(binary.LittleEndian.Uint32(ng[at+4:]))
		ends[at] = true
	}
	pcap := writePcap(t, binary.LittleEndian, true, frames)
	pcapEnds := map[int]bool{24: true}
	for at := 24; at < len(pcap); {
		at += 16 + int(binary.LittleEndian.Uint32(pcap[at+8:]))
		pcapEnds[at] = true
	}
	for _, file := range []struct {
		name  string
		bytes []byte
		ends  map[int]bool
	}{{"pcapng", ng, ends}, {"pcap", pcap, pcapEnds}} {
		last := 0
		for n := 1; n < len(file.bytes); n++ {
			r, err := NewReader(bytes.NewReader(file.bytes[:n]))
			var got []Frame
			if err == nil {
				got, err = readAll(r)
			}
			if whole := file.ends[n]; whole != (err == nil) || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%s cut to %d bytes, between blocks: %v: %v", file.name, n, whole, err)
			}
			if len(got) < last || len(got) > len(frames) {
				t.Fatalf("%s cut to %d bytes: %d frames, after %d", file.name, n, len(got), last)
			}
			last = len(got)
			for i, f := range got {
				if !bytes.Equal(f.Data, frames[i].Data) {
					t.Fatalf("%s cut to %d bytes: frame %d is % x", file.name, n, i, f.Data)
				}
			}
		}
		if last < len(frames)-1 {
			t.Errorf("%s: %d frames", file.name, last)
		}
	}
	r, err := NewReader(bytes.NewReader(ng[:len(ng)-100]))
	must(t, err)
	if _, err := readAll(r); err == nil || err.Error() != "read capture file after frame 9: unexpected EOF" {
		t.Errorf("%v", err)
	}
	if again, err := readAll(r); err == nil || len(again) != 0 {
		t.Errorf("again: %d frames, %v", len(again), err)
	}
}

// A compressed file that is cut off anywhere says so, also where what is read of it
// ends with a frame.
func TestReadCutCompressed(t *testing.T) {
	frames, options := everything()
	frames, options = frames[5:9], options[5:9]
	for name, file := range map[string][]byte{"pcapng": write(t, frames, options), "pcap": writePcap(t, binary.LittleEndian, true, frames)} {
		var z bytes.Buffer
		w, err := gzip.NewWriterLevel(&z, gzip.NoCompression) // so that most places are between frames
		must(t, err)
		for b := range slices.Chunk(file, 4) { // blocks end at such places
			_, err := w.Write(b)
			must(t, errors.Join(err, w.Flush()))
		}
		must(t, w.Close())
		most := 0
		for n := 1; n < z.Len(); n++ {
			r, err := NewReader(bytes.NewReader(z.Bytes()[:n]))
			var got []Frame
			if err == nil {
				got, err = readAll(r)
			}
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%s cut to %d of %d bytes: %d frames, %v", name, n, z.Len(), len(got), err)
			}
			if len(got) < most || len(got) > len(frames) {
				t.Fatalf("%s cut to %d bytes: %d frames, after %d", name, n, len(got), most)
			}
			most = len(got)
			for i, f := range got {
				if !bytes.Equal(f.Data, frames[i].Data) {
					t.Fatalf("%s cut to %d bytes: frame %d is % x", name, n, i, f.Data)
				}
			}
		}
		if most != len(frames) {
			t.Errorf("%s: %d frames", name, most)
		}
		damaged := bytes.Clone(z.Bytes())
		damaged[len(damaged)-8]++ // the checksum
		r, err := NewReader(bytes.NewReader(damaged))
		must(t, err)
		if got, err := readAll(r); len(got) != len(frames) || !errors.Is(err, gzip.ErrChecksum) {
			t.Errorf("%s with a wrong checksum: %d frames, %v", name, len(got), err)
		}
	}
}

// A file that cannot be read on yields what was, then why.
func TestReadFails(t *testing.T) {
	frames, options := everything()
	frames, options = frames[5:9], options[5:9]
	ng := write(t, frames, options)
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, err := w.Write(ng)
	must(t, errors.Join(err, w.Close()))
	bad := errors.New("bad sector")
	for name, file := range map[string][]byte{"pcapng": ng, "pcap": writePcap(t, binary.BigEndian, false, frames), "gzip": z.Bytes()} {
		for n := range file {
			r, err := NewReader(io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(bad)))
			if err == nil {
				_, err = readAll(r)
			}
			if !errors.Is(err, bad) {
				t.Fatalf("%s failing after %d bytes: %v", name, n, err)
			}
		}
	}
}

// writePcap is the older format.
func writePcap(t testing.TB, order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}, nano bool, frames []capture.Frame) []byte {
	t.Helper()
	magic, unit := uint32(0xa1b2c3d4), int64(1000)
	if nano {
		magic, unit = 0xa1b23c4d, 1
	}
	b := order.AppendUint32(nil, magic)
	b = order.AppendUint16(order.AppendUint16(b, 2), 4)
	for _, n := range []uint32{0, 0, 262144, uint32(LinkEthernet)} {
		b = order.AppendUint32(b, n)
	}
	for _, f := range frames {
		for _, n := range []int64{f.Arrival / 1e9, f.Arrival % 1e9 / unit, int64(len(f.Data)), int64(f.Length)} {
			b = order.AppendUint32(b, uint32(n))
		}
		b = append(b, f.Data...)
	}
	return b
}

func TestReadPcap(t *testing.T) {
	frames, _ := everything()
	for _, nano := range []bool{true, false} {
		for _, compressed := range []bool{false, true} {
			for name, file := range map[string][]byte{
				"little": writePcap(t, binary.LittleEndian, nano, frames),
				"big":    writePcap(t, binary.BigEndian, nano, frames),
			} {
				if compressed {
					var z bytes.Buffer
					w := gzip.NewWriter(&z)
					_, err := w.Write(file)
					must(t, errors.Join(err, w.Close()))
					file = z.Bytes()
				}
				r, err := NewReader(bytes.NewReader(file))
				must(t, err)
				got, err := readAll(r)
				if err != nil || len(got) != len(frames) {
					t.Fatalf("%s, %v: %d frames, %v", name, nano, len(got), err)
				}
				for i, f := range got {
					want := frames[i].Arrival
					if !nano {
						want -= want % 1000
					}
					if f.Arrival != want || f.Length != frames[i].Length || !bytes.Equal(f.Data, frames[i].Data) || f.LinkType != LinkEthernet {
						t.Errorf("%s, %v: frame %d: %+v", name, nano, i, f)
					}
				}
				if got := r.Interfaces(); len(got) != 1 || got[0] != (Interface{SnapLen: 262144, LinkType: LinkEthernet}) || r.Header() != (Config{}) {
					t.Errorf("%+v, %+v", got, r.Header())
				}
			}
		}
	}
}

// bigEndian is a pcapng file of the other byte order, with microseconds.
func bigEndian() []byte {
	var file []byte
	block := func(code uint32, body []byte) {
		n := uint32(len(body) + 12)
		file = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(file, code), n)
		file = binary.BigEndian.AppendUint32(append(file, body...), n)
	}
	block(blockSection, append([]byte{0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0}, bytes.Repeat([]byte{0xff}, 8)...))
	block(blockInterface, []byte{0, 1, 0, 0, 0, 0, 0, 96})
	b := []byte{0, 0, 0, 0}
	const micro = testTime / 1000
	b = binary.BigEndian.AppendUint32(b, micro>>32)
	b = binary.BigEndian.AppendUint32(b, micro&0xffffffff)
	b = append(b, 0, 0, 0, 14, 0, 0, 0, 60)
	b = append(append(b, data(14)...), 0, 0)
	b = append(b, 0, optFlags, 0, 4, 0, 0, 0, flagIn|flagMulticast)
	b = append(b, 0, optID, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8)
	b = append(b, 0, optDropped, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9)
	b = append(b, 0, optComment, 0, 3, 'b', 'i', 'g', 0)
	block(blockPacket, append(b, 0, 0, 0, 0))
	block(3, append([]byte{0, 0, 0, 14}, append(data(14), 0, 0)...)) // a simple packet
	return file
}

func TestReadBigEndian(t *testing.T) {
	r, err := NewReader(bytes.NewReader(bigEndian()))
	must(t, err)
	got, err := readAll(r)
	must(t, err)
	want := []Frame{{
		Frame:     capture.Frame{Data: data(14), Length: 60, Arrival: testTime / 1000 * 1000, PacketType: capture.PacketMulticast},
		Direction: capture.DirectionIn, LinkType: LinkEthernet, Comments: []string{"big"}, PacketID: 0x0102030405060708, Dropped: 9,
	}, {
		Frame: capture.Frame{Data: data(14), Length: 14}, LinkType: LinkEthernet,
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want\n%+v", got, want)
	}
}

// Files may stand one behind the other, each of its own byte order.
func TestReadSectionsOfBothOrders(t *testing.T) {
	var little bytes.Buffer
	w, err := NewWriter(&little, nil, Interface{LinkType: LinkEthernet})
	must(t, err)
	must(t, w.Write(&capture.Frame{Data: data(14), Length: 14, Arrival: testTime, PacketType: capture.PacketOutgoing}, &Options{PacketID: 7}))
	must(t, w.Flush())
	for _, order := range []string{"bl", "lb", "bbl", "llb", "blbl", "lblb"} {
		var file []byte
		for _, c := range order {
			if c == 'b' {
				file = append(file, bigEndian()...)
			} else {
				file = append(file, little.Bytes()...)
			}
		}
		r, err := NewReader(bytes.NewReader(file))
		must(t, err)
		got, err := readAll(r)
		must(t, err)
		for _, c := range order {
			first, frames := capture.PacketOutgoing, 1
			id := uint64(7)
			if c == 'b' {
				first, frames, id = capture.PacketMulticast, 2, 0x0102030405060708
			}
			if len(got) < frames || got[0].PacketType != first || got[0].PacketID != id {
				t.Fatalf("%s: %+v", order, got)
			}
			got = got[frames:]
		}
		if len(got) != 0 {
			t.Errorf("%s: %+v left", order, got)
		}
	}
}

func TestReadErrors(t *testing.T) {
	ng := bigEndian()
	for want, file := range map[string][]byte{
		"read capture file: neither pcap nor pcapng (an empty file)":  {},
		"read capture file: neither pcap nor pcapng":                  []byte("\x7fELF\x02\x01\x01"),
		"read capture file: unexpected EOF":                           ng[:3],
		"read capture file: gzip: invalid header":                     append([]byte{0x1f, 0x8b}, make([]byte, 30)...),
		"read capture file: Wrong byte order value in Section Header": append(bytes.Clone(ng[:8]), make([]byte, 60)...),
		"read capture file: Unknown major version 3":                  append([]byte{0xa1, 0xb2, 0xc3, 0xd4, 0, 3, 0, 4}, make([]byte, 60)...),
	} {
		r, err := NewReader(bytes.NewReader(file))
		if r != nil || err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, file := range []string{"text", "no", ""} {
		if _, err := NewReader(strings.NewReader(file)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", file, err)
		}
	}
	// What is below the file is told as it is, however little there was.
	for _, n := range []int{0, 2} {
		if _, err := NewReader(io.MultiReader(bytes.NewReader(ng[:n]), iotest.ErrReader(io.ErrClosedPipe))); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

// Lengths that no frame has are told in words.
func TestReadLengths(t *testing.T) {
	frames, options := everything()
	for _, tt := range []struct {
		captured, length uint32
		pcap, pcapng     string
	}{
		{300_014, 300_014, "a frame would have 300014 bytes", "a frame would have 300014 bytes"},
		{math.MaxUint32, math.MaxUint32, "a frame would have 4294967295 bytes", "a frame would have 4294967295 bytes"},
		{300_014, 60, "300014 bytes would be captured of a frame of 60", "300014 bytes would be captured of a frame of 60"},
		{70, 60, "70 bytes would be captured of a frame of 60", ""}, // as tcpdump
	} {
		for whole := range 2 {
			lengths := binary.LittleEndian.AppendUint32(make([]byte, 8), tt.captured)
			lengths = binary.LittleEndian.AppendUint32(lengths, tt.length)
			record := append(bytes.Clone(lengths), make([]byte, 100)...)
			block := binary.LittleEndian.AppendUint32([]byte{6, 0, 0, 0}, 132)
			block = append(append(block, 0, 0, 0, 0), lengths...)
			block = append(append(block, make([]byte, 100)...), 132, 0, 0, 0)
			for _, file := range []struct {
				bytes []byte
				want  string
			}{
				{append(writePcap(t, binary.LittleEndian, true, frames[:whole]), record...), tt.pcap},
				{append(write(t, frames[:whole], options[:whole]), block...), tt.pcapng},
			} {
				r, err := NewReader(bytes.NewReader(file.bytes))
				must(t, err)
				got, err := readAll(r)
				want := file.want
				if want == "" {
					if len(got) != whole+1 || err != nil {
						t.Errorf("%d frames, %v", len(got), err)
					}
					continue
				}
				if want = "read capture file: damaged: " + want; whole > 0 {
					want = strings.Replace(want, ":", " after frame 1:", 1)
				}
				if len(got) != whole || err == nil || err.Error() != want {
					t.Errorf("%d frames, %v, want %s", len(got), err, want)
				}
			}
		}
	}
}

// Left in the middle, the next Frames goes on.
func TestReadBreak(t *testing.T) {
	frames, options := everything()
	r, err := NewReader(bytes.NewReader(write(t, frames, options)))
	must(t, err)
	n := 0
	for range frames {
		for f, err := range r.Frames() {
			must(t, err)
			if !bytes.Equal(f.Data, frames[n].Data) {
				t.Errorf("frame %d", n)
			}
			n++
			break
		}
	}
	if n != len(frames) {
		t.Errorf("%d frames", n)
	}
}

func FuzzRead(f *testing.F) {
	frames, options := everything()
	ng := write(f, frames[:10], options[:10])
	f.Add(ng)
	f.Add(ng[:len(ng)/2])
	f.Add(bigEndian())
	f.Add(writePcap(f, binary.LittleEndian, true, frames[:4]))
	f.Add(writePcap(f, binary.BigEndian, false, frames[:4]))
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := NewReader(bytes.NewReader(file))
		if err != nil {
			return
		}
		for f, err := range r.Frames() {
			if err != nil {
				if again, second := readAll(r); second == nil || len(again) != 0 {
					t.Fatalf("%v, but then %d frames, %v", err, len(again), second)
				}
				break
			}
			if len(f.Data) > f.Length {
				t.Fatalf("%d bytes of %d", len(f.Data), f.Length)
			}
		}
		r.Interfaces()
		r.Header()
	})
}

// FuzzWrite reads back whatever frame was written.
func FuzzWrite(f *testing.F) {
	f.Add(data(60), 60, int64(testTime), true, uint16(5), byte(1), "comment", uint64(1), uint64(2), uint32(96))
	f.Add([]byte{}, 0, int64(0), true, uint16(0), byte(200), "", uint64(0), uint64(0), uint32(0))
	f.Fuzz(func(t *testing.T, data []byte, length int, at int64, tagged bool, tci uint16, typ byte, comment string, id, dropped uint64, snapLen uint32) {
		var out bytes.Buffer
		w, err := NewWriter(&out, nil, Interface{LinkType: LinkEthernet, SnapLen: int(snapLen >> 1)})
		must(t, err)
		in := capture.Frame{Data: data, Length: length & 0xfffff, Arrival: at & (1<<62 - 1), VLAN: capture.VLAN{Present: tagged, Type: frame.EtherTypeVLAN, TCI: tci}, PacketType: capture.PacketType(typ)}
		o := Options{Comment: comment, PacketID: id, Dropped: dropped}
		for range 2 {
			must(t, w.Write(&in, &o))
		}
		must(t, w.Flush())
		if n := len(blocks(t, out.Bytes())[blockPacket]); n != 2 {
			t.Fatalf("%d packets", n)
		}
		r, err := NewReader(&out)
		must(t, err)
		got, err := readAll(r)
		if err != nil || len(got) != 2 {
			t.Fatalf("%+v, %v", got, err)
		}
		for _, f := range got {
			if f.Arrival != in.Arrival || f.PacketID != id || f.Dropped != dropped || f.Direction != in.PacketType.Direction() ||
				(comment != "") != (len(f.Comments) == 1) || comment != "" && f.Comments[0] != comment {
				t.Fatalf("%+v", f)
			}
		}
	})
}

// A packet with its direction, by us and by pcapgo.
func BenchmarkWrite(b *testing.B) {
	f := capture.Frame{Data: data(60), Length: 60, Arrival: testTime, PacketType: capture.PacketHost}
	b.Run("l2ping", func(b *testing.B) {
		w, err := NewWriter(io.Discard, nil, testInterface)
		must(b, err)
		b.ReportAllocs()
		for b.Loop() {
			if err := w.Write(&f, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("pcapgo", func(b *testing.B) {
		w, err := pcapgo.NewNgWriter(io.Discard, layers.LinkTypeEthernet)
		must(b, err)
		flags := pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound, Reception: pcapgo.NgEpbFlagReceptionTypeUnicast}
		b.ReportAllocs()
		for b.Loop() {
			info := gopacket.CaptureInfo{Timestamp: time.Unix(0, f.Arrival), CaptureLength: len(f.Data), Length: f.Length}
			if err := w.WritePacketWithOptions(info, f.Data, pcapgo.NgPacketOptions{Flags: &flags}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("pcapgo-no-options", func(b *testing.B) {
		w, err := pcapgo.NewNgWriter(io.Discard, layers.LinkTypeEthernet)
		must(b, err)
		b.ReportAllocs()
		for b.Loop() {
			info := gopacket.CaptureInfo{Timestamp: time.Unix(0, f.Arrival), CaptureLength: len(f.Data), Length: f.Length}
			if err := w.WritePacket(info, f.Data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
