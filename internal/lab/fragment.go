package lab

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/ip4defrag"
	"github.com/gopacket/gopacket/ip6defrag"
	"github.com/gopacket/gopacket/layers"
)

// maxPartial is of how many requests fragments are kept. All are forgotten
// when there are more.
const maxPartial = 4096

// defragmenter puts requests together that come in fragments. Its zero value
// is ready.
type defragmenter struct {
	v4      *ip4defrag.IPv4Defragmenter
	v6      *ip6defrag.IPv6Defragmenter
	partial map[fragmentKey]*partial
}

type fragmentKey struct {
	src, dst netip.Addr
	id       uint32
}

// partial is what is known of a request whose fragments have not all come.
type partial struct {
	packet  []byte // the first one
	ihl     int
	count   int
	largest int
	faults  []string
}

// join makes the whole packet of one that may be a fragment. ok is false for a
// fragment that completes none. What r says of packet and fragments is then
// that of all of them.
func (d *defragmenter) join(p gopacket.Packet, r *Request) (whole gopacket.Packet, ok bool) {
	var key fragmentKey
	offset, header := 0, 0
	v4, is4 := p.NetworkLayer().(*layers.IPv4)
	v6, is6 := p.NetworkLayer().(*layers.IPv6)
	fragment, _ := p.Layer(layers.LayerTypeIPv6Fragment).(*layers.IPv6Fragment)
	switch {
	case is4 && (v4.FragOffset != 0 || v4.Flags&layers.IPv4MoreFragments != 0):
		key = keyOf(v4.SrcIP, v4.DstIP, uint32(v4.Id))
		offset = int(v4.FragOffset)
	case is6 && fragment != nil:
		key = keyOf(v6.SrcIP, v6.DstIP, fragment.Identification)
		offset, header = int(fragment.FragmentOffset), 8
	default:
		return p, true
	}
	if d.partial == nil || len(d.partial) >= maxPartial {
		d.v4, d.v6 = ip4defrag.NewIPv4Defragmenter(), ip6defrag.NewIPv6Defragmenter()
		d.partial = map[fragmentKey]*partial{}
	}
	part := d.partial[key]
	if part == nil {
		part = &partial{}
		d.partial[key] = part
	}
	part.count++
	part.largest = max(part.largest, r.largest)
	if r.Fault != "" {
		part.faults = append(part.faults, r.Fault)
	}
	if offset == 0 {
		part.packet, part.ihl = r.packet, r.ihl+header
	}
	packet, err := d.insert(v4, v6, fragment)
	if packet == nil && err == nil {
		return nil, false
	}
	delete(d.partial, key)
	r.packet, r.ihl, r.largest, r.Fragments = part.packet, part.ihl, part.largest, part.count
	if err != nil {
		return nil, false
	}
	whole = gopacket.NewPacket(packet, ipLayer(packet), gopacket.DecodeOptions{NoCopy: true})
	if fault := faults(whole); fault != "" {
		part.faults = append(part.faults, fault)
	}
	r.Fault = ""
	for _, fault := range part.faults {
		r.fault(fault)
	}
	return whole, true
}

func keyOf(src, dst []byte, id uint32) fragmentKey {
	from, _ := netip.AddrFromSlice(src)
	to, _ := netip.AddrFromSlice(dst)
	return fragmentKey{src: from, dst: to, id: id}
}

// insert gives a fragment to gopacket. It returns the packet that is complete
// by it, or nil. The IPv6 defragmenter drops a packet whose fragments overlap
// without a word: it is never complete.
func (d *defragmenter) insert(v4 *layers.IPv4, v6 *layers.IPv6, fragment *layers.IPv6Fragment) ([]byte, error) {
	if v4 != nil {
		whole, err := d.v4.DefragIPv4(v4)
		if whole == nil || err != nil {
			return nil, err
		}
		whole.Flags, whole.FragOffset = 0, 0
		return layersOf(whole, gopacket.Payload(whole.Payload))
	}
	whole := d.v6.DefragIPv6(v6, fragment)
	if whole == nil {
		return nil, nil
	}
	return layersOf(whole, gopacket.Payload(whole.Payload))
}

// piece is what one fragment carries.
type piece struct {
	offset int
	data   []byte
	more   bool
}

// pieces cuts a message of which mtu bytes fit into a packet.
func (c cut) pieces(message []byte, mtu int) ([]piece, error) {
	first, each := c.first, c.each
	if first == 0 && len(message) > mtu {
		first, each = mtu&^7, true
	}
	if first == 0 || first >= len(message) {
		return []piece{{data: message}}, nil
	}
	var list []piece
	for at := 0; at < len(message); {
		size := len(message) - at
		if at == 0 || each {
			size = min(size, first)
		}
		list = append(list, piece{offset: at, data: message[at : at+size], more: at+size < len(message)})
		at += size
	}
	if c.overlap {
		for i := 1; i < len(list); i++ {
			early := slices.Clone(list[i-1].data[len(list[i-1].data)-8:])
			invert(early)
			list[i].data = slices.Concat(early, list[i].data)
			list[i].offset -= 8
		}
	}
	if c.missing > len(list) {
		return nil, fmt.Errorf("fragment missing %d: there are %d fragments", c.missing, len(list))
	}
	if c.missing > 0 {
		list = slices.Delete(list, c.missing-1, c.missing)
	}
	if c.reversed {
		slices.Reverse(list)
	}
	return list, nil
}
