//go:build interop && linux

package interop

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

var (
	ndisc6Found = regexp.MustCompile(`(?m)^Target link-layer address: (\S+)$`)
	arpingFound = regexp.MustCompile(`(?m)^\w+ reply from \S+ \[(\S+)\]`)
)

// TestSameAnswersAsNdisc6 asks Linux's own stack and a scripted peer: both programs
// find the same MACs, or nobody.
func TestSameAnswersAsNdisc6(t *testing.T) {
	ndisc6 := program(t, "ndisc6")
	for _, tt := range []struct {
		name, peer string // "": Linux's own stack
		target     string
		want       []string
	}{
		{name: "a global address", target: "2001:db8:1::2", want: []string{"02:00:5E:00:53:02"}},
		{name: "a link-local address", target: "fe80::2", want: []string{"02:00:5E:00:53:02"}},
		{name: "nobody", target: "2001:db8:1::9"},
		{name: "nobody on the link", target: "fe80::9"},
		{name: "a router", peer: "ndp: router", target: "2001:db8:1::2", want: []string{"02:00:5E:00:53:02"}},
		{name: "another MAC", peer: "ndp: from 02:00:5e:00:53:66", target: "2001:db8:1::2", want: []string{"02:00:5E:00:53:66"}},
		{name: "two MACs", peer: "ndp: also 02:00:5e:00:53:66", target: "2001:db8:1::2", want: []string{"02:00:5E:00:53:02", "02:00:5E:00:53:66"}},
		{name: "routed", peer: "ndp: hop-limit 64", target: "2001:db8:1::2"},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			pair := labtest.NewPair(t, &lab.PairConfig{Silent: tt.peer != "", IPv6: true})
			if tt.peer != "" {
				labtest.StartPeer(t, pair.Far, "eth0", tt.peer)
			}
			want := run(t, pair.Near, "", ndisc6, "-m", "-n", "-r", "1", tt.target, "eth0")
			got := l2ping(t, pair.Near, "arping", "-i", "eth0", "-c", "1", tt.target)
			ours, theirs := macs(arpingFound, got), macs(ndisc6Found, want)
			if !slices.Equal(ours, theirs) || !slices.Equal(ours, tt.want) || (got.exit == 0) != (want.exit == 0) {
				t.Errorf("l2ping:\n%v\nndisc6:\n%v\nfound %q and %q, want %q", got, want, ours, theirs, tt.want)
			}
		})
	}
}

// macs are those that a program has found.
func macs(re *regexp.Regexp, o outcome) (list []string) {
	for _, m := range re.FindAllStringSubmatch(o.stdout, -1) {
		list = append(list, m[1])
	}
	return list
}
