//go:build linux

package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

func TestICMPErrors(t *testing.T) {
	for _, tt := range []struct {
		name      string
		typ, code byte
		rest      [4]byte
		want      Failure
	}{
		{"net unreachable", 3, 0, [4]byte{}, Failure{Type: frame.ICMPDestinationUnreachable}},
		{"host unreachable", 3, 1, [4]byte{}, Failure{Type: frame.ICMPDestinationUnreachable, Code: 1}},
		{"host unreachable, with what is no MTU", 3, 1, [4]byte{1, 2, 3, 4}, Failure{Type: frame.ICMPDestinationUnreachable, Code: 1}},
		{"fragmentation needed", 3, 4, [4]byte{0, 0, 0x05, 0x78}, Failure{Type: frame.ICMPDestinationUnreachable, Code: 4, MTU: 1400}},
		{"fragmentation needed, old router", 3, 4, [4]byte{}, Failure{Type: frame.ICMPDestinationUnreachable, Code: 4}},
		{"prohibited", 3, 13, [4]byte{}, Failure{Type: frame.ICMPDestinationUnreachable, Code: 13}},
		{"time exceeded", 11, 0, [4]byte{}, Failure{Type: frame.ICMPTimeExceeded}},
		{"reassembly time exceeded", 11, 1, [4]byte{}, Failure{Type: frame.ICMPTimeExceeded, Code: 1}},
		{"parameter problem", 12, 0, [4]byte{17, 2, 3, 4}, Failure{Type: frame.ICMPParameterProblem, Pointer: 17}},
		{"redirect", 5, 1, [4]byte{198, 51, 100, 7},
			Failure{Type: frame.ICMPRedirect, Code: 1, Gateway: netip.MustParseAddr("198.51.100.7"), Notice: true}},
	} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, late %v", tt.name, late), func(t *testing.T) {
				inWorld(t, settings{count: 2, timeout: 500 * time.Millisecond}, func(t *testing.T, w *world) {
					after := 100 * time.Millisecond
					if late {
						after = 600 * time.Millisecond
					}
					w.far = func(n uint64, request []byte) {
						if n == 2 {
							w.arrive(time.Millisecond, replyTo(request).bytes())
							return
						}
						p := errorFor(request, tt.typ, tt.code)
						p.rest = tt.rest
						w.arrive(after, p.bytes())
					}
					w.run()
					i := slices.IndexFunc(w.log, func(ev Event) bool { return ev.Kind == Failed })
					if i < 0 {
						t.Fatalf("no error in %q", w.described())
					}
					want := tt.want
					want.From, want.Late = routerIP, late && !want.Notice
					ev := w.log[i]
					if ev.Failure != want || ev.Seq != 1 || ev.Address != farIP {
						t.Errorf("got %s %+v, want %+v", describe(&ev), ev.Failure, want)
					}
					if at := w.base.Add(toDriver + after + toUser); !ev.Time.Equal(at) {
						t.Errorf("the error is of %v, want %v", ev.Time, at)
					}
					type counts struct{ received, lost, errors, lateErrors, rejected uint64 }
					expect := counts{1, 0, 1, 0, 0}
					switch {
					case want.Notice:
						expect = counts{1, 1, 0, 0, 0} // a notice ends nothing: nobody answered
					case late:
						expect = counts{1, 1, 0, 1, 0}
					}
					s := w.snapshot()
					if got := (counts{s.Received, s.Lost, s.Errors, s.LateErrors, s.Rejected}); got != expect {
						t.Errorf("counts are %+v, want %+v", got, expect)
					}
					if r := s.LossRatio(); r != 0.5 {
						t.Errorf("loss ratio %v, want 0.5", r)
					}
				})
			})
		}
	}
}

