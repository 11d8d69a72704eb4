//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// wantCore is how much of one core l2ping may use with many targets, so that
// there is room left.
const wantCore = 0.75

// manySection is what many targets cost.
type manySection struct {
	Count    int           `json:"count"` // probes to each target
	Interval time.Duration `json:"interval_ns"`
	Manners  []manyReport  `json:"manners"`
	Growth   []growth      `json:"growth,omitempty"`
	Verdicts []verdict     `json:"verdicts"`
	LeftOut  []leftOut     `json:"left_out,omitempty"`
	Runs     []manyRun     `json:"runs"`
}

// manyNumbers are those of a run, or the median of each over a manner's runs. A
// number that is not known is absent.
type manyNumbers struct {
	Interval    time.Duration `json:"interval_median_ns,omitempty"` // of the first target
	CPUPerProbe time.Duration `json:"cpu_per_probe_ns"`             // user and system, of probes sent
	PeakMemory  int64         `json:"peak_rss_bytes,omitempty"`
	Sockets     int           `json:"sockets,omitempty"`
	Late        *lateness     `json:"timer_error_ns,omitempty"`
}

// manyRun is one run of one manner.
type manyRun struct {
	Tool     string `json:"tool"`
	Targets  int    `json:"targets"`
	Run      int    `json:"run"`
	Sent     int    `json:"sent"`
	Arrived  int    `json:"arrived"` // at the far end, as its kernel counts
	Received int    `json:"received"`
	Answered int    `json:"answered"` // targets
	manyNumbers
	Wall time.Duration `json:"wall_ns"`
	Busy float64       `json:"machine_busy"` // share of all CPUs, by anybody
}

// manyReport is the median of a manner's runs with so many targets; probes are
// counted over all, and targets are answered if they were in every run.
type manyReport struct {
	Tool     string `json:"tool"`
	Targets  int    `json:"targets"`
	Runs     int    `json:"runs"`
	Sent     int    `json:"sent"`
	Arrived  int    `json:"arrived"`
	Received int    `json:"received"`
	Answered int    `json:"answered"`
	manyNumbers
	// What l2ping takes, in multiples of it.
	CPURatio    float64 `json:"l2ping_cpu_ratio,omitempty"`
	MemoryRatio float64 `json:"l2ping_memory_ratio,omitempty"`
}

// growth is what a further target takes of memory.
type growth struct {
	Tool  string `json:"tool"`
	Bytes int64  `json:"bytes_per_target"`
}

func newManySection(c crowd, runs []manyRun, out []leftOut) *manySection {
	s := &manySection{Count: c.count, Interval: c.interval, LeftOut: out, Runs: runs}
	for _, r := range runs {
		if s.manner(r.Tool, r.Targets) == nil {
			s.Manners = append(s.Manners, newManyReport(r.Tool, r.Targets, runs))
		}
	}
	for i := range s.Manners {
		m := &s.Manners[i]
		if l := s.manner(ours, m.Targets); l != nil {
			m.CPURatio = ratio(l.CPUPerProbe, m.CPUPerProbe)
			m.MemoryRatio = ratio(l.PeakMemory, m.PeakMemory)
		}
	}
	for _, few := range s.Manners {
		if few.Targets != s.Manners[0].Targets {
			continue
		}
		most := s.manner(few.Tool, s.Manners[len(s.Manners)-1].Targets)
		if most != nil && most.Targets > few.Targets && most.PeakMemory > 0 && few.PeakMemory > 0 {
			s.Growth = append(s.Growth, growth{few.Tool, (most.PeakMemory - few.PeakMemory) / int64(most.Targets-few.Targets)})
		}
	}
	s.Verdicts = s.judge()
	return s
}

// ratio is a/b, 0 if nobody knows.
func ratio[T ~int64](a, b T) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// manner is the report of a manner, nil if it has none here.
func (s *manySection) manner(tool string, targets int) *manyReport {
	for i := range s.Manners {
		if m := &s.Manners[i]; m.Tool == tool && m.Targets == targets {
			return m
		}
	}
	return nil
}

func newManyReport(tool string, targets int, runs []manyRun) manyReport {
	m := manyReport{Tool: tool, Targets: targets, Answered: targets}
	var intervals, cpus, p50s, p99s []time.Duration
	var memory []int64
	for _, r := range runs {
		if r.Tool != tool || r.Targets != targets {
			continue
		}
		m.Runs, m.Sent, m.Arrived, m.Received = m.Runs+1, m.Sent+r.Sent, m.Arrived+r.Arrived, m.Received+r.Received
		m.Answered = min(m.Answered, r.Answered)
		m.Sockets = max(m.Sockets, r.Sockets)
		intervals, cpus = append(intervals, r.Interval), append(cpus, r.CPUPerProbe)
		if r.PeakMemory > 0 {
			memory = append(memory, r.PeakMemory)
		}
		if r.Late != nil {
			p50s, p99s = append(p50s, r.Late.P50), append(p99s, r.Late.P99)
		}
	}
	m.Interval, m.CPUPerProbe, m.PeakMemory = quantile(intervals, 0.5), quantile(cpus, 0.5), quantile(memory, 0.5)
	if p50s != nil {
		m.Late = &lateness{quantile(p50s, 0.5), quantile(p99s, 0.5)}
	}
	return m
}

