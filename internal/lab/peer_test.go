package lab_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

const (
	echoID  = 0x1234
	echoTOS = 0x10
)

// payload is a cookie and a pattern.
var payload = append([]byte("\x01\x23\x45\x67\x89\xab\xcd\xef"), bytes.Repeat([]byte("pattern "), 6)...)

func echo(srcMAC, dstMAC net.HardwareAddr, src, dst netip.Addr, seq uint16) []gopacket.SerializableLayer {
	return []gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: srcMAC, DstMAC: dstMAC, EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{
			Version: 4, TTL: 61, TOS: echoTOS, Id: 7, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolICMPv4,
			SrcIP: src.AsSlice(), DstIP: dst.AsSlice(),
		},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: echoID, Seq: seq},
		gopacket.Payload(payload),
	}
}

func arpRequest(mac net.HardwareAddr, src, dst netip.Addr) []gopacket.SerializableLayer {
	return []gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: mac, DstMAC: net.HardwareAddr{255, 255, 255, 255, 255, 255}, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: layers.ARPRequest, SourceHwAddress: mac, SourceProtAddress: src.AsSlice(),
			DstHwAddress: make(net.HardwareAddr, 6), DstProtAddress: dst.AsSlice(),
		},
	}
}

// bench is a silent pair with a scripted peer at its far end and a station at
// its near end.
type bench struct {
	*station
	pair *lab.Pair
	peer *lab.Peer
}

func newBench(t *testing.T, script string) *bench {
	t.Helper()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	return &bench{
		pair: pair, peer: labtest.StartPeer(t, pair.Far, "eth0", script), station: newStation(t, pair.Near, "eth0"),
	}
}

// newBenchToClose is a bench whose peer the test closes itself.
func newBenchToClose(t *testing.T, script string) *bench {
	t.Helper()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	parsed, err := lab.ParseScript(script)
	must(t, err)
	peer, err := lab.StartPeer(pair.Far, "eth0", parsed)
	must(t, err)
	return &bench{pair: pair, peer: peer, station: newStation(t, pair.Near, "eth0")}
}

func (b *bench) echo(seq uint16) {
	b.t.Helper()
	b.send(echo(b.pair.NearMAC, b.pair.FarMAC, b.pair.NearIP, b.pair.FarIP, seq)...)
}

func (b *bench) arp() {
	b.t.Helper()
	b.send(arpRequest(b.pair.NearMAC, b.pair.NearIP, b.pair.FarIP)...)
}

// fence is a sequence number that no script treats, so its reply comes when
// everything before it was dealt with.
const fence = 999

// untilFence sends a last request and returns what comes before its reply.
func (b *bench) untilFence() []heard {
	b.t.Helper()
	b.echo(fence)
	var all []heard
	for {
		h := b.next()
		if h.isReply(fence) {
			return all
		}
		all = append(all, h)
	}
}

// one is the only frame sent for request 1.
func (b *bench) one() heard {
	b.t.Helper()
	b.echo(1)
	return b.only()
}

// only is the only frame that comes of what was sent.
func (b *bench) only() heard {
	b.t.Helper()
	all := b.untilFence()
	if len(all) != 1 {
		b.t.Fatalf("got %d frames, want one", len(all))
	}
	return all[0]
}

// plain is what a peer without a script answers to request 1: the frame that
// others are compared with.
func plain(t *testing.T) heard {
	t.Helper()
	return newBench(t, "").one()
}

// differing are the offsets at which two frames of one length differ.
func differing(t *testing.T, a, b heard) (at []int) {
	t.Helper()
	if len(a.frame) != len(b.frame) {
		t.Fatalf("frames of %d and %d bytes", len(a.frame), len(b.frame))
	}
	for i := range a.frame {
		if a.frame[i] != b.frame[i] {
			at = append(at, i)
		}
	}
	return at
}

// Offsets in a plain reply.
const (
	atIP      = 14
	atIPSum   = atIP + 10
	atICMP    = 34
	atICMPSum = atICMP + 2
	atID      = atICMP + 4
	atCookie  = atICMP + 8
)

