//go:build linux

package probe

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
)

// consistent holds the statistics of a run, whose probes were all handed to the
// interface, against its events.
func consistent(t testing.TB, all []Event) *Statistics {
	t.Helper()
	replies, _, s := replied(t, all)
	if s.Sent != s.Received+s.Lost+s.Errors+s.Pending || s.Received+s.Late != s.RTT.Count {
		t.Errorf("sent %d, received %d, lost %d, errors %d, pending %d, late %d, %d RTTs",
			s.Sent, s.Received, s.Lost, s.Errors, s.Pending, s.Late, s.RTT.Count)
	}
	var lost, other uint64
	last := map[Kind]uint64{}
	for _, ev := range all[1 : len(all)-1] {
		switch ev.Kind {
		case Lost:
			lost++
		case Replied, Sent:
		default:
			other++
		}
		if ev.Seq < 1 || ev.Seq > s.Sent || ev.Kind == Sent && ev.Seq != last[Sent]+1 && s.EventsDropped == 0 {
			t.Fatalf("%s, after %d, of %d sent", describe(&ev), last[ev.Kind], s.Sent)
		}
		last[ev.Kind] = ev.Seq
	}
	if told := uint64(len(replies)) + lost + other; s.EventsDropped == 0 && told != s.Received+s.Late+s.Duplicates+s.Corrupted+s.Lost+s.Errors+s.LateErrors {
		t.Errorf("%d events of probes' ends, %s", told, brief(s))
	}
	var stamped uint64
	for _, n := range s.Stamps {
		stamped += n
	}
	if stamped != s.RTT.Count || s.TimerError.Count+s.Pending+s.Errors < s.Sent {
		t.Errorf("stamps %v of %d RTTs, timer error of %d", s.Stamps, s.RTT.Count, s.TimerError.Count)
	}
	return s
}

// ownStamps wants the stamps of each reply to be its own probe's. Every frame
// that left has one driver's stamp, later than those before it: if all replies
// have stamps, and these are in order, none has another's.
func ownStamps(t testing.TB, all []Event) {
	t.Helper()
	replies, _, s := replied(t, all)
	if uint64(len(replies)) != s.Sent {
		t.Fatalf("%d replies to %d probes: %s", len(replies), s.Sent, brief(s))
	}
	departure := make([]time.Time, s.Sent+1)
	for _, ev := range replies {
		r, b := ev.Reply, ev.Reply.Budget
		if r.RTTSource != l2.StampDriver || r.RTT != b.Wire || b.Wire <= 0 || b.Send <= 0 || b.Queue < 0 || b.Receive < 0 || b.NIC != Unknown {
			t.Fatalf("reply %d: RTT %v by %v, budget %+v", ev.Seq, r.RTT, r.RTTSource, b)
		}
		departure[ev.Seq] = ev.Time.Add(-b.Wire)
	}
	for n := 2; n < len(departure); n++ {
		if !departure[n].After(departure[n-1]) {
			t.Fatalf("probe %d left at %v, the one before at %v", n, departure[n], departure[n-1])
		}
	}
}

// stamping calls f while the kernel stamps arrivals, with nobody else's frames on
// the wires that f uses.
func stamping(t testing.TB, f func()) {
	t.Helper()
	other := labtest.NewPair(t, nil)
	whileStamping(t, other.Near, other.FarIP, f)
}

// setRate is lab.SetRate where the kernel can.
func setRate(t testing.TB, ns *lab.Namespace, rate uint64, limit uint32) {
	t.Helper()
	if err := ns.SetRate("eth0", rate, limit); errors.Is(err, unix.ENOENT) {
		t.Skipf("%v (load the module sch_tbf)", err)
	} else if err != nil {
		t.Fatal(err)
	}
}

