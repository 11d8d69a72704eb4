package craft

import (
	"fmt"
	"math"
	"math/bits"
	"net"
	"net/netip"
	"strings"

	"github.com/l2ping/l2ping/l2/frame"
)

// A field is a part of a layer.
type field struct {
	name    string
	kind    fieldKind
	width   int // of numbers and flags, in bits; of fixed bytes, how many
	initial value
	names   map[string]uint64 // numbers by name
	flags   []string          // names of flags, of the lowest bit first
	service string            // the protocol whose services are names of its numbers
	in      group             // of layers: which
	fast    bool              // its sets vary before those of fields ahead of it
	unit    uint64            // of numbers: what 1 is sent as; 0 is 1
	// when tells whether the field is there at all; nil is always.
	when func(*header) bool
}

type fieldKind uint8

const (
	kindNumber fieldKind = iota
	kindFlags
	kindIP4
	kindIP6
	kindMAC
	kindBytes
	kindName       // of the DNS
	kindLayers     // of a group
	kindTCPOptions // as scapy lists them
	kindIP4List
	kindIP6List
	kindRecordData // of the DNS: what it is depends on the record's type
	kindFixed      // bytes, filled up with zeros
	kindDHCPOptions
)

// The makers of fields: a field that is left out has the value given here, or is
// worked out.

func num(name string, width int, initial uint64) field {
	return field{name: name, width: width, initial: value{num: initial}}
}

func (f field) named(names map[string]uint64) field { f.names = names; return f }

func (f field) by(initial value) field { f.initial = initial; return f }

func (f field) only(when func(*header) bool) field { f.when = when; return f }

func flags(name string, width int, initial uint64, names ...string) field {
	return field{name: name, kind: kindFlags, width: width, initial: value{num: initial}, flags: names}
}

func port(name, service string, initial uint64) field {
	return field{name: name, width: 16, initial: value{num: initial}, service: service}
}

func ip4(name string) field {
	return field{name: name, kind: kindIP4, initial: value{data: make([]byte, 4)}}
}

func ip6(name string) field {
	return field{name: name, kind: kindIP6, initial: value{data: make([]byte, 16)}}
}

func mac(name string) field {
	return field{name: name, kind: kindMAC, initial: value{data: make([]byte, 6)}}
}

func data(name string) field { return field{name: name, kind: kindBytes} }

// fixed are n bytes.
func fixed(name string, n int) field {
	return field{name: name, kind: kindFixed, width: n, initial: value{data: make([]byte, n)}}
}

func layersOf(name string, in group) field {
	return field{name: name, kind: kindLayers, in: in, fast: in != dnsRecord}
}

// max is the largest number that fits.
func (f *field) max() uint64 { return (1<<f.width - 1) / max(f.unit, 1) }

// multiplies tells whether a list of values means one frame for each.
func (f *field) multiplies() bool {
	switch f.kind {
	case kindLayers, kindTCPOptions, kindDHCPOptions, kindIP4List, kindIP6List, kindRecordData:
		return false
	}
	return true
}

// set reads a field's values.
func (p *parser) set(l *layer, f *field, lit literal) (set, error) {
	if !f.multiplies() {
		v, err := p.whole(l, f, lit)
		return set{{first: v, n: 1}}, err
	}
	if lit.kind != literalList {
		s, err := p.span(l, f, lit)
		return set{s}, err
	}
	if len(lit.items) == 0 {
		return nil, p.wrong(lit.at, "%s.%s is an empty list, which makes no frame", l.name, f.name)
	}
	s := make(set, 0, len(lit.items))
	for _, item := range lit.items {
		span, err := p.span(l, f, item)
		if err != nil {
			return nil, err
		}
		s = append(s, span)
	}
	return s, nil
}

// span reads one value, or a range or prefix of them.
func (p *parser) span(l *layer, f *field, lit literal) (span, error) {
	switch f.kind {
	case kindIP4, kindIP6:
		return p.addresses(l, f, lit)
	case kindNumber, kindFlags:
		if lit.kind == literalTuple {
			return p.numbers(l, f, lit)
		}
	}
	v, err := p.single(l, f, lit)
	return span{first: v, n: 1}, err
}

