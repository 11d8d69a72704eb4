//go:build linux

package probe

import (
	"bytes"
	"net/netip"
	"sync"
	"time"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// MaxEvidence is how many bytes the frames take at most that a run with
// Config.Evidence keeps: those of probes that are out, and of events that wait to be
// read.
const MaxEvidence = 64 << 20

// Evidence is the frames that an event tells of, as the interface sent or got them.
// It is valid until the next turn of the loop over Pinger.Run, which uses its memory
// again.
type Evidence struct {
	// Frames is one frame, or several where it went in fragments, in the order in
	// which they left or came.
	//
	// That of a probe is of PacketOutgoing and has its tags in the data. Arrival is
	// its departure, by CLOCK_REALTIME as everywhere: the stamp of the driver, or
	// where that did not come of the qdisc, or the time before the system call.
	// Hardware is the NIC's stamp, if there is one. Fragments behind the first have
	// the time before their own system call and no stamp.
	//
	// That of an answer is what the socket got. Where the kernel has not stamped
	// it Arrival is when the program had it. Its PacketType is told by its
	// destination: for this host is what is for the interface's MAC, or for that
	// of the bridge, bond or team that it is a part of; what is for another that
	// Config.SrcMAC names is of PacketOtherHost.
	Frames []capture.Frame
	// Sched and Driver are the departure stamps of a probe, of its first fragment,
	// in nanoseconds since the Unix epoch (l2.StampSched, l2.StampDriver); 0 for
	// one that did not come, and of an answer.
	Sched, Driver int64

	buf  []byte // the frames' data
	size int    // what all this takes
}

// What an Evidence takes beside the data of its frames, and each of those, with
// some to spare.
const (
	evidenceOverhead = 256
	frameOverhead    = 128
)

// add takes a copy of a frame. The caller has made room.
func (v *Evidence) add(f *capture.Frame) {
	at := len(v.buf)
	v.buf = append(v.buf, f.Data...)
	v.Frames = append(v.Frames, *f)
	v.Frames[len(v.Frames)-1].Data = v.buf[at:len(v.buf):len(v.buf)]
}

// A recorder keeps the frames that events carry. Its methods do nothing where it is
// nil, as without Config.Evidence. One goroutine uses it, but for release.
type recorder struct {
	fragments []fragmented
	inParts   bool      // the answer at hand came in fragments
	whole     *Evidence // these, if there was room

	mu      sync.Mutex
	free    []*Evidence // to be used again
	size    int         // bytes of all Evidence there is, free or not
	limit   int
	dropped uint64 // for want of room
}

// fragmented is an answer of which fragments have come. There are as many places as
// the Reassembler has.
type fragmented struct {
	fragmentOf
	frames *Evidence // nil if there is no room
	used   bool
	born   int64
	have   int // bytes of payload
}

// fragmentOf is what the fragments of one packet have in common.
type fragmentOf struct {
	src, dst netip.Addr
	id       uint32
	protocol frame.Protocol
}

// The bounds of the reassembly of answers, of Linux's own for IPv4 in time
// (net.ipv4.ipfrag_time).
const (
	fragmentedAnswers = 16
	fragmentsAge      = 30 * time.Second
)

func newRecorder(limit int) *recorder {
	return &recorder{limit: limit, fragments: make([]fragmented, fragmentedAnswers)}
}

// take returns an empty Evidence, nil if there is no room for one.
func (r *recorder) take() *Evidence {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if last := len(r.free) - 1; last >= 0 {
		v := r.free[last]
		r.free = r.free[:last]
		return v
	}
	if r.size+evidenceOverhead > r.limit {
		r.dropped++
		return nil
	}
	r.size += evidenceOverhead
	return &Evidence{size: evidenceOverhead}
}

// release gives an Evidence back, which may be nil. It may be called from any
// goroutine.
func (r *recorder) release(v *Evidence) {
	if v == nil {
		return
	}
	v.Frames, v.buf, v.Sched, v.Driver = v.Frames[:0], v.buf[:0], 0, 0
	r.mu.Lock()
	r.free = append(r.free, v)
	r.mu.Unlock()
}

// add adds a frame to an Evidence and returns it, or gives it back where that has no
// room and returns nil.
func (r *recorder) add(v *Evidence, f *capture.Frame) *Evidence {
	if v == nil {
		return nil
	}
	if grow := evidenceOverhead + len(v.buf) + len(f.Data) + (len(v.Frames)+1)*frameOverhead - v.size; grow > 0 && !r.hasRoom(grow) {
		r.release(v)
		return nil
	}
	v.add(f)
	if takes := evidenceOverhead + cap(v.buf) + cap(v.Frames)*frameOverhead; takes > v.size {
		r.mu.Lock()
		r.size += takes - v.size
		r.mu.Unlock()
		v.size = takes
	}
	return v
}

// hasRoom tells whether so many bytes more may be taken, and counts it if not.
func (r *recorder) hasRoom(size int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.size+size > r.limit {
		r.dropped++
		return false
	}
	return true
}

// drop counts an event for which there was no room.
func (r *recorder) drop() {
	r.mu.Lock()
	r.dropped++
	r.mu.Unlock()
}

// drops returns for how many events there was no room.
func (r *recorder) drops() uint64 {
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dropped
}

// sent adds a frame that has left, at a wall-clock time.
func (r *recorder) sent(v *Evidence, b []byte, wall int64) *Evidence {
	return r.add(v, &capture.Frame{Data: b, Length: len(b), Arrival: wall, PacketType: capture.PacketOutgoing})
}

// received adds a frame that has come.
func (r *recorder) received(v *Evidence, f *capture.Frame, got instant) *Evidence {
	if v = r.add(v, f); v != nil && f.Arrival == 0 {
		v.Frames[len(v.Frames)-1].Arrival = got.wall
	}
	return v
}

// came takes a fragment of an answer. whole is the answer, if it is that with this
// one.
func (r *recorder) came(ip *frame.IP, f *capture.Frame, got instant, whole []byte) {
	if r == nil {
		return
	}
	p := r.placeOf(fragmentOf{ip.Src, ip.Dst, ip.ID, ip.Protocol}, got.mono)
	p.frames = r.received(p.frames, f, got)
	if p.have += len(ip.Payload); whole == nil {
		return
	}
	p.used, r.inParts = false, true
	if r.whole = p.frames; p.have < len(whole) {
		// Its place was taken by what the Reassembler did not take.
		r.release(r.whole)
		r.whole = nil
		r.drop()
	}
}

// placeOf finds the place of an answer in fragments, which is a new one if there is
// none: a free one or, if none is, the oldest.
func (r *recorder) placeOf(of fragmentOf, now int64) *fragmented {
	place := &r.fragments[0]
	for i := range r.fragments {
		p := &r.fragments[i]
		if p.used && now-p.born > int64(fragmentsAge) {
			p.used = false
			r.release(p.frames)
			p.frames = nil
		}
		if p.used && p.fragmentOf == of {
			return p
		}
		if place.used && (!p.used || p.born < place.born) {
			place = p
		}
	}
	if place.used {
		r.release(place.frames)
	}
	*place = fragmented{fragmentOf: of, frames: r.take(), used: true, born: now}
	return place
}

// answer returns the answer at hand, which came to an interface.
func (r *recorder) answer(f *capture.Frame, got instant, ifc *l2.Interface) *Evidence {
	if r == nil {
		return nil
	}
	v := r.whole
	if r.whole = nil; !r.inParts {
		v = r.received(r.take(), f, got)
	}
	if v == nil {
		return nil
	}
	for i := range v.Frames {
		v.Frames[i].PacketType = forWhom(v.Frames[i].Data, ifc)
	}
	return v
}

// paired says that what is at hand has been paired, or answers nothing.
func (r *recorder) paired() {
	if r != nil {
		r.release(r.whole)
		r.whole, r.inParts = nil, false
	}
}

// forWhom tells whom a frame was for.
func forWhom(b []byte, ifc *l2.Interface) capture.PacketType {
	owner := ifc.Owner()
	switch {
	case ifc.NoLink, bytes.HasPrefix(b, ifc.MAC[:]), bytes.HasPrefix(b, owner.MAC[:]):
		return capture.PacketHost
	case bytes.HasPrefix(b, frame.Broadcast[:]):
		return capture.PacketBroadcast
	case b[0]&1 != 0:
		return capture.PacketMulticast
	}
	return capture.PacketOtherHost
}

// push tells the reader of something, with its frames, which may be nil.
func (e *engine) push(event *Event, frames *Evidence) {
	event.Evidence = frames
	if !e.events.push(event) {
		e.recorder.release(frames)
	}
}

// keep keeps what has left of a probe for its departure stamps.
func (e *engine) keep(t *target, p *entry, frames *Evidence) {
	if e.recorder != nil {
		t.kept[t.table.place(p.n)] = frames
	}
}

// tellDeparture tells of the frames of a probe with the stamps that there are, once.
func (e *engine) tellDeparture(t *target, p *entry) {
	if e.recorder == nil {
		return
	}
	kept := &t.kept[t.table.place(p.n)]
	frames := *kept
	*kept = nil
	switch {
	case frames == nil:
		return
	case len(frames.Frames) == 0: // nothing has left
		e.recorder.release(frames)
		return
	}
	frames.Sched, frames.Driver = p.sched, p.driver
	first := &frames.Frames[0]
	first.Hardware = p.hardware
	switch {
	case p.driver != 0:
		first.Arrival = p.driver
	case p.sched != 0:
		first.Arrival = p.sched
	}
	event := t.event(Departed, first.Arrival)
	event.Seq = p.n
	e.push(&event, frames)
}

// tellEarlier tells of the probes that the next one ends the wait for: that whose
// place it takes, and that before it if nobody is to answer.
func (e *engine) tellEarlier(t *target, n uint64) {
	if e.recorder == nil {
		return
	}
	if p := t.table.get(n - 1); p != nil && p.fate == fateSilent {
		e.readStamps(e.wire, e.points)
		e.tellDeparture(t, p)
	}
	if p := t.table.slot(n); p.n != 0 {
		e.tellDeparture(t, p)
	}
}

// tellRest tells of the probes that are out at the end of the run.
func (e *engine) tellRest() {
	if e.recorder == nil {
		return
	}
	e.readStamps(e.wire, e.points)
	for _, t := range e.targets {
		for n := t.stats.Sent - min(t.stats.Sent, uint64(len(t.kept))) + 1; n <= t.stats.Sent; n++ {
			if p := t.table.get(n); p != nil {
				e.tellDeparture(t, p)
			}
		}
	}
}
