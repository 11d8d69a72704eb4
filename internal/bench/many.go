//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
)

// manyBlock is where the many targets are: the block for benchmarks (RFC 2544,
// appendix C.2.2).
var manyBlock = netip.MustParsePrefix("198.18.0.0/15")

// maxMany is the most targets; the block has room for some more.
const maxMany = 100_000

// mostMany is the most probes to each of 10,000 targets that fping can send at its
// quickest: it numbers the probes to all targets together by 16 bits, and gives no
// number again within 10 s.
const mostMany = 6

// manyLook is how often a program's memory is looked at. What it takes after the
// last look is not seen, so that is more often than elsewhere.
const manyLook = 100 * time.Millisecond

// A crowd is what a program is asked to do with many targets.
type crowd struct {
	ifname   string
	file     string // has the targets, one a line
	first    netip.Addr
	targets  int
	count    int           // probes to each
	interval time.Duration // between two probes to one target
}

// A tally is what a program says of many targets.
type tally struct {
	sent, received, answered int // probes, their replies, targets that have replied
	late                     *lateness
}

// A lateness is how late probes left.
type lateness struct {
	P50 time.Duration `json:"p50"`
	P99 time.Duration `json:"p99"`
}

// A manner is a way to have a tool's program ask many targets. A further one is a
// further entry of allManners.
type manner struct {
	name, note string
	tool       string
	args       func(crowd) []string
	read       func(stdout, stderr []byte) (tally, error)
}

// oursTold is l2ping, when it tells of each probe.
const oursTold = "l2ping --json"

var allManners = []manner{
	{
		name: ours, tool: ours,
		args: func(c crowd) []string {
			return []string{
				"-i", c.ifname, "-n", "-q", "-c", strconv.Itoa(c.count), "-d", c.interval.String(), "--targets", c.file,
			}
		},
		read: tallyText,
	},
	{
		name: oursTold, tool: ours, note: "has a line for each probe, and tells how late they left",
		args: func(c crowd) []string {
			return []string{
				"-i", c.ifname, "-n", "--json", "-c", strconv.Itoa(c.count), "-d", c.interval.String(), "--targets", c.file,
			}
		},
		read: tallyJSON,
	},
	{
		name: "fping", tool: "fping", note: "-i has it spread the targets over the interval, as l2ping does",
		args: func(c crowd) []string { return fpingMany(c, c.interval/time.Duration(c.targets)) },
		read: tallyFping,
	},
	{
		name: "fping -i 0", tool: "fping", note: "asks all targets at once, and then sleeps for the rest of the interval",
		args: func(c crowd) []string { return fpingMany(c, 0) },
		read: tallyFping,
	},
}

func fpingMany(c crowd, apart time.Duration) []string {
	return []string{
		"-I", c.ifname, "-q", "-C", strconv.Itoa(c.count), "-p", milliseconds(c.interval), "-i", milliseconds(apart),
		"-t", "2000", "-f", c.file,
	}
}

var tallyLines = regexp.MustCompile(
	`(?m)^--- \d+ hosts \((\d+) answered\) ping statistics ---\n(\d+) packets transmitted, (\d+) received,`)

// tallyText reads the end of l2ping's text.
func tallyText(stdout, _ []byte) (tally, error) {
	m := tallyLines.FindSubmatch(stdout)
	if m == nil {
		return tally{}, errors.New("no summary over all hosts")
	}
	var t tally
	for i, n := range []*int{&t.answered, &t.sent, &t.received} {
		var err error
		if *n, err = strconv.Atoi(string(m[i+1])); err != nil {
			return tally{}, err
		}
	}
	return t, nil
}

// tallyJSON reads the last line of l2ping's JSON, its summary over all targets.
func tallyJSON(stdout, _ []byte) (tally, error) {
	stdout = bytes.TrimSpace(stdout)
	last := stdout[bytes.LastIndexByte(stdout, '\n')+1:]
	var s struct {
		Event, Address           string
		Sent, Received, Answered int
		Late                     *lateness `json:"timer_error_ns"`
	}
	if err := json.Unmarshal(last, &s); err != nil {
		return tally{}, fmt.Errorf("line %q: %w", last, err)
	}
	if s.Event != "summary" || s.Address != "" || s.Late == nil {
		return tally{}, fmt.Errorf("line %q: no summary over all targets", last)
	}
	return tally{s.Sent, s.Received, s.Answered, s.Late}, nil
}

var fpingLine = regexp.MustCompile(`^\S+ +:((?: (?:-|[0-9.]+))+)$`)

// tallyFping reads the lines of fping -C, which has a time for each reply and a
// dash for each loss.
func tallyFping(_, stderr []byte) (tally, error) {
	var t tally
	for line := range strings.Lines(string(stderr)) {
		line = strings.TrimRight(line, "\n")
		m := fpingLine.FindStringSubmatch(line)
		if m == nil {
			return tally{}, fmt.Errorf("line %q: no target that I know", line)
		}
		times := strings.Fields(m[1])
		lost := 0
		for _, text := range times {
			if text == "-" {
				lost++
			}
		}
		t.sent += len(times)
		t.received += len(times) - lost
		if lost < len(times) {
			t.answered++
		}
	}
	return t, nil
}

