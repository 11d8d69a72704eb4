//go:build linux

package probe

import (
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/sock/classic"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// A batchWire sends many frames at once, as l2.Link.SendBatch does.
type batchWire interface {
	wire
	SendBatch(frames [][]byte, firstID uint32) (sent int, err error)
	Mute()
}

// An expecter is the filter in the kernel: a bpf.Expected.
type expecter interface {
	Expect([]bpf.Key) error
	Forget([]bpf.Key) error
}

const (
	// batchLen is how many requests leave before answers are looked at.
	batchLen = 128
	// receiveMost is how many times frames are read before something else has its
	// turn, in a flood of them.
	receiveMost = 64
)

// A list is one of flights, in order.
type list struct{ head, tail int32 }

// A listing says in which list a flight is.
type listing uint8

const (
	unlisted    listing = iota
	listedOut           // it is waited for, in order of departure
	listedAgain         // to be sent, once more or because it could not be
	listings
)

// A flight is a request from when it is taken until it is told what became of it.
type flight struct {
	frame []byte
	seq   uint64
	gen   uint32 // of what is in this place
	tries int

	last, before departure // of the last try, and of that before

	keys   [bpf.MaxRequestKeys]bpf.Key
	nKeys  int
	own    ownKey
	hasOwn bool
	places [bpf.MaxRequestKeys]place

	in         listing
	prev, next int32

	answers, holding int  // that came, and of these that wait for stamps
	ended            bool // no other answers are waited for
	leaving          bool // it is being sent: its frame has to stay
}

// A reply is an answer that waits for its request's departure stamps.
type reply struct {
	landing
	flight  int32
	first   bool
	earlier bool // of the try before the last
	other   bool // it came in by another member
	frame   capture.Frame
}

// A parked request waits for the next round.
type parked struct {
	frame []byte
	seq   uint64
	tries int
	last  departure
}

// A tally counts as ExchangeStatistics does. Others may look at any time.
type tally struct {
	sent, answered, unanswered, unpaired, sendRetries, rounds, kernelDrops atomic.Uint64
}

// An exchange sends requests, pairs what comes back, and tells of both. One
// goroutine runs it; only stop and statistics may be called from others, and by the
// Rules.
type exchange struct {
	wire    batchWire
	link    linkState
	filter  expecter
	now     func() instant
	name    string // of the interface
	events  *bounded[Exchanged]
	intake  *intake
	buffers *buffers

	points   points
	timeout  int64
	schedule schedule // of an Interval
	window   int
	retry    int
	multi    bool
	noLink   bool

	rules      []Rule
	etherTypes []frame.EtherType
	program    *classic.Machine // what answers have to pass besides; nil: nothing

	ifc     *l2.Interface
	others  []ear           // other members of its bridge, bond or VRF
	at      *ear            // which of them is read, nil if none is
	heard   *heard          // nil if there are no others
	ofOther []capture.Frame // by others

	stopped  atomic.Bool
	starving atomic.Bool // the reader has to make room
	counts   tally
	failed   error

	station[reply, *reply, *exchange]
	flights []flight
	free    []int32
	lists   [listings]list
	keys    map[bpf.Key]chain
	own     map[ownKey]chain
	seq     uint64
	over    bool  // there are no more requests
	drained int64 // what came before this time has been read

	parked  []parked
	resend  []parked
	givenUp []parked
	round   int // answers in this round
	quiet   int // rounds in a row without

	answerKeys      [bpf.MaxAnswerKeys]bpf.Key
	expected        []bpf.Key
	request, answer frame.Ethernet
	batch           []int32
	batchFrames     [][]byte
	side            sideline
}

// init makes an exchange ready whose exported parts are set.
func (x *exchange) init() {
	x.station = newStation[reply, *reply, *exchange](int64(x.window))
	for i := range x.lists {
		x.lists[i] = list{none32, none32}
	}
	x.keys = make(map[bpf.Key]chain, min(x.window, 1024)*bpf.MaxRequestKeys)
	x.own = make(map[ownKey]chain)
	x.flights = make([]flight, 0, x.window)
	// Room for what is out, and for some that is told and not yet read.
	x.events = &bounded[Exchanged]{events: make([]Exchanged, x.window+min(x.window, 1024)), ready: make(chan struct{}, 1)}
	for _, r := range x.rules {
		x.etherTypes = append(x.etherTypes, r.EtherType())
	}
	x.schedule.preload = 1
	if x.others != nil {
		x.heard, x.ofOther = new(heard), make([]capture.Frame, capture.MinFrames)
	}
}

// stop ends the run; the caller wakes the wire.
func (x *exchange) stop() { x.stopped.Store(true) }

// statistics may be called at any time.
func (x *exchange) statistics() ExchangeStatistics {
	c := &x.counts
	return ExchangeStatistics{
		Sent: c.sent.Load(), Answered: c.answered.Load(), Unanswered: c.unanswered.Load(), Unpaired: c.unpaired.Load(),
		SendRetries: c.sendRetries.Load(), Rounds: c.rounds.Load(), KernelDrops: c.kernelDrops.Load(),
		AnswersDropped: x.events.drops(),
	}
}

// run does the whole run.
func (x *exchange) run() error {
	x.schedule.start(x.now().mono)
	defer x.side.start(x.wire)()
	if err := x.wire.Run(x.turn); err != nil {
		return err
	}
	return x.failed
}

// turn does what is due, tells the reader of it, and returns for how long there
// is nothing to do.
func (x *exchange) turn() (wait time.Duration, stamps, done bool) {
	for {
		wait, done = x.step()
		if x.events.unread() {
			x.events.flush()
		}
		if wait > 0 || done {
			return wait, len(x.held) > 0, done
		}
	}
}

// step does what is due and returns how long there is nothing to do.
func (x *exchange) step() (wait time.Duration, done bool) {
	// What came before this moment is read before it decides what is lost, unless
	// that does not end.
	now := x.now()
	more := x.listen()
	if !more {
		x.drained = now.mono
	}
	if err := x.link.Err(); err != nil && x.failed == nil {
		x.fail(err)
	}
	if x.stopped.Load() || x.failed != nil {
		x.abandon()
		return 0, true
	}
	if end := now.mono; end-x.drained > x.timeout {
		x.expire(end)
	} else {
		x.expire(x.drained)
	}
	x.nextRound()
	x.giveUp()
	at := x.send(x.now())
	if (len(x.batch) > 0 || x.side.busy()) && at > 0 {
		// Where the far end is near, the answers are here already, and make room.
		had := x.inUse()
		more = x.listen() || more || x.inUse() < had
	}
	switch {
	case x.isOver():
		return 0, true
	case more, at == 0, x.roundIsOver():
		return 0, false
	case x.side.busy():
		x.land() // which wakes nobody
		return 0, false
	}
	if o := x.lists[listedOut].head; o != none32 {
		at = min(at, x.flights[o].last.sent.mono+x.timeout)
	}
	at = min(at, x.heldUntil())
	return time.Duration(max(at-x.now().mono, 0)), false
}

// listen reads what has come, and tells whether there may be more.
func (x *exchange) listen() (more bool) {
	more = true
	for tries := 0; more && tries < receiveMost && !x.stopped.Load(); tries++ {
		more = x.hear()
	}
	if x.others != nil {
		more = x.hearOthers() || more
	}
	if x.wantsStamps() {
		x.readStamps(x.wire, x.points)
	}
	if len(x.held) > 0 {
		x.settle(x.now(), x.points, x)
	}
	return more
}

// fail ends the run by an error.
func (x *exchange) fail(err error) { x.failed = fmt.Errorf("exchange on %s: %w", x.name, err) }

// number is that of a flight's last try: the place, and what is there.
func (x *exchange) number(i int32) uint64 { return uint64(x.flights[i].gen)<<32 | uint64(i+1) }

// departure is that of a try, nil if there was another since.
func (x *exchange) departure(n uint64) *departure {
	if f := &x.flights[uint32(n)-1]; uint64(f.gen) == n>>32 {
		return &f.last
	}
	return nil
}

// departureOf is that which an answer is measured from.
func (x *exchange) departureOf(a *reply) (d *departure, left bool) {
	f := &x.flights[a.flight]
	if a.earlier {
		return &f.before, false // its stamps are no longer waited for
	}
	return &f.last, true
}

// settled tells of an answer.
func (x *exchange) settled(a *reply, _ instant) {
	f := &x.flights[a.flight]
	d, _ := x.departureOf(a)
	f.holding--
	e := Exchanged{Answered: true, More: !a.first, Reply: a.frame, OtherMember: a.other}
	x.points.times(&e.Times, d, &a.landing)
	e.Request = requestOf(f.seq, f.tries, d)
	if a.earlier {
		e.Request.Tries--
	}
	a.frame.Data = nil
	last := f.ended && f.holding == 0 && !f.leaving
	if last {
		e.Request.Frame, f.frame = f.frame, nil
	} else {
		e.Request.Frame = x.buffers.copy(f.frame)
	}
	if !x.events.put(&e, a.first) {
		x.buffers.put(e.Request.Frame)
		x.buffers.put(e.Reply.Data)
	}
	if last {
		x.empty(a.flight)
	}
}

func requestOf(seq uint64, tries int, d *departure) Request {
	r := Request{Seq: seq, Tries: tries, Sched: d.sched, Driver: d.driver, Hardware: d.hardware}
	if tries > 0 {
		r.Sent = time.Unix(0, d.sent.wall)
	}
	return r
}

// unanswered tells that nobody has answered a request, or why it could not leave,
// in the place that is reserved for it.
func (x *exchange) unanswered(p parked, why error) {
	e := x.noAnswer(p, why)
	x.events.put(&e, true)
}

// noAnswer counts it, and says so.
func (x *exchange) noAnswer(p parked, why error) Exchanged {
	e := Exchanged{Request: requestOf(p.seq, p.tries, &p.last)}
	e.Request.Frame, e.Request.Err = p.frame, why
	x.counts.unanswered.Add(1)
	return e
}

// finish tells of a flight that nobody has answered.
func (x *exchange) finish(i int32, why error) {
	x.forget(i)
	x.unanswered(x.take(i), why)
}

// take takes what a flight is out of its place, which is empty then.
func (x *exchange) take(i int32) parked {
	f := &x.flights[i]
	p := parked{f.frame, f.seq, f.tries, f.last}
	f.frame = nil
	x.empty(i)
	return p
}

// empty makes a flight's place free.
func (x *exchange) empty(i int32) {
	f := &x.flights[i]
	f.gen++ // stamps that are still to come are nobody's
	x.buffers.put(f.frame)
	f.frame = nil
	x.free = append(x.free, i)
}

// put lists a flight, as the last.
func (x *exchange) put(i int32, in listing) {
	f, l := &x.flights[i], &x.lists[in]
	f.in, f.prev, f.next = in, l.tail, none32
	if l.tail == none32 {
		l.head = i
	} else {
		x.flights[l.tail].next = i
	}
	l.tail = i
}

// unlist takes a flight out of its list.
func (x *exchange) unlist(i int32) {
	f := &x.flights[i]
	if f.in == unlisted {
		return
	}
	l := &x.lists[f.in]
	if f.prev == none32 {
		l.head = f.next
	} else {
		x.flights[f.prev].next = f.next
	}
	if f.next == none32 {
		l.tail = f.prev
	} else {
		x.flights[f.next].prev = f.prev
	}
	f.in = unlisted
}

// expire ends the waiting for requests whose timeout has passed.
func (x *exchange) expire(now int64) {
	read := false
	for i := x.lists[listedOut].head; i != none32; i = x.lists[listedOut].head {
		f := &x.flights[i]
		if f.leaving || now-f.last.sent.mono < x.timeout {
			return
		}
		if f.answers == 0 && !read && !x.points.complete(&f.last) {
			read = true
			x.readStamps(x.wire, x.points) // when did it leave?
		}
		x.unlist(i)
		switch {
		case f.answers > 0:
			x.end(i)
		case x.retry > 0 && f.tries <= x.retry:
			x.put(i, listedAgain)
		case x.retry < 0:
			x.forget(i)
			x.parked = append(x.parked, x.take(i))
			x.events.release()
		default:
			x.finish(i, nil)
		}
	}
}

// end ends the waiting for more answers.
func (x *exchange) end(i int32) {
	f := &x.flights[i]
	x.unlist(i)
	x.forget(i)
	if f.ended = true; f.holding == 0 && !f.leaving {
		x.empty(i)
	}
}

// complete tells whether a departure has the stamp that is to be had.
func (p points) complete(d *departure) bool {
	return p.departure == l2.StampUser || d.softwareStamp(p.departure) != 0 && (!p.hardware || d.hardware != 0)
}

// roundIsOver tells whether all has been sent and waited for, and some of it has to
// be sent again.
func (x *exchange) roundIsOver() bool {
	return x.over && x.inUse() == 0 && len(x.resend) == 0 && len(x.parked) > 0
}

// nextRound sends all again that nobody has answered, or gives them up.
func (x *exchange) nextRound() {
	if !x.roundIsOver() {
		return
	}
	if x.counts.rounds.Load() > 0 && x.round == 0 {
		x.quiet++
	} else {
		x.quiet = 0
	}
	if x.quiet >= -x.retry {
		x.givenUp, x.parked = x.parked, nil
		return
	}
	x.counts.rounds.Add(1)
	x.round = 0
	x.resend, x.parked = x.parked, x.resend[:0]
}

// giveUp tells of the requests that are given up, as far as there is room.
func (x *exchange) giveUp() {
	for len(x.givenUp) > 0 && x.reserve() {
		x.unanswered(x.givenUp[0], nil)
		x.givenUp = x.givenUp[1:]
	}
}

// reserve keeps a place for what is to be told. Without one the reader is to wake
// the exchange when it has read.
func (x *exchange) reserve() bool {
	if x.events.reserve() {
		return true
	}
	x.starving.Store(true)
	return x.events.reserve() // it may have read meanwhile
}

func (x *exchange) inUse() int { return len(x.flights) - len(x.free) }

func (x *exchange) isOver() bool {
	return x.over && x.inUse() == 0 && len(x.parked)+len(x.resend)+len(x.givenUp) == 0
}

// abandon ends it all: what has been answered is told with the stamps that there
// are, and what has not as unanswered.
func (x *exchange) abandon() {
	rest, _, _ := x.landed()
	x.hold(rest)
	x.settle(instant{mono: math.MaxInt64}, x.points, x)
	for i := range x.flights {
		f := &x.flights[i]
		if f.frame == nil {
			continue
		}
		x.unlist(int32(i))
		if f.answers == 0 {
			x.finish(int32(i), nil)
		}
	}
	x.givenUp = slices.Concat(x.givenUp, x.resend, x.parked)
	x.giveUp() // as far as the reader has left room
}
