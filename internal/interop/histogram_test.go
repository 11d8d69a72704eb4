//go:build interop && linux

package interop

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// hdrhistogram is the Java library that is HdrHistogram's reference, of Debian's
// libhdrhistogram-java.
const hdrhistogram = "/usr/share/java/hdrhistogram.jar"

// TestHistogramAsItsReferenceReadsIt has HdrHistogram's own log processor read
// what --histogram writes: it finds what our JSON has of the same run.
func TestHistogramAsItsReferenceReadsIt(t *testing.T) {
	java := program(t, "java")
	if _, err := os.Stat(hdrhistogram); err != nil {
		t.Fatalf("%v (apt-get install libhdrhistogram-java)", err)
	}
	for _, tt := range []struct{ name, peer, args string }{
		{name: "one", args: "-c 1"},
		{name: "many", peer: "seq 7: delay 30ms\nseq 8..20: delay 2ms\nseq 30: lose\nseq 31: duplicate 3", args: "-c 500 -d 2ms -W 100ms"},
		{name: "none", peer: "all: lose", args: "-c 2 -d 5ms -W 50ms"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
			labtest.StartPeer(t, pair.Far, "eth0", tt.peer)
			neighbors(t, pair)
			path := filepath.Join(t.TempDir(), "rtt.hlog")
			o := l2ping(t, pair.Near, append([]string{"-i", "eth0", "--json", "--histogram", path, pair.FarIP.String()}, strings.Fields(tt.args)...)...)
			if o.stderr != "" {
				t.Fatal(o)
			}
			lines := strings.Split(strings.TrimSuffix(o.stdout, "\n"), "\n")
			var summary struct {
				Received uint64
				Late     uint64
				RTT      *struct {
					Max, Mean, P50, P90, P99, P999 float64
				} `json:"rtt_ns"`
			}
			must(t, json.Unmarshal([]byte(lines[len(lines)-1]), &summary))
			count := summary.Received + summary.Late

			// Values in ns: a ratio of 1 leaves them as they are.
			read := run(t, nil, "", java, "-cp", hdrhistogram, "org.HdrHistogram.HistogramLogProcessor",
				"-i", path, "-outputValueUnitRatio", "1")
			if read.exit != 0 {
				t.Fatal(read)
			}
			p := readPercentiles(t, read.stdout)
			if p.count != count {
				t.Errorf("it counts %d, our JSON %d\n%v", p.count, count, read)
			}
			if count == 0 {
				if summary.RTT != nil {
					t.Errorf("times of nothing: %s", lines[len(lines)-1])
				}
				return
			}
			// Both lie in one bucket, which is up to 0.1 % wide, and print its
			// upper end, ours no more than the maximum.
			for q, ours := range map[float64]float64{0.5: summary.RTT.P50, 0.9: summary.RTT.P90, 0.99: summary.RTT.P99, 0.999: summary.RTT.P999} {
				if theirs := p.at(q); theirs < ours || theirs > ours*1.001 {
					t.Errorf("it has %v for %v, our JSON %v\n%v", theirs, q, ours, read)
				}
			}
			if p.max < summary.RTT.Max || p.max > summary.RTT.Max*1.001 {
				t.Errorf("it has a maximum of %v, our JSON of %v", p.max, summary.RTT.Max)
			}
			if math.Abs(p.mean-summary.RTT.Mean) > summary.RTT.Mean/1000 {
				t.Errorf("it has a mean of %v, our JSON of %v", p.mean, summary.RTT.Mean)
			}
		})
	}
}

// percentiles are a distribution as HdrHistogram's tools print it.
type percentiles struct {
	lines     [][2]float64 // of a value and the share of all that do not exceed it
	count     uint64
	mean, max float64
}

var (
	percentileLine = regexp.MustCompile(`(?m)^ *([0-9.]+) +([0-9.]+) +\d+(?: +\S+)?$`)
	meanLine       = regexp.MustCompile(`#\[Mean += +([0-9.]+|NaN), StdDeviation`)
	maxLine        = regexp.MustCompile(`#\[Max += +([0-9.]+), Total count += +(\d+)\]`)
)

func readPercentiles(t *testing.T, text string) (p percentiles) {
	t.Helper()
	number := func(s string) float64 {
		f, err := strconv.ParseFloat(s, 64)
		must(t, err)
		return f
	}
	mean, most := meanLine.FindStringSubmatch(text), maxLine.FindStringSubmatch(text)
	if mean == nil || most == nil {
		t.Fatalf("no end in\n%s", text)
	}
	p.mean, p.max = number(mean[1]), number(most[1])
	var err error
	p.count, err = strconv.ParseUint(most[2], 10, 64)
	must(t, err)
	for _, m := range percentileLine.FindAllStringSubmatch(text, -1) {
		p.lines = append(p.lines, [2]float64{number(m[1]), number(m[2])})
	}
	return p
}

// at is the least value that a share q of all does not exceed.
func (p *percentiles) at(q float64) float64 {
	for _, line := range p.lines {
		if line[1] >= q {
			return line[0]
		}
	}
	return math.NaN()
}
