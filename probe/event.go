//go:build linux

package probe

import (
	"errors"
	"net/netip"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// A Kind says what an Event tells.
type Kind uint8

// The kinds of events. Start comes first and Summary last; neither is ever
// dropped.
const (
	Start   Kind = iota + 1 // the decision, before the first probe
	Sent                    // a probe left; only if the Config asks for it
	Replied                 // a reply came; see Reply
	Failed                  // an error came for a probe; see Failure
	Lost                    // a probe's timeout passed
	Summary                 // the run is over; see Statistics
)

// An Event is something that happened to a run or to one of its probes.
type Event struct {
	Kind Kind
	// Time is the wall-clock time: of a reply its arrival stamp where it has
	// one.
	Time time.Time
	// Address is the target's.
	Address netip.Addr
	// Seq is the number of the probe, from 1; the ICMP sequence number is its
	// low 16 bits.
	Seq uint64

	// More says that another event is there already: who prints events may
	// leave writing to the last of them.
	More bool

	Start      *Started    // Kind Start
	Reply      Reply       // Kind Replied
	Failure    Failure     // Kind Failed
	Statistics *Statistics // Kind Summary
}

// Started tells what the run's probes are made of.
type Started struct {
	// Decision has the path and the next hop as they were at the start.
	Decision arp.Decision
	ID       uint16
	DataLen  int
	// CookieBytes is how many bytes of the run's random cookie the data
	// hold: fewer than 8 make a forged reply easier.
	CookieBytes int
	// Filter is the filter in use, FilterFallback why it is not eBPF if the
	// Config left the choice open.
	Filter         bpf.Mode
	FilterFallback error
	// Timestamps is the pair of stamps to be had, named by its weaker end,
	// TimestampsWhy why there is none better if the Config left the choice
	// open; for want of those of the NIC an *l2.NoHardwareError.
	Timestamps    l2.StampPoint
	TimestampsWhy error
	// CountedIDs says that departure stamps are matched by counting frames:
	// the kernel has no SCM_TS_OPT_ID.
	CountedIDs bool
}

// A State is what a reply is to its probe (RFC 2681, RFC 4737, RFC 5560).
type State uint8

// The states of a reply.
const (
	StateNone      State = iota // a corrupted one is nobody's
	StateReplied                // the probe's first reply, in time
	StateReordered              // in time, but a later probe was answered before
	StateLate                   // after the probe was lost or failed
	StateDuplicate              // the probe had a reply already
)

// String returns the state's name in JSON.
func (s State) String() string {
	switch s {
	case StateReplied:
		return "replied"
	case StateReordered:
		return "reordered"
	case StateLate:
		return "late"
	case StateDuplicate:
		return "duplicate"
	}
	return ""
}

// A Reply is a frame that answers a probe.
type Reply struct {
	State State
	// From and FromMAC are who sent it.
	From     netip.Addr
	FromMAC  frame.MAC
	TTL, TOS uint8
	// Bytes is the length of the ICMP message.
	Bytes int
	// RTT is the time between two stamps of one clock, RTTSource the weaker
	// of the two points.
	RTT       time.Duration
	RTTSource l2.StampPoint
	Budget    Budget
	// ClockStepped says that CLOCK_REALTIME, by which the kernel stamps, was
	// set while the probe was out: its RTT is by CLOCK_MONOTONIC instead, at
	// l2.StampUser.
	ClockStepped bool
	// Corrupted says that the ICMP checksum is wrong. Such a reply does not
	// answer its probe.
	Corrupted bool
	// Truncated says that fewer data came back than were sent.
	Truncated bool
	// Mismatch tells where the data are not those that were sent; nil if
	// they are.
	Mismatch *Mismatch
}

// A Mismatch is a difference between the data of a probe and those of its reply.
type Mismatch struct {
	Offset    int // of the first byte that differs
	Sent, Got byte
	Data      []byte // what came
}

// Unknown is the value of a part of a Budget that was not measured.
const Unknown time.Duration = -1

// A Budget is one probe's time in parts, each Unknown where a stamp is missing.
type Budget struct {
	// Send is from the program to the qdisc, Queue from there to the driver.
	Send, Queue time.Duration
	// Wire is from the driver out to the driver in; with hardware stamps from
	// NIC to NIC.
	Wire time.Duration
	// Receive is from the driver to the program.
	Receive time.Duration
	// NIC is, with hardware stamps, from the driver to the NIC and from the NIC
	// to the driver, both together: the time between the driver's stamps less
	// that between the NIC's, each by one clock. Unknown otherwise.
	NIC time.Duration
}

// Reasons why a probe could not leave. The errors of an interface (l2.ErrDown,
// l2.ErrNoCarrier) and of sendmsg(2) are others.
var ErrNoNeighbor = errors.New("no ARP reply")

// A Failure is an error that came for a probe: an ICMP error that quotes it, or
// a reason of this host's not to send it.
type Failure struct {
	// Local is why the probe could not leave; nil for an ICMP error.
	Local error
	// From is who reported an ICMP error.
	From netip.Addr
	Type frame.ICMPType
	Code uint8
	// MTU, Gateway and Pointer are those of the messages that have them.
	MTU     int
	Gateway netip.Addr
	Pointer uint8
	// Notice says that the probe goes on: a redirect tells of a better way
	// and loses nothing.
	Notice bool
	// Late says that the probe was lost already.
	Late bool
}
