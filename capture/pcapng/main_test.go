package pcapng

import (
	"testing"

	"github.com/l2ping/l2ping/internal/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }
