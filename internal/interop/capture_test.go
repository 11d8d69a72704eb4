//go:build interop && linux

package interop

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// captureWords is a frame of each kind that `l2ping capture` has words for.
const captureWords = "../../cmd/l2ping/testdata/capture/words.pcap"

// captureLines are what is printed of frames, without times and what belongs to a
// line before.
func captureLines(text string) (list []string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "\t") {
			list = append(list, strings.TrimRight(line, " \n"))
		}
	}
	return list
}

// otherWords are those that differ from tcpdump's, of which each has its reason: all
// is on one line, lengths are told, and more of what tcpdump keeps for -v.
var otherWords = regexp.MustCompile(strings.Join([]string{
	`Reverse ARP`, `protocol 47 port unreachable`, `BOOTP/DHCP`, `VXLAN`, `AH\(`, `ip-proto-253`, `PIM`, `sctp`, `multicast listener query`,
	`unreachable, (unreachable prohibited|source address failed|reject route)`, `time exceeded \(reassembly\)`, `DSTOPT`, `srcrt`,
	`no next header`, `dhcp6`, `^vlan `, `MACsec`, `PPPoE`, `fragment`, `ethertype Unknown`,
}, "|"))

// What we print of frames is what tcpdump prints.
func TestCaptureWords(t *testing.T) {
	tcpdump := program(t, "tcpdump")
	cut := regexp.MustCompile(`^\S+ \? +`)
	ours := captureLines(run(t, nil, "", os.Getenv(commandVar), "capture", "-r", captureWords).stdout)
	// Of VXLAN tcpdump has the inner frame on a line of its own.
	inner := regexp.MustCompile(`(VXLAN, [^\n]*)\n`)
	theirs := captureLines(inner.ReplaceAllString(run(t, nil, "", tcpdump, "-n", "-S", "-t", "-r", captureWords).stdout, "$1: "))
	if len(ours) != len(theirs) {
		t.Fatalf("%d lines, and tcpdump has %d:\n%s", len(ours), len(theirs), strings.Join(theirs, "\n"))
	}
	same := 0
	for i := range ours {
		got := cut.ReplaceAllString(ours[i], "")
		switch want := theirs[i]; {
		case got == want:
			same++
		case !otherWords.MatchString(got):
			t.Errorf("frame %d:\n%s\ntcpdump says\n%s", i+1, got, want)
		}
	}
	t.Logf("%d of %d lines are tcpdump's", same, len(ours))
	if same < 95 {
		t.Errorf("%d lines are tcpdump's", same)
	}
}

// Two captures beside each other, ours and tcpdump's, have the same frames, which
// tcpdump and tshark read from our file; and a filter passes the same.
func TestCaptureBesideTcpdump(t *testing.T) {
	tcpdump, tshark := program(t, "tcpdump"), program(t, "tshark")
	// Of a frame the kernel has taken the outer tag off before a filter looks.
	for filter, want := range map[string]int{"": 90, "arp": 60, "vlan and arp dst host 198.51.100.1": 30, "greater 63": 30} {
		t.Run(filter, func(t *testing.T) {
			pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
			peer := labtest.StartPeer(t, pair.Far, "eth0", "")
			dir := t.TempDir()
			theirs, ours := filepath.Join(dir, "tcpdump.pcap"), filepath.Join(dir, "l2ping.pcapng")
			args := []string{"capture", "-i", "eth0", "-w", ours}
			own := listen(t, pair.Near, os.Getenv(commandVar), append(args, strings.Fields(filter)...)...)
			args = []string{"-i", "eth0", "-n", "-Z", "root", "--time-stamp-precision=nano", "--immediate-mode", "-U", "-B", "16384",
				"-c", strconv.Itoa(want), "-w", theirs}
			other := listen(t, pair.Near, tcpdump, append(args, strings.Fields(filter)...)...)
			for i := range 90 {
				b := arpRequest(byte(i % 3))
				for range i % 3 {
					b = slices.Insert(b, 12, 0x81, 0, 0x60, byte(i))
				}
				must(t, peer.Inject(b))
			}
			other.ends(t)
			counted := own.end(t)
			a, b := readFrames(ours), readFrames(theirs)
			if len(a) != want || !slices.EqualFunc(a, b, bytes.Equal) {
				t.Errorf("%d frames, tcpdump has %d, want %d", len(a), len(b), want)
			}
			if last := fmt.Sprintf("%d packets captured\n%[1]d packets received by filter\n0 packets dropped by kernel\n", want); !strings.HasSuffix(counted, last) {
				t.Errorf("%s", counted)
			}
			prints := func(path string) string {
				o := run(t, nil, "", tcpdump, "-n", "-t", "-e", "-r", path)
				if o.exit != 0 {
					t.Error(o)
				}
				return o.stdout
			}
			if a, b := prints(theirs), prints(ours); a != b {
				t.Errorf("of its own:\n%s\nof ours:\n%s", a, b)
			}
			o := run(t, nil, "", tshark, "-n", "-r", ours, "-T", "fields", "-e", "frame.interface_name", "-e", "_ws.malformed", "-e", "_ws.expert.message")
			if o.exit != 0 || !onlyRoot(o.stderr) || o.stdout != strings.Repeat("eth0\t\t\n", want) {
				t.Errorf("%v", o)
			}
		})
	}
}

