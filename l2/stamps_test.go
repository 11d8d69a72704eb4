//go:build linux

package l2

import (
	"errors"
	"fmt"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab/labtest"
)

func TestStampPoint(t *testing.T) {
	for p, want := range map[StampPoint]string{
		StampNone: "none", StampUser: "user", StampSched: "sched", StampDriver: "driver", StampHardware: "hardware", 99: "none",
	} {
		if got := p.String(); got != want {
			t.Errorf("%d is %q, want %q", p, got, want)
		}
	}
	if !(StampNone < StampUser && StampUser < StampSched && StampSched < StampDriver && StampDriver < StampHardware) {
		t.Error("greater points are not nearer to the wire")
	}
}

// What the kernel says of veth: no NIC.
func TestStampsVeth(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	ifc := lookUp(t, pair.Near, "eth0")
	inside(t, pair.Near, func() {
		got, err := ifc.Stamps()
		must(t, err)
		if !errors.Is(got.PresentErr, errors.ErrUnsupported) || !errors.Is(got.PresentErr, unix.EOPNOTSUPP) ||
			got.PresentErr.Error() != "ask eth0 what its NIC stamps: ioctl: operation not supported" {
			t.Errorf("present setting: %v", got.PresentErr)
		}
		noHardware(t, got.HardwareNow(), LackNIC, "no hardware stamps on eth0: its driver has no stamps by hardware")
		got.PresentErr = nil
		want := StampAbility{Interface: "eth0", Driver: "veth", Departure: StampDriver, Arrival: StampDriver, Clock: -1}
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}

		restore, err := ifc.SetHardwareStamps()
		if noHardware(t, err, LackNIC, ""); restore != nil {
			t.Error("nothing was set, but it can be restored")
		}
		if c, err := ifc.Coalescing(); c != (Coalescing{}) || !errors.Is(err, errors.ErrUnsupported) ||
			err.Error() != "ask eth0 for its coalescing: ioctl: operation not supported" {
			t.Errorf("coalescing: %+v, %v", c, err)
		}
	})
}

// An answer is the interface's, under whichever name it goes.
func TestStampsRenamed(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	ifc := lookUp(t, pair.Near, "eth0")
	link, err := pair.Near.Handle().LinkByName("eth0")
	must(t, err)
	must(t, pair.Near.SetDown("eth0"))
	must(t, pair.Near.Handle().LinkSetName(link, "wan0"))
	inside(t, pair.Near, func() {
		if a, err := ifc.Stamps(); err != nil || a.Driver != "veth" {
			t.Errorf("%+v, %v", a, err)
		}
		if _, err := ifc.Coalescing(); !errors.Is(err, unix.EOPNOTSUPP) {
			t.Errorf("coalescing: %v", err)
		}
	})
}

func TestStampsGone(t *testing.T) {
	ns := labtest.NewNamespace(t)
	inside(t, ns, func() {
		gone := &Interface{Index: 4711, Name: "gone0"}
		a, err := gone.Stamps()
		if !errors.Is(err, unix.ENODEV) || err.Error() != "ask gone0 for its stamps: ioctl: no such device" || a.Departure != StampSched || a.Clock != -1 {
			t.Errorf("%+v, %v", a, err)
		}
		noHardware(t, a.HardwareNow(), LackAnswer, "no hardware stamps on gone0: what its NIC is set to is not known "+
			"(ask gone0 for its stamps: ioctl: no such device)")
		if !errors.Is(a.HardwareNow(), unix.ENODEV) {
			t.Error("the reason is not wrapped")
		}
		setting := (*SetHardwareError)(nil)
		if restore, err := gone.SetHardwareStamps(); restore != nil || !errors.As(err, &setting) || !errors.Is(err, unix.ENODEV) {
			t.Errorf("%v", err)
		}
		if _, err := gone.Coalescing(); !errors.Is(err, unix.ENODEV) || errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("coalescing: %v", err)
		}
	})
}

