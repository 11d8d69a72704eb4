//go:build kernels && linux

package kernels

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	module  = "github.com/l2ping/l2ping"
	labtest = module + "/internal/lab/labtest"

	// stepLimit bounds the tests of one package, machineLimit all of a kernel.
	stepLimit    = 10 * time.Minute
	machineLimit = 18 * time.Minute
)

// modules are the kinds of links, of queueing disciplines and of filters that
// the lab makes. What is built into a kernel is not loaded.
var modules = []string{
	"8021q", "bonding", "bridge", "dummy", "ifb", "ip6_gre", "ip6_tunnel", "ip_gre", "ipip", "ipvlan", "macvlan",
	"pppoe", "sit", "team", "team_mode_activebackup", "tun", "veth", "vrf", "vxlan", "wireguard",
	"sch_netem", "sch_tbf", "sch_ingress", "cls_matchall", "cls_u32", "act_mirred",
}

// environment is that of every step.
var environment = []string{
	"PATH=/bin", "HOME=/root",
	"L2PING_TEST_REQUIRE=root", "L2PING_TEST_KINDS=all",
	// The machine has no network to guard, and starting a process takes its time.
	"L2PING_LAB_GUARDED=1",
}

// A suite is what is built once and run in every kernel.
type suite struct {
	root     string            // of the module
	programs map[string]string // in the guest: here
	steps    []Step
	packages map[string]bool // the steps that are tests
}

// TestKernels runs the tests of all packages that use the lab, and the command,
// in each kernel. Its own subtests are kernels, packages, and their tests.
func TestKernels(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), machineLimit, errors.New("it took too long"))
	t.Cleanup(cancel)
	if _, err := exec.LookPath(Emulator); err != nil {
		t.Fatalf("%v (apt-get install --no-install-recommends qemu-system-x86)", err)
	}
	caches, err := os.UserCacheDir()
	if err != nil {
		caches = os.TempDir() // there is no home
	}
	cache := filepath.Join(caches, "l2ping-kernels")
	dir := t.TempDir()
	built := sync.OnceValues(func() (*suite, error) { return build(ctx, dir) })
	for _, kernel := range Kernels {
		t.Run(kernel.Series, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			deb, err := kernel.Fetch(ctx, cache)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			image, err := Unpack(ctx, deb, dir, modules)
			if err != nil {
				t.Fatal(err)
			}
			s, err := built()
			if err != nil {
				t.Fatal(err)
			}
			initramfs := filepath.Join(dir, "initramfs")
			if err := s.write(initramfs, image); err != nil {
				t.Fatal(err)
			}
			report(t, "%s: ready after %.1f s", image.Release, time.Since(begun).Seconds())
			m := &Machine{Kernel: image.Kernel, Initramfs: initramfs, Memory: 2048, CPUs: 2}
			s.run(ctx, t, m, image)
		})
	}
}

func report(t *testing.T, format string, args ...any) {
	fmt.Printf("%-5s "+format+"\n", append([]any{strings.TrimPrefix(t.Name(), "TestKernels/")}, args...)...)
}

// run runs the machine, and makes a subtest of each step.
func (s *suite) run(ctx context.Context, t *testing.T, m *Machine, image *Image) {
	outputs := map[string]*bytes.Buffer{}
	for _, step := range s.steps {
		outputs[step.Name] = new(bytes.Buffer)
	}
	begun := time.Now()
	for message, err := range m.Run(ctx) {
		switch out := outputs[message.Step]; {
		case err != nil:
			t.Error(err)
			for name, out := range outputs {
				if out.Len() > 0 {
					t.Errorf("%s was running, and wrote last:\n%s", name, &tail{lines: consoleLines, text: out.Bytes()})
				}
			}
		case message.Release != "":
			report(t, "booted in %.1f s", time.Since(begun).Seconds())
			if message.Release != image.Release {
				t.Errorf("Linux %s runs, not %s", message.Release, image.Release)
			}
		case message.Done:
			report(t, "done in %.1f s", time.Since(begun).Seconds())
		case out == nil:
			t.Errorf("a message of no step: %+v", message)
		case message.Ended != nil:
			delete(outputs, message.Step)
			t.Run(message.Step, func(t *testing.T) {
				if s.packages[message.Step] {
					s.judge(ctx, t, message, out)
				} else if message.Ended.Error != "" {
					t.Errorf("%s\n%s", message.Ended.Error, out)
				}
			})
		default:
			out.WriteString(message.Output)
		}
	}
	for name := range outputs {
		t.Errorf("%s did not end", name)
	}
}

// judge makes subtests of a package's tests.
func (s *suite) judge(ctx context.Context, t *testing.T, message Message, out *bytes.Buffer) {
	cmd := exec.CommandContext(ctx, "go", "tool", "test2json", "-t") // -t is what it takes to be told of times
	cmd.Stdin = out
	converted, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	tests, err := ReadTests(bytes.NewReader(converted))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%-40s %4d passed %4d failed %4d skipped  %.1f s\n", t.Name(),
		tests.Count(Passed), tests.Count(Failed), tests.Count(Skipped), message.Ended.Elapsed.Seconds())
	replay(t, tests)
	if message.Ended.Error != "" {
		t.Errorf("%s: %s\n%s", message.Step, message.Ended.Error, tests.Output)
	}
	if len(tests.Tests) == 0 {
		t.Error("it ran no test")
	}
}

