package lab

import (
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// SetRate has an interface let go of so many bytes a second, after a first burst
// of 2000 (tc-tbf(8)). Up to limit bytes wait for that, at least 1; a frame that
// finds no room is refused with ENOBUFS (packet_snd, net_xmit_errno), so a limit
// below a frame's length refuses all. Another call changes it. The kernel needs
// sch_tbf, and fails with ENOENT without.
func (n *Namespace) SetRate(ifname string, rate uint64, limit uint32) error {
	const burst = 2000
	return n.onLink(ifname, "set rate of", func(h *netlink.Handle, l netlink.Link) error {
		err := h.QdiscReplace(&netlink.Tbf{
			QdiscAttrs: rootQdisc(l),
			Rate:       rate, Limit: max(limit, 1), Buffer: netlink.Xmittime(rate, burst),
		})
		return lacks("tbf", err, unix.ENOENT)
	})
}

// Netem is what tc-netem(8) does to what leaves an interface.
type Netem struct {
	Delay  time.Duration // of each frame, to microseconds, below a minute
	Jitter time.Duration // added or taken away, up to so much; frames may pass one another

	// Percentages of frames. The kernel draws anew for each.
	Loss, Duplicate float32
	Reorder         float32 // these leave at once, ahead of those that wait; it needs Delay

	Limit uint32 // frames that wait, 1000 if 0; what finds no room is dropped
}

// SetNetem has an interface delay, lose, double and reorder what it sends, after
// the kernel's software stamp of a departure would be taken by the qdisc layer
// (SCHED) and before that of the driver. Another call changes it. The kernel
// needs sch_netem.
func (n *Namespace) SetNetem(ifname string, cfg Netem) error {
	return n.onLink(ifname, "set netem of", func(h *netlink.Handle, l netlink.Link) error {
		err := h.QdiscReplace(netlink.NewNetem(rootQdisc(l), netlink.NetemQdiscAttrs{
			Latency: uint32(cfg.Delay.Microseconds()), Jitter: uint32(cfg.Jitter.Microseconds()),
			Loss: cfg.Loss, Duplicate: cfg.Duplicate, ReorderProb: cfg.Reorder, Limit: cfg.Limit,
		}))
		return lacks("netem", err, unix.ENOENT) // "Specified qdisc kind is unknown" (qdisc_create)
	})
}

// DelNetem undoes SetNetem. What waits is dropped.
func (n *Namespace) DelNetem(ifname string) error {
	return n.onLink(ifname, "delete netem of", func(h *netlink.Handle, l netlink.Link) error {
		return h.QdiscDel(&netlink.GenericQdisc{QdiscAttrs: rootQdisc(l), QdiscType: "netem"})
	})
}

func rootQdisc(l netlink.Link) netlink.QdiscAttrs {
	return netlink.QdiscAttrs{
		LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT,
	}
}
