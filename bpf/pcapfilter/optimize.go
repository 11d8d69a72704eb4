package pcapfilter

import (
	"slices"
)

// passes bounds how often a graph is gone through. Each pass leaves a program
// that does the same.
const passes = 12

// optimize returns the graph from entry without the tests whose answer is known
// where they are made. What a program reads of a frame stays, for a frame that
// ends before that is rejected.
func (g *graph) optimize(entry *node) *node {
	entry = g.settle(entry)
	return g.settle(g.group(entry))
}

// settle threads until nothing changes.
func (g *graph) settle(entry *node) *node {
	for range passes {
		before := entry
		if entry = g.thread(entry); entry == before {
			break
		}
	}
	return entry
}

// thread leads each way past the tests whose answer is known on it, and returns
// the new entry: the old one if nothing changes.
func (g *graph) thread(entry *node) *node {
	order := g.ordered(entry)
	known := map[*node]*facts{entry: {}}
	for _, n := range order {
		f := known[n]
		known[n.yes] = common(known[n.yes], f.learn(n.test, true))
		known[n.no] = common(known[n.no], f.learn(n.test, false))
	}
	renewed := map[*node]*node{g.accept: g.accept, g.reject: g.reject}
	for _, n := range slices.Backward(order) {
		f := known[n]
		yes, no := g.follow(f.learn(n.test, true), n.yes), g.follow(f.learn(n.test, false), n.no)
		if yes, no = renewed[yes], renewed[no]; yes == no && f.seen(n.test.value) && (n.test.with == nil || f.seen(n.test.with)) {
			renewed[n] = yes
			continue
		}
		renewed[n] = g.node(n.test, yes, no)
	}
	return renewed[g.follow(&facts{}, entry)]
}

// follow goes on from n as long as facts answer the tests.
func (g *graph) follow(f *facts, n *node) *node {
	for n != g.accept && n != g.reject {
		yes, ok := f.answer(n.test)
		switch {
		case !ok:
			return n
		case yes:
			n = n.yes
		default:
			n = n.no
		}
	}
	return n
}

// group brings tests of one value together, where a row of tests leads to one
// place as soon as one of them does: a port that may be 80 or 443 is read once
// for both. A test only ever moves forward, to where its value is at hand.
func (g *graph) group(entry *node) *node {
	order := g.ordered(entry)
	ways := map[*node]int{entry: 1}
	for _, n := range order {
		ways[n.yes]++
		ways[n.no]++
	}
	rows, inner := make(map[*node][]*node), make(map[*node]bool)
	for _, n := range order {
		if inner[n] {
			continue
		}
		rows[n] = g.row(n, ways, true)
		if other := g.row(n, ways, false); len(other) > len(rows[n]) {
			rows[n] = other
		}
		for _, n := range rows[n][1:] {
			inner[n] = true
		}
	}
	renewed := map[*node]*node{g.accept: g.accept, g.reject: g.reject}
	for _, n := range slices.Backward(order) {
		if !inner[n] {
			renewed[n] = g.regroup(rows[n], renewed)
		}
	}
	return renewed[entry]
}

// row returns the nodes from n that are reached only from each other, by yes or
// by no, and whose other way is the same.
func (g *graph) row(n *node, ways map[*node]int, yes bool) []*node {
	along := func(n *node) (on, off *node) {
		if yes {
			return n.yes, n.no
		}
		return n.no, n.yes
	}
	row := []*node{n}
	_, out := along(n)
	for {
		n, _ = along(n)
		if n == g.accept || n == g.reject || ways[n] != 1 {
			return row
		}
		if _, off := along(n); off != out {
			return row
		}
		row = append(row, n)
	}
}

// regroup makes a row anew, with the tests of one value together. What the row
// leads to has been renewed.
func (g *graph) regroup(row []*node, renewed map[*node]*node) *node {
	type group struct{ value, with *value }
	var groups []group
	members := make(map[group][]*node)
	for _, n := range row {
		of := group{n.test.value, n.test.with}
		if members[of] == nil {
			groups = append(groups, of)
		}
		members[of] = append(members[of], n)
	}
	last := row[len(row)-1]
	along := len(row) > 1 && row[0].yes == row[1] // by yes
	on, off := renewed[last.no], renewed[last.yes]
	if along {
		on, off = off, on
	}
	for _, of := range slices.Backward(groups) {
		for _, n := range slices.Backward(members[of]) {
			if along {
				on = g.node(n.test, on, off)
			} else {
				on = g.node(n.test, off, on)
			}
		}
	}
	return on
}
