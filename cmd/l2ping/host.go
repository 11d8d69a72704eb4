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

// family restricts names and addresses to one IP version: "ip", "ip4" or "ip6".
type family string

const (
	anyFamily family = "ip"
	onlyIPv4  family = "ip4"
	onlyIPv6  family = "ip6"
)

// familyOf is the family that -4 and -6 and a source address leave.
func familyOf(v4, v6 bool, f *sourceFlags) (family, error) {
	source := f.source
	if a, err := netip.ParseAddr(f.other); err == nil && !source.IsValid() {
		source = a.Unmap()
	}
	switch {
	case v4 && v6:
		return "", errors.New("-4 and -6: only one of them can be meant")
	case v4 && source.Is6(), v6 && source.Is4():
		return "", fmt.Errorf("source %s is not of the family that -4 or -6 asks for", source)
	case v4, source.Is4():
		return onlyIPv4, nil
	case v6, source.Is6():
		return onlyIPv6, nil
	}
	return anyFamily, nil
}

// has tells whether an address is of the family.
func (f family) has(a netip.Addr) bool {
	return f == anyFamily || a.Is4() == (f == onlyIPv4)
}

// name is the family's name in messages.
func (f family) name() string {
	if f == onlyIPv6 {
		return "IPv6"
	}
	return "IPv4"
}

// lack says that an address or a name is not of the family.
func (f family) lack() error {
	if f == anyFamily {
		return errors.New("no address")
	}
	return fmt.Errorf("no %s address, which -%s or the source asks for", f.name(), f[2:])
}

// lookUp turns a HOST into an address. Of a name with several, the kernel's
// preference comes first (RFC 6724).
func lookUp(ctx context.Context, host string, f family) (netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap()
		if !f.has(addr) {
			return netip.Addr{}, fmt.Errorf("%s: %w", host, f.lack())
		}
		return addr, nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, string(f), host)
	if err != nil {
		if other := (*net.AddrError)(nil); errors.As(err, &other) {
			return netip.Addr{}, fmt.Errorf("%s: %w", host, f.lack())
		}
		var dns *net.DNSError
		if errors.As(err, &dns) {
			err = errors.New(dns.Err)
		}
		return netip.Addr{}, &unknownHostError{host, err}
	}
	return addrs[0].Unmap(), nil
}

// An unknownHostError says that a name has no address.
type unknownHostError struct {
	host string
	why  error
}

func (e *unknownHostError) Error() string { return fmt.Sprintf("unknown host %q: %v", e.host, e.why) }
func (e *unknownHostError) Unwrap() error { return e.why }

// sourceFlags are the flags that choose the interface and the source address.
type sourceFlags struct {
	name   string     // -i
	other  string     // -I: a name or an address
	source netip.Addr // -S
	netns  string     // --netns
}

// inNetns does something in the network namespace that --netns names, or here.
func (s *sourceFlags) inNetns(f func() error) error {
	if s.netns == "" {
		return f()
	}
	return l2.InNamespace(s.netns, f)
}

// resolve says which interface or source address the flags name. It has to be
// called in the network namespace of the interface.
func (s *sourceFlags) resolve() (ifname string, source netip.Addr, err error) {
	ifname, source = s.name, s.source
	if s.other != "" {
		addr, err := netip.ParseAddr(s.other)
		addr = addr.Unmap()
		switch {
		case err == nil && source.IsValid() && source != addr:
			return "", netip.Addr{}, fmt.Errorf("-I %s and -S %s name two source addresses", addr, source)
		case err == nil:
			source = addr
		case ifname != "" && ifname != s.other:
			return "", netip.Addr{}, fmt.Errorf("-i %s and -I %s name two interfaces", s.name, s.other)
		default:
			ifname = s.other
		}
	}
	if ifname == "" {
		if source.IsValid() {
			// The address alone names the interface: a host has to have it.
			if _, err = l2.InterfaceByAddress(source); err != nil {
				err = fmt.Errorf("%w (-i names the interface to send from it by all the same)", err)
			}
		}
		return "", source, err
	}
	if _, err := l2.InterfaceByName(ifname); err != nil {
		if _, isTime := parseDuration(ifname); isTime == nil {
			return "", netip.Addr{}, fmt.Errorf("no interface %q: -i names the interface; for the time between probes say --interval %s", ifname, ifname)
		}
		return "", netip.Addr{}, err
	}
	return ifname, source, nil
}
