package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"testing"
	"unsafe"

	cbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab/labtest"
)

func TestKeyLayout(t *testing.T) {
	if keyLen != 48 || keyLen%8 != 0 {
		t.Errorf("a Key has %d bytes, want 48", keyLen)
	}
	if n := unsafe.Sizeof(expectBucket{}); n != bucketLen*slotLen {
		t.Errorf("a bucket has %d bytes in the kernel, want %d", n, bucketLen*slotLen)
	}
}

func TestEntriesFor(t *testing.T) {
	for _, tt := range []struct{ keys, want int }{
		{1, 128}, {128, 128}, {129, 256}, {DefaultMaxKeys, DefaultMaxKeys}, {DefaultMaxKeys + 1, 2 * DefaultMaxKeys}, {maxMaxKeys, 1 << 20},
	} {
		if got := entriesFor(tt.keys); got != tt.want {
			t.Errorf("%d keys: %d entries, want %d", tt.keys, got, tt.want)
		}
	}
	if n := entriesFor(maxMaxKeys) * bucketLen * slotLen; n != 32<<20 {
		t.Errorf("%d bytes at the most", n)
	}
}

// smallTable is one of n entries, in memory that no kernel looks at. Its secret is
// always the same.
func smallTable(n int) *keyTable {
	table := &keyTable{slots: make([]uint64, n*bucketLen)}
	table.newSecret(rand.New(rand.NewPCG(5, 6)))
	return table
}

func (t *keyTable) newSecret(rnd *rand.Rand) {
	for i := range t.secret {
		t.secret[i] = rnd.Uint64()
	}
}

func (t *keyTable) has(k *Key) bool {
	fp := t.fingerprint(k)
	return slices.Contains(t.bucket(uint32(fp))[:], fp) || slices.Contains(t.bucket(uint32(fp >> 32))[:], fp)
}

// TestFingerprint computes it anew, by numbers that have no end.
func TestFingerprint(t *testing.T) {
	two32, two64 := new(big.Int).Lsh(big.NewInt(1), 32), new(big.Int).Lsh(big.NewInt(1), 64)
	number := func(v uint64) *big.Int { return new(big.Int).SetUint64(v) }
	shifted := func(v *big.Int, n uint) *big.Int { return new(big.Int).Xor(v, new(big.Int).Rsh(v, n)) }
	times := func(v *big.Int, by uint64) *big.Int { return v.Mod(v.Mul(v, number(by)), two64) }
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		var table keyTable
		table.newSecret(rnd)
		var k Key
		sum := new(big.Int)
		for i, secret := range table.secret {
			word := rnd.Uint64() >> (rnd.Uint32() % 64)
			binary.NativeEndian.PutUint64(keyBytes(&k)[8*i:], word)
			high, low := number(word>>32+secret>>32), number(word&0xffff_ffff+secret&0xffff_ffff)
			sum.Add(sum, high.Mul(high.Mod(high, two32), low.Mod(low, two32)))
		}
		sum.Mod(sum, two64)
		want := shifted(times(shifted(times(shifted(sum, 30), 0xbf58476d1ce4e5b9), 27), 0x94d049bb133111eb), 31)
		if want.Sign() == 0 {
			want = big.NewInt(1)
		}
		if got := table.fingerprint(&k); got != want.Uint64() {
			t.Fatalf("%#x, want %#x: %x with %x", got, want, *keyBytes(&k), table.secret)
		}
	}
	// A sum of 0 is none of an empty slot.
	if fp := new(keyTable).fingerprint(&Key{}); fp != 1 {
		t.Errorf("%#x, want 1", fp)
	}
}

// The fingerprints of Keys that are much alike differ, in one table and from one to
// the next, and fill its buckets evenly.
func TestFingerprintsDiffer(t *testing.T) {
	const n = 1 << 15
	table := smallTable(n / 8)
	seen, filled := make(map[uint64]bool), make([]int, n/8)
	keys := manyKeys(n / 2)
	for i := range keys {
		fp := table.fingerprint(&keys[i])
		seen[fp] = true
		filled[table.entry(uint32(fp))]++
		filled[table.entry(uint32(fp>>32))]++
	}
	if len(keys) != n || len(seen) != n {
		t.Errorf("%d fingerprints of %d keys, want %d", len(seen), len(keys), n)
	}
	// 16 on the average: 64 is twelve deviations away.
	if filled[0] != 0 || slices.Max(filled) > 64 || slices.Min(filled[1:]) == slices.Max(filled) {
		t.Errorf("%d numbers choose the entry that is no bucket, and %d to %d a bucket", filled[0], slices.Min(filled[1:]), slices.Max(filled))
	}
	if a, b := newKeyTable(), newKeyTable(); a.fingerprint(&keys[0]) == b.fingerprint(&keys[0]) {
		t.Error("two tables have the same fingerprint of a key")
	}
}

