//go:build linux

package probe

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

var (
	otherMAC = frame.MAC{0x02, 0, 0x5e, 0, 0x53, 0x66}
	thirdMAC = frame.MAC{0x02, 0, 0x5e, 0, 0x53, 0x77}

	near6 = netip.MustParseAddr("2001:db8:1::1")
	far6  = netip.MustParseAddr("2001:db8:1::2")
)

// A street is an engine that asks for its neighbors, in a synctest bubble.
type street struct {
	t testing.TB
	*engine
	base time.Time
	// answer is what a request brings about.
	answer func(q asked)
	fault  func(n int) error // of sending frame n, from 1
	tries  int
	// busy is how long the program does not come to read what has arrived.
	busy time.Duration

	mu      sync.Mutex
	queue   []capture.Frame
	stamps  []l2.Stamp
	arrived chan struct{}

	asked []asked
	log   []string // with the time in front
	turns int
}

// asked is a request that left.
type asked struct {
	n       int // from 1, of all
	at      time.Duration
	to      frame.MAC
	arp     frame.ARP
	ndp     frame.NDP
	targets netip.Addr
}

// onStreet runs f with an engine for the Config's targets, on which nobody answers
// yet.
func onStreet(t *testing.T, cfg Config, f func(s *street)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(newStreet(t, cfg)) })
}

func newStreet(t testing.TB, cfg Config) *street {
	t.Helper()
	if err := cfg.setDefaults(); err != nil {
		t.Fatal(err)
	}
	s := &street{t: t, base: time.Now(), arrived: make(chan struct{}, 1)}
	s.answer = func(asked) {}
	s.fault = func(int) error { return nil }
	ifc := &l2.Interface{Index: 1, Name: "eth0", MAC: nearMAC, MTU: 1500, LinkType: "ether", Up: true, Running: true}
	p := &Pinger{cfg: cfg, ifc: ifc}
	s.engine = &engine{
		wire: s, link: s, events: newRing(1<<12, len(cfg.Targets)),
		now:   func() instant { return instant{mono: int64(time.Since(s.base)) + 1, wall: time.Now().UnixNano()} },
		count: cfg.Count, enough: cfg.Enough, timeout: int64(cfg.Timeout), deadline: int64(cfg.Deadline),
		points: points{departure: l2.StampDriver}, sentToo: cfg.Sent, neighbor: cfg.Neighbor,
	}
	var paths []*l2.Path
	for _, to := range cfg.Targets {
		path := &l2.Path{Interface: ifc, Owner: ifc, Destination: to.Addr, NextHop: to.Addr, OnLink: true, MTU: 1500}
		switch {
		case cfg.Source.IsValid():
			path.Source = cfg.Source
		case cfg.Neighbor.Mode == NeighborDetect && to.Addr.Is4():
			path.Source = netip.IPv4Unspecified()
		case cfg.Neighbor.Mode == NeighborDetect:
			path.Source = netip.IPv6Unspecified()
		case cfg.Neighbor.Mode.silent():
			path.Source = to.Addr
		case to.Addr.Is4():
			path.Source = nearIP
		default:
			path.Source = near6
		}
		c, err := p.course(path)
		if err != nil {
			t.Fatal(err)
		}
		tgt := &target{course: c, address: to.Addr, dataLen: *cfg.DataLen, schedule: newSchedule(&cfg)}
		tgt.started = &Started{Decision: arp.Decision{Path: path}, Neighbor: cfg.Neighbor}
		s.targets = append(s.targets, tgt)
		paths = append(paths, path)
	}
	s.match = cfg.match(paths, secret{})
	if err := s.match.Validate(); err != nil {
		t.Fatal(err)
	}
	s.init()
	return s
}

