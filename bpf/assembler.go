package bpf

import (
	"fmt"

	cbpf "golang.org/x/net/bpf"
)

// A label is a place in a program that an assembler writes. Jumps lead to
// labels, and only forward: classic BPF knows no others.
type label int

const (
	next label = iota // the instruction that follows
	drop              // the end of the program, where frames are dropped
	firstLabel
)

// maxSkip is how many instructions a conditional jump can leap over
// (struct sock_filter: jt and jf have eight bits).
const maxSkip = 255

// An assembler writes a program whose jumps name their targets.
type assembler struct {
	insns []instruction
	at    []int // the instruction that a label stands before; -1 until then
}

// An instruction is one of classic BPF, with its skips left open if it is a
// jump.
type instruction struct {
	cbpf.Instruction
	yes, no label // of cbpf.JumpIf and JumpIfX; cbpf.Jump has yes alone
}

// newLabel returns a label that is to be placed.
func (a *assembler) newLabel() label {
	a.at = append(a.at, -1)
	return label(len(a.at)-1) + firstLabel
}

// place puts a label before the instruction that comes next.
func (a *assembler) place(l label) { a.at[l-firstLabel] = len(a.insns) }

func (a *assembler) emit(list ...cbpf.Instruction) {
	for _, in := range list {
		a.insns = append(a.insns, instruction{Instruction: in})
	}
}

// jump goes on at l.
func (a *assembler) jump(l label) {
	a.insns = append(a.insns, instruction{Instruction: cbpf.Jump{}, yes: l})
}

// branch goes on at yes if A stands in the relation cond to val, else at no.
func (a *assembler) branch(cond cbpf.JumpTest, val uint32, yes, no label) {
	a.insns = append(a.insns, instruction{cbpf.JumpIf{Cond: cond, Val: val}, yes, no})
}

// want drops the frame unless A stands in the relation cond to val.
func (a *assembler) want(cond cbpf.JumpTest, val uint32) { a.branch(cond, val, next, drop) }

// wantX drops the frame unless A stands in the relation cond to X.
func (a *assembler) wantX(cond cbpf.JumpTest) {
	a.insns = append(a.insns, instruction{cbpf.JumpIfX{Cond: cond}, next, drop})
}

// assemble ends the program with the drop and fills the skips in. Where a
// conditional jump does not reach its target it gets an unconditional one
// beside it, which reaches any.
func (a *assembler) assemble() []cbpf.Instruction {
	a.insns = append(a.insns, instruction{Instruction: cbpf.RetConstant{Val: 0}})

	// Each jump that is made long moves what is behind it, and may put another
	// out of reach.
	long := make([]struct{ yes, no bool }, len(a.insns))
	start := make([]int, len(a.insns)+1)
	for grown := true; grown; {
		for i := range a.insns {
			start[i+1] = start[i] + 1 + count(long[i].yes) + count(long[i].no)
		}
		grown = false
		for i, in := range a.insns {
			if !in.conditional() {
				continue
			}
			far := func(l label) bool { return start[a.target(i, l)]-start[i]-1 > maxSkip }
			if !long[i].yes && far(in.yes) {
				long[i].yes, grown = true, true
			}
			if !long[i].no && far(in.no) {
				long[i].no, grown = true, true
			}
		}
	}

	out := make([]cbpf.Instruction, 0, start[len(a.insns)])
	for i, in := range a.insns {
		// skip is what lies between the instruction at from and a target.
		skip := func(l label, from int) int { return start[a.target(i, l)] - from - 1 }
		yes, no := skip(in.yes, start[i]), skip(in.no, start[i])
		var beside []cbpf.Instruction
		if long[i].yes {
			yes = len(beside)
			beside = append(beside, cbpf.Jump{Skip: uint32(skip(in.yes, start[i]+1))})
		}
		if long[i].no {
			no = len(beside)
			beside = append(beside, cbpf.Jump{Skip: uint32(skip(in.no, start[i]+1+no))})
		}
		switch jump := in.Instruction.(type) {
		case cbpf.JumpIf:
			jump.SkipTrue, jump.SkipFalse = uint8(yes), uint8(no)
			out = append(out, jump)
		case cbpf.JumpIfX:
			jump.SkipTrue, jump.SkipFalse = uint8(yes), uint8(no)
			out = append(out, jump)
		case cbpf.Jump:
			out = append(out, cbpf.Jump{Skip: uint32(yes)})
		default:
			out = append(out, in.Instruction)
		}
		out = append(out, beside...)
	}
	return out
}

// target returns the instruction that a jump to l leads to from instruction i.
func (a *assembler) target(i int, l label) int {
	to := i + 1
	switch l {
	case next:
	case drop:
		to = len(a.insns) - 1
	default:
		to = a.at[l-firstLabel]
	}
	if to <= i {
		panic(fmt.Sprintf("classic filter: instruction %d jumps back to %d", i, to))
	}
	return to
}

func (in instruction) conditional() bool {
	switch in.Instruction.(type) {
	case cbpf.JumpIf, cbpf.JumpIfX:
		return true
	default:
		return false
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}
