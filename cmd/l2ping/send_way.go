//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"sync"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/craft"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// A passedOver is the error of a frame that is left out, and the others sent: nobody
// told the MAC of its next hop, or its destination cannot be reached.
type passedOver struct {
	error
	nowhere bool // it is the destination
}

func (e passedOver) Unwrap() error { return e.error }

func isPassedOver(err error) bool {
	passed := passedOver{}
	return errors.As(err, &passed)
}

// leadsNowhere tells whether a frame is left out for its destination.
func leadsNowhere(err error) bool {
	passed := passedOver{}
	return errors.As(err, &passed) && passed.nowhere
}

// unreachable tells whether an error of routing is about a destination.
func unreachable(err error) bool {
	local, noRoute, source := (*localError)(nil), (*l2.NoRouteError)(nil), (*sourceError)(nil)
	return errors.As(err, &source) || errors.As(err, &local) || errors.As(err, &noRoute) || errors.Is(err, l2.ErrNoAddress)
}

// A localError says that a destination is this host. It is no l2.ErrLocal, as what
// helps a ping against that does not help here.
type localError struct {
	dst  netip.Addr
	text string // l2's
}

func (e *localError) Error() string {
	if e.dst.IsLoopback() {
		return fmt.Sprintf("%s, which a dst that is left out stands for, is this host itself (only lo leads there)", e.dst)
	}
	return e.text
}

// A sourceError says that there is no address to fill in as the source of a layer. The
// next hop of the frame is known by then, or of no concern: that layer is within
// another, or the MAC was given. So it is none of routing's errors, of which each says
// that a gateway would help.
type sourceError struct {
	dst netip.Addr
	why error
}

func (e *sourceError) Error() string {
	layer, why := "IPv6", e.why.Error()
	if e.dst.Is4() {
		layer = "IP"
	}
	if local := (*localError)(nil); errors.As(e.why, &local) {
		why = "that is this host itself"
	}
	return withHint(fmt.Sprintf("no src for %s(dst=%q): %s", layer, e.dst, why), "src= gives one, or -S")
}

// A silentError says that nobody told the MAC of a next hop.
type silentError struct {
	hop      netip.Addr
	untagged bool // the frame is tagged, and the question was not
}

func (e *silentError) Error() string {
	what, hint := "neighbor advertisement", ""
	if e.hop.Is4() {
		what = "ARP reply"
	}
	if e.untagged {
		hint = " (it was asked without tags: with those of --vlan it is asked in the VLAN)"
	}
	return fmt.Sprintf("no %s from %s%s", what, e.hop, hint)
}

// Bounds of what is asked for at a time.
const (
	askAhead = 256  // next hops that are asked for ahead of the frames to them
	scoutFor = 4096 // frames that are looked at in vain for another next hop
	hopsEach = 8192 // next hops in one table
)

// A sendWay asks the kernel, and neighbors, for what expressions leave out. It is
// safe for concurrent use.
type sendWay struct {
	s       *sending
	routing *l2.Routing
	most    int // next hops in one table

	mu           sync.Mutex
	table, older *arp.Table // opened when first needed
	hops         int        // in table
	last         netip.Addr // the next hop that was added last
}

// openSendWay has to be called in the network namespace of the interface.
func openSendWay(s *sending) (*sendWay, error) {
	routing, err := l2.OpenRouting()
	if err != nil {
		return nil, err
	}
	return &sendWay{s: s, routing: routing, most: hopsEach}, nil
}

func (w *sendWay) close() error {
	errs := []error{w.routing.Close()}
	for _, t := range []*arp.Table{w.older, w.table} {
		if t != nil {
			errs = append(errs, t.Close())
		}
	}
	return errors.Join(errs...)
}

