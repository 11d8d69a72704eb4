//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/render"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// Lines that nobody reads end a capture, but not before all that was captured is in the
// file.
func TestCaptureOutputGone(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"--print", "--json"} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			path := filepath.Join(t.TempDir(), "f.pcapng")
			c := &captured{t: t, pair: labtest.NewPair(t, &lab.PairConfig{Silent: true})}
			c.peer = labtest.StartPeer(t, c.pair.Far, "eth0", "")
			// With --json the first line says that it hears.
			cmd := command("capture", "-i", "eth0", "-w", path, args, "ether proto 0x88b5")
			cmd.Stdout = w
			if c.process, err = start(c.pair.Near, cmd); err != nil {
				t.Fatal(err)
			}
			w.Close()
			if args == "--print" {
				c.expect(c.stderr, "^listening on eth0")
			} else if line, err := bufio.NewReader(r).ReadString('\n'); err != nil || !strings.Contains(line, `"event":"start"`) {
				t.Fatalf("%q, %v", line, err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			c.send(0, 200, 60)
			c.ends(exitError, `(?m)^l2ping: write the output: broken pipe\n\z`)
			got := numbersOfFile(t, path)
			if len(got) == 0 {
				t.Error("no frame is in the file")
			}
			if said := fmt.Sprintf("%s captured\n", packets(uint64(len(got)))); args == "--print" && !strings.Contains(c.stderr.String(), "\n"+said) {
				t.Errorf("%d frames are in the file:\n%s", len(got), c.stderr)
			}
		})
	}
}

