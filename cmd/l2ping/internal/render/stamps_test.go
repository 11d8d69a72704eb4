//go:build linux

package render

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/l2"
)

// What NICs can be set to.
const (
	offAndOn   = 1<<l2.TransmitOff | 1<<l2.TransmitOn
	noneAndAll = 1<<l2.ReceiveNone | 1<<l2.ReceiveAll

	ptpEvent l2.ReceiveFilter = unix.HWTSTAMP_FILTER_PTP_V2_EVENT
)

// stampsOf is a NIC that can stamp all frames, and stamps none.
func stampsOf(change func(*l2.Interface, *l2.StampAbility)) (*l2.Interface, *l2.StampAbility) {
	ifc := &l2.Interface{Name: "eth0", Kind: "device"}
	a := &l2.StampAbility{
		Interface: "eth0", Driver: "igc", Departure: l2.StampDriver, Arrival: l2.StampDriver,
		Transmits: offAndOn, Receives: noneAndAll, Clock: 2,
	}
	change(ifc, a)
	return ifc, a
}

func TestStamps(t *testing.T) {
	unsupported := errors.ErrUnsupported
	for _, tt := range []struct {
		name   string
		change func(*l2.Interface, *l2.StampAbility)
		c      l2.Coalescing
		err    error
		want   string
	}{
		{"veth", func(i *l2.Interface, a *l2.StampAbility) {
			i.Kind = "veth"
			*a = l2.StampAbility{Interface: "eth0", Driver: "veth", Departure: l2.StampDriver, Arrival: l2.StampDriver, Clock: -1, PresentErr: unsupported}
		}, l2.Coalescing{}, unsupported, `
interface  eth0               veth
departure  driver             stamped as the driver hands the frame on
arrival    driver             stamped as the driver hands the frame to the kernel
hardware   none               the driver has no stamps by hardware
coalescing none               veth hands frames over in the CPU

A time runs from driver to driver: the program, the scheduler and the qdisc
are not in it; what lies below the driver is.
A veth has no NIC, which could hold frames back or stamp them: software stamps
see all that there is.
`},
		{"bridge", func(i *l2.Interface, a *l2.StampAbility) {
			i.Name, i.Kind = "br0", "bridge"
			*a = l2.StampAbility{Interface: "br0", Driver: "bridge", Departure: l2.StampSched, Arrival: l2.StampDriver, Clock: -1, PresentErr: unsupported}
		}, l2.Coalescing{}, unsupported, `
interface  br0                bridge
departure  sched              stamped ahead of the qdisc: the driver stamps no departures
arrival    driver             stamped as the driver hands the frame to the kernel
hardware   none               the driver has no stamps by hardware
coalescing none               none of its own: ask the interface below it

A time runs from ahead of the qdisc to the driver on the way back: what the
qdisc and the driver take on the way out counts as wire.
--timestamps hardware is not to be had on br0: its driver has no stamps by
hardware.
`},
		{"off", func(*l2.Interface, *l2.StampAbility) {}, l2.Coalescing{ReceiveDelay: 50 * time.Microsecond, TransmitDelay: time.Millisecond, TransmitFrames: 32}, nil, `
interface  eth0               device, driver igc
departure  driver             stamped as the driver hands the frame on
arrival    driver             stamped as the driver hands the frame to the kernel
hardware   both ways          the NIC can stamp all frames
set to     tx off             departures are not stamped
           rx none            arrivals are not stamped
clock      /dev/ptp2          the NIC's; its stamps compare with each other alone
coalescing rx 50 us           the NIC's wait after an arrival until its interrupt
           tx 1000 us, 32 frames the same after a departure; stamps do not wait for it

A time runs from driver to driver: the program, the scheduler and the qdisc
are not in it; what lies below the driver is.
In software an arriving frame is stamped up to 50 us late, for so long the NIC
may hold its interrupt back (ethtool -C eth0 rx-usecs 0 ends it, at the price
of more interrupts).
--timestamps hardware would leave the driver and its interrupts out, but its
NIC is set to tx off, rx none, and has to be set to tx on, rx all:
--set-hardware-timestamps sets that for one run, hwstamp_ctl -i eth0 -t 1 -r 1
(linuxptp) until somebody changes it.
`},
		{"on", func(_ *l2.Interface, a *l2.StampAbility) {
			a.Present = l2.HardwareMode{Transmit: l2.TransmitOn, Receive: l2.ReceiveAll}
		}, l2.Coalescing{AdaptiveReceive: true}, nil, `
interface  eth0               device, driver igc
departure  driver             stamped as the driver hands the frame on
arrival    driver             stamped as the driver hands the frame to the kernel
hardware   both ways          the NIC can stamp all frames
set to     tx on              departures are stamped
           rx all             arrivals are stamped
clock      /dev/ptp2          the NIC's; its stamps compare with each other alone
coalescing rx adaptive        the NIC's wait after an arrival until its interrupt
           tx at once         the same after a departure; stamps do not wait for it

A time runs from driver to driver: the program, the scheduler and the qdisc
are not in it; what lies below the driver is.
The interrupt's delay moves with the traffic, and an arriving frame is stamped
that much late, in bursts the most (ethtool -C eth0 adaptive-rx off rx-usecs 0
ends it, at the price of more interrupts).
--timestamps hardware takes the NIC's own stamps: neither the driver nor its
interrupts are in those.
`},
		{"for PTP, that alone", func(_ *l2.Interface, a *l2.StampAbility) {
			a.Receives = 1<<l2.ReceiveNone | 1<<ptpEvent
			a.Present = l2.HardwareMode{Transmit: l2.TransmitOn, Receive: ptpEvent}
		}, l2.Coalescing{}, nil, `
interface  eth0               device, driver igc
departure  driver             stamped as the driver hands the frame on
arrival    driver             stamped as the driver hands the frame to the kernel
hardware   departures         arrivals of PTP or NTP at best: the NIC has no filter "all"
set to     tx on              departures are stamped
           rx ptpv2-event     our arrivals are not stamped: the filter is for others
clock      /dev/ptp2          the NIC's; its stamps compare with each other alone
coalescing rx at once         the NIC's wait after an arrival until its interrupt
           tx at once         the same after a departure; stamps do not wait for it

A time runs from driver to driver: the program, the scheduler and the qdisc
are not in it; what lies below the driver is.
--timestamps hardware is not to be had on eth0: its NIC can stamp arrivals of
PTP or NTP alone.
`},
		{"nothing is told", func(_ *l2.Interface, a *l2.StampAbility) {
			a.Driver, a.PresentErr, a.Clock = "", errors.New("ask eth0 what its NIC stamps: ioctl: device or resource busy"), 0
		}, l2.Coalescing{}, errors.New("ask eth0 for its coalescing: ioctl: device or resource busy"), `
interface  eth0               device
departure  driver             stamped as the driver hands the frame on
arrival    driver             stamped as the driver hands the frame to the kernel
hardware   both ways          the NIC can stamp all frames
set to     not known          ask eth0 what its NIC stamps: ioctl: device or resource busy
clock      /dev/ptp0          the NIC's; its stamps compare with each other alone
coalescing not known          ask eth0 for its coalescing: ioctl: device or resource busy

A time runs from driver to driver: the program, the scheduler and the qdisc
are not in it; what lies below the driver is.
--timestamps hardware is not to be had on eth0: what its NIC is set to is not
known (ask eth0 what its NIC stamps: ioctl: device or resource busy).
`},
	} {
		ifc, a := stampsOf(tt.change)
		if got := Stamps(ifc, a, tt.c, tt.err); got != strings.TrimPrefix(tt.want, "\n") {
			t.Errorf("%s: is\n%swant%s", tt.name, got, tt.want)
		}
	}
}

