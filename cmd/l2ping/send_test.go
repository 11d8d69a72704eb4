//go:build linux

package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/l2ping/l2ping/cmd/l2ping/internal/craft"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2/frame"
)

// What does not go together is said before anything is opened.
func TestSendUsage(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"", "nothing to send: "},
		{"-r f --hex 00", "from one of them"},
		{"-r f ARP()", "from one of them"},
		{"-r f --vlan 5", "fill in what expressions leave out"},
		{"--hex 00 -S 198.51.100.1", "fill in what expressions leave out"},
		{"ARP() --replay", "only the frames of a file"},
		{"-r f --replay --rate 5", "--replay and --rate"},
		{"-r - -c 2", "can be read once"},
		{"ARP() -n --answers", "--dry-run sends nothing"},
		{"ARP() -n -c 2", "--dry-run sends nothing"},
		{"ARP() -n -w f", "--dry-run sends nothing"},
		{"ARP() -W 1", "--answers waits for them"},
		{"ARP() --retry -1", "--answers waits for them"},
		{"ARP() --multi", "--answers waits for them"},
		{"ARP() --promiscuous", "--answers waits for them"},
		{"ARP() --answers --rate 100001", "100000 a second at most"},
		{"ARP() --src-mac 01:00:5e:00:00:01", "a group sends nothing"},
		{"ARP() -w -", "standard output has the lines"},
		{"ARP() --rate 0", "not a number of frames a second"},
		{"ARP() --rate NaN", "not a number of frames a second"},
		{"ARP() --rate 1e9", "not a number of frames a second"},
		{"ARP() --retry x", "invalid argument"},
	} {
		var out, errs bytes.Buffer
		e := &env{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, interrupted: t.Context(), release: func() {}}
		exit := run(e, append([]string{"send", "-i", "nosuch"}, strings.Fields(tt.args)...))
		if exit != exitError || out.Len() > 0 || strings.Count(errs.String(), "\n") != 1 || !strings.Contains(errs.String(), tt.want) ||
			!strings.Contains(errs.String(), "(l2ping send --help tells more)") {
			t.Errorf("%q: exit status %d, %q; want 2 and %q", tt.args, exit, errs.String(), tt.want)
		}
	}
}

func TestSendTag(t *testing.T) {
	const macs = "02005e00530202005e005301"
	for _, tt := range []struct{ tags, in, want string }{
		{"5", macs + "080045", macs + "81000005" + "080045"},
		{"200.3,100", macs + "080045", macs + "88a860c8" + "81000064" + "080045"},
		{"5", macs + "81000007" + "0800", macs + "81000007" + "0800"},
		{"5", macs + "88a80007" + "0800", macs + "88a80007" + "0800"},
		{"5", macs + "08", macs + "08"},
	} {
		tags, err := parseVLANs(tt.tags)
		if err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(tt.in)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(tag(b, tags)); got != tt.want {
			t.Errorf("%s with %s: %s, want %s", tt.in, tt.tags, got, tt.want)
		}
	}
}

// A frame that is late does not make others late, and each round of a replay begins
// when its first frame leaves.
func TestSendPace(t *testing.T) {
	at := time.Unix(1000, 0)
	p := pace{interval: time.Second / 3, rate: 3}
	for i, want := range []time.Duration{0, 333333333, 666666666, time.Second, 1333333333} {
		if got := p.due(at.Add(time.Duration(i)*time.Hour), time.Time{}).Sub(at); got != want {
			t.Errorf("frame %d is due after %v, want %v", i+1, got, want)
		}
	}
	p = pace{replay: true}
	for round := range 2 {
		began := at.Add(time.Duration(round) * time.Hour)
		p.round()
		if due := p.due(began, time.Unix(7, 0)); !due.IsZero() {
			t.Errorf("round %d: the first frame is due at %v, want at once", round, due)
		}
		for _, own := range []time.Duration{time.Second, 500 * time.Millisecond} {
			if got := p.due(began.Add(time.Minute), time.Unix(7, 0).Add(own)).Sub(began); got != own {
				t.Errorf("round %d: a frame is due after %v, want %v", round, got, own)
			}
		}
		if due := p.due(began, time.Time{}); !due.IsZero() {
			t.Errorf("a frame without a time is due at %v", due)
		}
	}
	if p = (pace{}); !p.due(at, at).IsZero() {
		t.Error("without a pace frames are due at once")
	}
}

// TestSendSweep holds that each of many next hops gets its own MAC, though their
// tables are given up while the hops are waited for.
func TestSendSweep(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	labtest.StartPeer(t, pair.Far, "eth0", "address 198.51.100.0/24 own-macs")
	// Goroutines go to the namespace by its path, for their threads are in none of ours.
	s := &sending{sendFlags: &sendFlags{source: sourceFlags{name: "eth0", netns: pair.Near.Path()}, rounds: 1}, e: &env{stderr: io.Discard}, ctx: t.Context()}
	x, err := craft.Parse(`IP(dst="198.51.100.64/26", src="198.51.100.1")/UDP()`)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.source.inNetns(s.open); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	s.way.most = 3
	n, dst := 0, netip.MustParseAddr("198.51.100.64")
	for f, err := range s.way.frames(t.Context(), x) {
		if err != nil {
			t.Fatalf("frame %d: %v", n+1, err)
		}
		ip := dst.As4()
		if got, want := frame.MAC(f.Bytes[:6]), (frame.MAC{2, 0x53, ip[0], ip[1], ip[2], ip[3]}); got != want {
			t.Errorf("frame to %s: MAC %s, want %s", dst, got, want)
		}
		dst = dst.Next()
		n++
	}
	if n != 64 {
		t.Errorf("%d frames, want 64", n)
	}
}