// noHardware wants a *NoHardwareError with that lack and text.
func noHardware(t *testing.T, err error, lack HardwareLack, text string) {
	t.Helper()
	e := (*NoHardwareError)(nil)
	if !errors.As(err, &e) || e.Lack != lack {
		t.Errorf("%v (%+v), want lack %d", err, e, lack)
		return
	}
	if text != "" && err.Error() != text {
		t.Errorf("%v\nwant %s", err, text)
	}
	if e.Settable() != (lack == LackSetting) {
		t.Errorf("%v can be set: %v", err, e.Settable())
	}
}

// A fakeNIC is a NIC of a test's own.
type fakeNIC struct {
	name  string
	info  unix.EthtoolTsInfo
	c     ethtoolCoalesce
	set   HardwareMode
	taken []HardwareMode // what was to be set
	// takes is what the driver makes of a mode that is set; nil takes it.
	takes func(HardwareMode) (HardwareMode, error)

	infoErr, nameErr, modeErr, coalesceErr error

	modes     int // how often it was asked for its mode
	modeFails int // from which time on that fails by modeErr; 0 is the first
	closed    int
}

func (n *fakeNIC) Close() error            { n.closed++; return nil }
func (n *fakeNIC) driver() (string, error) { return n.name, n.nameErr }
func (n *fakeNIC) stamps() (*unix.EthtoolTsInfo, error) {
	return &n.info, n.infoErr
}
func (n *fakeNIC) coalesce() (*ethtoolCoalesce, error) { return &n.c, n.coalesceErr }

func (n *fakeNIC) mode() (HardwareMode, error) {
	n.modes++
	if n.modeErr != nil && n.modes > n.modeFails {
		return HardwareMode{}, n.modeErr
	}
	return n.set, nil
}

func (n *fakeNIC) setMode(m HardwareMode) error {
	n.taken = append(n.taken, m)
	var err error
	if n.takes != nil {
		m, err = n.takes(m)
	}
	n.set = m
	return err
}

// What drivers claim (include/linux/ethtool.h, ethtool_op_get_ts_info, and
// drivers/net/ethernet/intel/igb/igb_ethtool.c).
const (
	software = unix.SOF_TIMESTAMPING_TX_SOFTWARE | unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE
	hardware = unix.SOF_TIMESTAMPING_TX_HARDWARE | unix.SOF_TIMESTAMPING_RX_HARDWARE | unix.SOF_TIMESTAMPING_RAW_HARDWARE

	offAndOn   = 1<<TransmitOff | 1<<TransmitOn
	noneAndAll = 1<<ReceiveNone | 1<<ReceiveAll

	ptpEvent ReceiveFilter = unix.HWTSTAMP_FILTER_PTP_V2_EVENT
)

// i210 is a NIC that can stamp all frames both ways, and is set so.
func i210(tx TransmitMode, rx ReceiveFilter) *fakeNIC {
	return &fakeNIC{
		name: "igb",
		info: unix.EthtoolTsInfo{So_timestamping: software | hardware, Tx_types: offAndOn, Rx_filters: noneAndAll, Phc_index: 3},
		set:  HardwareMode{Transmit: tx, Receive: rx},
	}
}

var eth0 = &Interface{Index: 2, Name: "eth0", Kind: "device"}

