//go:build linux

package l2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A Watch follows one interface, and whatever the paths by it depend on.
//
// It knows the interface by its index, and so under any name. Once that is gone
// the Watch goes on with the next one of the name that the interface had then.
type Watch struct {
	state      atomic.Pointer[watched]
	generation atomic.Uint64
	changes    chan struct{}

	// What follow alone uses: the interface, and the masters that it has or
	// had.
	index   int32
	name    string
	remade  uint64
	masters map[int32]bool
	// lost says that messages were: from then on one that waited may be older
	// than what was looked at, and is a reason to look again.
	lost bool

	socket *nl.NetlinkSocket
	h      *netlink.Handle
	wg     sync.WaitGroup
}

// watched is what a Watch tells of the interface, at one time.
type watched struct {
	index  int // 0: there is none
	remade uint64
	err    error
}

// watchGroups are what a Watch is told of.
var watchGroups = []uint{
	unix.RTNLGRP_LINK,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
	unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
	unix.RTNLGRP_NEXTHOP,
}

// Watch subscribes to the changes of the interface, of addresses, routes and
// rules (rtnetlink(7)) until Close. It needs no capability. The calling thread's
// network namespace must be the interface's.
func (i *Interface) Watch() (*Watch, error) {
	w := newWatch(i)
	if err := w.open(); err != nil {
		return nil, fmt.Errorf("watch %s: %w", i.Name, err)
	}
	w.wg.Go(w.follow)
	return w, nil
}

func newWatch(i *Interface) *Watch {
	w := &Watch{index: int32(i.Index), name: i.Name, masters: map[int32]bool{}, changes: make(chan struct{}, 1)}
	for m := i.Master; m != nil; m = m.Master {
		w.masters[int32(m.Index)] = true
	}
	return w
}

func (w *Watch) open() error {
	var err error
	if w.socket, err = nl.Subscribe(unix.NETLINK_ROUTE, watchGroups...); err != nil {
		return err
	}
	// The socket belongs to this namespace, whichever thread uses it later.
	if w.h, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		w.socket.Close()
		return fmt.Errorf("open netlink: %w", err)
	}
	// Subscribed before the state is read, so that no change is missed.
	if err := w.look(); err != nil {
		w.socket.Close()
		w.h.Close()
		return err
	}
	return nil
}

// look reads the present state.
func (w *Watch) look() error {
	link, err := w.h.LinkByIndex(int(w.index))
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		w.gone()
		link, err = w.h.LinkByName(w.name)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	a := link.Attrs()
	w.found(int32(a.Index), a.Name)
	if a.MasterIndex != 0 {
		w.masters[int32(a.MasterIndex)] = true
	}
	w.set(a.RawFlags)
	return nil
}

func (w *Watch) follow() {
	for {
		msgs, from, err := w.socket.Receive()
		if errors.Is(err, unix.ENOBUFS) {
			// More changes than the socket held: look at what they have led to.
			w.lost = true
			w.lookAgain()
			w.tell()
			continue
		}
		if err != nil {
			return // closed
		}
		if from.Pid != nl.PidKernel {
			continue
		}
		changed := false
		for _, m := range msgs {
			changed = w.take(m) || changed
		}
		if changed {
			if w.lost {
				w.lookAgain()
			}
			w.tell()
		}
	}
}

// lookAgain reads the present state; where that cannot be known, what sending
// says has to be trusted.
func (w *Watch) lookAgain() {
	if w.look() != nil {
		w.state.Store(&watched{index: int(w.index), remade: w.remade})
	}
}

// tell counts a change, after the state that it has led to is there.
func (w *Watch) tell() {
	w.generation.Add(1)
	select {
	case w.changes <- struct{}{}:
	default: // one waits there already
	}
}

// take reads one message, and tells whether it is of anything that matters
// here.
func (w *Watch) take(m syscall.NetlinkMessage) bool {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return w.takeLink(m)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return w.takeRoute(m)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		// Of whatever interface: the kernel may have chosen that one's for a
		// source.
		return true
	case unix.RTM_NEWRULE, unix.RTM_DELRULE, unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP:
		return true
	}
	return false
}

