package lab

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// WireGuardKey is a key of Curve25519, private or public.
type WireGuardKey [unix.WG_KEY_LEN]byte

// NewWireGuardKey makes a private key and the public one that goes with it.
func NewWireGuardKey() (private, public WireGuardKey, err error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return private, public, fmt.Errorf("make WireGuard key: %w", err)
	}
	return WireGuardKey(key.Bytes()), WireGuardKey(key.PublicKey().Bytes()), nil
}

// WireGuard says what a WireGuard interface is like. It has one peer.
type WireGuard struct {
	Private WireGuardKey
	Port    uint16 // of UDP, where it listens; 0: the kernel chooses

	Peer     WireGuardKey   // the peer's public key
	Endpoint netip.AddrPort // where the peer listens; zero: it speaks first
	Allowed  []netip.Prefix // what the peer may send from, and is sent for
}

// AddWireGuard makes a WireGuard interface, down. It has no link layer
// (ARPHRD_NONE), is point to point and without ARP, and its MTU is 1420. Its
// socket is in n, wherever the interface is moved to. With the first packet to
// the peer it sends a handshake to Endpoint. The kernel needs wireguard.
func (n *Namespace) AddWireGuard(ifname string, cfg WireGuard) error {
	if err := n.addLink("wireguard", &netlink.Wireguard{LinkAttrs: named(ifname)}); err != nil {
		return err
	}
	return n.onLink(ifname, "configure wireguard", func(_ *netlink.Handle, l netlink.Link) error {
		return n.generic(unix.WG_GENL_NAME, unix.WG_CMD_SET_DEVICE, unix.WG_GENL_VERSION, cfg.attributes(l.Attrs().Index)...)
	})
}

// attributes are those of WG_CMD_SET_DEVICE (linux/wireguard.h).
func (w WireGuard) attributes(index int) []*nl.RtAttr {
	u16 := func(v uint16) []byte { return binary.NativeEndian.AppendUint16(nil, v) }
	u32 := func(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
	const inArray = 0 // the kernel ignores the types of an array's members

	peers := nl.NewRtAttr(unix.WGDEVICE_A_PEERS|unix.NLA_F_NESTED, nil)
	peer := peers.AddRtAttr(inArray|unix.NLA_F_NESTED, nil)
	peer.AddRtAttr(unix.WGPEER_A_PUBLIC_KEY, w.Peer[:])
	if w.Endpoint.IsValid() {
		peer.AddRtAttr(unix.WGPEER_A_ENDPOINT, sockaddr(w.Endpoint))
	}
	allowed := peer.AddRtAttr(unix.WGPEER_A_ALLOWEDIPS|unix.NLA_F_NESTED, nil)
	for _, prefix := range w.Allowed {
		family := uint16(unix.AF_INET6)
		if prefix.Addr().Is4() {
			family = unix.AF_INET
		}
		one := allowed.AddRtAttr(inArray|unix.NLA_F_NESTED, nil)
		one.AddRtAttr(unix.WGALLOWEDIP_A_FAMILY, u16(family))
		one.AddRtAttr(unix.WGALLOWEDIP_A_IPADDR, prefix.Addr().AsSlice())
		one.AddRtAttr(unix.WGALLOWEDIP_A_CIDR_MASK, []byte{byte(prefix.Bits())})
	}
	return []*nl.RtAttr{
		nl.NewRtAttr(unix.WGDEVICE_A_IFINDEX, u32(uint32(index))),
		nl.NewRtAttr(unix.WGDEVICE_A_FLAGS, u32(unix.WGDEVICE_F_REPLACE_PEERS)),
		nl.NewRtAttr(unix.WGDEVICE_A_PRIVATE_KEY, w.Private[:]),
		nl.NewRtAttr(unix.WGDEVICE_A_LISTEN_PORT, u16(w.Port)),
		peers,
	}
}

// sockaddr is struct sockaddr_in or sockaddr_in6 (ip(7), ipv6(7)).
func sockaddr(a netip.AddrPort) []byte {
	if a.Addr().Is4() {
		b := binary.NativeEndian.AppendUint16(nil, unix.AF_INET)
		b = binary.BigEndian.AppendUint16(b, a.Port())
		b = append(b, a.Addr().AsSlice()...)
		return append(b, make([]byte, 8)...)
	}
	b := binary.NativeEndian.AppendUint16(nil, unix.AF_INET6)
	b = binary.BigEndian.AppendUint16(b, a.Port())
	b = append(b, 0, 0, 0, 0) // flow label
	b = append(b, a.Addr().AsSlice()...)
	return append(b, 0, 0, 0, 0) // scope
}
