//go:build linux

package probe_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/l2ping/l2ping/bpf/pcapfilter"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// TestExchangeExamples runs the examples where they do no harm.
func TestExchangeExamples(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	labtest.OpenIn(t, pair.Far, func() (net.Listener, error) { return net.Listen("tcp4", "198.51.100.2:80") })
	server := labtest.OpenIn(t, pair.Far, func() (*net.UDPConn, error) {
		return net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(198, 51, 100, 2), Port: 53})
	})
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := server.ReadFromUDP(buf)
			if err != nil {
				return // the test has ended
			}
			buf[2] |= 0x80 // a response
			buf[3] = 3     // no such name
			_, _ = server.WriteToUDP(buf[:n], from)
		}
	}()
	program, err := pcapfilter.Compile("vlan 5 and arp[6:2] = 1", &pcapfilter.Config{Live: true})
	if err != nil {
		t.Fatal(err)
	}
	answers(t, pair.Far, &probe.AnswerConfig{EtherTypes: []frame.EtherType{etherTypeDoubler}}, double)
	answers(t, pair.Far, &probe.AnswerConfig{Instructions: program}, isHere)
	t.Chdir(t.TempDir())
	writeRequests(t, "requests.pcapng")
	// The ping is to an address of its own.
	far := netip.MustParsePrefix("192.0.2.1/32")
	if err := errors.Join(pair.Far.SetUp("lo"), pair.Far.AddAddr("lo", far), pair.Near.AddRoute(far, pair.FarIP, "eth0")); err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name    string
		example func()
		want    []string
	}{
		{"ping", Example, []string{`1 192\.0\.2\.1 \S+s driver`, `2 192\.0\.2\.1 \S+s driver`, `3 192\.0\.2\.1 \S+s driver`}},
		{"echo", ExampleExchange, []string{"98 bytes, driver stamps, true"}},
		{"srp's parameters", ExampleExchangeConfig, []string{"1 true true", "0 unanswered"}},
		{"first of a sweep", ExampleExchanger_Run_first, []string{"request 1 is answered, by driver stamps"}},
		{"gopacket", ExampleFrames, []string{"EchoReply hello"}},
		{"VLAN", ExampleExchange_vlan, []string{"an answer in VLAN 5"}},
		{"pcapng", ExampleExchange_pcapng, []string{"1 true", "2 true"}},
		{"send", Example_send, []string{"2 sent, <nil>"}},
		{"ARP sweep", ExampleExchanger_Run, []string{"198.51.100.2 is at 02:00:5e:00:53:02"}},
		{"TCP", ExampleExchange_tcp, []string{"22 closed", "25 closed", "80 open", "443 closed", "8080 closed"}},
		{"DNS", ExampleExchange_dns, []string{"code 3 with 0 answers"}},
		{"own protocol", ExampleRule, []string{"1 doubled is 2", "2 doubled is 4", "21 doubled is 42"}},
	} {
		got := output(t, func() error {
			return pair.Near.Do(func() error {
				tt.example()
				return nil
			})
		})
		if !slices.EqualFunc(got, tt.want, func(got, want string) bool { return regexp.MustCompile("^" + want + "$").MatchString(got) }) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// answers has a namespace answer until the test ends.
func answers(t *testing.T, ns *lab.Namespace, cfg *probe.AnswerConfig, answer func([]byte, capture.Frame) []byte) {
	t.Helper()
	a := labtest.OpenIn(t, ns, func() (*probe.Answerer, error) { return probe.NewAnswerer("eth0", cfg) })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, answer) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// writeRequests writes two requests to a file.
func writeRequests(t *testing.T, name string) {
	t.Helper()
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w, err := pcapng.NewWriter(file, nil, pcapng.Interface{LinkType: pcapng.LinkEthernet})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range whoHas(farIP, farIP) {
		if err := w.Write(&capture.Frame{Data: b, Length: len(b)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// TestFromScapy holds what docs/from-scapy.md shows of Go against the examples: its
// lines are theirs, in one piece but where it leaves some out by "...". The fields
// that it names are there.
func TestFromScapy(t *testing.T) {
	doc, err := os.ReadFile("../docs/from-scapy.md")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, name := range []string{"example_exchange_test.go", "example_rule_test.go", "example_answer_test.go", "example_scapy_test.go"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source.WriteString(unindented(string(b)))
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(doc), -1)
	if len(blocks) < 10 {
		t.Errorf("only %d blocks", len(blocks))
	}
	for _, block := range blocks {
		for piece := range strings.SplitSeq(unindented(block[1]), "\n...\n") {
			if piece = strings.Trim(piece, "\n"); !strings.Contains(source.String(), "\n"+piece+"\n") {
				t.Errorf("not in the examples:\n%s", piece)
			}
		}
	}
	for _, name := range regexp.MustCompile("`([A-Z]\\w+): [^`]*`").FindAllStringSubmatch(string(doc), -1) {
		if _, ok := reflect.TypeFor[probe.ExchangeConfig]().FieldByName(name[1]); !ok {
			t.Errorf("an ExchangeConfig has no %s", name[1])
		}
	}
	for _, name := range regexp.MustCompile(`\b(ExchangeConfig|AnswerConfig|Exchanged)\.(\w+)`).FindAllStringSubmatch(string(doc), -1) {
		in := map[string]reflect.Type{
			"ExchangeConfig": reflect.TypeFor[probe.ExchangeConfig](), "AnswerConfig": reflect.TypeFor[probe.AnswerConfig](), "Exchanged": reflect.TypeFor[probe.Exchanged](),
		}[name[1]]
		if _, ok := in.FieldByName(name[2]); !ok {
			t.Errorf("there is no %s", name[0])
		}
	}
}

// unindented takes the indentation off all lines.
func unindented(s string) string {
	var b strings.Builder
	b.WriteByte('\n')
	for line := range strings.Lines(s) {
		b.WriteString(strings.TrimLeft(line, "\t"))
	}
	b.WriteByte('\n')
	return b.String()
}

// output is what f prints, line by line.
func output(t *testing.T, f func() error) []string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "output")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	was := os.Stdout
	os.Stdout = file
	err = f()
	os.Stdout = was
	if err != nil {
		t.Error(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}
