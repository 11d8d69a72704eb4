//go:build linux

package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/l2ping/l2ping/l2/frame"
)

func TestParseDuration(t *testing.T) {
	for _, tt := range []struct {
		text string
		want time.Duration // 0: an error
	}{
		{"10ms", 10 * time.Millisecond},
		{"1.5s", 1500 * time.Millisecond},
		{"1h30m", 90 * time.Minute},
		{"1", time.Second},
		{"0.2", 200 * time.Millisecond},
		{".2", 200 * time.Millisecond},
		{"0.0001", 100 * time.Microsecond},
		{"1e-3", time.Millisecond},
		{"0.000000001", 1},
		{"1000000000", 1e9 * time.Second},
		{"0", 0}, {"0s", 0}, {"-1", 0}, {"-10ms", 0}, {"1e-10", 0},
		{"1000000001", 0}, {"1e300", 0}, {"-1e300", 0}, {"inf", 0}, {"-inf", 0}, {"nan", 0},
		{"", 0}, {" 1", 0}, {"1 s", 0}, {"1x", 0}, {"s", 0}, {"1,5", 0}, {"9223372036854775808ns", 0},
	} {
		got, err := parseDuration(tt.text)
		if got != tt.want || (err != nil) != (tt.want == 0) {
			t.Errorf("%q: %v, %v; want %v", tt.text, got, err, tt.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for _, tt := range []struct {
		text string
		want uint64
		ok   bool
	}{
		{"5", 5, true}, {"9", 9, true}, {"0xff", 255, true}, {"0XFF", 255, true}, {"300", 300, true},
		// Decimal, as in ping: a 0 ahead makes nothing octal.
		{"010", 10, true}, {"08", 8, true},
		{"4", 0, false}, {"301", 0, false}, {"-5", 0, false}, {"+5", 0, false}, {"", 0, false}, {"0x", 0, false},
		{"0b101", 0, false}, {"0o17", 0, false}, {"1_0", 0, false}, {"0x1_0", 0, false}, {"5.0", 0, false}, {"ff", 0, false},
		{"18446744073709551616", 0, false},
	} {
		var v uint64
		n := number{value: &v, min: 5, max: 300}
		if err := n.Set(tt.text); (err == nil) != tt.ok || v != tt.want {
			t.Errorf("%q: %d, %v; want %d, %t", tt.text, v, err, tt.want, tt.ok)
		}
	}
}

func TestPattern(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"ff", "ff"}, {"FF00", "ff00"}, {"abc", "ab0c"}, {"7", "07"},
		{"00112233445566778899aabbccddeeff", "00112233445566778899aabbccddeeff"},
		{"0112233445566778899aabbccddeeff", "0112233445566778899aabbccddeef0f"},
		{"", ""}, {"g0", ""}, {"0x12", ""}, {"00112233445566778899aabbccddeeff0", ""}, {"f f", ""}, {"ä", ""},
	} {
		var p pattern
		err := p.Set(tt.text)
		if p.String() != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%q: %s, %v; want %s", tt.text, &p, err, tt.want)
		}
	}
}

func TestParseAddr(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"192.0.2.1", "192.0.2.1"}, {"::ffff:192.0.2.1", "192.0.2.1"}, {"2001:DB8::1", "2001:db8::1"},
		{"fe80::1%eth0", "fe80::1%eth0"},
		{"", ""}, {"192.0.2", ""}, {"192.0.2.01", ""}, {"192.0.2.1/24", ""}, {"here.example", ""},
	} {
		got, err := parseAddr(tt.text)
		if err == nil && got.String() != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%q: %v, %v; want %s", tt.text, got, err, tt.want)
		}
	}
}

func TestParseMAC(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"02:00:5e:00:53:01", "02:00:5e:00:53:01"}, {"02-00-5E-00-53-01", "02:00:5e:00:53:01"},
		{"ff:ff:ff:ff:ff:ff", "ff:ff:ff:ff:ff:ff"},
		{"00:00:00:00:00:00", ""}, {"02:00:5e:00:53", ""}, {"02:00:5e:00:53:01:02:03", ""}, {"", ""}, {"eth0", ""},
	} {
		got, err := parseMAC(tt.text)
		if err == nil && got.String() != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%q: %v, %v; want %s", tt.text, got, err, tt.want)
		}
	}
}

func TestParseVLANs(t *testing.T) {
	const q, ad = frame.EtherTypeVLAN, frame.EtherTypeQinQ
	for _, tt := range []struct {
		text string
		want []frame.VLAN // nil: an error
	}{
		{"100", []frame.VLAN{{Type: q, TCI: 100}}},
		{"0.7", []frame.VLAN{{Type: q, TCI: 7 << 13}}},
		{"4094.0", []frame.VLAN{{Type: q, TCI: 4094}}},
		{"200.3,100", []frame.VLAN{{Type: ad, TCI: 3<<13 | 200}, {Type: q, TCI: 100}}},
		{"0100", []frame.VLAN{{Type: q, TCI: 100}}},
		{"", nil}, {"4095", nil}, {"-1", nil}, {"+1", nil}, {"1.8", nil}, {"1.-1", nil}, {"1.", nil}, {".1", nil},
		{"1,", nil}, {",1", nil}, {"1,2,3", nil}, {"1, 2", nil}, {"0x10", nil}, {"1.1.1", nil},
	} {
		got, err := parseVLANs(tt.text)
		if !slices.Equal(got, tt.want) || (err != nil) != (tt.want == nil) {
			t.Errorf("%q: %v, %v; want %v", tt.text, got, err, tt.want)
		}
	}
}

