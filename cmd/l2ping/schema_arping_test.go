//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2/frame"
)

// arpingSchema is what `l2ping arping HOST` writes: the ping's, as far as it has a
// meaning there, and more.
var arpingSchema = pingSchema.without(map[string][]string{
	"start":  {"id!", "size!", "cookie_bytes!"},
	"reply":  {"from_mac", "ttl!", "tos!", "bytes!", "corrupted", "truncated", "wrong_byte"},
	"error":  {"from", "icmp_type", "icmp_code", "mtu", "reason", "late"},
	"change": {"mac", "old_mac", "what!"},
}).with(schema{
	"start": {"asks!": oneOf("ask", "detect", "announce", "announce-reply")},
	"reply": {
		"from_mac!": mac,
		"broadcast": yes, "router": yes, "solicited": yes, "override": yes, "also_for": address,
		"claim": oneOf("reply", "request", "announcement", "probe"), "for": address,
	},
	"error":    {"reason!": text},
	"change":   {"what!": oneOf("path")},
	"conflict": {"address!": address, "macs!": macs},
	"summary": {
		"broadcasts": positive, "broadcast_replies": positive, "request_replies": positive, "conflicts": positive,
	},
})

// searchSchema is what `l2ping arping MAC` writes.
var searchSchema = schema{
	"start": {
		"version!": integer, "mac!": mac, "interface!": text, "source_mac!": mac,
		"owner": text, "source_mac_heard": oneOf("unicast", "promiscuous"), "mark": positive, "mark_reason": text,
		"vlan": positive, "vlan_priority": positive, "inner_vlan": positive, "inner_vlan_priority": positive,
		"filter": oneOf("ebpf", "classic"), "filter_reason": text,
		"timestamps": oneOf("hardware", "driver", "sched", "user"), "timestamps_reason": text,
	},
	"found": {
		"mac!": mac, "address!": address, "how!": oneOf("arp", "ndp", "echo", "neighbor table"),
		"state":    oneOf("reachable", "permanent", "stale", "delay", "probe", "noarp", "failed", "incomplete"),
		"from_mac": mac, "rtt_ns": positive, "rtt_source": oneOf("hardware", "driver", "sched", "user"), "router": yes,
	},
	"summary": {"mac!": mac, "sent!": integer, "found!": integer, "duration_ns!": integer},
}

// without is the schema less some keys of its events.
func (s schema) without(less map[string][]string) schema {
	all := s.with(nil)
	for event, keys := range less {
		for _, key := range keys {
			if all[event][key] == nil {
				panic(event + " has no " + key)
			}
			delete(all[event], key)
		}
	}
	return all
}

// names are the keys of an event, without the mark of those that are always there.
func (s schema) names(event string) []string {
	var names []string
	for key := range s[event] {
		names = append(names, strings.TrimSuffix(key, "!"))
	}
	slices.Sort(names)
	return names
}

// decodeSearch decodes a whole search for the addresses of a MAC.
func decodeSearch(out string) ([]map[string]any, error) {
	events, err := searchSchema.decodeLines(out)
	if err != nil {
		return nil, err
	}
	found := make(map[any]bool)
	for i, e := range events {
		if (i == 0) != (e["event"] == "start") || (i == len(events)-1) != (e["event"] == "summary") {
			return nil, fmt.Errorf("event %d of %d is %v", i+1, len(events), e["event"])
		}
		if e["mac"] != events[0]["mac"] {
			return nil, fmt.Errorf("%v is of another MAC", e)
		}
		if e["event"] != "found" {
			continue
		}
		if found[e["address"]] {
			return nil, fmt.Errorf("%v was found before", e["address"])
		}
		found[e["address"]] = true
		_, timed := e["rtt_ns"]
		_, source := e["rtt_source"]
		_, state := e["state"]
		if timed != source || timed == state || state != (e["how"] == "neighbor table") {
			return nil, fmt.Errorf("neither an answer nor an entry of the neighbor table: %v", e)
		}
	}
	if sum := events[len(events)-1]; sum["found"] != json.Number(fmt.Sprint(len(found))) {
		return nil, fmt.Errorf("summary: found is %v, and %d such events came", sum["found"], len(found))
	}
	return events, nil
}

