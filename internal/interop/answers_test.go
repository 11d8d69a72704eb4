//go:build interop && linux

package interop

import (
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/l2ping/l2ping/bpf"
)

// pairsData is where package bpf has its corpus of requests and answers.
const pairsData = "../../bpf/testdata/pairs.txt"

// debianPython is the one that has Debian's python3-scapy.
const debianPython = "/usr/bin/python3"

// askScapy prints the names of each request and answer that are a pair to scapy.
const askScapy = `
import logging, sys
logging.getLogger("scapy").setLevel(logging.CRITICAL)
from scapy.all import Ether
frames = {"request": [], "answer": []}
for line in sys.stdin:
    what, name, frame = line.rstrip("\n").split("\t")
    frames[what].append((name, Ether(bytes.fromhex(frame))))
for request, r in frames["request"]:
    for answer, a in frames["answer"]:
        if a.answers(r):
            print(request, answer, sep="\t")
`

// A difference is where scapy pairs otherwise, by the patterns of path.Match.
type difference struct {
	reason    string
	scapy     bool // it takes the two for a pair, and we do not
	requests  []string
	answers   []string
	different int
}

func differences() []difference {
	icmp := []string{"echo*", "timestamp", "information", "address mask", "first fragment", "later fragment"}
	tcp := []string{"SYN*", "ACK with data", "FIN", "keep-alive", "RST"}
	list := []difference{
		{
			reason: "what is cut is no answer; scapy takes what is there for bytes without a meaning, which answer anything",
			scapy:  true, requests: slices.Concat(icmp, tcp, []string{"who-has", "address probe", "ARP reply"}),
			answers: []string{"cut is-at", "cut TCP", "echo reply, cut", "expired echo, cut"},
		},
		{
			reason: "nor is a later fragment, for the same reason",
			scapy:  true, requests: append([]string{"IPv6 echo with destination options"}, icmp...),
			answers: []string{"expired later fragment", "echo reply, later fragment", "IPv6 echo reply, later fragment"},
		},
		{
			reason: "a SYN has to be acknowledged, and nothing beyond it; scapy lets all acknowledgment numbers be off by 2",
			scapy:  true, requests: []string{"SYN", "SYN with data"},
			answers: []string{"SYN-ACK of nothing", "ACK of FIN"},
		},
		{
			reason: "a segment without ACK has no acknowledgment number (RFC 9293, section 3.1)",
			scapy:  true, requests: tcp, answers: []string{"no flags"},
		},
		{
			reason: "a quoted segment is told by its sequence number too, as scapy has it with conf.check_TCPerror_seqack",
			scapy:  true, requests: tcp, answers: []string{"expired SYN*"},
		},
		{
			reason: "UDP is answered from the port that was asked; scapy compares the other port alone",
			scapy:  true, requests: []string{"UDP*", "DNS*", "IPv6 DNS"}, answers: []string{"UDP", "UDP from another port", "IPv6 UDP"},
		},
		{
			reason: "a host is answered by itself; of IPv6 scapy does not compare the source",
			scapy:  true, requests: []string{"IPv6 echo*"}, answers: []string{"IPv6 echo reply of another"},
		},
		{
			reason: "an answer is of the same protocol; scapy does not ask for it behind extension headers and to groups",
			scapy:  true, requests: []string{"IPv6 echo*", "solicitation", "router solicitation"},
			answers: []string{"IPv6 other protocol", "IPv6 UDP"},
		},
		{
			reason: "hosts have to ignore such messages (RFC 4861, section 7.1)",
			scapy:  true, requests: []string{"solicitation*", "router solicitation"},
			answers: []string{"advertisement with*", "router advertisement with*"},
		},
		{
			reason: "a protocol of the caller's own is for the caller to judge",
			scapy:  true, requests: []string{"own protocol"}, answers: []string{"own protocol"},
		},
		{
			reason:   "a group is answered by its members, as scapy has it for IPv6, and for IPv4 with conf.checkIPaddr off",
			requests: []string{"echo to a group", "echo to a subnet", "mDNS", "DHCP"},
			answers:  []string{"echo reply*", "mDNS to us", "DHCP*"},
		},
		{
			reason:   "sequence numbers wrap",
			requests: []string{"SYN, wrap"}, answers: []string{"SYN-ACK, wrap"},
		},
		{
			reason:   "of other protocols an error need quote the IP header alone",
			requests: []string{"other protocol"}, answers: []string{"unknown protocol"},
		},
		{
			reason:   "extension headers are around a message, and not a part of it",
			requests: []string{"IPv6 echo*"}, answers: []string{"IPv6 echo reply", "IPv6 echo reply with*"},
		},
		{
			reason:   "an address probe is answered to all nodes (RFC 4861, section 7.2.4)",
			requests: []string{"IPv6 address probe"}, answers: []string{"advertisement to all nodes"},
		},
	}
	return list
}

func (d *difference) covers(request, answer string) bool {
	match := func(patterns []string, name string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool {
			ok, err := path.Match(p, name)
			return ok && err == nil
		})
	}
	return match(d.requests, request) && match(d.answers, answer)
}

// TestAnswers asks scapy of every request and answer of the corpus whether they
// are a pair.
func TestAnswers(t *testing.T) {
	file, err := os.ReadFile(pairsData)
	must(t, err)
	type named struct {
		name  string
		frame []byte
	}
	frames := make(map[string][]named)
	for line := range strings.Lines(string(file)) {
		parts := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(parts) != 3 {
			t.Fatalf("%s: %q", pairsData, line)
		}
		b, err := hex.DecodeString(parts[2])
		must(t, err)
		frames[parts[0]] = append(frames[parts[0]], named{parts[1], b})
	}

	o := run(t, nil, string(file), program(t, debianPython), "-c", askScapy)
	if o.exit != 0 {
		t.Fatalf("%v\n(apt-get install python3-scapy)", o)
	}
	scapy := make(map[string]bool)
	for line := range strings.Lines(o.stdout) {
		scapy[strings.TrimSuffix(line, "\n")] = true
	}

	known := differences()
	pairs, agreed := 0, 0
	for _, r := range frames["request"] {
		for _, a := range frames["answer"] {
			ours, theirs := bpf.Answers(a.frame, bpf.Meta{}, r.frame, false), scapy[fmt.Sprintf("%s\t%s", r.name, a.name)]
			pairs++
			if ours == theirs {
				agreed++
				continue
			}
			i := slices.IndexFunc(known, func(d difference) bool { return d.scapy == theirs && d.covers(r.name, a.name) })
			if i < 0 {
				t.Errorf("%q is answered by %q: %v, to scapy %v", r.name, a.name, ours, theirs)
				continue
			}
			known[i].different++
		}
	}
	for _, d := range known {
		t.Logf("%d times: %s", d.different, d.reason)
		if d.different == 0 {
			t.Errorf("no difference for which this is the reason: %s", d.reason)
		}
	}
	t.Logf("%d requests and answers, %d judged alike, %d are pairs to scapy", pairs, agreed, len(scapy))
	if len(scapy) < 150 || pairs < 5000 {
		t.Error("too few to tell")
	}
}
