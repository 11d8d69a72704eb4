package pcapfilter

import (
	"encoding/binary"
	"net/netip"

	cbpf "golang.org/x/net/bpf"
)

const (
	etherTypeIPv4      = 0x0800
	etherTypeARP       = 0x0806
	etherTypeRARP      = 0x8035
	etherTypeAppleTalk = 0x809b
	etherTypeAARP      = 0x80f3
	etherTypeIPX       = 0x8137
	etherTypeIPv6      = 0x86dd
	// The types that start a VLAN tag: 802.1Q's, 802.1ad's, and one from before.
	etherTypeVLAN, etherTypeQinQ, etherTypeOldQinQ = 0x8100, 0x88a8, 0x9100

	// longest802 is the most that is a length in an Ethernet header, and no type;
	// then an LLC header follows (IEEE 802.2), with the addresses (SAP) that tell
	// what it carries.
	longest802 = 1500
	sapIP      = 0x06
	sapIPX     = 0xe0
	sapNetBEUI = 0xf0
	sapISO     = 0xfe
	sapSNAP    = 0xaa

	ipTCP, ipUDP, ipSCTP  = 6, 17, 132
	ipICMPv6, ip6Fragment = 58, 44

	fragmentOffset = 0x1fff // in the two bytes at 6 of an IPv4 header
	vlanID         = 0x0fff // in a VLAN tag
)

// packetOutgoing is the packet type of what this host sends (packet(7),
// sll_pkttype).
const packetOutgoing = 4

func constantTree(yes bool) *tree { return &tree{kind: treeConstant, yes: yes} }

// all holds if all of a list do, tested in this order; nil ones are left out.
func all(list ...*tree) *tree { return join(treeAnd, list) }

// some holds if one of a list does, tested in this order; nil ones are left out.
func some(list ...*tree) *tree { return join(treeOr, list) }

func join(kind treeKind, list []*tree) *tree {
	var joined *tree
	for i := len(list) - 1; i >= 0; i-- {
		switch {
		case list[i] == nil:
		case joined == nil:
			joined = list[i]
		default:
			joined = &tree{kind: kind, l: list[i], r: joined}
		}
	}
	return joined
}

func negate(t *tree) *tree { return &tree{kind: treeNot, l: t} }

// compare is the tree of one comparison with a constant.
func (g *graph) compare(v *value, cond cbpf.JumpTest, k uint32) *tree {
	return &tree{kind: treeTest, test: g.test(testKey{cond: cond, value: v, k: k})}
}

func (g *graph) equal(v *value, k uint32) *tree { return g.compare(v, cbpf.JumpEqual, k) }

// masked holds if the bits of mask in v are those of k. Without a mask nothing is
// read.
func (g *graph) masked(v *value, k, mask uint32) *tree {
	switch {
	case mask == 0:
		return constantTree(k == 0)
	case k == 0 && mask != ^uint32(0):
		return negate(g.compare(v, cbpf.JumpBitsSet, mask))
	}
	return g.equal(g.and(v, mask), k)
}

// within holds if v lies in from..to.
func (g *graph) within(v *value, from, to uint32) *tree {
	return all(g.compare(v, cbpf.JumpGreaterOrEqual, from), negate(g.compare(v, cbpf.JumpGreaterThan, to)))
}

// bytes holds if those at an offset are b. Like libpcap it starts with the last.
func (g *graph) bytes(at uint32, b []byte) *tree {
	var list []*tree
	for len(b) > 0 {
		size, k := 0, uint32(0)
		switch {
		case len(b) >= 4:
			size, k = 4, binary.BigEndian.Uint32(b[len(b)-4:])
		case len(b) >= 2:
			size, k = 2, uint32(binary.BigEndian.Uint16(b[len(b)-2:]))
		default:
			size, k = 1, uint32(b[0])
		}
		b = b[:len(b)-size]
		list = append(list, g.equal(g.load(at+uint32(len(b)), size), k))
	}
	return all(list...)
}

// A direction says which end of a packet a primitive means.
type direction int

const (
	anyDirection direction = iota
	srcOrDst
	srcAndDst
	src
	dst
)

// ends joins what is tested of the source and of the destination.
func ends(d direction, source, destination *tree) *tree {
	switch d {
	case src:
		return source
	case dst:
		return destination
	case srcAndDst:
		return all(source, destination)
	default:
		return some(source, destination)
	}
}

