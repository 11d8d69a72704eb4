//go:build linux

package arp_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/l2"
)

// Who has the next hop? The kernel's table if it knows, else a request of our
// own; only then is CAP_NET_RAW needed.
func ExampleDecide() {
	path, err := l2.FindPath(nil, netip.MustParseAddr("203.0.113.1"), netip.Addr{})
	if err != nil {
		log.Fatal(err)
	}
	decision, err := arp.Decide(context.Background(), path)
	if err != nil {
		log.Fatal(err)
	}
	if !decision.Neighbor.Known() {
		log.Fatalf("nobody answers for %s", path.NextHop)
	}
	fmt.Printf("%s is at %s (%s)\n", path.NextHop, decision.Neighbor.MAC, decision.Neighbor.How)
}

// A Table keeps the MACs of many next hops right while probes are sent.
func ExampleTable() {
	routing, err := l2.OpenRouting()
	if err != nil {
		log.Fatal(err)
	}
	defer routing.Close()
	ifc, err := routing.Interface("eth0")
	if err != nil {
		log.Fatal(err)
	}
	table, err := arp.OpenTable(ifc, arp.TableConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer table.Close()

	var hops []*arp.Hop
	for _, target := range []string{"203.0.113.1", "2001:db8:2::1"} {
		path, err := routing.Path(ifc, l2.Query{Destination: netip.MustParseAddr(target)})
		if err != nil {
			log.Fatal(err)
		}
		hop, err := table.Add(path)
		if err != nil {
			log.Fatal(err)
		}
		hops = append(hops, hop)
	}
	moves := make([]uint32, len(hops))
	for range time.Tick(time.Second) {
		for i, hop := range hops {
			neighbor, status := hop.Snapshot()
			if neighbor.Moves != moves[i] {
				moves[i] = neighbor.Moves
				fmt.Printf("%s moved from %s to %s (%s)\n", neighbor.Addr, neighbor.Was, neighbor.MAC, neighbor.How)
			}
			switch status {
			case arp.Resolved:
				fmt.Println("send to", neighbor.MAC)
			case arp.Failed:
				fmt.Println("nobody answers; asked again")
			}
		}
	}
}
