//go:build interop && linux

package interop

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// warning is the least severity of tshark's expert information that is a
// complaint (PI_WARN in epan/proto.h). Below are notes, such as one on a low
// TTL, and chats; they are logged.
const warning = 0x00600000

// fields are what tshark is asked to read.
var fields = []string{
	"eth.src", "eth.dst", "eth.type",
	"ip.src", "ip.dst", "ip.ttl", "ip.dsfield", "ip.len", "ip.flags.df", "ip.flags.mf", "ip.frag_offset", "ip.checksum.status",
	"icmp.type", "icmp.code", "icmp.ident", "icmp.seq", "icmp.checksum.status", "data.data",
	"arp.opcode", "arp.src.hw_mac", "arp.src.proto_ipv4", "arp.dst.hw_mac", "arp.dst.proto_ipv4",
	"frame.protocols", "_ws.malformed", "_ws.expert.severity", "_ws.expert.message",
}

// dissected is what tshark makes of a frame: the fields that it has.
type dissected map[string]string

// sentBy captures what work sends at the far end of a pair, and what the far
// end answers (without which tshark complains), until there are so many of
// each, and has tshark dissect what was sent.
func sentBy(t *testing.T, pair *lab.Pair, frames int, work func()) []dissected {
	t.Helper()
	path := filepath.Join(t.TempDir(), "far.pcap")
	capture := startCapture(t, pair.Far, program(t, "tcpdump"), path)
	work()
	capture.wait(t, pair.NearMAC, frames, frames)
	capture.end(t)
	all := dissect(t, path, "eth.src == "+pair.NearMAC.String(), fields)
	if len(all) != frames {
		t.Errorf("tshark has %d frames, want %d", len(all), frames)
	}
	return all
}

// dissect has tshark read fields of the frames in a capture that a display filter
// lets through.
func dissect(t *testing.T, path, filter string, fields []string) (all []dissected) {
	t.Helper()
	args := []string{
		"-n", "-r", path, "-Y", filter,
		"-o", "ip.check_checksum:TRUE", "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a",
	}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	o := run(t, nil, "", program(t, "tshark"), args...)
	if o.exit != 0 {
		t.Fatal(o)
	}
	for line := range strings.Lines(o.stdout) {
		d := dissected{}
		for i, value := range strings.Split(strings.TrimSuffix(line, "\n"), "\t") {
			if value != "" {
				d[fields[i]] = value
			}
		}
		all = append(all, d)
	}
	return all
}

// capture is a tcpdump at work.
type capture struct {
	cmd    *exec.Cmd
	stderr strings.Builder
	wg     sync.WaitGroup
	once   sync.Once

	mu      sync.Mutex
	frames  [][]byte      // captured, but for MLD
	err     error         // what ended that
	changed chan struct{} // closed and replaced when there are more, or err is set
}

// startCapture captures into a file, on eth0 of a namespace.
func startCapture(t *testing.T, n *lab.Namespace, tcpdump, path string) *capture {
	t.Helper()
	c := &capture{changed: make(chan struct{}), cmd: exec.Command(tcpdump, "-i", "eth0", "-n", "-p", "-Z", "root",
		"--time-stamp-precision=nano", "--immediate-mode", "-U", "-B", "16384", "-w", "-")}
	file, err := os.Create(path)
	must(t, err)
	stdout, err := c.cmd.StdoutPipe()
	must(t, err)
	stderr, err := c.cmd.StderrPipe()
	must(t, err)
	must(t, n.Start(c.cmd))
	t.Cleanup(func() { c.stop() })
	ready := make(chan error, 3)
	c.wg.Go(func() { ready <- c.read(stdout, file, ready) })
	c.wg.Go(func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(&c.stderr, lines.Text())
			if strings.Contains(lines.Text(), "listening on") {
				ready <- nil
			}
		}
	})
	for range 2 { // the file's header, and the socket
		select {
		case err = <-ready:
		case <-time.After(runLimit):
			err = errors.New("not in time")
		}
		if err != nil {
			c.stop()
			t.Fatalf("tcpdump does not listen: %v: %s", err, &c.stderr)
		}
	}
	return c
}

