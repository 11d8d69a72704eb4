//go:build interop && linux

package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// atDeadline is why iputils has sent one request more than ours.
const atDeadline = "iputils sends one more as it ends"

// arpings are runs of iputils arping and of l2ping arping, each in a lab of its
// own, which have to print the same lines, times apart, and end with the same
// status. The times differ, and not only from run to run: iputils adds half a
// millisecond to each.
var arpings = []struct {
	name   string
	peer   string // "": Linux's own stack
	args   string // of both
	target string // 198.51.100.2 if ""
	exit   int    // of both
	stderr string // of ours

	// Where the two differ, why says for what reason; theirs is the exit status of
	// iputils, and edit makes of what l2ping printed what iputils has to print.
	why    string
	theirs []int
	edit   func(ours, theirs string) string
}{
	{name: "replies", args: "-c 2"},
	{name: "replies of a peer", peer: "address 198.51.100.2", args: "-c 2"},
	{name: "broadcasts", args: "-b -c 2"},
	{name: "the first", args: "-f"},
	{name: "the first, in time", args: "-f -w 5"},
	{name: "so many, in time", args: "-c 2 -w 9"},
	{name: "one in time", args: "-c 1 -w 9"},
	{
		name: "a deadline", args: "-w 2 -b", why: atDeadline,
		edit: replacing("Sent 2 probes (2", "Sent 3 probes (3"),
	},
	{name: "quiet", args: "-q -c 1"},
	{name: "nobody", args: "-c 2", target: "198.51.100.9", exit: 1},
	{
		name: "nobody in time", args: "-w 1", target: "198.51.100.9", exit: 1, why: atDeadline,
		edit: replacing("Sent 1 probes (1", "Sent 2 probes (2"),
	},
	{name: "nobody, so many, in time", args: "-c 2 -w 9", target: "198.51.100.9", exit: 1},
	{name: "nobody, quiet", args: "-q -c 1", target: "198.51.100.9", exit: 1},
	{name: "one's own", args: "-c 1", target: "198.51.100.1", exit: 1},
	{name: "of another network", args: "-c 1", target: "203.0.113.9", exit: 1},
	{name: "a given source", args: "-c 1 -s 198.51.100.1"},
	{name: "late", peer: "arp: delay 300ms", args: "-c 2"},

	{name: "taken", args: "-D -c 2", exit: 1},
	{name: "taken, quiet", args: "-D -q", exit: 1},
	{name: "taken, in time", args: "-D -w 3", exit: 1},
	{name: "free", args: "-D -c 2", target: "198.51.100.9"},
	{name: "free, quiet", args: "-D -q -c 1", target: "198.51.100.9"},
	{
		name: "free, in time", args: "-D -w 1", target: "198.51.100.9", why: atDeadline,
		edit: replacing("Sent 1 probes (1", "Sent 2 probes (2"),
	},
	{name: "free, so many, in time", args: "-D -c 2 -w 9", target: "198.51.100.9"},

	{name: "announced", args: "-U -c 2", target: "198.51.100.1"},
	{name: "announced by replies", args: "-A -c 2", target: "198.51.100.1"},
	{name: "announced, quiet", args: "-U -q -c 1", target: "198.51.100.1"},
	{
		name: "announced to one", args: "-U -s 198.51.100.1 -c 1",
		why:  "the target answers; iputils counts that, ours listens for no answers to what it tells",
		edit: replacing("Sent 1", "Unicast reply from 198.51.100.2 [02:00:5E:00:53:02]  Tms\nSent 1", "Received 0", "Received 1"),
	},

	{
		name: "one lost", peer: "arp: silent 1", args: "-c 2",
		why: "iputils 20221126 ends with 1 unless all were answered; those from 2024 on as ours", theirs: []int{0, 1},
	},
	{
		name: "two have it", peer: "arp: also 02:00:5e:00:53:66", args: "-c 1",
		stderr: "l2ping: address conflict: 198.51.100.2 is at 02:00:5e:00:53:02 and at 02:00:5e:00:53:66\n",
		why:    "iputils 20221126 ends with 1 as there are more answers than requests; those from 2024 on as ours", theirs: []int{0, 1},
	},
}

