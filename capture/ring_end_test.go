//go:build linux

package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"os"
	"testing"
	"time"

	cbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
)

// The end of a context ends Frames: one that waits, one that is busy, and one that
// begins thereafter. Those after it go on.
func TestRingContext(t *testing.T) {
	eachWay(t, func(t *testing.T, open ringOpener) {
		pair := silentPair(t)
		r, far := open(t, pair.Near, "eth0", Config{}), talk(t, pair.Far)
		var ctx context.Context
		for round := range 3 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithCancel(t.Context())
			defer cancel()
			began := make(chan struct{})
			ended := make(chan int, 1)
			go func() {
				n := 0
				for range r.Frames(ctx) {
					if n++; n == 1 {
						close(began)
					}
				}
				ended <- n
			}()
			far.send(reply(t, pair, uint16(round), 56))
			<-began
			cancel() // it waits, or is about to
			if n := <-ended; n != 1 {
				t.Errorf("round %d: %d frames, want 1", round, n)
			}
		}
		for f, err := range r.Frames(ctx) {
			t.Errorf("%+v, %v after the end", f, err)
		}
		// Of what is there, not one frame more than the loop has wanted.
		for seq := range uint16(20) {
			far.send(reply(t, pair, 100+seq, 56))
		}
		for i := range uint16(10) {
			ctx, cancel := context.WithCancel(t.Context())
			n := uint16(0)
			for f, err := range r.Frames(ctx) {
				must(t, err)
				if seqOf(f.Data) != 100+2*i+n {
					t.Fatalf("number %d, want %d", seqOf(f.Data), 100+2*i+n)
				}
				if n++; n == 1 && i%2 == 0 {
					continue
				}
				if n == 2 {
					break
				}
			}
			cancel()
		}
		if left := rest(t, r); len(left) != 0 {
			t.Errorf("%d frames more", len(left))
		}
	})
}

// Leaving the loop leaves the rest for the next.
func TestRingBreak(t *testing.T) {
	eachWay(t, func(t *testing.T, open ringOpener) {
		pair := silentPair(t)
		r, far := open(t, pair.Near, "eth0", Config{}), talk(t, pair.Far)
		pinned(t, pair.Far, func() {
			for seq := range uint16(200) {
				far.send(reply(t, pair, seq, 56))
			}
		})
		for i := 0; i < 200; {
			for _, f := range take(t, r, min(1+i%7, 200-i)) {
				if seqOf(f.Data) != uint16(i) {
					t.Fatalf("frame %d is number %d", i, seqOf(f.Data))
				}
				i++
			}
		}
	})
}

// Everything that came before the interface went down is told before that, though
// its block's time is not up; and the ring hears again.
func TestRingDown(t *testing.T) {
	eachWay(t, func(t *testing.T, open ringOpener) {
		pair := silentPair(t)
		r, far := open(t, pair.Near, "eth0", Config{BlockTimeout: 100 * time.Millisecond}), talk(t, pair.Far)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		until := func(want int) error {
			t.Helper()
			for f, err := range r.Frames(ctx) {
				if err != nil {
					if want != 0 {
						t.Errorf("%d frames lack", want)
					}
					return err
				}
				if want--; want < 0 {
					t.Fatalf("a frame more: % x", f.Data)
				}
			}
			t.Fatalf("it ends without an error; %v", ctx.Err())
			return nil
		}
		const want = "capture on eth0: network is down"
		for round := range 3 {
			pinned(t, pair.Far, func() {
				for seq := range uint16(3) {
					far.send(reply(t, pair, seq, 56))
				}
			})
			arrived(t, r, uint64(3*round+3))
			must(t, pair.Near.SetDown("eth0"))
			if err := until(3); !errors.Is(err, unix.ENETDOWN) || err.Error() != want {
				t.Errorf("down: %v", err)
			}
			must(t, pair.SetUp())
		}
		far.send(reply(t, pair, 1, 56))
		arrived(t, r, 10)
		must(t, pair.Near.DeleteLink("eth0"))
		// It went down first, and had gone before anybody looked, or not.
		if err := until(1); !errors.Is(err, unix.ENETDOWN) && !errors.Is(err, unix.ENODEV) {
			t.Errorf("gone: %v", err)
		}
		for range 2 {
			if err := until(0); !errors.Is(err, unix.ENODEV) || err.Error() != "capture on eth0: no such device" {
				t.Errorf("gone, again: %v", err)
			}
		}
	})
}

