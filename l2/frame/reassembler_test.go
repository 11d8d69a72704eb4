package frame_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/l2ping/l2ping/l2/frame"
)

// fragment4 is an IPv4 packet.
func fragment4(id uint16, offset int, more bool, protocol byte, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0], b[8], b[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	binary.BigEndian.PutUint16(b[4:], id)
	field := uint16(offset / 8)
	if more {
		field |= 0x2000
	}
	binary.BigEndian.PutUint16(b[6:], field)
	copy(b[12:], dst.AsSlice())
	copy(b[16:], src.AsSlice())
	binary.BigEndian.PutUint16(b[10:], naive(b))
	return append(b, payload...)
}

// A family makes fragments of one IP version.
type family struct {
	name     string
	fragment func(id, offset int, more bool, payload []byte) *frame.IP
}

func parse(b []byte) *frame.IP {
	var h frame.IP
	if err := h.Decode(b); err != nil {
		panic(err)
	}
	return &h
}

var families = []family{
	{"IPv4", func(id, offset int, more bool, payload []byte) *frame.IP {
		return parse(fragment4(uint16(id), offset, more, 1, payload))
	}},
	{"IPv6", func(id, offset int, more bool, payload []byte) *frame.IP {
		return parse(fragment6(uint32(id), offset, more, 58, payload))
	}},
}

// cut makes the fragments of a payload that start at 0 and the given offsets.
func (f family) cut(id int, payload []byte, offsets ...int) []*frame.IP {
	list := []*frame.IP{}
	from := 0
	for _, to := range append(offsets, len(payload)) {
		list = append(list, f.fragment(id, from, to < len(payload), payload[from:to]))
		from = to
	}
	return list
}

// text is a payload without repetitions, so that a part in the wrong place shows.
func text(n int) []byte {
	b := make([]byte, 0, n+4)
	for i := 0; len(b) < n; i++ {
		b = binary.BigEndian.AppendUint32(b, uint32(i)*2654435761)
	}
	return b[:n]
}

// add gives fragments to a reassembler and returns what came out.
func add(r *frame.Reassembler, now int64, list ...*frame.IP) (got [][]byte) {
	for _, ip := range list {
		if payload, done := r.Add(ip, now); done {
			got = append(got, bytes.Clone(payload))
		} else if payload != nil {
			panic("a payload that is not whole")
		}
	}
	return got
}

func TestReassemblerOrders(t *testing.T) {
	for _, f := range families {
		payload := text(101)
		parts := f.cut(7, payload, 8, 48, 96)
		orders := permutations(len(parts))
		if len(orders) != 24 {
			t.Fatalf("%d orders", len(orders))
		}
		r := frame.NewReassembler(frame.ReassemblerConfig{})
		for _, order := range orders {
			list := []*frame.IP{}
			for _, i := range order {
				list = append(list, parts[i])
			}
			if got := add(r, 0, list...); len(got) != 1 || !bytes.Equal(got[0], payload) {
				t.Errorf("%s, order %v: %x", f.name, order, got)
			}
			// Each twice, but for the last, which completes it.
			list = list[:0]
			for _, i := range order[:3] {
				list = append(list, parts[i], parts[i])
			}
			list = append(append(list, list...), parts[order[3]])
			if got := add(r, 0, list...); len(got) != 1 || !bytes.Equal(got[0], payload) {
				t.Errorf("%s, order %v, with duplicates: %x", f.name, order, got)
			}
		}
	}
}

func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var all [][]int
	for _, p := range permutations(n - 1) {
		for i := range n {
			all = append(all, slices.Insert(slices.Clone(p), i, n-1))
		}
	}
	return all
}

