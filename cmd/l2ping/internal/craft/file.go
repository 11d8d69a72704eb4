package craft

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// ErrTruncated says that a capture file ends within a frame, or within what
// describes it.
var ErrTruncated = errors.New("the file ends in the middle of a frame")

// pcapngMagic starts a pcapng file.
const pcapngMagic = 0x0a0d0d0a

// An unpacker reads what gzip has packed. Where that is cut short, it ends as a file
// that is not packed does, and remembers.
type unpacker struct {
	*gzip.Reader
	cut bool
}

func (u *unpacker) Read(b []byte) (int, error) {
	n, err := u.Reader.Read(b)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		u.cut, err = true, io.EOF
	}
	return n, err
}

// A source is what pcapgo's readers have in common.
type source interface {
	ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
}

// An openedFile is one whose header has been read.
type openedFile struct {
	source
	link   layers.LinkType // of all frames, where they do not have their own
	packed *unpacker       // nil if it is not
}

// ReadFile reads the frames of a pcap or pcapng file, which may be compressed by
// gzip. A file that is damaged gives the frames ahead of the damage, then one
// error, with which the sequence ends: it says after how many frames, and is
// ErrTruncated where the rest is missing.
func ReadFile(r io.Reader) iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		in, err := openFile(r, nil)
		if err != nil {
			yield(Frame{}, err)
			return
		}
		for n := 0; ; n++ {
			f, err := in.frame()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Frame{}, fmt.Errorf("after %s: %w", counted(n, "frame"), err))
				return
			}
			if !yield(f, nil) {
				return
			}
		}
	}
}

// openFile reads the file's header. It may be packed once: then packed is what unpacks
// it.
func openFile(r io.Reader, packed *unpacker) (*openedFile, error) {
	in := bufio.NewReader(r)
	head, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case len(head) == 0 && packed != nil && packed.cut:
		return nil, notPcap(io.ErrUnexpectedEOF)
	case len(head) == 0:
		return nil, errors.New("an empty file, neither pcap nor pcapng")
	case len(head) == 4 && binary.BigEndian.Uint32(head) == pcapngMagic:
	case packed == nil && len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b:
		unzipped, err := gzip.NewReader(in)
		if err != nil {
			return nil, notPcap(err)
		}
		u := &unpacker{Reader: unzipped}
		return openFile(u, u)
	default:
		p, err := pcapgo.NewReader(in)
		if err != nil {
			return nil, notPcap(err)
		}
		// libpcap believes a record rather than what the file says is its most.
		p.SetSnaplen(maxFrame)
		return &openedFile{source: p, link: p.LinkType(), packed: packed}, nil
	}
	p, err := pcapgo.NewNgReader(in, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
	if err != nil {
		return nil, notPcap(err)
	}
	return &openedFile{source: p, packed: packed}, nil
}

// notPcap says why a file could not be read at all.
func notPcap(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: not even its header is whole", ErrTruncated)
	}
	return fmt.Errorf("neither pcap nor pcapng: %w", err)
}

// frame reads one frame; io.EOF is the end of a whole file.
func (o *openedFile) frame() (Frame, error) {
	b, info, err := o.ReadPacketData()
	if err != nil {
		// Where a record starts, an end is the end, unless there was more to unpack.
		within := len(b) > 0 || info.CaptureLength > 0 || o.packed != nil && o.packed.cut
		if errors.Is(err, io.EOF) && within || errors.Is(err, io.ErrUnexpectedEOF) {
			return Frame{}, ErrTruncated
		}
		return Frame{}, err
	}
	link := o.link
	if len(info.AncillaryData) == 1 {
		if own, ok := info.AncillaryData[0].(layers.LinkType); ok {
			link = own
		}
	}
	switch link {
	case layers.LinkTypeIPv4, layers.LinkTypeIPv6, 12, 14: // the last two are BSD's
		link = layers.LinkTypeRaw
	}
	return Frame{Bytes: b, LinkType: link, Time: info.Timestamp, Length: info.Length}, nil
}
