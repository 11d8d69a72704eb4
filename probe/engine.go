//go:build linux

package probe

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// A wire is the way out and the way in, and the wait for either.
type wire interface {
	// Send, ReadStamps and Receive are those of l2.Link and capture.Socket:
	// none of them blocks.
	Send(frame []byte, id uint32) error
	ReadStamps([]l2.Stamp) (n int, more bool, err error)
	Receive([]capture.Frame) (int, error)
	// Wait returns after d, when a frame has come, with stamps also when a
	// departure stamp has, or when it likes.
	Wait(d time.Duration, stamps bool) error
}

// neighbors knows the next hop: an arp.Resolver.
type neighbors interface {
	Snapshot() (arp.Neighbor, arp.Status)
	Doubt()
}

// A linkState knows whether the interface can carry anything: an l2.Watch.
type linkState interface {
	Err() error
}

const (
	// stampPatience is how long a reply is held for a departure stamp that
	// has not come; patience ends when patienceTries in a row did not.
	stampPatience = 10 * time.Millisecond
	patienceTries = 8
	// unreadStamps is after how many probes the error queue is read though
	// nobody asks, so that it does not fill with the stamps of lost ones.
	unreadStamps = 64
	// catchUp is how far behind its schedule the engine may fall, because
	// the process did not run, and still send every probe; beyond that the
	// places in between are skipped, and counted.
	catchUp = 100 * time.Millisecond
	// doubtAfter is how many losses in a row cast doubt on the MAC.
	doubtAfter = 2
	// burst is how many probes leave before replies are looked at.
	burst = 32
)

// An engine sends, receives, pairs and counts. One goroutine runs it; only stop
// and snapshot may be called from others.
type engine struct {
	wire      wire
	neighbors neighbors
	link      linkState
	now       func() instant
	events    *ring

	target    *target
	count     uint64
	interval  int64 // nanoseconds, as all times here
	timeout   int64
	deadline  int64         // by the run's clock; 0 is none
	departure l2.StampPoint // the best departure stamp to be had; StampUser: none
	sentToo   bool          // yield Sent events

	stopped atomic.Bool
	mu      sync.Mutex // guards stats against snapshot
	stats   Statistics

	table     table
	next      int64  // when the next probe is due
	first     int64  // when the first was sent
	oldest    uint64 // no probe before this one is pending
	highest   uint64 // the highest probe that was answered
	losses    int    // in a row
	mac       frame.MAC
	held      []arrival
	impatient int    // replies in a row whose stamp did not come in time
	unread    uint64 // probes since the error queue was read

	frames []capture.Frame
	stamps []l2.Stamp
}

// A target is who is probed, and how.
type target struct {
	address    netip.Addr
	template   *frame.EchoTemplate
	match      bpf.Match
	noNeighbor error // what to say without a MAC
	sendError  func(error) error
	dataLen    int
}

// An arrival is a reply that waits for its probe's departure stamps.
type arrival struct {
	n     uint64
	reply Reply
	stamp int64 // by CLOCK_REALTIME, 0 if there is none
	sent  instant
	got   instant
	until int64
}

// init makes an engine ready whose exported parts are set.
func (e *engine) init() {
	// As many are out at once as the timeout holds, and those of a catch-up.
	e.table = newTable((e.timeout+int64(catchUp))/e.interval + 1)
	e.oldest = 1
	e.held = make([]arrival, 0, 256)
	e.frames = make([]capture.Frame, capture.MinFrames)
	e.stamps = make([]l2.Stamp, l2.MinStamps)
	e.stats.Address = e.target.address
}

// stop ends the run; the caller wakes the wire.
func (e *engine) stop() { e.stopped.Store(true) }

// snapshot returns the statistics so far.
func (e *engine) snapshot() Statistics {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.Pending = s.Sent - s.Received - s.Lost - s.Errors
	s.EventsDropped = e.events.drops()
	return s
}

// addKernelCounts adds what the kernel alone has seen.
func (e *engine) addKernelCounts(filter *bpf.Filter, in *capture.Socket) {
	rejected, counted := filter.Rejected()
	drops, _ := in.Drops()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.Rejected += rejected
	e.stats.RejectedInKernel = counted
	e.stats.KernelDrops = drops
}

// run does the whole run.
func (e *engine) run() error {
	e.next = e.now().mono
	for {
		wait, done := e.step()
		e.events.flush()
		if done {
			return nil
		}
		if err := e.wire.Wait(wait, len(e.held) > 0); err != nil {
			return err
		}
	}
}

