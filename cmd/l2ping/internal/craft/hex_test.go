package craft

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// dumped is the frame of the dumps below.
const dumped = "02005e00530202005e0053010800450000230001000040013d6fc6336401c633640208003ac90007000070617920206c6f6164"

const xxdDump = `00000000: 0200 5e00 5302 0200 5e00 5301 0800 4500  ..^.S...^.S...E.
00000010: 0023 0001 0000 4001 3d6f c633 6401 c633  .#....@.=o.3d..3
00000020: 6402 0800 3ac9 0007 0000 7061 7920 206c  d...:.....pay  l
00000030: 6f61 64                                  oad
`

const hexdumpDump = `00000000  02 00 5e 00 53 02 02 00  5e 00 53 01 08 00 45 00  |..^.S...^.S...E.|
00000010  00 23 00 01 00 00 40 01  3d 6f c6 33 64 01 c6 33  |.#....@.=o.3d..3|
00000020  64 02 08 00 3a c9 00 07  00 00 70 61 79 20 20 6c  |d...:.....pay  l|
00000030  6f 61 64                                          |oad|
00000033
`

const tcpdumpDump = `00:00:01.000002 IP 198.51.100.1 > 198.51.100.2: ICMP echo request, id 7, seq 0, length 15
	0x0000:  0200 5e00 5302 0200 5e00 5301 0800 4500  ..^.S...^.S...E.
	0x0010:  0023 0001 0000 4001 3d6f c633 6401 c633  .#....@.=o.3d..3
	0x0020:  6402 0800 3ac9 0007 0000 7061 7920 206c  d...:.....pay..l
	0x0030:  6f61 64                                  oad
`

// starDump is what hexdump -C prints of 14 and 66 bytes of which many are zero, and of
// 100 of which the last are.
const starDump = `00000000  02 00 5e 00 53 02 02 00  5e 00 53 01 88 b5 01 02  |..^.S...^.S.....|
00000010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
*
00000040  ff                                                |.|
00000041
00000000  02 00 5e 00 53 02 02 00  5e 00 53 01 88 b5 01 02  |..^.S...^.S.....|
00000010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
*
00000040
`

// dryRun is what --dry-run prints of two frames.
const dryRun = `Ethernet, 14 bytes
  SrcMAC        02:00:5e:00:53:01
  DstMAC        02:00:5e:00:53:02
  EthernetType  IPv4 (0x0800)
IPv4, 20 bytes
  Version     4
Payload, 7 bytes
0000  02 00 5e 00 53 02 02 00  5e 00 53 01 08 00 45 00  |..^.S...^.S...E.|
0010  00 23 00 01 00 00 40 01  3d 6f c6 33 64 01 c6 33  |.#....@.=o.3d..3|
0020  64 02 08 00 3a c9 00 07  00 00 70 61 79 20 20 6c  |d...:.....pay  l|
0030  6f 61 64                                          |oad|

Ethernet, 14 bytes
  SrcMAC        02:00:5e:00:53:01
not understood from here on: Unable to decode EthernetType 34997
0000  02 00 5e 00 53 02 02 00  5e 00 53 01 88 b5 7c 7c  |..^.S...^.S...|||
`

// answersDump is what --answers -x prints.
const answersDump = `ARP, Request who-has 198.51.100.2 tell 198.51.100.1, length 28 -> no answer
	0000  02 00 5e 00 53 02 02 00  5e 00 53 01 08 06 61 62  |..^.S...^.S...ab|
	0010  61                                                |a|
1 frame sent, 0 answered, 1 unanswered, time 2011ms
`

// scapyDump is what scapy's hexdump prints, wiresharkDump what Wireshark copies.
const scapyDump = `0000  02 00 5E 00 53 02 02 00 5E 00 53 01 88 B5 61 62  ..^.S...^.S...ab
0010  61 20 62 20                                      a b 
`

const wiresharkDump = `0000   02 00 5e 00 53 02 02 00 5e 00 53 01 88 b5 61 62   ..^.S...^.S...ab
0010   61 20 62 20                                       a b 
`

// odDump is what `od -A x -t x1` prints, odText the same with -t x1z and without the end.
const odDump = `000000 02 00 5e 00 53 02 02 00 5e 00 53 01 08 00 45 00
000010 00 23 00 01 00 00 40 01 3d 6f c6 33 64 01 c6 33
000020 64 02 08 00 3a c9 00 07 00 00 70 61 79 20 20 6c
000030 6f 61 64
000033
`

const odText = `000000 02 00 5e 00 53 02 02 00 5e 00 53 01 88 b5 61 62  >..^.S...^.S...ab<
000010 3c 20 62 20                                      >< b <
`

// odStars is what od prints of 66 bytes of which many are zero.
const odStars = `000000 02 00 5e 00 53 02 02 00 5e 00 53 01 88 b5 01 02
000010 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
*
000040 ff
000041
`

