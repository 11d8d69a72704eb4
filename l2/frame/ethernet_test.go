package frame_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/mdlayher/ethernet"

	"github.com/l2ping/l2ping/l2/frame"
)

func tag(id uint16) frame.VLAN      { return frame.VLAN{Type: frame.EtherTypeVLAN, TCI: id} }
func provider(id uint16) frame.VLAN { return frame.VLAN{Type: frame.EtherTypeQinQ, TCI: id} }

// tagged is a frame with tags, made by gopacket.
func tagged(t testing.TB, typ layers.EthernetType, payload []byte, vlans ...frame.VLAN) []byte {
	t.Helper()
	types := []layers.EthernetType{}
	for _, v := range vlans {
		types = append(types, layers.EthernetType(v.Type))
	}
	types = append(types, typ)
	list := []gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: srcMAC.HardwareAddr(), DstMAC: dstMAC.HardwareAddr(), EthernetType: types[0]}}
	for i, v := range vlans {
		list = append(list, &layers.Dot1Q{
			Priority: uint8(v.TCI >> 13), DropEligible: v.TCI>>12&1 != 0, VLANIdentifier: v.TCI & 4095, Type: types[i+1],
		})
	}
	return serialize(t, append(list, gopacket.Payload(payload))...)
}

// tagSets are the tags that a frame can bear.
var tagSets = [][]frame.VLAN{
	nil,
	{tag(100)},
	{tag(0xe000)},
	{provider(0x7ffe)},
	{provider(200), tag(0x6064)},
	{tag(200), tag(100)},
	{tag(1), provider(4094)},
	{provider(0), provider(0x1000)},
}

func TestEthernetDecode(t *testing.T) {
	payload := bytes.Repeat([]byte("p"), 60)
	var e frame.Ethernet
	for _, vlans := range tagSets {
		b := tagged(t, layers.EthernetTypeARP, payload, vlans...)
		if err := e.Decode(b); err != nil {
			t.Fatal(err)
		}
		var want [frame.MaxVLANs]frame.VLAN
		copy(want[:], vlans)
		if e.Src != srcMAC || e.Dst != dstMAC || e.Type != frame.EtherTypeARP || e.Tags != len(vlans) || e.VLANs != want || !bytes.Equal(e.Payload, payload) {
			t.Errorf("%v: %+v", vlans, e)
		}
		header := 14 + 4*len(vlans)
		for n := range b {
			if err := e.Decode(b[:n]); (n < header) != errors.Is(err, frame.ErrTruncated) || (n >= header) != (err == nil) {
				t.Errorf("%v, %d bytes: %v", vlans, n, err)
			}
		}
		if err := e.Decode(b[:header]); err != nil || len(e.Payload) != 0 {
			t.Errorf("%v, a header alone: %v, payload % x", vlans, err, e.Payload)
		}
	}
}

// Of more tags than MaxVLANs the rest stays in the payload, and the type is no
// protocol's: such a frame is taken for nobody's.
func TestEthernetDecodeManyTags(t *testing.T) {
	b := tagged(t, layers.EthernetTypeIPv4, bytes.Repeat([]byte("p"), 60), provider(3), provider(2), tag(1))
	var e frame.Ethernet
	if err := e.Decode(b); err != nil || e.Tags != 2 || e.VLANs != [2]frame.VLAN{provider(3), provider(2)} || e.Type != frame.EtherTypeVLAN ||
		!bytes.Equal(e.Payload, b[22:]) {
		t.Errorf("%v, %+v", err, e)
	}
	if err := e.Decode(b[:22]); err != nil {
		t.Errorf("the third tag, which is not read, is cut: %v", err)
	}
}

