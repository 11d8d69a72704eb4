//go:build linux

package l2

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A Watch follows the state of one interface.
type Watch struct {
	state  atomic.Pointer[error]
	socket *nl.NetlinkSocket
	wg     sync.WaitGroup
}

// Watch subscribes to the interface's changes (rtnetlink(7), RTMGRP_LINK) until
// Close. It needs no capability.
func (i *Interface) Watch() (*Watch, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", i.Name, err)
	}
	w := &Watch{socket: s}
	// Subscribed before the state is read, so that no change is missed.
	if err := w.look(i); err != nil {
		s.Close()
		return nil, fmt.Errorf("watch %s: %w", i.Name, err)
	}
	w.wg.Go(func() { w.follow(i) })
	return w, nil
}

// look reads the present state.
func (w *Watch) look(i *Interface) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	link, err := h.LinkByIndex(i.Index)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		w.set(i.Name, unix.RTM_DELLINK, 0)
		return nil
	}
	if err != nil {
		return err
	}
	w.set(i.Name, unix.RTM_NEWLINK, link.Attrs().RawFlags)
	return nil
}

func (w *Watch) follow(i *Interface) {
	for {
		msgs, from, err := w.socket.Receive()
		if errors.Is(err, unix.ENOBUFS) {
			// More changes than the socket held: what they were is not
			// known, so trust what sending says until the next one.
			w.state.Store(nil)
			continue
		}
		if err != nil {
			return // closed
		}
		if from.Pid != nl.PidKernel {
			continue
		}
		for _, m := range msgs {
			w.take(i, m)
		}
	}
}

// take reads one message, which may be of another interface.
func (w *Watch) take(i *Interface, m syscall.NetlinkMessage) {
	if m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK {
		return
	}
	// A bridge tells of its ports in the same words: one that leaves it is
	// "deleted" (net/bridge/br_netlink.c, br_ifinfo_notify).
	if len(m.Data) < unix.SizeofIfInfomsg || m.Data[0] != unix.AF_UNSPEC {
		return
	}
	h := unix.NlMsghdr(m.Header)
	link, err := netlink.LinkDeserialize(&h, m.Data)
	if err == nil && link.Attrs().Index == i.Index {
		w.set(i.Name, h.Type, link.Attrs().RawFlags)
	}
}

func (w *Watch) set(name string, message uint16, flags uint32) {
	var err error
	switch {
	case message == unix.RTM_DELLINK:
		err = fmt.Errorf("%s is gone: %w", name, ErrDown)
	case flags&unix.IFF_UP == 0:
		err = fmt.Errorf("%s: %w", name, ErrDown)
	case flags&unix.IFF_RUNNING == 0:
		err = fmt.Errorf("%s: %w", name, ErrNoCarrier)
	}
	w.state.Store(&err)
}

// Err returns nil while the interface is up and has a carrier, else an error
// that wraps ErrDown or ErrNoCarrier. It does not block.
func (w *Watch) Err() error {
	if p := w.state.Load(); p != nil {
		return *p
	}
	return nil
}

// Close ends the subscription and waits for its goroutine.
func (w *Watch) Close() error {
	w.socket.Close()
	w.wg.Wait()
	return nil
}
