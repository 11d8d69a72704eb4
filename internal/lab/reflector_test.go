package lab_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

func newReflector(t *testing.T, n *lab.Namespace, ifname string) *lab.Reflector {
	t.Helper()
	labtest.RequireRoot(t)
	r, err := lab.NewReflector(n, ifname)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// A request comes back as its reply, and nothing else does.
func TestReflector(t *testing.T) {
	p := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	s := newStation(t, p.Near, "eth0")
	r := newReflector(t, p.Far, "eth0")
	s.send(arpRequest(p.NearMAC, p.NearIP, p.FarIP)...)
	reply := echo(p.NearMAC, p.FarMAC, p.NearIP, p.FarIP, 1)
	reply[2].(*layers.ICMPv4).TypeCode = layers.CreateICMPv4TypeCode(0, 0)
	s.send(reply...)
	// Not the request that it carries.
	udp := echo(p.NearMAC, p.FarMAC, p.NearIP, p.FarIP, 1)
	udp[1].(*layers.IPv4).Protocol = layers.IPProtocolUDP
	s.send(udp...)
	s.sendFrame(make([]byte, 20))
	const count = 300
	for seq := range uint16(count) {
		// The checksum goes through where its sum overflows.
		request := echo(p.NearMAC, p.FarMAC, p.NearIP, v4(byte(seq)), seq*251)
		s.send(request...)
		got := s.next()
		want := gopacket.NewSerializeBuffer()
		swapped := echo(p.FarMAC, p.NearMAC, v4(byte(seq)), p.NearIP, seq*251)
		swapped[2].(*layers.ICMPv4).TypeCode = layers.CreateICMPv4TypeCode(0, 0)
		if err := gopacket.SerializeLayers(want, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, swapped...); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.frame, want.Bytes()) {
			t.Fatalf("%d:\n%x comes, want\n%x", seq, got.frame, want.Bytes())
		}
	}
	if n, err := r.Reflected(); n != count || err != nil {
		t.Errorf("%d reflected, %v, want %d", n, err, count)
	}
}

func TestReflectorErrors(t *testing.T) {
	labtest.RequireRoot(t)
	n := labtest.NewNamespace(t)
	if _, err := lab.NewReflector(n, "nothing0"); err == nil {
		t.Error("an interface that is not there: no error")
	}
}