func FuzzEthernetDecode(f *testing.F) {
	f.Add(template(f, baseEcho()).Patch(1))
	for _, vlans := range tagSets {
		b := tagged(f, layers.EthernetTypeIPv6, []byte("payload"), vlans...)
		f.Add(b)
		f.Add(b[:15])
	}
	f.Add(tagged(f, layers.EthernetTypeIPv6, nil, tag(1), tag(2), tag(3)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e frame.Ethernet
		e.VLANs[1].TCI = 99 // left over from another frame
		if err := e.Decode(b); err != nil {
			if !errors.Is(err, frame.ErrTruncated) || len(b) >= 22 {
				t.Fatalf("%d bytes: %v", len(b), err)
			}
			return
		}
		again := append(e.Dst[:], e.Src[:]...)
		for i, v := range e.VLANs {
			if i >= e.Tags {
				if v != (frame.VLAN{}) {
					t.Errorf("tag %d of %d is %+v", i, e.Tags, v)
				}
				continue
			}
			if v.Type != frame.EtherTypeVLAN && v.Type != frame.EtherTypeQinQ {
				t.Errorf("a tag of type %v", v.Type)
			}
			again = binary.BigEndian.AppendUint16(again, uint16(v.Type))
			again = binary.BigEndian.AppendUint16(again, v.TCI)
		}
		again = binary.BigEndian.AppendUint16(again, uint16(e.Type))
		if !bytes.Equal(append(again, e.Payload...), b) {
			t.Errorf("% x becomes %+v", b, e)
		}
		if isTag := e.Type == frame.EtherTypeVLAN || e.Type == frame.EtherTypeQinQ; isTag && e.Tags < frame.MaxVLANs {
			t.Errorf("%d tags, and another is left", e.Tags)
		}
	})
}

func TestHeaderMarshal(t *testing.T) {
	for _, vlans := range tagSets {
		for _, size := range []int{0, 1, 45, 46, 47, 1500} {
			h := frame.Header{Dst: dstMAC, Src: srcMAC, VLANs: vlans}
			payload := bytes.Repeat([]byte{0xa5}, size)
			b, err := h.Marshal(frame.EtherTypeIPv4, payload)
			if err != nil {
				t.Fatal(err)
			}
			// Ethernet's 46 bytes of payload are there once the tags are off.
			if h.Len() != 14+4*len(vlans) || len(b) != h.Len()+max(46, size) {
				t.Errorf("%v: header %d, frame %d bytes for %d", vlans, h.Len(), len(b), size)
			}
			padded := append(bytes.Clone(payload), make([]byte, max(0, 46-size))...)
			if want := tagged(t, layers.EthernetTypeIPv4, padded, vlans...); !bytes.Equal(b, want) {
				t.Errorf("%v, %d bytes:\n% x, gopacket\n% x", vlans, size, b, want)
			}
			var e frame.Ethernet
			if err := e.Decode(b); err != nil || e.Dst != dstMAC || e.Src != srcMAC || e.Type != frame.EtherTypeIPv4 || !bytes.Equal(e.Payload, padded) {
				t.Errorf("%v: %v, %+v", vlans, err, e)
			}
		}
	}
}

// What mdlayher/ethernet marshals by itself comes out the same; the tags that it
// does not know are why it is not asked to.
func TestHeaderLikeEthernet(t *testing.T) {
	known := func(v frame.VLAN) *ethernet.VLAN {
		return &ethernet.VLAN{Priority: ethernet.Priority(v.Priority()), DropEligible: v.DropEligible(), ID: v.ID()}
	}
	for _, vlans := range [][]frame.VLAN{nil, {tag(0x7064)}, {provider(0xe0c8), tag(100)}} {
		f := ethernet.Frame{Destination: dstMAC.HardwareAddr(), Source: srcMAC.HardwareAddr(), EtherType: ethernet.EtherTypeARP, Payload: []byte("payload")}
		switch len(vlans) {
		case 1:
			f.VLAN = known(vlans[0])
		case 2:
			f.ServiceVLAN, f.VLAN = known(vlans[0]), known(vlans[1])
		}
		want, err := f.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		got, err := frame.Header{Dst: dstMAC, Src: srcMAC, VLANs: vlans}.Marshal(frame.EtherTypeARP, []byte("payload"))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: %v\n% x, want\n% x", vlans, err, got, want)
		}
	}
	// Tags are the Header's own: none is left from an earlier one.
	if b, err := (frame.Header{Dst: dstMAC, Src: srcMAC}).Marshal(frame.EtherTypeARP, nil); err != nil || len(b) != 60 || b[12] != 8 {
		t.Errorf("%v, % x", err, b)
	}
}

