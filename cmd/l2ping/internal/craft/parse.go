package craft

// Limits that keep a short text from becoming a great deal of memory.
const (
	maxLayers = 64      // of a frame
	maxDepth  = 32      // how deep lists, parentheses and layers nest
	maxRepeat = 1 << 20 // bytes that repetitions ("A" * 1000) make in one expression
	maxFrame  = 1 << 17 // bytes of a frame: more than any MTU
)

// A literal is a value as it stands in an expression.
type literal struct {
	at    int
	kind  literalKind
	num   uint64
	minus bool // the number is below 0
	data  []byte
	items []literal
	chain []*node
}

type literalKind uint8

const (
	literalNone literalKind = iota
	literalNumber
	literalText
	literalBytes
	literalList
	literalTuple
	literalChain // layers
)

// String names the kind of a literal for errors.
func (k literalKind) String() string {
	return [...]string{"None", "a number", "a string", "bytes", "a list", "a tuple", "a layer"}[k]
}

// isData tells whether the literal is a string or bytes.
func (l *literal) isData() bool { return l.kind == literalText || l.kind == literalBytes }

// A node is one layer of an expression.
type node struct {
	layer *layer
	at    int
	index int   // among all nodes of the expression
	given []set // by field; nil where it is left out
	// payload is what the next layer makes of this one's fields.
	payload overload
	// raw is the whole layer where it was given as bytes.
	raw []byte
}

// A parser reads one expression.
type parser struct {
	lexer
	token    token
	depth    int
	repeated int
	holds    group // what layers the field that is read holds; "" is none
	nodes    []*node
}

