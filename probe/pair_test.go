//go:build linux

package probe

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2"
)

func TestStates(t *testing.T) {
	const ms = time.Millisecond
	// stall lets the process sleep once it wakes at or after a time.
	stall := func(w *world, from, d time.Duration) {
		w.oversleep = func() time.Duration {
			if d > 0 && w.clock() >= from {
				defer func() { d = 0 }()
				return d
			}
			return 0
		}
	}
	each := func(w *world, f func(n uint64, reply packet)) {
		w.far = func(n uint64, request []byte) { f(n, replyTo(request)) }
	}
	for _, tt := range []struct {
		name   string
		s      settings
		script func(w *world)
		want   []string
	}{
		{
			name: "lost", s: settings{count: 3, timeout: 500 * ms},
			script: func(w *world) { w.answer(ms, none, ms) },
			want:   []string{"1 replied", "2 lost", "3 replied"},
		}, {
			name: "late", s: settings{count: 2, timeout: 500 * ms},
			script: func(w *world) { w.answer(600*ms, ms) },
			want:   []string{"1 lost", "1 late", "2 replied"},
		}, {
			name: "late by its stamp though it is read with the probe still out", s: settings{count: 2, timeout: 500 * ms},
			script: func(w *world) {
				w.answer(500*ms, ms)
				stall(w, 500*ms, 100*ms)
			},
			want: []string{"1 lost", "1 late", "2 replied"},
		}, {
			name: "just in time", s: settings{count: 1, timeout: 500 * ms},
			script: func(w *world) {
				w.answer(500*ms - toDriver - 1) // by its stamp, which nobody has read yet
				stall(w, 0, 501*ms)
			},
			want: []string{"1 replied"},
		}, {
			name: "in time by its stamp, read late", s: settings{count: 2, timeout: 500 * ms},
			script: func(w *world) {
				w.answer(400*ms, ms)
				stall(w, 0, 900*ms)
			},
			want: []string{"1 replied", "2 replied"},
		}, {
			name: "in time but without a stamp, read late", s: settings{count: 2, timeout: 500 * ms},
			script: func(w *world) {
				w.far = func(n uint64, request []byte) { w.arrive(400*ms, replyTo(request).bytes(), unstamped) }
				stall(w, 0, 900*ms)
			},
			want: []string{"1 lost", "1 late", "2 replied"},
		}, {
			name: "duplicate", s: settings{count: 2},
			script: func(w *world) {
				each(w, func(n uint64, p packet) {
					w.arrive(ms, p.bytes())
					w.arrive(2*ms, p.bytes())
					w.arrive(2*ms, p.bytes())
				})
			},
			want: []string{"1 replied", "1 duplicate", "1 duplicate", "2 replied"}, // nobody waits for the others
		}, {
			name: "duplicate after the timeout", s: settings{count: 2, timeout: 500 * ms},
			script: func(w *world) {
				each(w, func(n uint64, p packet) {
					w.arrive(ms, p.bytes())
					w.arrive(600*ms, p.bytes())
				})
			},
			want: []string{"1 replied", "1 duplicate", "2 replied"},
		}, {
			name: "duplicate of a late one", s: settings{count: 2, timeout: 500 * ms},
			script: func(w *world) {
				each(w, func(n uint64, p packet) {
					w.arrive([]time.Duration{600 * ms, ms}[n-1], p.bytes())
					w.arrive([]time.Duration{700 * ms, none}[n-1], p.bytes())
				})
			},
			want: []string{"1 lost", "1 late", "1 duplicate", "2 replied"},
		}, {
			name: "reordered", s: settings{count: 3, timeout: 3000 * ms},
			script: func(w *world) { w.answer(2500*ms, 100*ms, 100*ms) },
			want:   []string{"2 replied", "3 replied", "1 reordered"},
		}, {
			name: "duplicate of a reordered one", s: settings{count: 3, timeout: 3000 * ms},
			script: func(w *world) {
				each(w, func(n uint64, p packet) {
					w.arrive([]time.Duration{1500 * ms, 100 * ms, 100 * ms}[n-1], p.bytes())
					if n == 1 {
						w.arrive(1600*ms, p.bytes())
					}
				})
			},
			want: []string{"2 replied", "1 reordered", "1 duplicate", "3 replied"},
		}, {
			name: "late ones do not make others reordered", s: settings{count: 3, timeout: 1500 * ms},
			script: func(w *world) { w.answer(1400*ms, ms, ms) },
			want:   []string{"2 replied", "1 reordered", "3 replied"},
		}, {
			name: "two at once, the later one first", s: settings{count: 2, interval: 100 * ms},
			script: func(w *world) {
				w.oversleep = func() time.Duration { return time.Microsecond } // both are read in one go
				each(w, func(n uint64, p packet) {
					if n == 2 {
						w.arrive(ms, p.bytes())
						w.arrive(ms+1, replyTo(w.left[0].frame).bytes())
					}
				})
			},
			want: []string{"2 replied", "1 reordered"},
		}, {
			name: "corrupted does not answer", s: settings{count: 2, timeout: 500 * ms},
			script: func(w *world) {
				each(w, func(n uint64, p packet) {
					bad := p
					bad.badICMP = true
					w.arrive(ms, bad.bytes())
					if n == 1 {
						w.arrive(2*ms, p.bytes())
					}
				})
			},
			want: []string{"1 corrupted", "1 replied", "2 corrupted", "2 lost"},
		}, {
			name: "a byte changed on the way", s: settings{count: 1, timeout: 500 * ms},
			script: func(w *world) {
				each(w, func(n uint64, p packet) {
					b := p.bytes()
					b[icmpAt+8+20] ^= 0xff
					w.arrive(ms, b)
				})
			},
			want: []string{"1 corrupted mismatch at 20", "1 lost"},
		}, {
			name: "mismatch with a right checksum answers", s: settings{count: 1},
			script: func(w *world) {
				each(w, func(n uint64, p packet) {
					p.body[55]++
					w.arrive(ms, p.bytes())
				})
			},
			want: []string{"1 replied mismatch at 55"},
		}, {
			name: "mismatch in the number", s: settings{count: 1},
			script: func(w *world) {
				each(w, func(n uint64, p packet) {
					p.body[12]++ // not that of a probe with this sequence number
					w.arrive(ms, p.bytes())
				})
			},
			want: []string{"1 replied mismatch at 12"},
		}, {
			name: "truncated", s: settings{count: 1},
			script: func(w *world) {
				each(w, func(n uint64, p packet) {
					p.body = p.body[:20]
					w.arrive(ms, p.bytes())
				})
			},
			want: []string{"1 replied truncated"},
		}, {
			name: "truncated to the cookie, with padding", s: settings{count: 1},
			script: func(w *world) {
				each(w, func(n uint64, p packet) {
					p.body, p.padding = p.body[:8], 100
					w.arrive(ms, p.bytes())
				})
			},
			want: []string{"1 replied truncated"},
		}, {
			name: "longer than it was sent", s: settings{count: 1},
			script: func(w *world) {
				each(w, func(n uint64, p packet) {
					p.body = append(p.body, "and more"...)
					w.arrive(ms, p.bytes())
				})
			},
			want: []string{"1 replied"},
		}, {
			name: "no data at all", s: settings{count: 2, dataLen: new(0)},
			want: []string{"1 replied", "2 replied"},
		}, {
			name: "data shorter than the cookie", s: settings{count: 2, dataLen: new(3)},
			want: []string{"1 replied", "2 replied"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, tt.s, func(t *testing.T, w *world) {
				if tt.script != nil {
					tt.script(w)
				}
				w.expect(tt.want...)
				if r := w.snapshot().Rejected; r != 0 {
					t.Errorf("%d rejected", r)
				}
			})
		})
	}
}

