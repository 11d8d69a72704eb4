package bpf

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"

	"github.com/cilium/ebpf"
	cbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/sock/classic"
)

// A choice is what a Filter and an Expected have in common: which of their programs
// is live, and why.
type choice struct {
	auto bool // what was asked for is Auto

	mu       sync.Mutex
	mode     Mode
	fallback error
	closed   bool
}

// take takes the mode that is asked for, or the one that there is. Its errors
// are those of load.
func (c *choice) take(mode Mode, load func() error) error {
	c.auto, c.mode = mode == Auto, Classic
	if mode == Classic {
		return nil
	}
	switch err := load(); {
	case err == nil:
		c.mode = EBPF
	case c.auto:
		c.fallback = err
	default:
		return err
	}
	return nil
}

// Mode returns the mode that is live: EBPF or Classic, never Auto.
func (c *choice) Mode() Mode {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mode
}

// Fallback returns why the classic program is live although Auto was asked for,
// and nil if it is not. The text is made to stand behind "classic filter: ";
// errors.Is knows the errno.
func (c *choice) Fallback() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fallback
}

// end closes what the eBPF program has, with c.mu held.
func (c *choice) end(objects io.Closer) error {
	if c.closed {
		return nil
	}
	c.closed = true
	if c.mode != EBPF {
		return nil
	}
	if err := objects.Close(); err != nil {
		return fmt.Errorf("closing eBPF: %w", err)
	}
	return nil
}

func checkMode(mode Mode) error {
	if int(mode) >= len(modeNames) {
		return fmt.Errorf("filter: unknown mode %d", uint8(mode))
	}
	return nil
}

// The objects are read once in a process, which takes a tenth of the time of
// loading them.
var (
	parsedMatch  = sync.OnceValues(loadMatch)
	parsedExpect = sync.OnceValues(loadExpect)
)

// load loads a program whose constants are set by set. It leaves objects alone if
// it fails.
func load(parsed func() (*ebpf.CollectionSpec, error), set func(*ebpf.CollectionSpec) error, objects any) error {
	spec, err := parsed()
	if err != nil {
		return loadError(err)
	}
	spec = spec.Copy()
	if err := set(spec); err != nil {
		return loadError(err)
	}
	if err := spec.LoadAndAssign(objects, nil); err != nil {
		return loadError(err)
	}
	return nil
}

// A constant is a variable of a program and what it is to be. Set keeps the order
// of an array of bytes, whatever the byte order of the machine.
type constant struct {
	spec *ebpf.VariableSpec
	val  any
}

func setAll(list []constant) error {
	for _, c := range list {
		if err := c.spec.Set(c.val); err != nil {
			return err
		}
	}
	return nil
}

// flag is a truth value as the program's constants have it.
func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// attachEBPF gives a socket a loaded program.
func attachEBPF(c syscall.Conn, program *ebpf.Program) error {
	if err := withSocket(c, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, program.FD())
	}); err != nil {
		return fmt.Errorf("attaching eBPF: %w", err)
	}
	return nil
}

// attachProgram gives a socket a classic program.
func attachProgram(c syscall.Conn, insns []cbpf.RawInstruction) error {
	err := withSocket(c, func(fd int) error { return classic.Attach(fd, insns) })
	if gone := (*goneError)(nil); errors.As(err, &gone) {
		return fmt.Errorf("attaching classic BPF: %w", err)
	}
	return err
}

// withSocket has f work on the descriptor of c. An error of c, and not of f, is a
// goneError: c is closed.
func withSocket(c syscall.Conn, f func(fd int) error) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return &goneError{err}
	}
	var sockErr error
	if err := rc.Control(func(fd uintptr) { sockErr = f(int(fd)) }); err != nil {
		return &goneError{err}
	}
	return sockErr
}

type goneError struct{ err error }

func (e *goneError) Error() string { return e.err.Error() }
func (e *goneError) Unwrap() error { return e.err }

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
