//go:build linux

package probe

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
)

var update = flag.Bool("update", false, "write the seeds of the fuzz target anew")

// busy is an engine with probes in every state: 1 lost, 2 answered, 3 failed,
// 4 late, 5 lost after a corrupted reply, 6 to 10 out.
func busy(t testing.TB) *still {
	w := newStill(t, settings{timeout: 5 * time.Second, evidence: true})
	tick := func(d time.Duration, frames ...[]byte) {
		w.pass(d)
		for _, b := range frames {
			w.incoming = append(w.incoming, capture.Frame{Data: b, Length: len(b), Arrival: w.at.wall})
		}
		w.step()
	}
	tick(0) // sends 1, and each second another
	for range 4 {
		tick(time.Second)
	}
	corrupted := replyTo(w.frames[4])
	corrupted.badICMP = true
	tick(time.Second, replyTo(w.frames[1]).bytes(), errorFor(w.frames[2], 3, 1).bytes(), corrupted.bytes())
	for range 4 {
		tick(time.Second)
	}
	tick(time.Millisecond, replyTo(w.frames[3]).bytes())
	w.stampsIn = []l2.Stamp{{ID: 10, Point: l2.StampDriver, Time: w.at.wall}}
	checkInvariants(t, w.engine)
	if s := w.snapshot(); s.Sent != 10 || s.Received != 1 || s.Late != 1 || s.Errors != 1 || s.Lost != 3 || s.Pending != 5 {
		t.Fatalf("the engine is not as busy as it should be: %s", brief(&s))
	}
	w.events.read(nil)
	return w
}

// mend makes the checksums of a frame right, so that mutations get behind them.
func mend(b []byte) {
	if len(b) < icmpAt+8 || b[14]>>4 != 4 {
		return
	}
	ip := b[14:]
	header, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if header < 20 || total < header+8 || total > len(ip) {
		return
	}
	for _, part := range []struct {
		b  []byte
		at int
	}{{ip[:header], 10}, {ip[header:total], 2}} {
		binary.BigEndian.PutUint16(part.b[part.at:], 0)
		binary.BigEndian.PutUint16(part.b[part.at:], slowChecksum(part.b))
	}
}

// FuzzPair brings hostile frames to an engine that has probes out.
func FuzzPair(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte, mended bool, stamp int64, tagged bool, tci uint16) {
		if mended {
			mend(data)
		}
		w := busy(t)
		before := w.snapshot()
		if stamp != 0 {
			stamp += w.at.wall // small numbers are near the truth
		}
		fr := capture.Frame{Data: data, Length: len(data), Arrival: stamp, VLAN: capture.VLAN{Present: tagged, TCI: tci}}
		w.incoming = []capture.Frame{fr, fr}
		w.step()
		checkInvariants(t, w.engine)
		w.pass(stampPatience)
		w.step() // tells what waits for stamps
		checkInvariants(t, w.engine)
		w.pass(time.Minute)
		w.step() // which loses the rest
		checkInvariants(t, w.engine)
		if len(w.held) > 0 {
			t.Errorf("%d replies are held for ever", len(w.held))
		}

		s := w.snapshot()
		if s.Rejected < before.Rejected+2 { // an error counts once
			judge(t, w, data, tagged)
		}
		if s.Received > before.Received+1 || s.Rejected > before.Rejected+2 {
			t.Errorf("one frame twice made %d replies and %d rejects", s.Received-before.Received, s.Rejected-before.Rejected)
		}
		if s.Received+s.Late != s.RTT.Count || s.RTT.Min < 0 || s.RTT.Stddev() < 0 {
			t.Errorf("%d replies, %d RTTs from %v on", s.Received+s.Late, s.RTT.Count, s.RTT.Min)
		}
		w.events.close()
		log, _ := w.events.read(nil)
		for _, ev := range log {
			if ev.Seq < 1 || ev.Seq > s.Sent {
				t.Errorf("%s, of %d sent", describe(&ev), s.Sent)
			}
			if b := ev.Reply.Budget; ev.Kind == Replied && min(b.Send, b.Queue, b.Wire, b.Receive) < Unknown {
				t.Errorf("budget %+v", b)
			}
		}
	})
}

