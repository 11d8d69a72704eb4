//go:build linux

package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// Where time goes in these tests, beside the wire.
const (
	toSched  = 2 * time.Microsecond // from the program to the qdisc's stamp
	toDriver = 5 * time.Microsecond // from the program to the driver's stamp
	toUser   = 9 * time.Microsecond // from the arrival stamp to the program

	toNIC   = 8 * time.Microsecond // from the program to the NIC's stamp
	fromNIC = 4 * time.Microsecond // from the NIC's arrival stamp to the driver's
)

const none = time.Duration(-1)

// settings are those of an engine; zero values are the defaults of a Config.
type settings struct {
	count                       uint64
	interval, timeout, deadline time.Duration
	dataLen                     *int
	departure                   l2.StampPoint // StampNone: StampDriver
	hardware                    bool
	flood, adaptive             bool
	preload                     int
	sent, evidence              bool
	ring                        int
}

// newEngine makes an engine in a world of fakes.
func newEngine(t testing.TB, s settings, w interface {
	wire
	hop
	linkState
}, now func() instant) (*engine, *target) {
	t.Helper()
	cfg := Config{Targets: []Target{{Addr: farIP}}, Interval: s.interval, Timeout: s.timeout, DataLen: s.dataLen,
		Flood: s.flood, Adaptive: s.adaptive, Preload: s.preload}
	if err := cfg.setDefaults(); err != nil {
		t.Fatal(err)
	}
	if s.departure == l2.StampNone {
		s.departure = l2.StampDriver
	}
	if s.ring == 0 {
		s.ring = ringSize
	}
	ifc := &l2.Interface{Name: "eth0", MAC: nearMAC}
	path := &l2.Path{Interface: ifc, Owner: ifc, Destination: farIP, Source: nearIP, NextHop: farIP}
	echo := &frame.Echo{
		SrcMAC: nearMAC, Src: nearIP, Dst: farIP, ID: probeID, TTL: DefaultTTL, DontFragment: true,
		Cookie: cookie, DataLen: *cfg.DataLen,
	}
	c, err := newCourse(path, echo, w)
	if err != nil {
		t.Fatal(err)
	}
	tgt := &target{course: c, address: farIP, dataLen: *cfg.DataLen, schedule: newSchedule(&cfg), begun: true}
	e := &engine{
		wire: w, link: w, now: now,
		events: newRing(s.ring, 0), targets: []*target{tgt}, count: s.count,
		match: bpf.Match{
			Kind: bpf.EchoReply, Local: nearIP, Peer: farIP, ID: probeID,
			Cookie: cookie, CookieLen: min(*cfg.DataLen, frame.CookieLen),
		},
		timeout: int64(cfg.Timeout), deadline: int64(s.deadline),
		points: points{departure: s.departure, hardware: s.hardware}, sentToo: s.sent,
	}
	if s.evidence {
		e.recorder = newRecorder(MaxEvidence)
	}
	e.init()
	return e, tgt
}

// A world is an engine with everything around it, in a synctest bubble: its
// clock is virtual, the wire and the far end are a script.
type world struct {
	t testing.TB
	*engine
	*target
	in   *inbox
	base time.Time
	skew atomic.Int64 // of CLOCK_REALTIME, in nanoseconds

	// The script.
	far        func(n uint64, request []byte) // what a frame that left brings about
	sendError  func(n uint64) error
	sched      func(n uint64) time.Duration // when its stamps can be read, none: never
	driver     func(n uint64) time.Duration
	hardware   func(n uint64) time.Duration
	oversleep  func() time.Duration // how late the process runs after a wait
	neighbor   atomic.Pointer[arp.Neighbor]
	linkErr    error
	deafReader bool // nobody reads events
	forging    bool // not all that arrives is an answer

	// What happened.
	left      []departed
	doubts    int
	reads     int // of the error queue
	log       []Event
	logAt     []time.Duration // when each event could be read
	counts    Statistics      // recounted from the events
	rtts      []time.Duration
	ends      map[uint64]Kind // how each probe ended, the first time
	pipe      uint64          // MaxOutstanding by iputils' way to count
	pastStart uint64          // probes before the test began
	lastID    uint32          // of a stamp
}

