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

func TestFromHex(t *testing.T) {
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
		{"00000000: 0200\n*\n", `line 2: "*" within a dump: it starts with no offset`},
		{"00000000: 0200\n0300", `line 2: "0300" within a dump: it starts with no offset`},
		{"00000000: 02zz", `line 1: "02zz": a byte is two hexadecimal digits`},
		{strings.Repeat("00", maxFrame) + " 00", "line 1: a frame of more than 131072 bytes"},
	} {
		if frames, err := FromHex(tt.text); frames != nil || err == nil || err.Error() != tt.want {
			t.Errorf("%.40q: %v, want %s", tt.text, err, tt.want)
		}
	}
}
