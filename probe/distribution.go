//go:build linux

package probe

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// A Distribution is a distribution of times in fixed memory, 36 KiB from the
// first time on, an RTT's 262 KiB; of these the kernel backs with memory only the
// pages that times fall into, on a LAN a tenth. The zero value is empty and ready
// for use. Two copies of one must not both be added to.
type Distribution struct {
	// Count is the number of times, Min and Max are the least and the
	// greatest.
	Count    uint64
	Min, Max time.Duration

	sum sum
	// Mean and squared deviations from it, by Welford's recurrence, which
	// loses nothing to cancellation however long the run.
	mean, m2 float64

	histogram histogram
}

// Add adds a time. It allocates at the first call alone.
func (d *Distribution) Add(v time.Duration) {
	d.Count++
	d.sum.add(v)
	x := float64(v)
	delta := x - d.mean
	d.mean += delta / float64(d.Count)
	d.m2 += delta * (x - d.mean)
	if d.Count == 1 {
		d.Min, d.Max = v, v
	} else {
		d.Min, d.Max = min(d.Min, v), max(d.Max, v)
	}
	d.histogram.add(v, 1)
}

// Mean is the arithmetic mean, exact however long the run; 0 of nothing.
func (d Distribution) Mean() time.Duration { return d.sum.over(d.Count) }

// Stddev is the standard deviation of the population, ping's mdev.
func (d Distribution) Stddev() time.Duration {
	if d.Count == 0 {
		return 0
	}
	return time.Duration(math.Round(math.Sqrt(d.m2 / float64(d.Count))))
}

// Quantile is the least time that a share q of all, from 0 to 1, does not exceed
// (RFC 2330, section 11.3); 0 of nothing. It is up to 1 % too long, of RTTs up to
// 0.1 %, but Quantile(0) is Min and Quantile(1) is Max exactly. Of times over an
// hour it tells no more than that.
func (d Distribution) Quantile(q float64) time.Duration {
	switch {
	case q >= 1:
		return d.Max
	case !(q > 0):
		return d.Min
	}
	// The product may have been rounded up past a whole number, as 0.55 * 100
	// is: q is made a little less, as HdrHistogram's own tools do.
	rank := math.Ceil(math.Nextafter(q, 0) * float64(d.Count))
	return max(min(d.histogram.at(uint64(rank)), d.Max), d.Min)
}

// clone returns a copy that shares nothing.
func (d *Distribution) clone() Distribution {
	c := *d
	c.histogram = d.histogram.clone()
	return c
}

// RTT is a distribution of round-trip times.
type RTT struct {
	Distribution
	// Smoothed is the moving average with a weight of 1/8 that ping calls
	// ewma.
	Smoothed time.Duration
	// Jitter is how much consecutive replies differ, in order of arrival: the
	// moving average with a weight of 1/16 of RFC 3550, section 6.4.1.
	Jitter time.Duration

	last             time.Duration
	smoothed, jitter float64
}

// Add adds the RTT of the reply that came next. It allocates at the first call
// alone.
func (r *RTT) Add(d time.Duration) { r.add(d, false) }

// add adds an RTT; coarsely it takes a fiftieth of the memory, from the first
// one on.
func (r *RTT) add(d time.Duration, coarsely bool) {
	r.histogram.grain = grainFine
	if coarsely {
		r.histogram.grain = grainCoarse
	}
	x := float64(d)
	if r.Count == 0 {
		r.smoothed = x
	} else {
		r.smoothed += (x - r.smoothed) / 8
		r.jitter += (math.Abs(x-float64(r.last)) - r.jitter) / 16
	}
	r.last = d
	r.Smoothed = time.Duration(math.Round(r.smoothed))
	r.Jitter = time.Duration(math.Round(r.jitter))
	r.Distribution.Add(d)
}

// PDV is the packet delay variation that a share q of the replies, from 0 to 1,
// does not exceed: their RTT less the least (RFC 5481, section 4.2).
func (r RTT) PDV(q float64) time.Duration { return r.Quantile(q) - r.Min }

