package bpf

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	cbpf "golang.org/x/net/bpf"
)

// keepAll is how many bytes of a frame an accepting filter keeps: more than any
// has (tcpdump's 256 KiB).
const keepAll = 262144

// Classic compiles the Match to classic BPF, for SO_ATTACH_FILTER on an
// AF_PACKET socket of type SOCK_RAW. It accepts just the frames that Accepts
// does, and cannot count those that Claims tells of. It fails only if Validate
// does.
//
// The program loads the Linux extensions for the packet type, the VLAN tag and
// the length (SKF_AD_PKTTYPE, SKF_AD_VLAN_TAG_PRESENT, SKF_AD_VLAN_TAG and
// BPF_LEN); a load past the frame's end drops the frame
// (Documentation/networking/filter.rst).
func (m Match) Classic() ([]cbpf.Instruction, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	c := compiler{m: m}
	c.frame()
	return c.assemble(), nil
}

// DropAll returns a classic program that drops every frame. A packet socket
// that has it before bind (mdlayher/packet: Config.Filter) receives nothing
// until Filter.Attach replaces it, so that no frame of the time between is ever
// queued.
func DropAll() []cbpf.RawInstruction {
	raw, err := cbpf.Assemble([]cbpf.Instruction{cbpf.RetConstant{Val: 0}})
	if err != nil {
		panic(err) // a constant program
	}
	return raw
}

// assembleClassic returns the Match in the form that the kernel takes.
func assembleClassic(m Match) ([]cbpf.RawInstruction, error) {
	insns, err := m.Classic()
	if err != nil {
		return nil, err
	}
	raw, err := cbpf.Assemble(insns)
	if err != nil {
		return nil, fmt.Errorf("assembling classic filter: %w", err)
	}
	return raw, nil
}

// A compiler writes the program of a Match. Where a packet begins depends on the
// tags before it, so that all loads from it are relative to X.
type compiler struct {
	assembler
	m Match
}

// The scratch memory. All places are counted from the frame's first byte.
const (
	slotTags    = iota // the frame's VLAN ids, as Match.tags makes them
	slotType           // the EtherType behind the tags
	slotPacket         // where the IP or ARP header begins
	slotMessage        // where the ICMP message begins
	slotEnd            // where the datagram ends
	slotQuote          // where the quoted ICMP message begins
)

func (c *compiler) load(slot int)  { c.emit(cbpf.LoadScratch{Dst: cbpf.RegA, N: slot}) }
func (c *compiler) store(slot int) { c.emit(cbpf.StoreScratch{Src: cbpf.RegA, N: slot}) }

// from has the loads that follow count from the place in a slot.
func (c *compiler) from(slot int) { c.emit(cbpf.LoadScratch{Dst: cbpf.RegX, N: slot}) }

// fromFrame has them count from the frame's first byte.
func (c *compiler) fromFrame() { c.emit(cbpf.LoadConstant{Dst: cbpf.RegX, Val: 0}) }

func (c *compiler) loadAt(off, size int) {
	c.emit(cbpf.LoadIndirect{Off: uint32(off), Size: size})
}

func (c *compiler) alu(op cbpf.ALUOp, val uint32) {
	c.emit(cbpf.ALUOpConstant{Op: op, Val: val})
}

func (c *compiler) addX() { c.emit(cbpf.ALUOpX{Op: cbpf.ALUOpAdd}) }

func (c *compiler) keep() { c.emit(cbpf.RetConstant{Val: keepAll}) }

// wantAt drops the frame unless the bytes at off are b.
func (c *compiler) wantAt(off int, b ...byte) { c.elseAt(drop, off, b) }

