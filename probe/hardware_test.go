//go:build linux

package probe

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
)

// byNIC is how long the NIC's clock says that a reply took of which the driver's
// stamps are a time apart, to a probe that left at a time of the world's clock.
func byNIC(left, driver time.Duration) time.Duration {
	return time.Duration(nic(left+toDriver+driver-fromNIC) - nic(left+toNIC))
}

// TestHardwareStamps gives the engine more or fewer stamps of one reply, between
// whose stamps by the driver there are 3 ms.
func TestHardwareStamps(t *testing.T) {
	const ms = time.Millisecond
	const driver = 3 * ms
	const read = toDriver + driver + toUser // when the reply is read
	hardware := byNIC(0, driver)
	if hardware < driver-toNIC-fromNIC || hardware >= driver {
		t.Fatalf("by the NIC's clock it is %v", hardware)
	}
	type result struct {
		rtt    time.Duration
		source l2.StampPoint
		budget Budget
		told   time.Duration // when the event is
		lost   uint64        // stamps
	}
	whole := Budget{Send: toSched, Queue: toDriver - toSched, Wire: hardware, Receive: toUser, NIC: driver - hardware}
	software := Budget{toSched, toDriver - toSched, driver, toUser, Unknown}
	unstampedByNIC := func(f *capture.Frame) { f.Hardware = 0 }
	both := func(f *capture.Frame) { unstamped(f); unstampedByNIC(f) }
	for _, tt := range []struct {
		name                    string
		off                     bool // no stamps by hardware were asked for
		departure               l2.StampPoint
		sched, driver, hardware time.Duration // after how long they can be read
		arrival                 func(*capture.Frame)
		want                    result
	}{
		{name: "all", sched: toSched, driver: toDriver, hardware: toNIC,
			want: result{hardware, l2.StampHardware, whole, read, 0}},
		{name: "the NIC's after the reply", sched: toSched, driver: toDriver, hardware: 8 * ms,
			want: result{hardware, l2.StampHardware, whole, 8 * ms, 0}},
		{name: "all after the reply", sched: 5 * ms, driver: 6 * ms, hardware: 7 * ms,
			want: result{hardware, l2.StampHardware, whole, 7 * ms, 0}},
		{name: "the NIC's just in time", sched: toSched, driver: toDriver, hardware: read + stampPatience - 1,
			want: result{hardware, l2.StampHardware, whole, read + stampPatience - 1, 0}},
		{name: "the NIC's too late", sched: toSched, driver: toDriver, hardware: 20 * ms,
			want: result{driver, l2.StampDriver, software, read + stampPatience, 1}},
		{name: "the NIC's never", sched: toSched, driver: toDriver, hardware: none,
			want: result{driver, l2.StampDriver, software, read + stampPatience, 1}},
		{name: "no departure but sched", sched: toSched, driver: none, hardware: none,
			want: result{driver + toDriver - toSched, l2.StampSched, Budget{toSched, Unknown, Unknown, toUser, Unknown}, read + stampPatience, 1}},
		{name: "no departure", sched: none, driver: none, hardware: none,
			want: result{driver + toDriver, l2.StampUser, Budget{Unknown, Unknown, Unknown, toUser, Unknown}, read + stampPatience, 1}},
		{name: "no departure by the driver", sched: toSched, driver: none, hardware: toNIC,
			want: result{hardware, l2.StampHardware, Budget{toSched, Unknown, hardware, toUser, Unknown}, read, 1}},
		{name: "no departure but the NIC's", sched: none, driver: none, hardware: toNIC,
			want: result{hardware, l2.StampHardware, Budget{Unknown, Unknown, hardware, toUser, Unknown}, read, 1}},
		// Nothing is waited for that would not be used.
		{name: "no arrival by the NIC", sched: toSched, driver: toDriver, hardware: toNIC, arrival: unstampedByNIC,
			want: result{driver, l2.StampDriver, software, read, 0}},
		{name: "no arrival by the NIC, its departure late", sched: toSched, driver: toDriver, hardware: 8 * ms, arrival: unstampedByNIC,
			want: result{driver, l2.StampDriver, software, read, 1}},
		{name: "no arrival by the NIC, the driver's departure late", sched: toSched, driver: 8 * ms, hardware: 9 * ms, arrival: unstampedByNIC,
			want: result{driver, l2.StampDriver, software, 8 * ms, 1}},
		{name: "no arrival by the driver", sched: toSched, driver: toDriver, hardware: 8 * ms, arrival: unstamped,
			want: result{hardware, l2.StampHardware, Budget{toSched, toDriver - toSched, hardware, Unknown, Unknown}, 8 * ms, 0}},
		{name: "no arrival", sched: toSched, driver: toDriver, hardware: toNIC, arrival: both,
			want: result{driver + toUser, l2.StampUser, Budget{toSched, toDriver - toSched, Unknown, Unknown, Unknown}, read, 0}},
		{name: "none at all", sched: none, driver: none, hardware: none, arrival: both,
			want: result{userRTT(driver), l2.StampUser, Budget{Unknown, Unknown, Unknown, Unknown, Unknown}, read, 1}},
		{name: "an arrival before the departure", sched: toSched, driver: toDriver, hardware: toNIC,
			arrival: func(f *capture.Frame) { f.Hardware = nic(toNIC) - 1 },
			want:    result{driver, l2.StampDriver, software, read, 0}},
		{name: "an arrival at the departure", sched: toSched, driver: toDriver, hardware: toNIC,
			arrival: func(f *capture.Frame) { f.Hardware = nic(toNIC) },
			want:    result{0, l2.StampHardware, Budget{toSched, toDriver - toSched, 0, toUser, driver}, read, 0}},
		{name: "a NIC that is slower than the driver", sched: toSched, driver: toDriver, hardware: toNIC, // by its fast clock
			arrival: func(f *capture.Frame) { f.Hardware = nic(toNIC) + int64(driver) + 100 },
			want:    result{driver + 100, l2.StampHardware, Budget{toSched, toDriver - toSched, driver + 100, toUser, 0}, read, 0}},
		{name: "sched is the software's best", departure: l2.StampSched, sched: toSched, driver: none, hardware: toNIC,
			want: result{hardware, l2.StampHardware, Budget{toSched, Unknown, hardware, toUser, Unknown}, read, 0}},
		{name: "sched is the software's best, the NIC's never", departure: l2.StampSched, sched: toSched, driver: none, hardware: none,
			want: result{driver + toDriver - toSched, l2.StampSched, Budget{toSched, Unknown, Unknown, toUser, Unknown}, read + stampPatience, 1}},
		{name: "not asked for", off: true, sched: toSched, driver: toDriver, hardware: toNIC,
			arrival: func(f *capture.Frame) { f.Hardware = nic(read) },
			want:    result{driver, l2.StampDriver, software, read, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, settings{count: 1, departure: tt.departure, hardware: !tt.off}, func(t *testing.T, w *world) {
				w.sched = func(uint64) time.Duration { return tt.sched }
				w.driver = func(uint64) time.Duration { return tt.driver }
				w.hardware = func(uint64) time.Duration { return tt.hardware }
				w.far = func(_ uint64, request []byte) {
					var change []func(*capture.Frame)
					if tt.arrival != nil {
						change = append(change, tt.arrival)
					}
					w.arrive(driver, replyTo(request).bytes(), change...)
				}
				w.expect("1 replied")
				r := w.log[0].Reply
				s := w.snapshot()
				if got := (result{r.RTT, r.RTTSource, r.Budget, w.logAt[0], s.StampsLost}); got != tt.want {
					t.Errorf("got  %+v\nwant %+v", got, tt.want)
				}
				var stamps [l2.StampHardware + 1]uint64
				stamps[tt.want.source] = 1
				if s.Stamps != stamps || r.ClockStepped || s.ClockSteps != 0 {
					t.Errorf("counted as %v, %d steps", s.Stamps, s.ClockSteps)
				}
				for _, part := range []struct {
					name string
					d    *Distribution
					want time.Duration
				}{
					{"send", &s.Budget.Send, r.Budget.Send}, {"queue", &s.Budget.Queue, r.Budget.Queue},
					{"wire", &s.Budget.Wire, r.Budget.Wire}, {"receive", &s.Budget.Receive, r.Budget.Receive}, {"NIC", &s.Budget.NIC, r.Budget.NIC},
				} {
					if part.want == Unknown && part.d.Count != 0 || part.want != Unknown && (part.d.Count != 1 || part.d.Max != part.want) {
						t.Errorf("%s: %d times up to %v, want %v", part.name, part.d.Count, part.d.Max, part.want)
					}
				}
				// The time of an event is by CLOCK_REALTIME.
				arrival := w.base.Add(toDriver + driver)
				if !w.log[0].Time.Equal(arrival) && !w.log[0].Time.Equal(arrival.Add(toUser)) {
					t.Errorf("the event is of %v, want %v", w.log[0].Time, arrival)
				}
			})
		})
	}
}