// A sum is of 128 bits, in two's complement: int64 would do for a billion probes
// of 9 s.
type sum struct{ high, low uint64 }

func (s *sum) add(v time.Duration) {
	var carry uint64
	s.low, carry = bits.Add64(s.low, uint64(v), 0)
	s.high, _ = bits.Add64(s.high, uint64(v>>63), carry)
}

// over returns s/n, rounded to the nearest; the quotient has to fit.
func (s sum) over(n uint64) time.Duration {
	if n == 0 {
		return 0
	}
	negative := int64(s.high) < 0
	if negative {
		var borrow uint64
		s.low, borrow = bits.Sub64(0, s.low, 0)
		s.high, _ = bits.Sub64(0, s.high, borrow)
	}
	q, rest := bits.Div64(s.high%n, s.low, n)
	if rest >= n-rest {
		q++
	}
	if negative {
		return -time.Duration(q)
	}
	return time.Duration(q)
}

// A histogram counts times in the buckets of an HdrHistogram that begins at 1 ns.
// Times over histogramMost are counted in its last bucket, negative ones in its
// first.
type histogram struct {
	grain grain
	// counts are those of the buckets from base on. While times are added that
	// is all of them, in a copy those that are not 0.
	counts    []uint64
	base      int
	low, high int // the first and the last bucket that is not empty
}

const (
	histogramMost = time.Hour
	// HdrHistogram tells apart so many decimal digits: it halves each power of
	// two so many times that 2 * 10^digits buckets have a width of 1.
	fineDigits, mediumDigits, coarseDigits = 3, 2, 1
)

// A grain is how finely times are told apart.
type grain uint8

const (
	grainMedium grain = iota
	grainFine
	grainCoarse
)

// bits is how often each power of two is halved.
func (h *histogram) bits() int {
	switch h.grain {
	case grainFine:
		return 10
	case grainCoarse:
		return 4
	}
	return 7
}

// bucket returns the index of the bucket that a time belongs to.
func (h *histogram) bucket(v time.Duration) int {
	v = min(max(v, 0), histogramMost)
	shift := max(bits.Len64(uint64(v))-h.bits()-1, 0)
	return shift<<h.bits() + int(v>>shift)
}

// most returns the greatest time of a bucket.
func (h *histogram) most(bucket int) time.Duration {
	shift := max(bucket>>h.bits()-1, 0)
	return time.Duration(bucket-shift<<h.bits()+1)<<shift - 1
}

// add counts a time n times.
func (h *histogram) add(v time.Duration, n uint64) {
	i := h.bucket(v)
	if last := h.bucket(histogramMost); len(h.counts) <= last {
		counts := make([]uint64, last+1)
		copy(counts[h.base:], h.counts)
		if len(h.counts) == 0 {
			h.low, h.high = i, i
		}
		h.counts, h.base = counts, 0
	}
	h.low, h.high = min(h.low, i), max(h.high, i)
	h.counts[i] += n
}

// at returns the time that has a rank, from 1, in the order of all.
func (h *histogram) at(rank uint64) time.Duration {
	var before uint64
	for i, n := range h.counts[h.low-h.base : h.end()-h.base] {
		if before += n; before >= rank {
			return h.most(h.low + i)
		}
	}
	return 0
}

// end is the bucket behind the last one that is not empty.
func (h *histogram) end() int {
	if len(h.counts) == 0 {
		return h.low
	}
	return h.high + 1
}

// clone returns a copy that shares nothing.
func (h *histogram) clone() histogram {
	c := *h
	c.counts, c.base = slices.Clone(h.counts[h.low-h.base:h.end()-h.base]), h.low
	return c
}

// since returns what was counted in all buckets after a copy was made.
func (h *histogram) since(before *histogram) []int64 {
	counts := make([]int64, max(h.end(), before.end()))
	for i := h.low; i < h.end(); i++ {
		counts[i] = int64(h.counts[i-h.base])
	}
	for i := before.low; i < before.end(); i++ {
		counts[i] -= int64(before.counts[i-before.base])
	}
	return counts
}
