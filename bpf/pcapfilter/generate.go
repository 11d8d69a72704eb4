package pcapfilter

import (
	"errors"
	"math"

	cbpf "golang.org/x/net/bpf"
)

// scratchWords is how many words of memory a program has (BPF_MEMWORDS).
const scratchWords = 16

var errNoScratch = errors.New("nested too deeply for the 16 words of memory that a program has")

// A generator writes the instructions of a graph. It knows at each place which
// values are in the registers.
type generator struct {
	assembler
	a, x   *value // nil if nothing is known
	failed error
}

// registers are what a generator knows at a place.
type registers struct{ a, x *value }

// generate writes the program of a graph.
func (g *graph) generate(entry *node, keep uint32) ([]cbpf.Instruction, error) {
	if entry == g.accept {
		return []cbpf.Instruction{cbpf.RetConstant{Val: keep}}, nil
	}
	gen := &generator{}
	order := g.ordered(entry)
	labels := map[*node]label{g.accept: accept, g.reject: reject}
	for _, n := range order {
		labels[n] = gen.newLabel()
	}
	at := make(map[*node]registers)
	meet := func(n *node, r registers) {
		other, met := at[n]
		if met && other.a != r.a {
			r.a = nil
		}
		if met && other.x != r.x {
			r.x = nil
		}
		at[n] = r
	}
	for _, n := range order {
		gen.place(labels[n])
		gen.a, gen.x = at[n].a, at[n].x
		gen.test(n.test, labels[n.yes], labels[n.no])
		meet(n.yes, registers{gen.a, gen.x})
		meet(n.no, registers{gen.a, gen.x})
	}
	return gen.assemble(keep), gen.failed
}

func (gen *generator) test(t *test, yes, no label) {
	if t.with != nil {
		gen.pair(t.value, t.with, 0)
		gen.jump(cbpf.JumpIfX{Cond: t.cond}, yes, no)
		return
	}
	gen.intoA(t.value, 0)
	gen.jump(cbpf.JumpIf{Cond: t.cond, Val: t.k}, yes, no)
}

// intoA works a value out. It may use X, and the scratch words from slot on.
func (gen *generator) intoA(v *value, slot int) {
	if gen.a == v {
		return
	}
	switch v.kind {
	case valueConstant:
		gen.emit(cbpf.LoadConstant{Dst: cbpf.RegA, Val: v.k})
	case valueLength:
		gen.emit(cbpf.LoadExtension{Num: cbpf.ExtLen})
	case valueExtension:
		gen.emit(cbpf.LoadExtension{Num: v.ext})
	case valueHeader:
		gen.intoX(v, slot)
		gen.emit(cbpf.TXA{})
	case valueLoad:
		if v.base == nil {
			gen.emit(cbpf.LoadAbsolute{Off: v.k, Size: v.size})
			break
		}
		gen.index(v.base, slot)
		gen.emit(cbpf.LoadIndirect{Off: v.k, Size: v.size})
	case valueNegative:
		gen.intoA(v.base, slot)
		// The machine of golang.org/x/net/bpf has no instruction for it.
		gen.emit(cbpf.ALUOpConstant{Op: cbpf.ALUOpXor, Val: math.MaxUint32}, cbpf.ALUOpConstant{Op: cbpf.ALUOpAdd, Val: 1})
	case valueBinary:
		if v.right.kind == valueConstant {
			gen.intoA(v.base, slot)
			gen.emit(cbpf.ALUOpConstant{Op: v.op, Val: v.right.k})
			break
		}
		left, right := v.base, v.right
		if commutes(v.op) && left.takesX() && (left.kind == valueHeader || !right.takesX()) {
			left, right = right, left
		}
		gen.pair(left, right, slot)
		if v.op == cbpf.ALUOpShiftLeft || v.op == cbpf.ALUOpShiftRight {
			gen.shift(v, slot)
			break
		}
		gen.emit(cbpf.ALUOpX{Op: v.op})
	}
	gen.a = v
}

// shift shifts A by X. The kernel takes the amount modulo 32 where libpcap, and
// this, have nothing left.
func (gen *generator) shift(v *value, slot int) {
	if v.right.max <= 31 {
		gen.emit(cbpf.ALUOpX{Op: v.op})
		return
	}
	nothing, done := gen.newLabel(), gen.newLabel()
	gen.store(slot)
	gen.emit(cbpf.TXA{})
	gen.jump(cbpf.JumpIf{Cond: cbpf.JumpGreaterThan, Val: 31}, nothing, following)
	gen.emit(cbpf.LoadScratch{Dst: cbpf.RegA, N: slot}, cbpf.ALUOpX{Op: v.op})
	gen.jump(cbpf.Jump{}, done, following)
	gen.place(nothing)
	gen.emit(cbpf.LoadConstant{Dst: cbpf.RegA})
	gen.place(done)
}

// intoX works a value out. It may use A.
func (gen *generator) intoX(v *value, slot int) {
	switch {
	case gen.x == v:
		return
	case v.kind == valueHeader:
		gen.emit(cbpf.LoadMemShift{Off: v.k})
	case v.kind == valueConstant:
		gen.emit(cbpf.LoadConstant{Dst: cbpf.RegX, Val: v.k})
	default:
		gen.intoA(v, slot)
		gen.emit(cbpf.TAX{})
	}
	gen.x = v
}

// index puts an offset into X. One that is beyond all frames is rejected here:
// to the kernel it may be the offset of something else, or turn round to the
// frame's start.
func (gen *generator) index(v *value, slot int) {
	if v.max <= farthest {
		gen.intoX(v, slot)
		return
	}
	gen.intoA(v, slot)
	gen.jump(cbpf.JumpIf{Cond: cbpf.JumpGreaterThan, Val: farthest}, reject, following)
	gen.emit(cbpf.TAX{})
	gen.x = v
}

// pair puts one value into A and another into X.
func (gen *generator) pair(left, right *value, slot int) {
	direct := right.kind == valueHeader || right.kind == valueConstant
	switch {
	case direct:
		gen.intoA(left, slot)
		gen.intoX(right, slot)
	case !left.takesX():
		gen.intoX(right, slot)
		gen.intoA(left, slot)
	case left.words() > right.words():
		gen.intoA(left, slot)
		gen.store(slot)
		gen.intoX(right, slot+1)
		gen.emit(cbpf.LoadScratch{Dst: cbpf.RegA, N: slot})
		gen.a = left
	default:
		gen.intoA(right, slot)
		gen.store(slot)
		gen.intoA(left, slot+1)
		gen.emit(cbpf.LoadScratch{Dst: cbpf.RegX, N: slot})
		gen.x = right
	}
}

func (gen *generator) store(slot int) {
	if slot >= scratchWords {
		gen.failed = errNoScratch
		slot = 0
	}
	gen.emit(cbpf.StoreScratch{Src: cbpf.RegA, N: slot})
}

// words is how many scratch words it takes to work a value out, if the one of
// two that takes more is always worked out first (Sethi and Ullman, 1970).
func (v *value) words() int {
	switch {
	case v.kind == valueLoad && v.base != nil, v.kind == valueNegative:
		return v.base.words()
	case v.kind != valueBinary || v.right.kind == valueConstant:
		if v.kind == valueBinary {
			return v.base.words()
		}
		return 0
	}
	l, r := v.base.words(), v.right.words()
	if l == r {
		l++
	}
	return max(l, r)
}