// arrived waits until the kernel has let so many frames through.
func arrived(t testing.TB, r *Ring, n uint64) {
	t.Helper()
	until(t, "all frames", func() bool {
		st, err := r.Statistics()
		must(t, err)
		return st.Received == n
	})
}

// One that goes away while it is down is told by the next Frames, however many were
// there since it went down.
func TestRingGoneWhileDown(t *testing.T) {
	eachWay(t, func(t *testing.T, open ringOpener) {
		pair := silentPair(t)
		r := open(t, pair.Near, "eth0", Config{})
		frames := func(ctx context.Context) (last error) {
			for f, err := range r.Frames(ctx) {
				if last = err; err == nil {
					t.Errorf("% x", f.Data)
				}
			}
			return last
		}
		must(t, pair.Near.SetDown("eth0"))
		if err := frames(t.Context()); !errors.Is(err, unix.ENETDOWN) {
			t.Fatalf("down: %v", err)
		}
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			if err := frames(ctx); err != nil {
				t.Errorf("still down: %v", err)
			}
			cancel()
		}
		ended := make(chan error)
		go func() { ended <- frames(t.Context()) }() // while it waits, or before
		must(t, pair.Near.DeleteLink("eth0"))
		if err := <-ended; !errors.Is(err, unix.ENODEV) {
			t.Errorf("gone: %v", err)
		}
		if err := frames(t.Context()); !errors.Is(err, unix.ENODEV) {
			t.Errorf("gone, again: %v", err)
		}
	})
}

// A waiting reader is told at once.
func TestRingDownWaiting(t *testing.T) {
	eachWay(t, func(t *testing.T, open ringOpener) {
		pair := silentPair(t)
		r := open(t, pair.Near, "eth0", Config{})
		far := talk(t, pair.Far)
		began, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			var last error
			for _, err := range r.Frames(t.Context()) {
				if last = err; err == nil {
					close(began)
				}
			}
			ended <- last
		}()
		far.send(reply(t, pair, 1, 56))
		<-began
		must(t, pair.Near.DeleteLink("eth0"))
		if err := <-ended; !errors.Is(err, unix.ENETDOWN) {
			t.Errorf("%v", err)
		}
	})
}

// Frames to others are heard as long as the ring is open.
func TestRingPromiscuous(t *testing.T) {
	eachWay(t, func(t *testing.T, open ringOpener) {
		pair := silentPair(t)
		for wanted, promiscuous := range []bool{false, true} {
			r := open(t, pair.Near, "eth0", Config{Promiscuous: promiscuous})
			if got := promiscuity(t, pair.Near, "eth0"); got != wanted {
				t.Errorf("%v: %d want all frames, want %d", promiscuous, got, wanted)
			}
			must(t, r.Close())
			if got := promiscuity(t, pair.Near, "eth0"); got != 0 {
				t.Errorf("closed: %d want all frames", got)
			}
		}
	})
}

// Without a link layer a frame starts at the IP header.
func TestRingTun(t *testing.T) {
	eachWay(t, func(t *testing.T, open ringOpener) {
		pair := silentPair(t)
		tun := labtest.AddTun(t, pair.Near, "tun0")
		must(t, pair.Near.SetUp("tun0"))
		r := open(t, pair.Near, "tun0", Config{})
		packet := reply(t, pair, 1, 56)[14:]
		if _, err := tun.Write(packet); err != nil {
			t.Fatal(err)
		}
		if f := take(t, r, 1)[0]; !bytes.Equal(f.Data, packet) || f.Length != len(packet) || f.PacketType != PacketHost {
			t.Errorf("%s, % x, want\n% x", f.PacketType, f.Data, packet)
		}
	})
}

