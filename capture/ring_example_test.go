//go:build linux

package capture_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/l2"
)

// What an interface takes and sends, into a file, until Ctrl-C; then the rest, and
// what the kernel has counted.
func ExampleRing() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ifc, err := l2.InterfaceByName("eth0")
	if err != nil {
		log.Fatal(err)
	}
	ring, err := capture.Open(ifc, nil)
	if err != nil {
		log.Fatal(err) // EPERM without CAP_NET_RAW
	}
	defer ring.Close()
	file, err := os.Create("eth0.pcapng")
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	writer, err := pcapng.NewWriter(file, nil, pcapng.InterfaceOf(ifc))
	if err != nil {
		log.Fatal(err)
	}

	start := time.Now().UnixNano()
	capture := func(ctx context.Context) {
		for frame, err := range ring.Frames(ctx) {
			if err == nil {
				err = writer.Write(&frame, nil)
			}
			if err != nil {
				log.Print(err)
				return
			}
		}
	}
	capture(ctx)
	if err := ring.Stop(); err != nil {
		log.Fatal(err)
	}
	capture(context.Background())

	st, err := ring.Statistics()
	if err != nil {
		log.Fatal(err)
	}
	err = writer.WriteStatistics(0, pcapng.Statistics{
		Start: start, End: time.Now().UnixNano(), Received: st.Received, Dropped: st.Dropped, Captured: st.Captured,
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := writer.Flush(); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d captured, %d received by filter, %d dropped by kernel\n", st.Captured, st.Received, st.Dropped)
}