var (
	arpingTimes = regexp.MustCompile(`(?m)  \d+\.\d{3}ms$`)
	// arpingTime also stands behind the MAC that a claim is for, and ahead of what
	// it is.
	arpingTime = regexp.MustCompile(` \d+\.\d{3}ms\b`)
)

func TestSameLinesAsArping(t *testing.T) {
	arping := program(t, "arping")
	for _, c := range arpings {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			target := c.target
			if target == "" {
				target = "198.51.100.2"
			}
			var got, want outcome
			var errs [2]error
			var wg sync.WaitGroup
			for i, path := range []string{os.Getenv(commandVar), arping} {
				pair := labtest.NewPair(t, &lab.PairConfig{Silent: c.peer != ""})
				if c.peer != "" {
					labtest.StartPeer(t, pair.Far, "eth0", c.peer)
				}
				args := slices.Concat([]string{"-I", "eth0"}, strings.Fields(c.args), []string{target})
				if i == 0 {
					args = append([]string{"arping"}, args...)
				}
				wg.Go(func() {
					into := []*outcome{&got, &want}[i]
					*into, errs[i] = tryRun(t.Context(), pair.Near, "", path, args...)
				})
			}
			wg.Wait()
			for _, err := range errs {
				must(t, err)
			}
			ours, theirs := arpingTimes.ReplaceAllString(got.stdout, "  Tms"), arpingTimes.ReplaceAllString(want.stdout, "  Tms")
			if c.edit != nil {
				ours = c.edit(ours, theirs)
			}
			if c.theirs == nil {
				c.theirs = []int{c.exit}
			}
			if ours != theirs || got.exit != c.exit || !slices.Contains(c.theirs, want.exit) || got.stderr != c.stderr {
				t.Errorf("l2ping:\n%v\narping:\n%v\nwant exit %d, of arping %v; %s", got, want, c.exit, c.theirs, c.why)
			}
		})
	}
}

// anyCount is how often was asked: it depends on when the other host spoke.
var anyCount = regexp.MustCompile(`(?m)^Sent \d+ probes \(\d+ broadcast\(s\)\)$`)

