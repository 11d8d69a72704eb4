//go:build linux

package l2

import (
	"fmt"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	ebpflink "github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// dropArrivals has the driver of the far end drop all that comes, before the
// kernel has any work with it.
func dropArrivals(b *testing.B, pair *lab.Pair) {
	b.Helper()
	labtest.RequireRoot(b)
	const xdpDrop = 1 // linux/bpf.h
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpDrop), asm.Return()},
	})
	must(b, err)
	b.Cleanup(func() { must(b, prog.Close()) })
	index, err := pair.Far.Index("eth0")
	must(b, err)
	labtest.OpenIn(b, pair.Far, func() (ebpflink.Link, error) {
		return ebpflink.AttachXDP(ebpflink.XDPOptions{Program: prog, Interface: index})
	})
}

// dropped is how many frames the far end has dropped so.
func dropped(b *testing.B, pair *lab.Pair) uint64 {
	b.Helper()
	index, err := pair.Far.Index("eth0")
	must(b, err)
	link, err := pair.Far.Handle().LinkByIndex(index)
	must(b, err)
	return link.Attrs().Statistics.RxPackets
}

// A bareSender is what a program in C would be that does nothing else: one
// sendmmsg past the qdisc, of headers that never change.
type bareSender struct {
	fd   int
	hdrs []bareHeader
}

type bareHeader struct {
	hdr unix.Msghdr
	len uint32
}

func newBareSender(b *testing.B, pair *lab.Pair, frames [][]byte) *bareSender {
	b.Helper()
	s := &bareSender{hdrs: make([]bareHeader, len(frames))}
	// A Link's socket, of which nothing else is used.
	s.fd = openLink(b, pair.Near, &LinkConfig{NoStamps: true, Bypass: true}).FD()
	iovs := make([]unix.Iovec, len(frames))
	for i, f := range frames {
		iovs[i].Base = &f[0]
		iovs[i].SetLen(len(f))
		s.hdrs[i].hdr.Iov = &iovs[i]
		s.hdrs[i].hdr.SetIovlen(1)
	}
	return s
}

func (s *bareSender) send(b *testing.B) {
	for sent := 0; sent < len(s.hdrs); {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.hdrs[sent])),
			uintptr(len(s.hdrs)-sent), unix.MSG_DONTWAIT, 0, 0)
		if errno != 0 {
			b.Fatal(errno)
		}
		sent += int(n)
	}
}

// Batches of 60-byte frames by a Link and by a bare loop past the qdisc, in turns,
// over one pair whose far end drops them in its driver: the time of a frame by
// each, the median of batches, and the Link's speed as a part of the loop's.
func BenchmarkLinkSendBatch(b *testing.B) {
	past := LinkConfig{NoStamps: true, Bypass: true}
	for _, tt := range []struct {
		name string
		cfg  LinkConfig
		n    int // frames in a batch
	}{
		{"bypass", past, 1},
		{"bypass", past, 16},
		{"bypass", past, 64},
		{"bypass", past, 256},
		{"bypass", past, 1024},
		{"qdisc", LinkConfig{NoStamps: true}, 64},
		{"bypass-stamps", LinkConfig{Bypass: true}, 64},
		{"stamps", LinkConfig{}, 64},
		{"stamps-counted", LinkConfig{countIDs: true}, 64},
	} {
		b.Run(fmt.Sprintf("%s/frames=%d", tt.name, tt.n), func(b *testing.B) { benchmarkSendBatch(b, &tt.cfg, tt.n) })
	}
}

func benchmarkSendBatch(b *testing.B, cfg *LinkConfig, n int) {
	pair := labtest.NewPair(b, &lab.PairConfig{Silent: true})
	dropArrivals(b, pair)
	frames := make([][]byte, n)
	for i := range frames {
		frames[i] = frameOf(pair, 60)
	}
	l, bare := openLink(b, pair.Near, cfg), newBareSender(b, pair, frames)
	stamps := make([]Stamp, MinStamps)
	byLink, byBare := make([]time.Duration, 0, 1<<20), make([]time.Duration, 0, 1<<20)
	before := dropped(b, pair)
	b.ReportAllocs()
	for b.Loop() {
		from := time.Now()
		if _, err := l.SendBatch(frames, 0); err != nil {
			b.Fatal(err)
		}
		for more := !cfg.NoStamps; more; {
			var err error
			if _, more, err = l.ReadStamps(stamps); err != nil {
				b.Fatal(err)
			}
		}
		middle := time.Now()
		bare.send(b)
		byLink, byBare = append(byLink, middle.Sub(from)), append(byBare, time.Since(middle))
	}
	arrived, sent := dropped(b, pair)-before, 2*n*len(byLink)
	slices.Sort(byLink)
	slices.Sort(byBare)
	link, loop := float64(byLink[len(byLink)/2]), float64(byBare[len(byBare)/2])
	b.ReportMetric(link/float64(n), "link-ns/frame")
	b.ReportMetric(loop/float64(n), "bare-ns/frame")
	b.ReportMetric(loop/link, "link/bare")
	b.ReportMetric(float64(arrived)/float64(sent), "arrived/sent")
	b.ReportMetric(0, "ns/op")
}
