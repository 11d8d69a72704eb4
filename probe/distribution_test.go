//go:build linux

package probe

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/l2ping/l2ping/l2"
)

// lognormal returns times as a LAN's: most within an octave, some far out.
func lognormal(seed uint64, n int) []time.Duration {
	random := rand.New(rand.NewPCG(seed, 0))
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = time.Duration(11_000 * math.Exp(random.NormFloat64()/2))
		if random.IntN(100) == 0 {
			all[i] *= time.Duration(1 + random.IntN(100_000))
		}
	}
	return all
}

// The buckets are those that HdrHistogram's own code has.
func TestHistogramBuckets(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for grain, digits := range map[grain]int{grainCoarse: coarseDigits, grainMedium: mediumDigits, grainFine: fineDigits} {
		h := histogram{grain: grain}
		values := []time.Duration{0, histogramMost}
		for shift := range 42 {
			for near := time.Duration(-2); near <= 2; near++ {
				values = append(values, 1<<shift+near)
			}
			for range 10 {
				values = append(values, time.Duration(random.Int64N(1<<shift)))
			}
		}
		for _, v := range values {
			if v < 0 || v > histogramMost {
				continue
			}
			i := h.bucket(v)
			counts := make([]int64, i+1)
			counts[i] = 1
			theirs := hdrhistogram.Import(&hdrhistogram.Snapshot{
				LowestTrackableValue: 1, HighestTrackableValue: int64(histogramMost), SignificantFigures: int64(digits), Counts: counts,
			})
			if !theirs.ValuesAreEquivalent(int64(v), theirs.ValueAtQuantile(100)) {
				t.Fatalf("%d digits: %d ns is in bucket %d, that of %d", digits, v, i, theirs.ValueAtQuantile(100))
			}
			if got, want := h.most(i), theirs.ValueAtQuantile(100); int64(got) != want {
				t.Fatalf("%d digits: bucket %d ends at %d ns, want %d", digits, i, got, want)
			}
		}
		for v, want := range map[time.Duration]time.Duration{
			-1: 0, math.MinInt64: 0, histogramMost + 1: histogramMost, math.MaxInt64: histogramMost,
		} {
			if got := h.bucket(v); got != h.bucket(want) {
				t.Errorf("%d ns is in bucket %d, not in that of %d", v, got, want)
			}
		}
	}
}

var quantiles = []float64{1e-9, 0.001, 0.01, 0.1, 0.25, 1.0 / 3, 0.5, 0.55, 0.75, 0.9, 0.99, 0.999, 0.9999, 1 - 1e-9}

// Quantiles are held against sorted times, their ranks against exact arithmetic.
func TestQuantile(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 11, 100, 1000, 1001, 20_000} {
		all := lognormal(uint64(n), n)
		var r RTT
		var d Distribution
		for _, v := range all {
			r.Add(v)
			d.Add(v)
		}
		slices.Sort(all)
		for _, q := range quantiles {
			// q is the decimal fraction that is nearest to the float.
			share, ok := new(big.Rat).SetString(big.NewFloat(q).Text('g', 15))
			if !ok {
				t.Fatal(q)
			}
			share.Mul(share, new(big.Rat).SetInt64(int64(n)))
			rank := new(big.Int).Add(share.Num(), new(big.Int).Sub(share.Denom(), big.NewInt(1)))
			rank.Div(rank, share.Denom())
			want := all[rank.Int64()-1]
			if got := r.Quantile(q); got < want || float64(got-want) > float64(want)/1000 {
				t.Errorf("RTT: quantile %v of %d is %d, want %d", q, n, got, want)
			}
			if got := d.Quantile(q); got < want || float64(got-want) > float64(want)/100 {
				t.Errorf("quantile %v of %d is %d, want %d", q, n, got, want)
			}
		}
		for q, want := range map[float64]time.Duration{
			0: all[0], -1: all[0], math.Inf(-1): all[0], math.NaN(): all[0],
			1: all[n-1], 1.5: all[n-1], math.Inf(1): all[n-1],
		} {
			if got := d.Quantile(q); got != want {
				t.Errorf("quantile %v of %d is %d, want %d", q, n, got, want)
			}
		}
	}
}

