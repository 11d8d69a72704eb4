//go:build linux

package probe

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/sock/classic"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// An ear is where answers come in.
type ear struct {
	ifc     *l2.Interface
	receive func([]capture.Frame) (int, error)
}

// openEars opens what hears answers that come in by another member than the
// interface: the bridge or bond that takes their frames, or the other members of its
// VRF. What is open is returned also with an error.
func openEars(ifc *l2.Interface, filter capture.Filter) (open []*capture.Socket, ears []ear, err error) {
	if ifc.Master == nil {
		return nil, nil, nil
	}
	routing, err := l2.OpenRouting()
	if err != nil {
		return nil, nil, err
	}
	defer routing.Close()
	others, err := routing.Siblings(ifc)
	if err != nil {
		return nil, nil, err
	}
	others = others[:min(len(others), maxSiblings)]
	if owner := ifc.Owner(); owner.Index != ifc.Index {
		others = append(others, owner)
	}
	for _, other := range others {
		if other.NoLink != ifc.NoLink {
			continue // the filter reads other frames
		}
		s, err := capture.OpenSocket(other, capture.SocketConfig{Filter: filter})
		if err != nil {
			return open, nil, err
		}
		open, ears = append(open, s), append(ears, ear{other, s.Receive})
	}
	return open, ears, nil
}

// heardLen is about how many frames wait in a socket of 1 MiB.
const heardLen = 4096

// A heard has the arrival stamps of the last frames by the interface itself: a bridge
// or a bond has those frames too, with the same stamps and in about the same order.
type heard struct {
	stamps [heardLen]int64
	next   int
	found  int // where the next that is looked for may be
}

func (h *heard) note(stamp int64) {
	h.stamps[h.next] = stamp
	h.next = (h.next + 1) % heardLen
}

func (h *heard) has(stamp int64) bool {
	i := slices.Index(h.stamps[h.found:], stamp)
	if i >= 0 {
		i += h.found
	} else if i = slices.Index(h.stamps[:h.found], stamp); i < 0 {
		return false
	}
	h.found = (i + 1) % heardLen
	return true
}

// hear reads frames of the interface itself, and tells whether there may be more.
func (x *exchange) hear() (more bool) {
	n, _ := x.wire.Receive(x.frames)
	got := x.now()
	for i := range n {
		if x.heard != nil {
			x.heard.note(x.frames[i].Arrival)
		}
		x.pair(&x.frames[i], got)
	}
	return n == capture.MinFrames
}

// hearOthers reads the frames by other members, and tells whether there may be more of
// any.
func (x *exchange) hearOthers() (more bool) {
	for i := range x.others {
		o := &x.others[i]
		n := capture.MinFrames
		for tries := 0; n == capture.MinFrames && tries < receiveMost; tries++ {
			n, _ = o.receive(x.ofOther)
			// What a bridge has by now, the interface had before it.
			own := true
			for reads := 0; own && reads < receiveMost; reads++ {
				own = x.hear()
			}
			more = more || own
			got := x.now()
			x.at = o
			for i := range n {
				if f := &x.ofOther[i]; f.Arrival != 0 && !x.heard.has(f.Arrival) {
					x.pair(f, got)
				}
			}
			x.at = nil
		}
		more = more || n == capture.MinFrames
	}
	return more
}

// passes runs the caller's Instructions on a frame.
func (x *exchange) passes(f *capture.Frame) bool {
	ifc := x.ifc
	if x.at != nil {
		ifc = x.at.ifc
	}
	return x.program.Run(&classic.Frame{
		Data: f.Data, Length: f.Length, NoLink: x.noLink,
		PacketType: takenFor(f.Data, ifc), Index: ifc.Index,
		VLANPresent: f.VLAN.Present, VLANTCI: f.VLAN.TCI, VLANType: uint16(f.VLAN.Type),
	}) > 0
}

// takenFor is the packet type that the kernel gives a frame (net/ethernet/eth.c,
// eth_type_trans).
func takenFor(b []byte, ifc *l2.Interface) uint8 {
	if ifc.NoLink || len(b) < len(frame.MAC{}) {
		return unix.PACKET_HOST
	}
	switch to := frame.MAC(b[:len(frame.MAC{})]); {
	case to == ifc.MAC:
		return unix.PACKET_HOST
	case to == frame.Broadcast:
		return unix.PACKET_BROADCAST
	case to.IsGroup():
		return unix.PACKET_MULTICAST
	}
	return unix.PACKET_OTHERHOST
}
