package labtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// tellCapabilities prints what this process has left.
func tellCapabilities(err error) error {
	if err == nil {
		fmt.Println(cap.GetProc())
	}
	return err
}

func TestCapabilities(t *testing.T) {
	RequireNetns(t) // and so there are some
	all := cap.GetProc()
	raw := cap.NewSet()
	for _, flag := range []cap.Flag{cap.Permitted, cap.Effective} {
		if err := errors.Join(raw.SetFlag(flag, true, cap.NET_RAW), all.SetFlag(flag, false, cap.NET_RAW)); err != nil {
			t.Fatal(err)
		}
	}
	_, unknown := cap.FromName("cap_nothing")
	for _, tt := range []struct {
		what, out string
		exit      int
	}{
		{"keep", raw.String(), 0},
		{"drop", all.String(), 0},
		{"unknown", fmt.Sprint("capability CAP_NOTHING: ", unknown), 1},
	} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), childVar+"="+tt.what)
		out, _ := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); got != tt.out || cmd.ProcessState.ExitCode() != tt.exit {
			t.Errorf("%s: exit %d, %q, want %d, %q", tt.what, cmd.ProcessState.ExitCode(), got, tt.exit, tt.out)
		}
	}
}
