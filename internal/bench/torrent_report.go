//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// torrentSection is what a capture into a file costs of a torrent of frames.
type torrentSection struct {
	Frames int    `json:"frames"`         // a run
	Sent   string `json:"sent,omitempty"` // why they come from a sender, if they do
	torrentPace
	Fastest  *torrentPace `json:"fastest,omitempty"` // as fast as they go, if that is not judged
	Verdicts []verdict    `json:"verdicts"`
	LeftOut  []leftOut    `json:"left_out,omitempty"`
}

// torrentPace is what it costs at one rate.
type torrentPace struct {
	Rate      int             `json:"rate,omitempty"` // 0: as fast as they go
	Recorders []torrentReport `json:"recorders"`
	Runs      []torrentRun    `json:"runs"`
}

// torrentNumbers are those of a run, or over a recorder's runs the median of the
// times and the sum of the counts.
type torrentNumbers struct {
	Arrived int `json:"arrived"`
	Filed   int `json:"filed"` // are in the file
	counted
	Sending     time.Duration `json:"sending_ns"`
	CPUPerFrame float64       `json:"cpu_per_frame_ns"` // user and system, of frames in the file
	Idle        time.Duration `json:"cpu_of_none_ns"`   // user and system of a capture of nothing
}

// torrentRun is one capture by one recorder.
type torrentRun struct {
	Tool string `json:"tool"`
	Run  int    `json:"run"`
	torrentNumbers
	Busy float64 `json:"machine_busy"` // share of all CPUs while frames came, by anybody
}

// torrentReport is a recorder's runs.
type torrentReport struct {
	Tool string `json:"tool"`
	Runs int    `json:"runs"`
	torrentNumbers
	// What l2ping takes, in multiples of it.
	CPURatio float64 `json:"l2ping_cpu_ratio,omitempty"`
}

func newTorrentPace(rate int, runs []torrentRun) torrentPace {
	s := torrentPace{Rate: rate, Runs: runs}
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
	}
	return s
}

// judge fills in the verdicts.
func (s *torrentSection) judge() {
	if l := s.recorder(ours); l != nil {
		s.Verdicts = []verdict{s.judgeDrops(l), s.judgeCPU(l)}
	}
}

// recorder is the report of a recorder, nil if it has none here.
func (s *torrentPace) recorder(tool string) *torrentReport {
	for i := range s.Recorders {
		if s.Recorders[i].Tool == tool {
			return &s.Recorders[i]
		}
	}
	return nil
}

func newTorrentReport(tool string, runs []torrentRun) torrentReport {
	c := torrentReport{Tool: tool}
	var sending, idle []time.Duration
	var cpu []float64
	for _, r := range runs {
		if r.Tool != tool {
			continue
		}
		c.Runs++
		c.Arrived, c.Filed = c.Arrived+r.Arrived, c.Filed+r.Filed
		c.Captured, c.Received, c.Dropped = c.Captured+r.Captured, c.Received+r.Received, c.Dropped+r.Dropped
		sending, idle, cpu = append(sending, r.Sending), append(idle, r.Idle), append(cpu, r.CPUPerFrame)
	}
	c.Sending, c.Idle, c.CPUPerFrame = quantile(sending, 0.5), quantile(idle, 0.5), quantile(cpu, 0.5)
	return c
}

// lost is how many frames arrived that are not in the file, whoever has lost them.
func (n *torrentNumbers) lost() int { return max(0, n.Arrived-n.Filed) }

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

// paceName says how quickly frames come.
func paceName(rate int) string {
	if rate == 0 {
		return "as fast as they go"
	}
	return fmt.Sprintf("%d a second", rate)
}

// print writes the table of the recorders, that of the single runs if verbose, and
// the verdicts.
func (s *torrentSection) print(w io.Writer, verbose bool) error {
	var b strings.Builder
	how := "put into the interface (XDP live frames)"
	if s.Sent != "" {
		how = "sent past the qdisc, on a CPU that hands them to the capture too"
	}
	fmt.Fprintf(&b, "\ncapture: %d frames of %d bytes a run, %s, into a file; CPU is\n"+
		"user and system of the whole capturing process, in ns a frame in the file, and in ms for none at all; lost is what\n"+
		"arrived and is not in the file; counts are of all runs\n", s.Frames, torrentFrame, how)
	if s.Sent != "" {
		fmt.Fprintf(&b, "  %s\n", s.Sent)
	}
	paces := []*torrentPace{&s.torrentPace}
	if s.Fastest != nil {
		paces = append(paces, s.Fastest)
	}
	for _, p := range paces {
		if err := p.print(&b, s.Frames, verbose); err != nil {
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
		fmt.Fprintf(&b, "  %-11s  %s, %s\n", reached(v.Reached), paceName(s.Rate), v.Text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// print writes the table of one rate.
func (s *torrentPace) print(b *strings.Builder, frames int, verbose bool) error {
	fmt.Fprintf(b, "\n%s\n", paceName(s.Rate))
	columns := []string{"", "arrived", "lost", "dropped", "frames/s", "CPU", "for none", "l2ping's"}
	t := table(b, columns...)
	for i := range s.Recorders {
		c := &s.Recorders[i]
		row(t, append(append([]string{c.Tool}, c.cells(frames)...), times(c.CPURatio))...)
	}
	if err := t.Flush(); err != nil || !verbose {
		return err
	}
	b.WriteString("\n")
	t = table(b, append(columns[:7:7], "run", "machine")...)
	for i := range s.Runs {
		r := &s.Runs[i]
		row(t, append(append([]string{r.Tool}, r.cells(frames)...), fmt.Sprint(r.Run), fmt.Sprintf("%.0f%%", 100*r.Busy))...)
	}
	return t.Flush()
}

// cells are the numbers of a row.
func (n *torrentNumbers) cells(frames int) []string {
	return []string{
		fmt.Sprint(n.Arrived), fmt.Sprint(n.lost()), fmt.Sprint(n.Dropped),
		fmt.Sprintf("%.0f", perSecond(frames, n.Sending)), fmt.Sprintf("%.0f", n.CPUPerFrame), ms(n.Idle),
	}
}
