//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/l2ping/l2ping/probe"
)

// maxTargets bounds what CIDR blocks and ranges may come to: twice a /16.
const maxTargets = 1 << 17

// targets are the hosts of a run, each address once, and how they were typed.
type targets struct {
	list  []probe.Target
	known map[netip.Addr]hostName // by the addresses without their zones
	// blocks says that some come from blocks or ranges.
	blocks bool
}

// A hostName is what the user calls a target.
type hostName struct {
	name    string // empty: the address
	zone    string
	byBlock bool // a block or a range has it, and nothing else
}

// name is what the user calls a target.
func (t *targets) name(a netip.Addr) string {
	if h := t.known[a.WithZone("")]; h.name != "" {
		return h.name
	}
	return a.String()
}

// findTargets reads HOSTs and the lines of a file: names, addresses, CIDR blocks
// and ranges.
func (e *env) findTargets(ctx context.Context, hosts []string, file string, f family) (*targets, error) {
	t := &targets{known: make(map[netip.Addr]hostName)}
	for _, host := range hosts {
		if err := t.add(ctx, host, f); err != nil {
			return nil, err
		}
	}
	if file != "" {
		if err := e.readTargets(ctx, t, file, f); err != nil {
			return nil, err
		}
	}
	if len(t.list) == 0 {
		return nil, fmt.Errorf("%s: no host in it", fileName(file))
	}
	return t, nil
}

// readTargets adds the hosts of a file, one a line; "-" is standard input.
func (e *env) readTargets(ctx context.Context, t *targets, file string, f family) error {
	in := e.stdin
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("read targets: %w", err)
		}
		defer opened.Close()
		in = opened
	}
	for line, err := range hostLines(in) {
		if err == nil {
			err = t.add(ctx, line.text, f)
		}
		if err != nil {
			return fmt.Errorf("%s, line %d: %w", fileName(file), line.number, err)
		}
	}
	return nil
}

// fileName is what the file is called in messages.
func fileName(file string) string {
	if file == "-" {
		return "standard input"
	}
	return file
}

type hostLine struct {
	number int
	text   string
}

// hostLines yields the hosts of a file: a # and what follows it is a comment.
func hostLines(in io.Reader) iter.Seq2[hostLine, error] {
	return func(yield func(hostLine, error) bool) {
		lines := bufio.NewScanner(in)
		n := 0
		for lines.Scan() {
			n++
			text, _, _ := strings.Cut(lines.Text(), "#")
			if text = strings.TrimSpace(text); text == "" {
				continue
			}
			if !yield(hostLine{n, text}, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(hostLine{number: n + 1}, err)
		}
	}
}

// add adds what one HOST names.
func (t *targets) add(ctx context.Context, host string, f family) error {
	if strings.ContainsAny(host, " \t") {
		return fmt.Errorf("%q: one host a line", host)
	}
	if prefix, err := netip.ParsePrefix(host); err == nil {
		return t.addBlock(prefix, f)
	}
	if first, last, ok := parseRange(host); ok {
		return t.addRange(host, first, last, f)
	}
	addr, err := lookUp(ctx, host, f)
	if err != nil {
		return err
	}
	if host == addr.String() {
		host = ""
	}
	return t.addOne(addr, hostName{name: host})
}

// addOne adds an address, unless it is there already.
func (t *targets) addOne(addr netip.Addr, h hostName) error {
	h.zone = addr.Zone()
	key := addr.WithZone("")
	was, there := t.known[key]
	switch {
	case !there && len(t.list) == maxTargets:
		return fmt.Errorf("more than %d hosts", maxTargets)
	case !there:
		t.known[key] = h
		t.list = append(t.list, probe.Target{Addr: addr})
		return nil
	case was.zone != "" && h.zone != "" && was.zone != h.zone:
		return fmt.Errorf("%s and %s are on two interfaces: one run has one", key.WithZone(was.zone), addr)
	}
	was.byBlock = was.byBlock && h.byBlock
	if was.zone == "" && h.zone != "" {
		was.zone = h.zone
		i := slices.Index(t.list, probe.Target{Addr: key})
		t.list[i].Addr = addr
	}
	t.known[key] = was
	return nil
}

// addBlock adds the hosts of a CIDR block. Its first and last address are none,
// as far as IPv4 goes and there are more than two (RFC 3021).
func (t *targets) addBlock(p netip.Prefix, f family) error {
	p = p.Masked()
	first, last := p.Addr(), lastOf(p)
	if first.Is4() && p.Bits() < 31 {
		first, last = first.Next(), last.Prev()
	}
	return t.addRange(p.String(), first, last, f)
}

// lastOf is the last address of a block.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// parseRange reads FIRST-LAST. A zone at the end is that of both.
func parseRange(s string) (first, last netip.Addr, ok bool) {
	a, b, found := strings.Cut(s, "-")
	if !found {
		return first, last, false
	}
	first, err := netip.ParseAddr(a)
	if err != nil {
		return first, last, false
	}
	if last, err = netip.ParseAddr(b); err != nil {
		return first, last, false
	}
	first, last = first.Unmap(), last.Unmap()
	if first.Zone() == "" {
		first = first.WithZone(last.Zone())
	}
	return first, last, true
}

// addRange adds all addresses from the first to the last.
func (t *targets) addRange(typed string, first, last netip.Addr, f family) error {
	first, last = first.Unmap(), last.Unmap()
	switch {
	case first.Is4() != last.Is4():
		return fmt.Errorf("%s: the two ends are not of one family", typed)
	case first.Zone() != last.Zone():
		return fmt.Errorf("%s: the two ends are not of one zone", typed)
	case last.Less(first):
		return fmt.Errorf("%s: the last address comes before the first", typed)
	case !f.has(first):
		return fmt.Errorf("%s: %w", typed, f.lack())
	}
	t.blocks = true
	for a := first; ; a = a.Next() {
		if err := t.addOne(a, hostName{byBlock: true}); err != nil {
			return fmt.Errorf("%s: %w", typed, err)
		}
		if a == last {
			return nil
		}
	}
}

// leaveOut takes those targets out that a block or a range has brought though
// this host has them itself, or its networks as their broadcast address. It
// returns them with the reason.
func (t *targets) leaveOut(own []netip.Prefix) (out []string) {
	why := make(map[netip.Addr]string)
	for _, p := range own {
		if p.Addr().Is4() && p.Bits() < 31 {
			why[lastOf(p)] = "a broadcast address"
		}
		why[p.Addr()] = "this host's own"
	}
	t.list = slices.DeleteFunc(t.list, func(target probe.Target) bool {
		a := target.Addr.WithZone("")
		if why[a] == "" || !t.known[a].byBlock {
			return false
		}
		out = append(out, fmt.Sprintf("%s (%s)", target.Addr, why[a]))
		return true
	})
	return out
}

// ownAddresses are those of the calling thread's network namespace.
func ownAddresses() ([]netip.Prefix, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list this host's addresses: %w", err)
	}
	var own []netip.Prefix
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, netip.PrefixFrom(p.Addr().Unmap(), p.Bits()))
		}
	}
	return own, nil
}

// errNoHost says that nobody was named.
var errNoHost = errors.New("no host given")
