package pcapng

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/l2/frame"
)

// writeBytes is how much is written at a time. A file system takes large pieces for
// less than many small ones: on ext4, of Linux 6.18, 512 KiB for two thirds of the
// CPU that 128 KiB takes, and more for no less.
const writeBytes = 512 << 10

// A Writer writes a pcapng file of one section. It is not safe for concurrent use.
// An error of the underlying writer stays: each call returns it from then on.
type Writer struct {
	w    io.Writer
	buf  []byte
	ifcs []written
	err  error
}

// written is what a Writer has to know of an interface.
type written struct {
	linkType LinkType
	snapLen  int
}

// NewWriter begins a file: it writes its header, and describes the interface that
// frames are captured on, which has the number 0. cfg may be nil. What is written
// waits in memory for Flush, or until there is enough of it.
func NewWriter(w io.Writer, cfg *Config, ifc Interface) (*Writer, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	pw := &Writer{w: w, buf: make([]byte, 0, writeBytes)}
	b := binary.LittleEndian.AppendUint32(nil, byteOrderMagic)
	b = append(b, 1, 0, 0, 0) // version 1.0
	b = binary.LittleEndian.AppendUint64(b, math.MaxUint64)
	var o options
	o.text(optHardware, cfg.Hardware)
	o.text(optOS, cfg.OS)
	o.text(optApplication, cfg.Application)
	o.text(optComment, cfg.Comment)
	if err := pw.block(blockSection, b, &o); err != nil {
		return nil, fmt.Errorf("write pcapng header: %w", err)
	}
	if _, err := pw.AddInterface(ifc); err != nil {
		return nil, err
	}
	return pw, nil
}

// AddInterface describes another interface, and returns its number.
func (w *Writer) AddInterface(ifc Interface) (int, error) {
	snapLen := ifc.SnapLen
	switch {
	case ifc.LinkType == 0:
		return 0, fmt.Errorf("write interface %s: no link type", ifc.Name)
	case snapLen < 0 || snapLen > math.MaxInt32:
		return 0, fmt.Errorf("write interface %s: snap length %d: not within 0 to %d", ifc.Name, snapLen, math.MaxInt32)
	}
	b := binary.LittleEndian.AppendUint16(nil, uint16(ifc.LinkType))
	b = binary.LittleEndian.AppendUint32(append(b, 0, 0), uint32(snapLen))
	var o options
	o.text(optName, ifc.Name)
	o.text(optDescription, ifc.Description)
	if !ifc.MAC.IsZero() {
		o.add(optMAC, ifc.MAC[:])
	}
	if ifc.Speed != 0 {
		o.number(optSpeed, ifc.Speed)
	}
	o.add(optResolution, []byte{resolutionNano})
	if ifc.Filter != "" {
		o.text(optFilter, string(rune(filterOfExpression))+ifc.Filter)
	}
	o.text(optInterfaceOS, ifc.OS)
	o.text(optComment, ifc.Comment)
	if err := w.block(blockInterface, b, &o); err != nil {
		return 0, fmt.Errorf("write interface %s: %w", ifc.Name, err)
	}
	if snapLen == 0 {
		snapLen = math.MaxInt32
	}
	w.ifcs = append(w.ifcs, written{linkType: ifc.LinkType, snapLen: snapLen})
	return len(w.ifcs) - 1, nil
}

// Write writes a frame; o may be nil. Its time is that of its arrival, else that of
// the NIC. A VLAN tag that the kernel took off is put back where it was, so that
// the file has the frame as the wire had it. Direction and reception type are those
// of the packet type. Write does not allocate.
func (w *Writer) Write(f *capture.Frame, o *Options) error {
	if w.err != nil {
		return w.err
	}
	if o == nil {
		o = &noOptions
	}
	if uint(o.Interface) >= uint(len(w.ifcs)) {
		return fmt.Errorf("write frame: interface %d: there are %d", o.Interface, len(w.ifcs))
	}
	if len(o.Comment) > math.MaxUint16 {
		return fmt.Errorf("write frame: a comment of %d bytes: not within 0 to %d", len(o.Comment), math.MaxUint16)
	}
	ifc := &w.ifcs[o.Interface]
	data, length := f.Data, max(f.Length, len(f.Data))
	captured := len(data)
	tagged := f.VLAN.Present && ifc.linkType == LinkEthernet && captured >= macs
	if tagged {
		captured += tagLen
		length += tagLen
	}
	captured = min(captured, ifc.snapLen)

	const fixed, trailer = 28, 4
	room := fixed + max(captured, macs+tagLen) + trailer + 3 + optionsRoom + len(o.Comment)
	if len(w.buf)+room > cap(w.buf) {
		if err := w.makeRoom(room); err != nil {
			return err
		}
	}
	at := len(w.buf)
	b := w.buf[at : at+fixed]
	stamp := uint64(f.Arrival)
	if stamp == 0 {
		stamp = uint64(f.Hardware)
	}
	binary.LittleEndian.PutUint32(b[0:], blockPacket)
	binary.LittleEndian.PutUint32(b[8:], uint32(o.Interface))
	binary.LittleEndian.PutUint32(b[12:], uint32(stamp>>32))
	binary.LittleEndian.PutUint32(b[16:], uint32(stamp))
	binary.LittleEndian.PutUint32(b[20:], uint32(captured))
	binary.LittleEndian.PutUint32(b[24:], uint32(length))
	if tagged {
		b = append(b, data[:macs]...)
		b = binary.BigEndian.AppendUint16(b, uint16(f.VLAN.Type))
		b = binary.BigEndian.AppendUint16(b, f.VLAN.TCI)
		data = data[macs:]
	}
	// The snap length may be less than what is there already.
	b = append(b, data[:max(fixed+captured-len(b), 0)]...)[:fixed+captured]
	b = pad(b)
	b = appendOptions(b, f.PacketType, o)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(b)+trailer))
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)))
	w.buf = w.buf[:at+len(b)]
	return nil
}

