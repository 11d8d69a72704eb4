//go:build linux

package main

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

var update = flag.Bool("update", false, "write what comes into the scripts")

// TestScripts runs the command in a private network as testdata/script has it.
// The scripts' own commands are those of scriptCommands.
func TestScripts(t *testing.T) {
	t.Parallel()
	labtest.RequireNetns(t)
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		UpdateScripts:      *update,
		RequireUniqueNames: true,
		Cmds:               scriptCommands(),
		Setup: func(env *testscript.Env) error {
			w := &world{tb: scriptTB{env: env}, dir: env.WorkDir, namespaces: make(map[string]*lab.Namespace)}
			env.Values[worldKey{}] = w
			env.Defer(func() {
				if err := w.close(); err != nil {
					env.T().Fatal(err)
				}
			})
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name != "ebpf" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return mayLoadEBPF(), nil
		},
	})
}

type worldKey struct{}

// world is a script's network.
type world struct {
	tb         testing.TB
	dir        string
	topology   topology
	namespaces map[string]*lab.Namespace // near, far, router, host, and those of ns
	others     []*lab.Namespace          // those of ns
	pair       *lab.Pair
	peer       *lab.Peer // the last one that was started
	peers      map[string]*lab.Peer
	process    *process
	hosts      *string // nil: those of this machine
}

// topology is a lab.Pair or a lab.Routed.
type topology interface {
	io.Closer
	EnableIPv6() error
}

func (w *world) close() error {
	if w.process != nil {
		_ = w.process.signal(unix.SIGKILL)
		_, _ = w.process.wait()
	}
	var errs []error
	for _, p := range w.peers {
		errs = append(errs, p.Close())
	}
	for _, n := range w.others {
		errs = append(errs, n.Close())
	}
	if w.topology != nil {
		errs = append(errs, w.topology.Close())
	}
	return errors.Join(errs...)
}

func (w *world) namespace(ts *testscript.TestScript, name string) *lab.Namespace {
	n := w.namespaces[name]
	if n == nil {
		ts.Fatalf("no namespace %q: is there a lab?", name)
	}
	return n
}

// A step is one command of a script.
type step func(ts *testscript.TestScript, w *world, args []string) error

// scriptCommands are, besides those of linkCommands:
//
//	lab pair [silent] [down]    two namespaces, near and far, joined by eth0
//	lab routed                  three: near, router, host
//	ipv6                        give it IPv6 too
//	near [-exit=N] [-stdout=FILE|head] [-stdin=FILE] [-in=NS] l2ping ARG... [&]
//	                            run the command, which must end with that status (0),
//	                            or, if it is a signal's name (PIPE), by that;
//	                            stdout and stderr are then its output with times
//	                            and random ids replaced; head reads a line and closes;
//	                            an argument @NS is the path of that namespace
//	expect stdout|stderr RE     wait for a line of the one that runs on
//	signal NAME                 INT, TERM or QUIT
//	finish [-exit=N]            wait for its end
//	peer [-at=NS:IFACE] [FILE]  start a scripted peer, in place of the one there;
//	                            at the far end if it is not said where
//	announce ADDR MAC           have it tell everybody that the address is there
//	requests echo|arp|ndp N     wait until it has had so many
//	seen [echo|arp|ndp]         print the requests of a kind (echo) that it has had
//	ids-differ                  fail if all echo requests bear one ICMP id
//	hosts FILE                  the names of hosts, for every run that follows
func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	commands := make(map[string]func(*testscript.TestScript, bool, []string))
	steps := map[string]step{
		"lab": stepLab, "ipv6": stepIPv6, "near": stepNear, "expect": stepExpect, "signal": stepSignal, "finish": stepFinish,
		"peer": stepPeer, "announce": stepAnnounce, "requests": stepRequests, "seen": stepSeen, "ids-differ": stepIDsDiffer,
		"hosts": stepHosts,
	}
	maps.Copy(steps, linkCommands)
	for name, run := range steps {
		commands[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg {
				ts.Fatalf("unsupported: ! %s", name)
			}
			w := ts.Value(worldKey{}).(*world)
			err := run(ts, w, args)
			if lacking := (*lab.KindError)(nil); errors.As(err, &lacking) {
				labtest.RequireKind(w.tb, err)
			}
			if err != nil {
				ts.Fatalf("%s: %v", name, err)
			}
		}
	}
	return commands
}