// TestHardwareBest is what the start event says.
func TestHardwareBest(t *testing.T) {
	for _, tt := range []struct {
		p    points
		want l2.StampPoint
	}{
		{points{departure: l2.StampUser}, l2.StampUser},
		{points{departure: l2.StampSched}, l2.StampSched},
		{points{departure: l2.StampDriver}, l2.StampDriver},
		{points{departure: l2.StampSched, hardware: true}, l2.StampHardware},
		{points{departure: l2.StampDriver, hardware: true}, l2.StampHardware},
	} {
		if got := tt.p.best(); got != tt.want {
			t.Errorf("%+v: %v, want %v", tt.p, got, tt.want)
		}
	}
}

// TestHardwareClockStep sets CLOCK_REALTIME while a probe is out: the NIC's clock
// is another one.
func TestHardwareClockStep(t *testing.T) {
	const ms = time.Millisecond
	for _, by := range []time.Duration{time.Hour, -time.Hour, time.Microsecond, -time.Microsecond} {
		t.Run(by.String(), func(t *testing.T) {
			inWorld(t, settings{count: 4, hardware: true}, func(t *testing.T, w *world) {
				w.at(1010*ms, func() { w.skew.Add(int64(by)) })
				w.at(2010*ms, func() { w.skew.Add(int64(by)) })
				w.hardware = func(n uint64) time.Duration {
					if n == 3 {
						return none
					}
					return toNIC
				}
				w.answer(20*ms, 20*ms, 20*ms, 20*ms)
				w.expect("1 replied", "2 replied", "3 replied", "4 replied")
				for i, ev := range w.log {
					r := ev.Reply
					hardware := byNIC(w.left[i].at, 20*ms)
					want := Reply{RTT: hardware, RTTSource: l2.StampHardware, Budget: Budget{toSched, toDriver - toSched, hardware, toUser, 20*ms - hardware}}
					switch ev.Seq {
					case 2: // no stamp of the software's can be trusted
						want.Budget = Budget{Unknown, Unknown, hardware, Unknown, Unknown}
					case 3:
						want = Reply{RTT: userRTT(20 * ms), RTTSource: l2.StampUser, ClockStepped: true, Budget: Budget{Unknown, Unknown, Unknown, Unknown, Unknown}}
					}
					if r.RTT != want.RTT || r.RTTSource != want.RTTSource || r.ClockStepped != want.ClockStepped || r.Budget != want.Budget {
						t.Errorf("reply %d: %v by %v, stepped %v, budget %+v; want %v by %v, budget %+v",
							ev.Seq, r.RTT, r.RTTSource, r.ClockStepped, r.Budget, want.RTT, want.RTTSource, want.Budget)
					}
				}
				if s := w.snapshot(); s.ClockSteps != 1 || s.StampsLost != 1 || s.Stamps[l2.StampHardware] != 3 || s.Stamps[l2.StampUser] != 1 {
					t.Errorf("%d steps, %d stamps lost, stamps %v", s.ClockSteps, s.StampsLost, s.Stamps)
				}
			})
		})
	}
}

