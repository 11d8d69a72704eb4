//go:build linux

package render

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// Via says in a line where frames go, and how that is known: what -v and
// `l2ping route` print.
func Via(d *arp.Decision) string {
	n := d.Neighbor
	switch {
	case !d.Path.NeedsNeighbor() && n.How != arp.HowOverride:
		return fmt.Sprintf("to %s (%s)", receiver(d), noNeighbor(d.Path))
	case !n.Known():
		return fmt.Sprintf("via %s (%s)", n.Addr, silence(n.Addr))
	case n.How == arp.HowOverride:
		return fmt.Sprintf("via %s %s (as asked)", n.Addr, n.MAC)
	case n.How == arp.HowTable:
		return fmt.Sprintf("via %s %s (neighbor table, %s)", n.Addr, n.MAC, n.State)
	case n.State != 0:
		return fmt.Sprintf("via %s %s (%s; the neighbor table says %s)", n.Addr, n.MAC, n.How, n.State)
	}
	return fmt.Sprintf("via %s %s (%s; not in the neighbor table)", n.Addr, n.MAC, n.How)
}

// receiver is where frames go that no neighbor is asked about.
func receiver(d *arp.Decision) string {
	if d.Neighbor.MAC.IsZero() {
		return d.Path.Interface.Name
	}
	return d.Neighbor.MAC.String()
}

// noNeighbor says why no neighbor is asked about.
func noNeighbor(p *l2.Path) string {
	switch {
	case p.Broadcast:
		return "broadcast"
	case p.Multicast:
		return "multicast"
	case p.Interface.Loopback:
		return "loopback"
	case p.Interface.NoLink:
		return "no link layer: frames start at the IP header"
	}
	return "the interface has no ARP"
}

// silence is what came of asking for an address in vain.
func silence(a netip.Addr) string {
	if a.Is6() {
		return "no neighbor advertisement"
	}
	return "no ARP reply"
}

// Asked says what of a decision was asked for by name. Zone says that the target
// names the interface.
type Asked struct {
	Interface, Zone, Source bool
	SourceMAC               frame.MAC    // zero: the interface's own
	VLANs                   []frame.VLAN // tags of our own, outer first
}

// inVLAN tells whether frames with these tags are of a VLAN: a tag with id 0 is a
// priority alone.
func inVLAN(tags []frame.VLAN) bool {
	return slices.ContainsFunc(tags, func(tag frame.VLAN) bool { return tag.ID() != 0 })
}

// tags are the VLANs as --vlan has them.
func (a *Asked) tags() string {
	names := make([]string, len(a.VLANs))
	for i, tag := range a.VLANs {
		names[i] = tag.String()
	}
	return strings.Join(names, ",")
}

