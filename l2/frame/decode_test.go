package frame_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/l2/frame"
)

func serialize(t testing.TB, list ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// packetOf is an IPv4 packet with an ICMP message in it, made by gopacket.
func packetOf(t testing.TB, ip *layers.IPv4, icmp *layers.ICMPv4, data []byte) []byte {
	t.Helper()
	ip.Version, ip.Protocol = 4, layers.IPProtocolICMPv4
	if ip.SrcIP == nil {
		ip.SrcIP, ip.DstIP = dst.AsSlice(), src.AsSlice()
	}
	return serialize(t, ip, icmp, gopacket.Payload(data))
}

func replyPacket(t testing.TB) []byte {
	return packetOf(t, &layers.IPv4{TOS: 0xb8, Id: 0x1234, TTL: 61, Flags: layers.IPv4DontFragment},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(0, 0), Id: 0xbe0f, Seq: 77}, []byte("some data"))
}

// change returns a copy of b with some bytes set.
func change(b []byte, at int, with ...byte) []byte {
	b = bytes.Clone(b)
	copy(b[at:], with)
	return b
}

func TestICMPDecode(t *testing.T) {
	b := serialize(t, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(0, 3), Id: 0xbe0f, Seq: 0xff01}, gopacket.Payload("odd"))
	var m frame.ICMP
	if err := m.Decode(b); err != nil {
		t.Fatal(err)
	}
	if m.Type != frame.ICMPEchoReply || m.Code != 3 || m.ID != 0xbe0f || m.Seq != 0xff01 || !m.ChecksumOK ||
		m.Checksum != binary.BigEndian.Uint16(b[2:]) || string(m.Body) != "odd" {
		t.Errorf("%+v", m)
	}
	for i := range b {
		bad := change(b, i, b[i]^0x10)
		if err := m.Decode(bad); err != nil || m.ChecksumOK {
			t.Errorf("byte %d changed: %v, checksum holds: %v", i, err, m.ChecksumOK)
		}
	}
	for n := range b {
		if err := m.Decode(b[:n]); (n < 8) != errors.Is(err, frame.ErrTruncated) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// The second word of the header has a meaning for each type.
func TestICMPErrorFields(t *testing.T) {
	var m frame.ICMP
	if err := m.Decode([]byte{3, frame.ICMPFragmentationNeeded, 0, 0, 0, 0, 0x05, 0x78}); err != nil || m.MTU() != 1400 {
		t.Errorf("MTU %d, want 1400 (%v)", m.MTU(), err)
	}
	if err := m.Decode([]byte{3, frame.ICMPFragmentationNeeded, 0, 0, 0xff, 0xff, 0, 0}); err != nil || m.MTU() != 0 {
		t.Errorf("MTU %d, want 0 (%v)", m.MTU(), err)
	}
	if err := m.Decode([]byte{5, 1, 0, 0, 198, 51, 100, 254}); err != nil || m.Gateway() != netip.MustParseAddr("198.51.100.254") {
		t.Errorf("gateway %s (%v)", m.Gateway(), err)
	}
	if err := m.Decode([]byte{12, 0, 0, 0, 20, 1, 2, 3}); err != nil || m.Pointer() != 20 {
		t.Errorf("pointer %d, want 20 (%v)", m.Pointer(), err)
	}
}

func TestARP(t *testing.T) {
	for _, a := range []frame.ARP{
		{Operation: frame.ARPRequest, SenderMAC: srcMAC, SenderIP: src, TargetIP: dst},
		{Operation: frame.ARPReply, SenderMAC: dstMAC, SenderIP: dst, TargetMAC: srcMAC, TargetIP: src},
	} {
		b, err := a.Marshal(frame.Broadcast)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) != 60 {
			t.Errorf("a frame of %d bytes, want 60", len(b))
		}
		p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.DecodeOptions{})
		if e := p.ErrorLayer(); e != nil || p.Metadata().Truncated {
			t.Fatalf("gopacket: %v, truncated: %v", e, p.Metadata().Truncated)
		}
		eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
		if eth.EthernetType != layers.EthernetTypeARP || !bytes.Equal(eth.SrcMAC, a.SenderMAC[:]) || !bytes.Equal(eth.DstMAC, frame.Broadcast[:]) {
			t.Errorf("Ethernet header %+v", eth)
		}
		got := p.Layer(layers.LayerTypeARP).(*layers.ARP)
		if got.AddrType != layers.LinkTypeEthernet || got.Protocol != layers.EthernetTypeIPv4 || got.HwAddressSize != 6 || got.ProtAddressSize != 4 ||
			got.Operation != uint16(a.Operation) ||
			!bytes.Equal(got.SourceHwAddress, a.SenderMAC[:]) || !bytes.Equal(got.SourceProtAddress, a.SenderIP.AsSlice()) ||
			!bytes.Equal(got.DstHwAddress, a.TargetMAC[:]) || !bytes.Equal(got.DstProtAddress, a.TargetIP.AsSlice()) {
			t.Errorf("gopacket: %+v, of %+v", got, a)
		}
		if !bytes.Equal(b[42:], make([]byte, 18)) {
			t.Errorf("padding % x", b[42:])
		}

		// And back, from bytes that gopacket made.
		var d frame.ARP
		if err := d.Decode(serialize(t, got)); err != nil || d != a {
			t.Errorf("%v, %+v, want %+v", err, d, a)
		}
		if err := d.Decode(b[14:]); err != nil || d != a {
			t.Errorf("with padding: %v, %+v, want %+v", err, d, a)
		}
	}
}

