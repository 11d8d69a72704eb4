//go:build linux

package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

func lookUp(t testing.TB, n *lab.Namespace, ifname string) *l2.Interface {
	t.Helper()
	var ifc *l2.Interface
	must(t, n.Do(func() (err error) {
		ifc, err = l2.InterfaceByName(ifname)
		return err
	}))
	return ifc
}

// openAll is a Socket on an interface that hears all there is.
func openAll(t testing.TB, pair *lab.Pair, n *lab.Namespace, ifc *l2.Interface, cfg SocketConfig) *listener {
	t.Helper()
	cfg.Filter = newFilter(t, pair, bpf.Classic)
	l := &listener{t: t, frames: make([]Frame, MinFrames)}
	must(t, n.Do(func() (err error) {
		l.Socket, err = OpenSocket(ifc, cfg)
		return err
	}))
	t.Cleanup(func() { must(t, l.Socket.Close()) })
	must(t, unix.SetsockoptInt(l.FD(), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0))
	return l
}

// next waits for a frame that ends with tail.
func (l *listener) next(tail []byte) Frame {
	l.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		n, err := l.Receive(l.frames)
		must(l.t, err)
		for _, f := range l.frames[:n] {
			if bytes.HasSuffix(f.Data, tail) {
				return f
			}
		}
		left := time.Until(deadline)
		if left <= 0 {
			l.t.Fatalf("no frame ends with % x", tail)
		}
		if n == 0 {
			labtest.Poll(l.t, l.FD(), left)
		}
	}
}

// addTun makes a tun interface, tun0.
func addTun(t testing.TB, n *lab.Namespace) *lab.Tun {
	t.Helper()
	labtest.RequireRoot(t) // /dev/net/tun is root's
	tun, err := n.AddTun("tun0")
	labtest.RequireKind(t, err)
	return tun
}

// promiscuity is how many want all frames of the interface.
func promiscuity(t testing.TB, n *lab.Namespace, ifname string) int {
	t.Helper()
	link, err := n.Handle().LinkByName(ifname)
	must(t, err)
	return link.Attrs().Promisc
}

// An interface that is made anew is heard by the open socket, filtered and
// stamped as before, and with room for its MTU.
func TestRebind(t *testing.T) {
	eachMode(t, func(t *testing.T, mode bpf.Mode) {
		pair := silentPair(t)
		n := pair.Near
		l := open(t, pair, mode, nil)
		far := talk(t, pair.Far)
		pinned(t, pair.Far, func() { far.send(reply(t, pair, 1, 56)) })
		l.until(1)
		room := cap(l.frames[0].Data)
		must(t, n.DeleteLink("eth0"))
		if got, err := l.Receive(l.frames); got != 0 || !errors.Is(err, unix.ENETDOWN) {
			t.Errorf("gone: %d, %v", got, err)
		}
		for i, mtu := range []int{1500, 9000, 1400} {
			must(t, n.AddVeth("eth0", "peer0"))
			must(t, n.SetMTU("eth0", mtu))
			must(t, n.SetMTU("peer0", mtu))
			must(t, n.SetUp("eth0"))
			must(t, n.SetUp("peer0"))
			must(t, n.WaitUp("eth0"))
			must(t, n.WaitUp("peer0"))
			must(t, n.SetMAC("eth0", pair.NearMAC))
			ifc := lookUp(t, n, "eth0")
			must(t, l.Rebind(ifc))
			other := talker{t: t}
			must(t, n.Do(func() (err error) {
				if other.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
					return err
				}
				index, err := n.Index("peer0")
				if err != nil {
					return err
				}
				return unix.Bind(other.fd, &unix.SockaddrLinklayer{Ifindex: index})
			}))
			seq := uint16(10 + i)
			sent := reply(t, pair, seq, mtu-28)
			pinned(t, n, func() {
				for _, b := range strangers(t, pair) {
					other.send(b)
				}
				other.send(sent)
			})
			before, got := l.until(seq)
			if len(before) != 0 {
				t.Errorf("%d frames that do not match", len(before))
			}
			if !bytes.Equal(got.Data, sent) || got.Length != len(sent) || got.Arrival == 0 {
				t.Errorf("MTU %d: length %d of %d, %d bytes, arrived at %d", mtu, got.Length, len(sent), len(got.Data), got.Arrival)
			}
			must(t, unix.Close(other.fd))
			must(t, n.DeleteLink("eth0"))
			if _, err := l.Receive(l.frames); !errors.Is(err, unix.ENETDOWN) {
				t.Errorf("gone again: %v", err)
			}
			if err := l.Rebind(ifc); !errors.Is(err, unix.ENODEV) || err.Error() != "bind packet socket to eth0: no such device" {
				t.Errorf("bound to what is gone: %v", err)
			}
		}
		if room == 0 || l.room != 9064 {
			t.Errorf("room for %d bytes, want 9064", l.room)
		}
		if n, err := l.Drops(); n != 0 || err != nil {
			t.Errorf("%d dropped, %v", n, err)
		}
	})
}

