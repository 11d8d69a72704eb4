//go:build linux

package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"

	cbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// quick hands frames over as soon as the kernel can.
const quick = time.Millisecond

var errRefused = errors.New("refused")

func refuse(*Ring, Config) error { return errRefused }

// eachWay runs a test with a ring, and without.
func eachWay(t *testing.T, f func(t *testing.T, open ringOpener)) {
	for name, share := range map[string]func(*Ring, Config) error{"ring": (*Ring).share, "messages": refuse} {
		t.Run(name, func(t *testing.T) {
			f(t, func(t testing.TB, n *lab.Namespace, ifname string, cfg Config) *Ring {
				t.Helper()
				r := openRingIn(t, n, ifname, cfg, share)
				if mapped := r.BufferBytes() > 0; mapped != (name == "ring") || mapped != (r.Fallback() == nil) {
					t.Fatalf("a ring of %d bytes, %v", r.BufferBytes(), r.Fallback())
				}
				return r
			})
		})
	}
}

type ringOpener func(t testing.TB, n *lab.Namespace, ifname string, cfg Config) *Ring

func openRingIn(t testing.TB, n *lab.Namespace, ifname string, cfg Config, share func(*Ring, Config) error) *Ring {
	t.Helper()
	if cfg.BlockTimeout == 0 {
		cfg.BlockTimeout = quick
	}
	if cfg.BufferBytes == 0 && cfg.BlockBytes == 0 {
		// Many blocks: a slow host may hand each frame over in one of its own.
		cfg.BufferBytes, cfg.BlockBytes = 2<<20, 16<<10
	}
	var r *Ring
	must(t, n.Do(func() error {
		ifc, err := l2.InterfaceByName(ifname)
		if err != nil {
			return err
		}
		r, err = openRing(ifc, &cfg, share)
		return err
	}))
	t.Cleanup(func() { must(t, r.Close()) })
	return r
}

// take reads n frames, with data of their own, and fails the test if they do not
// come.
func take(t testing.TB, r *Ring, n int) []Frame {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var all []Frame
	for f, err := range r.Frames(ctx) {
		must(t, err)
		f.Data = bytes.Clone(f.Data)
		if all = append(all, f); len(all) == n {
			return all
		}
	}
	t.Fatalf("%d frames, want %d", len(all), n)
	return nil
}

// rest reads what is there, to the end.
func rest(t testing.TB, r *Ring) []Frame {
	t.Helper()
	must(t, r.Stop())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var all []Frame
	for f, err := range r.Frames(ctx) {
		must(t, err)
		f.Data = bytes.Clone(f.Data)
		all = append(all, f)
	}
	if ctx.Err() != nil {
		t.Fatal("it does not end")
	}
	return all
}

// What is sent to the interface comes, stamped, whole and in its order, and the
// counters know.
func TestRing(t *testing.T) {
	eachWay(t, func(t *testing.T, open ringOpener) {
		pair := silentPair(t)
		r := open(t, pair.Near, "eth0", Config{})
		far := talk(t, pair.Far)
		from := time.Now().UnixNano()
		const many, batch = 3000, 50
		var all []Frame
		pinned(t, pair.Far, func() {
			for seq := range uint16(many) {
				far.send(reply(t, pair, seq, 8+int(seq)%1400))
				if seq%batch == batch-1 {
					all = append(all, take(t, r, batch)...)
				}
			}
		})
		for i, f := range all {
			if want := reply(t, pair, uint16(i), 8+i%1400); !bytes.Equal(f.Data, want) || f.Length != len(want) {
				t.Fatalf("frame %d: %d bytes of %d, % x", i, len(f.Data), f.Length, f.Data[:20])
			}
			// Without a ring the first stamps on a host may be missing.
			if to := time.Now().UnixNano(); (f.Arrival < from || f.Arrival > to) && (f.Arrival != 0 || r.Fallback() == nil) {
				t.Fatalf("frame %d arrived at %d, not within %d to %d", i, f.Arrival, from, to)
			}
			if f.Hardware != 0 || f.VLAN != (VLAN{}) || f.PacketType != PacketHost {
				t.Fatalf("frame %d: %+v", i, f)
			}
		}
		if st, err := r.Statistics(); err != nil || st != (RingStatistics{Captured: many, Received: many}) {
			t.Errorf("%+v, %v", st, err)
		}
	})
}

// In steady state the stamps are those of the driver's arrival, taken before the
// ring: the kernel marks them.
func TestRingStamps(t *testing.T) {
	pair := silentPair(t)
	r := openRingIn(t, pair.Near, "eth0", Config{}, (*Ring).share)
	s := openAll(t, pair, pair.Near, lookUp(t, pair.Near, "eth0"), SocketConfig{})
	far := talk(t, pair.Far)
	until(t, "one stamp of both", func() bool {
		sent := reply(t, pair, 1, 56)
		far.send(sent)
		a, b := take(t, r, 1)[0], s.next(sent)
		return b.Arrival != 0 && a.Arrival == b.Arrival
	})
}