// TestSameDetectionAsArping has a host whose kernel does not answer for its address
// (arp_ignore) say by iputils arping that it has it. Who looks whether the address
// is taken hears that, and prints the same, by either program.
func TestSameDetectionAsArping(t *testing.T) {
	arping := program(t, "arping")
	for _, tt := range []struct {
		name, says string // the arguments of what the host says it by
		args       string
		want       string // of both; "" where only ours hears it, and why
		why        string
	}{
		{
			name: "announced", says: "-U 198.51.100.2", args: "-w 20 198.51.100.2",
			want: `ARPING 198.51.100.2 from 0.0.0.0 eth0
Broadcast request from 198.51.100.2 [02:00:5E:00:53:02] for 198.51.100.2 [FF:FF:FF:FF:FF:FF] Tms
Sent N
Received 1 response(s) (1 request(s), 1 broadcast(s))
`,
		},
		{
			name: "announced by replies", says: "-A 198.51.100.2", args: "-w 20 198.51.100.2",
			want: `ARPING 198.51.100.2 from 0.0.0.0 eth0
Broadcast reply from 198.51.100.2 [02:00:5E:00:53:02] for 198.51.100.2 [02:00:5E:00:53:02] Tms
Sent N
Received 1 response(s) (1 broadcast(s))
`,
		},
		{
			name: "asking for another", says: "-b -s 198.51.100.2 198.51.100.77", args: "-w 20 198.51.100.2",
			want: `ARPING 198.51.100.2 from 0.0.0.0 eth0
Broadcast request from 198.51.100.2 [02:00:5E:00:53:02] for 198.51.100.77 [FF:FF:FF:FF:FF:FF] Tms
Sent N
Received 1 response(s) (1 request(s), 1 broadcast(s))
`,
		},
		{
			name: "looking too", says: "-D 198.51.100.9", args: "-c 3 198.51.100.9",
			why: "iputils does not look at address probes, as RFC 5227, section 2.1.1, does",
		},
	} {
		for i, path := range []string{os.Getenv(commandVar), arping} {
			t.Run(fmt.Sprintf("%s,iputils=%t", strings.ReplaceAll(tt.name, " ", "-"), i == 1), func(t *testing.T) {
				t.Parallel()
				pair := labtest.NewPair(t, nil)
				must(t, pair.Far.Sysctl("net.ipv4.conf.eth0.arp_ignore", "8"))
				ctx, stop := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				wg.Go(func() { // until it is heard
					_, _ = tryRun(ctx, pair.Far, "", arping, append([]string{"-I", "eth0", "-c", "25"}, strings.Fields(tt.says)...)...)
				})
				args := append([]string{"-I", "eth0", "-D"}, strings.Fields(tt.args)...)
				exit := 1
				if i == 0 {
					args = append([]string{"arping"}, args...)
				} else if tt.want == "" {
					exit = 0
				}
				got := run(t, pair.Near, "", path, args...)
				stop()
				wg.Wait()
				printed := anyCount.ReplaceAllString(arpingTime.ReplaceAllString(got.stdout, " Tms"), "Sent N")
				if got.exit != exit || got.stderr != "" || tt.want != "" && printed != tt.want {
					t.Errorf("%v\nwant exit %d and\n%s%s", got, exit, tt.want, tt.why)
				}
			})
		}
	}
}

// tentative is the link-local address that Linux makes for the far end of a pair
// out of its MAC, and looks whether it is free.
const tentative = "fe80::5eff:fe00:5302"

// lookForAddress has Linux make that address, and look for it for so many seconds.
func lookForAddress(t *testing.T, pair *lab.Pair, seconds string) {
	t.Helper()
	for _, s := range []struct{ name, value string }{
		{"accept_ra", "0"}, {"router_solicitations", "0"}, {"router_solicitation_delay", "0"}, {"accept_dad", "1"}, {"dad_transmits", seconds}, {"addr_gen_mode", "0"},
		{"disable_ipv6", "0"},
	} {
		must(t, pair.Far.Sysctl("net.ipv6.conf.eth0."+s.name, s.value))
	}
}

