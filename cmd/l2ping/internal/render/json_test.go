//go:build linux

package render

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// Names and their order are for scripts: a line that changes here breaks some.
func TestJSON(t *testing.T) {
	unknown := probe.Budget{Send: probe.Unknown, Queue: probe.Unknown, Wire: probe.Unknown, Receive: probe.Unknown}
	without := started()
	without.Start.Decision.Neighbor = arp.Neighbor{Addr: far, State: 0x20, Took: time.Microsecond}
	without.Start.Filter, without.Start.FilterFallback = bpf.Classic, errors.New("loading eBPF: no")
	without.Start.Timestamps, without.Start.CookieBytes, without.Start.DataLen = l2.StampSched, 0, 0
	fromTable := started()
	fromTable.Start.Decision.Neighbor.How, fromTable.Start.Decision.Neighbor.State = arp.HowTable, 0x02
	broadcast := started()
	broadcast.Start.Decision.Neighbor = arp.Neighbor{Addr: far, MAC: frame.Broadcast}

	const moment = `"time":"2026-01-02T02:04:05.123456789Z"`
	for _, tt := range []struct {
		event *probe.Event
		want  string
	}{
		{started(), `{"event":"start",` + moment + `,"version":1,"address":"192.0.2.1","interface":"eth0","target":"far.example","source":"192.0.2.7","source_mac":"02:00:5e:00:53:07","next_hop":{"address":"192.0.2.1","mac":"02:00:5e:00:53:01","how":"arp","resolve_ns":412000},"mtu":1500,"id":4660,"size":56,"filter":"ebpf","timestamps":"driver","cookie_bytes":8}`},
		{without, `{"event":"start",` + moment + `,"version":1,"address":"192.0.2.1","interface":"eth0","target":"far.example","source":"192.0.2.7","source_mac":"02:00:5e:00:53:07","next_hop":{"address":"192.0.2.1","state":"failed","how":"none"},"mtu":1500,"id":4660,"size":0,"filter":"classic","filter_reason":"loading eBPF: no","timestamps":"sched","cookie_bytes":0}`},
		{fromTable, `{"event":"start",` + moment + `,"version":1,"address":"192.0.2.1","interface":"eth0","target":"far.example","source":"192.0.2.7","source_mac":"02:00:5e:00:53:07","next_hop":{"address":"192.0.2.1","mac":"02:00:5e:00:53:01","state":"reachable","how":"neighbor table","resolve_ns":412000},"mtu":1500,"id":4660,"size":56,"filter":"ebpf","timestamps":"driver","cookie_bytes":8}`},
		{broadcast, `{"event":"start",` + moment + `,"version":1,"address":"192.0.2.1","interface":"eth0","target":"far.example","source":"192.0.2.7","source_mac":"02:00:5e:00:53:07","next_hop":{"address":"192.0.2.1","mac":"ff:ff:ff:ff:ff:ff","how":"none"},"mtu":1500,"id":4660,"size":56,"filter":"ebpf","timestamps":"driver","cookie_bytes":8}`},
		{&probe.Event{Kind: probe.Sent, Time: at, Address: far, Seq: 65537}, `{"event":"sent",` + moment + `,"address":"192.0.2.1","seq":65537}`},
		{&probe.Event{Kind: probe.Lost, Time: at, Address: far, Seq: 2}, `{"event":"lost",` + moment + `,"address":"192.0.2.1","seq":2}`},
		{replied(1), `{"event":"reply",` + moment + `,"address":"192.0.2.1","seq":1,"state":"replied","from":"192.0.2.1","from_mac":"02:00:5e:00:53:01","ttl":64,"tos":0,"bytes":64,"rtt_ns":11000,"rtt_source":"driver","budget":{"send_ns":6100,"queue_ns":2000,"wire_ns":11000,"receive_ns":9260}}`},
		{
			replied(1, func(r *probe.Reply) {
				r.State, r.RTTSource, r.Budget, r.TOS = probe.StateLate, l2.StampUser, unknown, 184
				r.Truncated = true
			}),
			`{"event":"reply",` + moment + `,"address":"192.0.2.1","seq":1,"state":"late","from":"192.0.2.1","from_mac":"02:00:5e:00:53:01","ttl":64,"tos":184,"bytes":64,"rtt_ns":11000,"rtt_source":"user","truncated":true}`,
		},
		{
			replied(1, func(r *probe.Reply) {
				r.State, r.Corrupted, r.Budget = probe.StateNone, true, unknown
				r.Budget.Send, r.Budget.Queue = 0, 5
				r.Mismatch = &probe.Mismatch{Offset: 0}
			}),
			`{"event":"reply",` + moment + `,"address":"192.0.2.1","seq":1,"from":"192.0.2.1","from_mac":"02:00:5e:00:53:01","ttl":64,"tos":0,"bytes":64,"rtt_ns":11000,"rtt_source":"driver","budget":{"send_ns":0,"queue_ns":5},"corrupted":true,"wrong_byte":0}`,
		},
		{replied(1, func(r *probe.Reply) { r.State = probe.StateDuplicate }), `{"event":"reply",` + moment + `,"address":"192.0.2.1","seq":1,"state":"duplicate","from":"192.0.2.1","from_mac":"02:00:5e:00:53:01","ttl":64,"tos":0,"bytes":64,"rtt_ns":11000,"rtt_source":"driver","budget":{"send_ns":6100,"queue_ns":2000,"wire_ns":11000,"receive_ns":9260}}`},
		{
			failed(3, probe.Failure{From: gateway, Type: frame.ICMPDestinationUnreachable, Code: 4, MTU: 1400}),
			`{"event":"error",` + moment + `,"address":"192.0.2.1","seq":3,"from":"192.0.2.254","icmp_type":3,"icmp_code":4,"message":"Frag needed and DF set (mtu = 1400)","mtu":1400}`,
		},
		{
			failed(3, probe.Failure{From: gateway, Type: frame.ICMPTimeExceeded, Late: true}),
			`{"event":"error",` + moment + `,"address":"192.0.2.1","seq":3,"from":"192.0.2.254","icmp_type":11,"icmp_code":0,"message":"Time to live exceeded","late":true}`,
		},
		{
			failed(3, probe.Failure{Local: fmt.Errorf("%w from 192.0.2.1 on eth0", probe.ErrNoNeighbor)}),
			`{"event":"error",` + moment + `,"address":"192.0.2.1","seq":3,"message":"Destination Host Unreachable","reason":"no ARP reply from 192.0.2.1 on eth0"}`,
		},
		{
			ended(probe.Statistics{
				Sent: 9, Received: 3, Lost: 4, Late: 2, Errors: 1, LateErrors: 1, Duplicates: 5, Corrupted: 6, Reordered: 7,
				Pending: 1, Rejected: 8, Duration: 1500 * time.Microsecond, MaxOutstanding: 4, Skipped: 11,
				KernelDrops: 12, EventsDropped: 13, RTT: probe.RTT{Count: 5, Min: 1, Max: 2},
				Stamps: [5]uint64{l2.StampUser: 1, l2.StampSched: 2, l2.StampDriver: 3},
			}),
			`{"event":"summary",` + moment + `,"address":"192.0.2.1","sent":9,"received":3,"lost":4,"late":2,"duplicates":5,"reordered":7,"errors":1,"late_errors":1,"corrupted":6,"rejected":8,"loss_ratio":0.625,"duration_ns":1500000,"rtt_ns":{"min":1,"mean":0,"max":2,"stddev":0},"stamps":{"driver":3,"sched":2,"user":1},"skipped":11,"kernel_drops":12,"events_dropped":13}`,
		},
		// What nobody counted is absent, and 0 of what was counted is 0.
		{ended(probe.Statistics{}), `{"event":"summary",` + moment + `,"address":"192.0.2.1","sent":0,"received":0,"lost":0,"late":0,"duplicates":0,"reordered":0,"errors":0,"late_errors":0,"corrupted":0,"duration_ns":0,"stamps":{"driver":0,"sched":0,"user":0},"skipped":0,"kernel_drops":0,"events_dropped":0}`},
		{ended(probe.Statistics{Sent: 1, Pending: 1, RejectedInKernel: true}), `{"event":"summary",` + moment + `,"address":"192.0.2.1","sent":1,"received":0,"lost":0,"late":0,"duplicates":0,"reordered":0,"errors":0,"late_errors":0,"corrupted":0,"rejected":0,"duration_ns":0,"stamps":{"driver":0,"sched":0,"user":0},"skipped":0,"kernel_drops":0,"events_dropped":0}`},
	} {
		var out bytes.Buffer
		if err := NewJSON(&out, "far.example").Event(tt.event); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != tt.want+"\n" {
			t.Errorf("is   %swant %s", got, tt.want)
		}
	}
}
