//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
		{"a.example b.example", "more than one host given (a.example, b.example): several are not supported so far" + more},
		{"--nosuch 192.0.2.1", "unknown flag: --nosuch" + more},
		{"-x 192.0.2.1", "unknown shorthand flag: 'x' in -x" + more},
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
		{"-6 192.0.2.1", "unknown shorthand flag: '6' in -6" + more},

		{"2001:db8::1", "2001:db8::1: IPv6 is not supported so far"},
		{"-4 2001:db8::1", "2001:db8::1: IPv6 is not supported so far"},
		{"-I 2001:db8::1 192.0.2.1", "2001:db8::1: IPv6 is not supported so far"},
		{"fe80::1%eth0", "fe80::1%eth0: IPv6 is not supported so far"},
		{"0.0.0.0", "0.0.0.0 is nobody's address"},
		{"-i nosuch0 -I nosuch1 192.0.2.1", "-i nosuch0 and -I nosuch1 name two interfaces"},
		{"-i 0.2 192.0.2.1", `no interface "0.2": -i names the interface; for the time between probes say --interval 0.2`},
		{"-I 200ms 192.0.2.1", `no interface "200ms": -i names the interface; for the time between probes say --interval 200ms`},

		{"version now", `unexpected argument "now" (l2ping version --help tells more)`},
		{"demo now", `unexpected argument "now" (l2ping demo --help tells more)`},
		{"route", "no host given (l2ping route --help tells more)"},
		{"route 192.0.2.1 192.0.2.2", "more than one host given (192.0.2.1, 192.0.2.2): several are not supported so far (l2ping route --help tells more)"},
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
	for _, flag := range strings.Fields("-i -I -d -c -w -W -s -t -Q -M -p -e -n -q -v -D -O -b -4 -h") {
		if !strings.Contains(root, "\n  "+flag+", --") {
			t.Errorf("no %s in the help", flag)
		}
	}
	for _, flag := range []string{"--filter", "--timestamps", "--budget", "--histogram", "--json", "--interface", "--interval"} {
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

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		s        probe.Statistics
		count    uint64
		deadline bool
		want     int
	}{
		{probe.Statistics{}, 0, false, exitNoReply},
		{probe.Statistics{Sent: 3, Lost: 3}, 3, false, exitNoReply},
		{probe.Statistics{Sent: 3, Received: 1, Lost: 2}, 3, false, exitOK},
		{probe.Statistics{Sent: 3, Lost: 3, Late: 1}, 3, false, exitOK},
		{probe.Statistics{Sent: 3, Received: 1, Lost: 2}, 0, true, exitOK},
		{probe.Statistics{Sent: 3, Received: 2, Lost: 1}, 3, true, exitNoReply},
		{probe.Statistics{Sent: 4, Received: 2, Lost: 2, Late: 1}, 3, true, exitOK},
		{probe.Statistics{Sent: 3, Errors: 3}, 0, true, exitNoReply},
	} {
		cfg := probe.Config{Count: tt.count}
		if tt.deadline {
			cfg.Deadline = 1
		}
		if got := status(&tt.s, &cfg); got != tt.want {
			t.Errorf("%+v, count %d, deadline %t: %d, want %d", tt.s, tt.count, tt.deadline, got, tt.want)
		}
	}
}

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
		cfg.Deadline != 0 || cfg.TTL != 0 || cfg.TOS != 0 || cfg.MayFragment || cfg.Broadcast || cfg.Sent ||
		cfg.Filter != bpf.Auto || cfg.Timestamps != probe.TimestampsAuto || cfg.Pattern != nil || cfg.Interface != "" {
		t.Errorf("%+v", cfg)
	}
	// 0 is a value.
	if cfg := parse("-s", "0", "-e", "0"); cfg.DataLen == nil || *cfg.DataLen != 0 || cfg.ID == nil || *cfg.ID != 0 {
		t.Errorf("%+v", cfg)
	}
	if cfg := parse("-M", "dont", "-b", "--filter", "classic", "--timestamps", "user"); !cfg.MayFragment || !cfg.Broadcast ||
		cfg.Filter != bpf.Classic || cfg.Timestamps != probe.TimestampsUser {
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
