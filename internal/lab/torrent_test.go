package lab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// torrentFrame is a frame for nobody, with room for a number, and some bytes more.
func torrentFrame(p *lab.Pair) []byte {
	f := append([]byte{0x02, 0x00, 0x5e, 0x00, 0x53, 0x77}, p.NearMAC...)
	f = append(f, 0x88, 0xb5)
	return append(f, bytes.Repeat([]byte{0x5a}, 46)...)
}

// newTorrent makes one at the far end of a pair.
func newTorrent(t *testing.T, p *lab.Pair) *lab.Torrent {
	t.Helper()
	labtest.RequireRoot(t)
	torrent, err := lab.NewTorrent(p.Far, "eth0", torrentFrame(p))
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("%v (Linux 5.18 has them)", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := torrent.Close(); err != nil {
			t.Error(err)
		}
	})
	return torrent
}

// What arrives is as it was given, each numbered, all in order, whatever the rate.
func TestTorrent(t *testing.T) {
	p := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	torrent := newTorrent(t, p)
	file, err := p.Far.OpenPacket("eth0", lab.SocketOption{Level: unix.SOL_SOCKET, Name: unix.SO_RCVBUFFORCE, Value: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	next := uint64(0)
	for _, tt := range []struct{ count, rate int }{{1, 0}, {1000, 0}, {0, 0}, {64, 100_000}, {999, 1_000_000}, {1, 1_000_000}} {
		poured, took, err := torrent.Pour(t.Context(), tt.count, tt.rate)
		if err != nil || poured != tt.count {
			t.Fatalf("%d frames at %d: %d, %v", tt.count, tt.rate, poured, err)
		}
		// The last is due that long behind the first, and never ahead of that.
		if least := time.Duration(tt.count-1) * time.Second / time.Duration(max(tt.rate, 1)); tt.rate > 0 && took < least {
			t.Errorf("%d frames at %d: within %v, want %v", tt.count, tt.rate, took, least)
		}
		b := make([]byte, 200)
		for range tt.count {
			// All are there already: none is waited for.
			if err := file.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			n, err := file.Read(b)
			if err != nil {
				t.Fatalf("frame %d: %v", next, err)
			}
			want := torrentFrame(p)
			lab.SetTorrentNumber(want, next)
			if number, ok := lab.TorrentNumber(b[:n]); !ok || number != next || !bytes.Equal(b[:n], want) {
				t.Fatalf("frame %d: % x, want % x", next, b[:n], want)
			}
			next++
		}
	}
	if err := file.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if n, err := file.Read(make([]byte, 200)); err == nil {
		t.Errorf("%d bytes more", n)
	}
}

// The end of a context is that of a torrent.
func TestTorrentEnds(t *testing.T) {
	p := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	torrent := newTorrent(t, p)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if poured, _, err := torrent.Pour(ctx, 100_000, 100_000); !errors.Is(err, why) || poured > 100_000 {
		t.Errorf("%d frames, %v", poured, err)
	}
	if poured, _, err := torrent.Pour(t.Context(), 10, 0); err != nil || poured != 10 {
		t.Errorf("afterwards %d frames, %v", poured, err)
	}
	if err := torrent.Close(); err != nil {
		t.Error(err)
	}
	if poured, _, err := torrent.Pour(t.Context(), 10, 0); err == nil || poured != 0 {
		t.Errorf("closed: %d frames, %v", poured, err)
	}
}

func TestTorrentErrors(t *testing.T) {
	p := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	torrent := newTorrent(t, p)
	for _, tt := range []struct {
		count, rate int
		want        string
	}{
		{-1, 0, "pour -1 frames: not within 0 to 20000000"},
		{20_000_001, 0, "pour 20000001 frames: not within 0 to 20000000"},
		{1, 99_999, "pour 99999 frames a second: under 100000"},
		{1, -1, "pour -1 frames a second: under 100000"},
	} {
		if poured, _, err := torrent.Pour(t.Context(), tt.count, tt.rate); poured != 0 || fmt.Sprint(err) != tt.want {
			t.Errorf("%d at %d: %d, %v, want %s", tt.count, tt.rate, poured, err, tt.want)
		}
	}
	for _, length := range []int{0, 21, 3001} {
		if _, err := lab.NewTorrent(p.Far, "eth0", make([]byte, length)); err == nil {
			t.Errorf("a frame of %d bytes is one", length)
		}
	}
	if _, err := lab.NewTorrent(p.Far, "eth7", torrentFrame(p)); err == nil {
		t.Error("there is an eth7")
	}
}

func TestTorrentNumber(t *testing.T) {
	f := make([]byte, 22)
	lab.SetTorrentNumber(f, 1<<63|7)
	if n, ok := lab.TorrentNumber(f); !ok || n != 1<<63|7 {
		t.Errorf("%d, %v", n, ok)
	}
	for length := range f {
		if n, ok := lab.TorrentNumber(f[:length]); ok {
			t.Errorf("%d bytes have the number %d", length, n)
		}
	}
}