// numbers reads scapy's range: (first, last) or (first, last, step).
func (p *parser) numbers(l *layer, f *field, lit literal) (span, error) {
	if len(lit.items) < 2 || len(lit.items) > 3 {
		return span{}, p.wrong(lit.at, "%s.%s: a range is (first, last) or (first, last, step)", l.name, f.name)
	}
	var ends [2]uint64
	for i := range ends {
		v, err := p.single(l, f, lit.items[i])
		if err != nil {
			return span{}, err
		}
		ends[i] = v.num
	}
	step := max(f.unit, 1)
	if len(lit.items) == 3 {
		s := lit.items[2]
		if s.kind != literalNumber || s.minus || s.num == 0 {
			return span{}, p.wrong(s.at, "%s.%s: the step of a range is a number from 1 on", l.name, f.name)
		}
		if hi, lo := bits.Mul64(step, s.num); hi == 0 {
			step = lo
		} else {
			step = math.MaxUint64
		}
	}
	if ends[1] < ends[0] {
		return span{}, p.wrong(lit.at, "%s.%s: no number is from %d to %d", l.name, f.name, ends[0]/max(f.unit, 1), ends[1]/max(f.unit, 1))
	}
	return span{first: value{num: ends[0]}, n: (ends[1]-ends[0])/step + 1, step: step}, nil
}

// single reads one value of a field that a list multiplies.
func (p *parser) single(l *layer, f *field, lit literal) (value, error) {
	switch f.kind {
	case kindNumber, kindFlags:
		return p.number(l, f, lit)
	case kindMAC:
		if lit.kind == literalBytes && len(lit.data) == 6 {
			return value{data: lit.data}, nil
		}
		m, err := frame.ParseMAC(string(lit.data))
		if err != nil || !lit.isData() {
			return value{}, p.wrong(lit.at, "%s.%s: %s is not a MAC address such as \"02:00:5e:00:53:01\"", l.name, f.name, lit.shown())
		}
		return value{data: m[:]}, nil
	case kindFixed:
		return p.fixed(l, f, lit)
	case kindName:
		if !lit.isData() {
			return value{}, p.wrong(lit.at, "%s.%s is %s where a name should be", l.name, f.name, lit.kind)
		}
		b, err := dnsName(lit.data)
		if err != nil {
			return value{}, p.wrong(lit.at, "%s.%s: %v", l.name, f.name, err)
		}
		return value{data: b}, nil
	}
	if !lit.isData() {
		return value{}, p.wrong(lit.at, "%s.%s is %s where a string or bytes should be", l.name, f.name, lit.kind)
	}
	return value{data: lit.data}, nil
}

// fixed reads bytes that are filled up with zeros. A MAC may be written as one.
func (p *parser) fixed(l *layer, f *field, lit literal) (value, error) {
	b := lit.data
	if m, err := frame.ParseMAC(string(b)); err == nil && lit.kind == literalText {
		b = m[:]
	}
	switch {
	case !lit.isData():
		return value{}, p.wrong(lit.at, "%s.%s is %s where a string or bytes should be", l.name, f.name, lit.kind)
	case len(b) > f.width:
		return value{}, p.wrong(lit.at, "%s.%s: %d bytes, and there is room for %d", l.name, f.name, len(b), f.width)
	}
	full := make([]byte, f.width)
	copy(full, b)
	return value{data: full}, nil
}

// shown is the literal for an error.
func (l *literal) shown() string {
	if l.isData() {
		return fmt.Sprintf("%.40q", l.data)
	}
	return l.kind.String()
}

func (p *parser) number(l *layer, f *field, lit literal) (value, error) {
	var v uint64
	switch {
	case lit.kind == literalNumber:
		v = lit.num
	case !lit.isData():
		return value{}, p.wrong(lit.at, "%s.%s is %s where a number should be", l.name, f.name, lit.kind)
	default:
		var err error
		if v, err = p.numberNamed(l, f, lit); err != nil {
			return value{}, err
		}
	}
	if lit.minus || v > f.max() {
		sign := ""
		if lit.minus {
			sign = "-"
		}
		return value{}, p.wrong(lit.at, "%s.%s is %s%d: it has to be from 0 to %d", l.name, f.name, sign, v, f.max())
	}
	return value{num: v * max(f.unit, 1)}, nil
}

