//go:build linux

package probe

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/sock"
	"github.com/l2ping/l2ping/internal/sock/classic"
	"github.com/l2ping/l2ping/l2"
)

// A Request is a frame that was sent, or that could not be.
type Request struct {
	// Seq is its place in the order in which the requests came, from 1.
	Seq uint64
	// Frame is the request as it was given.
	Frame []byte
	// Tries is how often it has left: more than once with ExchangeConfig.Retry, and
	// 0 if it has not.
	Tries int
	// Sent is the wall-clock time before it left, of an answered one for the try
	// that was answered: the last, unless the answer came before that left.
	Sent time.Time
	// Sched, Driver and Hardware are that departure's stamps in nanoseconds, as
	// l2.Stamp has them; 0 for those that there are not.
	Sched, Driver, Hardware int64
	// Err is why it could not leave, such as EMSGSIZE.
	Err error
}

// An Exchanged is what became of a request: an answer, or that there was none.
type Exchanged struct {
	Request Request
	// Answered tells whether there is an answer.
	Answered bool
	// More says that it is not the first to its request, as only with
	// ExchangeConfig.Multi.
	More bool
	// Reply is the answer, with its arrival stamps. Checksums are not checked.
	Reply capture.Frame
	// OtherMember says that it came in by another member of the bridge, bond or VRF
	// that the interface is a member of.
	OtherMember bool
	// Times are what the stamps of both tell.
	Times
}

// ExchangeStatistics counts what an exchange did.
type ExchangeStatistics struct {
	// Sent counts frames, each try of a request.
	Sent uint64
	// Answered and Unanswered count requests.
	Answered, Unanswered uint64
	// Unpaired counts frames that passed the filter and answered nothing that was
	// out: duplicates, those that came too late, forged ones.
	Unpaired uint64
	// SendRetries counts how often the interface's queue was full.
	SendRetries uint64
	// Rounds counts those of a negative ExchangeConfig.Retry, after the first.
	Rounds uint64
	// AnswersDropped counts answers beyond the first to a request that the caller
	// was too slow for.
	AnswersDropped uint64
	// KernelDrops counts frames that passed the filter and found no room in the
	// socket. It is known when Run has returned.
	KernelDrops uint64
}

// An Exchanger sends frames by one interface and pairs what comes back, as
// bpf.Answers and the Rules say: scapy's srp. Run it once.
//
// The kernel hears the answers too, for it has the addresses that they go to. To a
// SYN-ACK of a connection that it knows nothing of it sends a RST, and to a UDP
// datagram for no socket of its own a port unreachable (RFC 9293, section 3.5.2;
// RFC 1122, section 4.1.3.1). The way around it is to ask from an address that the
// host does not have: ExchangeConfig.AnswerFor has the peers find its MAC.
type Exchanger struct {
	sockets
	cfg        ExchangeConfig
	ifc        *l2.Interface
	filter     *bpf.Expected
	responders []*arp.Responder
	others     []*capture.Socket // of other members
	exchange   *exchange
	why        error // no better stamps
	life       lifetime
}

// NewExchanger opens the sockets on an interface; cfg may be nil. The Exchanger
// holds descriptors until Run has returned or Close is called. It works in the
// network namespace of the calling thread.
//
// It needs CAP_NET_RAW, and CAP_BPF besides for the eBPF filter. Errors are those of
// l2.InterfaceByName and l2.Interface.Usable, ErrNoStamps, what is wrong with the
// ExchangeConfig, and of the system calls, such as EPERM.
func NewExchanger(iface string, cfg *ExchangeConfig) (*Exchanger, error) {
	x := &Exchanger{}
	if cfg != nil {
		x.cfg = *cfg
	}
	if err := x.cfg.setDefaults(); err != nil {
		return nil, err
	}
	if err := x.open(iface); err != nil {
		return nil, errors.Join(err, x.Close())
	}
	return x, nil
}

