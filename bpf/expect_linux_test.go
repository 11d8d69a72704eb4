package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2/frame"
)

func newExpected(t testing.TB, mode Mode, cfg *ExpectConfig) *Expected {
	t.Helper()
	e, err := NewExpected(mode, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func attachExpected(t testing.TB, e *Expected, s *socket) {
	t.Helper()
	if err := e.Attach(s); err != nil {
		t.Fatal(err)
	}
}

func expect(t testing.TB, e *Expected, keys []Key) {
	t.Helper()
	if err := e.Expect(keys); err != nil {
		t.Fatal(err)
	}
}

func forget(t testing.TB, e *Expected, keys []Key) {
	t.Helper()
	if err := e.Forget(keys); err != nil {
		t.Fatal(err)
	}
}

// requestKeys are the Keys of a request of the corpus.
func requestKeys(name string) []Key {
	return AppendRequestKeys(nil, frameOf(pairRequests(), name), false)
}

func answerFrame(name string) []byte { return frameOf(pairAnswers(), name) }

// machineOf is the program of an object for an expectation, in the interpreter.
func machineOf(tb testing.TB, name string, x *expectation) *machine {
	tb.Helper()
	spec := objectSpec(tb, name)
	table := newKeyTable()
	entries := entriesFor(x.cfg.maxKeys())
	if err := setExpectConstants(spec, &x.cfg, table.secret, entries); err != nil {
		tb.Fatal(err)
	}
	// Numbers are set in the order of this machine.
	for i, word := range table.secret {
		spec.ByteOrder.PutUint64(spec.Variables[expectVarSecret].Value[8*i:], word)
	}
	spec.ByteOrder.PutUint32(spec.Variables[expectVarBuckets].Value, uint32(entries-1))
	table.slots = make([]uint64, entries*bucketLen)
	for k := range x.keys {
		table.insert(wordsIn(&k, spec.ByteOrder))
		if k.isAnybodys() { // which of other words cannot be told
			table.slots[anybodySlot] = 1
		}
	}
	vm := newMachineOf(tb, spec, expectProgL2pingExpect)
	vm.table = &table
	memory := vm.regions[vm.sections[expectMapL2pingTable]>>32-1]
	for i, v := range table.slots {
		spec.ByteOrder.PutUint64(memory[8*i:], v)
	}
	return vm
}

// wordsIn returns a Key that has here the words that k has on a machine of that
// byte order.
func wordsIn(k *Key, order binary.ByteOrder) *Key {
	var words Key
	from, to := keyBytes(k), keyBytes(&words)
	for i := 0; i < keyLen; i += 8 {
		binary.NativeEndian.PutUint64(to[i:], order.Uint64(from[i:]))
	}
	return &words
}

func keyBytes(k *Key) *[keyLen]byte { return (*[keyLen]byte)(unsafe.Pointer(k)) }

// checkExpects checks that the program does with a frame what Go does.
func (vm *machine) checkExpects(t *testing.T, x *expectation, name string, b []byte, meta Meta) {
	t.Helper()
	got, err := vm.run(b, meta)
	if err != nil {
		t.Fatalf("%s, %s: %v", x.name, name, err)
	}
	want := uint32(0)
	if x.cfg.accepts(b, meta, x.keys) {
		want = 0xffff_ffff
	}
	if got != want {
		t.Errorf("%s, %s: the program returns %#x, want %#x\n%+v\n% x", x.name, name, got, want, meta, b)
	}
}

// TestExpectObjects runs the committed programs of both byte orders, as
// TestObjects does.
func TestExpectObjects(t *testing.T) {
	samples := expectSamples(t)
	for _, name := range []string{"expect_bpfel.o", "expect_bpfeb.o"} {
		t.Run(name, func(t *testing.T) {
			for i, x := range expectations() {
				vm := machineOf(t, name, x)
				for j, s := range samples {
					if s.raw != x.cfg.NoLink || i >= 2 && (i+j)%17 != 0 {
						continue
					}
					vm.checkExpects(t, x, s.name, s.bytes, s.meta())
				}
			}
		})
	}
}

// The frame's bytes do not help it past what the kernel says of it.
func TestExpectMeta(t *testing.T) {
	for i, x := range expectations() {
		if i%4 != 1 {
			continue
		}
		vms := []*machine{machineOf(t, "expect_bpfel.o", x), machineOf(t, "expect_bpfeb.o", x)}
		for pkttype := range 9 {
			for _, vlan := range []bool{false, true} {
				for _, tci := range []uint16{0, 5, 7, 256, 0xf005} {
					meta := Meta{PacketType: uint8(pkttype), VLANPresent: vlan, VLANTCI: tci}
					for _, a := range pairAnswers() {
						for _, vm := range vms {
							vm.checkExpects(t, x, a.name, a.bytes, meta)
						}
					}
				}
			}
		}
	}
}

// FuzzExpect compares Go, the programs of both byte orders, and the classic one.
func FuzzExpect(f *testing.F) {
	list := expectations()
	for i, x := range list {
		for _, name := range answered[x.name] {
			f.Add(answerFrame(name), uint8(0), false, uint16(0), uint8(i))
		}
	}
	for _, a := range pairAnswers() {
		f.Add(a.bytes, uint8(0), true, uint16(5), uint8(1))
	}
	var objects [2][]*machine
	for i, name := range []string{"expect_bpfel.o", "expect_bpfeb.o"} {
		for _, x := range list {
			objects[i] = append(objects[i], machineOf(f, name, x))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, pkttype uint8, vlan bool, tci uint16, which uint8) {
		i := int(which) % len(list)
		meta := Meta{PacketType: pkttype, VLANPresent: vlan, VLANTCI: tci}
		for _, vms := range objects {
			vms[i].checkExpects(t, list[i], "fuzz", b, meta)
		}
		n, err := list[i].classicVM(t, meta).Run(b)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 && list[i].cfg.accepts(b, meta, list[i].keys) {
			t.Error("the classic program drops what is accepted")
		}
	})
}

// BPF_PROG_TEST_RUN, as TestKernelTestRun has it.
func TestKernelExpectTestRun(t *testing.T) {
	labtest.RequireRoot(t)
	outer := map[uint8]frame.MAC{
		packetHost:      {},
		packetBroadcast: frame.Broadcast,
		packetMulticast: groupMAC,
		packetOtherHost: otherMAC,
	}
	samples, runs := expectSamples(t), 0
	for i, x := range expectations() {
		e := newExpected(t, EBPF, &x.cfg)
		expect(t, e, x.list())
		for j, s := range samples {
			if s.raw != x.cfg.NoLink || i >= 2 && (i+j)%11 != 0 || len(s.bytes) == 0 {
				continue
			}
			meta := Meta{PacketType: s.meta().PacketType}
			dst := outer[meta.PacketType]
			data := append(dst[:], make([]byte, 6)...)
			data = append(append(data, 0x88, 0xb5), s.bytes...)
			n, _, err := e.kernel.objects.L2pingExpect.Test(data)
			if err != nil {
				t.Fatalf("%s, %s: %v", x.name, s.name, err)
			}
			runs++
			want := uint32(0)
			if e.Accepts(s.bytes, meta) {
				want = 0xffff_ffff
			}
			if n != want {
				t.Errorf("%s, %s: the program returns %#x, want %#x", x.name, s.name, n, want)
			}
		}
	}
	t.Logf("%d runs", runs)
}

// What is expected and forgotten on a socket, in the modes that there are.
func TestExpect(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		e := newExpected(t, mode, &ExpectConfig{EtherTypes: []uint16{0x88b5}})
		if e.Mode() != mode || e.Fallback() != nil {
			t.Errorf("mode %v, fallback %v", e.Mode(), e.Fallback())
		}
		in, out := datagramPair(t)
		attachExpected(t, e, in)
		attachExpected(t, e, in) // again
		check := func(name string, want bool) {
			t.Helper()
			b := answerFrame(name)
			if got := passes(t, in, out, b); got != want {
				t.Errorf("%s passes: %v, want %v", name, got, want)
			}
			if mode == EBPF && e.Accepts(b, Meta{}) != want {
				t.Errorf("%s is accepted: %v, want %v", name, !want, want)
			}
		}
		check("own protocol", true)
		check("echo reply", false)
		check("SYN-ACK", false)

		one, two, syn := requestKeys("echo"), requestKeys("echo, 2nd"), requestKeys("SYN")
		expect(t, e, one)
		check("echo reply", true)
		check("unreachable echo", true)
		check("echo reply, 2nd", mode == Classic)
		check("SYN-ACK", false)
		expect(t, e, two)
		expect(t, e, syn)
		check("echo reply, 2nd", true)
		check("SYN-ACK", true)
		check("RST-ACK", true)
		check("UDP", false)

		expect(t, e, one)
		forget(t, e, one)
		check("echo reply", true) // it is expected once more
		forget(t, e, one)
		check("echo reply", mode == Classic)
		forget(t, e, one) // what is not expected
		forget(t, e, requestKeys("UDP"))
		check("echo reply, 2nd", true)
		check("own protocol", true)
		expect(t, e, one)
		check("echo reply", true)

		// A group's members, whom nobody knows.
		check("mDNS to us", false)
		expect(t, e, requestKeys("mDNS"))
		check("mDNS to us", true)

		// A socket that comes later.
		in, out = datagramPair(t)
		attachExpected(t, e, in)
		check("echo reply", true)
		check("is-at", false)

		for range 2 {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
		if passes(t, in, out, answerFrame("is-at")) || !passes(t, in, out, answerFrame("echo reply")) {
			t.Error("the filter is gone from the socket with Close")
		}
		for _, err := range []error{e.Expect(one), e.Forget(one), e.Attach(in)} {
			if !errors.Is(err, os.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		}
	})
}

func TestNewExpected(t *testing.T) {
	if e, err := NewExpected(Classic, &ExpectConfig{MaxKeys: -1}); err == nil || e != nil {
		t.Errorf("NewExpected with -1 keys: %v, %v", e, err)
	}
	if e, err := NewExpected(Mode(3), nil); err == nil || e != nil {
		t.Errorf("NewExpected in mode 3: %v, %v", e, err)
	}
	types := []uint16{0x88b5}
	e := newExpected(t, Classic, &ExpectConfig{EtherTypes: types})
	types[0] = 0
	if !e.Accepts(answerFrame("own protocol"), Meta{}) {
		t.Error("the configuration is not copied")
	}
}

// manyKeys are Keys of n requests to one host each.
func manyKeys(n int) (keys []Key) {
	for i := range n {
		request := fromUs(localIP, peerIP, protocolICMP, echo(icmpEchoRequest, 0, uint16(i>>16), uint16(i), ""))
		keys = AppendRequestKeys(keys, request, false)
	}
	return keys
}

// More Keys than there may be: in Auto the classic filter takes over on all sockets.
func TestExpectFull(t *testing.T) {
	labtest.RequireRoot(t)
	cfg := &ExpectConfig{MaxKeys: 4}
	echo, more := requestKeys("echo"), append(requestKeys("SYN"), requestKeys("UDP")...)
	t.Run("ebpf", func(t *testing.T) {
		e := newExpected(t, EBPF, cfg)
		in, out := datagramPair(t)
		attachExpected(t, e, in)
		expect(t, e, echo)
		const want = "expecting answers: more than 4 keys"
		if err := e.Expect(more); !errors.Is(err, unix.ENOSPC) || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		if e.Mode() != EBPF || len(e.keys) != 2 {
			t.Errorf("mode %v, %d keys expected", e.Mode(), len(e.keys))
		}
		expect(t, e, more[:2])
		if !passes(t, in, out, answerFrame("echo reply")) || !passes(t, in, out, answerFrame("SYN-ACK")) || passes(t, in, out, answerFrame("UDP")) {
			t.Error("not what is expected passes")
		}
	})
	t.Run("auto", func(t *testing.T) {
		e := newExpected(t, Auto, cfg)
		var in, out [2]*socket
		for i := range in {
			in[i], out[i] = datagramPair(t)
			attachExpected(t, e, in[i])
		}
		gone, _ := datagramPair(t)
		attachExpected(t, e, gone)
		gone.file.Close()
		expect(t, e, echo)
		if e.Mode() != EBPF {
			t.Errorf("mode %v (%v)", e.Mode(), e.Fallback())
		}
		expect(t, e, more)
		const want = "more than 4 keys"
		if err := e.Fallback(); e.Mode() != Classic || !errors.Is(err, unix.ENOSPC) || err.Error() != want {
			t.Errorf("mode %v, fallback %v, want classic, %s", e.Mode(), err, want)
		}
		expect(t, e, requestKeys("who-has"))
		for i := range in {
			for name, want := range map[string]bool{"echo reply": true, "SYN-ACK": true, "UDP": true, "is-at": true, "IPv6 UDP": false} {
				if got := passes(t, in[i], out[i], answerFrame(name)); got != want {
					t.Errorf("%s passes: %v, want %v", name, got, want)
				}
			}
		}
		if len(e.sockets) != 2 {
			t.Errorf("%d sockets, want 2 without the closed one", len(e.sockets))
		}
	})
}

func TestExpectedAttachErrors(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		e := newExpected(t, mode, nil)
		closed, _ := datagramPair(t)
		closed.file.Close()
		if err := e.Attach(closed); err == nil {
			t.Error("closed socket: no error")
		}
		locked, _ := datagramPair(t)
		if err := locked.raw.Control(func(fd uintptr) {
			if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1); err != nil {
				t.Fatal(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if err := e.Attach(locked); !errors.Is(err, unix.EPERM) {
			t.Errorf("locked filter: %v", err)
		}
		if e.Mode() != mode || e.Fallback() != nil || len(e.sockets) != 0 {
			t.Errorf("mode %v, fallback %v, %d sockets", e.Mode(), e.Fallback(), len(e.sockets))
		}
	})
}

// A socket whose filter was locked after Attach takes no other program: what asks
// for one is not expected, and is when it is asked for again.
func TestExpectLocked(t *testing.T) {
	e := newExpected(t, Classic, nil)
	in, out := datagramPair(t)
	locked, _ := datagramPair(t)
	attachExpected(t, e, in)
	attachExpected(t, e, locked)
	lock := func(v int) error {
		var err error
		if ctlErr := locked.raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_LOCK_FILTER, v)
		}); ctlErr != nil {
			t.Fatal(ctlErr)
		}
		return err
	}
	if err := lock(1); err != nil {
		t.Fatal(err)
	}
	keys := requestKeys("echo")
	for range 2 {
		if err := e.Expect(keys); !errors.Is(err, unix.EPERM) || len(e.keys) != 0 {
			t.Errorf("error %v, %d keys expected", err, len(e.keys))
		}
	}
	locked.file.Close()
	expect(t, e, keys)
	if !passes(t, in, out, answerFrame("echo reply")) {
		t.Error("what is expected does not pass")
	}
}

