package pcapfilter

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// deepest bounds how far parentheses, brackets and negations are nested, and
// longest the words and signs of an expression: more than fits into a program.
const (
	deepest = 200
	longest = 1 << 14
)

// A parser makes a tree of the tokens of an expression.
type parser struct {
	*compiler
	expr   string
	tokens []token
	at     int         // the next token
	closes map[int]int // the closing parenthesis of an opening one
	depth  int
}

// qualifiers are what stands before an id, and is carried over to the next id
// that has none.
type qualifiers struct {
	protocol  protocol
	direction direction
	kind      idKind
	token     token // where they start
}

type idKind int

const (
	noID idKind = iota // there are no qualifiers
	anID               // of a host, by default
	hostID
	netID
	portID
	portRangeID
	protoID
)

var idKinds = map[string]idKind{"host": hostID, "net": netID, "port": portID, "portrange": portRangeID}

func (k idKind) String() string {
	return [...]string{"nothing", "host", "host", "net", "port", "portrange", "proto"}[k]
}

func (p *parser) next() token { return p.tokens[p.at] }

// peek returns the token that is n behind the next.
func (p *parser) peek(n int) token { return p.tokens[min(p.at+n, len(p.tokens)-1)] }

func (p *parser) take() token {
	t := p.tokens[p.at]
	if t.kind != tokenEnd {
		p.at++
	}
	return t
}

// skip takes the next token if it is one of some keywords or operators.
func (p *parser) skip(texts ...string) bool {
	if !p.next().is(texts...) {
		return false
	}
	p.at++
	return true
}

// fail returns an error about a token.
func (p *parser) fail(t token, format string, args ...any) error {
	return p.failFrom(t, t, format, args...)
}

// failFrom returns an error about the tokens from one to another.
func (p *parser) failFrom(from, to token, format string, args ...any) error {
	return &Error{Expr: p.expr, Pos: from.pos, End: to.end, Msg: fmt.Sprintf(format, args...)}
}

// unexpected returns an error about the next token, where something else has to
// be.
func (p *parser) unexpected(want string) error {
	t := p.next()
	if hint := p.hint(t); hint != "" {
		return p.fail(t, "unknown word (%s)", hint)
	}
	return p.fail(t, "%s is missing", want)
}

// hint says what a word was probably meant to be, or "".
func (p *parser) hint(t token) string {
	if t.kind != tokenName || p.expr[t.pos] == '\\' {
		return ""
	}
	if first, _, ok := strings.Cut(t.text, "-"); ok && (first == "len" || strings.Trim(first, "0123456789") == "") {
		return "between numbers a minus needs a space on both sides"
	}
	if meant := similar(t.text); meant != "" {
		return fmt.Sprintf("did you mean %q?", meant)
	}
	return ""
}

// unqualified returns an error about the next token, an id that has nothing
// before it that says what it is.
func (p *parser) unqualified() error {
	t := p.next()
	if hint := p.hint(t); hint != "" {
		return p.fail(t, "unknown word (%s)", hint)
	}
	return p.fail(t, "host, net, port or the like is missing before it")
}

// enter counts what is nested.
func (p *parser) enter() error {
	if p.depth++; p.depth > deepest {
		return p.fail(p.next(), "nested deeper than %d times", deepest)
	}
	return nil
}