// step does what is due and returns how long there is nothing to do.
func (e *engine) step() (wait time.Duration, done bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	// What came before this moment is read before it decides what is lost.
	now := e.now()
	e.receive()
	e.readStamps()
	e.settle(e.now())
	e.expire(now)
	if e.done(now) {
		// What has been counted is told, whichever stamps it lacks.
		e.settle(instant{mono: math.MaxInt64})
		return 0, true
	}
	e.send()
	return e.wait(), false
}

// done tells whether the run is over.
func (e *engine) done(now instant) bool {
	s := &e.stats
	switch {
	case e.stopped.Load():
		return true
	case s.Sent == 0:
		return false // whatever time resolution took, one probe is tried
	case e.deadline != 0 && (now.mono >= e.deadline || s.Errors+s.LateErrors > 0):
		return true
	case e.count == 0 || len(e.held) > 0:
		return false
	case e.deadline != 0:
		return s.Received+s.Late >= e.count
	}
	return s.Sent >= e.count && e.oldest > s.Sent
}

// sending tells whether another probe is to be sent.
func (e *engine) sending() bool {
	if e.count == 0 {
		return true
	}
	if e.deadline != 0 {
		return e.stats.Received+e.stats.Late < e.count
	}
	return e.stats.Sent < e.count
}

// wait is the time until something is due.
func (e *engine) wait() time.Duration {
	at := int64(MaxDuration) * 2
	if e.sending() {
		at = e.next
	}
	if e.deadline != 0 {
		at = min(at, e.deadline)
	}
	if e.oldest <= e.stats.Sent {
		p := e.table.get(e.oldest)
		if p == nil || p.fate != fatePending {
			return 0 // it failed on its way out: it may have been the last
		}
		at = min(at, p.sent.mono+e.timeout)
	}
	if len(e.held) > 0 {
		at = min(at, e.held[0].until)
	}
	return time.Duration(max(at-e.now().mono, 0))
}

// send sends what is due.
func (e *engine) send() {
	for range burst {
		now := e.now()
		if !e.sending() || now.mono < e.next {
			return
		}
		if behind := now.mono - e.next; behind > int64(catchUp) && behind > e.interval {
			skip := behind / e.interval
			e.next += skip * e.interval
			e.stats.Skipped += uint64(skip)
		}
		e.sendOne(now)
		e.next += e.interval
	}
}

func (e *engine) sendOne(now instant) {
	n := e.stats.Sent + 1
	p := e.table.slot(n)
	if p.n != 0 && p.fate == fatePending {
		e.lose(p, now) // only with a table that is too small for its run
	}
	*p = entry{n: n, sent: now}
	e.stats.Sent = n
	if n == 1 {
		e.first = now.mono
	}
	e.stats.Duration = time.Duration(now.mono - e.first)
	if e.sentToo {
		e.events.push(&Event{Kind: Sent, Time: time.Unix(0, now.wall), Address: e.stats.Address, Seq: n})
	}
	if err := e.transmit(p); err != nil {
		p.fate = fateFailed
		e.fail(p, now, Failure{Local: err})
	}
}

// transmit sends one probe, or says why not. It does not allocate where it
// succeeds.
func (e *engine) transmit(p *entry) error {
	if err := e.link.Err(); err != nil {
		return err
	}
	neighbor, _ := e.neighbors.Snapshot()
	if !neighbor.Known() {
		return e.target.noNeighbor
	}
	if neighbor.MAC != e.mac {
		e.mac = neighbor.MAC
		e.target.template.SetDstMAC(e.mac)
	}
	b := e.target.template.Patch(p.n)
	p.checksum = e.target.template.Checksum()
	e.unread++
	p.sent = e.now()
	if err := e.wire.Send(b, uint32(p.n)); err != nil {
		return e.target.sendError(err)
	}
	return nil
}

// receive reads and pairs all frames that have come.
func (e *engine) receive() {
	for {
		// An interface that went down says so once; link tells it at the
		// next probe.
		n, _ := e.wire.Receive(e.frames)
		got := e.now()
		for i := range n {
			e.pair(&e.frames[i], got)
		}
		if n < capture.MinFrames {
			return
		}
	}
}

// readStamps reads departure stamps if a reply waits for them, or if many lie
// unread.
func (e *engine) readStamps() {
	if e.departure == l2.StampUser || len(e.held) == 0 && e.unread < unreadStamps {
		return
	}
	e.unread = 0
	for {
		n, more, _ := e.wire.ReadStamps(e.stamps)
		for _, s := range e.stamps[:n] {
			p := e.table.get(latest(e.stats.Sent, uint64(s.ID), 32))
			if p == nil {
				continue
			}
			switch s.Point {
			case l2.StampSched:
				p.sched = s.Time
			case l2.StampDriver:
				p.driver = s.Time
			}
		}
		if !more {
			return
		}
	}
}