func TestFromHex(t *testing.T) {
	const zeros = "00000000000000000000000000000000"
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"plain", dumped, []string{dumped}},
		{"lines of one frame", "0200\n5e00 5301\r\n02", []string{"02005e00530102"}},
		{"all dividers", "02:00-5e.00,53;01\t02 ff", []string{"02005e00530102ff"}},
		{"prefixes", `0x02 0x00,0x5e \x00\x53\x01 0x02ff`, []string{"02005e00530102ff"}},
		{"upper case", "FFfF", []string{"ffff"}},
		{"several", "\n\n02\n\n03 04\n \t\n\n05\n", []string{"02", "0304", "05"}},
		{"comments", "# the first\n02 # its start\n# still\n03\n\n# the second\n04#", []string{"0203", "04"}},
		{"xxd", xxdDump, []string{dumped}},
		{"xxd -g1", "00000000: 02 00 5e  ..^\n", []string{"02005e"}},
		{"xxd, two", xxdDump + xxdDump, []string{dumped, dumped}},
		{"hexdump -C", hexdumpDump, []string{dumped}},
		{"hexdump -C, two", hexdumpDump + hexdumpDump, []string{dumped, dumped}},
		{"tcpdump -XX", tcpdumpDump, []string{dumped}},
		{"tcpdump -XX, two", tcpdumpDump + tcpdumpDump, []string{dumped, dumped}},
		{"a dump, then digits", xxdDump + "\n0506", []string{dumped, "0506"}},
		{"digits, then a dump", "0506\n" + xxdDump, []string{"0506", dumped}},
		{"hexdump -C, with stars", starDump, []string{"02005e00530202005e00530188b50102" + zeros + zeros + zeros + "ff", "02005e00530202005e00530188b50102" + zeros + zeros + zeros}},
		{"--dry-run", dryRun, []string{dumped, "02005e00530202005e00530188b57c7c"}},
		{"--dry-run, then digits", dryRun + "\n0506", []string{dumped, "02005e00530202005e00530188b57c7c", "0506"}},
		{"--answers -x", answersDump, []string{"02005e00530202005e0053010806616261"}},
		{"--answers -x, off the screen", strings.ReplaceAll(answersDump, "\t", "        "), []string{"02005e00530202005e0053010806616261"}},
		{"scapy", scapyDump, []string{"02005e00530202005e00530188b5616261206220"}},
		{"wireshark", wiresharkDump, []string{"02005e00530202005e00530188b5616261206220"}},
		{"wireshark, two, without text", "0000   02 00\n\n0000   03 04\n", []string{"0200", "0304"}},
		{"od", odDump, []string{dumped}},
		{"od, two", odDump + odDump, []string{dumped, dumped}},
		{"od, two, without ends", odText + odText, []string{"02005e00530202005e00530188b561623c206220", "02005e00530202005e00530188b561623c206220"}},
		{"od, with a star", odStars, []string{"02005e00530202005e00530188b50102" + zeros + zeros + zeros + "ff"}},
		{"od of others", "0000000  02 00\t5e\n0000003\n00000000 05\n00000001 06\n", []string{"02005e", "0506"}},
		{"digits like od's, with words of another size", "000000 02 005e", []string{"00000002005e"}},
		{"digits like od's, at another offset", "000010 02 00", []string{"0000100200"}},
		{"digits like od's, within a frame", "0200\n000000 02\n000006 03", []string{"02000000000200000603"}},
		{"xxd -p", "02005e00530202005e0053010800\n4500\n", []string{"02005e00530202005e00530108004500"}},
		{"digits like an offset", "0001  02 00", []string{"00010200"}},
		{"as large as it gets", strings.Repeat("00", maxFrame), []string{strings.Repeat("00", maxFrame)}},
	} {
		frames, err := FromHex(tt.text)
		var got []string
		for _, f := range frames {
			got = append(got, hex.EncodeToString(f))
		}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: %.200s, %v, want %.200s", tt.name, got, err, tt.want)
		}
	}
}

func TestFromHexErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "no hexadecimal digits"},
		{"\n# nothing\n", "no hexadecimal digits"},
		{"02\n0g", `line 2: "0g": a byte is two hexadecimal digits`},
		{"02 0", `line 1: "0" has an odd number of digits`},
		{"hello", `line 1: "hello": a byte is two hexadecimal digits`},
		{"hello!", `line 1: "hello!": a byte is two hexadecimal digits`},
		{"00000000: 0200\n00000010: 03", "line 2: offset 0x10 where 0x2 should be"},
		{"00000010: 0200", "line 1: offset 0x10 where 0x0 should be"},
		{"00000000: 0200\n*\n", "a star at the end of a dump: where it ends is not said"},
		{"00000000: 0200\n*\n00000000: 0200", "line 3: a star at the end of a dump: where it ends is not said"},
		{"00000000: 0200\n*\n00000005: 03", "line 3: offset 0x5 where 0x4 should be"},
		{"00000000: 0200\n*\nffffffff: 03", "line 3: a frame of more than 131072 bytes"},
		{"*", `line 1: "*": a byte is two hexadecimal digits`},
		{"Ethernet, 14 bytes\n", "no hexadecimal digits"},
		{"0000000 0002 005e\n", `line 1: "0000000" has an odd number of digits`},
		{"00000000: 0200\n0300", `line 2: "0300" within a dump: it starts with no offset`},
		{"000000 02 00\n000010 03", "line 2: offset 0x10 where 0x2 should be"},
		{"000000 02 00\n0300", `line 2: "0300" within a dump: it starts with no offset`},
		{"000000 02 00\n000014", `line 2: "000014" within a dump: it starts with no offset`},
		{"00000000: 02zz", `line 1: "02zz": a byte is two hexadecimal digits`},
		{strings.Repeat("00", maxFrame) + " 00", "line 1: a frame of more than 131072 bytes"},
	} {
		if frames, err := FromHex(tt.text); frames != nil || err == nil || err.Error() != tt.want {
			t.Errorf("%.40q: %v, want %s", tt.text, err, tt.want)
		}
	}
}
