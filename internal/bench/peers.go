//go:build linux

package main

import (
	"context"
	_ "embed"
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

// program is a tool as it is on this machine.
type program struct {
	path    string
	args    []string // ahead of those of the job
	version string
}

// tool is a program that sends requests and reports round-trip times. A further
// peer is a further entry of allTools.
type tool struct {
	name string
	note string // what a reader of its numbers has to know

	// find finds the program, or says in a line why it is not there.
	find func(context.Context, *options, string) (program, error)
	// refuse says why the tool cannot do a job; nil: it can do all.
	refuse func(job) string
	args   func(job) []string
	parse  func(output []byte) ([]sample, error)

	// arp says that it sends ARP requests instead of echo requests: those are
	// captured at the two ends.
	arp bool
}

// Name is the tool's name on the command line and in the table.
func (t tool) Name() string { return t.name }

func (t tool) messages() (request, reply message) {
	if t.arp {
		return arpRequest, arpReply
	}
	return echoRequest, echoReply
}

// ours and oursARP are the tools with which the others are compared: both are
// l2ping.
const (
	ours    = "l2ping"
	oursARP = "l2ping-arping"
)

func (t tool) isOurs() bool { return t.name == ours || t.name == oursARP }

// allTools are the tools that can be measured.
var allTools = []tool{
	{
		name: ours,
		find: buildL2ping,
		args: func(j job) []string {
			return []string{
				"-i", j.ifname, "-n", "-c", strconv.Itoa(j.count), "-d", j.interval.String(),
				"--json", j.target.String(),
			}
		},
		parse: parseL2ping,
	},
	{
		name: "ping",
		note: "below 10 ms between probes it does not sleep but spins, and takes a whole CPU",
		find: installed("ping", "iputils-ping", "-V", `ping from (iputils \S+)`),
		args: func(j job) []string {
			return []string{
				"-I", j.ifname, "-n", "-c", strconv.Itoa(j.count), "-i", seconds(j.interval), j.target.String(),
			}
		},
		parse: parsePing,
	},
	{
		name: "fping",
		find: installed("fping", "fping", "-v", `fping: Version (\S+)`),
		args: func(j job) []string {
			return []string{
				"-I", j.ifname, "-c", strconv.Itoa(j.count), "-p", milliseconds(j.interval),
				// By default it does not send more often than every 10 ms,
				// and takes a reply after one interval for lost.
				"-i", "1", "-t", "2000", j.target.String(),
			}
		},
		parse: parseFping,
	},
	{
		name: "hping3",
		note: "reports in steps of 0.1 ms",
		find: installed("hping3", "hping3", "-v", `hping3 version (\S+)`),
		refuse: func(j job) string {
			if j.interval >= time.Second && j.interval%time.Second != 0 {
				return "above 1 s it knows whole seconds only"
			}
			return ""
		},
		args: func(j job) []string {
			interval := "u" + strconv.FormatInt(j.interval.Microseconds(), 10)
			if j.interval >= time.Second { // more than tv_usec holds
				interval = seconds(j.interval)
			}
			return []string{
				"--icmp", "-n", "-I", j.ifname, "-c", strconv.Itoa(j.count), "-i", interval, "-d", "56", j.target.String(),
			}
		},
		parse: parseHping3,
	},
	{
		name: "nping",
		note: "reports stamps of 0.1 ms, of which the difference is taken",
		find: installed("nping", "nmap", "-V", `Nping version (\S+)`),
		args: func(j job) []string {
			return []string{
				"--icmp", "-e", j.ifname, "-c", strconv.Itoa(j.count), "--delay", milliseconds(j.interval) + "ms",
				"--data-length", "56", j.target.String(),
			}
		},
		parse: parseNping,
	},
	{
		name: "arping",
		note: "ARP requests, measured by the captured ARP frames",
		find: installed("arping", "iputils-arping", "-V", `arping from (iputils \S+)`),
		refuse: func(j job) string {
			if j.interval%time.Second != 0 {
				return "it knows whole seconds only between requests"
			}
			return ""
		},
		args: func(j job) []string {
			return []string{
				"-I", j.ifname, "-c", strconv.Itoa(j.count), "-i", seconds(j.interval), j.target.String(),
			}
		},
		parse: parseArping,
		arp:   true,
	},
	{
		name: oursARP,
		note: "l2ping arping: as arping",
		find: buildL2ping,
		args: func(j job) []string {
			return []string{
				"arping", "-i", j.ifname, "-c", strconv.Itoa(j.count), "-d", j.interval.String(), "--json", j.target.String(),
			}
		},
		parse: parseL2ping,
		arp:   true,
	},
	{
		name: "scapy",
		note: "one srp() of prebuilt packets; answer.time - request.sent_time",
		find: findScapy,
		args: func(j job) []string {
			return []string{j.ifname, j.target.String(), strconv.Itoa(j.count), seconds(j.interval)}
		},
		parse: parseScapy,
	},
	{
		name: "pro-bing",
		note: "the Go library, in a program that prints what OnRecv is told",
		find: buildProBing,
		args: func(j job) []string {
			return []string{j.ifname, j.target.String(), strconv.Itoa(j.count), j.interval.String()}
		},
		parse: parseProBing,
	},
}

var findTcpdump = installed("tcpdump", "tcpdump", "--version", `tcpdump version (\S+)`)

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', -1, 64)
}

