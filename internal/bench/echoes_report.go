//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// wantExchange is how many times the frames a second of scapy l2ping has to
// exchange.
const wantExchange = 50

// echoSection is how quickly many hosts are asked at once.
type echoSection struct {
	Count    int          `json:"count"` // requests
	Far      string       `json:"far"`   // who answers
	Askers   []echoReport `json:"askers"`
	Verdicts []verdict    `json:"verdicts"`
	LeftOut  []leftOut    `json:"left_out,omitempty"`
	Runs     []echoRun    `json:"runs"`
}

// echoRun is one volley by one asker.
type echoRun struct {
	Tool    string `json:"tool"`
	Run     int    `json:"run"`
	Arrived int    `json:"arrived"` // requests at the far end
	exchanged
	Busy float64 `json:"machine_busy"` // share of all CPUs, by anybody
}

// echoReport has the median of each number over an asker's runs, but of Answered
// and Arrived the least, and of Calls all.
type echoReport struct {
	Tool    string `json:"tool"`
	Runs    int    `json:"runs"`
	Arrived int    `json:"arrived"`
	exchanged
	Rates  rates `json:"per_second"`
	Ratios rates `json:"l2ping_ratio"` // l2ping's rates, in multiples of these
}

// rates are frames a second; 0 if nobody knows.
type rates struct {
	// Of the whole call, in which a timeout may have been waited for.
	Asked    float64 `json:"asked,omitempty"`
	Answered float64 `json:"answered,omitempty"`
	// UntilLast is of answered ones until the last answer: what is waited after it is
	// not in it. Of an asker that lost most answers it says how quickly the first came.
	UntilLast float64 `json:"answered_until_last,omitempty"`
}

// perSecond is how many there are in a second, 0 if nobody knows.
func perSecond(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// over is a/b, 0 if nobody knows.
func over(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func newEchoSection(count int, runs []echoRun, out []leftOut) *echoSection {
	s := &echoSection{Count: count, LeftOut: out, Runs: runs}
	for _, r := range runs {
		if s.asker(r.Tool) == nil {
			s.Askers = append(s.Askers, newEchoReport(r.Tool, count, runs))
		}
	}
	if l := s.asker(ours); l != nil {
		for i := range s.Askers {
			a := &s.Askers[i]
			a.Ratios = rates{
				over(l.Rates.Asked, a.Rates.Asked),
				over(l.Rates.Answered, a.Rates.Answered),
				over(l.Rates.UntilLast, a.Rates.UntilLast),
			}
		}
		s.Verdicts = s.judge(l)
	}
	return s
}

// asker is the report of an asker, nil if it has none here.
func (s *echoSection) asker(tool string) *echoReport {
	for i := range s.Askers {
		if s.Askers[i].Tool == tool {
			return &s.Askers[i]
		}
	}
	return nil
}

func newEchoReport(tool string, count int, runs []echoRun) echoReport {
	a := echoReport{Tool: tool}
	var wholes, lasts []time.Duration
	var asked, answered, untilLast []float64
	for _, r := range runs {
		if r.Tool != tool {
			continue
		}
		if a.Runs++; a.Runs == 1 {
			a.Answered, a.Arrived = r.Answered, r.Arrived
		}
		a.Calls += r.Calls
		a.Answered, a.Arrived = min(a.Answered, r.Answered), min(a.Arrived, r.Arrived)
		wholes, lasts = append(wholes, r.Whole), append(lasts, r.Last)
		asked = append(asked, perSecond(count, r.Whole))
		answered, untilLast = append(answered, perSecond(r.Answered, r.Whole)), append(untilLast, perSecond(r.Answered, r.Last))
	}
	a.Whole, a.Last = quantile(wholes, 0.5), quantile(lasts, 0.5)
	a.Rates = rates{quantile(asked, 0.5), quantile(answered, 0.5), quantile(untilLast, 0.5)}
	return a
}

// judge works out the verdicts. What is exchanged in a second of the call is what a
// caller waits for, though with scapy that is for a timeout which he chooses. The two
// others leave that out: what was merely asked, and what was answered until the last.
func (s *echoSection) judge(l *echoReport) []verdict {
	return []verdict{
		{
			Target:  "all_exchanged",
			Reached: new(l.Answered == s.Count),
			Text:    fmt.Sprintf("%d of %d requests answered in every run", l.Answered, s.Count),
		},
		s.judgeRate(l, "exchange_answered", "answered requests a second of the whole call", "scapy",
			func(r *echoReport) float64 { return r.Rates.Answered }),
		s.judgeRate(l, "exchange_asked", "requests a second of the whole call", "scapy",
			func(r *echoReport) float64 { return r.Rates.Asked }),
		s.judgeRate(l, "exchange_until_last", "answers a second until the last", "a scapy that finds all",
			func(r *echoReport) float64 {
				if r.Answered < s.Count && r.Tool != ours {
					return 0
				}
				return r.Rates.UntilLast
			}),
	}
}

// judgeRate compares with the best peer by one rate.
func (s *echoSection) judgeRate(l *echoReport, target, what, peers string, rate func(*echoReport) float64) verdict {
	v := verdict{Target: target}
	var best float64
	for i := range s.Askers {
		if a := &s.Askers[i]; a.Tool != ours && rate(a) > best {
			best, v.Peer = rate(a), a.Tool
		}
	}
	got := rate(l)
	if best == 0 {
		v.Text = fmt.Sprintf("%.0f %s: at least %d times that of %s; there is none", got, what, wantExchange, peers)
		return v
	}
	v.Reached = new(got >= wantExchange*best)
	v.Text = fmt.Sprintf("%.0f %s: at least %d times the %.0f of %s, it is %.1f times", got, what, wantExchange, best, v.Peer, got/best)
	return v
}

// print writes the table of the askers, that of the single runs if verbose, and
// the verdicts.
func (s *echoSection) print(w io.Writer, verbose bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\nexchange: an echo request to each of %d hosts by one next hop, at once; %s;\n"+
		"asked/s and answered/s are of the whole call, its timeout too, until last of answers until the last; then l2ping's in multiples; times in ms\n\n", s.Count, s.Far)
	columns := []string{"", "answered", "arrived", "whole", "last answer", "asked/s", "answered/s", "until last", "asked", "answered", "until last"}
	t := table(&b, columns...)
	for i := range s.Askers {
		row(t, s.Askers[i].cells()...)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if verbose {
		b.WriteString("\n")
		t := table(&b, append(columns[:8:8], "run", "machine")...)
		for _, r := range s.Runs {
			a := newEchoReport(r.Tool, s.Count, []echoRun{r})
			row(t, append(a.cells()[:8:8], fmt.Sprint(r.Run), fmt.Sprintf("%.0f%%", 100*r.Busy))...)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	b.WriteString("\n")
	for _, a := range allAskers {
		if s.asker(a.name) != nil {
			fmt.Fprintf(&b, "  %s %s\n", a.name, a.note)
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

// cells are a row.
func (r *echoReport) cells() []string {
	return []string{
		r.Tool, fmt.Sprint(r.Answered), fmt.Sprint(r.Arrived), ms(r.Whole), ms(r.Last),
		fmt.Sprintf("%.0f", r.Rates.Asked), fmt.Sprintf("%.0f", r.Rates.Answered), fmt.Sprintf("%.0f", r.Rates.UntilLast),
		times(r.Ratios.Asked), times(r.Ratios.Answered), times(r.Ratios.UntilLast),
	}
}

// times is a ratio, as a multiple.
func times(ratio float64) string {
	if ratio == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", ratio)
}