func TestStampAbility(t *testing.T) {
	for _, tt := range []struct {
		name   string
		nic    *fakeNIC
		change func(*fakeNIC)
		want   StampAbility
	}{
		{"a NIC that stamps", i210(TransmitOn, ReceiveAll), func(*fakeNIC) {}, StampAbility{
			Driver: "igb", Departure: StampDriver, Transmits: offAndOn, Receives: noneAndAll, Clock: 3,
			Present: HardwareMode{Transmit: TransmitOn, Receive: ReceiveAll},
		}},
		{"no driver's name", i210(TransmitOff, ReceiveNone), func(n *fakeNIC) { n.nameErr = unix.EOPNOTSUPP }, StampAbility{
			Departure: StampDriver, Transmits: offAndOn, Receives: noneAndAll, Clock: 3,
		}},
		{"no software departures", i210(TransmitOff, ReceiveNone), func(n *fakeNIC) {
			n.info.So_timestamping &^= unix.SOF_TIMESTAMPING_TX_SOFTWARE
		}, StampAbility{Driver: "igb", Departure: StampSched, Transmits: offAndOn, Receives: noneAndAll, Clock: 3}},
		{"arrivals alone", i210(TransmitOff, ReceiveAll), func(n *fakeNIC) {
			n.info.So_timestamping &^= unix.SOF_TIMESTAMPING_TX_HARDWARE
		}, StampAbility{Driver: "igb", Departure: StampDriver, Receives: noneAndAll, Clock: 3, Present: HardwareMode{Receive: ReceiveAll}}},
		{"departures alone", i210(TransmitOn, ReceiveNone), func(n *fakeNIC) {
			n.info.So_timestamping &^= unix.SOF_TIMESTAMPING_RX_HARDWARE
		}, StampAbility{Driver: "igb", Departure: StampDriver, Transmits: offAndOn, Clock: 3, Present: HardwareMode{Transmit: TransmitOn}}},
		// Clocks that stamp nothing that reaches a socket.
		{"no raw stamps", i210(TransmitOff, ReceiveNone), func(n *fakeNIC) {
			n.info.So_timestamping &^= unix.SOF_TIMESTAMPING_RAW_HARDWARE
		}, StampAbility{Driver: "igb", Departure: StampDriver, Clock: 3}},
		{"no NIC", &fakeNIC{name: "veth", info: unix.EthtoolTsInfo{So_timestamping: software, Phc_index: -1}, modeErr: unix.EOPNOTSUPP},
			func(*fakeNIC) {}, StampAbility{Driver: "veth", Departure: StampDriver, Clock: -1, PresentErr: unix.EOPNOTSUPP}},
		{"does not tell", i210(TransmitOn, ReceiveAll), func(n *fakeNIC) { n.modeErr = unix.EIO }, StampAbility{
			Driver: "igb", Departure: StampDriver, Transmits: offAndOn, Receives: noneAndAll, Clock: 3, PresentErr: unix.EIO,
		}},
	} {
		tt.change(tt.nic)
		tt.want.Interface, tt.want.Arrival = "eth0", StampDriver
		got, err := readAbility(eth0, tt.nic)
		if err != nil || !errors.Is(got.PresentErr, tt.want.PresentErr) {
			t.Errorf("%s: %v, %v", tt.name, err, got.PresentErr)
		}
		got.PresentErr, tt.want.PresentErr = nil, nil
		if got != tt.want {
			t.Errorf("%s: %+v\nwant %+v", tt.name, got, tt.want)
		}
	}
}

