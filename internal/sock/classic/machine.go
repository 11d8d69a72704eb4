// Package classic runs programs of classic BPF: a Filter has the kernel do it, for a
// socket, and a Machine does it in Go, for frames that a packet socket has delivered
// already, with the kernel's verdict. golang.org/x/net/bpf has a machine too, which
// knows the bytes of a frame alone, and neither its VLAN tag nor negation.
package classic

import (
	"encoding/binary"
	"errors"
	"fmt"

	cbpf "golang.org/x/net/bpf"
)

// The parts of an instruction's code (include/uapi/linux/bpf_common.h).
const (
	classLD, classLDX, classST, classSTX, classALU, classJMP, classRET, classMISC = 0, 1, 2, 3, 4, 5, 6, 7

	sizeW, sizeH, sizeB = 0x00, 0x08, 0x10

	modeIMM, modeABS, modeIND, modeMEM, modeLEN, modeMSH = 0x00, 0x20, 0x40, 0x60, 0x80, 0xa0

	opAdd, opSub, opMul, opDiv, opOr, opAnd, opLsh, opRsh, opNeg, opMod, opXor = 0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80, 0x90, 0xa0

	jumpAlways, jumpEqual, jumpGreater, jumpAtLeast, jumpSet = 0x00, 0x10, 0x20, 0x30, 0x40

	sourceX = 0x08
	returnA = 0x10
	misc    = 0xf8
	txa     = 0x80
)

const (
	maxInstructions = 4096 // BPF_MAXINSNS
	memoryWords     = 16   // BPF_MEMWORDS
)

// Offsets that are none (include/uapi/linux/filter.h, SKF_AD_OFF and so on).
const (
	adOff   = 0xfffff000 // metadata, of Linux's own
	netOff  = 0xfff00000 // from the network header on
	linkOff = 0xffe00000 // from the link layer's on

	adProtocol    = adOff + 0
	adPacketType  = adOff + 4
	adIndex       = adOff + 8
	adVLAN        = adOff + 44
	adVLANPresent = adOff + 48
	adVLANType    = adOff + 60
)

// A Frame is what a program can read, as the kernel has it where a packet socket
// filters: without the outer VLAN tag.
type Frame struct {
	Data   []byte
	Length int // how long it was, if Data is cut
	// NoLink says that Data begins with the IP header.
	NoLink bool

	PacketType  uint8 // PACKET_HOST and so on
	Index       int   // of the interface
	VLANPresent bool
	VLANTCI     uint16
	VLANType    uint16
}

// A Machine runs a program. It may be used by several goroutines.
type Machine struct{ program []cbpf.RawInstruction }

// NewMachine checks a program as the kernel does before it takes one
// (bpf_check_classic in net/core/filter.c), but that memory may be read before it is
// written: it is zeros. Of the metadata it knows the protocol, the packet type, the
// interface's index and the VLAN tag; others are an error.
func NewMachine(program []cbpf.RawInstruction) (*Machine, error) {
	if n := len(program); n == 0 || n > maxInstructions {
		return nil, fmt.Errorf("classic BPF: %d instructions: not from 1 to %d", n, maxInstructions)
	}
	for i, in := range program {
		if err := check(in, len(program)-1-i); err != nil {
			return nil, fmt.Errorf("classic BPF: instruction %d: %w", i, err)
		}
	}
	if program[len(program)-1].Op&7 != classRET {
		return nil, fmt.Errorf("classic BPF: instruction %d, the last: it does not return", len(program)-1)
	}
	return &Machine{program}, nil
}