// A MAC of somebody else's is heard while the socket is open, and no longer.
func TestJoin(t *testing.T) {
	pair := silentPair(t)
	n := pair.Near
	must(t, n.AddVeth("eth1", "peer1"))
	must(t, n.SetUp("eth1"))
	eth0, eth1 := lookUp(t, n, "eth0"), lookUp(t, n, "eth1")
	foreign := frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0x77}

	for mac, want := range map[frame.MAC]Joined{{}: JoinedNone, eth0.MAC: JoinedNone, foreign: JoinedUnicast} {
		l := openAll(t, pair, n, eth0, SocketConfig{MAC: mac})
		if got := l.Joined(); got != want {
			t.Errorf("%s: %s, want %s", mac, got, want)
		}
		must(t, l.Rebind(eth0))
		if got := l.Joined(); got != want {
			t.Errorf("%s, bound anew: %s, want %s", mac, got, want)
		}
		// veth filters no MACs: the kernel has it hear all of them instead
		// (net/core/dev_addr_lists.c, __dev_set_rx_mode).
		heard := 0
		if want != JoinedNone {
			heard = 1
		}
		if got := promiscuity(t, n, "eth0"); got != heard {
			t.Errorf("%s: %d want all frames of eth0, want %d", mac, got, heard)
		}
		must(t, l.Rebind(eth1))
		if mac == eth0.MAC {
			heard = 1 // there it is somebody else's
		}
		if a, b := promiscuity(t, n, "eth0"), promiscuity(t, n, "eth1"); a != 0 || b != heard {
			t.Errorf("%s, bound to another: %d and %d", mac, a, b)
		}
		must(t, l.Close())
		if a, b := promiscuity(t, n, "eth0"), promiscuity(t, n, "eth1"); a != 0 || b != 0 {
			t.Errorf("%s, closed: %d and %d", mac, a, b)
		}
	}

	// Made anew, it is joined anew.
	l := openAll(t, pair, n, eth1, SocketConfig{MAC: foreign})
	must(t, n.DeleteLink("eth1"))
	must(t, n.AddVeth("eth1", "peer1"))
	must(t, n.SetUp("eth1"))
	_, err := l.Receive(l.frames)
	if !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("gone: %v", err)
	}
	must(t, l.Rebind(lookUp(t, n, "eth1")))
	if got := promiscuity(t, n, "eth1"); l.Joined() != JoinedUnicast || got != 1 {
		t.Errorf("made anew: %s, %d", l.Joined(), got)
	}
	for j, want := range map[Joined]string{JoinedNone: "none", JoinedUnicast: "unicast", JoinedPromiscuous: "promiscuous"} {
		if j.String() != want {
			t.Errorf("%d is %q, want %q", j, j, want)
		}
	}
}

// A driver that takes no further MAC hears everything instead. That of tun takes
// none, for it has no link layer.
func TestJoinPromiscuous(t *testing.T) {
	pair := silentPair(t)
	n := pair.Near
	tun := addTun(t, n)
	defer func() { must(t, tun.Close()) }()
	must(t, n.SetUp("tun0"))
	ifc := lookUp(t, n, "tun0")
	mac := frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0x77}
	if l := openAll(t, pair, n, ifc, SocketConfig{MAC: mac}); l.Joined() != JoinedNone {
		t.Errorf("without a link layer: %s", l.Joined())
	}
	ifc.NoLink = false
	l := openAll(t, pair, n, ifc, SocketConfig{MAC: mac})
	if got := promiscuity(t, n, "tun0"); l.Joined() != JoinedPromiscuous || got != 1 {
		t.Errorf("%s, %d want all frames", l.Joined(), got)
	}
	must(t, l.Close())
	if got := promiscuity(t, n, "tun0"); got != 0 {
		t.Errorf("closed: %d want all frames", got)
	}
	// Nothing can be joined on an interface that is gone.
	gone := *ifc
	gone.Index = 4711
	left := openAll(t, pair, n, ifc, SocketConfig{})
	left.mac = mac
	if err := left.join(&gone); !errors.Is(err, unix.ENODEV) || left.Joined() != JoinedNone {
		t.Errorf("%v, %s", err, left.Joined())
	}
}

