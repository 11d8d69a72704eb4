package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// A Torrent has frames arrive at an interface, more of them in a second than any
// sender can have: they are made where a driver hands frames to the kernel, by the
// thread that asks for them, and the other CPUs have nothing to do with that. It is
// not safe for concurrent use.
//
// The frames are copies of one, but that each holds its number, from 0 on
// (TorrentNumber). So what was captured of them can be checked exactly.
type Torrent struct {
	ns      *Namespace
	index   uint32
	frame   []byte
	state   *ebpf.Map // torrentState
	order   *ebpf.Map // torrentOrder
	program *ebpf.Program
}

// The number is in the 8 bytes behind the Ethernet header.
const (
	numberAt  = 14
	numberEnd = numberAt + 8
)

const (
	// longestTorrent is what a page has room for besides headroom and bookkeeping
	// (net/bpf/test_run.c, TEST_MAX_PKT_SIZE), rounded down.
	longestTorrent = 3000
	// mostTorrent bounds how many frames are asked for at once. Those that are not
	// wanted any more take the kernel some time too.
	mostTorrent = 20_000_000
	// leastRate bounds how long the program waits for the next frame's time, and
	// with it how long a CPU does nothing else (mostWaits).
	leastRate = 100_000
)

// torrentState is what the program has done: of all frames, and the first and the
// last time of an order, in nanoseconds (CLOCK_MONOTONIC).
type torrentState struct{ Poured, First, Last uint64 }

// torrentOrder is what it is to do: to pour until Limit frames have arrived, Rate a
// second counted from frame Base on, or if Rate is 0 as fast as they go.
type torrentOrder struct{ Base, Limit, Rate uint64 }

// NewTorrent prepares to have frames arrive at an interface of n, which is up. The
// frame begins with an Ethernet header and has room for the number. It needs
// CAP_BPF and CAP_NET_ADMIN in the initial user namespace, and Linux 5.18
// (BPF_F_TEST_XDP_LIVE_FRAMES): where the kernel has it not, the error is
// errors.ErrUnsupported. Close must be called.
func NewTorrent(n *Namespace, ifname string, frame []byte) (*Torrent, error) {
	if len(frame) < numberEnd || len(frame) > longestTorrent {
		return nil, fmt.Errorf("make torrent: a frame of %d bytes: not within %d to %d", len(frame), numberEnd, longestTorrent)
	}
	index, err := n.Index(ifname)
	if err != nil {
		return nil, fmt.Errorf("make torrent: %w", err)
	}
	t := &Torrent{ns: n, index: uint32(index), frame: frame}
	if err := t.load(); err != nil {
		return nil, fmt.Errorf("make torrent on %s: %w", ifname, errors.Join(err, t.Close()))
	}
	return t, nil
}

func (t *Torrent) load() (err error) {
	value := func(name string, v any) (*ebpf.Map, error) {
		return ebpf.NewMap(&ebpf.MapSpec{
			Name: name, Type: ebpf.Array, KeySize: 4, ValueSize: uint32(binary.Size(v)), MaxEntries: 1,
		})
	}
	if t.state, err = value("torrent_state", torrentState{}); err != nil {
		return err
	}
	if t.order, err = value("torrent_order", torrentOrder{}); err != nil {
		return err
	}
	t.program, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "torrent", Type: ebpf.XDP, License: "GPL",
		Instructions: torrentProgram(t.state.FD(), t.order.FD()),
	})
	if err != nil {
		return err
	}
	// There is no order yet: nothing arrives. EINVAL is for flags that are unknown.
	err = t.ns.Do(func() error { return t.run(1) })
	if errors.Is(err, unix.EINVAL) || errors.Is(err, ebpf.ErrNotSupported) {
		return fmt.Errorf("this kernel runs no XDP program with live frames: %w", errors.ErrUnsupported)
	}
	return err
}

// mostWaits is how often the program looks at the clock for one frame: for 40 us, were
// that to take 10 ns. The verifier follows each round.
const mostWaits = 4096

