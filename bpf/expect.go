package bpf

import (
	"errors"
	"fmt"
	"slices"

	"github.com/l2ping/l2ping/l2/frame"
)

// A Key is something that a request and its answer have in common: the
// addresses, and the ports or identifiers. AppendRequestKeys has the Keys under
// which the answers to a frame are to be found, AppendAnswerKeys those under
// which a frame is to be looked up. What shares a Key need not be a pair:
// Answers has the last word.
//
// Keys are opaque and comparable, so that they serve in a map. They are of one
// size, and the same bytes as in the kernel, which has fingerprints of them.
type Key struct {
	kind     keyKind
	protocol uint8
	icmpType uint8
	icmpCode uint8
	tags     [4]byte  // the VLAN ids, as Match.tags makes them
	local    [16]byte // ours, or zeros: whatever it is
	peer     [16]byte // zeros: anybody's
	a, b     [2]byte  // our port and the peer's, or identifier and sequence number
	c        [4]byte  // TCP's quoted sequence number, or the identifier of DNS
}

// A keyKind says what the other fields of a Key mean. The numbers are those of
// enum kind in expect.bpf.c.
type keyKind uint8

const (
	keyARP      keyKind = iota + 1 // an ARP reply: peer
	keyIPv4                        // a datagram: protocol, local, peer, and more by protocol
	keyQuote4                      // the same for an error, of the datagram that it quotes
	keyIPv6                        // as keyIPv4
	keyQuote6                      // as keyQuote4
	keyNeighbor                    // a neighbor advertisement: local, and the target as peer
)

// How many Keys a frame has at the most.
const (
	MaxRequestKeys = 3
	MaxAnswerKeys  = 3
)

// MaxEtherTypes is how many protocols of the caller's own an Expected can let
// pass.
const MaxEtherTypes = 8

// DefaultMaxKeys is enough for 8,192 requests that go to one host each.
const DefaultMaxKeys = 1 << 14

// maxMaxKeys keeps the kernel's memory at 32 MiB.
const maxMaxKeys = 1 << 20

// ExpectConfig says what an Expected lets pass beside what is expected. The zero
// value is for an interface with a link layer.
type ExpectConfig struct {
	// NoLink tells that the interface has no link layer: frames begin with the
	// IP header, whose version says the family.
	NoLink bool

	// MAC is the source of the requests, if it is not the interface's: frames to
	// it are taken even if the interface took them for another station's
	// (PACKET_OTHERHOST). Not with NoLink.
	MAC frame.MAC

	// Promiscuous has frames to other stations taken, whoever they are to. That
	// such frames arrive at all is for the interface's promiscuous mode.
	Promiscuous bool

	// EtherTypes are protocols of the caller's own, MaxEtherTypes at the most.
	// Their frames all pass, whatever VLAN tags they bear. An EtherType is from
	// 0x0600 up, and not that of a VLAN tag. With NoLink it can be that of IPv4
	// or IPv6.
	EtherTypes []uint16

	// MaxKeys bounds how many Keys are expected at once, from 1 to 1,048,576; 0
	// stands for DefaultMaxKeys. In mode EBPF the kernel's memory is of that size
	// from the beginning: 32 to 64 bytes for each Key that there may be, and at
	// least a page. Before Linux 5.11 it counts against RLIMIT_MEMLOCK.
	MaxKeys int
}

// Validate tells what is wrong with the ExpectConfig.
func (c *ExpectConfig) Validate() error {
	if err := c.validate(); err != nil {
		return fmt.Errorf("expecting answers: %w", err)
	}
	return nil
}

func (c *ExpectConfig) validate() error {
	switch {
	case c.MaxKeys < 0 || c.MaxKeys > maxMaxKeys:
		return fmt.Errorf("%d keys at most: not within 0 to %d", c.MaxKeys, maxMaxKeys)
	case len(c.EtherTypes) > MaxEtherTypes:
		return fmt.Errorf("%d EtherTypes: not within 0 to %d", len(c.EtherTypes), MaxEtherTypes)
	case c.MAC.IsGroup():
		return fmt.Errorf("MAC address %s: not a host's", c.MAC)
	case c.NoLink && !c.MAC.IsZero():
		return fmt.Errorf("MAC address %s: there are none without a link layer", c.MAC)
	}
	for _, t := range c.EtherTypes {
		switch {
		case t < minEtherType:
			return fmt.Errorf("EtherType %#04x: not within %#04x to 0xffff", t, minEtherType)
		case t == etherTypeVLAN || t == etherTypeQinQ:
			return fmt.Errorf("EtherType %#04x: that of a VLAN tag", t)
		case c.NoLink && t != etherTypeIPv4 && t != etherTypeIPv6:
			return errors.New("EtherTypes: there are only those of IPv4 and IPv6 without a link layer")
		}
	}
	return nil
}

// minEtherType is the least that is not a length (IEEE 802.3, clause 3.2.6).
const minEtherType = 0x0600

func (c *ExpectConfig) maxKeys() int {
	if c.MaxKeys == 0 {
		return DefaultMaxKeys
	}
	return c.MaxKeys
}

// accepts judges a frame where these keys are expected.
func (c *ExpectConfig) accepts(b []byte, meta Meta, expected map[Key]uint32) bool {
	switch meta.PacketType {
	case packetHost, packetBroadcast, packetMulticast:
	case packetOtherHost:
		if !c.Promiscuous && (c.MAC.IsZero() || len(b) < etherLen || [6]byte(b) != c.MAC) {
			return false
		}
	default:
		return false
	}
	var tags tagKey
	etherType, _, ok := untagIP(b, c.NoLink, &tags)
	if !ok {
		return false
	}
	if slices.Contains(c.EtherTypes, etherType) {
		return true
	}
	var buf [MaxAnswerKeys]Key
	for _, k := range AppendAnswerKeys(buf[:0], b, meta, c.NoLink) {
		if expected[k] > 0 {
			return true
		}
	}
	return false
}
