package pcapfilter

import (
	"errors"
	"fmt"
	"math"
	"net/netip"

	cbpf "golang.org/x/net/bpf"
)

// Config says what a filter is for. Its zero value is for the frames of an
// Ethernet file, kept whole.
type Config struct {
	// NoLink says that frames start at the IP header, as those of a tun interface
	// do, and those of a file with the link type LINKTYPE_RAW.
	NoLink bool
	// Live says that the program is for a packet socket. There the kernel has
	// taken the outer VLAN tag out of a frame, and knows what inbound, outbound
	// and ifindex ask for. Such a program runs in the kernel alone if it asks
	// for any of that; one without Live knows the frame's bytes and no more.
	Live bool
	// SnapLen is how many bytes are kept of a frame that passes; 0 is all.
	SnapLen uint32
	// Network is the interface's IPv4 network, of which ip broadcast tests the
	// last and the first address. Without it these are 255.255.255.255 and
	// 0.0.0.0, as for a file.
	Network netip.Prefix
}

// A compiler turns one expression into a program.
type compiler struct {
	cfg  Config
	g    *graph
	tags int // the vlan keywords so far
	// service finds a port by its name.
	service func(name string) (service, bool)
}

// Compile returns the program of a filter, for a socket (SO_ATTACH_FILTER) or a
// virtual machine. An empty expression passes all frames. cfg may be nil.
//
// What is wrong with an expression is an *Error: what cannot be parsed, what is
// not supported, what no frame can pass, and what does not fit into the 4096
// instructions that the kernel takes.
func Compile(expr string, cfg *Config) ([]cbpf.RawInstruction, error) {
	c := &compiler{g: newGraph(), service: lookupService}
	if cfg != nil {
		c.cfg = *cfg
	}
	return c.compile(expr)
}

func (c *compiler) compile(expr string) ([]cbpf.RawInstruction, error) {
	insns, err := c.instructions(expr)
	if err != nil {
		return nil, err
	}
	raw, err := cbpf.Assemble(insns)
	if err != nil {
		return nil, fmt.Errorf("assemble filter %q: %w", expr, err)
	}
	return raw, nil
}

func (c *compiler) instructions(expr string) ([]cbpf.Instruction, error) {
	if n := c.cfg.Network; n.IsValid() && !n.Addr().Is4() {
		return nil, fmt.Errorf("filter %q: the network %v is not of IPv4", expr, n)
	}
	t, err := (&parser{compiler: c, expr: expr}).parse()
	if err != nil {
		return nil, err
	}
	whole := func(format string, args ...any) error {
		return &Error{Expr: expr, End: len(expr), Msg: fmt.Sprintf(format, args...)}
	}
	entry, err := c.program(t)
	if err != nil {
		return nil, whole("%v", err)
	}
	if entry = c.g.optimize(entry); !c.g.accepts(entry) {
		return nil, whole("no frame can pass it")
	}
	keep := c.cfg.SnapLen
	if keep == 0 {
		keep = math.MaxUint32
	}
	insns, err := c.g.generate(entry, keep)
	if err != nil {
		return nil, whole("%v", err)
	}
	if len(insns) > maxInstructions {
		return nil, whole("its program has %d instructions; the kernel takes %d", len(insns), maxInstructions)
	}
	return insns, nil
}

// mostNodes bounds a graph before it is optimized, which is then done in a
// moment. What fits into a program is far less.
const mostNodes = 1 << 15

var errTooLong = errors.New("its program has more instructions than the kernel takes")

// program makes the graph of an expression.
func (c *compiler) program(t *tree) (*node, error) {
	out := exits{yes: [branches]*node{c.g.accept}, no: [branches]*node{c.g.reject}}
	if c.cfg.Live {
		out.yes[tagInFrame], out.no[tagInFrame] = c.g.accept, c.g.reject
	}
	entry := c.lower(t, out)[tagTaken]
	if c.g.count > mostNodes {
		return nil, errTooLong
	}
	return entry, nil
}

// accepts tells whether a way leads from entry to accept.
func (g *graph) accepts(entry *node) bool {
	for _, n := range g.ordered(entry) {
		if n.yes == g.accept || n.no == g.accept {
			return true
		}
	}
	return entry == g.accept
}
