package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Peer is a host, or many, that exists only as a packet socket or as the other
// end of a tun: it answers ARP requests, neighbor solicitations and ICMP echo
// requests of both families on one interface as its Script says. It sends on
// that interface and on no other. It is safe for concurrent use.
//
// The interface belongs to it alone if the kernel there keeps silent, as at
// the far end of a silent Pair; else both answer.
type Peer struct {
	mac  net.HardwareAddr // of the interface, when the peer started; nil on a tun
	mtu  int              // of the interface, when the peer started
	file *os.File         // the packet socket, or the tun
	tun  bool             // file is a tun, and its owner's

	wg sync.WaitGroup // the receiver, and the timers that have not run

	decoder decoder // the receiver's own
	ipID    uint16  // of the next packet; the receiver's own

	// sending orders what is sent. It is locked before mu.
	sending sync.Mutex
	held    []batch

	mu       sync.Mutex
	script   *Script
	requests []Request
	counts   map[Kind]int
	first    map[Kind]time.Time
	changed  chan struct{} // closed and replaced when counts change or the peer ends
	timers   map[*time.Timer]struct{}
	ended    bool
	fault    error // the first one
}

// batch is what is sent together.
type batch struct {
	frames [][]byte
	copies int
	gap    time.Duration
	hold   bool
}

// StartPeer starts a peer on an interface of n. It hears every frame that
// arrives once StartPeer has returned. Close must be called.
func StartPeer(n *Namespace, ifname string, script Script) (*Peer, error) {
	p := newPeer(script)
	err := n.onLink(ifname, "start peer on", func(_ *netlink.Handle, l netlink.Link) (err error) {
		p.mac, p.mtu = l.Attrs().HardwareAddr, l.Attrs().MTU
		p.file, err = n.openPacket(l.Attrs().Index, SocketOption{unix.SOL_PACKET, unix.PACKET_AUXDATA, 1})
		return err
	})
	if err != nil {
		return nil, err
	}
	p.wg.Add(1)
	go p.receive()
	return p, nil
}

// StartTunPeer starts a peer at the program's end of a tun: it is all that the
// interface leads to. Nobody else may read the Tun until the peer is closed,
// which leaves the Tun open.
func StartTunPeer(t *Tun, script Script) (*Peer, error) {
	link, err := t.ns.link(t.ifname)
	if err != nil {
		return nil, fmt.Errorf("start peer on %s: %w", t.ifname, err)
	}
	p := newPeer(script)
	p.mtu, p.file, p.tun, p.decoder.noLink = link.Attrs().MTU, t.file, true, true
	p.wg.Add(1)
	go p.receive()
	return p, nil
}

func newPeer(script Script) *Peer {
	return &Peer{
		script: &script, ipID: 1,
		counts: map[Kind]int{}, first: map[Kind]time.Time{},
		changed: make(chan struct{}), timers: map[*time.Timer]struct{}{},
	}
}

// SetScript has the peer do as another script says, from the next request on.
// Counts go on; what is delayed or held is still sent.
func (p *Peer) SetScript(script Script) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.script = &script
}

// Announce tells all on the link, unasked, that an address is at mac, as a
// gateway does that takes it over: by an ARP announcement (RFC 5227, 1.1), or an
// unsolicited neighbor advertisement with the override flag (RFC 4861, 7.2.6).
func (p *Peer) Announce(ip netip.Addr, mac net.HardwareAddr) error {
	var frame []byte
	var packet []byte
	var err error
	if ip.Is4() {
		if packet, err = arpReply(mac, make(net.HardwareAddr, 6), ip, ip, layers.ARPRequest); err == nil {
			frame, err = ethernet(mac, broadcast, nil, layers.EthernetTypeARP, packet, 0)
		}
	} else {
		if packet, err = advertisement(mac, ip, allNodes, naOverride, 255); err == nil {
			frame, err = ethernet(mac, groupMAC(allNodes), nil, layers.EthernetTypeIPv6, packet, 0)
		}
	}
	if err != nil {
		return fmt.Errorf("announce %v: %w", ip, err)
	}
	return p.Inject(frame)
}

// Inject sends a frame, from the Ethernet header on (on a tun, the IP header),
// that answers nothing. An interface that is down loses it.
func (p *Peer) Inject(frame []byte) error {
	p.sending.Lock()
	defer p.sending.Unlock()
	return p.write(frame)
}

// Requests is what the peer has seen so far, in order of arrival, or what the
// script lets it keep of that.
func (p *Peer) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

// Wait waits until n echo requests have arrived, each of them one that a host
// would answer (Request.N).
func (p *Peer) Wait(ctx context.Context, n int) error { return p.wait(ctx, KindEcho, n) }

// WaitARP waits until n ARP requests have arrived.
func (p *Peer) WaitARP(ctx context.Context, n int) error { return p.wait(ctx, KindARP, n) }

// WaitNDP waits until n neighbor solicitations have arrived.
func (p *Peer) WaitNDP(ctx context.Context, n int) error { return p.wait(ctx, KindNDP, n) }

