package bpf_test

import (
	"log"
	"net"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
)

// A socket that receives what answers a request, and the frames of a protocol
// for experiments.
func ExampleExpected() {
	ifi, err := net.InterfaceByName("eth0")
	if err != nil {
		log.Fatal(err)
	}
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: bpf.DropAll()})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	expected, err := bpf.NewExpected(bpf.Auto, &bpf.ExpectConfig{EtherTypes: []uint16{0x88b5}})
	if err != nil {
		log.Fatal(err)
	}
	defer expected.Close()
	if err := expected.Attach(conn); err != nil {
		log.Fatal(err)
	}

	var request []byte // to be sent once its answer is expected
	keys := bpf.AppendRequestKeys(nil, request, false)
	if err := expected.Expect(keys); err != nil {
		log.Fatal(err)
	}
	defer expected.Forget(keys)
}