// TestDetectionMeetsLinux looks for an address while Linux's own duplicate address
// detection does (RFC 4862, RFC 7527): ours learns of the kernel's probe, and the
// kernel of ours.
func TestDetectionMeetsLinux(t *testing.T) {
	t.Run("ours learns", func(t *testing.T) {
		t.Parallel()
		pair := labtest.NewPair(t, nil)
		peer := labtest.StartPeer(t, pair.Far, "eth0", "address "+tentative+"\nndp: silent")
		ctx, cancel := context.WithTimeout(t.Context(), runLimit)
		defer cancel()
		var got outcome
		var failed error
		var wg sync.WaitGroup
		wg.Go(func() { // it has asked before the kernel knows the address, and asks no more
			got, failed = tryRun(ctx, pair.Near, "", os.Getenv(commandVar), "arping", "-i", "eth0", "-D", "-w", "25", "-d", "30s", tentative)
		})
		err := peer.WaitNDP(ctx, 1)
		lookForAddress(t, pair, "3")
		wg.Wait()
		must(t, err)
		must(t, failed)
		const want = "Broadcast request from :: [02:00:5E:00:53:02] for " + tentative + "  Tms (address probe)\n"
		if lines := arpingTime.ReplaceAllString(got.stdout, " Tms"); got.exit != 1 || got.stderr != "" || !strings.Contains(lines, want) {
			t.Errorf("%v\nwant exit 1 and\n%s", got, want)
		}
	})
	t.Run("the kernel learns", func(t *testing.T) {
		t.Parallel()
		pair := labtest.NewPair(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), runLimit)
		defer cancel()
		// A kernel that asks for the address is in its group (addrconf_dad_begin).
		asked := labtest.StartPeer(t, pair.Near, "eth0", "address "+tentative+"\nndp: silent")
		changed := subscribe(t, pair.Far, unix.RTMGRP_IPV6_IFADDR)
		lookForAddress(t, pair, "60")
		must(t, asked.WaitNDP(ctx, 1))
		address := fmt.Sprintf("%x", netip.MustParseAddr(tentative).AsSlice())
		l2ping(t, pair.Near, "arping", "-i", "eth0", "-D", "-c", "1", tentative)
		changed.until(t, "the kernel gives the address up", func() bool {
			// Address, index, prefix length, scope, flags, name.
			line := procLine(t, pair.Far, "if_inet6", 0, address)
			if line == nil {
				return false
			}
			flags, err := strconv.ParseUint(line[4], 16, 32)
			must(t, err)
			const failed = 0x08 // IFA_F_DADFAILED
			return flags&failed != 0
		})
	})
}

// procLine is the line of a file in /proc/net that has a word at a place, nil if
// there is none.
func procLine(t *testing.T, n *lab.Namespace, name string, at int, word string) []string {
	t.Helper()
	var text []byte
	must(t, n.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/" + name)
		return err
	}))
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > max(at, 4) && f[at] == word {
			return f
		}
	}
	return nil
}

// TestSameExitStatusAsArping is about what goes wrong before the first request.
func TestSameExitStatusAsArping(t *testing.T) {
	arping := program(t, "arping")
	pair := labtest.NewPair(t, nil)
	must(t, pair.Near.AddVeth("veth0", "veth1"))
	must(t, pair.Near.AddVeth("veth2", "veth3"))
	must(t, pair.Near.SetARP("veth2", false))
	must(t, pair.Near.SetUp("veth2"))
	must(t, pair.Near.SetUp("veth3"))
	must(t, pair.Near.WaitUp("veth2"))
	for _, tt := range []struct {
		name, args string
		exit       int
	}{
		{"no host", "-I eth0", 2},
		{"unknown host", "-I eth0 host.invalid", 2},
		{"unknown interface", "-I nosuch0 198.51.100.2", 2},
		{"unknown flag", "-I eth0 -Z 198.51.100.2", 2},
		{"down", "-I veth0 -c 1 198.51.100.2", 2},
		{"down, is it taken", "-I veth0 -D -c 1 198.51.100.2", 2},
		{"no ARP", "-I veth2 -c 1 198.51.100.2", 2},
		{"no ARP, is it taken", "-I veth2 -D -c 1 198.51.100.2", 0},
		{"loopback, is it taken", "-I lo -D -c 1 127.0.0.2", 0},
		{"announce another's address", "-I eth0 -U -c 1 198.51.100.77", 2},
		{"announce another's address by a reply", "-I eth0 -A -c 1 198.51.100.77", 2},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "-"), func(t *testing.T) {
			got := l2ping(t, pair.Near, append([]string{"arping"}, strings.Fields(tt.args)...)...)
			want := run(t, pair.Near, "", arping, strings.Fields(tt.args)...)
			if got.exit != want.exit || got.exit != tt.exit {
				t.Errorf("l2ping arping %s:\n%v\narping:\n%v\nwant exit %d of both", tt.args, got, want, tt.exit)
			}
			if got.stdout != "" || strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("want one line on standard error: %v", got)
			}
		})
	}
}

