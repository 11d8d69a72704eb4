package pcapfilter

import (
	"cmp"
	"math"
	"slices"

	cbpf "golang.org/x/net/bpf"
)

// facts are what is known of a frame where a program has come to: what the tests
// on all ways there have shown. They are never changed, but made anew.
type facts struct {
	values  []valueFact  // by the value's id
	answers []answerFact // by the test's id; of tests that valueFact cannot tell
}

// A valueFact is of a value that has been worked out: it lies in low..high, and
// is none of not.
type valueFact struct {
	value     *value
	low, high uint32
	not       []uint32
}

type answerFact struct {
	test *test
	yes  bool
}

// Facts are forgotten beyond these numbers: they only ever save a test.
const (
	mostValues  = 32
	mostNot     = 16
	mostAnswers = 16
)

func (f *facts) find(v *value) (valueFact, int, bool) {
	i, ok := slices.BinarySearchFunc(f.values, v.id, func(a valueFact, id int) int { return cmp.Compare(a.value.id, id) })
	if !ok {
		return valueFact{}, i, false
	}
	return f.values[i], i, true
}

// seen tells whether a value has been worked out, so that the frame has it.
func (f *facts) seen(v *value) bool {
	if v.free() {
		return true
	}
	_, _, ok := f.find(v)
	return ok
}

// rangeOf returns what is known of a value that has been worked out, or can be
// told from another that has.
func (f *facts) rangeOf(v *value) (valueFact, bool) {
	fact, _, ok := f.find(v)
	if !ok && v.kind == valueBinary && v.right.kind == valueConstant {
		if of, _, found := f.find(v.base); found && of.low == of.high {
			if zero := v.right.k == 0 && (v.op == cbpf.ALUOpDiv || v.op == cbpf.ALUOpMod); !zero {
				n := calculate(v.op, of.low, v.right.k)
				return valueFact{value: v, low: n, high: n}, true
			}
		}
	}
	if !ok && v.free() {
		return valueFact{value: v, high: v.max}, true
	}
	return fact, ok
}

// answer tells what a test shows, if that is known.
func (f *facts) answer(t *test) (yes, known bool) {
	if i, ok := slices.BinarySearchFunc(f.answers, t.id, func(a answerFact, id int) int { return cmp.Compare(a.test.id, id) }); ok {
		return f.answers[i].yes, true
	}
	if t.with != nil {
		return false, false
	}
	fact, ok := f.rangeOf(t.value)
	if !ok {
		return false, false
	}
	switch t.cond {
	case cbpf.JumpEqual:
		if t.k < fact.low || t.k > fact.high || slices.Contains(fact.not, t.k) {
			return false, true
		}
		return true, fact.low == fact.high
	case cbpf.JumpGreaterThan:
		if fact.low > t.k {
			return true, true
		}
		return false, fact.high <= t.k
	case cbpf.JumpGreaterOrEqual:
		if fact.low >= t.k {
			return true, true
		}
		return false, fact.high < t.k
	default: // JumpBitsSet
		if fact.low == fact.high {
			return fact.low&t.k != 0, true
		}
		return false, false
	}
}

// learn returns the facts after a test has shown yes or no.
func (f *facts) learn(t *test, yes bool) *facts {
	after := &facts{values: f.values, answers: f.answers}
	if t.with != nil || t.cond == cbpf.JumpBitsSet {
		after.answers = learnAnswer(f.answers, t, yes)
	}
	after.learnValue(t, yes)
	if t.with != nil && !t.with.free() {
		after.see(t.with)
	}
	return after
}

func learnAnswer(list []answerFact, t *test, yes bool) []answerFact {
	i, ok := slices.BinarySearchFunc(list, t.id, func(a answerFact, id int) int { return cmp.Compare(a.test.id, id) })
	if ok || len(list) >= mostAnswers {
		return list
	}
	return slices.Insert(slices.Clone(list), i, answerFact{t, yes})
}

// see adds a value of which nothing is known but that it has been worked out.
func (f *facts) see(v *value) {
	if _, i, ok := f.find(v); !ok && len(f.values) < mostValues {
		f.values = slices.Insert(slices.Clone(f.values), i, valueFact{value: v, high: v.max})
	}
}

func (f *facts) learnValue(t *test, yes bool) {
	f.see(t.value)
	fact, i, ok := f.find(t.value)
	if !ok || t.with != nil {
		return
	}
	low, high := fact.low, fact.high
	switch {
	case t.cond == cbpf.JumpEqual && yes:
		low, high = t.k, t.k
	case t.cond == cbpf.JumpEqual:
		if !slices.Contains(fact.not, t.k) {
			fact.not = append(slices.Clone(fact.not[max(0, len(fact.not)-mostNot+1):]), t.k)
		}
	case t.cond == cbpf.JumpGreaterThan && yes && t.k < math.MaxUint32:
		low = max(low, t.k+1)
	case t.cond == cbpf.JumpGreaterThan && !yes:
		high = min(high, t.k)
	case t.cond == cbpf.JumpGreaterOrEqual && yes:
		low = max(low, t.k)
	case t.cond == cbpf.JumpGreaterOrEqual && !yes && t.k > 0:
		high = min(high, t.k-1)
	}
	// What cannot be is not learnt: nothing comes this way.
	if low <= high {
		fact.low, fact.high = low, high
	}
	f.values = slices.Clone(f.values)
	f.values[i] = fact
}

// common returns the facts that hold on two ways alike. One may be nil, which
// is no way.
func common(a, b *facts) *facts {
	if a == nil {
		return b
	}
	if b == nil || a == b {
		return a
	}
	both := &facts{}
	for i, j := 0, 0; i < len(a.values) && j < len(b.values); {
		x, y := a.values[i], b.values[j]
		switch {
		case x.value.id < y.value.id:
			i++
		case x.value.id > y.value.id:
			j++
		default:
			one := valueFact{value: x.value, low: min(x.low, y.low), high: max(x.high, y.high)}
			for _, n := range x.not {
				if slices.Contains(y.not, n) || n < y.low || n > y.high {
					one.not = append(one.not, n)
				}
			}
			for _, n := range y.not {
				if (n < x.low || n > x.high) && len(one.not) < mostNot {
					one.not = append(one.not, n)
				}
			}
			both.values = append(both.values, one)
			i, j = i+1, j+1
		}
	}
	for i, j := 0, 0; i < len(a.answers) && j < len(b.answers); {
		x, y := a.answers[i], b.answers[j]
		switch {
		case x.test.id < y.test.id:
			i++
		case x.test.id > y.test.id:
			j++
		default:
			if x.yes == y.yes {
				both.answers = append(both.answers, x)
			}
			i, j = i+1, j+1
		}
	}
	return both
}
