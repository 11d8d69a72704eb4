//go:build linux

package arp

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/l2/frame"
)

var (
	someMAC  = frame.MAC{2, 0, 0x5e, 0, 0x53, 2}
	otherMAC = frame.MAC{2, 0, 0x5e, 0, 0x53, 0x66}
)

// newMachine starts from what the kernel's table says.
func newMachine(e entry, now moment) (m machine) {
	m.learn(e, now)
	return m
}

// epoch is when the steps of a machine begin.
const epoch moment = 1_000_000_000

// A step is one call of a machine and what comes of it.
type step struct {
	at float64 // in seconds
	// call is next, demand, doubt; "answer", a MAC and the flags that an
	// advertisement has, or "reply" and a MAC, which is one with both flags;
	// "kernel", a state and a MAC.
	call string
	// want is what next says: where it sends to, and when to come back, or
	// what the others say; "" is nothing.
	want   string
	status Status
}

// states are the kernel's states by name.
var states = map[string]State{
	"none": 0, "incomplete": unix.NUD_INCOMPLETE, "reachable": unix.NUD_REACHABLE, "stale": unix.NUD_STALE, "delay": unix.NUD_DELAY,
	"probe": unix.NUD_PROBE, "failed": unix.NUD_FAILED, "noarp": unix.NUD_NOARP, "permanent": unix.NUD_PERMANENT,
}

// run makes one call and says what came of it.
func (s step) run(t *testing.T, m *machine) (got string) {
	t.Helper()
	now := epoch.add(time.Duration(math.Round(s.at * 1e9)))
	words := strings.Fields(s.call)
	mac := func(i int) (mac frame.MAC) {
		if len(words) > i && words[i] != "-" {
			var err error
			mac, err = frame.ParseMAC(words[i])
			must(t, err)
		}
		return mac
	}
	news := false
	switch words[0] {
	case "demand":
		m.demand(now)
	case "doubt":
		m.doubt()
	case "unsent":
		m.unsent(now, 10*time.Millisecond)
	case "reply":
		news = m.answer(answer{mac(1), true, true}, now)
	case "answer":
		flags := strings.Join(words[2:], "")
		news = m.answer(answer{mac(1), strings.Contains(flags, "S"), strings.Contains(flags, "O")}, now)
	case "kernel":
		state, ok := states[words[1]]
		if !ok {
			t.Fatalf("no state %q", words[1])
		}
		news = m.learn(entry{mac(2), state}, now)
	case "next":
		dst, send, again := m.next(now)
		if send {
			got = dst.String()
		} else if !dst.IsZero() {
			t.Errorf("nothing to send, but to %v", dst)
		}
		if again != never {
			if got != "" {
				got += ", "
			}
			got += fmt.Sprintf("again %v", again.since(epoch).Round(time.Microsecond))
		}
		return got
	default:
		t.Fatalf("no call %q", s.call)
	}
	if news {
		return "new"
	}
	return ""
}

