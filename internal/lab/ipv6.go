package lab

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// EnableIPv6 switches IPv6 on for an interface, on which new namespaces have it
// off. Neither routers' advertisements nor duplicate address detection are
// wanted there, and there is no link-local address unless AddAddr gives it one,
// which neighbor discovery wants for a source (ndisc_send_ns). On lo it brings ::1.
//
// It is not silent: with each address the kernel joins a solicited-node group,
// and tells so by MLDv2 reports to ff02::16, at once and once more within a
// second (mld_ifc_event). Neither a setting nor a flag of the address stops that.
//
// The kernel needs IPv6, and /proc/sys must be writable unless IPv6 is on there.
func (n *Namespace) EnableIPv6(ifname string) error {
	conf := "net/ipv6/conf/" + ifname + "/"
	// Without them the kernel would speak more than it has to.
	for _, name := range []string{"accept_ra", "accept_dad", "dad_transmits", "router_solicitations", "autoconf"} {
		if err := n.tune(conf+name, "0"); err != nil {
			return err
		}
	}
	err := n.Sysctl(conf+"disable_ipv6", "0")
	switch {
	case errors.Is(err, os.ErrNotExist):
		if _, missing := n.Index(ifname); missing != nil {
			return fmt.Errorf("enable IPv6: %w", missing)
		}
		err = lacks("ipv6", err, os.ErrNotExist)
	case errors.Is(err, unix.EROFS), errors.Is(err, os.ErrPermission):
		if now, readErr := n.readSysctl(conf + "disable_ipv6"); readErr == nil && now == "0" {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("enable IPv6 on %s: %w", ifname, err)
	}
	return nil
}

// addAddr6 adds an address and waits until the kernel answers for it: it joins
// the solicited-node group in the background (addrconf_dad_work), and solicitations
// that come before are lost. Without duplicate address detection it tells of the
// address only when it has joined (inet6_addr_add, addrconf_dad_completed).
func (n *Namespace) addAddr6(ifname string, addr netip.Prefix) error {
	if err := n.EnableIPv6(ifname); err != nil {
		return err
	}
	return n.onLink(ifname, "add address "+addr.String()+" to", func(h *netlink.Handle, l netlink.Link) error {
		add := func() error {
			return h.AddrAdd(l, &netlink.Addr{IPNet: ipNet(addr), Flags: unix.IFA_F_NODAD})
		}
		return n.await(unix.RTNLGRP_IPV6_IFADDR, add, func(told []syscall.NetlinkMessage) (bool, error) {
			for _, m := range told {
				if m.Header.Type != unix.RTM_NEWADDR || len(m.Data) < unix.SizeofIfAddrmsg {
					continue
				}
				attrs, err := nl.ParseRouteAttr(m.Data[unix.SizeofIfAddrmsg:])
				if err != nil {
					return false, err
				}
				for _, attr := range attrs {
					if attr.Attr.Type == unix.IFA_ADDRESS && bytes.Equal(attr.Value, addr.Addr().AsSlice()) &&
						int(nl.DeserializeIfAddrmsg(m.Data).Index) == l.Attrs().Index {
						return true, nil
					}
				}
			}
			return false, nil
		})
	})
}

// ForwardIPv6 makes n a router of IPv6, on all its interfaces at once, as the
// kernel has it (ip6_forward). /proc/sys must be writable.
func (n *Namespace) ForwardIPv6() error {
	return lacks("ipv6", n.Sysctl("net.ipv6.conf.all.forwarding", "1"), os.ErrNotExist)
}

// readSysctl reads a setting of n.
func (n *Namespace) readSysctl(name string) (string, error) {
	path, err := sysctlPath(name)
	if err != nil {
		return "", err
	}
	var value []byte
	err = n.Do(func() (err error) {
		value, err = os.ReadFile(path)
		return err
	})
	return strings.TrimSpace(string(value)), err
}
