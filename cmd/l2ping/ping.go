//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/render"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// pingFlags are the flags of the ping.
type pingFlags struct {
	wayFlags

	interval, deadline, timeout duration
	count, size, ttl, tos, id   uint64
	pattern                     pattern
	pmtu                        probe.PMTU
	dscp                        uint8
	targets                     string
	enough                      uint64
	broadcast                   bool
	filter                      bpf.Mode
	timestamps                  probe.Timestamps

	setHardware                                           bool
	preload                                               uint64
	flood, adaptive, spin                                 bool
	histogram                                             string
	numeric, quiet, verbose, printTime, outstanding, json bool
	budget                                                bool
}

// newPing is the root command.
func newPing(e *env) *cobra.Command {
	f := &pingFlags{}
	cmd := &cobra.Command{
		Use:   "l2ping [flags] HOST...",
		Short: "Ping over one interface at layer 2, and measure the wire",
		Long: `l2ping pings hosts over the one interface that you name. Every probe is stamped
by the kernel where it leaves the driver and where its reply comes in, so the time
is the wire's: neither your program's nor that of finding the next hop's MAC.
A HOST is a name, an address, a CIDR block, or a range as 192.0.2.10-192.0.2.20.
Needs CAP_NET_RAW; try "l2ping demo" first, which touches no network.`,
		Example: `  sudo l2ping -i eth0 8.8.8.8
  sudo l2ping -i eth0 -c 100 -d 10ms -q 192.0.2.1
  sudo l2ping -i eth0 -c 1 -q 192.0.2.0/24 2001:db8::1
  sudo l2ping -i eth0 --vlan 100 -S 192.0.2.7 --gateway 192.0.2.1 8.8.8.8
  l2ping route -i eth1 8.8.8.8`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.ping(cmd, f, args)
		},
	}
	f.add(cmd)
	return cmd
}

func (f *pingFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.SortFlags = false
	f.source.add(cmd)
	number := func(value *uint64, name, short, usage string, least, most uint64) {
		fl.VarP(&number{value: value, min: least, max: most}, name, short, usage)
	}
	fl.VarP(&f.interval, "interval", "d", "`time` between probes, such as 10ms or 0.2 seconds (1s)")
	number(&f.count, "count", "c", "end after so many `probes`", 1, math.MaxInt64)
	fl.VarP(&f.deadline, "deadline", "w", "end after that `time`; with -c wait for that many replies")
	fl.VarP(&f.timeout, "timeout", "W", "`time` after which a probe is lost (2s)")
	fl.BoolVarP(&f.flood, "flood", "f", false, "send as replies come back, or 100 a second; with -d at that interval. A dot is a probe without a reply")
	fl.BoolVarP(&f.adaptive, "adaptive", "A", false, "send as replies come back")
	number(&f.preload, "preload", "l", "send so many `probes` without waiting for replies (1)", 1, probe.MaxPreload)
	number(&f.size, "size", "s", "data `bytes` (56)", 0, frame.MaxEchoData)
	number(&f.ttl, "ttl", "t", "time to live, or hop limit, in `hops` (64)", 1, 255)
	number(&f.tos, "tos", "Q", "type of service, or traffic class, `byte`: DSCP and ECN (0)", 0, 255)
	fl.Var(&parsed[uint8]{value: &f.dscp, parse: parseDSCP}, "dscp", "the same by the `name` of its code point: ef, af41, cs6, le ...")
	fl.VarP(&choice[probe.PMTU]{value: &f.pmtu, parse: parsePMTU, words: "do, want and dont"}, "pmtudisc", "M", "the `policy` above the MTU: do refuses, want fragments, dont lets routers fragment too (want)")
	fl.VarP(&f.pattern, "pattern", "p", "fill the data with these `hex` bytes")
	number(&f.id, "id", "e", "ICMP `identifier` (random)", 0, math.MaxUint16)
	fl.BoolVarP(&f.numeric, "numeric", "n", false, "look up no names")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "print the summary alone; of several hosts a line for each")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "tell the path, the filter and the stamps, and why")
	fl.BoolVarP(&f.printTime, "print-time", "D", false, "print the wall clock ahead of each line")
	fl.BoolVarP(&f.outstanding, "outstanding", "O", false, "tell of a probe without an answer when the next one leaves")
	fl.BoolVarP(&f.broadcast, "broadcast", "b", false, "allow a broadcast address")
	f.addWay(cmd)
	fl.StringVar(&f.targets, "targets", "", "more hosts from this `file`, one a line, # for comments; - is standard input")
	number(&f.enough, "enough", "x", "with several hosts: exit 0 as soon as so many `hosts` have answered", 1, maxTargets)
	fl.Var(&choice[bpf.Mode]{value: &f.filter, parse: bpf.ParseMode, words: "auto, ebpf and classic"}, "filter", "which `filter` to load: auto, ebpf or classic (auto)")
	fl.Var(&choice[probe.Timestamps]{value: &f.timestamps, parse: probe.ParseTimestamps, words: "auto, hardware, driver, sched and user"}, "timestamps", "which `stamps` to use: auto, hardware, driver, sched or user (auto)")
	fl.BoolVar(&f.setHardware, "set-hardware-timestamps", false, "have the NIC stamp all frames until the end; needs CAP_NET_ADMIN")
	fl.BoolVar(&f.spin, "spin", false, "never sleep: use a whole CPU, and save the microseconds of waking up")
	fl.BoolVar(&f.budget, "budget", false, "print the parts of each probe's time on its line")
	fl.StringVar(&f.histogram, "histogram", "", "write an HdrHistogram log of the RTTs to this `file`")
	fl.BoolVar(&f.json, "json", false, "print one JSON object a line")
	fl.BoolP("help", "h", false, "print this")
}