// TestErrorsInTurn has several things happen to one probe.
func TestErrorsInTurn(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name     string
		far      func(w *world, request []byte)
		want     []string
		rejected uint64
	}{
		{"a reply after an error is late", func(w *world, request []byte) {
			w.arrive(ms, errorFor(request, 3, 1).bytes())
			w.arrive(2*ms, replyTo(request).bytes())
		}, []string{"1 error 3/1", "1 late"}, 0},
		{"an error after a reply is none", func(w *world, request []byte) {
			w.arrive(ms, replyTo(request).bytes())
			w.arrive(2*ms, errorFor(request, 3, 1).bytes())
		}, []string{"1 replied"}, 1},
		{"an error twice", func(w *world, request []byte) {
			w.arrive(ms, errorFor(request, 3, 1).bytes())
			w.arrive(2*ms, errorFor(request, 3, 1).bytes())
		}, []string{"1 error 3/1"}, 1},
		{"a late error twice", func(w *world, request []byte) {
			w.arrive(600*ms, errorFor(request, 3, 1).bytes())
			w.arrive(700*ms, errorFor(request, 11, 0).bytes())
		}, []string{"1 lost", "1 error 3/1 late"}, 1},
		{"a late error, then a reply", func(w *world, request []byte) {
			w.arrive(600*ms, errorFor(request, 3, 1).bytes())
			w.arrive(700*ms, replyTo(request).bytes())
		}, []string{"1 lost", "1 error 3/1 late", "1 late"}, 0},
		{"a late reply, then an error", func(w *world, request []byte) {
			w.arrive(600*ms, replyTo(request).bytes())
			w.arrive(700*ms, errorFor(request, 3, 1).bytes())
		}, []string{"1 lost", "1 late"}, 1},
		{"a redirect, then a reply", func(w *world, request []byte) {
			w.arrive(ms, errorFor(request, 5, 1).bytes())
			w.arrive(2*ms, replyTo(request).bytes())
		}, []string{"1 error 5/1 notice", "1 replied"}, 0},
		{"a redirect, then an error", func(w *world, request []byte) {
			w.arrive(ms, errorFor(request, 5, 1).bytes())
			w.arrive(2*ms, errorFor(request, 11, 0).bytes())
		}, []string{"1 error 5/1 notice", "1 error 11/0"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, settings{count: 2, timeout: 500 * ms}, func(t *testing.T, w *world) {
				w.forging = tt.rejected > 0
				w.far = func(n uint64, request []byte) {
					if n == 1 {
						tt.far(w, request)
					} else {
						w.arrive(ms, replyTo(request).bytes())
					}
				}
				w.expect(append(tt.want, "2 replied")...)
				if r := w.snapshot().Rejected; r != tt.rejected {
					t.Errorf("%d rejected, want %d", r, tt.rejected)
				}
			})
		})
	}
}

// TestRejectedErrors forges errors; nothing must come of them.
func TestRejectedErrors(t *testing.T) {
	const quotedICMP = 20 // in the body
	for _, tt := range []struct {
		name  string
		forge func(p *packet)
	}{
		{"quoted checksum", func(p *packet) { p.body[quotedICMP+2] ^= 1 }},
		{"quoted sequence number of a probe to come", func(p *packet) { p.body[quotedICMP+7]++ }},
		{"quoted sequence number 0", func(p *packet) { p.body[quotedICMP+7] = 0 }},
		{"quoted id", func(p *packet) { p.body[quotedICMP+4] ^= 1 }},
		{"quoted destination", func(p *packet) { p.body[16] ^= 1 }},
		{"quoted source", func(p *packet) { p.body[12] ^= 1 }},
		{"quoted reply", func(p *packet) { p.body[quotedICMP] = 0 }},
		{"quoted protocol", func(p *packet) { p.body[9] = 17 }},
		{"quoted header cut", func(p *packet) { p.body = p.body[:19] }},
		{"quoted message cut", func(p *packet) { p.body = p.body[:27] }},
		{"nothing quoted", func(p *packet) { p.body = nil }},
		{"wrong ICMP checksum", func(p *packet) { p.badICMP = true }},
		{"wrong IP checksum", func(p *packet) { p.badIP = true }},
		{"source quench", func(p *packet) { p.typ = 4 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, settings{count: 1, timeout: 500 * time.Millisecond}, func(t *testing.T, w *world) {
				w.forging = true
				w.far = func(_ uint64, request []byte) {
					p := errorFor(request, 3, 1)
					tt.forge(&p)
					w.arrive(time.Millisecond, p.bytes())
				}
				w.expect("1 lost")
				if r := w.snapshot().Rejected; r != 1 {
					t.Errorf("%d rejected, want 1", r)
				}
			})
		})
	}
}

// TestErrorWithAnyQuote takes more of the probe than RFC 792 asks for, up to
// all of it, as RFC 1812 has it.
func TestErrorWithAnyQuote(t *testing.T) {
	for _, length := range []int{28, 29, 28 + 56} {
		inWorld(t, settings{count: 1}, func(t *testing.T, w *world) {
			w.far = func(_ uint64, request []byte) {
				p := errorFor(request, 11, 0)
				p.body = request[14 : 14+length]
				w.arrive(time.Millisecond, p.bytes())
			}
			w.expect("1 error 11/0")
		})
	}
}

