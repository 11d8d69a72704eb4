//go:build linux

package probe

import "net/netip"

// maxMembers bounds the hosts of a group that are told apart. Replies of more
// than those count as duplicates.
const maxMembers = 1 << 16

// members remember which hosts of a group have answered which probes.
type members map[netip.Addr]member

// A member's answers: its highest probe, and in bit i of seen probe highest-i.
type member struct{ highest, seen uint64 }

// add notes that a host has answered probe n. It is false if it had done so
// before, or if that is not remembered.
func (m members) add(host netip.Addr, n uint64) bool {
	was, known := m[host]
	switch {
	case !known && len(m) >= maxMembers:
		return false
	case !known:
		was = member{highest: n}
	case n > was.highest:
		shift := n - was.highest
		was.highest = n
		if was.seen <<= shift; shift >= 64 {
			was.seen = 0
		}
	case was.highest-n >= 64:
		return false
	}
	bit := uint64(1) << (was.highest - n)
	if was.seen&bit != 0 {
		return false
	}
	was.seen |= bit
	m[host] = was
	return true
}
