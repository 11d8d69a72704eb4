package lab_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// ask6 sends a neighbor solicitation, as a host does that has the address src.
func (b *bench) ask6(src, target netip.Addr) {
	b.t.Helper()
	t := target.As16()
	group := netip.AddrFrom16([16]byte{0xff, 0x02, 11: 1, 12: 0xff, 13: t[13], 14: t[14], 15: t[15]})
	mac := net.HardwareAddr{0x33, 0x33, 0xff, t[13], t[14], t[15]}
	body := append(make([]byte, 4), t[:]...)
	if !src.IsUnspecified() {
		body = append(append(body, 1, 1), b.pair.NearMAC...)
	}
	b.send(icmp6(b.pair.NearMAC, mac, src, group, 135, 0, body)...)
}

func (b *bench) echo6(seq uint16) {
	b.t.Helper()
	b.send(echo6(b.pair.NearMAC, b.pair.FarMAC, b.pair.NearIP6, b.pair.FarIP6, seq)...)
}

// one6 is the only frame sent for request 1 over IPv6.
func (b *bench) one6() heard {
	b.t.Helper()
	b.echo6(1)
	return b.only()
}

// v6 is the IPv6 header.
func (h heard) v6() *layers.IPv6 {
	ip, _ := h.packet.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	return ip
}

// message is the ICMPv6 message, from its type on.
func (h heard) message() []byte {
	icmp, ok := h.packet.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	if !ok {
		return nil
	}
	return slices.Concat(icmp.Contents, icmp.Payload)
}

func TestPeerPlain6(t *testing.T) {
	b := newBench(t, "")
	got := b.one6()
	ip, message := got.v6(), got.message()
	if ip.SrcIP.String() != b.pair.FarIP6.String() || ip.DstIP.String() != b.pair.NearIP6.String() || ip.HopLimit != 64 ||
		ip.TrafficClass != echoTOS || got.badChecksums(t) != nil {
		t.Errorf("got %v", got.packet)
	}
	want := append([]byte{129, 0, message[2], message[3], echoID >> 8, echoID & 0xff, 0, 1}, payload...)
	if !bytes.Equal(message, want) {
		t.Errorf("message %x, want %x", message, want)
	}
	r := b.peer.Requests()[0]
	if r.Kind != lab.KindEcho || r.N != 1 || r.Fault != "" || r.TTL != 61 || r.TOS != echoTOS || r.FlowLabel != 0xbeef ||
		r.ID != echoID || r.Seq != 1 || !bytes.Equal(r.Payload, payload) || r.SrcIP != b.pair.NearIP6 || r.DstIP != b.pair.FarIP6 {
		t.Errorf("request %+v", r)
	}
}

// TestPeerActions6 has what scripts do to replies of either family.
func TestPeerActions6(t *testing.T) {
	want := newBench(t, "").one6()
	plain := want.message()
	for _, tt := range []struct {
		script string
		check  func(heard) bool
	}{
		{"seq 1: ttl 7, tos 184", func(h heard) bool { return h.v6().HopLimit == 7 && h.v6().TrafficClass == 184 }},
		{"seq 1: source 2001:db8:1::9", func(h heard) bool { return h.v6().SrcIP.String() == "2001:db8:1::9" }},
		{"seq 1: wrong-id", func(h heard) bool { return h.message()[4] == ^plain[4] }},
		{"seq 1: wrong-cookie", func(h heard) bool { return h.message()[8] == ^plain[8] && h.message()[16] == plain[16] }},
		{"seq 1: truncate 20", func(h heard) bool { return len(h.message()) == 28 }},
		{"seq 1: corrupt 20 fixed", func(h heard) bool { return h.message()[20] == ^plain[20] }},
		{"seq 1: ip-options", func(h heard) bool {
			return h.v6().NextHeader == layers.IPProtocolIPv6HopByHop && bytes.Equal(h.message(), plain)
		}},
		{"seq 1: pad 9", func(h heard) bool { return len(h.frame) == len(want.frame)+9 }},
		{"larger 100: ttl 3", func(h heard) bool { return h.v6().HopLimit == 3 }},
		{"larger 104: ttl 3", func(h heard) bool { return h.v6().HopLimit == 64 }},
		{"to 2001:db8:1::/64: ttl 3", func(h heard) bool { return h.v6().HopLimit == 3 }},
		{"to 198.51.100.0/24: ttl 3\nto 2001:db8:1::3: ttl 4", func(h heard) bool { return h.v6().HopLimit == 64 }},
	} {
		t.Run(tt.script, func(t *testing.T) {
			got := newBench(t, tt.script).one6()
			if !tt.check(got) || got.badChecksums(t) != nil {
				t.Errorf("got %v", got.packet)
			}
		})
	}
	t.Run("corrupt", func(t *testing.T) {
		if got := newBench(t, "seq 1: corrupt 20").one6(); len(got.badChecksums(t)) != 1 || got.message()[20] != ^plain[20] {
			t.Errorf("got %v", got.packet)
		}
	})
}

