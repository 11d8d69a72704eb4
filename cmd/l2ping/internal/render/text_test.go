//go:build linux

package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// print renders events and returns what comes on the two outputs.
func print(t *testing.T, opts TextOptions, events ...*probe.Event) (stdout, stderr string) {
	t.Helper()
	if opts.Target == nil {
		opts.Target = netip.Addr.String
	}
	var out, err bytes.Buffer
	r := NewText(&out, &err, opts)
	for _, e := range events {
		if err := r.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	return out.String(), err.String()
}

const header = "PING 192.0.2.1 (192.0.2.1) from 192.0.2.7 eth0: 56(84) bytes of data.\n"

// lines renders events behind a start event, which it leaves out.
func lines(t *testing.T, opts TextOptions, events ...*probe.Event) string {
	t.Helper()
	stdout, stderr := print(t, opts, append([]*probe.Event{started()}, events...)...)
	if stderr != "" {
		t.Errorf("standard error: %q", stderr)
	}
	_, rest, ok := strings.Cut(stdout, "bytes of data.\n")
	if !ok {
		t.Fatalf("no header in %q", stdout)
	}
	return rest
}

// The borders are those of iputils ping_common.c, gather_statistics: the more
// digits before the point the fewer behind it, and rounding may add one.
func TestRoundTrip(t *testing.T) {
	for _, tt := range []struct {
		rtt  time.Duration
		want string
	}{
		{0, "0.000"},
		{499 * time.Nanosecond, "0.000"},
		{500 * time.Nanosecond, "0.001"},
		{11 * time.Microsecond, "0.011"},
		{999 * time.Microsecond, "0.999"},
		{999499 * time.Nanosecond, "0.999"},
		{999500 * time.Nanosecond, "1.00"},
		{1000 * time.Microsecond, "1.00"},
		{1004 * time.Microsecond, "1.00"},
		{1005 * time.Microsecond, "1.01"},
		{9994 * time.Microsecond, "9.99"},
		{9995 * time.Microsecond, "10.0"},
		{10049 * time.Microsecond, "10.0"},
		{10050 * time.Microsecond, "10.1"},
		{99949 * time.Microsecond, "99.9"},
		{99950 * time.Microsecond, "100"},
		{100499 * time.Microsecond, "100"},
		{100500 * time.Microsecond, "101"},
		{61 * time.Second, "61000"},
	} {
		if got := string(appendRoundTrip(nil, tt.rtt)); got != tt.want {
			t.Errorf("%v: %s ms, want %s", tt.rtt, got, tt.want)
		}
	}
}

func TestHeader(t *testing.T) {
	with := func(change func(*probe.Started)) *probe.Event {
		e := started()
		change(e.Start)
		return e
	}
	for _, tt := range []struct {
		name  string
		opts  TextOptions
		event *probe.Event
		want  string
	}{
		{"plain", TextOptions{}, started(), header},
		{"quiet", TextOptions{Quiet: true, Pattern: []byte{0xff}}, started(), header},
		{"name", TextOptions{Target: typed("far.example")}, started(), strings.Replace(header, "192.0.2.1", "far.example", 1)},
		{"pattern", TextOptions{Pattern: []byte{0xa, 0xbc}}, started(), "PATTERN: 0x0abc\n" + header},
		{
			"no data", TextOptions{}, with(func(s *probe.Started) { s.DataLen, s.CookieBytes = 0, 0 }),
			strings.Replace(header, "56(84)", "0(28)", 1),
		},
		{
			"verbose", TextOptions{Verbose: true}, started(),
			"via 192.0.2.1 02:00:5e:00:53:01 (arp; not in the neighbor table)\n" +
				"source 192.0.2.7, route 192.0.2.0/24, mtu 1500, next hop resolved in 0.412 ms\n" +
				"filter ebpf, stamps driver\n" + header,
		},
		{
			"verbose, little to be had", TextOptions{Verbose: true}, with(func(s *probe.Started) {
				s.Filter, s.FilterFallback = bpf.Classic, errors.New("loading eBPF: no")
				s.TimestampsWhy = errors.New("the driver stamps no departures")
				s.Timestamps, s.CountedIDs = l2.StampSched, true
				s.CookieBytes = 4
				s.Decision.Neighbor = arp.Neighbor{Addr: far}
				s.Decision.Path.Table = 42
			}),
			"via 192.0.2.1 (no ARP reply)\n" +
				"source 192.0.2.7, route 192.0.2.0/24 (table 42), mtu 1500\n" +
				"filter classic (loading eBPF: no), stamps sched (the driver stamps no departures; matched by count: this kernel has no SCM_TS_OPT_ID)\n" +
				"cookie of 4 bytes: the data hold no more, and forged replies are easier\n" + header,
		},
		{
			"verbose, as asked for", TextOptions{Verbose: true}, with(func(s *probe.Started) {
				s.Filter, s.Timestamps = bpf.Classic, l2.StampUser
				s.Decision.Neighbor = arp.Neighbor{Addr: far, MAC: farMAC, How: arp.HowTable, State: 0x02, Took: 31 * time.Microsecond}
			}),
			"via 192.0.2.1 02:00:5e:00:53:01 (neighbor table, reachable)\n" +
				"source 192.0.2.7, route 192.0.2.0/24, mtu 1500, next hop resolved in 0.031 ms\n" +
				"filter classic, stamps user\n" + header,
		},
	} {
		if got, stderr := print(t, tt.opts, tt.event); got != tt.want || stderr != "" {
			t.Errorf("%s:\n%s%s\nwant\n%s", tt.name, got, stderr, tt.want)
		}
	}
}

func TestReplies(t *testing.T) {
	data := make([]byte, 40)
	for i := range data {
		data[i] = byte(i)
	}
	for _, tt := range []struct {
		name   string
		opts   TextOptions
		change func(*probe.Reply)
		want   string
	}{
		{"plain", TextOptions{}, nil, "64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=0.011 ms\n"},
		{"quiet", TextOptions{Quiet: true}, nil, ""},
		{"verbose", TextOptions{Verbose: true}, nil, "64 bytes from 192.0.2.1: icmp_seq=1 ident=4660 ttl=64 time=0.011 ms\n"},
		{"time of day", TextOptions{PrintTime: true}, nil, "[1767319445.123456] 64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=0.011 ms\n"},
		{
			"duplicate", TextOptions{}, func(r *probe.Reply) { r.State = probe.StateDuplicate },
			"64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=0.011 ms (DUP!)\n",
		},
		{
			"late and reordered are plain in ping", TextOptions{}, func(r *probe.Reply) { r.State = probe.StateLate },
			"64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=0.011 ms\n",
		},
		{
			"budget", TextOptions{Budget: true}, nil,
			"64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=0.011 ms (send 6.1 queue 2.0 wire 11.0 receive 9.3 us)\n",
		},
		{
			"budget with the NIC's part, of a duplicate", TextOptions{Budget: true},
			func(r *probe.Reply) { r.State, r.Budget.NIC = probe.StateDuplicate, 1249 },
			"64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=0.011 ms (send 6.1 queue 2.0 nic 1.2 wire 11.0 receive 9.3 us) (DUP!)\n",
		},
		{
			"parts of a budget", TextOptions{Budget: true},
			func(r *probe.Reply) { r.Budget.Send, r.Budget.Wire, r.Budget.Receive = probe.Unknown, probe.Unknown, 0 },
			"64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=0.011 ms (queue 2.0 receive 0.0 us)\n",
		},
		{
			"no budget to be had", TextOptions{Budget: true}, func(r *probe.Reply) { r.Budget = unknown },
			"64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=0.011 ms\n",
		},
		{
			"truncated", TextOptions{}, func(r *probe.Reply) { r.Truncated, r.Bytes = true, 28 },
			"28 bytes from 192.0.2.1: icmp_seq=1 ttl=64 (truncated)\n",
		},
		{
			"corrupted", TextOptions{},
			func(r *probe.Reply) {
				r.State, r.Corrupted = probe.StateNone, true
				r.Mismatch = &probe.Mismatch{Offset: 33, Sent: 0x21, Got: 0xde, Data: data}
			},
			"64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=0.011 ms (BAD CHECKSUM!)\n" +
				"wrong data byte #33 should be 0x21 but was 0xde\n" +
				"#0\t0 1 2 3 4 5 6 7 8 9 a b c d e f 10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f \n" +
				"#32\t20 21 22 23 24 25 26 27 \n",
		},
	} {
		e := replied(1)
		if tt.change != nil {
			tt.change(&e.Reply)
		}
		if got := lines(t, tt.opts, e); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
	// ping's sequence number is that on the wire.
	if got := lines(t, TextOptions{}, replied(65536+7)); !strings.Contains(got, " icmp_seq=7 ") {
		t.Error(got)
	}
}

func TestOutstanding(t *testing.T) {
	sent := func(seq uint64) *probe.Event { return &probe.Event{Kind: probe.Sent, Time: at, Address: far, Seq: seq} }
	late := func(r *probe.Reply) { r.State = probe.StateLate }
	opts := TextOptions{Outstanding: true}
	for _, tt := range []struct {
		name   string
		opts   TextOptions
		events []*probe.Event
		want   string
	}{
		{"all answered", opts, []*probe.Event{sent(1), replied(1), sent(2), replied(2), sent(3)}, ""},
		{"first lost", opts, []*probe.Event{sent(1), sent(2)}, "no answer yet for icmp_seq=1\n"},
		{"not asked", TextOptions{}, []*probe.Event{sent(1), sent(2)}, ""},
		{"quiet", TextOptions{Outstanding: true, Quiet: true}, []*probe.Event{sent(1), sent(2)}, ""},
		{
			"time of day", TextOptions{Outstanding: true, PrintTime: true}, []*probe.Event{sent(1), sent(2)},
			"[1767319445.123456] no answer yet for icmp_seq=1\n",
		},
		{"late, but there", opts, []*probe.Event{sent(1), replied(1, late), sent(2)}, ""},
		{"past the wrap", opts, []*probe.Event{sent(65537), sent(65538)}, "no answer yet for icmp_seq=0\nno answer yet for icmp_seq=1\n"},
	} {
		var got strings.Builder
		for line := range strings.Lines(lines(t, tt.opts, tt.events...)) {
			if strings.Contains(line, "no answer") {
				got.WriteString(line)
			}
		}
		if got.String() != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got.String(), tt.want)
		}
	}
}

