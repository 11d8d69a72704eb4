//go:build linux

package probe

import (
	"bytes"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// writes keeps what each Write got, and fails once it is full.
type writes struct {
	all  []string
	room int
}

var errFull = errors.New("full")

func (w *writes) Write(b []byte) (int, error) {
	if len(w.all) == w.room {
		return 0, errFull
	}
	w.all = append(w.all, string(b))
	return len(b), nil
}

// readLog reads a log with the library's reader.
func readLog(t *testing.T, log string) (all []*hdrhistogram.Histogram) {
	t.Helper()
	r := hdrhistogram.NewHistogramLogReader(strings.NewReader(log))
	for {
		h, err := r.NextIntervalHistogram()
		if err != nil {
			t.Fatal(err)
		}
		if h == nil {
			return all
		}
		all = append(all, h)
	}
}

var began = time.Date(2026, 1, 2, 3, 4, 5, 678_901_234, time.FixedZone("", 3600))

// Each interval has what came in it, and all of them together the whole run.
func TestHistogramLog(t *testing.T) {
	out := &writes{room: -1}
	l, err := NewHistogramLog(out, began)
	if err != nil {
		t.Fatal(err)
	}
	var r RTT
	ends := []time.Duration{10 * time.Second, 20 * time.Second, 30 * time.Second, 40*time.Second + 1500*time.Microsecond, 41 * time.Second}
	came := [][]time.Duration{nil, lognormal(1, 5000), nil, lognormal(2, 100), {0, 30 * time.Minute, 2 * time.Hour}}
	for i, end := range ends {
		for _, v := range came[i] {
			r.Add(v)
		}
		snapshot := Statistics{RTT: r}
		c := snapshot.clone()
		if err := l.Interval(&c.RTT, began.Add(end)); err != nil {
			t.Fatal(err)
		}
	}

	const head = `#[RTTs in ns, Interval_Max in ms]
#[Histogram log format version 1.3]
#[BaseTime: 1767319445.678 (seconds since epoch)]
#[StartTime: 1767319445.678 (seconds since epoch), 2026-01-02T02:04:05Z]
"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"
`
	if out.all[0] != head {
		t.Errorf("the head is\n%swant\n%s", out.all[0], head)
	}
	line := regexp.MustCompile(`^\d+\.\d{6},\d+\.\d{6},\d+\.\d{6},[A-Za-z0-9+/=]+\n$`)
	for _, s := range out.all[1:] {
		if !line.MatchString(s) {
			t.Errorf("a write of %q", s)
		}
	}
	log := strings.Join(out.all, "")
	intervals := readLog(t, log)
	if len(intervals) != len(ends) {
		t.Fatalf("%d intervals, want %d:\n%s", len(intervals), len(ends), log)
	}
	whole := hdrhistogram.New(1, int64(histogramMost), fineDigits)
	last := began.UnixMilli()
	for i, h := range intervals {
		want := hdrhistogram.New(1, int64(histogramMost), fineDigits)
		for _, v := range came[i] {
			if err := want.RecordValue(int64(min(v, histogramMost))); err != nil {
				t.Fatal(err)
			}
		}
		if !h.Equals(want) {
			t.Errorf("interval %d has %d times, want %d", i, h.TotalCount(), want.TotalCount())
		}
		// The library's reader cuts a sum of floats off to milliseconds.
		end := began.UnixMilli() + ends[i].Milliseconds()
		if start := h.StartTimeMs(); start != last && start != last-1 || h.EndTimeMs() != end && h.EndTimeMs() != end-1 {
			t.Errorf("interval %d is from %d to %d, want from %d to %d", i, start, h.EndTimeMs(), last, end)
		}
		last = end
		if dropped := whole.Merge(h); dropped != 0 {
			t.Errorf("%d are out of range", dropped)
		}
	}
	if whole.TotalCount() != int64(r.Count) {
		t.Errorf("%d in all intervals, %d in the run", whole.TotalCount(), r.Count)
	}
	for _, q := range []float64{0.5, 0.9, 0.99, 0.999} {
		if got, want := whole.ValueAtQuantile(100*q), r.Quantile(q); got != int64(want) {
			t.Errorf("quantile %v is %d in the log, %d in the statistics", q, got, want)
		}
	}
}

// Nothing that was counted before the log's first interval is lost, and a log of
// nothing is one.
func TestHistogramLogOfNothing(t *testing.T) {
	var out bytes.Buffer
	l, err := NewHistogramLog(&out, began)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Interval(&RTT{}, began.Add(3*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	all := readLog(t, out.String())
	if len(all) != 1 || all[0].TotalCount() != 0 {
		t.Errorf("%v in\n%s", all, &out)
	}
	if want := "\n0.000000,0.003000,0.000000,"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in %s", want, &out)
	}
}

func TestHistogramLogFails(t *testing.T) {
	if _, err := NewHistogramLog(&writes{}, began); !errors.Is(err, errFull) {
		t.Errorf("the head: %v", err)
	}
	out := &writes{room: 2}
	l, err := NewHistogramLog(out, began)
	if err != nil {
		t.Fatal(err)
	}
	var got []error
	var r RTT
	for i := range 3 {
		r.Add(1)
		got = append(got, l.Interval(&r, began.Add(time.Duration(i)*time.Second)))
	}
	if !slices.Equal(got, []error{nil, errFull, errFull}) {
		t.Errorf("%v", got)
	}
}
