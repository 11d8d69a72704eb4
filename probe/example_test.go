//go:build linux

package probe_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/l2ping/l2ping/probe"
)

// A ping in ten lines. It needs CAP_NET_RAW, and somebody who answers.
func Example() {
	p, err := probe.New(probe.Config{Targets: probe.Hosts(netip.MustParseAddr("192.0.2.1")), Interface: "eth0", Count: 3})
	if err != nil {
		log.Fatal(err)
	}
	for event, err := range p.Run(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		if event.Kind == probe.Replied {
			fmt.Println(event.Seq, event.Reply.From, event.Reply.RTT, event.Reply.RTTSource)
		}
	}
}

// The Summary event has the statistics of the whole run; Pinger.Statistics has
// them at any time.
func ExampleStatistics() {
	p, err := probe.New(probe.Config{
		Targets:  probe.Hosts(netip.MustParseAddr("192.0.2.1")),
		Interval: 10 * time.Millisecond,
		Deadline: 5 * time.Second,
	})
	if err != nil {
		log.Fatal(err)
	}
	for event, err := range p.Run(context.Background()) {
		switch {
		case err != nil:
			log.Fatal(err)
		case event.Kind == probe.Summary:
			s := event.Statistics
			fmt.Printf("%d sent, %.1f%% lost, %d late\n", s.Sent, 100*s.LossRatio(), s.Late)
			fmt.Printf("rtt %v to %v, mean %v, standard deviation %v\n", s.RTT.Min, s.RTT.Max, s.RTT.Mean(), s.RTT.Stddev())
		}
	}
}
