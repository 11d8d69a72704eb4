//go:build linux

package arp

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// A bench is a silent pair with a scripted peer at its far end.
type bench struct {
	*testing.T
	pair *lab.Pair
	peer *lab.Peer
	path *l2.Path
	ctx  context.Context
}

func newBench(t *testing.T, script string) *bench {
	t.Helper()
	t.Parallel() // resolvers wait for seconds
	return newBenchAlone(t, script)
}

func newBenchAlone(t *testing.T, script string) *bench {
	t.Helper()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return &bench{T: t, pair: pair, peer: labtest.StartPeer(t, pair.Far, "eth0", script), path: pathTo(t, pair), ctx: ctx}
}

func openOn(t testing.TB, pair *lab.Pair, path *l2.Path) *Resolver {
	t.Helper()
	return labtest.OpenIn(t, pair.Near, func() (*Resolver, error) { return Open(path) })
}

func (b *bench) open() *Resolver {
	b.Helper()
	return openOn(b.T, b.pair, b.path)
}

func (b *bench) resolve(r *Resolver) Neighbor {
	b.Helper()
	n, err := r.Resolve(b.ctx)
	must(b, err)
	return n
}

func (b *bench) waitARP(n int) {
	b.Helper()
	must(b, b.peer.WaitARP(b.ctx, n))
}

func (b *bench) set(state lab.NeighborState) {
	b.Helper()
	must(b, b.pair.Near.SetNeighbor("eth0", b.pair.FarIP, b.pair.FarMAC, state))
}

// until waits for a snapshot to fulfil a condition. Each of them is a demand.
func (b *bench) until(r *Resolver, what string, condition func(Neighbor, Status) bool) {
	b.Helper()
	for !condition(r.Snapshot()) {
		if b.ctx.Err() != nil {
			n, status := r.Snapshot()
			b.Fatalf("%s: not after %v, but %+v, status %d", what, patience, n, status)
		}
		runtime.Gosched()
	}
}

// requests are the ARP requests so far. Each must be a good one of ours, and the
// nth no earlier than n seconds after the time before the first: a lower bound,
// for the peer notes when it read them.
func (b *bench) requests(start time.Time) []lab.Request {
	b.Helper()
	all := b.peer.Requests()
	for i, r := range all {
		if r.Kind != lab.KindARP || r.Fault != "" || len(r.VLANs) != 0 || len(r.Frame) != 60 ||
			!bytes.Equal(r.SrcMAC, b.pair.NearMAC) || !bytes.Equal(r.SenderMAC, b.pair.NearMAC) || !bytes.Equal(r.TargetMAC, make([]byte, 6)) ||
			r.SrcIP != b.pair.NearIP || r.DstIP != b.pair.FarIP {
			b.Errorf("request %d: %+v", i, r)
		}
		if after := r.Time.Sub(start); after < time.Duration(i)*time.Second {
			b.Errorf("request %d after %v", i, after)
		}
	}
	return all
}

func isBroadcast(r lab.Request) bool { return bytes.Equal(r.DstMAC, frame.Broadcast[:]) }

// kernelKnows tells what the kernel's own table has of the far end.
func kernelKnows(t testing.TB, pair *lab.Pair) lab.NeighborState {
	t.Helper()
	_, state, err := pair.Near.Neighbor("eth0", pair.FarIP)
	must(t, err)
	return state
}

func TestResolve(t *testing.T) {
	b := newBench(t, "")
	start := time.Now()
	r := b.open()
	n := b.resolve(r)
	if n.MAC != frame.MAC(b.pair.FarMAC) || n.How != HowARP || n.Addr != b.pair.FarIP || n.State != 0 || n.Took <= 0 || n.Took > time.Since(start) {
		t.Errorf("%+v", n)
	}
	if again, status := r.Snapshot(); again != n || status != Resolved {
		t.Errorf("%+v, %d, want %+v", again, status, n)
	}
	all := b.requests(start)
	if len(all) != 1 || !isBroadcast(all[0]) {
		t.Errorf("%d requests, the first to %v, want one broadcast", len(all), all[0].DstMAC)
	}
	if state := kernelKnows(t, b.pair); state != 0 {
		t.Errorf("the kernel's table now has an entry in state %v", state)
	}
}

