package labtest

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
	"golang.org/x/sys/unix"
)

// requireVar names what must not be skipped.
const requireVar = "L2PING_TEST_REQUIRE"

// RequireRoot skips the test unless this process may do what root may: load
// BPF and administer the network (CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW,
// CAP_SYS_ADMIN), in the initial user namespace, for BPF asks for that one. With
// L2PING_TEST_REQUIRE=root the test fails instead.
func RequireRoot(t testing.TB) {
	t.Helper()
	if err := rootError(); err != nil {
		unmet(t, fmt.Sprintf("needs root: %v (run the tests as root: sudo make test)", err), "root")
	}
}

// RequireNetns skips the test unless this process may make network
// namespaces. With L2PING_TEST_REQUIRE=netns, or root, the test fails instead.
func RequireNetns(t testing.TB) {
	t.Helper()
	if err := netnsError(); err != nil {
		unmet(t, fmt.Sprintf("needs network namespaces: %v (run the tests as root, or allow user namespaces: "+
			"sysctl user.max_user_namespaces, and on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0)", err),
			"root", "netns")
	}
}

// unmet fails the test if one of requirements is demanded, and skips it
// otherwise.
func unmet(t testing.TB, text string, requirements ...string) {
	t.Helper()
	demanded := os.Getenv(requireVar)
	for _, r := range requirements {
		if r == demanded {
			t.Fatalf("%s; %s=%s forbids to skip", text, requireVar, demanded)
		}
	}
	t.Skip(text)
}

var netnsError = sync.OnceValue(func() error {
	n, err := lab.NewNamespace()
	if err != nil {
		return err
	}
	return n.Close()
})

var rootError = sync.OnceValue(func() error {
	// The initial user namespace has a fixed inode (USER_NS_INIT_INO in
	// linux/nsfs.h).
	const userNsInit = 0xEFFFFFFD
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/user", &st); err != nil {
		return fmt.Errorf("user namespace: %w", err)
	}
	if st.Ino != userNsInit {
		return fmt.Errorf("not in the initial user namespace")
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	for _, c := range []struct {
		name string
		bit  int
	}{
		{"CAP_BPF", unix.CAP_BPF},
		{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN},
		{"CAP_NET_RAW", unix.CAP_NET_RAW},
		{"CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN},
	} {
		if data[c.bit/32].Effective&(1<<(c.bit%32)) == 0 {
			return fmt.Errorf("no %s", c.name)
		}
	}
	return netnsError()
})