// TestKernelLearnsAsFromArping holds what Linux's own neighbor table takes of our
// messages against what it takes of iputils': who is asked learns who asks, who
// looks whether an address is free leaves no trace, and an announcement changes
// what is known, or makes it known where the host is willing (arp_accept).
func TestKernelLearnsAsFromArping(t *testing.T) {
	arping := program(t, "arping")
	stranger := net.HardwareAddr{0x02, 0x00, 0x5e, 0x00, 0x53, 0x99}
	for _, tt := range []struct {
		name, args string
		target     string
		before     net.HardwareAddr // of the far end's entry for the near end
		accept     bool
		learns     bool
		alone      bool // there is no iputils arping for it
		of         netip.Addr
	}{
		{name: "asked", args: "-c 1", target: "198.51.100.2", learns: true},
		{name: "probed", args: "-D -c 1", target: "198.51.100.2"},
		{name: "probed, known otherwise", args: "-D -c 1", target: "198.51.100.2", before: stranger},
		{name: "told", args: "-U -c 1", target: "198.51.100.1"},
		{name: "told, known otherwise", args: "-U -c 1", target: "198.51.100.1", before: stranger, learns: true},
		{name: "told by a reply, known otherwise", args: "-A -c 1", target: "198.51.100.1", before: stranger, learns: true},
		{name: "told, and willing", args: "-U -c 1", target: "198.51.100.1", accept: true, learns: true},
		{name: "told by a reply, and willing", args: "-A -c 1", target: "198.51.100.1", accept: true, learns: true},
		{name: "told alone", args: "-U -s 198.51.100.1 -c 1", target: "198.51.100.2", learns: true},

		{name: "IPv6 asked", args: "-c 1", target: "2001:db8:1::2", learns: true, alone: true},
		{name: "IPv6 probed", args: "-D -c 1", target: "2001:db8:1::2", alone: true},
		{name: "IPv6 told", args: "-U -c 1", target: "2001:db8:1::1", alone: true},
		{name: "IPv6 told, known otherwise", args: "-U -c 1", target: "2001:db8:1::1", before: stranger, learns: true, alone: true},
		{name: "IPv6 told by -A, known otherwise", args: "-A -c 1", target: "2001:db8:1::1", before: stranger, learns: true, alone: true},
	} {
		for _, theirs := range []bool{false, true} {
			if theirs && tt.alone {
				continue
			}
			t.Run(fmt.Sprintf("%s,iputils=%t", strings.ReplaceAll(tt.name, " ", "-"), theirs), func(t *testing.T) {
				t.Parallel()
				pair := labtest.NewPair(t, nil)
				near := pair.NearIP
				if tt.alone {
					must(t, pair.EnableIPv6())
					near = pair.NearIP6
				}
				if tt.accept {
					must(t, pair.Far.Sysctl("net.ipv4.conf.eth0.arp_accept", "1"))
				}
				if tt.before != nil {
					must(t, pair.Far.SetNeighbor("eth0", near, tt.before, lab.Stale))
				}
				changed := subscribe(t, pair.Far, unix.RTMGRP_NEIGH)
				args := slices.Concat([]string{"-I", "eth0"}, strings.Fields(tt.args), []string{tt.target})
				if theirs {
					run(t, pair.Near, "", arping, args...)
				} else if o := l2ping(t, pair.Near, append([]string{"arping"}, args...)...); o.exit == 2 {
					t.Error(o)
				}
				want := tt.before
				if tt.learns {
					want = pair.NearMAC
				}
				// A frame is there before its sender has ended: veth hands it over at once,
				// but the kernel may do so on another CPU.
				changed.until(t, fmt.Sprintf("the far end has the near one at %v", want), func() bool {
					got, _, err := pair.Far.Neighbor("eth0", near)
					must(t, err)
					return bytes.Equal(got, want)
				})
			})
		}
	}
}

