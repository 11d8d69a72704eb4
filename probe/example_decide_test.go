//go:build linux

package probe_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"github.com/l2ping/l2ping/probe"
)

// How a probe would leave, without sending one.
func ExampleDecide() {
	d, err := probe.Decide(context.Background(), probe.Config{
		Interface: "eth0", Targets: probe.Hosts(netip.MustParseAddr("203.0.113.1")),
	})
	if err != nil {
		log.Fatal(err) // no route to 203.0.113.1 by eth0 (the kernel routes it by eth1)
	}
	fmt.Printf("from %s by %s to %s at %s\n", d.Path.Source, d.Path.Interface.Name, d.Path.NextHop, d.Neighbor.MAC)
}