// elseAt goes on at no unless the bytes at off are b.
func (c *compiler) elseAt(no label, off int, b []byte) {
	for len(b) > 0 {
		size, val := 1, uint32(b[0])
		switch {
		case len(b) >= 4:
			size, val = 4, binary.BigEndian.Uint32(b)
		case len(b) >= 2:
			size, val = 2, uint32(binary.BigEndian.Uint16(b))
		}
		c.loadAt(off, size)
		c.branch(cbpf.JumpEqual, val, next, no)
		off, b = off+size, b[size:]
	}
}

// wantOtherAt drops the frame if the bytes at off are b.
func (c *compiler) wantOtherAt(off int, b ...byte) {
	other := c.newLabel()
	c.elseAt(other, off, b)
	c.jump(drop)
	c.place(other)
}

// wantWord drops the frame unless the word at off is val.
func (c *compiler) wantWord(off int, val uint16) {
	c.loadAt(off, 2)
	c.want(cbpf.JumpEqual, uint32(val))
}

// wantAddr drops the frame unless the address at off is a, or a is left out.
func (c *compiler) wantAddr(off int, a netip.Addr) {
	if a.IsValid() {
		c.wantAt(off, a.WithZone("").AsSlice()...)
	}
}

// wantRoom drops the frame unless the datagram has n bytes behind the place in a
// slot, and has the loads that follow count from there.
func (c *compiler) wantRoom(slot int, n uint32) {
	c.load(slot)
	c.alu(cbpf.ALUOpAdd, n)
	c.emit(cbpf.TAX{})
	c.load(slotEnd)
	c.wantX(cbpf.JumpGreaterOrEqual)
	c.from(slot)
}

// wantInFrame drops the frame unless the place in A is no farther than its end.
// It leaves the place in X.
func (c *compiler) wantInFrame() {
	c.emit(cbpf.TAX{}, cbpf.LoadExtension{Num: cbpf.ExtLen})
	c.wantX(cbpf.JumpGreaterOrEqual)
}

// wantVersion drops the frame unless an IP header of a version begins at off.
func (c *compiler) wantVersion(off int, version uint32) {
	c.loadAt(off, 1)
	c.alu(cbpf.ALUOpShiftRight, 4)
	c.want(cbpf.JumpEqual, version)
}

// frame judges what is around the packet.
func (c *compiler) frame() {
	c.packetType()
	c.emit(cbpf.LoadExtension{Num: cbpf.ExtVLANTagPresent})
	untagged := c.newLabel()
	c.branch(cbpf.JumpEqual, 0, untagged, next)
	c.emit(cbpf.LoadExtension{Num: cbpf.ExtVLANTag})
	c.alu(cbpf.ALUOpAnd, vlanID)
	c.place(untagged) // A is the VLAN id, or 0
	c.store(slotTags)

	var list []packet
	v4, v6 := c.m.families()
	if v4 && c.m.Kind == EchoReply {
		list = append(list, packet{etherTypeIPv4, 4, c.ipv4})
	}
	if v6 && c.m.Kind == EchoReply {
		list = append(list, packet{etherTypeIPv6, 6, c.ipv6})
	}
	if v4 && c.m.Kind != EchoReply {
		list = append(list, packet{etherType: etherTypeARP, judge: c.arp})
	}
	if v6 && c.m.Kind != EchoReply {
		list = append(list, packet{etherType: etherTypeIPv6, judge: c.neighbor})
	}

	if c.m.NoLink {
		c.want(cbpf.JumpEqual, 0)
		c.store(slotPacket)
		c.emit(cbpf.LoadAbsolute{Off: 0, Size: 1})
		c.alu(cbpf.ALUOpShiftRight, 4)
	} else {
		c.tagsLeft()
		c.load(slotTags)
		c.want(cbpf.JumpEqual, uint32(c.m.tags()))
		c.load(slotType)
	}
	for i, p := range list {
		val, no := p.etherType, drop
		if c.m.NoLink {
			val = p.version
		}
		if i < len(list)-1 {
			no = c.newLabel()
		}
		c.branch(cbpf.JumpEqual, val, next, no)
		p.judge()
		if no != drop {
			c.place(no)
		}
	}
}

