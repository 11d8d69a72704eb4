//go:build linux

package l2_test

import (
	"errors"
	"fmt"
	"log"
	"net/netip"

	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// What the kernel's routing says for a destination when it may leave by eth0
// only. This needs no capability.
func ExampleFindPath() {
	ifc, err := l2.InterfaceByName("eth0")
	if err != nil {
		log.Fatal(err)
	}
	path, err := l2.FindPath(ifc, netip.MustParseAddr("203.0.113.1"), netip.Addr{})
	if err != nil {
		log.Fatal(err) // no route to 203.0.113.1 by eth0 (the kernel routes it by eth1)
	}
	fmt.Printf("from %s to the MAC of %s, at most %d bytes\n", path.Source, path.NextHop, path.MTU)
}

// A frame goes out, and the kernel tells when it left.
func ExampleLink() {
	ifc, err := l2.InterfaceByName("eth0")
	if err != nil {
		log.Fatal(err)
	}
	link, err := l2.OpenLink(ifc, nil)
	if err != nil {
		log.Fatal(err) // EPERM without CAP_NET_RAW
	}
	defer link.Close()

	request := frame.ARP{
		Operation: frame.ARPRequest,
		SenderMAC: ifc.MAC,
		SenderIP:  netip.MustParseAddr("198.51.100.1"),
		TargetIP:  netip.MustParseAddr("198.51.100.2"),
	}
	b, err := request.Marshal(frame.Broadcast)
	if err != nil {
		log.Fatal(err)
	}
	if err := link.Send(b, 1); err != nil {
		log.Fatal(err)
	}
	stamps := make([]l2.Stamp, l2.MinStamps)
	n, _, err := link.ReadStamps(stamps)
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range stamps[:n] {
		fmt.Printf("frame %d at %s: %d ns\n", s.ID, s.Point, s.Time)
	}
}

func ExampleNoRouteError() {
	err := &l2.NoRouteError{
		Destination: netip.MustParseAddr("203.0.113.9"),
		Interface:   "eth1",
		Elsewhere:   "eth0",
	}
	fmt.Println(err)
	// Output: no route to 203.0.113.9 by eth1 (the kernel routes it by eth0)
}

// The NIC's own stamps, for as long as they are needed, where it has any.
func ExampleInterface_SetHardwareStamps() {
	ifc, err := l2.InterfaceByName("eth0")
	if err != nil {
		log.Fatal(err)
	}
	restore, err := ifc.SetHardwareStamps()
	if lack := (*l2.NoHardwareError)(nil); errors.As(err, &lack) {
		fmt.Println("stamps of the driver will do:", lack.Reason())
		restore = func() error { return nil }
	} else if err != nil {
		log.Fatal(err) // EPERM without CAP_NET_ADMIN
	}
	defer func() {
		if err := restore(); err != nil {
			log.Print(err) // somebody else has set it since
		}
	}()

	link, err := l2.OpenLink(ifc, &l2.LinkConfig{Hardware: true})
	if err != nil {
		log.Print(err)
		return
	}
	defer link.Close()
	fmt.Println("asking for the NIC's stamps:", link.Hardware())
}

// One socket answers for any number of destinations, from any thread.
func ExampleRouting_Path() {
	routing, err := l2.OpenRouting()
	if err != nil {
		log.Fatal(err)
	}
	defer routing.Close()
	ifc, err := routing.Interface("eth0")
	if err != nil {
		log.Fatal(err)
	}
	for _, dst := range []string{"203.0.113.1", "2001:db8::1", "fe80::1%eth0"} {
		path, err := routing.Path(ifc, l2.Query{Destination: netip.MustParseAddr(dst), Mark: 7})
		if err != nil {
			fmt.Println(err) // no route to 2001:db8::1 by eth0 (its route is a blackhole)
			continue
		}
		fmt.Printf("%s from %s to the MAC of %s, by %s\n", path.Destination, path.Source, path.NextHop, path.Interface.Name)
	}
}

// What is opened in another network namespace stays there.
func ExampleInNamespace() {
	var link *l2.Link
	err := l2.InNamespace("blue", func() error {
		ifc, err := l2.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		link, err = l2.OpenLink(ifc, nil)
		return err
	})
	if err != nil {
		log.Fatal(err) // enter network namespace blue: ... (needs CAP_SYS_ADMIN: run as root)
	}
	defer link.Close()
}
