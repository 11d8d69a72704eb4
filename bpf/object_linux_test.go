package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// TestObjects runs the committed programs of both byte orders over the corpus,
// in an interpreter. The kernel of this machine can run one of them alone, and
// the other would be wrong unnoticed.
func TestObjects(t *testing.T) {
	list, frames := corpus(t), fieldSamples()
	for _, name := range []string{"match_bpfel.o", "match_bpfeb.o"} {
		t.Run(name, func(t *testing.T) {
			for i, mm := range matches {
				vm := newMachine(t, name, mm.m)
				for _, s := range list {
					if s.judgedBy(i) {
						vm.check(t, s, mm.m, mm.name)
					}
				}
			}
			for i, m := range fields() {
				if i%7 != 0 {
					continue
				}
				vm := newMachine(t, name, m)
				for _, s := range frames {
					vm.check(t, s, m, fmt.Sprintf("%+v", m))
				}
			}
		})
	}
}

// check checks that the program does with a frame what a Match says.
func (vm *machine) check(t *testing.T, s sample, m Match, name string) {
	t.Helper()
	meta, before := s.meta(), vm.rejected()
	got, err := vm.run(s.bytes, meta)
	if err != nil {
		t.Fatalf("%s, %s: %v", name, s.name, err)
	}
	if accepts := m.Accepts(s.bytes, meta); (got == 0xffffffff) != accepts || (got == 0) == accepts {
		t.Errorf("%s, %s: the program returns %#x, want accepted: %v", name, s.name, got, accepts)
	}
	if claims := m.Claims(s.bytes, meta); (vm.rejected() == before+1) != claims || (vm.rejected() == before) == claims {
		t.Errorf("%s, %s: %d rejected after %d, want claimed: %v", name, s.name, vm.rejected(), before, claims)
	}
}

// TestObjectPaths checks that the objects do not tell where they were made: they
// are the same wherever they are generated.
func TestObjectPaths(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"match_bpfel.o", "match_bpfeb.o", "expect_bpfel.o", "expect_bpfeb.o"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{wd, "/usr/", "/home/", "/root/", "/tmp/"} {
			if bytes.Contains(b, []byte(path)) {
				t.Errorf("%s has the path %s in it", name, path)
			}
		}
	}
}

// A machine interprets the part of eBPF that clang makes of match.bpf.c and
// expect.bpf.c. It is no verifier: what it does not know is an error, and so is a stray pointer.
type machine struct {
	order    binary.ByteOrder
	insns    asm.Instructions
	at       map[int64]int     // instruction of an offset, in units of eight bytes
	offsets  []int64           // offset of an instruction
	sections map[string]uint64 // region of a section
	regions  [][]byte
	packet   []byte
	rejects  *ebpf.VariableSpec

	// Of expect.bpf.c: what is in its map, and which entries were looked up.
	table  *keyTable
	looked []int
}

// A pointer is a region, counted from 1, in the upper half, an offset below.
const (
	regionStack = iota
	regionContext
	regionSections

	stackLen = 512
)

func pointer(region int) uint64 { return uint64(region+1) << 32 }

func newMachine(t *testing.T, name string, m Match) *machine {
	t.Helper()
	spec := objectSpec(t, name)
	if err := setConstants(spec, m); err != nil {
		t.Fatal(err)
	}
	return newMachineOf(t, spec, matchProgram)
}

func objectSpec(tb testing.TB, name string) *ebpf.CollectionSpec {
	tb.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(b))
	if err != nil {
		tb.Fatal(err)
	}
	return spec
}

// newMachineOf returns a machine for a program whose constants are set.
func newMachineOf(t testing.TB, spec *ebpf.CollectionSpec, program string) *machine {
	t.Helper()
	vm := &machine{
		order:    spec.ByteOrder,
		insns:    spec.Programs[program].Instructions,
		at:       make(map[int64]int),
		sections: make(map[string]uint64),
		regions:  make([][]byte, regionSections),
		rejects:  spec.Variables["rejected"],
	}
	offset := int64(0)
	for i := range vm.insns {
		vm.at[offset] = i
		vm.offsets = append(vm.offsets, offset)
		offset += int64(vm.insns[i].Width())
	}
	for name, section := range spec.Maps {
		vm.sections[name] = pointer(len(vm.regions))
		vm.regions = append(vm.regions, make([]byte, section.ValueSize*section.MaxEntries))
	}
	for _, v := range spec.Variables {
		mem, err := vm.mem(vm.sections[v.SectionName]+uint64(v.Offset), int(v.Size()))
		if err != nil {
			t.Fatal(err)
		}
		copy(mem, v.Value)
	}
	return vm
}

const matchProgram = "l2ping_match"

func (vm *machine) rejected() uint64 {
	mem, err := vm.mem(vm.sections[vm.rejects.SectionName]+uint64(vm.rejects.Offset), 8)
	if err != nil {
		panic(err)
	}
	return vm.order.Uint64(mem)
}

