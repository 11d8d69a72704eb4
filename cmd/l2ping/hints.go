//go:build linux

package main

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/probe"
)

// hint says what would help against an error, if the error's own text does not.
func (e *env) hint(err error) string {
	var (
		lack    *l2.NoHardwareError
		setting *l2.SetHardwareError
	)
	switch {
	case errors.As(err, &setting) && errors.Is(err, unix.EPERM):
		return fmt.Sprintf("needs CAP_NET_ADMIN: run as root, or set it by hwstamp_ctl -i %s -t 1 -r 1 of linuxptp beforehand", setting.Interface)
	case errors.As(err, &lack) && lack.Settable():
		return fmt.Sprintf("--set-hardware-timestamps sets it for this run, hwstamp_ctl -i %s -t 1 -r 1 of linuxptp until somebody changes it", lack.Interface)
	case errors.Is(err, unix.EPERM) && strings.Contains(err.Error(), "packet socket"):
		return fmt.Sprintf("needs CAP_NET_RAW: run as root, or setcap cap_net_raw,cap_bpf+ep %s; in a container, --cap-add NET_RAW", e.executable)
	case errors.Is(err, probe.ErrBroadcast):
		return "-b pings it all the same"
	case errors.Is(err, probe.ErrNoStamps):
		return "--timestamps auto takes the best that there is"
	}
	return ""
}
