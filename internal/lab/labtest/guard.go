package labtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/l2ping/l2ping/internal/lab"
)

// guardVar marks the processes behind a Guard, or without need of one: those of a
// machine that is there for the tests alone. It has the network namespace ahead of
// the Guard.
const guardVar = "L2PING_LAB_GUARDED"

// inUserns marks the process that MainNetns started, so that it does not
// start another.
const inUserns = "L2PING_LAB_USERNS"

// Guard is for the TestMain of a package that does not end by Main or MainNetns,
// which begin with it. Where this process may make network namespaces it runs the
// tests in a child process in one of its own, with nothing in it but a loopback
// interface that is down, and exits as that does. What a test opens by mistake, from
// a goroutine that is in none of the lab's namespaces, it opens there and not on the
// machine's interfaces.
//
// What /sys shows of interfaces is still the machine's, for sysfs goes by who has
// mounted it.
func Guard() {
	if os.Getenv(guardVar) != "" {
		return
	}
	code, err := runAgain(func(cmd *exec.Cmd) { cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET })
	if err == nil {
		exitAs(code)
	}
}

// exitAs ends this process as the child has ended, at once: with the race detector
// os.Exit would sleep for a second, as the child has done.
func exitAs(code int) { syscall.Exit(code) }

// networkNamespace is a name of the one that this process has begun in.
func networkNamespace() string {
	name, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return "unknown"
	}
	return name
}

// runInUserns runs this test binary again in a user namespace, and a network
// namespace, of its own. An error says that it did not start.
func runInUserns() (int, error) { return runAgain(lab.EnterUserNamespace, inUserns+"=1") }

// runAgain runs this test binary again, with the same arguments and files and some
// variables more, as a process that enter prepares. Signals that would end this
// process go to that one, which ends with this one however that ends. An error says
// that it did not start.
func runAgain(enter func(*exec.Cmd), env ...string) (int, error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	// The parent death signal comes when the thread ends that has started the child
	// (prctl(2)).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command(exe, os.Args[1:]...)
	cmd.Env = append(append(os.Environ(), guardVar+"="+networkNamespace()), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	enter(cmd)

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // if it has not ended
			continue
		case err = <-ended:
		}
		break
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code, nil
	}
	fmt.Fprintln(os.Stderr, "labtest:", err) // ended by a signal
	return 1, nil
}
