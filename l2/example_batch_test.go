//go:build linux

package l2_test

import (
	"fmt"
	"log"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// Every address of a /24 is asked for, as fast as the driver takes it.
func ExampleLink_SendBatch() {
	ifc, err := l2.InterfaceByName("eth0")
	if err != nil {
		log.Fatal(err)
	}
	link, err := l2.OpenLink(ifc, &l2.LinkConfig{NoStamps: true, Bypass: true})
	if err != nil {
		log.Fatal(err) // EPERM without CAP_NET_RAW
	}
	defer link.Close()

	var frames [][]byte
	for host := range 256 {
		request := frame.ARP{
			Operation: frame.ARPRequest,
			SenderMAC: ifc.MAC,
			SenderIP:  netip.MustParseAddr("198.51.100.1"),
			TargetIP:  netip.AddrFrom4([4]byte{198, 51, 100, byte(host)}),
		}
		b, err := request.Marshal(frame.Broadcast)
		if err != nil {
			log.Print(err)
			return
		}
		frames = append(frames, b)
	}
	switch sent, err := link.SendBatch(frames, 0); err {
	case nil:
		fmt.Println("all sent")
	case unix.ENOBUFS, unix.EAGAIN:
		fmt.Printf("the queue is full: send frames[%d:] later\n", sent)
	default:
		log.Printf("send frame %d: %v", sent, err)
	}
}
