//go:build linux

package main

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"time"
)

// report is what -json writes. Durations are integers in nanoseconds.
type report struct {
	Time       time.Time       `json:"time"`
	Machine    machine         `json:"machine"`
	Tools      []toolVersion   `json:"tools"`
	LeftOut    []leftOut       `json:"left_out,omitempty"` // of all conditions
	Conditions []section       `json:"conditions"`
	Once       *onceSection    `json:"one_probe,omitempty"`
	Many       *manySection    `json:"many_targets,omitempty"`
	Echoes     *echoSection    `json:"exchange,omitempty"`
	Torrent    *torrentSection `json:"capture,omitempty"`
}

// toolVersion is a program that has a part in it.
type toolVersion struct {
	Tool    string `json:"tool"`
	Version string `json:"version"`
	Note    string `json:"note,omitempty"`
}

// section is one condition.
type section struct {
	Name     string        `json:"name"`
	What     string        `json:"what"`
	Count    int           `json:"count"`
	Interval time.Duration `json:"interval_ns"`
	Tools    []toolReport  `json:"tools"`
	Verdicts []verdict     `json:"verdicts"`
	LeftOut  []leftOut     `json:"left_out,omitempty"`
	Runs     []runReport   `json:"runs"`
}

// numbers are those of a run, or the median of each over a tool's runs. Error
// is of reported minus true time; its median, p99 and max are of the absolute
// value. A number that is not known is absent.
type numbers struct {
	Truth       time.Duration  `json:"true_rtt_median_ns"`
	Bias        time.Duration  `json:"error_signed_median_ns"`
	Error       distribution   `json:"error_ns"`
	First       *time.Duration `json:"first_error_ns,omitempty"` // of the first probe, signed
	Interval    time.Duration  `json:"interval_median_ns,omitempty"`
	CPUPerProbe time.Duration  `json:"cpu_per_probe_ns"` // user and system, of probes sent
	PeakMemory  int64          `json:"peak_rss_bytes,omitempty"`
}

// runReport is one run of one tool.
type runReport struct {
	Tool     string `json:"tool"`
	Run      int    `json:"run"`
	Void     int    `json:"void,omitempty"`
	Sent     int    `json:"sent"`
	Reported int    `json:"reported"`
	numbers
	Arrival   *distribution  `json:"arrival_error_ns,omitempty"`
	Departure *distribution  `json:"departure_error_ns,omitempty"`
	Sources   map[string]int `json:"stamps,omitempty"`
	Wall      time.Duration  `json:"wall_ns"`
	Busy      float64        `json:"machine_busy"` // share of all CPUs, by anybody
}

// toolReport is the median of a tool's runs; probes are counted over all.
type toolReport struct {
	Tool     string `json:"tool"`
	Runs     int    `json:"runs"`
	Sent     int    `json:"sent"`
	Reported int    `json:"reported"`
	numbers
	// Ratio is the p99 in multiples of l2ping's, where both are measured.
	Ratio float64 `json:"p99_ratio_to_l2ping,omitempty"`
}

func newSection(c condition, j job, results []result, out []leftOut) section {
	s := section{Name: c.name, What: c.what, Count: j.count, Interval: j.interval, LeftOut: out}
	for _, r := range results {
		s.Runs = append(s.Runs, newRunReport(r))
	}
	for _, r := range s.Runs {
		if !slices.ContainsFunc(s.Tools, func(t toolReport) bool { return t.Tool == r.Tool }) {
			s.Tools = append(s.Tools, newToolReport(r.Tool, s.Runs))
		}
	}
	if l := s.ours(); l != nil && l.Error.P99 > 0 {
		for i := range s.Tools {
			s.Tools[i].Ratio = float64(s.Tools[i].Error.P99) / float64(l.Error.P99)
		}
	}
	s.Verdicts = judge(c, &s)
	return s
}

// ours is the report of l2ping, nil if it has none here.
func (s *section) ours() *toolReport {
	if t := s.tool(ours); t != nil {
		return t
	}
	return s.tool(oursARP)
}

// tool is the report of a tool, nil if it has none here.
func (s *section) tool(name string) *toolReport {
	for i := range s.Tools {
		if s.Tools[i].Tool == name {
			return &s.Tools[i]
		}
	}
	return nil
}

func newRunReport(r result) runReport {
	all := r.deviations
	abs := func(f func(deviation) time.Duration) distribution {
		return distributionOf(each(all, func(d deviation) time.Duration { return f(d).Abs() }))
	}
	run := runReport{
		Tool: r.tool.name, Run: r.run, Void: r.void, Sent: r.sent, Reported: len(all),
		numbers: numbers{
			Truth:    quantile(each(all, func(d deviation) time.Duration { return d.truth }), 0.5),
			Bias:     quantile(each(all, func(d deviation) time.Duration { return d.error }), 0.5),
			Error:    abs(func(d deviation) time.Duration { return d.error }),
			Interval: r.interval, PeakMemory: r.memory,
		},
		Sources: r.sources, Wall: r.wall, Busy: r.busy,
	}
	if r.sent > 0 {
		run.CPUPerProbe = r.cpu / time.Duration(r.sent)
	}
	for _, d := range all {
		if d.first {
			run.First = &d.error
		}
	}
	if len(all) > 0 && all[0].parts {
		run.Arrival = new(abs(func(d deviation) time.Duration { return d.arrival }))
		run.Departure = new(abs(func(d deviation) time.Duration { return d.departure }))
	}
	return run
}

func newToolReport(tool string, runs []runReport) toolReport {
	t := toolReport{Tool: tool}
	var mine []runReport
	var firsts []time.Duration
	var memory []int64
	for _, r := range runs {
		if r.Tool != tool {
			continue
		}
		mine = append(mine, r)
		t.Runs, t.Sent, t.Reported = t.Runs+1, t.Sent+r.Sent, t.Reported+r.Reported
		if r.First != nil {
			firsts = append(firsts, *r.First)
		}
		if r.PeakMemory > 0 {
			memory = append(memory, r.PeakMemory)
		}
	}
	median := func(f func(runReport) time.Duration) time.Duration {
		values := make([]time.Duration, len(mine))
		for i, r := range mine {
			values[i] = f(r)
		}
		return quantile(values, 0.5)
	}
	t.numbers = numbers{
		Truth: median(func(r runReport) time.Duration { return r.Truth }),
		Bias:  median(func(r runReport) time.Duration { return r.Bias }),
		Error: distribution{
			Median: median(func(r runReport) time.Duration { return r.Error.Median }),
			P99:    median(func(r runReport) time.Duration { return r.Error.P99 }),
			Max:    median(func(r runReport) time.Duration { return r.Error.Max }),
		},
		Interval:    median(func(r runReport) time.Duration { return r.Interval }),
		CPUPerProbe: median(func(r runReport) time.Duration { return r.CPUPerProbe }),
		PeakMemory:  quantile(memory, 0.5),
	}
	if len(firsts) > 0 {
		t.First = new(quantile(firsts, 0.5))
	}
	return t
}

func (r *report) write(path string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// firstLine is the first line of an error.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
