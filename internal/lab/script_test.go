package lab_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
)

func TestParseScriptErrors(t *testing.T) {
	for _, tt := range []struct{ script, want string }{
		{"seq 1: explode", "explode: unknown action"},
		{"seq 1: lose\n\nseq 2: explode", "line 3: "},
		{"seq 1", "neither an address nor"},
		{"sequence 1: lose", `unknown subject "sequence"`},
		{"seq: lose", "a word is missing"},
		{"seq x: lose", `"x" is not a number`},
		{"seq 1 2: lose", `unexpected "2"`},
		{"seq 3..2: lose", `"2" is not a number from 3`},
		{"seq 65536: lose", "is not a number from 0 to 65535"},
		{"seq ..2: lose", `"" is not a number`},
		{"request 0: lose", "is not a number from 1"},
		{"all 1: lose", `unexpected "1"`},
		{"seq 1: ", "neither an address nor"}, // the space was trimmed
		{"seq 1: lose,", "a word is missing"},
		{"seq 1: lose, delay 1ms", "lose: nothing else"},
		{"seq 1: lose now", `unexpected "now"`},
		{"seq 1: delay", "a word is missing"},
		{"seq 1: delay 5", `"5" is not a duration`},
		{"seq 1: delay -5ms", "is not a duration"},
		{"seq 1: ttl 1, ttl 2", "ttl 2: twice"},
		{"seq 1: ttl 256", "is not a number from 0 to 255"},
		{"seq 1: vlan 4096", "is not a number from 0 to 4095"},
		{"seq 1: vlan 1.8", "is not a number from 0 to 7"},
		{"seq 1: fragment 12", "multiples of 8"},
		{"seq 1: source 2001:db8::1%eth0", "is not an IP address"},
		{"seq 1: source-mac 02:00", "is not a MAC address"},
		{"seq 1: source-mac 02:00:5e:00:53:00:00:00", "is not a MAC address"},
		{"seq 1: error", "a word is missing"},
		{"seq 1: error nonsense", `unknown ICMP error "nonsense"`},
		{"seq 1: error 3/256", `unknown ICMP error "3/256"`},
		{"seq 1: error 3/1 color blue", `unknown option "color"`},
		{"seq 1: error 3/1 forged ttl", `cannot forge "ttl"`},
		{"seq 1: error 3/1 forged seq quote 4", "quote all 8 bytes"},
		{"seq 1: error 3/1, wrong-id", "wrong-id: there is no reply but an error"},
		{"seq 1: reply", "reply: only useful beside an error"},
		{"arp: loud", "loud: unknown ARP action"},
		{"arp: silent forever", "is not a duration"},
		{"address", "neither an address nor"},
		{"address 198.51.100.300", "is not an IP address"},
		{"address 198.51.100.1 198.51.100.2", `unexpected "198.51.100.2"`},
	} {
		_, err := lab.ParseScript(tt.script)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want %q", tt.script, err, tt.want)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "line ") {
			t.Errorf("%q: error %v names no line", tt.script, err)
		}
	}
}

func TestScriptPrefixes(t *testing.T) {
	text := func(s lab.Script) string { return strings.Trim(fmt.Sprint(s.Prefixes()), "[]") }
	if got, want := text(lab.Script{}), "198.51.100.2/32 2001:db8:1::2/128 fe80::2/128"; got != want {
		t.Errorf("zero script: %v, want %v", got, want)
	}
	s, err := lab.ParseScript("address 198.51.100.8, 2001:db8::/64\naddress 198.18.5.0/16 own-macs")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := text(s), "198.51.100.8/32 2001:db8::/64 198.18.0.0/16"; got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestParsersDoNotPanic cuts good texts at every byte and doubles every byte.
func TestParsersDoNotPanic(t *testing.T) {
	const script = "arp: silent 2, delay 1ms, from 02:00:5e:00:53:99\naddress 198.51.100.2, 198.51.100.3\n" +
		"seq 2..4: error 3/4 mtu 1400 gateway 198.51.100.254 pointer 3 quote full forged seq, reply, vlan 7.1, fragment 32, " +
		"corrupt 3 fixed, duplicate 2 after 1ms\n"
	for i := range script {
		lab.ParseScript(script[:i])
		lab.ParseScript(script[i:])
		lab.ParseScript(script[:i] + script[i:i+1] + script[i:])
	}
	for i := range caseText {
		lab.ParseScenario("x", caseText[:i])
		lab.ParseScenario("x", caseText[i:])
		lab.ParseScenario("x", caseText[:i]+caseText[i:i+1]+caseText[i:])
	}
}
