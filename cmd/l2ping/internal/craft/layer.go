package craft

import (
	"slices"
	"strings"
)

// A layer is a protocol's header: its fields in the order in which they are sent.
type layer struct {
	name   string
	fields []field
	index  map[string]int // of fields by name

	// in says in which fields the layer stands; those of a frame have none.
	in group
	// like are the layers that a payload takes this one for, if it knows nothing
	// of this one itself.
	like []string
	// over is what this layer, as a payload, makes of the fields of the layer
	// below, by that layer's name.
	over map[string]overload
	// positional is what bytes without a name are: a field, or the "whole" layer.
	positional string

	// fill works out fields that were left out and depend on the layer alone.
	fill func(*header) error
	// finish gets the header as written and the payload, and returns both, with
	// lengths and checksums.
	finish func(h *header, head, payload []byte) ([]byte, error)
}

// An overload gives fields by name their value.
type overload map[string]value

// A group is a kind of layer that stands in a field.
type group string

const (
	ipOption    group = "IP options"
	hopOption   group = "IPv6 options"
	dnsQuestion group = "DNS questions"
	dnsRecord   group = "DNS records"
	mldRecord   group = "MLD records"
)

// layersByName has all layers, packetLayers the names of those of frames.
var (
	layersByName = map[string]*layer{}
	packetLayers []string
	groupLayers  = map[group][]string{}
)

func init() {
	for _, list := range [][]*layer{linkLayers, ipLayers, ipOptions, ip6Layers, hopOptions, icmpLayers, icmp6Layers, mldRecords, ndpLayers, transportLayers, dnsLayers, dhcpLayers, lldpLayers, dataLayers} {
		for _, l := range list {
			register(l)
		}
	}
	// What scapy calls the layers that an ICMP error quotes.
	for name, same := range map[string]string{
		"IPerror": "IP", "IPerror6": "IPv6", "ICMPerror": "ICMP", "TCPerror": "TCP", "UDPerror": "UDP", "SCTPerror": "SCTP",
	} {
		layersByName[name] = layersByName[same]
	}
}

func register(l *layer) {
	l.index = make(map[string]int, len(l.fields))
	for i, f := range l.fields {
		l.index[f.name] = i
	}
	layersByName[l.name] = l
	if l.in == "" {
		packetLayers = append(packetLayers, l.name)
	} else {
		groupLayers[l.in] = append(groupLayers[l.in], l.name)
	}
}

// names are those of the fields.
func (l *layer) names() []string {
	names := make([]string, len(l.fields))
	for i := range l.fields {
		names[i] = l.fields[i].name
	}
	return names
}

func (l *layer) fieldNames() string { return strings.Join(l.names(), ", ") }

// overloads is what payload makes of the fields of l.
func (l *layer) overloads(payload *layer) overload {
	for _, name := range append([]string{l.name}, l.like...) {
		if o, ok := payload.over[name]; ok {
			return o
		}
	}
	return nil
}

// is tells whether the layer is of one of the names.
func (l *layer) is(names ...string) bool { return slices.Contains(names, l.name) }

// number is an overload of one number.
func number(field string, n uint64) overload { return overload{field: {num: n}} }

// A header is a layer of one frame.
type header struct {
	*layer
	node *node
	vals []value
	// set tells which fields were given, or were made something of by the payload;
	// a field that was not has its default, or is worked out.
	set     []bool
	raw     []byte // if not nil, instead of all fields
	below   *header
	payload *header
	run     *run
	buf     []byte   // what the header and its payload are written to, each time anew
	own     [16]byte // of keep
}

// keep keeps an address that the header was given by nobody.
func (h *header) keep(address []byte) []byte { return append(h.own[:0], address...) }

// at is the value of a field.
func (h *header) at(name string) *value { return &h.vals[h.index[name]] }

// num is the value of a field that is a number.
func (h *header) num(name string) uint64 { return h.vals[h.index[name]].num }

// has tells whether a field was given.
func (h *header) has(name string) bool { return h.set[h.index[name]] }

// put gives a field that was left out a number.
func (h *header) put(name string, n uint64) {
	if !h.has(name) {
		h.at(name).num = n
	}
}

// ip6 is the IPv6 header below h with none but its extensions in between; nil if
// there is none.
func (h *header) ip6() *header {
	for b := h.below; b != nil; b = b.below {
		if b.is("IPv6") {
			return b
		}
		if !b.is(extensions...) {
			return nil
		}
	}
	return nil
}
