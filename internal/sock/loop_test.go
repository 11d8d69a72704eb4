//go:build linux

package sock

import (
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

func newLoop(t testing.TB, fds ...int) *Loop {
	t.Helper()
	l, err := NewLoop(fds...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return l
}

// once runs the loop until its function has been called again after a wait of d.
// Before that wait it does what it is given.
func once(t testing.TB, l *Loop, d time.Duration, before ...func()) {
	t.Helper()
	calls := 0
	if err := l.Run(func() (time.Duration, bool) {
		if calls++; calls == 1 {
			for _, f := range before {
				f()
			}
		}
		return d, calls == 2
	}); err != nil {
		t.Fatal(err)
	}
}

func TestLoopDeadline(t *testing.T) {
	l := newLoop(t)
	for _, d := range []time.Duration{-1, 0, 1, 30 * time.Microsecond, 2 * time.Millisecond, 5 * time.Millisecond, time.Microsecond} {
		start := time.Now()
		// A timer that is still armed for an earlier wait may end this one.
		for time.Since(start) < d {
			once(t, l, d-time.Since(start))
		}
		once(t, l, d)
	}
	// A wait with no limit is ended by something else alone.
	once(t, l, 1<<63-1, l.Wake)
}

// A wait that was cut short leaves its timer armed: one that follows is not
// overslept, be it shorter or longer.
func TestLoopRearms(t *testing.T) {
	l := newLoop(t)
	once(t, l, patience, l.Wake) // armed, and ended at once
	start := time.Now()
	once(t, l, time.Millisecond)
	if took := time.Since(start); took < time.Millisecond || took > patience/2 {
		t.Errorf("a wait of 1ms took %v", took)
	}
}

func TestLoopReadable(t *testing.T) {
	in1, out1 := datagramPair(t)
	in2, out2 := datagramPair(t)
	l := newLoop(t, in1, in2)
	b := NewBatch(4, 8, 64)
	for i, out := range []int{out1, out2, out1, out1} {
		in := []int{in1, in2, in1, in1}[i]
		send(t, out, []byte("x"))
		var got int
		if err := l.Run(func() (time.Duration, bool) {
			n, err := b.Recv(in, 0)
			if err != nil {
				t.Error(err)
			}
			got += n
			if got == 1 && i%2 == 0 { // once more, while it waits
				send(t, out, []byte("y"))
			}
			return patience, got == 2-i%2
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// What comes while the function has muted the loop wakes nobody, and brings it back
// when it waits.
func TestLoopMute(t *testing.T) {
	in, out := datagramPair(t)
	l := newLoop(t, in)
	ready := func() bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(l.epoll), Events: unix.POLLIN}}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return n > 0
	}
	b := NewBatch(4, 8, 64)
	for _, muted := range []bool{false, true, false} {
		once(t, l, patience, func() {
			if muted {
				l.Mute()
				l.Mute()
			}
			send(t, out, []byte("x"))
			if got := ready(); got == muted {
				t.Errorf("muted %v: a datagram makes it ready: %v", muted, got)
			}
		})
		if n, err := b.Recv(in, 0); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if ready() {
			t.Errorf("muted %v: ready with nothing to read", muted)
		}
	}
}

// A descriptor that is gone ends the run: it would be deaf for ever.
func TestLoopMuteFails(t *testing.T) {
	in, _ := datagramPair(t)
	fd, err := unix.Dup(in)
	if err != nil {
		t.Fatal(err)
	}
	l := newLoop(t, fd)
	err = l.Run(func() (time.Duration, bool) {
		l.Mute()
		if err := unix.Close(fd); err != nil {
			t.Error(err)
		}
		return patience, false
	})
	if !errors.Is(err, unix.EBADF) {
		t.Errorf("%v, want EBADF", err)
	}
}

// A datagram that comes at any moment, also just when the function has found
// nothing, brings it back: else the run would hang.
func TestLoopLosesNothing(t *testing.T) {
	in, out := datagramPair(t)
	l := newLoop(t, in)
	const count = 20_000
	var read atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range int64(count) {
			if _, err := unix.Write(out, []byte("x")); err != nil {
				t.Error(err)
				return
			}
			for read.Load() <= i {
				runtime.Gosched()
			}
		}
	})
	b := NewBatch(4, 8, 64)
	calls := 0
	if err := l.Run(func() (time.Duration, bool) {
		if calls++; calls%3 == 0 {
			l.Mute()
		}
		n, err := b.Recv(in, 0)
		if err != nil {
			t.Error(err)
		}
		return 1<<63 - 1, read.Add(int64(n)) == count || t.Failed()
	}); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

// The error of a descriptor ends a wait while it is watched, and only then.
func TestLoopErrors(t *testing.T) {
	// A pipe that nobody reads from is in error, as is a socket with an error queue.
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[1])
	if err := unix.Close(ends[0]); err != nil {
		t.Fatal(err)
	}
	l := newLoop(t)
	watch := func(on bool) func() {
		return func() {
			if err := l.WatchErrors(ends[1], on); err != nil {
				t.Error(err)
			}
		}
	}
	for range 2 {
		once(t, l, 1<<63-1, watch(true))
		start := time.Now()
		once(t, l, time.Millisecond, watch(false))
		if took := time.Since(start); took < time.Millisecond {
			t.Errorf("an error that nobody asked for ended the wait after %v", took)
		}
	}
	if err := l.WatchErrors(ends[1], false); !errors.Is(err, unix.ENOENT) {
		t.Errorf("an error that is not watched: %v", err)
	}
}

// TestLoopWakes has many goroutines announce things, each one only after the
// loop has seen its last: a Wake that is lost leaves it waiting with something
// to see. Another one calls Wake without end, so that Wakes fall into every
// moment of a run.
func TestLoopWakes(t *testing.T) {
	const wakers, rounds = 8, 500
	l := newLoop(t)
	var (
		said [wakers]atomic.Int64
		seen [wakers]chan struct{}
		wg   sync.WaitGroup
		stop atomic.Bool
	)
	for i := range wakers {
		seen[i] = make(chan struct{}, 1)
		wg.Go(func() {
			for n := range int64(rounds) {
				said[i].Store(n + 1)
				l.Wake()
				<-seen[i]
			}
		})
	}
	wg.Go(func() {
		for !stop.Load() {
			l.Wake()
			runtime.Gosched()
		}
	})
	var last [wakers]int64
	left := wakers * rounds
	if err := l.Run(func() (time.Duration, bool) {
		for i := range wakers {
			if n := said[i].Load(); n != last[i] {
				last[i] = n
				left--
				seen[i] <- struct{}{}
			}
		}
		return 1<<63 - 1, left == 0
	}); err != nil {
		t.Fatal(err)
	}
	stop.Store(true)
	wg.Wait()
}

func TestLoopClosed(t *testing.T) {
	l := newLoop(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l.Wake() // harms nobody
	if err := l.Run(func() (time.Duration, bool) { return 0, true }); err == nil {
		t.Error("a closed loop has run")
	}
	if _, err := NewLoop(-1); !errors.Is(err, unix.EBADF) {
		t.Errorf("a bad descriptor: %v", err)
	}
}

// Garbage is collected while a loop waits, and its waits go on. A turn of it
// allocates nothing.
func TestLoopAllocates(t *testing.T) {
	in, out := datagramPair(t)
	l := newLoop(t, in)
	b := NewBatch(4, 8, 64)
	turns := 0
	var before, after runtime.MemStats
	if err := l.Run(func() (time.Duration, bool) {
		for {
			if n, _ := b.Recv(in, 0); n == 0 {
				break
			}
		}
		switch turns++; turns {
		case 10:
			runtime.GC()
			runtime.ReadMemStats(&before)
		case 1010:
			runtime.ReadMemStats(&after)
			return 0, true
		}
		if turns%2 == 0 {
			_, _, _ = unix.RawSyscall(unix.SYS_SENDTO, uintptr(out), 0, 0)
		}
		return time.Microsecond, false
	}); err != nil {
		t.Fatal(err)
	}
	// The collector and the race detector have some of their own.
	if n := after.Mallocs - before.Mallocs; n > 100 {
		t.Errorf("%d allocations in 1000 turns", n)
	}
}

// What the function leaves unread does not bring it back before its time.
func TestLoopLeftUnread(t *testing.T) {
	in, out := datagramPair(t)
	l := newLoop(t, in)
	once(t, l, 1<<63-1, func() { send(t, out, []byte("x")) })
	for range 3 {
		start := time.Now()
		once(t, l, time.Millisecond)
		if took := time.Since(start); took < time.Millisecond {
			t.Errorf("a datagram that was left ended a wait of 1ms after %v", took)
		}
	}
	// And another one does, of which there is no more to be seen than of the first.
	once(t, l, 1<<63-1, func() { send(t, out, []byte("y")) })
}

// A timer that goes off early for a wait that was cut short does so once: waits
// of all lengths, cut short at random, never end too late nor call the function
// without end.
func TestLoopWaits(t *testing.T) {
	l := newLoop(t)
	random := rand.New(rand.NewPCG(1, 2))
	calls, wakes, waits := 0, 0, 0
	var due time.Time // of the last wait
	if err := l.Run(func() (time.Duration, bool) {
		calls++
		if now := time.Now(); !now.Before(due) {
			if waits++; waits > 500 {
				return 0, true
			}
			due = now.Add(time.Duration(random.ExpFloat64() * float64(200*time.Microsecond)))
		}
		if random.IntN(4) == 0 {
			wakes++
			l.Wake()
		}
		return time.Until(due), false
	}); err != nil {
		t.Fatal(err)
	}
	// Each wait ends by its own timer, or by one that was armed for an earlier one,
	// and each Wake ends another.
	if calls > 3*waits+2*wakes {
		t.Errorf("%d calls for %d waits and %d wakes", calls, waits, wakes)
	}
}

// A stamp in the error queue of a socket that is watched ends a wait, also one
// that was there before; while it is not watched none does.
func TestLoopStamps(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	out := listen(t, pair.Near, 0, nil)
	if err := unix.SetsockoptInt(out.FD(), unix.SOL_SOCKET, unix.SO_TIMESTAMPING,
		unix.SOF_TIMESTAMPING_TX_SOFTWARE|unix.SOF_TIMESTAMPING_SOFTWARE|unix.SOF_TIMESTAMPING_OPT_TSONLY); err != nil {
		t.Fatal(err)
	}
	frame := append(append(append([]byte{}, pair.FarMAC...), pair.NearMAC...), 0x88, 0xb5, 'h', 'i')
	leave := func() {
		if _, err := unix.Write(out.FD(), frame); err != nil {
			t.Error(err)
		}
	}
	b := NewBatch(4, 0, 256)
	drain := func() (total int) {
		for {
			n, err := b.Recv(out.FD(), unix.MSG_ERRQUEUE)
			if err != nil {
				t.Fatal(err)
			}
			if total += n; n < 4 {
				return total
			}
		}
	}
	l := newLoop(t)
	watch := func(on bool) {
		if err := l.WatchErrors(out.FD(), on); err != nil {
			t.Error(err)
		}
	}
	for range 3 {
		once(t, l, 1<<63-1, func() { watch(true); leave() })
		watch(false)
		if n := drain(); n != 1 {
			t.Fatalf("%d stamps, want 1", n)
		}
		once(t, l, 1<<63-1, func() { leave(); watch(true) })
		watch(false)
		start := time.Now()
		once(t, l, time.Millisecond, leave)
		if took := time.Since(start); took < time.Millisecond {
			t.Errorf("a stamp that nobody asked for ended the wait after %v", took)
		}
		if n := drain(); n != 2 {
			t.Fatalf("%d stamps, want 2", n)
		}
	}
}

// TestLoopOneProcessor has all that a loop waits for and all that wakes it share
// one processor.
func TestLoopOneProcessor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	t.Run("deadline", TestLoopDeadline)
	t.Run("readable", TestLoopReadable)
	t.Run("wakes", TestLoopWakes)
	t.Run("waits", TestLoopWaits)
	t.Run("in turn", func(t *testing.T) {
		in, out := datagramPair(t)
		l := newLoop(t, in)
		const count = 2000
		seen := make(chan struct{}, 1)
		var wg sync.WaitGroup
		wg.Go(func() {
			for range count {
				if _, err := unix.Write(out, []byte("x")); err != nil {
					t.Error(err)
				}
				<-seen
			}
		})
		b := NewBatch(4, 8, 64)
		left := count
		if err := l.Run(func() (time.Duration, bool) {
			n, err := b.Recv(in, 0)
			if err != nil {
				t.Error(err)
			}
			for range n {
				left--
				seen <- struct{}{}
			}
			return 1<<63 - 1, left == 0
		}); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
	})
}
