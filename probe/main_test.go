//go:build linux

package probe

import (
	"testing"

	"github.com/l2ping/l2ping/internal/lab/labtest"
)

func TestMain(m *testing.M) { labtest.MainNetns(m) }
