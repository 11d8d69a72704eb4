//go:build linux

package capture

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/l2/frame"
)

// A block is a part of the ring that belongs to the kernel or to us, as its
// status says: struct tpacket_block_desc, then frames, each behind a struct
// tpacket3_hdr and a struct sockaddr_ll (the kernel's
// Documentation/networking/packet_mmap.rst).
type block []byte

// Places of the block's descriptor (struct tpacket_hdr_v1 behind a version and
// an offset), and its length.
const (
	blockStatus = 8
	blockCount  = 12
	blockFirst  = 16
	blockHeader = 48
)

// Places of a frame's headers.
const (
	frameNext    = 0
	frameSec     = 4
	frameNsec    = 8
	frameSnapLen = 12
	frameLen     = 16
	frameStatus  = 20
	frameMAC     = 24
	frameTCI     = 32
	frameTPID    = 36
	framePktType = unix.SizeofTpacket3Hdr + 10 // sll_pkttype
	frameHeader  = unix.SizeofTpacket3Hdr + unix.SizeofSockaddrLinklayer
)

var errBadBlock = errors.New("the kernel's block does not hold together")

func (b block) word(at int) *uint32 { return (*uint32)(unsafe.Pointer(&b[at])) }

// ours tells whether the kernel has closed the block. What it has written until
// then is seen.
func (b block) ours() bool {
	return atomic.LoadUint32(b.word(blockStatus))&unix.TP_STATUS_USER != 0
}

// count is how many frames there are. The kernel counts as it fills.
func (b block) count() uint32 { return atomic.LoadUint32(b.word(blockCount)) }

// giveBack makes the block the kernel's. The kernel counts from 0 again only when
// it comes to fill it: until then its old count would look like frames.
func (b block) giveBack() {
	atomic.StoreUint32(b.word(blockCount), 0)
	atomic.StoreUint32(b.word(blockStatus), unix.TP_STATUS_KERNEL)
}

// first is the place of the first frame.
func (b block) first() int { return int(*b.word(blockFirst)) }

// frameAt reads the frame at a place into f, and returns the place of the next. It
// does not believe what it reads.
func (b block) frameAt(at int, f *Frame) (next int, err error) {
	if at < blockHeader || at > len(b)-frameHeader {
		return 0, errBadBlock
	}
	h := b[at:]
	_ = h[frameHeader-1]
	snapLen, length := binary.NativeEndian.Uint32(h[frameSnapLen:]), binary.NativeEndian.Uint32(h[frameLen:])
	from := int(binary.NativeEndian.Uint16(h[frameMAC:]))
	if from < frameHeader || from > len(h) || uint64(snapLen) > uint64(len(h)-from) {
		return 0, errBadBlock
	}
	f.Data = h[from : from+int(snapLen) : from+int(snapLen)]
	f.Length = int(max(length, snapLen))
	stamp := int64(binary.NativeEndian.Uint32(h[frameSec:]))*1e9 + int64(binary.NativeEndian.Uint32(h[frameNsec:]))
	status := binary.NativeEndian.Uint32(h[frameStatus:])
	f.Arrival, f.Hardware = stamp, 0
	if status&unix.TP_STATUS_TS_RAW_HARDWARE != 0 {
		f.Arrival, f.Hardware = 0, stamp
	}
	f.VLAN = VLAN{}
	if status&unix.TP_STATUS_VLAN_VALID != 0 {
		f.VLAN = VLAN{Present: true, Type: frame.EtherTypeVLAN, TCI: uint16(binary.NativeEndian.Uint32(h[frameTCI:]))}
		if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			f.VLAN.Type = frame.EtherType(binary.NativeEndian.Uint16(h[frameTPID:]))
		}
	}
	f.PacketType = packetType(h[framePktType])
	// That of a block's last frame is 0, and not looked at; elsewhere 0 leads to
	// a place where no frame is.
	if step := binary.NativeEndian.Uint32(h[frameNext:]); step != 0 && uint64(step) < uint64(len(h)) {
		next = at + int(step)
	}
	return next, nil
}