func TestPeerErrors6(t *testing.T) {
	const router = "2001:db8:1::fe"
	for _, tt := range []struct {
		script    string
		typ, code uint8
		from      string
		rest      uint32
		quote     int // bytes of ICMP
		forgedAt  int
	}{
		{"error no-route from " + router, 1, 0, router, 0, 64, 0},
		{"error prohibited", 1, 1, "2001:db8:1::2", 0, 64, 0},
		{"error host-unreachable", 1, 3, "2001:db8:1::2", 0, 64, 0},
		{"error port-unreachable", 1, 4, "2001:db8:1::2", 0, 64, 0},
		{"error packet-too-big mtu 1400", 2, 0, "2001:db8:1::2", 1400, 64, 0},
		{"error frag-needed mtu 1280 quote 8", 2, 0, "2001:db8:1::2", 1280, 8, 0},
		{"error time-exceeded", 3, 0, "2001:db8:1::2", 0, 64, 0},
		{"error parameter-problem pointer 6", 4, 0, "2001:db8:1::2", 6, 64, 0},
		{"error 1/5 quote 0", 1, 5, "2001:db8:1::2", 0, 0, 0},
		{"error time-exceeded forged id", 3, 0, "2001:db8:1::2", 0, 64, 4},
		{"error time-exceeded forged checksum", 3, 0, "2001:db8:1::2", 0, 64, 2},
	} {
		t.Run(tt.script, func(t *testing.T) {
			b := newBench(t, "seq 1: "+tt.script)
			got := b.one6()
			message := got.message()
			if message[0] != tt.typ || message[1] != tt.code || got.v6().SrcIP.String() != tt.from ||
				binary.BigEndian.Uint32(message[4:]) != tt.rest || got.badChecksums(t) != nil {
				t.Errorf("got %v", got.packet)
			}
			b.checkQuote(t, message[8:], 40, tt.quote, tt.forgedAt)
		})
	}
}

// TestPeerMisfits has what one family has and the other lacks: a fault.
func TestPeerMisfits(t *testing.T) {
	for _, script := range []string{
		"seq 1: error redirect-host", "seq 1: bad-ip-checksum", "seq 1: source 198.51.100.9",
		"seq 1: error time-exceeded from 198.51.100.9", "seq 1: fragment 32 missing 9",
	} {
		t.Run(script, func(t *testing.T) {
			b := newBenchToClose(t, script)
			b.echo6(1)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			b.peer.Wait(ctx, 2)
			if err := b.peer.Close(); err == nil {
				t.Error("no fault")
			}
		})
	}
}

// advertised is a neighbor advertisement in words.
func advertised(t *testing.T, h heard) string {
	t.Helper()
	na, ok := h.packet.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	if !ok {
		t.Fatalf("got %v, want an advertisement", h.packet)
	}
	eth := h.packet.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	mac := "no MAC"
	if len(na.Options) > 0 {
		mac = net.HardwareAddr(na.Options[0].Data).String()
	}
	if bad := h.badChecksums(t); bad != nil {
		t.Errorf("wrong checksums: %v", bad)
	}
	return fmt.Sprintf("%s is at %s, flags %x, hop limit %d, from %s to %s",
		na.TargetAddress, mac, na.Flags, h.v6().HopLimit, eth.SrcMAC, eth.DstMAC)
}

