package labtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/l2ping/l2ping/internal/lab"
)

// childVar makes TestMain a child that leaves behind what the variable names.
const childVar = "L2PING_LABTEST_LEAK"

func TestMain(m *testing.M) {
	switch what := os.Getenv(childVar); what {
	case "":
		MainNetns(m)
	case "run in a user namespace":
		os.Unsetenv(childVar) // which lasts in the child's child too
		code, err := runInUserns()
		if err != nil {
			os.Stderr.WriteString(err.Error())
			code = 77
		}
		os.Exit(code)
	case "where", "wait":
		behindGuard(what)
	case "keep":
		Child(childVar, func(string) error { return tellCapabilities(KeepCapabilities("CAP_NET_RAW")) })
	case "drop":
		Child(childVar, func(string) error { return tellCapabilities(DropCapabilities("CAP_NET_RAW")) })
	case "unknown":
		Child(childVar, func(string) error { return tellCapabilities(DropCapabilities("CAP_NOTHING")) })
	default:
		os.Exit(run(func() int { return leave(what) }, os.Stderr))
	}
}

var (
	kept    *os.File
	blocked = make(chan struct{})
)

func leave(what string) int {
	switch what {
	case "goroutine":
		leakGrace = time.Second // it is in vain
		go waitForever()
	case "descriptor":
		leakGrace = time.Second
		kept, _ = os.Open("/dev/null")
	case "late goroutine":
		go func() { <-time.After(50 * time.Millisecond) }()
	case "late descriptor":
		f, _ := os.Open("/dev/null")
		time.AfterFunc(50*time.Millisecond, func() { f.Close() })
	case "poller": // opens the runtime's own descriptors
		r, w, _ := os.Pipe()
		r.Close()
		w.Close()
	case "failure":
		go waitForever()
		return 3
	}
	return 0
}

func waitForever() { <-blocked }

func TestMainFindsLeaks(t *testing.T) {
	for _, tt := range []struct {
		what string
		code int
		want string
	}{
		{"nothing", 0, ""},
		{"goroutine", 1, "waitForever"},
		{"descriptor", 1, ": /dev/null"},
		{"late goroutine", 0, ""},
		{"late descriptor", 0, ""},
		{"poller", 0, ""},
		{"failure", 3, ""},
	} {
		t.Run(tt.what, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childVar+"="+tt.what)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != tt.code {
				t.Errorf("exit status %d, want %d: %s", got, tt.code, &stderr)
			}
			if !strings.Contains(stderr.String(), tt.want) || tt.want == "" && stderr.Len() > 0 {
				t.Errorf("standard error %q, want %q", &stderr, tt.want)
			}
		})
	}
}

// TestUserNamespace runs this package's lab tests as an ordinary user would.
func TestUserNamespace(t *testing.T) {
	if os.Getenv(inUserns) != "" {
		t.Skip("this is the run in a user namespace already")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestLab$", "-test.v")
	cmd.Env = append(os.Environ(), childVar+"=run in a user namespace", requireVar+"=netns")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() == 77 {
		t.Skipf("the system forbids user namespaces: %s (sysctl user.max_user_namespaces)", out)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestLab") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestLab(t *testing.T) {
	pair := NewPair(t, nil)
	NewRouted(t)
	n := NewNamespace(t)
	if err := n.SetUp("lo"); err != nil {
		t.Error(err)
	}
	StartPeer(t, pair.Far, "eth0", "seq 1: lose")
	if os.Getenv(inUserns) != "" && rootError() == nil {
		t.Error("root in a user namespace is taken for root")
	}
}

// fake is a testing.TB that notes how it ended.
type fake struct {
	testing.TB
	ended, text string
}

func (f *fake) Helper() {}
func (f *fake) Skip(args ...any) {
	f.ended, f.text = "skip", args[0].(string)
}

func (f *fake) Fatal(args ...any) { f.Fatalf("") }

func (f *fake) Fatalf(format string, args ...any) {
	f.ended = "fatal"
	panic(f)
}

func TestUnmet(t *testing.T) {
	for _, tt := range []struct {
		demanded     string
		requirements []string
		want         string
	}{
		{"", []string{"root"}, "skip"},
		{"root", []string{"root"}, "fatal"},
		{"netns", []string{"root"}, "skip"},
		{"netns", []string{"root", "netns"}, "fatal"},
		{"root", []string{"root", "netns"}, "fatal"},
	} {
		t.Setenv(requireVar, tt.demanded)
		f := &fake{}
		func() {
			defer func() { recover() }()
			unmet(f, "needs it", tt.requirements...)
		}()
		if f.ended != tt.want {
			t.Errorf("%s=%s, requirement %v: %s, want %s", requireVar, tt.demanded, tt.requirements, f.ended, tt.want)
		}
	}
}

func TestRequireKind(t *testing.T) {
	lacking := fmt.Errorf("make vlan eth0.7: %w", &lab.KindError{Kind: "vlan", Module: "8021q", Err: os.ErrNotExist})
	for _, tt := range []struct {
		demanded string
		err      error
		want     string
	}{
		{"", nil, ""},
		{"all", nil, ""},
		{"", lacking, "skip"},
		{"bond,vrf", lacking, "skip"},
		{"bond,vlan", lacking, "fatal"},
		{"bond vlan", lacking, "fatal"},
		{"all", lacking, "fatal"},
		{"", errors.New("make vlan eth0.7: permission denied"), "fatal"},
	} {
		t.Setenv(kindsVar, tt.demanded)
		f := &fake{}
		func() {
			defer func() { recover() }()
			RequireKind(f, tt.err)
		}()
		if f.ended != tt.want {
			t.Errorf("%s=%s, %v: %s, want %s", kindsVar, tt.demanded, tt.err, f.ended, tt.want)
		}
		if f.ended == "skip" && !strings.Contains(f.text, "make test-kernels has 8021q") {
			t.Errorf("the skip names no fix: %s", f.text)
		}
	}
}
