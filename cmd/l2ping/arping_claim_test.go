//go:build linux

package main

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2/frame"
)

var (
	claimed4 = netip.MustParseAddr("198.51.100.2")
	claimed6 = netip.MustParseAddr("2001:db8:1::2")
	claimer  = frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0x66}
)

// quiet is a peer that hears who asks for the addresses above and does not answer.
const quiet = "arp: silent\nndp: silent"

// arpOf is an ARP packet to everybody.
func arpOf(t testing.TB, a frame.ARP) []byte {
	t.Helper()
	b, err := a.Marshal(frame.Broadcast)
	must(t, err)
	return b
}

// probe6Of is the question of a MAC whether it may take an address (RFC 4862,
// section 5.4.2).
func probe6Of(t testing.TB, mac frame.MAC, address netip.Addr) []byte {
	t.Helper()
	n := frame.NDP{
		Type: frame.ICMPv6NeighborSolicitation,
		Src:  netip.IPv6Unspecified(), Dst: frame.SolicitedNode(address), Target: address,
	}
	b, err := n.Marshal(frame.Header{Src: mac, Dst: frame.MulticastMAC(n.Dst)})
	must(t, err)
	return b
}

// detect starts to look whether an address is taken, often and for long, and
// returns when it listens.
func detect(t *testing.T, ns *lab.Namespace, peer *lab.Peer, address netip.Addr, flags ...string) *process {
	t.Helper()
	args := append([]string{"arping", "-D", "-d", "50ms", "-w", "40"}, flags...)
	p, err := start(ns, command(append(args, address.String())...))
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), hangLimit)
	defer cancel()
	wait := peer.WaitARP
	if address.Is6() {
		wait = peer.WaitNDP
	}
	if err := wait(ctx, 1); err != nil {
		_ = p.cmd.Process.Kill()
		_, _ = p.wait()
		t.Fatalf("%v\n%s%s", err, p.stdout, p.stderr)
	}
	return p
}

// taken checks that it has found the address taken, by what it says so with and
// how much came of it.
func (p *process) taken(t *testing.T, line, received string) {
	t.Helper()
	exit, err := p.wait()
	must(t, err)
	lines := strings.Split(normalise(p.stdout.String()), "\n")
	if exit != exitNoReply || p.stderr.String() != "" || len(lines) != 5 || lines[1] != line || lines[3] != "Received 1 response(s)"+received {
		t.Errorf("exit status %d, want %d\n%s%s\nwant\n%s\nReceived 1 response(s)%s", exit, exitNoReply, p.stdout, p.stderr, line, received)
	}
}

// Whatever tells that another host has the address, or is about to, ends the
// search. Nothing of it is an answer to what was asked.
func TestArpingClaims(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		address  netip.Addr
		frame    []byte
		want     string
		received string
	}{
		{
			"a request for another", claimed4,
			arpOf(t, frame.ARP{Operation: frame.ARPRequest, SenderMAC: claimer, SenderIP: claimed4, TargetIP: netip.MustParseAddr("198.51.100.9")}),
			"Broadcast request from 198.51.100.2 [02:00:5E:00:53:66] for 198.51.100.9 [00:00:00:00:00:00] Tms", " (1 request(s), 1 broadcast(s))",
		},
		{
			"an announcement", claimed4,
			arpOf(t, frame.ARP{Operation: frame.ARPRequest, SenderMAC: claimer, SenderIP: claimed4, TargetIP: claimed4}),
			"Broadcast request from 198.51.100.2 [02:00:5E:00:53:66] for 198.51.100.2 [00:00:00:00:00:00] Tms", " (1 request(s), 1 broadcast(s))",
		},
		{
			"an announcement by a reply", claimed4,
			arpOf(t, frame.ARP{Operation: frame.ARPReply, SenderMAC: claimer, SenderIP: claimed4, TargetMAC: claimer, TargetIP: claimed4}),
			"Broadcast reply from 198.51.100.2 [02:00:5E:00:53:66] for 198.51.100.2 [02:00:5E:00:53:66] Tms", " (1 broadcast(s))",
		},
		{
			"an address probe", claimed4,
			arpOf(t, frame.ARP{Operation: frame.ARPRequest, SenderMAC: claimer, SenderIP: netip.IPv4Unspecified(), TargetIP: claimed4}),
			"Broadcast request from 0.0.0.0 [02:00:5E:00:53:66] for 198.51.100.2 [00:00:00:00:00:00] Tms (address probe)", " (1 request(s), 1 broadcast(s))",
		},
		{
			"an address probe, IPv6", claimed6, probe6Of(t, claimer, claimed6),
			"Broadcast request from :: [02:00:5E:00:53:66] for 2001:db8:1::2  Tms (address probe)", " (1 request(s), 1 broadcast(s))",
		},
	} {
		for _, filter := range []string{"classic", "auto"} {
			t.Run(tt.name+", "+filter, func(t *testing.T) {
				t.Parallel()
				pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
				peer := labtest.StartPeer(t, pair.Far, "eth0", quiet)
				p := detect(t, pair.Near, peer, tt.address, "-i", "eth0", "--filter", filter)
				must(t, peer.Inject(tt.frame))
				p.taken(t, tt.want, tt.received)
			})
		}
	}
}