// What nobody reads of standard error is lost, and nothing else: neither counts that
// are asked for nor a link that goes down end a capture into a file.
func TestCaptureErrorsGone(t *testing.T) {
	t.Parallel()
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	path := filepath.Join(t.TempDir(), "f.pcapng")
	cmd := command("capture", "-i", "eth0", "-w", path, "ether proto 0x88b5")
	cmd.Stderr = w
	if err := pair.Near.Start(cmd); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(hangLimit, func() { _ = cmd.Process.Kill() })
	defer limit.Stop()
	ended := sync.OnceValue(cmd.Wait)
	defer func() {
		_ = cmd.Process.Kill() // does nothing once it has ended
		_ = ended()
	}()
	w.Close()
	if line, err := bufio.NewReader(r).ReadString('\n'); err != nil || !strings.HasPrefix(line, "listening on eth0") {
		t.Fatalf("%q, %v", line, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	c := &captured{t: t, pair: pair, peer: labtest.StartPeer(t, pair.Far, "eth0", "")}
	c.send(0, 50, 60)
	c.setDown()
	for _, s := range []os.Signal{unix.SIGUSR1, unix.SIGQUIT, unix.SIGINT} {
		// One that it did not outlive is told below.
		if err := cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
	}
	if err := ended(); err != nil {
		t.Error(err)
	}
	if got := numbersOfFile(t, path); !slices.Equal(got, upTo(50)) {
		t.Errorf("%v", got)
	}
}

// A watched is standard output that tells of each write ahead of it.
type watched func()

func (w watched) Write(b []byte) (int, error) {
	w()
	return len(b), nil
}

// Standard output may stand still for good: the frames of its lines are in the file
// before.
func TestCaptureFileFirst(t *testing.T) {
	for _, json := range []bool{false, true} {
		d := newDisk(1 << 20)
		c := &capturing{f: &captureFlags{}, files: testFiles(d, captureFiles{name: "f"}), begun: origin}
		writes := 0
		c.e = &env{stderr: io.Discard, stdout: watched(func() {
			writes++
			f := *d.files["f"]
			f.closed = true
			if got := uint64(len(f.frames(t))); got != c.files.captured || got == 0 {
				t.Errorf("%d frames are in the file, %d were captured", got, c.files.captured)
			}
		})}
		c.out = bufio.NewWriterSize(linesBehind{c}, 1<<10)
		if c.text = render.NewCapture(c.out, render.CaptureOptions{}); json {
			c.text, c.json = nil, render.NewCaptureJSON(c.out, false)
		}
		if err := c.files.begin(origin); err != nil {
			t.Fatal(err)
		}
		facts := c.files.first
		const frames = 200
		for n := range frames {
			if err := c.frame(numberedFrame(n, 60, origin), &facts, &pcapng.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		if writes < 5 {
			t.Errorf("%d writes", writes)
		}
		// What is wrong with the file is told as that.
		d.room, c.e.stdout = 100, io.Discard
		var err error
		for n := 0; n < frames && err == nil; n++ {
			err = c.frame(numberedFrame(n, 60, origin), &facts, &pcapng.Options{})
		}
		if err = c.finish(err, &render.CaptureEnd{}); err == nil || !strings.HasPrefix(err.Error(), "write f: no space left on device (") {
			t.Error(err)
		}
	}
}

// A file is opened to be written, and no more is asked of it; a named pipe waits for
// its reader, until that is in vain, and fails once the reader is gone.
func TestCreateFile(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	plain := filepath.Join(t.TempDir(), "f")
	for range 2 {
		f, err := createFile(over, plain)
		if err != nil {
			t.Fatal(err)
		}
		flags, err := unix.FcntlInt(f.(*os.File).Fd(), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_ACCMODE != unix.O_WRONLY {
			t.Errorf("flags %#x, %v", flags, err)
		}
		info, err := f.(*os.File).Stat()
		if err != nil || info.Size() != 0 {
			t.Errorf("it has %d bytes, %v", info.Size(), err)
		}
		if _, err := f.Write([]byte("text")); err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	path := makeFIFO(t)
	_, err := createFile(over, path)
	if want := "open " + path + ": nobody has begun to read this pipe"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	// Neither end's open is over before the other's begins.
	var wg sync.WaitGroup
	var r *os.File
	wg.Go(func() { r, _ = os.Open(path) })
	w, err := createFile(t.Context(), path)
	wg.Wait()
	if err != nil || r == nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Write([]byte("text")); err != nil {
		t.Error(err)
	}
	got := make([]byte, 10)
	if n, err := r.Read(got); err != nil || string(got[:n]) != "text" {
		t.Errorf("%q, %v", got[:n], err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := w.Write([]byte("text")); !errors.Is(err, unix.EPIPE) {
		t.Error(err)
	}
}

// A capture into a named pipe begins with the reader, has all that is captured then,
// and ends when the reader leaves.
func TestCaptureNamedPipe(t *testing.T) {
	t.Parallel()
	path := makeFIFO(t)
	c := &captured{t: t, pair: labtest.NewPair(t, &lab.PairConfig{Silent: true})}
	c.peer = labtest.StartPeer(t, c.pair.Far, "eth0", "")
	p, err := start(c.pair.Near, command("capture", "-i", "eth0", "-w", path, "ether proto 0x88b5"))
	if err != nil {
		t.Fatal(err)
	}
	c.process = p
	t.Cleanup(func() {
		_ = p.signal(unix.SIGKILL)
		_, _ = p.wait()
	})
	r := timely(t, func() (*os.File, error) { return os.Open(path) })
	defer r.Close()
	c.expect(c.stderr, "^listening on eth0")
	in, err := pcapng.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	c.send(0, 50, 60)
	var got []int
	for f, err := range in.Frames() {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, numberOf(t, f.Data)); len(got) == 50 {
			break
		}
	}
	if slices.Sort(got); !slices.Equal(got, upTo(50)) {
		t.Errorf("%v", got)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	c.send(50, 3, 60)
	c.ends(exitError, `(?m)^l2ping: write `+regexp.QuoteMeta(path)+`: broken pipe \(\d+ of the \d+ packets captured are written\)\n\z`)
}

// A named pipe is opened ahead of the ring, which would fill while nobody reads; any
// other file when all else is.
func TestCaptureOpensInOrder(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	for path, ahead := range map[string]bool{makeFIFO(t): true, filepath.Join(t.TempDir(), "f"): false} {
		var s sink
		l := &liveCapture{
			capturing: newWriting(t, &s, &captureFlags{source: sourceFlags{name: "eth0"}, snapLen: capture.MaxSnapLen}),
			delay:     writeDelay,
		}
		opened := 0
		l.files.name, l.files.open = path, func(name string) (frameFile, error) {
			if opened++; name != path || (l.ring == nil) != ahead {
				t.Errorf("%s is opened, and there is a ring: %t", name, l.ring != nil)
			}
			return &s, nil
		}
		if err := pair.Near.Do(func() error { return l.open("") }); err != nil {
			t.Fatal(err)
		}
		if err := l.ring.Close(); err != nil || opened != 1 || s.size == 0 {
			t.Errorf("%s: opened %d times, %d bytes, %v", path, opened, s.size, err)
		}
	}
}

// A signal ends the wait for a reader, which is told.
func TestCaptureNobodyReads(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	path := makeFIFO(t)
	for _, args := range []string{"-i eth0", "-r " + wordsFile} {
		e, stdout, stderr := newTestEnv()
		var cancel context.CancelFunc
		e.interrupted, cancel = context.WithCancel(t.Context())
		if e.stdin = nil; args == "-i eth0" {
			cancel()
		} else {
			// It comes when the first frame is read.
			e.stderr = io.MultiWriter(stderr, watched(cancel))
		}
		exit := exitOK
		if err := pair.Near.Do(func() error {
			exit = run(e, append([]string{"capture", "-w", path}, strings.Fields(args)...))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		want := "l2ping: open " + path + ": nobody has begun to read this pipe\n"
		if args != "-i eth0" {
			want = "reading from file " + wordsFile + ", link-type EN10MB (Ethernet), snapshot length 262144\n" + want
		}
		if exit != exitError || stdout.Len() > 0 || stderr.String() != want {
			t.Errorf("%s: exit status %d, %q, %q, want %q", args, exit, stdout, stderr, want)
		}
		cancel()
	}
}

// No file is written over that is read, whatever number or time makes its name.
func TestCaptureOverItself(t *testing.T) {
	dir := t.TempDir()
	var file bytes.Buffer
	w, err := pcapng.NewWriter(&file, nil, pcapng.Interface{Name: "eth0", LinkType: pcapng.LinkEthernet})
	if err != nil {
		t.Fatal(err)
	}
	const frames = 1500 // of which a file has room for fewer
	for n := range frames {
		if err := w.Write(&numberedFrame(n, 1000, origin.Add(time.Duration(n)*time.Second)).Frame, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string]string{
		"a": "-w a", "b1": "-C 1 -w b", "c0": "-C 1 -W 3 -w c", "d1": "-C 1 -W 2 -w d",
		fmt.Sprintf("e%d", origin.Unix()+600): "-G 600 -w e%s",
	} {
		path := filepath.Join(dir, name)
		for _, read := range []string{path, "-"} {
			if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			in, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			e, stdout, stderr := newTestEnv()
			e.stdin = in
			exit := run(e, strings.Fields("capture -r "+read+" "+strings.Replace(args, "-w ", "-w "+dir+"/", 1)))
			in.Close()
			want := "l2ping: -r " + read + " and -w " + path + " are one file\n"
			if exit != exitError || stdout.Len() > 0 || !strings.HasSuffix(stderr.String(), want) || strings.Count(stderr.String(), "l2ping:") != 1 {
				t.Errorf("%s: exit status %d, %q, %q, want %q", args, exit, stdout, stderr, want)
			}
			if left, err := os.ReadFile(path); err != nil || !bytes.Equal(left, file.Bytes()) {
				t.Errorf("%s: %d bytes are left of %d, %v", args, len(left), file.Len(), err)
			}
		}
	}
}

// docs/capture.md tells what tcpdump has and we have not, and of nothing else.
func TestCaptureLettersAreDocumented(t *testing.T) {
	// tcpdump(1), version 4.99: all but -h.
	const letters = "#AbBcCdDeEfFGHiIjJKlLmMnNOpqQrsStTuUvVwWxXyzZ"
	file, err := os.ReadFile("../../docs/capture.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| (.*) \| are not there \|$`).FindSubmatch(file)
	if row == nil {
		t.Fatal("no row says what is not there")
	}
	told := make(map[string]bool)
	for _, m := range regexp.MustCompile("`-(.)`").FindAllSubmatch(row[1], -1) {
		told[string(m[1])] = true
	}
	flags := newCapture(&env{}).Flags()
	for _, letter := range letters {
		s := string(letter)
		if has := flags.ShorthandLookup(s) != nil || s == "X"; has == told[s] { // -X says itself what to take
			t.Errorf("-%s is there: %t, is told not to be: %t", s, has, told[s])
		}
		delete(told, s)
	}
	if len(told) > 0 {
		t.Errorf("not of tcpdump: %v", told)
	}
}
