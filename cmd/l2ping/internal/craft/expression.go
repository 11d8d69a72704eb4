package craft

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/l2/frame"
)

// An Expression is one that Parse has read. It is safe for concurrent use.
type Expression struct {
	text  string
	chain []*node
	nodes []*node // those of chain, and those in their fields
	axes  []axis  // the slowest first
	count uint64
	// ether goes ahead of the chain; nil if the chain does without.
	ether *node
	clock func() time.Time
}

// An axis is a field that holds more than one value.
type axis struct {
	node, field int
	set         set
}

// A Frame is what to send.
type Frame struct {
	Bytes []byte
	// LinkType says what Bytes start with: layers.LinkTypeEthernet, layers.LinkTypeRaw
	// for an IP header, or what else a file has.
	LinkType layers.LinkType
	// Time is when a file's frame was captured; zero if that is not known.
	Time time.Time
	// Length is how long the frame was when it was captured: more than Bytes has
	// where the capture has cut it.
	Length int
}

// starters are the layers that get an Ether ahead of them.
var starters = []string{"IP", "IPv6", "ARP", "Dot1Q", "Dot1AD"}

// expression makes one of a chain of layers.
func (p *parser) expression(chain []*node) (*Expression, error) {
	e := &Expression{text: p.text, chain: chain, count: 1, clock: time.Now}
	for i, n := range chain {
		if i == maxLayers {
			return nil, p.wrong(n.at, "more than %d layers", maxLayers)
		}
		if n.layer.in != "" {
			return nil, p.wrong(n.at, "%s stands among %s, not in a frame", n.layer.name, n.layer.in)
		}
	}
	first := chain[0]
	switch {
	case first.layer.is(starters...):
		e.ether = p.node(layersByName["Ether"], first.at)
		connect(append([]*node{e.ether}, chain...))
	case first.layer.is("Ether", "Dot3", "Raw", "Padding"):
	default:
		return nil, p.wrong(first.at, "%s cannot start a frame: put %s or Ether() ahead of it", first.layer.name, first.layer.carrier())
	}
	connect(chain)
	e.nodes = p.nodes
	e.addAxes(chain)
	return e, nil
}

// carrier is the packet that a layer stands in: of ICMPv6, and of IPv6's own headers,
// no IPv4 one.
func (l *layer) carrier() string {
	_, in4 := l.over["IP"]
	_, in6 := l.over["IPv6"]
	if in6 && !in4 || strings.HasPrefix(l.name, "ICMPv6") {
		return "IPv6(dst=...)"
	}
	return "IP(dst=...)"
}

// connect tells each layer what the next one makes of it.
func connect(chain []*node) {
	for i, n := range chain[1:] {
		chain[i].payload = chain[i].layer.overloads(n.layer)
	}
}

// addAxes adds what multiplies, in scapy's order: the first layer slowest, and in
// a layer its last field, but for those that scapy has lists in by default.
func (e *Expression) addAxes(chain []*node) {
	for _, n := range chain {
		for _, fast := range []bool{false, true} {
			for i := len(n.given) - 1; i >= 0; i-- {
				if n.layer.fields[i].fast == fast && n.given[i] != nil {
					e.addAxis(n, i)
				}
			}
		}
	}
}

func (e *Expression) addAxis(n *node, field int) {
	s := n.given[field]
	for _, inner := range s[0].first.chains {
		connect(inner)
		e.addAxes(inner)
	}
	if size := s.size(); size > 1 {
		e.axes = append(e.axes, axis{node: n.index, field: field, set: s})
		e.count = multiply(e.count, size)
	}
}

// Count is how many frames the expression makes; math.MaxUint64 stands for that
// many or more.
func (e *Expression) Count() uint64 { return e.count }

// Tagged tells whether the frames bear a VLAN tag.
func (e *Expression) Tagged() bool {
	return slices.ContainsFunc(e.chain, func(n *node) bool { return n.layer.is("Dot1Q", "Dot1AD") })
}

// Bears tells whether the frames bear addresses of a family: IPv4's, ARP's among them,
// or IPv6's.
func (e *Expression) Bears(ip4 bool) bool {
	return slices.ContainsFunc(e.nodes, func(n *node) bool {
		if ip4 {
			return n.layer.is("IP", "ARP")
		}
		return n.layer.is("IPv6")
	})
}

