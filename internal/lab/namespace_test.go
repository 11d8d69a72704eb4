package lab_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"golang.org/x/sys/unix"
)

// nsOf is the inode of a network namespace, by any path to it.
func nsOf(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatalf("stat %s: %v", path, err)
	}
	return st.Ino
}

const (
	ownNamespace    = "/proc/self/ns/net"
	threadNamespace = "/proc/thread-self/ns/net"
)

func TestDoRunsInside(t *testing.T) {
	n := labtest.NewNamespace(t)
	own := nsOf(t, ownNamespace)
	want := nsOf(t, n.Path())
	if want == own {
		t.Fatal("the new namespace is the process's own")
	}
	// Many at once, so that several threads change their namespace.
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			var got uint64
			err := n.Do(func() error {
				var st unix.Stat_t
				err := unix.Stat(threadNamespace, &st)
				got = st.Ino
				return err
			})
			if err != nil || got != want {
				t.Errorf("in Do: namespace %d, %v; want %d", got, err, want)
			}
			var st unix.Stat_t
			if err := unix.Stat(threadNamespace, &st); err != nil || st.Ino != own {
				t.Errorf("after Do: namespace %d, %v; want %d", st.Ino, err, own)
			}
		})
	}
	wg.Wait()
	if got := nsOf(t, ownNamespace); got != own {
		t.Errorf("the main thread is in namespace %d, want %d", got, own)
	}
}

func TestDoReturnsError(t *testing.T) {
	n := labtest.NewNamespace(t)
	want := errors.New("mine")
	if err := n.Do(func() error { return want }); err != want {
		t.Errorf("Do = %v, want f's own error", err)
	}
}

func TestDoPanic(t *testing.T) {
	n := labtest.NewNamespace(t)
	want := errors.New("boom")
	defer func() {
		err, ok := recover().(error)
		if !ok || !errors.Is(err, want) || !strings.Contains(err.Error(), "TestDoPanic") {
			t.Errorf("recovered %v, want f's panic with its stack", err)
		}
	}()
	n.Do(func() error { panic(want) })
	t.Error("Do returned")
}

func TestDoGoexit(t *testing.T) {
	n := labtest.NewNamespace(t)
	returned, deferred := false, false
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { deferred = true }()
		n.Do(func() error {
			(&testing.T{}).SkipNow()
			return nil
		})
		returned = true
	}()
	<-done
	if returned || !deferred {
		t.Errorf("returned %t, deferred %t: Goexit in f must end the caller", returned, deferred)
	}
}

func TestStart(t *testing.T) {
	n := labtest.NewNamespace(t)
	var out strings.Builder
	cmd := exec.Command("readlink", ownNamespace)
	cmd.Stdout = &out
	if err := n.Run(cmd); err != nil {
		t.Fatal(err)
	}
	want, err := os.Readlink(n.Path())
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(out.String()); got != want {
		t.Errorf("the child is in %s, want %s", got, want)
	}
}

func TestClosed(t *testing.T) {
	labtest.RequireNetns(t)
	n, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	// Everything has to fail, and nothing may reach the process's own namespace.
	for name, err := range map[string]error{
		"Do":      n.Do(func() error { t.Error("Do ran"); return nil }),
		"SetUp":   n.SetUp("lo"),
		"SetDown": n.SetDown("lo"),
		"Sysctl":  n.Sysctl("net.ipv4.ip_forward", "0"),
		"route":   n.DelRoute(netip.MustParsePrefix("198.51.100.0/24")),
		"refusal": n.AddRefusal(netip.MustParsePrefix("198.51.100.0/24"), unix.RTN_BLACKHOLE),
		"veth":    n.AddVeth("eth0", "eth1"),
	} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s on a closed namespace: %v, want os.ErrClosed", name, err)
		}
	}
}

