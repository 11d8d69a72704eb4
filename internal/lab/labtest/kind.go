package labtest

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/l2ping/l2ping/internal/lab"
)

// kindsVar names the kinds of links that must not be skipped.
const kindsVar = "L2PING_TEST_KINDS"

// RequireKind takes what a method of lab.Namespace returned that makes a link,
// or whatever else a kernel may lack: an error ends the test. It skips the test
// if err is a lab.KindError. If L2PING_TEST_KINDS, a list such as
// "vlan,bond,netem" or "all", has the kind, the test fails instead.
func RequireKind(t testing.TB, err error) {
	t.Helper()
	var lacking *lab.KindError
	switch {
	case err == nil:
	case !errors.As(err, &lacking):
		t.Fatal(err)
	default:
		text := fmt.Sprintf("%v (make test-kernels has %s)", err, lacking.Module)
		demanded := os.Getenv(kindsVar)
		kinds := strings.FieldsFunc(demanded, func(r rune) bool { return r == ',' || r == ' ' })
		if slices.Contains(kinds, lacking.Kind) || slices.Contains(kinds, "all") {
			t.Fatalf("%s; %s=%s forbids to skip", text, kindsVar, demanded)
		}
		t.Skip(text)
	}
}
