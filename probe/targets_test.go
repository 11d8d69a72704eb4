//go:build linux

package probe

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// A crowd is an engine with many targets, in a synctest bubble. Host i, from 0 on,
// is at 198.18.0.0 and i+1.
type crowd struct {
	t testing.TB
	*engine
	in    *inbox
	base  time.Time
	hosts []*crowdHost
	left  []crowdFrame

	log    map[netip.Addr][]string
	starts []netip.Addr
}

// A crowdHost is one of them, and knows its MAC.
type crowdHost struct {
	neighbor atomic.Pointer[arp.Neighbor]
	status   atomic.Int32
	answer   func(c *crowd, n uint64, request []byte) // nil: an echo reply after a millisecond
	doubts   int
}

func (h *crowdHost) Snapshot() (arp.Neighbor, arp.Status) {
	return *h.neighbor.Load(), arp.Status(h.status.Load())
}
func (h *crowdHost) Doubt() { h.doubts++ }

type crowdFrame struct {
	host int
	at   time.Duration
}

func hostAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, byte((i + 1) >> 8), byte(i + 1)})
}

// inCrowd runs f with an engine of n targets.
func inCrowd(t *testing.T, n int, cfg Config, deadline time.Duration, f func(c *crowd)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, n, cfg, deadline)
		f(c)
	})
}

func newCrowd(t testing.TB, n int, cfg Config, deadline time.Duration) *crowd {
	t.Helper()
	c := &crowd{t: t, in: newInbox(), base: time.Now(), log: make(map[netip.Addr][]string)}
	for i := range n {
		cfg.Targets = append(cfg.Targets, Target{hostAddr(i)})
	}
	if err := cfg.setDefaults(); err != nil {
		t.Fatal(err)
	}
	ifc := &l2.Interface{Name: "eth0", MAC: nearMAC, MTU: 1500, LinkType: "ether"}
	s := secret{probeID, cookie}
	c.engine = &engine{
		wire: c, link: c, events: newRing(1<<16, n),
		now:   func() instant { return instant{mono: int64(time.Since(c.base)), wall: time.Now().UnixNano()} },
		count: cfg.Count, enough: cfg.Enough, timeout: int64(cfg.Timeout), deadline: int64(deadline),
		points: points{departure: l2.StampDriver}, sentToo: cfg.Sent,
		match: bpf.Match{Kind: bpf.EchoReply, ID: probeID, Cookie: cookie, CookieLen: min(*cfg.DataLen, frame.CookieLen)},
	}
	for i := range n {
		h := &crowdHost{}
		h.neighbor.Store(&arp.Neighbor{Addr: hostAddr(i), MAC: farMAC})
		h.status.Store(int32(arp.Resolved))
		c.hosts = append(c.hosts, h)
		path := &l2.Path{Interface: ifc, Owner: ifc, Destination: hostAddr(i), NextHop: hostAddr(i), Source: nearIP, OnLink: true, MTU: 1500}
		echo, err := cfg.echo(path, s)
		if err != nil {
			t.Fatal(err)
		}
		course, err := newCourse(path, echo, h)
		if err != nil {
			t.Fatal(err)
		}
		tgt := &target{course: course, address: hostAddr(i), dataLen: *cfg.DataLen, schedule: newSchedule(&cfg)}
		tgt.started = &Started{Decision: arp.Decision{Path: path}}
		if n > manyTargets {
			tgt.stats.brief()
		}
		c.targets = append(c.targets, tgt)
	}
	c.init()
	return c
}

func (c *crowd) index(b []byte) int { return int(b[32])<<8 + int(b[33]) - 1 }

func (c *crowd) Send(b []byte, id uint32) error {
	i := c.index(b)
	c.left = append(c.left, crowdFrame{i, time.Since(c.base)})
	c.in.putStamp(l2.Stamp{ID: id, Point: l2.StampDriver, Time: time.Now().UnixNano()})
	b = bytes.Clone(b)
	p := parse(b)
	if h := c.hosts[i]; h.answer != nil {
		h.answer(c, uint64(p.seq()), b)
	} else {
		c.arrive(time.Millisecond, replyTo(b).bytes())
	}
	return nil
}