// A socket that refuses eBPF gets the classic program, and so do the others.
func TestExpectedFallsBack(t *testing.T) {
	labtest.RequireRoot(t)
	e := newExpected(t, Auto, nil)
	first, firstOut := datagramPair(t)
	attachExpected(t, e, first)
	expect(t, e, requestKeys("echo"))
	if err := e.kernel.objects.L2pingExpect.Close(); err != nil { // see TestAttachFallsBack
		t.Fatal(err)
	}
	second, secondOut := datagramPair(t)
	attachExpected(t, e, second)
	const want = "attaching eBPF: bad file descriptor"
	if err := e.Fallback(); e.Mode() != Classic || !errors.Is(err, unix.EBADF) || err.Error() != want {
		t.Errorf("mode %v, fallback %v, want classic, %s", e.Mode(), err, want)
	}
	expect(t, e, requestKeys("SYN"))
	for _, s := range [][2]*socket{{first, firstOut}, {second, secondOut}} {
		if !passes(t, s[0], s[1], answerFrame("echo reply")) || !passes(t, s[0], s[1], answerFrame("SYN-ACK")) || passes(t, s[0], s[1], answerFrame("UDP")) {
			t.Error("not the classic filter on a socket")
		}
	}
}

// The longest programs find room in what sockets have for them.
func TestExpectMemory(t *testing.T) {
	labtest.RequireRoot(t)
	const name, limit = "net.core.optmem_max", 20 << 10
	ns := labtest.NewNamespace(t)
	switch err := ns.Sysctl(name, strconv.Itoa(limit)); {
	case errors.Is(err, os.ErrNotExist):
		t.Skipf("needs %s in a network namespace (try Linux 6.8)", name)
	case err != nil:
		t.Fatal(err)
	}
	for _, mode := range []Mode{Classic, EBPF} {
		for _, x := range expectations() {
			e := newExpected(t, mode, &x.cfg)
			var in *socket
			if err := ns.Do(func() error { in, _ = datagramPair(t); return nil }); err != nil {
				t.Fatal(err)
			}
			// One after the other: the old program and the new count at once.
			attachExpected(t, e, in)
			for _, k := range x.list() {
				if err := e.Expect([]Key{k}); err != nil {
					t.Fatalf("mode %v, %s: %v", mode, x.name, err)
				}
			}
		}
	}
}