func seqs(all []heard) (list []uint16) {
	for _, h := range all {
		if h.icmp != nil {
			list = append(list, h.icmp.Seq)
		}
	}
	return list
}

func TestPeerPlain(t *testing.T) {
	b := newBench(t, "")
	got := b.one()
	eth := got.packet.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if eth.SrcMAC.String() != b.pair.FarMAC.String() || eth.DstMAC.String() != b.pair.NearMAC.String() {
		t.Errorf("from %v to %v", eth.SrcMAC, eth.DstMAC)
	}
	if got.ip.SrcIP.String() != b.pair.FarIP.String() || got.ip.DstIP.String() != b.pair.NearIP.String() ||
		got.ip.TTL != 64 || got.ip.TOS != echoTOS || got.ip.IHL != 5 {
		t.Errorf("IP header %+v", got.ip)
	}
	if !got.isReply(1) || got.icmp.Id != echoID || !bytes.Equal(got.icmp.Payload, payload) {
		t.Errorf("ICMP message %+v", got.icmp)
	}
	if bad := got.badChecksums(t); bad != nil || got.vlan != -1 {
		t.Errorf("bad checksums %v, vlan %d", bad, got.vlan)
	}
}

func TestPeerRequests(t *testing.T) {
	b := newBench(t, "")
	b.arp()
	b.echo(5)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := errors.Join(b.peer.WaitARP(ctx, 1), b.peer.Wait(ctx, 1)); err != nil {
		t.Fatal(err)
	}
	all := b.peer.Requests()
	if len(all) != 2 {
		t.Fatalf("%d requests, want 2", len(all))
	}
	arp, got := all[0], all[1]
	if arp.Kind != lab.KindARP || arp.N != 1 || arp.SenderMAC.String() != b.pair.NearMAC.String() || arp.SrcIP != b.pair.NearIP ||
		arp.DstIP != b.pair.FarIP || arp.TargetMAC.String() != "00:00:00:00:00:00" || arp.DstMAC.String() != "ff:ff:ff:ff:ff:ff" || arp.Fault != "" {
		t.Errorf("ARP request %+v", arp)
	}
	if got.Kind != lab.KindEcho || got.N != 1 || got.Fault != "" || got.SrcMAC.String() != b.pair.NearMAC.String() ||
		got.DstMAC.String() != b.pair.FarMAC.String() || got.SrcIP != b.pair.NearIP || got.DstIP != b.pair.FarIP ||
		got.TTL != 61 || got.TOS != echoTOS || !got.DF || got.IPID != 7 || got.ID != echoID || got.Seq != 5 ||
		!bytes.Equal(got.Payload, payload) || len(got.Frame) != 14+20+8+len(payload) || got.VLANs != nil {
		t.Errorf("echo request %+v", got)
	}
	if got.Time.IsZero() || got.Time.Before(arp.Time) {
		t.Errorf("times %v, %v", arp.Time, got.Time)
	}
}