func (c *crowd) arrive(after time.Duration, b []byte) {
	time.AfterFunc(after, func() {
		c.in.putFrame(capture.Frame{Data: b, Length: len(b), Arrival: time.Now().UnixNano()})
		c.in.wake()
	})
}

func (c *crowd) Receive(frames []capture.Frame) (int, error)       { return c.in.Receive(frames) }
func (c *crowd) ReadStamps(stamps []l2.Stamp) (int, bool, error)   { return c.in.ReadStamps(stamps) }
func (c *crowd) Run(turn func() (time.Duration, bool, bool)) error { return c.in.loop(turn, c.read) }

func (c *crowd) read() {
	if !c.events.unread() {
		return
	}
	events, _ := c.events.read(nil)
	for i := range events {
		ev := &events[i]
		if ev.Kind == Start {
			c.starts = append(c.starts, ev.Address)
			continue
		}
		c.log[ev.Address] = append(c.log[ev.Address], describe(ev))
	}
}

func (*crowd) Err() error { return nil }

func (c *crowd) run() {
	c.t.Helper()
	if err := c.engine.run(); err != nil {
		c.t.Fatal(err)
	}
	if len(c.starts) != len(c.targets) {
		c.t.Errorf("%d of %d targets were started", len(c.starts), len(c.targets))
	}
	s := c.snapshot()
	if s.Sent != s.Received+s.Lost+s.Errors+s.Pending || s.Targets != len(c.targets) {
		c.t.Errorf("of all %d: %s", s.Targets, brief(&s))
	}
}

// departures are the times at which frames left for a host.
func (c *crowd) departures(host int) []time.Duration {
	var at []time.Duration
	for _, f := range c.left {
		if f.host == host {
			at = append(at, f.at)
		}
	}
	return at
}

func TestTargetsAreInterleaved(t *testing.T) {
	inCrowd(t, 10, Config{Count: 3}, 0, func(c *crowd) {
		c.run()
		for i := range c.hosts {
			offset := time.Duration(i) * 100 * time.Millisecond
			want := []time.Duration{offset, offset + time.Second, offset + 2*time.Second}
			if got := c.departures(i); !slices.Equal(got, want) {
				t.Errorf("host %d: probes left at %v, want %v", i, got, want)
			}
			if got := c.log[hostAddr(i)]; !slices.Equal(got, []string{"1 replied", "2 replied", "3 replied"}) {
				t.Errorf("host %d: %q", i, got)
			}
			s := c.snapshotOf(c.targets[i])
			if s.Sent != 3 || s.Received != 3 || s.RTT.Count != 3 || s.RTT.Max != time.Millisecond || s.Duration != 2*time.Second || s.Address != hostAddr(i) {
				t.Errorf("host %d: %s", i, brief(&s))
			}
		}
		s := c.snapshot()
		if s.Sent != 30 || s.Received != 30 || s.RTT.Count != 30 || s.Answered != 10 || s.Address.IsValid() || s.Stamps[l2.StampDriver] != 30 {
			t.Errorf("of all: %s", brief(&s))
		}
	})
}