// Fragments that overlap make the datagram void, with the rest of it (RFC 5722).
func TestReassemblerOverlaps(t *testing.T) {
	for _, f := range families {
		payload := text(101)
		same := func(from, to int, more bool) *frame.IP { return f.fragment(7, from, more, payload[from:to]) }
		other := bytes.Clone(payload)
		other[50] ^= 1
		for name, list := range map[string][]*frame.IP{
			"the same place, another byte":           {same(0, 48, true), same(48, 96, true), f.fragment(7, 48, true, other[48:96])},
			"one unit into the one before":           {same(0, 48, true), same(40, 96, true)},
			"one unit into the one behind":           {same(48, 96, true), same(0, 56, true)},
			"inside":                                 {same(0, 96, true), same(40, 48, true)},
			"at the start of another":                {same(0, 96, true), same(0, 48, true)},
			"at the end of another":                  {same(0, 96, true), same(48, 96, true)},
			"around":                                 {same(40, 48, true), same(0, 96, true)},
			"over two":                               {same(0, 48, true), same(48, 96, true), same(0, 96, true)},
			"over a gap":                             {same(0, 16, true), same(32, 48, true), same(8, 40, true)},
			"the last one, repeated as not the last": {f.fragment(7, 48, false, payload[48:96]), same(48, 96, true)},
			"not the last one, repeated as the last": {same(48, 96, true), f.fragment(7, 48, false, payload[48:96])},
			"behind the end":                         {f.fragment(7, 8, false, payload[8:16]), same(16, 24, true)},
			"an end before what came":                {same(48, 96, true), f.fragment(7, 8, false, payload[8:16])},
			"another end behind the end":             {f.fragment(7, 8, false, payload[8:16]), same(48, 101, false)},
			"another end before the end":             {same(48, 101, false), f.fragment(7, 8, false, payload[8:16])},
			// As many bytes as the datagram has, and still not all of it.
			"a unit twice for one that is missing":            {same(0, 16, true), same(8, 24, true), f.fragment(7, 32, false, payload[32:40])},
			"a unit twice for one that is missing, backwards": {f.fragment(7, 32, false, payload[32:40]), same(8, 24, true), same(0, 16, true)},
			"another end in the last fragment":                {same(48, 101, false), f.fragment(7, 48, false, payload[48:100])},
		} {
			r := frame.NewReassembler(frame.ReassemblerConfig{Age: time.Second})
			if got := add(r, 0, list...); got != nil {
				t.Errorf("%s, %s: %x", f.name, name, got)
			}
			// What is still to come of it is as void, twice over.
			good := f.cut(7, payload, 48, 96)
			if got := add(r, int64(time.Second), append(good, good...)...); got != nil {
				t.Errorf("%s, %s, and then all of it: %x", f.name, name, got)
			}
			// Another datagram is not, nor one that comes when it is forgotten.
			if got := add(r, 0, f.cut(8, payload, 48)...); len(got) != 1 {
				t.Errorf("%s, %s: another datagram is refused, too", f.name, name)
			}
			if got := add(r, int64(time.Second)+1, good...); len(got) != 1 || !bytes.Equal(got[0], payload) {
				t.Errorf("%s, %s: still refused when it is forgotten: %x", f.name, name, got)
			}
		}
	}
}

// What no host would take changes nothing.
func TestReassemblerPassedOver(t *testing.T) {
	for _, f := range families {
		payload := text(101)
		wrong := *f.fragment(7, 0, true, text(48))
		wrong.ChecksumOK = false
		for name, bad := range map[string]*frame.IP{
			"wrong checksum":           &wrong,
			"no payload":               f.fragment(7, 48, true, nil),
			"no payload, and the last": f.fragment(7, 96, false, nil),
			"length not in units of 8": f.fragment(7, 0, true, payload[:50]),
			"past 65535":               f.fragment(7, 65528, false, text(8)),
			"past 65535, by far":       f.fragment(7, 65528, true, text(1400)),
		} {
			r := frame.NewReassembler(frame.ReassemblerConfig{})
			good := f.cut(7, payload, 48, 96)
			if got := add(r, 0, bad, good[0], bad, good[1], bad, good[2]); len(got) != 1 || !bytes.Equal(got[0], payload) {
				t.Errorf("%s, %s: %x", f.name, name, got)
			}
		}
	}
}

func TestReassemblerWhole(t *testing.T) {
	r := frame.NewReassembler(frame.ReassemblerConfig{Size: 8})
	for _, b := range [][]byte{replyPacket(t), replyPacket6(t), fragment6(7, 0, false, 58, text(30))} {
		ip := parse(b)
		if got, done := r.Add(ip, 0); !done || !bytes.Equal(got, ip.Payload) {
			t.Errorf("%v, %x of %+v", done, got, ip)
		}
		ip.ChecksumOK = false
		if got, done := r.Add(ip, 0); done || got != nil {
			t.Errorf("with a wrong checksum: %v, %x", done, got)
		}
	}
	// Such an IPv6 fragment has nothing to do with others of its id (RFC 6946).
	f := families[1]
	parts := f.cut(7, text(16), 8)
	r = frame.NewReassembler(frame.ReassemblerConfig{})
	if got := add(r, 0, parts[0], parse(fragment6(7, 0, false, 58, []byte("other"))), parts[1]); len(got) != 2 || string(got[0]) != "other" || !bytes.Equal(got[1], text(16)) {
		t.Errorf("%x", got)
	}
}

