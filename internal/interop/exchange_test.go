//go:build interop && linux

package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
	l2capture "github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// srpScript asks as scapy does.
const srpScript = "testdata/srp.py"

// A question is a list of requests that scapy's srp and probe.Exchange are both
// asked, one after the other, in the same place and in the same bytes.
type question struct {
	name string
	ask  string // scapy's expression for the requests
	// want is how many answers there are to each request.
	want []int
	// wire is how many frames come back, if those that answer nothing are more.
	wire  int
	multi bool
	// conf is set in scapy's conf.
	conf map[string]any
	// script is the peer's from now on, where there is one.
	script string
	// differs are the requests of which scapy has another number of answers.
	differs map[int]otherwise
}

// otherwise is how many answers scapy has, and why we have not.
type otherwise struct {
	answers int
	reason  string
}

// A floor is where questions are asked: on eth0 of near, and what is at the other
// end of that wire.
type floor struct {
	near, far *lab.Namespace
	nearMAC   []byte
	peer      *lab.Peer // nil: Linux answers

	wire   *capture
	inject func(b []byte)
	ended  uint32 // how many questions have been

	questions *json.Encoder // to scapy
	answers   *bufio.Scanner
	stderr    bytes.Buffer
}

// newFloor makes ready what is needed to ask at near. names is Python that the
// questions may use.
func newFloor(t *testing.T, f *floor, names string) *floor {
	t.Helper()
	// What the kernel hands to this capture it has handed to those that are opened
	// later before (dev_add_pack).
	f.wire = startCapture(t, f.near, program(t, "tcpdump"), t.TempDir()+"/wire.pcap")
	fd := -1
	must(t, f.far.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		index, err := f.far.Index("eth0")
		if err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index})
	}))
	t.Cleanup(func() { unix.Close(fd) })
	f.inject = func(b []byte) {
		if err := unix.Send(fd, b, 0); err != nil {
			t.Error(err)
		}
	}

	// It ends with its input, in the cleanup, and each question within runLimit.
	ctx, cancel := context.WithTimeout(context.Background(), 4*runLimit)
	cmd := exec.CommandContext(ctx, program(t, debianPython), srpScript, strconv.Itoa(int(runLimit.Seconds())), names)
	cmd.Stderr = &f.stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, f.near.Start(cmd))
	t.Cleanup(func() {
		defer cancel()
		err := stdin.Close()
		_, rest := io.Copy(io.Discard, stdout)
		if err = errors.Join(err, rest, cmd.Wait()); err != nil || f.stderr.Len() > 0 {
			t.Errorf("scapy: %v\n%s", err, &f.stderr)
		}
	})
	f.questions, f.answers = json.NewEncoder(stdin), bufio.NewScanner(stdout)
	f.answers.Buffer(nil, 1<<20)
	return f
}

// hear reads what scapy says next.
func (f *floor) hear(t *testing.T, what any) {
	t.Helper()
	if !f.answers.Scan() {
		t.Fatalf("scapy: no more is said: %v\n%s", f.answers.Err(), &f.stderr)
	}
	must(t, json.Unmarshal(f.answers.Bytes(), what))
}

// endType is the EtherType of the frame that ends a question, and of the request
// that it answers.
const endType = 0x88b6

// whenOver calls over when all requests of a question have left since it was called,
// and all that comes back is there.
func (f *floor) whenOver(t *testing.T, requests [][]byte, answers int) (over func()) {
	sent := make(map[string]int, len(requests))
	for _, r := range requests {
		sent[string(r)]++
	}
	isRequest := func(b []byte) bool { return sent[string(b)] > 0 }
	isAnswer := func(b []byte) bool {
		return !bytes.Equal(b[6:12], f.nearMAC) && binary.BigEndian.Uint16(b[12:]) != endType
	}
	before, answered := f.wire.have(isRequest), f.wire.have(isAnswer)
	return func() {
		t.Helper()
		f.wire.count(t, before+len(requests), isRequest)
		f.wire.count(t, answered+answers, isAnswer)
	}
}

// endFrame ends the question that is asked.
func (f *floor) endFrame() []byte {
	b := slices.Concat(f.nearMAC, []byte{2, 0, 0x5e, 0, 0x53, 0xee}, []byte{endType >> 8, endType & 0xff})
	return append(binary.BigEndian.AppendUint32(b, f.ended), make([]byte, 42)...)
}

// A replied is what became of a request: its answers, in an order of their bytes.
type replied [][]byte

// scapy asks a question of it.
func (f *floor) scapy(t *testing.T, q *question) (requests [][]byte, got []replied) {
	t.Helper()
	f.ended++
	conf := q.conf
	if conf == nil {
		conf = map[string]any{}
	}
	must(t, f.questions.Encode(map[string]any{"ask": q.ask, "multi": q.multi, "conf": conf, "end": f.ended}))
	var made struct{ Frames []string }
	f.hear(t, &made)
	for _, s := range made.Frames {
		b, err := hex.DecodeString(s)
		must(t, err)
		requests = append(requests, b)
	}
	over := f.whenOver(t, requests, q.onWire())
	must(t, f.questions.Encode("go"))
	over()
	f.inject(f.endFrame())
	var said struct {
		Answered   [][2]any
		Unanswered []int
	}
	f.hear(t, &said)
	got = make([]replied, len(requests))
	for _, a := range said.Answered {
		b, err := hex.DecodeString(a[1].(string))
		must(t, err)
		i := int(a[0].(float64))
		got[i] = append(got[i], natural(b))
	}
	consistent(t, "scapy", got, said.Unanswered)
	return requests, got
}

