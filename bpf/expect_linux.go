package bpf

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// An Expected is a filter for the answers to many requests, to be attached to
// sockets. What passes is told by Keys, which come and go while it is attached.
//
// In mode EBPF what passes is what ExpectConfig has pass, and each frame of which
// AppendAnswerKeys has an expected Key. The kernel looks for fingerprints of Keys,
// of 64 bits by a secret that is new each time, so that hardly ever anything else
// passes. In mode Classic at least the same passes: the program knows what kinds of
// Keys there have been, and their VLANs, addresses and ports as long as there is
// one of each. In both Answers has the last word.
//
// Its methods may be called from several goroutines. One in mode EBPF holds
// descriptors and memory, and has to be closed.
type Expected struct {
	choice
	cfg     ExpectConfig
	keys    map[Key]uint32 // how many times each is expected
	sum     summary        // of all that were
	stale   bool           // the sockets have a classic program of less than that
	sockets []syscall.Conn
	kernel  expectKernel // while mode is EBPF and the Expected not closed
	changed []Key        // what Expect and Forget are about, to be used again
}

// NewExpected makes an Expected that expects nothing yet. A nil cfg is as good as
// a zero one. The modes and the errors are those of NewFilter; an ExpectConfig
// that is not valid is an error in every mode.
//
// The eBPF program needs Linux 5.5, the classic one Linux 3.8.
func NewExpected(mode Mode, cfg *ExpectConfig) (*Expected, error) {
	if err := checkMode(mode); err != nil {
		return nil, err
	}
	e := &Expected{keys: make(map[Key]uint32)}
	if cfg != nil {
		e.cfg = *cfg
		e.cfg.EtherTypes = slices.Clone(cfg.EtherTypes)
	}
	if err := e.cfg.Validate(); err != nil {
		return nil, err
	}
	if err := e.take(mode, func() error { return e.kernel.load(&e.cfg) }); err != nil {
		return nil, err
	}
	return e, nil
}

// Expect has the frames that have one of these Keys pass, from its return on:
// what they answer is to be sent after that. A Key that is expected twice has to
// be forgotten twice.
//
// Where there are more Keys than ExpectConfig.MaxKeys, an Expected in Auto goes on
// with the classic filter, and Fallback tells the reason. Else that is an error,
// which is syscall.ENOSPC, and none of these Keys is expected. Other errors are
// os.ErrClosed, and those of Attach, of a socket that refuses a new classic
// program; sockets that were closed are forgotten.
//
// In mode EBPF Expect makes no system call, and is cheap enough to be called for
// each request.
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
	for _, k := range keys {
		n := e.keys[k]
		e.keys[k] = n + 1
		if n > 0 {
			continue
		}
		e.changed = append(e.changed, k)
		e.stale = e.sum.add(k) || e.stale
	}

	var err error
	switch {
	case e.mode == EBPF:
		if err = e.insert(); err != nil && e.auto && e.fallBack(err) == nil {
			return nil
		}
	case e.stale:
		err = e.attachAll()
	}
	if err != nil {
		e.release(keys)
		return fmt.Errorf("expecting answers: %w", err)
	}
	return nil
}

// Forget ends what Expect began. Keys that are not expected are left out. In mode
// Classic nothing passes less for it. The one error is os.ErrClosed.
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
	for i := range e.changed {
		e.kernel.table.remove(&e.changed[i])
	}
	return nil
}

// insert has the frames of e.changed pass.
func (e *Expected) insert() error {
	if len(e.keys) > e.cfg.maxKeys() {
		return &flatError{text: fmt.Sprintf("more than %d keys", e.cfg.maxKeys()), cause: unix.ENOSPC}
	}
	for i := range e.changed {
		e.kernel.table.insert(&e.changed[i])
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
	e.sockets = nil
	return e.end(&e.kernel)
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
	return e.kernel.Close()
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
		return attachEBPF(c, e.kernel.objects.L2pingExpect)
	}
	program, err := e.sum.classic(&e.cfg)
	if err != nil {
		return err
	}
	return attachProgram(c, program)
}
