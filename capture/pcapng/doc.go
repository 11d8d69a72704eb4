// Package pcapng writes captured frames to pcapng files, and reads pcapng and pcap
// files, compressed by gzip or not.
//
// What is written: nanoseconds, the interfaces that frames were captured on, each
// frame's direction and reception type, the VLAN tag that the kernel took off put
// back into it, comments, packet ids, and how many frames were dropped. The format
// is that of draft-ietf-opsawg-pcapng; the section and option numbers below are
// its.
//
// A Writer builds the blocks by itself: gopacket's pcapgo allocates for each
// packet with options, and knows neither an interface's MAC and speed nor the
// counts of the filter and the kernel. A Reader is pcapgo's.
package pcapng

import "github.com/l2ping/l2ping/l2/frame"

// A LinkType says what frames start with (https://www.tcpdump.org/linktypes.html).
type LinkType uint16

// Link types.
const (
	LinkEthernet LinkType = 1
	LinkRaw      LinkType = 101 // the IP header
)

// Config says what is told of a file. What is empty is not written.
type Config struct {
	Application string // which program captured, and its version
	OS          string
	Hardware    string
	Comment     string
}

// An Interface is what is told of an interface. What is empty is not written.
type Interface struct {
	Name        string
	Description string
	// Filter is the expression that frames had to pass, in tcpdump's language.
	Filter  string
	OS      string
	Comment string
	// MAC and Speed, in bits a second, are not read (Reader).
	MAC   frame.MAC
	Speed uint64
	// SnapLen is how many bytes of each frame are kept at most; 0 is no bound.
	SnapLen int
	// LinkType is required for writing. There, 0, which is that of BSD's
	// loopback interface, is an error.
	LinkType LinkType
}

// Options is what is told of a frame beside itself.
type Options struct {
	// Interface is what AddInterface returned.
	Interface int
	// Comment is at most 65,535 bytes long; empty is none. Before its 2.6 scapy
	// reads but comments that end with a newline, and warns of others.
	Comment string
	// PacketID is the same for one frame that was captured at several places,
	// or for what belongs together; 0 is none.
	PacketID uint64
	// Dropped is how many frames were lost since the one before; 0 is not
	// written.
	Dropped uint64
}

// Statistics is what is told of an interface at the end.
type Statistics struct {
	// Start and End are when the capture began and ended, in nanoseconds since
	// the Unix epoch; 0 is not written.
	Start, End int64
	Received   uint64 // passed the filter, dropped or not
	Dropped    uint64 // by the kernel, for want of room
	Captured   uint64 // were delivered
}

// Numbers of blocks, and of their options.
const (
	blockSection    = 0x0a0d0d0a
	blockInterface  = 1
	blockStatistics = 5
	blockPacket     = 6

	byteOrderMagic = 0x1a2b3c4d

	optComment = 1

	optHardware    = 2 // of a section
	optOS          = 3
	optApplication = 4

	optName            = 2 // of an interface
	optDescription     = 3
	optMAC             = 6
	optSpeed           = 8
	optResolution      = 9
	optFilter          = 11
	optInterfaceOS     = 12
	resolutionNano     = 9
	filterOfExpression = 0

	optFlags   = 2 // of a packet
	optDropped = 4
	optID      = 5

	optStart    = 2 // of statistics
	optEnd      = 3
	optAccepted = 6
	optOSDrop   = 7
	optDelivery = 8
)

// Bits of a packet's flags.
const (
	flagDirection = 0b11
	flagIn        = 0b01
	flagOut       = 0b10

	flagReception   = 0b111 << 2
	flagUnicast     = 1 << 2
	flagMulticast   = 2 << 2
	flagBroadcast   = 3 << 2
	flagPromiscuous = 4 << 2
)
