package lab_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"golang.org/x/sys/unix"
)

// patience bounds what must happen but may take its time on a slow machine.
const patience = time.Minute

// station is a packet socket that sends whole frames and hears what comes
// back. It shares no code with the peer.
type station struct {
	t    *testing.T
	file *os.File
}

func newStation(t *testing.T, n *lab.Namespace, ifname string) *station {
	t.Helper()
	s := &station{t: t, file: openStation(t, n, ifname)}
	t.Cleanup(func() { s.file.Close() })
	return s
}

func openStation(t testing.TB, n *lab.Namespace, ifname string) *os.File {
	t.Helper()
	index, err := n.Index(ifname)
	if err != nil {
		t.Fatal(err)
	}
	var fd int
	err = n.Do(func() error {
		var err error
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		all := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL & 0xff})
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "station")
}

func (s *station) send(list ...gopacket.SerializableLayer) {
	s.t.Helper()
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, list...); err != nil {
		s.t.Fatal(err)
	}
	s.sendFrame(buf.Bytes())
}

func (s *station) sendFrame(frame []byte) {
	s.t.Helper()
	if _, err := s.file.Write(frame); err != nil {
		s.t.Fatal(err)
	}
}

// heard is a frame that a station heard.
type heard struct {
	frame []byte
	at    time.Time
	vlan  int // the tag's TCI, -1 without one

	service bool // the tag is of 802.1ad
	packet  gopacket.Packet
	ip      *layers.IPv4
	icmp    *layers.ICMPv4
	arp     *layers.ARP
}

// next is the next frame that arrives.
func (s *station) next() heard {
	s.t.Helper()
	if err := s.file.SetReadDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	conn, err := s.file.SyscallConn()
	if err != nil {
		s.t.Fatal(err)
	}
	frame, oob := make([]byte, 65536), make([]byte, 256)
	var n, oobn int
	var errno error
	err = conn.Read(func(fd uintptr) bool {
		n, oobn, _, _, errno = unix.Recvmsg(int(fd), frame, oob, 0)
		return errno != unix.EAGAIN
	})
	if err := errors.Join(err, errno); err != nil {
		s.t.Fatalf("wait for a frame: %v", err)
	}
	h := heard{frame: frame[:n], at: time.Now(), vlan: -1}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range messages {
		if binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID != 0 {
			h.vlan = int(binary.NativeEndian.Uint16(m.Data[16:]))
			h.service = binary.NativeEndian.Uint16(m.Data[18:]) == uint16(layers.EthernetTypeQinQ)
		}
	}
	h.packet = gopacket.NewPacket(h.frame, layers.LayerTypeEthernet, gopacket.Default)
	h.ip, _ = h.packet.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	h.icmp, _ = h.packet.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	h.arp, _ = h.packet.Layer(layers.LayerTypeARP).(*layers.ARP)
	return h
}

// badChecksums are the layers whose checksum is wrong.
func (h heard) badChecksums(t *testing.T) (list []gopacket.LayerType) {
	t.Helper()
	if icmp, ok := h.packet.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok {
		if err := icmp.SetNetworkLayerForChecksum(h.packet.NetworkLayer()); err != nil {
			t.Fatal(err)
		}
	}
	err, mismatches := h.packet.VerifyChecksums()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mismatches {
		list = append(list, m.Layer.LayerType())
	}
	return list
}

// is says whether the frame is an echo reply with that sequence number.
func (h heard) isReply(seq uint16) bool {
	return h.icmp != nil && h.icmp.TypeCode.Type() == layers.ICMPv4TypeEchoReply && h.icmp.Seq == seq
}

func TestPairKernelAnswers(t *testing.T) {
	p := labtest.NewPair(t, nil)
	s := newStation(t, p.Near, "eth0")
	// The far kernel asks for our MAC before it can answer.
	if err := p.Far.SetNeighbor("eth0", p.NearIP, p.NearMAC, lab.Permanent); err != nil {
		t.Fatal(err)
	}
	s.send(echo(p.NearMAC, p.FarMAC, p.NearIP, p.FarIP, 1)...)
	if got := s.next(); !got.isReply(1) || got.ip.TTL != 64 {
		t.Errorf("got %v, want the kernel's reply", got.packet)
	}
}

// TestPairSilent proves that nothing but a scripted peer speaks at the far
// end: of two requests, the peer loses the first and answers the second.
func TestPairSilent(t *testing.T) {
	p := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	labtest.StartPeer(t, p.Far, "eth0", "arp: silent 1\nseq 1: lose")
	s := newStation(t, p.Near, "eth0")
	s.send(arpRequest(p.NearMAC, p.NearIP, p.FarIP)...)
	s.send(arpRequest(p.NearMAC, p.NearIP, p.FarIP)...)
	if got := s.next(); got.arp == nil {
		t.Errorf("got %v, want an ARP reply", got.packet)
	}
	s.send(echo(p.NearMAC, p.FarMAC, p.NearIP, p.FarIP, 1)...)
	s.send(echo(p.NearMAC, p.FarMAC, p.NearIP, p.FarIP, 2)...)
	if got := s.next(); !got.isReply(2) {
		t.Errorf("got %v, want the reply to seq 2 and nothing before it", got.packet)
	}
}

