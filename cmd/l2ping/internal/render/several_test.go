//go:build linux

package render

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// of makes an event one of another target.
func of(a netip.Addr, e *probe.Event) *probe.Event {
	e.Address = a
	switch e.Kind {
	case probe.Start:
		e.Start.Decision.Path.Destination = a
	case probe.Replied:
		e.Reply.From = a
	case probe.Summary:
		e.Statistics.Address = a
	}
	return e
}

// overAll is the last summary of a run with several targets.
func overAll(s probe.Statistics) *probe.Event {
	return &probe.Event{Kind: probe.Summary, Time: at, Statistics: &s}
}

// Of several hosts each has a header, lines that say whose they are, and a
// summary; one over all of them comes last.
func TestSeveral(t *testing.T) {
	names := func(a netip.Addr) string {
		if a == six {
			return "six.example"
		}
		return a.String()
	}
	start6 := of(six, started())
	start6.Start.Decision.Path.Source = netip.MustParseAddr("2001:db8::7")
	unreachable := probe.Failure{From: gateway, Type: frame.ICMPDestinationUnreachable, Code: 1}
	one := probe.Statistics{Sent: 2, Received: 1, Lost: 1, RTT: rtts(11_000)}
	events := []*probe.Event{
		started(), replied(1), start6, of(six, replied(1)),
		failed(2, unreachable),
		of(six, failed(2, probe.Failure{Local: errors.New("eth0: no carrier")})),
		failed(3, probe.Failure{Local: fmt.Errorf("%w from 192.0.2.1 on eth0", probe.ErrNoNeighbor)}),
		ended(one), of(six, ended(one)),
		overAll(probe.Statistics{Targets: 3, Answered: 2, Sent: 4, Received: 2, Lost: 2, RTT: rtts(11_000, 11_000)}),
	}
	const block = `2 packets transmitted, 1 received, 50% packet loss, time 0ms
rtt min/avg/max/mdev = 0.011/0.011/0.011/0.000 ms
`
	const last = `
--- 3 hosts (2 answered) ping statistics ---
4 packets transmitted, 2 received, 50% packet loss, time 0ms
rtt min/avg/max/mdev = 0.011/0.011/0.011/0.000 ms
`
	for _, tt := range []struct {
		name           string
		opts           TextOptions
		stdout, stderr string
	}{
		{
			"plain", TextOptions{Numeric: true}, header + `64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=0.011 ms
PING six.example(2001:db8::1) from 2001:db8::7 eth0: 56 data bytes
64 bytes from 2001:db8::1: icmp_seq=1 ttl=64 time=0.011 ms
From 192.0.2.254 icmp_seq=2 Destination Host Unreachable for 192.0.2.1
From 192.0.2.7 icmp_seq=3 Destination Host Unreachable for 192.0.2.1

--- 192.0.2.1 ping statistics ---
` + block + `
--- six.example ping statistics ---
` + block + last,
			"l2ping: icmp_seq=2 to 2001:db8::1: eth0: no carrier\n",
		},
		{
			// As fping -q, and the names in a column of their own.
			"quiet", TextOptions{Quiet: true, Pattern: []byte{1}}, `192.0.2.1   : xmt/rcv/%loss = 2/1/50%, min/avg/max = 0.011/0.011/0.011
six.example : xmt/rcv/%loss = 2/1/50%, min/avg/max = 0.011/0.011/0.011
` + last, "",
		},
	} {
		tt.opts.Several, tt.opts.Target = 3, names
		stdout, stderr := print(t, tt.opts, events...)
		if stdout != tt.stdout || stderr != tt.stderr {
			t.Errorf("%s: is\n%s%s\nwant\n%s%s", tt.name, stdout, stderr, tt.stdout, tt.stderr)
		}
	}
	// What all have in common is told once.
	stdout, _ := print(t, TextOptions{Several: 2, Verbose: true, Numeric: true, Pattern: []byte{1}}, started(), of(gateway, started()))
	if strings.Count(stdout, "\nfilter ebpf, ") != 1 || strings.Count(stdout, "PATTERN") != 1 || strings.Count(stdout, "via ") != 2 {
		t.Error(stdout)
	}
}