func TestStampsHardware(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*l2.StampAbility)
		want   []string // lines, their blanks as one
	}{
		{"arrivals alone", func(a *l2.StampAbility) { a.Transmits = 1 << l2.TransmitOff },
			[]string{"hardware arrivals the NIC cannot stamp departures"}},
		{"neither", func(a *l2.StampAbility) { a.Transmits, a.Receives = 0, 1<<ptpEvent },
			[]string{"hardware not of ours frames of PTP or NTP at best"}},
		{"a bond", func(a *l2.StampAbility) { a.Bond = true },
			[]string{"hardware not used the frames of a bond go by NICs whose clocks differ"}},
		{"a bond whose members differ", func(a *l2.StampAbility) {
			a.Bond, a.Transmits, a.Receives, a.PresentErr, a.Clock = true, 0, 0, errors.ErrUnsupported, -1
		}, []string{"hardware not used the frames of a bond go by NICs whose clocks differ"}},
		{"does not tell", func(a *l2.StampAbility) { a.PresentErr = errors.ErrUnsupported },
			[]string{"set to not known the driver does not tell"}},
		{"one step", func(a *l2.StampAbility) {
			a.Present = l2.HardwareMode{Transmit: l2.TransmitOneStepSync, Receive: ptpEvent}
		},
			[]string{"set to tx onestep-sync departures are stamped", "--timestamps hardware is not to be had on eth0: its NIC is set to tx"}},
		{"a clock that stamps nothing", func(a *l2.StampAbility) { a.Transmits, a.Receives, a.PresentErr = 0, 0, errors.ErrUnsupported },
			[]string{"hardware none the driver has no stamps by hardware", "clock /dev/ptp2 the NIC's; its stamps compare with each other alone"}},
	} {
		ifc, a := stampsOf(func(_ *l2.Interface, a *l2.StampAbility) { tt.change(a) })
		var lines []string
		for line := range strings.Lines(Stamps(ifc, a, l2.Coalescing{}, nil)) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		text := "\n" + strings.Join(lines, "\n") + "\n"
		for _, want := range tt.want {
			if !strings.Contains(text, "\n"+want+"\n") {
				t.Errorf("%s: no line %q in%s", tt.name, want, text)
			}
		}
	}
}