// Without a link layer a frame starts at the IP header.
func TestReceiveTun(t *testing.T) {
	pair := silentPair(t)
	tun := addTun(t, pair.Near)
	defer func() { must(t, tun.Close()) }()
	must(t, pair.Near.SetUp("tun0"))
	l := openAll(t, pair, pair.Near, lookUp(t, pair.Near, "tun0"), SocketConfig{})
	packet := reply(t, pair, 1, 56)[14:]
	if _, err := tun.Write(packet); err != nil {
		t.Fatal(err)
	}
	if f := l.next(packet); !bytes.Equal(f.Data, packet) || f.Length != len(packet) {
		t.Errorf("% x, want\n% x", f.Data, packet)
	}
}

// The type of a tag that the kernel took off is told, and an inner one is left.
func TestReceiveTags(t *testing.T) {
	pair := silentPair(t)
	l, far := openAll(t, pair, pair.Near, lookUp(t, pair.Near, "eth0"), SocketConfig{}), talk(t, pair.Far)
	plain := reply(t, pair, 1, 56)
	tag := func(b []byte, typ frame.EtherType, tci uint16) []byte {
		t := binary.BigEndian.AppendUint16(bytes.Clone(b[:12]), uint16(typ))
		return append(binary.BigEndian.AppendUint16(t, tci), b[12:]...)
	}
	const q, ad = frame.EtherTypeVLAN, frame.EtherTypeQinQ
	for _, tt := range []struct {
		sent, data []byte
		want       VLAN
	}{
		{plain, plain, VLAN{}},
		{tag(plain, q, 100), plain, VLAN{Present: true, Type: q, TCI: 100}},
		{tag(plain, ad, 0x6064), plain, VLAN{Present: true, Type: ad, TCI: 0x6064}},
		{tag(tag(plain, q, 100), ad, 200), tag(plain, q, 100), VLAN{Present: true, Type: ad, TCI: 200}},
		{tag(tag(plain, q, 100), q, 200), tag(plain, q, 100), VLAN{Present: true, Type: q, TCI: 200}},
	} {
		pinned(t, pair.Far, func() { far.send(tt.sent) })
		if f := l.next(plain[14:]); f.VLAN != tt.want || !bytes.Equal(f.Data, tt.data) {
			t.Errorf("%+v, want %+v\n% x, want\n% x", f.VLAN, tt.want, f.Data, tt.data)
		}
	}
}

// Another filter takes the place of the first at once.
func TestSetFilter(t *testing.T) {
	eachMode(t, func(t *testing.T, mode bpf.Mode) {
		pair := silentPair(t)
		l, far := open(t, pair, mode, nil), talk(t, pair.Far)
		other, err := bpf.NewFilter(bpf.Match{
			Kind: bpf.EchoReply, Local: pair.NearIP, Peer: pair.FarIP, ID: echoID + 1, Cookie: cookie, CookieLen: len(cookie),
		}, mode)
		must(t, err)
		t.Cleanup(func() { must(t, other.Close()) })
		theirs := func(seq uint16) []byte { return icmp(t, pair, 0, echoID+1, seq, cookie[:]) }
		pinned(t, pair.Far, func() {
			far.send(theirs(1))
			far.send(reply(t, pair, 2, 56))
			if before, _ := l.until(2); len(before) != 0 {
				t.Errorf("%d frames that do not match", len(before))
			}
			must(t, l.SetFilter(other))
			far.send(reply(t, pair, 3, 56))
			far.send(theirs(4))
			if before, _ := l.until(4); len(before) != 0 {
				t.Errorf("%d frames that do not match the new filter", len(before))
			}
		})
		must(t, l.Socket.Close())
		if err := l.SetFilter(other); err == nil {
			t.Error("a closed socket takes a filter")
		}
	})
}