// check checks an instruction which so many follow.
func check(in cbpf.RawInstruction, follow int) error {
	known := true
	switch in.Op & 7 {
	case classLD:
		switch in.Op {
		case classLD | modeABS | sizeW, classLD | modeABS | sizeH, classLD | modeABS | sizeB:
			return checkMetadata(in.K)
		case classLD | modeIND | sizeW, classLD | modeIND | sizeH, classLD | modeIND | sizeB, classLD | modeIMM, classLD | modeLEN:
		case classLD | modeMEM:
			return checkMemory(in.K)
		default:
			known = false
		}
	case classLDX:
		switch in.Op {
		case classLDX | modeIMM, classLDX | modeLEN, classLDX | modeMSH | sizeB:
		case classLDX | modeMEM:
			return checkMemory(in.K)
		default:
			known = false
		}
	case classST, classSTX:
		if in.Op > classSTX {
			known = false
			break
		}
		return checkMemory(in.K)
	case classALU:
		switch op := in.Op &^ (classALU | sourceX); op {
		case opDiv, opMod:
			if in.K == 0 && in.Op&sourceX == 0 {
				return errors.New("divides by zero")
			}
		case opLsh, opRsh:
			if in.K >= 32 && in.Op&sourceX == 0 {
				return fmt.Errorf("shifts by %d bits", in.K)
			}
		case opNeg:
			known = in.Op&sourceX == 0
		case opAdd, opSub, opMul, opOr, opAnd, opXor:
		default:
			known = false
		}
	case classJMP:
		far := max(uint32(in.Jt), uint32(in.Jf))
		switch op := in.Op &^ (classJMP | sourceX); {
		case in.Op == classJMP|jumpAlways:
			far = in.K
		case op < jumpEqual || op > jumpSet:
			known = false
		}
		if known && uint64(far) >= uint64(follow) {
			return errors.New("leads out of the program")
		}
	case classRET:
		known = in.Op == classRET || in.Op == classRET|returnA
	case classMISC:
		known = in.Op == classMISC || in.Op == classMISC|txa
	}
	if !known {
		return fmt.Errorf("there is none with the code %#x", in.Op)
	}
	return nil
}

func checkMemory(k uint32) error {
	if k >= memoryWords {
		return fmt.Errorf("word %d of memory: there are %d", k, memoryWords)
	}
	return nil
}

func checkMetadata(k uint32) error {
	switch k {
	case adProtocol, adPacketType, adIndex, adVLAN, adVLANPresent, adVLANType:
		return nil
	}
	if k >= adOff {
		return fmt.Errorf("metadata at %d is known in the kernel alone", k-adOff)
	}
	return nil
}

// Run returns what a program does for a frame: how many of its bytes are to be kept;
// 0 rejects it, as does a read beyond its end, or a division by zero. It does not
// allocate, and never reads past the frame.
func (m *Machine) Run(f *Frame) uint32 {
	var (
		a, x   uint32
		memory [memoryWords]uint32
		ok     = true
	)
	for pc := 0; ok; pc++ {
		in := &m.program[pc]
		operand := in.K
		if in.Op&sourceX != 0 {
			operand = x
		}
		switch in.Op & 7 {
		case classLD:
			a, ok = f.load(in, x, &memory)
		case classLDX:
			x, ok = f.load(in, x, &memory)
		case classST:
			memory[in.K] = a
		case classSTX:
			memory[in.K] = x
		case classALU:
			a, ok = calculate(in.Op&0xf0, a, operand)
		case classJMP:
			pc += jump(in, a, operand)
		case classRET:
			if in.Op&returnA != 0 {
				return a
			}
			return in.K
		case classMISC:
			if in.Op&txa != 0 {
				a = x
			} else {
				x = a
			}
		}
	}
	return 0
}

// jump is how many instructions are left out.
func jump(in *cbpf.RawInstruction, a, operand uint32) int {
	yes := false
	switch in.Op & 0xf0 {
	case jumpAlways:
		return int(in.K)
	case jumpEqual:
		yes = a == operand
	case jumpGreater:
		yes = a > operand
	case jumpAtLeast:
		yes = a >= operand
	case jumpSet:
		yes = a&operand != 0
	}
	if yes {
		return int(in.Jt)
	}
	return int(in.Jf)
}

