//go:build linux

package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/craft"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/probe"
)

// arpPair is an ARP request and its answer, from which the kernel took a tag.
func arpPair() (request []byte, reply capture.Frame) {
	request = []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x5e\x00\x53\x01\x81\x00\x00\x05\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01" +
		"\x02\x00\x5e\x00\x53\x01\xc6\x33\x64\x01\x00\x00\x00\x00\x00\x00\xc6\x33\x64\x02")
	answer := []byte("\x02\x00\x5e\x00\x53\x01\x02\x00\x5e\x00\x53\x02\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02" +
		"\x02\x00\x5e\x00\x53\x02\xc6\x33\x64\x02\x02\x00\x5e\x00\x53\x01\xc6\x33\x64\x01")
	return request, capture.Frame{
		Data: answer, Length: len(answer), Arrival: 1_700_000_000e9, VLAN: capture.VLAN{Present: true, Type: 0x8100, TCI: 5},
	}
}

func exchangedKinds() []probe.Exchanged {
	request, reply := arpPair()
	sent := probe.Request{Seq: 1, Frame: request, Tries: 1, Sent: time.Unix(1_700_000_000, 0)}
	again, refused := sent, sent
	again.Tries = 3
	refused.Tries, refused.Err = 0, errors.New("send on eth0: message too long")
	notAgain := refused
	notAgain.Tries = 1
	rtt := probe.Times{RTT: 45678 * time.Nanosecond, RTTSource: l2.StampDriver}
	return []probe.Exchanged{
		{Request: sent, Answered: true, Reply: reply, Times: rtt},
		{Request: again, Answered: true, More: true, Reply: reply, Times: rtt},
		{Request: sent},
		{Request: refused},
		{Request: notAgain},
	}
}

