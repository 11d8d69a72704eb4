package bpf_test

import (
	"encoding/hex"
	"fmt"
	"net/netip"

	"github.com/l2ping/l2ping/bpf"
)

// An echo reply from 198.51.100.7 to 192.0.2.1 with the identifier 0xbe0f and a
// payload of the cookie alone, in an Ethernet frame.
const exampleReply = "02005e005301" + "02005e005302" + "0800" +
	"4500002400000000" + "40010000" + "c6336407" + "c0000201" +
	"00000000be0f0001" + "c00c1e9900ff4207"

func ExampleMatch() {
	m := bpf.Match{
		Kind:      bpf.EchoReply,
		Local:     netip.MustParseAddr("192.0.2.1"),
		Peer:      netip.MustParseAddr("198.51.100.7"),
		ID:        0xbe0f,
		Cookie:    [8]byte{0xc0, 0x0c, 0x1e, 0x99, 0x00, 0xff, 0x42, 0x07},
		CookieLen: 8,
	}
	frame, err := hex.DecodeString(exampleReply)
	if err != nil {
		panic(err)
	}
	fmt.Println("ours:", m.Accepts(frame, bpf.Meta{}))

	frame[len(frame)-1]++ // another run's cookie
	fmt.Println("ours:", m.Accepts(frame, bpf.Meta{}), "claimed to be:", m.Claims(frame, bpf.Meta{}))

	// Output:
	// ours: true
	// ours: false claimed to be: true
}
