//go:build linux

package probe

import (
	"errors"
	"time"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/l2"
)

const (
	// settleFor is how long routing is left alone after a change: they come in
	// swarms. rerouteEvery is the least time between two times that all paths
	// are asked for.
	settleFor    = 20 * time.Millisecond
	rerouteEvery = 200 * time.Millisecond
)

// A keeper keeps the targets' courses true while a Pinger runs: what the kernel
// tells of interfaces, addresses, routes and neighbors it turns into new courses,
// which the engine takes at the next probe.
type keeper struct {
	p     *Pinger
	paths []*l2.Path // as they were last; nil where there was none
	errs  []error
}

func newKeeper(p *Pinger) *keeper {
	k := &keeper{p: p}
	for _, t := range p.engine.targets {
		k.errs = append(k.errs, t.err)
		path := t.path
		if t.err != nil {
			path = nil
		}
		k.paths = append(k.paths, path)
	}
	return k
}

// run follows changes until done is closed.
func (k *keeper) run(done <-chan struct{}) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	timer.Stop()
	var pending bool
	var last time.Time
	var neighbors <-chan struct{}
	if k.p.neighbors != nil { // else nobody is asked for next hops
		neighbors = k.p.neighbors.Changes()
	}
	for {
		select {
		case <-done:
			return
		case <-neighbors:
			k.p.engine.look()
			k.p.loop.Wake()
		case <-k.p.watch.Changes():
			if !pending {
				pending = true
				timer.Reset(max(settleFor, rerouteEvery-time.Since(last)))
			}
		case <-timer.C:
			pending, last = false, time.Now()
			k.reroute()
		}
	}
}

// reroute asks for all paths anew.
func (k *keeper) reroute() {
	p := k.p
	ifc, err := p.routing.Interface(p.ifc.Name)
	if err != nil {
		return // it is gone: the watch says so to each probe
	}
	anew := ifc.Index != p.ifc.Index
	if anew {
		p.engine.do(func() {
			// What fails here fails at the next probe, and is told there.
			_ = errors.Join(p.in.Rebind(ifc), p.out.Rebind(ifc))
		})
		if p.neighbors != nil {
			_ = p.neighbors.Rebind(ifc)
		}
		for _, r := range p.responders {
			_ = r.Rebind(ifc)
		}
	}
	p.ifc = ifc
	for i, t := range p.engine.targets {
		path, err := p.findPath(t.address)
		if err == nil && k.errs[i] == nil && !anew && samePath(path, k.paths[i]) ||
			err != nil && k.errs[i] != nil && err.Error() == k.errs[i].Error() {
			continue
		}
		c := k.course(t, path, err)
		c.change = &Change{Kind: ChangedPath, Old: k.paths[i], New: path, Err: err}
		k.paths[i], k.errs[i] = path, err
		if err == nil && len(k.paths) == 1 {
			k.refilter()
		}
		t.next.Store(c)
	}
	p.loop.Wake()
}

// course makes a target's new course.
func (k *keeper) course(t *target, path *l2.Path, err error) *course {
	if err == nil {
		var c *course
		if c, err = k.p.course(path); err == nil {
			return c
		}
	}
	return k.p.noCourse(t.address, err)
}

// refilter has the kernel's filter follow the addresses of the only target.
func (k *keeper) refilter() {
	p := k.p
	match := p.cfg.match(k.paths, p.secret)
	filter, err := bpf.NewFilter(match, p.cfg.Filter)
	if err != nil {
		filter, err = bpf.NewFilter(match, bpf.Classic)
	}
	if err != nil {
		return
	}
	p.engine.do(func() {
		if match == p.engine.match || p.in.SetFilter(filter) != nil {
			_ = filter.Close()
			return
		}
		for _, s := range p.others {
			_ = s.SetFilter(filter) // else it goes on with the old one
		}
		rejected, _ := p.filter.Rejected()
		p.engine.rejected += rejected
		_ = p.filter.Close()
		p.filter, p.engine.match = filter, match
	})
}

// samePath tells whether two paths make the same probes.
func samePath(a, b *l2.Path) bool {
	return a.Interface.Index == b.Interface.Index && a.Interface.MAC == b.Interface.MAC &&
		a.Owner.Index == b.Owner.Index && a.Owner.MAC == b.Owner.MAC &&
		a.Source == b.Source && a.NextHop == b.NextHop && a.OnLink == b.OnLink && a.MTU == b.MTU
}
