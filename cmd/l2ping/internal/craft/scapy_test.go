package craft

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/l2/frame"
)

// goldenFile has expressions, each with the frames below it that scapy makes of
// it: at most goldenFrames of them.
const (
	goldenFile   = "testdata/scapy.txt"
	goldenFrames = 64
)

// A sample is one expression of the golden file.
type sample struct {
	expression string
	frames     []string // in hexadecimal
}

func golden(t testing.TB) (list []sample) {
	t.Helper()
	f, err := os.Open(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		if b, ok := strings.CutPrefix(s.Text(), "\t"); ok {
			last := &list[len(list)-1]
			last.frames = append(last.frames, b)
			continue
		}
		list = append(list, sample{expression: s.Text()})
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	if len(list) < 80 {
		t.Fatalf("only %d expressions in %s", len(list), goldenFile)
	}
	return list
}

var (
	nearMAC = frame.MAC{0x02, 0, 0x5e, 0, 0x53, 0x01}
	hopMAC  = frame.MAC{0x02, 0, 0x5e, 0, 0x53, 0x02}
	near    = netip.MustParseAddr("198.51.100.1")
	near6   = netip.MustParseAddr("2001:db8::1")
)

// world is an Env that knows one answer for everything, and counts who asks.
type world struct {
	noLink        bool
	err           error
	sources, hops []netip.Addr
	asking        []netip.Addr // who from for ARP
}

func (w *world) Link() Link { return Link{MAC: nearMAC, NoLink: w.noLink, MTU: 1500} }

func (w *world) Source(dst netip.Addr) (netip.Addr, error) {
	w.sources = append(w.sources, dst)
	if dst.Is4() {
		return near, w.err
	}
	return near6, w.err
}

func (w *world) Asking(dst netip.Addr) (netip.Addr, error) {
	w.asking = append(w.asking, dst)
	return near, w.err
}

func (w *world) NextHop(dst netip.Addr) (frame.MAC, error) {
	w.hops = append(w.hops, dst)
	return hopMAC, w.err
}

// take makes the frames of an expression, up to limit.
func take(t testing.TB, expression string, env Env, limit int) (frames []string, count uint64) {
	t.Helper()
	e, err := Parse(expression)
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	for f, err := range e.Frames(env) {
		if err != nil {
			t.Fatalf("%s: %v", expression, err)
		}
		if frames = append(frames, hex.EncodeToString(f.Bytes)); len(frames) == limit {
			break
		}
	}
	return frames, e.Count()
}

// withoutLink tells whether scapy makes no Ethernet header for an expression.
func withoutLink(expression string) bool {
	return !strings.HasPrefix(expression, "Ether(") && !strings.HasPrefix(expression, "Dot3(")
}

// TestAsScapy holds that every byte is scapy's.
func TestAsScapy(t *testing.T) {
	for _, s := range golden(t) {
		got, count := take(t, s.expression, &world{noLink: withoutLink(s.expression)}, goldenFrames)
		if len(got) != len(s.frames) || count < uint64(len(got)) || len(got) < goldenFrames && count != uint64(len(got)) {
			t.Errorf("%s: %d frames, and a count of %d; scapy makes %d", s.expression, len(got), count, len(s.frames))
			continue
		}
		for i := range got {
			if got[i] != s.frames[i] {
				t.Errorf("%s: frame %d is\n\t%s, scapy's\n\t%s", s.expression, i+1, got[i], s.frames[i])
				break
			}
		}
	}
}

// TestHeaderAhead holds that an expression without Ether gets the one that scapy
// makes of Ether()/....
func TestHeaderAhead(t *testing.T) {
	for _, s := range golden(t) {
		expression, ok := strings.CutPrefix(s.expression, "Ether()/")
		if !ok || !(strings.HasPrefix(expression, "IP") || strings.HasPrefix(expression, "ARP") || strings.HasPrefix(expression, "Dot1")) {
			continue
		}
		got, _ := take(t, expression, &world{}, goldenFrames)
		if strings.Join(got, " ") != strings.Join(s.frames, " ") {
			t.Errorf("%s: %s, scapy's with Ether: %s", expression, got, s.frames)
		}
	}
}

// complaints are what gopacket has against frames that were made so: they were
// told to, carry what no protocol is, or are what scapy makes of such layers.
var complaints = []struct{ part, complaint string }{
	{`ICMP(chksum=0xbeef)`, "ICMPv4 has 0xbeef for 0x7fff"},
	{`version=5`, "Invalid IP packet version 5"},
	{`proto="tcp"`, "Invalid TCP header"},
	{`proto=6`, "Invalid TCP header"},
	{`len=3, chksum=1`, "UDP packet too small"},
	{`len=30)/UDP(`, "UDP has 0x6450 for 0x3ef4"},
	{`len=30, ihl=7`, "Invalid TCP header"},
	{`len=10)`, "Invalid (too small) IP length"},
	{`dataofs=15`, "TCP data offset greater than packet length"},
	{`type=0x1234`, "Unable to decode EthernetType"},
	{`0x88b5`, "Unable to decode EthernetType"},
	{`/LLC()/"abc"/`, "Layer type not currently supported"},
	{`version=4, plen=9`, "Invalid (too small) IP header length"},
	{`cksum=0xdead`, "ICMPv6 has 0xdead for 0xa544"},
	{`ICMPv6NDOptUnknown(`, "ICMPv6 message option with length 64"}, // scapy's length is of bytes
	{`autopad=0`, "IPv6 header option too small"},
	{`VXLAN(vni=(1, 2))/"x"`, "Ethernet packet too small"},
	{`flags=0x88`, "Ethernet packet too small"},
	{`VXLAN()/IP(`, "Unable to decode EthernetType"},
	{`qdcount=9`, "dns index walked out of range"},
	{`len=40)/UDP()`, "UDP has 0x3308 for 0xab08"},
	{`x01\x88\xb5whole`, "Invalid IP packet version 15"},
	{`("head"+"er")`, "EthernetCTP skip count"},
	{`/UDP()/BOOTP()`, "DHCPv4 length 236 too short"},
	{`/UDP()/DHCP(`, "DNS packet too short"},
	{`/SNAP()/STP(`, "Unable to decode EthernetType 267"}, // scapy's is Cisco's PVST+
	{`_length=9`, "Missing mandatory LinkLayerDiscovery TLV"},
	{`/MPLS(label=5)/"x"`, "Unable to guess protocol"},
	{`/UDP()/MPLS(label=5)/"x"`, "DNS packet too short"},
	{`auxdata="abcd"`, "Multicast Listener Report Message V2 layer less than"}, // scapy's length is of bytes
	{`"no IP"`, "EthernetCTP skip count"},
	{`Ether()/ICMPv6EchoRequest`, "EthernetCTP skip count"},
	{`51.100.2")/ICMPv6EchoRequest`, "Layer type not currently supported"},
}

// TestGopacketReads holds that gopacket decodes the frames, and that their
// checksums are right, but for what was made otherwise.
func TestGopacketReads(t *testing.T) {
	used := map[string]bool{}
	for _, s := range golden(t) {
		want := ""
		for _, c := range complaints {
			if strings.Contains(s.expression, c.part) {
				want, used[c.part] = c.complaint, true
			}
		}
		if s.expression == `IPv6(dst="2001:db8::2")` {
			want = "IPv6 length 0"
		}
		first := gopacket.Decoder(layers.LayerTypeEthernet)
		if withoutLink(s.expression) {
			first = layers.LinkTypeRaw
		}
		for _, text := range s.frames {
			b, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			if got := complaint(gopacket.NewPacket(b, first, gopacket.Default)); !strings.Contains(got, want) || (got == "") != (want == "") {
				t.Errorf("%s: gopacket says %q, want %q", s.expression, got, want)
			}
		}
	}
	for _, c := range complaints {
		if !used[c.part] {
			t.Errorf("no expression has %q", c.part)
		}
	}
}

// complaint is what gopacket has against a frame, "" if nothing.
func complaint(p gopacket.Packet) string {
	pair(p)
	if e := p.ErrorLayer(); e != nil {
		return e.Error().Error()
	}
	err, wrong := p.VerifyChecksums()
	if err != nil {
		return err.Error()
	}
	for _, w := range wrong {
		return fmt.Sprintf("%s has 0x%04x for 0x%04x", w.Layer.LayerType(), w.Actual, w.Correct)
	}
	return ""
}

// pair tells each transport layer which network layer its checksum covers.
func pair(p gopacket.Packet) {
	var network gopacket.NetworkLayer
	for _, l := range p.Layers() {
		if n, ok := l.(gopacket.NetworkLayer); ok {
			network = n
		}
		if c, ok := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok && network != nil {
			_ = c.SetNetworkLayerForChecksum(network)
		}
	}
}