// want checks the number of arguments, of which some may be optional.
func want(args []string, least, most int) error {
	if len(args) < least || len(args) > most {
		return fmt.Errorf("%d arguments, want %d to %d", len(args), least, most)
	}
	return nil
}

func stepLab(_ *testscript.TestScript, w *world, args []string) error {
	if w.topology != nil || len(args) == 0 {
		return fmt.Errorf("usage: lab pair [silent] [down], or lab routed, once")
	}
	if args[0] == "routed" && len(args) == 1 {
		r, err := lab.NewRouted()
		if err != nil {
			return err
		}
		w.topology = r
		w.namespaces = map[string]*lab.Namespace{"near": r.Near, "router": r.Router, "host": r.Host}
		return nil
	}
	if args[0] != "pair" {
		return fmt.Errorf("unknown topology %q", args[0])
	}
	for _, option := range args[1:] {
		if option != "silent" && option != "down" {
			return fmt.Errorf("unknown option %q", option)
		}
	}
	p, err := lab.NewPair(&lab.PairConfig{
		Silent: slices.Contains(args, "silent"),
		Down:   slices.Contains(args, "down"),
	})
	if err != nil {
		return err
	}
	w.topology, w.pair = p, p
	w.namespaces = map[string]*lab.Namespace{"near": p.Near, "far": p.Far}
	return nil
}

func stepIPv6(_ *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 0, 0); err != nil || w.topology == nil {
		return fmt.Errorf("usage: ipv6, with a lab")
	}
	return w.topology.EnableIPv6()
}

func stepNear(ts *testscript.TestScript, w *world, args []string) error {
	if w.process != nil {
		return fmt.Errorf("one runs already")
	}
	in, exit, stdout, stdin := "near", "0", "", ""
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		name, value, _ := strings.Cut(args[0], "=")
		switch name {
		case "-exit":
			exit = value
		case "-stdout":
			stdout = value
		case "-stdin":
			stdin = ts.ReadFile(value)
		case "-in":
			in = value
		default:
			return fmt.Errorf("unknown option %s", name)
		}
		args = args[1:]
	}
	if len(args) == 0 || args[0] != "l2ping" {
		return fmt.Errorf("usage: near [-exit=N] [-stdout=FILE|head] [-stdin=FILE] [-in=NS] l2ping ARG... [&]")
	}
	near := w.namespace(ts, in)
	args = slices.Clone(args[1:])
	for i, arg := range args {
		if name, ok := strings.CutPrefix(arg, "@"); ok {
			args[i] = w.namespace(ts, name).Path()
		}
	}
	background := len(args) > 0 && args[len(args)-1] == "&"
	if background {
		args = args[:len(args)-1]
	}
	cmd := command(args...)
	cmd.Stdin = strings.NewReader(stdin)
	if w.hosts != nil {
		if err := addNames(cmd, w.dir, *w.hosts); err != nil {
			return err
		}
	}
	switch stdout {
	case "":
	case "head":
		r, wr, err := os.Pipe()
		if err != nil {
			return err
		}
		defer r.Close()
		defer wr.Close()
		cmd.Stdout = wr
		if w.process, err = start(near, cmd); err != nil {
			return err
		}
		if err := errorOf(readLine(r), wr.Close()); err != nil {
			return err
		}
		r.Close()
		return w.finish(ts, exit)
	default:
		f, err := os.OpenFile(stdout, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		cmd.Stdout = f
	}
	var err error
	if w.process, err = start(near, cmd); err != nil {
		return err
	}
	if background {
		return nil
	}
	return w.finish(ts, exit)
}

func errorOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// readLine reads up to a line's end and not a byte more.
func readLine(r io.Reader) error {
	for b := []byte{0}; b[0] != '\n'; {
		if _, err := r.Read(b); err != nil {
			return fmt.Errorf("read a line: %w", err)
		}
	}
	return nil
}

// finish waits for the command's end and shows what it printed.
func (w *world) finish(ts *testscript.TestScript, exit string) error {
	p := w.process
	if p == nil {
		return fmt.Errorf("nothing runs")
	}
	w.process = nil
	got, err := p.wait()
	fmt.Fprint(ts.Stdout(), normalise(p.stdout.String()))
	fmt.Fprint(ts.Stderr(), normalise(p.stderr.String()))
	ended := strconv.Itoa(got)
	var killed *signalError
	if errors.As(err, &killed) {
		ended = strings.TrimPrefix(unix.SignalName(killed.signal), "SIG")
	} else if err != nil {
		return err
	}
	if ended != exit {
		return fmt.Errorf("exit status %s, want %s", ended, exit)
	}
	return nil
}

