package labtest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// behindGuard is a child process that says where it is and ends with status 3, or
// waits to be ended.
func behindGuard(what string) {
	Guard()
	switch what {
	case "where":
		fmt.Printf("outside %s\ninside %s\n", os.Getenv(guardVar), networkNamespace())
		for _, name := range interfacesSeen() {
			fmt.Println(name)
		}
		os.Exit(3)
	case "wait":
		fmt.Println("ready")
		time.Sleep(time.Minute) // else it is taken for a deadlock
		fmt.Println("nobody has ended it")
		os.Exit(0)
	}
}

// interfacesSeen has what the sockets of several threads see, each a line.
func interfacesSeen() []string {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		seen []string
	)
	for range 8 {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			all, err := net.Interfaces()
			text := fmt.Sprint(err)
			if err == nil {
				text = "interfaces"
				for _, ifc := range all {
					text += fmt.Sprintf(" %s %v", ifc.Name, ifc.Flags&net.FlagUp != 0)
				}
			}
			mu.Lock()
			seen = append(seen, text)
			mu.Unlock()
		})
	}
	wg.Wait()
	slices.Sort(seen)
	return slices.Compact(seen)
}

// TestGuarded holds that this very process is behind the guard: wherever a test opens
// a socket by mistake, there is nothing to send on.
func TestGuarded(t *testing.T) {
	RequireNetns(t)
	if outside := os.Getenv(guardVar); outside == "" || outside == networkNamespace() {
		t.Errorf("the tests run in the namespace %s, the outer one is %q", networkNamespace(), outside)
	}
	if seen := interfacesSeen(); !slices.Equal(seen, []string{"interfaces lo false"}) {
		t.Errorf("threads that are in no namespace of the lab's see %q", seen)
	}
}

// guardedChild is this binary in front of a guard of its own, not started yet.
func guardedChild(t *testing.T, what string) *exec.Cmd {
	t.Helper()
	RequireNetns(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, guardVar+"=") }), childVar+"="+what)
	return cmd
}

// The child has a namespace of its own, and its exit status is the parent's.
func TestGuard(t *testing.T) {
	cmd := guardedChild(t, "where")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 3 || stderr.Len() > 0 {
		t.Errorf("exit status %d, want 3; %s", code, &stderr)
	}
	var outside, inside, seen string
	if n, err := fmt.Sscanf(stdout.String(), "outside %s\ninside %s\n", &outside, &inside); n != 2 {
		t.Fatalf("%v: %s", err, &stdout)
	}
	_, seen, _ = strings.Cut(stdout.String(), inside+"\n")
	if outside != networkNamespace() || inside == outside || seen != "interfaces lo false\n" {
		t.Errorf("from %s the child is in %s, where its threads see %q", networkNamespace(), inside, seen)
	}
}

// What ends the parent ends the child.
func TestGuardSignals(t *testing.T) {
	for _, tt := range []struct {
		signal syscall.Signal
		code   int // -1: ended by the signal
		want   string
	}{
		{syscall.SIGQUIT, 2, "behindGuard"}, // the stacks of the child
		{syscall.SIGTERM, 1, "labtest: signal: terminated"},
		{syscall.SIGKILL, -1, ""},
	} {
		t.Run(tt.signal.String(), func(t *testing.T) {
			cmd := guardedChild(t, "wait")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line := bufio.NewReader(stdout)
			if s, err := line.ReadString('\n'); s != "ready\n" {
				t.Errorf("the child says %q, %v", s, err)
			}
			if err := cmd.Process.Signal(tt.signal); err != nil {
				t.Error(err)
			}
			// The pipe ends with the last process that holds it.
			if rest, err := io.ReadAll(line); len(rest) > 0 || err != nil {
				t.Errorf("the child goes on with %q, %v", rest, err)
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != tt.code || !strings.Contains(stderr.String(), tt.want) {
				t.Errorf("exit status %d, want %d; %s", code, tt.code, &stderr)
			}
		})
	}
}
