//go:build linux

package probe

import "time"

const (
	// catchUp is how far behind its schedule the engine may fall, because
	// the process did not run, and still send every probe; beyond that the
	// places in between are skipped, and counted. catchUpProbes bounds it for
	// short intervals: a burst is not what was asked for.
	catchUp       = int64(100 * time.Millisecond)
	catchUpProbes = 1000
	// floodPatience is how long a probe may be out before the next one leaves
	// in a flood: 100 probes a second where nobody answers, as in ping.
	floodPatience = int64(10 * time.Millisecond)
	// The least and the most that a full queue is given to empty.
	minBackOff = int64(100 * time.Microsecond)
	maxBackOff = int64(10 * time.Millisecond)
)

// A schedule says when probes are due. With a fixed interval that is settled at
// the start: neither a reply that is slow nor a wake-up that is late moves the
// probes that follow. In a flood and an adaptive run replies set the pace.
type schedule struct {
	interval        int64 // nanoseconds, as all times here
	flood, adaptive bool
	preload         uint64 // probes that leave without waiting for anything; at least 1

	next   int64 // when the next probe is due, by a fixed interval
	last   int64 // when the last one was sent
	opened int64 // when an answer last came
}

func newSchedule(c *Config) schedule {
	return schedule{
		interval: int64(c.Interval), flood: c.Flood, adaptive: c.Adaptive, preload: uint64(c.Preload),
	}
}

// byReplies tells whether replies set the pace.
func (s *schedule) byReplies() bool { return s.flood || s.adaptive }

// outstanding is how many probes may be out at once: as many as the timeout
// holds, and those of a catch-up.
func (s *schedule) outstanding(timeout int64) int64 {
	if s.byReplies() {
		return maxOutstanding
	}
	return (timeout+s.late())/s.interval + int64(s.preload)
}

// late is how far the engine may fall behind.
func (s *schedule) late() int64 { return max(min(catchUp, catchUpProbes*s.interval), s.interval) }

func (s *schedule) start(now int64) {
	s.next, s.opened = now, now
}

// due is when the next probe is to leave with so many out that nothing was
// heard of since, and that smoothed RTT, 0 if there was none yet.
func (s *schedule) due(out uint64, rtt time.Duration) int64 {
	switch {
	case !s.byReplies():
		return s.next
	case out < s.preload:
		return max(s.opened, s.last)
	case s.flood:
		return s.last + floodPatience
	case rtt == 0:
		return s.last + s.interval
	}
	return s.last + max(int64(rtt), floodPatience)
}

// skip leaves out the places in the schedule that are too far back, and returns
// how many.
func (s *schedule) skip(now int64) uint64 {
	behind := now - s.next
	if s.byReplies() || behind <= s.late() {
		return 0
	}
	places := behind / s.interval
	s.next += places * s.interval
	return uint64(places)
}

// sent says that probe n has left, or failed to.
func (s *schedule) sent(n uint64, now int64) {
	s.last = now
	if n >= s.preload {
		s.next += s.interval
	}
}

// answered says that an answer has come.
func (s *schedule) answered(now int64) { s.opened = now }

// backOff is how long to leave a full queue alone.
func (s *schedule) backOff() int64 { return min(max(s.interval/2, minBackOff), maxBackOff) }