func TestHardwareNow(t *testing.T) {
	const (
		oneStep = TransmitOneStepSync
		p2p     = TransmitOneStepP2P
	)
	all, allModes := ReceiveFilters(noneAndAll|1<<ptpEvent), TransmitModes(offAndOn|1<<oneStep|1<<p2p)
	for _, tt := range []struct {
		name string
		a    StampAbility
		lack HardwareLack // 0: it stamps
		text string
	}{
		{"stamps", StampAbility{Transmits: allModes, Receives: all, Present: HardwareMode{Transmit: TransmitOn, Receive: ReceiveAll}}, 0, ""},
		// One step stamps what is not PTP's Sync (linux/net_tstamp.h).
		{"one step", StampAbility{Transmits: allModes, Receives: all, Present: HardwareMode{Transmit: oneStep, Receive: ReceiveAll}}, 0, ""},
		{"one step, peer to peer", StampAbility{Transmits: allModes, Receives: all, Present: HardwareMode{Transmit: p2p, Receive: ReceiveAll}}, 0, ""},
		// What it does counts more than what it claims.
		{"more than claimed", StampAbility{Transmits: offAndOn, Receives: 1 << ptpEvent, Present: HardwareMode{Transmit: TransmitOn, Receive: ReceiveAll}}, 0, ""},

		{"off", StampAbility{Transmits: allModes, Receives: all}, LackSetting, "its NIC is set to tx off, rx none, and has to be set to tx on, rx all"},
		{"arrivals alone", StampAbility{Transmits: allModes, Receives: all, Present: HardwareMode{Receive: ReceiveAll}}, LackSetting,
			"its NIC is set to tx off, rx all, and has to be set to tx on, rx all"},
		{"for PTP", StampAbility{Transmits: allModes, Receives: all, Present: HardwareMode{Transmit: TransmitOn, Receive: ptpEvent}}, LackSetting,
			"its NIC is set to tx on, rx ptpv2-event, and has to be set to tx on, rx all"},
		{"for PTP in one step", StampAbility{Transmits: allModes, Receives: all, Present: HardwareMode{Transmit: oneStep, Receive: ptpEvent}}, LackOneStep,
			"its NIC is set to tx onestep-sync, rx ptpv2-event, for PTP in one step, and left so"},
		{"the same, peer to peer", StampAbility{Transmits: allModes, Receives: all, Present: HardwareMode{Transmit: p2p, Receive: ptpEvent}}, LackOneStep, ""},
		{"a mode that nobody knows", StampAbility{Transmits: allModes, Receives: all, Present: HardwareMode{Transmit: 9, Receive: 99}}, LackOneStep, ""},

		{"no NIC", StampAbility{PresentErr: unix.EOPNOTSUPP}, LackNIC, "its driver has no stamps by hardware"},
		{"no NIC, but a setting", StampAbility{}, LackNIC, ""},
		{"no NIC, perhaps", StampAbility{PresentErr: unix.EIO}, LackAnswer, "what its NIC is set to is not known (input/output error)"},
		{"departures cannot be set", StampAbility{Transmits: 1 << TransmitOff, Receives: all}, LackDepartures, "its NIC cannot stamp departures"},
		{"no departures", StampAbility{Receives: all}, LackDepartures, ""},
		{"arrivals of PTP alone", StampAbility{Transmits: offAndOn, Receives: 1<<ReceiveNone | 1<<ptpEvent}, LackArrivals,
			"its NIC can stamp arrivals of PTP or NTP alone"},
		{"no arrivals", StampAbility{Transmits: offAndOn}, LackArrivals, ""},
		{"does not tell", StampAbility{Transmits: offAndOn, Receives: noneAndAll, PresentErr: unix.EOPNOTSUPP}, LackAnswer,
			"what its NIC is set to is not known (operation not supported)"},
		{"a bond", StampAbility{Bond: true, Transmits: offAndOn, Receives: noneAndAll, Present: HardwareMode{Transmit: TransmitOn, Receive: ReceiveAll}},
			LackMembers, "it is a bond, and its members' clocks differ (name a member)"},
	} {
		tt.a.Interface = "eth0"
		err := tt.a.HardwareNow()
		if tt.lack == 0 {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		text := ""
		if tt.text != "" {
			text = "no hardware stamps on eth0: " + tt.text
		}
		noHardware(t, err, tt.lack, text)
		if e := (*NoHardwareError)(nil); errors.As(err, &e) && (e.Present != tt.a.Present || e.Err != tt.a.PresentErr) {
			t.Errorf("%s: %+v", tt.name, e)
		}
	}
}

func TestStampNames(t *testing.T) {
	for got, want := range map[fmt.Stringer]string{
		TransmitOff: "off", TransmitOn: "on", TransmitOneStepSync: "onestep-sync", TransmitOneStepP2P: "onestep-p2p",
		TransmitMode(4): "4", TransmitMode(-1): "-1",
		ReceiveNone: "none", ReceiveAll: "all", ptpEvent: "ptpv2-event", ReceiveFilter(unix.HWTSTAMP_FILTER_NTP_ALL): "ntp-all",
		ReceiveFilter(unix.HWTSTAMP_FILTER_PTP_V1_L4_DELAY_REQ): "ptpv1-l4-delay-req",
		ReceiveFilter(unix.HWTSTAMP_FILTER_PTP_V2_L2_SYNC):      "ptpv2-l2-sync",
		ReceiveFilter(16): "16", ReceiveFilter(-2): "-2",
		TransmitModes(0): "", TransmitModes(offAndOn): "off, on", TransmitModes(1<<31 | 2): "on, 31",
		ReceiveFilters(noneAndAll | 1<<ptpEvent):                  "none, all, ptpv2-event",
		HardwareMode{Transmit: TransmitOn, Receive: ptpEvent}:     "tx on, rx ptpv2-event",
		HardwareMode{Transmit: TransmitOff, Receive: ReceiveNone}: "tx off, rx none",
	} {
		if got.String() != want {
			t.Errorf("%#v is %q, want %q", got, got, want)
		}
	}
	for _, m := range []TransmitMode{-1, 0, 2, 32, 1 << 30} {
		if TransmitModes(1 << TransmitOn).Has(m) {
			t.Errorf("mode %d is not in the set of on", m)
		}
	}
	if !TransmitModes(offAndOn).Has(TransmitOn) || !ReceiveFilters(noneAndAll).Has(ReceiveAll) {
		t.Error("what is in a set is not")
	}
}

func TestCoalescing(t *testing.T) {
	const us = time.Microsecond
	for _, tt := range []struct {
		name, driver string
		c            ethtoolCoalesce
		want         Coalescing
	}{
		{"nothing", "virtio_net", ethtoolCoalesce{}, Coalescing{}},
		{"times", "mlx5_core", ethtoolCoalesce{rxUsecs: 8, rxFrames: 128, txUsecs: 16, txFrames: 32},
			Coalescing{ReceiveDelay: 8 * us, ReceiveFrames: 128, TransmitDelay: 16 * us, TransmitFrames: 32}},
		{"adaptive", "mlx5_core", ethtoolCoalesce{rxUsecs: 8, adaptiveRx: 1, adaptiveTx: 1},
			Coalescing{ReceiveDelay: 8 * us, AdaptiveReceive: true, AdaptiveTransmit: true}},
		{"igb's modes", "igb", ethtoolCoalesce{rxUsecs: 3, txUsecs: 1}, Coalescing{AdaptiveReceive: true, AdaptiveTransmit: true}},
		{"igb's times", "igb", ethtoolCoalesce{rxUsecs: 4}, Coalescing{ReceiveDelay: 4 * us}},
		{"igb, none", "igb", ethtoolCoalesce{}, Coalescing{}},
		{"e1000e's modes", "e1000e", ethtoolCoalesce{rxUsecs: 4}, Coalescing{AdaptiveReceive: true}},
		{"another's small time", "ixgbe", ethtoolCoalesce{rxUsecs: 1}, Coalescing{ReceiveDelay: us}},
		{"no driver's name", "", ethtoolCoalesce{rxUsecs: 3}, Coalescing{ReceiveDelay: 3 * us}},
		{"the longest", "", ethtoolCoalesce{rxUsecs: 1<<32 - 1, rxFrames: 1<<31 - 1},
			Coalescing{ReceiveDelay: (1<<32 - 1) * us, ReceiveFrames: 1<<31 - 1}},
	} {
		n := &fakeNIC{name: tt.driver, c: tt.c}
		if tt.driver == "" {
			n.name, n.nameErr = "igb", unix.EOPNOTSUPP
		}
		if got, err := readCoalescing(eth0, n); err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", tt.name, got, err, tt.want)
		}
	}
	if c, err := readCoalescing(eth0, &fakeNIC{coalesceErr: unix.EOPNOTSUPP}); c != (Coalescing{}) || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%+v, %v", c, err)
	}
}

