//go:build linux

package main

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// linkCommands are the scripts' commands that make links and routes. NS is near,
// far, router, host or the name of an ns. A script whose kind of link the kernel
// lacks is skipped, as labtest.RequireKind has it.
//
//	ns NAME                     another namespace
//	wire NS IFACE NS IFACE      a wire between two, up
//	veth NS IFACE IFACE         a wire within one namespace, down
//	link NS up|down|delete IFACE, link pair up
//	mac NS MAC IFACE
//	mtu NS N IFACE
//	noarp NS IFACE
//	bridge NS NAME PORT...      these are up when they are made
//	join NS MASTER IFACE        put one under a bridge, a bond, a team or a VRF
//	bond NS NAME MEMBER...      active-backup
//	team NS NAME PORT...        active-backup, the first port active
//	active NS BOND|TEAM MEMBER
//	vrf NS NAME TABLE MEMBER...
//	macvlan NS NAME PARENT
//	ipvlan NS NAME PARENT l2|l3|l3s
//	vlan NS NAME PARENT ID [802.1ad]
//	vxlan NS NAME ID LOCAL REMOTE
//	dummy NS NAME
//	tun NS NAME [FILE]          with a scripted peer at its other end
//	wireguard NS NAME ADDR NS NAME ADDR PREFIX
//	                            a tunnel between two, by those addresses, that
//	                            carries the prefix
//	tunnel NS NAME KIND LOCAL [REMOTE]
//	ppp NS NAME PARENT NS NAME PARENT
//	                            a session of PPPoE between two
//	addr NS add|delete PREFIX IFACE
//	route NS PREFIX [ADDR] IFACE [table N] [mtu N] [from ADDR]
//	multipath NS PREFIX ADDR IFACE [ADDR IFACE]...
//	unroute NS PREFIX
//	refuse NS PREFIX blackhole|unreachable|prohibit
//	rule NS mark N TABLE [6]
//	neigh NS ADDR permanent|reachable|stale|noarp|failed|delete [MAC] IFACE
//	sysctl NS NAME VALUE
var linkCommands = map[string]step{
	"ns": stepNS, "wire": stepWire, "veth": stepVeth, "link": stepLink, "mac": stepMAC, "mtu": stepMTU, "noarp": stepNoARP,
	"bridge": stepBridge, "join": stepJoin, "bond": stepBond, "team": stepTeam, "active": stepActive, "vrf": stepVRF, "macvlan": stepMacvlan, "ipvlan": stepIPVLAN,
	"vlan": stepVLAN, "vxlan": stepVXLAN, "dummy": stepDummy, "tun": stepTun, "wireguard": stepWireGuard, "tunnel": stepTunnel, "ppp": stepPPP,
	"addr": stepAddr, "route": stepRoute, "multipath": stepMultipath, "unroute": stepUnroute, "refuse": stepRefuse,
	"rule": stepRule, "neigh": stepNeigh, "sysctl": stepSysctl,
}

// scriptTB is what labtest wants of a test.
type scriptTB struct {
	testing.TB // nil: what is not here is not called
	env        *testscript.Env
}

func (s scriptTB) Helper()                      {}
func (s scriptTB) Fatal(args ...any)            { s.env.T().Fatal(args...) }
func (s scriptTB) Fatalf(f string, args ...any) { s.env.T().Fatal(fmt.Sprintf(f, args...)) }
func (s scriptTB) Error(args ...any)            { s.env.T().Fatal(args...) }
func (s scriptTB) Skip(args ...any)             { s.env.T().Skip(args...) }
func (s scriptTB) Skipf(f string, args ...any)  { s.env.T().Skip(fmt.Sprintf(f, args...)) }
func (s scriptTB) Cleanup(f func())             { s.env.Defer(f) }

func stepNS(_ *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 1, 1); err != nil || w.namespaces[args[0]] != nil {
		return fmt.Errorf("usage: ns NAME, of another one")
	}
	n, err := lab.NewNamespace()
	if err == nil {
		w.namespaces[args[0]] = n
		w.others = append(w.others, n)
	}
	return err
}

