package bpf

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"unsafe"

	"github.com/cilium/ebpf"
	cbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// An Expected is a filter for the answers to many requests, to be attached to
// sockets. What passes is told by Keys, which come and go while it is attached.
//
// In mode EBPF the Keys are in a map of the kernel, and what passes is what
// ExpectConfig has pass, and each frame of which AppendAnswerKeys has an expected
// Key. In mode Classic at least the same passes: the program knows what kinds of
// Keys there have been, and their VLANs, addresses and ports as long as there is
// one of each. In both Answers has the last word.
//
// Its methods may be called from several goroutines. One in mode EBPF holds
// descriptors and has to be closed.
type Expected struct {
	auto bool
	cfg  ExpectConfig

	mu       sync.Mutex
	mode     Mode
	fallback error
	closed   bool
	keys     map[Key]uint32 // how many times each is expected
	sum      summary        // of all that were
	stale    bool           // the sockets have a classic program of less than that
	sockets  []syscall.Conn
	objects  expectObjects // loaded while mode is EBPF and the Expected not closed
	anybody  bool          // the program's variable
	single   bool          // the kernel takes Keys one by one
	changed  []Key         // what Expect and Forget are about, to be used again
	batch    batch
}

// NewExpected makes an Expected that expects nothing yet. A nil cfg is as good as
// a zero one. The modes and the errors are those of NewFilter; an ExpectConfig
// that is not valid is an error in every mode.
//
// The eBPF program needs Linux 5.5, the classic one Linux 3.8.
func NewExpected(mode Mode, cfg *ExpectConfig) (*Expected, error) {
	if int(mode) >= len(modeNames) {
		return nil, fmt.Errorf("filter: unknown mode %d", uint8(mode))
	}
	e := &Expected{auto: mode == Auto, mode: Classic, keys: make(map[Key]uint32)}
	if cfg != nil {
		e.cfg = *cfg
		e.cfg.EtherTypes = slices.Clone(cfg.EtherTypes)
	}
	if err := e.cfg.Validate(); err != nil {
		return nil, err
	}
	if mode == Classic {
		return e, nil
	}

	switch err := loadExpected(&e.cfg, &e.objects); {
	case err == nil:
		e.mode = EBPF
	case e.auto:
		e.fallback = err
	default:
		return nil, err
	}
	return e, nil
}

// Mode returns the mode that is live: EBPF or Classic, never Auto.
func (e *Expected) Mode() Mode {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mode
}

// Fallback returns why an Expected in Auto took the classic filter, and nil if it
// did not, as Filter.Fallback does.
func (e *Expected) Fallback() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.fallback
}

// Expect has the frames that have one of these Keys pass, from its return on:
// what they answer is to be sent after that. A Key that is expected twice has to
// be forgotten twice.
//
// Where the map takes no more, because of ExpectConfig.MaxKeys or for want of
// memory, an Expected in Auto goes on with the classic filter, and Fallback tells
// the reason. Else that is an error, which is syscall.ENOSPC or what bpf(2) says,
// and none of these Keys is expected. Other errors are os.ErrClosed, and those of
// Attach, of a socket that refuses a new classic program; sockets that were
// closed are forgotten.
//
// Expect allocates nothing but to grow what holds the Keys, and for a new classic
// program.
func (e *Expected) Expect(keys []Key) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return os.ErrClosed
	}
	e.changed = e.changed[:0]
	anybody := e.anybody
	for _, k := range keys {
		n := e.keys[k]
		e.keys[k] = n + 1
		if n > 0 {
			continue
		}
		e.changed = append(e.changed, k)
		e.stale = e.sum.add(k) || e.stale
		anybody = anybody || k.local == [16]byte{} || k.peer == [16]byte{}
	}

	var err error
	switch {
	case e.mode == EBPF:
		if err = e.insert(anybody); err != nil && e.auto && e.fallBack(err) == nil {
			return nil
		}
	case e.stale:
		err = e.attachAll()
	}
	if err != nil {
		e.release(keys)
		if e.mode == EBPF {
			_ = e.remove() // those of them that are there
		}
		return fmt.Errorf("expecting answers: %w", err)
	}
	return nil
}

