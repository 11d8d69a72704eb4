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

// A source is what pcapgo's readers have in common.
type source interface {
	ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
}

// ReadFile reads the frames of a pcap or pcapng file, which may be compressed by
// gzip. A file that is damaged gives the frames ahead of the damage, then one
// error, with which the sequence ends: it says after how many frames, and is
// ErrTruncated where the rest is missing.
func ReadFile(r io.Reader) iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		in, link, err := openFile(r, true)
		if err != nil {
			yield(Frame{}, err)
			return
		}
		for n := 0; ; n++ {
			f, err := readFrame(in, link)
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

// openFile reads the file's header; it may be compressed once. The link type is that of all frames, where
// they do not have their own.
func openFile(r io.Reader, compressed bool) (source, layers.LinkType, error) {
	in := bufio.NewReader(r)
	head, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	switch {
	case len(head) == 0:
		return nil, 0, errors.New("an empty file, neither pcap nor pcapng")
	case len(head) == 4 && binary.BigEndian.Uint32(head) == pcapngMagic:
	case compressed && len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b:
		unzipped, err := gzip.NewReader(in)
		if err != nil {
			return nil, 0, notPcap(err)
		}
		return openFile(unzipped, false)
	default:
		p, err := pcapgo.NewReader(in)
		if err != nil {
			return nil, 0, notPcap(err)
		}
		// libpcap believes a record rather than what the file says is its most.
		p.SetSnaplen(maxFrame)
		return p, p.LinkType(), nil
	}
	p, err := pcapgo.NewNgReader(in, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
	if err != nil {
		return nil, 0, notPcap(err)
	}
	return p, 0, nil
}

// notPcap says why a file could not be read at all.
func notPcap(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: not even its header is whole", ErrTruncated)
	}
	return fmt.Errorf("neither pcap nor pcapng: %w", err)
}

// readFrame reads one frame; io.EOF is the end of a whole file.
func readFrame(in source, link layers.LinkType) (Frame, error) {
	b, info, err := in.ReadPacketData()
	if err != nil {
		// Where a record starts, an end is the end.
		if errors.Is(err, io.EOF) && (len(b) > 0 || info.CaptureLength > 0) || errors.Is(err, io.ErrUnexpectedEOF) {
			return Frame{}, ErrTruncated
		}
		return Frame{}, err
	}
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
