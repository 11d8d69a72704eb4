package craft

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/l2/frame"
)

func addrs(list ...string) (a []netip.Addr) {
	for _, s := range list {
		a = append(a, netip.MustParseAddr(s))
	}
	return a
}

// TestAsksForWhatIsLeftOut holds that the kernel is asked for nothing else, and
// once for frames in a row that need the same.
func TestAsksForWhatIsLeftOut(t *testing.T) {
	for _, tt := range []struct {
		expression    string
		noLink        bool
		sources, hops []netip.Addr
		asking        []netip.Addr
	}{
		{expression: `IP(dst="198.51.100.2")/TCP(dport=(1, 50))`, sources: addrs("198.51.100.2"), hops: addrs("198.51.100.2")},
		{expression: `IP(dst="198.51.100.2/31")/TCP(dport=(1, 25))`, sources: addrs("198.51.100.2", "198.51.100.3"), hops: addrs("198.51.100.2", "198.51.100.3")},
		{expression: `IP(dst="198.51.100.2", src="203.0.113.1")/UDP()`, hops: addrs("198.51.100.2")},
		{expression: `Ether(dst="02:00:5e:00:53:09")/IP(dst="198.51.100.2")/UDP()`, sources: addrs("198.51.100.2")},
		{expression: `Ether(dst="02:00:5e:00:53:09")/IP(dst="198.51.100.2", src="203.0.113.1")/UDP()`},
		{expression: `IP(dst="198.51.100.2")/UDP()`, noLink: true, sources: addrs("198.51.100.2")},
		{expression: `IP(dst="224.0.0.1")/UDP()`, sources: addrs("224.0.0.1")},
		{expression: `IP(dst="255.255.255.255", src="0.0.0.0")/UDP()`},
		{expression: `IPv6(dst="ff02::1", src="2001:db8::1")/UDP()`},
		{expression: `ARP(pdst="198.51.100.2")`, asking: addrs("198.51.100.2")},
		{expression: `ARP(pdst="198.51.100.2/31", op=[1, 2])`, asking: addrs("198.51.100.2", "198.51.100.3"), hops: addrs("198.51.100.2", "198.51.100.3")},
		{expression: `ARP(pdst="198.51.100.2", psrc="0.0.0.0")`},
		{expression: `ARP(op=2, pdst="198.51.100.2", psrc="203.0.113.1")`, hops: addrs("198.51.100.2")},
		{expression: `ARP(op=2, pdst="198.51.100.2", psrc="203.0.113.1", hwdst="02:00:5e:00:53:09")`},
		{expression: `Ether(type=0x88b5)/"own"`},
		{expression: `b"\xff\xff\xff\xff\xff\xff\x02\x00\x5e\x00\x53\x01\x88\xb5"`},
		{
			expression: `IP(dst="198.51.100.2")/UDP()/VXLAN()/Ether()/IP(dst="203.0.113.9", src="203.0.113.8")/UDP()`,
			sources:    addrs("198.51.100.2"), hops: addrs("198.51.100.2", "203.0.113.9"),
		},
		{expression: `IP(dst="198.51.100.2")/ICMP(type=3)/IP(src="198.51.100.2", dst="203.0.113.9")/UDP()`, sources: addrs("198.51.100.2"), hops: addrs("198.51.100.2")},
	} {
		w := &world{noLink: tt.noLink}
		take(t, tt.expression, w, 100)
		if !slices.Equal(w.sources, tt.sources) || !slices.Equal(w.hops, tt.hops) || !slices.Equal(w.asking, tt.asking) {
			t.Errorf("%s: asked for the sources of %v, those of ARP for %v, and the next hops of %v, want %v, %v and %v",
				tt.expression, w.sources, w.asking, w.hops, tt.sources, tt.asking, tt.hops)
		}
	}
}

// TestEnvErrors holds that an error of the Env is the frame's, and that the next
// frame follows.
func TestEnvErrors(t *testing.T) {
	nobody := errors.New("nobody there")
	e, err := Parse(`IP(dst=["198.51.100.2", "198.51.100.3", "224.0.0.1"], src="203.0.113.1")/UDP(sport=[1, 2])`)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{err: nobody}
	var good, bad int
	for f, err := range e.Frames(w) {
		switch {
		case err == nil:
			good++
		case err != nobody || f.Bytes != nil:
			t.Errorf("%v with %d bytes, want the Env's error alone", err, len(f.Bytes))
		default:
			bad++
		}
	}
	if good != 2 || bad != 4 || len(w.hops) != 2 {
		t.Errorf("%d frames, %d errors and %d questions, want 2, 4 and 2", good, bad, len(w.hops))
	}
}

