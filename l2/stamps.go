//go:build linux

package l2

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// StampAbility says what an interface's driver can stamp.
type StampAbility struct {
	// Departure and Arrival are the best points that the driver claims,
	// StampHardware left aside: the kernel itself can always stamp a
	// departure at StampSched and an arrival at StampDriver.
	Departure, Arrival StampPoint
}

// Stamps asks the driver what it can stamp (ethtool(8) -T: ETHTOOL_GET_TS_INFO).
// It needs no capability. A driver that does not answer is taken to stamp no
// departures.
func (i *Interface) Stamps() (StampAbility, error) {
	ability := StampAbility{Departure: StampSched, Arrival: StampDriver}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ability, fmt.Errorf("open socket: %w", os.NewSyscallError("socket", err))
	}
	defer unix.Close(fd)
	info, err := unix.IoctlGetEthtoolTsInfo(fd, i.Name)
	if err != nil {
		return ability, fmt.Errorf("ask %s for its stamps: %w", i.Name, os.NewSyscallError("ioctl", err))
	}
	if info.So_timestamping&unix.SOF_TIMESTAMPING_TX_SOFTWARE != 0 {
		ability.Departure = StampDriver
	}
	return ability, nil
}