func TestReplyFields(t *testing.T) {
	inWorld(t, settings{count: 1}, func(t *testing.T, w *world) {
		var sent []byte
		w.far = func(n uint64, request []byte) {
			p := replyTo(request)
			p.ttl, p.tos, p.srcMAC = 17, 0x2e, routerMAC
			p.body[30] = 0xee
			p.body = p.body[:40]
			sent = p.body
			w.arrive(3*time.Millisecond, p.bytes())
		}
		w.expect("1 replied truncated mismatch at 30")
		r := w.log[0].Reply
		if r.From != farIP || r.FromMAC != routerMAC || r.TTL != 17 || r.TOS != 0x2e || r.Bytes != 48 || r.Corrupted {
			t.Errorf("reply is %+v", r)
		}
		if m := r.Mismatch; m.Sent != 30 || m.Got != 0xee || !bytes.Equal(m.Data, sent) {
			t.Errorf("mismatch is %+v", m)
		}
		if want := w.base.Add(toDriver + 3*time.Millisecond); !w.log[0].Time.Equal(want) {
			t.Errorf("the event is of %v, want the arrival stamp %v", w.log[0].Time, want)
		}
	})
}

// TestMismatchIsACopy: the buffer that a frame was read into is used again.
func TestMismatchIsACopy(t *testing.T) {
	w := newStill(t, settings{})
	w.step()
	p := replyTo(w.frames[0])
	p.body[20] = 0xee
	b := p.bytes()
	w.incoming = []capture.Frame{{Data: b}}
	w.step()
	clear(b)
	log, _ := w.events.read(nil)
	if m := log[0].Reply.Mismatch; m == nil || m.Data[20] != 0xee || m.Data[0] != cookie[0] {
		t.Errorf("mismatch is %+v", m)
	}
}

