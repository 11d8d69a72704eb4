//go:build linux

package probe

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

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
	// Run calls turn until it is done: when the time has passed that turn
	// has nothing to do for, when a frame has come, with stamps also when a
	// departure stamp has, or when it likes.
	Run(turn func() (wait time.Duration, stamps, done bool)) error
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
	// unreadStamps is after how many probes the error queue is read though
	// nobody asks, so that it does not fill with the stamps of lost ones.
	unreadStamps = 64
	// doubtAfter is how many losses in a row cast doubt on the MAC.
	doubtAfter = 2
	// burst is how many probes leave before replies are looked at.
	burst = 32
	// tellEvery is the least time between two wake-ups of the reader: what
	// comes more often is told together, twice as late at the most. That is
	// short for a reader's eye.
	tellEvery = 50 * time.Millisecond
)

// An engine sends, receives, pairs and counts. One goroutine runs it; only stop
// and snapshot may be called from others.
type engine struct {
	wire      wire
	neighbors neighbors
	link      linkState
	now       func() instant
	events    *ring

	target   *target
	count    uint64
	schedule schedule
	timeout  int64  // nanoseconds, as all times here
	deadline int64  // by the run's clock; 0 is none
	points   points // which stamps are to be had
	sentToo  bool   // yield Sent events

	stopped atomic.Bool
	mu      sync.Mutex // guards stats against snapshot
	stats   Statistics

	table     table
	first     int64  // when the first probe was sent
	oldest    uint64 // no probe before this one is pending
	highest   uint64 // the highest probe that was answered in time
	acked     uint64 // the highest probe that an answer of any kind came for
	losses    int    // in a row
	mac       frame.MAC
	retryAt   int64 // the queue was full: not before this time, 0 if it was not
	retrying  int64 // since when
	held      []arrival
	impatient int    // replies in a row whose stamp did not come in time
	unread    uint64 // probes since the error queue was read
	told      int64  // when the reader was woken last

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

// init makes an engine ready whose exported parts are set.
func (e *engine) init() {
	e.table = newTable(e.schedule.outstanding(e.timeout))
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
	s := e.current()
	return s.clone()
}

// current is a snapshot for whoever holds mu, and as long as that.
func (e *engine) current() Statistics {
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
	now := e.now().mono
	e.schedule.start(now)
	e.told = now - int64(tellEvery)
	return e.wire.Run(e.turn)
}

// turn does what is due, tells the reader of it, and returns for how long there
// is nothing to do.
func (e *engine) turn() (wait time.Duration, stamps, done bool) {
	for {
		wait, done = e.step()
		if e.events.unread() {
			wait = e.tell(wait, done)
		}
		if wait > 0 || done {
			return wait, len(e.held) > 0, done
		}
	}
}

// tell wakes the reader, unless it was woken just now. Then the next turn will,
// if it is near; else the wait ends when the reader's time has come.
func (e *engine) tell(wait time.Duration, done bool) time.Duration {
	now := e.now().mono
	due := e.told + int64(tellEvery)
	switch {
	case done || now >= due:
		e.told = now
		e.events.flush()
	case wait > tellEvery:
		return time.Duration(due - now)
	}
	return wait
}

// step does what is due and returns how long there is nothing to do.
func (e *engine) step() (wait time.Duration, done bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	// What came before this moment is read before it decides what is lost.
	now := e.now()
	e.listen()
	e.expire(now)
	if e.done(now) {
		// What has been counted is told, whichever stamps it lacks.
		e.settle(instant{mono: math.MaxInt64})
		return 0, true
	}
	if e.send() {
		// Where the far end is near, the reply is here already: a look is
		// cheaper than a wait that ends at once.
		e.listen()
	}
	return e.wait(), false
}

// listen reads what has come.
func (e *engine) listen() {
	e.receive()
	if len(e.held) > 0 || e.unread >= unreadStamps {
		e.readStamps()
	}
	if len(e.held) > 0 {
		e.settle(e.now())
	}
}

// done tells whether the run is over.
func (e *engine) done(now instant) bool {
	s := &e.stats
	switch {
	case e.stopped.Load():
		return true
	case s.Sent == 0 && e.retrying == 0:
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

// sending tells whether another probe is to be sent, and can be: not while the one
// that has its sequence number is out. But where replies set the pace and a later
// one was answered, that one is given up: the run would stand still for it.
func (e *engine) sending() bool {
	if p := e.holder(e.stats.Sent + 1); p != nil && !(e.schedule.byReplies() && p.n < e.acked) {
		return false
	}
	if e.count == 0 {
		return true
	}
	if e.deadline != 0 {
		return e.stats.Received+e.stats.Late < e.count
	}
	return e.stats.Sent < e.count
}

// holder is the probe that is out and has the place of probe n in the table, nil
// if there is none.
func (e *engine) holder(n uint64) *entry {
	if p := e.table.slot(n); p.n != 0 && p.fate == fatePending {
		return p
	}
	return nil
}

// due is when the next probe is to leave.
func (e *engine) due() int64 {
	return e.schedule.due(e.stats.Sent-e.acked, e.stats.RTT.Smoothed)
}

// wait is the time until something is due.
func (e *engine) wait() time.Duration {
	at := int64(MaxDuration) * 2
	if e.sending() {
		at = max(e.due(), e.retryAt)
	}
	if e.deadline != 0 {
		at = min(at, e.deadline)
	}
	if p := e.pending(); p != nil {
		at = min(at, p.sent.mono+e.timeout)
	} else if len(e.held) == 0 && !e.sending() {
		return 0 // that was the last
	}
	if len(e.held) > 0 {
		at = min(at, e.held[0].until)
	}
	return time.Duration(max(at-e.now().mono, 0))
}

// send sends what is due, and tells whether anything left.
func (e *engine) send() (sent bool) {
	for range burst {
		if !e.sending() {
			return sent
		}
		now := e.now()
		if now.mono < max(e.due(), e.retryAt) {
			return sent
		}
		e.stats.Skipped += e.schedule.skip(now.mono)
		if !e.sendOne(now, e.due()) {
			return sent
		}
		sent = true
	}
	return sent
}

// sendOne sends the next probe. It is false if the interface's queue has no
// room for it now.
func (e *engine) sendOne(now instant, due int64) bool {
	n := e.stats.Sent + 1
	p := e.table.slot(n)
	if old := e.holder(n); old != nil {
		e.lose(old, now)
	}
	*p = entry{n: n, due: due, sent: now}
	err := e.transmit(p)
	if err != nil && e.retry(err, now.mono) {
		*p = entry{}
		return false
	}
	e.retrying, e.retryAt = 0, 0
	e.stats.Sent = n
	if n == 1 {
		e.first = now.mono
	}
	e.stats.Duration = time.Duration(now.mono - e.first)
	e.schedule.sent(n, now.mono)
	if e.sentToo {
		e.events.push(&Event{Kind: Sent, Time: time.Unix(0, now.wall), Address: e.stats.Address, Seq: n})
	}
	if err != nil {
		p.fate = fateFailed
		e.fail(p, now, Failure{Local: err})
	}
	return true
}

// retry tells whether a probe that could not leave is to be tried again: its
// interface's queue was full (ENOBUFS, packet(7); EAGAIN with as much in flight as
// SO_SNDBUF allows), as ping does. A queue that stays full for a whole timeout
// has come to a stop.
func (e *engine) retry(err error, now int64) bool {
	if !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENOMEM) {
		return false
	}
	if e.retrying == 0 {
		e.retrying = now
	} else if now-e.retrying >= e.timeout {
		return false
	}
	e.stats.SendRetries++
	e.retryAt = now + e.schedule.backOff()
	return true
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
	p.left = true
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

// expire gives up the probes whose timeout has passed.
func (e *engine) expire(now instant) {
	for p := e.pending(); p != nil && now.mono-p.sent.mono >= e.timeout; p = e.pending() {
		e.lose(p, now)
	}
}

// pending is the oldest probe that is out, nil if there is none.
func (e *engine) pending() *entry {
	for ; e.oldest <= e.stats.Sent; e.oldest++ {
		if p := e.table.get(e.oldest); p != nil && p.fate == fatePending {
			return p
		}
	}
	return nil
}

func (e *engine) lose(p *entry, now instant) {
	if p.left && (p.softwareStamp(e.points.departure) == 0 || e.points.hardware && p.hardware == 0) {
		e.readStamps() // when did it leave?
	}
	p.fate = fateLost
	e.stats.Lost++
	e.departed(p, now)
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
