package pcapng

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/bits"
	"slices"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/l2ping/l2ping/capture"
)

// bufferBytes is how much is read at a time.
const bufferBytes = 128 << 10

// longestFrame is how much of a frame captures have at most: as much as tcpdump keeps.
const longestFrame = 262144

// ErrFormat says that a file is neither pcap nor pcapng.
var ErrFormat = errors.New("neither pcap nor pcapng")

// A Frame is a frame of a file.
type Frame struct {
	// Frame has the data, the length, the time (Arrival; 0 if the file has
	// none) and the packet type, which pcap does not tell. VLAN tags are in the
	// data. The data are valid until the next turn of Frames.
	capture.Frame
	// Direction is told in some files where the packet type is not.
	Direction capture.Direction
	// Interface is the place in Reader.Interfaces.
	Interface int
	LinkType  LinkType
	Comments  []string
	PacketID  uint64 // 0 if there is none
	Dropped   uint64 // lost since the frame before
}

// A Reader reads a pcap or pcapng file. It is not safe for concurrent use.
type Reader struct {
	ng   *pcapgo.NgReader // or
	pcap *pcapgo.Reader

	source    *source
	bigEndian bool
	count     uint64
	err       error // what the file ended with
}

// A source is what a file is read from. It hides errors from pcapgo, which makes
// others of them, or none: to it the file ends.
type source struct {
	r     io.Reader
	below *source // what it decompresses
	err   error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && err != io.EOF {
		s.err, err = err, io.EOF
	}
	return n, err
}

// cause is why the file has ended, if it has with err.
func (s *source) cause(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		for at := s; at != nil; at = at.below {
			if at.err != nil {
				err = at.err // of what is decompressed, the end is that of what is below
			}
		}
	}
	return err
}

// NewReader reads the header of a file. It fails with ErrFormat where that is
// of another kind, or the file is empty, with io.ErrUnexpectedEOF where it is not
// whole, and with the errors of r.
func NewReader(r io.Reader) (*Reader, error) {
	reader := &Reader{source: &source{r: r}}
	if err := reader.open(); err != nil {
		if err = reader.source.cause(err); errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read capture file: %w", err)
	}
	return reader, nil
}

func (r *Reader) open() error {
	b := bufio.NewReaderSize(r.source, bufferBytes)
	if magic, err := b.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(b)
		if err != nil {
			return err
		}
		r.source = &source{r: z, below: r.source}
		b = bufio.NewReaderSize(r.source, bufferBytes)
	}
	magic, err := b.Peek(4)
	switch {
	case r.source.cause(err) != err: // one of what is below
		return err
	case err == io.EOF && len(magic) == 0:
		return fmt.Errorf("%w (an empty file)", ErrFormat)
	case err == io.EOF && !slices.ContainsFunc(magics, func(m string) bool { return strings.HasPrefix(m, string(magic)) }):
		return ErrFormat
	case err != nil:
		return err
	}
	switch binary.BigEndian.Uint32(magic) {
	case blockSection: // the same in both byte orders
		order, err := b.Peek(12)
		if err != nil {
			return err
		}
		r.bigEndian = binary.BigEndian.Uint32(order[8:]) == byteOrderMagic
		r.ng, err = pcapgo.NewNgReader(b, pcapgo.NgReaderOptions{
			WantMixedLinkType: true,
			// The next section may be of the other byte order: of that it has just
			// read the magic number, and does not tell.
			SectionEndCallback: func([]pcapgo.NgInterface, pcapgo.NgSectionInfo) {
				if b.UnreadByte() == nil {
					last, _ := b.ReadByte()
					r.bigEndian = last == byteOrderMagic&0xff
				}
			},
		})
		return err
	case 0xa1b2c3d4, 0xd4c3b2a1, 0xa1b23c4d, 0x4d3cb2a1:
		r.pcap, err = pcapgo.NewReader(b)
		return err
	}
	return ErrFormat
}

// magics are how files begin: compressed ones, pcapng, and pcap with microseconds and
// nanoseconds in both byte orders.
var magics = []string{"\x1f\x8b", "\x0a\x0d\x0d\x0a", "\xa1\xb2\xc3\xd4", "\xd4\xc3\xb2\xa1", "\xa1\xb2\x3c\x4d", "\x4d\x3c\xb2\xa1"}

// Header is what the file tells of itself.
func (r *Reader) Header() Config {
	if r.ng == nil {
		return Config{}
	}
	s := r.ng.SectionInfo()
	return Config{Application: s.Application, OS: s.OS, Hardware: s.Hardware, Comment: s.Comment}
}