func TestSendLines(t *testing.T) {
	const request = "vlan 5, ARP, Request who-has 198.51.100.2 tell 198.51.100.1, length 28 -> "
	const answer = "vlan 5, ARP, Reply 198.51.100.2 is-at 02:00:5e:00:53:02, length 28 time=0.046 ms driver"
	const told = "2 frames sent, 1 answered, 2 unanswered, 3 not sent, 4 unpaired, 5 dropped by kernel, time 1500ms\n"
	want := request + answer + "\n" + request + answer + ", try 3\n" + request + "no answer\n" +
		request + "not sent: send on eth0: message too long\n" +
		request + "no answer, and not sent again: send on eth0: message too long\n" +
		"frames 5 to 6 not sent: no ARP reply from 198.51.100.9\nframe 7 not sent: other\nframe 9 not sent: other\n" + request + "no answer\n" +
		"frame 10 not sent: other\n" + told +
		"rtt min/avg/max = 0.001/0.002/0.003 ms of 2 answers\n"
	end := SendEnd{Time: time.Unix(0, 0), Duration: 1500 * time.Millisecond, Sent: 2, Answered: 1, Unanswered: 2, Unpaired: 4, Dropped: 5}
	for _, why := range []string{"no ARP reply from 198.51.100.9", "other", "other"} {
		end.Unsent(errors.New(why))
	}
	end.Round(3 * time.Microsecond)
	end.Round(time.Microsecond)
	show := func(s Sender) {
		for _, e := range exchangedKinds() {
			if err := s.Exchanged(&e); err != nil {
				t.Fatal(err)
			}
		}
		for n, why := range []string{"no ARP reply from 198.51.100.9", "no ARP reply from 198.51.100.9", "other", "", "other", "other"} {
			var err error
			if why != "" {
				err = s.NotSent(uint64(5+n), errors.New(why))
			}
			if n == 4 {
				err = errors.Join(err, s.Exchanged(&probe.Exchanged{Request: exchangedKinds()[2].Request}))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := s.End(&end); err != nil {
			t.Fatal(err)
		}
	}
	opts := SendOptions{LinkType: pcapng.LinkEthernet, Answers: true}
	var out bytes.Buffer
	if show(NewSend(&out, opts)); out.String() != want {
		t.Errorf("printed\n%swant\n%s", &out, want)
	}

	out.Reset()
	opts.Quiet = true
	if show(NewSend(&out, opts)); out.String() != told+"first not sent: no ARP reply from 198.51.100.9\n"+want[strings.Index(want, "rtt "):] {
		t.Errorf("printed, asked for the summary alone:\n%s", &out)
	}
	out.Reset()
	if show(NewSendJSON(&out, opts)); strings.Count(out.String(), "\n") != 1 {
		t.Errorf("printed, asked for the summary alone:\n%s", &out)
	}

	out.Reset()
	opts.Quiet, opts.Hex = false, true
	if show(NewSend(&out, opts)); strings.Count(out.String(), "\n\t0000  ") != 8 {
		t.Errorf("printed, with the bytes of 6 requests and 2 answers:\n%s", &out)
	}
}

// Frames in a row are told of when something else is, and what waits is told at the
// end.
func TestSendSettles(t *testing.T) {
	var out bytes.Buffer
	s := NewSend(&out, SendOptions{LinkType: pcapng.LinkEthernet})
	why := errors.New("why")
	for n := range uint64(3) {
		if err := s.NotSent(n+1, why); err != nil || out.Len() > 0 {
			t.Fatalf("%v, printed %q", err, &out)
		}
	}
	for _, step := range []struct {
		do   func() error
		want string
	}{
		{s.Settle, "frames 1 to 3 not sent: why\n"},
		{s.Settle, ""},
		{func() error { return s.NotSent(4, why) }, ""},
		{func() error { return s.End(&SendEnd{NotSent: 4}) }, "frame 4 not sent: why\n0 frames sent, 4 not sent, time 0ms\n"},
	} {
		out.Reset()
		if err := step.do(); err != nil || out.String() != step.want {
			t.Errorf("%v, printed %q, want %q", err, &out, step.want)
		}
	}
}

// Why a frame was not sent is told once, where the summary is all that is told; and
// what was not sent is not unanswered.
func TestSendUnsent(t *testing.T) {
	var e SendEnd
	e.Unsent(errors.New("why"))
	var out bytes.Buffer
	if err := NewSend(&out, SendOptions{Quiet: true}).End(&e); err != nil || out.String() != "0 frames sent, 1 not sent, time 0ms\nnot sent: why\n" {
		t.Errorf("%v, printed %q", err, &out)
	}
	e.Unsent(errors.New("another"))
	opts := SendOptions{LinkType: pcapng.LinkEthernet, Answers: true}
	for _, tt := range []struct {
		do   func(Sender) error
		want string
	}{
		{func(s Sender) error { return s.End(&e) }, `"event":"summary",.*"not_sent":2,"not_sent_reason":"why","queue_full"`},
		{func(s Sender) error { return s.End(&SendEnd{}) }, `"not_sent":0,"queue_full"`},
		{func(s Sender) error { return s.Exchanged(&exchangedKinds()[3]) }, `"event":"not_sent","time":"[^"]*","seq":1,"reason":"send on eth0: message too long","request":`},
		{func(s Sender) error { return s.Exchanged(&exchangedKinds()[4]) }, `"event":"unanswered","time":"[^"]*","seq":1,"tries":1,"reason":"send on eth0: message too long","request":`},
	} {
		out.Reset()
		if err := tt.do(NewSendJSON(&out, opts)); err != nil || !regexp.MustCompile(tt.want).MatchString(out.String()) {
			t.Errorf("%v, printed %q, want %q", err, &out, tt.want)
		}
	}
}

// n frames have n-1 intervals, and of few nothing is said.
func TestSendRate(t *testing.T) {
	for _, tt := range []struct {
		sent uint64
		took time.Duration
		want string
	}{
		{9, 80 * time.Millisecond, "9 frames sent, time 80ms\n"},
		{10, 90 * time.Millisecond, "10 frames sent, time 90ms, 100 a second\n"},
		{1001, time.Second, "1001 frames sent, time 1000ms, 1000 a second\n"},
	} {
		var out bytes.Buffer
		if err := NewSend(&out, SendOptions{}).End(&SendEnd{Sent: tt.sent, Duration: tt.took, Span: tt.took}); err != nil || out.String() != tt.want {
			t.Errorf("%v, printed %q, want %q", err, &out, tt.want)
		}
	}
	e := SendEnd{Sent: 1, Answered: 1, NotSent: 2}
	if got, want := SendStatus(&e, true), "1 frame sent, 1 answered, 0 unanswered, 2 not sent\n"; got != want {
		t.Errorf("so far: %q, want %q", got, want)
	}
}

// What frames hold never breaks a line, and JSON is always valid.
func TestSendOfAnything(t *testing.T) {
	for _, f := range corpusFrames(t) {
		for cut := range min(len(f.Data), 80) {
			data := f.Data[:len(f.Data)-cut]
			e := probe.Exchanged{Request: probe.Request{Seq: 1, Frame: data}, Answered: true, Reply: capture.Frame{Data: data, Length: len(data)}}
			var text, lines bytes.Buffer
			opts := SendOptions{LinkType: f.LinkType, Answers: true, Hex: false}
			if err := errors.Join(NewSend(&text, opts).Exchanged(&e), NewSendJSON(&lines, opts).Exchanged(&e)); err != nil {
				t.Fatal(err)
			}
			if bytes.Count(text.Bytes(), []byte("\n")) != 1 || !bytes.HasSuffix(text.Bytes(), []byte("\n")) {
				t.Errorf("not a line: %q", &text)
			}
			if bytes.Count(lines.Bytes(), []byte("\n")) != 1 || !json.Valid(lines.Bytes()) {
				t.Errorf("no JSON on a line: %q", &lines)
			}
		}
	}
}

// Frames of a dry run are divided by an empty line.
func TestSendDry(t *testing.T) {
	request, _ := arpPair()
	f := craft.Frame{Bytes: request, LinkType: 1}
	var out bytes.Buffer
	s := NewSend(&out, SendOptions{LinkType: pcapng.LinkEthernet})
	if err := errors.Join(s.Frame(1, &f), s.Frame(2, &f)); err != nil {
		t.Fatal(err)
	}
	if dump := craft.Dump(f); out.String() != dump+"\n"+dump {
		t.Errorf("printed\n%s", &out)
	}
}
