//go:build interop && linux

package interop

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// comparison is a run of ping and one of l2ping, each in a lab of its own,
// which have to print the same lines, numbers apart, and end with the same
// status.
//
// How long a reply takes must not matter, for a machine may be busy. So all probes
// of a run leave at once, and the interval is long: when ping has sent the last, it
// waits for the rest as long as twice the longest RTT or the interval, whichever is
// more, or for -W if it has heard nothing yet.
type comparison struct {
	name string

	// The lab: a silent pair with a peer that has this script, unless it is
	// "kernel" or "routed": Linux's own stack, in a pair or behind a router.
	peer    string
	prepare func(l *place) error

	target string // 198.51.100.2 if ""
	every  string // seconds between probes; "": they leave at once
	args   string // of both
	ours   string // of l2ping alone
	theirs string // of ping alone
	// without is ping without -I.
	without bool
	// piped says that several probes are out when an answer comes, which both show
	// as "pipe N". In the other runs that depends on how soon an answer comes.
	piped bool

	// Where the two differ, why says for what reason, and edit makes of what
	// l2ping printed what ping has to print.
	why  string
	edit func(ours, pings string) string
	exit int // of both
}

// place is a lab of either kind.
type place struct {
	near, router, far *lab.Namespace
}

func newPlace(t testing.TB, c *comparison) *place {
	t.Helper()
	var l *place
	switch c.peer {
	case "kernel":
		pair := labtest.NewPair(t, nil)
		l = &place{near: pair.Near, far: pair.Far}
	case "routed":
		r := labtest.NewRouted(t)
		l = &place{near: r.Near, router: r.Router, far: r.Host}
	default:
		pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
		labtest.StartPeer(t, pair.Far, "eth0", c.peer)
		l = &place{near: pair.Near, far: pair.Far}
	}
	if c.prepare != nil {
		must(t, c.prepare(l))
	}
	return l
}

// replacing is an edit that replaces a text, and a second one, and so on.
func replacing(pairs ...string) func(ours, pings string) string {
	return func(ours, _ string) string { return strings.NewReplacer(pairs...).Replace(ours) }
}

var unroutable = netip.MustParsePrefix("192.0.2.0/24")

