package pcapfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	cbpf "golang.org/x/net/bpf"
)

// A view is a frame as a packet socket's filter sees it.
type view struct {
	frame    []byte
	tagged   bool
	tci      uint16
	outgoing bool
	ifindex  uint32
}

func (v view) String() string {
	if v.tagged || v.outgoing {
		return fmt.Sprintf("%x (tagged %v, TCI %d, outgoing %v)", v.frame, v.tagged, v.tci, v.outgoing)
	}
	return fmt.Sprintf("%x", v.frame)
}

// views are the corpus as filters of a setting see it: live, tagged frames as the
// kernel hands them over, and as it would without taking the tag.
func views(cfg Config) []view {
	var list []view
	for i, b := range frames(cfg.NoLink) {
		v := view{frame: b, ifindex: uint32(i % 3), outgoing: cfg.Live && i%4 == 0}
		list = append(list, v)
		if typ := etherTypeOf(b); cfg.Live && len(b) >= 18 && (typ == etherTypeVLAN || typ == etherTypeQinQ) {
			v.frame = append(append([]byte{}, b[:12]...), b[16:]...)
			v.tagged, v.tci = true, binary.BigEndian.Uint16(b[14:])
			list = append(list, v)
		}
	}
	return list
}

func etherTypeOf(b []byte) uint16 {
	if len(b) < 14 {
		return 0
	}
	return binary.BigEndian.Uint16(b[12:])
}

// run returns how many bytes a program keeps, and how many instructions it takes.
func (v view) run(t testing.TB, program []cbpf.RawInstruction) (n uint32, steps int) {
	t.Helper()
	n, steps, err := v.execute(program)
	if err != nil && !errors.Is(err, errStopped) {
		t.Fatal(err)
	}
	return n, steps
}

// errStopped says that a program has read past the frame's end, or divided by
// zero, for which the frame is rejected.
var errStopped = errors.New("stopped")

const metadata = 0xfffff000

func (v view) load(at uint64, size int) (uint32, bool) {
	switch at {
	case metadata + 4:
		if v.outgoing {
			return packetOutgoing, true
		}
		return 0, true
	case metadata + 8:
		return v.ifindex, true
	case metadata + 44:
		return uint32(v.tci), true
	case metadata + 48:
		if v.tagged {
			return 1, true
		}
		return 0, true
	}
	if at+uint64(size) > uint64(len(v.frame)) {
		return 0, false
	}
	n := uint32(0)
	for _, b := range v.frame[at : at+uint64(size)] {
		n = n<<8 | uint32(b)
	}
	return n, true
}

// The parts of an instruction's code (linux/bpf_common.h).
const (
	classLD, classLDX, classST, classSTX, classALU, classJMP, classRET, classMISC = 0, 1, 2, 3, 4, 5, 6, 7

	modeIMM, modeABS, modeIND, modeMEM, modeLEN, modeMSH = 0x00, 0x20, 0x40, 0x60, 0x80, 0xa0

	sourceX = 0x08
)

