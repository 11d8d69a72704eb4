//go:build linux

package probe

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// A Kind says what an Event tells.
type Kind uint8

// The kinds of events. Of each target Start comes first and Summary last;
// neither is ever dropped. With several targets a Summary over all of them ends
// the run.
const (
	Start      Kind = iota + 1 // the decision, before the first probe
	Sent                       // a probe left; only if the Config asks for it
	Replied                    // a reply came; see Reply
	Failed                     // an error came for a probe; see Failure
	Lost                       // a probe's timeout passed
	Summary                    // the run is over; see Statistics
	Conflicted                 // several hosts have answered for one address; see Conflict
	Changed                    // a target's probes go another way from here on; see Change
	Departed                   // the frames of a probe, once its stamps are there; see Config.Evidence
)

// An Event is something that happened to a run or to one of its probes.
type Event struct {
	Kind Kind
	// Time is the wall-clock time: of a reply its arrival stamp where it has
	// one, of a departure that of its first frame.
	Time time.Time
	// Address is the target's; none in a Summary over all targets.
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
	Change     *Change     // Kind Changed
	Conflict   *Conflict   // Kind Conflicted

	// Evidence is the frames, of the Kinds Departed and Replied and of an ICMP error;
	// nil without Config.Evidence, or where there was no room. Each frame is in
	// one event.
	Evidence *Evidence
}

// Started tells what the run's probes are made of.
type Started struct {
	// Decision has the path and the next hop as they were at the start.
	Decision arp.Decision
	// SourceMAC is the address that the frames come from, zero without a link
	// layer; VLANs are the tags that they bear.
	SourceMAC frame.MAC
	VLANs     []frame.VLAN
	// Joined says how frames to a SourceMAC that is not the interface's are
	// heard.
	Joined capture.Joined
	// Mark is the Config's, MarkRefused why the frames do not bear it: then
	// only routing goes by it.
	Mark        uint32
	MarkRefused error
	// Neighbor says how the target is asked for, nil if it is pinged. Then the
	// fields that make an echo mean nothing.
	Neighbor *Neighbor
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
	// VLANs are the tags that the reply bore.
	VLANs VLANs
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
	// OtherMember says that it came in by another member of the bridge, bond or
	// VRF that the interface is a member of.
	OtherMember bool
	// Corrupted says that the ICMP checksum is wrong. Such a reply does not
	// answer its probe.
	Corrupted bool
	// Truncated says that fewer data came back than were sent.
	Truncated bool
	// Answer is what a neighbor said that was asked for, nil of an echo.
	Answer *NeighborAnswer
	// Mismatch tells where the data are not those that were sent; nil if
	// they are.
	Mismatch *Mismatch
}

// VLANs are the tags of a frame, outer first. One with VLAN id 0 tells a
// priority and belongs to no VLAN (IEEE 802.1Q, section 9.6).
type VLANs struct {
	tags [frame.MaxVLANs]frame.VLAN
	n    uint8
}

// All returns the tags.
func (v *VLANs) All() []frame.VLAN { return v.tags[:v.n] }

func (v *VLANs) add(tag frame.VLAN) {
	if int(v.n) < len(v.tags) {
		v.tags[v.n] = tag
		v.n++
	}
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

// String returns the parts that were measured, such as "send 6.1µs wire 10.6µs".
func (b Budget) String() string {
	var parts []string
	for _, p := range []struct {
		name string
		time time.Duration
	}{{"send", b.Send}, {"queue", b.Queue}, {"wire", b.Wire}, {"nic", b.NIC}, {"receive", b.Receive}} {
		if p.time != Unknown {
			parts = append(parts, p.name+" "+p.time.String())
		}
	}
	return strings.Join(parts, " ")
}

// Reasons why a probe could not leave. The errors of an interface (l2.ErrDown,
// l2.ErrNoCarrier) and of sendmsg(2) are others.
var ErrNoNeighbor = errors.New("no ARP reply")

// A ChangeKind says what of a target's way has changed.
type ChangeKind uint8

// The changes, all of them noticed by the kernel's own notices (rtnetlink(7)).
const (
	ChangedNeighbor ChangeKind = iota + 1 // the next hop has another MAC
	ChangedPath                           // routing, an address of ours, or the interface itself
)

// A Change is what is different from a probe on.
type Change struct {
	Kind ChangeKind
	// Neighbor is the next hop as it is now, OldMAC what its MAC was.
	Neighbor arp.Neighbor
	OldMAC   frame.MAC
	// Old and New are the paths, for ChangedPath. New is nil where there is none
	// any more, and Err says why: probes fail until there is one again.
	Old, New *l2.Path
	Err      error
}

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
	Pointer uint32
	// Notice says that the probe goes on: a redirect tells of a better way
	// and loses nothing.
	Notice bool
	// Late says that the probe was lost already.
	Late bool
}
