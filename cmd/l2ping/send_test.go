//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/capture/pcapng"
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
		{"ARP() --retry x", "not a whole number such as 3, or -3"},
		{"ARP() --retry 1.5", "not a whole number such as 3, or -3"},
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

// What is wrong with a file is told in the words of the capture that reads it.
func TestSendFileWords(t *testing.T) {
	whole, err := os.ReadFile("testdata/capture/words.pcap")
	if err != nil {
		t.Fatal(err)
	}
	ends := 24
	for range 10 { // of which each is whole
		ends += 16 + int(binary.LittleEndian.Uint32(whole[ends+8:]))
	}
	whole = whole[:ends]
	absurd, unbounded := bytes.Clone(whole), bytes.Clone(whole)
	binary.LittleEndian.PutUint32(absurd[24+8:], 1<<31)
	binary.LittleEndian.PutUint32(unbounded[16:], 0)
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	for name, file := range map[string][]byte{
		"cut":            whole[:24+16+30],
		"cut later":      whole[:len(whole)-1],
		"header":         whole[:20],
		"empty":          nil,
		"a few bytes":    []byte("abc"),
		"text":           []byte("GET / HTTP/1.1, and so on, and so forth"),
		"absurd":         absurd,
		"without a most": unbounded,
	} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, file, 0o644); err != nil {
			t.Fatal(err)
		}
		var told [2]string
		var exits [2]int
		for i, args := range [][]string{{"send", "-n", "-q", "-r", path}, {"capture", "-r", path}} {
			_, stderr, exit := runIn(t, pair.Near, command(args...))
			if exit != exitOK {
				lines := slices.Collect(strings.Lines(stderr))
				told[i] = lines[len(lines)-1]
			}
			exits[i] = exit
		}
		if told[0] != told[1] || exits[0] != exits[1] || exits[0] == exitOK && name != "without a most" {
			t.Errorf("%s: send says %q, with exit status %d, and capture %q, with %d", name, told[0], exits[0], told[1], exits[1])
		}
	}
}

// What standard input is read from is not written over either.
func TestSendOverStandardInput(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	name := filepath.Join(t.TempDir(), "digits")
	const digits = "02005e00530202005e00530188b5\n"
	must(t, os.WriteFile(name, []byte(digits), 0o644))
	for _, flag := range []string{"-r", "--hex"} {
		in, err := os.Open(name)
		must(t, err)
		cmd := command("send", "-i", "eth0", flag, "-", "-w", name)
		cmd.Stdin = in
		stdout, stderr, exit := runIn(t, pair.Near, cmd)
		must(t, in.Close())
		if want := "l2ping: " + flag + " - and -w " + name + " are one file\n"; exit != exitError || stdout != "" || stderr != want {
			t.Errorf("%s: exit status %d, %q, %q; want %q", flag, exit, stdout, stderr, want)
		}
	}
	if left, err := os.ReadFile(name); err != nil || string(left) != digits {
		t.Errorf("left %q, %v", left, err)
	}
}

// A read that waits for more does not outlast an interrupt.
func TestSendInterruptedRead(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	file, err := os.ReadFile("testdata/capture/words.pcap")
	must(t, err)
	for _, more := range []string{"-q", "--answers"} {
		in, out, err := os.Pipe()
		must(t, err)
		defer out.Close()
		_, err = out.Write(file[:24+8]) // the frame to come is cut off
		must(t, err)
		cmd := command("send", "-i", "eth0", "--json", "-r", "-", more)
		cmd.Stdin = in
		p, err := start(pair.Near, cmd)
		must(t, errors.Join(err, in.Close()))
		if line, ok := p.stdout.line(); !ok || !strings.Contains(line, `"event":"start"`) {
			t.Fatalf("%s: it begins with %q, %s", more, line, p.stderr)
		}
		must(t, p.signal(unix.SIGINT))
		exit, err := p.wait()
		must(t, err)
		if p.stderr.String() != "" || exit == exitError || !strings.Contains(p.stdout.String(), `"event":"summary"`) {
			t.Errorf("%s: exit status %d, %q\n%s", more, exit, p.stderr, p.stdout)
		}
	}
}