// parse makes a tree of the whole expression; there is none if it is empty.
func (p *parser) parse() (*tree, error) {
	var err error
	if p.tokens, err = tokens(p.expr); err != nil {
		return nil, err
	}
	if p.next().kind == tokenEnd {
		return constantTree(true), nil
	}
	if len(p.tokens) > longest {
		return nil, p.failFrom(p.tokens[longest], p.tokens[len(p.tokens)-1], "the expression has more than %d words and signs", longest)
	}
	p.closes = make(map[int]int)
	var open []int
	for i, t := range p.tokens {
		switch {
		case t.is("("):
			open = append(open, i)
		case t.is(")"):
			if len(open) == 0 {
				return nil, p.fail(t, "closes nothing")
			}
			p.closes[open[len(open)-1]] = i
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		return nil, p.fail(p.tokens[open[len(open)-1]], "is not closed")
	}
	t, _, err := p.expression(qualifiers{})
	if err != nil {
		return nil, err
	}
	if p.next().kind != tokenEnd {
		return nil, p.unexpected(`"and" or "or"`)
	}
	return t, nil
}

// expression reads what and and or join: both bind alike, from the left. It
// begins with the qualifiers that are carried over, and returns those of its
// last primitive.
func (p *parser) expression(carried qualifiers) (*tree, qualifiers, error) {
	joined, q, err := p.item(carried)
	if err != nil {
		return nil, q, err
	}
	for {
		kind := treeAnd
		switch {
		case p.skip("and"):
		case p.skip("or"):
			kind = treeOr
		default:
			return joined, q, nil
		}
		var t *tree
		if t, q, err = p.item(q); err != nil {
			return nil, q, err
		}
		joined = &tree{kind: kind, l: joined, r: t}
	}
}

// item reads one primitive, with what negates it, or a group in parentheses.
func (p *parser) item(carried qualifiers) (*tree, qualifiers, error) {
	if err := p.enter(); err != nil {
		return nil, carried, err
	}
	defer func() { p.depth-- }()
	t := p.next()
	switch {
	case t.is("not"):
		p.at++
		inner, q, err := p.item(carried)
		if err != nil {
			return nil, q, err
		}
		return negate(inner), q, nil
	case t.is("(") && !p.startsRelation():
		p.at++
		inner, _, err := p.expression(carried)
		if err != nil {
			return nil, carried, err
		}
		if !p.skip(")") {
			return nil, carried, p.unexpected(`"and", "or" or ")"`)
		}
		// What was carried to the group is carried past it.
		return inner, carried, nil
	}
	if p.startsRelation() {
		inner, err := p.relation()
		return inner, qualifiers{}, err
	}
	if t.isID() {
		inner, err := p.id(carried)
		return inner, carried, err
	}
	return p.primitive()
}

// startsRelation tells whether the next tokens are a comparison of numbers: a
// number, or what is in parentheses, counts as one by the operator behind it.
func (p *parser) startsRelation() bool {
	t := p.next()
	after := 1
	switch {
	case t.is("-", "len", "length"):
		return true
	case t.kind == tokenWord:
		_, ok := protocolWords[t.text]
		return ok && p.peek(1).is("[")
	case t.is("("):
		after = p.closes[p.at] - p.at + 1
	case t.kind != tokenNumber:
		return false
	}
	_, compares := relations[p.peek(after).text]
	return p.peek(after).kind == tokenOperator && (compares || precedence[p.peek(after).text] > 0)
}

// primitive reads what starts with a keyword.
func (p *parser) primitive() (*tree, qualifiers, error) {
	none := qualifiers{}
	first := p.next()
	switch {
	case p.skip("less", "greater"):
		n := p.take()
		if n.kind != tokenNumber {
			return nil, none, p.fail(n, "a length in bytes is missing")
		}
		if first.is("less") {
			return negate(p.g.compare(p.g.length(), jumpGreater, n.num)), none, nil
		}
		return p.g.compare(p.g.length(), jumpGreaterOrEqual, n.num), none, nil
	case p.skip("vlan"):
		t, err := p.vlanKeyword(first)
		return t, none, err
	case p.skip("inbound", "outbound", "ifindex"):
		t, err := p.metadata(first)
		return t, none, err
	}
	q := qualifiers{token: first}
	if proto, ok := protocolWords[first.text]; ok && first.kind == tokenWord {
		q.protocol = proto
		p.at++
	}
	if p.next().is("broadcast", "multicast") {
		t, err := p.cast(q)
		return t, none, err
	}
	switch word := p.next(); {
	case p.skip("proto"):
		q.kind = protoID
	case p.skip("src", "dst"):
		if word.is("src") {
			q.direction = src
		} else {
			q.direction = dst
		}
		if p.next().is("and", "or") && p.peek(1).is("src", "dst") && p.peek(1).text != word.text {
			if q.direction = srcOrDst; p.next().is("and") {
				q.direction = srcAndDst
			}
			p.at += 2
		}
		if p.next().is("proto") {
			return nil, none, p.failFrom(word, p.next(), "a protocol has no direction")
		}
		q.kind = anID
	}
	if q.kind != protoID {
		if kind, ok := idKinds[p.next().text]; ok && p.next().kind == tokenWord {
			q.kind = kind
			p.at++
		}
	}
	switch {
	case q.kind != noID:
		t, err := p.ids(q)
		return t, q, err
	case q.protocol == protoLink:
		return nil, none, p.fail(first, "host, src, dst, proto, broadcast, multicast or [ is missing behind it")
	case q.protocol != anyProtocol:
		if p.next().isID() {
			return nil, none, p.unqualified()
		}
		return p.leaf(func(at offsets) *tree { return p.protocol(at, q.protocol) }), none, nil
	default:
		return nil, none, p.unexpected("a primitive")
	}
}

// leaf makes a tree of a primitive whose place in the frame the tags before it
// shift.
func (p *parser) leaf(tests func(at offsets) *tree) *tree {
	return &tree{kind: treeLeaf, leaf: &leaf{tags: p.tags, tests: tests}}
}

// number reads a number, in parentheses or not, if one is next.
func (p *parser) number() (token, bool) {
	n := 0
	for p.peek(n).is("(") {
		n++
	}
	t := p.peek(n)
	if t.kind != tokenNumber {
		return t, false
	}
	for i := range n {
		if !p.peek(n + 1 + i).is(")") {
			return t, false
		}
	}
	p.at += 2*n + 1
	return t, true
}

func (p *parser) vlanKeyword(word token) (*tree, error) {
	if p.cfg.NoLink {
		return nil, p.fail(word, "the interface has no link layer, and no tags")
	}
	n, ok := p.number()
	if !ok {
		return p.vlan(nil), nil
	}
	if n.num > vlanID {
		return nil, p.fail(n, "a VLAN id is at most %d", vlanID)
	}
	return p.vlan(&n.num), nil
}

// metadata reads what only a live capture knows.
func (p *parser) metadata(word token) (*tree, error) {
	if !p.cfg.Live {
		return nil, p.fail(word, "only a live capture knows it")
	}
	switch word.text {
	case "outbound":
		return p.outgoing(), nil
	case "inbound":
		return negate(p.outgoing()), nil
	}
	n := p.next()
	if n.kind != tokenNumber {
		return nil, p.fail(n, "the number of an interface is missing")
	}
	p.at++
	return p.g.equal(p.g.extension(extInterface), n.num), nil
}

// cast reads broadcast or multicast.
func (p *parser) cast(q qualifiers) (*tree, error) {
	word := p.take()
	proto := q.protocol
	if proto == anyProtocol {
		proto = protoLink
	}
	if proto == protoLink && p.cfg.NoLink {
		return nil, p.failFrom(q.token, word, "the interface has no link layer (ip %s is of the packet)", word.text)
	}
	switch {
	case word.is("broadcast") && proto == protoLink:
		return p.etherHost(dst, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), nil
	case word.is("broadcast") && proto == protoIP:
		return p.leaf(p.ipBroadcast), nil
	case word.is("multicast") && (proto == protoLink || proto == protoIP || proto == protoIP6):
		return p.leaf(func(at offsets) *tree { return p.multicast(at, proto) }), nil
	case word.is("broadcast"):
		return nil, p.failFrom(q.token, word, "there are only ether broadcast and ip broadcast")
	default:
		return nil, p.failFrom(q.token, word, "there are only ether multicast, ip multicast and ip6 multicast")
	}
}

// ids reads an id, or several in parentheses, behind its qualifiers.
func (p *parser) ids(q qualifiers) (*tree, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	switch t := p.next(); {
	case p.skip("not"):
		inner, err := p.ids(q)
		if err != nil {
			return nil, err
		}
		return negate(inner), nil
	case p.skip("("):
		joined, err := p.ids(q)
		for err == nil && !p.skip(")") {
			kind := treeAnd
			if p.next().is("or") {
				kind = treeOr
			}
			if !p.skip("and", "or") {
				return nil, p.unexpected(`"and", "or" or ")"`)
			}
			var r *tree
			if r, err = p.ids(q); err == nil {
				joined = &tree{kind: kind, l: joined, r: r}
			}
		}
		return joined, err
	case t.isID():
		return p.id(q)
	case t.kind == tokenWord && q.kind == protoID:
		return nil, p.fail(t, "it is a keyword too: as a name it is \\%s", t.text)
	default:
		return nil, p.unexpected(wanted[q.kind])
	}
}

// wanted says what has to stand behind qualifiers.
var wanted = map[idKind]string{
	anID: "an address", hostID: "an address", netID: "a network", portID: "a port", portRangeID: "a range of ports", protoID: "a protocol",
}

// id makes a tree of the id that is next.
func (p *parser) id(q qualifiers) (*tree, error) {
	t := p.next()
	if q.kind == noID {
		return nil, p.unqualified()
	}
	p.at++
	switch q.kind {
	case portID, portRangeID:
		return p.port(q, t)
	case protoID:
		return p.protoNumber(q, t)
	default:
		return p.address(q, t)
	}
}

// port makes a tree of a port or a range of ports, by number or name.
func (p *parser) port(q qualifiers, t token) (*tree, error) {
	of := map[protocol][]uint32{anyProtocol: {ipSCTP, ipTCP, ipUDP}, protoTCP: {ipTCP}, protoUDP: {ipUDP}, protoSCTP: {ipSCTP}}[q.protocol]
	if of == nil {
		return nil, p.fail(q.token, "it has no ports; tcp, udp and sctp have")
	}
	from := service{tcp: true, udp: true}
	to := from
	var err error
	switch t.kind {
	case tokenNumber:
		if t.num > 65535 {
			return nil, p.fail(t, "a port is at most 65535")
		}
		from.port, to.port = uint16(t.num), uint16(t.num)
	case tokenName:
		first, second := t.text, t.text
		if q.kind == portRangeID {
			var ok bool
			if first, second, ok = strings.Cut(t.text, "-"); !ok {
				return nil, p.fail(t, "a range is FIRST-LAST")
			}
		}
		if from, err = p.portName(t, first); err != nil {
			return nil, err
		}
		if to, err = p.portName(t, second); err != nil {
			return nil, err
		}
	default:
		return nil, p.fail(t, "no port")
	}
	// A name of one protocol alone narrows the filter down to that, as in libpcap.
	tcp, udp := from.tcp, from.udp
	if from.tcp != to.tcp || from.udp != to.udp {
		tcp, udp = true, true
	}
	if !tcp || !udp {
		only, name := uint32(ipTCP), "TCP"
		if udp {
			only, name = ipUDP, "UDP"
		}
		if !slices.Contains(of, only) {
			return nil, p.fail(t, "it is a port of %s alone", name)
		}
		of = []uint32{only}
	}
	low, high := uint32(min(from.port, to.port)), uint32(max(from.port, to.port))
	return p.leaf(func(at offsets) *tree { return p.ports(at, of, q.direction, low, high) }), nil
}

// portName looks a port up: a number, or a name.
func (p *parser) portName(t token, name string) (service, error) {
	if n, err := strconv.ParseUint(name, 10, 16); err == nil {
		return service{uint16(n), true, true}, nil
	}
	s, ok := p.service(name)
	switch {
	case ok:
		return s, nil
	case strings.Trim(name, "0123456789") == "":
		return s, p.fail(t, "a port is at most 65535")
	default:
		return s, p.fail(t, "no port has the name %q", name)
	}
}

// protoNumber makes a tree of a protocol behind proto.
func (p *parser) protoNumber(q qualifiers, t token) (*tree, error) {
	if !slices.Contains([]protocol{anyProtocol, protoLink, protoIP, protoIP6}, q.protocol) {
		return nil, p.fail(q.token, "only ether, ip and ip6 say which protocol they carry")
	}
	number := t.num
	switch {
	case t.kind == tokenNumber:
	case t.kind != tokenName:
		return nil, p.fail(t, "no protocol")
	case q.protocol == protoLink && t.text == "loopback":
		number = etherTypeLoopback
	case q.protocol == protoLink:
		proto, ok := etherNames[t.text]
		if !ok {
			return nil, p.fail(t, "Ethernet has no protocol of this name here (give its number)")
		}
		number = etherTypes[proto]
	default:
		var ok bool
		if number, ok = ipNames[t.text]; !ok {
			return nil, p.fail(t, "IP has no protocol of this name here (give its number)")
		}
	}
	return p.leaf(func(at offsets) *tree {
		switch q.protocol {
		case protoLink:
			return p.etherType(at, number)
		case protoIP:
			return p.ipProtocol(at, number, true, false)
		case protoIP6:
			return p.ipProtocol(at, number, false, true)
		default:
			return p.ipProtocol(at, number, true, true)
		}
	}), nil
}

// address makes a tree of a host or a network.
func (p *parser) address(q qualifiers, t token) (*tree, error) {
	switch t.kind {
	case tokenMAC:
		mac, err := parseMAC(t.text)
		switch {
		case err != nil:
			return nil, p.fail(t, "no MAC address")
		case q.kind == netID || q.protocol != protoLink:
			return nil, p.fail(t, "a MAC address needs ether before it: ether host, ether src or ether dst")
		case p.cfg.NoLink:
			return nil, p.fail(t, "the interface has no link layer, and no MAC addresses")
		}
		return p.etherHost(q.direction, mac), nil
	case tokenName:
		if q.protocol != protoLink || q.kind == netID {
			return nil, p.fail(t, "names are not looked up: give an address")
		}
		return nil, p.fail(t, "no MAC address")
	}
	if q.protocol == protoLink {
		return nil, p.fail(t, "ether needs a MAC address")
	}
	if t.kind == tokenIPv6 {
		return p.address6(q, t)
	}
	if !slices.Contains([]protocol{anyProtocol, protoIP, protoARP, protoRARP}, q.protocol) {
		return nil, p.fail(q.token, "it has no IPv4 addresses; ip, arp and rarp have")
	}
	network, mask, err := p.network4(q, t)
	if err != nil {
		return nil, err
	}
	return p.leaf(func(at offsets) *tree { return p.host4(at, q.protocol, q.direction, network, mask) }), nil
}

// network4 reads what stands behind an IPv4 address, and returns its network. An
// address with parts left out is that of the network that it starts with.
func (p *parser) network4(q qualifiers, t token) (network, mask uint32, err error) {
	if t.kind == tokenNumber {
		network, mask = t.num, ^uint32(0)
		for q.kind == netID && network != 0 && network>>24 == 0 {
			network, mask = network<<8, mask<<8
		}
		if p.next().is("/", "mask") {
			return 0, 0, p.failFrom(t, p.next(), "a network of one number has no length; write %d.0.0.0", t.num)
		}
		return network, mask, nil
	}
	network, bits, err := p.parts(t)
	if err != nil {
		return 0, 0, err
	}
	mask = ^uint32(0) << (32 - bits)
	last := t
	switch {
	case p.skip("/"):
		last = p.take()
		if last.kind != tokenNumber || last.num > 32 {
			return 0, 0, p.fail(last, "a length of 0 to 32 bits is missing")
		}
		mask = ^uint32(0) << (32 - last.num)
	case p.skip("mask"):
		last = p.take()
		if last.kind != tokenIPv4 {
			return 0, 0, p.fail(last, "a mask such as 255.255.255.0 is missing")
		}
		if mask, _, err = p.parts(last); err != nil {
			return 0, 0, err
		}
	default:
		return network, mask, nil
	}
	if q.kind != netID {
		return 0, 0, p.failFrom(t, last, "only a net has a length")
	}
	if network&^mask != 0 {
		return 0, 0, p.failFrom(t, last, "bits are set beyond the network's")
	}
	return network, mask, nil
}

// parts reads the numbers of an IPv4 address, from the left, and says how many
// bits they are.
func (p *parser) parts(t token) (address uint32, bits int, err error) {
	for part := range strings.SplitSeq(t.text, ".") {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			return 0, 0, p.fail(t, "the numbers of an address are 0 to 255")
		}
		bits += 8
		address |= uint32(n) << (32 - bits)
	}
	return address, bits, nil
}

