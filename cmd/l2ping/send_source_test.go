//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2/frame"
)

// writeFrames writes a file of frames as far apart as said.
func writeFrames(t *testing.T, name string, apart time.Duration, frames ...[]byte) {
	t.Helper()
	var b bytes.Buffer
	w, err := pcapng.NewWriter(&b, nil, pcapng.Interface{Name: "eth0", LinkType: pcapng.LinkEthernet})
	must(t, err)
	for n, data := range frames {
		f := numberedFrame(n, len(data), origin.Add(time.Duration(n)*apart))
		f.Data = data
		must(t, w.Write(&f.Frame, nil))
	}
	must(t, w.Flush())
	must(t, os.WriteFile(name, b.Bytes(), 0o644))
}

// ownFrame is a frame of a type that nobody answers.
func ownFrame(length int) []byte {
	return append([]byte("\x02\x00\x5e\x00\x53\x02\x02\x00\x5e\x00\x53\x01\x88\xb5"), make([]byte, length-14)...)
}

func makeFIFO(t *testing.T) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "fifo")
	must(t, unix.Mkfifo(name, 0o600))
	return name
}

// timely is what f returns, which waits for what somebody else does.
func timely[T any](t *testing.T, f func() (T, error)) (v T) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		var err error
		v, err = f()
		done <- err
	}()
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(hangLimit):
		t.Fatal("it hangs")
	}
	return v
}

// openWriter opens a FIFO to write to it, once somebody reads it.
func openWriter(t *testing.T, name string) *os.File {
	t.Helper()
	return timely(t, func() (*os.File, error) { return os.OpenFile(name, os.O_WRONLY, 0) })
}

// A FIFO that nobody writes to is waited for, and no longer than until the interrupt.
func TestOpenInput(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	name := makeFIFO(t)
	open := func(name string) readable {
		t.Helper()
		return timely(t, func() (readable, error) { return openInput(ctx, name) })
	}
	type read struct {
		text string
		err  error
	}
	reading := func(in readable) chan read {
		all := make(chan read, 1)
		go func() {
			b, err := io.ReadAll(in)
			all <- read{string(b), errors.Join(err, in.Close())}
		}()
		return all
	}

	// The writer comes after it was opened.
	all := reading(open(name))
	w := openWriter(t, name)
	for range 2 {
		_, err := w.WriteString("some")
		must(t, err)
	}
	must(t, w.Close())
	if got := <-all; got != (read{"somesome", nil}) {
		t.Errorf("read %v", got)
	}

	all = reading(open(name))
	interrupt()
	if got := <-all; got != (read{}) {
		t.Errorf("read %v after the interrupt", got)
	}

	// A regular file has all that it has.
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, []byte("some"), 0o600))
	if got := <-reading(open(file)); got != (read{"some", nil}) {
		t.Errorf("read %v of a regular file", got)
	}
	if _, err := openInput(ctx, file+"x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// An interrupt ends the wait for somebody who writes.
func TestSendInterruptedFIFO(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	for _, more := range []string{"-q", "--answers"} {
		p, err := start(pair.Near, command("send", "-i", "eth0", "--json", "-r", makeFIFO(t), more))
		must(t, err)
		if line, ok := p.stdout.line(); !ok || !strings.Contains(line, `"event":"start"`) {
			t.Fatalf("%s: it begins with %q, %s", more, line, p.stderr)
		}
		must(t, p.signal(unix.SIGINT))
		exit, err := p.wait()
		must(t, err)
		if p.stderr.String() != "" || exit != exitNoReply || !strings.Contains(p.stdout.String(), `"event":"summary"`) {
			t.Errorf("%s: exit status %d, %q\n%s", more, exit, p.stderr, p.stdout)
		}
	}
}

// A FIFO is opened once, for who writes to it does so to the first that reads; and so
// there is one round of it. A regular file is read again for each.
func TestSendOpensOnce(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	file := filepath.Join(t.TempDir(), "file")
	writeFrames(t, file, 0, ownFrame(60), ownFrame(61), ownFrame(62))
	frames, err := os.ReadFile(file)
	must(t, err)

	name := makeFIFO(t)
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	must(t, err)
	defer unix.Close(watch)
	_, err = unix.InotifyAddWatch(watch, name, unix.IN_OPEN|unix.IN_CLOSE) // of which no two in a row become one
	must(t, err)
	p, err := start(pair.Near, command("send", "-i", "eth0", "-r", name))
	must(t, err)
	w := openWriter(t, name)
	_, err = w.Write(frames)
	must(t, errors.Join(err, w.Close()))
	exit, err := p.wait()
	must(t, err)
	if exit != exitOK || !strings.HasPrefix(p.stdout.String(), "3 frames sent, ") {
		t.Errorf("exit status %d, %q, %s", exit, p.stderr, p.stdout)
	}
	b := make([]byte, 4096)
	n, err := unix.Read(watch, b)
	must(t, err)
	closed := 0
	for b = b[:n]; len(b) >= unix.SizeofInotifyEvent; b = b[unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:])):] {
		if binary.NativeEndian.Uint32(b[4:])&unix.IN_CLOSE_NOWRITE != 0 {
			closed++
		}
	}
	if closed != 1 {
		t.Errorf("closed %d times by who read", closed)
	}

	for _, tt := range []struct{ name, stdout, stderr string }{
		{name, "", "l2ping: -r " + name + ": it is no regular file, and can be read once (-c 1)\n"},
		{file, "9 frames sent, ", ""},
	} {
		stdout, stderr, exit := runIn(t, pair.Near, command("send", "-i", "eth0", "-c", "3", "-r", tt.name))
		if stderr != tt.stderr || !strings.HasPrefix(stdout, tt.stdout) || (exit == exitOK) != (tt.stderr == "") {
			t.Errorf("-c 3 of %s: exit status %d, %q, %q", tt.name, exit, stdout, stderr)
		}
	}
}

