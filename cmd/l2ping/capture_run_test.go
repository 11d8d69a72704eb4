//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// A captured is a capture at the near end of a pair, whose far end sends what the
// test wants.
type captured struct {
	*process
	t    *testing.T
	pair *lab.Pair
	peer *lab.Peer
}

// startCapture starts one, and waits until it hears.
func startCapture(t *testing.T, stdout io.Writer, args ...string) *captured {
	t.Helper()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	c := &captured{t: t, pair: pair, peer: labtest.StartPeer(t, pair.Far, "eth0", "")}
	cmd := command(append([]string{"capture", "-i", "eth0"}, args...)...)
	if stdout != nil {
		cmd.Stdout = stdout
	}
	c.start(cmd)
	return c
}

// start starts a command that captures, and waits until it hears.
func (c *captured) start(cmd *exec.Cmd) {
	c.t.Helper()
	p, err := start(c.pair.Near, cmd)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		_ = p.signal(unix.SIGKILL)
		_, _ = p.wait()
	})
	c.process = p
	if slices.Contains(cmd.Args, "--json") {
		c.expect(c.stdout, `"event":"start"`)
	} else {
		c.expect(c.stderr, `^listening on eth0, link-type EN10MB \(Ethernet\), snapshot length (1 byte|\d+ bytes)$`)
	}
}

func (c *captured) expect(o *output, re string) {
	c.t.Helper()
	if err := o.match(regexp.MustCompile(re)); err != nil {
		c.t.Fatalf("%v\nstandard error:\n%s", err, c.stderr)
	}
}

// send sends frames that hold their number, from first on.
func (c *captured) send(first, n, length int) {
	c.t.Helper()
	for i := range n {
		f := numberedFrame(0, length, origin).Data
		copy(f, c.pair.NearMAC)
		copy(f[6:], c.pair.FarMAC)
		copy(f[12:], "\x88\xb5")
		copy(f[14:], fmt.Sprintf("%06d", first+i))
		if err := c.peer.Inject(f); err != nil {
			c.t.Fatal(err)
		}
	}
}

// end interrupts it, and checks what it ends with.
func (c *captured) end(exit int, counted string) {
	c.t.Helper()
	if err := c.signal(unix.SIGINT); err != nil {
		c.t.Fatal(err)
	}
	c.ends(exit, counted)
}

func (c *captured) ends(exit int, counted string) {
	c.t.Helper()
	got, err := c.wait()
	if err != nil || got != exit || !regexp.MustCompile(counted).MatchString(c.stderr.String()) {
		c.t.Fatalf("exit status %d, %v, want %d and %s; standard error:\n%s", got, err, exit, counted, c.stderr)
	}
}

// counts are tcpdump's last lines where nothing was dropped.
func counts(n int) string {
	return fmt.Sprintf("(?m)^%d packets captured\n%[1]d packets received by filter\n0 packets dropped by kernel\n\\z", n)
}

// numbers are those of the frames in a whole file. CPUs may let frames overtake.
func numbers(t *testing.T, r io.Reader) (list []int) {
	t.Helper()
	in, err := pcapng.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	for f, err := range in.Frames() {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, numberOf(t, f.Data))
	}
	slices.Sort(list)
	return list
}

