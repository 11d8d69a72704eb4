package classic

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	cbpf "golang.org/x/net/bpf"
)

// assemble adds an end to instructions: what is in A is returned.
func assemble(t testing.TB, insns ...cbpf.Instruction) []cbpf.RawInstruction {
	t.Helper()
	raw, err := cbpf.Assemble(append(slices.Clone(insns), cbpf.RetA{}))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// arpFrame is 20 bytes of one.
var arpFrame = []byte{
	0x02, 0x00, 0x5e, 0x00, 0x53, 0x02, 0x02, 0x00, 0x5e, 0x00, 0x53, 0x01, 0x08, 0x06,
	0x00, 0x01, 0x08, 0x00, 0x06, 0x04,
}

func TestMachine(t *testing.T) {
	tagged := Frame{
		Data: arpFrame, Length: 60, PacketType: 3, Index: 7,
		VLANPresent: true, VLANTCI: 0x2005, VLANType: 0x88a8,
	}
	for _, tt := range []struct {
		name  string
		frame Frame
		insns []cbpf.Instruction
		want  uint32
	}{
		{"length", tagged, []cbpf.Instruction{cbpf.LoadExtension{Num: cbpf.ExtLen}}, 60},
		{"protocol", tagged, []cbpf.Instruction{cbpf.LoadExtension{Num: cbpf.ExtProto}}, 0x0806},
		{"protocol of IEEE 802.3", Frame{Data: []byte{12: 0, 13: 46, 14: 0x42, 15: 0x42}}, []cbpf.Instruction{cbpf.LoadExtension{Num: cbpf.ExtProto}}, 4},
		{"protocol of Novell", Frame{Data: []byte{12: 0, 13: 46, 14: 0xff, 15: 0xff}}, []cbpf.Instruction{cbpf.LoadExtension{Num: cbpf.ExtProto}}, 1},
		{"protocol without a link layer", Frame{Data: []byte{0x60}, NoLink: true}, []cbpf.Instruction{cbpf.LoadExtension{Num: cbpf.ExtProto}}, 0x86dd},
		{"packet type", tagged, []cbpf.Instruction{cbpf.LoadExtension{Num: cbpf.ExtType}}, 3},
		{"index", tagged, []cbpf.Instruction{cbpf.LoadExtension{Num: cbpf.ExtInterfaceIndex}}, 7},
		{"tag", tagged, []cbpf.Instruction{cbpf.LoadExtension{Num: cbpf.ExtVLANTag}}, 0x2005},
		{"there is a tag", tagged, []cbpf.Instruction{cbpf.LoadExtension{Num: cbpf.ExtVLANTagPresent}}, 1},
		{"kind of tag", tagged, []cbpf.Instruction{cbpf.LoadExtension{Num: cbpf.ExtVLANProto}}, 0x88a8},
		{"no tag", Frame{VLANTCI: 5, VLANType: 5}, []cbpf.Instruction{
			cbpf.LoadExtension{Num: cbpf.ExtVLANTag}, cbpf.TAX{},
			cbpf.LoadExtension{Num: cbpf.ExtVLANTagPresent}, cbpf.ALUOpX{Op: cbpf.ALUOpOr}, cbpf.TAX{},
			cbpf.LoadExtension{Num: cbpf.ExtVLANProto}, cbpf.ALUOpX{Op: cbpf.ALUOpOr},
		}, 0},
		{"negation", tagged, []cbpf.Instruction{cbpf.LoadConstant{Dst: cbpf.RegA, Val: 5}, cbpf.NegateA{}}, 1<<32 - 5},
		{"header length", tagged, []cbpf.Instruction{cbpf.LoadMemShift{Off: 16}, cbpf.TXA{}}, 32},
		{"last byte", tagged, []cbpf.Instruction{cbpf.LoadAbsolute{Off: 19, Size: 1}}, 4},
		{"last word", tagged, []cbpf.Instruction{cbpf.LoadAbsolute{Off: 16, Size: 4}}, 0x08000604},
		{"beyond", tagged, []cbpf.Instruction{cbpf.LoadAbsolute{Off: 17, Size: 4}}, 0},
		{"beyond by X", tagged, []cbpf.Instruction{
			cbpf.LoadConstant{Dst: cbpf.RegX, Val: 20}, cbpf.LoadConstant{Dst: cbpf.RegA, Val: 9}, cbpf.LoadIndirect{Off: 0, Size: 1},
		}, 0},
		{"back by X", tagged, []cbpf.Instruction{cbpf.LoadConstant{Dst: cbpf.RegX, Val: math.MaxUint32}, cbpf.LoadIndirect{Off: 20, Size: 1}}, 4},
		{"by X from the network header", tagged, []cbpf.Instruction{cbpf.LoadConstant{Dst: cbpf.RegX, Val: netOff}, cbpf.LoadIndirect{Off: 2, Size: 2}}, 0x0800},
		{"by zero", tagged, []cbpf.Instruction{cbpf.LoadConstant{Dst: cbpf.RegA, Val: 5}, cbpf.ALUOpX{Op: cbpf.ALUOpDiv}}, 0},
		{"by zero, the rest", tagged, []cbpf.Instruction{cbpf.LoadConstant{Dst: cbpf.RegA, Val: 5}, cbpf.ALUOpX{Op: cbpf.ALUOpMod}}, 0},
		{"memory", tagged, []cbpf.Instruction{
			cbpf.LoadConstant{Dst: cbpf.RegX, Val: 6}, cbpf.StoreScratch{Src: cbpf.RegX, N: 15}, cbpf.LoadScratch{Dst: cbpf.RegA, N: 15},
		}, 6},
	} {
		m, err := NewMachine(assemble(t, tt.insns...))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := m.Run(&tt.frame); got != tt.want {
			t.Errorf("%s: %#x, want %#x", tt.name, got, tt.want)
		}
	}
}

// Offsets that are relative to a header.
func TestMachineRelative(t *testing.T) {
	load := func(k uint32) *Machine {
		m, err := NewMachine([]cbpf.RawInstruction{{Op: classLD | modeABS | sizeH, K: k}, {Op: classRET | returnA}})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	f := Frame{Data: arpFrame}
	for k, want := range map[uint32]uint32{netOff + 2: 0x0800, linkOff + 12: 0x0806, netOff + 5: 0, linkOff - 1: 0, 1 << 31: 0, linkOff + 19: 0} {
		if got := load(k).Run(&f); got != want {
			t.Errorf("at %#x: %#x, want %#x", k, got, want)
		}
	}
	if got := load(netOff + 12).Run(&Frame{Data: arpFrame, NoLink: true}); got != 0x0806 {
		t.Errorf("without a link layer: %#x", got)
	}
}

func TestNewMachineErrors(t *testing.T) {
	end := cbpf.RawInstruction{Op: classRET}
	for _, tt := range []struct {
		program []cbpf.RawInstruction
		want    string
	}{
		{nil, "0 instructions"},
		{make([]cbpf.RawInstruction, 4097), "4097 instructions"},
		{[]cbpf.RawInstruction{{Op: classLD | modeIMM}}, "the last"},
		{[]cbpf.RawInstruction{{Op: classLD | modeABS, K: adOff + 20}, end}, "metadata at 20"},
		{[]cbpf.RawInstruction{{Op: classLD | modeMEM, K: 16}, end}, "word 16"},
		{[]cbpf.RawInstruction{{Op: classSTX, K: 1 << 20}, end}, "word 1048576"},
		{[]cbpf.RawInstruction{{Op: classALU | opDiv}, end}, "divides"},
		{[]cbpf.RawInstruction{{Op: classALU | opLsh, K: 32}, end}, "32 bits"},
		{[]cbpf.RawInstruction{{Op: classJMP | jumpAlways, K: 1}, end}, "leads out"},
		{[]cbpf.RawInstruction{{Op: classJMP | jumpAlways, K: math.MaxUint32}, end}, "leads out"},
		{[]cbpf.RawInstruction{{Op: classJMP | jumpEqual, Jf: 1}, end}, "leads out"},
		{[]cbpf.RawInstruction{{Op: 0xff00}, end}, "0xff00"},
		{[]cbpf.RawInstruction{end, {Op: classRET | sourceX}}, "instruction 1: "},
	} {
		if _, err := NewMachine(tt.program); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.program[:min(len(tt.program), 2)], err, tt.want)
		}
	}
}

