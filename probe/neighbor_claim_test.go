//go:build linux

package probe

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/l2ping/l2ping/l2/frame"
)

// claimOf is how an address was claimed, nothing of a reply to who asked.
func claimOf(r *Reply) (text string) {
	a := r.Answer
	if a.Claim != ClaimNone && a.Claim != ClaimReply {
		text = fmt.Sprintf(" (%s from %s)", a.Claim, r.From)
	}
	if a.For.IsValid() {
		text += " for " + a.For.String()
	}
	if a.ForMAC != nil {
		text += " " + a.ForMAC.String()
	}
	return text
}

// A saying is a message that nobody need have asked for.
type saying struct {
	header frame.Header
	arp    *frame.ARP
	ndp    *frame.NDP
}

func (m *saying) marshal() ([]byte, error) {
	if m.arp != nil {
		return m.arp.MarshalBehind(m.header)
	}
	return m.ndp.Marshal(m.header)
}

// sayARP is an ARP packet that the host other sends to everybody: a request from
// farIP for another address.
func sayARP(change func(*frame.ARP)) saying {
	a := frame.ARP{Operation: frame.ARPRequest, SenderMAC: otherMAC, SenderIP: farIP, TargetIP: hostAddr(8)}
	change(&a)
	return saying{header: frame.Header{Src: otherMAC, Dst: frame.Broadcast}, arp: &a}
}

// sayNDP is a neighbor message of the host other: an address probe for far6.
func sayNDP(change func(*frame.NDP, *frame.Header)) saying {
	header := frame.Header{Src: otherMAC, Dst: groupMAC(far6)}
	n := frame.NDP{
		Type: frame.ICMPv6NeighborSolicitation, Src: netip.IPv6Unspecified(), Dst: frame.SolicitedNode(far6), Target: far6,
	}
	change(&n, &header)
	return saying{header: header, ndp: &n}
}

// advertise makes an advertisement to all nodes of what sayNDP says.
func advertise(n *frame.NDP, h *frame.Header) {
	n.Type, n.Src, n.Dst, n.MAC, n.Override = frame.ICMPv6NeighborAdvertisement, far6, netip.IPv6LinkLocalAllNodes(), otherMAC, true
	h.Dst = frame.MulticastMAC(n.Dst)
}

// Whatever another host says of an address takes it, and ends the search for who
// has it, though it was not said to who looks.
func TestNeighborClaims(t *testing.T) {
	const nobody = " 00:00:00:00:00:00"
	for _, tt := range []struct {
		name   string
		target netip.Addr
		says   saying
		want   string // behind "2 replied 02:00:5e:00:53:66"
		counts Statistics
	}{
		{
			"a request for another", farIP, sayARP(func(*frame.ARP) {}),
			" broadcast request (request from 198.51.100.2) for 198.18.0.9" + nobody, Statistics{BroadcastReplies: 1, RequestReplies: 1},
		},
		{
			"an announcement", farIP, sayARP(func(a *frame.ARP) { a.TargetIP = farIP }),
			" broadcast request (announcement from 198.51.100.2) for 198.51.100.2" + nobody, Statistics{BroadcastReplies: 1, RequestReplies: 1},
		},
		{
			"an announcement by a reply", farIP, sayARP(func(a *frame.ARP) {
				a.Operation, a.TargetIP, a.TargetMAC = frame.ARPReply, farIP, otherMAC
			}),
			" broadcast (announcement from 198.51.100.2) for 198.51.100.2 " + otherMAC.String(), Statistics{BroadcastReplies: 1},
		},
		{
			"an address probe", farIP, sayARP(func(a *frame.ARP) { a.SenderIP, a.TargetIP = netip.IPv4Unspecified(), farIP }),
			" broadcast request (probe from 0.0.0.0) for 198.51.100.2" + nobody, Statistics{BroadcastReplies: 1, RequestReplies: 1},
		},
		{
			"a reply to another", farIP, sayARP(func(a *frame.ARP) { a.Operation, a.TargetMAC = frame.ARPReply, thirdMAC }),
			" broadcast for 198.18.0.9 " + thirdMAC.String(), Statistics{BroadcastReplies: 1},
		},
		{
			"a reply to us", farIP, sayARP(func(a *frame.ARP) {
				a.Operation, a.TargetIP, a.TargetMAC = frame.ARPReply, netip.IPv4Unspecified(), nearMAC
			}),
			" broadcast", Statistics{BroadcastReplies: 1},
		},
		{
			"an address probe, IPv6", far6, sayNDP(func(*frame.NDP, *frame.Header) {}),
			" broadcast request (probe from ::) for 2001:db8:1::2", Statistics{BroadcastReplies: 1, RequestReplies: 1},
		},
		{"an advertisement", far6, sayNDP(advertise), " broadcast override", Statistics{BroadcastReplies: 1}},
		{
			"an advertisement to another", far6, sayNDP(func(n *frame.NDP, h *frame.Header) {
				advertise(n, h)
				n.Dst, n.Solicited, h.Dst = near6, true, nearMAC
			}), " solicited override", Statistics{},
		},
		{
			"an advertisement without a MAC", far6, sayNDP(func(n *frame.NDP, h *frame.Header) {
				advertise(n, h)
				n.MAC = frame.MAC{}
			}), " broadcast override", Statistics{BroadcastReplies: 1},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onStreet(t, asking(&Neighbor{Mode: NeighborDetect, First: true}, 3, tt.target), func(s *street) {
				s.answer = func(q asked) {
					if q.n == 2 {
						b, err := tt.says.marshal()
						s.arrive(300*time.Millisecond, b, err)
					}
				}
				got := s.run(1300 * time.Millisecond)
				s.wantLog("1 lost", "2 replied 02:00:5e:00:53:66"+tt.want)
				tt.counts.Sent, tt.counts.Received, tt.counts.Lost, tt.counts.Broadcasts = 2, 1, 1, 2
				wantCounts(t, got, tt.counts)
				if got.RTT.Max.Round(time.Millisecond) != 300*time.Millisecond {
					t.Errorf("%v since the last probe", got.RTT.Max)
				}
			})
		})
	}
}