// Forget ends what Expect began. Keys that are not expected are left out. In mode
// Classic nothing passes less for it.
//
// Errors: os.ErrClosed, or what bpf(2) says; the Keys are forgotten even so, but
// their frames may pass.
func (e *Expected) Forget(keys []Key) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return os.ErrClosed
	}
	e.release(keys)
	if e.mode != EBPF {
		return nil
	}
	if err := e.remove(); err != nil {
		return fmt.Errorf("forgetting answers: %w", err)
	}
	return nil
}

// release counts keys down, and has those in e.changed that are at 0.
func (e *Expected) release(keys []Key) {
	e.changed = e.changed[:0]
	for _, k := range keys {
		switch n := e.keys[k]; n {
		case 0:
		case 1:
			delete(e.keys, k)
			e.changed = append(e.changed, k)
		default:
			e.keys[k] = n - 1
		}
	}
}

// Accepts tells whether a frame passes in mode EBPF, whatever the mode is. It
// begins with its Ethernet header, or with the IP header if the ExpectConfig has
// NoLink. Accepts does not allocate.
func (e *Expected) Accepts(frame []byte, meta Meta) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cfg.accepts(frame, meta, e.keys)
}

// Attach gives the filter to a socket, in place of whatever filter it has, and
// keeps the socket, to give it another program when one is needed. All that
// Filter.Attach says of the socket, of Auto and of errors holds here too, but that
// a socket which refuses eBPF makes all sockets go on with the classic program.
func (e *Expected) Attach(c syscall.Conn) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return os.ErrClosed
	}
	err := e.attach(c)
	if err != nil && e.auto && e.mode == EBPF {
		// Nothing else is touched if it is not for want of eBPF.
		program, classicErr := e.sum.classic(&e.cfg)
		if classicErr != nil || attachProgram(c, program) != nil || e.fallBack(err) != nil {
			return err
		}
		err = nil
	}
	if err != nil {
		return err
	}
	if !slices.Contains(e.sockets, c) {
		e.sockets = append(e.sockets, c)
	}
	return nil
}

// Close releases what e holds of the kernel. Sockets keep the filter as it is.
// Closing again does nothing.
func (e *Expected) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed, e.sockets = true, nil
	if e.mode != EBPF {
		return nil
	}
	if err := e.objects.Close(); err != nil {
		return fmt.Errorf("closing eBPF: %w", err)
	}
	return nil
}

// fallBack goes on with the classic program on all sockets.
func (e *Expected) fallBack(reason error) error {
	e.mode = Classic
	if err := e.attachAll(); err != nil {
		e.mode = EBPF
		for _, c := range e.sockets {
			_ = e.attach(c) // those that have another program by now had this one before
		}
		return err
	}
	e.fallback = reason
	return e.objects.Close()
}

// attachAll gives the classic program to all sockets.
func (e *Expected) attachAll() error {
	program, err := e.sum.classic(&e.cfg)
	if err != nil {
		return err
	}
	e.sockets = slices.DeleteFunc(e.sockets, func(c syscall.Conn) bool {
		attachErr := attachProgram(c, program)
		if gone := (*goneError)(nil); errors.As(attachErr, &gone) {
			return true
		}
		err = errors.Join(err, attachErr)
		return false
	})
	e.stale = err != nil
	return err
}

func (e *Expected) attach(c syscall.Conn) error {
	if e.mode == EBPF {
		if err := withSocket(c, func(fd int) error {
			return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, e.objects.L2pingExpect.FD())
		}); err != nil {
			return fmt.Errorf("attaching eBPF: %w", err)
		}
		return nil
	}
	program, err := e.sum.classic(&e.cfg)
	if err != nil {
		return err
	}
	return attachProgram(c, program)
}

