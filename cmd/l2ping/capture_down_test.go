//go:build linux

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	wentDown = "^l2ping: eth0 went down: the capture goes on when it is up again$"
	isUp     = "^l2ping: eth0 is up again$"
)

func (c *captured) setDown() {
	c.t.Helper()
	if err := c.pair.Near.SetDown("eth0"); err != nil {
		c.t.Fatal(err)
	}
}

func (c *captured) setUp() {
	c.t.Helper()
	if err := c.pair.SetUp(); err != nil {
		c.t.Fatal(err)
	}
}

// An interface that goes down and comes up again is told, and captured on again, to as
// many frames as were asked for.
func TestCaptureFlap(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f.pcapng")
	c := startCapture(t, nil, "-w", path, "-c", "300", "ether proto 0x88b5")
	for n := range 3 {
		c.send(100*n, 100, 60)
		if n < 2 {
			c.setDown()
			c.expect(c.stderr, wentDown)
			c.setUp()
			c.expect(c.stderr, isUp)
		}
	}
	c.ends(exitOK, counts(300))
	if got := numbersOfFile(t, path); !slices.Equal(got, upTo(300)) {
		t.Errorf("%v", got)
	}
	if n := strings.Count(c.stderr.String(), "\n"); n != 8 {
		t.Errorf("%d lines:\n%s", n, c.stderr)
	}
}

// In JSON it is told by events, in their place among the frames.
func TestCaptureFlapJSON(t *testing.T) {
	t.Parallel()
	c := startCapture(t, nil, "--json", "ether proto 0x88b5")
	c.send(0, 1, 60)
	c.expect(c.stdout, `"event":"frame"`)
	c.setDown()
	c.expect(c.stdout, `"event":"change",.*"what":"down","interface":"eth0"`)
	c.setUp()
	c.expect(c.stdout, `"event":"change",.*"what":"up","interface":"eth0"`)
	c.send(1, 1, 60)
	c.expect(c.stdout, `"event":"frame"`)
	c.end(exitOK, `\A\z`)
	if _, err := decodeCapture(c.stdout.String()); err != nil {
		t.Error(err)
	}
}

// While it is down an interrupt ends a capture well, files end by their time, and the
// end of the interface ends it as at any time.
func TestCaptureEndsWhileDown(t *testing.T) {
	t.Parallel()
	t.Run("interrupt", func(t *testing.T) {
		t.Parallel()
		c := startCapture(t, nil, "ether proto 0x88b5")
		c.send(0, 1, 60)
		c.expect(c.stdout, "length 60$")
		c.setDown()
		c.expect(c.stderr, wentDown)
		c.end(exitOK, `(?m)^1 packet captured\n1 packet received by filter\n0 packets dropped by kernel\n\z`)
	})
	t.Run("time", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		c := startCapture(t, nil, "-w", filepath.Join(dir, "f-%s"), "-G", "1", "-W", "2", "ether proto 0x88b5")
		c.setDown()
		c.expect(c.stderr, wentDown)
		c.ends(exitOK, counts(0))
		if list, err := os.ReadDir(dir); err != nil || len(list) != 2 {
			t.Errorf("%v, %v", list, err)
		}
	})
	t.Run("gone", func(t *testing.T) {
		t.Parallel()
		c := startCapture(t, nil, "ether proto 0x88b5")
		c.setDown()
		c.expect(c.stderr, wentDown)
		if err := c.pair.Near.DeleteLink("eth0"); err != nil {
			t.Fatal(err)
		}
		c.ends(exitError, "(?m)^l2ping: capture on eth0: the interface is gone\n\\z")
	})
}