// Two hosts that look at once whether the address is free both learn that it is
// not. Their probes cross on the way, as they do where neither comes first.
func TestArpingClaimsAtOnce(t *testing.T) {
	t.Parallel()
	macs := [2]frame.MAC{{0x02, 0x00, 0x5e, 0x00, 0x53, 0x01}, {0x02, 0x00, 0x5e, 0x00, 0x53, 0x44}}
	for _, address := range []netip.Addr{claimed4, claimed6} {
		t.Run(address.String(), func(t *testing.T) {
			t.Parallel()
			var peers [2]*lab.Peer
			var runs [2]*process
			for i, mac := range macs {
				pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
				peers[i] = labtest.StartPeer(t, pair.Far, "eth0", quiet)
				runs[i] = detect(t, pair.Near, peers[i], address, "-i", "eth0", "--src-mac", mac.String())
			}
			for i, mac := range macs {
				probe := probe6Of
				if address.Is4() {
					probe = func(t testing.TB, mac frame.MAC, address netip.Addr) []byte {
						return arpOf(t, frame.ARP{Operation: frame.ARPRequest, SenderMAC: mac, SenderIP: netip.IPv4Unspecified(), TargetIP: address})
					}
				}
				// Its own comes back too, and is nothing.
				must(t, peers[i].Inject(probe(t, mac, address)))
				must(t, peers[1-i].Inject(probe(t, mac, address)))
			}
			var wg sync.WaitGroup
			for i, p := range runs {
				want := "Broadcast request from 0.0.0.0 [" + strings.ToUpper(macs[1-i].String()) + "] for 198.51.100.2 [00:00:00:00:00:00] Tms (address probe)"
				if address.Is6() {
					want = "Broadcast request from :: [" + strings.ToUpper(macs[1-i].String()) + "] for 2001:db8:1::2  Tms (address probe)"
				}
				wg.Go(func() { p.taken(t, want, " (1 request(s), 1 broadcast(s))") })
			}
			wg.Wait()
		})
	}
}

// A host whose IPv6 is off hears none of the groups that it has not asked for,
// which a macvlan keeps from it as a NIC does.
func TestArpingClaimsWithoutIPv6(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	labtest.RequireKind(t, pair.Near.AddMacvlan("mv0", "eth0", lab.MacvlanBridge))
	must(t, pair.Near.SetMAC("mv0", []byte{0x02, 0x00, 0x5e, 0x00, 0x53, 0xcc}))
	must(t, pair.Near.SetUp("mv0"))
	must(t, pair.Near.WaitUp("mv0"))
	peer := labtest.StartPeer(t, pair.Far, "eth0", quiet)
	p := detect(t, pair.Near, peer, claimed6, "-i", "mv0")
	must(t, peer.Inject(probe6Of(t, claimer, claimed6)))
	p.taken(t, "Broadcast request from :: [02:00:5E:00:53:66] for 2001:db8:1::2  Tms (address probe)", " (1 request(s), 1 broadcast(s))")

	peer = labtest.StartPeer(t, pair.Far, "eth0", quiet) // which has heard nothing so far
	p = detect(t, pair.Near, peer, claimed6, "-i", "mv0")
	must(t, peer.Announce(claimed6, claimer[:]))
	p.taken(t, "Broadcast reply from 2001:db8:1::2 [02:00:5E:00:53:66]  Tms (override)", " (1 broadcast(s))")
}