// A packet is what a frame may carry, told by its EtherType or, without a link
// layer, by its version.
type packet struct {
	etherType, version uint32
	judge              func()
}

func (c *compiler) packetType() {
	c.emit(cbpf.LoadExtension{Num: cbpf.ExtType})
	if c.m.MAC.IsZero() {
		c.want(cbpf.JumpLessOrEqual, packetMulticast) // PACKET_HOST is 0, PACKET_BROADCAST 1
		return
	}
	taken := c.newLabel()
	c.branch(cbpf.JumpLessOrEqual, packetMulticast, taken, next)
	c.want(cbpf.JumpEqual, packetOtherHost)
	c.fromFrame()
	c.wantAt(0, c.m.MAC[:]...)
	c.place(taken)
}

// tagsLeft reads the tags that are left in the frame.
func (c *compiler) tagsLeft() {
	done := c.newLabel()
	c.emit(
		cbpf.LoadConstant{Dst: cbpf.RegX, Val: etherLen},
		cbpf.LoadAbsolute{Off: etherLen - 2, Size: 2},
	)
	for i := range maxTagsLeft {
		off := uint32(etherLen + i*tagLen)
		tagged, priority := c.newLabel(), c.newLabel()
		c.branch(cbpf.JumpEqual, etherTypeVLAN, tagged, next)
		c.branch(cbpf.JumpEqual, etherTypeQinQ, tagged, done)
		c.place(tagged)
		c.emit(cbpf.LoadAbsolute{Off: off, Size: 2})
		c.alu(cbpf.ALUOpAnd, vlanID)
		c.branch(cbpf.JumpEqual, 0, priority, next)
		c.emit(cbpf.TAX{})
		c.load(slotTags)
		if i > 0 {
			// No Match asks for three ids, and A has no room for them.
			c.want(cbpf.JumpLessThan, 1<<12)
		}
		c.alu(cbpf.ALUOpShiftLeft, 12)
		c.emit(cbpf.ALUOpX{Op: cbpf.ALUOpOr})
		c.store(slotTags)
		c.place(priority)
		c.emit(
			cbpf.LoadConstant{Dst: cbpf.RegX, Val: off + tagLen},
			cbpf.LoadAbsolute{Off: off + 2, Size: 2},
		)
	}
	c.place(done)
	c.store(slotType)
	c.emit(cbpf.StoreScratch{Src: cbpf.RegX, N: slotPacket})
}

func (c *compiler) arp() {
	c.from(slotPacket)
	c.wantAt(0, binary.BigEndian.AppendUint32(nil, arpEtherIPv4)...)
	switch c.m.Kind {
	case NeighborRequest:
		c.wantAt(4, binary.BigEndian.AppendUint32(nil, arpRequestOp)...)
		c.wantAddr(24, c.m.Local)
	case NeighborClaim:
		c.arpClaim()
	default:
		c.wantAt(4, binary.BigEndian.AppendUint32(nil, arpReplyOp)...)
		c.wantAddr(14, c.m.Peer)
		c.wantAt(18, c.m.MAC[:]...)
		c.wantAddr(24, c.m.Local)
	}
	c.loadAt(arpLen-1, 1) // nothing else may have looked so far
	c.keep()
}

// arpClaim wants that another host says in ARP that it has Peer, or is about to.
func (c *compiler) arpClaim() {
	sender, said := c.newLabel(), c.newLabel()
	c.loadAt(4, 4)
	c.branch(cbpf.JumpEqual, arpReplyOp, sender, next)
	c.want(cbpf.JumpEqual, arpRequestOp)
	c.elseAt(sender, 14, make([]byte, 4))
	c.wantAddr(24, c.m.Peer)
	c.jump(said)
	c.place(sender)
	c.wantAddr(14, c.m.Peer)
	c.place(said)
	c.wantOtherAt(8, c.m.MAC[:]...)
}