func numberOf(t *testing.T, data []byte) int {
	t.Helper()
	n, err := strconv.Atoi(string(data[14:20]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func numbersOfFile(t *testing.T, path string) []int {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	return numbers(t, file)
}

// upTo are the numbers from 0 to before n.
func upTo(n int) (list []int) {
	for i := range n {
		list = append(list, i)
	}
	return list
}

// An interrupt leaves everything in the file, and so does the end of the interface.
func TestCaptureWrites(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		end  func(c *captured)
	}{
		{"SIGINT", func(c *captured) { c.end(exitOK, counts(200)) }},
		{"SIGTERM", func(c *captured) {
			if err := c.signal(unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			c.ends(exitOK, counts(200))
		}},
		{"SIGHUP", func(c *captured) {
			if err := c.signal(unix.SIGHUP); err != nil {
				t.Fatal(err)
			}
			c.ends(exitOK, counts(200))
		}},
		{"gone", func(c *captured) {
			if err := c.pair.Near.DeleteLink("eth0"); err != nil {
				t.Fatal(err)
			}
			c.ends(exitError, "(?m)^200 packets captured\n200 packets received by filter\n0 packets dropped by kernel\n"+
				"l2ping: capture on eth0: the interface is gone\n\\z")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "f.pcapng")
			c := startCapture(t, nil, "-w", path)
			c.send(0, 200, 60)
			tt.end(c)
			if got := numbersOfFile(t, path); !slices.Equal(got, upTo(200)) {
				t.Errorf("%v", got)
			}
			if c.stdout.String() != "" {
				t.Errorf("printed %s", c.stdout)
			}
		})
	}
}

// Who reads the file's frames from a pipe, or its lines, has them while the capture
// goes on, and -c ends it.
func TestCaptureFlushes(t *testing.T) {
	t.Parallel()
	t.Run("pcapng", func(t *testing.T) {
		t.Parallel()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		c := startCapture(t, w, "-w", "-", "-c", "3")
		w.Close()
		in, err := pcapng.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		c.send(0, 1, 60)
		next := 0
		for f, err := range in.Frames() {
			if err != nil {
				t.Fatal(err)
			}
			if got := numberOf(t, f.Data); got != next || f.PacketType != capture.PacketHost {
				t.Errorf("frame %d: %+v", got, f)
			}
			if next++; next < 3 {
				c.send(next, 1, 60)
			}
		}
		if next != 3 {
			t.Errorf("%d frames", next)
		}
		c.ends(exitOK, counts(3))
	})
	t.Run("text", func(t *testing.T) {
		t.Parallel()
		c := startCapture(t, nil, "-c", "2")
		c.send(0, 1, 60)
		const line = `^\d\d:\d\d:\d\d\.\d{9} In  02:00:5e:00:53:02 > 02:00:5e:00:53:01, ethertype Unknown \(0x88b5\), length 60$`
		c.expect(c.stdout, line)
		c.send(1, 1, 60)
		c.expect(c.stdout, line)
		c.ends(exitOK, counts(2))
	})
	t.Run("json", func(t *testing.T) {
		t.Parallel()
		c := startCapture(t, nil, "--json", "-x")
		c.send(0, 1, 60)
		c.expect(c.stdout, `"event":"frame",.*"packet_type":"host","direction":"in","length":60,"captured":60,.*"data":"02005e005301`)
		c.end(exitOK, `\A\z`)
		if _, err := decodeCapture(c.stdout.String()); err != nil {
			t.Error(err)
		}
	})
}

// SIGUSR1 and SIGQUIT tell how many frames there are, and it goes on.
func TestCaptureStatus(t *testing.T) {
	t.Parallel()
	c := startCapture(t, nil)
	for n, s := range []unix.Signal{unix.SIGUSR1, unix.SIGQUIT, unix.SIGUSR1} {
		c.send(n, 1, 60)
		c.expect(c.stdout, "length 60")
		if err := c.signal(s); err != nil {
			t.Fatal(err)
		}
		plural := "s"
		if n == 0 {
			plural = ""
		}
		c.expect(c.stderr, fmt.Sprintf("^%d packet%s captured$", n+1, plural))
		c.expect(c.stderr, fmt.Sprintf("^%d packet%s received by filter$", n+1, plural))
		c.expect(c.stderr, "^0 packets dropped by kernel$")
	}
	c.end(exitOK, counts(3))
}

// Files by size hold everything, and none of them is too long.
func TestCaptureRotates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := startCapture(t, nil, "-w", filepath.Join(dir, "f"), "-C", "1")
	const frames = 3000
	c.send(0, frames, 1000)
	c.end(exitOK, counts(frames))
	var all []int
	for _, name := range []string{"f", "f1", "f2", "f3"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 1e6 || info.Size() < 990_000 && name != "f3" || info.Mode().Perm()&0o111 != 0 {
			t.Errorf("%s: %d bytes, %v", name, info.Size(), info.Mode())
		}
		all = append(all, numbersOfFile(t, filepath.Join(dir, name))...)
	}
	slices.Sort(all)
	if !slices.Equal(all, upTo(frames)) {
		t.Errorf("%d frames", len(all))
	}
}

// Files by time: there are as many as were asked for, then it ends, by itself.
func TestCaptureRotatesByTime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := startCapture(t, nil, "-w", filepath.Join(dir, "f-%s-%%"), "-G", "1", "-W", "2")
	c.send(0, 1, 60)
	c.ends(exitOK, `(?m)^1 packet captured\n1 packet received by filter\n0 packets dropped by kernel\n\z`)
	paths, err := filepath.Glob(filepath.Join(dir, "f-*-%"))
	if err != nil || len(paths) != 2 {
		t.Fatalf("%q, %v", paths, err)
	}
	if all := append(numbersOfFile(t, paths[0]), numbersOfFile(t, paths[1])...); len(all) != 1 {
		t.Errorf("%v", all)
	}
}

