//go:build linux

package l2

import (
	"encoding/binary"
	"errors"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

func watch(t *testing.T, n *lab.Namespace, ifc *Interface) *Watch {
	t.Helper()
	return labtest.OpenIn(t, n, ifc.Watch)
}

func (w *Watch) becomes(t *testing.T, want error) {
	t.Helper()
	name := "up"
	if want != nil {
		name = want.Error()
	}
	until(t, name, func() bool {
		err := w.Err()
		return want == nil && err == nil || want != nil && errors.Is(err, want)
	})
}

func TestWatch(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	w := watch(t, pair.Near, lookUp(t, pair.Near, "eth0"))
	if err := w.Err(); err != nil {
		t.Errorf("at first: %v", err)
	}
	must(t, pair.Near.SetDown("eth0"))
	w.becomes(t, ErrDown)
	if got, want := w.Err().Error(), "eth0: interface is down"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	must(t, pair.Near.SetUp("eth0"))
	w.becomes(t, nil)
	must(t, pair.Far.SetDown("eth0"))
	w.becomes(t, ErrNoCarrier)
	if got, want := w.Err().Error(), "eth0: no carrier"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	must(t, pair.Far.SetUp("eth0"))
	w.becomes(t, nil)
	must(t, pair.Near.DeleteLink("eth0"))
	until(t, "gone", func() bool { err := w.Err(); return err != nil && err.Error() == "eth0 is gone: interface is down" })
	if err := w.Err(); !errors.Is(err, ErrDown) {
		t.Errorf("gone: %v", err)
	}
}

// A Watch begins with what is, and not with the next change.
func TestWatchBegins(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	ifc := lookUp(t, pair.Near, "eth0")
	must(t, pair.Near.SetDown("eth0"))
	if err := watch(t, pair.Near, ifc).Err(); !errors.Is(err, ErrDown) {
		t.Errorf("down: %v", err)
	}
	must(t, pair.Near.SetUp("eth0"))
	must(t, pair.Near.WaitUp("eth0"))
	if err := watch(t, pair.Near, ifc).Err(); err != nil {
		t.Errorf("up: %v", err)
	}
	must(t, pair.Near.DeleteLink("eth0"))
	if err := watch(t, pair.Near, ifc).Err(); !errors.Is(err, ErrDown) || err.Error() != "eth0 is gone: interface is down" {
		t.Errorf("gone: %v", err)
	}
}

// What happens to another interface is not seen at any time.
func TestWatchOthers(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	must(t, pair.Near.AddVeth("eth1", "eth2"))
	w := watch(t, pair.Near, lookUp(t, pair.Near, "eth0"))
	other := watch(t, pair.Near, lookUp(t, pair.Near, "eth1"))
	before, generation := w.state.Load(), w.Generation()
	for range 5 {
		must(t, pair.Near.SetUp("eth1"))
		other.becomes(t, ErrNoCarrier)
		must(t, pair.Near.SetDown("eth1"))
		other.becomes(t, ErrDown)
		if err := w.Err(); err != nil {
			t.Errorf("eth0: %v", err)
		}
	}
	must(t, pair.Near.DeleteLink("eth1"))
	until(t, "eth1 is gone", func() bool { return other.Err().Error() == "eth1 is gone: interface is down" })
	if w.state.Load() != before || w.Generation() != generation {
		t.Errorf("a change of eth1 was taken for one of eth0: %v", w.Err())
	}
}

// linkMessage is what rtnetlink(7) sends of a link: struct ifinfomsg.
func linkMessage(typ uint16, family uint8, index int32, flags uint32) syscall.NetlinkMessage {
	b := []byte{family, 0, 0, 0}
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	b = binary.NativeEndian.AppendUint32(b, flags)
	b = binary.NativeEndian.AppendUint32(b, 0)
	return syscall.NetlinkMessage{
		Header: syscall.NlMsghdr{Len: uint32(unix.SizeofNlMsghdr + len(b)), Type: typ}, Data: b,
	}
}

func TestWatchMessages(t *testing.T) {
	ifc := &Interface{Index: 7, Name: "eth0"}
	const up = unix.IFF_UP | unix.IFF_RUNNING
	short := linkMessage(unix.RTM_DELLINK, 0, 7, 0)
	short.Data = short.Data[:unix.SizeofIfInfomsg-1]
	for _, tt := range []struct {
		name string
		m    syscall.NetlinkMessage
		seen bool
		want error
	}{
		{"up", linkMessage(unix.RTM_NEWLINK, 0, 7, up), true, nil},
		{"no carrier", linkMessage(unix.RTM_NEWLINK, 0, 7, unix.IFF_UP), true, ErrNoCarrier},
		{"down", linkMessage(unix.RTM_NEWLINK, 0, 7, 0), true, ErrDown},
		{"deleted", linkMessage(unix.RTM_DELLINK, 0, 7, up), true, ErrDown},
		{"another of its name, while it is there", renamed(linkMessage(unix.RTM_NEWLINK, 0, 8, 0), "eth0"), false, nil},
		{"another is down", linkMessage(unix.RTM_NEWLINK, 0, 8, 0), false, nil},
		{"another is deleted", linkMessage(unix.RTM_DELLINK, 0, 8, 0), false, nil},
		{"it leaves a bridge", linkMessage(unix.RTM_DELLINK, unix.AF_BRIDGE, 7, up), false, nil},
		{"its bridge port changes", linkMessage(unix.RTM_NEWLINK, unix.AF_BRIDGE, 7, 0), false, nil},
		{"a message of another kind", linkMessage(unix.RTM_NEWADDR, 0, 7, 0), false, nil},
		{"cut", short, false, nil},
		{"empty", syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.RTM_DELLINK}}, false, nil},
	} {
		w := newWatch(ifc)
		w.take(tt.m)
		if seen := w.state.Load() != nil; seen != tt.seen {
			t.Errorf("%s: taken: %v, want %v", tt.name, seen, tt.seen)
		}
		if err := w.Err(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// renamed adds a name to a message of a link, and further attributes.
func renamed(m syscall.NetlinkMessage, name string, more ...byte) syscall.NetlinkMessage {
	value := append([]byte(name), 0)
	m.Data = binary.NativeEndian.AppendUint16(m.Data, uint16(4+len(value)))
	m.Data = binary.NativeEndian.AppendUint16(m.Data, unix.IFLA_IFNAME)
	m.Data = append(m.Data, value...)
	for len(m.Data)%4 != 0 {
		m.Data = append(m.Data, 0)
	}
	m.Data = append(m.Data, more...)
	return m
}

// attribute is a netlink attribute with a number in it.
func attribute(typ uint16, value uint32) []byte {
	b := binary.NativeEndian.AppendUint16(nil, 8)
	b = binary.NativeEndian.AppendUint16(b, typ)
	return binary.NativeEndian.AppendUint32(b, value)
}

// routeMessage is what rtnetlink(7) sends of a route: struct rtmsg.
func routeMessage(typ uint16, kind uint8, flags uint32, attributes ...byte) syscall.NetlinkMessage {
	b := []byte{unix.AF_INET, 24, 0, 0, 254, 0, 0, kind}
	b = append(binary.NativeEndian.AppendUint32(b, flags), attributes...)
	return syscall.NetlinkMessage{Header: syscall.NlMsghdr{Len: uint32(unix.SizeofNlMsghdr + len(b)), Type: typ}, Data: b}
}

// What counts for paths by an interface, and what does not.
func TestWatchRelevance(t *testing.T) {
	ifc := &Interface{Index: 7, Name: "eth0", Master: &Interface{Index: 9, Name: "br0", Master: &Interface{Index: 11, Name: "red"}}}
	of := func(typ uint16) syscall.NetlinkMessage {
		return syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: typ}, Data: make([]byte, 64)}
	}
	by := func(index uint32) []byte { return attribute(unix.RTA_OIF, index) }
	for _, tt := range []struct {
		name string
		m    syscall.NetlinkMessage
		want bool
	}{
		{"address", of(unix.RTM_NEWADDR), true},
		{"address gone", of(unix.RTM_DELADDR), true},
		{"rule", of(unix.RTM_NEWRULE), true},
		{"rule gone", of(unix.RTM_DELRULE), true},
		{"next hop", of(unix.RTM_DELNEXTHOP), true},
		{"neighbor", of(unix.RTM_NEWNEIGH), false},
		{"route by it", routeMessage(unix.RTM_NEWROUTE, unix.RTN_UNICAST, 0, by(7)...), true},
		{"route by it gone", routeMessage(unix.RTM_DELROUTE, unix.RTN_UNICAST, 0, by(7)...), true},
		{"route by its master", routeMessage(unix.RTM_NEWROUTE, unix.RTN_UNICAST, 0, by(9)...), true},
		{"route by its master's master", routeMessage(unix.RTM_NEWROUTE, unix.RTN_UNICAST, 0, by(11)...), true},
		{"route by another", routeMessage(unix.RTM_NEWROUTE, unix.RTN_UNICAST, 0, by(8)...), false},
		{"local route by another", routeMessage(unix.RTM_NEWROUTE, unix.RTN_LOCAL, 0, by(8)...), true},
		{"blackhole", routeMessage(unix.RTM_NEWROUTE, unix.RTN_BLACKHOLE, 0), true},
		{"multipath", routeMessage(unix.RTM_NEWROUTE, unix.RTN_UNICAST, 0, attribute(unix.RTA_MULTIPATH, 0)...), true},
		{"of the cache", routeMessage(unix.RTM_NEWROUTE, unix.RTN_UNICAST, unix.RTM_F_CLONED, by(7)...), false},
		{"attributes that are cut", routeMessage(unix.RTM_NEWROUTE, unix.RTN_UNICAST, 0, by(8)[:7]...), true},
		{"an attribute of no length", routeMessage(unix.RTM_NEWROUTE, unix.RTN_UNICAST, 0, 0, 0, 0, 0, 8, 0), true},
		{"no route", syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.RTM_NEWROUTE}, Data: make([]byte, 11)}, false},
		{"its master", linkMessage(unix.RTM_NEWLINK, 0, 9, 0), true},
		{"its master's master is gone", linkMessage(unix.RTM_DELLINK, 0, 11, 0), true},
		{"another link", linkMessage(unix.RTM_NEWLINK, 0, 8, 0), false},
	} {
		w := newWatch(ifc)
		w.set(unix.IFF_UP | unix.IFF_RUNNING)
		if got := w.take(tt.m); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		if err := w.Err(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	// A new master counts from then on.
	w := newWatch(&Interface{Index: 7, Name: "eth0"})
	w.set(unix.IFF_UP | unix.IFF_RUNNING)
	if w.take(routeMessage(unix.RTM_NEWROUTE, unix.RTN_UNICAST, 0, by(9)...)) {
		t.Error("a route by what is no master yet")
	}
	w.take(renamed(linkMessage(unix.RTM_NEWLINK, 0, 7, unix.IFF_UP), "eth0", attribute(unix.IFLA_MASTER, 9)...))
	if !w.take(routeMessage(unix.RTM_NEWROUTE, unix.RTN_UNICAST, 0, by(9)...)) {
		t.Error("a route by the new master")
	}
}

// After it is gone, another of its name takes its place, and no other does.
func TestWatchRemadeMessages(t *testing.T) {
	const up = unix.IFF_UP | unix.IFF_RUNNING
	w := newWatch(&Interface{Index: 7, Name: "eth0"})
	w.set(up)
	step := func(what string, m syscall.NetlinkMessage, index int, remade uint64, err error) {
		t.Helper()
		w.take(m)
		if w.Index() != index || w.Remade() != remade || !errors.Is(w.Err(), err) {
			t.Errorf("%s: index %d, remade %d, %v; want %d, %d, %v", what, w.Index(), w.Remade(), w.Err(), index, remade, err)
		}
	}
	step("renamed", renamed(linkMessage(unix.RTM_NEWLINK, 0, 7, up), "wan0"), 7, 0, nil)
	step("another of the old name", renamed(linkMessage(unix.RTM_NEWLINK, 0, 8, 0), "eth0"), 7, 0, nil)
	step("gone", linkMessage(unix.RTM_DELLINK, 0, 7, up), 0, 0, ErrDown)
	if got := w.Err().Error(); got != "wan0 is gone: interface is down" {
		t.Error(got)
	}
	step("another name", renamed(linkMessage(unix.RTM_NEWLINK, 0, 10, up), "eth0"), 0, 0, ErrDown)
	step("its name, deleted", renamed(linkMessage(unix.RTM_DELLINK, 0, 11, up), "wan0"), 0, 0, ErrDown)
	step("made anew", renamed(linkMessage(unix.RTM_NEWLINK, 0, 12, 0), "wan0"), 12, 1, ErrDown)
	step("up", renamed(linkMessage(unix.RTM_NEWLINK, 0, 12, up), "wan0"), 12, 1, nil)
	step("gone again", linkMessage(unix.RTM_DELLINK, 0, 12, up), 0, 1, ErrDown)
	step("with the old index", renamed(linkMessage(unix.RTM_NEWLINK, 0, 12, up), "wan0"), 12, 2, nil)
}

// What the kernel tells in a running namespace.
func TestWatchChanges(t *testing.T) {
	n := twoInterfaces(t)
	w := watch(t, n, lookUp(t, n, "eth0"))
	select {
	case <-w.Changes():
		t.Error("a change before any")
	default:
	}
	for _, tt := range []struct {
		name string
		do   func() error
	}{
		{"address", func() error { return n.AddAddr("eth0", prefixOf("198.51.100.5/24")) }},
		{"address gone", func() error { return n.DelAddr("eth0", prefixOf("198.51.100.5/24")) }},
		{"IPv6 address", func() error { return n.AddAddr("eth0", prefixOf("2001:db8:1::1/64")) }},
		{"another interface's address", func() error { return n.AddAddr("eth1", prefixOf("192.0.2.5/24")) }},
		{"route", func() error { return n.AddRoute(anywhere, gateway, "eth0") }},
		{"route gone", func() error { return n.DelRoute(anywhere) }},
		{"IPv6 route", func() error { return n.AddRoute(anywhere6, gateway6, "eth0") }},
		{"blackhole", func() error { return n.AddRefusal(prefixOf("203.0.113.0/24"), unix.RTN_BLACKHOLE) }},
		{"rule", func() error { return n.AddRule(lab.Rule{Mark: 7, Table: 100, Priority: 1000}) }},
		{"IPv6 rule", func() error { return n.AddRule(lab.Rule{Mark: 7, Table: 100, Priority: 1000, IPv6: true}) }},
		{"MTU", func() error { return n.SetMTU("eth0", 1400) }},
		{"MAC", func() error { return n.SetMAC("eth0", []byte{2, 0, 0x5e, 0, 0x53, 0x77}) }},
		{"master", func() error { return n.AddBridge("br0", "eth0") }},
		{"the master's route", func() error {
			return errors.Join(n.SetUp("br0"), n.AddAddr("br0", prefixOf("198.18.5.1/24")), n.WaitUp("br0"),
				n.AddRoute(prefixOf("198.18.6.0/24"), addr("198.18.5.2"), "br0"))
		}},
	} {
		before := w.Generation()
		must(t, tt.do())
		until(t, tt.name, func() bool { return w.Generation() > before })
		until(t, tt.name+" on the channel", func() bool {
			select {
			case <-w.Changes():
				return true
			default:
				return false
			}
		})
		if err := w.Err(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestWatchRemade(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	n := pair.Near
	ifc := lookUp(t, n, "eth0")
	w := watch(t, n, ifc)
	if w.Index() != ifc.Index || w.Remade() != 0 {
		t.Errorf("at first: index %d, remade %d", w.Index(), w.Remade())
	}
	for round := range uint64(3) {
		before := w.Generation()
		must(t, n.DeleteLink("eth0"))
		until(t, "gone", func() bool { return w.Index() == 0 })
		w.becomes(t, ErrDown)
		must(t, n.AddVeth("eth0", "peer0"))
		until(t, "made anew", func() bool { return w.Remade() == round+1 })
		index, err := n.Index("eth0")
		must(t, err)
		if w.Index() != index {
			t.Errorf("index %d, want %d", w.Index(), index)
		}
		until(t, "counted", func() bool { return w.Generation() >= before+2 })
		must(t, n.SetUp("eth0"))
		must(t, n.SetUp("peer0"))
		w.becomes(t, nil)
	}
	// Begun while it was gone, a Watch waits for it.
	must(t, n.DeleteLink("eth0"))
	late := watch(t, n, ifc)
	if late.Index() != 0 || !errors.Is(late.Err(), ErrDown) {
		t.Errorf("gone before: index %d, %v", late.Index(), late.Err())
	}
	must(t, n.AddVeth("eth0", "peer0"))
	until(t, "made anew", func() bool { return late.Index() != 0 && late.Remade() == 1 })
}

// More changes than the socket holds are told as one, and the state is looked at.
func TestWatchOverflow(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	n := pair.Near
	w := newWatch(lookUp(t, n, "eth0"))
	inside(t, n, func() { must(t, w.open()) })
	must(t, unix.SetsockoptInt(w.socket.GetFd(), unix.SOL_SOCKET, unix.SO_RCVBUF, 1))
	for i := range 100 {
		mtu := 1400 + i
		must(t, n.SetMTU("eth0", mtu))
	}
	must(t, n.SetDown("eth0"))
	// Only now does anybody read.
	w.wg.Go(w.follow)
	defer func() { must(t, w.Close()) }()
	w.becomes(t, ErrDown)
	until(t, "counted", func() bool { return w.Generation() > 0 })
	must(t, n.DeleteLink("eth0"))
	until(t, "gone", func() bool { return w.Index() == 0 })
}

func FuzzWatch(f *testing.F) {
	for _, m := range []syscall.NetlinkMessage{
		linkMessage(unix.RTM_NEWLINK, 0, 7, unix.IFF_UP), linkMessage(unix.RTM_DELLINK, 0, 7, 0),
		renamed(linkMessage(unix.RTM_NEWLINK, 0, 8, 0), "eth0", attribute(unix.IFLA_MASTER, 9)...),
		routeMessage(unix.RTM_NEWROUTE, unix.RTN_UNICAST, 0, attribute(unix.RTA_OIF, 7)...),
		routeMessage(unix.RTM_NEWROUTE, unix.RTN_UNICAST, 0, 0, 0, 0, 0, 3), {},
	} {
		f.Add(m.Header.Type, m.Data)
	}
	f.Fuzz(func(t *testing.T, typ uint16, data []byte) {
		w := newWatch(&Interface{Index: 7, Name: "eth0", Master: &Interface{Index: 9}})
		w.set(unix.IFF_UP)
		changed := w.take(syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: typ}, Data: data})
		if s := w.state.Load(); !changed && (s.index != 7 || s.err == nil || w.name != "eth0") {
			t.Errorf("no change, but %+v, %q", s, w.name)
		}
	})
}
