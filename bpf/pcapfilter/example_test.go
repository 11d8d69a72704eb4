package pcapfilter_test

import (
	"errors"
	"fmt"

	cbpf "golang.org/x/net/bpf"

	"github.com/l2ping/l2ping/bpf/pcapfilter"
)

func ExampleCompile() {
	program, err := pcapfilter.Compile("icmp[icmptype] = icmp-echo", &pcapfilter.Config{SnapLen: 96})
	if err != nil {
		panic(err)
	}
	insns, _ := cbpf.Disassemble(program)
	for i, in := range insns {
		fmt.Println(i, in)
	}
	// Output:
	// 0 ldh [12]
	// 1 jneq #2048,8
	// 2 ldb [23]
	// 3 jneq #1,6
	// 4 ldh [20]
	// 5 jset #8191,4
	// 6 ldx 4*([14]&0xf)
	// 7 ldb [x + 14]
	// 8 jneq #8,1
	// 9 ret #96
	// 10 ret #0
}

func ExampleError() {
	_, err := pcapfilter.Compile("tcp prot 80", nil)
	fmt.Println(err)
	if e := (*pcapfilter.Error)(nil); errors.As(err, &e) {
		fmt.Println(e.Marked())
	}
	// Output:
	// filter "tcp prot 80": at 5, "prot": unknown word (did you mean "port"?)
	// tcp prot 80
	//     ^^^^
}
