//go:build linux

package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// Names and their order are for scripts: a line that changes here breaks some.
func TestJSON(t *testing.T) {
	without := started()
	without.Start.Decision.Neighbor = arp.Neighbor{Addr: far, State: 0x20, Took: time.Microsecond}
	without.Start.Filter, without.Start.FilterFallback = bpf.Classic, errors.New("loading eBPF: no")
	without.Start.Timestamps, without.Start.CookieBytes, without.Start.DataLen = l2.StampSched, 0, 0
	fromTable := started()
	fromTable.Start.Decision.Neighbor.How, fromTable.Start.Decision.Neighbor.State = arp.HowTable, 0x02
	marked := started()
	marked.Start.Joined, marked.Start.Mark = capture.JoinedUnicast, 5
	unmarked := started()
	unmarked.Start.Joined, unmarked.Start.Mark = capture.JoinedPromiscuous, 1<<32-1
	unmarked.Start.MarkRefused = os.NewSyscallError("setsockopt", unix.EPERM)
	broadcast := started()
	broadcast.Start.Decision.Neighbor = arp.Neighbor{Addr: far, MAC: frame.Broadcast}

	const uncounted = `"stamps_lost":0,"clock_steps":0,"skipped":0,"send_retries":0,"kernel_drops":0,"events_dropped":0`
	const moment = `"time":"2026-01-02T02:04:05.123456789Z"`
	for _, tt := range []struct {
		event *probe.Event
		want  string
	}{
		{started(), `{"event":"start",` + moment + `,"version":1,"address":"192.0.2.1","interface":"eth0","target":"far.example","source":"192.0.2.7","source_mac":"02:00:5e:00:53:07","next_hop":{"address":"192.0.2.1","mac":"02:00:5e:00:53:01","how":"arp","resolve_ns":412000},"mtu":1500,"id":4660,"size":56,"filter":"ebpf","timestamps":"driver","cookie_bytes":8}`},
		{without, `{"event":"start",` + moment + `,"version":1,"address":"192.0.2.1","interface":"eth0","target":"far.example","source":"192.0.2.7","source_mac":"02:00:5e:00:53:07","next_hop":{"address":"192.0.2.1","state":"failed","how":"none"},"mtu":1500,"id":4660,"size":0,"filter":"classic","filter_reason":"loading eBPF: no","timestamps":"sched","cookie_bytes":0}`},
		{fromTable, `{"event":"start",` + moment + `,"version":1,"address":"192.0.2.1","interface":"eth0","target":"far.example","source":"192.0.2.7","source_mac":"02:00:5e:00:53:07","next_hop":{"address":"192.0.2.1","mac":"02:00:5e:00:53:01","state":"reachable","how":"neighbor table","resolve_ns":412000},"mtu":1500,"id":4660,"size":56,"filter":"ebpf","timestamps":"driver","cookie_bytes":8}`},
		{broadcast, `{"event":"start",` + moment + `,"version":1,"address":"192.0.2.1","interface":"eth0","target":"far.example","source":"192.0.2.7","source_mac":"02:00:5e:00:53:07","next_hop":{"address":"192.0.2.1","mac":"ff:ff:ff:ff:ff:ff","how":"none"},"mtu":1500,"id":4660,"size":56,"filter":"ebpf","timestamps":"driver","cookie_bytes":8}`},
		{marked, `{"event":"start",` + moment + `,"version":1,"address":"192.0.2.1","interface":"eth0","target":"far.example","source":"192.0.2.7","source_mac":"02:00:5e:00:53:07","source_mac_heard":"unicast","mark":5,"next_hop":{"address":"192.0.2.1","mac":"02:00:5e:00:53:01","how":"arp","resolve_ns":412000},"mtu":1500,"id":4660,"size":56,"filter":"ebpf","timestamps":"driver","cookie_bytes":8}`},
		{unmarked, `{"event":"start",` + moment + `,"version":1,"address":"192.0.2.1","interface":"eth0","target":"far.example","source":"192.0.2.7","source_mac":"02:00:5e:00:53:07","source_mac_heard":"promiscuous","mark":4294967295,"mark_reason":"before Linux 5.17 needs CAP_NET_ADMIN","next_hop":{"address":"192.0.2.1","mac":"02:00:5e:00:53:01","how":"arp","resolve_ns":412000},"mtu":1500,"id":4660,"size":56,"filter":"ebpf","timestamps":"driver","cookie_bytes":8}`},
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
				KernelDrops: 12, EventsDropped: 13, SendRetries: 14, StampsLost: 15, ClockSteps: 16,
				RTT: rtts(1000, 1020, 1010, 1500, 1002), TimerError: times(7, 3, 9),
				Budget: probe.BudgetStatistics{Send: times(20, 10, 30), Queue: times(0), Wire: times(5), Receive: times(6, 8), NIC: times(4)},
				Stamps: [5]uint64{l2.StampUser: 1, l2.StampSched: 2, l2.StampDriver: 3, l2.StampHardware: 4},
			}),
			`{"event":"summary",` + moment + `,"address":"192.0.2.1","sent":9,"received":3,"lost":4,"late":2,"duplicates":5,"reordered":7,"errors":1,"late_errors":1,"corrupted":6,"rejected":8,"loss_ratio":0.625,"duration_ns":1500000,` +
				`"rtt_ns":{"min":1000,"mean":1106,"max":1500,"stddev":197,"p50":1010,"p90":1500,"p99":1500,"p999":1500,"p9999":1500},"jitter_ns":61,"pdv_ns":500,` +
				`"budget_ns":{"send":20,"queue":0,"wire":5,"receive":6,"nic":4},"stamps":{"hardware":4,"driver":3,"sched":2,"user":1},"stamps_lost":15,"clock_steps":16,` +
				`"timer_error_ns":{"p50":7,"p99":9},"skipped":11,"send_retries":14,"kernel_drops":12,"events_dropped":13}`,
		},
		// One reply has times, but varies from nothing; parts that nobody measured are absent.
		{
			ended(probe.Statistics{
				Sent: 1, Received: 1, RTT: rtts(11_000), Stamps: [5]uint64{l2.StampUser: 1},
				Budget: probe.BudgetStatistics{Receive: times(9000)},
			}),
			`{"event":"summary",` + moment + `,"address":"192.0.2.1","sent":1,"received":1,"lost":0,"late":0,"duplicates":0,"reordered":0,"errors":0,"late_errors":0,"corrupted":0,"loss_ratio":0,"duration_ns":0,` +
				`"rtt_ns":{"min":11000,"mean":11000,"max":11000,"stddev":0,"p50":11000,"p90":11000,"p99":11000,"p999":11000,"p9999":11000},` +
				`"budget_ns":{"receive":9000},"stamps":{"hardware":0,"driver":0,"sched":0,"user":1},` + uncounted + `}`,
		},
		// What nobody counted is absent, and 0 of what was counted is 0.
		{ended(probe.Statistics{}), `{"event":"summary",` + moment + `,"address":"192.0.2.1","sent":0,"received":0,"lost":0,"late":0,"duplicates":0,"reordered":0,"errors":0,"late_errors":0,"corrupted":0,"duration_ns":0,"stamps":{"hardware":0,"driver":0,"sched":0,"user":0},` + uncounted + `}`},
		{ended(probe.Statistics{Sent: 1, Pending: 1, RejectedInKernel: true}), `{"event":"summary",` + moment + `,"address":"192.0.2.1","sent":1,"received":0,"lost":0,"late":0,"duplicates":0,"reordered":0,"errors":0,"late_errors":0,"corrupted":0,"rejected":0,"duration_ns":0,"stamps":{"hardware":0,"driver":0,"sched":0,"user":0},` + uncounted + `}`},
	} {
		var out bytes.Buffer
		if err := NewJSON(&out, typed("far.example")).Event(tt.event); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != tt.want+"\n" {
			t.Errorf("is   %swant %s", got, tt.want)
		}
		if !json.Valid(out.Bytes()) {
			t.Errorf("is no JSON: %s", &out)
		}
	}
}

// Texts that are not ours stay within their quotes.
func TestJSONEscapes(t *testing.T) {
	const odd = "\"quoted\" \\ \n\x00\xff</b>"
	start := started()
	start.Start.Decision.Path.Interface.Name = odd
	start.Start.Filter, start.Start.FilterFallback = bpf.Classic, errors.New(odd)
	start.Address = netip.MustParseAddr("fe80::1").WithZone(odd)
	for _, e := range []*probe.Event{start, failed(1, probe.Failure{Local: errors.New(odd)})} {
		var out bytes.Buffer
		if err := NewJSON(&out, typed(odd)).Event(e); err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || bytes.IndexByte(out.Bytes(), '\n') != out.Len()-1 {
			t.Fatalf("%v: %s", err, &out)
		}
		want := strings.ToValidUTF8(odd, "\ufffd")
		for _, name := range []string{"interface", "target", "filter_reason", "message", "reason"} {
			if text, ok := got[name]; ok && text != want {
				t.Errorf("%s is %q, want %q", name, text, want)
			}
		}
	}
}
