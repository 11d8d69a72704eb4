//go:build linux

package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
)

// TestStampsNeedsNothing tells as anybody what an interface can stamp.
func TestStampsNeedsNothing(t *testing.T) {
	t.Parallel()
	labtest.RequireRoot(t)
	pair := labtest.NewPair(t, nil)
	stdout, stderr, exit := runIn(t, pair.Near, asUser(command("stamps", "-i", "eth0")))
	if !strings.HasPrefix(stdout, "interface  eth0               veth\n") || stderr != "" || exit != exitOK {
		t.Errorf("exit status %d\nstdout: %sstderr: %s", exit, stdout, stderr)
	}
}

// A NIC that could stamp and does not is told how to be set; of one that cannot,
// nothing more is said.
func TestHardwareHints(t *testing.T) {
	e := &env{executable: "/bin/l2ping"}
	const lacks, sets = "no hardware stamps on eth0: ", "set the NIC of eth0 to stamp: "
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&l2.NoHardwareError{Interface: "eth0", Lack: l2.LackSetting}, lacks +
			"its NIC is set to tx off, rx none, and has to be set to tx on, rx all (--set-hardware-timestamps sets it for this run, " +
			"hwstamp_ctl -i eth0 -t 1 -r 1 of linuxptp until somebody changes it)"},
		{&l2.NoHardwareError{Interface: "eth0", Lack: l2.LackArrivals}, lacks + "its NIC can stamp arrivals of PTP or NTP alone"},
		{&l2.SetHardwareError{Interface: "eth0", Err: unix.EPERM}, sets +
			"operation not permitted (needs CAP_NET_ADMIN: run as root, or set it by hwstamp_ctl -i eth0 -t 1 -r 1 of linuxptp beforehand)"},
		{&l2.SetHardwareError{Interface: "eth0", Err: unix.ERANGE}, sets + "numerical result out of range"},
		{errors.New("other"), "other"},
	} {
		for _, err := range []error{tt.err, fmt.Errorf("%w", tt.err)} {
			if got := e.explain(err); got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
		}
	}
}