// The buffer consists of whole blocks, each a power of two pages.
func TestRingBlocks(t *testing.T) {
	pair := silentPair(t)
	r := openRingIn(t, pair.Near, "eth0", Config{BufferBytes: 3 << 20, BlockBytes: 1<<20 - 1}, (*Ring).share)
	if r.BufferBytes() != 3<<20 {
		t.Errorf("%d bytes", r.BufferBytes())
	}
}

// Without an interface, or a filter that is needed, there is an error.
func TestOpenNothing(t *testing.T) {
	if r, err := Open(nil, nil); r != nil || err == nil || err.Error() != "open ring: no interface" {
		t.Errorf("%v, %v", r, err)
	}
	if s, err := OpenSocket(nil, SocketConfig{}); s != nil || err == nil || err.Error() != "open packet socket: no interface" {
		t.Errorf("%v, %v", s, err)
	}
	if s, err := OpenSocket(&l2.Interface{Index: 1, Name: "lo"}, SocketConfig{}); s != nil || err == nil || err.Error() != "open packet socket on lo: no filter" {
		t.Errorf("%v, %v", s, err)
	}
}

func TestOpenRingErrors(t *testing.T) {
	pair := silentPair(t)
	f := newFilter(t, pair, bpf.Classic)
	all := assemble(t, ofOurs()...)
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{Filter: f, Instructions: all}, "open ring on eth0: both a filter and instructions"},
		{Config{Filter: f, Direction: DirectionOut}, "open ring on eth0: a filter for what comes in, of what goes out"},
		{Config{SnapLen: -1}, "open ring on eth0: snap length -1: not within 0 (for the default) to 262144"},
		{Config{SnapLen: MaxSnapLen + 1}, "open ring on eth0: snap length 262145: not within 0 (for the default) to 262144"},
		{Config{BufferBytes: -1}, "open ring on eth0: buffer size -1: not within 0 (for the default) to 1073741824"},
		{Config{BlockBytes: 1 << 30}, "open ring on eth0: block size 1073741824: not within 0 (for the default) to 268435456"},
		{Config{BlockTimeout: -1}, "open ring on eth0: block timeout -1ns: not within 0 (for the default) to 1m0s"},
		{Config{Instructions: all[:1]}, "set up ring on eth0: attaching classic BPF: invalid argument"},
		{Config{Instructions: make([]cbpf.RawInstruction, 4097)}, "set up ring on eth0: attaching classic BPF: 4097 instructions: not from 1 to 4096"},
	} {
		must(t, pair.Near.Do(func() error {
			ifc, err := l2.InterfaceByName("eth0")
			if err != nil {
				return err
			}
			r, err := Open(ifc, &tt.cfg)
			if r != nil || err == nil || err.Error() != tt.want {
				t.Errorf("%v, %v, want %s", r, err, tt.want)
			}
			return nil
		}))
	}
	must(t, pair.Near.Do(func() error {
		r, err := Open(&l2.Interface{Index: 4711, Name: "gone0"}, nil)
		if r != nil || !errors.Is(err, unix.ENODEV) || err.Error() != "open packet socket on gone0: no such device" {
			t.Errorf("%v, %v", r, err)
		}
		return nil
	}))
	must(t, pair.Near.SetDown("eth0"))
	for _, share := range []func(*Ring, Config) error{(*Ring).share, refuse} {
		must(t, pair.Near.Do(func() error {
			ifc, err := l2.InterfaceByName("eth0")
			if err != nil {
				return err
			}
			r, err := openRing(ifc, nil, share)
			if r != nil || !errors.Is(err, unix.ENETDOWN) || err.Error() != "set up ring on eth0: network is down" {
				t.Errorf("down: %v, %v", r, err)
			}
			return nil
		}))
	}
}

func TestRingFallback(t *testing.T) {
	pair := silentPair(t)
	r := openRingIn(t, pair.Near, "eth0", Config{}, refuse)
	if err := r.Fallback(); err != errRefused || r.BufferBytes() != 0 {
		t.Errorf("%v, %d bytes", err, r.BufferBytes())
	}
	// The kernel refuses a second ring on one socket.
	r = openRingIn(t, pair.Near, "eth0", Config{}, func(r *Ring, c Config) error {
		must(t, r.share(c))
		must(t, unix.Munmap(r.memory))
		r.memory = nil
		return r.share(c)
	})
	if err := r.Fallback(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("%v", err)
	}
}

