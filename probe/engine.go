//go:build linux

package probe

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
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
	// Run calls turn until it is done: when the time has passed that turn
	// has nothing to do for, when a frame has come, with stamps also when a
	// departure stamp has, or when it likes.
	Run(turn func() (wait time.Duration, stamps, done bool)) error
}

// A linkState knows whether the interface can carry anything: an l2.Watch.
type linkState interface {
	Err() error
}

const (
	// doubtAfter is how many losses in a row cast doubt on the MAC.
	doubtAfter = 2
	// burst is how many probes leave before replies are looked at.
	burst = 32
	// tellEvery is the least time between two wake-ups of the reader: what
	// comes more often is told together, twice as late at the most. That is
	// short for a reader's eye.
	tellEvery = 50 * time.Millisecond
	// lookEvery is the least time between two looks at which next hops have been
	// found, where more than a few are sought.
	lookEvery = int64(10 * time.Millisecond)
)

// An engine sends, receives, pairs and counts. One goroutine runs it; only stop,
// look, do and snapshot may be called from others.
type engine struct {
	wire   wire
	link   linkState
	now    func() instant
	events *ring

	targets   []*target
	byAddress map[netip.Addr]*target // nil with one target
	match     bpf.Match
	count     uint64
	enough    int       // end when so many targets have answered; 0 is not so
	timeout   int64     // nanoseconds, as all times here
	deadline  int64     // by the run's clock; 0 is none
	points    points    // which stamps are to be had
	sentToo   bool      // yield Sent events
	recorder  *recorder // of the frames that events carry; nil if they carry none

	stopped atomic.Bool
	asked   chan func() // to be done by the engine's goroutine
	found   atomic.Bool // next hops have been
	mu      sync.Mutex  // guards what is counted against snapshot
	// total has the times over all targets; nil with one, which has them.
	total    *Statistics
	rejected uint64
	kernel   kernelCounts

	queue    queue     // of the targets, with more than one
	dueNow   []*target // what collect has found
	waiting  []*target // for their next hops
	looked   int64     // at those
	over     int       // targets
	answered int       // targets that have
	expired  bool      // the deadline has been seen to pass

	station[arrival, *arrival, *target]

	told      int64 // when the reader was woken last
	fragments *frame.Reassembler
	// narrow makes a course for a smaller MTU, where that is wanted.
	narrow func(t *target, mtu int) *course
	// others hear what comes in by other members of the interface's bridge, bond
	// or VRF. heard are the arrival stamps of the last frames by the interface
	// itself, for a bridge or bond has those too.
	others   []func([]capture.Frame) (int, error)
	heard    [256]int64
	nHeard   int
	neighbor *Neighbor                // how the targets are asked for; nil if they are pinged
	claimed  map[frame.MAC]netip.Addr // the first target that each MAC answered for

	ofOther []capture.Frame // by others
}

// kernelCounts are what the kernel alone has seen.
type kernelCounts struct {
	rejected bool // the filter counts what it rejects
	drops    uint64
}

// init makes an engine ready whose exported parts are set.
func (e *engine) init() {
	var outstanding int64
	for _, t := range e.targets {
		t.prepare(e.timeout, e.memory())
		outstanding += int64(len(t.table.entries)) / 2
		if e.recorder != nil {
			t.kept = make([]*Evidence, len(t.table.entries))
		}
	}
	e.station = newStation[arrival, *arrival, *target](outstanding)
	e.asked = make(chan func(), 16)
	if e.others != nil {
		e.ofOther = make([]capture.Frame, capture.MinFrames)
	}
	if len(e.targets) == 1 {
		return
	}
	e.total = &Statistics{}
	e.byAddress = make(map[netip.Addr]*target, len(e.targets))
	e.queue = make(queue, 0, len(e.targets))
	for _, t := range e.targets {
		e.byAddress[t.address.WithZone("")] = t
	}
}

// memory is how many probes of a target are remembered at the least.
func (e *engine) memory() int64 {
	if len(e.targets) > manyTargets {
		return 8
	}
	return 64
}

