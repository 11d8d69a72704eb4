//go:build linux

package arp

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/sock"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// ResponderConfig configures OpenResponder.
type ResponderConfig struct {
	// Source is the address to answer for, IPv4 or IPv6. Required.
	Source netip.Addr
	// VLANs are the tags of the requests that are answered, as in TableConfig.
	// Answers bear the tags of the request, its priority too.
	VLANs []frame.VLAN
	// MAC is who has the address; the zero MAC is the host's own, as in
	// TableConfig.
	MAC frame.MAC
}

// A Responder answers ARP requests and neighbor solicitations for an address
// that is not the host's, on one interface: without it replies to probes from
// such an address end as soon as a peer asks for its MAC anew.
//
// It answers whoever asks for as long as it is open, those too that only look
// whether the address is taken (RFC 5227, section 2.1.1; RFC 4862, section 5.4).
// It does not look itself whether another host has the address, and defends it
// against none: find that out before. For an address that the host has, the
// kernel answers too.
type Responder struct {
	addr    netip.Addr
	foreign frame.MAC // ResponderConfig.MAC
	mac     frame.MAC
	ids     []uint16
	socks   *pair
	loop    *sock.Loop
	wg      sync.WaitGroup
	frames  []capture.Frame
	rebinds rebinder

	answered atomic.Uint64
	done     chan struct{} // closed by Close
	close    sync.Once
	err      error
}

// OpenResponder opens a Responder on an interface with Ethernet. It needs
// CAP_NET_RAW. The calling thread's network namespace must be the interface's.
func OpenResponder(ifc *l2.Interface, cfg ResponderConfig) (*Responder, error) {
	r := &Responder{
		addr:    cfg.Source.WithZone(""),
		foreign: cfg.MAC,
		done:    make(chan struct{}),
		mac:     ownMAC(ifc, cfg.MAC),
		ids:     idsOf(cfg.VLANs),
		frames:  make([]capture.Frame, capture.MinFrames),
	}
	err := errors.Join(r.check(ifc), checkLink(ifc, cfg.VLANs, r.mac))
	if err != nil {
		return nil, fmt.Errorf("answer for %s on %s: %w", cfg.Source, ifc.Name, err)
	}
	if err := r.open(ifc); err != nil {
		return nil, errors.Join(err, r.release())
	}
	r.wg.Go(func() { _ = r.loop.Run(r.step) })
	return r, nil
}