// torrentProgram puts the number into a frame and lets it pass when its time has
// come, until there are enough; then it drops what comes.
func torrentProgram(state, order int) asm.Instructions {
	const aborted, drop, pass = 0, 1, 2 // enum xdp_action
	return asm.Instructions{
		asm.LoadMem(asm.R9, asm.R1, 0, asm.Word), // xdp_md.data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // xdp_md.data_end
		asm.Mov.Imm(asm.R0, aborted),
		asm.Mov.Reg(asm.R4, asm.R9),
		asm.Add.Imm(asm.R4, numberEnd),
		asm.JGT.Reg(asm.R4, asm.R3, "end"),

		// One thread alone runs the program: nothing has to be atomic.
		asm.LoadMapValue(asm.R6, state, 0),
		asm.LoadMapValue(asm.R7, order, 0),
		asm.LoadMem(asm.R8, asm.R6, 0, asm.DWord), // Poured
		asm.LoadMem(asm.R1, asm.R7, 8, asm.DWord), // Limit
		asm.Mov.Imm(asm.R0, drop),
		asm.JGE.Reg(asm.R8, asm.R1, "end"),
		asm.Mov.Reg(asm.R1, asm.R8),
		asm.HostTo(asm.BE, asm.R1, asm.DWord),
		asm.StoreMem(asm.R9, numberAt, asm.R1, asm.DWord),

		asm.FnKtimeGetNs.Call(),
		asm.LoadMem(asm.R1, asm.R6, 8, asm.DWord), // First
		asm.JNE.Imm(asm.R1, 0, "later"),
		asm.StoreMem(asm.R6, 8, asm.R0, asm.DWord),
		asm.Ja.Label("pass"),

		asm.LoadMem(asm.R2, asm.R7, 16, asm.DWord).WithSymbol("later"), // Rate
		asm.JEq.Imm(asm.R2, 0, "pass"),
		asm.LoadMem(asm.R3, asm.R7, 0, asm.DWord), // Base
		asm.Mov.Reg(asm.R9, asm.R8),
		asm.Sub.Reg(asm.R9, asm.R3),
		asm.Mul.Imm(asm.R9, int32(time.Second)),
		asm.Div.Reg(asm.R9, asm.R2),
		asm.Add.Reg(asm.R9, asm.R1), // when it is due
		asm.Mov.Imm(asm.R7, 0),
		asm.JGE.Reg(asm.R0, asm.R9, "pass").WithSymbol("wait"),
		asm.Add.Imm(asm.R7, 1),
		asm.JGE.Imm(asm.R7, mostWaits, "pass"),
		asm.FnKtimeGetNs.Call(),
		asm.Ja.Label("wait"),

		asm.StoreMem(asm.R6, 16, asm.R0, asm.DWord).WithSymbol("pass"), // Last
		asm.Add.Imm(asm.R8, 1),
		asm.StoreMem(asm.R6, 0, asm.R8, asm.DWord),
		asm.Mov.Imm(asm.R0, pass),
		asm.Return().WithSymbol("end"),
	}
}

// run has the program run for so many frames. It must be called in t.ns, where the
// kernel looks for the interface. A signal may have it begin anew: only the order
// says how many pass.
//
// For each time the kernel makes a pool of pages and takes it down, which takes some
// 20 ms (net/bpf/test_run.c): there should be few.
func (t *Torrent) run(frames int) error {
	// struct xdp_md
	context := struct{ Data, DataEnd, DataMeta, IngressIfindex, RxQueueIndex, EgressIfindex uint32 }{
		DataEnd: uint32(len(t.frame)), IngressIfindex: t.index,
	}
	_, err := t.program.Run(&ebpf.RunOptions{
		Data: t.frame, Context: context, Repeat: uint32(frames), Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES,
	})
	return err
}

// Pour has count frames arrive, at most 20,000,000: as fast as they go, or if rate is
// not 0 that many in a second, from 100,000 on. They come in groups of 64, which the
// kernel takes one step further together. When one is late, later ones are not. It
// tells how many there were, and how long that took from the first to the last. It
// ends early, with the cause, if ctx ends.
func (t *Torrent) Pour(ctx context.Context, count, rate int) (poured int, took time.Duration, err error) {
	if count < 0 || count > mostTorrent {
		return 0, 0, fmt.Errorf("pour %d frames: not within 0 to %d", count, mostTorrent)
	}
	if rate != 0 && rate < leastRate {
		return 0, 0, fmt.Errorf("pour %d frames a second: under %d", rate, leastRate)
	}
	var before, after torrentState
	if err := t.state.Lookup(uint32(0), &before); err != nil {
		return 0, 0, fmt.Errorf("pour: %w", err)
	}
	begin := torrentState{Poured: before.Poured}
	order := torrentOrder{Base: before.Poured, Limit: before.Poured + uint64(count), Rate: uint64(rate)}
	if err := errors.Join(t.state.Put(uint32(0), begin), t.order.Put(uint32(0), order)); err != nil {
		return 0, 0, fmt.Errorf("pour: %w", err)
	}
	// With no order the frames that are left are dropped.
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { stopped <- t.order.Put(uint32(0), torrentOrder{}) })
	err = t.ns.Do(func() error { return t.run(count) })
	if !stop() {
		err = errors.Join(err, <-stopped, context.Cause(ctx))
	}
	if looked := t.state.Lookup(uint32(0), &after); err == nil {
		err = looked
	}
	if err != nil {
		err = fmt.Errorf("pour: %w", err)
	}
	return int(after.Poured - before.Poured), time.Duration(after.Last - after.First), err
}

// TorrentNumber reads the number of a Torrent's frame; false if it is too short to
// have one.
func TorrentNumber(frame []byte) (number uint64, ok bool) {
	if len(frame) < numberEnd {
		return 0, false
	}
	return binary.BigEndian.Uint64(frame[numberAt:]), true
}

// SetTorrentNumber puts a number into a frame that has room for one, for a sender
// whose frames are to be counted as a Torrent's.
func SetTorrentNumber(frame []byte, number uint64) {
	binary.BigEndian.PutUint64(frame[numberAt:numberEnd], number)
}

// Close lets go of it. The frames stay where they are.
func (t *Torrent) Close() error {
	var errs []error
	if t.program != nil {
		errs = append(errs, t.program.Close())
	}
	for _, m := range []*ebpf.Map{t.state, t.order} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}