// neighborFields are what tshark is asked to read of ARP and neighbor discovery.
var neighborFields = []string{
	"eth.src", "eth.dst", "ieee8021ad.id", "ieee8021ad.priority", "vlan.id", "vlan.priority",
	"arp.opcode", "arp.isgratuitous", "arp.isprobe",
	"arp.src.hw_mac", "arp.src.proto_ipv4", "arp.dst.hw_mac", "arp.dst.proto_ipv4",
	"ipv6.src", "ipv6.dst", "ipv6.hlim", "icmpv6.type", "icmpv6.code", "icmpv6.checksum.status",
	"icmpv6.nd.ns.target_address", "icmpv6.nd.na.target_address", "icmpv6.opt.type", "icmpv6.opt.linkaddr",
	"icmpv6.nd.na.flag.r", "icmpv6.nd.na.flag.s", "icmpv6.nd.na.flag.o",
	"_ws.malformed", "_ws.expert.severity", "_ws.expert.message",
}

// TestArpingAsTsharkReadsIt has each message read by a stranger.
func TestArpingAsTsharkReadsIt(t *testing.T) {
	const (
		us, peer, all = "02:00:5e:00:53:01", "02:00:5e:00:53:02", "ff:ff:ff:ff:ff:ff"
		group, nodes  = "33:33:ff:00:00:02", "33:33:00:00:00:01"
	)
	ask := dissected{
		"arp.opcode": "1", "arp.src.hw_mac": us, "arp.src.proto_ipv4": "198.51.100.1",
		"arp.dst.hw_mac": "00:00:00:00:00:00", "arp.dst.proto_ipv4": "198.51.100.2", "arp.isgratuitous": "", "arp.isprobe": "",
	}
	solicit := dissected{
		"ipv6.src": "2001:db8:1::1", "icmpv6.type": "135", "icmpv6.nd.ns.target_address": "2001:db8:1::2",
		"icmpv6.opt.type": "1", "icmpv6.opt.linkaddr": us,
	}
	advertise := dissected{
		"eth.dst": nodes, "ipv6.src": "2001:db8:1::1", "ipv6.dst": "ff02::1", "icmpv6.type": "136", "icmpv6.nd.na.target_address": "2001:db8:1::1",
		"icmpv6.opt.type": "2", "icmpv6.opt.linkaddr": us,
		"icmpv6.nd.na.flag.r": "0", "icmpv6.nd.na.flag.s": "0", "icmpv6.nd.na.flag.o": "1",
	}
	with := func(d dissected, more dissected) dissected {
		all := dissected{}
		for _, from := range []dissected{d, more} {
			for f, v := range from {
				all[f] = v
			}
		}
		return all
	}
	for _, tt := range []struct {
		name, args string
		want       []dissected
	}{
		{"ask", "-c 2 -d 500ms 198.51.100.2", []dissected{with(ask, dissected{"eth.dst": all}), with(ask, dissected{"eth.dst": peer})}},
		{"detect", "-D 198.51.100.2", []dissected{with(ask, dissected{"eth.dst": all, "arp.src.proto_ipv4": "0.0.0.0", "arp.isprobe": "1"})}},
		{"announce", "-U -c 1 198.51.100.1", []dissected{with(ask, dissected{"eth.dst": all, "arp.dst.proto_ipv4": "198.51.100.1", "arp.isgratuitous": "1"})}},
		{"announce by a reply", "-A -c 1 198.51.100.1", []dissected{with(ask, dissected{
			"eth.dst": all, "arp.opcode": "2", "arp.dst.proto_ipv4": "198.51.100.1", "arp.dst.hw_mac": us, "arp.isgratuitous": "1",
		})}},
		{"two tags", "-c 1 --vlan 200.3,100 198.51.100.2", []dissected{with(ask, dissected{"eth.dst": all, "ieee8021ad.id": "200", "ieee8021ad.priority": "3", "vlan.id": "100", "vlan.priority": "0"})}},
		{"another MAC", "-c 1 --src-mac 02:00:5e:00:53:44 198.51.100.2", []dissected{with(ask, dissected{
			"eth.src": "02:00:5e:00:53:44", "eth.dst": all, "arp.src.hw_mac": "02:00:5e:00:53:44",
		})}},
		{"solicit", "-c 2 -d 500ms 2001:db8:1::2", []dissected{
			with(solicit, dissected{"eth.dst": group, "ipv6.dst": "ff02::1:ff00:2"}), with(solicit, dissected{"eth.dst": peer, "ipv6.dst": "2001:db8:1::2"}),
		}},
		{"solicit of a link", "-c 1 fe80::2", []dissected{with(solicit, dissected{
			"ipv6.src": "fe80::1", "icmpv6.nd.ns.target_address": "fe80::2", "ipv6.dst": "ff02::1:ff00:2",
		})}},
		{"detect by NDP", "-D 2001:db8:1::2", []dissected{with(solicit, dissected{
			"eth.dst": group, "ipv6.src": "::", "ipv6.dst": "ff02::1:ff00:2", "icmpv6.opt.type": "", "icmpv6.opt.linkaddr": "",
		})}},
		{"advertise", "-U -c 1 2001:db8:1::1", []dissected{advertise}},
		{"solicit with a tag", "-c 1 --vlan 7 2001:db8:1::2", []dissected{with(solicit, dissected{"eth.dst": group, "vlan.id": "7", "vlan.priority": "0"})}},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			pair := labtest.NewPair(t, &lab.PairConfig{Silent: true, IPv6: true})
			labtest.StartPeer(t, pair.Far, "eth0", "")
			got := neighborMessages(t, pair, len(tt.want), func() {
				args := append([]string{"arping", "-i", "eth0"}, strings.Fields(tt.args)...)
				if o := l2ping(t, pair.Near, args...); o.exit == 2 || o.stderr != "" {
					t.Error(o)
				}
			})
			if len(got) != len(tt.want) {
				t.Fatalf("%d messages, want %d: %v", len(got), len(tt.want), got)
			}
			for i, d := range got {
				d.clean(t)
				if tt.want[i]["eth.src"] == "" {
					d.has(t, dissected{"eth.src": us})
				}
				if d["icmpv6.type"] != "" {
					d.has(t, dissected{"ipv6.hlim": "255", "icmpv6.code": "0", "icmpv6.checksum.status": "1"})
				}
				d.has(t, tt.want[i])
			}
		})
	}
}

