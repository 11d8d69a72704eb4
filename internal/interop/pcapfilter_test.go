//go:build interop && linux

package interop

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/pcapgo"
	cbpf "golang.org/x/net/bpf"

	"github.com/l2ping/l2ping/bpf/pcapfilter"
)

// filterData is where package pcapfilter has its corpora, and the expressions
// that tcpdump's programs are recorded of.
const filterData = "../../bpf/pcapfilter/testdata"

// filterExpressions returns the expressions of a recording: of three lines each,
// the first.
func filterExpressions(t *testing.T, name string) []string {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(filterData, name+".txt"))
	must(t, err)
	var list []string
	for line := range strings.Lines(string(file)) {
		if strings.HasPrefix(line, "\t") {
			continue
		}
		expr, err := strconv.Unquote(strings.TrimSpace(line))
		must(t, err)
		list = append(list, expr)
	}
	return list
}

// capturedFrames reads a pcap file, of frames whose time is their number.
func capturedFrames(t *testing.T, r io.Reader) map[int64][]byte {
	t.Helper()
	file, err := pcapgo.NewReader(r)
	must(t, err)
	frames := make(map[int64][]byte)
	for {
		data, info, err := file.ReadPacketData()
		if err == io.EOF {
			return frames
		}
		must(t, err)
		frames[info.Timestamp.Unix()] = data
	}
}

// TestFilters has tcpdump filter the corpora itself, and compares what it passes
// with what our programs pass. Where its optimizer changes its mind, of frames
// that end within what is read, the verdict may be that without it.
func TestFilters(t *testing.T) {
	tcpdump := program(t, "tcpdump")
	for name, noLink := range map[string]bool{"ethernet": false, "raw": true} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(filterData, name+".pcap")
			file, err := os.Open(path)
			must(t, err)
			defer file.Close()
			frames := capturedFrames(t, file)
			passes := func(args ...string) map[int64][]byte {
				o := run(t, nil, "", tcpdump, append([]string{"-r", path, "-w", "-"}, args...)...)
				if o.exit != 0 {
					t.Fatalf("tcpdump %q: exit %d\n%s", args, o.exit, o.stderr)
				}
				return capturedFrames(t, strings.NewReader(o.stdout))
			}
			expressions, passed, excused := filterExpressions(t, name), 0, 0
			for _, expr := range expressions {
				raw, err := pcapfilter.Compile(expr, &pcapfilter.Config{NoLink: noLink})
				if err != nil {
					t.Error(err)
					continue
				}
				insns, ok := cbpf.Disassemble(raw)
				if !ok {
					t.Errorf("%q: %v", expr, insns)
				}
				vm, err := cbpf.NewVM(insns)
				must(t, err)
				optimized := passes("--", expr)
				var plain map[int64][]byte
				for i, frame := range frames {
					n, err := vm.Run(frame)
					must(t, err)
					_, want := optimized[i]
					if n != 0 {
						passed++
					}
					if (n != 0) == want {
						continue
					}
					if plain == nil {
						plain = passes("-O", "--", expr)
					}
					if _, want := plain[i]; (n != 0) != want {
						t.Errorf("%q passes %x: %v, in tcpdump %v", expr, frame, n != 0, want)
					}
					excused++
				}
			}
			t.Logf("%d expressions on %d frames: %d pass, %d only as without the optimizer", len(expressions), len(frames), passed, excused)
			if least := map[bool]int{false: 120, true: 30}[noLink]; len(expressions) < least || passed < 5*least || excused > passed/50 {
				t.Errorf("that is not what it should be")
			}
		})
	}
}

// TestFilterErrors has tcpdump refuse what we refuse.
func TestFilterErrors(t *testing.T) {
	tcpdump := program(t, "tcpdump")
	for _, expr := range []string{
		"tcp prot 80", "tcp 80", "10.0.0.1", "vlan 5 or 6", "net 10/8", "net 10.0.0.1/24", "net 10.0.0.0/33", "host 10.0.0.0/8", "ip host 2001:db8::1",
		"tcp host 10.0.0.1", "ip6 host 10.0.0.1", "ip port 80", "port 65536", "ip proto tcp", "tcp proto 6", "src proto 6", "(tcp", "tcp)", "()", "tcp and", "or tcp",
		"tcp & udp", "tcp[13", "tcp[13] & 2", "tcp[13:3] = 1", "ah[0] = 1", "ip[0] / 0 = 1", "ip[0] << 32 = 1", "len-14 = 40", "ip[0] = 4294967296", "ip[0] = 08",
		"vlan 4096", "less", "ether", "tcp broadcast", "arp multicast", "inbound", "ifindex 2", "host 02:00:5e:00:53:01", "ether host 10.0.0.1", "udp port ssh",
		"tcp and udp", "ip and arp", "5 = 6", "port 10.0.0.1", "net 2001:db8::1/32", "TCP port 80", "host 10.0.0.256",
	} {
		path := filepath.Join(filterData, "ethernet.pcap")
		if o := run(t, nil, "", tcpdump, "-r", path, "-ddd", "--", expr); o.exit == 0 {
			t.Errorf("tcpdump compiles %q", expr)
		}
		if program, err := pcapfilter.Compile(expr, nil); err == nil {
			t.Errorf("%q is compiled: %s", expr, fmt.Sprint(program))
		}
	}
}
