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

// Config says what to probe and how. Target is required; the zero value of any
// other field is the documented default.
type Config struct {
	// Target is who is asked. IPv4.
	Target netip.Addr
	// Interface is the one interface that probes leave by. Left out, it is
	// the one that the kernel routes Target by.
	Interface string
	// Source is the address to ask from; an interface of this host has it.
	// Left out, it is the kernel's choice.
	Source netip.Addr

	// Count ends the run after so many probes, once each of them is answered
	// or timed out. 0 is no limit. Together with Deadline it is instead the
	// number of probes that have to be answered, as in ping.
	Count uint64
	// Deadline ends the run after so long, whatever is still out, and also,
	// as in ping, at the first probe that ends in an error. 0 is none.
	Deadline time.Duration
	// Interval is the time from probe to probe, at least MinInterval. 0 is
	// DefaultInterval. The schedule is absolute: a probe that leaves late
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
	// after that is late. 0 is DefaultTimeout, less at an Interval so short
	// that sequence numbers would come round before. In a Flood or Adaptive
	// run a probe is also lost when its number comes round and later ones were
	// answered.
	Timeout time.Duration

	// DataLen is the number of data bytes behind the ICMP header. Nil is
	// DefaultDataLen. What does not fit the path's MTU is refused.
	DataLen *int
	// Pattern fills the data. Left out, each byte is its offset, as in ping.
	Pattern []byte
	// ID is the ICMP identifier. Nil is a random one.
	ID *uint16
	// TTL is the time to live in hops. 0 is DefaultTTL.
	TTL uint8
	// TOS is the byte of DSCP and ECN.
	TOS uint8
	// MayFragment leaves the don't fragment bit clear.
	MayFragment bool
	// Broadcast allows a broadcast address as Target.
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
}

// setDefaults fills in what was left out and checks the rest.
func (c *Config) setDefaults() error {
	if c.Interval == 0 {
		c.Interval = DefaultInterval
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
		if !c.Flood && !c.Adaptive && c.Interval < time.Second {
			c.Timeout = min(DefaultTimeout, (maxOutstanding-1)*max(c.Interval, MinInterval))
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
	switch {
	case !c.Target.IsValid():
		return fmt.Errorf("no target")
	case !c.Target.Is4():
		return fmt.Errorf("%s: only IPv4 is supported so far", c.Target)
	case c.Target.IsUnspecified():
		return fmt.Errorf("%s is nobody's address", c.Target)
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
	case *c.DataLen < 0:
		return fmt.Errorf("%d data bytes: negative", *c.DataLen)
	}
	return nil
}

// checkSize refuses data that do not fit into one packet of the path's MTU.
func (c *Config) checkSize(path *l2.Path) error {
	room := path.MTU - frame.IPv4HeaderLen - frame.ICMPHeaderLen
	if *c.DataLen > room {
		return fmt.Errorf("%d data bytes do not fit: the MTU of %s is %d, which leaves %d (fragmenting is not supported so far)",
			*c.DataLen, path.Interface.Name, path.MTU, max(room, 0))
	}
	return nil
}