var comparisons = []comparison{
	{name: "replies", args: "-c 3"},
	{name: "replies of a Linux host", peer: "kernel", args: "-c 3"},
	{name: "replies through a router", peer: "routed", target: "203.0.113.1", args: "-c 3"},
	{name: "numeric", args: "-n -c 2"},
	{name: "quiet", args: "-q -c 2"},
	{name: "quiet with errors", peer: "seq 2: error host-unreachable from 198.51.100.254", args: "-q -c 3"},
	{name: "wall clock", args: "-D -c 2"},
	{name: "size", args: "-s 1472 -c 1"},
	{name: "small", args: "-s 16 -c 1"},
	{
		name: "too small for a time", args: "-s 8 -c 1",
		why:  "ping keeps its clock in the payload and has no time without room for it; ours is the kernel's",
		edit: replacing(" time=T ms", "", "rtt min/avg/max/mdev = T/T/T/T ms", ""),
	},
	{name: "pattern", args: "-p ff00 -c 1"},
	{name: "pattern of an odd length", args: "-p abc -c 1"},
	{name: "type of service and TTL of the reply", peer: "all: ttl 7", args: "-Q 184 -t 33 -c 1"},
	{name: "a given id", args: "-e 4711 -c 1"},

	{name: "loss", peer: "seq 2: lose", args: "-c 3"},
	{name: "all lost", peer: "all: lose", args: "-c 3 -W 0.3", exit: 1},
	{name: "loss with a deadline", peer: "seq 1: lose", every: "5", args: "-c 1 -w 30"},
	{name: "too few by the deadline", peer: "seq 2..: lose", every: "5", args: "-c 3 -w 8", exit: 1},
	{name: "deadline alone", every: "5", args: "-w 8"},
	{name: "outstanding", peer: "seq 2: lose", every: "4", args: "-O -c 3"},
	{name: "outstanding with the wall clock", peer: "seq 1..2: lose", every: "0.05", args: "-O -D -c 3"},
	{name: "duplicates", peer: "seq 2: duplicate 3", args: "-c 3"},
	{name: "slow", peer: "seq 3: delay 20ms", args: "-c 3"},
	{name: "reordered", peer: "seq 2: reorder", args: "-c 4", piped: true},
	{name: "reordered and doubled", peer: "seq 2: reorder, duplicate", args: "-c 4", piped: true},
	{
		name: "late", peer: "seq 1: reorder", every: "6", args: "-c 2 -W 3", piped: true,
		why:  "ping knows no late replies: its -W ends the run and not a probe",
		edit: replacing(", +1 late", ""),
	},
	{name: "truncated", peer: "seq 2: truncate 20", args: "-c 3"},
	{
		name: "wrong checksum", peer: "seq 2: corrupt 2", args: "-c 3",
		why: "the ping of iputils 20221126 finds every checksum right (fixed in April 2024)",
		edit: func(ours, pings string) string {
			if strings.Contains(pings, "BAD CHECKSUM") {
				return ours
			}
			return replacing(" (BAD CHECKSUM!)", "", "2 received, +1 corrupted, 33.3333%", "3 received, 0%")(ours, pings)
		},
	},
	{
		name: "wrong data", peer: "seq 2: corrupt 40 fixed", args: "-c 3",
		why:  "ping leaves the 16 bytes of its clock out of the dump, ours shows all",
		edit: sameDump,
	},
	{name: "another id", peer: "seq 2: wrong-id", args: "-c 3"},
	{
		name: "router alert", peer: "seq 2: ip-options", args: "-c 3",
		why:  "ping lists the IP options of a reply; we ask for none and show none",
		edit: replacing("icmp_seq=2 ttl=64 time=T ms\n", "icmp_seq=2 ttl=64 time=T ms\nunknown option 94\n"),
	},
	{name: "padding", peer: "all: pad 18", args: "-c 2"},
	{name: "wrong IP checksum", peer: "seq 2: bad-ip-checksum", args: "-c 3"},
	{name: "frame cut short", peer: "seq 2: short-frame 10", args: "-c 3"},
	{name: "another VLAN", peer: "seq 2: vlan 7", args: "-c 3"},
	{name: "another MAC", peer: "seq 2: source-mac 02:00:5e:00:53:66", args: "-c 3"},

	{name: "net unreachable", peer: "all: error net-unreachable", args: "-c 2", exit: 1},
	// ping reads errors and replies from two queues: one comes well after the other.
	{name: "host unreachable", peer: "seq 2: error host-unreachable from 198.51.100.254", every: "5", args: "-c 2"},
	{name: "protocol unreachable", peer: "all: error 3/2", args: "-c 2", exit: 1},
	{name: "port unreachable", peer: "all: error port-unreachable", args: "-c 2", exit: 1},
	{name: "source route failed", peer: "all: error 3/5", args: "-c 2", exit: 1},
	{name: "net unknown", peer: "all: error 3/6", args: "-c 2", exit: 1},
	{name: "host unknown", peer: "all: error 3/7", args: "-c 2", exit: 1},
	{name: "host isolated", peer: "all: error 3/8", args: "-c 2", exit: 1},
	{name: "net prohibited", peer: "all: error 3/9", args: "-c 2", exit: 1},
	{name: "host prohibited", peer: "all: error 3/10", args: "-c 2", exit: 1},
	{name: "net unreachable for TOS", peer: "all: error 3/11", args: "-c 2", exit: 1},
	{name: "host unreachable for TOS", peer: "all: error 3/12", args: "-c 2", exit: 1},
	{name: "prohibited", peer: "all: error prohibited", args: "-c 2", exit: 1},
	{name: "precedence violation", peer: "all: error 3/14", args: "-c 2", exit: 1},
	{name: "precedence cutoff", peer: "all: error 3/15", args: "-c 2", exit: 1},
	{name: "time exceeded", peer: "all: error time-exceeded from 198.51.100.254 quote full", args: "-c 2 -t 1", exit: 1},
	{
		name: "reassembly time exceeded", peer: "all: error 11/1", args: "-c 2", exit: 1,
		why: "the kernel keeps this one from sockets (icmp_unreach); the words are those that ping would have",
		edit: replacing(
			"From 198.51.100.2 icmp_seq=1 Frag reassembly time exceeded\n", "",
			"From 198.51.100.2 icmp_seq=2 Frag reassembly time exceeded\n", "",
			", +2 errors", "",
		),
	},
	{name: "parameter problem", peer: "seq 1: error parameter-problem pointer 9", every: "5", args: "-c 2"},
	{name: "fragmentation needed", peer: "all: error frag-needed from 198.51.100.254 mtu 1400", args: "-M do -s 1472 -c 1", exit: 1},
	{name: "redirect", peer: "seq 2: error redirect-host from 198.51.100.253 gateway 198.51.100.254, reply", args: "-c 3"},
	{name: "redirect net", peer: "seq 2: error 5/0 from 198.51.100.253 gateway 198.51.100.254, reply", args: "-c 3"},
	{name: "error with the wall clock", peer: "seq 1: error host-unreachable", every: "5", args: "-D -c 2"},
	{name: "error with a deadline", peer: "seq 2: error host-unreachable", every: "5", args: "-c 3 -w 30", exit: 1},
	{name: "error of another id", peer: "seq 2: error host-unreachable from 198.51.100.254 forged id, reply", args: "-c 3"},

	{name: "TTL ends at the router", peer: "routed", target: "203.0.113.1", args: "-t 1 -c 2", exit: 1},
	{name: "router has no route", peer: "routed", target: "192.0.2.1", args: "-c 2", exit: 1},
	{
		name: "router refuses", peer: "routed", target: "192.0.2.1", args: "-c 2", exit: 1,
		prepare: func(l *place) error { return l.router.AddRefusal(unroutable, unix.RTN_UNREACHABLE) },
	},
	{
		name: "router prohibits", peer: "routed", target: "192.0.2.1", args: "-c 2", exit: 1,
		prepare: func(l *place) error { return l.router.AddRefusal(unroutable, unix.RTN_PROHIBIT) },
	},
	{name: "router gets no ARP reply", peer: "routed", target: "203.0.113.99", args: "-c 2", piped: true, exit: 1},
	{
		name: "router's link is narrow", peer: "routed", target: "203.0.113.1", args: "-M do -s 1472 -c 1", exit: 1,
		prepare: func(l *place) error { return l.router.SetMTU("eth1", 1400) },
	},
	{
		name: "ARP silence", peer: "arp: silent", args: "-c 2", exit: 1,
		without: true,
		why: "ping has both probes out while the kernel asks, which is its pipe; ours wait for the answer. " +
			"And with -I ping prints no error at all: the kernel reports them by lo, which is not the interface",
		piped: true,
		edit:  replacing(" from 198.51.100.1 eth0:", "", "time Tms\n\n", "time Tms\npipe N\n"),
	},

	{
		name: "broadcast", peer: "kernel", target: "198.51.100.255", args: "-b -c 2",
		prepare: func(l *place) error { return l.far.Sysctl("net.ipv4.icmp_echo_ignore_broadcasts", "0") },
	},

	{
		name: "another source", peer: "seq 2: source 198.51.100.3", args: "-c 3",
		why:  "ping takes a reply of anybody and says so; ours has to come from whom we asked",
		edit: inserting("64 bytes from 198.51.100.3: icmp_seq=2 ttl=64 time=T ms (DIFFERENT ADDRESS!)"),
	},
	{
		name: "error about a probe that never was", peer: "all: error host-unreachable from 198.51.100.254 forged checksum, reply",
		every: "10", ours: "-c 1", theirs: "-c 2",
		why:  "ping believes every error with its id (RFC 5927), and counts it towards -c; ours has to quote what we sent",
		edit: replacing("\n64 bytes", "\nFrom 198.51.100.254 icmp_seq=1 Destination Host Unreachable\n64 bytes", "1 received, 0%", "1 received, +1 errors, 0%"),
	},
	{
		name: "a reply without the cookie", peer: "seq 2: truncate 4", args: "-c 3",
		why:  "ping takes any reply with its id; ours has to bring the cookie back",
		edit: inserting("12 bytes from 198.51.100.2: icmp_seq=2 ttl=64 (truncated)"),
	},
	{
		name: "fragments", peer: "seq 2: fragment 32", args: "-c 3",
		why:  "the kernel puts fragments together for ping; a measurement by frames does not",
		edit: inserting("64 bytes from 198.51.100.2: icmp_seq=2 ttl=64 time=T ms"),
	},
	{
		name: "a priority tag", peer: "seq 2: vlan 0.5", args: "-c 3",
	},
}