// What is read as tags is one or two of them, and their text is the same again.
func FuzzParseVLANs(f *testing.F) {
	for _, s := range []string{"100", "200.3,100", "0", "4095", "1.8", ",", "1,2,3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tags, err := parseVLANs(text)
		if err != nil {
			if tags != nil {
				t.Errorf("%q: %v and %v", text, tags, err)
			}
			return
		}
		words := make([]string, len(tags))
		for i, tag := range tags {
			words[i] = tag.String()
			if tag.ID() > 4094 || tag.Priority() > 7 || tag.DropEligible() {
				t.Errorf("%q: %v", text, tag)
			}
		}
		again, err := parseVLANs(strings.Join(words, ","))
		if len(tags) == 0 || len(tags) > frame.MaxVLANs || err != nil || !slices.Equal(again, tags) {
			t.Errorf("%q: %v, and that again is %v, %v", text, tags, again, err)
		}
	})
}

func TestParseDSCP(t *testing.T) {
	for _, tt := range []struct {
		text string
		want uint8
		ok   bool
	}{
		{"ef", 46, true}, {"EF", 46, true}, {"cs6", 48, true}, {"le", 1, true}, {"be", 0, true},
		{"0", 0, true}, {"63", 63, true}, {"0x2e", 46, true},
		{"64", 0, false}, {"-1", 0, false}, {"", 0, false}, {"af44", 0, false}, {"cs8", 0, false},
	} {
		got, err := parseDSCP(tt.text)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%q: %d, %v; want %d, %t", tt.text, got, err, tt.want, tt.ok)
		}
	}
	// RFC 2597, section 6: class x has afx1 to afx3 at 8x+2, 8x+4 and 8x+6.
	for class := uint8(1); class <= 4; class++ {
		for drop := uint8(1); drop <= 3; drop++ {
			name := "af" + string('0'+rune(class)) + string('0'+rune(drop))
			if got, err := parseDSCP(name); err != nil || got != 8*class+2*drop {
				t.Errorf("%s: %d, %v", name, got, err)
			}
		}
	}
}

func TestFamilyOf(t *testing.T) {
	for _, tt := range []struct {
		v4, v6        bool
		source, other string
		want          family // empty: an error
	}{
		{want: anyFamily},
		{v4: true, want: onlyIPv4},
		{v6: true, want: onlyIPv6},
		{v4: true, v6: true},
		{source: "192.0.2.7", want: onlyIPv4},
		{source: "2001:db8::7", want: onlyIPv6},
		{other: "192.0.2.7", want: onlyIPv4},
		{other: "::ffff:192.0.2.7", want: onlyIPv4},
		{other: "2001:db8::7", want: onlyIPv6},
		{other: "eth0", want: anyFamily},
		{v4: true, other: "eth0", want: onlyIPv4},
		{v6: true, source: "2001:db8::7", want: onlyIPv6},
		{v6: true, source: "192.0.2.7"},
		{v4: true, other: "2001:db8::7"},
	} {
		f := sourceFlags{other: tt.other}
		if tt.source != "" {
			f.source = netip.MustParseAddr(tt.source)
		}
		got, err := familyOf(tt.v4, tt.v6, &f)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%+v: %q, %v", tt, got, err)
		}
	}
}

// The zero values of flags are not shown as defaults.
func TestValuesShowNothing(t *testing.T) {
	for _, v := range []interface{ String() string }{
		new(duration), &number{}, &pattern{}, &choice[bool]{}, &parsed[bool]{},
	} {
		if s := v.String(); s != "" {
			t.Errorf("%T: %q", v, s)
		}
	}
}

// What is read as a time is one, within what a time.Duration holds, and its own
// text is the same time again.
func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"10ms", "0.2", "1e9", "-1", "nan", "9223372036.854775807s", "1e-10", "0x1p-3", "2562047h47m16.854775807s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDuration(text)
		if err != nil {
			if d != 0 {
				t.Errorf("%q: %v and %v", text, d, err)
			}
			return
		}
		if d <= 0 {
			t.Errorf("%q: %v", text, d)
		}
		if again, err := parseDuration(d.String()); again != d || err != nil {
			t.Errorf("%q: %v, and that again is %v, %v", text, d, again, err)
		}
	})
}

// A number is within its bounds, or there is none.
func FuzzNumber(f *testing.F) {
	for _, s := range []string{"1", "0x10", "010", "65535", "65536", "-1", "1_0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v := uint64(7)
		n := number{value: &v, min: 1, max: 65535}
		if err := n.Set(text); err != nil && v != 7 || err == nil && (v < 1 || v > 65535) {
			t.Errorf("%q: %d, %v", text, v, err)
		}
	})
}

// A pattern has 1 to 16 bytes, and its own text is the same pattern again.
func FuzzPattern(f *testing.F) {
	for _, s := range []string{"ff", "abc", "00112233445566778899aabbccddeeff", "0x1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var p, again pattern
		if p.Set(text) != nil {
			if p != nil {
				t.Errorf("%q: an error, and %x", text, []byte(p))
			}
			return
		}
		if len(p) < 1 || len(p) > 16 || len(p) != (len(text)+1)/2 {
			t.Errorf("%q: %x", text, []byte(p))
		}
		if err := again.Set(p.String()); err != nil || again.String() != p.String() {
			t.Errorf("%q: %s, and that again is %s, %v", text, &p, &again, err)
		}
	})
}