// listener is a capture at work.
type listener struct {
	cmd    *exec.Cmd
	stderr *told
}

// told is standard error, and says when something is listened to.
type told struct {
	text      bytes.Buffer
	listening chan struct{}
}

func (s *told) Write(b []byte) (int, error) {
	before := bytes.Contains(s.text.Bytes(), []byte("listening on"))
	s.text.Write(b)
	if !before && bytes.Contains(s.text.Bytes(), []byte("listening on")) {
		close(s.listening)
	}
	return len(b), nil
}

func listen(t *testing.T, n *lab.Namespace, path string, args ...string) *listener {
	t.Helper()
	l := &listener{cmd: exec.Command(path, args...), stderr: &told{listening: make(chan struct{})}}
	l.cmd.Stderr = l.stderr
	must(t, n.Start(l.cmd))
	select {
	case <-l.stderr.listening:
	case <-time.After(runLimit):
		t.Errorf("%s does not listen", path)
		_ = l.cmd.Process.Kill()
	}
	t.Cleanup(func() { _ = l.cmd.Process.Kill() })
	return l
}

// end interrupts it, and returns what it has told.
func (l *listener) end(t *testing.T) string {
	t.Helper()
	must(t, l.cmd.Process.Signal(unix.SIGINT))
	return l.ends(t)
}

// ends waits for its end.
func (l *listener) ends(t *testing.T) string {
	t.Helper()
	limit := time.AfterFunc(runLimit, func() { _ = l.cmd.Process.Kill() })
	defer limit.Stop()
	if err := l.cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, &l.stderr.text)
	}
	return l.stderr.text.String()
}

// readFrames are the frames of a file, as far as it is written.
func readFrames(path string) (all [][]byte) {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	r, err := pcapng.NewReader(file)
	if err != nil {
		return nil
	}
	for f, err := range r.Frames() {
		if err != nil {
			break
		}
		all = append(all, bytes.Clone(f.Data))
	}
	slices.SortFunc(all, bytes.Compare) // CPUs let frames overtake
	return all
}

// What tcpdump and tshark have written, we read, as they read ours.
func TestCaptureReadsOthers(t *testing.T) {
	tcpdump := program(t, "tcpdump")
	editcap := filepath.Join(filepath.Dir(program(t, "tshark")), "editcap")
	dir := t.TempDir()
	want := captureLines(run(t, nil, "", os.Getenv(commandVar), "capture", "-r", captureWords).stdout)
	rewritten, ng, gz := filepath.Join(dir, "a.pcap"), filepath.Join(dir, "b.pcapng"), filepath.Join(dir, "c.pcap.gz")
	must(t, exec.Command(tcpdump, "-r", captureWords, "--time-stamp-precision=nano", "-w", rewritten).Run())
	must(t, exec.Command(editcap, "-F", "pcapng", captureWords, ng).Run())
	zipped, err := exec.Command("gzip", "-c", captureWords).Output()
	must(t, err)
	must(t, os.WriteFile(gz, zipped, 0o600))
	for _, path := range []string{rewritten, ng, gz} {
		o := run(t, nil, "", os.Getenv(commandVar), "capture", "-r", path)
		if got := captureLines(o.stdout); o.exit != 0 || !slices.Equal(got, want) {
			t.Errorf("%s: %d lines, want %d: %s", path, len(got), len(want), o.stderr)
		}
		o = run(t, nil, "", os.Getenv(commandVar), "capture", "-r", path, "--json", "icmp6")
		if n := strings.Count(o.stdout, `"event":"frame"`); o.exit != 0 || n < 20 || !strings.Contains(o.stdout, `"captured":`+strconv.Itoa(n)+`,"duration_ns"`) {
			t.Errorf("%s: %d frames: %s", path, n, o.stderr)
		}
	}
}
