//go:build linux

package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// signals sends some, one right behind the other.
func (p *process) signals(t *testing.T, list ...os.Signal) {
	t.Helper()
	for _, s := range list {
		// It may have ended by itself by then.
		if err := p.signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
	}
}

// One request may be several signals, as of timeout(1) and systemd: none of them
// keeps a command from saying how it went, whenever it arrives.
func TestSignalTwice(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		list []os.Signal
	}{
		{"timeout", []os.Signal{unix.SIGTERM, unix.SIGTERM}},
		{"systemd", []os.Signal{unix.SIGTERM, unix.SIGHUP}},
		{"terminal", []os.Signal{unix.SIGHUP, unix.SIGHUP, unix.SIGINT}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
			c := &captured{t: t, pair: pair, peer: labtest.StartPeer(t, pair.Far, "eth0", "")}
			path := filepath.Join(t.TempDir(), "f.pcapng")
			for range 15 {
				c.start(command("capture", "-i", "eth0", "-w", path, "ether proto 0x88b5"))
				c.send(0, 20, 60)
				c.signals(t, tt.list...)
				c.ends(exitOK, counts(20))
				if got := numbersOfFile(t, path); !slices.Equal(got, upTo(20)) {
					t.Errorf("%v", got)
				}
			}
			for range 5 {
				p, err := start(pair.Near, command("-i", "eth0", "-d", "10ms", "198.51.100.2"))
				if err != nil {
					t.Fatal(err)
				}
				if err := p.stdout.match(regexp.MustCompile("icmp_seq=1 ")); err != nil {
					t.Fatal(err)
				}
				p.signals(t, tt.list...)
				exit, err := p.wait()
				if err != nil || exit != exitOK || p.stdout.match(regexp.MustCompile("^rtt min/avg/max/mdev")) != nil {
					t.Errorf("exit status %d, %v: %s%s", exit, err, p.stdout, p.stderr)
				}
			}
		})
	}
}

// What cannot say how it went, because nobody reads that, is ended by a signal after
// the grace, and by none before.
func TestSignalGrace(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := startCapture(t, w, "-w", "-")
	w.Close()
	// The pipe has no room for them.
	c.send(0, 1000, 1514)
	began := time.Now()
	often := time.NewTicker(10 * time.Millisecond)
	defer often.Stop()
	for c.signal(unix.SIGTERM) == nil {
		<-often.C
	}
	_, err = c.wait()
	if ended := (*signalError)(nil); !errors.As(err, &ended) || ended.signal != unix.SIGTERM {
		t.Errorf("%v: %s", err, c.stderr)
	}
	if took := time.Since(began); took < grace {
		t.Errorf("ended after %v", took)
	}
}

// With SIGHUP ignored it stays so.
func TestSignalNohup(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	c := &captured{t: t, pair: pair, peer: labtest.StartPeer(t, pair.Far, "eth0", "")}
	cmd := command("capture", "-i", "eth0")
	cmd.Env = append(cmd.Env, roleVar+"=nohup")
	c.start(cmd)
	for n := range 3 {
		c.signals(t, unix.SIGHUP)
		c.send(n, 1, 60)
		c.expect(c.stdout, "length 60$")
	}
	c.end(exitOK, counts(3))
}

// A read that waits for more ends, from standard input and from a named pipe, and what
// came before is there.
func TestSignalWhileReading(t *testing.T) {
	t.Parallel()
	ns := labtest.NewNamespace(t)
	for _, named := range []bool{false, true} {
		cmd := command("capture", "-r", "-")
		var feed *os.File
		if named {
			path := filepath.Join(t.TempDir(), "pipe")
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			// Both ends are open at once, and neither waits for the other.
			var err error
			if feed, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
				t.Fatal(err)
			}
			cmd.Args[len(cmd.Args)-1] = path
		} else {
			in, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			cmd.Stdin, feed = in, w
		}
		defer feed.Close()
		p, err := start(ns, cmd)
		if err != nil {
			t.Fatal(err)
		}
		w, err := pcapng.NewWriter(feed, nil, pcapng.Interface{Name: "eth0", LinkType: pcapng.LinkEthernet})
		if err != nil {
			t.Fatal(err)
		}
		f := numberedFrame(1, 60, origin)
		if err := errors.Join(w.Write(&f.Frame, nil), w.Flush()); err != nil {
			t.Fatal(err)
		}
		if err := p.stdout.match(regexp.MustCompile(" In .*length 60$")); err != nil {
			t.Fatalf("%v: %s", err, p.stderr)
		}
		// A part of a frame is none, and no reason to complain.
		if _, err := io.WriteString(feed, "\x06\x00\x00\x00"); err != nil {
			t.Fatal(err)
		}
		p.signals(t, unix.SIGTERM, unix.SIGTERM)
		exit, err := p.wait()
		if err != nil || exit != exitOK || !regexp.MustCompile(`\Areading from file .*\n\z`).MatchString(p.stderr.String()) {
			t.Errorf("named %t: exit status %d, %v: %s", named, exit, err, p.stderr)
		}
	}
}
