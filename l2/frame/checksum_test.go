package frame_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/l2ping/l2ping/l2/frame"
)

// naive is the Internet checksum as RFC 1071 words it: add 16-bit words, bring
// the carries back in, complement.
func naive(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		word := uint32(b[i]) << 8
		if i+1 < len(b) {
			word |= uint32(b[i+1])
		}
		sum += word
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// naive6 is that of an ICMPv6 message with the pseudo-header of RFC 8200, section
// 8.1, written out.
func naive6(message []byte, src, dst netip.Addr) uint16 {
	b := append(src.WithZone("").AsSlice(), dst.WithZone("").AsSlice()...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(message)))
	b = append(b, 0, 0, 0, 58)
	return naive(append(b, message...))
}

func TestChecksum(t *testing.T) {
	for _, tt := range []struct {
		name string
		b    []byte
		want uint16
	}{
		{"nothing", nil, 0xffff},
		{"one byte", []byte{0x12}, ^uint16(0x1200)},
		{"one word", []byte{0x12, 0x34}, ^uint16(0x1234)},
		{"RFC 1071, section 3", []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}, ^uint16(0xddf2)},
		{"all ones", bytes.Repeat([]byte{0xff}, 64), 0},
		{"carry out of 64 bits", []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1}, 0xfffe},
		{"all ones, 64 KiB", bytes.Repeat([]byte{0xff}, 1<<16), 0},
		{"odd", []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}, ^uint16(0x0102 + 0x0304 + 0x0506 + 0x0708 + 0x0900)},
	} {
		if got := frame.Checksum(tt.b); got != tt.want {
			t.Errorf("%s: %#04x, want %#04x", tt.name, got, tt.want)
		}
		if got := naive(tt.b); got != tt.want {
			t.Errorf("%s: the reference says %#04x, want %#04x", tt.name, got, tt.want)
		}
	}
}

// Every length and alignment, over bytes that make many carries.
func TestChecksumLengths(t *testing.T) {
	data := make([]byte, 300)
	for i := range data {
		data[i] = byte(0xff - i%3)
	}
	for from := range 9 {
		for to := from; to <= len(data); to++ {
			if got, want := frame.Checksum(data[from:to]), naive(data[from:to]); got != want {
				t.Fatalf("bytes %d to %d: %#04x, want %#04x", from, to, got, want)
			}
		}
	}
}

func FuzzChecksum(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte{0xff})
	f.Add(bytes.Repeat([]byte{0xff}, 17))
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := frame.Checksum(b)
		if want := naive(b); sum != want {
			t.Fatalf("%#04x, want %#04x of % x", sum, want, b)
		}
		// Over data that contain their own checksum it is 0.
		if len(b)%2 == 0 {
			if got := frame.Checksum(binary.BigEndian.AppendUint16(bytes.Clone(b), sum)); got != 0 {
				t.Fatalf("with the checksum in it %#04x, want 0", got)
			}
		}
	})
}