func TestQuantileOfWhatIsOdd(t *testing.T) {
	var none Distribution
	for _, q := range []float64{0, 0.5, 1} {
		if got := none.Quantile(q); got != 0 {
			t.Errorf("quantile %v of nothing is %v", q, got)
		}
	}
	for _, tt := range []struct {
		name string
		all  []time.Duration
		q    float64
		want time.Duration
	}{
		{"zeros", []time.Duration{0, 0, 0}, 0.5, 0},
		{"one value is exact", []time.Duration{123_456_789}, 0.5, 123_456_789},
		{"all over an hour", []time.Duration{2 * time.Hour, 3 * time.Hour}, 0.5, 2 * time.Hour},
		{"negative ones are the least", []time.Duration{-5, -4, 1000, 1000, 1000}, 0.3, 0},
		{"all are negative", []time.Duration{-5, -4}, 0.5, -4},
		{"extremes", []time.Duration{math.MinInt64, math.MaxInt64, 7}, 0.5, 7},
	} {
		var d Distribution
		for _, v := range tt.all {
			d.Add(v)
		}
		if got := d.Quantile(tt.q); got != tt.want {
			t.Errorf("%s: quantile %v is %v, want %v", tt.name, tt.q, got, tt.want)
		}
		if d.Min != slices.Min(tt.all) || d.Max != slices.Max(tt.all) || d.Count != uint64(len(tt.all)) {
			t.Errorf("%s: %d from %v to %v", tt.name, d.Count, d.Min, d.Max)
		}
	}
}

// exact are the mean and the standard deviation by whole numbers of any size.
func exact(all []time.Duration) (mean time.Duration, stddev float64) {
	sum, squares := new(big.Int), new(big.Int)
	for _, v := range all {
		x := big.NewInt(int64(v))
		sum.Add(sum, x)
		squares.Add(squares, x.Mul(x, x))
	}
	n := big.NewInt(int64(len(all)))
	// floor((2 * sum + n) / 2n): rounded to the nearest, halves up.
	rounded := new(big.Int).Add(new(big.Int).Lsh(sum, 1), n)
	mean = time.Duration(rounded.Div(rounded, new(big.Int).Lsh(n, 1)).Int64())
	// (n * squares - sum^2) / n^2
	v := new(big.Int).Mul(n, squares)
	v.Sub(v, new(big.Int).Mul(sum, sum))
	variance, _ := new(big.Rat).SetFrac(v, new(big.Int).Mul(n, n)).Float64()
	return mean, math.Sqrt(variance)
}

func TestMeanAndStddev(t *testing.T) {
	for name, all := range map[string][]time.Duration{
		"a LAN": lognormal(1, 300_000),
		"an hour and a little": func() []time.Duration {
			all := lognormal(2, 100_000)
			for i := range all {
				all[i] = time.Hour + all[i]%1000
			}
			return all
		}(),
		"negative ones":          {-7, -8, 3},
		"a half":                 {1, 2},
		"the longest":            {math.MaxInt64, math.MaxInt64, math.MaxInt64 - 3},
		"the longest both ways":  {math.MaxInt64, math.MinInt64, math.MinInt64, 5},
		"the longest before all": {math.MinInt64, math.MinInt64, math.MinInt64},
	} {
		var d Distribution
		for _, v := range all {
			d.Add(v)
		}
		mean, stddev := exact(all)
		if got := d.Mean(); got != mean {
			t.Errorf("%s: mean %v, exactly %v", name, got, mean)
		}
		if got := float64(d.Stddev()); math.Abs(got-stddev) > 0.51+stddev*1e-6+math.Abs(float64(mean))*1e-15 {
			t.Errorf("%s: standard deviation %v, exactly %v", name, got, stddev)
		}
	}
}