func TestBrief(t *testing.T) {
	for _, tt := range []struct {
		s    probe.Statistics
		want string
	}{
		{probe.Statistics{}, "xmt/rcv/%loss = 0/0/0%\n"},
		{probe.Statistics{Sent: 3, Lost: 3}, "xmt/rcv/%loss = 3/0/100%\n"},
		{probe.Statistics{Sent: 3, Received: 1, Late: 1, RTT: rtts(1000, 3_234_567)}, "xmt/rcv/%loss = 3/2/33%, min/avg/max = 0.001/1.618/3.235\n"},
	} {
		got := lines(t, TextOptions{Several: 2, Numeric: true}, ended(tt.s))
		if !strings.Contains(got, "--- 192.0.2.1 ping statistics ---") {
			t.Errorf("%s", got)
		}
		got, _ = print(t, TextOptions{Several: 2, Quiet: true}, ended(tt.s))
		if want := "192.0.2.1 : " + tt.want; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What the -v lines say of frames that are not as the interface's own.
func TestVerboseOurs(t *testing.T) {
	bridge := &l2.Interface{Index: 9, Name: "br0", MAC: farMAC, Kind: "bridge"}
	tagged := frame.VLAN{Type: frame.EtherTypeVLAN, TCI: 3<<13 | 100}
	for _, tt := range []struct {
		change func(*probe.Started)
		want   string
	}{
		{func(*probe.Started) {}, ""},
		{func(s *probe.Started) { s.SourceMAC = farMAC }, "frames from 02:00:5e:00:53:01\n"},
		{
			func(s *probe.Started) { s.SourceMAC, s.Joined = farMAC, capture.JoinedUnicast },
			"frames from 02:00:5e:00:53:01, which eth0 listens for too\n",
		},
		{
			func(s *probe.Started) { s.SourceMAC, s.Joined = farMAC, capture.JoinedPromiscuous },
			"frames from 02:00:5e:00:53:01, for which eth0 listens to everything (promiscuous)\n",
		},
		{func(s *probe.Started) { s.Mark = 5 }, "mark 0x5\n"},
		{
			func(s *probe.Started) { s.Mark, s.MarkRefused = 5, os.NewSyscallError("setsockopt", unix.EPERM) },
			"mark 0x5 for routing alone, not on the frames (before Linux 5.17 needs CAP_NET_ADMIN)\n",
		},
		{
			func(s *probe.Started) { s.VLANs = []frame.VLAN{{Type: frame.EtherTypeQinQ, TCI: 200}, tagged} },
			"vlan 200,100.3; l2ping answers for 192.0.2.7 there\n",
		},
		{ // a priority alone: the kernel answers
			func(s *probe.Started) { s.VLANs = []frame.VLAN{{Type: frame.EtherTypeVLAN, TCI: 5 << 13}} },
			"vlan 0.5\n",
		},
		{
			func(s *probe.Started) { s.Decision.Path.ForeignSource = true },
			"192.0.2.7 is not this host's own: l2ping answers for it\n",
		},
		{
			func(s *probe.Started) { s.Decision.Path.Owner, s.SourceMAC = bridge, farMAC },
			"eth0 is a part of br0, whose address and MAC these are\n",
		},
		{
			func(s *probe.Started) { s.Decision.Path.Asked = &l2.Interface{Name: "vrf0", Kind: "vrf"} },
			"eth0 is the member of vrf0 that its route names\n",
		},
		{ // where nobody asks, nobody has to answer
			func(s *probe.Started) { s.Decision.Path.Interface.NoLink, s.Decision.Path.ForeignSource = true, true },
			"",
		},
	} {
		e := started()
		tt.change(e.Start)
		got, _ := print(t, TextOptions{Verbose: true}, e)
		_, got, _ = strings.Cut(got, " ms\n")
		if got, _, _ = strings.Cut(got, "filter "); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

// A target that has no path begins too; its probes say why they fail.
func TestNoPath(t *testing.T) {
	e := started()
	e.Start.Decision = arp.Decision{Path: &l2.Path{Interface: path().Interface, Owner: path().Interface, Destination: far, MTU: 1500}}
	got, _ := print(t, TextOptions{Verbose: true}, e)
	if want := "filter ebpf, stamps driver\nPING 192.0.2.1 (192.0.2.1) 56(84) bytes of data.\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A link-local address is told with its link, as ping does; in JSON with the zone
// that was asked for.
func TestZones(t *testing.T) {
	link := netip.MustParseAddr("fe80::1")
	start := of(link.WithZone("eth0"), started())
	start.Start.Decision.Path.Source = netip.MustParseAddr("fe80::7")
	from := func(a, reply netip.Addr) *probe.Event {
		e := of(a, replied(1))
		e.Reply.From = reply
		return e
	}
	got, _ := print(t, TextOptions{}, start, from(link.WithZone("eth0"), link))
	want := "PING fe80::1%eth0(fe80::1%eth0) from fe80::7%eth0 eth0: 56 data bytes\n" +
		"64 bytes from fe80::1%eth0: icmp_seq=1 ttl=64 time=0.011 ms\n"
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	for _, tt := range []struct {
		event *probe.Event
		want  string
	}{
		{from(link.WithZone("eth0"), link), `"from":"fe80::1%eth0"`},
		{from(link, link), `"from":"fe80::1"`},
		{from(link.WithZone("eth0"), six), `"from":"2001:db8::1"`},
		{of(link.WithZone("eth0"), failed(1, probe.Failure{From: link, Type: frame.ICMPv6TimeExceeded})), `"from":"fe80::1%eth0"`},
	} {
		var out strings.Builder
		if err := NewJSON(&out, netip.Addr.String).Event(tt.event); err != nil || !strings.Contains(out.String(), tt.want) {
			t.Errorf("%v: %s, want %s", err, &out, tt.want)
		}
	}
}

// A change is told on standard error, unless all is quiet.
func TestChange(t *testing.T) {
	other := path()
	other.NextHop, other.OnLink, other.MTU = gateway, false, 1400
	anew, bridged := path(), path()
	anew.Interface.Index++
	bridged.Owner = &l2.Interface{Index: 9, Name: "br0", MAC: farMAC, Kind: "bridge"}
	for _, tt := range []struct {
		c    probe.Change
		want string
	}{
		{
			probe.Change{
				Kind: probe.ChangedNeighbor, OldMAC: nearMAC,
				Neighbor: arp.Neighbor{Addr: gateway, MAC: farMAC, How: arp.HowTable, State: reachable},
			},
			"192.0.2.254 has moved from 02:00:5e:00:53:07 to 02:00:5e:00:53:01 (neighbor table)",
		},
		{
			probe.Change{Kind: probe.ChangedPath, Old: path(), New: other},
			"192.0.2.1: the path has changed: via 192.0.2.254 from 192.0.2.7, mtu 1400, was on the link from 192.0.2.7, mtu 1500",
		},
		{
			probe.Change{Kind: probe.ChangedPath, Old: path(), Err: errors.New("no route to 192.0.2.1 by eth0")},
			"192.0.2.1: the path is gone: no route to 192.0.2.1 by eth0",
		},
		{
			probe.Change{Kind: probe.ChangedPath, New: path()},
			"192.0.2.1: there is a path again, on the link from 192.0.2.7, mtu 1500",
		},
		{
			probe.Change{Kind: probe.ChangedPath, Old: path(), New: anew},
			"192.0.2.1: eth0 was made anew",
		},
		{
			probe.Change{Kind: probe.ChangedPath, Old: path(), New: bridged},
			"192.0.2.1: the path has changed: frames from 02:00:5e:00:53:01 by eth0, a part of br0, was frames from 02:00:5e:00:53:07 by eth0",
		},
	} {
		e := &probe.Event{Kind: probe.Changed, Time: at, Address: far, Change: &tt.c}
		stdout, stderr := print(t, TextOptions{}, e)
		if stderr != "l2ping: "+tt.want+"\n" || stdout != "" {
			t.Errorf("%q, %q\nwant %q", stdout, stderr, tt.want)
		}
		if stdout, stderr := print(t, TextOptions{Quiet: true}, e); stdout+stderr != "" {
			t.Errorf("quiet: %q, %q", stdout, stderr)
		}
	}
}

// The names of what has come since, in the order that they are printed.
func TestJSONOfLinks(t *testing.T) {
	bridged := of(six, started())
	s := bridged.Start
	s.Decision.Path.Owner = &l2.Interface{Index: 9, Name: "br0", MAC: farMAC, Kind: "bridge"}
	s.SourceMAC = farMAC
	s.VLANs = []frame.VLAN{{Type: frame.EtherTypeQinQ, TCI: 200}, {Type: frame.EtherTypeVLAN, TCI: 3<<13 | 100}}
	tun := started()
	tun.Start.Decision.Path.Interface.NoLink, tun.Start.SourceMAC = true, frame.MAC{}
	tun.Start.Decision.Neighbor = arp.Neighbor{Addr: far, Unneeded: true}
	nowhere := started()
	nowhere.Start.Decision = arp.Decision{Path: &l2.Path{Interface: path().Interface, Owner: path().Interface, MTU: 1500}}
	nowhere.Start.SourceMAC = frame.MAC{}
	other := replied(1)
	other.Reply.OtherMember, other.Reply.FromMAC = true, frame.MAC{}
	move := probe.Change{
		Kind: probe.ChangedNeighbor, OldMAC: nearMAC,
		Neighbor: arp.Neighbor{Addr: gateway, MAC: farMAC, How: arp.HowTable, State: reachable},
	}
	sum := overAll(probe.Statistics{Targets: 3, Answered: 2, Sent: 2, MoreReplies: 5, OtherMember: 4, Conflicts: 1, Pending: 2})

	const moment = `"time":"2026-01-02T02:04:05.123456789Z"`
	for _, tt := range []struct {
		event *probe.Event
		want  string
	}{
		{bridged, `{"event":"start",` + moment + `,"version":1,"address":"2001:db8::1","interface":"eth0","owner":"br0","target":"2001:db8::1","source":"192.0.2.7","source_mac":"02:00:5e:00:53:01","vlan":200,"inner_vlan":100,"inner_vlan_priority":3,"next_hop":`},
		{tun, `"target":"192.0.2.1","source":"192.0.2.7","next_hop":{"address":"192.0.2.1","how":"none"},"mtu":1500,`},
		{nowhere, `"target":"192.0.2.1","mtu":1500,`},
		{other, `"from":"192.0.2.1","ttl":64,`},
		{other, `,"other_member":true}`},
		{sum, `{"event":"summary",` + moment + `,"targets":3,"answered":2,"sent":2,`},
		{sum, `"duplicates":0,"more_replies":5,"other_member":4,"conflicts":1,"reordered":0,`},
		{
			&probe.Event{Kind: probe.Changed, Time: at, Address: far, Change: &move},
			`{"event":"change",` + moment + `,"address":"192.0.2.1","what":"neighbor","next_hop":"192.0.2.254","mac":"02:00:5e:00:53:01","old_mac":"02:00:5e:00:53:07"}` + "\n",
		},
		{
			&probe.Event{Kind: probe.Changed, Time: at, Address: far, Change: &probe.Change{Kind: probe.ChangedPath, New: path()}},
			`{"event":"change",` + moment + `,"address":"192.0.2.1","what":"path","source":"192.0.2.7","next_hop":"192.0.2.1","mtu":1500}` + "\n",
		},
		{
			&probe.Event{Kind: probe.Changed, Time: at, Address: far, Change: &probe.Change{Kind: probe.ChangedPath, Err: errors.New("none")}},
			`{"event":"change",` + moment + `,"address":"192.0.2.1","what":"path","reason":"none"}` + "\n",
		},
		{
			&probe.Event{Kind: probe.Conflicted, Time: at, Address: far, Conflict: &probe.Conflict{MACs: []frame.MAC{nearMAC, farMAC}}},
			`{"event":"conflict",` + moment + `,"address":"192.0.2.1","macs":["02:00:5e:00:53:07","02:00:5e:00:53:01"]}` + "\n",
		},
		{
			of(six, failed(3, probe.Failure{From: six, Type: frame.ICMPv6PacketTooBig, MTU: 1280})),
			`"icmp_type":2,"icmp_code":0,"message":"Packet too big: mtu=1280","mtu":1280}`,
		},
		{
			of(six, failed(3, probe.Failure{Local: fmt.Errorf("%w from 2001:db8::1 on eth0", probe.ErrNoNeighbor)})),
			`"seq":3,"message":"Destination unreachable: Address unreachable","reason":`,
		},
		{
			&probe.Event{Kind: probe.Replied, Time: at, Address: far, Seq: 1, Reply: probe.Reply{
				State: probe.StateReplied, From: far, FromMAC: farMAC, RTT: time.Microsecond, RTTSource: l2.StampDriver, Budget: unknown,
				Answer: &probe.NeighborAnswer{Broadcast: true, Router: true, Override: true, AlsoFor: gateway},
			}},
			`"from_mac":"02:00:5e:00:53:01","broadcast":true,"router":true,"override":true,"also_for":"192.0.2.254","rtt_ns":1000,"rtt_source":"driver"}`,
		},
	} {
		var out strings.Builder
		if err := NewJSON(&out, netip.Addr.String).Event(tt.event); err != nil || !strings.Contains(out.String(), tt.want) {
			t.Errorf("%v: %s, want %s", err, &out, tt.want)
		}
	}
}

// The words of RFC 4443's errors are those of iputils (ping6_common.c,
// print_icmp).
func TestMessage6(t *testing.T) {
	for _, tt := range []struct {
		f    probe.Failure
		want string
	}{
		{probe.Failure{Type: 1, Code: 0}, "Destination unreachable: No route"},
		{probe.Failure{Type: 1, Code: 1}, "Destination unreachable: Administratively prohibited"},
		{probe.Failure{Type: 1, Code: 2}, "Destination unreachable: Beyond scope of source address"},
		{probe.Failure{Type: 1, Code: 3}, "Destination unreachable: Address unreachable"},
		{probe.Failure{Type: 1, Code: 4}, "Destination unreachable: Port unreachable"},
		{probe.Failure{Type: 1, Code: 5}, "Destination unreachable: Source address failed ingress/egress policy"},
		{probe.Failure{Type: 1, Code: 6}, "Destination unreachable: Reject route to destination"},
		{probe.Failure{Type: 1, Code: 7}, "Destination unreachable: Unknown code 7"},
		{probe.Failure{Type: 1, Code: 255}, "Destination unreachable: Unknown code 255"},
		{probe.Failure{Type: 2, MTU: 1280}, "Packet too big: mtu=1280"},
		{probe.Failure{Type: 2, Code: 1, MTU: 4294967295}, "Packet too big: mtu=4294967295, code=1"},
		{probe.Failure{Type: 3, Code: 0}, "Time exceeded: Hop limit"},
		{probe.Failure{Type: 3, Code: 1}, "Time exceeded: Defragmentation failure"},
		{probe.Failure{Type: 3, Code: 2}, "Time exceeded: code 2"},
		{probe.Failure{Type: 4, Code: 0, Pointer: 6}, "Parameter problem: Wrong header field at 6"},
		{probe.Failure{Type: 4, Code: 1, Pointer: 40}, "Parameter problem: Unknown header at 40"},
		{probe.Failure{Type: 4, Code: 2, Pointer: 42}, "Parameter problem: Unknown option at 42"},
		{probe.Failure{Type: 4, Code: 3, Pointer: 42}, "Parameter problem: code 3 at 42"},
		{probe.Failure{Type: 100}, "Bad ICMP type: 100"},
		{probe.Failure{Local: fmt.Errorf("%w from 2001:db8::1 on eth0", probe.ErrNoNeighbor)}, "Destination unreachable: Address unreachable"},
	} {
		if tt.f.Local == nil {
			tt.f.From = gateway6
		}
		if got := message(&probe.Event{Address: six, Failure: tt.f}); got != tt.want {
			t.Errorf("type %d, code %d: %q, want %q", tt.f.Type, tt.f.Code, got, tt.want)
		}
	}
}
