package frame_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/l2/frame"
)

// packet6Of is an IPv6 packet with an ICMPv6 message in it, made by gopacket.
func packet6Of(t testing.TB, ip *layers.IPv6, typ, code uint8, rest []byte) []byte {
	t.Helper()
	ip.Version, ip.NextHeader = 6, layers.IPProtocolICMPv6
	if ip.SrcIP == nil {
		ip.SrcIP, ip.DstIP = dst6.AsSlice(), src6.AsSlice()
	}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, code)}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return serialize(t, ip, icmp, gopacket.Payload(rest))
}

func replyPacket6(t testing.TB) []byte {
	return packet6Of(t, &layers.IPv6{TrafficClass: 0xb8, FlowLabel: 0xabcde, HopLimit: 61}, 129, 0, []byte("\xbe\x0f\x00\x4dsome data"))
}

// fragment6 is an IPv6 packet with a fragment header.
func fragment6(id uint32, offset int, more bool, protocol byte, payload []byte) []byte {
	b := make([]byte, 40, 48+len(payload))
	b[0], b[6], b[7] = 0x60, 44, 64
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	copy(b[8:], dst6.AsSlice())
	copy(b[24:], src6.AsSlice())
	field := uint16(offset)
	if more {
		field |= 1
	}
	b = append(b, protocol, 0xee) // a reserved byte, to be ignored
	b = binary.BigEndian.AppendUint16(b, field|6)
	b = binary.BigEndian.AppendUint32(b, id)
	return append(b, payload...)
}