func TestRouted(t *testing.T) {
	r := labtest.NewRouted(t)
	s := newStation(t, r.Near, "eth0")
	// Known to each other, the four interfaces send no ARP.
	err := errors.Join(
		r.Router.SetNeighbor("eth0", r.NearIP, r.NearMAC, lab.Permanent),
		r.Router.SetNeighbor("eth1", r.HostIP, r.HostMAC, lab.Permanent),
		r.Host.SetNeighbor("eth0", r.RouterFarIP, r.RouterFarMAC, lab.Permanent),
	)
	if err != nil {
		t.Fatal(err)
	}
	s.send(echo(r.NearMAC, r.RouterMAC, r.NearIP, r.HostIP, 1)...)
	if got := s.next(); !got.isReply(1) || got.ip.TTL != 63 {
		t.Errorf("got %v, want the host's reply with TTL 63", got.packet)
	}
	// More errors than the kernel's rate limit would let through at once.
	limited := false
	if b, err := readIn(r.Router, "/proc/sys/net/ipv4/icmp_ratemask"); err != nil || b != "0" {
		limited = true
		t.Logf("icmp_ratemask is %q, %v: the limit stays", b, err)
	}
	for seq := uint16(2); seq < 22 && !limited; seq++ {
		request := echo(r.NearMAC, r.RouterMAC, r.NearIP, r.HostIP, seq)
		request[1].(*layers.IPv4).TTL = 1
		s.send(request...)
		got := s.next()
		if got.icmp == nil || got.icmp.TypeCode != layers.CreateICMPv4TypeCode(11, 0) || got.ip.SrcIP.String() != r.RouterIP.String() {
			t.Fatalf("got %v, want time exceeded from the router", got.packet)
		}
	}
	if err := r.Router.AddRefusal(netip.MustParsePrefix("203.0.113.77/32"), unix.RTN_PROHIBIT); err != nil {
		t.Fatal(err)
	}
	s.send(echo(r.NearMAC, r.RouterMAC, r.NearIP, netip.MustParseAddr("203.0.113.77"), 30)...)
	if got := s.next(); got.icmp == nil || got.icmp.TypeCode != layers.CreateICMPv4TypeCode(3, 13) {
		t.Errorf("got %v, want administratively prohibited", got.packet)
	}
}

// TestRoutedResolves is the way of an ordinary program: empty neighbor tables,
// default routes, the kernel's own sockets.
func TestRoutedResolves(t *testing.T) {
	r := labtest.NewRouted(t)
	const port = 4242
	var near, host int
	open := func(fd *int) func() error {
		return func() (err error) {
			*fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			return err
		}
	}
	if err := errors.Join(r.Near.Do(open(&near)), r.Host.Do(open(&host))); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(near)
	defer unix.Close(host)
	timeout := unix.NsecToTimeval(patience.Nanoseconds())
	err := errors.Join(
		unix.Bind(host, &unix.SockaddrInet4{Port: port}),
		unix.SetsockoptTimeval(host, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.Sendto(near, []byte("hello"), 0, &unix.SockaddrInet4{Port: port, Addr: r.HostIP.As4()}),
	)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	n, from, err := unix.Recvfrom(host, buf, 0)
	if err != nil || string(buf[:n]) != "hello" {
		t.Fatalf("host received %q, %v", buf[:max(n, 0)], err)
	}
	if got := netip.AddrFrom4(from.(*unix.SockaddrInet4).Addr); got != r.NearIP {
		t.Errorf("from %v, want %v", got, r.NearIP)
	}
	if mac, _, err := r.Near.Neighbor("eth0", r.RouterIP); err != nil || mac.String() != r.RouterMAC.String() {
		t.Errorf("near has the router at %v, %v; want %v", mac, err, r.RouterMAC)
	}
}

func readIn(n *lab.Namespace, path string) (string, error) {
	var b []byte
	err := n.Do(func() error {
		var err error
		b, err = os.ReadFile(path)
		return err
	})
	if len(b) > 0 {
		b = b[:len(b)-1] // the newline
	}
	return string(b), err
}

func BenchmarkNewPair(b *testing.B) {
	labtest.RequireNetns(b)
	for b.Loop() {
		p, err := lab.NewPair(nil)
		if err != nil {
			b.Fatal(err)
		}
		p.Close()
	}
}