// read reads what tcpdump writes until its end, and copies it into the file. It
// tells when it has the header.
func (c *capture) read(stdout io.Reader, file *os.File, header chan<- error) error {
	both := io.TeeReader(stdout, file)
	r, err := pcapgo.NewReader(both)
	if err == nil {
		header <- nil
	}
	for err == nil {
		var data []byte
		if data, _, err = r.ReadPacketData(); err == nil && !isMLD(data) {
			c.update(func() { c.frames = append(c.frames, data) })
		}
	}
	_, copyErr := io.Copy(io.Discard, both) // tcpdump must not wait for a reader
	err = errors.Join(err, copyErr, file.Close())
	c.update(func() { c.err = err })
	return err
}

// isMLD tells whether a frame is a kernel's own report of its groups: IPv6 with
// hop-by-hop options (RFC 3810, section 5).
func isMLD(b []byte) bool { return len(b) > 20 && b[12] == 0x86 && b[13] == 0xdd && b[20] == 0 }

func (c *capture) update(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.changed)
	c.changed = make(chan struct{})
}

// wait waits until so many frames of a MAC are captured, and so many of others. The
// test fails if they do not come.
func (c *capture) wait(t *testing.T, mac net.HardwareAddr, its, others int) {
	t.Helper()
	c.count(t, its, func(b []byte) bool { return bytes.Equal(b[6:12], mac) })
	c.count(t, others, func(b []byte) bool { return !bytes.Equal(b[6:12], mac) })
}

// have is how many frames that are meant are captured by now.
func (c *capture) have(meant func(b []byte) bool) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.frames {
		if meant(b) {
			n++
		}
	}
	return n
}

// count waits until so many frames that are meant are captured. The test fails if
// they do not come.
func (c *capture) count(t *testing.T, want int, meant func(b []byte) bool) {
	t.Helper()
	limit := time.After(runLimit)
	for {
		c.mu.Lock()
		changed, err := c.changed, c.err
		c.mu.Unlock()
		n := c.have(meant)
		if n >= want {
			return
		}
		if err == nil {
			select {
			case <-changed:
				continue
			case <-limit:
				err = errors.New("no more come")
			}
		}
		t.Errorf("captured %d frames, want %d: %v", n, want, err)
		return
	}
}

// end ends the capture and fails the test if it has lost a frame.
func (c *capture) end(t *testing.T) {
	t.Helper()
	if err := c.stop(); err != nil || !strings.Contains(c.stderr.String(), "\n0 packets dropped by kernel") {
		t.Fatalf("tcpdump: %v: %s", err, &c.stderr)
	}
	if !errors.Is(c.err, io.EOF) {
		t.Fatalf("read the capture: %v", c.err)
	}
}

func (c *capture) stop() (err error) {
	c.once.Do(func() {
		err = c.cmd.Process.Signal(syscall.SIGINT)
		c.wg.Wait()
		if e := c.cmd.Wait(); err == nil {
			err = e
		}
	})
	return err
}

// clean fails the test if tshark has anything to complain of.
func (d dissected) clean(t *testing.T) {
	t.Helper()
	if m, ok := d["_ws.malformed"]; ok {
		t.Errorf("malformed: %s: %v", m, d)
	}
	for severity := range strings.SplitSeq(d["_ws.expert.severity"], ",") {
		n, err := strconv.ParseUint(severity, 0, 32)
		switch {
		case severity == "":
		case err != nil || n >= warning:
			t.Errorf("expert information of severity %s: %s: %v", severity, d["_ws.expert.message"], d)
		default:
			t.Logf("note: %s", d["_ws.expert.message"])
		}
	}
	for _, f := range []string{"ip.checksum.status", "icmp.checksum.status"} {
		if s, ok := d[f]; ok && s != "1" {
			t.Errorf("%s is %s, want 1 (good): %v", f, s, d)
		}
	}
}