// TestPingQueueFull has a queue of three frames refuse what it has no room for:
// each probe leaves in the end, and the stamps that refused frames leave behind
// are not taken for those of the ones that left.
func TestPingQueueFull(t *testing.T) {
	// So slow a queue is full on the slowest machine too.
	const frameLen, rate, count = 98, 100, 60
	for _, tt := range []struct {
		name string
		cfg  Config
	}{
		{"interval", Config{Interval: 100 * time.Microsecond, Timeout: 6 * time.Second}},
		{"preload", Config{Interval: time.Millisecond, Preload: 50}},
		{"flood", Config{Flood: true, Preload: 50}},
		{"adaptive", Config{Adaptive: true, Preload: 50}},
		{"spin", Config{Interval: 200 * time.Microsecond, Timeout: 6 * time.Second, Spin: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stamping(t, func() {
				pair := labtest.NewPair(t, nil)
				setRate(t, pair.Near, rate*frameLen, 3*frameLen)
				cfg := tt.cfg
				cfg.Targets, cfg.Count, cfg.Sent = Hosts(pair.FarIP), count, true
				all := events(t, pinger(t, pair.Near, cfg))
				s := consistent(t, all)
				if s.Sent != count || s.Received != count || s.SendRetries == 0 || s.StampsLost != 0 {
					t.Errorf("sent %d, received %d, errors %d, %d retries, %d stamps lost", s.Sent, s.Received, s.Errors, s.SendRetries, s.StampsLost)
				}
				ownStamps(t, all)
			})
		})
	}
}

// TestPingQueueStaysFull has a queue that takes nothing.
func TestPingQueueStaysFull(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	peer := labtest.StartPeer(t, pair.Far, "eth0", "")
	if err := pair.Near.SetNeighbor("eth0", pair.FarIP, pair.FarMAC, lab.Permanent); err != nil {
		t.Fatal(err)
	}
	setRate(t, pair.Near, 1000, 1)
	t.Run("for a timeout", func(t *testing.T) {
		all := events(t, pinger(t, pair.Near, Config{Targets: Hosts(pair.FarIP), Count: 2, Timeout: 20 * time.Millisecond}))
		s := consistent(t, all)
		if s.Sent != 2 || s.Errors != 2 || s.SendRetries < 2 || s.TimerError.Count != 0 {
			t.Errorf("sent %d, errors %d, %d retries, timer error of %d", s.Sent, s.Errors, s.SendRetries, s.TimerError.Count)
		}
		for _, ev := range all[1 : len(all)-1] {
			if err := ev.Failure.Local; !errors.Is(err, unix.ENOBUFS) || err.Error() != "send on eth0: no buffer space available" {
				t.Errorf("%s: %v", describe(&ev), err)
			}
		}
	})
	t.Run("until the deadline", func(t *testing.T) {
		all := events(t, pinger(t, pair.Near, Config{Targets: Hosts(pair.FarIP), Deadline: 20 * time.Millisecond}))
		if s := consistent(t, all); len(all) != 2 || s.Sent != 0 || s.SendRetries == 0 {
			t.Errorf("%d events, sent %d, %d retries", len(all), s.Sent, s.SendRetries)
		}
	})
	t.Run("until it does not", func(t *testing.T) {
		p := pinger(t, pair.Near, Config{Targets: Hosts(pair.FarIP), Count: 2})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			for p.Statistics().SendRetries == 0 && ctx.Err() == nil {
				runtime.Gosched()
			}
			// Not DelRate: while a qdisc is exchanged, what is sent is dropped
			// without a word (dev_deactivate, noop_enqueue).
			if err := pair.Near.SetRate("eth0", 1_000_000, 1<<20); err != nil {
				t.Error(err)
			}
		})
		s := consistent(t, events(t, p))
		wg.Wait()
		if s.Sent != 2 || s.Received != 2 || s.Errors != 0 || s.SendRetries == 0 {
			t.Errorf("sent %d, received %d, errors %d, %d retries", s.Sent, s.Received, s.Errors, s.SendRetries)
		}
	})
	if n := len(peer.Requests()); n != 2 {
		t.Errorf("%d requests came to the far end, want 2", n)
	}
}