// What takes no address: our own messages, by whatever way they come back, and
// those that are about another address or only ask for this one.
func TestNeighborNoClaims(t *testing.T) {
	other := netip.MustParseAddr("2001:db8:1::9")
	for _, tt := range []struct {
		name     string
		target   netip.Addr
		says     saying
		rejected uint64
	}{
		{"our own address probe", farIP, sayARP(func(a *frame.ARP) {
			a.SenderMAC, a.SenderIP, a.TargetIP = nearMAC, netip.IPv4Unspecified(), farIP
		}), 1},
		{"our own announcement", farIP, sayARP(func(a *frame.ARP) { a.SenderMAC, a.TargetIP = nearMAC, farIP }), 1},
		{"a request for it", farIP, sayARP(func(a *frame.ARP) { a.SenderIP, a.TargetIP = hostAddr(8), farIP }), 1},
		{"an address probe for another", farIP, sayARP(func(a *frame.ARP) { a.SenderIP = netip.IPv4Unspecified() }), 1},
		{"a request from no MAC", farIP, sayARP(func(a *frame.ARP) { a.SenderMAC = frame.MAC{} }), 1},
		{"a request from a group", farIP, sayARP(func(a *frame.ARP) { a.SenderMAC = frame.Broadcast }), 1},
		{"another protocol's message", farIP, sayNDP(advertise), 1},

		{"our own address probe, IPv6", far6, sayNDP(func(_ *frame.NDP, h *frame.Header) { h.Src = nearMAC }), 1},
		{"our own advertisement", far6, sayNDP(func(n *frame.NDP, h *frame.Header) {
			advertise(n, h)
			h.Src, n.MAC = nearMAC, nearMAC
		}), 1},
		// As some switches answer in our place (RFC 9161).
		{"another says that we have it", far6, sayNDP(func(n *frame.NDP, h *frame.Header) {
			advertise(n, h)
			n.MAC = nearMAC
		}), 0},
		{"a solicitation for it", far6, sayNDP(func(n *frame.NDP, _ *frame.Header) { n.Src, n.MAC = near6, otherMAC }), 1},
		{"an address probe for another, IPv6", far6, sayNDP(func(n *frame.NDP, _ *frame.Header) { n.Target = other }), 1},
		{"an advertisement of another", far6, sayNDP(func(n *frame.NDP, h *frame.Header) {
			advertise(n, h)
			n.Target = other
		}), 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onStreet(t, asking(&Neighbor{Mode: NeighborDetect, First: true}, 1, tt.target), func(s *street) {
				s.answer = func(asked) {
					b, err := tt.says.marshal()
					s.arrive(time.Millisecond, b, err)
				}
				got := s.run(time.Second)
				s.wantLog("1 lost")
				wantCounts(t, got, Statistics{Sent: 1, Lost: 1, Broadcasts: 1, Rejected: tt.rejected})
			})
		})
	}
}

// Claims are told for the address that they are about, and those of others are
// nothing, though the filter lets them through where there are several. A claim
// from before the first probe for an address is not waited for.
func TestNeighborClaimsOfSeveral(t *testing.T) {
	cfg := asking(&Neighbor{Mode: NeighborDetect, First: true}, 2, farIP, hostAddr(0), far6)
	onStreet(t, cfg, func(s *street) {
		say := func(after time.Duration, m saying) {
			b, err := m.marshal()
			s.arrive(after, b, err)
		}
		s.answer = func(q asked) {
			if q.n != 1 {
				return
			}
			say(50*time.Millisecond, sayARP(func(a *frame.ARP) { a.SenderIP = hostAddr(0) })) // asked for a third of a second later
			say(60*time.Millisecond, sayNDP(advertise))                                       // two thirds
			say(100*time.Millisecond, sayARP(func(a *frame.ARP) { a.SenderIP = hostAddr(7) }))
			say(800*time.Millisecond, sayNDP(func(*frame.NDP, *frame.Header) {}))
			say(900*time.Millisecond, sayARP(func(a *frame.ARP) { a.SenderIP = hostAddr(0) }))
			say(950*time.Millisecond, sayARP(func(a *frame.ARP) { a.SenderMAC = nearMAC }))
		}
		got := s.run(2 * time.Second)
		s.wantLog(
			"2001:db8:1::2 1 replied 02:00:5e:00:53:66 broadcast request (probe from ::) for 2001:db8:1::2",
			"198.18.0.1 1 replied 02:00:5e:00:53:66 broadcast request (request from 198.18.0.1) for 198.18.0.9 00:00:00:00:00:00",
			"198.51.100.2 1 lost", "198.51.100.2 2 lost",
		)
		wantCounts(t, got, Statistics{
			Sent: 4, Received: 2, Lost: 2, Broadcasts: 4, BroadcastReplies: 2, RequestReplies: 2, Rejected: 1,
		})
	})
}