func stepFinish(ts *testscript.TestScript, w *world, args []string) error {
	exit := "0"
	if len(args) == 1 {
		exit = strings.TrimPrefix(args[0], "-exit=")
	}
	return w.finish(ts, exit)
}

func stepExpect(_ *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 2, 2); err != nil || w.process == nil {
		return fmt.Errorf("usage: expect stdout|stderr RE, of what runs")
	}
	re, err := regexp.Compile(args[1])
	if err != nil {
		return err
	}
	switch args[0] {
	case "stdout":
		return w.process.stdout.match(re)
	case "stderr":
		return w.process.stderr.match(re)
	}
	return fmt.Errorf("unknown output %q", args[0])
}

func stepSignal(_ *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 1, 1); err != nil || w.process == nil {
		return fmt.Errorf("usage: signal NAME, to what runs")
	}
	s := unix.SignalNum("SIG" + args[0])
	if s == 0 {
		return fmt.Errorf("no signal %q", args[0])
	}
	return w.process.signal(s)
}

func stepPeer(ts *testscript.TestScript, w *world, args []string) error {
	at := "far:eth0"
	if len(args) > 0 && strings.HasPrefix(args[0], "-at=") {
		at, args = strings.TrimPrefix(args[0], "-at="), args[1:]
	}
	text := ""
	if len(args) == 1 {
		text = ts.ReadFile(args[0])
	}
	script, err := lab.ParseScript(text)
	if err != nil {
		return err
	}
	if p := w.peers[at]; p != nil {
		if err := p.Close(); err != nil {
			return err
		}
		delete(w.peers, at)
	}
	ns, ifname, _ := strings.Cut(at, ":")
	w.peer, err = lab.StartPeer(w.namespace(ts, ns), ifname, script)
	if err == nil {
		if w.peers == nil {
			w.peers = make(map[string]*lab.Peer)
		}
		w.peers[at] = w.peer
	}
	return err
}

func stepAnnounce(_ *testscript.TestScript, w *world, args []string) error {
	if len(args) != 2 || w.peer == nil {
		return fmt.Errorf("usage: announce ADDR MAC, with a peer")
	}
	addr, err := netip.ParseAddr(args[0])
	if err != nil {
		return err
	}
	mac, err := net.ParseMAC(args[1])
	if err != nil {
		return err
	}
	return w.peer.Announce(addr, mac)
}

func stepRequests(_ *testscript.TestScript, w *world, args []string) error {
	if len(args) != 2 || w.peer == nil {
		return fmt.Errorf("usage: requests echo|arp|ndp N, with a peer")
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), hangLimit)
	defer cancel()
	switch lab.Kind(args[0]) {
	case lab.KindARP:
		return w.peer.WaitARP(ctx, n)
	case lab.KindNDP:
		return w.peer.WaitNDP(ctx, n)
	}
	return w.peer.Wait(ctx, n)
}

func stepSeen(ts *testscript.TestScript, w *world, args []string) error {
	if w.peer == nil {
		return fmt.Errorf("no peer")
	}
	kind := lab.KindEcho
	if len(args) == 1 {
		kind = lab.Kind(args[0])
	}
	for _, r := range w.peer.Requests() {
		if r.Kind == kind {
			fmt.Fprintln(ts.Stdout(), describe(&r))
		}
	}
	return nil
}

// describe has a request on a line.
func describe(r *lab.Request) string {
	var b strings.Builder
	if r.Kind == lab.KindEcho {
		fmt.Fprintf(&b, "seq=%d id=%#x from %s to %s %s ttl=%d tos=%#x", r.Seq, r.ID, r.SrcIP, r.DstIP, r.DstMAC, r.TTL, r.TOS)
		if r.SrcIP.Is4() {
			fmt.Fprintf(&b, " df=%t", r.DF)
		}
		fmt.Fprintf(&b, ", %d bytes", len(r.Payload))
		if r.Fragments > 1 {
			fmt.Fprintf(&b, " in %d fragments", r.Fragments)
		}
	} else {
		fmt.Fprintf(&b, "%s from %s %s to %s for %s", r.Kind, r.SrcIP, r.SenderMAC, r.DstMAC, r.DstIP)
	}
	if len(r.VLANs) > 0 {
		fmt.Fprintf(&b, ", vlan %v", r.VLANs)
	}
	if r.Fault != "" {
		fmt.Fprintf(&b, " (%s)", r.Fault)
	}
	if len(r.Payload) > 16 { // cookie and number of the probe
		fmt.Fprintf(&b, ", from byte 16 %s", hex.EncodeToString(r.Payload[16:min(24, len(r.Payload))]))
	}
	return b.String()
}