// judge works out the verdicts: none without l2ping.
func (s *manySection) judge() []verdict {
	var all []verdict
	for i := range s.Manners {
		m := &s.Manners[i]
		if m.Tool != ours {
			continue
		}
		all = append(all, s.judgeAnswers(m))
		// Of another rate than the target's the target says nothing.
		if s.Interval == time.Second {
			all = append(all, s.judgeCore(m))
		}
	}
	return all
}

func (s *manySection) judgeAnswers(m *manyReport) verdict {
	want := m.Runs * s.Count * m.Targets
	return verdict{
		Target:  "all_answered",
		Reached: new(m.Sent == want && m.Arrived == want && m.Received == want && m.Answered == m.Targets),
		Text:    fmt.Sprintf("%d of %d targets and %d of %d probes answered", m.Answered, m.Targets, m.Received, want),
	}
}

func (s *manySection) judgeCore(m *manyReport) verdict {
	v := verdict{Target: "cpu_per_probe", Got: m.CPUPerProbe}
	v.judge(time.Duration(wantCore * float64(s.Interval) / float64(m.Targets)))
	v.Text = fmt.Sprintf("CPU per probe %s us with %d targets, %.0f%% of a core: at most %s, %.0f%%",
		us(v.Got), m.Targets, 100*s.core(m), us(v.Limit), 100*wantCore)
	return v
}

// core is the share of one core that the probes take at the rate that was asked
// for.
func (s *manySection) core(m *manyReport) float64 {
	return float64(m.CPUPerProbe) * float64(m.Targets) / float64(s.Interval)
}

// print writes the table of many targets, that of the single runs if verbose, and
// the verdicts.
func (s *manySection) print(w io.Writer, verbose bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\nmany: %d probes to each of many targets by one next hop, %v apart; core is the share of one\n"+
		"that the CPU of all comes to, late is how late probes left\n\n", s.Count, s.Interval)
	columns := []string{"", "targets", "every ms", "CPU", "core", "memory", "sockets", "late p50", "p99", "probes"}
	t := table(&b, columns...)
	for i := range s.Manners {
		m := &s.Manners[i]
		row(t, append([]string{m.Tool}, s.cells(m)...)...)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if verbose {
		b.WriteString("\n")
		t := table(&b, append(columns, "run", "machine", "wall s")...)
		for _, r := range s.Runs {
			m := newManyReport(r.Tool, r.Targets, []manyRun{r})
			row(t, append(append([]string{r.Tool}, s.cells(&m)...), fmt.Sprint(r.Run), fmt.Sprintf("%.0f%%", 100*r.Busy),
				fmt.Sprintf("%.1f", r.Wall.Seconds()))...)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	b.WriteString("\n")
	for _, m := range allManners {
		if m.note != "" && s.has(m.name) {
			fmt.Fprintf(&b, "  %s %s\n", m.name, m.note)
		}
	}
	s.printNotes(&b)
	for _, l := range s.LeftOut {
		fmt.Fprintf(&b, "  left out: %v\n", l)
	}
	for _, v := range s.Verdicts {
		fmt.Fprintf(&b, "  %-11s  %s\n", reached(v.Reached), v.Text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *manySection) has(tool string) bool {
	for i := range s.Manners {
		if s.Manners[i].Tool == tool {
			return true
		}
	}
	return false
}

// printNotes writes what is to be read out of the table.
func (s *manySection) printNotes(b *strings.Builder) {
	for i := range s.Manners {
		m := &s.Manners[i]
		// Who does not keep the interval has another task.
		if d := (m.Interval - s.Interval).Abs(); m.Interval > 0 && d > s.Interval/20 {
			fmt.Fprintf(b, "  %s asks each of %d targets every %s ms\n", m.Tool, m.Targets, ms(m.Interval))
		}
		if m.Arrived != m.Sent {
			fmt.Fprintf(b, "  %s has sent %d probes to %d targets, of which %d arrived\n", m.Tool, m.Sent, m.Targets, m.Arrived)
		}
	}
	for i := range s.Manners {
		if m := &s.Manners[i]; !isOurManner(m.Tool) && m.CPURatio > 0 {
			fmt.Fprintf(b, "  with %d targets l2ping takes %.2f times the CPU a probe of %s", m.Targets, m.CPURatio, m.Tool)
			if m.MemoryRatio > 0 {
				fmt.Fprintf(b, ", and %.1f times the memory", m.MemoryRatio)
			}
			b.WriteString("\n")
		}
	}
	if len(s.Growth) > 0 {
		var list []string
		for _, g := range s.Growth {
			list = append(list, fmt.Sprintf("%s %d", g.Tool, g.Bytes))
		}
		fmt.Fprintf(b, "  bytes that a further target takes: %s\n", strings.Join(list, ", "))
	}
}

func isOurManner(name string) bool { return name == ours || name == oursTold }

// cells are the numbers of a row.
func (s *manySection) cells(m *manyReport) []string {
	p50, p99, interval, sockets := "-", "-", "-", "-"
	if m.Late != nil {
		p50, p99 = us(m.Late.P50), us(m.Late.P99)
	}
	if m.Interval > 0 {
		interval = ms(m.Interval)
	}
	if m.Sockets > 0 {
		sockets = fmt.Sprint(m.Sockets)
	}
	return []string{
		fmt.Sprint(m.Targets), interval, us(m.CPUPerProbe), fmt.Sprintf("%.0f%%", 100*s.core(m)),
		megabytes(m.PeakMemory), sockets, p50, p99, count(m.Sent, m.Received),
	}
}
