//go:build linux

package render

import (
	"errors"
	"fmt"
	"testing"

	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// Each word is iputils ping's (ping.c, pr_icmph), but for the newline.
func TestMessage(t *testing.T) {
	const (
		unreachable = frame.ICMPDestinationUnreachable
		redirect    = frame.ICMPRedirect
		exceeded    = frame.ICMPTimeExceeded
		problem     = frame.ICMPParameterProblem
	)
	for _, tt := range []struct {
		f    probe.Failure
		want string
	}{
		{probe.Failure{Type: unreachable, Code: 0}, "Destination Net Unreachable"},
		{probe.Failure{Type: unreachable, Code: 1}, "Destination Host Unreachable"},
		{probe.Failure{Type: unreachable, Code: 2}, "Destination Protocol Unreachable"},
		{probe.Failure{Type: unreachable, Code: 3}, "Destination Port Unreachable"},
		{probe.Failure{Type: unreachable, Code: 4, MTU: 1400}, "Frag needed and DF set (mtu = 1400)"},
		{probe.Failure{Type: unreachable, Code: 4}, "Frag needed and DF set (mtu = 0)"},
		{probe.Failure{Type: unreachable, Code: 5}, "Source Route Failed"},
		{probe.Failure{Type: unreachable, Code: 6}, "Destination Net Unknown"},
		{probe.Failure{Type: unreachable, Code: 7}, "Destination Host Unknown"},
		{probe.Failure{Type: unreachable, Code: 8}, "Source Host Isolated"},
		{probe.Failure{Type: unreachable, Code: 9}, "Destination Net Prohibited"},
		{probe.Failure{Type: unreachable, Code: 10}, "Destination Host Prohibited"},
		{probe.Failure{Type: unreachable, Code: 11}, "Destination Net Unreachable for Type of Service"},
		{probe.Failure{Type: unreachable, Code: 12}, "Destination Host Unreachable for Type of Service"},
		{probe.Failure{Type: unreachable, Code: 13}, "Packet filtered"},
		{probe.Failure{Type: unreachable, Code: 14}, "Precedence Violation"},
		{probe.Failure{Type: unreachable, Code: 15}, "Precedence Cutoff"},
		{probe.Failure{Type: unreachable, Code: 16}, "Dest Unreachable, Bad Code: 16"},
		{probe.Failure{Type: unreachable, Code: 255}, "Dest Unreachable, Bad Code: 255"},
		{probe.Failure{Type: redirect, Code: 0, Gateway: gateway}, "Redirect Network(New nexthop: 192.0.2.254)"},
		{probe.Failure{Type: redirect, Code: 1, Gateway: gateway}, "Redirect Host(New nexthop: 192.0.2.254)"},
		{probe.Failure{Type: redirect, Code: 2, Gateway: gateway}, "Redirect Type of Service and Network(New nexthop: 192.0.2.254)"},
		{probe.Failure{Type: redirect, Code: 3, Gateway: gateway}, "Redirect Type of Service and Host(New nexthop: 192.0.2.254)"},
		{probe.Failure{Type: redirect, Code: 4, Gateway: gateway}, "Redirect, Bad Code: 4(New nexthop: 192.0.2.254)"},
		{probe.Failure{Type: exceeded, Code: 0}, "Time to live exceeded"},
		{probe.Failure{Type: exceeded, Code: 1}, "Frag reassembly time exceeded"},
		{probe.Failure{Type: exceeded, Code: 2}, "Time exceeded, Bad Code: 2"},
		{probe.Failure{Type: problem, Pointer: 9}, "Parameter problem: pointer = 9"},
		{probe.Failure{Type: problem, Code: 2, Pointer: 20}, "Parameter problem: pointer = 20"},
		{probe.Failure{Type: 99}, "Bad ICMP type: 99"},
		{probe.Failure{Local: fmt.Errorf("%w from 192.0.2.1 on eth0", probe.ErrNoNeighbor)}, "Destination Host Unreachable"},
		{probe.Failure{Local: errors.New("eth0: no carrier")}, "eth0: no carrier"},
	} {
		if got := message(&probe.Event{Address: far, Failure: tt.f}); got != tt.want {
			t.Errorf("type %d, code %d: %q, want %q", tt.f.Type, tt.f.Code, got, tt.want)
		}
	}
}
