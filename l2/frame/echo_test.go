package frame_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/l2/frame"
)

var (
	src6 = netip.MustParseAddr("2001:db8:1::1")
	dst6 = netip.MustParseAddr("2001:db8:2::1")
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

func baseEcho6() frame.Echo {
	e := baseEcho()
	e.Src, e.Dst = src6, dst6
	return e
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

// verify has gopacket sum up the checksums of a packet.
func verify(t *testing.T, p gopacket.Packet) {
	t.Helper()
	if icmp, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok {
		if err := icmp.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
			t.Fatal(err)
		}
	}
	if err, bad := p.VerifyChecksums(); err != nil || len(bad) > 0 {
		t.Fatalf("gopacket: %v, checksums %+v", err, bad)
	}
}

// checkProbe compares a frame with the probe that it has to be, as gopacket sees it.
func checkProbe(t *testing.T, e frame.Echo, n uint64, b []byte) {
	t.Helper()
	link, header := 14+4*len(e.VLANs), 20
	if e.Src.Is6() {
		header = 40
	}
	first := layers.LayerTypeEthernet
	size := link + max(46, header+8+e.DataLen)
	if e.NoLink {
		link, size = 0, header+8+e.DataLen
		first = layers.LayerTypeIPv4
		if e.Src.Is6() {
			first = layers.LayerTypeIPv6
		}
	}
	if len(b) != size {
		t.Fatalf("a frame of %d bytes, want %d", len(b), size)
	}
	p := gopacket.NewPacket(b, first, gopacket.DecodeOptions{})
	if e := p.ErrorLayer(); e != nil || p.Metadata().Truncated {
		t.Fatalf("gopacket: %v, truncated: %v", e, p.Metadata().Truncated)
	}
	verify(t, p)
	if !e.NoLink {
		eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
		if !bytes.Equal(eth.SrcMAC, e.SrcMAC[:]) || !bytes.Equal(eth.DstMAC, e.DstMAC[:]) {
			t.Errorf("Ethernet header %+v", eth)
		}
	}
	if e.Src.Is6() {
		checkProbe6(t, e, n, p)
	} else {
		checkProbe4(t, e, n, p)
	}
	// gopacket has had its say: now without it.
	ip, message := b[link:link+header], b[link+header:link+header+8+e.DataLen]
	if e.Src.Is6() {
		if got := naive6(message, e.Src, e.Dst); got != 0 {
			t.Errorf("the ICMPv6 checksum is wrong: %#04x left over", got)
		}
	} else if naive(ip) != 0 || naive(message) != 0 {
		t.Errorf("checksums are wrong: IP %#04x, ICMP %#04x left over", naive(ip), naive(message))
	}
	for i, pad := range b[link+header+8+e.DataLen:] {
		if pad != 0 {
			t.Errorf("byte %d of the padding is %#02x", i, pad)
		}
	}
}

func checkProbe4(t *testing.T, e frame.Echo, n uint64, p gopacket.Packet) {
	t.Helper()
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
}

func checkProbe6(t *testing.T, e frame.Echo, n uint64, p gopacket.Packet) {
	t.Helper()
	ip, ok := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	if !ok {
		t.Fatal("gopacket sees no IPv6")
	}
	if ip.Version != 6 || ip.TrafficClass != e.TOS || ip.FlowLabel != 0 || int(ip.Length) != 8+e.DataLen ||
		ip.NextHeader != layers.IPProtocolICMPv6 || ip.HopLimit != e.TTL ||
		!ip.SrcIP.Equal(e.Src.AsSlice()) || !ip.DstIP.Equal(e.Dst.AsSlice()) {
		t.Errorf("IPv6 header %+v", ip)
	}
	icmp, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	if !ok || icmp.TypeCode != layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0) {
		t.Fatalf("gopacket: ICMPv6 %+v", icmp)
	}
	echo, ok := p.Layer(layers.LayerTypeICMPv6Echo).(*layers.ICMPv6Echo)
	if !ok || echo.Identifier != e.ID || echo.SeqNumber != uint16(n) {
		t.Fatalf("gopacket: ICMPv6 echo %+v", echo)
	}
	if want := wantData(e, n); !bytes.Equal(icmp.Payload[4:], want) {
		t.Errorf("data\n% x, want\n% x", icmp.Payload[4:], want)
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
		"VLAN":              func(e *frame.Echo) { e.VLANs = []frame.VLAN{tag(100)} },
		"VLAN, short":       func(e *frame.Echo) { e.VLANs, e.DataLen = []frame.VLAN{tag(100)}, 1 },
		"Q-in-Q":            func(e *frame.Echo) { e.VLANs = []frame.VLAN{provider(200), tag(0x6064)} },
		"Q-in-Q, short":     func(e *frame.Echo) { e.VLANs, e.DataLen = []frame.VLAN{tag(200), tag(100)}, 0 },
		"no link":           func(e *frame.Echo) { e.NoLink = true },
		"no link, short":    func(e *frame.Echo) { e.NoLink, e.DataLen = true, 0 },
		"MTU not exceeded":  func(e *frame.Echo) { e.MTU, e.DataLen = 1500, 1452 },
		"DF, not exceeded":  func(e *frame.Echo) { e.MTU, e.DataLen, e.DontFragment = 1500, 1452, true },
		"a zone":            func(e *frame.Echo) {},
	} {
		e := baseEcho()
		change(&e)
		echoes[name] = e
	}
	for name, e := range maps.Clone(echoes) {
		if e.Dst == netip.MustParseAddr("255.255.255.255") {
			e.Dst, e.DstMAC = netip.MustParseAddr("ff02::1"), frame.MulticastMAC(netip.MustParseAddr("ff02::1"))
		} else {
			e.Dst = dst6
		}
		e.Src = src6
		switch name {
		case "a zone":
			e.Src, e.Dst = netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("fe80::2%eth0")
		case "all zero":
			e.Src, e.Dst = netip.IPv6Unspecified(), netip.IPv6Unspecified()
		}
		echoes["IPv6, "+name] = e
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
				if one := tmpl.Fragments(); len(one) != 1 || &one[0][0] != &b[0] || len(one[0]) != len(b) {
					t.Errorf("Fragments has %d frames", len(one))
				}
				if got, want := tmpl.Checksum(), binary.BigEndian.Uint16(b[messageAt(e)+2:]); got != want {
					t.Errorf("Checksum: %#04x, want %#04x", got, want)
				}
				if t.Failed() {
					t.Fatalf("probe %d", n)
				}
			}
			moved := frame.MAC{2, 0, 0x5e, 0, 0x53, 0xfe}
			tmpl.SetDstMAC(moved) // without a link it changes nothing
			e.DstMAC = moved
			checkProbe(t, e, 3, tmpl.Patch(3))
		})
	}
}