func TestFailures(t *testing.T) {
	unreachable := probe.Failure{From: gateway, Type: frame.ICMPDestinationUnreachable, Code: 1}
	redirect := probe.Failure{From: gateway, Type: frame.ICMPRedirect, Code: 1, Gateway: far, Notice: true}
	noReply := probe.Failure{Local: fmt.Errorf("%w from 192.0.2.1 on eth0", probe.ErrNoNeighbor)}
	down := probe.Failure{Local: errors.New("eth0: interface is down")}
	for _, tt := range []struct {
		name   string
		opts   TextOptions
		f      probe.Failure
		stdout string
		stderr string
	}{
		{"network", TextOptions{}, unreachable, "From 192.0.2.254 icmp_seq=65535 Destination Host Unreachable\n", ""},
		{"quiet", TextOptions{Quiet: true}, unreachable, "", ""},
		{"time of day", TextOptions{PrintTime: true}, unreachable, "[1767319445.123456] From 192.0.2.254 icmp_seq=65535 Destination Host Unreachable\n", ""},
		{"redirect", TextOptions{}, redirect, "From 192.0.2.254: icmp_seq=65535 Redirect Host(New nexthop: 192.0.2.1)\n", ""},
		{"no neighbor", TextOptions{}, noReply, "From 192.0.2.7 icmp_seq=65535 Destination Host Unreachable\n", ""},
		{
			"no neighbor, verbose", TextOptions{Verbose: true}, noReply,
			"From 192.0.2.7 icmp_seq=65535 Destination Host Unreachable (no ARP reply from 192.0.2.1 on eth0)\n", "",
		},
		{"this host", TextOptions{}, down, "", "l2ping: icmp_seq=65535: eth0: interface is down\n"},
		{"this host, quiet", TextOptions{Quiet: true}, down, "", ""},
	} {
		stdout, stderr := print(t, tt.opts, started(), failed(65535, tt.f))
		_, stdout, _ = strings.Cut(stdout, header)
		if stdout != tt.stdout || stderr != tt.stderr {
			t.Errorf("%s: %q, %q; want %q, %q", tt.name, stdout, stderr, tt.stdout, tt.stderr)
		}
	}
}

