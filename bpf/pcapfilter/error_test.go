package pcapfilter

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// wrong are expressions that cannot be compiled. The place is marked by ^ below.
var wrong = []struct {
	expr, marks, msg string
	cfg              Config
}{
	{expr: "tcp prot 80", marks: "    ^^^^", msg: `unknown word (did you mean "port"?)`},
	{expr: "tpc port 80", marks: "^^^", msg: `unknown word (did you mean "tcp"?)`},
	{expr: "tcp port", marks: "        ^", msg: "a port is missing"},
	{expr: "tcp port 80 adn host 10.0.0.1", marks: "            ^^^", msg: `unknown word (did you mean "and"?)`},
	{expr: "tcp port 80 host 10.0.0.1", marks: "            ^^^^", msg: `"and" or "or" is missing`},
	{expr: "tcp 80", marks: "    ^^", msg: "host, net, port or the like is missing before it"},
	{expr: "10.0.0.1", marks: "^^^^^^^^", msg: "host, net, port or the like is missing before it"},
	{expr: "vlan 5 or 6", marks: "          ^", msg: "host, net, port or the like is missing before it"},
	{expr: "host www.example.com", marks: "     ^^^^^^^^^^^^^^^", msg: "names are not looked up: give an address"},
	{expr: "net localnet", marks: "    ^^^^^^^^", msg: "names are not looked up: give an address"},
	{expr: "ether host router", marks: "           ^^^^^^", msg: "no MAC address"},
	{expr: "ether host 10.0.0.1", marks: "           ^^^^^^^^", msg: "ether needs a MAC address"},
	{expr: "host 02:00:5e:00:53:01", marks: "     ^^^^^^^^^^^^^^^^^", msg: "a MAC address needs ether before it: ether host, ether src or ether dst"},
	{expr: "host 10.0.0.256", marks: "     ^^^^^^^^^^", msg: "the numbers of an address are 0 to 255"},
	{expr: "net 10.0.0.1/24", marks: "    ^^^^^^^^^^^", msg: "bits are set beyond the network's"},
	{expr: "net 10.0.0.0/33", marks: "             ^^", msg: "a length of 0 to 32 bits is missing"},
	{expr: "net 10.0.0.0 mask 24", marks: "                  ^^", msg: "a mask such as 255.255.255.0 is missing"},
	{expr: "host 10.0.0.0/8", marks: "     ^^^^^^^^^^", msg: "only a net has a length"},
	{expr: "net 10/8", marks: "    ^^^", msg: "a network of one number has no length; write 10.0.0.0"},
	{expr: "net 2001:db8::1/32", marks: "    ^^^^^^^^^^^^^^", msg: "bits are set beyond the network's"},
	{expr: "net 2001:db8::/129", marks: "               ^^^", msg: "a length of 0 to 128 bits is missing"},
	{expr: "host 2001:db8::/32", marks: "     ^^^^^^^^^^^^^", msg: "only a net has a length"},
	{expr: "ip host 2001:db8::1", marks: "^^", msg: "it has no IPv6 addresses; ip6 has"},
	{expr: "tcp host 10.0.0.1", marks: "^^^", msg: "it has no IPv4 addresses; ip, arp and rarp have"},
	{expr: "ip6 host 10.0.0.1", marks: "^^^", msg: "it has no IPv4 addresses; ip, arp and rarp have"},
	{expr: "host", marks: "    ^", msg: "an address is missing"},
	{expr: "net and ip", marks: "    ^^^", msg: "a network is missing"},
	{expr: "ip port 80", marks: "^^", msg: "it has no ports; tcp, udp and sctp have"},
	{expr: "port 65536", marks: "     ^^^^^", msg: "a port is at most 65535"},
	{expr: "portrange 1-65536", marks: "          ^^^^^^^", msg: "a port is at most 65535"},
	{expr: "portrange http", marks: "          ^^^^", msg: "a range is FIRST-LAST"},
	{expr: "portrange 1-nosuchport", marks: "          ^^^^^^^^^^^^", msg: `no port has the name "nosuchport"`},
	{expr: "port nosuchport", marks: "     ^^^^^^^^^^", msg: `no port has the name "nosuchport"`},
	{expr: "port 10.0.0.1", marks: "     ^^^^^^^^", msg: "no port"},
	{expr: "udp port ssh", marks: "         ^^^", msg: "it is a port of TCP alone"},
	{expr: "tcp port tftp", marks: "         ^^^^", msg: "it is a port of UDP alone"},
	{expr: "sctp port ssh", marks: "          ^^^", msg: "it is a port of TCP alone"},
	{expr: "ip proto tcp", marks: "         ^^^", msg: `it is a keyword too: as a name it is \tcp`},
	{expr: `ip proto \nothing`, marks: "         ^^^^^^^^", msg: "IP has no protocol of this name here (give its number)"},
	{expr: `ether proto \tcp`, marks: "            ^^^^", msg: "Ethernet has no protocol of this name here (give its number)"},
	{expr: "tcp proto 6", marks: "^^^", msg: "only ether, ip and ip6 say which protocol they carry"},
	{expr: "src proto 6", marks: "^^^^^^^^^", msg: "a protocol has no direction"},
	{expr: "ip6 protochain 6", marks: "    ^^^^^^^^^^", msg: "is not supported: classic BPF has no loops (proto tests the first header)"},
	{expr: "gateway 10.0.0.1", marks: "^^^^^^^", msg: "is not supported: write ether host MAC and not host ADDRESS"},
	{expr: "pppoes and ip", marks: "^^^^^^", msg: "is not supported: write ether proto 0x8864, and offsets with ether[...]"},
	{expr: "wlan type mgt", marks: "     ^^^^", msg: "is not supported"},
	{expr: "(tcp or udp", marks: "^", msg: "is not closed"},
	{expr: "tcp or udp)", marks: "          ^", msg: "closes nothing"},
	{expr: "()", marks: " ^", msg: "a primitive is missing"},
	{expr: "tcp and", marks: "       ^", msg: "a primitive is missing"},
	{expr: "not", marks: "   ^", msg: "a primitive is missing"},
	{expr: "or tcp", marks: "^^", msg: "a primitive is missing"},
	{expr: "tcp & udp", marks: "    ^", msg: `"and" or "or" is missing`},
	{expr: "tcp # udp", marks: "    ^", msg: "nothing starts with this character"},
	{expr: "tcp\t\u00fc", marks: "    ^", msg: "nothing starts with this character"},
	{expr: `ip proto \`, marks: "         ^", msg: "a name is missing behind the backslash"},
	{expr: "tcp[13", marks: "      ^", msg: "an operator, : or ] is missing"},
	{expr: "tcp[13] & 2", marks: "           ^", msg: "=, !=, <, <=, > or >= is missing"},
	{expr: "tcp[13:3] = 1", marks: "       ^", msg: "a size is 1, 2 or 4 bytes"},
	{expr: "tcp[] = 1", marks: "    ^", msg: "a number, len or an accessor such as ip[0] is missing"},
	{expr: "ah[0] = 1", marks: "^^", msg: "its bytes cannot be read; ether, ip, ip6, arp, tcp, udp, icmp and icmp6 have some"},
	{expr: "ip[0] / 0 = 1", marks: "^^^^^^^^^^^^^", msg: "divides by zero, or shifts by more than 31 bits"},
	{expr: "ip[0] % (3 - 3) = 1", marks: "^^^^^^^^^^^^^^^^^^^", msg: "divides by zero, or shifts by more than 31 bits"},
	{expr: "ip[0] << 32 = 1", marks: "^^^^^^^^^^^^^^^", msg: "divides by zero, or shifts by more than 31 bits"},
	{expr: "len-14 = 40", marks: "^^^^^^", msg: "unknown word (between numbers a minus needs a space on both sides)"},
	{expr: "ip[0] = 4294967296", marks: "        ^^^^^^^^^^", msg: "not a number of 32 bits (0x starts a hexadecimal one, 0 an octal one)"},
	{expr: "ip[0] = 08", marks: "        ^^", msg: "not a number of 32 bits (0x starts a hexadecimal one, 0 an octal one)"},
	{expr: "vlan 4096", marks: "     ^^^^", msg: "a VLAN id is at most 4095"},
	{expr: "less", marks: "    ^", msg: "a length in bytes is missing"},
	{expr: "greater than 5", marks: "        ^^^^", msg: "a length in bytes is missing"},
	{expr: "ether", marks: "^^^^^", msg: "host, src, dst, proto, broadcast, multicast or [ is missing behind it"},
	{expr: "tcp broadcast", marks: "^^^^^^^^^^^^^", msg: "there are only ether broadcast and ip broadcast"},
	{expr: "arp multicast", marks: "^^^^^^^^^^^^^", msg: "there are only ether multicast, ip multicast and ip6 multicast"},
	{expr: "inbound", marks: "^^^^^^^", msg: "only a live capture knows it"},
	{expr: "ifindex 2", marks: "^^^^^^^", msg: "only a live capture knows it"},
	{expr: "ifindex eth0", marks: "        ^^^^", msg: "the number of an interface is missing", cfg: Config{Live: true}},
	{expr: "ip and vlan 5", marks: "       ^^^^", msg: "the interface has no link layer, and no tags", cfg: Config{NoLink: true}},
	{expr: "ether host 02:00:5e:00:53:01", marks: "           ^^^^^^^^^^^^^^^^^", msg: "the interface has no link layer, and no MAC addresses", cfg: Config{NoLink: true}},
	{expr: "ether multicast", marks: "^^^^^^^^^^^^^^^", msg: "the interface has no link layer (ip multicast is of the packet)", cfg: Config{NoLink: true}},
	{expr: "ip and arp", marks: "^^^^^^^^^^", msg: "no frame can pass it", cfg: Config{NoLink: true}},
}

func TestErrors(t *testing.T) {
	for _, tt := range wrong {
		_, err := compileHere(tt.expr, tt.cfg)
		if err == nil {
			t.Errorf("%q is compiled", tt.expr)
			continue
		}
		checkError(t, tt.expr, err)
		var e *Error
		errors.As(err, &e)
		if _, marks, _ := strings.Cut(e.Marked(), "\n"); e.Msg != tt.msg || marks != tt.marks {
			t.Errorf("%v\n%s\nwant\n%s\n%s", err, e.Marked(), tt.marks, tt.msg)
		}
	}
}

func TestErrorText(t *testing.T) {
	for expr, want := range map[string]string{
		"tcp prot 80":  `filter "tcp prot 80": at 5, "prot": unknown word (did you mean "port"?)`,
		"tcp port":     `filter "tcp port": at 9, the end: a port is missing`,
		"\u00fc":       `filter "ü": at 1, "ü": nothing starts with this character`,
		"tcp\nprot 80": `filter "tcp\nprot 80": at 5, "prot": unknown word (did you mean "port"?)`,
	} {
		if _, err := Compile(expr, nil); err == nil || err.Error() != want {
			t.Errorf("%v\nwant\n%s", err, want)
		}
	}
}

// Expressions that are too much for a program, or for this compiler.
func TestTooMuch(t *testing.T) {
	var many, terms []string
	for i := range 5000 {
		many = append(many, fmt.Sprintf("host 10.0.%d.%d", i/256, i%256))
		terms = append(terms, fmt.Sprintf("ip[%d]", i))
	}
	for name, tt := range map[string]struct{ expr, msg string }{
		"hosts":       {strings.Join(many[:1050], " or "), "its program has 4228 instructions; the kernel takes 4096"},
		"more hosts":  {strings.Join(many[:4000], " or "), "its program has more instructions than the kernel takes"},
		"words":       {strings.Join(slices.Concat(many, many), " or "), "the expression has more than 16384 words and signs"},
		"terms":       {strings.Join(terms, " + ") + " = 1", "the expression has more than 16384 words and signs"},
		"parentheses": {strings.Repeat("(", 500) + "ip" + strings.Repeat(")", 500), "nested deeper than 200 times"},
		"nots":        {strings.Repeat("!", 500) + "ip", "nested deeper than 200 times"},
		"minus":       {strings.Repeat("-", 500) + "1 = 1", "nested deeper than 200 times"},
		"brackets":    {strings.Repeat("ip[", 500) + "1" + strings.Repeat("]", 500) + " = 1", "nested deeper than 200 times"},
		"percents":    {strings.Repeat("len % ", 500) + "len = 1", "nested deeper than 200 times"},
		"ids":         {"port " + strings.Repeat("not ", 500) + "1", "nested deeper than 200 times"},
	} {
		_, err := Compile(tt.expr, nil)
		if err == nil {
			t.Errorf("%s: compiled", name)
			continue
		}
		checkError(t, tt.expr, err)
		if e := (*Error)(nil); errors.As(err, &e) && e.Msg != tt.msg {
			t.Errorf("%s: %s, want %s", name, e.Msg, tt.msg)
		}
	}
}

func TestNetwork(t *testing.T) {
	for network, want := range map[string]string{
		"198.51.100.0/24": "198.51.100.255", "198.51.100.7/24": "198.51.100.255", "198.51.0.0/16": "198.51.255.255",
	} {
		program, err := Compile("ip broadcast", &Config{Network: netip.MustParsePrefix(network)})
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range []string{"198.51.100.254", "198.51.100.255", "198.51.255.255", "198.51.255.254"} {
			frame := append(ether(0x800), serialize(v4(17, addresses("198.51.100.1", to)), udp(1, 2))...)
			// A mask is all that is compared, as in libpcap.
			n, _ := view{frame: frame}.run(t, program)
			if wanted := to == want || strings.HasSuffix(to, ".255") && strings.HasSuffix(network, "/24"); (n != 0) != wanted {
				t.Errorf("%s passes in %s: %v", to, network, n != 0)
			}
		}
	}
	if _, err := Compile("ip", &Config{Network: netip.MustParsePrefix("2001:db8::/32")}); err == nil {
		t.Error("a network of IPv6 is taken")
	}
}

// Of a long expression the part around the place is shown, in whole characters.
func TestErrorShort(t *testing.T) {
	many := strings.Repeat("host 10.0.0.1 or ", 1000)
	var different strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&different, "host 10.0.%d.%d or ", i/256, i%256)
	}
	for _, tt := range []struct{ name, expr, place, marked string }{
		{"at the end", many + "hst 1", "hst", "^^^"},
		{"at the start", "hst 10.0.0.1 or " + many + "ip", "hst", "^^^"},
		{"in the middle", many + "hst 10.0.0.1 or " + many + "ip", "hst", "^^^"},
		{"of many bytes", strings.Repeat("(", 150) + "host 10.0.0.1 or # 1" + strings.Repeat(" # äöü", 40), "#", "^"},
		{"missing", many, "", "^"},
		{"all of it", different.String() + "host 10.1.0.0", "host 10.0.0.0 or", strings.Repeat("^", mostShown)},
	} {
		_, err := Compile(tt.expr, nil)
		e := (*Error)(nil)
		if !errors.As(err, &e) {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		text, marks, _ := strings.Cut(e.Marked(), "\n")
		if n := utf8.RuneCountInString(text); n > mostShown+6 || len(marks) > mostShown+6 || len(e.Error()) > 3*mostShown {
			t.Errorf("%s: %d characters, %d below them, and %d in\n%v", tt.name, n, len(marks), len(e.Error()), err)
		}
		if !utf8.ValidString(text) || !strings.Contains(e.Error(), fmt.Sprintf("%q", text)) {
			t.Errorf("%s: %s\n%v", tt.name, text, err)
		}
		at := strings.IndexByte(marks, '^')
		if tt.place != "" && (!strings.HasPrefix(string([]rune(text)[at:]), tt.place) || marks[at:] != tt.marked) {
			t.Errorf("%s:\n%s\n%s", tt.name, text, marks)
		}
		if tt.name == "missing" && (at != utf8.RuneCountInString(text) || marks[at:] != "^") {
			t.Errorf("%s:\n%s\n%s", tt.name, text, marks)
		}
	}
}
