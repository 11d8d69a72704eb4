//go:build linux

package probe

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// Defaults and limits of a Config.
const (
	DefaultInterval = time.Second
	DefaultTimeout  = 2 * time.Second
	DefaultDataLen  = 56
	DefaultTTL      = 64

	// MinInterval and MaxDuration bound the times of a Config.
	MinInterval = 10 * time.Microsecond
	MaxDuration = 365 * 24 * time.Hour
	// MaxPreload bounds a Config's Preload.
	MaxPreload = maxOutstanding - 1
)

// Timestamps says which stamps an RTT is taken from.
type Timestamps uint8

// The choices. Where a probe lacks a stamp the next best pair is taken for it,
// and counted.
const (
	// TimestampsAuto takes the best pair that both directions have, as the NIC
	// is set now.
	TimestampsAuto Timestamps = iota
	// TimestampsHardware and TimestampsDriver are for those who would rather
	// not measure than measure worse: New fails if the NIC does not stamp all
	// frames both ways, or if the driver stamps no departures.
	TimestampsHardware
	TimestampsDriver
	// TimestampsSched takes departures where they enter the qdisc: what is
	// queued on this host counts as wire.
	TimestampsSched
	// TimestampsUser takes the times beside the system calls, as a program
	// without the kernel's stamps would: the host's own share is in them.
	TimestampsUser
)

var timestampsNames = [...]string{"auto", "hardware", "driver", "sched", "user"}

// ParseTimestamps reads "auto", "hardware", "driver", "sched" or "user".
func ParseTimestamps(s string) (Timestamps, error) {
	if i := slices.Index(timestampsNames[:], s); i >= 0 {
		return Timestamps(i), nil
	}
	return 0, fmt.Errorf("timestamps %q: not one of %s", s, strings.Join(timestampsNames[:], ", "))
}

// String returns what ParseTimestamps reads.
func (t Timestamps) String() string { return timestampsNames[t] }

// A Target is who is asked.
type Target struct {
	// Addr is an address of either family. A link-local one may name its zone,
	// which is the interface.
	Addr netip.Addr
}

// A PMTU is ping's -M.
type PMTU uint8

// The choices.
const (
	// PMTUWant sets the don't fragment bit where a probe fits the path's MTU, and
	// sends fragments where it does not.
	PMTUWant PMTU = iota
	// PMTUDo sets the bit, and refuses what does not fit.
	PMTUDo
	// PMTUDont leaves the bit clear, so that routers may fragment too. In IPv6
	// they never do.
	PMTUDont
)

// Hosts makes targets of addresses.
func Hosts(addrs ...netip.Addr) []Target {
	targets := make([]Target, len(addrs))
	for i, a := range addrs {
		targets[i].Addr = a
	}
	return targets
}

