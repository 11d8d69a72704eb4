//go:build interop

package craft

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what scapy makes of the expressions into "+goldenFile)

// scapyLimit bounds a run of scapy, which takes a second to start.
const scapyLimit = 2 * time.Minute

// TestScapy holds that the golden file is what scapy says today. It needs Debian's
// package python3-scapy, and opens no socket.
func TestScapy(t *testing.T) {
	var in strings.Builder
	for _, s := range golden(t) {
		in.WriteString(s.expression + "\n")
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), scapyLimit, errors.New("scapy did not end"))
	defer cancel()
	cmd := exec.CommandContext(ctx, pythonWithScapy(ctx, t), "testdata/expressions.py")
	cmd.Stdin = strings.NewReader(in.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err, context.Cause(ctx))
	}
	if *update {
		if err := os.WriteFile(goldenFile, out, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	got, old := strings.Split(string(out), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(got), len(old)) {
		if i >= len(got) || i >= len(old) || got[i] != old[i] {
			t.Fatalf("line %d of %s is not what scapy says now (-update writes that)", i+1, goldenFile)
		}
	}
}

// pythonWithScapy finds a Python that has scapy: Debian's own first, for which
// its package is.
func pythonWithScapy(ctx context.Context, t *testing.T) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		path, err := exec.LookPath(name)
		if err == nil && exec.CommandContext(ctx, path, "-c", "import scapy.all").Run() == nil {
			return path
		}
	}
	t.Fatal("no Python has scapy (apt-get install python3-scapy)")
	return ""
}
