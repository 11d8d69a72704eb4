//go:build linux

package arp

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/sock"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// ErrClosed says that the Table or Resolver was closed before it knew the next
// hop.
var ErrClosed = errors.New("resolver closed")

// TableConfig configures OpenTable. The zero value is a host's own traffic.
type TableConfig struct {
	// VLANs are the tags of all requests, outer first, frame.MaxVLANs at most;
	// answers have to bear their ids, of which 0 is none. The kernel's neighbor
	// table knows nothing of what is behind tags that we put on, so it is
	// neither asked nor followed.
	VLANs []frame.VLAN
	// MAC is who asks, and whom answers are for. The zero MAC stands for the
	// host's own: that of the bridge or bond that the interface is a port of,
	// else the interface's.
	MAC frame.MAC
	// NextHopMAC is where frames to all next hops go, because the caller knows
	// better (HowOverride): nobody is asked, and nothing opened. The zero MAC
	// is none.
	NextHopMAC frame.MAC
}

// A Table keeps the MACs of any number of next hops on one interface, of IPv4
// and IPv6: from the kernel's neighbor table if it can, else by requests of its
// own, at most one a second for an address (ARP, RFC 826; neighbor discovery,
// RFC 4861). A MAC that the kernel has not lately confirmed is used at once and
// confirmed by a unicast request beside the probes. Where the kernel learns
// another, by gratuitous ARP, by an administrator or otherwise, the Table
// follows. It writes nothing into the kernel's table.
//
// It has one pair of packet sockets, one subscription and one goroutine, and
// no sockets where nobody can be asked. It is safe for concurrent use,
// from any thread, whatever its network namespace.
type Table struct {
	vlans   []frame.VLAN
	ids     []uint16  // of vlans, without those that state a priority alone
	foreign frame.MAC // TableConfig.MAC
	nextHop frame.MAC // TableConfig.NextHopMAC
	epoch   time.Time
	socks   *pair // nil where nobody can be asked
	loop    *sock.Loop
	wg      sync.WaitGroup

	// reading is locked before mu. It makes a look into the kernel's table and
	// what follows from it one thing, so that an older look never comes after
	// a newer one.
	reading sync.Mutex
	kernel  *kernelTable
	lost    int // hops from here on have to be looked up again; -1 is none

	// The loop's own.
	frames  []capture.Frame
	batch   []request
	buf     []byte
	resumes moment // nothing is sent before

	rebinds rebinder

	mu sync.Mutex
	// The loop changes these two, so it may read them without mu.
	ifc      *l2.Interface
	mac      frame.MAC
	hops     map[netip.Addr]*Hop // by the address without zone; Hop.other has more of them
	all      []*Hop
	schedule schedule
	woken    bool
	closed   bool
	done     chan struct{} // closed with the table
	changes  chan struct{}
}

const (
	// batchLen bounds what one turn of the loop sends, and looks up.
	batchLen = 64
	// queuePause is how long nothing is sent after a queue was full.
	queuePause = 10 * time.Millisecond
)

// A request is one that is due.
type request struct {
	hop *Hop
	dst frame.MAC
}

// OpenTable opens a Table on an interface. It needs CAP_NET_RAW, unless nobody
// can be asked there. The calling thread's network namespace must be the
// interface's, now and never again.
func OpenTable(ifc *l2.Interface, cfg TableConfig) (*Table, error) {
	t := &Table{
		ifc:     ifc,
		mac:     ownMAC(ifc, cfg.MAC),
		foreign: cfg.MAC,
		nextHop: cfg.NextHopMAC,
		vlans:   slices.Clone(cfg.VLANs),
		ids:     idsOf(cfg.VLANs),
		epoch:   time.Now().Add(-time.Second), // now is not never
		lost:    -1,
		frames:  make([]capture.Frame, capture.MinFrames),
		batch:   make([]request, 0, batchLen),
		hops:    map[netip.Addr]*Hop{},
		done:    make(chan struct{}),
		changes: make(chan struct{}, 1),
	}
	err := checkLink(ifc, cfg.VLANs, t.mac)
	if ifc.NoLink && !t.nextHop.IsZero() {
		err = fmt.Errorf("next hops' MAC %s: %w", t.nextHop, errNoHeader)
	}
	if err != nil {
		return nil, fmt.Errorf("neighbors of %s: %w", ifc.Name, err)
	}
	if err := t.open(); err != nil {
		return nil, errors.Join(err, t.release())
	}
	if t.loop != nil {
		t.wg.Go(func() { _ = t.loop.Run(t.step) })
	}
	return t, nil
}

