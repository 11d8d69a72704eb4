package bpf_test

import (
	"fmt"
	"log"
	"net"
	"net/netip"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
)

// A socket that never receives a frame that does not match.
func ExampleFilter() {
	ifi, err := net.InterfaceByName("eth0")
	if err != nil {
		log.Fatal(err)
	}
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: bpf.DropAll()})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	filter, err := bpf.NewFilter(bpf.Match{
		Kind:  bpf.EchoReply,
		Local: netip.MustParseAddr("192.0.2.1"),
		Peer:  netip.MustParseAddr("198.51.100.7"),
		ID:    0xbe0f,
	}, bpf.Auto)
	if err != nil {
		log.Fatal(err)
	}
	defer filter.Close()
	if err := filter.Attach(conn); err != nil {
		log.Fatal(err)
	}
	if err := filter.Fallback(); err != nil {
		fmt.Println("classic filter:", err)
	}
	if n, ok := filter.Rejected(); ok {
		fmt.Println("false replies:", n)
	}
}
