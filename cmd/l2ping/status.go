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

// status is the exit status of a run.
func status(s *probe.Statistics, cfg *probe.Config) int {
	answered := s.Received + s.Late
	if answered == 0 || cfg.Count > 0 && cfg.Deadline > 0 && answered < cfg.Count {
		return exitNoReply
	}
	return exitOK
}
