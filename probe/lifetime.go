//go:build linux

package probe

import "sync"

// A lifetime is that of what runs once and is closed once. Who closes it while it runs
// ends the run, which closes it then: nothing is closed that is still used.
type lifetime struct {
	mu   sync.Mutex
	used bool   // it has run, or was closed
	end  func() // the run, which may be called from any goroutine; nil if there is none

	closing sync.Once
	closed  error
}

// begin begins the run. It is false if there can be none any more.
func (l *lifetime) begin(end func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used {
		return false
	}
	l.used, l.end = true, end
	return true
}

// over says that the run is over.
func (l *lifetime) over() {
	l.mu.Lock()
	l.end = nil
	l.mu.Unlock()
}

// close has it closed, or the run ended.
func (l *lifetime) close(how func() error) error {
	l.mu.Lock()
	l.used = true
	if l.end != nil {
		l.end()
		l.mu.Unlock()
		return nil
	}
	l.mu.Unlock()
	l.closing.Do(func() { l.closed = how() })
	return l.closed
}
