package lab_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// part is one fragment that a station heard.
type part struct {
	offset int
	more   bool
	id     uint32
	data   []byte
}

func (h heard) part(t *testing.T) part {
	t.Helper()
	if h.ip != nil {
		return part{int(h.ip.FragOffset) * 8, h.ip.Flags&layers.IPv4MoreFragments != 0, uint32(h.ip.Id), h.ip.Payload}
	}
	f, ok := h.packet.Layer(layers.LayerTypeIPv6Fragment).(*layers.IPv6Fragment)
	if !ok {
		t.Fatalf("got %v, want a fragment", h.packet)
	}
	return part{int(f.FragmentOffset) * 8, f.MoreFragments, f.Identification, f.Payload}
}

// TestPeerFragments has the shapes; the reply is 64 bytes of ICMP.
func TestPeerFragments(t *testing.T) {
	for _, tt := range []struct{ script, want string }{
		{"fragment", "0-32+ 32-64"},
		{"fragment 48", "0-48+ 48-64"},
		{"fragment 24 each", "0-24+ 24-48+ 48-64"},
		{"fragment 24 each reversed", "48-64 24-48+ 0-24+"},
		{"fragment 24 each missing 2", "0-24+ 48-64"},
		{"fragment missing 1", "32-64"},
		{"fragment missing 2", "0-32+"},
		{"fragment 24 each overlap", "0-24+ 16-48+ 40-64"},
		{"fragment 64", ""},
	} {
		for _, family := range []string{"IPv4", "IPv6"} {
			t.Run(family+" "+tt.script, func(t *testing.T) {
				b := newBench(t, "seq 1: "+tt.script)
				message := newBench(t, "").one().ip.Payload
				if family == "IPv4" {
					b.echo(1)
				} else {
					b.echo6(1)
					message = newBench(t, "").one6().message()
				}
				var got []string
				ids := map[uint32]bool{}
				for _, h := range b.untilFence() {
					if tt.want == "" {
						if h.packet.Layer(layers.LayerTypeIPv6Fragment) != nil || h.ip != nil && h.ip.Flags != 0 {
							t.Errorf("a fragment: %v", h.packet)
						}
						continue
					}
					p := h.part(t)
					ids[p.id] = true
					word := fmt.Sprintf("%d-%d", p.offset, p.offset+len(p.data))
					if p.more {
						word += "+"
					}
					got = append(got, word)
					own := p.data
					if strings.Contains(tt.script, "overlap") && p.offset > 0 {
						if bytes.Equal(own[:8], message[p.offset:p.offset+8]) {
							t.Error("what overlaps is the same")
						}
						p.offset, own = p.offset+8, own[8:]
					}
					if !bytes.Equal(own, message[p.offset:p.offset+len(own)]) {
						t.Errorf("%s holds %x", word, own)
					}
				}
				if strings.Join(got, " ") != tt.want || len(ids) > 1 {
					t.Errorf("fragments %v with %d ids, want %s", got, len(ids), tt.want)
				}
			})
		}
	}
}

// TestPeerFragmentedRequests has the kernel cut large requests up, and put the
// large replies together.
func TestPeerFragmentedRequests(t *testing.T) {
	for _, family := range []struct {
		name, network    string
		request, answer  byte
		overhead, pieces int
	}{
		{"IPv4", "ip4:icmp", 8, 0, 20, 3},
		{"IPv6", "ip6:ipv6-icmp", 128, 129, 48, 3},
	} {
		t.Run(family.name, func(t *testing.T) {
			b := newBench(t, "seq 2: error packet-too-big mtu 1300\nlarger 1500: lose")
			labtest.RequireKind(t, b.pair.EnableIPv6())
			far := b.pair.FarIP
			if family.name == "IPv6" {
				far = b.pair.FarIP6
			}
			must(t, b.pair.Near.SetNeighbor("eth0", far, b.pair.FarMAC, lab.Permanent))
			var c net.Conn
			must(t, b.pair.Near.Do(func() (err error) {
				c, err = net.Dial(family.network, far.String())
				return err
			}))
			defer c.Close()
			must(t, c.SetDeadline(time.Now().Add(patience)))
			message := append([]byte{family.request, 0, 0, 0, 0x12, 0x34, 0, 1}, bytes.Repeat([]byte("0123456789"), 400)...)
			if family.name == "IPv4" { // of IPv6 the kernel computes it (RFC 3542, 3.1)
				binary.BigEndian.PutUint16(message[2:], checksum(message))
			}
			if _, err := c.Write(message); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 9000)
			for {
				n, _, err := c.(*net.IPConn).ReadFrom(buf) // without an IP header, which Read would leave
				if err != nil {
					t.Fatal(err)
				}
				if buf[0] == family.answer {
					if n != len(message) || !bytes.Equal(buf[4:n], message[4:]) {
						t.Errorf("the kernel read %d bytes, want %d back", n, len(message))
					}
					break
				}
			}
			requests := b.peer.Requests()
			r := requests[len(requests)-1]
			if r.Fault != "" || r.N != 1 || r.Fragments != family.pieces || len(r.Payload) != 4000 || r.Seq != 1 {
				t.Errorf("request N %d, fault %q, %d fragments, %d bytes", r.N, r.Fault, r.Fragments, len(r.Payload))
			}
			// An error quotes the first fragment.
			message[7], message[2], message[3] = 2, 0, 0
			if family.name == "IPv4" {
				binary.BigEndian.PutUint16(message[2:], checksum(message))
			}
			if _, err := c.Write(message); err != nil {
				t.Fatal(err)
			}
			for {
				h := b.next()
				if h.icmp != nil && h.icmp.TypeCode == layers.CreateICMPv4TypeCode(3, 4) {
					if h.icmp.Seq != 1300 || len(h.icmp.Payload) != 28 || h.icmp.Payload[6]&0x20 == 0 {
						t.Errorf("got %v", h.packet)
					}
					break
				}
				if h.type6() == 2 {
					quote := h.message()[8:]
					if len(h.message()) != 1240 || quote[6] != 44 || quote[40+3]&1 == 0 || quote[48] != 128 {
						t.Errorf("got %v", h.packet)
					}
					break
				}
			}
		})
	}
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i, v := range b {
		sum += uint32(v) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// TestPeerDropsOverlaps has fragments that contradict each other, which no host
// puts together.
func TestPeerDropsOverlaps(t *testing.T) {
	b := newBench(t, "")
	send := func(id uint16, offset int, more bool, data []byte) {
		request := echo(b.pair.NearMAC, b.pair.FarMAC, b.pair.NearIP, b.pair.FarIP, 1)
		ip := request[1].(*layers.IPv4)
		ip.Id, ip.FragOffset, ip.Flags = id, uint16(offset/8), 0
		if more {
			ip.Flags = layers.IPv4MoreFragments
		}
		b.send(request[0], ip, gopacket.Payload(data))
	}
	message := slices.Concat([]byte{8, 0, 0, 0, 0x12, 0x34, 0, 1}, payload)
	binary.BigEndian.PutUint16(message[2:], checksum(message))
	send(1, 0, true, message[:32])
	send(1, 24, true, message[24:48])
	send(1, 32, false, message[32:])
	if all := b.untilFence(); len(all) != 0 {
		t.Errorf("answered overlapping fragments: %v", all[0].packet)
	}
	send(2, 32, false, message[32:])
	send(2, 0, true, message[:32])
	if all := b.untilFence(); len(all) != 1 || !all[0].isReply(1) {
		t.Errorf("%d answers to fragments in the other order", len(all))
	}
}