func TestPeerNDP(t *testing.T) {
	const (
		target   = "2001:db8:1::2"
		own      = "02:00:5e:00:53:02"
		other    = "02:00:5e:00:53:99"
		near     = "02:00:5e:00:53:01"
		standard = target + " is at " + own + ", flags 60, hop limit 255, from " + own + " to " + near
	)
	for _, tt := range []struct {
		script   string
		requests int
		want     []string
	}{
		{"", 2, []string{standard, standard}},
		{"ndp: silent", 2, nil},
		{"ndp: silent 1", 2, []string{standard}},
		{"ndp: router", 1, []string{strings.Replace(standard, "60", "e0", 1)}},
		{"ndp: unsolicited, no-override, no-mac", 1, []string{strings.NewReplacer("60", "0", "at "+own, "at no MAC").Replace(standard)}},
		{"ndp: hop-limit 64", 1, []string{strings.Replace(standard, "255", "64", 1)}},
		{"ndp: from " + other, 1, []string{strings.ReplaceAll(standard, own, other)}},
		{"ndp: also " + other, 1, []string{standard, strings.ReplaceAll(standard, own, other)}},
		{"arp: silent", 1, []string{standard}},
		{"address 2001:db8:1::/64 own-macs", 1, []string{strings.ReplaceAll(standard, own, "02:53:00:00:00:02")}},
	} {
		t.Run(tt.script, func(t *testing.T) {
			b := newBench(t, tt.script+"\naddress 198.51.100.2, 2001:db8:1::2")
			for range tt.requests {
				b.ask6(b.pair.NearIP6, b.pair.FarIP6)
			}
			var got []string
			for _, h := range b.untilFence() {
				got = append(got, advertised(t, h))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			r := b.peer.Requests()[0]
			if r.Kind != lab.KindNDP || r.Fault != "" || r.N != 1 || r.DstIP != b.pair.FarIP6 || r.SrcIP != b.pair.NearIP6 ||
				r.SenderMAC.String() != near || r.Group.String() != "ff02::1:ff00:2" {
				t.Errorf("request %+v", r)
			}
		})
	}
	t.Run("duplicate address detection", func(t *testing.T) {
		b := newBench(t, "")
		b.ask6(netip.IPv6Unspecified(), b.pair.FarIP6)
		h := b.next()
		if got, want := advertised(t, h), target+" is at "+own+", flags 20, hop limit 255, from "+own+" to 33:33:00:00:00:01"; got != want ||
			h.v6().DstIP.String() != "ff02::1" {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("malformed", func(t *testing.T) {
		b := newBench(t, "")
		t16 := b.pair.FarIP6.As16()
		bare := append(make([]byte, 4), t16[:]...)
		group := netip.MustParseAddr("ff02::1:ff00:2")
		groupMAC := net.HardwareAddr{0x33, 0x33, 0xff, 0, 0, 2}
		withMAC := append(append(slices.Clone(bare), 1, 1), b.pair.NearMAC...)
		far := icmp6(b.pair.NearMAC, groupMAC, b.pair.NearIP6, group, 135, 0, withMAC)
		far[1].(*layers.IPv6).HopLimit = 254
		b.send(far...)
		b.send(icmp6(b.pair.NearMAC, groupMAC, b.pair.NearIP6, group, 135, 1, withMAC)...)
		b.send(icmp6(b.pair.NearMAC, groupMAC, b.pair.NearIP6, group, 135, 0, bare)...)
		b.send(icmp6(b.pair.NearMAC, groupMAC, netip.IPv6Unspecified(), group, 135, 0, withMAC)...)
		b.send(icmp6(b.pair.NearMAC, b.pair.FarMAC, netip.IPv6Unspecified(), b.pair.FarIP6, 135, 0, bare)...)
		b.send(icmp6(b.pair.NearMAC, broadcast, b.pair.NearIP6, group, 135, 0, withMAC)...)
		b.send(icmp6(b.pair.NearMAC, groupMAC, b.pair.NearIP6, netip.MustParseAddr("ff02::1:ff00:3"), 135, 0, withMAC)...)
		if all := b.untilFence(); len(all) != 0 {
			t.Errorf("%d answers, the first %v", len(all), all[0].packet)
		}
		for _, r := range b.peer.Requests()[:7] {
			if r.Fault == "" || r.N != 0 {
				t.Errorf("no fault: %+v", r)
			}
		}
	})
	t.Run("kernel", func(t *testing.T) { // Linux believes the answer
		b := newBench(t, "")
		labtest.RequireKind(t, b.pair.EnableIPv6())
		far := newStation(t, b.pair.Far, "eth0")
		must(t, b.pair.Near.Do(func() error {
			c, err := net.Dial("udp", net.JoinHostPort(b.pair.FarIP6.String(), "9"))
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("x"))
			return err
		}))
		for far.next().packet.Layer(layers.LayerTypeUDP) == nil {
		}
		mac, state, err := b.pair.Near.Neighbor("eth0", b.pair.FarIP6)
		if err != nil || mac.String() != own || state != lab.Reachable {
			t.Errorf("neighbor %v state %#x, %v", mac, state, err)
		}
		for _, r := range b.peer.Requests() {
			if r.Fault != "" {
				t.Errorf("fault in the kernel's solicitation: %s", r.Fault)
			}
		}
	})
}

var broadcast = net.HardwareAddr{255, 255, 255, 255, 255, 255}

func TestPeerWaitNDP(t *testing.T) {
	b := newBench(t, "")
	b.ask6(b.pair.NearIP6, b.pair.FarLL)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, b.peer.WaitNDP(ctx, 1))
}

func TestPeerARPAnswers(t *testing.T) {
	const other = "02:00:5e:00:53:99"
	b := newBench(t, "arp: also "+other+", vlan 7")
	b.arp()
	for i, want := range []string{b.pair.FarMAC.String(), other} {
		got := b.next()
		if got.arp == nil || net.HardwareAddr(got.arp.SourceHwAddress).String() != want || got.vlan != 7 {
			t.Errorf("answer %d: %v in VLAN %d, want one from %s", i, got.packet, got.vlan, want)
		}
	}
	mac, err := net.ParseMAC(other)
	must(t, err)
	b.send(echo(b.pair.NearMAC, mac, b.pair.NearIP, b.pair.FarIP, 1)...)
	got := b.next()
	if eth := got.packet.Layer(layers.LayerTypeEthernet).(*layers.Ethernet); !got.isReply(1) || eth.SrcMAC.String() != other {
		t.Errorf("got %v", got.packet)
	}
}

// TestPeerNetwork has one peer answer for many addresses.
func TestPeerNetwork(t *testing.T) {
	b := newBench(t, "address 198.18.0.0/16 own-macs, 198.19.0.0/16, 198.51.100.2\nkeep 2")
	for _, tt := range []struct{ ip, mac string }{
		{"198.18.3.4", "02:53:c6:12:03:04"}, {"198.18.200.1", "02:53:c6:12:c8:01"},
		{"198.19.3.4", "02:00:5e:00:53:02"}, {"198.19.200.1", "02:00:5e:00:53:02"},
	} {
		ip := netip.MustParseAddr(tt.ip)
		mac, err := net.ParseMAC(tt.mac)
		must(t, err)
		b.send(arpRequest(b.pair.NearMAC, b.pair.NearIP, ip)...)
		if got := b.next(); got.arp == nil || net.HardwareAddr(got.arp.SourceHwAddress).String() != tt.mac {
			t.Errorf("%v: got %v", ip, got.packet)
		}
		b.send(echo(b.pair.NearMAC, mac, b.pair.NearIP, ip, 1)...)
		got := b.next()
		if eth := got.packet.Layer(layers.LayerTypeEthernet).(*layers.Ethernet); !got.isReply(1) ||
			got.ip.SrcIP.String() != tt.ip || eth.SrcMAC.String() != tt.mac {
			t.Errorf("%v: got %v", ip, got.packet)
		}
	}
	// A host with a MAC of its own does not listen to others'.
	b.send(echo(b.pair.NearMAC, b.pair.FarMAC, b.pair.NearIP, netip.MustParseAddr("198.18.3.4"), 2)...)
	if all := b.untilFence(); len(all) != 0 {
		t.Errorf("got %v", all[0].packet)
	}
	if got := len(b.peer.Requests()); got != 2 {
		t.Errorf("%d requests kept, want 2", got)
	}
}

// TestPeerGroups has requests to many, which each host answers.
func TestPeerGroups(t *testing.T) {
	b := newBench(t, "address 198.51.100.8, 198.51.100.9, 198.18.0.0/16, 2001:db8:1::8, fe80::8, 198.51.100.2")
	group := net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
	for _, tt := range []struct {
		list []gopacket.SerializableLayer
		want []string
	}{
		{echo(b.pair.NearMAC, broadcast, b.pair.NearIP, netip.MustParseAddr("255.255.255.255"), 1), []string{"198.51.100.8", "198.51.100.9", "198.51.100.2"}},
		{echo(b.pair.NearMAC, broadcast, b.pair.NearIP, netip.MustParseAddr("198.51.100.255"), 1), []string{"198.51.100.8", "198.51.100.9", "198.51.100.2"}},
		{echo(b.pair.NearMAC, net.HardwareAddr{1, 0, 0x5e, 0, 0, 1}, b.pair.NearIP, netip.MustParseAddr("224.0.0.1"), 1), []string{"198.51.100.8", "198.51.100.9", "198.51.100.2"}},
		{echo6(b.pair.NearMAC, group, b.pair.NearIP6, netip.MustParseAddr("ff02::1"), 1), []string{"2001:db8:1::8"}},
		{echo6(b.pair.NearMAC, group, b.pair.NearLL, netip.MustParseAddr("ff02::1"), 1), []string{"fe80::8"}},
	} {
		b.send(tt.list...)
		var got []string
		for _, h := range b.untilFence() {
			got = append(got, h.packet.NetworkLayer().NetworkFlow().Src().String())
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("answers from %v, want %v", got, tt.want)
		}
	}
}

func TestPeerLivesInVLAN(t *testing.T) {
	b := newBench(t, "vlan 200 100")
	tagged := func(seq uint16, vids ...uint16) {
		request := echo6(b.pair.NearMAC, b.pair.FarMAC, b.pair.NearIP6, b.pair.FarIP6, seq)
		for i, vid := range vids {
			q := &layers.Dot1Q{VLANIdentifier: vid, Type: layers.EthernetTypeIPv6}
			if i < len(vids)-1 {
				q.Type = layers.EthernetTypeDot1Q
			}
			request = slices.Insert(request, 1+i, gopacket.SerializableLayer(q))
		}
		request[0].(*layers.Ethernet).EthernetType = layers.EthernetTypeQinQ
		b.send(request...)
	}
	b.echo6(1)
	tagged(2, 200)
	tagged(3, 100, 200)
	tagged(4, 200, 100)
	got := b.next()
	inner, ok := got.packet.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q)
	if !ok || inner.VLANIdentifier != 100 || got.vlan != 200 || got.message()[7] != 4 {
		t.Errorf("got %v in VLAN %d", got.packet, got.vlan)
	}
}

func TestPeerTwoTags(t *testing.T) {
	for _, tt := range []struct {
		script     string
		outer      int // TCI
		inner      int // TCI, -1 without one
		outerIsQoS bool
	}{
		{"seq 1: vlan 200.3 100.1", 3<<13 | 200, 1<<13 | 100, true},
		{"seq 1: vlan 200 100 802.1Q", 200, 100, false},
		{"seq 1: vlan 7 802.1ad", 7, -1, true},
	} {
		t.Run(tt.script, func(t *testing.T) {
			got := newBench(t, tt.script).one()
			inner := -1
			if q, ok := got.packet.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q); ok {
				inner = int(q.Priority)<<13 | int(q.VLANIdentifier)
			}
			if got.vlan != tt.outer || inner != tt.inner || !got.isReply(1) {
				t.Errorf("tags %#x, %#x on %v", got.vlan, inner, got.packet)
			}
			if got.service != tt.outerIsQoS {
				t.Errorf("802.1ad: %t, want %t", got.service, tt.outerIsQoS)
			}
		})
	}
}

