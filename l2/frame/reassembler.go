package frame

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// maxSpans is how many fragments a datagram may come in: more than the 1366 that
// an IPv4 packet of 65535 bytes makes at the least MTU, 68 (RFC 791, section 3.2).
const maxSpans = 2048

// The bounds of a Reassembler that are left out.
const (
	defaultDatagrams = 16
	defaultAge       = 30 * time.Second // Linux's for IPv4: net.ipv4.ipfrag_time
)

// A ReassemblerConfig has the bounds of a Reassembler. The zero value of a field,
// or a negative one, is its default.
type ReassemblerConfig struct {
	// Datagrams is how many datagrams may be incomplete at a time, 16 by
	// default. One more takes the place of the oldest.
	Datagrams int
	// Size is the most payload that a datagram may have in bytes, 65535 by
	// default and at most. A fragment that reaches beyond is passed over.
	Size int
	// Age is how long after its first fragment a datagram may be completed,
	// 30 s by default.
	Age time.Duration
}

// A Reassembler puts the fragments of IP packets together (RFC 791, section 3.2;
// RFC 8200, section 4.5). Its memory is fixed, and taken by NewReassembler: up to
// 72 KiB for each datagram. It is not safe for concurrent use.
type Reassembler struct {
	size      int
	age       int64
	datagrams []datagram
}

// A datagram is one that is not complete.
type datagram struct {
	used bool
	// refused says that two fragments contradicted each other: none will do
	// any more.
	refused bool
	key     datagramKey
	born    int64 // when the first fragment came
	total   int   // the length in bytes, -1 until the last fragment came
	have    int   // how many bytes came
	spans   []span
	buf     []byte
}

// A datagramKey is what the fragments of a packet have in common. For IPv6 RFC
// 8200 leaves the protocol out, and believes the first fragment. Senders state one
// and the same in all; to hold them to it lets no fragment pass for a protocol
// that it does not state.
type datagramKey struct {
	id       uint32
	protocol Protocol
	src, dst netip.Addr
}

// A span is the place of a fragment in its datagram, in bytes.
type span struct{ from, to uint16 }

// NewReassembler makes one with fixed bounds.
func NewReassembler(c ReassemblerConfig) *Reassembler {
	if c.Datagrams <= 0 {
		c.Datagrams = defaultDatagrams
	}
	if c.Size <= 0 || c.Size > maxIP {
		c.Size = maxIP
	}
	if c.Age <= 0 {
		c.Age = defaultAge
	}
	r := &Reassembler{size: c.Size, age: int64(c.Age), datagrams: make([]datagram, c.Datagrams)}
	buf := make([]byte, c.Datagrams*c.Size)
	count := min(maxSpans, (c.Size+7)/8)
	spans := make([]span, c.Datagrams*count)
	for i := range r.datagrams {
		r.datagrams[i].buf = buf[i*c.Size:][:c.Size]
		r.datagrams[i].spans = spans[i*count:][:0:count]
	}
	return r
}

// Add takes a packet as IP.Decode left it, at a time in nanoseconds by any clock
// that does not step back. It returns the whole payload with the fragment that
// completes it, valid until the next Add; a packet that is no fragment is whole
// as it is, an IPv6 one with a fragment header too (RFC 6946).
//
// A repeated fragment changes nothing if it is the same byte by byte. One that
// overlaps another in any other way makes the whole datagram void, with what
// is still to come of it (RFC 5722), until it is too old or its place is taken;
// so does the 2049th fragment. Fragments that no host would take are passed over:
// of a wrong header checksum, without payload, of a length that is no multiple
// of 8 though more follow, or past the end of a packet. It does not allocate.
func (r *Reassembler) Add(ip *IP, now int64) (payload []byte, done bool) {
	if !ip.ChecksumOK {
		return nil, false
	}
	if !ip.isFragment() {
		return ip.Payload, true
	}
	end := ip.Offset + len(ip.Payload)
	limit := maxIP
	if ip.Version == 4 {
		limit -= ip.HeaderLen
	}
	if len(ip.Payload) == 0 || ip.MoreFragments && len(ip.Payload)%8 != 0 || end > min(limit, r.size) {
		return nil, false
	}
	d := r.find(datagramKey{id: ip.ID, protocol: ip.Protocol, src: ip.Src, dst: ip.Dst}, now)
	if d.refused {
		return nil, false
	}
	if !d.add(ip.Payload, span{uint16(ip.Offset), uint16(end)}, ip.MoreFragments) {
		d.refused = true
		return nil, false
	}
	if d.have != d.total {
		return nil, false
	}
	d.used = false
	return d.buf[:d.total], true
}

// find returns the datagram that a fragment is of, which is a new one if there is
// none. The place of one that grew too old is free, and if none is free the
// oldest's is taken.
func (r *Reassembler) find(key datagramKey, now int64) *datagram {
	var place *datagram
	for i := range r.datagrams {
		d := &r.datagrams[i]
		if d.used && now-d.born > r.age {
			d.used = false
		}
		if d.used && d.key == key {
			return d
		}
		if place == nil || place.used && (!d.used || d.born < place.born) {
			place = d
		}
	}
	*place = datagram{used: true, key: key, born: now, total: -1, spans: place.spans[:0], buf: place.buf}
	return place
}

// add puts a fragment in its place, and tells whether it agrees with what is
// there. more says that it is not the last one.
func (d *datagram) add(payload []byte, s span, more bool) bool {
	i, _ := slices.BinarySearchFunc(d.spans, s, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	if i < len(d.spans) && d.spans[i] == s {
		return more == (int(s.to) != d.total) && bytes.Equal(payload, d.buf[s.from:s.to])
	}
	switch {
	case i > 0 && d.spans[i-1].to > s.from, i < len(d.spans) && d.spans[i].from < s.to:
		return false // an overlap
	case more && d.total >= 0 && int(s.to) > d.total:
		return false // behind the end
	case !more && (d.total >= 0 || i < len(d.spans)):
		return false // another end, or an end ahead of what came
	case len(d.spans) == cap(d.spans):
		return false
	}
	if !more {
		d.total = int(s.to)
	}
	d.spans = slices.Insert(d.spans, i, s)
	copy(d.buf[s.from:s.to], payload)
	d.have += len(payload)
	return true
}
