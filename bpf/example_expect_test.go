package bpf_test

import (
	"encoding/hex"
	"fmt"

	"github.com/l2ping/l2ping/bpf"
)

// The echo request that exampleReply answers.
const exampleRequest = "02005e005302" + "02005e005301" + "0800" +
	"4500002400000000" + "40010000" + "c0000201" + "c6336407" +
	"08000000be0f0001" + "c00c1e9900ff4207"

// A table of requests finds what a frame answers.
func ExampleAnswers() {
	request, err := hex.DecodeString(exampleRequest)
	if err != nil {
		panic(err)
	}
	reply, err := hex.DecodeString(exampleReply)
	if err != nil {
		panic(err)
	}

	outstanding := make(map[bpf.Key][]byte)
	var keys [bpf.MaxRequestKeys]bpf.Key
	for _, k := range bpf.AppendRequestKeys(keys[:0], request, false) {
		outstanding[k] = request
	}

	var meta bpf.Meta
	for _, k := range bpf.AppendAnswerKeys(nil, reply, meta, false) {
		if r, ok := outstanding[k]; ok && bpf.Answers(reply, meta, r, false) {
			fmt.Printf("% x\n", r[len(r)-8:])
			break
		}
	}

	// Output:
	// c0 0c 1e 99 00 ff 42 07
}
