//go:build linux

package render

import (
	"errors"
	"fmt"

	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// unreachable has ping's words for the codes of a destination unreachable
// message (RFC 792, RFC 1122, RFC 1812).
var unreachable = [...]string{
	0:  "Destination Net Unreachable",
	1:  "Destination Host Unreachable",
	2:  "Destination Protocol Unreachable",
	3:  "Destination Port Unreachable",
	4:  "Frag needed and DF set",
	5:  "Source Route Failed",
	6:  "Destination Net Unknown",
	7:  "Destination Host Unknown",
	8:  "Source Host Isolated",
	9:  "Destination Net Prohibited",
	10: "Destination Host Prohibited",
	11: "Destination Net Unreachable for Type of Service",
	12: "Destination Host Unreachable for Type of Service",
	13: "Packet filtered",
	14: "Precedence Violation",
	15: "Precedence Cutoff",
}

// redirects has ping's words for the codes of a redirect.
var redirects = [...]string{
	0: "Redirect Network",
	1: "Redirect Host",
	2: "Redirect Type of Service and Network",
	3: "Redirect Type of Service and Host",
}

// message is ping's wording of a failure. A neighbor that is not to be found is
// what the kernel reports of itself: host or address unreachable.
func message(e *probe.Event) string {
	f := &e.Failure
	switch {
	case errors.Is(f.Local, probe.ErrNoNeighbor) && e.Address.Is6():
		return message6(&probe.Failure{Type: frame.ICMPv6DestinationUnreachable, Code: 3})
	case errors.Is(f.Local, probe.ErrNoNeighbor):
		return unreachable[1]
	case f.Local != nil:
		return f.Local.Error()
	}
	if f.From.Is6() {
		return message6(f)
	}
	code := int(f.Code)
	switch f.Type {
	case frame.ICMPDestinationUnreachable:
		switch {
		case code == frame.ICMPFragmentationNeeded:
			return fmt.Sprintf("%s (mtu = %d)", unreachable[code], f.MTU)
		case code < len(unreachable):
			return unreachable[code]
		}
		return fmt.Sprintf("Dest Unreachable, Bad Code: %d", code)
	case frame.ICMPRedirect:
		kind := fmt.Sprintf("Redirect, Bad Code: %d", code)
		if code < len(redirects) {
			kind = redirects[code]
		}
		return fmt.Sprintf("%s(New nexthop: %s)", kind, f.Gateway)
	case frame.ICMPTimeExceeded:
		switch code {
		case 0:
			return "Time to live exceeded"
		case 1:
			return "Frag reassembly time exceeded"
		}
		return fmt.Sprintf("Time exceeded, Bad Code: %d", code)
	case frame.ICMPParameterProblem:
		return fmt.Sprintf("Parameter problem: pointer = %d", f.Pointer)
	}
	return fmt.Sprintf("Bad ICMP type: %d", f.Type)
}

// message6 is that of an ICMPv6 error (RFC 4443, section 3), in the words of iputils.
func message6(f *probe.Failure) string {
	of := func(words []string, unknown string) string {
		if int(f.Code) < len(words) {
			return words[f.Code]
		}
		return fmt.Sprintf(unknown, f.Code)
	}
	switch f.Type {
	case frame.ICMPv6DestinationUnreachable:
		return "Destination unreachable: " + of([]string{
			"No route", "Administratively prohibited", "Beyond scope of source address", "Address unreachable", "Port unreachable",
			"Source address failed ingress/egress policy", "Reject route to destination",
		}, "Unknown code %d")
	case frame.ICMPv6PacketTooBig:
		if f.Code != 0 {
			return fmt.Sprintf("Packet too big: mtu=%d, code=%d", f.MTU, f.Code)
		}
		return fmt.Sprintf("Packet too big: mtu=%d", f.MTU)
	case frame.ICMPv6TimeExceeded:
		return "Time exceeded: " + of([]string{"Hop limit", "Defragmentation failure"}, "code %d")
	case frame.ICMPv6ParameterProblem:
		return "Parameter problem: " + of([]string{"Wrong header field ", "Unknown header ", "Unknown option "}, "code %d ") +
			fmt.Sprintf("at %d", f.Pointer)
	}
	return fmt.Sprintf("Bad ICMP type: %d", f.Type)
}

// Loss says in a line how a probe ended that brought no reply: ping's own line
// for an error, and a plain one for silence.
func Loss(e *probe.Event) string {
	switch {
	case e.Kind == probe.Lost:
		return fmt.Sprintf("icmp_seq=%d lost: no answer in time\n", uint16(e.Seq))
	case e.Failure.Local != nil:
		return fmt.Sprintf("icmp_seq=%d not sent: %s\n", uint16(e.Seq), e.Failure.Local)
	}
	return fmt.Sprintf("From %s icmp_seq=%d %s\n", e.Failure.From, uint16(e.Seq), message(e))
}
