package pcapfilter

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// record asks tcpdump for its programs. Each is a line in a file: the expression,
// quoted, and the two programs, their instructions with spaces between.
func record(t *testing.T, s setting) {
	t.Helper()
	pair := labtest.NewPair(t, nil)
	program := func(args ...string) string {
		cmd := exec.Command("tcpdump", append([]string{"-ddd"}, args...)...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		var out []byte
		var err error
		if s.cfg.Live {
			var b strings.Builder
			cmd.Stdout = &b
			err = pair.Near.Run(cmd)
			out = []byte(b.String())
		} else {
			out, err = cmd.Output()
		}
		if err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, &stderr)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if n, err := strconv.Atoi(lines[0]); err != nil || n != len(lines)-1 {
			t.Fatalf("%v: %d lines, the first is %q", cmd, len(lines), lines[0])
		}
		for i := range lines {
			lines[i] = strings.ReplaceAll(lines[i], " ", ",")
		}
		return strings.Join(lines[1:], " ")
	}
	source := []string{"-r", filepath.Join("testdata", s.name+".pcap")}
	if s.cfg.Live {
		source = []string{"-i", "eth0"}
	}
	var b strings.Builder
	for _, expr := range s.expressions {
		optimized := program(append(source, "--", expr)...)
		plain := program(append(source, "-O", "--", expr)...)
		fmt.Fprintf(&b, "%q\n\t%s\n\t%s\n", expr, optimized, plain)
	}
	if err := os.WriteFile(filepath.Join("testdata", s.name+".txt"), []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
