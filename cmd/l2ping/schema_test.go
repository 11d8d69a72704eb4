//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A schema says of each event which keys it has, and what their values have to be.
// A key that ends in "!" is always there; the others are absent where they have
// no value. What is not listed is an error, and so is a schema that docs/json.md
// does not tell of (TestSchemaIsDocumented).
type schema map[string]map[string]check

// documented is the ping's JSON as scripts have it since its first version.
var documented = schema{
	"start": {
		"version!": integer, "interface!": text, "target!": text, "address!": address, "source": address,
		"source_mac": mac, "next_hop": object(hopKeys),
		"mtu!": integer, "id!": integer, "size!": integer, "filter!": oneOf("ebpf", "classic"),
		"timestamps!": oneOf("hardware", "driver", "sched", "user"), "cookie_bytes!": integer,
	},
	"sent": {"address!": address, "seq!": positive},
	"reply": {
		"address!": address, "seq!": positive, "state": oneOf("replied", "late", "duplicate", "reordered"),
		"from!": address, "from_mac": mac, "ttl!": integer, "tos!": integer, "vlan": positive, "bytes!": positive,
		"rtt_ns!": positive, "rtt_source!": oneOf("hardware", "driver", "sched", "user"),
		"budget": object(budgetKeys), "corrupted": yes,
	},
	"error": {
		"address!": address, "seq!": positive, "from": address, "icmp_type": positive, "icmp_code": integer,
		"message!": text, "mtu": positive,
	},
	"lost": {"address!": address, "seq!": positive},
	"summary": {
		"address": address, "sent!": integer, "received!": integer, "lost!": integer, "late!": integer,
		"duplicates!": integer, "reordered!": integer, "errors!": integer, "corrupted!": integer,
		"rejected": integer, "loss_ratio": ratio, "duration_ns!": integer,
		"rtt_ns": object(rttKeys), "jitter_ns": integer, "budget_ns": object(medianKeys), "stamps!": object(stampKeys),
		"timer_error_ns": object(timerKeys), "kernel_drops!": integer, "events_dropped!": integer,
	},
}

// What the objects within have.
var (
	hopKeys = map[string]check{
		"address!": address, "mac": mac, "resolve_ns": integer,
		"state": oneOf("reachable", "permanent", "stale", "delay", "probe", "noarp", "failed", "incomplete"),
		"how!":  oneOf("neighbor table", "arp", "ndp", "override", "none"),
	}
	budgetKeys = map[string]check{
		"send_ns": integer, "queue_ns": integer, "wire_ns": positive, "receive_ns": integer,
		"nic_ns": integer, // came since
	}
	rttKeys = map[string]check{
		"min!": positive, "mean!": positive, "max!": positive, "stddev!": integer,
		"p50!": positive, "p90!": positive, "p99!": positive, "p999!": positive,
		"p9999!": positive, // came since
	}
	medianKeys = map[string]check{
		"send": integer, "queue": integer, "wire": positive, "receive": integer,
		"nic": integer, // came since
	}
	stampKeys = map[string]check{"hardware!": integer, "driver!": integer, "sched!": integer, "user!": integer}
	timerKeys = map[string]check{"p50!": integer, "p99!": integer}

	// objects are those by the keys that have them.
	objects = schema{
		"next_hop": hopKeys, "budget": budgetKeys, "rtt_ns": rttKeys, "budget_ns": medianKeys, "stamps": stampKeys,
		"timer_error_ns": timerKeys,
	}
)

// additions are keys and events that came since; readers ignore those they do not
// know.
var additions = schema{
	"start": {
		"filter_reason": text, "timestamps_reason": text, "owner": text,
		"vlan": positive, "vlan_priority": positive, "inner_vlan": positive, "inner_vlan_priority": positive,
		"source_mac_heard": oneOf("unicast", "promiscuous"), "mark": positive, "mark_reason": text,
	},
	"reply": {
		"truncated": yes, "wrong_byte": integer, "clock_stepped": yes, "other_member": yes,
		"vlan_priority": positive, "inner_vlan": positive, "inner_vlan_priority": positive,
	},
	"error": {"reason": text, "late": yes},
	"change": {
		"address!": address, "what!": oneOf("neighbor", "path"), "next_hop": address, "mac": mac, "old_mac": mac,
		"source": address, "mtu": positive, "reason": text,
	},
	"summary": {
		"targets": positive, "answered": integer, "more_replies": positive, "other_member": positive,
		"late_errors!": integer, "skipped!": integer, "send_retries!": integer,
		"pdv_ns": integer, "stamps_lost!": integer, "clock_steps!": integer,
	},
}