// has fails the test if a field is not as wanted; "" is a field that is not
// there. Numbers may be decimal or hexadecimal.
func (d dissected) has(t *testing.T, want dissected) {
	t.Helper()
	for f, w := range want {
		got := d[f]
		if g, err := strconv.ParseUint(got, 0, 64); err == nil {
			if n, err := strconv.ParseUint(w, 0, 64); err == nil && g == n {
				continue
			}
		}
		if got != w {
			t.Errorf("%s is %q, want %q: %v", f, got, w, d)
		}
	}
}

// neighbors makes both ends of a pair know each other for good, so that
// nobody asks.
func neighbors(t *testing.T, pair *lab.Pair) {
	t.Helper()
	must(t, pair.Near.SetNeighbor("eth0", pair.FarIP, pair.FarMAC, lab.Permanent))
	must(t, pair.Far.SetNeighbor("eth0", pair.NearIP, pair.NearMAC, lab.Permanent))
}

// TestProbesAsTsharkReadsThem has what was asked for read back by a stranger.
func TestProbesAsTsharkReadsThem(t *testing.T) {
	pattern := func(hex string, n int) string { return strings.Repeat(hex, n)[:2*n] }
	for _, tt := range []struct {
		name  string
		args  string
		count int // 2 if 0
		size  int
		want  dissected
		data  string // after the first 16 bytes, in hexadecimal
	}{
		{name: "plain", size: 56, want: dissected{"ip.ttl": "64", "ip.dsfield": "0", "ip.flags.df": "1"}, data: "101112131415"},
		{name: "no payload", args: "-s 0"},
		{name: "less than a cookie", args: "-s 3", size: 3},
		{name: "a cookie", args: "-s 8", size: 8},
		{name: "odd", args: "-s 57", size: 57},
		{name: "shorter than Ethernet's least", args: "-s 17", size: 17},
		{name: "just Ethernet's least", args: "-s 18", size: 18},
		{name: "largest", args: "-s 1472", size: 1472, want: dissected{"ip.flags.df": "1"}},
		{name: "pattern", args: "-p ff -s 40", size: 40, data: pattern("ff", 24)},
		{name: "longer pattern", args: "-p 0102030405060708 -s 32", size: 32, data: pattern("0102030405060708", 16)},
		{name: "pattern of zeros", args: "-p 00 -s 24", size: 24, data: pattern("00", 8)},
		{name: "type of service", args: "-Q 184", size: 56, want: dissected{"ip.dsfield": "184"}},
		{name: "all bits of it", args: "-Q 0xff", size: 56, want: dissected{"ip.dsfield": "255"}},
		{name: "TTL", args: "-t 7", size: 56, want: dissected{"ip.ttl": "7"}},
		{name: "TTL of 1", args: "-t 1", size: 56, want: dissected{"ip.ttl": "1"}},
		{name: "TTL of 255", args: "-t 255", size: 56, want: dissected{"ip.ttl": "255"}},
		{name: "do not fragment", args: "-M do", size: 56, want: dissected{"ip.flags.df": "1"}},
		{name: "by path MTU", args: "-M want", size: 56, want: dissected{"ip.flags.df": "1"}},
		{name: "may fragment", args: "-M dont", size: 56, want: dissected{"ip.flags.df": "0"}},
		{name: "id", args: "-e 4711", size: 56, want: dissected{"icmp.ident": "4711"}},
		{name: "id 0", args: "-e 0", size: 56, want: dissected{"icmp.ident": "0"}},
		{name: "id 65535", args: "-e 65535", size: 56, want: dissected{"icmp.ident": "65535"}},
		{name: "many", args: "-d 2ms -q", count: 600, size: 56},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			pair := labtest.NewPair(t, nil)
			neighbors(t, pair)
			count := tt.count
			if count == 0 {
				count = 2
			}
			frames := sentBy(t, pair, count, func() {
				args := append([]string{"-i", "eth0", "-d", "10ms", "-W", patience, "-c", strconv.Itoa(count)}, strings.Fields(tt.args)...)
				o := l2ping(t, pair.Near, append(args, pair.FarIP.String())...)
				if want := fmt.Sprintf("%d packets transmitted, %d received, 0%% packet loss", count, count); o.exit != 0 || !strings.Contains(o.stdout, want) {
					t.Errorf("want %q: %v", want, o)
				}
			})
			for i, f := range frames {
				f.clean(t)
				f.has(t, dissected{
					"eth.src": pair.NearMAC.String(), "eth.dst": pair.FarMAC.String(), "eth.type": "0x0800",
					"ip.src": pair.NearIP.String(), "ip.dst": pair.FarIP.String(),
					"ip.len": strconv.Itoa(28 + tt.size), "ip.flags.mf": "0", "ip.frag_offset": "0", "ip.checksum.status": "1",
					"icmp.type": "8", "icmp.code": "0", "icmp.seq": strconv.Itoa(i + 1), "icmp.checksum.status": "1",
				})
				f.has(t, tt.want)
				if i > 0 && f["icmp.ident"] != frames[0]["icmp.ident"] {
					t.Errorf("the id has changed from %s to %s", frames[0]["icmp.ident"], f["icmp.ident"])
				}
				data := f["data.data"]
				if len(data) != 2*tt.size {
					t.Errorf("%d bytes of data, want %d: %v", len(data)/2, tt.size, f)
				} else if tt.data != "" && !strings.HasPrefix(data[32:], tt.data) {
					t.Errorf("data from byte 16 on are %s, want %s", data[32:], tt.data)
				}
				if t.Failed() {
					t.FailNow()
				}
			}
		})
	}
}