// departed is a frame that left.
type departed struct {
	n     uint64
	at    time.Duration
	frame []byte
}

// inWorld runs f in a bubble with a world in which every probe is answered
// after a millisecond.
func inWorld(t *testing.T, s settings, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, in: newInbox(), base: time.Now(), ends: map[uint64]Kind{},
			sched:     func(uint64) time.Duration { return toSched },
			driver:    func(uint64) time.Duration { return toDriver },
			hardware:  func(uint64) time.Duration { return toNIC },
			sendError: func(uint64) error { return nil },
			oversleep: func() time.Duration { return 0 },
		}
		w.far = func(_ uint64, request []byte) { w.arrive(time.Millisecond, replyTo(request).bytes()) }
		w.neighbor.Store(&arp.Neighbor{Addr: farIP, MAC: farMAC})
		w.engine, w.target = newEngine(t, s, w, func() instant {
			return instant{mono: int64(w.clock()), wall: w.wall()}
		})
		f(t, w)
	})
}

// clock is the time since the world began.
func (w *world) clock() time.Duration { return time.Since(w.base) }

// wall is CLOCK_REALTIME.
func (w *world) wall() int64 { return time.Now().UnixNano() + w.skew.Load() }

// at does something at a time of the world's clock.
func (w *world) at(d time.Duration, f func()) { time.AfterFunc(d-w.clock(), f) }

// run is a whole run. It ends with the checks that hold for every run.
func (w *world) run() {
	w.t.Helper()
	if err := w.engine.run(); err != nil {
		w.t.Fatal(err)
	}
	w.check()
	w.checkEnd()
}

func (w *world) Send(b []byte, id uint32) error {
	n := w.stats.Sent + 1
	if w.lastID != 0 && int32(id-w.lastID) <= 0 {
		w.t.Errorf("probe %d bears stamp id %d, after %d", n, id, w.lastID)
	}
	w.lastID = id
	if err := w.sendError(n); err != nil {
		return err
	}
	b = bytes.Clone(b)
	w.left = append(w.left, departed{n, w.clock(), b})
	w.stampLater(l2.Stamp{ID: id, Point: l2.StampSched, Time: w.wall() + int64(toSched)}, w.sched(n))
	w.stampLater(l2.Stamp{ID: id, Point: l2.StampDriver, Time: w.wall() + int64(toDriver)}, w.driver(n))
	if w.points.hardware {
		w.stampLater(l2.Stamp{ID: id, Point: l2.StampHardware, Time: nic(w.clock() + toNIC)}, w.hardware(n))
	}
	w.far(n, b)
	return nil
}

// nic is the NIC's clock at a time of the world's: of another epoch, and 50 ppm
// too fast.
func nic(at time.Duration) int64 { return 4711e9 + int64(at) + int64(at)/20_000 }

// stampLater puts a departure stamp into the error queue after a time.
func (w *world) stampLater(s l2.Stamp, after time.Duration) {
	if after == none {
		return
	}
	time.AfterFunc(after, func() {
		w.in.putStamp(s)
		w.in.wake()
	})
}

// arrive brings a frame a time after the driver let the request go.
func (w *world) arrive(after time.Duration, b []byte, change ...func(*capture.Frame)) {
	if after == none {
		return
	}
	time.AfterFunc(toDriver+after, func() {
		f := capture.Frame{Data: b, Length: len(b), Arrival: w.wall()}
		if w.points.hardware {
			f.Hardware = nic(w.clock() - fromNIC)
		}
		for _, c := range change {
			c(&f)
		}
		time.AfterFunc(toUser, func() {
			w.in.putFrame(f)
			w.in.wake()
		})
	})
}

func unstamped(f *capture.Frame) { f.Arrival = 0 }

func (w *world) Receive(frames []capture.Frame) (int, error) {
	n, err := w.in.Receive(frames)
	for _, f := range frames[:n] {
		w.acknowledge(f.Data)
	}
	return n, err
}

