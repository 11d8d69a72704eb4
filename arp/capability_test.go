//go:build linux

package arp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
)

// childVar has a test binary do one thing in a process of its own, which gives
// its capabilities away.
const childVar = "L2PING_ARP_TEST_CHILD"

// Addresses of the children's network: the far one is in the neighbor table, the
// other is not.
var knownIP, unknownIP = netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.3")

// TestCapabilities proves l2.Capabilities for all that opens packet sockets: with
// what is listed it works, and all that is not listed does not help.
func TestCapabilities(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	labtest.StartPeer(t, pair.Far, "eth0", "address 198.51.100.3")
	for _, name := range []string{"listed", "none", "all others"} {
		t.Run(name, func(t *testing.T) {
			must(t, pair.Near.SetNeighbor("eth0", knownIP, pair.FarMAC, lab.Reachable))
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), childVar+"="+name)
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := pair.Near.Run(cmd); err != nil {
				t.Errorf("%v\n%s", err, &out)
			}
		})
	}
}

// child runs in the near end's namespace.
func child(name string) error {
	switch name {
	case "listed":
		return errors.Join(labtest.KeepCapabilities(l2.Capabilities...), needsNothing(), works())
	case "none":
		return errors.Join(labtest.KeepCapabilities(), needsNothing(), forbidden())
	case "all others":
		return errors.Join(labtest.DropCapabilities(l2.Capabilities...), forbidden())
	}
	return fmt.Errorf("no child %q", name)
}

func find(dst netip.Addr) (*l2.Path, error) {
	ifc, err := l2.InterfaceByName("eth0")
	if err != nil {
		return nil, err
	}
	return l2.FindPath(ifc, dst, netip.Addr{})
}

// needsNothing does what no capability is needed for.
func needsNothing() error {
	path, err := find(knownIP)
	if err != nil {
		return err
	}
	if _, err := path.Interface.Stamps(); err != nil {
		return err
	}
	w, err := path.Interface.Watch()
	if err != nil {
		return err
	}
	if err := errors.Join(w.Err(), w.Close()); err != nil {
		return err
	}
	d, err := Decide(context.Background(), path)
	if err != nil {
		return fmt.Errorf("decide by the table: %w", err)
	}
	if !d.Neighbor.Known() || d.Neighbor.How != HowTable {
		return fmt.Errorf("decide by the table: %+v", d.Neighbor)
	}
	table, err := OpenTable(path.Interface, TableConfig{NextHopMAC: otherMAC})
	if err != nil {
		return fmt.Errorf("where nobody is asked: %w", err)
	}
	return table.Close()
}

// attempts is all that opens packet sockets.
func attempts() (map[string]func() error, error) {
	path, err := find(unknownIP)
	if err != nil {
		return nil, err
	}
	return map[string]func() error{
		"l2.OpenLink": func() error {
			l, err := l2.OpenLink(path.Interface, nil)
			if err != nil {
				return err
			}
			return l.Close()
		},
		"capture.OpenSocket": func() error {
			f, err := bpf.NewFilter(bpf.Match{Kind: bpf.EchoReply, Local: path.Source}, bpf.Classic)
			if err != nil {
				return fmt.Errorf("filter: %w", err)
			}
			s, err := capture.OpenSocket(path.Interface, capture.SocketConfig{Filter: f})
			if err != nil {
				return errors.Join(err, f.Close())
			}
			return errors.Join(s.Close(), f.Close())
		},
		"arp.Open": func() error {
			r, err := Open(path)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			n, err := r.Resolve(ctx)
			if err == nil && !n.Known() {
				err = fmt.Errorf("nobody answers: %+v", n)
			}
			return errors.Join(err, r.Close())
		},
		"arp.OpenResponder": func() error {
			r, err := OpenResponder(path.Interface, ResponderConfig{Source: foreign4})
			if err != nil {
				return err
			}
			return r.Close()
		},
		"arp.Decide": func() error {
			_, err := Decide(context.Background(), path)
			return err
		},
	}, nil
}

func works() error {
	all, err := attempts()
	if err != nil {
		return err
	}
	for name, f := range all {
		if err := f(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func forbidden() error {
	all, err := attempts()
	if err != nil {
		return err
	}
	for name, f := range all {
		text := "open packet socket on eth0: operation not permitted"
		if name == "arp.Decide" {
			text = "ask for 198.51.100.3: " + text
		}
		if err := f(); !errors.Is(err, unix.EPERM) || err.Error() != text {
			return fmt.Errorf("%s: %w, want %q", name, err, text)
		}
	}
	return nil
}
