//go:build linux

package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
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

var errGroup = errors.New("is many hosts: it has to be the only target")

// ringSize is how many events wait for a slow reader before some are dropped.
const ringSize = 4096

// manyTargets is the number of targets beyond which less is kept of each: RTTs to
// a sixteenth, the last few probes, and no budget.
const manyTargets = 64

// A Pinger probes one or more targets by one interface. Run it once.
type Pinger struct {
	sockets
	cfg       Config
	secret    secret
	routing   *l2.Routing
	ifc       *l2.Interface
	started   Started // what is common to all targets
	neighbors *arp.Table
	// responders answer for the sources that the host does not answer for, home is
	// where another would have to be opened.
	responders map[netip.Addr]*arp.Responder
	home       home
	filter     *bpf.Filter
	others     []*capture.Socket // that hear what comes in by other members of a bridge, bond or VRF
	engine     *engine
	life       lifetime
}

// New finds the paths, opens the sockets and starts to resolve the next hops; it
// sends at most a request for one. The Pinger holds descriptors until Run has
// returned or Close is called.
//
// It needs CAP_NET_RAW. Errors are those of l2.Routing.Path, ErrBroadcast,
// ErrNoStamps, what is wrong with the Config, and of the system calls, such as
// EPERM. With several targets one that has no path is no error: its probes are.
func New(cfg Config) (*Pinger, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	p := &Pinger{cfg: cfg}
	if err := p.open(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// open opens whatever a run needs, in an order in which slow things overlap:
// the next hop is asked for while the filter is loaded.
func (p *Pinger) open() error {
	var err error
	if p.secret, err = p.cfg.draw(); err != nil {
		return err
	}
	if p.routing, err = l2.OpenRouting(); err != nil {
		return err
	}
	if p.cfg.Source.IsValid() || p.cfg.inVLAN() {
		if p.home, err = openHome(); err != nil {
			return err
		}
	}
	ways, err := p.findWays()
	if err != nil {
		return err
	}
	// Subscribed to changes before the next hops are looked up.
	if p.watch, err = p.ifc.Watch(); err != nil {
		return err
	}
	if p.cfg.Neighbor == nil {
		if p.neighbors, err = arp.OpenTable(p.ifc, p.tableConfig()); err != nil {
			return err
		}
	}
	targets, err := p.targets(ways)
	if err != nil {
		return err
	}
	points, why, err := p.points(p.ifc, p.cfg.Timestamps, p.cfg.SetHardware)
	if err != nil {
		return err
	}
	p.started.TimestampsWhy = why
	match := p.cfg.match(ways.paths, p.secret)
	if err = p.openIn(p.ifc, capture.SocketConfig{
		Hardware: points.hardware, MAC: p.cfg.SrcMAC, Groups: p.cfg.groups(),
	}, points.departure != l2.StampUser, func() (_ capture.Filter, err error) {
		p.filter, err = bpf.NewFilter(match, p.cfg.Filter)
		return p.filter, err
	}); err != nil {
		return err
	}
	if why, err = p.openOut(p.ifc, &points, p.cfg.Timestamps, l2.LinkConfig{Mark: p.cfg.Mark}); err != nil {
		return err
	} else if why != nil {
		p.started.TimestampsWhy = why
	}
	if err := p.hearOthers(); err != nil {
		return err
	}
	fds := []int{p.in.FD()}
	for _, s := range p.others {
		fds = append(fds, s.FD())
	}
	if p.loop, err = sock.NewLoop(fds...); err != nil {
		return err
	}
	p.describe(targets, points)
	p.spin = p.cfg.Spin
	base := time.Now()
	p.engine = &engine{
		wire:     p.sockets.wire(),
		link:     p.watch,
		now:      func() instant { return readClocks(base) },
		events:   newRing(ringSize, len(targets)),
		targets:  targets,
		match:    match,
		count:    p.cfg.Count,
		enough:   p.cfg.Enough,
		timeout:  int64(p.cfg.Timeout),
		deadline: int64(p.cfg.Deadline),
		points:   points,
		sentToo:  p.cfg.Sent,
	}
	if p.cfg.Evidence {
		p.engine.recorder = newRecorder(MaxEvidence)
	}
	if p.cfg.PMTU == PMTUWant && p.cfg.Neighbor == nil {
		p.engine.narrow = p.narrow
	}
	for _, s := range p.others {
		p.engine.others = append(p.engine.others, s.Receive)
	}
	p.engine.neighbor = p.cfg.Neighbor
	if match.Fragments {
		p.engine.fragments = frame.NewReassembler(frame.ReassemblerConfig{Datagrams: fragmentedAnswers, Age: fragmentsAge})
	}
	p.engine.init()
	return nil
}

// maxSiblings bounds the members of a VRF that are listened on.
const maxSiblings = 16

// hearOthers opens what hears replies that come in by another member than the
// interface: the bridge or bond that takes their frames, or the VRF's other
// members, for of those a VRF device shows frames only as if it sent them
// (drivers/net/vrf.c, vrf_ip_rcv).
func (p *Pinger) hearOthers() error {
	others, err := p.routing.Siblings(p.ifc)
	if err != nil {
		return err
	}
	others = others[:min(len(others), maxSiblings)]
	if owner := p.ifc.Owner(); owner.Index != p.ifc.Index {
		others = append(others, owner)
	}
	for _, ifc := range others {
		if ifc.NoLink != p.ifc.NoLink {
			continue // the filter reads other frames
		}
		s, err := capture.OpenSocket(ifc, capture.SocketConfig{Filter: p.filter, Groups: p.cfg.groups()})
		if err != nil {
			return err
		}
		p.others = append(p.others, s)
	}
	return nil
}

// describe fills in what the targets' starts have in common.
func (p *Pinger) describe(targets []*target, points points) {
	p.started.ID = p.secret.id
	p.started.DataLen = *p.cfg.DataLen
	p.started.CookieBytes = min(*p.cfg.DataLen, frame.CookieLen)
	p.started.Filter = p.filter.Mode()
	p.started.FilterFallback = p.filter.Fallback()
	p.started.Timestamps = points.best()
	p.started.CountedIDs = p.out.CountsIDs()
	p.started.Joined = p.in.Joined()
	p.started.Mark, p.started.MarkRefused = p.cfg.Mark, p.out.MarkRefused()
	p.started.Neighbor = p.cfg.Neighbor
	for _, t := range targets {
		started := p.started
		started.Decision.Path = t.path
		if !t.path.Interface.NoLink {
			started.SourceMAC = p.cfg.srcMAC(t.path)
		}
		started.VLANs = p.cfg.VLANs
		t.started = &started
	}
}

// ways are the paths to the targets; those of targets that have none are nil, and
// errs has why.
type ways struct {
	paths []*l2.Path
	errs  []error
}

// findWays asks the kernel for the paths that a Config leads to, and with them for
// the interface.
func (p *Pinger) findWays() (ways, error) {
	var err error
	first := p.cfg.Targets[0].Addr
	switch {
	case p.cfg.Interface != "":
		p.ifc, err = p.routing.Interface(p.cfg.Interface)
	case first.Zone() != "":
		p.ifc, err = p.routing.Interface(first.Zone())
	case p.cfg.Source.IsValid():
		p.ifc, err = p.routing.InterfaceByAddress(p.cfg.Source)
	}
	if err != nil {
		return ways{}, err
	}
	w := ways{make([]*l2.Path, len(p.cfg.Targets)), make([]error, len(p.cfg.Targets))}
	found := false
	for i, t := range p.cfg.Targets {
		w.paths[i], w.errs[i] = p.findPath(t.Addr)
		if w.errs[i] != nil && (len(w.paths) == 1 || i == 0 && p.ifc == nil || errors.Is(w.errs[i], errGroup)) {
			return ways{}, w.errs[i]
		}
		if w.errs[i] == nil {
			found = true
			// A VRF's paths leave by one of its members.
			p.ifc = w.paths[i].Interface
		}
	}
	if !found {
		return ways{}, w.errs[0]
	}
	return w, nil
}

// findPath asks for one path, and refuses what the Config does not allow.
func (p *Pinger) findPath(address netip.Addr) (*l2.Path, error) {
	source := p.cfg.Source
	if source.IsValid() && source.Is4() != address.Is4() {
		return nil, fmt.Errorf("%s cannot be asked from %s: they are of two families", address, source)
	}
	if p.cfg.Neighbor != nil {
		return p.neighborPath(address)
	}
	path, err := p.routing.Path(p.ifc, l2.Query{
		Destination: address, Source: source, Gateway: p.cfg.Gateway, Mark: p.cfg.Mark,
	})
	if err != nil {
		return nil, err
	}
	if group(path) && len(p.cfg.Targets) > 1 {
		return nil, fmt.Errorf("%s %w", address, errGroup)
	}
	if path.ForeignSource && path.Source == path.Destination {
		return nil, fmt.Errorf("source %s is the target itself", path.Source)
	}
	if path.Broadcast && !p.cfg.Broadcast {
		return nil, fmt.Errorf("%s %w of %s", address, ErrBroadcast, path.Interface.Name)
	}
	if err := p.cfg.checkInterface(path.Interface); err != nil {
		return nil, err
	}
	if _, err := p.cfg.echo(path, p.secret); err != nil {
		return nil, err
	}
	return path, nil
}

// targets makes the engine's targets.
func (p *Pinger) targets(w ways) ([]*target, error) {
	targets := make([]*target, len(w.paths))
	for i, path := range w.paths {
		t := &target{address: p.cfg.Targets[i].Addr, dataLen: *p.cfg.DataLen, schedule: newSchedule(&p.cfg)}
		if len(targets) > manyTargets {
			t.stats.brief()
		}
		var err error
		if path == nil {
			t.course = p.noCourse(t.address, w.errs[i])
		} else if t.course, err = p.course(path); err != nil {
			return nil, err
		}
		t.group = path != nil && group(path)
		targets[i] = t
	}
	return targets, nil
}

// course makes what is sent along a path, and asks for its next hop.
func (p *Pinger) course(path *l2.Path) (*course, error) {
	if p.cfg.Neighbor != nil {
		return p.neighborCourse(path)
	}
	echo, err := p.cfg.echo(path, p.secret)
	if err != nil {
		return nil, err
	}
	hop, err := p.neighbors.Add(path)
	if err != nil {
		return nil, err
	}
	if err := p.answerFor(path); err != nil {
		return nil, err
	}
	return newCourse(path, echo, hop)
}

// narrow makes the course of a target behind a router that has told of a smaller
// MTU: larger probes go in fragments that fit (RFC 1191; RFC 8200, section 5). It
// is nil where that changes nothing. The next hop is the same.
func (p *Pinger) narrow(t *target, mtu int) *course {
	least := 68 // RFC 791
	if t.path.Destination.Is6() {
		least = 1280
	}
	if mtu = max(mtu, least); mtu >= t.path.MTU {
		return nil
	}
	path := *t.path
	path.MTU, path.LearntMTU = mtu, mtu
	echo, err := p.cfg.echo(&path, p.secret)
	if err != nil {
		return nil
	}
	c, err := newCourse(&path, echo, t.hop)
	if err != nil {
		return nil
	}
	c.change = &Change{Kind: ChangedPath, Old: t.path, New: &path}
	return c
}

// noCourse is that of a target to which there is no path.
func (p *Pinger) noCourse(address netip.Addr, why error) *course {
	return &course{
		path: &l2.Path{Interface: p.ifc, Owner: p.ifc, Destination: address, MTU: p.ifc.MTU},
		err:  why,
	}
}

// tableConfig says how next hops are asked for.
func (p *Pinger) tableConfig() arp.TableConfig {
	return arp.TableConfig{VLANs: p.cfg.VLANs, MAC: p.cfg.SrcMAC, NextHopMAC: p.cfg.DstMAC}
}

// answerFor has somebody answer for the path's source if the host does not: it is
// not the host's own, or the host knows nothing of the VLAN.
func (p *Pinger) answerFor(path *l2.Path) error {
	if !path.ForeignSource && !p.cfg.inVLAN() || path.Interface.NoLink || path.Interface.Loopback {
		return nil
	}
	if p.responders[path.Source] != nil {
		return nil
	}
	var r *arp.Responder
	if err := p.home.do(func() (err error) {
		r, err = arp.OpenResponder(p.ifc, arp.ResponderConfig{
			Source: path.Source, VLANs: p.cfg.VLANs, MAC: p.cfg.srcMAC(path),
		})
		return err
	}); err != nil {
		return err
	}
	if p.responders == nil {
		p.responders = make(map[netip.Addr]*arp.Responder)
	}
	p.responders[path.Source] = r
	return nil
}

// Run resolves the next hops, probes, and yields what happens: for each target
// Start, then the events of its probes, then Summary; with several targets a last
// Summary is over all of them. It ends when the Config says so, when ctx
// is done, which is no error, or when the loop is left. A reader that stalls
// delays no probe: events that it has no room for are dropped and counted in
// the statistics, which stay exact. Events that come within 100 ms of each other
// may be told together. Run closes the Pinger.
func (p *Pinger) Run(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if !p.life.begin(p.stop) {
			yield(Event{}, errors.New("the pinger has run already, or was closed"))
			return
		}
		defer p.Close() // also when the loop's body panics
		defer p.life.over()
		err := p.run(ctx, func(e Event) bool { return yield(e, nil) })
		p.life.over()
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
	finish := p.launch(ctx)
	defer finish() // also when the loop's body panics
	for buf, ok := e.events.read(nil); ok; buf, ok = e.events.read(buf[:0]) {
		for i := range buf {
			buf[i].More = i < len(buf)-1
			if !yield(buf[i]) {
				return errLeft
			}
			e.recorder.release(buf[i].Evidence)
		}
	}
	if err := finish(); err != nil {
		return err
	}
	if len(e.targets) > 1 {
		for _, t := range e.targets {
			s := e.snapshotOf(t)
			if !yield(Event{Kind: Summary, Time: time.Now(), Address: t.address, Statistics: &s, More: true}) {
				return errLeft
			}
		}
	}
	s := p.Statistics()
	if !yield(Event{Kind: Summary, Time: time.Now(), Address: s.Address, Statistics: &s}) {
		return errLeft
	}
	return nil
}

// launch runs the engine until it is done, ctx is, or finish is called, which
// waits for it.
func (p *Pinger) launch(ctx context.Context) (finish func() error) {
	if ctx.Err() != nil {
		p.engine.stop() // before it sends anything
	}
	return launch(ctx, p.engine.run, p.stop, newKeeper(p).run, func() {
		p.engine.addKernelCounts(p.filter, p.in)
		p.engine.events.close()
	})
}

// stop ends the run.
func (p *Pinger) stop() {
	p.engine.stop()
	p.loop.Wake()
}

// Statistics returns the counts and times so far, over all targets. It may be called at any time,
// from any goroutine; what the kernel itself counts is added at the end of Run.
func (p *Pinger) Statistics() Statistics { return p.engine.snapshot() }

// Close closes what New has opened. Run does it by itself; while that runs, Close ends
// it and returns nil.
func (p *Pinger) Close() error {
	return p.life.close(func() error {
		var others []io.Closer
		for _, s := range p.others {
			others = append(others, s)
		}
		if p.neighbors != nil {
			others = append(others, p.neighbors)
		}
		for _, r := range p.responders {
			others = append(others, r)
		}
		if p.routing != nil {
			others = append(others, p.routing)
		}
		if p.home.file != nil {
			others = append(others, p.home.file)
		}
		err := p.sockets.close(others...)
		if p.filter != nil {
			err = errors.Join(err, p.filter.Close())
		}
		return err
	})
}
