//go:build linux

package probe

import (
	"testing"
	"time"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
)

// byHardware is the RTT that the NIC's stamps tell of.
const byHardware = 900 * time.Microsecond

// A cycle sends a probe, and a millisecond later brings its stamps and its
// reply.
type cycle struct {
	*still
	reply  []byte
	events []Event
	frames [1]capture.Frame
	stamps [3]l2.Stamp
}

func newCycle(t testing.TB) *cycle {
	return newCycleOf(t, settings{interval: 10 * time.Millisecond, sent: true})
}

func newCycleOf(t testing.TB, s settings) *cycle {
	c := &cycle{still: newStill(t, s)}
	c.step()
	c.reply = replyTo(c.still.frames[0]).bytes()
	c.still.forget = true
	c.events = make([]Event, 0, 64)
	c.answer()
	return c
}

func (c *cycle) send() {
	c.pass(time.Duration(c.schedule.next - c.at.mono))
	c.step()
	c.still.events.flush()
}

// answer answers the probe that left last, by the one reply with other numbers
// in it.
func (c *cycle) answer() {
	n := c.stats.Sent
	sent := c.at.wall
	c.pass(time.Millisecond)
	b := c.reply
	b[icmpAt+6], b[icmpAt+7] = byte(n>>8), byte(n)
	for i := range 8 {
		b[icmpAt+16+i] = byte(n >> (56 - 8*i))
	}
	b[icmpAt+2], b[icmpAt+3] = 0, 0
	sum := slowChecksum(b[icmpAt:])
	b[icmpAt+2], b[icmpAt+3] = byte(sum>>8), byte(sum)
	c.stamps = [3]l2.Stamp{
		{ID: uint32(n), Point: l2.StampSched, Time: sent + int64(toSched)},
		{ID: uint32(n), Point: l2.StampDriver, Time: sent + int64(toDriver)},
		{ID: uint32(n), Point: l2.StampHardware, Time: nic(0)},
	}
	c.stampsIn = c.stamps[:]
	c.frames[0] = capture.Frame{Data: b, Length: len(b), Arrival: c.at.wall - int64(toUser), Hardware: nic(0) + int64(byHardware)}
	c.incoming = c.frames[:]
	c.step()
	c.still.events.flush()
}

// read takes what was told.
func (c *cycle) read() { c.events, _ = c.still.events.read(c.events[:0]) }

func (c *cycle) check(t testing.TB) {
	t.Helper()
	s := c.snapshot()
	rtt := time.Millisecond - toDriver - toUser
	if c.points.hardware {
		rtt = byHardware
	}
	if s.Received != s.Sent || s.Stamps[c.points.best()] != s.Sent || s.RTT.Max != rtt {
		t.Fatalf("of %d sent %d were received, %v by their stamps, RTT up to %v", s.Sent, s.Received, s.Stamps, s.RTT.Max)
	}
}

func TestSendDoesNotAllocate(t *testing.T) {
	c := newCycle(t)
	before := c.snapshot().Sent
	if n := testing.AllocsPerRun(1000, func() {
		c.send()
		c.read()
	}); n != 0 {
		t.Errorf("a step that sends a probe allocates %v times", n)
	}
	if sent := c.snapshot().Sent - before; sent != 1001 {
		t.Errorf("%d probes were sent in 1001 steps", sent)
	}
}

func TestReplyDoesNotAllocate(t *testing.T) {
	c := newCycle(t)
	c.read()
	if n := testing.AllocsPerRun(1000, func() {
		c.send()
		c.answer()
		c.read()
		if len(c.events) != 2 || c.events[0].Kind != Sent || c.events[1].Kind != Replied || c.events[1].Reply.RTTSource != l2.StampDriver {
			t.Fatalf("%d events", len(c.events))
		}
	}); n != 0 {
		t.Errorf("steps that send a probe and settle its reply allocate %v times", n)
	}
	c.check(t)
}

// In a flood the step that takes a reply sends the next probe.
func TestFloodDoesNotAllocate(t *testing.T) {
	for _, s := range []settings{
		{flood: true, sent: true},
		{flood: true, sent: true, hardware: true},
		{adaptive: true, sent: true},
	} {
		c := newCycleOf(t, s)
		c.read()
		if n := testing.AllocsPerRun(1000, func() {
			c.answer()
			c.read()
			if len(c.events) != 2 || c.events[0].Kind != Replied || c.events[1].Kind != Sent || c.events[1].Seq != c.events[0].Seq+1 {
				t.Fatalf("events %+v", c.events)
			}
		}); n != 0 {
			t.Errorf("flood %v, hardware %v: steps that settle a reply and send a probe allocate %v times", s.flood, s.hardware, n)
		}
		if s := c.snapshot(); s.Received != 1002 || s.Sent != 1003 || s.Stamps[c.points.best()] != 1002 || s.MaxOutstanding != 1 {
			t.Errorf("received %d of %d, stamps %v, %d out at once", s.Received, s.Sent, s.Stamps, s.MaxOutstanding)
		}
	}
}

// Nor does the step that takes a reply by the NIC's stamps.
func TestHardwareReplyDoesNotAllocate(t *testing.T) {
	c := newCycleOf(t, settings{interval: 10 * time.Millisecond, hardware: true})
	c.read()
	if n := testing.AllocsPerRun(1000, func() {
		c.send()
		c.answer()
		c.read()
	}); n != 0 {
		t.Errorf("steps that send a probe and settle its reply allocate %v times", n)
	}
	c.check(t)
}

// A probe that is lost, with its stamps read when it is.
func TestLossDoesNotAllocate(t *testing.T) {
	c := newCycleOf(t, settings{interval: 10 * time.Millisecond, timeout: 5 * time.Millisecond})
	c.read()
	var stamps [1]l2.Stamp
	if n := testing.AllocsPerRun(1000, func() {
		c.send()
		stamps[0] = l2.Stamp{ID: uint32(c.stats.Sent), Point: l2.StampDriver, Time: c.at.wall + int64(toDriver)}
		c.stampsIn = stamps[:]
		c.pass(5 * time.Millisecond)
		c.step()
		c.read()
		if len(c.events) != 1 || c.events[0].Kind != Lost {
			t.Fatalf("events %+v", c.events)
		}
	}); n != 0 {
		t.Errorf("steps that send a probe and lose it allocate %v times", n)
	}
	if s := c.snapshot(); s.Lost != 1001 || s.StampsLost != 0 || s.TimerError.Max != toDriver {
		t.Errorf("%d lost, %d stamps lost, timer error up to %v", s.Lost, s.StampsLost, s.TimerError.Max)
	}
}

func BenchmarkSendProbe(b *testing.B) {
	c := newCycle(b)
	b.ReportAllocs()
	for b.Loop() {
		c.send()
		c.read()
	}
}

// BenchmarkPairReply has the sending of the probe in it, and the checksum that
// the test computes over the reply.
func BenchmarkPairReply(b *testing.B) {
	c := newCycle(b)
	b.ReportAllocs()
	for b.Loop() {
		c.send()
		c.answer()
		c.read()
	}
	b.StopTimer()
	c.check(b)
}
