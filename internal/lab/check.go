package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Check compares the events that the command printed, each decoded from one
// line of its JSON, and its exit status with what the scenario expects. An
// error shows both, whole, with the first difference marked.
func (s Scenario) Check(events []map[string]any, exit int) error {
	startExpected := slices.ContainsFunc(s.expect, func(e expectation) bool { return e.event == "start" })
	var came []map[string]any
	for _, event := range events {
		if startExpected || event["event"] != "start" {
			came = append(came, event)
		}
	}
	at := 0
	for at < len(s.expect) {
		block := s.block(at)
		if at >= len(came) {
			return s.differ(came, exit, at, at, "the event is missing")
		}
		if len(block) == 1 {
			if why := block[0].mismatch(came[at]); why != "" {
				return s.differ(came, exit, at, at, why)
			}
		} else if i := assign(block, came[at:min(at+len(block), len(came))]); i >= 0 {
			why := fmt.Sprintf("none of the next %d events is this one", len(block))
			return s.differ(came, exit, at+i, at, why)
		}
		at += len(block)
	}
	if len(came) > at {
		return s.differ(came, exit, at, at, "nobody expected this event")
	}
	if exit != s.exit {
		return s.differ(came, exit, at, at, fmt.Sprintf("the exit status is %d, want %d", exit, s.exit))
	}
	return nil
}

// block is the expectation at that place, with the rest of its unordered
// block if it is in one.
func (s Scenario) block(at int) []expectation {
	end := at + 1
	for s.expect[at].group > 0 && end < len(s.expect) && s.expect[end].group == s.expect[at].group {
		end++
	}
	return s.expect[at:end]
}

// assign gives each expectation an event of its own that matches it. It
// returns -1, or the first expectation that must go without.
func assign(block []expectation, events []map[string]any) int {
	owner := make([]int, len(events)) // 1 + index of the expectation
	var place func(i int, tried []bool) bool
	place = func(i int, tried []bool) bool {
		for j, event := range events {
			if tried[j] || block[i].mismatch(event) != "" {
				continue
			}
			tried[j] = true
			// Free, or its owner can move to another.
			if owner[j] == 0 || place(owner[j]-1, tried) {
				owner[j] = i + 1
				return true
			}
		}
		return false
	}
	for i := range block {
		if !place(i, make([]bool, len(events))) {
			return i
		}
	}
	return -1
}

// mismatch says why an event is not the expected one, or "".
func (e expectation) mismatch(event map[string]any) string {
	if event["event"] != e.event {
		return fmt.Sprintf("the event is %v, want %s", event["event"], e.event)
	}
	for _, f := range e.fields {
		if why := f.mismatch(lookup(event, f.name)); why != "" {
			return f.name + " " + why
		}
	}
	return ""
}

// lookup finds outer.inner; ok is false if it is absent.
func lookup(event map[string]any, name string) (value any, ok bool) {
	outer, inner, nested := strings.Cut(name, ".")
	value, ok = event[outer]
	if !nested || !ok {
		return value, ok
	}
	m, isMap := value.(map[string]any)
	if !isMap {
		return nil, false
	}
	return lookup(m, inner)
}

func (f field) mismatch(value any, present bool) string {
	switch f.is {
	case isAbsent:
		if present {
			return fmt.Sprintf("is %s, want none", show(value))
		}
		return ""
	case isPresent:
		if !present {
			return "is absent"
		}
		return ""
	}
	if !present {
		return fmt.Sprintf("is absent, want %s", f.text)
	}
	if !f.matches(value) {
		return fmt.Sprintf("is %s, want %s", show(value), f.text)
	}
	return ""
}

func (f field) matches(value any) bool {
	if s, ok := value.(string); ok {
		return (f.is == isString || f.is == isLiteral) && s == f.text
	}
	if f.is == isString {
		return false
	}
	if b, ok := value.(bool); ok {
		return f.is == isLiteral && f.text == strconv.FormatBool(b)
	}
	n, ok := number(value)
	if !ok {
		return false
	}
	if f.is == isInRange {
		return (f.least == nil || *f.least <= n) && (f.most == nil || n <= *f.most)
	}
	want, err := strconv.ParseFloat(f.text, 64)
	return err == nil && n == want
}

// number is the value of a JSON number, decoded with or without UseNumber.
func number(value any) (float64, bool) {
	switch v := value.(type) {
	case float64:
		return v, true
	case json.Number:
		n, err := v.Float64()
		return n, err == nil
	}
	return 0, false
}

// differ is the error of Check: expectation want and event got are marked.
func (s Scenario) differ(came []map[string]any, exit, want, got int, why string) error {
	mark := func(marked bool) string {
		if marked {
			return "  > "
		}
		return "    "
	}
	var b strings.Builder
	fmt.Fprintf(&b, "scenario %s (%s): %s\n  expected:\n", s.Name, s.Title, why)
	for i, e := range s.expect {
		text := e.text
		if e.group > 0 {
			text += "   (unordered)"
		}
		fmt.Fprintf(&b, "%s%s\n", mark(i == want), text)
	}
	fmt.Fprintf(&b, "%sexit %d\n  came:\n", mark(want >= len(s.expect) && got >= len(came)), s.exit)
	for i, event := range came {
		fmt.Fprintf(&b, "%s%s\n", mark(i == got), describe(event))
	}
	fmt.Fprintf(&b, "%sexit %d", mark(got >= len(came)), exit)
	return errors.New(b.String())
}

// describe writes an event as a scenario would, without its time.
func describe(event map[string]any) string {
	var names []string
	for name := range event {
		if name != "event" && name != "time" {
			names = append(names, name)
		}
	}
	// Those by which a reader knows the event come first.
	first := []string{"seq", "state"}
	slices.SortFunc(names, func(a, b string) int {
		ai, bi := slices.Index(first, a), slices.Index(first, b)
		switch {
		case ai >= 0 && bi >= 0:
			return ai - bi
		case ai >= 0:
			return -1
		case bi >= 0:
			return 1
		}
		return strings.Compare(a, b)
	})
	text := fmt.Sprint(event["event"])
	for _, name := range names {
		text += " " + name + "=" + show(event[name])
	}
	return text
}

func show(value any) string {
	if s, ok := value.(string); ok && !strings.ContainsAny(s, " \"") {
		return s
	}
	if f, ok := value.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}