// TestRejectedReplies forges replies, each followed by the true one.
func TestRejectedReplies(t *testing.T) {
	tagged := func(f *capture.Frame) { f.VLAN = capture.VLAN{Present: true, TCI: 7} }
	for _, tt := range []struct {
		name  string
		forge func(p *packet)
		frame func(f *capture.Frame)
	}{
		{"other cookie", func(p *packet) { p.body[7] ^= 1 }, nil},
		{"less than the cookie", func(p *packet) { p.body = p.body[:7] }, nil},
		{"other id", func(p *packet) { p.setID(probeID + 1) }, nil},
		{"other peer", func(p *packet) { p.src = routerIP }, nil},
		{"other destination", func(p *packet) { p.dst = routerIP }, nil},
		{"other VLAN", func(*packet) {}, tagged},
		{"code", func(p *packet) { p.code = 1 }, nil},
		{"our request", func(p *packet) { p.typ = 8 }, nil},
		{"other type", func(p *packet) { p.typ = 14 }, nil},
		{"other protocol", func(p *packet) { p.payloadProtocol = 17 }, nil},
		{"fragment", func(p *packet) { p.moreFragments = true }, nil},
		{"wrong IP checksum", func(p *packet) { p.badIP = true }, nil},
		{"a probe to come", func(p *packet) { p.setSeq(2) }, nil},
		{"sequence number 0", func(p *packet) { p.setSeq(0) }, nil},
		{"cut", func(*packet) {}, func(f *capture.Frame) { f.Data = f.Data[:80] }},
		{"empty", func(*packet) {}, func(f *capture.Frame) { f.Data = nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, settings{count: 1}, func(t *testing.T, w *world) {
				w.forging = true
				w.far = func(_ uint64, request []byte) {
					p := replyTo(request)
					tt.forge(&p)
					if tt.frame == nil {
						tt.frame = func(*capture.Frame) {}
					}
					w.arrive(time.Millisecond, p.bytes(), tt.frame)
					w.arrive(2*time.Millisecond, replyTo(request).bytes())
				}
				w.expect("1 replied")
				if r := w.snapshot().Rejected; r != 1 {
					t.Errorf("%d rejected, want 1", r)
				}
				if rtt := w.log[0].Reply.RTT; rtt != 2*time.Millisecond {
					t.Errorf("answered after %v: by the forgery", rtt)
				}
			})
		})
	}
}

