//go:build linux

package l2

import (
	"fmt"
	"time"
)

// Coalescing says how long a NIC holds frames back to raise fewer interrupts.
// Software stamps are taken after that wait: an arriving frame is stamped up to
// ReceiveDelay after it was there. The kernel's ethtool_coalesce
// (linux/ethtool.h) describes it.
type Coalescing struct {
	// ReceiveDelay and TransmitDelay are how long after a frame the interrupt
	// comes at the latest (rx-usecs, tx-usecs); 0 is at once, or not told.
	ReceiveDelay, TransmitDelay time.Duration
	// ReceiveFrames and TransmitFrames are the frames after which the interrupt
	// comes before that; 0 is no such limit.
	ReceiveFrames, TransmitFrames int
	// AdaptiveReceive and AdaptiveTransmit say that the driver moves the delays
	// with the traffic.
	AdaptiveReceive, AdaptiveTransmit bool
}

// Coalescing asks the driver for it (ethtool(8) -c: ETHTOOL_GCOALESCE). It
// needs no capability. Where the driver has none the error is
// errors.ErrUnsupported.
func (i *Interface) Coalescing() (Coalescing, error) {
	n, err := openNIC(i)
	if err != nil {
		return Coalescing{}, fmt.Errorf("ask %s for its coalescing: %w", i.Name, err)
	}
	defer n.Close()
	return readCoalescing(i, n)
}

func readCoalescing(i *Interface, n nic) (Coalescing, error) {
	c, err := n.coalesce()
	if err != nil {
		return Coalescing{}, fmt.Errorf("ask %s for its coalescing: %w", i.Name, err)
	}
	driver, err := n.driver()
	if err != nil {
		driver = "" // it only tells which numbers are modes
	}
	r := Coalescing{
		ReceiveFrames: int(c.rxFrames), TransmitFrames: int(c.txFrames),
		AdaptiveReceive: c.adaptiveRx != 0, AdaptiveTransmit: c.adaptiveTx != 0,
	}
	r.ReceiveDelay, r.AdaptiveReceive = delay(driver, c.rxUsecs, r.AdaptiveReceive)
	r.TransmitDelay, r.AdaptiveTransmit = delay(driver, c.txUsecs, r.AdaptiveTransmit)
	return r, nil
}

// delay reads a number of microseconds. For some of Intel's drivers the smallest
// are no times but modes in which the interrupt rate moves with the traffic
// (igb_get_coalesce, igc_ethtool_get_coalesce, e1000_get_coalesce).
func delay(driver string, usecs uint32, adaptive bool) (time.Duration, bool) {
	modes := uint32(0)
	switch driver {
	case "igb", "igc":
		modes = 3
	case "e1000", "e1000e":
		modes = 4
	}
	if usecs > 0 && usecs <= modes {
		return 0, true
	}
	return time.Duration(usecs) * time.Microsecond, adaptive
}