// neighbor judges a message of neighbor discovery.
func (c *compiler) neighbor() {
	const target = ipv6Len + 8
	c.from(slotPacket)
	c.wantVersion(0, 6)
	c.wantAt(6, protocolICMPv6, neighborHopLimit)
	c.loadAt(4, 2)
	c.want(cbpf.JumpGreaterOrEqual, neighborLen)
	c.alu(cbpf.ALUOpAdd, ipv6Len)
	c.addX()
	c.wantInFrame()
	c.from(slotPacket)
	switch c.m.Kind {
	case NeighborRequest:
		c.wantAt(ipv6Len, icmp6Solicitation, 0)
		c.wantAddr(target, c.m.Local)
		c.keep()
		return
	case NeighborClaim:
		said := c.newLabel()
		c.wantAddr(target, c.m.Peer)
		c.loadAt(ipv6Len, 2) // type and code
		c.branch(cbpf.JumpEqual, icmp6Advertisement<<8, said, next)
		c.want(cbpf.JumpEqual, icmp6Solicitation<<8)
		c.wantAt(8, make([]byte, 16)...)
		c.place(said)
		c.fromFrame()
		c.wantOtherAt(6, c.m.MAC[:]...)
		c.keep()
		return
	}

	c.wantAt(ipv6Len, icmp6Advertisement, 0)
	c.wantAddr(target, c.m.Peer)
	toUs := c.newLabel()
	c.elseAt(toUs, 24, allNodes[:])
	c.keep()
	c.place(toUs)
	c.wantAddr(24, c.m.Local)
	c.fromFrame()
	c.wantAt(0, c.m.MAC[:]...)
	c.keep()
}

// parts are the places where what is in a datagram is judged.
type parts struct {
	whole label // the whole of an ICMP message
	first label // the first fragment of one
	later label // any other fragment
}

func (c *compiler) newParts() parts {
	p := parts{whole: c.newLabel(), first: drop, later: drop}
	if c.m.Fragments {
		p.first, p.later = c.newLabel(), c.newLabel()
	}
	return p
}

func (c *compiler) ipv4() {
	p := c.newParts()
	c.from(slotPacket)
	c.ipv4Header(0)
	c.addX()
	c.store(slotMessage)
	c.loadAt(2, 2)
	c.addX()
	c.store(slotEnd)
	c.wantInFrame()
	c.from(slotPacket)
	c.wantAt(9, protocolICMP)
	c.wantAddr(16, c.m.Local)
	c.loadAt(6, 2)
	c.branch(cbpf.JumpBitsSet, ipFragmentOffset, p.later, next)
	c.branch(cbpf.JumpBitsSet, ipMoreFragments, p.first, p.whole)

	c.message(p, 12, icmpEchoReply, c.quote4,
		icmpUnreachable, icmpRedirect, icmpTimeExceeded, icmpParameterProblem)
}

func (c *compiler) ipv6() {
	p := c.newParts()
	c.from(slotPacket)
	c.wantVersion(0, 6)
	c.wantAddr(24, c.m.Local)
	c.loadAt(4, 2)
	c.alu(cbpf.ALUOpAdd, ipv6Len)
	c.addX()
	c.store(slotEnd)
	c.wantInFrame()
	c.from(slotPacket)
	c.ipv6Headers(0, slotMessage, p)

	c.message(p, 8, icmp6EchoReply, c.quote6,
		icmp6Unreachable, icmp6PacketTooBig, icmp6TimeExceeded, icmp6ParameterProblem)
}

// ipv4Header wants that an IPv4 header begins at off. It leaves the header's
// length in A, in bytes.
func (c *compiler) ipv4Header(off int) {
	c.wantVersion(off, 4)
	c.loadAt(off, 1)
	c.alu(cbpf.ALUOpAnd, 0x0f)
	c.want(cbpf.JumpGreaterOrEqual, ipv4Len/4)
	c.alu(cbpf.ALUOpShiftLeft, 2)
}

