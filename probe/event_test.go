//go:build linux

package probe

import (
	"testing"
	"time"
)

func TestBudgetString(t *testing.T) {
	for _, tt := range []struct {
		b    Budget
		want string
	}{
		{Budget{Unknown, Unknown, Unknown, Unknown, Unknown}, ""},
		{Budget{6100, Unknown, 10600, 0, Unknown}, "send 6.1µs wire 10.6µs receive 0s"},
		{Budget{1, 2, 3, 4, time.Millisecond}, "send 1ns queue 2ns wire 3ns nic 1ms receive 4ns"},
	} {
		if got := tt.b.String(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
