//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/l2"
)

const (
	// torrentFrame is the length of a frame, the least that Ethernet has without
	// its checksum.
	torrentFrame = 60
	// torrentBatch is how many frames are sent with one call.
	torrentBatch = 1024
	// torrentType is an EtherType for local experiments (IEEE 802, section 9.2.4),
	// for which the far end's kernel has no use.
	torrentType = 0x88b5
)

// nobody is whom the frames are for.
var nobody = net.HardwareAddr{0x02, 0x00, 0x5e, 0x00, 0x53, 0x77}

// A source has numbered frames arrive at the far end's eth0.
type source interface {
	// pour has count frames arrive, at a rate if that is not 0. It tells the
	// number of the first, how many there were, and how long that took.
	pour(ctx context.Context, count, rate int) (first uint64, arrived int, took time.Duration, err error)
	// ordered is whether they arrive in the order of their numbers.
	ordered() bool
	close() error
}

// newTorrentFrame is a frame without its number.
func newTorrentFrame(p *lab.Pair) []byte {
	f := make([]byte, torrentFrame)
	copy(f, nobody)
	copy(f[6:], p.NearMAC)
	binary.BigEndian.PutUint16(f[12:], torrentType)
	return f
}

// poured are frames that nobody has sent (lab.Torrent).
type poured struct {
	torrent *lab.Torrent
	next    uint64
}

// withoutTorrent tells whether an error of newPoured means that there is no other way
// than to send: the kernel lacks something, or this user may not.
func withoutTorrent(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, os.ErrPermission)
}

func newPoured(p *lab.Pair) (source, error) {
	t, err := lab.NewTorrent(p.Far, "eth0", newTorrentFrame(p))
	if err != nil {
		return nil, err
	}
	return &poured{torrent: t}, nil
}

func (s *poured) pour(ctx context.Context, count, rate int) (first uint64, arrived int, took time.Duration, err error) {
	first = s.next
	arrived, took, err = s.torrent.Pour(ctx, count, rate)
	s.next += uint64(arrived)
	return first, arrived, took, err
}

func (s *poured) ordered() bool { return true }
func (s *poured) close() error  { return s.torrent.Close() }

// sent are frames that the near end sends, past the qdisc and by no rate.
type sent struct{ pair *lab.Pair }

func (s *sent) pour(ctx context.Context, count, _ int) (first uint64, arrived int, took time.Duration, err error) {
	before, err := arrivals(s.pair.Far)
	if err != nil {
		return 0, 0, 0, err
	}
	if took, err = sendTorrent(ctx, s.pair, count); err != nil {
		return 0, 0, 0, err
	}
	after, err := arrivals(s.pair.Far)
	return 0, after - before, took, err
}

func (s *sent) ordered() bool { return false } // by CPUs, of which there are more
func (s *sent) close() error  { return nil }

// arrivals is how many frames the far end's driver has taken.
func arrivals(n *lab.Namespace) (int, error) {
	index, err := n.Index("eth0")
	if err != nil {
		return 0, err
	}
	link, err := n.Handle().LinkByIndex(index)
	if err != nil {
		return 0, err
	}
	return int(link.Attrs().Statistics.RxPackets), nil
}

// sendTorrent sends frames from the near end, and tells how long that took.
func sendTorrent(ctx context.Context, p *lab.Pair, count int) (took time.Duration, err error) {
	batch := make([][]byte, torrentBatch)
	for i := range batch {
		batch[i] = newTorrentFrame(p)
	}
	err = p.Near.Do(func() (err error) {
		ifc, err := l2.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		l, err := l2.OpenLink(ifc, &l2.LinkConfig{NoStamps: true, Bypass: true})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.Close()) }()
		begun := time.Now()
		for number := 0; number < count; {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			turn := batch[:min(count-number, len(batch))]
			for i, f := range turn {
				lab.SetTorrentNumber(f, uint64(number+i))
			}
			n, err := l.SendBatch(turn, 0)
			if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EAGAIN) {
				return fmt.Errorf("send: %w", err)
			}
			number += n
		}
		took = time.Since(begun)
		return nil
	})
	return took, err
}

// checkTorrent counts the frames of a capture file, which are some of those from the
// number first on, none of them twice. If they are ordered a later one never comes
// ahead of an earlier one.
func checkTorrent(r io.Reader, first uint64, count int, ordered bool) (filed int, err error) {
	file, err := pcapng.NewReader(bufio.NewReaderSize(r, 1<<20))
	if err != nil {
		return 0, err
	}
	seen := make([]bool, count)
	last := -1
	for f, err := range file.Frames() {
		if err != nil {
			return filed, err
		}
		number, ok := lab.TorrentNumber(f.Data)
		if !ok || len(f.Data) != torrentFrame || f.Length != torrentFrame || binary.BigEndian.Uint16(f.Data[12:]) != torrentType {
			return filed, fmt.Errorf("a frame that was not sent: % x", f.Data)
		}
		at := number - first // far above count if it is below first
		switch {
		case at >= uint64(count):
			return filed, fmt.Errorf("frame %d, but there were those from %d to %d", number, first, first+uint64(count)-1)
		case seen[at]:
			return filed, fmt.Errorf("frame %d twice", number)
		case ordered && int(at) < last:
			return filed, fmt.Errorf("frame %d behind frame %d", number, first+uint64(last))
		}
		seen[at], last = true, int(at)
		filed++
	}
	return filed, nil
}
