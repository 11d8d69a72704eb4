//go:build linux

package probe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/sock"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// ErrBroadcast says that the target is a broadcast address, which the Config
// does not allow.
var ErrBroadcast = errors.New("is a broadcast address")

// ErrNoStamps says that the stamps asked for are not to be had. It wraps the
// reason, for those of the NIC an *l2.NoHardwareError.
var ErrNoStamps = errors.New("stamps not to be had")

// A noStamps is an ErrNoStamps that says no more than the reason does.
type noStamps struct{ error }

func (noStamps) Is(target error) bool { return target == ErrNoStamps }
func (n noStamps) Unwrap() error      { return n.error }

var errNoDepartures = errors.New("the driver stamps no departures")

// ringSize is how many events wait for a slow reader before some are dropped.
const ringSize = 4096

// A Pinger probes one target. Run it once.
type Pinger struct {
	cfg      Config
	path     *l2.Path
	started  Started
	resolver *arp.Resolver
	watch    *l2.Watch
	filter   *bpf.Filter
	in       *capture.Socket
	out      *l2.Link
	loop     *sock.Loop
	restore  func() error // the NIC's setting; nil if it was not changed
	engine   *engine
	ran      atomic.Bool

	closing sync.Once
	closed  error
}

// New finds the path, opens the sockets and starts to resolve the next hop; it
// sends at most an ARP request. The Pinger holds descriptors until Run has
// returned or Close is called.
//
// It needs CAP_NET_RAW. Errors are those of l2.FindPath, ErrBroadcast,
// ErrNoStamps, what is wrong with the Config, and of the system calls, such as
// EPERM.
func New(cfg Config) (*Pinger, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	path, err := findPath(&cfg)
	if err != nil {
		return nil, err
	}
	if path.Broadcast && !cfg.Broadcast {
		return nil, fmt.Errorf("%s %w of %s", cfg.Target, ErrBroadcast, path.Interface.Name)
	}
	if err := cfg.checkSize(path); err != nil {
		return nil, err
	}
	p := &Pinger{cfg: cfg, path: path}
	if err := p.open(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// findPath asks the kernel for the path that a Config leads to.
func findPath(cfg *Config) (*l2.Path, error) {
	var ifc *l2.Interface
	var err error
	switch {
	case cfg.Interface != "":
		ifc, err = l2.InterfaceByName(cfg.Interface)
	case cfg.Source.IsValid():
		ifc, err = l2.InterfaceByAddress(cfg.Source)
	}
	if err != nil {
		return nil, err
	}
	return l2.FindPath(ifc, cfg.Target, cfg.Source)
}

// open opens whatever a run needs, in an order in which slow things overlap:
// the next hop is asked for while the filter is loaded.
func (p *Pinger) open() error {
	var err error
	if p.resolver, err = arp.Open(p.path); err != nil {
		return err
	}
	if p.watch, err = p.path.Interface.Watch(); err != nil {
		return err
	}
	points, err := p.points()
	if err != nil {
		return err
	}
	match, echo, err := p.describe()
	if err != nil {
		return err
	}
	if p.filter, err = bpf.NewFilter(match, p.cfg.Filter); err != nil {
		return err
	}
	if p.in, err = capture.Open(p.path.Interface, capture.Config{Filter: p.filter, Hardware: points.hardware}); err != nil {
		return err
	}
	if p.out, err = l2.OpenLink(p.path.Interface, &l2.LinkConfig{
		NoStamps: points.departure == l2.StampUser,
		Hardware: points.hardware,
	}); err != nil {
		return err
	}
	if points.hardware && !p.out.Hardware() {
		points.hardware = false
		p.started.TimestampsWhy = errors.New("this kernel gives no stamps of driver and NIC together")
		if p.cfg.Timestamps == TimestampsHardware {
			return noStamps{fmt.Errorf("no hardware stamps on %s: %w", p.path.Interface.Name, p.started.TimestampsWhy)}
		}
	}
	if points.departure != l2.StampUser {
		p.in.WarmUp() // so that probe 1 is as true as probe 100
	}
	if p.loop, err = sock.NewLoop(p.in.FD()); err != nil {
		return err
	}
	t, err := newTarget(p.path, echo, match)
	if err != nil {
		return err
	}
	p.started.ID = match.ID
	p.started.DataLen = echo.DataLen
	p.started.CookieBytes = match.CookieLen
	p.started.Filter = p.filter.Mode()
	p.started.FilterFallback = p.filter.Fallback()
	p.started.Timestamps = points.best()
	p.started.CountedIDs = p.out.CountsIDs()
	base := time.Now()
	p.engine = &engine{
		wire:      &sockets{p: p},
		neighbors: p.resolver,
		link:      p.watch,
		now:       func() instant { return readClocks(base) },
		events:    newRing(ringSize),
		target:    t,
		count:     p.cfg.Count,
		schedule:  newSchedule(&p.cfg),
		timeout:   int64(p.cfg.Timeout),
		deadline:  int64(p.cfg.Deadline),
		points:    points,
		sentToo:   p.cfg.Sent,
	}
	p.engine.init()
	return nil
}

// points says which stamps are to be had. Arrivals are stamped by the kernel
// itself, whatever the driver.
func (p *Pinger) points() (points, error) {
	ifc, want := p.path.Interface, p.cfg.Timestamps
	if p.cfg.SetHardware {
		var err error
		if p.restore, err = ifc.SetHardwareStamps(); err != nil {
			return points{}, err
		}
	}
	if want == TimestampsUser {
		return points{departure: l2.StampUser}, nil
	}
	ability, err := ifc.Stamps()
	best := points{departure: ability.Departure}
	switch want {
	case TimestampsSched:
		best.departure = l2.StampSched
	case TimestampsDriver:
		if ability.Departure != l2.StampDriver {
			if err == nil {
				err = errNoDepartures
			}
			return points{}, noStamps{fmt.Errorf("no driver stamps on %s: %w", ifc.Name, err)}
		}
	default:
		why := ability.HardwareNow()
		if err != nil {
			why = err
		}
		best.hardware = why == nil
		if why != nil && want == TimestampsHardware {
			return points{}, noStamps{why}
		}
		if best.departure != l2.StampDriver {
			why = errNoDepartures
		}
		p.started.TimestampsWhy = why
	}
	return best, nil
}

// describe makes the run's probe and what its replies look like.
func (p *Pinger) describe() (bpf.Match, *frame.Echo, error) {
	var secret [2 + frame.CookieLen]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return bpf.Match{}, nil, fmt.Errorf("draw a random id: %w", err)
	}
	id := binary.BigEndian.Uint16(secret[:])
	if p.cfg.ID != nil {
		id = *p.cfg.ID
	}
	echo := &frame.Echo{
		SrcMAC:       p.path.Interface.MAC,
		Src:          p.path.Source,
		Dst:          p.path.Destination,
		ID:           id,
		TTL:          p.cfg.TTL,
		TOS:          p.cfg.TOS,
		DontFragment: !p.cfg.MayFragment,
		Cookie:       [frame.CookieLen]byte(secret[2:]),
		DataLen:      *p.cfg.DataLen,
		Pattern:      p.cfg.Pattern,
	}
	match := bpf.Match{
		Kind:      bpf.EchoReply,
		Local:     echo.Src,
		Peer:      echo.Dst,
		ID:        id,
		Cookie:    echo.Cookie,
		CookieLen: min(echo.DataLen, frame.CookieLen),
	}
	if p.path.Broadcast {
		match.Peer = netip.Addr{} // whoever answers
	}
	return match, echo, nil
}

// sockets is the engine's wire.
type sockets struct {
	p       *Pinger
	watched bool // the error queue ends a wait
}

func (s *sockets) Send(b []byte, id uint32) error { return s.p.out.Send(b, id) }

func (s *sockets) ReadStamps(stamps []l2.Stamp) (int, bool, error) { return s.p.out.ReadStamps(stamps) }

func (s *sockets) Receive(frames []capture.Frame) (int, error) { return s.p.in.Receive(frames) }

func (s *sockets) Run(turn func() (wait time.Duration, stamps, done bool)) error {
	if s.p.cfg.Spin {
		// A thread of its own keeps its caches.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for {
			if _, _, done := turn(); done {
				return nil
			}
		}
	}
	var failed error
	err := s.p.loop.Run(func() (time.Duration, bool) {
		wait, stamps, done := turn()
		if stamps != s.watched {
			failed = s.p.loop.WatchErrors(s.p.out.FD(), stamps)
			s.watched = stamps
		}
		return wait, done || failed != nil
	})
	return errors.Join(err, failed)
}

