//go:build linux

package probe

import (
	"errors"
	"fmt"
	"slices"
	"time"

	cbpf "golang.org/x/net/bpf"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// Limits of an ExchangeConfig.
const (
	DefaultWindow = 4096
	MaxWindow     = 1 << 15
)

// ExchangeConfig says how requests are sent, and what answers them. Its zero value
// sends each request once, as fast as it goes, and takes its first answer.
type ExchangeConfig struct {
	// Timeout is how long a request is waited for after it left. 0 is
	// DefaultTimeout.
	Timeout time.Duration
	// Interval is the time from request to request, at least MinInterval. 0 sends
	// as fast as the Window allows, many with one system call, and takes one stamp
	// of each departure: there is no Request.Sched where there is a Request.Driver.
	Interval time.Duration
	// Window is how many requests may be out at once, at most MaxWindow. 0 is
	// DefaultWindow. Where nobody answers, Window requests leave in one Timeout.
	Window int
	// Retry is how often a request that nobody has answered is sent again, each
	// time for another Timeout. If it is negative, all that nobody has answered
	// are sent again, in rounds, until so many rounds in a row brought no answer
	// at all; they are remembered until then.
	Retry int
	// Multi takes all answers that come until a request's Timeout, and not the
	// first alone: of a broadcast, or of all hosts with one address. A caller who
	// reads too slowly may miss some beyond the first.
	Multi bool

	// Rules pair frames of protocols that are the caller's own. They go before
	// what bpf.Answers knows. There is one for an EtherType at most, and none without
	// a link layer.
	Rules []Rule
	// Instructions are a program of classic BPF for a packet socket, as tcpdump
	// -ddd prints it and pcapfilter.Compile makes it with pcapfilter.Config.Live:
	// frames for which it returns 0 answer nothing, and count as nothing. Without
	// any, all may answer. A socket has one filter, which is that for the answers,
	// so this one runs in user space, on what that lets pass. Of the metadata it may
	// read the protocol, the packet type, the interface's index and the VLAN tag.
	Instructions []cbpf.RawInstruction

	// MAC is the source of the requests, if it is not the interface's: it is heard
	// as long as the exchange is open. Answers to other MACs than these two are not
	// taken, unless the exchange is Promiscuous: then whatever the interface hears.
	MAC         frame.MAC
	Promiscuous bool
	// AnswerFor are addresses that this host does not have and that requests come
	// from. ARP requests and neighbor solicitations for them are answered as long
	// as the exchange is open. See Exchanger.
	AnswerFor []arp.ResponderConfig
	// Mark is the mark that the frames bear for the filters of tc(8) and nft(8)
	// (socket(7), SO_MARK); 0 is none. Before Linux 5.17 it needs CAP_NET_ADMIN, and
	// without it is left out: see Exchanger.MarkRefused.
	Mark uint32

	// Filter says which filter the kernel runs.
	Filter bpf.Mode
	// Bypass has the requests leave without the interface's qdisc, and stamps at
	// l2.StampSched: see l2.LinkConfig.
	Bypass bool
	// Timestamps says which stamps an RTT is taken from.
	Timestamps Timestamps
	// SetHardware has the NIC stamp all frames, as Config.SetHardware does.
	SetHardware bool
}

// A Rule says what answers what in a protocol of the caller's own. Its methods are
// called from one goroutine, which is not the caller's, with frames as they are: of any
// length and content. The frames are valid during the call. No frame is read meanwhile,
// and none taken to be sent; and a panic in one ends the program.
type Rule interface {
	// EtherType is that of requests and answers, from 0x0600 up. All frames of it
	// pass the filter in the kernel.
	EtherType() frame.EtherType
	// RequestKey and AnswerKey are what a request and its answers have in common,
	// such as a number. ok is false for what is none.
	RequestKey(request *frame.Ethernet) (key uint64, ok bool)
	AnswerKey(answer *frame.Ethernet) (key uint64, ok bool)
	// Answers has the last word on two frames of one key and the same VLANs.
	Answers(answer, request *frame.Ethernet) bool
}

// setDefaults fills in what was left out and checks the rest.
func (c *ExchangeConfig) setDefaults() error {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Window == 0 {
		c.Window = DefaultWindow
	}
	switch {
	case c.Timeout < 0 || c.Timeout > MaxDuration:
		return fmt.Errorf("timeout %v: not from 0 to %d days", c.Timeout, MaxDuration/(24*time.Hour))
	case c.Interval != 0 && c.Interval < MinInterval || c.Interval > MaxDuration:
		return fmt.Errorf("interval %v: not 0, nor from %v to %d days", c.Interval, MinInterval, MaxDuration/(24*time.Hour))
	case c.Window < 0 || c.Window > MaxWindow:
		return fmt.Errorf("window of %d requests: not from 1 to %d", c.Window, MaxWindow)
	case c.MAC.IsGroup():
		return fmt.Errorf("source MAC %s: a group sends nothing", c.MAC)
	case len(c.Rules) > bpf.MaxEtherTypes:
		return fmt.Errorf("%d rules: at most %d", len(c.Rules), bpf.MaxEtherTypes)
	case slices.Contains(c.Rules, nil):
		return errors.New("a rule that is nil")
	case c.twoRules():
		return errors.New("two rules of one EtherType: they would have to be one")
	case c.Bypass && c.Timestamps == TimestampsSched:
		return errors.New("the qdisc would be bypassed, and its stamps used: only one of them can be meant")
	case c.SetHardware && c.Timestamps != TimestampsAuto && c.Timestamps != TimestampsHardware:
		return fmt.Errorf("the NIC would be set to stamp, and %v stamps used: only one of them can be meant", c.Timestamps)
	}
	return nil
}

// MarkRefused says why the frames do not bear ExchangeConfig.Mark: EPERM. It is nil if
// they do, or none was asked for.
func (x *Exchanger) MarkRefused() error { return x.out.MarkRefused() }

// twoRules tells whether two Rules are of one EtherType.
func (c *ExchangeConfig) twoRules() bool {
	seen := map[frame.EtherType]bool{}
	for _, r := range c.Rules {
		if seen[r.EtherType()] {
			return true
		}
		seen[r.EtherType()] = true
	}
	return false
}

// expect is what the kernel lets pass on an interface.
func (c *ExchangeConfig) expect(ifc *l2.Interface) *bpf.ExpectConfig {
	e := &bpf.ExpectConfig{
		NoLink:      ifc.NoLink,
		MAC:         c.MAC,
		Promiscuous: c.Promiscuous,
		MaxKeys:     bpf.MaxRequestKeys * (c.Window + batchLen),
	}
	if e.MAC.IsZero() && ifc.Master != nil && !ifc.NoLink {
		// What comes in by another member is for another station there.
		e.MAC = ifc.MAC
	}
	for _, r := range c.Rules {
		e.EtherTypes = append(e.EtherTypes, uint16(r.EtherType()))
	}
	return e
}
