//go:build linux

package l2

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// StampAbility says what an interface can stamp, and what its NIC is set to.
type StampAbility struct {
	// Interface and Driver are the names of both; Driver is "" where none is
	// told.
	Interface, Driver string
	// Departure and Arrival are the best points that the driver claims,
	// StampHardware left aside: the kernel itself can always stamp a
	// departure at StampSched and an arrival at StampDriver.
	Departure, Arrival StampPoint
	// Bond is an interface whose frames go by several NICs, each with a
	// clock of its own. What else is said here of hardware is then one
	// member's.
	Bond bool
	// Transmits and Receives are what the NIC can be set to; empty for one
	// that stamps nothing, or a driver that does not tell.
	Transmits TransmitModes
	Receives  ReceiveFilters
	// Clock is the index of the NIC's PTP clock, /dev/ptpN; -1 is none.
	Clock int
	// Present is what the NIC is set to, if PresentErr is nil. Where there is
	// no such setting PresentErr is errors.ErrUnsupported; after another error
	// the setting is not known.
	Present    HardwareMode
	PresentErr error
}

// HardwareMode is what a NIC is set to stamp (the kernel's
// Documentation/networking/timestamping.rst, SIOCGHWTSTAMP).
type HardwareMode struct {
	Transmit TransmitMode
	Receive  ReceiveFilter

	flags int32
}

func (m HardwareMode) String() string {
	return fmt.Sprintf("tx %s, rx %s", m.Transmit, m.Receive)
}

// all tells whether frames of any kind are stamped both ways. One-step modes
// stamp all but some of PTP's own frames (linux/net_tstamp.h).
func (m HardwareMode) all() bool { return m.Transmit != TransmitOff && m.Receive == ReceiveAll }

// A TransmitMode is which departing frames a NIC stamps (linux/net_tstamp.h,
// HWTSTAMP_TX_*).
type TransmitMode int32

// The modes. In the latter two the NIC writes its stamp into frames of PTP.
const (
	TransmitOff         TransmitMode = unix.HWTSTAMP_TX_OFF
	TransmitOn          TransmitMode = unix.HWTSTAMP_TX_ON
	TransmitOneStepSync TransmitMode = unix.HWTSTAMP_TX_ONESTEP_SYNC
	TransmitOneStepP2P  TransmitMode = unix.HWTSTAMP_TX_ONESTEP_P2P
)

var transmitNames = [...]string{"off", "on", "onestep-sync", "onestep-p2p"}

// String returns the mode's name as `ethtool -T` has it.
func (m TransmitMode) String() string { return nameOf(transmitNames[:], int(m)) }

// A ReceiveFilter is which arriving frames a NIC stamps (linux/net_tstamp.h,
// HWTSTAMP_FILTER_*). All but the two named here stamp frames of PTP or NTP
// alone.
type ReceiveFilter int32

// Filters that matter here.
const (
	ReceiveNone ReceiveFilter = unix.HWTSTAMP_FILTER_NONE
	ReceiveAll  ReceiveFilter = unix.HWTSTAMP_FILTER_ALL
)

var receiveNames = [...]string{
	"none", "all", "some",
	"ptpv1-l4-event", "ptpv1-l4-sync", "ptpv1-l4-delay-req",
	"ptpv2-l4-event", "ptpv2-l4-sync", "ptpv2-l4-delay-req",
	"ptpv2-l2-event", "ptpv2-l2-sync", "ptpv2-l2-delay-req",
	"ptpv2-event", "ptpv2-sync", "ptpv2-delay-req",
	"ntp-all",
}

// String returns the filter's name as `ethtool -T` has it.
func (f ReceiveFilter) String() string { return nameOf(receiveNames[:], int(f)) }

// TransmitModes is a set of them.
type TransmitModes uint32

// Has tells whether a mode is in the set.
func (s TransmitModes) Has(m TransmitMode) bool { return has(uint32(s), int(m)) }

// String lists the modes.
func (s TransmitModes) String() string { return listOf(transmitNames[:], uint32(s)) }

// ReceiveFilters is a set of them.
type ReceiveFilters uint32

// Has tells whether a filter is in the set.
func (s ReceiveFilters) Has(f ReceiveFilter) bool { return has(uint32(s), int(f)) }

// String lists the filters.
func (s ReceiveFilters) String() string { return listOf(receiveNames[:], uint32(s)) }

func nameOf(names []string, i int) string {
	if i < 0 || i >= len(names) {
		return fmt.Sprintf("%d", i)
	}
	return names[i]
}

func has(set uint32, i int) bool { return i >= 0 && i < 32 && set&(1<<i) != 0 }

func listOf(names []string, set uint32) string {
	var list []string
	for i := range 32 {
		if has(set, i) {
			list = append(list, nameOf(names, i))
		}
	}
	return strings.Join(list, ", ")
}

