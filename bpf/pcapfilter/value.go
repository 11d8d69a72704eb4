package pcapfilter

import (
	"math"
	"math/bits"

	cbpf "golang.org/x/net/bpf"
)

type valueKind int

const (
	valueConstant  valueKind = iota // k
	valueLength                     // the frame's
	valueExtension                  // what the kernel says of the frame (ext)
	valueLoad                       // size bytes at k, or at base + k
	valueHeader                     // 4 * (the byte at k & 0xf): an IPv4 header's length
	valueBinary                     // base op right
	valueNegative                   // -base
)

// A value is a number of 32 bits that a program can work out. Values that are
// worked out in the same way are one, and the same pointer.
type value struct {
	key
	id  int
	max uint32 // the value is never larger
}

type key struct {
	kind        valueKind
	op          cbpf.ALUOp
	ext         cbpf.Extension
	size        int
	k           uint32
	base, right *value
}

// farthest is the last byte that a frame may have. The kernel takes offsets
// beyond for others (SKF_NET_OFF in linux/filter.h).
const farthest = math.MaxInt32

// values are the numbers that a filter works with.
type values struct {
	known map[key]*value
}

func (vs *values) get(k key, maximum uint32) *value {
	if v, ok := vs.known[k]; ok {
		return v
	}
	if vs.known == nil {
		vs.known = make(map[key]*value)
	}
	v := &value{key: k, id: len(vs.known), max: maximum}
	vs.known[k] = v
	return v
}

func (vs *values) constant(k uint32) *value { return vs.get(key{kind: valueConstant, k: k}, k) }

func (vs *values) length() *value { return vs.get(key{kind: valueLength}, math.MaxUint32) }

func (vs *values) extension(e cbpf.Extension) *value {
	return vs.get(key{kind: valueExtension, ext: e}, math.MaxUint32)
}

// header is the length of the IPv4 header at an offset.
func (vs *values) header(at uint32) *value {
	return vs.get(key{kind: valueHeader, k: at}, 4*0xf)
}

// load is what stands at an offset of the frame.
func (vs *values) load(at uint32, size int) *value {
	return vs.get(key{kind: valueLoad, size: size, k: at}, math.MaxUint32>>(32-8*size))
}

// loadBehind is what stands at an offset behind another, index. Two constants
// are added up by the rules of 32 bits, so that ip[-2:2] is the type of the frame
// and tcp[-1] the byte before the header, as in what libpcap's optimizer leaves.
func (vs *values) loadBehind(index *value, at uint32, size int) *value {
	if index.kind == valueConstant {
		return vs.load(index.k+at, size)
	}
	if index.kind == valueBinary && index.op == cbpf.ALUOpAdd && index.right.kind == valueConstant {
		base, sum := index.base, index.right.k+at
		if sum <= farthest && (base.kind == valueHeader || base.max <= math.MaxUint32-index.right.k) {
			index, at = base, sum
		}
	}
	return vs.get(key{kind: valueLoad, size: size, k: at, base: index}, math.MaxUint32>>(32-8*size))
}

func (vs *values) negative(v *value) *value {
	if v.kind == valueConstant {
		return vs.constant(-v.k)
	}
	return vs.get(key{kind: valueNegative, base: v}, math.MaxUint32)
}

// and is v & mask.
func (vs *values) and(v *value, mask uint32) *value {
	return vs.binary(cbpf.ALUOpAnd, v, vs.constant(mask))
}

// binary is a op b. What can be worked out now is; the caller sees to it that
// no constant divides by zero, or shifts by more than 31.
func (vs *values) binary(op cbpf.ALUOp, a, b *value) *value {
	if a.kind == valueConstant && b.kind == valueConstant {
		return vs.constant(calculate(op, a.k, b.k))
	}
	if commutes(op) && a.kind == valueConstant {
		a, b = b, a // an instruction has its constant on the right
	}
	if b.kind == valueConstant {
		switch {
		case b.k == 0 && (op == cbpf.ALUOpMul || op == cbpf.ALUOpAnd):
			return b
		case b.k == 0 && op != cbpf.ALUOpDiv && op != cbpf.ALUOpMod,
			b.k == 1 && (op == cbpf.ALUOpMul || op == cbpf.ALUOpDiv),
			op == cbpf.ALUOpAnd && b.k == math.MaxUint32:
			return a
		}
	}
	return vs.get(key{kind: valueBinary, op: op, base: a, right: b}, limit(op, a, b))
}

func commutes(op cbpf.ALUOp) bool {
	switch op {
	case cbpf.ALUOpAdd, cbpf.ALUOpMul, cbpf.ALUOpAnd, cbpf.ALUOpOr, cbpf.ALUOpXor:
		return true
	default:
		return false
	}
}

func calculate(op cbpf.ALUOp, a, b uint32) uint32 {
	switch op {
	case cbpf.ALUOpAdd:
		return a + b
	case cbpf.ALUOpSub:
		return a - b
	case cbpf.ALUOpMul:
		return a * b
	case cbpf.ALUOpDiv:
		return a / b
	case cbpf.ALUOpMod:
		return a % b
	case cbpf.ALUOpAnd:
		return a & b
	case cbpf.ALUOpOr:
		return a | b
	case cbpf.ALUOpXor:
		return a ^ b
	case cbpf.ALUOpShiftLeft:
		return a << b
	default:
		return a >> b
	}
}

// limit returns the most that a op b can be, or more.
func limit(op cbpf.ALUOp, a, b *value) uint32 {
	var most uint64
	switch op {
	case cbpf.ALUOpAdd:
		most = uint64(a.max) + uint64(b.max)
	case cbpf.ALUOpMul:
		most = uint64(a.max) * uint64(b.max)
	case cbpf.ALUOpAnd:
		most = uint64(min(a.max, b.max))
	case cbpf.ALUOpOr, cbpf.ALUOpXor:
		most = 1<<bits.Len32(a.max|b.max) - 1
	case cbpf.ALUOpDiv:
		most = uint64(a.max)
		if b.kind == valueConstant {
			most /= uint64(b.k)
		}
	case cbpf.ALUOpMod:
		most = uint64(min(a.max, b.max))
	case cbpf.ALUOpShiftLeft:
		most = math.MaxUint64
		if b.kind == valueConstant {
			most = uint64(a.max) << b.k
		}
	case cbpf.ALUOpShiftRight:
		most = uint64(a.max)
		if b.kind == valueConstant {
			most >>= b.k
		}
	default:
		most = math.MaxUint64
	}
	if most > math.MaxUint32 {
		return math.MaxUint32
	}
	return uint32(most)
}

// fails tells whether no frame has the value: it stands behind the end of all.
func (v *value) fails() bool {
	switch v.kind {
	case valueConstant, valueLength, valueExtension:
		return false
	case valueLoad, valueHeader:
		return v.k > farthest || v.base != nil && v.base.fails()
	case valueNegative:
		return v.base.fails()
	default:
		return v.base.fails() || v.right.fails()
	}
}

// free tells whether every frame has the value: nothing is read for it, and
// nothing divided.
func (v *value) free() bool {
	return v.kind == valueConstant || v.kind == valueLength || v.kind == valueExtension
}

// takesX tells whether register X is needed to work the value out.
func (v *value) takesX() bool {
	switch v.kind {
	case valueLoad:
		return v.base != nil
	case valueHeader:
		return true
	case valueBinary:
		return v.right.kind != valueConstant || v.base.takesX()
	case valueNegative:
		return v.base.takesX()
	default:
		return false
	}
}
