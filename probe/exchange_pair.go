//go:build linux

package probe

import (
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2/frame"
)

// none32 is no flight, and no place.
const none32 = int32(-1)

// A chain has the requests with one key, the oldest first: places, of which each
// flight has as many as it may have keys.
type chain struct{ head, tail int32 }

// A place is one of a flight's in a chain.
type place struct{ prev, next int32 }

// An ownKey is that of a Rule.
type ownKey struct {
	rule int
	tags [2 * frame.MaxVLANs]byte // the VLAN ids
	key  uint64
}

// enter puts a place at the end of a chain.
func enter[K comparable](x *exchange, chains map[K]chain, k K, at int32) {
	c, found := chains[k]
	p := x.place(at)
	*p = place{none32, none32}
	if !found {
		chains[k] = chain{at, at}
		return
	}
	p.prev = c.tail
	x.place(c.tail).next = at
	c.tail = at
	chains[k] = c
}

// leave takes it out.
func leave[K comparable](x *exchange, chains map[K]chain, k K, at int32) {
	p := *x.place(at)
	c := chains[k]
	if p.prev == none32 {
		c.head = p.next
	} else {
		x.place(p.prev).next = p.next
	}
	if p.next == none32 {
		c.tail = p.prev
	} else {
		x.place(p.next).prev = p.prev
	}
	if c.head == none32 {
		delete(chains, k)
		return
	}
	chains[k] = c
}

func (x *exchange) place(at int32) *place {
	return &x.flights[at/bpf.MaxRequestKeys].places[at%bpf.MaxRequestKeys]
}

// expect makes a request known by its keys, and collects those for the kernel.
func (x *exchange) expect(i int32) {
	f := &x.flights[i]
	f.nKeys, f.hasOwn = 0, false
	if rule, ok := x.ownRule(f.frame, &x.request); ok {
		if key, ok := x.rules[rule].RequestKey(&x.request); ok {
			f.own, f.hasOwn = ownKey{rule: rule, tags: tagsOf(capture.VLAN{}, &x.request), key: key}, true
			enter(x, x.own, f.own, i*bpf.MaxRequestKeys)
			return
		}
	}
	keys := bpf.AppendRequestKeys(f.keys[:0], f.frame, x.noLink)
	f.nKeys = len(keys)
	for k, key := range keys {
		enter(x, x.keys, key, i*bpf.MaxRequestKeys+int32(k))
	}
	x.expected = append(x.expected, keys...)
}

// forget is the end of that.
func (x *exchange) forget(i int32) {
	f := &x.flights[i]
	if f.hasOwn {
		leave(x, x.own, f.own, i*bpf.MaxRequestKeys)
		f.hasOwn = false
	}
	for k, key := range f.keys[:f.nKeys] {
		leave(x, x.keys, key, i*bpf.MaxRequestKeys+int32(k))
	}
	if f.nKeys > 0 {
		_ = x.filter.Forget(f.keys[:f.nKeys])
		f.nKeys = 0
	}
}

// ownRule finds the Rule for a frame, which it decodes.
func (x *exchange) ownRule(b []byte, eth *frame.Ethernet) (rule int, ok bool) {
	if len(x.rules) == 0 || eth.Decode(b) != nil {
		return 0, false
	}
	for i, t := range x.etherTypes {
		if t == eth.Type {
			return i, true
		}
	}
	return 0, false
}

// tagsOf are the VLAN ids of a frame. A tag with id 0 states a priority, and counts
// as none.
func tagsOf(outer capture.VLAN, eth *frame.Ethernet) (b [2 * frame.MaxVLANs]byte) {
	n := 0
	add := func(id uint16) {
		if id &= 0xfff; id != 0 && n < len(b) {
			b[n], b[n+1] = byte(id>>8), byte(id)
			n += 2
		}
	}
	if outer.Present {
		add(outer.TCI)
	}
	for _, tag := range eth.VLANs[:eth.Tags] {
		add(tag.ID())
	}
	return b
}

