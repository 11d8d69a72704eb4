//go:build linux

package probe

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
)

// A round is an engine with many targets and no goroutine: next moves the clock to
// the next probe, which is answered at once. Nothing of it allocates.
type round struct {
	*crowd
	at     instant
	turn   func() (wait time.Duration, stamps, done bool)
	wait   time.Duration
	events []Event

	replies [2 * burst][128]byte
	frames  [2 * burst]capture.Frame
	stamps  [2 * burst]l2.Stamp
	n       int // replies that are to be received
	stamped int // stamps that are to be read
}

// newRound returns a round in which each of n targets has answered twice: what a
// target takes of memory, it has by then.
func newRound(t testing.TB, n int) *round {
	r := &round{
		crowd:  newCrowd(t, n, Config{}, 0),
		at:     instant{mono: 1, wall: 1_700_000_000_000_000_000},
		events: make([]Event, 0, n+1024),
	}
	r.engine.wire, r.engine.now, r.engine.events = r, func() instant { return r.at }, newRing(ringSize, n)
	if err := r.engine.run(); err != nil {
		t.Fatal(err)
	}
	for range 2 * n {
		r.next()
	}
	return r
}

func (r *round) Run(turn func() (time.Duration, bool, bool)) error {
	r.turn = turn
	return nil
}

func (r *round) pass(d time.Duration) {
	r.at.mono += int64(d)
	r.at.wall += int64(d)
}

// next sends a probe and takes its reply. What was told is read now and then.
func (r *round) next() {
	for last := r.outbox.last; r.outbox.last == last; {
		r.pass(r.wait)
		r.wait, _, _ = r.turn()
	}
	if r.outbox.last%256 == 0 && r.engine.events.unread() {
		r.events, _ = r.engine.events.read(r.events[:0])
	}
}

// Send turns the request into its reply, as Linux does.
func (r *round) Send(b []byte, id uint32) error {
	r.stamps[r.stamped] = l2.Stamp{ID: id, Point: l2.StampDriver, Time: r.at.wall + int64(toDriver)}
	r.stamped++
	r.pass(20 * time.Microsecond)
	reply := r.replies[r.n][:copy(r.replies[r.n][:], b)]
	copy(reply, b[6:12])
	copy(reply[6:], b[:6])
	copy(reply[26:], b[30:34])
	copy(reply[30:], b[26:30])
	reply[icmpAt] = 0
	sum := uint32(binary.BigEndian.Uint16(b[icmpAt+2:])) + 8<<8 // RFC 1624
	binary.BigEndian.PutUint16(reply[icmpAt+2:], uint16(sum+sum>>16))
	r.frames[r.n] = capture.Frame{Data: reply, Length: len(reply), Arrival: r.at.wall - int64(toUser)}
	r.n++
	return nil
}

func (r *round) Receive(frames []capture.Frame) (int, error) {
	n := copy(frames, r.frames[:r.n])
	r.n = copy(r.frames[:], r.frames[n:r.n])
	return n, nil
}

func (r *round) ReadStamps(stamps []l2.Stamp) (int, bool, error) {
	n := copy(stamps, r.stamps[:r.stamped])
	r.stamped = copy(r.stamps[:], r.stamps[n:r.stamped])
	return n, r.stamped > 0, nil
}

// check holds that each target had its probes, and each probe its reply.
func (r *round) check(t testing.TB, probes int) {
	t.Helper()
	s := r.snapshot()
	rtt := 20*time.Microsecond - toDriver - toUser
	if s.Sent != uint64(probes) || s.Received != s.Sent || s.Stamps[l2.StampDriver] != s.Sent || s.RTT.Max != rtt ||
		s.EventsDropped != 0 || s.Answered != len(r.targets) {
		t.Fatalf("of %d probes, %s", probes, brief(&s))
	}
	least, most := s.Sent, uint64(0)
	for _, tgt := range r.targets {
		least, most = min(least, tgt.stats.Sent), max(most, tgt.stats.Sent)
	}
	if most-least > 1 {
		t.Fatalf("%d probes went to one target and %d to another", least, most)
	}
}

func TestTargetsDoNotAllocate(t *testing.T) {
	const n = 1000
	r := newRound(t, n)
	if allocs := testing.AllocsPerRun(5*n, r.next); allocs != 0 {
		t.Errorf("a probe to one of %d targets and its reply allocate %v times", n, allocs)
	}
	r.check(t, 2*n+5*n+1)
}

// BenchmarkTargets is what a probe and its reply cost beside the system calls, at
// one probe a second to each target, and what memory a target takes. In that is
// its share of what all have in common.
func BenchmarkTargets(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			before := heap()
			r := newRound(b, n)
			bytes := float64(heap()-before) / float64(n)
			b.ReportAllocs()
			probes := 2 * n
			for b.Loop() {
				r.next()
				probes++
			}
			b.ReportMetric(bytes, "B/target")
			r.check(b, probes)
		})
	}
}

// heap is how many bytes are in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
