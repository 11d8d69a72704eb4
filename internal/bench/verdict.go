//go:build linux

package main

import (
	"fmt"
	"time"
)

// What l2ping has to reach, in the median of the runs.
const (
	wantP99   = 5 * time.Microsecond // of |error|, at most
	wantTimes = 8                    // the best peer's p99 is at least so many times that
)

// verdict says whether l2ping has reached a target.
type verdict struct {
	Target string        `json:"target"` // such as p99, cpu_per_probe or all_answered
	Got    time.Duration `json:"got_ns"`
	Limit  time.Duration `json:"limit_ns,omitempty"`
	// Peer is whose number the limit comes from, if it is a peer's.
	Peer      string        `json:"peer,omitempty"`
	PeerValue time.Duration `json:"peer_ns,omitempty"`
	// Reached is absent where nobody can know, for want of a peer.
	Reached *bool  `json:"reached,omitempty"`
	Text    string `json:"text"`
}

func (v *verdict) judge(limit time.Duration) {
	v.Limit, v.Reached = limit, new(v.Got <= limit)
}

// judge works out the verdicts of a condition: none without l2ping.
func judge(c condition, s *section) []verdict {
	l := s.ours()
	if l == nil {
		return nil
	}
	all := []verdict{judgeP99(l), judgeBestPeer(l, s)}
	if c.unresolved {
		all = append(all, judgeFirst(l))
	}
	// Of another rate than the target's the target says nothing.
	if c.cpu != nil && s.Interval == c.interval {
		all = append(all, judgeCPU(l, s, *c.cpu))
	}
	return all
}

func judgeP99(l *toolReport) verdict {
	v := verdict{Target: "p99", Got: l.Error.P99}
	v.judge(wantP99)
	v.Text = fmt.Sprintf("|error| p99 %s us: at most %s", us(v.Got), us(wantP99))
	return v
}

func judgeBestPeer(l *toolReport, s *section) verdict {
	v := verdict{Target: "p99_of_best_peer", Got: l.Error.P99}
	for _, t := range s.Tools {
		if t.Tool != l.Tool && (v.Peer == "" || t.Error.P99 < v.PeerValue) {
			v.Peer, v.PeerValue = t.Tool, t.Error.P99
		}
	}
	if v.Peer == "" {
		v.Text = fmt.Sprintf("|error| p99 at most 1/%d of the best peer's: there is no peer", wantTimes)
		return v
	}
	v.judge(v.PeerValue / wantTimes)
	v.Text = fmt.Sprintf("|error| p99 %s us: at most 1/%d of the best peer's, %s's %s", us(v.Got), wantTimes, v.Peer, us(v.PeerValue))
	if v.Got > 0 {
		v.Text += fmt.Sprintf(" (it is %.1f times l2ping's)", float64(v.PeerValue)/float64(v.Got))
	}
	return v
}

func judgeFirst(l *toolReport) verdict {
	v := verdict{Target: "first_error"}
	if l.First == nil {
		v.Text = "first probe's |error|: no run has reported its first probe"
		v.Reached = new(false)
		return v
	}
	v.Got = l.First.Abs()
	v.judge(wantP99)
	v.Text = fmt.Sprintf("first probe's |error| %s us: at most %s, for resolution is not in it", us(v.Got), us(wantP99))
	return v
}

func judgeCPU(l *toolReport, s *section, target cpuTarget) verdict {
	v := verdict{Target: "cpu_per_probe", Got: l.CPUPerProbe, Peer: target.peer}
	times := ""
	if target.times != 1 {
		times = fmt.Sprintf("%g times ", target.times)
	}
	t := s.tool(target.peer)
	if t == nil {
		v.Text = fmt.Sprintf("CPU per probe at most %s%s's: %s is not measured", times, target.peer, target.peer)
		return v
	}
	v.PeerValue = t.CPUPerProbe
	v.judge(time.Duration(target.times * float64(t.CPUPerProbe)))
	v.Text = fmt.Sprintf("CPU per probe %s us: at most %s%s's %s", us(v.Got), times, target.peer, us(v.PeerValue))
	return v
}