// mem returns the memory of size bytes behind a pointer.
func (vm *machine) mem(p uint64, size int) ([]byte, error) {
	region, offset := int(p>>32)-1, int(uint32(p))
	if region < 0 || region >= len(vm.regions) || offset+size > len(vm.regions[region]) {
		return nil, fmt.Errorf("access to %d bytes at %#x", size, p)
	}
	return vm.regions[region][offset : offset+size], nil
}

func (vm *machine) mustMem(t *testing.T, p uint64, size int) []byte {
	t.Helper()
	b, err := vm.mem(p, size)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (vm *machine) load(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(vm.order.Uint16(b))
	case 4:
		return uint64(vm.order.Uint32(b))
	default:
		return vm.order.Uint64(b)
	}
}

func (vm *machine) store(b []byte, v uint64) {
	switch len(b) {
	case 1:
		b[0] = byte(v)
	case 2:
		vm.order.PutUint16(b, uint16(v))
	case 4:
		vm.order.PutUint32(b, uint32(v))
	default:
		vm.order.PutUint64(b, v)
	}
}

// run returns what the program returns for a frame.
func (vm *machine) run(packet []byte, meta Meta) (uint32, error) {
	vm.packet, vm.looked = packet, vm.looked[:0]
	vm.regions[regionStack] = bytes.Repeat([]byte{0xa5}, stackLen) // as good as uninitialised

	// struct __sk_buff of linux/bpf.h: len, pkt_type, and at 20 vlan_present and
	// vlan_tci.
	context := make([]byte, 28)
	vm.order.PutUint32(context[0:], uint32(len(packet)))
	vm.order.PutUint32(context[4:], uint32(meta.PacketType))
	if meta.VLANPresent {
		vm.order.PutUint32(context[20:], 1)
	}
	vm.order.PutUint32(context[24:], uint32(meta.VLANTCI))
	vm.regions[regionContext] = context

	var r [11]uint64
	r[1], r[10] = pointer(regionContext), pointer(regionStack)+stackLen
	for pc, steps := 0, 0; ; steps++ {
		if steps > 10_000 || pc >= len(vm.insns) {
			return 0, fmt.Errorf("no end after %d steps, at %d", steps, pc)
		}
		in := vm.insns[pc]
		next := pc + 1
		switch class := in.OpCode.Class(); {
		case class.IsALU():
			if err := vm.alu(&r, in); err != nil {
				return 0, err
			}
		case class.IsJump() && in.OpCode.JumpOp() == asm.Exit:
			return uint32(r[0]), nil
		case class.IsJump() && in.OpCode.JumpOp() == asm.Call:
			if err := vm.call(&r, in); err != nil {
				return 0, err
			}
		case class.IsJump():
			taken, err := jumps(&r, in)
			if err != nil {
				return 0, err
			}
			if taken {
				var ok bool
				if next, ok = vm.at[vm.offsets[pc]+1+int64(in.Offset)]; !ok {
					return 0, fmt.Errorf("%v: into the middle of an instruction", in)
				}
			}
		default:
			if err := vm.move(&r, in); err != nil {
				return 0, err
			}
		}
		pc = next
	}
}

// move runs a load or a store.
func (vm *machine) move(r *[11]uint64, in asm.Instruction) error {
	op := in.OpCode
	if op.IsDWordLoad() {
		r[in.Dst] = uint64(in.Constant)
		if in.IsLoadFromMap() {
			section, ok := vm.sections[in.Reference()]
			if !ok {
				return fmt.Errorf("%v: no section", in)
			}
			r[in.Dst] = section + uint64(in.Constant)>>32
		}
		return nil
	}

	base := in.Dst
	if op.Class() == asm.LdXClass {
		base = in.Src
	}
	mem, err := vm.mem(r[base]+uint64(int64(in.Offset)), op.Size().Sizeof())
	if err != nil {
		return fmt.Errorf("%v: %w", in, err)
	}
	switch {
	case op.Class() == asm.LdXClass && op.Mode() == asm.MemMode:
		r[in.Dst] = vm.load(mem)
	case op.Class() == asm.StXClass && op.Mode() == asm.MemMode:
		vm.store(mem, r[in.Src])
	case op.Class() == asm.StClass && op.Mode() == asm.MemMode:
		vm.store(mem, uint64(in.Constant))
	case op.Class() == asm.StXClass && op.Mode() == asm.AtomicMode && op.AtomicOp() == asm.AddAtomic:
		vm.store(mem, vm.load(mem)+r[in.Src])
	default:
		return fmt.Errorf("%v: unknown", in)
	}
	return nil
}

