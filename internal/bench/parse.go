//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// sample is what a tool reports about one probe.
type sample struct {
	seq uint16 // of the ICMP header
	// order is the place of the probe in the run, from 1, for a tool whose
	// sequence numbers do not tell its probes apart; else 0.
	order int
	rtt   time.Duration // as reported
	// arrival is when the reply came in, in nanoseconds of CLOCK_REALTIME,
	// according to the tool; 0 if it does not say.
	arrival int64
	// source is the kind of stamp that the tool says it has used.
	source string
}

func (s sample) String() string {
	if s.order > 0 {
		return fmt.Sprintf("probe %d, icmp_seq=%d", s.order, s.seq)
	}
	return fmt.Sprintf("icmp_seq=%d", s.seq)
}

// parseL2ping reads l2ping's JSON. Only first replies in time are samples.
func parseL2ping(output []byte) ([]sample, error) {
	var all []sample
	lines := bufio.NewScanner(bytes.NewReader(output))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct {
			Event, State string
			Time         time.Time
			Seq          uint64
			// A number in a reply, an object in the summary.
			RTT    json.RawMessage `json:"rtt_ns"`
			Source string          `json:"rtt_source"`
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return nil, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		if event.Event != "reply" || event.State != "replied" && event.State != "reordered" {
			continue
		}
		rtt, err := strconv.ParseInt(string(event.RTT), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		all = append(all, sample{
			seq: uint16(event.Seq), rtt: time.Duration(rtt),
			arrival: event.Time.UnixNano(), source: event.Source,
		})
	}
	return all, lines.Err()
}

// byLine makes a parser of a format that has a line for each reply. A line that
// the expression matches is one; its groups are the sequence number and the
// time, in units. A line that has the mark and is none of them is an error.
func byLine(expression, mark string, unit time.Duration) func([]byte) ([]sample, error) {
	reply := regexp.MustCompile(expression)
	return func(output []byte) ([]sample, error) {
		var all []sample
		for line := range strings.Lines(string(output)) {
			line = strings.TrimRight(line, "\n")
			if !strings.Contains(line, mark) || strings.Contains(line, "DUP!") {
				continue
			}
			m := reply.FindStringSubmatch(line)
			if m == nil {
				return nil, fmt.Errorf("line %q: no reply that I know", line)
			}
			seq, err := strconv.ParseUint(m[1], 10, 16)
			if err != nil {
				return nil, fmt.Errorf("line %q: %w", line, err)
			}
			rtt, err := parseTime(m[2], unit)
			if err != nil {
				return nil, fmt.Errorf("line %q: %w", line, err)
			}
			all = append(all, sample{seq: uint16(seq), rtt: rtt})
		}
		return all, nil
	}
}

// parseTime reads a decimal number of units, to the nanosecond.
func parseTime(text string, unit time.Duration) (time.Duration, error) {
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, err
	}
	ns := math.Round(x * float64(unit))
	if !(math.Abs(ns) < 1<<62) { // NaN too
		return 0, fmt.Errorf("%s is no time", text)
	}
	return time.Duration(ns), nil
}

var (
	parsePing    = byLine(` icmp_seq=(\d+) ttl=\d+ time=([0-9.]+) ms$`, " time=", time.Millisecond)
	parseFping   = byLine(`^\S+ +: \[(\d+)\], \d+ bytes, ([0-9.]+) ms \(`, " bytes, ", time.Millisecond)
	parseHping   = byLine(` icmp_seq=(\d+) rtt=([0-9.]+) ms$`, " rtt=", time.Millisecond)
	parseScapy   = byLine(`^icmp_seq=(\d+) time=(-?[0-9.]+)$`, " time=", time.Second)
	parseProBing = byLine(`^icmp_seq=(\d+) rtt_ns=(-?\d+)$`, " rtt_ns=", 1)
)

// parseHping3 reads hping3's text. hping3 counts in the order of bytes of the
// machine, not of the network.
func parseHping3(output []byte) ([]sample, error) {
	all, err := parseHping(output)
	for i := range all {
		all[i].seq = binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, all[i].seq))
	}
	return all, err
}

var npingLine = regexp.MustCompile(`^(SENT|RCVD) \(([0-9.]+)s\) ICMP .* Echo (?:request|reply) .* seq=(\d+)\]`)

// parseNping reads nping's text, where the time of a probe is the difference of
// two stamps. nping gives some probes the same sequence number and leaves
// others out, so it is their order that tells them apart.
func parseNping(output []byte) ([]sample, error) {
	type probe struct {
		sample
		sent time.Duration
	}
	var (
		sent     []probe
		pending  = map[uint16][]int{} // places in sent, by sequence number
		answered []sample
	)
	for line := range strings.Lines(string(output)) {
		if !strings.HasPrefix(line, "SENT ") && !strings.HasPrefix(line, "RCVD ") {
			continue
		}
		m := npingLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("line %q: neither request nor reply that I know", line)
		}
		at, err := parseTime(m[2], time.Second)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		n, err := strconv.ParseUint(m[3], 10, 16)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		seq := uint16(n)
		if m[1] == "SENT" {
			pending[seq] = append(pending[seq], len(sent))
			sent = append(sent, probe{sample{seq: seq, order: len(sent) + 1}, at})
			continue
		}
		if len(pending[seq]) == 0 {
			return nil, fmt.Errorf("line %q: a reply to nothing", line)
		}
		p := sent[pending[seq][0]]
		pending[seq] = pending[seq][1:]
		p.rtt = at - p.sent
		answered = append(answered, p.sample)
	}
	return answered, nil
}

var (
	arpingLine = regexp.MustCompile(`^(?:Unicast|Broadcast) reply from \S+ \[\S+\] +([0-9.]+)ms$`)
	arpingSent = regexp.MustCompile(`(?m)^Sent (\d+) probes `)
)

// parseArping reads the text of iputils arping. ARP has no sequence numbers: a
// run in which not each request has one reply cannot be read.
func parseArping(output []byte) ([]sample, error) {
	var all []sample
	for line := range strings.Lines(string(output)) {
		line = strings.TrimRight(line, "\n")
		if !strings.Contains(line, " reply from ") {
			continue
		}
		m := arpingLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("line %q: no reply that I know", line)
		}
		rtt, err := parseTime(m[1], time.Millisecond)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		n := len(all) + 1
		all = append(all, sample{seq: uint16(n), order: n, rtt: rtt})
	}
	m := arpingSent.FindSubmatch(output)
	if m == nil {
		return nil, errors.New("it does not say how many requests it has sent")
	}
	if sent := string(m[1]); sent != strconv.Itoa(len(all)) {
		return nil, fmt.Errorf("%d replies to %s requests: nobody knows which is whose", len(all), sent)
	}
	return all, nil
}