// foreign is an Env that answers with an address of the wrong family.
type foreign struct{ world }

func (*foreign) Source(netip.Addr) (netip.Addr, error) { return near6, nil }

// TestFrameErrors holds what is said of frames that cannot be.
func TestFrameErrors(t *testing.T) {
	for _, tt := range []struct {
		expression string
		env        Env
		want       string
	}{
		{`IP()/("x"*70000)`, &world{}, "at 1: IP: 70020 bytes are more than len can say, 65535"},
		{`IP(len=1)/UDP()/("x"*70000)`, &world{}, "at 11: UDP: 70008 bytes are more than len can say, 65535"},
		{`Ether()/("x"*131072)`, &world{}, "at 1: a frame of 131086 bytes: longer than 131072"},
		{`IP()/TCP(options=[("Timestamp", (1, 2)), ("Timestamp", (1, 2)), ("Timestamp", (1, 2)), ("Timestamp", (1, 2)), ("Timestamp", (1, 2))])`, &world{},
			"at 6: TCP: 52 bytes of options, and there is room for 40 (a given dataofs lets them pass)"},
		{`IP(options=[IPOption_RR(routers=["0.0.0.0","0.0.0.0","0.0.0.0","0.0.0.0","0.0.0.0","0.0.0.0","0.0.0.0","0.0.0.0","0.0.0.0","0.0.0.0"])])`, &world{},
			"at 1: IP: 44 bytes of options, and there is room for 40 (a given ihl lets them pass)"},
		{`IP()/UDP()/DNS(an=DNSRR(type="A", rdata="x"))`, &world{}, `at 19: DNSRR: rdata: "x" is not an address of its type`},
		{`IP()/UDP()/DNS(an=DNSRR(type="AAAA", rdata="198.51.100.2"))`, &world{}, `at 19: DNSRR: rdata: "198.51.100.2" is not an address of its type`},
		{`IP()/ICMP(type=11, unused=65536)`, &world{}, "at 6: ICMP: unused is 65536: of type 11 it has to be from 0 to 65535"},
		{`Ether()/LLDPDUChassisID(subtype=4, id="x")`, &world{}, `at 9: LLDPDUChassisID: id: "x" is not a MAC address, as its subtype says`},
		{`Ether()/LLDPDUPortID(subtype=4, family=2, id="198.51.100.1")`, &world{}, `at 9: LLDPDUPortID: id: "198.51.100.1" is not an address, as its subtype and family say`},
		{`Ether()/LLDPDUSystemName(system_name="x"*512)`, &world{}, `at 9: LLDPDUSystemName: 512 bytes are more than _length can say, 511`},
		{`Ether()/LLDPDUManagementAddress(object_id="x"*256)`, &world{}, `at 9: LLDPDUManagementAddress: 256 bytes are more than its length can say, 255`},
		{`Ether()/IP()`, &world{noLink: true}, "at 1: Ether: the interface has no link layer, its frames start with IP or IPv6"},
		{`ARP()`, &world{noLink: true}, "at 1: ARP: the interface has no link layer, its frames start with IP or IPv6"},
		{`IP(dst="198.51.100.2")`, &foreign{}, "source for 198.51.100.2: there is none of its family"},
	} {
		e, err := Parse(tt.expression)
		if err != nil {
			t.Errorf("%s: %v", tt.expression, err)
			continue
		}
		n := 0
		for f, err := range e.Frames(tt.env) {
			if n++; err == nil || err.Error() != tt.want {
				t.Errorf("%s: %d bytes and %v, want %s", tt.expression, len(f.Bytes), err, tt.want)
			}
		}
		if n != 1 {
			t.Errorf("%s: %d frames", tt.expression, n)
		}
	}
}

// TestFramesStay holds that frames that have been made do not change when others
// are.
func TestFramesStay(t *testing.T) {
	e, err := Parse(`IP(dst="198.51.100.0/28", options=[IPOption(b"\x94\x04\x00\x00")])/UDP(sport=(1, 4))/DNS(qd=DNSQR(qname=["a", "b"]))`)
	if err != nil {
		t.Fatal(err)
	}
	var frames []Frame
	var then []string
	for f, err := range e.Frames(&world{}) {
		if err != nil {
			t.Fatal(err)
		}
		frames, then = append(frames, f), append(then, hex.EncodeToString(f.Bytes))
	}
	if len(frames) != 16*4*2 {
		t.Fatalf("%d frames", len(frames))
	}
	seen := map[string]bool{}
	for i, f := range frames {
		if now := hex.EncodeToString(f.Bytes); now != then[i] || f.LinkType != layers.LinkTypeEthernet || f.Length != len(f.Bytes) || seen[now] {
			t.Errorf("frame %d is %s now, it was %s", i, now, then[i])
		}
		seen[then[i]] = true
	}
}