func TestResolveLinux(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	path := pathTo(t, pair)
	r := openOn(t, pair, path)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n, err := r.Resolve(ctx)
	if err != nil || n.MAC != frame.MAC(pair.FarMAC) || n.How != HowARP {
		t.Errorf("%+v, %v", n, err)
	}
	if state := kernelKnows(t, pair); state != 0 {
		t.Errorf("the kernel's table now has an entry in state %v", state)
	}
}

// The next hop is asked for, and not the destination.
func TestDecideRouted(t *testing.T) {
	routed := labtest.NewRouted(t)
	must(t, routed.Near.Do(func() error {
		path, err := l2.FindPath(nil, routed.HostIP, netip.Addr{})
		if err != nil {
			return err
		}
		d, err := Decide(t.Context(), path)
		if err != nil {
			return err
		}
		if d.Path != path || d.Neighbor.Addr != routed.RouterIP || d.Neighbor.MAC != frame.MAC(routed.RouterMAC) || d.Neighbor.How != HowARP {
			t.Errorf("%+v", d)
		}
		return nil
	}))
}

func TestResolveLate(t *testing.T) {
	b := newBench(t, "arp: silent 2")
	start := time.Now()
	n := b.resolve(b.open())
	if n.MAC != frame.MAC(b.pair.FarMAC) || n.Took < 2*time.Second {
		t.Errorf("%+v", n)
	}
	if all := b.requests(start); len(all) != 3 {
		t.Errorf("%d requests, want 3", len(all))
	}
}

// The delay of an answer is the resolution's own time.
func TestResolveTook(t *testing.T) {
	b := newBench(t, "arp: delay 30ms")
	if n := b.resolve(b.open()); n.Took < 30*time.Millisecond {
		t.Errorf("%+v", n)
	}
}

func TestResolveFails(t *testing.T) {
	b := newBench(t, "arp: silent 4")
	start := time.Now()
	r := b.open()
	if _, status := r.Snapshot(); status != Pending {
		t.Errorf("at first: status %d", status)
	}
	n := b.resolve(r)
	if n.Known() || n.How != HowNone {
		t.Errorf("%+v", n)
	}
	if took := time.Since(start); took < 3*time.Second {
		t.Errorf("failed after %v", took)
	}
	if all := b.requests(start); len(all) != 3 {
		t.Errorf("%d requests, want 3", len(all))
	}
	// Somebody needs it: asked again, answered the second time.
	if n, status := r.Snapshot(); n.Known() || status != Failed {
		t.Errorf("%+v, %d", n, status)
	}
	b.waitARP(5)
	b.until(r, "resolved", func(n Neighbor, status Status) bool { return status == Resolved })
	if n, _ := r.Snapshot(); n.MAC != frame.MAC(b.pair.FarMAC) || n.How != HowARP {
		t.Errorf("%+v", n)
	}
	if all := b.requests(start); len(all) != 5 {
		t.Errorf("%d requests, want 5", len(all))
	}
}

// arpReply is a reply from the far end, made by gopacket and then changed.
func arpReply(t testing.TB, pair *lab.Pair, change func(*layers.Ethernet, *layers.ARP)) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: pair.FarMAC, DstMAC: pair.NearMAC, EthernetType: layers.EthernetTypeARP}
	arp := &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPReply,
		SourceHwAddress: otherMAC.HardwareAddr(), SourceProtAddress: pair.FarIP.AsSlice(),
		DstHwAddress: pair.NearMAC, DstProtAddress: pair.NearIP.AsSlice(),
	}
	change(eth, arp)
	buf := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{}, eth, arp))
	return append(bytes.Clone(buf.Bytes()), make([]byte, 18)...)
}

