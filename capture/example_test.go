//go:build linux

package capture_test

import (
	"fmt"
	"log"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
)

// Only echo replies to our own requests come in, each with the time of its
// arrival.
func Example() {
	ifc, err := l2.InterfaceByName("eth0")
	if err != nil {
		log.Fatal(err)
	}
	filter, err := bpf.NewFilter(bpf.Match{
		Kind:  bpf.EchoReply,
		Local: netip.MustParseAddr("198.51.100.1"),
		Peer:  netip.MustParseAddr("203.0.113.1"),
		ID:    0xbe0f,
	}, bpf.Auto)
	if err != nil {
		log.Fatal(err)
	}
	defer filter.Close()
	socket, err := capture.OpenSocket(ifc, capture.SocketConfig{Filter: filter})
	if err != nil {
		log.Fatal(err) // EPERM without CAP_NET_RAW
	}
	defer socket.Close()

	// ... send a request, then wait for the reply, here for one second:
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(socket.FD()), Events: unix.POLLIN}}, 1000); err != nil {
		log.Fatal(err)
	}
	frames := make([]capture.Frame, capture.MinFrames)
	n, err := socket.Receive(frames)
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range frames[:n] {
		fmt.Printf("%d bytes at %d ns\n", f.Length, f.Arrival)
	}
}
