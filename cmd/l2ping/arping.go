//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/render"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// arpingRate is how many requests a second leave at the most unless an interval is
// asked for: each of them wakes every host on the link.
const arpingRate = 1000

// arpingFlags are the flags of `l2ping arping`.
type arpingFlags struct {
	source sourceFlags

	interval, deadline                     duration
	count, enough                          uint64
	detect, announce, announceReply        bool
	first, broadcast, quiet, verbose, json bool
	v4, v6                                 bool
	targets                                string
	srcMAC, dstMAC                         frame.MAC
	vlans                                  []frame.VLAN
	mark                                   uint64
	filter                                 bpf.Mode
	timestamps                             probe.Timestamps
	setHardware, spin                      bool
}

func newArping(e *env) *cobra.Command {
	f := &arpingFlags{}
	cmd := &cobra.Command{
		Use:   "arping [flags] HOST...",
		Short: "Ask who has an address: ARP for IPv4, neighbor discovery for IPv6",
		Long: `Ask who has an address, by ARP for IPv4 and by neighbor discovery for IPv6, with
the flags, the lines and the exit statuses of iputils arping. The first request goes
to everybody, the next ones to who has answered. HOSTs are taken to be on the link,
and may be CIDR blocks and ranges. Two hosts that have one address are an alarm on
standard error, with -q too. -D hears whatever another host says of the address: its
requests, announcements and address probes too.
A MAC in place of HOST: find the addresses that it has, by the kernel's neighbor
table, by asking it for each address of the interface's own networks (of up to 4096
addresses each), and for IPv6 by an echo to all nodes.
Exit status: 0 each HOST has answered, with -c and -w so many times; 1 it has not.
With -D, 0: nobody has the address; 1: it is taken. With -U and -A, 0. Else 2.`,
		Example: `  sudo l2ping arping -i eth0 -c 3 192.0.2.1
  sudo l2ping arping -i eth0 -c 1 192.0.2.0/24
  sudo l2ping arping -i eth0 -D -c 2 2001:db8::7
  sudo l2ping arping -i eth0 -U -c 3 192.0.2.7
  sudo l2ping arping -i eth0 02:00:5e:00:53:01`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.arping(cmd, f, args)
		},
	}
	f.add(cmd)
	return cmd
}

func (f *arpingFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP(&f.source.name, "interface", "i", "", "`interface` to ask on (the kernel's choice)")
	fl.StringVarP(&f.source.other, "from", "I", "", "the same, or the source `address`, and by it the interface")
	source := &parsed[netip.Addr]{value: &f.source.source, parse: parseAddr}
	fl.VarP(source, "source", "s", "source `address`; also -S")
	fl.VarP(source, "source-address", "S", "the same")
	_ = fl.MarkHidden("source-address") // it is there
	f.source.addNetns(cmd)
	fl.VarP(&number{value: &f.count, min: 1, max: math.MaxInt64}, "count", "c", "end after so many `requests`, and a second to listen")
	fl.VarP(&f.deadline, "deadline", "w", "end after that `time`; with -c also when so many answers have come")
	fl.VarP(&f.interval, "interval", "d", "`time` between requests, such as 10ms or 0.2 seconds (1s; of many hosts longer, for 1000 requests a second)")
	fl.BoolVarP(&f.first, "first", "f", false, "be done with a host at its first answer")
	fl.BoolVarP(&f.broadcast, "broadcast", "b", false, "ask everybody each time")
	fl.BoolVarP(&f.detect, "detect", "D", false, "find out from no address whether the address is taken: duplicate address detection")
	fl.BoolVarP(&f.announce, "announce", "U", false, "tell everybody that the address is here; it has to be this host's")
	fl.BoolVarP(&f.announceReply, "announce-reply", "A", false, "the same by ARP replies")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "print nothing but alarms")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "tell the frames, the filter and the stamps, and who does not answer")
	fl.BoolVarP(&f.v4, "ipv4", "4", false, "IPv4 alone")
	fl.BoolVarP(&f.v6, "ipv6", "6", false, "IPv6 alone")
	fl.StringVar(&f.targets, "targets", "", "more hosts from this `file`, one a line, # for comments; - is standard input")
	fl.VarP(&number{value: &f.enough, min: 1, max: maxTargets}, "enough", "x", "with several hosts: exit 0 as soon as so many `hosts` have answered")
	fl.Var(&parsed[[]frame.VLAN]{value: &f.vlans, parse: parseVLANs}, "vlan", vlanUsage)
	fl.Var(&parsed[frame.MAC]{value: &f.dstMAC, parse: parseMAC}, "dst-mac", "ask this `MAC` and nobody else")
	fl.Var(&parsed[frame.MAC]{value: &f.srcMAC, parse: parseMAC}, "src-mac", "the `MAC` to ask from, in place of the interface's")
	fl.Var(&number{value: &f.mark, max: math.MaxUint32}, "mark", markUsage)
	fl.Var(&choice[bpf.Mode]{value: &f.filter, parse: bpf.ParseMode, words: "auto, ebpf and classic"}, "filter", "which `filter` to load: auto, ebpf or classic (auto)")
	fl.Var(&choice[probe.Timestamps]{value: &f.timestamps, parse: probe.ParseTimestamps, words: "auto, hardware, driver, sched and user"}, "timestamps", "which `stamps` to use: auto, hardware, driver, sched or user (auto)")
	fl.BoolVar(&f.setHardware, "set-hardware-timestamps", false, "have the NIC stamp all frames until the end; needs CAP_NET_ADMIN")
	fl.BoolVar(&f.spin, "spin", false, "never sleep: use a whole CPU, and save the microseconds of waking up")
	fl.BoolVar(&f.json, "json", false, "print one JSON object a line")
	fl.BoolP("help", "h", false, "print this")
}