func stepWire(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 4, 4); err != nil {
		return err
	}
	a, b := w.namespace(ts, args[0]), w.namespace(ts, args[2])
	const other = "wire-end"
	return errorOfAll(
		func() error { return a.AddVeth(args[1], other) },
		func() error { return a.Move(other, b) },
		func() error { return b.Rename(other, args[3]) },
		func() error { return a.SetUp(args[1]) },
		func() error { return b.SetUp(args[3]) },
		func() error { return a.WaitUp(args[1]) },
		func() error { return b.WaitUp(args[3]) },
	)
}

// errorOfAll does one after the other until one fails.
func errorOfAll(steps ...func() error) error {
	for _, f := range steps {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// made brings a link up that was just made.
func made(n *lab.Namespace, ifname string, err error) error {
	return errorOfAll(
		func() error { return err },
		func() error { return n.SetUp(ifname) },
		func() error { return n.WaitUp(ifname) },
	)
}

func stepBridge(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 2, 9); err != nil {
		return err
	}
	n := w.namespace(ts, args[0])
	return made(n, args[1], n.AddBridge(args[1], args[2:]...))
}

func stepJoin(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 3, 3); err != nil {
		return err
	}
	return w.namespace(ts, args[0]).SetMaster(args[2], args[1])
}

func stepBond(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 3, 9); err != nil {
		return err
	}
	n := w.namespace(ts, args[0])
	return made(n, args[1], n.AddBond(args[1], args[2:]...))
}

func stepTeam(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 3, 9); err != nil {
		return err
	}
	n := w.namespace(ts, args[0])
	return errorOfAll(
		func() error { return n.AddTeam(args[1], args[2:]...) },
		func() error { return n.SetActive(args[1], args[2]) },
		func() error { return made(n, args[1], nil) },
	)
}

func stepActive(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 3, 3); err != nil {
		return err
	}
	return w.namespace(ts, args[0]).SetActive(args[1], args[2])
}

func stepVRF(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 3, 9); err != nil {
		return err
	}
	table, err := strconv.ParseUint(args[2], 10, 32)
	if err != nil {
		return err
	}
	return w.namespace(ts, args[0]).AddVRF(args[1], uint32(table), args[3:]...)
}

func stepMacvlan(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 3, 3); err != nil {
		return err
	}
	n := w.namespace(ts, args[0])
	return made(n, args[1], n.AddMacvlan(args[1], args[2], lab.MacvlanBridge))
}

func stepIPVLAN(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 4, 4); err != nil {
		return err
	}
	n := w.namespace(ts, args[0])
	return made(n, args[1], n.AddIPVLAN(args[1], args[2], lab.IPVLANMode(args[3])))
}

func stepVLAN(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 4, 5); err != nil {
		return err
	}
	id, err := strconv.ParseUint(args[3], 10, 12)
	if err != nil {
		return err
	}
	tpid := uint16(unix.ETH_P_8021Q)
	if len(args) == 5 {
		tpid = unix.ETH_P_8021AD
	}
	n := w.namespace(ts, args[0])
	return made(n, args[1], n.AddVLAN(args[1], args[2], uint16(id), tpid))
}

func stepVXLAN(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 5, 5); err != nil {
		return err
	}
	id, err := strconv.ParseUint(args[2], 10, 24)
	if err != nil {
		return err
	}
	cfg := lab.VXLAN{ID: uint32(id)}
	if cfg.Local, err = netip.ParseAddr(args[3]); err != nil {
		return err
	}
	if cfg.Remote, err = netip.ParseAddr(args[4]); err != nil {
		return err
	}
	n := w.namespace(ts, args[0])
	return made(n, args[1], n.AddVXLAN(args[1], cfg))
}

func stepDummy(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 2, 2); err != nil {
		return err
	}
	n := w.namespace(ts, args[0])
	return made(n, args[1], n.AddDummy(args[1]))
}

