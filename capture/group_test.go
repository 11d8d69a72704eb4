//go:build linux

package capture

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2/frame"
)

// hearsGroup tells whether an interface hears a multicast address
// (/proc/net/dev_mcast: index, name, users, those that are permanent, address).
func hearsGroup(t testing.TB, n *lab.Namespace, ifname string, group frame.MAC) bool {
	t.Helper()
	var text []byte
	must(t, n.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/dev_mcast")
		return err
	}))
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 5 && f[1] == ifname && f[4] == strings.ReplaceAll(group.String(), ":", "") {
			return true
		}
	}
	return false
}

// Groups are heard while the socket is open, and no longer, on the interface that
// it is bound to.
func TestGroups(t *testing.T) {
	pair := silentPair(t)
	n := pair.Near
	must(t, n.AddVeth("eth1", "peer1"))
	must(t, n.SetUp("eth1"))
	eth0, eth1 := lookUp(t, n, "eth0"), lookUp(t, n, "eth1")
	groups := []frame.MAC{{0x33, 0x33, 0, 0, 0, 0x4d}, {0x33, 0x33, 0xff, 0, 0x53, 0x77}}
	check := func(when string, on0, on1 bool) {
		t.Helper()
		for _, g := range groups {
			if a, b := hearsGroup(t, n, "eth0", g), hearsGroup(t, n, "eth1", g); a != on0 || b != on1 {
				t.Errorf("%s: eth0 hears %s: %t, want %t; eth1: %t, want %t", when, g, a, on0, b, on1)
			}
		}
	}
	check("before", false, false)
	l := openAll(t, pair, n, eth0, SocketConfig{Groups: groups, MAC: frame.MAC{0x02, 0x00, 0x5e, 0x00, 0x53, 0x77}})
	check("open", true, false)
	if l.Joined() != JoinedUnicast {
		t.Errorf("the MAC: %s", l.Joined())
	}
	must(t, l.Rebind(eth0))
	check("bound anew", true, false)
	must(t, l.Rebind(eth1))
	check("bound to another", false, true)
	gone := *eth1
	gone.Index = 4711
	if err := l.join(&gone); !errors.Is(err, unix.ENODEV) || l.Joined() != JoinedNone {
		t.Errorf("an interface that is gone: %v, %s", err, l.Joined())
	}
	l.mac = frame.MAC{}
	if err := l.join(&gone); !errors.Is(err, unix.ENODEV) {
		t.Errorf("an interface that is gone, without a MAC: %v", err)
	}
	must(t, l.Rebind(eth0))
	must(t, l.Close())
	check("closed", false, false)
}

// A macvlan, as a NIC does, takes what is sent to the groups that it hears, and of
// others only those that it cannot tell from them (macvlan_set_mac_lists). Of many
// groups all that there are are heard.
func TestGroupsOfMacvlan(t *testing.T) {
	const strange = 32 // groups that nobody has asked for
	pair := silentPair(t)
	n := pair.Near
	labtest.RequireKind(t, n.AddMacvlan("mv0", "eth0", lab.MacvlanBridge))
	must(t, n.SetUp("mv0"))
	must(t, n.WaitUp("mv0"))
	ifc := lookUp(t, n, "mv0")
	far := talk(t, pair.Far)
	group := func(i int) frame.MAC { return frame.MAC{0x33, 0x33, 0xff, 0, 0x54, byte(i)} }
	groups := func(n int) (list []frame.MAC) {
		for i := range n {
			list = append(list, group(i))
		}
		return list
	}
	for _, tt := range []struct {
		groups []frame.MAC
		all    bool
	}{{groups(2), false}, {groups(MaxGroups + 1), true}} {
		l := openAll(t, pair, n, ifc, SocketConfig{Groups: tt.groups})
		pinned(t, pair.Far, func() {
			for i := range strange {
				far.send(groupFrame(group(128 + i)))
			}
			for _, g := range tt.groups {
				far.send(groupFrame(g))
			}
		})
		heard := make(map[frame.MAC]bool)
		last := tt.groups[len(tt.groups)-1]
		for deadline := time.Now().Add(patience); !heard[last]; {
			labtest.Poll(t, l.FD(), time.Until(deadline))
			got, err := l.Receive(l.frames)
			must(t, err)
			for _, f := range l.frames[:got] {
				heard[frame.MAC(f.Data)] = true
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d groups: the last of them is not heard", len(tt.groups))
			}
		}
		for _, g := range tt.groups {
			if !heard[g] {
				t.Errorf("%d groups: %s is not heard", len(tt.groups), g)
			}
		}
		others := len(heard) - len(tt.groups)
		if tt.all && others < strange || !tt.all && others == strange {
			t.Errorf("%d groups: %d of %d others are heard", len(tt.groups), others, strange)
		}
		must(t, l.Close())
	}
}

// groupFrame is one to a group, of an EtherType for experiments.
func groupFrame(to frame.MAC) []byte {
	b := append(to[:], 0x02, 0x00, 0x5e, 0x00, 0x53, 0x02, 0x88, 0xb5)
	return append(b, make([]byte, 46)...)
}

// Promiscuous, the interface hears what is to others for as long as the socket is
// open, also when it was made anew.
func TestPromiscuous(t *testing.T) {
	pair := silentPair(t)
	ifc := lookUp(t, pair.Near, "eth0")
	promiscuity := func() int {
		t.Helper()
		link, err := pair.Near.Handle().LinkByName("eth0")
		must(t, err)
		return link.Attrs().Promisc
	}
	open := func() *Socket {
		t.Helper()
		var s *Socket
		must(t, pair.Near.Do(func() (err error) {
			s, err = OpenSocket(ifc, SocketConfig{Filter: newFilter(t, pair, bpf.Classic), Promiscuous: true, MAC: frame.MAC{2, 0, 0x5e, 0, 0x53, 0x44}})
			return err
		}))
		return s
	}
	before := promiscuity()
	s := open()
	if n := promiscuity(); n != before+1 || s.Joined() != JoinedPromiscuous {
		t.Errorf("promiscuity %d after %d, joined %v", n, before, s.Joined())
	}
	must(t, s.Rebind(ifc))
	if n := promiscuity(); n != before+1 {
		t.Errorf("promiscuity %d after Rebind, want %d", n, before+1)
	}
	must(t, s.Close())
	if n := promiscuity(); n != before {
		t.Errorf("promiscuity %d after Close, want %d", n, before)
	}
}