func (r *Responder) check(ifc *l2.Interface) error {
	switch {
	case !r.addr.IsValid(), r.addr.Is4In6():
		return errors.New("neither IPv4 nor IPv6")
	case r.addr.IsUnspecified(), r.addr.IsMulticast(), r.addr == limitedBroadcast:
		return errors.New("not a host's address")
	case ifc.NoLink, ifc.Loopback:
		return errors.New("nobody asks there")
	}
	return nil
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func (r *Responder) open(ifc *l2.Interface) error {
	var groups []frame.MAC
	if r.addr.Is6() {
		// Solicitations go to the group of all addresses with the same end,
		// which the interface hears for its own addresses alone.
		groups = append(groups, frame.MulticastMAC(frame.SolicitedNode(r.addr)))
	}
	var err error
	r.socks, err = openPair(ifc, bpf.Match{Kind: bpf.NeighborRequest, Local: r.addr}, r.ids,
		r.mac, !r.foreign.IsZero(), groups...)
	if err != nil {
		return err
	}
	r.loop, err = sock.NewLoop(r.socks.in.FD())
	return err
}

// Answered returns how many requests were answered.
func (r *Responder) Answered() uint64 { return r.answered.Load() }

func (r *Responder) step() (wait time.Duration, done bool) {
	select {
	case <-r.done:
		return 0, true
	default:
	}
	r.rebinds.carryOut(r.move)
	// An interface that went down says so once, here; it is heard again when
	// it comes back.
	n, _ := r.socks.in.Receive(r.frames)
	for _, f := range r.frames[:n] {
		b, ok := r.reply(f)
		// An answer that cannot leave is one more that is lost: they ask again.
		if ok && r.socks.out.Send(b, 0) == nil {
			r.answered.Add(1)
		}
	}
	if n == len(r.frames) {
		return 0, false
	}
	return math.MaxInt64, false
}

// reply builds the frame that answers a request; ok is false for what is none
// for the address. User space has the last word on what the filter let through.
func (r *Responder) reply(f capture.Frame) (b []byte, ok bool) {
	var e frame.Ethernet
	if e.Decode(f.Data) != nil || !bearsTags(f, &e, r.ids) || !isHost(e.Src) {
		return nil, false
	}
	var err error
	switch header := (frame.Header{Src: r.mac, VLANs: tagsOf(f, &e)}); e.Type {
	case frame.EtherTypeARP:
		b, err = r.replyARP(header, e.Payload)
	case frame.EtherTypeIPv6:
		header.Dst = e.Src
		b, err = r.replyNDP(header, e.Payload)
	default:
		return nil, false
	}
	return b, err == nil
}

var errNotForUs = errors.New("not a request for the address")

// replyARP answers an ARP request (RFC 826).
func (r *Responder) replyARP(header frame.Header, packet []byte) ([]byte, error) {
	var a frame.ARP
	if err := a.Decode(packet); err != nil {
		return nil, err
	}
	// One from the address itself is no question but an announcement (RFC 5227,
	// section 3).
	if a.Operation != frame.ARPRequest || a.TargetIP != r.addr || a.SenderIP == r.addr || !isHost(a.SenderMAC) {
		return nil, errNotForUs
	}
	header.Dst = a.SenderMAC
	reply := frame.ARP{
		Operation: frame.ARPReply,
		SenderMAC: r.mac, SenderIP: r.addr,
		TargetMAC: a.SenderMAC, TargetIP: a.SenderIP,
	}
	return reply.MarshalBehind(header)
}

// replyNDP answers a neighbor solicitation (RFC 4861, section 7.2.4).
func (r *Responder) replyNDP(header frame.Header, packet []byte) ([]byte, error) {
	var ask frame.NDP
	if err := ask.Decode(packet); err != nil {
		return nil, err
	}
	if ask.Type != frame.ICMPv6NeighborSolicitation || ask.Target != r.addr || ask.Src == r.addr || ask.MAC.IsGroup() {
		return nil, errNotForUs
	}
	reply := frame.NDP{
		Type: frame.ICMPv6NeighborAdvertisement,
		Src:  r.addr, Dst: ask.Src, Target: r.addr,
		Solicited: true, Override: true, MAC: r.mac,
	}
	switch {
	case ask.Src.IsUnspecified():
		// Who asks has no address to be answered at.
		reply.Dst, reply.Solicited = allNodes, false
		header.Dst = frame.MulticastMAC(allNodes)
	case !ask.MAC.IsZero():
		header.Dst = ask.MAC
	}
	return reply.Marshal(header)
}

// tagsOf are the tags of a frame, outer first, but for those that state a
// priority alone: Linux answers such a frame without it.
func tagsOf(f capture.Frame, e *frame.Ethernet) []frame.VLAN {
	var tags []frame.VLAN
	if f.VLAN.Present {
		tags = append(tags, frame.VLAN{Type: f.VLAN.Type, TCI: f.VLAN.TCI})
	}
	tags = append(tags, e.VLANs[:e.Tags]...)
	return slices.DeleteFunc(tags, func(v frame.VLAN) bool { return v.ID() == 0 })
}

// Rebind goes on with an interface that was deleted and made anew, or has got
// another MAC. It needs no capability. It fails as Table.Rebind does.
func (r *Responder) Rebind(ifc *l2.Interface) error {
	return r.rebinds.ask(ifc, r.loop, r.done)
}

// move is Rebind, in the loop.
func (r *Responder) move(ifc *l2.Interface) error {
	if err := r.check(ifc); err != nil {
		return fmt.Errorf("answer for %s on %s: %w", r.addr, ifc.Name, l2.ErrOtherLinkLayer)
	}
	mac := ownMAC(ifc, r.foreign)
	if err := r.socks.rebind(ifc, mac); err != nil {
		return err
	}
	r.mac = mac
	return nil
}

// Close stops answering and closes the sockets.
func (r *Responder) Close() error {
	r.close.Do(func() {
		close(r.done)
		r.loop.Wake()
		r.wg.Wait()
		r.err = r.release()
	})
	return r.err
}

// release closes what open has opened.
func (r *Responder) release() error {
	var open []io.Closer
	if r.loop != nil {
		open = append(open, r.loop)
	}
	if r.socks != nil {
		open = append(open, r.socks)
	}
	return sock.CloseAll(open...)
}