// seenKeys notes which keys of which events have come.
type seenKeys struct {
	mu   sync.Mutex
	keys map[string]bool
}

func (s *seenKeys) add(events []map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		s.keys = make(map[string]bool)
	}
	for _, e := range events {
		for key := range e {
			s.keys[fmt.Sprint(e["event"], " ", key)] = true
		}
	}
}

// missing are the keys of a schema that have not, but for some.
func (s *seenKeys) missing(of schema, but ...string) []string {
	var missing []string
	for event := range of {
		for _, name := range of.names(event) {
			if key := event + " " + name; !s.keys[key] && !slices.Contains(but, key) {
				missing = append(missing, key)
			}
		}
	}
	slices.Sort(missing)
	return missing
}

// All that an arping writes is as documented, and each field that is documented
// comes in one run or another.
func TestArpingJSON(t *testing.T) {
	t.Parallel()
	labtest.RequireNetns(t)
	var seen seenKeys
	// The runs are parallel, and what they have seen is looked at when all have ended.
	t.Run("runs", func(t *testing.T) {
		for _, filter := range []string{"ebpf", "classic"} {
			t.Run(filter, func(t *testing.T) {
				if filter == "ebpf" {
					labtest.RequireRoot(t)
				}
				testArpingJSON(t, filter, &seen)
			})
		}
		t.Run("changes", func(t *testing.T) {
			t.Parallel()
			seen.add(testArpingChangesJSON(t))
		})
		t.Run("claims", func(t *testing.T) {
			t.Parallel()
			testArpingClaimsJSON(t, &seen)
		})
		t.Run("member", func(t *testing.T) {
			t.Parallel()
			seen.add(testArpingMemberJSON(t))
		})
	})
	if missing := seen.missing(arpingSchema,
		"reply clock_stepped", "summary rejected", // of the ping's tests; of eBPF's alone
		"start filter_reason", // where eBPF cannot be loaded
		"start mark_reason",   // before Linux 5.17
		"start vlan_priority", // as vlan
		"start inner_vlan",    // as vlan
		"reply vlan_priority", // as vlan
		"reply inner_vlan",    // as vlan
		"start inner_vlan_priority", "reply inner_vlan_priority",
	); missing != nil {
		t.Errorf("documented, and never written: %q", missing)
	}
}