// hasNeighbors tells whether anybody can be asked on a link.
func hasNeighbors(ifc *l2.Interface) bool {
	ifc = ifc.Owner()
	return !ifc.NoLink && !ifc.Loopback && !ifc.NoARP && !ifc.PointToPoint
}

func (t *Table) open() error {
	if !t.nextHop.IsZero() {
		return nil
	}
	var watched []int
	if len(t.ids) == 0 && !t.ifc.NoLink && !t.ifc.Loopback {
		var err error
		if t.kernel, err = openKernelTable(true); err != nil {
			return err
		}
		t.buf = make([]byte, kernelBuffer)
		watched = append(watched, t.kernel.changes)
	}
	if hasNeighbors(t.ifc) {
		// Advertisements to all come to whoever is in the group, as a host is
		// on an interface with IPv6, and as we are on one without.
		var err error
		t.socks, err = openPair(t.ifc, bpf.Match{Kind: bpf.NeighborReply}, t.ids,
			t.mac, !t.foreign.IsZero(), frame.MulticastMAC(allNodes))
		if err != nil {
			return err
		}
		watched = append(watched, t.socks.in.FD())
	}
	if len(watched) == 0 {
		return nil
	}
	var err error
	t.loop, err = sock.NewLoop(watched...)
	return err
}