// hop is the path's next hop, in a table. Of a prefix that is on the link there may be
// millions, so tables are given up with all that is in them; the one before is kept,
// for its hops may still be waited for.
func (w *sendWay) hop(path *l2.Path) (*arp.Hop, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.table == nil || w.hops >= w.most {
		if w.older != nil {
			if err := w.older.Close(); err != nil {
				return nil, err
			}
		}
		w.older, w.table, w.hops = w.table, nil, 0
		err := w.s.source.inNetns(func() (err error) {
			w.table, err = arp.OpenTable(w.s.ifc, arp.TableConfig{VLANs: w.s.vlans, MAC: w.s.srcMAC})
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("ask for %s: %w", path.NextHop, err)
		}
	}
	if path.NextHop != w.last {
		w.last = path.NextHop
		w.hops++
	}
	return w.table.Add(path)
}

// frames makes the frames of an expression. The next hops of a sweep are asked for
// ahead of the frames, many at a time: the expression is gone through a second time
// for that, so the questions of both come in one order.
func (w *sendWay) frames(ctx context.Context, x *craft.Expression) iter.Seq2[craft.Frame, error] {
	return func(yield func(craft.Frame, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		asks, several := &asker{paths: paths{w: w}, ctx: ctx, untagged: x.Tagged() && len(w.s.vlans) == 0}, x.Count() > 1
		if several && !w.s.dryRun && w.s.dstMAC.IsZero() && !w.s.ifc.NoLink {
			c := &scout{paths: paths{w: w}, ctx: ctx, ahead: make(chan sighted, askAhead)}
			asks.ahead = c.ahead
			var running sync.WaitGroup
			running.Go(func() { c.run(x) })
			defer func() {
				cancel()
				running.Wait()
			}()
		}
		for f, err := range x.Frames(asks) {
			if ctx.Err() != nil {
				return
			}
			if unreachable(err) {
				err = passedOver{error: err, nowhere: true}
			}
			// Routes and neighbors go with the interface, and then for all frames.
			if err != nil && !w.s.dryRun {
				if gone := w.s.usable(); gone != nil {
					err = gone
				}
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

// paths finds paths; the last one is remembered.
type paths struct {
	w    *sendWay
	dst  netip.Addr
	path *l2.Path
	err  error
}

func (p *paths) to(dst netip.Addr) (*l2.Path, error) {
	if dst == p.dst {
		return p.path, p.err
	}
	s := p.w.s
	q := l2.Query{Destination: dst, Source: s.source.source, Gateway: s.gateway, Mark: uint32(s.mark)}
	if q.Source.IsValid() && q.Source.Is4() != dst.Is4() {
		q.Source = netip.Addr{}
	}
	p.dst = dst
	if p.path, p.err = p.w.routing.Path(s.ifc, q); errors.Is(p.err, l2.ErrLocal) {
		p.err = &localError{dst: dst, text: p.err.Error()}
	}
	return p.path, p.err
}

// Link is craft.Env's.
func (p *paths) Link() craft.Link { return p.w.s.link }

// Source is craft.Env's.
func (p *paths) Source(dst netip.Addr) (netip.Addr, error) {
	if own := p.w.s.source.source; own.IsValid() && own.Is4() == dst.Is4() {
		return own, nil
	}
	path, err := p.to(dst)
	if unreachable(err) {
		return netip.Addr{}, &sourceError{dst, err}
	}
	if err != nil {
		return netip.Addr{}, err
	}
	return path.Source, nil
}

// Asking is craft.Env's. Where routing has no answer, the address that is asked for is
// taken if it is the interface's own, for conflicts are found so, or else the first
// one. A host without an address asks from 0.0.0.0 (RFC 5227, section 2.1.1).
func (p *paths) Asking(dst netip.Addr) (netip.Addr, error) {
	source, err := p.Source(dst)
	if err == nil || !unreachable(err) && !dst.IsUnspecified() {
		return source, err
	}
	source = netip.IPv4Unspecified()
	for _, own := range p.w.s.ifc.Owner().Addresses {
		switch a := own.Addr(); {
		case !a.Is4():
		case a == dst:
			return a, nil
		case source.IsUnspecified():
			source = a
		}
	}
	return source, nil
}

// A sighted is a next hop that a scout has seen.
type sighted struct {
	dst netip.Addr
	hop *arp.Hop
}

// A scout goes through an expression and has its next hops asked for.
type scout struct {
	paths
	ctx   context.Context
	ahead chan sighted
	idle  int // frames since the last next hop
}

func (c *scout) run(x *craft.Expression) {
	defer close(c.ahead)
	for range x.Frames(c) {
		// Where many frames in a row have one next hop, going on is of little use.
		if c.idle++; c.idle > scoutFor || c.ctx.Err() != nil {
			return
		}
	}
}

// NextHop is craft.Env's. What it returns makes frames that nobody sees.
func (c *scout) NextHop(dst netip.Addr) (frame.MAC, error) {
	c.idle = 0
	seen := sighted{dst: dst}
	if path, err := c.to(dst); err == nil {
		if hop, err := c.w.hop(path); err == nil {
			hop.Snapshot()
			seen.hop = hop
		}
	}
	select {
	case c.ahead <- seen:
	case <-c.ctx.Done():
	}
	return frame.MAC{}, nil
}

// An asker is the craft.Env of frames that are sent.
type asker struct {
	paths
	ctx      context.Context
	ahead    <-chan sighted // nil if there is no scout
	untagged bool           // neighbors are asked without the tags that the frames bear
}

// over is done: who waits with it hears what is known now.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// NextHop is craft.Env's. It waits until the MAC is known, or nobody answers.
func (a *asker) NextHop(dst netip.Addr) (frame.MAC, error) {
	s := a.w.s
	switch {
	case !s.dstMAC.IsZero():
		return s.dstMAC, nil
	case s.dryRun:
		return a.known(dst)
	}
	var seen sighted
	for a.ahead != nil && seen.dst != dst {
		var ok bool
		if seen, ok = <-a.ahead; !ok {
			a.ahead = nil
		}
	}
	path, err := a.to(dst)
	if err != nil {
		return frame.MAC{}, err
	}
	hop := seen.hop
	for {
		if hop == nil {
			if hop, err = a.w.hop(path); err != nil {
				return frame.MAC{}, err
			}
		}
		if seen.hop == nil {
			hop.Snapshot() // one that was silent, or is long known, is asked again beside
		}
		n, err := hop.Resolve(over)
		if errors.Is(err, context.Canceled) {
			s.waits()
			n, err = hop.Resolve(a.ctx)
		}
		switch {
		case errors.Is(err, arp.ErrClosed):
			hop = nil // its table was given up; of a new one hop tells if that is closed
			continue
		case err != nil:
			return frame.MAC{}, err
		case !n.Known():
			return frame.MAC{}, passedOver{error: &silentError{hop: path.NextHop, untagged: a.untagged}}
		}
		return n.MAC, nil
	}
}

// known is what the kernel knows, for a dry run: that asks nobody.
func (a *asker) known(dst netip.Addr) (mac frame.MAC, err error) {
	path, err := a.to(dst)
	if err != nil {
		return frame.MAC{}, err
	}
	var n arp.Neighbor
	if err := a.w.s.source.inNetns(func() (err error) {
		n, err = arp.Lookup(path)
		return err
	}); err != nil {
		return frame.MAC{}, err
	}
	if !n.Known() {
		fmt.Fprintf(a.w.s.e.stderr, "l2ping: the MAC of %s is unknown, and a dry run asks nobody: it is shown as %s\n", path.NextHop, frame.MAC{})
	}
	return n.MAC, nil
}
