//go:build linux

package main

import (
	"context"
	"io"
	"math"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/render"
	"github.com/l2ping/l2ping/l2"
)

// routeFlags are the flags of `l2ping route`.
type routeFlags struct {
	source  sourceFlags
	gateway netip.Addr
	mark    uint64
	v4, v6  bool
}

func newRoute(e *env) *cobra.Command {
	f := &routeFlags{}
	cmd := &cobra.Command{
		Use:   "route [flags] HOST",
		Short: "Tell how a probe would leave, and why",
		Long: `Tell which interface, source address, next hop and MAC a probe to HOST would have,
each with its reason. Sends at most ARP requests or neighbor solicitations, and those
only if the kernel's neighbor table does not know the next hop.`,
		Args: oneHost,
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.route(cmd, f, args[0])
		},
	}
	fl := cmd.Flags()
	f.source.add(cmd)
	fl.BoolVarP(&f.v4, "ipv4", "4", false, "IPv4 alone")
	fl.BoolVarP(&f.v6, "ipv6", "6", false, "IPv6 alone")
	fl.Var(&parsed[netip.Addr]{value: &f.gateway, parse: parseAddr}, "gateway", "the next hop, whatever routing says: an `address`")
	fl.Var(&number{value: &f.mark, max: math.MaxUint32}, "mark", "the firewall `mark` that policy routing goes by")
	fl.SortFlags = false
	fl.BoolP("help", "h", false, "print this")
	return cmd
}

func (e *env) route(cmd *cobra.Command, f *routeFlags, host string) error {
	e.gateway = true
	only, err := familyOf(f.v4, f.v6, &f.source)
	if err != nil {
		return err
	}
	dst, err := lookUp(cmd.Context(), host, only)
	if err != nil {
		return err
	}
	var d *arp.Decision
	var asked render.Asked
	if err := f.source.inNetns(func() (err error) {
		d, asked, err = f.decide(cmd.Context(), dst)
		return err
	}); err != nil {
		return err
	}
	if !d.Neighbor.Known() && d.Path.NeedsNeighbor() {
		e.exit = exitNoReply
	}
	_, err = io.WriteString(e.stdout, render.Route(d, host, asked))
	return outputError(err)
}

// decide asks the kernel, and the neighbors if need be.
func (f *routeFlags) decide(ctx context.Context, dst netip.Addr) (*arp.Decision, render.Asked, error) {
	ifname, source, err := f.source.resolve()
	asked := render.Asked{Interface: ifname != "", Source: source.IsValid()}
	if err != nil {
		return nil, asked, err
	}
	routing, err := l2.OpenRouting()
	if err != nil {
		return nil, asked, err
	}
	defer routing.Close()
	var ifc *l2.Interface
	switch {
	case ifname != "":
		ifc, err = routing.Interface(ifname)
	case source.IsValid():
		ifc, err = routing.InterfaceByAddress(source)
	}
	if err != nil {
		return nil, asked, err
	}
	path, err := routing.Path(ifc, l2.Query{Destination: dst, Source: source, Gateway: f.gateway, Mark: uint32(f.mark)})
	if err != nil {
		return nil, asked, err
	}
	d, err := arp.Decide(ctx, path)
	return d, asked, err
}