// replay makes the verdicts of tests those of subtests of t.
func replay(t *testing.T, tests *Test) {
	for _, test := range tests.Tests {
		t.Run(test.Element(), func(t *testing.T) {
			io.WriteString(t.Output(), test.Output)
			if test.Elapsed > 0 {
				t.Logf("took %v there", test.Elapsed)
			}
			replay(t, test)
			switch test.Verdict {
			case Passed:
			case "":
				if test.Began {
					t.Error("it did not end")
				}
			case Skipped:
				fmt.Printf("%s skipped: %s", t.Name(), test.Output)
				t.SkipNow()
			case Failed:
				t.Fail()
			}
		})
	}
}

// build builds the tests and the programs.
func build(ctx context.Context, dir string) (*suite, error) {
	begun := time.Now()
	goTool := func(args ...string) ([]byte, error) {
		var stderr bytes.Buffer
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			err = fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, &stderr)
		}
		return out, err
	}
	out, err := goTool("list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return nil, err
	}
	s := &suite{root: strings.TrimSpace(string(out)), programs: map[string]string{}, packages: map[string]bool{}}
	out, err = goTool("list", "-f", `{{.ImportPath}} {{join .TestImports " "}} {{join .XTestImports " "}}`, module+"/...")
	if err != nil {
		return nil, err
	}
	var packages []string
	known := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		name := strings.TrimPrefix(words[0], module+"/")
		if !slices.Contains(words[1:], labtest) {
			continue
		}
		known[name] = true
		selection, ok := chosen(name)
		if !ok {
			continue
		}
		packages = append(packages, words[0])
		binary := path.Base(name) + ".test"
		s.programs["bin/"+binary] = filepath.Join(dir, binary)
		s.packages[name] = true
		s.steps = append(s.steps, Step{
			Name: name,
			Dir:  "/src/" + name,
			Args: append([]string{"/bin/" + binary, "-test.v=test2json", "-test.paniconexit0", "-test.short", "-test.timeout=" + stepLimit.String()}, selection...),
			Env:  environment, Limit: stepLimit + 10*time.Second,
		})
	}
	for name := range choices {
		if !known[name] {
			return nil, fmt.Errorf("choose tests: there is no package %s that uses the lab", name)
		}
	}
	flags := []string{"-trimpath", "-ldflags", "-s -w", "-o", dir + "/"}
	if _, err := goTool(append(append([]string{"test", "-c"}, flags...), packages...)...); err != nil {
		return nil, err
	}
	if _, err := goTool(append(append([]string{"build"}, flags...), module+"/cmd/l2ping", module+"/internal/kernels/guest")...); err != nil {
		return nil, err
	}
	s.programs["bin/l2ping"] = filepath.Join(dir, "l2ping")
	s.programs[InitName] = filepath.Join(dir, "guest")
	s.steps = append(s.steps, Step{
		Name: "l2ping-demo", Dir: "/", Args: []string{"/bin/l2ping", "demo"}, Env: environment, Limit: time.Minute,
	})
	if s.steps, err = pick(s.steps); err != nil {
		return nil, err
	}
	fmt.Printf("built in %.1f s\n", time.Since(begun).Seconds())
	return s, nil
}

// write writes the initramfs: what was built, the module's sources, which tests
// read from, and what belongs to the kernel.
func (s *suite) write(file string, image *Image) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	a := NewArchive(f)
	for _, dir := range []string{"dev", "proc", "run", "sys", "root"} {
		a.Dir(dir)
	}
	a.TemporaryDir("tmp")
	for name, text := range map[string]string{
		"hosts":         "127.0.0.1 localhost\n::1 localhost\n",
		"nsswitch.conf": "hosts: files\n",
		"resolv.conf":   "",
		"passwd":        "root:x:0:0:root:/root:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n",
		"group":         "root:x:0:\nnogroup:x:65534:\n",
	} {
		a.File("etc/"+name, 0o644, []byte(text))
	}
	for name, from := range s.programs {
		a.Copy(name, from)
	}
	for _, applet := range []string{"cp", "readlink"} {
		a.Symlink("bin/"+applet, "/"+InitName)
	}
	a.Tree("src", s.root, func(d fs.DirEntry) bool { return d.Name() == ".git" || d.Name() == "bin" })
	plan := Plan{Steps: s.steps}
	for _, m := range image.Modules {
		name := "modules/" + m.Name + ".ko"
		a.File(name, 0o644, m.Data)
		plan.Modules = append(plan.Modules, "/"+name)
	}
	data, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	a.File(PlanName, 0o644, data)
	return errors.Join(a.Close(), f.Close())
}
