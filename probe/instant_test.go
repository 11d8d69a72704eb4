//go:build linux

package probe

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestReadClocks holds readings of the clocks against those taken around them.
func TestReadClocks(t *testing.T) {
	base := time.Now()
	var last instant
	for range 20_000 {
		before := time.Now()
		i := readClocks(base)
		after := time.Now()
		from, to := int64(before.Sub(base)), int64(after.Sub(base))
		if i.mono < from || i.mono > to || i.mono < last.mono {
			t.Fatalf("read %d between %d and %d, after %d", i.mono, from, to, last.mono)
		}
		// Both ends of what is said to be apart are in between, and so is the
		// other clock.
		if i.apart < 0 || i.mono-i.apart < from {
			t.Fatalf("the clocks were read %d ns apart, in %d ns", i.apart, to-from)
		}
		if (i.wall < before.UnixNano() || i.wall > after.UnixNano()) && !stepped(instant{from, before.UnixNano(), to - from}, instant{to, after.UnixNano(), to - from}) {
			t.Fatalf("CLOCK_REALTIME is read as %d, between %d and %d", i.wall, before.UnixNano(), after.UnixNano())
		}
		last = i
	}
}

// TestReadClocksTogether: where reading takes no time the clocks are read at one
// moment.
func TestReadClocksTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := time.Now()
		time.Sleep(time.Hour)
		want := instant{mono: int64(time.Hour), wall: time.Now().UnixNano()}
		if got := readClocks(base); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func TestStepped(t *testing.T) {
	const wall = int64(1_700_000_000_000_000_000)
	for _, tt := range []struct {
		name         string
		first, apart int64 // how far apart the clocks were read at either end
		took, by     int64 // how long it was, and how far the clock was set
		want         bool
	}{
		{"nothing", 0, 0, 1e6, 0, false},
		{"nothing, in no time", 0, 0, 0, 0, false},
		{"a nanosecond on", 0, 0, 1e6, 1, true},
		{"a nanosecond back", 0, 0, 1e6, -1, true},
		{"on, just within", 300, 400, 1e9, 700, false},
		{"on, just not", 300, 400, 1e9, 701, true},
		{"back, just within", 300, 400, 1e9, -700, false},
		{"back, just not", 300, 400, 1e9, -701, true},
		{"one end alone", 0, 2000, 1e9, 2000, false},
		{"one end alone, just not", 2000, 0, 1e9, -2001, true},
		{"a year on", 1000, 1000, 1e9, 365 * 86400e9, true},
		{"to 1970", 1000, 1000, 1e9, -wall, true},
		{"after a year", 1000, 1000, 365 * 86400e9, 2001, true},
	} {
		from := instant{mono: 5e9, wall: wall, apart: tt.first}
		to := instant{mono: from.mono + tt.took, wall: wall + tt.took + tt.by, apart: tt.apart}
		if stepped(from, to) != tt.want {
			t.Errorf("%s: stepped is %v", tt.name, !tt.want)
		}
	}
	// Clocks that were read up to so far apart never seem to step, and one that
	// was set by more than twice that always does.
	random := rand.New(rand.NewPCG(16, 17))
	read := func(at int64) instant {
		apart := random.Int64N(2 * readWithin)
		// The wall is read at some moment in between.
		return instant{mono: at, wall: wall + at - random.Int64N(apart+1), apart: apart}
	}
	for range 100_000 {
		at := random.Int64N(1e12)
		from, to := read(at), read(at+random.Int64N(1e12))
		if stepped(from, to) {
			t.Fatalf("no step from %+v to %+v", from, to)
		}
		by := 2*(from.apart+to.apart) + 1 + random.Int64N(1e6)
		if random.IntN(2) == 0 {
			by = -by
		}
		to.wall += by
		if !stepped(from, to) {
			t.Fatalf("a step by %d from %+v to %+v", by, from, to)
		}
	}
}

// TestStepWithinDoubt: with clocks that cannot be read together what is no step
// for sure is none.
func TestStepWithinDoubt(t *testing.T) {
	const us = time.Microsecond
	for _, by := range []time.Duration{3 * us, 3*us + 1, -3 * us, -3*us - 1} {
		inWorld(t, settings{count: 1}, func(t *testing.T, w *world) {
			var apart atomic.Int64
			apart.Store(int64(us))
			w.now = func() instant {
				return instant{mono: int64(w.clock()), wall: w.wall(), apart: apart.Load()}
			}
			w.at(100*us, func() { w.skew.Store(int64(by)); apart.Store(int64(2 * us)) })
			w.expect("1 replied")
			r := w.log[0].Reply
			step := by > 3*us || by < -3*us
			if r.ClockStepped != step {
				t.Errorf("set by %v: stepped %v", by, r.ClockStepped)
			}
			// A step that is not seen is in the RTT by the kernel's stamps.
			want := time.Millisecond + by
			if step {
				want = userRTT(time.Millisecond)
			}
			if r.RTT != want {
				t.Errorf("set by %v: RTT %v, want %v", by, r.RTT, want)
			}
		})
	}
}
