package lab

import (
	"strings"
	"testing"
)

// FuzzDecode has any bytes come in at the peer, and has it answer what it takes
// for a request.
func FuzzDecode(f *testing.F) {
	unhex := func(s string) []byte {
		var b []byte
		for i := 0; i+1 < len(s); i += 2 {
			b = append(b, byte(strings.IndexByte("0123456789abcdef", s[i])<<4|strings.IndexByte("0123456789abcdef", s[i+1])))
		}
		return b
	}
	const ethernet, v6 = "02005e00530202005e005301", "86dd60000000"
	for _, seed := range []string{
		ethernet + "08060001080006040001" + "02005e005301c6336401" + "000000000000c6336402",
		ethernet + "08004500001c000000004001" + "0000c6336401c6336402" + "0800f7ff00000000",
		ethernet + "810000070800" + "4500001c000020004001" + "0000c6336401c6336402" + "0800f7ff00000000",
		ethernet + v6 + "00083a40" + "20010db8000100000000000000000001" + "20010db8000100000000000000000002" + "8000000000000000",
		ethernet + v6 + "00203aff" + "20010db8000100000000000000000001" + "ff0200000000000000000001ff000002" +
			"8700000000000000" + "20010db8000100000000000000000002" + "010102005e005301",
		ethernet + v6 + "00102c40" + "20010db8000100000000000000000001" + "20010db8000100000000000000000002" +
			"3a00000100000001" + "8000000000000000",
	} {
		f.Add(unhex(seed), false)
		f.Add(unhex(seed)[14:], true)
	}
	errors, err := ParseScript("all: error time-exceeded, reply, fragment 8 each, ip-options, pad 3")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, frame []byte, noLink bool) {
		d := decoder{noLink: noLink}
		r := d.decode(frame, nil)
		if r == nil {
			return
		}
		if !r.SrcIP.IsValid() || !r.DstIP.IsValid() {
			t.Fatalf("a request without addresses: %+v", r)
		}
		who := answerer{ip: r.DstIP, mac: labMAC(2), mtu: 1500}
		if r.Kind != KindEcho {
			if _, err := r.neighborAnswer(&neighborScript{}, labMAC(2)); err != nil && r.Fault == "" {
				t.Errorf("%+v: %v", r, err)
			}
			return
		}
		for _, a := range []*action{{}, &errors.rules[0].action} {
			if _, _, err := r.answer(a, who); err != nil && r.Fault == "" {
				t.Errorf("%+v: %v", r, err)
			}
		}
	})
}

// FuzzParseScript has any text for a script.
func FuzzParseScript(f *testing.F) {
	f.Add("arp: silent 2, delay 1ms, from 02:00:5e:00:53:99, also 02:00:5e:00:53:98, vlan 7.1 8")
	f.Add("ndp: router, unsolicited, no-override, no-mac, hop-limit 64, untagged")
	f.Add("address 198.51.100.2, 2001:db8::/64 own-macs\nkeep 5\nvlan 7 802.1ad\nto 198.18.0.0/15: lose\nlarger 1400: reorder")
	f.Add("seq 2..4: error packet-too-big mtu 1400 pointer 3 quote full forged seq, reply, fragment 32 each overlap missing 2")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseScript(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "line ") {
				t.Errorf("error %v names no line", err)
			}
			return
		}
		for _, p := range s.Prefixes() {
			if !p.IsValid() {
				t.Errorf("a prefix of nothing in %q", text)
			}
		}
	})
}