// TestPeerIgnores has what a host does not answer: each is seen or not, and
// none is counted.
func TestPeerIgnores(t *testing.T) {
	b := newBench(t, "")
	request := func() []gopacket.SerializableLayer {
		return echo(b.pair.NearMAC, b.pair.FarMAC, b.pair.NearIP, b.pair.FarIP, 1)
	}
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, request()...); err != nil {
		t.Fatal(err)
	}
	good := buf.Bytes()
	for _, at := range []int{atIPSum, atICMPSum, atCookie} {
		bad := bytes.Clone(good)
		bad[at] ^= 0xff
		b.sendFrame(bad)
	}
	b.sendFrame(good[:len(good)-1]) // shorter than its IP length
	other := request()
	other[0].(*layers.Ethernet).DstMAC = net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 0x44}
	b.send(other...)
	elsewhere := request()
	elsewhere[1].(*layers.IPv4).DstIP = net.IP{198, 51, 100, 77}
	b.send(elsewhere...)
	reply := request()
	reply[2].(*layers.ICMPv4).TypeCode = layers.CreateICMPv4TypeCode(0, 0)
	b.send(reply...)
	b.send(arpRequest(b.pair.NearMAC, b.pair.NearIP, netip.MustParseAddr("198.51.100.77"))...)
	for _, noise := range [][]byte{bytes.Repeat([]byte{0xff}, 14), append(bytes.Clone(good[:14]), 0x4f), good[:30]} {
		b.sendFrame(noise)
	}
	if all := b.untilFence(); len(all) != 0 {
		t.Errorf("%d answers, the first %v", len(all), all[0].packet)
	}
	var faults, counted, uncounted int
	for _, r := range b.peer.Requests() {
		switch {
		case r.N > 0:
			counted++
		case r.Fault != "":
			faults++
		default:
			uncounted++
		}
	}
	// To another's MAC is no fault, and the fence counts.
	if faults != 4 || uncounted != 1 || counted != 1 {
		t.Errorf("%d faulty, %d not for the peer, %d counted; want 4, 1, 1", faults, uncounted, counted)
	}
}

// TestPeerChangesBytes has the actions that leave the frame's length: exactly
// these bytes differ from the plain reply.
func TestPeerChangesBytes(t *testing.T) {
	want := plain(t)
	span := func(from, n int) (list []int) {
		for i := range n {
			list = append(list, from+i)
		}
		return list
	}
	sums := func(from int) []int { return span(from, 2) }
	for _, tt := range []struct {
		script string
		at     []int
		bad    []gopacket.LayerType // layers whose checksum is wrong
	}{
		{"seq 1: corrupt 20", []int{atICMP + 20}, []gopacket.LayerType{layers.LayerTypeICMPv4}},
		{"seq 1: corrupt 20 fixed", append(sums(atICMPSum), atICMP+20), nil},
		{"seq 1: corrupt 2", []int{atICMPSum}, []gopacket.LayerType{layers.LayerTypeICMPv4}},
		{"seq 1: bad-ip-checksum", []int{atIPSum}, []gopacket.LayerType{layers.LayerTypeIPv4}},
		{"seq 1: wrong-id", append(sums(atICMPSum), span(atID, 2)...), nil},
		{"seq 1: wrong-cookie", append(sums(atICMPSum), span(atCookie, 8)...), nil},
		{"seq 1: source 198.51.100.3", append(sums(atIPSum), atIP+15), nil},
		{"seq 1: source-mac 02:00:5e:00:53:66", []int{11}, nil},
		{"seq 1: ttl 7", append(sums(atIPSum), atIP+8), nil},
		{"seq 1: tos 184", append(sums(atIPSum), atIP+1), nil},
		{"seq 1: ttl 64, tos 16", nil, nil},
	} {
		t.Run(tt.script, func(t *testing.T) {
			got := newBench(t, tt.script).one()
			at := differing(t, want, got)
			for _, i := range at {
				if !slices.Contains(tt.at, i) {
					t.Errorf("byte %d was %#x, is %#x", i, want.frame[i], got.frame[i])
				}
			}
			// A byte of a recomputed checksum may be the same by chance.
			for _, i := range tt.at {
				recomputed := tt.bad == nil && slices.Contains(append(sums(atIPSum), sums(atICMPSum)...), i)
				if !slices.Contains(at, i) && !recomputed {
					t.Errorf("byte %d did not change", i)
				}
			}
			if bad := got.badChecksums(t); !slices.Equal(bad, tt.bad) {
				t.Errorf("wrong checksums: %v, want %v", bad, tt.bad)
			}
		})
	}
}

