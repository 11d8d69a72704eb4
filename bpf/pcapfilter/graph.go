package pcapfilter

import (
	"slices"

	cbpf "golang.org/x/net/bpf"
)

// A test compares a value, as a jump does. Tests that ask the same are one, and
// the same pointer.
type test struct {
	testKey
	id int
}

type testKey struct {
	cond  cbpf.JumpTest // JumpEqual, JumpGreaterThan, JumpGreaterOrEqual or JumpBitsSet
	value *value
	k     uint32
	with  *value // instead of k, if not nil
}

// A node of a program's graph makes a test and goes on at yes or no.
type node struct {
	test    *test
	yes, no *node
	id      int
}

// A graph is a program as a decision diagram. All ways through it end in accept
// or reject.
type graph struct {
	values
	tests          map[testKey]*test
	nodes          map[node]*node // by test and exits, so that none is there twice
	count          int
	accept, reject *node
}

func newGraph() *graph {
	return &graph{
		tests: make(map[testKey]*test), nodes: make(map[node]*node),
		count: 2, accept: &node{id: 0}, reject: &node{id: 1},
	}
}

func (g *graph) test(k testKey) *test {
	t, ok := g.tests[k]
	if !ok {
		t = &test{k, len(g.tests)}
		g.tests[k] = t
	}
	return t
}

// node returns the node that makes a test, or what it comes to: a test that reads
// what no frame has rejects, whatever is to become of its answer, and so does one
// whose answers are both rejected.
func (g *graph) node(t *test, yes, no *node) *node {
	if t.value.fails() || t.with != nil && t.with.fails() || yes == g.reject && no == g.reject {
		return g.reject
	}
	if yes == no && t.value.free() && (t.with == nil || t.with.free()) {
		return yes
	}
	k := node{test: t, yes: yes, no: no}
	n, ok := g.nodes[k]
	if !ok {
		n = &node{t, yes, no, g.count}
		g.count++
		g.nodes[k] = n
	}
	return n
}

// ordered returns the nodes that can be reached from entry, each before those
// that it leads to, without accept and reject. Where it can it puts the no of a
// node right behind it.
func (g *graph) ordered(entry *node) []*node {
	// A graph may be as deep as it is large: no recursion.
	type visit struct {
		n    *node
		step int
	}
	var (
		done  = map[*node]bool{g.accept: true, g.reject: true}
		stack []visit
		list  []*node
	)
	enter := func(n *node) {
		if !done[n] {
			done[n] = true
			stack = append(stack, visit{n: n})
		}
	}
	enter(entry)
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		top.step++
		switch top.step {
		case 1:
			enter(top.n.no)
		case 2:
			enter(top.n.yes)
		default:
			list = append(list, top.n)
			stack = stack[:len(stack)-1]
		}
	}
	slices.Reverse(list)
	return list
}

// A tree is a condition: tests and what joins them.
type tree struct {
	kind treeKind
	l, r *tree // of a not, l alone
	test *test
	yes  bool // of a constant
	leaf *leaf
}

type treeKind int

const (
	treeConstant treeKind = iota
	treeTest
	treeAnd
	treeOr
	treeNot
	treeLeaf
)

// A leaf is a primitive of the language. What it tests depends on where the
// packet starts in the frame, which tags move.
type leaf struct {
	tags  int                    // the vlan keywords before it
	tests func(at offsets) *tree // of tests alone
	tag   func(out exits) *node  // instead of tests, of a live capture's first vlan
}

// offsets are where a frame's parts start.
type offsets struct {
	etherType, packet uint32
}

// A live capture's first tag is in the kernel's metadata if the kernel has taken
// it out, else in the frame. Which it is shows when the first vlan is tested;
// from there the graph has a branch for each.
const (
	tagTaken = iota // or not tested
	tagInFrame
	branches
)

// exits are where a condition leads to, in each branch.
type exits struct {
	yes, no [branches]*node
}

// lower adds a condition to the graph and returns where it starts, in each
// branch.
func (c *compiler) lower(t *tree, out exits) [branches]*node {
	switch t.kind {
	case treeConstant:
		if t.yes {
			return out.yes
		}
		return out.no
	case treeNot:
		return c.lower(t.l, exits{yes: out.no, no: out.yes})
	case treeAnd:
		return c.lower(t.l, exits{yes: c.lower(t.r, out), no: out.no})
	case treeOr:
		return c.lower(t.l, exits{yes: out.yes, no: c.lower(t.r, out)})
	case treeTest:
		var entry [branches]*node
		for b := range branches {
			if out.yes[b] != nil {
				entry[b] = c.g.node(t.test, out.yes[b], out.no[b])
			}
		}
		return entry
	}
	if t.leaf.tag != nil {
		entry := t.leaf.tag(out)
		return [branches]*node{entry, entry}
	}
	var entry [branches]*node
	for b := range branches {
		if out.yes[b] == nil {
			continue
		}
		one := exits{yes: [branches]*node{out.yes[b]}, no: [branches]*node{out.no[b]}}
		entry[b] = c.lower(t.leaf.tests(c.offsetsAt(t.leaf.tags, b)), one)[0]
	}
	return entry
}

// offsetsAt says where the parts of a frame are, behind some tags.
func (c *compiler) offsetsAt(tags, branch int) offsets {
	if c.cfg.NoLink {
		return offsets{}
	}
	if c.cfg.Live && tags > 0 && branch == tagTaken {
		tags-- // it is not in the frame
	}
	shift := uint32(4 * tags)
	return offsets{etherType: 12 + shift, packet: 14 + shift}
}