// Close may be called in the loop, and twice; what is called after it says so.
func TestRingClose(t *testing.T) {
	eachWay(t, func(t *testing.T, open ringOpener) {
		pair := silentPair(t)
		r := open(t, pair.Near, "eth0", Config{})
		far := talk(t, pair.Far)
		for range 3 {
			far.send(reply(t, pair, 1, 56))
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := 0
		for _, err := range r.Frames(ctx) {
			must(t, err)
			n++
			cancel()
			must(t, r.Close())
			must(t, r.Close())
		}
		if n != 1 {
			t.Errorf("%d frames, want 1", n)
		}
		for _, err := range r.Frames(t.Context()) {
			if !errors.Is(err, os.ErrClosed) {
				t.Errorf("Frames: %v", err)
			}
			n++
		}
		if n != 2 {
			t.Error("Frames after Close has no error")
		}
		if err := r.Stop(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Stop: %v", err)
		}
		if st, err := r.Statistics(); err != nil || st.Captured != 1 {
			t.Errorf("%+v, %v", st, err)
		}
	})
}

func TestRingAllocates(t *testing.T) {
	eachWay(t, func(t *testing.T, open ringOpener) {
		pair := silentPair(t)
		r, far := open(t, pair.Near, "eth0", Config{}), talk(t, pair.Far)
		b := reply(t, pair, 1, 56)
		next, stop := iter.Pull2(r.Frames(t.Context()))
		defer stop()
		allocs := testing.AllocsPerRun(300, func() {
			far.send(b)
			if f, err, ok := next(); err != nil || !ok || len(f.Data) != len(b) {
				panic(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%v allocations a frame, want 0", allocs)
		}
	})
}

// A frame is read as the kernel lays it out, and a place that does not hold
// together is an error.
func TestBlock(t *testing.T) {
	b := newBlock([]byte("first, of 20 bytes.."), []byte("second"))
	var f Frame
	next, err := b.frameAt(b.first(), &f)
	if err != nil || string(f.Data) != "first, of 20 bytes.." || f.Length != 20 || f.Arrival != 1_700_000_000_000_000_001 {
		t.Fatalf("%+v, %v", f, err)
	}
	if _, err = b.frameAt(next, &f); err != nil || string(f.Data) != "second" || cap(f.Data) != 6 {
		t.Fatalf("%+v, %v", f, err)
	}
	at := b.first()
	for name, change := range map[string]func(b block) int{
		"place 0":                func(block) int { return 0 },
		"in the header":          func(block) int { return blockHeader - 1 },
		"at the end":             func(b block) int { return len(b) },
		"before the end":         func(b block) int { return len(b) - frameHeader + 1 },
		"negative":               func(b block) int { return -1 },
		"data in the header":     func(b block) int { binary.NativeEndian.PutUint16(b[at+frameMAC:], frameHeader-1); return at },
		"data outside":           func(b block) int { binary.NativeEndian.PutUint16(b[at+frameMAC:], 0xffff); return at },
		"more than the block":    func(b block) int { binary.NativeEndian.PutUint32(b[at+frameSnapLen:], uint32(len(b))); return at },
		"more than any block":    func(b block) int { binary.NativeEndian.PutUint32(b[at+frameSnapLen:], 0xffffffff); return at },
		"more than what is left": func(b block) int { binary.NativeEndian.PutUint32(b[at+frameSnapLen:], uint32(len(b)-at)); return at },
	} {
		bad := block(bytes.Clone(b))
		if _, err := bad.frameAt(change(bad), &f); err != errBadBlock {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
	for _, step := range []uint32{0, uint32(len(b)), 0xffffffff} {
		bad := block(bytes.Clone(b))
		binary.NativeEndian.PutUint32(bad[at+frameNext:], step)
		if next, err := bad.frameAt(at, &f); next != 0 || err != nil {
			t.Errorf("step %d leads to %d, %v", step, next, err)
		}
	}
}

// newBlock is a block as the kernel makes it.
func newBlock(frames ...[]byte) block {
	b := make(block, 4096)
	binary.NativeEndian.PutUint32(b[blockStatus:], unix.TP_STATUS_USER)
	binary.NativeEndian.PutUint32(b[blockCount:], uint32(len(frames)))
	binary.NativeEndian.PutUint32(b[blockFirst:], blockHeader)
	at := blockHeader
	for i, data := range frames {
		h := b[at:]
		size := (82 + len(data) + 15) &^ 15
		if i < len(frames)-1 {
			binary.NativeEndian.PutUint32(h[frameNext:], uint32(size))
		}
		binary.NativeEndian.PutUint32(h[frameSec:], 1_700_000_000)
		binary.NativeEndian.PutUint32(h[frameNsec:], 1)
		binary.NativeEndian.PutUint32(h[frameSnapLen:], uint32(len(data)))
		binary.NativeEndian.PutUint32(h[frameLen:], uint32(len(data)))
		binary.NativeEndian.PutUint16(h[frameMAC:], 82)
		copy(h[82:], data)
		at += size
	}
	return b
}

// What the NIC has stamped is told apart.
func TestBlockHardware(t *testing.T) {
	b := newBlock([]byte("frame"))
	binary.NativeEndian.PutUint32(b[blockHeader+frameStatus:], unix.TP_STATUS_USER|unix.TP_STATUS_TS_RAW_HARDWARE)
	var f Frame
	_, err := b.frameAt(blockHeader, &f)
	if err != nil || f.Hardware != 1_700_000_000_000_000_001 || f.Arrival != 0 {
		t.Errorf("%+v, %v", f, err)
	}
}

// A ring whose blocks do not hold together says so and goes on.
func TestRingBad(t *testing.T) {
	bad, good := newBlock([]byte("one"), []byte("two")), newBlock([]byte("three"))
	binary.NativeEndian.PutUint32(bad[blockHeader+frameNext:], 7)
	empty := newBlock()
	r := &Ring{memory: append(append(bad, empty...), good...), blockLen: 4096, snapLen: 100}
	var got []string
	for range 6 {
		var f Frame
		ok, err := r.read(&f)
		switch {
		case err != nil:
			got = append(got, err.Error())
		case ok:
			got = append(got, string(f.Data))
			if r.left == 0 {
				r.release()
			}
		default:
			got = append(got, "")
		}
	}
	want := []string{"one", errBadBlock.Error(), "", "three", "", ""}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%q, want %q", got, want)
			break
		}
	}
}

func FuzzBlock(f *testing.F) {
	f.Add([]byte(newBlock([]byte("first"), []byte("second"))))
	f.Add([]byte(newBlock()))
	f.Add(make([]byte, 100))
	f.Fuzz(func(t *testing.T, data []byte) {
		memory := make([]byte, 4096)
		copy(memory, data)
		binary.NativeEndian.PutUint32(memory[blockStatus:], unix.TP_STATUS_USER)
		r := &Ring{memory: memory, blockLen: len(memory)}
		for range 4096 {
			var f Frame
			ok, err := r.read(&f)
			if err != nil || !ok {
				return
			}
			if len(f.Data) > f.Length {
				t.Fatalf("%d bytes of %d", len(f.Data), f.Length)
			}
			if r.left == 0 {
				return
			}
		}
		t.Fatal("more frames than bytes")
	})
}

func TestPacketType(t *testing.T) {
	for kernel, want := range map[uint8]PacketType{
		unix.PACKET_HOST: PacketHost, unix.PACKET_BROADCAST: PacketBroadcast, unix.PACKET_MULTICAST: PacketMulticast,
		unix.PACKET_OTHERHOST: PacketOtherHost, unix.PACKET_OUTGOING: PacketOutgoing, unix.PACKET_LOOPBACK: PacketUnknown, 255: PacketUnknown,
	} {
		if got := packetType(kernel); got != want {
			t.Errorf("%d: %s, want %s", kernel, got, want)
		}
	}
	for p, want := range map[PacketType]string{PacketUnknown: "unknown both", PacketHost: "host in", PacketOtherHost: "other host in", PacketOutgoing: "outgoing out", 99: "unknown both"} {
		if got := p.String() + " " + p.Direction().String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
