//go:build interop && linux

package interop

import (
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// linkNames are what the questions on one link use: E is Ethernet to the other
// end, and A to all.
const linkNames = `
near, far = "02:00:5e:00:53:01", "02:00:5e:00:53:02"
me, it, silent = "198.51.100.1", "198.51.100.2", "198.51.100.9"
me6, it6, silent6 = "2001:db8:1::1", "2001:db8:1::2", "2001:db8:1::9"
E = Ether(src=near, dst=far)
A = Ether(src=near, dst="ff:ff:ff:ff:ff:ff")
def echo(seq, dst=it, src=me, **ip):
    return IP(src=src, dst=dst, **ip)/ICMP(id=7, seq=seq)/("x" * 24)
def echo6(seq, dst=it6, **ip):
    return IPv6(src=me6, dst=dst, **ip)/ICMPv6EchoRequest(id=7, seq=seq, data="x" * 24)
def solicitation(target, group):
    return Ether(src=near, dst="33:33:ff:00:00:" + group)/IPv6(src=me6, dst="ff02::1:ff00:" + group)/ \
        ICMPv6ND_NS(tgt=target)/ICMPv6NDOptSrcLLAddr(lladdr=near)
`

// all asks every question.
func (f *floor) all(t *testing.T, questions []question) {
	for _, q := range questions {
		t.Run(strings.ReplaceAll(q.name, " ", "-"), func(t *testing.T) { f.ask(t, q) })
	}
}

// Questions that Linux answers on the link.
func TestSrpLinux(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, &lab.PairConfig{IPv6: true})
	neighbors(t, pair)
	must(t, pair.Near.SetNeighbor("eth0", pair.FarIP6, pair.FarMAC, lab.Permanent))
	must(t, pair.Far.SetNeighbor("eth0", pair.NearIP6, pair.NearMAC, lab.Permanent))
	must(t, pair.Far.AddAddr("eth0", netip.MustParsePrefix("198.51.100.3/24")))
	// A SYN that was asked before is answered again, and at once.
	must(t, pair.Far.Sysctl("net.ipv4.tcp_invalid_ratelimit", "0"))
	serve(t, pair.Far)

	f := newFloor(t, &floor{near: pair.Near, far: pair.Far, nearMAC: pair.NearMAC}, linkNames)
	f.all(t, []question{
		{
			name: "echo", want: []int{1, 1, 0, 1, 0, 1},
			ask: `[E/echo(1), E/echo(2, "198.51.100.3"), E/echo(3, silent), E/echo(4, ttl=1), E/echo(5, "192.0.2.1"), E/echo(6, "198.51.100.3", tos=8)]`,
		},
		{
			name: "ICMP", want: []int{1, 1, 0, 0},
			ask: `[E/IP(src=me, dst=it)/ICMP(type=13, id=7, seq=n, ts_ori=n, ts_rx=0, ts_tx=0) for n in (1, 2)] + ` +
				`[E/IP(src=me, dst=it)/ICMP(type=17, id=7, seq=3), E/IP(src=me, dst=it)/ICMP(type=15, id=7, seq=4)]`,
		},
		{
			name: "ARP sweep", want: []int{0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
			ask: `[A/ARP(op=1, hwsrc=near, psrc=me, pdst="198.51.100.%d" % n) for n in range(1, 15)]`,
		},
		{
			name: "ARP to one alone, and to find out whether an address is free", want: []int{1, 1, 0},
			ask: `[E/ARP(op=1, hwsrc=near, psrc=me, pdst=it), A/ARP(op=1, hwsrc=near, psrc="0.0.0.0", pdst=it), A/ARP(op=1, hwsrc=near, psrc="0.0.0.0", pdst=silent)]`,
		},
		{
			name: "TCP", want: []int{1, 1, 1, 0, 1, 0}, // open, closed, open, filtered, closed, no host
			ask: `[E/IP(src=me, dst=it)/TCP(sport=40000, dport=p, seq=1000+p, flags="S") for p in (80, 81, 443, 444, 22)] + ` +
				`[E/IP(src=me, dst=silent)/TCP(sport=40000, dport=80, seq=1, flags="S")]`,
		},
		{
			name: "TCP out of nowhere", want: []int{1, 1, 0},
			ask: `[E/IP(src=me, dst=it)/TCP(sport=40001, dport=81, seq=5, ack=9, flags=flags) for flags in ("A", "FA", "R")]`,
		},
		{
			name: "UDP", want: []int{1, 1, 0, 1},
			ask: `[E/IP(src=me, dst=it)/UDP(sport=40000, dport=p)/("%d" % p) for p in (9, 7, 8, 10)]`,
		},
		{
			name: "UDP from another port", want: []int{0}, wire: 1,
			ask: `[E/IP(src=me, dst=it)/UDP(sport=40000, dport=9001)/"x"]`,
			differs: map[int]otherwise{
				0: {1, "UDP is answered from the port that was asked; scapy compares the other port alone"},
			},
		},
		{
			name: "DNS", want: []int{1, 1},
			ask: `[E/IP(src=me, dst=it)/UDP(sport=40000, dport=53)/DNS(id=i, rd=1, qd=DNSQR(qname=n)) for i, n in ((1, "a.example"), (2, "b.example"))]`,
		},
		{
			name: "another protocol", want: []int{1, 0},
			ask: `[E/IP(src=me, dst=d, proto=253)/("x" * 20) for d in (it, silent)]`,
		},
		{
			name: "IPv6 echo", want: []int{1, 1, 0, 1},
			ask: `[E/echo6(1), E/echo6(2, tc=8), E/echo6(3, silent6), E/echo6(4, hlim=1)]`,
		},
		{
			name: "solicitation", want: []int{1, 0},
			ask: `[solicitation(it6, "2"), solicitation(silent6, "9")]`,
		},
		{
			name: "IPv6 TCP and UDP", want: []int{1, 1, 1, 1},
			ask: `[E/IPv6(src=me6, dst=it6)/TCP(sport=40000, dport=p, seq=1000+p, flags="S") for p in (80, 81)] + ` +
				`[E/IPv6(src=me6, dst=it6)/UDP(sport=40000, dport=p)/("%d" % p) for p in (9, 7)]`,
		},
		{
			name: "all at once", want: []int{1, 0, 1, 1, 1, 1, 1, 1, 1, 1},
			ask: `[E/echo(1), E/echo(2, silent), A/ARP(op=1, hwsrc=near, psrc=me, pdst=it), E/IP(src=me, dst=it)/TCP(sport=40002, dport=80, seq=1), ` +
				`E/IP(src=me, dst=it)/TCP(sport=40002, dport=81, seq=1), E/IP(src=me, dst=it)/UDP(sport=40002, dport=7)/"x", E/IP(src=me, dst=it)/UDP(sport=40002, dport=9)/"x", ` +
				`E/echo6(1), solicitation(it6, "2"), E/IP(src=me, dst=it)/ICMP(type=13, id=7, seq=1)]`,
		},
	})
}

// serve listens in a namespace: to TCP on 80 and 443, of IPv6 too, and on 444 behind
// a filter; UDP on 7 is echoed, on 8 not, on 9001 from another port, and on 53 two
// questions are answered in the other order.
func serve(t *testing.T, n *lab.Namespace) {
	t.Helper()
	listen := net.ListenConfig{}
	deaf := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]})
		})
		if failed != nil {
			return failed
		}
		return err
	}}
	udp := make(map[string]net.PacketConn)
	must(t, n.Do(func() error {
		for addr, l := range map[string]*net.ListenConfig{":80": &listen, ":443": &listen, ":444": &deaf} {
			ln, err := l.Listen(t.Context(), "tcp", addr)
			if err != nil {
				return err
			}
			t.Cleanup(func() { ln.Close() })
		}
		for _, port := range []string{"7", "8", "9001", "9002", "53"} {
			c, err := listen.ListenPacket(t.Context(), "udp", ":"+port)
			if err != nil {
				return err
			}
			t.Cleanup(func() { c.Close() })
			udp[port] = c
		}
		return nil
	}))
	answer := func(from, by string, at int) {
		type datagram struct {
			b  []byte
			to net.Addr
		}
		var waiting []datagram
		b := make([]byte, 1500)
		for {
			n, to, err := udp[from].ReadFrom(b)
			if err != nil {
				return // closed
			}
			answer := append([]byte(nil), b[:n]...)
			if from == "53" {
				answer[2] |= 0x80 // QR: a response (RFC 1035, section 4.1.1)
			}
			if waiting = append(waiting, datagram{answer, to}); len(waiting) < at {
				continue
			}
			for len(waiting) > 0 {
				last := waiting[len(waiting)-1]
				waiting = waiting[:len(waiting)-1]
				if _, err := udp[by].WriteTo(last.b, last.to); err != nil {
					t.Error(err)
				}
			}
		}
	}
	for _, s := range []struct {
		from, by string
		at       int
	}{{"7", "7", 1}, {"9001", "9002", 1}, {"53", "53", 2}} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			answer(s.from, s.by, s.at)
		}()
		t.Cleanup(func() {
			udp[s.from].Close()
			<-done
		})
	}
}