// numberNamed is the number that a name stands for.
func (p *parser) numberNamed(l *layer, f *field, lit literal) (uint64, error) {
	name := string(lit.data)
	switch {
	case f.kind == kindFlags:
		return p.flagsNamed(l, f, lit)
	case f.service != "":
		// No name server is asked: services are in /etc/services.
		if n, err := net.LookupPort(f.service, name); err == nil {
			return uint64(n), nil
		}
		return 0, p.wrong(lit.at, "%s.%s: no %s service is called %.40q", l.name, f.name, f.service, name)
	case f.names == nil:
		return 0, p.wrong(lit.at, "%s.%s is %s where a number should be", l.name, f.name, lit.kind)
	}
	if n, ok := f.names[name]; ok {
		return n, nil
	}
	return 0, p.wrong(lit.at, "%s.%s: no %.40q (%s)", l.name, f.name, name, choices("there are", name, sorted(f.names)))
}

// flagsNamed reads flags: letters as "SA" where all names are of one letter, else
// names joined by +.
func (p *parser) flagsNamed(l *layer, f *field, lit literal) (n uint64, err error) {
	text, letters := string(lit.data), len(f.flags[0]) == 1
	if text == "" {
		return 0, nil
	}
	parts := strings.Split(text, "+")
	if letters {
		parts = strings.Split(text, "")
	}
next:
	for _, part := range parts {
		for i, name := range f.flags {
			if name == part {
				n |= 1 << i
				continue next
			}
		}
		separator := "+"
		if letters {
			separator = ""
		}
		return 0, p.wrong(lit.at, "%s.%s has no flag %.40q (it has: %s)", l.name, f.name, part, strings.Join(f.flags, separator))
	}
	return n, nil
}

// addresses reads an address, a prefix, which stands for all of its addresses, or
// a range (first, last).
func (p *parser) addresses(l *layer, f *field, lit literal) (span, error) {
	if lit.kind == literalTuple && len(lit.items) == 2 {
		first, err := p.address(l, f, lit.items[0])
		if err != nil {
			return span{}, err
		}
		last, err := p.address(l, f, lit.items[1])
		if err != nil {
			return span{}, err
		}
		if last.Less(first) {
			return span{}, p.wrong(lit.at, "%s.%s: no address is from %s to %s", l.name, f.name, first, last)
		}
		return span{first: value{data: first.AsSlice()}, n: addressesBetween(first, last)}, nil
	}
	if lit.isData() && strings.Contains(string(lit.data), "/") {
		prefix, err := netip.ParsePrefix(string(lit.data))
		if err != nil {
			return span{}, p.wrong(lit.at, "%s.%s: %.40q is no prefix", l.name, f.name, lit.data)
		}
		if err := p.family(l, f, lit, prefix.Addr()); err != nil {
			return span{}, err
		}
		n, host := ^uint64(0), prefix.Addr().BitLen()-prefix.Bits()
		if host < 64 {
			n = 1 << host
		}
		return span{first: value{data: prefix.Masked().Addr().AsSlice()}, n: n}, nil
	}
	a, err := p.address(l, f, lit)
	return span{first: value{data: a.AsSlice()}, n: 1}, err
}

// addressesBetween counts the addresses from first to last.
func addressesBetween(first, last netip.Addr) uint64 {
	a, b := first.As16(), last.As16()
	var high, low uint64
	for i := range 8 {
		high = high<<8 | uint64(b[i])
		low = low<<8 | uint64(b[i+8])
	}
	var high1, low1 uint64
	for i := range 8 {
		high1 = high1<<8 | uint64(a[i])
		low1 = low1<<8 | uint64(a[i+8])
	}
	if low < low1 {
		high--
	}
	if high -= high1; high != 0 || low-low1 == ^uint64(0) {
		return ^uint64(0)
	}
	return low - low1 + 1
}