func (s *street) Send(b []byte, id uint32) error {
	s.tries++
	if err := s.fault(s.tries); err != nil {
		return err
	}
	q := asked{n: len(s.asked) + 1, at: time.Since(s.base)}
	var eth frame.Ethernet
	if err := eth.Decode(bytes.Clone(b)); err != nil {
		s.t.Fatal(err)
	}
	q.to = eth.Dst
	var err error
	if eth.Type == frame.EtherTypeARP {
		err = q.arp.Decode(eth.Payload)
		q.targets = q.arp.TargetIP
	} else {
		err = q.ndp.Decode(eth.Payload)
		q.targets = q.ndp.Target
	}
	if err != nil {
		s.t.Fatalf("%v: % x", err, b)
	}
	s.asked = append(s.asked, q)
	s.mu.Lock()
	s.stamps = append(s.stamps, l2.Stamp{ID: id, Point: l2.StampDriver, Time: time.Now().UnixNano()})
	s.mu.Unlock()
	s.answer(q)
	return nil
}

// arrive has a frame come in, at once if after is 0.
func (s *street) arrive(after time.Duration, b []byte, err error) {
	if err != nil {
		s.t.Error(err)
		return
	}
	arrival := time.Now().Add(after).UnixNano()
	come := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.queue = append(s.queue, capture.Frame{Data: b, Length: len(b), Arrival: arrival})
	}
	after += s.busy
	if after == 0 {
		come() // nobody is waiting who could be woken
		return
	}
	time.AfterFunc(after, func() {
		come()
		select {
		case s.arrived <- struct{}{}:
		default:
		}
	})
}

// reply has a MAC answer a request after a time.
func (s *street) reply(q asked, mac frame.MAC, after time.Duration) {
	header := frame.Header{Src: mac, Dst: nearMAC}
	if q.targets.Is4() {
		a := frame.ARP{Operation: frame.ARPReply, SenderMAC: mac, SenderIP: q.targets, TargetMAC: nearMAC, TargetIP: q.arp.SenderIP}
		b, err := a.MarshalBehind(header)
		s.arrive(after, b, err)
		return
	}
	n := frame.NDP{Type: frame.ICMPv6NeighborAdvertisement, Src: q.targets, Dst: q.ndp.Src, Target: q.targets, MAC: mac, Solicited: true, Override: true}
	if q.ndp.Src.IsUnspecified() {
		n.Dst, n.Solicited = netip.IPv6LinkLocalAllNodes(), false
		header.Dst = frame.MulticastMAC(n.Dst)
	}
	b, err := n.Marshal(header)
	s.arrive(after, b, err)
}

func (s *street) Receive(frames []capture.Frame) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := copy(frames, s.queue)
	s.queue = s.queue[n:]
	return n, nil
}

func (s *street) ReadStamps(stamps []l2.Stamp) (int, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := copy(stamps, s.stamps)
	s.stamps = s.stamps[n:]
	return n, n == len(stamps), nil
}

func (*street) Err() error { return nil }

