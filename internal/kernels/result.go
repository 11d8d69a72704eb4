package kernels

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// A Verdict is how a test ended.
type Verdict string

// The verdicts, as test2json has them. A test without one did not end.
const (
	Passed  Verdict = "pass"
	Failed  Verdict = "fail"
	Skipped Verdict = "skip"
)

// A Test is one test of a test binary's run, or as the root of them all the
// run itself.
type Test struct {
	Name    string // with those of the tests that it is in, as go test has it
	Began   bool   // false of a mere part of a name: "a" where "a/b" is one test's
	Verdict Verdict
	Elapsed time.Duration // by the clock of the machine it ran in
	Output  string        // its own, without the lines that tell of starts and ends
	Tests   []*Test
}

// Element is the last element of the test's name.
func (t *Test) Element() string { return t.Name[strings.LastIndexByte(t.Name, '/')+1:] }

// Count returns how many tests with this verdict are in t, those of every depth.
func (t *Test) Count(v Verdict) int {
	n := 0
	for _, sub := range t.Tests {
		if sub.Verdict == v {
			n++
		}
		n += sub.Count(v)
	}
	return n
}

// event is a line of go tool test2json.
type event struct {
	Action string
	Test   string
	Output string
	// Elapsed is in seconds.
	Elapsed float64
}

// ReadTests reads what go tool test2json makes of one test binary's output. The
// root that it returns has what belongs to no test for its output, and no
// verdict.
func ReadTests(r io.Reader) (*Test, error) {
	root := &Test{}
	all := map[string]*Test{"": root}
	var find func(name string) *Test
	find = func(name string) *Test {
		t := all[name]
		if t == nil {
			t = &Test{Name: name}
			all[name] = t
			above := find(name[:max(0, strings.LastIndexByte(name, '/'))])
			above.Tests = append(above.Tests, t)
		}
		return t
	}
	for d := json.NewDecoder(r); ; {
		var e event
		err := d.Decode(&e)
		if errors.Is(err, io.EOF) {
			return root, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read test2json: %w", err)
		}
		t := find(e.Test)
		switch e.Action {
		case "run":
			t.Began = true
		case "output":
			if !isFrame(e.Output) {
				t.Output += e.Output
			}
		case string(Passed), string(Failed), string(Skipped):
			if t != root { // of the whole run its exit status says more
				t.Verdict = Verdict(e.Action)
				t.Elapsed = time.Duration(e.Elapsed * float64(time.Second))
			}
		}
	}
}

// isFrame says whether a line is one that package testing writes about tests.
func isFrame(line string) bool {
	line = strings.TrimLeft(line, " ")
	return strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") || line == "PASS\n" || line == "FAIL\n"
}
