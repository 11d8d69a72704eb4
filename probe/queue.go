//go:build linux

package probe

// A queue has the targets that are not over, the one with something to do first
// at its top: a binary heap, in which each target knows its place.
type queue []*target

// push adds a target.
func (q *queue) push(t *target) {
	t.place = len(*q)
	*q = append(*q, t)
	q.up(t.place)
}

// remove takes a target out.
func (q *queue) remove(t *target) {
	i, last := t.place, len(*q)-1
	q.swap(i, last)
	(*q)[last] = nil
	*q = (*q)[:last]
	t.place = -1
	if i < last {
		q.moved((*q)[i])
	}
}

// moved puts a target where its time belongs.
func (q *queue) moved(t *target) {
	if i := t.place; !q.down(i) {
		q.up(i)
	}
}

func (q queue) swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

func (q queue) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if q[parent].at <= q[i].at {
			return
		}
		q.swap(i, parent)
		i = parent
	}
}

// down tells whether anything moved.
func (q queue) down(i int) bool {
	from := i
	for {
		child := 2*i + 1
		if child >= len(q) {
			return i > from
		}
		if right := child + 1; right < len(q) && q[right].at < q[child].at {
			child = right
		}
		if q[i].at <= q[child].at {
			return i > from
		}
		q.swap(i, child)
		i = child
	}
}

// until appends the targets at or below place i whose time has come.
func (q queue) until(i int, now int64, due *[]*target) {
	if i >= len(q) || q[i].at > now {
		return
	}
	*due = append(*due, q[i])
	q.until(2*i+1, now, due)
	q.until(2*i+2, now, due)
}
