package craft

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"
)

var updateDump = flag.Bool("update-dump", false, "write testdata/dump.txt")

// TestDump holds what --dry-run shows against testdata/dump.txt.
func TestDump(t *testing.T) {
	var out strings.Builder
	for _, expression := range []string{
		`IP(dst="198.51.100.2", ttl=3)/ICMP(id=7)/"payload"`,
		`Ether()/Dot1Q(vlan=5)/ARP(pdst="198.51.100.2")`,
		`IP(dst="198.51.100.2", flags="DF")/TCP(dport=443, options=[("MSS", 1460), ("SAckOK", b"")], chksum=1)`,
		`IP(dst="198.51.100.2")/UDP()/DNS(qd=DNSQR(qname="example.org"))`,
		`IPv6()/ICMPv6ND_NS(tgt="2001:db8::2")/ICMPv6NDOptSrcLLAddr(lladdr="02:00:5e:00:53:01")`,
		`IPv6(dst="2001:db8::2")/IPv6ExtHdrHopByHop(options=RouterAlert())/UDP(sport=1, dport=2, chksum=3)/("\x00long"*8)`,
		`Ether(type=0x88b5)/"own\nprotocol"`,
		`Ether()/IP(dst="198.51.100.2", proto=6)/"x"`,
		`Dot1Q(vlan=5, type=0x88b5)/"own"`,
		`IPv6(dst="2001:db8::2", nh=253)/"own"`,
		`IP(src="0.0.0.0", dst="255.255.255.255")/UDP(sport=68, dport=67)/BOOTP(chaddr="02:00:5e:00:53:01")/DHCP(options=[("message-type", "discover"), "end"])`,
		`Ether(dst="01:80:c2:00:00:0e")/LLDPDUChassisID(subtype=4, id="02:00:5e:00:53:01")/LLDPDUPortID(subtype=5, id="eth0")/LLDPDUTimeToLive(ttl=120)/LLDPDUEndOfLLDPDU()`,
	} {
		e, err := Parse(expression)
		if err != nil {
			t.Fatal(err)
		}
		for f, err := range e.Frames(&world{}) {
			if err != nil {
				t.Fatal(err)
			}
			dump := Dump(f)
			fmt.Fprintf(&out, "== %s\n%s", expression, dump)

			if again, err := FromHex(dump); err != nil || len(again) != 1 || !bytes.Equal(again[0], f.Bytes) {
				t.Errorf("%s: its bytes are read back as %x, %v", expression, again, err)
			}
		}
	}
	ip := Frame{Bytes: []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, 198, 51, 100, 1, 198, 51, 100, 2}, LinkType: layers.LinkTypeRaw}
	fmt.Fprintf(&out, "== without a link layer\n%s== of a kind that nobody knows\n%s== empty\n%s",
		Dump(ip), Dump(Frame{Bytes: []byte("?"), LinkType: 200}), Dump(Frame{LinkType: layers.LinkTypeEthernet}))
	const file = "testdata/dump.txt"
	if *updateDump {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(out.String(), "\n")
	for i, line := range strings.Split(string(want), "\n") {
		if i >= len(got) || got[i] != line {
			t.Fatalf("line %d of %s is not what is shown:\n%s", i+1, file, out.String())
		}
	}
	if len(want) != out.Len() {
		t.Errorf("more is shown than %s has:\n%s", file, out.String())
	}
}