func (s *sourceFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVarP(&s.name, "interface", "i", "", "`interface` to use (the kernel's choice)")
	fl.StringVarP(&s.other, "from", "I", "", "the same, or the source `address`, and by it the interface")
	fl.VarP(&parsed[netip.Addr]{value: &s.source, parse: parseAddr}, "source", "S", "source `address`; one that is not this host's is answered for on the interface")
	s.addNetns(cmd)
}

func (s *sourceFlags) addNetns(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.netns, "netns", "", "the network `namespace` to work in: a name, a PID or a path")
}

// parsePMTU reads ping's -M.
func parsePMTU(s string) (probe.PMTU, error) {
	switch s {
	case "do":
		return probe.PMTUDo, nil
	case "want":
		return probe.PMTUWant, nil
	case "dont":
		return probe.PMTUDont, nil
	}
	return 0, errors.New("unknown word")
}

// config turns the flags into what probe asks for. It has to be called in the
// network namespace of the interface.
func (f *pingFlags) config(cmd *cobra.Command) (probe.Config, error) {
	cfg, err := f.wayFlags.config()
	if err != nil {
		return probe.Config{}, err
	}
	cfg.Count = f.count
	cfg.Enough = int(f.enough)
	cfg.Deadline = time.Duration(f.deadline)
	cfg.Interval = time.Duration(f.interval)
	cfg.Timeout = time.Duration(f.timeout)
	cfg.Pattern = f.pattern
	cfg.TTL = uint8(f.ttl)
	cfg.TOS = uint8(f.tos)
	cfg.PMTU = f.pmtu
	cfg.Broadcast = f.broadcast
	cfg.Filter = f.filter
	cfg.Timestamps = f.timestamps
	cfg.SetHardware = f.setHardware
	cfg.Flood = f.flood && f.interval == 0
	cfg.Adaptive = f.adaptive && (!f.flood || f.interval != 0)
	cfg.Preload = int(f.preload)
	cfg.Spin = f.spin
	cfg.Sent = f.json && f.verbose || !f.json && (f.outstanding || f.flood && !f.quiet)
	if cmd.Flags().Changed("size") {
		cfg.DataLen = new(int(f.size))
	}
	if cmd.Flags().Changed("id") {
		cfg.ID = new(uint16(f.id))
	}
	if cmd.Flags().Changed("dscp") {
		if cmd.Flags().Changed("tos") {
			return probe.Config{}, errors.New("-Q and --dscp: both set the type of service byte")
		}
		cfg.TOS = f.dscp << 2
	}
	return cfg, nil
}

