//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/probe"
)

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// hint says what would help against an error, if the error's own text does not.
func (e *env) hint(err error) string {
	var (
		lack    *l2.NoHardwareError
		setting *l2.SetHardwareError
		noRoute *l2.NoRouteError
		unknown *unknownHostError
	)
	switch {
	case errors.As(err, &setting) && errors.Is(err, unix.EPERM):
		return fmt.Sprintf("needs CAP_NET_ADMIN: run as root, or set it by hwstamp_ctl -i %s -t 1 -r 1 of linuxptp beforehand", setting.Interface)
	case errors.As(err, &lack) && lack.Settable():
		return fmt.Sprintf("--set-hardware-timestamps sets it for this run, hwstamp_ctl -i %s -t 1 -r 1 of linuxptp until somebody changes it", lack.Interface)
	case errors.Is(err, unix.EPERM) && strings.Contains(err.Error(), "packet socket"):
		return fmt.Sprintf("needs CAP_NET_RAW: run as root, or setcap cap_net_raw,cap_bpf+ep %s; in a container, --cap-add NET_RAW", e.executable)
	case errors.As(err, &unknown) && e.commandsLike != nil:
		if like := e.commandsLike(unknown.host); len(like) > 0 {
			return fmt.Sprintf("did you mean the command %s?", like[0])
		}
	case errors.Is(err, probe.ErrBroadcast):
		return "-b pings it all the same"
	case errors.Is(err, l2.ErrLocal):
		return "-i lo pings it"
	case errors.Is(err, l2.ErrNoAddress):
		return "-S does"
	case errors.Is(err, l2.ErrNoZone):
		return "-i names it, or %IFACE behind the address"
	case errors.As(err, &noRoute) && (!e.gateway || noRoute.Interface == "lo"):
		return ""
	case noRoute != nil && (noRoute.Destination.IsMulticast() || noRoute.Destination == limitedBroadcast):
		return "-i says on which link"
	case noRoute != nil && noRoute.Interface == "":
		return "-i and --gateway force one"
	case noRoute != nil:
		return "--gateway forces it"
	case errors.Is(err, probe.ErrNoStamps):
		return "--timestamps auto takes the best that there is"
	}
	return ""
}