func TestIPDecode(t *testing.T) {
	four, six := replyPacket(t), replyPacket6(t)
	options := packetOf(t, &layers.IPv4{TTL: 1, Options: []layers.IPv4Option{
		{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}},
		{OptionType: 7, OptionLength: 7, OptionData: []byte{4, 0, 0, 0, 0}}, {OptionType: 0},
	}}, &layers.ICMPv4{}, []byte("data"))
	fragment := packetOf(t, &layers.IPv4{TTL: 1, Flags: layers.IPv4MoreFragments, FragOffset: 0x1fff}, &layers.ICMPv4{}, nil)
	// fourWith is what four becomes where its length or its checksum is another.
	fourWith := func(totalLen int, checksumOK bool) frame.IP {
		return frame.IP{
			Version: 4, Src: dst, Dst: src, Protocol: frame.ProtocolICMP, TTL: 61, TOS: 0xb8, ID: 0x1234, DontFragment: true,
			HeaderLen: 20, TotalLen: totalLen, ChecksumOK: checksumOK, Payload: four[20:totalLen],
		}
	}
	whole := fragment6(0x89abcdef, 0, false, 58, six[40:])
	first := fragment6(0x89abcdef, 0, true, 58, six[40:56])
	later := fragment6(1, 65528, false, 17, []byte("z"))
	for _, tt := range []struct {
		name string
		b    []byte
		want frame.IP
	}{
		{"IPv4", four, fourWith(len(four), true)},
		{"IPv4, padded", append(bytes.Clone(four), make([]byte, 17)...), fourWith(len(four), true)},
		{"IPv4, wrong checksum", change(four, 10, four[10]^1), fourWith(len(four), false)},
		{"IPv4, no payload", change(four, 2, 0, 20), fourWith(20, false)},
		{"IPv4, total length one less", change(four, 2, 0, byte(len(four)-1)), fourWith(len(four)-1, false)},
		{"IPv4, options", options, frame.IP{
			Version: 4, Src: dst, Dst: src, Protocol: frame.ProtocolICMP, TTL: 1,
			HeaderLen: 32, TotalLen: len(options), ChecksumOK: true, Payload: options[32:],
		}},
		{"IPv4, fragment", fragment, frame.IP{
			Version: 4, Src: dst, Dst: src, Protocol: frame.ProtocolICMP, TTL: 1, MoreFragments: true, Offset: 65528,
			HeaderLen: 20, TotalLen: len(fragment), ChecksumOK: true, Payload: fragment[20:],
		}},
		{"IPv6", six, frame.IP{
			Version: 6, Src: dst6, Dst: src6, Protocol: frame.ProtocolICMPv6, TTL: 61, TOS: 0xb8, FlowLabel: 0xabcde,
			HeaderLen: 40, TotalLen: len(six), ChecksumOK: true, Payload: six[40:],
		}},
		{"IPv6, padded", append(bytes.Clone(six), 0, 0, 0), frame.IP{
			Version: 6, Src: dst6, Dst: src6, Protocol: frame.ProtocolICMPv6, TTL: 61, TOS: 0xb8, FlowLabel: 0xabcde,
			HeaderLen: 40, TotalLen: len(six), ChecksumOK: true, Payload: six[40:],
		}},
		{"IPv6, a fragment header alone", whole, frame.IP{
			Version: 6, Src: dst6, Dst: src6, Protocol: frame.ProtocolICMPv6, TTL: 64, ID: 0x89abcdef,
			HeaderLen: 48, TotalLen: len(whole), ChecksumOK: true, Payload: six[40:],
		}},
		{"IPv6, first fragment", first, frame.IP{
			Version: 6, Src: dst6, Dst: src6, Protocol: frame.ProtocolICMPv6, TTL: 64, ID: 0x89abcdef, MoreFragments: true,
			HeaderLen: 48, TotalLen: len(first), ChecksumOK: true, Payload: six[40:56],
		}},
		{"IPv6, last fragment", later, frame.IP{
			Version: 6, Src: dst6, Dst: src6, Protocol: 17, TTL: 64, ID: 1, Offset: 65528,
			HeaderLen: 48, TotalLen: len(later), ChecksumOK: true, Payload: []byte("z"),
		}},
		{"IPv6, hop-by-hop options", change(six, 6, 0), frame.IP{
			Version: 6, Src: dst6, Dst: src6, Protocol: 0, TTL: 61, TOS: 0xb8, FlowLabel: 0xabcde,
			HeaderLen: 40, TotalLen: len(six), ChecksumOK: true, Payload: six[40:],
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// What another packet left in it does not stay.
			h := frame.IP{FlowLabel: 1, ID: 2, DontFragment: true, MoreFragments: true, Offset: 8, Payload: []byte("old")}
			if err := h.Decode(tt.b); err != nil {
				t.Fatal(err)
			}
			payload := h.Payload
			h.Payload = nil
			want := tt.want
			want.Payload = nil
			if !bytes.Equal(payload, tt.want.Payload) {
				t.Errorf("payload % x, want % x", payload, tt.want.Payload)
			}
			if !equalIP(h, want) {
				t.Errorf("%+v, want %+v", h, want)
			}
			if err := h.DecodeQuoted(tt.b); err != nil || !bytes.Equal(h.Payload, tt.want.Payload) {
				t.Errorf("quoted: %v, %+v", err, h)
			}
			for n := range tt.want.TotalLen {
				if err := h.Decode(tt.b[:n]); !errors.Is(err, frame.ErrTruncated) {
					t.Errorf("%d bytes: %v", n, err)
				}
				err := h.DecodeQuoted(tt.b[:n])
				if n < tt.want.HeaderLen && !errors.Is(err, frame.ErrTruncated) ||
					n >= tt.want.HeaderLen && (err != nil || len(h.Payload) != n-tt.want.HeaderLen) {
					t.Errorf("quoted, %d bytes: %v, payload of %d", n, err, len(h.Payload))
				}
			}
		})
	}
}

// equalIP compares all but the payload.
func equalIP(a, b frame.IP) bool {
	return a.Version == b.Version && a.Src == b.Src && a.Dst == b.Dst && a.Protocol == b.Protocol && a.TTL == b.TTL && a.TOS == b.TOS &&
		a.FlowLabel == b.FlowLabel && a.ID == b.ID && a.DontFragment == b.DontFragment && a.MoreFragments == b.MoreFragments &&
		a.Offset == b.Offset && a.HeaderLen == b.HeaderLen && a.TotalLen == b.TotalLen && a.ChecksumOK == b.ChecksumOK
}

