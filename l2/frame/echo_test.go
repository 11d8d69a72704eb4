package frame_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/l2/frame"
)

var (
	srcMAC = frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0x01}
	dstMAC = frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0x02}
	src    = netip.MustParseAddr("198.51.100.1")
	dst    = netip.MustParseAddr("203.0.113.1")
	cookie = [frame.CookieLen]byte{0xc0, 0x0c, 0x1e, 0x99, 0x00, 0xff, 0x42, 0x07}
)

func baseEcho() frame.Echo {
	return frame.Echo{
		SrcMAC: srcMAC, DstMAC: dstMAC, Src: src, Dst: dst,
		ID: 0xbe0f, TTL: 64, Cookie: cookie, DataLen: 56,
	}
}

func template(t testing.TB, e frame.Echo) *frame.EchoTemplate {
	t.Helper()
	tmpl, err := e.Template()
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

// Numbers of probes, with those around which 16-bit and other words wrap.
var numbers = []uint64{
	0, 1, 2, 255, 256, 65534, 65535, 65536, 65537, 1<<17 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 + 1,
	1<<48 - 1, 1 << 48, math.MaxUint64 - 1, math.MaxUint64, 0,
}

// wantData is what RFC 792 calls the data: cookie, number, pattern.
func wantData(e frame.Echo, n uint64) []byte {
	data := make([]byte, e.DataLen)
	for i := range data {
		data[i] = byte(i)
		if len(e.Pattern) > 0 {
			data[i] = e.Pattern[i%len(e.Pattern)]
		}
	}
	copy(data, e.Cookie[:])
	if len(data) >= 16 {
		binary.BigEndian.PutUint64(data[8:], n)
	}
	return data
}

// checkProbe compares a frame with the probe that it has to be, as gopacket sees it.
func checkProbe(t *testing.T, e frame.Echo, n uint64, b []byte) {
	t.Helper()
	if want := max(60, 14+20+8+e.DataLen); len(b) != want {
		t.Fatalf("a frame of %d bytes, want %d", len(b), want)
	}
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.DecodeOptions{})
	if e := p.ErrorLayer(); e != nil || p.Metadata().Truncated {
		t.Fatalf("gopacket: %v, truncated: %v", e, p.Metadata().Truncated)
	}
	if err, bad := p.VerifyChecksums(); err != nil || len(bad) > 0 {
		t.Fatalf("gopacket: %v, checksums %+v", err, bad)
	}
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if !bytes.Equal(eth.SrcMAC, e.SrcMAC[:]) || !bytes.Equal(eth.DstMAC, e.DstMAC[:]) || eth.EthernetType != layers.EthernetTypeIPv4 {
		t.Errorf("Ethernet header %+v", eth)
	}
	ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if !ok {
		t.Fatal("gopacket sees no IPv4")
	}
	flags := layers.IPv4Flag(0)
	if e.DontFragment {
		flags = layers.IPv4DontFragment
	}
	if ip.Version != 4 || ip.IHL != 5 || ip.TOS != e.TOS || int(ip.Length) != 20+8+e.DataLen || ip.Id != uint16(n) ||
		ip.Flags != flags || ip.FragOffset != 0 || ip.TTL != e.TTL || ip.Protocol != layers.IPProtocolICMPv4 ||
		ip.SrcIP.String() != e.Src.String() || ip.DstIP.String() != e.Dst.String() || len(ip.Options) != 0 {
		t.Errorf("IPv4 header %+v", ip)
	}
	icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	if !ok {
		t.Fatal("gopacket sees no ICMP")
	}
	if icmp.TypeCode != layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0) || icmp.Id != e.ID || icmp.Seq != uint16(n) {
		t.Errorf("ICMP header %+v", icmp)
	}
	if want := wantData(e, n); !bytes.Equal(icmp.Payload, want) {
		t.Errorf("data\n% x, want\n% x", icmp.Payload, want)
	}
	// gopacket has had its say: now without it.
	if naive(b[14:34]) != 0 || naive(b[34:42+e.DataLen]) != 0 {
		t.Errorf("checksums are wrong: IP %#04x, ICMP %#04x left over", naive(b[14:34]), naive(b[34:42+e.DataLen]))
	}
	for i, pad := range b[14+20+8+e.DataLen:] {
		if pad != 0 {
			t.Errorf("byte %d of the padding is %#02x", i, pad)
		}
	}
}