func (x *Exchanger) open(iface string) error {
	var err error
	if x.ifc, err = l2.InterfaceByName(iface); err != nil {
		return err
	}
	if err = x.ifc.Usable(); err != nil {
		return err
	}
	if x.ifc.NoLink && len(x.cfg.Rules) > 0 {
		return fmt.Errorf("rules on %s: it has no link layer, and so no EtherTypes", iface)
	}
	var program *classic.Machine
	if len(x.cfg.Instructions) > 0 {
		if program, err = classic.NewMachine(slices.Clone(x.cfg.Instructions)); err != nil {
			return fmt.Errorf("filter of answers: %w", err)
		}
	}
	if x.watch, err = x.ifc.Watch(); err != nil {
		return err
	}
	has, why, err := x.points(x.ifc, x.cfg.Timestamps, x.cfg.SetHardware)
	if err != nil {
		return err
	}
	x.why = why
	if x.cfg.Bypass && has.departure == l2.StampSched {
		has.departure, x.why = l2.StampUser, errBypassed
	}
	if err = x.openIn(x.ifc, capture.SocketConfig{
		Hardware: has.hardware, MAC: x.cfg.MAC, Promiscuous: x.cfg.Promiscuous, FrameBytes: capture.MaxMerged,
	}, has.departure != l2.StampUser, func() (_ capture.Filter, err error) {
		x.filter, err = bpf.NewExpected(x.cfg.Filter, x.cfg.expect(x.ifc))
		return x.filter, err
	}); err != nil {
		return err
	}
	if why, err = x.openOut(x.ifc, &has, x.cfg.Timestamps, l2.LinkConfig{
		Mark:    x.cfg.Mark,
		Bypass:  x.cfg.Bypass,
		NoSched: x.cfg.Interval == 0,
	}); err != nil {
		return err
	} else if why != nil {
		x.why = why
	}
	if x.responders, err = openResponders(x.ifc, x.cfg.AnswerFor); err != nil {
		return err
	}
	var ears []ear
	if x.others, ears, err = openEars(x.ifc, x.filter); err != nil {
		return err
	}
	fds := []int{x.in.FD()}
	for _, s := range x.others {
		fds = append(fds, s.FD())
	}
	if x.loop, err = sock.NewLoop(fds...); err != nil {
		return err
	}
	base := time.Now()
	x.exchange = newExchange(&x.cfg, &exchange{
		wire: x.sockets.wire(), link: x.watch, filter: x.filter, now: func() instant { return readClocks(base) },
		name: x.ifc.Name, points: has, noLink: x.ifc.NoLink, program: program, ifc: x.ifc, others: ears,
	}, x.loop.Wake)
	if x.cfg.Interval == 0 && runtime.GOMAXPROCS(0) > 1 && !x.out.CountsIDs() {
		x.exchange.side.min = sidelineLen
	}
	return nil
}

// newExchange makes an exchange ready, of which the surroundings are there.
func newExchange(c *ExchangeConfig, x *exchange, wake func()) *exchange {
	x.buffers = &buffers{}
	x.intake = newIntake(x.buffers, wake)
	x.timeout, x.schedule.interval = int64(c.Timeout), int64(c.Interval)
	x.window, x.retry, x.multi, x.rules = c.Window, c.Retry, c.Multi, slices.Clone(c.Rules)
	x.init()
	return x
}

// errBypassed says why there are no stamps of the qdisc.
var errBypassed = errors.New("the qdisc is bypassed, and the driver gives no stamps")

// errRan says that an Exchanger can run no more.
var errRan = errors.New("the exchanger has run already, or was closed")

// Run sends the requests, in their order, and yields what becomes of each, as soon
// as that is known: its answer (with ExchangeConfig.Multi answers), or that there was
// none. Frames makes requests of byte slices, Append of what appends itself to a
// buffer; their number need not be known. What is yielded is valid until the next
// turn.
//
// The requests are copied, and read a few hundred ahead, in a goroutine of their own,
// where nobody recovers from a panic: they may wait for something. Run does not return
// before they do, and tells of an error before it waits for that. It ends when all
// requests are done, with the error of the requests if they had one; when ctx is
// done, which is no error, after telling of those that are out as unanswered; or when
// the loop is left. It fails when the interface goes down or away, with l2.ErrDown, or
// loses its carrier, with l2.ErrNoCarrier. A caller who reads slowly slows the sending
// down, and misses nothing but what ExchangeConfig.Multi says. Run closes the Exchanger.
func (x *Exchanger) Run(ctx context.Context, requests iter.Seq2[[]byte, error]) iter.Seq2[Exchanged, error] {
	return func(yield func(Exchanged, error) bool) {
		if !x.life.begin(x.stop) {
			yield(Exchanged{}, errRan)
			return
		}
		defer x.Close() // also when the loop's body panics
		defer x.life.over()
		err := x.run(ctx, requests, func(e *Exchanged, err error) bool {
			if err != nil {
				return yield(Exchanged{}, err)
			}
			return yield(*e, nil)
		}, true)
		x.life.over()
		if !errors.Is(err, errLeft) {
			if err = errors.Join(err, x.Close()); err != nil {
				yield(Exchanged{}, err)
			}
		}
	}
}

// run is Run; it returns what is wrong besides what it yields. Without reuse what is
// yielded stays.
func (x *Exchanger) run(ctx context.Context, requests iter.Seq2[[]byte, error], yield func(*Exchanged, error) bool, reuse bool) error {
	return runExchange(ctx, x.exchange, x.loop.Wake,
		func(done <-chan struct{}) { wakeOnChange(x.watch, x.loop, done) },
		func() {
			var all uint64
			for _, s := range append(x.others, x.in) {
				drops, _ := s.Drops() // what is counted by now is returned with an error too
				all += drops
			}
			x.exchange.counts.kernelDrops.Store(all)
		}, requests, yield, reuse)
}