// TestWrap runs past the end of the sequence numbers, and past that of the
// 32-bit ids of stamps.
func TestWrap(t *testing.T) {
	const count = 2000
	for _, before := range []uint64{1<<16 - count/2, 1<<17 - count/2, 1<<32 - count/2} {
		inWorld(t, settings{count: before + count, interval: time.Millisecond, timeout: 50 * time.Millisecond}, func(t *testing.T, w *world) {
			w.startAfter(before)
			w.far = func(_ uint64, request []byte) { w.arrive(20*time.Millisecond, replyTo(request).bytes()) }
			w.run()
			if len(w.log) != count {
				t.Fatalf("%d events, want %d", len(w.log), count)
			}
			for i, ev := range w.log {
				n := before + uint64(i) + 1
				if ev.Seq != n || ev.Reply.State != StateReplied || ev.Reply.Mismatch != nil ||
					ev.Reply.RTT != 20*time.Millisecond || ev.Reply.RTTSource != l2.StampDriver {
					t.Fatalf("event %d is %s after %v", i, describe(&ev), ev.Reply.RTT)
				}
				if p := parse(w.left[i].frame); p.seq() != uint16(n) || w.left[i].n != n {
					t.Fatalf("probe %d left with sequence number %d", w.left[i].n, p.seq())
				}
			}
			if s := w.snapshot(); s.MaxOutstanding != 21 {
				t.Errorf("%d outstanding, want 21", s.MaxOutstanding)
			}
		})
	}
}

// TestStaleAfterWrap answers probes whose sequence number another bears by now.
func TestStaleAfterWrap(t *testing.T) {
	stale := func(request []byte) packet { // 65536 probes ago
		p := replyTo(request)
		if len(p.body) >= 16 {
			p.body[13]--
		}
		return p
	}
	for _, tt := range []struct {
		name    string
		dataLen int
		far     func(w *world) func(n uint64, request []byte)
		want    []string
		reject  uint64
	}{
		{
			name: "while the newer one is out", dataLen: 56,
			far: func(w *world) func(uint64, []byte) {
				return func(n uint64, request []byte) {
					w.arrive(time.Millisecond, stale(request).bytes())
					w.arrive(2*time.Millisecond, replyTo(request).bytes())
				}
			},
			want: []string{"70001 replied", "70002 replied"}, reject: 2,
		}, {
			name: "while the newer one is out, and truncated behind the number", dataLen: 56,
			far: func(w *world) func(uint64, []byte) {
				return func(n uint64, request []byte) {
					p := stale(request)
					p.body = p.body[:16]
					w.arrive(time.Millisecond, p.bytes())
					w.arrive(2*time.Millisecond, replyTo(request).bytes())
				}
			},
			want: []string{"70001 replied", "70002 replied"}, reject: 2,
		}, {
			name: "after the newer one was answered", dataLen: 16,
			far: func(w *world) func(uint64, []byte) {
				return func(n uint64, request []byte) {
					w.arrive(time.Millisecond, replyTo(request).bytes())
					w.arrive(2*time.Millisecond, stale(request).bytes())
				}
			},
			want: []string{"70001 replied", "70002 replied"}, reject: 1, // the run ends before the second
		}, {
			// Just before the number comes round again: the old probe is
			// known by no table any more.
			name: "data too short for the number, before the newer one leaves", dataLen: 8,
			far: func(w *world) func(uint64, []byte) {
				return func(n uint64, request []byte) {
					p := replyTo(request)
					p.setSeq(p.seq() + 1)
					if n == 70001 {
						w.arrive(time.Millisecond, p.bytes())
					}
					w.arrive(2*time.Millisecond, replyTo(request).bytes())
				}
			},
			want: []string{"70001 replied", "70002 replied"}, reject: 1,
		}, {
			// Long after: the newer one is forgotten too.
			name: "data too short for the number, after the newer one is forgotten", dataLen: 8,
			far: func(w *world) func(uint64, []byte) {
				return func(n uint64, request []byte) {
					p := replyTo(request)
					p.setSeq(p.seq() - 2000)
					w.arrive(time.Millisecond, p.bytes())
					w.arrive(2*time.Millisecond, replyTo(request).bytes())
				}
			},
			want: []string{"70001 replied", "70002 replied"}, reject: 2,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, settings{count: 70002, dataLen: &tt.dataLen}, func(t *testing.T, w *world) {
				w.startAfter(70000)
				w.forging = true
				w.far = tt.far(w)
				w.expect(tt.want...)
				if r := w.snapshot().Rejected; r != tt.reject {
					t.Errorf("%d rejected, want %d", r, tt.reject)
				}
			})
		})
	}
}