// Two claims are a conflict of their own where the first does not end it all.
func TestNeighborClaimsConflict(t *testing.T) {
	onStreet(t, asking(&Neighbor{Mode: NeighborDetect}, 1, farIP), func(s *street) {
		s.answer = func(q asked) {
			s.reply(q, farMAC, time.Millisecond)
			b, err := (&saying{frame.Header{Src: otherMAC, Dst: frame.Broadcast}, &frame.ARP{
				Operation: frame.ARPRequest, SenderMAC: otherMAC, SenderIP: farIP, TargetIP: farIP,
			}, nil}).marshal()
			s.arrive(2*time.Millisecond, b, err)
			s.arrive(3*time.Millisecond, b, err)
		}
		got := s.run(time.Second)
		const said = " broadcast request (announcement from 198.51.100.2) for 198.51.100.2 00:00:00:00:00:00"
		s.wantLog(
			"1 replied 02:00:5e:00:53:02", "conflict [02:00:5e:00:53:02 02:00:5e:00:53:66]",
			"1 replied 02:00:5e:00:53:66"+said, "1 duplicate 02:00:5e:00:53:66"+said,
		)
		wantCounts(t, got, Statistics{
			Sent: 1, Received: 1, MoreReplies: 1, Duplicates: 1, Conflicts: 1, Broadcasts: 1, BroadcastReplies: 1, RequestReplies: 1,
		})
	})
}

// Two hosts that look at once whether the same address is free find each other.
func TestNeighborClaimsAtOnce(t *testing.T) {
	for _, target := range []netip.Addr{farIP, far6} {
		synctest.Test(t, func(t *testing.T) {
			var streets [2]*street
			for i, mac := range []frame.MAC{nearMAC, otherMAC} {
				cfg := asking(&Neighbor{Mode: NeighborDetect, First: true}, 3, target)
				cfg.SrcMAC = mac
				streets[i] = newStreet(t, cfg)
			}
			for i, s := range streets {
				s.answer = func(q asked) {
					m := saying{header: frame.Header{Src: s.match.MAC, Dst: q.to}, ndp: &q.ndp}
					if target.Is4() {
						m.arp = &q.arp
					}
					b, err := m.marshal()
					streets[1-i].arrive(time.Millisecond, b, err)
				}
			}
			var wg sync.WaitGroup
			for _, s := range streets {
				wg.Go(func() {
					wantCounts(t, s.run(time.Millisecond), Statistics{Sent: 1, Received: 1, Broadcasts: 1, BroadcastReplies: 1, RequestReplies: 1})
				})
			}
			wg.Wait()
		})
	}
}

// The groups that claims come to are heard, whether or not the host is in them.
func TestNeighborGroups(t *testing.T) {
	nodes := frame.MAC{0x33, 0x33, 0, 0, 0, 1}
	twin := netip.MustParseAddr("2001:db8:9::2") // in the group of far6
	for _, tt := range []struct {
		name string
		cfg  Config
		want []frame.MAC
	}{
		{"IPv6", asking(&Neighbor{Mode: NeighborDetect}, 1, far6), []frame.MAC{nodes, {0x33, 0x33, 0xff, 0, 0, 2}}},
		{"several", asking(&Neighbor{Mode: NeighborDetect}, 1, far6, near6, farIP, twin), []frame.MAC{nodes, {0x33, 0x33, 0xff, 0, 0, 1}, {0x33, 0x33, 0xff, 0, 0, 2}}},
		{"IPv4", asking(&Neighbor{Mode: NeighborDetect}, 1, farIP), nil},
		{"asked", asking(&Neighbor{}, 1, far6), nil},
		{"announced", asking(&Neighbor{Mode: NeighborAnnounce}, 1, near6), nil},
		{"pinged", asking(nil, 1, far6), nil},
	} {
		if got := tt.cfg.groups(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestClaimString(t *testing.T) {
	for claim, want := range map[Claim]string{
		ClaimNone: "", ClaimReply: "reply", ClaimRequest: "request", ClaimAnnouncement: "announcement", ClaimProbe: "probe", 99: "",
	} {
		if got := claim.String(); got != want {
			t.Errorf("%d: %q, want %q", claim, got, want)
		}
	}
}
