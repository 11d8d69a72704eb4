//go:build linux

package l2

import (
	"errors"
	"fmt"
)

// HardwareCapabilities lists what SetHardwareStamps needs to change anything,
// in the notation of capabilities(7).
var HardwareCapabilities = []string{"CAP_NET_ADMIN"}

// ErrSettingChanged says that somebody else has changed what a NIC stamps.
var ErrSettingChanged = errors.New("somebody else has changed it meanwhile")

// A SetHardwareError says that what a NIC stamps could not be changed: wrapped
// is EPERM without CAP_NET_ADMIN, else what the driver said.
type SetHardwareError struct {
	Interface string
	Err       error
}

func (e *SetHardwareError) Error() string {
	return fmt.Sprintf("set the NIC of %s to stamp: %v", e.Interface, e.Err)
}

func (e *SetHardwareError) Unwrap() error { return e.Err }

// SetHardwareStamps has the interface's NIC stamp all frames both ways
// (SIOCSHWTSTAMP, as hwstamp_ctl -t 1 -r 1 of linuxptp does) and reads back
// whether it does. It needs CAP_NET_ADMIN, but not where the NIC stamps them
// already. It fails with *NoHardwareError where HardwareNow does and its lack is
// not Settable, and with *SetHardwareError where the driver refuses or takes
// less; the NIC is then set as before.
//
// The setting is the host's, not the program's: a program that ends without
// calling restore leaves it, and some drivers restart their queues to change it.
//
// restore puts the old setting back, unless somebody else has changed it
// meanwhile: then it is left alone, and the error is ErrSettingChanged. It may be
// called from any thread, and by a second call does nothing. It does nothing
// either where nothing was changed.
func (i *Interface) SetHardwareStamps() (restore func() error, err error) {
	n, err := openNIC(i)
	if err != nil {
		return nil, &SetHardwareError{i.Name, err}
	}
	return setAndKeep(i, n)
}

// setAndKeep keeps n until what was set is put back.
func setAndKeep(i *Interface, n nic) (func() error, error) {
	restore, err := setHardwareStamps(i, n)
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	closed := false
	return func() error {
		if closed {
			return nil
		}
		closed = true
		return errors.Join(restore(), n.Close())
	}, nil
}

func setHardwareStamps(i *Interface, n nic) (func() error, error) {
	a, err := readAbility(i, n)
	if err != nil {
		return nil, &SetHardwareError{i.Name, err}
	}
	if err := a.HardwareNow(); err != nil {
		if lack := (*NoHardwareError)(nil); !errors.As(err, &lack) || !lack.Settable() {
			return nil, err
		}
	} else {
		return func() error { return nil }, nil
	}
	old := a.Present
	err = n.setMode(HardwareMode{TransmitOn, ReceiveAll, old.flags})
	// What counts is what the driver has made of it, even if that is an error.
	set, readErr := n.mode()
	switch {
	case err == nil && readErr == nil && set.all():
		return func() error { return putBack(i, n, set, old) }, nil
	case err == nil && readErr != nil:
		err = fmt.Errorf("read it back: %w", readErr)
	case err == nil:
		err = fmt.Errorf("the driver takes only %s", set)
	}
	if readErr != nil || set != old {
		if backErr := n.setMode(old); backErr != nil {
			err = fmt.Errorf("%w; nor can it be set back to %s: %w", err, old, backErr)
		}
	}
	return nil, &SetHardwareError{i.Name, err}
}

// putBack sets the NIC to old if it still is as it was set.
func putBack(i *Interface, n nic, set, old HardwareMode) error {
	now, err := n.mode()
	switch {
	case err != nil:
	case now == old:
		return nil
	case now != set:
		return fmt.Errorf("put the NIC of %s back to %s: %w, to %s; it is left so", i.Name, old, ErrSettingChanged, now)
	default:
		err = n.setMode(old)
		if err != nil {
			break
		}
		if now, err = n.mode(); err == nil && now != old {
			err = fmt.Errorf("the driver takes only %s", now)
		}
	}
	if err != nil {
		return fmt.Errorf("put the NIC of %s back to %s: %w", i.Name, old, err)
	}
	return nil
}
