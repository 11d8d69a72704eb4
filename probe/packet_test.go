//go:build linux

package probe

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/l2/frame"
)

// The hosts of these tests (RFC 5737, RFC 7042).
var (
	nearIP    = netip.MustParseAddr("198.51.100.1")
	farIP     = netip.MustParseAddr("198.51.100.2")
	routerIP  = netip.MustParseAddr("198.51.100.254")
	nearMAC   = frame.MAC{0x02, 0, 0x5e, 0, 0x53, 0x01}
	farMAC    = frame.MAC{0x02, 0, 0x5e, 0, 0x53, 0x02}
	routerMAC = frame.MAC{0x02, 0, 0x5e, 0, 0x53, 0xfe}
	cookie    = [frame.CookieLen]byte{0xc0, 0x0c, 0x1e, 0x5a, 0xfe, 0xed, 0xfa, 0xce}
)

const probeID = 0x1234

// A packet is ICMP in IPv4 in Ethernet, built and taken apart here without the
// codecs that are under test.
type packet struct {
	dstMAC, srcMAC  frame.MAC
	src, dst        netip.Addr
	ttl, tos        byte
	typ, code       byte
	rest            [4]byte // id and sequence number, or what an error has there
	body            []byte
	badIP, badICMP  bool // a wrong checksum
	ipID            uint16
	padding         int
	moreFragments   bool
	payloadProtocol byte // 0: ICMP
}

const icmpAt = 14 + 20

// parse takes a frame of this package's own template apart.
func parse(b []byte) packet {
	return packet{
		dstMAC: frame.MAC(b[0:6]), srcMAC: frame.MAC(b[6:12]),
		src: netip.AddrFrom4([4]byte(b[26:30])), dst: netip.AddrFrom4([4]byte(b[30:34])),
		ttl: b[22], tos: b[15],
		typ: b[icmpAt], code: b[icmpAt+1], rest: [4]byte(b[icmpAt+4 : icmpAt+8]),
		body: bytes.Clone(b[icmpAt+8 : 14+int(binary.BigEndian.Uint16(b[16:]))]),
		ipID: binary.BigEndian.Uint16(b[18:]),
	}
}

func (p *packet) seq() uint16     { return binary.BigEndian.Uint16(p.rest[2:]) }
func (p *packet) setSeq(v uint16) { binary.BigEndian.PutUint16(p.rest[2:], v) }
func (p *packet) setID(v uint16)  { binary.BigEndian.PutUint16(p.rest[:], v) }

// bytes builds the frame.
func (p packet) bytes() []byte {
	icmp := append([]byte{p.typ, p.code, 0, 0}, p.rest[:]...)
	icmp = append(icmp, p.body...)
	binary.BigEndian.PutUint16(icmp[2:], slowChecksum(icmp))
	if p.badICMP {
		icmp[2] ^= 0x40
	}
	ip := make([]byte, 20)
	ip[0] = 0x45
	ip[1] = p.tos
	binary.BigEndian.PutUint16(ip[2:], uint16(20+len(icmp)))
	binary.BigEndian.PutUint16(ip[4:], p.ipID)
	if p.moreFragments {
		ip[6] = 0x20
	}
	ip[8] = p.ttl
	ip[9] = max(p.payloadProtocol, 1)
	copy(ip[12:], p.src.AsSlice())
	copy(ip[16:], p.dst.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], slowChecksum(ip))
	if p.badIP {
		ip[10] ^= 0x40
	}
	b := append(p.dstMAC[:], p.srcMAC[:]...)
	b = append(b, 0x08, 0x00)
	b = append(append(b, ip...), icmp...)
	return append(b, make([]byte, max(60-len(b), 0)+p.padding)...)
}

// slowChecksum is RFC 1071 word by word.
func slowChecksum(b []byte) uint16 {
	var sum uint32
	for i, v := range b {
		if i%2 == 0 {
			sum += uint32(v) << 8
		} else {
			sum += uint32(v)
		}
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// replyTo is what a host makes of a request.
func replyTo(request []byte) packet {
	p := parse(request)
	p.dstMAC, p.srcMAC = p.srcMAC, p.dstMAC
	p.src, p.dst = p.dst, p.src
	p.typ, p.ttl, p.ipID = 0, 63, 0x4242
	return p
}

// errorFor is what a router makes of a request: an ICMP error with as much of
// it as RFC 792 asks for.
func errorFor(request []byte, typ, code byte) packet {
	return packet{
		dstMAC: nearMAC, srcMAC: routerMAC, src: routerIP, dst: nearIP, ttl: 255,
		typ: typ, code: code, body: bytes.Clone(request[14 : icmpAt+8]),
	}
}

// TestPacketBuilder has gopacket judge what the builder makes: the other tests
// stand on it.
func TestPacketBuilder(t *testing.T) {
	w := newStill(t, settings{})
	w.send(w.target, 1)
	request := w.frames[0]
	reply := replyTo(request)
	failure := errorFor(request, 11, 0)
	for name, b := range map[string][]byte{
		"request": request, "rebuilt request": parse(request).bytes(), "reply": reply.bytes(), "error": failure.bytes(),
	} {
		decoded := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
		if decoded.ErrorLayer() != nil {
			t.Errorf("%s: %v", name, decoded.ErrorLayer().Error())
			continue
		}
		if err, bad := decoded.VerifyChecksums(); err != nil || len(bad) > 0 {
			t.Errorf("%s: checksums: %v, %v", name, bad, err)
		}
	}
	decoded := gopacket.NewPacket(request, layers.LayerTypeEthernet, gopacket.Default)
	eth := decoded.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	icmp := decoded.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	if frame.MAC(eth.DstMAC) != farMAC || icmp.Id != probeID || icmp.Seq != 1 ||
		!bytes.HasPrefix(icmp.Payload, append(cookie[:], 0, 0, 0, 0, 0, 0, 0, 1)) {
		t.Errorf("request is %v", decoded)
	}
	for name, p := range map[string]packet{
		"IP":   {src: nearIP, dst: farIP, badIP: true},
		"ICMP": {src: nearIP, dst: farIP, badICMP: true},
	} {
		decoded := gopacket.NewPacket(p.bytes(), layers.LayerTypeEthernet, gopacket.Default)
		if err, bad := decoded.VerifyChecksums(); err != nil || len(bad) != 1 {
			t.Errorf("%s: checksums said to be wrong: %v, %v, want one", name, bad, err)
		}
	}
}
