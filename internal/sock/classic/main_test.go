//go:build linux

package classic

import (
	"testing"

	"github.com/l2ping/l2ping/internal/lab/labtest"
)

func TestMain(m *testing.M) { labtest.MainNetns(m) }