// messageAt is where the ICMP message starts in a frame that is no fragment.
func messageAt(e frame.Echo) int {
	at := 20
	if e.Src.Is6() {
		at = 40
	}
	if !e.NoLink {
		at += 14 + 4*len(e.VLANs)
	}
	return at
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
	mapped := netip.MustParseAddr("::ffff:203.0.113.1")
	for _, tt := range []struct {
		want   string
		change func(*frame.Echo)
	}{
		{"echo from 2001:db8:1::1 to 203.0.113.1: neither both IPv4 nor both IPv6", func(e *frame.Echo) { e.Src = src6 }},
		{"echo from 198.51.100.1 to 2001:db8:2::1: neither both IPv4 nor both IPv6", func(e *frame.Echo) { e.Dst = dst6 }},
		{"echo from invalid IP to 203.0.113.1: neither both IPv4 nor both IPv6", func(e *frame.Echo) { e.Src = netip.Addr{} }},
		{"echo from 198.51.100.1 to ::ffff:203.0.113.1: neither both IPv4 nor both IPv6", func(e *frame.Echo) { e.Dst = mapped }},
		{"echo from 2001:db8:1::1 to ::ffff:203.0.113.1: neither both IPv4 nor both IPv6", func(e *frame.Echo) { e.Src, e.Dst = src6, mapped }},
		{"echo of -1 data bytes: 0 to 65507 fit in a packet", func(e *frame.Echo) { e.DataLen = -1 }},
		{"echo of 65508 data bytes: 0 to 65507 fit in a packet", func(e *frame.Echo) { e.DataLen = frame.MaxEchoData + 1 }},
		{"echo of 65508 data bytes: 0 to 65507 fit in a packet", func(e *frame.Echo) { e.Src, e.Dst, e.DataLen = src6, dst6, frame.MaxEchoData+1 }},
		{"echo of 56 data bytes: a packet of 84 bytes, not to be fragmented, does not fit in an MTU of 83",
			func(e *frame.Echo) { e.DontFragment, e.MTU = true, 83 }},
		{"echo of 56 data bytes: a packet of 104 bytes, not to be fragmented, does not fit in an MTU of 103",
			func(e *frame.Echo) { e.Src, e.Dst, e.DontFragment, e.MTU = src6, dst6, true, 103 }},
		{"echo of 56 data bytes: no fragment fits in an MTU of 27", func(e *frame.Echo) { e.MTU = 27 }},
		{"echo of 56 data bytes: no fragment fits in an MTU of -1", func(e *frame.Echo) { e.MTU = -1 }},
		{"echo of 56 data bytes: no fragment fits in an MTU of 55", func(e *frame.Echo) { e.Src, e.Dst, e.MTU = src6, dst6, 55 }},
		{"VLAN id 4095: reserved", func(e *frame.Echo) { e.VLANs = []frame.VLAN{tag(4095)} }},
		{"VLAN id 4095: reserved", func(e *frame.Echo) { e.VLANs, e.MTU = []frame.VLAN{tag(4095)}, 68 }},
		{"VLAN tags on a link without Ethernet header", func(e *frame.Echo) { e.VLANs, e.NoLink = []frame.VLAN{tag(1)}, true }},
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
		for range 2 {
			tmpl := template(t, e)
			tmpl.Patch(n1)
			checkProbe(t, e, n2, tmpl.Patch(n2))
			want := template(t, e).Patch(n2)
			if got := tmpl.Patch(n2); !bytes.Equal(got, want) {
				t.Errorf("by way of %d: % x\ndirectly: % x", n1, got, want)
			}
			e.Src, e.Dst = src6, dst6
		}
	})
}

