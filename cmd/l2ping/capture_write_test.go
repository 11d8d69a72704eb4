//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	cbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// sink is a file that keeps nothing but its length, and how often it was written to.
type sink struct{ size, writes int64 }

func (s *sink) Write(b []byte) (int, error) {
	s.size += int64(len(b))
	s.writes++
	return len(b), nil
}
func (s *sink) Name() string         { return "sink" }
func (s *sink) Close() error         { return nil }
func (s *sink) Truncate(int64) error { return unix.EINVAL }

// newWriting is a capture into a sink.
func newWriting(t *testing.T, s *sink, f *captureFlags) *capturing {
	t.Helper()
	return &capturing{
		e: &env{stderr: io.Discard}, f: f, out: bufio.NewWriter(io.Discard),
		files: &captureFiles{
			size: f.size * 1e6, first: pcapng.Interface{Name: "eth0", LinkType: pcapng.LinkEthernet},
			open: func(string) (frameFile, error) { return s, nil },
		},
	}
}

// A frame costs no allocation on its way into a file, whatever bounds the file, and
// they are written many at a time.
func TestCaptureWriteAllocates(t *testing.T) {
	for name, flags := range map[string]*captureFlags{
		"no bound":      {},
		"bound by size": {size: 1e6},
		"counted":       {count: 1 << 40},
	} {
		var s sink
		c := newWriting(t, &s, flags)
		if err := c.files.begin(origin); err != nil {
			t.Fatal(err)
		}
		var o pcapng.Options
		f, facts := numberedFrame(1, 60, origin), c.files.first
		const turn = 20_000 // frames: more than are written at a time
		before := s.writes
		allocations := testing.AllocsPerRun(5, func() {
			for range turn {
				if err := c.frame(f, &facts, &o); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.flush(); err != nil {
				t.Fatal(err)
			}
		})
		if allocations != 0 {
			t.Errorf("%s: %v allocations for %d frames", name, allocations, turn)
		}
		if writes := s.writes - before; c.captured != 6*turn || s.size < 6*turn*60 || writes > 6*turn/1000 {
			t.Errorf("%s: %d frames are %d bytes in %d writes", name, c.captured, s.size, writes)
		}
	}
}

// Nor does it on its way from the ring: turns allocate, and there are few of them.
func TestCaptureCollectAllocates(t *testing.T) {
	labtest.RequireRoot(t)
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	torrent, err := lab.NewTorrent(pair.Far, "eth0", numberedFrame(0, 60, origin).Data)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("%v (Linux 5.18 has them)", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer torrent.Close()
	var s sink
	l := &liveCapture{
		capturing: newWriting(t, &s, &captureFlags{source: sourceFlags{name: "eth0"}, snapLen: capture.MaxSnapLen}),
		delay:     writeDelay,
	}
	if err := pair.Far.Do(func() error { return l.open("") }); err != nil {
		t.Fatal(err)
	}
	defer l.ring.Close()
	// All of them are in the ring before the first is taken out.
	const frames = 100_000
	if poured, _, err := torrent.Pour(t.Context(), frames, 0); err != nil || poured != frames {
		t.Fatalf("%d frames, %v", poured, err)
	}
	l.f.count = frames
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err = l.collect(t.Context())
	runtime.ReadMemStats(&after)
	if !errors.Is(err, errEnoughFrames) || l.captured != frames || l.counted().Dropped != 0 {
		t.Errorf("%d frames, %v, %+v", l.captured, err, l.counted())
	}
	if n := after.Mallocs - before.Mallocs; n > frames/100 {
		t.Errorf("%d allocations for %d frames", n, frames)
	}
}

// refuseRing has the kernel refuse to make a ring for what runs on this thread, as it
// does for want of memory.
func refuseRing() error {
	// struct seccomp_data: nr, arch, the instruction's address, six arguments of 64
	// bits.
	argument := func(n uint32) uint32 {
		low := uint32(0)
		if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
			low = 4
		}
		return 16 + 8*n + low
	}
	raw, err := cbpf.Assemble([]cbpf.Instruction{
		cbpf.LoadAbsolute{Off: 0, Size: 4},
		cbpf.JumpIf{Cond: cbpf.JumpNotEqual, Val: unix.SYS_SETSOCKOPT, SkipTrue: 5},
		cbpf.LoadAbsolute{Off: argument(1), Size: 4},
		cbpf.JumpIf{Cond: cbpf.JumpNotEqual, Val: unix.SOL_PACKET, SkipTrue: 3},
		cbpf.LoadAbsolute{Off: argument(2), Size: 4},
		cbpf.JumpIf{Cond: cbpf.JumpNotEqual, Val: unix.PACKET_RX_RING, SkipTrue: 1},
		cbpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOMEM)},
		cbpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
	})
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, in := range raw {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	_, _, errno := unix.Syscall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("set seccomp filter: %w", errno)
	}
	return nil
}

// Without a ring it says so, and why, and captures nevertheless.
func TestCaptureFallback(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args, said, listening, frame string
	}{
		{"", `^l2ping: no ring: set PACKET_RX_RING: setsockopt: cannot allocate memory$`, `^listening on eth0, `, "\n"},
		{" --json", "", `"ring_reason":"set PACKET_RX_RING: setsockopt: cannot allocate memory"`, `"event":"frame"`},
	} {
		pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
		peer := labtest.StartPeer(t, pair.Far, "eth0", "")
		c := &captured{t: t, pair: pair, peer: peer}
		e, _, _ := newTestEnv()
		stdout, stderr := newOutput(), newOutput()
		e.stdout, e.stderr = stdout, stderr
		var cancel context.CancelFunc
		e.interrupted, cancel = context.WithTimeout(t.Context(), hangLimit)
		exit := make(chan int, 1)
		go func() {
			defer stdout.end()
			defer stderr.end()
			err := pair.Near.Do(func() error {
				if err := refuseRing(); err != nil {
					return err
				}
				exit <- run(e, strings.Fields("capture -i eth0 -c 3"+tt.args))
				return nil
			})
			if err != nil {
				t.Error(err)
				exit <- -1
			}
		}()
		first := stderr
		if tt.said == "" {
			first = stdout
		} else if err := stderr.match(regexp.MustCompile(tt.said)); err != nil {
			t.Error(err)
		}
		if err := first.match(regexp.MustCompile(tt.listening)); err != nil {
			t.Error(err)
		}
		c.send(0, 3, 60)
		if got := <-exit; got != exitOK {
			t.Errorf("%s: exit status %d, %s", tt.args, got, stderr)
		}
		stdout.wait()
		stderr.wait()
		cancel()
		if strings.Count(stdout.String(), tt.frame) != 3 {
			t.Errorf("%s: it printed %s", tt.args, stdout)
		}
	}
}
