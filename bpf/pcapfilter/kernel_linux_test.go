package pcapfilter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"unsafe"

	cbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

func TestMain(m *testing.M) { labtest.MainNetns(m) }

// attach has the kernel check a program, and filter a socket with it.
func attach(fd int, program []cbpf.RawInstruction) error {
	list := make([]unix.SockFilter, len(program))
	for i, in := range program {
		list[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{
		Len: uint16(len(list)), Filter: unsafe.SliceData(list),
	})
}

// datagrams makes two sockets, which need no privileges. What is sent on out has
// passed the filter of in when the send returns.
func datagrams(t testing.TB) (in, out int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

// kernelTakes has the kernel check a program.
func kernelTakes(t testing.TB, program []cbpf.RawInstruction) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := attach(fd, program); err != nil {
		t.Fatalf("the kernel refuses the program: %v", err)
	}
}

// received returns what has come, or ok false if nothing has.
func received(t testing.TB, fd int, buf []byte) (b []byte, ok bool) {
	t.Helper()
	n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
	if errors.Is(err, unix.EAGAIN) {
		return nil, false
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n], true
}

// TestKernel has the kernel run the programs on the corpus. Of metadata there is
// none on these sockets.
func TestKernel(t *testing.T) {
	const every = 5 // frame of the corpus, another for each program
	in, out := datagrams(t)
	buf := make([]byte, 2048)
	for _, s := range settings {
		t.Run(s.name, func(t *testing.T) {
			list, runs := frames(s.cfg.NoLink), 0
			for i, expr := range s.expressions {
				cfg := s.cfg
				cfg.SnapLen = uint32(i % 40)
				program, err := compileHere(expr, cfg)
				if err != nil {
					t.Fatal(err)
				}
				if err := attach(in, program); err != nil {
					t.Errorf("the kernel refuses %q: %v", expr, err)
					continue
				}
				if bytes.Contains([]byte(expr), []byte("ifindex")) {
					continue // no interface
				}
				for j := i % every; j < len(list); j += every {
					if _, err := unix.SendmsgN(out, list[j], nil, nil, 0); err != nil {
						t.Fatal(err)
					}
					b, got := received(t, in, buf)
					keep, _ := view{frame: list[j]}.run(t, program)
					want := list[j][:min(int64(len(list[j])), int64(keep))]
					if got != (keep > 0) || !bytes.Equal(b, want) && got {
						t.Errorf("%q: the kernel passes %v and %x of %x; want %d bytes", expr, got, b, list[j], keep)
					}
					runs++
				}
			}
			t.Logf("%d runs", runs)
		})
	}
}

// Offsets and shifts that a frame says itself: to the kernel an offset of 32 bits
// turns round to the frame's start, and a shift by 33 is one by 1.
func TestKernelTraps(t *testing.T) {
	in, out := datagrams(t)
	buf := make([]byte, 2048)
	for _, tt := range []struct {
		expr   string
		number uint32 // at ip[4:4]
		passes bool
	}{
		{"ip[ip[4:4]] = 2", 0xfffffff2, false}, // 14 bytes back is ether[0]
		{"ip[ip[4:4]] = 64", 8, true},
		{"ether[ip[4:4] + 1] = 2", 0xffffffff, true}, // what is added up is of 32 bits
		{"ether[ip[4:4]] = 0x45", 0xfff00000, false}, // SKF_NET_OFF
		{"tcp[ip[4:4]] = 2", 0x8000_0000 - 34, false},
		{"tcp[ip[4:4]] = 2", 0xffff_ffff - 33, false},
		{"ether[ip[4:4]] = 0 or ip", 0xfffff000, false}, // SKF_AD_OFF
		{"1 << ip[4:4] = 2", 33, false},
		{"1 << ip[4:4] = 0", 33, true},
		{"1 << ip[4:4] = 2", 1, true},
		{"ip[8] >> ip[4:4] = 64", 32, false},
		{"ip[8] / ip[4:4] = 64", 1, true},
		{"not ip[8] / ip[4:4] = 64", 0, false},
	} {
		program, err := Compile(tt.expr, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := attach(in, program); err != nil {
			t.Fatal(err)
		}
		frame := append(ether(0x800), serialize(v4(6), tcp(1, 2, "S"))...)
		binary.BigEndian.PutUint32(frame[18:], tt.number)
		if _, err := unix.SendmsgN(out, frame, nil, nil, 0); err != nil {
			t.Fatal(err)
		}
		_, got := received(t, in, buf)
		n, _ := view{frame: frame}.run(t, program)
		if got != tt.passes || (n != 0) != tt.passes {
			t.Errorf("%q passes %#x: %v, in the other machine %v", tt.expr, tt.number, got, n != 0)
		}
	}
}

// packetSocket opens a packet socket on eth0 of ns, with a program as its filter
// from the first frame on.
func packetSocket(t *testing.T, ns *lab.Namespace, protocol uint16, program []cbpf.RawInstruction) int {
	t.Helper()
	index, err := ns.Index("eth0")
	if err != nil {
		t.Fatal(err)
	}
	var fd int
	if err := ns.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := attach(fd, program); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
			return err
		}
		protocol = binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: index})
	}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// seen waits for the next frame and returns it with what the kernel says of it.