// TestPingPaces runs as fast as can be asked for. How fast that is, is the
// machine's affair: what is counted and told has to be right.
func TestPingPaces(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  Config
	}{
		{"10us", Config{Interval: MinInterval, Count: 2000, Timeout: 600 * time.Millisecond}},
		{"10us, sent events", Config{Interval: MinInterval, Count: 2000, Timeout: 600 * time.Millisecond, Sent: true}},
		{"10us, user", Config{Interval: MinInterval, Count: 2000, Timeout: 600 * time.Millisecond, Timestamps: TimestampsUser}},
		{"10us, preload", Config{Interval: MinInterval, Count: 2000, Timeout: 600 * time.Millisecond, Preload: 500}},
		{"10us, spin", Config{Interval: MinInterval, Count: 2000, Timeout: 600 * time.Millisecond, Spin: true}},
		{"flood", Config{Flood: true, Count: 2000}},
		{"flood, preload", Config{Flood: true, Count: 2000, Preload: 20}},
		{"flood, spin", Config{Flood: true, Count: 2000, Spin: true}},
		{"adaptive", Config{Adaptive: true, Count: 500}},
		{"adaptive, preload", Config{Adaptive: true, Count: 500, Preload: 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pair := labtest.NewPair(t, nil)
			cfg := tt.cfg
			cfg.Targets = Hosts(pair.FarIP)
			s := consistent(t, events(t, pinger(t, pair.Near, cfg)))
			if s.Sent != cfg.Count || s.Pending != 0 || s.Errors != 0 || s.Received == 0 {
				t.Errorf("sent %d, received %d, lost %d, errors %d", s.Sent, s.Received, s.Lost, s.Errors)
			}
			if s.Rejected != 0 || s.Corrupted != 0 || s.Duplicates != 0 || s.TimerError.Count != s.Sent {
				t.Errorf("rejected %d, corrupted %d, duplicates %d, timer error of %d", s.Rejected, s.Corrupted, s.Duplicates, s.TimerError.Count)
			}
			if (cfg.Flood || cfg.Adaptive) && s.Skipped != 0 {
				t.Errorf("%d places were skipped where there is no schedule", s.Skipped)
			}
		})
	}
}