func TestLatest(t *testing.T) {
	for _, tt := range []struct {
		last, low uint64
		bits      uint
		want      uint64
	}{
		{0, 0, 16, 0},
		{0, 1, 16, 0},
		{5, 5, 16, 5},
		{5, 6, 16, 0},
		{65535, 65535, 16, 65535},
		{65536, 0, 16, 65536},
		{65536, 65535, 16, 65535},
		{65536, 1, 16, 1},
		{65537, 1, 16, 65537},
		{1<<40 + 3, 4, 16, 1<<40 - 1<<16 + 4},
		{1<<32 + 1, 1, 32, 1<<32 + 1},
		{1<<32 + 1, 2, 32, 2},
		{1<<64 - 1, 0, 16, 1<<64 - 1<<16},
	} {
		if got := latest(tt.last, tt.low, tt.bits); got != tt.want {
			t.Errorf("latest(%d, %d, %d) = %d, want %d", tt.last, tt.low, tt.bits, got, tt.want)
		}
	}
}

func TestTable(t *testing.T) {
	for outstanding, size := range map[int64]int{1: 64, 32: 64, 33: 128, 1000: 2048, 1 << 15: 1 << 16, 1 << 40: 1 << 16} {
		if got := len(newTable(outstanding, 64).entries); got != size {
			t.Errorf("a table for %d has %d entries, want %d", outstanding, got, size)
		}
	}
	table := newTable(1, 64)
	if table.get(0) != nil || table.get(64) != nil {
		t.Error("an empty table remembers a probe")
	}
	for n := uint64(1); n <= 1000; n++ {
		*table.slot(n) = entry{n: n}
	}
	var found []uint64
	for n := range uint64(1100) {
		if p := table.get(n); p != nil {
			found = append(found, p.n)
		}
	}
	if len(found) != 64 || found[0] != 937 || !slices.IsSorted(found) {
		t.Errorf("remembered are %v", found)
	}
}

// TestTableTooSmall: no probe is forgotten while it is out. The one that would take
// its place waits until it has ended, in whichever way.
func TestTableTooSmall(t *testing.T) {
	w := newStill(t, settings{interval: time.Millisecond, timeout: time.Minute})
	w.table = newTable(1, 64)
	turn := func() {
		w.turn()
		checkInvariants(t, w.engine)
		w.pass(time.Millisecond)
	}
	for range 90 {
		turn()
	}
	if s := w.snapshot(); s.Sent != 64 || s.Lost != 0 || s.Pending != 64 {
		t.Errorf("sent %d, lost %d, pending %d", s.Sent, s.Lost, s.Pending)
	}
	for i, b := range [][]byte{replyTo(w.frames[0]).bytes(), errorFor(w.frames[1], 3, 1).bytes(), replyTo(w.frames[3]).bytes()} {
		w.incoming = []capture.Frame{{Data: b, Length: len(b), Arrival: w.at.wall}}
		turn()
		if s, want := w.snapshot(), uint64(65+min(i, 1)); s.Sent != want {
			t.Errorf("after %d answers %d were sent, want %d: the third is out", i+1, s.Sent, want)
		}
	}
	w.pass(time.Minute)
	turn()
	if s := w.snapshot(); s.Lost != 63 || s.Received != 2 || s.Errors != 1 || s.Sent != 67 || s.Pending != 1 {
		t.Errorf("after the timeout: lost %d, received %d, errors %d, sent %d, pending %d", s.Lost, s.Received, s.Errors, s.Sent, s.Pending)
	}
}

// TestTimeoutWithinStep has time go on while the engine reads: what may have
// come since is read before anything is given up.
func TestTimeoutWithinStep(t *testing.T) {
	const tick = 10 * time.Microsecond
	w := newStill(t, settings{timeout: 500 * time.Millisecond})
	w.step()
	sent := w.at
	w.pass(500*time.Millisecond - tick)
	w.now = func() instant {
		now := w.at
		w.pass(tick)
		return now
	}
	w.step()
	if s := w.snapshot(); s.Lost != 0 {
		t.Fatalf("lost at a moment from which nothing was read")
	}
	w.incoming = []capture.Frame{{Data: replyTo(w.frames[0]).bytes(), Arrival: sent.wall + int64(500*time.Millisecond-tick)}}
	w.step()
	if s := w.snapshot(); s.Received != 1 || s.Lost != 0 {
		t.Errorf("received %d, lost %d", s.Received, s.Lost)
	}
}