// What nobody reads is dropped by the kernel, and said; what is read is whole.
func TestCaptureStalls(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := startCapture(t, w, "-w", "-")
	w.Close()
	// More than the ring has room for.
	c.send(0, 60_000, 1514)
	if err := c.signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	got := numbers(t, r)
	if exit, err := c.wait(); exit != exitOK || err != nil {
		t.Fatalf("exit status %d, %v: %s", exit, err, c.stderr)
	}
	m := regexp.MustCompile(`(?m)^(\d+) packets captured\n(\d+) packets received by filter\n(\d+) packets dropped by kernel\n\z`).FindStringSubmatch(c.stderr.String())
	if m == nil {
		t.Fatal(c.stderr)
	}
	var n [3]int
	for i := range n {
		n[i], _ = strconv.Atoi(m[i+1])
	}
	if n[0] != len(got) || n[0]+n[2] != n[1] || n[2] == 0 || n[0] < 1000 {
		t.Errorf("%v, and %d frames", n, len(got))
	}
}

// Filters, directions, tags, lengths and other hosts' frames.
func TestCaptureSelects(t *testing.T) {
	t.Parallel()
	foreign := []byte{0x02, 0, 0x5e, 0, 0x53, 0x77, 0x02, 0, 0x5e, 0, 0x53, 2, 0x88, 0xb6}
	foreign = append(foreign, make([]byte, 46)...)
	tag := func(b []byte) []byte { return slices.Insert(bytes.Clone(b), 12, 0x81, 0, 0x60, 100) }
	for _, tt := range []struct {
		args string
		want []string // behind the times
	}{
		{"", []string{
			"P   02:00:5e:00:53:02 > 02:00:5e:00:53:77, ethertype Unknown (0x88b6), length 60",
			"P   vlan 100, p 3, 02:00:5e:00:53:02 > 02:00:5e:00:53:77, ethertype Unknown (0x88b6), length 64",
			"In  02:00:5e:00:53:02 > 02:00:5e:00:53:01, ethertype Unknown (0x88b5), length 100",
		}},
		{"-Q out", nil},
		{"ether dst 02:00:5e:00:53:77 and vlan 100", []string{
			"P   vlan 100, p 3, 02:00:5e:00:53:02 > 02:00:5e:00:53:77, ethertype Unknown (0x88b6), length 64",
		}},
		{"-e -s 20 -x vlan and ether proto 0x88b6", []string{
			"P   02:00:5e:00:53:02 > 02:00:5e:00:53:77, ethertype 802.1Q (0x8100), length 64: vlan 100, p 3, ethertype Unknown (0x88b6), 46 bytes",
			"\t0000  02 00 5e 00 53 77 02 00  5e 00 53 02 81 00 60 64  |..^.Sw..^.S...`d|",
			"\t0010  88 b6 00 00 00 00 00 00                           |........|",
		}},
		{"greater 100", []string{"In  02:00:5e:00:53:02 > 02:00:5e:00:53:01, ethertype Unknown (0x88b5), length 100"}},
	} {
		t.Run(tt.args, func(t *testing.T) {
			t.Parallel()
			c := startCapture(t, nil, strings.Fields(tt.args)...)
			// CPUs may let frames overtake: the next only when the last was seen.
			seen := 0
			for _, b := range [][]byte{foreign, tag(foreign)} {
				if err := c.peer.Inject(b); err != nil {
					t.Fatal(err)
				}
				if len(tt.want) == 3 && tt.args == "" {
					c.expect(c.stdout, regexp.QuoteMeta(tt.want[seen])+"$")
					seen++
				}
			}
			c.send(0, 1, 100)
			if seen > 0 {
				c.expect(c.stdout, regexp.QuoteMeta(tt.want[seen])+"$")
			}
			c.end(exitOK, `(?m)^\d packets? captured$`)
			var got []string
			for line := range strings.Lines(c.stdout.String()) {
				if line = strings.TrimSuffix(line, "\n"); !strings.HasPrefix(line, "\t") {
					_, line, _ = strings.Cut(line, " ")
				}
				got = append(got, line)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q\nwant %q", got, tt.want)
			}
		})
	}
}

// The interface hears other hosts' frames as long as the capture runs, but for -p.
// A veth hands them over in any case.
func TestCapturePromiscuous(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]int{"": 1, "-p": 0} {
		c := startCapture(t, nil, strings.Fields(args)...)
		promiscuous := func() int {
			link, err := c.pair.Near.Handle().LinkByName("eth0")
			if err != nil {
				t.Fatal(err)
			}
			return link.Attrs().Promisc
		}
		if got := promiscuous(); got != want {
			t.Errorf("%q: promiscuity %d, want %d", args, got, want)
		}
		c.end(exitOK, `(?m)^0 packets captured$`)
		if got := promiscuous(); got != 0 {
			t.Errorf("%q: promiscuity %d afterwards", args, got)
		}
	}
}