// Keys come and go in a table that is too small for them: each is found as long as
// it is in, or all are let pass.
func TestKeyTable(t *testing.T) {
	keys := manyKeys(100)
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, entries := range []int{2, 3, 8, 1024} {
		table := smallTable(entries)
		in := make(map[int]int)
		crowded := false
		for range 20_000 {
			i := rnd.IntN(len(keys))
			if n := in[i]; n > 0 && (n == 3 || rnd.IntN(2) == 0) {
				table.remove(&keys[i])
				in[i]--
			} else {
				table.insert(&keys[i])
				in[i]++
			}
			count := 0
			for i, n := range in {
				count += n
				if n > 0 && table.slots[crowdedSlot] == 0 && !table.has(&keys[i]) {
					t.Fatalf("%d entries: a key is not found", entries)
				}
			}
			used := 0
			for _, v := range table.slots[bucketLen:] {
				if v != 0 {
					used++
				}
			}
			if used+int(table.slots[crowdedSlot]) != count {
				t.Fatalf("%d entries: %d slots are used and %d keys have none, want %d together", entries, used, table.slots[crowdedSlot], count)
			}
			crowded = crowded || table.slots[crowdedSlot] > 0
		}
		if want := entries < 1024; crowded != want {
			t.Errorf("%d entries: crowded: %v", entries, crowded)
		}
		for i, n := range in {
			for range n {
				table.remove(&keys[i])
			}
		}
		if slices.Max(table.slots) != 0 {
			t.Errorf("%d entries: what is left is %x", entries, table.slots)
		}
	}
}

// As many Keys as there may be find room, again and again.
func TestKeyTableFull(t *testing.T) {
	keys := manyKeys(DefaultMaxKeys / 2)
	table := smallTable(entriesFor(DefaultMaxKeys))
	for range 3 {
		for i := range keys {
			table.insert(&keys[i])
		}
		if n := table.slots[crowdedSlot]; n != 0 {
			t.Errorf("%d keys find no room", n)
		}
		for i := range keys {
			table.remove(&keys[i])
		}
	}
	if slices.Max(table.slots) != 0 {
		t.Error("not all is removed")
	}
}

func TestKeyTableAnybody(t *testing.T) {
	for _, tt := range []struct {
		request string
		want    uint64
	}{{"echo", 0}, {"SYN", 0}, {"mDNS", 1}, {"who-has", 0}, {"IPv6 address probe", 0}} {
		table := smallTable(8)
		keys := requestKeys(tt.request)
		for i := range keys {
			table.insert(&keys[i])
		}
		if got := table.slots[anybodySlot]; got != tt.want {
			t.Errorf("%s: %d, want %d", tt.request, got, tt.want)
		}
	}
}

// TestExpectObjectKeys checks that the programs of both byte orders look for the
// Keys that a frame may answer, under their fingerprints, and for no other.
func TestExpectObjectKeys(t *testing.T) {
	for _, name := range []string{"expect_bpfel.o", "expect_bpfeb.o"} {
		t.Run(name, func(t *testing.T) {
			x := newExpectation("none", ExpectConfig{})
			vm := machineOf(t, name, x)
			first := vm.mustMem(t, vm.sections[expectMapL2pingTable]+anybodySlot*slotLen, slotLen)
			vm.order.PutUint64(first, 1)
			looks := 0
			for _, s := range expectSamples(t) {
				meta := s.meta()
				if s.raw || meta.PacketType != packetHost {
					continue
				}
				if n, err := vm.run(s.bytes, meta); n != 0 || err != nil {
					t.Fatalf("%s: %d, %v", s.name, n, err)
				}
				var want []int
				keys := AppendAnswerKeys(nil, s.bytes, meta, false)
				if len(keys) > 0 {
					want = append(want, 0)
				}
				for i := range keys {
					fp := vm.table.fingerprint(wordsIn(&keys[i], vm.order))
					want = append(want, vm.table.entry(uint32(fp)), vm.table.entry(uint32(fp>>32)))
				}
				if !slices.Equal(vm.looked, want) {
					t.Errorf("%s: looks at entries %d, want %d", s.name, vm.looked, want)
				}
				looks += len(want)
			}
			if looks == 0 {
				t.Error("nothing is looked for")
			}
		})
	}
}

