//go:build linux

package sock

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func newPoller(t testing.TB, fds ...int) *Poller {
	t.Helper()
	p, err := NewPoller(fds...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// undisturbed keeps the test's goroutine on a thread that the signal of the Go
// runtime's scheduler does not reach: it would end waits.
func undisturbed(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	var set, old unix.Sigset_t
	const bit, word = int(unix.SIGURG) - 1, 8 * int(unsafe.Sizeof(set.Val[0]))
	set.Val[bit/word] |= 1 << (bit % word)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // on the same goroutine
		if err := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil); err != nil {
			t.Error(err)
		}
		runtime.UnlockOSThread()
	})
}

// wait waits and tells whether it was Wake that ended the wait.
func wait(t testing.TB, p *Poller, d time.Duration, errfd int) (woken bool) {
	t.Helper()
	p.fds[0].Revents = 0
	if err := p.Wait(d, errfd); err != nil {
		t.Fatal(err)
	}
	return p.fds[0].Revents != 0
}

func TestPollerWakeBeforeWait(t *testing.T) {
	undisturbed(t)
	p := newPoller(t)
	p.Wake()
	p.Wake()
	if !wait(t, p, patience, -1) {
		t.Error("the wait ended, but not by Wake")
	}
	if wait(t, p, 0, -1) {
		t.Error("two Wakes before one Wait ended two of them")
	}
	p.Wake()
	if !wait(t, p, patience, -1) {
		t.Error("after a Wait the next Wake does nothing")
	}
}

func TestPollerWakeDuringWait(t *testing.T) {
	undisturbed(t)
	p := newPoller(t)
	thread, failed := unix.Gettid(), make(chan error, 1)
	go func() {
		var state byte
		var err error
		for state != 'S' && err == nil {
			state, err = threadState(thread)
		}
		p.Wake()
		failed <- err
	}()
	if !wait(t, p, patience, -1) {
		t.Error("the wait ended, but not by Wake")
	}
	if err := <-failed; err != nil {
		t.Error(err)
	}
}

func TestPollerDeadline(t *testing.T) {
	undisturbed(t)
	p := newPoller(t)
	for _, d := range []time.Duration{0, 1, 100 * time.Microsecond, 5 * time.Millisecond} {
		start := time.Now()
		if wait(t, p, d, -1) {
			t.Errorf("%v: nobody called Wake", d)
		}
		if took := time.Since(start); took < d {
			t.Errorf("a wait of %v ended after %v", d, took)
		}
	}
}

func TestPollerReadable(t *testing.T) {
	undisturbed(t)
	in1, out1 := datagramPair(t)
	in2, out2 := datagramPair(t)
	p := newPoller(t, in1, in2)
	for i, out := range []int{out1, out2} {
		in := []int{in1, in2}[i]
		send(t, out, []byte("x"))
		// Twice: nothing but reading makes a socket not readable.
		for range 2 {
			if wait(t, p, -1, -1) {
				t.Error("a wait that data ended, ended by Wake")
			}
			if got := p.fds[1+i].Revents; got != unix.POLLIN {
				t.Errorf("descriptor %d: events %#x", i, got)
			}
		}
		if _, err := unix.Read(in, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if wait(t, p, time.Millisecond, -1) || time.Since(start) < time.Millisecond {
			t.Error("with nothing to read the wait ended before its time")
		}
	}
}

// The error of a descriptor ends only a wait that asks for it.
func TestPollerErrors(t *testing.T) {
	undisturbed(t)
	in, _ := datagramPair(t)
	p := newPoller(t, in)
	// A pipe that nobody reads from is in error, as is a socket with an error queue.
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[1])
	if err := unix.Close(ends[0]); err != nil {
		t.Fatal(err)
	}
	if wait(t, p, -1, ends[1]) {
		t.Error("the wait ended by Wake")
	}
	start := time.Now()
	wait(t, p, time.Millisecond, -1)
	if took := time.Since(start); took < time.Millisecond {
		t.Errorf("an error that nobody asked for ended the wait after %v", took)
	}
	// With everything at once, a Wake is not lost.
	p.Wake()
	if !wait(t, p, patience, ends[1]) {
		t.Error("beside an error, the Wake is not seen")
	}
}

// A signal ends a wait, without an error.
func TestPollerSignal(t *testing.T) {
	p := newPoller(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread, ended, failed := unix.Gettid(), make(chan struct{}), make(chan error, 1)
	go func() {
		// The runtime uses this signal itself, and ignores what it did not ask for.
		// One that comes before the wait does not end it.
		var err error
		for err == nil {
			select {
			case <-ended:
				failed <- nil
				return
			default:
				err = unix.Tgkill(unix.Getpid(), thread, unix.SIGURG)
				runtime.Gosched()
			}
		}
		p.Wake()
		failed <- err
	}()
	if err := p.Wait(-1, -1); err != nil {
		t.Error(err)
	}
	close(ended)
	if err := <-failed; err != nil {
		t.Error(err)
	}
}

// TestPollerManyWakes has many goroutines announce things, each one only after
// the waiter has seen its last: a Wake that is lost leaves the waiter asleep
// with something to see. Another one calls Wake without end, so that Wakes fall
// into the moment in which a Wait takes note of one.
func TestPollerManyWakes(t *testing.T) {
	undisturbed(t)
	const wakers, rounds = 8, 2000
	p := newPoller(t)
	var (
		said [wakers]atomic.Int64
		seen [wakers]chan struct{}
		wg   sync.WaitGroup
	)
	for i := range wakers {
		seen[i] = make(chan struct{}, 1)
		wg.Go(func() {
			for n := range int64(rounds) {
				said[i].Store(n + 1)
				p.Wake()
				<-seen[i]
			}
		})
	}
	var stop atomic.Bool
	wg.Go(func() {
		for !stop.Load() {
			p.Wake()
		}
	})
	var last [wakers]int64
	for left := wakers * rounds; left > 0; {
		woken := wait(t, p, patience, -1)
		for i := range wakers {
			if n := said[i].Load(); n != last[i] {
				if !woken {
					t.Errorf("waker %d said %d, but no Wake ended the wait", i, n)
				}
				last[i] = n
				left--
				seen[i] <- struct{}{}
			}
		}
		if t.Failed() {
			break
		}
	}
	stop.Store(true)
	if t.Failed() { // let them go
		for i := range wakers {
			close(seen[i])
		}
	}
	wg.Wait()
}

func TestPollerAllocates(t *testing.T) {
	in, _ := datagramPair(t)
	p := newPoller(t, in)
	if allocs := testing.AllocsPerRun(1000, func() {
		if !raceDetector {
			p.Wake()
			_ = p.Wait(time.Second, in)
		}
		_ = p.Wait(1, in)
		_ = p.Wait(0, -1)
	}); allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}
