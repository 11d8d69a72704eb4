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

// A Resolver keeps the MAC right while probes are sent.
func ExampleResolver() {
	path, err := l2.FindPath(nil, netip.MustParseAddr("203.0.113.1"), netip.Addr{})
	if err != nil {
		log.Fatal(err)
	}
	resolver, err := arp.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer resolver.Close()

	for range time.Tick(time.Second) {
		switch neighbor, status := resolver.Snapshot(); status {
		case arp.Resolved:
			fmt.Println("send to", neighbor.MAC)
		case arp.Failed:
			fmt.Println("nobody answers; asked again")
		}
	}
}
