//go:build linux && !kernels

package kernels_test

import (
	"testing"

	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// The tests here are of two kinds, by the build tag: with it TestKernels alone,
// which needs no namespace.
func TestMain(m *testing.M) { labtest.MainNetns(m) }