func stepTun(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 2, 3); err != nil {
		return err
	}
	n := w.namespace(ts, args[0])
	script := ""
	if len(args) == 3 {
		script = ts.ReadFile(args[2])
	}
	tun := labtest.AddTun(w.tb, n, args[1])
	w.peer = labtest.StartTunPeer(w.tb, tun, script)
	return made(n, args[1], nil)
}

func stepWireGuard(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 7, 7); err != nil {
		return err
	}
	prefix, err := netip.ParsePrefix(args[6])
	if err != nil {
		return err
	}
	type end struct {
		n               *lab.Namespace
		ifname          string
		addr            netip.Addr
		private, public lab.WireGuardKey
	}
	var ends [2]end
	for i := range ends {
		e := &ends[i]
		e.n, e.ifname = w.namespace(ts, args[3*i]), args[3*i+1]
		if e.addr, err = netip.ParseAddr(args[3*i+2]); err != nil {
			return err
		}
		if e.private, e.public, err = lab.NewWireGuardKey(); err != nil {
			return err
		}
	}
	const port = 51820
	for i, e := range ends {
		other := ends[1-i]
		if err := made(e.n, e.ifname, e.n.AddWireGuard(e.ifname, lab.WireGuard{
			Private: e.private, Port: port, Peer: other.public,
			Endpoint: netip.AddrPortFrom(other.addr, port), Allowed: []netip.Prefix{prefix},
		})); err != nil {
			return err
		}
	}
	return nil
}

func stepTunnel(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 4, 5); err != nil {
		return err
	}
	var ends [2]netip.Addr // of which the remote one may be none
	for i, arg := range args[3:] {
		var err error
		if ends[i], err = netip.ParseAddr(arg); err != nil {
			return err
		}
	}
	n := w.namespace(ts, args[0])
	return made(n, args[1], n.AddTunnel(args[1], lab.TunnelKind(args[2]), ends[0], ends[1]))
}

func stepPPP(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 6, 6); err != nil {
		return err
	}
	type end struct {
		n              *lab.Namespace
		ifname, parent string
		mac            net.HardwareAddr
	}
	var ends [2]end
	for i := range ends {
		e := &ends[i]
		e.n, e.ifname, e.parent = w.namespace(ts, args[3*i]), args[3*i+1], args[3*i+2]
		var err error
		if e.mac, err = e.n.MAC(e.parent); err != nil {
			return err
		}
	}
	for i, e := range ends {
		labtest.AddPPP(w.tb, e.n, e.ifname, lab.PPPoE{Parent: e.parent, Remote: ends[1-i].mac, Session: 1})
		if err := made(e.n, e.ifname, nil); err != nil {
			return err
		}
	}
	return nil
}

func stepMAC(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 3, 3); err != nil {
		return err
	}
	mac, err := net.ParseMAC(args[1])
	if err != nil {
		return err
	}
	return w.namespace(ts, args[0]).SetMAC(args[2], mac)
}

func stepNoARP(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 2, 2); err != nil {
		return err
	}
	return w.namespace(ts, args[0]).SetARP(args[1], false)
}

func stepSysctl(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 3, 3); err != nil {
		return err
	}
	return w.namespace(ts, args[0]).Sysctl(args[1], args[2])
}

func stepRoute(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 3, 10); err != nil {
		return err
	}
	var r lab.Route
	var err error
	if r.Dst, err = netip.ParsePrefix(args[1]); err != nil {
		return err
	}
	rest := args[2:]
	if via, err := netip.ParseAddr(rest[0]); err == nil && len(rest) > 1 {
		r.Via, rest = via, rest[1:]
	}
	r.Interface, rest = rest[0], rest[1:]
	n := w.namespace(ts, args[0])
	if len(rest) == 0 {
		return n.AddRoute(r.Dst, r.Via, r.Interface) // which finds out whether it is onlink
	}
	for ; len(rest) >= 2; rest = rest[2:] {
		switch rest[0] {
		case "table":
			r.Table, err = strconv.Atoi(rest[1])
		case "mtu":
			r.MTU, err = strconv.Atoi(rest[1])
		case "from":
			r.Source, err = netip.ParseAddr(rest[1])
		default:
			err = fmt.Errorf("unknown option %s", rest[0])
		}
		if err != nil {
			return err
		}
	}
	return n.Install(r)
}