func TestDiff(t *testing.T) {
	for _, dataLen := range []int{0, 1, 8, 15, 16, 17, 56} {
		e := baseEcho()
		e.DataLen = dataLen
		tmpl := template(t, e)
		checkDiff(t, fmt.Sprintf("%d bytes", dataLen), tmpl, e)
	}
}

// checkDiff holds what Diff says of a probe's own data, of more, and of less, and
// that it finds each byte that is another.
func checkDiff(t *testing.T, name string, tmpl *frame.EchoTemplate, e frame.Echo) {
	t.Helper()
	const n = 0x0123_4567_89ab_cdef
	tmpl.Patch(n + 5) // a later probe than the one compared with
	sent := wantData(e, n)
	if at, _ := tmpl.Diff(sent, n); at != -1 {
		t.Errorf("%s: its own data differ at %d", name, at)
	}
	if at, _ := tmpl.Diff(append(bytes.Clone(sent), 1, 2, 3), n); at != -1 {
		t.Errorf("%s: data with more after them differ at %d", name, at)
	}
	for i := range sent {
		data := bytes.Clone(sent)
		data[i] ^= 0x80
		if at, was := tmpl.Diff(data, n); at != i || was != sent[i] {
			t.Fatalf("%s: byte %d changed from %#02x: got %d, %#02x", name, i, sent[i], at, was)
		}
		if at, _ := tmpl.Diff(sent[:i], n); at != -1 {
			t.Fatalf("%s: the first %d of them differ at %d", name, i, at)
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
