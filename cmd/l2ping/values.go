//go:build linux

package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// duration is a flag's value: a Go duration, or seconds as a plain number.
type duration time.Duration

func (d *duration) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

func (*duration) Type() string { return "duration" }

func (d *duration) Set(s string) error {
	v, err := parseDuration(s)
	if err != nil {
		return err
	}
	*d = duration(v)
	return nil
}

func parseDuration(s string) (time.Duration, error) {
	v, err := time.ParseDuration(s)
	if err != nil {
		seconds, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(seconds) {
			return 0, errors.New("not a time such as 10ms, 1.5s or 0.2 (seconds)")
		}
		if math.Abs(seconds) > 1e9 {
			return 0, errors.New("too long")
		}
		v = time.Duration(math.Round(seconds * 1e9))
	}
	if v <= 0 {
		return 0, errors.New("has to be more than 0")
	}
	return v, nil
}

// number is a flag's value: a whole number within bounds, in decimal or, with
// 0x ahead, hexadecimal.
type number struct {
	value    *uint64
	set      bool
	min, max uint64
}

func (n *number) String() string {
	if n.value == nil || !n.set {
		return ""
	}
	return strconv.FormatUint(*n.value, 10)
}

func (*number) Type() string { return "number" }

func (n *number) Set(s string) error {
	base, digits := 10, s
	if len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X") {
		base, digits = 16, s[2:]
	}
	v, err := strconv.ParseUint(digits, base, 64)
	if err != nil || v < n.min || v > n.max {
		return fmt.Errorf("not a number from %d to %d", n.min, n.max)
	}
	*n.value, n.set = v, true
	return nil
}

// pattern is a flag's value: up to 16 bytes in hexadecimal, as ping's -p.
type pattern []byte

func (p *pattern) String() string { return hex.EncodeToString(*p) }

func (*pattern) Type() string { return "hex" }

func (p *pattern) Set(s string) error {
	if len(s)%2 == 1 {
		s = s[:len(s)-1] + "0" + s[len(s)-1:] // ping reads an odd last digit as a byte
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) == 0 || len(b) > 16 {
		return errors.New("not 1 to 16 bytes in hexadecimal, such as ff00")
	}
	*p = b
	return nil
}

// choice is a flag's value: one of a few words.
type choice[T any] struct {
	value *T
	parse func(string) (T, error)
	words string // those that there are, for the error
	text  string
}

func (c *choice[T]) String() string { return c.text }

func (*choice[T]) Type() string { return "word" }

func (c *choice[T]) Set(s string) error {
	v, err := c.parse(s)
	if err != nil {
		return fmt.Errorf("not one of %s", c.words)
	}
	*c.value, c.text = v, s
	return nil
}
