package bpf

import (
	"encoding/binary"
	"fmt"

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
// the length (SKF_AD_PKTTYPE, SKF_AD_VLAN_TAG_PRESENT and BPF_LEN); a load past
// the frame's end drops the frame (Documentation/networking/filter.rst).
func (m Match) Classic() ([]cbpf.Instruction, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	var a assembler
	a.frame(m)
	return a.assemble(), nil
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

// An assembler writes a program as a chain of tests. Each test that fails goes
// to the drop at the program's end, or where else to says.
type assembler struct {
	insns []cbpf.Instruction
	drops []int // the tests that go to the end if they fail
}

func (a *assembler) emit(in ...cbpf.Instruction) { a.insns = append(a.insns, in...) }

// want drops the frame unless A stands in the relation cond to val.
func (a *assembler) want(cond cbpf.JumpTest, val uint32) {
	a.drops = append(a.drops, len(a.insns))
	a.emit(cbpf.JumpIf{Cond: cond, Val: val})
}

// wantX drops the frame unless A stands in the relation cond to X.
func (a *assembler) wantX(cond cbpf.JumpTest) {
	a.drops = append(a.drops, len(a.insns))
	a.emit(cbpf.JumpIfX{Cond: cond})
}

func (a *assembler) keep() { a.emit(cbpf.RetConstant{Val: keepAll}) }

func (a *assembler) assemble() []cbpf.Instruction {
	end := len(a.insns)
	for _, i := range a.drops {
		skip := end - i - 1
		if skip > 255 {
			// A classic jump has eight bits. The longest program has a third of that.
			panic(fmt.Sprintf("classic filter: jump over %d instructions", skip))
		}
		switch in := a.insns[i].(type) {
		case cbpf.JumpIf:
			in.SkipFalse = uint8(skip)
			a.insns[i] = in
		case cbpf.JumpIfX:
			in.SkipFalse = uint8(skip)
			a.insns[i] = in
		}
	}
	a.emit(cbpf.RetConstant{Val: 0})
	return a.insns
}

func (a *assembler) frame(m Match) {
	a.emit(cbpf.LoadExtension{Num: cbpf.ExtType})
	a.want(cbpf.JumpLessOrEqual, packetMulticast) // PACKET_HOST is 0, PACKET_BROADCAST 1
	a.emit(cbpf.LoadExtension{Num: cbpf.ExtVLANTagPresent})
	a.want(cbpf.JumpEqual, 0)
	a.emit(cbpf.LoadAbsolute{Off: 12, Size: 2})
	switch m.Kind {
	case EchoReply:
		a.want(cbpf.JumpEqual, etherTypeIP)
		a.ipv4(m)
	case ARPReply:
		a.want(cbpf.JumpEqual, etherTypeARP)
		a.arp(m)
	}
}

func (a *assembler) arp(m Match) {
	const arp = etherLen
	for _, field := range []struct {
		off, size int
		val       uint32
	}{
		{arp + 0, 4, arpEtherIPv4},
		{arp + 4, 4, arpReplyOp},
		{arp + 14, 4, word(m.Peer.As4())},
		{arp + 18, 4, binary.BigEndian.Uint32(m.MAC[:4])},
		{arp + 22, 2, uint32(binary.BigEndian.Uint16(m.MAC[4:]))},
		{arp + 24, 4, word(m.Local.As4())},
	} {
		a.emit(cbpf.LoadAbsolute{Off: uint32(field.off), Size: field.size})
		a.want(cbpf.JumpEqual, field.val)
	}
	a.keep()
}

func (a *assembler) ipv4(m Match) {
	const ip = etherLen
	a.ipv4Header(cbpf.LoadAbsolute{Off: ip, Size: 1})
	a.emit(cbpf.LoadAbsolute{Off: ip + 6, Size: 2})
	a.want(cbpf.JumpBitsNotSet, ipMoreFragments|ipFragmentOffset)
	a.emit(cbpf.LoadAbsolute{Off: ip + 9, Size: 1})
	a.want(cbpf.JumpEqual, protocolICMP)
	a.emit(cbpf.LoadAbsolute{Off: ip + 16, Size: 4})
	a.want(cbpf.JumpEqual, word(m.Local.As4()))

	// The datagram's length is within the frame's.
	a.emit(
		cbpf.LoadAbsolute{Off: ip + 2, Size: 2},
		cbpf.TAX{},
		cbpf.LoadExtension{Num: cbpf.ExtLen},
		cbpf.ALUOpConstant{Op: cbpf.ALUOpSub, Val: etherLen},
	)
	a.wantX(cbpf.JumpGreaterOrEqual)

	a.wantTotal(icmpLen)
	a.emit(cbpf.LoadIndirect{Off: etherLen, Size: 1}) // the ICMP type
	toError := len(a.insns)
	a.emit(cbpf.JumpIf{Cond: cbpf.JumpEqual, Val: icmpEchoReply})
	a.echo(m)
	a.insns[toError] = cbpf.JumpIf{
		Cond:      cbpf.JumpEqual,
		Val:       icmpEchoReply,
		SkipFalse: uint8(len(a.insns) - toError - 1),
	}
	a.icmpError(m)
}

// ipv4Header wants that load finds the first byte of an IPv4 header. It leaves
// the header's length in A, in bytes.
func (a *assembler) ipv4Header(load cbpf.Instruction) {
	a.emit(load, cbpf.ALUOpConstant{Op: cbpf.ALUOpAnd, Val: 0xf0})
	a.want(cbpf.JumpEqual, 0x40)
	a.emit(load, cbpf.ALUOpConstant{Op: cbpf.ALUOpAnd, Val: 0x0f})
	a.want(cbpf.JumpGreaterOrEqual, ipv4Len/4)
	a.emit(cbpf.ALUOpConstant{Op: cbpf.ALUOpShiftLeft, Val: 2})
}

// wantTotal wants that the datagram is at least min bytes longer than its
// header. It leaves the header's length in X.
func (a *assembler) wantTotal(min uint32) {
	a.emit(
		cbpf.LoadMemShift{Off: etherLen},
		cbpf.TXA{},
		cbpf.ALUOpConstant{Op: cbpf.ALUOpAdd, Val: min},
	)
	a.wantTotalA()
}

// wantTotalA wants that the datagram is at least A bytes long. It leaves the
// header's length in X.
func (a *assembler) wantTotalA() {
	a.emit(cbpf.TAX{}, cbpf.LoadAbsolute{Off: etherLen + 2, Size: 2})
	a.wantX(cbpf.JumpGreaterOrEqual)
	a.emit(cbpf.LoadMemShift{Off: etherLen})
}

// echo judges an echo reply whose IPv4 header is X bytes long.
func (a *assembler) echo(m Match) {
	const icmp = etherLen
	a.emit(cbpf.LoadIndirect{Off: icmp + 1, Size: 1})
	a.want(cbpf.JumpEqual, 0)
	a.emit(cbpf.LoadIndirect{Off: icmp + 4, Size: 2})
	a.want(cbpf.JumpEqual, uint32(m.ID))
	if m.Peer.IsValid() {
		a.emit(cbpf.LoadAbsolute{Off: etherLen + 12, Size: 4})
		a.want(cbpf.JumpEqual, word(m.Peer.As4()))
	}

	cookie := m.Cookie[:m.CookieLen]
	if len(cookie) > 0 {
		a.wantTotal(icmpLen + uint32(len(cookie)))
	}
	for off := uint32(icmp + icmpLen); len(cookie) > 0; {
		size, val := 1, uint32(cookie[0])
		switch {
		case len(cookie) >= 4:
			size, val = 4, binary.BigEndian.Uint32(cookie)
		case len(cookie) >= 2:
			size, val = 2, uint32(binary.BigEndian.Uint16(cookie))
		}
		a.emit(cbpf.LoadIndirect{Off: off, Size: size})
		a.want(cbpf.JumpEqual, val)
		cookie = cookie[size:]
		off += uint32(size)
	}
	a.keep()
}

// icmpError judges an ICMP message that is not an echo reply: its type is in A,
// the length of its IPv4 header in X.
func (a *assembler) icmpError(m Match) {
	const (
		quote     = etherLen + icmpLen // after X
		quotedLen = 0                  // scratch slot: the quoted header's length
	)
	a.emit(
		cbpf.JumpIf{Cond: cbpf.JumpEqual, Val: icmpUnreachable, SkipTrue: 3},
		cbpf.JumpIf{Cond: cbpf.JumpEqual, Val: icmpRedirect, SkipTrue: 2},
		cbpf.JumpIf{Cond: cbpf.JumpEqual, Val: icmpTimeExceeded, SkipTrue: 1},
	)
	a.want(cbpf.JumpEqual, icmpParameterProblem)

	a.ipv4Header(cbpf.LoadIndirect{Off: quote, Size: 1})
	a.emit(
		cbpf.StoreScratch{Src: cbpf.RegA, N: quotedLen},
		cbpf.ALUOpX{Op: cbpf.ALUOpAdd},
		cbpf.ALUOpConstant{Op: cbpf.ALUOpAdd, Val: icmpLen + icmpLen},
	)
	a.wantTotalA()

	a.emit(cbpf.LoadIndirect{Off: quote + 6, Size: 2})
	a.want(cbpf.JumpBitsNotSet, ipFragmentOffset)
	a.emit(cbpf.LoadIndirect{Off: quote + 9, Size: 1})
	a.want(cbpf.JumpEqual, protocolICMP)
	a.emit(cbpf.LoadIndirect{Off: quote + 12, Size: 4})
	a.want(cbpf.JumpEqual, word(m.Local.As4()))
	if m.Peer.IsValid() {
		a.emit(cbpf.LoadIndirect{Off: quote + 16, Size: 4})
		a.want(cbpf.JumpEqual, word(m.Peer.As4()))
	}

	a.emit(
		cbpf.LoadScratch{Dst: cbpf.RegA, N: quotedLen},
		cbpf.ALUOpX{Op: cbpf.ALUOpAdd},
		cbpf.TAX{},
		cbpf.LoadIndirect{Off: quote, Size: 2}, // type and code
	)
	a.want(cbpf.JumpEqual, icmpEchoRequest<<8)
	a.emit(cbpf.LoadIndirect{Off: quote + 4, Size: 2})
	a.want(cbpf.JumpEqual, uint32(m.ID))
	a.keep()
}

// word returns an IPv4 address as a load of four bytes yields it.
func word(b [4]byte) uint32 { return binary.BigEndian.Uint32(b[:]) }
