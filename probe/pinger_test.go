//go:build linux

package probe

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// patience bounds what has to happen, on however slow a machine.
const patience = time.Minute

// inUserns marks the run that TestInUserNamespace starts.
const inUserns = "L2PING_PROBE_USERNS"

// newIn makes a Pinger in a namespace.
func newIn(ns *lab.Namespace, cfg Config) (p *Pinger, err error) {
	err = ns.Do(func() error {
		p, err = New(cfg)
		return err
	})
	return p, err
}

// pinger is newIn, for a Pinger that has to be. A probe of it is never lost
// because the machine is slow.
func pinger(t testing.TB, ns *lab.Namespace, cfg Config) *Pinger {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = patience
	}
	if cfg.Interval == 0 {
		cfg.Interval = 5 * time.Millisecond
	}
	p, err := newIn(ns, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// events are those of a whole run.
func events(t testing.TB, p *Pinger) []Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var all []Event
	for ev, err := range p.Run(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ev)
	}
	if ctx.Err() != nil {
		t.Fatal("the run did not end")
	}
	return all
}

// replied returns the replies of a run after some checks of its frame: Start
// first, Summary last.
func replied(t testing.TB, all []Event) (replies []Event, start *Started, end *Statistics) {
	t.Helper()
	if len(all) < 2 || all[0].Kind != Start || all[len(all)-1].Kind != Summary {
		t.Fatalf("a run of %d events has not Start first and Summary last", len(all))
	}
	for _, ev := range all {
		if ev.Kind == Replied {
			replies = append(replies, ev)
		}
	}
	return replies, all[0].Start, all[len(all)-1].Statistics
}

// whileStamping calls f while the kernel is known to stamp arrivals, which it
// begins a while after the first socket has asked for it.
func whileStamping(t testing.TB, ns *lab.Namespace, target netip.Addr, f func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p := pinger(t, ns, Config{Targets: Hosts(target), Interval: time.Millisecond})
	for ev, err := range p.Run(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Kind == Replied && ev.Reply.RTTSource == l2.StampDriver {
			f()
			return
		}
	}
	t.Fatal("no reply was ever stamped")
}

func TestPingLinux(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	routed := labtest.NewRouted(t)
	for _, tt := range []struct {
		name   string
		ns     *lab.Namespace
		target netip.Addr
		ttl    uint8
		hop    netip.Addr
		mac    []byte
	}{
		{"neighbor", pair.Near, pair.FarIP, 64, pair.FarIP, pair.FarMAC},
		{"behind a router", routed.Near, routed.HostIP, 63, routed.RouterIP, routed.RouterMAC},
	} {
		for _, mode := range []bpf.Mode{bpf.Classic, bpf.EBPF} {
			t.Run(tt.name+", "+mode.String(), func(t *testing.T) {
				if mode == bpf.EBPF {
					labtest.RequireRoot(t)
				}
				whileStamping(t, tt.ns, tt.target, func() {
					before := time.Now()
					p := pinger(t, tt.ns, Config{Targets: Hosts(tt.target), Interface: "eth0", Count: 5, Filter: mode, TOS: 0x20})
					replies, start, s := replied(t, events(t, p))
					if len(replies) != 5 {
						t.Fatalf("%d replies, want 5: %s", len(replies), brief(s))
					}
					for i, ev := range replies {
						r := ev.Reply
						if ev.Seq != uint64(i)+1 || ev.Address != tt.target || r.State != StateReplied || r.From != tt.target ||
							r.FromMAC != frame.MAC(tt.mac) || r.TTL != tt.ttl || r.TOS != 0x20 || r.Bytes != 64 ||
							r.Corrupted || r.Truncated || r.Mismatch != nil {
							t.Errorf("reply %d is %+v", i, ev)
						}
						b := r.Budget
						if r.RTTSource != l2.StampDriver || r.RTT != b.Wire || min(b.Send, b.Queue, b.Wire, b.Receive) < 0 {
							t.Errorf("RTT %v by %v, budget %+v", r.RTT, r.RTTSource, b)
						}
						if r.RTT <= 0 || r.RTT > patience || ev.Time.Before(before) || ev.Time.After(time.Now()) {
							t.Errorf("RTT %v at %v, between %v and %v", r.RTT, ev.Time, before, time.Now())
						}
					}
					if d := start.Decision; d.Path.NextHop != tt.hop || d.Neighbor.MAC != frame.MAC(tt.mac) || d.Path.Interface.Name != "eth0" {
						t.Errorf("decision is %+v", d)
					}
					if start.Filter != mode || start.FilterFallback != nil || start.DataLen != 56 || start.CookieBytes != 8 || start.Timestamps != l2.StampDriver {
						t.Errorf("start is %+v", start)
					}
					if s.Sent != 5 || s.Received != 5 || s.Pending != 0 || s.LossRatio() != 0 || s.RTT.Count != 5 || s.Stamps[l2.StampDriver] != 5 ||
						s.KernelDrops != 0 || s.EventsDropped != 0 || s.RejectedInKernel != (mode == bpf.EBPF) || s.Duration <= 0 {
						t.Errorf("%s", brief(s))
					}
					if !reflect.DeepEqual(*s, p.Statistics()) {
						t.Error("the statistics are others after the run")
					}
				})
			})
		}
	}
}

