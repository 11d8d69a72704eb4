package craft

import (
	"math"
	"math/bits"
)

// A value is what one field holds in one frame.
type value struct {
	num    uint64    // of numbers and flags
	data   []byte    // of addresses, bytes and names: as they are sent
	list   [][]byte  // of lists of addresses or strings
	chains [][]*node // of lists of layers; data has what is there by default
}

// A set is what a field may hold, in order: nil for what is left out.
type set []span

// A span is consecutive values: n of them from first on, addresses one apart,
// numbers step apart.
type span struct {
	first value
	n     uint64 // at least 1; math.MaxUint64 also stands for more
	step  uint64
}

// size is how many values there are, at most math.MaxUint64.
func (s set) size() uint64 {
	total := uint64(0)
	for _, r := range s {
		sum, carry := bits.Add64(total, r.n, 0)
		if carry != 0 {
			return math.MaxUint64
		}
		total = sum
	}
	return total
}

// multiply multiplies counts, at most to math.MaxUint64.
func multiply(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	if hi != 0 {
		return math.MaxUint64
	}
	return lo
}

// A cursor walks through a set.
type cursor struct {
	set  set
	span int
	at   uint64 // within the span
	now  value  // good until the next
	own  []byte // its address
}

func newCursor(s set) cursor { return cursor{set: s, now: s[0].first} }

// advance goes to the next value. After the last comes the first again, and
// false.
func (c *cursor) advance() bool {
	r := &c.set[c.span]
	if c.at++; c.at < r.n {
		if c.now.data != nil {
			c.own = append(c.own[:0], c.now.data...)
			increment(c.own)
			c.now.data = c.own
		} else {
			c.now.num += r.step
		}
		return true
	}
	c.at = 0
	c.span++
	more := c.span < len(c.set)
	if !more {
		c.span = 0
	}
	c.now = c.set[c.span].first
	return more
}

// increment makes an address the one that follows.
func increment(a []byte) {
	for i := len(a) - 1; i >= 0; i-- {
		if a[i]++; a[i] != 0 {
			return
		}
	}
}
