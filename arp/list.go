//go:build linux

package arp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/l2"
)

// dumpTries is how often the table is read anew because it changed meanwhile.
const dumpTries = 8

var errChanging = errors.New("the table does not stand still")

// List returns the entries of the kernel's neighbor table that apply to an
// interface and have a host's MAC, whatever their state, of both families, in no
// order.
// It needs no capability. The calling thread's network namespace must be the
// interface's.
func List(ifc *l2.Interface) ([]Neighbor, error) {
	k, err := openKernelTable(false)
	var list []Neighbor
	if err == nil {
		list, err = k.list(ifc.Owner().Index)
		_ = k.Close() // it was read from alone
	}
	if err != nil {
		return nil, fmt.Errorf("list the neighbor table of %s: %w", ifc.Owner().Name, err)
	}
	return list, nil
}

// list is List. A dump that a change has interrupted may lack entries (netlink(7),
// NLM_F_DUMP_INTR).
func (k *kernelTable) list(index int) ([]Neighbor, error) {
	for range dumpTries {
		var list []Neighbor
		whole, err := k.dump(func(of int, addr netip.Addr, e entry) {
			if of == index && isHost(e.mac) {
				list = append(list, Neighbor{Addr: addr, MAC: e.mac, How: HowTable, State: e.state})
			}
		})
		if err != nil || whole {
			return list, err
		}
	}
	return nil, errChanging
}

// dump calls f for each entry of the table. whole is false if it may have missed
// some.
func (k *kernelTable) dump(f func(index int, addr netip.Addr, e entry)) (whole bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sequence++
	if err := unix.Sendto(k.requests, appendDump(k.buf[:0], k.sequence), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, err
	}
	whole = true
	for {
		n, from, err := unix.Recvfrom(k.requests, k.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return false, err
		}
		if !fromKernel(from) {
			continue
		}
		rest := k.buf[:n]
		for {
			header := rest
			var m message
			if m, rest = nextMessage(rest); m.data == nil {
				break
			}
			if m.sequence != k.sequence {
				continue
			}
			if binary.NativeEndian.Uint16(header[6:])&unix.NLM_F_DUMP_INTR != 0 {
				whole = false
			}
			switch m.kind {
			case unix.NLMSG_DONE:
				return whole, nil
			case unix.NLMSG_ERROR:
				return false, parseError(m.data)
			case unix.RTM_NEWNEIGH:
				if index, addr, e, ok := parseNeighbor(m.data); ok {
					f(index, addr, e)
				}
			}
		}
	}
}

// appendDump appends a request for the whole table: a netlink header and a struct
// ndmsg.
func appendDump(b []byte, sequence uint32) []byte {
	e := binary.NativeEndian
	b = e.AppendUint32(b, uint32(nlHeaderLen+ndHeaderLen))
	b = e.AppendUint16(b, unix.RTM_GETNEIGH)
	b = e.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b = e.AppendUint32(b, sequence)
	b = e.AppendUint32(b, 0)                       // from: the kernel fills it in
	return append(b, make([]byte, ndHeaderLen)...) // all families, all interfaces
}
