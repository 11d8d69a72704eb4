package frame_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/ip4defrag"
	"github.com/gopacket/gopacket/ip6defrag"
	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/l2/frame"
)

// checkFragments holds the frames of probe n to RFC 791 and RFC 8200, and what
// gopacket puts together from them to the probe that needs no fragments. It returns
// the identification that they share.
func checkFragments(t *testing.T, e frame.Echo, n uint64, frames [][]byte) (id uint32) {
	t.Helper()
	whole := e
	whole.MTU = 0
	want := template(t, whole).Patch(n)[messageAt(e):][:8+e.DataLen]
	header := frame.Header{NoLink: e.NoLink, Dst: e.DstMAC, Src: e.SrcMAC, VLANs: e.VLANs}
	four, six := ip4defrag.NewIPv4Defragmenter(), ip6defrag.NewIPv6Defragmenter()
	var second []byte // what gopacket puts together
	at := 0
	for i, b := range frames {
		last := i == len(frames)-1
		packet := b[header.Len():]
		var h frame.IP
		if err := h.Decode(packet); err != nil {
			t.Fatalf("fragment %d: %v", i, err)
		}
		if h.TotalLen > e.MTU || !last && h.TotalLen <= e.MTU-8 {
			t.Errorf("fragment %d has %d bytes; the MTU is %d", i, h.TotalLen, e.MTU)
		}
		if h.Src != e.Src.WithZone("") || h.Dst != e.Dst.WithZone("") || h.TTL != e.TTL || h.TOS != e.TOS || h.FlowLabel != 0 || h.DontFragment ||
			!h.ChecksumOK || h.Offset != at || h.MoreFragments == last || h.MoreFragments && len(h.Payload)%8 != 0 || len(h.Payload) == 0 {
			t.Errorf("fragment %d: %+v", i, h)
		}
		if i > 0 && h.ID != id {
			t.Errorf("fragment %d has id %#x, the first %#x", i, h.ID, id)
		}
		id = h.ID
		at += len(h.Payload)
		typ := frame.EtherTypeIPv4
		if e.Src.Is6() {
			typ = frame.EtherTypeIPv6
		}
		if again, err := header.Marshal(typ, packet[:h.TotalLen]); err != nil || !bytes.Equal(again, b) {
			t.Errorf("fragment %d: header or padding:\n% x, want\n% x", i, b, again)
		}

		if e.Src.Is4() {
			var ip layers.IPv4
			if err := ip.DecodeFromBytes(packet, gopacket.NilDecodeFeedback); err != nil || ip.Protocol != layers.IPProtocolICMPv4 {
				t.Fatalf("gopacket: fragment %d: %v, %+v", i, err, ip)
			}
			out, err := four.DefragIPv4(&ip)
			if err != nil {
				t.Fatalf("gopacket: fragment %d: %v", i, err)
			}
			if out != nil {
				second = out.Payload
			}
			continue
		}
		var ip layers.IPv6
		var fragment layers.IPv6Fragment
		if err := ip.DecodeFromBytes(packet, gopacket.NilDecodeFeedback); err != nil || ip.NextHeader != layers.IPProtocolIPv6Fragment {
			t.Fatalf("gopacket: fragment %d: %v, %+v", i, err, ip)
		}
		if err := fragment.DecodeFromBytes(ip.Payload, gopacket.NilDecodeFeedback); err != nil ||
			fragment.NextHeader != layers.IPProtocolICMPv6 || fragment.Reserved1 != 0 || fragment.Reserved2 != 0 {
			t.Fatalf("gopacket: fragment %d: %v, %+v", i, err, fragment)
		}
		if out := six.DefragIPv6(&ip, &fragment); out != nil {
			second = out.Payload
		}
	}
	if !bytes.Equal(second, want) {
		t.Errorf("gopacket puts %d bytes together, want %d", len(second), len(want))
	}

	// And here, the other way round.
	r := frame.NewReassembler(frame.ReassemblerConfig{})
	for i := len(frames) - 1; i >= 0; i-- {
		var h frame.IP
		if err := h.Decode(frames[i][header.Len():]); err != nil {
			t.Fatal(err)
		}
		got, done := r.Add(&h, 0)
		if done != (i == 0) || done && !bytes.Equal(got, want) {
			t.Fatalf("fragment %d: done %v with %d bytes, want %d", i, done, len(got), len(want))
		}
	}
	return id
}

