//go:build linux

package main

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// A running is a command with --json whose events are read as they come.
type running struct {
	t testing.TB
	*process
}

func startJSON(t testing.TB, ns *lab.Namespace, args ...string) *running {
	t.Helper()
	p, err := start(ns, command(append([]string{"--json"}, args...)...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.signal(unix.SIGKILL) // does nothing once it has ended
		_, _ = p.wait()
	})
	return &running{t, p}
}

// until returns the next event that is of a kind and that f, if any, takes.
func (r *running) until(kind string, f func(e map[string]any) bool) map[string]any {
	r.t.Helper()
	for {
		line, ok := r.stdout.line()
		if !ok {
			r.t.Fatalf("no more %s events in\n%s\n%s", kind, r.stdout, r.stderr)
		}
		e, err := decodeEvent(line)
		if err != nil {
			r.t.Fatal(err)
		}
		if e["event"] == kind && (f == nil || f(e)) {
			return e
		}
	}
}

// finish waits for the end and returns the summary; the events of the whole run
// have to agree with it.
func (r *running) finish(exit int) map[string]any {
	r.t.Helper()
	got, err := r.wait()
	if err != nil {
		r.t.Fatal(err)
	}
	if got != exit || r.stderr.String() != "" {
		r.t.Errorf("exit status %d, want %d; standard error: %s", got, exit, r.stderr)
	}
	events, err := decodeEvents(r.stdout.String())
	if err != nil {
		r.t.Fatal(err)
	}
	return events[len(events)-1]
}

// interrupt is finish after SIGINT.
func (r *running) interrupt(exit int) map[string]any {
	r.t.Helper()
	if err := r.signal(unix.SIGINT); err != nil {
		r.t.Fatal(err)
	}
	return r.finish(exit)
}

func reasonIs(reason string) func(map[string]any) bool {
	return func(e map[string]any) bool { return e["reason"] == reason }
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An interface that goes down in mid-run makes errors of the probes; the run goes
// on, and recovers with the link.
func TestInterfaceDown(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, nil)
	r := startJSON(t, pair.Near, "-i", "eth0", "-d", "10ms", "198.51.100.2")
	r.until("reply", nil)
	for range 2 {
		must(t, pair.Near.SetDown("eth0"))
		e := r.until("error", reasonIs("eth0: interface is down"))
		if e["message"] != "eth0: interface is down" {
			t.Errorf("%v", e)
		}
		must(t, pair.SetUp())
		r.until("reply", nil)
	}
	r.interrupt(exitOK)
}

// So does the loss of the carrier, by the doing of the other end.
func TestCarrierLoss(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, nil)
	r := startJSON(t, pair.Near, "-i", "eth0", "-d", "10ms", "198.51.100.2")
	r.until("reply", nil)
	must(t, pair.Far.SetDown("eth0"))
	r.until("error", reasonIs("eth0: no carrier"))
	must(t, pair.SetUp())
	r.until("reply", nil)
	r.interrupt(exitOK)
}

// A next hop that nobody has is asked for again and again, so that it is seen
// when it comes up.
func TestNextHopComesUp(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	r := startJSON(t, pair.Near, "-i", "eth0", "-d", "10ms", "198.51.100.2")
	start := r.until("start", nil)
	hop := start["next_hop"].(map[string]any)
	if _, known := hop["mac"]; known || hop["how"] != "none" {
		t.Errorf("next hop %v", hop)
	}
	e := r.until("error", nil)
	if e["message"] != "Destination Host Unreachable" || e["reason"] != "no ARP reply from 198.51.100.2 on eth0" {
		t.Errorf("%v", e)
	}
	peer := labtest.StartPeer(t, pair.Far, "eth0", "")
	reply := r.until("reply", nil)
	if reply["from_mac"] != pair.FarMAC.String() {
		t.Errorf("%v", reply)
	}
	r.interrupt(exitOK)
	for _, q := range peer.Requests() {
		if q.Kind == lab.KindEcho && q.DstMAC.String() != pair.FarMAC.String() {
			t.Errorf("a probe went to %v", q.DstMAC)
		}
	}
}

// A neighbor that takes another MAC is found after two losses, by a request to
// all; no probe is ever sent to all.
func TestNeighborMoves(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	old := labtest.StartPeer(t, pair.Far, "eth0", "")
	r := startJSON(t, pair.Near, "-i", "eth0", "-d", "10ms", "-W", "100ms", "198.51.100.2")
	r.until("reply", nil)

	must(t, old.Close())
	moved := pair.FarMAC.String()[:15] + "77"
	mac, err := net.ParseMAC(moved)
	must(t, err)
	must(t, pair.Far.SetMAC("eth0", mac))
	peer := labtest.StartPeer(t, pair.Far, "eth0", "")
	r.until("lost", nil)
	r.until("lost", nil)
	r.until("reply", func(e map[string]any) bool { return e["from_mac"] == moved })
	r.interrupt(exitOK)

	asked := false
	for _, q := range peer.Requests() {
		all := q.DstMAC.String() == "ff:ff:ff:ff:ff:ff"
		if q.Kind == lab.KindEcho && all {
			t.Errorf("a probe went to all: %+v", q)
		}
		asked = asked || q.Kind == lab.KindARP && all
	}
	if !asked {
		t.Error("nobody asked all for the new MAC")
	}
}

// An interface that is deleted ends no run before its time.
func TestInterfaceDeleted(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, nil)
	r := startJSON(t, pair.Near, "-i", "eth0", "-d", "20ms", "-c", "150", "-W", "500ms", "198.51.100.2")
	r.until("reply", nil)
	must(t, pair.Near.DeleteLink("eth0"))
	e := r.until("error", func(e map[string]any) bool { return strings.Contains(e["reason"].(string), "gone") })
	if e["reason"] != "eth0 is gone: interface is down" {
		t.Errorf("%v", e)
	}
	if s := r.finish(exitOK); count(s["sent"]) != 150 || count(s["errors"]) == 0 {
		t.Errorf("%v", s)
	}
}

// Nobody reads what it prints: the first SIGINT cannot end it, another does.
func TestStalledOutput(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	peer := labtest.StartPeer(t, pair.Far, "eth0", "")
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	defer w.Close()
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize()); err != nil {
		t.Fatal(err)
	}
	cmd := command("-i", "eth0", "-d", "1ms", "198.51.100.2")
	cmd.Stdout = w
	p, err := start(pair.Near, cmd)
	must(t, err)
	// By far more than a page has room for: the probes go on all the same.
	must(t, peer.Wait(t.Context(), 1000))
	// A pace at which the runtime is done with one before the next comes.
	for pace := time.Tick(20 * time.Millisecond); err == nil; <-pace {
		err = p.signal(unix.SIGINT)
	}
	var killed *signalError
	if _, err := p.wait(); !errors.As(err, &killed) || killed.signal != unix.SIGINT {
		t.Errorf("it ended by %v, want SIGINT", err)
	}
}