// Parse reads an expression. It fails with *PlaceError, which says at which
// character.
func Parse(text string) (*Expression, error) {
	p := &parser{lexer: lexer{text: text}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.token.kind == tokenEnd {
		return nil, p.wrong(0, "an empty expression (try IP(dst=\"198.51.100.2\")/ICMP())")
	}
	chain, err := p.chain()
	if err != nil {
		return nil, err
	}
	if p.token.kind != tokenEnd {
		return nil, p.wrong(p.token.at, "%s after the expression (layers are joined by /)", p.token)
	}
	return p.expression(chain)
}

func (p *parser) wrong(at int, format string, args ...any) error {
	return wrong(p.text, at, format, args...)
}

func (p *parser) advance() (err error) {
	p.token, err = p.lexer.next()
	return err
}

// is tells whether the next token is a mark.
func (p *parser) is(mark string) bool { return p.token.kind == tokenMark && p.token.text == mark }

// take takes a mark if it comes next.
func (p *parser) take(mark string) (bool, error) {
	if !p.is(mark) {
		return false, nil
	}
	return true, p.advance()
}

func (p *parser) expect(mark, after string) error {
	ok, err := p.take(mark)
	if err == nil && !ok {
		err = p.wrong(p.token.at, "%s where %q should follow %s", p.token, mark, after)
	}
	return err
}

// enter counts a level of nesting; its end is leave.
func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return p.wrong(p.token.at, "nested deeper than %d levels", maxDepth)
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

// chain reads layers joined by /.
func (p *parser) chain() ([]*node, error) {
	var chain []*node
	for {
		more, err := p.element()
		if err != nil {
			return nil, err
		}
		chain = append(chain, more...)
		ok, err := p.take("/")
		if err != nil {
			return nil, err
		}
		if !ok {
			return chain, nil
		}
	}
}

// element reads one layer, a string or bytes that stand for one, or either in
// parentheses.
func (p *parser) element() ([]*node, error) {
	t := p.token
	switch t.kind {
	case tokenName:
		n, err := p.call()
		if err != nil {
			return nil, err
		}
		return []*node{n}, nil
	case tokenText, tokenBytes:
		if err := p.advance(); err != nil {
			return nil, err
		}
		if p.is("*") || p.is("+") {
			return nil, p.wrong(p.token.at, "%s after a string needs parentheses around both, as / binds as closely", p.token)
		}
		return p.load(t.at, t.data)
	case tokenMark:
		if t.text != "(" {
			break
		}
		if err := p.enter(); err != nil {
			return nil, err
		}
		defer p.leave()
		if err := p.advance(); err != nil {
			return nil, err
		}
		chain, err := p.inParentheses(t.at)
		if err != nil {
			return nil, err
		}
		return chain, p.expect(")", "what is in parentheses")
	}
	return nil, p.wrong(t.at, "%s where a layer should be, such as IP()", t)
}

func (p *parser) inParentheses(at int) ([]*node, error) {
	if p.token.kind == tokenText || p.token.kind == tokenBytes {
		l, err := p.data()
		if err != nil {
			return nil, err
		}
		chain, err := p.load(l.at, l.data)
		if err != nil || !p.is("/") {
			return chain, err
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		more, err := p.chain()
		return append(chain, more...), err
	}
	return p.chain()
}

// load makes the layer that a string stands for.
func (p *parser) load(at int, data []byte) ([]*node, error) {
	n := p.node(layersByName["Raw"], at)
	n.given[0] = set{{first: value{data: data}, n: 1}}
	return []*node{n}, nil
}

func (p *parser) node(l *layer, at int) *node {
	n := &node{layer: l, at: at, index: len(p.nodes), given: make([]set, len(l.fields))}
	p.nodes = append(p.nodes, n)
	return n
}

// call reads a layer with its fields.
func (p *parser) call() (*node, error) {
	name := p.token
	if err := p.advance(); err != nil {
		return nil, err
	}
	l, ok := layersByName[name.text]
	switch called := p.is("("); {
	case !ok && p.holds != "":
		return nil, p.wrong(name.at, "no layer %.40q (%s)", name.text, choices("there are", name.text, groupLayers[p.holds]))
	case !ok && !called && nearest(name.text, packetLayers) == "":
		return nil, p.wrong(name.at, "no layer %.40q, and text stands in quotes (%s)", name.text, choices("layers", name.text, packetLayers))
	case !ok:
		return nil, p.wrong(name.at, "no layer %.40q (%s)", name.text, choices("layers", name.text, packetLayers))
	}
	if !p.is("(") {
		return nil, p.wrong(p.token.at, "%s where %q should follow %s", p.token, "(", l.name)
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	if err := p.advance(); err != nil {
		return nil, err
	}
	n := p.node(l, name.at)
	for first := true; !p.is(")"); first = false {
		if err := p.argument(n, first); err != nil {
			return nil, err
		}
		if ok, err := p.take(","); err != nil {
			return nil, err
		} else if !ok {
			break
		}
	}
	return n, p.expect(")", "the fields of "+name.text)
}

// argument reads field=value, or the bytes that some layers take without a name.
func (p *parser) argument(n *node, first bool) error {
	l, name := n.layer, p.token
	if name.kind != tokenName {
		if first && l.positional != "" && (name.kind == tokenText || name.kind == tokenBytes) {
			return p.positional(n)
		}
		return p.wrong(name.at, "%s where a field of %s should be (it has: %s)", name, l.name, l.fieldNames())
	}
	i, ok := l.index[name.text]
	if !ok {
		return p.wrong(name.at, "%s has no field %.40q (%s)", l.name, name.text, choices("it has", name.text, l.names()))
	}
	if err := p.advance(); err != nil {
		return err
	}
	if err := p.expect("=", "the field "+name.text); err != nil {
		return err
	}
	if n.given[i] != nil || n.raw != nil {
		return p.wrong(name.at, "%s.%s is given twice", l.name, name.text)
	}
	outer := p.holds
	p.holds = l.fields[i].in
	v, err := p.value()
	p.holds = outer
	if err != nil {
		return err
	}
	if v.kind == literalNone {
		if l.fields[i].kind != kindLayers {
			return nil
		}
		v.kind = literalList // in scapy None is no layers, even where some are the default
	}
	n.given[i], err = p.set(l, &l.fields[i], v)
	return err
}

func (p *parser) positional(n *node) error {
	v, err := p.data()
	if err != nil {
		return err
	}
	if i, ok := n.layer.index[n.layer.positional]; ok {
		n.given[i] = set{{first: value{data: v.data}, n: 1}}
	} else {
		n.raw = v.data
	}
	return nil
}

// value reads the value of a field.
func (p *parser) value() (literal, error) {
	t := p.token
	switch t.kind {
	case tokenText, tokenBytes:
		return p.data()
	case tokenNumber:
		return literal{at: t.at, kind: literalNumber, num: t.num}, p.advance()
	case tokenName:
		switch t.text {
		case "None":
			return literal{at: t.at}, p.advance()
		case "True", "False":
			l := literal{at: t.at, kind: literalNumber}
			if t.text == "True" {
				l.num = 1
			}
			return l, p.advance()
		}
		if layersByName[t.text] == nil && p.holds == "" {
			return literal{}, p.wrong(t.at, "%s is no value: text stands in quotes, values are numbers, lists [1, 2] and ranges (first, last)", t)
		}
		chain, err := p.chain()
		return literal{at: t.at, kind: literalChain, chain: chain}, err
	case tokenMark:
		switch t.text {
		case "-":
			if err := p.advance(); err != nil {
				return literal{}, err
			}
			if p.token.kind != tokenNumber {
				return literal{}, p.wrong(p.token.at, "%s where a number should follow -", p.token)
			}
			n := p.token.num
			return literal{at: t.at, kind: literalNumber, num: n, minus: n != 0}, p.advance()
		case "[":
			items, _, err := p.items("]")
			return literal{at: t.at, kind: literalList, items: items}, err
		case "(":
			items, comma, err := p.items(")")
			if err == nil && len(items) == 1 && !comma {
				l := items[0] // parentheses alone
				if l.isData() {
					return p.moreData(l)
				}
				return l, nil
			}
			return literal{at: t.at, kind: literalTuple, items: items}, err
		}
	}
	return literal{}, p.wrong(t.at, "%s where a value should be", t)
}

// items reads values between commas up to the closing mark, and tells whether
// there was a comma.
func (p *parser) items(end string) (items []literal, comma bool, err error) {
	if err := p.enter(); err != nil {
		return nil, false, err
	}
	defer p.leave()
	if err := p.advance(); err != nil {
		return nil, false, err
	}
	for !p.is(end) {
		l, err := p.value()
		if err != nil {
			return nil, false, err
		}
		items = append(items, l)
		ok, err := p.take(",")
		if err != nil {
			return nil, false, err
		}
		if !ok {
			break
		}
		comma = true
	}
	return items, comma, p.expect(end, "the values")
}

// data reads a string or bytes, with * and + as Python has them.
func (p *parser) data() (literal, error) {
	l, err := p.term()
	if err != nil {
		return literal{}, err
	}
	return p.moreData(l)
}

func (p *parser) moreData(l literal) (literal, error) {
	for {
		if p.is("*") {
			var err error
			if l, err = p.times(l); err != nil {
				return literal{}, err
			}
			continue
		}
		plus := p.token
		ok, err := p.take("+")
		if err != nil || !ok {
			return l, err
		}
		more, err := p.term()
		if err != nil {
			return literal{}, err
		}
		if more.kind != l.kind {
			return literal{}, p.wrong(plus.at, "%s and %s do not add up", l.kind, more.kind)
		}
		if len(l.data)+len(more.data) > maxFrame {
			return literal{}, p.wrong(plus.at, "more than %d bytes", maxFrame)
		}
		l.data = append(l.data, more.data...)
	}
}

// term reads one string or bytes with what repeats it.
func (p *parser) term() (literal, error) {
	t := p.token
	l := literal{at: t.at, data: t.data, kind: literalText}
	switch t.kind {
	case tokenBytes:
		l.kind = literalBytes
	case tokenText:
	default:
		return literal{}, p.wrong(t.at, "%s where a string should be", t)
	}
	if err := p.advance(); err != nil {
		return literal{}, err
	}
	for p.is("*") {
		var err error
		if l, err = p.times(l); err != nil {
			return literal{}, err
		}
	}
	return l, nil
}

// times reads how often a string is repeated.
func (p *parser) times(l literal) (literal, error) {
	if err := p.advance(); err != nil {
		return literal{}, err
	}
	t := p.token
	if t.kind != tokenNumber {
		return literal{}, p.wrong(t.at, "%s where a number should follow *", t)
	}
	size := uint64(len(l.data))
	if size > 0 && t.num > maxFrame/size {
		return literal{}, p.wrong(t.at, "more than %d bytes", maxFrame)
	}
	n := int(size * t.num) // not more than maxFrame
	if p.repeated += n; p.repeated > maxRepeat {
		return literal{}, p.wrong(t.at, "more than %d repeated bytes", maxRepeat)
	}
	data := make([]byte, 0, n)
	for len(data) < n {
		data = append(data, l.data...)
	}
	l.data = data
	return l, p.advance()
}
