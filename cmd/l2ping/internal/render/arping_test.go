//go:build linux

package render

import (
	"bufio"
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

var (
	second   = netip.MustParseAddr("192.0.2.2")
	otherMAC = frame.MAC{0x02, 0, 0x5e, 0, 0x53, 0xaf}
)

// asks is the start of asking for an address.
func asks(mode probe.NeighborMode, change ...func(*probe.Started)) *probe.Event {
	p := path()
	e := started()
	e.Start.Neighbor = &probe.Neighbor{Mode: mode}
	e.Start.Decision = arp.Decision{Path: p, Neighbor: arp.Neighbor{Addr: far, MAC: frame.Broadcast}}
	for _, f := range change {
		f(e.Start)
	}
	return e
}

// answered is an answer to request n.
func answered(n uint64, change ...func(*probe.Reply)) *probe.Event {
	r := probe.Reply{
		State: probe.StateReplied, From: far, FromMAC: otherMAC, RTT: 688 * time.Microsecond, RTTSource: l2.StampDriver,
		Budget: unknown, Answer: &probe.NeighborAnswer{},
	}
	for _, f := range change {
		f(&r)
	}
	return &probe.Event{Kind: probe.Replied, Time: at, Address: r.From, Seq: n, Reply: r}
}

// claimed is an answer that somebody gives to whom he likes.
func claimed(a probe.NeighborAnswer, change ...func(*probe.Reply)) *probe.Event {
	return answered(1, append([]func(*probe.Reply){func(r *probe.Reply) { r.Answer = &a }}, change...)...)
}

func totals(s probe.Statistics) *probe.Event {
	return &probe.Event{Kind: probe.Summary, Time: at, Address: s.Address, Statistics: &s}
}

func TestArping(t *testing.T) {
	advertised := func(r *probe.Reply) {
		r.From = six
		r.Answer = &probe.NeighborAnswer{Advertisement: true, Router: true, Solicited: true, Override: true}
	}
	conflict := &probe.Event{Kind: probe.Conflicted, Time: at, Address: far, Conflict: &probe.Conflict{MACs: []frame.MAC{farMAC, otherMAC}}}
	down := &probe.Event{Kind: probe.Failed, Time: at, Address: far, Seq: 3, Failure: probe.Failure{Local: errors.New("eth0: interface is down")}}
	lost := &probe.Event{Kind: probe.Lost, Time: at, Address: far, Seq: 2}
	gone := &probe.Event{Kind: probe.Changed, Time: at, Address: far, Change: &probe.Change{Kind: probe.ChangedPath, Old: path(), Err: l2.ErrNoAddress}}
	duplicate := func(r *probe.Reply) { r.State = probe.StateDuplicate }
	broadcast := func(r *probe.Reply) { r.Answer = &probe.NeighborAnswer{Broadcast: true} }
	also := func(r *probe.Reply) { r.Answer = &probe.NeighborAnswer{AlsoFor: second} }
	of := func(a netip.Addr, change ...func(*probe.Reply)) []func(*probe.Reply) {
		return append([]func(*probe.Reply){func(r *probe.Reply) { r.From = a }}, change...)
	}

	for _, tt := range []struct {
		name           string
		opts           ArpingOptions
		events         []*probe.Event
		stdout, stderr string
	}{
		{
			name: "replies", opts: ArpingOptions{Several: 1},
			events: []*probe.Event{asks(probe.NeighborAsk), answered(1), answered(2, broadcast), totals(probe.Statistics{
				Address: far, Sent: 2, Received: 2, Broadcasts: 1, BroadcastReplies: 1,
			})},
			stdout: `ARPING 192.0.2.1 from 192.0.2.7 eth0
Unicast reply from 192.0.2.1 [02:00:5E:00:53:AF]  0.688ms
Broadcast reply from 192.0.2.1 [02:00:5E:00:53:AF]  0.688ms
Sent 2 probes (1 broadcast(s))
Received 2 response(s) (1 broadcast(s))
`,
		},
		{
			name: "times", opts: ArpingOptions{Several: 1},
			events: []*probe.Event{
				answered(1, func(r *probe.Reply) { r.RTT = 0 }),
				answered(2, func(r *probe.Reply) { r.RTT = 11499 * time.Nanosecond }),
				answered(3, func(r *probe.Reply) { r.RTT = 12345678 * time.Nanosecond; r.ClockStepped = true }),
				answered(4, func(r *probe.Reply) { r.RTT = 2 * time.Second }),
			},
			stdout: `Unicast reply from 192.0.2.1 [02:00:5E:00:53:AF]  0.000ms
Unicast reply from 192.0.2.1 [02:00:5E:00:53:AF]  0.011ms
Unicast reply from 192.0.2.1 [02:00:5E:00:53:AF]  12.346ms (clock step)
Unicast reply from 192.0.2.1 [02:00:5E:00:53:AF]  2000.000ms
`,
		},
		{
			name: "nobody, an error, no path", opts: ArpingOptions{Several: 1},
			events: []*probe.Event{asks(probe.NeighborAsk), lost, down, gone, totals(probe.Statistics{Address: far, Sent: 3, Errors: 1, Lost: 2, Broadcasts: 2})},
			stdout: `ARPING 192.0.2.1 from 192.0.2.7 eth0
Sent 2 probes (2 broadcast(s))
Received 0 response(s)
`,
			stderr: `l2ping: request 3: eth0: interface is down
l2ping: 192.0.2.1: the path is gone: no address
`,
		},
		{
			name: "what another program asked for", opts: ArpingOptions{Several: 1},
			events: []*probe.Event{answered(1), answered(1, duplicate), totals(probe.Statistics{Address: far, Sent: 1, Received: 1, Duplicates: 1, Broadcasts: 1})},
			stdout: `Unicast reply from 192.0.2.1 [02:00:5E:00:53:AF]  0.688ms
Sent 1 probes (1 broadcast(s))
Received 1 response(s)
`,
		},
		{
			name: "conflict", opts: ArpingOptions{Several: 1},
			events: []*probe.Event{answered(1, func(r *probe.Reply) { r.FromMAC = farMAC }), conflict, answered(1), totals(probe.Statistics{
				Address: far, Sent: 1, Received: 1, MoreReplies: 1, Conflicts: 1, Broadcasts: 1,
			})},
			stdout: `Unicast reply from 192.0.2.1 [02:00:5E:00:53:01]  0.688ms
Unicast reply from 192.0.2.1 [02:00:5E:00:53:AF]  0.688ms
Sent 1 probes (1 broadcast(s))
Received 2 response(s)
`,
			stderr: "l2ping: address conflict: 192.0.2.1 is at 02:00:5e:00:53:01 and at 02:00:5e:00:53:af\n",
		},
		{
			name: "quiet", opts: ArpingOptions{Several: 1, Quiet: true, Verbose: true},
			events: []*probe.Event{asks(probe.NeighborAsk), answered(1), lost, down, gone, conflict, totals(probe.Statistics{Address: far, Sent: 1, Received: 1})},
			stderr: "l2ping: address conflict: 192.0.2.1 is at 02:00:5e:00:53:01 and at 02:00:5e:00:53:af\n",
		},
		{
			name: "IPv6", opts: ArpingOptions{Several: 1},
			events: []*probe.Event{
				asks(probe.NeighborAsk, func(s *probe.Started) { s.Decision.Path.Source = gateway6 }),
				answered(1, advertised),
				answered(2, func(r *probe.Reply) {
					r.From = six
					r.Answer = &probe.NeighborAnswer{Advertisement: true, Broadcast: true}
				}),
			},
			stdout: `ARPING 192.0.2.1 from 2001:db8::fe eth0
Unicast reply from 2001:db8::1 [02:00:5E:00:53:AF]  0.688ms (router solicited override)
Broadcast reply from 2001:db8::1 [02:00:5E:00:53:AF]  0.688ms
`,
		},
		{
			name: "one more address in the neighbor table", opts: ArpingOptions{Several: 1},
			events: []*probe.Event{answered(1, also), answered(2, also)},
			stdout: `Unicast reply from 192.0.2.1 [02:00:5E:00:53:AF]  0.688ms (also 192.0.2.2: one host, or proxy ARP)
Unicast reply from 192.0.2.1 [02:00:5E:00:53:AF]  0.688ms
`,
		},
		{
			name: "claims", opts: ArpingOptions{Several: 1, Verbose: true},
			events: []*probe.Event{
				claimed(probe.NeighborAnswer{Claim: probe.ClaimReply}),
				claimed(probe.NeighborAnswer{Claim: probe.ClaimReply, For: second}),
				claimed(probe.NeighborAnswer{Claim: probe.ClaimReply, ForMAC: &farMAC}),
				claimed(probe.NeighborAnswer{Claim: probe.ClaimRequest, Request: true, Broadcast: true, For: second, ForMAC: &frame.MAC{}}),
				claimed(probe.NeighborAnswer{Claim: probe.ClaimAnnouncement, Broadcast: true, For: far, ForMAC: &frame.Broadcast}),
				claimed(probe.NeighborAnswer{Claim: probe.ClaimProbe, Request: true, Broadcast: true, For: far, ForMAC: &frame.MAC{}, AlsoFor: second}, func(r *probe.Reply) {
					r.From = netip.IPv4Unspecified()
				}),
				claimed(probe.NeighborAnswer{Claim: probe.ClaimProbe, Request: true, Broadcast: true, For: six}, func(r *probe.Reply) {
					r.From, r.State = netip.IPv6Unspecified(), probe.StateDuplicate
				}),
				totals(probe.Statistics{Address: far, Sent: 1, Received: 1, Broadcasts: 1, RequestReplies: 1, BroadcastReplies: 2}),
				totals(probe.Statistics{Address: far, Sent: 1, Received: 1, Broadcasts: 1, RequestReplies: 1}),
			},
			stdout: `Unicast reply from 192.0.2.1 [02:00:5E:00:53:AF]  0.688ms
Unicast reply from 192.0.2.1 [02:00:5E:00:53:AF] for 192.0.2.2  0.688ms
Unicast reply from 192.0.2.1 [02:00:5E:00:53:AF] for [02:00:5E:00:53:01] 0.688ms
Broadcast request from 192.0.2.1 [02:00:5E:00:53:AF] for 192.0.2.2 [00:00:00:00:00:00] 0.688ms
Broadcast reply from 192.0.2.1 [02:00:5E:00:53:AF] for 192.0.2.1 [FF:FF:FF:FF:FF:FF] 0.688ms
Broadcast request from 0.0.0.0 [02:00:5E:00:53:AF] for 192.0.2.1 [00:00:00:00:00:00] 0.688ms (address probe)
Broadcast request from :: [02:00:5E:00:53:AF] for 2001:db8::1  0.688ms (address probe) (duplicate)
Sent 1 probes (1 broadcast(s))
Received 1 response(s) (1 request(s), 2 broadcast(s))
Sent 1 probes (1 broadcast(s))
Received 1 response(s) (1 request(s))
`,
		},
		{
			// Who looks whether two addresses are free has neither.
			name: "claims of several", opts: ArpingOptions{Several: 2},
			events: []*probe.Event{
				claimed(probe.NeighborAnswer{Claim: probe.ClaimProbe, Request: true, For: far}),
				claimed(probe.NeighborAnswer{Claim: probe.ClaimProbe, Request: true, For: second}, func(r *probe.Reply) { r.From = second }),
				totals(probe.Statistics{Sent: 2, Received: 2, RequestReplies: 2, Targets: 2, Answered: 2}),
			},
			stdout: `Unicast request from 192.0.2.1 [02:00:5E:00:53:AF] for 192.0.2.1  0.688ms (address probe)
Unicast request from 192.0.2.2 [02:00:5E:00:53:AF] for 192.0.2.2  0.688ms (address probe)
Sent 2 probes (0 broadcast(s))
Received 2 response(s) (2 request(s))
2 hosts, 2 answered
`,
		},
		{
			name: "several", opts: ArpingOptions{Several: 3},
			events: []*probe.Event{
				asks(probe.NeighborAsk), asks(probe.NeighborAsk), answered(1, of(second)...), answered(1, of(far, also)...),
				answered(2, of(gateway, func(r *probe.Reply) { r.FromMAC = farMAC })...), down,
				totals(probe.Statistics{Address: far, Sent: 2, Received: 2}), totals(probe.Statistics{Address: second, Sent: 2, Lost: 2}),
				totals(probe.Statistics{Sent: 6, Received: 4, Lost: 2, Broadcasts: 4, Targets: 3, Answered: 3}),
			},
			stdout: `ARPING 3 hosts from 192.0.2.7 eth0
Unicast reply from 192.0.2.2 [02:00:5E:00:53:AF]  0.688ms
Unicast reply from 192.0.2.1 [02:00:5E:00:53:AF]  0.688ms (also 192.0.2.2)
Unicast reply from 192.0.2.254 [02:00:5E:00:53:01]  0.688ms
Sent 6 probes (4 broadcast(s))
Received 4 response(s)
3 hosts, 3 answered
[02:00:5E:00:53:AF] has 2 of them: one host, or proxy ARP
`,
			stderr: "l2ping: 192.0.2.1: request 3: eth0: interface is down\n",
		},
		{
			name: "several, verbose", opts: ArpingOptions{Several: 2, Verbose: true},
			events: []*probe.Event{
				lost, totals(probe.Statistics{Address: far, Sent: 2, Lost: 2}), totals(probe.Statistics{Address: second, Sent: 2, Received: 1}),
				totals(probe.Statistics{Address: gateway, Sent: 2, Pending: 2}),
				totals(probe.Statistics{Sent: 4, Received: 1, Targets: 2, Answered: 1}),
			},
			stdout: `No answer to request 2 from 192.0.2.1
No answer from 192.0.2.1
Sent 4 probes (0 broadcast(s))
Received 1 response(s)
2 hosts, 1 answered
`,
		},
		{
			name: "verbose", opts: ArpingOptions{Several: 1, Verbose: true},
			events: []*probe.Event{
				asks(probe.NeighborDetect, func(s *probe.Started) {
					s.Decision.Path.Source = netip.IPv4Unspecified()
					s.VLANs = []frame.VLAN{{TCI: 3<<13 | 200}, {TCI: 100}}
					owner := *s.Decision.Path.Interface
					owner.Index, owner.Name = 9, "br0"
					s.Decision.Path.Owner = &owner
				}), answered(1, duplicate), lost,
			},
			stdout: `from 02:00:5e:00:53:07 to ff:ff:ff:ff:ff:ff (everybody), vlan 200.3,100, as a part of br0
filter ebpf, stamps driver
ARPING 192.0.2.1 from 0.0.0.0 eth0
Unicast reply from 192.0.2.1 [02:00:5E:00:53:AF]  0.688ms (duplicate)
No answer to request 2
`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			a := NewArping(&stdout, &stderr, tt.opts)
			for _, e := range tt.events {
				if err := a.Event(e); err != nil {
					t.Fatal(err)
				}
			}
			if stdout.String() != tt.stdout || stderr.String() != tt.stderr {
				t.Errorf("printed\n%s\nand\n%s\nwant\n%s\nand\n%s", &stdout, &stderr, tt.stdout, tt.stderr)
			}
		})
	}
}