// All that the key holds tells datagrams apart.
func TestReassemblerKeys(t *testing.T) {
	for _, f := range families {
		for name, change := range map[string]func(*frame.IP){
			"id":          func(h *frame.IP) { h.ID++ },
			"protocol":    func(h *frame.IP) { h.Protocol++ },
			"source":      func(h *frame.IP) { h.Src = h.Src.Next() },
			"destination": func(h *frame.IP) { h.Dst = h.Dst.Next() },
			"both addresses": func(h *frame.IP) {
				h.Src, h.Dst = h.Dst, h.Src
			},
		} {
			parts, others := f.cut(7, text(101), 48), f.cut(7, text(101)[1:], 48)
			for _, o := range others {
				change(o)
			}
			r := frame.NewReassembler(frame.ReassemblerConfig{Datagrams: 2})
			got := add(r, 0, parts[0], others[0], parts[1], others[1])
			if len(got) != 2 || !bytes.Equal(got[0], text(101)) || !bytes.Equal(got[1], text(101)[1:]) {
				t.Errorf("%s, %s: %x", f.name, name, got)
			}
		}
	}
	// IPv4 in an IPv6 header is not IPv4.
	four, six := families[0].cut(7, text(16), 8), families[1].cut(7, text(16), 8)
	for _, h := range six {
		h.Src, h.Dst, h.Protocol = netip.AddrFrom16(four[0].Src.As16()), netip.AddrFrom16(four[0].Dst.As16()), 1
	}
	r := frame.NewReassembler(frame.ReassemblerConfig{})
	if got := add(r, 0, four[0], six[1]); got != nil {
		t.Errorf("%x of both families", got)
	}
}

func TestReassemblerBounds(t *testing.T) {
	for _, f := range families {
		payload := text(32)
		// Of three datagrams in the room of two the oldest goes.
		r := frame.NewReassembler(frame.ReassemblerConfig{Datagrams: 2})
		one, two, three := f.cut(1, payload, 16), f.cut(2, payload, 16), f.cut(3, payload, 16)
		add(r, 1, one[0])
		add(r, 2, two[0])
		add(r, 3, three[0])
		if got := add(r, 4, three[1]); len(got) != 1 || !bytes.Equal(got[0], payload) {
			t.Errorf("%s: the youngest is lost: %x", f.name, got)
		}
		if got := add(r, 4, two[1]); len(got) != 1 || !bytes.Equal(got[0], payload) {
			t.Errorf("%s: the second is lost: %x", f.name, got)
		}
		if got := add(r, 4, one[1]); got != nil {
			t.Errorf("%s: three in the room of two: %x", f.name, got)
		}

		// Size: to the byte.
		for size, want := range map[int]int{32: 1, 33: 1, 31: 0, 30: 0} {
			r := frame.NewReassembler(frame.ReassemblerConfig{Size: size})
			if got := add(r, 0, f.cut(1, payload, 8, 16, 24)...); len(got) != want {
				t.Errorf("%s, %d bytes in the room of %d: %x", f.name, len(payload), size, got)
			}
		}

		// Age: to the nanosecond, from the first fragment on.
		for _, order := range [][]*frame.IP{one, {one[1], one[0]}} {
			r := frame.NewReassembler(frame.ReassemblerConfig{Age: 10})
			add(r, 100, order[0])
			add(r, 105, order[0])
			if got := add(r, 110, order[1]); len(got) != 1 {
				t.Errorf("%s: an age of 10 is too old for 10", f.name)
			}
			add(r, 200, order[0])
			add(r, 205, order[0])
			if got := add(r, 211, order[1]); got != nil {
				t.Errorf("%s: an age of 11 is not too old for 10: %x", f.name, got)
			}
		}
		// What grew too old makes room before the oldest has to.
		r = frame.NewReassembler(frame.ReassemblerConfig{Datagrams: 2, Age: 10})
		add(r, 0, one[0])
		add(r, 8, two[0])
		add(r, 11, three[0])
		if got := add(r, 12, two[1]); len(got) != 1 {
			t.Errorf("%s: a datagram that is not too old made room", f.name)
		}
	}
}