// again is a run of some of these tests in a process of its own, which ends before
// this one has to.
func again(t *testing.T, run string, env ...string) *exec.Cmd {
	t.Helper()
	args := []string{"-test.run=" + run, "-test.v"}
	if deadline, ok := t.Deadline(); ok {
		args = append(args, "-test.timeout="+(time.Until(deadline)*9/10).String())
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

// TestInUserNamespace runs the tests on sockets again as an ordinary user
// could: root in a user namespace of its own, where no eBPF is to be had.
func TestInUserNamespace(t *testing.T) {
	if os.Getenv(inUserns) != "" {
		t.Skip("this is the run in a user namespace already")
	}
	labtest.RequireNetns(t)
	cmd := again(t, "^Test(Ping|New|Run)", inUserns+"=1", "L2PING_TEST_REQUIRE=netns")
	lab.EnterUserNamespace(cmd)
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
		t.Skipf("the system forbids user namespaces: %v (sysctl user.max_user_namespaces)", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestPingLinux/neighbor,_classic") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestPingFallsBack(t *testing.T) {
	if os.Getenv(inUserns) == "" {
		t.Skip("root may load eBPF: TestInUserNamespace runs this")
	}
	pair := labtest.NewPair(t, nil)
	p := pinger(t, pair.Near, Config{Targets: Hosts(pair.FarIP), Count: 1})
	replies, start, s := replied(t, events(t, p))
	if start.Filter != bpf.Classic || !errors.Is(start.FilterFallback, unix.EPERM) || len(replies) != 1 || s.RejectedInKernel {
		t.Errorf("%d replies by the filter %v, because of %v", len(replies), start.Filter, start.FilterFallback)
	}
	if _, err := newIn(pair.Near, Config{Targets: Hosts(pair.FarIP), Filter: bpf.EBPF}); !errors.Is(err, unix.EPERM) {
		t.Errorf("eBPF alone: %v, want EPERM", err)
	}
}

func TestPingOptions(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	peer := labtest.StartPeer(t, pair.Far, "eth0", "")
	p := pinger(t, pair.Near, Config{
		Targets: Hosts(pair.FarIP), Source: pair.NearIP, Count: 2, Sent: true, ID: new(uint16(4711)), TTL: 9, TOS: 0xb8,
		DataLen: new(24), Pattern: []byte{0xab, 0xcd}, Timestamps: TimestampsUser, PMTU: PMTUDont,
	})
	all := events(t, p)
	replies, start, s := replied(t, all)
	var kinds []Kind
	for _, ev := range all {
		if ev.Seq == 2 {
			kinds = append(kinds, ev.Kind)
		}
	}
	if !slices.Equal(kinds, []Kind{Sent, Replied}) {
		t.Errorf("the events of probe 2 are of kinds %v", kinds)
	}
	if len(replies) != 2 || replies[0].Reply.RTTSource != l2.StampUser || replies[0].Reply.Budget != (Budget{Unknown, Unknown, Unknown, Unknown, Unknown}) {
		t.Errorf("replies are %+v", replies)
	}
	if start.Timestamps != l2.StampUser || start.ID != 4711 || start.DataLen != 24 || s.Stamps[l2.StampUser] != 2 {
		t.Errorf("start is %+v, stamps %v", start, s.Stamps)
	}
	for _, r := range peer.Requests() {
		if r.Kind == lab.KindEcho && (r.Fault != "" || r.ID != 4711 || r.TTL != 9 || r.TOS != 0xb8 || r.DF ||
			len(r.Payload) != 24 || !bytes.Equal(r.Payload[16:20], []byte{0xab, 0xcd, 0xab, 0xcd})) {
			t.Errorf("request is %+v", r)
		}
	}
}

func TestPingNobody(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	// The deadline passes while the next hop is asked for: one probe is
	// tried all the same.
	p := pinger(t, pair.Near, Config{Targets: Hosts(pair.FarIP), Deadline: 20 * time.Millisecond})
	all := events(t, p)
	_, start, s := replied(t, all)
	if len(all) != 3 || all[1].Kind != Failed || !errors.Is(all[1].Failure.Local, ErrNoNeighbor) {
		t.Fatalf("events are %+v", all)
	}
	if s.Sent != 1 || s.Errors != 1 || s.LossRatio() != 1 || start.Decision.Neighbor.Known() || start.Decision.Neighbor.How != arp.HowNone {
		t.Errorf("start is %+v, %s", start, brief(s))
	}
}

func TestPingErrors(t *testing.T) {
	routed := labtest.NewRouted(t)
	t.Run("time exceeded", func(t *testing.T) {
		all := events(t, pinger(t, routed.Near, Config{Targets: Hosts(routed.HostIP), TTL: 1, Count: 2}))
		_, _, s := replied(t, all)
		if len(all) != 4 || s.Errors != 2 {
			t.Fatalf("events are %+v", all)
		}
		want := Failure{From: routed.RouterIP, Type: frame.ICMPTimeExceeded}
		for _, ev := range all[1:3] {
			if ev.Failure != want {
				t.Errorf("failure is %+v", ev.Failure)
			}
		}
	})
	t.Run("unreachable", func(t *testing.T) {
		dst := netip.MustParsePrefix("192.0.2.0/24")
		if err := routed.Router.AddRefusal(dst, unix.RTN_PROHIBIT); err != nil {
			t.Fatal(err)
		}
		all := events(t, pinger(t, routed.Near, Config{Targets: Hosts(dst.Addr().Next()), Deadline: patience}))
		// The first error ends it; a slow host has sent another probe until then.
		if len(all) < 3 || all[1].Failure.Type != frame.ICMPDestinationUnreachable || all[1].Failure.Code != 13 {
			t.Errorf("events are %+v", all)
		}
	})
	t.Run("fragmentation needed", func(t *testing.T) {
		if err := routed.Router.SetMTU("eth1", 1000); err != nil {
			t.Fatal(err)
		}
		all := events(t, pinger(t, routed.Near, Config{Targets: Hosts(routed.HostIP), DataLen: new(1400), Count: 1}))
		want := Failure{From: routed.RouterIP, Type: frame.ICMPDestinationUnreachable, Code: 4, MTU: 1000}
		if len(all) != 3 || all[1].Failure != want {
			t.Errorf("events are %+v", all)
		}
	})
}

// TestPingLinkDown takes the interface down and up again in mid-run.
func TestPingLinkDown(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	p := pinger(t, pair.Near, Config{Targets: Hosts(pair.FarIP)})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const (
		up = iota
		down
		upAgain
	)
	state := up
	for ev, err := range p.Run(ctx) {
		switch {
		case err != nil:
			t.Fatal(err)
		case state == up && ev.Kind == Replied:
			state = down
			if err := pair.Near.SetDown("eth0"); err != nil {
				t.Fatal(err)
			}
		case state == down && ev.Kind == Failed && errors.Is(ev.Failure.Local, l2.ErrDown):
			state = upAgain
			if err := pair.SetUp(); err != nil {
				t.Fatal(err)
			}
		case state == upAgain && ev.Kind == Replied && ev.Reply.State == StateReplied:
			return
		}
	}
	t.Errorf("the run ended in state %d", state)
}

func TestNewErrors(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	downPair := labtest.NewPair(t, &lab.PairConfig{Down: true})
	target := pair.FarIP
	for _, tt := range []struct {
		name string
		ns   *lab.Namespace
		cfg  Config
		want string
		is   func(error) bool
	}{
		{"unknown interface", pair.Near, Config{Targets: Hosts(target), Interface: "eth9"}, `no interface "eth9" (there is `,
			func(err error) bool { e, ok := errors.AsType[*l2.NoInterfaceError](err); return ok && e.Name == "eth9" }},
		{"no interface has the source", pair.Near, Config{Targets: Hosts(target), Source: routerIP}, "no interface has the address 198.51.100.254", nil},
		{"interface down", downPair.Near, Config{Targets: Hosts(target), Interface: "eth0"}, "eth0: interface is down",
			func(err error) bool { return errors.Is(err, l2.ErrDown) }},
		{"another interface's", pair.Near, Config{Targets: Hosts(target), Interface: "lo"}, "no route to 198.51.100.2 by lo (the kernel routes it by eth0)",
			func(err error) bool { _, ok := errors.AsType[*l2.NoRouteError](err); return ok }},
		{"source of another family", pair.Near, Config{Targets: Hosts(target), Source: netip.MustParseAddr("2001:db8::1"), Interface: "eth0"}, "are of two families", nil},
		{"VLAN on loopback", pair.Near, Config{Targets: Hosts(netip.MustParseAddr("127.0.0.1")), Interface: "lo", VLANs: make([]frame.VLAN, 1)}, "has no use for VLAN tags", nil},
		{"group among others", pair.Near, Config{Targets: Hosts(target, netip.MustParseAddr("224.0.0.2")), Interface: "eth0"}, "is many hosts", nil},
		{"no route by the interface", pair.Near, Config{Targets: Hosts(netip.MustParseAddr("192.0.2.1")), Interface: "eth0"}, "no route to 192.0.2.1 by eth0",
			func(err error) bool { _, ok := errors.AsType[*l2.NoRouteError](err); return ok }},
		{"no route", pair.Near, Config{Targets: Hosts(netip.MustParseAddr("192.0.2.1"))}, "no route to 192.0.2.1",
			func(err error) bool { return errors.Is(err, unix.ENETUNREACH) }},
		{"ourselves", pair.Near, Config{Targets: Hosts(pair.NearIP)}, "is an address of this host",
			func(err error) bool { return errors.Is(err, l2.ErrLocal) }},
		{"broadcast", pair.Near, Config{Targets: Hosts(netip.MustParseAddr("198.51.100.255"))}, "198.51.100.255 is a broadcast address of eth0",
			func(err error) bool { return errors.Is(err, ErrBroadcast) }},
		{"limited broadcast", pair.Near, Config{Targets: Hosts(netip.MustParseAddr("255.255.255.255")), Interface: "eth0"}, "is a broadcast address of eth0",
			func(err error) bool { return errors.Is(err, ErrBroadcast) }},
		{"too much data", pair.Near, Config{Targets: Hosts(target), DataLen: new(1473), PMTU: PMTUDo}, "1473 data bytes do not fit", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := newIn(tt.ns, tt.cfg)
			if p != nil {
				p.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || tt.is != nil && !tt.is(err) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestPingBroadcast(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	if err := pair.Far.Sysctl("net.ipv4.icmp_echo_ignore_broadcasts", "0"); err != nil {
		t.Skipf("the far end answers no broadcast: %v (make /proc/sys writable)", err)
	}
	replies, start, s := replied(t, events(t, pinger(t, pair.Near, Config{
		Targets: Hosts(netip.MustParseAddr("198.51.100.255")), Broadcast: true, Count: 2,
	})))
	if len(replies) != 2 || s.Received != 2 || start.Decision.Neighbor.MAC != frame.Broadcast {
		t.Fatalf("%d replies, start %+v", len(replies), start)
	}
	for _, ev := range replies {
		if ev.Reply.From != pair.FarIP || ev.Address != netip.MustParseAddr("198.51.100.255") {
			t.Errorf("reply is %+v", ev)
		}
	}
}

// TestNewWantsStamps: a bridge stamps no departures, though its port may.
func TestNewWantsStamps(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	h := pair.Near.Handle()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br0"
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if err := h.LinkAdd(bridge); err != nil {
		t.Skipf("no bridge: %v (load the module bridge)", err)
	}
	port, err := h.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		h.LinkSetMaster(port, bridge),
		pair.Near.DelAddr("eth0", netip.PrefixFrom(pair.NearIP, 24)),
		pair.Near.AddAddr("br0", netip.PrefixFrom(pair.NearIP, 24)),
		pair.Near.SetUp("br0"), pair.Near.WaitUp("br0"),
	); err != nil {
		t.Fatal(err)
	}
	if _, err := newIn(pair.Near, Config{Targets: Hosts(pair.FarIP), Timestamps: TimestampsDriver}); !errors.Is(err, ErrNoStamps) || !strings.Contains(err.Error(), "br0") {
		t.Errorf("got %v, want ErrNoStamps", err)
	}
	replies, start, _ := replied(t, events(t, pinger(t, pair.Near, Config{Targets: Hosts(pair.FarIP), Count: 3})))
	if len(replies) != 3 || start.Timestamps != l2.StampSched {
		t.Errorf("%d replies, stamps to be had at %v", len(replies), start.Timestamps)
	}
	for _, ev := range replies {
		if ev.Reply.RTT <= 0 || ev.Reply.RTTSource == l2.StampNone {
			t.Errorf("RTT %v by %v", ev.Reply.RTT, ev.Reply.RTTSource)
		}
	}
}

var errPanic = errors.New("out of the loop")

func TestRunEnds(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	endless := Config{Targets: Hosts(pair.FarIP), Interval: time.Millisecond}
	t.Run("by leaving the loop", func(t *testing.T) {
		for _, at := range []Kind{Start, Replied} {
			p := pinger(t, pair.Near, endless)
			for ev, err := range p.Run(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if ev.Kind == at {
					break
				}
			}
			closed(t, p)
		}
	})
	t.Run("by leaving the loop at the summary", func(t *testing.T) {
		p := pinger(t, pair.Near, Config{Targets: Hosts(pair.FarIP), Count: 1})
		for ev := range p.Run(t.Context()) {
			if ev.Kind == Summary {
				break
			}
		}
		closed(t, p)
	})
	t.Run("by a cancelled context", func(t *testing.T) {
		p := pinger(t, pair.Near, endless)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var last Event
		for ev, err := range p.Run(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if ev.Seq == 3 {
				cancel()
			}
			last = ev
		}
		if last.Kind != Summary || last.Statistics.Sent < 3 {
			t.Errorf("the last event is %+v", last)
		}
		closed(t, p)
	})
	t.Run("by a context that was cancelled before", func(t *testing.T) {
		p := pinger(t, pair.Near, endless)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var kinds []Kind
		for ev, err := range p.Run(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, ev.Kind)
		}
		if len(kinds) < 2 || kinds[0] != Start || kinds[len(kinds)-1] != Summary {
			t.Errorf("events of kinds %v", kinds)
		}
		closed(t, p)
	})
	t.Run("by a panic", func(t *testing.T) {
		for _, at := range []Kind{Start, Replied} {
			p := pinger(t, pair.Near, endless)
			func() {
				defer func() {
					if v := recover(); v != errPanic {
						t.Errorf("recovered %v", v)
					}
				}()
				for ev := range p.Run(t.Context()) {
					if ev.Kind == at {
						panic(errPanic)
					}
				}
			}()
			closed(t, p)
		}
	})
	t.Run("never, by a Close without it", func(t *testing.T) {
		p := pinger(t, pair.Near, endless)
		if err := errors.Join(p.Close(), p.Close()); err != nil {
			t.Error(err)
		}
		closed(t, p)
		if s := p.Statistics(); s.Sent != 0 || s.Address != pair.FarIP {
			t.Errorf("%s", brief(&s))
		}
	})
	t.Run("at its deadline", func(t *testing.T) {
		p := pinger(t, pair.Near, Config{Targets: Hosts(pair.FarIP), Interval: time.Millisecond, Deadline: 30 * time.Millisecond})
		before := p.engine.now().mono // however long ago New was
		var last Event
		for ev, err := range p.Run(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if ev.Kind == Start {
				if began := p.engine.deadline - int64(p.cfg.Deadline); began < before || began > p.engine.now().mono {
					t.Errorf("the deadline counts from %d, not from the start of the run at %d", began, before)
				}
			}
			last = ev
		}
		if last.Kind != Summary || last.Statistics.Sent == 0 {
			t.Errorf("the last event is %+v", last)
		}
		closed(t, p)
	})
}

// closed checks that a Pinger holds nothing, and that it does not run again.
func closed(t testing.TB, p *Pinger) {
	t.Helper()
	if p.in.FD() >= 0 || p.out.FD() >= 0 {
		t.Errorf("descriptors %d and %d are open", p.in.FD(), p.out.FD())
	}
	var errs []error
	for _, err := range p.Run(t.Context()) {
		errs = append(errs, err)
	}
	if len(errs) != 1 || errs[0] == nil {
		t.Errorf("another run yields %v, want one error", errs)
	}
}

// TestRunStalled has a reader that stalls at the first event of a probe until
// the kernel's own count tells that probes leave all the same.
func TestRunStalled(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	peer := labtest.StartPeer(t, pair.Far, "eth0", "")
	p := pinger(t, pair.Near, Config{Targets: Hosts(pair.FarIP), Interval: time.Millisecond, Count: 200, Sent: true})
	stalled := false
	var last Event
	for ev, err := range p.Run(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Kind == Sent && !stalled {
			stalled = true
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			if err := peer.Wait(ctx, 200); err != nil {
				t.Fatal(err)
			}
			cancel()
		}
		last = ev
	}
	if s := last.Statistics; s.Sent != 200 || s.Received != 200 || s.Lost != 0 {
		t.Errorf("%s", brief(s))
	}
}
