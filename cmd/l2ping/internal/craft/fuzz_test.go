package craft

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"
)

// FuzzParse holds that no expression makes us panic or run away, that errors are
// one line with a place within the text, and that frames can be dumped.
func FuzzParse(f *testing.F) {
	for _, s := range golden(f) {
		f.Add(s.expression, false)
		f.Add(s.expression, true)
	}
	for _, s := range []string{
		`Ether()/IP(dest="198.51.100.2")`, `IPv6(dst="::/0", src="::/0")`, `IP()/("x"*131072)`, `IP(id=[(0, 65535), (0, 65535, 7)])`,
		strings.Repeat("(", 40), strings.Repeat("[", 40), `IP(ttl=-1)`, `"\u00e9\q`, `IP()/TCP(options=[("SAck", (1, 2))])`,
		`IP()/UDP()/BOOTP()/DHCP(options=[("param_req_list", [1, [2]]), ("router",), 5])`, `Ether()/LLDPDUChassisID(subtype=(0, 9), family=(0, 3), id="::1")`,
		`Dot3()/LLC()/STP(age=(0, 255, 99999999999999999))`, `IP(id=range(1, 5))`, `IPv6()/ICMPv6MLReport2(records=[ICMPv6MLDMultAddrRec(rtype=[1, 2])])`,
		`IP()/UDP()/DNS(qd=None, an=None, ns=[])`,
	} {
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, text string, noLink bool) {
		e, err := Parse(text)
		if err != nil {
			var at *PlaceError
			if e != nil || !errors.As(err, &at) || at.At < 1 || at.At > len(text)+1 || len(err.Error()) > 2000 || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, and %v", err, e)
			}
			return
		}
		if e.Count() == 0 {
			t.Error("no frames")
		}
		n := uint64(0)
		for frame, err := range e.Frames(&world{noLink: noLink}) {
			if (err == nil) != (frame.Bytes != nil) && len(frame.Bytes) > 0 || len(frame.Bytes) > maxFrame {
				t.Errorf("%d bytes, %v", len(frame.Bytes), err)
			}
			if err == nil && n < 2 && len(frame.Bytes) < 2000 {
				Dump(frame)
			}
			if n++; n == 64 {
				break
			}
		}
		if n != min(e.Count(), 64) {
			t.Errorf("%d frames of %d", n, e.Count())
		}
	})
}

// FuzzFromHex holds that what is read can be read again, and that it is no more
// than there was.
func FuzzFromHex(f *testing.F) {
	for _, s := range []string{dumped, xxdDump, hexdumpDump, tcpdumpDump, starDump, dryRun, answersDump, scapyDump, wiresharkDump, odDump, odText, odStars, "02:00 # a\n\n0x03,\\x04\n", "00000010: 02"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		frames, err := FromHex(text)
		if err != nil {
			if frames != nil {
				t.Errorf("%v and an error, %v", frames, err)
			}
			return
		}
		var again []string
		for _, b := range frames {
			if len(b) == 0 || len(b) > maxFrame || len(b) > len(text)/2 && !strings.Contains(text, "*") {
				t.Errorf("a frame of %d bytes", len(b))
			}
			again = append(again, hex.EncodeToString(b))
		}
		second, err := FromHex(strings.Join(again, "\n\n"))
		if err != nil || len(second) != len(frames) {
			t.Fatalf("%d frames are read back as %d, %v", len(frames), len(second), err)
		}
		for i := range frames {
			if !bytes.Equal(frames[i], second[i]) {
				t.Errorf("frame %d is read back as %x, it was %x", i, second[i], frames[i])
			}
		}
	})
}

// FuzzDump holds that no frame makes us panic, break a line or write what a
// terminal obeys.
func FuzzDump(f *testing.F) {
	for _, s := range golden(f) {
		b, err := hex.DecodeString(s.frames[0])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, withoutLink(s.expression))
	}
	f.Fuzz(func(t *testing.T, b []byte, noLink bool) {
		frame := Frame{Bytes: b, LinkType: layers.LinkTypeEthernet}
		if noLink {
			frame.LinkType = layers.LinkTypeRaw
		}
		text := Dump(frame)
		for _, r := range text {
			if r != '\n' && (r < ' ' || r == 0x7f) {
				t.Fatalf("%q in %q", r, text)
			}
		}
		if text != "" && !strings.HasSuffix(text, "\n") {
			t.Error("the last line does not end")
		}
	})
}