// On the wire: the answers of a corpus, from and to the lab's two ends.
func TestKernelExpectLive(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
		// A host with an address would answer some of it.
		if err := pair.Near.DelAddr("eth0", netip.PrefixFrom(pair.NearIP, 24)); err != nil {
			t.Fatal(err)
		}
		far, witness := packetSocket(t, pair.Far, 0), packetSocket(t, pair.Near, unix.ETH_P_ALL)
		detach(t, witness)
		x := newExpectation("all", ExpectConfig{EtherTypes: []uint16{0x88b5}}, pairRequests()...)
		e := newExpected(t, mode, &x.cfg)
		near := packetSocket(t, pair.Near, unix.ETH_P_ALL)
		attachExpected(t, e, near)
		expect(t, e, x.list())

		// An end that passes all filters, and is the only one of its kind.
		ends := uint32(0)
		pinned(t, pair.Near, func() {
			for _, a := range pairAnswers() {
				s := sample{name: a.name, bytes: a.bytes}
				if typ := binary.BigEndian.Uint16(a.bytes[12:]); typ == etherTypeVLAN {
					s.vlan, s.tci = true, binary.BigEndian.Uint16(a.bytes[14:])
					s.bytes = append(bytes.Clone(a.bytes[:12]), a.bytes[16:]...)
				}
				ends++
				end := binary.BigEndian.AppendUint32(onEthernet(frame.Broadcast, markerMAC, 0x88b5, nil), ends)
				far.send(t, a.bytes)
				far.send(t, end)
				b, meta := witness.recv(t)
				if !bytes.Equal(b, s.bytes) || meta != s.meta() {
					t.Fatalf("%s: the witness sees %+v\n% x", a.name, meta, b)
				}
				if b, _ := witness.recv(t); !bytes.Equal(b, end) {
					t.Fatalf("the witness sees\n% x, want the end", b)
				}
				got := false
				for b, _ := near.recv(t); !bytes.Equal(b, end); b, _ = near.recv(t) {
					got = true
				}
				want := e.Accepts(s.bytes, meta)
				if got != want && (mode == EBPF || want) {
					t.Errorf("%s passes: %v, want %v", a.name, got, want)
				}
			}
		})
	})
}

