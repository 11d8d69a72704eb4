//go:build linux

package arp

// A schedule is a heap of hops by when they are due. A hop knows its place in it.
type schedule []*Hop

// notScheduled is the place of a hop that is not in the heap.
const notScheduled int32 = -1

// set puts a hop where its time is now; never takes it out.
func (s *schedule) set(h *Hop, due moment) {
	switch {
	case due == never && h.place == notScheduled:
		return
	case due == never:
		s.remove(h)
		return
	case h.place == notScheduled:
		h.place = int32(len(*s))
		*s = append(*s, h)
	}
	h.due = due
	if !s.up(int(h.place)) {
		s.down(int(h.place))
	}
}

// first is the hop that is due first, nil if none is due at all.
func (s schedule) first() *Hop {
	if len(s) == 0 {
		return nil
	}
	return s[0]
}

func (s *schedule) remove(h *Hop) {
	i, last := int(h.place), len(*s)-1
	s.swap(i, last)
	(*s)[last] = nil
	*s = (*s)[:last]
	h.place, h.due = notScheduled, never
	if i < last && !s.up(i) {
		s.down(i)
	}
}

func (s schedule) swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].place, s[j].place = int32(i), int32(j)
}

// up moves the hop at i towards the top and reports whether it has moved.
func (s schedule) up(i int) bool {
	start := i
	for i > 0 {
		parent := (i - 1) / 2
		if s[parent].due <= s[i].due {
			break
		}
		s.swap(i, parent)
		i = parent
	}
	return i != start
}

func (s schedule) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(s) {
			return
		}
		if child+1 < len(s) && s[child+1].due < s[child].due {
			child++
		}
		if s[i].due <= s[child].due {
			return
		}
		s.swap(i, child)
		i = child
	}
}