func TestArpingEverybody(t *testing.T) {
	for mac, want := range map[frame.MAC]string{
		frame.Broadcast:                  "everybody",
		{0x33, 0x33, 0, 0, 0, 1}:         "all nodes",
		{0x33, 0x33, 0xff, 0, 0, 1}:      "the solicited-node group",
		{0x02, 0, 0x5e, 0, 0x53, 0x0001}: "as asked",
	} {
		if got := everybody(mac); got != want {
			t.Errorf("%s: %s, want %s", mac, got, want)
		}
	}
}

// What was printed before an alarm is there before it, wherever the two go.
func TestArpingOrder(t *testing.T) {
	var both bytes.Buffer
	a := NewArping(bufio.NewWriter(&both), &both, ArpingOptions{Several: 1})
	for _, e := range []*probe.Event{
		answered(1),
		{Kind: probe.Conflicted, Address: far, Conflict: &probe.Conflict{MACs: []frame.MAC{farMAC, otherMAC}}},
	} {
		if err := a.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(both.String(), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "Unicast reply") || !strings.HasPrefix(lines[1], "l2ping: address conflict") {
		t.Errorf("%q", lines)
	}
}

// failing takes nothing.
type failing struct{}

var errFull = errors.New("full")

func (failing) Write([]byte) (int, error) { return 0, errFull }

func TestArpingWriteError(t *testing.T) {
	full := bufio.NewWriterSize(failing{}, 16)
	_, _ = full.WriteString("held back")
	for _, a := range []*Arping{
		NewArping(failing{}, failing{}, ArpingOptions{Several: 1}),
		NewArping(full, &bytes.Buffer{}, ArpingOptions{Several: 1}),
	} {
		conflict := &probe.Event{Kind: probe.Conflicted, Address: far, Conflict: &probe.Conflict{MACs: []frame.MAC{farMAC, otherMAC}}}
		if err := a.Event(conflict); !errors.Is(err, errFull) {
			t.Errorf("conflict: %v", err)
		}
		if err := a.Event(answered(1)); !errors.Is(err, errFull) {
			t.Errorf("reply: %v", err)
		}
	}
}

// The JSON of asking lacks what makes an echo.
func TestArpingJSON(t *testing.T) {
	const moment = `"time":"2026-01-02T02:04:05.123456789Z"`
	for _, tt := range []struct {
		event *probe.Event
		want  string
	}{
		{
			asks(probe.NeighborDetect, func(s *probe.Started) { s.Decision.Path.Source = netip.IPv4Unspecified() }),
			`{"event":"start",` + moment + `,"version":1,"address":"192.0.2.1","interface":"eth0","target":"far.example","source":"0.0.0.0","source_mac":"02:00:5e:00:53:07","next_hop":{"address":"192.0.2.1","mac":"ff:ff:ff:ff:ff:ff","how":"none"},"mtu":1500,"asks":"detect","filter":"ebpf","timestamps":"driver"}`,
		},
		{
			answered(3, func(r *probe.Reply) {
				r.Answer = &probe.NeighborAnswer{Broadcast: true, Router: true, Solicited: true, Override: true, AlsoFor: second}
			}),
			`{"event":"reply",` + moment + `,"address":"192.0.2.1","seq":3,"state":"replied","from":"192.0.2.1","from_mac":"02:00:5e:00:53:af","broadcast":true,"router":true,"solicited":true,"override":true,"also_for":"192.0.2.2","rtt_ns":688000,"rtt_source":"driver"}`,
		},
		{
			claimed(probe.NeighborAnswer{Claim: probe.ClaimRequest, Request: true, Broadcast: true, For: second, ForMAC: &frame.MAC{}}),
			`{"event":"reply",` + moment + `,"address":"192.0.2.1","seq":1,"state":"replied","from":"192.0.2.1","from_mac":"02:00:5e:00:53:af","claim":"request","for":"192.0.2.2","broadcast":true,"rtt_ns":688000,"rtt_source":"driver"}`,
		},
		{
			totals(probe.Statistics{Address: far, Sent: 2, Received: 1, Lost: 1, Broadcasts: 2, BroadcastReplies: 1, RequestReplies: 1}),
			`"broadcast_replies":1,"request_replies":1,"reordered":0,`,
		},
		{
			&probe.Event{Kind: probe.Conflicted, Time: at, Address: far, Conflict: &probe.Conflict{MACs: []frame.MAC{farMAC, otherMAC}}},
			`{"event":"conflict",` + moment + `,"address":"192.0.2.1","macs":["02:00:5e:00:53:01","02:00:5e:00:53:af"]}`,
		},
		{
			totals(probe.Statistics{Address: far, Sent: 2, Received: 1, Lost: 1, MoreReplies: 2, Conflicts: 1, Broadcasts: 2, BroadcastReplies: 1}),
			`"duplicates":0,"more_replies":2,"conflicts":1,"broadcasts":2,"broadcast_replies":1,"reordered":0,`,
		},
	} {
		var out bytes.Buffer
		if err := NewJSON(&out, typed("far.example")).Event(tt.event); err != nil {
			t.Fatal(err)
		}
		got := strings.TrimSuffix(out.String(), "\n")
		if got != tt.want && !(tt.want[0] != '{' && strings.Contains(got, tt.want)) {
			t.Errorf("got\n%s\nwant\n%s", got, tt.want)
		}
	}
}

func TestSearch(t *testing.T) {
	for _, tt := range []struct {
		json bool
		want []string
	}{
		{false, []string{
			"ARPING 02:00:5e:00:53:01 from 02:00:5e:00:53:07 eth0",
			"192.0.2.1  arp 0.688ms",
			"2001:db8::1  ndp 0.688ms (as 02:00:5e:00:53:af) (router)",
			"192.0.2.2  neighbor table, stale; no answer",
			"Sent 300 probes (0 broadcast(s))",
			"Found 3 addresses",
			"Sent 1 probes (0 broadcast(s))",
			"Found 1 address",
			"Sent 2 probes (0 broadcast(s))",
			"Found 2 addresses",
			"It has every address that it was asked for: one host, or proxy ARP",
		}},
		{true, []string{
			`{"event":"start","time":"T","version":1,"mac":"02:00:5e:00:53:01","interface":"eth0","source_mac":"02:00:5e:00:53:07","filter":"ebpf","timestamps":"driver"}`,
			`{"event":"found","time":"T","mac":"02:00:5e:00:53:01","address":"192.0.2.1","how":"arp","rtt_ns":688000,"rtt_source":"driver"}`,
			`{"event":"found","time":"T","mac":"02:00:5e:00:53:01","address":"2001:db8::1","how":"ndp","from_mac":"02:00:5e:00:53:af","rtt_ns":688000,"rtt_source":"driver","router":true}`,
			`{"event":"found","time":"T","mac":"02:00:5e:00:53:01","address":"192.0.2.2","how":"neighbor table","state":"stale"}`,
			`{"event":"summary","time":"T","mac":"02:00:5e:00:53:01","sent":300,"found":3,"duration_ns":1000000000}`,
			`{"event":"summary","time":"T","mac":"02:00:5e:00:53:01","sent":1,"found":1,"duration_ns":1000000000}`,
			`{"event":"summary","time":"T","mac":"02:00:5e:00:53:01","sent":2,"found":2,"duration_ns":1000000000}`,
		}},
	} {
		var out bytes.Buffer
		s := NewSearch(&out, farMAC, tt.json)
		for _, err := range []error{
			s.Start(at, started().Start),
			s.Found(at, &Found{Addr: far, How: "arp", RTT: 688 * time.Microsecond, RTTSource: "driver"}),
			s.Found(at, &Found{Addr: six, How: "ndp", RTT: 688 * time.Microsecond, RTTSource: "driver", From: otherMAC, Router: true}),
			s.Found(at, &Found{Addr: second, How: "neighbor table", State: "stale"}),
			s.End(at, 300, 3, time.Second, false),
			s.End(at, 1, 1, time.Second, false),
			s.End(at, 2, 2, time.Second, true),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		text := strings.ReplaceAll(out.String(), "2026-01-02T02:04:05.123456789Z", "T")
		if got := strings.Split(strings.TrimSuffix(text, "\n"), "\n"); !slices.Equal(got, tt.want) {
			t.Errorf("got\n%s\nwant\n%s", text, strings.Join(tt.want, "\n"))
		}
	}
	for _, json := range []bool{false, true} {
		s := NewSearch(failing{}, farMAC, json)
		if err := s.End(at, 1, 1, 0, true); !errors.Is(err, errFull) {
			t.Errorf("%v", err)
		}
	}
}
