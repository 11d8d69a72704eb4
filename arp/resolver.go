//go:build linux

package arp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/sock"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// ErrClosed says that the Resolver was closed before it knew the next hop.
var ErrClosed = errors.New("resolver closed")

// A Resolver keeps the MAC of a path's next hop: from the kernel's table if it
// can, else by ARP requests of its own, at most one a second. A MAC that the
// kernel has not lately confirmed is used at once and confirmed by a unicast
// request beside the probes. It is safe for concurrent use.
type Resolver struct {
	path   *l2.Path
	filter *bpf.Filter
	in     *capture.Socket
	out    *l2.Link
	loop   *sock.Loop
	wg     sync.WaitGroup

	mu       sync.Mutex
	machine  machine
	neighbor Neighbor
	closed   bool
	changed  chan struct{} // closed and made anew when the status changes
}

// Open looks the next hop up in the kernel's table and starts asking for it if
// need be. It needs CAP_NET_RAW. The calling thread's network namespace must be
// the interface's.
func Open(path *l2.Path) (*Resolver, error) {
	n, err := Lookup(path)
	if err != nil {
		return nil, err
	}
	r := &Resolver{
		path:     path,
		neighbor: n,
		machine:  newMachine(n, time.Now()),
		changed:  make(chan struct{}),
	}
	if r.machine.fixed {
		return r, nil // nothing will ever be asked
	}
	if err := r.open(); err != nil {
		return nil, errors.Join(err, r.release())
	}
	r.wg.Go(r.run)
	return r, nil
}

func (r *Resolver) open() error {
	ifc := r.path.Interface
	var err error
	// Replies to ARP are rare and tiny: the classic filter, which anybody may
	// attach, does all that is needed.
	r.filter, err = bpf.NewFilter(bpf.Match{
		Kind:  bpf.ARPReply,
		Local: r.path.Source,
		Peer:  r.path.NextHop,
		MAC:   ifc.MAC,
	}, bpf.Classic)
	if err != nil {
		return err
	}
	if r.in, err = capture.Open(ifc, capture.Config{
		Filter: r.filter, BufferBytes: 1 << 16,
	}); err != nil {
		return err
	}
	if r.out, err = l2.OpenLink(ifc, &l2.LinkConfig{NoStamps: true}); err != nil {
		return err
	}
	r.loop, err = sock.NewLoop(r.in.FD())
	return err
}

// run asks and listens until Close.
func (r *Resolver) run() {
	frames := make([]capture.Frame, capture.MinFrames)
	_ = r.loop.Run(func() (wait time.Duration, done bool) {
		// An interface that went down says so once, here; the machine's own
		// clock takes care of what follows.
		n, _ := r.in.Receive(frames)
		wait, done = r.step(frames[:n], time.Now())
		if n == len(frames) {
			wait = 0 // there may be more
		}
		return wait, done
	})
}

// step takes what came, asks if it is time, and returns how long to wait.
func (r *Resolver) step(frames []capture.Frame, now time.Time) (wait time.Duration, stop bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, true
	}
	before := r.machine.status
	for _, f := range frames {
		if mac, ok := r.answer(f); ok && r.machine.answer(mac, now) {
			r.neighbor.MAC, r.neighbor.How, r.neighbor.Took = mac, HowARP, r.machine.took
		}
	}
	dst, send, again := r.machine.next(now)
	if send {
		// A request that cannot leave is one that goes unanswered.
		_ = r.ask(dst)
	}
	if r.machine.status != before {
		if r.machine.status == Failed {
			r.neighbor.MAC, r.neighbor.How = frame.MAC{}, HowNone
		}
		close(r.changed)
		r.changed = make(chan struct{})
	}
	if again.IsZero() {
		return math.MaxInt64, false
	}
	return again.Sub(now), false
}

// answer reads the MAC out of a reply; user space has the last word on what
// the filter let through.
func (r *Resolver) answer(f capture.Frame) (frame.MAC, bool) {
	var e frame.Ethernet
	var a frame.ARP
	if f.VLAN.Present || e.Decode(f.Data) != nil || e.Type != frame.EtherTypeARP || a.Decode(e.Payload) != nil {
		return frame.MAC{}, false
	}
	ok := a.Operation == frame.ARPReply && a.SenderIP == r.path.NextHop &&
		a.TargetIP == r.path.Source && a.TargetMAC == r.path.Interface.MAC &&
		!a.SenderMAC.IsZero() && !a.SenderMAC.IsGroup()
	return a.SenderMAC, ok
}

// ask sends one request (RFC 826).
func (r *Resolver) ask(dst frame.MAC) error {
	req := frame.ARP{
		Operation: frame.ARPRequest,
		SenderMAC: r.path.Interface.MAC,
		SenderIP:  r.path.Source,
		TargetIP:  r.path.NextHop,
	}
	b, err := req.Marshal(dst)
	if err != nil {
		return err
	}
	return r.out.Send(b, 0)
}

// Snapshot says without blocking what is known, and that somebody needs it: a
// MAC grown old is confirmed, and a next hop that failed is asked again.
func (r *Resolver) Snapshot() (Neighbor, Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.machine.asking
	r.machine.demand(time.Now())
	r.wakeIfAsking(before)
	return r.neighbor, r.machine.status
}

// Doubt says that probes to the MAC were lost: it is asked for by broadcast. It
// does not block.
func (r *Resolver) Doubt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.machine.asking
	r.machine.doubt()
	r.wakeIfAsking(before)
}

func (r *Resolver) wakeIfAsking(before asking) {
	if r.machine.asking != before && !r.closed {
		r.loop.Wake()
	}
}

// Resolve waits until the MAC is known or three requests have gone unanswered,
// or ctx is done; the Neighbor is not Known in the latter cases. Errors are ctx's
// and ErrClosed.
func (r *Resolver) Resolve(ctx context.Context) (Neighbor, error) {
	for {
		r.mu.Lock()
		n, status, changed, closed := r.neighbor, r.machine.status, r.changed, r.closed
		r.mu.Unlock()
		switch {
		case status != Pending:
			return n, nil
		case closed:
			return n, ErrClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return n, context.Cause(ctx)
		}
	}
}

// Close stops asking and closes the sockets; a Resolve that waits returns
// ErrClosed. Snapshot and Doubt may still be called; they change nothing any
// more.
func (r *Resolver) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	close(r.changed)
	r.changed = make(chan struct{})
	if r.loop != nil {
		r.loop.Wake()
	}
	r.mu.Unlock()
	r.wg.Wait()
	return r.release()
}

// release closes what open has opened.
func (r *Resolver) release() error {
	var open []io.Closer
	if r.loop != nil {
		open = append(open, r.loop)
	}
	if r.out != nil {
		open = append(open, r.out)
	}
	if r.in != nil {
		open = append(open, r.in)
	}
	err := sock.CloseAll(open...)
	if r.filter != nil {
		err = errors.Join(err, r.filter.Close())
	}
	return err
}

// Decide works out the whole decision for a path, waiting for at most three ARP
// requests where the kernel's table does not know the next hop; only then is
// CAP_NET_RAW needed. The Neighbor is not Known if nobody answered.
func Decide(ctx context.Context, path *l2.Path) (*Decision, error) {
	n, err := Lookup(path)
	if err != nil {
		return nil, err
	}
	if !n.Known() {
		r, err := Open(path)
		if err != nil {
			return nil, fmt.Errorf("ask for %s: %w", path.NextHop, err)
		}
		n, err = r.Resolve(ctx)
		if err = errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
	}
	return &Decision{Path: path, Neighbor: n}, nil
}
