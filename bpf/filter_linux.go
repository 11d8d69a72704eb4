package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"github.com/cilium/ebpf"
	cbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A Filter is a Match compiled for the kernel, to be attached to sockets. Its
// methods may be called from several goroutines.
//
// A Filter in mode EBPF holds descriptors and has to be closed.
type Filter struct {
	auto    bool
	classic []cbpf.RawInstruction

	mu       sync.Mutex
	mode     Mode
	fallback error
	closed   bool
	objects  matchObjects // loaded while mode is EBPF and the Filter not closed
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
	if int(mode) >= len(modeNames) {
		return nil, fmt.Errorf("filter: unknown mode %d", uint8(mode))
	}
	classic, err := assembleClassic(m)
	if err != nil {
		return nil, err
	}
	f := &Filter{auto: mode == Auto, classic: classic, mode: Classic}
	if mode == Classic {
		return f, nil
	}

	switch err := load(m, &f.objects); {
	case err == nil:
		f.mode = EBPF
	case f.auto:
		f.fallback = err
	default:
		return nil, err
	}
	return f, nil
}

// Mode returns the mode that is live: EBPF or Classic, never Auto.
func (f *Filter) Mode() Mode {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mode
}

// Fallback returns why a Filter in Auto took the classic filter, and nil if it
// did not. The text is made to stand behind "classic filter: "; errors.Is knows
// the errno.
func (f *Filter) Fallback() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fallback
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
	err := func() error {
		if f.closed {
			return os.ErrClosed
		}
		rc, err := c.SyscallConn()
		if err != nil {
			return err
		}
		var sockErr error
		if err := rc.Control(func(fd uintptr) {
			if mode == EBPF {
				sockErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_BPF, f.objects.L2pingMatch.FD())
			} else {
				sockErr = attachClassic(int(fd), f.classic)
			}
		}); err != nil {
			return err
		}
		return sockErr
	}()
	switch {
	case err == nil:
		return nil
	case mode == EBPF:
		return fmt.Errorf("attaching eBPF: %w", err)
	default:
		return fmt.Errorf("attaching classic BPF: %w", err)
	}
}

func attachClassic(fd int, insns []cbpf.RawInstruction) error {
	prog := make([]unix.SockFilter, len(insns))
	for i, in := range insns {
		prog[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{
		Len:    uint16(len(prog)),
		Filter: unsafe.SliceData(prog),
	})
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
	if f.closed {
		return nil
	}
	f.closed = true
	if f.mode != EBPF {
		return nil
	}
	if err := f.objects.Close(); err != nil {
		return fmt.Errorf("closing eBPF: %w", err)
	}
	return nil
}

// load loads the program for m. It leaves objects alone if it fails.
func load(m Match, objects *matchObjects) error {
	spec, err := loadMatch()
	if err != nil {
		return loadError(err)
	}
	if err := setConstants(spec, m); err != nil {
		return loadError(err)
	}
	if err := spec.LoadAndAssign(objects, nil); err != nil {
		return loadError(err)
	}
	return nil
}

// setConstants writes m into the program's constants. Addresses and identifier
// go in as the bytes that a frame has: Set keeps the order of an array, whatever
// the byte order of the machine.
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
	for _, v := range []struct {
		spec *ebpf.VariableSpec
		val  any
	}{
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
	} {
		if err := v.spec.Set(v.val); err != nil {
			return err
		}
	}
	return nil
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

// flag is a truth value as the program's constants have it.
func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// loadError keeps the text and the errno of an error of cilium/ebpf, and none of
// its types: nothing outside of this package is to depend on them.
func loadError(err error) error {
	var errno syscall.Errno
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("loading eBPF: %w (%s)", unix.EPERM, permissionHint())
	case errors.Is(err, ebpf.ErrNotSupported):
		return &flatError{text: "loading eBPF: " + oneLine(err), cause: errors.ErrUnsupported}
	case errors.As(err, &errno):
		return &flatError{text: "loading eBPF: " + oneLine(err), cause: errno}
	default:
		return &flatError{text: "loading eBPF: " + oneLine(err)}
	}
}

// oneLine folds what the verifier says, which may be lines.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

type flatError struct {
	text  string
	cause error
}

func (e *flatError) Error() string { return e.text }
func (e *flatError) Unwrap() error { return e.cause }

// permissionHint says what there is to do about EPERM of bpf(2).
func permissionHint() string {
	need := strings.Join(Capabilities[EBPF], ", ")
	if !hasCapBPF() {
		return "needs " + need
	}
	return need + " counts only outside of user namespaces, and where no policy forbids eBPF"
}

// hasCapBPF tells whether the calling thread has CAP_BPF in its own user
// namespace, which the kernel does not ask about: it wants the initial one's.
func hasCapBPF() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // of 32 capabilities each
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[unix.CAP_BPF/32].Effective&(1<<(unix.CAP_BPF%32)) != 0
}
