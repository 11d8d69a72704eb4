//go:build linux

package l2

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab/labtest"
)

var (
	allOff   = HardwareMode{Transmit: TransmitOff, Receive: ReceiveNone}
	forPTP   = HardwareMode{Transmit: TransmitOn, Receive: ptpEvent}
	allOn    = HardwareMode{Transmit: TransmitOn, Receive: ReceiveAll}
	oneStep  = HardwareMode{Transmit: TransmitOneStepSync, Receive: ptpEvent}
	oneStepP = HardwareMode{Transmit: TransmitOneStepP2P, Receive: ReceiveAll}
)

// nicSet is a NIC that can stamp all, and how it is set.
func nicSet(m HardwareMode) *fakeNIC { return i210(m.Transmit, m.Receive) }

func TestSetHardwareStamps(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before HardwareMode
		taken  []HardwareMode // what is set, and set back
	}{
		{"off", allOff, []HardwareMode{allOn, allOff}},
		{"for PTP", forPTP, []HardwareMode{allOn, forPTP}},
		{"arrivals alone", HardwareMode{Receive: ReceiveAll}, []HardwareMode{allOn, {Receive: ReceiveAll}}},
		{"flags are kept", HardwareMode{flags: 1}, []HardwareMode{{TransmitOn, ReceiveAll, 1}, {flags: 1}}},
		{"on already", allOn, nil},
		{"on already, in one step", oneStepP, nil},
	} {
		n := nicSet(tt.before)
		n.set = tt.before
		restore, err := setHardwareStamps(eth0, n)
		if err != nil || !n.set.all() {
			t.Errorf("%s: %v; it is set to %s", tt.name, err, n.set)
			continue
		}
		if err := restore(); err != nil || n.set != tt.before {
			t.Errorf("%s: put back: %v; it is set to %s, want %s", tt.name, err, n.set, tt.before)
		}
		if !slices.Equal(n.taken, tt.taken) {
			t.Errorf("%s: set to %v, want %v", tt.name, n.taken, tt.taken)
		}
	}
}

// Where it would not help, or would take something from PTP, nothing is set.
func TestSetHardwareStampsRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		ifc    *Interface
		change func(*fakeNIC)
		lack   HardwareLack
	}{
		{"one step", eth0, func(n *fakeNIC) { n.set = oneStep }, LackOneStep},
		{"one step, peer to peer", eth0, func(n *fakeNIC) { n.set = HardwareMode{Transmit: TransmitOneStepP2P} }, LackOneStep},
		{"filters of PTP alone", eth0, func(n *fakeNIC) { n.info.Rx_filters = 1<<ReceiveNone | 1<<ptpEvent }, LackArrivals},
		{"no departures", eth0, func(n *fakeNIC) { n.info.Tx_types = 1 << TransmitOff }, LackDepartures},
		{"no hardware", eth0, func(n *fakeNIC) { n.info.So_timestamping = software; n.modeErr = unix.EOPNOTSUPP }, LackNIC},
		// What cannot be read cannot be put back.
		{"does not tell", eth0, func(n *fakeNIC) { n.modeErr = unix.EOPNOTSUPP }, LackAnswer},
		{"a bond", &Interface{Index: 3, Name: "bond0", Kind: "bond"}, func(*fakeNIC) {}, LackMembers},
	} {
		n := nicSet(allOff)
		tt.change(n)
		before := n.set
		restore, err := setHardwareStamps(tt.ifc, n)
		if noHardware(t, err, tt.lack, ""); restore != nil || len(n.taken) != 0 || n.set != before {
			t.Errorf("%s: set to %v", tt.name, n.taken)
		}
	}
}

