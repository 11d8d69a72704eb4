//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/l2ping/l2ping/internal/lab"
)

// captureGrace is how long a capture may take to begin, and to have written
// the last frame.
const captureGrace = 5 * time.Second

// capturing is a tcpdump of arriving frames.
type capturing struct {
	cmd    *exec.Cmd
	path   string
	what   message
	stderr bytes.Buffer
	wg     sync.WaitGroup
	once   sync.Once
	err    error
}

// capture starts a capture on eth0 of n and returns when it is at work.
func (b *bench) capture(n *lab.Namespace, path string, what message) (*capturing, error) {
	c := &capturing{path: path, what: what}
	c.cmd = exec.Command(b.tcpdump.path,
		"-i", "eth0", "-Q", "in", "-j", "host", "--time-stamp-precision=nano", "--immediate-mode", "-U",
		"-n", "-p", "-Z", "root", "-B", "16384", "-w", path,
		what.filter)
	out, err := c.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := n.Start(c.cmd); err != nil {
		return nil, fmt.Errorf("tcpdump: %w", err)
	}
	listening := make(chan bool, 1)
	c.wg.Go(func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			fmt.Fprintln(&c.stderr, lines.Text())
			if strings.Contains(lines.Text(), "listening on") {
				listening <- true
			}
		}
		close(listening)
	})
	select {
	case ok := <-listening:
		if ok {
			return c, nil
		}
	case <-time.After(captureGrace):
	}
	c.stop()
	return nil, fmt.Errorf("tcpdump does not listen: %s", &c.stderr)
}

// end waits until that many frames are captured, or for some time, ends the
// capture and returns what it has. Fewer frames are errVoid.
func (c *capturing) end(count int) ([]arrival, error) {
	deadline := time.Now().Add(captureGrace)
	for {
		got, err := c.read()
		if err != nil {
			return nil, err
		}
		late := time.Now().After(deadline)
		if len(got) < count && !late {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		if err := c.stop(); err != nil {
			return nil, fmt.Errorf("tcpdump: %w: %s", err, &c.stderr)
		}
		if len(got) < count {
			return nil, fmt.Errorf("%w: %d of %d frames captured", errVoid, len(got), count)
		}
		// Once more: what came after the last expected frame is a fault.
		if got, err = c.read(); err == nil && len(got) > count {
			err = fmt.Errorf("%d frames captured, but only %d sent", len(got), count)
		}
		return got, err
	}
}

func (c *capturing) read() ([]arrival, error) {
	f, err := os.Open(c.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readArrivals(f, c.what)
}

// stop ends the capture if it still runs.
func (c *capturing) stop() error {
	c.once.Do(func() {
		c.err = c.cmd.Process.Signal(syscall.SIGINT)
		c.wg.Wait() // all of standard error is read before Wait (StderrPipe)
		c.err = errors.Join(c.err, c.cmd.Wait())
	})
	return c.err
}