// A file's frames have its times, and begin with what its link types say.
func TestSendFileFrame(t *testing.T) {
	data := []byte{1, 2, 3}
	for _, link := range []pcapng.LinkType{12, 14, 101, 228, 229} {
		f := pcapng.Frame{Frame: capture.Frame{Data: data, Length: 5, Arrival: 1_700_000_000_123_456_789}, LinkType: link}
		got := fileFrame(&f)
		if got.LinkType != layers.LinkTypeRaw || got.Length != 5 || got.Time.UnixNano() != f.Arrival || !bytes.Equal(got.Bytes, data) || &got.Bytes[0] == &data[0] {
			t.Errorf("link type %d: %+v", link, got)
		}
	}
	if got := fileFrame(&pcapng.Frame{Frame: capture.Frame{Data: data}, LinkType: 276}); got.LinkType != layers.LinkTypeLinuxSLL2 || !got.Time.IsZero() {
		t.Errorf("without a time, and of another kind: %+v", got)
	}
}

// Frames that lead nowhere wait for others. So many wait at most, and where there are
// no others one error says it.
func TestSendMaking(t *testing.T) {
	nowhere := passedOver{error: errors.New("nowhere"), nowhere: true}
	silent := passedOver{error: errors.New("silent")}
	for _, tt := range []struct {
		name, in, want string
		why            string
	}{
		{"one", "n", "", "nowhere"},
		{"as many as wait", "nnn", "", "none of 3 frames can be sent: nowhere"},
		{"more than wait", "nnnnn", "nnnnn", "none of 5 frames can be sent: nowhere"},
		{"ahead of others", "nngn", "nngn", ""},
		{"ahead of a silent one", "ns", "ns", ""},
		{"behind others", "gnn", "gnn", ""},
		{"ahead of an error", "nne", "nne", ""},
	} {
		var out strings.Builder
		m := &making{most: 3, yield: func(_ craft.Frame, err error) bool {
			switch {
			case err == nil:
				out.WriteByte('g')
			case leadsNowhere(err):
				out.WriteByte('n')
			case isPassedOver(err):
				out.WriteByte('s')
			default:
				out.WriteByte('e')
			}
			return true
		}}
		errs := map[rune]error{'n': nowhere, 's': silent, 'e': errors.New("another")}
		for i, c := range tt.in {
			if m.next(craft.Frame{}, errs[c]) != (c != 'e') {
				t.Errorf("%s: the %dth ends it, or does not", tt.name, i+1)
			}
		}
		if out.String() != tt.want {
			t.Errorf("%s: %q passed on as %q, want %q", tt.name, tt.in, &out, tt.want)
		}
		if all := m.nowhere == uint64(len(tt.in)); all != (tt.why != "") || all && m.why().Error() != tt.why {
			t.Errorf("%s: %d of %d lead nowhere, want %q", tt.name, m.nowhere, len(tt.in), tt.why)
		}
	}
}

// Frames are in the file soon after they have left: whoever kills the process has them.
func TestSendWritesSoon(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	labtest.StartPeer(t, pair.Far, "eth0", "address 198.51.100.2")
	for _, more := range []string{"-q", "--answers"} {
		name := filepath.Join(t.TempDir(), "pipe")
		must(t, unix.Mkfifo(name, 0o600))
		pipe, err := os.OpenFile(name, os.O_RDWR, 0)
		must(t, err)
		defer pipe.Close()
		p, err := start(pair.Near, command("send", "-i", "eth0", "-c", "0", "--rate", "100", "-w", name, more, `ARP(pdst="198.51.100.2")`))
		must(t, err)
		must(t, pipe.SetReadDeadline(time.Now().Add(hangLimit))) // for want of any
		r, err := pcapng.NewReader(pipe)
		must(t, err)
		n := 0
		for _, err := range r.Frames() {
			must(t, err)
			if n++; n == 5 {
				break
			}
		}
		must(t, p.signal(unix.SIGKILL))
		if _, err := p.wait(); err == nil {
			t.Error("killed, and it ended by itself")
		}
	}
}

// A full disk has what was sent up to then, and how much that is is told, whether the
// sending hears of it or the end.
func TestSendDiskFull(t *testing.T) {
	for _, frames := range []int{110, 10000} {
		d := newDisk(6000)
		w := &sendFile{files: *testFiles(d, captureFiles{name: "f"})}
		must(t, w.begin())
		facts := w.files.first
		var heard error
		for n := 0; n < frames && heard == nil; n++ {
			heard = w.write(numberedFrame(n, 60, origin), &facts, &pcapng.Options{})
		}
		if (heard != nil) != (frames == 10000) {
			t.Fatalf("%d frames: %v", frames, heard)
		}
		err := w.finish(heard)
		written := len(d.files["f"].frames(t))
		want := fmt.Sprintf("write f: no space left on device (%d packets of those sent and received are written)", written)
		if written < 10 || !errors.Is(err, unix.ENOSPC) || err.Error() != want {
			t.Errorf("%d frames: %v, want %s", frames, err, want)
		}
		if other := errors.New("another"); w.finish(other) != other {
			t.Error("what was wrong before is not told alone")
		}
	}
}

