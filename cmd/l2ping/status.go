//go:build linux

package main

import (
	"io"
	"sync"

	"github.com/l2ping/l2ping/cmd/l2ping/internal/render"
	"github.com/l2ping/l2ping/probe"
)

// showStatus prints the status line at each SIGQUIT until the function that it
// returns is called.
func (e *env) showStatus(p *probe.Pinger) (end func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-e.status:
				s := p.Statistics()
				_, _ = io.WriteString(e.stderr, render.Status(&s))
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

// A verdict is a renderer that works out the exit status of a run from its
// summaries, and passes all events on.
type verdict struct {
	renderer
	cfg      *probe.Config
	answered int // how many targets have given an answer
	few      int // how many have answered fewer probes than were asked for
}

func (v *verdict) Event(e *probe.Event) error {
	if e.Kind == probe.Summary {
		s := e.Statistics
		if e.Address.IsValid() && s.Received+s.Late < v.cfg.Count {
			v.few++
		}
		if e.Address.IsValid() && s.Received+s.Late > 0 {
			v.answered++
		}
	}
	return v.renderer.Event(e)
}

// status is the exit status: of several targets each has to have answered, or as
// many as were asked for; and where there is a deadline too, each of them the
// whole count, as in ping.
func (v *verdict) status() int {
	c := v.cfg
	want := len(c.Targets)
	if c.Enough > 0 {
		want = c.Enough
	}
	if v.answered < want || c.Enough == 0 && c.Deadline > 0 && v.few > 0 {
		return exitNoReply
	}
	return exitOK
}
