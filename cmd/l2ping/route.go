//go:build linux

package main

import (
	"io"
	"math"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/render"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// wayFlags are the flags that decide how a probe leaves. The ping has them, and
// `l2ping route` has no others.
type wayFlags struct {
	source         sourceFlags
	v4, v6         bool
	vlans          []frame.VLAN
	gateway        netip.Addr
	dstMAC, srcMAC frame.MAC
	mark           uint64
}

// What the help says of flags that arping has too.
const (
	vlanUsage = "802.1Q `tags` to send and to want back, outer first: VID[.PCP][,VID[.PCP]]; of two the outer is 802.1ad's"
	markUsage = "the firewall `mark` that policy routing goes by, and that probes bear"
)

// addWay adds all but those of source, which a help begins with.
func (f *wayFlags) addWay(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.BoolVarP(&f.v4, "ipv4", "4", false, "IPv4 alone")
	fl.BoolVarP(&f.v6, "ipv6", "6", false, "IPv6 alone")
	fl.Var(&parsed[[]frame.VLAN]{value: &f.vlans, parse: parseVLANs}, "vlan", vlanUsage)
	fl.Var(&parsed[netip.Addr]{value: &f.gateway, parse: parseAddr}, "gateway", "the next hop, whatever routing says: an `address`")
	fl.Var(&parsed[frame.MAC]{value: &f.dstMAC, parse: parseMAC}, "dst-mac", "the `MAC` that frames go to, in place of the next hop's")
	fl.Var(&parsed[frame.MAC]{value: &f.srcMAC, parse: parseMAC}, "src-mac", "the `MAC` that frames come from, in place of the interface's")
	fl.Var(&number{value: &f.mark, max: math.MaxUint32}, "mark", markUsage)
}

func newRoute(e *env) *cobra.Command {
	f := &wayFlags{}
	cmd := &cobra.Command{
		Use:   "route [flags] HOST",
		Short: "Tell how a probe would leave, and why",
		Long: `Tell which interface, source address, next hop and MAC a probe to HOST would have
with the same flags, each with its reason. Sends at most ARP requests or neighbor
solicitations, and those only if the kernel's neighbor table does not know the next
hop, or --vlan is another network than the table's.`,
		Args: oneHost,
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.route(cmd, f, args[0])
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	f.source.add(cmd)
	f.addWay(cmd)
	fl.BoolP("help", "h", false, "print this")
	return cmd
}

func (e *env) route(cmd *cobra.Command, f *wayFlags, host string) error {
	e.gateway = true
	only, err := familyOf(f.v4, f.v6, &f.source)
	if err != nil {
		return err
	}
	dst, err := lookUp(cmd.Context(), host, only)
	if err != nil {
		return err
	}
	var cfg probe.Config
	var d *arp.Decision
	if err := f.source.inNetns(func() (err error) {
		if cfg, err = f.config(); err != nil {
			return err
		}
		cfg.Targets, cfg.Broadcast = probe.Hosts(dst), true // nothing is sent there
		d, err = probe.Decide(cmd.Context(), cfg)
		return err
	}); err != nil {
		return err
	}
	asked := render.Asked{
		Interface: cfg.Interface != "", Zone: cfg.Interface == "" && dst.Zone() != "",
		Source: cfg.Source.IsValid(), SourceMAC: cfg.SrcMAC, VLANs: cfg.VLANs,
	}
	if !d.Neighbor.Known() && d.Path.NeedsNeighbor() {
		e.exit = exitNoReply
	}
	_, err = io.WriteString(e.stdout, render.Route(d, host, asked))
	return outputError(err)
}

// config turns the flags into what probe asks for. It has to be called in the
// network namespace of the interface.
func (f *wayFlags) config() (probe.Config, error) {
	ifname, source, err := f.source.resolve()
	return probe.Config{
		Interface: ifname,
		Source:    source,
		Gateway:   f.gateway,
		Mark:      uint32(f.mark),
		SrcMAC:    f.srcMAC,
		DstMAC:    f.dstMAC,
		VLANs:     f.vlans,
	}, err
}
