package frame_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/l2ping/l2ping/l2/frame"
)

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		got  fmt.Stringer
		want string
	}{
		{frame.EtherTypeIPv4, "IPv4"},
		{frame.EtherTypeARP, "ARP"},
		{frame.EtherTypeIPv6, "IPv6"},
		{frame.EtherTypeVLAN, "802.1Q"},
		{frame.EtherTypeQinQ, "802.1ad"},
		{frame.EtherType(0x86de), "0x86de"},
		{frame.EtherType(5), "0x0005"},
		{frame.ICMPEchoReply, "echo reply"},
		{frame.ICMPDestinationUnreachable, "destination unreachable"},
		{frame.ICMPRedirect, "redirect"},
		{frame.ICMPEcho, "echo"},
		{frame.ICMPTimeExceeded, "time exceeded"},
		{frame.ICMPParameterProblem, "parameter problem"},
		{frame.ICMPType(1), "type 1"},
		{frame.ICMPType(127), "type 127"},
		{frame.ICMPv6EchoRequest, "echo request"},
		{frame.ICMPv6EchoReply, "echo reply"},
		{frame.ICMPv6NeighborSolicitation, "neighbor solicitation"},
		{frame.ICMPv6NeighborAdvertisement, "neighbor advertisement"},
		{frame.ICMPv6Redirect, "redirect"},
		{frame.ICMPType(255), "type 255"},
		{frame.VLAN{TCI: 100}, "100"},
		{frame.VLAN{TCI: 3<<13 | 100}, "100.3"},
		{frame.VLAN{TCI: 1<<12 | 100}, "100"},
		{frame.VLAN{TCI: 7 << 13}, "0.7"},
		{frame.VLAN{TCI: 0xffff}, "4095.7"},
		{srcMAC, "02:00:5e:00:53:01"},
		{frame.Broadcast, "ff:ff:ff:ff:ff:ff"},
	} {
		if got := tt.got.String(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

// Both families have numbers that mean something else in the other.
func TestICMPTypeName(t *testing.T) {
	for _, tt := range []struct {
		typ    frame.ICMPType
		v4, v6 string
	}{
		{0, "echo reply", "type 0"},
		{1, "type 1", "destination unreachable"},
		{2, "type 2", "packet too big"},
		{3, "destination unreachable", "time exceeded"},
		{4, "type 4", "parameter problem"},
		{5, "redirect", "type 5"},
		{8, "echo", "type 8"},
		{11, "time exceeded", "type 11"},
		{12, "parameter problem", "type 12"},
		{128, "type 128", "echo request"},
		{135, "type 135", "neighbor solicitation"},
	} {
		if got := tt.typ.Name(false); got != tt.v4 {
			t.Errorf("%d in IPv4: %q, want %q", uint8(tt.typ), got, tt.v4)
		}
		if got := tt.typ.Name(true); got != tt.v6 {
			t.Errorf("%d in IPv6: %q, want %q", uint8(tt.typ), got, tt.v6)
		}
	}
}

func TestVLANFields(t *testing.T) {
	for _, tt := range []struct {
		tci      uint16
		id       uint16
		priority uint8
		eligible bool
	}{
		{0, 0, 0, false}, {100, 100, 0, false}, {0x1fff, 4095, 0, true}, {0xe000, 0, 7, false}, {0x6064, 100, 3, false},
	} {
		v := frame.VLAN{TCI: tt.tci}
		if v.ID() != tt.id || v.Priority() != tt.priority || v.DropEligible() != tt.eligible {
			t.Errorf("%#04x: id %d, priority %d, drop eligible %v", tt.tci, v.ID(), v.Priority(), v.DropEligible())
		}
	}
}

func TestGroups(t *testing.T) {
	for _, tt := range []struct{ address, solicited, mac string }{
		{"2001:db8::1", "ff02::1:ff00:1", ""},
		{"fe80::abcd:12ff:fe34:5678%eth0", "ff02::1:ff34:5678", ""},
		{"::", "ff02::1:ff00:0", ""},
		{"ff02::1", "ff02::1:ff00:1", "33:33:00:00:00:01"},
		{"ff02::1%eth0", "ff02::1:ff00:1", "33:33:00:00:00:01"},
		{"ff02::1:ff34:5678", "ff02::1:ff34:5678", "33:33:ff:34:56:78"},
		{"224.0.0.1", "", "01:00:5e:00:00:01"},
		{"239.255.255.255", "", "01:00:5e:7f:ff:ff"},
		{"224.128.0.251", "", "01:00:5e:00:00:fb"},
		{"198.51.100.1", "", ""},
		{"255.255.255.255", "", ""},
		{"::ffff:224.0.0.1", "", ""},
	} {
		a := netip.MustParseAddr(tt.address)
		var solicited netip.Addr
		if tt.solicited != "" {
			solicited = netip.MustParseAddr(tt.solicited)
		}
		var mac frame.MAC
		if tt.mac != "" {
			mac, _ = frame.ParseMAC(tt.mac)
		}
		if got := frame.SolicitedNode(a); got != solicited {
			t.Errorf("%s: group %v, want %v", a, got, solicited)
		}
		if got := frame.MulticastMAC(a); got != mac {
			t.Errorf("%s: %v, want %v", a, got, mac)
		}
	}
	if frame.SolicitedNode(netip.Addr{}).IsValid() || !frame.MulticastMAC(netip.Addr{}).IsZero() {
		t.Error("no address has a group")
	}
}

func TestMAC(t *testing.T) {
	for _, s := range []string{"02:00:5e:00:53:01", "02-00-5E-00-53-01", "0200.5e00.5301"} {
		if m, err := frame.ParseMAC(s); err != nil || m != srcMAC {
			t.Errorf("%q: %v, %v", s, m, err)
		}
	}
	for _, s := range []string{"02:00:5e:00:53:01:02:03", "02:00:5e:00:53:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f"} {
		if m, err := frame.ParseMAC(s); !errors.Is(err, frame.ErrNotEUI48) || !m.IsZero() {
			t.Errorf("%q: %v, %v", s, m, err)
		}
	}
	for _, s := range []string{"", "02:00:5e:00:53", "02:00:5e:00:53:0g"} {
		if m, err := frame.ParseMAC(s); err == nil {
			t.Errorf("%q is taken to be %v", s, m)
		}
	}
	for _, hw := range []net.HardwareAddr{nil, {1, 2, 3, 4, 5}, make(net.HardwareAddr, 8)} {
		if m, err := frame.MACFrom(hw); !errors.Is(err, frame.ErrNotEUI48) || !m.IsZero() {
			t.Errorf("%q: %v, %v", hw, m, err)
		}
	}
	hw := srcMAC.HardwareAddr()
	hw[0] = 0xff
	if srcMAC[0] == 0xff {
		t.Error("HardwareAddr is no copy")
	}
	if !(frame.MAC{}).IsZero() || srcMAC.IsZero() || !frame.Broadcast.IsGroup() || !(frame.MAC{1}).IsGroup() || srcMAC.IsGroup() {
		t.Error("IsZero or IsGroup is wrong")
	}
}