// settle yields the replies that have their stamps, or have waited long enough,
// in the order in which they came.
func (e *engine) settle(now instant) {
	i := 0
	for ; i < len(e.held); i++ {
		a := &e.held[i]
		p := e.table.get(a.n)
		if e.lacksStamp(p, a) {
			if now.mono < a.until {
				break
			}
			e.impatient++
		} else {
			e.impatient = 0
		}
		e.replied(p, a)
	}
	e.held = append(e.held[:0], e.held[i:]...)
}

// lacksStamp tells whether a reply's probe has yet to get its best departure
// stamp.
func (e *engine) lacksStamp(p *entry, a *arrival) bool {
	switch {
	case p == nil || a.stamp == 0:
		return false
	case e.departure == l2.StampDriver:
		return p.driver == 0
	case e.departure == l2.StampSched:
		return p.sched == 0
	}
	return false
}

// replied works out a reply's times and yields it.
func (e *engine) replied(p *entry, a *arrival) {
	r := &a.reply
	r.Budget = Budget{Unknown, Unknown, Unknown, Unknown}
	at := a.got.wall
	if p == nil {
		p = &entry{} // forgotten meanwhile
	}
	e.times(p, a)
	if a.stamp != 0 {
		at = a.stamp
	}
	switch r.State {
	case StateReplied, StateReordered, StateLate:
		e.stats.RTT.add(r.RTT)
		e.stats.Stamps[r.RTTSource]++
	}
	e.events.push(&Event{Kind: Replied, Time: time.Unix(0, at), Address: e.stats.Address, Seq: a.n, Reply: *r})
}

// times takes the RTT from the best pair of stamps by one clock, and the parts
// of the budget that have both their ends.
func (e *engine) times(p *entry, a *arrival) {
	r := &a.reply
	r.RTT, r.RTTSource = time.Duration(a.got.mono-a.sent.mono), l2.StampUser
	// A step of CLOCK_REALTIME between the stamps would be in their
	// difference.
	if e.departure == l2.StampUser || stepped(a.sent, a.got) {
		return
	}
	switch {
	case a.stamp == 0:
	case p.driver != 0 && a.stamp >= p.driver:
		r.RTT, r.RTTSource = time.Duration(a.stamp-p.driver), l2.StampDriver
		r.Budget.Wire = r.RTT
	case p.sched != 0 && a.stamp >= p.sched:
		r.RTT, r.RTTSource = time.Duration(a.stamp-p.sched), l2.StampSched
	}
	b := &r.Budget
	if p.sched != 0 {
		b.Send = max(time.Duration(p.sched-a.sent.wall), 0)
		if p.driver != 0 {
			b.Queue = max(time.Duration(p.driver-p.sched), 0)
		}
	}
	if a.stamp != 0 {
		b.Receive = max(time.Duration(a.got.wall-a.stamp), 0)
	}
}

// expire gives up the probes whose timeout has passed.
func (e *engine) expire(now instant) {
	for e.oldest <= e.stats.Sent {
		if p := e.table.get(e.oldest); p != nil && p.fate == fatePending {
			if now.mono-p.sent.mono < e.timeout {
				return
			}
			e.lose(p, now)
		}
		e.oldest++
	}
}

func (e *engine) lose(p *entry, now instant) {
	p.fate = fateLost
	e.stats.Lost++
	if e.losses++; e.losses == doubtAfter {
		e.losses = 0
		e.neighbors.Doubt()
	}
	e.events.push(&Event{Kind: Lost, Time: time.Unix(0, now.wall), Address: e.stats.Address, Seq: p.n})
}

// fail yields an error and counts it, unless it is a notice.
func (e *engine) fail(p *entry, now instant, f Failure) {
	switch {
	case f.Notice:
	case f.Late:
		e.stats.LateErrors++
	default:
		e.stats.Errors++
	}
	e.events.push(&Event{Kind: Failed, Time: time.Unix(0, now.wall), Address: e.stats.Address, Seq: p.n, Failure: f})
}

// newTarget makes what is sent to, and expected from, a path's destination.
func newTarget(path *l2.Path, echo *frame.Echo, match bpf.Match) (*target, error) {
	t, err := echo.Template()
	if err != nil {
		return nil, err
	}
	name := path.Interface.Name
	return &target{
		address:    path.Destination,
		template:   t,
		match:      match,
		dataLen:    echo.DataLen,
		noNeighbor: fmt.Errorf("%w from %s on %s", ErrNoNeighbor, path.NextHop, name),
		sendError:  func(err error) error { return fmt.Errorf("send on %s: %w", name, err) },
	}, nil
}