func (s *street) Run(turn func() (time.Duration, bool, bool)) error {
	for {
		s.turns++
		wait, _, done := turn()
		s.read()
		if done {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-s.arrived:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (s *street) read() {
	if !s.events.unread() {
		return
	}
	events, _ := s.events.read(nil)
	for i := range events {
		ev := &events[i]
		text := describe(ev)
		switch {
		case ev.Kind == Start:
			continue
		case ev.Kind == Conflicted:
			text = fmt.Sprintf("conflict %v", ev.Conflict.MACs)
		case ev.Kind == Replied:
			text += " " + ev.Reply.FromMAC.String()
			a := ev.Reply.Answer
			for _, flag := range []struct {
				set  bool
				name string
			}{{a.Broadcast, "broadcast"}, {a.Request, "request"}, {a.Router, "router"}, {a.Solicited, "solicited"}, {a.Override, "override"}} {
				if flag.set {
					text += " " + flag.name
				}
			}
			if a.AlsoFor.IsValid() {
				text += " also " + a.AlsoFor.String()
			}
			text += claimOf(&ev.Reply)
		}
		if len(s.targets) > 1 {
			text = ev.Address.String() + " " + text
		}
		s.log = append(s.log, text)
	}
}

// run is a whole run, which has to take a time.
func (s *street) run(takes time.Duration) Statistics {
	s.t.Helper()
	if s.deadline != 0 {
		s.deadline += s.now().mono
	}
	if err := s.engine.run(); err != nil {
		s.t.Fatal(err)
	}
	if got := time.Since(s.base); got.Round(time.Millisecond) != takes {
		s.t.Errorf("the run took %v, want %v", got, takes)
	}
	// Whatever happens, happens in a few turns: nobody spins.
	if most := 8 * (len(s.asked) + len(s.log) + len(s.targets) + 2); s.turns > most {
		s.t.Errorf("%d turns of the loop, want %d at the most", s.turns, most)
	}
	return s.snapshot()
}

// whom is to whom the requests went.
func (s *street) whom() string {
	var list []string
	for _, q := range s.asked {
		switch {
		case q.to.IsGroup():
			list = append(list, "all")
		case q.to == farMAC:
			list = append(list, "far")
		case q.to == otherMAC:
			list = append(list, "other")
		default:
			list = append(list, q.to.String())
		}
	}
	return strings.Join(list, " ")
}

func (s *street) wantLog(want ...string) {
	s.t.Helper()
	if !slices.Equal(s.log, want) {
		s.t.Errorf("what happened:\n%s\nwant:\n%s", strings.Join(s.log, "\n"), strings.Join(want, "\n"))
	}
}

func wantCounts(t testing.TB, got Statistics, want Statistics) {
	t.Helper()
	type counts struct {
		sent, received, lost, errors, pending, late, duplicates, more, conflicts, broadcasts, replies, requests, rejected uint64
	}
	of := func(s *Statistics) counts {
		return counts{s.Sent, s.Received, s.Lost, s.Errors, s.Pending, s.Late, s.Duplicates, s.MoreReplies, s.Conflicts, s.Broadcasts, s.BroadcastReplies, s.RequestReplies, s.Rejected}
	}
	if of(&got) != of(&want) {
		t.Errorf("counts %+v, want %+v", of(&got), of(&want))
	}
}

func asking(n *Neighbor, count uint64, targets ...netip.Addr) Config {
	return Config{Targets: Hosts(targets...), Neighbor: n, Count: count}
}

// Everybody is asked first, then who has answered, and everybody again when that
// one was silent twice. The last probe is listened to for a second.
func TestNeighborAsk(t *testing.T) {
	for _, target := range []netip.Addr{farIP, far6} {
		onStreet(t, asking(&Neighbor{}, 6, target), func(s *street) {
			s.answer = func(q asked) {
				if q.n != 3 && q.n != 4 {
					s.reply(q, farMAC, 2*time.Millisecond)
				}
			}
			got := s.run(6 * time.Second)
			if want := "all far far far all far"; s.whom() != want {
				t.Errorf("asked %s, want %s", s.whom(), want)
			}
			flags := ""
			if target.Is6() {
				flags = " solicited override"
			}
			reply := func(n int) string { return fmt.Sprintf("%d replied %v%s", n, farMAC, flags) }
			s.wantLog(reply(1), reply(2), "3 lost", "4 lost", reply(5), reply(6))
			wantCounts(t, got, Statistics{Sent: 6, Received: 4, Lost: 2, Broadcasts: 2})
			if got.RTT.Min != 2*time.Millisecond || got.RTT.Max != 2*time.Millisecond {
				t.Errorf("RTTs from %v to %v, want 2ms", got.RTT.Min, got.RTT.Max)
			}
		})
	}
}

func TestNeighborBroadcast(t *testing.T) {
	onStreet(t, asking(&Neighbor{Broadcast: true}, 3, farIP), func(s *street) {
		s.answer = func(q asked) { s.reply(q, farMAC, time.Millisecond) }
		got := s.run(3 * time.Second)
		if want := "all all all"; s.whom() != want {
			t.Errorf("asked %s, want %s", s.whom(), want)
		}
		wantCounts(t, got, Statistics{Sent: 3, Received: 3, Broadcasts: 3})
	})
}

// A MAC of the caller's is asked and nobody else, whoever answers.
func TestNeighborGivenMAC(t *testing.T) {
	cfg := asking(&Neighbor{}, 4, farIP)
	cfg.DstMAC = thirdMAC
	onStreet(t, cfg, func(s *street) {
		s.answer = func(q asked) {
			if q.n == 1 {
				s.reply(q, farMAC, time.Millisecond)
			}
		}
		got := s.run(4 * time.Second)
		if want := strings.TrimSpace(strings.Repeat(thirdMAC.String()+" ", 4)); s.whom() != want {
			t.Errorf("asked %s, want %s", s.whom(), want)
		}
		wantCounts(t, got, Statistics{Sent: 4, Received: 1, Lost: 3})
	})
}

// A second MAC is an alarm, though the probe was answered and its answer is slow.
// It is told once, and its answers count.
func TestNeighborConflict(t *testing.T) {
	onStreet(t, asking(&Neighbor{Broadcast: true}, 2, farIP), func(s *street) {
		s.answer = func(q asked) {
			s.reply(q, farMAC, time.Millisecond)
			s.reply(q, otherMAC, 900*time.Millisecond)
		}
		got := s.run(2 * time.Second)
		s.wantLog(
			"1 replied 02:00:5e:00:53:02",
			"conflict [02:00:5e:00:53:02 02:00:5e:00:53:66]", "1 replied 02:00:5e:00:53:66",
			"2 replied 02:00:5e:00:53:02", "2 replied 02:00:5e:00:53:66",
		)
		wantCounts(t, got, Statistics{Sent: 2, Received: 2, MoreReplies: 2, Conflicts: 1, Broadcasts: 2})
	})
}

// No more MACs of an address are told apart than there is room for.
func TestNeighborManyClaims(t *testing.T) {
	onStreet(t, asking(&Neighbor{}, 1, farIP), func(s *street) {
		s.answer = func(q asked) {
			for i := range 20 {
				s.reply(q, frame.MAC{2, 0, 0, 0, 0, byte(i)}, time.Duration(i+1)*time.Millisecond)
			}
		}
		got := s.run(time.Second)
		wantCounts(t, got, Statistics{
			Sent: 1, Received: 1, MoreReplies: maxClaims - 1, Conflicts: maxClaims - 1, Duplicates: 20 - maxClaims, Broadcasts: 1,
		})
	})
}

// An answer more of the same host is perhaps to another program: it does not count.
func TestNeighborDuplicate(t *testing.T) {
	onStreet(t, asking(&Neighbor{}, 2, farIP), func(s *street) {
		s.answer = func(q asked) {
			s.reply(q, farMAC, time.Millisecond)
			s.reply(q, farMAC, 2*time.Millisecond)
		}
		got := s.run(2 * time.Second)
		s.wantLog("1 replied 02:00:5e:00:53:02", "1 duplicate 02:00:5e:00:53:02", "2 replied 02:00:5e:00:53:02", "2 duplicate 02:00:5e:00:53:02")
		wantCounts(t, got, Statistics{Sent: 2, Received: 2, Duplicates: 2, Broadcasts: 1})
	})
}

// Answers that are read together belong each to the probe before it.
func TestNeighborReadLate(t *testing.T) {
	cfg := asking(&Neighbor{Broadcast: true}, 3, farIP)
	cfg.Interval = 10 * time.Millisecond
	onStreet(t, cfg, func(s *street) {
		s.busy = 25 * time.Millisecond
		s.answer = func(q asked) { s.reply(q, farMAC, time.Duration(q.n)*time.Millisecond) }
		got := s.run(1020 * time.Millisecond)
		s.wantLog("1 replied 02:00:5e:00:53:02", "2 replied 02:00:5e:00:53:02", "3 replied 02:00:5e:00:53:02")
		wantCounts(t, got, Statistics{Sent: 3, Received: 3, Broadcasts: 3})
		if got.RTT.Min != time.Millisecond || got.RTT.Max != 3*time.Millisecond {
			t.Errorf("RTTs from %v to %v, want 1ms to 3ms", got.RTT.Min, got.RTT.Max)
		}
	})
}

// With a deadline the run ends when as many answers have come as were to, and no
// more is sent than that, as in arping.
func TestNeighborDeadline(t *testing.T) {
	cfg := asking(&Neighbor{}, 3, farIP)
	cfg.Deadline = 10 * time.Second
	t.Run("answered", func(t *testing.T) {
		onStreet(t, cfg, func(s *street) {
			s.answer = func(q asked) { s.reply(q, farMAC, time.Millisecond) }
			wantCounts(t, s.run(2*time.Second+time.Millisecond), Statistics{Sent: 3, Received: 3, Broadcasts: 1})
		})
	})
	t.Run("by several", func(t *testing.T) {
		onStreet(t, cfg, func(s *street) {
			s.answer = func(q asked) {
				for i, mac := range []frame.MAC{farMAC, otherMAC, thirdMAC} {
					s.reply(q, mac, time.Duration(i+1)*time.Millisecond)
				}
			}
			wantCounts(t, s.run(3*time.Millisecond), Statistics{Sent: 1, Received: 1, MoreReplies: 2, Conflicts: 2, Broadcasts: 1})
		})
	})
	t.Run("unanswered", func(t *testing.T) {
		onStreet(t, cfg, func(s *street) {
			wantCounts(t, s.run(3*time.Second), Statistics{Sent: 3, Lost: 3, Broadcasts: 3})
		})
	})
	t.Run("alone", func(t *testing.T) {
		cfg := cfg
		cfg.Count, cfg.Deadline = 0, 2500*time.Millisecond
		onStreet(t, cfg, func(s *street) {
			wantCounts(t, s.run(cfg.Deadline), Statistics{Sent: 3, Lost: 2, Pending: 1, Broadcasts: 3})
		})
	})
}

// With First a target that has answered is asked no more, and the others are.
func TestNeighborFirst(t *testing.T) {
	third := netip.MustParseAddr("198.51.100.3")
	onStreet(t, asking(&Neighbor{First: true}, 4, farIP, third), func(s *street) {
		s.answer = func(q asked) {
			if q.targets == third || q.n >= 4 {
				s.reply(q, farMAC, time.Millisecond)
			}
		}
		got := s.run(2*time.Second + time.Millisecond)
		s.wantLog(
			"198.51.100.3 1 replied 02:00:5e:00:53:02",
			"198.51.100.2 1 lost",
			"198.51.100.2 2 lost",
			"198.51.100.2 3 replied 02:00:5e:00:53:02 also 198.51.100.3",
		)
		wantCounts(t, got, Statistics{Sent: 4, Received: 2, Lost: 2, Broadcasts: 4})
		if got.Answered != 2 {
			t.Errorf("%d targets have answered, want 2", got.Answered)
		}
	})
}

// An answer that is there as soon as the request has left ends what it can end.
func TestNeighborAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cfg   Config
		takes time.Duration
	}{
		{"first", asking(&Neighbor{First: true}, 0, farIP), 0},
		{"first of two", asking(&Neighbor{First: true}, 0, farIP, hostAddr(0)), 500 * time.Millisecond},
		{"deadline and count", Config{Targets: Hosts(farIP), Neighbor: &Neighbor{}, Count: 3, Deadline: time.Minute}, 2 * time.Second},
		{"count", asking(&Neighbor{}, 2, farIP), 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onStreet(t, tt.cfg, func(s *street) {
				s.answer = func(q asked) { s.reply(q, farMAC, 0) }
				if got := s.run(tt.takes); got.Received != got.Sent {
					t.Errorf("%s", brief(&got))
				}
			})
		})
	}
}