// etherType holds if the frame carries a protocol: a type, or up to longest802
// an LLC address. Without a link only the versions of IP are told apart.
func (c *compiler) etherType(at offsets, number uint32) *tree {
	g := c.g
	if c.cfg.NoLink {
		switch number {
		case etherTypeIPv4:
			return g.masked(g.load(0, 1), 0x40, 0xf0)
		case etherTypeIPv6:
			return g.masked(g.load(0, 1), 0x60, 0xf0)
		default:
			return constantTree(false)
		}
	}
	field := g.load(at.etherType, 2)
	typed := g.equal(field, number)
	llc := negate(g.compare(field, cbpf.JumpGreaterThan, longest802))
	snap := func(organization, typ uint32) *tree {
		header := []byte{sapSNAP, sapSNAP, 3, byte(organization >> 16), byte(organization >> 8), byte(organization), byte(typ >> 8), byte(typ)}
		return g.bytes(at.packet, header)
	}
	switch number {
	case sapISO, sapIP, sapNetBEUI:
		return all(llc, g.equal(g.load(at.packet, 2), number<<8|number))
	case sapIPX:
		// Four ways to carry IPX: of its own type, in SNAP, in LLC, and in frames
		// of 802.3 with nothing between.
		return some(g.equal(field, etherTypeIPX), all(llc, some(
			snap(0, etherTypeIPX), g.equal(g.load(at.packet, 1), sapIPX), g.equal(g.load(at.packet, 2), 0xffff))))
	case etherTypeAppleTalk:
		return some(typed, all(llc, snap(0x080007, number)))
	case etherTypeAARP:
		return some(typed, all(llc, snap(0, number)))
	}
	if number <= longest802 {
		return all(llc, g.equal(g.load(at.packet, 1), number))
	}
	return typed
}

// ipProtocol holds if a packet of the versions given carries a protocol. In IPv6
// a fragment header may stand before it, and no other.
func (c *compiler) ipProtocol(at offsets, number uint32, ip4, ip6 bool) *tree {
	g := c.g
	var list []*tree
	if ip4 {
		list = append(list, all(c.etherType(at, etherTypeIPv4), g.equal(g.load(at.packet+9, 1), number)))
	}
	if ip6 {
		next := g.load(at.packet+6, 1)
		list = append(list, all(c.etherType(at, etherTypeIPv6), some(
			g.equal(next, number),
			all(g.equal(next, ip6Fragment), g.equal(g.load(at.packet+40, 1), number)))))
	}
	return some(list...)
}

// protocol holds if the frame carries a protocol that has a word of its own.
func (c *compiler) protocol(at offsets, p protocol) *tree {
	if in, ok := insides[p]; ok {
		return c.ipProtocol(at, in.number, in.ip4, in.ip6)
	}
	return c.etherType(at, etherTypes[p])
}

// firstFragment holds unless an IPv4 packet is a later fragment.
func (c *compiler) firstFragment(at offsets) *tree {
	return negate(c.g.compare(c.g.load(at.packet+6, 2), cbpf.JumpBitsSet, fragmentOffset))
}

// host4 holds if an IPv4 address is in a network. Without a protocol it is looked
// for in IP, ARP and RARP.
func (c *compiler) host4(at offsets, p protocol, d direction, network, mask uint32) *tree {
	in := func(etherType, source, destination uint32) *tree {
		end := func(offset uint32) *tree {
			return all(c.etherType(at, etherType), c.g.masked(c.g.load(at.packet+offset, 4), network, mask))
		}
		return ends(d, end(source), end(destination))
	}
	ip, arp, rarp := in(etherTypeIPv4, 12, 16), in(etherTypeARP, 14, 24), in(etherTypeRARP, 14, 24)
	switch p {
	case protoIP:
		return ip
	case protoARP:
		return arp
	case protoRARP:
		return rarp
	default:
		return some(ip, arp, rarp)
	}
}

// host6 holds if an IPv6 address is in a network.
func (c *compiler) host6(at offsets, d direction, network netip.Prefix) *tree {
	address, mask := network.Addr().As16(), [16]byte{}
	for i := range network.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	end := func(offset uint32) *tree {
		list := []*tree{c.etherType(at, etherTypeIPv6)}
		for i := 0; i < len(mask); i += 4 {
			word := c.g.load(at.packet+offset+uint32(i), 4)
			list = append(list, c.g.masked(word, binary.BigEndian.Uint32(address[i:]), binary.BigEndian.Uint32(mask[i:])))
		}
		return all(list...)
	}
	return ends(d, end(8), end(24))
}

