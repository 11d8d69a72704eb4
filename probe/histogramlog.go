//go:build linux

package probe

import (
	"fmt"
	"io"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A HistogramLog writes RTTs as a log of interval histograms, in nanoseconds,
// that HdrHistogram's tools read (format 1.3, payloads of V2). Each line of it is
// one Write, so that a run that was killed leaves whole lines.
type HistogramLog struct {
	log    *hdrhistogram.HistogramLogWriter
	begin  time.Time
	end    time.Time // of the last interval
	before histogram // all RTTs up to it
}

// NewHistogramLog writes the head of a log that begins at a time. Errors are the
// writer's.
func NewHistogramLog(w io.Writer, begin time.Time) (*HistogramLog, error) {
	l := &HistogramLog{log: hdrhistogram.NewHistogramLogWriter(w), begin: begin, end: begin}
	l.log.SetBaseTime(begin.UnixMilli())
	// Not by the library, which leaves out the milliseconds that the intervals
	// are relative to.
	at := fmt.Sprintf("%d.%03d (seconds since epoch)", begin.Unix(), begin.Nanosecond()/1e6)
	_, err := fmt.Fprintf(w, `#[RTTs in ns, Interval_Max in ms]
#[Histogram log format version %s]
#[BaseTime: %s]
#[StartTime: %s, %s]
"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"
`, hdrhistogram.HISTOGRAM_LOG_FORMAT_VERSION, at, at, begin.UTC().Format(time.RFC3339))
	return l, err
}

// Interval writes the RTTs that came since the last call, or the beginning, until
// end. They are those of one run, of which more are there at each call. Errors are
// the writer's; what could not be written is in the next interval.
func (l *HistogramLog) Interval(rtt *RTT, end time.Time) error {
	interval := hdrhistogram.Import(&hdrhistogram.Snapshot{
		LowestTrackableValue:  1,
		HighestTrackableValue: int64(histogramMost),
		SignificantFigures:    fineDigits,
		Counts:                rtt.histogram.since(&l.before),
	})
	// By the monotonic clock: a step of the other would tear intervals apart.
	since := func(t time.Time) int64 { return l.begin.UnixMilli() + t.Sub(l.begin).Milliseconds() }
	interval.SetStartTimeMs(since(l.end))
	interval.SetEndTimeMs(since(end))
	if err := l.log.OutputIntervalHistogram(interval); err != nil {
		return err
	}
	l.end, l.before = end, rtt.histogram.clone()
	return nil
}