func (p *Peer) wait(ctx context.Context, kind Kind, n int) error {
	for {
		p.mu.Lock()
		have, changed, ended, fault := p.counts[kind], p.changed, p.ended, p.fault
		p.mu.Unlock()
		if have >= n {
			return nil
		}
		if ended {
			return fmt.Errorf("wait for %d %s requests: the peer has ended after %d: %w", n, kind, have, errors.Join(os.ErrClosed, fault))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for %d %s requests: %d came: %w", n, kind, have, context.Cause(ctx))
		}
	}
}

// Close ends the peer and waits until it has. Replies that are still delayed
// or held are never sent. It returns the first thing that went wrong while
// the peer ran; that the interface was down is nothing wrong.
func (p *Peer) Close() error {
	p.mu.Lock()
	for t := range p.timers {
		if t.Stop() {
			p.wg.Done()
		}
	}
	clear(p.timers)
	p.end(nil)
	p.mu.Unlock()
	err := p.stop()
	p.wg.Wait()
	if p.tun {
		err = errors.Join(err, p.file.SetReadDeadline(time.Time{}))
	}
	if errors.Is(err, os.ErrClosed) {
		err = nil // closed before
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := errors.Join(p.fault, err); err != nil {
		return fmt.Errorf("scripted peer: %w", err)
	}
	return nil
}

// stop ends the receiver.
func (p *Peer) stop() error {
	if p.tun {
		return p.file.SetReadDeadline(time.Unix(1, 0))
	}
	return p.file.Close()
}

// end marks the peer as ended, by a fault if there was one. mu is held.
func (p *Peer) end(fault error) {
	if p.fault == nil {
		p.fault = fault
	}
	p.ended = true
	p.wake()
}

// wake wakes all that wait. mu is held.
func (p *Peer) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// receive runs until the socket is closed.
func (p *Peer) receive() {
	defer p.wg.Done()
	conn, err := p.file.SyscallConn()
	if err != nil {
		p.failed(err)
		return
	}
	var (
		frame = make([]byte, math.MaxUint16)
		oob   = make([]byte, 256)
	)
	for {
		var n, oobn int
		var errno error
		err := conn.Read(func(fd uintptr) bool {
			if p.tun {
				n, errno = unix.Read(int(fd), frame)
			} else {
				n, oobn, _, _, errno = unix.Recvmsg(int(fd), frame, oob, 0)
			}
			return errno != unix.EAGAIN && errno != unix.EINTR
		})
		switch {
		case err != nil:
			p.failed(fmt.Errorf("receive: %w", err)) // which Close provokes
			return
		case errors.Is(errno, unix.ENETDOWN):
			// Told once when the interface goes down; the socket hears
			// again when it is back up (packet_notifier).
			continue
		case errno != nil:
			p.failed(fmt.Errorf("receive: %w", errno))
			return
		}
		outer, err := auxTag(oob[:oobn])
		if err != nil {
			p.failed(err)
			return
		}
		if r := p.decoder.decode(frame[:n], outer); r != nil {
			if err := p.serve(r); err != nil {
				p.failed(err)
				return
			}
		}
	}
}

// failed ends the peer by a fault; once it has ended, nothing is one.
func (p *Peer) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.end(err)
	}
}

// auxTag is the VLAN tag that the kernel took off a frame, or nil.
func auxTag(oob []byte) (*tag, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("control message: %w", err)
	}
	for _, m := range messages {
		// struct tpacket_auxdata: status, len, snaplen (32 bits each), mac,
		// net, vlan_tci, vlan_tpid (16 bits each).
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA || len(m.Data) < 20 {
			continue
		}
		status := binary.NativeEndian.Uint32(m.Data)
		if status&unix.TP_STATUS_VLAN_VALID == 0 {
			continue
		}
		tci := binary.NativeEndian.Uint16(m.Data[16:])
		t := &tag{tpid: layers.EthernetTypeDot1Q, vid: tci & 0xfff, pcp: uint8(tci >> 13)}
		if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			t.tpid = layers.EthernetType(binary.NativeEndian.Uint16(m.Data[18:]))
		}
		return t, nil
	}
	return nil, nil
}

// serve records a request and answers it as the script says.
func (p *Peer) serve(r *Request) error {
	p.mu.Lock()
	s := p.script
	host, ok := s.host(r.DstIP)
	if !ok && !r.toGroup() {
		p.mu.Unlock()
		return nil
	}
	if p.isOurs(s, host, r) && r.Fault == "" {
		p.counts[r.Kind]++
		r.N = p.counts[r.Kind]
		if r.N == 1 {
			p.first[r.Kind] = r.Time
		}
	}
	if s.keep == nil || len(p.requests) < *s.keep {
		p.requests = append(p.requests, *r)
	}
	p.wake()
	first := p.first[r.Kind]
	p.mu.Unlock()
	switch {
	case r.N == 0:
		return nil
	case r.Kind == KindEcho:
		return p.serveEcho(s, r)
	default:
		return p.serveNeighbor(s, host, r, first)
	}
}

