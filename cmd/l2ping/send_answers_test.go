//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// udpServer answers UDP datagrams at the far end, on a port, with what answer makes
// of each: any number of datagrams. It has ended when the test has.
func udpServer(t *testing.T, pair *lab.Pair, port int, answer func(q []byte) [][]byte) {
	t.Helper()
	c := labtest.OpenIn(t, pair.Far, func() (*net.UDPConn, error) {
		return net.ListenUDP("udp4", &net.UDPAddr{IP: pair.FarIP.AsSlice(), Port: port})
	})
	done := make(chan error)
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				done <- nil
				return
			}
			if err != nil {
				done <- err
				return
			}
			for _, a := range answer(b[:n]) {
				if _, err := c.WriteToUDPAddrPort(a, from); err != nil {
					done <- err
					return
				}
			}
		}
	}()
	t.Cleanup(func() {
		if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
}

// An answer of the DNS goes with the question that has its id, where ports and
// addresses do not tell them apart.
func TestSendDNS(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	var held [][]byte
	udpServer(t, pair, 53, func(q []byte) [][]byte {
		if len(q) < 12 {
			return nil
		}
		a := append([]byte(nil), q...)
		a[2] |= 0x80
		wrong := append([]byte(nil), a...)
		binary.BigEndian.PutUint16(wrong, 0xdead)
		// The last question is answered first, and something else ahead of all.
		if held = append([][]byte{a}, held...); len(held) < 3 {
			return nil
		}
		all := append([][]byte{wrong}, held...)
		held = nil
		return all
	})
	stdout, stderr, exit := runIn(t, pair.Near, command("send", "-i", "eth0", "--answers", "-W", "30s",
		`IP(dst="198.51.100.2")/UDP(sport=4000)/DNS(id=[7, 8, 9], qd=DNSQR(qname="example.org"))`))
	if exit != exitOK || stderr != "" || !strings.Contains(stdout, "3 frames sent, 3 answered, 0 unanswered, ") {
		t.Fatalf("exit status %d, %q\n%s", exit, stderr, stdout)
	}
	at := -1
	for _, id := range []int{9, 8, 7} {
		line := fmt.Sprintf("IP 198.51.100.1.4000 > 198.51.100.2.53: %d+ A? example.org. (29) -> IP 198.51.100.2.53 > 198.51.100.1.4000: %d", id, id)
		i := strings.Index(stdout, line)
		if i < 0 || i < at {
			t.Errorf("no line %q, or not in its place, in\n%s", line, stdout)
		}
		at = i
	}
}

// An answer to an address that is not this host's goes elsewhere: that is told, once,
// unless -S has it answered for.
func TestSendForeignSource(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{IPv6: true})
	const arp = "l2ping: 198.51.100.77 is no address of this host: answers to it find us with -S 198.51.100.77, which answers ARP for it\n"
	const ndp = "l2ping: 2001:db8:1::77 is no address of this host: answers to it find us with -S 2001:db8:1::77, which answers neighbor solicitations for it\n"
	const off = "l2ping: 203.0.113.7 is no address of this host: answers to it go elsewhere\n"
	for _, tt := range []struct {
		name, want string
		exit       int
		args       []string
	}{
		{"own", "", exitOK, []string{`IP(src="198.51.100.1", dst="198.51.100.2")/ICMP()`}},
		{"foreign", arp, exitNoReply, []string{`IP(src="198.51.100.77", dst="198.51.100.2")/ICMP()`}},
		{"several", arp, exitOK, []string{`IP(src=["198.51.100.1", "198.51.100.77", "198.51.100.78"], dst="198.51.100.2")/ICMP()`}},
		{"tagged", arp, exitNoReply, []string{`Ether(dst="02:00:5e:00:53:02")/Dot1Q(vlan=5)/IP(src="198.51.100.77", dst="198.51.100.2")/ICMP()`}},
		{"IPv6", ndp, exitNoReply, []string{`IPv6(src="2001:db8:1::77", dst="2001:db8:1::2")/ICMPv6EchoRequest()`}},
		{"off the link", off, exitNoReply, []string{`IP(src="203.0.113.7", dst="198.51.100.2")/ICMP()`}},
		{"digits", off, exitNoReply, []string{"--hex", "02005e00530202005e00530108004500001c000100004001bc23cb007107c63364020800f7f800070000"}},
		{"nowhere", "", exitNoReply, []string{`Ether(dst="ff:ff:ff:ff:ff:ff")/IP(src="0.0.0.0", dst="255.255.255.255")/UDP(sport=68, dport=67)`}},
		// These say themselves what MAC to answer to.
		{"ARP", "", exitOK, []string{`ARP(psrc="198.51.100.79", pdst="198.51.100.2")`}},
		{"neighbor discovery", "", exitOK, []string{`IPv6(src="2001:db8:1::79", dst="2001:db8:1::2")/ICMPv6ND_NS(tgt="2001:db8:1::2")/ICMPv6NDOptSrcLLAddr(lladdr="02:00:5e:00:53:01")`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, exit := runIn(t, pair.Near, command(append([]string{"send", "-i", "eth0", "--answers", "-W", "200ms"}, tt.args...)...))
			if stderr != tt.want || exit != tt.exit {
				t.Errorf("exit status %d, %q, want %q and %d\n%s", exit, stderr, tt.want, tt.exit, stdout)
			}
		})
	}
	// The peer has never asked for this one.
	stdout, stderr, exit := runIn(t, pair.Near, command("send", "-i", "eth0", "--answers", "-W", "30s", "-S", "198.51.100.80",
		`IP(src="198.51.100.80", dst="198.51.100.2")/ICMP()`))
	if stderr != "" || exit != exitOK {
		t.Errorf("exit status %d, %q\n%s", exit, stderr, stdout)
	}
}