// forgeries are replies that are none to us.
func forgeries(t testing.TB, pair *lab.Pair) map[string][]byte {
	third := net.IP{198, 51, 100, 77}
	all := map[string][]byte{}
	for name, change := range map[string]func(*layers.Ethernet, *layers.ARP){
		"another sender":     func(_ *layers.Ethernet, a *layers.ARP) { a.SourceProtAddress = third },
		"another target":     func(_ *layers.Ethernet, a *layers.ARP) { a.DstProtAddress = third },
		"another target MAC": func(_ *layers.Ethernet, a *layers.ARP) { a.DstHwAddress = otherMAC.HardwareAddr() },
		"to another host": func(e *layers.Ethernet, a *layers.ARP) {
			e.DstMAC, a.DstHwAddress = net.HardwareAddr(otherMAC[:]), net.HardwareAddr(otherMAC[:])
		},
		"a request": func(_ *layers.Ethernet, a *layers.ARP) { a.Operation = layers.ARPRequest },
		"a gratuitous announcement": func(e *layers.Ethernet, a *layers.ARP) {
			e.DstMAC = net.HardwareAddr(frame.Broadcast[:])
			a.DstProtAddress = a.SourceProtAddress
		},
		"a group's MAC":     func(_ *layers.Ethernet, a *layers.ARP) { a.SourceHwAddress = frame.Broadcast.HardwareAddr() },
		"a multicast MAC":   func(_ *layers.Ethernet, a *layers.ARP) { a.SourceHwAddress = net.HardwareAddr{1, 0, 0x5e, 0, 0, 1} },
		"no MAC":            func(_ *layers.Ethernet, a *layers.ARP) { a.SourceHwAddress = make(net.HardwareAddr, 6) },
		"other hardware":    func(_ *layers.Ethernet, a *layers.ARP) { a.AddrType = 6 },
		"another protocol":  func(_ *layers.Ethernet, a *layers.ARP) { a.Protocol = layers.EthernetTypeIPv6 },
		"another EtherType": func(e *layers.Ethernet, _ *layers.ARP) { e.EthernetType = 0x88b5 },
	} {
		all[name] = arpReply(t, pair, change)
	}
	plain := arpReply(t, pair, func(*layers.Ethernet, *layers.ARP) {})
	all["cut"] = plain[:41]
	all["in a VLAN"] = append(append(bytes.Clone(plain[:12]), 0x81, 0, 0, 5), plain[12:]...)
	all["in two VLANs"] = append(append(bytes.Clone(plain[:12]), 0x88, 0xa8, 0, 5, 0x81, 0, 0, 6), plain[12:]...)
	return all
}

// Nobody but the next hop answers, and nobody but us is answered.
func TestResolveForged(t *testing.T) {
	b := newBench(t, "arp: silent 1")
	start := time.Now()
	r := b.open()
	b.waitARP(1)
	must(t, b.pair.Far.Do(func() error {
		index, err := b.pair.Far.Index("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for name, forged := range forgeries(t, b.pair) {
			if name == "a request" {
				continue // from which the kernel learns: see TestFollowRequest
			}
			if err := unix.Sendto(fd, forged, 0, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
				return err
			}
		}
		return nil
	}))
	// It goes on asking.
	b.waitARP(2)
	if n := b.resolve(r); n.MAC != frame.MAC(b.pair.FarMAC) || n.Took < time.Second {
		t.Errorf("%+v", n)
	}
	b.requests(start)
}

// The last word has user space: the same without the kernel's filter.
func TestAnswer(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	mac := frame.MAC(pair.NearMAC)
	good := arpReply(t, pair, func(*layers.Ethernet, *layers.ARP) {})
	want := reply{pair.FarIP, pair.NearIP, answer{otherMAC, true, true}}
	if r, ok := readReply(capture.Frame{Data: good}, mac, nil); !ok || r != want {
		t.Errorf("a good reply: %+v, %v", r, ok)
	}
	if _, ok := readReply(capture.Frame{Data: good, VLAN: capture.VLAN{Present: true, TCI: 5}}, mac, nil); ok {
		t.Error("taken from a VLAN")
	}
	for name, forged := range forgeries(t, pair) {
		if name == "to another host" {
			copy(forged, pair.NearMAC) // the kernel's to sort out, but for the target MAC
		}
		// Whose it is and whom it is for are the table's to see to.
		if r, ok := readReply(capture.Frame{Data: forged}, mac, nil); ok && r.from == pair.FarIP && r.to == pair.NearIP {
			t.Errorf("%s: taken, %+v", name, r)
		}
	}
	if _, ok := readReply(capture.Frame{}, mac, nil); ok {
		t.Error("an empty frame is taken")
	}
}

