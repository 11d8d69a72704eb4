//go:build linux

package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// A lane is an exchange with everything around it, in a synctest bubble. Its
// requests are echo requests, which differ in their sequence numbers.
type lane struct {
	t testing.TB
	*exchange
	in   *inbox
	base time.Time
	skew atomic.Int64

	// The script.
	far       func(seq uint16, try int, request []byte) // what a frame that left brings about
	sendError func(seq uint16, try int) error
	sched     func(seq uint16) time.Duration // when its stamps can be read, none: never
	driver    func(seq uint16) time.Duration
	linkErr   error
	expectErr error
	quits     func(e *Exchanged) bool // the reader leaves
	slow      time.Duration           // it takes for each
	failing   func()                  // it hears of an error
	sending   time.Duration           // that a batch takes

	// What happened.
	left  []departed
	tries map[uint16]int
	guard sync.Mutex
	known map[bpf.Key]int
	log   []string
	all   []Exchanged
}

// inLane runs f in a bubble with a lane in which every request is answered after a
// millisecond: with each batch sent by the exchange's own goroutine, and by another.
func inLane(t *testing.T, cfg ExchangeConfig, f func(t *testing.T, l *lane)) {
	t.Helper()
	for beside := range 2 {
		synctest.Test(t, func(t *testing.T) {
			l := newLane(t, cfg)
			l.side.min = beside
			f(t, l)
			if t.Failed() {
				t.Logf("with batches of at least %d sent beside", beside)
			}
		})
	}
}

func newLane(t testing.TB, cfg ExchangeConfig) *lane {
	t.Helper()
	if err := cfg.setDefaults(); err != nil {
		t.Fatal(err)
	}
	l := &lane{
		t: t, in: newInbox(), base: time.Now(), tries: map[uint16]int{}, known: map[bpf.Key]int{},
		sendError: func(uint16, int) error { return nil },
		sched:     func(uint16) time.Duration { return toSched },
		driver:    func(uint16) time.Duration { return toDriver },
		quits:     func(*Exchanged) bool { return false },
	}
	l.silentTo(func(uint16, int) bool { return false })
	l.exchange = newExchange(&cfg, &exchange{
		wire: l, link: l, filter: l, name: "eth0", points: points{departure: l2.StampDriver},
		now: func() instant { return instant{mono: int64(l.clock()) + 1, wall: l.wall()} },
	}, l.in.wake)
	return l
}

const ms = time.Millisecond

func (l *lane) clock() time.Duration { return time.Since(l.base) }
func (l *lane) wall() int64          { return time.Now().UnixNano() + l.skew.Load() }

// run exchanges, and checks that nothing is left.
func (l *lane) run(ctx context.Context, requests iter.Seq2[[]byte, error]) error {
	l.t.Helper()
	var failed error
	err := runExchange(ctx, l.exchange, l.in.wake, func(<-chan struct{}) {}, func() {}, requests, func(e *Exchanged, err error) bool {
		if err != nil {
			failed = err
			if l.failing != nil {
				l.failing()
			}
			return true
		}
		l.log = append(l.log, describeExchanged(e, l.clock()))
		c := *e
		c.Request.Frame, c.Reply.Data = bytes.Clone(e.Request.Frame), bytes.Clone(e.Reply.Data)
		l.all = append(l.all, c)
		time.Sleep(l.slow)
		return !l.quits(e)
	}, true)
	err = errors.Join(failed, err)
	l.check()
	if len(l.keys)+len(l.own) > 0 && len(l.held) == 0 && l.inUse() == 0 {
		l.t.Errorf("%d keys and %d of rules are left", len(l.keys), len(l.own))
	}
	if s := l.statistics(); !errors.Is(err, errLeft) && s.Answered+s.Unanswered != l.seq {
		l.t.Errorf("of %d requests %d were answered and %d not", l.seq, s.Answered, s.Unanswered)
	}
	if l.inUse() != 0 && !errors.Is(err, errLeft) && !l.multi {
		l.t.Errorf("%d requests are left", l.inUse())
	}
	return err
}

// check is what holds at any time.
func (l *lane) check() {
	l.t.Helper()
	checkExchange(l.t, l.exchange)
	for k, n := range l.known {
		if n < 0 {
			l.t.Errorf("key %v is forgotten more often than expected", k)
		}
	}
}

// checkExchange holds lists, chains and places against each other.
func checkExchange(t testing.TB, x *exchange) {
	t.Helper()
	listed := 0
	for in := range x.lists {
		was := none32
		for i := x.lists[in].head; i != none32; i = x.flights[i].next {
			f := &x.flights[i]
			if f.prev != was || f.in != listing(in) || f.frame == nil {
				t.Fatalf("flight %d is in list %d, after %d: %+v", i, in, was, f)
			}
			was = i
			listed++
		}
		if x.lists[in].tail != was {
			t.Fatalf("list %d ends with %d, not %d", in, was, x.lists[in].tail)
		}
	}
	used, keys, chained := 0, 0, 0
	for i := range x.flights {
		if f := &x.flights[i]; f.frame != nil {
			used++
			keys += f.nKeys
			if f.hasOwn {
				keys++
			}
		}
	}
	if used != x.inUse() || listed > used {
		t.Fatalf("%d flights are used, %d of them listed, and %d not free", used, listed, x.inUse())
	}
	follow := func(c chain) {
		was := none32
		for at := c.head; at != none32; at = x.place(at).next {
			if x.place(at).prev != was {
				t.Fatalf("place %d is after %d, not %d", at, was, x.place(at).prev)
			}
			was = at
			chained++
		}
		if c.tail != was || c.head == none32 {
			t.Fatalf("a chain from %d ends with %d, not %d", c.head, was, c.tail)
		}
	}
	for _, c := range x.keys {
		follow(c)
	}
	for _, c := range x.own {
		follow(c)
	}
	if chained != keys {
		t.Fatalf("%d keys, %d in chains", keys, chained)
	}
}