// Frames makes the frames one after the other. An error stands for one frame, and
// the next follows.
func (e *Expression) Frames(env Env) iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		r := e.start(env)
		for {
			b, err := r.frame()
			f := Frame{Bytes: b, LinkType: layers.LinkTypeEthernet, Length: len(b)}
			if r.link.NoLink {
				f.LinkType = layers.LinkTypeRaw
			}
			if err != nil {
				f = Frame{}
			}
			if !yield(f, err) || !r.advance() {
				return
			}
		}
	}
}

// A run makes the frames of one expression.
type run struct {
	*Expression
	env     Env
	link    Link
	chain   []*node
	cursors []cursor
	now     [][]value // by node and field
	set     [][]bool
	lists   [][]header // of chains, by their first node
	sources []answer   // what was asked for, by node
	hops    []answer
	pseudo  []byte // what a checksum is made of
	began   time.Time
}

func (e *Expression) start(env Env) *run {
	r := &run{
		Expression: e, env: env, link: env.Link(), chain: e.chain, began: e.clock(),
		lists: make([][]header, len(e.nodes)), sources: make([]answer, len(e.nodes)), hops: make([]answer, len(e.nodes)),
	}
	if e.ether != nil && !r.link.NoLink {
		r.chain = append([]*node{e.ether}, e.chain...)
	}
	r.now, r.set = make([][]value, len(e.nodes)), make([][]bool, len(e.nodes))
	for i, n := range e.nodes {
		r.now[i], r.set[i] = make([]value, len(n.given)), make([]bool, len(n.given))
		for j := range n.given {
			f := &n.layer.fields[j]
			r.now[i][j] = f.initial
			if v, ok := n.payload[f.name]; ok {
				r.now[i][j], r.set[i][j] = v, true
			}
			if s := n.given[j]; s != nil {
				r.now[i][j], r.set[i][j] = s[0].first, true
			}
		}
	}
	for _, a := range e.axes {
		r.cursors = append(r.cursors, newCursor(a.set))
	}
	return r
}

// advance goes to the next combination, and tells whether there is one.
func (r *run) advance() bool {
	for i := len(r.cursors) - 1; i >= 0; i-- {
		more := r.cursors[i].advance()
		a := r.axes[i]
		r.now[a.node][a.field] = r.cursors[i].now
		if more {
			return true
		}
	}
	return false
}

// frame builds the current combination.
func (r *run) frame() ([]byte, error) {
	if first := r.chain[0]; r.link.NoLink && !first.layer.is("IP", "IPv6", "Raw", "Padding") {
		return nil, r.wrong(first, "%s: the interface has no link layer, its frames start with IP or IPv6", first.layer.name)
	}
	first := r.headers(r.chain)
	for h := first; h != nil; h = h.payload {
		if err := r.complete(h); err != nil {
			return nil, err
		}
	}
	b, err := build(first)
	if err != nil {
		return nil, err
	}
	if len(b) > maxFrame {
		return nil, r.wrong(r.chain[0], "a frame of %d bytes: longer than %d", len(b), maxFrame)
	}
	return slices.Clone(b), nil
}

func (r *run) wrong(n *node, format string, args ...any) error {
	return wrong(r.text, n.at, format, args...)
}

// headers makes the layers of a chain as they are now, and returns the first. They
// hold until the chain is made again.
func (r *run) headers(chain []*node) *header {
	list := r.lists[chain[0].index]
	if list == nil {
		list = make([]header, len(chain))
		for i, n := range chain {
			list[i] = header{
				layer: n.layer, node: n, raw: n.raw, run: r, set: r.set[n.index], vals: make([]value, len(n.given)),
			}
			if i > 0 {
				list[i].below = &list[i-1]
				list[i-1].payload = &list[i]
			}
		}
		r.lists[chain[0].index] = list
	}
	for i, n := range chain {
		copy(list[i].vals, r.now[n.index])
	}
	return &list[0]
}

// wrong makes an error of the header's place.
func (h *header) wrong(format string, args ...any) error {
	return h.run.wrong(h.node, "%s: %s", h.name, fmt.Sprintf(format, args...))
}

// An answer is what an Env said: kept for frames that follow, of the same layer, for
// the same destination.
type answer struct {
	dst    netip.Addr
	source netip.Addr
	mac    frame.MAC
	err    error
}