// inserting is an edit for a line about probe 2 that ping has and ours has not.
// If ours took the probe for lost, ping counts it as received.
func inserting(line string) func(ours, pings string) string {
	return func(ours, _ string) string {
		at := strings.Index(ours, "\n64 bytes from 198.51.100.2: icmp_seq=2")
		if at < 0 {
			at = strings.Index(ours, "\n64 bytes from 198.51.100.2: icmp_seq=3")
		}
		if at < 0 {
			return ours
		}
		ours = ours[:at+1] + line + "\n" + ours[at+1:]
		return strings.Replace(ours, "2 received, 33.3333%", "3 received, 0%", 1)
	}
}

var dump = regexp.MustCompile(`(?m)(^#\d+\t.*\n)+`)

// sameDump is an edit that takes the first 16 bytes out of the dump of a reply's
// data.
func sameDump(ours, _ string) string {
	return dump.ReplaceAllStringFunc(ours, func(lines string) string {
		var data []string
		for line := range strings.Lines(lines) {
			_, bytes, _ := strings.Cut(line, "\t")
			data = append(data, strings.Fields(bytes)...)
		}
		var b strings.Builder
		for i := 16; i < len(data); i += 32 {
			fmt.Fprintf(&b, "#%d\t%s \n", i, strings.Join(data[i:min(i+32, len(data))], " "))
		}
		return b.String()
	})
}