func describeExchanged(e *Exchanged, at time.Duration) string {
	s := fmt.Sprintf("%d ", e.Request.Seq)
	switch {
	case e.Request.Err != nil:
		s += "failed"
	case !e.Answered:
		s += "unanswered"
	default:
		s += "answered"
	}
	if e.More {
		s += " again"
	}
	if e.Request.Tries != 1 {
		s += fmt.Sprintf(" after %d", e.Request.Tries)
	}
	return fmt.Sprintf("%s at %v", s, at.Truncate(ms))
}

func (l *lane) Send([]byte, uint32) error { panic("an exchange sends batches") }

func (*lane) Mute() {}

func (l *lane) SendBatch(frames [][]byte, first uint32) (int, error) {
	var sent [][]byte
	for _, b := range frames {
		sent = append(sent, bytes.Clone(b))
	}
	defer func() {
		time.Sleep(l.sending)
		if !slices.EqualFunc(frames, sent, bytes.Equal) {
			l.t.Error("frames change while they are sent")
		}
	}()
	for i, b := range frames {
		b = bytes.Clone(b)
		seq := uint16(0)
		if len(b) >= icmpAt+8 {
			seq = binary.BigEndian.Uint16(b[icmpAt+6:])
		}
		// Beside, the answer to the try before may come meanwhile.
		if len(l.rules) == 0 && (l.tries[seq] == 0 || l.side.min == 0) && !l.knows(b) {
			l.t.Errorf("request %d leaves before its answers are expected", seq)
		}
		l.tries[seq]++
		if err := l.sendError(seq, l.tries[seq]); err != nil {
			return i, err
		}
		id := first + uint32(i)
		l.left = append(l.left, departed{uint64(seq), l.clock(), b})
		l.stampLater(l2.Stamp{ID: id, Point: l2.StampSched, Time: l.wall() + int64(toSched)}, l.sched(seq))
		l.stampLater(l2.Stamp{ID: id, Point: l2.StampDriver, Time: l.wall() + int64(toDriver)}, l.driver(seq))
		l.far(seq, l.tries[seq], b)
	}
	return len(frames), nil
}

// knows tells whether the kernel lets pass what answers a request.
func (l *lane) knows(b []byte) bool {
	l.guard.Lock()
	defer l.guard.Unlock()
	for _, k := range bpf.AppendRequestKeys(nil, b, false) {
		if l.known[k] < 1 {
			return false
		}
	}
	return true
}

func (l *lane) stampLater(s l2.Stamp, after time.Duration) {
	if after == none {
		return
	}
	time.AfterFunc(after, func() {
		l.in.putStamp(s)
		l.in.wake()
	})
}

// arrive brings a frame a time after the driver let the request go.
func (l *lane) arrive(after time.Duration, b []byte, change ...func(*capture.Frame)) {
	time.AfterFunc(toDriver+after, func() {
		f := capture.Frame{Data: b, Length: len(b), Arrival: l.wall()}
		for _, c := range change {
			c(&f)
		}
		time.AfterFunc(toUser, func() {
			l.in.putFrame(f)
			l.in.wake()
		})
	})
}

func (l *lane) Receive(frames []capture.Frame) (int, error)       { return l.in.Receive(frames) }
func (l *lane) ReadStamps(stamps []l2.Stamp) (int, bool, error)   { return l.in.ReadStamps(stamps) }
func (l *lane) Run(turn func() (time.Duration, bool, bool)) error { return l.in.loop(turn, l.check) }
func (l *lane) Err() error {
	l.guard.Lock()
	defer l.guard.Unlock()
	return l.linkErr
}

func (l *lane) Expect(keys []bpf.Key) error {
	if l.expectErr != nil {
		return l.expectErr
	}
	l.guard.Lock()
	defer l.guard.Unlock()
	for _, k := range keys {
		l.known[k]++
	}
	return nil
}

func (l *lane) Forget(keys []bpf.Key) error {
	if l.expectErr != nil {
		return nil // none is expected
	}
	l.guard.Lock()
	defer l.guard.Unlock()
	for _, k := range keys {
		l.known[k]--
	}
	return nil
}

// echoes are echo requests with those sequence numbers.
func echoes(seqs ...uint16) [][]byte {
	var list [][]byte
	for _, n := range seqs {
		e := &frame.Echo{SrcMAC: nearMAC, Src: nearIP, Dst: farIP, ID: probeID, TTL: DefaultTTL, Cookie: cookie, DataLen: 56}
		template, err := e.Template()
		if err != nil {
			panic(err)
		}
		template.SetDstMAC(farMAC)
		list = append(list, bytes.Clone(template.Patch(uint64(n))))
	}
	return list
}

func (l *lane) want(want ...string) {
	l.t.Helper()
	if !slices.Equal(l.log, want) {
		l.t.Errorf("got  %q\nwant %q", l.log, want)
	}
}
