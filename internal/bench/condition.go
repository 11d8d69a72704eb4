//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
)

// condition is under what a tool measures. A further one is a further entry of
// allConditions.
type condition struct {
	name     string
	what     string
	count    int // probes a run, unless -count says otherwise
	interval time.Duration

	busy       bool          // a loop on every CPU
	delay      time.Duration // a scripted peer answers, so much later; 0: Linux does
	unresolved bool          // no neighbor is known when a tool starts
	arp        bool          // of the tools that send ARP requests, else of the others

	cpu *cpuTarget // what l2ping's CPU use is held against, if anything
}

// cpuTarget is how much CPU l2ping may use per probe, in multiples of a peer's.
type cpuTarget struct {
	peer  string
	times float64
}

// Name is the condition's name on the command line and in the table.
func (c condition) Name() string { return c.name }

var allConditions = []condition{
	{
		name: "idle", what: "nothing else runs",
		count: 1000, interval: 10 * time.Millisecond,
		cpu: &cpuTarget{"ping", 1.5},
	},
	{
		name: "busy", what: "a loop keeps every CPU busy",
		count: 1000, interval: 10 * time.Millisecond, busy: true,
	},
	{
		name: "delayed", what: "a scripted peer answers after 200 us, from another thread",
		count: 1000, interval: 10 * time.Millisecond, delay: 200 * time.Microsecond,
	},
	{
		name: "unresolved", what: "no neighbor is known at the start, on either side",
		count: 1000, interval: 10 * time.Millisecond, unresolved: true,
	},
	{
		// As long as the other runs: in one second it would be the start of
		// the process that is compared.
		name: "fast", what: "at a high rate: caches and CPUs are warm",
		count: 10_000, interval: time.Millisecond,
		cpu: &cpuTarget{"fping", 1},
	},
	{
		// Each probe costs every tool a second of the whole bench.
		name: "cold", what: "at a low rate: caches are cold, CPUs asleep",
		count: 10, interval: time.Second,
	},
	{
		name: "arp", what: "ARP requests, at the lowest rate of arping",
		count: 10, interval: time.Second, arp: true,
	},
}

// place is where the tools run: two namespaces and what answers in the far one.
type place struct {
	*lab.Pair
	unresolved bool
	answerer   *answerer // nil: Linux answers
}

// set makes the place for a condition.
func (c condition) set() (*place, error) {
	pair, err := lab.NewPair(&lab.PairConfig{Silent: c.delay > 0})
	if err != nil {
		return nil, err
	}
	p := &place{Pair: pair, unresolved: c.unresolved}
	if c.delay > 0 {
		p.answerer, err = startAnswerer(pair.Far, "eth0", pair.FarIP, c.delay)
	}
	if err == nil && !c.unresolved {
		err = p.know()
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// know makes both ends know each other for good: where resolution is not what
// is measured, no ARP request of theirs shall disturb.
func (p *place) know() error {
	err := p.Near.SetNeighbor("eth0", p.FarIP, p.FarMAC, lab.Permanent)
	if p.answerer != nil { // the kernel there has no address
		return err
	}
	return errors.Join(err, p.Far.SetNeighbor("eth0", p.NearIP, p.NearMAC, lab.Permanent))
}

// ready makes the place what it has to be before each run.
func (p *place) ready() error {
	if !p.unresolved {
		return nil
	}
	return errors.Join(forget(p.Near, p.FarIP), forget(p.Far, p.NearIP))
}

// forget empties the neighbor table of what it has of ip.
func forget(n *lab.Namespace, ip netip.Addr) error {
	if err := n.DelNeighbor("eth0", ip); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	var mac net.HardwareAddr
	mac, state, err := n.Neighbor("eth0", ip)
	if err == nil && mac != nil {
		err = fmt.Errorf("neighbor %v is still known as %v (state %#x)", ip, mac, int(state))
	}
	return err
}

// Close lets go of it all. It tells what went wrong with the answerer, without
// which a run proves nothing.
func (p *place) Close() error {
	var err error
	if p.answerer != nil {
		err = p.answerer.Close()
	}
	return errors.Join(err, p.Pair.Close())
}