// mode is what is asked, or told.
func (f *arpingFlags) mode() (probe.NeighborMode, error) {
	announces := f.announce || f.announceReply
	switch {
	case f.detect && announces:
		return 0, errors.New("-D and -U or -A: an address is looked for, or announced")
	case announces && f.enough > 0, f.detect && f.enough > 0:
		return 0, errors.New("-x: no answers are wanted")
	case f.broadcast && !f.dstMAC.IsZero():
		return 0, errors.New("-b and --dst-mac: everybody is asked, or one")
	case f.detect:
		return probe.NeighborDetect, nil
	case f.announceReply:
		return probe.NeighborAnnounceReply, nil
	case f.announce:
		return probe.NeighborAnnounce, nil
	}
	return probe.NeighborAsk, nil
}

// config turns the flags into what probe asks for. It has to be called in the
// network namespace of the interface.
func (f *arpingFlags) config() (probe.Config, error) {
	mode, err := f.mode()
	if err != nil {
		return probe.Config{}, err
	}
	ifname, source, err := f.source.resolve()
	if err != nil {
		return probe.Config{}, err
	}
	return probe.Config{
		Interface:   ifname,
		Source:      source,
		Mark:        uint32(f.mark),
		SrcMAC:      f.srcMAC,
		DstMAC:      f.dstMAC,
		VLANs:       f.vlans,
		Neighbor:    &probe.Neighbor{Mode: mode, Broadcast: f.broadcast, First: f.first || f.detect},
		Count:       f.count,
		Enough:      int(f.enough),
		Deadline:    time.Duration(f.deadline),
		Interval:    time.Duration(f.interval),
		Filter:      f.filter,
		Timestamps:  f.timestamps,
		SetHardware: f.setHardware,
		Spin:        f.spin,
		Sent:        f.json && f.verbose,
	}, nil
}

// pace is the interval at which so many hosts are asked.
func (f *arpingFlags) pace(hosts int) time.Duration {
	if f.interval != 0 {
		return time.Duration(f.interval)
	}
	return max(probe.DefaultInterval, time.Duration(hosts)*time.Second/arpingRate)
}

// arping is the work of the subcommand.
func (e *env) arping(cmd *cobra.Command, f *arpingFlags, hosts []string) error {
	if len(hosts) == 0 && f.targets == "" {
		return usageError(cmd, errNoHost)
	}
	if mac, err := parseMAC(hosts0(hosts)); err == nil {
		return e.arpingMAC(cmd, f, hosts, mac)
	}
	only, err := familyOf(f.v4, f.v6, &f.source)
	if err != nil {
		return err
	}
	to, err := e.findTargets(cmd.Context(), hosts, f.targets, only)
	if err != nil {
		return err
	}
	var cfg probe.Config
	var p *probe.Pinger
	err = f.source.inNetns(func() error {
		if cfg, err = f.config(); err != nil {
			return err
		}
		if err := f.leaveOut(e.stderr, to); err != nil {
			return err
		}
		cfg.Targets, cfg.Interval = to.list, f.pace(len(to.list))
		if cfg.Enough > len(to.list) {
			return fmt.Errorf("-x %d: of hosts there are %d", cfg.Enough, len(to.list))
		}
		p, err = probe.New(cfg)
		return err
	})
	switch {
	case f.detect && errors.Is(err, probe.ErrNoNeighbors):
		// As in arping: nobody can be in the way of the address.
		if !f.quiet {
			fmt.Fprintf(e.stderr, "l2ping: %s\n", e.explain(err))
		}
		return nil
	case err != nil:
		if noRoute := (*l2.NoRouteError)(nil); errors.As(err, &noRoute) && noRoute.Interface == "" {
			err = fmt.Errorf("%w (-i names the interface to ask on)", err)
		}
		return err
	}
	out := bufio.NewWriterSize(e.stdout, 1<<16)
	var r renderer
	if f.json {
		r = render.NewJSON(out, to.name)
	} else {
		r = render.NewArping(out, e.stderr, render.ArpingOptions{
			Several: len(to.list), Quiet: f.quiet, Verbose: f.verbose,
		})
	}
	defer e.showStatus(p)()
	v := &arpingVerdict{renderer: r, cfg: &cfg, known: f.neighbors}
	if err := show(p.Run(cmd.Context()), v, out); err != nil {
		return err
	}
	e.exit = v.status()
	return nil
}