// call runs bpf_skb_load_bytes(skb, offset, to, len), or
// bpf_map_lookup_elem(l2ping_table, index).
func (vm *machine) call(r *[11]uint64, in asm.Instruction) error {
	if vm.table != nil && in.IsBuiltinCall() && asm.BuiltinFunc(in.Constant) == asm.FnMapLookupElem {
		b, err := vm.mem(r[2], 4)
		if err != nil || r[1] != vm.sections[expectMapL2pingTable] {
			return fmt.Errorf("%v: no index, or not of the table: %w", in, err)
		}
		i := int(vm.order.Uint32(b))
		vm.looked = append(vm.looked, i)
		r[0] = 0
		if i < len(vm.table.slots)/bucketLen {
			r[0] = r[1] + uint64(i*bucketLen*slotLen)
		}
		return nil
	}
	if !in.IsBuiltinCall() || asm.BuiltinFunc(in.Constant) != asm.FnSkbLoadBytes || r[1] != pointer(regionContext) {
		return fmt.Errorf("%v: unknown", in)
	}
	to, err := vm.mem(r[3], int(r[4]))
	if err != nil {
		return err
	}
	if len(to) == 0 {
		return fmt.Errorf("%v: of no bytes, which the verifier refuses", in)
	}
	offset := int(uint32(r[2]))
	r[0] = 0
	if offset+len(to) > len(vm.packet) {
		clear(to)
		errno := int64(-14) // EFAULT
		r[0] = uint64(errno)
		return nil
	}
	copy(to, vm.packet[offset:])
	return nil
}

// operands returns the two operands of an instruction, narrowed if it is of 32
// bits.
func operands(r *[11]uint64, in asm.Instruction, narrow bool) (dst, src uint64) {
	dst, src = r[in.Dst], uint64(in.Constant)
	if in.OpCode.Source() == asm.RegSource {
		src = r[in.Src]
	}
	if narrow {
		return uint64(uint32(dst)), uint64(uint32(src))
	}
	return dst, src
}

func (vm *machine) alu(r *[11]uint64, in asm.Instruction) error {
	narrow := in.OpCode.Class() == asm.ALUClass
	dst, src := operands(r, in, narrow)
	mask := uint64(63)
	if narrow {
		mask = 31
	}
	switch in.OpCode.ALUOp() {
	case asm.Add:
		dst += src
	case asm.Sub:
		dst -= src
	case asm.Mul:
		dst *= src
	case asm.And:
		dst &= src
	case asm.Or:
		dst |= src
	case asm.Xor:
		dst ^= src
	case asm.LSh:
		dst <<= src & mask
	case asm.RSh:
		dst >>= src & mask
	case asm.Mov:
		dst = src
	case asm.Swap:
		// "Convert to big endian": a swap for a machine that is not.
		if in.OpCode.Endianness() != asm.BE {
			return fmt.Errorf("%v: unknown", in)
		}
		switch in.Constant {
		case 16:
			dst = vm.load(binary.BigEndian.AppendUint16(nil, uint16(dst)))
		case 32:
			dst = vm.load(binary.BigEndian.AppendUint32(nil, uint32(dst)))
		case 64:
			dst = vm.load(binary.BigEndian.AppendUint64(nil, r[in.Dst])) // of the class of 32 bits even so
		default:
			return fmt.Errorf("%v: unknown", in)
		}
		r[in.Dst] = dst
		return nil
	default:
		return fmt.Errorf("%v: unknown", in)
	}
	if narrow {
		dst = uint64(uint32(dst))
	}
	r[in.Dst] = dst
	return nil
}

func jumps(r *[11]uint64, in asm.Instruction) (bool, error) {
	dst, src := operands(r, in, in.OpCode.Class() == asm.Jump32Class)
	switch in.OpCode.JumpOp() {
	case asm.Ja:
		return true, nil
	case asm.JEq:
		return dst == src, nil
	case asm.JNE:
		return dst != src, nil
	case asm.JGT:
		return dst > src, nil
	case asm.JGE:
		return dst >= src, nil
	case asm.JLT:
		return dst < src, nil
	case asm.JLE:
		return dst <= src, nil
	case asm.JSet:
		return dst&src != 0, nil
	case asm.JSGT, asm.JSGE, asm.JSLT, asm.JSLE:
		return jumpsSigned(in, int64(dst), int64(src))
	default:
		return false, fmt.Errorf("%v: unknown", in)
	}
}

// jumpsSigned compares numbers of 64 bits, which is all that -mcpu=v2 has.
func jumpsSigned(in asm.Instruction, dst, src int64) (bool, error) {
	if in.OpCode.Class() != asm.JumpClass {
		return false, fmt.Errorf("%v: unknown", in)
	}
	switch in.OpCode.JumpOp() {
	case asm.JSGT:
		return dst > src, nil
	case asm.JSGE:
		return dst >= src, nil
	case asm.JSLT:
		return dst < src, nil
	default:
		return dst <= src, nil
	}
}