func TestARPErrors(t *testing.T) {
	good := frame.ARP{Operation: frame.ARPRequest, SenderMAC: srcMAC, SenderIP: src, TargetIP: dst}
	b, err := good.Marshal(dstMAC)
	if err != nil {
		t.Fatal(err)
	}
	b = b[14 : 14+28]
	var d frame.ARP
	for n := range b {
		if err := d.Decode(b[:n]); !errors.Is(err, frame.ErrTruncated) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	// Hardware and protocol type and both lengths have to be Ethernet's and IPv4's.
	for i := range 6 {
		if err := d.Decode(change(b, i, b[i]^4)); !errors.Is(err, frame.ErrMalformed) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	for _, bad := range []frame.ARP{
		{SenderIP: netip.MustParseAddr("2001:db8::1"), TargetIP: dst},
		{SenderIP: src, TargetIP: netip.MustParseAddr("::ffff:203.0.113.1")},
		{SenderIP: src},
	} {
		if b, err := bad.Marshal(dstMAC); err == nil || b != nil {
			t.Errorf("ARP from %v for %v: % x, error %v", bad.SenderIP, bad.TargetIP, b, err)
		}
	}
}

func TestDecodeAllocates(t *testing.T) {
	echo, echo6 := baseEcho(), baseEcho6()
	echo6.VLANs = []frame.VLAN{provider(200), tag(100)}
	full, full6 := template(t, echo).Patch(1), template(t, echo6).Patch(1)
	fragment := fragment6(7, 0, true, 58, full6[62:])
	arp, err := (&frame.ARP{Operation: frame.ARPReply, SenderIP: src, TargetIP: dst}).Marshal(dstMAC)
	if err != nil {
		t.Fatal(err)
	}
	neighbor := packetNDP(t, messages()[4])
	var (
		e frame.Ethernet
		i frame.IP
		m frame.ICMP
		a frame.ARP
		d frame.NDP
	)
	if allocs := testing.AllocsPerRun(1000, func() {
		// Bad frames come in floods, too: their errors cost nothing.
		for _, n := range []int{len(full), 50, 30, 20, 10} {
			if e.Decode(full[:n]) == nil && i.Decode(e.Payload) == nil {
				_ = m.Decode(i.Payload)
			}
			if n >= 14 && i.DecodeQuoted(full[14:n]) == nil {
				_ = m.Decode(i.Payload)
			}
		}
		for _, n := range []int{len(full6), 110, 70, 60, 20, 16, 10} {
			if e.Decode(full6[:n]) == nil && i.Decode(e.Payload) == nil {
				_ = m.Decode6(i.Payload, i.Src, i.Dst)
			}
			if n >= 22 && i.DecodeQuoted(full6[22:n]) == nil {
				_ = m.Decode6(i.Payload, i.Src, i.Dst)
			}
		}
		_ = m.Gateway()
		_ = i.Decode(fragment)
		_ = i.Decode(fragment[:44])
		_ = a.Decode(arp[14:])
		_ = a.Decode(arp[14:30])
		_ = a.Decode(full[14:])
		_ = d.Decode(neighbor)
		_ = d.Decode(neighbor[:70])
		_ = d.Decode(full[14:])
		_ = frame.MulticastMAC(frame.SolicitedNode(i.Dst))
	}); allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}

func BenchmarkDecode(b *testing.B) {
	tagged := baseEcho6()
	tagged.VLANs = []frame.VLAN{provider(200), tag(100)}
	for _, bb := range []struct {
		name string
		e    frame.Echo
	}{{"IPv4", baseEcho()}, {"IPv6", baseEcho6()}, {"IPv6 tagged", tagged}} {
		b.Run(bb.name, func(b *testing.B) {
			full := template(b, bb.e).Patch(1)
			var (
				e frame.Ethernet
				h frame.IP
				m frame.ICMP
			)
			b.ReportAllocs()
			b.SetBytes(int64(len(full)))
			for b.Loop() {
				if e.Decode(full) != nil || h.Decode(e.Payload) != nil {
					b.Fatal("the probe does not decode")
				}
				var err error
				if h.Version == 6 {
					err = m.Decode6(h.Payload, h.Src, h.Dst)
				} else {
					err = m.Decode(h.Payload)
				}
				if err != nil || !m.ChecksumOK {
					b.Fatal("the message does not decode")
				}
			}
		})
	}
}

func BenchmarkNDPDecode(b *testing.B) {
	packet := packetNDP(b, messages()[4])
	var d frame.NDP
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Decode(packet); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkChecksum(b *testing.B) {
	for _, size := range []int{20, 64, 1480, 65535} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			data := text(size)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				frame.Checksum(data)
			}
		})
	}
}