// After a billion times the next ones still have their weight: no more, no less.
func TestLongRun(t *testing.T) {
	const before, more = 1 << 34, 1 << 20
	r := RTT{Distribution: Distribution{Count: before, Min: 9900, Max: 10_100, mean: 10_000, m2: before * 100 * 100}}
	r.sum.low = before * 10_000
	r.histogram.grain = grainFine
	r.histogram.add(9900, before/2)
	r.histogram.add(10_100, before/2)
	for range more {
		r.Add(26_000_000)
	}
	if r.Count != before+more || r.Min != 9900 || r.Max != 26_000_000 {
		t.Errorf("%d times from %v to %v", r.Count, r.Min, r.Max)
	}
	// mean = (before*10000 + more*26e6) / (before + more), in big numbers.
	n, a, b := big.NewRat(before+more, 1), big.NewRat(before, 1), big.NewRat(more, 1)
	mean := new(big.Rat).Mul(a, big.NewRat(10_000, 1))
	mean.Add(mean, new(big.Rat).Mul(b, big.NewRat(26_000_000, 1))).Quo(mean, n)
	square := new(big.Rat).Mul(a, big.NewRat(10_000*10_000+100*100, 1))
	square.Add(square, new(big.Rat).Mul(b, big.NewRat(26_000_000*26_000_000, 1))).Quo(square, n)
	variance, _ := square.Sub(square, new(big.Rat).Mul(mean, mean)).Float64()
	if want, _ := mean.Float64(); r.Mean() != time.Duration(math.Round(want)) {
		t.Errorf("mean %v, want %v", r.Mean(), want)
	}
	if want := math.Sqrt(variance); math.Abs(float64(r.Stddev())-want) > 0.51 {
		t.Errorf("standard deviation %v, want %v", r.Stddev(), want)
	}
	for q, want := range map[float64]time.Duration{
		float64(before/2) / (before + more):      9900,
		float64(before/2+1) / (before + more):    10_100,
		float64(before) / (before + more):        10_100,
		float64(before+1) / (before + more):      26_000_000,
		float64(before+more) / (before + more):   26_000_000,
		float64(before+more-1) / (before + more): 26_000_000,
	} {
		if got := r.Quantile(q); got < want || got > want+want/1000 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}

// Worked out by hand, from RFC 3550, section 6.4.1: J += (|D| - J) / 16.
func TestJitter(t *testing.T) {
	var r RTT
	for i, step := range []struct{ rtt, want time.Duration }{
		{100 * time.Millisecond, 0},
		{120 * time.Millisecond, 1_250_000}, // 20/16
		{110 * time.Millisecond, 1_796_875}, // + (10 - 1.25) / 16
		{150 * time.Millisecond, 4_184_570}, // + (40 - 1.796875) / 16
		{150 * time.Millisecond, 3_923_035}, // - 4.1845703125 / 16
	} {
		r.Add(step.rtt)
		if r.Jitter != step.want {
			t.Errorf("after %d replies %d, want %d", i+1, r.Jitter, step.want)
		}
	}
	var steady RTT
	for range 100 {
		steady.Add(10_000)
	}
	if steady.Jitter != 0 {
		t.Errorf("%v though nothing changes", steady.Jitter)
	}
}

// The delays are those of RFC 5481, section 4.3: 20, 10, 20, 25 and 20 ms, which
// vary by 10, 0, 10, 15 and 10 ms.
func TestPDV(t *testing.T) {
	var r RTT
	if r.PDV(0.999) != 0 {
		t.Errorf("%v of nothing", r.PDV(0.999))
	}
	for _, ms := range []time.Duration{20, 10, 20, 25, 20} {
		r.Add(ms * time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{0: 0, 0.2: 0, 0.21: 10, 0.5: 10, 0.8: 10, 0.81: 15, 0.999: 15, 1: 15} {
		want *= time.Millisecond
		if got := r.PDV(q); got < want || got > want+25*time.Microsecond {
			t.Errorf("a share of %v varies up to %v, want %v", q, got, want)
		}
	}
}

// aReply is a reply with a whole budget.
func aReply(rtt time.Duration) *Reply {
	return &Reply{State: StateReplied, RTT: rtt, RTTSource: l2.StampHardware, Budget: Budget{
		Send: rtt / 2, Queue: rtt / 4, Wire: rtt, Receive: rtt / 3, NIC: rtt / 5,
	}}
}

// bytes is the memory that statistics hold besides their own size.
func (s *Statistics) bytes() (n int) {
	for _, d := range s.distributions() {
		n += 8 * cap(d.histogram.counts)
	}
	return n
}

// A long run takes what a short one does, and no reply takes anything.
func TestStatisticsMemory(t *testing.T) {
	var s Statistics
	if s.bytes() != 0 {
		t.Errorf("%d bytes before anything came", s.bytes())
	}
	var d Distribution
	d.Add(1)
	var r RTT
	r.Add(1)
	if got := 8 * cap(d.histogram.counts); got > 36<<10 {
		t.Errorf("a distribution takes %d bytes", got)
	}
	if got := 8 * cap(r.histogram.counts); got > 262<<10 {
		t.Errorf("RTTs take %d bytes", got)
	}
	all := lognormal(7, 1000)
	add := func(n int) {
		for i := range n {
			v := all[i%len(all)]
			s.addReply(aReply(v))
			s.TimerError.Add(v)
		}
	}
	add(1000)
	thousand := s.bytes()
	if thousand > (262+6*36)<<10 {
		t.Errorf("%d bytes", thousand)
	}
	if n := testing.AllocsPerRun(1, func() { add(250_000) }); n != 0 {
		t.Errorf("adding replies allocates %v times", n)
	}
	if n := testing.AllocsPerRun(1, func() {
		for i := range 5_000_000 {
			s.TimerError.Add(all[i%len(all)])
		}
	}); n != 0 {
		t.Errorf("adding times allocates %v times", n)
	}
	if s.RTT.Count != 501_000 || s.Stamps[l2.StampHardware] != s.RTT.Count || s.TimerError.Count != 10_501_000 {
		t.Errorf("counted %d, %v, %d", s.RTT.Count, s.Stamps, s.TimerError.Count)
	}
	if s.bytes() != thousand {
		t.Errorf("%d bytes after a thousand replies, %d after ten million", thousand, s.bytes())
	}
}

func TestAddReply(t *testing.T) {
	for _, tt := range []struct {
		state State
		adds  bool
	}{
		{StateNone, false}, {StateReplied, true}, {StateReordered, true}, {StateLate, true}, {StateDuplicate, false},
	} {
		var s Statistics
		r := aReply(60)
		r.State, r.RTTSource = tt.state, l2.StampSched
		r.Budget.Queue, r.Budget.NIC = Unknown, Unknown
		s.addReply(r)
		var want uint64
		if tt.adds {
			want = 1
		}
		b := &s.Budget
		got := []uint64{s.RTT.Count, s.Stamps[l2.StampSched], b.Send.Count, b.Wire.Count, b.Receive.Count}
		if slices.ContainsFunc(got, func(n uint64) bool { return n != want }) || b.Queue.Count+b.NIC.Count != 0 {
			t.Errorf("%q: %v, queue %d, nic %d", tt.state, got, b.Queue.Count, b.NIC.Count)
		}
		if tt.adds && (b.Send.Min != 30 || b.Wire.Max != 60 || b.Receive.Mean() != 20 || s.RTT.Min != 60) {
			t.Errorf("%q: %+v", tt.state, s)
		}
	}
}

// A copy stays as it is, and can be read while the original is added to.
func TestStatisticsClone(t *testing.T) {
	var s Statistics
	empty := s.clone()
	for _, v := range lognormal(8, 1000) {
		s.addReply(aReply(v))
		s.TimerError.Add(v)
	}
	read := func(s *Statistics) (all []time.Duration) {
		for _, d := range s.distributions() {
			all = append(all, d.Min, d.Max, d.Mean(), d.Stddev(), d.Quantile(0.5), d.Quantile(0.999))
		}
		return append(all, s.RTT.Jitter, s.RTT.Smoothed, s.RTT.PDV(0.9))
	}
	before := read(&s)
	c := s.clone()
	done := make(chan []time.Duration)
	go func() {
		for range 100 {
			read(&c)
		}
		done <- read(&c)
	}()
	for _, v := range lognormal(9, 10_000) {
		s.addReply(aReply(10 * v))
	}
	if got := <-done; !slices.Equal(got, before) {
		t.Errorf("the copy has\n%v, had\n%v", got, before)
	}
	if slices.Equal(read(&s), before) {
		t.Error("the original has not changed")
	}
	if cc := c.clone(); !slices.Equal(read(&cc), before) {
		t.Errorf("the copy's copy has\n%v, want\n%v", read(&cc), before)
	}
	if c.bytes() >= s.bytes() {
		t.Errorf("a copy takes %d bytes, the original %d", c.bytes(), s.bytes())
	}

	// A copy can be added to like any other.
	other := s.clone()
	for _, v := range lognormal(10, 1000) {
		s.addReply(aReply(v / 100))
		other.addReply(aReply(v / 100))
	}
	if !slices.Equal(read(&other), read(&s)) {
		t.Errorf("added to, the copy has\n%v, the original\n%v", read(&other), read(&s))
	}
	for _, got := range read(&empty) {
		if got != 0 {
			t.Errorf("the empty copy has %v", read(&empty))
			break
		}
	}
}

func BenchmarkAddReply(b *testing.B) {
	var s Statistics
	all := lognormal(1, 1<<16)
	r := aReply(0)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		r.RTT = all[i&(1<<16-1)]
		r.Budget.Send, r.Budget.Wire = r.RTT/2, r.RTT
		s.addReply(r)
		s.TimerError.Add(r.RTT)
		i++
	}
}

func BenchmarkCloneStatistics(b *testing.B) {
	var s Statistics
	for _, v := range lognormal(1, 1<<16) {
		s.addReply(aReply(v))
		s.TimerError.Add(v)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.clone()
	}
}