// etherHost holds if a frame bears a MAC address. Tags do not move those.
func (c *compiler) etherHost(d direction, mac []byte) *tree {
	return ends(d, c.g.bytes(6, mac), c.g.bytes(0, mac))
}

// ports holds if a packet has a port in from..to, of the protocols given, of
// which IPv4's later fragments have none, and in IPv6 those behind extension
// headers are not found.
func (c *compiler) ports(at offsets, protocols []uint32, d direction, from, to uint32) *tree {
	g := c.g
	port := func(v *value) *tree {
		if from == to {
			return g.equal(v, from)
		}
		return g.within(v, from, to)
	}
	header := g.header(at.packet)
	in4 := ends(d, port(g.loadBehind(header, at.packet, 2)), port(g.loadBehind(header, at.packet+2, 2)))
	in6 := ends(d, port(g.load(at.packet+40, 2)), port(g.load(at.packet+42, 2)))
	var list4, list6 []*tree
	for _, number := range protocols {
		list4 = append(list4, all(g.equal(g.load(at.packet+9, 1), number), c.firstFragment(at), in4))
		list6 = append(list6, all(g.equal(g.load(at.packet+6, 1), number), in6))
	}
	return some(
		all(c.etherType(at, etherTypeIPv6), some(list6...)),
		all(c.etherType(at, etherTypeIPv4), some(list4...)))
}

// ipBroadcast holds if a packet is for all hosts of the interface's network, by
// ones or, as it was long ago, by zeros.
func (c *compiler) ipBroadcast(at offsets) *tree {
	host := ^uint32(0)
	if n := c.cfg.Network; n.IsValid() {
		host = uint32(1<<(32-n.Bits()) - 1)
	}
	to := c.g.load(at.packet+16, 4)
	return all(c.etherType(at, etherTypeIPv4), some(c.g.masked(to, 0, host), c.g.masked(to, host, host)))
}

// multicast holds if a frame (protoLink), or a packet, is for a group.
func (c *compiler) multicast(at offsets, p protocol) *tree {
	g := c.g
	switch p {
	case protoIP:
		return all(c.etherType(at, etherTypeIPv4), g.compare(g.load(at.packet+16, 1), cbpf.JumpGreaterOrEqual, 224))
	case protoIP6:
		return all(c.etherType(at, etherTypeIPv6), g.equal(g.load(at.packet+24, 1), 255))
	default:
		return g.compare(g.load(0, 1), cbpf.JumpBitsSet, 1)
	}
}

// taggedAt holds if a tag starts at an offset of the frame, less two; with the id
// given, unless it is nil.
func (c *compiler) taggedAt(at offsets, id *uint32) *tree {
	typ := c.g.load(at.etherType, 2)
	is := some(c.g.equal(typ, etherTypeVLAN), c.g.equal(typ, etherTypeQinQ), c.g.equal(typ, etherTypeOldQinQ))
	if id == nil {
		return is
	}
	return all(is, c.g.masked(c.g.load(at.packet, 2), *id, vlanID))
}

// vlan is the keyword. All that stands behind it in the expression, whatever
// joins it, is of the packet behind the tag.
func (c *compiler) vlan(id *uint32) *tree {
	l := &leaf{tags: c.tags}
	c.tags++
	if !c.cfg.Live || l.tags > 0 {
		l.tests = func(at offsets) *tree { return c.taggedAt(at, id) }
		return &tree{kind: treeLeaf, leaf: l}
	}
	l.tag = func(out exits) *node {
		// The kernel has taken the tag out, or has left it in the frame.
		taken := constantTree(true)
		if id != nil {
			taken = c.g.masked(c.g.extension(cbpf.ExtVLANTag), *id, vlanID)
		}
		way := func(t *tree, branch int) *node {
			one := exits{yes: [branches]*node{out.yes[branch]}, no: [branches]*node{out.no[branch]}}
			return c.lower(t, one)[0]
		}
		present := c.g.test(testKey{cond: cbpf.JumpEqual, value: c.g.extension(cbpf.ExtVLANTagPresent), k: 1})
		return c.g.node(present, way(taken, tagTaken), way(c.taggedAt(c.offsetsAt(0, tagTaken), id), tagInFrame))
	}
	return &tree{kind: treeLeaf, leaf: l}
}

// outgoing holds if this host sends the frame.
func (c *compiler) outgoing() *tree {
	return c.g.equal(c.g.extension(cbpf.ExtType), packetOutgoing)
}
