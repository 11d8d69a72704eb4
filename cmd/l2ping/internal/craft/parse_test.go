package craft

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// TestParseErrors holds what is said to whom typed something wrong: one line, the
// place, and what there is.
func TestParseErrors(t *testing.T) {
	for _, tt := range []struct{ expression, want string }{
		{``, `at 1: an empty expression (try IP(dst="198.51.100.2")/ICMP())`},
		{`Etherr()/IP()`, `at 1: no layer "Etherr" (did you mean Ether?)`},
		{`IP()/TPC()`, `at 6: no layer "TPC" (did you mean TCP?)`},
		{`Ether()/ip()`, `at 9: no layer "ip" (did you mean IP?)`},
		{`Ether()/Quux()`, `at 9: no layer "Quux" (layers: Ether, `},
		{`Ether()/IP(dest="198.51.100.2")`, `at 12: IP has no field "dest" (did you mean dst?)`},
		{`sr1(IP())`, `at 1: no layer "sr1" (layers: Ether, `},
		{`IP()/payload`, `at 6: no layer "payload", and text stands in quotes (layers: Ether, `},
		{`IP()/TCP(flags=S)`, `at 16: "S" is no value: text stands in quotes, values are numbers, lists [1, 2] and ranges (first, last)`},
		{`IP()/UDP(dport=[range(1, 5)])`, `at 17: "range" is no value: text stands in quotes, `},
		{`IP(id=RandShort())`, `at 7: "RandShort" is no value: `},
		{`IP()/UDP()/DNS(qd=DNSQ())`, `at 19: no layer "DNSQ" (did you mean DNSQR?)`},
		{`IP(options=[NOP()])`, `at 13: no layer "NOP" (there are: IPOption, IPOption_EOL, `},
		{`IP(options=[IPOption_RR(pointer=x)])`, `at 33: "x" is no value: `},
		{`IP("198.51.100.2")`, `at 4: a string where a field of IP should be (it has: version, `},
		{`IP(dst="198.51.100.2", 5)`, `at 24: a number where a field of IP should be (it has: version, `},
		{`IP(dst="198.51.100.2")*3`, `at 23: "*" after the expression (layers are joined by /)`},
		{`UDP(port=1)`, `at 5: UDP has no field "port" (did you mean sport?)`},
		{`UDP(7)`, `at 5: a number where a field of UDP should be (it has: sport, dport, len, chksum)`},
		{`IP(ttl=300)`, `at 8: IP.ttl is 300: it has to be from 0 to 255`},
		{`IP(ttl=-1)`, `at 8: IP.ttl is -1: it has to be from 0 to 255`},
		{`IP(ttl=(1, 256))`, `at 12: IP.ttl is 256: it has to be from 0 to 255`},
		{`IP(ttl=(9, 1))`, `at 8: IP.ttl: no number is from 9 to 1`},
		{`IP(ttl=(1, 9, 0))`, `at 15: IP.ttl: the step of a range is a number from 1 on`},
		{`IP(ttl=(1,))`, `at 8: IP.ttl: a range is (first, last) or (first, last, step)`},
		{`IP(ttl=[])`, `at 8: IP.ttl is an empty list, which makes no frame`},
		{`IP(ttl=[[1]])`, `at 9: IP.ttl is a list where a number should be`},
		{`IP(ttl="x")`, `at 8: IP.ttl is a string where a number should be`},
		{`IP(ttl=IP())`, `at 8: IP.ttl is a layer where a number should be`},
		{`IP(ttl=1, ttl=2)`, `at 11: IP.ttl is given twice`},
		{`IP(id=99999999999999999999)`, `at 7: 99999999999999999999 is too large a number`},
		{`IP(id=1.5)`, `at 7: 1.5 is no whole number`},
		{`IP(id=017)`, `at 7: 017 is no number (octal ones start with 0o)`},
		{`IP(dst=198.51.100.2)`, `at 8: 198.51.100.2: an address stands in quotes: "198.51.100.2"`},
		{`IP(dst="host.example")`, `at 8: IP.dst: "host.example" is not an address such as "198.51.100.2" (names are not looked up)`},
		{`IP(dst="2001:db8::1")`, `at 8: IP.dst: "2001:db8::1" is no IPv4 address`},
		{`IPv6(dst="198.51.100.2")`, `at 10: IPv6.dst: "198.51.100.2" is no IPv6 address`},
		{`IPv6(dst="fe80::1%eth0")`, `at 10: IPv6.dst: "fe80::1%eth0": an address in a frame has no zone`},
		{`IP(dst="198.51.100.0/33")`, `at 8: IP.dst: "198.51.100.0/33" is no prefix`},
		{`IP(dst=("198.51.100.9", "198.51.100.2"))`, `at 8: IP.dst: no address is from 198.51.100.9 to 198.51.100.2`},
		{`IP(dst=5)`, `at 8: IP.dst is a number where an address should be, such as "198.51.100.2"`},
		{`IP(flags="DF+XX")`, `at 10: IP.flags has no flag "XX" (it has: MF+DF+evil)`},
		{`IP()/TCP(flags="SX")`, `at 16: TCP.flags has no flag "X" (it has: FSRPAUECN)`},
		{`IP()/TCP(flags=512)`, `at 16: TCP.flags is 512: it has to be from 0 to 511`},
		{`IP()/TCP(dport="no-such-service")`, `at 16: TCP.dport: no tcp service is called "no-such-service"`},
		{`IP()/TCP(options="x")/`, `at 23: the end where a layer should be, such as IP()`},
		{`IP()/TCP(options=5)`, `at 18: TCP.options is a number where a list should be, such as [("MSS",1460),("NOP",None)]`},
		{`IP()/TCP(options=["NOP"])`, `at 19: TCP.options: an option is a pair, as in [("MSS",1460),("NOP",None)]`},
		{`IP()/TCP(options=[("MSSS",1)])`, `at 20: TCP.options: no option "MSSS" (did you mean MSS?)`},
		{`IP()/TCP(options=[("MSS",70000)])`, `at 26: TCP.options: here is a number from 0 to 65535`},
		{`IP()/TCP(options=[("Timestamp",1)])`, `at 32: TCP.options: this option takes 2 numbers, not 1`},
		{`IP()/TCP(options=[("SAckOK",1)])`, `at 29: TCP.options: this option takes bytes, not a number`},
		{`IP()/ICMP(type="echo-reqest")`, `at 16: ICMP.type: no "echo-reqest" (did you mean echo-request?)`},
		{`Ether(dst="02:00:5e")`, `at 11: Ether.dst: "02:00:5e" is not a MAC address such as "02:00:5e:00:53:01"`},
		{`Ether(dst=7)`, `at 11: Ether.dst: a number is not a MAC address such as "02:00:5e:00:53:01"`},
		{`IP()/UDP()/BOOTP()/DHCP(options=5)`, `at 33: DHCP.options is a number where a list should be, such as [("message-type","discover"),"end"]`},
		{`IP()/UDP()/BOOTP()/DHCP(options=["ends"])`, `at 34: DHCP.options: "ends" stands alone, which only "end" and "pad" do: `},
		{`IP()/UDP()/BOOTP()/DHCP(options=[("end",)])`, `at 34: DHCP.options: an option is a name and a value, as in `},
		{`IP()/UDP()/BOOTP()/DHCP(options=[("hostnam","x")])`, `at 35: DHCP.options: no option "hostnam" (did you mean hostname?)`},
		{`IP()/UDP()/BOOTP()/DHCP(options=[(256,"x")])`, `at 35: DHCP.options: the number of an option is from 0 to 255`},
		{`IP()/UDP()/BOOTP()/DHCP(options=[("message-type","discovr")])`, `at 50: DHCP.options: no message "discovr" (did you mean discover?)`},
		{`IP()/UDP()/BOOTP()/DHCP(options=[("router","x")])`, `at 44: DHCP.options: "x" is not an address such as "198.51.100.2"`},
		{`IP()/UDP()/BOOTP()/DHCP(options=[("param_req_list",[1,300])])`, `at 55: DHCP.options: here is a number from 0 to 255`},
		{`IP()/UDP()/BOOTP()/DHCP(options=[("param_req_list",[[1]])])`, `at 53: DHCP.options: a list in a list`},
		{`IP()/UDP()/BOOTP()/DHCP(options=[("hostname",5)])`, `at 46: DHCP.options: a number where a string or bytes should be`},
		{`IP()/UDP()/BOOTP()/DHCP(options=[("hostname","x"*256)])`, `at 34: DHCP.options: 256 bytes in one option, and there is room for 255`},
		{`IP()/UDP()/BOOTP(chaddr="0123456789abcdefg")`, `at 25: BOOTP.chaddr: 17 bytes, and there is room for 16`},
		{`IP()/UDP()/BOOTP(chaddr=5)`, `at 25: BOOTP.chaddr is a number where a string or bytes should be`},
		{`Dot3()/LLC()/STP(maxage=256)`, `at 25: STP.maxage is 256: it has to be from 0 to 255`},
		{`Dot3()/LLC()/STP(maxage=(9, 1))`, `at 25: STP.maxage: no number is from 9 to 1`},
		{`Ether()/IP`, `at 11: the end where "(" should follow IP`},
		{`Ether()/IP(`, `at 12: the end where a field of IP should be (it has: version, `},
		{`Ether()/IP(ttl)`, `at 15: ")" where "=" should follow the field ttl`},
		{`Ether()/IP(ttl=)`, `at 16: ")" where a value should be`},
		{`Ether()/IP(ttl=1 id=2)`, `at 18: "id" where ")" should follow the fields of IP`},
		{`Ether() IP()`, `at 9: "IP" after the expression (layers are joined by /)`},
		{`Ether()//IP()`, `at 9: "/" where a layer should be, such as IP()`},
		{`Ether()/5`, `at 9: a number where a layer should be, such as IP()`},
		{`Ether()/"a`, `at 9: a quote that nothing closes`},
		{`Ether()/"é"/b"é"`, `at 15: 'é' in bytes: what is no ASCII has to be written as \x..`},
		{`Ether()/"\x4"`, `at 10: \x takes 2 hexadecimal digits`},
		{`Ether()/"\ud800"`, `at 10: no such character as U+D800`},
		{`Ether()/b"\777"`, `at 11: \777 is more than a byte`},
		{`Ether()/f"a"`, `at 9: no prefix f of strings (there are b, r and br)`},
		{`Ether()/"a"*3`, `at 12: "*" after a string needs parentheses around both, as / binds as closely`},
		{`Ether()/("a"*999999)`, `at 14: more than 131072 bytes`},
		{`Ether()/("a"+b"b")`, `at 13: a string and bytes do not add up`},
		{`Ether()/("a"*"b")`, `at 14: a string where a number should follow *`},
		{`Ether()&IP()`, `at 8: '&' has no meaning here`},
		{`TCP()`, `at 1: TCP cannot start a frame: put IP(dst=...) or Ether() ahead of it`},
		{`ICMPv6ND_NS(tgt="2001:db8::2")`, `at 1: ICMPv6ND_NS cannot start a frame: put IPv6(dst=...) or Ether() ahead of it`},
		{`ICMPv6NDOptMTU()`, `at 1: ICMPv6NDOptMTU cannot start a frame: put IPv6(dst=...) or Ether() ahead of it`},
		{`IPv6ExtHdrFragment()`, `at 1: IPv6ExtHdrFragment cannot start a frame: put IPv6(dst=...) or Ether() ahead of it`},
		{`IP()/DNSQR()`, `at 6: DNSQR stands among DNS questions, not in a frame`},
		{`IP()/UDP()/DNS(qd=DNSRR())`, `at 19: DNS.qd holds DNS questions, and DNSRR is none of them (there are: DNSQR)`},
		{`IP()/UDP()/DNS(qd=5)`, `at 19: DNS.qd is a number where layers should be (there are: DNSQR)`},
		{`IP(options=[TCP()])`, `at 13: IP.options holds IP options, and TCP is none of them (there are: IPOption, `},
		{`IP()/UDP()/DNS(qd=DNSQR(qname="` + strings.Repeat("x", 64) + `"))`, `at 31: DNSQR.qname: a label of 64 bytes, "xxx`},
		{strings.Repeat("x", 500) + "()", `at 1: no layer "` + strings.Repeat("x", 40) + `" (layers: Ether, `},
		{"IP()" + strings.Repeat("/IP()", 64), "at 321: more than 64 layers"},
		{strings.Repeat("(", 40), `at 33: nested deeper than 32 levels`},
		{`IP(ttl=` + strings.Repeat("[", 40), `at 39: nested deeper than 32 levels`},
	} {
		e, err := Parse(tt.expression)
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s:\n\t%v, want\n\t%s", tt.expression, err, tt.want)
		}
		if e != nil {
			t.Errorf("%s: an expression beside the error", tt.expression)
		}
	}
}