// stop ends the run; the caller wakes the wire.
func (e *engine) stop() { e.stopped.Store(true) }

// look says that a next hop has been found, or not; the caller wakes the wire.
func (e *engine) look() { e.found.Store(true) }

// do has the engine's goroutine do something soon; the caller wakes the wire. It
// drops what comes faster than it is done.
func (e *engine) do(f func()) {
	select {
	case e.asked <- f:
	default:
	}
}

// snapshot returns the statistics so far, over all targets.
func (e *engine) snapshot() Statistics {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.current()
	return s.clone()
}

// snapshotOf returns those of one target.
func (e *engine) snapshotOf(t *target) Statistics {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := t.counts()
	if len(e.targets) == 1 {
		s = e.current()
	}
	return s.clone()
}

// current is a snapshot for whoever holds mu, and as long as that.
func (e *engine) current() Statistics {
	s := e.targets[0].counts()
	if e.total != nil {
		s = *e.total
		for _, t := range e.targets {
			of := t.counts()
			s.count(&of)
		}
	}
	s.Targets, s.Answered = len(e.targets), e.answered
	s.EventsDropped = e.events.drops()
	s.EvidenceDropped = e.recorder.drops()
	s.Rejected = e.rejected
	s.RejectedInKernel = e.kernel.rejected
	s.KernelDrops = e.kernel.drops
	return s
}

// addKernelCounts adds what the kernel alone has seen.
func (e *engine) addKernelCounts(filter *bpf.Filter, in *capture.Socket) {
	rejected, counted := filter.Rejected()
	drops, _ := in.Drops()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rejected += rejected
	e.kernel = kernelCounts{counted, drops}
}

// run does the whole run.
func (e *engine) run() error {
	now := e.now().mono
	e.told = now - int64(tellEvery)
	e.looked = now - lookEvery
	for i, t := range e.targets {
		t.at = now
		if !t.schedule.byReplies() {
			// Interleaved: as many leave in one part of the interval as in another.
			t.at += int64(float64(t.schedule.interval) * float64(i) / float64(len(e.targets)))
		}
		t.schedule.start(t.at)
		if e.total != nil {
			e.queue.push(t)
		}
	}
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
	for len(e.asked) > 0 {
		(<-e.asked)()
	}
	e.passDeadline(now)
	e.lookAtHops(now)
	e.collect(now)
	for _, t := range e.dueNow {
		e.expire(t, now)
	}
	if e.done(now) {
		// What has been counted is told, whichever stamps it lacks.
		e.settle(instant{mono: math.MaxInt64}, e.points, e)
		e.beginAll(now)
		e.tellRest()
		return 0, true
	}
	left := burst
	for _, t := range e.dueNow {
		left -= e.send(t, left)
		e.update(t, now)
	}
	if left < burst {
		// Where the far end is near, the reply is here already: a look is
		// cheaper than a wait that ends at once.
		e.listen()
	}
	return e.wait(now), false
}

// collect finds the targets that have something to do. One that is alone always
// may.
func (e *engine) collect(now instant) {
	e.dueNow = e.dueNow[:0]
	if e.total == nil {
		e.dueNow = append(e.dueNow, e.targets[0])
		return
	}
	e.queue.until(0, now.mono, &e.dueNow)
	slices.SortFunc(e.dueNow, func(a, b *target) int { return cmp.Compare(a.at, b.at) })
}

// listen reads what has come.
func (e *engine) listen() {
	e.receive()
	if e.wantsStamps() {
		e.readStamps(e.wire, e.points)
	}
	if len(e.held) > 0 {
		e.settle(e.now(), e.points, e)
	}
}

// passDeadline ends, once, what the deadline ends.
func (e *engine) passDeadline(now instant) {
	if e.expired || !e.late(now) {
		return
	}
	e.expired = true
	e.found.Store(true)
	for _, t := range e.targets {
		if t.place >= 0 {
			e.update(t, now)
		}
	}
}

// done tells whether the run is over.
func (e *engine) done(now instant) bool {
	switch {
	case e.stopped.Load(), e.enough > 0 && e.answered >= e.enough:
		return true
	case e.total != nil:
		return e.over == len(e.targets)
	}
	return e.isOver(e.targets[0], now)
}