func TestRingDirections(t *testing.T) {
	broadcast := frame.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	eachWay(t, func(t *testing.T, open ringOpener) {
		pair := silentPair(t)
		to := func(mac frame.MAC, seq uint16) []byte {
			b := reply(t, pair, seq, 56)
			copy(b, mac[:])
			return b
		}
		rings := map[Direction]*Ring{}
		for _, d := range []Direction{DirectionBoth, DirectionIn, DirectionOut} {
			rings[d] = open(t, pair.Near, "eth0", Config{Direction: d})
		}
		near, far := talk(t, pair.Near), talk(t, pair.Far)
		pinned(t, pair.Far, func() {
			far.send(to(frame.MAC(pair.NearMAC), 1))
			far.send(to(broadcast, 2))
			far.send(to(frame.MAC{0x01, 0, 0x5e, 0, 0, 1}, 3))
			far.send(to(frame.MAC{0x02, 0, 0x5e, 0, 0x53, 0x77}, 4))
			near.send(reply(t, pair, 5, 56))
		})
		want := map[uint16]PacketType{1: PacketHost, 2: PacketBroadcast, 3: PacketMulticast, 4: PacketOtherHost, 5: PacketOutgoing}
		for d, r := range rings {
			n := map[Direction]int{DirectionBoth: 5, DirectionIn: 4, DirectionOut: 1}[d]
			for _, f := range append(take(t, r, n), rest(t, r)...) {
				n--
				seq := seqOf(f.Data)
				if f.PacketType != want[seq] || d != DirectionBoth && f.PacketType.Direction() != d {
					t.Errorf("%s: number %d is %s, want %s", d, seq, f.PacketType, want[seq])
				}
			}
			if n != 0 {
				t.Errorf("%s: %d frames lack", d, n)
			}
		}
	})
}

// The loopback interface shows each frame once.
func TestRingLoopback(t *testing.T) {
	eachWay(t, func(t *testing.T, open ringOpener) {
		n := labtest.NewNamespace(t)
		out := open(t, n, "lo", Config{Direction: DirectionOut})
		r := open(t, n, "lo", Config{})
		must(t, n.Do(func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			for range 3 {
				if err := unix.Sendto(fd, []byte("one"), 0, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
					return err
				}
			}
			return nil
		}))
		udp := 0
		for _, f := range append(take(t, r, 3), rest(t, r)...) {
			if bytes.HasSuffix(f.Data, []byte("one")) && f.Data[23] == unix.IPPROTO_UDP {
				udp++
			}
			if f.PacketType != PacketHost {
				t.Errorf("%s", f.PacketType)
			}
		}
		if udp != 3 {
			t.Errorf("%d datagrams, want 3", udp)
		}
		if f := take(t, out, 1)[0]; f.PacketType != PacketOutgoing {
			t.Errorf("asked for what goes out: %s", f.PacketType)
		}
	})
}

func TestRingTags(t *testing.T) {
	const q, ad = frame.EtherTypeVLAN, frame.EtherTypeQinQ
	eachWay(t, func(t *testing.T, open ringOpener) {
		pair := silentPair(t)
		r, far := open(t, pair.Near, "eth0", Config{}), talk(t, pair.Far)
		plain := reply(t, pair, 1, 56)
		tag := func(b []byte, typ frame.EtherType, tci uint16) []byte {
			t := binary.BigEndian.AppendUint16(bytes.Clone(b[:12]), uint16(typ))
			return append(binary.BigEndian.AppendUint16(t, tci), b[12:]...)
		}
		for _, tt := range []struct {
			sent, data []byte
			want       VLAN
		}{
			{plain, plain, VLAN{}},
			{tag(plain, q, 0), plain, VLAN{Present: true, Type: q}},
			{tag(plain, q, 100), plain, VLAN{Present: true, Type: q, TCI: 100}},
			{tag(plain, ad, 0x6064), plain, VLAN{Present: true, Type: ad, TCI: 0x6064}},
			{tag(tag(plain, q, 100), ad, 200), tag(plain, q, 100), VLAN{Present: true, Type: ad, TCI: 200}},
		} {
			far.send(tt.sent)
			if f := take(t, r, 1)[0]; f.VLAN != tt.want || !bytes.Equal(f.Data, tt.data) || f.Length != len(tt.data) {
				t.Errorf("%+v, want %+v\n% x, want\n% x", f.VLAN, tt.want, f.Data, tt.data)
			}
		}
	})
}