// Questions to a router and through it, of which it returns errors.
func TestSrpRouted(t *testing.T) {
	t.Parallel()
	r := labtest.NewRouted(t)
	must(t, r.EnableIPv6())
	for _, n := range []struct {
		ns     *lab.Namespace
		ifname string
		ip     netip.Addr
		mac    net.HardwareAddr
	}{
		{r.Near, "eth0", r.RouterIP, r.RouterMAC}, {r.Near, "eth0", r.RouterIP6, r.RouterMAC},
		{r.Router, "eth0", r.NearIP, r.NearMAC}, {r.Router, "eth0", r.NearIP6, r.NearMAC},
		{r.Router, "eth1", r.HostIP, r.HostMAC}, {r.Router, "eth1", r.HostIP6, r.HostMAC},
		{r.Host, "eth0", r.RouterFarIP, r.RouterFarMAC}, {r.Host, "eth0", r.RouterFarIP6, r.RouterFarMAC},
	} {
		must(t, n.ns.SetNeighbor(n.ifname, n.ip, n.mac, lab.Permanent))
	}
	// Of such errors a router has five for each host, and then one a second (ip_error).
	for source := r.NearIP.Next(); source != netip.MustParseAddr("198.51.100.20"); source = source.Next() {
		must(t, r.Router.SetNeighbor("eth0", source, r.NearMAC, lab.Permanent))
	}
	must(t, r.Router.AddRefusal(netip.MustParsePrefix("192.0.2.7/32"), unix.RTN_PROHIBIT))
	must(t, r.Router.AddRefusal(netip.MustParsePrefix("192.0.2.8/32"), unix.RTN_BLACKHOLE))
	must(t, r.Router.SetMTU("eth1", 1280))
	f := newFloor(t, &floor{near: r.Near, far: r.Router, nearMAC: r.NearMAC}, `
E = Ether(src="02:00:5e:00:53:01", dst="02:00:5e:00:53:fe")
me, host, me6, host6 = "198.51.100.1", "203.0.113.1", "2001:db8:1::1", "2001:db8:2::1"
def to(dst=host, src=me, **ip): return E/IP(src=src, dst=dst, **ip)
def to6(dst=host6, **ip): return E/IPv6(src=me6, dst=dst, **ip)
`)
	f.all(t, []question{
		{
			name: "traceroute by UDP", want: []int{1, 1, 1},
			ask: `[to(ttl=ttl)/UDP(sport=40000, dport=33434+ttl)/"x" for ttl in (1, 2, 3)]`,
		},
		{
			name: "traceroute by echo", want: []int{1, 1, 1, 1},
			ask: `[to(ttl=ttl)/ICMP(id=7, seq=seq)/"x" for seq, ttl in enumerate((1, 2, 1, 1))]`,
		},
		{
			name: "traceroute by TCP", want: []int{1, 1, 1},
			ask: `[to(ttl=ttl)/TCP(sport=40000+ttl, dport=80, seq=ttl) for ttl in (1, 2, 3)]`,
		},
		{
			name: "refused", want: []int{1, 1, 0, 1, 1, 1},
			ask: `[to("192.0.2.%d" % n, src="198.51.100.%d" % (10+n))/ICMP(id=7, seq=n) for n in (1, 7, 8)] + ` +
				`[to("192.0.2.1", src="198.51.100.14")/UDP(sport=1, dport=2), to("192.0.2.1", src="198.51.100.15")/TCP(sport=1, dport=2), to("192.0.2.7", src="198.51.100.16")/TCP(sport=1, dport=3)]`,
		},
		{
			name: "too large", want: []int{1, 1, 1},
			ask: `[to(flags="DF")/ICMP(id=7, seq=1)/("x"*1372), to(flags="DF")/UDP(sport=1, dport=2)/("x"*1372), to(flags="DF")/ICMP(id=7, seq=2)/"x"]`,
		},
		{
			name: "IPv6 traceroute", want: []int{1, 1, 1, 1, 1, 1},
			ask: `[to6(hlim=hops)/ICMPv6EchoRequest(id=7, seq=hops) for hops in (1, 2)] + [to6(hlim=hops)/UDP(sport=40000, dport=33434+hops)/"x" for hops in (1, 2)] + ` +
				`[to6(hlim=hops)/TCP(sport=40000+hops, dport=80, seq=hops) for hops in (1, 2)]`,
		},
		{
			name: "IPv6 refused and too large", want: []int{1, 1, 1, 1},
			ask: `[to6("2001:db8:9::1")/ICMPv6EchoRequest(id=7, seq=1), to6("2001:db8:9::1")/UDP(sport=1, dport=2), to6()/ICMPv6EchoRequest(id=7, seq=2, data="x"*1352), to6()/ICMPv6EchoRequest(id=7, seq=3)]`,
		},
	})
}

