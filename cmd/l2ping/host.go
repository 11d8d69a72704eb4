//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/l2ping/l2ping/l2"
)

// lookUp turns a HOST into an IPv4 address.
func lookUp(ctx context.Context, host string) (netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		if !addr.Is4() {
			return netip.Addr{}, fmt.Errorf("%s: IPv6 is not supported so far", host)
		}
		return addr, nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		if other := (*net.AddrError)(nil); errors.As(err, &other) {
			return netip.Addr{}, fmt.Errorf("%s has no IPv4 address (IPv6 is not supported so far)", host)
		}
		var dns *net.DNSError
		if errors.As(err, &dns) {
			return netip.Addr{}, fmt.Errorf("unknown host %q: %s", host, dns.Err)
		}
		return netip.Addr{}, fmt.Errorf("unknown host %q: %w", host, err)
	}
	return addrs[0].Unmap(), nil
}

// sourceFlags are the flags that choose the interface.
type sourceFlags struct {
	name  string // -i
	other string // -I: a name or an address
}

// resolve says which interface or source address the flags name.
func (s *sourceFlags) resolve() (ifname string, source netip.Addr, err error) {
	if s.name != "" && s.other != "" {
		if addr, err := netip.ParseAddr(s.other); err == nil {
			return s.name, addr, checkSource(addr)
		}
		if s.name != s.other {
			return "", netip.Addr{}, fmt.Errorf("-i %s and -I %s name two interfaces", s.name, s.other)
		}
	}
	if s.name == "" {
		s.name = s.other
	}
	if s.name == "" {
		return "", netip.Addr{}, nil
	}
	if addr, err := netip.ParseAddr(s.name); err == nil && s.other != "" {
		return "", addr, checkSource(addr)
	}
	if _, err := l2.InterfaceByName(s.name); err != nil {
		if _, isTime := parseDuration(s.name); isTime == nil {
			return "", netip.Addr{}, fmt.Errorf("no interface %q: -i names the interface; for the time between probes say --interval %s", s.name, s.name)
		}
		return "", netip.Addr{}, err
	}
	return s.name, netip.Addr{}, nil
}

// checkSource wants an address of this host, and an IPv4 one.
func checkSource(addr netip.Addr) error {
	if !addr.Is4() {
		return fmt.Errorf("%s: IPv6 is not supported so far", addr)
	}
	_, err := l2.InterfaceByAddress(addr)
	return err
}