func stepMultipath(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 4, 8); err != nil {
		return err
	}
	var r lab.Route
	var err error
	if r.Dst, err = netip.ParsePrefix(args[1]); err != nil {
		return err
	}
	for hops := args[2:]; len(hops) >= 2; hops = hops[2:] {
		via, err := netip.ParseAddr(hops[0])
		if err != nil {
			return err
		}
		r.Hops = append(r.Hops, lab.Hop{Via: via, Interface: hops[1]})
	}
	return w.namespace(ts, args[0]).Install(r)
}

func stepUnroute(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 2, 2); err != nil {
		return err
	}
	prefix, err := netip.ParsePrefix(args[1])
	if err != nil {
		return err
	}
	return w.namespace(ts, args[0]).DelRoute(prefix)
}

func stepRule(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 4, 5); err != nil || args[1] != "mark" {
		return fmt.Errorf("usage: rule NS mark N TABLE [6]")
	}
	mark, err := strconv.ParseUint(args[2], 0, 32)
	if err != nil {
		return err
	}
	table, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	return w.namespace(ts, args[0]).AddRule(lab.Rule{Mark: uint32(mark), Table: table, Priority: 1000, IPv6: len(args) == 5})
}

func stepLink(ts *testscript.TestScript, w *world, args []string) error {
	if slices.Equal(args, []string{"pair", "up"}) && w.pair != nil {
		return w.pair.SetUp()
	}
	if err := want(args, 3, 3); err != nil {
		return err
	}
	n := w.namespace(ts, args[0])
	switch args[1] {
	case "up":
		return n.SetUp(args[2])
	case "down":
		return n.SetDown(args[2])
	case "delete":
		return n.DeleteLink(args[2])
	}
	return fmt.Errorf("cannot %q a link", args[1])
}

func stepVeth(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 3, 3); err != nil {
		return err
	}
	return w.namespace(ts, args[0]).AddVeth(args[1], args[2])
}

func stepAddr(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 4, 4); err != nil {
		return err
	}
	n := w.namespace(ts, args[0])
	prefix, err := netip.ParsePrefix(args[2])
	if err != nil {
		return err
	}
	if args[1] == "delete" {
		return n.DelAddr(args[3], prefix)
	}
	return n.AddAddr(args[3], prefix)
}

func stepRefuse(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 3, 3); err != nil {
		return err
	}
	prefix, err := netip.ParsePrefix(args[1])
	if err != nil {
		return err
	}
	kinds := map[string]int{
		"blackhole": unix.RTN_BLACKHOLE, "unreachable": unix.RTN_UNREACHABLE, "prohibit": unix.RTN_PROHIBIT,
	}
	return w.namespace(ts, args[0]).AddRefusal(prefix, kinds[args[2]])
}

func stepNeigh(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 4, 5); err != nil {
		return err
	}
	n := w.namespace(ts, args[0])
	ifname := args[len(args)-1]
	ip, err := netip.ParseAddr(args[1])
	if err != nil {
		return err
	}
	if args[2] == "delete" {
		return n.DelNeighbor(ifname, ip)
	}
	states := map[string]lab.NeighborState{
		"permanent": lab.Permanent, "reachable": lab.Reachable, "stale": lab.Stale,
		"noarp": lab.NoARP, "failed": lab.Failed,
	}
	state, ok := states[args[2]]
	if !ok {
		return fmt.Errorf("no state %q", args[2])
	}
	var mac net.HardwareAddr
	if len(args) == 5 {
		if mac, err = net.ParseMAC(args[3]); err != nil {
			return err
		}
	}
	return n.SetNeighbor(ifname, ip, mac, state)
}

func stepMTU(ts *testscript.TestScript, w *world, args []string) error {
	if err := want(args, 3, 3); err != nil {
		return err
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	return w.namespace(ts, args[0]).SetMTU(args[2], n)
}