func TestRunDoesNotAllocate(t *testing.T) {
	m, err := NewMachine(assemble(t, cbpf.LoadConstant{Dst: cbpf.RegX, Val: 4}, cbpf.LoadMemShift{Off: 14}, cbpf.LoadIndirect{Off: 14, Size: 2}))
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() { m.Run(&Frame{Data: arpFrame, Length: len(arpFrame)}) }); n != 0 {
		t.Errorf("a run allocates %v times", n)
	}
}

// A drawn program has codes and numbers that make sense more often than not.
func drawn(b []byte) []cbpf.RawInstruction {
	var program []cbpf.RawInstruction
	codes := []uint16{
		classLD | modeABS | sizeW, classLD | modeABS | sizeH, classLD | modeABS | sizeB, classLD | modeIMM, classLD | modeLEN, classLD | modeMEM,
		classLDX | modeIMM, classLDX | modeLEN, classLDX | modeMEM, classLDX | modeMSH | sizeB, classST, classSTX,
		classALU | opAdd, classALU | opSub, classALU | opMul, classALU | opDiv, classALU | opMod, classALU | opOr, classALU | opAnd, classALU | opXor,
		classALU | opLsh, classALU | opRsh, classALU | opNeg, classALU | opAdd | sourceX, classALU | opSub | sourceX, classALU | opMul | sourceX,
		classALU | opDiv | sourceX, classALU | opMod | sourceX, classALU | opOr | sourceX, classALU | opAnd | sourceX, classALU | opXor | sourceX,
		classALU | opLsh | sourceX, classALU | opRsh | sourceX, classJMP | jumpAlways, classJMP | jumpEqual, classJMP | jumpGreater,
		classJMP | jumpAtLeast, classJMP | jumpSet, classJMP | jumpEqual | sourceX, classJMP | jumpGreater | sourceX, classJMP | jumpAtLeast | sourceX,
		classJMP | jumpSet | sourceX, classRET, classRET | returnA, classMISC, classMISC | txa, 0x00ff, classLD | sizeW, 0x100,
	}
	for ; len(b) >= 5; b = b[5:] {
		in := cbpf.RawInstruction{Op: codes[int(b[0])%len(codes)], K: uint32(b[1])}
		if in.Op&7 == classJMP && in.Op != classJMP|jumpAlways {
			in.Jt, in.Jf = b[3]%8, b[4]%8
		}
		if b[2] == 0xff && in.Op&0xe7 != classLD|modeABS && in.Op != classLDX|modeMSH|sizeB {
			in.K = binary.BigEndian.Uint32(b[1:])
		}
		program = append(program, in)
		if b[0] == 0xfe { // by X, from within the frame on
			program = append(program[:len(program)-1],
				cbpf.RawInstruction{Op: classMISC | txa}, cbpf.RawInstruction{Op: classALU | opAnd, K: 0x1f}, cbpf.RawInstruction{Op: classMISC},
				cbpf.RawInstruction{Op: classLD | modeIND | uint16(b[2])%3*sizeH, K: uint32(b[1])})
		}
	}
	return append(program, cbpf.RawInstruction{Op: classRET | returnA})
}
