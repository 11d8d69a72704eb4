//go:build linux

package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// The route has the ping's flags, in the ping's words, and no others.
func TestRouteFlags(t *testing.T) {
	root := newRoot(&env{})
	cmd, _, err := root.Find([]string{"route"})
	must(t, err)
	n := 0
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		n++
		if ping := root.Flags().Lookup(f.Name); ping == nil || ping.Shorthand != f.Shorthand || ping.Usage != f.Usage {
			t.Errorf("--%s is not the ping's", f.Name)
		}
	})
	for _, name := range strings.Fields("interface from source netns ipv4 ipv6 vlan gateway dst-mac src-mac mark") {
		if n--; cmd.Flags().Lookup(name) == nil {
			t.Errorf("no --%s", name)
		}
	}
	if n != 1 { // --help
		t.Errorf("%d flags more than those that decide how a probe leaves", n-1)
	}
}

// routeFacts are the values of the lines that `l2ping route` prints.
func routeFacts(t *testing.T, ns *lab.Namespace, args []string) (map[string]string, string) {
	t.Helper()
	stdout, stderr, exit := runIn(t, ns, command(append([]string{"route"}, args...)...))
	if (exit == exitError) != (stderr != "") || (stdout == "") != (stderr != "") {
		t.Errorf("route %v: exit status %d\nstdout: %sstderr: %s", args, exit, stdout, stderr)
	}
	facts := make(map[string]string)
	for line := range strings.Lines(stdout) {
		if len(line) < 11 {
			t.Fatalf("route %v: a line %q", args, line)
		}
		name, value := strings.TrimSpace(line[:10]), line[11:]
		value, _, _ = strings.Cut(value, "  ") // the reason
		if len(value) > 18 {
			value, _, _ = strings.Cut(value, " ")
		}
		facts[name] = strings.TrimSpace(value)
	}
	return facts, stderr
}

// startFacts are the same of the first line of a ping.
func startFacts(t *testing.T, ns *lab.Namespace, args []string) (map[string]string, string) {
	t.Helper()
	stdout, stderr, _ := runIn(t, ns, command(append([]string{"--json", "-c", "1", "-W", "10ms"}, args...)...))
	if stderr != "" {
		return nil, stderr
	}
	line, _, _ := strings.Cut(stdout, "\n")
	e, err := decodeEvent(line)
	if err != nil {
		t.Fatalf("ping %v: %v", args, err)
	}
	facts := make(map[string]string)
	for name, value := range map[string]any{
		"interface": e["interface"], "source": e["source"], "source mac": e["source_mac"], "owner": e["owner"],
	} {
		if s, ok := value.(string); ok {
			facts[name] = s
		}
	}
	hop, _ := e["next_hop"].(map[string]any)
	facts["next hop"], _ = hop["address"].(string)
	if facts["mac"], _ = hop["mac"].(string); facts["mac"] == "" {
		facts["mac"] = "unknown"
	}
	return facts, ""
}