// pingSchema is what the ping writes.
var pingSchema = documented.with(additions)

// with is the schema with more events, and more keys of those that it has.
func (s schema) with(more schema) schema {
	all := make(schema)
	for _, part := range []schema{s, more} {
		for event, keys := range part {
			if all[event] == nil {
				all[event] = make(map[string]check)
			}
			maps.Copy(all[event], keys)
		}
	}
	return all
}

// A check says what is wrong with a value.
type check func(value any) error

func object(keys map[string]check) check {
	return func(value any) error {
		o, ok := value.(map[string]any)
		if !ok {
			return fmt.Errorf("%v is no object", value)
		}
		if len(o) == 0 {
			return fmt.Errorf("an empty object")
		}
		return checkKeys(o, keys)
	}
}

func checkKeys(o map[string]any, keys map[string]check) error {
	known := make(map[string]bool)
	for key, f := range keys {
		name, required := strings.CutSuffix(key, "!")
		known[name] = true
		value, ok := o[name]
		if !ok {
			if required {
				return fmt.Errorf("%s is absent", name)
			}
			continue
		}
		if err := f(value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for name := range o {
		if !known[name] {
			return fmt.Errorf("unknown key %q", name)
		}
	}
	return nil
}

func text(value any) error {
	if s, ok := value.(string); !ok || s == "" {
		return fmt.Errorf("%v is no text", value)
	}
	return nil
}

func oneOf(words ...string) check {
	return func(value any) error {
		if s, ok := value.(string); !ok || !slices.Contains(words, s) {
			return fmt.Errorf("%v is none of %q", value, words)
		}
		return nil
	}
}

func address(value any) error {
	s, _ := value.(string)
	_, err := netip.ParseAddr(s)
	return err
}

func mac(value any) error {
	s, _ := value.(string)
	_, err := net.ParseMAC(s)
	return err
}

func macs(value any) error {
	list, _ := value.([]any)
	if len(list) < 2 {
		return fmt.Errorf("%v is not several MACs", value)
	}
	for _, v := range list {
		if err := mac(v); err != nil {
			return err
		}
	}
	return nil
}

var digits = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)

func integer(value any) error {
	n, ok := value.(json.Number)
	if !ok || !digits.MatchString(n.String()) {
		return fmt.Errorf("%v is no integer from 0", value)
	}
	return nil
}

func positive(value any) error {
	if err := integer(value); err != nil || value == json.Number("0") {
		return fmt.Errorf("%v is no integer from 1", value)
	}
	return nil
}

func ratio(value any) error {
	n, ok := value.(json.Number)
	if !ok {
		return fmt.Errorf("%v is no number", value)
	}
	if f, err := n.Float64(); err != nil || f < 0 || f > 1 {
		return fmt.Errorf("%v is not from 0 to 1", n)
	}
	return nil
}

// yes is for what is absent unless true.
func yes(value any) error {
	if value != true {
		return fmt.Errorf("%v is not true", value)
	}
	return nil
}

var moment = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$`)

// decodeEvent decodes a line of the ping's JSON and checks it against its schema.
func decodeEvent(line string) (map[string]any, error) { return pingSchema.decode(line) }

// decode decodes a line of JSON and checks it.
func (s schema) decode(line string) (map[string]any, error) {
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	var e map[string]any
	if err := d.Decode(&e); err != nil {
		return nil, fmt.Errorf("%w in %s", err, line)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("more than one object in %s", line)
	}
	if err := s.check(e); err != nil {
		return nil, fmt.Errorf("%w in %s", err, line)
	}
	return e, nil
}

// check checks an event.
func (s schema) check(e map[string]any) error {
	name, _ := e["event"].(string)
	if s[name] == nil {
		return fmt.Errorf("no event %q", name)
	}
	keys := maps.Clone(s[name])
	keys["event!"] = text
	keys["time!"] = func(value any) error {
		if s, ok := value.(string); !ok || !moment.MatchString(s) {
			return fmt.Errorf("%v is not RFC 3339 with nanoseconds", value)
		}
		return nil
	}
	if err := checkKeys(e, keys); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return checkTogether(name, e)
}

// checkTogether checks which keys of an event go with which.
func checkTogether(name string, e map[string]any) error {
	together := func(keys ...string) (some bool, err error) {
		for i, key := range keys {
			_, there := e[key]
			if i > 0 && there != some {
				return false, fmt.Errorf("%s: of %s some are there and some are not", name, strings.Join(keys, ", "))
			}
			some = there
		}
		return some, nil
	}
	has := func(key string) bool { _, ok := e[key]; return ok }
	var network, neighbor, path, overAll bool
	var errs [4]error
	network, errs[0] = together("from", "icmp_type", "icmp_code")
	neighbor, errs[1] = together("mac", "old_mac")
	path, errs[2] = together("source", "mtu")
	overAll, errs[3] = together("targets", "answered")
	switch name {
	// An error is the network's, with its type, or this host's, with a reason.
	case "error":
		if errs[0] != nil || has("reason") == network {
			return fmt.Errorf("error: neither the network's nor this host's: %w", errors.Join(errs[0]))
		}
	case "change":
		if err := errors.Join(errs[1], errs[2]); err != nil {
			return err
		}
		if isNeighbor := e["what"] == "neighbor"; isNeighbor != neighbor || !isNeighbor && path == has("reason") {
			return fmt.Errorf("change: what?")
		}
	case "summary":
		if errs[3] != nil || overAll == (has("address") || has("mac")) {
			return fmt.Errorf("summary: of one, or of all: %w", errors.Join(errs[3]))
		}
	}
	return nil
}

// decodeEvents decodes a whole run of the ping.
func decodeEvents(out string) ([]map[string]any, error) { return pingSchema.decodeRun(out) }

// decodeLines decodes all lines, of which the first has the version.
func (s schema) decodeLines(out string) ([]map[string]any, error) {
	var events []map[string]any
	for line := range strings.Lines(out) {
		if !strings.HasSuffix(line, "\n") {
			return nil, fmt.Errorf("no newline behind %q", line)
		}
		e, err := s.decode(line)
		if err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	if len(events) == 0 || events[0]["version"] != json.Number("1") {
		return nil, fmt.Errorf("no start, or of another version:\n%s", out)
	}
	return events, nil
}

// decodeRun decodes a whole run: of each target start comes first, with the
// version, and summary last; of several targets a summary over all ends it.
func (s schema) decodeRun(out string) ([]map[string]any, error) {
	events, err := s.decodeLines(out)
	if err != nil {
		return nil, err
	}
	last := events[len(events)-1]
	of := make(map[any][]map[string]any)
	for i, e := range events {
		a := e["address"]
		if a == nil && i < len(events)-1 {
			return nil, fmt.Errorf("event %d of %d is of no target: %v", i+1, len(events), e)
		}
		if a != nil {
			of[a] = append(of[a], e)
		}
	}
	several := last["address"] == nil
	if several != (len(of) > 1) || several && last["targets"] != json.Number(fmt.Sprint(len(of))) {
		return nil, fmt.Errorf("%d targets, and the last event is %v", len(of), last)
	}
	for a, list := range of {
		if err := checkRun(list, len(of)); err != nil {
			return nil, fmt.Errorf("%v: %w", a, err)
		}
	}
	if several {
		if err := checkSums(events, len(of)); err != nil {
			return nil, fmt.Errorf("all: %w", err)
		}
	}
	return events, nil
}

// checkRun checks the events of one target.
func checkRun(events []map[string]any, targets int) error {
	for i, e := range events {
		if (i == 0) != (e["event"] == "start") || (i == len(events)-1) != (e["event"] == "summary") {
			return fmt.Errorf("event %d of %d is %v", i+1, len(events), e["event"])
		}
	}
	return checkSums(events, targets)
}

// checkSums compares the summary's counts with the events: each probe ends
// once, as replied, lost or error, or is still out.
func checkSums(events []map[string]any, targets int) error {
	sum := events[len(events)-1]
	seen := make(map[string]int)
	answered := make(map[any]bool)
	for _, e := range events {
		switch name := e["event"].(string); {
		case name == "reply":
			state, _ := e["state"].(string)
			seen[state]++
			if state != "" {
				answered[e["address"]] = true
			}
		case name == "error" && e["late"] == true:
			seen["late error"]++
		case name == "error" && e["icmp_type"] == json.Number("5"): // a redirect is news
		default:
			seen[name]++
		}
	}
	if sum["events_dropped"] != json.Number("0") {
		return fmt.Errorf("events were dropped: %v", sum)
	}
	more := 0
	if n, ok := sum["more_replies"]; ok {
		more = int(count(n))
	}
	for key, want := range map[string]int{
		"received": seen["replied"] + seen["reordered"] - more, "late": seen["late"], "reordered": seen["reordered"],
		"duplicates": seen["duplicate"], "corrupted": seen[""], "lost": seen["lost"], "errors": seen["error"],
		"late_errors": seen["late error"],
	} {
		if sum[key] != json.Number(fmt.Sprint(want)) {
			return fmt.Errorf("summary: %s is %v, and %d such events came", key, sum[key], want)
		}
	}
	if n, ok := sum["answered"]; ok && n != json.Number(fmt.Sprint(len(answered))) {
		return fmt.Errorf("summary: %v have answered, and replies came from %d", n, len(answered))
	}
	if targets > coarseFrom && sum["address"] != nil {
		return nil // of each of that many, little is kept
	}
	return checkTimes(events)
}

// coarseFrom is the number of targets beyond which the times of each are kept
// coarsely.
const coarseFrom = 64

// checkTimes works the summary's times out of the replies'.
func checkTimes(events []map[string]any) error {
	var rtts []float64
	parts := make(map[string][]float64)
	stamps := map[string]any{"hardware": int64(0), "driver": int64(0), "sched": int64(0), "user": int64(0)}
	for _, e := range events {
		state := e["state"]
		if e["event"] != "reply" || state == nil || state == "duplicate" {
			continue
		}
		rtts = append(rtts, float64(count(e["rtt_ns"])))
		source := e["rtt_source"].(string)
		stamps[source] = stamps[source].(int64) + 1
		budget, _ := e["budget"].(map[string]any)
		if wire, ok := budget["wire_ns"]; ok && (source != "driver" && source != "hardware" || wire != e["rtt_ns"]) {
			return fmt.Errorf("reply: the wire took %v, and the rtt is %v by %s", wire, e["rtt_ns"], source)
		}
		for name, value := range budget {
			name = strings.TrimSuffix(name, "_ns")
			parts[name] = append(parts[name], float64(count(value)))
		}
	}
	sum := events[len(events)-1]
	for source, n := range stamps {
		if got := sum["stamps"].(map[string]any)[source]; got != json.Number(fmt.Sprint(n)) {
			return fmt.Errorf("summary: stamps %v, want %v", sum["stamps"], stamps)
		}
	}
	if err := checkBudget(sum, parts); err != nil {
		return err
	}
	rtt, ok := sum["rtt_ns"].(map[string]any)
	if ok != (len(rtts) > 0) {
		return fmt.Errorf("summary: rtt_ns is %v with %d replies", sum["rtt_ns"], len(rtts))
	}
	_, jitter := sum["jitter_ns"]
	_, pdv := sum["pdv_ns"]
	if jitter != (len(rtts) > 1) || pdv != jitter {
		return fmt.Errorf("summary: jitter_ns is %v and pdv_ns %v with %d replies", sum["jitter_ns"], sum["pdv_ns"], len(rtts))
	}
	if !ok {
		return nil
	}
	var total, squares, varied float64
	for i, r := range rtts {
		total += r
		if i > 0 {
			varied += (math.Abs(r-rtts[i-1]) - varied) / 16
		}
	}
	mean := total / float64(len(rtts))
	for _, r := range rtts {
		squares += (r - mean) * (r - mean)
	}
	for key, want := range map[string]float64{
		"min": slices.Min(rtts), "max": slices.Max(rtts), "mean": mean, "stddev": math.Sqrt(squares / float64(len(rtts))),
	} {
		if got := float64(count(rtt[key])); math.Abs(got-want) > 1 { // rounding
			return fmt.Errorf("summary: %s is %v, want %v", key, got, want)
		}
	}
	for key, q := range map[string]float64{"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "p9999": 0.9999} {
		if got, want := float64(count(rtt[key])), quantile(rtts, q); got < want || got > want*1.001 {
			return fmt.Errorf("summary: %s is %v, want %v", key, got, want)
		}
	}
	if jitter {
		if got := float64(count(sum["jitter_ns"])); math.Abs(got-varied) > 1 {
			return fmt.Errorf("summary: jitter_ns is %v, want %v", got, varied)
		}
		least := slices.Min(rtts)
		if got, want := float64(count(sum["pdv_ns"])), quantile(rtts, 0.999)-least; got < want || got > want+(want+least)/1000 {
			return fmt.Errorf("summary: pdv_ns is %v, want %v", got, want)
		}
	}
	return nil
}

// checkBudget compares the summary's medians with the parts of all budgets.
func checkBudget(sum map[string]any, parts map[string][]float64) error {
	budget, _ := sum["budget_ns"].(map[string]any)
	if len(budget) != len(parts) {
		return fmt.Errorf("summary: budget_ns is %v, the replies have %v", budget, slices.Sorted(maps.Keys(parts)))
	}
	for name, all := range parts {
		value, ok := budget[name]
		if !ok {
			return fmt.Errorf("summary: no %s in budget_ns", name)
		}
		if got, want := float64(count(value)), quantile(all, 0.5); got < want || got > want*1.01 {
			return fmt.Errorf("summary: budget_ns has %v for %s, want %v", got, name, want)
		}
	}
	return nil
}

// quantile is the least of all that a share of them does not exceed.
func quantile(all []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[int(math.Ceil(q*float64(len(all))-1e-9))-1]
}

// The schema refuses what it should.
func TestSchema(t *testing.T) {
	const good = `{"event":"error","time":"2026-01-02T03:04:05.000000006Z","address":"198.51.100.2","seq":1,"message":"m","reason":"r"}`
	if _, err := decodeEvent(good); err != nil {
		t.Errorf("%v", err)
	}
	for _, tt := range []struct{ old, new string }{
		{`"seq":1`, `"seq":0`},
		{`"seq":1`, `"seq":1.0`},
		{`"seq":1`, `"seq":1e3`},
		{`"seq":1`, `"seq":-1`},
		{`"seq":1`, `"seq":"1"`},
		{`"seq":1`, `"seq":null`},
		{`"seq":1,`, ``},
		{`"seq":1`, `"seq":1,"other":1`},
		{`"m"`, `""`},
		{`000000006Z`, `000006Z`},
		{`000000006Z`, `000000006+02:00`},
		{`"198.51.100.2"`, `""`},
		{`"error"`, `"failure"`},
		{`"reason":"r"`, `"reason":"r","from":"198.51.100.2"`},
		{`"reason":"r"`, `"from":"198.51.100.2"`},
		{`"reason":"r"`, `"reason":"r","late":false`},
		{`}`, `}{}`},
	} {
		line := strings.Replace(good, tt.old, tt.new, 1)
		if line == good {
			t.Fatalf("%s is not in the line", tt.old)
		}
		if _, err := decodeEvent(line); err == nil {
			t.Errorf("nothing is wrong with %s", line)
		}
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(good), "", " "); err != nil {
		t.Fatal(err)
	}
	if _, err := decodeEvents(indented.String()); err == nil {
		t.Error("an object over several lines is taken")
	}
}

// count is the value of an integer that was checked before.
func count(value any) int64 {
	n, err := value.(json.Number).Int64()
	if err != nil {
		panic(err)
	}
	return n
}