func assemble(t testing.TB, instructions ...cbpf.Instruction) []cbpf.RawInstruction {
	t.Helper()
	p, err := cbpf.Assemble(instructions)
	must(t, err)
	return p
}

// A frame is cut by whichever asks for less, the program or the snap length; also
// where the program works out what it returns, and by Match.
func TestRingSnapLen(t *testing.T) {
	eachWay(t, func(t *testing.T, open ringOpener) {
		pair := silentPair(t)
		far := talk(t, pair.Far)
		sent := reply(t, pair, 1, 500)
		for _, tt := range []struct {
			name    string
			cfg     Config
			want    int
			because string
		}{
			{name: "all", want: len(sent)},
			{name: "snap length", cfg: Config{SnapLen: 60}, want: 60},
			{name: "one byte", cfg: Config{SnapLen: 1}, want: 1},
			{name: "program", cfg: Config{Instructions: assemble(t, cbpf.RetConstant{Val: 40}), SnapLen: 60}, want: 40},
			{name: "program takes all", cfg: Config{Instructions: assemble(t, cbpf.RetConstant{Val: 0xffffffff}), SnapLen: 60}, want: 60},
			{name: "program computes", cfg: Config{Instructions: assemble(t, cbpf.LoadConstant{Dst: cbpf.RegA, Val: 70}, cbpf.RetA{}), SnapLen: 60}, want: 60},
			{name: "match", cfg: Config{Filter: newFilter(t, pair, bpf.Classic), SnapLen: 61}, want: 61},
		} {
			r := open(t, pair.Near, "eth0", tt.cfg)
			far.send(sent)
			if f := take(t, r, 1)[0]; f.Length != len(sent) || !bytes.Equal(f.Data, sent[:tt.want]) {
				t.Errorf("%s: %d bytes of %d, want %d of %d", tt.name, len(f.Data), f.Length, tt.want, len(sent))
			}
		}
	})
}

// A frame that no block holds is cut, and says so.
func TestRingLongFrame(t *testing.T) {
	labtest.RequireNetns(t)
	pair, err := lab.NewPair(&lab.PairConfig{Silent: true, MTU: 9000})
	must(t, err)
	defer func() { must(t, pair.Close()) }()
	r := openRingIn(t, pair.Near, "eth0", Config{BlockBytes: 1, BufferBytes: 1}, (*Ring).share)
	if want := 2 * os.Getpagesize(); r.BufferBytes() != want {
		t.Errorf("a ring of %d bytes, want %d", r.BufferBytes(), want)
	}
	sent := reply(t, pair, 1, 8900)
	talk(t, pair.Far).send(sent)
	f := take(t, r, 1)[0]
	if len(f.Data) < os.Getpagesize()/2 || len(f.Data) >= os.Getpagesize() || f.Length != len(sent) || !bytes.HasPrefix(sent, f.Data) {
		t.Errorf("%d bytes of %d", len(f.Data), f.Length)
	}
}

// ofOurs takes echo replies of IPv4 whose number is not 999, which strangers have.
func ofOurs() []cbpf.Instruction {
	return []cbpf.Instruction{
		cbpf.LoadAbsolute{Off: 12, Size: 2},
		cbpf.JumpIf{Cond: cbpf.JumpEqual, Val: 0x800, SkipFalse: 3},
		cbpf.LoadAbsolute{Off: 40, Size: 2},
		cbpf.JumpIf{Cond: cbpf.JumpEqual, Val: 999, SkipTrue: 1},
		cbpf.RetConstant{Val: 262144},
		cbpf.RetConstant{},
	}
}

