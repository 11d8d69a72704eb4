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

// arrivals are when frames came in, in nanoseconds of CLOCK_REALTIME, by ICMP
// sequence number.
type arrivals map[uint16]int64

// readArrivals reads a capture of ICMP echo messages of one type. A record
// that is cut off at the end, as in a file that is still written, ends it.
func readArrivals(r io.Reader, typ uint8) (arrivals, error) {
	pcap, err := pcapgo.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("read capture: %w", err)
	}
	all := arrivals{}
	id := -1
	for {
		data, info, err := pcap.ReadPacketData()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read capture: %w", err)
		}
		p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.NoCopy)
		icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		if !ok || icmp.TypeCode.Type() != typ {
			return nil, fmt.Errorf("captured a frame that is no ICMP message of type %d: %x", typ, data)
		}
		if id >= 0 && id != int(icmp.Id) {
			return nil, fmt.Errorf("captured frames of two ids, %d and %d: somebody else pings here", id, icmp.Id)
		}
		id = int(icmp.Id)
		if _, twice := all[icmp.Seq]; twice {
			return nil, fmt.Errorf("captured icmp_seq=%d twice", icmp.Seq)
		}
		all[icmp.Seq] = info.Timestamp.UnixNano()
	}
}

// deviation is how wrong a tool was about one probe.
type deviation struct {
	seq   uint16
	truth time.Duration
	error time.Duration // reported - truth

	// The error in two parts, if the tool tells when the reply came in: by
	// how much that is later than the capture's stamp, and by how much the
	// departure is earlier than the arrival at the peer.
	parts              bool
	arrival, departure time.Duration
}

// compare pairs each sample with the frames of its sequence number. A sample
// without both frames is an error, for nobody can have received what did not
// arrive.
func compare(samples []sample, requests, replies arrivals) ([]deviation, error) {
	var all []deviation
	seen := map[uint16]bool{}
	for _, s := range samples {
		request, ok1 := requests[s.seq]
		reply, ok2 := replies[s.seq]
		switch {
		case seen[s.seq]:
			return nil, fmt.Errorf("icmp_seq=%d was reported twice", s.seq)
		case !ok1 || !ok2:
			return nil, fmt.Errorf("icmp_seq=%d was reported, but not captured at both ends", s.seq)
		}
		seen[s.seq] = true
		d := deviation{seq: s.seq, truth: time.Duration(reply - request)}
		d.error = s.rtt - d.truth
		if s.arrival != 0 {
			d.parts = true
			d.arrival = time.Duration(s.arrival - reply)
			d.departure = d.error - d.arrival
		}
		all = append(all, d)
	}
	return all, nil
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