// acknowledge counts as iputils does (ping.h): of every answer, duplicates and
// errors too but not redirects, how many probes were sent since its own.
func (w *world) acknowledge(b []byte) {
	if w.forging {
		return
	}
	p := parse(b)
	if p.typ == 5 || slowChecksum(b[icmpAt:14+binary.BigEndian.Uint16(b[16:])]) != 0 {
		return
	}
	seq := p.seq()
	if p.typ != 0 {
		quoted := packet{rest: [4]byte(p.body[24:28])}
		seq = quoted.seq()
	}
	if diff := uint16(w.stats.Sent) - seq; diff <= 0x7fff {
		w.pipe = max(w.pipe, uint64(diff)+1)
	}
}

func (w *world) ReadStamps(stamps []l2.Stamp) (int, bool, error) {
	w.reads++
	return w.in.ReadStamps(stamps)
}

// Run waits as epoll(7) does: what can be read already ends a wait at once.
func (w *world) Run(turn func() (time.Duration, bool, bool)) error {
	for {
		wait, stamps, done := turn()
		if done {
			return nil
		}
		w.wait(wait, stamps)
	}
}

func (w *world) wait(d time.Duration, stamps bool) {
	w.check()
	timer := time.NewTimer(d)
	defer timer.Stop()
	for !w.stopped.Load() && !w.readable(stamps) {
		select {
		case <-w.in.arrived:
			continue
		case <-timer.C:
		}
		break
	}
	time.Sleep(w.oversleep())
}

func (w *world) readable(stamps bool) bool {
	nFrames, nStamps := w.in.unread()
	return nFrames > 0 || stamps && nStamps > 0
}

func (w *world) Snapshot() (arp.Neighbor, arp.Status) { return *w.neighbor.Load(), arp.Resolved }
func (w *world) Doubt()                               { w.doubts++ }
func (w *world) Err() error                           { return w.linkErr }

// startAfter makes an engine behave as if n probes had been answered already.
func (w *world) startAfter(n uint64) {
	w.stats.Sent, w.stats.Received = n, n
	w.oldest, w.highest, w.acked, w.first = n+1, n, n, 1
	w.outbox.last = uint32(n)
	w.pastStart = n
}

// check holds the statistics against the events and against the table of
// probes, after every step of the engine.
func (w *world) check() {
	w.t.Helper()
	s := w.current()
	checkInvariants(w.t, w.engine)
	if w.deafReader {
		return
	}
	w.events.mu.Lock()
	n := w.events.n
	w.events.mu.Unlock()
	if n > 0 {
		before := len(w.log)
		w.log, _ = w.events.read(w.log)
		for i := range w.log[before:] {
			w.logAt = append(w.logAt, w.clock())
			w.recount(&w.log[before+i])
		}
	}
	if len(w.held) > 0 || s.EventsDropped > 0 {
		return // counted already, told later
	}
	type counts struct{ received, lost, late, errors, lateErrors, duplicates, reordered, corrupted, rtts uint64 }
	of := func(s *Statistics) counts {
		return counts{s.Received, s.Lost, s.Late, s.Errors, s.LateErrors, s.Duplicates, s.Reordered, s.Corrupted, s.RTT.Count}
	}
	s.Received -= w.pastStart
	if of(&s) != of(&w.counts) || s.Stamps != w.counts.Stamps {
		w.t.Fatalf("at %v the statistics say %+v and stamps %v, the events %+v and %v",
			w.clock(), of(&s), s.Stamps, of(&w.counts), w.counts.Stamps)
	}
}

// recount counts an event, and checks that it may follow those before it.
func (w *world) recount(ev *Event) {
	w.t.Helper()
	c := &w.counts
	end := func() {
		if was := w.ends[ev.Seq]; was != 0 {
			w.t.Errorf("probe %d ends by %s, but it ended by kind %d before", ev.Seq, describe(ev), was)
		}
		w.ends[ev.Seq] = ev.Kind
	}
	switch ev.Kind {
	case Lost:
		end()
		c.Lost++
	case Failed:
		switch f := ev.Failure; {
		case f.Notice:
		case f.Late:
			c.LateErrors++
			if w.ends[ev.Seq] != Lost {
				w.t.Errorf("%s, but the probe was not lost", describe(ev))
			}
		default:
			end()
			c.Errors++
		}
	case Replied:
		switch ev.Reply.State {
		case StateReordered:
			c.Reordered++
			fallthrough
		case StateReplied:
			end()
			c.Received++
		case StateLate:
			c.Late++
			if was := w.ends[ev.Seq]; was != Lost && was != Failed {
				w.t.Errorf("%s, but the probe was neither lost nor failed", describe(ev))
			}
		case StateDuplicate:
			c.Duplicates++
			return
		case StateNone:
			c.Corrupted++
			return
		}
		c.RTT.Count++
		c.Stamps[ev.Reply.RTTSource]++
		w.rtts = append(w.rtts, ev.Reply.RTT)
	}
}