// Stamps asks the driver what it can stamp (ethtool(8) -T: ETHTOOL_GET_TS_INFO)
// and what its NIC is set to (SIOCGHWTSTAMP). It needs no capability. A driver
// that does not answer is taken to stamp no departures.
func (i *Interface) Stamps() (StampAbility, error) {
	n, err := openNIC(i)
	if err != nil {
		a := i.leastAbility()
		a.PresentErr = fmt.Errorf("ask %s for its stamps: %w", i.Name, err)
		return a, a.PresentErr
	}
	defer n.Close()
	return readAbility(i, n)
}

func (i *Interface) leastAbility() StampAbility {
	return StampAbility{
		Interface: i.Name, Bond: i.Kind == "bond",
		Departure: StampSched, Arrival: StampDriver, Clock: -1,
	}
}

func readAbility(i *Interface, n nic) (StampAbility, error) {
	a := i.leastAbility()
	info, err := n.stamps()
	if err != nil {
		a.PresentErr = fmt.Errorf("ask %s for its stamps: %w", i.Name, err)
		return a, a.PresentErr
	}
	if driver, err := n.driver(); err == nil {
		a.Driver = driver
	}
	flags := info.So_timestamping
	if flags&unix.SOF_TIMESTAMPING_TX_SOFTWARE != 0 {
		a.Departure = StampDriver
	}
	a.Clock = int(info.Phc_index)
	// Without the raw stamp there is none that a socket gets.
	if flags&unix.SOF_TIMESTAMPING_RAW_HARDWARE != 0 {
		if flags&unix.SOF_TIMESTAMPING_TX_HARDWARE != 0 {
			a.Transmits = TransmitModes(info.Tx_types)
		}
		if flags&unix.SOF_TIMESTAMPING_RX_HARDWARE != 0 {
			a.Receives = ReceiveFilters(info.Rx_filters)
		}
	}
	if a.Present, err = n.mode(); err != nil {
		a.PresentErr = fmt.Errorf("ask %s what its NIC stamps: %w", i.Name, err)
	}
	return a, nil
}

// HardwareNow says whether the NIC, as it is set now, stamps frames of any kind
// both ways: nil if it does, else *NoHardwareError. Filters for PTP do not stamp
// ours.
func (a *StampAbility) HardwareNow() error {
	lack := LackSetting
	claims := a.Transmits != 0 || a.Receives != 0
	switch {
	case a.Bond:
		lack = LackMembers
	case a.PresentErr == nil && a.Present.all():
		return nil
	case !claims && (a.PresentErr == nil || errors.Is(a.PresentErr, errors.ErrUnsupported)):
		lack = LackNIC
	case claims && !a.Transmits.Has(TransmitOn):
		lack = LackDepartures
	case claims && !a.Receives.Has(ReceiveAll):
		lack = LackArrivals
	case a.PresentErr != nil:
		lack = LackAnswer
	case a.Present.Transmit > TransmitOn:
		lack = LackOneStep
	}
	return &NoHardwareError{Interface: a.Interface, Lack: lack, Present: a.Present, Err: a.PresentErr}
}

// A HardwareLack is why a NIC does not stamp our frames.
type HardwareLack uint8

// The reasons. LackSetting alone is one that SetHardwareStamps takes away.
const (
	LackNIC        HardwareLack = iota + 1 // the NIC has no stamps, or its driver tells of none
	LackMembers                            // a bond: its members' clocks differ
	LackDepartures                         // the NIC stamps no departures
	LackArrivals                           // the NIC can stamp arrivals of PTP or NTP alone
	LackAnswer                             // what the NIC is set to cannot be learnt
	LackSetting                            // the NIC is set to stamp less
	LackOneStep                            // the same, for PTP in one-step mode, which is left alone
)

// A NoHardwareError says why an interface's NIC does not stamp our frames.
type NoHardwareError struct {
	Interface string
	Lack      HardwareLack
	// Present is what the NIC is set to, for LackSetting and LackOneStep.
	Present HardwareMode
	// Err is why that cannot be learnt, for LackAnswer.
	Err error
}

// Settable tells whether SetHardwareStamps would have the NIC stamp our frames.
func (e *NoHardwareError) Settable() bool { return e.Lack == LackSetting }

// Reason says what is missing, without the interface's name.
func (e *NoHardwareError) Reason() string {
	switch e.Lack {
	case LackNIC:
		return "its driver has no stamps by hardware"
	case LackMembers:
		return "it is a bond, and its members' clocks differ (name a member)"
	case LackDepartures:
		return "its NIC cannot stamp departures"
	case LackArrivals:
		return "its NIC can stamp arrivals of PTP or NTP alone"
	case LackAnswer:
		return fmt.Sprintf("what its NIC is set to is not known (%v)", e.Err)
	case LackOneStep:
		return fmt.Sprintf("its NIC is set to %s, for PTP in one step, and left so", e.Present)
	}
	return fmt.Sprintf("its NIC is set to %s, and has to be set to tx on, rx all", e.Present)
}

func (e *NoHardwareError) Error() string {
	return fmt.Sprintf("no hardware stamps on %s: %s", e.Interface, e.Reason())
}

func (e *NoHardwareError) Unwrap() error { return e.Err }
