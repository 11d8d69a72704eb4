package bpf

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"github.com/cilium/ebpf"
	cbpf "golang.org/x/net/bpf"
)

// A Filter is a Match compiled for the kernel, to be attached to sockets. Its
// methods may be called from several goroutines.
//
// A Filter in mode EBPF holds descriptors and has to be closed.
type Filter struct {
	choice
	classic []cbpf.RawInstruction
	objects matchLoaded // loaded while mode is EBPF and the Filter not closed
}

// matchLoaded is what is kept of the objects. The program's constants are not.
type matchLoaded struct {
	matchPrograms
	Rejected *ebpf.Variable `ebpf:"rejected"`
}

// NewFilter compiles m and, unless mode is Classic, loads it into the kernel.
//
// In Auto it takes the classic filter whenever eBPF cannot be loaded, for
// whatever reason, and Fallback tells the reason. In EBPF that is an error, of
// which errors.Is knows the errno; EPERM is the want of a capability, which the
// error names (see Capabilities). errors.ErrUnsupported is a kernel without
// what the program needs. A Match that is not valid is an error in every mode.
//
// The eBPF program needs Linux 5.5, the classic one Linux 3.8.
func NewFilter(m Match, mode Mode) (*Filter, error) {
	if err := checkMode(mode); err != nil {
		return nil, err
	}
	classic, err := assembleClassic(m)
	if err != nil {
		return nil, err
	}
	f := &Filter{classic: classic}
	if err := f.take(mode, func() error {
		return load(parsedMatch, func(spec *ebpf.CollectionSpec) error { return setConstants(spec, m) }, &f.objects)
	}); err != nil {
		return nil, err
	}
	return f, nil
}

// Attach gives the filter to a socket, in place of whatever filter it has. The
// kernel swaps the two at once, so that no frame passes unfiltered. The filter
// stays when f is closed, until the socket is closed or gets another.
//
// The socket is of family AF_PACKET and type SOCK_RAW, and bound to ETH_P_ALL.
// To one of a narrower protocol the kernel hands a frame after its own VLAN
// handling, in which the outer tag vanishes: the frame goes to the device of its
// VLAN, or becomes PACKET_OTHERHOST if there is none
// (__netif_receive_skb_core in net/core/dev.c).
//
// In Auto, a socket that refuses the eBPF program is given the classic one: from
// then on f is Classic, and Fallback tells the reason. Sockets that took the
// program before keep it, but nobody can read what it rejects. If the classic
// one is refused too, f stays what it was and the first error is returned.
//
// Errors: the errno of setsockopt(2), such as EPERM on a socket with
// SO_LOCK_FILTER, or ENOMEM if the sysctl net.core.optmem_max leaves no room
// (eBPF takes less than 5 KiB of it, classic BPF less than 6); what a closed c
// answers; os.ErrClosed if f is closed.
func (f *Filter) Attach(c syscall.Conn) error {
	f.mu.Lock()
	defer f.mu.Unlock()

	err := f.attach(c, f.mode)
	if err == nil || !f.auto || f.mode == Classic {
		return err
	}
	if f.attach(c, Classic) != nil {
		return err // which is not for want of eBPF, then
	}
	f.mode, f.fallback = Classic, err
	return f.objects.Close()
}

func (f *Filter) attach(c syscall.Conn, mode Mode) error {
	switch {
	case f.closed:
		return fmt.Errorf("attaching the filter: %w", os.ErrClosed)
	case mode == EBPF:
		return attachEBPF(c, f.objects.L2pingMatch)
	default:
		return attachProgram(c, f.classic)
	}
}

// Rejected returns how many frames the kernel dropped that claimed to be
// replies and were not, as Match.Claims has it, on all sockets of f since
// NewFilter. ok is false if nobody counts: in mode Classic, and once f is closed.
func (f *Filter) Rejected() (n uint64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mode != EBPF || f.closed {
		return 0, false
	}
	if err := f.objects.Rejected.Get(&n); err != nil {
		return 0, false
	}
	return n, true
}

// Close releases what f holds of the kernel. Sockets keep the filter. Closing
// again does nothing.
func (f *Filter) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.end(&f.objects)
}

// setConstants writes m into the program's constants. Addresses and identifier
// go in as the bytes that a frame has.
func setConstants(spec *ebpf.CollectionSpec, m Match) error {
	var vars matchVariableSpecs
	if err := spec.Assign(&vars); err != nil {
		return err
	}

	local4, local6 := addressBytes(m.Local)
	peer4, peer6 := addressBytes(m.Peer)
	var id [2]byte
	binary.BigEndian.PutUint16(id[:], m.ID)
	var tags [4]byte
	binary.BigEndian.PutUint32(tags[:], uint32(m.tags()))
	var (
		cookie    [8]byte // zeros behind cookieLen
		cookieLen uint8
	)
	if m.Kind == EchoReply {
		cookieLen = uint8(m.CookieLen)
		copy(cookie[:], m.Cookie[:cookieLen])
	}

	v4, v6 := m.families()
	return setAll([]constant{
		{vars.Kind, uint8(m.Kind)},
		{vars.WantIpv4, flag(v4)},
		{vars.WantIpv6, flag(v6)},
		{vars.AnyLocal, flag(!m.Local.IsValid())},
		{vars.AnyPeer, flag(!m.Peer.IsValid())},
		{vars.LocalIpv4, local4},
		{vars.PeerIpv4, peer4},
		{vars.LocalIpv6, local6},
		{vars.PeerIpv6, peer6},
		{vars.EchoId, id},
		{vars.Cookie, cookie},
		{vars.CookieLen, cookieLen},
		{vars.Fragments, flag(m.Fragments)},
		{vars.HasMac, flag(!m.MAC.IsZero())},
		{vars.LocalMac, [6]byte(m.MAC)},
		{vars.VlanTags, tags},
		{vars.NoLink, flag(m.NoLink)},
	})
}

// addressBytes returns an address in the form of its family, and zeros in the
// other's.
func addressBytes(a netip.Addr) (v4 [4]byte, v6 [16]byte) {
	if a.Is4() {
		v4 = a.As4()
	} else if a.IsValid() {
		v6 = a.As16()
	}
	return v4, v6
}
