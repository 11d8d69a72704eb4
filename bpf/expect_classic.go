package bpf

import (
	"encoding/binary"
	"fmt"
	"slices"

	cbpf "golang.org/x/net/bpf"
)

// maxClasses bounds how much a summary tells apart, and so the length of the
// program: net.core.optmem_max has to hold it.
const maxClasses = 8

// A summary is what all Keys have in common that were ever expected. The classic
// program is made from it: what a Key lets pass, the program lets pass too.
type summary struct {
	tags    common[[4]byte]
	classes []class
	all     bool // there were too many classes to tell apart
}

// A class is what the Keys of one kind have in common, and of one protocol.
// Errors are one class, whatever they quote.
type class struct {
	kind        keyKind
	protocol    uint8
	local, peer common[[16]byte]
	id          common[[2]byte] // our port, or ICMP's identifier
}

// A common value is the only one that there was, unless there were others.
type common[T comparable] struct {
	known, varies bool
	val           T
}

// add tells whether it made a difference.
func (c *common[T]) add(val T) bool {
	switch {
	case c.varies || c.known && c.val == val:
		return false
	case c.known:
		c.varies = true
	default:
		c.known, c.val = true, val
	}
	return true
}

func (c *common[T]) vary() bool {
	changed := !c.varies
	c.varies = true
	return changed
}

// one tells whether there is but one value to ask for.
func (c *common[T]) one() bool { return c.known && !c.varies }

// add tells whether the Key made a difference.
func (s *summary) add(k Key) (changed bool) {
	changed = s.tags.add(k.tags)
	if s.all {
		return changed
	}
	protocol := k.protocol
	if k.kind == keyQuote4 || k.kind == keyQuote6 {
		protocol = 0
	}
	i := slices.IndexFunc(s.classes, func(c class) bool { return c.kind == k.kind && c.protocol == protocol })
	if i < 0 {
		if len(s.classes) == maxClasses {
			s.all, s.classes = true, nil
			return true
		}
		i = len(s.classes)
		s.classes = append(s.classes, class{kind: k.kind, protocol: protocol})
		changed = true
	}
	return s.classes[i].add(k) || changed
}

func (c *class) add(k Key) (changed bool) {
	either := func(v *common[[16]byte], addr [16]byte) {
		if addr == [16]byte{} {
			changed = v.vary() || changed
		} else {
			changed = v.add(addr) || changed
		}
	}
	either(&c.local, k.local)
	switch {
	case k.kind == keyQuote4 || k.kind == keyQuote6:
		return changed
	case k.icmpType == icmp6RouterAdvertisement && c.kind == keyIPv6:
		changed = c.id.vary() || changed // it has none
	default:
		changed = c.id.add(k.a) || changed
	}
	either(&c.peer, k.peer)
	return changed
}

// classic compiles the summary. The program accepts at least what is accepted
// where Keys are expected that all were added.
func (s *summary) classic(cfg *ExpectConfig) ([]cbpf.RawInstruction, error) {
	c := superset{compiler: compiler{m: Match{MAC: cfg.MAC, NoLink: cfg.NoLink}}, s: s, cfg: cfg}
	c.frame()
	raw, err := cbpf.Assemble(c.assemble())
	if err != nil {
		return nil, fmt.Errorf("assembling classic filter: %w", err)
	}
	return raw, nil
}

// A superset writes the program of a summary.
type superset struct {
	compiler
	s   *summary
	cfg *ExpectConfig
}

func (c *superset) frame() {
	if c.cfg.Promiscuous {
		c.emit(cbpf.LoadExtension{Num: cbpf.ExtType})
		c.want(cbpf.JumpLessOrEqual, packetOtherHost)
	} else {
		c.packetType()
	}
	if c.m.NoLink {
		c.version()
	} else {
		c.ownTypes()
		c.tags()
	}

	// A is the EtherType.
	for _, p := range []struct {
		etherType uint32
		kinds     []keyKind
		judge     func()
	}{
		{etherTypeARP, []keyKind{keyARP}, c.arp},
		{etherTypeIPv4, []keyKind{keyIPv4, keyQuote4}, c.ipv4},
		{etherTypeIPv6, []keyKind{keyIPv6, keyQuote6, keyNeighbor}, c.ipv6},
	} {
		if !c.s.all && !slices.ContainsFunc(c.s.classes, func(cl class) bool { return slices.Contains(p.kinds, cl.kind) }) {
			continue
		}
		no := c.newLabel()
		c.branch(cbpf.JumpEqual, p.etherType, next, no)
		if c.s.all {
			c.keep()
		} else {
			p.judge()
		}
		c.place(no)
	}
	c.emit(cbpf.RetConstant{Val: 0})
}