// checkExpected loads the program for each configuration, and has it work. It is
// for a process without capabilities but those of Capabilities.
func checkExpected() error {
	var errs []error
	for _, x := range expectations() {
		e, err := NewExpected(EBPF, &x.cfg)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", x.name, err))
			continue
		}
		keys := x.list()
		errs = append(errs, e.Expect(keys), e.Forget(keys), e.Close())
	}
	e, err := NewExpected(Auto, nil)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer e.Close()
	if e.Mode() != EBPF {
		errs = append(errs, fmt.Errorf("mode %v: %w", e.Mode(), e.Fallback()))
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	in, out := os.NewFile(uintptr(fds[0]), "in"), os.NewFile(uintptr(fds[1]), "out")
	defer in.Close()
	defer out.Close()
	errs = append(errs, e.Attach(syscall.Conn(in)), e.Expect(requestKeys("echo")))
	for _, name := range []string{"UDP", "echo reply"} {
		if _, err := out.Write(answerFrame(name)); err != nil {
			errs = append(errs, err)
		}
	}
	buf := make([]byte, 2048)
	if n, err := in.Read(buf); err != nil || !bytes.Equal(buf[:n], answerFrame("echo reply")) {
		errs = append(errs, fmt.Errorf("the first that passes is % x, %v", buf[:n], err))
	}
	return errors.Join(errs...)
}