// source asks where to send from.
func (r *run) source(n *node, dst netip.Addr) (netip.Addr, error) {
	a := &r.sources[n.index]
	if a.dst != dst {
		*a = answer{dst: dst}
		if n.layer.is("ARP") {
			a.source, a.err = r.env.Asking(dst)
		} else {
			a.source, a.err = r.env.Source(dst)
		}
		a.source = a.source.Unmap()
		if a.err == nil && a.source.Is4() != dst.Is4() {
			a.err = fmt.Errorf("source for %s: there is none of its family", dst)
		}
	}
	return a.source, a.err
}

// hop asks for the MAC to send to.
func (r *run) hop(n *node, dst netip.Addr) (frame.MAC, error) {
	switch {
	case dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return frame.Broadcast, nil
	case dst.IsMulticast() && !dst.Is4In6():
		return frame.MulticastMAC(dst), nil
	}
	a := &r.hops[n.index]
	if a.dst != dst {
		*a = answer{dst: dst}
		a.mac, a.err = r.env.NextHop(dst)
	}
	return a.mac, a.err
}

// complete fills addresses that were left out.
func (r *run) complete(h *header) error {
	switch {
	case h.is("Ether", "Dot3"):
		if !h.has("src") {
			h.at("src").data = r.link.MAC[:]
		}
		if h.has("dst") {
			return nil
		}
		m, err := r.towards(h)
		h.at("dst").data = h.keep(m[:])
		return err
	case h.is("IP", "IPv6"):
		h.completeDestination()
		return r.completeSource(h, "src", "dst")
	case h.is("ARP"):
		if !h.has("hwsrc") {
			h.at("hwsrc").data = r.link.MAC[:]
		}
		return r.completeSource(h, "psrc", "pdst")
	}
	return nil
}

func (r *run) completeSource(h *header, src, dst string) error {
	if h.has(src) {
		return nil
	}
	a, err := r.source(h.node, h.addr(dst))
	if err != nil {
		return err
	}
	if a.Is4() {
		b := a.As4()
		h.at(src).data = h.keep(b[:])
	} else {
		b := a.As16()
		h.at(src).data = h.keep(b[:])
	}
	return nil
}

// addr is the value of a field that is an address.
func (h *header) addr(name string) netip.Addr {
	a, _ := netip.AddrFromSlice(h.at(name).data)
	return a
}

// Destinations where none is given: this host, or the group that a UDP port stands
// for. Nobody may write to them.
var (
	loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1}).AsSlice()
	loopback6 = netip.IPv6Loopback().AsSlice()
	services  = map[uint64]struct{ ip4, ip6 []byte }{
		5353: {ip4: netip.MustParseAddr("224.0.0.251").AsSlice(), ip6: netip.MustParseAddr("ff02::fb").AsSlice()},
		1985: {ip4: netip.MustParseAddr("224.0.0.2").AsSlice()},
		2029: {ip6: netip.MustParseAddr("ff02::66").AsSlice()},
	}
)

func (h *header) completeDestination() {
	if h.has("dst") {
		return
	}
	dst := loopback4
	if h.is("IPv6") {
		dst = loopback6
	}
	if h.payload != nil && h.payload.is("UDP") {
		s := services[h.payload.num("dport")]
		if a := s.ip4; h.is("IP") && a != nil {
			dst = a
		}
		if a := s.ip6; h.is("IPv6") && a != nil {
			dst = a
		}
	}
	h.at("dst").data = dst
}

// towards finds the MAC that what an Ether carries has to go to; everybody where
// it does not say.
func (r *run) towards(ether *header) (frame.MAC, error) {
	h := ether.payload
	for h != nil && h.is("Dot1Q", "Dot1AD", "LLC", "SNAP") {
		h = h.payload
	}
	switch {
	case h == nil:
	case h.is("IP", "IPv6"):
		h.completeDestination()
		return r.hop(ether.node, h.addr("dst"))
	case h.is("ARP"):
		if m := frame.MAC(h.at("hwdst").data); !m.IsZero() {
			return m, nil
		}
		if h.num("op") != 1 {
			return r.hop(ether.node, h.addr("pdst"))
		}
	}
	return frame.Broadcast, nil
}