// checkEnd checks what holds at the end of a run.
func (w *world) checkEnd() {
	w.t.Helper()
	if len(w.held) > 0 {
		w.t.Errorf("%d replies that came were never told", len(w.held))
	}
	s := w.snapshot()
	if s.MaxOutstanding != w.pipe && !w.forging {
		w.t.Errorf("MaxOutstanding %d, by iputils' count %d", s.MaxOutstanding, w.pipe)
	}
	if !w.deafReader {
		checkRTT(w.t, &s.RTT, w.rtts)
	}
}

// checkRTT holds running figures against those of two passes over all times.
func checkRTT(t testing.TB, r *RTT, all []time.Duration) {
	t.Helper()
	if r.Count != uint64(len(all)) {
		t.Fatalf("%d RTTs counted, %d came", r.Count, len(all))
	}
	if len(all) == 0 {
		if r.Min != 0 || r.Max != 0 || r.Mean() != 0 || r.Stddev() != 0 || r.Smoothed != 0 {
			t.Errorf("figures without any RTT: %+v", r)
		}
		return
	}
	low, high, sum := all[0], all[0], 0.0
	for _, d := range all {
		low, high = min(low, d), max(high, d)
		sum += float64(d)
	}
	mean := sum / float64(len(all))
	squares, smoothed := 0.0, float64(all[0])
	for i, d := range all {
		squares += (float64(d) - mean) * (float64(d) - mean)
		if i > 0 {
			smoothed = smoothed*7/8 + float64(d)/8
		}
	}
	near := func(got time.Duration, want float64) bool {
		return math.Abs(float64(got)-want) <= 1+want*1e-9
	}
	if r.Min != low || r.Max != high || !near(r.Mean(), mean) ||
		!near(r.Stddev(), math.Sqrt(squares/float64(len(all)))) || !near(r.Smoothed, smoothed) {
		t.Errorf("min %v mean %v max %v stddev %v smoothed %v, by two passes %v %.1f %v %.1f %.1f",
			r.Min, r.Mean(), r.Max, r.Stddev(), r.Smoothed,
			low, mean, high, math.Sqrt(squares/float64(len(all))), smoothed)
	}
}

// checkInvariants checks what holds for the statistics of any engine at any
// time.
func checkInvariants(t testing.TB, e *engine) {
	t.Helper()
	s := e.current()
	if s.Sent != s.Received+s.Lost+s.Errors+s.Pending || max(s.Received, s.Lost, s.Errors, s.Pending) > s.Sent {
		t.Fatalf("sent %d is not received %d + lost %d + errors %d + pending %d",
			s.Sent, s.Received, s.Lost, s.Errors, s.Pending)
	}
	if s.Late > s.Lost+s.Errors || s.Reordered > s.Received || s.LateErrors > s.Lost {
		t.Fatalf("late %d of lost %d and errors %d, reordered %d of received %d, late errors %d",
			s.Late, s.Lost, s.Errors, s.Reordered, s.Received, s.LateErrors)
	}
	if r := s.LossRatio(); !(r >= 0 && r <= 1) {
		t.Fatalf("loss ratio %v of %s", r, brief(&s))
	}
	if s.MaxOutstanding > s.Sent {
		t.Fatalf("%d outstanding of %d sent", s.MaxOutstanding, s.Sent)
	}
	if len(e.targets[0].table.entries) > 256 && s.Sent%32 != 0 {
		return // the count below takes its time
	}
	var pending uint64
	for i := range e.targets[0].table.entries {
		if p := &e.targets[0].table.entries[i]; p.n != 0 && p.fate == fatePending {
			pending++
		}
	}
	if pending != s.Pending {
		t.Fatalf("%d pending, the table has %d", s.Pending, pending)
	}
}