func TestSummary(t *testing.T) {
	rtt := rtts(9500, 123456789)
	const rttLine = "rtt min/avg/max/mdev = 0.010/61.733/123.457/61.724 ms"
	for _, tt := range []struct {
		name string
		s    probe.Statistics
		want string // behind the first line
	}{
		{"nothing sent", probe.Statistics{}, "0 packets transmitted, 0 received\n\n"},
		{
			"all", probe.Statistics{Sent: 2, Received: 2, RTT: rtt, Duration: 1001499 * time.Microsecond},
			"2 packets transmitted, 2 received, 0% packet loss, time 1001ms\n" + rttLine + "\n",
		},
		{
			"none", probe.Statistics{Sent: 3, Lost: 3, Duration: 1001500 * time.Microsecond},
			"3 packets transmitted, 0 received, 100% packet loss, time 1002ms\n\n",
		},
		{
			"none, and many at once", probe.Statistics{Sent: 3, Errors: 3, MaxOutstanding: 3},
			"3 packets transmitted, 0 received, +3 errors, 100% packet loss, time 0ms\npipe 3\n",
		},
		{
			"all kinds", probe.Statistics{
				Sent: 9, Received: 3, Lost: 4, Late: 2, Errors: 1, LateErrors: 1, Duplicates: 5, Corrupted: 6,
				Reordered: 1, Pending: 1, RTT: rtt, MaxOutstanding: 4,
			},
			"9 packets transmitted, 5 received, +5 duplicates, +6 corrupted, +2 errors, +2 late, 44.4444% packet loss, time 0ms\n" +
				rttLine + ", pipe 4\n",
		},
		{
			"one at a time is no pipe", probe.Statistics{Sent: 1, Received: 1, RTT: rtt, MaxOutstanding: 1},
			"1 packets transmitted, 1 received, 0% packet loss, time 0ms\n" + rttLine + "\n",
		},
	} {
		want := "\n--- 192.0.2.1 ping statistics ---\n" + tt.want
		if got := lines(t, TextOptions{}, ended(tt.s)); got != want {
			t.Errorf("%s: %s\nwant%s", tt.name, got, want)
		}
	}
}