// SIGQUIT prints the counts so far.
func TestSendStatus(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	labtest.StartPeer(t, pair.Far, "eth0", "address 198.51.100.2")
	for _, tt := range []struct{ more, want string }{
		{"-q", `^[1-9]\d* frames? sent, [1-9]\d* not sent$`},
		{"--answers", `^[1-9]\d* frames? sent, \d+ answered, \d+ unanswered, [1-9]\d* not sent$`},
	} {
		p, err := start(pair.Near, command("send", "-i", "eth0", "--json", "-c", "0", "--rate", "100", tt.more, "--dst-mac", pair.FarMAC.String(),
			`IP(dst="203.0.113.1")/UDP()`, `IP(dst="198.51.100.2")/UDP()`))
		must(t, err)
		line, ok := p.stdout.line()
		if !ok || !strings.Contains(line, `"event":"start"`) {
			t.Fatalf("%s: it begins with %q, %s", tt.more, line, p.stderr)
		}
		line = ""
		for asked := 0; !regexp.MustCompile(tt.want).MatchString(line); asked++ {
			if asked == 1000 {
				t.Fatalf("%s: %q", tt.more, line)
			}
			must(t, p.signal(unix.SIGQUIT))
			if line, ok = p.stderr.line(); !ok {
				t.Fatalf("%s: it ended: %s", tt.more, p.stderr)
			}
		}
		must(t, p.signal(unix.SIGINT))
		if _, err := p.wait(); err != nil {
			t.Error(err)
		}
	}
}

// A next hop that keeps silent is asked again, and what goes to it is sent once it
// answers. Until then a round takes a second.
func TestSendHopComesLater(t *testing.T) {
	for _, more := range []string{"--json", "--answers"} {
		t.Run(more, func(t *testing.T) {
			t.Parallel()
			pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
			peer := labtest.StartPeer(t, pair.Far, "eth0", "arp: silent")
			p, err := start(pair.Near, command("send", "-i", "eth0", "--json", "-c", "0", "--rate", "1000", more, `IP(dst="198.51.100.2")/ICMP(id=7)`))
			must(t, err)
			var rounds []time.Time
			for len(rounds) < 2 {
				line, ok := p.stdout.line()
				if !ok {
					t.Fatalf("it ended: %s", p.stderr)
				}
				var event struct {
					Event string
					Time  time.Time
				}
				must(t, json.Unmarshal([]byte(line), &event))
				if event.Event == "not_sent" {
					rounds = append(rounds, event.Time)
				}
			}
			// As far as the wall clock is even.
			if apart := rounds[1].Sub(rounds[0]); apart < idlePause*9/10 {
				t.Errorf("two rounds without a frame %v apart", apart)
			}
			answering, err := lab.ParseScript("")
			must(t, err)
			peer.SetScript(answering)
			ctx, cancel := context.WithTimeout(t.Context(), hangLimit)
			defer cancel()
			must(t, peer.Wait(ctx, 3))
			must(t, p.signal(unix.SIGINT))
			if _, err := p.wait(); err != nil {
				t.Error(err)
			}
		})
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
	"vlan": integer, "vlan_priority": integer, "inner_vlan": integer, "inner_vlan_priority": integer,
	"source": address, "destination": address, "protocol": integer, "source_port": integer, "destination_port": integer,
	"layers": texts, "summary!": text, "data": hexadecimal,
}

// sendSchema is what `l2ping send --json` writes.
var sendSchema = schema{
	"start":    {"version!": integer, "interface!": text, "link_type!": text},
	"frame":    sendFrameKeys,
	"not_sent": {"frame": positive, "seq": positive, "reason!": text, "request": object(sendFrameKeys)},
	"answered": {
		"seq!": positive, "tries!": positive, "more": yes, "rtt_ns!": positive,
		"rtt_source!": oneOf("hardware", "driver", "sched", "user"), "request!": object(sendFrameKeys), "reply!": object(sendFrameKeys),
	},
	"unanswered": {"seq!": positive, "tries!": positive, "reason": text, "request!": object(sendFrameKeys)},
	"summary": {
		"sent!": integer, "answered": integer, "unanswered": integer, "unpaired": integer, "kernel_drops": integer,
		"answers": integer, "not_sent!": integer, "not_sent_reason": text, "queue_full!": integer, "duration_ns!": integer,
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
		// One that could not be made, or a request that the kernel did not take.
		if event == "not_sent" && ((e["frame"] == nil) == (e["seq"] == nil) || (e["seq"] == nil) != (e["request"] == nil)) {
			t.Errorf("half of an event: %s", line)
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