// The kernel's own answer, of a driver that has one: a tap's, set by us.
func TestCoalescingTap(t *testing.T) {
	if size := unsafe.Sizeof(ethtoolCoalesce{}); size != 92 { // linux/ethtool.h
		t.Fatalf("struct ethtool_coalesce has %d bytes", size)
	}
	labtest.RequireRoot(t) // /dev/net/tun is root's
	ns := labtest.NewNamespace(t)
	inside(t, ns, func() {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		must(t, err)
		defer unix.Close(fd)
		ifr, err := unix.NewIfreq("tap0")
		must(t, err)
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		must(t, unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr))
		tap, err := InterfaceByName("tap0")
		must(t, err)
		if c, err := tap.Coalescing(); err != nil || c != (Coalescing{}) {
			t.Errorf("at first: %+v, %v", c, err)
		}
		n, err := openNIC(tap)
		must(t, err)
		defer n.Close()
		_, err = ethtool(n.(*kernelNIC), &ethtoolCoalesce{cmd: unix.ETHTOOL_SCOALESCE, rxFrames: 37})
		must(t, err)
		if c, err := tap.Coalescing(); err != nil || c != (Coalescing{ReceiveFrames: 37}) {
			t.Errorf("set to 37 frames: %+v, %v", c, err)
		}
	})
}