var noOptions Options

const (
	macs   = 2 * len(frame.MAC{})
	tagLen = 4

	// optionsRoom is enough for all options of a packet but the comment's text:
	// flags, a comment's head and padding, two numbers, and the end.
	optionsRoom = 8 + 4 + 3 + 2*12 + 4
)

// appendOptions appends the options of a packet.
func appendOptions(b []byte, t capture.PacketType, o *Options) []byte {
	flags := flagsOf(t)
	if flags == 0 && o.Comment == "" && o.PacketID == 0 && o.Dropped == 0 {
		return b
	}
	if o.Comment != "" {
		b = appendOption(b, optComment, len(o.Comment))
		b = pad(append(b, o.Comment...))
	}
	if flags != 0 {
		b = appendOption(b, optFlags, 4)
		b = binary.LittleEndian.AppendUint32(b, flags)
	}
	if o.Dropped != 0 {
		b = appendOption(b, optDropped, 8)
		b = binary.LittleEndian.AppendUint64(b, o.Dropped)
	}
	if o.PacketID != 0 {
		b = appendOption(b, optID, 8)
		b = binary.LittleEndian.AppendUint64(b, o.PacketID)
	}
	return append(b, 0, 0, 0, 0)
}

func appendOption(b []byte, code uint16, length int) []byte {
	return binary.LittleEndian.AppendUint32(b, uint32(code)|uint32(length)<<16)
}

// pad fills up to four bytes. Blocks begin at such places.
func pad(b []byte) []byte {
	var zeros [3]byte
	return append(b, zeros[:-len(b)&3]...)
}

// flagsOf are the flags of a packet type; 0 if it says nothing.
func flagsOf(t capture.PacketType) uint32 {
	switch t {
	case capture.PacketHost:
		return flagIn | flagUnicast
	case capture.PacketBroadcast:
		return flagIn | flagBroadcast
	case capture.PacketMulticast:
		return flagIn | flagMulticast
	case capture.PacketOtherHost:
		return flagIn | flagPromiscuous
	case capture.PacketOutgoing:
		return flagOut
	}
	return 0
}

// WriteStatistics writes what the kernel has counted on an interface, as of now.
func (w *Writer) WriteStatistics(ifc int, s Statistics) error {
	if uint(ifc) >= uint(len(w.ifcs)) {
		return fmt.Errorf("write statistics: interface %d: there are %d", ifc, len(w.ifcs))
	}
	at := s.End
	if at == 0 {
		at = time.Now().UnixNano()
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(ifc))
	b = appendTime(b, at)
	var o options
	if s.Start != 0 {
		o.add(optStart, appendTime(nil, s.Start))
	}
	if s.End != 0 {
		o.add(optEnd, appendTime(nil, s.End))
	}
	o.number(optAccepted, s.Received)
	o.number(optOSDrop, s.Dropped)
	o.number(optDelivery, s.Captured)
	if err := w.block(blockStatistics, b, &o); err != nil {
		return fmt.Errorf("write statistics: %w", err)
	}
	return nil
}

// appendTime appends a time as pcapng has it: the higher half first, in whatever
// byte order.
func appendTime(b []byte, ns int64) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(uint64(ns)>>32))
	return binary.LittleEndian.AppendUint32(b, uint32(ns))
}

// Flush writes out what waits in memory. It has to be called at the end.
func (w *Writer) Flush() error {
	if w.err != nil || len(w.buf) == 0 {
		return w.err
	}
	n, err := w.w.Write(w.buf)
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.err = fmt.Errorf("write pcapng: %w", err)
	}
	w.buf = w.buf[:0]
	return w.err
}

// makeRoom makes room for n bytes.
func (w *Writer) makeRoom(n int) error {
	if err := w.Flush(); err != nil {
		return err
	}
	if n > cap(w.buf) {
		w.buf = make([]byte, 0, n)
	}
	return nil
}

// options are those of a block that is written now and then.
type options struct {
	b   []byte
	err error
}

func (o *options) text(code uint16, s string) {
	if s != "" {
		o.add(code, []byte(s))
	}
}

func (o *options) number(code uint16, n uint64) {
	o.add(code, binary.LittleEndian.AppendUint64(nil, n))
}

func (o *options) add(code uint16, value []byte) {
	if len(value) > math.MaxUint16 {
		o.err = fmt.Errorf("a text of %d bytes: not within 0 to %d", len(value), math.MaxUint16)
		return
	}
	o.b = pad(append(appendOption(o.b, code, len(value)), value...))
}

// block writes a block.
func (w *Writer) block(code uint32, body []byte, o *options) error {
	if o.err != nil {
		return o.err
	}
	if len(o.b) > 0 {
		body = append(append(body, o.b...), 0, 0, 0, 0)
	}
	length := uint32(len(body) + 12)
	if len(w.buf)+int(length) > cap(w.buf) {
		if err := w.makeRoom(int(length)); err != nil {
			return err
		}
	}
	w.buf = binary.LittleEndian.AppendUint32(w.buf, code)
	w.buf = binary.LittleEndian.AppendUint32(w.buf, length)
	w.buf = append(w.buf, body...)
	w.buf = binary.LittleEndian.AppendUint32(w.buf, length)
	return w.err
}
