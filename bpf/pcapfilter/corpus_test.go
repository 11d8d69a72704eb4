package pcapfilter

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

var update = flag.Bool("update", false, "record anew what tcpdump makes of the expressions, and the corpus")

var (
	nearMAC, farMAC = net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 1}, net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 2}
	groupMAC        = net.HardwareAddr{1, 0, 0x5e, 0, 0, 1}
	broadcastMAC    = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

func ip(s string) net.IP { return netip.MustParseAddr(s).AsSlice() }

// ether is an Ethernet header with VLAN tags, given as pairs of type and id.
func ether(typ layers.EthernetType, tags ...uint16) []byte {
	b := slices.Concat(farMAC, nearMAC)
	for i := 0; i < len(tags); i += 2 {
		b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, tags[i]), 0x6000|tags[i+1])
	}
	return binary.BigEndian.AppendUint16(b, uint16(typ))
}

func serialize(list ...gopacket.SerializableLayer) []byte {
	buf := gopacket.NewSerializeBuffer()
	for _, l := range list {
		switch l := l.(type) {
		case *layers.TCP:
			_ = l.SetNetworkLayerForChecksum(list[0].(gopacket.NetworkLayer))
		case *layers.UDP:
			_ = l.SetNetworkLayerForChecksum(list[0].(gopacket.NetworkLayer))
		}
	}
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, list...); err != nil {
		panic(fmt.Sprintf("gopacket cannot make a packet of the corpus: %v", err))
	}
	return bytes.Clone(buf.Bytes())
}

func v4(protocol layers.IPProtocol, mod ...func(*layers.IPv4)) *layers.IPv4 {
	h := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Id: 7, Protocol: protocol, SrcIP: ip("198.51.100.1"), DstIP: ip("198.51.100.2")}
	for _, f := range mod {
		f(h)
	}
	return h
}

func v6(next layers.IPProtocol, mod ...func(*layers.IPv6)) *layers.IPv6 {
	h := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: next, SrcIP: ip("2001:db8::1"), DstIP: ip("2001:db8::2")}
	for _, f := range mod {
		f(h)
	}
	return h
}

func tcp(from, to layers.TCPPort, flags string) *layers.TCP {
	has := func(c byte) bool { return bytes.IndexByte([]byte(flags), c) >= 0 }
	return &layers.TCP{
		SrcPort: from, DstPort: to, Seq: 1, Ack: 2, Window: 100,
		SYN: has('S'), ACK: has('A'), FIN: has('F'), RST: has('R'), PSH: has('P'), URG: has('U'), ECE: has('E'), CWR: has('C'),
	}
}

func udp(from, to layers.UDPPort) *layers.UDP { return &layers.UDP{SrcPort: from, DstPort: to} }

func sctp(from, to layers.SCTPPort) *layers.SCTP {
	return &layers.SCTP{SrcPort: from, DstPort: to, VerificationTag: 1}
}

func icmp(typ uint8) *layers.ICMPv4 {
	return &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, 1), Id: 3, Seq: 4}
}

func icmp6(typ uint8) gopacket.Payload { return gopacket.Payload{typ, 1, 0, 0, 0, 3, 0, 4} }

func data(s string) gopacket.Payload { return gopacket.Payload(s) }

func addresses(from, to string) func(*layers.IPv4) {
	return func(h *layers.IPv4) { h.SrcIP, h.DstIP = ip(from), ip(to) }
}

func addresses6(from, to string) func(*layers.IPv6) {
	return func(h *layers.IPv6) { h.SrcIP, h.DstIP = ip(from), ip(to) }
}

// fragment6 is IPv6's fragment header.
func fragment6(next layers.IPProtocol, offset uint16, more byte) gopacket.Payload {
	return gopacket.Payload{byte(next), 0, byte(offset >> 5), byte(offset<<3) | more, 0, 0, 0, 9}
}