func TestPeerOrder(t *testing.T) {
	for _, tt := range []struct {
		script string
		send   []uint16
		want   []uint16 // without the fence
	}{
		{"", []uint16{1, 2, 3}, []uint16{1, 2, 3}},
		{"seq 2: lose", []uint16{1, 2, 3}, []uint16{1, 3}},
		{"request 2: lose", []uint16{7, 8, 9}, []uint16{7, 9}},
		{"seq 2..3: lose", []uint16{1, 2, 3, 4}, []uint16{1, 4}},
		{"request 2..3: lose", []uint16{4, 3, 2, 1}, []uint16{4, 1}},
		{"seq 1: lose\nseq 1..2: duplicate", []uint16{1, 2}, []uint16{2, 2}}, // the first line decides
		{"seq 2: duplicate", []uint16{1, 2, 3}, []uint16{1, 2, 2, 3}},
		{"seq 2: duplicate 3", []uint16{1, 2, 3}, []uint16{1, 2, 2, 2, 2, 3}},
		{"seq 2: reorder", []uint16{1, 2, 3, 4}, []uint16{1, 3, 2, 4}},
		{"seq 2..3: reorder", []uint16{1, 2, 3, 4}, []uint16{1, 4, 2, 3}},
		{"seq 2: reorder\nseq 3: lose", []uint16{1, 2, 3, 4}, []uint16{1, 4, 2}},
		{"seq 2: reorder, duplicate", []uint16{1, 2, 3}, []uint16{1, 3, 2, 2}},
		{"seq 65535: lose", []uint16{65534, 65535, 0}, []uint16{65534, 0}},
	} {
		t.Run(tt.script, func(t *testing.T) {
			b := newBench(t, tt.script)
			for _, seq := range tt.send {
				b.echo(seq)
			}
			if got := seqs(b.untilFence()); !slices.Equal(got, tt.want) {
				t.Errorf("replies %v, want %v", got, tt.want)
			}
		})
	}
}

// TestPeerDelay has the delays, of which only the order and the lower bound
// are certain.
func TestPeerDelay(t *testing.T) {
	const delay = 40 * time.Millisecond
	t.Run("reply", func(t *testing.T) {
		b := newBench(t, "seq 1: delay 40ms")
		start := time.Now()
		b.echo(1)
		b.echo(2)
		if got := b.next(); !got.isReply(2) {
			t.Errorf("got %v, want the reply to seq 2 first", got.packet)
		}
		if got := b.next(); !got.isReply(1) || got.at.Sub(start) < delay {
			t.Errorf("after %v got %v", got.at.Sub(start), got.packet)
		}
	})
	t.Run("copies", func(t *testing.T) {
		b := newBench(t, "seq 1: duplicate 2 after 40ms")
		start := time.Now()
		b.echo(1)
		for i := range 3 {
			if got := b.next(); !got.isReply(1) || got.at.Sub(start) < time.Duration(i)*delay {
				t.Errorf("copy %d after %v: %v", i, got.at.Sub(start), got.packet)
			}
		}
	})
	t.Run("arp", func(t *testing.T) {
		b := newBench(t, "arp: delay 40ms")
		start := time.Now()
		b.arp()
		b.echo(1)
		if got := b.next(); !got.isReply(1) {
			t.Errorf("got %v, want the echo reply first", got.packet)
		}
		if got := b.next(); got.arp == nil || got.at.Sub(start) < delay {
			t.Errorf("after %v got %v", got.at.Sub(start), got.packet)
		}
	})
	t.Run("held until a delayed reply", func(t *testing.T) {
		b := newBench(t, "seq 1: reorder\nseq 2: delay 40ms")
		b.echo(1)
		b.echo(2)
		if got := []uint16{b.next().icmp.Seq, b.next().icmp.Seq}; !slices.Equal(got, []uint16{2, 1}) {
			t.Errorf("replies %v, want 2, 1", got)
		}
	})
}

