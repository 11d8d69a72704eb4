//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// startSend starts `l2ping send` with --json, and returns when it sends.
func startSend(t *testing.T, pair *lab.Pair, args ...string) *process {
	t.Helper()
	p, err := start(pair.Near, command(append([]string{"send", "-i", "eth0", "--json"}, args...)...))
	must(t, err)
	if line, ok := p.stdout.line(); !ok || !strings.Contains(line, `"event":"start"`) {
		t.Fatalf("it begins with %q, %s", line, p.stderr)
	}
	return p
}

// ends holds how it ends, and returns its summary.
func (p *process) ends(t *testing.T, exit int, stderr string) (summary map[string]any) {
	t.Helper()
	got, err := p.wait()
	must(t, err)
	if got != exit || !regexp.MustCompile(`\A`+stderr+`\z`).MatchString(p.stderr.String()) {
		t.Errorf("exit status %d, want %d; %q, want %q", got, exit, p.stderr, stderr)
	}
	decodeSend(t, p.stdout.String())
	lines := slices.Collect(strings.Lines(p.stdout.String()))
	d := json.NewDecoder(strings.NewReader(lines[len(lines)-1]))
	d.UseNumber()
	must(t, d.Decode(&summary))
	if summary["event"] != "summary" {
		t.Errorf("it ends with %v", summary)
	}
	return summary
}

// within bounds what waits for a command that may have ended.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), hangLimit)
	t.Cleanup(cancel)
	return ctx
}

const sweepARP = `ARP(pdst="198.51.100.2")`

// The carrier is missed while frames are sent that nobody answers: without one they
// are lost without an error.
func TestSendCarrierLoss(t *testing.T) {
	t.Parallel()
	for _, pace := range []string{"100", "100000000", "0.0001"} {
		pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
		peer := labtest.StartPeer(t, pair.Far, "eth0", "arp: silent")
		p := startSend(t, pair, "-c", "0", "--rate", pace, sweepARP)
		must(t, peer.WaitARP(within(t), 1))
		must(t, pair.Far.SetDown("eth0"))
		if s := p.ends(t, exitError, "l2ping: send on eth0: the interface has no carrier\n"); count(s["sent"]) < 1 {
			t.Errorf("--rate %s: %v", pace, s)
		}
	}
}

// request asks for 198.51.100.2 by ARP.
var request = []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x5e\x00\x53\x01\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01" +
	"\x02\x00\x5e\x00\x53\x01\xc6\x33\x64\x01\x00\x00\x00\x00\x00\x00\xc6\x33\x64\x02")

// An interface that is deleted in a gap of a replay ends that.
func TestSendDeletedInGap(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "file")
	writeFrames(t, name, time.Hour, request, request)
	for _, more := range []string{"-q", "--answers"} {
		pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
		peer := labtest.StartPeer(t, pair.Far, "eth0", "")
		p := startSend(t, pair, "--replay", "-r", name, more)
		must(t, peer.WaitARP(within(t), 1))
		must(t, pair.Near.DeleteLink("eth0"))
		if s := p.ends(t, exitError, "l2ping: send on eth0: the interface is gone\n"); count(s["sent"]) != 1 {
			t.Errorf("%s: %v", more, s)
		}
	}
}

// An interface that is deleted while a pipe is waited for ends that.
func TestSendDeletedWhilePipeWaits(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	writeFrames(t, file, 0, request)
	frames, err := os.ReadFile(file)
	must(t, err)
	for _, more := range []string{"-q", "--answers"} {
		pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
		peer := labtest.StartPeer(t, pair.Far, "eth0", "")
		name := makeFIFO(t)
		p := startSend(t, pair, "-r", name, more)
		w := openWriter(t, name)
		defer w.Close()
		_, err := w.Write(frames)
		must(t, err)
		must(t, peer.WaitARP(within(t), 1))
		must(t, pair.Near.DeleteLink("eth0"))
		if s := p.ends(t, exitError, "l2ping: send on eth0: the interface is gone\n"); count(s["sent"]) != 1 {
			t.Errorf("%s: %v", more, s)
		}
	}
}

// Lines that nobody reads end the sending, also of one that writes to a file.
func TestSendOutputGone(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	r, w, err := os.Pipe()
	must(t, err)
	// Of each round one frame is left out, and told of.
	cmd := command("send", "-i", "eth0", "--json", "-c", "0", "--rate", "100", "-w", filepath.Join(t.TempDir(), "f.pcapng"),
		sweepARP, `Ether(dst="02:00:5e:00:53:02")/IP(dst="203.0.113.1")`)
	cmd.Stdout = w
	p, err := start(pair.Near, cmd)
	must(t, err)
	must(t, errors.Join(w.Close(), r.Close()))
	exit, err := p.wait()
	must(t, err)
	if want := "l2ping: write the output: broken pipe\n"; exit != exitError || p.stderr.String() != want {
		t.Errorf("exit status %d, %q, want %q", exit, p.stderr, want)
	}
}

