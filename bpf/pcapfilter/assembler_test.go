package pcapfilter

import (
	"fmt"
	"testing"

	cbpf "golang.org/x/net/bpf"
)

// Both ways of a jump, near and far, to labels and to the ends.
func TestAssemble(t *testing.T) {
	const yes, no, keep = 1, 2, 7
	distances := []int{0, 1, 252, 253, 254, 255, 256, 257, 258, 600}
	for _, first := range distances {
		for _, second := range distances {
			for swap := range 2 {
				for to := range 3 {
					name := fmt.Sprintf("%d and %d instructions off, swapped %d, way %d", first, second, swap, to)
					var a assembler
					targets := []label{a.newLabel(), a.newLabel()}
					values := []uint32{yes, no}
					switch to {
					case 1:
						targets, values = []label{accept, reject}, []uint32{keep, 0}
					case 2:
						targets[0], values[0] = accept, keep
					}
					a.emit(cbpf.LoadAbsolute{Size: 1})
					a.jump(cbpf.JumpIf{Cond: cbpf.JumpEqual, Val: 7}, targets[swap], targets[1-swap])
					for i, n := range []int{first, second} {
						for range n {
							a.emit(cbpf.RetConstant{Val: 99})
						}
						if targets[i] >= firstLabel {
							a.place(targets[i])
							a.emit(cbpf.RetConstant{Val: values[i]})
						}
					}
					vm, err := cbpf.NewVM(a.assemble(keep))
					if err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					for i, b := range []byte{7, 8} {
						if got, err := vm.Run([]byte{b}); uint32(got) != values[swap^i] || err != nil {
							t.Errorf("%s: %d goes to %d, %v, want %d", name, b, got, err, values[swap^i])
						}
					}
				}
			}
		}
	}
}

// Jumps that do not reach share a step where there is one.
func TestAssembleSteps(t *testing.T) {
	for _, n := range []int{100, 252, 300, 600, 4000} {
		var a assembler
		a.emit(cbpf.LoadAbsolute{Size: 4})
		for i := range n {
			a.jump(cbpf.JumpIf{Cond: cbpf.JumpEqual, Val: uint32(i)}, accept, following)
		}
		a.jump(cbpf.JumpIf{Cond: cbpf.JumpEqual, Val: 1e6}, accept, reject)
		list := a.assemble(1)
		if added := len(list) - n - 4; added > n/200 {
			t.Errorf("%d jumps: %d instructions beside them", n, added)
		}
		vm, err := cbpf.NewVM(list)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range []int{0, 1, n / 2, n - 1, n} {
			got, err := vm.Run([]byte{0, 0, byte(i >> 8), byte(i)})
			if want := i < n; got != 0 != want || err != nil {
				t.Errorf("%d jumps: %d is kept: %d, %v", n, i, got, err)
			}
		}
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
	a.jump(cbpf.JumpIf{Cond: cbpf.JumpEqual, Val: 1}, back, reject)
	a.assemble(1)
}