// runExchange runs an exchange, with its requests and its reader. beside runs as
// long, and last is called at its end.
func runExchange(ctx context.Context, e *exchange, wake func(), beside func(<-chan struct{}), last func(),
	requests iter.Seq2[[]byte, error], yield func(*Exchanged, error) bool, reuse bool,
) error {
	if ctx.Err() != nil {
		return nil // before anything is sent
	}
	finish := launch(ctx, e.run, func() {
		e.stop()
		wake()
	}, beside, func() {
		last()
		e.intake.stop()
		e.events.close()
	})
	var reading sync.WaitGroup
	reading.Go(func() { e.intake.read(requests) })
	defer func() { // also when the loop's body panics
		_ = finish()
		reading.Wait()
	}()
	if err := e.tell(yield, reuse, wake); err != nil {
		return err
	}
	err := finish()
	if errors.Is(err, errExited) {
		err = fmt.Errorf("exchange on %s: a rule: %w", e.name, err)
	}
	// Before the requests have ended, for they may wait for the caller to hear of it.
	if err != nil && !yield(nil, err) {
		return errLeft
	}
	reading.Wait()
	return e.intake.failure()
}

// tell yields what happens, until nothing does.
func (x *exchange) tell(yield func(*Exchanged, error) bool, reuse bool, wake func()) error {
	for buf, ok := x.events.read(nil); ok; buf, ok = x.events.read(buf[:0]) {
		if x.starving.Swap(false) {
			wake()
		}
		for i := range buf {
			e := &buf[i]
			if !yield(e, nil) {
				return errLeft
			}
			if reuse {
				x.buffers.put(e.Request.Frame)
				x.buffers.put(e.Reply.Data)
			}
		}
		clear(buf)
	}
	// The run is over. What there was no room for is told from here.
	for _, p := range x.givenUp {
		e := x.noAnswer(p, nil)
		if !yield(&e, nil) {
			return errLeft
		}
	}
	return nil
}

// Filter tells which filter the kernel runs, and why it is not eBPF if the
// ExchangeConfig left the choice open.
func (x *Exchanger) Filter() (mode bpf.Mode, fallback error) {
	return x.filter.Mode(), x.filter.Fallback()
}

// Timestamps is the pair of stamps to be had, named by its weaker end, and why there
// is none better if the ExchangeConfig left the choice open.
func (x *Exchanger) Timestamps() (best l2.StampPoint, why error) {
	return x.exchange.points.best(), x.why
}

// Statistics returns the counts so far. It may be called at any time, from any
// goroutine.
func (x *Exchanger) Statistics() ExchangeStatistics { return x.exchange.statistics() }

// stop ends the run.
func (x *Exchanger) stop() {
	x.exchange.stop()
	x.loop.Wake()
}

// Close closes what NewExchanger has opened. Run does it by itself; while that runs,
// Close ends it as the end of its context does, and returns nil.
func (x *Exchanger) Close() error {
	return x.life.close(func() error {
		err := x.sockets.close(append(closers(x.responders), closers(x.others)...)...)
		if x.filter != nil {
			err = errors.Join(err, x.filter.Close())
		}
		return err
	})
}

// Exchange sends frames by an interface and returns which were answered, in the order
// in which the answers came, and which were not, in their own. It is Exchanger.Run
// from beginning to end; cfg may be nil. When ctx ends it returns what there is:
// frames that were not sent by then are among the unanswered, with no Tries. So it is
// after an error, whatever it is. What it returns stays.
func Exchange(ctx context.Context, iface string, frames [][]byte, cfg *ExchangeConfig) (answered []Exchanged, unanswered []Request, err error) {
	var c ExchangeConfig
	if cfg != nil {
		c = *cfg
	}
	if c.Window == 0 { // no room for more than there are
		c.Window = max(min(len(frames), DefaultWindow), 1)
	}
	told := make([]bool, len(frames))
	defer func() {
		for i, known := range told {
			if !known {
				unanswered = append(unanswered, Request{Seq: uint64(i) + 1, Frame: bytes.Clone(frames[i])})
			}
		}
		slices.SortFunc(unanswered, func(a, b Request) int { return cmp.Compare(a.Seq, b.Seq) })
	}()
	x, err := NewExchanger(iface, &c)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	answered = make([]Exchanged, 0, min(len(frames), x.cfg.Window))
	failed := x.run(ctx, Frames(frames...), func(e *Exchanged, failed error) bool {
		if err = failed; err != nil {
			return true
		}
		told[e.Request.Seq-1] = true
		if e.Answered {
			answered = append(answered, *e)
		} else {
			unanswered = append(unanswered, e.Request)
		}
		return true
	}, false)
	return answered, unanswered, errors.Join(err, failed)
}