// TestForgottenWhileHeld overwrites a probe's entry while its late reply
// waits for stamps: the reply has its time all the same.
func TestForgottenWhileHeld(t *testing.T) {
	w := newStill(t, settings{interval: time.Millisecond, timeout: time.Millisecond})
	w.step()
	w.pass(5 * time.Millisecond)
	w.incoming = []capture.Frame{{Data: replyTo(w.frames[0]).bytes(), Arrival: w.at.wall}}
	w.step()
	if len(w.held) != 1 {
		t.Fatalf("%d replies wait for their stamps, want 1", len(w.held))
	}
	*w.table.slot(1) = entry{n: 1 + uint64(len(w.table.entries)), fate: fateReplied}
	w.pass(stampPatience)
	w.step()
	log, _ := w.events.read(nil)
	for _, ev := range log {
		if ev.Kind == Replied {
			if ev.Reply.State != StateLate || ev.Reply.RTT != 5*time.Millisecond || w.stats.RTT.Min != 5*time.Millisecond {
				t.Errorf("%s, RTT %v, min %v", describe(&ev), ev.Reply.RTT, w.stats.RTT.Min)
			}
			return
		}
	}
	t.Error("no reply was told")
}

func TestMaxOutstanding(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name   string
		script func(w *world)
		want   uint64
	}{
		{"one at a time", func(*world) {}, 1},
		{"none answered", func(w *world) { w.answer() }, 0},
		{"slow", func(w *world) {
			w.far = func(_ uint64, request []byte) { w.arrive(350*ms, replyTo(request).bytes()) }
		}, 4},
		{"one slow among quick ones", func(w *world) { w.answer(ms, ms, 450*ms, ms, ms, ms, ms, ms, ms, ms) }, 5},
		{"a late one", func(w *world) { w.answer(ms, 650*ms, ms, ms, ms, ms, ms, ms, ms, ms) }, 7},
		{"a duplicate", func(w *world) {
			w.far = func(n uint64, request []byte) {
				w.arrive(ms, replyTo(request).bytes())
				if n == 2 {
					w.arrive(350*ms, replyTo(request).bytes())
				}
			}
		}, 4},
		{"an error", func(w *world) {
			w.far = func(_ uint64, request []byte) { w.arrive(150*ms, errorFor(request, 11, 0).bytes()) }
		}, 2},
		{"an error for a lost one", func(w *world) {
			w.far = func(_ uint64, request []byte) { w.arrive(550*ms, errorFor(request, 11, 0).bytes()) }
		}, 6},
		{"a redirect is no answer", func(w *world) {
			w.far = func(_ uint64, request []byte) {
				w.arrive(ms, replyTo(request).bytes())
				w.arrive(350*ms, errorFor(request, 5, 0).bytes())
			}
		}, 1},
		{"a corrupted one is no answer", func(w *world) {
			w.far = func(_ uint64, request []byte) {
				p := replyTo(request)
				w.arrive(ms, p.bytes())
				p.badICMP = true
				w.arrive(350*ms, p.bytes())
			}
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, settings{count: 10, interval: 100 * ms, timeout: 500 * ms}, func(t *testing.T, w *world) {
				tt.script(w)
				w.run() // which counts as iputils does, and compares
				if got := w.snapshot().MaxOutstanding; got != tt.want {
					t.Errorf("%d outstanding, want %d", got, tt.want)
				}
			})
		})
	}
}

func TestStateNames(t *testing.T) {
	for s, want := range map[State]string{
		StateNone: "", StateReplied: "replied", StateReordered: "reordered", StateLate: "late", StateDuplicate: "duplicate",
	} {
		if s.String() != want {
			t.Errorf("state %d is %q, want %q", s, s, want)
		}
	}
}