// The largest packets there are: the header counts in IPv4, in IPv6 it does not.
func TestReassemblerLargest(t *testing.T) {
	for i, most := range []int{65515, 65535} {
		f := families[i]
		for _, tt := range []struct{ size, want int }{{most, 1}, {most + 1, 0}} {
			payload := text(tt.size)
			var offsets []int
			for at := 1480; at < len(payload); at += 1480 {
				offsets = append(offsets, at)
			}
			r := frame.NewReassembler(frame.ReassemblerConfig{})
			got := add(r, 0, f.cut(1, payload, offsets...)...)
			if len(got) != tt.want || tt.want == 1 && !bytes.Equal(got[0], payload) {
				t.Errorf("%s, %d bytes: %d datagrams", f.name, tt.size, len(got))
			}
		}
	}
}

// A datagram in very many fragments is refused, and harms no other.
func TestReassemblerManyFragments(t *testing.T) {
	for _, f := range families {
		for units, want := range map[int]int{2048: 1, 2049: 0, 8000: 0} {
			payload := text(8 * units)
			var offsets []int
			for at := 8; at < len(payload); at += 8 {
				offsets = append(offsets, at)
			}
			parts := f.cut(1, payload, offsets...)
			r := frame.NewReassembler(frame.ReassemblerConfig{})
			got := add(r, 0, parts...)
			if len(got) != want || want == 1 && !bytes.Equal(got[0], payload) {
				t.Errorf("%s, %d fragments: %d datagrams", f.name, units, len(got))
			}
			slices.Reverse(parts)
			if got := add(frame.NewReassembler(frame.ReassemblerConfig{}), 0, parts...); len(got) != want {
				t.Errorf("%s, %d fragments from the last to the first: %d datagrams", f.name, units, len(got))
			}
			if got := add(r, 0, f.cut(2, text(20), 8)...); len(got) != 1 {
				t.Errorf("%s, %d fragments: another datagram is lost", f.name, units)
			}
		}
	}
}

func TestReassemblerAllocates(t *testing.T) {
	for _, f := range families {
		payload := text(5000)
		parts := f.cut(1, payload, 1480, 2960, 4440)
		lone := f.fragment(1, 8, true, payload[:8])
		overlap := f.fragment(1, 8, true, payload[:16])
		r := frame.NewReassembler(frame.ReassemblerConfig{Datagrams: 4})
		id := uint32(0)
		whole := 0
		if allocs := testing.AllocsPerRun(1000, func() {
			id++
			for i := range parts {
				p := parts[(i*3+1)%4]
				p.ID = id
				for range 2 {
					if _, done := r.Add(p, int64(id)); done {
						whole++
						break
					}
				}
			}
			id++
			lone.ID, overlap.ID = id, id
			r.Add(lone, int64(id))
			if id%3 == 0 {
				r.Add(overlap, int64(id))
			}
		}); allocs != 0 {
			t.Errorf("%s: %v allocations, want 0", f.name, allocs)
		}
		if whole != 1001 {
			t.Errorf("%s: %d datagrams came, want 1001", f.name, whole)
		}
	}
}

// FuzzReassemblerOrder: whatever the cuts, the order and the duplicates, nothing
// but the original comes out, and it does come out.
func FuzzReassemblerOrder(f *testing.F) {
	f.Add(text(101), uint64(1), uint64(2), []byte{1, 2, 3})
	f.Add(text(3000), uint64(3), uint64(4), []byte{185})
	f.Add([]byte("123456789"), uint64(0), uint64(0), []byte{1})
	f.Fuzz(func(t *testing.T, payload []byte, seed1, seed2 uint64, cuts []byte) {
		if len(payload) < 9 || len(payload) > 20000 {
			return
		}
		var offsets []int
		at := 0
		for _, c := range cuts {
			if at += 8 * (int(c) + 1); at >= len(payload) {
				break
			}
			offsets = append(offsets, at)
		}
		if len(offsets) == 0 {
			offsets = []int{8}
		}
		random := rand.New(rand.NewPCG(seed1, seed2))
		for _, fam := range families {
			list := fam.cut(7, payload, offsets...)
			for range random.IntN(2 * len(list)) {
				list = append(list, list[random.IntN(len(list))])
			}
			random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			got := add(frame.NewReassembler(frame.ReassemblerConfig{Datagrams: 1}), 0, list...)
			if len(got) == 0 {
				t.Errorf("%s: nothing came out of %d fragments", fam.name, len(list))
			}
			for _, g := range got {
				if !bytes.Equal(g, payload) {
					t.Errorf("%s: % x, want % x", fam.name, g, payload)
				}
			}
		}
	})
}

