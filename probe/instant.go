//go:build linux

package probe

import "time"

// An instant is one moment by two clocks, in nanoseconds.
type instant struct {
	mono int64 // CLOCK_MONOTONIC, since the run began
	wall int64 // CLOCK_REALTIME, since the Unix epoch
	// apart is how far apart the two may have been read.
	apart int64
}

// readWithin is how far apart the two clocks of an instant are to be read, and
// readTries how often that is tried: a thread that loses its CPU between them
// would seem to see a step.
const (
	readWithin = 2_000
	readTries  = 4
)

// readClocks reads both clocks; base is when the run began.
func readClocks(base time.Time) instant {
	var best instant
	for try := range readTries {
		before := time.Since(base)
		t := time.Now() // both clocks, CLOCK_REALTIME first
		i := instant{mono: int64(t.Sub(base)), wall: t.UnixNano()}
		i.apart = i.mono - int64(before)
		if try == 0 || i.apart < best.apart {
			best = i
		}
		if best.apart < readWithin {
			break
		}
	}
	return best
}

// stepped tells whether CLOCK_REALTIME was set between two instants. Slewing
// (adjtimex(2)) moves both clocks alike; nothing but a step changes their
// difference, and that is known but for how far apart they were read.
func stepped(from, to instant) bool {
	diff := (to.wall - from.wall) - (to.mono - from.mono)
	return max(diff, -diff) > from.apart+to.apart
}
