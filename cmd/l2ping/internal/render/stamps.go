//go:build linux

package render

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/l2ping/l2ping/l2"
)

// Stamps is what an interface can stamp, a line a fact, and below what that
// means for the times. coalescingErr is why the coalescing is not known.
func Stamps(ifc *l2.Interface, a *l2.StampAbility, c l2.Coalescing, coalescingErr error) string {
	var b strings.Builder
	line := func(name, value, reason string) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-10s %-18s %s", name, value, reason), " ") + "\n")
	}
	kind := ifc.Kind
	if a.Driver != "" && a.Driver != kind {
		kind += ", driver " + a.Driver
	}
	line("interface", ifc.Name, kind)
	if a.Departure == l2.StampDriver {
		line("departure", "driver", "stamped as the driver hands the frame on")
	} else {
		line("departure", a.Departure.String(), "stamped ahead of the qdisc: the driver stamps no departures")
	}
	line("arrival", a.Arrival.String(), "stamped as the driver hands the frame to the kernel")
	for _, l := range nic(a) {
		line(l[0], l[1], l[2])
	}
	for _, l := range coalescing(ifc, c, coalescingErr) {
		line(l[0], l[1], l[2])
	}
	b.WriteString("\n")
	for _, s := range meaning(ifc, a, c, coalescingErr) {
		b.WriteString(wrap(s, 78))
	}
	return b.String()
}

// nic has the lines about what the NIC can stamp itself and is set to.
func nic(a *l2.StampAbility) [][3]string {
	var lines [][3]string
	add := func(name, value, reason string) { lines = append(lines, [3]string{name, value, reason}) }
	claims := a.Transmits != 0 || a.Receives != 0
	switch departs, arrives := a.Transmits.Has(l2.TransmitOn), a.Receives.Has(l2.ReceiveAll); {
	case a.Bond:
		add("hardware", "not used", "the frames of a bond go by NICs whose clocks differ")
	case !claims:
		add("hardware", "none", "the driver has no stamps by hardware")
	case departs && arrives:
		add("hardware", "both ways", "the NIC can stamp all frames")
	case departs:
		add("hardware", "departures", "arrivals of PTP or NTP at best: the NIC has no filter \"all\"")
	case arrives:
		add("hardware", "arrivals", "the NIC cannot stamp departures")
	default:
		add("hardware", "not of ours", "frames of PTP or NTP at best")
	}
	switch {
	case errors.Is(a.PresentErr, errors.ErrUnsupported):
		if claims {
			add("set to", "not known", "the driver does not tell")
		}
	case a.PresentErr != nil:
		add("set to", "not known", a.PresentErr.Error())
	default:
		for _, l := range present(a.Present) {
			add(l[0], l[1], l[2])
		}
	}
	if a.Clock >= 0 {
		add("clock", fmt.Sprintf("/dev/ptp%d", a.Clock), "the NIC's; its stamps compare with each other alone")
	}
	return lines
}

// present says what a setting stamps of our frames.
func present(m l2.HardwareMode) [][3]string {
	departures, arrivals := "departures are stamped", "arrivals are stamped"
	if m.Transmit == l2.TransmitOff {
		departures = "departures are not stamped"
	}
	switch m.Receive {
	case l2.ReceiveAll:
	case l2.ReceiveNone:
		arrivals = "arrivals are not stamped"
	default:
		arrivals = "our arrivals are not stamped: the filter is for others"
	}
	return [][3]string{{"set to", "tx " + m.Transmit.String(), departures}, {"", "rx " + m.Receive.String(), arrivals}}
}