func attachProgram(c syscall.Conn, program []cbpf.RawInstruction) error {
	if err := withSocket(c, func(fd int) error { return attachClassic(fd, program) }); err != nil {
		return fmt.Errorf("attaching classic BPF: %w", err)
	}
	return nil
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

// batchLen is how many Keys go to the kernel at once.
const batchLen = 128

// mapKey is a Key as the map has it.
type mapKey [unsafe.Sizeof(Key{})]byte

// mapKeys returns the same memory: a Key has bytes alone, and no padding.
func mapKeys(keys []Key) []mapKey {
	return unsafe.Slice((*mapKey)(unsafe.Pointer(unsafe.SliceData(keys))), len(keys))
}

// A batch has Keys on their way to the kernel. For cilium/ebpf slices have to be
// interfaces, which are kept, so that there is one allocation for each length.
type batch struct {
	keys     [batchLen]mapKey
	values   [batchLen]uint8 // which say nothing
	keysOf   [batchLen + 1]any
	valuesOf [batchLen + 1]any
}

func (b *batch) of(keys []mapKey) (k, v any) {
	n := copy(b.keys[:], keys)
	if b.keysOf[n] == nil {
		b.keysOf[n], b.valuesOf[n] = b.keys[:n], b.values[:n]
	}
	return b.keysOf[n], b.valuesOf[n]
}

// insert puts e.changed into the map. The variable is set first, so that what the
// Keys are for is found as soon as they are there.
func (e *Expected) insert(anybody bool) error {
	if len(e.keys) > e.cfg.maxKeys() {
		return &flatError{text: fmt.Sprintf("more than %d keys", e.cfg.maxKeys()), cause: unix.ENOSPC}
	}
	if anybody && !e.anybody {
		if err := e.objects.Anybody.Set(uint8(1)); err != nil {
			return mapError(err)
		}
		e.anybody = true
	}
	for part := range slices.Chunk(mapKeys(e.changed), batchLen) {
		if e.batched(len(part)) {
			keys, values := e.batch.of(part)
			_, err := e.objects.L2pingKeys.BatchUpdate(keys, values, nil)
			if err == nil {
				continue
			}
			if !e.unbatched(err) {
				return mapError(err)
			}
		}
		for i := range part {
			if err := e.objects.L2pingKeys.Put(&part[i], &e.batch.values[0]); err != nil {
				return mapError(err)
			}
		}
	}
	return nil
}

// remove takes e.changed out of the map. It goes on where a Key is not there.
func (e *Expected) remove() error {
	for part := range slices.Chunk(mapKeys(e.changed), batchLen) {
		if e.batched(len(part)) {
			keys, _ := e.batch.of(part)
			_, err := e.objects.L2pingKeys.BatchDelete(keys, nil)
			if err == nil {
				continue
			}
			if !e.unbatched(err) && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return mapError(err)
			}
		}
		for i := range part {
			if err := e.objects.L2pingKeys.Delete(&part[i]); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return mapError(err)
			}
		}
	}
	return nil
}

// batched tells whether n Keys go to the kernel at once. It may not know how,
// before Linux 5.6.
func (e *Expected) batched(n int) bool { return n > 1 && !e.single }

// unbatched tells whether an error says so.
func (e *Expected) unbatched(err error) bool {
	if errors.Is(err, ebpf.ErrNotSupported) {
		e.single = true
	}
	return e.single
}

// mapError is loadError for what becomes of a map.
func mapError(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return &flatError{text: oneLine(err), cause: errno}
	}
	return &flatError{text: oneLine(err)}
}

// loadExpected loads the program and its map. It leaves objects alone if it
// fails.
func loadExpected(cfg *ExpectConfig, objects *expectObjects) error {
	spec, err := loadExpect()
	if err != nil {
		return loadError(err)
	}
	if err := setExpectConstants(spec, cfg); err != nil {
		return loadError(err)
	}
	if err := spec.LoadAndAssign(objects, nil); err != nil {
		return loadError(err)
	}
	return nil
}

// setExpectConstants writes cfg into the program's constants, the bytes of a
// frame as they are there.
func setExpectConstants(spec *ebpf.CollectionSpec, cfg *ExpectConfig) error {
	var vars expectVariableSpecs
	if err := spec.Assign(&vars); err != nil {
		return err
	}
	spec.Maps[expectMapL2pingKeys].MaxEntries = uint32(cfg.maxKeys())
	var types [2 * MaxEtherTypes]byte
	for i, t := range cfg.EtherTypes {
		types[2*i], types[2*i+1] = byte(t>>8), byte(t)
	}
	for _, v := range []struct {
		spec *ebpf.VariableSpec
		val  any
	}{
		{vars.NoLink, flag(cfg.NoLink)},
		{vars.Promiscuous, flag(cfg.Promiscuous)},
		{vars.HasMac, flag(!cfg.MAC.IsZero())},
		{vars.LocalMac, [6]byte(cfg.MAC)},
		{vars.OwnCount, uint8(len(cfg.EtherTypes))},
		{vars.OwnTypes, types},
	} {
		if err := v.spec.Set(v.val); err != nil {
			return err
		}
	}
	return nil
}