// TestARPAsTsharkReadsIt has our requests read by a stranger: to all when nobody
// knows the next hop, and to it alone when it has to be confirmed.
func TestARPAsTsharkReadsIt(t *testing.T) {
	for _, tt := range []struct {
		name    string
		state   lab.NeighborState // of the kernel's entry; 0: none
		want    dissected
		atFirst bool // the request is the first frame
	}{
		{name: "broadcast", atFirst: true, want: dissected{"eth.dst": "ff:ff:ff:ff:ff:ff", "arp.dst.hw_mac": "00:00:00:00:00:00"}},
		{name: "confirmation", state: lab.Stale, want: dissected{"eth.dst": "02:00:5e:00:53:02"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pair := labtest.NewPair(t, nil)
			must(t, pair.Far.SetNeighbor("eth0", pair.NearIP, pair.NearMAC, lab.Permanent))
			if tt.state != 0 {
				must(t, pair.Near.SetNeighbor("eth0", pair.FarIP, pair.FarMAC, tt.state))
			}
			frames := sentBy(t, pair, 4, func() {
				if o := l2ping(t, pair.Near, "-i", "eth0", "-d", "50ms", "-W", patience, "-c", "3", pair.FarIP.String()); o.exit != 0 {
					t.Error(o)
				}
			})
			requests := 0
			for i, f := range frames {
				f.clean(t)
				if f["arp.opcode"] == "" {
					f.has(t, dissected{"eth.dst": pair.FarMAC.String(), "icmp.type": "8"})
					continue
				}
				requests++
				if tt.atFirst && i > 0 {
					t.Errorf("the request is frame %d", i+1)
				}
				f.has(t, dissected{
					"eth.src": pair.NearMAC.String(), "eth.type": "0x0806", "arp.opcode": "1",
					"arp.src.hw_mac": pair.NearMAC.String(), "arp.src.proto_ipv4": pair.NearIP.String(),
					"arp.dst.proto_ipv4": pair.FarIP.String(),
				})
				f.has(t, tt.want)
			}
			if requests != 1 {
				t.Errorf("%d ARP requests, want 1", requests)
			}
		})
	}
}