func FuzzICMPDecode(f *testing.F) {
	f.Add(replyPacket(f)[20:])
	f.Add([]byte{3, 4, 0, 0, 0, 0, 5, 0x78})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m frame.ICMP
		if err := m.Decode(b); (err == nil) != (len(b) >= 8) {
			t.Fatalf("%d bytes: %v", len(b), err)
		} else if err != nil {
			return
		}
		if m.ChecksumOK != (naive(b) == 0) || !bytes.Equal(m.Body, b[8:]) || m.Type != frame.ICMPType(b[0]) || m.Code != b[1] ||
			m.Gateway() != netip.AddrFrom4([4]byte(b[4:8])) || m.Pointer() != uint32(b[4]) || m.MTU() != int(b[6])<<8+int(b[7]) || m.V6 ||
			m.ID != binary.BigEndian.Uint16(b[4:]) || m.Seq != binary.BigEndian.Uint16(b[6:]) {
			t.Errorf("% x becomes %+v", b, m)
		}
		_ = m.Type.String()
	})
}

func FuzzARPDecode(f *testing.F) {
	a := frame.ARP{Operation: frame.ARPRequest, SenderMAC: srcMAC, SenderIP: src, TargetIP: dst}
	b, err := a.Marshal(dstMAC)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[14:])
	f.Add(b[14:41])
	f.Fuzz(func(t *testing.T, b []byte) {
		var a frame.ARP
		if a.Decode(b) != nil {
			return
		}
		again, err := a.Marshal(a.TargetMAC)
		if err != nil || !bytes.Equal(again[14:42], b[:28]) {
			t.Errorf("% x becomes %+v becomes % x, %v", b, a, again, err)
		}
	})
}