// TestHardwarePatience ends after so many of the NIC's stamps in a row that did
// not come, and is back with the first that does.
func TestHardwarePatience(t *testing.T) {
	const interval = 100 * time.Millisecond
	comes := func(n uint64) bool { return n == 4 || n == 15 }
	inWorld(t, settings{count: 26, interval: interval, hardware: true}, func(t *testing.T, w *world) {
		w.hardware = func(n uint64) time.Duration {
			if comes(n) {
				return toNIC
			}
			return none
		}
		w.run()
		missing := 0
		for i, ev := range w.log {
			wait := w.logAt[i] - w.left[i].at - userRTT(time.Millisecond)
			want, source := time.Duration(0), l2.StampDriver
			switch {
			case comes(ev.Seq):
				missing, source = 0, l2.StampHardware
			case missing < patienceTries:
				missing++
				want = stampPatience
			}
			if ev.Seq != uint64(i)+1 || wait != want || ev.Reply.RTTSource != source {
				t.Errorf("the reply to probe %d by %v waited %v, want %v by %v", ev.Seq, ev.Reply.RTTSource, wait, want, source)
			}
		}
		if s := w.snapshot(); s.StampsLost != 24 || s.Stamps[l2.StampHardware] != 2 || s.Stamps[l2.StampDriver] != 24 || s.Received != 26 {
			t.Errorf("%d stamps lost, stamps %v, received %d", s.StampsLost, s.Stamps, s.Received)
		}
	})
}

