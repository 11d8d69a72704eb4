package kernels

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Emulator is the program that a Machine is of, of Debian's package
// qemu-system-x86.
const Emulator = "qemu-system-x86_64"

// commandLine is the kernel's. Whatever goes wrong in it ends the machine: an
// oops is a panic, a panic is a restart, and a restart its end.
const commandLine = "console=ttyS0 quiet loglevel=5 panic=-1 oops=panic " +
	// Guards against attacks that nobody makes here cost much of its time.
	"mitigations=off random.trust_cpu=on " +
	// Its watch over CPUs that hang counts time that the host did not give.
	"nowatchdog " +
	// To end a namespace, or close a packet socket, waits for them.
	"rcupdate.rcu_expedited=1 " +
	// Else each namespace gets a device of every kind of tunnel.
	"fb_tunnels=none"

// consoleLines is how much of the console an error has.
const consoleLines = 100

// A Machine is an emulated computer.
type Machine struct {
	Kernel    string // the path of a bootable kernel
	Initramfs string // the path of an Archive with InitName and PlanName
	Memory    int    // in MiB
	CPUs      int
}

// Run runs the machine and yields what its guest tells, up to and with the
// Message that is Done, or else an error, with the last lines of the kernel's
// console, as the last. It ends the machine when ctx does, or when the caller
// breaks out.
func (m *Machine) Run(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		console := &tail{lines: consoleLines}
		cmd, results, err := m.start(ctx, console)
		if err != nil {
			yield(Message{}, err)
			return
		}
		defer results.Close()
		done, stopped := false, false
		for message, readErr := range messages(results) {
			if err = readErr; err != nil {
				break
			}
			done = done || message.Done
			if stopped = !yield(message, nil); stopped {
				break
			}
		}
		if err != nil || stopped {
			cancel()
		}
		waitErr := cmd.Wait()
		switch {
		case stopped || done && err == nil && waitErr == nil:
			return
		case err != nil:
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case waitErr != nil:
			err = waitErr
		default:
			err = errors.New("it ended before its guest was done")
		}
		yield(Message{}, fmt.Errorf("emulated machine: %w; the last of its console:\n%s", err, console))
	}
}

// start starts the machine, with what its guest writes to ResultsPort in results.
func (m *Machine) start(ctx context.Context, console io.Writer) (cmd *exec.Cmd, results *os.File, err error) {
	results, port, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", Emulator, err)
	}
	defer port.Close() // but the machine has it
	cmd = exec.CommandContext(ctx, Emulator,
		"-nodefaults", "-no-user-config", "-no-reboot", "-nographic",
		"-machine", "pc", "-accel", "tcg,thread=single", "-cpu", "max,la57=off", "-nic", "none",
		"-smp", strconv.Itoa(m.CPUs), "-m", strconv.Itoa(m.Memory),
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-chardev", "file,id=results,path=/dev/fd/3", "-serial", "chardev:results",
		"-kernel", m.Kernel, "-initrd", m.Initramfs, "-append", commandLine)
	cmd.ExtraFiles = []*os.File{port} // descriptor 3
	cmd.Stdout, cmd.Stderr = console, console
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		results.Close()
		return nil, nil, fmt.Errorf("start %s: %w (apt-get install --no-install-recommends qemu-system-x86)", Emulator, err)
	}
	return cmd, results, nil
}

// messages reads what a guest has written, to its end.
func messages(r io.Reader) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for d := json.NewDecoder(r); ; {
			var m Message
			err := d.Decode(&m)
			if errors.Is(err, io.EOF) {
				return
			}
			if err == nil && m.Fault != "" {
				err = fmt.Errorf("the guest gave up: %s", m.Fault)
			}
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// A tail keeps the last lines of what is written to it.
type tail struct {
	lines int

	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if n := bytes.Count(t.text, []byte("\n")); n > 2*t.lines {
		for range n - t.lines {
			_, t.text, _ = bytes.Cut(t.text, []byte("\n"))
		}
	}
	return len(b), nil
}

// String returns the last lines.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := strings.Split(strings.ReplaceAll(string(t.text), "\r", ""), "\n")
	return strings.Join(all[max(0, len(all)-t.lines):], "\n")
}
