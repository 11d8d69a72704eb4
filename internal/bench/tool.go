//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// maxCount keeps the sequence numbers of a run, by which probes are paired
// with captured frames, from wrapping. A tool may count from 0 or from 1.
const maxCount = 65000

// job is what a tool is asked to do.
type job struct {
	ifname   string
	target   netip.Addr
	count    int
	interval time.Duration
}

// sample is what a tool reports about one probe.
type sample struct {
	seq uint16        // of the ICMP header
	rtt time.Duration // as reported
	// arrival is when the reply came in, in nanoseconds of CLOCK_REALTIME,
	// according to the tool; 0 if it does not say.
	arrival int64
	// source is the kind of stamp that the tool says it has used.
	source string
}

// tool is a program that sends ICMP echo requests and reports round-trip times.
// A further peer is a further entry of allTools.
type tool struct {
	name    string
	program string // to look for in PATH; "" is ours
	pkg     string // Debian's package that has it
	args    func(job) []string
	parse   func(output []byte) ([]sample, error)
}

// Name is the tool's name on the command line and in the table.
func (t tool) Name() string { return t.name }

// allTools are the tools that can be measured. The first is ours, with which
// the others are compared.
var allTools = []tool{
	{
		name: "l2ping",
		args: func(j job) []string {
			return []string{
				"-i", j.ifname, "-n", "-c", strconv.Itoa(j.count), "-d", j.interval.String(),
				"--json", j.target.String(),
			}
		},
		parse: parseL2ping,
	},
	{
		name: "ping", program: "ping", pkg: "iputils-ping",
		args: func(j job) []string {
			return []string{
				"-I", j.ifname, "-n", "-c", strconv.Itoa(j.count), "-i", seconds(j.interval), j.target.String(),
			}
		},
		parse: parsePing,
	},
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

// parseL2ping reads l2ping's JSON. Only first replies in time are samples.
func parseL2ping(output []byte) ([]sample, error) {
	var all []sample
	lines := bufio.NewScanner(bytes.NewReader(output))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct {
			Event, State string
			Time         time.Time
			Seq          uint64
			// A number in a reply, an object in the summary.
			RTT    json.RawMessage `json:"rtt_ns"`
			Source string          `json:"rtt_source"`
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return nil, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		if event.Event != "reply" || event.State != "replied" && event.State != "reordered" {
			continue
		}
		rtt, err := strconv.ParseInt(string(event.RTT), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		all = append(all, sample{
			seq: uint16(event.Seq), rtt: time.Duration(rtt),
			arrival: event.Time.UnixNano(), source: event.Source,
		})
	}
	return all, lines.Err()
}

// parsePing reads the text of iputils ping.
func parsePing(output []byte) ([]sample, error) {
	var all []sample
	for line := range strings.Lines(string(output)) {
		_, rest, ok := strings.Cut(line, " icmp_seq=")
		if !ok || strings.Contains(rest, "DUP!") {
			continue
		}
		seqText, rest, _ := strings.Cut(rest, " ")
		_, rest, ok = strings.Cut(rest, " time=")
		if !ok {
			continue // an error
		}
		rttText, _, ok := strings.Cut(rest, " ms")
		seq, err := strconv.ParseUint(seqText, 10, 16)
		if err != nil || !ok {
			return nil, fmt.Errorf("line %q: no reply that I know", line)
		}
		rtt, err := strconv.ParseFloat(rttText, 64)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		all = append(all, sample{seq: uint16(seq), rtt: time.Duration(rtt*1e6 + 0.5)})
	}
	return all, nil
}

// findPrograms finds what is needed, by tool name, and tcpdump; it builds
// l2ping if it is not given.
func findPrograms(ctx context.Context, o *options, dir string) (map[string]string, error) {
	found := map[string]string{}
	for _, t := range append([]tool{{name: "tcpdump", program: "tcpdump", pkg: "tcpdump"}}, o.tools...) {
		if t.program == "" {
			continue
		}
		path, err := exec.LookPath(t.program)
		if err != nil {
			return nil, fmt.Errorf("%w (apt-get install %s)", err, t.pkg)
		}
		found[t.name] = path
	}
	if o.l2ping != "" {
		path, err := filepath.Abs(o.l2ping)
		if err == nil {
			_, err = os.Stat(path)
		}
		found["l2ping"] = path
		return found, err
	}
	found["l2ping"] = filepath.Join(dir, "l2ping")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", found["l2ping"], "github.com/l2ping/l2ping/cmd/l2ping")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build l2ping: %w\n%s", err, out)
	}
	return found, nil
}
