//go:build linux

package arp

import (
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// Who sends in another's name sends to where the kernel does: on a link without ARP
// to the device's own MAC, also when the device has got another, or to the entry
// that was made by hand.
func TestTableNoARPForeignMAC(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	must(t, pair.Near.SetARP("eth0", false))
	path := pathTo(t, pair)
	foreign := frame.MAC{2, 0, 0x5e, 0, 0x53, 0xaa}
	table := openTable(t, pair.Near, path.Interface, TableConfig{MAC: foreign})
	h := add(t, table, path)
	if n, status := h.Snapshot(); n.MAC != frame.MAC(pair.NearMAC) || n.How != HowNone || status != Resolved {
		t.Errorf("%+v, %d, want %s", n, status, pair.NearMAC)
	}

	second := frame.MAC{2, 0, 0x5e, 0, 0x53, 0xab}
	must(t, pair.Near.SetMAC("eth0", second.HardwareAddr()))
	var ifc *l2.Interface
	must(t, pair.Near.Do(func() (err error) {
		ifc, err = l2.InterfaceByName("eth0")
		return err
	}))
	must(t, table.Rebind(ifc))
	if n, status := h.Snapshot(); n.MAC != second || status != Resolved {
		t.Errorf("%+v, %d, want %s", n, status, second)
	}

	path = pathTo(t, pair)
	h = add(t, table, path)
	must(t, pair.Near.SetNeighbor("eth0", pair.FarIP, otherMAC.HardwareAddr(), lab.Permanent))
	if n := await(t, h, "set by hand", func(n Neighbor, _ Status) bool { return n.MAC == otherMAC }); n.How != HowTable {
		t.Errorf("%+v", n)
	}
}