func TestIPDecodeErrors(t *testing.T) {
	four, six := replyPacket(t), replyPacket6(t)
	for _, tt := range []struct {
		name           string
		b              []byte
		decode, quoted error
	}{
		{"nothing", nil, frame.ErrTruncated, frame.ErrTruncated},
		{"version 0", change(six, 0, 0), frame.ErrMalformed, frame.ErrMalformed},
		{"version 5", []byte{0x50}, frame.ErrMalformed, frame.ErrMalformed},
		{"version 7", change(six, 0, 0x70), frame.ErrMalformed, frame.ErrMalformed},
		{"IPv4 that is cut", []byte{0x45}, frame.ErrTruncated, frame.ErrTruncated},
		{"IPv4, total length less than the header", change(four, 2, 0, 19), frame.ErrMalformed, frame.ErrMalformed},
		{"IPv4, total length 0", change(four, 2, 0, 0), frame.ErrMalformed, frame.ErrMalformed},
		{"IPv4, total length one too much", change(four, 2, 0, byte(len(four)+1)), frame.ErrTruncated, nil},
		{"IPv4, total length 65535", change(four, 2, 255, 255), frame.ErrTruncated, nil},
		{"IPv4, IHL 0", change(four, 0, 0x40), frame.ErrMalformed, frame.ErrMalformed},
		{"IPv4, IHL 4", change(four, 0, 0x44), frame.ErrMalformed, frame.ErrMalformed},
		{"IPv4, IHL 15 in a packet of 37", change(four, 0, 0x4f), frame.ErrMalformed, frame.ErrMalformed},
		{"IPv4, IHL 15 in a longer packet that is cut", change(four, 0, 0x4f, 0, 0, 200), frame.ErrTruncated, frame.ErrTruncated},
		{"IPv4 that says it is IPv6, and is too short for it", change(four, 0, 0x65), frame.ErrTruncated, frame.ErrTruncated},
		{"IPv6 that is cut", six[:39], frame.ErrTruncated, frame.ErrTruncated},
		{"IPv6 without payload", change(six, 4, 0, 0), nil, nil},
		{"IPv6, one byte too few", change(six, 4, 0, byte(len(six)-40+1)), frame.ErrTruncated, nil},
		{"fragment header does not fit in the length", change(fragment6(1, 0, true, 58, make([]byte, 8)), 4, 0, 7), frame.ErrMalformed, frame.ErrMalformed},
		{"fragment header and nothing else", fragment6(1, 0, true, 58, nil), nil, nil},
		{"fragment header that is cut", fragment6(1, 0, true, 58, nil)[:47], frame.ErrTruncated, frame.ErrTruncated},
	} {
		var h frame.IP
		if err := h.Decode(tt.b); !errors.Is(err, tt.decode) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.decode)
		}
		if err := h.DecodeQuoted(tt.b); !errors.Is(err, tt.quoted) {
			t.Errorf("%s, quoted: %v, want %v", tt.name, err, tt.quoted)
		} else if err == nil && tt.decode != nil && !bytes.Equal(h.Payload, tt.b[h.HeaderLen:]) {
			t.Errorf("%s, quoted: payload % x of % x", tt.name, h.Payload, tt.b)
		}
	}
}

func TestICMPv6Decode(t *testing.T) {
	b := replyPacket6(t)[40:]
	var m frame.ICMP
	if err := m.Decode6(b, dst6, src6); err != nil {
		t.Fatal(err)
	}
	if !m.V6 || m.Type != frame.ICMPv6EchoReply || m.Code != 0 || m.ID != 0xbe0f || m.Seq != 77 || !m.ChecksumOK ||
		m.Checksum != binary.BigEndian.Uint16(b[2:]) || string(m.Body) != "some data" {
		t.Errorf("%+v", m)
	}
	for i := range b {
		if err := m.Decode6(change(b, i, b[i]^0x10), dst6, src6); err != nil || m.ChecksumOK {
			t.Errorf("byte %d changed: %v, checksum holds: %v", i, err, m.ChecksumOK)
		}
	}
	for n := range b {
		if err := m.Decode6(b[:n], dst6, src6); (n < 8) != errors.Is(err, frame.ErrTruncated) || n >= 8 && m.ChecksumOK {
			t.Errorf("%d bytes: %v, checksum holds: %v", n, err, m.ChecksumOK)
		}
	}
	// The pseudo-header: the same message from another address, and as IPv4's.
	if err := m.Decode6(b, netip.MustParseAddr("2001:db8:2::2"), src6); err != nil || m.ChecksumOK {
		t.Error("another source: the checksum holds")
	}
	if err := m.Decode(b); err != nil || m.ChecksumOK || m.V6 {
		t.Errorf("as ICMP for IPv4: %+v", m)
	}
	// The length in the pseudo-header has 32 bits.
	long := append([]byte{129, 0, 0, 0}, text(70000)...)
	binary.BigEndian.PutUint16(long[2:], naive6(long, dst6, src6))
	if err := m.Decode6(long, dst6, src6); err != nil || !m.ChecksumOK {
		t.Error("more than 65535 bytes: the checksum does not hold")
	}
	if err := m.Decode6(b, dst6.WithZone("eth0"), src6); err != nil || !m.ChecksumOK {
		t.Error("a zone is part of the checksum")
	}
}

