//go:build linux

package l2

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

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
	w.wg.Go(func() { w.follow(i) })
	return w, nil
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
			if m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK {
				continue
			}
			h := unix.NlMsghdr(m.Header)
			link, err := netlink.LinkDeserialize(&h, m.Data)
			if err == nil && link.Attrs().Index == i.Index {
				w.set(i.Name, h.Type, link.Attrs().RawFlags)
			}
		}
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
