//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/craft"
	"github.com/l2ping/l2ping/l2/frame"
)

// maxHexText bounds what is read as hexadecimal digits, in bytes.
const maxHexText = 64 << 20

// from has the frames of each round come from what the flags say.
func (s *sending) from(expressions []*craft.Expression) error {
	switch {
	case s.read != "":
		s.round = s.fromFile
		if s.read == "-" {
			s.live = !isRegular(s.e.stdin)
			if in, ok := s.e.stdin.(*input); ok {
				in = in.until(s.ctx)
				in.idle, s.input = s.waits, in
			}
			return s.notItself("-r -")
		}
		// A file that is not there is told before anything is done. It stays open: who
		// writes to a FIFO does that once.
		file, err := openInput(s.ctx, s.read)
		if err != nil {
			return err
		}
		s.input, s.live = file, !isRegular(file)
		if in, ok := file.(*input); ok {
			in.idle = s.waits
		}
		if s.rounds != 1 && s.live {
			return fmt.Errorf("-r %s: it is no regular file, and can be read once (-c 1)", s.read)
		}
		return oneFile(file, "-r "+s.read, s.write)
	case s.hexText != "":
		frames, err := s.fromHex()
		if err != nil {
			return err
		}
		s.round = func() iter.Seq2[craft.Frame, error] { return all(frames) }
	default:
		s.round = s.fromExpressions(expressions)
	}
	return nil
}

// notItself refuses to write over what standard input is read from.
func (s *sending) notItself(flag string) error {
	if file, ok := s.e.stdin.(interface{ Stat() (fs.FileInfo, error) }); ok {
		return oneFile(file, flag, s.write)
	}
	return nil
}

// all are frames that are there already.
func all(frames []craft.Frame) iter.Seq2[craft.Frame, error] {
	return func(yield func(craft.Frame, error) bool) {
		for _, f := range frames {
			if !yield(f, nil) {
				return
			}
		}
	}
}

// lonelyFor is how long the frame of an expression that makes but one is sent again as
// it is: nothing in a frame, such as the time of an ICMP timestamp, is finer.
const lonelyFor = time.Millisecond

// A lonely is the frame of an expression that makes but one.
type lonely struct {
	frame craft.Frame
	made  time.Time
}

// fromExpressions makes the frames of expressions, one after the other.
func (s *sending) fromExpressions(expressions []*craft.Expression) func() iter.Seq2[craft.Frame, error] {
	made := make([]lonely, len(expressions))
	one := func(i int, yield func(craft.Frame, error) bool) bool {
		now := time.Now()
		s.of = nth(i, len(expressions))
		if l := &made[i]; !l.made.IsZero() && now.Sub(l.made) < lonelyFor {
			return yield(l.frame, nil)
		}
		for f, err := range s.way.frames(s.ctx, expressions[i]) {
			if err != nil && !isPassedOver(err) {
				err = ofExpression(s.of, err)
			}
			if err == nil && len(s.vlans) > 0 {
				f.Bytes = tag(f.Bytes, s.vlans)
			}
			if err == nil && expressions[i].Count() == 1 {
				made[i] = lonely{frame: f, made: now}
			}
			if !yield(f, err) {
				return false
			}
		}
		return true
	}
	return func() iter.Seq2[craft.Frame, error] {
		return func(yield func(craft.Frame, error) bool) {
			for i := range expressions {
				if !one(i, yield) {
					return
				}
			}
		}
	}
}

// tag puts tags into a frame, unless it has some or is no frame.
func tag(b []byte, vlans []frame.VLAN) []byte {
	const at = 2 * len(frame.MAC{})
	if len(b) < frame.EthernetHeaderLen {
		return b
	}
	switch frame.EtherType(uint16(b[at])<<8 | uint16(b[at+1])) {
	case frame.EtherTypeVLAN, frame.EtherTypeQinQ:
		return b
	}
	tags := make([]byte, 0, 4*frame.MaxVLANs)
	for _, v := range vlans {
		tags = append(tags, byte(v.Type>>8), byte(v.Type), byte(v.TCI>>8), byte(v.TCI))
	}
	return slices.Insert(b, at, tags...)
}

