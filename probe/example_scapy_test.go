//go:build linux

package probe_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"os"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/bpf/pcapfilter"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// What follows, and the examples before, is what docs/from-scapy.md shows.

// whoHas are ARP requests for these addresses.
func whoHas(targets ...netip.Addr) (frames [][]byte) {
	for _, target := range targets {
		a := frame.ARP{Operation: frame.ARPRequest, SenderMAC: nearMAC, SenderIP: nearIP, TargetIP: target}
		b, err := a.Marshal(frame.Broadcast)
		if err != nil {
			log.Fatal(err)
		}
		frames = append(frames, b)
	}
	return frames
}

// The parameters of scapy's srp.
func ExampleExchangeConfig() {
	ctx, frames := context.Background(), whoHas(farIP)
	program, err := pcapfilter.Compile("arp", &pcapfilter.Config{Live: true})
	if err != nil {
		log.Fatal(err)
	}
	answered, unanswered, err := probe.Exchange(ctx, "eth0", frames, &probe.ExchangeConfig{
		Timeout:      time.Second,           // timeout=1
		Interval:     10 * time.Millisecond, // inter=0.01
		Retry:        -2,                    // retry=-2
		Multi:        true,                  // multi=True
		Instructions: program,               // filter="arp"
		Promiscuous:  true,                  // promisc=True
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range answered {
		fmt.Println(e.Request.Seq, len(e.Reply.Data) >= 42, e.RTT > 0)
	}
	fmt.Println(len(unanswered), "unanswered")
}

// A sweep that ends with the first who answers. The requests are made a few hundred
// ahead; those that are not needed by then are never made.
func ExampleExchanger_Run_first() {
	ctx, prefix := context.Background(), netip.MustParsePrefix("198.51.100.0/24")
	echo := frame.Echo{SrcMAC: nearMAC, Src: nearIP, ID: 7, TTL: 64, DataLen: 56}
	requests := func(yield func([]byte, error) bool) {
		for a := nearIP.Next(); prefix.Contains(a); a = a.Next() {
			echo.Dst = a
			request, err := echo.Template()
			if err != nil {
				yield(nil, err)
				return
			}
			request.SetDstMAC(farMAC)
			if !yield(request.Patch(1), nil) {
				return
			}
		}
	}
	x, err := probe.NewExchanger("eth0", &probe.ExchangeConfig{Window: 16})
	if err != nil {
		log.Fatal(err)
	}
	for e, err := range x.Run(ctx, requests) {
		if err != nil {
			log.Fatal(err)
		}
		if e.Answered {
			fmt.Println("request", e.Request.Seq, "is answered, by", e.RTTSource, "stamps")
			break
		}
	}
}

// A frame that gopacket has made.
func ExampleFrames() {
	ctx := context.Background()
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: nearMAC[:], DstMAC: farMAC[:], EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: nearIP.AsSlice(), DstIP: farIP.AsSlice()},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 7, Seq: 1},
		gopacket.Payload("hello"))
	if err != nil {
		log.Fatal(err)
	}
	x, err := probe.NewExchanger("eth0", nil)
	if err != nil {
		log.Fatal(err)
	}
	for e, err := range x.Run(ctx, probe.Frames(buf.Bytes())) {
		if err != nil {
			log.Fatal(err)
		}
		reply := gopacket.NewPacket(e.Reply.Data, layers.LayerTypeEthernet, gopacket.NoCopy)
		if icmp, ok := reply.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
			fmt.Printf("%v %s\n", icmp.TypeCode, icmp.Payload[:5])
		}
	}
}

// A question in a VLAN, whose answer has to bear the tag too.
func ExampleExchange_vlan() {
	ctx := context.Background()
	a := frame.ARP{Operation: frame.ARPRequest, SenderMAC: nearMAC, SenderIP: nearIP, TargetIP: farIP}
	request, err := a.MarshalBehind(frame.Header{
		Src: nearMAC, Dst: frame.Broadcast,
		VLANs: []frame.VLAN{{Type: frame.EtherTypeVLAN, TCI: 5}},
	})
	if err != nil {
		log.Fatal(err)
	}
	answered, _, err := probe.Exchange(ctx, "eth0", [][]byte{request}, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range answered {
		fmt.Println("an answer in VLAN", e.Reply.VLAN.TCI&0xfff)
	}
}

// The requests of a capture file, asked again.
func ExampleExchange_pcapng() {
	ctx := context.Background()
	file, err := os.Open("requests.pcapng")
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	reader, err := pcapng.NewReader(file)
	if err != nil {
		log.Fatal(err)
	}
	requests := func(yield func([]byte, error) bool) {
		for f, err := range reader.Frames() {
			if !yield(f.Data, err) {
				return
			}
		}
	}
	x, err := probe.NewExchanger("eth0", nil)
	if err != nil {
		log.Fatal(err)
	}
	for e, err := range x.Run(ctx, requests) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Request.Seq, e.Answered)
	}
}

// Who answers ARP requests in VLAN 5, for whatever address.
func ExampleAnswer_filter() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	program, err := pcapfilter.Compile("vlan 5 and arp[6:2] = 1", &pcapfilter.Config{Live: true})
	if err != nil {
		log.Fatal(err)
	}
	if err := probe.Answer(ctx, "eth0", &probe.AnswerConfig{Instructions: program}, isHere); err != nil {
		log.Fatal(err)
	}
}

// isHere appends the answer to an ARP request, in its VLAN.
func isHere(reply []byte, f capture.Frame) []byte {
	var eth frame.Ethernet
	var asked frame.ARP
	if eth.Decode(f.Data) != nil || asked.Decode(eth.Payload) != nil {
		return nil
	}
	a := frame.ARP{
		Operation: frame.ARPReply, SenderMAC: farMAC, SenderIP: asked.TargetIP, TargetMAC: asked.SenderMAC, TargetIP: asked.SenderIP,
	}
	b, err := a.MarshalBehind(frame.Header{
		Src: farMAC, Dst: asked.SenderMAC,
		VLANs: []frame.VLAN{{Type: f.VLAN.Type, TCI: f.VLAN.TCI}},
	})
	if err != nil {
		return nil
	}
	return append(reply, b...)
}

// Frames are sent, and nobody waits for an answer.
func Example_send() {
	frames := whoHas(nearIP.Next(), farIP.Next())
	ifc, err := l2.InterfaceByName("eth0")
	if err != nil {
		log.Fatal(err)
	}
	link, err := l2.OpenLink(ifc, &l2.LinkConfig{NoStamps: true})
	if err != nil {
		log.Fatal(err)
	}
	defer link.Close()
	sent, err := link.SendBatch(frames, 0)
	fmt.Println(sent, "sent,", err)
}

// What an interface takes and sends, by a filter in tcpdump's language.
func Example_sniff() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ifc, err := l2.InterfaceByName("eth0")
	if err != nil {
		log.Fatal(err)
	}
	program, err := pcapfilter.Compile("arp or icmp", &pcapfilter.Config{Live: true})
	if err != nil {
		log.Fatal(err)
	}
	ring, err := capture.Open(ifc, &capture.Config{Instructions: program})
	if err != nil {
		log.Fatal(err)
	}
	defer ring.Close()
	for f, err := range ring.Frames(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(time.Unix(0, f.Arrival), f.PacketType, f.Length)
	}
}
