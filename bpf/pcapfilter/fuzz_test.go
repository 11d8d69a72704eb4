package pcapfilter

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	cbpf "golang.org/x/net/bpf"
)

// plain compiles without the optimizer.
func plain(t testing.TB, expr string, cfg Config) []cbpf.RawInstruction {
	t.Helper()
	c := newCompiler(cfg)
	parsed, err := (&parser{compiler: c, expr: expr}).parse()
	if err != nil {
		t.Fatal(err)
	}
	entry, err := c.program(parsed)
	if err != nil {
		return nil // too long
	}
	insns, err := c.g.generate(entry, math.MaxUint32)
	if err != nil {
		return nil
	}
	raw, err := cbpf.Assemble(insns)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// checkError holds an error against what its type says.
func checkError(t testing.TB, expr string, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%q: %T %v", expr, err, err)
	}
	if e.Expr != expr || e.Pos < 0 || e.Pos > e.End || e.End > len(expr) || e.Msg == "" {
		t.Fatalf("%+v", *e)
	}
	if strings.ContainsAny(err.Error(), "\n\r") {
		t.Fatalf("more than one line: %q", err)
	}
	lines := strings.Split(e.Marked(), "\n")
	if len(lines) != 2 || strings.Trim(lines[1], " ^") != "" || !strings.HasSuffix(lines[1], "^") {
		t.Fatalf("marked as %q", lines)
	}
}

// checkCompiled holds a program against the kernel's rules, against another
// machine, and against the same one without the optimizer.
func checkCompiled(t testing.TB, expr string, cfg Config, program []cbpf.RawInstruction, list []view) {
	t.Helper()
	if err := checkProgram(program); err != nil {
		t.Fatalf("%q: %v", expr, err)
	}
	kernelTakes(t, program)
	insns, ok := cbpf.Disassemble(program)
	if !ok {
		t.Fatalf("%q has instructions that are none: %v", expr, insns)
	}
	if again, err := cbpf.Assemble(insns); err != nil || !slices.Equal(again, program) {
		t.Fatalf("%q comes back as %v, %v", expr, again, err)
	}
	var vm *cbpf.VM
	if !cfg.Live {
		var err error
		if vm, err = cbpf.NewVM(insns); err != nil {
			t.Fatal(err)
		}
	}
	slow := plain(t, expr, cfg)
	for _, v := range list {
		got, _ := v.run(t, program)
		if vm != nil {
			if n, err := vm.Run(v.frame); err != nil || uint32(n) != got && len(v.frame) > 0 {
				t.Fatalf("%q keeps %d bytes of %v, in the other machine %d, %v", expr, got, v, n, err)
			}
		}
		if slow == nil {
			continue
		}
		// What is not read, or later, cannot stop the program.
		if want, _, err := v.execute(slow); err == nil && want != got {
			t.Fatalf("%q keeps %d bytes of %v, %d without the optimizer", expr, got, v, want)
		}
	}
}

// sample are some frames of the corpus.
func sample(cfg Config) []view {
	var list []view
	for i, v := range views(cfg) {
		if i%29 == 0 {
			list = append(list, v)
		}
	}
	return list
}

func TestCompiled(t *testing.T) {
	for _, s := range settings {
		list := sample(s.cfg)
		for _, expr := range s.expressions {
			program, err := compileHere(expr, s.cfg)
			if err != nil {
				t.Fatal(err)
			}
			checkCompiled(t, expr, s.cfg, program, list)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range settings {
		for i, expr := range s.expressions {
			if i%4 == 0 || s.cfg.Live {
				f.Add(expr, s.cfg.Live, s.cfg.NoLink)
			}
		}
	}
	for _, tt := range wrong {
		f.Add(tt.expr, tt.cfg.Live, tt.cfg.NoLink)
	}
	for _, expr := range []string{
		"((((((((", "not not not !", "1 1 1", "ip[", "ip[ip[ip[ip[0]]]] = 1", "(((len)))=len", "tcp[0:3]", "\\", "\\\\", "::", "1::2", "a:b:c:d:e:f", "\xff", "ip[0xfffff000] = 1 or ip",
		"len - len * len / len % len & len | len ^ len << len >> len = -len", "1.2.3.4.5", "08", "0x", "99999999999", "port 1-2-3", "portrange 1-", "vlan vlan vlan", "net 1/1",
	} {
		f.Add(expr, false, false)
	}
	samples := map[Config][]view{}
	for _, cfg := range []Config{{}, {Live: true}, {NoLink: true}, {NoLink: true, Live: true}} {
		samples[cfg] = sample(cfg)
	}
	f.Fuzz(func(t *testing.T, expr string, live, noLink bool) {
		cfg := Config{Live: live, NoLink: noLink}
		program, err := compileHere(expr, cfg)
		if err != nil {
			checkError(t, expr, err)
			return
		}
		checkCompiled(t, expr, cfg, program, samples[cfg])
	})
}
