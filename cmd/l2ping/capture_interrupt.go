//go:build linux

package main

import (
	"context"
	"sync"
)

// An interruption has somebody who is at work look up for a moment.
type interruption struct {
	mu     sync.Mutex
	asked  bool
	cancel context.CancelFunc
}

// arm says what ends a piece of work. It does so at once if somebody has asked.
func (i *interruption) arm(cancel context.CancelFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cancel = cancel
	if i.asked {
		cancel()
	}
}

// ask ends the piece of work.
func (i *interruption) ask() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked = true
	if i.cancel != nil {
		i.cancel()
	}
}

// take tells whether somebody has asked since.
func (i *interruption) take() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	asked := i.asked
	i.asked = false
	return asked
}