// Interfaces are those that the file has described so far; in pcap one without a
// name. In a file of several sections it is those of the section at hand.
func (r *Reader) Interfaces() []Interface {
	if r.ng == nil {
		return []Interface{{SnapLen: int(r.pcap.Snaplen()), LinkType: LinkType(r.pcap.LinkType())}}
	}
	var all []Interface
	for i := range r.ng.NInterfaces() {
		ifc, err := r.ng.Interface(i)
		if err != nil {
			break
		}
		all = append(all, Interface{
			Name: ifc.Name, Description: ifc.Description, Filter: ifc.Filter, OS: ifc.OS, Comment: ifc.Comment,
			SnapLen: int(ifc.SnapLength), LinkType: LinkType(ifc.LinkType),
		})
	}
	return all
}

// Frames yields the frames of the file, to its end or until the loop is left; the
// next Frames goes on there. A file that is cut off, or damaged, yields what is
// whole before that place and then one error: io.ErrUnexpectedEOF where it is cut
// off, or that of the underlying reader.
func (r *Reader) Frames() iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		for r.err == nil {
			f, err := r.read()
			if err != nil {
				r.err = r.source.cause(err)
				break
			}
			r.count++
			if !yield(f, nil) {
				return
			}
		}
		switch {
		case r.err == io.EOF:
		case r.count == 0:
			yield(Frame{}, fmt.Errorf("read capture file: %w", r.err))
		default:
			yield(Frame{}, fmt.Errorf("read capture file after frame %d: %w", r.count, r.err))
		}
	}
}

func (r *Reader) read() (Frame, error) {
	if r.ng == nil {
		data, info, err := r.pcap.ZeroCopyReadPacketData()
		if err == io.EOF && info.CaptureLength > 0 {
			err = io.ErrUnexpectedEOF // behind the record's header
		}
		if err != nil && len(data) == 0 && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && info.CaptureLength > 0 {
			err = lengthError(info)
		}
		return Frame{Frame: newFrame(data, info), LinkType: LinkType(r.pcap.LinkType())}, err
	}
	data, info, options, err := r.ng.ZeroCopyReadPacketDataWithOptions()
	if err != nil {
		// A length that is believed leads past the end of the file.
		if errors.Is(err, io.ErrUnexpectedEOF) && info.CaptureLength > longestFrame && r.source.cause(err) == err {
			err = lengthError(info)
		}
		return Frame{}, err
	}
	f := Frame{Frame: newFrame(data, info), Interface: info.InterfaceIndex, Comments: options.Comments}
	if ifc, err := r.ng.Interface(info.InterfaceIndex); err == nil {
		f.LinkType = LinkType(ifc.LinkType)
	}
	// pcapgo reads numbers among the options as if all files were little-endian.
	if p := options.Flags; p != nil {
		flags := p.ToUint32()
		if r.bigEndian {
			flags = bits.ReverseBytes32(flags)
		}
		f.PacketType, f.Direction = packetTypeOf(flags), directionOf(flags)
	}
	number := func(p *uint64) uint64 {
		switch {
		case p == nil:
			return 0
		case r.bigEndian:
			return bits.ReverseBytes64(*p)
		}
		return *p
	}
	f.PacketID, f.Dropped = number(options.PacketID), number(options.DropCount)
	return f, nil
}

// lengthError says what is wrong with a frame's lengths. pcapgo's errors have no type,
// and the names of its code.
func lengthError(info gopacket.CaptureInfo) error {
	if info.CaptureLength > info.Length {
		return fmt.Errorf("damaged: %d bytes would be captured of a frame of %d", info.CaptureLength, info.Length)
	}
	return fmt.Errorf("damaged: a frame would have %d bytes", info.CaptureLength)
}

func newFrame(data []byte, info gopacket.CaptureInfo) capture.Frame {
	f := capture.Frame{Data: data, Length: max(info.Length, len(data))}
	if !info.Timestamp.IsZero() { // a simple packet block has none
		f.Arrival = info.Timestamp.UnixNano()
	}
	return f
}

// packetTypeOf is what flagsOf is made from.
func packetTypeOf(flags uint32) capture.PacketType {
	switch flags & flagDirection {
	case flagOut:
		return capture.PacketOutgoing
	case flagIn:
		switch flags & flagReception {
		case flagUnicast:
			return capture.PacketHost
		case flagBroadcast:
			return capture.PacketBroadcast
		case flagMulticast:
			return capture.PacketMulticast
		case flagPromiscuous:
			return capture.PacketOtherHost
		}
	}
	return capture.PacketUnknown
}

func directionOf(flags uint32) capture.Direction {
	switch flags & flagDirection {
	case flagIn:
		return capture.DirectionIn
	case flagOut:
		return capture.DirectionOut
	}
	return capture.DirectionBoth
}