func TestTemplate(t *testing.T) {
	echoes := map[string]frame.Echo{}
	for _, n := range []int{0, 1, 7, 8, 15, 16, 17, 18, 56, 1472, frame.MaxEchoData} {
		e := baseEcho()
		e.DataLen = n
		echoes[fmt.Sprintf("%d bytes", n)] = e
		e.Pattern = []byte{0xff}
		echoes[fmt.Sprintf("%d bytes of ff", n)] = e
		e.Pattern = []byte{0xde, 0xad, 0xbe}
		echoes[fmt.Sprintf("%d bytes of a pattern", n)] = e
	}
	for name, change := range map[string]func(*frame.Echo){
		"TOS":         func(e *frame.Echo) { e.TOS = 0xb8 },
		"TOS and ECN": func(e *frame.Echo) { e.TOS = 0xff },
		"TTL 1":       func(e *frame.Echo) { e.TTL = 1 },
		"TTL 255":     func(e *frame.Echo) { e.TTL = 255 },
		"DF":          func(e *frame.Echo) { e.DontFragment = true },
		"all zero": func(e *frame.Echo) {
			*e = frame.Echo{Src: netip.IPv4Unspecified(), Dst: netip.IPv4Unspecified(), DataLen: 56, Pattern: []byte{0}}
		},
		"broadcast": func(e *frame.Echo) { e.DstMAC, e.Dst = frame.Broadcast, netip.MustParseAddr("255.255.255.255") },
		"cookie of ff": func(e *frame.Echo) {
			e.Cookie = [8]byte{255, 255, 255, 255, 255, 255, 255, 255}
			e.Pattern = []byte{0xff}
		},
		"pattern of 16":     func(e *frame.Echo) { e.Pattern = []byte("0123456789abcdef") },
		"pattern too long":  func(e *frame.Echo) { e.Pattern = bytes.Repeat([]byte("x"), 100) },
		"identifier 0":      func(e *frame.Echo) { e.ID = 0 },
		"identifier 0xffff": func(e *frame.Echo) { e.ID = 0xffff },
	} {
		e := baseEcho()
		change(&e)
		echoes[name] = e
	}
	for name, e := range echoes {
		t.Run(name, func(t *testing.T) {
			tmpl := template(t, e)
			if got, want := tmpl.HasNumber(), e.DataLen >= 16; got != want {
				t.Errorf("HasNumber: %v, want %v", got, want)
			}
			for _, n := range numbers {
				b := tmpl.Patch(n)
				checkProbe(t, e, n, b)
				if got, want := tmpl.Checksum(), binary.BigEndian.Uint16(b[36:]); got != want {
					t.Errorf("Checksum: %#04x, want %#04x", got, want)
				}
				if t.Failed() {
					t.Fatalf("probe %d", n)
				}
			}
			moved := frame.MAC{2, 0, 0x5e, 0, 0x53, 0xfe}
			tmpl.SetDstMAC(moved)
			e.DstMAC = moved
			checkProbe(t, e, 3, tmpl.Patch(3))
		})
	}
}

// The first bytes are those of probe number 0, whatever is sent first.
func TestTemplateFresh(t *testing.T) {
	e := baseEcho()
	first := template(t, e)
	sum := first.Checksum()
	if got := first.Patch(0); binary.BigEndian.Uint16(got[36:]) != sum {
		t.Errorf("Checksum before Patch: %#04x, after Patch(0): %#04x", sum, binary.BigEndian.Uint16(got[36:]))
	}
	second := template(t, e)
	second.Patch(math.MaxUint64)
	if a, b := first.Patch(7), second.Patch(7); !bytes.Equal(a, b) {
		t.Errorf("probe 7 depends on what was sent before:\n% x\n% x", a, b)
	}
}