// Route is the whole decision, a line a fact, each with its reason.
func Route(d *arp.Decision, target string, asked Asked) string {
	p, n := d.Path, d.Neighbor
	var b strings.Builder
	line := func(name, value, reason string) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-10s %-18s %s", name, value, reason), " ") + "\n")
	}
	name := p.Destination.String()
	if target == name {
		target = ""
	}
	line("target", name, target)
	why, whence := "the kernel routes the target by it", "the kernel's choice for this route"
	if asked.Source {
		why, whence = "it has the source address", "as asked"
		if p.ForeignSource {
			why, whence = "the kernel routes the target by it", "as asked; not this host's own: l2ping answers for it"
		}
	}
	switch {
	case asked.Interface:
		why = "as asked"
	case asked.Zone:
		why = "the target's zone"
	}
	if inVLAN(asked.VLANs) && p.NeedsNeighbor() && !p.ForeignSource {
		whence += "; l2ping answers for it there"
	}
	if p.Asked != nil {
		why = fmt.Sprintf("the route of VRF %s names this member", p.Asked.Name)
	}
	link := ", no link layer"
	if !p.Interface.NoLink {
		link = ", mac " + p.Interface.MAC.String()
	}
	line("interface", p.Interface.Name, fmt.Sprintf("%s; %s%s, mtu %d", why, p.Interface.Kind, link, p.Interface.MTU))
	if p.Owner.Index != p.Interface.Index {
		line("owner", p.Owner.Name, fmt.Sprintf("%s is a part of this %s: its addresses, routes and neighbors apply, mac %s",
			p.Interface.Name, p.Owner.Kind, p.Owner.MAC))
	}
	if len(asked.VLANs) > 0 {
		line("vlan", asked.tags(), "tags of our own, as asked")
	}
	if !asked.SourceMAC.IsZero() {
		line("source mac", asked.SourceMAC.String(), "as asked")
	}
	line("source", p.Source.String(), whence)
	switch {
	case p.Broadcast:
		line("next hop", "everybody", "a broadcast address of "+p.Interface.Name)
	case p.Multicast:
		line("next hop", "the group", p.Destination.String()+" is a multicast address")
	case p.Interface.Loopback:
		line("next hop", p.NextHop.String(), "the target itself, an address of this host")
	case p.Forced && p.OnLink:
		line("next hop", p.NextHop.String(), "the target itself, as asked")
	case p.Forced:
		line("next hop", p.NextHop.String(), "as asked, whatever routing says")
	case p.Assumed:
		line("next hop", p.NextHop.String(), "the target itself: "+p.Interface.Name+" has no address, and so no route")
	case p.Multipath && !p.OnLink:
		line("next hop", p.NextHop.String(), "one of the gateways of "+route(p.Route, p.Table)+", by the kernel's pick on this interface")
	case p.OnLink:
		line("next hop", p.NextHop.String(), "the target itself: "+route(p.Route, p.Table)+" is on-link")
	default:
		line("next hop", p.NextHop.String(), "the gateway of "+route(p.Route, p.Table))
	}
	switch {
	case n.Unneeded:
		line("mac", "none", noNeighbor(p))
	case !p.NeedsNeighbor() && n.How != arp.HowOverride:
		line("mac", n.MAC.String(), noNeighbor(p))
	case n.Known():
		line("mac", n.MAC.String(), how(n, asked))
	default:
		line("mac", "unknown", how(n, asked))
	}
	switch left := p.Interface.MaxPacket(asked.VLANs...); {
	case left < p.MTU:
		line("mtu", fmt.Sprint(left), "what the tags leave of it")
	case p.LearntMTU == p.MTU && p.MTU < p.Interface.MTU:
		line("mtu", fmt.Sprint(p.MTU), "learnt from a router on the way")
	case p.MTU != p.Interface.MTU:
		line("mtu", fmt.Sprint(p.MTU), "the route's")
	}
	return b.String()
}

// how says how the MAC is known, or what was done to learn it.
func how(n arp.Neighbor, asked Asked) string {
	switch {
	case n.How == arp.HowTable:
		return fmt.Sprintf("in the kernel's neighbor table, %s", n.State)
	case n.How == arp.HowOverride:
		return "as asked"
	}
	was := "the neighbor table has no entry"
	switch {
	case inVLAN(asked.VLANs):
		was = "the neighbor table knows nothing of that VLAN"
	case n.State != 0:
		was = fmt.Sprintf("the neighbor table says %s", n.State)
	}
	if !n.Known() {
		return was + "; " + silence(n.Addr)
	}
	by := "ARP"
	if n.How == arp.HowNDP {
		by = "a neighbor solicitation"
	}
	return fmt.Sprintf("%s; answered %s in %s ms", was, by, ms(n.Took))
}

// route names a route and its table.
func route(p netip.Prefix, table int) string {
	if !p.IsValid() {
		return "the limited broadcast"
	}
	name := p.String()
	if p.Bits() == 0 {
		name = "the default route"
	}
	switch table {
	case 254:
		return name
	case 255:
		return name + " (table local)"
	case 253:
		return name + " (table default)"
	}
	return fmt.Sprintf("%s (table %d)", name, table)
}

// ms is a time in milliseconds with microseconds, as ping's summary has it.
func ms(d time.Duration) string {
	us := d.Round(time.Microsecond).Microseconds()
	return fmt.Sprintf("%d.%03d", us/1000, us%1000)
}