func packets4() [][]byte {
	options := func(words int) func(*layers.IPv4) {
		return func(h *layers.IPv4) {
			for range 4 * words {
				h.Options = append(h.Options, layers.IPv4Option{OptionType: 1})
			}
		}
	}
	fragment := func(offset uint16, more bool) func(*layers.IPv4) {
		return func(h *layers.IPv4) {
			if h.FragOffset = offset; more {
				h.Flags = layers.IPv4MoreFragments
			}
		}
	}
	list := [][]byte{
		serialize(v4(6), tcp(40000, 80, "S")),
		serialize(v4(6, addresses("198.51.100.2", "198.51.100.1")), tcp(80, 40000, "SA")),
		serialize(v4(6), tcp(40000, 443, "PA"), data("GET / and so on")),
		serialize(v4(6, options(1)), tcp(22, 40001, "A"), data("ssh")),
		serialize(v4(6, options(10)), tcp(6006, 6000, "FA")),
		serialize(v4(6, addresses("203.0.113.5", "10.1.2.3")), tcp(21, 20, "R")),
		serialize(v4(6, addresses("10.1.0.0", "192.168.7.7")), tcp(80, 80, "UECPA"), data("xyz")),
		serialize(v4(17), udp(40000, 53), data("query")),
		serialize(v4(17, addresses("0.0.0.0", "255.255.255.255")), udp(68, 67), data("boot")),
		serialize(v4(17, addresses("198.51.100.9", "224.0.0.251")), udp(5353, 5353), data("mdns")),
		serialize(v4(17, addresses("198.51.100.9", "198.51.100.255")), udp(123, 123), data("ntp")),
		serialize(v4(17, options(3)), udp(514, 80), data("syslog")),
		serialize(v4(132), sctp(80, 3000)),
		serialize(v4(132), sctp(1, 2)),
		serialize(v4(1), icmp(8), data("ping")),
		serialize(v4(1), icmp(0), data("pong")),
		serialize(v4(1, options(2)), icmp(3), data("unreachable, and a quote of what was sent")),
		serialize(v4(1), icmp(11), data("exceeded")),
		serialize(v4(6, fragment(0, true)), tcp(40000, 80, "A"), data("first fragment..")),
		serialize(v4(6, fragment(5, true)), tcp(40000, 80, "A"), data("middle fragment.")),
		serialize(v4(17, fragment(9, false)), udp(53, 53), data("last fragment")),
		serialize(v4(1, fragment(9, false)), icmp(8), data("last fragment")),
		serialize(v4(1, func(h *layers.IPv4) { h.Flags = layers.IPv4DontFragment; h.TTL = 1 }), icmp(8)),
	}
	for _, protocol := range []layers.IPProtocol{2, 9, 41, 46, 47, 50, 51, 89, 103, 112, 255} {
		list = append(list, serialize(v4(protocol), data("\x11\x22\x33\x44 of another protocol")))
	}
	return list
}

func packets6() [][]byte {
	return [][]byte{
		serialize(v6(6), tcp(40000, 80, "S")),
		serialize(v6(6, addresses6("2001:db8::2", "2001:db8::1")), tcp(443, 40000, "SA")),
		serialize(v6(6, addresses6("2001:db8:1::5", "2001:db8:2:3:4:5:6:7")), tcp(22, 6001, "PA"), data("ssh")),
		serialize(v6(17), udp(40000, 53), data("query")),
		serialize(v6(17, addresses6("fe80::1", "ff02::fb")), udp(5353, 5353), data("mdns")),
		serialize(v6(132), sctp(80, 3000)),
		serialize(v6(58), icmp6(128), data("ping")),
		serialize(v6(58), icmp6(129), data("pong")),
		serialize(v6(58, addresses6("fe80::1", "ff02::1:ff00:2")), icmp6(135), data("who has it, and more")),
		serialize(v6(58), icmp6(136), data("i have it, and more")),
		serialize(v6(58), icmp6(1), data("unreachable")),
		serialize(v6(0), gopacket.Payload{6, 0, 1, 4, 0, 0, 0, 0}, tcp(40000, 80, "S")),
		serialize(v6(44), fragment6(6, 0, 1), tcp(40000, 80, "S")),
		serialize(v6(44), fragment6(17, 100, 0), data("the rest of a datagram")),
		serialize(v6(44), fragment6(58, 0, 1), icmp6(128), data("first fragment")),
		serialize(v6(50), data("secret")), serialize(v6(51), data("\x06\x04\x00\x00 authentic")), serialize(v6(103), data("pim")),
		serialize(v6(59)),
	}
}

func arp(op uint16) []byte {
	return serialize(&layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
		SourceHwAddress: nearMAC, SourceProtAddress: ip("198.51.100.1").To4(),
		DstHwAddress: make([]byte, 6), DstProtAddress: ip("198.51.100.2").To4(),
	})
}

