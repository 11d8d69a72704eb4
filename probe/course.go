//go:build linux

package probe

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// fragmentsFrom is the length of an IP packet in bytes from which on fragments of
// replies are listened for: links with a smaller MTU carry no IPv6 (RFC 8200,
// section 5).
const fragmentsFrom = 1280

// secret is what marks a run's probes.
type secret struct {
	id     uint16
	cookie [frame.CookieLen]byte
}

// draw makes a secret; the Config may set the id.
func (c *Config) draw() (secret, error) {
	var b [2 + frame.CookieLen]byte
	if _, err := rand.Read(b[:]); err != nil {
		return secret{}, fmt.Errorf("draw a random id: %w", err)
	}
	s := secret{binary.BigEndian.Uint16(b[:]), [frame.CookieLen]byte(b[2:])}
	if c.ID != nil {
		s.id = *c.ID
	}
	return s, nil
}

// echo describes the probes that go a path.
func (c *Config) echo(path *l2.Path, s secret) (*frame.Echo, error) {
	mtu := min(path.MTU, path.Interface.MaxPacket(c.VLANs...))
	length := packetLen(path) + *c.DataLen
	if length > mtu && c.PMTU == PMTUDo {
		return nil, fmt.Errorf("%d data bytes do not fit: the MTU of %s is %d, which leaves %d (-M want sends fragments)",
			*c.DataLen, path.Interface.Name, mtu, max(mtu-packetLen(path), 0))
	}
	return &frame.Echo{
		NoLink:       path.Interface.NoLink,
		SrcMAC:       c.srcMAC(path),
		VLANs:        c.VLANs,
		Src:          path.Source.WithZone(""),
		Dst:          path.Destination.WithZone(""),
		ID:           s.id,
		TTL:          c.TTL,
		TOS:          c.TOS,
		DontFragment: c.PMTU != PMTUDont && length <= mtu,
		MTU:          mtu,
		Cookie:       s.cookie,
		DataLen:      *c.DataLen,
		Pattern:      c.Pattern,
	}, nil
}

// packetLen is the length of a path's probe without data, from the IP header on.
func packetLen(path *l2.Path) int {
	if path.Destination.Is6() {
		return frame.IPv6HeaderLen + frame.ICMPHeaderLen
	}
	return frame.IPv4HeaderLen + frame.ICMPHeaderLen
}

// srcMAC is the address that frames come from.
func (c *Config) srcMAC(path *l2.Path) frame.MAC {
	if !c.SrcMAC.IsZero() {
		return c.SrcMAC
	}
	return path.Owner.MAC
}

// inVLAN tells whether the frames are of a VLAN: one whose tags all have id 0 states
// a priority, and to the kernel it is untagged (net/core/dev.c,
// __netif_receive_skb_core).
func (c *Config) inVLAN() bool {
	return slices.ContainsFunc(c.VLANs, func(tag frame.VLAN) bool { return tag.ID() != 0 })
}

// match is what replies look like. Of one target the kernel tests the addresses
// too; of several the engine does.
func (c *Config) match(paths []*l2.Path, s secret) bpf.Match {
	if c.Neighbor != nil {
		return c.neighborMatch(paths)
	}
	m := bpf.Match{
		Kind:      bpf.EchoReply,
		ID:        s.id,
		Cookie:    s.cookie,
		CookieLen: min(*c.DataLen, frame.CookieLen),
		VLANCount: len(c.VLANs),
	}
	for i, tag := range c.VLANs {
		m.VLANs[i] = tag.ID()
	}
	for _, path := range paths {
		if path == nil {
			continue
		}
		m.NoLink = path.Interface.NoLink
		m.MAC = c.srcMAC(path)
		m.Fragments = m.Fragments || packetLen(path)+*c.DataLen > min(fragmentsFrom, path.MTU)
		if len(paths) == 1 {
			m.Local = path.Source.WithZone("")
			m.Peer = path.Destination.WithZone("")
			if group(path) {
				m.Peer = netip.Addr{} // whoever answers
			}
		}
	}
	return m
}

// group tells whether a path leads to many hosts.
func group(path *l2.Path) bool { return path.Broadcast || path.Multicast }

// silence is ErrNoNeighbor in the words of the next hop's family.
func silence(nextHop netip.Addr) error {
	if nextHop.Is6() {
		return noAdvertisement{}
	}
	return ErrNoNeighbor
}

type noAdvertisement struct{}

func (noAdvertisement) Error() string        { return "no neighbor advertisement" }
func (noAdvertisement) Is(target error) bool { return target == ErrNoNeighbor }

// newCourse makes what is sent along a path.
func newCourse(path *l2.Path, echo *frame.Echo, h hop) (*course, error) {
	t, err := echo.Template()
	if err != nil {
		return nil, err
	}
	name := path.Interface.Name
	return &course{
		path:       path,
		request:    t,
		echo:       t,
		hop:        h,
		source:     path.Source.WithZone(""),
		noMAC:      path.Interface.NoLink,
		noNeighbor: fmt.Errorf("%w from %s on %s", silence(path.NextHop), path.NextHop, name),
		sendError:  func(err error) error { return fmt.Errorf("send on %s: %w", name, err) },
	}, nil
}
