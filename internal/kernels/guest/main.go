//go:build linux

// Command guest is the first and only program of an emulated machine: it loads
// modules, runs the steps of a plan, tells how they went, and switches the
// machine off. It is also the few programs that tests call by their names.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/kernels"
)

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case kernels.InitName:
		if os.Getpid() == 1 {
			boot()
			return
		}
		exit(fmt.Errorf("%s is for emulated machines", name))
	case "cp":
		exit(copyFile(os.Args[1:]))
	case "readlink":
		exit(readLink(os.Args[1:]))
	default:
		exit(fmt.Errorf("no program %s", name))
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// boot is the machine's life. If it returned, the kernel would panic.
func boot() {
	p, err := openPort()
	if err == nil {
		if err = run(p); err != nil {
			p.tell(kernels.Message{Fault: err.Error()})
		} else {
			p.tell(kernels.Message{Done: true})
		}
		err = p.close()
	}
	if err != nil {
		fmt.Println("guest:", err)
	}
	err = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	fmt.Println("guest: power off:", err)
}

func run(p *port) error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return fmt.Errorf("ask for the kernel's release: %w", err)
	}
	p.tell(kernels.Message{Release: unix.ByteSliceToString(name.Release[:])})
	data, err := os.ReadFile("/" + kernels.PlanName)
	if err != nil {
		return err
	}
	var plan kernels.Plan
	if err := json.Unmarshal(data, &plan); err != nil {
		return fmt.Errorf("read plan: %w", err)
	}
	if err := prepare(plan.Modules); err != nil {
		return err
	}
	for _, step := range plan.Steps {
		p.take(step)
	}
	return nil
}

// prepare makes of the bare machine what programs expect.
func prepare(modules []string) error {
	for _, m := range []struct{ kind, dir, options string }{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"tmpfs", "/run", "mode=755"},
		// Of the first file system files have no capabilities.
		{"tmpfs", "/tmp", "mode=1777"},
	} {
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	for _, file := range modules {
		if err := load(file); err != nil {
			return fmt.Errorf("load %s: %w", filepath.Base(file), err)
		}
	}
	// As systemd(1) has it.
	limit := unix.Rlimit{Cur: 1024, Max: 512 << 10}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("allow for many open files: %w", err)
	}
	return nil
}

func load(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}

// take runs one step.
func (p *port) take(step kernels.Step) {
	out := &stepOutput{port: p, step: step.Name}
	cmd := exec.Command(step.Args[0], step.Args[1:]...)
	cmd.Dir = step.Dir
	cmd.Env = step.Env
	cmd.Stdout, cmd.Stderr = out, out
	// Whoever inherited its output is not waited for.
	cmd.WaitDelay = 2 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	begun := time.Now()
	err := cmd.Start()
	if err == nil {
		quit := time.AfterFunc(step.Limit, func() { _ = unix.Kill(cmd.Process.Pid, unix.SIGQUIT) })
		kill := time.AfterFunc(step.Limit+5*time.Second, func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) })
		err = cmd.Wait()
		quit.Stop()
		kill.Stop()
	}
	ended := &kernels.Ended{Elapsed: time.Since(begun)}
	if err != nil {
		ended.Error = err.Error()
	}
	p.tell(kernels.Message{Step: step.Name, Ended: ended})
}

// A stepOutput is where a step writes to.
type stepOutput struct {
	port *port
	step string
}

func (o *stepOutput) Write(b []byte) (int, error) {
	o.port.tell(kernels.Message{Step: o.step, Output: string(b)})
	return len(b), nil
}

// A port is the serial port to the host.
type port struct {
	mu   sync.Mutex
	file *os.File
	err  error // the first
}

func openPort() (*port, error) {
	if err := unix.Mount("devtmpfs", "/dev", "devtmpfs", 0, ""); err != nil {
		return nil, fmt.Errorf("mount /dev: %w", err)
	}
	f, err := os.OpenFile(kernels.ResultsPort, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	// What is written goes out as it is: no OPOST.
	raw := unix.Termios{Cflag: unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200}
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &raw); err != nil {
		return nil, fmt.Errorf("set %s: %w", kernels.ResultsPort, err)
	}
	return &port{file: f}, nil
}

func (p *port) tell(m kernels.Message) {
	b, err := json.Marshal(m)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		_, err = p.file.Write(append(b, '\n'))
	}
	if p.err == nil {
		p.err = err
	}
}

// close waits until all is out.
func (p *port) close() error {
	if err := unix.IoctlSetInt(int(p.file.Fd()), unix.TCSBRK, 1); err != nil && p.err == nil { // tcdrain(3)
		p.err = err
	}
	if p.err != nil {
		return fmt.Errorf("write to %s: %w", kernels.ResultsPort, p.err)
	}
	return nil
}

// copyFile is cp FROM TO.
func copyFile(args []string) error {
	if len(args) != 2 || strings.HasPrefix(args[0], "-") {
		return fmt.Errorf("usage: cp FROM TO")
	}
	info, err := os.Stat(args[0])
	if err != nil {
		return err
	}
	data, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	return os.WriteFile(args[1], data, info.Mode().Perm())
}

// readLink is readlink LINK.
func readLink(args []string) error {
	if len(args) != 1 || strings.HasPrefix(args[0], "-") {
		return fmt.Errorf("usage: readlink LINK")
	}
	target, err := os.Readlink(args[0])
	if err == nil {
		fmt.Println(target)
	}
	return err
}
