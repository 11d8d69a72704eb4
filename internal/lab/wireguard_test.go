package lab

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// flatten reads a netlink message's attributes, the nested ones too, into
// "5/0/9/1/2" and the like for the path of types (arrays by place).
func flatten(t *testing.T, b []byte, path string, nested map[string]bool, out map[string][]byte) {
	t.Helper()
	for place := 0; len(b) > 0; place++ {
		if len(b) < 4 {
			t.Fatalf("%d bytes left below %q", len(b), path)
		}
		length := int(binary.NativeEndian.Uint16(b))
		typ := binary.NativeEndian.Uint16(b[2:])
		if length < 4 || length > len(b) {
			t.Fatalf("attribute of %d bytes in %d below %q", length, len(b), path)
		}
		name := path + string(rune('0'+typ&^unix.NLA_F_NESTED))
		if typ&^unix.NLA_F_NESTED == 0 {
			name = path + "#" + string(rune('0'+place))
		}
		if typ&unix.NLA_F_NESTED != 0 {
			nested[name] = true
			flatten(t, b[4:length], name+"/", nested, out)
		} else {
			out[name] = b[4:length]
		}
		b = b[min((length+3)&^3, len(b)):]
	}
}

// TestWireGuardMessage reads the message as the kernel would: the kernel's
// wireguard is not everywhere.
func TestWireGuardMessage(t *testing.T) {
	private, public, err := NewWireGuardKey()
	if err != nil {
		t.Fatal(err)
	}
	if private == public || private == (WireGuardKey{}) || public == (WireGuardKey{}) {
		t.Fatal("no keys")
	}
	var message []byte
	cfg := WireGuard{
		Private: private, Port: 51820, Peer: public, Endpoint: netip.MustParseAddrPort("198.51.100.2:258"),
		Allowed: []netip.Prefix{netip.MustParsePrefix("203.0.113.2/32"), netip.MustParsePrefix("2001:db8::/64")},
	}
	for _, attr := range cfg.attributes(7) {
		b := attr.Serialize()
		message = append(message, b...)
		message = append(message, make([]byte, -len(b)&3)...)
	}
	got, nested := map[string][]byte{}, map[string]bool{}
	flatten(t, message, "", nested, got)
	u16 := func(v uint16) []byte { return binary.NativeEndian.AppendUint16(nil, v) }
	u32 := func(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
	v6 := netip.MustParseAddr("2001:db8::").As16()
	want := map[string][]byte{ // the numbers are those of linux/wireguard.h
		"1": u32(7), "5": u32(1), "3": private[:], "6": u16(51820),
		"8/#0/1":      public[:],
		"8/#0/4":      append(u16(2), 1, 2, 198, 51, 100, 2, 0, 0, 0, 0, 0, 0, 0, 0),
		"8/#0/9/#0/1": u16(2), "8/#0/9/#0/2": {203, 0, 113, 2}, "8/#0/9/#0/3": {32},
		"8/#0/9/#1/1": u16(10), "8/#0/9/#1/2": v6[:], "8/#0/9/#1/3": {64},
	}
	for name, value := range want {
		if !bytes.Equal(got[name], value) {
			t.Errorf("attribute %s is %x, want %x", name, got[name], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("attributes %v", got)
	}
	if len(nested) != 5 {
		t.Errorf("nested %v", nested)
	}
	six := sockaddr(netip.MustParseAddrPort("[2001:db8::]:258"))
	if want := append(append(u16(10), 1, 2, 0, 0, 0, 0), append(v6[:], 0, 0, 0, 0)...); !bytes.Equal(six, want) {
		t.Errorf("sockaddr_in6 %x, want %x", six, want)
	}
}
