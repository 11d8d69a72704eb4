//go:build linux

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// message is a kind of frame that is captured.
type message struct {
	name   string
	filter string // pcap-filter(7)
	// read tells the id and the sequence number of a frame of this kind.
	read func(gopacket.Packet) (id, seq uint16, ok bool)
	// numbered frames have no sequence number: it is the order of arrival,
	// from 1.
	numbered bool
}

var (
	echoRequest = echoMessage("echo request", layers.ICMPv4TypeEchoRequest)
	echoReply   = echoMessage("echo reply", layers.ICMPv4TypeEchoReply)
	arpRequest  = arpMessage("ARP request", layers.ARPRequest)
	arpReply    = arpMessage("ARP reply", layers.ARPReply)
)

func echoMessage(name string, typ uint8) message {
	return message{
		name: name, filter: fmt.Sprintf("icmp[icmptype] == %d", typ),
		read: func(p gopacket.Packet) (id, seq uint16, ok bool) {
			icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
			if !ok || icmp.TypeCode.Type() != typ {
				return 0, 0, false
			}
			return icmp.Id, icmp.Seq, true
		},
	}
}

func arpMessage(name string, operation uint16) message {
	return message{
		name: name, filter: fmt.Sprintf("arp[6:2] == %d", operation), numbered: true,
		read: func(p gopacket.Packet) (id, seq uint16, ok bool) {
			arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP)
			return 0, 0, ok && arp.Operation == operation
		},
	}
}

// arrival is when a frame came in, in nanoseconds of CLOCK_REALTIME.
type arrival struct {
	seq uint16
	at  int64
}

// readArrivals reads a capture of frames of one kind, in order of arrival. A
// record that is cut off at the end, as in a file that is still written, ends
// it.
func readArrivals(r io.Reader, what message) ([]arrival, error) {
	pcap, err := pcapgo.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("read capture: %w", err)
	}
	var (
		all   []arrival
		first uint16
	)
	for {
		data, info, err := pcap.ReadPacketData()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read capture: %w", err)
		}
		id, seq, ok := what.read(gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.NoCopy))
		if !ok {
			return nil, fmt.Errorf("captured a frame that is no %s: %x", what.name, data)
		}
		if len(all) == 0 {
			first = id
		}
		if id != first {
			return nil, fmt.Errorf("captured frames of two ids, %d and %d: somebody else pings here", first, id)
		}
		if what.numbered {
			seq = uint16(len(all) + 1)
		}
		all = append(all, arrival{seq: seq, at: info.Timestamp.UnixNano()})
	}
}

// deviation is how wrong a tool was about one probe.
type deviation struct {
	seq   uint16
	first bool // its request came before all others
	truth time.Duration
	error time.Duration // reported - truth

	// The error in two parts, if the tool tells when the reply came in: by
	// how much that is later than the capture's stamp, and by how much the
	// departure is earlier than the arrival at the peer.
	parts              bool
	arrival, departure time.Duration
}

// compare pairs each sample with its two frames: those of its sequence number,
// or those that came at its place in the order. A sample without both frames
// is an error, for nobody can have received what did not arrive.
func compare(samples []sample, requests, replies []arrival) ([]deviation, error) {
	if len(requests) == 0 {
		return nil, errors.New("no request was captured")
	}
	request, err := finder(requests)
	if err != nil {
		return nil, fmt.Errorf("requests: %w", err)
	}
	reply, err := finder(replies)
	if err != nil {
		return nil, fmt.Errorf("replies: %w", err)
	}
	var all []deviation
	seen := map[int]bool{}
	for _, s := range samples {
		i, err := request(s)
		if err != nil {
			return nil, fmt.Errorf("request of %v: %w", s, err)
		}
		j, err := reply(s)
		if err != nil {
			return nil, fmt.Errorf("reply to %v: %w", s, err)
		}
		if seen[i] {
			return nil, fmt.Errorf("%v was reported twice", s)
		}
		seen[i] = true
		d := deviation{seq: s.seq, first: i == 0, truth: time.Duration(replies[j].at - requests[i].at)}
		d.error = s.rtt - d.truth
		if s.arrival != 0 {
			d.parts = true
			d.arrival = time.Duration(s.arrival - replies[j].at)
			d.departure = d.error - d.arrival
		}
		all = append(all, d)
	}
	return all, nil
}

// finder returns a function that finds the frame of a sample. A sequence number
// that came twice is an error only to a sample that has nothing else to be
// found by.
func finder(frames []arrival) (func(sample) (int, error), error) {
	bySeq := make(map[uint16]int, len(frames))
	twice := map[uint16]bool{}
	for i, f := range frames {
		if i > 0 && f.at < frames[i-1].at {
			return nil, fmt.Errorf("the capture's clock went back by %v", time.Duration(frames[i-1].at-f.at))
		}
		if _, there := bySeq[f.seq]; there {
			twice[f.seq] = true
		}
		bySeq[f.seq] = i
	}
	return func(s sample) (int, error) {
		if s.order > 0 {
			i := s.order - 1
			if i >= len(frames) {
				return 0, fmt.Errorf("only %d frames were captured", len(frames))
			}
			if frames[i].seq != s.seq {
				return 0, fmt.Errorf("captured icmp_seq=%d at that place", frames[i].seq)
			}
			return i, nil
		}
		i, there := bySeq[s.seq]
		switch {
		case !there:
			return 0, errors.New("not captured")
		case twice[s.seq]:
			return 0, errors.New("captured twice")
		}
		return i, nil
	}, nil
}

// quantile is the smallest value that at least the share q of all values does
// not exceed: one of the values (nearest rank). It is 0 for none.
func quantile[T cmp.Ordered](values []T, q float64) T {
	if len(values) == 0 {
		var zero T
		return zero
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// distribution describes durations.
type distribution struct {
	Median time.Duration `json:"median"`
	P99    time.Duration `json:"p99"`
	Max    time.Duration `json:"max"`
}

func distributionOf(values []time.Duration) distribution {
	return distribution{quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1)}
}

// each is one number of every deviation.
func each(all []deviation, f func(deviation) time.Duration) []time.Duration {
	values := make([]time.Duration, len(all))
	for i, d := range all {
		values[i] = f(d)
	}
	return values
}
