//go:build linux

package arp_test

import (
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/l2"
)

// One next hop's MAC, kept right while frames are sent to it.
func ExampleResolver() {
	path, err := l2.FindPath(nil, netip.MustParseAddr("203.0.113.1"), netip.Addr{})
	if err != nil {
		log.Fatal(err)
	}
	resolver, err := arp.Open(path)
	if err != nil {
		log.Fatal(err) // EPERM without CAP_NET_RAW
	}
	defer resolver.Close()

	unanswered := 0 // in a row
	for range time.Tick(time.Second) {
		neighbor, status := resolver.Snapshot() // never waits
		if status == arp.Resolved {
			fmt.Println("send to", neighbor.MAC)
		}
		if unanswered >= 2 {
			resolver.Doubt() // has the next hop moved?
		}
	}
}

// Replies to frames from an address that is not this host's come for as long as
// somebody answers for it.
func ExampleResponder() {
	ifc, err := l2.InterfaceByName("eth0")
	if err != nil {
		log.Fatal(err)
	}
	responder, err := arp.OpenResponder(ifc, arp.ResponderConfig{Source: netip.MustParseAddr("198.51.100.77")})
	if err != nil {
		log.Fatal(err)
	}
	time.Sleep(time.Minute)
	if err := responder.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("asked for and answered", responder.Answered(), "times")
}
