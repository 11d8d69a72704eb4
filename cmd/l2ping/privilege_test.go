//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// nobody is the ordinary user of these tests.
const nobody = 65534

// asUser makes a command run as an ordinary user with those capabilities and no
// others: permitted, effective and ambient.
func asUser(cmd *exec.Cmd, caps ...cap.Value) *exec.Cmd {
	ambient := make([]uintptr, 0, len(caps))
	for _, c := range caps {
		ambient = append(ambient, uintptr(c))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
		AmbientCaps: ambient,
	}
	return cmd
}

// allBut are all capabilities of this process but those.
func allBut(t *testing.T, without ...cap.Value) []cap.Value {
	t.Helper()
	var all []cap.Value
	for v := range cap.MaxBits() {
		have, err := cap.GetProc().GetFlag(cap.Permitted, v)
		if err != nil {
			t.Fatal(err)
		}
		if have && !slices.Contains(without, v) {
			all = append(all, v)
		}
	}
	return all
}

// runIn runs a command to its end.
func runIn(t *testing.T, ns *lab.Namespace, cmd *exec.Cmd) (stdout, stderr string, exit int) {
	t.Helper()
	p, err := start(ns, cmd)
	if err != nil {
		t.Fatal(err)
	}
	exit, err = p.wait()
	if err != nil {
		t.Fatal(err)
	}
	return p.stdout.String(), p.stderr.String(), exit
}

// anybodyMayLoadEBPF tells whether the system lets those without CAP_BPF.
func anybodyMayLoadEBPF(t *testing.T) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/kernel/unprivileged_bpf_disabled")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b)) == "0"
}

// permissionLine is what is said without CAP_NET_RAW by the command at path.
func permissionLine(path string) string {
	return "l2ping: open packet socket on eth0: operation not permitted (needs CAP_NET_RAW: run as root, or setcap cap_net_raw,cap_bpf+ep " +
		path + "; in a container, --cap-add NET_RAW)\n"
}

// TestCapabilities proves what the command needs: with what is listed it works,
// for an ordinary user too, and all that is not listed is no help.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	labtest.RequireRoot(t)
	pair := labtest.NewPair(t, nil)
	const noBPF = "loading eBPF: operation not permitted (needs CAP_BPF)"

	for _, tt := range []struct {
		name   string
		caps   []cap.Value
		filter string // "": it does not work
	}{
		{"net_raw alone", []cap.Value{cap.NET_RAW}, "classic"},
		{"net_raw and bpf", []cap.Value{cap.NET_RAW, cap.BPF}, "ebpf"},
		{"none", nil, ""},
		{"bpf alone", []cap.Value{cap.BPF}, ""},
		{"all but net_raw", allBut(t, cap.NET_RAW), ""},
		// CAP_SYS_ADMIN implies CAP_BPF (bpf_capable in linux/capability.h).
		{"all but bpf and sys_admin", allBut(t, cap.BPF, cap.SYS_ADMIN), "classic"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.filter == "" {
				for _, args := range [][]string{
					{"-i", "eth0", "-c", "1", "198.51.100.2"},
					{"-i", "eth0", "-c", "1", "--json", "198.51.100.2"},
				} {
					stdout, stderr, exit := runIn(t, pair.Near, asUser(command(args...), tt.caps...))
					if stdout != "" || stderr != permissionLine(executable()) || exit != exitError {
						t.Errorf("%v: exit status %d\nstdout: %sstderr: %s", args, exit, stdout, stderr)
					}
				}
				return
			}
			filter, reason := tt.filter, ""
			if filter == "classic" {
				reason = noBPF
				if anybodyMayLoadEBPF(t) {
					filter, reason = "ebpf", ""
				}
			}
			stdout, stderr, exit := runIn(t, pair.Near,
				asUser(command("-i", "eth0", "-c", "1", "--json", "198.51.100.2"), tt.caps...))
			if exit != exitOK || stderr != "" {
				t.Fatalf("exit status %d: %s%s", exit, stderr, stdout)
			}
			line, _, _ := strings.Cut(stdout, "\n")
			var started struct {
				Filter       string
				FilterReason string `json:"filter_reason"`
			}
			if err := json.Unmarshal([]byte(line), &started); err != nil {
				t.Fatal(err)
			}
			if started.Filter != filter || started.FilterReason != reason {
				t.Errorf("%+v, want %s, %q", started, filter, reason)
			}

			stdout, stderr, exit = runIn(t, pair.Near,
				asUser(command("-i", "eth0", "-c", "1", "-v", "198.51.100.2"), tt.caps...))
			said := "\nfilter " + filter
			if reason != "" {
				said += " (" + reason + ")"
			}
			if exit != exitOK || stderr != "" || !strings.Contains(stdout, said+", stamps driver") {
				t.Errorf("exit status %d: %s%s", exit, stderr, stdout)
			}
		})
	}
}