// TestLiterals holds that Python's ways of writing one thing are one.
func TestLiterals(t *testing.T) {
	for _, same := range [][]string{
		{`IP(id=10)`, `IP(id=0xa)`, `IP(id=0b1010)`, `IP(id=0o12)`, `IP(id=1_0)`, `IP(id=(10))`, `IP(id=0X0A,)`, "IP ( id\n= 10 )", `IP(id=[10])`},
		{`IP(ttl=64)`, `IP()`, `IP(ttl=None)`},
		{`IP()/b"\x41\n\\\""`, `IP()/"A\x0a\\\""`, `IP()/'A\n\\"'`, `IP()/"\101\12\134\42"`, `IP()/u"\u0041\U0000000a\\\""`, `IP()/Raw(b"A\n"+b'\\"')`},
		{`IP()/"\q\xe9"`, `IP()/"\\qé"`, `IP()/b"\q\xc3\xa9"`},
		{`IP()/r"\n\"x"`, `IP()/"\\n\\\"x"`, `IP()/br"\n\"x"`},
		{`IP()/"ababab"`, `IP()/("ab"*3)`, `IP()/Raw("ab"*3)`, `IP()/Raw(load=("a"+"b")*2+"ab")`, `IP()/("ab"*1*3)`, `IP()/"ab"/("ab"/Raw("ab"))`},
		{`IP(tos=1)/UDP(sport=0)`, `IP(tos=True)/UDP(sport=False)`},
		{`IP()/TCP(flags="SA")`, `IP()/TCP(flags="AS")`, `IP()/TCP(flags=0x12)`},
		{`IP(flags="MF+DF")`, `IP(flags=3)`},
		{`IP(proto="tcp")`, `IP(proto=6)`},
		{`Ether(dst="02:00:5e:00:53:09")`, `Ether(dst="02-00-5E-00-53-09")`, `Ether(dst=b"\x02\x00\x5e\x00\x53\x09")`},
		{`IP(dst=["198.51.100.0", "198.51.100.1"])`, `IP(dst="198.51.100.1/31")`, `IP(dst=("198.51.100.0", "198.51.100.1"))`},
		{`IP(ttl=(1, 5, 2))`, `IP(ttl=[1, 3, 5])`, `IP(ttl=[(1, 3, 2), 5])`},
		{`IP()/TCP(options=[("SAckOK", None)])`, `IP()/TCP(options=[("SAckOK", "")])`, `IP()/TCP(options=b"\x04\x02")`, `IP()/TCP(options=[(4, b"")])`},
		{`IP()/UDP()/DNS(qd=[DNSQR(qname="a"), DNSQR(qname="b")])`, `IP()/UDP()/DNS(qd=DNSQR(qname="a")/DNSQR(qname="b."))`},
		{`IP()/UDP()/DNS()`, `IP()/UDP()/DNS(qr=None, qdcount=None, an=None, ns=[], ar=None)`, `IP()/UDP()/DNS(qd=DNSQR())`},
		{`IP()/UDP()/DNS(qd=b"")`, `IP()/UDP()/DNS(qd=None)`, `IP()/UDP()/DNS(qd=[])`},
		{`IPv6()/IPv6ExtHdrHopByHop()/UDP()`, `IPv6()/IPv6ExtHdrHopByHop(options=None)/UDP()`},
		{`IP(options=[IPOption(b"\x94\x04\x00\x00")])`, `IP(options=IPOption_Router_Alert())`, `IP(options=b"\x94\x04\x00\x00")`},
		{`IP()/UDP()/BOOTP(chaddr="02:00:5e:00:53:01")`, `IP()/UDP()/BOOTP(chaddr=b"\x02\x00\x5e\x00\x53\x01")`},
		{`IP()/UDP()/BOOTP()/DHCP(options=[("router", ["198.51.100.1", "198.51.100.2"])])`, `IP()/UDP()/BOOTP()/DHCP(options=[(3, b"\xc6\x33\x64\x01", b"\xc6\x33\x64\x02")])`},
		{`Dot3()/LLC()/STP(age=(1, 7, 3))`, `Dot3()/LLC()/STP(age=[1, 4, 7])`},
		{`IP()/UDP(dport="domain")`, `IP()/UDP(dport=53)`},
	} {
		first, count := take(t, same[0], &world{}, 100)
		for _, other := range same[1:] {
			got, n := take(t, other, &world{}, 100)
			if !slices.Equal(got, first) || n != count {
				t.Errorf("%s: %s, not as %s: %s", other, got, same[0], first)
			}
		}
	}
}