// ipv6Headers puts into a slot where the ICMPv6 message of the IPv6 header at
// off begins, and goes on with its part. That of whole messages has to follow.
func (c *compiler) ipv6Headers(off, slot int, p parts) {
	message := func(n int) {
		c.emit(cbpf.TXA{})
		c.alu(cbpf.ALUOpAdd, uint32(off+n))
		c.store(slot)
	}
	plain := c.newLabel()
	c.loadAt(off+6, 1)
	c.branch(cbpf.JumpEqual, protocolICMPv6, plain, next)
	c.want(cbpf.JumpEqual, protocolFragment)
	c.wantAt(off+ipv6Len, protocolICMPv6)
	message(ipv6Len + fragmentLen)
	c.loadAt(off+ipv6Len+2, 2)
	c.branch(cbpf.JumpBitsSet, ipv6FragmentOffset, p.later, next)
	c.branch(cbpf.JumpBitsSet, ipv6MoreFragments, p.first, p.whole)
	c.place(plain)
	message(ipv6Len)
}

// message judges an ICMP message, or its part. The datagram's source is at src.
func (c *compiler) message(p parts, src int, echoReply uint8, quote func(), errorTypes ...uint8) {
	reply, quoted := c.newLabel(), c.newLabel()
	c.place(p.whole)
	c.wantRoom(slotMessage, icmpLen)
	c.loadAt(0, 1)
	c.branch(cbpf.JumpEqual, uint32(echoReply), reply, next)
	for _, icmpType := range errorTypes {
		c.branch(cbpf.JumpEqual, uint32(icmpType), quoted, next)
	}
	c.jump(drop)
	c.place(quoted)
	quote()

	if p.first != drop {
		c.place(p.first)
		c.wantRoom(slotMessage, icmpLen)
		c.wantAt(0, echoReply)
	}
	c.place(reply)
	c.wantAt(1, 0)
	c.wantWord(4, c.m.ID)
	if cookie := c.m.Cookie[:c.m.CookieLen]; len(cookie) > 0 {
		c.wantRoom(slotMessage, icmpLen+uint32(len(cookie)))
		c.wantAt(icmpLen, cookie...)
	}
	c.from(slotPacket)
	c.wantAddr(src, c.m.Peer)
	c.keep()

	if p.later != drop {
		c.place(p.later)
		c.wantRoom(slotMessage, 0)
		c.from(slotPacket)
		c.wantAddr(src, c.m.Peer)
		c.keep()
	}
}

// quote4 judges the IPv4 datagram that an ICMP error at X quotes.
func (c *compiler) quote4() {
	const quote = icmpLen
	c.ipv4Header(quote)
	c.addX()
	c.alu(cbpf.ALUOpAdd, quote)
	c.store(slotQuote)
	c.loadAt(quote+6, 2)
	c.want(cbpf.JumpBitsNotSet, ipFragmentOffset)
	c.wantAt(quote+9, protocolICMP)
	c.wantAddr(quote+12, c.m.Local)
	c.wantAddr(quote+16, c.m.Peer)
	c.request(icmpEchoRequest)
}

func (c *compiler) quote6() {
	const quote = icmpLen
	whole := c.newLabel()
	c.wantVersion(quote, 6)
	c.wantAddr(quote+8, c.m.Local)
	c.wantAddr(quote+24, c.m.Peer)
	c.ipv6Headers(quote, slotQuote, parts{whole: whole, first: whole, later: drop})
	c.place(whole)
	c.request(icmp6EchoRequest)
}

// request judges the quoted ICMP message.
func (c *compiler) request(icmpType uint8) {
	c.wantRoom(slotQuote, icmpLen)
	c.wantAt(0, icmpType, 0)
	c.wantWord(4, c.m.ID)
	c.keep()
}
