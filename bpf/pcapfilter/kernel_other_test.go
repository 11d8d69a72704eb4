//go:build !linux

package pcapfilter

import (
	"testing"

	cbpf "golang.org/x/net/bpf"
)

// kernelTakes has no kernel to ask here: checkProgram has its rules.
func kernelTakes(testing.TB, []cbpf.RawInstruction) {}

func record(t *testing.T, _ setting) { t.Fatal("expressions are recorded on Linux, as root") }