// TestPingFloodNobody floods somebody who never answers, and stops at once.
func TestPingFloodNobody(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	peer := labtest.StartPeer(t, pair.Far, "eth0", "all: lose")
	all := events(t, pinger(t, pair.Near, Config{Targets: Hosts(pair.FarIP), Flood: true, Deadline: 100 * time.Millisecond}))
	s := consistent(t, all)
	// No more than 100 a second, however late the process runs.
	if most := uint64(s.Duration/(10*time.Millisecond)) + 1; s.Sent == 0 || s.Sent > most || s.Received != 0 || s.Pending != s.Sent {
		t.Errorf("sent %d in %v, received %d, pending %d", s.Sent, s.Duration, s.Received, s.Pending)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := peer.Wait(ctx, 1); err != nil {
		t.Error(err)
	}
}

// TestPingSpin is a run that never sleeps.
func TestPingSpin(t *testing.T) {
	stamping(t, func() {
		pair := labtest.NewPair(t, nil)
		cfg := Config{Targets: Hosts(pair.FarIP), Interval: time.Millisecond, Spin: true, Sent: true, Count: 50}
		all := events(t, pinger(t, pair.Near, cfg))
		s := consistent(t, all)
		if s.Received != 50 || s.Stamps[l2.StampDriver] != 50 {
			t.Errorf("received %d, stamps %v", s.Received, s.Stamps)
		}
		ownStamps(t, all)
	})
}

// TestRunSpinEnds ends a run that never sleeps in all the ways.
func TestRunSpinEnds(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	endless := Config{Targets: Hosts(pair.FarIP), Interval: time.Millisecond, Spin: true}
	run := func(t *testing.T, cfg Config, each func(ev Event, cancel func()) bool) *Pinger {
		t.Helper()
		p := pinger(t, pair.Near, cfg)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for ev, err := range p.Run(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if !each(ev, cancel) {
				break
			}
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Error("the run did not end")
		}
		closed(t, p)
		return p
	}
	t.Run("by leaving the loop", func(t *testing.T) {
		run(t, endless, func(ev Event, _ func()) bool { return ev.Kind != Replied })
	})
	t.Run("by a cancelled context", func(t *testing.T) {
		var last Event
		run(t, endless, func(ev Event, cancel func()) bool {
			if ev.Seq == 3 {
				cancel()
			}
			last = ev
			return true
		})
		if last.Kind != Summary || last.Statistics.Sent < 3 {
			t.Errorf("the last event is %+v", last)
		}
	})
	t.Run("at its deadline", func(t *testing.T) {
		cfg := endless
		cfg.Deadline = 20 * time.Millisecond
		if p := run(t, cfg, func(Event, func()) bool { return true }); p.Statistics().Sent == 0 {
			t.Error("nothing was sent")
		}
	})
	t.Run("at once", func(t *testing.T) {
		run(t, endless, func(ev Event, cancel func()) bool { cancel(); return true })
	})
}

// TestRunSpinOnOneProcessor has a run that never sleeps, and all that it is to be
// ended by, share one processor.
func TestRunSpinOnOneProcessor(t *testing.T) {
	labtest.RequireNetns(t)
	if runtime.GOMAXPROCS(0) == 1 {
		t.Skip("all tests run on one processor (unset GOMAXPROCS)")
	}
	out, err := again(t, "^Test(PingSpin|RunSpinEnds)$", "GOMAXPROCS=1").CombinedOutput()
	for _, name := range []string{"TestPingSpin", "TestRunSpinEnds"} {
		if err != nil || !strings.Contains(string(out), "--- PASS: "+name+" ") {
			t.Fatalf("%v: %s", err, out)
		}
	}
}

// TestNewTimestamps asks for stamps on an interface whose driver has those of the
// kernel and whose NIC has none.
func TestNewTimestamps(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	stamping(t, func() {
		for _, tt := range []struct {
			want Timestamps
			best l2.StampPoint
			why  bool
		}{
			{TimestampsAuto, l2.StampDriver, true},
			{TimestampsDriver, l2.StampDriver, false},
			{TimestampsSched, l2.StampSched, false},
			{TimestampsUser, l2.StampUser, false},
		} {
			all := events(t, pinger(t, pair.Near, Config{Targets: Hosts(pair.FarIP), Count: 3, Timestamps: tt.want}))
			replies, start, s := replied(t, all)
			if start.Timestamps != tt.best || s.Stamps[tt.best] != 3 || s.StampsLost != 0 || len(replies) != 3 {
				t.Errorf("%v: start says %v, stamps %v, %d lost", tt.want, start.Timestamps, s.Stamps, s.StampsLost)
			}
			lack, ok := errors.AsType[*l2.NoHardwareError](start.TimestampsWhy)
			if ok != tt.why || ok && (lack.Interface != "eth0" || lack.Lack != l2.LackNIC || lack.Settable()) || !ok && start.TimestampsWhy != nil {
				t.Errorf("%v: no better because of %v", tt.want, start.TimestampsWhy)
			}
			for _, ev := range replies {
				b := ev.Reply.Budget
				if ev.Reply.RTTSource != tt.best || ev.Reply.RTT <= 0 || b.NIC != Unknown || (b.Send == Unknown) != (tt.want == TimestampsUser) || (b.Receive == Unknown) != (tt.want == TimestampsUser) {
					t.Errorf("%v: reply %d by %v, budget %+v", tt.want, ev.Seq, ev.Reply.RTTSource, b)
				}
			}
		}
	})
	for _, cfg := range []Config{
		{Timestamps: TimestampsHardware},
		{SetHardware: true},
		{SetHardware: true, Timestamps: TimestampsHardware},
	} {
		cfg.Targets = Hosts(pair.FarIP)
		p, err := newIn(pair.Near, cfg)
		lack, ok := errors.AsType[*l2.NoHardwareError](err)
		if p != nil || !ok || lack.Lack != l2.LackNIC || lack.Interface != "eth0" || !strings.Contains(err.Error(), "no hardware stamps on eth0: its driver has no stamps by hardware") {
			t.Errorf("%v, set %v: got %v", cfg.Timestamps, cfg.SetHardware, err)
		}
		if !cfg.SetHardware && !errors.Is(err, ErrNoStamps) {
			t.Errorf("%v: got %v, want ErrNoStamps", cfg.Timestamps, err)
		}
	}
}

// TestNewBounds takes what is just allowed.
func TestNewBounds(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	for _, cfg := range []Config{
		{Interval: MinInterval, Timeout: 655 * time.Millisecond},
		{Interval: MinInterval, Timeout: 1},
		{Interval: MaxDuration, Timeout: MaxDuration, Deadline: MaxDuration},
		{Flood: true, Preload: MaxPreload, Interval: MinInterval},
		{Adaptive: true, Preload: MaxPreload, Timeout: MaxDuration},
	} {
		cfg.Targets = Hosts(pair.FarIP)
		p, err := newIn(pair.Near, cfg)
		if err != nil {
			t.Errorf("%+v: %v", cfg, err)
			continue
		}
		if size := len(p.engine.targets[0].table.entries); size > maxOutstanding || size&(size-1) != 0 {
			t.Errorf("%+v: a table of %d", cfg, size)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}