// What comes by a pipe is sent as it comes: whoever writes it may wait for that.
func TestSendLive(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	peer := labtest.StartPeer(t, pair.Far, "eth0", "address 198.51.100.2")
	ask := frame.ARP{Operation: frame.ARPRequest, SenderMAC: frame.MAC(pair.NearMAC), SenderIP: pair.NearIP, TargetIP: pair.FarIP}
	request, err := ask.Marshal(frame.Broadcast)
	must(t, err)
	file := filepath.Join(t.TempDir(), "file")
	writeFrames(t, file, 0, request)
	frames, err := os.ReadFile(file)
	must(t, err)
	name := makeFIFO(t)
	p, err := start(pair.Near, command("send", "-i", "eth0", "-r", name))
	must(t, err)
	w := openWriter(t, name)
	_, err = w.Write(frames)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), hangLimit)
	defer cancel()
	must(t, peer.WaitARP(ctx, 1))
	must(t, w.Close())
	if exit, err := p.wait(); err != nil || exit != exitOK || !strings.HasPrefix(p.stdout.String(), "1 frame sent, ") {
		t.Errorf("exit status %d, %v, %q, %s", exit, err, p.stderr, p.stdout)
	}
}

// All that is wrong with a frame of a file has the file's name.
func TestSendFileNamed(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	name := filepath.Join(t.TempDir(), "file")
	for _, tt := range []struct {
		want   string
		second []byte
	}{
		{"frame 2: a frame of 1515 bytes is longer than the MTU, 1500, with the header: 1514", ownFrame(1515)},
		{"frame 2: a frame of 3 bytes is shorter than an Ethernet header, 14", []byte("abc")},
	} {
		writeFrames(t, name, 0, ownFrame(60), tt.second)
		stdout, stderr, exit := runIn(t, pair.Near, command("send", "-i", "eth0", "-r", name))
		if want := "l2ping: " + name + ": " + tt.want + "\n"; exit != exitError || stderr != want || !strings.HasPrefix(stdout, "1 frame sent, ") {
			t.Errorf("exit status %d, %q, %q; want %q", exit, stdout, stderr, want)
		}
	}
}