// Hosts that are not there are asked for beside the others, whose probes leave as
// if those were not.
func TestUnreachableTargetsHoldNothingUp(t *testing.T) {
	for _, n := range []int{9, 300} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			inCrowd(t, n, Config{Count: 5}, 0, func(c *crowd) {
				interval := time.Second / time.Duration(n)
				for i, h := range c.hosts {
					switch i % 3 {
					case 1: // never found
						h.neighbor.Store(&arp.Neighbor{Addr: hostAddr(i)})
						h.status.Store(int32(arp.Pending))
						time.AfterFunc(3*time.Second+time.Duration(i)*interval, func() {
							h.status.Store(int32(arp.Failed))
							c.look()
							c.in.wake()
						})
					case 2: // found late
						h.status.Store(int32(arp.Pending))
						time.AfterFunc(1500*time.Millisecond, func() {
							h.status.Store(int32(arp.Resolved))
							c.look()
							c.in.wake()
						})
					}
				}
				c.run()
				for i := range c.hosts {
					got, first := c.departures(i), time.Duration(float64(time.Second)*float64(i)/float64(n))
					switch i % 3 {
					case 0:
						want := []time.Duration{first, first + time.Second, first + 2*time.Second, first + 3*time.Second, first + 4*time.Second}
						if !slices.Equal(got, want) {
							t.Errorf("host %d: probes left at %v, want %v", i, got, want)
						}
					case 1:
						s := c.snapshotOf(c.targets[i])
						if len(got) != 0 || s.Sent != 5 || s.Errors != 5 {
							t.Errorf("host %d: %d frames left, %s", i, len(got), brief(&s))
						}
					case 2:
						late := max(first, 1500*time.Millisecond)
						if len(got) != 5 || got[0] < late || got[0] > late+2*time.Duration(lookEvery) || got[4]-got[0] != 4*time.Second {
							t.Errorf("host %d, found at %v: probes left at %v", i, late, got)
						}
					}
				}
			})
		})
	}
}

func TestEnough(t *testing.T) {
	inCrowd(t, 10, Config{Enough: 3}, 0, func(c *crowd) {
		for i, h := range c.hosts {
			if i%2 == 0 {
				h.answer = func(*crowd, uint64, []byte) {}
			}
		}
		c.run()
		if s := c.snapshot(); s.Answered != 3 || s.Sent != 6 || s.Received != 3 {
			t.Errorf("%d answered: %s", s.Answered, brief(&s))
		}
	})
}

// A deadline ends the run for all; a target whose turn had not come has no probe.
func TestDeadlineOfMany(t *testing.T) {
	inCrowd(t, 10, Config{}, 1450*time.Millisecond, func(c *crowd) {
		c.hosts[2].status.Store(int32(arp.Pending))
		c.hosts[2].neighbor.Store(&arp.Neighbor{Addr: hostAddr(2)})
		c.run()
		if got := time.Since(c.base); got != 1450*time.Millisecond {
			t.Errorf("it took %v", got)
		}
		for i, tgt := range c.targets {
			want := uint64(1)
			if i < 5 && i != 2 {
				want = 2
			}
			if s := c.snapshotOf(tgt); s.Sent != want {
				t.Errorf("host %d: %s", i, brief(&s))
			}
		}
	})
	inCrowd(t, 10, Config{}, 450*time.Millisecond, func(c *crowd) {
		c.run()
		if s := c.snapshot(); s.Sent != 5 || s.Received != 5 {
			t.Errorf("%s", brief(&s))
		}
	})
}

// What comes is taken for nobody else's than the host's that it speaks of.
func TestRepliesOfMany(t *testing.T) {
	inCrowd(t, 4, Config{Count: 1, Timeout: 500 * time.Millisecond}, 0, func(c *crowd) {
		c.hosts[0].answer = func(c *crowd, _ uint64, request []byte) {
			p := replyTo(request)
			p.src = netip.MustParseAddr("198.18.9.9") // no target
			c.arrive(time.Millisecond, p.bytes())
		}
		c.hosts[1].answer = func(c *crowd, _ uint64, request []byte) {
			c.arrive(time.Millisecond, errorFor(request, 3, 1).bytes())
		}
		c.hosts[2].answer = func(c *crowd, _ uint64, request []byte) {
			p := replyTo(request)
			c.arrive(time.Millisecond, p.bytes())
			c.arrive(2*time.Millisecond, p.bytes())
			p.dst = routerIP // another address of ours
			c.arrive(3*time.Millisecond, p.bytes())
		}
		c.hosts[3].answer = func(c *crowd, _ uint64, request []byte) {
			p := replyTo(request)
			p.setSeq(2) // not sent
			c.arrive(time.Millisecond, p.bytes())
			c.arrive(700*time.Millisecond, replyTo(request).bytes())
		}
		c.run()
		for i, want := range [][]string{{"1 lost"}, {"1 error 3/1"}, {"1 replied", "1 duplicate"}, {"1 lost"}} {
			if got := c.log[hostAddr(i)]; !slices.Equal(got, want) {
				t.Errorf("host %d: %q, want %q", i, got, want)
			}
		}
		if s := c.snapshot(); s.Rejected != 3 || s.Answered != 1 {
			t.Errorf("%d answered: %s", s.Answered, brief(&s))
		}
	})
}

