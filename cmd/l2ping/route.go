//go:build linux

package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/render"
	"github.com/l2ping/l2ping/l2"
)

func newRoute(e *env) *cobra.Command {
	var source sourceFlags
	cmd := &cobra.Command{
		Use:   "route [flags] HOST",
		Short: "Tell how a probe would leave, and why",
		Long: `Tell which interface, source address, next hop and MAC a probe to HOST would have,
each with its reason. Sends at most ARP requests, and those only if the kernel's
neighbor table does not know the next hop.`,
		Args: oneHost,
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.route(cmd, &source, args[0])
		},
	}
	source.add(cmd)
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolP("help", "h", false, "print this")
	return cmd
}

func (e *env) route(cmd *cobra.Command, flags *sourceFlags, host string) error {
	ifname, source, err := flags.resolve()
	if err != nil {
		return err
	}
	dst, err := lookUp(cmd.Context(), host)
	if err != nil {
		return err
	}
	var ifc *l2.Interface
	switch {
	case ifname != "":
		ifc, err = l2.InterfaceByName(ifname)
	case source.IsValid():
		ifc, err = l2.InterfaceByAddress(source)
	}
	if err != nil {
		return err
	}
	path, err := l2.FindPath(ifc, dst, source)
	if err != nil {
		return err
	}
	d, err := arp.Decide(cmd.Context(), path)
	if err != nil {
		return err
	}
	if !d.Neighbor.Known() {
		e.exit = exitNoReply
	}
	_, err = io.WriteString(e.stdout, render.Route(d, host, render.Asked{Interface: ifname != "", Source: source.IsValid()}))
	return outputError(err)
}