// Detection asks from no address, and hears what is answered to that: of IPv6 to
// all nodes.
func TestNeighborDetect(t *testing.T) {
	for _, target := range []netip.Addr{farIP, far6} {
		onStreet(t, asking(&Neighbor{Mode: NeighborDetect, First: true}, 3, target), func(s *street) {
			s.answer = func(q asked) {
				if q.n == 2 {
					s.reply(q, farMAC, time.Millisecond)
				}
			}
			got := s.run(time.Second + time.Millisecond)
			want := Statistics{Sent: 2, Received: 1, Lost: 1, Broadcasts: 2}
			flags := ""
			if target.Is6() {
				want.BroadcastReplies, flags = 1, " broadcast override"
			}
			wantCounts(t, got, want)
			s.wantLog("1 lost", "2 replied 02:00:5e:00:53:02"+flags)
			for _, q := range s.asked {
				if target.Is4() && (q.arp.SenderIP != netip.IPv4Unspecified() || q.arp.Operation != frame.ARPRequest) ||
					target.Is6() && (!q.ndp.Src.IsUnspecified() || !q.ndp.MAC.IsZero() || q.ndp.Dst != frame.SolicitedNode(far6)) {
					t.Errorf("asked %+v", q)
				}
			}
		})
	}
}

// An announcement waits for nobody: the run ends with the last of them.
func TestNeighborAnnounce(t *testing.T) {
	for _, tt := range []struct {
		name   string
		mode   NeighborMode
		target netip.Addr
		source netip.Addr
		to     frame.MAC
		arp    frame.ARP
		ndp    frame.NDP
	}{
		{
			name: "request", mode: NeighborAnnounce, target: nearIP, to: frame.Broadcast,
			arp: frame.ARP{Operation: frame.ARPRequest, SenderMAC: nearMAC, SenderIP: nearIP, TargetIP: nearIP},
		},
		{
			name: "reply", mode: NeighborAnnounceReply, target: nearIP, to: frame.Broadcast,
			arp: frame.ARP{Operation: frame.ARPReply, SenderMAC: nearMAC, SenderIP: nearIP, TargetMAC: nearMAC, TargetIP: nearIP},
		},
		{
			name: "request for another", mode: NeighborAnnounce, target: farIP, source: nearIP, to: frame.Broadcast,
			arp: frame.ARP{Operation: frame.ARPRequest, SenderMAC: nearMAC, SenderIP: nearIP, TargetIP: farIP},
		},
		{
			name: "advertisement", mode: NeighborAnnounce, target: near6, to: frame.MAC{0x33, 0x33, 0, 0, 0, 1},
			ndp: frame.NDP{
				Type: frame.ICMPv6NeighborAdvertisement, Src: near6, Dst: netip.IPv6LinkLocalAllNodes(), Target: near6,
				Override: true, MAC: nearMAC,
			},
		},
		{
			name: "advertisement in place of a reply", mode: NeighborAnnounceReply, target: near6, to: frame.MAC{0x33, 0x33, 0, 0, 0, 1},
			ndp: frame.NDP{
				Type: frame.ICMPv6NeighborAdvertisement, Src: near6, Dst: netip.IPv6LinkLocalAllNodes(), Target: near6,
				Override: true, MAC: nearMAC,
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := asking(&Neighbor{Mode: tt.mode}, 3, tt.target)
			cfg.Source = tt.source
			onStreet(t, cfg, func(s *street) {
				s.answer = func(q asked) { // a host that answers nevertheless
					if q.targets == farIP {
						s.reply(q, farMAC, time.Millisecond)
					}
				}
				got := s.run(2 * time.Second)
				wantCounts(t, got, Statistics{Sent: 3, Pending: 3, Broadcasts: 3})
				for i, q := range s.asked {
					if q.to != tt.to || q.arp != tt.arp || q.ndp != tt.ndp || q.at.Round(time.Millisecond) != time.Duration(i)*time.Second {
						t.Errorf("sent %+v", q)
					}
				}
			})
		})
	}
}

