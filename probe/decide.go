//go:build linux

package probe

import (
	"context"
	"errors"
	"fmt"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/l2"
)

// Decide tells how probes to a Config's only target would leave, and why. What New
// refuses it refuses too, in the same words, and probes nobody. The next hop is
// asked for if need be, at most three times; the Neighbor is not Known if it did not
// answer.
//
// Where the kernel's neighbor table has the next hop, or nobody has to be asked, it
// needs no capability; else, and always with a SrcMAC or VLANs unless there is a
// DstMAC too, CAP_NET_RAW. It decides nothing of a Config with Neighbor.
func Decide(ctx context.Context, cfg Config) (_ *arp.Decision, err error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	switch {
	case len(cfg.Targets) > 1:
		return nil, fmt.Errorf("%d targets: a decision is of one", len(cfg.Targets))
	case cfg.Neighbor != nil:
		return nil, errors.New("neighbors are asked for where they are: there is nothing to decide")
	}
	p := &Pinger{cfg: cfg}
	if p.routing, err = l2.OpenRouting(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	ways, err := p.findWays()
	if err != nil {
		return nil, err
	}
	return p.decide(ctx, ways.paths[0])
}

func (p *Pinger) decide(ctx context.Context, path *l2.Path) (*arp.Decision, error) {
	if len(p.cfg.VLANs) == 0 && p.cfg.SrcMAC.IsZero() && p.cfg.DstMAC.IsZero() {
		return arp.Decide(ctx, path)
	}
	var err error
	if p.neighbors, err = arp.OpenTable(path.Interface, p.tableConfig()); err != nil {
		return nil, fmt.Errorf("ask for %s: %w", path.NextHop, err)
	}
	hop, err := p.neighbors.Add(path)
	if err != nil {
		return nil, err
	}
	n, err := hop.Resolve(ctx)
	if err != nil {
		return nil, err
	}
	return &arp.Decision{Path: path, Neighbor: n}, nil
}