func testArpingJSON(t *testing.T, filter string, seen *seenKeys) {
	for _, tt := range []struct {
		name, peer string // "-": Linux is at the far end
		args       string
		exit       int
		want       string // the events by name, where nothing but the flags decides them
	}{
		{"ask", "-", "-c 2 -d 10ms 198.51.100.2", exitOK, ""},
		{"ask, told of", "-", "-v -c 1 198.51.100.2", exitOK, "start sent reply summary"},
		{"ask by broadcast", "-", "-b -c 1 198.51.100.2", exitOK, "start reply summary"},
		{"ask until an answer", "-", "-f 198.51.100.2", exitOK, "start reply summary"},
		{"ask in IPv6", "-", "-c 2 -d 10ms 2001:db8:1::2", exitOK, ""},
		{"ask on the link", "-", "-c 1 fe80::2%eth0", exitOK, "start reply summary"},
		{"ask with a mark", "-", "-c 1 --mark 5 198.51.100.2", exitOK, "start reply summary"},
		{"ask nobody", "-", "-c 1 198.51.100.9", exitNoReply, "start lost summary"},
		{"ask one MAC", "-", "-c 1 --dst-mac 02:00:5e:00:53:02 --src-mac 02:00:5e:00:53:44 198.51.100.2", exitOK, "start reply summary"},
		{"ask as somebody else", "-", "-c 1 -s 198.51.100.77 198.51.100.2", exitOK, "start reply summary"},
		{"taken", "-", "-D -c 2 198.51.100.2", exitNoReply, "start reply summary"},
		{"free", "-", "-D -c 2 -d 10ms 198.51.100.9", exitOK, "start lost+ summary"},
		{"taken in IPv6", "-", "-D -c 2 2001:db8:1::2", exitNoReply, "start reply summary"},
		{"free in IPv6", "-", "-D -c 1 fe80::77", exitOK, "start lost summary"},
		{"announce", "-", "-U -c 2 -d 10ms -v 198.51.100.1", exitOK, "start sent+ summary"},
		{"announce by a reply", "-", "-A -c 1 198.51.100.1", exitOK, "start summary"},
		{"announce in IPv6", "-", "-U -c 1 2001:db8:1::1", exitOK, "start summary"},

		{"several", "address 198.51.100.2", "-c 1 198.51.100.2 198.51.100.3 2001:db8:1::9", exitNoReply, ""},
		{"several that are one", "address 198.51.100.0/24", "-c 1 198.51.100.8/30 198.51.100.2", exitOK, ""},
		{"several, some enough", "address 198.51.100.0/24", "-x 1 198.51.100.8-198.51.100.20", exitOK, ""},
		{"several announced", "-", "-U -c 1 198.51.100.1 2001:db8:1::1", exitOK, ""},
		{"conflict", "arp: also 02:00:5e:00:53:66", "-c 1 198.51.100.2", exitOK, ""},
		{"conflict in IPv6", "ndp: also 02:00:5e:00:53:66", "-c 1 2001:db8:1::2", exitOK, ""},
		{"conflict of three", "arp: also 02:00:5e:00:53:66, also 02:00:5e:00:53:67", "-c 2 -d 10ms 198.51.100.2", exitOK, ""},
		{"conflict about a taken one", "arp: also 02:00:5e:00:53:66", "-D -c 1 198.51.100.2", exitNoReply, ""},
		{"router", "ndp: router, no-override", "-c 1 2001:db8:1::2", exitOK, "start reply summary"},
		{"in a VLAN", "", "-c 1 --vlan 7.5 198.51.100.2", exitOK, "start reply summary"},
		{"in another VLAN", "arp: vlan 7", "-c 1 198.51.100.2", exitNoReply, "start lost summary"},
		{"in two VLANs", "", "-c 1 --vlan 7.1,8.2 2001:db8:1::2", exitOK, "start reply summary"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pair := labtest.NewPair(t, &lab.PairConfig{Silent: tt.peer != "-", IPv6: true})
			if tt.peer != "-" {
				labtest.StartPeer(t, pair.Far, "eth0", tt.peer)
			}
			args := append([]string{"arping", "--json", "-i", "eth0", "--filter", filter}, strings.Fields(tt.args)...)
			stdout, stderr, exit := runIn(t, pair.Near, command(args...))
			if exit != tt.exit || stderr != "" {
				t.Errorf("exit status %d, want %d; standard error: %s", exit, tt.exit, stderr)
			}
			events, err := arpingSchema.decodeRun(stdout)
			if err != nil {
				t.Fatal(err)
			}
			seen.add(events)
			if got := outline(events); tt.want != "" && got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// outline has the events by name, those that come again as one with a plus.
func outline(events []map[string]any) string {
	var names []string
	for _, e := range events {
		name := fmt.Sprint(e["event"])
		if last := len(names) - 1; last >= 0 && strings.TrimSuffix(names[last], "+") == name {
			names[last] = name + "+"
			continue
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// arpingUntil reads the events of an arping that runs until one is of a kind and,
// where that is given, has a key.
func arpingUntil(t *testing.T, p *process, kind, key string) {
	t.Helper()
	for {
		line, ok := p.stdout.line()
		if !ok {
			t.Fatalf("no more %s events with %q in\n%s\n%s", kind, key, p.stdout, p.stderr)
		}
		e, err := arpingSchema.decode(line)
		if err != nil {
			t.Fatal(err)
		}
		if _, has := e[key]; e["event"] == kind && (has || key == "") {
			return
		}
	}
}

// arpingEnds interrupts it and returns all that it has written.
func arpingEnds(t *testing.T, p *process) []map[string]any {
	t.Helper()
	must(t, p.signal(unix.SIGINT))
	exit, err := p.wait()
	if err != nil || exit != exitOK || p.stderr.String() != "" {
		t.Errorf("exit status %d: %v; standard error: %s", exit, err, p.stderr)
	}
	events, err := arpingSchema.decodeRun(p.stdout.String())
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// startArping starts an arping that runs until it is interrupted.
func startArping(t *testing.T, ns *lab.Namespace, args ...string) *process {
	t.Helper()
	p, err := start(ns, command(append([]string{"arping", "--json", "-i", "eth0", "-d", "10ms"}, args...)...))
	must(t, err)
	t.Cleanup(func() {
		_ = p.signal(unix.SIGKILL) // does nothing once it has ended
		_, _ = p.wait()
	})
	return p
}

// testArpingChangesJSON has the link go and come back, and the source address.
func testArpingChangesJSON(t *testing.T) []map[string]any {
	pair := labtest.NewPair(t, nil)
	p := startArping(t, pair.Near, "198.51.100.2")
	arpingUntil(t, p, "reply", "")
	must(t, pair.Near.SetDown("eth0"))
	arpingUntil(t, p, "error", "reason")
	must(t, pair.SetUp())
	arpingUntil(t, p, "reply", "")
	must(t, pair.Near.DelAddr("eth0", netip.MustParsePrefix("198.51.100.1/24")))
	arpingUntil(t, p, "change", "reason")
	must(t, pair.Near.AddAddr("eth0", netip.MustParsePrefix("198.51.100.8/24")))
	arpingUntil(t, p, "change", "source")
	arpingUntil(t, p, "reply", "")
	return arpingEnds(t, p)
}

// testArpingClaimsJSON has other hosts say in all ways that an address is theirs
// while it is looked for.
func testArpingClaimsJSON(t *testing.T, seen *seenKeys) {
	taken, other := netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("198.51.100.77")
	sender := frame.MAC{0x02, 0, 0x5e, 0, 0x53, 0x66}
	for claim, a := range map[string]frame.ARP{
		"reply":        {Operation: frame.ARPReply, SenderIP: taken, TargetIP: other, TargetMAC: frame.MAC{2, 0, 0, 0, 0, 9}},
		"request":      {Operation: frame.ARPRequest, SenderIP: taken, TargetIP: other},
		"announcement": {Operation: frame.ARPRequest, SenderIP: taken, TargetIP: taken},
		"probe":        {Operation: frame.ARPRequest, SenderIP: netip.IPv4Unspecified(), TargetIP: taken},
	} {
		t.Run(claim, func(t *testing.T) {
			t.Parallel()
			pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
			peer := labtest.StartPeer(t, pair.Far, "eth0", "arp: silent")
			a.SenderMAC = sender
			b, err := a.MarshalBehind(frame.Header{Dst: frame.Broadcast, Src: sender})
			must(t, err)
			p := startArping(t, pair.Near, "-D", taken.String())
			arpingUntil(t, p, "lost", "")
			must(t, peer.Inject(b))
			exit, err := p.wait()
			if err != nil || exit != exitNoReply {
				t.Errorf("exit status %d: %v; standard error: %s", exit, err, p.stderr)
			}
			events, err := arpingSchema.decodeRun(p.stdout.String())
			if err != nil {
				t.Fatal(err)
			}
			seen.add(events)
			if reply := events[len(events)-2]; reply["claim"] != claim {
				t.Errorf("%v", reply)
			}
		})
	}
}

// testArpingMemberJSON asks by a port of a bridge, and hears of the address by
// another.
func testArpingMemberJSON(t *testing.T) []map[string]any {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	near, far := pair.Near, pair.Far
	must(t, near.AddVeth("eth1", "eth2"))
	must(t, near.Move("eth2", far))
	must(t, near.SetUp("eth1"))
	must(t, far.SetUp("eth2"))
	must(t, near.WaitUp("eth1"))
	must(t, near.AddBridge("br0", "eth0", "eth1"))
	must(t, near.SetUp("br0"))
	must(t, near.WaitUp("br0"))
	must(t, near.AddAddr("br0", netip.MustParsePrefix("2001:db8:1::1/64")))
	peer := labtest.StartPeer(t, far, "eth2", "ndp: silent")
	p := startArping(t, near, "2001:db8:1::2")
	arpingUntil(t, p, "start", "owner")
	arpingUntil(t, p, "lost", "")
	must(t, peer.Announce(netip.MustParseAddr("2001:db8:1::2"), net.HardwareAddr(pair.FarMAC[:])))
	arpingUntil(t, p, "reply", "other_member")
	return arpingEnds(t, p)
}

// So is all that a search writes for the addresses of a MAC.
func TestArpingMACJSON(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true, IPv6: true})
	labtest.StartPeer(t, pair.Far, "eth0", "address 198.51.100.2, 2001:db8:1::2, fe80::2\nndp: router\narp: from 02:00:5e:00:53:66")
	must(t, pair.Near.SetNeighbor("eth0", netip.MustParseAddr("198.51.100.44"), pair.FarMAC, lab.Stale))
	must(t, pair.Near.SetNeighbor("eth0", netip.MustParseAddr("2001:db8:1::2"), pair.FarMAC, lab.Stale))
	var seen seenKeys
	for _, tt := range []struct {
		args string
		exit int
	}{
		{"02:00:5e:00:53:02", exitOK},
		{"-4 --timestamps user 02:00:5e:00:53:02", exitOK},
		{"-6 02:00:5e:00:53:02", exitOK},
		{"-q -4 -w 300ms 02:00:5e:00:53:99", exitNoReply},
		{"-4 -w 300ms --src-mac 02:00:5e:00:53:44 --mark 5 --vlan 7.1,8.2 02:00:5e:00:53:99", exitNoReply},
	} {
		args := append([]string{"arping", "--json", "-i", "eth0"}, strings.Fields(tt.args)...)
		stdout, stderr, exit := runIn(t, pair.Near, command(args...))
		if exit != tt.exit || stderr != "" {
			t.Errorf("%v: exit status %d, want %d; standard error: %s", args, exit, tt.exit, stderr)
		}
		events, err := decodeSearch(stdout)
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		seen.add(events)
	}
	if missing := seen.missing(searchSchema,
		"start owner",         // of TestScripts/arping-links
		"start filter_reason", // where eBPF cannot be loaded
		"start mark_reason",   // before Linux 5.17
	); missing != nil {
		t.Errorf("documented, and never written: %q", missing)
	}
}

var (
	quoted = regexp.MustCompile("`([a-z0-9_]+)`")
	aside  = regexp.MustCompile(`\([^()]*\)`)
)

// documentedKeys reads a table of docs/json.md that stands under a heading: the
// keys of each event. Those of "the ping's" are base's.
func documentedKeys(t *testing.T, heading string, base map[string][]string) map[string][]string {
	t.Helper()
	b, err := os.ReadFile(filepath.FromSlash("../../docs/json.md"))
	must(t, err)
	_, section, ok := strings.Cut(string(b), heading+"\n")
	if !ok {
		t.Fatalf("docs/json.md has no %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	rows := make(map[string][]string)
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		event := quoted.FindStringSubmatch(cells[0])
		if !strings.HasPrefix(line, "|") || event == nil {
			continue
		}
		var keys []string
		fields := aside.ReplaceAllString(cells[len(cells)-1], "")
		for part := range strings.SplitSeq(fields, ";") {
			part, without, _ := strings.Cut(part, " without ")
			if strings.Contains(part, "the ping's") {
				keys = append(keys, base[event[1]]...)
			}
			for _, name := range quoted.FindAllStringSubmatch(part, -1) {
				keys = append(keys, name[1])
			}
			for _, name := range quoted.FindAllStringSubmatch(without, -1) {
				i := slices.Index(keys, name[1])
				if i < 0 {
					t.Fatalf("docs/json.md: %s has no %s anyway", event[1], name[1])
				}
				keys = slices.Delete(keys, i, i+1)
			}
		}
		slices.Sort(keys)
		rows[event[1]] = slices.Compact(keys)
	}
	return rows
}

// docs/json.md has the events and the keys that the schemas have, and no others.
func TestSchemaIsDocumented(t *testing.T) {
	ping := documentedKeys(t, "# The JSON of `l2ping --json`", nil)
	for _, tt := range []struct {
		name   string
		schema schema
		docs   map[string][]string
		// implied are the keys that are said of all events.
		implied []string
	}{
		{"the ping", pingSchema, ping, []string{"address"}},
		{"arping", arpingSchema, documentedKeys(t, "## `l2ping arping --json HOST...`", ping), []string{"address"}},
		{"arping MAC", searchSchema, documentedKeys(t, "## `l2ping arping --json MAC`", ping), nil},
	} {
		if got, want := slices.Sorted(maps.Keys(tt.docs)), slices.Sorted(maps.Keys(tt.schema)); !slices.Equal(got, want) {
			t.Errorf("%s: the events documented are %q, want %q", tt.name, got, want)
		}
		for event := range tt.schema {
			not := func(name string) bool { return slices.Contains(tt.implied, name) }
			got := slices.DeleteFunc(slices.Clone(tt.docs[event]), not)
			want := slices.DeleteFunc(tt.schema.names(event), not)
			if !slices.Equal(got, want) {
				t.Errorf("%s: the keys documented of %s are\n%q\nwant\n%q", tt.name, event, got, want)
			}
		}
	}
	// What the objects have is said behind the tables.
	b, err := os.ReadFile(filepath.FromSlash("../../docs/json.md"))
	must(t, err)
	for object := range objects {
		for _, name := range objects.names(object) {
			if !strings.Contains(string(b), "`"+name+"`") {
				t.Errorf("%s of %s is not documented", name, object)
			}
		}
	}
}

// The schemas refuse what they should.
func TestArpingSchema(t *testing.T) {
	const (
		stamp  = `"time":"2026-01-02T03:04:05.000000006Z",`
		reply  = `{"event":"reply",` + stamp + `"address":"198.51.100.2","seq":1,"state":"replied","from":"198.51.100.2","from_mac":"02:00:5e:00:53:02","rtt_ns":5,"rtt_source":"user"}`
		search = `{"event":"start",` + stamp + `"version":1,"mac":"02:00:5e:00:53:02","interface":"eth0","source_mac":"02:00:5e:00:53:01"}
{"event":"found",` + stamp + `"mac":"02:00:5e:00:53:02","address":"198.51.100.2","how":"arp","rtt_ns":5,"rtt_source":"user"}
{"event":"summary",` + stamp + `"mac":"02:00:5e:00:53:02","sent":1,"found":1,"duration_ns":5}
`
	)
	for _, tt := range []struct {
		good   string
		decode func(string) error
		bad    [][2]string
	}{
		{reply, func(s string) error { _, err := arpingSchema.decode(s); return err }, [][2]string{
			{`"rtt_ns":5`, `"rtt_ns":5,"ttl":64`},
			{`"rtt_ns":5`, `"rtt_ns":5,"broadcast":false`},
			{`"from_mac":"02:00:5e:00:53:02",`, ``},
			{`"reply"`, `"found"`},
		}},
		{search, func(s string) error { _, err := decodeSearch(s); return err }, [][2]string{
			{`"version":1`, `"version":2`},
			{`"how":"arp"`, `"how":"guess"`},
			{`"how":"arp"`, `"how":"neighbor table"`},
			{`"how":"arp"`, `"how":"neighbor table","state":"stale"`},
			{`"how":"arp"`, `"how":"arp","ttl":64`},
			{`"rtt_ns":5,`, ``},
			{`"found":1`, `"found":2`},
			{`"sent":1`, `"sent":1,"received":1`},
			{`"interface":"eth0",`, ``},
		}},
	} {
		if err := tt.decode(tt.good); err != nil {
			t.Errorf("%v", err)
		}
		for _, change := range tt.bad {
			line := strings.Replace(tt.good, change[0], change[1], 1)
			if line == tt.good {
				t.Fatalf("%s is not there", change[0])
			}
			if tt.decode(line) == nil {
				t.Errorf("nothing is wrong with %s", line)
			}
		}
	}
	if _, err := decodeEvent(strings.Replace(reply, `"rtt_ns"`, `"ttl":64,"tos":0,"bytes":64,"rtt_ns"`, 1)); err != nil {
		t.Errorf("the ping's: %v", err)
	}
	if _, err := decodeEvent(strings.Replace(reply, `"rtt_ns"`, `"ttl":64,"tos":0,"bytes":64,"broadcast":true,"rtt_ns"`, 1)); err == nil {
		t.Error("a ping's reply may be an arping's")
	}
}