// find returns the request that a frame answers: the oldest, but of an ICMP error
// that which it quotes word for word.
func (x *exchange) find(f *capture.Frame) (flight int32, ok bool) {
	if rule, ok := x.ownRule(f.Data, &x.answer); ok {
		if i, ok := x.findOwn(rule, f); ok {
			return i, true
		}
	}
	meta := bpf.Meta{VLANPresent: f.VLAN.Present, VLANTCI: f.VLAN.TCI}
	found := none32
	for _, k := range bpf.AppendAnswerKeys(x.answerKeys[:0], f.Data, meta, x.noLink) {
		c, ok := x.keys[k]
		if !ok {
			continue
		}
		for at := c.head; at != none32; at = x.place(at).next {
			i := at / bpf.MaxRequestKeys
			request := x.flights[i].frame
			if !bpf.Answers(f.Data, meta, request, x.noLink) {
				continue
			}
			if c.head == c.tail || bpf.Quotes(f.Data, meta, request, x.noLink) {
				return i, true
			}
			if found == none32 {
				found = i
			}
			if !isError(f, x.noLink) {
				return found, true
			}
		}
	}
	return found, found != none32
}

// isError tells whether a frame that answers something is an ICMP error. There may
// be more than one request that it is about, and a look at those that follow is
// worth it.
func isError(f *capture.Frame, noLink bool) bool {
	packet := f.Data
	var eth frame.Ethernet
	if !noLink {
		if eth.Decode(packet) != nil {
			return false
		}
		packet = eth.Payload
	}
	var ip frame.IP
	if ip.Decode(packet) != nil || len(ip.Payload) == 0 {
		return false
	}
	t := frame.ICMPType(ip.Payload[0])
	switch ip.Protocol {
	case frame.ProtocolICMP:
		return t != frame.ICMPEchoReply && t < 13
	case frame.ProtocolICMPv6:
		return t < 128 // RFC 4443, section 2.1
	}
	return false
}

func (x *exchange) findOwn(rule int, f *capture.Frame) (flight int32, ok bool) {
	key, ok := x.rules[rule].AnswerKey(&x.answer)
	if !ok {
		return none32, false
	}
	c, ok := x.own[ownKey{rule: rule, tags: tagsOf(f.VLAN, &x.answer), key: key}]
	if !ok {
		return none32, false
	}
	for at := c.head; at != none32; at = x.place(at).next {
		i := at / bpf.MaxRequestKeys
		if x.request.Decode(x.flights[i].frame) == nil && x.rules[rule].Answers(&x.answer, &x.request) {
			return i, true
		}
	}
	return none32, false
}

// pair takes a frame that has come.
func (x *exchange) pair(f *capture.Frame, got instant) {
	if x.program != nil && !x.passes(f) {
		return
	}
	i, ok := x.find(f)
	if !ok {
		x.counts.unpaired.Add(1)
		return
	}
	w := &x.flights[i]
	took := x.points.elapsed(w.last.sent, f.Arrival, got)
	if w.tries == 0 || took >= x.timeout || took < 0 && w.tries == 1 {
		x.counts.unpaired.Add(1) // it came before the request left, or too late
		return
	}
	a := reply{
		landing: landing{stamp: f.Arrival, hardware: f.Hardware, sent: w.last.sent, got: got, until: x.patience(got)},
		flight:  i,
		first:   w.answers == 0,
		frame:   *f,
		other:   x.at != nil,
	}
	if took < 0 {
		a.earlier, a.sent = true, w.before.sent
	}
	a.frame.Data = x.buffers.copy(f.Data)
	w.answers++
	w.holding++
	if a.first {
		x.counts.answered.Add(1)
	}
	x.round++
	if !x.multi || w.in == listedAgain {
		x.unlist(i)
		x.forget(i)
		w.ended = true
	}
	x.held = append(x.held, a)
}