// Frames bear the mark of --mark, whether they are paired or not; past the queueing
// discipline they are paired too.
func TestSendMark(t *testing.T) {
	for _, more := range [][]string{nil, {"--answers"}} {
		pair := labtest.NewPair(t, nil)
		next := labtest.HearMark(t, pair.Near, "eth0", 0xf0000005)
		args := append([]string{"send", "-i", "eth0", "--mark", "0xf0000005", `IP(dst="198.51.100.2")/ICMP(id=7)`}, more...)
		stdout, stderr, exit := runIn(t, pair.Near, command(args...))
		if exit != exitOK || stderr != "" {
			t.Fatalf("%v: exit status %d, %q\n%s", more, exit, stderr, stdout)
		}
		p := gopacket.NewPacket(next(time.Minute), layers.LayerTypeEthernet, gopacket.Default)
		if p.Layer(layers.LayerTypeICMPv4) == nil {
			t.Errorf("%v: the first frame with the mark is\n%s", more, p)
		}
	}
	pair := labtest.NewPair(t, nil)
	stdout, stderr, exit := runIn(t, pair.Near, command("send", "-i", "eth0", "--answers", "--no-qdisc", `IP(dst="198.51.100.2")/ICMP(seq=(1, 100))`))
	if exit != exitOK || stderr != "" || !strings.Contains(stdout, "100 frames sent, 100 answered, ") {
		t.Errorf("exit status %d, %q\n%s", exit, stderr, stdout)
	}
}

// An interrupt in the middle leaves what was found, and the summary.
func TestSendInterrupt(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	p, err := start(pair.Near, command("send", "-i", "eth0", "--answers", "--json", "--rate", "200", "-W", "30s",
		`IP(dst=["198.51.100.2"], id=(1, 65535))/ICMP(id=7)`))
	must(t, err)
	answered := 0
	for answered < 5 {
		line, ok := p.stdout.line()
		if !ok {
			t.Fatalf("it ended: %s", p.stderr)
		}
		if strings.Contains(line, `"event":"answered"`) {
			answered++
		}
	}
	must(t, p.signal(unix.SIGINT))
	exit, err := p.wait()
	must(t, err)
	counts := decodeSend(t, p.stdout.String())
	if exit != exitOK || p.stderr.String() != "" || counts["summary"] != 1 || counts["answered"] < 5 || counts["answered"] > 60000 {
		t.Errorf("exit status %d, %q, %v", exit, p.stderr, counts)
	}
}

// A set of millions is made frame by frame: the memory does not grow with it.
func TestSendMemory(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	peak := func(expression string) int64 {
		t.Helper()
		cmd := command("send", "-i", "eth0", "-q", `Ether(dst="02:00:5e:00:53:02")/`+expression)
		stdout, stderr, exit := runIn(t, pair.Near, cmd)
		if exit != exitOK || stderr != "" {
			t.Fatalf("exit status %d, %q, %s", exit, stderr, stdout)
		}
		return cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	}
	few := peak(`IP(src="198.18.0.0/32", dst="198.51.100.2")/UDP(sport=(1, 4))`)
	many := peak(`IP(src="198.18.0.0/20", dst="198.51.100.2")/UDP(sport=(1, 64))`)
	if many > few+16<<10 {
		t.Errorf("%d KiB for 262144 frames, %d for 4", many, few)
	}
	// And it does not wait for the last one to exist.
	stdout, stderr, exit := runIn(t, pair.Near, command("send", "-i", "eth0", "-n", "-q", "--dst-mac", "02:00:5e:00:53:02", `IP(dst="198.51.100.2")/UDP(sport=(1, 65535))`))
	if exit != exitOK || stdout != "" || stderr != "" {
		t.Errorf("exit status %d, %q, %q", exit, stdout, stderr)
	}
}

