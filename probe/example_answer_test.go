//go:build linux

package probe_test

import (
	"context"
	"encoding/binary"
	"log"
	"time"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// The answering side of a protocol of one's own: an answer has the number that was asked
// for, and the double of it.
func ExampleAnswer() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cfg := &probe.AnswerConfig{EtherTypes: []frame.EtherType{0x88b5}}
	if err := probe.Answer(ctx, "eth0", cfg, double); err != nil {
		log.Fatal(err)
	}
}

func double(reply []byte, f capture.Frame) []byte {
	var eth frame.Ethernet
	if eth.Decode(f.Data) != nil || len(eth.Payload) < 5 || eth.Payload[0] != '?' {
		return nil
	}
	number := binary.BigEndian.Uint32(eth.Payload[1:])
	reply = append(reply, eth.Src[:]...)
	reply = append(reply, eth.Dst[:]...)
	if f.VLAN.Present { // the kernel took the tag off
		reply = binary.BigEndian.AppendUint16(reply, uint16(f.VLAN.Type))
		reply = binary.BigEndian.AppendUint16(reply, f.VLAN.TCI)
	}
	reply = binary.BigEndian.AppendUint16(reply, uint16(eth.Type))
	reply = binary.BigEndian.AppendUint32(append(reply, '!'), number)
	return binary.BigEndian.AppendUint32(reply, 2*number)
}
