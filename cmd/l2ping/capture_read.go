//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	cbpf "golang.org/x/net/bpf"

	"github.com/l2ping/l2ping/bpf/pcapfilter"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/render"
)

// fromFile takes frames from a file until its end.
func (c *capturing) fromFile(ctx context.Context, expr string) error {
	filter := &fileFilter{e: c.e, expr: expr, programs: make(map[bool]*fileProgram)}
	if _, err := filter.program(false); err != nil { // before anything is written over
		return err
	}
	name, in := c.f.read, c.e.stdin
	if name == "-" {
		name = "standard input"
	} else {
		file, err := openInput(c.e.interrupted, c.f.read)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	if file, ok := in.(statted); ok && c.files != nil {
		c.files.refuse = func(write string) error { return oneFile(file, "-r "+c.f.read, write) }
		if err := c.files.refuse(c.f.write); err != nil {
			return err
		}
	}
	r, err := pcapng.NewReader(in)
	if err != nil {
		if ctx.Err() != nil {
			return nil // the end came first
		}
		return ofFile(name, 0, err)
	}
	if c.json != nil {
		if err := c.json.Start(&render.CaptureStart{
			Time: c.begun, File: name, Filter: expr, Direction: c.f.direction,
		}); err != nil {
			return outputError(err)
		}
	}
	s := &fileCapture{capturing: c, name: name, reader: r, filter: filter, soon: !isRegular(in)}
	err = s.run(ctx)
	return c.finish(err, &render.CaptureEnd{})
}

// isRegular tells whether something is a file that is all there.
func isRegular(r io.Reader) bool {
	f, ok := r.(statted)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// ofFile says that a file is not as it should be behind so many frames.
func ofFile(name string, frames uint64, err error) error {
	if below := errors.Unwrap(err); below != nil {
		err = below // that which does not tell what is told here
	}
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	switch {
	case !errors.Is(err, io.ErrUnexpectedEOF) && frames == 0:
		return fmt.Errorf("%s: %w", name, err)
	case !errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s, after frame %d: %w", name, frames, err)
	case frames == 0:
		return fmt.Errorf("%s is cut off ahead of its first frame's end", name)
	case frames == 1:
		return fmt.Errorf("%s is cut off after 1 frame", name)
	}
	return fmt.Errorf("%s is cut off after %d frames", name, frames)
}

// A fileCapture is a capture that is read back.
type fileCapture struct {
	*capturing
	name   string
	reader *pcapng.Reader
	filter *fileFilter
	soon   bool // more may come, later
	told   bool
}

func (s *fileCapture) run(ctx context.Context) error {
	var number uint64
	for f, err := range s.reader.Frames() {
		if ctx.Err() != nil {
			break // what is cut off then is so by us
		}
		if err != nil {
			s.begin(s.firstInterface())
			return firstError(s.beginFiles(nil, &f), ofFile(s.name, number, err))
		}
		number++
		var ifc *pcapng.Interface
		if all := s.reader.Interfaces(); f.Interface < len(all) {
			ifc = &all[f.Interface]
		} else {
			ifc = &pcapng.Interface{LinkType: f.LinkType}
		}
		s.begin(ifc)
		if err := s.beginFiles(ifc, &f); err != nil {
			return err
		}
		if err := s.one(&f, ifc, number); err != nil {
			return err
		}
	}
	s.begin(s.firstInterface())
	return s.beginFiles(nil, &pcapng.Frame{})
}

// firstInterface is that which the file has described first.
func (s *fileCapture) firstInterface() *pcapng.Interface {
	if all := s.reader.Interfaces(); len(all) > 0 {
		return &all[0]
	}
	return &pcapng.Interface{LinkType: pcapng.LinkEthernet}
}

// begin tells what is read, as soon as that is known.
func (s *fileCapture) begin(ifc *pcapng.Interface) {
	if s.told || s.json != nil {
		return
	}
	s.told = true
	snapLen := ""
	if ifc.SnapLen > 0 {
		snapLen = fmt.Sprintf(", snapshot length %d", ifc.SnapLen)
	}
	fmt.Fprintf(s.e.stderr, "reading from file %s, link-type %s%s\n", s.name, render.LinkName(ifc.LinkType), snapLen)
}

// beginFiles opens the first file to write, if that is not done: its time is that of
// the first frame.
func (s *fileCapture) beginFiles(ifc *pcapng.Interface, f *pcapng.Frame) error {
	if s.files == nil || s.files.files > 0 {
		return nil
	}
	s.files.first = *s.firstInterface()
	if ifc != nil {
		s.files.first = *ifc
	}
	at := time.Now()
	if f.Arrival > 0 {
		at = time.Unix(0, f.Arrival)
	}
	return s.files.begin(at)
}

// one does with a frame what is to be done, if it passes.
func (s *fileCapture) one(f *pcapng.Frame, ifc *pcapng.Interface, number uint64) error {
	if want := s.f.direction; want != capture.DirectionBoth {
		if f.Direction == capture.DirectionBoth {
			return fmt.Errorf("-Q %v: %s does not tell which way frame %d went", want, s.name, number)
		}
		if f.Direction != want {
			return nil
		}
	}
	if ok, err := s.filter.passes(f); !ok || err != nil {
		return err
	}
	f.Length = max(f.Length, len(f.Data))
	f.Data = f.Data[:min(len(f.Data), int(s.f.snapLen))]
	o := pcapng.Options{Comment: strings.Join(f.Comments, "\n"), PacketID: f.PacketID, Dropped: f.Dropped}
	if err := s.frame(f, ifc, &o); err != nil {
		return err
	}
	if s.soon {
		return s.flush()
	}
	return nil
}

// A fileFilter decides which frames of a file pass, by the virtual machine of
// package bpf of golang.org/x/net.
type fileFilter struct {
	e        *env
	expr     string
	programs map[bool]*fileProgram // by whether there is no link layer
}

// A fileProgram is a filter for frames that begin alike; without a machine it passes
// all.
type fileProgram struct {
	machine *cbpf.VM
	// That machine takes the length of what it is given for the frame's. Of a frame
	// that was cut it is another, and the program is made for it.
	instructions []cbpf.Instruction
	asksLength   bool
}

func (f *fileFilter) program(noLink bool) (*fileProgram, error) {
	if p := f.programs[noLink]; p != nil {
		return p, nil
	}
	p := &fileProgram{}
	raw, err := f.e.compile(f.expr, pcapfilter.Config{NoLink: noLink})
	if err != nil {
		return nil, err
	}
	if raw != nil {
		instructions, whole := cbpf.Disassemble(raw)
		if !whole {
			return nil, fmt.Errorf("filter %q: its program is not to be read", f.expr)
		}
		if p.machine, err = cbpf.NewVM(instructions); err != nil {
			return nil, fmt.Errorf("filter %q: %w", f.expr, err)
		}
		p.instructions = instructions
		for _, in := range instructions {
			p.asksLength = p.asksLength || in == (cbpf.LoadExtension{Num: cbpf.ExtLen})
		}
	}
	f.programs[noLink] = p
	return p, nil
}

func (f *fileFilter) passes(frame *pcapng.Frame) (bool, error) {
	if strings.TrimSpace(f.expr) == "" {
		return true, nil
	}
	noLink := render.IsRawLink(frame.LinkType)
	if !noLink && frame.LinkType != pcapng.LinkEthernet {
		return false, fmt.Errorf("filter %q: frames of link-type %s cannot be filtered (those of EN10MB and RAW can)", f.expr, render.LinkName(frame.LinkType))
	}
	p, err := f.program(noLink)
	if err != nil {
		return false, err
	}
	machine := p.machine
	if p.asksLength && frame.Length > len(frame.Data) {
		if machine, err = p.machineFor(frame.Length); err != nil {
			return false, err
		}
	}
	n, err := machine.Run(frame.Data)
	return n > 0, err
}

// machineFor is the program where the frame's length is a constant.
func (p *fileProgram) machineFor(length int) (*cbpf.VM, error) {
	instructions := make([]cbpf.Instruction, len(p.instructions))
	for i, in := range p.instructions {
		if in == (cbpf.LoadExtension{Num: cbpf.ExtLen}) {
			in = cbpf.LoadConstant{Dst: cbpf.RegA, Val: uint32(length)}
		}
		instructions[i] = in
	}
	return cbpf.NewVM(instructions)
}
