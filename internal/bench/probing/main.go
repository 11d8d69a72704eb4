//go:build linux

// Probing pings with pro-bing, as a program beside the others of the bench:
//
//	probing IFNAME ADDRESS COUNT INTERVAL
//
// It prints a line with sequence number and round-trip time for each reply. It
// is a module of its own, so that l2ping does not depend on what it measures
// itself against.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	probing "github.com/prometheus-community/pro-bing"
)

const module = "github.com/prometheus-community/pro-bing"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "probing: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 1 && args[0] == "version" {
		return printVersion()
	}
	if len(args) != 4 {
		return fmt.Errorf("%d arguments: want IFNAME ADDRESS COUNT INTERVAL, or version", len(args))
	}
	count, err := strconv.Atoi(args[2])
	if err != nil {
		return fmt.Errorf("count: %w", err)
	}
	interval, err := time.ParseDuration(args[3])
	if err != nil {
		return fmt.Errorf("interval: %w", err)
	}
	p, err := probing.NewPinger(args[1])
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	p.SetPrivileged(true) // a raw socket, as the other tools have
	p.InterfaceName = args[0]
	p.Count, p.Interval = count, interval
	p.Timeout = 2*time.Duration(count)*interval + 10*time.Second
	p.Size = 56 // as the other tools send by default
	p.RecordRtts, p.RecordTTLs = false, false
	p.OnRecv = func(reply *probing.Packet) {
		fmt.Fprintf(out, "icmp_seq=%d rtt_ns=%d\n", reply.Seq, reply.Rtt.Nanoseconds())
	}
	if err := p.RunWithContext(context.Background()); err != nil {
		return err
	}
	return out.Flush()
}

func printVersion() error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return fmt.Errorf("built without module information")
	}
	for _, m := range info.Deps {
		if m.Path == module {
			fmt.Printf("pro-bing %s\n", m.Version)
			return nil
		}
	}
	return fmt.Errorf("built without %s", module)
}