func TestMachine(t *testing.T) {
	unknown := entry{}
	table := func(state State) entry { return entry{someMAC, state} }
	const some, other, everybody = "02:00:5e:00:53:02", "02:00:5e:00:53:66", "ff:ff:ff:ff:ff:ff"
	// What several begin with: one that is not known is asked for, and fails; one
	// that is stale is confirmed.
	asked := []step{
		{0, "next", "", Pending},
		{0, "demand", "", Pending},
		{0, "next", everybody + ", again 1s", Pending},
	}
	failed := slices.Concat(asked, []step{
		{1, "next", everybody + ", again 2s", Pending},
		{2, "next", everybody + ", again 3s", Pending},
		{3, "next", "", Failed},
	})
	confirming := []step{
		{0, "next", "", Resolved},
		{0, "demand", "", Resolved},
		{0, "next", some + ", again 1s", Resolved},
	}
	for _, tt := range []struct {
		name   string
		start  entry
		before []step // the first steps
		steps  []step
		took   time.Duration
	}{
		{"unknown, answered at once", unknown, asked, []step{
			{0.01, "reply " + some, "new", Resolved},
			{0.01, "next", "", Resolved},
			{29, "demand", "", Resolved},
			{29, "next", "", Resolved},
		}, 10 * time.Millisecond},
		{"one request a second, three tries, then failed", unknown, asked, []step{
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
		{"failed, asked again on demand", unknown, failed, []step{
			{3.1, "demand", "", Failed},
			{3.1, "next", everybody + ", again 4.1s", Failed},
			{3.2, "demand", "", Failed},
			{3.2, "next", "again 4.1s", Failed},
			{4.1, "next", everybody + ", again 5.1s", Failed},
			{4.6, "reply " + some, "new", Resolved},
			{4.6, "next", "", Resolved},
		}, 1500 * time.Millisecond},
		{"failed, and again failed: still one a second", unknown, failed, []step{
			{3, "demand", "", Failed},
			{3, "next", everybody + ", again 4s", Failed},
			{4, "next", everybody + ", again 5s", Failed},
			{5, "next", everybody + ", again 6s", Failed},
			{6, "next", "", Failed},
		}, 0},
		{"an answer after failure", unknown, failed, []step{
			{3.5, "reply " + some, "new", Resolved},
		}, 0},
		{"reachable: used, and confirmed when it is old", table(unix.NUD_REACHABLE), nil, []step{
			{0, "next", "", Resolved},
			{1, "demand", "", Resolved},
			{1, "next", "", Resolved},
			{29.9, "demand", "", Resolved},
			{29.9, "next", "", Resolved},
			{30, "demand", "", Resolved},
			{30, "next", some + ", again 31s", Resolved},
			{30.1, "reply " + some, "", Resolved},
			{30.1, "next", "", Resolved},
			{60, "demand", "", Resolved},
			{60, "next", "", Resolved},
			{60.1, "demand", "", Resolved},
			{60.1, "next", some + ", again 1m1.1s", Resolved},
		}, 0},
		{"reachable: old, but nobody needs it", table(unix.NUD_REACHABLE), nil, []step{
			{1000, "next", "", Resolved},
		}, 0},
		{"stale: used at once and confirmed", table(unix.NUD_STALE), confirming, []step{
			{0.1, "demand", "", Resolved},
			{0.1, "next", "again 1s", Resolved},
			{0.2, "reply " + some, "", Resolved},
			{0.2, "next", "", Resolved},
			{30, "demand", "", Resolved},
			{30, "next", "", Resolved},
			{30.2, "demand", "", Resolved},
			{30.2, "next", some + ", again 31.2s", Resolved},
		}, 0},
		{"delay", table(unix.NUD_DELAY), nil, []step{{0, "demand", "", Resolved}, {0, "next", some + ", again 1s", Resolved}}, 0},
		{"probe", table(unix.NUD_PROBE), nil, []step{{0, "demand", "", Resolved}, {0, "next", some + ", again 1s", Resolved}}, 0},
		{"stale, and nobody confirms: kept for a while", table(unix.NUD_STALE), confirming, []step{
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
		{"doubt asks everybody, but not before its time", table(unix.NUD_STALE), confirming, []step{
			{0.4, "doubt", "", Resolved},
			{0.4, "next", "again 1s", Resolved},
			{1, "next", everybody + ", again 2s", Resolved},
			{1.5, "doubt", "", Resolved},
			{1.5, "next", "again 2s", Resolved},
			{2, "next", everybody + ", again 3s", Resolved},
			{2.2, "reply " + other, "new", Resolved},
			{2.2, "next", "", Resolved},
		}, 1200 * time.Millisecond},
		{"doubt, and nobody answers", table(unix.NUD_REACHABLE), nil, []step{
			{5, "doubt", "", Resolved},
			{5, "next", everybody + ", again 6s", Resolved},
			{6, "next", everybody + ", again 7s", Resolved},
			{7, "next", everybody + ", again 8s", Resolved},
			{8, "next", "", Failed},
			{9, "demand", "", Failed},
			{9, "next", everybody + ", again 10s", Failed},
		}, 0},
		{"doubt begins its three tries anew", table(unix.NUD_STALE), confirming, []step{
			{1, "next", some + ", again 2s", Resolved},
			{2, "next", some + ", again 3s", Resolved},
			{2.5, "doubt", "", Resolved},
			{3, "next", everybody + ", again 4s", Resolved},
			{4, "next", everybody + ", again 5s", Resolved},
			{5, "next", everybody + ", again 6s", Resolved},
			{6, "next", "", Failed},
		}, 0},
		{"the MAC moves while it is confirmed", table(unix.NUD_STALE), confirming, []step{
			{0.1, "reply " + other, "new", Resolved},
			{30.1, "demand", "", Resolved},
			{30.1, "next", other + ", again 31.1s", Resolved},
		}, 0},
		{"permanent is never asked", table(unix.NUD_PERMANENT), nil, []step{
			{0, "next", "", Resolved},
			{0, "doubt", "", Resolved},
			{1000, "demand", "", Resolved},
			{1000, "next", "", Resolved},
		}, 0},
		{"noarp is never asked", table(unix.NUD_NOARP), nil, []step{
			{0, "doubt", "", Resolved},
			{1000, "demand", "", Resolved},
			{1000, "next", "", Resolved},
		}, 0},
		{"unknown, and nobody needs it", unknown, nil, []step{
			{0, "next", "", Pending},
			{1000, "next", "", Pending},
			{1000, "doubt", "", Pending},
			{1000, "next", everybody + ", again 16m41s", Pending},
		}, 0},
		{"a full queue costs no try", unknown, asked, []step{
			{0, "unsent", "", Pending},
			{0.005, "next", "again 10ms", Pending},
			{0.01, "next", everybody + ", again 1.01s", Pending},
			{1.01, "next", everybody + ", again 2.01s", Pending},
			{1.01, "unsent", "", Pending},
			{1.02, "next", everybody + ", again 2.02s", Pending},
			{2.02, "next", everybody + ", again 3.02s", Pending},
			{3.02, "next", "", Failed},
		}, 0},
		{"two hosts answer: the first has it", unknown, asked, []step{
			{0.01, "reply " + some, "new", Resolved},
			{0.02, "reply " + other, "", Resolved},
			{1.005, "reply " + other, "", Resolved},
			{1.02, "reply " + other, "new", Resolved},
		}, 0},

		// RFC 4861, section 7.2.5.
		{"ndp: no address, none known", unknown, asked, []step{
			{0.01, "answer - S", "", Pending},
			{0.01, "next", "again 1s", Pending},
		}, 0},
		{"ndp: any answer does where none is known", unknown, asked, []step{
			{0.01, "answer " + some + " S", "new", Resolved},
			{0.02, "demand", "", Resolved},
			{0.02, "next", "", Resolved},
		}, 10 * time.Millisecond},
		{"ndp: unsolicited is used, and confirmed", unknown, asked, []step{
			{0.01, "answer " + some, "new", Resolved},
			{0.02, "next", "", Resolved},
			{0.02, "demand", "", Resolved},
			{0.02, "next", "again 1s", Resolved},
			{1, "next", some + ", again 2s", Resolved},
			{1.1, "answer - S", "", Resolved},
			{1.2, "demand", "", Resolved},
			{1.2, "next", "", Resolved},
		}, 10 * time.Millisecond},
		{"ndp: unsolicited and of the same address says nothing", table(unix.NUD_STALE), nil, []step{
			{0, "answer " + some, "", Resolved},
			{0, "answer " + some + " O", "", Resolved},
			{0, "demand", "", Resolved},
			{0, "next", some + ", again 1s", Resolved},
			{0.1, "answer " + some + " O", "", Resolved},
			{0.1, "next", "again 1s", Resolved},
		}, 0},
		{"ndp: without override another is not taken, and ours is confirmed", table(unix.NUD_REACHABLE), nil, []step{
			{0, "demand", "", Resolved},
			{0, "next", "", Resolved},
			{1, "answer " + other + " S", "", Resolved},
			{1, "next", "", Resolved},
			{1, "demand", "", Resolved},
			{1, "next", some + ", again 2s", Resolved},
			{1.1, "answer " + other + " S", "", Resolved},
			{1.1, "next", "again 2s", Resolved},
			{1.2, "answer " + some + " S", "", Resolved},
			{1.2, "next", "", Resolved},
		}, 0},
		{"ndp: with override another is taken", table(unix.NUD_REACHABLE), nil, []step{
			{5, "answer " + other + " O", "new", Resolved},
			{5, "demand", "", Resolved},
			{5, "next", other + ", again 6s", Resolved},
		}, 0},
		{"ndp: in doubt any answer does", table(unix.NUD_REACHABLE), nil, []step{
			{5, "doubt", "", Resolved},
			{5, "next", everybody + ", again 6s", Resolved},
			{5.1, "answer " + other + " S", "new", Resolved},
			{5.1, "next", "", Resolved},
		}, 100 * time.Millisecond},
		{"ndp: not of what was set by hand", table(unix.NUD_PERMANENT), nil, []step{
			{5, "answer " + other + " SO", "", Resolved},
			{5, "answer - S", "", Resolved},
		}, 0},

		// The kernel's table.
		{"kernel: it learns what we ask for", unknown, asked, []step{
			{0.1, "kernel incomplete", "", Pending},
			{0.2, "kernel reachable " + some, "new", Resolved},
			{0.2, "next", "", Resolved},
			{0.3, "demand", "", Resolved},
			{0.3, "next", "", Resolved},
		}, 0},
		{"kernel: gratuitous ARP", table(unix.NUD_REACHABLE), nil, []step{
			{5, "kernel stale " + other, "new", Resolved},
			{5, "next", "", Resolved},
			{5, "demand", "", Resolved},
			{5, "next", other + ", again 6s", Resolved},
		}, 0},
		{"kernel: in doubt", table(unix.NUD_REACHABLE), nil, []step{
			{5, "doubt", "", Resolved},
			{5, "next", everybody + ", again 6s", Resolved},
			{5, "kernel reachable " + some, "", Resolved}, // which is what we doubt
			{6, "next", everybody + ", again 7s", Resolved},
			{6.5, "kernel stale " + other, "new", Resolved},
			{7, "next", "", Resolved},
		}, 0},
		{"kernel: what it still has is no news", table(unix.NUD_STALE), confirming, []step{
			{0.1, "reply " + other, "new", Resolved},
			{0.2, "kernel delay " + some, "", Resolved},
			{0.3, "kernel probe " + some, "", Resolved},
			{0.4, "demand", "", Resolved},
			{0.4, "next", "", Resolved},
			{0.5, "kernel reachable " + some, "new", Resolved}, // it has asked
			{0.6, "demand", "", Resolved},
			{0.6, "next", "", Resolved},
		}, 0},
		{"kernel: it confirms", table(unix.NUD_STALE), confirming, []step{
			{0.5, "kernel reachable " + some, "", Resolved},
			{1, "next", "", Resolved},
			{30.4, "demand", "", Resolved},
			{30.4, "next", "", Resolved},
			{30.5, "demand", "", Resolved},
			{30.5, "next", some + ", again 31.5s", Resolved},
		}, 0},
		{"kernel: deleted, and kept until it is old", table(unix.NUD_REACHABLE), nil, []step{
			{5, "kernel none", "", Resolved},
			{5, "demand", "", Resolved},
			{5, "next", "", Resolved},
			{30, "demand", "", Resolved},
			{30, "next", some + ", again 31s", Resolved},
			{30.5, "kernel stale " + some, "", Resolved},
		}, 0},
		{"kernel: failed, so ask everybody when somebody needs it", table(unix.NUD_PROBE), nil, []step{
			{5, "kernel failed", "", Resolved},
			{5, "next", "", Resolved},
			{6, "demand", "", Resolved},
			{6, "next", everybody + ", again 7s", Resolved},
			{7, "next", everybody + ", again 8s", Resolved},
			{8, "next", everybody + ", again 9s", Resolved},
			{9, "next", "", Failed},
			{9.5, "kernel failed", "", Failed},
			{10, "kernel stale " + some, "new", Resolved},
		}, 0},
		{"kernel: failed with another MAC than ours", table(unix.NUD_STALE), nil, []step{
			{0, "reply " + other, "new", Resolved},
			{1, "kernel failed", "", Resolved},
			{1, "demand", "", Resolved},
			{1, "next", "", Resolved},
		}, 0},
		{"kernel: set by hand", table(unix.NUD_STALE), confirming, []step{
			{0.5, "kernel permanent " + other, "new", Resolved},
			{1, "next", "", Resolved},
			{1, "doubt", "", Resolved},
			{1, "reply " + some, "", Resolved},
			{2, "kernel permanent " + some, "new", Resolved},
			{2, "next", "", Resolved},
		}, 0},
		{"kernel: set by hand, and no more", table(unix.NUD_PERMANENT), nil, []step{
			{1, "kernel reachable " + some, "", Resolved},
			{1, "demand", "", Resolved},
			{1, "next", "", Resolved},
			{2, "kernel permanent " + some, "", Resolved},
			{3, "kernel stale " + some, "", Resolved},
			{32, "demand", "", Resolved},
			{32, "next", some + ", again 33s", Resolved},
		}, 0},
		{"kernel: set by hand, and taken away", table(unix.NUD_PERMANENT), nil, []step{
			{1, "kernel none", "", Resolved},
			{1, "next", "", Resolved},
			{2, "demand", "", Resolved},
			{2, "next", everybody + ", again 3s", Resolved},
			{2.5, "reply " + other, "new", Resolved},
		}, 500 * time.Millisecond},
		{"kernel: an entry without a MAC", table(unix.NUD_REACHABLE), nil, []step{
			{1, "kernel noarp -", "", Resolved},
			{1, "doubt", "", Resolved},
			{1, "next", everybody + ", again 2s", Resolved},
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(tt.start, epoch)
			moves, before := uint32(0), m.mac
			for i, s := range slices.Concat(tt.before, tt.steps) {
				got := s.run(t, &m)
				if got != s.want || m.status != s.status {
					t.Fatalf("step %d, %v s, %s: %q, status %d, want %q, %d", i, s.at, s.call, got, m.status, s.want, s.status)
				}
				if m.mac != before {
					if !before.IsZero() {
						moves++
					}
					if m.moves != moves || m.was != before {
						t.Errorf("step %d: from %v to %v: %d moves, from %v", i, before, m.mac, m.moves, m.was)
					}
					before = m.mac
				}
			}
			if m.moves != moves {
				t.Errorf("%d moves, want %d", m.moves, moves)
			}
			if m.took.Round(time.Microsecond) != tt.took {
				t.Errorf("took %v, want %v", m.took, tt.took)
			}
		})
	}
}

// However it is driven, a machine asks at most once a second, and never of its
// own accord.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 2, 50, 0, 3, 200, 0}, uint8(0))
	f.Add([]byte{255, 1, 255, 1, 255, 0, 255, 0}, uint8(1))
	f.Add([]byte{0, 4, 5, 6, 7, 0, 12, 13, 14, 15, 0}, uint8(2))
	f.Fuzz(func(t *testing.T, script []byte, start uint8) {
		all := []State{0, unix.NUD_STALE, unix.NUD_REACHABLE, unix.NUD_PERMANENT, unix.NUD_FAILED, unix.NUD_INCOMPLETE, unix.NUD_PROBE, unix.NUD_NOARP}
		macs := []frame.MAC{{}, someMAC, otherMAC}
		now := epoch
		m := newMachine(entry{someMAC, all[int(start)%len(all)]}, now)
		last, full := never, false
		for i, b := range script {
			now = now.add(time.Duration(b>>3) * 50 * time.Millisecond)
			before := m
			changed := false
			switch c := int(b) + i; b & 7 {
			case 0, 1:
				m.demand(now)
			case 2:
				m.doubt()
			case 3:
				changed = m.answer(answer{macs[c%3], c%2 == 0, c%5 < 3}, now)
			case 4, 5:
				changed = m.learn(entry{macs[c%3], all[c%len(all)]}, now)
			case 6:
				full = true
			}
			if changed != (m.status != before.status || m.mac != before.mac) {
				t.Fatalf("changed %v: %+v, %+v", changed, before, m)
			}
			if b&7 > 2 && m.asking != askNothing && m.asking != before.asking {
				t.Fatalf("asks %d unasked", m.asking)
			}
			dst, send, again := m.next(now)
			if send && full {
				full = false
				m.unsent(now, 10*time.Millisecond)
				continue
			}
			if send {
				if last != never && now.since(last) < time.Second {
					t.Fatalf("asked again after %v", now.since(last))
				}
				last = now
				if dst != frame.Broadcast && dst != m.mac {
					t.Fatalf("asks %v, the MAC is %v", dst, m.mac)
				}
				if m.fixed {
					t.Fatal("asks for what was set by hand")
				}
			}
			if again != never && again <= now {
				t.Fatalf("come back %v ago", now.since(again))
			}
			if (m.asking == askNothing) != (again == never) {
				t.Fatalf("asking %d, again %v", m.asking, again)
			}
			if m.status == Resolved && m.mac.IsZero() {
				t.Fatal("resolved without a MAC")
			}
		}
	})
}