func stepIDsDiffer(_ *testscript.TestScript, w *world, _ []string) error {
	if w.peer == nil {
		return fmt.Errorf("no peer")
	}
	ids := make(map[uint16]bool)
	for _, r := range w.peer.Requests() {
		if r.Kind == lab.KindEcho {
			ids[r.ID] = true
		}
	}
	if len(ids) < 2 {
		return fmt.Errorf("the ids are %v", ids)
	}
	return nil
}

func stepHosts(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 1, 1); err != nil {
		return err
	}
	w.hosts = new(ts.ReadFile(args[0]))
	return nil
}

// changing is what differs from run to run: times, ids and ports. A slow
// machine makes ping's "pipe" of replies that were not yet there.
var changing = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\btime=[0-9.]+ ms`), "time=T ms"},
	// Before Linux 6.13.
	{regexp.MustCompile(`; matched by count: this kernel has no SCM_TS_OPT_ID\)`), ")"},
	{regexp.MustCompile(` \(matched by count: this kernel has no SCM_TS_OPT_ID\)`), ""},
	{regexp.MustCompile(`, time \d+ms`), ", time Tms"},
	{regexp.MustCompile(`\b\d+\.\d{3}ms\b`), "Tms"},
	{regexp.MustCompile(`(rtt min/avg/max/mdev|min/avg/ewma/max) = [0-9.]+/[0-9.]+/[0-9.]+/[0-9.]+ ms`), "$1 = T/T/T/T ms"},
	{regexp.MustCompile(`(?m), pipe \d+(,|$)`), "$1"},
	{regexp.MustCompile(`(?m)^pipe \d+$`), ""},
	{regexp.MustCompile(`, host [a-z/]+ [0-9./]+ ms`), ", host T ms"},
	{regexp.MustCompile(`(?m), (\w+ stamps|stamps( \w+ \d+)+)$`), ", S stamps"}, // one may not come
	{regexp.MustCompile(`ipg/ewma [0-9.]+/[0-9.]+ ms`), "ipg/ewma T/T ms"},
	{regexp.MustCompile(`\b(send|queue|nic|wire|receive) [0-9.]+`), "$1 T"},
	{regexp.MustCompile(`\bin [0-9.]+ ms`), "in T ms"},
	{regexp.MustCompile(`min/avg/max = [0-9.]+/[0-9.]+/[0-9.]+`), "min/avg/max = T/T/T"},
	{regexp.MustCompile(`(?m)^\[\d{10}\.\d{6}\] `), "[TIME] "},
	{regexp.MustCompile(`\bident=\d+`), "ident=ID"},
	{regexp.MustCompile(`(?m)^#0\t(\S+ ){8}`), "#0\tCOOKIE "},
	{regexp.MustCompile(`"time":"[^"]*"`), `"time":"TIME"`},
	{regexp.MustCompile(`"id":\d+`), `"id":ID`},
	{regexp.MustCompile(`_ns":\d+`), `_ns":N`},
	{regexp.MustCompile(`"(min|mean|max|stddev|p\d+|send|queue|nic|wire|receive)":\d+`), `"$1":N`},
	{regexp.MustCompile(`\r`), `\r`}, // ahead of the status line
	{regexp.MustCompile(regexp.QuoteMeta(executable())), "/usr/local/bin/l2ping"},
}

func executable() string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return self
}

func normalise(text string) string {
	for _, c := range changing {
		text = c.re.ReplaceAllString(text, c.with)
	}
	return text
}

// mayLoadEBPF tells whether a command that is started here gets the eBPF filter.
// Where the tests have to run as root it has to.
func mayLoadEBPF() bool {
	if os.Getenv("L2PING_TEST_REQUIRE") == "root" {
		return true
	}
	f, err := bpf.NewFilter(bpf.Match{Kind: bpf.EchoReply, Local: netip.MustParseAddr("192.0.2.1")}, bpf.EBPF)
	return err == nil && f.Close() == nil
}