func TestNoNeighbor(t *testing.T) {
	inWorld(t, settings{count: 4}, func(t *testing.T, w *world) {
		known := w.neighbor.Load()
		w.neighbor.Store(&arp.Neighbor{Addr: farIP})
		w.at(1500*time.Millisecond, func() { w.neighbor.Store(known) })
		w.expect("1 local error", "2 local error", "3 replied", "4 replied")
		for _, ev := range w.log[:2] {
			if err := ev.Failure.Local; !errors.Is(err, ErrNoNeighbor) || err.Error() != "no ARP reply from 198.51.100.2 on eth0" {
				t.Errorf("error is %v", err)
			}
		}
		if len(w.left) != 2 {
			t.Errorf("%d frames left: those without a MAC too", len(w.left))
		}
		s := w.snapshot()
		if s.Sent != 4 || s.Errors != 2 || s.Received != 2 || s.LossRatio() != 0.5 {
			t.Errorf("%s", brief(&s))
		}
	})
}

func TestMACChanges(t *testing.T) {
	inWorld(t, settings{count: 4}, func(t *testing.T, w *world) {
		w.at(1500*time.Millisecond, func() { w.neighbor.Store(&arp.Neighbor{Addr: farIP, MAC: routerMAC}) })
		w.expect("1 replied", "2 replied", "now at "+routerMAC.String()+", was at "+farMAC.String(), "3 replied", "4 replied")
		for i, want := range []frame.MAC{farMAC, farMAC, routerMAC, routerMAC} {
			if got := frame.MAC(w.left[i].frame[:6]); got != want {
				t.Errorf("probe %d went to %v, want %v", i+1, got, want)
			}
		}
	})
}

func TestLinkDown(t *testing.T) {
	inWorld(t, settings{count: 4}, func(t *testing.T, w *world) {
		w.oversleep = func() time.Duration {
			w.linkErr = nil
			if now := w.clock(); now > 500*time.Millisecond && now < 2500*time.Millisecond {
				w.linkErr = fmt.Errorf("eth0: %w", l2.ErrDown)
			}
			return 0
		}
		w.expect("1 replied", "2 local error", "3 local error", "4 replied")
		for _, ev := range w.log[1:3] {
			if !errors.Is(ev.Failure.Local, l2.ErrDown) {
				t.Errorf("error is %v", ev.Failure.Local)
			}
		}
		if len(w.left) != 2 {
			t.Errorf("%d frames left", len(w.left))
		}
	})
}

func TestSendErrors(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EMSGSIZE, unix.ENOBUFS, unix.ENETDOWN, unix.EAGAIN, unix.ENXIO} {
		t.Run(errno.Error(), func(t *testing.T) {
			inWorld(t, settings{count: 4}, func(t *testing.T, w *world) {
				w.sendError = func(n uint64) error {
					if n == 1 || n == 3 {
						return errno
					}
					return nil
				}
				w.expect("1 local error", "2 replied", "3 local error", "4 replied")
				err := w.log[0].Failure.Local
				if !errors.Is(err, errno) || !strings.HasPrefix(err.Error(), "send on eth0: ") {
					t.Errorf("error is %v", err)
				}
				for _, ev := range w.log {
					if ev.Kind == Replied && ev.Reply.RTT != time.Millisecond {
						t.Errorf("%s after %v: stamps of another probe", describe(&ev), ev.Reply.RTT)
					}
				}
			})
		})
	}
}

func TestDoubt(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name string
		lost string // a letter a probe: l lost, r replied, d local error
		want int
	}{
		{"none lost", "rrrr", 0},
		{"one lost", "rlr", 0},
		{"every second lost", "rlrlrlrlr", 0},
		{"two in a row", "rllr", 1},
		{"three in a row", "rlllr", 1},
		{"four in a row", "rllllr", 2},
		{"five in a row", "lllll", 2},
		{"two and one", "llrlr", 1},
		{"two and two", "llrll", 2},
		{"what could not leave is not lost", "dddd", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, settings{count: uint64(len(tt.lost)), timeout: 500 * ms}, func(t *testing.T, w *world) {
				w.far = func(n uint64, request []byte) {
					if tt.lost[n-1] == 'r' {
						w.arrive(ms, replyTo(request).bytes())
					}
				}
				w.sendError = func(n uint64) error {
					if tt.lost[n-1] == 'd' {
						return unix.ENOBUFS
					}
					return nil
				}
				w.run()
				if w.doubts != tt.want {
					t.Errorf("%d doubts, want %d", w.doubts, tt.want)
				}
			})
		})
	}
}
