//go:build linux

package probe

import (
	"testing"

	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// BenchmarkExchange asks 4,096 hosts behind Linux's own stack, sockets opened and
// closed and all.
func BenchmarkExchange(b *testing.B) {
	const hosts = 4096
	pair := labtest.NewPair(b, nil)
	frames := manyEchoes(b, pair, manyHosts(b, pair), hosts)
	missing := 0
	b.ReportAllocs()
	for b.Loop() {
		answered, unanswered, err := exchangeIn(b, pair.Near, frames, ExchangeConfig{Timeout: DefaultTimeout})
		if err != nil || len(answered)+len(unanswered) != hosts {
			b.Fatalf("%d answered, %d not, %v", len(answered), len(unanswered), err)
		}
		missing += len(unanswered)
	}
	b.ReportMetric(float64(b.N*hosts)/b.Elapsed().Seconds(), "frames/s")
	b.ReportMetric(float64(missing)/float64(b.N), "unanswered")
}

// BenchmarkExchangerRun asks hosts without end, a request an operation.
func BenchmarkExchangerRun(b *testing.B) {
	const hosts = 4096
	pair := labtest.NewPair(b, nil)
	frames := manyEchoes(b, pair, manyHosts(b, pair), hosts)
	x := exchanger(b, pair.Near, ExchangeConfig{Timeout: DefaultTimeout})
	b.ReportAllocs()
	b.ResetTimer()
	missing := 0
	for e, err := range x.Run(b.Context(), func(yield func([]byte, error) bool) {
		for i := range b.N {
			if !yield(frames[i%hosts], nil) {
				return
			}
		}
	}) {
		if err != nil {
			b.Fatal(err)
		}
		if !e.Answered {
			missing++
		}
	}
	b.ReportMetric(float64(missing), "unanswered")
}