// Add returns the path's next hop, looked up in the kernel's table. It sends
// nothing: see Hop.Snapshot. Paths with the same next hop and source share a
// Hop; a path whose next hop now stands in another interface's table makes the
// Hop look there. A next hop that nobody has to be asked for is resolved at once.
func (t *Table) Add(path *l2.Path) (*Hop, error) {
	t.reading.Lock()
	defer t.reading.Unlock()
	h, g, err := t.known(path)
	if h != nil || err != nil {
		return h, err
	}
	// Not under mu: the kernel may take its time, and nobody who asks for a
	// snapshot waits for it.
	addr, index := path.NextHop.WithZone(""), 0
	var e entry
	start := t.now()
	if t.kernel != nil {
		index = owner(path).Index
		if e, err = t.kernel.lookup(index, addr); err != nil {
			return nil, lookupError(path, err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	source := askFrom(path)
	h = t.find(addr, source)
	fresh := h == nil
	if fresh {
		h = &Hop{table: t, other: t.hops[addr], addr: path.NextHop, source: source, given: g, place: notScheduled}
		t.hops[addr] = h
		t.all = append(t.all, h)
	}
	h.index = int32(index)
	h.learned(e, now)
	if fresh && t.kernel != nil {
		h.machine.took = now.since(start)
	}
	return h, nil
}

// known returns the hop of a path for which nothing has to be looked up. Else it
// returns what nobody has to be asked for, if the kernel does not know better.
// reading is held.
func (t *Table) known(path *l2.Path) (*Hop, given, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return nil, given{}, ErrClosed
	case path.Interface.Index != t.ifc.Index:
		return nil, given{}, fmt.Errorf("neighbors of %s: the path to %s leaves by %s", t.ifc.Name, path.Destination, path.Interface.Name)
	case !t.nextHop.IsZero():
		return t.final(path, given{mac: t.nextHop, final: true}, HowOverride), given{}, nil
	}
	g, ok := unasked(path)
	switch h := t.find(path.NextHop.WithZone(""), askFrom(path)); {
	case ok && g.final:
		return t.final(path, g, HowNone), given{}, nil
	case !path.NextHop.IsValid():
		return nil, given{}, fmt.Errorf("neighbors of %s: the path to %s has no next hop", t.ifc.Name, path.Destination)
	case h != nil && (t.kernel == nil || h.index == int32(owner(path).Index)):
		return h, given{}, nil
	}
	return nil, g, nil
}

func (t *Table) final(path *l2.Path, g given, how How) *Hop {
	return &Hop{table: t, addr: path.NextHop, given: g, how: how, place: notScheduled}
}

// find returns the hop of an address and a source. mu is held.
func (t *Table) find(addr, source netip.Addr) *Hop {
	for h := t.hops[addr]; h != nil; h = h.other {
		if h.source == source {
			return h
		}
	}
	return nil
}

// Changes tells, by a value that waits to be received, that some hop has another
// status or another MAC since the last one was.
func (t *Table) Changes() <-chan struct{} { return t.changes }

// now is the present time. It allocates nothing and needs no lock.
func (t *Table) now() moment { return moment(time.Since(t.epoch)) }

// wake has the loop look at the schedule. mu is held.
func (t *Table) wake() {
	if !t.woken && t.loop != nil {
		t.woken = true
		t.loop.Wake()
	}
}

// reschedule leaves a hop that is after nothing alone. mu is held.
func (t *Table) reschedule(h *Hop) {
	if h.machine.asking == askNothing {
		t.schedule.set(h, never)
	}
}

// Rebind goes on with an interface that was deleted and made anew, or has got
// another MAC. It needs no capability. All MACs are used as they were until
// somebody needs them, and then asked for by broadcast; the kernel's table
// counts again for the next hops of paths that are added again (Add). It fails
// with l2.ErrOtherLinkLayer, ErrClosed, or ENODEV where the interface has gone
// again.
func (t *Table) Rebind(ifc *l2.Interface) error {
	if t.loop == nil {
		return t.move(ifc)
	}
	return t.rebinds.ask(ifc, t.loop, t.done)
}

// move is Rebind, in the loop if there is one.
func (t *Table) move(ifc *l2.Interface) error {
	if ifc.NoLink != t.ifc.NoLink || t.nextHop.IsZero() && hasNeighbors(ifc) != (t.socks != nil) {
		return fmt.Errorf("neighbors of %s: %w", ifc.Name, l2.ErrOtherLinkLayer)
	}
	mac := ownMAC(ifc, t.foreign)
	if t.socks != nil {
		if err := t.socks.rebind(ifc, mac); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	was, is := t.ifc.Owner().MAC, ifc.Owner().MAC
	for _, h := range t.all {
		h.moveTo(was, is)
	}
	t.ifc, t.mac = ifc, mac
	return nil
}

// step is one turn of the loop.
func (t *Table) step() (wait time.Duration, done bool) {
	t.rebinds.carryOut(t.move)
	busy := false
	// More answers than one turn asks for: they do not pile up.
	for range 2 * batchLen / capture.MinFrames {
		if busy = t.hear(); !busy {
			break
		}
	}
	if t.follow() {
		busy = true
	}
	wait, done = t.ask()
	if busy {
		wait = 0
	}
	return wait, done
}

// hear takes the answers that have come. It reports whether there may be more.
func (t *Table) hear() bool {
	if t.socks == nil {
		return false
	}
	// An interface that went down says so once, here; the machines' own clock
	// takes care of what follows.
	n, _ := t.socks.in.Receive(t.frames)
	for _, f := range t.frames[:n] {
		r, ok := readReply(f, t.mac, t.ids)
		if !ok {
			continue
		}
		t.mu.Lock()
		now := t.now()
		for h := t.hops[r.from]; h != nil; h = h.other {
			if h.source == r.to || r.to == allNodes {
				h.answered(r.answer, now)
			}
		}
		t.mu.Unlock()
	}
	return n == len(t.frames)
}

// follow takes the changes of the kernel's table. It reports whether there may
// be more.
func (t *Table) follow() bool {
	if t.kernel == nil {
		return false
	}
	t.reading.Lock()
	defer t.reading.Unlock()
	more, lost := t.kernel.next(t.buf, t.refresh)
	if lost {
		t.lost = 0
	}
	if t.lost < 0 {
		return more
	}
	t.mu.Lock()
	all := t.all // hops are never taken away
	t.mu.Unlock()
	end := min(t.lost+batchLen, len(all))
	for _, h := range all[t.lost:end] {
		t.refresh(int(h.index), h.addr.WithZone(""))
	}
	if t.lost = end; end == len(all) {
		t.lost = -1
	}
	return more || t.lost >= 0
}

// refresh looks up what the kernel has now of an entry that has changed. A
// message about the change says what it had then. reading is held.
func (t *Table) refresh(index int, addr netip.Addr) {
	t.mu.Lock()
	ours := false
	for h := t.hops[addr]; h != nil; h = h.other {
		ours = ours || h.index == int32(index)
	}
	t.mu.Unlock()
	if !ours {
		return
	}
	// The only error is that the interface is gone, and the entry with it.
	e, _ := t.kernel.lookup(index, addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for h := t.hops[addr]; h != nil; h = h.other {
		if h.index == int32(index) {
			h.learned(e, now)
		}
	}
}

// ask sends the requests that are due, and returns when the next one is.
func (t *Table) ask() (wait time.Duration, done bool) {
	t.mu.Lock()
	t.woken = false
	if t.closed {
		t.mu.Unlock()
		return 0, true
	}
	now := t.now()
	batch := t.batch[:0]
	for h := t.schedule.first(); h != nil && h.due <= now && now >= t.resumes && len(batch) < cap(batch); h = t.schedule.first() {
		before := h.machine.status
		dst, send, again := h.machine.next(now)
		t.schedule.set(h, again)
		if send {
			batch = append(batch, request{h, dst})
		}
		if h.machine.status != before {
			h.tell(before)
		}
	}
	wait = math.MaxInt64
	if h := t.schedule.first(); h != nil {
		wait = max(h.due, t.resumes).since(now)
	}
	t.mu.Unlock()
	// Not under the lock: nobody who asks for a snapshot waits for a socket.
	for i, r := range batch {
		if err := t.send(r); errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EAGAIN) {
			t.putOff(batch[i:], now)
			return queuePause, false
		}
		// Any other request that cannot leave is one that goes unanswered.
	}
	return wait, false
}

// putOff has requests that a full queue refused made again a little later.
func (t *Table) putOff(batch []request, now moment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.resumes = now.add(queuePause)
	for _, r := range batch {
		r.hop.machine.unsent(now, queuePause)
		if r.hop.machine.asking != askNothing {
			t.schedule.set(r.hop, t.resumes)
		}
	}
}

func (t *Table) send(r request) error {
	b, err := t.marshal(r)
	if err != nil {
		return err
	}
	return t.socks.out.Send(b, 0)
}

// Close stops asking and closes the sockets; a Resolve that waits returns
// ErrClosed. The hops' methods may still be called; they change nothing any more.
func (t *Table) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	close(t.done)
	if t.loop != nil {
		t.loop.Wake()
	}
	t.mu.Unlock()
	t.wg.Wait()
	t.reading.Lock()
	defer t.reading.Unlock()
	return t.release()
}

// release closes what open has opened.
func (t *Table) release() error {
	var open []io.Closer
	if t.loop != nil {
		open = append(open, t.loop)
	}
	if t.socks != nil {
		open = append(open, t.socks)
	}
	if t.kernel != nil {
		open = append(open, t.kernel)
	}
	return sock.CloseAll(open...)
}