var numbers = []struct {
	is *regexp.Regexp
	to string
}{
	// What our rtt line ends with, and ping's does not have.
	{regexp.MustCompile(`(?m)^(rtt .*?)(?:, host [a-z/]+ [0-9./]+ ms)?, (?:\w+ stamps|stamps(?: \w+ \d+)+)$`), "$1"},
	{regexp.MustCompile(`(?m)^\[\d+\.\d{6}\] `), "[T] "},
	{regexp.MustCompile(`\btime=\d+(\.\d+)? ms`), "time=T ms"},
	{regexp.MustCompile(`\btime \d+ms`), "time Tms"},
	{regexp.MustCompile(`= \d+\.\d{3}/\d+\.\d{3}/\d+\.\d{3}/\d+\.\d{3} ms`), "= T/T/T/T ms"},
}

var pipe = regexp.MustCompile(`(?m)(^|, )pipe \d+$`)

// plain takes out of ping's text the numbers that no two runs share, and of ours
// what it has besides. Without piped it takes out "pipe N" as a whole.
func plain(s string, piped bool) string {
	for _, n := range numbers {
		s = n.is.ReplaceAllString(s, n.to)
	}
	if piped {
		return pipe.ReplaceAllString(s, "${1}pipe N")
	}
	return pipe.ReplaceAllString(s, "")
}

// TestSameLinesAsPing is the promise that what parses ping parses l2ping. The
// source in ping's header is there because of its -I.
func TestSameLinesAsPing(t *testing.T) {
	ping := program(t, "ping")
	for _, c := range comparisons {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			target := cmp.Or(c.target, "198.51.100.2")
			pace := []string{patience, "-l", "4"}
			if c.every != "" {
				pace = []string{c.every}
			}
			ours, theirs := newPlace(t, &c), newPlace(t, &c)
			oursArgs := slices.Concat([]string{"-i", "eth0", "-W", patience, "-d"}, pace, strings.Fields(c.args), strings.Fields(c.ours), []string{target})
			theirsArgs := slices.Concat([]string{"-W", patience, "-i"}, pace, strings.Fields(c.args), strings.Fields(c.theirs), []string{target})
			if !c.without {
				theirsArgs = append([]string{"-I", "eth0"}, theirsArgs...)
			}
			got, want := besides(t, ours.near, oursArgs, theirs.near, ping, theirsArgs)
			gotText, wantText := plain(got.stdout, c.piped), plain(want.stdout, c.piped)
			if c.edit != nil {
				gotText = c.edit(gotText, wantText)
			}
			sameLines(t, got, want, gotText, wantText, c.exit)
		})
	}
}

// patience is how long, in seconds, both wait for a reply that has to come, and
// for one that must not.
const patience = "10"

// sameLines fails the test unless both texts, which are what l2ping and ping have
// printed, are the same, and both have ended with one exit status.
func sameLines(t *testing.T, got, want outcome, gotText, wantText string, exit int) {
	t.Helper()
	gotLines, wantLines := strings.Split(gotText, "\n"), strings.Split(wantText, "\n")
	if !slices.Equal(gotLines, wantLines) {
		t.Errorf("the lines differ\n%v\n%v\n%s", got, want, diff(gotLines, wantLines))
	}
	if got.exit != want.exit || got.exit != exit {
		t.Errorf("l2ping exits with %d, ping with %d, want %d of both", got.exit, want.exit, exit)
	}
}

// diff shows the lines that only one side has.
func diff(got, want []string) string {
	var b strings.Builder
	for i := range max(len(got), len(want)) {
		line := func(list []string) string {
			if i < len(list) {
				return list[i]
			}
			return "(none)"
		}
		if g, w := line(got), line(want); g != w {
			fmt.Fprintf(&b, "line %d:\n  l2ping: %q\n  ping:   %q\n", i+1, g, w)
		}
	}
	return b.String()
}
