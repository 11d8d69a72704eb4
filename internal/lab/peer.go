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
	"golang.org/x/sys/unix"
)

// Peer is a host that exists only as a packet socket: it answers ARP requests
// and ICMP echo requests on one interface as its Script says. It sends on
// that interface and on no other. It is safe for concurrent use.
//
// The interface belongs to it alone if the kernel there keeps silent, as at
// the far end of a silent Pair; else both answer.
type Peer struct {
	script Script
	addrs  []netip.Addr
	mac    net.HardwareAddr // of the interface, when the peer started
	file   *os.File         // the packet socket

	wg sync.WaitGroup // the receiver, and the timers that have not run

	ipID uint16 // of the next packet; the receiver's own

	// sending orders what is sent. It is locked before mu.
	sending sync.Mutex
	held    []batch

	mu       sync.Mutex
	requests []Request
	counts   map[Kind]int
	firstARP time.Time
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
	p := &Peer{
		script: script, addrs: script.Addrs(),
		counts: map[Kind]int{}, changed: make(chan struct{}), timers: map[*time.Timer]struct{}{},
		ipID: 1,
	}
	index, err := n.Index(ifname)
	if err == nil {
		p.mac, err = n.MAC(ifname)
	}
	if err == nil {
		err = n.Do(func() error { return p.open(index) })
	}
	if err != nil {
		return nil, fmt.Errorf("start peer on %s: %w", ifname, err)
	}
	p.wg.Add(1)
	go p.receive()
	return p, nil
}

// open opens the socket in the namespace of the calling thread.
func (p *Peer) open(index int) error {
	// Protocol 0 hears nothing until bind (packet(7)), so nothing arrives
	// before the options are set.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
	)
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("set packet socket option: %w", err)
	}
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}); err != nil {
		unix.Close(fd)
		return fmt.Errorf("bind packet socket: %w", err)
	}
	p.file = os.NewFile(uintptr(fd), "packet socket")
	return nil
}

// Requests is what the peer has seen so far, in order of arrival.
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
	err := p.file.Close()
	p.wg.Wait()
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
			n, oobn, _, _, errno = unix.Recvmsg(int(fd), frame, oob, 0)
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
		if r := decode(frame[:n], outer, p.addrs); r != nil {
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

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// serve records a request and answers it as the script says.
func (p *Peer) serve(r *Request) error {
	p.mu.Lock()
	mine := slices.ContainsFunc([]net.HardwareAddr{p.mac, p.script.arp.from, broadcast}, func(mac net.HardwareAddr) bool {
		return bytes.Equal(mac, r.DstMAC)
	})
	if mine && r.Fault == "" {
		p.counts[r.Kind]++
		r.N = p.counts[r.Kind]
		if r.Kind == KindARP && r.N == 1 {
			p.firstARP = r.Time
		}
	}
	p.requests = append(p.requests, *r)
	p.wake()
	firstARP := p.firstARP
	p.mu.Unlock()
	switch {
	case r.N == 0:
		return nil
	case r.Kind == KindARP:
		return p.serveARP(r, firstARP)
	default:
		return p.serveEcho(r)
	}
}

func (p *Peer) serveARP(r *Request, first time.Time) error {
	arp := p.script.arp
	if r.N <= arp.silent || r.Time.Sub(first) < arp.silentFor {
		return nil
	}
	mac := p.mac
	if arp.from != nil {
		mac = arp.from
	}
	frame, err := r.arpReply(mac)
	if err != nil {
		return fmt.Errorf("build ARP reply: %w", err)
	}
	// An ARP reply is no echo reply: it does not release what is held.
	return p.later(arp.delay, func() error {
		p.sending.Lock()
		defer p.sending.Unlock()
		return p.write(frame)
	})
}

func (p *Peer) serveEcho(r *Request) error {
	var a action
	for _, rule := range p.script.rules {
		if rule.selects(r.N, r.Seq) {
			a = rule.action
			break
		}
	}
	if a.lose {
		return nil
	}
	mac := p.mac
	if p.script.arp.from != nil && bytes.Equal(r.DstMAC, p.script.arp.from) {
		mac = p.script.arp.from
	}
	frames, err := r.answer(&a, mac, p.ipID)
	if err != nil {
		return fmt.Errorf("build answer: %w", err)
	}
	p.ipID += uint16(len(frames))
	b := batch{frames: frames, copies: a.copies, gap: a.gap, hold: a.hold}
	return p.later(a.delay, func() error { return p.send(b) })
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
	for _, lost := range []error{unix.ENETDOWN, unix.ENXIO, unix.ENODEV, os.ErrClosed} {
		if errors.Is(err, lost) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}