// What ping does not have stands behind what it has.
func TestSummaryGoesOn(t *testing.T) {
	stamps := func(hardware, driver, sched, user uint64) (s [l2.StampHardware + 1]uint64) {
		s[l2.StampHardware], s[l2.StampDriver], s[l2.StampSched], s[l2.StampUser] = hardware, driver, sched, user
		return s
	}
	whole := probe.BudgetStatistics{
		Send: times(6000, 6100, 90_000), Queue: times(1700, 2000, 2100), Wire: times(1), Receive: times(9300, 9000, 9600),
	}
	withNIC := whole
	withNIC.NIC = times(1200)
	for _, tt := range []struct {
		name string
		opts TextOptions
		s    probe.Statistics
		want string // behind the times
	}{
		{"driver stamps", TextOptions{}, probe.Statistics{Budget: whole, Stamps: stamps(0, 3, 0, 0)}, ", host send/queue/receive 0.006/0.002/0.009 ms, driver stamps"},
		{"hardware stamps", TextOptions{}, probe.Statistics{Budget: withNIC, Stamps: stamps(3, 0, 0, 0)}, ", host send/queue/nic/receive 0.006/0.002/0.001/0.009 ms, hardware stamps"},
		{
			"sched stamps", TextOptions{}, probe.Statistics{
				Budget: probe.BudgetStatistics{Send: whole.Send, Receive: whole.Receive}, Stamps: stamps(0, 0, 3, 0),
			}, ", host send/receive 0.006/0.009 ms, sched stamps",
		},
		{"user stamps", TextOptions{}, probe.Statistics{Stamps: stamps(0, 0, 0, 3)}, ", user stamps"},
		{"not all the same", TextOptions{}, probe.Statistics{Stamps: stamps(0, 98, 0, 2)}, ", stamps driver 98 user 2"},
		{"four kinds", TextOptions{}, probe.Statistics{Stamps: stamps(4, 3, 2, 1)}, ", stamps hardware 4 driver 3 sched 2 user 1"},
		{
			"behind all of ping's", TextOptions{Flood: true},
			probe.Statistics{MaxOutstanding: 2, Budget: whole, Stamps: stamps(0, 3, 0, 0)},
			", pipe 2, ipg/ewma 0.500/0.011 ms, host send/queue/receive 0.006/0.002/0.009 ms, driver stamps",
		},
		{"adaptive", TextOptions{Adaptive: true}, probe.Statistics{}, ", ipg/ewma 0.500/0.011 ms"},
		{"one probe has no interval", TextOptions{Adaptive: true}, probe.Statistics{Sent: 1}, ""},
	} {
		if tt.s.Sent == 0 {
			tt.s.Sent = 3
		}
		tt.s.Received, tt.s.Duration, tt.s.RTT = tt.s.Sent, time.Millisecond, rtts(11_000, 11_000, 12_000)
		got := lines(t, tt.opts, ended(tt.s))
		_, got, _ = strings.Cut(got, "\nrtt min/avg/max/mdev = 0.011/0.011/0.012/0.000 ms")
		if got != tt.want+"\n" {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	// Without replies there is none of it.
	got := lines(t, TextOptions{Flood: true}, ended(probe.Statistics{Sent: 3, Lost: 3, MaxOutstanding: 2}))
	if !strings.HasSuffix(got, "\npipe 2\n") {
		t.Errorf("%q", got)
	}
}

// What reads ping's last line in the field reads ours, whatever it ends with.
func TestFieldParsers(t *testing.T) {
	s := probe.Statistics{
		Sent: 3, Received: 3, MaxOutstanding: 2, RTT: rtts(11_000, 12_000, 13_000),
		Budget: probe.BudgetStatistics{Send: times(1), Queue: times(2), NIC: times(3), Receive: times(4)},
		Stamps: [l2.StampHardware + 1]uint64{l2.StampHardware: 2, l2.StampUser: 1},
	}
	text := lines(t, TextOptions{Adaptive: true, Budget: true}, replied(1), ended(s))
	want := []string{"0.011", "0.012", "0.013", "0.001"}
	all := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	last := all[len(all)-1]
	// Telegraf (plugins/inputs/ping): the fourth word; and no other line has its
	// marks.
	if got := strings.Split(strings.Split(last, " ")[3], "/"); !slices.Equal(got, want) {
		t.Errorf("Telegraf reads %q in %q", got, last)
	}
	for _, line := range all {
		if line != last && strings.Contains(line, "min/avg/max") || strings.Contains(last, "transmitted") || strings.Contains(last, "received") {
			t.Errorf("Telegraf takes %q for another", line)
		}
	}
	// pingparsing: the words in turn, right behind the line of the counts.
	if m := regexp.MustCompile(`^rtt min/avg/max/mdev =\s*([0-9.]+)/([0-9.]+)/([0-9.]+)/([0-9.]+)\s*ms`).FindStringSubmatch(last); m == nil || !slices.Equal(m[1:], want) {
		t.Errorf("pingparsing reads %q in %q", m, last)
	}
	if !strings.HasPrefix(all[len(all)-2], "3 packets transmitted, 3 received,") {
		t.Errorf("pingparsing reads %q", all[len(all)-2])
	}
	// check_ping: by sscanf.
	var least, mean, most, deviation float64
	if n, err := fmt.Sscanf(last, "rtt min/avg/max/mdev = %f/%f/%f/%f ms", &least, &mean, &most, &deviation); n != 4 || mean != 0.012 {
		t.Errorf("check_ping reads %d numbers in %q: %v", n, last, err)
	}
	// Replies: a time, its unit, and whatever.
	if m := regexp.MustCompile(`icmp_seq=(\d+) ttl=(\d+) time=([0-9.]+) ms`).FindStringSubmatch(text); m == nil || m[3] != "0.011" {
		t.Errorf("%q in %q", m, text)
	}
}

// A dot leaves for each probe, and goes with its reply (iputils ping_common.c).
func TestFlood(t *testing.T) {
	sent := func(seq uint64) *probe.Event { return &probe.Event{Kind: probe.Sent, Time: at, Address: far, Seq: seq} }
	corrupted := func(r *probe.Reply) { r.State, r.Corrupted = probe.StateNone, true }
	again := func(r *probe.Reply) { r.State = probe.StateDuplicate }
	unreachable := failed(1, probe.Failure{From: gateway, Type: frame.ICMPDestinationUnreachable, Code: 1})
	redirect := failed(1, probe.Failure{From: gateway, Type: frame.ICMPRedirect, Notice: true})
	down := failed(1, probe.Failure{Local: errors.New("eth0: interface is down")})
	lost := &probe.Event{Kind: probe.Lost, Time: at, Address: far, Seq: 1}
	for _, tt := range []struct {
		name   string
		opts   TextOptions
		events []*probe.Event
		want   string
	}{
		{"answered", TextOptions{}, []*probe.Event{sent(1), replied(1), sent(2), replied(2)}, ".\b \b.\b \b"},
		{"lost", TextOptions{}, []*probe.Event{sent(1), lost, sent(2), replied(2)}, "..\b \b"},
		{"duplicate", TextOptions{}, []*probe.Event{sent(1), replied(1), replied(1, again)}, ".\b \b\b \b"},
		{"corrupted", TextOptions{}, []*probe.Event{sent(1), replied(1, corrupted)}, ".\bC"},
		{"error", TextOptions{}, []*probe.Event{sent(1), unreachable}, ".\bE"},
		{"error on this host", TextOptions{}, []*probe.Event{sent(1), down}, ".\bE"},
		{"redirect", TextOptions{}, []*probe.Event{sent(1), redirect, replied(1)}, ".\b \b"},
		{"quiet", TextOptions{Quiet: true}, []*probe.Event{sent(1), replied(1), sent(2), unreachable, replied(2, corrupted)}, ""},
		{"no more than the screen holds", TextOptions{Columns: 2}, []*probe.Event{sent(1), sent(2), sent(3), replied(3), sent(4), sent(5)}, "..\b \b."},
		{"verbose and dated", TextOptions{Verbose: true, PrintTime: true, Budget: true}, []*probe.Event{sent(1), replied(1)}, ".\b \b"},
		{"outstanding", TextOptions{Outstanding: true}, []*probe.Event{sent(1), sent(2), replied(2)}, ".no answer yet for icmp_seq=1\n.\b \b"},
	} {
		tt.opts.Flood = true
		if got := lines(t, tt.opts, tt.events...); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	sent, reply := &probe.Event{Kind: probe.Sent, Time: at, Address: far, Seq: 65537}, replied(65537)
	for name, r := range map[string]interface{ Event(*probe.Event) error }{
		"text":  NewText(io.Discard, io.Discard, TextOptions{Target: netip.Addr.String, Verbose: true, Budget: true}),
		"flood": NewText(io.Discard, io.Discard, TextOptions{Target: netip.Addr.String, Flood: true}),
		"JSON":  NewJSON(io.Discard, netip.Addr.String),
	} {
		if err := r.Event(started()); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() {
			if err := errors.Join(r.Event(sent), r.Event(reply)); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: a probe and its reply allocate %v times", name, n)
		}
	}
}

// Loss is printed as C's %g prints a float.
func TestLoss(t *testing.T) {
	for _, tt := range []struct {
		sent, received uint64
		want           string
	}{
		{1, 1, "0%"},
		{1, 0, "100%"},
		{2, 1, "50%"},
		{3, 2, "33.3333%"},
		{3, 1, "66.6667%"},
		{7, 6, "14.2857%"},
		{1000, 999, "0.1%"},
		{1000, 1, "99.9%"},
		{30000, 29999, "0.00333333%"},
		{1000000, 1, "99.9999%"},
		{10000000, 1, "100%"},
		{10000000, 9999999, "1e-05%"},
		{300000000, 299999999, "3.33333e-07%"},
	} {
		got := lines(t, TextOptions{}, ended(probe.Statistics{Sent: tt.sent, Received: tt.received}))
		if !strings.Contains(got, " received, "+tt.want+" packet loss, ") {
			t.Errorf("%d of %d: %s, want %s", tt.received, tt.sent, got, tt.want)
		}
	}
}

func TestStatus(t *testing.T) {
	rtt := rtts(10_000, 1_234_567)
	for _, tt := range []struct {
		s    probe.Statistics
		want string
	}{
		{probe.Statistics{}, "\r0/0 packets, 0% loss\n"},
		{probe.Statistics{Sent: 1, Pending: 1}, "\r0/1 packets, 100% loss\n"},
		{probe.Statistics{Sent: 3, Received: 1, Late: 1, RTT: rtt}, "\r2/3 packets, 33% loss, min/avg/ewma/max = 0.010/0.622/0.163/1.235 ms\n"},
	} {
		if got := Status(&tt.s); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

// broken is a writer that fails.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestWriterFails(t *testing.T) {
	if err := NewText(broken{}, broken{}, TextOptions{Target: netip.Addr.String}).Event(started()); err == nil {
		t.Error("text: no error")
	}
	if err := NewJSON(broken{}, netip.Addr.String).Event(started()); err == nil {
		t.Error("JSON: no error")
	}
}