// The requests of either family, to all and to one.
func TestNeighborRequests(t *testing.T) {
	onStreet(t, asking(&Neighbor{}, 2, farIP), func(s *street) {
		s.answer = func(q asked) { s.reply(q, farMAC, time.Millisecond) }
		s.run(2 * time.Second)
		for _, q := range s.asked {
			if want := (frame.ARP{Operation: frame.ARPRequest, SenderMAC: nearMAC, SenderIP: nearIP, TargetIP: farIP}); q.arp != want {
				t.Errorf("asked %+v, want %+v", q.arp, want)
			}
		}
	})
	onStreet(t, asking(&Neighbor{}, 2, far6), func(s *street) {
		s.answer = func(q asked) { s.reply(q, farMAC, time.Millisecond) }
		s.run(2 * time.Second)
		want := frame.NDP{Type: frame.ICMPv6NeighborSolicitation, Src: near6, Dst: frame.SolicitedNode(far6), Target: far6, MAC: nearMAC}
		for _, q := range s.asked {
			if q.ndp != want {
				t.Errorf("asked %+v, want %+v", q.ndp, want)
			}
			want.Dst = far6 // RFC 4861, section 7.2.2
		}
		if s.asked[0].to != frame.MulticastMAC(frame.SolicitedNode(far6)) || s.asked[1].to != farMAC {
			t.Errorf("asked %v and %v", s.asked[0].to, s.asked[1].to)
		}
	})
}

