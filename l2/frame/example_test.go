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
		var ip frame.IP
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

// A probe that is larger than the MTU leaves in fragments, and so does its reply
// come back.
func ExampleReassembler() {
	echo := frame.Echo{
		NoLink:  true, // a tunnel: frames start at the IP header
		Src:     netip.MustParseAddr("2001:db8:1::1"),
		Dst:     netip.MustParseAddr("2001:db8:2::1"),
		TTL:     64,
		MTU:     1280,
		DataLen: 3000,
	}
	template, err := echo.Template()
	if err != nil {
		log.Fatal(err)
	}
	template.Patch(1)

	reassembler := frame.NewReassembler(frame.ReassemblerConfig{Datagrams: 4})
	for _, b := range template.Fragments() {
		var ip frame.IP
		if err := ip.Decode(b); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d bytes at %d, more: %v\n", len(ip.Payload), ip.Offset, ip.MoreFragments)
		if payload, done := reassembler.Add(&ip, 0); done {
			var icmp frame.ICMP
			if err := icmp.Decode6(payload, ip.Src, ip.Dst); err != nil {
				log.Fatal(err)
			}
			fmt.Printf("%s with %d data bytes, checksum ok: %v\n", icmp.Type, len(icmp.Body), icmp.ChecksumOK)
		}
	}
	// Output:
	// 1232 bytes at 0, more: true
	// 1232 bytes at 1232, more: true
	// 544 bytes at 2464, more: false
	// echo request with 3000 data bytes, checksum ok: true
}

// A neighbor solicitation in a VLAN, to the group that the target listens to.
func ExampleNDP() {
	us := frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0x01}
	target := netip.MustParseAddr("2001:db8:1::fe")
	group := frame.SolicitedNode(target)
	solicitation := frame.NDP{
		Type:   frame.ICMPv6NeighborSolicitation,
		Src:    netip.MustParseAddr("2001:db8:1::1"),
		Dst:    group,
		Target: target,
		MAC:    us,
	}
	b, err := solicitation.Marshal(frame.Header{
		Dst:   frame.MulticastMAC(group),
		Src:   us,
		VLANs: []frame.VLAN{{Type: frame.EtherTypeVLAN, TCI: 100}},
	})
	if err != nil {
		log.Fatal(err)
	}
	var eth frame.Ethernet
	var ndp frame.NDP
	if err := eth.Decode(b); err != nil {
		log.Fatal(err)
	}
	if err := ndp.Decode(eth.Payload); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("to %s in VLAN %s: %s for %s from %s\n", eth.Dst, eth.VLANs[0], ndp.Type, ndp.Target, ndp.MAC)
	// Output: to 33:33:ff:00:00:fe in VLAN 100: neighbor solicitation for 2001:db8:1::fe from 02:00:5e:00:53:01
}