// A MAC that is merely stale is used at once, and confirmed by a request to it
// alone.
func TestResolveStale(t *testing.T) {
	b := newBench(t, "")
	b.set(lab.Stale)
	start := time.Now()
	r := b.open()
	n, status := r.Snapshot()
	// The kernel hears the answer too, and has it reachable perhaps already.
	stale := n.State == State(lab.Stale) || n.State == State(lab.Reachable)
	if status != Resolved || n.MAC != frame.MAC(b.pair.FarMAC) || n.How != HowTable || !stale {
		t.Errorf("%+v, %d", n, status)
	}
	if got := b.resolve(r); got.MAC != n.MAC || got.How != n.How || got.Moves != 0 {
		t.Errorf("%+v, want %+v", got, n)
	}
	b.waitARP(1)
	if all := b.requests(start); !bytes.Equal(all[0].DstMAC, b.pair.FarMAC) {
		t.Errorf("asked %v, want %v", all[0].DstMAC, b.pair.FarMAC)
	}
}

// Where another answers the request to a stale MAC, that one is the new MAC.
func TestResolveMoved(t *testing.T) {
	b := newBench(t, "arp: from 02:00:5e:00:53:66")
	b.set(lab.Stale)
	r := b.open()
	b.until(r, "the new MAC", func(n Neighbor, status Status) bool {
		if status != Resolved {
			b.Fatalf("status %d", status)
		}
		return n.MAC == otherMAC
	})
	if n, _ := r.Snapshot(); n.Took != 0 || n.Moves != 1 || n.Was != frame.MAC(b.pair.FarMAC) {
		t.Errorf("%+v", n)
	}
}

// What is reachable is believed until there is doubt, and then everybody is asked.
func TestResolveDoubt(t *testing.T) {
	b := newBench(t, "arp: from 02:00:5e:00:53:66")
	b.set(lab.Reachable)
	start := time.Now()
	r := b.open()
	if n, status := r.Snapshot(); status != Resolved || n.MAC != frame.MAC(b.pair.FarMAC) {
		t.Errorf("%+v, %d", n, status)
	}
	r.Doubt()
	b.until(r, "the new MAC", func(n Neighbor, _ Status) bool { return n.MAC == otherMAC })
	all := b.requests(start)
	if len(all) != 1 || !isBroadcast(all[0]) {
		t.Errorf("%d requests, the first to %v, want one broadcast", len(all), all[0].DstMAC)
	}
}

// Doubt is no way to ask more than once a second.
func TestResolveDoubtful(t *testing.T) {
	b := newBench(t, "arp: silent")
	b.set(lab.Reachable)
	start := time.Now()
	r := b.open()
	r.Doubt()
	for len(b.requests(start)) < 3 {
		r.Doubt()
		r.Snapshot()
		if b.ctx.Err() != nil {
			t.Fatal("nobody asks")
		}
	}
	b.until(r, "failed", func(n Neighbor, status Status) bool { return status == Failed && !n.Known() })
}

// An entry made by hand is nobody's to doubt: nothing is asked.
func TestResolvePermanent(t *testing.T) {
	b := newBench(t, "")
	for _, state := range []lab.NeighborState{lab.Permanent, lab.NoARP} {
		b.set(state)
		r := b.open()
		r.Doubt()
		n, status := r.Snapshot()
		if got := b.resolve(r); got != n || status != Resolved || n.MAC != frame.MAC(b.pair.FarMAC) || n.How != HowTable {
			t.Errorf("%s: %+v, %+v, %d", State(state), n, got, status)
		}
		must(t, r.Close())
	}
	b.nothingAsked()
}