// TestRouteNeedsNothing tells the path as anybody; only a request of our own for
// the next hop takes CAP_NET_RAW.
func TestRouteNeedsNothing(t *testing.T) {
	t.Parallel()
	labtest.RequireRoot(t)
	pair := labtest.NewPair(t, nil)
	stdout, stderr, exit := runIn(t, pair.Near, asUser(command("route", "-i", "eth0", "198.51.100.2")))
	line := "l2ping: ask for 198.51.100.2: " + strings.TrimPrefix(permissionLine(executable()), "l2ping: ")
	if stdout != "" || stderr != line || exit != exitError {
		t.Errorf("exit status %d\nstdout: %sstderr: %s", exit, stdout, stderr)
	}
	if err := pair.Near.SetNeighbor("eth0", pair.FarIP, pair.FarMAC, lab.Permanent); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, exit = runIn(t, pair.Near, asUser(command("route", "-i", "eth0", "198.51.100.2")))
	if !strings.Contains(stdout, pair.FarMAC.String()) || stderr != "" || exit != exitOK {
		t.Errorf("exit status %d\nstdout: %sstderr: %s", exit, stdout, stderr)
	}
}

// TestSetcap does what the hint says, to a copy of the command.
func TestSetcap(t *testing.T) {
	t.Parallel()
	labtest.RequireRoot(t)
	dir := t.TempDir()
	// nobody has to get there.
	for d := dir; d != filepath.Clean(os.TempDir()) && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "l2ping")
	// A process of its own writes the file: a descriptor for writing that a
	// child of this one inherits would make it "text file busy".
	if out, err := exec.Command("cp", executable(), path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pair := labtest.NewPair(t, nil)
	run := func() (string, string, int) {
		cmd := asUser(command("-i", "eth0", "-c", "1", "--json", "198.51.100.2"))
		cmd.Path = path
		return runIn(t, pair.Near, cmd)
	}
	if stdout, stderr, exit := run(); stdout != "" || stderr != permissionLine(path) || exit != exitError {
		t.Fatalf("before: exit status %d\nstdout: %sstderr: %s", exit, stdout, stderr)
	}
	for _, tt := range []struct{ caps, want string }{
		{"cap_net_raw+ep", `"filter":"classic"`},
		{"cap_net_raw,cap_bpf+ep", `"filter":"ebpf"`},
	} {
		if anybodyMayLoadEBPF(t) {
			tt.want = `"filter":"ebpf"`
		}
		set, err := cap.FromText(tt.caps)
		if err != nil {
			t.Fatal(err)
		}
		if err := set.SetFile(path); err != nil {
			t.Fatalf("setcap %s: %v", tt.caps, err)
		}
		if stdout, stderr, exit := run(); exit != exitOK || !strings.Contains(stdout, tt.want) || stderr != "" {
			t.Errorf("%s: exit status %d\nstdout: %sstderr: %s", tt.caps, exit, stdout, stderr)
		}
	}
}

// TestUserNamespace runs the command as root of a user namespace, where Linux
// loads no eBPF.
func TestUserNamespace(t *testing.T) {
	t.Parallel()
	labtest.RequireNetns(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVar+"=userns")
	lab.EnterUserNamespace(cmd)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := `"filter":"classic","filter_reason":"loading eBPF: operation not permitted (CAP_BPF counts only outside of user namespaces, and where no policy forbids eBPF)"`
	if anybodyMayLoadEBPF(t) {
		want = `"filter":"ebpf"`
	}
	if !strings.Contains(string(out), want) || !strings.Contains(string(out), `"event":"reply"`) {
		t.Errorf("want %s in\n%s", want, out)
	}
}

// inUserNamespace is the process in role "userns".
func inUserNamespace() error {
	pair, err := lab.NewPair(nil)
	if err != nil {
		return err
	}
	cmd := command("-i", "eth0", "-c", "1", "--json", "198.51.100.2")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := pair.Near.Run(cmd); err != nil {
		return fmt.Errorf("l2ping: %w", err)
	}
	return pair.Close()
}