// ours asks the same, by a filter.
func (f *floor) ours(t *testing.T, q *question, requests [][]byte, filter bpf.Mode) (got []replied) {
	t.Helper()
	f.ended++
	x := labtest.OpenIn(t, f.near, func() (*probe.Exchanger, error) {
		return probe.NewExchanger("eth0", &probe.ExchangeConfig{
			Timeout: runLimit, Multi: q.multi, Rules: []probe.Rule{ending{}}, Filter: filter,
		})
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	over := f.whenOver(t, requests, q.onWire())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		over()
		f.inject(f.endFrame())
	}()
	defer func() { <-ended }()
	got = make([]replied, len(requests))
	var unanswered []int
	asked := append([][]byte{f.endFrame()}, requests...) // it is out when these are
	for e, err := range x.Run(ctx, probe.Frames(asked...)) {
		must(t, err)
		i := int(e.Request.Seq) - 2
		switch {
		case e.Request.Err != nil:
			t.Errorf("request %d: %v", i, e.Request.Err)
		case i < 0 && e.Answered:
			cancel() // what is out then has no answer
		case i < 0:
			t.Error("the end has not come")
		case e.Answered:
			got[i] = append(got[i], natural(tagged(&e.Reply)))
		default:
			unanswered = append(unanswered, i)
		}
	}
	consistent(t, "l2ping", got, unanswered)
	return got
}

func (q *question) onWire() int {
	if q.wire != 0 {
		return q.wire
	}
	n := 0
	for _, answers := range q.want {
		n += answers
	}
	return n
}

// consistent fails the test if something was both answered and not, or neither.
func consistent(t *testing.T, who string, got []replied, unanswered []int) {
	t.Helper()
	slices.Sort(unanswered)
	var none []int
	for i, r := range got {
		slices.SortFunc(r, bytes.Compare)
		if len(r) == 0 {
			none = append(none, i)
		}
	}
	if !slices.Equal(none, unanswered) {
		t.Errorf("%s has no answer to %v, and says so of %v", who, none, unanswered)
	}
}

// ask asks both, and compares.
func (f *floor) ask(t *testing.T, q question) {
	if f.peer != nil {
		script, err := lab.ParseScript(q.script)
		must(t, err)
		f.peer.SetScript(script)
	}
	requests, theirs := f.scapy(t, &q)
	if len(requests) != len(q.want) {
		t.Fatalf("%d requests, want %d", len(requests), len(q.want))
	}
	for i, other := range q.differs {
		t.Logf("request %d has %d answers, to scapy %d: %s", i, q.want[i], other.answers, other.reason)
	}
	for _, filter := range []bpf.Mode{bpf.Classic, bpf.Auto} {
		ours := f.ours(t, &q, requests, filter)
		for i := range requests {
			other, differs := q.differs[i]
			if !differs {
				other.answers = q.want[i]
			}
			if len(ours[i]) != q.want[i] || len(theirs[i]) != other.answers || !differs && !slices.EqualFunc(ours[i], theirs[i], bytes.Equal) {
				t.Errorf("with filter %v, request %d, % x, has %d answers:\n% x\nwant %d; to scapy it has %d, want %d:\n% x",
					filter, i, requests[i], len(ours[i]), ours[i], q.want[i], len(theirs[i]), other.answers, theirs[i])
			}
		}
	}
}

// ending pairs the frame that ends a question with its request.
type ending struct{}

func (ending) EtherType() frame.EtherType                        { return endType }
func (ending) RequestKey(request *frame.Ethernet) (uint64, bool) { return endKey(request) }
func (ending) AnswerKey(answer *frame.Ethernet) (uint64, bool)   { return endKey(answer) }
func (ending) Answers(answer, request *frame.Ethernet) bool      { return true }
func endKey(eth *frame.Ethernet) (key uint64, ok bool) {
	if len(eth.Payload) < 4 {
		return 0, false
	}
	return uint64(binary.BigEndian.Uint32(eth.Payload)), true
}

// tagged is a frame with the tag that the kernel took off.
func tagged(f *l2capture.Frame) []byte {
	if !f.VLAN.Present {
		return f.Data
	}
	tag := binary.BigEndian.AppendUint16(nil, uint16(f.VLAN.Type))
	return slices.Insert(slices.Clone(f.Data), 12, binary.BigEndian.AppendUint16(tag, f.VLAN.TCI)...)
}

// natural is a frame without what is another in every answer: the IP id or flow
// label, the times of an ICMP timestamp reply, the sequence number that a TCP begins
// with, and the checksums of these.
func natural(b []byte) []byte {
	b = bytes.Clone(b)
	at := 12
	for len(b) >= at+4 && (b[at] == 0x81 && b[at+1] == 0 || b[at] == 0x88 && b[at+1] == 0xa8) {
		at += 4
	}
	at += 2
	if len(b) < at {
		return b
	}
	ip, protocol, payload := b[at:], byte(0), []byte(nil)
	switch etherType := binary.BigEndian.Uint16(b[at-2:]); {
	case etherType == unix.ETH_P_IP && len(ip) >= 20:
		clear(ip[4:6])
		clear(ip[10:12])
		protocol, payload = ip[9], ip[min(4*int(ip[0]&15), len(ip)):]
	case etherType == unix.ETH_P_IPV6 && len(ip) >= 40:
		ip[1] &= 0xf0
		clear(ip[2:4])
		protocol, payload = ip[6], ip[40:]
	}
	switch {
	case protocol == unix.IPPROTO_ICMP && len(payload) >= 20 && payload[0] == 14:
		clear(payload[2:4])
		clear(payload[12:20])
	case protocol == unix.IPPROTO_TCP && len(payload) >= 20:
		clear(payload[4:8])
		clear(payload[16:18])
	}
	return b
}
