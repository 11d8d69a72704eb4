//go:build linux

package arp

import (
	"fmt"
	"math"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/l2/frame"
)

var (
	someMAC  = frame.MAC{2, 0, 0x5e, 0, 0x53, 2}
	otherMAC = frame.MAC{2, 0, 0x5e, 0, 0x53, 0x66}
)

// A step is one call of a machine and what comes of it.
type step struct {
	at   float64 // in seconds
	call string  // next, demand, doubt, or answer and a MAC
	// want is what next says: where it sends to, and when to come back, or what
	// answer says; "" is nothing.
	want   string
	status Status
}

func TestMachine(t *testing.T) {
	unknown := Neighbor{}
	table := func(state State) Neighbor { return Neighbor{MAC: someMAC, How: HowTable, State: state} }
	const some, other, everybody = "02:00:5e:00:53:02", "02:00:5e:00:53:66", "ff:ff:ff:ff:ff:ff"
	for _, tt := range []struct {
		name  string
		start Neighbor
		steps []step
		took  time.Duration
	}{
		{"unknown, answered at once", unknown, []step{
			{0, "next", everybody + ", again 1s", Pending},
			{0.01, "answer " + some, "new", Resolved},
			{0.01, "next", "", Resolved},
			{29, "demand", "", Resolved},
			{29, "next", "", Resolved},
		}, 10 * time.Millisecond},
		{"one request a second, three tries, then failed", unknown, []step{
			{0, "next", everybody + ", again 1s", Pending},
			{0.5, "next", "again 1s", Pending},
			{0.999999999, "next", "again 1s", Pending},
			{1, "next", everybody + ", again 2s", Pending},
			{1.2, "demand", "", Pending},
			{1.2, "doubt", "", Pending},
			{1.2, "next", "again 2s", Pending},
			{2.5, "next", everybody + ", again 3.5s", Pending},
			{3.4, "next", "again 3.5s", Pending},
			{3.5, "next", "", Failed},
			{4, "next", "", Failed},
			{100, "next", "", Failed},
		}, 0},
		{"failed, asked again on demand", unknown, []step{
			{0, "next", everybody + ", again 1s", Pending},
			{1, "next", everybody + ", again 2s", Pending},
			{2, "next", everybody + ", again 3s", Pending},
			{3, "next", "", Failed},
			{3.1, "demand", "", Failed},
			{3.1, "next", everybody + ", again 4.1s", Failed},
			{3.2, "demand", "", Failed},
			{3.2, "next", "again 4.1s", Failed},
			{4.1, "next", everybody + ", again 5.1s", Failed},
			{4.6, "answer " + some, "new", Resolved},
			{4.6, "next", "", Resolved},
		}, 1500 * time.Millisecond},
		{"failed, and again failed: still one a second", unknown, []step{
			{0, "next", everybody + ", again 1s", Pending},
			{1, "next", everybody + ", again 2s", Pending},
			{2, "next", everybody + ", again 3s", Pending},
			{3, "next", "", Failed},
			{3, "demand", "", Failed},
			{3, "next", everybody + ", again 4s", Failed},
			{4, "next", everybody + ", again 5s", Failed},
			{5, "next", everybody + ", again 6s", Failed},
			{6, "next", "", Failed},
		}, 0},
		{"an answer after failure", unknown, []step{
			{0, "next", everybody + ", again 1s", Pending},
			{1, "next", everybody + ", again 2s", Pending},
			{2, "next", everybody + ", again 3s", Pending},
			{3, "next", "", Failed},
			{3.5, "answer " + some, "new", Resolved},
		}, 0},
		{"reachable: used, and confirmed when it is old", table(unix.NUD_REACHABLE), []step{
			{0, "next", "", Resolved},
			{1, "demand", "", Resolved},
			{1, "next", "", Resolved},
			{29.9, "demand", "", Resolved},
			{29.9, "next", "", Resolved},
			{30, "demand", "", Resolved},
			{30, "next", some + ", again 31s", Resolved},
			{30.1, "answer " + some, "", Resolved},
			{30.1, "next", "", Resolved},
			{60, "demand", "", Resolved},
			{60, "next", "", Resolved},
			{60.1, "demand", "", Resolved},
			{60.1, "next", some + ", again 1m1.1s", Resolved},
		}, 0},
		{"reachable: old, but nobody needs it", table(unix.NUD_REACHABLE), []step{
			{1000, "next", "", Resolved},
		}, 0},
		{"stale: used at once and confirmed", table(unix.NUD_STALE), []step{
			{0, "next", some + ", again 1s", Resolved},
			{0.1, "demand", "", Resolved},
			{0.1, "next", "again 1s", Resolved},
			{0.2, "answer " + some, "", Resolved},
			{0.2, "next", "", Resolved},
			{30, "demand", "", Resolved},
			{30, "next", "", Resolved},
			{30.2, "demand", "", Resolved},
			{30.2, "next", some + ", again 31.2s", Resolved},
		}, 0},
		{"delay", table(unix.NUD_DELAY), []step{{0, "next", some + ", again 1s", Resolved}}, 0},
		{"probe", table(unix.NUD_PROBE), []step{{0, "next", some + ", again 1s", Resolved}}, 0},
		{"stale, and nobody confirms: kept for a while", table(unix.NUD_STALE), []step{
			{0, "next", some + ", again 1s", Resolved},
			{1, "next", some + ", again 2s", Resolved},
			{2, "next", some + ", again 3s", Resolved},
			{3, "next", "", Resolved},
			{3, "demand", "", Resolved},
			{3, "next", "", Resolved},
			{32.9, "demand", "", Resolved},
			{32.9, "next", "", Resolved},
			{33, "demand", "", Resolved},
			{33, "next", some + ", again 34s", Resolved},
		}, 0},
		{"doubt asks everybody, but not before its time", table(unix.NUD_STALE), []step{
			{0, "next", some + ", again 1s", Resolved},
			{0.4, "doubt", "", Resolved},
			{0.4, "next", "again 1s", Resolved},
			{1, "next", everybody + ", again 2s", Resolved},
			{1.5, "doubt", "", Resolved},
			{1.5, "next", "again 2s", Resolved},
			{2, "next", everybody + ", again 3s", Resolved},
			{2.2, "answer " + other, "new", Resolved},
			{2.2, "next", "", Resolved},
		}, 1200 * time.Millisecond},
		{"doubt, and nobody answers", table(unix.NUD_REACHABLE), []step{
			{5, "doubt", "", Resolved},
			{5, "next", everybody + ", again 6s", Resolved},
			{6, "next", everybody + ", again 7s", Resolved},
			{7, "next", everybody + ", again 8s", Resolved},
			{8, "next", "", Failed},
			{9, "demand", "", Failed},
			{9, "next", everybody + ", again 10s", Failed},
		}, 0},
		{"doubt begins its three tries anew", table(unix.NUD_STALE), []step{
			{0, "next", some + ", again 1s", Resolved},
			{1, "next", some + ", again 2s", Resolved},
			{2, "next", some + ", again 3s", Resolved},
			{2.5, "doubt", "", Resolved},
			{3, "next", everybody + ", again 4s", Resolved},
			{4, "next", everybody + ", again 5s", Resolved},
			{5, "next", everybody + ", again 6s", Resolved},
			{6, "next", "", Failed},
		}, 0},
		{"the MAC moves while it is confirmed", table(unix.NUD_STALE), []step{
			{0, "next", some + ", again 1s", Resolved},
			{0.1, "answer " + other, "new", Resolved},
			{30.1, "demand", "", Resolved},
			{30.1, "next", other + ", again 31.1s", Resolved},
		}, 0},
		{"permanent is never asked", table(unix.NUD_PERMANENT), []step{
			{0, "next", "", Resolved},
			{0, "doubt", "", Resolved},
			{1000, "demand", "", Resolved},
			{1000, "next", "", Resolved},
		}, 0},
		{"noarp is never asked", table(unix.NUD_NOARP), []step{
			{0, "doubt", "", Resolved},
			{1000, "demand", "", Resolved},
			{1000, "next", "", Resolved},
		}, 0},
		{"a broadcast is never asked", Neighbor{MAC: frame.Broadcast}, []step{
			{0, "doubt", "", Resolved},
			{1000, "demand", "", Resolved},
			{1000, "next", "", Resolved},
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			epoch := time.Unix(1_000_000_000, 0)
			m := newMachine(tt.start, epoch)
			for i, s := range tt.steps {
				now := epoch.Add(time.Duration(math.Round(s.at * 1e9)))
				got := ""
				switch s.call {
				case "demand":
					m.demand(now)
				case "doubt":
					m.doubt()
				case "next":
					dst, send, again := m.next(now)
					if send {
						got = dst.String()
					} else if !dst.IsZero() {
						t.Errorf("step %d: nothing to send, but to %v", i, dst)
					}
					if !again.IsZero() {
						if got != "" {
							got += ", "
						}
						got += fmt.Sprintf("again %v", again.Sub(epoch).Round(time.Microsecond))
					}
				default:
					mac, err := frame.ParseMAC(s.call[len("answer "):])
					must(t, err)
					if m.answer(mac, now) {
						got = "new"
					}
					if m.mac != mac {
						t.Errorf("step %d: the MAC is %v", i, m.mac)
					}
				}
				if got != s.want || m.status != s.status {
					t.Fatalf("step %d, %v s, %s: %q, status %d, want %q, %d", i, s.at, s.call, got, m.status, s.want, s.status)
				}
			}
			if m.took.Round(time.Microsecond) != tt.took {
				t.Errorf("took %v, want %v", m.took, tt.took)
			}
		})
	}
}