func TestPeerARP(t *testing.T) {
	answered := func(t *testing.T, script string, requests int) (macs []string) {
		b := newBench(t, script)
		for range requests {
			b.arp()
		}
		for _, h := range b.untilFence() {
			eth := h.packet.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
			if h.arp == nil || h.arp.Operation != layers.ARPReply || eth.DstMAC.String() != b.pair.NearMAC.String() ||
				!bytes.Equal(h.arp.SourceHwAddress, eth.SrcMAC) || !bytes.Equal(h.arp.DstHwAddress, b.pair.NearMAC) ||
				!bytes.Equal(h.arp.SourceProtAddress, b.pair.FarIP.AsSlice()) || !bytes.Equal(h.arp.DstProtAddress, b.pair.NearIP.AsSlice()) {
				t.Errorf("got %v", h.packet)
			}
			macs = append(macs, eth.SrcMAC.String())
		}
		return macs
	}
	const own, other = "02:00:5e:00:53:02", "02:00:5e:00:53:99"
	for _, tt := range []struct {
		script   string
		requests int
		want     []string
	}{
		{"", 2, []string{own, own}},
		{"arp: silent", 3, nil},
		{"arp: silent 2", 4, []string{own, own}},
		{"arp: silent 1h", 3, nil},
		{"arp: from " + other, 1, []string{other}},
		{"arp: silent 1, from " + other, 2, []string{other}},
	} {
		t.Run(tt.script, func(t *testing.T) {
			if got := answered(t, tt.script, tt.requests); !slices.Equal(got, tt.want) {
				t.Errorf("answers from %v, want %v", got, tt.want)
			}
		})
	}
	t.Run("silent for a time", func(t *testing.T) {
		const silence = 20 * time.Millisecond
		b := newBench(t, "arp: silent 20ms")
		start := time.Now()
		for asked := 1; ; asked++ {
			b.arp()
			if all := b.untilFence(); len(all) == 0 {
				continue
			} else if len(all) != 1 || all[0].arp == nil || all[0].at.Sub(start) < silence || asked == 1 {
				t.Errorf("after %v and %d requests: %v", all[0].at.Sub(start), asked, all[0].packet)
			}
			break
		}
	})
	t.Run("the other MAC gets the pings", func(t *testing.T) {
		b := newBench(t, "arp: from "+other)
		mac, err := net.ParseMAC(other)
		if err != nil {
			t.Fatal(err)
		}
		b.send(echo(b.pair.NearMAC, mac, b.pair.NearIP, b.pair.FarIP, 1)...)
		got := b.next()
		if eth := got.packet.Layer(layers.LayerTypeEthernet).(*layers.Ethernet); !got.isReply(1) || eth.SrcMAC.String() != other {
			t.Errorf("got %v", got.packet)
		}
	})
	t.Run("kernel", func(t *testing.T) { // Linux believes the answer
		b := newBench(t, "")
		far := newStation(t, b.pair.Far, "eth0")
		err := b.pair.Near.Do(func() error {
			c, err := net.Dial("udp", net.JoinHostPort(b.pair.FarIP.String(), "9"))
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("x"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		// The datagram can leave once the kernel has taken the reply in.
		for far.next().packet.Layer(layers.LayerTypeUDP) == nil {
		}
		mac, state, err := b.pair.Near.Neighbor("eth0", b.pair.FarIP)
		if err != nil || mac.String() != own || state != lab.Reachable {
			t.Errorf("neighbor %v state %#x, %v", mac, state, err)
		}
	})
}

func TestPeerLengths(t *testing.T) {
	want := plain(t)
	t.Run("truncate", func(t *testing.T) {
		got := newBench(t, "seq 1: truncate 20").one()
		if got.ip.Length != 20+8+20 || !bytes.Equal(got.icmp.Payload, payload[:20]) || got.badChecksums(t) != nil {
			t.Errorf("got %v", got.packet)
		}
		if len(got.frame) != 62 { // above Ethernet's minimum
			t.Errorf("a frame of %d bytes", len(got.frame))
		}
	})
	t.Run("truncate below the minimum", func(t *testing.T) {
		got := newBench(t, "seq 1: truncate 4").one()
		if got.ip.Length != 20+8+4 || len(got.frame) != 60 || !bytes.Equal(got.icmp.Payload, payload[:4]) {
			t.Errorf("got %v", got.packet)
		}
	})
	t.Run("short-frame", func(t *testing.T) {
		got := newBench(t, "seq 1: short-frame 10").one()
		if !bytes.Equal(got.frame, want.frame[:len(want.frame)-10]) {
			t.Errorf("got %x, want all but 10 bytes of %x", got.frame, want.frame)
		}
		if int(got.ip.Length) != len(got.frame)-14+10 || !got.packet.Metadata().Truncated {
			t.Errorf("IP length %d in a frame of %d", got.ip.Length, len(got.frame))
		}
	})
	t.Run("short-frame of a short reply", func(t *testing.T) { // no padding in the way
		got := newBench(t, "seq 1: truncate 4, short-frame 3").one()
		if len(got.frame) != 14+20+8+4-3 || got.ip.Length != 32 {
			t.Errorf("IP length %d in a frame of %d", got.ip.Length, len(got.frame))
		}
	})
	t.Run("pad", func(t *testing.T) {
		got := newBench(t, "seq 1: pad 18").one()
		n := len(want.frame)
		if len(got.frame) != n+18 || !bytes.Equal(got.frame[:n], want.frame) || bytes.Equal(got.frame[n:], make([]byte, 18)) {
			t.Errorf("got %x, want %x and garbage", got.frame, want.frame)
		}
	})
	t.Run("ip-options", func(t *testing.T) {
		got := newBench(t, "seq 1: ip-options").one()
		if got.ip.IHL != 6 || len(got.ip.Options) != 1 || got.ip.Options[0].OptionType != 148 ||
			!bytes.Equal(got.frame[38:], want.frame[34:]) || got.badChecksums(t) != nil {
			t.Errorf("got %v", got.packet)
		}
	})
	t.Run("fragment", func(t *testing.T) {
		b := newBench(t, "seq 1: fragment 32")
		b.echo(1)
		all := b.untilFence()
		if len(all) != 2 {
			t.Fatalf("%d frames, want two", len(all))
		}
		first, second := all[0].ip, all[1].ip
		if first.Flags != layers.IPv4MoreFragments || first.FragOffset != 0 || len(first.Payload) != 32 ||
			second.Flags != 0 || second.FragOffset != 4 || first.Id != second.Id {
			t.Errorf("fragments %+v, %+v", first, second)
		}
		if whole := append(bytes.Clone(first.Payload), second.Payload...); !bytes.Equal(whole, want.ip.Payload) {
			t.Errorf("together %x, want %x", whole, want.ip.Payload)
		}
	})
}

func TestPeerVLAN(t *testing.T) {
	tagged := func(b *bench, vid uint16) {
		request := echo(b.pair.NearMAC, b.pair.FarMAC, b.pair.NearIP, b.pair.FarIP, 1)
		request[0].(*layers.Ethernet).EthernetType = layers.EthernetTypeDot1Q
		q := &layers.Dot1Q{VLANIdentifier: vid, Priority: 3, Type: layers.EthernetTypeIPv4}
		b.send(slices.Insert(request, 1, gopacket.SerializableLayer(q))...)
	}
	for _, tt := range []struct {
		script  string
		request int // VLAN id, -1 without a tag
		want    int // TCI, -1 without a tag
	}{
		{"", -1, -1},
		{"", 9, 3<<13 | 9},
		{"seq 1: vlan 7", -1, 7},
		{"seq 1: vlan 7.5", -1, 5<<13 | 7},
		{"seq 1: vlan 0.5", -1, 5 << 13},
		{"seq 1: vlan 7", 9, 7},
		{"seq 1: untagged", 9, -1},
	} {
		t.Run(tt.script, func(t *testing.T) {
			b := newBench(t, tt.script)
			if tt.request < 0 {
				b.echo(1)
			} else {
				tagged(b, uint16(tt.request))
			}
			all := b.untilFence()
			if len(all) != 1 || !all[0].isReply(1) || all[0].vlan != tt.want || all[0].badChecksums(t) != nil {
				t.Errorf("got %d frames, tag %d, want one with %d", len(all), all[0].vlan, tt.want)
			}
			var want []uint16
			if tt.request >= 0 {
				want = []uint16{uint16(tt.request)}
			}
			if got := b.peer.Requests()[0].VLANs; !slices.Equal(got, want) {
				t.Errorf("the peer saw tags %v, want %v", got, want)
			}
		})
	}
	t.Run("two tags", func(t *testing.T) {
		b := newBench(t, "")
		request := echo(b.pair.NearMAC, b.pair.FarMAC, b.pair.NearIP, b.pair.FarIP, 1)
		request[0].(*layers.Ethernet).EthernetType = layers.EthernetTypeQinQ
		b.send(slices.Insert(request, 1,
			gopacket.SerializableLayer(&layers.Dot1Q{VLANIdentifier: 100, Type: layers.EthernetTypeDot1Q}),
			gopacket.SerializableLayer(&layers.Dot1Q{VLANIdentifier: 9, Type: layers.EthernetTypeIPv4}))...)
		all := b.untilFence()
		if got := b.peer.Requests()[0].VLANs; !slices.Equal(got, []uint16{100, 9}) {
			t.Errorf("the peer saw tags %v", got)
		}
		if len(all) != 1 || !all[0].isReply(1) || all[0].vlan != 100 {
			t.Fatalf("got %d frames", len(all))
		}
		if inner, ok := all[0].packet.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q); !ok || inner.VLANIdentifier != 9 {
			t.Errorf("got %v, want the inner tag too", all[0].packet)
		}
	})
}

func TestPeerErrors(t *testing.T) {
	const router = "198.51.100.254"
	for _, tt := range []struct {
		script    string
		typ, code uint8
		from      string
		rest      [4]byte
		quote     int // bytes of ICMP
		forgedAt  int // offset in the quoted ICMP header, 0: honest
		replies   bool
	}{
		{"error host-unreachable", 3, 1, "198.51.100.2", [4]byte{}, 8, 0, false},
		{"error net-unreachable from " + router, 3, 0, router, [4]byte{}, 8, 0, false},
		{"error port-unreachable", 3, 3, "198.51.100.2", [4]byte{}, 8, 0, false},
		{"error prohibited", 3, 13, "198.51.100.2", [4]byte{}, 8, 0, false},
		{"error 3/10", 3, 10, "198.51.100.2", [4]byte{}, 8, 0, false},
		{"error frag-needed mtu 1400 from " + router, 3, 4, router, [4]byte{0, 0, 0x05, 0x78}, 8, 0, false},
		{"error time-exceeded quote full", 11, 0, "198.51.100.2", [4]byte{}, 64, 0, false},
		{"error time-exceeded quote 20", 11, 0, "198.51.100.2", [4]byte{}, 20, 0, false},
		{"error time-exceeded quote 0", 11, 0, "198.51.100.2", [4]byte{}, 0, 0, false},
		{"error time-exceeded quote 9999", 11, 0, "198.51.100.2", [4]byte{}, 64, 0, false},
		{"error parameter-problem pointer 9", 12, 0, "198.51.100.2", [4]byte{9}, 8, 0, false},
		{"error redirect-host gateway 198.51.100.254, reply", 5, 1, "198.51.100.2", [4]byte{198, 51, 100, 254}, 8, 0, true},
		{"error host-unreachable forged id, reply", 3, 1, "198.51.100.2", [4]byte{}, 8, 4, true},
		{"error host-unreachable forged seq, reply", 3, 1, "198.51.100.2", [4]byte{}, 8, 6, true},
		{"error host-unreachable forged checksum", 3, 1, "198.51.100.2", [4]byte{}, 8, 2, false},
	} {
		t.Run(tt.script, func(t *testing.T) {
			b := newBench(t, "seq 1: "+tt.script)
			b.echo(1)
			all := b.untilFence()
			if tt.replies != (len(all) == 2) || len(all) == 0 {
				t.Fatalf("%d frames", len(all))
			}
			if tt.replies && !all[1].isReply(1) {
				t.Errorf("second frame %v, want the reply", all[1].packet)
			}
			got := all[0]
			if got.icmp.TypeCode != layers.CreateICMPv4TypeCode(tt.typ, tt.code) || got.ip.SrcIP.String() != tt.from ||
				!bytes.Equal(got.icmp.Contents[4:8], tt.rest[:]) || got.badChecksums(t) != nil {
				t.Errorf("got %v", got.packet)
			}
			b.checkQuote(t, bytes.Clone(got.icmp.Payload), 20, tt.quote, tt.forgedAt)
		})
	}
}

// checkQuote holds what an error quotes against our first packet as the peer saw
// it, which is as we sent it: an IP header of so many bytes, and so many of ICMP,
// of which two are forged unless forgedAt is 0.
func (b *bench) checkQuote(t *testing.T, quote []byte, header, icmp, forgedAt int) {
	t.Helper()
	sent := b.peer.Requests()[0].Frame[14:]
	if len(quote) != header+icmp {
		t.Fatalf("quote of %d bytes, want %d", len(quote), header+icmp)
	}
	if at := header + forgedAt; forgedAt > 0 {
		if bytes.Equal(quote[at:at+2], sent[at:at+2]) {
			t.Error("nothing was forged")
		}
		copy(quote[at:at+2], sent[at:])
	}
	if !bytes.Equal(quote, sent[:len(quote)]) {
		t.Errorf("quote %x of %x", quote, sent)
	}
}

func TestPeerAddresses(t *testing.T) {
	b := newBench(t, "address 198.51.100.8, 198.51.100.9")
	for _, last := range []byte{2, 8, 9} {
		b.send(echo(b.pair.NearMAC, b.pair.FarMAC, b.pair.NearIP, netip.AddrFrom4([4]byte{198, 51, 100, last}), uint16(last))...)
	}
	if got := []uint16{b.next().icmp.Seq, b.next().icmp.Seq}; !slices.Equal(got, []uint16{8, 9}) {
		t.Errorf("replies %v, want 8, 9", got)
	}
}

func TestPeerFault(t *testing.T) {
	b := newBenchToClose(t, "all: corrupt 5000")
	b.echo(1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.peer.Wait(ctx, 2); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Wait on a peer that has ended: %v", err)
	}
	if err := b.peer.Close(); err == nil {
		t.Error("Close does not tell the fault")
	}
}

func TestPeerClose(t *testing.T) {
	b := newBenchToClose(t, "seq 1: delay 1h\nseq 2: reorder")
	peer := b.peer
	b.echo(1)
	b.echo(2)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := peer.Wait(ctx, 2); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error)
	go func() { waiting <- peer.Wait(context.Background(), 3) }()
	if err := errors.Join(peer.Close(), peer.Close()); err != nil {
		t.Error(err)
	}
	if err := <-waiting; !errors.Is(err, os.ErrClosed) {
		t.Errorf("Wait over Close: %v", err)
	}
	gone, cancel2 := context.WithCancel(context.Background())
	cancel2()
	if err := peer.Wait(gone, 2); err != nil {
		t.Errorf("Wait for what has come: %v", err)
	}
}

// TestPeerFlap has the interface go down and come back under the peer.
func TestPeerFlap(t *testing.T) {
	b := newBench(t, "seq 1: delay 1ms")
	b.echo(1)
	if err := b.pair.Far.SetDown("eth0"); err != nil {
		t.Fatal(err)
	}
	if err := b.pair.SetUp(); err != nil {
		t.Fatal(err)
	}
	b.echo(2)
	for {
		if got := b.next(); got.isReply(2) {
			break
		}
	}
}

func TestStartPeerErrors(t *testing.T) {
	n := labtest.NewNamespace(t)
	if _, err := lab.StartPeer(n, "eth0", lab.Script{}); err == nil {
		t.Error("a peer on no interface")
	}
	if f, err := n.OpenPacket("eth0"); f != nil || err == nil {
		t.Error("a packet socket on no interface")
	}
}
