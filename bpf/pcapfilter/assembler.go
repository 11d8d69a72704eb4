package pcapfilter

import (
	"fmt"
	"slices"

	cbpf "golang.org/x/net/bpf"
)

// maxInstructions is the longest program that the kernel takes (BPF_MAXINSNS),
// and maxSkip how far a conditional jump reaches (struct sock_filter: jt and jf
// have eight bits).
const (
	maxInstructions = 4096
	maxSkip         = 255
)

// A label is a place in a program: the index of one in assembler.at.
type label int

const (
	following label = iota // the instruction behind the jump
	accept                 // returns the frame
	reject                 // returns nothing
	firstLabel
)

// An instruction is one of classic BPF. A jump names where it leads to.
type instruction struct {
	cbpf.Instruction
	yes, no label // of JumpIf and JumpIfX; of Jump, yes
}

// An assembler writes a program, with jumps to labels that are placed later.
type assembler struct {
	list []instruction
	at   []int // by label: the instruction that it stands before
}

func (a *assembler) newLabel() label {
	if a.at == nil {
		a.at = make([]int, firstLabel)
	}
	a.at = append(a.at, -1)
	return label(len(a.at) - 1)
}

// place puts a label before the next instruction.
func (a *assembler) place(l label) { a.at[l] = len(a.list) }

func (a *assembler) emit(list ...cbpf.Instruction) {
	for _, in := range list {
		a.list = append(a.list, instruction{Instruction: in})
	}
}

func (a *assembler) jump(in cbpf.Instruction, yes, no label) {
	a.list = append(a.list, instruction{in, yes, no})
}

// assemble fills the jumps in and ends the program with two returns: keep bytes
// of a frame, and none. Where a conditional jump does not reach its target it goes
// to a step that leads there: one that is there already, for another jump, or a
// new one right behind.
func (a *assembler) assemble(keep uint32) []cbpf.Instruction {
	ends := map[label]cbpf.RetConstant{accept: {Val: keep}, reject: {}}
	placed := make(map[int][]label)
	for l := firstLabel; int(l) < len(a.at); l++ {
		placed[a.at[l]] = append(placed[a.at[l]], l)
	}

	// The program is written from its end, so that what a jump may lead to has its
	// place. A place is how many instructions there are from it to the end.
	out := []cbpf.Instruction{ends[reject], ends[accept]}
	at := map[label]int{reject: 1, accept: 2} // where labels are
	step := map[label]int{reject: 1, accept: 2}
	for i, in := range slices.Backward(a.list) {
		at[following], step[following] = len(out), len(out)
		for _, l := range []label{in.yes, in.no} {
			if at[l] == 0 {
				panic(fmt.Sprintf("filter: instruction %d jumps back", i))
			}
		}
		switch jump := in.Instruction.(type) {
		case cbpf.Jump:
			out = append(out, cbpf.Jump{Skip: uint32(len(out) - at[in.yes])})
		case cbpf.JumpIf, cbpf.JumpIfX:
			for _, l := range []label{in.yes, in.no} {
				// Two steps may come between.
				if len(out)-step[l]+2 <= maxSkip {
					continue
				}
				if end, ok := ends[l]; ok {
					out = append(out, end)
				} else {
					out = append(out, cbpf.Jump{Skip: uint32(len(out) - at[l])})
				}
				step[l] = len(out)
			}
			yes, no := uint8(len(out)-step[in.yes]), uint8(len(out)-step[in.no])
			if jump, ok := jump.(cbpf.JumpIf); ok {
				jump.SkipTrue, jump.SkipFalse = yes, no
				out = append(out, jump)
				break
			}
			jumpX := jump.(cbpf.JumpIfX)
			jumpX.SkipTrue, jumpX.SkipFalse = yes, no
			out = append(out, jumpX)
		default:
			out = append(out, in.Instruction)
		}
		for _, l := range placed[i] {
			at[l], step[l] = len(out), len(out)
		}
	}
	slices.Reverse(out)
	return out
}
