//go:build linux

package probe

// fate is how a probe has ended.
type fate uint8

const (
	fatePending fate = iota
	fateReplied
	fateLost
	fateFailed
	fateLate   // lost or failed, and answered afterwards
	fateSilent // nobody was to answer
)

// An entry is what is remembered of a probe.
type entry struct {
	n   uint64 // its number; 0: the entry is empty
	due int64  // when it was to leave
	departure
	checksum uint16 // of the ICMP message, as an ICMP error quotes it
	fate     fate
	left     bool // it was handed to the interface
	judged   bool // its departure is in the statistics
}

// A table remembers the latest probes. Its size is fixed.
type table struct {
	entries []entry // a power of two
}

// maxOutstanding is how many probes can be told apart by a 16-bit sequence
// number.
const maxOutstanding = 1 << 16

// newTable makes room for so many outstanding probes and about as many that
// have ended, for late replies and duplicates; for least, a power of two, in all
// at the least.
func newTable(outstanding, least int64) table {
	size := least
	for size < 2*outstanding && size < maxOutstanding {
		size *= 2
	}
	return table{entries: make([]entry, size)}
}

// slot is where probe n is, or will be.
func (t table) slot(n uint64) *entry { return &t.entries[t.place(n)] }

// place is the number of probe n's slot.
func (t table) place(n uint64) uint64 { return n & uint64(len(t.entries)-1) }

// get returns the entry of probe n, nil if it is not remembered.
func (t table) get(n uint64) *entry {
	e := t.slot(n)
	if n == 0 || e.n != n {
		return nil
	}
	return e
}

// latest returns the greatest number up to last whose low bits are those given,
// 0 if there is none.
func latest(last, low uint64, bits uint) uint64 {
	span := uint64(1) << bits
	n := last&^(span-1) | low
	if n > last {
		if n < span {
			return 0
		}
		n -= span
	}
	return n
}