// linkFrames are frames of Ethernet, one of a kind.
func linkFrames() [][]byte {
	var list [][]byte
	add := func(header []byte, rest string) { list = append(list, append(header, rest...)) }
	for _, b := range packets4() {
		add(ether(layers.EthernetTypeIPv4), string(b))
	}
	for _, b := range packets6() {
		add(ether(layers.EthernetTypeIPv6), string(b))
	}
	for _, typ := range []layers.EthernetType{layers.EthernetTypeARP, 0x8035} {
		for op := range uint16(4) {
			add(ether(typ), string(arp(1+op)))
		}
	}
	for _, tags := range [][]uint16{
		{0x8100, 5}, {0x8100, 100}, {0x88a8, 5}, {0x9100, 5}, {0x8100, 5, 0x8100, 7}, {0x88a8, 100, 0x8100, 200},
		{0x8100, 7, 0x8100, 5}, {0x8100, 1, 0x8100, 2, 0x8100, 3},
	} {
		add(ether(layers.EthernetTypeIPv4, tags...), string(packets4()[0]))
		add(ether(layers.EthernetTypeIPv4, tags...), string(packets4()[7]))
		add(ether(layers.EthernetTypeIPv6, tags...), string(packets6()[0]))
		add(ether(layers.EthernetTypeARP, tags...), string(arp(1)))
		add(ether(0x88b5, tags...), "an experiment")
	}
	for _, to := range []net.HardwareAddr{broadcastMAC, groupMAC, nearMAC} {
		for _, i := range []int{1, 42, 53} {
			b := bytes.Clone(list[i])
			copy(b, to)
			list = append(list, b)
		}
	}
	for _, typ := range []layers.EthernetType{0x6001, 0x6002, 0x6003, 0x6004, 0x6007, 0x809b, 0x80f3, 0x8137, 0x8847, 0x8863, 0x8864, 0x88cc, 0x9000, 1501, 0} {
		add(ether(typ), "whatever it may be, it is not of IP")
	}
	for _, llc := range []string{
		"\x42\x42\x03\x00\x00", "\xfe\xfe\x03\x82", "\xfe\x06", "\xf0\xf0\x03", "\x06\x06\x03\x45", "\xe0\xe0\x03\xff", "\xff\xff\x00\x20",
		"\xaa\xaa\x03\x00\x00\x00\x81\x37", "\xaa\xaa\x03\x00\x00\x00\x80\xf3", "\xaa\xaa\x03\x08\x00\x07\x80\x9b", "\xaa\xaa\x03\x00\x00\x00\x08\x00",
	} {
		add(ether(38), llc+" behind a header of IEEE 802.2")
		add(ether(1500), llc)
	}
	return list
}

// mutated adds frames that end early, and frames with bytes that nobody sends.
func mutated(list [][]byte) [][]byte {
	rnd := rand.New(rand.NewPCG(5, 80))
	all := slices.Clone(list)
	for i, b := range list {
		step := 7
		if i%9 == 0 {
			step = 1
		}
		for n := rnd.IntN(step); n < min(len(b), 90); n += step {
			all = append(all, b[:n])
		}
		for range 6 {
			m := bytes.Clone(b)
			for range 1 + rnd.IntN(3) {
				if i := rnd.IntN(min(len(m), 64)); rnd.IntN(2) == 0 {
					m[i] ^= 1 << rnd.IntN(8)
				} else {
					m[i] = byte(rnd.Uint32())
				}
			}
			all = append(all, m)
		}
	}
	for _, n := range []int{60, 200, 1514} {
		b := make([]byte, n)
		for range 5 {
			all = append(all, bytes.Clone(b))
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
		}
	}
	slices.SortFunc(all, bytes.Compare)
	return slices.CompactFunc(all, bytes.Equal)
}

// rawFrames are packets without a link.
func rawFrames() [][]byte { return append(packets4(), packets6()...) }

// frames are the corpus of a link type.
func frames(noLink bool) [][]byte {
	if noLink {
		return mutated(rawFrames())
	}
	return mutated(linkFrames())
}

// The corpora are files too, for the tests that have tcpdump read them.
func TestCorpus(t *testing.T) {
	for name, link := range map[string]layers.LinkType{"ethernet": layers.LinkTypeEthernet, "raw": layers.LinkTypeRaw} {
		list := frames(name == "raw")
		var b bytes.Buffer
		w := pcapgo.NewWriter(&b)
		if err := w.WriteFileHeader(65535, link); err != nil {
			t.Fatal(err)
		}
		for i, frame := range list {
			// A frame's time is its number.
			info := gopacket.CaptureInfo{Timestamp: time.Unix(int64(i), 0), CaptureLength: len(frame), Length: len(frame)}
			if err := w.WritePacket(info, frame); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%s: %d frames", name, len(list))
		path := filepath.Join("testdata", name+".pcap")
		if *update {
			if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(file, b.Bytes()) {
			t.Errorf("%s is not the corpus (go test -run TestCorpus -update)", path)
		}
	}
}