// installed looks for a program in PATH, of which pkg is Debian's package. The
// expression finds the version in what it prints for the flag; a program that
// prints none is another of that name.
func installed(name, pkg, flag, expression string) func(context.Context, *options, string) (program, error) {
	version := regexp.MustCompile(expression)
	return func(ctx context.Context, _ *options, _ string) (program, error) {
		path, err := exec.LookPath(name)
		if err != nil {
			return program{}, fmt.Errorf("not installed (apt-get install %s)", pkg)
		}
		// Some exit with a failure after they have told their version.
		out, _ := exec.CommandContext(ctx, path, flag).CombinedOutput()
		m := version.FindSubmatch(out)
		if m == nil {
			return program{}, fmt.Errorf("%s is another program of that name (apt-get install %s)", path, pkg)
		}
		return program{path: path, version: string(m[1])}, nil
	}
}

// buildL2ping builds l2ping from this module, unless one is given.
func buildL2ping(ctx context.Context, o *options, dir string) (program, error) {
	path := filepath.Join(dir, ours)
	if o.l2ping != "" {
		var err error
		if path, err = filepath.Abs(o.l2ping); err != nil {
			return program{}, err
		}
	} else {
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "github.com/l2ping/l2ping/cmd/l2ping")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return program{}, fmt.Errorf("build l2ping: %w\n%s", err, out)
		}
	}
	return versioned(ctx, path, "version")
}

// versioned is a program whose last word about its version is the version.
func versioned(ctx context.Context, path, arg string) (program, error) {
	out, err := exec.CommandContext(ctx, path, arg).Output()
	if err != nil {
		return program{}, fmt.Errorf("%s %s: %w", path, arg, err)
	}
	words := strings.Fields(string(out))
	if len(words) == 0 {
		return program{}, fmt.Errorf("%s %s prints nothing", path, arg)
	}
	return program{path: path, version: words[len(words)-1]}, nil
}

// srpScript is the program that stands for scapy.
//
//go:embed srp.py
var srpScript []byte

// findScapy looks for a Python that has scapy: Debian's own first, for which
// its package is, whatever else comes first in PATH.
func findScapy(ctx context.Context, _ *options, dir string) (program, error) {
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		path, err := exec.LookPath(python)
		if err != nil {
			continue
		}
		out, err := exec.CommandContext(ctx, path, "-c", "import scapy; print(scapy.VERSION)").Output()
		if err != nil {
			continue
		}
		script := filepath.Join(dir, "srp.py")
		if err := os.WriteFile(script, srpScript, 0o644); err != nil {
			return program{}, err
		}
		return program{path: path, args: []string{script}, version: strings.TrimSpace(string(out))}, nil
	}
	return program{}, errors.New("not installed (apt-get install python3-scapy)")
}

// buildProBing builds the program in probing, which is a module of its own.
func buildProBing(ctx context.Context, _ *options, dir string) (program, error) {
	source, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "github.com/l2ping/l2ping/internal/bench").Output()
	if err != nil {
		return program{}, fmt.Errorf("find its source: %w", err)
	}
	path := filepath.Join(dir, "probing")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, ".")
	build.Dir = filepath.Join(strings.TrimSpace(string(source)), "probing")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return program{}, fmt.Errorf("not built: %w: %s", err, line)
	}
	return versioned(ctx, path, "version")
}

// findTools finds the programs of the tools. A peer that is not there is left
// out, with the reason; l2ping has to be there.
func findTools(ctx context.Context, o *options, dir string) (found []tool, programs map[string]program, missing []leftOut, err error) {
	programs = map[string]program{}
	for _, t := range o.tools {
		p, err := t.find(ctx, o, dir)
		switch {
		case err == nil:
			found = append(found, t)
			programs[t.name] = p
		case t.isOurs() || ctx.Err() != nil:
			return nil, nil, nil, errors.Join(err, context.Cause(ctx))
		default:
			missing = append(missing, leftOut{t.name, err.Error()})
		}
	}
	if len(found) == 0 {
		return nil, nil, nil, fmt.Errorf("no tool is there to measure: %v", missing)
	}
	return found, programs, missing, nil
}