// Run resolves the next hop, probes, and yields what happens: Start, then the
// events of the probes, then Summary. It ends when the Config says so, when ctx
// is done, which is no error, or when the loop is left. A reader that stalls
// delays no probe: events that it has no room for are dropped and counted in
// the statistics, which stay exact. Events that come within 100 ms of each other
// may be told together. Run closes the Pinger.
func (p *Pinger) Run(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if p.ran.Swap(true) {
			yield(Event{}, errors.New("the pinger has run already, or was closed"))
			return
		}
		defer p.Close() // also when the loop's body panics
		err := p.run(ctx, func(e Event) bool { return yield(e, nil) })
		if err = errors.Join(err, p.Close()); err != nil && !errors.Is(err, errLeft) {
			yield(Event{}, err)
		}
	}
}

// errLeft says that the caller has left the loop.
var errLeft = errors.New("loop left")

func (p *Pinger) run(ctx context.Context, yield func(Event) bool) error {
	e := p.engine
	began := e.now()
	if p.cfg.Deadline != 0 {
		e.deadline += began.mono
	}
	if !yield(p.start(ctx)) {
		return errLeft
	}
	finish := p.launch(ctx)
	defer finish() // also when the loop's body panics
	for buf, ok := e.events.read(nil); ok; buf, ok = e.events.read(buf[:0]) {
		for i := range buf {
			buf[i].More = i < len(buf)-1
			if !yield(buf[i]) {
				return errLeft
			}
		}
	}
	if err := finish(); err != nil {
		return err
	}
	if !yield(p.summary()) {
		return errLeft
	}
	return nil
}

