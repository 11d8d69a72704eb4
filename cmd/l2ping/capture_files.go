//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/capture/pcapng"
)

// A frameFile is where a pcapng file goes.
type frameFile interface {
	io.WriteCloser
	Name() string
	Truncate(size int64) error
}

// captureFiles writes frames to a file, or to one after the other. Each of them is
// whole: it has its own header, and at its end what was counted.
type captureFiles struct {
	name   string
	size   uint64        // of a file at most, in bytes; 0 is no bound
	every  time.Duration // a file's; 0 is no bound
	most   uint64        // how many files; 0 is no bound
	header pcapng.Config
	// first describes an interface that has to be there, frames or not.
	first pcapng.Interface
	open  func(name string) (frameFile, error)
	// refuse says why a file must not be written over; nil where none is read.
	refuse func(name string) error

	// counts is what the kernel has counted so far; nil where there is none.
	counts func() capture.RingStatistics

	pipe     frameFile // that openPipe has opened, until it is file
	file     *wholeBlocks
	w        *pcapng.Writer
	numbers  map[pcapng.Interface]int // that w has given interfaces
	last     *pcapng.Interface        // of the frame before, whose number is
	number   int
	started  time.Time
	ends     time.Time // zero if no time ends it
	base     string    // its name without a number
	nth      uint64    // by size, of those with that base
	files    uint64    // opened so far
	bound    int64     // how long the file is at most
	captured uint64    // frames in it
	lost     uint64    // frames that no file took
	before   capture.RingStatistics
}

// errEnoughFiles says that as many files were written as were asked for.
var errEnoughFiles = errors.New("there are enough files")

// readerDelay is how long a named pipe that somebody has begun to read may wait to be
// opened.
const readerDelay = 20 * time.Millisecond

// createFile makes a file, or empties it. If it is a named pipe it waits for its reader,
// until ctx ends at most. The file is opened to be written alone: a pipe that we could
// read ourselves would take frames that nobody reads, and never fail.
func createFile(ctx context.Context, name string) (frameFile, error) {
	if !isPipe(name) {
		return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	}
	// open(2) would wait for the reader, but no signal would end that: package os goes
	// on after EINTR. What does not wait fails with ENXIO while there is none (fifo(7)).
	again := time.NewTicker(readerDelay)
	defer again.Stop()
	for {
		file, err := os.OpenFile(name, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if !errors.Is(err, unix.ENXIO) {
			return file, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("open %s: nobody has begun to read this pipe", name)
		}
	}
}

// outliveReaders has the process go on, to its end, when nobody reads any more what it
// tells: else a write to a pipe without a reader, if that is standard output or standard
// error, kills it before a file is whole (os/signal, "SIGPIPE").
func outliveReaders() { signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE) }

// isPipe tells whether a file is there and a pipe.
func isPipe(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode()&fs.ModeNamedPipe != 0
}

// check says what is wrong with what was asked for.
func (c *captureFiles) check(now time.Time) error {
	if c.name == "-" && (c.size > 0 || c.every > 0) {
		return errors.New("-w -: standard output is one file (-C and -G make several)")
	}
	switch {
	case c.size > 0 && c.every > 0 && c.most > 0:
		return errors.New("-W: with -C it is after how many files the first is written over, with -G how many there are; with both it is neither")
	case c.most > 0 && c.size == 0 && c.every == 0:
		return errors.New("-W: there is one file (-C or -G make several)")
	case c.every == 0:
		return nil
	}
	a, err := strftime(c.name, now)
	if err != nil {
		return fmt.Errorf("-w %w", err)
	}
	if b, _ := strftime(c.name, now.Add(c.every)); a == b && c.most != 1 {
		return fmt.Errorf("-w %s: with -G %v the next file would be written over this one (-w 'NAME-%%F-%%T.pcapng' has the time in its name)", c.name, c.every)
	}
	return nil
}

// begin opens the first file.
func (c *captureFiles) begin(at time.Time) error {
	if c.every > 0 {
		c.ends = at.Add(c.every)
	}
	return c.openAt(at)
}

// openPipe opens the first file ahead of begin if it is a pipe: it may be long until
// somebody reads that, and a ring that is open would fill meanwhile. What is no pipe
// stays as it is until begin.
func (c *captureFiles) openPipe(at time.Time) (err error) {
	if err := c.setBase(at); err != nil {
		return err
	}
	if name := c.fileName(); isPipe(name) {
		c.pipe, err = c.open(name)
	}
	return err
}

// setBase has the next file be the first of those that begin with a time.
func (c *captureFiles) setBase(at time.Time) (err error) {
	c.base, c.nth = c.name, 0
	if c.every > 0 {
		c.base, err = strftime(c.name, at)
	}
	return err
}

// fileName is what the next file is called.
func (c *captureFiles) fileName() string {
	digits := 0
	if c.size > 0 && c.every == 0 {
		digits = digitsOf(c.most)
	}
	return numbered(c.base, c.nth, digits)
}

// openAt opens the next file of those that begin with a time.
func (c *captureFiles) openAt(at time.Time) error {
	if err := c.setBase(at); err != nil {
		return err
	}
	c.started = at
	return c.openFile()
}

func (c *captureFiles) openFile() (err error) {
	name := c.fileName()
	if c.refuse != nil {
		if err := c.refuse(name); err != nil {
			return err
		}
	}
	file := c.pipe
	if c.pipe = nil; file == nil {
		if file, err = c.open(name); err != nil {
			return err
		}
	}
	c.file = &wholeBlocks{file: file}
	c.files++
	c.captured, c.last, c.number = 0, nil, 0
	if c.w, err = pcapng.NewWriter(c.file, &c.header, c.first); err != nil {
		return err
	}
	c.numbers = map[pcapng.Interface]int{c.first: 0}
	return c.flush()
}