// Nothing but what matches comes, by each kind of filter, though frames fly while
// the ring is opened; and nothing else is counted.
func TestRingFilters(t *testing.T) {
	eachWay(t, func(t *testing.T, open ringOpener) {
		filters := map[string]func(t *testing.T, pair *lab.Pair) Config{
			"match, eBPF": func(t *testing.T, pair *lab.Pair) Config {
				labtest.RequireRoot(t)
				return Config{Filter: newFilter(t, pair, bpf.EBPF)}
			},
			"match, classic": func(t *testing.T, pair *lab.Pair) Config {
				return Config{Filter: newFilter(t, pair, bpf.Classic)}
			},
			"instructions": func(t *testing.T, pair *lab.Pair) Config {
				return Config{Instructions: assemble(t, ofOurs()...)}
			},
			"instructions, out": func(t *testing.T, pair *lab.Pair) Config {
				// A is 0 at the beginning, whatever came before.
				return Config{Direction: DirectionOut, Instructions: assemble(t, append([]cbpf.Instruction{
					cbpf.JumpIf{Cond: cbpf.JumpEqual, Val: 0, SkipTrue: 1},
					cbpf.RetConstant{},
				}, ofOurs()...)...)}
			},
		}
		for name, config := range filters {
			t.Run(name, func(t *testing.T) {
				pair := silentPair(t)
				cfg := config(t, pair)
				n := pair.Far
				if cfg.Direction == DirectionOut {
					n = pair.Near
				}
				s := talk(t, n)
				others := strangers(t, pair)
				done, ended := make(chan struct{}), make(chan error, 1)
				flying := make(chan struct{})
				go func() {
					for i := 0; ; i++ {
						if i == 10 {
							close(flying)
						}
						select {
						case <-done:
							ended <- nil
							return
						default:
						}
						for _, b := range others {
							if err := unix.Send(s.fd, b, 0); err != nil {
								ended <- err
								return
							}
						}
					}
				}()
				<-flying
				r := open(t, pair.Near, "eth0", cfg)
				const many = 50
				for i := range uint16(many) {
					must(t, unix.Send(s.fd, reply(t, pair, i, 56), 0))
				}
				for i, f := range take(t, r, many) {
					if seqOf(f.Data) != uint16(i) {
						t.Fatalf("frame %d is % x", i, f.Data)
					}
				}
				close(done)
				must(t, <-ended)
				if left := rest(t, r); len(left) != 0 {
					t.Errorf("%d frames more, the first % x", len(left), left[0].Data)
				}
				if st, err := r.Statistics(); err != nil || st.Captured != many || st.Received != many || st.Dropped != 0 {
					t.Errorf("%+v, %v", st, err)
				}
			})
		}
	})
}

// What a stalled reader cannot take is dropped and counted, once, and what it took
// is whole.
func TestRingDrops(t *testing.T) {
	eachWay(t, func(t *testing.T, open ringOpener) {
		pair := silentPair(t)
		r := open(t, pair.Near, "eth0", Config{BlockBytes: 1, BufferBytes: 4 * os.Getpagesize(), BlockTimeout: time.Minute})
		far := talk(t, pair.Far)
		sent := uint64(0)
		for round := range uint16(3) {
			pinned(t, pair.Far, func() {
				for range 200 {
					far.send(reply(t, pair, round, 1000))
					sent++
				}
			})
			// Read what there is of whole blocks; the statistics tell when all
			// has arrived.
			until(t, "all frames", func() bool {
				st, err := r.Statistics()
				must(t, err)
				return st.Received == sent
			})
			ctx, cancel := context.WithCancel(t.Context())
			for f, err := range r.Frames(ctx) {
				must(t, err)
				if seqOf(f.Data) > round || f.Length != 1042 || len(f.Data) != 1042 {
					t.Fatalf("round %d: %d bytes of %d, % x", round, len(f.Data), f.Length, f.Data[:44])
				}
				if !r.more() {
					cancel()
				}
			}
			cancel()
		}
		st, err := r.Statistics()
		if again, _ := r.Statistics(); err != nil || again != st || st.Dropped == 0 || st.Captured == 0 ||
			r.Fallback() == nil && st.Freezes == 0 || st.Captured+st.Dropped > st.Received || st.Received != sent {
			t.Errorf("%d sent: %+v, then %+v, %v", sent, st, again, err)
		}
	})
}

// more tells whether another frame can be read at once.
func (r *Ring) more() bool {
	if r.memory == nil {
		// Not by MSG_PEEK, after which packet_recvmsg tells a wrong tp_len.
		n, err := unix.IoctlGetInt(r.conn.FD(), unix.SIOCINQ)
		return err == nil && n > 0
	}
	return r.left > 0 || block(r.memory[(r.at+r.blockLen)%len(r.memory):]).ours()
}

// Nothing that passed the filter before Stop is lost, though its block's time is
// not up.
func TestRingStop(t *testing.T) {
	eachWay(t, func(t *testing.T, open ringOpener) {
		pair := silentPair(t)
		r := open(t, pair.Near, "eth0", Config{BlockTimeout: 200 * time.Millisecond})
		far := talk(t, pair.Far)
		if left := rest(t, open(t, pair.Near, "eth0", Config{})); len(left) != 0 {
			t.Errorf("%d frames of none", len(left))
		}
		pinned(t, pair.Far, func() {
			for seq := range uint16(5) {
				far.send(reply(t, pair, seq, 56))
			}
		})
		until(t, "all frames", func() bool {
			st, err := r.Statistics()
			must(t, err)
			return st.Received == 5
		})
		must(t, r.Stop())
		far.send(reply(t, pair, 9, 56))
		if left := rest(t, r); len(left) != 5 || seqOf(left[4].Data) != 4 {
			t.Errorf("%d frames, want 5", len(left))
		}
		if left := rest(t, r); len(left) != 0 {
			t.Errorf("%d frames more", len(left))
		}
	})
}