// Expecting and forgetting allocates nothing once it has.
func TestExpectedAllocs(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		e := newExpected(t, mode, nil)
		for _, n := range []int{1, 64} {
			keys := manyKeys(n)
			if n := testing.AllocsPerRun(100, func() {
				expect(t, e, keys)
				forget(t, e, keys)
			}); n != 0 {
				t.Errorf("%d keys: %v allocations", len(keys), n)
			}
		}
		b := answerFrame("echo reply")
		if n := testing.AllocsPerRun(100, func() { e.Accepts(b, Meta{}) }); n != 0 {
			t.Errorf("Accepts: %v allocations", n)
		}
	})
}

func BenchmarkExpect(b *testing.B) {
	for _, mode := range []Mode{Classic, EBPF} {
		for _, n := range []int{1, 64} {
			b.Run(fmt.Sprintf("%v/%d", mode, n), func(b *testing.B) {
				if mode == EBPF {
					labtest.RequireRoot(b)
				}
				e := newExpected(b, mode, nil)
				keys := manyKeys(n)
				b.ReportAllocs()
				for b.Loop() {
					expect(b, e, keys)
					forget(b, e, keys)
				}
				b.ReportMetric(float64(b.N)*float64(len(keys))/b.Elapsed().Seconds(), "keys/s")
			})
		}
	}
}

// What it takes to load a program and to be rid of it.
func BenchmarkLoad(b *testing.B) {
	labtest.RequireRoot(b)
	b.Run("filter", func(b *testing.B) {
		for b.Loop() {
			f, err := NewFilter(matches[mEcho].m, EBPF)
			if err != nil {
				b.Fatal(err)
			}
			if err := f.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("expected", func(b *testing.B) {
		for b.Loop() {
			e, err := NewExpected(EBPF, nil)
			if err != nil {
				b.Fatal(err)
			}
			if err := e.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