// However it is driven, a machine asks at most once a second.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 2, 50, 0, 3, 200, 0}, uint8(0))
	f.Add([]byte{255, 1, 255, 1, 255, 0, 255, 0}, uint8(1))
	f.Fuzz(func(t *testing.T, script []byte, start uint8) {
		n := Neighbor{}
		if start%3 > 0 {
			n = Neighbor{MAC: someMAC, How: HowTable, State: unix.NUD_STALE}
		}
		if start%3 > 1 {
			n.State = unix.NUD_REACHABLE
		}
		now := time.Unix(1_000_000_000, 0)
		m := newMachine(n, now)
		var last time.Time
		for _, b := range script {
			now = now.Add(time.Duration(b>>2) * 50 * time.Millisecond)
			switch b & 3 {
			case 0:
				m.demand(now)
			case 1:
				m.doubt()
			case 2:
				m.answer(otherMAC, now)
			}
			dst, send, again := m.next(now)
			if send {
				if !last.IsZero() && now.Sub(last) < time.Second {
					t.Fatalf("asked again after %v", now.Sub(last))
				}
				last = now
				if dst != frame.Broadcast && dst != m.mac {
					t.Fatalf("asks %v, the MAC is %v", dst, m.mac)
				}
			}
			if !again.IsZero() && !again.After(now) {
				t.Fatalf("come back %v ago", now.Sub(again))
			}
			if (m.asking == askNothing) != again.IsZero() {
				t.Fatalf("asking %d, again %v", m.asking, again)
			}
			if m.status == Resolved && m.mac.IsZero() {
				t.Fatal("resolved without a MAC")
			}
		}
	})
}
