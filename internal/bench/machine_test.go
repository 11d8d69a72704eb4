//go:build linux

package main

import "testing"

func TestCPUTime(t *testing.T) {
	before := parseCPUTime("cpu  100 10 50 1000 20 1 2 3 7 8\ncpu0 1 1 1 1\n")
	if want := (cpuTime{busy: 166, idle: 1020}); before != want {
		t.Errorf("read %+v, want %+v", before, want)
	}
	if got := (cpuTime{busy: 191, idle: 1095}).busySince(before); got != 0.25 {
		t.Errorf("busy %v of the time, want 0.25", got)
	}
	if got := before.busySince(before); got != 0 {
		t.Errorf("busy %v of no time", got)
	}
}

func TestParseCPUModel(t *testing.T) {
	for text, want := range map[string]string{
		"processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC: 2\n\nprocessor\t: 1\nmodel name\t: other\n": "AMD EPYC: 2",
		"processor\t: 0\nBogoMIPS\t: 50.00\n": "", // arm64
		"":                                    "",
	} {
		if got := parseCPUModel([]byte(text)); got != want {
			t.Errorf("the model of %q is %q, want %q", text, got, want)
		}
	}
}

func TestThisMachine(t *testing.T) {
	if m := thisMachine(); m.Kernel == "" || m.Arch == "" || m.CPUs < 1 {
		t.Errorf("this machine is %+v", m)
	}
}