// judge is a second opinion on a frame that the engine has taken.
func judge(t *testing.T, w *still, data []byte, tagged bool) {
	t.Helper()
	if tagged || len(data) < 14+20+8 {
		t.Fatal("taken: a frame with a tag, or too short")
	}
	ip := data[14:]
	header := int(ip[0]&15) * 4
	icmp := ip[header:binary.BigEndian.Uint16(ip[2:])]
	if slowChecksum(ip[:header]) != 0 {
		t.Error("taken: a frame with a wrong IP checksum")
	}
	if icmp[0] == 0 {
		if string(icmp[8:16]) != string(cookie[:]) || binary.BigEndian.Uint16(icmp[4:]) != probeID || [4]byte(ip[12:16]) != farIP.As4() {
			t.Error("taken: a reply that is not ours")
		}
		return
	}
	quoted := icmp[8:]
	message := quoted[int(quoted[0]&15)*4:]
	n := binary.BigEndian.Uint16(message[6:])
	if n < 1 || uint64(n) > w.stats.Sent || slowChecksum(icmp) != 0 {
		t.Fatalf("taken: an error for probe %d", n)
	}
	sent := w.frames[n-1]
	if string(message[:8]) != string(sent[icmpAt:icmpAt+8]) {
		t.Error("taken: an error that quotes what was not sent")
	}
}

// seeds are one frame for each way through pair.
func seeds(t testing.TB) map[string][]byte {
	w := busy(t)
	all := map[string][]byte{}
	for n, state := range map[int]string{1: "lost", 2: "answered", 3: "failed", 4: "late", 10: "out"} {
		request := w.frames[n-1]
		all["reply-"+state] = replyTo(request).bytes()
		all["unreachable-"+state] = errorFor(request, 3, 1).bytes()
		all["redirect-"+state] = errorFor(request, 5, 1).bytes()
	}
	out := w.frames[9]
	change := func(name string, f func(p *packet)) {
		p := replyTo(out)
		f(&p)
		all[name] = p.bytes()
	}
	change("reply-truncated", func(p *packet) { p.body = p.body[:8] })
	change("reply-longer", func(p *packet) { p.body = append(p.body, make([]byte, 100)...) })
	change("reply-mismatch", func(p *packet) { p.body[40]++ })
	change("reply-number", func(p *packet) { p.body[15]-- })
	change("reply-corrupted", func(p *packet) { p.badICMP = true })
	change("reply-ip-checksum", func(p *packet) { p.badIP = true })
	change("reply-cookie", func(p *packet) { p.body[0]++ })
	change("reply-to-come", func(p *packet) { p.setSeq(11) })
	change("reply-fragment", func(p *packet) { p.moreFragments = true })
	for name, typ := range map[string]byte{"time-exceeded": 11, "parameter-problem": 12} {
		p := errorFor(out, typ, 0)
		p.rest = [4]byte{20, 0, 5, 0x78}
		all[name] = p.bytes()
	}
	p := errorFor(out, 3, 4)
	p.rest = [4]byte{0, 0, 5, 0x78}
	all["fragmentation-needed"] = p.bytes()
	p.body = append([]byte{0x46}, p.body[1:20]...)
	p.body = append(append(p.body, 1, 1, 1, 1), out[icmpAt:icmpAt+8]...)
	all["quote-with-options"] = p.bytes()
	p.body = p.body[:24]
	all["quote-short"] = p.bytes()
	all["own-request"] = out
	all["empty"] = nil
	return all
}

// TestSeeds holds the committed seeds against what the engine makes of frames
// now; go test -run Seeds -update writes them.
func TestSeeds(t *testing.T) {
	dir := filepath.Join("testdata", "fuzz", "FuzzPair")
	if *update {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, b := range seeds(t) {
		text := fmt.Appendf(nil, "go test fuzz v1\n[]byte(%q)\nbool(%v)\nint64(%d)\nbool(false)\nuint16(0)\n", b, name != "reply-ip-checksum" && name != "reply-corrupted", -int64(toUser))
		path := filepath.Join(dir, name)
		if *update {
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != string(text) {
			t.Errorf("%s is not what it should be (go test -run Seeds -update writes it): %v", path, err)
		}
	}
}