// describe is an event in short: what the tests compare.
func describe(ev *Event) string {
	switch ev.Kind {
	case Sent:
		return fmt.Sprintf("%d sent", ev.Seq)
	case Lost:
		return fmt.Sprintf("%d lost", ev.Seq)
	case Failed:
		f := &ev.Failure
		s := fmt.Sprintf("%d error %d/%d", ev.Seq, f.Type, f.Code)
		if f.Local != nil {
			s = fmt.Sprintf("%d local error", ev.Seq)
		}
		if f.Notice {
			s += " notice"
		}
		if f.Late {
			s += " late"
		}
		return s
	case Replied:
		r := &ev.Reply
		s := fmt.Sprintf("%d %s", ev.Seq, r.State)
		if r.Corrupted {
			s += "corrupted"
		}
		if r.Truncated {
			s += " truncated"
		}
		if r.Mismatch != nil {
			s += fmt.Sprintf(" mismatch at %d", r.Mismatch.Offset)
		}
		return s
	}
	if ev.Kind == Changed && ev.Change.Kind == ChangedNeighbor {
		return fmt.Sprintf("now at %v, was at %v", ev.Change.Neighbor.MAC, ev.Change.OldMAC)
	}
	return fmt.Sprintf("kind %d", ev.Kind)
}

func (w *world) described() []string {
	list := []string{}
	for i := range w.log {
		list = append(list, describe(&w.log[i]))
	}
	return list
}

// brief is what a Statistics counts: its histograms are long.
func brief(s *Statistics) string {
	return fmt.Sprintf("sent %d, received %d, lost %d, late %d, errors %d, late errors %d, pending %d, duplicates %d, reordered %d, corrupted %d, "+
		"rejected %d, %d RTTs from %v to %v, stamps %v, %d lost, %d clock steps, timer error of %d, outstanding %d, skipped %d, retries %d, drops %d and %d",
		s.Sent, s.Received, s.Lost, s.Late, s.Errors, s.LateErrors, s.Pending, s.Duplicates, s.Reordered, s.Corrupted,
		s.Rejected, s.RTT.Count, s.RTT.Min, s.RTT.Max, s.Stamps, s.StampsLost, s.ClockSteps, s.TimerError.Count, s.MaxOutstanding, s.Skipped, s.SendRetries,
		s.KernelDrops, s.EventsDropped)
}

// A still world has no goroutine and no script: the test moves the clock and
// hands over frames and stamps. Nothing in it allocates once it runs.
type still struct {
	*engine
	*target
	at       instant
	frames   [][]byte
	incoming []capture.Frame
	stampsIn []l2.Stamp
	forget   bool // what is sent
	doubts   int
}

var errStill = errors.New("a still world does not wait")

func newStill(t testing.TB, s settings) *still {
	t.Helper()
	w := &still{at: instant{mono: 1, wall: 1_700_000_000_000_000_000}}
	w.engine, w.target = newEngine(t, s, w, func() instant { return w.at })
	w.schedule.start(w.at.mono)
	return w
}

func (w *still) pass(d time.Duration) {
	w.at.mono += int64(d)
	w.at.wall += int64(d)
}

func (w *still) Send(b []byte, _ uint32) error {
	if !w.forget {
		w.frames = append(w.frames, bytes.Clone(b))
	}
	return nil
}

// read returns the events since the last time.
func (w *still) read() []Event {
	if !w.events.unread() {
		return nil
	}
	log, _ := w.events.read(nil)
	return log
}

func (w *still) ReadStamps(stamps []l2.Stamp) (int, bool, error) {
	n := copy(stamps, w.stampsIn)
	w.stampsIn = w.stampsIn[n:]
	return n, n == len(stamps), nil
}

func (w *still) Receive(frames []capture.Frame) (int, error) {
	n := copy(frames, w.incoming)
	w.incoming = w.incoming[n:]
	return n, nil
}

func (w *still) Run(func() (time.Duration, bool, bool)) error { return errStill }

func (w *still) Snapshot() (arp.Neighbor, arp.Status) {
	return arp.Neighbor{Addr: farIP, MAC: farMAC}, arp.Resolved
}
func (w *still) Doubt()     { w.doubts++ }
func (w *still) Err() error { return nil }