// launch runs the engine until it is done, ctx is, or finish is called, which
// waits for it.
func (p *Pinger) launch(ctx context.Context) (finish func() error) {
	end := func() {
		p.engine.stop()
		p.loop.Wake()
	}
	if ctx.Err() != nil {
		p.engine.stop() // before it sends anything
	}
	ended := make(chan struct{})
	release := context.AfterFunc(ctx, func() {
		end()
		close(ended)
	})
	result := make(chan error, 1)
	go func() {
		err := p.engine.run()
		p.engine.addKernelCounts(p.filter, p.in)
		p.engine.events.close()
		result <- err
	}()
	return sync.OnceValue(func() error {
		end()
		err := <-result
		if !release() {
			<-ended // it is about to use the loop
		}
		return err
	})
}

// start waits for the next hop and tells what the probes are made of.
func (p *Pinger) start(ctx context.Context) Event {
	if p.cfg.Deadline != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.cfg.Deadline)
		defer cancel()
	}
	// With nobody there the run goes on all the same: each probe says so, and
	// a host that comes up is found.
	neighbor, _ := p.resolver.Resolve(ctx)
	started := p.started
	started.Decision = arp.Decision{Path: p.path, Neighbor: neighbor}
	return Event{Kind: Start, Time: time.Now(), Address: p.path.Destination, Start: &started}
}

// summary ends the stream.
func (p *Pinger) summary() Event {
	s := p.Statistics()
	return Event{Kind: Summary, Time: time.Now(), Address: p.path.Destination, Statistics: &s}
}

// Statistics returns the counts and times so far. It may be called at any time,
// from any goroutine; what the kernel itself counts is added at the end of Run.
func (p *Pinger) Statistics() Statistics { return p.engine.snapshot() }

// Close ends what New has opened. Run does it by itself.
func (p *Pinger) Close() error {
	p.ran.Store(true)
	p.closing.Do(func() {
		var sockets []io.Closer
		if p.in != nil {
			sockets = append(sockets, p.in)
		}
		if p.out != nil {
			sockets = append(sockets, p.out)
		}
		if p.resolver != nil {
			sockets = append(sockets, p.resolver)
		}
		if p.watch != nil {
			sockets = append(sockets, p.watch)
		}
		if p.loop != nil {
			sockets = append(sockets, p.loop)
		}
		p.closed = sock.CloseAll(sockets...)
		if p.restore != nil {
			p.closed = errors.Join(p.closed, p.restore())
		}
		if p.filter != nil {
			p.closed = errors.Join(p.closed, p.filter.Close())
		}
	})
	return p.closed
}