// A driver that refuses, or takes less, is as it was before.
func TestSetHardwareStampsFails(t *testing.T) {
	notFound := errors.New("not found")
	takes := func(m HardwareMode, err error) func(HardwareMode) (HardwareMode, error) {
		return func(wanted HardwareMode) (HardwareMode, error) {
			if wanted == allOn {
				return m, err
			}
			return wanted, nil
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*fakeNIC)
		want   error
		text   string
		taken  []HardwareMode
		after  HardwareMode
	}{
		{"no capability", func(n *fakeNIC) { n.takes = takes(forPTP, unix.EPERM) }, unix.EPERM,
			"set the NIC of eth0 to stamp: operation not permitted", []HardwareMode{allOn}, forPTP},
		{"refuses", func(n *fakeNIC) { n.takes = takes(forPTP, unix.ERANGE) }, unix.ERANGE,
			"set the NIC of eth0 to stamp: numerical result out of range", []HardwareMode{allOn}, forPTP},
		{"refuses, but changes", func(n *fakeNIC) { n.takes = takes(allOff, unix.EIO) }, unix.EIO,
			"set the NIC of eth0 to stamp: input/output error", []HardwareMode{allOn, forPTP}, forPTP},
		{"takes less", func(n *fakeNIC) { n.takes = takes(HardwareMode{Transmit: TransmitOn, Receive: ReceiveNone}, nil) }, nil,
			"set the NIC of eth0 to stamp: the driver takes only tx on, rx none", []HardwareMode{allOn, forPTP}, forPTP},
		{"takes nothing", func(n *fakeNIC) { n.takes = takes(forPTP, nil) }, nil,
			"set the NIC of eth0 to stamp: the driver takes only tx on, rx ptpv2-event", []HardwareMode{allOn}, forPTP},
		{"takes departures off", func(n *fakeNIC) { n.takes = takes(HardwareMode{Receive: ReceiveAll}, nil) }, nil,
			"set the NIC of eth0 to stamp: the driver takes only tx off, rx all", []HardwareMode{allOn, forPTP}, forPTP},
		{"does not tell afterwards", func(n *fakeNIC) { n.modeErr, n.modeFails = unix.EIO, 1 }, unix.EIO,
			"set the NIC of eth0 to stamp: read it back: input/output error", []HardwareMode{allOn, forPTP}, forPTP},
		{"cannot be set back", func(n *fakeNIC) {
			n.takes = func(m HardwareMode) (HardwareMode, error) {
				if m == allOn {
					return allOff, nil
				}
				return allOff, notFound
			}
		}, notFound, "set the NIC of eth0 to stamp: the driver takes only tx off, rx none; nor can it be set back to tx on, rx ptpv2-event: not found",
			[]HardwareMode{allOn, forPTP}, allOff},
	} {
		n := nicSet(forPTP)
		tt.change(n)
		restore, err := setHardwareStamps(eth0, n)
		setting := (*SetHardwareError)(nil)
		if restore != nil || !errors.As(err, &setting) || setting.Interface != "eth0" || tt.want != nil && !errors.Is(err, tt.want) || err.Error() != tt.text {
			t.Errorf("%s: %v\nwant %s", tt.name, err, tt.text)
		}
		if !slices.Equal(n.taken, tt.taken) || n.set != tt.after {
			t.Errorf("%s: set to %v, and is set to %s, want %v and %s", tt.name, n.taken, n.set, tt.taken, tt.after)
		}
	}
	// What cannot be read is not taken for off.
	n := nicSet(allOff)
	n.modeErr, n.modeFails = unix.EIO, 1
	if _, err := setHardwareStamps(eth0, n); !errors.Is(err, unix.EIO) || !slices.Equal(n.taken, []HardwareMode{allOn, allOff}) {
		t.Errorf("does not tell afterwards, and was off: %v; set to %v", err, n.taken)
	}
	n = nicSet(allOff)
	n.infoErr = unix.ENODEV
	setting := (*SetHardwareError)(nil)
	if _, err := setHardwareStamps(eth0, n); !errors.As(err, &setting) || !errors.Is(err, unix.ENODEV) || len(n.taken) != 0 {
		t.Errorf("an interface that is gone: %v", err)
	}
}

