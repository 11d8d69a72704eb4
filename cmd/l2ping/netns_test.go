//go:build linux

package main

import (
	"strconv"
	"strings"
	"testing"

	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// A process stands for its network namespace, and its threads too.
func TestNetnsOfProcess(t *testing.T) {
	t.Parallel()
	pair, outside := labtest.NewPair(t, nil), labtest.NewNamespace(t)
	there := startJSON(t, pair.Near, "-i", "eth0", "198.51.100.2")
	there.until("reply", nil)
	pid := strconv.Itoa(there.cmd.Process.Pid)
	for _, name := range []string{pid, "/proc/" + pid + "/ns/net"} {
		stdout, stderr, exit := runIn(t, outside, command("--netns", name, "-n", "-c", "1", "198.51.100.2"))
		if exit != exitOK || stderr != "" || !strings.Contains(stdout, "\n64 bytes from 198.51.100.2: icmp_seq=1 ") {
			t.Errorf("--netns %s: exit status %d\n%s%s", name, exit, stdout, stderr)
		}
	}
	there.interrupt(exitOK)
}