// renderer prints events.
type renderer interface {
	Event(*probe.Event) error
}

// ping is the root command's work.
func (e *env) ping(cmd *cobra.Command, f *pingFlags, hosts []string) error {
	e.gateway = true
	if len(hosts) == 0 && f.targets == "" {
		return usageError(cmd, errNoHost)
	}
	// Names are looked up here, whatever namespace is pinged in.
	only, err := familyOf(f.v4, f.v6, &f.source)
	if err != nil {
		return err
	}
	to, err := e.findTargets(cmd.Context(), hosts, f.targets, only)
	if err != nil {
		return err
	}
	var log *histogramFile
	var cfg probe.Config
	var p *probe.Pinger
	err = f.source.inNetns(func() error {
		if cfg, err = f.config(cmd); err != nil {
			return err
		}
		if err = e.leaveOut(to, cfg.Interface); err != nil {
			return err
		}
		cfg.Targets = to.list
		if cfg.Enough > len(to.list) {
			return fmt.Errorf("-x %d: of hosts there are %d", cfg.Enough, len(to.list))
		}
		if cmd.Flags().Changed("histogram") {
			if log, err = createHistogram(f.histogram); err != nil {
				return err
			}
		}
		p, err = probe.New(cfg)
		return err
	})
	if err != nil {
		return errors.Join(err, log.close())
	}
	out := bufio.NewWriterSize(e.stdout, 1<<16)
	var r renderer
	if f.json {
		r = render.NewJSON(out, to.name)
	} else {
		r = render.NewText(out, e.stderr, render.TextOptions{
			Target:      to.name,
			Numeric:     f.numeric,
			Quiet:       f.quiet,
			Verbose:     f.verbose,
			PrintTime:   f.printTime,
			Outstanding: f.outstanding,
			Pattern:     f.pattern,
			Budget:      f.budget,
			Flood:       f.flood,
			Columns:     columns(e.stdout),
			Adaptive:    cfg.Adaptive,
			Several:     len(to.list),
		})
	}
	defer e.showStatus(p)()
	finish := log.follow(p.Statistics)
	v := &verdict{renderer: r, cfg: &cfg}
	err = show(p.Run(cmd.Context()), v, out)
	if err = errors.Join(err, finish(), log.close()); err != nil {
		return err
	}
	e.exit = v.status()
	return nil
}

// leaveOut takes out of blocks and ranges what was hardly meant, this host's own
// addresses, and says so. On lo they were.
func (e *env) leaveOut(t *targets, ifname string) error {
	if ifname == "lo" || !t.blocks {
		return nil
	}
	own, err := ownAddresses()
	if err != nil {
		return err
	}
	out := t.leaveOut(own)
	switch {
	case len(t.list) == 0:
		return fmt.Errorf("no host is left: %s (-i lo pings this host's own)", strings.Join(out, ", "))
	case len(out) > 0:
		_, err = fmt.Fprintf(e.stderr, "l2ping: left out: %s\n", strings.Join(out, ", "))
	}
	return outputError(err)
}

// show renders the events of a run, and writes once for those that come
// together.
func show(events iter.Seq2[probe.Event, error], r renderer, out *bufio.Writer) error {
	for event, err := range events {
		if err != nil {
			return errors.Join(err, outputError(out.Flush()))
		}
		// An error may go to standard error: what came before it is there
		// before it.
		apart := !event.More || event.Kind == probe.Failed
		if event.Kind == probe.Failed {
			if err := out.Flush(); err != nil {
				return outputError(err)
			}
		}
		if err := r.Event(&event); err != nil {
			return outputError(err)
		}
		if apart {
			if err := out.Flush(); err != nil {
				return outputError(err)
			}
		}
	}
	return nil
}

// columns is the width of the terminal that w is, 0 if it is none.
func columns(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}