// leaveOut takes this host's own addresses out of blocks and ranges, which were
// hardly meant if others are asked.
func (f *arpingFlags) leaveOut(stderr io.Writer, to *targets) error {
	if f.announce || f.announceReply || !to.blocks {
		return nil
	}
	own, err := ownAddresses()
	if err != nil {
		return err
	}
	out := to.leaveOut(own)
	switch {
	case len(to.list) == 0:
		return fmt.Errorf("no host is left: %s", strings.Join(out, ", "))
	case len(out) > 0 && f.verbose:
		fmt.Fprintf(stderr, "l2ping: left out: %s\n", strings.Join(out, ", "))
	}
	return nil
}

// hosts0 is the first host, if there is one.
func hosts0(hosts []string) string {
	if len(hosts) == 0 {
		return ""
	}
	return hosts[0]
}

// neighbors are the entries of the kernel's neighbor table for an interface. With
// the tags of a VLAN it knows nothing: it is of those who are on the interface itself.
func (f *arpingFlags) neighbors(ifc *l2.Interface) ([]arp.Neighbor, error) {
	if slices.ContainsFunc(f.vlans, func(tag frame.VLAN) bool { return tag.ID() != 0 }) {
		return nil, nil
	}
	var list []arp.Neighbor
	err := f.source.inNetns(func() (err error) {
		list, err = arp.List(ifc)
		return err
	})
	return list, err
}

// An arpingVerdict is a renderer that works out the exit status of an arping, and
// passes all events on. To the answers of a host that is alone it adds what the
// kernel knows of its MAC.
type arpingVerdict struct {
	renderer
	cfg   *probe.Config
	known func(*l2.Interface) ([]arp.Neighbor, error)
	list  []arp.Neighbor

	answered int // how many targets have given an answer
	few      int // how many have given fewer than were asked for
	unsent   int // to how many nothing could be sent
}

func (v *arpingVerdict) Event(e *probe.Event) error {
	switch {
	case e.Kind == probe.Start && len(v.cfg.Targets) == 1 && v.cfg.Neighbor.Mode == probe.NeighborAsk && e.Address.Is4():
		// Without it nothing is lacking but a hint. In IPv6 it would be none: hosts
		// have several addresses there.
		v.list, _ = v.known(e.Start.Decision.Path.Interface)
	case e.Kind == probe.Replied && !e.Reply.Answer.AlsoFor.IsValid():
		for _, n := range v.list {
			if n.MAC == e.Reply.FromMAC && n.Addr.Is4() && n.Addr != e.Address {
				e.Reply.Answer.AlsoFor = n.Addr
				break
			}
		}
	case e.Kind == probe.Summary && e.Address.IsValid():
		s := e.Statistics
		answers := s.Received + s.Late + s.MoreReplies
		if answers > 0 {
			v.answered++
		}
		if answers < v.cfg.Count {
			v.few++
		}
		if s.Sent > 0 && s.Errors == s.Sent {
			v.unsent++
		}
	}
	return v.renderer.Event(e)
}

// status is the exit status, as arping's.
func (v *arpingVerdict) status() int {
	c := v.cfg
	want := len(c.Targets)
	if c.Enough > 0 {
		want = c.Enough
	}
	ok := v.answered >= want
	switch c.Neighbor.Mode {
	case probe.NeighborDetect:
		if v.answered == 0 && v.unsent > 0 {
			return exitError // nobody was asked: it is not known
		}
		ok = v.answered == 0
	case probe.NeighborAnnounce, probe.NeighborAnnounceReply:
		if v.unsent > 0 {
			return exitError
		}
		ok = true
	default:
		if c.Enough == 0 && c.Deadline > 0 && c.Count > 0 && !c.Neighbor.First && v.few > 0 {
			ok = false
		}
	}
	if !ok {
		return exitNoReply
	}
	return exitOK
}