// TestTimestampNow holds that an ICMP timestamp that is left out is the time, as
// milliseconds since midnight.
func TestTimestampNow(t *testing.T) {
	e, err := Parse(`IP(dst="198.51.100.2")/ICMP(type=13, ts_rx=7)`)
	if err != nil {
		t.Fatal(err)
	}
	e.clock = func() time.Time { return time.Date(2026, 5, 6, 1, 2, 3, 4_500_000, time.FixedZone("", 3600)) }
	for f, err := range e.Frames(&world{noLink: true}) {
		if err != nil {
			t.Fatal(err)
		}
		b := f.Bytes[28:]
		want := uint32((2*60+3)*1000 + 4)
		if got := [3]uint32{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])}; got != [3]uint32{want, 7, want} {
			t.Errorf("times %v, want %d", got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	ethernet, tunnel := Link{MAC: nearMAC, MTU: 1500}, Link{NoLink: true, MTU: 1400}
	sized := func(n int, at12 ...byte) []byte {
		b := make([]byte, n)
		if len(b) > 14 {
			copy(b[12:], at12)
		}
		return b
	}
	ip := sized(1400)
	ip[0] = 0x60
	for _, tt := range []struct {
		link Link
		b    []byte
		want string // how the error starts
	}{
		{ethernet, sized(14), ""},
		{ethernet, sized(1514), ""},
		{ethernet, sized(1518, 0x81, 0), ""},
		{ethernet, nil, "a frame of 0 bytes is shorter than an Ethernet header, 14"},
		{ethernet, sized(1), "a frame of 1 byte is shorter"},
		{ethernet, sized(13), "a frame of 13 bytes is shorter than an Ethernet header, 14"},
		{ethernet, sized(1515), "a frame of 1515 bytes is longer than the MTU, 1500, with the header: 1514"},
		{ethernet, sized(1515, 0x88, 0xa8), "a frame of 1515 bytes is longer"},
		{ethernet, sized(1519, 0x81, 0), "a frame of 1519 bytes is longer than the MTU, 1500, with the header and a tag: 1518"},
		{tunnel, ip, ""},
		{tunnel, []byte{0x45}, ""},
		{tunnel, nil, "an empty frame"},
		{tunnel, sized(20), "it starts with neither IPv4 nor IPv6"},
		{tunnel, append(ip, 0), "a packet of 1401 bytes is longer than the MTU, 1400"},
	} {
		err := tt.link.Check(tt.b)
		if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%d bytes: %v, want %q", len(tt.b), err, tt.want)
		}
	}
}

// TestFramesAllocate holds that a frame of a sweep costs its own bytes alone.
func TestFramesAllocate(t *testing.T) {
	for _, expression := range []string{
		`IP(dst="198.18.0.0/15")/TCP(dport=(1, 65535))`, `ARP(pdst="198.18.0.0/15")`,
		`IPv6(dst="2001:db8::/64")/UDP(sport=(1, 3))/"payload"`, `Ether(src="02:00:5e:00:53:01")/IP(src="198.18.0.0/15")/ICMP(seq=(0, 9))`,
	} {
		e, err := Parse(expression)
		if err != nil {
			t.Fatal(err)
		}
		next, stop := iter.Pull2(e.Frames(still{}))
		next()
		if n := testing.AllocsPerRun(1000, func() {
			if _, err, ok := next(); err != nil || !ok {
				t.Error(err, ok)
			}
		}); n > 1 {
			t.Errorf("%s: %v allocations a frame", expression, n)
		}
		stop()
	}
}

// still is an Env that allocates nothing.
type still struct{}

func (still) Link() Link { return Link{MAC: nearMAC, MTU: 1500} }

func (still) Source(dst netip.Addr) (netip.Addr, error) {
	if dst.Is4() {
		return near, nil
	}
	return near6, nil
}

func (still) Asking(netip.Addr) (netip.Addr, error) { return near, nil }

func (still) NextHop(netip.Addr) (frame.MAC, error) { return hopMAC, nil }

var sink frame.MAC

// BenchmarkFrames is one frame of a sweep.
func BenchmarkFrames(b *testing.B) {
	e, err := Parse(`IP(dst="198.18.0.0/15")/TCP(dport=[22, 80, 443])`)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for f, err := range e.Frames(still{}) {
			if n++; err != nil || n == 1000 {
				sink = frame.MAC(f.Bytes)
				break
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/frame")
}
