//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// captureSchema is what `l2ping capture --json` writes.
var captureSchema = schema{
	"start": {
		"version!": integer, "interface": text, "link_type": text, "direction": oneOf("both", "in", "out"), "file": text,
		"snap_length": positive, "filter": text, "promiscuous": yes, "ring_reason": text,
	},
	"frame": {
		"number!": positive, "interface": text, "hardware_ns": positive,
		"packet_type": oneOf("host", "broadcast", "multicast", "other host", "outgoing"), "direction": oneOf("in", "out"),
		"length!": integer, "captured!": integer, "source_mac": mac, "destination_mac": mac, "ether_type": positive,
		"vlan": integer, "vlan_priority": integer, "inner_vlan": integer, "inner_vlan_priority": integer,
		"source": address, "destination": address, "protocol": integer, "source_port": integer, "destination_port": integer,
		"layers": texts, "summary!": text, "comments": texts, "packet_id": positive, "dropped": positive, "data": hexadecimal,
	},
	"summary": {
		"captured!": integer, "received": integer, "kernel_drops": integer, "files": positive, "written": integer,
		"duration_ns!": integer,
	},
	"change": {"what!": oneOf("down", "up"), "interface!": text},
}

func texts(value any) error {
	list, ok := value.([]any)
	if !ok || len(list) == 0 {
		return fmt.Errorf("%v is no list", value)
	}
	for _, v := range list {
		if err := text(v); err != nil {
			return err
		}
	}
	return nil
}

var hexDigits = regexp.MustCompile(`^([0-9a-f]{2})*$`)

func hexadecimal(value any) error {
	if s, ok := value.(string); !ok || !hexDigits.MatchString(s) {
		return fmt.Errorf("%v is not hexadecimal", value)
	}
	return nil
}

// decodeCaptureLine decodes a line and checks it.
func decodeCaptureLine(line string) (map[string]any, error) {
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	var e map[string]any
	if err := d.Decode(&e); err != nil {
		return nil, fmt.Errorf("%w in %s", err, line)
	}
	name, _ := e["event"].(string)
	if captureSchema[name] == nil || !strings.HasSuffix(line, "}\n") {
		return nil, fmt.Errorf("no event %q: %s", name, line)
	}
	keys := maps.Clone(captureSchema[name])
	keys["event!"], keys["time"] = text, func(value any) error {
		if s, ok := value.(string); !ok || !moment.MatchString(s) {
			return fmt.Errorf("%v is not RFC 3339 with nanoseconds", value)
		}
		return nil
	}
	return e, checkKeys(e, keys)
}

// decodeCapture decodes a whole capture.
func decodeCapture(out string) ([]map[string]any, error) {
	var events []map[string]any
	for line := range strings.Lines(out) {
		e, err := decodeCaptureLine(line)
		if err != nil {
			return nil, fmt.Errorf("%w in %s", err, line)
		}
		events = append(events, e)
	}
	if len(events) == 0 || events[0]["version"] != json.Number("1") {
		return nil, fmt.Errorf("no start, or of another version:\n%s", out)
	}
	frames := 0
	for i, e := range events {
		if (i == 0) != (e["event"] == "start") || (i == len(events)-1) != (e["event"] == "summary") {
			return nil, fmt.Errorf("event %d of %d is %v", i+1, len(events), e["event"])
		}
		if e["event"] != "frame" {
			continue
		}
		if frames++; count(e["number"]) != int64(frames) {
			return nil, fmt.Errorf("frame %v is the %dth", e["number"], frames)
		}
		for _, tag := range []string{"", "inner_"} {
			if (e[tag+"vlan"] == nil) != (e[tag+"vlan_priority"] == nil) {
				return nil, fmt.Errorf("half of a tag: %v", e)
			}
		}
		if _, ok := e["source"]; ok != (e["destination"] != nil) {
			return nil, fmt.Errorf("one end alone: %v", e)
		}
		if data, ok := e["data"].(string); ok && int64(len(data)) != 2*count(e["captured"]) {
			return nil, fmt.Errorf("%d bytes of %v", len(data)/2, e["captured"])
		}
		if count(e["captured"]) > count(e["length"]) {
			return nil, fmt.Errorf("more than there was: %v", e)
		}
	}
	sum := events[len(events)-1]
	_, live := events[0]["interface"]
	_, counted := sum["received"]
	if _, ok := sum["files"]; ok != (sum["written"] != nil) || ok && count(sum["written"]) > int64(frames) {
		return nil, fmt.Errorf("%v", sum)
	}
	if count(sum["captured"]) != int64(frames) || live != counted {
		return nil, fmt.Errorf("%v with %d frames", sum, frames)
	}
	return events, nil
}

func TestCaptureJSON(t *testing.T) {
	stdout, stderr, exit := runCapture(t, "", "-r", wordsFile, "--json", "-x")
	events, err := decodeCapture(stdout)
	if err != nil || exit != exitOK || stderr != "" {
		t.Fatalf("exit status %d: %v\n%s", exit, err, stderr)
	}
	if len(events) < 100 {
		t.Errorf("%d events", len(events))
	}
}

// docs/capture.md tells of every event and key, and of no others.
func TestCaptureSchemaIsDocumented(t *testing.T) {
	file, err := os.ReadFile("../../docs/capture.md")
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[string][]string)
	row := regexp.MustCompile("^\\| `([a-z]+)` \\| (.*) \\|$")
	key := regexp.MustCompile("`([a-z_]+)`")
	parenthesis := regexp.MustCompile(`\([^()]*\)`)
	for line := range strings.Lines(string(file)) {
		m := row.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			continue
		}
		for _, k := range key.FindAllStringSubmatch(parenthesis.ReplaceAllString(m[2], ""), -1) {
			told[m[1]] = append(told[m[1]], k[1])
		}
		slices.Sort(told[m[1]])
	}
	for event := range captureSchema {
		if got, want := told[event], captureSchema.names(event); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", event, got, want)
		}
	}
	if len(told) != len(captureSchema) {
		t.Errorf("events: %v", told)
	}
}
