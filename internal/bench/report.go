//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// report is what -json writes. Durations are integers in nanoseconds.
type report struct {
	Time       time.Time     `json:"time"`
	Kernel     string        `json:"kernel"`
	Machine    string        `json:"machine"`
	CPUs       int           `json:"cpus"`
	Count      int           `json:"count"`
	Interval   time.Duration `json:"interval_ns"`
	Conditions []section     `json:"conditions"`
}

// section is one condition.
type section struct {
	Name  string       `json:"name"`
	What  string       `json:"what"`
	Runs  []runReport  `json:"runs"`
	Tools []toolReport `json:"tools"`
}

// runReport is one run of one tool. Error is of reported minus true time; its
// median, p99 and max are of the absolute value.
type runReport struct {
	Tool        string         `json:"tool"`
	Run         int            `json:"run"`
	Void        int            `json:"void,omitempty"`
	Probes      int            `json:"probes"`
	Truth       time.Duration  `json:"true_rtt_median_ns"`
	Bias        time.Duration  `json:"error_signed_median_ns"`
	Error       distribution   `json:"error_ns"`
	Arrival     *distribution  `json:"arrival_error_ns,omitempty"`
	Departure   *distribution  `json:"departure_error_ns,omitempty"`
	Sources     map[string]int `json:"stamps,omitempty"`
	CPUPerProbe time.Duration  `json:"cpu_per_probe_ns"`
	PeakMemory  int64          `json:"peak_rss_bytes"`
	Wall        time.Duration  `json:"wall_ns"`
	Busy        float64        `json:"machine_busy"` // share of all CPUs, by anybody
}

// toolReport is the median of a tool's runs.
type toolReport struct {
	Tool string        `json:"tool"`
	P99  time.Duration `json:"error_p99_median_ns"`
	// Ratio is that, in multiples of l2ping's, where both are measured.
	Ratio float64 `json:"ratio_to_l2ping,omitempty"`
}

func newReport(o *options) *report {
	r := &report{Time: time.Now(), CPUs: runtime.NumCPU(), Count: o.count, Interval: o.interval}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		r.Kernel, r.Machine = unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:])
	}
	return r
}

func newSection(c condition, results []result) section {
	s := section{Name: c.name, What: c.what}
	p99s := map[string][]time.Duration{}
	for _, r := range results {
		run := newRunReport(r)
		s.Runs = append(s.Runs, run)
		if len(p99s[run.Tool]) == 0 {
			s.Tools = append(s.Tools, toolReport{Tool: run.Tool})
		}
		p99s[run.Tool] = append(p99s[run.Tool], run.Error.P99)
	}
	ours := quantile(p99s[allTools[0].name], 0.5)
	for i := range s.Tools {
		t := &s.Tools[i]
		t.P99 = quantile(p99s[t.Tool], 0.5)
		if ours > 0 {
			t.Ratio = float64(t.P99) / float64(ours)
		}
	}
	return s
}

func newRunReport(r result) runReport {
	all := r.deviations
	abs := func(f func(deviation) time.Duration) distribution {
		return distributionOf(each(all, func(d deviation) time.Duration { return f(d).Abs() }))
	}
	run := runReport{
		Tool: r.tool.name, Run: r.run, Void: r.void, Probes: len(all),
		Truth:   quantile(each(all, func(d deviation) time.Duration { return d.truth }), 0.5),
		Bias:    quantile(each(all, func(d deviation) time.Duration { return d.error }), 0.5),
		Error:   abs(func(d deviation) time.Duration { return d.error }),
		Sources: r.sources, PeakMemory: r.memory, Wall: r.wall, Busy: r.busy,
	}
	if len(all) > 0 {
		run.CPUPerProbe = r.cpu / time.Duration(len(all))
		if all[0].parts {
			arrival := abs(func(d deviation) time.Duration { return d.arrival })
			departure := abs(func(d deviation) time.Duration { return d.departure })
			run.Arrival, run.Departure = &arrival, &departure
		}
	}
	return run
}

func (r *report) write(path string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// us is a time in microseconds.
func us(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/1e3) }

// print writes the table of a condition and what it says about the targets.
func (s *section) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s: %s. error = reported RTT - true RTT; times in us; machine: its CPUs' use\n\n", s.Name, s.What)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "tool\trun\tprobes\ttrue RTT\terror\t|error| median\tp99\tmax\tCPU/probe\tpeak RSS MB\tmachine\tstamps\t")
	for _, r := range s.Runs {
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%+.2f\t%s\t%s\t%s\t%.1f\t%.1f\t%.0f%%\t%s\t\n",
			r.Tool, r.Run, r.Probes, us(r.Truth), float64(r.Bias)/1e3, us(r.Error.Median), us(r.Error.P99), us(r.Error.Max),
			float64(r.CPUPerProbe)/1e3, float64(r.PeakMemory)/(1<<20), 100*r.Busy, sources(r.Sources))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	b.WriteString("\n")
	for _, r := range s.Runs {
		if r.Departure != nil && r.Error.P99 > wantP99 {
			fmt.Fprintf(&b, "%s run %d: of that error, at departure p99 %s max %s, at arrival p99 %s max %s\n",
				r.Tool, r.Run, us(r.Departure.P99), us(r.Departure.Max), us(r.Arrival.P99), us(r.Arrival.Max))
		}
	}
	for _, tool := range s.Tools {
		fmt.Fprintf(&b, "%s: |error| p99, median of the runs, %s us", tool.Tool, us(tool.P99))
		switch {
		case tool.Tool == allTools[0].name:
			fmt.Fprintf(&b, " (to reach: at most %s: %s)", us(wantP99), reached(tool.P99 <= wantP99))
		case tool.Ratio > 0:
			fmt.Fprintf(&b, ", %.1f times %s's", tool.Ratio, allTools[0].name)
			if tool.Tool == "ping" {
				fmt.Fprintf(&b, " (to reach: at least %d times: %s)", wantTimes, reached(tool.Ratio >= wantTimes))
			}
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func reached(ok bool) string {
	if ok {
		return "reached"
	}
	return "NOT reached"
}

// sources lists the stamps that a tool says it has used.
func sources(m map[string]int) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, fmt.Sprintf("%s:%d", name, m[name]))
	}
	if list == nil {
		return "-"
	}
	return strings.Join(list, " ")
}