// TestCount holds how many frames there are to be, without making them.
func TestCount(t *testing.T) {
	for _, tt := range []struct {
		expression string
		want       uint64
	}{
		{`IP()`, 1},
		{`IP(dst="198.51.100.0/24")/TCP(dport=(1, 65535))`, 256 * 65535},
		{`IP(dst="0.0.0.0/0")`, 1 << 32},
		{`IPv6(dst="2001:db8::/65")`, 1 << 63},
		{`IPv6(dst="2001:db8::/64")`, math.MaxUint64},
		{`IPv6(dst="::/0", hlim=(0, 255))`, math.MaxUint64},
		{`IPv6(dst=("::", "::1:0:0:0:0"))`, math.MaxUint64},
		{`IPv6(dst=("::1:ffff:ffff:ffff:ffff", "::2:0:0:0:0"))`, 2},
		{`IPv6(dst=["2001:db8::/64", "2001:db8::/64"])`, math.MaxUint64},
		{`IP(dst="0.0.0.0/0", src="0.0.0.0/0")`, math.MaxUint64},
		{`IP()/UDP()/DNS(qd=DNSQR(qname=["a", "b", "c"], qtype=(1, 4)), id=[1, 2])`, 24},
		{`IP()/TCP(flags=["S", "A", "SA"])`, 3},
		{`IP()/Raw(load=["a", "bb"])`, 2},
	} {
		e, err := Parse(tt.expression)
		if err != nil {
			t.Errorf("%s: %v", tt.expression, err)
			continue
		}
		if got := e.Count(); got != tt.want {
			t.Errorf("%s: %d frames, want %d", tt.expression, got, tt.want)
		}
		// The first ones come whatever the count.
		frames, _ := take(t, tt.expression, &world{}, 3)
		if uint64(len(frames)) != min(tt.want, 3) {
			t.Errorf("%s: %d frames came", tt.expression, len(frames))
		}
	}
}