func TestICMPv6ErrorFields(t *testing.T) {
	var m frame.ICMP
	decode := func(b []byte) {
		t.Helper()
		if err := m.Decode6(b, dst6, src6); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		word uint32
		mtu  int
	}{{1280, 1280}, {0x1_0000, 0x1_0000}, {0, 0}, {0x7fff_ffff, 0x7fff_ffff}, {0xffff_ffff, 0x7fff_ffff}} {
		decode(binary.BigEndian.AppendUint32([]byte{2, 0, 0, 0}, tt.word))
		if m.MTU() != tt.mtu || m.Pointer() != tt.word {
			t.Errorf("%#x: MTU %d, want %d; pointer %d", tt.word, m.MTU(), tt.mtu, m.Pointer())
		}
	}
	redirect := append([]byte{137, 0, 0, 0, 0, 0, 0, 0}, dst6.AsSlice()...)
	decode(redirect)
	if m.Gateway() != dst6 {
		t.Errorf("gateway %v", m.Gateway())
	}
	decode(redirect[:23])
	if m.Gateway().IsValid() {
		t.Errorf("a cut redirect names the gateway %v", m.Gateway())
	}
}

func FuzzIPDecode(f *testing.F) {
	f.Add(replyPacket(f))
	f.Add(replyPacket(f)[:28])
	f.Add(change(replyPacket(f), 2, 255, 255))
	f.Add(replyPacket6(f))
	f.Add(replyPacket6(f)[:48])
	f.Add(fragment6(7, 1480, true, 58, []byte("12345678")))
	f.Add(fragment6(7, 0, false, 58, nil))
	f.Add(change(fragment6(7, 0, false, 58, nil), 4, 0, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		h := frame.IP{FlowLabel: 1 << 30, ID: 1, Offset: 9, Payload: b}
		var quoted frame.IP
		err, quotedErr := h.Decode(b), quoted.DecodeQuoted(b)
		if err == nil && (quotedErr != nil || !equalIP(h, quoted) || !bytes.Equal(h.Payload, quoted.Payload)) {
			t.Fatalf("%+v, quoted %+v, %v", h, quoted, quotedErr)
		}
		if err == nil && len(h.Payload) != h.TotalLen-h.HeaderLen {
			t.Errorf("payload of %d bytes, total length %d, header %d", len(h.Payload), h.TotalLen, h.HeaderLen)
		}
		if quotedErr != nil {
			return
		}
		if !bytes.HasPrefix(b[quoted.HeaderLen:], quoted.Payload) || len(quoted.Payload) != min(quoted.TotalLen, len(b))-quoted.HeaderLen {
			t.Errorf("quoted payload % x of % x", quoted.Payload, b)
		}
		switch {
		case quoted.Version == 4:
			checkIPv4(t, &quoted, b)
		case err == nil:
			checkIPv6(t, &h, b)
		}
	})
}

// checkIPv4 holds a decoded header, of a packet or a quote, against its bytes and
// gopacket.
func checkIPv4(t *testing.T, h *frame.IP, b []byte) {
	t.Helper()
	if b[0]>>4 != 4 || h.HeaderLen < 20 || h.HeaderLen > len(b) || h.HeaderLen > h.TotalLen ||
		h.ChecksumOK != (naive(b[:h.HeaderLen]) == 0) || h.Offset%8 != 0 || h.Offset > 65528 || h.FlowLabel != 0 {
		t.Fatalf("%+v of % x", h, b)
	}
	// gopacket agrees wherever it accepts the header at all.
	var ip layers.IPv4
	if ip.DecodeFromBytes(b, gopacket.NilDecodeFeedback) != nil {
		return
	}
	if !ip.SrcIP.Equal(h.Src.AsSlice()) || !ip.DstIP.Equal(h.Dst.AsSlice()) || uint8(ip.Protocol) != uint8(h.Protocol) ||
		ip.TTL != h.TTL || ip.TOS != h.TOS || uint32(ip.Id) != h.ID || int(ip.Length) != h.TotalLen || int(ip.IHL)*4 != h.HeaderLen ||
		(ip.Flags&layers.IPv4DontFragment != 0) != h.DontFragment || (ip.Flags&layers.IPv4MoreFragments != 0) != h.MoreFragments ||
		int(ip.FragOffset)*8 != h.Offset || !bytes.Equal(ip.Payload, h.Payload) {
		t.Errorf("gopacket: %+v\nhere: %+v", ip, h)
	}
}

