//go:build interop && linux

package interop

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// header6 is what ping's header has for a source that it does not know.
var header6 = regexp.MustCompile(`(?m)^(PING .* from )\S+ eth0`)

// TestSameLinesAsPing6 is TestSameLinesAsPing for IPv6.
func TestSameLinesAsPing6(t *testing.T) {
	ping := program(t, "ping")
	for _, c := range []struct {
		name, target, args string
		routed             bool
		prepare            func(r *lab.Routed) error
		exit               int
	}{
		{name: "replies", target: "2001:db8:1::2", args: "-c 3"},
		{name: "link-local", target: "fe80::2%eth0", args: "-c 2"},
		{name: "numeric and quiet", target: "2001:db8:1::2", args: "-n -q -c 2"},
		{name: "size", target: "2001:db8:1::2", args: "-s 1452 -c 1"},
		{name: "fragments", target: "2001:db8:1::2", args: "-s 4000 -c 2"},
		{name: "all that fits", target: "2001:db8:1::2", args: "-s 65507 -c 1"},
		{name: "traffic class and hop limit", target: "2001:db8:1::2", args: "-Q 184 -t 33 -c 1"},
		{name: "through a router", target: "2001:db8:2::1", args: "-c 3", routed: true},
		{name: "hop limit exceeded", target: "2001:db8:2::1", args: "-t 1 -c 2", routed: true, exit: 1},
		{name: "no route", target: "2001:db8:3::1", args: "-c 2", routed: true, exit: 1},
		{
			name: "prohibited", target: "2001:db8:2::1", args: "-c 2", routed: true, exit: 1,
			prepare: func(r *lab.Routed) error {
				return r.Router.AddRefusal(netip.MustParsePrefix("2001:db8:2::1/128"), unix.RTN_PROHIBIT)
			},
		},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			place := func() *lab.Namespace {
				if !c.routed {
					return labtest.NewPair(t, &lab.PairConfig{IPv6: true}).Near
				}
				r := labtest.NewRouted(t)
				must(t, r.EnableIPv6())
				if c.prepare != nil {
					must(t, c.prepare(r))
				}
				return r.Near
			}
			ours, theirs := place(), place()
			args := slices.Concat([]string{patience, "-l", "4", "-W", patience}, strings.Fields(c.args), []string{c.target})
			got, want := besides(t, ours, append([]string{"-i", "eth0", "-d"}, args...), theirs, ping, append([]string{"-I", "eth0", "-i"}, args...))
			gotText, wantText := plain(got.stdout, false), plain(want.stdout, false)
			if strings.Contains(wantText, " from :: eth0: ") {
				gotText = header6.ReplaceAllString(gotText, "$1:: eth0")
			}
			sameLines(t, got, want, gotText, wantText, c.exit)
		})
	}
}