// execute is a machine for classic BPF as libpcap has it (bpf_filter), with the
// kernel's metadata (SKF_AD_OFF in linux/filter.h).
func (v view) execute(program []cbpf.RawInstruction) (n uint32, steps int, err error) {
	var (
		a, x uint32
		mem  [16]uint32
	)
	for pc := 0; pc < len(program); pc++ {
		in := program[pc]
		steps++
		operand := in.K
		if in.Op&sourceX != 0 {
			operand = x
		}
		switch in.Op & 7 {
		case classRET:
			if in.Op&0x18 == 0x10 {
				return a, steps, nil
			}
			return in.K, steps, nil
		case classLD, classLDX:
			n, ok := in.K, true
			size := map[uint16]int{0: 4, 0x08: 2, 0x10: 1}[in.Op&0x18]
			switch in.Op & 0xe0 {
			case modeIMM:
			case modeABS:
				n, ok = v.load(uint64(in.K), size)
			case modeIND:
				if n, ok = v.load(uint64(x)+uint64(in.K), size); uint64(x)+uint64(in.K) >= metadata {
					ok = false
				}
			case modeMEM:
				n = mem[in.K]
			case modeLEN:
				n = uint32(len(v.frame))
			case modeMSH:
				n, ok = v.load(uint64(in.K), 1)
				n = 4 * (n & 0xf)
			}
			if !ok {
				return 0, steps, errStopped
			}
			if in.Op&7 == classLD {
				a = n
			} else {
				x = n
			}
		case classST:
			mem[in.K] = a
		case classSTX:
			mem[in.K] = x
		case classALU:
			switch in.Op & 0xf0 {
			case 0x00:
				a += operand
			case 0x10:
				a -= operand
			case 0x20:
				a *= operand
			case 0x30, 0x90:
				if operand == 0 {
					return 0, steps, errStopped
				}
				if in.Op&0xf0 == 0x30 {
					a /= operand
				} else {
					a %= operand
				}
			case 0x40:
				a |= operand
			case 0x50:
				a &= operand
			case 0x60:
				a <<= operand
			case 0x70:
				a >>= operand
			case 0x80:
				a = -a
			case 0xa0:
				a ^= operand
			default:
				return 0, steps, fmt.Errorf("instruction %d: %+v", pc, in)
			}
		case classJMP:
			yes := false
			switch in.Op & 0xf0 {
			case 0x00:
				pc += int(in.K)
				continue
			case 0x10:
				yes = a == operand
			case 0x20:
				yes = a > operand
			case 0x30:
				yes = a >= operand
			case 0x40:
				yes = a&operand != 0
			default:
				return 0, steps, fmt.Errorf("instruction %d: %+v", pc, in)
			}
			if yes {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		case classMISC:
			if in.Op&0xf8 == 0 {
				x = a
			} else {
				a = x
			}
		}
	}
	return 0, steps, fmt.Errorf("the program of %d instructions has no end", len(program))
}

// checkProgram holds a program against the kernel's rules (bpf_check_classic and
// check_load_and_stores in net/core/filter.c).
func checkProgram(program []cbpf.RawInstruction) error {
	if len(program) == 0 || len(program) > 4096 {
		return fmt.Errorf("%d instructions", len(program))
	}
	if program[len(program)-1].Op&7 != classRET {
		return fmt.Errorf("the last instruction does not return")
	}
	// stored are the words of memory that have been written on all ways to an
	// instruction.
	stored := make([]uint16, len(program))
	for i := range stored {
		stored[i] = 0xffff
	}
	words := uint16(0)
	for i, in := range program {
		bad := func(what string) error { return fmt.Errorf("instruction %d, %+v: %s", i, in, what) }
		words &= stored[i]
		switch in.Op & 7 {
		case classLD, classLDX:
			switch mode := in.Op & 0xe0; {
			case mode == modeABS && in.K >= metadata:
				if off := in.K - metadata; off != 4 && off != 8 && off != 44 && off != 48 {
					return bad("no metadata is there")
				}
			case mode == modeABS && in.K > farthest:
				return bad("reads relative to another header")
			case mode == modeMEM && (in.K >= 16 || words>>in.K&1 == 0):
				return bad("reads memory that was not written")
			case mode == modeMSH && in.Op != 0xb1:
				return bad("no such instruction")
			}
		case classST, classSTX:
			if in.K >= 16 {
				return bad("no such memory")
			}
			words |= 1 << in.K
		case classALU:
			switch op := in.Op & 0xf0; {
			case in.Op&sourceX != 0:
			case (op == 0x30 || op == 0x90) && in.K == 0:
				return bad("divides by zero")
			case (op == 0x60 || op == 0x70) && in.K >= 32:
				return bad("shifts too far")
			}
		case classJMP:
			to := []int{i + 1 + int(in.K)}
			if in.Op&0xf0 != 0 {
				to = []int{i + 1 + int(in.Jt), i + 1 + int(in.Jf)}
			}
			for _, to := range to {
				if to >= len(program) {
					return bad("leads out of the program")
				}
				stored[to] &= words
			}
			words = 0xffff
		case classRET:
			if in.Op != 0x06 && in.Op != 0x16 {
				return bad("no such return")
			}
			words = 0xffff
		}
	}
	return nil
}