func TestStampsCoalescing(t *testing.T) {
	for _, tt := range []struct {
		kind string
		err  error
		want [3]string
	}{
		{"veth", errors.ErrUnsupported, [3]string{"coalescing", "none", "veth hands frames over in the CPU"}},
		{"vlan", errors.ErrUnsupported, [3]string{"coalescing", "none", "none of its own: ask the interface below it"}},
		{"device", errors.ErrUnsupported, [3]string{"coalescing", "not told", "the driver tells of none"}},
		{"vlan", errors.New("busy"), [3]string{"coalescing", "not known", "busy"}},
	} {
		if got := coalescing(&l2.Interface{Kind: tt.kind}, l2.Coalescing{}, tt.err); len(got) != 1 || got[0] != tt.want {
			t.Errorf("%s, %v: %q, want %q", tt.kind, tt.err, got, tt.want)
		}
	}
}

func TestStampsWait(t *testing.T) {
	for _, tt := range []struct {
		d        time.Duration
		frames   int
		adaptive bool
		want     string
	}{
		{0, 0, false, "at once"},
		{0, 1, false, "at once"},
		{3 * time.Microsecond, 0, false, "3 us"},
		{0, 64, false, "64 frames"},
		{3 * time.Microsecond, 64, true, "3 us, 64 frames, adaptive"},
		{0, 0, true, "adaptive"},
	} {
		if got := wait(tt.d, tt.frames, tt.adaptive); got != tt.want {
			t.Errorf("%v, %d, %v: %q, want %q", tt.d, tt.frames, tt.adaptive, got, tt.want)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "\n"},
		{"one", "one\n"},
		{"aaa bbb", "aaa bbb\n"},
		{"aaa bbbb", "aaa\nbbbb\n"},
		{"aaaaaaaaaa b", "aaaaaaaaaa\nb\n"},
		{"äää bbb", "äää bbb\n"},
		{" a  b ", "a b\n"},
	} {
		if got := wrap(tt.text, 7); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.text, got, tt.want)
		}
	}
}