// flush writes out what waits.
func (c *captureFiles) flush() error {
	if err := c.w.Flush(); err != nil {
		return c.failed(err)
	}
	c.bound = c.file.size
	return nil
}

// failed names the file, and nothing else besides the reason.
func (c *captureFiles) failed(err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	return fmt.Errorf("write %s: %w", c.file.file.Name(), err)
}

// Bytes of a file that are not a frame's own.
const (
	frameRoom      = 64  // of a frame without a comment
	statisticsRoom = 128 // at the end
)

// write writes a frame that was captured on an interface. It fails with
// errEnoughFiles where the frame would be the first of a file too many.
func (c *captureFiles) write(f *pcapng.Frame, ifc *pcapng.Interface, o *pcapng.Options) error {
	if !c.ends.IsZero() && f.Arrival > 0 && f.Arrival >= c.ends.UnixNano() {
		if err := c.next(time.Unix(0, f.Arrival)); err != nil {
			return err
		}
	}
	if c.size > 0 {
		if err := c.makeRoom(int64(frameRoom + len(f.Data) + len(o.Comment))); err != nil {
			return err
		}
	}
	if ifc != c.last {
		if err := c.describe(ifc); err != nil {
			return err
		}
	}
	o.Interface = c.number
	if err := c.w.Write(&f.Frame, o); err != nil {
		return c.failed(err)
	}
	c.captured++
	return nil
}

// describe has the file tell of an interface, unless it does, and the next frame be
// of it.
func (c *captureFiles) describe(ifc *pcapng.Interface) error {
	number, ok := c.numbers[*ifc]
	if !ok {
		var err error
		if number, err = c.w.AddInterface(*ifc); err != nil {
			return err
		}
		c.numbers[*ifc] = number
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.last, c.number = ifc, number
	return nil
}

// makeRoom goes on to the next file if a frame that takes so much room, at most,
// would not fit into this one.
func (c *captureFiles) makeRoom(room int64) error {
	most := int64(c.size) - statisticsRoom
	if c.bound+room > most {
		// That is known exactly of what is written.
		if err := c.flush(); err != nil {
			return err
		}
		if c.bound+room > most && c.captured > 0 {
			if err := c.finish(); err != nil {
				return err
			}
			if c.nth++; c.every == 0 && c.most > 0 && c.nth >= c.most {
				c.nth = 0
			}
			c.started = time.Now()
			if err := c.openFile(); err != nil {
				return err
			}
		}
	}
	c.bound += room
	return nil
}

// tick goes on to the next file if the time of this one is over.
func (c *captureFiles) tick(now time.Time) error {
	if c.ends.IsZero() || now.Before(c.ends) {
		return nil
	}
	return c.next(now)
}

// next ends the file by time, and begins that which a moment belongs to. Of the
// files between there was nothing.
func (c *captureFiles) next(at time.Time) error {
	if err := c.finish(); err != nil {
		return err
	}
	if c.most > 0 && c.files >= c.most {
		return errEnoughFiles
	}
	begins := c.ends.Add(at.Sub(c.ends).Truncate(c.every))
	c.ends = begins.Add(c.every)
	return c.openAt(begins)
}

// finish ends the file, of which there may be none.
func (c *captureFiles) finish() error {
	if c.file == nil {
		return nil
	}
	defer func() { c.file, c.w = nil, nil }()
	var err error
	if c.counts != nil {
		now := c.counts()
		err = c.w.WriteStatistics(0, pcapng.Statistics{
			Start: c.started.UnixNano(), End: time.Now().UnixNano(), Captured: c.captured,
			Received: now.Received - c.before.Received, Dropped: now.Dropped - c.before.Dropped,
		})
		c.before = now
	}
	if err == nil {
		err = c.w.Flush()
	}
	if err != nil {
		err = c.failed(err)
	}
	c.lost += c.file.lost
	if closed := c.file.file.Close(); err == nil {
		err = closed
	}
	return err
}

// wholeBlocks is a file that ends behind a whole block even if the disk is full: the
// rest of what was written last is taken back.
type wholeBlocks struct {
	file frameFile
	size int64
	lost uint64 // frames that it did not take
}

// Write writes whole blocks.
func (w *wholeBlocks) Write(b []byte) (int, error) {
	n, err := w.file.Write(b)
	if err != nil {
		whole, written := wholeLength(b[:n])
		_, frames := wholeLength(b)
		w.lost += frames - written
		// What is no file, such as a pipe, has no length.
		if w.file.Truncate(w.size+int64(whole)) == nil {
			n = whole
		}
	}
	w.size += int64(n)
	return n, err
}

// frameBlock is the type of blocks with frames: the enhanced packet block.
const frameBlock = 6

// wholeLength is how much of some blocks, of which the last may be cut, is whole
// ones, and how many of these have a frame. Their lengths are behind their types, in
// the byte order of our files.
func wholeLength(b []byte) (whole int, frames uint64) {
	for len(b)-whole >= 8 {
		length := uint64(binary.LittleEndian.Uint32(b[whole+4:]))
		if length < 12 || length > uint64(len(b)-whole) {
			break
		}
		if binary.LittleEndian.Uint32(b[whole:]) == frameBlock {
			frames++
		}
		whole += int(length)
	}
	return whole, frames
}