// isOurs says whether a frame was sent to a MAC of the peer's, or a group's, and
// in the peer's VLAN.
func (p *Peer) isOurs(s *Script, h host, r *Request) bool {
	if s.vlans != nil && !slices.EqualFunc(s.vlans, r.VLANs, func(t tag, vid uint16) bool { return t.vid == vid }) {
		return false
	}
	switch {
	case r.noLink, len(r.DstMAC) > 0 && r.DstMAC[0]&1 != 0:
		return true
	case h.ownMAC:
		return bytes.Equal(r.DstMAC, macOf(r.DstIP))
	}
	return bytes.Equal(r.DstMAC, p.mac) || s.arp.speaks(r.DstMAC) || s.ndp.speaks(r.DstMAC)
}

// macOf is the MAC that one of the peer's addresses has.
func (p *Peer) macOf(h host, a netip.Addr) net.HardwareAddr {
	if h.ownMAC {
		return macOf(a)
	}
	return p.mac
}

func (p *Peer) serveNeighbor(s *Script, h host, r *Request, first time.Time) error {
	how := &s.arp
	if r.Kind == KindNDP {
		how = &s.ndp
	}
	if r.N <= how.silent || r.Time.Sub(first) < how.silentFor {
		return nil
	}
	mac := p.macOf(h, r.DstIP)
	if how.from != nil {
		mac = how.from
	}
	var frames [][]byte
	for _, mac := range append([]net.HardwareAddr{mac}, how.also...) {
		frame, err := r.neighborAnswer(how, mac)
		if err != nil {
			return fmt.Errorf("build answer: %w", err)
		}
		frames = append(frames, frame)
	}
	// This is no echo reply: it does not release what is held.
	return p.later(how.delay, func() error {
		p.sending.Lock()
		defer p.sending.Unlock()
		for _, frame := range frames {
			if err := p.write(frame); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *Peer) serveEcho(s *Script, r *Request) error {
	var a action
	for _, rule := range s.rules {
		if rule.selects(r) {
			a = rule.action
			break
		}
	}
	if a.lose {
		return nil
	}
	b := batch{copies: a.copies, gap: a.gap, hold: a.hold}
	for _, who := range p.answerers(s, r) {
		who.mtu, who.ipID = p.mtu, p.ipID
		frames, packets, err := r.answer(&a, who)
		if err != nil {
			return fmt.Errorf("build answer: %w", err)
		}
		p.ipID += uint16(packets)
		b.frames = append(b.frames, frames...)
	}
	return p.later(a.delay, func() error { return p.send(b) })
}

// answerers are those who answer an echo request: the host that it is for, or
// each if it is for many.
func (p *Peer) answerers(s *Script, r *Request) (list []answerer) {
	if h, ok := s.host(r.DstIP); ok {
		who := answerer{ip: r.DstIP, mac: p.macOf(h, r.DstIP)}
		if !h.ownMAC && (s.arp.speaks(r.DstMAC) || s.ndp.speaks(r.DstMAC)) {
			who.mac = r.DstMAC
		}
		return append(list, who)
	}
	for _, h := range s.all() {
		ip := h.prefix.Addr()
		local := ip.Is6() && ip.IsLinkLocalUnicast() == r.SrcIP.IsLinkLocalUnicast()
		if h.prefix.IsSingleIP() && ip.Is4() == r.SrcIP.Is4() && (ip.Is4() || local) {
			list = append(list, answerer{ip: ip, mac: p.macOf(h, ip)})
		}
	}
	return list
}

// later runs f after a delay, and at once if that is 0. An error of f that
// ran later ends the peer.
func (p *Peer) later(d time.Duration, f func() error) error {
	if d == 0 {
		return f()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil
	}
	p.wg.Add(1)
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		defer p.wg.Done()
		p.mu.Lock() // also waits until t is set
		delete(p.timers, t)
		p.mu.Unlock()
		if err := f(); err != nil {
			p.failed(err)
		}
	})
	p.timers[t] = struct{}{}
	return nil
}

// send sends a batch and then what was held for it, or holds it.
func (p *Peer) send(b batch) error {
	p.sending.Lock()
	defer p.sending.Unlock()
	if b.hold {
		b.hold = false
		p.held = append(p.held, b)
		return nil
	}
	all := append([]batch{b}, p.held...)
	p.held = nil
	for _, b := range all {
		if err := p.sendNow(b); err != nil {
			return err
		}
	}
	return nil
}

// sendNow sends a batch and its copies. sending is held.
func (p *Peer) sendNow(b batch) error {
	for i := range b.copies + 1 {
		err := p.later(time.Duration(i)*b.gap, func() error {
			if i > 0 && b.gap > 0 { // on a timer of its own
				p.sending.Lock()
				defer p.sending.Unlock()
			}
			for _, frame := range b.frames {
				if err := p.write(frame); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// write sends one frame. A frame that meets an interface that is down or gone
// is lost, as on any wire. sending is held.
func (p *Peer) write(frame []byte) error {
	_, err := p.file.Write(frame)
	for _, lost := range []error{unix.ENETDOWN, unix.ENXIO, unix.ENODEV, unix.EIO, os.ErrClosed} { // EIO: a tun
		if errors.Is(err, lost) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}