// coalescing has the lines about how long the NIC may hold frames back.
func coalescing(ifc *l2.Interface, c l2.Coalescing, err error) [][3]string {
	switch {
	case err != nil && ifc.Kind == "veth":
		return [][3]string{{"coalescing", "none", "veth hands frames over in the CPU"}}
	case errors.Is(err, errors.ErrUnsupported) && ifc.Kind != "device":
		return [][3]string{{"coalescing", "none", "none of its own: ask the interface below it"}}
	case errors.Is(err, errors.ErrUnsupported):
		return [][3]string{{"coalescing", "not told", "the driver tells of none"}}
	case err != nil:
		return [][3]string{{"coalescing", "not known", err.Error()}}
	}
	return [][3]string{
		{"coalescing", "rx " + wait(c.ReceiveDelay, c.ReceiveFrames, c.AdaptiveReceive), "the NIC's wait after an arrival until its interrupt"},
		{"", "tx " + wait(c.TransmitDelay, c.TransmitFrames, c.AdaptiveTransmit), "the same after a departure; stamps do not wait for it"},
	}
}

// wait is how long, or for how many frames, a NIC waits with its interrupt.
func wait(d time.Duration, frames int, adaptive bool) string {
	var parts []string
	if d > 0 {
		parts = append(parts, fmt.Sprintf("%d us", d.Microseconds()))
	}
	if frames > 1 {
		parts = append(parts, fmt.Sprintf("%d frames", frames))
	}
	if adaptive {
		parts = append(parts, "adaptive")
	}
	if len(parts) == 0 {
		return "at once"
	}
	return strings.Join(parts, ", ")
}

// meaning says in sentences what the facts do to the times, a paragraph each.
func meaning(ifc *l2.Interface, a *l2.StampAbility, c l2.Coalescing, coalescingErr error) []string {
	var p []string
	if a.Departure == l2.StampDriver {
		p = append(p, "A time runs from driver to driver: the program, the scheduler and the qdisc are not in it; "+
			"what lies below the driver is.")
	} else {
		p = append(p, "A time runs from ahead of the qdisc to the driver on the way back: what the qdisc and the driver take "+
			"on the way out counts as wire.")
	}
	switch {
	case ifc.Kind == "veth":
		p = append(p, "A veth has no NIC, which could hold frames back or stamp them: software stamps see all that there is.")
		return p
	case coalescingErr != nil:
	case c.AdaptiveReceive:
		p = append(p, fmt.Sprintf("The interrupt's delay moves with the traffic, and an arriving frame is stamped that much late, "+
			"in bursts the most (ethtool -C %s adaptive-rx off rx-usecs 0 ends it, at the price of more interrupts).", ifc.Name))
	case c.ReceiveDelay > 0:
		p = append(p, fmt.Sprintf("In software an arriving frame is stamped up to %d us late, for so long the NIC may hold its interrupt back "+
			"(ethtool -C %s rx-usecs 0 ends it, at the price of more interrupts).", c.ReceiveDelay.Microseconds(), ifc.Name))
	}
	lack := (*l2.NoHardwareError)(nil)
	switch err := a.HardwareNow(); {
	case err == nil:
		p = append(p, "--timestamps hardware takes the NIC's own stamps: neither the driver nor its interrupts are in those.")
	case errors.As(err, &lack) && lack.Settable():
		p = append(p, fmt.Sprintf("--timestamps hardware would leave the driver and its interrupts out, but %s: "+
			"--set-hardware-timestamps sets that for one run, hwstamp_ctl -i %s -t 1 -r 1 (linuxptp) until somebody changes it.",
			lack.Reason(), ifc.Name))
	case errors.As(err, &lack):
		p = append(p, fmt.Sprintf("--timestamps hardware is not to be had on %s: %s.", ifc.Name, lack.Reason()))
	}
	return p
}

// wrap breaks a paragraph into lines of at most so many letters, where its words
// allow that.
func wrap(text string, width int) string {
	var b strings.Builder
	at := 0
	for _, word := range strings.Fields(text) {
		switch n := len([]rune(word)); {
		case at == 0:
			at = n
		case at+1+n > width:
			b.WriteByte('\n')
			at = n
		default:
			b.WriteByte(' ')
			at += 1 + n
		}
		b.WriteString(word)
	}
	return b.String() + "\n"
}