func seen(t *testing.T, fd int) view {
	t.Helper()
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, 10_000); n != 1 {
		t.Fatalf("a frame that must come does not: %v", err)
	}
	buf, oob := make([]byte, 2048), make([]byte, 128)
	n, oobn, _, from, err := unix.Recvmsg(fd, buf, oob, unix.MSG_DONTWAIT)
	if err != nil {
		t.Fatal(err)
	}
	ll := from.(*unix.SockaddrLinklayer)
	v := view{frame: buf[:n], outgoing: ll.Pkttype == packetOutgoing, ifindex: uint32(ll.Ifindex)}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA {
			// struct tpacket_auxdata: tp_status, then at 16 tp_vlan_tci.
			v.tagged = binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID != 0
			v.tci = binary.NativeEndian.Uint16(m.Data[16:])
		}
	}
	return v
}

// TestKernelLive has packet sockets filter what comes over a wire, and what
// leaves by it: of the former the kernel takes the outer tag out, of the latter
// it does not.
func TestKernelLive(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	// A host with an address would ask for the MACs of some senders.
	if err := pair.Near.DelAddr("eth0", netip.PrefixFrom(pair.NearIP, 24)); err != nil {
		t.Fatal(err)
	}
	all, err := Compile("", nil)
	if err != nil {
		t.Fatal(err)
	}
	witness := packetSocket(t, pair.Near, unix.ETH_P_ALL, all)
	senders := []int{packetSocket(t, pair.Far, 0, all), packetSocket(t, pair.Near, 0, all)}
	cfg := Config{Live: true}
	programs, sockets := make([][]cbpf.RawInstruction, len(liveExpressions)), make([]int, len(liveExpressions))
	passed := make([]int, len(liveExpressions))
	for i, expr := range liveExpressions {
		if programs[i], err = compileHere(expr, cfg); err != nil {
			t.Fatal(err)
		}
		sockets[i] = packetSocket(t, pair.Near, unix.ETH_P_ALL, programs[i])
	}
	counts, buf := map[string]int{}, make([]byte, 2048)
	if err := pair.Near.Do(func() error {
		// Frames that are sent from one CPU arrive in their order, and the next is
		// not looked at before the one before has been handed to all sockets.
		var cpus, one unix.CPUSet
		if err := unix.SchedGetaffinity(0, &cpus); err != nil {
			return err
		}
		one.Set(firstCPU(&cpus))
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			return err
		}
		for i, frame := range linkFrames() {
			for way, fd := range senders {
				marker := append(bytes.Clone(frame[:12]), 0x88, 0xb5, 0xff, byte(i>>8), byte(i), byte(way))
				for _, b := range [][]byte{frame, marker} {
					if _, err := unix.SendmsgN(fd, b, nil, nil, 0); err != nil {
						return err
					}
				}
				v := seen(t, witness)
				if end := seen(t, witness); !bytes.Equal(end.frame, marker) {
					t.Fatalf("the witness sees %v, want the marker", end)
				}
				if v.tagged {
					counts["tagged"]++
				}
				if v.outgoing {
					counts["outgoing"]++
				}
				for j, program := range programs {
					got := false
					for b, ok := received(t, sockets[j], buf); ok; b, ok = received(t, sockets[j], buf) {
						got = got || !bytes.Equal(b, marker)
					}
					if n, _ := v.run(t, program); got != (n != 0) {
						t.Errorf("%q: the kernel passes %v: %v", liveExpressions[j], v, got)
					}
					if got {
						passed[j]++
					}
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d frames in each direction, %v", len(linkFrames()), counts)
	if counts["tagged"] < 20 || counts["outgoing"] != len(linkFrames()) {
		t.Error("too few")
	}
	for i, n := range passed {
		if n == 0 {
			t.Logf("%q passes none", liveExpressions[i])
		}
	}
}

func firstCPU(set *unix.CPUSet) int {
	for i := range 1024 {
		if set.IsSet(i) {
			return i
		}
	}
	return 0
}
