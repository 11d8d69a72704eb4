package frame_test

import (
	"errors"
	"fmt"
	"net"
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
		{frame.EtherType(0x86dd), "0x86dd"},
		{frame.EtherType(5), "0x0005"},
		{frame.ICMPEchoReply, "echo reply"},
		{frame.ICMPDestinationUnreachable, "destination unreachable"},
		{frame.ICMPRedirect, "redirect"},
		{frame.ICMPEcho, "echo"},
		{frame.ICMPTimeExceeded, "time exceeded"},
		{frame.ICMPParameterProblem, "parameter problem"},
		{frame.ICMPType(255), "type 255"},
		{srcMAC, "02:00:5e:00:53:01"},
		{frame.Broadcast, "ff:ff:ff:ff:ff:ff"},
	} {
		if got := tt.got.String(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
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