func (p *parser) address6(q qualifiers, t token) (*tree, error) {
	address, err := netip.ParseAddr(t.text)
	if err != nil {
		return nil, p.fail(t, "no IPv6 address")
	}
	if q.protocol != anyProtocol && q.protocol != protoIP6 {
		return nil, p.fail(q.token, "it has no IPv6 addresses; ip6 has")
	}
	network := netip.PrefixFrom(address, 128)
	if p.skip("/") {
		length := p.take()
		if length.kind != tokenNumber || length.num > 128 {
			return nil, p.fail(length, "a length of 0 to 128 bits is missing")
		}
		network = netip.PrefixFrom(address, int(length.num))
		if q.kind != netID && length.num != 128 {
			return nil, p.failFrom(t, length, "only a net has a length")
		}
		if network.Masked() != network {
			return nil, p.failFrom(t, length, "bits are set beyond the network's")
		}
	}
	return p.leaf(func(at offsets) *tree { return p.host6(at, q.direction, network) }), nil
}

// parseMAC reads what macLength has found.
func parseMAC(s string) (net.HardwareAddr, error) {
	groups := strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(":-.", r) })
	var digits strings.Builder
	for _, group := range groups {
		if len(group) == 1 {
			digits.WriteByte('0')
		}
		digits.WriteString(group)
	}
	n, err := strconv.ParseUint(digits.String(), 16, 48)
	if err != nil {
		return nil, err
	}
	return net.HardwareAddr{byte(n >> 40), byte(n >> 32), byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, nil
}