func TestTemplateErrors(t *testing.T) {
	six := netip.MustParseAddr("2001:db8::1")
	for _, tt := range []struct {
		want   string
		change func(*frame.Echo)
	}{
		{"echo from 2001:db8::1 to 203.0.113.1: not IPv4", func(e *frame.Echo) { e.Src = six }},
		{"echo from 198.51.100.1 to 2001:db8::1: not IPv4", func(e *frame.Echo) { e.Dst = six }},
		{"echo from invalid IP to 203.0.113.1: not IPv4", func(e *frame.Echo) { e.Src = netip.Addr{} }},
		{"echo from 198.51.100.1 to ::ffff:203.0.113.1: not IPv4", func(e *frame.Echo) { e.Dst = netip.MustParseAddr("::ffff:203.0.113.1") }},
		{"echo of -1 data bytes: 0 to 65507 fit in an IPv4 packet", func(e *frame.Echo) { e.DataLen = -1 }},
		{"echo of 65508 data bytes: 0 to 65507 fit in an IPv4 packet", func(e *frame.Echo) { e.DataLen = frame.MaxEchoData + 1 }},
	} {
		e := baseEcho()
		tt.change(&e)
		tmpl, err := e.Template()
		if err == nil || err.Error() != tt.want || tmpl != nil {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}

// FuzzPatch goes from one probe to another and checks the checksums that were
// brought up to date against ones that were summed up anew.
func FuzzPatch(f *testing.F) {
	f.Add(uint64(65535), uint64(65536), uint16(56), uint16(0xbe0f), uint8(0), []byte(nil), []byte("\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add(uint64(0), uint64(math.MaxUint64), uint16(16), uint16(0), uint8(255), []byte{0}, []byte{})
	f.Add(uint64(1<<32-1), uint64(1<<32), uint16(0), uint16(0xffff), uint8(1), []byte{0xff}, []byte{1})
	f.Fuzz(func(t *testing.T, n1, n2 uint64, dataLen, id uint16, tos uint8, pattern, mark []byte) {
		e := baseEcho()
		e.DataLen, e.ID, e.TOS, e.Pattern = int(dataLen%1500), id, tos, pattern
		e.Cookie = [8]byte{}
		copy(e.Cookie[:], mark)
		tmpl := template(t, e)
		tmpl.Patch(n1)
		checkProbe(t, e, n2, tmpl.Patch(n2))
		want := template(t, e).Patch(n2)
		if got := tmpl.Patch(n2); !bytes.Equal(got, want) {
			t.Errorf("by way of %d: % x\ndirectly: % x", n1, got, want)
		}
	})
}

func TestDiff(t *testing.T) {
	for _, dataLen := range []int{0, 1, 8, 15, 16, 17, 56} {
		e := baseEcho()
		e.DataLen = dataLen
		tmpl := template(t, e)
		const n = 0x0123_4567_89ab_cdef
		tmpl.Patch(n + 5) // a later probe than the one compared with
		sent := wantData(e, n)
		if at, _ := tmpl.Diff(sent, n); at != -1 {
			t.Errorf("%d bytes: its own data differ at %d", dataLen, at)
		}
		if at, _ := tmpl.Diff(append(bytes.Clone(sent), 1, 2, 3), n); at != -1 {
			t.Errorf("%d bytes: data with more after them differ at %d", dataLen, at)
		}
		for i := range sent {
			data := bytes.Clone(sent)
			data[i] ^= 0x80
			if at, was := tmpl.Diff(data, n); at != i || was != sent[i] {
				t.Errorf("%d bytes: byte %d changed from %#02x: got %d, %#02x", dataLen, i, sent[i], at, was)
			}
			if at, _ := tmpl.Diff(sent[:i], n); at != -1 {
				t.Errorf("%d bytes: the first %d of them differ at %d", dataLen, i, at)
			}
		}
	}
}

func TestOlder(t *testing.T) {
	e := baseEcho()
	tmpl := template(t, e)
	data := func(n uint64) []byte { return wantData(e, n) }
	for _, tt := range []struct {
		name   string
		data   []byte
		n      uint64
		want   bool
		number bool
	}{
		{"the probe itself", data(65536 + 5), 65536 + 5, false, true},
		{"one wrap earlier", data(5), 65536 + 5, true, true},
		{"two wraps earlier", data(5), 2*65536 + 5, true, true},
		{"a later one", data(65536 + 5), 5, false, true},
		{"another sequence number", data(4), 65536 + 5, false, true},
		{"cut before the number's end", data(5)[:15], 65536 + 5, false, true},
		{"cut at the number's end", data(5)[:16], 65536 + 5, true, true},
		{"no data", nil, 65536 + 5, false, true},
	} {
		if got := tmpl.Older(tt.data, tt.n); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	e.DataLen = 15
	if template(t, e).Older(data(5), 65536+5) {
		t.Error("probes without a number know an older one")
	}
}

func TestPatchAllocates(t *testing.T) {
	tmpl := template(t, baseEcho())
	data := wantData(baseEcho(), 3)
	var n uint64
	if allocs := testing.AllocsPerRun(1000, func() {
		n += 40000
		tmpl.Patch(n)
		tmpl.SetDstMAC(dstMAC)
		tmpl.Diff(data, n)
		tmpl.Older(data, n)
		_ = tmpl.Checksum()
	}); allocs != 0 {
		t.Errorf("%v allocations a probe, want 0", allocs)
	}
}

func BenchmarkEchoPatch(b *testing.B) {
	tmpl := template(b, baseEcho())
	b.ReportAllocs()
	var n uint64
	for b.Loop() {
		n++
		tmpl.Patch(n)
	}
}