// isOver tells whether nothing is to be done for a target any more.
func (e *engine) isOver(t *target, now instant) bool {
	s := &t.stats
	late := e.late(now)
	switch {
	case !t.begun && e.total != nil && t.at != never:
		return late // its turn has not come
	case s.Sent == 0 && e.retrying == 0:
		return false // whatever time resolution took, one probe is tried
	case late, e.deadline != 0 && s.Errors+s.LateErrors > 0:
		return true
	case e.neighbor != nil:
		return e.isAsked(t, now)
	case e.count == 0 || t.holding > 0:
		return false
	case e.deadline != 0:
		return s.Received+s.Late >= e.count
	}
	return s.Sent >= e.count && t.oldest > s.Sent
}

// sending tells whether another probe is to be sent, and can be: not while the one
// that has its sequence number is out. But where replies set the pace and a later
// one was answered, that one is given up: the run would stand still for it.
func (e *engine) sending(t *target) bool {
	if p := t.holder(t.stats.Sent + 1); p != nil && !(t.schedule.byReplies() && p.n < t.acked) {
		return false
	}
	if e.count == 0 {
		return true
	}
	if e.deadline != 0 && e.neighbor == nil {
		return t.stats.Received+t.stats.Late < e.count
	}
	return t.stats.Sent < e.count
}

// nextAt is when there is something to do for a target.
func (e *engine) nextAt(t *target) int64 {
	if !t.begun {
		return t.at
	}
	if e.neighbor != nil && e.hasHeardEnough(t) {
		return 0
	}
	at := never
	if e.sending(t) {
		at = max(t.due(), e.retryAt)
	}
	if p := t.pending(); p != nil {
		at = min(at, p.sent.mono+e.timeout)
	} else if e.neighbor != nil && at == never && t.holding == 0 {
		at = e.listensUntil(t)
	}
	return at
}

// update puts a target where it belongs after something has happened to it.
func (e *engine) update(t *target, now instant) {
	if e.total == nil || t.place < 0 {
		return
	}
	at := e.nextAt(t)
	if e.isOver(t, now) {
		e.queue.remove(t)
		e.over++
		return
	}
	if at != t.at {
		t.at = at
		e.queue.moved(t)
	}
}

// wait is the time until something is due.
func (e *engine) wait(now instant) time.Duration {
	at := never
	switch {
	case e.total == nil:
		t := e.targets[0]
		at = e.nextAt(t)
		if at == never && t.begun && len(e.held) == 0 {
			return 0 // that was the last
		}
	case e.over == len(e.targets) && len(e.held) == 0:
		return 0
	case len(e.queue) > 0:
		at = e.queue[0].at
	}
	if e.deadline != 0 && (e.total == nil || !e.expired) {
		at = min(at, e.deadline)
	}
	if e.found.Load() {
		at = min(at, e.looked+lookEvery)
	}
	at = min(at, e.heldUntil())
	return time.Duration(max(at-e.now().mono, 0))
}

// lookAtHops begins with the targets whose next hops were found, or are not to
// be found. Where many are sought it does not look at all of them each time that
// one is found.
func (e *engine) lookAtHops(now instant) {
	const few = 64
	if len(e.waiting) == 0 || !e.found.Load() && !e.stopped.Load() ||
		len(e.waiting) > few && now.mono-e.looked < lookEvery {
		if len(e.waiting) == 0 {
			e.found.Store(false)
		}
		return
	}
	e.found.Store(false)
	e.looked = now.mono
	waiting := e.waiting[:0]
	for _, t := range e.waiting {
		if _, status := t.hop.Snapshot(); status == arp.Pending && !e.late(now) {
			waiting = append(waiting, t)
			continue
		}
		t.at = now.mono
		if t.place >= 0 {
			e.queue.moved(t)
		}
	}
	clear(e.waiting[len(waiting):])
	e.waiting = waiting
}

// late tells whether the deadline has passed.
func (e *engine) late(now instant) bool { return e.deadline != 0 && now.mono >= e.deadline }