// neighborMessages captures at the far end of a pair what work sends of ARP and
// neighbor discovery, until there are so many messages, and has tshark dissect
// them.
func neighborMessages(t *testing.T, pair *lab.Pair, n int, work func()) []dissected {
	t.Helper()
	path := filepath.Join(t.TempDir(), "far.pcap")
	capture := startCapture(t, pair.Far, program(t, "tcpdump"), path)
	work()
	capture.count(t, n, func(b []byte) bool { return !bytes.Equal(b[6:12], pair.FarMAC) && isNeighborMessage(b) })
	capture.end(t)
	return dissect(t, path, "eth.src != "+pair.FarMAC.String()+" && (arp || icmpv6.type == 135 || icmpv6.type == 136)", neighborFields)
}

// isNeighborMessage tells whether a frame, behind whatever tags, has an ARP message,
// a solicitation or an advertisement.
func isNeighborMessage(data []byte) bool {
	data = data[12:]
	for len(data) >= 4 && (data[0] == 0x81 && data[1] == 0 || data[0] == 0x88 && data[1] == 0xa8) {
		data = data[4:]
	}
	switch {
	case len(data) < 2:
		return false
	case binary.BigEndian.Uint16(data) == 0x0806:
		return true
	}
	return binary.BigEndian.Uint16(data) == 0x86dd && len(data) > 42 && data[8] == 58 && (data[42] == 135 || data[42] == 136)
}
