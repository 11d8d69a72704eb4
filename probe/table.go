//go:build linux

package probe

import "time"

// An instant is one moment by two clocks, in nanoseconds.
type instant struct {
	mono int64 // CLOCK_MONOTONIC, since the run began
	wall int64 // CLOCK_REALTIME, since the Unix epoch
}

// readWithin is how far apart in nanoseconds the two clocks of an instant may
// have been read, and readTries how often that is tried: a thread that loses its
// CPU between them would seem to see a step.
const (
	readWithin = 20_000
	readTries  = 4
)

// readClocks reads both clocks; base is when the run began.
func readClocks(base time.Time) instant {
	var i instant
	for range readTries {
		before := time.Since(base)
		t := time.Now() // both clocks, CLOCK_REALTIME first
		i = instant{mono: int64(t.Sub(base)), wall: t.UnixNano()}
		if i.mono-int64(before) < readWithin {
			break
		}
	}
	return i
}

// stepped tells whether CLOCK_REALTIME was set between two instants. The kernel
// slews it by at most 500 ppm (adjtimex(2)), and the two clocks are read within
// readWithin of each other.
func stepped(from, to instant) bool {
	mono := to.mono - from.mono
	diff := (to.wall - from.wall) - mono
	return max(diff, -diff) > 50_000+mono/1000
}

// fate is how a probe has ended.
type fate uint8

const (
	fatePending fate = iota
	fateReplied
	fateLost
	fateFailed
	fateLate // lost or failed, and answered afterwards
)

// An entry is what is remembered of a probe.
type entry struct {
	n    uint64 // its number; 0: the entry is empty
	sent instant
	// Departure stamps by CLOCK_REALTIME, 0 while there is none.
	sched, driver int64
	checksum      uint16 // of the ICMP message, as an ICMP error quotes it
	fate          fate
}

// A table remembers the latest probes. Its size is fixed.
type table struct {
	entries []entry // a power of two
}

// maxOutstanding is how many probes can be told apart by a 16-bit sequence
// number.
const maxOutstanding = 1 << 16

// newTable makes room for so many outstanding probes and about as many that
// have ended, for late replies and duplicates.
func newTable(outstanding int64) table {
	size := int64(64)
	for size < 2*outstanding && size < maxOutstanding {
		size *= 2
	}
	return table{entries: make([]entry, size)}
}

// slot is where probe n is, or will be.
func (t table) slot(n uint64) *entry { return &t.entries[n&uint64(len(t.entries)-1)] }

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
