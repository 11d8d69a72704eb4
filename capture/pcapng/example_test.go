package pcapng_test

import (
	"bytes"
	"fmt"
	"log"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/capture/pcapng"
)

// A frame with a comment, written and read back.
func Example() {
	var file bytes.Buffer
	w, err := pcapng.NewWriter(&file, &pcapng.Config{Application: "example"}, pcapng.Interface{
		Name: "eth0", LinkType: pcapng.LinkEthernet,
	})
	if err != nil {
		log.Fatal(err)
	}
	frame := capture.Frame{Data: make([]byte, 60), Length: 1514, Arrival: 1_700_000_000_000_000_001, PacketType: capture.PacketHost}
	if err := w.Write(&frame, &pcapng.Options{Comment: "rtt=0.025 ms", PacketID: 7}); err != nil {
		log.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		log.Fatal(err)
	}

	r, err := pcapng.NewReader(&file)
	if err != nil {
		log.Fatal(err)
	}
	for f, err := range r.Frames() {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.Interfaces()[f.Interface].Name, f.Arrival, f.Direction, len(f.Data), f.Length, f.Comments, f.PacketID)
	}
	// Output: eth0 1700000000000000001 in 60 1514 [rtt=0.025 ms] 7
}