// Questions that a scripted peer answers, or spoils.
func TestSrpPeer(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true, IPv6: true})
	must(t, pair.Near.SetNeighbor("eth0", pair.FarIP, pair.FarMAC, lab.Permanent))
	must(t, pair.Near.SetNeighbor("eth0", pair.FarIP6, pair.FarMAC, lab.Permanent))
	f := newFloor(t, &floor{
		near: pair.Near, far: pair.Far, nearMAC: pair.NearMAC, peer: labtest.StartPeer(t, pair.Far, "eth0", ""),
	}, linkNames)
	off := map[string]any{"checkIPaddr": false}
	f.all(t, []question{
		{
			name: "echo", want: []int{1, 0, 0, 0, 1, 1, 1, 1, 1, 1}, wire: 10,
			ask:    `[E/echo(n) for n in range(1, 11)]`,
			script: "seq 2: lose\nseq 3: wrong-id\nseq 4: source 198.51.100.4\nseq 5: wrong-cookie\nseq 6: duplicate\nseq 7: pad 9\nseq 8: ip-options\nseq 9: reorder",
		},
		{
			name: "IPv6 echo", want: []int{1, 0, 0, 0, 0, 1, 1, 1}, wire: 8,
			ask:    `[E/echo6(n) for n in range(1, 9)]`,
			script: "seq 2: lose\nseq 3: wrong-id\nseq 4: source 2001:db8:1::4\nseq 5: wrong-cookie\nseq 6: duplicate\nseq 7: pad 9",
		},
		{
			name: "the same twice", want: []int{1, 1, 1},
			ask: `[E/echo(1), A/ARP(op=1, hwsrc=near, psrc=me, pdst=it), E/echo(1)]`,
		},
		{
			name: "errors", want: []int{1, 1, 1, 1, 1, 0, 0, 1}, wire: 8,
			ask: `[E/echo(n) for n in range(1, 9)]`,
			script: "seq 1: error host-unreachable\nseq 2: error net-unreachable from 198.51.100.254\nseq 3: error time-exceeded quote full\nseq 4: error frag-needed mtu 1400\n" +
				"seq 5: error redirect-host gateway 198.51.100.3\nseq 6: error host-unreachable forged id\nseq 7: error host-unreachable forged seq\nseq 8: error prohibited",
		},
		{
			name: "IPv6 errors", want: []int{1, 1, 0, 1}, wire: 4,
			ask:    `[E/echo6(n) for n in range(1, 5)]`,
			script: "seq 1: error address-unreachable\nseq 2: error packet-too-big mtu 1280\nseq 3: error no-route forged id",
		},
		{
			name: "ARP sweep", want: []int{0, 1, 1, 1, 1, 0},
			ask:    `[A/ARP(op=1, hwsrc=near, psrc=me, pdst="198.51.100.%d" % n) for n in (3, 4, 5, 6, 7, 8)]`,
			script: "address 198.51.100.4/30 own-macs",
		},
		{
			name: "ARP multi", want: []int{3, 0}, multi: true,
			ask:    `[A/ARP(op=1, hwsrc=near, psrc=me, pdst=d) for d in (it, silent)]`,
			script: "arp: also 02:00:5e:00:53:77, also 02:00:5e:00:53:78",
		},
		{
			name: "echo multi", want: []int{1, 3, 0}, multi: true,
			ask:    `[E/echo(n) for n in (1, 2, 3)]`,
			script: "seq 2: duplicate 2\nseq 3: lose",
		},
		{
			name: "broadcast multi", want: []int{3, 3}, multi: true, conf: off,
			ask:    `[A/echo(n, "198.51.100.255") for n in (1, 2)]`,
			script: "address 198.51.100.2, 198.51.100.3, 198.51.100.4",
		},
		{
			name: "broadcast multi, as scapy is by default", want: []int{3}, multi: true,
			ask:    `[A/echo(1, "198.51.100.255")]`,
			script: "address 198.51.100.2, 198.51.100.3, 198.51.100.4",
			differs: map[int]otherwise{
				0: {0, "a group is answered by its members, as scapy has it for IPv6, and for IPv4 with conf.checkIPaddr off"},
			},
		},
		{
			name: "IPv6 group multi", want: []int{2}, multi: true, conf: off,
			ask:    `[Ether(src=near, dst="33:33:00:00:00:01")/echo6(1, "ff02::1")]`,
			script: "address 2001:db8:1::2, 2001:db8:1::3",
		},
		{
			name: "IPv6 group multi, as scapy is by default", want: []int{2}, multi: true,
			ask:    `[Ether(src=near, dst="33:33:00:00:00:01")/echo6(1, "ff02::1")]`,
			script: "address 2001:db8:1::2, 2001:db8:1::3",
			differs: map[int]otherwise{
				0: {0, "a group is answered by its members; scapy says so too (IPv6.answers), but looks answers up by their addresses first (IPv6.hashret)"},
			},
		},
		{
			name: "VLAN", want: []int{1, 1, 1, 1, 1},
			ask: `[E/Dot1Q(vlan=5)/echo(1), A/Dot1Q(vlan=5)/ARP(op=1, hwsrc=near, psrc=me, pdst=it), E/Dot1Q(vlan=6, prio=3)/echo6(2), E/Dot1AD(vlan=7)/Dot1Q(vlan=5)/echo(3), E/echo(4)]`,
		},
		{
			name: "another VLAN", want: []int{0, 0, 1, 0}, wire: 4,
			ask:    `[E/Dot1Q(vlan=5)/echo(1), E/Dot1Q(vlan=5)/echo(2), E/Dot1Q(vlan=5)/echo(3), E/echo(4)]`,
			script: "seq 1: vlan 6\nseq 2: untagged\nseq 4: vlan 5",
		},
		{
			name: "solicitation", want: []int{1, 0},
			ask: `[solicitation(it6, "2"), solicitation(silent6, "9")]`,
		},
		{
			name: "solicitation multi", want: []int{2}, multi: true,
			ask:    `[solicitation(it6, "2")]`,
			script: "ndp: also 02:00:5e:00:53:77",
		},
	})
}
