//go:build linux

package render

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/l2ping/l2ping/arp"
)

// Via says in a line where frames go, and how that is known: what -v and
// `l2ping route` print.
func Via(n arp.Neighbor) string {
	switch {
	case !n.Known():
		return fmt.Sprintf("via %s (no ARP reply)", n.Addr)
	case n.How == arp.HowNone:
		return fmt.Sprintf("to %s (broadcast)", n.MAC)
	case n.How == arp.HowTable:
		return fmt.Sprintf("via %s %s (neighbor table, %s)", n.Addr, n.MAC, n.State)
	case n.State != 0:
		return fmt.Sprintf("via %s %s (arp; the neighbor table says %s)", n.Addr, n.MAC, n.State)
	}
	return fmt.Sprintf("via %s %s (arp; not in the neighbor table)", n.Addr, n.MAC)
}

// Asked says what of a decision was asked for by name.
type Asked struct{ Interface, Source bool }

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
	}
	if asked.Interface {
		why = "as asked"
	}
	line("interface", p.Interface.Name, fmt.Sprintf("%s; %s, mac %s, mtu %d", why, p.Interface.Kind, p.Interface.MAC, p.Interface.MTU))
	line("source", p.Source.String(), whence)
	switch {
	case p.Broadcast:
		line("next hop", "everybody", "a broadcast address of "+p.Interface.Name)
	case p.OnLink:
		line("next hop", p.NextHop.String(), "the target itself: "+route(p.Route, p.Table)+" is on-link")
	default:
		line("next hop", p.NextHop.String(), "the gateway of "+route(p.Route, p.Table))
	}
	if n.Known() {
		line("mac", n.MAC.String(), how(n))
	} else {
		line("mac", "unknown", how(n))
	}
	if p.MTU != p.Interface.MTU {
		line("mtu", fmt.Sprint(p.MTU), "the route's, or learnt from the path")
	}
	return b.String()
}

// how says how the MAC is known, or what was done to learn it.
func how(n arp.Neighbor) string {
	switch {
	case n.How == arp.HowTable:
		return fmt.Sprintf("in the kernel's neighbor table, %s", n.State)
	case n.Known() && n.How == arp.HowNone:
		return "broadcast"
	}
	was := "the neighbor table has no entry"
	if n.State != 0 {
		was = fmt.Sprintf("the neighbor table says %s", n.State)
	}
	if !n.Known() {
		return was + "; no ARP reply"
	}
	return fmt.Sprintf("%s; answered ARP in %s ms", was, ms(n.Took))
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