// What somebody else has set since is left alone.
func TestRestoreHardwareStamps(t *testing.T) {
	for _, tt := range []struct {
		name  string
		since func(*fakeNIC)
		want  error
		text  string
		after HardwareMode
	}{
		{"nothing", func(*fakeNIC) {}, nil, "", allOff},
		{"put back by somebody else", func(n *fakeNIC) { n.set = allOff }, nil, "", allOff},
		{"changed", func(n *fakeNIC) { n.set = oneStep }, ErrSettingChanged, "put the NIC of eth0 back to tx off, rx none: " +
			"somebody else has changed it meanwhile, to tx onestep-sync, rx ptpv2-event; it is left so", oneStep},
		{"gone", func(n *fakeNIC) { n.modeErr = unix.ENODEV }, unix.ENODEV,
			"put the NIC of eth0 back to tx off, rx none: no such device", allOn},
		{"refuses", func(n *fakeNIC) { n.takes = func(HardwareMode) (HardwareMode, error) { return allOn, unix.EPERM } }, unix.EPERM,
			"put the NIC of eth0 back to tx off, rx none: operation not permitted", allOn},
		{"takes something else", func(n *fakeNIC) { n.takes = func(HardwareMode) (HardwareMode, error) { return forPTP, nil } }, nil,
			"put the NIC of eth0 back to tx off, rx none: the driver takes only tx on, rx ptpv2-event", forPTP},
		{"does not tell afterwards", func(n *fakeNIC) { n.modeErr, n.modeFails = unix.EIO, n.modes+1 }, unix.EIO,
			"put the NIC of eth0 back to tx off, rx none: input/output error", allOff},
	} {
		n := nicSet(allOff)
		restore, err := setHardwareStamps(eth0, n)
		must(t, err)
		tt.since(n)
		switch err := restore(); {
		case tt.text == "" && err != nil, tt.text != "" && (err == nil || err.Error() != tt.text), tt.want != nil && !errors.Is(err, tt.want):
			t.Errorf("%s: %v\nwant %s", tt.name, err, tt.text)
		}
		if n.set != tt.after {
			t.Errorf("%s: set to %s, want %s", tt.name, n.set, tt.after)
		}
	}
}

// A second restore changes nothing, and the socket is closed once.
func TestSetHardwareStampsCloses(t *testing.T) {
	n := nicSet(allOff)
	restore, err := setAndKeep(eth0, n)
	must(t, err)
	if n.closed != 0 || n.set != allOn {
		t.Errorf("before it is put back: %s, closed %d times", n.set, n.closed)
	}
	must(t, restore())
	if n.set != allOff {
		t.Errorf("put back, it is set to %s", n.set)
	}
	n.set = allOn
	must(t, restore())
	if n.set != allOn || n.closed != 1 {
		t.Errorf("after a second restore: %s, closed %d times", n.set, n.closed)
	}
	n = nicSet(oneStep)
	if restore, err := setAndKeep(eth0, n); restore != nil || n.closed != 1 {
		t.Errorf("refused: %v, closed %d times", err, n.closed)
	}
}

// capabilityVar has the test binary try an ioctl in a process of its own, which
// gives all capabilities away but what is listed, or what is not.
const capabilityVar = "L2PING_L2_TEST_CAPABILITY"

// TestHardwareCapabilities proves HardwareCapabilities: the kernel asks for them
// before it asks the driver, so that veth will do (net/core/dev_ioctl.c).
// Reading needs nothing.
func TestHardwareCapabilities(t *testing.T) {
	if which := os.Getenv(capabilityVar); which != "" {
		dropTo(t, HardwareCapabilities, which == "listed")
		if err := setAs(which); err != nil {
			t.Fatal(err)
		}
		return
	}
	pair := labtest.NewPair(t, nil)
	for _, which := range []string{"listed", "all others"} {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestHardwareCapabilities$")
		cmd.Env = append(os.Environ(), capabilityVar+"="+which)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := pair.Near.Run(cmd); err != nil {
			t.Errorf("%s: %v\n%s", which, err, &out)
		}
	}
}

func setAs(which string) error {
	ifc, err := InterfaceByName("eth0")
	if err != nil {
		return err
	}
	a, err := ifc.Stamps()
	if err != nil || a.Driver != "veth" || !errors.Is(a.PresentErr, unix.EOPNOTSUPP) {
		return errors.Join(errors.New("reading fails"), err, a.PresentErr)
	}
	n, err := openNIC(ifc)
	if err != nil {
		return err
	}
	defer n.Close()
	want := unix.EOPNOTSUPP
	if which != "listed" {
		want = unix.EPERM
	}
	if err := n.setMode(allOn); !errors.Is(err, want) {
		return errors.Join(errors.New("want "+want.Error()), err)
	}
	return nil
}