// A file that ends within a frame gives those ahead of it, and one line.
func TestSendTruncatedFile(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	whole, err := os.ReadFile("testdata/capture/words.pcap")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "cut.pcap")
	if err := os.WriteFile(name, whole[:24+16+30], 0o644); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, exit := runIn(t, pair.Near, command("send", "-i", "eth0", "-r", name))
	if want := "l2ping: " + name + ": after 0 frames: the file ends in the middle of a frame\n"; stdout != "" || stderr != want || exit != exitError {
		t.Errorf("exit status %d, %q, %q; want %q", exit, stdout, stderr, want)
	}
}

// A dry run needs no capability, what is sent needs one.
func TestSendPrivilege(t *testing.T) {
	labtest.RequireRoot(t)
	pair := labtest.NewPair(t, nil)
	args := []string{"send", "-i", "eth0", `IP(dst="198.51.100.2")/ICMP(id=7)`}
	if stdout, stderr, exit := runIn(t, pair.Near, asUser(command(append(args, "-n")...))); exit != 0 || !strings.Contains(stdout, "Id        7") {
		t.Errorf("dry run: exit status %d, %q, %q", exit, stdout, stderr)
	}
	for _, more := range []string{"--answers", "-q"} {
		stdout, stderr, exit := runIn(t, pair.Near, asUser(command(append(args, more)...)))
		if exit != exitError || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "needs CAP_NET_RAW") {
			t.Errorf("%s: exit status %d, %q, %q", more, exit, stdout, stderr)
		}
	}
}

// sendFrameKeys are those of a frame.
var sendFrameKeys = map[string]check{
	"length!": positive, "source_mac": mac, "destination_mac": mac, "ether_type": positive,
	"vlan": positive, "vlan_priority": positive, "inner_vlan": positive, "inner_vlan_priority": positive,
	"source": address, "destination": address, "protocol": integer, "source_port": integer, "destination_port": integer,
	"layers": texts, "summary!": text, "data": hexadecimal,
}

// sendSchema is what `l2ping send --json` writes.
var sendSchema = schema{
	"start":    {"version!": integer, "interface!": text, "link_type!": text},
	"frame":    sendFrameKeys,
	"not_sent": {"frame!": positive, "reason!": text},
	"answered": {
		"seq!": positive, "tries!": positive, "more": yes, "rtt_ns!": positive,
		"rtt_source!": oneOf("hardware", "driver", "sched", "user"), "request!": object(sendFrameKeys), "reply!": object(sendFrameKeys),
	},
	"unanswered": {"seq!": positive, "tries!": integer, "reason": text, "request!": object(sendFrameKeys)},
	"summary": {
		"sent!": integer, "answered": integer, "unanswered": integer, "unpaired": integer, "kernel_drops": integer,
		"not_sent!": integer, "queue_full!": integer, "duration_ns!": integer,
		"rtt_ns": object(map[string]check{"min!": positive, "mean!": positive, "max!": positive}),
	},
}

// decodeSend decodes what `l2ping send --json` has written, and counts its events.
func decodeSend(t *testing.T, out string) map[string]int {
	t.Helper()
	counts := make(map[string]int)
	for line := range strings.Lines(out) {
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber()
		var e map[string]any
		if err := d.Decode(&e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		event, _ := e["event"].(string)
		if sendSchema[event] == nil {
			t.Fatalf("no event %q: %s", event, line)
		}
		keys := maps.Clone(sendSchema[event])
		keys["event!"] = text
		if event != "frame" {
			keys["time!"] = text
		} else {
			keys["seq!"] = positive
		}
		if err := checkKeys(e, keys); err != nil {
			t.Errorf("%v in %s", err, line)
		}
		counts[event]++
	}
	return counts
}

// Every event is as it is documented.
func TestSendJSON(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	expressions := []string{
		"send", "-i", "eth0", "--json", "-x", "--dst-mac", pair.FarMAC.String(), "--vlan", "0.5",
		`IP(dst=["198.51.100.2", "198.51.100.1"])/ICMP(id=7)`, `ARP(pdst="198.51.100.9")`,
	}
	stdout, stderr, exit := runIn(t, pair.Near, command(append(expressions, "--answers", "-W", "300ms")...))
	got := decodeSend(t, stdout)
	if want := map[string]int{"start": 1, "answered": 1, "unanswered": 1, "not_sent": 1, "summary": 1}; !maps.Equal(got, want) || exit != 0 || stderr != "" {
		t.Errorf("exit status %d, %q, %v; want %v in\n%s", exit, stderr, got, want, stdout)
	}
	stdout, stderr, exit = runIn(t, pair.Near, command(expressions...))
	got = decodeSend(t, stdout)
	if want := map[string]int{"start": 1, "not_sent": 1, "summary": 1}; !maps.Equal(got, want) || exit != exitNoReply || stderr != "" {
		t.Errorf("exit status %d, %q, %v; want %v in\n%s", exit, stderr, got, want, stdout)
	}
	stdout, _, exit = runIn(t, pair.Near, command("send", "-n", "--json", "--hex", "02005e00530202005e00530188b5"))
	if got := decodeSend(t, stdout); got["frame"] != 1 || exit != 0 {
		t.Errorf("exit status %d, %v in\n%s", exit, got, stdout)
	}
}