func TestSysctl(t *testing.T) {
	n := labtest.NewNamespace(t)
	const file = "/proc/sys/net/ipv4/ip_default_ttl"
	read := func() string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	own := read()
	if err := n.Sysctl("net.ipv4.ip_default_ttl", "37"); errors.Is(err, unix.EROFS) {
		t.Skipf("%v (mount /proc/sys writable)", err)
	} else if err != nil {
		t.Fatal(err)
	}
	var inside string
	if err := n.Do(func() error { inside = read(); return nil }); err != nil {
		t.Fatal(err)
	}
	if inside != "37" || read() != own {
		t.Errorf("inside %s, want 37; here %s, want %s still", inside, read(), own)
	}
	if err := n.Sysctl("kernel.hostname", "x"); err == nil {
		t.Error("kernel.hostname is not a namespace's, but was set")
	}
	if err := n.Sysctl("net.ipv4.nonsense", "1"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("unknown setting: %v", err)
	}
}

// lookup is what a test may want to know of an interface in n.
func lookup(t *testing.T, n *lab.Namespace, name string) *net.Interface {
	t.Helper()
	var ifi *net.Interface
	err := n.Do(func() error {
		var err error
		ifi, err = net.InterfaceByName(name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return ifi
}

func TestPairLinks(t *testing.T) {
	p := labtest.NewPair(t, &lab.PairConfig{MTU: 1400})
	near := lookup(t, p.Near, "eth0")
	if near.HardwareAddr.String() != p.NearMAC.String() || near.MTU != 1400 ||
		near.Flags&(net.FlagUp|net.FlagRunning) != net.FlagUp|net.FlagRunning {
		t.Errorf("near: %+v", near)
	}
	mac := net.HardwareAddr{0x02, 0x00, 0x5e, 0x00, 0x53, 0x77}
	if err := errors.Join(p.Far.SetDown("eth0"), p.Near.SetMAC("eth0", mac), p.Near.SetMTU("eth0", 1300)); err != nil {
		t.Fatal(err)
	}
	if got := lookup(t, p.Near, "eth0"); got.HardwareAddr.String() != mac.String() || got.MTU != 1300 || got.Flags&net.FlagUp == 0 {
		t.Errorf("near, changed: %+v", got)
	}
	if err := p.SetUp(); err != nil {
		t.Fatal(err)
	}
	if err := p.Far.DeleteLink("eth0"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Near.MAC("eth0"); err == nil {
		t.Error("the other end of a deleted pair is still there")
	}
}

func TestPairDown(t *testing.T) {
	p := labtest.NewPair(t, &lab.PairConfig{Down: true})
	if got := lookup(t, p.Near, "eth0"); got.Flags&net.FlagUp != 0 {
		t.Errorf("near is up: %+v", got)
	}
	if err := p.SetUp(); err != nil {
		t.Fatal(err)
	}
	if got := lookup(t, p.Near, "eth0"); got.Flags&net.FlagRunning == 0 {
		t.Errorf("near has no carrier: %+v", got)
	}
}

func TestAddresses(t *testing.T) {
	p := labtest.NewPair(t, nil)
	extra := netip.MustParsePrefix("198.51.100.9/32")
	if err := p.Near.AddAddr("eth0", extra); err != nil {
		t.Fatal(err)
	}
	addrs := func() (list []string) {
		err := p.Near.Do(func() error {
			ifi, err := net.InterfaceByName("eth0")
			if err != nil {
				return err
			}
			all, err := ifi.Addrs()
			for _, a := range all {
				list = append(list, a.String())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if got := strings.Join(addrs(), " "); got != "198.51.100.1/24 198.51.100.9/32" {
		t.Errorf("addresses %s; IPv6 ones would make noise", got)
	}
	if err := p.Near.DelAddr("eth0", extra); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(addrs(), " "); got != "198.51.100.1/24" {
		t.Errorf("addresses %s", got)
	}
}

func TestNeighbors(t *testing.T) {
	p := labtest.NewPair(t, nil)
	ip := netip.MustParseAddr("198.51.100.7")
	mac := net.HardwareAddr{0x02, 0x00, 0x5e, 0x00, 0x53, 0x07}
	for _, state := range []lab.NeighborState{lab.Permanent, lab.Reachable, lab.Stale, lab.Failed} {
		m := mac
		if state == lab.Failed {
			m = nil
		}
		if err := p.Near.SetNeighbor("eth0", ip, m, state); err != nil {
			t.Fatal(err)
		}
		if gotMAC, got, err := p.Near.Neighbor("eth0", ip); err != nil || got != state || gotMAC.String() != m.String() {
			t.Errorf("neighbor %v state %#x, %v; want %v %#x", gotMAC, got, err, m, state)
		}
	}
	if err := p.Near.DelNeighbor("eth0", ip); err != nil {
		t.Fatal(err)
	}
	if _, got, err := p.Near.Neighbor("eth0", ip); err != nil || got != 0 {
		t.Errorf("deleted neighbor: state %#x, %v", got, err)
	}
}

func TestRoutes(t *testing.T) {
	p := labtest.NewPair(t, nil)
	var (
		plain   = netip.MustParsePrefix("203.0.113.0/25")
		onlink  = netip.MustParsePrefix("203.0.113.128/25")
		refused = netip.MustParsePrefix("203.0.113.9/32")
	)
	err := errors.Join(
		p.Near.AddRoute(plain, p.FarIP, "eth0"),
		p.Near.AddRoute(onlink, netip.MustParseAddr("192.0.2.1"), "eth0"),
		p.Near.AddRefusal(refused, unix.RTN_BLACKHOLE),
	)
	if err != nil {
		t.Fatal(err)
	}
	reach := func(addr string) error {
		return p.Near.Do(func() error {
			c, err := net.Dial("udp", net.JoinHostPort(addr, "9"))
			if err == nil {
				c.Close()
			}
			return err
		})
	}
	if err := errors.Join(reach("203.0.113.1"), reach("203.0.113.200")); err != nil {
		t.Error(err)
	}
	if err := reach("203.0.113.9"); err == nil {
		t.Error("the blackhole was routed")
	}
	if err := errors.Join(p.Near.DelRoute(plain), p.Near.DelRoute(onlink), p.Near.DelRoute(refused)); err != nil {
		t.Fatal(err)
	}
	if err := reach("203.0.113.1"); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("without a route: %v", err)
	}
}

func TestErrorsNameTheObject(t *testing.T) {
	n := labtest.NewNamespace(t)
	if err := n.SetUp("eth7"); err == nil || !strings.HasPrefix(err.Error(), "set up eth7: ") {
		t.Errorf("error %v", err)
	}
}

func TestHandle(t *testing.T) {
	labtest.RequireNetns(t)
	n, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	links, err := n.Handle().LinkList()
	if err != nil || len(links) != 1 || links[0].Attrs().Name != "lo" || links[0].Attrs().Flags&net.FlagUp == 0 {
		t.Errorf("links %v, %v; want lo alone, up", links, err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err, ok := recover().(error); !ok || !errors.Is(err, os.ErrClosed) {
			t.Errorf("Handle of a closed namespace: %v", err)
		}
	}()
	n.Handle()
}

// TestAddVeth has a second interface, and the wait for its carrier.
func TestAddVeth(t *testing.T) {
	n := labtest.NewNamespace(t)
	if err := errors.Join(n.AddVeth("eth1", "eth2"), n.SetUp("eth1")); err != nil {
		t.Fatal(err)
	}
	// IFF_RUNNING may be out of date before Linux 6.8; this is the carrier itself.
	link, err := n.Handle().LinkByName("eth1")
	if err != nil || link.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 {
		t.Errorf("eth1 has a carrier without its peer: %+v, %v", link, err)
	}
	waited := make(chan error)
	go func() { waited <- n.WaitUp("eth1") }()
	if err := n.SetUp("eth2"); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	if got := lookup(t, n, "eth1"); got.Flags&net.FlagRunning == 0 {
		t.Errorf("eth1 has no carrier: %+v", got)
	}
	if err := n.WaitUp("eth9"); err == nil || !strings.HasPrefix(err.Error(), "wait for eth9: ") {
		t.Errorf("wait for no interface: %v", err)
	}
}