// ready tells whether the target's next hop is known, or known not to be, or will
// not be waited for any longer. The first time that it is so, the run begins for
// the target. Resolution delays its first probe and none of the others'.
func (e *engine) ready(t *target, now instant) bool {
	switch {
	case t.begun:
		return true
	case now.mono < t.at:
		return false
	}
	neighbor, status := arp.Neighbor{}, arp.Resolved
	if t.err == nil {
		neighbor, status = t.hop.Snapshot()
	}
	if status == arp.Pending && !e.late(now) {
		t.at = never
		if t.place >= 0 {
			e.queue.moved(t)
		}
		e.waiting = append(e.waiting, t)
		return false
	}
	if now.mono-t.at > catchUp {
		t.at = now.mono
	}
	e.begin(t, neighbor, now)
	return true
}

// begin tells what the target's probes are made of, and starts its schedule.
func (e *engine) begin(t *target, neighbor arp.Neighbor, now instant) {
	t.begun = true
	t.schedule.start(min(t.at, now.mono))
	if t.started == nil {
		return
	}
	t.started.Decision.Neighbor = neighbor
	event := t.event(Start, now.wall)
	event.Start, t.started = t.started, nil
	e.events.push(&event)
}

// beginAll tells of the targets whose turn never came.
func (e *engine) beginAll(now instant) {
	for _, t := range e.targets {
		if !t.begun {
			var neighbor arp.Neighbor
			if t.err == nil {
				neighbor, _ = t.hop.Snapshot()
			}
			t.at = now.mono
			e.begin(t, neighbor, now)
		}
	}
}

// send sends what is due to a target, up to so many probes, and returns how many
// left.
func (e *engine) send(t *target, most int) (sent int) {
	for sent < most {
		now := e.now()
		if !e.ready(t, now) || !e.sending(t) || now.mono < max(t.due(), e.retryAt) || e.isOver(t, now) {
			return sent
		}
		t.stats.Skipped += t.schedule.skip(now.mono)
		if !e.sendOne(t, now, t.due()) {
			return sent
		}
		sent++
	}
	return sent
}

// sendOne sends the next probe. It is false if the interface's queue has no
// room for it now.
func (e *engine) sendOne(t *target, now instant, due int64) bool {
	n := t.stats.Sent + 1
	p := t.table.slot(n)
	if old := t.holder(n); old != nil {
		e.lose(t, old, now)
	}
	e.tellEarlier(t, n)
	*p = entry{n: n, due: due, departure: departure{sent: now}}
	err := e.transmit(t, p)
	if err != nil && e.full(err, now.mono, e.timeout, t.schedule.backOff()) {
		t.stats.SendRetries++
		*p = entry{}
		return false
	}
	e.cleared()
	t.stats.Sent = n
	if n == 1 {
		t.first = now.mono
	}
	t.stats.Duration = time.Duration(now.mono - t.first)
	t.schedule.sent(n, now.mono)
	if e.sentToo {
		event := t.event(Sent, now.wall)
		event.Seq = n
		e.events.push(&event)
	}
	if err != nil {
		p.fate = fateFailed
		e.fail(t, p, now, Failure{Local: err}, nil)
	}
	return true
}

// transmit sends one probe, or says why not. It does not allocate where it
// succeeds.
func (e *engine) transmit(t *target, p *entry) error {
	if t.next.Load() != nil {
		e.turnTo(t, t.next.Swap(nil), p)
	}
	if err := e.link.Err(); err != nil {
		return err
	}
	if t.err != nil {
		return t.err
	}
	neighbor, _ := t.hop.Snapshot()
	if !t.noMAC {
		if !neighbor.Known() {
			return t.noNeighbor
		}
		if neighbor.MAC != t.mac {
			e.readdress(t, neighbor, p)
		}
	}
	t.request.Patch(p.n)
	if t.echo != nil {
		p.checksum = t.echo.Checksum()
	}
	last := e.outbox.last
	frames := e.recorder.take()
	p.sent = e.now()
	at := p.sent.wall
	for i, f := range t.request.Fragments() {
		n := p.n
		if i > 0 {
			n = 0 // the first fragment's departure is the probe's
			if frames != nil {
				at = e.now().wall
			}
		}
		if err := e.station.send(e.wire, f, t, n); err != nil {
			e.outbox.forget(last)
			e.keep(t, p, frames)
			e.tellDeparture(t, p) // what has left
			return t.sendError(err)
		}
		frames = e.recorder.sent(frames, f, at)
	}
	p.left = true
	e.keep(t, p, frames)
	if e.neighbor != nil {
		e.hasAsked(t, p)
	}
	return nil
}

