package pcapfilter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	cbpf "golang.org/x/net/bpf"
)

// A recording is what tcpdump makes of an expression.
type recording struct {
	expr string
	// optimized is the program by default, plain that with -O. The optimizer
	// leaves out reads that decide nothing, and moves others, so that the two
	// differ on frames that end where they read.
	optimized, plain []cbpf.RawInstruction
}

// A setting is a kind of filter.
type setting struct {
	name        string
	cfg         Config
	expressions []string
}

var settings = []setting{
	{"ethernet", Config{}, etherExpressions},
	{"raw", Config{NoLink: true}, rawExpressions},
	{"live", Config{Live: true}, liveExpressions},
}

// recordings reads what record has written.
func recordings(t testing.TB, s setting) []recording {
	t.Helper()
	path := filepath.Join("testdata", s.name+".txt")
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	program := func(line string) []cbpf.RawInstruction {
		var list []cbpf.RawInstruction
		for field := range strings.FieldsSeq(line) {
			var in cbpf.RawInstruction
			if _, err := fmt.Sscanf(field, "%d,%d,%d,%d", &in.Op, &in.Jt, &in.Jf, &in.K); err != nil {
				t.Fatalf("%s: %q: %v", path, field, err)
			}
			list = append(list, in)
		}
		return list
	}
	lines := strings.Split(strings.TrimSuffix(string(file), "\n"), "\n")
	var list []recording
	for i := 0; i+2 < len(lines); i += 3 {
		expr, err := strconv.Unquote(lines[i])
		if err != nil {
			t.Fatalf("%s:%d: %v", path, i+1, err)
		}
		list = append(list, recording{expr, program(lines[i+1]), program(lines[i+2])})
	}
	if len(list) != len(s.expressions) {
		t.Fatalf("%s has %d expressions of %d (go test -run TestLibpcap -update)", path, len(list), len(s.expressions))
	}
	return list
}

// compileHere compiles with the names of ports in services, and not with those of
// the host that the test runs on.
func compileHere(expr string, cfg Config) ([]cbpf.RawInstruction, error) {
	return newCompiler(cfg).compile(expr)
}

func newCompiler(cfg Config) *compiler {
	return &compiler{cfg: cfg, g: newGraph(), service: func(name string) (service, bool) {
		s, ok := services[name]
		return s, ok
	}}
}

// The host's list of ports has those of the table, mostly.
func TestServices(t *testing.T) {
	for name, want := range map[string]uint16{"ssh": 22, "domain": 53, "http": 80, "mdns": 5353} {
		if s, ok := lookupService(name); !ok || s.port != want || !s.tcp && !s.udp {
			t.Errorf("%s is %+v, %v", name, s, ok)
		}
	}
	if s, ok := lookupService("nosuchport"); ok {
		t.Errorf("nosuchport is %+v", s)
	}
}

// TestLibpcap compares the verdict of each program on each frame with those of
// tcpdump's two programs: where these agree it is theirs. Where they do not, for
// want of bytes in the frame, it is that of one of them.
func TestLibpcap(t *testing.T) {
	for _, s := range settings {
		t.Run(s.name, func(t *testing.T) {
			if *update {
				record(t, s)
			}
			list := views(s.cfg)
			var steps struct{ ours, theirs int }
			passed, differing, shorter, longer := 0, 0, 0, 0
			for i, r := range recordings(t, s) {
				if r.expr != s.expressions[i] {
					t.Fatalf("%q is recorded where %q should be (go test -run TestLibpcap -update)", r.expr, s.expressions[i])
				}
				ours, err := compileHere(r.expr, s.cfg)
				if err != nil {
					t.Error(err)
					continue
				}
				if err := checkProgram(ours); err != nil {
					t.Errorf("%q: %v", r.expr, err)
				}
				switch {
				case len(ours) < len(r.optimized):
					shorter++
				case len(ours) > len(r.optimized):
					longer++
				}
				wrong := 0
				for _, v := range list {
					ourN, ourSteps := v.run(t, ours)
					theirN, theirSteps := v.run(t, r.optimized)
					plainN, _ := v.run(t, r.plain)
					got, optimized, plain := ourN != 0, theirN != 0, plainN != 0
					steps.ours += ourSteps
					steps.theirs += theirSteps
					if got {
						passed++
					}
					if optimized != plain {
						differing++
						continue
					}
					if got == optimized {
						continue
					}
					if wrong++; wrong < 4 {
						t.Errorf("%q passes %v: %v, with libpcap %v", r.expr, v, got, optimized)
					}
				}
			}
			t.Logf("%d expressions, %d frames: %d pass, on %d libpcap contradicts itself; %d programs are shorter than libpcap's, %d longer; %d instructions run, libpcap's %d",
				len(s.expressions), len(list), passed, differing, shorter, longer, steps.ours, steps.theirs)
			if steps.ours > steps.theirs {
				t.Error("the programs take more instructions than libpcap's")
			}
		})
	}
}

func TestNothingPasses(t *testing.T) {
	for _, expr := range emptyExpressions {
		for _, s := range settings {
			_, err := compileHere(expr, s.cfg)
			if e := (*Error)(nil); !errors.As(err, &e) || e.Msg != "no frame can pass it" || e.Pos != 0 || e.End != len(expr) {
				t.Errorf("%s: %q: %v", s.name, expr, err)
			}
		}
	}
}