// TestHardwareOneAtATime is a NIC that stamps one frame at a time, and after the
// reply: those that follow closely have no stamp, and patience with them ends. It
// is back once a stamp has come for whichever probe: the one that left before is the
// first whose stamp is seen, and the reply after it the first to be held again.
func TestHardwareOneAtATime(t *testing.T) {
	const us, ms = time.Microsecond, time.Millisecond
	inWorld(t, settings{count: 60, interval: 40 * ms, hardware: true, preload: 30}, func(t *testing.T, w *world) {
		var busy time.Duration
		w.hardware = func(uint64) time.Duration {
			if now := w.clock(); now >= busy {
				busy = now + ms
				return ms / 2
			}
			return none
		}
		after := func(n uint64) time.Duration { return 100*us + time.Duration(n)*us }
		w.far = func(n uint64, request []byte) { w.arrive(after(n), replyTo(request).bytes()) }
		w.run()
		for i, ev := range w.log {
			r := ev.Reply
			source, wire, part := l2.StampDriver, after(ev.Seq), Unknown
			if ev.Seq == 1 || ev.Seq > 32 {
				source, wire = l2.StampHardware, byNIC(w.left[i].at, wire)
				part = after(ev.Seq) - wire
			}
			if ev.Seq != uint64(i)+1 || r.RTTSource != source || r.RTT != wire || r.Budget.Wire != wire || r.Budget.NIC != part {
				t.Errorf("%s: %v by %v, budget %+v; want %v by %v", describe(&ev), r.RTT, r.RTTSource, r.Budget, wire, source)
			}
		}
		if s := w.snapshot(); s.StampsLost != 31 || s.Received != 60 {
			t.Errorf("%d stamps lost, received %d", s.StampsLost, s.Received)
		}
	})
}

// TestHardwareLost: the NIC's stamps of probes that nobody answers are no less
// there, though they come after the others.
func TestHardwareLost(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name  string
		after time.Duration
		far   func(w *world, n uint64, request []byte)
		lost  uint64
	}{
		{"lost", toNIC, func(*world, uint64, []byte) {}, 0},
		{"lost, after the others", 5 * ms, func(*world, uint64, []byte) {}, 0},
		// The reply to the one before is read between the driver's stamp and
		// the NIC's.
		{"every second lost", 50 * ms, func(w *world, n uint64, request []byte) {
			if n%2 == 1 {
				w.arrive(30*ms, replyTo(request).bytes())
			}
		}, 5}, // those of the answered ones: for 10 ms at most
		{"never", none, func(*world, uint64, []byte) {}, 10},
		{"errors", toNIC, func(w *world, n uint64, request []byte) { w.arrive(ms, errorFor(request, 3, 1).bytes()) }, 0},
		{"late", toNIC, func(w *world, n uint64, request []byte) { w.arrive(600*ms, replyTo(request).bytes()) }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, settings{count: 10, interval: 20 * ms, timeout: 500 * ms, hardware: true}, func(t *testing.T, w *world) {
				w.forging = true // what comes after the end
				w.hardware = func(uint64) time.Duration { return tt.after }
				w.far = func(n uint64, request []byte) { tt.far(w, n, request) }
				w.run()
				// When a probe left is by the driver's stamp: the NIC's clock has no
				// deadline.
				if s := w.snapshot(); s.StampsLost != tt.lost || s.TimerError.Count != 10 || s.TimerError.Min != toDriver || s.TimerError.Max != toDriver {
					t.Errorf("%d stamps lost, want %d; timer error of %d from %v to %v", s.StampsLost, tt.lost, s.TimerError.Count, s.TimerError.Min, s.TimerError.Max)
				}
			})
		})
	}
}

