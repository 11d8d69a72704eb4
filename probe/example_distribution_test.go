//go:build linux

package probe_test

import (
	"fmt"
	"time"

	"github.com/l2ping/l2ping/probe"
)

// The RTTs of several runs, or of some of one's replies, make a distribution as
// those of Statistics do.
func ExampleRTT() {
	var r probe.RTT
	for i := range 1000 {
		r.Add(time.Duration(100+i) * time.Microsecond)
	}
	fmt.Println(r.Count, r.Min, r.Max, r.Mean())
	fmt.Println(r.Quantile(0.5).Round(10*time.Microsecond), r.PDV(0.99).Round(10*time.Microsecond), r.Jitter)
	// Output:
	// 1000 100µs 1.099ms 599.5µs
	// 600µs 990µs 1µs
}
