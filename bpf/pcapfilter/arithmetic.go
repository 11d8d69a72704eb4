package pcapfilter

import (
	cbpf "golang.org/x/net/bpf"
)

// A term is arithmetic as it is written. Where the packet starts decides what
// its accessors read, so it becomes a value only then.
type term struct {
	kind        valueKind // valueConstant, valueLength, valueLoad, valueBinary or valueNegative
	k           uint32
	op          cbpf.ALUOp
	left, right *term    // of valueLoad, left is the offset
	protocol    protocol // of valueLoad
	size        int      // of valueLoad
}

// A relation compares two numbers; with swap it holds where cond does not.
type relation struct {
	cond cbpf.JumpTest
	swap bool
}

var relations = map[string]relation{
	"=": {cond: jumpEqual}, "!=": {jumpEqual, true},
	">": {cond: jumpGreater}, "<=": {jumpGreater, true},
	">=": {cond: jumpGreaterOrEqual}, "<": {jumpGreaterOrEqual, true},
}

const (
	jumpEqual          = cbpf.JumpEqual
	jumpGreater        = cbpf.JumpGreaterThan
	jumpGreaterOrEqual = cbpf.JumpGreaterOrEqual
	extInterface       = cbpf.ExtInterfaceIndex
)

// precedence says which operators bind stronger. The grammar of libpcap has none
// for % and ^: they take all that stands on their right.
var precedence = map[string]int{
	"|": 1, "&": 2, "<<": 3, ">>": 3, "+": 4, "-": 4, "*": 5, "/": 5, "%": 7, "^": 7,
}

const (
	precedenceMinus   = 6
	precedenceSwallow = 7
)

var operators = map[string]cbpf.ALUOp{
	"|": cbpf.ALUOpOr, "&": cbpf.ALUOpAnd, "<<": cbpf.ALUOpShiftLeft, ">>": cbpf.ALUOpShiftRight, "+": cbpf.ALUOpAdd,
	"-": cbpf.ALUOpSub, "*": cbpf.ALUOpMul, "/": cbpf.ALUOpDiv, "%": cbpf.ALUOpMod, "^": cbpf.ALUOpXor,
}

// accessible are the protocols whose bytes can be read, those of IPv4's payload
// apart.
var accessible = map[protocol]bool{
	protoLink: true, protoIP: true, protoIP6: true, protoARP: true, protoRARP: true, protoICMP6: true,
	protoAppleTalk: true, protoDECnet: true, protoSCA: true, protoLAT: true, protoMOPRC: true, protoMOPDL: true,
	protoTCP: true, protoUDP: true, protoSCTP: true, protoICMP: true, protoIGMP: true,
	protoIGRP: true, protoPIM: true, protoVRRP: true, protoCARP: true,
}

// relation reads a comparison of two numbers.
func (p *parser) relation() (*tree, error) {
	first := p.next()
	left, err := p.arithmetic(0)
	if err != nil {
		return nil, err
	}
	sign := p.next()
	rel, ok := relations[sign.text]
	if !ok || sign.kind != tokenOperator {
		return nil, p.unexpected("=, !=, <, <=, > or >=")
	}
	p.at++
	right, err := p.arithmetic(0)
	if err != nil {
		return nil, err
	}
	last := p.tokens[p.at-1]
	if !p.workable(left) || !p.workable(right) {
		return nil, p.failFrom(first, last, "divides by zero, or shifts by more than 31 bits")
	}
	return p.leaf(func(at offsets) *tree {
		holds := p.compareTerms(at, rel.cond, left, right)
		if rel.swap {
			holds = negate(holds)
		}
		return all(p.checks(at, left), p.checks(at, right), holds)
	}), nil
}

// arithmetic reads a number, with the operators that bind at least as strong as
// given.
func (p *parser) arithmetic(least int) (*term, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	left, err := p.operand()
	if err != nil {
		return nil, err
	}
	for {
		sign := p.next()
		strength := precedence[sign.text]
		if sign.kind != tokenOperator || strength == 0 || strength < least {
			return left, nil
		}
		p.at++
		least := strength + 1
		if strength == precedenceSwallow {
			least = 0
		}
		right, err := p.arithmetic(least)
		if err != nil {
			return nil, err
		}
		left = &term{kind: valueBinary, op: operators[sign.text], left: left, right: right}
	}
}

// operand reads a number without operators.
func (p *parser) operand() (*term, error) {
	switch t := p.next(); {
	case t.kind == tokenNumber:
		p.at++
		return &term{kind: valueConstant, k: t.num}, nil
	case p.skip("len", "length"):
		return &term{kind: valueLength}, nil
	case p.skip("-"):
		inner, err := p.arithmetic(precedenceMinus)
		if err != nil {
			return nil, err
		}
		return &term{kind: valueNegative, left: inner}, nil
	case p.skip("("):
		inner, err := p.arithmetic(0)
		if err == nil && !p.skip(")") {
			err = p.unexpected("an operator or )")
		}
		return inner, err
	case t.kind == tokenWord && p.peek(1).is("["):
		return p.accessor()
	default:
		return nil, p.unexpected("a number, len or an accessor such as ip[0]")
	}
}