// With the same flags the route tells what the ping then does, or refuses it in the
// same words.
func TestRouteIsThePings(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true, IPv6: true})
	labtest.StartPeer(t, pair.Far, "eth0", "address 198.51.100.2, 198.51.100.3, 203.0.113.9, 2001:db8:1::2, fe80::2")
	must(t, pair.Near.AddVeth("eth1", "eth2"))
	must(t, pair.Near.SetUp("eth1"))
	must(t, pair.Near.SetUp("eth2"))
	must(t, pair.Near.WaitUp("eth1"))
	must(t, pair.Near.AddAddr("eth1", netip.MustParsePrefix("198.18.0.1/24")))
	must(t, pair.Near.AddAddr("lo", netip.MustParsePrefix("192.0.2.1/32")))
	must(t, pair.Near.Install(lab.Route{
		Dst: netip.MustParsePrefix("203.0.113.0/24"), Via: netip.MustParseAddr("198.51.100.3"), Interface: "eth0", Table: 7,
	}))
	must(t, pair.Near.AddRule(lab.Rule{Mark: 5, Table: 7, Priority: 1000}))
	must(t, pair.Near.AddRefusal(netip.MustParsePrefix("203.0.113.128/25"), unix.RTN_BLACKHOLE))

	for _, args := range []string{
		"198.51.100.2",
		"-i eth0 198.51.100.2",
		"-i eth0 2001:db8:1::2",
		"-i eth0 fe80::2",
		"fe80::2%eth0",
		"-S 2001:db8:1::1 fe80::2%eth0",
		"-i eth0 -S 198.51.100.77 198.51.100.2",
		"-I 198.51.100.1 198.51.100.2",
		"-i eth0 -S 192.0.2.1 198.51.100.2",
		"-i eth0 --gateway 198.51.100.2 203.0.113.9",
		"-i eth0 --gateway fe80::2 203.0.113.9",
		"--mark 5 203.0.113.9",
		"--mark 0x5 --gateway 198.51.100.2 203.0.113.9",
		"-i eth0 --vlan 100 198.51.100.2",
		"-i eth0 --vlan 0.5 198.51.100.2",
		"-i eth0 --vlan 0.5 -S 198.51.100.77 198.51.100.2",
		"-i eth0 --vlan 200.3,100 -S 203.0.113.1 --gateway 203.0.113.9 203.0.113.200",
		"-i eth0 --vlan 100 2001:db8:1::2",
		"-i eth0 --src-mac 02:00:5e:00:53:aa 198.51.100.2",
		"-i eth0 --src-mac 02:00:5e:00:53:aa --vlan 7 2001:db8:1::2",
		"-i eth0 --dst-mac 02:00:5e:00:53:02 198.51.100.99",
		"-i eth0 --dst-mac 02:00:5e:00:53:02 --src-mac 02:00:5e:00:53:aa --vlan 7 198.51.100.99",
		"-i lo 127.0.0.1",
		"-4 -i eth0 198.51.100.2",
		"-6 2001:db8:1::2",

		// Refused.
		"203.0.113.200",
		"-i eth1 203.0.113.200",
		"-S 198.51.100.77 198.51.100.2",
		"-i eth0 -S 198.51.100.2 198.51.100.2",
		"-i eth0 -S 198.51.100.77 --gateway 198.51.100.77 198.51.100.2",
		"-i eth0 -S 0.0.0.0 198.51.100.2",
		"-i eth0 --gateway 198.51.100.1 198.51.100.2",
		"-i eth0 --src-mac 01:00:5e:00:00:01 198.51.100.2",
		"-i eth0 -S 224.0.0.1 198.51.100.2",
		"-i eth0 --gateway 224.0.0.5 198.51.100.2",
		"-i eth0 --gateway 198.51.100.2 2001:db8:9::9",
		"-i eth1 fe80::2%eth0",
		"0.0.0.0",
		"-i lo --gateway 198.51.100.2 127.0.0.1",
		"-i lo --vlan 5 127.0.0.1",
		"-i lo --src-mac 02:00:5e:00:53:aa 127.0.0.1",
		"-i lo --dst-mac 02:00:5e:00:53:aa 127.0.0.1",
		"198.51.100.1",
		"-i eth7 198.51.100.2",
		"-i 0.2 198.51.100.2",
		"fe80::2",
		"fe80::2%eth7",
		"-4 -6 198.51.100.2",
		"-6 198.51.100.2",
		"-4 -S 2001:db8:1::1 198.51.100.2",
		"-I 198.51.100.1 -S 198.51.100.7 198.51.100.2",
		"--netns nosuch 198.51.100.2",
	} {
		t.Run(args, func(t *testing.T) {
			args := strings.Fields(args)
			route, refused := routeFacts(t, pair.Near, args)
			ping, pingRefused := startFacts(t, pair.Near, args)
			if refused != pingRefused {
				t.Fatalf("the route is refused by\n%sthe ping by\n%s", refused, pingRefused)
			}
			if refused != "" {
				return
			}
			if _, shown := route["source mac"]; !shown {
				delete(ping, "source mac")
			}
			for name, want := range ping {
				if got := route[name]; got != want && !(got == "none" && want == "unknown") {
					t.Errorf("%s is %q, the ping's is %q", name, got, want)
				}
			}
		})
	}
}

// Where nobody has to be asked no capability is needed, whatever the flags.
func TestRouteOverrideNeedsNothing(t *testing.T) {
	t.Parallel()
	labtest.RequireRoot(t)
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	args := strings.Fields("route -i eth0 --dst-mac 02:00:5e:00:53:99 --src-mac 02:00:5e:00:53:98 --vlan 7 198.51.100.2")
	stdout, stderr, exit := runIn(t, pair.Near, asUser(command(args...)))
	if !strings.Contains(stdout, "\nmac        02:00:5e:00:53:99  as asked\n") || stderr != "" || exit != exitOK {
		t.Errorf("exit status %d\nstdout: %sstderr: %s", exit, stdout, stderr)
	}
	args = strings.Fields("route -i eth0 --vlan 7 198.51.100.2")
	stdout, stderr, exit = runIn(t, pair.Near, asUser(command(args...), allBut(t, cap.NET_RAW)...))
	if stdout != "" || !strings.HasPrefix(stderr, "l2ping: ask for 198.51.100.2: ") || exit != exitError {
		t.Errorf("asking without CAP_NET_RAW: exit status %d\nstdout: %sstderr: %s", exit, stdout, stderr)
	}
}
