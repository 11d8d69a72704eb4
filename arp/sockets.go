//go:build linux

package arp

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/sock"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// receiveBuffer is the room for messages that wait to be read, in bytes.
const receiveBuffer = 1 << 20

// A pair is what neighbor messages come in and go out by. Between open and close
// one goroutine owns it.
type pair struct {
	match  bpf.Match
	groups []frame.MAC
	filter *bpf.Filter
	in     *capture.Socket
	out    *l2.Link
}

// openPair opens packet sockets for what m describes, of the given VLANs and for
// the host with a MAC, which is foreign if it is not the interface's by itself.
// What is sent to the groups is heard too.
func openPair(ifc *l2.Interface, m bpf.Match, vlans []uint16, mac frame.MAC, foreign bool, groups ...frame.MAC) (*pair, error) {
	m.MAC, m.VLANCount = mac, len(vlans)
	copy(m.VLANs[:], vlans)
	p := &pair{match: m, groups: groups}
	if err := p.open(ifc, foreign); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *pair) open(ifc *l2.Interface, foreign bool) error {
	// These messages are rare and tiny: the classic filter, which anybody may
	// attach, does all that is needed.
	var err error
	if p.filter, err = bpf.NewFilter(p.match, bpf.Classic); err != nil {
		return err
	}
	cfg := capture.SocketConfig{Filter: p.filter, BufferBytes: receiveBuffer}
	if foreign {
		cfg.MAC = p.match.MAC
	}
	if p.in, err = capture.OpenSocket(ifc, cfg); err != nil {
		return err
	}
	if p.out, err = l2.OpenLink(ifc, &l2.LinkConfig{NoStamps: true}); err != nil {
		return err
	}
	return p.join(ifc)
}

// join has the groups heard, until the pair is closed or the interface is gone
// (packet(7), PACKET_MR_MULTICAST).
func (p *pair) join(ifc *l2.Interface) error {
	for _, mac := range p.groups {
		m := unix.PacketMreq{Ifindex: int32(ifc.Index), Type: unix.PACKET_MR_MULTICAST, Alen: uint16(len(mac))}
		copy(m.Address[:], mac[:])
		if err := unix.SetsockoptPacketMreq(p.in.FD(), unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
			return fmt.Errorf("join %s on %s: %w", mac, ifc.Name, os.NewSyscallError("setsockopt", err))
		}
	}
	return nil
}

// rebind binds the sockets to an interface that was made anew, for a host whose
// MAC is perhaps another one now. It needs no capability.
func (p *pair) rebind(ifc *l2.Interface, mac frame.MAC) error {
	if mac != p.match.MAC {
		m := p.match
		m.MAC = mac
		filter, err := bpf.NewFilter(m, bpf.Classic)
		if err != nil {
			return err
		}
		if err := p.in.SetFilter(filter); err != nil {
			return errors.Join(err, filter.Close())
		}
		_ = p.filter.Close() // it holds nothing
		p.match, p.filter = m, filter
	}
	if err := errors.Join(p.in.Rebind(ifc), p.out.Rebind(ifc)); err != nil {
		return err
	}
	return p.join(ifc)
}

// A rebinder has a loop, which owns the sockets, bind them to an interface that
// was made anew.
type rebinder struct {
	mu      sync.Mutex // one at a time
	waiting atomic.Pointer[rebind]
}

type rebind struct {
	ifc  *l2.Interface
	done chan error // has room for one
}

// ask waits until the loop has carried it out. closed is closed with the loop.
func (b *rebinder) ask(ifc *l2.Interface, loop *sock.Loop, closed <-chan struct{}) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-closed:
		return ErrClosed
	default:
	}
	r := &rebind{ifc: ifc, done: make(chan error, 1)}
	b.waiting.Store(r)
	loop.Wake()
	select {
	case err := <-r.done:
		return err
	case <-closed:
		return ErrClosed
	}
}

// carryOut is called in each turn of the loop.
func (b *rebinder) carryOut(f func(*l2.Interface) error) {
	if b.waiting.Load() == nil {
		return
	}
	if r := b.waiting.Swap(nil); r != nil {
		r.done <- f(r.ifc)
	}
}

// Close closes what open has opened.
func (p *pair) Close() error {
	var open []io.Closer
	if p.in != nil {
		open = append(open, p.in)
	}
	if p.out != nil {
		open = append(open, p.out)
	}
	err := sock.CloseAll(open...)
	if p.filter != nil {
		err = errors.Join(err, p.filter.Close())
	}
	return err
}

// ownMAC is the MAC to speak with on an interface: the one that was asked for,
// else the host's own, which on the port of a bridge or a bond is the master's.
func ownMAC(ifc *l2.Interface, foreign frame.MAC) frame.MAC {
	if foreign.IsZero() {
		return ifc.Owner().MAC
	}
	return foreign
}

// idsOf are the ids of tags, without those that state a priority alone.
func idsOf(vlans []frame.VLAN) []uint16 {
	var ids []uint16
	for _, v := range vlans {
		if id := v.ID(); id != 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

var errNoHeader = errors.New("the link has no Ethernet header")

// checkLink says what is wrong with tags and a source MAC on an interface.
func checkLink(ifc *l2.Interface, vlans []frame.VLAN, mac frame.MAC) error {
	switch {
	case ifc.NoLink && len(vlans) > 0:
		return fmt.Errorf("VLAN tags: %w", errNoHeader)
	case len(vlans) > frame.MaxVLANs:
		return fmt.Errorf("%d VLAN tags: at most %d", len(vlans), frame.MaxVLANs)
	case mac.IsGroup():
		return fmt.Errorf("source MAC %s: a group's", mac)
	}
	return nil
}