func TestFragments(t *testing.T) {
	for _, base := range []frame.Echo{baseEcho(), baseEcho6()} {
		header, least := 20, 28
		if base.Src.Is6() {
			header, least = 40, 56
		}
		for _, tt := range []struct {
			mtu   int
			sizes []int
		}{
			// The number and the checksum are in different fragments.
			{least, []int{least - header - 8 + 1, 100}},
			{least + 7, []int{100}},
			{least + 8, []int{100}},
			{least + 16, []int{56, 100}},
			{max(68, 2*least), []int{200, 65507}},
			{576, []int{576 - header - 8 + 1, 1500}},
			{1280, []int{1280 - header - 8 + 1, 1480 * 3}},
			{1500, []int{1500 - header - 8 + 1, 2952, 2953, 4432, 5000, 65507}},
			{1501, []int{3000}},
			{9000, []int{9000 - header - 8 + 1, 65507}},
		} {
			for _, size := range tt.sizes {
				e := base
				e.MTU, e.DataLen, e.TOS = tt.mtu, size, 0xb8
				t.Run(fmt.Sprintf("%v, MTU %d, %d bytes", e.Dst, e.MTU, size), func(t *testing.T) {
					tmpl := template(t, e)
					if !tmpl.HasNumber() && size >= 16 {
						t.Error("no number")
					}
					seen := map[uint32]bool{}
					for _, n := range []uint64{0, 1, 65535, 65538, math.MaxUint64 - 4} {
						first := tmpl.Patch(n)
						frames := tmpl.Fragments()
						if len(frames) < 2 || &frames[0][0] != &first[0] || len(frames[0]) != len(first) {
							t.Fatalf("%d frames; Patch returns the first one: %v", len(frames), bytes.Equal(frames[0], first))
						}
						id := checkFragments(t, e, n, frames)
						if seen[id] {
							t.Errorf("probe %d has the id %#x of another", n, id)
						}
						seen[id] = true
						if got := tmpl.Checksum(); got != binary.BigEndian.Uint16(first[messageAt(e)+fragmentHeader(e)+2:]) {
							t.Errorf("Checksum: %#04x", got)
						}
						if t.Failed() {
							t.Fatalf("probe %d", n)
						}
					}
				})
			}
		}
	}
}

// fragmentHeader is how much longer the IP header of a fragment is.
func fragmentHeader(e frame.Echo) int {
	if e.Src.Is6() {
		return 8
	}
	return 0
}

