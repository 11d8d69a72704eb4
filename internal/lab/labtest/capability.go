package labtest

import (
	"fmt"
	"slices"
	"strings"

	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// KeepCapabilities gives all capabilities of this process away, for good, but
// those of the names, such as CAP_NET_RAW. It fails if the process has not got
// one of them. It is for a process of a test's own.
func KeepCapabilities(names ...string) error {
	list, err := capabilities(names)
	if err != nil {
		return err
	}
	return keep(list)
}

// DropCapabilities gives the capabilities of the names away, for good, and keeps
// all others that this process has.
func DropCapabilities(names ...string) error {
	drop, err := capabilities(names)
	if err != nil {
		return err
	}
	var list []cap.Value
	for v, have := cap.Value(0), cap.GetProc(); v < cap.MaxBits(); v++ {
		permitted, err := have.GetFlag(cap.Permitted, v)
		if err != nil {
			return fmt.Errorf("look for %v: %w", v, err)
		}
		if permitted && !slices.Contains(drop, v) {
			list = append(list, v)
		}
	}
	return keep(list)
}

func capabilities(names []string) (list []cap.Value, err error) {
	for _, name := range names {
		v, err := cap.FromName(strings.ToLower(name))
		if err != nil {
			return nil, fmt.Errorf("capability %s: %w", name, err)
		}
		list = append(list, v)
	}
	return list, nil
}

func keep(list []cap.Value) error {
	set := cap.NewSet()
	for _, flag := range []cap.Flag{cap.Permitted, cap.Effective} {
		if err := set.SetFlag(flag, true, list...); err != nil {
			return fmt.Errorf("keep %v: %w", list, err)
		}
	}
	if err := set.SetProc(); err != nil {
		return fmt.Errorf("keep %v: %w", list, err)
	}
	return nil
}
