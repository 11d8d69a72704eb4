//go:build linux

package probe_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"log"
	"slices"

	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// A doubler is a protocol of one's own: a question is a number, and its answer that
// number and the double of it.
type doubler struct{}

const etherTypeDoubler frame.EtherType = 0x88b5 // IEEE 802, for experiments

func (doubler) EtherType() frame.EtherType { return etherTypeDoubler }

func (doubler) RequestKey(e *frame.Ethernet) (uint64, bool) {
	if len(e.Payload) < 5 || e.Payload[0] != '?' {
		return 0, false
	}
	return uint64(binary.BigEndian.Uint32(e.Payload[1:])), true
}

func (doubler) AnswerKey(e *frame.Ethernet) (uint64, bool) {
	if len(e.Payload) < 9 || e.Payload[0] != '!' {
		return 0, false
	}
	return uint64(binary.BigEndian.Uint32(e.Payload[1:])), true
}

func (doubler) Answers(answer, request *frame.Ethernet) bool { return answer.Src == request.Dst }

// A question makes itself a frame.
type question uint32

func (q question) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, 0x02, 0x00, 0x5e, 0x00, 0x53, 0x02) // to
	b = append(b, 0x02, 0x00, 0x5e, 0x00, 0x53, 0x01) // from
	b = binary.BigEndian.AppendUint16(b, uint16(etherTypeDoubler))
	return binary.BigEndian.AppendUint32(append(b, '?'), uint32(q)), nil
}

// The asking side of a protocol of one's own: what it asks, and what answers that.
func ExampleRule() {
	x, err := probe.NewExchanger("eth0", &probe.ExchangeConfig{Rules: []probe.Rule{doubler{}}})
	if err != nil {
		log.Fatal(err)
	}
	var questions iter.Seq[question] = slices.Values([]question{1, 2, 21})
	for e, err := range x.Run(context.Background(), probe.Append(questions)) {
		switch {
		case err != nil:
			log.Fatal(err)
		case e.Answered:
			payload := e.Reply.Data[14:]
			fmt.Println(binary.BigEndian.Uint32(payload[1:]), "doubled is", binary.BigEndian.Uint32(payload[5:]))
		default:
			fmt.Println("no answer")
		}
	}
}