// What an interrupt keeps from being sent was not sent, but of rounds without end.
func TestSendInterruptedStatus(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	for _, tt := range []struct {
		exit int
		args []string
	}{
		{exitNoReply, []string{"-c", "1000000", "--rate", "100", sweepARP}},
		{exitNoReply, []string{"--rate", "100", `ARP(pdst="198.51.100.2", psrc="198.18.0.0/15")`}},
		{exitOK, []string{"-c", "0", "--rate", "100", sweepARP}},
		// Of each round one frame is left out.
		{exitNoReply, []string{"-c", "0", "--rate", "100", sweepARP, `Ether(dst="02:00:5e:00:53:02")/IP(dst="203.0.113.1")`}},
	} {
		peer := labtest.StartPeer(t, pair.Far, "eth0", "arp: silent")
		p := startSend(t, pair, tt.args...)
		must(t, peer.WaitARP(within(t), 3)) // the last of them alone may not be counted yet
		must(t, p.signal(unix.SIGINT))
		if s := p.ends(t, tt.exit, ""); count(s["sent"]) < 2 {
			t.Errorf("%v: %v", tt.args, s)
		}
		must(t, peer.Close())
	}
	// A dry run has the statuses of sending.
	name := makeFIFO(t)
	p, err := start(pair.Near, command("send", "-n", "-r", name))
	must(t, err)
	w := openWriter(t, name)
	must(t, p.signal(unix.SIGINT))
	exit, err := p.wait()
	must(t, errors.Join(err, w.Close()))
	if exit != exitNoReply || p.stderr.String() != "" {
		t.Errorf("dry run: exit status %d, %q", exit, p.stderr)
	}
}

// An MTU that is lowered while frames are sent is told of as one that was low before.
// Where answers are waited for, the frames that it keeps back are not unanswered.
func TestSendMTULowered(t *testing.T) {
	t.Parallel()
	// What the peer answers is short: it is not kept back.
	const long = `ARP(pdst="198.51.100.2")/("x"*200)`
	const why = "a frame of 242 bytes is longer than the MTU, 100, with the header: 114"
	begin := func(args ...string) *process {
		pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
		peer := labtest.StartPeer(t, pair.Far, "eth0", "")
		p, err := start(pair.Near, command(append([]string{"send", "-i", "eth0", "-c", "0", "--rate", "100"}, args...)...))
		must(t, err)
		must(t, peer.WaitARP(within(t), 2))
		must(t, pair.Near.SetMTU("eth0", 100))
		return p
	}
	p := begin("--json", long)
	p.ends(t, exitError, `l2ping: frame \d+: `+why+`\n`)
	p = begin("--json", "Ether(type=0x88b5)", long)
	p.ends(t, exitError, `l2ping: frame \d+, of expression 2: `+why+`\n`)

	p = begin("--json", "--answers", "-W", "60s", long)
	must(t, p.stdout.match(regexp.MustCompile(`"event":"not_sent",.*"seq":\d+,"reason":"`+why+`","request":`)))
	must(t, p.signal(unix.SIGINT))
	s := p.ends(t, exitNoReply, "")
	events := decodeSend(t, p.stdout.String())
	if events["answered"] < 1 || events["not_sent"] < 1 || s["not_sent_reason"] != why {
		t.Errorf("%v, %v", events, s)
	}
	for _, kind := range []string{"answered", "unanswered", "not_sent"} {
		if count(s[kind]) != int64(events[kind]) {
			t.Errorf("%v %s, and %d events", s[kind], kind, events[kind])
		}
	}

	p = begin("-q", "--answers", "-W", "60s", long)
	refused := regexp.MustCompile(` unanswered, [1-9]\d* not sent$`)
	line, ok := "", true
	for asked := 0; !refused.MatchString(line); asked++ {
		if asked == 10000 {
			t.Fatalf("%q", line)
		}
		must(t, p.signal(unix.SIGQUIT))
		if line, ok = p.stderr.line(); !ok {
			t.Fatalf("it ended: %s", p.stderr)
		}
	}
	must(t, p.signal(unix.SIGINT))
	exit, err := p.wait()
	must(t, err)
	want := fmt.Sprintf(`\A\d+ frames sent, \d+ answered, \d+ unanswered, \d+ not sent, time \d+ms\n(first )?not sent: %s\nrtt .*\n\z`, why)
	if exit != exitNoReply || !regexp.MustCompile(want).MatchString(p.stdout.String()) {
		t.Errorf("exit status %d, %q, want %q", exit, p.stdout, want)
	}
}