// fromFile reads a capture file.
func (s *sending) fromFile() iter.Seq2[craft.Frame, error] {
	return func(yield func(craft.Frame, error) bool) {
		in, name := s.e.stdin, fileName(s.read)
		if s.input != nil {
			in = s.input
		}
		// Only of a regular file there is a second round.
		if file, ok := in.(io.Seeker); ok && s.begunFile {
			if _, err := file.Seek(0, io.SeekStart); err != nil {
				yield(craft.Frame{}, err)
				return
			}
		}
		s.begunFile = true
		r, err := pcapng.NewReader(in)
		if s.ctx.Err() != nil {
			return // what is cut off then is so by us
		}
		if err != nil {
			yield(craft.Frame{}, ofFile(name, 0, err))
			return
		}
		n := uint64(0)
		for f, err := range r.Frames() {
			if s.ctx.Err() != nil {
				return
			}
			if err != nil {
				yield(craft.Frame{}, ofFile(name, n, err))
				return
			}
			n++
			made := fileFrame(&f)
			if err := s.fits(&made); err != nil {
				yield(craft.Frame{}, s.ofFrame(place{number: n}, err))
				return
			}
			if !yield(made, nil) {
				return
			}
		}
	}
}

// fileFrame is a frame of a file, to be sent.
func fileFrame(f *pcapng.Frame) craft.Frame {
	made := craft.Frame{Bytes: bytes.Clone(f.Data), LinkType: layers.LinkType(f.LinkType), Length: f.Length}
	if f.Arrival != 0 {
		made.Time = time.Unix(0, f.Arrival)
	}
	switch made.LinkType {
	case layers.LinkTypeIPv4, layers.LinkTypeIPv6, 12, 14: // the last two are BSD's
		made.LinkType = layers.LinkTypeRaw
	}
	return made
}

// fits tells whether a file's frame is whole, and of the interface's kind.
func (s *sending) fits(f *craft.Frame) error {
	if f.Length > len(f.Bytes) {
		return fmt.Errorf("only %d of its %d bytes were captured", len(f.Bytes), f.Length)
	}
	if s.ifc == nil {
		return nil
	}
	if want := s.linkType(); f.LinkType != want {
		return fmt.Errorf("its link type is %s, and that of %s is %s", f.LinkType, s.ifc.Name, want)
	}
	return nil
}

// linkType is what frames on the interface start with; Ethernet without one.
func (s *sending) linkType() layers.LinkType {
	if s.link.NoLink {
		return layers.LinkTypeRaw
	}
	return layers.LinkTypeEthernet
}

