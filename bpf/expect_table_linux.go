package bpf

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	keyLen   = int(unsafe.Sizeof(Key{}))
	keyWords = keyLen / 8

	slotLen   = 8
	bucketLen = 4 // slots, as BUCKET_LEN of expect.bpf.c

	// As many as there are in a page, which is the least that a map has.
	minEntries = 4096 / bucketLen / slotLen

	// Slots of the first entry, as in expect.bpf.c.
	crowdedSlot = 0
	anybodySlot = 1
)

// A keyTable has the fingerprints of Keys where the kernel reads them, which may
// be at any time. A fingerprint stays where it was put, in one of two buckets, and
// so is found from when insert returns until remove is called. A Key for which
// there is no room is counted, and has all frames pass that have a Key.
type keyTable struct {
	slots  []uint64 // of the entries, the first of which is no bucket
	secret [keyWords]uint64
}

// newKeyTable returns a table without memory.
func newKeyTable() (t keyTable) {
	var b [keyWords * 8]byte
	rand.Read(b[:]) // never fails
	for i := range t.secret {
		t.secret[i] = binary.NativeEndian.Uint64(b[8*i:])
	}
	return t
}

// entriesFor returns how many entries a table has for so many Keys. Three of four
// slots stay empty: of 100 million Keys that come and go in a full table, two find
// no room. The kernel would round them up to a power of two itself, without CAP_PERFMON
// (array_map_alloc in kernel/bpf/arraymap.c).
func entriesFor(maxKeys int) int {
	return max(minEntries, 1<<bits.Len(uint(maxKeys-1)))
}

// fingerprint is that of expect.bpf.c. Each word of a Key is in the byte order of
// the machine.
func (t *keyTable) fingerprint(k *Key) uint64 {
	b := (*[keyLen]byte)(unsafe.Pointer(k))
	var sum uint64
	for i, secret := range t.secret {
		word := binary.NativeEndian.Uint64(b[8*i:])
		high, low := uint32(word>>32)+uint32(secret>>32), uint32(word)+uint32(secret)
		sum += uint64(high) * uint64(low)
	}
	sum = (sum ^ sum>>30) * 0xbf58476d1ce4e5b9
	sum = (sum ^ sum>>27) * 0x94d049bb133111eb
	sum ^= sum >> 31
	return max(sum, 1)
}

// entry returns which entry has the bucket that a number chooses.
func (t *keyTable) entry(number uint32) int {
	buckets := len(t.slots)/bucketLen - 1
	return int(uint64(number)*uint64(buckets)>>32) + 1
}

func (t *keyTable) bucket(number uint32) *[bucketLen]uint64 {
	return (*[bucketLen]uint64)(t.slots[t.entry(number)*bucketLen:])
}

// isAnybodys tells whether the Key is of a request to a group or by broadcast: the
// program looks for such a Key only where one has been put in.
func (k *Key) isAnybodys() bool {
	return (k.kind == keyIPv4 || k.kind == keyIPv6) && (k.local == [16]byte{} || k.peer == [16]byte{})
}

// insert puts a Key in. One that is put in twice is to be taken out twice.
func (t *keyTable) insert(k *Key) {
	if k.isAnybodys() {
		atomic.StoreUint64(&t.slots[anybodySlot], 1)
	}
	fp := t.fingerprint(k)
	first, second := t.bucket(uint32(fp)), t.bucket(uint32(fp>>32))
	if free(second) > free(first) {
		first = second
	}
	if !replace(first, 0, fp) {
		atomic.AddUint64(&t.slots[crowdedSlot], 1)
	}
}

// remove takes out a Key that was put in. Of two with the same fingerprint it may
// take the other's, which is as good.
func (t *keyTable) remove(k *Key) {
	fp := t.fingerprint(k)
	if !replace(t.bucket(uint32(fp)), fp, 0) && !replace(t.bucket(uint32(fp>>32)), fp, 0) {
		atomic.AddUint64(&t.slots[crowdedSlot], ^uint64(0))
	}
}

func free(bucket *[bucketLen]uint64) (n int) {
	for _, v := range bucket {
		if v == 0 {
			n++
		}
	}
	return n
}

// replace changes the first slot of a bucket that has a value.
func replace(bucket *[bucketLen]uint64, from, to uint64) bool {
	for i, v := range bucket {
		if v == from {
			atomic.StoreUint64(&bucket[i], to)
			return true
		}
	}
	return false
}

// expectLoaded is what is kept of the objects. The program's constants are not.
type expectLoaded struct {
	expectPrograms
	expectMaps
}

func (o *expectLoaded) Close() error {
	return errors.Join(o.expectPrograms.Close(), o.expectMaps.Close())
}

// An expectKernel is the eBPF program of an Expected, and its table.
type expectKernel struct {
	objects expectLoaded
	memory  []byte // of the table's map
	table   keyTable
}

// load loads the program. It leaves k alone if it fails.
func (k *expectKernel) load(cfg *ExpectConfig) error {
	var objects expectLoaded
	table, entries := newKeyTable(), entriesFor(cfg.maxKeys())
	if err := load(parsedExpect, func(spec *ebpf.CollectionSpec) error {
		return setExpectConstants(spec, cfg, table.secret, entries)
	}, &objects); err != nil {
		return err
	}
	memory, err := mapMemory(objects.L2pingTable, entries*bucketLen*slotLen)
	if err != nil {
		return loadError(errors.Join(err, objects.Close()))
	}
	table.slots = unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(memory))), len(memory)/slotLen)
	*k = expectKernel{objects: objects, memory: memory, table: table}
	return nil
}

// mapMemory returns the memory of a map, which begins where a page does.
func mapMemory(m *ebpf.Map, size int) ([]byte, error) {
	b, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping the keys: %w", err)
	}
	return b, nil
}

// Close releases the descriptors, and the memory for this process. Sockets that
// have the program keep it all.
func (k *expectKernel) Close() error {
	err := errors.Join(k.objects.Close(), unix.Munmap(k.memory))
	*k = expectKernel{}
	return err
}

// setExpectConstants writes cfg into the program's constants, the bytes of a
// frame as they are there, and what it knows of the table.
func setExpectConstants(spec *ebpf.CollectionSpec, cfg *ExpectConfig, secret [keyWords]uint64, entries int) error {
	var vars expectVariableSpecs
	if err := spec.Assign(&vars); err != nil {
		return err
	}
	spec.Maps[expectMapL2pingTable].MaxEntries = uint32(entries)
	var types [2 * MaxEtherTypes]byte
	for i, t := range cfg.EtherTypes {
		types[2*i], types[2*i+1] = byte(t>>8), byte(t)
	}
	return setAll([]constant{
		{vars.NoLink, flag(cfg.NoLink)},
		{vars.Promiscuous, flag(cfg.Promiscuous)},
		{vars.HasMac, flag(!cfg.MAC.IsZero())},
		{vars.LocalMac, [6]byte(cfg.MAC)},
		{vars.OwnCount, uint8(len(cfg.EtherTypes))},
		{vars.OwnTypes, types},
		{vars.Secret, secret},
		{vars.Buckets, uint32(entries - 1)},
	})
}
