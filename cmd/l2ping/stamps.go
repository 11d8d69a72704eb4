//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/l2ping/l2ping/cmd/l2ping/internal/render"
	"github.com/l2ping/l2ping/l2"
)

func newStamps(e *env) *cobra.Command {
	f := &sourceFlags{}
	cmd := &cobra.Command{
		Use:   "stamps -i IFACE",
		Short: "Tell what an interface can stamp, and how true that makes its times",
		Long: `Tell which stamps the interface's driver and NIC can give to departing and arriving
frames, what the NIC is set to, how long it may hold frames back, and what all that
means for the times that l2ping reports. Sends nothing, changes nothing and needs no
capability, unless --netns does.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return f.inNetns(func() error { return e.stamps(f.name) }) },
	}
	cmd.DisableFlagsInUseLine = true
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVarP(&f.name, "interface", "i", "", "`interface` to tell about")
	f.addNetns(cmd)
	cmd.Flags().BoolP("help", "h", false, "print this")
	return cmd
}

func (e *env) stamps(ifname string) error {
	ifc, err := l2.InterfaceByName(ifname)
	if missing := (*l2.NoInterfaceError)(nil); ifname == "" && errors.As(err, &missing) {
		return fmt.Errorf("no interface given: -i names it (there is %s)", missing.There())
	}
	if err != nil {
		return err
	}
	ability, err := ifc.Stamps()
	if err != nil {
		return err
	}
	coalescing, coalescingErr := ifc.Coalescing()
	_, err = io.WriteString(e.stdout, render.Stamps(ifc, &ability, coalescing, coalescingErr))
	return outputError(err)
}