// One MAC with several addresses is told: it is one host, or a proxy.
func TestNeighborProxy(t *testing.T) {
	var list []netip.Addr
	for i := range 3 {
		list = append(list, hostAddr(i))
	}
	onStreet(t, asking(&Neighbor{}, 1, list...), func(s *street) {
		s.answer = func(q asked) { s.reply(q, farMAC, time.Millisecond) }
		s.run(1667 * time.Millisecond)
		s.wantLog(
			"198.18.0.1 1 replied 02:00:5e:00:53:02",
			"198.18.0.2 1 replied 02:00:5e:00:53:02 also 198.18.0.1",
			"198.18.0.3 1 replied 02:00:5e:00:53:02 also 198.18.0.1",
		)
	})
}

// What a request that could not leave comes to.
func TestNeighborSendError(t *testing.T) {
	onStreet(t, asking(&Neighbor{}, 2, farIP), func(s *street) {
		s.fault = func(n int) error {
			if n == 1 {
				return errStill
			}
			return nil
		}
		s.answer = func(q asked) { s.reply(q, farMAC, time.Millisecond) }
		got := s.run(2 * time.Second)
		wantCounts(t, got, Statistics{Sent: 2, Received: 1, Errors: 1, Broadcasts: 1})
	})
}

// Frames that are no answers to what was asked.
func TestNeighborNotOurs(t *testing.T) {
	reply := func(change func(*frame.ARP)) func(q asked) ([]byte, error) {
		return func(q asked) ([]byte, error) {
			a := frame.ARP{Operation: frame.ARPReply, SenderMAC: farMAC, SenderIP: q.targets, TargetMAC: nearMAC, TargetIP: q.arp.SenderIP}
			change(&a)
			return a.MarshalBehind(frame.Header{Src: farMAC, Dst: nearMAC})
		}
	}
	advertise := func(change func(*frame.NDP, *frame.Header)) func(q asked) ([]byte, error) {
		return func(q asked) ([]byte, error) {
			header := frame.Header{Src: farMAC, Dst: nearMAC}
			n := frame.NDP{Type: frame.ICMPv6NeighborAdvertisement, Src: q.targets, Dst: q.ndp.Src, Target: q.targets, MAC: farMAC, Solicited: true}
			change(&n, &header)
			return n.Marshal(header)
		}
	}
	spoil := func(at int, f func(q asked) ([]byte, error)) func(q asked) ([]byte, error) {
		return func(q asked) ([]byte, error) {
			b, err := f(q)
			b[at] ^= 0x40
			return b, err
		}
	}
	plain := func(*frame.NDP, *frame.Header) {}
	foreign := netip.MustParseAddr("198.51.100.9")
	foreign6 := netip.MustParseAddr("2001:db8:1::9")
	for _, tt := range []struct {
		name   string
		target netip.Addr
		frame  func(q asked) ([]byte, error)
	}{
		{"a reply for another address", farIP, reply(func(a *frame.ARP) { a.SenderIP = foreign })},
		{"a reply to another of our addresses", farIP, reply(func(a *frame.ARP) { a.TargetIP = foreign })},
		{"a reply to another's MAC", farIP, reply(func(a *frame.ARP) { a.TargetMAC = otherMAC })},
		{"a reply by no MAC", farIP, reply(func(a *frame.ARP) { a.SenderMAC = frame.MAC{} })},
		{"a reply by a group's MAC", farIP, reply(func(a *frame.ARP) { a.SenderMAC = frame.Broadcast })},
		{"a request", farIP, reply(func(a *frame.ARP) { a.Operation = frame.ARPRequest })},
		{"a reply of another hardware type", farIP, spoil(14, reply(func(*frame.ARP) {}))},
		{"an advertisement of another address", far6, advertise(func(n *frame.NDP, _ *frame.Header) { n.Src, n.Target = foreign6, foreign6 })},
		{"an advertisement to another of our addresses", far6, advertise(func(n *frame.NDP, _ *frame.Header) { n.Dst = foreign6 })},
		{"an advertisement of a group's MAC", far6, advertise(func(n *frame.NDP, _ *frame.Header) { n.MAC = frame.Broadcast })},
		{"a solicitation", far6, advertise(func(n *frame.NDP, _ *frame.Header) { n.Type = frame.ICMPv6NeighborSolicitation })},
		{"an advertisement with a wrong checksum", far6, spoil(60, advertise(plain))},
		{"an advertisement that was routed", far6, spoil(21, advertise(plain))},
		{"an advertisement with another VLAN's tag", far6, advertise(func(_ *frame.NDP, h *frame.Header) {
			h.VLANs = []frame.VLAN{{Type: frame.EtherTypeVLAN, TCI: 7}}
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onStreet(t, asking(&Neighbor{}, 1, tt.target), func(s *street) {
				s.answer = func(q asked) {
					b, err := tt.frame(q)
					s.arrive(time.Millisecond, b, err)
				}
				got := s.run(time.Second)
				s.wantLog("1 lost")
				wantCounts(t, got, Statistics{Sent: 1, Lost: 1, Broadcasts: 1, Rejected: 1})
			})
		})
	}
}

// An answer in a VLAN counts where that VLAN was asked, by its id alone.
func TestNeighborVLAN(t *testing.T) {
	for _, tt := range []struct {
		tci  uint16
		want Statistics
	}{
		{5<<13 | 7, Statistics{Sent: 1, Received: 1, Broadcasts: 1}},
		{8, Statistics{Sent: 1, Lost: 1, Broadcasts: 1, Rejected: 1}},
	} {
		cfg := asking(&Neighbor{}, 1, farIP)
		cfg.VLANs = []frame.VLAN{{Type: frame.EtherTypeVLAN, TCI: 7}}
		onStreet(t, cfg, func(s *street) {
			s.answer = func(q asked) {
				a := frame.ARP{Operation: frame.ARPReply, SenderMAC: farMAC, SenderIP: farIP, TargetMAC: nearMAC, TargetIP: nearIP}
				b, err := a.MarshalBehind(frame.Header{Src: farMAC, Dst: nearMAC, VLANs: []frame.VLAN{{Type: frame.EtherTypeVLAN, TCI: tt.tci}}})
				s.arrive(time.Millisecond, b, err)
			}
			wantCounts(t, s.run(time.Second), tt.want)
		})
	}
}

// One who is asked alone need not say its MAC (RFC 4861, section 4.4): it is the
// frame's. What a host announces to all nodes is heard as well.
func TestNeighborAdvertisements(t *testing.T) {
	onStreet(t, asking(&Neighbor{}, 2, far6), func(s *street) {
		s.answer = func(q asked) {
			header := frame.Header{Src: farMAC, Dst: nearMAC}
			n := frame.NDP{Type: frame.ICMPv6NeighborAdvertisement, Src: far6, Dst: near6, Target: far6, Solicited: true, Router: true}
			if q.n == 2 {
				n.Dst, n.Solicited, n.Override = netip.IPv6LinkLocalAllNodes(), false, true
				header.Dst = frame.MulticastMAC(n.Dst)
			}
			b, err := n.Marshal(header)
			s.arrive(time.Millisecond, b, err)
		}
		s.run(2 * time.Second)
		s.wantLog("1 replied 02:00:5e:00:53:02 router solicited", "2 replied 02:00:5e:00:53:02 broadcast router override")
	})
}

func TestNeighborModeString(t *testing.T) {
	for mode, want := range map[NeighborMode]string{
		NeighborAsk: "ask", NeighborDetect: "detect", NeighborAnnounce: "announce", NeighborAnnounceReply: "announce-reply", 99: "",
	} {
		if got := mode.String(); got != want {
			t.Errorf("%d: %q, want %q", mode, got, want)
		}
	}
}