// takeLink reads a message with struct ifinfomsg.
func (w *Watch) takeLink(m syscall.NetlinkMessage) bool {
	// A bridge tells of its ports in the same words: one that leaves it is
	// "deleted" (net/bridge/br_netlink.c, br_ifinfo_notify).
	if len(m.Data) < unix.SizeofIfInfomsg || m.Data[0] != unix.AF_UNSPEC {
		return false
	}
	index := int32(binary.NativeEndian.Uint32(m.Data[4:]))
	flags := binary.NativeEndian.Uint32(m.Data[8:])
	name, master := w.name, int32(0)
	for typ, value := range attributes(m.Data[unix.SizeofIfInfomsg:]) {
		switch {
		case typ == unix.IFLA_IFNAME:
			name = string(bytes.TrimRight(value, "\x00"))
		case typ == unix.IFLA_MASTER && len(value) == 4:
			master = int32(binary.NativeEndian.Uint32(value))
		}
	}
	now := w.state.Load()
	missing := now != nil && now.index == 0
	switch {
	case index == w.index && m.Header.Type == unix.RTM_DELLINK:
		w.gone()
		return true
	case index == w.index, missing && name == w.name && m.Header.Type == unix.RTM_NEWLINK:
		w.found(index, name)
		w.set(flags)
	case !w.masters[index]:
		return false
	}
	if master != 0 {
		w.masters[master] = true
	}
	return true
}

// takeRoute reads a message with struct rtmsg. A route by another interface
// changes no path by this one, however many there are on a router; one without
// an interface, with several, or to this host itself may.
func (w *Watch) takeRoute(m syscall.NetlinkMessage) bool {
	if len(m.Data) < unix.SizeofRtMsg {
		return false
	}
	if binary.NativeEndian.Uint32(m.Data[8:])&unix.RTM_F_CLONED != 0 {
		return false
	}
	if m.Data[7] == unix.RTN_LOCAL {
		return true
	}
	for typ, value := range attributes(m.Data[unix.SizeofRtMsg:]) {
		if typ == unix.RTA_OIF && len(value) == 4 {
			by := int32(binary.NativeEndian.Uint32(value))
			return by == w.index || w.masters[by]
		}
	}
	return true
}

// attributes goes through netlink attributes (netlink(7), struct nlattr), as
// far as they are whole.
func attributes(b []byte) func(yield func(typ uint16, value []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			length := int(binary.NativeEndian.Uint16(b))
			if length < unix.SizeofNlAttr || length > len(b) {
				return
			}
			typ := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(typ, b[unix.SizeofNlAttr:length]) {
				return
			}
			b = b[min((length+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1), len(b)):]
		}
	}
}

// found takes the interface's present index and name, which are another
// interface's where the last one is gone.
func (w *Watch) found(index int32, name string) {
	if s := w.state.Load(); s != nil && s.index == 0 {
		w.remade++
	}
	w.index, w.name = index, name
}

func (w *Watch) gone() {
	w.state.Store(&watched{remade: w.remade, err: fmt.Errorf("%s is gone: %w", w.name, ErrDown)})
}

func (w *Watch) set(flags uint32) {
	s := &watched{index: int(w.index), remade: w.remade}
	switch {
	case flags&unix.IFF_UP == 0:
		s.err = fmt.Errorf("%s: %w", w.name, ErrDown)
	case flags&unix.IFF_RUNNING == 0:
		s.err = fmt.Errorf("%s: %w", w.name, ErrNoCarrier)
	}
	w.state.Store(s)
}

// Err returns nil while the interface is up and has a carrier, else an error
// that wraps ErrDown or ErrNoCarrier. It does not block.
func (w *Watch) Err() error {
	if s := w.state.Load(); s != nil {
		return s.err
	}
	return nil
}

// Remade counts how often the interface was made anew, after it was gone: then
// sockets that are open have to be bound to it (Link.Rebind), even if its index
// is the old one, and paths asked for again. It does not block.
func (w *Watch) Remade() uint64 {
	if s := w.state.Load(); s != nil {
		return s.remade
	}
	return 0
}

// Index returns the interface's present index, 0 while there is none. It does
// not block.
func (w *Watch) Index() int {
	if s := w.state.Load(); s != nil {
		return s.index
	}
	return 0
}

// Generation counts changes: of the interface or its masters, of addresses,
// rules, and routes by the interface. Paths that were asked for at an earlier
// one may no longer be what the kernel would say. It starts at 0 and does not
// block.
func (w *Watch) Generation() uint64 { return w.generation.Load() }

// Changes has a value when Generation has grown since it was last received
// from. It is never closed.
func (w *Watch) Changes() <-chan struct{} { return w.changes }

// Close ends the subscription and waits for its goroutine.
func (w *Watch) Close() error {
	w.socket.Close()
	w.wg.Wait()
	w.h.Close()
	return nil
}
