//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// torrentSection is what a capture into a file costs of frames that come as fast as
// one sender has them.
type torrentSection struct {
	Frames    int             `json:"frames"`
	Recorders []torrentReport `json:"recorders"`
	Verdicts  []verdict       `json:"verdicts"`
	LeftOut   []leftOut       `json:"left_out,omitempty"`
	Runs      []torrentRun    `json:"runs"`
}

// torrentNumbers are those of a run, or over a recorder's runs the median of the
// times and the sum of the counts.
type torrentNumbers struct {
	Arrived int `json:"arrived"` // at the far end, as its driver counts
	counted
	Sending     time.Duration `json:"sending_ns"`
	CPUPerFrame float64       `json:"cpu_per_frame_ns"` // user and system, of frames captured
}

// torrentRun is one capture by one recorder.
type torrentRun struct {
	Tool string `json:"tool"`
	Run  int    `json:"run"`
	torrentNumbers
	Busy float64 `json:"machine_busy"` // share of all CPUs while it was sent, by anybody
}

// torrentReport is a recorder's runs.
type torrentReport struct {
	Tool string `json:"tool"`
	Runs int    `json:"runs"`
	torrentNumbers
	// What l2ping takes, in multiples of it.
	CPURatio float64 `json:"l2ping_cpu_ratio,omitempty"`
}

func newTorrentSection(frames int, runs []torrentRun, out []leftOut) *torrentSection {
	s := &torrentSection{Frames: frames, LeftOut: out, Runs: runs}
	for _, r := range runs {
		if s.recorder(r.Tool) == nil {
			s.Recorders = append(s.Recorders, newTorrentReport(r.Tool, runs))
		}
	}
	if l := s.recorder(ours); l != nil {
		for i := range s.Recorders {
			c := &s.Recorders[i]
			c.CPURatio = over(l.CPUPerFrame, c.CPUPerFrame)
		}
		s.Verdicts = []verdict{s.judgeDrops(l), s.judgeCPU(l)}
	}
	return s
}

// recorder is the report of a recorder, nil if it has none here.
func (s *torrentSection) recorder(tool string) *torrentReport {
	for i := range s.Recorders {
		if s.Recorders[i].Tool == tool {
			return &s.Recorders[i]
		}
	}
	return nil
}

func newTorrentReport(tool string, runs []torrentRun) torrentReport {
	c := torrentReport{Tool: tool}
	var sending []time.Duration
	var cpu []float64
	for _, r := range runs {
		if r.Tool != tool {
			continue
		}
		c.Runs++
		c.Arrived += r.Arrived
		c.Captured, c.Received, c.Dropped = c.Captured+r.Captured, c.Received+r.Received, c.Dropped+r.Dropped
		sending, cpu = append(sending, r.Sending), append(cpu, r.CPUPerFrame)
	}
	c.Sending, c.CPUPerFrame = quantile(sending, 0.5), quantile(cpu, 0.5)
	return c
}

// lost is how many frames arrived that are not in the file, whoever has lost them.
func (n *torrentNumbers) lost() int { return max(0, n.Arrived-n.Captured) }

// judgeDrops says nothing where every peer loses frames and l2ping does too.
func (s *torrentSection) judgeDrops(l *torrentReport) verdict {
	v := verdict{Target: "capture_drops"}
	v.Text = fmt.Sprintf("%d of %d frames lost: none, where tcpdump has lost none", l.lost(), l.Arrived)
	least := -1
	for i := range s.Recorders {
		if c := &s.Recorders[i]; c.Tool != ours && (least < 0 || c.lost() < least) {
			least, v.Peer = c.lost(), c.Tool
		}
	}
	switch {
	case least < 0:
		v.Text += "; it is not measured"
	default:
		v.Text += fmt.Sprintf("; %s has lost %d", v.Peer, least)
	}
	if l.lost() == 0 {
		v.Reached = new(true)
	} else if least == 0 {
		v.Reached = new(false)
	}
	return v
}

// judgeCPU compares with the peer that takes least.
func (s *torrentSection) judgeCPU(l *torrentReport) verdict {
	v := verdict{Target: "capture_cpu"}
	var best float64
	for i := range s.Recorders {
		if c := &s.Recorders[i]; c.Tool != ours && c.CPUPerFrame > 0 && (best == 0 || c.CPUPerFrame < best) {
			best, v.Peer = c.CPUPerFrame, c.Tool
		}
	}
	if best == 0 {
		v.Text = fmt.Sprintf("CPU a frame %.0f ns: at most tcpdump's, which is not measured", l.CPUPerFrame)
		return v
	}
	v.Reached = new(l.CPUPerFrame > 0 && l.CPUPerFrame <= best)
	v.Text = fmt.Sprintf("CPU a frame %.0f ns: at most the %.0f of %s, it is %.2f times", l.CPUPerFrame, best, v.Peer, l.CPUPerFrame/best)
	return v
}

// print writes the table of the recorders, that of the single runs if verbose, and
// the verdicts.
func (s *torrentSection) print(w io.Writer, verbose bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\ncapture: %d frames of %d bytes a run, sent past the qdisc as fast as they go, into a file; CPU is user\n"+
		"and system of the capturing process, in ns a frame captured; counts are of all runs\n\n", s.Frames, torrentFrame)
	columns := []string{"", "arrived", "captured", "lost", "dropped", "sent/s", "CPU", "l2ping's"}
	t := table(&b, columns...)
	for i := range s.Recorders {
		c := &s.Recorders[i]
		row(t, append(append([]string{c.Tool}, s.cells(&c.torrentNumbers)...), times(c.CPURatio))...)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if verbose {
		b.WriteString("\n")
		t := table(&b, append(columns[:7:7], "run", "machine")...)
		for i := range s.Runs {
			r := &s.Runs[i]
			row(t, append(append([]string{r.Tool}, s.cells(&r.torrentNumbers)...), fmt.Sprint(r.Run), fmt.Sprintf("%.0f%%", 100*r.Busy))...)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	b.WriteString("\n")
	for _, c := range allRecorders {
		if c.note != "" && s.recorder(c.name) != nil {
			fmt.Fprintf(&b, "  %s %s\n", c.name, c.note)
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
func (s *torrentSection) cells(n *torrentNumbers) []string {
	return []string{
		fmt.Sprint(n.Arrived), fmt.Sprint(n.Captured), fmt.Sprint(n.lost()), fmt.Sprint(n.Dropped),
		fmt.Sprintf("%.0f", perSecond(s.Frames, n.Sending)), fmt.Sprintf("%.0f", n.CPUPerFrame),
	}
}
