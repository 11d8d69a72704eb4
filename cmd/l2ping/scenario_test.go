//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// TestScenarios runs the command against each scripted peer, with both filters.
func TestScenarios(t *testing.T) {
	t.Parallel()
	labtest.RequireNetns(t)
	for _, filter := range []string{"ebpf", "classic"} {
		t.Run(filter, func(t *testing.T) {
			if filter == "ebpf" {
				labtest.RequireRoot(t)
			}
			for _, s := range labtest.Scenarios(t) {
				t.Run(s.Name, func(t *testing.T) {
					t.Parallel()
					runScenario(t, s, filter)
				})
			}
		})
	}
}

func runScenario(t *testing.T, s lab.Scenario, filter string) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true, IPv6: s.IPv6()})
	peer, err := lab.StartPeer(pair.Far, "eth0", s.Peer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := peer.Close(); err != nil {
			t.Error(err)
		}
	})
	args := slices.Concat([]string{"-i", "eth0", "--json", "--filter", filter}, s.Args, s.Hosts)
	stdout, stderr, exit := runIn(t, pair.Near, command(args...))
	if stderr != "" {
		t.Errorf("standard error: %s", stderr)
	}
	events, err := decodeEvents(stdout)
	if err != nil {
		t.Fatal(err)
	}
	if got := events[0]["filter"]; got != filter {
		t.Errorf("filter %v, want %s", got, filter)
	}
	if err := checkScenario(s, events, exit, filter); err != nil {
		t.Error(err)
	}
	for _, r := range peer.Requests() {
		if r.Fault != "" {
			t.Errorf("the peer got a bad frame: %s: % x", r.Fault, r.Frame)
		}
	}
}

// checkScenario is Check, but the classic filter cannot count what it drops: where
// it says nothing of it, or of what got as far as user space alone, any count that
// a scenario expects beyond that will do.
func checkScenario(s lab.Scenario, events []map[string]any, exit int, filter string) error {
	summary := events[len(events)-1]
	rejected, counted := summary["rejected"]
	switch {
	case filter == "ebpf" && !counted:
		return fmt.Errorf("the summary does not tell what was rejected: %v", summary)
	case filter == "ebpf":
		return s.Check(events, exit)
	case rejected == json.Number("0"):
		return fmt.Errorf("the classic filter claims to have counted: %v", summary)
	}
	least := int64(0)
	if counted {
		least = count(rejected)
	}
	var first error
	for n := least; n < least+4; n++ {
		summary["rejected"] = json.Number(fmt.Sprint(n))
		err := s.Check(events, exit)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}
