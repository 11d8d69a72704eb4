//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/probe"
)

// newTestEnv is a world with nothing in it but the two outputs.
func newTestEnv() (e *env, stdout, stderr *bytes.Buffer) {
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &env{
		stdin: strings.NewReader(""), stdout: stdout, stderr: stderr,
		executable:  "/usr/local/bin/l2ping",
		interrupted: context.Background(),
		release:     func() {},
	}, stdout, stderr
}

// Mistakes that are found before any network is looked at. Should one not be
// found, there is no network here to send on.
func TestBadUse(t *testing.T) {
	ns := labtest.NewNamespace(t)
	const more = " (l2ping --help tells more)"
	for _, tt := range []struct {
		args string
		want string
	}{
		{"", "no host given" + more},
		{"--nosuch 192.0.2.1", "unknown flag: --nosuch" + more},
		{"-Z 192.0.2.1", "unknown shorthand flag: 'Z' in -Z" + more},
		{"-c", "flag needs an argument: 'c' in -c" + more},
		{"--count", "flag needs an argument: --count" + more},

		{"-c 0 192.0.2.1", `invalid argument "0" for "-c, --count" flag: not a number from 1 to 9223372036854775807` + more},
		{"-c -1 192.0.2.1", `invalid argument "-1" for "-c, --count" flag: not a number from 1 to 9223372036854775807` + more},
		{"-c ten 192.0.2.1", `invalid argument "ten" for "-c, --count" flag: not a number from 1 to 9223372036854775807` + more},
		{"-c 1e3 192.0.2.1", `invalid argument "1e3" for "-c, --count" flag: not a number from 1 to 9223372036854775807` + more},
		{"-c 99999999999999999999 192.0.2.1", `invalid argument "99999999999999999999" for "-c, --count" flag: not a number from 1 to 9223372036854775807` + more},
		{"-s -1 192.0.2.1", `invalid argument "-1" for "-s, --size" flag: not a number from 0 to 65507` + more},
		{"-s 65508 192.0.2.1", `invalid argument "65508" for "-s, --size" flag: not a number from 0 to 65507` + more},
		{"-t 0 192.0.2.1", `invalid argument "0" for "-t, --ttl" flag: not a number from 1 to 255` + more},
		{"-t 256 192.0.2.1", `invalid argument "256" for "-t, --ttl" flag: not a number from 1 to 255` + more},
		{"-Q 256 192.0.2.1", `invalid argument "256" for "-Q, --tos" flag: not a number from 0 to 255` + more},
		{"-Q 0x100 192.0.2.1", `invalid argument "0x100" for "-Q, --tos" flag: not a number from 0 to 255` + more},
		{"-e 65536 192.0.2.1", `invalid argument "65536" for "-e, --id" flag: not a number from 0 to 65535` + more},

		{"-d 0 192.0.2.1", `invalid argument "0" for "-d, --interval" flag: has to be more than 0` + more},
		{"-d -1s 192.0.2.1", `invalid argument "-1s" for "-d, --interval" flag: has to be more than 0` + more},
		{"-d soon 192.0.2.1", `invalid argument "soon" for "-d, --interval" flag: not a time such as 10ms, 1.5s or 0.2 (seconds)` + more},
		{"-d NaN 192.0.2.1", `invalid argument "NaN" for "-d, --interval" flag: not a time such as 10ms, 1.5s or 0.2 (seconds)` + more},
		{"-d inf 192.0.2.1", `invalid argument "inf" for "-d, --interval" flag: too long` + more},
		{"-w -1 192.0.2.1", `invalid argument "-1" for "-w, --deadline" flag: has to be more than 0` + more},
		{"-W 1e99 192.0.2.1", `invalid argument "1e99" for "-W, --timeout" flag: too long` + more},
		{"-d 9us 192.0.2.1", "interval 9µs: has to be at least 10µs"},
		{"-d 366d 192.0.2.1", `invalid argument "366d" for "-d, --interval" flag: not a time such as 10ms, 1.5s or 0.2 (seconds)` + more},
		{"-w 8761h 192.0.2.1", "a time is over 365 days"},
		{"-W 31536001 192.0.2.1", "a time is over 365 days"},

		{"-p xyz 192.0.2.1", `invalid argument "xyz" for "-p, --pattern" flag: not 1 to 16 bytes in hexadecimal, such as ff00` + more},
		{"-p 0102030405060708090a0b0c0d0e0f1011 192.0.2.1", `invalid argument "0102030405060708090a0b0c0d0e0f1011" for "-p, --pattern" flag: not 1 to 16 bytes in hexadecimal, such as ff00` + more},
		{"-M maybe 192.0.2.1", `invalid argument "maybe" for "-M, --pmtudisc" flag: not one of do, want and dont` + more},
		{"--filter pcap 192.0.2.1", `invalid argument "pcap" for "--filter" flag: not one of auto, ebpf and classic` + more},
		{"--timestamps software 192.0.2.1", `invalid argument "software" for "--timestamps" flag: not one of auto, hardware, driver, sched and user` + more},
		{"-l 0 192.0.2.1", `invalid argument "0" for "-l, --preload" flag: not a number from 1 to 65535` + more},
		{"-l 65536 192.0.2.1", `invalid argument "65536" for "-l, --preload" flag: not a number from 1 to 65535` + more},
		{"-x 0 192.0.2.1", `invalid argument "0" for "-x, --enough" flag: not a number from 1 to 131072` + more},
		{"--mark 4294967296 192.0.2.1", `invalid argument "4294967296" for "--mark" flag: not a number from 0 to 4294967295` + more},
		{"--dscp gold 192.0.2.1", `invalid argument "gold" for "--dscp" flag: not a code point such as ef, af41, cs6, le, or 0 to 63` + more},
		{"--vlan 4095 192.0.2.1", `invalid argument "4095" for "--vlan" flag: "4095": a VLAN id is a number from 0 to 4094` + more},
		{"--vlan 100.8 192.0.2.1", `invalid argument "100.8" for "--vlan" flag: "100.8": a priority is a number from 0 to 7` + more},
		{"--vlan 1,2,3 192.0.2.1", `invalid argument "1,2,3" for "--vlan" flag: more than 2 tags` + more},
		{"-S here 192.0.2.1", `invalid argument "here" for "-S, --source" flag: not an IP address` + more},
		{"--gateway here 192.0.2.1", `invalid argument "here" for "--gateway" flag: not an IP address` + more},
		{"--dst-mac 02 192.0.2.1", `invalid argument "02" for "--dst-mac" flag: not a MAC address such as 02:00:5e:00:53:01` + more},
		{"--src-mac 00:00:00:00:00:00 192.0.2.1", `invalid argument "00:00:00:00:00:00" for "--src-mac" flag: the zero address is nobody's` + more},

		// What cannot hold together.
		{"-4 -6 192.0.2.1", "-4 and -6: only one of them can be meant"},
		{"-Q 4 --dscp ef 192.0.2.1", "-Q and --dscp: both set the type of service byte"},
		{"-6 192.0.2.1", "192.0.2.1: no IPv6 address, which -6 or the source asks for"},
		{"-4 2001:db8::1", "2001:db8::1: no IPv4 address, which -4 or the source asks for"},
		{"-S 192.0.2.7 2001:db8::1", "2001:db8::1: no IPv4 address, which -4 or the source asks for"},
		{"-I 2001:db8::1 192.0.2.1", "192.0.2.1: no IPv6 address, which -6 or the source asks for"},
		{"-I 2001:db8::1 2001:db8::/126 192.0.2.0/30", "192.0.2.0/30: no IPv6 address, which -6 or the source asks for"},
		{"-6 -S 192.0.2.7 2001:db8::1", "source 192.0.2.7 is not of the family that -4 or -6 asks for"},
		{"-I 192.0.2.7 -S 192.0.2.8 192.0.2.1", "-I 192.0.2.7 and -S 192.0.2.8 name two source addresses"},
		{"--gateway 192.0.2.254 2001:db8::1", "gateway 192.0.2.254 cannot be the next hop of 2001:db8::1: that is IPv6"},
		{"--gateway 192.0.2.7 -S 192.0.2.7 -i lo 192.0.2.1", "gateway 192.0.2.7 is the source itself"},
		{"--gateway 224.0.0.1 192.0.2.1", "gateway 224.0.0.1: not a host's address"},
		{"-i lo -S 255.255.255.255 192.0.2.1", "source 255.255.255.255: not a host's address"},
		{"--src-mac 01:00:5e:00:00:01 192.0.2.1", "source MAC 01:00:5e:00:00:01: a group sends nothing"},
		{"-x 3 192.0.2.1 192.0.2.2", "-x 3: of hosts there are 2"},

		{"fe80::1", "fe80::1: a link-local address needs its interface (-i names it, or %IFACE behind the address)"},
		{"fe80::1%eth7", `no interface "eth7" (there is lo)`},
		{"-i lo fe80::1%eth7", "fe80::1%eth7 is on another interface than lo, which was asked for"},
		{"fe80::1%eth0 fe80::1%eth1", "fe80::1%eth0 and fe80::1%eth1 are on two interfaces: one run has one"},
		{"fe80::1%eth0 fe80::2%eth1", "fe80::1%eth0 and fe80::2%eth1 are on two interfaces: one run has one"},
		{"2001:db8::1", "no route to 2001:db8::1 (-i and --gateway force one)"},
		{"-b 255.255.255.255", "no route to 255.255.255.255 (-i says on which link)"},
		{"-i lo 192.0.2.1", "no route to 192.0.2.1 by lo (nor by any other interface)"},

		{"192.0.2.9-192.0.2.1", "192.0.2.9-192.0.2.1: the last address comes before the first"},
		{"192.0.2.1-2001:db8::1", "192.0.2.1-2001:db8::1: the two ends are not of one family"},
		{"fe80::1%eth0-fe80::2%eth1", "fe80::1%eth0-fe80::2%eth1: the two ends are not of one zone"},
		{"10.0.0.0/8", "10.0.0.0/8: more than 131072 hosts"},
		{"2001:db8::/64", "2001:db8::/64: more than 131072 hosts"},
		{"192.0.2.1/33", `unknown host "192.0.2.1/33": no such host`},
		{"--targets /nonexistent/hosts", "read targets: open /nonexistent/hosts: no such file or directory"},
		{"--targets -", "standard input: no host in it"},
		{"0.0.0.0", "0.0.0.0 is nobody's address"},
		{"-i nosuch0 -I nosuch1 192.0.2.1", "-i nosuch0 and -I nosuch1 name two interfaces"},
		{"-i 0.2 192.0.2.1", `no interface "0.2": -i names the interface; for the time between probes say --interval 0.2`},
		{"-I 200ms 192.0.2.1", `no interface "200ms": -i names the interface; for the time between probes say --interval 200ms`},

		{"version now", `unexpected argument "now" (l2ping version --help tells more)`},
		{"demo now", `unexpected argument "now" (l2ping demo --help tells more)`},
		{"route", "no host given (l2ping route --help tells more)"},
		{"route 192.0.2.1 192.0.2.2", "more than one host given (192.0.2.1, 192.0.2.2) (l2ping route --help tells more)"},
		{"route -c 1 192.0.2.1", "unknown shorthand flag: 'c' in -c (l2ping route --help tells more)"},
		{"help nosuch", `no command "nosuch"` + more},
	} {
		e, stdout, stderr := newTestEnv()
		if err := ns.Do(func() error {
			if exit := run(e, strings.Fields(tt.args)); exit != exitError {
				t.Errorf("l2ping %s: exit status %d", tt.args, exit)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if got, want := stderr.String(), "l2ping: "+tt.want+"\n"; got != want || stdout.Len() > 0 {
			t.Errorf("l2ping %s:\n     %s%swant %s", tt.args, stdout, got, want)
		}
	}
}

// Help is whole and ends well, of every command.
func TestHelp(t *testing.T) {
	help := func(args ...string) string {
		e, stdout, stderr := newTestEnv()
		if exit := run(e, args); exit != exitOK || stderr.Len() > 0 {
			t.Errorf("%v: exit status %d: %s", args, exit, stderr)
		}
		return stdout.String()
	}
	root := help("--help")
	for _, args := range [][]string{{"-h"}, {"help"}, {"-h", "--count", "3"}} {
		if got := help(args...); got != root {
			t.Errorf("%v:\n%s", args, got)
		}
	}
	for _, cmd := range newRoot(&env{}).Commands() {
		if !cmd.IsAvailableCommand() {
			continue
		}
		if !strings.Contains(root, "\n  "+cmd.Name()+" ") {
			t.Errorf("%s is not in the help", cmd.Name())
		}
		own := help(cmd.Name(), "--help")
		if own != help("help", cmd.Name()) || !strings.Contains(own, "Usage:\n  l2ping "+cmd.Name()) {
			t.Errorf("%s:\n%s", cmd.Name(), own)
		}
	}
	for i, line := range strings.Split(root, "\n") {
		if len(line) > 100 || strings.TrimRight(line, " ") != line {
			t.Errorf("line %d: %q", i+1, line)
		}
	}
	// The flags that scripts may rely on.
	for _, flag := range strings.Fields("-i -I -S -d -c -w -W -f -A -l -s -t -Q -M -p -e -n -q -v -D -O -b -4 -6 -x -h") {
		if !strings.Contains(root, "\n  "+flag+", --") {
			t.Errorf("no %s in the help", flag)
		}
	}
	for _, flag := range []string{
		"--filter", "--timestamps", "--budget", "--histogram", "--json", "--interface", "--interval", "--spin", "--source",
		"--vlan", "--gateway", "--dst-mac", "--src-mac", "--mark", "--netns", "--targets", "--dscp",
	} {
		if !strings.Contains(root, flag+" ") {
			t.Errorf("no %s in the help", flag)
		}
	}
}

func TestVersion(t *testing.T) {
	defer func(v string) { version = v }(version)
	for _, v := range []string{"", "v1.2.3"} {
		version = v
		e, stdout, stderr := newTestEnv()
		exit := run(e, []string{"version"})
		word, ok := strings.CutPrefix(stdout.String(), "l2ping ")
		word, whole := strings.CutSuffix(word, "\n")
		if exit != exitOK || stderr.Len() > 0 || !ok || !whole || word == "" || v != "" && word != v {
			t.Errorf("version %q: exit status %d: %q %q", v, exit, stdout, stderr)
		}
	}
}

// An error is one line, whatever it is made of, and says what would help.
func TestExplain(t *testing.T) {
	e, _, _ := newTestEnv()
	for _, tt := range []struct {
		err  error
		want string
	}{
		{errors.New("one\n  two\tthree "), "one two three"},
		{errors.Join(errors.New("one"), errors.New("two")), "one two"},
		{
			fmt.Errorf("open packet socket on eth0: %w", unix.EPERM),
			"open packet socket on eth0: operation not permitted (needs CAP_NET_RAW: run as root, or setcap cap_net_raw,cap_bpf+ep /usr/local/bin/l2ping; in a container, --cap-add NET_RAW)",
		},
		{fmt.Errorf("load something: %w", unix.EPERM), "load something: operation not permitted"},
		{
			fmt.Errorf("192.0.2.255 %w of eth0", probe.ErrBroadcast),
			"192.0.2.255 is a broadcast address of eth0 (-b pings it all the same)",
		},
		{fmt.Errorf("no driver stamps on eth0: %w", probe.ErrNoStamps), "no driver stamps on eth0: stamps not to be had (--timestamps auto takes the best that there is)"},
	} {
		if got := e.explain(tt.err); got != tt.want {
			t.Errorf("%s\nwant %s", got, tt.want)
		}
	}
}

func TestOutputError(t *testing.T) {
	err := outputError(&os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC})
	if err.Error() != "write the output: no space left on device" || !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if err := outputError(nil); err != nil {
		t.Error(err)
	}
}

func TestVerdict(t *testing.T) {
	type stats = probe.Statistics
	for _, tt := range []struct {
		of       []stats // one target each
		count    uint64
		deadline bool
		enough   int
		want     int
	}{
		{of: []stats{{}}, want: exitNoReply},
		{of: []stats{{Sent: 3, Lost: 3}}, count: 3, want: exitNoReply},
		{of: []stats{{Sent: 3, Received: 1, Lost: 2}}, count: 3, want: exitOK},
		{of: []stats{{Sent: 3, Lost: 3, Late: 1}}, count: 3, want: exitOK},
		{of: []stats{{Sent: 3, Received: 1, Lost: 2}}, deadline: true, want: exitOK},
		{of: []stats{{Sent: 3, Received: 2, Lost: 1}}, count: 3, deadline: true, want: exitNoReply},
		{of: []stats{{Sent: 4, Received: 2, Lost: 2, Late: 1}}, count: 3, deadline: true, want: exitOK},
		{of: []stats{{Sent: 3, Errors: 3}}, deadline: true, want: exitNoReply},
		// Each of several has to answer.
		{of: []stats{{Sent: 3, Received: 3}, {Sent: 3, Late: 1}}, count: 3, want: exitOK},
		{of: []stats{{Sent: 3, Received: 3}, {Sent: 3, Lost: 3}}, count: 3, want: exitNoReply},
		// And where there is a deadline, to the whole count.
		{of: []stats{{Sent: 3, Received: 3}, {Sent: 3, Received: 3}}, count: 3, deadline: true, want: exitOK},
		{of: []stats{{Sent: 4, Received: 4}, {Sent: 3, Received: 2}}, count: 3, deadline: true, want: exitNoReply},
		// Or as many as are enough.
		{of: []stats{{Sent: 3, Received: 1}, {Sent: 3}, {Sent: 3}}, enough: 1, want: exitOK},
		{of: []stats{{Sent: 3, Received: 1}, {Sent: 3}, {Sent: 3}}, enough: 2, want: exitNoReply},
		{of: []stats{{Sent: 3, Received: 1}, {Sent: 3}}, count: 3, deadline: true, enough: 1, want: exitOK},
	} {
		cfg := probe.Config{Count: tt.count, Enough: tt.enough, Targets: make([]probe.Target, len(tt.of))}
		if tt.deadline {
			cfg.Deadline = 1
		}
		v := &verdict{renderer: deaf{}, cfg: &cfg}
		var total stats
		see := func(s *stats, a netip.Addr) {
			if err := v.Event(&probe.Event{Kind: probe.Summary, Address: a, Statistics: s}); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range tt.of {
			see(&s, netip.MustParseAddr("192.0.2.1"))
			total.Received += s.Received
		}
		if len(tt.of) > 1 {
			see(&total, netip.Addr{})
		}
		if got := v.status(); got != tt.want {
			t.Errorf("%+v, count %d, deadline %t, enough %d: %d, want %d", tt.of, tt.count, tt.deadline, tt.enough, got, tt.want)
		}
	}
}

// deaf is a renderer that prints nothing.
type deaf struct{}

func (deaf) Event(*probe.Event) error { return nil }

// config is what the flags make of it.
func TestConfig(t *testing.T) {
	parse := func(args ...string) probe.Config {
		t.Helper()
		e, _, _ := newTestEnv()
		f := &pingFlags{}
		cmd := newPing(e)
		cmd.ResetFlags()
		f.add(cmd)
		if err := cmd.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		cfg, err := f.config(cmd)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	// Left out, everything is probe's default.
	if cfg := parse(); cfg.DataLen != nil || cfg.ID != nil || cfg.Count != 0 || cfg.Interval != 0 || cfg.Timeout != 0 ||
		cfg.Deadline != 0 || cfg.TTL != 0 || cfg.TOS != 0 || cfg.PMTU != probe.PMTUWant || cfg.Broadcast || cfg.Sent ||
		cfg.Filter != bpf.Auto || cfg.Timestamps != probe.TimestampsAuto || cfg.Pattern != nil || cfg.Interface != "" {
		t.Errorf("%+v", cfg)
	}
	// 0 is a value.
	if cfg := parse("-s", "0", "-e", "0"); cfg.DataLen == nil || *cfg.DataLen != 0 || cfg.ID == nil || *cfg.ID != 0 {
		t.Errorf("%+v", cfg)
	}
	if cfg := parse("-M", "dont", "-b", "--filter", "classic", "--timestamps", "user"); cfg.PMTU != probe.PMTUDont || !cfg.Broadcast ||
		cfg.Filter != bpf.Classic || cfg.Timestamps != probe.TimestampsUser {
		t.Errorf("%+v", cfg)
	}
	if cfg := parse("-S", "::ffff:192.0.2.7", "--gateway", "2001:db8::1", "--mark", "0x10", "--dscp", "ef", "-M", "do",
		"--vlan", "200.3,100", "--src-mac", "02:00:5e:00:53:07", "--dst-mac", "02:00:5e:00:53:01", "-x", "2", "-i", "lo",
	); cfg.Source != netip.MustParseAddr("192.0.2.7") || cfg.Gateway != netip.MustParseAddr("2001:db8::1") || cfg.Mark != 16 ||
		cfg.TOS != 0xb8 || cfg.PMTU != probe.PMTUDo || len(cfg.VLANs) != 2 || cfg.VLANs[0].ID() != 200 || cfg.VLANs[0].Priority() != 3 ||
		cfg.SrcMAC[5] != 7 || cfg.DstMAC[5] != 1 || cfg.Enough != 2 || cfg.Interface != "lo" {
		t.Errorf("%+v", cfg)
	}
	for _, tt := range []struct {
		args string
		sent bool
	}{
		{"-v", false}, {"-O", true}, {"--json", false}, {"--json -v", true}, {"--json -O", false}, {"--json -O -v", true},
	} {
		if cfg := parse(strings.Fields(tt.args)...); cfg.Sent != tt.sent {
			t.Errorf("%s: sent events %t, want %t", tt.args, cfg.Sent, tt.sent)
		}
	}
}