// accessor reads a protocol, and an offset and a size in brackets.
func (p *parser) accessor() (*term, error) {
	word := p.take()
	proto, ok := protocolWords[word.text]
	if !ok || !accessible[proto] {
		return nil, p.fail(word, "its bytes cannot be read; ether, ip, ip6, arp, tcp, udp, icmp and icmp6 have some")
	}
	p.at++ // the bracket
	offset, err := p.arithmetic(0)
	if err != nil {
		return nil, err
	}
	t := &term{kind: valueLoad, protocol: proto, size: 1, left: offset}
	if p.skip(":") {
		size := p.next()
		if size.kind != tokenNumber || size.num != 1 && size.num != 2 && size.num != 4 {
			return nil, p.fail(size, "a size is 1, 2 or 4 bytes")
		}
		p.at++
		t.size = int(size.num)
	}
	if !p.skip("]") {
		return nil, p.unexpected("an operator, : or ]")
	}
	return t, nil
}

// value works out what a term reads, where the packet starts as given.
func (c *compiler) value(at offsets, t *term) *value {
	g := c.g
	switch t.kind {
	case valueConstant:
		return g.constant(t.k)
	case valueLength:
		return g.length()
	case valueNegative:
		return g.negative(c.value(at, t.left))
	case valueBinary:
		return g.binary(t.op, c.value(at, t.left), c.value(at, t.right))
	}
	offset := c.value(at, t.left)
	switch t.protocol {
	case protoLink:
		return g.loadBehind(offset, 0, t.size)
	case protoICMP6:
		return g.loadBehind(offset, at.packet+40, t.size)
	}
	if in, ok := insides[t.protocol]; ok && in.ip4 {
		offset = g.binary(cbpf.ALUOpAdd, g.header(at.packet), offset)
	}
	return g.loadBehind(offset, at.packet, t.size)
}

// workable tells whether no constant of a term divides by zero, or shifts too
// far. That does not depend on where the packet starts.
func (p *parser) workable(t *term) bool {
	if t.left != nil && !p.workable(t.left) || t.right != nil && !p.workable(t.right) {
		return false
	}
	if t.kind != valueBinary {
		return true
	}
	right := p.value(offsets{}, t.right)
	switch t.op {
	case cbpf.ALUOpDiv, cbpf.ALUOpMod:
		return right.kind != valueConstant || right.k != 0
	case cbpf.ALUOpShiftLeft, cbpf.ALUOpShiftRight:
		return right.kind != valueConstant || right.k <= 31
	default:
		return true
	}
}

// checks returns what has to hold before a term may be worked out: that the
// packet is of the protocols of its accessors. It is nil if nothing has to. As in
// libpcap only the accessors on the left of an operator are checked.
func (c *compiler) checks(at offsets, t *term) *tree {
	switch t.kind {
	case valueBinary, valueNegative:
		return c.checks(at, t.left)
	case valueLoad:
	default:
		return nil
	}
	offset := c.checks(at, t.left)
	switch in, ok := insides[t.protocol]; {
	case t.protocol == protoLink:
		return offset
	case t.protocol == protoICMP6:
		return all(offset, c.etherType(at, etherTypeIPv6), c.g.equal(c.g.load(at.packet+6, 1), ipICMPv6))
	case ok:
		return all(c.etherType(at, etherTypeIPv4), offset, c.ipProtocol(at, in.number, in.ip4, in.ip6), c.firstFragment(at))
	default:
		return all(offset, c.protocol(at, t.protocol))
	}
}

// compareTerms compares two terms. A constant goes to the right, where an
// instruction has it.
func (c *compiler) compareTerms(at offsets, cond cbpf.JumpTest, left, right *term) *tree {
	a, b := c.value(at, left), c.value(at, right)
	if a.kind == valueConstant && b.kind == valueConstant {
		return constantTree(cond == jumpEqual && a.k == b.k || cond == jumpGreater && a.k > b.k || cond == jumpGreaterOrEqual && a.k >= b.k)
	}
	swapped := a.kind == valueConstant
	if swapped {
		// k > b where not b >= k, and k >= b where not b > k.
		a, b = b, a
		switch cond {
		case jumpGreater:
			cond = jumpGreaterOrEqual
		case jumpGreaterOrEqual:
			cond = jumpGreater
		default:
			swapped = false
		}
	}
	var t *tree
	switch {
	case b.kind != valueConstant:
		t = &tree{kind: treeTest, test: c.g.test(testKey{cond: cond, value: a, with: b})}
	case cond == jumpEqual:
		t = c.g.equalTo(a, b.k)
	default:
		t = c.g.compare(a, cond, b.k)
	}
	if swapped {
		t = negate(t)
	}
	return t
}

// equalTo compares a value with a constant, of which it first takes what the
// value has been added.
func (g *graph) equalTo(v *value, k uint32) *tree {
	for v.kind == valueBinary && v.right.kind == valueConstant {
		switch v.op {
		case cbpf.ALUOpAdd:
			v, k = v.base, k-v.right.k
		case cbpf.ALUOpSub:
			v, k = v.base, k+v.right.k
		case cbpf.ALUOpAnd:
			return g.masked(v.base, k, v.right.k)
		default:
			return g.equal(v, k)
		}
	}
	return g.equal(v, k)
}
