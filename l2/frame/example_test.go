package frame_test

import (
	"fmt"
	"log"
	"net/netip"

	"github.com/l2ping/l2ping/l2/frame"
)

// One template serves a whole run: Patch changes what differs from probe to
// probe, and allocates nothing.
func ExampleEcho() {
	echo := frame.Echo{
		SrcMAC:  frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0x01},
		DstMAC:  frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0x02},
		Src:     netip.MustParseAddr("198.51.100.1"),
		Dst:     netip.MustParseAddr("203.0.113.1"),
		ID:      0xbe0f,
		TTL:     64,
		Cookie:  [frame.CookieLen]byte{0xc0, 0x0c, 0x1e, 0x99, 0x00, 0xff, 0x42, 0x07},
		DataLen: 56,
	}
	template, err := echo.Template()
	if err != nil {
		log.Fatal(err)
	}
	for _, number := range []uint64{1, 2, 65537} {
		b := template.Patch(number)

		var eth frame.Ethernet
		var ip frame.IPv4
		var icmp frame.ICMP
		for _, err := range []error{eth.Decode(b), ip.Decode(eth.Payload), icmp.Decode(ip.Payload)} {
			if err != nil {
				log.Fatal(err)
			}
		}
		fmt.Printf("probe %d: %d bytes, %s to %s, %s, seq %d, checksum ok: %v\n",
			number, len(b), ip.Src, ip.Dst, icmp.Type, icmp.Seq, icmp.ChecksumOK)
	}
	// Output:
	// probe 1: 98 bytes, 198.51.100.1 to 203.0.113.1, echo, seq 1, checksum ok: true
	// probe 2: 98 bytes, 198.51.100.1 to 203.0.113.1, echo, seq 2, checksum ok: true
	// probe 65537: 98 bytes, 198.51.100.1 to 203.0.113.1, echo, seq 1, checksum ok: true
}

func ExampleARP() {
	request := frame.ARP{
		Operation: frame.ARPRequest,
		SenderMAC: frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0x01},
		SenderIP:  netip.MustParseAddr("198.51.100.1"),
		TargetIP:  netip.MustParseAddr("198.51.100.254"),
	}
	b, err := request.Marshal(frame.Broadcast)
	if err != nil {
		log.Fatal(err)
	}
	var eth frame.Ethernet
	var arp frame.ARP
	if err := eth.Decode(b); err != nil {
		log.Fatal(err)
	}
	if err := arp.Decode(eth.Payload); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d bytes to %s: who has %s? tell %s\n", len(b), eth.Dst, arp.TargetIP, arp.SenderIP)
	// Output: 60 bytes to ff:ff:ff:ff:ff:ff: who has 198.51.100.254? tell 198.51.100.1
}
