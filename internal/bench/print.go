//go:build linux

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// printHead writes what the numbers below were taken with and how to read them.
func (r *report) printHead(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "The truth about time, %s\n\n", r.Time.UTC().Format("2006-01-02 15:04 UTC"))
	cpu := r.Machine.CPU
	if cpu == "" {
		cpu = "unknown model"
	}
	fmt.Fprintf(&b, "  machine   Linux %s %s, %d CPUs, %s\n", r.Machine.Kernel, r.Machine.Arch, r.Machine.CPUs, cpu)
	for i, t := range r.Tools {
		label := ""
		if i == 0 {
			label = "tools"
		}
		fmt.Fprintf(&b, "  %-8s  %-*s  %s", label, nameWidth, t.Tool, t.Version)
		if t.Note != "" {
			fmt.Fprintf(&b, ": %s", t.Note)
		}
		b.WriteString("\n")
	}
	for _, l := range r.LeftOut {
		fmt.Fprintf(&b, "  left out  %-*s  %s\n", nameWidth, l.Tool, l.Why)
	}
	b.WriteString(`
error is the reported minus the true RTT. The truth is captured: from a request's arrival at the
peer's end of the wire to its reply's at ours. Times are in us; each number is the median of the
runs, the max too. CPU is user and system of the whole process, by probe; memory is its peak in MB.
`)
	_, err := io.WriteString(w, b.String())
	return err
}

// us is a time in microseconds, with three or four digits.
func us(d time.Duration) string {
	digits := 0
	switch a := d.Abs(); {
	case a < 10*time.Microsecond:
		digits = 2
	case a < 1000*time.Microsecond:
		digits = 1
	}
	return fmt.Sprintf("%.*f", digits, float64(d)/1e3)
}

// signed is us with its sign.
func signed(d time.Duration) string {
	if d >= 0 {
		return "+" + us(d)
	}
	return us(d)
}

func megabytes(n int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", float64(n)/(1<<20))
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/1e6) }

// count is a number of probes, with how many of them were reported if not all.
func count(sent, reported int) string {
	if reported == sent {
		return fmt.Sprint(sent)
	}
	return fmt.Sprintf("%d of %d", reported, sent)
}

// nameWidth is that of the longest tool's name.
const nameWidth = len(oursARP)

// table starts a table; its first column is text and the rest are numbers.
func table(w io.Writer, columns ...string) *tabwriter.Writer {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row(t, columns...)
	return t
}

func row(t *tabwriter.Writer, cells ...string) {
	fmt.Fprintf(t, "%-*s\t%s\t\n", nameWidth, cells[0], strings.Join(cells[1:], "\t"))
}

// print writes the table of a condition, that of its single runs if verbose,
// and its verdicts.
func (s *section) print(w io.Writer, verbose bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s: %s; %d probes a run, %v apart\n\n", s.Name, s.What, s.Count, s.Interval)
	columns := []string{"", "true RTT", "error", "|error| p50", "p99", "max", "first error", "CPU", "memory", "probes"}
	t := table(&b, columns...)
	for _, r := range s.Tools {
		row(t, append([]string{r.Tool}, append(r.cells(), count(r.Sent, r.Reported))...)...)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if verbose {
		b.WriteString("\n")
		t := table(&b, append(columns, "run", "every ms", "machine", "stamps")...)
		for _, r := range s.Runs {
			cells := append([]string{r.Tool}, append(r.cells(), count(r.Sent, r.Reported))...)
			row(t, append(cells, fmt.Sprint(r.Run), fmt.Sprintf("%.2f", float64(r.Interval)/1e6),
				fmt.Sprintf("%.0f%%", 100*r.Busy), sources(r.Sources))...)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	b.WriteString("\n")
	if s.Count < 100 {
		fmt.Fprintf(&b, "  of %d probes the p99 is the largest\n", s.Count)
	}
	for _, r := range s.Runs {
		if r.Departure != nil && r.Error.P99 > wantP99 {
			fmt.Fprintf(&b, "  %s run %d: of that error, at departure p99 %s max %s, at arrival p99 %s max %s\n",
				r.Tool, r.Run, us(r.Departure.P99), us(r.Departure.Max), us(r.Arrival.P99), us(r.Arrival.Max))
		}
	}
	for _, t := range s.Tools {
		// A tool that does not keep the interval has another task.
		if d := (t.Interval - s.Interval).Abs(); t.Interval > 0 && d > s.Interval/5 {
			fmt.Fprintf(&b, "  %s sends every %s ms\n", t.Tool, ms(t.Interval))
		}
	}
	for _, l := range s.LeftOut {
		fmt.Fprintf(&b, "  left out: %v\n", l)
	}
	for _, v := range s.Verdicts {
		fmt.Fprintf(&b, "  %-11s  %s\n", reached(v.Reached), v.Text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// cells are the numbers of a row.
func (n *numbers) cells() []string {
	first := "-"
	if n.First != nil {
		first = signed(*n.First)
	}
	return []string{
		us(n.Truth), signed(n.Bias), us(n.Error.Median), us(n.Error.P99), us(n.Error.Max), first,
		us(n.CPUPerProbe), megabytes(n.PeakMemory),
	}
}

func reached(ok *bool) string {
	switch {
	case ok == nil:
		return "not judged"
	case *ok:
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

// print writes the table of the runs of one probe.
func (s *onceSection) print(w io.Writer) error {
	var b strings.Builder
	runs := 0
	for _, r := range s.Tools {
		runs = max(runs, len(r.Known.Runs))
	}
	fmt.Fprintf(&b, "\none probe: the whole process, from its start to its end, in ms; median of %d runs\n\n", runs)
	t := table(&b, "", "neighbor known", "neighbor unknown")
	for _, r := range s.Tools {
		if len(r.Known.Runs) > 0 && len(r.Unknown.Runs) > 0 {
			row(t, r.Tool, ms(r.Known.Median), ms(r.Unknown.Median))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(s.LeftOut) > 0 {
		b.WriteString("\n")
	}
	for _, l := range s.LeftOut {
		fmt.Fprintf(&b, "  left out: %v\n", l)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// printSummary writes how many targets are reached, and which are not.
func (r *report) printSummary(w io.Writer) error {
	var (
		b           strings.Builder
		all, missed int
	)
	sum := func(name string, verdicts []verdict) {
		for _, v := range verdicts {
			if v.Reached == nil {
				continue
			}
			all++
			if !*v.Reached {
				missed++
				fmt.Fprintf(&b, "  %-11s  %s: %s\n", reached(v.Reached), name, v.Text)
			}
		}
	}
	for _, s := range r.Conditions {
		sum(s.Name, s.Verdicts)
	}
	if r.Many != nil {
		sum("many", r.Many.Verdicts)
	}
	if r.Echoes != nil {
		sum("exchange", r.Echoes.Verdicts)
	}
	if r.Torrent != nil {
		sum("capture", r.Torrent.Verdicts)
	}
	if all == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%d of %d targets reached\n%s", all-missed, all, &b)
	return err
}