// Config says what to probe and how. Targets are required; the zero value of any
// other field is the documented default.
type Config struct {
	// Targets are who is asked; each address once. A broadcast or multicast
	// address stands alone: it could not be told whose answers are whose.
	Targets []Target
	// Interface is the one interface that probes leave by. Left out, it is
	// the one that the kernel routes the first target by.
	Interface string
	// Source is the address to ask from. Left out, it is the kernel's choice.
	// While an address that this host does not have is in use, the Pinger
	// answers ARP requests and neighbor solicitations for it.
	Source netip.Addr
	// Gateway is the next hop, whatever routing says.
	Gateway netip.Addr
	// Mark is the mark that routing is asked for (ip-rule(8), fwmark), and that
	// probes bear for the filters of tc(8) and nft(8), as ping's do; 0 is none.
	// Before Linux 5.17 the latter needs CAP_NET_ADMIN, and without it is left
	// out (Started.MarkRefused). Requests for next hops bear no mark, as the
	// kernel's do not.
	Mark uint32
	// SrcMAC and DstMAC are the addresses of the frames. Left out they are the
	// interface's and the next hop's. A SrcMAC that is not the interface's has
	// the interface hear frames for it too.
	SrcMAC, DstMAC frame.MAC
	// VLANs are the tags that the frames bear, outer first, and replies have
	// to bear.
	VLANs []frame.VLAN

	// Neighbor asks who has the targets in place of pinging them. What makes an
	// echo is not used then.
	Neighbor *Neighbor

	// Count ends the run after so many probes to each target, once each of them
	// is answered or timed out. 0 is no limit. Together with Deadline it is
	// instead the number of probes that have to be answered, as in ping.
	Count uint64
	// Enough ends the run as soon as so many targets have answered. 0 is never.
	Enough int
	// Deadline ends the run after so long, whatever is still out, and also,
	// as in ping, at the first probe that ends in an error. 0 is none.
	Deadline time.Duration
	// Interval is the time from probe to probe of one target, at least
	// MinInterval. 0 is DefaultInterval. Targets are interleaved. The schedule is absolute: a probe that leaves late
	// does not move the next, nor does a reply that is slow.
	Interval time.Duration
	// Flood sends a probe as soon as the one before was answered, and 100 a
	// second where no answer comes; Interval is not used.
	Flood bool
	// Adaptive sends a probe as soon as the one before was answered. Where no
	// answer comes it waits for the smoothed RTT, at least 10 ms, and for
	// Interval as long as there was none at all.
	Adaptive bool
	// Preload is how many probes leave at once at the start, and how many may
	// be out in a Flood or Adaptive run; at most MaxPreload. 0 is 1.
	Preload int
	// Timeout is how long a probe is waited for before it is lost; a reply
	// after that is late. 0 is DefaultTimeout, or with Neighbor
	// DefaultNeighborTimeout, less at an Interval so short
	// that sequence numbers would come round before. In a Flood or Adaptive
	// run a probe is also lost when its number comes round and later ones were
	// answered.
	Timeout time.Duration

	// DataLen is the number of data bytes behind the ICMP header. Nil is
	// DefaultDataLen, the most frame.MaxEchoData.
	DataLen *int
	// Pattern fills the data. Left out, each byte is its offset, as in ping.
	Pattern []byte
	// ID is the ICMP identifier. Nil is a random one.
	ID *uint16
	// TTL is the time to live in hops. 0 is DefaultTTL.
	TTL uint8
	// TOS is the byte of DSCP and ECN.
	TOS uint8
	// PMTU says what becomes of probes that are longer than the MTU.
	PMTU PMTU
	// Broadcast allows a broadcast address as a target.
	Broadcast bool

	// Filter says which filter the kernel runs.
	Filter bpf.Mode
	// Timestamps says which stamps an RTT is taken from.
	Timestamps Timestamps
	// SetHardware has the NIC stamp all frames while the Pinger is open, and
	// puts its old setting back afterwards. It needs CAP_NET_ADMIN and, as
	// ptp4l(8) may use the NIC, is refused where the setting would lose
	// anything.
	SetHardware bool
	// Spin waits for replies and for the next probe in a loop that never
	// sleeps, on a thread of its own: it uses a whole CPU and saves the
	// wake-ups of both, some microseconds of a probe's send and receive parts
	// and of the schedule's error.
	Spin bool
	// Sent asks for an event for each probe sent.
	Sent bool
	// Evidence has the events carry the frames that they tell of: a reply, an ICMP
	// error, a neighbor's answer as it came, and an event of its own, Departed,
	// each probe as it left. That is told when the probe's departure stamps are
	// there, which is with its first answer, ahead of that, or with its loss, at
	// the end of the run at the latest; for what has left of a probe that could
	// not leave as a whole, at once.
	//
	// Where what waits to be read takes more than MaxEvidence, events come without
	// their frames (Statistics.EvidenceDropped). The requests for next hops and
	// their answers are not told of, nor those for a Source that the Pinger answers
	// for.
	Evidence bool
}

