//go:build linux

package main

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// checkEchoReply checks a reply to echo(t, 8, 9, seq, payload), its checksums
// by computing them anew.
func checkEchoReply(t *testing.T, frame []byte, seq uint16, payload []byte) {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	eth, _ := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	icmp, _ := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	if eth == nil || ip == nil || icmp == nil {
		t.Fatalf("no ICMP: %v", p)
	}
	if !bytes.Equal(eth.SrcMAC, farMAC) || !bytes.Equal(eth.DstMAC, nearMAC) || !ip.SrcIP.Equal(farIP) || !ip.DstIP.Equal(nearIP) ||
		icmp.TypeCode != layers.CreateICMPv4TypeCode(0, 0) || icmp.Id != 9 || icmp.Seq != seq || !bytes.Equal(icmp.Payload, payload) {
		t.Errorf("the reply is %v", p)
	}
	again := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(again, gopacket.SerializeOptions{ComputeChecksums: true}, eth, ip, icmp, gopacket.Payload(icmp.Payload))
	if err != nil || !bytes.Equal(again.Bytes(), frame) {
		t.Errorf("with right checksums (%v) it were\n%x, and not\n%x", err, again.Bytes(), frame)
	}
}

func TestAnswerEcho(t *testing.T) {
	for seq := range uint16(2000) { // both sides of the checksum's carry
		seq *= 33
		payload := []byte{1, 2, 3, byte(seq), byte(seq >> 8)}
		frame := echo(t, layers.ICMPv4TypeEchoRequest, 9, seq, payload...)
		if !answerEcho(frame, farMAC, [4]byte(farIP)) {
			t.Fatalf("icmp_seq=%d gets no answer", seq)
		}
		checkEchoReply(t, frame, seq, payload)
	}
}

func TestAnswerARP(t *testing.T) {
	frame := arp(t, layers.ARPRequest)
	copy(frame, bytes.Repeat([]byte{0xff}, 6))
	if !answerARP(frame, farMAC, [4]byte(farIP)) {
		t.Fatal("no answer")
	}
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	eth, _ := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	got, _ := p.Layer(layers.LayerTypeARP).(*layers.ARP)
	if eth == nil || got == nil {
		t.Fatalf("no ARP: %v", p)
	}
	if !bytes.Equal(eth.SrcMAC, farMAC) || !bytes.Equal(eth.DstMAC, nearMAC) || got.Operation != layers.ARPReply ||
		!bytes.Equal(got.SourceHwAddress, farMAC) || !bytes.Equal(got.SourceProtAddress, farIP) ||
		!bytes.Equal(got.DstHwAddress, nearMAC) || !bytes.Equal(got.DstProtAddress, nearIP) {
		t.Errorf("the reply is %v", p)
	}
}

// TestAnswerIsSilent holds that what is no request to the answerer gets no answer.
func TestAnswerIsSilent(t *testing.T) {
	request := func() []byte { return echo(t, layers.ICMPv4TypeEchoRequest, 9, 1) }
	changed := func(frame []byte, at int, value byte) []byte {
		frame[at] = value
		return frame
	}
	for name, frame := range map[string][]byte{
		"nothing":           {},
		"cut":               request()[:ethernetLen+ipv4Len+icmpLen-1],
		"for another MAC":   changed(request(), 5, 9),
		"for another IP":    changed(request(), ethernetLen+19, 9),
		"a reply":           echo(t, layers.ICMPv4TypeEchoReply, 9, 1),
		"another code":      changed(request(), ethernetLen+ipv4Len+1, 1),
		"another protocol":  changed(request(), ethernetLen+9, unix.IPPROTO_UDP),
		"with options":      changed(request(), ethernetLen, 0x46),
		"a first fragment":  changed(request(), ethernetLen+6, 0x20),
		"a later fragment":  changed(request(), ethernetLen+7, 1),
		"another EtherType": changed(request(), 12, 0x86),
		"an ARP reply":      arp(t, layers.ARPReply),
		"ARP for another":   changed(arp(t, layers.ARPRequest), ethernetLen+27, 9),
		"a cut ARP request": arp(t, layers.ARPRequest)[:ethernetLen+arpLen-1],
		"ARP of IPv6":       changed(arp(t, layers.ARPRequest), ethernetLen+2, 0x86),
	} {
		if answerARP(bytes.Clone(frame), farMAC, [4]byte(farIP)) || answerEcho(bytes.Clone(frame), farMAC, [4]byte(farIP)) {
			t.Errorf("%s: is answered", name)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(echo(f, layers.ICMPv4TypeEchoRequest, 9, 1))
	f.Add(arp(f, layers.ARPRequest))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		// Whatever comes, the answer has the answerer's address, or nothing
		// is changed.
		answer := bytes.Clone(frame)
		if answerARP(answer, farMAC, [4]byte(farIP)) || answerEcho(answer, farMAC, [4]byte(farIP)) {
			if !bytes.Equal(answer[6:12], farMAC) || len(answer) != len(frame) {
				t.Errorf("%x is answered by %x", frame, answer)
			}
		} else if !bytes.Equal(answer, frame) {
			t.Errorf("%x is changed to %x", frame, answer)
		}
	})
}

func TestArrivedAt(t *testing.T) {
	before := time.Now()
	for _, oob := range [][]byte{nil, {1, 2, 3}, make([]byte, 16)} {
		if got := arrivedAt(oob); got.Before(before) {
			t.Errorf("%x: arrived at %v, before now", oob, got)
		}
	}
}

// TestAnswerer holds that the answer comes, and not before its time.
func TestAnswerer(t *testing.T) {
	const delay = 200 * time.Microsecond
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	a, err := startAnswerer(pair.Far, "eth0", pair.FarIP, delay)
	if err != nil {
		t.Fatal(err)
	}
	conn := packetSocket(t, pair.Near)
	answer := make([]byte, 2048)
	for seq := range uint16(5) {
		began := time.Now()
		if _, err := conn.Write(echo(t, layers.ICMPv4TypeEchoRequest, 9, seq, 7)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(answer)
		took := time.Since(began)
		if err != nil {
			t.Fatal(err)
		}
		checkEchoReply(t, answer[:n], seq, []byte{7})
		if took < delay {
			t.Errorf("icmp_seq=%d is answered after %v, want no less than %v", seq, took, delay)
		}
	}
	if _, err := conn.Write(arp(t, layers.ARPRequest)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(answer); err != nil || !bytes.Equal(answer[:6], nearMAC) || n < ethernetLen+arpLen {
		t.Errorf("the ARP request is answered by %x, %v", answer[:n], err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// TestAnswererTellsItsFault holds that an answerer that could not do its work
// does not keep silent about it.
func TestAnswererTellsItsFault(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	if _, err := startAnswerer(pair.Far, "nosuch0", pair.FarIP, 0); err == nil {
		t.Error("it starts on an interface that is not there")
	}
	a, err := startAnswerer(pair.Far, "eth0", pair.FarIP, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := pair.Far.SetDown("eth0"); err != nil {
		t.Fatal(err)
	}
	a.wg.Wait() // the kernel tells the socket
	if err := a.Close(); !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("Close says %v, want %v", err, unix.ENETDOWN)
	}
}

// packetSocket is a socket on eth0 of n that hears what arrives, for some
// seconds at most.
func packetSocket(t *testing.T, n *lab.Namespace) *os.File {
	t.Helper()
	// The answerer's own way to open a socket serves here, too.
	var a answerer
	index, err := n.Index("eth0")
	if err == nil {
		err = n.Do(func() error { return a.open(index) })
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.file.Close() })
	if err := a.file.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return a.file
}
