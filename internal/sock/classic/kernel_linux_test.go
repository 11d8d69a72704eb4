package classic

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	cbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab/labtest"
)

const patience = time.Minute

// descriptor is a socket as Attach wants it.
type descriptor int

func (d descriptor) SyscallConn() (syscall.RawConn, error) { return d, nil }

func (d descriptor) Control(f func(fd uintptr)) error {
	f(uintptr(d))
	return nil
}

func (descriptor) Read(func(uintptr) bool) error  { return errors.ErrUnsupported }
func (descriptor) Write(func(uintptr) bool) error { return errors.ErrUnsupported }

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

// received is the length of what has come, 0 if nothing has.
func received(t testing.TB, fd int) int {
	t.Helper()
	n, _, err := unix.Recvfrom(fd, make([]byte, 2048), 0)
	if errors.Is(err, unix.EAGAIN) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// agree holds the machine against the kernel: what it takes, and what a program keeps
// of a frame.
func agree(t testing.TB, in, out int, program []cbpf.RawInstruction, data []byte) (ran bool) {
	t.Helper()
	m, refused := NewMachine(program)
	err := Filter(program).Attach(descriptor(in))
	if err != nil && refused == nil && slices.ContainsFunc(program, func(in cbpf.RawInstruction) bool { return in.Op&0xe6 == modeMEM }) {
		return false // it may read what it has not written
	}
	if (err == nil) != (refused == nil) {
		t.Fatalf("%+v: the kernel says %v, the machine %v", program, err, refused)
	}
	if err != nil {
		if !errors.Is(err, unix.EINVAL) {
			t.Fatal(err)
		}
		return false
	}
	if _, err := unix.SendmsgN(out, data, nil, nil, 0); err != nil {
		t.Fatal(err)
	}
	want := int(min(int64(m.Run(&Frame{Data: data, Length: len(data)})), int64(len(data))))
	if got := received(t, in); got != want {
		t.Fatalf("%+v on %x: the kernel keeps %d bytes, the machine %d", program, data, got, want)
	}
	return true
}

// The machine does what the kernel does.
func TestMachineAgrees(t *testing.T) {
	in, out := datagrams(t)
	r := rand.New(rand.NewPCG(1, 2))
	ran := 0
	for range 20_000 {
		b := make([]byte, 5*(1+r.IntN(12)))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		data := make([]byte, 1+r.IntN(300))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		if agree(t, in, out, drawn(b), data) {
			ran++
		}
	}
	if ran < 1000 {
		t.Errorf("only %d programs ran", ran)
	}
}

func FuzzMachine(f *testing.F) {
	f.Add([]byte{2, 12, 0, 0, 0, 34, 8, 0, 0, 1}, arpFrame)
	f.Add([]byte{0xfe, 3, 1, 0, 0}, arpFrame)
	f.Add([]byte{6, 1, 2, 3, 4, 22, 0, 0, 0, 0}, arpFrame)
	f.Fuzz(func(t *testing.T, b, data []byte) {
		if len(b) > 1000 || len(data) == 0 || len(data) > 1500 {
			return
		}
		in, out := datagrams(t)
		agree(t, in, out, drawn(b), data)
		if m, err := NewMachine(drawn(b)); err == nil {
			m.Run(&Frame{Data: data, NoLink: true}) // and does not panic
		}
	})
}

const marker = 0x88b6 // the EtherType of a frame that says that all others are here

// Of frames on a wire the kernel knows what a machine is told of them: metadata, and
// where headers begin; and To asks only about those for the host.
func TestKernelMetadata(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	out, err := pair.Near.OpenPacket("eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	heard, err := pair.Far.OpenPacket("eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer heard.Close()
	index, err := pair.Far.Index("eth0")
	if err != nil {
		t.Fatal(err)
	}
	other := [6]byte{0x02, 0x00, 0x5e, 0x00, 0x53, 0x99}
	to := func(mac []byte, behind ...byte) []byte {
		return append(slices.Concat(mac, pair.NearMAC), append(behind, make([]byte, 46)...)...)
	}
	type sent struct {
		wire []byte
		as   Frame
	}
	frames := []sent{
		{wire: to(pair.FarMAC, 0x88, 0xb5, 7, 8, 9)},
		{wire: to(pair.FarMAC, 0x81, 0x00, 0x20, 0x05, 0x88, 0xb5, 7, 8, 9), as: Frame{VLANPresent: true, VLANTCI: 0x2005, VLANType: 0x8100}},
		{wire: to(pair.FarMAC, 0x88, 0xa8, 0x00, 0x06, 0x81, 0x00, 0x00, 0x05, 0x88, 0xb5), as: Frame{VLANPresent: true, VLANTCI: 6, VLANType: 0x88a8}},
		{wire: to(bytes.Repeat([]byte{0xff}, 6), 0x88, 0xb5), as: Frame{PacketType: unix.PACKET_BROADCAST}},
		{wire: to([]byte{0x01, 0, 0x5e, 0, 0, 0x42}, 0x88, 0xb5), as: Frame{PacketType: unix.PACKET_MULTICAST}},
		{wire: to(other[:], 0x88, 0xb5), as: Frame{PacketType: unix.PACKET_OTHERHOST}},
		{wire: to(pair.FarMAC, 0, 46, 0x42, 0x42, 3)},
		{wire: to(pair.FarMAC, 0, 46, 0xff, 0xff, 3)},
	}
	for i := range frames {
		f := &frames[i]
		f.as.Data, f.as.Index = f.wire, index
		if f.as.VLANPresent {
			f.as.Data = slices.Concat(f.wire[:12], f.wire[16:])
		}
		f.as.Length = len(f.as.Data)
	}
	// passed has the far end filter the frames, and tells which have come.
	passed := func(program []cbpf.RawInstruction) (list []bool) {
		t.Helper()
		raw, err := heard.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		withMarker := append(Filter{
			{Op: classLD | modeABS | sizeH, K: 12}, {Op: classJMP | jumpEqual, Jf: 1, K: marker}, {Op: classRET, K: 1 << 16}, {Op: classLD | modeIMM},
		}, program...)
		if err := withMarker.Attach(rawConn{raw}); err != nil {
			t.Fatal(err)
		}
		list = make([]bool, len(frames))
		for i, f := range frames {
			f.wire[len(f.wire)-1] = byte(i)
			write(t, out, f.wire)
		}
		write(t, out, to(pair.FarMAC, marker>>8, marker&0xff))
		if err := heard.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 2048)
		for {
			n, err := heard.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case b[12] == marker>>8 && b[13] == marker&0xff:
				return list
			case bytes.Equal(b[6:12], pair.NearMAC) && int(b[n-1]) < len(list):
				list[b[n-1]] = true
			}
		}
	}
	passed([]cbpf.RawInstruction{{Op: classRET}}) // what was heard before

	for k, size := range map[uint32]uint16{
		adProtocol: sizeW, adPacketType: sizeB, adIndex: sizeW, adVLAN: sizeH, adVLANPresent: sizeW, adVLANType: sizeW,
		netOff: sizeH, netOff + 2: sizeB, linkOff + 12: sizeH, 12: sizeH, 16: sizeW,
	} {
		for like := range frames {
			load := cbpf.RawInstruction{Op: classLD | modeABS | size, K: k}
			value, err := NewMachine([]cbpf.RawInstruction{load, {Op: classRET | returnA}})
			if err != nil {
				t.Fatal(err)
			}
			program := []cbpf.RawInstruction{
				load, {Op: classJMP | jumpEqual, Jf: 1, K: value.Run(&frames[like].as)}, {Op: classRET, K: 1 << 16}, {Op: classRET},
			}
			m, err := NewMachine(program)
			if err != nil {
				t.Fatal(err)
			}
			for i, got := range passed(program) {
				if want := m.Run(&frames[i].as) > 0; got != want {
					t.Errorf("frame %d, whose %#x is to be that of %d: the kernel says %v, the machine %v", i, k, like, got, want)
				}
			}
		}
	}

	// A program that asks whether A and X are 0, and if so takes all.
	fresh := []cbpf.RawInstruction{
		{Op: classALU | opOr | sourceX}, {Op: classJMP | jumpEqual, Jf: 1}, {Op: classRET, K: 1 << 16}, {Op: classRET},
	}
	for mac, want := range map[[6]byte]bool{{}: false, other: true, [6]byte(pair.NearMAC): false, {0x02, 0, 0x5e, 0, 0x53, 0x98}: false, {0x03, 0, 0x5e, 0, 0x53, 0x99}: false} {
		for i, got := range passed(To(mac, fresh)) {
			if want := want || frames[i].as.PacketType != unix.PACKET_OTHERHOST; got != want {
				t.Errorf("frame %d passes what is to %x: %v, want %v", i, mac, got, want)
			}
		}
	}
}

func write(t testing.TB, f *os.File, b []byte) {
	t.Helper()
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
}

type rawConn struct{ syscall.RawConn }

func (r rawConn) SyscallConn() (syscall.RawConn, error) { return r.RawConn, nil }

func TestAttachErrors(t *testing.T) {
	in, _ := datagrams(t)
	end := Filter{{Op: classRET}}
	if err := (Filter)(nil).Attach(descriptor(in)); err == nil {
		t.Error("no program is one")
	}
	if err := (Filter{{Op: 0xff}}).Attach(descriptor(in)); !errors.Is(err, unix.EINVAL) {
		t.Errorf("no instruction: %v", err)
	}
	if err := end.Attach(descriptor(-1)); !errors.Is(err, unix.EBADF) {
		t.Errorf("no socket: %v", err)
	}
	if err := end.Attach(closed{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a socket that is closed: %v", err)
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := end.Attach(rawConn{raw}); err == nil {
		t.Error("a socket that is closed meanwhile is one")
	}
}

type closed struct{}

func (closed) SyscallConn() (syscall.RawConn, error) { return nil, os.ErrClosed }