// Where a Key finds no room, all that has a Key passes until it is forgotten.
func TestExpectedCrowded(t *testing.T) {
	labtest.RequireRoot(t)
	e := newExpected(t, EBPF, &ExpectConfig{MaxKeys: 4})
	in, out := datagramPair(t)
	attachExpected(t, e, in)
	check := func(want map[string]bool) {
		t.Helper()
		for name, want := range want {
			if got := passes(t, in, out, answerFrame(name)); got != want {
				t.Errorf("%s passes: %v, want %v", name, got, want)
			}
		}
	}
	slots := e.kernel.table.slots[bucketLen:]
	for i := range slots {
		slots[i] = ^uint64(0)
	}
	check(map[string]bool{"echo reply": false, "SYN-ACK": false, "is-at": false, "own protocol": false})
	expect(t, e, requestKeys("echo"))
	check(map[string]bool{"echo reply": true, "SYN-ACK": true, "is-at": true, "own protocol": false})
	clear(slots)
	expect(t, e, requestKeys("SYN"))
	forget(t, e, requestKeys("echo"))
	check(map[string]bool{"echo reply": false, "SYN-ACK": true, "is-at": false})
}

// What is expected passes all the while that other Keys come and go.
func TestExpectedSteady(t *testing.T) {
	labtest.RequireRoot(t)
	keys := manyKeys(256)
	e := newExpected(t, EBPF, &ExpectConfig{MaxKeys: len(keys) + 8})
	in, out := datagramPair(t)
	attachExpected(t, e, in)
	expect(t, e, requestKeys("SYN"))

	var others sync.WaitGroup
	stop := make(chan struct{})
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := errors.Join(e.Expect(keys), e.Forget(keys)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	b := answerFrame("SYN-ACK")
	for i := range 5000 {
		if !passes(t, in, out, b) {
			t.Fatalf("frame %d does not pass", i)
		}
	}
	close(stop)
	others.Wait()
}

// The objects are read once, for all that are loaded at the same time.
func TestLoadAtOnce(t *testing.T) {
	labtest.RequireRoot(t)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			e, err := NewExpected(EBPF, &ExpectConfig{MaxKeys: 1 << (2 * i)})
			if err != nil {
				t.Error(err)
				return
			}
			defer e.Close()
			if got, want := len(e.kernel.table.slots), entriesFor(1<<(2*i))*bucketLen; got != want {
				t.Errorf("%d slots, want %d", got, want)
			}
			if info, err := e.kernel.objects.L2pingTable.Info(); err != nil || int(info.MaxEntries) != entriesFor(1<<(2*i)) {
				t.Errorf("%+v, %v, want %d entries", info, err, entriesFor(1<<(2*i)))
			}
		})
		all.Go(func() {
			f, err := NewFilter(matches[i%len(matches)].m, EBPF)
			if err != nil {
				t.Error(err)
				return
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// mmapNumbers are those of mmap(2), which package unix does not have on all.
var mmapNumbers = map[string]uint32{"amd64": 9, "arm64": 222, "riscv64": 222}

// The classic filter serves where the table cannot be mapped.
func TestExpectedUnmapped(t *testing.T) {
	labtest.RequireRoot(t)
	if mmapNumbers[runtime.GOARCH] == 0 {
		t.Skipf("needs the number of mmap(2) on %s (add it to mmapNumbers)", runtime.GOARCH)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childVar+"=unmapped")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// checkUnmapped is for a process that may be forbidden things.
func checkUnmapped() error {
	if err := forbidSharing(); err != nil {
		return err
	}
	const text = "loading eBPF: mapping the keys: cannot allocate memory"
	if e, err := NewExpected(EBPF, nil); e != nil || !errors.Is(err, unix.ENOMEM) || err.Error() != text {
		return fmt.Errorf("mode ebpf: %v, error %v", e, err)
	}
	e, err := NewExpected(Auto, nil)
	if err != nil {
		return err
	}
	if err := e.Fallback(); e.Mode() != Classic || !errors.Is(err, unix.ENOMEM) || err.Error() != text {
		return fmt.Errorf("mode auto: mode %v, fallback %v", e.Mode(), err)
	}
	return errors.Join(e.Expect(requestKeys("echo")), e.Close())
}

// forbidSharing has mmap(2) with MAP_SHARED fail in this process from now on
// (seccomp(2)).
func forbidSharing() error {
	// struct seccomp_data of linux/seccomp.h, the low half of args[3].
	flags := uint32(16 + 3*8)
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		flags += 4
	}
	insns, err := cbpf.Assemble([]cbpf.Instruction{
		cbpf.LoadAbsolute{Off: 0, Size: 4},
		cbpf.JumpIf{Cond: cbpf.JumpNotEqual, Val: mmapNumbers[runtime.GOARCH], SkipTrue: 3},
		cbpf.LoadAbsolute{Off: flags, Size: 4},
		cbpf.JumpIf{Cond: cbpf.JumpBitsNotSet, Val: unix.MAP_SHARED, SkipTrue: 1},
		cbpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOMEM)},
		cbpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
	})
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(insns))
	for i, in := range insns {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}
