//go:build linux

package probe

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/l2ping/l2ping/l2"
)

func TestDefaults(t *testing.T) {
	c := Config{Target: farIP}
	if err := c.setDefaults(); err != nil {
		t.Fatal(err)
	}
	if c.Interval != time.Second || c.Timeout != 2*time.Second || *c.DataLen != 56 || c.TTL != 64 || c.Count != 0 || c.Deadline != 0 {
		t.Errorf("defaults are %+v", c)
	}
	c = Config{Target: farIP, Interval: time.Millisecond, Timeout: time.Minute, DataLen: new(0), TTL: 1}
	if err := c.setDefaults(); err != nil {
		t.Fatal(err)
	}
	if c.Interval != time.Millisecond || c.Timeout != time.Minute || *c.DataLen != 0 || c.TTL != 1 {
		t.Errorf("what was given has become %+v", c)
	}
}

// Where sequence numbers would come round before the default timeout, it is less;
// replies that set the pace leave it alone.
func TestDefaultTimeout(t *testing.T) {
	for _, tt := range []struct {
		c    Config
		want time.Duration
	}{
		{Config{Interval: 10 * time.Microsecond}, 655_350 * time.Microsecond},
		{Config{Interval: 30 * time.Microsecond}, 1_966_050 * time.Microsecond},
		{Config{Interval: 31 * time.Microsecond}, DefaultTimeout},
		{Config{Interval: MaxDuration}, DefaultTimeout},
		{Config{Interval: 10 * time.Microsecond, Flood: true}, DefaultTimeout},
		{Config{Interval: 10 * time.Microsecond, Adaptive: true}, DefaultTimeout},
	} {
		tt.c.Target = farIP
		if err := tt.c.setDefaults(); err != nil || tt.c.Timeout != tt.want {
			t.Errorf("interval %v: timeout %v, %v, want %v", tt.c.Interval, tt.c.Timeout, err, tt.want)
		}
	}
}

func TestBadConfig(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    Config
		want string
	}{
		{"no target", Config{}, "no target"},
		{"IPv6", Config{Target: netip.MustParseAddr("2001:db8::1")}, "only IPv4"},
		{"IPv4 in IPv6", Config{Target: netip.MustParseAddr("::ffff:198.51.100.2")}, "only IPv4"},
		{"unspecified", Config{Target: netip.IPv4Unspecified()}, "nobody's"},
		{"interval below zero", Config{Target: farIP, Interval: -1}, "interval -1ns"},
		{"interval too short", Config{Target: farIP, Interval: MinInterval - 1}, "at least 10µs"},
		{"timeout below zero", Config{Target: farIP, Timeout: -1}, "negative"},
		{"deadline below zero", Config{Target: farIP, Deadline: -1}, "negative"},
		{"absurd interval", Config{Target: farIP, Interval: MaxDuration + 1}, "365 days"},
		{"absurd timeout", Config{Target: farIP, Timeout: MaxDuration + 1}, "365 days"},
		{"absurd deadline", Config{Target: farIP, Deadline: MaxDuration + 1}, "365 days"},
		{"more out than sequence numbers", Config{Target: farIP, Interval: time.Millisecond, Timeout: 66 * time.Second}, "sequence numbers"},
		{"flood and adaptive", Config{Target: farIP, Flood: true, Adaptive: true}, "only one of them"},
		{"hardware set and not used", Config{Target: farIP, SetHardware: true, Timestamps: TimestampsUser}, "the NIC would be set to stamp, and user stamps used"},
		{"preload below zero", Config{Target: farIP, Preload: -1}, "preload -1"},
		{"more preload than sequence numbers", Config{Target: farIP, Preload: 65536}, "preload 65536: not from 1 to 65535"},
		{"data below zero", Config{Target: farIP, DataLen: new(-1)}, "negative"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := New(tt.c)
			if p != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, %v, want an error with %q", p, err, tt.want)
			}
		})
	}
}

func TestSize(t *testing.T) {
	for _, tt := range []struct {
		mtu, data int
		want      string
	}{
		{1500, 1472, ""},
		{1500, 1473, "1473 data bytes do not fit: the MTU of eth0 is 1500, which leaves 1472"},
		{68, 40, ""},
		{68, 41, "leaves 40"},
		{20, 0, "leaves 0"},
	} {
		c := Config{DataLen: &tt.data}
		err := c.checkSize(&l2.Path{MTU: tt.mtu, Interface: &l2.Interface{Name: "eth0"}})
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("MTU %d, %d bytes: %v, want %q", tt.mtu, tt.data, err, tt.want)
		}
	}
}

func TestTimestampsNames(t *testing.T) {
	for _, want := range []Timestamps{TimestampsAuto, TimestampsHardware, TimestampsDriver, TimestampsSched, TimestampsUser} {
		if got, err := ParseTimestamps(want.String()); got != want || err != nil {
			t.Errorf("%q is read as %v, %v", want, got, err)
		}
	}
	for _, s := range []string{"", "Auto", "software", "driver "} {
		if _, err := ParseTimestamps(s); err == nil || !strings.Contains(err.Error(), "not one of") {
			t.Errorf("%q: %v", s, err)
		}
	}
}