// A target's new course is taken at its next probe, and told.
func TestCourseChanges(t *testing.T) {
	inCrowd(t, 2, Config{Count: 3}, 0, func(c *crowd) {
		broken := &course{path: c.targets[0].path, err: errors.New("no route")}
		broken.change = &Change{Kind: ChangedPath, Old: c.targets[0].path, Err: broken.err}
		whole := *c.targets[0].course
		whole.change = &Change{Kind: ChangedPath, New: whole.path}
		time.AfterFunc(500*time.Millisecond, func() { c.targets[0].next.Store(broken) })
		time.AfterFunc(1500*time.Millisecond, func() { c.targets[0].next.Store(&whole) })
		c.run()
		want := []string{"1 replied", "kind 8", "2 local error", "kind 8", "3 replied"}
		for i, kind := range want {
			if kind == "kind 8" {
				want[i] = fmt.Sprintf("kind %d", Changed)
			}
		}
		if got := c.log[hostAddr(0)]; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		if got := c.log[hostAddr(1)]; len(got) != 3 {
			t.Errorf("the other target: %q", got)
		}
	})
}

// The queue has at its top what comes first, whatever is done to it.
func TestQueue(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var q queue
	var in []*target
	for range 20_000 {
		switch n := random.IntN(4); {
		case n == 0 || len(in) == 0:
			tgt := &target{at: random.Int64N(1000)}
			q.push(tgt)
			in = append(in, tgt)
		case n == 1:
			i := random.IntN(len(in))
			q.remove(in[i])
			if in[i].place != -1 {
				t.Fatal("a target outside has a place")
			}
			in = slices.Delete(in, i, i+1)
		default:
			tgt := in[random.IntN(len(in))]
			tgt.at = random.Int64N(1000)
			q.moved(tgt)
		}
		if len(q) != len(in) {
			t.Fatalf("%d in the queue, %d put in", len(q), len(in))
		}
		for i, tgt := range q {
			if tgt.place != i || i > 0 && tgt.at < q[(i-1)/2].at {
				t.Fatalf("place %d of %d is wrong", i, len(q))
			}
		}
		now := random.Int64N(1000)
		var due []*target
		q.until(0, now, &due)
		want := 0
		for _, tgt := range in {
			if tgt.at <= now {
				want++
			}
		}
		if len(due) != want {
			t.Fatalf("%d are due at %d, want %d", len(due), now, want)
		}
	}
}

// maxTargetBytes is what a target of many may take, in bytes: its probes, what is
// out, its statistics.
const maxTargetBytes = 12 << 10

func TestMemoryOfATarget(t *testing.T) {
	const n = 10_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	inCrowd(t, n, Config{Count: 1}, 0, func(c *crowd) {
		c.log = nil
		runtime.GC()
		runtime.ReadMemStats(&after)
		built := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n
		for _, tgt := range c.targets {
			tgt.stats.addReply(&Reply{State: StateReplied, RTT: time.Millisecond, RTTSource: l2.StampDriver})
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		bytes := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n
		t.Logf("%d bytes a target, %d before its first reply", bytes, built)
		if bytes > maxTargetBytes || bytes < 1000 {
			t.Errorf("%d bytes a target: not up to %d", bytes, maxTargetBytes)
		}
		runtime.KeepAlive(c)
	})
}