// version has the EtherType that a packet would have on Ethernet in A, and lets
// those of the caller's own pass.
func (c *superset) version() {
	c.emit(cbpf.LoadConstant{Dst: cbpf.RegA, Val: 0})
	c.store(slotPacket)
	c.emit(cbpf.LoadAbsolute{Off: 0, Size: 1})
	c.alu(cbpf.ALUOpShiftRight, 4)
	v6, done := c.newLabel(), c.newLabel()
	c.branch(cbpf.JumpEqual, 4, next, v6)
	c.emit(cbpf.LoadConstant{Dst: cbpf.RegA, Val: etherTypeIPv4})
	c.jump(done)
	c.place(v6)
	c.want(cbpf.JumpEqual, 6)
	c.emit(cbpf.LoadConstant{Dst: cbpf.RegA, Val: etherTypeIPv6})
	c.place(done)
	c.keepOwn()
}

// keepOwn lets the frame pass if A is one of the caller's own EtherTypes.
func (c *superset) keepOwn() {
	for _, t := range c.cfg.EtherTypes {
		no := c.newLabel()
		c.branch(cbpf.JumpEqual, uint32(t), next, no)
		c.keep()
		c.place(no)
	}
}

// ownTypes lets the caller's own protocols pass, whatever tags they bear.
func (c *superset) ownTypes() {
	if len(c.cfg.EtherTypes) == 0 {
		return
	}
	other := c.newLabel()
	for i := range maxTagsLeft + 1 {
		c.emit(cbpf.LoadAbsolute{Off: uint32(etherLen - 2 + i*tagLen), Size: 2})
		if i < maxTagsLeft {
			tagged, untagged := c.newLabel(), c.newLabel()
			c.branch(cbpf.JumpEqual, etherTypeVLAN, tagged, next)
			c.branch(cbpf.JumpEqual, etherTypeQinQ, tagged, untagged)
			c.place(untagged)
			c.keepOwn()
			c.jump(other)
			c.place(tagged)
		} else {
			c.keepOwn()
		}
	}
	c.place(other)
}

// tags reads the tags, drops the frame if they are not the only ones that there
// are, and has the EtherType behind them in A.
func (c *superset) tags() {
	c.emit(cbpf.LoadExtension{Num: cbpf.ExtVLANTagPresent})
	untagged := c.newLabel()
	c.branch(cbpf.JumpEqual, 0, untagged, next)
	c.emit(cbpf.LoadExtension{Num: cbpf.ExtVLANTag})
	c.alu(cbpf.ALUOpAnd, vlanID)
	c.place(untagged)
	c.store(slotTags)
	c.tagsLeft()
	if c.s.tags.one() {
		c.load(slotTags)
		c.want(cbpf.JumpEqual, binary.BigEndian.Uint32(c.s.tags.val[:]))
	}
	c.load(slotType)
}

// each writes the tests of the classes of some kinds, one after the other. A
// test goes on at no if the frame is none of its class. What it finds in A and X
// is for it to load.
func (c *superset) each(test func(cl *class, no label), kinds ...keyKind) {
	for i := range c.s.classes {
		if cl := &c.s.classes[i]; slices.Contains(kinds, cl.kind) {
			no := c.newLabel()
			test(cl, no)
			c.keep()
			c.place(no)
		}
	}
	c.emit(cbpf.RetConstant{Val: 0})
}

// elseAddr goes on at no unless the address at off is the only one there is.
func (c *superset) elseAddr(no label, off int, v4 bool, addr *common[[16]byte]) {
	switch {
	case !addr.one():
	case v4:
		c.elseAt(no, off, addr.val[12:])
	default:
		c.elseAt(no, off, addr.val[:])
	}
}