// One byte decides whether a probe is fragmented.
func TestFragmentsEdge(t *testing.T) {
	for _, e := range []frame.Echo{baseEcho(), baseEcho6()} {
		header := messageAt(e) - 14
		for _, tt := range []struct{ mtu, size, frames int }{
			{0, 65507, 1}, {1500, 1500 - 8 - header, 1}, {1500, 1500 - 8 - header + 1, 2}, {65535, 65507, 1 + header/40}, {65536, 65507, 1 + header/40}, {16, 0, -1}, {84, 56, 1 + header/40},
		} {
			e.MTU, e.DataLen = tt.mtu, tt.size
			tmpl, err := e.Template()
			if tt.frames < 0 {
				if err == nil {
					t.Errorf("MTU %d, %d bytes: no error", tt.mtu, tt.size)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := len(tmpl.Fragments()); got != tt.frames {
				t.Errorf("%v, MTU %d, %d bytes: %d frames, want %d", e.Dst, tt.mtu, tt.size, got, tt.frames)
			}
		}
	}
}

// Behind tags and without a link, and short last fragments, which Ethernet pads.
func TestFragmentsLinks(t *testing.T) {
	for _, base := range []frame.Echo{baseEcho(), baseEcho6()} {
		base.MTU, base.DataLen = 1500, 1480*2
		for _, vlans := range tagSets {
			e := base
			e.VLANs = vlans
			tmpl := template(t, e)
			tmpl.Patch(5)
			checkFragments(t, e, 5, tmpl.Fragments())
			moved := frame.MAC{2, 0, 0x5e, 0, 0x53, 0xfe}
			tmpl.SetDstMAC(moved)
			e.DstMAC = moved
			tmpl.Patch(6)
			checkFragments(t, e, 6, tmpl.Fragments())
		}
		base.NoLink = true
		tmpl := template(t, base)
		tmpl.SetDstMAC(frame.Broadcast)
		tmpl.Patch(5)
		checkFragments(t, base, 5, tmpl.Fragments())
	}
}

// Two runs at once, whose cookies differ, do not share identifications.
func TestFragmentsOfTwoRuns(t *testing.T) {
	for _, e := range []frame.Echo{baseEcho(), baseEcho6()} {
		e.MTU, e.DataLen = 1500, 3000
		one := template(t, e)
		e.Cookie[7] ^= 0x40
		other := template(t, e)
		var ids [2]uint32
		for i, tmpl := range []*frame.EchoTemplate{one, other} {
			var h frame.IP
			if err := h.Decode(tmpl.Patch(1)[14:]); err != nil {
				t.Fatal(err)
			}
			ids[i] = h.ID
		}
		if ids[0] == ids[1] {
			t.Errorf("%v: both have %#x", e.Dst, ids[0])
		}
	}
}

// A fragmented probe knows its data as a whole one does.
func TestFragmentsDiff(t *testing.T) {
	for _, base := range []frame.Echo{baseEcho(), baseEcho6()} {
		for _, mtu := range []int{56, 64, 72, 576} {
			e := base
			e.MTU, e.DataLen = mtu, 1000
			tmpl := template(t, e)
			if len(tmpl.Fragments()) < 2 {
				t.Fatal("not fragmented")
			}
			checkDiff(t, fmt.Sprintf("MTU %d", mtu), tmpl, e)
			const n = 0x0123_4567_89ab_cdef
			sent := wantData(e, n)
			if !tmpl.Older(sent, n+65536) || tmpl.Older(sent, n) || !tmpl.HasNumber() {
				t.Error("the number is not known")
			}
		}
	}
}

// FuzzFragments goes from one probe to another, by any size and MTU.
func FuzzFragments(f *testing.F) {
	f.Add(uint64(65535), uint64(65536), uint16(3000), uint16(1500), uint16(0xbe0f), []byte(nil), []byte("\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add(uint64(0), uint64(math.MaxUint64), uint16(16), uint16(28), uint16(0), []byte{0}, []byte{})
	f.Add(uint64(1<<32-1), uint64(1<<32), uint16(100), uint16(56), uint16(0xffff), []byte{0xff}, []byte{1})
	f.Fuzz(func(t *testing.T, n1, n2 uint64, dataLen, mtu, id uint16, pattern, mark []byte) {
		e := baseEcho()
		e.DataLen, e.MTU, e.ID, e.Pattern = int(dataLen%5000), int(mtu), id, pattern
		e.Cookie = [8]byte{}
		copy(e.Cookie[:], mark)
		for range 2 {
			tmpl, err := e.Template()
			if err != nil {
				// The addresses and the size are right: it is the MTU.
				if least := 28 * (1 + fragmentHeader(e)/8); e.MTU >= least {
					t.Fatal(err)
				}
				return
			}
			tmpl.Patch(n1)
			tmpl.Patch(n2)
			if frames := tmpl.Fragments(); len(frames) == 1 {
				checkProbe(t, e, n2, frames[0])
			} else {
				checkFragments(t, e, n2, frames)
				if at, _ := tmpl.Diff(wantData(e, n2), n2); at != -1 {
					t.Errorf("its own data differ at %d", at)
				}
			}
			e.Src, e.Dst = src6, dst6
		}
	})
}

func TestPatchAllocates(t *testing.T) {
	for _, e := range []frame.Echo{baseEcho(), baseEcho6()} {
		for _, size := range []int{56, 5000} {
			e.DataLen, e.MTU = size, 1500
			tmpl := template(t, e)
			data := wantData(e, 3)
			var n uint64
			var frames int
			if allocs := testing.AllocsPerRun(1000, func() {
				n += 40000
				tmpl.SetDstMAC(dstMAC)
				tmpl.Patch(n)
				frames += len(tmpl.Fragments())
				tmpl.Diff(data, n)
				tmpl.Older(data, n)
				_ = tmpl.Checksum()
			}); allocs != 0 {
				t.Errorf("%v, %d bytes: %v allocations a probe, want 0", e.Dst, size, allocs)
			}
		}
	}
}

// A template of an ordinary probe is a struct and its frame, and no more: a run has
// one for each of its targets, which may be ten thousand.
func TestTemplateMemory(t *testing.T) {
	const count = 10_000
	for _, tt := range []struct {
		e    frame.Echo
		most float64
	}{{baseEcho(), 160}, {baseEcho6(), 176}} {
		tt.e.MTU = 1500
		list := make([]*frame.EchoTemplate, count)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range list {
			list[i] = template(t, tt.e)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		bytes := float64(after.HeapAlloc-before.HeapAlloc) / count
		objects := float64(after.HeapObjects-before.HeapObjects) / count
		t.Logf("%v: %.1f bytes in %.2f objects each; the struct has %d bytes", tt.e.Dst, bytes, objects, reflect.TypeFor[frame.EchoTemplate]().Size())
		if bytes > tt.most+4 || objects > 2.01 {
			t.Errorf("%v: %.1f bytes in %.2f objects each, want %v in 2", tt.e.Dst, bytes, objects, tt.most)
		}
		runtime.KeepAlive(list)
	}
}

func BenchmarkEchoPatch(b *testing.B) {
	for _, bb := range []struct {
		name string
		e    frame.Echo
		size int
	}{{"IPv4", baseEcho(), 56}, {"IPv6", baseEcho6(), 56}, {"IPv4-5000", baseEcho(), 5000}, {"IPv6-5000", baseEcho6(), 5000}} {
		b.Run(bb.name, func(b *testing.B) {
			bb.e.DataLen, bb.e.MTU = bb.size, 1500
			tmpl := template(b, bb.e)
			b.ReportAllocs()
			var n uint64
			for b.Loop() {
				n++
				tmpl.Patch(n)
				tmpl.Fragments()
			}
		})
	}
}

func BenchmarkEchoDiff(b *testing.B) {
	for _, size := range []int{56, 65507} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			e := baseEcho()
			e.DataLen, e.MTU = size, 1500
			tmpl := template(b, e)
			data := wantData(e, 7)
			b.ReportAllocs()
			for b.Loop() {
				if at, _ := tmpl.Diff(data, 7); at != -1 {
					b.Fatal("the probe differs from itself")
				}
			}
		})
	}
}