// setDefaults fills in what was left out and checks the rest.
func (c *Config) setDefaults() error {
	if c.Interval == 0 {
		c.Interval = DefaultInterval
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
		if c.Neighbor != nil {
			c.Timeout = DefaultNeighborTimeout
		}
		if !c.Flood && !c.Adaptive && c.Interval < time.Second {
			c.Timeout = min(c.Timeout, (maxOutstanding-1)*max(c.Interval, MinInterval))
		}
	}
	if c.Preload == 0 {
		c.Preload = 1
	}
	if c.DataLen == nil {
		c.DataLen = new(DefaultDataLen)
	}
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	if err := c.checkTargets(); err != nil {
		return err
	}
	switch {
	case c.Interval < MinInterval:
		return fmt.Errorf("interval %v: has to be at least %v", c.Interval, MinInterval)
	case c.Flood && c.Adaptive:
		return fmt.Errorf("flood and adaptive: only one of them can set the pace")
	case c.SetHardware && c.Timestamps != TimestampsAuto && c.Timestamps != TimestampsHardware:
		return fmt.Errorf("the NIC would be set to stamp, and %v stamps used: only one of them can be meant", c.Timestamps)
	case c.Preload < 0 || c.Preload > MaxPreload:
		return fmt.Errorf("preload %d: not from 1 to %d", c.Preload, MaxPreload)
	case c.Timeout < 0, c.Deadline < 0:
		return fmt.Errorf("a time is negative")
	case max(c.Interval, c.Timeout, c.Deadline) > MaxDuration:
		return fmt.Errorf("a time is over %d days", MaxDuration/(24*time.Hour))
	case !c.Flood && !c.Adaptive && c.Timeout/c.Interval >= maxOutstanding:
		return fmt.Errorf("timeout %v at interval %v: more than the %d probes would be out that sequence numbers tell apart",
			c.Timeout, c.Interval, maxOutstanding-1)
	case *c.DataLen < 0 || *c.DataLen > frame.MaxEchoData:
		return fmt.Errorf("%d data bytes: not from 0 to %d", *c.DataLen, frame.MaxEchoData)
	case c.Enough < 0 || c.Enough > len(c.Targets):
		return fmt.Errorf("%d targets that have to answer: there are %d", c.Enough, len(c.Targets))
	}
	return nil
}

// checkTargets says what is wrong with who is asked, and with the addresses that
// go with it.
func (c *Config) checkTargets() error {
	if len(c.Targets) == 0 {
		return fmt.Errorf("no target")
	}
	seen := make(map[netip.Addr]bool, len(c.Targets))
	for i := range c.Targets {
		a := c.Targets[i].Addr.Unmap()
		c.Targets[i].Addr = a
		switch {
		case !a.IsValid():
			return fmt.Errorf("no target")
		case a.IsUnspecified():
			return fmt.Errorf("%s is nobody's address", a)
		case seen[a.WithZone("")]:
			return fmt.Errorf("%s is a target twice", a)
		}
		seen[a.WithZone("")] = true
		if zone := c.Targets[0].Addr.Zone(); a.Zone() != "" && zone != "" && a.Zone() != zone {
			return fmt.Errorf("%s and %s are on two interfaces: one run has one", c.Targets[0].Addr, a)
		}
		if zone := a.Zone(); zone != "" && c.Interface != "" && zone != c.Interface {
			return fmt.Errorf("%s is on another interface than %s, which was asked for", a, c.Interface)
		}
		if c.Gateway.Is4() && a.Is6() {
			return fmt.Errorf("gateway %s cannot be the next hop of %s: that is IPv6", c.Gateway, a)
		}
	}
	switch {
	case c.Source.IsValid() && (c.Source.IsUnspecified() || c.Source.IsMulticast() || c.Source == limitedBroadcast):
		return fmt.Errorf("source %s: not a host's address", c.Source)
	case c.Gateway.IsValid() && (c.Gateway.IsUnspecified() || c.Gateway.IsMulticast() || c.Gateway == limitedBroadcast):
		return fmt.Errorf("gateway %s: not a host's address", c.Gateway)
	case c.Gateway.IsValid() && c.Gateway == c.Source:
		return fmt.Errorf("gateway %s is the source itself", c.Gateway)
	case c.SrcMAC.IsGroup():
		return fmt.Errorf("source MAC %s: a group sends nothing", c.SrcMAC)
	case len(c.VLANs) > frame.MaxVLANs:
		return fmt.Errorf("%d VLAN tags: at most %d", len(c.VLANs), frame.MaxVLANs)
	}
	return nil
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// checkInterface refuses what an interface cannot do.
func (c *Config) checkInterface(ifc *l2.Interface) error {
	if !ifc.NoLink && !ifc.Loopback {
		return nil
	}
	what := ""
	switch {
	case len(c.VLANs) > 0:
		what = "VLAN tags"
	case !c.SrcMAC.IsZero(), !c.DstMAC.IsZero():
		what = "MAC addresses"
	case c.Gateway.IsValid() && ifc.Loopback:
		what = "a gateway"
	default:
		return nil
	}
	return fmt.Errorf("%s (link type %s) has no use for %s", ifc.Name, ifc.LinkType, what)
}