func calculate(op uint16, a, operand uint32) (n uint32, ok bool) {
	switch op {
	case opAdd:
		return a + operand, true
	case opSub:
		return a - operand, true
	case opMul:
		return a * operand, true
	case opDiv:
		if operand == 0 {
			return 0, false
		}
		return a / operand, true
	case opMod:
		if operand == 0 {
			return 0, false
		}
		return a % operand, true
	case opOr:
		return a | operand, true
	case opAnd:
		return a & operand, true
	case opXor:
		return a ^ operand, true
	case opLsh:
		return a << (operand & 31), true // as eBPF, which the kernel makes of it
	case opRsh:
		return a >> (operand & 31), true
	default:
		return -a, true
	}
}

// load is the value of an instruction that loads.
func (f *Frame) load(in *cbpf.RawInstruction, x uint32, memory *[memoryWords]uint32) (n uint32, ok bool) {
	switch in.Op & 0xe0 {
	case modeIMM:
		return in.K, true
	case modeMEM:
		return memory[in.K], true
	case modeLEN:
		return uint32(f.Length), true
	case modeMSH:
		n, ok = f.at(in.K, sizeB)
		return 4 * (n & 0xf), ok
	case modeIND:
		return f.at(x+in.K, in.Op&0x18) // whose sum turns round, as there
	}
	switch in.K {
	case adProtocol:
		return f.protocol(), true
	case adPacketType:
		return uint32(f.PacketType), true
	case adIndex:
		return uint32(f.Index), true
	case adVLAN:
		if !f.VLANPresent {
			return 0, true
		}
		return uint32(f.VLANTCI), true
	case adVLANPresent:
		if f.VLANPresent {
			return 1, true
		}
		return 0, true
	case adVLANType:
		if !f.VLANPresent {
			return 0, true
		}
		return uint32(f.VLANType), true
	}
	return f.at(in.K, in.Op&0x18)
}

// at reads a number of the frame.
func (f *Frame) at(offset uint32, size uint16) (n uint32, ok bool) {
	b := f.Data
	if offset >= 1<<31 {
		// As bpf_internal_load_pointer_neg_helper has it (kernel/bpf/core.c).
		switch {
		case offset >= netOff:
			offset -= netOff
			if !f.NoLink {
				offset += etherLen
			}
		case offset >= linkOff:
			offset -= linkOff
		default:
			return 0, false
		}
	}
	if uint64(offset) >= uint64(len(b)) {
		return 0, false
	}
	b = b[offset:]
	switch {
	case size == sizeB:
		return uint32(b[0]), true
	case size == sizeH && len(b) >= 2:
		return uint32(binary.BigEndian.Uint16(b)), true
	case size == sizeW && len(b) >= 4:
		return binary.BigEndian.Uint32(b), true
	}
	return 0, false
}

const (
	etherLen     = 14
	minEtherType = 0x0600

	// What the kernel has in place of an EtherType (include/uapi/linux/if_ether.h).
	protocol8023 = 0x0001
	protocol8022 = 0x0004
)

// protocol is skb->protocol: the EtherType, or by what the kernel stands for IEEE
// 802.3's length (net/ethernet/eth.c, eth_type_trans).
func (f *Frame) protocol() uint32 {
	b := f.Data
	switch {
	case f.NoLink && len(b) > 0 && b[0]>>4 == 4:
		return 0x0800
	case f.NoLink && len(b) > 0 && b[0]>>4 == 6:
		return 0x86dd
	case f.NoLink || len(b) < etherLen:
		return 0
	}
	t := uint32(binary.BigEndian.Uint16(b[etherLen-2:]))
	switch {
	case t >= minEtherType:
		return t
	case len(b) >= etherLen+2 && b[etherLen] == 0xff && b[etherLen+1] == 0xff:
		return protocol8023
	}
	return protocol8022
}