// checkIPv6 holds a decoded header against its bytes and gopacket.
func checkIPv6(t *testing.T, h *frame.IP, b []byte) {
	t.Helper()
	if h.Version != 6 || b[0]>>4 != 6 || h.TotalLen > len(b) || len(h.Payload) != h.TotalLen-h.HeaderLen || !bytes.HasPrefix(b[h.HeaderLen:], h.Payload) ||
		h.Offset%8 != 0 || h.Offset > 65528 || !h.ChecksumOK || h.DontFragment {
		t.Fatalf("%+v of % x", h, b)
	}
	if b[6] == 0 || h.TotalLen == 40 {
		return // gopacket reads hop-by-hop options, and looks there for the length of a jumbogram where it is 0
	}
	var ip layers.IPv6
	if err := ip.DecodeFromBytes(b, gopacket.NilDecodeFeedback); err != nil {
		t.Fatalf("gopacket: %v, here %+v", err, h)
	}
	if !ip.SrcIP.Equal(h.Src.AsSlice()) || !ip.DstIP.Equal(h.Dst.AsSlice()) || ip.HopLimit != h.TTL || ip.TrafficClass != h.TOS ||
		ip.FlowLabel != h.FlowLabel || int(ip.Length)+40 != h.TotalLen {
		t.Errorf("gopacket: %+v\nhere: %+v", ip, h)
	}
	if ip.NextHeader != layers.IPProtocolIPv6Fragment {
		if h.HeaderLen != 40 || uint8(ip.NextHeader) != uint8(h.Protocol) || !bytes.Equal(ip.Payload, h.Payload) || h.MoreFragments || h.Offset != 0 || h.ID != 0 {
			t.Errorf("gopacket: %+v\nhere: %+v", ip, h)
		}
		return
	}
	var fragment layers.IPv6Fragment
	if err := fragment.DecodeFromBytes(ip.Payload, gopacket.NilDecodeFeedback); err != nil {
		t.Fatalf("gopacket: %v, here %+v", err, h)
	}
	if h.HeaderLen != 48 || uint8(fragment.NextHeader) != uint8(h.Protocol) || int(fragment.FragmentOffset)*8 != h.Offset ||
		fragment.MoreFragments != h.MoreFragments || fragment.Identification != h.ID || !bytes.Equal(fragment.Payload, h.Payload) {
		t.Errorf("gopacket: %+v\nhere: %+v", fragment, h)
	}
}

func FuzzICMPv6Decode(f *testing.F) {
	f.Add(replyPacket6(f)[40:], dst6.AsSlice(), src6.AsSlice())
	f.Add([]byte{2, 0, 0, 0, 0, 0, 5, 0}, []byte{}, []byte{1})
	f.Add(append([]byte{137, 0, 0, 0, 0, 0, 0, 0}, dst6.AsSlice()...), []byte{255}, []byte{255})
	f.Fuzz(func(t *testing.T, b, from, to []byte) {
		var a [2][16]byte
		copy(a[0][:], from)
		copy(a[1][:], to)
		src, dst := netip.AddrFrom16(a[0]), netip.AddrFrom16(a[1])
		var m frame.ICMP
		if err := m.Decode6(b, src, dst); (err == nil) != (len(b) >= 8) {
			t.Fatalf("%d bytes: %v", len(b), err)
		} else if err != nil {
			return
		}
		word := binary.BigEndian.Uint32(b[4:])
		if m.ChecksumOK != (naive6(b, src, dst) == 0) || !bytes.Equal(m.Body, b[8:]) || !m.V6 || m.Type != frame.ICMPType(b[0]) || m.Code != b[1] ||
			m.Pointer() != word || m.MTU() != int(min(word, 0x7fff_ffff)) || m.ID != binary.BigEndian.Uint16(b[4:]) || m.Seq != binary.BigEndian.Uint16(b[6:]) ||
			m.Gateway().IsValid() != (len(b) >= 24) {
			t.Errorf("% x becomes %+v", b, m)
		}
		_, _ = m.Type.Name(true), m.Type.String()
	})
}
