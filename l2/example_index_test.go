//go:build linux

package l2_test

import (
	"fmt"
	"log"

	"github.com/l2ping/l2ping/l2"
)

// The kernel's own messages name an interface by its index.
func ExampleRouting_InterfaceByIndex() {
	routing, err := l2.OpenRouting()
	if err != nil {
		log.Fatal(err)
	}
	defer routing.Close()
	ifc, err := routing.InterfaceByIndex(2)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s is a %s with the MAC %s, a part of %s\n", ifc.Name, ifc.Kind, ifc.MAC, ifc.Owner().Name)
}
