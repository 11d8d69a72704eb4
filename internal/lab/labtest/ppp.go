package labtest

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
)

// AddPPP makes a ppp interface, down, that is there until the test ends. It skips
// the test where RequireKind does, and where this user may not open /dev/ppp; with
// L2PING_TEST_REQUIRE=root the latter fails instead.
func AddPPP(t testing.TB, n *lab.Namespace, ifname string, cfg lab.PPPoE) {
	t.Helper()
	p, err := n.AddPPP(ifname, cfg)
	if errors.Is(err, os.ErrPermission) {
		unmet(t, fmt.Sprintf("%v (run the tests as root)", err), "root")
	}
	RequireKind(t, err)
	closing(t, p, nil)
}