// An expression that makes one frame makes it anew now and then: a time in it goes on.
func TestSendRounds(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	name := filepath.Join(t.TempDir(), "f.pcapng")
	stdout, stderr, exit := runIn(t, pair.Near, command("send", "-i", "eth0", "-c", "100", "--rate", "1000", "-w", name,
		`Ether(dst="02:00:5e:00:53:02")/IP(dst="198.51.100.2")/ICMP(type=13)`, `Ether(dst="02:00:5e:00:53:02")/IP(dst="198.51.100.2", id=[1, 2])/ICMP()`))
	if exit != exitOK || stderr != "" || !strings.HasPrefix(stdout, "300 frames sent, ") {
		t.Fatalf("exit status %d, %q, %s", exit, stderr, stdout)
	}
	stdout, _, exit = runIn(t, pair.Near, command("send", "-n", "--json", "-r", name))
	if exit != exitOK {
		t.Fatalf("exit status %d", exit)
	}
	times, ids := map[string]bool{}, map[string]int{}
	for line := range strings.Lines(stdout) {
		_, data, _ := strings.Cut(line, `"data":"`)
		// Behind the Ethernet header, the IP header's id, and ICMP's time.
		ids[data[2*18:2*20]]++
		if icmp := data[2*34:]; strings.HasPrefix(icmp, "0d") {
			times[icmp[16:24]] = true
		}
	}
	// The last one was made 297 ms after the first, or later.
	if len(times) < 2 || ids["0001"] != 200 || ids["0002"] != 100 {
		t.Errorf("%d times, and ids %v", len(times), ids)
	}
}

// A file that is cut anywhere gives the frames ahead of the cut, and one line; a frame
// that its capture has cut, or that does not fit the link, is not sent.
func TestSendFiles(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.pcapng")
	if stdout, stderr, exit := runIn(t, pair.Near, command("send", "-i", "eth0", "-c", "3", "-w", whole, "--hex", "02005e00530202005e00530188b5"+strings.Repeat("00", 46))); exit != exitOK {
		t.Fatalf("exit status %d, %q, %q", exit, stdout, stderr)
	}
	file, err := os.ReadFile(whole)
	must(t, err)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err = z.Write(file)
	must(t, errors.Join(err, z.Close()))
	pcap := func(length uint32, frame []byte) []byte {
		b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
		b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0)
		b = append(b, 1, 0, 0, 0, 0, 0, 0, 0)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
		b = binary.LittleEndian.AppendUint32(b, length)
		return append(b, frame...)
	}
	for _, tt := range []struct {
		name, stdout, want string
		file               []byte
	}{
		{"cut", "2 frames sent, ", "is cut off after 2 frames", file[:len(file)-50]},
		{"zipped", "", "is cut off ", zipped.Bytes()[:zipped.Len()/2]},
		{"header", "", "is cut off ", file[:20]},
		{"empty", "", "neither pcap nor pcapng", nil},
		{"snapped", "", "frame 1: only 60 of its 1000 bytes were captured", pcap(1000, make([]byte, 60))},
		{"short", "", "frame 1: a frame of 13 bytes is shorter than an Ethernet header, 14", pcap(13, make([]byte, 13))},
		{"long", "", "frame 1: a frame of 1515 bytes is longer than the MTU, 1500, with the header: 1514", pcap(1515, make([]byte, 1515))},
	} {
		for _, more := range [][]string{nil, {"--answers", "-W", "50ms"}} {
			name := filepath.Join(dir, tt.name)
			must(t, os.WriteFile(name, tt.file, 0o644))
			stdout, stderr, exit := runIn(t, pair.Near, command(append([]string{"send", "-i", "eth0", "-q", "-r", name}, more...)...))
			if exit != exitError || !strings.HasPrefix(stdout, tt.stdout) || (stdout == "") != (tt.stdout == "") ||
				!strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("%s %v: exit status %d, %q, %q; want %q", tt.name, more, exit, stdout, stderr, tt.want)
			}
		}
	}
}