func TestCloseWhileAsking(t *testing.T) {
	b := newBench(t, "arp: silent")
	r := b.open()
	b.waitARP(1)
	resolved := make(chan error)
	go func() {
		_, err := r.Resolve(context.Background()) // nothing else ends it
		resolved <- err
	}()
	for i := range 2 {
		if err := r.Close(); err != nil {
			t.Errorf("Close %d: %v", i+1, err)
		}
	}
	if err := <-resolved; !errors.Is(err, ErrClosed) {
		t.Errorf("Resolve: %v", err)
	}
	// They change nothing any more.
	r.Doubt()
	if n, _ := r.Snapshot(); n.Known() {
		t.Errorf("%+v", n)
	}
}

func TestResolveCancelled(t *testing.T) {
	b := newBench(t, "arp: silent")
	r := b.open()
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	if n, err := r.Resolve(ctx); !errors.Is(err, context.Canceled) || n.Known() {
		t.Errorf("%+v, %v", n, err)
	}
	must(t, b.pair.Near.Do(func() error {
		if d, err := Decide(ctx, b.path); d != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("%+v, %v", d, err)
		}
		return nil
	}))
}

// An interface that is down loses the request; the next one finds it up.
func TestResolveDown(t *testing.T) {
	b := newBench(t, "")
	must(t, b.pair.Near.SetDown("eth0"))
	r := b.open()
	must(t, b.pair.SetUp())
	b.until(r, "resolved", func(n Neighbor, status Status) bool { return status == Resolved })
}

func TestConcurrent(t *testing.T) {
	b := newBench(t, "arp: delay 1ms")
	b.set(lab.Stale)
	r := b.open()
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			for range 200 {
				switch i % 3 {
				case 0:
					r.Doubt()
				case 1:
					r.Snapshot()
				default:
					_, _ = r.Resolve(b.ctx)
				}
			}
		})
	}
	b.waitARP(1)
	must(t, r.Close())
	wg.Wait()
}

// What the kernel knows is not asked for.
func TestDecideKnown(t *testing.T) {
	b := newBench(t, "")
	for _, state := range []lab.NeighborState{lab.Reachable, lab.Stale, lab.Permanent} {
		b.set(state)
		must(t, b.pair.Near.Do(func() error {
			d, err := Decide(b.ctx, b.path)
			if err != nil {
				return err
			}
			if d.Path != b.path || d.Neighbor.MAC != frame.MAC(b.pair.FarMAC) || d.Neighbor.How != HowTable || d.Neighbor.State != State(state) {
				t.Errorf("%+v", d)
			}
			return nil
		}))
	}
	b.nothingAsked()
}

// nothingAsked sends a request of another kind, after which nothing of before is
// still under way, and finds nothing else at the peer.
func (b *bench) nothingAsked() {
	b.Helper()
	t := b.T
	echo := frame.Echo{SrcMAC: b.path.Interface.MAC, DstMAC: frame.MAC(b.pair.FarMAC), Src: b.pair.NearIP, Dst: b.pair.FarIP, TTL: 1}
	template, err := echo.Template()
	must(t, err)
	must(t, b.pair.Near.Do(func() error {
		l, err := l2.OpenLink(b.path.Interface, nil)
		if err != nil {
			return err
		}
		return errors.Join(l.Send(template.Patch(1), 0), l.Close())
	}))
	must(t, b.peer.Wait(b.ctx, 1))
	if all := b.peer.Requests(); len(all) != 1 {
		t.Errorf("%d requests, the first %+v", len(all), all[0])
	}
}

func TestDecideNobody(t *testing.T) {
	b := newBench(t, "arp: silent")
	must(t, b.pair.Near.Do(func() error {
		d, err := Decide(b.ctx, b.path)
		if err != nil || d.Neighbor.Known() || d.Neighbor.Addr != b.pair.FarIP {
			t.Errorf("%+v, %v", d, err)
		}
		return nil
	}))
}