// fromHex reads frames as digits.
func (s *sending) fromHex() (frames []craft.Frame, err error) {
	text, what := s.hexText, "--hex"
	if text == "-" {
		what = "standard input"
		if err := s.notItself("--hex -"); err != nil {
			return nil, err
		}
		b, err := io.ReadAll(io.LimitReader(s.e.stdin, maxHexText+1))
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		if s.ctx.Err() != nil {
			return nil, nil // they may be cut off
		}
		if len(b) > maxHexText {
			return nil, fmt.Errorf("standard input: more than %d MiB of digits", maxHexText>>20)
		}
		text = string(b)
	}
	list, err := craft.FromHex(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	for _, b := range list {
		frames = append(frames, craft.Frame{Bytes: b, LinkType: s.linkType(), Length: len(b)})
	}
	return frames, nil
}

// idlePause is the time from a round of which no frame could be sent to the next one:
// a host asks for an address once a second at most (RFC 1122, section 2.3.2.1).
const idlePause = time.Second

// maxHeld is how many frames that lead nowhere are told of only when it is known that
// others lead somewhere.
const maxHeld = 256

// frames are those of all rounds. An error that is a passedOver stands for one frame;
// any other is the last. Among those is that in a round no frame leads anywhere.
func (s *sending) frames() iter.Seq2[craft.Frame, error] {
	return func(yield func(craft.Frame, error) bool) {
		number := uint64(0)
		for round := uint64(0); s.rounds == 0 || round < s.rounds; round++ {
			before, idle := number, true
			s.pace.round()
			m := &making{yield: yield, most: maxHeld}
			if s.json {
				m.most = 0 // each is an event
			}
			for f, err := range s.round() {
				number++
				s.at = place{number: number, of: s.of}
				if s.read != "" {
					s.at.number -= before // the file's own
				}
				if err == nil {
					err = s.check(&f)
				}
				idle = idle && err != nil
				if !m.next(f, err) || s.ctx.Err() != nil {
					return
				}
			}
			switch {
			case s.ctx.Err() != nil:
				return
			case number == before:
				yield(craft.Frame{}, errors.New("there is no frame to send"))
				return
			case m.nowhere == number-before:
				yield(craft.Frame{}, m.why())
				return
			case round == 0 && s.rounds != 1:
				s.settle()
			}
			if idle && round+1 != s.rounds {
				s.waits()
				if err := s.pause(time.Now().Add(idlePause)); err != nil {
					yield(craft.Frame{}, err)
					return
				}
			}
		}
		s.complete = true
	}
}

// A place says which frame one is, for errors.
type place struct {
	number uint64 // of those to be made, or of a file's; from 1
	of     int    // which of several expressions it is of; 0 where there are not several
}

// ofFrame says which frame an error is of.
func (s *sending) ofFrame(at place, err error) error {
	switch {
	case s.read != "":
		return fmt.Errorf("%s: frame %d: %w", fileName(s.read), at.number, err)
	case at.of > 0:
		return fmt.Errorf("frame %d, of expression %d: %w", at.number, at.of, err)
	}
	return fmt.Errorf("frame %d: %w", at.number, err)
}

// check tells whether the interface takes a frame, and has the file made that it is
// written to then.
func (s *sending) check(f *craft.Frame) error {
	if s.ifc != nil {
		if err := s.link.Check(f.Bytes); err != nil {
			return s.ofFrame(s.at, err)
		}
	}
	if s.file != nil {
		return s.file.begin()
	}
	return nil
}

// A making passes the frames of a round on. Those that lead nowhere wait, at its
// beginning: where no frame leads anywhere one error says it all.
type making struct {
	yield   func(craft.Frame, error) bool
	most    int     // that wait
	held    []error // those that do
	nowhere uint64  // how many lead nowhere
	first   error   // of those
}

// next passes a frame on, and tells whether there may be more.
func (m *making) next(f craft.Frame, err error) bool {
	if leadsNowhere(err) {
		m.nowhere++
		if m.first == nil {
			m.first = err
		}
		if m.nowhere <= uint64(m.most) && int(m.nowhere) == len(m.held)+1 {
			m.held = append(m.held, err)
			return true
		}
	}
	for _, waited := range m.held {
		if !m.yield(craft.Frame{}, waited) {
			return false
		}
	}
	m.held, m.most = nil, 0
	return m.yield(f, err) && (err == nil || isPassedOver(err))
}

// why says that no frame leads anywhere.
func (m *making) why() error {
	err := m.first
	if passed := (passedOver{}); errors.As(err, &passed) {
		err = passed.error
	}
	if m.nowhere > 1 {
		err = fmt.Errorf("none of %d frames can be sent: %w", m.nowhere, err)
	}
	return err
}

// A pace says when frames are due.
type pace struct {
	interval time.Duration // 0 is no pace, but that of replay
	rate     float64
	replay   bool

	start time.Time // of all frames, and with replay of the round
	sent  uint64
	first time.Time // the first frame's own time
}

// round begins a round.
func (p *pace) round() {
	if p.replay {
		p.start, p.first = time.Time{}, time.Time{}
	}
}

// due is when the next frame has to leave; zero is now. Frames are due on an absolute
// schedule, so one that is late does not make the others late.
func (p *pace) due(now, own time.Time) time.Time {
	switch {
	case p.replay && own.IsZero():
		return time.Time{}
	case p.replay && p.first.IsZero():
		p.start, p.first = now, own
		return time.Time{}
	case p.replay:
		return p.start.Add(own.Sub(p.first))
	case p.interval == 0:
		return time.Time{}
	case p.start.IsZero():
		p.start = now
	}
	due := p.start.Add(time.Duration(float64(p.sent) / p.rate * float64(time.Second)))
	p.sent++
	return due
}

// waitUntil waits until a time has come, ctx is done, or there is something in wake:
// that alone is true. In the last milliseconds it does not look for that.
func waitUntil(ctx context.Context, due time.Time, wake <-chan struct{}) (woken bool) {
	// Go's timers have the grain of a millisecond, nanosleep(2) that of the clock.
	const grain = 2 * time.Millisecond
	if left := time.Until(due); left > grain {
		timer := time.NewTimer(left - grain)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return false
		case <-wake:
			return true
		case <-timer.C:
		}
	}
	for left := time.Until(due); left > 0 && ctx.Err() == nil; left = time.Until(due) {
		wait := unix.NsecToTimespec(int64(min(left, grain)))
		_ = unix.Nanosleep(&wait, nil) // EINTR: the rest is waited for
	}
	return false
}