// address reads one address of the field's family.
func (p *parser) address(l *layer, f *field, lit literal) (netip.Addr, error) {
	example := "198.51.100.2"
	if f.kind == kindIP6 || f.kind == kindIP6List {
		example = "2001:db8::2"
	}
	if !lit.isData() {
		return netip.Addr{}, p.wrong(lit.at, "%s.%s is %s where an address should be, such as %q", l.name, f.name, lit.kind, example)
	}
	a, err := netip.ParseAddr(string(lit.data))
	if err != nil {
		return netip.Addr{}, p.wrong(lit.at, "%s.%s: %.40q is not an address such as %q (names are not looked up)", l.name, f.name, lit.data, example)
	}
	return a, p.family(l, f, lit, a)
}

func (p *parser) family(l *layer, f *field, lit literal, a netip.Addr) error {
	switch {
	case a.Zone() != "":
		return p.wrong(lit.at, "%s.%s: %.40q: an address in a frame has no zone", l.name, f.name, lit.data)
	case (f.kind == kindIP4 || f.kind == kindIP4List) && !a.Is4():
		return p.wrong(lit.at, "%s.%s: %.40q is no IPv4 address", l.name, f.name, lit.data)
	case (f.kind == kindIP6 || f.kind == kindIP6List) && !a.Is6():
		return p.wrong(lit.at, "%s.%s: %.40q is no IPv6 address", l.name, f.name, lit.data)
	}
	return nil
}

// whole reads a value of which lists are a part.
func (p *parser) whole(l *layer, f *field, lit literal) (value, error) {
	items := []literal{lit}
	if lit.kind == literalList {
		items = lit.items
	}
	switch f.kind {
	case kindLayers:
		return p.layers(l, f, items)
	case kindTCPOptions:
		if lit.isData() {
			return value{data: lit.data}, nil
		}
		if lit.kind != literalList {
			return value{}, p.wrong(lit.at, "%s.%s is %s where a list should be, such as %s", l.name, f.name, lit.kind, tcpOptionsExample)
		}
		return p.tcpOptions(items)
	case kindDHCPOptions:
		if lit.isData() {
			return value{data: lit.data}, nil
		}
		if lit.kind != literalList {
			return value{}, p.wrong(lit.at, "%s.%s is %s where a list should be, such as %s", l.name, f.name, lit.kind, dhcpOptionsExample)
		}
		return p.dhcpOptions(items)
	case kindRecordData:
		v := value{}
		for _, item := range items {
			if !item.isData() {
				return value{}, p.wrong(item.at, "%s.%s is %s where a string or bytes should be", l.name, f.name, item.kind)
			}
			v.list = append(v.list, item.data)
		}
		return v, nil
	}
	v := value{}
	for _, item := range items {
		a, err := p.address(l, f, item)
		if err != nil {
			return value{}, err
		}
		v.list = append(v.list, a.AsSlice())
	}
	return v, nil
}

// layers reads the layers that stand in a field, or bytes instead of them.
func (p *parser) layers(l *layer, f *field, items []literal) (value, error) {
	v := value{}
	for _, item := range items {
		switch {
		case item.isData():
			chain, err := p.load(item.at, item.data)
			if err != nil {
				return value{}, err
			}
			v.chains = append(v.chains, chain)
			continue
		case item.kind != literalChain:
			return value{}, p.wrong(item.at, "%s.%s is %s where layers should be (there are: %s)", l.name, f.name, item.kind, strings.Join(groupLayers[f.in], ", "))
		}
		for _, n := range item.chain {
			if n.layer.in != f.in && n.layer.name != "Raw" {
				return value{}, p.wrong(n.at, "%s.%s holds %s, and %s is none of them (there are: %s)",
					l.name, f.name, f.in, n.layer.name, strings.Join(groupLayers[f.in], ", "))
			}
		}
		v.chains = append(v.chains, item.chain)
	}
	return v, nil
}
