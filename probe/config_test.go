//go:build linux

package probe

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

func TestDefaults(t *testing.T) {
	c := Config{Targets: Hosts(farIP)}
	if err := c.setDefaults(); err != nil {
		t.Fatal(err)
	}
	if c.Interval != time.Second || c.Timeout != 2*time.Second || *c.DataLen != 56 || c.TTL != 64 || c.Count != 0 || c.Deadline != 0 {
		t.Errorf("defaults are %+v", c)
	}
	c = Config{Targets: Hosts(farIP), Interval: time.Millisecond, Timeout: time.Minute, DataLen: new(0), TTL: 1}
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
		tt.c.Targets = Hosts(farIP)
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
		{"twice", Config{Targets: Hosts(farIP, nearIP, netip.MustParseAddr("::ffff:"+farIP.String()))}, farIP.String() + " is a target twice"},
		{"two zones", Config{Targets: Hosts(netip.MustParseAddr("fe80::1%a"), netip.MustParseAddr("fe80::2%b"))}, "are on two interfaces"},
		{"zone and interface", Config{Targets: Hosts(netip.MustParseAddr("fe80::1%a")), Interface: "b"}, "on another interface than b"},
		{"IPv4 gateway of IPv6", Config{Targets: Hosts(netip.MustParseAddr("2001:db8::1")), Gateway: farIP}, "cannot be the next hop of 2001:db8::1"},
		{"group as a gateway", Config{Targets: Hosts(farIP), Gateway: netip.MustParseAddr("224.0.0.1")}, "not a host's address"},
		{"group as a source", Config{Targets: Hosts(farIP), Source: netip.MustParseAddr("224.0.0.1")}, "not a host's address"},
		{"gateway and source alike", Config{Targets: Hosts(farIP), Source: nearIP, Gateway: nearIP}, "is the source itself"},
		{"group as source MAC", Config{Targets: Hosts(farIP), SrcMAC: frame.Broadcast}, "a group sends nothing"},
		{"three tags", Config{Targets: Hosts(farIP), VLANs: make([]frame.VLAN, 3)}, "3 VLAN tags: at most 2"},
		{"enough of too few", Config{Targets: Hosts(farIP), Enough: 2}, "2 targets that have to answer: there are 1"},
		{"too much data", Config{Targets: Hosts(farIP), DataLen: new(65508)}, "65508 data bytes: not from 0 to 65507"},
		{"unspecified", Config{Targets: Hosts(netip.IPv4Unspecified())}, "nobody's"},
		{"interval below zero", Config{Targets: Hosts(farIP), Interval: -1}, "interval -1ns"},
		{"interval too short", Config{Targets: Hosts(farIP), Interval: MinInterval - 1}, "at least 10µs"},
		{"timeout below zero", Config{Targets: Hosts(farIP), Timeout: -1}, "negative"},
		{"deadline below zero", Config{Targets: Hosts(farIP), Deadline: -1}, "negative"},
		{"absurd interval", Config{Targets: Hosts(farIP), Interval: MaxDuration + 1}, "365 days"},
		{"absurd timeout", Config{Targets: Hosts(farIP), Timeout: MaxDuration + 1}, "365 days"},
		{"absurd deadline", Config{Targets: Hosts(farIP), Deadline: MaxDuration + 1}, "365 days"},
		{"more out than sequence numbers", Config{Targets: Hosts(farIP), Interval: time.Millisecond, Timeout: 66 * time.Second}, "sequence numbers"},
		{"flood and adaptive", Config{Targets: Hosts(farIP), Flood: true, Adaptive: true}, "only one of them"},
		{"hardware set and not used", Config{Targets: Hosts(farIP), SetHardware: true, Timestamps: TimestampsUser}, "the NIC would be set to stamp, and user stamps used"},
		{"preload below zero", Config{Targets: Hosts(farIP), Preload: -1}, "preload -1"},
		{"more preload than sequence numbers", Config{Targets: Hosts(farIP), Preload: 65536}, "preload 65536: not from 1 to 65535"},
		{"data below zero", Config{Targets: Hosts(farIP), DataLen: new(-1)}, "-1 data bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := New(tt.c)
			if p != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, %v, want an error with %q", p, err, tt.want)
			}
		})
	}
}

// What does not fit is sent in fragments, unless that was ruled out.
func TestSize(t *testing.T) {
	ifc := &l2.Interface{Name: "eth0", MTU: 1500, LinkType: "ether"}
	far6, near6 := netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8::1")
	q := []frame.VLAN{{Type: frame.EtherTypeQinQ, TCI: 200}, {Type: frame.EtherTypeVLAN, TCI: 100}}
	for _, tt := range []struct {
		name      string
		c         Config
		mtu, data int
		v6        bool
		mayRouter bool // fragment it
		frames    int
		want      string
	}{
		{"fits", Config{PMTU: PMTUDo}, 1500, 1472, false, false, 1, ""},
		{"a byte too long", Config{PMTU: PMTUDo}, 1500, 1473, false, false, 0, "1473 data bytes do not fit: the MTU of eth0 is 1500, which leaves 1472"},
		{"IPv6 fits", Config{PMTU: PMTUDo}, 1500, 1452, true, false, 1, ""},
		{"IPv6, a byte too long", Config{PMTU: PMTUDo}, 1500, 1453, true, false, 0, "which leaves 1452"},
		{"tiny MTU", Config{PMTU: PMTUDo}, 20, 0, false, false, 0, "leaves 0"},
		{"want, fits", Config{}, 1500, 1472, false, false, 1, ""},
		{"want, a byte too long", Config{}, 1500, 1473, false, true, 2, ""},
		{"dont, fits", Config{PMTU: PMTUDont}, 1500, 1472, false, true, 1, ""},
		{"most", Config{}, 1500, 65507, false, true, 45, ""},
		{"IPv6, most", Config{}, 1500, 65507, true, false, 46, ""},
		{"a tag", Config{PMTU: PMTUDo, VLANs: q[1:]}, 1500, 1472, false, false, 1, ""},
		{"two tags", Config{PMTU: PMTUDo, VLANs: q}, 1500, 1472, false, false, 0, "the MTU of eth0 is 1492"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.c.DataLen = &tt.data
			path := &l2.Path{MTU: tt.mtu, Interface: ifc, Owner: ifc, Source: nearIP, Destination: farIP}
			if tt.v6 {
				path.Source, path.Destination = near6, far6
			}
			echo, err := tt.c.echo(path, secret{})
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			template, err := echo.Template()
			if err != nil {
				t.Fatal(err)
			}
			template.Patch(1)
			if n := len(template.Fragments()); n != tt.frames || !tt.v6 && echo.DontFragment == tt.mayRouter {
				t.Errorf("%d frames, don't fragment %v, want %d, %v", n, echo.DontFragment, tt.frames, !tt.mayRouter)
			}
		})
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
