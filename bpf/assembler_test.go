package bpf

import (
	"fmt"
	"testing"

	cbpf "golang.org/x/net/bpf"
)

// numbers is a program that drops the numbers from 0 to n-1, each by a jump of
// its own to the end, and keeps all others. The jumps near the start do not reach
// the end, and those before the first that does are moved away by what the
// others need.
func numbers(n int) []cbpf.Instruction {
	var a assembler
	a.emit(cbpf.LoadAbsolute{Off: 0, Size: 4})
	for i := range n {
		a.want(cbpf.JumpNotEqual, uint32(i))
	}
	a.emit(cbpf.RetConstant{Val: keepAll})
	return a.assemble()
}

func TestAssembleFar(t *testing.T) {
	for _, n := range []int{1, 253, 254, 255, 256, 257, 400, 1200} {
		insns := numbers(n)
		if added := len(insns) - (n + 3); added != max(0, n-255) {
			t.Errorf("%d numbers: %d instructions beside the jumps", n, added)
		}
		vm, err := cbpf.NewVM(insns)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n + 2 {
			got, err := vm.Run([]byte{0, 0, byte(i >> 8), byte(i)})
			if err != nil {
				t.Fatal(err)
			}
			if got != 0 != (i >= n) {
				t.Errorf("%d numbers: %d bytes of %d are kept", n, got, i)
			}
		}
	}
}

// Both ways of a jump, near and far.
func TestAssembleBoth(t *testing.T) {
	const yes, no = 1, 2
	distances := []int{0, 1, 254, 255, 256, 257, 600}
	for _, first := range distances {
		for _, second := range distances {
			for _, swap := range []bool{false, true} {
				name := fmt.Sprintf("%d and %d instructions off, swapped %v", first, second, swap)
				var a assembler
				near, far := a.newLabel(), a.newLabel()
				a.emit(cbpf.LoadAbsolute{Off: 0, Size: 1})
				nearValue, farValue := uint32(yes), uint32(no)
				if swap {
					a.branch(cbpf.JumpEqual, 7, far, near)
					nearValue, farValue = no, yes
				} else {
					a.branch(cbpf.JumpEqual, 7, near, far)
				}
				filler := func(n int) {
					for range n {
						a.emit(cbpf.RetConstant{Val: 99})
					}
				}
				filler(first)
				a.place(near)
				a.emit(cbpf.RetConstant{Val: nearValue})
				filler(second)
				a.place(far)
				a.emit(cbpf.RetConstant{Val: farValue})

				vm, err := cbpf.NewVM(a.assemble())
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				for value, want := range map[byte]int{7: yes, 8: no} {
					if got, err := vm.Run([]byte{value}); got != want || err != nil {
						t.Errorf("%s: %d goes to %d, %v, want %d", name, value, got, err, want)
					}
				}
			}
		}
	}
}

func TestAssembleJump(t *testing.T) {
	var a assembler
	over := a.newLabel()
	a.jump(over)
	for range 300 {
		a.emit(cbpf.RetConstant{Val: 0})
	}
	a.place(over)
	a.emit(cbpf.LoadConstant{Dst: cbpf.RegX, Val: 5}, cbpf.LoadConstant{Dst: cbpf.RegA, Val: 5})
	a.wantX(cbpf.JumpEqual)
	for range 300 {
		a.emit(cbpf.LoadConstant{Dst: cbpf.RegA, Val: 6})
	}
	a.wantX(cbpf.JumpGreaterThan)
	a.emit(cbpf.RetConstant{Val: keepAll})
	vm, err := cbpf.NewVM(a.assemble())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := vm.Run([]byte{0}); n != keepAll || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestAssembleBack(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a jump back is assembled")
		}
	}()
	var a assembler
	back := a.newLabel()
	a.place(back)
	a.emit(cbpf.LoadConstant{Dst: cbpf.RegA, Val: 1})
	a.branch(cbpf.JumpEqual, 1, back, drop)
	a.assemble()
}