// manyPlace makes a place in which Linux answers for the whole block, at the far
// end of the wire; the near end has it as its next hop. (Were the targets on the
// link, the kernel's neighbor table, of 1,024 entries, would be what is measured.)
func manyPlace() (*place, error) {
	p, err := condition{}.set()
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		p.Far.SetUp("lo"),
		p.Far.Install(lab.Route{Dst: manyBlock, Interface: "lo", Type: unix.RTN_LOCAL}),
		p.Near.AddRoute(manyBlock, p.FarIP, "eth0"),
	)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// measureMany runs each manner for each number of targets, interleaved.
func (b *bench) measureMany(ctx context.Context) (_ *manySection, err error) {
	p, err := manyPlace()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	c := crowd{ifname: "eth0", first: manyBlock.Addr().Next(), count: b.many, interval: time.Second}
	if b.interval > 0 {
		c.interval = b.interval
	}
	var manners []manner
	for _, m := range allManners {
		if b.programs[m.tool].path != "" {
			manners = append(manners, m)
		}
	}
	var runs []manyRun
	var out []leftOut
	failed := map[string]bool{}
	for _, c.targets = range b.targets {
		if c.file, err = b.writeTargets(c); err != nil {
			return nil, err
		}
		for run := 1; run <= b.runs; run++ {
			for _, m := range manners {
				if failed[m.name] {
					continue
				}
				fmt.Fprintf(b.progress, "many: %s, %d targets, run %d of %d\n", m.name, c.targets, run, b.runs)
				r, err := b.repeatMany(ctx, p, m, c)
				r.Run = run
				switch {
				case err == nil:
					runs = append(runs, r)
				case m.tool == ours || ctx.Err() != nil:
					return nil, fmt.Errorf("many: %s, %d targets, run %d: %w", m.name, c.targets, run, err)
				default:
					fmt.Fprintf(b.progress, "  left out: %v\n", err)
					failed[m.name] = true
					out = append(out, leftOut{m.name, fmt.Sprintf("%d targets, run %d: %s", c.targets, run, firstLine(err))})
				}
			}
		}
	}
	return newManySection(c, runs, out), nil
}

// writeTargets writes the file that a crowd's targets are read from.
func (b *bench) writeTargets(c crowd) (string, error) {
	var text []byte
	ip := c.first
	for range c.targets {
		text = append(ip.AppendTo(text), '\n')
		ip = ip.Next()
	}
	path := filepath.Join(b.dir, fmt.Sprintf("targets-%d", c.targets))
	return path, os.WriteFile(path, text, 0o644)
}

// repeatMany runs a manner once, and again if the run was void.
func (b *bench) repeatMany(ctx context.Context, p *place, m manner, c crowd) (manyRun, error) {
	for void := 0; ; void++ {
		r, err := b.attemptMany(ctx, p, m, c)
		if err == nil || !errors.Is(err, errVoid) || void == repeats {
			return r, err
		}
		fmt.Fprintf(b.progress, "  %v; again\n", err)
	}
}

// attemptMany runs a manner. At the far end the kernel counts the requests, and
// those to the first target are captured, for the interval that is kept.
func (b *bench) attemptMany(ctx context.Context, p *place, m manner, c crowd) (manyRun, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.count)*c.interval*4+toolGrace)
	defer cancel()
	r := manyRun{Tool: m.name, Targets: c.targets}
	what := echoRequest
	what.filter += " and dst host " + c.first.String()
	requests, err := b.capture(p.Far, filepath.Join(b.dir, "many.pcap"), what)
	if err != nil {
		return r, err
	}
	defer requests.stop()
	before, err := echoRequests(p.Far)
	if err != nil {
		return r, err
	}
	got, stdout, stderr, err := b.execute(ctx, p.Near, b.programs[m.tool], m.args(c), manyLook)
	// A status of 1 is that some have not answered, which is told below.
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return r, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr))
	}
	said, err := m.read(stdout, stderr)
	if err != nil {
		return r, fmt.Errorf("read the output: %w", err)
	}
	after, err := echoRequests(p.Far)
	if err != nil {
		return r, err
	}
	ofFirst, err := requests.end(c.count)
	if err != nil {
		return r, fmt.Errorf("requests to %v: %w", c.first, err)
	}
	r.Sent, r.Arrived, r.Received, r.Answered, r.Late = said.sent, after-before, said.received, said.answered, said.late
	r.Interval, r.PeakMemory, r.Sockets = medianInterval(ofFirst), got.memory, got.sockets
	r.Wall, r.Busy = got.wall, got.busy
	if r.Sent > 0 {
		r.CPUPerProbe = got.cpu / time.Duration(r.Sent)
	}
	return r, nil
}

// echoRequests is how many the kernel has received in n.
func echoRequests(n *lab.Namespace) (count int, err error) {
	err = n.Do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err == nil {
			count, err = parseEchoRequests(string(text))
		}
		return err
	})
	return count, err
}

// parseEchoRequests reads IcmpInEchos of /proc/net/snmp: a line of names, and
// below it one of values.
func parseEchoRequests(snmp string) (int, error) {
	var columns []string
	for line := range strings.Lines(snmp) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "Icmp:" {
			continue
		}
		if columns == nil {
			columns = fields
			continue
		}
		for i, name := range columns {
			if name == "InEchos" && i < len(fields) {
				return strconv.Atoi(fields[i])
			}
		}
	}
	return 0, errors.New("/proc/net/snmp: no InEchos of ICMP")
}
