//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/render"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

const (
	// searchBits is the longest that a network is looked through: of a larger one
	// it is the part that this host's own address is in.
	searchBits = 20
	// searchMost bounds the addresses that are asked for in all.
	searchMost = 1 << 14
)

// A search looks for the addresses that a MAC has: those that the kernel's
// neighbor table has for it, those of the interface's own networks that it answers
// ARP for, and of IPv6 those that it forms of its MAC (RFC 4291, appendix A) and
// those that it answers an echo to all nodes from. All frames go to the MAC alone.
type search struct {
	*render.Search
	mac   frame.MAC
	cfg   probe.Config
	ifc   *l2.Interface
	table []arp.Neighbor // the entries with this MAC

	begun   bool // it was told from where
	targets []probe.Target
	listed  map[netip.Addr]bool // those
	found   map[netip.Addr]bool
	sent    uint64
	failed  error // of what could not be sent

	arps, arpsFound int // of the targets, those that ARP asks for
}

// arpingMAC finds the addresses that a MAC has.
func (e *env) arpingMAC(cmd *cobra.Command, f *arpingFlags, hosts []string, mac frame.MAC) error {
	if err := f.checkSearch(hosts, mac); err != nil {
		return usageError(cmd, err)
	}
	ctx := cmd.Context()
	if f.deadline != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(f.deadline))
		defer cancel()
	}
	printed := e.stdout
	if f.quiet && !f.json {
		printed = io.Discard
	}
	out := bufio.NewWriter(printed)
	s := &search{
		Search: render.NewSearch(out, mac, f.json), mac: mac,
		listed: make(map[netip.Addr]bool), found: make(map[netip.Addr]bool),
	}
	began := time.Now()
	err := f.source.inNetns(func() error {
		cut, err := s.prepare(f)
		if err == nil && cut != "" && !f.quiet {
			_, err = fmt.Fprintf(e.stderr, "l2ping: %s\n", cut)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := errors.Join(s.run(ctx, f, out), out.Flush()); err != nil {
		return err
	}
	if s.failed != nil && s.sent == 0 && len(s.found) == 0 {
		return s.failed
	}
	all := s.arps > 1 && s.arpsFound == s.arps
	if err := errors.Join(s.End(time.Now(), s.sent, len(s.found), time.Since(began), all), out.Flush()); err != nil {
		return outputError(err)
	}
	if len(s.found) == 0 {
		e.exit = exitNoReply
	}
	return nil
}

// checkSearch says which flags make no sense.
func (f *arpingFlags) checkSearch(hosts []string, mac frame.MAC) error {
	no := func(flag string) error { return fmt.Errorf("%s: not with a MAC, whose addresses are looked for", flag) }
	switch {
	case mac.IsGroup():
		return fmt.Errorf("%s is a group's MAC: no host has it", mac)
	case len(hosts) > 1:
		return fmt.Errorf("%s and %s: a MAC has to be the only host", hosts[0], hosts[1])
	case f.targets != "":
		return no("--targets")
	case f.detect:
		return no("-D")
	case f.announce:
		return no("-U")
	case f.announceReply:
		return no("-A")
	case f.broadcast:
		return no("-b")
	case f.first:
		return no("-f")
	case f.enough > 0:
		return no("-x")
	case !f.dstMAC.IsZero():
		return no("--dst-mac")
	}
	return nil
}

// prepare works out what to ask for, in the namespace of the interface. cut says
// what is left out.
func (s *search) prepare(f *arpingFlags) (cut string, err error) {
	if s.cfg, err = f.config(); err != nil {
		return "", err
	}
	switch {
	case s.cfg.Interface != "":
		s.ifc, err = l2.InterfaceByName(s.cfg.Interface)
	case s.cfg.Source.IsValid():
		s.ifc, err = l2.InterfaceByAddress(s.cfg.Source)
	default:
		err = errors.New("on which interface is the MAC? (-i names it)")
	}
	if err != nil {
		return "", err
	}
	if s.ifc.NoLink || s.ifc.Loopback {
		return "", fmt.Errorf("%s %w (link type %s)", s.ifc.Name, probe.ErrNoNeighbors, s.ifc.LinkType)
	}
	s.cfg.Interface, s.cfg.DstMAC, s.cfg.Deadline = s.ifc.Name, s.mac, 0
	s.cfg.Count = max(s.cfg.Count, 1)
	only, err := familyOf(f.v4, f.v6, &f.source)
	if err != nil {
		return "", err
	}
	known, err := f.neighbors(s.ifc)
	if err != nil {
		return "", err
	}
	for _, n := range known {
		if n.MAC == s.mac && only.has(n.Addr) {
			s.table = append(s.table, n)
			s.add(n.Addr)
		}
	}
	for _, p := range s.ifc.Addresses {
		if only.has(p.Addr()) {
			if partly := s.addNetwork(p); partly != "" {
				cut = partly
			}
		}
	}
	return cut, nil
}

// add has an address asked for, unless it is this host's own.
func (s *search) add(a netip.Addr) {
	own := false
	for _, p := range s.ifc.Addresses {
		own = own || p.Addr() == a
	}
	if own || s.listed[a] || len(s.targets) >= searchMost {
		return
	}
	s.listed[a] = true
	s.targets = append(s.targets, probe.Target{Addr: a})
	if a.Is4() {
		s.arps++
	}
}

// addNetwork adds what may be found in a network of the interface. partly says
// what of it is not looked through.
func (s *search) addNetwork(p netip.Prefix) (partly string) {
	if p.Addr().Is6() {
		if p.Bits() <= 64 {
			s.add(formed(p, s.mac))
		}
		return ""
	}
	if p.Bits() < searchBits {
		part := netip.PrefixFrom(p.Addr(), searchBits).Masked()
		partly = fmt.Sprintf("%s is large: of it %s is looked through", p.Masked(), part)
		p = netip.PrefixFrom(p.Addr(), searchBits)
	}
	first, last := p.Masked().Addr(), lastOf(p)
	if p.Bits() < 31 {
		first, last = first.Next(), last.Prev()
	}
	for a := first; ; a = a.Next() {
		s.add(a)
		if a == last {
			return partly
		}
	}
}

// formed is the address that a host forms of its MAC in a network of 64 bits (RFC
// 4291, appendix A).
func formed(p netip.Prefix, mac frame.MAC) netip.Addr {
	a := p.Addr().As16()
	copy(a[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	return netip.AddrFrom16(a)
}

// run asks. The error is one of the output, or of what does not depend on the
// addresses.
func (s *search) run(ctx context.Context, f *arpingFlags, out *bufio.Writer) error {
	if len(s.targets) > 0 {
		cfg := s.cfg
		cfg.Targets, cfg.Interval = s.targets, f.pace(len(s.targets))
		if err := s.ask(ctx, f, cfg, out); err != nil {
			return err
		}
	}
	if err := s.echo(ctx, f, out); err != nil {
		return err
	}
	if err := s.begin(s.unasked()); err != nil {
		return outputError(err)
	}
	for _, n := range s.table {
		if !s.found[n.Addr] {
			s.found[n.Addr] = true
			if err := s.Found(time.Now(), &render.Found{Addr: n.Addr, How: arp.HowTable.String(), State: n.State.String()}); err != nil {
				return outputError(err)
			}
		}
	}
	return nil
}

// begin tells from where it is asked, once.
func (s *search) begin(from *probe.Started) error {
	if s.begun {
		return nil
	}
	s.begun = true
	return s.Start(time.Now(), from)
}

// unasked is from where it would be asked, of a search that asks nothing.
func (s *search) unasked() *probe.Started {
	from := &probe.Started{SourceMAC: s.cfg.SrcMAC, VLANs: s.cfg.VLANs}
	from.Decision.Path = &l2.Path{Interface: s.ifc, Owner: s.ifc.Owner()}
	if from.SourceMAC.IsZero() {
		from.SourceMAC = s.ifc.Owner().MAC
	}
	return from
}

// echo asks, from each network of IPv6, by an echo to all nodes: who answers
// chooses its address for the one that asks (RFC 6724).
func (s *search) echo(ctx context.Context, f *arpingFlags, out *bufio.Writer) error {
	networks := make(map[netip.Prefix]bool)
	for _, p := range s.ifc.Addresses {
		if p.Addr().Is4() || f.v4 || networks[p.Masked()] || s.cfg.Source.IsValid() && s.cfg.Source != p.Addr() {
			continue
		}
		networks[p.Masked()] = true
		cfg := s.cfg
		cfg.Neighbor, cfg.Source, cfg.Timeout = nil, p.Addr(), probe.DefaultNeighborTimeout
		cfg.Targets, cfg.Interval = probe.Hosts(netip.IPv6LinkLocalAllNodes()), f.pace(1)
		if err := s.ask(ctx, f, cfg, out); err != nil {
			return err
		}
	}
	return nil
}

// ask is one run.
func (s *search) ask(ctx context.Context, f *arpingFlags, cfg probe.Config, out *bufio.Writer) error {
	if ctx.Err() != nil {
		return nil
	}
	var p *probe.Pinger
	if err := f.source.inNetns(func() (err error) {
		p, err = probe.New(cfg)
		return err
	}); err != nil {
		return err
	}
	for event, err := range p.Run(ctx) {
		if err != nil {
			return err
		}
		switch event.Kind {
		case probe.Start:
			err = s.begin(event.Start)
		case probe.Replied:
			err = s.reply(&event)
		case probe.Failed:
			s.failed = event.Failure.Local
		}
		if err == nil && !event.More {
			err = out.Flush()
		}
		if err != nil {
			return outputError(err)
		}
	}
	stats := p.Statistics()
	s.sent += stats.Sent - stats.Errors
	return nil
}

// reply takes an answer.
func (s *search) reply(e *probe.Event) error {
	r := &e.Reply
	if s.found[r.From] || r.Answer == nil && r.FromMAC != s.mac {
		return nil
	}
	s.found[r.From] = true
	found := &render.Found{Addr: r.From, How: "echo", RTT: r.RTT, RTTSource: r.RTTSource.String()}
	if a := r.Answer; a != nil {
		found.How, found.Router = "ndp", a.Router
		if !a.Advertisement {
			found.How = "arp"
			s.arpsFound++
		}
		if r.FromMAC != s.mac {
			found.From = r.FromMAC
		}
	}
	return s.Found(e.Time, found)
}