// TestClocksAreNotMixed gives each reply whichever stamps there happen to be: an
// RTT is always what the clock it is by would say, and of the clocks no two
// would agree on any other difference.
func TestClocksAreNotMixed(t *testing.T) {
	for seed := range uint64(10) {
		inWorld(t, settings{count: 1000, interval: 20 * time.Millisecond, hardware: true}, func(t *testing.T, w *world) {
			random := rand.New(rand.NewPCG(seed, 15))
			stamp := func(taken time.Duration) func(uint64) time.Duration {
				return func(uint64) time.Duration {
					switch random.IntN(4) {
					case 0:
						return none
					case 1:
						return taken + time.Duration(random.Int64N(int64(15*time.Millisecond)))
					}
					return taken
				}
			}
			w.sched, w.driver, w.hardware = stamp(toSched), stamp(toDriver), stamp(toNIC)
			after := map[uint64]time.Duration{}
			hasArrival := map[uint64]bool{}
			w.far = func(n uint64, request []byte) {
				after[n] = 100*time.Microsecond + time.Duration(random.Int64N(int64(5*time.Millisecond)))
				hasArrival[n] = random.IntN(4) > 0
				w.arrive(after[n], replyTo(request).bytes(), func(f *capture.Frame) {
					if !hasArrival[n] {
						f.Arrival = 0
					}
					if random.IntN(4) == 0 {
						f.Hardware = 0
					}
				})
			}
			steps := map[uint64]bool{}
			w.oversleep = func() time.Duration {
				if n := w.stats.Sent; random.IntN(100) == 0 && n > 0 {
					w.skew.Add(int64(time.Hour))
					steps[n] = true
				}
				return 0
			}
			w.run()
			for i, ev := range w.log {
				r, n := ev.Reply, ev.Seq
				wire := after[n]
				hardware := byNIC(w.left[i].at, wire)
				var want []time.Duration
				switch r.RTTSource {
				case l2.StampHardware:
					want = []time.Duration{hardware}
				case l2.StampDriver:
					want = []time.Duration{wire}
				case l2.StampSched:
					want = []time.Duration{wire + toDriver - toSched}
				case l2.StampUser: // at either end
					want = []time.Duration{userRTT(wire), toDriver + wire, userRTT(wire) - toSched, userRTT(wire) - toDriver}
				}
				ok := false
				for _, d := range want {
					ok = ok || r.RTT == d
				}
				if !ok || r.ClockStepped && (r.RTTSource != l2.StampUser || !steps[n]) {
					t.Errorf("seed %d, probe %d: %v by %v, stepped %v, want one of %v", seed, n, r.RTT, r.RTTSource, r.ClockStepped, want)
				}
				for _, part := range []struct{ got, want time.Duration }{
					{r.Budget.Send, toSched}, {r.Budget.Queue, toDriver - toSched}, {r.Budget.Receive, toUser}, {r.Budget.NIC, wire - hardware},
				} {
					if part.got != Unknown && part.got != part.want {
						t.Errorf("seed %d, probe %d: budget %+v", seed, n, r.Budget)
					}
				}
				if b := r.Budget; b.Wire != Unknown && b.Wire != wire && b.Wire != hardware || (b.Wire == hardware) != (r.RTTSource == l2.StampHardware) {
					t.Errorf("seed %d, probe %d: wire %v, by the driver %v, by the NIC %v", seed, n, b.Wire, wire, hardware)
				}
			}
			s := w.snapshot()
			for point := l2.StampUser; point <= l2.StampHardware; point++ {
				if s.Stamps[point] == 0 {
					t.Errorf("seed %d: no RTT by %v in all this", seed, point)
				}
			}
			if s.ClockSteps == 0 || s.StampsLost == 0 || s.Budget.NIC.Count == 0 {
				t.Errorf("seed %d: %d steps, %d stamps lost, %d times of the NIC", seed, s.ClockSteps, s.StampsLost, s.Budget.NIC.Count)
			}
		})
	}
}