func (c *superset) arp() {
	c.from(slotPacket)
	c.wantAt(0, binary.BigEndian.AppendUint32(nil, arpEtherIPv4)...)
	c.wantAt(4, binary.BigEndian.AppendUint32(nil, arpReplyOp)...)
	c.loadAt(arpLen-1, 1)
	c.each(func(cl *class, no label) { c.elseAddr(no, 14, true, &cl.peer) }, keyARP)
}

func (c *superset) ipv4() {
	c.from(slotPacket)
	c.ipv4Header(0)
	c.addX()
	c.store(slotMessage)
	c.loadAt(6, 2)
	c.want(cbpf.JumpBitsNotSet, ipFragmentOffset)
	c.each(func(cl *class, no label) {
		c.from(slotPacket)
		c.elseAt(no, 9, []byte{cl.carrier()})
		c.elseAddr(no, 16, true, &cl.local)
		c.elseAddr(no, 12, true, &cl.peer)
		c.from(slotMessage)
		c.message(cl, no)
	}, keyIPv4, keyQuote4)
}

// ipv6 looks no farther than to the first extension header.
func (c *superset) ipv6() {
	extended := c.newLabel()
	c.from(slotPacket)
	c.wantVersion(0, 6)
	c.emit(cbpf.TXA{})
	c.alu(cbpf.ALUOpAdd, ipv6Len)
	c.store(slotMessage)
	c.loadAt(6, 1)
	for _, protocol := range []uint32{protocolHopByHop, protocolDestination, protocolFragment} {
		c.branch(cbpf.JumpEqual, protocol, extended, next)
	}
	test := func(protocol int, message bool) {
		c.each(func(cl *class, no label) {
			c.from(slotPacket)
			c.elseAt(no, protocol, []byte{cl.carrier()})
			if cl.kind != keyNeighbor {
				c.elseAddr(no, 24, false, &cl.local)
				c.elseAddr(no, 8, false, &cl.peer)
			}
			if message {
				c.from(slotMessage)
				c.message(cl, no)
			}
		}, keyIPv6, keyQuote6, keyNeighbor)
	}
	test(6, true)
	c.place(extended)
	test(ipv6Len, false)
}

// carrier returns the protocol that a class is in.
func (c *class) carrier() uint8 {
	switch c.kind {
	case keyQuote4:
		return protocolICMP
	case keyQuote6, keyNeighbor:
		return protocolICMPv6
	default:
		return c.protocol
	}
}

// message goes on at no unless the message at X is of the class.
func (c *superset) message(cl *class, no label) {
	var types []uint8
	id := 4 // of ICMP
	switch {
	case cl.kind == keyQuote4:
		types = []uint8{icmpUnreachable, icmpSourceQuench, icmpRedirect, icmpTimeExceeded, icmpParameterProblem}
	case cl.kind == keyQuote6:
		types = []uint8{icmp6Unreachable, icmp6PacketTooBig, icmp6TimeExceeded, icmp6ParameterProblem}
	case cl.kind == keyNeighbor:
		types = []uint8{icmp6Advertisement}
	case cl.kind == keyIPv4 && cl.protocol == protocolICMP:
		types = []uint8{icmpEchoReply, icmpTimestampReply, icmpInformationReply, icmpMaskReply}
	case cl.kind == keyIPv6 && cl.protocol == protocolICMPv6:
		types = []uint8{icmp6EchoReply, icmp6RouterAdvertisement}
	case cl.protocol == protocolTCP || cl.protocol == protocolUDP:
		id = 2
	default:
		return
	}
	if types != nil {
		found := c.newLabel()
		c.loadAt(0, 1)
		for i, t := range types {
			miss := next
			if i == len(types)-1 {
				miss = no
			}
			c.branch(cbpf.JumpEqual, uint32(t), found, miss)
		}
		c.place(found)
	}
	switch {
	case cl.kind == keyNeighbor:
		c.elseAddr(no, 8, false, &cl.peer)
	case cl.id.one():
		c.elseAt(no, id, cl.id.val[:])
	}
}