// readdress has the target's frames go to another MAC from now on.
func (e *engine) readdress(t *target, neighbor arp.Neighbor, p *entry) {
	if !t.mac.IsZero() && !t.group && t.seeker == nil {
		e.tellChange(t, p, &Change{Kind: ChangedNeighbor, Neighbor: neighbor, OldMAC: t.mac})
	}
	t.mac = neighbor.MAC
	t.request.SetDstMAC(t.mac)
}

// turnTo has the target's probes go another way from now on.
func (e *engine) turnTo(t *target, c *course, p *entry) {
	t.course, t.mac = c, frame.MAC{}
	if c.change != nil {
		e.tellChange(t, p, c.change)
	}
}

func (e *engine) tellChange(t *target, p *entry, c *Change) {
	event := t.event(Changed, p.sent.wall)
	event.Change = c
	e.events.push(&event)
}

// receive reads and pairs all frames that have come.
func (e *engine) receive() {
	e.receiveOwn()
	for _, receive := range e.others {
		for n := capture.MinFrames; n == capture.MinFrames; {
			n, _ = receive(e.ofOther)
			// What a bridge has by now, the interface had before it.
			e.receiveOwn()
			got := e.now()
			for i := range n {
				e.pairOther(&e.ofOther[i], got)
			}
		}
	}
}

// pairOther takes a frame that another has heard, unless it is one of the
// interface's: all sockets share the stamp of a frame.
func (e *engine) pairOther(f *capture.Frame, got instant) {
	if f.Arrival == 0 || slices.Contains(e.heard[:], f.Arrival) {
		return
	}
	before := len(e.held)
	e.pair(f, got)
	for i := before; i < len(e.held); i++ {
		e.held[i].reply.OtherMember = true
		e.held[i].target.stats.OtherMember++
	}
}

func (e *engine) receiveOwn() {
	for {
		// An interface that went down says so once; link tells it at the
		// next probe.
		n, _ := e.wire.Receive(e.frames)
		got := e.now()
		for i := range n {
			if e.others != nil {
				e.heard[e.nHeard%len(e.heard)] = e.frames[i].Arrival
				e.nHeard++
			}
			e.pair(&e.frames[i], got)
		}
		if n < capture.MinFrames {
			return
		}
	}
}

// expire gives up the probes whose timeout has passed.
func (e *engine) expire(t *target, now instant) {
	for p := t.pending(); p != nil && now.mono-p.sent.mono >= e.timeout; p = t.pending() {
		e.lose(t, p, now)
	}
}

func (e *engine) lose(t *target, p *entry, now instant) {
	if p.left && (p.softwareStamp(e.points.departure) == 0 || e.points.hardware && p.hardware == 0) {
		e.readStamps(e.wire, e.points) // when did it leave?
	}
	p.fate = fateLost
	t.stats.Lost++
	e.departed(t, p, now)
	if t.losses++; t.losses == doubtAfter {
		t.losses = 0
		if t.err == nil {
			t.hop.Doubt()
		}
	}
	event := t.event(Lost, now.wall)
	event.Seq = p.n
	e.events.push(&event)
}

// fail yields an error with its frames, if it came in any, and counts it, unless it
// is a notice.
func (e *engine) fail(t *target, p *entry, now instant, f Failure, frames *Evidence) {
	switch {
	case f.Notice:
	case f.Late:
		t.stats.LateErrors++
	default:
		t.stats.Errors++
	}
	event := t.event(Failed, now.wall)
	event.Seq, event.Failure = p.n, f
	e.push(&event, frames)
}
