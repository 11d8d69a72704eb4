//go:build linux

package probe_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"net/netip"
	"slices"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// Who asks, and who is asked: a frame made by hand needs both MACs.
var (
	nearMAC = frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0x01}
	farMAC  = frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0x02}
	nearIP  = netip.MustParseAddr("198.51.100.1")
	farIP   = netip.MustParseAddr("198.51.100.2")
)

// An echo request as a frame, and its answer.
func ExampleExchange() {
	echo := frame.Echo{SrcMAC: nearMAC, Src: nearIP, Dst: farIP, ID: 7, TTL: 64, DataLen: 56}
	request, err := echo.Template()
	if err != nil {
		log.Fatal(err)
	}
	request.SetDstMAC(farMAC)
	answered, _, err := probe.Exchange(context.Background(), "eth0", [][]byte{request.Patch(1)}, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range answered {
		fmt.Println(len(e.Reply.Data), "bytes,", e.RTTSource, "stamps,", e.RTT > 0)
	}
}

// Who is there? The requests are made while others are out, a few hundred ahead.
func ExampleExchanger_Run() {
	prefix := netip.MustParsePrefix("198.51.100.0/29")
	requests := func(yield func([]byte, error) bool) {
		for target := prefix.Addr().Next(); prefix.Contains(target.Next()); target = target.Next() {
			a := frame.ARP{Operation: frame.ARPRequest, SenderMAC: nearMAC, SenderIP: nearIP, TargetIP: target}
			if !yield(a.Marshal(frame.Broadcast)) {
				return
			}
		}
	}
	x, err := probe.NewExchanger("eth0", &probe.ExchangeConfig{Timeout: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	for e, err := range x.Run(context.Background(), requests) {
		switch {
		case err != nil:
			log.Fatal(err)
		case e.Answered:
			var a frame.ARP
			if err := a.Decode(e.Reply.Data[14:]); err == nil {
				fmt.Println(a.SenderIP, "is at", a.SenderMAC)
			}
		}
	}
}

// SYNs to five ports, from an address that the host does not have: its kernel would
// break off what it has not begun.
func ExampleExchange_tcp() {
	source := netip.MustParseAddr("198.51.100.77")
	ports := []uint16{22, 25, 80, 443, 8080}
	var frames [][]byte
	for _, port := range ports {
		syn := binary.BigEndian.AppendUint16(nil, 40000) // RFC 9293, section 3.1
		syn = binary.BigEndian.AppendUint16(syn, port)
		syn = append(syn, 0, 0, 0, 1, 0, 0, 0, 0, 5<<4, 0x02, 0xff, 0xff, 0, 0, 0, 0)
		frames = append(frames, packet(source, farIP, 6, syn, 16))
	}
	answered, unanswered, err := probe.Exchange(context.Background(), "eth0", frames, &probe.ExchangeConfig{
		Retry:     1,
		AnswerFor: []arp.ResponderConfig{{Source: source}},
	})
	if err != nil {
		log.Fatal(err)
	}
	slices.SortFunc(answered, func(a, b probe.Exchanged) int { return int(a.Request.Seq) - int(b.Request.Seq) })
	for _, e := range answered {
		state := "open"
		if flags := e.Reply.Data[14+20+13]; flags&0x04 != 0 {
			state = "closed"
		}
		fmt.Println(ports[e.Request.Seq-1], state)
	}
	for _, r := range unanswered {
		fmt.Println(ports[r.Seq-1], "filtered")
	}
}

// A question to a DNS server, whose answer is told by its identifier.
func ExampleExchange_dns() {
	question := []byte{0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0} // RFC 1035, section 4.1.1
	for _, label := range []string{"www", "example", "org"} {
		question = append(append(question, byte(len(label))), label...)
	}
	question = append(question, 0, 0, 1, 0, 1) // A, IN
	udp := binary.BigEndian.AppendUint16(nil, 40001)
	udp = binary.BigEndian.AppendUint16(udp, 53)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(question)))
	udp = append(append(udp, 0, 0), question...)
	frames := [][]byte{packet(nearIP, farIP, 17, udp, 6)}

	answered, _, err := probe.Exchange(context.Background(), "eth0", frames, &probe.ExchangeConfig{Retry: 2})
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range answered {
		header := e.Reply.Data[14+20+8:]
		fmt.Println("code", header[3]&0x0f, "with", binary.BigEndian.Uint16(header[6:]), "answers")
	}
}

// packet puts Ethernet's and IPv4's headers before a payload, and the checksum into
// it, with the pseudo header that TCP and UDP have.
func packet(src, dst netip.Addr, protocol byte, payload []byte, checksumAt int) []byte {
	pseudo := append(slices.Concat(src.AsSlice(), dst.AsSlice()), 0, protocol)
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(payload)))
	binary.BigEndian.PutUint16(payload[checksumAt:], frame.Checksum(append(pseudo, payload...)))

	ip := []byte{0x45, 0}
	ip = binary.BigEndian.AppendUint16(ip, uint16(20+len(payload)))
	ip = append(ip, 0, 1, 0, 0, 64, protocol, 0, 0)
	ip = slices.Concat(ip, src.AsSlice(), dst.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], frame.Checksum(ip))
	return slices.Concat(farMAC[:], nearMAC[:], []byte{0x08, 0x00}, ip, payload)
}