// A model is RFC 5722 by pairs of fragments, without bounds.
type model map[string]*modelDatagram

type modelDatagram struct {
	parts []*frame.IP
	void  bool
}

func (m model) add(ip *frame.IP) (payload []byte, done bool) {
	if ip.Offset == 0 && !ip.MoreFragments {
		return ip.Payload, true
	}
	if len(ip.Payload) == 0 || ip.MoreFragments && len(ip.Payload)%8 != 0 {
		return nil, false
	}
	key := fmt.Sprint(ip.Src, ip.Dst, ip.ID, ip.Protocol)
	d := m[key]
	if d == nil {
		d = &modelDatagram{}
		m[key] = d
	}
	if d.void {
		return nil, false
	}
	end := ip.Offset + len(ip.Payload)
	for _, p := range d.parts {
		pEnd := p.Offset + len(p.Payload)
		if p.Offset == ip.Offset && p.MoreFragments == ip.MoreFragments && bytes.Equal(p.Payload, ip.Payload) {
			return nil, false
		}
		if p.Offset < end && ip.Offset < pEnd || !p.MoreFragments && end > pEnd || !ip.MoreFragments && pEnd > end {
			d.void = true
			return nil, false
		}
	}
	d.parts = append(d.parts, ip)
	size, total := 0, -1
	for _, p := range d.parts {
		size += len(p.Payload)
		if !p.MoreFragments {
			total = p.Offset + len(p.Payload)
		}
	}
	if size != total {
		return nil, false
	}
	whole := make([]byte, total)
	for _, p := range d.parts {
		copy(whole[p.Offset:], p.Payload)
	}
	delete(m, key)
	return whole, true
}

// FuzzReassembler lets hostile fragments of four datagrams come, four bytes each:
// with room for all of them it agrees with the model at every step; with little
// room and time it keeps within its bounds.
func FuzzReassembler(f *testing.F) {
	f.Add([]byte{0x40, 0, 8, 1, 0, 1, 8, 1})
	f.Add([]byte{0x40, 0, 16, 1, 0x40, 1, 8, 1, 0, 2, 3, 2})
	f.Add([]byte{0x43, 1, 8, 9, 0x03, 2, 5, 9, 0x43, 1, 8, 9, 0x43, 0, 8, 9})
	f.Add([]byte{0, 1, 8, 1, 0, 2, 8, 1, 0x40, 0, 8, 1, 0x40, 0, 8, 2, 0, 0, 8, 2})
	f.Fuzz(func(t *testing.T, ops []byte) {
		m := model{}
		roomy := frame.NewReassembler(frame.ReassemblerConfig{Datagrams: 4, Size: 512})
		narrow := frame.NewReassembler(frame.ReassemblerConfig{Datagrams: 2, Size: 40, Age: 5})
		for now := int64(0); len(ops) >= 4; now++ {
			key, offset, size, content := ops[0], ops[1], ops[2], ops[3]
			ops = ops[4:]
			payload := bytes.Repeat([]byte{content}, int(size%25))
			ip := families[key&1].fragment(int(key>>1&1), int(offset%16)*8, key&0x40 != 0, payload)
			want, whole := m.add(ip)
			if got, done := roomy.Add(ip, now); done != whole || !bytes.Equal(got, want) {
				t.Fatalf("%+v: %v, % x, want %v, % x", ip, done, got, whole, want)
			}
			if got, done := narrow.Add(ip, now); len(got) > 40 || !done && got != nil {
				t.Fatalf("%+v: %v, %d bytes in the room of 40", ip, done, len(got))
			}
		}
	})
}

func BenchmarkReassembler(b *testing.B) {
	for _, f := range families {
		b.Run(f.name, func(b *testing.B) {
			payload := text(5000)
			parts := f.cut(1, payload, 1480, 2960, 4440)
			r := frame.NewReassembler(frame.ReassemblerConfig{})
			b.ReportAllocs()
			b.SetBytes(int64(len(payload)))
			for b.Loop() {
				var done bool
				for _, p := range parts {
					_, done = r.Add(p, 0)
				}
				if !done {
					b.Fatal("incomplete")
				}
			}
		})
	}
}