func TestPeerAnnounce(t *testing.T) {
	b := newBench(t, "")
	mac := net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 0x77}
	must(t, b.peer.Announce(b.pair.FarIP, mac), b.peer.Announce(b.pair.FarIP6, mac))
	got := b.next()
	if got.arp == nil || got.arp.Operation != layers.ARPRequest || !bytes.Equal(got.arp.SourceProtAddress, got.arp.DstProtAddress) ||
		!bytes.Equal(got.arp.SourceHwAddress, mac) {
		t.Errorf("got %v", got.packet)
	}
	if got, want := advertised(t, b.next()), "2001:db8:1::2 is at "+mac.String()+", flags 20, hop limit 255, from "+mac.String()+
		" to 33:33:00:00:00:01"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPeerSetScript(t *testing.T) {
	b := newBench(t, "seq 1: lose")
	b.echo(1)
	if all := b.untilFence(); len(all) != 0 {
		t.Errorf("got %v", all[0].packet)
	}
	b.peer.SetScript(lab.Script{})
	b.echo(1)
	if all := b.untilFence(); len(all) != 1 {
		t.Errorf("%d answers", len(all))
	}
}

func TestPeerOnTun(t *testing.T) {
	n := labtest.NewNamespace(t)
	tun := labtest.AddTun(t, n, "tun0")
	must(t, n.AddAddr("tun0", netip.PrefixFrom(v4(1), 24)), n.AddAddr("tun0", netip.PrefixFrom(v6(1), 64)))
	up(t, n, "tun0")
	peer := labtest.StartTunPeer(t, tun, "address 198.51.100.2, 198.18.0.0/16, 2001:db8:1::/64\nseq 2: error host-unreachable")
	must(t, n.AddRoute(netip.MustParsePrefix("198.18.0.0/16"), netip.Addr{}, "tun0"))
	s := newStation(t, n, "tun0")
	for i, tt := range []struct {
		src, dst netip.Addr
		seq      uint16
		want     byte // ICMP type
	}{
		{v4(1), v4(2), 1, 0}, {v4(1), netip.MustParseAddr("198.18.4.4"), 1, 0}, {v4(1), v4(2), 2, 3},
		{v6(1), v6(2), 1, 129}, {v6(1), v6(77), 1, 129}, {v6(1), v6(2), 2, 1},
	} {
		list := echo(nil, nil, tt.src, tt.dst, tt.seq)[1:]
		if tt.src.Is6() {
			list = echo6(nil, nil, tt.src, tt.dst, tt.seq)[1:]
		}
		s.send(list...)
		got := s.next()
		header := 20
		if tt.src.Is6() {
			header = 40
		}
		if len(got.frame) <= header || got.frame[header] != tt.want {
			t.Errorf("request %d: got %x, want ICMP type %d", i, got.frame, tt.want)
		}
	}
	if r := peer.Requests()[0]; r.Fault != "" || r.N != 1 || r.SrcMAC != nil {
		t.Errorf("request %+v", r)
	}
	// The kernel's own stack speaks to it too, and the Tun outlives its peer.
	must(t, peer.Close(), tun.SetReadDeadline(time.Now().Add(patience)))
	s.send(echo(nil, nil, v4(1), v4(2), 1)[1:]...)
	buf := make([]byte, 2048)
	if size, err := tun.Read(buf); err != nil || size != 20+8+len(payload) {
		t.Errorf("read %d bytes, %v", size, err)
	}
}

// BenchmarkPeer is what one request costs the peer.
func BenchmarkPeer(b *testing.B) {
	pair := labtest.NewPair(b, &lab.PairConfig{Silent: true})
	peer := labtest.StartPeer(b, pair.Far, "eth0", "address 198.18.0.0/15\nkeep 0")
	buf := gopacket.NewSerializeBuffer()
	list := echo(pair.NearMAC, pair.FarMAC, pair.NearIP, netip.MustParseAddr("198.18.0.1"), 1)
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		b.Fatal(err)
	}
	n := 0
	s := openStation(b, pair.Near, "eth0")
	defer s.Close()
	for b.Loop() {
		if _, err := s.Write(buf.Bytes()); err != nil {
			b.Fatal(err)
		}
		n++
		if n%100 == 0 { // no more than its socket can hold
			if err := peer.Wait(b.Context(), n); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := peer.Wait(b.Context(), n); err != nil {
		b.Fatal(err)
	}
}