func TestHeaderNoLink(t *testing.T) {
	h := frame.Header{NoLink: true, Dst: dstMAC, Src: srcMAC}
	payload := []byte("short")
	b, err := h.Marshal(frame.EtherTypeIPv4, payload)
	if err != nil || string(b) != "short" || h.Len() != 0 {
		t.Fatalf("%v, % x, header of %d", err, b, h.Len())
	}
	if b[0] = 'S'; payload[0] != 's' {
		t.Error("the frame is no copy of the payload")
	}
}

func TestHeaderErrors(t *testing.T) {
	for _, tt := range []struct {
		h    frame.Header
		want string
	}{
		{frame.Header{VLANs: []frame.VLAN{tag(1), tag(2), tag(3)}}, "3 VLAN tags: at most 2"},
		{frame.Header{VLANs: []frame.VLAN{{TCI: 5}}}, "VLAN tag of type 0x0000: neither 802.1Q nor 802.1ad"},
		{frame.Header{VLANs: []frame.VLAN{tag(5), {Type: 0x9100, TCI: 5}}}, "VLAN tag of type 0x9100: neither 802.1Q nor 802.1ad"},
		{frame.Header{VLANs: []frame.VLAN{tag(0x2fff)}}, "VLAN id 4095: reserved"},
		{frame.Header{NoLink: true, VLANs: []frame.VLAN{tag(5)}}, "VLAN tags on a link without Ethernet header"},
	} {
		b, err := tt.h.Marshal(frame.EtherTypeIPv4, []byte("payload"))
		if err == nil || err.Error() != tt.want || b != nil {
			t.Errorf("%+v: % x, %v, want %q", tt.h, b, err, tt.want)
		}
	}
}

// ARP behind tags, from a MAC that is not the sender's own.
func TestARPMarshalBehind(t *testing.T) {
	other := frame.MAC{2, 0, 0x5e, 0, 0x53, 0x77}
	a := frame.ARP{Operation: frame.ARPRequest, SenderMAC: srcMAC, SenderIP: src, TargetIP: dst}
	for _, vlans := range tagSets {
		b, err := a.MarshalBehind(frame.Header{Dst: frame.Broadcast, Src: other, VLANs: vlans})
		if err != nil {
			t.Fatal(err)
		}
		if len(b) != 60+4*len(vlans) {
			t.Errorf("%v: a frame of %d bytes", vlans, len(b))
		}
		p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.DecodeOptions{})
		if e := p.ErrorLayer(); e != nil || p.Metadata().Truncated {
			t.Fatalf("gopacket: %v, truncated: %v", e, p.Metadata().Truncated)
		}
		var seen []*layers.Dot1Q
		for _, l := range p.Layers() {
			if q, ok := l.(*layers.Dot1Q); ok {
				seen = append(seen, q)
			}
		}
		if len(seen) != len(vlans) {
			t.Fatalf("gopacket sees %d tags, want %v", len(seen), vlans)
		}
		for i, v := range vlans {
			if q := seen[i]; q.VLANIdentifier != v.ID() || q.Priority != v.Priority() || q.DropEligible != v.DropEligible() {
				t.Errorf("gopacket sees the tag %+v, want %v", q, v)
			}
		}
		got, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP)
		if !ok || !bytes.Equal(got.SourceHwAddress, srcMAC[:]) || !bytes.Equal(b[6:12], other[:]) {
			t.Errorf("%v: gopacket: %+v", vlans, got)
		}
		var e frame.Ethernet
		var back frame.ARP
		if e.Decode(b) != nil || back.Decode(e.Payload) != nil || back != a {
			t.Errorf("%v: %+v, want %+v", vlans, back, a)
		}
	}
	if b, err := a.MarshalBehind(frame.Header{NoLink: true}); err == nil || b != nil {
		t.Errorf("ARP without a link: % x, %v", b, err)
	}
	if b, err := a.MarshalBehind(frame.Header{VLANs: []frame.VLAN{tag(4095)}}); err == nil || b != nil {
		t.Errorf("ARP in VLAN 4095: % x, %v", b, err)
	}
}