// A capture needs CAP_NET_RAW, and nothing else; a file needs nothing.
func TestCaptureCapabilities(t *testing.T) {
	t.Parallel()
	labtest.RequireRoot(t)
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	peer := labtest.StartPeer(t, pair.Far, "eth0", "")
	stdout, stderr, exit := runIn(t, pair.Near, asUser(command("capture", "-i", "eth0"), allBut(t, cap.NET_RAW)...))
	if stdout != "" || stderr != permissionLine(executable()) || exit != exitError {
		t.Errorf("exit status %d\n%s%s", exit, stdout, stderr)
	}
	p, err := start(pair.Near, asUser(command("capture", "-i", "eth0", "-c", "1", "ether proto 0x88b5"), cap.NET_RAW))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.stderr.match(regexp.MustCompile("^listening on eth0")); err != nil {
		t.Fatal(err)
	}
	c := &captured{process: p, t: t, pair: pair, peer: peer}
	c.send(0, 1, 60)
	c.ends(exitOK, `(?m)^1 packet captured$`)
	file, err := os.Open(wordsFile)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := asUser(command("capture", "-r", "-", "-c", "5"))
	cmd.Stdin = file
	if stdout, stderr, exit := runIn(t, pair.Near, cmd); exit != exitOK || strings.Count(stdout, "\n") != 5 {
		t.Errorf("exit status %d\n%s%s", exit, stdout, stderr)
	}
}

// Where there is no link layer frames begin with their IP header, in lines, filters
// and files.
func TestCaptureNoLink(t *testing.T) {
	t.Parallel()
	ns := labtest.NewNamespace(t)
	tun := labtest.AddTun(t, ns, "tun0")
	if err := ns.SetUp("tun0"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "f.pcapng")
	p, err := start(ns, command("capture", "-i", "tun0", "-c", "1", "-e", "-w", path, "--print", "icmp", "and", "dst", "198.51.100.2"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.stderr.match(regexp.MustCompile(`^listening on tun0, link-type RAW \(Raw IP\), snapshot length 262144 bytes$`)); err != nil {
		t.Fatal(err)
	}
	packet := []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 198, 51, 100, 1, 198, 51, 100, 2, 8, 0, 0, 0, 0, 7, 0, 1}
	if _, err := tun.Write(packet); err != nil {
		t.Fatal(err)
	}
	if exit, err := p.wait(); exit != exitOK || err != nil {
		t.Fatalf("exit status %d, %v: %s", exit, err, p.stderr)
	}
	const line = "In  IP 198.51.100.1 > 198.51.100.2: ICMP echo request, id 7, seq 1, length 8\n"
	if !strings.HasSuffix(p.stdout.String(), " "+line) {
		t.Errorf("%s", p.stdout)
	}
	stdout, stderr, exit := runCapture(t, "", "-r", path, "icmp[0] = 8")
	if exit != exitOK || !strings.HasSuffix(stdout, " "+line) || !strings.Contains(stderr, "link-type RAW (Raw IP)") {
		t.Errorf("exit status %d\n%s%s", exit, stdout, stderr)
	}
}

// Lines of what comes by a pipe are there as it comes.
func TestCaptureReadsPipe(t *testing.T) {
	t.Parallel()
	ns := labtest.NewNamespace(t)
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	cmd := command("capture", "-r", "-")
	cmd.Stdin = in
	p, err := start(ns, cmd)
	if err := errors.Join(err, in.Close()); err != nil {
		t.Fatal(err)
	}
	w, err := pcapng.NewWriter(feed, nil, pcapng.Interface{Name: "eth0", LinkType: pcapng.LinkEthernet})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		f := numberedFrame(n, 60, origin)
		if err := errors.Join(w.Write(&f.Frame, nil), w.Flush()); err != nil {
			t.Fatal(err)
		}
		if err := p.stdout.match(regexp.MustCompile(" In .*length 60$")); err != nil {
			t.Fatalf("%v: %s", err, p.stderr)
		}
	}
	if err := feed.Close(); err != nil {
		t.Fatal(err)
	}
	if exit, err := p.wait(); exit != exitOK || err != nil {
		t.Errorf("exit status %d, %v: %s", exit, err, p.stderr)
	}
	if n := strings.Count(p.stdout.String(), "\n"); n != 3 {
		t.Errorf("%d lines", n)
	}
}
