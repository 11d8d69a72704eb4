//go:build linux

package main

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/probe"
)

// hint says what would help against an error, if the error's own text does not.
func (e *env) hint(err error) string {
	switch {
	case errors.Is(err, unix.EPERM) && strings.Contains(err.Error(), "packet socket"):
		return fmt.Sprintf("needs CAP_NET_RAW: run as root, or setcap cap_net_raw,cap_bpf+ep %s; in a container, --cap-add NET_RAW", e.executable)
	case errors.Is(err, probe.ErrBroadcast):
		return "-b pings it all the same"
	case errors.Is(err, probe.ErrNoStamps):
		return "--timestamps auto takes the best that there is"
	}
	return ""
}
